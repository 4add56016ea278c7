//! The bytes of an upstream connection, wherever they lead.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

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
    /// To the API server of this process.
    Local(DuplexStream),
    /// Given up.
    Closed,
}

impl Stream {
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
            Stream::Closed => true,
        }
    }
}

fn closed() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
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
            Stream::Closed => Poll::Ready(Err(closed())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_write(cx, buf),
            Stream::Local(duplex) => Pin::new(duplex).poll_write(cx, buf),
            Stream::Closed => Poll::Ready(Err(closed())),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Local(duplex) => Pin::new(duplex).poll_write_vectored(cx, bufs),
            Stream::Closed => Poll::Ready(Err(closed())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => tcp.is_write_vectored(),
            Stream::Local(duplex) => duplex.is_write_vectored(),
            Stream::Closed => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_flush(cx),
            Stream::Local(duplex) => Pin::new(duplex).poll_flush(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Direct(tcp) | Stream::Tunnel { tcp, .. } => Pin::new(tcp).poll_shutdown(cx),
            Stream::Local(duplex) => Pin::new(duplex).poll_shutdown(cx),
            Stream::Closed => Poll::Ready(Ok(())),
        }
    }
}
