//! What is wanted of an app: applied, shown, deleted.
//!
//! Each call is one change of the store, whole or not at all, and may be bound to the revision that its caller has seen. Absent from here: what
//! a change means (`cluster::apply`), and the form of a spec (`spec`).

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use cluster::apply::{applied, deleted, fit};
use cluster::origin::Origin;
use cluster::{App, AppName};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use spec::Format;

use super::json::Json;
use super::nodes::asked_by;
use super::problem::Problem;
use super::segment::Segment;
use super::view::{self, Applied, Change as Kind};
use super::{Api, body};
use crate::store::{self, Change, Desired};

/// What a change may be bound to.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The revision that the app must have; 0: there must be none.
    revision: Option<u64>,
    /// Say what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

impl Bound {
    fn read(request: &Request) -> Result<Self, Problem> {
        let query = Query::<Bound>::try_from_uri(request.uri());
        let Query(mut bound) = query.map_err(|error| Problem::bad_request(format!("{error}; use ?revision=3 or ?dry_run=true")))?;
        if let Some(revision) = if_match(request.headers())? {
            bound.revision = Some(revision);
        }
        Ok(bound)
    }

    /// Whether an app is as its caller has seen it.
    fn check(self, name: &str, app: Option<&App>) -> Result<(), Problem> {
        let has = app.map_or(0, |app| app.revision);
        match self.revision {
            Some(wanted) if wanted != has => {
                let now = if has == 0 { format!("there is no app {name}") } else { format!("the app {name} has revision {has}") };
                let detail = format!("{now}, and this change was made from revision {wanted}; look at what is there, and apply it again");
                Err(Problem::new(StatusCode::CONFLICT, detail).at_revision(has))
            }
            _ => Ok(()),
        }
    }
}

/// `If-Match: "3"` (RFC 9110 section 13.1.1), where the ETag of an app is its revision.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    number.map(Some).ok_or_else(|| Problem::bad_request("If-Match takes one revision in quotes, as in If-Match: \"3\""))
}

