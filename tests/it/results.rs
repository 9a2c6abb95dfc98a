//! Webhooks about messages: each result once, a hundred in one call for a large audience, nothing where nobody listens.

use crate::stage::{Good, Listener, Stage};
use crate::subscriber::{Arrival, Subscriber};
use crate::world::World;
use kairos::push::standin::Phone;
use kairos::push::{Environment, Gateway};
use kairos::webhook::{MessageResult, batches};
use serde_json::{Value, json};
use std::time::Duration;

async fn set(world: &mut World) -> Stage {
    let stage = Stage::set(world).await;
    world.restart(|config| "127.0.0.0/8".clone_into(&mut config.outbound_allow)).await;
    stage.one_offer(world, json!({}), json!({})).await;
    stage
}

async fn hook(world: &World, event_types: &[&str]) -> (Subscriber, String) {
    let subscriber = Subscriber::open().await;
    let body = json!({"url": subscriber.url("/in"), "event_types": event_types});
    let made = world.post("/v1/webhooks", &world.app.server, body).await.expect(201);
    (subscriber, made["secret"].as_str().unwrap().to_owned())
}

fn of(arrivals: &[Arrival], kind: &str) -> Vec<Value> {
    arrivals.iter().map(Arrival::json).filter(|body| body["type"] == kind).map(|body| body["data"].clone()).collect()
}

/// (type, message, user) of every result in these, sorted.
fn results(arrivals: &[Arrival]) -> Vec<(String, String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let all = of(arrivals, "message.results");
    let lines = all.iter().flat_map(|data| data["results"].as_array().unwrap());
    let mut lines: Vec<_> = lines.map(|line| (text(line, "type"), text(line, "message"), text(line, "user"))).collect();
    lines.sort();
    lines
}

async fn message_of(world: &World, stage: &Stage, who: &Listener) -> String {
    stage.messages(world, who).await[0]["id"].as_str().unwrap().to_owned()
}

