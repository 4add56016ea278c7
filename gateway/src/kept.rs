//! The body of a request on its way to a replica, kept while it is small, so that the request can be sent again.
//!
//! Until the first byte of the request was written, everything that was taken from the client is kept (a connection takes no more than
//! its buffer before it writes); from then on, up to [`KEPT_BYTES_MAX`].

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::downstream::ClientBody;
use crate::fields;
use crate::link::Link;

/// How much of a body is kept.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The client broke the body off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client ended the body of its request early")]
pub(crate) struct Broken;

#[derive(Debug)]
struct Keep {
    source: ClientBody,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Everything that was taken from the client is in `kept`.
    is_whole: bool,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    has_failed: bool,
}

/// The body of a request, for all attempts to send it.
#[derive(Clone, Debug)]
pub(crate) struct KeptBody(Option<Rc<RefCell<Keep>>>);

impl KeptBody {
    pub(crate) fn new(source: ClientBody) -> Self {
        if source.is_end_stream() {
            return KeptBody(None);
        }
        KeptBody(Some(Rc::new(RefCell::new(Keep {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            is_whole: true,
            trailers: None,
            has_ended: false,
            has_failed: false,
        }))))
    }

    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Its length, where the client told it.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.0 {
            None => Some(0),
            Some(keep) => keep.borrow().source.size_hint().exact(),
        }
    }

    /// The whole of it can be sent again.
    pub(crate) fn can_replay(&self) -> bool {
        self.0.as_ref().is_none_or(|keep| keep.borrow().is_whole)
    }

    /// All of it was taken from the client.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(|keep| keep.borrow().has_ended)
    }

    /// The client broke it off.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.as_ref().is_some_and(|keep| keep.borrow().has_failed)
    }

    /// The body for one attempt on `link`; there is one attempt at a time. `is_idempotent`: once it is kept to its end, the
    /// request may be moved.
    pub(crate) fn attempt(&self, link: &Rc<Link>, is_idempotent: bool) -> RequestBody {
        RequestBody(self.0.as_ref().map(|keep| {
            let inner = keep.borrow();
            let length = inner.source.size_hint().exact().map(|left| left + inner.kept_bytes as u64);
            Attempt { keep: Rc::clone(keep), link: Rc::clone(link), at: 0, length, is_idempotent }
        }))
    }
}

/// Where an attempt is that has given everything.
const ENDED: usize = usize::MAX;

#[derive(Debug)]
struct Attempt {
    keep: Rc<RefCell<Keep>>,
    link: Rc<Link>,
    /// The next of the kept chunks.
    at: usize,
    length: Option<u64>,
    is_idempotent: bool,
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) struct RequestBody(Option<Attempt>);

impl Attempt {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let keep = &mut *self.keep.borrow_mut();
        if let Some(chunk) = keep.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if keep.has_failed {
            return Poll::Ready(Some(Err(Broken)));
        }
        if keep.has_ended {
            // Trailers are given once in each attempt.
            let is_given = std::mem::replace(&mut self.at, ENDED) == ENDED;
            return Poll::Ready(keep.trailers.clone().filter(|_| !is_given).map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = match std::task::ready!(Pin::new(&mut keep.source).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                keep.has_failed = true;
                return Poll::Ready(Some(Err(Broken)));
            }
            None => {
                keep.has_ended = true;
                self.at = ENDED;
                if keep.is_whole && self.is_idempotent {
                    self.link.make_movable();
                }
                return Poll::Ready(None);
            }
        };
        let frame = match frame.into_data() {
            Ok(chunk) => {
                if keep.is_whole && (keep.kept_bytes + chunk.len() <= KEPT_BYTES_MAX || !self.link.has_written()) {
                    keep.kept.push(chunk.clone());
                    keep.kept_bytes += chunk.len();
                    self.at = keep.kept.len();
                } else {
                    keep.is_whole = false;
                    keep.kept = Vec::new();
                    self.at = 0;
                }
                keep.has_ended = keep.source.is_end_stream();
                Frame::data(chunk)
            }
            Err(frame) => {
                keep.has_ended = true;
                self.at = ENDED;
                match frame.into_trailers() {
                    Ok(mut trailers) => {
                        fields::strip_trailers(&mut trailers);
                        keep.trailers = Some(trailers.clone());
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                }
            }
        };
        if keep.has_ended && keep.is_whole && self.is_idempotent {
            self.link.make_movable();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().0 {
            None => Poll::Ready(None),
            Some(attempt) => attempt.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(attempt) => attempt.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