/// Applies a spec: makes the app, or changes it.
///
/// Its body is the spec as a JSON object. Replicas are replaced one after another if what they are run with has changed, and left alone
/// otherwise. The count that was set by /scale stays unless the spec asks for another number than before.
#[utoipa::path(put, path = "/v1/apps/{name}", tag = "apps",
    params(
        ("name" = String, Path, description = "The app's name, as the spec has it"),
        ("revision" = Option<u64>, Query, description = "The revision that the app must have; 0: there must be none. The same as If-Match"),
        ("dry_run" = Option<bool>, Query, description = "Say what would change, and change nothing"),
    ),
    request_body(content = serde_json::Value, description = "The spec: docs/app-spec.md"), responses(
    (status = 200, description = "What has changed, and the app as it is now", body = Applied),
    (status = 400, description = "Not a call like this", body = Problem),
    (status = 409, description = "It has another revision, or comes from the app source", body = Problem),
    (status = 422, description = "The spec cannot be taken, or claims what another app has", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn put(State(api): State<Api>, Segment(name): Segment, request: Request) -> Result<Json<Applied>, Problem> {
    let by = asked_by(&request);
    let bound = Bound::read(&request)?;
    let bytes = body::bytes(request).await?;
    let refuse = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let wanted = spec::parse(&bytes, &name, Format::Json).map_err(|error| refuse(error.to_string()))?;
    if wanted.name.as_str() != name {
        return Err(refuse(format!("the spec is of the app {}, and the path is of {name}; let both be the same", wanted.name)));
    }
    if !bound.dry_run {
        api.control.knock().await?;
    }
    let now = api.clock.now();
    let report = api.sight.report();
    let (change, restarts) = store::update(&*api.store, |desired| {
        let before = desired.apps.get(&wanted.name);
        let alive = before.filter(|app| !app.deleted);
        bound.check(&name, alive)?;
        if let (Some(app), Some(report)) = (alive, &report) {
            refuse_if_owned(app, report)?;
        }
        let after = applied(before, wanted.clone(), Origin::Hand, now);
        let mut all = desired.apps.clone();
        all.insert(after.name.clone(), after.clone());
        fit(&all).map_err(refuse)?;
        let is_other = alive.is_none_or(|before| after.revision != before.revision);
        let kind = match alive {
            None => Kind::Created,
            Some(before) if before.asks_the_same_as(&after) => Kind::Unchanged,
            Some(_) => Kind::Changed,
        };
        let mut change = Change::default();
        if !bound.dry_run && before != Some(&after) {
            tracing::info!("{name}: revision {}, {} replicas, by hand{by}", after.revision, after.desired);
            change.put_apps.push(after);
        }
        Ok::<_, Problem>((change, (kind, alive.is_some() && is_other)))
    })
    .await?;
    let app = find(&api, &name).await?.filter(|app| !(bound.dry_run && app.deleting));
    Ok(Json(Applied { change, restarts, app }))
}

/// Deletes an app: its replicas drain, then stop, then it is forgotten.
#[utoipa::path(delete, path = "/v1/apps/{name}", tag = "apps",
    params(
        ("name" = String, Path, description = "The app's name"),
        ("revision" = Option<u64>, Query, description = "The revision that the app must have. The same as If-Match"),
    ), responses(
    (status = 200, description = "The app, on its way out", body = view::App),
    (status = 404, description = "No app has this name", body = Problem),
    (status = 409, description = "It has another revision, or comes from the app source", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn delete(State(api): State<Api>, Segment(name): Segment, request: Request) -> Result<Json<view::App>, Problem> {
    let by = asked_by(&request);
    let bound = Bound::read(&request)?;
    let now = api.clock.now();
    let report = api.sight.report();
    let before = find(&api, &name).await?;
    store::update(&*api.store, |desired| {
        let app = known(desired, &name)?;
        bound.check(&name, Some(app))?;
        if let Some(report) = &report {
            refuse_if_owned(app, report)?;
        }
        let mut change = Change::default();
        if !bound.dry_run {
            tracing::info!("{name} is to be deleted{by}");
            change.put_apps.push(deleted(app, now));
        }
        Ok::<_, Problem>((change, ()))
    })
    .await?;
    // One that ran nothing may be forgotten already.
    let gone = before.map(|app| view::App { deleting: true, desired: 0, ..app });
    find(&api, &name).await?.or(gone).map(Json).ok_or_else(|| none(&name))
}

/// The spec of an app as it is in force, in JSON: what PUT takes.
#[utoipa::path(get, path = "/v1/apps/{name}/spec", tag = "apps", params(("name" = String, Path, description = "The app's name")), responses(
    (status = 200, description = "The spec: docs/app-spec.md. Its ETag is the app's revision", body = serde_json::Value),
    (status = 404, description = "No app has this name", body = Problem),
))]
pub async fn spec_of(State(api): State<Api>, Segment(name): Segment) -> Result<Response, Problem> {
    let desired = api.store.watch().borrow().clone();
    let app = known(&desired, &name)?;
    let etag = (header::ETAG, format!("\"{}\"", app.revision));
    Ok(([etag], Json(spec::render_json(app))).into_response())
}

async fn find(api: &Api, name: &str) -> Result<Option<view::App>, Problem> {
    let found = api.control.status().await?.apps.into_iter().find(|app| app.name.as_str() == name);
    Ok(found.map(|app| view::App::of(app, api.sight.report().as_deref())))
}

fn known<'a>(desired: &'a Desired, name: &str) -> Result<&'a App, Problem> {
    let name: AppName = name.parse().map_err(|_| none(name))?;
    desired.apps.get(&name).filter(|app| !app.deleted).ok_or_else(|| none(name.as_str()))
}

fn none(name: &str) -> Problem {
    Problem::not_found(format!("there is no app \"{name}\"; GET /v1/apps lists them"))
}

/// What a file of the source says is not changed by hand: at the next look it would be as the file says again.
fn refuse_if_owned(app: &App, report: &crate::app_source::SourceReport) -> Result<(), Problem> {
    match report.file_of(app) {
        Some(file) => {
            let why = format!("{} is what {file} in {} says: change or remove that file instead", app.name, report.source.url);
            Err(Problem::new(StatusCode::CONFLICT, why))
        }
        None => Ok(()),
    }
}
