//! What was read of processes and of the host, and what follows from two such looks.
//!
//! Absent from here: how it is read, which is the system's affair (`os`), and when, which is the owner's.

use cluster::usage::{HostUsage, Uses};

use crate::os::{HostUsageReader, UsageReader};

/// What the processes of an attempt use at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Processor time so far, in microseconds.
    pub cpu_us: u64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
}

/// What a host uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostReading {
    /// Time that its processors were busy, in microseconds.
    pub cpu_us: u64,
    /// All of its memory, in bytes.
    pub memory_bytes: u64,
    /// What of that a new program could not have, in bytes.
    pub memory_used_bytes: u64,
    /// Load average over one minute, in thousandths.
    pub load_milli: u64,
    /// How long ago it was started, in milliseconds.
    pub uptime_ms: u64,
}

/// How busy processors are kept, from look to look.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Option<(u64, u64)>,
}

impl Pace {
    /// Thousandths of a processor since the last look; 0 at the first.
    fn milli(&mut self, cpu_us: u64, now_ms: u64) -> u64 {
        let (before_us, before_ms) = self.last.replace((cpu_us, now_ms)).unwrap_or((cpu_us, now_ms));
        // A microsecond in a millisecond is a thousandth.
        cpu_us.saturating_sub(before_us).checked_div(now_ms.saturating_sub(before_ms)).unwrap_or(0)
    }
}

/// The usage of one attempt.
#[derive(Debug)]
pub struct Metered {
    reader: UsageReader,
    pace: Pace,
    /// What was read last, where anything was.
    pub uses: Option<Uses>,
    /// It has not been said.
    pub is_new: bool,
}

impl Metered {
    /// By this reader.
    pub fn by(reader: UsageReader) -> Self {
        Metered { reader, pace: Pace::default(), uses: None, is_new: false }
    }

    /// Has a look.
    pub fn look(&mut self, now_ms: u64) {
        let uses = self.reader.read().map(|reading| Uses {
            cpu_ms: reading.cpu_us / 1000,
            cpu_milli: self.pace.milli(reading.cpu_us, now_ms),
            memory_bytes: reading.memory_bytes,
            open_files: reading.open_files,
            threads: reading.threads,
            processes: reading.processes,
        });
        self.is_new |= uses.is_some() && uses != self.uses;
        self.uses = uses;
    }
}

/// The usage of the host.
#[derive(Debug)]
pub struct MeteredHost {
    reader: HostUsageReader,
    pace: Pace,
    /// What was read last, where anything was.
    pub uses: Option<HostUsage>,
    /// It has not been said.
    pub is_new: bool,
}

impl MeteredHost {
    /// Of this host.
    pub fn new() -> Self {
        MeteredHost { reader: HostUsageReader::new(), pace: Pace::default(), uses: None, is_new: false }
    }

    /// Has a look.
    pub fn look(&mut self, now_ms: u64) {
        self.uses = self.reader.read().map(|reading| HostUsage {
            cpu_ms: reading.cpu_us / 1000,
            cpu_milli: self.pace.milli(reading.cpu_us, now_ms),
            memory_used_bytes: reading.memory_used_bytes,
            memory_bytes: reading.memory_bytes,
            load_milli: reading.load_milli,
            uptime_ms: reading.uptime_ms,
        });
        self.is_new = self.uses.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_pace_is_of_the_time_since_the_last_look() {
        let mut pace = Pace::default();
        assert_eq!(pace.milli(5_000_000, 0), 0);
        assert_eq!(pace.milli(5_500_000, 1_000), 500);
        assert_eq!(pace.milli(8_500_000, 2_500), 2_000);
        assert_eq!(pace.milli(8_500_900, 3_500), 0);
        assert_eq!(pace.milli(9_000_000, 3_500), 0);
        assert_eq!(pace.milli(1, 4_500), 0);
    }
}
