//! Apple: payload, request, provider token, and the table of verdicts.

use crate::gateway::{NOW_MS, TOPIC, push, wired};
use kairos::clock::{Clock, MINUTE_MS};
use kairos::push::apns::{ProviderKey, ProviderTokens, Reason, render, verdict};
use kairos::push::standin::{Fault, Rule};
use kairos::push::verdict::word;
use kairos::push::{Content, Environment, Gateway, Stamp, Verdict};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Barrier};

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
    let bearer = |minute: i64| world.apns.token.bearer(NOW_MS + minute * MINUTE_MS).unwrap();
    let first = bearer(1);
    assert_eq!(bearer(40), first);
    let second = bearer(41);
    assert_ne!(second, first);
    // A clock that is set back shows no token from the future.
    assert_eq!(bearer(20), first);
    for minute in 0..300 {
        world.clock.set(NOW_MS + minute * MINUTE_MS);
        if minute % 10 == 0 {
            assert_eq!(world.send(&push(1, Gateway::Apns)).await.unwrap().status, 200, "{minute}");
        }
    }
    let minted = world.apns.token.minted();
    assert!(minted <= 3 + 300 / 40 + 1, "{minted}");
}

#[tokio::test]
async fn all_nodes_show_the_same_token_without_asking_each_other() {
    let world = wired().await;
    let issued = world.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    // Two processes: nothing in common but the key.
    let nodes =
        [ProviderTokens::default(), ProviderTokens::default()].map(|tokens| tokens.of(key(&issued), Environment::Production));
    let mut shown = HashSet::new();
    for second in 0..(3 * 3_600) {
        let now_ms = NOW_MS + second * 1_000;
        let both = nodes.each_ref().map(|node| node.bearer(now_ms).unwrap());
        assert_eq!(both[0], both[1], "{second}");
        shown.insert(both[0].to_str().unwrap().to_owned());
    }
    // One from before the first minute of grace is over, and one for each 40 minutes.
    assert_eq!(shown.len(), 6);
    assert_eq!(nodes.map(|node| node.minted()), [shown.len(), shown.len()]);
    // One that starts later, too.
    let late = ProviderTokens::default().of(key(&issued), Environment::Production);
    assert!(shown.contains(late.bearer(NOW_MS + 50 * MINUTE_MS).unwrap().to_str().unwrap()));
}

#[test]
fn many_at_once_make_one_token_and_two_apps_with_one_key_share_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let standin = runtime.block_on(crate::gateway::open_standin(&Clock::at(NOW_MS)));
    let issued = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let tokens = ProviderTokens::default();
    let (one, other) = (tokens.of(key(&issued), Environment::Production), tokens.of(key(&issued), Environment::Production));
    assert!(Arc::ptr_eq(&one, &other));
    let barrier = Barrier::new(64);
    let shown: HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|n| {
                let (token, barrier) = (if n % 2 == 0 { &one } else { &other }, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    token.bearer(NOW_MS).unwrap().to_str().unwrap().to_owned()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((shown.len(), one.minted()), (1, 1));
    // Whoever stores another key under the same ids, or the same for the other world, has a token of their own.
    let mut forged = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    for id in ["team_id", "key_id"] {
        forged[id] = issued[id].clone();
    }
    assert!(!Arc::ptr_eq(&one, &tokens.of(key(&forged), Environment::Production)));
    assert!(!Arc::ptr_eq(&one, &tokens.of(key(&issued), Environment::Sandbox)));
}

#[tokio::test]
async fn a_refused_token_is_made_anew_once_for_all_who_met_the_refusal() {
    let world = wired().await;
    let old = world.apns.token.bearer(NOW_MS).unwrap();
    let later_ms = NOW_MS + 25 * MINUTE_MS;
    let old = if world.apns.token.bearer(later_ms).unwrap() == old { old } else { world.apns.token.bearer(later_ms).unwrap() };
    assert!(world.apns.token.renew(&old, later_ms));
    let new = world.apns.token.bearer(later_ms).unwrap();
    assert_ne!(old, new);
    assert!(world.apns.token.renew(&old, later_ms), "whoever still had the old one only has to try again");
    assert_eq!(world.apns.token.bearer(later_ms).unwrap(), new);
    assert!(!world.apns.token.renew(&new, later_ms), "refused again, its age is not the fault");
    // The next one comes when 20 minutes have passed at least, and before this one is an hour old.
    let mut minute = 25;
    while world.apns.token.bearer(NOW_MS + minute * MINUTE_MS).unwrap() == new {
        minute += 1;
    }
    assert!((45..=80).contains(&minute), "{minute}");
}

#[tokio::test]
async fn when_apple_sees_too_many_tokens_the_one_in_hand_is_kept() {
    let world = wired().await;
    let held = world.apns.token.bearer(NOW_MS + 5 * MINUTE_MS).unwrap();
    let late_ms = NOW_MS + 38 * MINUTE_MS;
    world.apns.token.hold(late_ms);
    assert_eq!(world.apns.token.bearer(late_ms + 5 * MINUTE_MS).unwrap(), held);
    assert!(!world.apns.token.renew(&held, late_ms + MINUTE_MS));
    assert_eq!(world.apns.token.minted(), 1);
    assert_ne!(world.apns.token.bearer(late_ms + 21 * MINUTE_MS).unwrap(), held);
}

fn key(issued: &Value) -> ProviderKey {
    let text = |key: &str| issued[key].as_str().unwrap();
    ProviderKey::parse(text("team_id"), text("key_id"), text("key_p8")).unwrap()
}

#[test]
fn a_key_file_is_checked_and_told_what_it_is_instead() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let standin = runtime.block_on(crate::gateway::open_standin(&Clock::at(NOW_MS)));
    let issued = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let pem = issued["key_p8"].as_str().unwrap();
    let account = standin.issue_fcm("demo-project").unwrap();
    let rsa = account["service_account"]["private_key"].as_str().unwrap();
    assert!(ProviderKey::parse("TEAM123456", "KEY1234567", &format!("\n{pem}\n")).is_ok());
    for (team, id, text, field, says) in [
        ("TEAM12345", "KEY1234567", pem, "team_id", "10 capital letters"),
        ("TEAM123456", "key1234567", pem, "key_id", "10 capital letters"),
        ("TEAM123456", "KEY-234567", pem, "key_id", "10 capital letters"),
        ("TEAM123456", "KEY1234567", "MIGTAgEAMBMG", "key_p8", "the whole text"),
        ("TEAM123456", "KEY1234567", "-----BEGIN CERTIFICATE-----", "key_p8", "not a .p8 file"),
        ("TEAM123456", "KEY1234567", rsa, "key_p8", "P-256"),
    ] {
        let (at, why) = ProviderKey::parse(team, id, text).err().unwrap();
        assert_eq!(at, field);
        assert!(why.contains(says), "{why}");
    }
}

