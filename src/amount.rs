//! Amounts as people read them.

/// Units of memory, each 1,024 of the one before (IEC 80000-13).
const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// `812B`, `3.4MiB`, `128GiB`: no space, so that a column stays one.
#[allow(clippy::cast_precision_loss)]
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    // What would be rounded to 1,024 belongs to the next one.
    while amount >= 1023.5
        && let Some(next) = units.next()
    {
        amount /= 1024.0;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    if amount < 99.95 { format!("{amount:.1}{unit}") } else { format!("{amount:.0}{unit}") }
}

/// A number of processors: `0.25`, `12.00`; of one that uses next to nothing, `0`.
pub fn cores(cores: f64) -> String {
    if cores < 0.005 { "0".to_owned() } else { format!("{cores:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_three_digits_and_the_unit_that_fits() {
        for (amount, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (102_300, "99.9KiB"),
            (102_400, "100KiB"),
            (1_048_300, "1.0MiB"),
            (3_565_158, "3.4MiB"),
            (137_438_953_472, "128GiB"),
            (u64::MAX, "16384PiB"),
        ] {
            assert_eq!(bytes(amount), shown);
        }
        assert_eq!((cores(0.0), cores(0.004), cores(0.25), cores(12.0)), ("0".into(), "0".into(), "0.25".into(), "12.00".into()));
    }
}
