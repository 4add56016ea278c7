//! As whom and where replicas run. What needs another user needs root, and says so where it is left out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::agent_process::{Agent, Home, names_in, this_program};
use crate::proc::{is_alive, signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("run_as::another_user", another_user),
    ("run_as::others_see_nothing", others_see_nothing),
    ("run_as::speaks_up", speaks_up),
    ("run_as::nothing_but_as_it_was_asked_for", nothing_but_as_it_was_asked_for),
    ("run_as::a_directory_that_vanished", a_directory_that_vanished),
    ("run_as::an_agent_that_is_no_root", an_agent_that_is_no_root),
    ("run_as::it_dies_with_its_guardian", it_dies_with_its_guardian),
    ("run_as::temporary_files", temporary_files),
    ("run_as::a_crash_leaves_no_temporary_files", a_crash_leaves_no_temporary_files),
];

/// A user that every Linux has, and a number that none has.
const NOBODY: u32 = 65_534;
const STRANGER: u32 = 3_999_999_998;

/// Whether this runs as root; says loudly what is left out otherwise.
pub fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        assert!(std::env::var_os("OSTLER_TEST_ALL").is_none_or(|value| value != "1"), "{test} needs root");
        eprintln!("\n*** SKIPPED: {test} needs root ***");
    }
    is_root
}

