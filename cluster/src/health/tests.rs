//! What the outcomes of checks decide: single stories, and what holds in every one.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, unix_ms: 0 }
}

fn tcp(purpose: Purpose) -> Check {
    Check { kind: Kind::Tcp, purpose, interval_ms: 1_000, timeout_ms: 500, healthy: 2, unhealthy: 3, initial_grace_ms: 5_000 }
}

fn no() -> Result<(), String> {
    Err("refused the connection".to_owned())
}

/// Ticks and answers the one check that is due, with this result, and tells what followed and when.
fn round(health: &mut Health, result: Result<(), String>) -> (u64, Vec<Effect>) {
    let due_ms = health.due_ms().unwrap_or(0);
    assert_eq!(health.step(Event::Tick, at(due_ms)), [Effect::CarryOut(0)]);
    (due_ms, health.step(Event::Done(0, result), at(due_ms)))
}

#[test]
fn a_replica_is_ready_after_so_many_passes_and_unready_after_so_many_failures() {
    let mut health = Health::begin(&[tcp(Purpose::Readiness)], 1, at(0));
    assert_eq!(round(&mut health, no()).1, []);
    assert_eq!(round(&mut health, Ok(())).1, []);
    assert_eq!(round(&mut health, Ok(())).1, [Effect::Ready]);
    assert_eq!(round(&mut health, no()).1, []);
    assert_eq!(round(&mut health, no()).1, []);
    let (failed_ms, effects) = round(&mut health, no());
    assert_eq!(effects, [Effect::Unready]);
    let sentence = unready_sentence(&health.reports(at(failed_ms)), 500);
    assert_eq!(sentence.as_deref(), Some("not ready: its check tcp has failed for 2.5 s: it refused the connection"));
    assert_eq!(round(&mut health, Ok(())).1, []);
    assert_eq!(round(&mut health, Ok(())).1, [Effect::Ready]);
}

#[test]
fn failures_in_the_grace_do_not_count_and_after_it_they_end_the_replica() {
    let mut health = Health::begin(&[tcp(Purpose::Liveness)], 1, at(0));
    let mut counted = 0;
    loop {
        let (due_ms, effects) = round(&mut health, no());
        counted += u32::from(due_ms >= 5_000);
        if let Some(effect) = effects.first() {
            let why = "its liveness check tcp failed 3 times in a row: it refused the connection";
            assert_eq!((effect, counted), (&Effect::Unhealthy(why.to_owned()), 3));
            break;
        }
    }
    assert_eq!(health.due_ms(), None);
}

#[test]
fn checks_of_many_replicas_spread_over_the_interval_and_stay_at_their_points() {
    let mut in_tenth = [0; 10];
    for seed in 0..1_000 {
        let mut health = Health::begin(&[Check { healthy: 1, ..tcp(Purpose::Both) }], seed * 7, at(0));
        round(&mut health, Ok(()));
        let first_ms = health.due_ms().unwrap();
        in_tenth[(first_ms % 1_000 / 100) as usize] += 1;
        assert_eq!(health.step(Event::Tick, at(first_ms)), [Effect::CarryOut(0)]);
        // An answer that took longer than two intervals: the points that it missed are left out.
        health.step(Event::Done(0, Ok(())), at(first_ms + 2_100));
        assert_eq!(health.due_ms(), Some(first_ms + 3_000));
    }
    assert!(in_tenth.iter().all(|count| (60..140).contains(count)), "{in_tenth:?}");
}

#[test]
fn what_a_replica_says_of_its_readiness_holds_and_that_it_lives_it_must_say_again() {
    let push = Check { kind: Kind::Push, purpose: Purpose::Both, healthy: 1, unhealthy: 2, ..tcp(Purpose::Both) };
    let mut health = Health::begin(&[push], 1, at(0));
    assert_eq!(health.step(Event::Pushed(Push::Alive), at(10)), []);
    assert_eq!(health.step(Event::Pushed(Push::Ready), at(20)), [Effect::Ready]);
    assert_eq!(health.due_ms(), Some(1_020));
    assert_eq!(health.step(Event::Pushed(Push::NotReady("is full".to_owned())), at(900)), [Effect::Unready]);
    assert_eq!(health.step(Event::Pushed(Push::Ready), at(1_000)), [Effect::Ready]);
    assert_eq!(health.step(Event::Tick, at(2_000)), []);
    assert_eq!(health.step(Event::Pushed(Push::Alive), at(2_500)), []);
    assert_eq!(health.step(Event::Tick, at(3_500)), []);
    let why = "its liveness check push failed 2 times in a row: it was not heard for 1000 ms";
    assert_eq!(health.step(Event::Tick, at(4_500)), [Effect::Unhealthy(why.to_owned())]);
}

