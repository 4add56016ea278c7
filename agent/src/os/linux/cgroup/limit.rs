//! Limits that hold for all processes of a replica together, and whether one of them was killed for its.

use std::fs;
use std::io;

use cluster::limits::{ENFORCED, Enforcement, Limits};
use rustix::process::geteuid;

use super::Tree;

/// What can limit a replica.
pub const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// A quota of processor time is for so long.
const PERIOD_US: i64 = 100_000;
/// A thousandth of it.
const PERIOD_US_PER_MILLI: i64 = PERIOD_US / 1000;

/// Sets these limits on the cgroups of one attempt, which nothing is in yet, and tells what came of each.
pub fn set(limits: &Limits, trees: &[&Tree]) -> Enforcement {
    let mut said = Enforcement::new();
    let mut note = |name: &str, controller: &str, set: Option<io::Result<()>>| {
        let text = match set {
            Some(Ok(())) => ENFORCED.to_owned(),
            Some(Err(e)) => format!("not enforced: its {controller} controller refuses it: {e}"),
            None if controller == "pids" && geteuid().is_root() => {
                "not enforced: root, which RLIMIT_NPROC does not bind, and no pids controller can be written here".to_owned()
            }
            None => format!("not enforced: no {controller} controller can be written here"),
        };
        said.insert(name.to_owned(), text);
    };
    if let Some(bytes) = limits.memory_bytes {
        note("memory_bytes", "memory", set_memory(bytes, trees));
    }
    if let Some(cpu) = limits.cpu {
        note("cpu", "cpu", set_cpu(cpu.milli.saturating_mul(PERIOD_US_PER_MILLI), trees));
    }
    if let Some(pids) = limits.pids {
        note("pids", "pids", with("pids.max", trees).map(|tree| write(tree, "pids.max", &pids.to_string())));
    }
    said
}

fn set_memory(bytes: u64, trees: &[&Tree]) -> Option<io::Result<()>> {
    let bytes = bytes.to_string();
    if let Some(tree) = with("memory.max", trees) {
        // Not on the disk either, where that is counted; and a replica ends whole, not without the one process that had the most.
        let _ = write(tree, "memory.swap.max", "0");
        let _ = write(tree, "memory.oom.group", "1");
        return Some(write(tree, "memory.max", &bytes));
    }
    let tree = with("memory.limit_in_bytes", trees)?;
    Some(write(tree, "memory.limit_in_bytes", &bytes).inspect(|()| {
        let _ = write(tree, "memory.memsw.limit_in_bytes", &bytes);
    }))
}

fn set_cpu(quota_us: i64, trees: &[&Tree]) -> Option<io::Result<()>> {
    if let Some(tree) = with("cpu.max", trees) {
        return Some(write(tree, "cpu.max", &format!("{quota_us} {PERIOD_US}")));
    }
    let tree = with("cpu.cfs_quota_us", trees)?;
    let period = write(tree, "cpu.cfs_period_us", &PERIOD_US.to_string());
    Some(period.and_then(|()| write(tree, "cpu.cfs_quota_us", &quota_us.to_string())))
}

/// The one of these that has a file.
fn with<'a>(file: &str, trees: &[&'a Tree]) -> Option<&'a Tree> {
    trees.iter().copied().find(|tree| tree.file(file).exists())
}

fn write(tree: &Tree, file: &str, value: &str) -> io::Result<()> {
    fs::write(tree.file(file), value)
}

