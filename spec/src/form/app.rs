//! The whole spec.

use std::collections::{BTreeMap, BTreeSet};

use cluster::app::{App, AppName, AppSpec, COUNT_DEFAULT, COUNT_MAX, USES_MAX};
use cluster::health::CHECKS_MAX;
use cluster::placeholder;
use cluster::rule::ROUTES_MAX;
use cluster::run_as::SocketMode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::artifact::ArtifactForm;
use super::gateway::GatewayForm;
use super::health::HealthForm;
use super::limits::LimitsForm;
use super::logs::LogsForm;
use super::placement::PlacementForm;
use super::restart::RestartForm;
use super::route::RouteForm;
use super::run_as::{RunAsForm, SandboxForm};
use super::stop::StopForm;
use super::{is_default, words};
use crate::fault::{Faults, Path, at, shown};
use crate::suggest;

/// What Ostler itself sets for each replica.
const OWN_VARIABLES: [&str; 3] = ["HOST", "PORT", "LISTEN_FDS"];

/// An app of Ostler: a program, how many replicas of it run and where, and which requests they get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "App spec of Ostler")]
pub(crate) struct AppForm {
    /// Its name: 1 to 63 of a-z, 0-9 and '-', with no '-' at either end.
    #[schemars(with = "String", regex(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"), example = &"shop")]
    name: AppName,
    /// The program and its arguments. A program without a '/' is looked up in the agent's working directory, beside the agent and on PATH.
    /// `{port}`, `{host}` and `{replica}` (its id) are put in; `{{port}}` stands for the text `{port}`. No shell reads it.
    #[schemars(length(min = 1), example = vec!["./shop", "--port", "{port}"])]
    command: Vec<String>,
    /// How many replicas run. `ostler scale` changes the count of a running app; this one is in force again once it is changed here.
    #[serde(default = "count_default")]
    #[schemars(range(max = COUNT_MAX))]
    replicas: u32,
    /// It gets the requests that no route of any app claims. One app at most.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = bool::default()))]
    default: bool,
    /// Who opens the socket that a replica is called at.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(schema_with = "socket_words", extend("default" = SocketMode::default()))]
    socket: SocketMode,
    /// Apps that it calls, by name. For each, a replica finds the address of a local balancer in `OSTLER_USES_NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = USES_MAX), example = vec!["db"])]
    uses: Vec<AppName>,
    /// Environment variables, beside those that every replica gets. Values are texts, and take the placeholders of `command`. `HOST`, `PORT`
    /// and what begins with `OSTLER_` are Ostler's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(example = serde_json::json!({ "COLOUR": "red" }))]
    env: BTreeMap<String, String>,
    /// What is fetched before a replica starts, if the program is not on the host already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ArtifactForm")]
    artifact: Option<ArtifactForm>,
    /// Requests that belong to it. A request belongs to the route with the most exact host, then with the longest path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = ROUTES_MAX))]
    route: Vec<RouteForm>,
    /// Checks of a replica. Without one for readiness, a replica gets requests once its port accepts a connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = CHECKS_MAX))]
    health: Vec<HealthForm>,
    /// When a process that ended is started again: at once, then after waits that double.
    #[serde(default, skip_serializing_if = "is_default")]
    restart: RestartForm,
    /// What each replica may use of its host, all its processes together unless said otherwise. What is absent is not limited.
    #[serde(default, skip_serializing_if = "is_default")]
    limits: LimitsForm,
    /// On which nodes replicas run.
    #[serde(default, skip_serializing_if = "is_default")]
    placement: PlacementForm,
    /// How a replica is stopped: no new requests, then SIGTERM, then SIGKILL.
    #[serde(default, skip_serializing_if = "is_default")]
    stop: StopForm,
    /// How requests reach the replicas. What is absent is as the controller's command line says for all apps.
    #[serde(default, skip_serializing_if = "is_default")]
    gateway: GatewayForm,
    /// How much of what a replica writes is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    logs: LogsForm,
    /// As whom and where a replica runs. What is absent is as it is for the agent.
    #[serde(default, skip_serializing_if = "is_default")]
    run_as: RunAsForm,
    /// With this table a replica can use the files that are named here, and programs and libraries of the system. Without it, all that its user can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SandboxForm")]
    sandbox: Option<SandboxForm>,
}

fn count_default() -> u32 {
    COUNT_DEFAULT
}

fn socket_words(_: &mut SchemaGenerator) -> Schema {
    words(&[
        ("bind", "the program, at `HOST` and `PORT`"),
        ("pass", "the agent, which hands it over (`LISTEN_FDS`), so that a restart refuses no connection"),
    ])
}

