//! Files against what is wanted.

use proptest::prelude::*;

use super::*;
use crate::app::AppSpec;
use crate::rule::RouteRule;

const NOW: Now = Now { mono_ms: 0, unix_ms: 1 };
const URL: &str = "dir:///apps";

fn source(prune: bool) -> Source {
    Source { url: URL.to_owned(), prune }
}

fn app(name: &str, program: &str, routes: &[&str]) -> App {
    let rule = |path: &&str| RouteRule { host: None, path: path.parse().expect("a path"), strip_prefix: false };
    App { routes: routes.iter().map(rule).collect(), ..App::new(name.parse().expect("a name"), AppSpec::new(vec![program.to_owned()])) }
}

fn files(of: &[(&str, App)]) -> BTreeMap<String, Reading> {
    of.iter().map(|(file, app)| ((*file).to_owned(), Reading::App(Box::new(app.clone())))).collect()
}

/// What is wanted once a verdict is carried out.
fn carried_out(mut apps: BTreeMap<AppName, App>, verdict: &Verdict) -> BTreeMap<AppName, App> {
    apps.extend(verdict.put.iter().map(|app| (app.name.clone(), app.clone())));
    apps
}

fn first(of: &[(&str, App)]) -> BTreeMap<AppName, App> {
    let verdict = source(false).judge(&files(of), &BTreeMap::new(), NOW);
    assert!(verdict.faults.is_empty(), "{:?}", verdict.faults);
    carried_out(BTreeMap::new(), &verdict)
}

#[test]
fn a_file_that_cannot_be_taken_leaves_its_app_as_it_was() {
    let apps = first(&[("a.toml", app("a", "x", &[]))]);
    let bad = BTreeMap::from([("a.toml".to_owned(), Reading::Bad("a.toml:1:1: no".to_owned()))]);
    for prune in [false, true] {
        let verdict = source(prune).judge(&bad, &apps, NOW);
        assert!(verdict.put.is_empty() && verdict.vanished.is_empty());
        assert_eq!(verdict.faults["a.toml"].why, "a.toml:1:1: no");
    }
}

#[test]
fn two_files_with_one_app_are_told_of_each_other() {
    let verdict = source(false).judge(&files(&[("a.toml", app("a", "x", &[])), ("b.toml", app("a", "y", &[]))]), &BTreeMap::new(), NOW);
    assert!(verdict.put.is_empty());
    assert_eq!(verdict.faults["a.toml"].why, "the app a is in a.toml and b.toml; leave it in one of them");
    assert_eq!(verdict.faults["a.toml"], verdict.faults["b.toml"]);
}

#[test]
fn an_app_that_was_applied_by_hand_is_not_touched() {
    let apps = BTreeMap::from([("a".parse().expect("a name"), App { origin: Origin::Hand, ..app("a", "x", &[]) })]);
    let verdict = source(true).judge(&files(&[("a.toml", app("a", "y", &[]))]), &apps, NOW);
    assert!(verdict.put.is_empty());
    assert!(verdict.faults["a.toml"].why.contains("by hand"));
}

#[test]
fn the_built_in_app_gives_way_to_a_file_and_keeps_its_count_where_the_file_asks_for_none_other() {
    let builtin = App { desired: 4, ..App::builtin() };
    let file = App { replicas: 0, ..app("worker", "worker", &[]) };
    let verdict = source(false).judge(&files(&[("w.toml", file)]), &BTreeMap::from([(AppName::builtin(), builtin)]), NOW);
    assert_eq!((verdict.put[0].revision, verdict.put[0].desired), (1, 4));
    assert_eq!(verdict.put[0].origin.to_string(), "dir:///apps/w.toml");
}

#[test]
fn an_app_whose_file_vanished_goes_only_when_pruned_and_never_by_an_empty_listing() {
    let apps = first(&[("a.toml", app("a", "x", &[])), ("b.toml", app("b", "x", &[]))]);
    let left = files(&[("b.toml", app("b", "x", &[]))]);
    let verdict = source(false).judge(&left, &apps, NOW);
    assert!(verdict.put.is_empty());
    assert_eq!(verdict.vanished.values().collect::<Vec<_>>(), ["a.toml"]);
    let verdict = source(true).judge(&left, &apps, NOW);
    assert!(verdict.put.len() == 1 && verdict.put[0].deleted && verdict.vanished.is_empty());
    let verdict = source(true).judge(&BTreeMap::new(), &apps, NOW);
    assert!(verdict.put.is_empty() && verdict.vanished.len() == 2);
    // Of another source, which is not named any more.
    let other = Source { url: "dir:///other".to_owned(), prune: true };
    assert!(other.judge(&files(&[("c.toml", app("c", "x", &[]))]), &apps, NOW).put.iter().all(|app| !app.deleted));
}

