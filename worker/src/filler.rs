//! A body of a given size that costs nothing to make: the same bytes of the program's own, again and again.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

const PIECE_BYTES: usize = 64 * 1024;
static PIECE: [u8; PIECE_BYTES] = [b'.'; PIECE_BYTES];

/// So many bytes, all of them dots.
#[derive(Debug)]
pub struct Filler {
    left: u64,
}

impl Filler {
    /// A body of `bytes` bytes.
    pub fn new(bytes: u64) -> Self {
        Filler { left: bytes }
    }
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = usize::try_from(self.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let Some(piece) = PIECE.get(..next).filter(|piece| !piece.is_empty()) else { return Poll::Ready(None) };
        self.left -= next as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn it_is_exactly_as_long_as_it_says() {
        for bytes in [0, 1, 65_535, 65_536, 65_537, 1_048_576] {
            let filler = Filler::new(bytes);
            assert_eq!(filler.size_hint().exact(), Some(bytes));
            let whole = filler.collect().await.unwrap().to_bytes();
            assert_eq!(whole.len() as u64, bytes);
            assert!(whole.iter().all(|byte| *byte == b'.'));
        }
    }
}
