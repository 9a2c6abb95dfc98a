//! Google: access tokens, the message's envelope, and the table of verdicts; pauses and endings of attempts.

use crate::gateway::{Google, NOW_MS, PATIENCE, google, push};
use kairos::clock::{HOUR_MS, MINUTE_MS};
use kairos::outbound::Loss;
use kairos::push::ending::{End, Held, Next, Tried, next};
use kairos::push::fcm::{self, ErrorCode, Rates, ServiceAccount, judge, verdict};
use kairos::push::retry::{LEAST_ASKED_MS, Pauses};
use kairos::push::standin::{Door, Fault, Quota, Rule};
use kairos::push::{Gateway, Mode, State, Verdict};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn one_access_token_serves_all_and_is_renewed_before_its_end() {
    let world = google().await;
    for n in 1..=5 {
        assert_eq!(world.send(&push(n, Gateway::Fcm)).await.unwrap().status, 200);
    }
    assert_eq!(world.standin.exchanges(), 1);
    // 56 minutes later less than 5 are left: it is renewed in the background and still used.
    world.clock.set(NOW_MS + 56 * MINUTE_MS);
    assert_eq!(world.send(&push(6, Gateway::Fcm)).await.unwrap().status, 200);
    world.clock.set(NOW_MS + 3 * HOUR_MS);
    assert_eq!(world.send(&push(7, Gateway::Fcm)).await.unwrap().status, 200);
    assert!((2..=3).contains(&world.standin.exchanges()));
}

#[tokio::test]
async fn a_refused_access_token_is_thrown_away_once() {
    let world = google().await;
    let bearer = world.bearer().await;
    assert!(world.client.token.discard(&bearer));
    assert!(world.client.token.discard(&bearer), "it is gone already: trying again is enough");
    let new = world.bearer().await;
    assert_ne!(bearer, new);
    assert!(!world.client.token.discard(&new), "refused again, its age is not the fault");
}

/// Waits this long for an access token: whether there is one, and whether that was known in time.
async fn comes(world: &Google, within: Duration) -> (bool, bool) {
    let until = Instant::now() + within;
    (world.client.token.comes(world.clock.now_ms(), until).await, Instant::now() < until)
}

#[tokio::test]
async fn whoever_waits_for_an_access_token_hears_how_the_exchange_that_is_under_way_ends() {
    let world = google().await;
    let buy = || world.client.token.bearer(world.clock.now_ms(), || {}).is_some();
    assert_eq!(comes(&world, PATIENCE).await, (false, true), "none is under way");
    world.standin.set_door(Door::Closed, None);
    assert!(!buy());
    assert_eq!(comes(&world, Duration::from_millis(50)).await, (false, false), "it takes too long");
    world.standin.set_door(Door::Open, None);
    assert_eq!(comes(&world, PATIENCE).await, (true, true));
    assert!(comes(&world, Duration::ZERO).await.0, "it is there: nobody waits");
    // It grows too old, and Google sells no other.
    world.clock.set(NOW_MS + 3 * HOUR_MS);
    world.standin.revoke_fcm(world.client.token.client_email());
    assert!(!buy());
    assert_eq!(comes(&world, PATIENCE).await, (false, true));
    assert_eq!(world.client.token.refused().as_deref(), Some("invalid_grant"), "that was waited for");
    assert!(!buy());
    assert_eq!(comes(&world, PATIENCE).await, (false, true), "during the pause none is under way");
    assert_eq!(world.standin.exchanges(), 1);
}

#[tokio::test]
async fn the_time_to_live_is_what_is_left_rounded_down() {
    let world = google().await;
    let bearer = world.bearer().await;
    for (left_ms, wanted) in [(90_999, "90s"), (999, "0s"), (60 * 24 * HOUR_MS, "2419200s")] {
        let mut push = push(7, Gateway::Fcm);
        push.deadline_ms = NOW_MS + left_ms;
        let outgoing = world.client.request(&push, &bearer, NOW_MS).unwrap();
        let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
        assert_eq!(body["message"]["android"]["ttl"], wanted);
        assert_eq!(body["message"]["token"], push.token);
        assert_eq!(body["message"]["data"]["kairos_message_id"], push.id.to_string());
        push.token = "fid:cXyz_ABCDEFGHIJKL-1234".into();
        let outgoing = world.client.request(&push, &bearer, NOW_MS).unwrap();
        let body: Value = serde_json::from_slice(&outgoing.body).unwrap();
        assert_eq!((&body["message"]["fid"], body["message"].get("token")), (&"cXyz_ABCDEFGHIJKL-1234".into(), None));
    }
}

