//! The log over HTTP: per-item results, ids, subjects, consents, types, things and links, lanes.

use crate::world::{Caller, World};
use kairos::event::{self, Disposition, Settlement, TYPES_TOPIC};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A signed-in user without a name: their id and their caller.
pub async fn anonymous(world: &World) -> (String, Caller) {
    let session = world.post("/v1/auth/anonymous", &world.app.phone, json!({})).await.json();
    let id = session["user"]["id"].as_str().expect("a user").to_owned();
    (id, Caller::Bearer(session["access_token"].as_str().unwrap().to_owned()))
}

pub async fn grant(world: &World, user: &Caller, purpose: &str, partner: Option<&str>) {
    let mut body = json!({"purpose": purpose, "granted": true, "text_version": kairos::people::consent::BUILT_IN_VERSION,
        "evidence": {"screen": "settings", "language": "en"}});
    if let Some(partner) = partner {
        body["partner"] = json!(partner);
    }
    let answer = world.post("/v1/me/consents", user, body).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
}

/// Sends events and answers the results.
pub async fn send(world: &World, by: &Caller, events: Value) -> Vec<Value> {
    let answer = world.post("/v1/events", by, json!({ "events": events })).await.expect(202);
    answer["results"].as_array().unwrap().clone()
}

pub async fn thing(world: &World, key: &str) -> String {
    let made = world.post("/v1/things", &world.app.server, json!({"key": key, "class": "aircraft"})).await.expect(201);
    made["id"].as_str().unwrap().to_owned()
}

pub async fn disposition(world: &World, result: &Value) -> Value {
    let path = format!("/v1/events/{}", result["event_id"].as_str().expect("an event id"));
    world.get(&path, &world.app.server).await.expect(200)["disposition"].clone()
}

/// Wants events of a type, as a moment kind would.
pub async fn listen(world: &World, kind: &'static str) {
    let (app, now_ms) = (world.app.id, world.now_ms());
    world.kairos.platform.store.write(move |conn| event::listen(conn, app, kind, now_ms)).await.unwrap();
}

fn statuses(results: &[Value]) -> Vec<&str> {
    results.iter().map(|r| r["status"].as_str().unwrap()).collect()
}

