//! Serves the API on the byte streams that come through the gateway's local door.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use gateway::LocalConnection;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Peer;

/// How many connections are served at once; further ones wait at the door.
const CONNECTIONS_MAX: usize = 512;

/// Serves until `end`, or until the door is closed. The tasks of connections belong to `tasks`.
pub async fn serve(mut connections: mpsc::Receiver<LocalConnection>, router: Router, tasks: TaskTracker, end: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let accept = async {
        while let Some(connection) = connections.recv().await {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (router, end) = (router.clone(), end.clone());
            tasks.spawn(async move {
                serve_one(connection, router, end).await;
                drop(slot);
            });
        }
    };
    end.run_until_cancelled(accept).await;
}

async fn serve_one(connection: LocalConnection, router: Router, end: CancellationToken) {
    let peer = Peer(connection.peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})) }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection.stream), service);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = end.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!("a call from {} ended early: {error}", peer.0);
    }
}