#[test]
fn a_replica_may_ask_to_be_started_again() {
    let push = Check { kind: Kind::Push, purpose: Purpose::Liveness, ..tcp(Purpose::Both) };
    let mut health = Health::begin(&[push], 1, at(0));
    let effects = health.step(Event::Pushed(Push::Failing("asked for it".to_owned())), at(10));
    assert!(matches!(effects.as_slice(), [Effect::Unhealthy(why)] if why.ends_with("failed: it asked for it")), "{effects:?}");
}

#[test]
fn a_check_is_written_as_its_kind_and_what_is_left_out_is_sensible() {
    let parse = |text: &str| serde_json::from_str::<Check>(text);
    let check = parse(r#"{"kind":"http","path":"/healthz","status":204,"for":"both","new":1}"#).unwrap();
    assert_eq!(check.kind.to_string(), "http /healthz");
    let Kind::Http { status, .. } = check.kind else { panic!("{check:?}") };
    assert!(status.contains(204) && !status.contains(200));
    assert_eq!(
        serde_json::to_string(&parse(r#"{"kind":"http"}"#).unwrap()).unwrap(),
        r#"{"kind":"http","path":"/","status":"200-399","for":"readiness","interval_ms":2000,"timeout_ms":1000,"healthy":1,"unhealthy":3,"initial_grace_ms":10000}"#
    );
    for kind in [r#""tcp""#, r#""push""#, r#""exec","command":["true"]"#] {
        let check = parse(&format!(r#"{{"kind":{kind}}}"#)).unwrap();
        assert_eq!(parse(&serde_json::to_string(&check).unwrap()).unwrap(), check);
        assert_eq!(validate(&[check]), Ok(()));
    }
    for bad in [r#"{"kind":"http","status":"9-10"}"#, r#"{"kind":"http","status":"399-200"}"#, r#"{"kind":"smtp"}"#, "{}"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused_with_a_sentence() {
    let http = |path: &str, host: Option<&str>| {
        let kind = Kind::Http { path: path.to_owned(), status: StatusRange::default(), host: host.map(str::to_owned) };
        Check { kind, ..tcp(Purpose::Both) }
    };
    let exec = |command: &[&str]| {
        let command = command.iter().map(|arg| (*arg).to_owned()).collect();
        Check { kind: Kind::Exec { command }, ..tcp(Purpose::Both) }
    };
    let bad = [
        http("healthz", None),
        http("/a b", None),
        http("/\r\nx: y", None),
        http("/", Some("a\r\nb: c")),
        http("/", Some("")),
        exec(&[]),
        exec(&["", "x"]),
        exec(&["a\0"]),
        Check { interval_ms: 99, ..tcp(Purpose::Both) },
        Check { timeout_ms: 0, ..tcp(Purpose::Both) },
        Check { healthy: 0, ..tcp(Purpose::Both) },
        Check { unhealthy: 1_001, ..tcp(Purpose::Both) },
        Check { initial_grace_ms: u64::MAX, ..tcp(Purpose::Both) },
    ];
    for check in bad {
        let message = validate(&[tcp(Purpose::Both), check.clone()]).unwrap_err().to_string();
        assert!(message.starts_with("the app's health check 2 ("), "{message}");
    }
    assert!(validate(&vec![tcp(Purpose::Both); CHECKS_MAX + 1]).is_err());
    let push = Check { kind: Kind::Push, ..tcp(Purpose::Both) };
    assert_eq!(validate(&[push.clone(), push]), Err(BadChecks::TwoVoices));
}

fn any_check() -> impl Strategy<Value = Check> {
    let purpose = prop_oneof![Just(Purpose::Readiness), Just(Purpose::Liveness), Just(Purpose::Both)];
    let kind = prop_oneof![Just(Kind::Tcp), Just(Kind::Push), Just(Kind::Exec { command: vec!["x".to_owned()] })];
    (kind, purpose, 1u32..4, 1u32..4, 0u64..3_000).prop_map(|(kind, purpose, healthy, unhealthy, initial_grace_ms)| Check {
        kind,
        purpose,
        interval_ms: 1_000,
        timeout_ms: 500,
        healthy,
        unhealthy,
        initial_grace_ms,
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let why = || "said so".to_owned();
    prop_oneof![
        3 => Just(Event::Tick),
        3 => (0usize..3, any::<bool>()).prop_map(move |(nth, ok)| Event::Done(nth, if ok { Ok(()) } else { Err(why()) })),
        1 => prop_oneof![
            Just(Push::Ready), Just(Push::Alive), Just(Push::NotReady(why())), Just(Push::Failing(why())),
        ].prop_map(Event::Pushed),
    ]
}

proptest! {
    #[test]
    fn readiness_alternates_and_nothing_is_said_after_the_end(
        checks in prop::collection::vec(any_check(), 1..3),
        events in prop::collection::vec((any_event(), 0u64..1_500), 1..120),
    ) {
        let mut health = Health::begin(&checks, 1, at(0));
        let (mut ready, mut ended, mut now) = (false, false, 0);
        for (event, pause) in events {
            now += pause;
            for effect in health.step(event, at(now)) {
                prop_assert!(!ended, "{effect:?} after the end");
                match effect {
                    Effect::Ready => { prop_assert!(!ready); ready = true; }
                    Effect::Unready => { prop_assert!(ready); ready = false; }
                    Effect::Unhealthy(_) => ended = true,
                    Effect::CarryOut(_) => {}
                }
            }
        }
        if port_decides(&checks) {
            prop_assert!(!ready, "nobody asked for it");
        }
    }

    #[test]
    fn no_check_is_carried_out_twice_at_once_nor_forgotten(
        checks in prop::collection::vec(any_check(), 1..3),
        events in prop::collection::vec((any_event(), 0u64..1_500), 1..120),
    ) {
        let mut health = Health::begin(&checks, 1, at(0));
        let (mut under_way, mut now, mut over) = (std::collections::BTreeSet::new(), 0, false);
        for (event, pause) in events {
            now += pause;
            if let Event::Done(nth, _) = &event {
                under_way.remove(nth);
            }
            for effect in health.step(event, at(now)) {
                if let Effect::CarryOut(nth) = effect {
                    prop_assert!(under_way.insert(nth), "check {nth} twice");
                }
                over |= matches!(effect, Effect::Unhealthy(_));
            }
            let asked = checks.iter().filter(|check| check.kind != Kind::Push).count();
            let waits = health.due_ms().is_some();
            prop_assert!(over || asked == 0 || waits || under_way.len() == asked);
        }
    }

    #[test]
    fn a_replica_whose_checks_all_pass_is_never_ended(
        checks in prop::collection::vec(any_check(), 1..3),
        rounds in 1usize..60,
    ) {
        let mut health = Health::begin(&checks, 1, at(0));
        let mut now = 0;
        for _ in 0..rounds {
            prop_assert!(!health.step(Event::Pushed(Push::Ready), at(now)).iter().any(|effect| matches!(effect, Effect::Unhealthy(_))));
            for effect in health.step(Event::Tick, at(now)) {
                prop_assert!(!matches!(effect, Effect::Unhealthy(_)));
                if let Effect::CarryOut(nth) = effect {
                    let effects = health.step(Event::Done(nth, Ok(())), at(now));
                    prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unhealthy(_))));
                }
            }
            now += 400;
        }
    }
}

#[test]
fn what_was_ready_under_another_agent_is_ready_until_it_fails() {
    let push = Check { kind: Kind::Push, ..tcp(Purpose::Readiness) };
    let mut health = Health::resume(&[push], 1, true, at(0));
    assert_eq!(health.step(Event::Tick, at(0)), []);
    assert_eq!(health.step(Event::Pushed(Push::NotReady("x".to_owned())), at(1)), [Effect::Unready]);
    let mut health = Health::resume(&[tcp(Purpose::Readiness)], 1, true, at(0));
    assert_eq!(round(&mut health, no()).1, []);
    assert_eq!(round(&mut health, no()).1, []);
    assert_eq!(round(&mut health, no()).1, [Effect::Unready]);
    let mut health = Health::resume(&[tcp(Purpose::Readiness)], 1, false, at(0));
    assert_eq!(round(&mut health, Ok(())).1, []);
    assert_eq!(round(&mut health, Ok(())).1, [Effect::Ready]);
}
