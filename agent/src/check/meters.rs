//! How many checks passed and failed, and how long they took.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The meters of all checks, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters(BTreeMap<&'static str, Meter>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meter {
    passed: u64,
    failed: u64,
    took: Duration,
}

impl Meters {
    /// One more.
    pub fn count(&mut self, kind: &'static str, passed: bool, took: Duration) {
        let meter = self.0.entry(kind).or_default();
        meter.passed += u64::from(passed);
        meter.failed += u64::from(!passed);
        meter.took += took;
    }

    /// As text for Prometheus (text exposition format 0.0.4).
    pub fn render(&self, text: &mut String) {
        let _ = writeln!(text, "# HELP ostler_agent_checks_total Health checks by kind and outcome.");
        let _ = writeln!(text, "# TYPE ostler_agent_checks_total counter");
        for (kind, meter) in &self.0 {
            for (outcome, count) in [("passed", meter.passed), ("failed", meter.failed)] {
                let _ = writeln!(text, "ostler_agent_checks_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}");
            }
        }
        let _ = writeln!(text, "# HELP ostler_agent_check_duration_seconds How long health checks took, by kind.");
        let _ = writeln!(text, "# TYPE ostler_agent_check_duration_seconds summary");
        for (kind, meter) in &self.0 {
            let _ = writeln!(text, "ostler_agent_check_duration_seconds_sum{{kind=\"{kind}\"}} {}", meter.took.as_secs_f64());
            let _ = writeln!(text, "ostler_agent_check_duration_seconds_count{{kind=\"{kind}\"}} {}", meter.passed + meter.failed);
        }
    }
}