impl AppForm {
    /// The app that is meant, of revision 1, with as many replicas as it says.
    pub(crate) fn app(self, faults: &mut Faults) -> App {
        self.check(faults);
        let spec = AppSpec {
            artifact: self.artifact.map(|artifact| artifact.artifact(faults)),
            env: self.env,
            health: self.health.into_iter().enumerate().map(|(at, check)| check.check(at, faults)).collect(),
            logs: self.logs.spec(faults),
            restart: self.restart.policy(faults),
            strict_limits: self.limits.strict,
            limits: self.limits.limits(faults),
            run_as: self.run_as.run_as(faults),
            sandbox: self.sandbox.map(|sandbox| sandbox.sandbox(faults)),
            socket: self.socket,
            uses: self.uses,
            drain_ms: self.stop.drain.up_to_a_day(at!["stop", "drain"], faults),
            grace_ms: self.stop.grace.up_to_a_day(at!["stop", "grace"], faults),
            ..AppSpec::new(self.command)
        };
        if let Err(error) = cluster::health::validate(&spec.health)
            && faults.0.is_empty()
        {
            faults.add(at!["health"], error.to_string());
        }
        App {
            desired: self.replicas,
            replicas: self.replicas,
            default: self.default,
            routes: self.route.into_iter().map(RouteForm::rule).collect(),
            placement: self.placement.placement(faults),
            traffic: self.gateway.policy(faults),
            ..App::new(self.name, spec)
        }
    }

    fn check(&self, faults: &mut Faults) {
        if self.command.first().is_none_or(String::is_empty) {
            faults.add(at!["command"], "there is no program; write it first, as in [\"./shop\", \"--port\", \"{port}\"]");
        }
        for (at, text) in self.command.iter().enumerate() {
            check_text(text, at!["command", at], faults);
        }
        if self.replicas > COUNT_MAX {
            faults.add(at!["replicas"], format!("{} is out of range; give 0 to {COUNT_MAX}", self.replicas));
        }
        for (name, value) in &self.env {
            let path = || at!["env", name.as_str()];
            if name.is_empty() || name.contains('=') || name.contains(char::is_control) {
                faults.add_of_key(path(), "no environment variable can have this name; leave out '=' and control characters");
            } else if name.starts_with("OSTLER_") || OWN_VARIABLES.contains(&name.as_str()) {
                faults.add_of_key(
                    path(),
                    "Ostler sets this variable itself; take another name, into whose value {port}, {host} and {replica} can be put",
                );
            }
            check_text(value, path(), faults);
        }
        let mut used = BTreeSet::new();
        for (at, name) in self.uses.iter().enumerate() {
            if !used.insert(name) {
                faults.add(at!["uses", at], format!("\"{name}\" is here twice; leave one"));
            }
        }
        let mut routes = BTreeSet::new();
        for (at, route) in self.route.iter().enumerate() {
            if !routes.insert((&route.host, &route.path)) {
                faults.add(at!["route", at], "this host and path are here twice; leave one");
            }
        }
        let bounds =
            [("uses", self.uses.len(), USES_MAX), ("route", self.route.len(), ROUTES_MAX), ("health", self.health.len(), CHECKS_MAX)];
        for (key, count, most) in bounds {
            if count > most {
                faults.add(at![key], format!("there are {count} here; leave it at {most}"));
            }
        }
    }
}

/// What a program can be given: no NUL, and no placeholder that there is none of.
fn check_text(text: &str, path: Path, faults: &mut Faults) {
    if text.contains('\0') {
        faults.add(path, "this holds a NUL character, which no program can be given; take it out");
    } else if let Some(name) = placeholder::unknown(text) {
        let name = shown(name);
        let hint = suggest::nearest(&name, &placeholder::NAMES).map(|near| format!("did you mean {{{near}}}? If not,"));
        let hint = hint.unwrap_or_else(|| "there are {port}, {host} and {replica};".to_owned());
        faults.add(path, format!("there is no placeholder {{{name}}}; {hint} write {{{{{name}}}}} for the text itself"));
    }
}

impl From<&App> for AppForm {
    fn from(app: &App) -> Self {
        let spec = &app.spec;
        AppForm {
            name: app.name.clone(),
            command: spec.command.clone(),
            replicas: app.replicas,
            default: app.default,
            socket: spec.socket,
            uses: spec.uses.clone(),
            env: spec.env.clone(),
            artifact: spec.artifact.as_ref().map(ArtifactForm::from),
            route: app.routes.iter().map(RouteForm::from).collect(),
            health: spec.health.iter().map(HealthForm::from).collect(),
            restart: RestartForm::from(&spec.restart),
            limits: LimitsForm::from((&spec.limits, spec.strict_limits)),
            placement: PlacementForm::from(&app.placement),
            stop: StopForm::from(spec),
            gateway: GatewayForm::from(&app.traffic),
            logs: LogsForm::from(&spec.logs),
            run_as: RunAsForm::from(&spec.run_as),
            sandbox: spec.sandbox.as_ref().map(SandboxForm::from),
        }
    }
}
