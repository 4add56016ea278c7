//! `ostler validate` and `ostler schema`: what is told of specs without a controller.

use std::fs;
use std::process::Command;

use crate::harness::Home;
use crate::harness::program::{self, Ended};

const SHOP: &str = "name = \"shop\"\ncommand = [\"./shop\"]\nreplicas = 4\n\n[[route]]\nhost = \"a.example\"\n";

fn home() -> Home {
    let home = Home::new();
    let apps = home.cwd().join("apps");
    fs::create_dir_all(apps.join("more")).unwrap();
    fs::write(apps.join("shop.toml"), SHOP).unwrap();
    fs::write(apps.join("more/cart.toml"), SHOP.replace("\"shop\"", "\"cart\"").replace("a.example", "b.example")).unwrap();
    fs::write(apps.join("read.me"), "no spec").unwrap();
    home
}

fn ostler(home: &Home, args: &[&str]) -> Ended {
    let program = home.cwd().join("ostler").to_string_lossy().into_owned();
    program::run(home, home.command(&program).args(args))
}

#[test]
fn good_specs_are_called_good() {
    let home = home();
    let ended = ostler(&home, &["validate", "apps"]);
    let told = "apps/more/cart.toml: good: 4 replicas of cart\napps/shop.toml: good: 4 replicas of shop\n";
    assert_eq!(ended, Ended { code: Some(0), stdout: told.to_owned(), stderr: String::new() });
}

#[test]
fn a_fault_is_shown_where_it_stands_and_the_other_files_are_checked_all_the_same() {
    let home = home();
    fs::write(home.cwd().join("bad.toml"), "name = \"shop\"\ncomand = [\"./shop\"]\n").unwrap();
    fs::write(home.cwd().join("bad.json"), "{\"name\":\"shop\",\"command\":[\"x\"],\"limits\":{\"nice\":99}}").unwrap();
    let ended = ostler(&home, &["validate", "bad.toml", "absent.toml", "bad.json", "apps/shop.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "apps/shop.toml: good: 4 replicas of shop\n"));
    let told = "\
bad.toml:2:1: comand: there is no key \"comand\" here; did you mean \"command\"?
  |
2 | comand = [\"./shop\"]
  | ^^^^^^
absent.toml: it cannot be read: No such file or directory (os error 2)
bad.json:1:49: /limits/nice: 99 is out of range; give -20 to 19
  |
1 | {\"name\":\"shop\",\"command\":[\"x\"],\"limits\":{\"nice\":99}}
  |                                                 ^^
ostler: 3 of 4 specs cannot be taken
";
    assert_eq!(ended.stderr, told);
}

#[test]
fn a_pipe_in_a_directory_is_told_of_and_not_waited_for() {
    let home = home();
    assert!(Command::new("mkfifo").arg(home.cwd().join("apps/pipe.toml")).status().unwrap().success());
    let ended = ostler(&home, &["validate", "apps"]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(1), 2), "{ended:?}");
    assert!(ended.stderr.starts_with("apps/pipe.toml: it cannot be read: it is no regular file\n"), "{ended:?}");
}

#[test]
fn specs_that_do_not_fit_together_are_refused() {
    let home = home();
    fs::write(home.cwd().join("apps/other.toml"), SHOP.replace("\"shop\"", "\"other\"")).unwrap();
    let ended = ostler(&home, &["validate", "apps"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the apps other and shop both have the route a.example/"), "{ended:?}");
    let ended = ostler(&home, &["validate", "apps/shop.toml", "./apps/shop.toml"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("are both called shop"), "{ended:?}");
}

#[test]
fn a_directory_without_specs_and_an_empty_stdin_are_no_success() {
    let home = home();
    fs::create_dir(home.cwd().join("empty")).unwrap();
    let ended = ostler(&home, &["validate", "empty"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("there is no *.toml in empty or below"), "{ended:?}");
    let ended = ostler(&home, &["validate", "-"]);
    assert!(ended.code == Some(1) && ended.stderr.starts_with("stdin:1:1: the key \"name\" is missing"), "{ended:?}");
    assert_eq!(ostler(&home, &["validate"]).code, Some(2));
}

#[test]
fn the_schema_and_the_reference_are_printed() {
    let home = home();
    let schema: serde_json::Value = serde_json::from_str(&ostler(&home, &["schema"]).stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let reference = ostler(&home, &["schema", "--reference"]);
    assert!(reference.code == Some(0) && reference.stdout.contains("## `[[health]]`"), "{reference:?}");
}
