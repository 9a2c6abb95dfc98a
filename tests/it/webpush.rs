//! Browsers: encryption against known vectors, subscriptions, keys, and every ending of a push, judged by the stand-in.

use crate::outbox::{Phoned, message, plan, queue, state};
use crate::stage::{Good, Listener, Stage, grant};
use crate::world::{Person, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kairos::clock::{HOUR_MS, MINUTE_MS};
use kairos::people::device::web::{Address, MadeWith, Services, key_id};
use kairos::push::standin::{Fault, Phone, Row, Rule};
use kairos::push::webpush::vapid::{KeyPair, Keys, chosen, read};
use kairos::push::webpush::{Errno, Fresh, Judged, PLAINTEXT_LIMIT_BYTES, Recipient, encrypt, verdict};
use kairos::push::{Content, Environment, Gateway, NewMessage, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const MOZILLA: &str = "updates.push.services.mozilla.com";
const GOOGLE: &str = "fcm.googleapis.com";
const CONTACT: &str = "mailto:ops@example.com";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    URL_SAFE_NO_PAD.decode(text).unwrap().try_into().unwrap()
}

/// A known exchange: what the browser is, what is fresh, what is said, and the body that must come of it.
struct Vector {
    p256dh: &'static str,
    auth: &'static str,
    private: &'static str,
    salt: &'static str,
    plain: &'static str,
    body: &'static str,
}

/// The example of RFC 8291, section 5, and one on which two other implementations agree.
const VECTORS: [Vector; 2] = [
    Vector {
        p256dh: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        auth: "BTBZMqHH6r4Tts7J_aSIgg",
        private: "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw",
        salt: "DGv6ra1nlYgDCS1FRnbzlw",
        plain: "When I grow up, I want to be a watermelon",
        body: "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    },
    Vector {
        p256dh: "BP2XRCpr474wnYGRxvaFN-UpLJJFxXAplP5w31azLftjOSA6WGnwetTWDpC6o1u22eWpA95qHEXAoJEgrpiRZ6Q",
        auth: "vfScPDiCEC_AF_-2YRCMYw",
        private: "yx2H2WsFHSWIckdme-8RrQ5fQb-7Phx5_ap-2Uw0_Ng",
        salt: "Y0ea1poJCyWCd-yPum-ZQQ",
        plain: "hello push",
        body: "Y0ea1poJCyWCd-yPum-ZQQAAEABBBHIV8eIwQREUrqIvjciMfUSkeImem1Tvkbj4bPoyar5B5uS_6_gqzo_CRcnARENZzJlIl78z44584zN7w3cUtZpU11PZtV4RTLQJriQ4jbHjzRw9OK1LYwgXi38",
    },
];

#[test]
fn encryption_gives_what_the_standard_and_others_give() {
    for vector in VECTORS {
        let to = Recipient { p256dh: bytes(vector.p256dh), auth: bytes(vector.auth) };
        let fresh = Fresh { private: bytes(vector.private), salt: bytes(vector.salt) };
        let body = encrypt(&to, vector.plain.as_bytes(), 0, &fresh).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(&body), vector.body, "{}", vector.plain);
        let padded = encrypt(&to, vector.plain.as_bytes(), 100, &fresh).unwrap();
        assert_eq!(padded.len(), body.len() + 100);
        let full = vec![b'x'; PLAINTEXT_LIMIT_BYTES];
        assert_eq!(encrypt(&to, &full, 0, &fresh).unwrap().len(), 4_096);
        assert_eq!(encrypt(&to, &full, 1, &fresh).unwrap_err(), "payload_too_large");
        let nowhere = Recipient { p256dh: [4; 65], ..to };
        assert_eq!(encrypt(&nowhere, b"x", 0, &fresh).unwrap_err(), "malformed_token");
    }
    assert_eq!(PLAINTEXT_LIMIT_BYTES, 3_993);
}

#[test]
fn each_answer_has_one_verdict() {
    let said = |verdict| Judged { verdict, other_key: false };
    let later = |reason: &'static str, after_ms| said(Verdict::Later { reason: reason.into(), after_ms });
    let rejected = |reason: &'static str| said(Verdict::Rejected(reason.into()));
    for (status, errno, reason, wanted) in [
        (200, None, "", said(Verdict::Accepted)),
        (201, None, "", said(Verdict::Accepted)),
        (202, None, "", said(Verdict::Accepted)),
        (301, None, "", rejected("http_301")),
        (307, None, "", rejected("http_307")),
        (308, None, "", rejected("http_308")),
        (400, Some(Errno::InvalidTtl), "", rejected("invalid_ttl_112")),
        (400, None, "BadWebPushTopic", rejected("bad_web_push_topic")),
        (
            401,
            Some(Errno::InvalidAuthentication),
            "",
            Judged { verdict: Verdict::Renew("invalid_authentication_109".into()), other_key: true },
        ),
        (403, None, "BadJwtToken", said(Verdict::Renew("bad_jwt_token".into()))),
        (403, None, "", Judged { verdict: Verdict::Rejected("http_403".into()), other_key: true }),
        (
            400,
            None,
            "VapidPkHashMismatch",
            Judged { verdict: Verdict::Rejected("vapid_pk_hash_mismatch".into()), other_key: true },
        ),
        (404, Some(Errno::InvalidEndpoint), "", said(Verdict::Unregistered { at_ms: None })),
        (410, None, "Unregistered", said(Verdict::Unregistered { at_ms: None })),
        (406, None, "", later("http_406", None)),
        (413, Some(Errno::TooLarge), "", rejected("payload_too_large_104")),
        (429, None, "TooManyRequests", later("too_many_requests", None)),
        (500, None, "", later("http_500", None)),
        (503, Some(Errno::BackOff), "", later("back_off_201", None)),
        (503, Some(Errno::Retry), "", later("retry_202", Some(1_000))),
        (418, None, "", rejected("http_418")),
    ] {
        assert_eq!(verdict(status, errno, reason), wanted, "{status} {errno:?} {reason}");
    }
    let words: BTreeSet<&str> = Errno::ALL.iter().map(|errno| errno.word()).collect();
    assert_eq!(words.len(), Errno::ALL.len());
    for status in 100..600 {
        let dead = |errno| matches!(verdict(status, errno, "").verdict, Verdict::Unregistered { .. });
        for errno in Errno::ALL.iter().copied().map(Some).chain([None]) {
            assert_eq!(errno.map(Errno::number).and_then(Errno::parse), errno);
            assert_eq!(dead(errno), status == 404 || status == 410, "only these two end a subscription: {status} {errno:?}");
        }
    }
}

#[test]
fn a_token_is_made_once_for_hours_and_anew_when_the_clock_is_set_back() {
    let keys = Keys::new(CONTACT.into(), &read(VECTORS[0].private).unwrap(), None, 0).unwrap();
    let pair: KeyPair = keys.pairs().unwrap().remove(0);
    let at = |now_ms| pair.bearer(("https://push.example", CONTACT), now_ms).unwrap();
    let now_ms = 1_795_305_600_000;
    let first = at(now_ms);
    assert!(first.is_sensitive());
    assert_eq!(at(now_ms + 6 * HOUR_MS - 1), first);
    let second = at(now_ms + 6 * HOUR_MS);
    assert_ne!(second, first);
    assert_ne!(at(now_ms), second, "else it would end more than a day ahead");
    let shown = at(now_ms);
    assert_eq!((pair.discard(&first), pair.discard(&shown)), (None, Some(true)));
    let again = at(now_ms);
    assert_eq!(pair.discard(&again), Some(false), "a new one was refused as well");
    let made = at(now_ms);
    pair.proven(&made);
    assert_eq!(pair.discard(&made), Some(true));
    let text = made.to_str().unwrap().to_owned();
    let claims = text
        .split(['.', ' '])
        .find_map(|part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok())
        .unwrap();
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!("https://push.example"), &json!(CONTACT)));
    assert_eq!(claims["exp"], json!((now_ms + 12 * HOUR_MS) / 1_000));
}

