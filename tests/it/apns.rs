//! Apple: payload, request, provider token, and the table of verdicts.

use crate::gateway::{NOW_MS, TOPIC, push, wired};
use kairos::clock::MINUTE_MS;
use kairos::push::apns::{Reason, render, verdict};
use kairos::push::standin::{Fault, Rule};
use kairos::push::verdict::word;
use kairos::push::{Content, Gateway, Stamp, Verdict, fits};
use serde_json::{Value, json};

fn header(request: &http::Request<()>, name: &str) -> String {
    request.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_carries_everything_that_apple_asks_for() {
    let world = wired().await;
    let push = push(7, Gateway::Apns);
    let (outgoing, _) = world.apns.request(&push, NOW_MS).unwrap();
    let head = &outgoing.head;
    assert_eq!(head.uri().to_string(), format!("https://api.push.apple.com/3/device/{}", push.token));
    assert_eq!(header(head, "apns-id"), "00000000-0000-0000-0000-000000000007");
    assert_eq!((header(head, "apns-topic").as_str(), header(head, "apns-push-type").as_str()), (TOPIC, "alert"));
    assert_eq!((header(head, "apns-priority").as_str(), header(head, "apns-collapse-id").as_str()), ("10", "c7"));
    assert!(header(head, "authorization").starts_with("bearer "));
    assert!(head.headers()["authorization"].is_sensitive());
}

#[tokio::test]
async fn the_expiration_is_the_deadline_rounded_down_and_never_later() {
    let world = wired().await;
    for (left_ms, wanted) in [(10_999, NOW_MS / 1_000 + 10), (1_000, NOW_MS / 1_000 + 1), (999, 0), (1, 0)] {
        let mut push = push(7, Gateway::Apns);
        push.deadline_ms = NOW_MS + left_ms;
        let (outgoing, _) = world.apns.request(&push, NOW_MS).unwrap();
        assert_eq!(header(&outgoing.head, "apns-expiration"), wanted.to_string(), "{left_ms}");
    }
}

#[tokio::test]
async fn what_can_never_be_sent_is_known_before() {
    let world = wired().await;
    for (token, topic, wanted) in [
        ("../4/broadcasts", None, "malformed_token"),
        ("", None, "malformed_token"),
        ("00ff", Some("app.kairos.other"), "topic_not_configured"),
    ] {
        let mut push = push(7, Gateway::Apns);
        (push.token, push.topic) = (token.into(), topic.map(str::to_owned));
        assert_eq!(world.apns.request(&push, NOW_MS).err(), Some(wanted));
    }
}

#[tokio::test]
async fn a_provider_token_is_kept_for_40_minutes_and_never_shown_older_than_an_hour() {
    let world = wired().await;
    let first = world.apns.token.bearer(NOW_MS).unwrap();
    assert_eq!(world.apns.token.bearer(NOW_MS + 34 * MINUTE_MS).unwrap(), first);
    assert_ne!(world.apns.token.bearer(NOW_MS + 51 * MINUTE_MS).unwrap(), first);
    for minutes in 0..300 {
        world.clock.set(NOW_MS + minutes * MINUTE_MS);
        if minutes % 10 == 0 {
            assert_eq!(world.send(&push(1, Gateway::Apns)).await.unwrap().status, 200, "{minutes}");
        }
    }
    let tokens: Vec<_> = (0..300).map(|m| world.apns.token.bearer(NOW_MS + m * MINUTE_MS).unwrap()).collect();
    assert!(!tokens.is_empty());
}

#[tokio::test]
async fn a_refused_token_is_made_anew_once_for_all_who_met_the_refusal() {
    let world = wired().await;
    let old = world.apns.token.bearer(NOW_MS).unwrap();
    let later_ms = NOW_MS + 25 * MINUTE_MS;
    assert!(world.apns.token.renew(&old, later_ms));
    let new = world.apns.token.bearer(later_ms).unwrap();
    assert_ne!(old, new);
    assert!(world.apns.token.renew(&old, later_ms), "whoever still had the old one only has to try again");
    assert_eq!(world.apns.token.bearer(later_ms).unwrap(), new);
    assert!(!world.apns.token.renew(&new, later_ms), "refused again, its age is not the fault");
}

#[tokio::test]
async fn when_apple_sees_too_many_tokens_the_one_in_hand_is_kept() {
    let world = wired().await;
    let held = world.apns.token.bearer(NOW_MS).unwrap();
    let late_ms = NOW_MS + 48 * MINUTE_MS;
    world.apns.token.hold(late_ms);
    assert_eq!(world.apns.token.bearer(late_ms + 5 * MINUTE_MS).unwrap(), held);
    assert!(!world.apns.token.renew(&held, late_ms + MINUTE_MS));
    assert_ne!(world.apns.token.bearer(late_ms + 21 * MINUTE_MS).unwrap(), held);
}

#[test]
fn the_payload_stamps_itself_and_the_apps_data_cannot_take_its_place() {
    let nil = uuid::Uuid::nil();
    let stamp = Stamp { message_id: nil.into(), decision_id: nil.into(), campaign_id: nil.into(), deadline_ms: 5 };
    let data = json!({"gate": "A7", "aps": {"alert": "forged"}, "kairos": "forged"});
    let content = Content {
        title: Some("Hello".into()),
        body: "World".into(),
        data: data.as_object().unwrap().clone(),
        ..Content::default()
    };
    let payload: Value = serde_json::from_str(&render(&content, &stamp)).unwrap();
    assert_eq!(payload["aps"]["alert"], json!({"title": "Hello", "body": "World"}));
    assert_eq!((&payload["gate"], &payload["kairos"]["deadline_ms"]), (&json!("A7"), &json!(5)));
}

#[test]
fn words_that_do_not_fit_are_refused_with_what_is_too_much() {
    let of = |n: usize| Content { body: "x".repeat(n), ..Content::default() };
    assert_eq!(fits(&of(3_000)), Ok(()));
    assert!(fits(&of(4_096)).is_err_and(|over| over > 0));
}

#[test]
fn each_reason_has_one_verdict() {
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.name()), Some(*reason));
        assert_ne!(verdict(400, reason.name()), Verdict::Accepted);
    }
    let said = |text: &str| word(text).into();
    for (status, text, wanted) in [
        (400, "BadDeviceToken", Verdict::Rejected(said("BadDeviceToken"))),
        (400, "DeviceTokenNotForTopic", Verdict::Rejected(said("DeviceTokenNotForTopic"))),
        (413, "PayloadTooLarge", Verdict::Rejected(said("PayloadTooLarge"))),
        (403, "ExpiredProviderToken", Verdict::Renew(said("ExpiredProviderToken"))),
        (403, "InvalidProviderToken", Verdict::Misconfigured(said("InvalidProviderToken"))),
        (403, "UnrelatedKeyIdInToken", Verdict::Reconnect(said("UnrelatedKeyIdInToken"))),
        (410, "Unregistered", Verdict::Unregistered { at_ms: None }),
        (410, "ExpiredToken", Verdict::Unregistered { at_ms: None }),
        (400, "Unregistered", Verdict::Rejected(said("Unregistered"))),
        (429, "TooManyProviderTokenUpdates", Verdict::Hold(said("TooManyProviderTokenUpdates"))),
        (429, "TooManyRequests", Verdict::Later { reason: said("TooManyRequests"), after_ms: None }),
        (503, "Shutdown", Verdict::Reconnect(said("Shutdown"))),
        (503, "NewReason", Verdict::Later { reason: said("NewReason"), after_ms: None }),
        (418, "", Verdict::Rejected("http_418".into())),
    ] {
        assert_eq!(verdict(status, text), wanted, "{status} {text}");
    }
    assert_eq!(verdict(200, "Unregistered"), Verdict::Accepted);
}

#[tokio::test]
async fn a_410_says_since_when_and_a_429_how_long() {
    let world = wired().await;
    let fault = |status, reason: &str, retry_after_s, timestamp_ms| {
        Rule::once(Fault::Answer { status, reason: reason.into(), retry_after_s, timestamp_ms })
    };
    world.standin.inject(fault(410, "Unregistered", None, Some(NOW_MS - 5)));
    let answer = world.send(&push(1, Gateway::Apns)).await.unwrap();
    assert_eq!(kairos::push::apns::judge(&answer, NOW_MS), Verdict::Unregistered { at_ms: Some(NOW_MS - 5) });
    world.standin.inject(fault(429, "TooManyRequests", Some(7), None));
    let answer = world.send(&push(1, Gateway::Apns)).await.unwrap();
    let wanted = Verdict::Later { reason: "too_many_requests".into(), after_ms: Some(7_000) };
    assert_eq!(kairos::push::apns::judge(&answer, NOW_MS), wanted);
}
