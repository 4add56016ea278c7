//! One request from its head to the head of its answer: a replica is picked, and another one where that is safe.
//!
//! Safe means: no byte of the request was written; or it was, no whole head came back, its method is idempotent and its body was kept. All
//! else is answered by a problem that says what is known.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::router::Unrouted;
use http::StatusCode;
use tokio::time::{sleep, timeout};

use crate::answer::AnswerHead;
use crate::buffer::Input;
use crate::connect;
use crate::core::Core;
use crate::door::{Face, LocalConnection, LocalDoor, is_reserved};
use crate::downstream::Downstream;
use crate::exchange;
use crate::hold::{Patience, Spent};
use crate::last_hop::LastHop;
use crate::link::{Failure, Lease};
use crate::outbound::{Fault, Outbound};
use crate::pipe::Tunnel;
use crate::problem::Problem;
use crate::relay::Relay;
use crate::replica::{InFlight, Replica};
use crate::sticky::Sticky;
use crate::stream::Stream;
use crate::table::App;

/// How often a request may go to another connection of the same replica, because the one that it was given to was at its end.
const MOVES_MAX: u32 = 16;
/// The pause before the last time: what ended two replicas in a row (the death of a node, say) may be about to end the third.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Who has died is out of the table by then: of a worker it is known at once, of an agent after 300 ms.
const DEATH_KNOWN_AFTER: Duration = Duration::from_secs(1);
/// The bytes under way to the API server, in each direction of one connection.
const LOCAL_BYTES_MAX: usize = 64 * 1024;

/// What becomes of a request; the head of the answer is in the client's output.
pub(crate) enum Answered {
    /// Its answer is to be passed on.
    Relay(Relay),
    /// The connection changes to another protocol.
    Tunnel(Tunnel),
    /// It goes no further, and is answered here.
    Here(LastHop),
}

/// Gets one request answered.
pub(crate) async fn answer(core: &Rc<Core>, face: &Face, down: &mut Downstream, outbound: &mut Outbound) -> Result<Answered, Problem> {
    if let Some(last_hop) = outbound.head.last_hop.take() {
        return Ok(Answered::Here(last_hop));
    }
    match face {
        Face::Combined { local } if is_reserved(outbound.path()) => to_api(core, local, down, outbound).await,
        _ => to_app(core, face, down, outbound).await,
    }
}

