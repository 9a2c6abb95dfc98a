//! The transition machine against a naive reading of the law, and scenes that show each rule.

use kairos::place::transition::{Dwell, Kind, Sight, Stand, Step, Terms, Visit};
use proptest::prelude::*;

const TERMS: Terms = Terms { dwell_ms: 300, stale_after_ms: 1_000 };

fn enter(at_ms: i64, initial: bool) -> Step {
    Step { kind: Kind::Enter { initial }, at_ms }
}

fn exit(at_ms: i64, inferred: bool) -> Step {
    Step { kind: Kind::Exit { inferred }, at_ms }
}

fn dwell(at_ms: i64) -> Step {
    Step { kind: Kind::Dwell, at_ms }
}

/// `i`/`o`: inside or outside; capital: sure.
fn sights(script: &[(i64, char)]) -> Vec<Sight> {
    let sight = |&(at_ms, c): &(i64, char)| Sight { at_ms, inside: c.eq_ignore_ascii_case(&'i'), sure: c.is_ascii_uppercase() };
    script.iter().map(sight).collect()
}

fn run(sights: &[Sight], until_ms: i64) -> Vec<Step> {
    let mut steps = Vec::new();
    let stand = sights.iter().fold(Stand::Unknown, |stand, sight| stand.see(TERMS, *sight, &mut steps));
    let _ = stand.tick(TERMS, until_ms, &mut steps);
    steps
}

fn scene(script: &[(i64, char)], until_ms: i64) -> Vec<Step> {
    run(&sights(script), until_ms)
}

#[test]
fn one_sure_fix_inside_is_an_enter_and_two_unsure_ones_are_one_at_the_first() {
    assert_eq!(scene(&[(0, 'o'), (10, 'I')], 10), [enter(10, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'i')], 10), []);
    assert_eq!(scene(&[(0, 'o'), (10, 'i'), (20, 'i')], 20), [enter(10, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'i'), (20, 'o'), (30, 'i'), (40, 'o')], 40), []);
}

#[test]
fn leaving_wants_the_same_proof_as_coming() {
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (20, 'O')], 20), [enter(10, false), exit(20, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (20, 'o'), (30, 'i'), (40, 'o')], 40), [enter(10, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (20, 'o'), (30, 'o')], 30), [enter(10, false), exit(20, false)]);
}

#[test]
fn the_first_sight_inside_is_initial_and_no_later_one_is() {
    assert_eq!(scene(&[(0, 'I')], 0), [enter(0, true)]);
    assert_eq!(scene(&[(0, 'i'), (10, 'i')], 10), [enter(0, true)]);
    assert_eq!(scene(&[(0, 'i'), (10, 'o'), (20, 'I')], 20), [enter(20, false)]);
    assert_eq!(scene(&[(0, 'i'), (1_000, 'I')], 1_000), [enter(1_000, false)], "a dropped pair was a sight");
}

