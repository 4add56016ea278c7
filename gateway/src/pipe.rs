//! A connection that speaks another protocol (after a 101): bytes both ways, until both sides have ended.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::ClientIo;
use crate::link::Lease;
use crate::replica::InFlight;

/// The replica's side of a tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) lease: Lease,
    /// What was read too far from the replica.
    pub(crate) first: Bytes,
    /// Counts until the tunnel ends; `None` for the API.
    pub(crate) in_flight: Option<InFlight>,
}

/// Carries bytes both ways until both sides have ended, or one fails. `client_first` was read too far from the client.
pub(crate) async fn run(client: ClientIo, client_first: Bytes, tunnel: Tunnel) {
    let Tunnel { mut lease, first, in_flight } = tunnel;
    let mut client = Prefixed { first: client_first, io: client };
    let mut upstream = Prefixed { first, io: &mut lease.stream };
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, "a tunnel failed");
    }
    // Neither before the bytes are through.
    drop((lease, in_flight));
}

/// Bytes that are read before those of `io`.
pub(crate) struct Prefixed<T> {
    pub(crate) first: Bytes,
    pub(crate) io: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let taken = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
