//! What every adapter of the store must do: one suite, run over each.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use cluster::Member;
use cluster::{App, AppName, ClusterId, NodeId};

use super::memory::MemoryStore;
use super::redb::RedbStore;
use super::{Change, Desired, Error, Store, update};

fn member(id: u128) -> Member {
    Member::new(NodeId(id), format!("http://localhost:{}", 9000 + id).parse().unwrap())
}

fn scaled(count: u32) -> Change {
    Change { put_apps: vec![App { desired: count, ..App::builtin() }], ..Change::default() }
}

fn now(store: &dyn Store) -> Arc<Desired> {
    Arc::clone(&store.watch().borrow())
}

async fn a_new_store_holds_nothing_but_its_cluster(store: &dyn Store) {
    assert_eq!(store.cluster(), ClusterId(7));
    assert_eq!(*now(store), Desired::default());
}

async fn a_change_is_whole_and_seen_by_those_who_watch(store: &dyn Store) {
    let mut watch = store.watch();
    watch.mark_unchanged();
    let before = now(store);
    let change = Change { put_members: vec![member(1), member(2)], ..scaled(4) };
    let after = store.commit(before.revision, change).await.unwrap();
    assert!(watch.has_changed().unwrap());
    assert_eq!(*watch.borrow_and_update(), after);
    assert_eq!(after.revision, before.revision + 1);
    assert_eq!(after.apps[&AppName::builtin()].desired, 4);
    assert_eq!(after.members.len(), 2);

    let gone = Change { delete_members: vec![NodeId(1), NodeId(99)], ..Change::default() };
    let after = store.commit(after.revision, gone).await.unwrap();
    assert_eq!(after.members.keys().copied().collect::<Vec<_>>(), [NodeId(2)]);
    assert_eq!(after.apps.len(), 1);
}

async fn a_change_made_from_an_older_revision_is_refused(store: &dyn Store) {
    let before = now(store);
    let after = store.commit(before.revision, scaled(5)).await.unwrap();
    let mut watch = store.watch();
    watch.mark_unchanged();
    match store.commit(before.revision, scaled(6)).await {
        Err(Error::Conflict { based_on, has }) => assert_eq!((based_on, has), (before.revision, after.revision)),
        other => panic!("{other:?}"),
    }
    assert!(store.commit(after.revision + 1, scaled(6)).await.is_err());
    assert!(!watch.has_changed().unwrap());
    assert_eq!(*now(store), *after);
}

async fn of_many_at_once_every_update_counts(store: &Arc<dyn Store>) {
    store.commit(now(&**store).revision, scaled(0)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            update(&*store, |desired| Ok::<_, Error>((scaled(desired.apps[&AppName::builtin()].desired + 1), ()))).await.unwrap();
        });
    }
    tasks.join_all().await;
    assert_eq!(now(&**store).apps[&AppName::builtin()].desired, 20);
}

async fn an_update_that_changes_nothing_writes_nothing(store: &dyn Store) {
    let before = now(store);
    update(store, |_| Ok::<_, Error>((Change::default(), ()))).await.unwrap();
    assert_eq!(now(store).revision, before.revision);
}

async fn an_epoch_never_comes_twice(store: &dyn Store) {
    let first = store.next_epoch(0).await.unwrap();
    let second = store.next_epoch(0).await.unwrap();
    assert!(first >= 1 && second == first + 1);
    assert_eq!(store.next_epoch(second + 100).await.unwrap(), second + 100);
    assert_eq!(store.next_epoch(3).await.unwrap(), second + 101);
    assert_eq!(store.next_epoch(u64::MAX).await.unwrap(), u64::MAX);
    assert!(matches!(store.next_epoch(0).await, Err(Error::NoEpochLeft(u64::MAX))));
}

async fn suite(store: Arc<dyn Store>) {
    a_new_store_holds_nothing_but_its_cluster(&*store).await;
    a_change_is_whole_and_seen_by_those_who_watch(&*store).await;
    a_change_made_from_an_older_revision_is_refused(&*store).await;
    of_many_at_once_every_update_counts(&store).await;
    an_update_that_changes_nothing_writes_nothing(&*store).await;
    an_epoch_never_comes_twice(&*store).await;
}

#[tokio::test]
async fn the_memory_adapter_keeps_the_contract() {
    suite(Arc::new(MemoryStore::new(ClusterId(7)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redb_adapter_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    suite(Arc::new(RedbStore::open(directory.path(), || ClusterId(7)).unwrap())).await;
}
