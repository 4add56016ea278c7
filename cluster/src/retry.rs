//! How many requests may be sent again after a replica had got them: a budget, so that repeating does not make a bad hour worse.
//!
//! Of the last ten seconds a fifth of the requests, and ten for each second. What was never sent is outside of it: to try another replica
//! with that costs nobody anything. Absent from here: which requests are safe to repeat.

/// A slot of the window, in milliseconds.
const SLOT_MS: u64 = 1_000;
/// How many slots count.
const SLOTS: usize = 10;
/// What each second adds, in requests.
const PER_SECOND: u64 = 10;
/// One more for so many requests.
const REQUESTS_PER_RETRY: u64 = 5;

/// The budget of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryBudget {
    slots: [Slot; SLOTS],
    /// The number of the newest slot.
    newest: u64,
    /// How many requests there were in all when this was last said.
    seen: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// There were so many requests in all until now.
    pub fn count(&mut self, requests: u64, now_ms: u64) {
        let new = requests.saturating_sub(self.seen);
        self.seen = self.seen.max(requests);
        let slot = self.slot(now_ms);
        slot.requests = slot.requests.saturating_add(new);
    }

    /// Takes one repetition. `false`: there is none left for now.
    pub fn take(&mut self, now_ms: u64) -> bool {
        self.slot(now_ms);
        let sum = |of: fn(&Slot) -> u64| self.slots.iter().map(of).fold(0, u64::saturating_add);
        let allowed = sum(|slot| slot.requests) / REQUESTS_PER_RETRY + PER_SECOND * SLOTS as u64;
        if sum(|slot| slot.retries) >= allowed {
            return false;
        }
        self.slot(now_ms).retries += 1;
        true
    }

    /// The slot of this moment; those that are too old by then are emptied. A clock that goes back counts as standing still.
    fn slot(&mut self, now_ms: u64) -> &mut Slot {
        let number = (now_ms / SLOT_MS).max(self.newest);
        let passed = number - self.newest;
        for gone in 0..passed.min(SLOTS as u64) {
            self.slots[place(number - gone)] = Slot::default();
        }
        self.newest = number;
        &mut self.slots[place(number)]
    }
}

fn place(number: u64) -> usize {
    // Less than SLOTS.
    (number % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(budget: &mut RetryBudget, now_ms: u64) -> usize {
        (0..1_000_000).take_while(|_| budget.take(now_ms)).count()
    }

    #[test]
    fn an_app_that_gets_nothing_may_still_repeat_ten_a_second() {
        let mut budget = RetryBudget::default();
        assert_eq!(all(&mut budget, 50_000), 100);
        assert_eq!(all(&mut budget, 59_999), 0);
        assert_eq!(all(&mut budget, 60_000), 100);
    }

    #[test]
    fn a_fifth_of_the_requests_of_ten_seconds_may_be_sent_again() {
        let mut budget = RetryBudget::default();
        for second in 0..60 {
            budget.count(1_000 * (second + 1), second * 1_000);
        }
        assert_eq!(all(&mut budget, 59_500), 2_100);
        // They come back as the window moves on: none were taken in its first nine seconds.
        budget.count(61_000, 60_000);
        assert_eq!(all(&mut budget, 60_000), 0);
        assert_eq!(all(&mut budget, 69_000), 200 + 100);
    }

    #[test]
    fn neither_a_jump_of_the_clock_nor_of_the_count_upsets_it() {
        let mut budget = RetryBudget::default();
        budget.count(u64::MAX, u64::MAX);
        budget.count(5, 0);
        assert!(budget.take(0));
        assert!(budget.take(u64::MAX));
    }
}
