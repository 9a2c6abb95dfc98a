//! Test keys: what they send leads to messages marked as tests, and neither to a live push nor to a live silence.

use crate::event::thing;
use crate::stage::{Good, Listener, Stage, grant, minutes, phone};
use crate::world::{Caller, Tenant, World};
use serde_json::{Value, json};

/// A key of this kind in test mode.
async fn test_key(world: &World, app: &Tenant, kind: &str, scopes: &[&str]) -> String {
    let mut body = json!({"kind": kind, "name": "try", "mode": "test"});
    if !scopes.is_empty() {
        body["scopes"] = json!(scopes);
    }
    world.post("/v1/keys", &app.server, body).await.good()["secret"].as_str().unwrap().to_owned()
}

async fn server_key(world: &World, stage: &Stage) -> Caller {
    Caller::Bearer(test_key(world, &stage.app, "server", &["events:write"]).await)
}

/// Somebody who signed in with a test key, and agreed to offers and to being found.
async fn tester(world: &World, stage: &Stage) -> Listener {
    let key = test_key(world, &stage.app, "publishable", &[]).await;
    let person = world.person(&Tenant { phone: Caller::App(key), ..stage.app.clone() }).await;
    for purpose in ["marketing", "location"] {
        grant(world, &person, purpose).await;
    }
    let token = phone(world, &person, "phone").await;
    Listener { person, token }
}

async fn send(world: &World, by: &Caller, event: Value) -> String {
    let taken = world.post("/v1/events", by, json!({"events": [event]})).await.expect(202);
    assert_eq!(taken["results"][0]["status"], "accepted", "{taken}");
    taken["results"][0]["event_id"].as_str().unwrap().to_owned()
}

fn lands(world: &World, id: &str, subject: &str) -> Value {
    json!({"id": id, "type": "landed", "occurred_at": world.time(0), "subject": subject, "properties": {"airport": "Orly"}})
}

/// Of each message of somebody, the oldest first, whether it is a test; all must have arrived.
async fn tests_of(world: &World, stage: &Stage, who: &Listener) -> Vec<bool> {
    let messages = stage.messages(world, who).await;
    assert_eq!(messages.len(), stage.arrived(who).len(), "{messages:?}");
    messages.iter().map(|message| message["test"].as_bool().unwrap()).collect()
}