/// Whether the kernel killed a process of an attempt, and the attempt had reached its own memory limit: a process may also be killed
/// because the whole host, or a cgroup around, is out of memory (`memory.events`; in version 1 `memory.oom_control`, since Linux 4.13, and
/// the most that was in use).
pub fn has_killed(trees: &[&Tree]) -> bool {
    let read = |file: &str| with(file, trees).and_then(|tree| fs::read_to_string(tree.file(file)).ok()).unwrap_or_default();
    let counts = |text: &str, name: &str| text.lines().filter_map(|line| line.strip_prefix(name)).any(|count| count.trim() != "0");
    let (events, control) = (read("memory.events"), read("memory.oom_control"));
    let by_events = counts(&events, "oom_kill ") && counts(&events, "oom ");
    // `memory.failcnt` is not counted by every kernel. The last charge before a kill may have been refused for its size.
    let number = |file| read(file).trim().parse::<u64>().unwrap_or(0);
    let has_reached = || number("memory.max_usage_in_bytes") >= number("memory.limit_in_bytes") / 8 * 7;
    by_events || (counts(&control, "oom_kill ") && has_reached())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use cluster::limits::Cores;

    use super::*;
    use crate::guardian::protocol::Cgroup;

    /// A directory with these files in place of a cgroup.
    fn cgroup(directory: &Path, files: &[&str]) -> Tree {
        fs::create_dir(directory).unwrap();
        files.iter().for_each(|file| fs::write(directory.join(file), "").unwrap());
        Tree::there(Cgroup { directory: directory.to_owned(), hierarchy: String::new(), path: "/x".to_owned() })
    }

    fn asked() -> Limits {
        Limits { memory_bytes: Some(1 << 20), cpu: Some(Cores { milli: 1500 }), pids: Some(7), ..Limits::default() }
    }

    #[test]
    fn version_2_is_told_in_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let tree = cgroup(&dir.path().join("a"), &["memory.max", "memory.swap.max", "cpu.max", "pids.max"]);
        let said = set(&asked(), &[&tree]);
        assert_eq!(said.values().collect::<Vec<_>>(), [ENFORCED; 3], "{said:?}");
        let read = |file| fs::read_to_string(tree.file(file)).unwrap();
        assert_eq!([read("memory.max"), read("memory.swap.max")], ["1048576", "0"]);
        assert_eq!([read("cpu.max"), read("pids.max")], ["150000 100000", "7"]);
    }

    #[test]
    fn version_1_is_told_in_its_files_hierarchy_by_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        let tree = cgroup(&dir.path().join("a"), &[]);
        let memory = cgroup(&dir.path().join("b"), &["memory.limit_in_bytes"]);
        let cpu = cgroup(&dir.path().join("c"), &["cpu.cfs_period_us", "cpu.cfs_quota_us"]);
        let said = set(&asked(), &[&tree, &memory, &cpu]);
        assert_eq!([said["memory_bytes"].as_str(), said["cpu"].as_str()], [ENFORCED; 2]);
        assert!(said["pids"].starts_with("not enforced: ") && said["pids"].contains("no pids controller"), "{said:?}");
        let read = |tree: &Tree, file| fs::read_to_string(tree.file(file)).unwrap();
        assert_eq!([read(&cpu, "cpu.cfs_period_us"), read(&cpu, "cpu.cfs_quota_us")], ["100000", "150000"]);
        assert_eq!(read(&memory, "memory.limit_in_bytes"), "1048576");
    }

    #[test]
    fn a_kill_at_the_limit_is_told_from_a_limit_that_was_only_reached() {
        let dir = tempfile::tempdir().unwrap();
        let tree = cgroup(&dir.path().join("a"), &["memory.events"]);
        let says = |text: &str| {
            fs::write(tree.file("memory.events"), text).unwrap();
            has_killed(&[&tree])
        };
        assert!(!says("") && !says("low 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n"));
        assert!(says("low 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"));
        // The host was out of memory, not the replica.
        assert!(!says("low 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n"));
        let old = cgroup(&dir.path().join("b"), &[]);
        fs::write(old.file("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n").unwrap();
        fs::write(old.file("memory.limit_in_bytes"), "33554432\n").unwrap();
        fs::write(old.file("memory.max_usage_in_bytes"), "1048576\n").unwrap();
        assert!(!has_killed(&[&old]) && !has_killed(&[]));
        fs::write(old.file("memory.max_usage_in_bytes"), "33550336\n").unwrap();
        assert!(has_killed(&[&old]));
    }
}
