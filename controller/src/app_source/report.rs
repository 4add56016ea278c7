//! How an app source is, for those who look.

use std::collections::{BTreeMap, BTreeSet};

use cluster::source::{Fault, Source};
use cluster::{App, AppName};

/// How an app source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// Which.
    pub source: Source,
    /// When all of it was seen last, in milliseconds since 1970.
    pub seen_unix_ms: Option<u64>,
    /// Why it could not be looked at since; a sentence.
    pub error: Option<String>,
    /// The files that there are.
    pub files: BTreeSet<String>,
    /// By file, why it changes nothing.
    pub faults: BTreeMap<String, Fault>,
    /// Apps that run on without their file, and how it was called.
    pub vanished: BTreeMap<AppName, String>,
}

impl SourceReport {
    /// Of a source that was not looked at yet.
    #[must_use]
    pub fn new(source: Source) -> Self {
        SourceReport { source, seen_unix_ms: None, error: None, files: BTreeSet::new(), faults: BTreeMap::new(), vanished: BTreeMap::new() }
    }

    /// The file that says what this app is, if there is one: then nobody else may.
    #[must_use]
    pub fn file_of<'a>(&self, app: &'a App) -> Option<&'a str> {
        let file = app.origin.file_of(&self.source.url)?;
        // As long as the source was not seen, each of its files may be there.
        let may_be_there = self.seen_unix_ms.is_none() || self.files.contains(file);
        (may_be_there && !self.vanished.contains_key(&app.name)).then_some(file)
    }

    /// What is wrong with an app's file; a sentence, or nothing.
    #[must_use]
    pub fn error_of(&self, name: &AppName, origin: &cluster::origin::Origin) -> Option<String> {
        if let Some(file) = self.vanished.get(name) {
            let url = &self.source.url;
            return Some(format!(
                "{file} is not in {url} any more; the app runs on: `ostler delete {name}` ends it, as the controller does with --prune"
            ));
        }
        let own = origin.file_of(&self.source.url).and_then(|file| self.faults.get(file));
        let named = || self.faults.values().find(|fault| fault.app.as_ref() == Some(name));
        own.or_else(named).map(|fault| fault.why.clone())
    }
}
