//! Things that are in the way when a program starts: one line says which, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::harness::cluster::Controller;
use crate::harness::program::{self, Ended, Program};
use crate::harness::{Home, PATIENCE, Setup, ports};

/// It failed, and said why in one line that holds `text`.
#[track_caller]
fn assert_one_line(ended: &Ended, program: &str, text: &str) {
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with(&format!("{program}: "))).collect();
    assert_eq!(lines.len(), 1, "one line is the error: {}", ended.stderr);
    assert!(lines[0].contains(text), "no \"{text}\" in: {}", lines[0]);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn controller(home: &Home, port: u16, data_dir: &Path) -> Ended {
    let mut command = home.command(&home.cwd().join("controller").to_string_lossy());
    program::run(home, command.args(["--port", &port.to_string(), "--data-dir"]).arg(data_dir))
}

fn agent(home: &Home, port: u16, runtime_dir: &Path) -> Ended {
    let mut command = home.command(&home.cwd().join("agent").to_string_lossy());
    program::run(home, command.args(["--port", &port.to_string(), "--runtime-dir"]).arg(runtime_dir))
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Setup::new().agents(1).start();
    let home = &cluster.home;
    let taken = cluster.controller.port;
    assert_one_line(&controller(home, taken, &home.path().join("other-data")), "controller", &taken.to_string());
    assert_one_line(&agent(home, taken, &home.path().join("other-agent")), "agent", &taken.to_string());
    let taken = cluster.agents[0].port;
    assert_one_line(&agent(home, taken, &home.path().join("other-agent")), "agent", &taken.to_string());
    cluster.settle(2);
}

#[test]
fn a_directory_in_use_is_named() {
    let cluster = Setup::new().agents(1).start();
    let home = &cluster.home;
    let before = cluster.settle(2);
    let data = cluster.controller.data_dir.clone();
    assert_one_line(&controller(home, ports::free(), &data), "controller", &data.to_string_lossy());
    let runtime = cluster.agents[0].runtime_dir.clone();
    assert_one_line(&agent(home, ports::free(), &runtime), "agent", &runtime.to_string_lossy());
    // Whoever was there first goes on, with all that it has.
    assert_eq!(cluster.settle(3).ids().intersection(&before.ids()).count(), 2);
}

#[test]
fn damaged_data_is_refused_and_left_as_it_is() {
    let home = Home::new();
    let data_dir = home.path().join("data");
    let port = ports::free();
    let mut first = Controller::start(&home, port, &[]);
    first.program.interrupt();
    assert!(first.program.wait_end(PATIENCE).success());
    let file = data_file(&data_dir);
    let good = fs::read(&file).unwrap();

    let damages: [(&str, Vec<u8>); 5] = [
        ("garbage", b"this is no database\n".repeat(1_000)),
        ("nothing", vec![]),
        ("its first half", good[..good.len() / 2].to_vec()),
        ("a damaged head", good.iter().enumerate().map(|(at, byte)| if at < 4_096 { !byte } else { *byte }).collect()),
        ("a short text", b"{}".to_vec()),
    ];
    for (what, bytes) in damages {
        fs::write(&file, &bytes).unwrap();
        let ended = controller(&home, port, &data_dir);
        assert_one_line(&ended, "controller", &file.to_string_lossy());
        assert!(fs::read(&file).unwrap() == bytes, "{what} was changed");
    }

    fs::write(&file, &good).unwrap();
    let mut again = Controller::start(&home, port, &[]);
    again.program.interrupt();
    assert!(again.program.wait_end(PATIENCE).success());
}

/// The file that holds the desired state: the largest.
fn data_file(data_dir: &Path) -> PathBuf {
    let files = fs::read_dir(data_dir).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn directories_that_cannot_be_made_are_named() {
    let home = Home::new();
    home.file("occupied", "", 0o644);
    let below = home.cwd().join("occupied").join("data");
    assert_one_line(&controller(&home, ports::free(), &below), "controller", &below.to_string_lossy());
    assert_one_line(&agent(&home, ports::free(), &below), "agent", &below.to_string_lossy());
}

#[test]
fn only_loopback_is_listened_on_in_the_clear() {
    let home = Home::new();
    let port = ports::free();
    let everywhere = format!("0.0.0.0:{port}");
    for (name, directory) in [("controller", "--data-dir"), ("agent", "--runtime-dir")] {
        let mut command = home.command(&home.cwd().join(name).to_string_lossy());
        command.args(["--listen", &everywhere, directory]).arg(home.path().join(name));
        assert_one_line(&program::run(&home, &mut command), name, "--insecure");
        assert_one_line(&program::run(&home, &mut command), name, "0.0.0.0");

        let mut command = home.command(&home.cwd().join(name).to_string_lossy());
        command.args(["--listen", &everywhere, "--insecure", directory]).arg(home.path().join(name)).stdin(Stdio::null());
        let mut program = Program::start(&home, name, &mut command);
        let line = program.wait_log(PATIENCE, "WARN");
        assert!(line.contains("insecure") || line.contains("in the clear"), "{line}");
        program.wait_log(PATIENCE, &format!("listening on {everywhere}"));
        program.interrupt();
        assert!(program.wait_end(PATIENCE).success());
    }
}
