//! The programs of `examples/`, which nobody here wrote for Ostler, each run by the spec that stands beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::cluster::Cluster;
use crate::harness::{Home, PATIENCE, Setup, needs, program, python, wait_for};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A cluster whose source holds these examples; their programs are started beside their files. `None` where a program is missing, which was
/// said.
#[track_caller]
fn run(names: &[&str], programs: &[&str]) -> Option<Cluster> {
    for program in programs {
        let is_there = match *program {
            "python3" => python::with("http.server").is_some(),
            program => needs::program(program).is_some(),
        };
        if !needs::is_there(&format!("the example {}", names.join(", ")), program, is_there) {
            return None;
        }
    }
    let home = Home::new();
    let source = home.path().join("apps");
    fs::create_dir(&source).unwrap();
    for name in names {
        fs::copy(examples().join(format!("{name}.toml")), source.join(format!("{name}.toml"))).unwrap();
        symlink(examples().join(name), home.cwd().join(name)).unwrap();
    }
    if let Some(python) = python::with("http.server") {
        // What is on PATH may be a script that needs more of the environment than a replica has.
        symlink(python, home.cwd().join("python3")).unwrap();
    }
    let cluster = Setup::new().agents(1).controller_args(&["--apps", &format!("dir://{}", source.display())]).start_in(home);
    cluster.wait_status("all apps ready", |status| {
        status.apps.len() == names.len() && status.apps.iter().all(|app| app.desired > 0 && app.ready == app.desired)
    });
    Some(cluster)
}

#[track_caller]
fn shows(cluster: &Cluster, path: &str, text: &str) {
    let answer = cluster.get(path).ok();
    assert!(answer.text().contains(text), "{path}: {}", answer.text());
}

#[test]
fn every_spec_of_the_examples_is_good_and_all_fit_together() {
    let home = Home::new();
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    let ended = program::run(&home, command.arg("validate").arg(examples()));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let listed = fs::read_to_string(examples().join("README.md")).unwrap();
    for entry in fs::read_dir(examples()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.ends_with(".toml") || listed.contains(&format!("]({name})")), "README.md says nothing of {name}");
    }
}

#[test]
fn a_static_site_is_served_by_busybox() {
    let Some(cluster) = run(&["site"], &["busybox"]) else { return };
    shows(&cluster, "/", "A static site");
    assert_eq!(cluster.get("/nothing").status(), 404);
}

#[test]
fn a_directory_is_served_by_python() {
    let Some(cluster) = run(&["files"], &["python3"]) else { return };
    shows(&cluster, "/files/", "hello.txt");
    shows(&cluster, "/files/hello.txt", "served by Python");
}

#[test]
fn a_node_program_tells_the_time() {
    let Some(cluster) = run(&["clock"], &["node"]) else { return };
    shows(&cluster, "/clock", "It is 2");
}

#[test]
fn a_shell_script_greets() {
    let Some(cluster) = run(&["greeter"], &["socat"]) else { return };
    for _ in 0..4 {
        shows(&cluster, "/greeter", "Hello from a shell script: GET /greeter HTTP/1.1");
    }
}

#[test]
fn one_program_calls_another_by_the_address_that_it_is_given() {
    let Some(cluster) = run(&["shop", "stock"], &["python3", "node"]) else { return };
    let mut seen = std::collections::BTreeSet::new();
    wait_for(PATIENCE, "answers from both replicas of stock", || {
        let answer = cluster.get("/shop").ok().text();
        assert!(answer.contains("12 oats, 7 hay"), "{answer}");
        seen.insert(answer);
        if seen.len() == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    // It has no route.
    assert_eq!(cluster.get("/stock").status(), 404);
}