/// Sends a request to a replica of its app.
async fn to_app(core: &Rc<Core>, face: &Face, down: &mut Downstream, outbound: &mut Outbound) -> Result<Answered, Problem> {
    let mut tried: Vec<Rc<Replica>> = Vec::new();
    let mut again: Option<Rc<Replica>> = None;
    let mut retries = 0;
    let mut moves = 0;
    let mut sticky: Option<Sticky> = None;
    // What is told if the request was sent, and no other replica is found for it.
    let mut unanswered: Option<Problem> = None;
    let mut unreached: Option<connect::Error> = None;
    let mut patience = Patience::new(core);
    loop {
        // From here until the request is counted in flight nothing is awaited: so an acknowledged table is exact.
        let table = core.table();
        outbound.restore_path();
        let found = match face {
            Face::App(name) => table.app(name).map(|app| (app, 0)).ok_or(Unrouted::Unclaimed),
            Face::Combined { .. } | Face::Apps => table.app_for(outbound.host(), outbound.path()),
        };
        let (app, strip_bytes) = match (found, face) {
            (Ok(found), _) => found,
            (Err(_), Face::App(name)) => {
                // Its door may be older than the first table that has it.
                let is_unknown = |_| Problem::passing(format!("there is no app {name} in this cluster yet, which this address stands for"));
                patience.next_table_with(core, None, || outbound.record.begin_hold()).await.map_err(is_unknown)?;
                outbound.record.end_hold();
                continue;
            }
            (Err(Unrouted::Unclaimed), _) if !table.has_come() => {
                let not_yet = |_| Problem::passing("the gateway has just started and does not know the apps yet; try again");
                patience.next_table(core).await.map_err(not_yet)?;
                continue;
            }
            (Err(_), _) if table.is_empty() => return Err(Problem::passing("there is no app here yet")),
            (Err(why), _) => return Err(no_app(why, outbound)),
        };
        outbound.strip_path(strip_bytes);
        outbound.record.is_for(app);
        down.client.set_body_idle_ms(app.limits.body_idle_ms);
        patience.is_given(app.limits.hold_ms);
        let sticky = sticky.get_or_insert_with(|| Sticky::read(&app.traffic.balance, outbound.written(), || app.random()));
        let same = again.take().filter(|replica| !replica.is_retired());
        let must_be_new = same.is_some();
        let Some(replica) = same.or_else(|| app.pick(&tried, sticky.key())) else {
            // Where those that failed are still in the table, they live and do not answer: no other one is about to take their place.
            let is_hopeless = unanswered.is_some() && !tried.iter().any(|replica| replica.is_retired());
            let within = is_hopeless.then_some(DEATH_KNOWN_AFTER);
            if let Err(problem) = wait_for_replica(core, app, outbound, &mut patience, within, unreached.as_ref()).await {
                return Err(unanswered.unwrap_or(problem));
            }
            continue;
        };
        let in_flight = InFlight::new(Rc::clone(&replica));
        outbound.record.is_given_to(replica.key);
        if let Sticky::New { cookie, .. } = sticky
            && outbound.head.set_cookie.is_none()
        {
            outbound.head.set_cookie = Some(cookie.clone());
        }

        let idle = if must_be_new { None } else { replica.take_idle(outbound.head.is_idempotent) };
        let mut lease = match idle {
            Some(lease) => lease,
            None => match connect::open(core, &replica).await {
                Ok(lease) => {
                    app.ledger.connected(replica.key);
                    lease
                }
                Err(error) => {
                    tracing::debug!(%error, "a replica was passed over");
                    if !error.is_ours() {
                        app.ledger.connect_failed(replica.key);
                    }
                    outbound.record.count_replay();
                    tried.push(replica);
                    unreached = Some(error);
                    if patience.is_over() {
                        return Err(unanswered.unwrap_or_else(|| too_late(app, unreached.as_ref())));
                    }
                    continue;
                }
            },
        };
        let mut input = Input::new(&core.buffers);
        // Most requests go to their first replica at once: the clock need not be asked again.
        let is_first = tried.is_empty() && !must_be_new && patience.is_whole();
        let sent_at = if is_first { outbound.record.begun() } else { Instant::now() };
        let failure = match exchange::run(&core.limits, app.limits.first_byte_ms, down, outbound, &mut lease, &mut input).await {
            Ok(head) => {
                let now = Instant::now();
                replica.saw(head.status >= 500, now.saturating_duration_since(sent_at));
                let after = now.saturating_duration_since(outbound.record.begun());
                outbound.record.answered(head.status, down.output.as_slice().len(), after);
                return Ok(pass_on(head, lease, input, Some(in_flight)));
            }
            Err(failure) => failure,
        };
        // A kept connection may just have been at its end.
        if failure.is_replicas_fault() && !lease.is_reused {
            replica.saw(true, sent_at.elapsed());
        }
        let may_retry = outbound.head.is_idempotent && outbound.can_replay() && retries < app.limits.retries_max;
        let must_pause = match failure {
            Failure::Client => return Err(client_fault(outbound)),
            Failure::Unsent if outbound.can_replay() => {
                outbound.record.count_replay();
                false
            }
            Failure::Unanswered | Failure::Broken | Failure::Lost if may_retry && !app.ledger.may_retry() => {
                app.meters.retries_refused.add(1);
                return Err(out_of_budget(&replica, app));
            }
            Failure::Unanswered | Failure::Broken | Failure::Lost if may_retry => {
                unanswered = Some(no_answer(app, &failure, &replica, outbound, retries));
                outbound.record.count_retry();
                retries += 1;
                retries > 1 && retries == app.limits.retries_max
            }
            Failure::Unsent
            | Failure::Unanswered
            | Failure::Broken
            | Failure::Malformed(_)
            | Failure::Unasked
            | Failure::Late
            | Failure::Lost => {
                return Err(no_answer(app, &failure, &replica, outbound, retries));
            }
        };
        let may_move = lease.link().is_outlived() && moves < MOVES_MAX;
        moves += u32::from(may_move);
        if lease.is_reused || may_move {
            // It may have been the connection that was at its end, not the replica.
            again = Some(replica);
        } else {
            tried.push(replica);
        }
        if must_pause {
            drop((lease, in_flight));
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Waits until the table has changed, where that may help.
async fn wait_for_replica(
    core: &Core,
    app: &App,
    outbound: &Outbound,
    patience: &mut Patience,
    within: Option<Duration>,
    unreached: Option<&connect::Error>,
) -> Result<(), Problem> {
    let name = &app.name;
    if app.desired == 0 {
        let named = if *name == cluster::app::AppName::builtin() { String::new() } else { format!("\"app\": \"{name}\", ") };
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("app {name} is scaled to 0; its controller starts it with POST /scale {{{named}\"count\": 1}}"),
        ));
    }
    let waited = patience.next_table_with(core, within, || outbound.record.begin_hold()).await;
    outbound.record.end_hold();
    match waited {
        Ok(()) => Ok(()),
        Err(Spent::Crowded) => {
            let max = core.limits.hold_max;
            Err(Problem::passing(format!("no replica of app {name} is ready, and {max} requests wait for one already; try again")))
        }
        Err(Spent::Late) => Err(too_late(app, unreached)),
    }
}

/// What is told of a request that found no replica in time.
fn too_late(app: &App, unreached: Option<&connect::Error>) -> Problem {
    let (name, hold_ms) = (&app.name, app.limits.hold_ms);
    Problem::passing(match unreached {
        Some(error) => format!("no replica of app {name} could be reached within {hold_ms} ms: {error}; try again"),
        None => format!("no replica of app {name} became ready within {hold_ms} ms; see GET /status, and try again"),
    })
}

/// What is told of a request that belongs to no app.
fn no_app(why: Unrouted, outbound: &Outbound) -> Problem {
    let (path, host) = (outbound.path(), outbound.host());
    match why {
        Unrouted::Unclaimed => {
            Problem::new(StatusCode::NOT_FOUND, format!("no app serves {path} on {host}; GET /v1/routes tells who serves what"))
        }
        Unrouted::Climbs => Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{path} has a segment \"..\", which may lead out of what the app's route claims; ask for the path that is meant"),
        ),
    }
}

