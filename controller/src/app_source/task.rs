//! The task that follows a source: looks, judges, writes to the store, and says how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::source::{Fault, Source, Verdict};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::reader::{self, Reader};
use super::report::SourceReport;
use super::shelf::{Look, Shelf};
use super::watch::Watch;
use super::{AppsFrom, Error, Location};
use crate::clock::Clock;
use crate::store::{self, Change, Store};

/// How long one look may take; what was fetched until then need not be fetched again.
const LOOK: Duration = Duration::from_secs(60);
/// A file that was written to while it was read is looked at again after so long.
const UNSETTLED: Duration = Duration::from_millis(200);
/// Of how many files one look tells in the log.
const TOLD_MAX: usize = 20;

/// Follows a source.
pub struct AppSource {
    from: AppsFrom,
    source: Source,
    reader: Box<dyn Reader>,
    report: watch::Sender<Arc<SourceReport>>,
    shelf: Shelf,
    clock: Clock,
}

impl AppSource {
    /// Makes ready to follow a source. Nothing is read yet: a server that is down is no reason not to start.
    ///
    /// # Errors
    /// The source is read in the clear and must not, or its settings make no client.
    pub fn open(from: AppsFrom, insecure: bool) -> Result<Self, Error> {
        let reader = reader::open(&from, insecure)?;
        let source = Source { url: from.location.to_string(), prune: from.prune };
        let report = watch::Sender::new(Arc::new(SourceReport::new(source.clone())));
        Ok(AppSource { from, source, reader, report, shelf: Shelf::default(), clock: Clock::start() })
    }

    /// How the source is, now and after each look.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<SourceReport>> {
        self.report.subscribe()
    }

    /// Follows it until `end`.
    pub async fn run(mut self, store: Arc<dyn Store>, end: CancellationToken) {
        tracing::info!("apps come from {}, looked at every {:?}", self.source.url, self.from.poll);
        let mut watch = match &self.from.location {
            Location::Directory(path) => Some(Watch::new(path.clone())),
            Location::Bucket { .. } | Location::Index(_) => None,
        };
        loop {
            if let Some(watch) = &mut watch {
                watch.renew();
            }
            let is_unsettled = tokio::select! {
                biased;
                () = end.cancelled() => return,
                is_unsettled = self.look(&*store) => is_unsettled,
            };
            let pause = if is_unsettled { UNSETTLED.min(self.from.poll) } else { self.from.poll };
            let change = async {
                match &watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = change => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One look, and what follows from it. Returns whether another one should follow soon.
    async fn look(&mut self, store: &dyn Store) -> bool {
        let looked = tokio::time::timeout(LOOK, self.shelf.look(&*self.reader)).await;
        let looked = looked.unwrap_or_else(|_| Err(format!("it could not be read within {} s", LOOK.as_secs())));
        let outcome = match looked {
            Ok(look) => self.apply(store, &look).await.map(|verdict| (look, verdict)),
            Err(why) => Err(why),
        };
        let before = Arc::clone(&self.report.borrow());
        match outcome {
            Ok((look, verdict)) => {
                if before.error.is_some() || before.seen_unix_ms.is_none() {
                    tracing::info!("{} was read: {} files", self.source.url, look.files.len());
                }
                tell_of_faults(&before.faults, &verdict.faults);
                for (name, file) in verdict.vanished.iter().filter(|(name, _)| !before.vanished.contains_key(*name)) {
                    tracing::warn!("{name}: {file} is not in {} any more; the app runs on", self.source.url);
                }
                self.report.send_replace(Arc::new(SourceReport {
                    source: self.source.clone(),
                    seen_unix_ms: Some(self.clock.now().unix_ms),
                    error: None,
                    files: look.files.into_keys().collect::<BTreeSet<_>>(),
                    faults: verdict.faults,
                    vanished: verdict.vanished,
                }));
                look.unsettled
            }
            Err(why) => {
                if before.error.as_ref() != Some(&why) {
                    tracing::warn!("{} cannot be read: {why}; what runs runs on", self.source.url);
                }
                self.report.send_replace(Arc::new(SourceReport { error: Some(why), ..(*before).clone() }));
                false
            }
        }
    }

    /// Writes what follows from the files.
    async fn apply(&self, store: &dyn Store, look: &Look) -> Result<Verdict, String> {
        let decide = |desired: &store::Desired| {
            let verdict = self.source.judge(&look.files, &desired.apps, self.clock.now());
            Ok::<_, store::Error>((Change { put_apps: verdict.put.clone(), ..Change::default() }, verdict))
        };
        let verdict = store::update(store, decide).await.map_err(|error| error.to_string())?;
        for app in &verdict.put {
            if app.deleted {
                tracing::info!("{}: its file is gone from {}: it is deleted", app.name, self.source.url);
            } else {
                tracing::info!("{}: revision {}, {} replicas, by {}", app.name, app.revision, app.desired, app.origin);
            }
        }
        Ok(verdict)
    }
}

/// Tells of each fault once.
fn tell_of_faults(before: &BTreeMap<String, Fault>, now: &BTreeMap<String, Fault>) {
    let news: Vec<(&String, &Fault)> = now.iter().filter(|(file, fault)| before.get(*file) != Some(*fault)).collect();
    for (_, fault) in news.iter().take(TOLD_MAX) {
        tracing::warn!("a file of the app source changes nothing: {}", fault.why);
    }
    if news.len() > TOLD_MAX {
        tracing::warn!("{} more files of the app source change nothing; `ostler apps` lists them", news.len() - TOLD_MAX);
    }
    let mended = before.keys().filter(|file| !now.contains_key(*file)).count();
    if mended > 0 {
        tracing::info!("{mended} files of the app source that changed nothing are right now, or gone");
    }
}
