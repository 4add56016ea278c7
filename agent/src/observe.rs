//! Those who watch this agent: each gets a snapshot first, then what changes, and a sign of life in between.
//!
//! A watcher that does not read is cut off, so that it cannot hold anything up; it may come again and starts with a snapshot.

use bytes::Bytes;
use cluster::endpoints::Acknowledged;
use cluster::usage::Usage;
use cluster::wire::{Heartbeat, Leaving, News, ObserveLine, ReplicaReport, Snapshot, Stamp};
use cluster::{ClusterId, InstanceId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::guardian::protocol::encode;

/// The most watchers.
pub const OBSERVERS_MAX: usize = 16;
/// The most chunks that wait for one watcher. Each holds what one turn of the agent brought.
const CHUNKS_MAX: usize = 64;

/// What stands in every line.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The last assignment that was accepted.
    pub applied: Option<Stamp>,
    /// The cluster that is listened to.
    pub cluster: Option<ClusterId>,
}

/// All watchers.
#[derive(Debug)]
pub struct Observers {
    instance: InstanceId,
    all: Vec<Observer>,
    /// How many were cut off so far.
    pub cut_off: u64,
}

#[derive(Debug)]
struct Observer {
    chunks: mpsc::Sender<Bytes>,
    seq: u64,
    /// Ends its connection.
    cut: CancellationToken,
}

impl Observers {
    /// None yet.
    pub fn new(instance: InstanceId) -> Self {
        Observers { instance, all: Vec::new(), cut_off: 0 }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.iter().filter(|observer| !observer.chunks.is_closed()).count()
    }

    /// Lets one more watch; `None` when there are too many. `cut` ends its connection.
    pub fn add(&mut self, snapshot: Snapshot, usage: Usage, standing: Standing, cut: CancellationToken) -> Option<mpsc::Receiver<Bytes>> {
        self.all.retain(|observer| !observer.chunks.is_closed());
        if self.all.len() >= OBSERVERS_MAX {
            return None;
        }
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        let mut observer = Observer { chunks, seq: 0, cut };
        let chunk = observer.lines(self.instance, standing, Some(&usage), [News::Snapshot(snapshot)]);
        observer.send(chunk);
        self.all.push(observer);
        Some(receiver)
    }

    /// Says that these replicas changed.
    pub fn changed(&mut self, reports: &[ReplicaReport], standing: Standing) {
        self.tell(standing, None, || reports.iter().cloned().map(News::Replica));
    }

    /// Says that the agent lives, and what is new about usage.
    pub fn heartbeat(&mut self, usage: Option<Usage>, standing: Standing) {
        self.tell(standing, usage.as_ref(), || [News::Heartbeat(Heartbeat {})]);
    }

    /// Says what the balancer works by.
    pub fn routes(&mut self, acknowledged: &Acknowledged, standing: Standing) {
        self.tell(standing, None, || [News::Routes(acknowledged.clone())]);
    }

    /// Says goodbye.
    pub fn leaving(&mut self, within_ms: u64, standing: Standing) {
        self.tell(standing, None, || [News::Leaving(Leaving { within_ms })]);
    }

    fn tell<I: IntoIterator<Item = News>>(&mut self, standing: Standing, usage: Option<&Usage>, news: impl Fn() -> I) {
        let instance = self.instance;
        let before = self.all.len();
        self.all.retain_mut(|observer| {
            if observer.chunks.is_closed() {
                return false;
            }
            let chunk = observer.lines(instance, standing, usage, news());
            observer.send(chunk)
        });
        let cut = before - self.all.len();
        self.cut_off += cut as u64;
    }
}

impl Observer {
    /// What is new about usage stands in the first of them.
    fn lines(&mut self, instance: InstanceId, standing: Standing, usage: Option<&Usage>, news: impl IntoIterator<Item = News>) -> Bytes {
        let mut chunk = Vec::new();
        let mut usage = usage.filter(|usage| !usage.is_empty()).cloned();
        for news in news {
            self.seq += 1;
            let Standing { applied, cluster } = standing;
            let line = ObserveLine { instance, seq: self.seq, applied, cluster, usage: usage.take(), news };
            match encode(&line) {
                Ok(line) => chunk.extend_from_slice(&line),
                Err(e) => tracing::error!("a line of observations cannot be written: {e}"),
            }
        }
        Bytes::from(chunk)
    }

    /// False when it does not read: it is cut off.
    fn send(&self, chunk: Bytes) -> bool {
        let taken = self.chunks.try_send(chunk).is_ok();
        if !taken && !self.chunks.is_closed() {
            tracing::warn!("cut off a reader of /v1/observe that does not read");
            self.cut.cancel();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const STANDING: Standing = Standing { applied: None, cluster: None };

    fn watch(observers: &mut Observers) -> Option<(mpsc::Receiver<Bytes>, CancellationToken)> {
        let cut = CancellationToken::new();
        observers.add(Snapshot::default(), Usage::default(), STANDING, cut.clone()).map(|receiver| (receiver, cut))
    }

    #[test]
    fn a_reader_gets_a_snapshot_first_and_lines_that_count_from_one() {
        let mut observers = Observers::new(InstanceId(9));
        let (mut receiver, _cut) = watch(&mut observers).unwrap();
        observers.heartbeat(None, STANDING);
        observers.leaving(7, STANDING);
        let lines: Vec<ObserveLine> = std::iter::from_fn(|| receiver.try_recv().ok())
            .flat_map(|chunk| chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .map(|line| serde_json::from_slice(&line).unwrap())
            .collect();
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(lines.iter().all(|line| line.instance == InstanceId(9)));
        assert_eq!(lines[0].news, News::Snapshot(Snapshot::default()));
        assert_eq!(lines[2].news, News::Leaving(Leaving { within_ms: 7 }));
    }

    #[test]
    fn one_that_does_not_read_is_cut_off_and_the_others_are_not() {
        let mut observers = Observers::new(InstanceId(9));
        let (_slow, slow_cut) = watch(&mut observers).unwrap();
        let (mut quick, quick_cut) = watch(&mut observers).unwrap();
        for _ in 0..=CHUNKS_MAX {
            observers.heartbeat(None, STANDING);
            while quick.try_recv().is_ok() {}
        }
        assert!(slow_cut.is_cancelled() && !quick_cut.is_cancelled());
        assert_eq!((observers.count(), observers.cut_off), (1, 1));
    }

    #[test]
    fn a_seventeenth_reader_waits_until_one_of_the_others_is_gone() {
        let mut observers = Observers::new(InstanceId(9));
        let mut held: Vec<_> = (0..OBSERVERS_MAX).map(|_| watch(&mut observers).unwrap()).collect();
        assert!(watch(&mut observers).is_none());
        held.pop();
        assert!(watch(&mut observers).is_some());
    }
}
