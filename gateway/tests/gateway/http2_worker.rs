//! A worker that speaks HTTP/2, by script: a listener on loopback, and a closure that gets each connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use cluster::route::{Route, RoutingTable, Target};
use cluster::traffic::Protocol;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::http2_client::send;
use crate::rig::{Rig, route};

pub type Conn = Connection<TcpStream, Bytes>;
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A running script.
pub struct Worker {
    pub addr: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Requests,
    over: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The heads of all requests that have come.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Vec<Parts>>>);

impl Requests {
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn last(&self) -> Parts {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    pub fn add(&self, request: &Request<RecvStream>) {
        let mut copy = Request::new(());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        self.0.lock().unwrap().push(copy.into_parts().0);
    }
}

impl Worker {
    /// `script` gets every connection, numbered from 0.
    pub fn start(builder: Builder, script: impl Fn(usize, Conn, Requests) -> Running + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (over, is_over) = oneshot::channel::<()>();
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Requests::default());
        let (counted, noted) = (Arc::clone(&connections), requests.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    loop {
                        let (tcp, _) = listener.accept().await.unwrap();
                        tcp.set_nodelay(true).unwrap();
                        let number = counted.fetch_add(1, Ordering::SeqCst);
                        if let Ok(connection) = builder.handshake(tcp).await {
                            tokio::spawn(script(number, connection, noted.clone()));
                        }
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    _ = is_over => {}
                }
            });
        });
        Worker { addr, connections, requests, over: Some(over), thread: Some(thread) }
    }

    /// Every request is answered by `answer`.
    pub fn answering<F, R>(answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::start(Builder::new(), move |_, mut connection, requests| {
            let answer = answer.clone();
            Box::pin(async move {
                while let Some(Ok((request, respond))) = connection.accept().await {
                    requests.add(&request);
                    tokio::spawn(answer(request, respond));
                }
            })
        })
    }

    /// Every request is answered by `name`.
    pub fn named(name: &'static str) -> Self {
        Self::answering(move |_, respond| answer(respond, name))
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn route(&self, number: u128) -> Route {
        route(number, Target::Loopback(self.addr.port()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers by a text.
pub async fn answer(mut respond: SendResponse<Bytes>, body: &'static str) {
    if let Ok(mut stream) = respond.send_response(Response::new(()), false) {
        let _ = send(&mut stream, Bytes::from_static(body.as_bytes()), true).await;
    }
}

pub fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A table in which all replicas speak HTTP/2.
pub fn table(rig: &Rig, replicas: Vec<Route>) -> RoutingTable {
    let mut table = rig.table(u32::try_from(replicas.len()).unwrap(), replicas);
    table.apps.values_mut().for_each(|app| app.traffic.protocol = Protocol::H2c);
    table
}

pub fn publish(rig: &Rig, replicas: Vec<Route>) {
    rig.publish_table(table(rig, replicas));
}
