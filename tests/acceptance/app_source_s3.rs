//! Apps from a bucket of a real S3 server: it changes, refuses, is slow, breaks off, dies and comes back.

use std::time::{Duration, Instant};

use crate::harness::detour::{Detour, Way};
use crate::harness::s3::{self, BUCKET, KEY, S3, SECRET};
use crate::harness::{Cluster, Home, Setup};

const LONG: Duration = Duration::from_secs(40);

fn spec(name: &str, environment: &str, replicas: u32) -> String {
    format!("name = \"{name}\"\ncommand = [\"worker\"]\nreplicas = {replicas}\n[env]\nWHAT = \"{environment}\"\n")
}

fn setup(endpoint: &str, secret: &str, args: &[&str]) -> Setup {
    Setup::new()
        .agents(1)
        .controller_args(&["--apps", &format!("s3://{BUCKET}/prod")])
        .controller_args(args)
        .controller_env("AWS_ENDPOINT_URL", endpoint)
        .controller_env("AWS_ALLOW_HTTP", "true")
        .controller_env("AWS_ACCESS_KEY_ID", KEY)
        .controller_env("AWS_SECRET_ACCESS_KEY", secret)
}

/// Waits until an app has this revision, and so many replicas of it are ready and there is no other.
#[track_caller]
fn wait_revision(cluster: &Cluster, name: &str, revision: u64, count: u64) {
    cluster.wait_status_within(LONG, "the revision", |status| {
        let replicas: Vec<_> = status.replicas.iter().filter(|replica| replica.app == name).collect();
        status.app(name).is_some_and(|app| app.revision == revision && app.ready == count)
            && replicas.len() as u64 == count
            && replicas.iter().all(|replica| replica.revision == revision)
    });
}

#[track_caller]
fn wait_error(cluster: &Cluster, says: &str) {
    cluster.wait_status_within(LONG, says, |status| status.source_error().contains(says));
}

#[track_caller]
fn wait_no_error(cluster: &Cluster) {
    cluster.wait_status_within(LONG, "a source that can be read", |status| status.source_error().is_empty());
}

#[test]
fn a_bucket_is_listed_and_followed_and_its_loss_stops_and_restarts_nothing() {
    if !s3::is_there("a_bucket_is_listed_and_followed_and_its_loss_stops_and_restarts_nothing") {
        return;
    }
    let home = Home::new();
    let mut server = S3::start(&home);
    server.put(&home, "prod/shop.toml", &spec("shop", "1", 2));
    server.put(&home, "prod/eu/db.toml", &spec("db", "1", 1));
    server.put(&home, "prod/README", "no app");
    server.put(&home, "other/x.toml", &spec("x", "1", 1));
    let cluster = setup(&format!("http://127.0.0.1:{}", server.port()), SECRET, &["--prune"]).start_in(home);
    wait_revision(&cluster, "shop", 1, 2);
    wait_revision(&cluster, "db", 1, 1);
    let names: Vec<String> = cluster.status().apps.into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["db", "shop"]);

    // At the default poll.
    let began = Instant::now();
    server.put(&cluster.home, "prod/shop.toml", &spec("shop", "2", 2));
    cluster.wait_status("a replica of revision 2", |status| {
        status.replicas.iter().any(|replica| replica.app == "shop" && replica.revision == 2)
    });
    println!("a change in the bucket was a new replica after {:?}", began.elapsed());
    wait_revision(&cluster, "shop", 2, 2);
    assert_eq!(cluster.status().app("db").unwrap().revision, 1);

    server.put(&cluster.home, "prod/shop.toml", "name = \"shop\"\nreplicas = 9\n");
    cluster.wait_status("the error", |status| status.app("shop").unwrap().source_error.contains("shop.toml:1:1"));
    wait_revision(&cluster, "shop", 2, 2);
    let shown = s3::ostler(&cluster.home, &cluster.controller.url(), &["apps"]).stdout;
    assert!(shown.contains("shop.toml:1:1") && shown.contains(&format!("s3://{BUCKET}/prod/shop.toml")), "{shown}");
    server.put(&cluster.home, "prod/shop.toml", &spec("shop", "2", 2));
    cluster.wait_status("no error", |status| status.app("shop").unwrap().source_error.is_empty());

    let before = cluster.replica_processes();
    server.kill();
    wait_error(&cluster, "refused");
    assert_eq!(cluster.replica_processes(), before);
    server.restart(&cluster.home);
    wait_no_error(&cluster);
    assert_eq!(cluster.replica_processes(), before);

    server.delete("prod/eu/db.toml");
    cluster.wait_status_within(LONG, "the end of db", |status| status.app("db").is_none());
    wait_revision(&cluster, "shop", 2, 2);
    server.delete("prod/shop.toml");
    cluster.wait_status("an app without its file", |status| !status.app("shop").unwrap().source_error.is_empty());
    wait_revision(&cluster, "shop", 2, 2);
    assert!(!cluster.controller.program.log().contains(SECRET));
    drop(server);
}

#[test]
fn credentials_that_are_wrong_and_a_way_that_is_bad_are_told_and_change_nothing() {
    if !s3::is_there("credentials_that_are_wrong_and_a_way_that_is_bad_are_told_and_change_nothing") {
        return;
    }
    let home = Home::new();
    let server = S3::start(&home);
    server.put(&home, "prod/shop.toml", &spec("shop", "1", 1));
    let detour = Detour::to(server.port());
    let mut cluster = setup(&detour.url(), "wrong", &["--apps-poll", "200ms"]).start_in(home);
    wait_error(&cluster, "AWS_SECRET_ACCESS_KEY");
    assert!(cluster.status().apps.is_empty());
    cluster.controller.program.kill();
    cluster.replace_controller(setup(&detour.url(), SECRET, &["--apps-poll", "200ms"]));
    wait_revision(&cluster, "shop", 1, 1);
    let before = cluster.replica_processes();

    detour.set(Way::YearAgo);
    wait_error(&cluster, "set the clock of this host");
    detour.set(Way::Silent);
    wait_error(&cluster, "time");
    detour.set(Way::CutAfter(300));
    cluster
        .wait_status_within(LONG, "another error", |status| !status.source_error().is_empty() && !status.source_error().contains("clock"));
    assert_eq!(cluster.replica_processes(), before);
    detour.set(Way::Slow(300));
    wait_no_error(&cluster);
    server.put(&cluster.home, "prod/shop.toml", &spec("shop", "2", 1));
    wait_revision(&cluster, "shop", 2, 1);

    // An object that breaks off: its listing is whole, and its app is as it was.
    let before = cluster.replica_processes();
    let long = format!("{}# {}\n", spec("shop", "3", 1), "x".repeat(50_000));
    detour.set(Way::CutAfter(20_000));
    server.put(&cluster.home, "prod/shop.toml", &long);
    cluster.wait_status_within(LONG, "the error", |status| status.app("shop").unwrap().source_error.contains("cannot be read"));
    assert_eq!(cluster.replica_processes(), before);
    detour.set(Way::Open);
    wait_revision(&cluster, "shop", 3, 1);
    let shown = [cluster.controller.program.log(), cluster.get("/status").text()].concat();
    assert!(!shown.contains(SECRET) && !shown.contains(KEY), "a credential is shown");
    drop(detour);
    drop(server);
}
