//! The OpenAPI document: made from the handlers' own descriptions.

use utoipa::OpenApi;
use utoipa::openapi;

use super::json::Json;
use super::{apps, endpoints, labels, logs, metrics, nodes, reads, routes};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ostler controller",
        description = "Keeps ordinary programs running across your own servers, without containers. \
Bodies are JSON whatever their Content-Type; every refusal is an application/problem+json document whose `detail` says what to do."
    ),
    paths(
        nodes::add,
        nodes::remove,
        apps::scale,
        apps::scale_one,
        reads::status,
        reads::status_v1,
        reads::apps,
        reads::app,
        endpoints::endpoints,
        reads::nodes,
        labels::label,
        reads::replicas,
        reads::version,
        reads::healthz,
        logs::logs,
        routes::routes,
        metrics::metrics,
        document,
    )
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "cluster", responses((status = 200, description = "The OpenAPI document")))]
pub async fn document() -> Json<openapi::OpenApi> {
    let mut document = Document::openapi();
    mend(&mut document);
    Json(document)
}

/// Refusals are problem documents: utoipa gives every body of a schema the type application/json.
fn mend(document: &mut openapi::OpenApi) {
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post].into_iter().flatten();
        for (status, response) in operations.flat_map(|operation| operation.responses.responses.iter_mut()) {
            if status.starts_with(['4', '5'])
                && let openapi::RefOr::T(response) = response
                && let Some(content) = response.content.shift_remove("application/json")
            {
                response.content.insert("application/problem+json".to_owned(), content);
            }
        }
    }
}
