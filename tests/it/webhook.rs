//! Webhooks, from the effect to a subscriber on a real socket; the subscriber's own record is the judge.

use crate::guarded::{Dns, forbidden_urls};
use crate::subscriber::{Arrival, Reply, Subscriber};
use crate::world::{Caller, World};
use kairos::outbound::guarded::Resolve;
use kairos::webhook::{Heard, Key, Next, check_filter, judge, listens, pause_ms, personal, signature};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// The schedule, in seconds after each attempt.
const PAUSES_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Lets the server call this machine.
async fn opened(world: &mut World) {
    world.restart(|config| "127.0.0.0/8".clone_into(&mut config.outbound_allow)).await;
}

/// An endpoint: its path and its secret.
struct Hook {
    path: String,
    secret: String,
}

impl Hook {
    async fn add(world: &World, at: &str, body: Value) -> Self {
        let made = world.post(at, &world.app.server, body).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self { path: format!("{at}/{}", text("id")), secret: text("secret") }
    }

    async fn of(world: &World, subscriber: &Subscriber) -> Self {
        Self::add(world, "/v1/webhooks", json!({"url": subscriber.url("/in")})).await
    }

    async fn read(&self, world: &World) -> Value {
        world.get(&self.path, &world.app.server).await.expect(200)
    }

    /// Its deliveries, the newest first.
    async fn deliveries(&self, world: &World) -> Vec<Value> {
        let all = world.get(&format!("{}/deliveries", self.path), &world.app.server).await.expect(200);
        all["items"].as_array().unwrap().clone()
    }

    async fn post(&self, world: &World, rest: &str, body: Value) -> crate::world::Answer {
        world.post(&format!("{}/{rest}", self.path), &world.app.server, body).await
    }
}

