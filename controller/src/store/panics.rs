//! Turns a panic of a library into an error, and keeps it out of the log.
//!
//! Some damage to a redb file makes redb panic where it should return an error. The operator gets one line all the same.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The panic's message, in one line.
pub fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    // What a panic may leave half done is dropped by the caller: a database handle and nothing else.
    let outcome = catch_unwind(AssertUnwindSafe(act));
    QUIET.set(false);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "it makes the reader panic".to_owned());
        text.lines().next().unwrap_or_default().chars().take(200).collect()
    })
}
