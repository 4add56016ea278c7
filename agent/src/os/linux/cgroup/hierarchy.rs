//! Which hierarchies are mounted here, where, and where this process is in them.
//!
//! Nothing is assumed of `/sys/fs/cgroup`: on a hybrid host version 2 is mounted below it and has no controllers, in a container it
//! may be anywhere (proc_pid_mountinfo(5), cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};

/// A hierarchy that is mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// As the middle field of `/proc/PID/cgroup` has it: empty for version 2, else controllers with commas between, or `name=...`.
    pub name: String,
    /// Where this process is, as the last field there has it.
    pub own: String,
    /// What of the hierarchy is mounted.
    root: String,
    /// Where.
    point: PathBuf,
}

impl Hierarchy {
    /// All that are mounted here, with this process in the part that is. The ones that serve best come first: version 2, then the
    /// version 1 hierarchies that can hold a tree still, or keep it from forking, then those that only have a name.
    pub fn all() -> Vec<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        parse(&read("cgroup"), &read("mountinfo"))
    }

    /// Version 2.
    pub fn is_unified(&self) -> bool {
        self.name.is_empty()
    }

    /// It has this version 1 controller.
    pub fn has(&self, controller: &str) -> bool {
        self.name.split(',').any(|name| name == controller)
    }

    /// What of the hierarchy is mounted: the topmost cgroup that can be reached here.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The directory of a cgroup; `None` when it is outside of what is mounted.
    pub fn directory(&self, cgroup: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        Some(if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) })
    }
}

fn parse(own: &str, mounts: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let mut found: Vec<Hierarchy> = own
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (name, own) = rest.split_once(':')?;
            // A path that leads out of this namespace has no directory here.
            let fits = |mount: &&Mount| mount.is(name) && Path::new(own).starts_with(&mount.root) && !own.contains("/..");
            let mount = mounts.iter().find(fits)?;
            Some(Hierarchy { name: name.to_owned(), own: own.to_owned(), root: mount.root.clone(), point: mount.point.clone() })
        })
        .collect();
    found.sort_by_key(|hierarchy| match hierarchy {
        unified if unified.is_unified() => 0,
        v1 if v1.has("freezer") => 1,
        v1 if v1.has("pids") => 2,
        v1 if v1.name.starts_with("name=") => 3,
        _ => 4,
    });
    found
}

struct Mount {
    root: String,
    point: PathBuf,
    unified: bool,
    options: Vec<String>,
}

impl Mount {
    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS`
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (unescaped(front.next()?), unescaped(front.next()?));
        let mut back = back.split(' ');
        let unified = match back.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options = back.nth(1)?.split(',').map(str::to_owned).collect();
        // The root of a mount that was made outside of this namespace cannot be compared with a path inside.
        (!root.contains("/..")).then_some(Mount { root, point: point.into(), unified, options })
    }

    fn is(&self, name: &str) -> bool {
        match name {
            "" => self.unified,
            name => !self.unified && name.split(',').all(|part| self.options.iter().any(|option| option == part)),
        }
    }
}

/// Space, tab, line end and backslash are written as three octal digits.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(code, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/a\\040place rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw,nsdelegate";

    fn directories(own: &str, mounts: &str) -> Vec<(String, PathBuf)> {
        parse(own, mounts).into_iter().map(|found| (found.name.clone(), found.directory(&found.own).unwrap())).collect()
    }

    #[test]
    fn on_a_hybrid_host_version_2_comes_first_wherever_it_is() {
        let own = "40:name=systemd:/user.slice\n9:freezer:/\n3:cpu,cpuacct:/a/b\n2:memory:/not/mounted\n0::/user.slice/x";
        let expected = [
            ("", "/sys/fs/cgroup/a place/user.slice/x"),
            ("freezer", "/sys/fs/cgroup/freezer"),
            ("name=systemd", "/sys/fs/cgroup/systemd/user.slice"),
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a/b"),
        ];
        let found = directories(own, HYBRID);
        assert_eq!(found.iter().map(|(name, at)| (name.as_str(), at.to_str().unwrap())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_mounted_of_a_hierarchy_may_be_a_part_of_it() {
        let mounts = "41 31 0:38 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(directories("0::/docker/abc/x", mounts), [(String::new(), PathBuf::from("/sys/fs/cgroup/x"))]);
        assert_eq!(directories("0::/docker/abcd", mounts), []);
        assert_eq!(directories("0::/../other", "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup rw"), []);
        assert_eq!(directories("0::/x", "41 31 0:38 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw"), []);
    }

    #[test]
    fn what_is_no_mount_is_nothing() {
        assert_eq!(directories("", ""), []);
        assert_eq!(directories("0::\nx\n0:\n::/", "x\n- cgroup2\n1 2 3 - cgroup2 x\n1 2 3 / /x rw - cgroup2"), []);
    }
}