/// What is told of an answer that changes the protocol when nobody had asked for it.
fn unasked() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "the replica changed to another protocol without being asked, or before it had the request")
}

/// What is told of a request that its client broke off.
fn client_fault(outbound: &Outbound) -> Problem {
    outbound.fault().map_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "the client has ended the connection"), Fault::problem)
}

/// What is told of a request that was sent and is not sent again.
fn no_answer(app: &App, failure: &Failure, replica: &Replica, outbound: &Outbound, retries: u32) -> Problem {
    let id = replica.key.replica;
    let method = outbound.head.method;
    match failure {
        Failure::Late => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("replica {id} has the request and sent no answer within {} ms; it may still carry it out", app.limits.first_byte_ms),
        ),
        Failure::Lost => Problem::new(
            StatusCode::BAD_GATEWAY,
            format!("replica {id} got the request and its host was lost before an answer came; it may have carried it out"),
        ),
        Failure::Client => client_fault(outbound),
        Failure::Unasked => unasked(),
        Failure::Broken => {
            Problem::new(StatusCode::BAD_GATEWAY, format!("what replica {id} sent is no answer of HTTP/1.1, or broke off in its head"))
        }
        Failure::Malformed(error) => {
            Problem::new(StatusCode::BAD_GATEWAY, format!("what replica {id} sent is no answer of HTTP/1.1: {error}"))
        }
        Failure::Unsent if !outbound.can_replay() => Problem::new(
            StatusCode::BAD_GATEWAY,
            format!("replica {id} did not take the request; its body was too large to be kept and sent again"),
        ),
        Failure::Unsent | Failure::Unanswered if !outbound.head.is_idempotent => Problem::new(
            StatusCode::BAD_GATEWAY,
            format!(
                "replica {id} got the request and ended the connection without an answer; it may have carried it out, and a {method} is not sent twice"
            ),
        ),
        Failure::Unsent | Failure::Unanswered if !outbound.can_replay() => Problem::new(
            StatusCode::BAD_GATEWAY,
            format!(
                "replica {id} got the request and ended the connection without an answer; its body was too large to be kept and sent again"
            ),
        ),
        Failure::Unsent | Failure::Unanswered => {
            let before = match retries {
                0 => String::new(),
                1 => "; it had been sent once before".to_owned(),
                2 => "; it had been sent twice before".to_owned(),
                times => format!("; it had been sent {times} times before"),
            };
            Problem::new(
                StatusCode::BAD_GATEWAY,
                format!("replica {id} got the request and ended the connection without an answer{before}"),
            )
        }
    }
}

