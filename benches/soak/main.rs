//! Kills without end: `kill -9` of an agent, of its guardian, or of both, at random moments, and nothing may be left, twice, or a
//! stranger's.
//!
//! `cargo bench --bench soak` takes a sample, `-- --full` a thousand kills. How to read it is in `benches/README.md`.
#![forbid(unsafe_code)]
#![allow(missing_docs)]

#[cfg(target_os = "linux")]
mod driver;

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("skipped: this needs the signals and the /proc of Linux");
    ExitCode::SUCCESS
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use std::time::Instant;

    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|arg| arg == "--bench") {
        // `cargo test --benches` starts this too.
        return ExitCode::SUCCESS;
    }
    let kills = if args.iter().any(|arg| arg == "--full") { 1_000 } else { 40 };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs() % 100_000;
    let seed: u64 = std::env::var("OSTLER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now);
    println!("seed {seed} (OSTLER_SEED={seed} takes the same moments again)\n");
    println!(
        "{:<16}{:>7}{:>7}{:>10}{:>6}{:>9}{:>12}{:>11}{:>7}{:>11}{:>9}",
        "mode", "kills", "agent", "guardian", "both", "orphans", "duplicates", "strangers", "kept", "restarted", "seconds"
    );
    let mut is_clean = true;
    let modes = [("ends with it", false), ("--keep-workers", true)];
    for (mode, keeps) in modes.into_iter().filter(|(_, keeps)| *keeps || !args.iter().any(|arg| arg == "--keep-workers")) {
        let directory = tempfile::tempdir().expect("a directory");
        let programs = (env!("CARGO_BIN_EXE_agent").into(), env!("CARGO_BIN_EXE_worker").into());
        let began = Instant::now();
        let mut rig = driver::Rig::start(directory.path(), programs, keeps, seed * 2 + u64::from(keeps));
        let mut dice = driver::Dice::new(seed + u64::from(keeps));
        (0..kills / 2).for_each(|_| rig.round(&mut dice));
        let tally = rig.end();
        let of = |victim: &str| tally.kills.get(victim).copied().unwrap_or(0);
        println!(
            "{mode:<16}{:>7}{:>7}{:>10}{:>6}{:>9}{:>12}{:>11}{:>7}{:>11}{:>9.1}",
            kills / 2,
            of("agent"),
            of("guardian"),
            of("both"),
            tally.orphans,
            tally.duplicates,
            tally.strangers,
            tally.kept,
            tally.restarted,
            began.elapsed().as_secs_f64()
        );
        is_clean &= tally.is_clean();
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
