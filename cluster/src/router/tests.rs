//! Who gets which request.

use proptest::prelude::*;

use super::*;
use crate::rule::RouteRule;

fn rule(text: &str) -> RouteRule {
    let (text, strip_prefix) = text.strip_suffix(" strip").map_or((text, false), |text| (text, true));
    let (host, path) = text.split_at(text.find('/').expect("a path"));
    let host = (!host.is_empty()).then(|| host.parse().expect("a host"));
    RouteRule { host, path: path.parse().expect("a path"), strip_prefix }
}

fn table(fallback: Option<&str>, apps: &[(&str, Vec<RouteRule>)]) -> RoutingTable {
    let app = |(name, rules): &(&str, Vec<RouteRule>)| {
        (name.parse().expect("a name"), AppRoutes { rules: rules.clone(), ..AppRoutes::default() })
    };
    let fallback = fallback.map(|name| name.parse().expect("a name"));
    RoutingTable { fallback, apps: apps.iter().map(app).collect(), ..RoutingTable::default() }
}

/// Apps a, b, c and so on with one rule each, and `worker` for the rest.
fn router(rules: &[&str]) -> Router {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut apps: Vec<_> = names.into_iter().zip(rules).map(|(name, text)| (name, vec![rule(text)])).collect();
    apps.push(("worker", vec![]));
    Router::new(&table(Some("worker"), &apps))
}

fn app(router: &Router, host: &str, path: &str) -> usize {
    router.app_for(host, path).expect("an app").app
}

#[test]
fn the_most_particular_rule_has_the_request() {
    let router = router(&["shop.example.com/", "*.example.com/api", "/api", "shop.example.com/api/v1", "*.localhost/"]);
    for (host, path, expected) in [
        ("shop.example.com", "/", 0),
        ("shop.example.com", "/api", 0),
        ("shop.example.com", "/api/v1", 3),
        ("shop.example.com", "/api/v10", 0),
        ("a.example.com", "/api/v1", 1),
        ("a.example.com", "/", 5),
        ("a.b.example.com", "/api", 2),
        ("example.com", "/api/x", 2),
        ("a.localhost", "/api", 4),
        ("localhost", "/apix", 5),
        ("localhost", "/API", 5),
        ("127.0.0.1", "//api", 5),
        ("127.0.0.1", "/%61pi", 5),
        ("127.0.0.1", "*", 5),
        ("", "/api/", 2),
    ] {
        assert_eq!(app(&router, host, path), expected, "{host}{path}");
    }
}

#[test]
fn case_port_and_last_dot_of_a_host_do_not_count() {
    let router = router(&["shop.example.com/", "[::1]/", "*.example.org/", "10.0.0.1/"]);
    for (host, expected) in [
        ("SHOP.Example.com", 0),
        ("shop.example.com:8000", 0),
        ("shop.example.com.", 0),
        ("Shop.example.com.:80", 0),
        ("shop.example.com..", 4),
        ("[::1]", 1),
        ("[::1]:8000", 1),
        ("x.EXAMPLE.org.:1", 2),
        (".example.org", 4),
        ("10.0.0.1:80", 3),
        (&"x".repeat(300), 4),
        (":80", 4),
    ] {
        assert_eq!(app(&router, host, "/"), expected, "{host}");
    }
}

#[test]
fn neighbours_in_the_order_of_bytes_do_not_hide_a_rule() {
    let router = router(&["/api", "/api-x", "/api/y", "/api/y/z.a", "/ap"]);
    for (path, expected) in [
        ("/api/x", 0),
        ("/api-x/1", 1),
        ("/api/y-", 0),
        ("/api/y/z", 2),
        ("/api/y/z.a", 3),
        ("/ap/", 4),
        ("/a", 5),
        ("/apj", 5),
        ("/api0", 5),
    ] {
        assert_eq!(app(&router, "h", path), expected, "{path}");
    }
}

#[test]
fn what_nobody_claims_has_no_app_without_a_default_one() {
    let router = Router::new(&table(None, &[("a", vec![rule("/a")])]));
    assert_eq!(router.app_for("h", "/b"), Err(Unrouted::Unclaimed));
    assert_eq!(router.app_for("h", "/a/b"), Ok(Match { app: 0, strip_bytes: 0 }));
    assert_eq!(Router::default().app_for("h", "/"), Err(Unrouted::Unclaimed));
    // The table may name one that it does not have.
    assert_eq!(Router::new(&table(Some("gone"), &[("a", vec![])])).app_for("h", "/"), Err(Unrouted::Unclaimed));
}

