//! A strict reader of Prometheus' text format, version 0.0.4: what it takes, Prometheus takes.

use std::collections::{BTreeMap, BTreeSet};

/// The value of each series; an error names the line.
pub fn read(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut series = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = (String::new(), String::new());
    let mut lines = text.lines();
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    while let Some(line) = lines.next() {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, _)) = rest.split_once(' ') else { return wrong("no help") };
            let Some(kind) = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))) else { return wrong("no type") };
            if !["counter", "gauge", "histogram", "summary"].contains(&kind) || !is_name(name) {
                return wrong("no such kind, or no name");
            }
            if !families.insert(name.to_owned()) {
                return wrong("a family that was there before");
            }
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let Some((of, value)) = line.rsplit_once(' ') else { return wrong("no value") };
        let Ok(value) = value.parse::<f64>() else { return wrong("no number") };
        let (name, labels) = of.split_once('{').map_or((of, None), |(name, labels)| (name, Some(labels)));
        let suffixes: &[&str] = match family.1.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count", ""],
            _ => &[""],
        };
        if !suffixes.iter().any(|suffix| name == format!("{}{suffix}", family.0)) {
            return wrong("not of the family above");
        }
        if family.1 == "counter" && !(name.ends_with("_total") && value >= 0.0) {
            return wrong("a counter that is none");
        }
        if labels.is_some_and(|labels| !are_labels(labels)) {
            return wrong("bad labels");
        }
        if series.insert(of.to_owned(), value).is_some() {
            return wrong("a series that was there before");
        }
    }
    Ok(series)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.as_bytes()[0].is_ascii_digit()
}

/// `name="value",name="value"}`: no name twice, and in a value each backslash, quote and line end is escaped.
fn are_labels(text: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut rest = text;
    loop {
        let Some((name, value)) = rest.split_once("=\"") else { return false };
        if !is_name(name) || !seen.insert(name) {
            return false;
        }
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) if matches!(chars.next(), Some((_, '\\' | '"' | 'n'))) => {}
                Some((at, '"')) => break at,
                Some((_, '\\' | '\n')) | None => return false,
                Some(_) => {}
            }
        };
        match &value[end + 1..] {
            "}" => return true,
            more => match more.strip_prefix(',') {
                Some(more) => rest = more,
                None => return false,
            },
        }
    }
}

#[test]
fn what_prometheus_would_not_take_is_not_taken() {
    let family = "# HELP a_total b\n# TYPE a_total counter\n";
    assert_eq!(read(&format!("{family}a_total{{b=\"c\\\"}},\"}} 1.5\n")).unwrap().len(), 1);
    for wrong in [
        "a_total 1",
        "a_total x\n",
        "b_total 1\n",
        "a_total -1\n",
        "a_total 1\na_total 2\n",
        "a_total{b=\"c\"\n} 1\n",
        "a_total{b=\"c\",b=\"d\"} 1\n",
        "a_total{b=\"\\x\"} 1\n",
        "a_total{b=\"c} 1\n",
        "a_total{1b=\"c\"} 1\n",
        "# HELP a_total b\n# TYPE a_total counter\n",
        "# TYPE a gauge\n",
    ] {
        assert!(read(&format!("{family}{wrong}")).is_err(), "{wrong:?}");
    }
}
