//! The stand-in is strict: what the real gateways refuse, it refuses in their words. What they take from others, it takes too.

use crate::gateway::{NOW_MS, PATIENCE, TOPIC, Wired, google, open_standin, pool, push, send, wired, wired_with};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Request, Version};
use kairos::clock::{Clock, MINUTE_MS};
use kairos::outbound::{Answer, Limits, Loss, Outgoing, Pool};
use kairos::push::apns::{ProviderKey, ProviderToken};
use kairos::push::standin::{Door, Fault, GoneTo, Options, Phone, Row, Rule, StandIn};
use kairos::push::webpush::vapid::{Keys, read};
use kairos::push::webpush::{Fresh, Recipient, encrypt};
use kairos::push::{Environment, Gateway};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
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

fn bearing(world: &Wired, token: &str) -> Outgoing {
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
    world.pool = pool(&standin, kairos::push::apns::PRODUCTION, limits);
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
    let pool = pool(&standin, "api.push.apple.com", kairos::outbound::Limits { streams: 10, connections: 1 });
    // The key is not known here: refused, and still in the ledger.
    let outgoing = || world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap().0;
    assert_eq!(reason(&send(&pool, PATIENCE, outgoing).await.unwrap()), "403 InvalidProviderToken");
    let text = std::fs::read_to_string(&file).unwrap();
    let row: kairos::push::standin::Row = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((text.lines().count(), row.delivered, row.at_ms), (1, false, NOW_MS));
    std::fs::remove_dir_all(&folder).unwrap();
    drop(open_standin(&clock).await);
}

/// What a header of an answer says.
fn header(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn is_random_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 4 && id.to_string() == text)
}

/// A push to Apple that was changed on its way.
async fn changed(world: &Wired, change: impl Fn(&mut Outgoing)) -> Answer {
    let outgoing = || {
        let (mut outgoing, _) = world.apns.request(&push(2, Gateway::Apns), NOW_MS).unwrap();
        change(&mut outgoing);
        outgoing
    };
    send(&world.pool, PATIENCE, outgoing).await.unwrap()
}

fn nameless(outgoing: &mut Outgoing) {
    outgoing.head.headers_mut().remove("apns-id");
}

fn of_bad_priority(outgoing: &mut Outgoing) {
    outgoing.head.headers_mut().insert("apns-priority", HeaderValue::from_static("7"));
}

#[tokio::test]
async fn a_push_without_an_id_is_given_one_and_the_sandbox_adds_another() {
    let world = wired().await;
    world.warm().await;
    let named = Some("00000000-0000-0000-0000-000000000002".to_owned());
    assert_eq!(header(&changed(&world, |_| {}).await, "apns-id"), named);
    let mut answers = vec![changed(&world, nameless).await, changed(&world, nameless).await];
    let refused = |outgoing: &mut Outgoing| {
        nameless(outgoing);
        of_bad_priority(outgoing);
    };
    answers.push(changed(&world, refused).await);
    let words: Vec<String> = answers.iter().map(reason).collect();
    assert_eq!(words, ["200 ", "200 ", "400 BadPriority"]);
    let ids: BTreeSet<String> = answers.iter().map(|answer| header(answer, "apns-id").unwrap()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| is_random_uuid(id)), "{ids:?}");
    assert!(answers.iter().all(|answer| header(answer, "apns-unique-id").is_none()), "only the sandbox has those");
    let unnamed = world.standin.ledger().iter().filter(|row| row.push_id.is_none()).count();
    assert_eq!(unnamed, 3, "the ledger says what the sender said");
    let issued = world.standin.issue_apns(Environment::Sandbox, &[TOPIC]).unwrap();
    let text = |key: &str| issued[key].as_str().unwrap().to_owned();
    let key = ProviderKey::parse(&text("team_id"), &text("key_id"), &text("key_p8")).unwrap();
    let bearer = format!("bearer {}", key.sign(NOW_MS / 1_000).unwrap());
    let uri = format!("https://api.sandbox.push.apple.com/3/device/{}", push(2, Gateway::Apns).token);
    let sandbox = |outgoing: &mut Outgoing| {
        *outgoing.head.uri_mut() = uri.parse().unwrap();
        outgoing.head.headers_mut().insert("authorization", bearer.parse().unwrap());
    };
    world.pool.reconnect();
    let first = changed(&world, sandbox).await;
    assert_eq!((reason(&first).as_str(), header(&first, "apns-id")), ("200 ", named));
    let unnamed = |outgoing: &mut Outgoing| {
        sandbox(outgoing);
        nameless(outgoing);
    };
    let second = changed(&world, unnamed).await;
    let ids = [header(&first, "apns-unique-id"), header(&second, "apns-unique-id"), header(&second, "apns-id")];
    let different: BTreeSet<&str> = ids.iter().flatten().map(String::as_str).collect();
    assert!(different.len() == 3 && different.iter().all(|id| is_random_uuid(id)), "{ids:?}");
    let refused = |outgoing: &mut Outgoing| {
        sandbox(outgoing);
        of_bad_priority(outgoing);
    };
    let refused = changed(&world, refused).await;
    assert_eq!((reason(&refused).as_str(), header(&refused, "apns-unique-id")), ("400 BadPriority", None));
}

