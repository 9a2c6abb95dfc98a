//! Google: access tokens, the message's envelope, and the table of verdicts; pauses and endings of attempts.

use crate::gateway::{NOW_MS, google, push};
use kairos::clock::{HOUR_MS, MINUTE_MS};
use kairos::outbound::Loss;
use kairos::push::ending::{End, Held, Next, Tried, next};
use kairos::push::fcm::{ErrorCode, ServiceAccount, judge, verdict};
use kairos::push::retry::Pauses;
use kairos::push::standin::{Fault, Rule};
use kairos::push::{Gateway, Mode, State, Verdict};
use proptest::prelude::*;
use serde_json::Value;

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
        ("project_id", "../other"),
        ("client_email", ""),
        ("private_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
    ] {
        let mut bad = good.clone();
        bad[field] = value.into();
        assert!(ServiceAccount::parse(&bad).is_err_and(|(at, _)| at.ends_with(field)), "{field} {value}");
    }
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
        (401, Some("THIRD_PARTY_AUTH_ERROR"), "UNAUTHENTICATED", Verdict::Misconfigured("third_party_auth_error".into())),
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
    let again = Next { state: State::RetryAt, reason: Some("goaway".into()), due_ms: Some(NOW_MS), dead_ms: None };
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
        attempt in 1_i64..60, asked in proptest::option::of(0_i64..10_000_000), whim in 0.0_f64..1.0,
    ) {
        let pause = PAUSES.after(attempt, asked, whim);
        match asked {
            Some(asked) => prop_assert_eq!(pause, asked),
            None => prop_assert!((0..=PAUSES.limit_ms).contains(&pause)),
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
