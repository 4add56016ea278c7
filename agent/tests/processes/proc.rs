//! Processes as the tests see them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Waits for a condition, and fails with `what` when it does not come.
pub fn wait_for<T>(what: &str, deadline: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(began.elapsed() < deadline, "not within {} ms: {what}", deadline.as_millis());
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// SIGKILL to a process that may have ended.
pub fn signal_if_there(pid: u32) {
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
}

/// The state letter of a process; `None` when it is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// All processes whose environment holds `entry`.
pub fn with_environment(entry: &str) -> Vec<u32> {
    let holds = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(holds).collect()
}

/// All processes of these replicas.
pub fn of_replicas(ids: &[String]) -> Vec<u32> {
    ids.iter().flat_map(|id| with_environment(&format!("OSTLER_REPLICA_ID={id}"))).collect()
}
