//! What is known of the files of a source: each is fetched and read again only when its tag has changed.

use std::collections::{BTreeMap, BTreeSet};

use cluster::source::Reading;
use futures_util::StreamExt as _;
use spec::Format;

use super::reader::{Fetched, Listed, Reader};

/// How many files are fetched at a time.
const AT_A_TIME: usize = 16;

struct Kept {
    tag: Option<String>,
    reading: Reading,
}

/// What one look at a source showed.
#[derive(Debug)]
pub struct Look {
    /// All files that there are, and what each says.
    pub files: BTreeMap<String, Reading>,
    /// Some were written to meanwhile: look again soon.
    pub unsettled: bool,
}

/// What is known of the files of a source.
#[derive(Default)]
pub struct Shelf {
    kept: BTreeMap<String, Kept>,
}

impl Shelf {
    /// Looks at the source. What was fetched stays known when this is dropped half-way.
    ///
    /// # Errors
    /// The listing failed; a sentence.
    pub async fn look(&mut self, reader: &dyn Reader) -> Result<Look, String> {
        let listing = reader.list().await?;
        let names: BTreeSet<&str> = listing.iter().map(|listed| listed.file.as_str()).collect();
        self.kept.retain(|file, _| names.contains(file.as_str()));
        let is_known = |listed: &&Listed| listed.tag.is_some() && self.kept.get(&listed.file).is_some_and(|kept| kept.tag == listed.tag);
        let asked: Vec<(String, Option<String>)> = listing
            .iter()
            .filter(|listed| !is_known(listed))
            .map(|listed| (listed.file.clone(), self.kept.get(&listed.file).and_then(|kept| kept.tag.clone())))
            .collect();
        // Of these it is not known what they say now.
        let mut unread: BTreeMap<String, Reading> = BTreeMap::new();
        let mut look = Look { files: BTreeMap::new(), unsettled: false };
        let mut answers = futures_util::stream::iter(asked)
            .map(|(file, known)| async move { (file.clone(), reader.fetch(file, known).await) })
            .buffer_unordered(AT_A_TIME);
        while let Some((file, answer)) = answers.next().await {
            let bad = |why: &str| Reading::Bad(format!("{file}: {why}"));
            match answer {
                Ok(Fetched::New { tag, bytes }) => {
                    let reading = read(&file, &bytes);
                    self.kept.insert(file, Kept { tag, reading });
                }
                Ok(Fetched::Same) => {}
                Ok(Fetched::Unsettled) => {
                    look.unsettled = true;
                    if !self.kept.contains_key(&file) {
                        unread.insert(file.clone(), bad("it is being written to"));
                    }
                }
                Ok(Fetched::Gone) => {
                    unread.insert(file.clone(), bad("it was there a moment ago, and is gone"));
                }
                Err(why) => {
                    unread.insert(file.clone(), bad(&format!("cannot be read: {why}")));
                }
            }
        }
        drop(answers);
        look.files = self.kept.iter().map(|(file, kept)| (file.clone(), kept.reading.clone())).collect();
        look.files.extend(unread);
        Ok(look)
    }
}

fn read(file: &str, bytes: &[u8]) -> Reading {
    match spec::parse(bytes, file, Format::Toml) {
        Ok(app) => Reading::App(Box::new(app)),
        Err(error) => Reading::Bad(error.to_string()),
    }
}
