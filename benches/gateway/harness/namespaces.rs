//! Two hosts on one: two network namespaces with a cable between them, and nothing else.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::program;

/// The near host's address; both are of the range that is reserved for benchmarks (RFC 2544).
const NEAR: &str = "198.18.0.1/30";
const FAR: &str = "198.18.0.2/30";

/// On which host a program is started.
#[derive(Clone, Debug)]
pub enum Place {
    /// Where we are.
    Here,
    /// In the namespace of this name.
    Namespace(String),
}

impl Place {
    /// A command that starts this program there.
    pub fn command(&self, program: &Path) -> Result<Command> {
        Ok(match self {
            Place::Here => Command::new(program),
            Place::Namespace(name) => {
                let mut command = Command::new(program::find("ip").context("ip is not installed")?);
                command.args(["netns", "exec", name]).arg(program);
                command
            }
        })
    }
}

/// The two hosts. While this lives, the thread that made it is on the near one, and with it what it starts.
pub struct Namespaces {
    home: File,
    near: String,
    far: String,
}

impl Namespaces {
    /// The address of the far host.
    pub const FAR_IP: &'static str = "198.18.0.2";

    /// Why there can be none, if so.
    pub fn missing() -> Option<&'static str> {
        if program::find("ip").is_none() {
            return Some("ip is not installed (on Debian: apt-get install iproute2)");
        }
        (!rustix::process::geteuid().is_root()).then_some("network namespaces need root")
    }

    /// Makes them and moves this thread to the near one.
    pub fn enter() -> Result<Namespaces> {
        let home = File::open("/proc/thread-self/ns/net").context("cannot open the own network namespace")?;
        let name = |which: &str| format!("ostler-bench-{}-{which}", process::id());
        // From here on they are removed, however far it goes.
        let both = Namespaces { home, near: name("near"), far: name("far") };
        let (near, far) = (both.near.as_str(), both.far.as_str());
        ip(&["netns", "add", near])?;
        ip(&["netns", "add", far])?;
        ip(&["-n", near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far])?;
        for (namespace, address) in [(near, NEAR), (far, FAR)] {
            ip(&["-n", namespace, "addr", "add", address, "dev", "cable"])?;
            ip(&["-n", namespace, "link", "set", "cable", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        let inside = File::open(format!("/run/netns/{near}")).context("cannot open a new network namespace")?;
        move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter a network namespace")?;
        Ok(both)
    }

    /// The far host.
    pub fn far(&self) -> Place {
        Place::Namespace(self.far.clone())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // It succeeds: this thread came from there. Where one was never made, there is nothing to remove.
        let _ = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        for name in [&self.near, &self.far] {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new(program::find("ip").context("ip is not installed")?).args(args).output().context("cannot start ip")?;
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
