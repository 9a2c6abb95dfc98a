//! Limits: what is one too many is refused by its name, what is just enough is taken.

use crate::event::{anonymous, disposition, send, thing};
use crate::world::{World, story};
use kairos::error::Error;
use kairos::store::{Conn, GroupCommit, Limits};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn schema(references: usize) -> Value {
    let all: Vec<Value> = (0..references).map(|_| json!({"$ref": "#/$defs/total"})).collect();
    json!({"schema": {"$defs": {"total": {"type": "object"}}, "allOf": all}})
}

fn many(world: &World, (from, count): (usize, usize), subject: &str) -> Value {
    let event = |n| json!({"id": format!("e{n}"), "type": "order.placed", "occurred_at": world.time(0), "subject": subject});
    json!({"events": (from..from + count).map(event).collect::<Vec<_>>()})
}

both! {
    async fn a_schema_has_at_most_twenty_references(world) {
        world.put("/v1/event-types/order.placed", &world.app.server, schema(20)).await.expect(200);
        let refused = world.put("/v1/event-types/order.paid", &world.app.server, schema(21)).await;
        refused.refused_field(400, "validation_failed", "schema");
    }

    async fn a_moment_key_that_no_index_can_hold_opens_no_moment(world) {
        story::declare(&world.api, &world.app).await;
        world.put("/v1/moment-kinds/order-ready", &world.app.server, story::kind()).await.expect(201);
        let mut zero = story::kind();
        zero["key"] = json!("zero");
        zero["trigger"] = json!({"event_type": "order.zero"});
        zero["moment_key"] = json!("event.properties.n + '\\u0000'");
        world.put("/v1/moment-kinds/zero", &world.app.server, zero).await.expect(201);
        let (user, _) = anonymous(world).await;
        let event = |kind: &str, n: String| {
            json!({"id": format!("{kind}{}", n.len()), "type": kind, "occurred_at": world.time(0), "subject": user, "properties": {"n": n}})
        };
        let events = [event("order.ready", "x".repeat(200)), event("order.ready", "x".repeat(201)), event("order.zero", "x".to_owned())];
        let results = send(world, &world.app.server, json!(events)).await;
        world.drain().await;
        for (result, wanted) in results.iter().zip(["decided", "no_trigger", "no_trigger"]) {
            assert_eq!(disposition(world, result).await, wanted, "{result}");
        }
    }

    async fn a_token_is_no_longer_than_an_index_holds(world) {
        let (_, me) = anonymous(world).await;
        let android = |length: usize| json!({"platform": "android", "token": "x".repeat(length)});
        world.put("/v1/me/devices/phone", &me, android(2_048)).await.expect(201);
        world.put("/v1/me/devices/tablet", &me, android(2_049)).await.refused_field(400, "validation_failed", "token");
    }

    async fn a_thing_holds_at_most_64_kib_of_properties(world) {
        let id = thing(world, "39a415").await;
        // {"a":"…"} is eight bytes around the text.
        let properties = |length: usize| json!({"properties": {"a": "x".repeat(length - 8)}});
        let path = format!("/v1/things/{id}");
        world.patch(&path, &world.app.server, properties(65_536)).await.expect(200);
        world.patch(&path, &world.app.server, properties(65_537)).await.refused_field(400, "validation_failed", "properties");
    }

    async fn caps_name_each_category_once(world) {
        let caps = |second: &str| {
            format!(r#"{{"settings":{{"caps":{{"per_category":{{"travel":[{{"limit":1,"window_ms":3600000}}],"{second}":[]}}}}}}}}"#)
        };
        let patch = |body: String| world.call("PATCH", "/v1/app").by(&world.app.server).text("application/json", &body).send();
        patch(caps("food")).await.expect(200);
        patch(caps("travel")).await.refused(400, "validation_failed");
    }

    async fn each_event_of_a_call_counts_as_a_request_of_its_key(world) {
        world.restart(|config| config.requests_per_key_per_second = 10).await;
        let (user, _) = anonymous(world).await;
        let server = &world.app.server;
        let sent = world.post("/v1/events", server, many(world, (0, 30), &user)).await;
        assert_eq!(sent.header("ratelimit"), Some("\"key\";r=10;t=4"));
        sent.expect(202);
        world.clock.advance(Duration::from_millis(1_500));
        let refused = world.post("/v1/events", server, many(world, (30, 11), &user)).await;
        assert_eq!(refused.header("retry-after"), Some("3"), "the rest of the window, rounded up");
        refused.refused(429, "rate_limited");
        assert_eq!(world.number("select count(*) from events").await, 30, "nothing of a refused call is recorded");
        // The refused call itself was one request.
        world.post("/v1/events", server, many(world, (30, 9), &user)).await.expect(202);
        world.get("/v1/app", server).await.refused(429, "rate_limited");
        // What no window holds is not to be tried again and again.
        world.clock.advance(Duration::from_secs(4));
        world.post("/v1/events", server, many(world, (40, 41), &user)).await.refused_field(400, "validation_failed", "events");
        world.clock.advance(Duration::from_secs(4));
        world.post("/v1/events", server, many(world, (40, 40), &user)).await.expect(202);
    }

    async fn a_clock_that_steps_back_does_not_lift_the_limit(world) {
        world.restart(|config| config.requests_per_key_per_second = 10).await;
        let server = world.app.server.clone();
        for back_ms in [4_000, 3_600_000] {
            world.clock.advance(Duration::from_secs(7_200));
            world.get("/v1/app", &server).await.expect(200);
            world.clock.set(world.now_ms() - back_ms);
            let mut taken = 0;
            for n in 0..200 {
                world.clock.advance(Duration::from_millis(n % 3));
                taken += u32::from(world.get("/v1/app", &server).await.status == 200);
            }
            assert!((39..=80).contains(&taken), "{taken} of 200 requests at once were taken at 10/s, {back_ms} ms back");
        }
    }

    async fn a_call_of_a_thousand_events_is_within_the_default_limits(world) {
        let (user, _) = anonymous(world).await;
        for n in 0..3 {
            let sent = world.post("/v1/events", &world.app.server, many(world, (n * 1_000, 1_000), &user)).await;
            assert!(sent.text().matches("accepted").count() == 1_000, "{}", sent.text());
        }
    }

    async fn what_waits_to_be_written_has_a_bounded_weight(world) {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let (begun, heaviest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (begins, weighs) = (Arc::clone(&begun), Arc::clone(&heaviest));
        let limits = Limits { queue_calls: 100, queue_weight: 10, batch_calls: 100, batch_weight: 4 };
        let group = GroupCommit::start(world.kairos.platform.store.clone(), limits, move |_: &mut Conn, weights: &[u32]| {
            begins.store(true, Ordering::SeqCst);
            weighs.fetch_max(weights.iter().sum(), Ordering::SeqCst);
            wait.lock().unwrap().recv().unwrap();
            Ok(vec![(); weights.len()])
        });
        let submit = |weight: u32| {
            let group = group.clone();
            tokio::spawn(async move { group.submit(weight, weight).await })
        };
        let first = submit(4);
        while !begun.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // What is being written weighs too.
        let second: Vec<_> = (0..3).map(|_| submit(2)).collect();
        while group.room() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(submit(1).await.unwrap(), Err(Error::Busy(_))));
        for _ in 0..4 {
            let _ = go_on.send(());
        }
        first.await.unwrap().unwrap();
        for call in second {
            call.await.unwrap().unwrap();
        }
        assert_eq!(heaviest.load(Ordering::SeqCst), 4, "a transaction takes no more in once it is heavy enough");
        while group.room() < 10 {
            tokio::task::yield_now().await;
        }
        let _ = go_on.send(());
        submit(1_000).await.unwrap().unwrap();
    }
}