#[tokio::test]
async fn a_key_file_that_points_elsewhere_is_refused() {
    let world = google().await;
    let good = world.standin.issue_fcm("demo-project").unwrap()["service_account"].clone();
    assert!(ServiceAccount::parse(&good).is_ok());
    for (field, value) in [
        ("token_uri", "http://oauth2.googleapis.com/token"),
        ("token_uri", "https://oauth2.googleapis.com.evil.example/token"),
        ("token_uri", "https://oauth2.googleapis.com:8443/token"),
        ("token_uri", "https://[::1]/token"),
        ("type", "authorized_user"),
        ("project_id", "../other"),
        ("client_email", ""),
        ("private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
    ] {
        let mut bad = good.clone();
        bad[field] = value.into();
        assert!(ServiceAccount::parse(&bad).is_err_and(|(at, _)| at.ends_with(field)), "{field} {value}");
    }
}

/// Every error that Google documents, over the real wire, and what we make of it.
#[tokio::test]
async fn every_answer_of_googles_is_understood() {
    let world = google().await;
    let later = |reason: &'static str, after_ms| Verdict::Later { reason: reason.into(), after_ms };
    let rejected = |word: &'static str| Verdict::Rejected(word.into());
    let table = [
        (404, "UNREGISTERED", Verdict::Unregistered { at_ms: Some(NOW_MS - 7) }),
        (400, "INVALID_ARGUMENT", rejected("invalid_argument")),
        (403, "SENDER_ID_MISMATCH", rejected("sender_id_mismatch")),
        (401, "THIRD_PARTY_AUTH_ERROR", rejected("third_party_auth_error")),
        (429, "QUOTA_EXCEEDED", later("quota_exceeded", Some(60_000))),
        (503, "UNAVAILABLE", later("unavailable", None)),
        (500, "INTERNAL", later("internal", None)),
        (400, "UNSPECIFIED_ERROR", rejected("unspecified_error")),
        (401, "UNAUTHENTICATED", Verdict::Renew("unauthenticated".into())),
        (403, "PERMISSION_DENIED", Verdict::Misconfigured("permission_denied".into())),
        (404, "NOT_FOUND", Verdict::Misconfigured("not_found".into())),
        (502, "SOMETHING_NEW", later("something_new", None)),
    ];
    for code in ErrorCode::ALL {
        assert!(table.iter().any(|(_, name, _)| *name == code.name()), "{} is in no row", code.name());
    }
    for (status, reason, wanted) in table {
        world.standin.inject(Rule::once(Fault::Answer {
            status,
            reason: reason.into(),
            retry_after_s: None,
            timestamp_ms: None,
        }));
        let answer = world.send(&push(1, Gateway::Fcm)).await.unwrap();
        assert_eq!((answer.status.as_u16(), judge(&answer, NOW_MS - 7, NOW_MS)), (status, wanted), "{reason}");
    }
    // What Google asks for counts, for seconds as for dates.
    world.standin.set_quota(Some(Quota { per_minute: 0, retry_after_s: Some(42) }));
    let answer = world.send(&push(1, Gateway::Fcm)).await.unwrap();
    assert_eq!(judge(&answer, NOW_MS, NOW_MS), later("quota_exceeded", Some(42_000)));
}

const RATES: Rates = Rates { per_minute: 600_000, ramp_s: 60 };

/// Takes as much as there is, ten times a second, for so long; how much that was in each second.
fn drained(quota: &fcm::Quota, seconds: i64) -> Vec<usize> {
    let take = |now_ms: i64| std::iter::repeat_with(|| quota.take((500, true), now_ms)).take_while(|n| *n > 0).sum::<usize>();
    (0..seconds).map(|s| (0..10).map(|tenth| take(NOW_MS + s * 1_000 + tenth * 100)).sum()).collect()
}

#[test]
fn a_large_campaign_begins_slowly_and_never_exceeds_the_quota_in_any_minute() {
    let quota = fcm::Quota::new(RATES, NOW_MS);
    let by_second = drained(&quota, 240);
    assert!(by_second[0] <= 1_200 && by_second[5] < 1_500, "{:?}", &by_second[..6]);
    assert!(by_second[10] < by_second[30] && by_second[30] < by_second[55], "it grows");
    let minute: usize = by_second[120..180].iter().sum();
    assert!(minute > 580_000, "and gets there: {minute}");
    for minute in by_second.windows(60) {
        assert!(minute.iter().sum::<usize>() <= 600_000);
    }
    let whole = fcm::Quota::new(Rates { ramp_s: 0, ..RATES }, NOW_MS);
    let at_once = drained(&whole, 61);
    assert!(at_once[0] > 10_000, "without the slow start: {}", at_once[0]);
    assert!(at_once.windows(60).all(|minute| minute.iter().sum::<usize>() <= 600_000));
    // What is small goes at once, however slow the start is, and what was not used comes back.
    let small = fcm::Quota::new(RATES, NOW_MS);
    assert_eq!(small.take((500, true), NOW_MS), 500);
    small.give_back(500);
    assert_eq!(small.take((500, true), NOW_MS), 500);
    // Who stops wanting more begins slowly again, a minute later.
    let again = fcm::Quota::new(RATES, NOW_MS);
    drained(&again, 70);
    assert!(again.take((500, true), NOW_MS + 140_000) > 0);
    let rested: usize = (0..10).map(|tenth| again.take((5_000, true), NOW_MS + 140_000 + tenth * 100)).sum();
    assert!(rested < 2_000, "{rested}");
    let none = fcm::Quota::new(Rates { per_minute: 0, ramp_s: 60 }, NOW_MS);
    assert_eq!((none.take((1_000_000, true), NOW_MS), none.empty_until_ms(NOW_MS)), (1_000_000, None));
}

#[test]
fn a_campaign_leaves_something_for_a_moment_and_waits_until_there_is_more() {
    let quota = fcm::Quota::new(RATES, NOW_MS);
    while quota.take((500, true), NOW_MS) > 0 {}
    assert_eq!(quota.take((1, false), NOW_MS), 1, "a single push finds what was kept for it");
    let until_ms = quota.empty_until_ms(NOW_MS).unwrap();
    assert!((NOW_MS + 1..NOW_MS + 1_000).contains(&until_ms), "{}", until_ms - NOW_MS);
    assert!(quota.take((500, true), until_ms) > 0);
    // Single refusals are of a device; many in a row are the project's, and all wait as long as Google says.
    for _ in 0..9 {
        quota.exceeded(Some(30_000), until_ms);
    }
    quota.accepted();
    quota.exceeded(Some(30_000), until_ms);
    assert!(quota.take((1, false), until_ms + 500) > 0);
    for _ in 0..10 {
        quota.exceeded(Some(30_000), until_ms);
    }
    assert_eq!((quota.take((1, false), until_ms + 29_999), quota.empty_until_ms(until_ms)), (0, Some(until_ms + 30_000)));
    assert_eq!(quota.take((1, false), until_ms + 30_001), 1);
}

#[test]
fn a_project_has_one_bucket_and_nobody_draws_from_anothers() {
    let quotas = fcm::Quotas::new(RATES);
    let of = |project: &str, email: &str| quotas.of(project, email, NOW_MS);
    let own = of("shop", "one@shop.iam.gserviceaccount.com");
    assert!(Arc::ptr_eq(&own, &of("shop", "two@shop.iam.gserviceaccount.com")));
    // A key file of another project that merely says this one's name.
    assert!(!Arc::ptr_eq(&own, &of("shop", "one@evil.iam.gserviceaccount.com")));
    assert!(!Arc::ptr_eq(&own, &of("other", "one@other.iam.gserviceaccount.com")));
}

#[test]
fn each_error_code_has_one_verdict() {
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::parse(code.name()), Some(*code));
    }
    let later = |reason: &'static str, after_ms| Verdict::Later { reason: reason.into(), after_ms };
    for (status, code, canonical, wanted) in [
        (404, Some("UNREGISTERED"), "NOT_FOUND", Verdict::Unregistered { at_ms: None }),
        (400, Some("UNREGISTERED"), "NOT_FOUND", Verdict::Rejected("unregistered".into())),
        (404, None, "NOT_FOUND", Verdict::Misconfigured("not_found".into())),
        (400, Some("INVALID_ARGUMENT"), "INVALID_ARGUMENT", Verdict::Rejected("invalid_argument".into())),
        (403, Some("SENDER_ID_MISMATCH"), "PERMISSION_DENIED", Verdict::Rejected("sender_id_mismatch".into())),
        (401, Some("THIRD_PARTY_AUTH_ERROR"), "UNAUTHENTICATED", Verdict::Rejected("third_party_auth_error".into())),
        (401, None, "UNAUTHENTICATED", Verdict::Renew("unauthenticated".into())),
        (429, Some("QUOTA_EXCEEDED"), "RESOURCE_EXHAUSTED", later("quota_exceeded", Some(60_000))),
        (503, Some("UNAVAILABLE"), "UNAVAILABLE", later("unavailable", None)),
        (500, None, "INTERNAL", later("internal", None)),
    ] {
        assert_eq!(verdict(status, code, canonical), wanted, "{status} {code:?}");
    }
}

