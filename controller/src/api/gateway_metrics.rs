//! The gateway's figures for Prometheus.

use std::fmt::Display;

use cluster::AppName;
use gateway::{AppFigures, Figures, Times};

use super::exposition::{family, line, seconds};

/// The classes in which ended requests are counted, in the order of [`AppFigures::ended`].
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes all of them.
pub fn write(out: &mut String, figures: &Figures) {
    let mut whole = |name: &str, kind: &str, help: &str, value: u64| {
        family(out, name, kind, help);
        line(out, name, value);
    };
    whole("ostler_gateway_connections", "gauge", "Client connections that are open.", figures.connections);
    let help = "What came and was no request of an app: malformed, too large, too slow, for nobody.";
    whole("ostler_gateway_refused_total", "counter", help, figures.refused);
    let help = "Lines of the access log that were dropped since the file did not take them.";
    whole("ostler_gateway_access_log_dropped_total", "counter", help, figures.log_dropped);

    let name = "ostler_gateway_requests_total";
    family(
        out,
        name,
        "counter",
        "Requests that ended, by the class of their status; none: the client was gone before there was an answer.",
    );
    for (app, figures) in &figures.apps {
        for (class, count) in CLASSES.iter().zip(figures.ended) {
            line(out, &format!("{name}{{app=\"{app}\",class=\"{class}\"}}"), count);
        }
    }
    for (name, kind, help, of) in FAMILIES {
        family(out, name, kind, help);
        for (app, figures) in &figures.apps {
            line(out, &labelled(name, app), of(figures));
        }
    }
    let name = "ostler_gateway_ejections_total";
    family(out, name, "counter", "How often a replica was left out for a while, by reason.");
    for (app, figures) in &figures.apps {
        for (reason, count) in &figures.ejections {
            line(out, &format!("{name}{{app=\"{app}\",reason=\"{}\"}}", reason.word()), *count);
        }
    }
    let help = "Seconds from the head of a request to the first byte of a replica's answer.";
    histogram(out, "ostler_gateway_first_byte_seconds", help, figures, |figures| &figures.first_byte);
    let help = "Seconds from the head of a request to the last byte of its answer.";
    histogram(out, "ostler_gateway_request_seconds", help, figures, |figures| &figures.whole);
}

/// Name, kind, help and value of a family with one series for each app.
type Family = (&'static str, &'static str, &'static str, fn(&AppFigures) -> u64);

const FAMILIES: [Family; 7] = [
    ("ostler_gateway_requests_in_flight", "gauge", "Requests under way.", |app| app.in_flight),
    ("ostler_gateway_retries_total", "counter", "Requests that were sent again after a replica had got them.", |app| app.retries),
    ("ostler_gateway_retries_refused_total", "counter", "Requests that were not sent again since too many were.", |app| {
        app.retries_refused
    }),
    ("ostler_gateway_replays_total", "counter", "Requests given to another replica or connection before a byte was sent.", |app| {
        app.replays
    }),
    ("ostler_gateway_held_total", "counter", "Requests that had to wait for a replica.", |app| app.held),
    ("ostler_gateway_requests_held", "gauge", "Requests that wait for a replica now.", |app| app.holding),
    ("ostler_gateway_replicas_ejected", "gauge", "Replicas that are left out now.", |app| app.ejected),
];

fn labelled(name: &str, app: &AppName) -> String {
    format!("{name}{{app=\"{app}\"}}")
}

fn histogram(out: &mut String, name: &str, help: &str, figures: &Figures, of: impl Fn(&AppFigures) -> &Times) {
    family(out, name, "histogram", help);
    for (app, figures) in &figures.apps {
        let times = of(figures);
        for (bound_us, count) in times.cumulated() {
            let bound: &dyn Display = match &bound_us {
                Some(us) => &bound_seconds(*us),
                None => &"+Inf",
            };
            line(out, &format!("{name}_bucket{{app=\"{app}\",le=\"{bound}\"}}"), count);
        }
        seconds(out, &labelled(&format!("{name}_sum"), app), times.sum_us());
        line(out, &labelled(&format!("{name}_count"), app), times.count());
    }
}

/// A bound as Prometheus writes numbers: without zeros at the end.
fn bound_seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_belongs_to_a_family_and_has_one_value() {
        let figures = Figures { apps: [(AppName::builtin(), AppFigures::default())].into(), ..Figures::default() };
        let mut text = String::new();
        write(&mut text, &figures);
        let mut families = Vec::new();
        let mut series = std::collections::BTreeSet::new();
        for text in text.lines() {
            if let Some(rest) = text.strip_prefix("# TYPE ") {
                families.push(rest.split(' ').next().unwrap_or_default());
            } else if !text.starts_with('#') {
                let (name, value) = text.rsplit_once(' ').unwrap_or_default();
                assert!(value.parse::<f64>().is_ok(), "{text}");
                assert!(families.last().is_some_and(|family| name.starts_with(family)), "{text}");
                assert!(series.insert(name), "{text} is there twice");
            }
        }
        assert!(text.contains("ostler_gateway_request_seconds_bucket{app=\"worker\",le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("le=\"60\"} 0") && text.contains("le=\"+Inf\"} 0"), "{text}");
    }
}