async fn partner(world: &World, name: &str) -> String {
    let made = world.post("/v1/partners", &world.app.server, json!({"name": name})).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

/// An event of the app: a user is made. Gives their id.
async fn user(world: &World) -> String {
    let made = world.post("/v1/users", &world.app.server, json!({})).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

fn kinds(arrivals: &[Arrival]) -> Vec<String> {
    arrivals.iter().map(|arrival| arrival.json()["type"].as_str().unwrap().to_owned()).collect()
}

/// Runs the background work until so many have come, whatever else never ends.
async fn until_has(world: &World, subscriber: &Subscriber, n: usize) {
    tokio::select! {
        () = world.drain() => assert!(subscriber.count() >= n, "the work has ended before"),
        () = subscriber.has(n) => {}
    }
}

#[test]
fn signatures_are_those_of_the_specification() {
    for (secret, id, timestamp_s, body, wanted) in [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            "{\"email\":\"test@example.com\",\"username\":\"test_user\"}",
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
    ] {
        let key = Key::parse(secret).unwrap();
        assert_eq!(key.text().expose(), secret);
        assert_eq!(signature(&[key], (id, timestamp_s), body), wanted);
    }
    for wrong in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64 at all, is it now?"] {
        assert!(Key::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_filter_takes_names_and_what_lies_below_a_prefix() {
    let filter = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
    for (entries, kind, heard) in [
        (&[][..], "user.created", true),
        (&["user.created"], "user.created", true),
        (&["user.created"], "user.created2", false),
        (&["user.created"], "user.updated", false),
        (&["user.*"], "user.created", true),
        (&["user.*"], "user.a.b", true),
        (&["user.*"], "user", false),
        (&["user.*"], "users.created", false),
        (&["consent.*", "user.updated"], "user.updated", true),
    ] {
        assert_eq!(listens(&filter(entries), kind), heard, "{entries:?} {kind}");
    }
    for good in ["user", "user.created", "user.*", "a.b_c.D9.*"] {
        assert_eq!(check_filter(good), Ok(()), "{good}");
    }
    for wrong in ["", "*", ".*", "user.", ".user", "user.*.x", "us*", "user..x", "user created", "u-x", "user.*.*"] {
        assert!(check_filter(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_attempt_is_judged_by_its_status_and_the_schedule() {
    let heard = |status: u16| Heard { status: Some(status), failure: None, asked_ms: None };
    let failed = |again_ms, throttle_ms, gone| Next::Failed { again_ms, throttle_ms, gone };
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(judge(heard(status), 1, 0.5), Next::Delivered);
    }
    for status in [101, 301, 302, 400, 401, 404, 408, 500, 503] {
        assert_eq!(judge(heard(status), 1, 0.0), failed(Some(5_000), None, false), "{status}");
    }
    for status in [429, 502, 504] {
        assert_eq!(judge(heard(status), 2, 0.0), failed(Some(300_000), Some(30_000), false), "{status}");
    }
    assert_eq!(judge(heard(410), 1, 0.0), failed(None, None, true));
    assert_eq!(judge(heard(500), 10, 0.0), failed(None, None, false));
    let asked = |ms| Heard { asked_ms: Some(ms), ..heard(503) };
    assert_eq!(judge(asked(600_000), 1, 0.0), failed(Some(600_000), Some(600_000), false));
    assert_eq!(judge(asked(1_000), 1, 0.0), failed(Some(5_000), Some(30_000), false));
    for (n, pause_s) in (1..).zip(PAUSES_S) {
        let pause = i64::try_from(pause_s).unwrap() * 1_000;
        assert_eq!(pause_ms(n, 0.0), Some(pause));
        let late = pause_ms(n, 0.999).unwrap();
        assert!(late > pause && late <= pause + pause / 10, "{late}");
    }
    assert_eq!(pause_ms(10, 0.0), None);
}

both! {
    async fn what_happens_is_told_once_signed_and_thin(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        let by = world.app.server.clone();
        world.post("/v1/attributes", &by, json!({"scope": "user", "key": "tier", "kind": "string"})).await.expect(201);
        let id = user(world).await;
        world.patch(&format!("/v1/users/{id}"), &by, json!({"attributes": {"tier": "secret gold"}, "locale": "fr"})).await.expect(200);
        world.patch(&format!("/v1/users/{id}"), &by, json!({"locale": "fr"})).await.expect(200);
        let device = json!({"platform": "android", "token": "a-token-of-a-phone-0123456789", "push_permission": "granted"});
        world.put(&format!("/v1/users/{id}/devices/phone-1"), &by, device.clone()).await.expect(201);
        world.put(&format!("/v1/users/{id}/devices/phone-1"), &by, device).await.expect(200);
        let consent = json!({"purpose": "location", "granted": true, "text_version": "builtin", "evidence": {"screen": "x"}});
        let texts = world.get("/v1/purposes/location/versions", &by).await.expect(200);
        let mut consent = consent;
        consent["text_version"] = texts["items"][0]["version"].clone();
        let granted = world.post(&format!("/v1/users/{id}/consents"), &by, consent.clone()).await.expect(201);
        world.post(&format!("/v1/users/{id}/consents"), &by, consent).await.expect(200);
        let withdrawal = json!({"purpose": "location", "granted": false});
        let withdrawn = world.post(&format!("/v1/users/{id}/consents"), &by, withdrawal).await.expect(201);
        world.drain().await;
        world.drain().await;
        let mut arrivals = subscriber.arrivals();
        arrivals.sort_by_key(Arrival::id);
        let mut told: Vec<Value> = arrivals.iter().map(Arrival::json).collect();
        told.sort_by_key(|event| event["type"].to_string());
        assert_eq!(told.len(), 5, "{told:?}");
        let event = |kind: &str, data: Value| json!({"type": kind, "timestamp": world.time(0), "data": data});
        let device = told[2]["data"]["device"].clone();
        assert_eq!(told, [
            event("consent.granted", json!({"user": id, "consent": granted["id"], "purpose": "location", "text_version": granted["text_version"]})),
            event("consent.withdrawn", json!({"user": id, "consent": withdrawn["id"], "purpose": "location", "ended": [granted["id"]]})),
            event("device.registered", json!({"user": id, "device": device, "platform": "android"})),
            event("user.created", json!({"user": id, "anonymous": false})),
            event("user.updated", json!({"user": id, "changed": ["locale", "attributes.tier"]})),
        ]);
        for arrival in &arrivals {
            assert!(arrival.head.starts_with("POST /in HTTP/1.1"));
            assert_eq!(arrival.header("content-type"), "application/json");
            assert!(arrival.verifies(&hook.secret, world.now_ms()), "{arrival:?}");
            assert!(!arrival.id().contains('.') && arrival.body.starts_with("{\"type\":"));
            for private in ["secret gold", "a-token", "phone-1"] {
                assert!(!arrival.body.contains(private), "{}", arrival.body);
            }
        }
        let deliveries = hook.deliveries(world).await;
        assert_eq!(deliveries.len(), 5);
        for delivery in &deliveries {
            assert!(arrivals.iter().any(|arrival| delivery["id"] == arrival.id().as_str()));
            assert_eq!((&delivery["state"], &delivery["attempts"][0]["status"]), (&json!("delivered"), &json!(204)));
        }
    }

    async fn sign_ups_are_told_and_an_upgrade_is_no_second_user(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        Hook::of(world, &subscriber).await;
        let anonymous = world.person(&world.app).await;
        let Caller::App(key) = &world.app.phone else { panic!() };
        let credentials = json!({"email": "ann@example.com", "password": "correct horse battery"});
        let upgrade = world.call("POST", "/v1/auth/sign-up").by(&anonymous.token).header("X-Kairos-Key", key).json(&credentials);
        upgrade.send().await.expect(200);
        let other = json!({"email": "bob@example.com", "password": "correct horse battery"});
        let bob = world.post("/v1/auth/sign-up", &world.app.phone, other.clone()).await.expect(200);
        world.post("/v1/auth/sign-in", &world.app.phone, other).await.expect(200);
        world.drain().await;
        let arrivals = subscriber.arrivals();
        let mut told: Vec<(String, Value)> = arrivals.iter().map(|a| (a.json()["type"].to_string(), a.json()["data"].clone())).collect();
        told.sort_by_key(|(kind, data)| (kind.clone(), data["anonymous"].to_string()));
        assert_eq!(told, [
            ("\"user.created\"".to_owned(), json!({"user": bob["user"]["id"], "anonymous": false})),
            ("\"user.created\"".to_owned(), json!({"user": anonymous.id, "anonymous": true})),
            ("\"user.updated\"".to_owned(), json!({"user": anonymous.id, "changed": ["anonymous"]})),
        ]);
        assert!(arrivals.iter().all(|a| !a.body.contains("example.com")));
    }

    async fn a_failing_endpoint_is_tried_ten_times_on_the_schedule_under_one_id(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        subscriber.always(Reply::Status(500, ""));
        user(world).await;
        world.drain().await;
        assert_eq!(subscriber.count(), 1);
        for (n, pause_s) in (2..).zip(PAUSES_S) {
            world.advance(Duration::from_secs(pause_s) - SECOND).await;
            assert_eq!(subscriber.count(), n - 1, "attempt {n} comes too early");
            world.advance(Duration::from_secs(pause_s / 10 + 2)).await;
            assert_eq!(subscriber.count(), n, "attempt {n} does not come");
        }
        world.advance(DAY).await;
        let arrivals = subscriber.arrivals();
        assert_eq!(arrivals.len(), 10);
        assert!(arrivals.iter().all(|a| a.id() == arrivals[0].id() && a.body == arrivals[0].body));
        let last = arrivals.last().unwrap();
        assert_ne!(last.header("webhook-timestamp"), arrivals[0].header("webhook-timestamp"));
        assert!(last.verifies(&hook.secret, world.now_ms() - 86_400_000));
        let delivery = &hook.deliveries(world).await[0];
        assert_eq!((&delivery["state"], &delivery["reason"]), (&json!("failed"), &json!("refused")));
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 10);
        assert!(delivery["next_attempt_at"].is_null());

        // Sent again by hand it has the same id and a schedule of its own.
        hook.post(world, &format!("deliveries/{}/replay", arrivals[0].id()), json!({})).await.expect(202);
        world.drain().await;
        assert_eq!(subscriber.count(), 11);
        subscriber.always(Reply::Status(200, ""));
        world.advance(6 * SECOND).await;
        let arrivals = subscriber.arrivals();
        assert_eq!((arrivals.len(), arrivals[11].id()), (12, arrivals[0].id()));
        assert_eq!(hook.deliveries(world).await[0]["state"], "delivered");
        assert!(hook.read(world).await["failing_since"].is_null());
    }

    async fn an_endpoint_that_asks_for_time_gets_it(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        subscriber.next(Reply::Status(503, "Retry-After: 600\r\n"));
        user(world).await;
        world.drain().await;
        assert!(hook.read(world).await["failing_since"].is_string());
        user(world).await;
        world.advance(590 * SECOND).await;
        assert_eq!(subscriber.count(), 1, "nothing goes to an endpoint that asked for 600 s");
        world.advance(11 * SECOND).await;
        assert_eq!(subscriber.count(), 3);
        // Overrun without a word of how long: half a minute for all that goes there.
        subscriber.next(Reply::Status(429, ""));
        user(world).await;
        world.drain().await;
        user(world).await;
        world.advance(29 * SECOND).await;
        assert_eq!(subscriber.count(), 4);
        world.advance(2 * SECOND).await;
        assert_eq!(subscriber.count(), 6);
        // What is asked for beyond a day is not believed.
        subscriber.next(Reply::Status(503, "Retry-After: 99999999\r\n"));
        user(world).await;
        world.drain().await;
        world.advance(DAY + SECOND).await;
        assert_eq!(subscriber.count(), 8);
    }

    async fn a_410_disables_the_endpoint_and_what_it_missed_can_be_sent_again(world) {
        opened(world).await;
        let (subscriber, other) = (Subscriber::open().await, Subscriber::open().await);
        let hook = Hook::of(world, &subscriber).await;
        let filter = json!({"url": other.url("/"), "event_types": ["webhook.*"]});
        Hook::add(world, "/v1/webhooks", filter).await;
        subscriber.next(Reply::Status(500, ""));
        user(world).await;
        world.drain().await;
        subscriber.next(Reply::Status(410, ""));
        let since = world.time(0);
        user(world).await;
        world.drain().await;
        let now = hook.read(world).await;
        assert_eq!((&now["enabled"], &now["disabled_reason"]), (&json!(false), &json!("gone")));
        assert!(now["disabled_at"].is_string());
        world.drain().await;
        let told = other.arrivals();
        assert_eq!(kinds(&told), ["webhook.disabled"]);
        assert_eq!(told[0].json()["data"], json!({"webhook": now["id"], "reason": "gone"}));
        user(world).await;
        world.advance(DAY).await;
        assert_eq!(subscriber.count(), 2, "nothing goes to a disabled endpoint");
        let missed = hook.deliveries(world).await;
        assert_eq!(missed.iter().filter(|d| d["state"] == "failed").count(), missed.len());
        hook.post(world, "replay", json!({"since": since})).await.refused(409, "webhook_disabled");
        let one = format!("deliveries/{}/replay", missed[0]["id"].as_str().unwrap());
        hook.post(world, &one, json!({})).await.refused(409, "webhook_disabled");

        world.patch(&hook.path, &world.app.server, json!({"enabled": true})).await.expect(200);
        let replayed = hook.post(world, "replay", json!({"since": since})).await.expect(202);
        world.drain().await;
        assert_eq!(json!(missed.len()), replayed["replayed"], "{missed:?}");
        let mut again: Vec<String> = subscriber.arrivals()[2..].iter().map(Arrival::id).collect();
        again.sort();
        let mut wanted: Vec<&str> = missed.iter().map(|d| d["id"].as_str().unwrap()).collect();
        wanted.sort_unstable();
        assert_eq!(again, wanted);
        assert!(hook.deliveries(world).await.iter().all(|d| d["state"] == "delivered"));
        let nothing = hook.post(world, "replay", json!({"since": since})).await.expect(202);
        assert_eq!(nothing["replayed"], 0);
    }

    async fn five_days_without_a_success_disable_the_endpoint(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        subscriber.always(Reply::Status(500, ""));
        user(world).await;
        world.drain().await;
        world.advance(5 * DAY - HOUR).await;
        assert_eq!(hook.read(world).await["enabled"], true);
        world.advance(HOUR).await;
        let now = hook.read(world).await;
        assert_eq!((&now["enabled"], &now["disabled_reason"]), (&json!(false), &json!("failing")));
        assert!(hook.deliveries(world).await.iter().all(|d| d["state"] == "failed"));
        let before = subscriber.count();
        world.advance(2 * DAY).await;
        assert_eq!(subscriber.count(), before);
    }

    async fn a_rotated_secret_signs_beside_the_new_one_for_a_day(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        let rotated = hook.post(world, "secret/rotate", json!({})).await.expect(200);
        let new = rotated["secret"].as_str().unwrap().to_owned();
        assert!(new != hook.secret && new.starts_with("whsec_"));
        assert_eq!(rotated["old_secret_expires_at"], world.time(86_400).as_str());
        user(world).await;
        world.drain().await;
        let both = &subscriber.arrivals()[0];
        assert!(both.signatures() == 2 && both.verifies(&hook.secret, world.now_ms()) && both.verifies(&new, world.now_ms()));
        world.advance(DAY).await;
        user(world).await;
        world.drain().await;
        let one = &subscriber.arrivals()[1];
        assert!(one.signatures() == 1 && one.verifies(&new, world.now_ms()) && !one.verifies(&hook.secret, world.now_ms()));
        assert!(hook.read(world).await["old_secret_expires_at"].is_null());
        // Revoked now: the old one signs nothing more.
        let last = hook.post(world, "secret/rotate", json!({"overlap_ms": 0})).await.expect(200)["secret"].as_str().unwrap().to_owned();
        user(world).await;
        world.drain().await;
        let one = &subscriber.arrivals()[2];
        assert!(one.signatures() == 1 && one.verifies(&last, world.now_ms()) && !one.verifies(&new, world.now_ms()));
        for wrong in [json!({"overlap_ms": -1}), json!({"overlap_ms": 604_800_001_i64})] {
            hook.post(world, "secret/rotate", wrong).await.refused_field(400, "validation_failed", "overlap_ms");
        }
        // Shown when it is made and never again.
        for path in ["/v1/webhooks", &hook.path, &format!("{}/deliveries", hook.path)] {
            assert!(!world.get(path, &world.app.server).await.text().contains("whsec_"));
        }
    }

    async fn an_endpoint_hears_what_its_filter_names(world) {
        opened(world).await;
        let (all, users, none) = (Subscriber::open().await, Subscriber::open().await, Subscriber::open().await);
        Hook::of(world, &all).await;
        let users_hook = Hook::add(world, "/v1/webhooks", json!({"url": users.url("/"), "event_types": ["user.*"]})).await;
        let body = json!({"url": none.url("/"), "event_types": ["user.deleted", "device.*"], "description": "till"});
        let quiet = Hook::add(world, "/v1/webhooks", body).await;
        let id = user(world).await;
        world.post(&format!("/v1/users/{id}/consents"), &world.app.server, json!({"purpose": "location", "granted": false})).await.expect(201);
        world.drain().await;
        assert_eq!((all.count(), kinds(&users.arrivals()), none.count()), (2, vec!["user.created".to_owned()], 0));
        assert_eq!(quiet.deliveries(world).await, Vec::<Value>::new());
        world.patch(&users_hook.path, &world.app.server, json!({"event_types": ["consent.withdrawn"]})).await.expect(200);
        user(world).await;
        world.drain().await;
        assert_eq!((all.count(), users.count(), none.count()), (3, 1, 0));
        let changed = world.get("/v1/webhooks", &world.app.server).await.expect(200);
        assert_eq!(changed["items"].as_array().unwrap().len(), 3);
        world.delete(&quiet.path, &world.app.server).await.expect(204);
        world.get(&quiet.path, &world.app.server).await.refused(404, "not_found");
        let by = &world.app.server;
        for (body, field) in [
            (json!({}), "url"),
            (json!({"url": all.url("/"), "event_types": ["*"]}), "event_types"),
            (json!({"url": all.url("/"), "event_types": vec!["a"; 51]}), "event_types"),
            (json!({"url": all.url("/"), "description": "x".repeat(201)}), "description"),
            (json!({"url": all.url("/"), "secret": "whsec_x"}), "secret"),
        ] {
            world.post("/v1/webhooks", by, body).await.refused_field(400, "validation_failed", field);
        }
        for n in 0..18 {
            Hook::add(world, "/v1/webhooks", json!({"url": all.url(&format!("/{n}")), "event_types": ["x"]})).await;
        }
        world.post("/v1/webhooks", by, json!({"url": all.url("/")})).await.refused(409, "too_many");
    }

    async fn one_endpoint_that_never_answers_holds_up_no_other(world) {
        world.restart(|config| {
            "127.0.0.0/8".clone_into(&mut config.outbound_allow);
            config.webhook_timeout_ms = 600_000;
        }).await;
        let (dead, alive) = (Subscriber::open().await, Subscriber::open().await);
        dead.always(Reply::Silence);
        let dead_hook = Hook::of(world, &dead).await;
        Hook::of(world, &alive).await;
        for _ in 0..30 {
            user(world).await;
        }
        until_has(world, &alive, 30).await;
        assert!(dead.count() <= 8, "{} requests are open to one endpoint", dead.count());
        world.delete(&dead_hook.path, &world.app.server).await.expect(204);
    }

    async fn nobody_hears_of_another_app_or_another_partner(world) {
        opened(world).await;
        let (own, foreign, taxi_hears, hotel_hears) =
            (Subscriber::open().await, Subscriber::open().await, Subscriber::open().await, Subscriber::open().await);
        let hook = Hook::of(world, &own).await;
        let stranger = world.new_app("Elsewhere").await;
        world.post("/v1/webhooks", &stranger.server, json!({"url": foreign.url("/")})).await.expect(201);
        let (taxi, hotel) = (partner(world, "Taxi").await, partner(world, "Hotel").await);
        let of_taxi = Hook::add(world, &format!("/v1/partners/{taxi}/webhooks"), json!({"url": taxi_hears.url("/")})).await;
        let of_hotel = Hook::add(world, &format!("/v1/partners/{hotel}/webhooks"), json!({"url": hotel_hears.url("/")})).await;
        user(world).await;
        world.drain().await;
        assert_eq!((own.count(), foreign.count(), taxi_hears.count(), hotel_hears.count()), (1, 0, 0, 0));
        world.person(&stranger).await;
        world.drain().await;
        assert_eq!((own.count(), foreign.count()), (1, 1));
        // Each endpoint is reached through its owner alone.
        let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        let by = &world.app.server;
        for (path, by) in [
            (hook.path.clone(), &stranger.server),
            (of_taxi.path.clone(), &stranger.server),
            (format!("/v1/webhooks/{}", id(&of_taxi.path)), by),
            (format!("/v1/partners/{hotel}/webhooks/{}", id(&of_taxi.path)), by),
            (format!("/v1/partners/{taxi}/webhooks/{}", id(&hook.path)), by),
            (format!("/v1/partners/{taxi}/webhooks/{}", id(&of_hotel.path)), by),
        ] {
            world.get(&path, by).await.refused(404, "not_found");
            world.patch(&path, by, json!({"enabled": false})).await.refused(404, "not_found");
            world.post(&format!("{path}/test"), by, json!({})).await.refused(404, "not_found");
            world.post(&format!("{path}/secret/rotate"), by, json!({})).await.refused(404, "not_found");
            world.post(&format!("{path}/replay"), by, json!({"since": world.time(-60)})).await.refused(404, "not_found");
            world.get(&format!("{path}/deliveries"), by).await.refused(404, "not_found");
            world.delete(&path, by).await.refused(404, "not_found");
        }
        let delivery = hook.deliveries(world).await[0]["id"].as_str().unwrap().to_owned();
        world.post(&format!("{}/deliveries/{delivery}/replay", of_taxi.path), by, json!({})).await.refused(404, "not_found");
        world.drain().await;
        assert_eq!((own.count(), taxi_hears.count()), (1, 0));
    }

    async fn a_withdrawal_reaches_the_partner_it_concerns_under_a_name_of_its_own(world) {
        opened(world).await;
        let subscribers = [Subscriber::open().await, Subscriber::open().await, Subscriber::open().await];
        let mut partners = Vec::new();
        for (name, subscriber) in ["Taxi", "Hotel", "Spa"].iter().zip(&subscribers) {
            let id = partner(world, name).await;
            let hook = Hook::add(world, &format!("/v1/partners/{id}/webhooks"), json!({"url": subscriber.url("/")})).await;
            partners.push((id, hook));
        }
        let [taxi, hotel, spa] = &subscribers;
        let by = world.app.server.clone();
        let texts = world.get("/v1/purposes/partner_events/versions", &by).await.expect(200);
        let grant = async |user: &str, partner: &str| {
            let body = json!({"purpose": "partner_events", "granted": true, "partner": partner,
                "text_version": texts["items"][0]["version"], "evidence": {"screen": "x"}});
            world.post(&format!("/v1/users/{user}/consents"), &by, body).await.expect(201);
        };
        let withdraw = async |user: &str, more: Value| {
            let mut body = json!({"purpose": "partner_events", "granted": false});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            world.post(&format!("/v1/users/{user}/consents"), &by, body).await.expect(201);
            world.drain().await;
        };
        let (ann, bob) = (user(world).await, user(world).await);
        for (user, partner) in [(&ann, 0), (&ann, 1), (&bob, 0)] {
            grant(user, &partners[partner].0).await;
        }
        world.drain().await;
        assert_eq!((taxi.count(), hotel.count(), spa.count()), (0, 0, 0), "a grant is no notice");

        // One partner's row.
        withdraw(&ann, json!({"partner": partners[0].0})).await;
        assert_eq!((taxi.count(), hotel.count(), spa.count()), (1, 0, 0));
        let notice = &taxi.arrivals()[0];
        assert!(notice.verifies(&partners[0].1.secret, world.now_ms()));
        let told = notice.json();
        let anns_name = told["data"]["subject"].as_str().unwrap().to_owned();
        assert!(anns_name.starts_with("sub_") && anns_name.len() == 36);
        assert_eq!(told, json!({"type": "consent.withdrawn", "timestamp": world.time(0),
            "data": {"subject": anns_name, "purpose": "partner_events", "effective_at": world.time(0)}}));
        assert!(!notice.body.contains(&ann[4..]) && !notice.head.contains(&ann[4..]));

        // A channel of all partners: those with a grant under it.
        withdraw(&ann, json!({"channel": "push"})).await;
        assert_eq!((taxi.count(), hotel.count(), spa.count()), (1, 1, 0));
        let at_hotel = hotel.arrivals()[0].json();
        assert_eq!(at_hotel["data"]["channel"], "push");
        assert_ne!(at_hotel["data"]["subject"], anns_name.as_str(), "each partner has a name of its own");
        // The whole purpose.
        withdraw(&ann, json!({})).await;
        assert_eq!((taxi.count(), hotel.count(), spa.count()), (1, 2, 0));
        assert_eq!(hotel.arrivals()[1].json()["data"]["subject"], at_hotel["data"]["subject"]);
        withdraw(&bob, json!({})).await;
        assert_eq!((taxi.count(), hotel.count(), spa.count()), (2, 2, 0));
        assert_ne!(taxi.arrivals()[1].json()["data"]["subject"], anns_name.as_str());
        // Given anew and taken again: the same name as before.
        grant(&ann, &partners[0].0).await;
        withdraw(&ann, json!({"partner": partners[0].0})).await;
        assert_eq!(taxi.arrivals()[2].json()["data"]["subject"], anns_name.as_str());
        let listed = world.get(&format!("{}/deliveries", partners[0].1.path), &by).await;
        assert!(!listed.text().contains(&ann[4..]));
    }

    async fn a_url_that_leads_inside_is_refused_whenever_it_is_chosen_and_whenever_it_is_called(world) {
        let by = world.app.server.clone();
        let dns = Dns::new(&[&["10.0.0.1"]]);
        world.kairos.platform.web.resolve_by(Arc::clone(&dns) as Arc<dyn Resolve>);
        // Only chosen, never called: the endpoint is gone before anything happens.
        let path = Hook::add(world, "/v1/webhooks", json!({"url": "https://93.184.216.34/in"})).await.path;
        let partner = partner(world, "Taxi").await;
        let partners = format!("/v1/partners/{partner}/webhooks");
        let mut urls = forbidden_urls();
        urls.push("https://inside.example/".to_owned());
        for url in &urls {
            for refused in [
                world.post("/v1/webhooks", &by, json!({"url": url})).await,
                world.post(&partners, &by, json!({"url": url})).await,
                world.patch(&path, &by, json!({"url": url})).await,
            ] {
                refused.refused_field(400, "validation_failed", "url");
            }
        }
        assert_eq!(world.number("select count(*) from webhooks").await, 1);
        assert_eq!(world.get(&path, &by).await.expect(200)["url"], "https://93.184.216.34/in");
        world.delete(&path, &by).await.expect(204);

        // A name that is good when it is chosen and leads inside when it is called.
        let inner = Subscriber::open().await;
        world.restart(|config| "127.0.0.2".clone_into(&mut config.outbound_allow)).await;
        world.kairos.platform.web.resolve_by(Arc::clone(&dns) as Arc<dyn Resolve>);
        dns.say(&[&["127.0.0.2"]]);
        let url = format!("http://hooks.example:{}/", inner.address.port());
        let hook = Hook::add(world, "/v1/webhooks", json!({"url": url})).await;
        dns.say(&[&["127.0.0.1"], &["169.254.169.254"], &["127.0.0.1"]]);
        user(world).await;
        world.drain().await;
        world.advance(6 * SECOND).await;
        let attempts = hook.deliveries(world).await[0]["attempts"].clone();
        assert_eq!((&attempts[0]["failure"], &attempts[1]["failure"]), (&json!("forbidden_address"), &json!("forbidden_address")));
        let tested = hook.post(world, "test", json!({})).await.expect(200);
        assert_eq!((&tested["delivered"], &tested["failure"]), (&json!(false), &json!("forbidden_address")));
        assert_eq!(inner.count(), 0);
        world.delete(&hook.path, &world.app.server).await.expect(204);
    }

    async fn an_answer_may_be_neither_a_redirect_nor_a_trap(world) {
        world.restart(|config| {
            "127.0.0.0/8".clone_into(&mut config.outbound_allow);
            config.webhook_timeout_ms = 2_000;
        }).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        for (reply, delivered, status, failure) in [
            (Reply::Status(200, ""), true, json!(200), Value::Null),
            (Reply::Status(302, "Location: http://169.254.169.254/latest\r\n"), false, json!(302), json!("redirect")),
            (Reply::Status(500, ""), false, json!(500), json!("refused")),
            (Reply::Status(410, ""), false, json!(410), json!("gone")),
            (Reply::Endless(200), true, json!(200), Value::Null),
            (Reply::Endless(500), false, json!(500), json!("refused")),
            (Reply::Stuck(200), true, json!(200), Value::Null),
            (Reply::Silence, false, Value::Null, json!("timeout")),
        ] {
            subscriber.next(reply.clone());
            let tested = hook.post(world, "test", json!({})).await.expect(200);
            assert_eq!((&tested["delivered"], &tested["status"], &tested["failure"]), (&json!(delivered), &status, &failure), "{reply:?}");
            assert!(!tested.to_string().contains("xxx"), "an answer's body is shown to nobody");
            let sent = subscriber.arrivals().pop().unwrap();
            assert_eq!((tested["id"].as_str().unwrap(), sent.json()["type"].as_str().unwrap()), (sent.id().as_str(), "webhook.test"));
            assert!(sent.verifies(&hook.secret, world.now_ms()));
        }
        assert_eq!(hook.read(world).await["enabled"], true, "a test changes nothing");
        assert_eq!(hook.deliveries(world).await, Vec::<Value>::new());
    }

    async fn what_was_being_sent_when_the_server_died_is_sent_again_under_its_id(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let hook = Hook::of(world, &subscriber).await;
        subscriber.next(Reply::Silence);
        user(world).await;
        until_has(world, &subscriber, 1).await;
        world.restart(|_| {}).await;
        world.drain().await;
        assert_eq!(subscriber.count(), 1, "the lease has not ended");
        world.advance(Duration::from_secs(50)).await;
        let arrivals = subscriber.arrivals();
        assert_eq!((arrivals.len(), arrivals[1].id()), (2, arrivals[0].id()));
        assert_eq!(arrivals[0].body, arrivals[1].body);
        assert_eq!(hook.deliveries(world).await[0]["state"], "delivered");
        world.advance(DAY).await;
        assert_eq!(subscriber.count(), 2);
    }

    async fn an_effect_that_is_undone_tells_nobody(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        Hook::of(world, &subscriber).await;
        let taken = json!({"external_id": "crm-1"});
        world.post("/v1/users", &world.app.server, taken.clone()).await.expect(201);
        world.post("/v1/users", &world.app.server, taken).await.refused(409, "already_exists");
        world.drain().await;
        assert_eq!(subscriber.count(), 1);
    }

    async fn deliveries_are_listed_by_state_and_page_and_forgotten_after_a_month(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        let body = json!({"url": subscriber.url("/"), "event_types": ["user.*"]});
        let hook = Hook::add(world, "/v1/webhooks", body).await;
        for _ in 0..3 {
            user(world).await;
            world.advance(SECOND).await;
        }
        subscriber.always(Reply::Status(500, ""));
        user(world).await;
        world.drain().await;
        let by = &world.app.server;
        let list = async |query: &str| world.get(&format!("{}/deliveries?{query}", hook.path), by).await.expect(200);
        let first = list("limit=3").await;
        let rest = list(&format!("limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;
        let states = |page: &Value| page["items"].as_array().unwrap().iter().map(|d| d["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!((states(&first), states(&rest)), (vec!["waiting".to_owned(), "delivered".into(), "delivered".into()], vec!["delivered".into()]));
        assert_eq!(states(&list("state=waiting").await), ["waiting"]);
        assert_eq!(states(&list("state=failed").await), Vec::<String>::new());
        assert!(first["items"][0]["next_attempt_at"].is_string() && first["items"][1]["next_attempt_at"].is_null());
        world.get(&format!("{}/deliveries?state=lost", hook.path), by).await.refused(400, "validation_failed");
        world.advance(29 * DAY).await;
        assert_eq!(hook.deliveries(world).await.len(), 4);
        world.advance(2 * DAY).await;
        assert_eq!(states(&list("").await), ["failed"]);
        world.advance(31 * DAY).await;
        assert_eq!(world.number("select count(*) from webhook_deliveries").await, 0);
    }

    async fn an_erased_user_is_in_no_delivery_and_partners_are_told_all_the_same(world) {
        opened(world).await;
        let (own, hears) = (Subscriber::open().await, Subscriber::open().await);
        Hook::of(world, &own).await;
        let taxi = partner(world, "Taxi").await;
        Hook::add(world, &format!("/v1/partners/{taxi}/webhooks"), json!({"url": hears.url("/")})).await;
        let (gone, stays) = (user(world).await, user(world).await);
        let withdrawal = json!({"purpose": "partner_events", "granted": false, "partner": taxi});
        world.post(&format!("/v1/users/{gone}/consents"), &world.app.server, withdrawal).await.expect(201);
        let (platform, app, id) = (world.kairos.platform.clone(), world.app.id, gone.parse().unwrap());
        let store = platform.store.clone();
        store.write(move |conn| personal::erase(conn, &platform.master_key, (app, id))).await.unwrap();
        let named = format!("select count(*) from webhook_deliveries where user_id = '{gone}' or body like '%{}%'", &gone[4..]);
        assert_eq!(world.number(&named).await, 0);
        world.drain().await;
        assert_eq!(own.arrivals().iter().map(|a| a.json()["data"]["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), [stays]);
        assert_eq!(hears.count(), 1);
        assert!(hears.arrivals()[0].json()["data"]["subject"].as_str().unwrap().starts_with("sub_"));
    }

    async fn outcomes_are_counted(world) {
        opened(world).await;
        let subscriber = Subscriber::open().await;
        Hook::of(world, &subscriber).await;
        let count = async |outcome: &str| {
            let line = format!("kairos_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
            let text = world.get("/metrics", &Caller::Nobody).await.text();
            text.lines().find_map(|l| l.strip_prefix(&line)).unwrap_or_else(|| panic!("{text}")).parse::<u64>().unwrap()
        };
        let (delivered, retry) = (count("delivered").await, count("retry").await);
        subscriber.next(Reply::Status(500, ""));
        user(world).await;
        world.drain().await;
        world.advance(6 * SECOND).await;
        // Other tests in this process count too.
        assert!(count("delivered").await > delivered && count("retry").await > retry);
    }
}
