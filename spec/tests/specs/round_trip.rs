//! An app is written as the spec that is read as it.

use std::collections::BTreeMap;

use cluster::app::{App, AppSpec};
use cluster::artifact::Artifact;
use cluster::constraint::Placement;
use cluster::health::{Check, Kind, Purpose};
use cluster::io_class::IoClass;
use cluster::limits::{Cores, Limits};
use cluster::logs::LogSpec;
use cluster::restart::{RestartPolicy, When};
use cluster::route::Deadlines;
use cluster::rule::RouteRule;
use cluster::run_as::{RunAs, Sandbox, SocketMode};
use cluster::traffic::Protocol;
use cluster::traffic_policy::TrafficPolicy;
use proptest::option::of;
use proptest::prelude::*;
use spec::{Format, parse};

use crate::wild::WHOLE;

/// A text that a program can be given, quotes and line ends too.
fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \"'\\\\\n\t=#\u{e4}$\\[\\]]{0,12}"
}

/// One of these texts, read.
fn one<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(texts: &'static [&'static str]) -> impl Strategy<Value = T> {
    proptest::sample::select(texts).prop_map(|text| text.parse().unwrap())
}

fn ms() -> impl Strategy<Value = u64> {
    prop_oneof![1..=86_400_000u64, (1..=24u64).prop_map(|hours| hours * 3_600_000)]
}

fn check() -> impl Strategy<Value = Check> {
    let kind = prop_oneof![
        Just(Kind::Tcp),
        (one(&["200-299", "204"]), of(Just("a.example".to_owned()))).prop_map(|(status, host)| Kind::http(
            Some("/x?y=z".to_owned()),
            Some(status),
            host
        )),
        text().prop_map(|arg| Kind::Exec { command: vec!["./check".to_owned(), arg] }),
    ];
    let purpose = prop_oneof![Just(Purpose::Readiness), Just(Purpose::Liveness), Just(Purpose::Both)];
    (kind, purpose, 100..=86_400_000u64, 10..=600_000u64, 1..=1_000u32, 1..=1_000u32, 0..=86_400_000u64).prop_map(
        |(kind, purpose, interval_ms, timeout_ms, healthy, unhealthy, initial_grace_ms)| Check {
            kind,
            purpose,
            interval_ms,
            timeout_ms,
            healthy,
            unhealthy,
            initial_grace_ms,
        },
    )
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let digest = one(&["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"]);
    (one(&["https://a.example/x.zip", "s3://b/k", "file:///srv/x"]), digest)
        .prop_map(|(url, sha256)| Artifact { url, sha256: Some(sha256) })
}

fn limits() -> impl Strategy<Value = Limits> {
    let io = of(prop_oneof![Just(IoClass::Idle), (0..=7u8).prop_map(IoClass::BestEffort), (0..=7u8).prop_map(IoClass::Realtime)]);
    (of((1u64 << 20)..1 << 50), of(10..=100_000_000i64), of(1..=4_194_304u64), of(16..=1u64 << 30), of(any::<u64>()), of(-20..=19), io)
        .prop_map(|(memory_bytes, milli, pids, open_files, core_bytes, nice, io)| Limits {
            memory_bytes,
            cpu: milli.map(|milli| Cores { milli }),
            pids,
            open_files,
            core_bytes,
            nice,
            io,
        })
}

fn traffic() -> impl Strategy<Value = TrafficPolicy> {
    let balance = of(one(&["round-robin", "least-request", "cookie:Session", "header:x-user"]));
    let protocol = of(prop_oneof![Just(Protocol::Http1), Just(Protocol::H2c)]);
    (balance, of(ms()), of(0..=100u8), protocol, of(ms()), of(ms()), of(ms()), of(ms()), of(0..=10u32)).prop_map(
        |(balance, slow_start_ms, max_ejected_percent, protocol, keepalive_idle_ms, connect_ms, first_byte_ms, hold_ms, retries)| {
            TrafficPolicy {
                balance,
                slow_start_ms,
                max_ejected_percent,
                protocol,
                keepalive_idle_ms,
                deadlines: Deadlines { connect_ms, first_byte_ms, body_idle_ms: connect_ms, hold_ms, retries },
            }
        },
    )
}

fn run_as() -> impl Strategy<Value = RunAs> {
    let name = || of(Just("www-data".to_owned()));
    (name(), name(), of(Just("/srv/\u{e4} x".to_owned())), of(0..=0o777u32), any::<bool>(), any::<bool>()).prop_map(
        |(user, group, working_dir, umask, no_new_privs, private_tmp)| RunAs { user, group, working_dir, umask, no_new_privs, private_tmp },
    )
}