#[test]
fn a_subscription_is_signed_by_the_key_that_it_was_made_with() {
    let (one, two) = (read(VECTORS[0].private).unwrap(), read(VECTORS[1].private).unwrap());
    let keys = Keys::new(CONTACT.into(), &one, None, 1_000).unwrap();
    let keys = Keys::new(CONTACT.into(), &two, Some(keys), 2_000).unwrap();
    let pairs = keys.pairs().unwrap();
    let (new, old) = (pairs[0].id.clone(), pairs[1].id.clone());
    let of = |made| chosen(&pairs, made).map(|pair| pair.id.clone());
    assert_eq!(of(MadeWith::Since(2_000)), Some(new.clone()));
    assert_eq!(of(MadeWith::Since(1_999)), Some(old.clone()));
    assert_eq!(of(MadeWith::Since(1)), Some(old.clone()), "brought along from elsewhere");
    assert_eq!((of(MadeWith::Key(&old)), of(MadeWith::Key("other"))), (Some(old), None));
    let again = Keys::new(CONTACT.into(), &two, Some(keys), 3_000).unwrap();
    assert_eq!(again.pairs().unwrap().len(), 2, "the same key again is no new one");
}

#[test]
fn hosts_of_push_services_are_exact() {
    let services = Services::parse(" push.example.com, 127.0.0.1:9443 ").unwrap();
    for good in [MOZILLA, GOOGLE, "web.push.apple.com", "wns2-par02p.notify.windows.com", "push.example.com", "127.0.0.1:9443"] {
        assert!(services.allow(good), "{good}");
    }
    for bad in [
        "",
        "evil.example",
        "fcm.googleapis.com.evil.example",
        "xfcm.googleapis.com",
        "a.fcm.googleapis.com",
        "fcm.googleapis.com:8443",
        "FCM.googleapis.com",
        "fcm.googleapis.com.",
        "notify.windows.com",
        ".notify.windows.com",
        "evilnotify.windows.com",
        "a.notify.windows.com:444",
        "a.notify.windows.com.evil.example",
        "a.push.example.com",
        "push.example.com:9443",
        "127.0.0.1",
        "127.0.0.1:9444",
    ] {
        assert!(!services.allow(bad), "{bad}");
    }
    for wrong in ["https://push.example.com", "push.example.com/x", "a b", "*.example.com"] {
        assert!(Services::parse(wrong).is_err(), "{wrong}");
    }
}

