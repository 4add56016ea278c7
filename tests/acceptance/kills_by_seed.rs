//! `kill -9` of an agent, its guardian, or both, at moments that a seed chooses: nothing is orphaned, nothing runs twice, and no stranger is
//! touched. The thousand of them are in `benches/soak`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::kill_driver::{Dice, Rig};

/// In each mode.
const KILLS: u64 = 15;

fn kills(keeps: bool) {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 100_000;
    let seed: u64 = std::env::var("OSTLER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
    eprintln!("OSTLER_SEED={seed} takes the same moments again");
    let directory = tempfile::tempdir().unwrap();
    let programs = (env!("CARGO_BIN_EXE_agent").into(), env!("CARGO_BIN_EXE_worker").into());
    let mut rig = Rig::start(directory.path(), programs, keeps, seed * 2 + u64::from(keeps));
    let mut dice = Dice::new(seed + u64::from(keeps));
    (0..KILLS).for_each(|_| rig.round(&mut dice));
    let tally = rig.end();
    assert!(tally.is_clean(), "seed {seed}: {tally:?}");
    assert_eq!(tally.kills.values().sum::<u64>(), KILLS);
}

#[test]
fn killed_at_random_nothing_is_orphaned_or_twice_there_and_no_stranger_is_touched() {
    kills(false);
}

#[test]
fn killed_at_random_with_keep_workers_no_replica_is_started_again_either() {
    kills(true);
}
