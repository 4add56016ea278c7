//! Answers without an end: few at a time, and ended with the controller.

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyStream;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::problem::Problem;
use crate::link::Passed;

/// A place among the endless answers.
pub fn slot(api: &Api) -> Result<OwnedSemaphorePermit, Problem> {
    let slot = std::sync::Arc::clone(&api.streams).try_acquire_owned();
    slot.map_err(|_| Problem::unavailable("too many endless answers are under way; end another call of /v1/routes or of followed logs"))
}

/// Passes a body on until it or the controller ends.
pub fn until_the_end(api: &Api, body: Passed, slot: OwnedSemaphorePermit) -> Body {
    let end = api.end.clone();
    let frames = BodyStream::new(body).filter_map(|frame| async { frame.map(|frame| frame.into_data().ok()).transpose() });
    let frames = frames.take_until(async move { end.cancelled().await }).map(move |data: Result<Bytes, crate::link::Error>| {
        let _held = &slot;
        data
    });
    Body::from_stream(frames)
}