#[tokio::test]
async fn an_unregistered_token_is_dead_since_the_hand_over_and_not_since_the_answer() {
    let world = google().await;
    let fault = Fault::Answer { status: 404, reason: "UNREGISTERED".into(), retry_after_s: None, timestamp_ms: None };
    world.standin.inject(Rule::once(fault));
    let answer = world.send(&push(1, Gateway::Fcm)).await.unwrap();
    assert_eq!(judge(&answer, NOW_MS - 7, NOW_MS), Verdict::Unregistered { at_ms: Some(NOW_MS - 7) });
}

const PAUSES: Pauses = Pauses { base_ms: 10_000, limit_ms: 900_000, floor_ms: 0 };

fn tried(mode: Mode) -> Tried {
    Tried { attempt: 1, deadline_ms: NOW_MS + HOUR_MS, mode, now_ms: NOW_MS }
}

#[test]
fn what_nobody_knows_is_sent_again_only_where_that_is_wanted() {
    let lost = End::Lost(Loss::Unknown("timeout"));
    assert_eq!(next(tried(Mode::AtMostOnce), &lost, PAUSES, 0.5).state, State::Unknown);
    assert_eq!(next(tried(Mode::AtLeastOnce), &lost, PAUSES, 0.5).state, State::RetryAt);
    let safe = End::Lost(Loss::Unsent("goaway"));
    let again =
        Next { state: State::RetryAt, reason: Some("goaway".into()), due_ms: Some(NOW_MS), dead_ms: None, perhaps: false };
    assert_eq!(next(tried(Mode::AtMostOnce), &safe, PAUSES, 0.5), again);
}

