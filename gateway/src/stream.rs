//! The bytes of an upstream connection, wherever they lead.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// An upstream byte stream.
#[derive(Debug)]
pub(crate) enum Stream {
    /// To a replica on this host.
    Direct(TcpStream),
    /// Through an agent, to a replica on its host. What came right behind the agent's 101 is read first.
    Tunnel { first: Bytes, tcp: TcpStream },
    /// Within this process: to its API server, or to the task that makes a stream of HTTP/2 of it.
    Local(DuplexStream),
}

impl Stream {
    /// Whether the runtime has heard that something came, or has not read to where nothing was left. It costs no call of the kernel.
    pub(crate) fn has_news(&self) -> bool {
        match self {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => tcp.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready(),
            Stream::Local(_) => false,
        }
    }

    /// Whether an idle connection cannot be used any more: its peer has ended it, or said something that nobody asked for. The kernel is
    /// asked, since the runtime may not have heard yet.
    pub(crate) fn is_dead(&self) -> bool {
        match self {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => {
                let mut byte = [MaybeUninit::uninit(); 1];
                let peeked = socket2::SockRef::from(tcp).peek(&mut byte);
                !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Stream::Local(_) => false,
        }
    }

    /// Whether its peer has ended it, as far as can be seen before what came earlier was read.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => {
                let mut byte = [MaybeUninit::uninit(); 1];
                match socket2::SockRef::from(tcp).peek(&mut byte) {
                    Ok(count) => count == 0,
                    Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                }
            }
            Stream::Local(_) => false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Direct(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tunnel { first, tcp } => {
                if first.is_empty() {
                    return Pin::new(tcp).poll_read(cx, buf);
                }
                let taken = first.len().min(buf.remaining());
                buf.put_slice(&first[..taken]);
                first.advance(taken);
                Poll::Ready(Ok(()))
            }
            Stream::Local(duplex) => Pin::new(duplex).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_write(cx, buf),
            Stream::Local(duplex) => Pin::new(duplex).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Local(duplex) => Pin::new(duplex).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => tcp.is_write_vectored(),
            Stream::Local(duplex) => duplex.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_flush(cx),
            Stream::Local(duplex) => Pin::new(duplex).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_shutdown(cx),
            Stream::Local(duplex) => Pin::new(duplex).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_came_behind_the_agents_head_is_read_first() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut agent, _) = listener.accept().await.unwrap();
        agent.write_all(b"second").await.unwrap();
        drop(agent);
        let mut stream = Stream::Tunnel { first: Bytes::from_static(b"first "), tcp };
        let mut small = [0; 3];
        stream.read_exact(&mut small).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&small, rest.as_str()), (b"fir", "st second"));
    }

    #[tokio::test]
    async fn a_peer_that_has_ended_or_spoken_is_seen_without_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for says in [b"".as_slice(), b"unasked"] {
            let stream = Stream::Direct(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (mut peer, _) = listener.accept().await.unwrap();
            assert!(!stream.is_dead());
            peer.write_all(says).await.unwrap();
            drop(peer);
            // Over loopback a FIN is there when close(2) has returned.
            assert!(stream.is_dead());
        }
    }
}
