//! A controller that cannot start says why, in one line, and loses nothing.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use cluster::ClusterId;
use cluster::traffic::Traffic;
use gateway::listen::Listen;

use crate::store::redb::RedbStore;
use crate::{Config, run};

pub(super) fn config(listen: Listen, directory: &Path) -> Config {
    Config {
        listen,
        gateway_listen: None,
        data_dir: Some(directory.to_owned()),
        lost_after: Duration::from_secs(3),
        apps: None,
        insecure: false,
        allow_host: vec![],
        traffic: Traffic::default(),
        access_log: None,
        gateway_limits: gateway::Limits::default(),
        trusted_proxies: vec![],
    }
}

fn anywhere() -> Listen {
    Listen::Exactly((Ipv4Addr::LOCALHOST, 0).into())
}

async fn why_not(config: Config) -> String {
    let message = run(config, vec![]).await.unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_and_no_store_is_made() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("data");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let message = why_not(config(Listen::Exactly(address), &directory)).await;
    assert!(message.contains(&address.port().to_string()), "{message}");
    let message = why_not(Config { gateway_listen: Some(address), ..config(anywhere(), &directory) }).await;
    assert!(message.contains(&address.port().to_string()), "{message}");
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_or_damaged_is_named_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    let store = RedbStore::open(directory.path(), || ClusterId(7)).unwrap();
    let message = why_not(config(anywhere(), directory.path())).await;
    assert!(message.contains(&path) && message.contains("in use"), "{message}");
    drop(store);
    let file = directory.path().join("store.redb");
    for damage in [b"".as_slice(), b"something else"] {
        fs::write(&file, damage).unwrap();
        let message = why_not(config(anywhere(), directory.path())).await;
        assert!(message.contains(&file.display().to_string()) && message.contains("damaged"), "{message}");
        assert_eq!(fs::read(&file).unwrap(), damage);
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let message = why_not(config(anywhere(), directory.path())).await;
    assert!(message.contains(&file.display().to_string()), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_loopback_and_a_short_lost_after_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = Listen::Exactly((Ipv4Addr::UNSPECIFIED, 0).into());
    let message = why_not(config(open, directory.path())).await;
    assert!(message.contains("--insecure"), "{message}");
    let hasty = Config { lost_after: Duration::from_millis(999), ..config(anywhere(), directory.path()) };
    let message = why_not(hasty).await;
    assert!(message.contains("--lost-after"), "{message}");
}
