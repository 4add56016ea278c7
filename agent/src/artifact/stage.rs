//! How far an artifact is, in words for people.

/// What is done for an artifact now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// Another agent of this host downloads or unpacks it.
    Elsewhere {
        /// The bytes that the other one has.
        bytes: u64,
    },
    /// It is read.
    Checking,
    /// It is downloaded.
    Downloading {
        /// Bytes that are here.
        bytes: u64,
        /// All of them, where that is known.
        total: Option<u64>,
    },
    /// It waits to be asked for again.
    Broken {
        /// Bytes that are here.
        bytes: u64,
        /// Why it has to.
        why: String,
    },
    /// It is unpacked.
    Unpacking,
}

impl Stage {
    /// A sentence about the artifact at this URL, which must be fit to be shown.
    pub fn sentence(&self, url: &str) -> String {
        match self {
            Stage::Waiting => format!("waiting to download {url}"),
            Stage::Elsewhere { bytes } => format!("another agent of this host downloads {url}: {} so far", amount(*bytes)),
            Stage::Checking => format!("reading {url}"),
            Stage::Downloading { bytes, total: Some(total) } if *total > 0 => {
                let percent = u128::from(*bytes) * 100 / u128::from(*total);
                format!("downloading {url}: {percent} % of {}", amount(*total))
            }
            Stage::Downloading { bytes, .. } => format!("downloading {url}: {} so far", amount(*bytes)),
            Stage::Broken { bytes, why } => format!("downloading {url} goes on soon; it broke after {}: {why}", amount(*bytes)),
            Stage::Unpacking => format!("unpacking {url}"),
        }
    }
}

/// Bytes as people read them, in powers of ten.
pub fn amount(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_sentence() {
        let of = |stage: Stage| stage.sentence("https://h/a.tar");
        assert_eq!(of(Stage::Downloading { bytes: 90_000_000, total: Some(200_000_000) }), "downloading https://h/a.tar: 45 % of 200 MB");
        assert_eq!(of(Stage::Downloading { bytes: 1_234, total: None }), "downloading https://h/a.tar: 1 kB so far");
        assert_eq!(of(Stage::Downloading { bytes: 0, total: Some(0) }), "downloading https://h/a.tar: 0 bytes so far");
        assert_eq!(of(Stage::Unpacking), "unpacking https://h/a.tar");
    }
}
