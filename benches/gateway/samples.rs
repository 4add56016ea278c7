//! What is made of figures that were taken round by round.

/// The middle; of an even number, the mean of the two in the middle.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle.checked_sub(1)?)? + upper) / 2.0)
}

/// One divided by the other, round by round: what disturbed a round disturbed both.
pub fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).filter(|(_, to)| **to > 0.0).map(|(of, to)| of / to).collect()
}

/// How far a ratio that should be 1 lies from it, in the middle of all rounds.
pub fn spread(should_be_one: &[f64]) -> f64 {
    let distances: Vec<f64> = should_be_one.iter().map(|ratio| (ratio - 1.0).abs()).collect();
    median(&distances).unwrap_or_default()
}

/// `least..most`, each shown by `show`.
pub fn range(samples: &[f64], show: impl Fn(f64) -> String) -> String {
    let least = samples.iter().copied().reduce(f64::min);
    let most = samples.iter().copied().reduce(f64::max);
    least.zip(most).map_or_else(|| "-".to_owned(), |(least, most)| format!("{}..{}", show(least), show(most)))
}
