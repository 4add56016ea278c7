//! The life of a replica: single stories, and what holds in every one.

use super::*;
use crate::now::Now;
use proptest::prelude::*;

fn rules() -> Rules {
    Rules { grace_ms: 10_000, restart: RestartPolicy::default() }
}

fn with_policy(when: When) -> Rules {
    let mut rules = rules();
    rules.restart.when = when;
    rules
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: 0 }
}

fn exited(attempt: u32) -> Event {
    Event::Exited { attempt, exit: Exit::Code(1), last_lines: vec!["boom".to_owned()] }
}

fn run(events: Vec<(Event, u64)>) -> (Replica, Vec<Effect>) {
    let (mut replica, mut effects) = Replica::start(rules());
    for (event, ms) in events {
        (replica, effects) = step(replica, event, at(ms));
    }
    (replica, effects)
}

#[test]
fn a_crash_is_followed_by_a_new_attempt_at_once_and_by_waits_after_that() {
    let (replica, effects) = run(vec![
        (Event::Spawned { attempt: 1, pid: 7 }, 0),
        (Event::Ready { attempt: 1 }, 1),
        (exited(1), 2),
        (Event::TreeGone { attempt: 1 }, 3),
    ]);
    assert_eq!(effects, [Effect::Spawn { attempt: 2, reserve_port: true }]);
    let (replica, _) = step(replica, Event::Spawned { attempt: 2, pid: 8 }, at(3));
    let (replica, _) = step(replica, Event::Ready { attempt: 2 }, at(4));
    let (replica, _) = step(replica, exited(2), at(5));
    let (replica, effects) = step(replica, Event::TreeGone { attempt: 2 }, at(6));
    assert_eq!((replica.phase(), effects), (ObservedPhase::Backoff, vec![]));
    assert_eq!(replica.deadline_ms(), Some(106));
    let (replica, effects) = step(replica, Event::Tick, at(106));
    assert_eq!(effects, [Effect::Spawn { attempt: 3, reserve_port: true }]);
    assert_eq!(replica.detail(), "its process exited with code 1; its last line: boom");
}

#[test]
fn a_program_that_never_got_ready_is_tried_once_without_a_reserved_port_beside_it() {
    let (_, effects) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (exited(1), 2), (Event::TreeGone { attempt: 1 }, 3)]);
    assert_eq!(effects, [Effect::Spawn { attempt: 2, reserve_port: false }]);
}

#[test]
fn a_replica_that_was_ready_for_long_starts_again_from_no_wait() {
    let (mut replica, _) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (Event::Ready { attempt: 1 }, 0)]);
    replica.failures = 9;
    let (replica, _) = step(replica, exited(1), at(10_000));
    assert_eq!(replica.failures, 1);
}

#[test]
fn a_stop_is_sigterm_then_grace_then_sigkill_for_what_is_left() {
    let (replica, effects) = run(vec![(Event::Spawned { attempt: 1, pid: 7 }, 0), (Event::Wanted(AssignedPhase::Stop), 5)]);
    assert_eq!(effects, [Effect::Terminate { attempt: 1 }]);
    let (replica, effects) = step(replica, exited(1), at(6));
    assert_eq!((replica.phase(), effects), (ObservedPhase::Stopping, vec![]), "its children have the grace too");
    let (replica, effects) = step(replica, Event::Tick, at(10_005));
    assert_eq!(effects, [Effect::Kill { attempt: 1 }]);
    let (replica, _) = step(replica, Event::TreeGone { attempt: 1 }, at(10_006));
    assert_eq!(replica.state, State::Stopped);
}

