//! How much an artifact may be, and what it has used of that. Pure.

/// The most of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a download.
    pub download_bytes: u64,
    /// Bytes of all its files, unpacked.
    pub unpacked_bytes: u64,
    /// Entries of an archive, headers that say more of an entry included.
    pub entries: u64,
    /// Bytes of the names of all that is made, which are kept while it is unpacked.
    pub name_bytes: u64,
    /// Unpacked bytes for each packed one,
    pub ratio: u64,
    /// where so many bytes are free of that.
    pub ratio_free_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            download_bytes: 10 << 30,
            unpacked_bytes: 20 << 30,
            entries: 100_000,
            name_bytes: 8 << 20,
            ratio: 200,
            ratio_free_bytes: 64 << 20,
        }
    }
}

/// Which bound was passed. Words that follow a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Passed {
    /// The bytes.
    #[error("with it the archive unpacks to more than {0} bytes")]
    Bytes(u64),
    /// The entries.
    #[error("with it the archive has more than {0} entries")]
    Entries(u64),
    /// The names.
    #[error("with it the names in the archive are longer than {0} bytes together")]
    Names(u64),
    /// The ratio.
    #[error("with it the archive unpacks to more than {0} times its size")]
    Ratio(u64),
}

/// What was used so far.
#[derive(Clone, Debug)]
pub struct Used {
    bounds: Bounds,
    packed: u64,
    /// Unpacked bytes.
    pub bytes: u64,
    entries: u64,
    names: u64,
}

impl Used {
    /// Nothing yet of an archive of so many bytes.
    pub fn nothing(bounds: Bounds, packed: u64) -> Self {
        Used { bounds, packed, bytes: 0, entries: 0, names: 0 }
    }

    /// One more entry.
    pub fn entry(&mut self) -> Result<(), Passed> {
        self.entries += 1;
        if self.entries > self.bounds.entries { Err(Passed::Entries(self.bounds.entries)) } else { Ok(()) }
    }

    /// One more name.
    pub fn name(&mut self, bytes: usize) -> Result<(), Passed> {
        self.names = self.names.saturating_add(bytes as u64);
        if self.names > self.bounds.name_bytes { Err(Passed::Names(self.bounds.name_bytes)) } else { Ok(()) }
    }

    /// Some more bytes.
    pub fn bytes(&mut self, bytes: u64) -> Result<(), Passed> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bounds.unpacked_bytes {
            return Err(Passed::Bytes(self.bounds.unpacked_bytes));
        }
        let most = self.packed.saturating_mul(self.bounds.ratio).max(self.bounds.ratio_free_bytes);
        if self.bytes > most { Err(Passed::Ratio(self.bounds.ratio)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_at_its_number() {
        let bounds = Bounds { unpacked_bytes: 1_000, entries: 2, name_bytes: 10, ratio: 3, ratio_free_bytes: 100, ..Bounds::default() };
        let mut used = Used::nothing(bounds, 1_000);
        assert_eq!((used.entry(), used.entry(), used.entry()), (Ok(()), Ok(()), Err(Passed::Entries(2))));
        assert_eq!((used.name(10), used.name(1)), (Ok(()), Err(Passed::Names(10))));
        assert_eq!((used.bytes(1_000), used.bytes(1)), (Ok(()), Err(Passed::Bytes(1_000))));
        let mut small = Used::nothing(bounds, 10);
        assert_eq!((small.bytes(100), small.bytes(1)), (Ok(()), Err(Passed::Ratio(3))));
        assert_eq!(used.bytes(u64::MAX), Err(Passed::Bytes(1_000)), "it does not wrap");
    }
}
