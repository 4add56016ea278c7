//! A controller that is restarted on purpose, its listening socket kept by the service manager.

use rustix::process::Signal;

use crate::harness::load::Load;
use crate::harness::{PATIENCE, Setup};

#[test]
fn a_planned_restart_fails_no_request_and_touches_no_worker() {
    let mut cluster = Setup::new().socket_unit().start();
    let before = cluster.settle(4);
    let load = Load::mixed(cluster.address(), 8);
    for _ in 0..3 {
        load.wait_more(60);
        cluster.controller.program.signal(Signal::TERM);
        assert!(cluster.controller.program.wait_end(PATIENCE).success());
        cluster.restart_controller();
    }
    load.wait_more(60);
    let done = load.done();
    load.stop_without_failure();
    assert!(done > 240, "{done}");
    let after = cluster.wait_settled(4);
    assert_eq!(after.pids(), before.pids(), "what runs was not touched");
    assert!(after.replicas.iter().all(|replica| replica.restarts == 0), "{after:#?}");
    let log = cluster.controller.program.log();
    assert!(log.contains("handed over"), "{log}");
    cluster.wait_processes_match();
    cluster.controller.program.signal(Signal::TERM);
    assert!(cluster.controller.program.wait_end(PATIENCE).success());
}

#[test]
fn a_socket_that_nobody_asked_for_is_refused_in_one_line() {
    use crate::harness::socket_unit::SocketUnit;
    use crate::harness::{Home, ports, program};
    let home = Home::new();
    let unit = SocketUnit::open();
    let mut command = unit.command(&home, &home.cwd().join("controller").to_string_lossy());
    command.args(["--port", &ports::free().to_string(), "--data-dir"]).arg(home.path().join("data"));
    let mut controller = program::Program::start(&home, "controller", &mut command);
    assert_eq!(controller.wait_end(PATIENCE).code(), Some(1));
    let log = controller.log();
    assert!(log.contains(&unit.port().to_string()) && log.contains("--gateway-listen"), "{log}");
    assert!(!home.path().join("data").exists(), "nothing was made");
}
