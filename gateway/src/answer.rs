//! The body of an answer on its way to a client, with all that must be held until it is through.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::client::Client;
use crate::fields;
use crate::kept::KeptBody;
use crate::link::Lease;
use crate::replica::InFlight;

/// The replica's answer broke off: what was passed on must not be ended as if it were whole.
#[derive(Debug, thiserror::Error)]
#[error("the replica's answer broke off: {0}")]
pub(crate) struct CutShort(hyper::Error);

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    kind: Kind,
    client: Rc<Client>,
}

#[derive(Debug)]
enum Kind {
    Ended,
    Whole(Bytes),
    Passing(Passing),
}

/// A body that comes from a replica or from the API.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) incoming: Incoming,
    pub(crate) lease: Lease,
    /// `None` for the API.
    pub(crate) in_flight: Option<InFlight>,
    /// The request's own body: the connection is free only when that is through too.
    pub(crate) request_body: KeptBody,
}

impl Passing {
    /// The answer is through: the connection is free for the next request, and the replica has one less in flight.
    fn end(self) {
        if let Some(in_flight) = self.in_flight
            && self.request_body.has_ended()
        {
            in_flight.replica().give_back(self.lease);
        }
    }
}

impl AnswerBody {
    /// A body that is there already.
    pub(crate) fn whole(bytes: Bytes, client: &Rc<Client>) -> Self {
        AnswerBody { kind: if bytes.is_empty() { Kind::Ended } else { Kind::Whole(bytes) }, client: Rc::clone(client) }
    }

    /// A body that is still coming.
    pub(crate) fn passing(passing: Passing, client: &Rc<Client>) -> Self {
        if passing.in_flight.is_none() {
            client.answer_is_from_api();
        }
        let kind = if passing.incoming.is_end_stream() {
            passing.end();
            Kind::Ended
        } else {
            Kind::Passing(passing)
        };
        AnswerBody { kind, client: Rc::clone(client) }
    }

    fn end(&mut self) {
        if let Kind::Passing(passing) = std::mem::replace(&mut self.kind, Kind::Ended) {
            passing.end();
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        match self.kind {
            Kind::Passing(_) => self.client.cut_answer(),
            Kind::Ended | Kind::Whole(_) => self.client.end_answer(),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let passing = match &mut self.kind {
            Kind::Ended => return Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Ended;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Kind::Passing(passing) => passing,
        };
        let Some(frame) = ready!(Pin::new(&mut passing.incoming).poll_frame(cx)) else {
            self.end();
            return Poll::Ready(None);
        };
        match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    fields::strip_trailers(trailers);
                }
                if passing.incoming.is_end_stream() {
                    self.end();
                }
                self.client.got_answer();
                Poll::Ready(Some(Ok(frame)))
            }
            Err(error) => {
                tracing::debug!(replica = ?passing.lease.link().replica(), %error, "an answer broke off");
                Poll::Ready(Some(Err(CutShort(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Passing(passing) => passing.incoming.size_hint(),
        }
    }
}
