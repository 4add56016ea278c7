//! The redb store against damage, strangers and restarts.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cluster::Member;
use cluster::{App, AppName, ClusterId, NodeId};

use super::RedbStore;
use super::file::{FILE_NAME, NEW_FILE_NAME};
use crate::store::{Change, Desired, Error, Store};

fn open(directory: &Path) -> Result<RedbStore, Error> {
    RedbStore::open(directory, || ClusterId(7))
}

async fn filled(directory: &Path) -> Arc<Desired> {
    let store = open(directory).unwrap();
    store.next_epoch(41).await.unwrap();
    let member = Member::new(NodeId(5), "http://localhost:9091".parse().unwrap());
    let change = Change { put_apps: vec![App::builtin()], put_members: vec![member], delete_members: vec![] };
    store.commit(0, change).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_next_open() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path()).await;
    let store = RedbStore::open(directory.path(), || unreachable!("the cluster has an id")).unwrap();
    assert_eq!(store.cluster(), ClusterId(7));
    assert_eq!(*store.watch().borrow(), before);
    assert_eq!(store.next_epoch(0).await.unwrap(), 42);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path()).unwrap();
    let message = open(directory.path()).err().unwrap().to_string();
    assert!(message.contains(&directory.path().display().to_string()) && message.contains("in use"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_refused_in_one_line_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), vec![]),
        ("text".to_owned(), b"not a database".to_vec()),
        ("zeros".to_owned(), vec![0; whole.len()]),
        ("half".to_owned(), whole[..whole.len() / 2].to_vec()),
        ("only its head".to_owned(), whole[..512].to_vec()),
    ];
    for at in (0..whole.len()).step_by(whole.len() / 64) {
        let mut noise = whole.clone();
        for byte in noise.iter_mut().skip(at).take(2048) {
            *byte = byte.wrapping_mul(31).wrapping_add(0x5b);
        }
        damages.push((format!("noise at {at}"), noise));
    }
    let mut refused = 0;
    for (name, bytes) in damages {
        fs::write(&path, &bytes).unwrap();
        // Noise in a page that holds nothing does no harm: then the content must be what it was.
        match open(directory.path()) {
            Ok(store) => {
                assert!(name.starts_with("noise"), "{name} was accepted");
                assert_eq!(store.cluster(), ClusterId(7), "{name}");
                assert_eq!(store.watch().borrow().members.len(), 1, "{name}");
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains(&path.display().to_string()), "{name}: {message}");
                assert_eq!(message.lines().count(), 1, "{name}: {message}");
                assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was changed");
                refused += 1;
            }
        }
    }
    assert!(refused >= 6, "only {refused} damages were noticed");
}

#[tokio::test]
async fn an_unfinished_new_file_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(NEW_FILE_NAME), b"half").unwrap();
    assert_eq!(open(directory.path()).unwrap().cluster(), ClusterId(7));
    assert!(!directory.path().join(NEW_FILE_NAME).exists());
}

#[tokio::test]
async fn a_directory_that_was_emptied_is_filled_again_by_the_next_write() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("data");
    filled(&directory).await;
    let store = open(&directory).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let revision = store.watch().borrow().revision;
    let app = App { desired: 4, ..App::builtin() };
    store.commit(revision, Change { put_apps: vec![app], ..Change::default() }).await.unwrap();
    drop(store);
    let again = RedbStore::open(&directory, || unreachable!("the cluster has an id")).unwrap();
    let desired = Arc::clone(&again.watch().borrow());
    assert_eq!((desired.apps[&AppName::builtin()].desired, desired.members.len()), (4, 1));
    assert!(again.next_epoch(0).await.unwrap() > 41);
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_that_was_replaced_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let path = directory.path().join(FILE_NAME);
    let store = open(directory.path()).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let revision = store.watch().borrow().revision;
    let change = Change { put_apps: vec![App::builtin()], ..Change::default() };
    assert!(matches!(store.commit(revision, change).await, Err(Error::Replaced(_))));
}
