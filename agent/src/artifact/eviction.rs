//! What of the cache goes first. Pure.

use std::time::SystemTime;

/// An artifact that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
}

/// The least recently used first; the key decides between equals, so that all agents of a host go by one order.
pub fn order(mut kept: Vec<Kept>) -> Vec<Kept> {
    kept.sort_by(|a, b| (a.used, &a.key).cmp(&(b.used, &b.key)));
    kept
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let at = |key: &str, s: u64| Kept { key: key.to_owned(), bytes: 1, used: SystemTime::UNIX_EPOCH + Duration::from_secs(s) };
        let keys: Vec<String> = order(vec![at("c", 2), at("b", 1), at("a", 2), at("d", 0)]).into_iter().map(|kept| kept.key).collect();
        assert_eq!(keys, ["d", "b", "a", "c"]);
    }
}