#[test]
fn a_dwell_fires_once_by_the_clock_and_never_after_a_fix_outside() {
    assert_eq!(scene(&[(0, 'o'), (10, 'I')], 309), [enter(10, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I')], 310), [enter(10, false), dwell(310)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (310, 'I'), (700, 'I')], 700), [enter(10, false), dwell(310)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (50, 'o'), (60, 'I')], 900), [enter(10, false)]);
    assert_eq!(scene(&[(0, 'o'), (10, 'I'), (310, 'O')], 310), [enter(10, false), dwell(310), exit(310, false)]);
}

#[test]
fn a_silent_visit_is_closed_at_exactly_the_limit_and_before_the_next_fix() {
    let seen = [(0, 'o'), (10, 'I')];
    assert_eq!(scene(&seen, 1_009), [enter(10, false), dwell(310)]);
    assert_eq!(scene(&seen, 1_010), [enter(10, false), dwell(310), exit(1_010, true)]);
    assert_eq!(
        scene(&[(0, 'o'), (10, 'I'), (1_010, 'I')], 1_010),
        [enter(10, false), dwell(310), exit(1_010, true), enter(1_010, false)]
    );
}

#[test]
fn a_fix_from_before_an_inferred_exit_makes_no_phantom_visit() {
    let mut steps = Vec::new();
    let stand = Stand::Unknown.see(TERMS, Sight { at_ms: 0, inside: true, sure: true }, &mut steps);
    let stand = stand.tick(TERMS, 5_000, &mut steps);
    let stand = stand.see(TERMS, Sight { at_ms: 900, inside: true, sure: true }, &mut steps);
    assert_eq!(steps, [enter(0, true), dwell(300), exit(1_000, true)]);
    let _ = stand.see(TERMS, Sight { at_ms: 1_500, inside: true, sure: true }, &mut steps);
    assert_eq!(steps.last(), Some(&enter(1_500, false)));
}

#[test]
fn a_stand_survives_being_stored() {
    let visit = Visit { since_ms: 1, last_ms: 2, leaving_ms: Some(2), dwell: Dwell::Barred };
    for stand in
        [Stand::Inside(visit), Stand::Entering { since_ms: 5, initial: true }, Stand::Closed { at_ms: 9 }, Stand::Outside]
    {
        let text = serde_json::to_string(&stand).unwrap();
        assert_eq!(serde_json::from_str::<Stand>(&text).unwrap(), stand);
    }
}

/// The law read over the whole list of fixes, with no state but "inside".
fn naive(fixes: &[Sight], until_ms: i64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut visit: Option<i64> = None;
    for (n, fix) in fixes.iter().enumerate() {
        let before = n.checked_sub(1).map(|p| fixes[p]);
        let silent = before.is_some_and(|b| fix.at_ms - b.at_ms >= TERMS.stale_after_ms);
        if silent && let (Some(_), Some(b)) = (visit.take(), before) {
            steps.push(exit(b.at_ms + TERMS.stale_after_ms, true));
        }
        let pair = before.filter(|b| !silent && b.inside == fix.inside);
        match visit {
            None if fix.inside && (fix.sure || pair.is_some()) => {
                let first = pair.filter(|_| true).map_or(fix.at_ms, |b| b.at_ms);
                let initial = fixes.iter().all(|f| f.at_ms >= first);
                steps.push(enter(first, initial));
                visit = Some(first);
            }
            Some(_) if !fix.inside && (fix.sure || pair.is_some()) => {
                steps.push(exit(pair.map_or(fix.at_ms, |b| b.at_ms), false));
                visit = None;
            }
            _ => {}
        }
    }
    if let (Some(_), Some(last)) = (visit, fixes.last())
        && last.at_ms + TERMS.stale_after_ms <= until_ms
    {
        steps.push(exit(last.at_ms + TERMS.stale_after_ms, true));
    }
    let mut all = steps.clone();
    for (n, step) in steps.iter().enumerate().filter(|(_, s)| matches!(s.kind, Kind::Enter { .. })) {
        let due_ms = step.at_ms + TERMS.dwell_ms;
        let left = fixes.iter().any(|f| !f.inside && f.at_ms > step.at_ms && f.at_ms < due_ms);
        let closed = steps.get(n + 1).is_some_and(|s| matches!(s.kind, Kind::Exit { inferred: true }) && s.at_ms <= due_ms);
        if due_ms <= until_ms && !left && !closed {
            all.push(dwell(due_ms));
        }
    }
    all.sort_by_key(|s| (s.at_ms, s.kind != Kind::Dwell));
    all
}

fn fixes() -> impl Strategy<Value = Vec<Sight>> {
    let gap = prop_oneof![8 => 1_i64..200, 2 => 200_i64..1_300, 1 => Just(1_000_i64), 1 => Just(300_i64)];
    prop::collection::vec((gap, any::<bool>(), any::<bool>()), 0..40).prop_map(|list| {
        let mut at_ms = 0;
        list.into_iter()
            .map(|(gap, inside, sure)| {
                at_ms += gap;
                Sight { at_ms, inside, sure }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_machine_and_the_naive_reading_agree(fixes in fixes(), rest in 0_i64..2_500) {
        let until_ms = fixes.last().map_or(0, |f| f.at_ms) + rest;
        let mut machine = run(&fixes, until_ms);
        machine.sort_by_key(|s| (s.at_ms, s.kind != Kind::Dwell));
        prop_assert_eq!(machine, naive(&fixes, until_ms));
    }

    #[test]
    fn clock_steps_between_fixes_change_nothing(fixes in fixes(), rest in 0_i64..2_500, stride in 1_i64..150) {
        let until_ms = fixes.last().map_or(0, |f| f.at_ms) + rest;
        let (mut steps, mut stand, mut now_ms) = (Vec::new(), Stand::Unknown, 0);
        for fix in &fixes {
            while now_ms < fix.at_ms {
                stand = stand.tick(TERMS, now_ms, &mut steps);
                now_ms += stride;
            }
            stand = stand.see(TERMS, *fix, &mut steps);
        }
        let _ = stand.tick(TERMS, until_ms, &mut steps);
        prop_assert_eq!(steps, run(&fixes, until_ms));
    }

    #[test]
    fn nothing_happens_before_the_due_time_and_something_is_settled_at_it(fixes in fixes()) {
        let mut steps = Vec::new();
        let stand = fixes.iter().fold(Stand::Unknown, |stand, sight| stand.see(TERMS, *sight, &mut steps));
        if let Some(due_ms) = stand.due_ms(TERMS) {
            let mut quiet = Vec::new();
            prop_assert_eq!(stand.tick(TERMS, due_ms - 1, &mut quiet), stand);
            prop_assert!(quiet.is_empty());
            prop_assert_ne!(stand.tick(TERMS, due_ms, &mut quiet), stand);
        }
    }
}