fn any_event() -> impl Strategy<Value = Event> {
    let attempt = 1u32..5;
    prop_oneof![
        prop_oneof![Just(AssignedPhase::Run), Just(AssignedPhase::Drain), Just(AssignedPhase::Stop)].prop_map(Event::Wanted),
        attempt.clone().prop_map(|attempt| Event::Spawned { attempt, pid: attempt }),
        attempt.clone().prop_map(|attempt| Event::SpawnFailed { attempt, error: "no".to_owned() }),
        attempt.clone().prop_map(|attempt| Event::GivenUp { attempt }),
        attempt.clone().prop_map(|attempt| Event::Ready { attempt }),
        attempt.clone().prop_map(|attempt| Event::Unready { attempt }),
        attempt.clone().prop_map(|attempt| Event::Unhealthy { attempt, why: "no".to_owned() }),
        (attempt.clone(), 0..2).prop_map(|(attempt, code)| Event::Exited { attempt, exit: Exit::Code(code), last_lines: vec![] }),
        attempt.prop_map(|attempt| Event::TreeGone { attempt }),
        Just(Event::Tick),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    prop_oneof![Just(When::Always), Just(When::OnFailure), Just(When::Never)].prop_map(with_policy)
}

proptest! {
    #[test]
    fn attempt_and_phase_only_move_forward(rules in any_rules(), events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
        let (mut replica, _) = Replica::start(rules);
        let mut now = at(0);
        for (event, pause) in events {
            now = now.plus_ms(pause);
            let before = (replica.attempt, replica.phase());
            replica = step(replica, event, now).0;
            prop_assert!((replica.attempt, replica.phase()) >= before, "{:?} after {:?}", replica, before);
        }
    }

    #[test]
    fn a_replica_that_is_to_run_once_is_started_again_only_when_it_could_not_be_started(
        events in prop::collection::vec((any_event(), 0u64..40_000), 1..80),
    ) {
        let (mut replica, _) = Replica::start(with_policy(When::Never));
        let mut now = at(0);
        for (event, pause) in events {
            now = now.plus_ms(pause);
            let may_start = matches!(event, Event::SpawnFailed { .. }) || matches!(replica.state, State::Backoff { .. });
            let had_run = replica.last_ending.as_ref().is_some_and(|ending| ending.step != Step::Start);
            let (next, effects) = step(replica, event, now);
            let spawns = effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }));
            prop_assert!(!spawns || may_start && !had_run);
            replica = next;
        }
    }

    #[test]
    fn two_processes_of_one_replica_never_live_at_once(rules in any_rules(), events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
        let (mut replica, effects) = Replica::start(rules);
        let mut now = at(0);
        // The attempt that was asked for and is not known to be gone.
        let mut alive = effects.len();
        for (event, pause) in events {
            now = now.plus_ms(pause);
            let ends = matches!(event, Event::TreeGone { attempt } | Event::SpawnFailed { attempt, .. } if attempt == replica.attempt);
            let (next, effects) = step(replica.clone(), event, now);
            if ends && next != replica {
                alive = 0;
            }
            alive += effects.iter().filter(|effect| matches!(effect, Effect::Spawn { .. })).count();
            prop_assert!(alive <= 1);
            replica = next;
        }
    }

    #[test]
    fn a_replica_that_is_to_stop_is_never_started_again(rules in any_rules(), events in prop::collection::vec((any_event(), 0u64..40_000), 1..80)) {
        let (replica, _) = Replica::start(rules);
        let (mut replica, _) = step(replica, Event::Wanted(AssignedPhase::Stop), at(0));
        for (event, pause) in events {
            let (next, effects) = step(replica, event, at(pause));
            let spawned = effects.iter().any(|effect| matches!(effect, Effect::Spawn { .. }));
            prop_assert!(!spawned);
            replica = next;
        }
    }
}

fn told(rules: Rules, events: Vec<Event>) -> Replica {
    events.into_iter().fold(Replica::start(rules).0, |replica, event| step(replica, event, at(0)).0)
}

fn running() -> Vec<Event> {
    vec![Event::Spawned { attempt: 1, pid: 7 }, Event::Ready { attempt: 1 }]
}

fn exit(code: i32) -> Event {
    Event::Exited { attempt: 1, exit: Exit::Code(code), last_lines: vec!["first".to_owned(), "last".to_owned()] }
}

#[test]
fn what_is_to_run_once_stays_as_it_ended_until_it_is_told_to_go() {
    for (when, code, finishes) in
        [(When::Never, 0, true), (When::Never, 3, true), (When::OnFailure, 0, true), (When::OnFailure, 3, false), (When::Always, 0, false)]
    {
        let events = [running(), vec![exit(code), Event::TreeGone { attempt: 1 }]].concat();
        let replica = told(with_policy(when), events);
        assert_eq!(replica.is_finished(), finishes, "{when} {code}");
        if finishes {
            let expected =
                format!("its process exited with code {code}; last lines: first | last; it is not started again (restart: {when})");
            assert_eq!((replica.phase(), replica.detail()), (ObservedPhase::Stopped, expected));
            assert_eq!(replica.failures, u32::from(code != 0));
            let (replica, effects) = step(replica, Event::Wanted(AssignedPhase::Stop), at(1));
            assert_eq!((replica.state, effects), (State::Stopped, vec![]));
        }
    }
}

