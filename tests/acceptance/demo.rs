//! `ostler demo`: a whole cluster by one command, and nothing left of it.

use std::time::Duration;

use crate::harness::cluster::local;
use crate::harness::http::Call;
use crate::harness::program::{self, Program};
use crate::harness::wait_until;
use crate::harness::{Home, PATIENCE, ports, processes, wait_for};

fn demo(home: &Home) -> Program {
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    Program::start(home, "demo", command.arg("demo").stdin(std::process::Stdio::null()))
}

/// The port that its curl lines name.
fn controller_port(demo: &mut Program) -> u16 {
    wait_for(Duration::from_secs(60), "curl lines with four workers behind them", || {
        if let Some(status) = demo.ended() {
            panic!("it ended ({status}): {}", demo.log());
        }
        let log = demo.log();
        let ports = log.split("http://localhost:").skip(1).filter_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        let has_status = |port: &u16| {
            Call::get("/status").within(Duration::from_secs(5)).try_send(local(*port)).is_ok_and(|answer| {
                answer.status() == 200
                    && answer.json()["apps"][0]["ready"] == 4
                    && answer.json()["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
            })
        };
        ports.into_iter().find(has_status).ok_or(log)
    })
}

#[test]
fn a_demo_ends_with_ctrl_c_and_leaves_nothing() {
    let _held = ports::those_of_the_description();
    let home = Home::new();
    let mut demo = demo(&home);
    let port = controller_port(&mut demo);
    for _ in 0..4 {
        assert!(Call::get("/").send(local(port)).ok().text().starts_with("Hello from Worker ID: "));
    }
    for text in ["curl", "/scale", "/status"] {
        demo.wait_log(PATIENCE, text);
    }
    demo.interrupt();
    assert!(demo.wait_end(Duration::from_secs(40)).success(), "{}", demo.log());
    home.wait_empty(Duration::from_secs(5));
    assert_eq!(home.strays(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_demo_that_is_killed_leaves_nothing() {
    let _held = ports::those_of_the_description();
    let home = Home::new();
    let mut demo = demo(&home);
    controller_port(&mut demo);
    assert!(processes::below(home.path()).len() >= 9, "controller, two agents, two guardians, four workers");
    demo.kill();
    home.wait_empty(PATIENCE);
    wait_for(PATIENCE, "the end of its directory", || {
        let strays = home.strays();
        if strays.is_empty() { Ok(()) } else { Err(format!("{strays:?}")) }
    });
}

#[test]
fn the_tour_walks_all_seven_scenarios() {
    let home = Home::new();
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    let ended = program::run_within(&home, Duration::from_secs(120), command.args(["demo", "--tour"]));
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    for number in 1..=7 {
        assert!(ended.stdout.contains(&format!("{number}.")), "no scenario {number}: {}", ended.stdout);
    }
    assert!(ended.stdout.contains(" ms") || ended.stdout.contains(" s"), "it tells what it measured: {}", ended.stdout);
    home.wait_empty(Duration::from_secs(5));
}

#[test]
fn a_demo_of_apps_runs_them_shows_where_they_are_and_leaves_nothing() {
    let _held = ports::those_of_the_description();
    let home = Home::new();
    // The worker is found beside the specs, by a relative path.
    let apps = home.path().join("apps");
    std::fs::create_dir(&apps).unwrap();
    std::os::unix::fs::symlink(home.cwd().join("worker"), apps.join("payload")).unwrap();
    std::fs::write(apps.join("web.toml"), "name = \"web\"\ncommand = [\"./payload\"]\nreplicas = 2\n[[route]]\npath = \"/web\"\n").unwrap();
    std::fs::write(apps.join("back.toml"), "name = \"back\"\ncommand = [\"./payload\"]\n").unwrap();
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    let mut demo = Program::start(&home, "demo", command.args(["demo", "--apps"]).arg(&apps).stdin(std::process::Stdio::null()));
    demo.wait_log(Duration::from_secs(60), "all apps of");
    demo.wait_log(PATIENCE, "back  (no route");
    let line = demo.wait_log(PATIENCE, "web   curl http://localhost:");
    let (port, _) = line.rsplit_once(':').unwrap().1.split_once('/').unwrap();
    let address = local(port.parse().unwrap());
    wait_until(PATIENCE, "an answer of the app", || Call::get("/web").send(address).text().starts_with("Hello from Worker ID: "));
    demo.interrupt();
    assert!(demo.wait_end(Duration::from_secs(40)).success(), "{}", demo.log());
    home.wait_empty(Duration::from_secs(5));
    assert_eq!(home.strays(), Vec::<std::path::PathBuf>::new());
    // Nothing starts where a spec is no good.
    std::fs::write(apps.join("bad.toml"), "name = \"bad\"\ncomand = []\n").unwrap();
    let mut command = home.command(&home.cwd().join("ostler").to_string_lossy());
    let ended = program::run(&home, command.args(["demo", "--apps"]).arg(&apps));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("bad.toml") && ended.stderr.contains("command"), "{}", ended.stderr);
}
