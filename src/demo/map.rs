//! The cluster map of the demo, and what has changed in it. Text in, text out: nothing is printed here.

use std::collections::BTreeMap;

use crate::command::{nodes, status as map};
use crate::format::Format;
use crate::output::printable;
use crate::view::{App, Node, Replica, Status};

/// The map as a person watches it.
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    for app in &status.apps {
        text.push_str(&format!("{}\n", app_line(app)));
        for sentence in &app.waiting {
            text.push_str(&format!("  waits: {}\n", printable(sentence)));
        }
    }
    text.push('\n');
    text.push_str(&nodes::render(&status.nodes, Format::Table));
    text.push('\n');
    text.push_str(&map::replicas(status, Format::Table));
    text
}

/// The map in a line.
pub fn summary(status: &Status) -> String {
    let apps: Vec<String> = status.apps.iter().map(app_line).collect();
    let nodes: Vec<String> = status.nodes.iter().map(|node| format!("{} {} with {}", node.url, node.state, node.replicas)).collect();
    let waiting: Vec<String> = status.apps.iter().flat_map(|app| app.waiting.iter().cloned()).collect();
    let details: Vec<String> =
        status.replicas.iter().filter(|replica| !replica.detail.is_empty()).map(|r| r.detail.clone()).take(2).collect();
    [apps, nodes, waiting, details].concat().join("; ")
}

fn app_line(app: &App) -> String {
    format!("{}: {} wanted, {} running, {} ready", printable(&app.name), app.desired, app.running, app.ready)
}

/// What happened between two maps, a line each: for an output that cannot be drawn again.
pub fn changes(before: &Status, after: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    let old_nodes: BTreeMap<&str, &Node> = before.nodes.iter().map(|node| (node.url.as_str(), node)).collect();
    for node in &after.nodes {
        if old_nodes.get(node.url.as_str()).is_none_or(|old| old.state != node.state) {
            lines.push(with_detail(format!("node {} is {}", node.url, node.state), &node.detail));
        }
    }
    for gone in before.nodes.iter().filter(|old| after.nodes.iter().all(|node| node.url != old.url)) {
        lines.push(format!("node {} is removed", gone.url));
    }
    let old_replicas: BTreeMap<&str, &Replica> = before.replicas.iter().map(|replica| (replica.id.as_str(), replica)).collect();
    for replica in &after.replicas {
        let told = |of: &Replica| (of.state.clone(), of.ready, of.restarts);
        if old_replicas.get(replica.id.as_str()).is_none_or(|old| told(old) != told(replica)) {
            lines.push(with_detail(replica_line(replica), &replica.detail));
        }
    }
    for gone in before.replicas.iter().filter(|old| after.replicas.iter().all(|replica| replica.id != old.id)) {
        lines.push(format!("replica {} on {} is gone", gone.id, gone.node));
    }
    let old_apps: BTreeMap<&str, &App> = before.apps.iter().map(|app| (app.name.as_str(), app)).collect();
    for app in &after.apps {
        if old_apps.get(app.name.as_str()).is_none_or(|old| (old.desired, old.ready) != (app.desired, app.ready)) {
            lines.push(app_line(app));
        }
    }
    lines.iter().map(|line| printable(line)).collect()
}

fn replica_line(replica: &Replica) -> String {
    let ready = if replica.ready { ", ready" } else { "" };
    let pid = replica.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let again = if replica.restarts > 0 { format!(", started again {} times", replica.restarts) } else { String::new() };
    format!("replica {} on {} is {}{ready}{again}{pid}", replica.id, replica.node, replica.state)
}

fn with_detail(line: String, detail: &str) -> String {
    if detail.is_empty() { line } else { format!("{line}: {detail}") }
}

/// The first `rows` lines, each of at most `columns` characters, so that none wraps and all can be drawn over.
pub fn crop(text: &str, columns: u16, rows: u16) -> String {
    let lines = text.lines().take(usize::from(rows));
    lines.map(|line| line.chars().take(usize::from(columns)).collect::<String>() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(id: &str, state: &str, ready: bool) -> Replica {
        Replica { id: id.to_owned(), node: "http://a:1".to_owned(), state: state.to_owned(), ready, pid: Some(7), ..Replica::default() }
    }

    fn status(state: &str, replicas: Vec<Replica>) -> Status {
        let node = Node { url: "http://a:1".to_owned(), state: state.to_owned(), ..Node::default() };
        let ready = replicas.iter().filter(|replica| replica.ready).count() as u64;
        let app = App { name: "worker".to_owned(), desired: 2, running: ready, ready, ..App::default() };
        Status { apps: vec![app], nodes: vec![node], replicas }
    }

    #[test]
    fn nothing_happened_between_equal_maps() {
        let mut map = status("ready", vec![replica("1", "running", true)]);
        let before = map.clone();
        map.replicas[0].uptime_seconds = Some(5.0);
        assert_eq!(changes(&before, &map), Vec::<String>::new());
    }

    #[test]
    fn every_change_is_a_line() {
        let before = status("ready", vec![replica("1", "running", true), replica("2", "running", true)]);
        let mut after = status("lost", vec![replica("2", "backoff", false), replica("3", "running", true)]);
        after.replicas[0].detail = "exit code 1".to_owned();
        assert_eq!(
            changes(&before, &after),
            [
                "node http://a:1 is lost",
                "replica 2 on http://a:1 is backoff (pid 7): exit code 1",
                "replica 3 on http://a:1 is running, ready (pid 7)",
                "replica 1 on http://a:1 is gone",
                "worker: 2 wanted, 1 running, 1 ready",
            ]
        );
    }

    #[test]
    fn what_is_drawn_fits_the_terminal() {
        assert_eq!(crop("abcdef\näöü\nthird\n", 3, 2), "abc\näöü\n");
    }
}
