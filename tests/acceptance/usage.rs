//! What replicas and hosts use: in `/status`, in figures, and in the wide tables.

use crate::harness::processes;
use crate::harness::{Call, Home, PATIENCE, Setup, wait_for};
use serde_json::Value;

/// A worker that has a child which is busy.
const BUSY: &str = "#!/bin/sh\n(while :; do :; done) &\nexec \"$REAL\"\n";

#[test]
fn usage_of_whole_trees_is_shown_everywhere() {
    let home = Home::new();
    std::fs::remove_file(home.cwd().join("worker")).unwrap();
    let (_, worker) = crate::harness::home::PROGRAMS[3];
    home.script("worker", &BUSY.replace("$REAL", worker));
    let cluster = Setup::new().agents(1).start_in(home);
    let pid = cluster.settle(1).replicas[0].pid.unwrap();

    // Worker and child are counted together.
    let status = wait_for(PATIENCE, "usage of the replica", || {
        let status = cluster.get("/status").ok().json();
        let uses = &status["replicas"][0]["usage"];
        let is_busy = uses["cpu_seconds"].as_f64() > Some(0.2) && uses["cpu_cores"].as_f64() > Some(0.01);
        if is_busy && uses["processes"] == 2 { Ok(status) } else { Err(status.to_string()) }
    });
    let uses = &status["replicas"][0]["usage"];
    assert!(uses["memory_bytes"].as_u64() > Some(500_000) && uses["threads"].as_u64() >= Some(2), "{uses}");
    assert!(uses["open_files"].as_u64() >= Some(4), "{uses}");
    let host = &status["nodes"][0]["usage"];
    assert!(host["cpu_seconds"].as_f64() > uses["cpu_seconds"].as_f64() && host["cores"].as_u64() >= Some(1), "{host}");
    assert!(host["memory_used_bytes"].as_u64() > Some(0) && host["memory_used_bytes"].as_u64() < host["memory_bytes"].as_u64(), "{host}");
    assert!(host["uptime_seconds"].as_f64() > Some(0.0) && host["load_1m"].is_number(), "{host}");

    let id = status["replicas"][0]["id"].as_str().unwrap();
    for address in [cluster.address(), cluster.agents[0].address()] {
        let text = Call::get("/metrics").send(address).ok().text();
        let name = format!("ostler_replica_cpu_seconds_total{{app=\"worker\",replica=\"{id}\",node=\"");
        let line = text.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() > 0.2, "{line}");
        assert!(text.contains("\nostler_node_memory_used_bytes{node=\""), "{text}");
    }

    let ostler = |args: &[&str]| {
        let program = cluster.home.cwd().join("ostler");
        let url = cluster.controller.url();
        let output = cluster.home.command(&program.to_string_lossy()).args(["--controller", &url]).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, wide, _) = ostler(&["status", "-o", "wide"]);
    assert!(code == Some(0) && wide.contains("CPU-TIME") && wide.contains("MiB") && wide.contains("LOAD"), "{wide}");
    let (code, wide, _) = ostler(&["nodes", "-o", "wide"]);
    assert!(code == Some(0) && wide.contains("CPU-TIME") && wide.contains("GiB"), "{wide}");
    let (code, json, _) = ostler(&["status", "-o", "json"]);
    assert!(code == Some(0) && serde_json::from_str::<Value>(&json).is_ok(), "{json}");
    assert!(!ostler(&["status"]).1.contains("CPU-TIME"));
    assert_eq!(ostler(&["status", "-o", "wider"]).0, Some(2));
    assert_eq!(ostler(&["status", "--json", "-o", "wide"]).0, Some(2));

    // The next attempt begins anew.
    processes::kill(pid);
    let again = wait_for(PATIENCE, "usage of the next attempt", || {
        let status = cluster.get("/status").ok().json();
        let replica = status["replicas"][0].clone();
        if replica["restarts"] == 1 && replica["usage"]["processes"] == 2 { Ok(replica) } else { Err(status.to_string()) }
    });
    assert!(again["uptime_seconds"].as_f64() < Some(60.0) && again["id"] == id, "{again}");
    cluster.settle(0);
    wait_for(PATIENCE, "figures without the replica", || {
        let text = cluster.get("/metrics").ok().text();
        if text.contains(id) { Err(text) } else { Ok(()) }
    });
}
