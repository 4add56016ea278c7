//! How much processor time processes have used.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::param::clock_ticks_per_second;

/// What these processes have used since they started, in microseconds, in the kernel and out of it. Exact to a tick (10 ms).
pub fn used_us(pids: &[i32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
        // The name stands in parentheses and may hold anything; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
        let fields = text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(2));
        let sum = fields.into_iter().flatten().map(str::parse::<u64>).sum::<Result<u64, _>>();
        ticks += sum.with_context(|| format!("/proc/{pid}/stat is not as expected"))?;
    }
    Ok(ticks as f64 * 1e6 / clock_ticks_per_second() as f64)
}