#[test]
fn a_prefix_is_taken_off_where_its_rule_says_so() {
    let router = router(&["/api strip", "/ strip"]);
    assert_eq!(router.app_for("h", "/api/x"), Ok(Match { app: 0, strip_bytes: 4 }));
    assert_eq!(router.app_for("h", "/api"), Ok(Match { app: 0, strip_bytes: 4 }));
    assert_eq!(router.app_for("h", "/x"), Ok(Match { app: 1, strip_bytes: 0 }));
}

#[test]
fn dots_do_not_lead_out_of_what_a_path_claims() {
    let router = router(&["/public", "h.example/"]);
    for bad in [
        "/public/..",
        "/public/../admin",
        "/public/a/../../admin",
        "/public/%2e%2E/admin",
        "/public/.%2e/admin",
        "/public/..%2fadmin",
        "/public/x%2F..",
        "/public/..\\admin",
        "/public/..%5Cadmin",
        "/public/..;a=b/admin",
        "/public//../admin",
    ] {
        assert_eq!(router.app_for("h", bad), Err(Unrouted::Climbs), "{bad}");
        // Where no path was decisive there is nothing to get out of.
        assert_eq!(app(&router, "h.example", bad), 1, "{bad}");
    }
    for good in [
        "/public",
        "/public/.",
        "/public/...",
        "/public/..a",
        "/public/a..",
        "/public/a..;/b",
        "/public/%252e%252e/x",
        "/public/a%2fb",
        "/public/%2",
    ] {
        assert_eq!(app(&router, "h", good), 0, "{good}");
    }
    assert_eq!(app(&router, "h", "/other/../public"), 2);
}

/// What the rules say, by looking at every one.
fn naive(apps: &[(&str, Vec<RouteRule>)], host: &str, path: &str) -> Option<usize> {
    let rank = |rule: &RouteRule| {
        let kind = match &rule.host {
            Some(HostPattern::Exact(_)) => 2,
            Some(HostPattern::Wildcard(_)) => 1,
            None => 0,
        };
        (kind, rule.path.as_str().len())
    };
    let takes = |rule: &RouteRule| rule.host.as_ref().is_none_or(|pattern| pattern.takes(host)) && rule.path.rest(path).is_some();
    let rules = apps.iter().enumerate().flat_map(|(number, (_, rules))| rules.iter().map(move |rule| (number, rule)));
    // Of equals the first counts.
    let mut best: Option<(usize, &RouteRule)> = None;
    for (number, rule) in rules.filter(|(_, rule)| takes(rule)) {
        if best.is_none_or(|(_, known)| rank(rule) > rank(known)) {
            best = Some((number, rule));
        }
    }
    best.map(|(number, _)| number)
}

fn hosts() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b.a", "c.b.a", "x.a", "*.a", "*.b.a"]).prop_map(str::to_owned)
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "a-", "ab", "a.", "a0"]), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn the_router_finds_what_looking_at_every_rule_finds(
        rules in prop::collection::vec((hosts(), paths(), 0..3usize), 0..24),
        asked in prop::collection::vec((prop::sample::select(vec!["a", "b.a", "c.b.a", "z.a", "z"]), paths(), prop::sample::select(vec!["", "/", "-", "/../"])), 1..16),
    ) {
        let mut apps: Vec<(&str, Vec<RouteRule>)> = vec![("a", vec![]), ("b", vec![]), ("c", vec![])];
        for (host, path, app) in &rules {
            apps[*app].1.push(rule(&format!("{host}{path}")));
        }
        let router = Router::new(&table(None, &apps));
        for (host, path, end) in asked {
            let path = format!("{path}{end}");
            let found = router.app_for(host, &path);
            match naive(&apps, host, &path) {
                Some(_) if found == Err(Unrouted::Climbs) => prop_assert!(climbs(&path)),
                Some(expected) => prop_assert_eq!(found.map(|found| found.app), Ok(expected)),
                None => prop_assert_eq!(found, Err(Unrouted::Unclaimed)),
            }
        }
    }

    #[test]
    fn any_request_can_be_looked_up(host in "\\PC{0,40}", path in "\\PC{0,40}") {
        let _ = router(&["a.example/", "*.example/x", "/y"]).app_for(&host, &path);
    }
}
