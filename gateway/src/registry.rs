//! The things of one kind that live on a gateway thread, so that a sweep or a shutdown finds them all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// All living `T` of one thread.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    entries: RefCell<BTreeMap<u64, Rc<T>>>,
    next: Cell<u64>,
    emptied: Notify,
}

impl<T> Registry<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Registry { entries: RefCell::new(BTreeMap::new()), next: Cell::new(0), emptied: Notify::new() })
    }

    /// Enters `item`; it leaves when the returned entry is dropped.
    pub(crate) fn enter(self: &Rc<Self>, item: Rc<T>) -> Entry<T> {
        let id = self.next.get();
        self.next.set(id + 1);
        self.entries.borrow_mut().insert(id, item);
        Entry { registry: Rc::clone(self), id }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Waits until the last one leaves; to be asked for while there is one.
    pub(crate) async fn became_empty(&self) {
        self.emptied.notified().await;
    }

    /// Calls `visit` with each. It may wake tasks and set cells; it may not enter or remove anything.
    pub(crate) fn for_each(&self, visit: impl FnMut(&Rc<T>)) {
        self.entries.borrow().values().for_each(visit);
    }
}

/// Membership in a [`Registry`].
#[derive(Debug)]
pub(crate) struct Entry<T> {
    registry: Rc<Registry<T>>,
    id: u64,
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        let removed = self.registry.entries.borrow_mut().remove(&self.id);
        // Dropped outside the borrow: the last owner of an item may enter or remove others.
        drop(removed);
        if self.registry.is_empty() {
            self.registry.emptied.notify_waiters();
        }
    }
}