#[test]
fn what_was_let_go_before_it_left_keeps_its_life() {
    for (held, state) in [
        (Held::Expired, State::Expired),
        (Held::Fenced, State::Queued),
        (Held::Slotless, State::Queued),
        (Held::Impossible("no_credential"), State::Rejected),
    ] {
        assert_eq!(next(tried(Mode::AtMostOnce), &End::Held(held), PAUSES, 0.5).state, state);
    }
}

proptest! {
    #[test]
    fn a_pause_never_undercuts_what_was_asked_and_never_exceeds_its_end(
        attempt in 1_i64..60,
        asked in proptest::option::of(prop_oneof![0_i64..20_000, 0_i64..10_000_000]),
        whim in 0.0_f64..1.0,
        floor_ms in prop_oneof![Just(0_i64), Just(10_000_i64)],
    ) {
        let pause = Pauses { floor_ms, ..PAUSES }.after(attempt, asked, whim);
        match asked {
            Some(asked) => prop_assert_eq!(pause, asked.max(LEAST_ASKED_MS).max(floor_ms)),
            None => prop_assert!((floor_ms..=PAUSES.limit_ms).contains(&pause)),
        }
    }

    #[test]
    fn no_retry_is_due_after_the_deadline(attempt in 1_i64..60, after in proptest::option::of(0_i64..100_000_000), whim in 0.0_f64..1.0) {
        let tried = Tried { attempt, ..tried(Mode::AtLeastOnce) };
        for end in [
            End::Said { status: 503, verdict: Verdict::Later { reason: "x".into(), after_ms: after } },
            End::Lost(Loss::Unsent("x")),
            End::Lost(Loss::Unknown("x")),
        ] {
            let next = next(tried, &end, PAUSES, whim);
            prop_assert_eq!(next.state, State::RetryAt);
            prop_assert!(next.due_ms.is_some_and(|due| due <= tried.deadline_ms));
        }
    }
}
