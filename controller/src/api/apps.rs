//! Scaling apps.

use axum::extract::{Request, State};
use cluster::AppName;

use super::calls::{Scale, ScaleApp};
use super::json::Json;
use super::nodes::asked_by;
use super::problem::Problem;
use super::segment::Segment;
use super::view::App;
use super::{Api, body};
use crate::store::{self, Change, Desired};

/// Sets how many replicas an app should have.
#[utoipa::path(post, path = "/scale", request_body = Scale, tag = "apps", responses(
    (status = 200, description = "The app as it is now; its replicas follow", body = App),
    (status = 400, description = "Not a count", body = Problem),
    (status = 404, description = "No app has this name", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn scale(State(api): State<Api>, request: Request) -> Result<Json<App>, Problem> {
    let by = asked_by(&request);
    let call: Scale = body::json(request).await?;
    set(&api, call.app.as_deref(), call.count.0, &by).await
}

/// Sets how many replicas this app should have.
#[utoipa::path(post, path = "/v1/apps/{name}/scale", params(("name" = String, Path, description = "The app's name")),
    request_body = ScaleApp, tag = "apps", responses(
    (status = 200, description = "The app as it is now; its replicas follow", body = App),
    (status = 400, description = "Not a count", body = Problem),
    (status = 404, description = "No app has this name", body = Problem),
    (status = 503, description = "The store cannot be written", body = Problem),
))]
pub async fn scale_one(State(api): State<Api>, Segment(name): Segment, request: Request) -> Result<Json<App>, Problem> {
    let by = asked_by(&request);
    let call: ScaleApp = body::json(request).await?;
    set(&api, Some(&name), call.count.0, &by).await
}

async fn set(api: &Api, name: Option<&str>, count: u32, by: &str) -> Result<Json<App>, Problem> {
    api.control.knock().await?;
    let name = store::update(&*api.store, |desired| {
        let app = &desired.apps[&find(desired, name)?];
        let mut change = Change::default();
        if app.desired != count {
            // Before it is written, so that the log tells the wish before what comes of it.
            tracing::info!("{}: {count} replicas are asked for instead of {}{by}", app.name, app.desired);
            change.put_apps.push(cluster::App { desired: count, ..app.clone() });
        }
        Ok::<_, Problem>((change, app.name.clone()))
    })
    .await?;
    let app = api.control.status().await?.apps.into_iter().find(|app| app.name == name);
    app.map(|app| Json(App::of(app, api.sight.report().as_deref())))
        .ok_or_else(|| Problem::not_found(format!("the app {name} was removed in the meantime")))
}

/// The app that is meant: by its name, or the only one, or else the seed's.
fn find(desired: &Desired, name: Option<&str>) -> Result<AppName, Problem> {
    let apps = || desired.apps.values().filter(|app| !app.deleted).map(|app| &app.name);
    let all = || match apps().map(AppName::as_str).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "there is none yet; `ostler apply FILE` makes one".to_owned(),
        names => format!("the apps are: {names}"),
    };
    match name {
        Some(name) => {
            let found = apps().find(|known| known.as_str() == name);
            found.cloned().ok_or_else(|| Problem::not_found(format!("there is no app \"{name}\"; {}", all())))
        }
        None => {
            let mut names = apps();
            let only = names.next().filter(|_| names.next().is_none());
            let meant = only.cloned().or_else(|| apps().any(|name| *name == AppName::builtin()).then(AppName::builtin));
            meant.ok_or_else(|| Problem::bad_request(format!("say which app is meant, as in {{\"app\":\"NAME\",\"count\":4}}; {}", all())))
        }
    }
}