both! {
    async fn one_bad_event_of_a_thousand_sinks_no_neighbour(world) {
        let (user, _) = anonymous(world).await;
        let mut events: Vec<Value> = (0..1_000)
            .map(|n| json!({"id": format!("e{n}"), "type": "order.placed", "occurred_at": world.time(0), "subject": user}))
            .collect();
        events[500]["occurred_at"] = json!("yesterday");
        let results = send(world, &world.app.server, json!(events)).await;
        assert_eq!(results.len(), 1_000);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result["id"], format!("e{n}"));
            assert_eq!(result["status"], if n == 500 { "invalid" } else { "accepted" }, "{result}");
        }
        assert_eq!(results[500]["errors"][0]["field"], "occurred_at");
        assert_eq!(world.number("select count(*) from events").await, 999);
        events.push(json!({}));
        let too_many = world.post("/v1/events", &world.app.server, json!({ "events": events })).await;
        too_many.refused_field(400, "validation_failed", "events");
    }

    async fn each_fault_of_an_event_is_named_and_only_an_unreadable_body_is_a_400(world) {
        let (user, _) = anonymous(world).await;
        let good = json!({"id": "a", "type": "t", "occurred_at": world.time(0), "subject": user});
        let with = |field: &str, value: Value| {
            let mut event = good.clone();
            event[field] = value;
            event
        };
        let cases = [
            (with("id", json!("")), "id"),
            (with("id", json!("x".repeat(101))), "id"),
            (with("id", json!(7)), "id"),
            (with("type", json!("Not A Type")), "type"),
            (with("type", json!("place.enter")), "type"),
            (with("type", json!("thing.changed")), "type"),
            (with("occurred_at", json!("2026-02-30T00:00:00Z")), "occurred_at"),
            (with("occurred_at", json!("1969-12-31T23:59:59Z")), "occurred_at"),
            (with("occurred_at", json!(12)), "occurred_at"),
            (with("subject", json!("nobody")), "subject"),
            (with("subject", Value::Null), "subject"),
            (with("location", json!({"lat": 91, "lon": 0})), "location.lat"),
            (with("location", json!({"lat": 0, "lon": -180.1})), "location.lon"),
            (with("location", json!({"lat": 0, "lon": 0, "accuracy_m": -1})), "location.accuracy_m"),
            (with("location", json!({"lat": 0})), "location.lon"),
            (with("location", json!({"lat": 0, "lon": 0, "alt": 1})), "location.alt"),
            (with("properties", json!([1])), "properties"),
            (with("properties", json!({"x": "y".repeat(20_000)})), "properties"),
            (with("surprise", json!(1)), "surprise"),
        ];
        let events: Vec<&Value> = cases.iter().map(|(event, _)| event).collect();
        for (result, (event, field)) in send(world, &world.app.server, json!(events)).await.iter().zip(&cases) {
            assert_eq!(result["status"], "invalid", "{event}");
            assert_eq!(result["errors"][0]["field"], *field, "{event} {result}");
        }
        assert_eq!(world.number("select count(*) from events").await, 0);
        let raw = |body: &str| world.call("POST", "/v1/events").by(&world.app.server).text("application/json", body).send();
        let twice = format!(r#"{{"events":[{{"id":"a","id":"b","type":"t","occurred_at":"{}","subject":"{user}"}}]}}"#, world.time(0));
        assert_eq!(raw(&twice).await.expect(202)["results"][0]["errors"][0]["code"], "duplicate");
        let deep = format!(
            r#"{{"events":[{{"id":"a","type":"t","occurred_at":"{}","subject":"{user}","properties":{{"x":1,"x":2}}}}]}}"#,
            world.time(0)
        );
        assert_eq!(raw(&deep).await.expect(202)["results"][0]["status"], "invalid");
        for body in ["", "{", "[]", r#"{"events":[],"events":[]}"#, r#"{"events":[{]}"#, r#"{"event":[]}"#, r#"{"events":{}}"#] {
            raw(body).await.refused(400, "validation_failed");
        }
        assert_eq!(raw(r#"{"events":[]}"#).await.expect(202)["results"], json!([]));
    }

    async fn the_same_id_is_a_duplicate_with_the_same_content_and_else_a_conflict(world) {
        let (user, _) = anonymous(world).await;
        let event = json!({"id": "1", "type": "t", "occurred_at": world.time(0), "subject": user, "properties": {"a": 1, "b": {"c": 2}}});
        let first = send(world, &world.app.server, json!([event])).await;
        let spelt = format!(
            r#"{{"events":[{{"properties":{{"b":{{ "c":2}},"a":1}},"subject":"{user}","occurred_at":"{}","type":"t","id":"1"}}]}}"#,
            world.time(0)
        );
        let again = world.call("POST", "/v1/events").by(&world.app.server).text("application/json", &spelt).send().await.expect(202);
        assert_eq!(again["results"][0]["status"], "duplicate");
        assert_eq!(again["results"][0]["event_id"], first[0]["event_id"]);
        let mut other = event.clone();
        other["properties"]["a"] = json!(2);
        let results = send(world, &world.app.server, json!([other, event, other])).await;
        assert_eq!(statuses(&results), ["conflict", "duplicate", "conflict"]);
        let mut within = event.clone();
        within["id"] = json!("2");
        let mut twisted = within.clone();
        twisted["type"] = json!("u");
        let results = send(world, &world.app.server, json!([within, within, twisted])).await;
        assert_eq!(statuses(&results), ["accepted", "duplicate", "conflict"]);
        assert_eq!(world.number("select count(*) from events").await, 2);
        assert_eq!(world.number("select n from event_counts where disposition = 'duplicate' and source = 'server'").await, 3);
        assert_eq!(world.number("select n from event_counts where disposition = 'conflict' and source = 'server'").await, 3);
    }

    async fn the_same_event_sent_64_times_at_once_has_one_effect(world) {
        listen(world, "t").await;
        let (user, _) = anonymous(world).await;
        let event = json!([{"id": "1", "type": "t", "occurred_at": world.time(0), "subject": user}]);
        let sends = (0..64).map(|_| send(world, &world.app.server, event.clone()));
        let results = futures_util::future::join_all(sends).await;
        let accepted = results.iter().filter(|r| r[0]["status"] == "accepted").count();
        let duplicates = results.iter().filter(|r| r[0]["status"] == "duplicate").count();
        assert_eq!((accepted, duplicates), (1, 63));
        assert_eq!(world.number("select count(*) from lane_work").await, 1);
        world.may_leave_work();
    }

    async fn a_subject_is_found_in_each_of_its_forms_and_an_unknown_one_is_never_matched_later(world) {
        let server = &world.app.server;
        let user = world.post("/v1/users", server, json!({"external_id": "crm-1"})).await.expect(201)["id"].clone();
        let aircraft = thing(world, "39a415").await;
        let of = |n: usize, subject: &str| json!({"id": n.to_string(), "type": "t", "occurred_at": world.time(0), "subject": subject});
        let subjects = ["user:crm-1", user.as_str().unwrap(), "thing:39a415", &aircraft, "user:crm-2", "thing:none",
            "usr_00000000000070008000000000000000", "dev_00000000000070008000000000000000"];
        let events: Vec<Value> = subjects.iter().enumerate().map(|(n, s)| of(n, s)).collect();
        let results = send(world, server, json!(events)).await;
        for (n, result) in results.iter().enumerate() {
            let expected = if n < 4 { "no_trigger" } else { "unknown_subject" };
            assert_eq!(disposition(world, result).await, expected, "{}", subjects[n]);
        }
        world.post("/v1/users", server, json!({"external_id": "crm-2"})).await.expect(201);
        let again = send(world, server, json!([events[4]])).await;
        assert_eq!(again[0]["status"], "duplicate");
        assert_eq!(disposition(world, &again[0]).await, "unknown_subject");
    }

    async fn a_phone_speaks_only_of_itself(world) {
        let (own, user) = anonymous(world).await;
        let (other, _) = anonymous(world).await;
        let aircraft = thing(world, "a").await;
        let of = |id: &str, subject: Option<&str>| match subject {
            Some(subject) => json!({"id": id, "type": "t", "occurred_at": world.time(0), "subject": subject}),
            None => json!({"id": id, "type": "t", "occurred_at": world.time(0)}),
        };
        let results = send(world, &user, json!([of("1", None), of("2", Some(&own)), of("3", Some(&other)), of("4", Some(&aircraft))])).await;
        assert_eq!(statuses(&results), ["accepted", "accepted", "invalid", "invalid"]);
        assert_eq!(results[2]["errors"][0]["field"], "subject");
        let results = send(world, &world.app.phone, json!([of("1", None), of("2", Some(&own)), of("3", Some("dev_00000000000070008000000000000000"))])).await;
        assert_eq!(statuses(&results), ["invalid", "invalid", "accepted"]);
        world.post("/v1/events", &Caller::Nobody, json!({"events": []})).await.refused(401, "unauthorized");
        // Two users may use the same id.
        let (_, second) = anonymous(world).await;
        assert_eq!(statuses(&send(world, &second, json!([of("1", None)])).await), ["accepted"]);
    }

    async fn a_fix_without_consent_is_neither_stored_nor_evaluated(world) {
        let (_, user) = anonymous(world).await;
        let fix = |id: &str| json!([{"id": id, "type": "location", "occurred_at": world.time(0), "location": {"lat": 48.7, "lon": 2.3, "accuracy_m": 5}}]);
        let refused = send(world, &user, fix("1")).await;
        assert_eq!(disposition(world, &refused[0]).await, "no_consent");
        assert_eq!(world.number("select count(*) from events where lat is not null").await, 0);
        assert_eq!(world.number("select count(*) from positions").await, 0);
        grant(world, &user, "location", None).await;
        let taken = send(world, &user, fix("2")).await;
        assert_eq!(disposition(world, &taken[0]).await, "no_trigger");
        assert_eq!(world.number("select count(*) from events where lat is not null").await, 1);
        assert_eq!(world.number("select count(*) from positions where user_id is not null").await, 1);
    }

    async fn an_event_from_the_future_or_past_its_use_is_recorded_counted_and_never_acted_on(world) {
        listen(world, "order.placed").await;
        world.put("/v1/event-types/order.placed", &world.app.server, json!({"max_useful_age_ms": 600_000})).await.expect(200);
        let (user, _) = anonymous(world).await;
        let at = |id: &str, seconds: i64| json!({"id": id, "type": "order.placed", "occurred_at": world.time(seconds), "subject": user});
        let results = send(world, &world.app.server, json!([at("1", 300), at("2", 301), at("3", -600), at("4", -601)])).await;
        assert_eq!(statuses(&results), ["accepted"; 4]);
        let mut seen = Vec::new();
        for result in &results {
            seen.push(disposition(world, result).await);
        }
        assert_eq!(seen, [Value::Null, json!("from_the_future"), Value::Null, json!("too_old")]);
        assert_eq!(world.number("select count(*) from lane_work").await, 2);
        assert_eq!(world.number("select n from event_counts where disposition = 'too_old'").await, 1);
        assert_eq!(world.number("select n from event_counts where disposition = 'from_the_future'").await, 1);
        world.may_leave_work();
    }

    async fn properties_are_judged_by_the_declared_schema(world) {
        let schema = json!({"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "minimum": 0}}});
        world.put("/v1/event-types/order.placed", &world.app.server, json!({"schema": schema})).await.expect(200);
        let (user, _) = anonymous(world).await;
        let order = |id: &str, properties: Value| json!({"id": id, "type": "order.placed", "occurred_at": world.time(0), "subject": user, "properties": properties});
        let results = send(world, &world.app.server, json!([order("1", json!({"total": 3})), order("2", json!({"total": -1})), order("3", json!({}))])).await;
        assert_eq!(statuses(&results), ["accepted", "invalid", "invalid"]);
        assert_eq!(results[1]["errors"][0]["field"], "properties.total");
        for schema in [json!({"$ref": "https://example.com/schema.json"}), json!({"type": 7}), json!({"pattern": "("})] {
            world.put("/v1/event-types/x", &world.app.server, json!({"schema": schema})).await.refused_field(400, "validation_failed", "schema");
        }
        // Declared anew, it counts at once.
        world.put("/v1/event-types/order.placed", &world.app.server, json!({})).await.expect(200);
        assert_eq!(statuses(&send(world, &world.app.server, json!([order("4", json!({}))])).await), ["accepted"]);
        world.delete("/v1/event-types/order.placed", &world.app.server).await.expect(204);
        world.get("/v1/event-types/order.placed", &world.app.server).await.refused(404, "not_found");
    }

    async fn a_schema_judges_also_while_it_is_forgotten(world) {
        let schema = json!({"schema": {"required": ["total"]}});
        world.put("/v1/event-types/order.placed", &world.app.server, schema).await.expect(200);
        let (user, _) = anonymous(world).await;
        let (cache, done) = (world.kairos.platform.cache.clone(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&done);
        let news = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                cache.publish(TYPES_TOPIC, "");
            }
        });
        for n in 0..100 {
            let event = json!({"id": n.to_string(), "type": "order.placed", "occurred_at": world.time(0), "subject": user});
            assert_eq!(statuses(&send(world, &world.app.server, json!([event])).await), ["invalid"]);
        }
        done.store(true, Ordering::SeqCst);
        news.join().unwrap();
    }

    async fn a_things_event_reaches_the_users_linked_at_that_time(world) {
        listen(world, "flight.delayed").await;
        let server = &world.app.server;
        let aircraft = thing(world, "39a415").await;
        let links = format!("/v1/things/{aircraft}/links");
        let mut users = Vec::new();
        for (starts, ends) in [(None, None), (Some(-60), Some(60)), (Some(60), None), (None, Some(0))] {
            let (user, _) = anonymous(world).await;
            let mut link = json!({"user": user});
            if let Some(s) = starts { link["starts_at"] = json!(world.time(s)); }
            if let Some(s) = ends { link["ends_at"] = json!(world.time(s)); }
            world.post(&links, server, link).await.expect(201);
            users.push(user);
        }
        let again = world.post("/v1/things/thing:39a415/links", server, json!({"user": users[0], "ends_at": world.time(500)})).await.expect(200);
        assert_eq!(again["ends_at"], world.time(500));
        let listed = world.get(&links, server).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 4);
        let result = send(world, server, json!([{"id": "1", "type": "flight.delayed", "occurred_at": world.time(0), "subject": "thing:39a415"}])).await;
        assert_eq!(disposition(world, &result[0]).await, Value::Null);
        assert_eq!(world.number("select count(*) from lane_work").await, 2);
        for (n, reached) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
            let sql = format!("select count(*) from lane_work where user_id = '{}'", users[n]);
            assert_eq!(world.number(&sql).await, reached, "{n}");
        }
        let link = listed["items"][0]["id"].as_str().unwrap();
        world.delete(&format!("{links}/{link}"), server).await.expect(204);
        world.delete(&format!("{links}/{link}"), server).await.refused(404, "not_found");
        world.delete(&format!("/v1/things/{aircraft}"), server).await.expect(204);
        assert_eq!(world.number("select count(*) from links").await, 0);
        let orphan = send(world, server, json!([{"id": "2", "type": "flight.delayed", "occurred_at": world.time(0), "subject": "thing:39a415"}])).await;
        assert_eq!(disposition(world, &orphan[0]).await, "unknown_subject");
        world.may_leave_work();
    }

    async fn of_several_users_lanes_the_last_disposition_counts_and_all_decisions_are_kept(world) {
        listen(world, "t").await;
        let aircraft = thing(world, "a").await;
        for _ in 0..3 {
            let (user, _) = anonymous(world).await;
            world.post(&format!("/v1/things/{aircraft}/links"), &world.app.server, json!({"user": user})).await.expect(201);
        }
        let sent = send(world, &world.app.server, json!([{"id": "1", "type": "t", "occurred_at": world.time(0), "subject": aircraft}])).await;
        let event_id = sent[0]["event_id"].as_str().unwrap().parse().unwrap();
        let (app_id, now_ms, ids) = (world.app.id, world.now_ms(), world.kairos.platform.ids.clone());
        let work = world.kairos.platform.store.write(move |conn| {
            let work = event::work(conn, 10)?;
            let settle = |disposition, decisions: usize| Settlement {
                app_id, event_id, disposition, decision_ids: (0..decisions).map(|_| ids.next()).collect(),
            };
            event::settle(conn, &[settle(Disposition::Decided, 1)], now_ms)?;
            event::settle(conn, &[settle(Disposition::NoTrigger, 0), settle(Disposition::Decided, 2)], now_ms)?;
            event::done(conn, &work.iter().map(|w| w.id).collect::<Vec<_>>())?;
            Ok(work)
        }).await.unwrap();
        assert_eq!(work.len(), 3);
        assert!(work.iter().all(|w| w.event_id == event_id && (0..64).contains(&w.lane)));
        let read = world.get(&format!("/v1/events/{event_id}"), &world.app.server).await.expect(200);
        assert_eq!(read["disposition"], "decided");
        assert_eq!(read["decision_ids"].as_array().unwrap().len(), 3);
    }

    async fn what_is_declared_of_a_thing_changes_after_its_hold_and_tells_where(world) {
        let server = &world.app.server;
        world.post("/v1/attributes", server, json!({"scope": "thing", "key": "on_ground", "kind": "boolean", "settle_ms": 120_000})).await.expect(201);
        let orly = world.post("/v1/places", server, json!({"name": "Orly", "key": "ORY", "circle": {"lat": 48.7253, "lon": 2.3594, "radius_m": 3000}})).await.expect(201);
        thing(world, "39a415").await;
        let fix = |n: i64, on_ground: Value| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": "thing:39a415",
            "properties": {"on_ground": on_ground, "altitude_ft": n}, "location": {"lat": 48.73, "lon": 2.36}});
        let events = [fix(-200, json!(false)), fix(-150, Value::Null), fix(-79, json!(true)), fix(-60, json!(false)), fix(-10, json!(true))];
        send(world, server, json!(events)).await;
        assert_eq!(world.number("select count(*) from events where type = 'thing.changed'").await, 1);
        let read = world.kairos.platform.store.read({
            let app = world.app.id;
            move |conn| {
                let thing = event::things(conn, app, &[])?;
                assert!(thing.is_empty());
                Ok(())
            }
        });
        read.await.unwrap();
        let known = world.get("/v1/things/thing:39a415", server).await.expect(200);
        assert_eq!(known["properties"], json!({"on_ground": true, "altitude_ft": -10}));
        let sql = format!("select count(*) from events where type = 'thing.changed' and place_id = {} and source = 'kairos'", orly["id"].to_string().replace('"', "'"));
        assert_eq!(world.number(&sql).await, 1);
        assert_eq!(world.number("select count(*) from events where type = 'place.enter'").await, 1);
        // An older event changes nothing that is known.
        send(world, server, json!([fix(-100, json!(false))])).await;
        assert_eq!(world.get("/v1/things/thing:39a415", server).await.expect(200)["properties"]["altitude_ft"], -10);
        world.advance(Duration::from_secs(3_600)).await;
        assert_eq!(world.number("select count(*) from events where type = 'place.dwell'").await, 1);
        assert_eq!(world.number("select count(*) from events where type = 'place.exit'").await, 1);
        world.advance(Duration::from_secs(3_600)).await;
        assert_eq!(world.number("select count(*) from events where type = 'place.exit'").await, 1);
    }

    async fn nothing_of_another_app_is_seen(world) {
        let other = world.new_app("Other").await;
        let aircraft = thing(world, "a").await;
        let (user, _) = anonymous(world).await;
        let sent = send(world, &world.app.server, json!([{"id": "1", "type": "t", "occurred_at": world.time(0), "subject": aircraft}])).await;
        world.get(&format!("/v1/events/{}", sent[0]["event_id"].as_str().unwrap()), &other.server).await.refused(404, "not_found");
        world.get(&format!("/v1/things/{aircraft}"), &other.server).await.refused(404, "not_found");
        let own = world.post("/v1/things", &other.server, json!({"key": "a"})).await.expect(201);
        let links = format!("/v1/things/{}/links", own["id"].as_str().unwrap());
        world.post(&links, &other.server, json!({"user": user})).await.refused_field(400, "validation_failed", "user");
        let results = send(world, &other.server, json!([{"id": "1", "type": "t", "occurred_at": world.time(0), "subject": user}])).await;
        let read = world.get(&format!("/v1/events/{}", results[0]["event_id"].as_str().unwrap()), &other.server).await.expect(200);
        assert_eq!(read["disposition"], "unknown_subject");
    }

    async fn what_a_partner_sends_or_links_is_matched_only_under_the_users_consent_for_that_partner(world) {
        listen(world, "hotel.ready").await;
        let server = &world.app.server;
        let mut partners = Vec::new();
        for name in ["Hotel", "Taxi"] {
            let partner = world.post("/v1/partners", server, json!({"name": name})).await.expect(201)["id"].as_str().unwrap().to_owned();
            let key = world.post(&format!("/v1/partners/{partner}/keys"), server, json!({"name": "k"})).await.expect(201);
            partners.push((partner, Caller::Bearer(key["secret"].as_str().unwrap().to_owned())));
        }
        let (hotel, taxi) = (&partners[0], &partners[1]);
        let (user_id, user) = anonymous(world).await;
        let of = |id: &str, subject: &str| json!([{"id": id, "type": "hotel.ready", "occurred_at": world.time(0), "subject": subject}]);
        let refused = send(world, &hotel.1, of("1", &user_id)).await;
        assert_eq!(disposition(world, &refused[0]).await, "no_consent");
        let room = thing(world, "room").await;
        world.post(&format!("/v1/things/{room}/links"), server, json!({"user": user_id, "partner_id": hotel.0})).await.expect(201);
        let by_link = send(world, server, of("2", &room)).await;
        assert_eq!(disposition(world, &by_link[0]).await, "no_consent");
        assert_eq!(world.number("select count(*) from lane_work").await, 0);
        grant(world, &user, "partner_events", Some(&hotel.0)).await;
        for (by, id, subject, disposed) in [
            (&hotel.1, "3", &user_id, Value::Null),
            (server, "4", &room, Value::Null),
            (&taxi.1, "5", &user_id, json!("no_consent")),
            (&taxi.1, "6", &room, json!("no_consent")),
        ] {
            let sent = send(world, by, of(id, subject)).await;
            assert_eq!(disposition(world, &sent[0]).await, disposed, "{id}");
        }
        assert_eq!(world.number("select count(*) from lane_work").await, 2);
        assert_eq!(world.number(&format!("select count(*) from lane_work where link_partner_id = '{}'", hotel.0)).await, 1);
        world.may_leave_work();
    }

    async fn raw_fixes_of_people_are_forgotten_after_the_retention_and_those_of_things_are_not(world) {
        let (_, user) = anonymous(world).await;
        grant(world, &user, "location", None).await;
        let aircraft = thing(world, "a").await;
        let location = json!({"lat": 48.7, "lon": 2.3, "accuracy_m": 5});
        send(world, &user, json!([{"id": "1", "type": "location", "occurred_at": world.time(0), "location": location}])).await;
        send(world, &world.app.server, json!([{"id": "1", "type": "position", "occurred_at": world.time(0), "subject": aircraft, "location": location}])).await;
        world.advance(Duration::from_secs(86_400)).await;
        assert_eq!(world.number("select count(*) from events where lat is not null").await, 2);
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(world.number("select count(*) from events where lat is not null and thing_id is null").await, 0);
        assert_eq!(world.number("select count(*) from events where lat is not null").await, 1);
        assert_eq!(world.number("select count(*) from positions where lat is not null").await, 1);
        assert_eq!(world.number("select count(*) from positions").await, 2);
    }
}