/// Somebody with a browser.
struct Reader {
    person: Person,
    phone: Phoned,
    endpoint: String,
    subscription: Value,
}

/// The app's key, made.
async fn key(world: &World) -> String {
    let made = world.put("/v1/push-credentials/webpush", &world.app.server, json!({"subject": CONTACT})).await.expect(200);
    made["public_key"].as_str().unwrap().to_owned()
}

fn browser(subscription: &Value) -> Value {
    json!({"platform": "web", "subscription": subscription, "locale": "en", "push_permission": "granted"})
}

/// The text under which a device's token goes out, or `none`.
async fn token(world: &World, device: &str) -> String {
    let sql = format!("select coalesce(token || ' ' || web_keys, 'none') as line from devices where id = '{device}'");
    world.lines(&sql).await.pop().unwrap()
}

/// Where somebody's browser is registered.
fn own(person: &Person) -> String {
    format!("/v1/me/devices/browser-{}", &person.id[4..])
}

async fn register(world: &World, person: &Person, subscription: &Value) -> Phoned {
    register_at(world, person, (&own(person), subscription)).await
}

async fn register_at(world: &World, person: &Person, (path, subscription): (&str, &Value)) -> Phoned {
    let answer = world.put(path, &person.token, browser(subscription)).await;
    assert!(answer.status < 300, "{answer:?}");
    let device = answer.json()["id"].as_str().unwrap().to_owned();
    Phoned::of(person, &device, (Gateway::WebPush, &token(world, &device).await))
}

async fn reader(world: &World, host: &str, key: Option<&str>) -> Reader {
    let person = world.person(&world.app).await;
    let subscription = world.standin.subscribe(host, key).unwrap();
    let phone = register(world, &person, &subscription).await;
    Reader { person, phone, endpoint: subscription["endpoint"].as_str().unwrap().to_owned(), subscription }
}

async fn sent(world: &World, reader: &Reader) -> NewMessage {
    let message = self::message(world, &reader.phone, |_| {});
    plan(world, &message).await;
    world.drain().await;
    message
}

fn arrived(world: &World, endpoint: &str) -> Vec<Row> {
    world.standin.ledger().into_iter().filter(|row| row.token == endpoint).collect()
}

fn fault(status: u16, reason: &str, retry_after_s: Option<i64>) -> Fault {
    Fault::Answer { status, reason: reason.into(), retry_after_s, timestamp_ms: None }
}

