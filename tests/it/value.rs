//! What an offer is worth at an age: tables for every sentence of the law, and properties of every curve.

use kairos::campaign::{Curve, DeliverBy, HalfLife, Step};
use kairos::clock::{HOUR_MS, MINUTE_MS, Time};
use kairos::moment::choice::score;
use kairos::moment::value::{Limit, SKEW_MS, Span, factor, from_the_future, too_old};
use proptest::prelude::*;

const W: i64 = 30 * MINUTE_MS;

fn steps(list: &[(i64, f64)]) -> Curve {
    Curve::Steps(list.iter().map(|(until_ms, factor)| Step { until_ms: *until_ms, factor: *factor }).collect())
}

fn half_life(h_ms: i64) -> Curve {
    Curve::HalfLife(HalfLife { h_ms })
}

fn span(curve: Curve) -> Span {
    Span { opened_ms: 1_000_000, window_ms: W, curve }
}

#[test]
fn each_curve_has_its_factor_at_each_age() {
    let stairs = steps(&[(5 * MINUTE_MS, 1.0), (10 * MINUTE_MS, 0.4), (20 * MINUTE_MS, 0.1)]);
    let table: Vec<(Curve, i64, f64)> = vec![
        (Curve::Flat, 0, 1.0),
        (Curve::Flat, W - 1, 1.0),
        (Curve::Linear, 0, 1.0),
        (Curve::Linear, W / 2, 0.5),
        (Curve::Linear, W / 4, 0.75),
        (half_life(W / 3), 0, 1.0),
        (half_life(W / 3), W / 3, 0.5),
        (half_life(W / 3), 2 * W / 3, 0.25),
        (stairs.clone(), 0, 1.0),
        (stairs.clone(), 5 * MINUTE_MS - 1, 1.0),
        // A step holds for ages below its end, so exactly the end belongs to the next.
        (stairs.clone(), 5 * MINUTE_MS, 0.4),
        (stairs.clone(), 10 * MINUTE_MS, 0.1),
        (stairs.clone(), 20 * MINUTE_MS, 0.0),
        (stairs, W - 1, 0.0),
        (steps(&[(2 * W, 0.7)]), W - 1, 0.7),
    ];
    for (curve, age_ms, expected) in table {
        assert_eq!(factor(&curve, W, age_ms), expected, "{curve:?} at {age_ms}");
    }
}

#[test]
fn every_curve_is_nothing_at_the_end_of_the_window_and_after_it() {
    for curve in [Curve::Flat, Curve::Linear, half_life(10 * W), steps(&[(10 * W, 1.0)])] {
        assert_eq!(factor(&curve, W, W), 0.0, "{curve:?}");
        assert_eq!(factor(&curve, W, W + 1), 0.0, "{curve:?}");
        assert!(factor(&curve, W, W - 1) > 0.0, "{curve:?}");
    }
}

#[test]
fn age_is_counted_from_when_the_event_occurred_and_never_below_zero() {
    let span = span(Curve::Linear);
    assert_eq!(span.closes_ms(), 1_000_000 + W);
    assert_eq!(span.factor_at(1_000_000 + W / 2), 0.5);
    assert_eq!(span.factor_at(1_000_000), 1.0);
    assert_eq!(span.factor_at(1_000_000 - SKEW_MS), 1.0, "a clock ahead of ours counts as now");
    assert_eq!(span.value_at(8.0, 1_000_000 + W / 4), 6.0);
}

#[test]
fn five_minutes_ahead_is_skew_and_a_millisecond_more_is_the_future() {
    assert!(!from_the_future(10 * HOUR_MS + 5 * MINUTE_MS, 10 * HOUR_MS));
    assert!(from_the_future(10 * HOUR_MS + 5 * MINUTE_MS + 1, 10 * HOUR_MS));
    assert!(!from_the_future(9 * HOUR_MS, 10 * HOUR_MS));
}

#[test]
fn exactly_the_maximum_age_is_still_useful() {
    assert!(!too_old(0, HOUR_MS, Some(HOUR_MS)));
    assert!(too_old(0, HOUR_MS + 1, Some(HOUR_MS)));
    assert!(!too_old(0, i64::MAX, None));
}

#[test]
fn the_deadline_is_the_earlier_of_close_and_deliver_by() {
    let span = span(Curve::Flat);
    let closes_ms = span.closes_ms();
    let table = [
        (None, closes_ms, Limit::Closes),
        (Some(DeliverBy::AfterMs(MINUTE_MS)), 1_000_000 + MINUTE_MS, Limit::DeliverBy),
        (Some(DeliverBy::AfterMs(W)), closes_ms, Limit::Closes),
        (Some(DeliverBy::AfterMs(2 * W)), closes_ms, Limit::Closes),
        (Some(DeliverBy::At(Time(closes_ms - 1))), closes_ms - 1, Limit::DeliverBy),
        (Some(DeliverBy::At(Time(closes_ms + 1))), closes_ms, Limit::Closes),
    ];
    for (deliver_by, deadline_ms, limit) in table {
        assert_eq!(span.deadline_ms(deliver_by), (deadline_ms, limit), "{deliver_by:?}");
    }
}

#[test]
fn a_score_is_the_product_in_the_order_of_the_law() {
    assert_eq!(score(2.5, 1.0, 4.0), 10.0);
    // In another order this product differs in its last bit.
    assert_eq!(score(0.1, 0.2, 0.3), (0.1 * 0.2) * 0.3);
    assert_ne!(score(0.1, 0.2, 0.3), 0.1 * (0.2 * 0.3));
}

fn any_curve() -> impl Strategy<Value = Curve> {
    let stairs = prop::collection::vec((1_i64..W, 0.0_f64..=1.0), 1..6).prop_map(|pairs| {
        let (mut ends, mut factors): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        ends.sort_unstable();
        ends.dedup();
        factors.sort_by(|a, b| b.total_cmp(a));
        Curve::Steps(ends.into_iter().zip(factors).map(|(until_ms, factor)| Step { until_ms, factor }).collect())
    });
    prop_oneof![Just(Curve::Flat), Just(Curve::Linear), (1_i64..10 * W).prop_map(half_life), stairs]
}

proptest! {
    #[test]
    fn no_curve_ever_rises_or_leaves_zero_to_one(curve in any_curve(), a in 0..2 * W, b in 0..2 * W) {
        let (early, late) = (a.min(b), a.max(b));
        let (before, after) = (factor(&curve, W, early), factor(&curve, W, late));
        prop_assert!((0.0..=1.0).contains(&before) && (0.0..=1.0).contains(&after));
        prop_assert!(after <= before, "{curve:?} rises from {before} at {early} to {after} at {late}");
    }
}
