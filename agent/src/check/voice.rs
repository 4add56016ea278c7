//! The push check: how a replica speaks up, by `POST $OSTLER_HEALTH_URL` or by sd_notify to `$NOTIFY_SOCKET`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use cluster::ReplicaId;
use cluster::health::{Check, Kind, Push};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::os::{self, NotifySocket};
use crate::runtime_dir::NOTIFY_SOCKET;

/// One that talks all the time is heard so often.
const PAUSE: Duration = Duration::from_millis(10);

/// Names and values for a replica's environment.
pub type Variables = Vec<(String, String)>;
/// What a replica said, and in which attempt.
pub type Word = (ReplicaId, u32, Push);

/// The voice of one attempt.
#[derive(Debug)]
pub struct Voice {
    /// Who knows this is the attempt, or was told by it.
    pub token: String,
    /// Where it may also speak, until somebody listens there.
    socket: Option<NotifySocket>,
}

impl Voice {
    /// A voice, if a check of the app asks for one, with the variables that tell the replica of it. `api`: where this agent listens.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn new(checks: &[Check], directory: &Path, id: ReplicaId, api: SocketAddr) -> io::Result<Option<(Self, Variables)>> {
        let Some(check) = checks.iter().find(|check| check.kind == Kind::Push) else { return Ok(None) };
        let token = uuid::Uuid::new_v4().simple().to_string();
        let path = directory.join(NOTIFY_SOCKET);
        os::private_directory(directory)?;
        let socket = NotifySocket::bind(&path)?;
        let mut env = vec![
            ("OSTLER_HEALTH_URL".to_owned(), format!("http://{}/v1/replicas/{id}/health/{token}", reachable(api))),
            ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
        ];
        if check.purpose.is_liveness() {
            // sd_watchdog_enabled(3): a program speaks up twice in this time.
            env.push(("WATCHDOG_USEC".to_owned(), check.interval_ms.saturating_mul(1_000).to_string()));
        }
        Ok(Some((Voice { token, socket: Some(socket) }, env)))
    }

    /// The voice of an attempt that was started by the agent before this one. Its socket is made again where that one had it; a replica that
    /// spoke meanwhile was not heard.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn resume(token: String, directory: &Path) -> io::Result<Self> {
        Ok(Voice { token, socket: Some(NotifySocket::bind(&directory.join(NOTIFY_SOCKET))?) })
    }

    /// Listens to the socket from now on, for what the tree below `root` says.
    pub fn listen(
        &mut self,
        id: ReplicaId,
        attempt: u32,
        root: u32,
        words: mpsc::Sender<Word>,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let socket = self.socket.take()?;
        Some(async move {
            loop {
                let message = match socket.next(root).await {
                    Ok(message) => message,
                    Err(e) => {
                        tracing::warn!(replica = %id, "its notify socket cannot be read: {e}");
                        return;
                    }
                };
                for push in pushes(&message) {
                    if words.send((id, attempt, push)).await.is_err() {
                        return;
                    }
                }
                sleep(PAUSE).await;
            }
        })
    }
}

/// Where a process of this host reaches an agent that listens there.
fn reachable(api: SocketAddr) -> SocketAddr {
    match api.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, api.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, api.port())),
        _ => api,
    }
}

/// What a message of sd_notify(3) says; what it says beyond that is left alone.
fn pushes(message: &str) -> impl Iterator<Item = Push> {
    message.lines().filter_map(|line| match line {
        "READY=1" => Some(Push::Ready),
        "WATCHDOG=1" => Some(Push::Alive),
        "STOPPING=1" => Some(Push::NotReady("is stopping (STOPPING=1)".to_owned())),
        "WATCHDOG=trigger" => Some(Push::Failing("asked to be started again (WATCHDOG=trigger)".to_owned())),
        _ => None,
    })
}

/// The body of `POST $OSTLER_HEALTH_URL`, which may be empty.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default = "yes")]
    ready: bool,
    #[serde(default = "yes")]
    alive: bool,
    #[serde(default)]
    detail: String,
}

fn yes() -> bool {
    true
}

/// Understands such a body.
///
/// # Errors
/// A sentence.
pub fn read(body: &[u8]) -> Result<Push, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Push::Ready);
    }
    let said: Said = serde_json::from_slice(body).map_err(|e| {
        format!("say {{\"ready\":false,\"detail\":\"why\"}}, {{\"alive\":false,\"detail\":\"why\"}}, or nothing, which means well: {e}")
    })?;
    let with = |words: &str| if said.detail.is_empty() { words.to_owned() } else { format!("{words}: {}", said.detail) };
    Ok(match (said.alive, said.ready) {
        (false, _) => Push::Failing(super::brief(with("asked to be started again"))),
        (true, false) => Push::NotReady(super::brief(with("said that it is not ready"))),
        (true, true) => Push::Ready,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_says_is_understood() {
        let heard: Vec<Push> = pushes("READY=1\nSTATUS=fine\nWATCHDOG=1\nREADY=0\nMAINPID=7").collect();
        assert_eq!(heard, [Push::Ready, Push::Alive]);
        assert_eq!(read(b""), Ok(Push::Ready));
        assert_eq!(read(b"{}"), Ok(Push::Ready));
        assert_eq!(read(br#"{"ready":false,"detail":"full\n"}"#), Ok(Push::NotReady("said that it is not ready: full".to_owned())));
        assert_eq!(read(br#"{"alive":false}"#), Ok(Push::Failing("asked to be started again".to_owned())));
        for bad in [&b"["[..], b"no", b"{\"ready\":1}", b"\xff"] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn an_agent_that_listens_everywhere_is_called_on_loopback() {
        let at = |text: &str| reachable(text.parse().unwrap_or_else(|e| panic!("{e}"))).to_string();
        assert_eq!(at("0.0.0.0:9091"), "127.0.0.1:9091");
        assert_eq!(at("[::]:9091"), "[::1]:9091");
        assert_eq!(at("10.0.0.5:9091"), "10.0.0.5:9091");
    }
}