/// What is told of a request that could be sent again, where too many are.
fn out_of_budget(replica: &Replica, app: &App) -> Problem {
    let id = replica.key.replica;
    let detail = format!(
        "replica {id} got the request and ended the connection without an answer; it is not sent again, since the budget of app {} for that (a fifth of its requests, and ten a second) is used up",
        app.name
    );
    Problem::new(StatusCode::BAD_GATEWAY, detail)
}

/// Sends a request to the API server of this process.
async fn to_api(core: &Rc<Core>, door: &LocalDoor, down: &mut Downstream, outbound: &mut Outbound) -> Result<Answered, Problem> {
    outbound.record.is_for_api();
    let busy = || Problem::passing("the controller's API does not take requests now; try again");
    let (ours, theirs) = tokio::io::duplex(LOCAL_BYTES_MAX);
    let entering = door.enter(LocalConnection { stream: theirs, peer: down.client.peer });
    if timeout(Duration::from_millis(core.limits.connect_ms), entering).await != Ok(true) {
        return Err(busy());
    }
    let mut lease = Lease::open(core, Stream::Local(ours), None);
    let mut input = Input::new(&core.buffers);
    match exchange::run(&core.limits, core.limits.first_byte_ms, down, outbound, &mut lease, &mut input).await {
        Ok(head) => {
            down.client.answer_is_from_api();
            let after = outbound.record.begun().elapsed();
            outbound.record.answered(head.status, down.output.as_slice().len(), after);
            Ok(pass_on(head, lease, input, None))
        }
        Err(Failure::Client) => Err(client_fault(outbound)),
        Err(Failure::Unsent) => Err(busy()),
        Err(Failure::Unasked) => Err(unasked()),
        Err(Failure::Late) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("the controller's API sent no answer within {} ms", core.limits.first_byte_ms),
        )),
        Err(Failure::Unanswered | Failure::Broken | Failure::Malformed(_) | Failure::Lost) => {
            Err(Problem::new(StatusCode::BAD_GATEWAY, "the controller's API ended the connection without an answer"))
        }
    }
}

/// Makes an answer whose head has come ready to be passed on.
fn pass_on(head: AnswerHead, lease: Lease, input: Input, in_flight: Option<InFlight>) -> Answered {
    if head.status == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        let first = Bytes::copy_from_slice(input.filled());
        return Answered::Tunnel(Tunnel { lease, first, in_flight });
    }
    Answered::Relay(Relay::new(head, lease, input, in_flight))
}
