//! New ids: UUID v7, so that a later one sorts behind an earlier one.

use cluster::IdSource;
use uuid::Uuid;

/// Draws UUID v7.
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidSource;

impl IdSource for UuidSource {
    fn next_id(&mut self) -> u128 {
        // Within one process each is greater than the one before, even within a millisecond.
        Uuid::now_v7().as_u128()
    }
}
