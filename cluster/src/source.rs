//! What the files of an app source change: a pure function of the files and of what is wanted now.
//!
//! A file that cannot be taken changes nothing: its app stays as its last good text made it. What is not in the source any more runs
//! on, unless the source was told to prune, and then only when there is a listing that is whole and holds something. Absent from here:
//! reading files (the shell) and reading specs (`spec`).

use std::collections::{BTreeMap, BTreeSet};

use crate::app::{App, AppName};
use crate::apply::{applied, deleted, fit};
use crate::now::Now;
use crate::origin::Origin;

/// A source, as the controller was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub url: String,
    /// An app whose file vanished is deleted.
    pub prune: bool,
}

/// What a file of a source says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The app that it asks for.
    App(Box<App>),
    /// It cannot be taken, or not be read; a sentence. What its app is stays as it is.
    Bad(String),
}

/// Why a file changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The app that it is about, where the file could be read so far.
    pub app: Option<AppName>,
    /// A sentence.
    pub why: String,
}

/// What follows from the files of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Apps to write, because they change.
    pub put: Vec<App>,
    /// By file, why it changes nothing.
    pub faults: BTreeMap<String, Fault>,
    /// Apps that run on without their file, and how it was called.
    pub vanished: BTreeMap<AppName, String>,
}

impl Verdict {
    fn blame(&mut self, file: &str, app: &AppName, why: String) {
        self.faults.insert(file.to_owned(), Fault { app: Some(app.clone()), why });
    }
}

impl Source {
    /// What these files change in what is wanted. `files`: all that there are, by path, as a whole listing told.
    #[must_use]
    pub fn judge(&self, files: &BTreeMap<String, Reading>, apps: &BTreeMap<AppName, App>, now: Now) -> Verdict {
        let mut verdict = Verdict::default();
        let mut asked: BTreeMap<&AppName, Vec<(&String, &App)>> = BTreeMap::new();
        for (file, reading) in files {
            match reading {
                Reading::App(app) => asked.entry(&app.name).or_default().push((file, app)),
                Reading::Bad(why) => {
                    verdict.faults.insert(file.clone(), Fault { app: None, why: why.clone() });
                }
            }
        }
        let mut candidates: BTreeMap<AppName, (String, App)> = BTreeMap::new();
        for (name, files) in &asked {
            match (files.as_slice(), apps.get(*name)) {
                ([_, _, ..], _) => {
                    let all = files.iter().map(|(file, _)| file.as_str()).collect::<Vec<_>>().join(" and ");
                    for (file, _) in files {
                        verdict.blame(file, name, format!("the app {name} is in {all}; leave it in one of them"));
                    }
                }
                (&[(file, _)], Some(before)) if before.origin == Origin::Hand && !before.deleted => {
                    let why = format!(
                        "the app {name} was applied by hand; run `ostler delete {name}` to have it as this file says, or rename one of the two"
                    );
                    verdict.blame(file, name, why);
                }
                (&[(file, wanted)], before) => {
                    let origin = Origin::File { source: self.url.clone(), file: file.clone() };
                    let after = applied(before, wanted.clone(), origin, now);
                    if before != Some(&after) {
                        candidates.insert((*name).clone(), (file.clone(), after));
                    }
                }
                ([], _) => {}
            }
        }
        let mut after = apps.clone();
        self.vanish(files, &asked.into_keys().collect(), &mut after, &mut verdict, now);
        admit(candidates, &mut after, &mut verdict);
        verdict.put = after.into_values().filter(|app| apps.get(&app.name) != Some(app)).collect();
        verdict
    }

    /// Apps of this source that no file asks for any more.
    fn vanish(
        &self,
        files: &BTreeMap<String, Reading>,
        asked: &BTreeSet<&AppName>,
        apps: &mut BTreeMap<AppName, App>,
        verdict: &mut Verdict,
        now: Now,
    ) {
        for app in apps.values_mut().filter(|app| !app.deleted && !asked.contains(&app.name)) {
            let Some(file) = app.origin.file_of(&self.url) else { continue };
            // What a file says that cannot be read is not known: its app is not taken for gone.
            if matches!(files.get(file), Some(Reading::Bad(_))) {
                continue;
            }
            if self.prune && !files.is_empty() {
                *app = deleted(app, now);
            } else {
                verdict.vanished.insert(app.name.clone(), file.to_owned());
            }
        }
    }
}

/// Takes the candidates that fit together with all other apps: all at once, or else each that fits with those before it.
fn admit(mut candidates: BTreeMap<AppName, (String, App)>, after: &mut BTreeMap<AppName, App>, verdict: &mut Verdict) {
    let mut all = after.clone();
    all.extend(candidates.iter().map(|(name, (_, app))| (name.clone(), app.clone())));
    if fit(&all).is_ok() {
        *after = all;
        return;
    }
    // One may only fit once another has given way: so around again, as long as one was taken.
    loop {
        let mut taken = Vec::new();
        for (name, (file, app)) in &candidates {
            let before = after.insert(name.clone(), app.clone());
            match fit(after) {
                Ok(()) => {
                    verdict.faults.remove(file);
                    taken.push(name.clone());
                }
                Err(why) => {
                    verdict.blame(file, name, why);
                    match before {
                        Some(before) => after.insert(name.clone(), before),
                        None => after.remove(name),
                    };
                }
            }
        }
        if taken.is_empty() {
            return;
        }
        candidates.retain(|name, _| !taken.contains(name));
    }
}

#[cfg(test)]
mod tests;