/// Every status and reason that Apple documents, over the real wire, and what we make of it; the table is written from
/// Apple's, not from ours.
#[tokio::test]
async fn every_answer_of_apples_is_understood() {
    let world = wired().await;
    world.warm().await;
    let rejected = |word: &'static str| Verdict::Rejected(word.into());
    let wrong = |word: &'static str| Verdict::Misconfigured(word.into());
    let again = |word: &'static str| Verdict::Later { reason: word.into(), after_ms: None };
    let over = |word: &'static str| Verdict::Reconnect(word.into());
    let dead = Verdict::Unregistered { at_ms: Some(NOW_MS - 1) };
    let table = [
        (400, "BadCollapseId", rejected("bad_collapse_id")),
        (400, "BadDeviceToken", rejected("bad_device_token")),
        (400, "BadExpirationDate", rejected("bad_expiration_date")),
        (400, "BadMessageId", rejected("bad_message_id")),
        (400, "BadPriority", rejected("bad_priority")),
        (400, "BadTopic", rejected("bad_topic")),
        (400, "DeviceTokenNotForTopic", rejected("device_token_not_for_topic")),
        (400, "DuplicateHeaders", rejected("duplicate_headers")),
        (400, "IdleTimeout", over("idle_timeout")),
        (400, "InvalidPushType", rejected("invalid_push_type")),
        (400, "MissingDeviceToken", rejected("missing_device_token")),
        (400, "MissingTopic", rejected("missing_topic")),
        (400, "PayloadEmpty", rejected("payload_empty")),
        (400, "TopicDisallowed", wrong("topic_disallowed")),
        (403, "BadCertificate", wrong("bad_certificate")),
        (403, "BadCertificateEnvironment", wrong("bad_certificate_environment")),
        (403, "BadEnvironmentKeyIdInToken", wrong("bad_environment_key_id_in_token")),
        (403, "BadEnvironmentKeyInToken", wrong("bad_environment_key_in_token")),
        (403, "ExpiredProviderToken", Verdict::Renew("expired_provider_token".into())),
        (403, "Forbidden", wrong("forbidden")),
        (403, "InvalidProviderToken", wrong("invalid_provider_token")),
        (403, "MissingProviderToken", wrong("missing_provider_token")),
        (403, "UnrelatedKeyIdInToken", over("unrelated_key_id_in_token")),
        (404, "BadPath", rejected("bad_path")),
        (405, "MethodNotAllowed", rejected("method_not_allowed")),
        (410, "ExpiredToken", dead.clone()),
        (410, "Unregistered", dead),
        (413, "PayloadTooLarge", rejected("payload_too_large")),
        (429, "TooManyProviderTokenUpdates", Verdict::Hold("too_many_provider_token_updates".into())),
        (429, "TooManyRequests", again("too_many_requests")),
        (500, "InternalServerError", again("internal_server_error")),
        (503, "ServiceUnavailable", again("service_unavailable")),
        (503, "Shutdown", over("shutdown")),
        (503, "SomethingNew", again("something_new")),
    ];
    for reason in Reason::ALL {
        assert!(table.iter().any(|(_, name, _)| *name == reason.name()), "{} is in no row", reason.name());
    }
    for (status, reason, wanted) in table {
        let timestamp_ms = (status == 410).then_some(NOW_MS - 1);
        world.standin.inject(Rule::once(Fault::Answer { status, reason: reason.into(), retry_after_s: None, timestamp_ms }));
        let answer = world.send(&push(1, Gateway::Apns)).await.unwrap();
        assert_eq!((answer.status.as_u16(), kairos::push::apns::judge(&answer, NOW_MS)), (status, wanted), "{reason}");
    }
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
    for gateway in Gateway::ALL {
        assert_eq!(of(3_000).fits(*gateway), Ok(()));
        assert_eq!(of(4_096).fits(*gateway).unwrap_err().field, "body");
    }
    let large = of(4_096).fits(Gateway::Apns).unwrap_err();
    assert_eq!((large.field.as_str(), large.limit_bytes), ("body", 4_096));
    assert!(large.over_bytes() > 0 && large.field_bytes == 4_098);
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
