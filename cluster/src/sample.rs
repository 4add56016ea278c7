//! What was seen of a replica's answers in a while: how many, how many failed, how long they took.

/// How long requests took until the first byte of their answer, roughly: two classes for each doubling.
const CLASSES: usize = 64;

/// What was seen of one replica's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    requests: u64,
    errors: u64,
    sum_us: u64,
    classes: [u32; CLASSES],
}

impl Default for Sample {
    fn default() -> Self {
        Sample { requests: 0, errors: 0, sum_us: 0, classes: [0; CLASSES] }
    }
}

impl Sample {
    /// Counts a request. `is_error`: it was answered by 5xx, or not at all.
    pub fn count(&mut self, is_error: bool, first_byte_us: u64) {
        self.requests += 1;
        self.errors += u64::from(is_error);
        self.sum_us = self.sum_us.saturating_add(first_byte_us);
        if let Some(class) = self.classes.get_mut(class(first_byte_us)) {
            *class = class.saturating_add(1);
        }
    }

    /// Nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Takes in what was seen elsewhere.
    pub fn add(&mut self, other: &Sample) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for (sum, part) in self.classes.iter_mut().zip(&other.classes) {
            *sum = sum.saturating_add(*part);
        }
    }

    /// How many requests were seen.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many of them failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// The mean time, in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.requests).unwrap_or_default()
    }

    /// The time that half of the requests took at most, roughly, in microseconds.
    #[must_use]
    pub fn median_us(&self) -> u64 {
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += u64::from(*count);
            if seen * 2 >= self.requests {
                return floor_us(class);
            }
        }
        floor_us(CLASSES)
    }
}

/// The class of a time: twice its logarithm, and one more in the upper half.
fn class(us: u64) -> usize {
    let us = us.max(1);
    let log = us.ilog2();
    let is_upper = log > 0 && us >> (log - 1) & 1 == 1;
    ((log * 2) as usize + usize::from(is_upper)).min(CLASSES - 1)
}

fn floor_us(class: usize) -> u64 {
    let whole = 1u64 << (class / 2).min(40);
    if class.is_multiple_of(2) { whole } else { whole + whole / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(requests: u64, us: u64) -> Sample {
        let mut sample = Sample::default();
        (0..requests).for_each(|_| sample.count(false, us));
        sample
    }

    #[test]
    fn a_median_is_known_to_within_a_quarter_or_so() {
        for us in [1, 2, 3, 700, 1_000, 123_456, 60_000_000] {
            let found = sample(11, us).median_us();
            assert!(found <= us && us * 2 <= found * 3, "{us}: {found}");
        }
        assert!(sample(1, u64::MAX).median_us() > 0);
        assert_eq!(sample(1, 0).median_us(), 1);
    }

    #[test]
    fn what_was_seen_in_two_places_adds_up() {
        let mut sum = sample(3, 10);
        let mut failed = Sample::default();
        failed.count(true, 50);
        sum.add(&failed);
        assert_eq!((sum.requests(), sum.errors(), sum.mean_us()), (4, 1, 20));
        assert!(!sum.is_empty() && Sample::default().is_empty() && Sample::default().mean_us() == 0);
    }
}
