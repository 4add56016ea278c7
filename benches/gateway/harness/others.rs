//! What others do on this machine meanwhile: on few cores a compiler next door changes every figure.

use std::fs;
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context as _, Result};
use rustix::param::clock_ticks_per_second;
use tokio::time::sleep;

use super::Process;

/// The part of all processor time that others may use while something is measured. Ticks alone are that far off.
const QUIET_MAX: f64 = 0.08;
const LOOK_FOR: Duration = Duration::from_millis(300);

/// A moment, with the processor time used until then.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    others_s: f64,
}

impl Moment {
    /// This one.
    pub fn now() -> Result<Moment> {
        let used_s = (all_ticks()? - own_ticks()) / clock_ticks_per_second() as f64;
        Ok(Moment { at: Instant::now(), others_s: used_s })
    }

    /// Whether others kept quiet since.
    pub fn is_quiet_since(self) -> Result<bool> {
        let now = Moment::now()?;
        let cores = thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let part = (now.others_s - self.others_s) / ((now.at - self.at).as_secs_f64() * cores);
        Ok(part <= QUIET_MAX)
    }
}

/// Waits until others are quiet, for as long as there is patience. What is left of it stays in `patience`.
pub async fn quiet(patience: &mut Duration) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < *patience {
        let before = Moment::now()?;
        sleep(LOOK_FOR).await;
        if before.is_quiet_since()? {
            // The look itself is no waiting.
            *patience = patience.saturating_sub(begun.elapsed().saturating_sub(LOOK_FOR));
            return Ok(());
        }
    }
    *patience = Duration::ZERO;
    Ok(())
}

/// What all processes have used, and what a host that we are a guest of has taken (proc_stat(5)). Interrupts are left out: those of
/// our own traffic are nobody's.
fn all_ticks() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat is not as expected")?;
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    Ok(numbers.iter().enumerate().filter(|(at, _)| matches!(at, 0..=2 | 7)).map(|(_, ticks)| ticks).sum())
}

/// What we and all that we started have used, those too that have ended.
fn own_ticks() -> f64 {
    let own = process::id().cast_signed();
    let tree = Process::descendants(own).into_iter().map(|process| process.pid);
    let ticks = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // utime, stime, cutime and cstime are fields 14 to 17 (proc_pid_stat(5)).
        let fields = text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(4));
        fields.into_iter().flatten().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>()
    };
    tree.chain([own]).map(ticks).sum()
}