both! {
    async fn an_endpoint_hears_the_results_that_it_names_each_once(world) {
        let stage = set(world).await;
        let (hook, secret) = hook(world, &["message.accepted", "message.rejected", "message.opened", "device.token_dead"]).await;
        let (well, gone) = (stage.listener(world).await, stage.listener(world).await);
        let dead = Phone {
            gateway: Gateway::Apns,
            environment: Environment::Production,
            topic: None,
            dead_ms: Some(world.now_ms() + 1),
        };
        stage.standin.register(gone.token.clone(), dead);
        world.clock.advance(Duration::from_secs(2));
        stage.lands(world, &well, 0).await;
        stage.lands(world, &gone, 0).await;
        world.drain().await;
        let (theirs, lost) = (message_of(world, &stage, &well).await, message_of(world, &stage, &gone).await);
        let path = format!("/v1/messages/{theirs}/receipts");
        for kind in ["delivered", "opened", "opened"] {
            world.post(&path, &well.person.token, json!({"kind": kind})).await.good();
        }
        world.drain().await;
        world.drain().await;
        let arrivals = hook.arrivals();
        assert_eq!(arrivals.len(), 4, "{arrivals:#?}");
        assert!(arrivals.iter().all(|arrival| arrival.verifies(&secret, world.now_ms())));
        let now = world.time(0);
        assert_eq!(of(&arrivals, "message.accepted"), [json!({"message": theirs, "user": well.person.id, "at": now})]);
        let rejected = json!({"message": lost, "user": gone.person.id, "at": now, "reason": "unregistered"});
        assert_eq!(of(&arrivals, "message.rejected"), [rejected]);
        assert_eq!(of(&arrivals, "message.opened"), [json!({"message": theirs, "user": well.person.id, "at": now})]);
        let dead = of(&arrivals, "device.token_dead");
        assert_eq!((dead.len(), &dead[0]["user"]), (1, &json!(gone.person.id)));
        assert_eq!(world.number("select count(*) from messages where not settled").await, 0);
    }

    async fn a_large_audience_is_told_of_in_few_calls(world) {
        let stage = set(world).await;
        let (many, _) = hook(world, &["message.*"]).await;
        let (all, _) = hook(world, &[]).await;
        let mut wanted = Vec::new();
        let mut people = Vec::new();
        for _ in 0..130 {
            let who = stage.listener(world).await;
            stage.lands(world, &who, 0).await;
            people.push(who);
        }
        world.drain().await;
        for who in &people {
            wanted.push(("accepted".to_owned(), message_of(world, &stage, who).await, who.person.id.clone()));
        }
        wanted.sort();
        for hook in [&many, &all] {
            assert_eq!(results(&hook.arrivals()), wanted);
            let calls = of(&hook.arrivals(), "message.results");
            assert!(calls.iter().all(|data| data["results"].as_array().unwrap().len() <= 100));
            assert!(calls.len() < 65, "{} calls", calls.len());
        }
        assert_eq!(many.count(), of(&many.arrivals(), "message.results").len(), "and no single ones");
        let first = world.post(&format!("/v1/messages/{}/recall", wanted[0].1), &stage.app.server, json!({})).await;
        assert_eq!(first.status, 200);
        world.drain().await;
        let last = ("recalled".to_owned(), wanted[0].1.clone(), wanted[0].2.clone());
        assert_eq!(results(&many.arrivals()).into_iter().filter(|line| line.0 == "recalled").collect::<Vec<_>>(), [last]);
    }

    async fn a_hundred_taps_on_buttons_with_long_names_are_told_in_as_many_calls_as_they_need(world) {
        let stage = set(world).await;
        let (hook, _) = hook(world, &["message.results"]).await;
        let who = stage.listener(world).await;
        let landing = |n: usize| json!({"id": format!("e{n}"), "type": "landed", "occurred_at": world.time(0),
            "subject": who.person.id, "properties": {"airport": n.to_string()}});
        let events: Vec<Value> = (0..100).map(landing).collect();
        world.post("/v1/events", &stage.app.server, json!({"events": events})).await.expect(202);
        world.drain().await;
        let path = format!("/v1/messages?user={}&limit=500", who.person.id);
        let messages = world.get(&path, &stage.app.server).await.good()["items"].as_array().unwrap().clone();
        assert_eq!(messages.len(), 100);
        let button = "返".repeat(70);
        let tap = |message: &Value| json!({"message_id": message["id"], "kind": "opened", "action": button});
        let taps: Vec<Value> = messages.iter().map(tap).collect();
        let heard = world.post("/v1/receipts", &who.person.token, json!({"receipts": taps})).await.good();
        assert!(heard["results"].as_array().unwrap().iter().all(|result| result["status"] == "accepted"), "{heard}");
        world.drain().await;
        world.drain().await;
        let arrivals = hook.arrivals();
        let opened: Vec<_> = results(&arrivals).into_iter().filter(|line| line.0 == "opened").collect();
        assert!(opened.len() == 100 && opened.iter().all(|line| line.2 == who.person.id), "{opened:?}");
        assert!(arrivals.iter().all(|arrival| arrival.body.len() <= 32_000));
    }

    async fn a_token_that_died_long_ago_is_told_of_today(world) {
        let stage = set(world).await;
        let subscriber = Subscriber::open().await;
        let body = json!({"url": subscriber.url("/in"), "event_types": ["device.token_dead"]});
        let made = world.post("/v1/webhooks", &stage.app.server, body).await.expect(201);
        let path = format!("/v1/webhooks/{}", made["id"].as_str().unwrap());
        let gone = stage.listener(world).await;
        let device = world.lines("select id as line from devices").await.remove(0);
        let died = world.time(1);
        let dead = Phone {
            gateway: Gateway::Apns,
            environment: Environment::Production,
            topic: None,
            dead_ms: Some(world.now_ms() + 1_000),
        };
        stage.standin.register(gone.token.clone(), dead);
        // Nobody has sent anything there for longer than deliveries are kept.
        world.clock.advance(Duration::from_secs(40 * 86_400));
        world.patch(&path, &stage.app.server, json!({"enabled": false})).await.expect(200);
        let today = world.time(0);
        stage.lands(world, &gone, 0).await;
        world.drain().await;
        world.advance(Duration::from_secs(3_600)).await;
        let missed = world.get(&format!("{path}/deliveries"), &stage.app.server).await.expect(200);
        let times = &missed["items"][0];
        assert_eq!((&times["state"], &times["created_at"], &times["ended_at"]), (&json!("failed"), &json!(today), &json!(today)));
        world.patch(&path, &stage.app.server, json!({"enabled": true})).await.expect(200);
        let replayed = world.post(&format!("{path}/replay"), &stage.app.server, json!({"since": today})).await.expect(202);
        assert_eq!(replayed["replayed"], 1);
        world.drain().await;
        let told = subscriber.arrivals();
        assert_eq!((told.len(), &told[0].json()["timestamp"]), (1, &json!(today)));
        let wanted = json!({"device": device, "user": gone.person.id, "since": died});
        assert_eq!(of(&told, "device.token_dead"), [wanted]);
    }

    async fn where_nobody_listens_nothing_is_left_to_do(world) {
        let stage = set(world).await;
        hook(world, &["user.created", "device.registered"]).await;
        let partner = world.post("/v1/partners", &world.app.server, json!({"name": "Taxi"})).await.expect(201);
        let theirs = format!("/v1/partners/{}/webhooks", partner["id"].as_str().unwrap());
        let eager = Subscriber::open().await;
        world.post(&theirs, &world.app.server, json!({"url": eager.url("/in")})).await.expect(201);
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        // The push alone: what is accepted is settled with it.
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where settled and state = 'accepted'").await, 1);
        let told = "select count(*) from webhook_deliveries where event_type like 'message.%'";
        assert_eq!((world.number(told).await, eager.count()), (0, 0));
        let stranger = world.new_app("Stranger").await;
        let (elsewhere, body) = (Subscriber::open().await, |url: String| json!({"url": url, "event_types": ["message.results"]}));
        world.post("/v1/webhooks", &stranger.server, body(elsewhere.url("/in"))).await.expect(201);
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        assert_eq!((world.number(told).await, elsewhere.count()), (0, 0));
    }

    async fn whoever_is_erased_is_in_no_result_that_still_waits(world) {
        let stage = set(world).await;
        let (hook, _) = hook(world, &["message.results"]).await;
        hook.always(crate::subscriber::Reply::Status(503, ""));
        let (stays, leaves) = (stage.listener(world).await, stage.listener(world).await);
        for who in [&stays, &leaves] {
            stage.lands(world, who, 0).await;
        }
        world.drain().await;
        let before = results(&hook.arrivals());
        assert!(before.iter().any(|line| line.2 == leaves.person.id), "{before:?}");
        let kept = message_of(world, &stage, &stays).await;
        world.delete(&format!("/v1/users/{}", leaves.person.id), &stage.app.server).await.expect(202);
        world.drain().await;
        world.advance(Duration::from_secs(61)).await;
        let bodies = world.lines("select body as line from webhook_deliveries").await.join(" ");
        assert!(!bodies.contains(&leaves.person.id));
        let seen = hook.count();
        hook.always(crate::subscriber::Reply::Status(204, ""));
        world.advance(Duration::from_secs(3_600)).await;
        let after = results(&hook.arrivals()[seen..]);
        assert!(!after.is_empty() && after.iter().all(|line| line.1 == kept && line.2 == stays.person.id), "{after:?}");
    }
}

