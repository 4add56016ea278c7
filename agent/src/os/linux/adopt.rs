//! What a guardian that died left in its runtime directory: adopted where it is proven to be what is on record, ended where it is
//! provably a replica's and nobody can say which attempt, and left alone otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use cluster::ReplicaId;

use super::cgroup::Tree;
use super::entry::{Entry, First, Live};
use super::leftovers::end_beside;
use super::output::Output;
use super::process_record::{self, ProcessRecord, ignored};
use super::start::{Cgroups, Held};
use crate::guardian::protocol::Cgroup;

/// Adopts what is in this runtime directory, for an agent with these cgroups. All else that is of its replicas is ended.
pub fn adopt(runtime: &Path, agents: &[Cgroup]) -> io::Result<BTreeMap<ReplicaId, Entry>> {
    let mut adopted = BTreeMap::new();
    let mut others = BTreeSet::new();
    for id in replicas_in(&runtime.join("replicas"))? {
        let directory = runtime.join("replicas").join(id.to_string());
        let entry = process_record::read(&directory, id).and_then(|record| match record.prove() {
            Ok(Some(pinned)) => match entry_of(&directory, record, pinned) {
                Ok(entry) => Some(entry),
                Err(e) => ignored(&process_record::path(&directory), &format!("its output cannot be kept: {e}")),
            },
            // What was to be adopted has ended.
            Ok(None) => None,
            Err(why) => ignored(&process_record::path(&directory), &why),
        });
        match entry {
            Some(entry) => {
                adopted.insert(id, entry);
            }
            None => {
                process_record::remove(&directory);
                others.insert(id);
            }
        }
    }
    let kept: BTreeSet<&Path> = adopted
        .values()
        .filter_map(|entry: &Entry| entry.live.as_ref())
        .flat_map(|live| live.cgroups.all())
        .map(|tree| tree.cgroup().directory.as_path())
        .collect();
    let trees: Vec<Tree> = agents.iter().flat_map(Tree::below).filter(|tree| !kept.contains(tree.cgroup().directory.as_path())).collect();
    let mark = runtime.to_string_lossy();
    match end_beside(&mark, &others, &trees) {
        Ok(0) => {}
        Ok(ended) => drop(writeln!(io::stderr(), "the guardian ended {ended} processes of replicas that cannot be adopted")),
        Err(e) => drop(writeln!(io::stderr(), "the guardian goes on beside what it cannot end: {e}")),
    }
    Ok(adopted)
}

fn replicas_in(replicas: &Path) -> io::Result<Vec<ReplicaId>> {
    match fs::read_dir(replicas) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())))
            .filter_map(io::Result::transpose)
            .collect(),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(vec![]),
        Err(e) => Err(e),
    }
}

fn entry_of(directory: &Path, record: ProcessRecord, pinned: super::pinned::Pinned) -> io::Result<Entry> {
    let ProcessRecord { attempt, pid, started, cgroup, limiters, limits, lease, log, log_spec, .. } = record;
    let output = Output::open(directory, &log, log_spec)?;
    let live = Live {
        attempt: attempt.attempt,
        session: pid,
        started,
        first: First::Runs(pinned.pid()),
        pinned: Some(pinned),
        killing: false,
        cgroups: Cgroups::there(cgroup, limiters),
        limits,
        lease: Held::hold_again(lease),
        end: None,
    };
    Ok(Entry { output, pipes: 0, directory: directory.to_owned(), log, log_spec, live: Some(live), past: None })
}
