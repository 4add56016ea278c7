//! How replicas are run.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::agent_process::{Agent, Home, this_program};
use crate::http;
use crate::proc::{of_replicas, signal, wait_for};

pub const TESTS: &[(&str, fn())] = &[
    ("replicas::surroundings", surroundings),
    ("replicas::killed", killed),
    ("replicas::daemons_end_before_the_next_attempt", daemons_end_before_the_next_attempt),
    ("replicas::missing_program", missing_program),
    ("replicas::not_a_program", not_a_program),
    ("replicas::cannot_bind_beside", cannot_bind_beside),
    ("replicas::flood", flood),
    ("replicas::grace", grace),
    ("replicas::many", many),
];

fn surroundings() {
    let home = Home::new();
    let mut agent = Agent::start_with(&home, |command| {
        command.env("SECRET", "of the agent").env("TZ", "UTC").env("LANG", "C").env("HOME", "/nowhere");
        // Open files of whoever started the agent, and signals that it ignores, must not reach a replica.
        use std::os::unix::process::CommandExt;
        // SAFETY: system calls only.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| {
                libc::dup2(2, 77);
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGUSR1, libc::SIG_IGN);
                Ok(())
            })
        };
    });
    let id = agent.assign(&[&[&this_program(), "replica", "facts"]]).remove(0);
    agent.wait_ready(1);
    let logs = wait_for("it has said all", Duration::from_secs(5), || {
        let logs = http::get(agent.port, &format!("/v1/replicas/{id}/logs?stream=stdout")).body;
        logs.contains("\ndone\n").then_some(logs)
    });
    let replica = agent.replica(&id).unwrap();
    let mut env: Vec<&str> = logs.lines().filter_map(|line| line.strip_prefix("env ")).collect();
    env.sort_unstable();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let (port, named) = (format!("PORT={}", replica["port"]), format!("OSTLER_REPLICA_ID={id}"));
    let expected =
        ["HOME=/nowhere", "HOST=127.0.0.1", "LANG=C", "OSTLER_APP=app0", "OSTLER_NODE=test-node", &named, &path, &port, "TZ=UTC"];
    assert_eq!(env, expected);
    let files: Vec<&str> = logs.lines().filter_map(|line| line.strip_prefix("fd ")).collect();
    // The directory that it lists is the fourth.
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.contains(&"0 /dev/null") && files.iter().any(|file| file.starts_with("1 ") && file.ends_with("/stdout")), "{files:?}");
    assert!(logs.contains(&format!("session {}", replica["pid"])));
    let limit = logs.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(limit.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1024", "1024"]);
    // The Rust runtime of the replica itself ignores SIGPIPE.
    let ignored = logs.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & !(1 << (libc::SIGPIPE - 1)), 0);
    let blocked = logs.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    assert_eq!(u64::from_str_radix(blocked.trim(), 16).unwrap(), 0);
}

fn killed() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let program = this_program();
    let id = agent.assign(&[&[&program, "replica", "echo"]]).remove(0);
    let pid = agent.wait_ready(1)[0];
    let port = agent.replica(&id).unwrap()["port"].clone();
    let began = Instant::now();
    signal(pid, Signal::KILL);
    let next = agent
        .wait("it is ready again", |replicas| (replicas[0]["attempt"] == 2 && replicas[0]["ready"] == true).then(|| replicas[0].clone()));
    println!("  ready again {} ms after kill -9", began.elapsed().as_millis());
    assert_ne!(next["pid"], pid);
    assert_ne!(next["port"], port);
    assert_eq!(next["restarts"], 1);
}

fn daemons_end_before_the_next_attempt() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = agent.assign(&[&[&this_program(), "replica", "daemons-and-end"]]).remove(0);
    agent.wait("it has failed three times", |replicas| (replicas[0]["failures"].as_u64().unwrap() >= 3).then_some(()));
    let is_waiting = |replica: &serde_json::Value| replica["detail"].as_str().unwrap().contains(" failures in a row; next try ");
    let replica = agent.wait("it waits", |replicas| is_waiting(&replicas[0]).then(|| replicas[0].clone()));
    let detail = replica["detail"].as_str().unwrap();
    assert!(detail.starts_with("crash loop: "), "{detail}");
    assert!(detail.ends_with("; last: its process exited with code 3; last lines: these are my last words"), "{detail}");
    assert!(replica["pid"].is_null() && replica["port"].is_null());
    if agent.replica(&id).unwrap()["phase"] == "backoff" {
        let guardian = agent.guardian();
        let children = std::fs::read_to_string(format!("/proc/{guardian}/task/{guardian}/children")).unwrap();
        assert!(agent.replica(&id).unwrap()["phase"] != "backoff" || children.trim().is_empty(), "left: {children}");
    }
}

fn missing_program() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let ids = agent.assign(&[&[], &["/no/such/file"], &["no-such-program-anywhere"]]);
    let details = agent.wait("all wait", |replicas| {
        replicas.iter().all(|replica| replica["phase"] == "backoff").then(|| {
            let detail = |id: &String| replicas.iter().find(|replica| replica["id"] == *id).unwrap()["detail"].as_str().unwrap().to_owned();
            ids.iter().map(detail).collect::<Vec<String>>()
        })
    });
    assert_eq!(details[0], "the app's command is empty; give it a program");
    assert_eq!(details[1], "the program /no/such/file is not there");
    assert!(details[2].starts_with("the program \"no-such-program-anywhere\" was not found in /"), "{}", details[2]);
    let beside = std::env::current_exe().unwrap().parent().unwrap().display().to_string();
    assert!(details[2].contains(&beside) && details[2].contains("/bin"), "{}", details[2]);
}

