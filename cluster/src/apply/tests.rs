//! Revisions and counts.

use proptest::prelude::*;

use super::*;

const NOW: Now = Now { mono_ms: 5, unix_ms: 7 };

fn wanted(program: u8, replicas: u32, default: bool) -> App {
    App { replicas, default, ..App::new(AppName::builtin(), AppSpec::new(vec![format!("program-{program}")])) }
}

#[test]
fn a_new_app_has_the_count_of_its_spec() {
    let app = applied(None, wanted(1, 3, false), Origin::Hand, NOW);
    assert_eq!((app.revision, app.desired, app.count_rule(), app.changed_unix_ms), (1, 3, CountRule::Spec, 7));
}

#[test]
fn an_unchanged_spec_keeps_the_count_that_was_set_and_one_with_another_count_wins() {
    let app = applied(None, wanted(1, 3, false), Origin::Hand, NOW);
    let scaled = App { desired: 9, ..app };
    let again = applied(Some(&scaled), wanted(1, 3, false), Origin::Hand, Now { unix_ms: 99, ..NOW });
    assert_eq!(again, scaled);
    assert_eq!(again.count_rule(), CountRule::Scale);
    let other_program = applied(Some(&scaled), wanted(2, 3, false), Origin::Hand, NOW);
    assert_eq!((other_program.revision, other_program.desired), (2, 9));
    let other_count = applied(Some(&scaled), wanted(1, 4, false), Origin::Hand, NOW);
    assert_eq!((other_count.revision, other_count.desired, other_count.count_rule()), (1, 4, CountRule::Spec));
}

#[test]
fn an_app_on_its_way_out_claims_nothing_and_can_be_wanted_again() {
    let app = applied(None, wanted(1, 3, true), Origin::Hand, NOW);
    let gone = deleted(&App { desired: 5, ..app.clone() }, NOW);
    assert!(gone.deleted && !gone.default && gone.routes.is_empty() && gone.desired == 0);
    let back = applied(Some(&gone), wanted(2, 3, true), Origin::Hand, NOW);
    assert_eq!((back.deleted, back.revision, back.desired, back.default), (false, 2, 3, true));
}

proptest! {
    #[test]
    fn a_revision_is_one_way_of_running_a_replica_and_the_latest_are_kept(programs in prop::collection::vec((0u8..3, 0u32..3, any::<bool>()), 1..60)) {
        let mut app = applied(None, wanted(0, 1, false), Origin::Hand, NOW);
        let mut ran = BTreeMap::from([(1, app.spec.clone())]);
        for (program, replicas, default) in programs {
            let next = applied(Some(&app), wanted(program, replicas, default), Origin::Hand, NOW);
            prop_assert_eq!(next.revision == app.revision, next.spec == app.spec);
            ran.insert(next.revision, next.spec.clone());
            app = next;
            prop_assert!(app.earlier.len() < REVISIONS_KEPT);
            let kept = ran.iter().rev().take(REVISIONS_KEPT);
            for (revision, spec) in kept {
                prop_assert_eq!(app.spec_of(*revision), spec);
            }
        }
    }
}
