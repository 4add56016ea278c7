//! A replica that writes to its stdout as fast as it was told to, and says how it went: this very program, started by an agent.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result};

/// The argument that makes this program one.
pub const ARG: &str = "__flood";
/// So much each second.
pub const BYTES_PER_SECOND: usize = 200_000_000;
/// For so long.
pub const TIME: Duration = Duration::from_secs(5);
const LINE_BYTES: usize = 100;
const WRITE_BYTES: usize = LINE_BYTES * 640;

/// Writes, and leaves in `file` how many bytes were written, in how many microseconds, and how long the longest write took.
pub fn main(file: &str) -> ExitCode {
    match flood().and_then(|said| fs::write(file, said).context("cannot say how it went")) {
        // Once only: then it waits to be ended.
        Ok(()) => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn flood() -> Result<String> {
    let mut line = [b'x'; LINE_BYTES];
    line[LINE_BYTES - 1] = b'\n';
    let chunk = line.repeat(WRITE_BYTES / LINE_BYTES);
    let mut stdout = std::io::stdout().lock();
    let begun = Instant::now();
    let (mut written, mut longest) = (0_usize, Duration::ZERO);
    while begun.elapsed() < TIME {
        let due = Duration::from_secs_f64(written as f64 / BYTES_PER_SECOND as f64);
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            thread::sleep(early);
        }
        let before = Instant::now();
        stdout.write_all(&chunk)?;
        longest = longest.max(before.elapsed());
        written += chunk.len();
    }
    Ok(format!("{written} {} {}", begun.elapsed().as_micros(), longest.as_micros()))
}