both! {
    async fn whoever_sends_with_a_test_key_gets_messages_that_are_tests(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let partner = world.post("/v1/partners", &stage.app.server, json!({"name": "Hotel"})).await.good();
        let partner = partner["id"].as_str().unwrap().to_owned();
        let keys = format!("/v1/partners/{partner}/keys");
        let made = world.post(&keys, &stage.app.server, json!({"name": "try", "mode": "test"})).await.good();
        let of_partner = Caller::Bearer(made["secret"].as_str().unwrap().to_owned());
        let of_phone = Caller::App(test_key(world, &stage.app, "publishable", &[]).await);
        let of_server = server_key(world, &stage).await;
        let who = tester(world, &stage).await;
        let consent = json!({"purpose": "partner_events", "partner": partner, "granted": true, "text_version": "1",
            "evidence": {"screen": "partners"}});
        world.post("/v1/me/consents", &who.person.token, consent).await.good();
        let device = world.lines("select id as line from devices").await.remove(0);
        let own = who.person.token.clone();
        let all = [(&of_server, &who.person.id), (&of_partner, &who.person.id), (&own, &who.person.id), (&of_phone, &device)];
        for (n, (by, subject)) in all.into_iter().enumerate() {
            let mut event = lands(world, &format!("t{n}"), subject);
            event["properties"]["airport"] = json!(n.to_string());
            let id = send(world, by, event).await;
            world.drain().await;
            let said = stage.event(world, &id).await;
            assert_eq!((&said["test"], &said["disposition"]), (&json!(true), &json!("decided")), "{n}: {said}");
            assert_eq!(tests_of(world, &stage, &who).await, vec![true; n + 1], "{n}");
        }
        // The same person, by a live key.
        let id = stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &id).await["test"], false);
        assert_eq!(tests_of(world, &stage, &who).await, [true, true, true, true, false]);
        assert_eq!(world.number("select count(*) from messages where test and route not like '%.test'").await, 0);
        assert_eq!(world.number("select count(*) from messages where not test and route like '%.test'").await, 0);
        stage.adds_up(world).await;
    }

    async fn what_follows_from_a_test_is_a_test_also_by_the_clock_and_after_a_hold(world) {
        let stage = Stage::set(world).await;
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Welcome", "body": "Hello"}}}});
        stage.one_offer(world, words, json!({})).await;
        let trigger = json!({"trigger": {"event_type": "place.dwell"}, "moment_key": null});
        stage.kind(world, trigger).await;
        let circle = json!({"lat": 48.7253, "lon": 2.3594, "radius_m": 3000});
        world.post("/v1/places", &stage.app.server, json!({"name": "Orly", "circle": circle})).await.good();
        let who = tester(world, &stage).await;
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
        world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
        let fix = |id: &str, lat: f64| json!({"id": id, "type": "location", "occurred_at": world.time(0), "subject": who.person.id,
            "location": {"lat": lat, "lon": 2.3594, "accuracy_m": 5}});
        send(world, &who.person.token, fix("in", 48.7253)).await;
        world.advance(minutes(5)).await;
        assert_eq!(stage.decision(world, &who).await["outcome"], "held");
        world.advance(minutes(15)).await;
        assert_eq!(tests_of(world, &stage, &who).await, [true]);
        assert_eq!(world.number("select count(*) from events where type like 'place.%' and not test").await, 0);
        // To the live map that person was never there: a live fix outside is no exit, a live one inside is a first sight.
        let fix = |id: &str, lat: f64| json!({"id": id, "type": "location", "occurred_at": world.time(0), "subject": who.person.id,
            "location": {"lat": lat, "lon": 2.3594, "accuracy_m": 5}});
        send(world, &stage.app.server, fix("out", 49.5)).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from events where type = 'place.exit'").await, 0);
        world.advance(minutes(60)).await;
        assert_eq!(world.number("select count(*) from events where type = 'place.exit' and test").await, 1, "the silent visit");
        assert_eq!(world.number("select count(*) from events where type like 'place.%' and not test").await, 0);
        stage.adds_up(world).await;
    }

    async fn a_test_takes_nothing_from_what_is_live(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true, "moment_key": "event.properties.airport"})).await;
        let read = world.get("/v1/app", &stage.app.server).await;
        let etag = read.header("etag").unwrap().to_owned();
        let caps = json!({"settings": {"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}}});
        world.call("PATCH", "/v1/app").by(&stage.app.server).header("If-Match", &etag).json(&caps).send().await.good();
        let (offer, _) = stage.one_offer(world, json!({"stock": 2}), json!({})).await;
        let tests = server_key(world, &stage).await;
        let (who, asleep) = (stage.listener(world).await, stage.listener(world).await);
        // A test first: the live event joins no moment of its, finds no cap used up and all of the stock.
        send(world, &tests, lands(world, "t1", &who.person.id)).await;
        send(world, &tests, lands(world, "t2", &who.person.id)).await;
        world.drain().await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(tests_of(world, &stage, &who).await, [true, false], "the second test joined the first");
        let reserved = format!("select stock_reserved from offers where id = '{offer}'");
        assert_eq!(world.number(&reserved).await, 1);
        // What is held live is not superseded by a test, and the other way round.
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
        world.call("PATCH", "/v1/me/preferences").by(&asleep.person.token).header("If-Match", "*").json(&quiet).send().await.good();
        stage.lands(world, &asleep, 0).await;
        world.drain().await;
        send(world, &tests, lands(world, "t3", &asleep.person.id)).await;
        world.drain().await;
        // The test is judged by the same caps: the live one of a moment ago counts for it too.
        let outcomes: Vec<Value> = stage.decisions(world, &asleep).await.iter().map(|d| d["outcome"].clone()).collect();
        assert_eq!(outcomes, ["held", "silent"]);
        assert_eq!(world.number(&reserved).await, 2);
        world.advance(minutes(20)).await;
        assert_eq!(tests_of(world, &stage, &asleep).await, [false]);
        assert_eq!(world.number(&reserved).await, 2);
        stage.adds_up(world).await;
    }

    async fn a_held_test_that_is_refused_gives_back_no_stock_that_it_never_took(world) {
        let stage = Stage::set(world).await;
        let (offer, campaign) = stage.one_offer(world, json!({"stock": 2}), json!({})).await;
        let who = tester(world, &stage).await;
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
        world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
        send(world, &who.person.token, lands(world, "t1", &who.person.id)).await;
        world.drain().await;
        assert_eq!(stage.decision(world, &who).await["outcome"], "held");
        world.post(&format!("/v1/campaigns/{campaign}/pause"), &stage.app.server, json!({})).await.good();
        world.advance(minutes(20)).await;
        assert_eq!(stage.decision(world, &who).await["outcome"], "release_refused");
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 0);
        stage.adds_up(world).await;
    }

    async fn a_test_key_takes_back_and_cancels_what_is_a_test_alone(world) {
        let stage = Stage::set(world).await;
        let (_, campaign) = stage.one_offer(world, json!({}), json!({})).await;
        let tests = Caller::Bearer(test_key(world, &stage.app, "server", &["events:write", "push:write"]).await);
        let (one, two) = (stage.listener(world).await, stage.listener(world).await);
        stage.lands(world, &one, 0).await;
        send(world, &tests, lands(world, "t1", &two.person.id)).await;
        world.drain().await;
        let (live, test) = (stage.messages(world, &one).await.remove(0), stage.messages(world, &two).await.remove(0));
        assert_eq!((&live["test"], &test["test"]), (&json!(false), &json!(true)));
        let ask = async |by: &Caller, (what, verb): (&str, &str), id: &Value| {
            world.post(&format!("/v1/{what}/{}/{verb}", id.as_str().unwrap()), by, json!({})).await
        };
        let campaign = json!(campaign);
        for (what, id) in [
            (("messages", "recall"), &live["id"]),
            (("messages", "cancel"), &live["id"]),
            (("decisions", "recall"), &live["decision_id"]),
            (("campaigns", "recall"), &campaign),
        ] {
            ask(&tests, what, id).await.refused(403, "forbidden");
        }
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where recalls <> '' or recalled_ms is not null").await, 0);
        let nobodys = json!(format!("msg_{}", "0".repeat(32)));
        ask(&tests, ("messages", "recall"), &nobodys).await.refused(404, "not_found");
        // What is a test is a test key's to take back, and a live key's; what is live is a live key's alone.
        ask(&tests, ("messages", "recall"), &test["id"]).await.expect(200);
        for by in [&tests, &stage.app.server] {
            let said = ask(by, ("decisions", "recall"), &test["decision_id"]).await.expect(200);
            assert_eq!(said, json!({"cancelled": 0, "recalled": 0}), "it is taken back already");
        }
        ask(&stage.app.server, ("messages", "recall"), &live["id"]).await.expect(200);
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where recalls <> '' and state = 'accepted'").await, 2);
        assert_eq!(world.number("select count(*) from messages where recalls <> '' and test").await, 1);
        stage.adds_up(world).await;
    }

    async fn a_decision_of_a_test_says_so_and_is_counted_apart(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let tests = server_key(world, &stage).await;
        let who = stage.listener(world).await;
        for airport in ["Orly", "Roissy"] {
            let mut event = lands(world, airport, &who.person.id);
            event["properties"]["airport"] = json!(airport);
            send(world, &tests, event).await;
        }
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        let marks: Vec<Value> = stage.decisions(world, &who).await.iter().map(|d| d["test"].clone()).collect();
        assert_eq!(marks, [true, true, false]);
        let app = stage.app.id;
        let books = world.kairos.platform.store.read(move |conn| kairos::moment::books(conn, app)).await.unwrap();
        let books = serde_json::to_value(books).unwrap();
        assert_eq!((&books["decisions"], &books["decisions_of_tests"]), (&json!({"chosen": 1}), &json!({"chosen": 2})));
        stage.adds_up(world).await;
    }

    async fn how_long_tests_take_is_no_forecast_for_what_is_live(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let tests = server_key(world, &stage).await;
        let who = stage.listener(world).await;
        for n in 0..100 {
            let mut event = lands(world, &format!("t{n}"), &who.person.id);
            event["properties"]["airport"] = json!(n.to_string());
            send(world, &tests, event).await;
        }
        world.drain().await;
        assert_eq!(stage.arrived(&who).len(), 100);
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let live = world.number("select predicted_latency_ms from decisions order by id desc limit 1").await;
        assert_eq!(live, 2_000, "nothing is known of live pushes yet");
    }

    async fn a_thing_that_is_deleted_is_forgotten_where_tests_saw_it_too(world) {
        let server = &world.app.server.clone();
        thing(world, "39a415").await;
        let tests = Caller::Bearer(test_key(world, &world.app.clone(), "server", &["events:write"]).await);
        for (by, id) in [(server, "1"), (&tests, "2")] {
            let fix = json!({"id": id, "type": "position", "occurred_at": world.time(0), "subject": "thing:39a415",
                "location": {"lat": 48.73, "lon": 2.36}});
            send(world, by, fix).await;
        }
        world.drain().await;
        assert_eq!(world.number("select count(*) from positions").await, 2);
        world.delete("/v1/things/thing:39a415", server).await.expect(204);
        assert_eq!(world.number("select count(*) from positions").await, 0);
    }

    async fn the_id_of_a_test_is_free_for_a_live_event_and_the_other_way_round(world) {
        let tests = Caller::Bearer(test_key(world, &world.app.clone(), "server", &["events:write"]).await);
        let live = world.app.server.clone();
        let someone = world.person(&world.app).await;
        let said = async |by: &Caller, id: &str, subject: &str| {
            let taken = world.post("/v1/events", by, json!({"events": [lands(world, id, subject)]})).await.expect(202);
            taken["results"][0]["status"].as_str().unwrap().to_owned()
        };
        for (first, second, id) in [(&tests, &live, "1"), (&live, &tests, "2")] {
            assert_eq!(said(first, id, &someone.id).await, "accepted");
            assert_eq!(said(second, id, &someone.id).await, "accepted", "{id}");
            assert_eq!(said(first, id, &someone.id).await, "duplicate", "{id}");
            assert_eq!(said(second, id, "user:other").await, "conflict", "{id}");
        }
        assert_eq!(world.number("select count(*) from events where test").await, 2);
        assert_eq!(world.number("select count(*) from events where not test").await, 2);
    }

    async fn a_test_changes_nothing_that_is_known_of_a_thing(world) {
        let server = &world.app.server.clone();
        world.post("/v1/attributes", server, json!({"scope": "thing", "key": "on_ground", "kind": "boolean"})).await.expect(201);
        thing(world, "39a415").await;
        let tests = Caller::Bearer(test_key(world, &world.app.clone(), "server", &["events:write"]).await);
        let fix = |id: &str, on_ground: bool| json!({"id": id, "type": "position", "occurred_at": world.time(0), "subject": "thing:39a415",
            "properties": {"on_ground": on_ground}, "location": {"lat": 48.73, "lon": 2.36}});
        send(world, server, fix("1", false)).await;
        send(world, &tests, fix("2", true)).await;
        let known = world.get("/v1/things/thing:39a415", server).await.expect(200);
        assert_eq!(known["properties"], json!({"on_ground": false}));
        // So no live event finds a change that only a test has made.
        send(world, server, fix("3", false)).await;
        assert_eq!(world.number("select count(*) from events where type = 'thing.changed'").await, 0);
        send(world, server, fix("4", true)).await;
        assert_eq!(world.number("select count(*) from events where type = 'thing.changed' and not test").await, 1);
    }
}
