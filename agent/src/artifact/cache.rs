//! The artifacts of this host: unpacked once, known by what they are, used by every agent of one user.
//!
//! ```text
//! trees/KEY          an artifact, ready; new-KEY is being unpacked, old-KEY is being removed
//! partial/KEY        a download
//! locks/KEY          locked by whoever makes (alone) or uses (with others) it; holds the bytes of the tree, and its time is that of the last use
//! ```
//!
//! Every lock is one of the kernel (flock(2)), so it ends with its holder however that ends. A tree is renamed into its place when all of
//! it is on the disk: what is there is whole. Absent from here: downloads, and what is in a tree.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::eviction::{self, Kept};
use crate::os;

/// A download that nobody went on with for so long is removed.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The directory.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    bytes_max: u64,
}

/// An artifact that is ready, and stays while this lives.
#[derive(Debug)]
pub struct Lease {
    lock: File,
    lock_path: PathBuf,
    tree: PathBuf,
}

/// The right to make an artifact, which one holds at a time.
#[derive(Debug)]
pub struct Claim {
    lock: File,
    root: PathBuf,
    key: String,
}

/// Who may do what with an artifact.
#[derive(Debug)]
pub enum Standing {
    /// It is ready.
    Ready(Lease),
    /// It is not, and is ours to make.
    Ours(Claim),
    /// Somebody else makes or removes it.
    Elsewhere,
}

impl Cache {
    /// Opens it: `given`, or the default of this user.
    pub fn open(given: Option<&Path>, bytes_max: u64) -> io::Result<Self> {
        let root = given.map_or_else(os::cache_base, Path::to_owned);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", root.display()));
        let root_there = std::path::absolute(&root).map_err(named)?;
        if let Some(parent) = root_there.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        os::private_directory(&root_there).map_err(named)?;
        for name in ["trees", "partial", "locks"] {
            os::private_directory(&root_there.join(name)).map_err(named)?;
        }
        // A replica may run as another user.
        os::open_to_readers(&root_there).map_err(named)?;
        os::open_to_readers(&root_there.join("trees")).map_err(named)?;
        let root = fs::canonicalize(&root_there).map_err(named)?;
        // What goes to the guardian is JSON.
        if root.to_str().is_none() {
            return Err(named(io::Error::other("its path is not UTF-8")));
        }
        Ok(Cache { root, bytes_max })
    }

