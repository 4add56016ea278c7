//! Hosts, paths, and apps that claim the same.

use super::*;
use crate::app::AppSpec;

fn app(name: &str, routes: &[(&str, &str)], default: bool) -> App {
    let rule = |(host, path): &(&str, &str)| RouteRule {
        host: (!host.is_empty()).then(|| host.parse().expect("a host")),
        path: path.parse().expect("a path"),
        strip_prefix: false,
    };
    let spec = AppSpec::new(vec!["x".to_owned()]);
    App { routes: routes.iter().map(rule).collect(), default, ..App::new(name.parse().expect("a name"), spec) }
}

#[test]
fn a_host_is_a_name_or_all_names_in_front_of_one() {
    for (text, shown) in [
        ("localhost", "localhost"),
        ("Shop.Example.com", "shop.example.com"),
        ("*.example.com", "*.example.com"),
        ("*.localhost", "*.localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::0:1]", "[::1]"),
        ("a_b.example", "a_b.example"),
    ] {
        assert_eq!(text.parse::<HostPattern>().map(|host| host.to_string()), Ok(shown.to_owned()));
    }
    for bad in ["", "*", "*.", "a.*.com", "*a.com", "a..b", ".a", "a.", "a:80", "http://a", "a/b", "-a", "[::1", "::1", "\u{e4}.de"] {
        assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
    }
    assert!("x".repeat(64).parse::<HostPattern>().is_err());
}

#[test]
fn a_star_stands_for_one_name() {
    let wildcard: HostPattern = "*.example.com".parse().expect("a host");
    for (host, takes) in [("a.example.com", true), ("example.com", false), ("a.b.example.com", false), (".example.com", false)] {
        assert_eq!(wildcard.takes(host), takes, "{host}");
    }
    let exact: HostPattern = "example.com".parse().expect("a host");
    assert!(exact.takes("example.com") && !exact.takes("a.example.com"));
}

#[test]
fn a_path_has_one_way_to_be_written() {
    for good in ["/", "/api", "/api/v1", "/a.b/..c/%C3%A9", "/~me", "/a;b=c"] {
        assert_eq!(good.parse::<PathPrefix>().map(|path| path.to_string()), Ok(good.to_owned()));
    }
    for bad in [
        "",
        "api",
        "/api/",
        "//",
        "/a//b",
        "/a/../b",
        "/.",
        "/%2e%2E/a",
        "/a?b",
        "/a#b",
        "/a*",
        "/a b",
        "/a\\b",
        "/%",
        "/%4",
        "/%zz",
        "/\u{e4}",
    ] {
        assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
    }
}

#[test]
fn a_path_claims_whole_segments() {
    let api: PathPrefix = "/api".parse().expect("a path");
    for (path, rest) in [("/api", Some("/")), ("/api/", Some("/")), ("/api/x", Some("/x")), ("/apis", None), ("/API", None), ("/", None)] {
        assert_eq!(api.rest(path), rest, "{path}");
    }
    let all = PathPrefix::default();
    assert_eq!((all.rest("/a/b"), all.rest("*")), (Some("/a/b"), None));
}

#[test]
fn apps_that_claim_different_requests_are_at_peace() {
    let apps = [
        app("a", &[("a.example", "/"), ("a.example", "/x"), ("*.example", "/")], false),
        app("b", &[("b.example", "/"), ("", "/x")], true),
    ];
    assert_eq!(conflicts(&apps), Vec::<String>::new());
}

#[test]
fn a_conflict_names_both_apps() {
    let apps = [app("b", &[("A.example", "/x")], true), app("a", &[("a.example", "/x"), ("", "/"), ("", "/")], true)];
    assert_eq!(
        conflicts(&apps),
        [
            "a has the route */ twice; leave one",
            "the apps a and b both have the route a.example/x; take it from one of them",
            "the apps a and b both say default = true; leave it with one of them",
            "a says default = true, and the route */ of a leaves nothing for it; take one of the two away",
        ]
    );
}