#[test]
fn a_file_may_be_renamed_and_an_app_may_be_renamed_in_its_file() {
    let apps = first(&[("a.toml", app("a", "x", &[]))]);
    let verdict = source(true).judge(&files(&[("z.toml", app("a", "x", &[]))]), &apps, NOW);
    assert!(verdict.put.len() == 1 && !verdict.put[0].deleted && verdict.put[0].revision == 1);
    let verdict = source(true).judge(&files(&[("a.toml", app("b", "x", &[]))]), &apps, NOW);
    let names: Vec<_> = verdict.put.iter().map(|app| (app.name.as_str(), app.deleted)).collect();
    assert_eq!(names, [("a", true), ("b", false)]);
}

#[test]
fn routes_that_are_taken_are_refused_and_may_be_exchanged_at_once() {
    let apps = first(&[("a.toml", app("a", "x", &["/a"])), ("b.toml", app("b", "x", &["/b"]))]);
    let clash = [("a.toml", app("a", "x", &["/b"])), ("b.toml", app("b", "x", &["/b"])), ("c.toml", app("c", "x", &["/c"]))];
    let verdict = source(false).judge(&files(&clash), &apps, NOW);
    assert!(verdict.faults["a.toml"].why.contains("the apps a and b both have the route"), "{:?}", verdict.faults);
    assert_eq!(verdict.put.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["c"]);
    let exchanged = files(&[("a.toml", app("a", "x", &["/b"])), ("b.toml", app("b", "x", &["/a"]))]);
    let verdict = source(false).judge(&exchanged, &apps, NOW);
    assert!(verdict.faults.is_empty() && verdict.put.len() == 2);
}

/// Any small source.
fn some_files() -> impl Strategy<Value = BTreeMap<String, Reading>> {
    let reading = prop_oneof![
        1 => Just(Reading::Bad("bad".to_owned())),
        6 => (0usize..5, 0u8..2, 0usize..4).prop_map(|(name, program, route)| {
            let routes: &[&str] = &[["/a"], ["/b"], ["/c"], ["/d"]][route];
            Reading::App(Box::new(app(["a", "b", "c", "d", "worker"][name], &program.to_string(), routes)))
        }),
    ];
    prop::collection::btree_map("[a-e]\\.toml", reading, 0..6)
}

proptest! {
    #[test]
    fn what_was_carried_out_changes_nothing_more_and_never_conflicts(steps in prop::collection::vec(some_files(), 1..8), prune: bool) {
        let source = source(prune);
        let mut apps = BTreeMap::from([("d".parse().expect("a name"), App { origin: Origin::Hand, ..app("d", "hand", &["/d"]) })]);
        let by_hand = apps.clone();
        for files in steps {
            let verdict = source.judge(&files, &apps, NOW);
            if files.is_empty() {
                prop_assert!(verdict.put.is_empty());
            }
            if !prune {
                prop_assert!(verdict.put.iter().all(|app| !app.deleted));
            }
            apps = carried_out(apps, &verdict);
            prop_assert_eq!(fit(&apps), Ok(()));
            for (name, app) in &by_hand {
                prop_assert_eq!(&apps[name], app);
            }
            let again = source.judge(&files, &apps, NOW);
            prop_assert_eq!((again.put, again.faults, again.vanished), (vec![], verdict.faults, verdict.vanished));
        }
    }

    #[test]
    fn a_change_of_one_file_touches_its_app_alone(changed in 0usize..20) {
        let many: Vec<(String, App)> = (0..20).map(|nth| (format!("{nth}.toml"), app(&format!("app-{nth}"), "x", &[]))).collect();
        let texts: Vec<(&str, App)> = many.iter().map(|(file, app)| (file.as_str(), app.clone())).collect();
        let apps = first(&texts);
        let mut other = texts.clone();
        other[changed].1.spec.command = vec!["y".to_owned()];
        let verdict = source(true).judge(&files(&other), &apps, NOW);
        prop_assert_eq!(verdict.put.iter().map(|app| app.name.to_string()).collect::<Vec<_>>(), [format!("app-{changed}")]);
    }
}
