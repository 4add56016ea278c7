//! The service manager that started this agent: told by the protocol of sd_notify(3), where `NOTIFY_SOCKET` says that it listens.

use sd_notify::NotifyState;

use crate::os::ManagerWord;

/// Tells it. Nothing where there is none.
pub(crate) fn tell_manager(word: ManagerWord) {
    let state = match word {
        ManagerWord::Ready => NotifyState::Ready,
        ManagerWord::Stopping => NotifyState::Stopping,
    };
    if let Err(e) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager cannot be told ({word:?}): {e}");
    }
}
