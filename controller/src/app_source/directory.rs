//! A directory of this host.
//!
//! What lies in it and cannot be read as a spec is told of by its name, and the rest is taken. Only what could hide a spec fails a whole look: a
//! directory that cannot be listed.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use spec::SPEC_BYTES_MAX;

use super::reader::{Call, FILES_MAX, Fetched, Listed, Reader, is_app};

/// The deepest directory below it.
const DEPTH_MAX: usize = 16;

/// A directory. It is looked up at each look: it may not be there yet, or be put in the place of another.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The one at this path.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Directory { path }
    }
}

impl Reader for Directory {
    fn list(&self) -> Call<'_, Vec<Listed>> {
        let path = self.path.clone();
        Box::pin(beside(move || {
            let found = fs::metadata(&path).map_err(|error| format!("{error}; make the directory, or name another with --apps"))?;
            if !found.is_dir() {
                return Err("this is no directory".to_owned());
            }
            let mut files = Vec::new();
            collect(&path, "", &mut Vec::new(), &mut files)?;
            Ok(files)
        }))
    }

    fn fetch(&self, file: String, _known: Option<String>) -> Call<'_, Fetched> {
        let path = self.path.clone();
        Box::pin(beside(move || fetch(&path, &file)))
    }
}

/// Files may lie on a server that does not answer.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

/// The apps' files below a directory that is called `below`; `above`: the directories that led to it.
fn collect(directory: &Path, below: &str, above: &mut Vec<PathBuf>, files: &mut Vec<Listed>) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("{} cannot be listed: {error}", directory.display());
    let real = directory.canonicalize().map_err(unreadable)?;
    // A link that leads back to where it is has nothing new.
    if above.contains(&real) {
        return Ok(());
    }
    if above.len() > DEPTH_MAX {
        return Err(format!("{} is more than {DEPTH_MAX} directories deep", directory.display()));
    }
    above.push(real);
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = shown(&entry.file_name().to_string_lossy());
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        // A hidden directory is none of ours, whatever is in it.
        if name.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        let meta = fs::metadata(entry.path());
        if meta.as_ref().is_ok_and(Metadata::is_dir) {
            collect(&entry.path(), &name, above, files)?;
        } else if is_app(&name) {
            files.push(Listed { file: name, tag: meta.ok().filter(Metadata::is_file).map(|meta| tag_of(&meta)) });
            if files.len() > FILES_MAX {
                return Err(format!("it holds more than {FILES_MAX} apps; divide them over several clusters"));
            }
        }
    }
    above.pop();
    Ok(())
}

/// A name as it is shown: what would do something to a terminal is written out.
fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() || c == '\\' { c.escape_default().collect() } else { vec![c] }).collect()
}

fn fetch(directory: &Path, file: &str) -> Result<Fetched, String> {
    let path = directory.join(file);
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(_) if file.contains(['\\', char::REPLACEMENT_CHARACTER]) => {
            return Err("its name has characters that no path of a source may have; rename it".to_owned());
        }
        Err(_) if fs::symlink_metadata(&path).is_ok() => return Err("it is a link that leads nowhere".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fetched::Gone),
        Err(error) => return Err(error.to_string()),
    };
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    // One byte more than a spec may have: whoever reads specs says that it is too long.
    let read = File::open(&path).and_then(|file| file.take(SPEC_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    let is_whole = bytes.len() > SPEC_BYTES_MAX || bytes.len() as u64 == meta.len();
    match fs::metadata(&path) {
        Ok(now) if is_whole && tag_of(&now) == tag_of(&meta) => Ok(Fetched::New { tag: Some(tag_of(&meta)), bytes: bytes.into() }),
        _ => Ok(Fetched::Unsettled),
    }
}

/// What changes with the content of a file.
fn tag_of(meta: &Metadata) -> String {
    let changed = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}-{}-{}", identity(meta), changed.as_nanos(), meta.len())
}

/// A file that was put in the place of another is another, though it be as old and as long.
#[cfg(unix)]
fn identity(meta: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> u64 {
    0
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn what_is_no_spec_is_named_and_the_rest_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("eu/.hidden")).unwrap();
        for file in ["a.toml", "eu/b.toml", "eu/.hidden/c.toml", "README", "we\nird\u{1b}[31m.toml"] {
            fs::write(at(file), "name = \"a\"").unwrap();
        }
        symlink("loop.toml", at("loop.toml")).unwrap();
        symlink("/nonexistent", at("dangling.toml")).unwrap();
        symlink("/dev/zero", at("zero.toml")).unwrap();
        symlink(".", at("self")).unwrap();
        symlink("a.toml", at("linked.toml")).unwrap();
        fs::create_dir(at("directory.toml")).unwrap();
        let reader = Directory::new(directory.path().to_owned());
        let mut files: Vec<String> = reader.list().await.unwrap().into_iter().map(|listed| listed.file).collect();
        files.sort();
        let expected = ["a.toml", "dangling.toml", "eu/b.toml", "linked.toml", "loop.toml", "we\\nird\\u{1b}[31m.toml", "zero.toml"];
        assert_eq!(files, expected);
        let mut said = Vec::new();
        for file in files {
            said.push(match reader.fetch(file, None).await {
                Ok(Fetched::New { bytes, .. }) => String::from_utf8(bytes.to_vec()).unwrap(),
                other => other.unwrap_err(),
            });
        }
        let spec = "name = \"a\"";
        let nowhere = "it is a link that leads nowhere";
        let name = "its name has characters that no path of a source may have; rename it";
        assert_eq!(said, [spec, nowhere, spec, spec, nowhere, name, "it is no regular file"]);
        assert_eq!(reader.fetch("gone.toml".to_owned(), None).await, Ok(Fetched::Gone));
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_listed_whole_is_no_listing() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join(vec!["d"; DEPTH_MAX + 2].join("/"));
        fs::create_dir_all(&deep).unwrap();
        let error = Directory::new(directory.path().to_owned()).list().await.unwrap_err();
        assert!(error.ends_with("directories deep"), "{error}");
    }
}
