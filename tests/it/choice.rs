//! The competition: who wins, who loses to whom, and to whom a turn passes.

use crate::decide::{Case, cap, device, hours, noon_ms, nth};
use kairos::campaign::{Class, DeliverBy};
use kairos::clock::{HOUR_MS, MINUTE_MS};
use kairos::id::OfferId;
use kairos::moment::decision::{Fate, Outcome};
use kairos::moment::input::Device;
use kairos::moment::refusal::Refusal;
use serde_json::json;

fn winners(case: &Case) -> Vec<OfferId> {
    case.decide().choices.iter().map(|c| c.offer_id).collect()
}

fn fates(case: &Case) -> Vec<Fate> {
    case.decide().candidates.iter().map(|c| c.result).collect()
}

/// Candidates with these base values.
fn field(values: &[f64]) -> Case {
    let mut case = Case::new();
    case.offers[0].base_value = values[0];
    for value in &values[1..] {
        case.add(*value);
    }
    case
}

#[test]
fn the_highest_score_wins_and_the_others_are_stored_with_theirs() {
    let case = field(&[3.0, 9.0, 5.0]);
    assert_eq!(winners(&case), [nth::<OfferId>(2)]);
    assert_eq!(fates(&case), [Fate::Outscored, Fate::Chosen, Fate::Outscored]);
    let scores: Vec<_> = case.decide().candidates.iter().map(|c| c.score).collect();
    assert_eq!(scores, [Some(3.0), Some(9.0), Some(5.0)]);
}

#[test]
fn a_weight_counts_in_the_score() {
    let mut case = field(&[3.0, 9.0]);
    case.offers[0].weight = 4.0;
    assert_eq!(winners(&case), [nth::<OfferId>(1)]);
}

#[test]
fn equal_scores_go_by_the_bytes_of_the_id() {
    let mut case = field(&[5.0, 5.0]);
    assert_eq!(winners(&case), [nth::<OfferId>(1)]);
    case.input.candidates.swap(0, 1);
    assert_eq!(winners(&case), [nth::<OfferId>(1)], "whatever the order in which they come");
}

#[test]
fn what_can_go_now_wins_over_what_has_to_wait() {
    let mut case = field(&[100.0, 1.0]);
    case.input.user.quiet_hours = Some(hours("12:00", "12:10"));
    // The second is for a device that is awake.
    case.offers[0].audience = Some("device.id == 'dev_1'".into());
    case.offers[1].audience = Some("device.id == 'dev_2'".into());
    case.input.user.devices.push(Device { time_zone: Some("Europe/London".into()), facts: json!({"id": "dev_2"}), ..device(2) });
    assert_eq!(winners(&case), [nth::<OfferId>(2)]);
    case.input.moment.offers_max = 2;
    let decision = case.decide();
    assert_eq!(decision.outcome, Outcome::Chosen, "of chosen and held the first of the law's order counts");
    assert_eq!(decision.candidates.iter().map(|c| c.result).collect::<Vec<_>>(), [Fate::Held, Fate::Chosen]);
}

#[test]
fn as_many_win_as_the_moment_may_choose() {
    let mut case = field(&[3.0, 9.0, 5.0]);
    case.input.moment.offers_max = 2;
    assert_eq!(winners(&case), [nth::<OfferId>(2), nth(3)]);
    case.input.moment.offers_max = 9;
    assert_eq!(winners(&case), [nth::<OfferId>(2), nth(3), nth(1)]);
}

#[test]
fn one_wins_per_campaign_per_group_and_per_offer() {
    let mut case = field(&[9.0, 8.0, 7.0, 6.0, 5.0]);
    case.input.moment.offers_max = 5;
    case.input.candidates[1].version.campaign_id = case.input.candidates[0].version.campaign_id;
    case.offers[0].exclusive_group = Some("coffee".into());
    case.offers[2].exclusive_group = Some("coffee".into());
    case.offers[3].exclusive_group = Some("tea".into());
    case.input.candidates[4].version.offer_id = case.input.candidates[0].version.offer_id;
    assert_eq!(fates(&case), [Fate::Chosen, Fate::SameCampaign, Fate::SameGroup, Fate::Chosen, Fate::SameOffer]);
}

#[test]
fn winners_of_one_decision_have_no_gap_between_them_but_count_for_each_other_in_caps() {
    let mut case = field(&[9.0, 8.0, 7.0]);
    case.input.moment.offers_max = 3;
    case.input.limits.min_gap_ms = HOUR_MS;
    assert_eq!(winners(&case).len(), 3);
    case.input.limits.overall = vec![cap(2, HOUR_MS)];
    let decision = case.decide();
    assert_eq!(decision.choices.len(), 2);
    let last = decision.candidates[2].gates.last().unwrap();
    assert_eq!(last.reason, Some(Refusal::OverallCap), "the third has no room under the cap beside the first two");
}

#[test]
fn a_reservation_that_fails_passes_the_turn() {
    let mut case = field(&[9.0, 8.0]);
    case.input.limits.per_category.insert("food".into(), vec![cap(1, HOUR_MS)]);
    case.input.moment.offers_max = 2;
    let third = case.add(7.0);
    for n in [0, 1] {
        case.offers[n].category = Some("food".into());
    }
    assert_eq!(fates(&case), [Fate::Chosen, Fate::Refused, Fate::Chosen]);
    assert_eq!(winners(&case)[1], nth::<OfferId>(third as u128 + 1));
    // So does a template that fails.
    case.offers[0].template.variants.get_mut("en").unwrap().body = "{{ event.no.such }}".into();
    assert_eq!(fates(&case), [Fate::Refused, Fate::Chosen, Fate::Chosen]);
}

#[test]
fn a_critical_winner_takes_no_room_under_the_caps() {
    let mut case = field(&[9.0, 8.0]);
    case.input.moment.offers_max = 2;
    case.input.limits.overall = vec![cap(1, HOUR_MS)];
    case.offers[0].class = Class::Critical;
    assert_eq!(fates(&case), [Fate::Chosen, Fate::Chosen]);
}

#[test]
fn a_score_is_taken_at_delivery() {
    let mut case = field(&[10.0, 9.0]);
    case.input.moment.span.curve = kairos::campaign::Curve::Linear;
    case.input.now_ms = noon_ms() + 15 * MINUTE_MS - case.input.latency_ms;
    case.offers[0].deliver_by = Some(DeliverBy::AfterMs(20 * MINUTE_MS));
    assert_eq!(case.decide().candidates[0].score, Some(5.0));
}