fn spec() -> impl Strategy<Value = AppSpec> {
    let command = proptest::collection::vec(text(), 0..4);
    let env = proptest::collection::btree_map("[A-Z]{6,8}", text(), 0..3);
    let restart = (prop_oneof![Just(When::Always), Just(When::OnFailure), Just(When::Never)], 0..1_000u64, 1_000..=86_400_000u64, ms())
        .prop_map(|(when, first_ms, max_ms, reset_after_ms)| RestartPolicy { when, first_ms, max_ms, reset_after_ms });
    let logs = (4_096..=1u64 << 40, 1..=1_000u32).prop_map(|(max_bytes, files)| LogSpec { max_bytes, files });
    let paths = || proptest::collection::vec(Just("/srv".to_owned()), 0..2);
    let sandbox = of((paths(), paths()).prop_map(|(read, write)| Sandbox { read, write }));
    let run = (limits(), any::<bool>(), run_as(), sandbox, any::<bool>());
    let uses = proptest::sample::subsequence(vec!["a", "b", "c-d"], 0..=3);
    let life = (proptest::collection::vec(check(), 0..4), restart, ms(), 0..=86_400_000u64, logs);
    (command, env, of(artifact()), life, run, uses).prop_map(
        |(args, env, artifact, (health, restart, drain_ms, grace_ms, logs), (limits, strict_limits, run_as, sandbox, pass), uses)| {
            let command = [vec!["./shop".to_owned()], args].concat();
            AppSpec {
                env,
                artifact,
                health,
                restart,
                drain_ms,
                grace_ms,
                logs,
                limits,
                strict_limits,
                run_as,
                sandbox,
                socket: if pass { SocketMode::Pass } else { SocketMode::Bind },
                uses: uses.into_iter().map(|name| name.parse().unwrap()).collect(),
                ..AppSpec::new(command)
            }
        },
    )
}

fn app() -> impl Strategy<Value = App> {
    let host = of(one(&["a.example", "*.example.com", "[::1]", "10.0.0.1"]));
    let rule = (host, one(&["/", "/api", "/a/%C3%A9"]), any::<bool>());
    let rule = rule.prop_map(|(host, path, strip_prefix)| RouteRule { host, path, strip_prefix });
    let routes = proptest::collection::vec(rule, 0..4).prop_map(|rules| {
        let unique: BTreeMap<_, _> = rules.into_iter().map(|rule| ((rule.host.clone(), rule.path.clone()), rule)).collect();
        unique.into_values().collect::<Vec<_>>()
    });
    let constraints = proptest::collection::vec(one(&["zone=a", "zone!=b", "ssd", "!gpu"]), 0..3);
    let placement = (constraints, of(Just("rack".to_owned())), of(1..=u32::MAX))
        .prop_map(|(constraints, spread, max_per_node)| Placement { constraints, spread, max_per_node });
    (spec(), 0..=1_000_000u32, any::<bool>(), routes, placement, traffic()).prop_map(
        |(spec, count, default, routes, placement, traffic)| App {
            desired: count,
            replicas: count,
            default,
            routes,
            placement,
            traffic,
            ..App::new("shop".parse().unwrap(), spec)
        },
    )
}

#[track_caller]
fn assert_same(app: &App) {
    let toml = spec::render(app);
    assert_eq!(parse(toml.as_bytes(), "x", Format::Toml).as_ref(), Ok(app), "{toml}");
    let json = spec::render_json(app).to_string();
    assert_eq!(parse(json.as_bytes(), "x", Format::Json).as_ref(), Ok(app), "{json}");
}

proptest! {
    #[test]
    fn an_app_is_written_as_the_spec_that_is_read_as_it(app in app()) {
        assert_same(&app);
    }
}

#[test]
fn a_spec_that_says_everything_is_taken() {
    let app = parse(WHOLE.as_bytes(), "x", Format::Toml).unwrap();
    assert_same(&app);
    assert_eq!((app.desired, app.spec.drain_ms, app.traffic.deadlines.hold_ms), (4, 60_000, Some(0)));
    assert_eq!(app.spec.limits.memory_bytes, Some(64 << 20));
    assert!(app.default && app.spec.strict_limits && app.routes[0].strip_prefix);
}

#[test]
fn the_smallest_app_has_the_smallest_spec() {
    let app = App::new("shop".parse().unwrap(), AppSpec::new(vec!["./shop".to_owned()]));
    assert_eq!(spec::render(&app), "name = \"shop\"\ncommand = [\"./shop\"]\nreplicas = 1\n");
}
