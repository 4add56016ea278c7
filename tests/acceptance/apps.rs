//! Apps by hand: `ostler apply`, `diff`, `apps`, `scale` and `delete`, as an operator types them; and no request is lost meanwhile.

use std::fs;

use crate::harness::s3::ostler;
use crate::harness::traffic::Traffic;
use crate::harness::{Cluster, Setup};

fn write(cluster: &Cluster, environment: &str, rest: &str) -> String {
    let path = cluster.home.cwd().join("worker.toml");
    fs::write(&path, format!("name = \"worker\"\ncommand = [\"worker\"]\n{rest}\n[env]\nWHAT = \"{environment}\"\n")).unwrap();
    path.display().to_string()
}

#[test]
fn an_app_is_applied_compared_scaled_and_deleted_from_the_command_line() {
    let cluster = Setup::new().start();
    let run = |args: &[&str]| ostler(&cluster.home, &cluster.controller.url(), args);
    let file = write(&cluster, "1", "replicas = 2");
    let diff = run(&["diff", &file]);
    assert_eq!(diff.code, Some(1), "{diff:?}");
    assert!(diff.stdout.contains("+ WHAT = \"1\""), "{diff:?}");
    assert_eq!(run(&["apply", &file]).code, Some(0));
    assert_eq!(run(&["diff", &file]).code, Some(0));
    cluster.wait_settled(2);
    assert_eq!(run(&["scale", "worker", "3"]).code, Some(0));
    let again = run(&["apply", &file]);
    assert!(again.stdout.contains("unchanged") && again.stdout.contains("3 replicas (scaled; its spec says 2)"), "{again:?}");
    let apps = run(&["apps"]);
    assert!(apps.stdout.contains("by hand") && apps.stdout.contains("scale"), "{apps:?}");
    let old = run(&["apply", "--revision", "1", &file]);
    assert_eq!(old.code, Some(1));
    assert!(old.stderr.contains("has revision 2"), "{old:?}");
    let shown = run(&["apps", "worker"]);
    assert!(shown.stdout.contains("WHAT = \"1\""), "{shown:?}");

    let bad = write(&cluster, "1", "replica = 2");
    for command in ["apply", "diff"] {
        let refused = run(&[command, &bad]);
        assert_eq!(refused.code, Some(if command == "diff" { 2 } else { 1 }), "{refused:?}");
        assert!(refused.stderr.contains("did you mean \"replicas\""), "{refused:?}");
    }
    assert_eq!(run(&["delete", "worker"]).code, Some(0));
    cluster.wait_status("nothing", |status| status.apps.is_empty() && status.replicas.is_empty());
    assert_eq!(run(&["delete", "worker"]).code, Some(1));
}

#[test]
fn no_request_is_lost_while_a_changed_spec_replaces_every_replica() {
    let cluster = Setup::new().start();
    let run = |args: &[&str]| ostler(&cluster.home, &cluster.controller.url(), args);
    assert_eq!(run(&["apply", &write(&cluster, "1", "replicas = 4")]).code, Some(0));
    let before = cluster.wait_settled(4);
    let traffic = Traffic::start(cluster.address());
    traffic.wait_more(300);
    assert_eq!(run(&["apply", &write(&cluster, "2", "replicas = 4")]).code, Some(0));
    let after = cluster.wait_status("four replicas of the next revision", |status| {
        status.has_settled(4) && status.replicas.iter().all(|replica| replica.revision == 3)
    });
    assert!(before.ids().is_disjoint(&after.ids()));
    traffic.wait_more(300);
    traffic.stop().assert_nothing_lost();
}
