//! The controller's API: the seed's calls and `/v1/`.
//!
//! It writes what is wanted to the store and shows what the control task knows; it decides nothing and waits for no agent, but
//! for the first dial of a node that was just added and for logs. Every refusal is a problem document.

mod apps;
mod body;
mod calls;
mod endpoints;
mod exposition;
mod gateway_metrics;
mod json;
mod labels;
mod logs;
mod metrics;
mod nodes;
mod openapi;
mod ourselves;
mod problem;
mod reads;
mod routes;
mod segment;
mod server;
mod streams;
mod usage;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cluster::access::{self, Provenance};
use cluster::route::RoutingTable;
use gateway::Observer;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::problem::Problem;
use crate::control::ControlHandle;
use crate::store::Store;

pub use self::ourselves::Ourselves;
pub use self::server::serve;

/// How many endless answers (`/v1/routes`, followed logs) may be under way.
const STREAMS_MAX: usize = 64;

/// What the API works with.
#[derive(Clone)]
pub struct Api {
    /// Where what is wanted is kept.
    pub store: Arc<dyn Store>,
    /// Who knows how everything is.
    pub control: ControlHandle,
    /// What the gateway works by, and what it counts.
    pub sight: Sight,
    /// Our own addresses, which are nobody's agent.
    pub ourselves: Arc<Ourselves>,
    /// Host names by which the API may be called.
    pub allow_host: Arc<[String]>,
    /// Ends the endless answers.
    pub end: CancellationToken,
    streams: Arc<Semaphore>,
}

/// How the gateway is seen from here.
#[derive(Clone)]
pub struct Sight {
    /// The routing table.
    pub tables: watch::Receiver<Arc<RoutingTable>>,
    /// What the gateway counts.
    pub observer: Observer,
}

/// Who made a call.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Api {
    /// An API over these.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        control: ControlHandle,
        sight: Sight,
        ourselves: Ourselves,
        allow_host: Vec<String>,
        end: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Api { store, control, sight, ourselves: Arc::new(ourselves), allow_host: allow_host.into(), end, streams }
    }

    /// Who answers which call.
    pub fn router(self) -> Router {
        Router::new()
            .route("/add-node", post(nodes::add))
            .route("/remove-node", post(nodes::remove))
            .route("/scale", post(apps::scale))
            .route("/status", get(reads::status))
            .route("/healthz", get(reads::healthz))
            .route("/metrics", get(metrics::metrics))
            .route("/v1/status", get(reads::status_v1))
            .route("/v1/apps", get(reads::apps))
            .route("/v1/apps/{name}", get(reads::app))
            .route("/v1/apps/{name}/endpoints", get(endpoints::endpoints))
            .route("/v1/apps/{name}/scale", post(apps::scale_one))
            .route("/v1/nodes", get(reads::nodes))
            .route("/v1/nodes/{node}/labels", post(labels::label))
            .route("/v1/replicas", get(reads::replicas))
            .route("/v1/replicas/{id}/logs", get(logs::logs))
            .route("/v1/routes", get(routes::routes))
            .route("/v1/version", get(reads::version))
            .route("/v1/openapi.json", get(openapi::document))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(self.clone(), let_in))
            .with_state(self)
    }
}

async fn unknown_path(request: Request) -> Problem {
    let path = request.uri().path();
    match path {
        "/ui" | "/ui/" => Problem::not_found("this version has no dashboard; GET /status, or run `ostler status`"),
        _ => Problem::not_found(format!("the API has no {path}; GET /v1/openapi.json lists what there is")),
    }
}

async fn wrong_method(method: Method, request: Request) -> Problem {
    let path = request.uri().path();
    let right = match path {
        "/add-node" | "/remove-node" | "/scale" => "POST",
        _ if path.ends_with("/scale") || path.ends_with("/labels") => "POST",
        _ => "GET",
    };
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} is not called with {method}; use {right}"))
}

/// Loopback is not trust: a page of any site can make a browser call us.
async fn let_in(State(api): State<Api>, request: Request, next: Next) -> Response {
    match check(&request, &api.allow_host) {
        Ok(()) => next.run(request).await,
        Err(detail) => Problem::new(StatusCode::FORBIDDEN, detail).into_response(),
    }
}

/// The only value of a field. A field that comes twice is answered as one that fits nobody.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, String> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| format!("the field {name} holds more than visible ASCII")),
        _ => Err(format!("the field {name} comes twice")),
    }
}

fn check(request: &Request, allow_host: &[String]) -> Result<(), String> {
    let headers = request.headers();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let provenance = Provenance {
        host: authority.or(only(headers, header::HOST)?),
        origin: only(headers, header::ORIGIN)?,
        sec_fetch_site: only(headers, header::HeaderName::from_static("sec-fetch-site"))?,
    };
    access::check(provenance, allow_host).map_err(|refused| refused.to_string())
}
