//! The artifacts that are being made ready, each once, and the attempts that wait for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use cluster::ReplicaId;
use cluster::artifact::{Artifact, ArtifactUrl, Sha256};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::cache::Lease;
use super::error::Error;
use super::fetcher::{Fetcher, Settings};
use super::meters::Counts;
use super::source::shown;
use super::stage::Stage;

/// An attempt that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of which replica.
    pub id: ReplicaId,
    /// Which one.
    pub attempt: u32,
    /// Whether its port is to be kept reserved.
    pub reserve_port: bool,
}

/// One that came to an end.
#[derive(Debug)]
pub struct Finished {
    /// Those who waited.
    pub wishes: Vec<Wish>,
    /// The artifact, or a sentence about why it is not there.
    pub result: Result<Arc<Lease>, String>,
}

/// What two replicas share, if it is the same.
type What = (ArtifactUrl, Option<Sha256>);

/// All of them.
#[derive(Debug)]
pub struct Fetches {
    fetcher: Arc<Fetcher>,
    under_way: BTreeMap<What, UnderWay>,
    tasks: JoinSet<Result<Lease, Error>>,
    tidying: JoinSet<()>,
    has_fetched: bool,
}

#[derive(Debug)]
struct UnderWay {
    stage: watch::Receiver<Stage>,
    /// What was said of it last.
    said: String,
    wishes: BTreeMap<ReplicaId, Wish>,
    task: AbortHandle,
}

impl Fetches {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Fetches {
            fetcher: Arc::new(Fetcher::new(settings)),
            under_way: BTreeMap::new(),
            tasks: JoinSet::new(),
            tidying: JoinSet::new(),
            has_fetched: false,
        }
    }

    /// An attempt needs an artifact.
    pub fn want(&mut self, artifact: &Artifact, wish: Wish) {
        let (fetcher, tasks) = (&self.fetcher, &mut self.tasks);
        self.has_fetched = true;
        let what = (artifact.url.clone(), artifact.sha256.clone());
        let under_way = self.under_way.entry(what).or_insert_with(|| {
            let (teller, stage) = watch::channel(Stage::Waiting);
            let (fetcher, artifact) = (Arc::clone(fetcher), artifact.clone());
            let task = tasks.spawn(async move { fetcher.fetch(&artifact, &teller).await });
            UnderWay { stage, said: String::new(), wishes: BTreeMap::new(), task }
        });
        under_way.wishes.insert(wish.id, wish);
        // Whoever joins late is told as well.
        under_way.said.clear();
    }

    /// A replica needs nothing any more: what nobody else waits for ends. True when it did wait.
    pub fn give_up(&mut self, id: ReplicaId) -> bool {
        let mut waited = false;
        self.under_way.retain(|_, under_way| {
            waited |= under_way.wishes.remove(&id).is_some();
            let goes_on = !under_way.wishes.is_empty();
            if !goes_on {
                under_way.task.abort();
            }
            goes_on
        });
        waited
    }

    /// The next that comes to an end. None is there while nothing is under way.
    pub async fn next(&mut self) -> Option<Finished> {
        loop {
            tokio::select! {
                Some(_) = self.tidying.join_next() => {}
                Some(ended) = self.tasks.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok(ended) => ended,
                        Err(e) => (e.id(), Err(Error::Io(io::Error::other(e)))),
                    };
                    // One that was given up says nothing.
                    if let Some(finished) = self.finish(id, result) {
                        return Some(finished);
                    }
                }
                else => return None,
            }
        }
    }

    fn finish(&mut self, task: Id, result: Result<Lease, Error>) -> Option<Finished> {
        let what = self.under_way.iter().find(|(_, under_way)| under_way.task.id() == task)?.0.clone();
        let wishes = self.under_way.remove(&what)?.wishes;
        let url = shown(what.0.as_str());
        self.tidy();
        let result = result.map(Arc::new).map_err(|e| format!("its artifact {url} cannot be made ready: {e}"));
        Some(Finished { wishes: wishes.into_values().collect(), result })
    }

    /// Brings the cache within its size, on a thread, once at a time. An agent that never needed the cache leaves it alone.
    pub fn tidy(&mut self) {
        if self.has_fetched && self.tidying.is_empty() {
            let fetcher = Arc::clone(&self.fetcher);
            self.tidying.spawn_blocking(move || {
                if let Err(e) = fetcher.tidy() {
                    tracing::warn!("cannot tidy up artifacts: {e}");
                }
            });
        }
    }

    /// What there is to say of replicas that wait, where it is something else than before.
    pub fn news(&mut self) -> Vec<(ReplicaId, String)> {
        let mut news = Vec::new();
        for ((url, _), under_way) in &mut self.under_way {
            let said = under_way.stage.borrow().sentence(&shown(url.as_str()));
            if said != under_way.said {
                news.extend(under_way.wishes.keys().map(|id| (*id, said.clone())));
                under_way.said = said;
            }
        }
        news
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.fetcher.meters.counts()
    }
}
