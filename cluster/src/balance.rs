//! Which of several replicas gets a request: functions of numbers, the same everywhere and every time.
//!
//! Replicas are meant by their place in the routing table, and asked about through closures: so nothing is gathered for a request.
//! Absent from here: where the numbers come from, and random ones.

/// The full share of a replica.
pub const FULL: u64 = 1_000;
/// The share that a replica begins with, where it does not get its full share at once.
const FIRST: u64 = 100;

/// The share of a replica that is `age_ms` old, in thousandths: it grows evenly over `slow_start_ms`.
#[must_use]
pub fn share(age_ms: u64, slow_start_ms: u64) -> u64 {
    if age_ms >= slow_start_ms {
        return FULL;
    }
    let grown = u128::from(FULL) * u128::from(age_ms) / u128::from(slow_start_ms);
    u64::try_from(grown).unwrap_or(FULL).max(FIRST)
}

/// In turns over the `count` places that fit: the request with the number `turn` goes to the place that is returned. `None`: none fits.
#[must_use]
pub fn in_turn(turn: usize, count: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let fitting = (0..count).filter(|at| fits(*at)).count();
    if fitting == 0 {
        return None;
    }
    (0..count).filter(|at| fits(*at)).nth(turn % fitting)
}

/// In turns, but a place whose share is small is passed over in so many of its turns; those are spread over all others.
#[must_use]
pub fn in_weighted_turn(turn: usize, count: usize, fits: impl Fn(usize) -> bool, share: impl Fn(usize) -> u64) -> Option<usize> {
    let largest = (0..count).filter(|at| fits(*at)).map(&share).max()?.max(1);
    let round = turn.checked_div(count).unwrap_or_default() as u64;
    let mut at = in_turn(turn, count, &fits)?;
    // Of the rounds so many are its own as its share says: evenly, since the multiples of the golden ratio spread evenly.
    for again in 1..=count {
        let position = round.wrapping_add(again as u64 - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        if position * largest < share(at) << 32 {
            return Some(at);
        }
        at = in_turn(usize::try_from(mix((turn as u64).wrapping_add((again as u64) << 48)) >> 1).unwrap_or(turn), count, &fits)?;
    }
    Some(at)
}

/// Of two places that `random` draws from those that fit, the one with less load for its share. `None`: none fits.
#[must_use]
pub fn less_loaded(
    random: u64,
    count: usize,
    fits: impl Fn(usize) -> bool,
    share: impl Fn(usize) -> u64,
    load: impl Fn(usize) -> u64,
) -> Option<usize> {
    let fitting = (0..count).filter(|at| fits(*at)).count();
    let nth = |nth: usize| (0..count).filter(|at| fits(*at)).nth(nth);
    let draw = |random: u64, from: usize| usize::try_from(random % (from as u64)).unwrap_or_default();
    match fitting {
        0 => None,
        1 => nth(0),
        _ => {
            let first = draw(random >> 32, fitting);
            // Another one: of those that are left, counted on from the first.
            let second = (first + 1 + draw(random & 0xffff_ffff, fitting - 1)) % fitting;
            let (first, second) = (nth(first)?, nth(second)?);
            let weighed = |one: usize, other: usize| (u128::from(load(one)) + 1) * u128::from(share(other).max(1));
            Some(if weighed(second, first) < weighed(first, second) { second } else { first })
        }
    }
}

/// The place that the value `key` belongs to: the one whose `name` is worth most together with it (rendezvous hashing, Thaler and
/// Ravishankar 1998). When a place goes, only its values move; when one comes, it takes an equal part from all. `None`: none fits.
#[must_use]
pub fn belonging(key: u64, count: usize, fits: impl Fn(usize) -> bool, name: impl Fn(usize) -> u64) -> Option<usize> {
    (0..count).filter(|at| fits(*at)).max_by_key(|at| mix(key ^ mix(name(*at))))
}

/// The number of a text; the same in every version of this program, since what belongs together must stay together.
#[must_use]
pub fn hash(text: &[u8]) -> u64 {
    // FNV-1a, and then mixed: its high bits alone are not even enough.
    mix(text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

/// A number from which no pattern of `number` can be seen (the last step of SplitMix64, Steele and others 2014).
#[must_use]
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tally(picks: impl Iterator<Item = Option<usize>>) -> BTreeMap<usize, u64> {
        let mut counts = BTreeMap::new();
        for at in picks.flatten() {
            *counts.entry(at).or_default() += 1;
        }
        counts
    }

    #[test]
    fn a_share_grows_evenly_to_the_full_one() {
        let shares: Vec<u64> = [0, 1_000, 5_000, 9_999, 10_000, u64::MAX].map(|age| share(age, 10_000)).into();
        assert_eq!(shares, [100, 100, 500, 999, 1_000, 1_000]);
        assert_eq!(share(0, 0), FULL);
        assert_eq!(share(u64::MAX - 1, u64::MAX), 999);
    }

    #[test]
    fn turns_are_exact_over_those_that_fit() {
        let counts = tally((0..90).map(|turn| in_turn(turn, 4, |at| at != 1)));
        assert_eq!(counts, BTreeMap::from([(0, 30), (2, 30), (3, 30)]));
        assert_eq!(in_turn(7, 3, |_| false), None);
        assert_eq!(in_turn(7, 0, |_| true), None);
        assert_eq!(in_weighted_turn(7, 0, |_| true, |_| FULL), None);
    }

    #[test]
    fn full_shares_are_turns() {
        for turn in 0..100 {
            assert_eq!(in_weighted_turn(turn, 7, |_| true, |_| FULL), in_turn(turn, 7, |_| true));
            // All are new alike: then none is.
            assert_eq!(in_weighted_turn(turn, 7, |_| true, |_| 100), in_turn(turn, 7, |_| true));
        }
    }

    #[test]
    fn a_small_share_gets_so_much_less_and_the_rest_is_spread() {
        let counts = tally((0..40_000).map(|turn| in_weighted_turn(turn, 4, |_| true, |at| if at == 2 { 250 } else { FULL })));
        // A quarter of its turns, and a little of what others pass on to it.
        assert!((2_400..=3_400).contains(&counts[&2]), "{counts:?}");
        for at in [0, 1, 3] {
            assert!((11_900..=12_900).contains(&counts[&at]), "{counts:?}");
        }
    }

    #[test]
    fn of_two_the_less_loaded_is_taken() {
        let load = [9, 0, 9, 9];
        let picks = (0..4_000u64).map(|number| less_loaded(mix(number + 1), 4, |_| true, |_| FULL, |at| load[at]));
        let counts = tally(picks);
        // It is drawn in half of all cases, and then it wins.
        assert!((1_800..=2_200).contains(&counts[&1]), "{counts:?}");
        // Who has half a share counts as twice as loaded.
        assert_eq!(less_loaded(0, 2, |_| true, |at| if at == 0 { 500 } else { FULL }, |at| if at == 0 { 1 } else { 2 }), Some(1));
        assert_eq!(less_loaded(5, 3, |at| at == 2, |_| FULL, |_| 0), Some(2));
        assert_eq!(less_loaded(5, 3, |_| false, |_| FULL, |_| 0), None);
        // Two different ones are drawn, whatever the number.
        for number in 0..1_000 {
            assert!(less_loaded(mix(number), 2, |_| true, |_| FULL, |at| at as u64) == Some(0));
        }
    }

    #[test]
    fn what_belongs_together_stays_together_when_others_come_and_go() {
        let names = [11, 22, 33, 44, 55];
        let place = |key: u64, fits: &dyn Fn(usize) -> bool| belonging(mix(key), names.len(), fits, |at| names[at]);
        let all: Vec<_> = (0..5_000).map(|key| place(key, &|_| true)).collect();
        let counts = tally(all.iter().copied());
        assert!(counts.len() == 5 && counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
        for (key, before) in (0..).zip(&all) {
            let after = place(key, &|at| at != 3);
            assert!(after == *before || *before == Some(3), "only what was on the lost one moves");
        }
        assert_eq!(place(1, &|_| false), None);
    }

    #[test]
    fn a_text_has_one_number_for_ever() {
        assert_eq!(hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!([hash(b"alice"), hash(b"bob")], [hash(b"alice"), hash(b"bob")]);
        assert_ne!(hash(b"alice"), hash(b"alicf"));
    }
}
