//! A controller whose API is reached over in-process connections, as the gateway would.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{ClusterId, Settings};
use gateway::LocalConnection;
use gateway::Observer;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::{PATIENCE, eventually};
use crate::api::{self, Ourselves};
use crate::app_source;
use crate::assembly::{self, Given, Lifetimes};
use crate::link::http1::Http1Dialer;
use crate::store::Store;
use crate::store::memory::MemoryStore;

/// The port that the controller takes for its own.
pub const OWN_PORT: u16 = 8000;

/// A controller.
pub struct TestController {
    /// What it keeps.
    pub store: Arc<dyn Store>,
    door: mpsc::Sender<LocalConnection>,
    life: Lifetimes,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Fields.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The refusal's sentence, once it is a problem document as it should be.
    pub fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["type"], "about:blank");
        let detail = json["detail"].as_str().unwrap().to_owned();
        assert!(detail.len() > 15, "too little is said: {detail}");
        detail
    }
}

impl TestController {
    /// Starts one with a store of its own.
    pub async fn start() -> Self {
        Self::start_with(Arc::new(MemoryStore::new(ClusterId(7)))).await
    }

    /// Starts one with this store.
    pub async fn start_with(store: Arc<dyn Store>) -> Self {
        app_source::fill(&*store, false).await.unwrap();
        let epoch = store.next_epoch(0).await.unwrap();
        let life = Lifetimes::default();
        let settings = Settings { lost_after_ms: 1_000, lease_ms: 1_000, ..Settings::default() };
        let dialer = Http1Dialer::new(Duration::from_millis(settings.lost_after_ms), life.tasks.clone(), life.end.clone());
        let ourselves = Ourselves::new(vec![([127, 0, 0, 1], OWN_PORT).into()]);
        let allow_host = vec!["ops.example".to_owned()];
        let given = Given {
            store: Arc::clone(&store),
            dialer: Arc::new(dialer),
            settings,
            epoch,
            ourselves,
            allow_host,
            observer: Observer::default(),
            source: None,
        };
        let parts = assembly::assemble(given, &life);
        let (door, connections) = mpsc::channel(16);
        life.tasks.spawn(api::serve(connections, parts.api.router(), life.tasks.clone(), life.end.clone()));
        life.tasks.spawn(parts.control.run(life.end.clone()));
        TestController { store, door, life }
    }

    /// Ends it; every task must end.
    pub async fn stop(self) -> Arc<dyn Store> {
        self.life.streams_end.cancel();
        self.life.end.cancel();
        self.life.tasks.close();
        tokio::time::timeout(PATIENCE, self.life.tasks.wait()).await.expect("a task outlived its controller");
        self.store
    }

    /// A new connection.
    pub async fn connect(&self) -> DuplexStream {
        let (ours, stream) = tokio::io::duplex(64 * 1024);
        let peer = ([127, 0, 0, 1], 50_000).into();
        self.door.send(LocalConnection { stream, peer }).await.unwrap();
        ours
    }

    /// Opens a call; its body comes as it comes.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("no answer").unwrap()
    }

    /// Makes a call.
    pub async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.call_as(method, path, &[("host", "localhost:8000")], body).await
    }

    /// Makes a call with these fields.
    pub async fn call_as(&self, method: Method, path: &str, fields: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, body) = self.open(request.body(Full::new(body.into())).unwrap()).await.into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("no end of the answer").unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.call(Method::GET, path, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    }

    /// POST that must succeed.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Value {
        let answer = self.call(Method::POST, path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    }

    /// Adds a node.
    pub async fn add(&self, url: &str) -> Value {
        self.post("/add-node", format!("{{\"url\":\"{url}\"}}")).await
    }

    /// Scales the app.
    pub async fn scale(&self, count: u32) -> Value {
        self.post("/scale", format!("{{\"count\": {count}}}")).await
    }

    /// The node with this URL.
    pub async fn node(&self, url: &str) -> Option<Value> {
        let status = self.get("/status").await;
        status["nodes"].as_array().unwrap().iter().find(|node| node["url"] == url).cloned()
    }

    /// Waits until a node is in this state.
    pub async fn until_node_is(&self, url: &str, state: &str) -> Value {
        eventually(&format!("{url} is {state}"), || async { self.node(url).await.filter(|node| node["state"] == state) }).await
    }

    /// Waits until so many replicas are ready, and no other is there.
    pub async fn until_ready(&self, count: usize) -> Value {
        eventually(&format!("{count} replicas are ready"), || async {
            let status = self.get("/status").await;
            let replicas = status["replicas"].as_array().unwrap();
            (replicas.len() == count && replicas.iter().all(|replica| replica["ready"] == true)).then(|| status.clone())
        })
        .await
    }

    /// Writes these bytes, byte for byte, and reads the answer.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_answer(&mut stream).await
    }
}

/// Reads one answer that has a Content-Length.
pub async fn read_answer(stream: &mut DuplexStream) -> Answer {
    let reading = async {
        let mut read = Vec::new();
        loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(read[..end].to_vec()).unwrap();
                let mut lines = head.split("\r\n");
                let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
                let mut headers = HeaderMap::new();
                for line in lines {
                    let (name, value) = line.split_once(':').unwrap();
                    headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.trim().parse().unwrap());
                }
                let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
                if read.len() >= end + 4 + length {
                    let body = Bytes::copy_from_slice(&read[end + 4..end + 4 + length]);
                    return Answer { status: StatusCode::from_u16(status).unwrap(), headers, body };
                }
            }
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await.unwrap();
            assert!(length > 0, "the connection ended after {:?}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&chunk[..length]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("no answer")
}
