//! The doors of a gateway: whose paths are served behind a listener.

use std::net::{SocketAddr, TcpListener};

use cluster::app::AppName;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// A place where clients come in.
#[derive(Debug)]
pub struct Door {
    /// One for each thread of the gateway.
    pub listeners: Vec<TcpListener>,
    /// What is behind them.
    pub face: Face,
    /// Somebody else keeps the socket: who waits in its queue when the gateway ends is served by the next one.
    pub is_inherited: bool,
}

impl Door {
    /// A door of our own.
    #[must_use]
    pub fn new(listeners: Vec<TcpListener>, face: Face) -> Self {
        Door { listeners, face, is_inherited: false }
    }
}

/// What is behind a listener.
#[derive(Clone, Debug)]
pub enum Face {
    /// Port 8000: the controller's own paths go to its API, every other path to an app.
    Combined {
        /// The way to the API.
        local: LocalDoor,
    },
    /// Every path is an app's.
    Apps,
    /// Everything is this app's, whatever its host and path. A request waits for a table that has the app.
    App(AppName),
}

/// The way to the API server of the same process: byte streams, handed over through a bounded queue, so that API work never
/// runs on a gateway thread.
#[derive(Clone, Debug)]
pub struct LocalDoor {
    connections: mpsc::Sender<LocalConnection>,
}

/// One connection to the API server: an HTTP/1.1 client is at the other end.
#[derive(Debug)]
pub struct LocalConnection {
    /// The bytes.
    pub stream: DuplexStream,
    /// The client behind the gateway.
    pub peer: SocketAddr,
}

impl LocalDoor {
    /// A door, and the connections that come through it; at most `waiting_max` (at least 1) of them wait.
    #[must_use]
    pub fn new(waiting_max: usize) -> (Self, mpsc::Receiver<LocalConnection>) {
        let (connections, receiver) = mpsc::channel(waiting_max.max(1));
        (LocalDoor { connections }, receiver)
    }

    /// Hands a connection over. `false`: the API server is gone.
    pub(crate) async fn enter(&self, connection: LocalConnection) -> bool {
        self.connections.send(connection).await.is_ok()
    }
}

/// Whether a path is the controller's own on the combined face: byte for byte, whatever the method (contracts, "Controller").
#[must_use]
pub fn is_reserved(path: &str) -> bool {
    matches!(path, "/add-node" | "/remove-node" | "/scale" | "/status" | "/healthz" | "/metrics" | "/ui" | "/v1")
        || path.starts_with("/ui/")
        || path.starts_with("/v1/")
}

#[cfg(test)]
mod tests {
    use super::is_reserved;

    #[test]
    fn few_paths_are_the_controllers_own_byte_for_byte() {
        for path in
            ["/add-node", "/remove-node", "/scale", "/status", "/healthz", "/metrics", "/ui", "/ui/", "/ui/a.js", "/v1", "/v1/", "/v1/x"]
        {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/", "/status/", "/Status", "/scale/", "/v1x", "/v2", "/uix", "//status", "/%73tatus", "/./status", "", "*"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
