//! Live Activities on phones, over the real wire: started, kept up to date, ended, and whose they are.

use crate::stage::{Good, Listener, Stage, TOPIC, minutes};
use crate::world::{Caller, Person, World};
use kairos::push::standin::{Fault, Row, Rule};
use serde_json::{Value, json};
use std::time::Duration;

mod whose;

/// The type of all of them.
pub const TYPE: &str = "FlightAttributes";

/// The installation of a phone of the stage.
pub fn installation(who: &Listener) -> String {
    format!("phone-{}", &who.person.id[4..])
}

/// A token that nobody else has.
pub fn token(of: &Listener, word: &str) -> String {
    let hex: String = format!("{word}{}", &of.person.id[4..]).bytes().map(|b| format!("{b:02x}")).collect();
    format!("{hex:0<120}")
}

/// Somebody whose phone lets activities be started.
pub async fn traveller(world: &World, stage: &Stage) -> Listener {
    let who = stage.listener(world).await;
    say_start(world, &who, &token(&who, "start")).await.expect(204);
    who
}

/// The phone says its start token.
pub async fn say_start(world: &World, who: &Listener, token: &str) -> crate::world::Answer {
    let path = format!("/v1/me/devices/{}/start-tokens/{TYPE}", installation(who));
    world.put(&path, &who.person.token, json!({"token": token})).await
}

/// The phone says an update token.
pub async fn say(world: &World, who: &Listener, (name, token): (&str, &str)) -> crate::world::Answer {
    let path = format!("/v1/me/devices/{}/activities/{name}", installation(who));
    world.put(&path, &who.person.token, json!({"token": token, "attributes_type": TYPE})).await
}

/// A start for somebody with these fields changed.
pub fn start(who: &Listener, change: Value) -> Value {
    let mut body = json!({"attributes_type": TYPE, "attributes": {"flight": "LX 8"}, "content_state": {"gate": "A1"},
        "alert": {"title": "LX 8", "body": "Gate A1"}, "audience": {"user_ids": [who.person.id]}, "purpose": "marketing"});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Starts one, works it off, and answers it.
pub async fn started(world: &World, who: &Listener) -> Value {
    let made = world.post("/v1/activities", &world.app.server, start(who, json!({}))).await.expect(202);
    world.drain().await;
    made
}

/// One that runs: its id, and its update token.
pub async fn running(world: &World, who: &Listener) -> (String, String) {
    let (id, token) = (text(&started(world, who).await, "id"), token(who, "update"));
    say(world, who, (&id, &token)).await.expect(200);
    (id, token)
}

pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}")).to_owned()
}

/// Asks for an update with these fields changed.
pub async fn ask(world: &World, id: &str, change: Value) -> crate::world::Answer {
    let mut body = json!({"event": "update", "content_state": {"gate": "B2"}});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    world.post(&format!("/v1/activities/{id}/updates"), &world.app.server, body).await
}

/// As [`ask`]; the one result's message.
pub async fn updated(world: &World, id: &str, change: Value) -> String {
    let done = ask(world, id, change).await.expect(202);
    assert_eq!(done["results"].as_array().unwrap().len(), 1, "{done:#}");
    text(&done["results"][0], "message_id")
}

/// How a message has fared.
pub async fn fate(world: &World, message: &str) -> String {
    let sql = format!("select state || coalesce(':' || reason, '') as line from messages where id = '{message}'");
    world.lines(&sql).await.pop().unwrap()
}

/// What arrived at a token.
pub fn at(stage: &Stage, token: &str) -> Vec<Row> {
    stage.standin.ledger().into_iter().filter(|row| row.token == token).collect()
}

fn aps(row: &Row) -> Value {
    row.aps.clone().unwrap()
}

/// Where it is on the one phone.
pub async fn state(world: &World, id: &str) -> String {
    let page = world.get(&format!("/v1/activities/{id}/devices"), &world.app.server).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page:#}");
    text(&page["items"][0], "state")
}

/// How many tokens of activities there are: those that start, and those that update.
pub async fn tokens(world: &World) -> (i64, i64) {
    let of = async |sql| world.number(sql).await;
    let updates = "select count(*) from activity_devices where token is not null";
    (of("select count(*) from start_tokens").await, of(updates).await)
}

/// A bad minute of Apple's.
pub fn busy() -> Fault {
    Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(60), timestamp_ms: None }
}

