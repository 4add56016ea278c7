//! What becomes of one request, for the figures and the access log: written down when it ends, however it ends.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cluster::route::RouteKey;
use http::StatusCode;

use crate::access_log::Line;
use crate::client::Client;
use crate::core::Core;
use crate::problem::Problem;
use crate::table::App;

/// The record of one request. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    core: Rc<Core>,
    client: Rc<Client>,
    begun: Instant,
    /// How much had gone to the client before.
    written_before: u64,
    app: Option<Rc<App>>,
    replica: Option<RouteKey>,
    first_byte: Option<Duration>,
    status: u16,
    /// How much of what goes to the client is the answer's head.
    head_bytes: u64,
    retries: u32,
    replays: u32,
    /// It is for this process itself.
    is_ours: bool,
    reason: Option<String>,
    /// What the log says of the request itself; `None`: there is no log.
    line: Option<Box<Line>>,
    is_holding: Cell<bool>,
    was_held: Cell<bool>,
}

impl Record {
    /// A request begins. `line`: what the access log says of it, asked for only if there is one.
    pub(crate) fn begin(core: &Rc<Core>, client: &Rc<Client>, line: impl FnOnce() -> Line) -> Self {
        Record {
            core: Rc::clone(core),
            client: Rc::clone(client),
            begun: Instant::now(),
            written_before: client.written(),
            app: None,
            replica: None,
            first_byte: None,
            status: 0,
            head_bytes: 0,
            retries: 0,
            replays: 0,
            is_ours: false,
            reason: None,
            line: core.log.is_some().then(|| Box::new(line())),
            is_holding: Cell::new(false),
            was_held: Cell::new(false),
        }
    }

    /// When it began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// It is for this app.
    pub(crate) fn is_for(&mut self, app: &Rc<App>) {
        if self.app.as_ref().is_some_and(|known| known.is_same(app)) {
            return;
        }
        self.leave_app();
        app.meters.in_flight.add(1);
        self.app = Some(Rc::clone(app));
    }

    fn leave_app(&mut self) {
        self.end_hold();
        if let Some(app) = self.app.take() {
            app.meters.in_flight.take();
        }
    }

    /// It is given to this replica.
    pub(crate) fn is_given_to(&mut self, replica: RouteKey) {
        self.replica = Some(replica);
    }

    /// It is for the API of this process.
    pub(crate) fn is_for_api(&mut self) {
        self.is_ours = true;
    }

    /// It waits for a replica.
    pub(crate) fn begin_hold(&self) {
        if let Some(app) = &self.app
            && !self.is_holding.replace(true)
        {
            app.meters.holding.add(1);
            if !self.was_held.replace(true) {
                app.meters.held.add(1);
            }
        }
    }

    /// It waits no more.
    pub(crate) fn end_hold(&self) {
        if let Some(app) = &self.app
            && self.is_holding.replace(false)
        {
            app.meters.holding.take();
        }
    }

    /// It is given to another replica or connection; nothing of it had been sent.
    pub(crate) fn count_replay(&mut self) {
        self.replays += 1;
        if let Some(app) = &self.app {
            app.meters.replays.add(1);
        }
    }

    /// It is sent again.
    pub(crate) fn count_retry(&mut self) {
        self.retries += 1;
        if let Some(app) = &self.app {
            app.meters.retries.add(1);
        }
    }

    /// The head of its answer has come; so much of it goes to the client.
    pub(crate) fn answered(&mut self, status: u16, head_bytes: usize, after: Duration) {
        self.status = status;
        self.head_bytes = head_bytes as u64;
        self.first_byte = Some(after);
        if let Some(app) = &self.app {
            app.meters.first_byte.observe(after);
        }
    }

    /// It is answered by the gateway itself, as it asked for; the head is so long.
    pub(crate) fn answered_here(&mut self, status: StatusCode, head_bytes: usize) {
        self.is_ours = true;
        self.status = status.as_u16();
        self.head_bytes = head_bytes as u64;
    }

    /// It is answered by a problem, whose head is so long.
    pub(crate) fn refused(&mut self, problem: &Problem, head_bytes: usize, asked: impl FnOnce() -> String) {
        self.status = problem.status.as_u16();
        self.head_bytes = head_bytes as u64;
        self.reason = Some(problem.detail.clone());
        if matches!(self.status, 502..=504) {
            let whose = self.app.as_ref().map(|app| app.name.as_str());
            self.core.complaints.tell(self.status, whose, asked, &problem.detail);
        }
    }

    /// Its answer broke off.
    pub(crate) fn cut(&mut self, reason: &dyn std::fmt::Display) {
        if self.line.is_some() {
            self.reason = Some(reason.to_string());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        match &self.app {
            Some(app) => {
                if let Some(ended) = app.meters.ended.get(usize::from(self.status / 100)) {
                    ended.add(1);
                }
                app.meters.whole.observe(took);
            }
            None if !self.is_ours => self.core.meters.refused.add(1),
            None => {}
        }
        if let (Some(log), Some(mut line)) = (&self.core.log, self.line.take()) {
            line.client = self.client.peer.ip().to_canonical().to_string();
            line.status = self.status;
            line.bytes = (self.client.written().saturating_sub(self.written_before)).saturating_sub(self.head_bytes);
            line.app = self.app.as_ref().map(|app| app.name.to_string());
            line.replica = self.replica.map(|key| key.replica.to_string());
            line.first_byte_ms = self.first_byte.map(milliseconds);
            line.total_ms = milliseconds(took);
            line.retries = self.retries;
            line.replays = self.replays;
            line.reason = self.reason.take();
            log.write(&line, &self.core.meters);
        }
        self.leave_app();
    }
}

/// Milliseconds with three digits behind the point.
fn milliseconds(time: Duration) -> f64 {
    let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    f64::from(us) / 1_000.0
}