fn not_a_program() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    agent.assign(&[&[&file("a", "#!/no/such/interpreter\n")]]);
    let detail = agent.wait("it waits", |replicas| (replicas[0]["phase"] == "backoff").then(|| replicas[0]["detail"].clone()));
    assert!(detail.as_str().unwrap().ends_with("its interpreter or loader is not there"), "{detail}");
}

fn cannot_bind_beside() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    agent.assign(&[&[&this_program(), "replica", "alone"]]);
    agent.wait_ready(1);
    assert_eq!(agent.replicas()[0]["attempt"], 2);
}

fn flood() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let program = this_program();
    let ids = agent.assign(&[
        &["sh", "-c", "exec yes a line that is written again and again"],
        &["sh", "-c", "exec yes on the other stream >&2"],
        &[&program, "replica", "echo"],
    ]);
    agent.wait_ready(1);
    let log = |at: usize, name: &str| home.runtime().join("logs").join(format!("app{at}.{}", ids[at])).join(name);
    for at in [0, 1] {
        wait_for("the output was rotated", Duration::from_secs(20), || log(at, "000002.log").exists().then_some(()));
    }
    // Meanwhile everything else goes on.
    let pid = agent.wait("the third runs", |replicas| {
        replicas.iter().find(|replica| replica["ready"] == true).and_then(|replica| replica["pid"].as_u64())
    });
    let began = Instant::now();
    signal(pid as u32, Signal::KILL);
    agent.wait("the third is ready again", |replicas| {
        replicas.iter().any(|replica| replica["ready"] == true && replica["attempt"] == 2).then_some(())
    });
    println!("  under a flood of output: ready again {} ms after kill -9", began.elapsed().as_millis());
    let tail = http::get(agent.port, &format!("/v1/replicas/{}/logs?tail=3", ids[0])).body;
    assert!(tail == "a line that is written again and again\n".repeat(3), "{} bytes", tail.len());
    for entry in std::fs::read_dir(log(0, "")).unwrap() {
        assert!(entry.unwrap().metadata().unwrap().len() <= 10 * 1024 * 1024);
    }
}

fn grace() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let id = agent.assign(&[&["sh", "-c", "trap '' TERM; (setsid sleep 1000 &); while :; do sleep 1; done"]]).remove(0);
    agent.wait("it runs", |replicas| replicas[0]["pid"].as_u64());
    wait_for("its daemon runs", Duration::from_secs(5), || (of_replicas(std::slice::from_ref(&id)).len() >= 3).then_some(()));
    let began = Instant::now();
    assert_eq!(agent.put(serde_json::json!({})).status, 202);
    agent.wait("it is stopping", |replicas| (replicas[0]["phase"] == "stopping").then_some(()));
    agent.wait("it is gone", |replicas| replicas.is_empty().then_some(()));
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(of_replicas(&[id]).is_empty());
    assert_eq!(crate::agent_process::names_in(&home.runtime().join("replicas")), Vec::<String>::new());
    assert!(http::get(agent.port, "/v1/node").json()["cluster"].is_null());
}

fn many() {
    const COUNT: usize = 200;
    let program = this_program();
    let bare = Instant::now();
    let mut children: Vec<std::process::Child> = (0..COUNT)
        .map(|_| {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(&program);
            let child = command.args(["replica", "echo"]).env("HOST", "127.0.0.1").env("PORT", port.to_string()).spawn().unwrap();
            wait_for("it accepts", Duration::from_secs(5), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
            child
        })
        .collect();
    let bare = bare.elapsed();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let home = Home::new();
    let mut agent = Agent::start(&home);
    let command: &[&str] = &[&program, "replica", "echo"];
    let mut observer = http::Observer::new(agent.port);
    let began = Instant::now();
    agent.assign(&vec![command; COUNT]);
    let mut ready = std::collections::BTreeSet::new();
    while ready.len() < COUNT {
        let line = observer.next().unwrap();
        if line["replica"]["ready"] == true {
            ready.insert(line["replica"]["id"].as_str().unwrap().to_owned());
        }
    }
    let ready = began.elapsed();
    let pids = agent.wait_ready(COUNT);
    println!("  {COUNT} replicas ready after {} ms; a bare loop of spawn and connect takes {} ms", ready.as_millis(), bare.as_millis());
    assert!(agent.replicas().iter().all(|replica| replica["attempt"] == 1));
    let memory_kib = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    println!("  memory: agent {} KiB, guardian {} KiB", memory_kib(agent.pid()), memory_kib(agent.guardian()));
    let began = Instant::now();
    signal(agent.pid(), Signal::KILL);
    wait_for("all are gone", Duration::from_secs(5), || pids.iter().all(|pid| !crate::proc::is_alive(*pid)).then_some(()));
    println!("  all gone {} ms after the agent was killed", began.elapsed().as_millis());
}