both! {
    async fn an_activity_starts_says_its_token_shows_its_states_and_ends(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let body = start(&who, json!({"deliver_by": world.time(600), "relevance_score": 7}));
        let made = world.post("/v1/activities", &world.app.server, body).await.expect(202);
        let id = text(&made, "id");
        assert_eq!((&made["unknown"], &made["results"][0]["user_id"]), (&json!([]), &json!(who.person.id)));
        world.drain().await;
        let row = at(&stage, &token(&who, "start")).remove(0);
        assert_eq!((row.answer.as_str(), row.priority.as_deref()), ("200", Some("10")), "push type and topic suffix agree");
        assert_eq!(row.keep_until_ms, Some(world.now_ms() + 600_000));
        let shown = aps(&row);
        assert_eq!((&shown["event"], &shown["input-push-token"], &shown["attributes-type"]), (&json!("start"), &json!(1), &json!(TYPE)));
        assert_eq!(shown["attributes"], json!({"flight": "LX 8", "kairos_activity_id": id}));
        assert_eq!((&shown["content-state"], &shown["relevance-score"]), (&json!({"gate": "A1"}), &json!(7.0)));
        assert_eq!(row.kairos.unwrap().decision_id, text(&made["results"][0], "decision_id"));
        assert_eq!(state(world, &id).await, "started");
        let update = token(&who, "update");
        let known = say(world, &who, (&id, &update.to_uppercase())).await.expect(200);
        assert_eq!((known["activity_id"].as_str(), state(world, &id).await.as_str()), (Some(id.as_str()), "running"));
        // Two in one second: the second is later all the same.
        updated(world, &id, json!({"stale_at": world.time(300)})).await;
        world.drain().await;
        updated(world, &id, json!({"content_state": {"gate": "C3"}, "alert": {"title": "LX 8", "body": "Gate C3"}})).await;
        world.drain().await;
        let done = ask(world, &id, json!({"event": "end", "dismissal_at": world.time(60)})).await.expect(202);
        assert_eq!(done["event"], "end");
        world.drain().await;
        let rows = at(&stage, &update);
        assert_eq!(rows.iter().map(|row| row.priority.as_deref().unwrap()).collect::<Vec<_>>(), ["5", "10", "10"]);
        assert_eq!(rows[0].keep_until_ms, Some(world.now_ms() + 300_000));
        let frames: Vec<Value> = rows.iter().map(aps).collect();
        let now_s = world.now_ms() / 1_000;
        let stamps: Vec<i64> = frames.iter().map(|aps| aps["timestamp"].as_i64().unwrap()).collect();
        assert_eq!(stamps, [now_s + 1, now_s + 2, now_s + 3]);
        assert_eq!((&frames[1]["alert"]["body"], &frames[2]["event"]), (&json!("Gate C3"), &json!("end")));
        assert!(frames.iter().all(|aps| aps["attributes"].is_null()));
        assert_eq!(state(world, &id).await, "ended");
        ask(world, &id, json!({})).await.refused(409, "activity_over");
        let read = world.get(&format!("/v1/activities/{id}"), &world.app.server).await.expect(200);
        assert_eq!((&read["state"], &read["purpose"]), (&json!("ended"), &json!("marketing")));
        // It is no message of the inbox, and nothing of it went to the device's own token.
        let inbox = world.get("/v1/me/messages", &who.person.token).await.expect(200);
        assert_eq!((&inbox["items"], stage.arrived(&who).len()), (&json!([]), 0));
        let listed = world.get(&format!("/v1/messages?user={}", who.person.id), &world.app.server).await.expect(200);
        assert!(listed["items"].as_array().unwrap().iter().all(|message| message["activity_id"] == json!(id)));
        stage.adds_up(world).await;
        // After Apple's limits nothing is kept of tokens and words.
        world.advance(minutes(9 * 60)).await;
        assert_eq!(tokens(world).await, (1, 0));
        assert_eq!(world.number("select count(*) from activity_devices").await, 0);
        assert_eq!(world.number("select count(*) from activities where start is not null").await, 0);
    }

    async fn an_update_waits_for_the_phone_to_say_its_token_and_the_newest_alone_is_shown(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let id = text(&started(world, &who).await, "id");
        let first = updated(world, &id, json!({})).await;
        let second = updated(world, &id, json!({"content_state": {"gate": "C3"}})).await;
        world.drain().await;
        assert_eq!((fate(world, &first).await.as_str(), fate(world, &second).await.as_str()), ("cancelled:superseded", "queued"));
        let update = token(&who, "update");
        say(world, &who, (&id, &update)).await.expect(200);
        world.drain().await;
        assert_eq!(fate(world, &second).await, "accepted");
        let rows = at(&stage, &update);
        assert_eq!((rows.len(), &aps(&rows[0])["content-state"]), (1, &json!({"gate": "C3"})));
        // Nobody says a token: it ends at its deadline.
        let other = traveller(world, &stage).await;
        let silent = text(&started(world, &other).await, "id");
        let waits = updated(world, &silent, json!({"deliver_by": world.time(90)})).await;
        world.advance(Duration::from_secs(90)).await;
        assert_eq!(fate(world, &waits).await, "expired:deadline");
        // One whose start did not get through is not waited for.
        let third = traveller(world, &stage).await;
        stage.standin.inject(Rule::once(Fault::Answer { status: 400, reason: "BadTopic".into(), retry_after_s: None, timestamp_ms: None }));
        let failed = text(&started(world, &third).await, "id");
        assert_eq!(state(world, &failed).await, "failed");
        assert_eq!(ask(world, &failed, json!({})).await.expect(202)["results"], json!([]));
        stage.adds_up(world).await;
    }

    async fn a_token_that_rotates_takes_what_waits_along(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, old) = running(world, &who).await;
        stage.standin.inject(Rule::once(busy()));
        let waits = updated(world, &id, json!({})).await;
        world.drain().await;
        assert_eq!(fate(world, &waits).await, "retry_at:service_unavailable");
        let new = token(&who, "rotated");
        say(world, &who, (&id, &new)).await.expect(200);
        world.advance(Duration::from_secs(61)).await;
        assert_eq!((fate(world, &waits).await.as_str(), at(&stage, &old).len(), at(&stage, &new).len()), ("accepted", 1, 1));
        updated(world, &id, json!({})).await;
        world.drain().await;
        assert_eq!((at(&stage, &old).len(), at(&stage, &new).len(), tokens(world).await), (1, 2, (1, 1)));
        // A start token that has changed too: the next start goes there.
        say_start(world, &who, &token(&who, "again")).await.expect(204);
        started(world, &who).await;
        assert_eq!((at(&stage, &token(&who, "start")).len(), at(&stage, &token(&who, "again")).len()), (1, 1));
    }

    async fn an_older_state_is_never_shown_after_a_newer_one(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, update) = running(world, &who).await;
        stage.standin.inject(Rule::once(busy()));
        let old = updated(world, &id, json!({})).await;
        world.drain().await;
        let new = updated(world, &id, json!({"content_state": {"gate": "C3"}})).await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!((fate(world, &old).await.as_str(), fate(world, &new).await.as_str()), ("cancelled:superseded", "accepted"));
        // One that is on its way when the newer one comes is not tried again.
        stage.standin.inject(Rule::once(Fault::CutAfterRequest));
        let lost = updated(world, &id, json!({"mode": "at_least_once", "content_state": {"gate": "D4"}})).await;
        updated(world, &id, json!({"content_state": {"gate": "E5"}})).await;
        world.drain().await;
        let fate = fate(world, &lost).await;
        let shown: Vec<Value> = at(&stage, &update).iter().filter(|row| row.delivered).map(aps).collect();
        let stamps: Vec<i64> = shown.iter().map(|aps| aps["timestamp"].as_i64().unwrap()).collect();
        // Phones show the latest by time stamp: whatever order the wire has, it is the newest.
        let last = shown.iter().max_by_key(|aps| aps["timestamp"].as_i64()).unwrap();
        assert_eq!(last["content-state"], json!({"gate": "E5"}), "{fate} {stamps:?}");
        let mut once = stamps.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), stamps.len(), "no two states have one time stamp");
        for _ in 0..70 {
            if ask(world, &id, json!({})).await.status == 429 {
                return world.drain().await;
            }
        }
        panic!("updates faster than Apple tells apart are not slowed down");
    }

    async fn what_no_phone_could_show_is_refused_by_its_field(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, _) = running(world, &who).await;
        let by = &world.app.server;
        let big = "x".repeat(4_000);
        for (change, field) in [
            (json!({"attributes": {"text": big}}), "attributes"),
            (json!({"content_state": {"text": big}}), "content_state"),
            (json!({"attributes": {"kairos_activity_id": "x"}}), "attributes.kairos_activity_id"),
            (json!({"attributes_type": "a b"}), "attributes_type"),
            (json!({"alert": {"title": "x"}}), "alert.body"),
            (json!({"audience": {"topic": "offers"}}), "audience"),
            (json!({"audience": {}}), "audience"),
            (json!({"purpose": "nothing"}), "purpose"),
            (json!({"topic": "nothing"}), "topic"),
            (json!({"class": "critical"}), "topic"),
            (json!({"priority": 1}), "priority"),
            (json!({"deliver_by": world.time(9 * 3_600)}), "deliver_by"),
            (json!({"channel_id": format!("chn_{}", "0".repeat(32))}), "channel_id"),
            (json!({"event": "start"}), "event"),
        ] {
            let answer = world.post("/v1/activities", by, start(&who, change)).await;
            assert_eq!((answer.status, answer.json()["errors"][0]["field"].as_str()), (400, Some(field)), "{}", answer.text());
        }
        for (change, field) in [
            (json!({"content_state": {"text": big}}), "content_state"),
            (json!({"event": "start"}), "event"),
            (json!({"dismissal_at": world.time(60)}), "dismissal_at"),
            (json!({"purpose": "service"}), "purpose"),
            (json!({"priority": 7}), "priority"),
        ] {
            let answer = ask(world, &id, change).await;
            assert_eq!((answer.status, answer.json()["errors"][0]["field"].as_str()), (400, Some(field)), "{}", answer.text());
        }
        ask(world, &id, json!({"content_state": {"text": big}})).await.refused(400, "payload_too_large");
        for bad in ["xyz", "abc", "", &"a".repeat(402)] {
            say(world, &who, (&id, bad)).await.refused(400, "validation_failed");
            say_start(world, &who, bad).await.refused(400, "validation_failed");
        }
        assert_eq!(world.number("select count(*) from activities").await, 1);
    }

    async fn the_same_key_is_the_same_activity_and_the_same_update(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let keyed = async |path: &str, body: &Value| {
            world.call("POST", path).by(&world.app.server).header("Idempotency-Key", "once").json(body).send().await
        };
        let body = start(&who, json!({}));
        let first = keyed("/v1/activities", &body).await.expect(202);
        world.drain().await;
        let again = keyed("/v1/activities", &body).await.expect(202);
        assert_eq!((&first["id"], &again["results"][0]["state"]), (&again["id"], &json!("accepted")));
        keyed("/v1/activities", &start(&who, json!({"purpose": "service"}))).await.refused(422, "idempotency_key_reused");
        let (one, two) = tokio::join!(keyed("/v1/activities", &body), keyed("/v1/activities", &body));
        assert_eq!(one.expect(202)["id"], two.expect(202)["id"]);
        let id = text(&first, "id");
        say(world, &who, (&id, &token(&who, "update"))).await.expect(200);
        let path = format!("/v1/activities/{id}/updates");
        let next = json!({"event": "update", "content_state": {}});
        let (one, two) = tokio::join!(keyed(&path, &next), keyed(&path, &next));
        assert_eq!(one.expect(202)["id"], two.expect(202)["id"]);
        world.drain().await;
        keyed(&path, &json!({"event": "end", "content_state": {}})).await.refused(422, "idempotency_key_reused");
        assert_eq!((at(&stage, &token(&who, "start")).len(), at(&stage, &token(&who, "update")).len()), (1, 1));
    }

    async fn the_key_of_a_test_is_another_one_than_that_of_what_is_live(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let key = json!({"kind": "server", "mode": "test", "name": "test", "scopes": ["push:write", "decisions:read"]});
        let made = world.post("/v1/keys", &world.app.server, key).await.expect(201);
        let (tester, live) = (Caller::Bearer(text(&made, "secret")), &world.app.server);
        let keyed = async |by: &Caller, path: &str, body: &Value| {
            world.call("POST", path).by(by).header("Idempotency-Key", "once").json(body).send().await
        };
        let body = start(&who, json!({}));
        let mut ids = Vec::new();
        for by in [&tester, live, &tester] {
            ids.push(text(&keyed(by, "/v1/activities", &body).await.expect(202), "id"));
            world.drain().await;
        }
        assert!(ids[0] != ids[1] && ids[0] == ids[2], "{ids:?}");
        assert_eq!(at(&stage, &token(&who, "start")).len(), 2, "the rehearsal, and what was meant");
        let tokens = [token(&who, "test"), token(&who, "live")];
        for (id, token) in ids.iter().zip(&tokens) {
            say(world, &who, (id, token)).await.expect(200);
        }
        let next = json!({"event": "update", "content_state": {"gate": "B2"}});
        let path = |id: &str| format!("/v1/activities/{id}/updates");
        let meant = keyed(live, &path(&ids[1]), &next).await.expect(202);
        keyed(&tester, &path(&ids[1]), &next).await.refused(403, "forbidden");
        let tried = keyed(&tester, &path(&ids[0]), &next).await.expect(202);
        assert_ne!(tried["id"], meant["id"]);
        for (by, id, first) in [(live, &ids[1], &meant), (&tester, &ids[0], &tried)] {
            assert_eq!(keyed(by, &path(id), &next).await.expect(202)["id"], first["id"]);
        }
        world.drain().await;
        assert_eq!(tokens.map(|token| at(&stage, &token).len()), [1, 1]);
    }

    async fn the_gates_hold_a_start_and_an_update_needs_the_consent_alone(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, update) = running(world, &who).await;
        // Noon in Paris is quiet for the next hour: the next start is held, an update goes without its alert.
        let patch = json!({"settings": {"time_zone": "Europe/Paris", "quiet_hours": {"from": "11:00", "to": "13:00"},
            "caps": {"overall": [{"limit": 1, "window_ms": 86_400_000}]}}});
        world.patch("/v1/app", &world.app.server, patch).await.good();
        let loud = json!({"alert": {"title": "LX 8", "body": "Gate C3"}});
        updated(world, &id, loud.clone()).await;
        world.drain().await;
        let rows = at(&stage, &update);
        assert_eq!((rows.len(), &aps(&rows[0])["alert"]), (1, &Value::Null), "quiet, and over the cap");
        let silent = world.post("/v1/activities", &world.app.server, start(&who, json!({}))).await.expect(202);
        assert_eq!((&silent["results"][0]["state"], &silent["results"][0]["reason"]), (&json!("suppressed"), &json!("quiet_until_too_late")));
        world.patch("/v1/app", &world.app.server, json!({"settings": {"caps": {"overall": []}}})).await.good();
        let held = start(&who, json!({"deliver_by": world.time(2 * 3_600)}));
        let held = world.post("/v1/activities", &world.app.server, held).await.expect(202);
        assert_eq!(held["results"][0]["state"], "held");
        // What is said meanwhile is what it begins with.
        let held = text(&held, "id");
        assert_eq!(ask(world, &held, json!({"content_state": {"gate": "Z9"}})).await.expect(202)["results"], json!([]));
        let cancelled = start(&who, json!({"deliver_by": world.time(2 * 3_600)}));
        let cancelled = text(&world.post("/v1/activities", &world.app.server, cancelled).await.expect(202), "id");
        ask(world, &cancelled, json!({"event": "end"})).await.expect(202);
        world.advance(minutes(61)).await;
        let rows = at(&stage, &token(&who, "start"));
        assert_eq!((rows.len(), &aps(&rows[1])["content-state"]), (2, &json!({"gate": "Z9"})));
        assert_eq!(aps(&rows[1])["attributes"]["kairos_activity_id"], json!(held));
        updated(world, &id, loud).await;
        world.drain().await;
        assert_eq!(aps(at(&stage, &update).last().unwrap())["alert"]["body"], "Gate C3");
        // Withdrawn: what waits is revoked, what comes is silent.
        let other = traveller(world, &stage).await;
        let waiting = text(&started(world, &other).await, "id");
        let waits = updated(world, &waiting, json!({})).await;
        let withdrawal = json!({"purpose": "marketing", "granted": false});
        world.post("/v1/me/consents", &other.person.token, withdrawal).await.good();
        say(world, &other, (&waiting, &token(&other, "update"))).await.expect(200);
        world.drain().await;
        assert_eq!(fate(world, &waits).await, "revoked:consent");
        let silent = ask(world, &waiting, json!({})).await.expect(202);
        assert_eq!((&silent["results"][0]["state"], &silent["results"][0]["reason"]), (&json!("suppressed"), &json!("withdrawn")));
        assert!(at(&stage, &token(&other, "update")).is_empty());
        stage.adds_up(world).await;
    }

    async fn a_start_asks_for_a_start_token_and_not_for_the_permission_to_show_messages(world) {
        let stage = Stage::set(world).await;
        let bare = stage.listener(world).await;
        let silent = world.post("/v1/activities", &world.app.server, start(&bare, json!({}))).await.expect(202);
        assert_eq!((&silent["results"][0]["state"], &silent["results"][0]["reason"]), (&json!("suppressed"), &json!("no_token")));
        let who = traveller(world, &stage).await;
        let device = json!({"platform": "ios", "token": who.token, "topic": TOPIC, "push_permission": "denied"});
        world.put(&format!("/v1/me/devices/{}", installation(&who)), &who.person.token, device).await.good();
        started(world, &who).await;
        assert_eq!(at(&stage, &token(&who, "start")).len(), 1);
        let path = format!("/v1/me/devices/{}/start-tokens/{TYPE}", installation(&who));
        world.delete(&path, &who.person.token).await.expect(204);
        world.delete(&path, &who.person.token).await.refused(404, "not_found");
        started(world, &who).await;
        assert_eq!(at(&stage, &token(&who, "start")).len(), 1);
        for n in 0..32 {
            let path = format!("/v1/me/devices/{}/start-tokens/T{n}", installation(&who));
            world.put(&path, &who.person.token, json!({"token": format!("{n:04x}")})).await.expect(204);
        }
        say_start(world, &who, &token(&who, "start")).await.refused(409, "too_many_start_tokens");
    }

    async fn over_a_channel_it_is_updated_there(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let channel = json!({"key": "lx8", "attributes_type": TYPE});
        let channel = world.post("/v1/channels", &world.app.server, channel).await.expect(201);
        let body = start(&who, json!({"channel_id": channel["id"]}));
        let id = text(&world.post("/v1/activities", &world.app.server, body).await.expect(202), "id");
        world.drain().await;
        let shown = aps(&at(&stage, &token(&who, "start"))[0]);
        assert_eq!((&shown["input-push-channel"], &shown["input-push-token"]), (&channel["apns_channel_id"], &Value::Null));
        ask(world, &id, json!({})).await.refused(409, "updated_over_channel");
        let other = json!({"key": "other", "attributes_type": "TaxiAttributes"});
        let other = world.post("/v1/channels", &world.app.server, other).await.expect(201);
        let body = start(&who, json!({"channel_id": other["id"]}));
        world.post("/v1/activities", &world.app.server, body).await.refused(400, "validation_failed");
    }

    async fn one_that_the_app_has_begun_by_itself_is_updated_for_a_purpose(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let name = "8F2A-11";
        let update = token(&who, "own");
        let id = text(&say(world, &who, (name, &update)).await.expect(200), "activity_id");
        assert_eq!(say(world, &who, (name, &update)).await.expect(200)["activity_id"], json!(id));
        let answer = ask(world, &id, json!({})).await;
        assert_eq!((answer.status, answer.json()["errors"][0]["field"].as_str()), (400, Some("purpose")));
        updated(world, &id, json!({"purpose": "marketing"})).await;
        world.drain().await;
        assert_eq!((at(&stage, &update).len(), state(world, &id).await.as_str()), (1, "running"));
        let other = json!({"token": update, "attributes_type": "TaxiAttributes"});
        let path = format!("/v1/me/devices/{}/activities/{name}", installation(&who));
        world.put(&path, &who.person.token, other).await.refused(400, "validation_failed");
        world.delete(&path, &who.person.token).await.expect(204);
        assert_eq!((state(world, &id).await.as_str(), tokens(world).await), ("ended", (0, 0)));
        assert_eq!(ask(world, &id, json!({"purpose": "marketing"})).await.expect(202)["results"], json!([]));
        for n in 0..64 {
            say(world, &who, (&format!("n{n}"), &format!("{n:04x}"))).await.expect(200);
        }
        say(world, &who, ("more", "abcd")).await.refused(409, "too_many_activities");
        world.advance(minutes(13 * 60)).await;
        assert_eq!(world.number("select count(*) from activities").await, 0);
        stage.adds_up(world).await;
    }
}

/// Somebody else who has signed in on the same phone.
pub async fn newcomer(world: &World, stage: &Stage, phone_of: &Listener) -> Person {
    let person = world.person(&stage.app).await;
    crate::stage::grant(world, &person, "marketing").await;
    let device = json!({"platform": "ios", "token": phone_of.token, "topic": TOPIC, "push_permission": "granted"});
    world.put(&format!("/v1/me/devices/{}", installation(phone_of)), &person.token, device).await.expect(201);
    person
}