#[test]
fn a_replica_that_fails_its_liveness_is_ended_and_started_again_as_after_a_crash() {
    let unhealthy = Event::Unhealthy { attempt: 1, why: "its check http /healthz failed 3 times".to_owned() };
    let replica = told(rules(), [running(), vec![unhealthy]].concat());
    assert_eq!((replica.phase(), replica.failures, replica.deadline_ms()), (ObservedPhase::Backoff, 1, Some(10_000)));
    assert_eq!(replica.detail(), "its check http /healthz failed 3 times");
    // It hangs: SIGTERM does nothing.
    let (replica, effects) = step(replica, Event::Tick, at(10_000));
    assert_eq!(effects, [Effect::Kill { attempt: 1 }]);
    let (replica, effects) = step(replica, exit(0), at(10_001));
    assert_eq!(effects, []);
    let (replica, effects) = step(replica, Event::TreeGone { attempt: 1 }, at(10_002));
    assert_eq!((replica.attempt, effects), (2, vec![Effect::Spawn { attempt: 2, reserve_port: true }]));
}

#[test]
fn readiness_comes_and_goes_without_a_failure() {
    let unready = Event::Unready { attempt: 1 };
    let replica = told(rules(), [running(), vec![unready]].concat());
    assert_eq!((replica.phase(), replica.is_ready(), replica.failures), (ObservedPhase::Running, false, 0));
    let (replica, _) = step(replica, Event::Ready { attempt: 1 }, at(5));
    assert!(replica.is_ready());
}

#[test]
fn a_crash_loop_is_called_one_with_its_wait_and_the_last_words() {
    let mut replica = Replica::start(rules()).0;
    let mut now = 0;
    while replica.failures < 5 {
        let attempt = replica.attempt;
        let last_lines = vec!["no disk".to_owned(), "giving up".to_owned()];
        for event in
            [Event::Spawned { attempt, pid: 7 }, Event::Exited { attempt, exit: Exit::Code(1), last_lines }, Event::TreeGone { attempt }]
        {
            replica = step(replica, event, at(now)).0;
        }
        if replica.failures < 5 {
            now = replica.deadline_ms().unwrap_or(now);
            replica = step(replica, Event::Tick, at(now)).0;
        }
    }
    assert_eq!(
        replica.detail(),
        "crash loop: 5 failures in a row; next try 800 ms after the last; last: its process exited with code 1; \
         last lines: no disk | giving up"
    );
    let (replica, _) = step(replica, Event::Tick, at(now + 60_000));
    assert!(replica.detail().starts_with("crash loop: 5 failures in a row; last: its process"), "{}", replica.detail());
}

/// Every state, by the name that docs/states.md has for it.
fn states() -> Vec<(&'static str, Replica)> {
    let spawned = || vec![Event::Spawned { attempt: 1, pid: 7 }];
    let unhealthy = || Event::Unhealthy { attempt: 1, why: String::new() };
    let stop = || Event::Wanted(AssignedPhase::Stop);
    let drain = || Event::Wanted(AssignedPhase::Drain);
    let always = |events: Vec<Event>| told(rules(), events);
    let never = |events: Vec<Event>| told(with_policy(When::Never), events);
    let mut backoff = always([running(), vec![exit(1)]].concat());
    backoff.state = State::Killing { then: Then::Restart { wait_ms: 100 }, again_at_ms: 1_000 };
    vec![
        ("spawning", always(vec![])),
        ("spawning, to go", always(vec![drain()])),
        ("starting", always(spawned())),
        ("running", always(running())),
        ("unready", always([running(), vec![Event::Unready { attempt: 1 }]].concat())),
        ("draining", always([running(), vec![drain()]].concat())),
        ("ending, then again", always([running(), vec![unhealthy()]].concat())),
        ("ending, then finished", never([running(), vec![unhealthy()]].concat())),
        ("stopping", always([running(), vec![stop()]].concat())),
        ("killing, then again", backoff.clone()),
        ("killing, then finished", never([running(), vec![exit(0)]].concat())),
        ("killing", step(always([running(), vec![stop()]].concat()), Event::Tick, at(10_000)).0),
        ("backoff", step(backoff, Event::TreeGone { attempt: 1 }, at(0)).0),
        ("finished", never([running(), vec![exit(0), Event::TreeGone { attempt: 1 }]].concat())),
        ("gone", always([running(), vec![stop(), Event::TreeGone { attempt: 1 }]].concat())),
    ]
}

