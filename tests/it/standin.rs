//! The stand-in is strict: what the real gateways refuse, it refuses in their words.

use crate::gateway::{NOW_MS, PATIENCE, TOPIC, google, open_standin, push, send, wired, wired_with};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Version};
use kairos::clock::{Clock, MINUTE_MS};
use kairos::outbound::{Answer, Limits, Loss, Outgoing, Pool};
use kairos::push::apns::{ProviderKey, ProviderToken};
use kairos::push::standin::{Door, Fault, GoneTo, Options, Phone, Rule, StandIn};
use kairos::push::{Environment, Gateway};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

fn reason(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let word = body["reason"].as_str().or(body["error"]["status"].as_str()).or(body["error"].as_str()).unwrap_or("");
    format!("{} {word}", answer.status.as_u16())
}

#[tokio::test]
async fn every_wrong_header_is_refused_in_apples_words() {
    let world = wired().await;
    world.warm().await;
    let cases: [(&str, Option<&str>, &str); 14] = [
        ("authorization", None, "403 MissingProviderToken"),
        ("authorization", Some("bearer a.b.c"), "403 InvalidProviderToken"),
        ("apns-topic", None, "400 MissingTopic"),
        ("apns-topic", Some("app.kairos.other"), "400 TopicDisallowed"),
        ("apns-id", Some("NOT-A-UUID"), "400 BadMessageId"),
        ("apns-id", Some("00000000-0000-0000-0000-00000000000A"), "400 BadMessageId"),
        ("apns-push-type", None, "400 InvalidPushType"),
        ("apns-push-type", Some("shout"), "400 InvalidPushType"),
        ("apns-push-type", Some("background"), "400 BadPriority"),
        ("apns-priority", Some("7"), "400 BadPriority"),
        ("apns-expiration", Some("soon"), "400 BadExpirationDate"),
        ("apns-expiration", Some("-1"), "400 BadExpirationDate"),
        ("apns-collapse-id", Some("00000000001111111111222222222233333333334444444444555555555566666"), "400 BadCollapseId"),
        ("apns-priority", Some("5"), "200 "),
    ];
    for (name, value, wanted) in cases {
        let outgoing = || {
            let (mut outgoing, _) = world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap();
            let name = http::HeaderName::from_static(name);
            match value {
                Some(value) => outgoing.head.headers_mut().insert(name, HeaderValue::from_static(value)),
                None => outgoing.head.headers_mut().remove(name),
            };
            outgoing
        };
        assert_eq!(reason(&send(&world.pool, PATIENCE, outgoing).await.unwrap()), wanted, "{name} {value:?}");
    }
}