#[test]
fn results_are_parted_by_number_and_by_what_a_body_holds() {
    let result = |action: String| MessageResult {
        message_id: "msg_00000000000070008000000000000000".parse().unwrap(),
        user_id: "usr_00000000000070008000000000000000".parse().unwrap(),
        kind: "opened",
        at_ms: 0,
        reason: Some(action),
    };
    let sizes = |all: &[MessageResult]| batches(all).iter().map(|batch| batch.len()).collect::<Vec<_>>();
    assert_eq!(sizes(&[]), [0; 0]);
    let short: Vec<MessageResult> = (0..230).map(|n| result(n.to_string())).collect();
    assert_eq!(sizes(&short), [100, 100, 30]);
    assert_eq!(batches(&short).concat(), short, "in their order");
    // The largest names that a button may have, by what they are in a body.
    for name in ["返", "𠀀", "\""].map(|letter| letter.repeat(100)) {
        let long: Vec<MessageResult> = (0..100).map(|_| result(name.clone())).collect();
        let parts = batches(&long);
        assert_eq!(parts.concat(), long);
        // As they go out: with whom they went to, and a comma.
        let line = json!({"message": long[0].message_id, "type": "opened", "at": "1970-01-01T00:00:00.000Z", "reason": name,
            "user": long[0].user_id, "device": "dev_00000000000070008000000000000000"});
        let bytes = |part: &[MessageResult]| part.len() * (line.to_string().len() + 1);
        assert!(parts.len() > 1 && parts.iter().all(|part| !part.is_empty() && bytes(part) < 32_000), "{name}");
    }
    let huge = [result("x".repeat(40_000)), result("y".to_owned())];
    assert_eq!(sizes(&huge), [1, 1], "it ends, whatever comes");
}