/// A message with all that Google knows by two names, and with names of the sender's own that look like two of one.
const MESSAGE: &str = r#"{"validateOnly":false,"message":{"token":"t1",
    "data":{"kairos_message_id":"m1","a_b":"1","aB":"2"},"notification":{"title":"T","body":"B"},
    "fcmOptions":{"analyticsLabel":"x"},
    "android":{"collapseKey":"c1","ttl":"60s","restrictedPackageName":"app.kairos","directBootOk":true,
        "bandwidthConstrainedOk":true,"data":{"b_c":"1","bC":"2"},"fcmOptions":{"analyticsLabel":"x"},
        "notification":{"titleLocKey":"t","titleLocArgs":["a"],"bodyLocKey":"b","bodyLocArgs":["a_b"],"channelId":"c",
            "clickAction":"open","eventTime":"2026-11-22T00:00:00Z","localOnly":true,"notificationCount":3,
            "notificationPriority":"PRIORITY_MAX","defaultSound":true,"defaultVibrateTimings":false,"vibrateTimings":["1s"],
            "defaultLightSettings":false,"bypassProxyNotification":true,
            "lightSettings":{"color":{"red":1},"lightOnDuration":"1s","lightOffDuration":"1s"}}},
    "apns":{"headers":{"x_y":"1","xY":"2"},"payload":{"my_key":1,"myKey":2,"aps":{}},"fcmOptions":{"analyticsLabel":"x"},
        "liveActivityToken":"l"},
    "webpush":{"headers":{"x_y":"1","xY":"2"},"data":{"c_d":"1","cD":"2"},"notification":{"e_f":1,"eF":2},
        "fcmOptions":{"link":"https://example.com"}}}}"#;

const SPELLINGS: [(&str, &str); 26] = [
    ("validateOnly", "validate_only"),
    ("fcmOptions", "fcm_options"),
    ("analyticsLabel", "analytics_label"),
    ("collapseKey", "collapse_key"),
    ("restrictedPackageName", "restricted_package_name"),
    ("directBootOk", "direct_boot_ok"),
    ("bandwidthConstrainedOk", "bandwidth_constrained_ok"),
    ("titleLocKey", "title_loc_key"),
    ("titleLocArgs", "title_loc_args"),
    ("bodyLocKey", "body_loc_key"),
    ("bodyLocArgs", "body_loc_args"),
    ("channelId", "channel_id"),
    ("clickAction", "click_action"),
    ("eventTime", "event_time"),
    ("localOnly", "local_only"),
    ("notificationCount", "notification_count"),
    ("notificationPriority", "notification_priority"),
    ("defaultSound", "default_sound"),
    ("defaultVibrateTimings", "default_vibrate_timings"),
    ("vibrateTimings", "vibrate_timings"),
    ("defaultLightSettings", "default_light_settings"),
    ("bypassProxyNotification", "bypass_proxy_notification"),
    ("lightSettings", "light_settings"),
    ("lightOnDuration", "light_on_duration"),
    ("lightOffDuration", "light_off_duration"),
    ("liveActivityToken", "live_activity_token"),
];

