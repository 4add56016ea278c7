//! `GET /v1/replicas/{id}/tunnel`: bytes to and from the port of one replica, for gateways on other hosts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::problem::Problem;

/// What is written in Upgrade.
pub const PROTOCOL: &str = "ostler-tunnel";
/// For the replica to accept.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// Whether a call asks for a tunnel.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let names = |name, wanted: &str| {
        let tokens = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        tokens.into_iter().any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    names(UPGRADE, PROTOCOL) && names(CONNECTION, "upgrade")
}

/// Opens one to `port`. Nothing was sent to the replica when this fails.
pub async fn open(
    mut request: Request<Incoming>,
    port: u16,
    tasks: &TaskTracker,
    end: CancellationToken,
) -> Result<Response<Body>, Problem> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let refused = |why: String| Problem::new(StatusCode::BAD_GATEWAY, format!("the replica does not accept a connection: {why}"));
    let replica = match timeout(CONNECT_DEADLINE, TcpStream::connect(addr)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(refused(e.to_string())),
        Err(_) => return Err(refused(format!("no answer within {} ms", CONNECT_DEADLINE.as_millis()))),
    };
    if replica.local_addr().ok() == replica.peer_addr().ok() {
        return Err(refused("nobody listens on its port".to_owned()));
    }
    let _ = replica.set_nodelay(true);
    tasks.spawn(pipe(hyper::upgrade::on(&mut request), replica, end));
    let mut response = Response::new(Body::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    Ok(response)
}

/// Ends with either side: a gateway that is gone is noticed by TCP keep-alive, a replica by its socket.
async fn pipe(upgrade: OnUpgrade, mut replica: TcpStream, end: CancellationToken) {
    let piped = async {
        let gateway = upgrade.await.map_err(std::io::Error::other)?;
        copy_bidirectional(&mut TokioIo::new(gateway), &mut replica).await
    };
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        result = piped => {
            if let Err(e) = result {
                tracing::debug!("a tunnel broke: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_asked_for_with_both_fields() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>()
        };
        assert!(is_asked_for(&headers(&[(UPGRADE, "ostler-tunnel"), (CONNECTION, "keep-alive, Upgrade")])));
        assert!(!is_asked_for(&headers(&[(UPGRADE, "ostler-tunnel")])));
        assert!(!is_asked_for(&headers(&[(UPGRADE, "websocket"), (CONNECTION, "upgrade")])));
    }
}