both! {
    async fn a_page_subscribes_and_its_browser_reads_what_was_said(world) {
        world.get("/v1/webpush/key", &world.app.phone).await.refused(404, "not_found");
        let key = key(world).await;
        assert_eq!(world.get("/v1/webpush/key", &world.app.phone).await.expect(200)["public_key"], json!(key));
        let reader = reader(world, MOZILLA, Some(&key)).await;
        for n in 0..3 {
            // The first finds no connection and waits in the queue; the others go from their own transactions.
            let message = self::message(world, &reader.phone, |m| m.deadline_ms += 999);
            plan(world, &message).await;
            world.drain().await;
            assert_eq!(state(world, &message).await, "accepted", "{n}");
            let row = arrived(world, &reader.endpoint).pop().unwrap();
            assert_eq!((row.answer.as_str(), row.text.as_deref(), row.delivered), ("201", Some("Lounge, 2 min"), true));
            assert_eq!(row.keep_until_ms, Some(message.deadline_ms - 999), "whole seconds, rounded down");
            assert_eq!(row.collapse_id.as_deref().map(str::len), Some(32));
            let stamp = row.kairos.unwrap();
            assert_eq!((stamp.message_id, stamp.deadline_ms), (message.id.to_string(), message.deadline_ms));
        }
        assert_eq!(arrived(world, &reader.endpoint).len(), 3);
        assert_eq!(world.lines("select distinct route as line from messages").await, [format!("webpush:{MOZILLA}")]);
    }

    async fn a_moment_reaches_a_browser_as_it_does_a_phone(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        world.put("/v1/push-credentials/webpush", &stage.app.server, json!({"subject": CONTACT})).await.expect(200);
        let person = world.person(&stage.app).await;
        grant(world, &person, "marketing").await;
        let subscription = stage.standin.subscribe(GOOGLE, None).unwrap();
        register(world, &person, &subscription).await;
        let who = Listener { person, token: subscription["endpoint"].as_str().unwrap().to_owned() };
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let arrived = stage.arrived(&who);
        assert_eq!((arrived.len(), arrived[0].text.as_deref()), (1, Some("You are at Orly")));
        stage.adds_up(world).await;
    }

    async fn an_endpoint_is_shown_to_nobody_but_its_user(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        sent(world, &reader).await;
        let secrets = [&reader.endpoint, &reader.subscription["keys"]["auth"].as_str().unwrap().to_owned()];
        let server = &world.app.server;
        for (path, by) in [
            ("/v1/me/devices", &reader.person.token),
            (own(&reader.person).as_str(), &reader.person.token),
            (format!("/v1/users/{}/devices", reader.person.id).as_str(), server),
            ("/v1/messages", server),
            ("/v1/push-credentials/webpush", server),
        ] {
            let text = world.get(path, by).await.text();
            assert!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{path}: {text}");
            assert!(!text.contains("private"), "{path}");
        }
        let listed = world.get("/v1/messages", server).await.expect(200)["items"][0]["token"].as_str().unwrap().to_owned();
        assert_eq!(listed, format!("{MOZILLA}#{}", key_id(reader.endpoint.as_bytes())));
        let sealed = world.number("select count(*) from push_credentials where gateway = 'webpush'").await;
        assert_eq!(sealed, 1);
    }

    async fn what_is_no_subscription_of_a_browser_is_refused_with_its_field(world) {
        let person = world.person(&world.app).await;
        let good = world.standin.subscribe(MOZILLA, None).unwrap();
        let put = async |body: Value| world.put("/v1/me/devices/browser", &person.token, body).await;
        let long = format!("https://{MOZILLA}/{}", "x".repeat(2_048));
        for endpoint in [
            "http://updates.push.services.mozilla.com/wpush/v2/x",
            "https://updates.push.services.mozilla.com",
            "https://updates.push.services.mozilla.com/",
            "https://updates.push.services.mozilla.com./wpush/v2/x",
            "https://updates.push.services.mozilla.com:443/wpush/v2/x",
            "https://updates.push.services.mozilla.com:8443/wpush/v2/x",
            "https://UPDATES.push.services.mozilla.com/wpush/v2/x",
            "HTTPS://updates.push.services.mozilla.com/wpush/v2/x",
            "https://user@updates.push.services.mozilla.com/wpush/v2/x",
            "https://updates.push.services.mozilla.com@evil.example/x",
            "https://updates.push.services.mozilla.com.evil.example/x",
            "https://evil.example/updates.push.services.mozilla.com/x",
            "https://evil.example\\@updates.push.services.mozilla.com/x",
            "https://evil.example#.notify.windows.com/x",
            "https://evil.example?.notify.windows.com/x",
            "https://notify.windows.com/x",
            "https://evilnotify.windows.com/x",
            "https://a.notify.windows.com.evil.example/x",
            "https://\u{440}ush.notify.windows.c\u{43e}m/x",
            "https://xn--80ak6aa92e.com/x",
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://0x7f000001/x",
            "https://0177.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost/x",
            "https://updates.push.services.mozilla.com/a b",
            "",
            long.as_str(),
        ] {
            let mut bad = good.clone();
            bad["endpoint"] = json!(endpoint);
            let refusal = put(browser(&bad)).await.refused_field(400, "validation_failed", "subscription.endpoint");
            let text = refusal.to_string();
            assert!(endpoint.is_empty() || !text.contains(endpoint), "a refusal does not repeat it: {text}");
        }
        let off_the_curve = URL_SAFE_NO_PAD.encode([4; 65]);
        let compressed = URL_SAFE_NO_PAD.encode([2; 33]);
        for (path, value, field) in [
            ("/keys/p256dh", json!("x"), "subscription.keys.p256dh"),
            ("/keys/p256dh", json!(off_the_curve), "subscription.keys.p256dh"),
            ("/keys/p256dh", json!(compressed), "subscription.keys.p256dh"),
            ("/keys/auth", json!(URL_SAFE_NO_PAD.encode([1; 15])), "subscription.keys.auth"),
            ("/keys/auth", json!(URL_SAFE_NO_PAD.encode([1; 17])), "subscription.keys.auth"),
            ("/expirationTime", json!(world.now_ms()), "subscription.expiration_time"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            put(browser(&bad)).await.refused_field(400, "validation_failed", field);
        }
        let mut bad = good.clone();
        bad["application_server_key"] = json!("x");
        put(browser(&bad)).await.refused_field(400, "validation_failed", "subscription.application_server_key");
        put(json!({"platform": "web", "token": "x"})).await.refused_field(400, "validation_failed", "token");
        let both = json!({"platform": "web", "token": "x", "subscription": good});
        put(both).await.refused_field(400, "validation_failed", "token");
        let phone = json!({"platform": "android", "subscription": good});
        put(phone).await.refused_field(400, "validation_failed", "subscription");
        assert_eq!(world.number("select count(*) from devices").await, 0);
        // As pages make them by hand: the usual alphabet, with padding.
        let mut by_hand = good.clone();
        for name in ["p256dh", "auth"] {
            let raw = URL_SAFE_NO_PAD.decode(good["keys"][name].as_str().unwrap()).unwrap();
            by_hand["keys"][name] = json!(base64::engine::general_purpose::STANDARD.encode(raw));
        }
        let made = put(browser(&by_hand)).await.expect(201);
        let kept = token(world, made["id"].as_str().unwrap()).await;
        assert!(kept.contains(good["keys"]["p256dh"].as_str().unwrap()) && Address::parse(&kept).is_some());
    }

    async fn every_answer_of_a_push_service_ends_a_push_as_it_has_to(world) {
        let key = key(world).await;
        for (status, reason, retry_after_s, wanted) in [
            (201, "", None, "accepted"),
            (202, "", None, "accepted"),
            (301, "", None, "rejected:http_301"),
            (307, "", None, "rejected:http_307"),
            (308, "", None, "rejected:http_308"),
            (400, "111", None, "rejected:missing_header_111"),
            (400, "112", None, "rejected:invalid_ttl_112"),
            (400, "113", None, "rejected:invalid_topic_113"),
            (400, "110", None, "rejected:invalid_crypto_keys_110"),
            (403, "", None, "rejected:http_403"),
            (404, "102", None, "rejected:unregistered"),
            (410, "103", None, "rejected:unregistered"),
            (410, "106", None, "rejected:unregistered"),
            (413, "104", None, "rejected:payload_too_large_104"),
            (429, "", Some(7), "retry_at:http_429"),
            (500, "999", None, "retry_at:http_500"),
            (502, "", None, "retry_at:http_502"),
            (503, "201", Some(9), "retry_at:back_off_201"),
            (503, "202", None, "retry_at:retry_202"),
        ] {
            let reader = reader(world, MOZILLA, Some(&key)).await;
            world.standin.inject(Rule::once(fault(status, reason, retry_after_s)).to(reader.endpoint.clone()));
            let message = self::message(world, &reader.phone, |_| {});
            plan(world, &message).await;
            world.drain().await;
            assert_eq!(state(world, &message).await, wanted, "{status} {reason}");
            let dead = token(world, &reader.phone.device()).await == "none";
            assert_eq!(dead, wanted == "rejected:unregistered", "only these end a subscription: {status} {reason}");
            if let Some(seconds) = retry_after_s {
                let due = world.number(&format!("select due_ms from messages where id = '{}'", message.id)).await;
                assert_eq!(due, world.now_ms() + seconds * 1_000);
            }
            if wanted.starts_with("retry_at") {
                world.advance(Duration::from_secs(60)).await;
                assert_eq!(state(world, &message).await, "accepted", "{status} {reason}");
            }
        }
    }

    async fn a_410_older_than_the_registration_says_nothing_of_it(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        sent(world, &reader).await;
        // The answer comes while the page subscribes anew: what it says is of before.
        let slow = Fault::Slow { wait_ms: 800 };
        world.standin.inject(Rule::once(slow).to(reader.endpoint.clone()));
        let phone = |dead_ms| Phone { gateway: Gateway::WebPush, environment: Environment::Production, topic: None, dead_ms };
        world.standin.register(reader.endpoint.clone(), phone(Some(world.now_ms())));
        let message = self::message(world, &reader.phone, |_| {});
        plan(world, &message).await;
        world.clock.advance(Duration::from_secs(5));
        register(world, &reader.person, &reader.subscription).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "rejected:unregistered");
        assert_ne!(token(world, &reader.phone.device()).await, "none", "registered after that push had left");
        sent(world, &reader).await;
        assert_eq!(token(world, &reader.phone.device()).await, "none");
        assert_eq!(arrived(world, &reader.endpoint).iter().map(|row| row.answer.as_str()).collect::<Vec<_>>(), ["201", "410 106", "410 106"]);
        world.standin.register(reader.endpoint.clone(), phone(None));
        let again = register(world, &reader.person, &reader.subscription).await;
        let reader = Reader { phone: again, ..reader };
        let message = sent(world, &reader).await;
        assert_eq!(state(world, &message).await, "accepted", "a page that subscribes again is reached again");
    }

    async fn a_key_that_is_refused_is_shown_anew_once_and_then_is_a_matter_of_settings(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        world.standin.inject(Rule::once(fault(401, "109", None)));
        let message = sent(world, &reader).await;
        assert_eq!(state(world, &message).await, "accepted", "a new token was taken");
        assert_eq!(arrived(world, &reader.endpoint).len(), 2);
        // Mozilla says the same of a subscription that was made with another key: one alone is its own matter.
        let refusals = |n: usize| (0..2 * n).for_each(|_| world.standin.inject(Rule::once(fault(401, "109", None))));
        refusals(1);
        let message = sent(world, &reader).await;
        assert_eq!(state(world, &message).await, "rejected:invalid_authentication_109");
        assert_ne!(token(world, &reader.phone.device()).await, "none");
        for wanted in ["rejected:invalid_authentication_109", "retry_at:invalid_authentication_109"] {
            let other = self::reader(world, MOZILLA, Some(&key)).await;
            refusals(1);
            assert_eq!(state(world, &sent(world, &other).await).await, wanted);
        }
        // Whoever finds it out again waits as well.
        refusals(1);
        world.advance(Duration::from_secs(31)).await;
        let lost = "select count(*) from messages where state = 'rejected'";
        assert_eq!((world.number("select count(*) from messages where state = 'retry_at'").await, world.number(lost).await), (1, 2));
        // Three in a row: nothing goes there until somebody may have mended it, and nothing more is lost.
        world.standin.heal();
        let waits = self::message(world, &reader.phone, |_| {});
        plan(world, &waits).await;
        world.drain().await;
        assert_eq!(state(world, &waits).await, "queued");
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(state(world, &waits).await, "accepted");
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'retry_at'").await, 0);
    }

    async fn a_subscription_of_another_key_is_its_own_matter_and_many_in_a_row_are_ours(world) {
        let key = key(world).await;
        let other = Keys::new(CONTACT.into(), &read(VECTORS[1].private).unwrap(), None, 0).unwrap();
        let other = other.pairs().unwrap().remove(0).public_key;
        let good = reader(world, MOZILLA, Some(&key)).await;
        let mut bad = Vec::new();
        for _ in 0..3 {
            bad.push(reader(world, MOZILLA, Some(&other)).await);
        }
        let fared = async |reader: &Reader| state(world, &sent(world, reader).await).await;
        for reader in [&bad[0], &good, &bad[1], &bad[1], &bad[1], &good] {
            let wanted = if reader.endpoint == good.endpoint { "accepted" } else { "rejected:vapid_pk_hash_mismatch" };
            assert_eq!(fared(reader).await, wanted);
        }
        for (reader, wanted) in bad.iter().zip(["rejected", "rejected", "retry_at"]) {
            assert_eq!(fared(reader).await, format!("{wanted}:vapid_pk_hash_mismatch"));
            assert_ne!(token(world, &reader.phone.device()).await, "none", "that is no word on the subscription");
        }
        assert_eq!(fared(&good).await, "queued", "three in a row with none taken: it is our key, and the lane waits");
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'queued'").await, 0);
    }

    async fn a_server_that_is_no_push_service_deletes_no_subscription(world) {
        let key = key(world).await;
        let mut readers = Vec::new();
        for _ in 0..12 {
            readers.push(reader(world, MOZILLA, Some(&key)).await);
        }
        for reader in &readers {
            world.standin.inject(Rule::once(fault(404, "", None)).to(reader.endpoint.clone()));
        }
        for (n, reader) in readers.iter().enumerate() {
            let wanted = if n < 10 { "rejected:not_found" } else { "queued" };
            assert_eq!(state(world, &sent(world, reader).await).await, wanted, "{n}");
        }
        assert_eq!(world.number("select count(*) from devices where token is null").await, 0);
        let shown = world.get("/v1/push-credentials/webpush", &world.app.server).await.expect(200);
        assert_eq!(shown["items"][0]["refused_reason"], json!("subscriptions_not_found"), "{shown}");
        assert!(shown["items"][0]["warnings"][0]["message"].as_str().unwrap().contains("KAIROS_WEBPUSH_URL"), "{shown}");
        // The first that waits shows that nothing has changed, the next one that it has, and then a 404 is a word again.
        world.advance(Duration::from_secs(30)).await;
        world.advance(Duration::from_secs(30)).await;
        let fared = sent(world, &readers[0]).await;
        assert_eq!(state(world, &fared).await, "queued");
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(state(world, &fared).await, "accepted");
        assert_eq!(world.number("select count(*) from devices where token is null").await, 0);
        world.standin.inject(Rule::once(fault(404, "", None)).to(readers[1].endpoint.clone()));
        assert_eq!(state(world, &sent(world, &readers[1]).await).await, "rejected:unregistered");
        assert_eq!(world.number("select count(*) from devices where token is null").await, 1);
    }

    async fn keys_change_and_subscriptions_keep_theirs_until_the_page_subscribes_again(world) {
        let put = async |body: Value| world.put("/v1/push-credentials/webpush", &world.app.server, body).await;
        let first = key(world).await;
        let old = reader(world, MOZILLA, Some(&first)).await;
        assert_eq!(key(world).await, first, "another contact is no new key");
        world.advance(Duration::from_secs(1)).await;
        let second = put(json!({"subject": CONTACT, "rotate": true})).await.expect(200)["public_key"].as_str().unwrap().to_owned();
        assert_ne!(second, first);
        let again = put(json!({"subject": CONTACT, "rotate": true})).await.expect(200);
        assert_eq!(again["public_key"], json!(second), "the same call again makes no third key");
        assert_eq!(world.get("/v1/webpush/key", &world.app.phone).await.expect(200)["public_key"], json!(second));
        let shown = world.get("/v1/push-credentials/webpush", &world.app.server).await.expect(200);
        assert_eq!((&shown["items"][0]["public_key"], &shown["items"][0]["earlier_public_keys"]), (&json!(second), &json!([first])));
        let new = reader(world, MOZILLA, Some(&second)).await;
        for reader in [&old, &new] {
            assert_eq!(state(world, &sent(world, reader).await).await, "accepted");
        }
        // A page says on every visit what it has; that is the old subscription still.
        register(world, &old.person, &old.subscription).await;
        assert_eq!(state(world, &sent(world, &old).await).await, "accepted");
        // It may say so itself, also before it has ever been seen.
        let mut named = world.standin.subscribe(GOOGLE, Some(&first)).unwrap();
        named["application_server_key"] = json!(first);
        let person = world.person(&world.app).await;
        let phone = register(world, &person, &named).await;
        let endpoint = named["endpoint"].as_str().unwrap().to_owned();
        let late = Reader { person, phone, endpoint, subscription: named };
        assert_eq!(state(world, &sent(world, &late).await).await, "accepted");
        // A key that was brought along.
        world.advance(Duration::from_secs(1)).await;
        let own = put(json!({"subject": "https://example.com/contact", "private_key": VECTORS[1].private})).await.expect(200);
        assert_eq!(own["public_key"], json!("BHIV8eIwQREUrqIvjciMfUSkeImem1Tvkbj4bPoyar5B5uS_6_gqzo_CRcnARENZzJlIl78z44584zN7w3cUtZo"));
        for reader in [&old, &new, &late] {
            assert_eq!(state(world, &sent(world, reader).await).await, "accepted");
        }
        for (body, field) in [
            (json!({"subject": "ops@example.com"}), "subject"),
            (json!({"subject": "mailto:ops@localhost"}), "subject"),
            (json!({"subject": "https://localhost/contact"}), "subject"),
            (json!({"subject": "mailto:\"@example.com"}), "subject"),
            (json!({"subject": CONTACT, "private_key": "x"}), "private_key"),
            (json!({"subject": CONTACT, "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}), "private_key"),
            (json!({"subject": CONTACT, "private_key": VECTORS[0].private, "rotate": true}), "rotate"),
        ] {
            put(body).await.refused_field(400, "validation_failed", field);
        }
        world.delete("/v1/push-credentials/webpush", &world.app.server).await.expect(204);
        assert_eq!(state(world, &sent(world, &old).await).await, "rejected:no_credential");
    }

    async fn a_browser_belongs_to_whoever_used_it_last(world) {
        let key = key(world).await;
        let purpose = json!({"key": "offers", "name": "Offers", "basis": "contract", "version": "1", "texts": {"en": "We do."}});
        world.post("/v1/purposes", &world.app.server, purpose).await.expect(201);
        let reader = reader(world, MOZILLA, Some(&key)).await;
        let waits = message(world, &reader.phone, |m| m.due_ms += MINUTE_MS);
        queue(world, vec![waits.clone()]).await;
        let other = world.person(&world.app).await;
        // The same installation, as another user; a page that has forgotten its own would come as another one.
        let phone = register_at(world, &other, (&own(&reader.person), &reader.subscription)).await;
        assert_eq!(token(world, &reader.phone.device()).await, "none");
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &waits).await, "token_dead:token_dead");
        assert!(arrived(world, &reader.endpoint).is_empty());
        // Other keys under the same endpoint take it along too: it is the endpoint that belongs to one alone.
        let mut forged = reader.subscription.clone();
        forged["keys"] = world.standin.subscribe(MOZILLA, None).unwrap()["keys"].clone();
        register(world, &reader.person, &forged).await;
        assert_eq!(token(world, &phone.device()).await, "none");
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1);
    }

    async fn what_is_too_long_or_too_late_is_not_sent(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        let long = |n: usize| Content { body: "x".repeat(n), ..Content::default() };
        for (length, wanted) in [(2_100, "accepted"), (3_600, "accepted"), (3_993, "rejected:payload_too_large")] {
            let message = self::message(world, &reader.phone, |m| m.content = long(length));
            plan(world, &message).await;
            world.drain().await;
            assert_eq!(state(world, &message).await, wanted, "{length}");
        }
        // The last second is no time to live.
        let message = self::message(world, &reader.phone, |m| m.deadline_ms = m.due_ms + 999);
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "expired:deadline");
        assert_eq!(arrived(world, &reader.endpoint).len(), 2);
    }

    async fn a_subscription_that_has_ended_by_itself_reaches_nobody(world) {
        let stage = Stage::set(world).await;
        let key = key(world).await;
        let person = world.person(&stage.app).await;
        grant(world, &person, "marketing").await;
        let mut subscription = stage.standin.subscribe(MOZILLA, Some(&key)).unwrap();
        subscription["expirationTime"] = json!(world.clock.now_ms() + HOUR_MS);
        register(world, &person, &subscription).await;
        let said = || crate::push_direct::push(json!({"user_ids": [person.id]}), json!({}));
        for (state, reason) in [("chosen", Value::Null), ("silent", json!("no_token"))] {
            crate::push_direct::send(world, said()).await;
            world.drain().await;
            let decided = world.get(&format!("/v1/decisions?user={}", person.id), &world.app.server).await.good();
            let last = decided["items"].as_array().unwrap().iter().max_by_key(|d| d["id"].as_str().unwrap().to_owned()).unwrap();
            assert_eq!((&last["outcome"], &last["reason"]), (&json!(state), &reason), "{last:#}");
            world.advance(Duration::from_secs(3_600)).await;
        }
        let states = world.lines("select state || ':' || coalesce(reason, '') as line from messages").await;
        assert_eq!((stage.standin.summary().delivered, states), (1, vec!["accepted:".to_owned()]));
    }

    async fn a_push_service_that_is_down_holds_up_no_other(world) {
        let own = world.standin.url().replace("https://", "");
        let named = format!("{own}, 127.0.0.1:1, localhost:1");
        world.restart(|config| {
            config.webpush_url = String::new();
            config.webpush_hosts = named;
            config.outbound_allow = "127.0.0.0/8".to_owned();
        }).await;
        let key = key(world).await;
        let (down, up) = (reader(world, "127.0.0.1:1", Some(&key)).await, reader(world, &own, Some(&key)).await);
        let stuck = message(world, &down.phone, |m| m.deadline_ms = m.due_ms + MINUTE_MS);
        plan(world, &stuck).await;
        for _ in 0..3 {
            let message = self::message(world, &up.phone, |_| {});
            plan(world, &message).await;
            world.drain().await;
            assert_eq!((state(world, &message).await.as_str(), state(world, &stuck).await.as_str()), ("accepted", "queued"));
        }
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &stuck).await, "expired:deadline");
        assert_eq!(arrived(world, &up.endpoint).len(), 3);
    }

    async fn a_name_that_leads_inside_is_not_followed(world) {
        let inside = world.standin.url().replace("https://127.0.0.1", "localhost");
        let named = inside.clone();
        world.restart(|config| {
            config.webpush_url = String::new();
            config.webpush_hosts = named;
        }).await;
        let key = key(world).await;
        let reader = reader(world, &inside, Some(&key)).await;
        let message = self::message(world, &reader.phone, |m| m.deadline_ms = m.due_ms + MINUTE_MS);
        plan(world, &message).await;
        world.drain().await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &message).await, "expired:deadline");
        assert!(arrived(world, &reader.endpoint).is_empty());
        // Taken off the list, a push service is no way any more, for what waits and for what comes.
        world.restart(|config| {
            config.webpush_hosts = String::new();
            config.outbound_allow = "127.0.0.0/8".to_owned();
        }).await;
        assert_eq!(state(world, &sent(world, &reader).await).await, "rejected:no_credential");
        let again = world.put(&own(&reader.person), &reader.person.token, browser(&reader.subscription)).await;
        again.refused_field(400, "validation_failed", "subscription.endpoint");
    }

    async fn a_test_goes_to_a_stand_in_or_nowhere(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        let message = self::message(world, &reader.phone, |m| m.test = true);
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "accepted");
        world.restart(|config| config.webpush_url = String::new()).await;
        let message = self::message(world, &reader.phone, |m| m.test = true);
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "rejected:no_credential");
    }

    async fn what_is_forgotten_takes_its_keys_along(world) {
        let key = key(world).await;
        let reader = reader(world, MOZILLA, Some(&key)).await;
        world.delete(&own(&reader.person), &reader.person.token).await.expect(204);
        assert_eq!(world.number("select count(*) from devices where web_keys is not null").await, 0);
        let back = register(world, &reader.person, &reader.subscription).await;
        assert_eq!(state(world, &sent(world, &Reader { phone: back, ..reader }).await).await, "accepted");
        let row = world.lines("select web_keys as line from devices").await.pop().unwrap();
        assert_eq!(row.split(' ').count(), 4);
    }
}
