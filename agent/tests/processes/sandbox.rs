//! The files that replicas in a sandbox may use. Needs a kernel with Landlock, and says so where there is none.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::agent_process::{Agent, Home};
use crate::run_as::{is_root, open_home, start_as_nobody};

pub const TESTS: &[(&str, fn())] = &[
    ("sandbox::of_the_agents_user", of_the_agents_user),
    ("sandbox::of_another_user", of_another_user),
    ("sandbox::of_an_agent_that_is_no_root", of_an_agent_that_is_no_root),
    ("sandbox::a_check_is_in_it_as_well", a_check_is_in_it_as_well),
    ("sandbox::a_path_that_is_not_there", a_path_that_is_not_there),
    ("sandbox::a_kernel_without_landlock", a_kernel_without_landlock),
];

/// Tries one thing after another: the name of each, and whether it could be done.
const TRIES: &str = r#"
try() { name=$1; shift; if (eval "$*") >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
try read-secret cat $SECRET
try read-by-link cat link
try read-by-dots cat $PWD/../secret
try read-in-child "sh -c 'sh -c \"cat $SECRET\"'"
try list-home ls $BASE
try list-runtime ls $BASE/runtime
try read-shadow cat /etc/shadow
try list-root-home ls /root
try write-outside "echo x > $BASE/new"
try make-outside mkdir $BASE/newdir
try write-by-link "echo x > link"
try cut-readable "echo x > $BASE/readable/file"
try remove-readable rm $BASE/readable/file
try write-usr "echo x > /usr/ostler-test"
try write-etc "echo x >> /etc/hosts"
try write-tmp "echo x > /tmp/ostler-test-$$"
try read-guardian cat /proc/$PPID/environ
try write-kernel "echo x > /proc/sys/kernel/domainname"
try make-device mknod $TMPDIR/device c 1 3
try read-readable cat $BASE/readable/file
try run-readable $BASE/readable/run
try write-writable "echo x > $BASE/writable/new"
try rename-writable "mv $BASE/writable/new $BASE/writable/newer"
try write-own "echo x > mine"
try write-own-tmp "mkdir $TMPDIR/a && echo x > $TMPDIR/a/b && mv $TMPDIR/a/b $TMPDIR/c"
try use-null "echo x > /dev/null"
try use-random head -c 1 /dev/urandom
try reopen-stdout "echo reopened > /proc/$$/fd/1"
try passwd cat /etc/passwd
echo again > /dev/stdout
echo done
exec sleep 1000
"#;

const YES: [&str; 11] = [
    "read-readable",
    "run-readable",
    "write-writable",
    "rename-writable",
    "write-own",
    "write-own-tmp",
    "use-null",
    "use-random",
    "reopen-stdout",
    "passwd",
    "again",
];

/// Directories and files around a sandbox, all of them open to every user but for Landlock.
fn lay_out(home: &Home) {
    for name in ["readable", "writable", "own"] {
        fs::create_dir(home.path().join(name)).unwrap();
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for (name, text, mode) in [("secret", "x", 0o666), ("readable/file", "x", 0o666), ("readable/run", "#!/bin/sh\n", 0o777)] {
        fs::write(home.path().join(name), text).unwrap();
        fs::set_permissions(home.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink(home.path().join("secret"), home.path().join("own/link")).unwrap();
}

fn spec(home: &Home, user: Option<&str>) -> serde_json::Value {
    let at = |name: &str| home.path().join(name);
    let mut run_as = json!({ "working_dir": at("own") });
    if let Some(user) = user {
        run_as["user"] = user.into();
    }
    json!({
        "command": ["/bin/sh", "-c", TRIES], "grace_ms": 400, "run_as": run_as, "strict_limits": true,
        "env": { "SECRET": at("secret"), "BASE": home.path() },
        "sandbox": { "read": [at("readable")], "write": [at("writable")] },
    })
}

/// Whether this kernel has Landlock, as an agent's replica says.
fn is_enforced(agent: &Agent, id: &str, test: &str) -> bool {
    let said = agent.wait("its sandbox is told of", |replicas| {
        let replica = replicas.iter().find(|replica| replica["id"] == id)?;
        let said = replica["limits"]["sandbox"].as_str().map(str::to_owned);
        said.or_else(|| (replica["phase"] == "backoff").then(|| replica["detail"].as_str().unwrap().to_owned()))
    });
    let is_enforced = said.starts_with("enforced (Landlock ABI ") && said.ends_with(')');
    if !is_enforced {
        assert!(said.contains("the sandbox is not enforced: ") && said.contains("Landlock") && said.contains("strict_limits"), "{said}");
        assert!(std::env::var_os("OSTLER_TEST_ALL").is_none_or(|value| value != "1"), "{test} needs a kernel with Landlock: {said}");
        eprintln!("\n*** SKIPPED: {test} needs a kernel with Landlock: {said} ***");
    }
    is_enforced
}

#[track_caller]
fn check(agent: &mut Agent, home: &Home, user: Option<&str>, test: &str) {
    let id = agent.assign_spec(spec(home, user));
    if !is_enforced(agent, &id, test) {
        return;
    }
    let is_ordinary = fs::metadata(format!("/proc/{}", agent.pid())).unwrap().uid() != 0;
    let said = agent.said(&id);
    assert!(said.len() >= 29, "{said:#?}");
    for line in &said {
        if let Some((name, done)) = line.split_once(": ") {
            // Who has CAP_PERFMON may read of other processes; see docs/sandbox.md.
            let is_roots = name == "read-guardian" && user.is_none() && !is_ordinary;
            assert_eq!(done == "yes", YES.contains(&name) || is_roots, "{line}: {said:#?}");
        }
    }
    assert!(said.iter().any(|line| line == "again"), "{said:#?}");
    let replica = agent.replica(&id).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", replica["pid"])).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

fn of_the_agents_user() {
    let home = Home::new();
    lay_out(&home);
    let mut agent = Agent::start(&home);
    check(&mut agent, &home, None, "sandbox::of_the_agents_user");
}

fn of_another_user() {
    if !is_root("sandbox::of_another_user") {
        return;
    }
    let home = Home::new();
    lay_out(&home);
    let mut agent = Agent::start(&home);
    check(&mut agent, &home, Some("nobody"), "sandbox::of_another_user");
}

fn of_an_agent_that_is_no_root() {
    if !is_root("sandbox::of_an_agent_that_is_no_root") {
        return;
    }
    let (home, program) = open_home();
    lay_out(&home);
    let mut agent = start_as_nobody(&home, &program);
    check(&mut agent, &home, None, "sandbox::of_an_agent_that_is_no_root");
}

fn a_check_is_in_it_as_well() {
    let home = Home::new();
    lay_out(&home);
    let secret = home.path().join("secret");
    let mut agent = Agent::start(&home);
    let mut spec = spec(&home, None);
    spec["command"] = json!(["/bin/sh", "-c", "exec sleep 1000"]);
    spec["socket"] = "pass".into();
    spec["health"] = json!([{ "kind": "exec", "command": ["/bin/sh", "-c", format!("cat {}", secret.display())], "for": "readiness",
        "interval_ms": 100, "timeout_ms": 5000 }]);
    let id = agent.assign_spec(spec);
    if !is_enforced(&agent, &id, "sandbox::a_check_is_in_it_as_well") {
        return;
    }
    let said = agent.wait("its check fails", |replicas| {
        let error = replicas[0]["checks"][0]["error"].as_str()?;
        (!error.is_empty()).then(|| error.to_owned())
    });
    assert!(said.contains("Permission denied"), "{said}");
}

fn a_path_that_is_not_there() {
    let home = Home::new();
    let mut agent = Agent::start(&home);
    for (sandbox, words) in [
        (json!({ "read": ["/no/such/place"] }), "sandbox.read /no/such/place cannot be opened for its sandbox: No such file or directory"),
        (json!({ "write": ["/no/such/place"] }), "sandbox.write /no/such/place cannot be opened for its sandbox"),
        (json!({ "read": ["here"] }), "sandbox.read is \"here\"; give paths that begin with /"),
    ] {
        let id = agent.assign_spec(json!({ "command": ["/bin/sh", "-c", "exec sleep 1000"], "sandbox": sandbox }));
        let detail = agent.wait_backoff(&id);
        assert!(detail.contains(words), "{detail}");
    }
}

fn a_kernel_without_landlock() {
    let home = Home::new();
    let mut agent = Agent::start_with(&home, |command| {
        // SAFETY: system calls only.
        #[allow(unsafe_code)]
        unsafe {
            std::os::unix::process::CommandExt::pre_exec(command, hide_landlock)
        };
    });
    let command = json!(["/bin/sh", "-c", "pwd; echo done; exec sleep 1000"]);
    let id = agent.assign_spec(json!({ "command": command, "sandbox": {}, "socket": "pass", "grace_ms": 400 }));
    agent.wait_ready(1);
    let said = agent.replica(&id).unwrap()["limits"]["sandbox"].clone();
    assert_eq!(said, "not enforced: this kernel has no Landlock (Linux 5.13)");
    assert!(home.log().contains("the sandbox is not enforced: this kernel has no Landlock"));
    // All else of it is as it would be in one.
    let place = agent.said(&id)[0].clone();
    assert!(place.starts_with(home.tmp().to_str().unwrap()) && place.ends_with(&id), "{place}");
    let id = agent.assign_spec(json!({ "command": command, "sandbox": {}, "strict_limits": true }));
    let detail = agent.wait_backoff(&id);
    assert!(detail.contains("the sandbox is not enforced: this kernel has no Landlock") && detail.contains("strict_limits"), "{detail}");
}

/// From here on the system calls of Landlock are not there, by a seccomp filter that this process and its children have.
fn hide_landlock() -> io::Result<()> {
    let step = |code: u32, yes: u8, no: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt: yes, jf: no, k };
    let first = u32::try_from(libc::SYS_landlock_create_ruleset).unwrap_or(0);
    let mut filter = [
        // The number of the call is the first field of what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, first),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the filter lives over the call, and its length is that of the array.
    #[allow(unsafe_code)]
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