    /// How an artifact stands now.
    pub fn look(&self, key: &str) -> io::Result<Standing> {
        let lock_path = self.root.join("locks").join(key);
        let tree = self.root.join("trees").join(key);
        let lock = open_lock(&lock_path)?;
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Standing::Elsewhere),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        if !os::is_same_file(&lock, &lock_path).unwrap_or(false) {
            return Ok(Standing::Elsewhere);
        }
        if tree.is_dir() {
            let lease = Lease { lock, lock_path, tree };
            lease.touch();
            return Ok(Standing::Ready(lease));
        }
        drop(lock);
        Ok(self.claim(key)?.map_or(Standing::Elsewhere, Standing::Ours))
    }

    /// The right to make or remove an artifact; `None` while somebody else uses, makes or removes it.
    fn claim(&self, key: &str) -> io::Result<Option<Claim>> {
        let lock_path = self.root.join("locks").join(key);
        let lock = open_lock(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // Whoever held it may have removed it between our open and our lock.
        let is_there = os::is_same_file(&lock, &lock_path).unwrap_or(false);
        Ok(is_there.then(|| Claim { lock, root: self.root.clone(), key: key.to_owned() }))
    }

    /// Bytes that are there of a download.
    pub fn partial_bytes(&self, key: &str) -> u64 {
        fs::metadata(self.root.join("partial").join(key)).map_or(0, |meta| meta.len())
    }

    /// Removes what a crash left, and what is too much and not used, the least recently used first. Tells the bytes
    /// that are left.
    pub fn tidy(&self) -> io::Result<u64> {
        let mut kept: Vec<Kept> = Vec::new();
        for key in self.keys()? {
            if let Some(claim) = self.claim(&key)? {
                claim.clean()?;
            }
            kept.extend(self.measure(&key)?);
        }
        let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
        for gone in eviction::order(kept) {
            if bytes <= self.bytes_max {
                break;
            }
            // What is used stays, and the next goes in its place.
            if let Some(claim) = self.claim(&gone.key)? {
                claim.remove()?;
                bytes = bytes.saturating_sub(gone.bytes);
                tracing::info!(artifact = gone.key, bytes = gone.bytes, "removed from the cache of artifacts: it was used least recently");
            }
        }
        Ok(bytes)
    }

    /// All that anything is there of.
    fn keys(&self) -> io::Result<BTreeSet<String>> {
        let mut keys = BTreeSet::new();
        for directory in ["trees", "partial", "locks"] {
            for entry in fs::read_dir(self.root.join(directory))? {
                let name = entry?.file_name();
                let Some(name) = name.to_str() else { continue };
                let key = name.strip_prefix("new-").or_else(|| name.strip_prefix("old-")).unwrap_or(name);
                // What is not ours stays.
                if key.as_bytes().get(64) == Some(&b'.') {
                    keys.insert(key.to_owned());
                }
            }
        }
        Ok(keys)
    }

    fn measure(&self, key: &str) -> io::Result<Option<Kept>> {
        let meta = match fs::metadata(self.root.join("locks").join(key)) {
            Ok(meta) => meta,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = String::new();
        open_lock(&self.root.join("locks").join(key))?.take(32).read_to_string(&mut text)?;
        let tree = if self.root.join("trees").join(key).exists() { text.trim().parse().unwrap_or(0) } else { 0 };
        let partial = self.partial_bytes(key);
        Ok(Some(Kept { key: key.to_owned(), bytes: tree + partial, used: meta.modified()? }))
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

impl Lease {
    /// Where the artifact lies.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// What whoever uses the artifact without this has to hold locked, with others.
    pub fn lock_path(&self) -> &Path {
        &self.lock_path
    }

    fn touch(&self) {
        // It decides only what goes first.
        let _ = self.lock.set_modified(SystemTime::now());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.touch();
    }
}

impl Claim {
    /// Where the download goes.
    pub fn partial(&self) -> PathBuf {
        self.root.join("partial").join(&self.key)
    }

    /// Where it is unpacked to. Nothing is there.
    pub fn new_tree(&self) -> io::Result<PathBuf> {
        let path = self.tree("new-");
        os::remove_sealed(&path)?;
        Ok(path)
    }

    fn tree(&self, prefix: &str) -> PathBuf {
        self.root.join("trees").join(format!("{prefix}{}", self.key))
    }

    /// Something was unpacked to [`Claim::new_tree`], has so many bytes, and is on the disk: now it is ready.
    pub fn publish(&self, bytes: u64) -> io::Result<()> {
        let mut lock = &self.lock;
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(bytes.to_string().as_bytes())?;
        // In one directory: another one would have to be written into the tree, which nobody can change any more.
        fs::rename(self.tree("new-"), self.tree(""))?;
        File::open(self.root.join("trees"))?.sync_all()?;
        self.drop_partial()
    }

    /// The download is of no use any more.
    pub fn drop_partial(&self) -> io::Result<()> {
        match fs::remove_file(self.partial()) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// What is half unpacked is of no use any more.
    pub fn drop_new_tree(&self) -> io::Result<()> {
        os::remove_sealed(&self.tree("new-"))
    }

    /// Removes what was left half done.
    fn clean(self) -> io::Result<()> {
        self.drop_new_tree()?;
        os::remove_sealed(&self.tree("old-"))?;
        let partial = self.partial();
        if let Ok(meta) = fs::metadata(&partial) {
            let age = SystemTime::now().duration_since(meta.modified()?).unwrap_or_default();
            if age > PARTIAL_AGE_MAX || self.tree("").exists() {
                self.drop_partial()?;
            }
        }
        if partial.exists() || self.tree("").exists() { Ok(()) } else { self.drop_lock() }
    }

    /// Removes the artifact.
    fn remove(self) -> io::Result<()> {
        let (tree, old) = (self.tree(""), self.tree("old-"));
        os::remove_sealed(&old)?;
        if tree.exists() {
            // What is half removed must not be taken for whole.
            fs::rename(&tree, &old)?;
            os::remove_sealed(&old)?;
        }
        self.drop_partial()?;
        self.drop_lock()
    }

    /// Last, and while it is held: whoever has it open then sees that it is another's.
    fn drop_lock(self) -> io::Result<()> {
        fs::remove_file(self.root.join("locks").join(&self.key))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(of: u8) -> String {
        format!("{}.tar", format!("{of:02x}").repeat(32))
    }

    /// An artifact of so many bytes, last used so long ago.
    fn put(cache: &Cache, key: &str, bytes: u64, age_s: u64) {
        let Standing::Ours(claim) = cache.look(key).unwrap() else { panic!("it is not ours to make") };
        let jail = os::Jail::make(&claim.new_tree().unwrap()).unwrap();
        jail.file("x").unwrap().set_len(bytes).unwrap();
        jail.seal([].into_iter()).unwrap();
        claim.publish(bytes).unwrap();
        claim.lock.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
    }

    fn is_there(cache: &Cache, key: &str) -> bool {
        cache.root.join("trees").join(key).exists()
    }

    #[test]
    fn one_makes_it_and_all_use_it() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs] = [0, 1].map(|_| Cache::open(Some(dir.path()), 1_000).unwrap());
        let Standing::Ours(claim) = ours.look(&key(1)).unwrap() else { panic!() };
        assert!(matches!(theirs.look(&key(1)).unwrap(), Standing::Elsewhere));
        drop(claim);
        put(&theirs, &key(1), 10, 0);
        let (Standing::Ready(a), Standing::Ready(b)) = (ours.look(&key(1)).unwrap(), theirs.look(&key(1)).unwrap()) else { panic!() };
        assert_eq!(a.tree(), b.tree());
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_what_is_used_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path()), 250).unwrap();
        for (at, age_s) in [(1, 400), (2, 300), (3, 200), (4, 100)] {
            put(&cache, &key(at), 100, age_s);
        }
        let Standing::Ready(_lease) = cache.look(&key(1)).unwrap() else { panic!() };
        // As its guardian would hold it, while another agent tidies up.
        let lock = File::open(cache.root.join("locks").join(key(2))).unwrap();
        lock.lock_shared().unwrap();
        Cache::open(Some(dir.path()), 250).unwrap().tidy().unwrap();
        assert_eq!([1, 2, 3, 4].map(|at| is_there(&cache, &key(at))), [true, true, false, false]);
        drop(lock);
        Cache::open(Some(dir.path()), 50).unwrap().tidy().unwrap();
        assert_eq!([1, 2].map(|at| is_there(&cache, &key(at))), [true, false]);
        assert!(!cache.root.join("locks").join(key(2)).exists());
    }

    #[test]
    fn what_a_crash_left_is_removed_unless_it_can_be_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(dir.path()), 1 << 20).unwrap();
        let at = |path: &str| cache.root.join(path);
        fs::create_dir(at(&format!("trees/new-{}", key(1)))).unwrap();
        fs::create_dir(at(&format!("trees/old-{}", key(2)))).unwrap();
        for (of, age_h) in [(3, 25), (4, 1)] {
            let path = at("partial").join(key(of));
            fs::write(&path, "half").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age_h * 3_600)).unwrap();
        }
        fs::write(at("trees/notes.txt"), "not ours").unwrap();
        assert_eq!(cache.tidy().unwrap(), 4);
        let names = |path: &str| {
            let mut names: Vec<String> = fs::read_dir(at(path)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!([names("trees"), names("partial"), names("locks")], [vec!["notes.txt".to_owned()], vec![key(4)], vec![key(4)]]);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused_with_its_path() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let message = Cache::open(Some(dir.path()), 1).unwrap_err().to_string();
        assert!(message.contains(dir.path().to_str().unwrap()) && message.contains("other users"), "{message}");
    }
}