#[tokio::test]
async fn bodies_tokens_paths_and_repeated_headers_are_checked() {
    let world = wired().await;
    world.warm().await;
    let request = |change: &dyn Fn(&mut Outgoing)| {
        let (mut outgoing, _) = world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap();
        change(&mut outgoing);
        outgoing
    };
    let big = format!(r#"{{"aps":{{"alert":"{}"}}}}"#, "x".repeat(4_100));
    let cases: [(&dyn Fn(&mut Outgoing), &str); 7] = [
        (&|o| o.body = Bytes::from_static(b"{}"), "400 PayloadEmpty"),
        (&|o| o.body = Bytes::from_static(br#"{"aps":{}}"#), "400 InvalidPushType"),
        (&|o| o.body = Bytes::from(big.clone()), "413 PayloadTooLarge"),
        (&|o| *o.head.uri_mut() = "https://api.push.apple.com/3/device/xyz".parse().unwrap(), "400 BadDeviceToken"),
        (&|o| *o.head.uri_mut() = "https://api.push.apple.com/2/device/00".parse().unwrap(), "404 BadPath"),
        (
            &|o| *o.head.uri_mut() = "https://api.sandbox.push.apple.com/3/device/00".parse().unwrap(),
            "403 BadEnvironmentKeyIdInToken",
        ),
        (
            &|o| {
                o.head.headers_mut().append("apns-topic", HeaderValue::from_static(TOPIC));
            },
            "400 DuplicateHeaders",
        ),
    ];
    for (change, wanted) in cases {
        assert_eq!(reason(&send(&world.pool, PATIENCE, || request(change)).await.unwrap()), wanted);
    }
}

fn bearing(world: &crate::gateway::Wired, token: &str) -> Outgoing {
    let (mut outgoing, _) = world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap();
    outgoing.head.headers_mut().insert("authorization", format!("bearer {token}").parse().unwrap());
    outgoing
}

#[tokio::test]
async fn provider_tokens_age_and_may_not_be_renewed_too_often() {
    let world = wired().await;
    world.warm().await;
    let issued = world.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let text = |key: &str| issued[key].as_str().unwrap().to_owned();
    let key = || ProviderKey::parse(&text("team_id"), &text("key_id"), &text("key_p8")).unwrap();
    // A connection is bound to the key of its first push.
    let strange = key().sign(NOW_MS / 1_000).unwrap();
    let outgoing = || bearing(&world, &strange);
    assert_eq!(reason(&send(&world.pool, PATIENCE, outgoing).await.unwrap()), "403 InvalidProviderToken");
    world.pool.reconnect();
    let first = key().sign(NOW_MS / 1_000).unwrap();
    assert_eq!(reason(&send(&world.pool, PATIENCE, || bearing(&world, &first)).await.unwrap()), "200 ");
    let shown = |iat_ms: i64| {
        let token = key().sign(iat_ms / 1_000).unwrap();
        let world = &world;
        async move { reason(&send(&world.pool, PATIENCE, || bearing(world, &token)).await.unwrap()) }
    };
    assert_eq!(shown(NOW_MS - 61 * MINUTE_MS).await, "403 ExpiredProviderToken");
    assert_eq!(shown(NOW_MS + 10 * MINUTE_MS).await, "403 InvalidProviderToken");
    assert_eq!(shown(NOW_MS + 4 * MINUTE_MS).await, "429 TooManyProviderTokenUpdates");
    let stranger = ProviderToken::new(key()).bearer(NOW_MS).unwrap();
    assert!(stranger.is_sensitive());
}

#[tokio::test]
async fn phones_it_knows_are_judged_by_what_it_knows() {
    let clock = Clock::at(NOW_MS);
    let options = Options { listen: "127.0.0.1:0".parse().unwrap(), clock, ledger_file: None, any_token: false, streams: 100 };
    let standin = StandIn::open(options).await.unwrap();
    let mut world = wired().await;
    let issued = standin.issue_apns(Environment::Production, &[TOPIC, "app.kairos.two"]).unwrap();
    let text = |key: &str| issued[key].as_str().unwrap().to_owned();
    world.apns.token = ProviderToken::new(ProviderKey::parse(&text("team_id"), &text("key_id"), &text("key_p8")).unwrap()).into();
    let limits = kairos::outbound::Limits { streams: 10, connections: 1 };
    world.pool = crate::gateway::pool(&standin, kairos::push::apns::PRODUCTION, limits);
    let phone = |environment, topic: Option<&str>, dead_ms| Phone {
        gateway: Gateway::Apns,
        environment,
        topic: topic.map(str::to_owned),
        dead_ms,
    };
    let token = |n| push(n, Gateway::Apns).token;
    standin.register(token(1), phone(Environment::Production, Some(TOPIC), None));
    standin.register(token(2), phone(Environment::Sandbox, Some(TOPIC), None));
    standin.register(token(3), phone(Environment::Production, Some("app.kairos.two"), None));
    standin.register(token(4), phone(Environment::Production, None, Some(NOW_MS - 9)));
    for (n, wanted) in [
        (1, "200 "),
        (2, "400 BadDeviceToken"),
        (3, "400 DeviceTokenNotForTopic"),
        (4, "410 Unregistered"),
        (5, "400 BadDeviceToken"),
    ] {
        assert_eq!(reason(&world.send(&push(n, Gateway::Apns)).await.unwrap()), wanted, "{n}");
    }
    let delivered = standin.ledger().iter().filter(|row| row.delivered).count();
    assert_eq!((standin.arrivals(), delivered), (5, 1));
}

#[tokio::test]
async fn googles_side_checks_tokens_projects_and_shapes() {
    let world = google().await;
    let bearer = world.bearer().await;
    let cases: [(&dyn Fn(&mut Outgoing), &str); 5] = [
        (&|o| drop(o.head.headers_mut().insert("authorization", HeaderValue::from_static("Bearer x"))), "401 UNAUTHENTICATED"),
        (
            &|o| *o.head.uri_mut() = "https://fcm.googleapis.com/v1/projects/other/messages:send".parse().unwrap(),
            "403 PERMISSION_DENIED",
        ),
        (&|o| o.body = Bytes::from_static(br#"{"message":{"token":"t","data":{"n":1}}}"#), "400 INVALID_ARGUMENT"),
        (&|o| o.body = Bytes::from_static(br#"{"message":{"token":"t","topic":"u"}}"#), "400 INVALID_ARGUMENT"),
        (&|o| o.body = Bytes::from_static(br#"{"message":{"token":"t","android":{"ttl":"9999999s"}}}"#), "400 INVALID_ARGUMENT"),
    ];
    for (change, wanted) in cases {
        let outgoing = || {
            let mut outgoing = world.client.request(&push(2, Gateway::Fcm), &bearer, NOW_MS).unwrap();
            change(&mut outgoing);
            outgoing
        };
        assert_eq!(reason(&send(&world.pool, PATIENCE, outgoing).await.unwrap()), wanted);
    }
}

#[tokio::test]
async fn faults_and_ledger_are_within_reach_over_its_own_urls() {
    let world = wired().await;
    let call = |method: &'static str, path: &'static str, body: &'static str| {
        let outgoing = move || {
            let head =
                Request::builder().method(method).uri(format!("https://localhost/standin/{path}")).version(Version::HTTP_2);
            Outgoing { head: head.body(()).unwrap(), body: Bytes::from_static(body.as_bytes()) }
        };
        let pool = world.pool.clone();
        async move { pool.request(outgoing, PATIENCE).await.unwrap() }
    };
    let fault = r#"[{"times":1,"fault":{"kind":"answer","status":503,"reason":"ServiceUnavailable","retry_after_s":9}}]"#;
    assert_eq!(call("PUT", "faults", fault).await.status, 204);
    assert_eq!(reason(&world.send(&push(2, Gateway::Apns)).await.unwrap()), "503 ServiceUnavailable");
    assert_eq!(call("PUT", "faults", r#"[{"fault":{"kind":"flood"}}]"#).await.status, 400);
    let rows: Value = serde_json::from_slice(&call("GET", "ledger", " ").await.body).unwrap();
    assert_eq!((rows[0]["n"].as_u64(), rows[0]["answer"].as_str()), (Some(1), Some("503 ServiceUnavailable")));
}

/// A call of the stand-in's own URLs.
async fn call(pool: &Pool, (method, path): (&str, &str), body: &str) -> Answer {
    let outgoing = || {
        let head = Request::builder().method(method).uri(format!("https://localhost/standin/{path}")).version(Version::HTTP_2);
        Outgoing { head: head.body(()).unwrap(), body: Bytes::from(body.to_owned()) }
    };
    pool.request(outgoing, PATIENCE).await.unwrap()
}

#[tokio::test]
async fn credentials_and_phones_are_had_by_api_and_the_ledger_is_asked_in_parts() {
    let world = wired().await;
    world.warm().await;
    let made = |answer: &Answer| serde_json::from_slice::<Value>(&answer.body).unwrap();
    let issued = call(&world.pool, ("POST", "apns-keys"), &format!(r#"{{"topics":["{TOPIC}"]}}"#)).await;
    assert_eq!(issued.status, 201);
    let issued = made(&issued);
    let text = |key: &str| issued[key].as_str().unwrap().to_owned();
    let key = ProviderKey::parse(&text("team_id"), &text("key_id"), &text("key_p8")).unwrap();
    let phones = call(&world.pool, ("POST", "phones"), r#"{"gateway":"apns","count":3}"#).await;
    let token = made(&phones)["tokens"][2].as_str().unwrap().to_owned();
    world.pool.reconnect();
    let mine = key.sign(NOW_MS / 1_000).unwrap();
    let to_phone = || {
        let mut outgoing = bearing(&world, &mine);
        *outgoing.head.uri_mut() = format!("https://api.push.apple.com/3/device/{token}").parse().unwrap();
        outgoing
    };
    assert_eq!(reason(&send(&world.pool, PATIENCE, to_phone).await.unwrap()), "200 ");
    let account = call(&world.pool, ("POST", "service-accounts"), r#"{"project_id":"shop"}"#).await;
    assert!(kairos::push::fcm::ServiceAccount::parse(&made(&account)).is_ok());
    assert_eq!(call(&world.pool, ("POST", "service-accounts"), r#"{"project_id":"../shop"}"#).await.status, 400);
    assert_eq!(call(&world.pool, ("DELETE", &format!("apns-keys/{}", text("key_id"))), "{}").await.status, 204);
    assert_eq!(reason(&send(&world.pool, PATIENCE, to_phone).await.unwrap()), "403 InvalidProviderToken");
    for (query, wanted) in [
        ("", 3),
        ("?answer=200", 2),
        ("?answer=403+Invalid", 1),
        (&format!("?token={token}&delivered=true"), 1),
        ("?gateway=fcm", 0),
        ("?after=1&limit=1", 1),
    ] {
        let rows = call(&world.pool, ("GET", &format!("ledger{query}")), " ").await;
        assert_eq!(made(&rows).as_array().unwrap().len(), wanted, "{query}");
    }
    assert_eq!(call(&world.pool, ("GET", "ledger?tokens=x"), " ").await.status, 400);
    let summary = made(&call(&world.pool, ("GET", "summary"), " ").await);
    assert_eq!((&summary["arrived"], &summary["answers"]["apns 200"]), (&3.into(), &2.into()), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_streams_that_changes_is_told_to_open_connections_and_kept_to() {
    let world = wired_with(Limits { streams: 100, connections: 1 }).await;
    world.warm().await;
    assert_eq!(world.pool.free(), 100);
    for (streams, free) in [(1, 1), (40, 40), (7, 7), (1_000, 100)] {
        let told = call(&world.pool, ("PUT", "streams"), &format!(r#"{{"streams":{streams}}}"#)).await;
        assert_eq!(told.status, 204);
        let until = Instant::now() + PATIENCE;
        while world.pool.free() != free {
            assert!(Instant::now() < until, "{streams} streams are allowed, and {} are free", world.pool.free());
            tokio::task::yield_now().await;
        }
        let pushes: Vec<_> = (1..=60).map(|n| push(n, Gateway::Apns)).collect();
        let answers = join_all(pushes.iter().map(|p| world.send(p))).await;
        assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200)), "{answers:?}");
    }
    assert!(world.standin.ledger().iter().all(|row| row.answer == "200"), "nothing was refused");
}

#[tokio::test]
async fn bad_days_of_a_connection_end_as_what_can_be_known_of_them() {
    let world = wired().await;
    world.warm().await;
    let farewell = |last| Fault::Farewell { last, close: false, reason: "Shutdown".into() };
    let cases: [(Fault, Result<u16, Loss>); 8] = [
        (farewell(GoneTo::Before), Err(Loss::Unsent("goaway"))),
        (farewell(GoneTo::All), Ok(200)),
        (Fault::Reset { code: 7 }, Err(Loss::Unsent("refused_stream"))),
        (Fault::Reset { code: 8 }, Err(Loss::Unknown("stream_reset"))),
        (Fault::Reset { code: 11 }, Err(Loss::Unknown("stream_reset"))),
        (Fault::CutInAnswer, Ok(200)),
        (Fault::Stall { wait_ms: 150 }, Ok(200)),
        (Fault::Drip { every_ms: 5 }, Ok(200)),
    ];
    for (n, (fault, wanted)) in cases.into_iter().enumerate() {
        world.standin.inject(Rule::once(fault.clone()));
        let answer = world.send(&push(10 + n as u128, Gateway::Apns)).await.map(|answer| answer.status.as_u16());
        assert_eq!(answer, wanted, "{fault:?}");
        // The next one may still meet the connection that is just ending; after that all is well.
        let next = world.send(&push(50 + n as u128, Gateway::Apns)).await;
        assert!(next.is_ok() || matches!(fault, Fault::CutInAnswer), "{fault:?}: {next:?}");
        assert_eq!(world.send(&push(70 + n as u128, Gateway::Apns)).await.unwrap().status, 200, "{fault:?}");
    }
}

#[tokio::test]
async fn doors_that_are_shut_are_tried_again() {
    let world = wired().await;
    for door in [Door::Closed, Door::CutAfterTls] {
        world.standin.set_door(door, Some(2));
        world.pool.reconnect();
        assert_eq!(world.send(&push(1, Gateway::Apns)).await.unwrap().status, 200, "{door:?}");
    }
    for door in [Door::Mute, Door::NoSettings] {
        let world = wired().await;
        world.standin.set_door(door, None);
        let slot = world.pool.slot(Instant::now() + Duration::from_millis(300)).await;
        assert_eq!(slot.err(), Some(Loss::Unsent("no_connection")), "{door:?}");
    }
}

#[tokio::test]
async fn the_ledger_file_has_a_line_for_each_arrival() {
    let world = wired().await;
    let clock = Clock::at(NOW_MS);
    let folder = std::env::temp_dir().join(format!("kairos-ledger-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ledger.ndjson");
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: clock.clone(),
        ledger_file: Some(file.clone()),
        any_token: true,
        streams: 100,
    };
    let standin = StandIn::open(options).await.unwrap();
    let pool = crate::gateway::pool(&standin, "api.push.apple.com", kairos::outbound::Limits { streams: 10, connections: 1 });
    // The key is not known here: refused, and still in the ledger.
    let outgoing = || world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap().0;
    assert_eq!(reason(&send(&pool, PATIENCE, outgoing).await.unwrap()), "403 InvalidProviderToken");
    let text = std::fs::read_to_string(&file).unwrap();
    let row: kairos::push::standin::Row = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((text.lines().count(), row.delivered, row.at_ms), (1, false, NOW_MS));
    std::fs::remove_dir_all(&folder).unwrap();
    drop(open_standin(&clock).await);
}