/// A home that other users can go through, with a copy of this program that they can run.
pub fn open_home() -> (Home, String) {
    let home = Home::new();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let program = home.path().join("program");
    fs::copy(this_program(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (home, program.to_str().unwrap().to_owned())
}

pub fn as_user(uid: u32, script: &str) -> Output {
    Command::new("/bin/sh").args(["-c", script]).uid(uid).gid(uid).output().unwrap()
}

fn another_user() {
    if !is_root("run_as::another_user") {
        return;
    }
    let (home, _) = open_home();
    let mut agent = Agent::start_with(&home, |command| {
        command.env("NOTIFY_SOCKET", "/of/the/agent").env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("HOME", "/of/the/agent");
    });
    let script = "id -u; id -g; id -G; umask; pwd; echo $HOME $USER $LOGNAME; grep -E 'NoNewPrivs|CapEff|CapPrm' /proc/self/status; env | grep -E 'NOTIFY|LISTEN'; \
        echo again > /dev/stdout; echo thrice > /proc/self/fd/1; (cat /etc/shadow || ls /root) 2>/dev/null && echo LEAK; \
        echo x > $TMPDIR/file && stat -c '%a %u' $TMPDIR $TMPDIR/file; echo done; exec sleep 1000";
    let run_as = json!({ "user": "nobody", "working_dir": "/usr", "umask": 0o27, "no_new_privs": true, "private_tmp": true });
    let id = agent.assign_spec(json!({ "command": ["/bin/sh", "-c", script], "run_as": run_as, "grace_ms": 400 }));
    let said = agent.said(&id);
    let home_of_nobody = "/nonexistent nobody nobody";
    let expected = [
        "65534",
        "65534",
        "65534",
        "0027",
        "/usr",
        home_of_nobody,
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "again",
        "thrice",
        "700 65534",
        "640 65534",
        "done",
    ];
    // What a system has for the home of nobody differs.
    let shown: Vec<&str> = said.iter().map(|line| if line.ends_with(" nobody nobody") { home_of_nobody } else { line }).collect();
    assert_eq!(shown, expected);
    // What its spec says of its environment stands.
    let spec = json!({ "command": ["/bin/sh", "-c", "echo $HOME $USER; echo done; exec sleep 1000"], "env": { "HOME": "/mine" },
        "run_as": { "user": "65534", "group": "0" }, "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    assert_eq!(agent.said(&id)[0], "/mine nobody");
    agent.put(json!({}));
    agent.wait("all are gone", |replicas| replicas.is_empty().then_some(()));
}

fn others_see_nothing() {
    if !is_root("run_as::others_see_nothing") {
        return;
    }
    let (home, program) = open_home();
    let mut agent = Agent::start(&home);
    let spec = json!({ "command": [program, "replica", "echo"], "run_as": { "user": "nobody", "private_tmp": true },
        "health": [{ "kind": "push", "for": "readiness", "interval_ms": 1000 }], "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    agent.wait("it runs", |replicas| replicas[0]["pid"].as_u64());
    let replica = home.runtime().join("replicas").join(&id);
    let tmp = fs::read_link(replica.join("tmp")).unwrap();
    for path in [home.runtime(), home.runtime().join("replicas"), replica.clone(), tmp.clone(), home.runtime().join("logs")] {
        let output = as_user(STRANGER, &format!("ls {}", path.display()));
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", path.display());
    }
    // Whatever lies there: nobody but its user and the agent's may open it.
    let mut looked_at = 0;
    let mut waiting = vec![home.runtime(), tmp];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        looked_at += 1;
        if meta.is_dir() {
            assert_eq!(meta.mode() & 0o066, 0, "{}", path.display());
            waiting.extend(names_in(&path).into_iter().map(|name| path.join(name)));
        } else if !meta.is_symlink() {
            assert_eq!(meta.mode() & 0o077, 0, "{}", path.display());
        }
    }
    assert!(looked_at >= 7, "{looked_at}");
    for name in ["stdout", "stderr", "notify"] {
        assert_eq!(fs::metadata(replica.join(name)).unwrap().uid(), NOBODY, "{name}");
    }
}

/// By sd_notify, to a socket in a directory of its agent.
fn speaks_up() {
    if !is_root("run_as::speaks_up") {
        return;
    }
    let (home, program) = open_home();
    let file = home.path().join("words");
    fs::write(&file, "READY=1").unwrap();
    let mut agent = Agent::start(&home);
    agent.assign_spec(json!({
        "command": [program, "replica", "notify"], "env": { "FILE": file }, "run_as": { "user": "nobody" }, "grace_ms": 400,
        "health": [{ "kind": "push", "for": "readiness", "interval_ms": 1000 }],
    }));
    agent.wait_ready(1);
}

fn nothing_but_as_it_was_asked_for() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let mut agent = Agent::start(&home);
    for (run_as, words) in [
        (json!({ "user": "no-such-user-here" }), "run_as.user is \"no-such-user-here\", which this host does not have"),
        (json!({ "user": "4294967295" }), "run_as.user is \"4294967295\", which this host does not have"),
        (json!({ "group": "no-such-group-here" }), "run_as.group is \"no-such-group-here\", which this host does not have"),
        (json!({ "umask": 512 }), "run_as.umask is \"512\"; give"),
        (json!({ "working_dir": "here" }), "run_as.working_dir is \"here\"; give"),
        (json!({ "working_dir": "/no/such/place" }), "its working directory /no/such/place cannot be entered: No such file or directory"),
        (json!({ "working_dir": file }), "/file cannot be entered: Not a directory"),
    ] {
        let id = agent.assign_spec(json!({ "command": ["/bin/sh", "-c", "exec sleep 1000"], "run_as": run_as, "grace_ms": 400 }));
        let detail = agent.wait_backoff(&id);
        assert!(detail.contains(words) && !detail.contains('\n'), "{detail}");
    }
    if is_root("run_as::nothing_but_as_it_was_asked_for, as another user") {
        let closed = home.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let run_as = json!({ "user": "nobody", "working_dir": closed });
        let id = agent.assign_spec(json!({ "command": ["/bin/sh", "-c", "exec sleep 1000"], "run_as": run_as }));
        let detail = agent.wait_backoff(&id);
        assert!(detail.contains("/closed cannot be entered: Permission denied"), "{detail}");
        let program = closed.join("program");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let id = agent.assign_spec(json!({ "command": [program], "run_as": { "user": "nobody" } }));
        let detail = agent.wait_backoff(&id);
        assert!(detail.contains("Permission denied") && detail.contains("the user of run_as must be able to reach and run it"), "{detail}");
    }
}

fn a_directory_that_vanished() {
    let home = Home::new();
    let place = home.path().join("place");
    let mut agent = Agent::start(&home);
    let spec = json!({ "command": ["/bin/sh", "-c", "pwd; echo done; exec sleep 1000"], "run_as": { "working_dir": place },
        "restart": { "first_ms": 50, "max_ms": 50 }, "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    assert!(agent.wait_backoff(&id).contains(place.to_str().unwrap()));
    fs::create_dir(&place).unwrap();
    assert_eq!(agent.said(&id)[0], place.to_str().unwrap());
}

fn an_agent_that_is_no_root() {
    if !is_root("run_as::an_agent_that_is_no_root") {
        return;
    }
    let (home, program) = open_home();
    let mut agent = start_as_nobody(&home, &program);
    let id = agent.assign_spec(json!({ "command": ["/bin/sh", "-c", "exec sleep 1000"], "run_as": { "user": "root" } }));
    let detail = agent.wait_backoff(&id);
    assert!(detail.contains("who cannot become anybody else; run the agent as root"), "{detail}");
    // Its own user is no other.
    let spec =
        json!({ "command": ["/bin/sh", "-c", "id -u; echo done; exec sleep 1000"], "run_as": { "user": "nobody" }, "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    assert_eq!(agent.said(&id)[0], NOBODY.to_string());
}

/// An agent of an ordinary user.
pub fn start_as_nobody(home: &Home, program: &str) -> Agent {
    let state = home.path().join("state");
    for path in [&state, &home.runtime()] {
        fs::create_dir(path).unwrap();
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    Agent::start_program(home, program, |command| {
        command.uid(NOBODY).gid(NOBODY).env("XDG_STATE_HOME", &state).env("HOME", &state).current_dir("/");
    })
}

/// A change of user clears the parent-death signal, so it must have been set after that.
fn it_dies_with_its_guardian() {
    if !is_root("run_as::it_dies_with_its_guardian") {
        return;
    }
    let home = Home::new();
    let mut agent = Agent::start(&home);
    agent.assign_spec(json!({ "command": ["/bin/sh", "-c", "exec sleep 1000"], "run_as": { "user": "nobody" }, "socket": "pass" }));
    let pid = agent.wait_ready(1)[0];
    let guardian = agent.guardian();
    // The agent would end it as well.
    signal(agent.pid(), Signal::STOP);
    signal(guardian, Signal::KILL);
    wait_for("it is gone", Duration::from_secs(10), || (!is_alive(pid)).then_some(()));
    signal(agent.pid(), Signal::CONT);
    let next = agent.wait("it runs again, and its socket too", |replicas| {
        (replicas[0]["ready"] == true && replicas[0]["pid"] != pid).then(|| replicas[0]["port"].as_u64().unwrap())
    });
    std::net::TcpStream::connect(("127.0.0.1", u16::try_from(next).unwrap())).unwrap();
}

fn tmp_of(home: &Home, id: &str) -> PathBuf {
    fs::read_link(home.runtime().join("replicas").join(id).join("tmp")).unwrap()
}

fn temporary_files() {
    let home = Home::new();
    let kept = home.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "").unwrap();
    let mut agent = Agent::start(&home);
    let script = "echo $TMPDIR; ls $TMPDIR; touch $TMPDIR/mine; ln -sfn $KEPT $TMPDIR/link; echo done; exec sleep 1000";
    let spec = json!({ "command": ["/bin/sh", "-c", script], "env": { "KEPT": kept }, "run_as": { "private_tmp": true }, "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    assert_eq!(agent.said(&id)[0], tmp_of(&home, &id).to_str().unwrap());
    let tmp = tmp_of(&home, &id);
    assert!(tmp.join("mine").exists());
    agent.put(json!({}));
    wait_for("its files are gone", Duration::from_secs(10), || (!tmp.exists()).then_some(()));
    assert!(kept.join("file").exists());
}

fn a_crash_leaves_no_temporary_files() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let spec = json!({ "command": ["/bin/sh", "-c", "touch $TMPDIR/mine; echo done; exec sleep 1000"],
        "run_as": { "private_tmp": true }, "grace_ms": 400 });
    let id = agent.assign_spec(spec);
    agent.said(&id);
    let tmp = tmp_of(&home, &id);
    assert!(Path::exists(&tmp));
    agent.child.kill().unwrap();
    drop(agent);
    let next = Agent::start(&home);
    assert!(!tmp.exists());
    drop(next);
}
