//! The command lines of the programs.

use std::process::Stdio;

use crate::harness::cluster::{Agent, Controller, local};
use crate::harness::http::Call;
use crate::harness::program::{self, Program};
use crate::harness::{Home, PATIENCE, ports, wait_until};

#[test]
fn every_program_tells_its_version_and_explains_itself() {
    let home = Home::new();
    for name in ["ostler", "controller", "agent", "worker"] {
        let program = home.cwd().join(name).to_string_lossy().into_owned();
        let version = program::run(&home, home.command(&program).arg("--version"));
        assert_eq!((version.code, version.stdout.trim()), (Some(0), format!("{name} {}", env!("CARGO_PKG_VERSION")).as_str()));
        let help = program::run(&home, home.command(&program).arg("--help"));
        assert!(help.code == Some(0) && help.stdout.contains("Usage"), "{help:?}");
        let wrong = program::run(&home, home.command(&program).arg("--no-such-flag"));
        assert!(wrong.code == Some(2) && wrong.stderr.contains("--no-such-flag"), "{wrong:?}");
    }
}

#[test]
fn one_program_takes_every_role() {
    let home = Home::new();
    let ostler = home.cwd().join("ostler").to_string_lossy().into_owned();
    let port = ports::free();
    let mut agent = home.command(&ostler);
    agent.args(["agent", "-port", &port.to_string(), "--runtime-dir"]).arg(home.path().join("agent"));
    let mut agent = Program::start(&home, "ostler-agent", &mut agent);
    wait_until(PATIENCE, "answer of the agent", || Call::get("/v1/node").try_send(local(port)).is_ok_and(|answer| answer.status() == 200));
    agent.interrupt();
    assert!(agent.wait_end(PATIENCE).success());

    let port = ports::free();
    let mut controller = home.command(&ostler);
    controller.args(["controller", &format!("-port={port}"), "-data-dir"]).arg(home.path().join("data"));
    let mut controller = Program::start(&home, "ostler-controller", &mut controller);
    wait_until(PATIENCE, "answer of the controller", || {
        Call::get("/status").try_send(local(port)).is_ok_and(|answer| answer.status() == 200)
    });
    controller.interrupt();
    assert!(controller.wait_end(PATIENCE).success());

    let port = ports::free();
    let mut worker = Program::start(&home, "ostler-worker", home.command(&ostler).args(["worker", "--port", &port.to_string()]));
    wait_until(PATIENCE, "answer of the worker", || Call::get("/").try_send(local(port)).is_ok());
    worker.interrupt();
    assert!(worker.wait_end(PATIENCE).success());
}

#[test]
fn a_link_called_worker_is_a_worker() {
    let home = Home::without_programs();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ostler"), home.cwd().join("worker")).unwrap();
    let port = ports::free();
    let mut command = home.command(&home.cwd().join("worker").to_string_lossy());
    let mut worker =
        Program::start(&home, "worker", command.env("HOST", "127.0.0.1").env("PORT", port.to_string()).env("OSTLER_REPLICA_ID", "w-1"));
    let hello = || Call::get("/").try_send(local(port)).map(|answer| answer.text()).unwrap_or_default();
    wait_until(PATIENCE, "the worker's answer", || hello().starts_with("Hello from Worker ID: w-1. Uptime: "));
    worker.interrupt();
    assert!(worker.wait_end(PATIENCE).success());
}

#[test]
fn port_0_takes_a_free_port_and_tells_it() {
    let home = Home::new();
    for (name, directory) in [("controller", "--data-dir"), ("agent", "--runtime-dir")] {
        let mut command = home.command(&home.cwd().join(name).to_string_lossy());
        command.args(["--port", "0", directory]).arg(home.path().join(name)).stdin(Stdio::null());
        let mut program = Program::start(&home, name, &mut command);
        let line = program.wait_log(PATIENCE, "listening on 127.0.0.1:");
        let (_, port) = line.split_once("listening on 127.0.0.1:").unwrap();
        let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(Call::get("/healthz").send(local(digits.parse().unwrap())).status(), 200, "{line}");
        program.interrupt();
        assert!(program.wait_end(PATIENCE).success());
    }
}

#[test]
fn lost_after_has_a_lower_bound() {
    let home = Home::new();
    let mut command = home.command(&home.cwd().join("controller").to_string_lossy());
    let ended = program::run(&home, command.args(["--lost-after", "500ms", "--data-dir"]).arg(home.path().join("data")));
    assert!(ended.code == Some(2) && ended.stderr.contains("1000ms"), "{ended:?}");
}

#[test]
fn both_loopback_addresses_are_listened_on() {
    let home = Home::new();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let mut agent = Agent::start(&home, ports::free(), &[]);
    let mut controller = Controller::start(&home, ports::free(), &[]);
    for port in [agent.port, controller.port] {
        assert_eq!(Call::get("/healthz").send(format!("[::1]:{port}").parse().unwrap()).status(), 200);
    }
    agent.program.interrupt();
    controller.program.interrupt();
    assert!(agent.program.wait_end(PATIENCE).success());
    assert!(controller.program.wait_end(PATIENCE).success());
}
