//! Apps from a directory.

use std::fs;
use std::time::Instant;

use crate::harness::s3::ostler;
use crate::harness::{Home, Setup};

fn spec(environment: &str) -> String {
    format!("name = \"shop\"\ncommand = [\"worker\"]\nreplicas = 2\ndefault = true\n[env]\nWHAT = \"{environment}\"\n")
}

#[test]
fn a_file_in_a_directory_is_an_app_and_a_change_of_it_replaces_replicas() {
    let home = Home::new();
    let directory = home.path().join("tmp/apps");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("shop.toml"), spec("1")).unwrap();
    let cluster = Setup::new().controller_args(&["--apps", &format!("dir://{}", directory.display())]).start_in(home);
    let ready = |revision: u64| {
        cluster.wait_status("two replicas of the revision", |status| {
            status.app("shop").is_some_and(|app| app.ready == 2)
                && status.replicas.len() == 2
                && status.replicas.iter().all(|replica| replica.revision == revision)
        })
    };
    ready(1);
    assert_eq!(cluster.status().apps.len(), 1, "the built-in app is there as well");
    assert_eq!(cluster.get("/").status(), 200);

    let began = Instant::now();
    fs::write(directory.join("shop.toml"), spec("2")).unwrap();
    cluster.wait_status("a replica of revision 2", |status| status.replicas.iter().any(|replica| replica.revision == 2));
    println!("a change in the directory was a new replica after {:?}", began.elapsed());
    ready(2);

    // What comes from a file is changed there.
    let refused = ostler(&cluster.home, &cluster.controller.url(), &["delete", "shop"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("change or remove that file instead"), "{refused:?}");
    fs::remove_file(directory.join("shop.toml")).unwrap();
    cluster.wait_status("an app without its file", |status| status.app("shop").unwrap().source_error.contains("ostler delete shop"));
    ready(2);
    assert_eq!(ostler(&cluster.home, &cluster.controller.url(), &["delete", "shop"]).code, Some(0));
    cluster.wait_status("no app", |status| status.apps.is_empty() && status.replicas.is_empty());
    fs::remove_dir(&directory).unwrap();
}