#[tokio::test]
async fn googles_fields_have_two_spellings_and_senders_own_names_have_one() {
    let world = google().await;
    let bearer = world.bearer().await;
    let said = async |body: &str| {
        let outgoing = || {
            let mut outgoing = world.client.request(&push(2, Gateway::Fcm), &bearer, NOW_MS).unwrap();
            outgoing.body = Bytes::from(body.to_owned());
            outgoing
        };
        send(&world.pool, PATIENCE, outgoing).await.unwrap()
    };
    let key = |name: &str| format!("\"{name}\":");
    let snake = SPELLINGS.iter().fold(MESSAGE.to_owned(), |text, (camel, snake)| {
        assert!(text.contains(&key(camel)), "{camel}");
        text.replace(&key(camel), &key(snake))
    });
    for body in [MESSAGE, &snake] {
        assert_eq!(reason(&said(body).await), "200 ", "{body}");
    }
    let rows = world.standin.ledger();
    let same = |row: &Row| Row { n: 0, real_ms: 0, ..row.clone() };
    assert_eq!(same(&rows[0]), same(&rows[1]));
    let Row { push_id, collapse_id, keep_until_ms, text, .. } = &rows[1];
    assert_eq!((push_id.as_deref(), collapse_id.as_deref(), text.as_deref()), (Some("m1"), Some("c1"), Some("B")));
    assert_eq!(*keep_until_ms, Some(NOW_MS + 60_000));
    let checked = said(r#"{"validate_only":true,"message":{"topic":"news"}}"#).await;
    assert!(String::from_utf8_lossy(&checked.body).contains("fake_message_id"));
    for (wanted, body) in [
        // Null stands for what is not there.
        (
            "200 ",
            r#"{"validate_only":null,"message":{"token":"t","data":null,"android":{"notification":{"title_loc_args":null}}}}"#,
        ),
        ("400 INVALID_ARGUMENT", r#"{"validateOnly":false,"validate_only":false,"message":{"token":"t"}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","token":"t"}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","fcm_options":null,"fcmOptions":{}}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","android":{"collapseKey":"a","collapse_key":"a"}}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","android":{"notification":{"channelId":"a","channel_id":"a"}}}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","apns":{"fcm_options":{},"fcmOptions":{}}}}"#),
        // Neither of the two, and what is wrong in one is wrong in the other.
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","fcm_Options":{}}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"_token":"t"}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","android":{"collapse__key":"a"}}}"#),
        ("400 INVALID_ARGUMENT", r#"{"message":{"token":"t","android":{"notification":{"event_time":"soon"}}}}"#),
    ] {
        assert_eq!(reason(&said(body).await), wanted, "{body}");
    }
}

/// What a library signs with the key of an account that it was given with this `token_uri`.
fn assertion(account: &Value, token_uri: &str) -> String {
    let der = PrivatePkcs8KeyDer::from_pem_slice(account["private_key"].as_str().unwrap().as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let (iat_s, scope) = (NOW_MS / 1_000, "https://www.googleapis.com/auth/firebase.messaging");
    let claims =
        json!({"iss": account["client_email"], "scope": scope, "aud": token_uri, "iat": iat_s, "exp": iat_s + 3_600}).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn an_assertion_is_for_google_or_for_the_url_that_it_came_to() {
    let world = google().await;
    let account = world.standin.issue_fcm("demo-project").unwrap()["service_account"].clone();
    let own = format!("{}/token", world.standin.url());
    let (googles, named) = ("https://oauth2.googleapis.com/token", "https://localhost:9443/token");
    for (to, aud, wanted) in [
        (googles, googles, "200 "),
        (own.as_str(), googles, "200 "),
        (&own, &own, "200 "),
        (named, named, "200 "),
        (googles, "https://oauth2.googleapis.com/", "400 invalid_grant"),
        (&own, named, "400 invalid_grant"),
        (&own, &own.replace("https://", "http://"), "400 invalid_grant"),
        (&own, own.trim_end_matches("/token"), "400 invalid_grant"),
        (&own, &format!("{own}/"), "400 invalid_grant"),
        (&own, "https://evil.example/token", "400 invalid_grant"),
        (&own, "", "400 invalid_grant"),
    ] {
        // Some libraries write percent signs in small letters.
        let form =
            format!("grant_type=urn%3aietf%3aparams%3aoauth%3agrant-type%3ajwt-bearer&assertion={}", assertion(&account, aud));
        let outgoing = || {
            let head = Request::builder().method("POST").uri(to).version(Version::HTTP_2);
            Outgoing { head: head.body(()).unwrap(), body: Bytes::from(form.clone()) }
        };
        assert_eq!(reason(&world.pool.request(outgoing, PATIENCE).await.unwrap()), wanted, "{aud} at {to}");
    }
    // Behind a proxy that speaks HTTP/1.1 the name comes as `Host`.
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={}",
        assertion(&account, "https://tokens.example/token")
    );
    let outgoing = || {
        let head = Request::builder().method("POST").uri("/token").version(Version::HTTP_11).header("host", "tokens.example");
        Outgoing { head: head.body(()).unwrap(), body: Bytes::from(form.clone()) }
    };
    assert_eq!(reason(&world.pool.request(outgoing, PATIENCE).await.unwrap()), "200 ");
}

#[tokio::test]
async fn a_push_without_a_body_wakes_a_browser_and_whatever_is_taken_has_a_place_of_its_own() {
    const CONTACT: &str = "mailto:ops@example.com";
    let standin = open_standin(&Clock::at(NOW_MS)).await;
    let pool = pool(&standin, "push.example.com", Limits { streams: 10, connections: 1 });
    let subscription = standin.subscribe("push.example.com", None).unwrap();
    let endpoint = subscription["endpoint"].as_str().unwrap();
    let private = "yx2H2WsFHSWIckdme-8RrQ5fQb-7Phx5_ap-2Uw0_Ng";
    let keys = Keys::new(CONTACT.into(), &read(private).unwrap(), None, 0).unwrap();
    let bearer = keys.pairs().unwrap()[0].bearer(("https://push.example.com", CONTACT), NOW_MS).unwrap();
    let bytes = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let shared = &subscription["keys"];
    let to = Recipient { p256dh: bytes(&shared["p256dh"]).try_into().unwrap(), auth: bytes(&shared["auth"]).try_into().unwrap() };
    let fresh = Fresh { private: URL_SAFE_NO_PAD.decode(private).unwrap().try_into().unwrap(), salt: [7; 16] };
    let sealed = encrypt(&to, br#"{"body":"Lounge, 2 min"}"#, 0, &fresh).unwrap();
    let mut unreadable = sealed.to_vec();
    *unreadable.last_mut().unwrap() ^= 1;
    let (coded, nothing) = (Some("aes128gcm"), Bytes::new());
    let mut places = BTreeSet::new();
    for (coding, body, status) in [
        (None, nothing.clone(), 201),
        (None, nothing.clone(), 201),
        (coded, sealed.clone(), 201),
        (coded, Bytes::from(unreadable), 201),
        (coded, nothing, 400),
        (None, sealed.clone(), 400),
        (None, Bytes::from_static(b"x"), 400),
        (Some("aesgcm"), sealed, 400),
    ] {
        let outgoing = || {
            let mut head = Request::new(());
            (*head.method_mut(), *head.version_mut()) = (http::Method::POST, Version::HTTP_2);
            *head.uri_mut() = endpoint.parse().unwrap();
            let headers = head.headers_mut();
            headers.insert("ttl", HeaderValue::from_static("60"));
            headers.insert("authorization", bearer.clone());
            if let Some(coding) = coding {
                headers.insert("content-encoding", HeaderValue::from_static(coding));
            }
            Outgoing { head, body: body.clone() }
        };
        let answer = send(&pool, PATIENCE, outgoing).await.unwrap();
        assert_eq!(answer.status, status, "{coding:?} {body:?}");
        places.extend(header(&answer, "location"));
        assert_eq!(header(&answer, "location").is_some(), status == 201);
    }
    assert!(places.len() == 4 && places.iter().all(|place| place.starts_with("https://push.example.com/")), "{places:?}");
    let rows = standin.ledger();
    let fared: Vec<_> = rows.iter().map(|row| (row.answer.as_str(), row.text.as_deref(), row.delivered)).take(4).collect();
    let (tickle, read) = (("201", None, true), ("201", Some("Lounge, 2 min"), true));
    assert_eq!(fared, [tickle, tickle, read, ("201 undecryptable", None, false)]);
    assert!(rows[4..].iter().all(|row| row.answer == "400 110" && !row.delivered), "{rows:?}");
}

#[tokio::test]
async fn registrations_subscribe_to_topics_and_leave_them() {
    let world = google().await;
    let bearer = world.bearer().await;
    let dead = Phone { gateway: Gateway::Fcm, environment: Environment::Production, topic: None, dead_ms: Some(NOW_MS - 1) };
    world.standin.register("dead", dead);
    let news = "demo-project/registrations/t%3A1/topicSubscriptions";
    let named = |topic: &str| {
        let name = format!("projects/demo-project/registrations/t:1/topicSubscriptions/{topic}");
        json!({"name": name, "topic_name": topic, "create_time": "2026-11-22T00:00:00Z"})
    };
    let all = |topics: &[&str]| json!({"topic_subscriptions": topics.iter().map(|topic| named(topic)).collect::<Vec<_>>()});
    for (method, path, status, said) in [
        ("GET", news.to_owned(), 200, all(&[])),
        ("POST", format!("{news}?topic_name=sport"), 200, named("sport")),
        ("POST", format!("{news}?topicName=news"), 200, named("news")),
        ("POST", format!("{news}?topic_name=news"), 409, json!("ALREADY_EXISTS")),
        ("POST", news.to_owned(), 400, json!("INVALID_ARGUMENT")),
        ("POST", format!("{news}?topic_name=a+b"), 400, json!("INVALID_ARGUMENT")),
        ("POST", news.replace("t%3A1", "dead") + "?topic_name=news", 404, json!("NOT_FOUND")),
        ("POST", news.replace("demo", "other") + "?topic_name=news", 403, json!("PERMISSION_DENIED")),
        ("GET", news.to_owned(), 200, all(&["news", "sport"])),
        ("GET", news.replace("t%3A1", "t%3A2"), 200, all(&[])),
        ("GET", format!("{news}/news"), 200, named("news")),
        ("DELETE", format!("{news}/news"), 200, json!({})),
        ("DELETE", format!("{news}/news"), 404, json!("NOT_FOUND")),
        ("DELETE", format!("{news}/news?allow_missing=true"), 200, json!({})),
        ("GET", format!("{news}/news"), 404, json!("NOT_FOUND")),
        ("GET", news.to_owned(), 200, all(&["sport"])),
    ] {
        let outgoing = || {
            let uri = format!("https://fcm.googleapis.com/v1/projects/{path}");
            let head =
                Request::builder().method(method).uri(uri).version(Version::HTTP_2).header("authorization", bearer.clone());
            Outgoing { head: head.body(()).unwrap(), body: Bytes::from_static(b"{}") }
        };
        let answer = world.pool.request(outgoing, PATIENCE).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let word = body["error"].get("status").unwrap_or(&body);
        assert_eq!((answer.status.as_u16(), word), (status, &said), "{method} {path}");
    }
    assert!(world.standin.ledger().is_empty(), "none of that is a push");
}