/// Every event about the present attempt, by name.
fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("to drain", Event::Wanted(AssignedPhase::Drain)),
        ("to stop", Event::Wanted(AssignedPhase::Stop)),
        ("started", Event::Spawned { attempt: 1, pid: 7 }),
        ("cannot be started", Event::SpawnFailed { attempt: 1, error: String::new() }),
        ("is given up", Event::GivenUp { attempt: 1 }),
        ("ready", Event::Ready { attempt: 1 }),
        ("not ready", Event::Unready { attempt: 1 }),
        ("fails its liveness", Event::Unhealthy { attempt: 1, why: String::new() }),
        ("its process ends", exit(1)),
        ("no process is left", Event::TreeGone { attempt: 1 }),
        ("its time has come", Event::Tick),
    ]
}

fn name_of(replica: &Replica) -> &'static str {
    match (&replica.state, replica.wanted) {
        (State::Spawning, AssignedPhase::Run) => "spawning",
        (State::Spawning, _) => "spawning, to go",
        (State::Starting { .. } | State::Running { .. }, AssignedPhase::Drain) => "draining",
        (State::Starting { .. }, _) => "starting",
        (State::Running { ready: Readiness::Ready { .. }, .. }, _) => "running",
        (State::Running { ready: Readiness::Unready, .. }, _) => "unready",
        (State::Terminating { then: Then::Restart { .. }, .. }, _) => "ending, then again",
        (State::Terminating { then: Then::Finish, .. }, _) => "ending, then finished",
        (State::Terminating { then: Then::Stop, .. }, _) => "stopping",
        (State::Killing { then: Then::Restart { .. }, .. }, _) => "killing, then again",
        (State::Killing { then: Then::Finish, .. }, _) => "killing, then finished",
        (State::Killing { then: Then::Stop, .. }, _) => "killing",
        (State::Backoff { .. }, _) => "backoff",
        (State::Finished, _) => "finished",
        (State::Stopped, _) => "gone",
    }
}

fn name_of_effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Spawn { .. } => "starts the process",
        Effect::Watch { .. } => "watches it",
        Effect::Terminate { .. } => "SIGTERM to its group",
        Effect::Kill { .. } => "SIGKILL to its tree",
    }
}

/// Every state with every event, as the table of docs/states.md writes it down: what is not in it changes nothing.
#[test]
fn the_table_in_the_docs_is_what_happens() {
    const DOCS: &str = include_str!("../../../docs/states.md");
    let mut table = Vec::new();
    for (from, replica) in states() {
        assert_eq!(name_of(&replica), from);
        for (when, event) in events() {
            let (next, effects) = step(replica.clone(), event, at(1_000_000));
            if next != replica || !effects.is_empty() {
                let effects: Vec<&str> = effects.iter().map(name_of_effect).collect();
                table.push(format!("| {from} | {when} | {} | {} |", name_of(&next), effects.join(", ")));
            }
        }
    }
    let documented: Vec<&str> =
        DOCS.lines().skip_while(|line| !line.starts_with("| from | event |")).skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(documented, table, "write this into docs/states.md:\n{}\n", table.join("\n"));
}

#[test]
fn what_is_said_of_another_attempt_changes_nothing_in_any_state() {
    for (name, replica) in states() {
        for attempt in [0, 2] {
            let stale = [
                Event::Spawned { attempt, pid: 9 },
                Event::SpawnFailed { attempt, error: String::new() },
                Event::GivenUp { attempt },
                Event::Ready { attempt },
                Event::Unready { attempt },
                Event::Unhealthy { attempt, why: String::new() },
                exited(attempt),
                Event::TreeGone { attempt },
            ];
            for event in stale {
                assert_eq!(step(replica.clone(), event.clone(), at(0)), (replica.clone(), vec![]), "{name}: {event:?}");
            }
        }
    }
}
