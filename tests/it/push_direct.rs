//! Direct pushes by an app's own back end: whom they reach, what refuses them, and that nobody gets one twice.

use crate::outbox::phone_with;
use crate::stage::{Good, Listener, Stage, grant, minutes, phone};
use crate::world::{Caller, World};
use futures_util::future::join_all;
use kairos::clock::HOUR_MS;
use kairos::push::fcm::PAYLOAD_LIMIT_BYTES;
use kairos::push::standin::{Fault, Rule};
use kairos::push::{Content, Gateway};
use serde_json::{Value, json};

mod fair;
mod kinds;
mod many;

/// A push to this audience with these fields changed.
pub fn push(audience: Value, change: Value) -> Value {
    let mut body = json!({"purpose": "marketing", "topic": "offers", "audience": audience,
        "content": {"title": "Hello", "body": "Your gate has changed"}});
    for (key, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(key)),
            _ => body[key] = value.clone(),
        }
    }
    body
}

/// Sends it.
pub async fn send(world: &World, body: Value) -> String {
    let made = world.post("/v1/pushes", &world.app.server, body).await.expect(202);
    made["id"].as_str().unwrap().to_owned()
}

/// Sends it to somebody and works it off.
async fn sent(world: &World, who: &Listener, change: Value) -> Value {
    let id = send(world, push(json!({"user_ids": [who.person.id]}), change)).await;
    world.drain().await;
    read(world, &id).await
}

pub async fn read(world: &World, id: &str) -> Value {
    world.get(&format!("/v1/pushes/{id}"), &world.app.server).await.expect(200)
}

/// What must be true of a push at every instant.
pub fn conserved(push: &Value) {
    let counts = &push["counts"];
    let n = |value: &Value| value.as_i64().unwrap();
    let sum = |map: &Value| map.as_object().unwrap().values().map(n).sum::<i64>();
    assert_eq!(n(&counts["users"]), n(&counts["chosen"]) + n(&counts["held"]) + sum(&counts["suppressed"]), "{push:#}");
    assert_eq!(2 * n(&counts["messages"]["taken"]), sum(&counts["messages"]), "{push:#}");
}

async fn wish(world: &World, who: &Listener, wish: Value) {
    world.patch("/v1/me/preferences", &who.person.token, wish).await.good();
}

async fn rows(world: &World, table: &str) -> i64 {
    world.number(&format!("select count(*) from {table}")).await
}

async fn device(world: &World, who: &Listener) -> (String, String) {
    let found = world.get(&format!("/v1/users/{}/devices", who.person.id), &world.app.server).await.expect(200);
    let text = |name: &str| found["items"][0][name].as_str().unwrap().to_owned();
    (text("id"), text("installation_id"))
}

both! {
    async fn a_push_to_a_user_arrives_once_with_a_decision_and_a_result(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let id = send(world, push(json!({"user_ids": [who.person.id]}), json!({"name": "Gate change", "collapse_id": "gate"}))).await;
        let before = read(world, &id).await;
        assert_eq!((&before["state"], &before["counts"]["users"]), (&json!("running"), &json!(0)));
        assert!(stage.arrived(&who).is_empty(), "nothing is sent inside a request");
        world.drain().await;
        let arrived = stage.arrived(&who);
        assert_eq!(arrived.len(), 1);
        let after = read(world, &id).await;
        conserved(&after);
        assert_eq!((&after["state"], &after["name"]), (&json!("done"), &json!("Gate change")));
        assert_eq!((&after["counts"]["messages"]["accepted"], &after["visited"]), (&json!(1), &json!(1)));
        let results = after["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["state"], &results[0]["user_id"]), (1, &json!("accepted"), &json!(who.person.id)));
        assert_eq!(results[0]["attempts"][0]["status"], 200);
        let decision = stage.decision(world, &who).await;
        assert_eq!((&decision["push_id"], &decision["outcome"]), (&json!(id), &json!("chosen")));
        assert_eq!(decision["campaign_id"], Value::Null);
        let by_push = world.get(&format!("/v1/decisions?push={id}"), &world.app.server).await.expect(200);
        assert_eq!(by_push["items"][0]["id"], decision["id"]);
        let message = &stage.messages(world, &who).await[0];
        assert_eq!((&message["push_id"], &message["collapse_id"]), (&json!(id), &json!("gate")));
        world.advance(minutes(60)).await;
        assert_eq!(stage.standin.ledger().len(), 1);
        for table in ["push_runs", "push_targets"] {
            assert_eq!(rows(world, table).await, 0, "{table}");
        }
        stage.adds_up(world).await;
    }

    async fn each_kind_of_list_reaches_whom_it_names_and_says_behind_which_entries_there_is_nobody(world) {
        let stage = Stage::set(world).await;
        let (one, two) = (stage.listener(world).await, stage.listener(world).await);
        let second = phone(world, &one.person, "second").await;
        world.patch(&format!("/v1/users/{}", one.person.id), &world.app.server, json!({"external_id": "crm-1"})).await.good();
        let (of_two, installation) = device(world, &two).await;
        let nobody = format!("usr_{}", "0".repeat(32));
        let phoneless = format!("dev_{}", "0".repeat(32));
        let cases = [
            (json!({"user_ids": [one.person.id, nobody, one.person.id]}), "audience.user_ids[1]", "unknown_user", [2, 0]),
            (json!({"external_ids": ["crm-9", "crm-1"]}), "audience.external_ids[0]", "unknown_user", [2, 0]),
            (json!({"device_ids": [of_two, phoneless]}), "audience.device_ids[1]", "unknown_device", [0, 1]),
            (json!({"installation_ids": [installation, "nothing"]}), "audience.installation_ids[1]", "unknown_device", [0, 1]),
            (json!({"tokens": [second.to_uppercase(), "deadbeef", two.token]}), "audience.tokens[1]", "unknown_device", [1, 1]),
        ];
        for (audience, entry, reason, more) in cases {
            let before = stage.standin.ledger().len();
            let made = world.post("/v1/pushes", &world.app.server, push(audience.clone(), json!({}))).await.expect(202);
            assert_eq!(made["unknown"], json!([{"entry": entry, "reason": reason}]), "{audience}");
            world.drain().await;
            let ledger = stage.standin.ledger();
            let to = |tokens: &[&String]| ledger[before..].iter().filter(|row| tokens.contains(&&row.token)).count();
            assert_eq!([to(&[&one.token, &second]), to(&[&two.token])], more, "{audience}");
            conserved(&read(world, made["id"].as_str().unwrap()).await);
        }
        let last = stage.standin.ledger();
        assert_eq!(last[last.len() - 2..].iter().filter(|row| row.token == one.token).count(), 0, "only the phone that was named");
        stage.adds_up(world).await;
    }

    async fn an_installation_of_firebases_is_found_by_its_id_as_it_was_said(world) {
        let stage = Stage::set(world).await;
        let by = &world.app.server;
        world.put("/v1/push-credentials/fcm", by, stage.standin.issue_fcm("demo-project").unwrap()).await.good();
        let person = world.person(&stage.app).await;
        grant(world, &person, "marketing").await;
        let fid = "cXyz_ABCDEFGHIJKL-1234";
        let device = json!({"platform": "android", "token": fid, "token_kind": "fcm_fid", "push_permission": "granted"});
        world.put("/v1/me/devices/android-1", &person.token, device).await.good();
        send(world, push(json!({"tokens": [fid]}), json!({}))).await;
        world.drain().await;
        let tokens: Vec<String> = stage.standin.ledger().into_iter().map(|row| row.token).collect();
        assert_eq!(tokens, [format!("fid:{fid}")]);
        stage.adds_up(world).await;
    }

    async fn a_token_or_a_user_of_another_app_is_nobody(world) {
        let stage = Stage::set(world).await;
        let other = world.new_app("Other").await;
        let who = stage.listener(world).await;
        for audience in [json!({"tokens": [who.token]}), json!({"user_ids": [who.person.id]})] {
            let body = push(audience, json!({"purpose": "location", "topic": null}));
            let made = world.post("/v1/pushes", &other.server, body).await.expect(202);
            assert_eq!(made["unknown"].as_array().unwrap().len(), 1, "{made}");
            let path = format!("/v1/pushes/{}", made["id"].as_str().unwrap());
            for path in [&path, &format!("{path}/results"), &format!("{path}/results.ndjson")] {
                world.get(path, &world.app.server).await.refused(404, "not_found");
            }
            world.post(&format!("{path}/cancel"), &world.app.server, json!({})).await.refused(404, "not_found");
        }
        world.drain().await;
        assert!(stage.standin.ledger().is_empty());
        assert_eq!(rows(world, "decisions").await, 0);
        let own = world.get("/v1/pushes", &world.app.server).await.expect(200);
        assert_eq!(own["items"], json!([]));
    }

    async fn each_gate_refuses_with_its_stored_reason_and_nothing_goes_out(world) {
        let stage = Stage::set(world).await;
        let hush = json!({"purpose": "marketing", "granted": false});
        let mut refused = Vec::new();
        for reason in ["withdrawn", "topic_off", "channel_off", "paused", "no_device", "no_permission", "quiet_until_too_late", "user_frequency"] {
            let who = stage.listener(world).await;
            let (_, installation) = device(world, &who).await;
            let of_device = format!("/v1/me/devices/{installation}");
            match reason {
                "withdrawn" => drop(world.post("/v1/me/consents", &who.person.token, hush.clone()).await.good()),
                "topic_off" => wish(world, &who, json!({"topics": {"offers": false}})).await,
                "channel_off" => wish(world, &who, json!({"channels": {"push": false}})).await,
                "paused" => wish(world, &who, json!({"pause_until": world.time(3_600)})).await,
                "no_device" => drop(world.delete(&of_device, &who.person.token).await.good()),
                "no_permission" => {
                    let denied = json!({"platform": "ios", "token": who.token, "topic": crate::stage::TOPIC, "push_permission": "denied"});
                    world.put(&of_device, &who.person.token, denied).await.good();
                }
                "quiet_until_too_late" => wish(world, &who, json!({"quiet_hours": {"from": "09:00", "to": "20:00", "zone": "UTC"}})).await,
                _ => {
                    wish(world, &who, json!({"frequency": {"limit": 1, "window_ms": HOUR_MS}})).await;
                    sent(world, &who, json!({})).await;
                }
            }
            let before = stage.arrived(&who).len();
            let out = sent(world, &who, json!({"ttl_ms": HOUR_MS})).await;
            conserved(&out);
            assert_eq!(out["counts"]["suppressed"], json!({reason: 1}), "{reason}");
            let result = &out["results"][0];
            assert_eq!((&result["state"], &result["reason"], &result["device_id"]), (&json!("suppressed"), &json!(reason), &Value::Null));
            assert_eq!(stage.arrived(&who).len(), before, "{reason}");
            let last = stage.decisions(world, &who).await.pop().unwrap();
            assert_eq!((&last["outcome"], &last["reason"]), (&json!("silent"), &json!(reason)));
            refused.push(who);
        }
        // What is critical passes pause, quiet hours and caps, and nothing else.
        let critical = json!({"class": "critical", "topic": "alerts", "purpose": "service"});
        for (who, arrives) in refused.iter().zip([1, 1, 0, 1, 0, 0, 1, 1]) {
            let before = stage.arrived(who).len();
            sent(world, who, critical.clone()).await;
            assert_eq!(stage.arrived(who).len() - before, arrives);
        }
        stage.adds_up(world).await;
    }

    async fn one_key_is_one_push_also_under_64_calls_at_once_and_never_another(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let body = push(json!({"user_ids": [who.person.id]}), json!({}));
        let call = |body: Value, key: &str, by: &Caller| {
            world.call("POST", "/v1/pushes").by(by).header("Idempotency-Key", key).json(&body).send()
        };
        let by = &world.app.server;
        let answers = join_all((0..64).map(|_| call(body.clone(), "order-1", by))).await;
        let mut ids: Vec<Value> = answers.iter().map(|answer| answer.expect(202)["id"].clone()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1);
        world.drain().await;
        assert_eq!((stage.arrived(&who).len(), rows(world, "pushes").await), (1, 1));
        // Another order of the fields is the same push; another word is another one.
        let again = call(body.clone(), "order-1", by).await.expect(202);
        assert_eq!((&again["id"], &again["state"]), (&ids[0], &json!("done")));
        let other = push(json!({"user_ids": [who.person.id]}), json!({"ttl_ms": HOUR_MS}));
        call(other.clone(), "order-1", by).await.refused(422, "idempotency_key_reused");
        assert_ne!(call(other, "order-2", by).await.expect(202)["id"], ids[0]);
        call(body.clone(), "", by).await.refused_field(400, "validation_failed", "Idempotency-Key");
        let stranger = world.new_app("Other").await;
        let theirs = push(json!({"user_ids": [who.person.id]}), json!({"purpose": "location", "topic": null}));
        assert_ne!(call(theirs, "order-1", &stranger.server).await.expect(202)["id"], ids[0]);
        world.drain().await;
        assert_eq!(stage.arrived(&who).len(), 2);
        let made = world.number("select count(*) from audit where action like '%/v1/pushes%'").await;
        assert_eq!(made, 3, "a call that found its push has changed nothing");
        stage.adds_up(world).await;
    }

    async fn validate_only_counts_by_first_refusal_and_leaves_no_row(world) {
        let stage = Stage::set(world).await;
        let (one, two, three) = (stage.listener(world).await, stage.listener(world).await, stage.listener(world).await);
        phone(world, &one.person, "second").await;
        wish(world, &two, json!({"topics": {"offers": false}})).await;
        wish(world, &three, json!({"quiet_hours": {"from": "09:00", "to": "20:00", "zone": "UTC"}})).await;
        let ids = [&one, &two, &three].map(|who| who.person.id.clone());
        let body = push(json!({"user_ids": ids}), json!({"validate_only": true}));
        let said = world.call("POST", "/v1/pushes").by(&world.app.server).header("Idempotency-Key", "x").json(&body).send().await.expect(200);
        let expected = json!({"users": 3, "chosen": 1, "held": 1, "suppressed": {"topic_off": 1}, "devices": 2, "unknown": [],
            "visited": 3, "outside": {}, "complete": true});
        assert_eq!(said, expected);
        let topic = push(json!({"topic": "offers"}), json!({"validate_only": true}));
        let said = world.post("/v1/pushes", &world.app.server, topic).await.expect(200);
        assert_eq!((&said["users"], &said["outside"]), (&json!(2), &json!({"topic_off": 1})));
        let bad = push(json!({"rule": "user.nothing == 1"}), json!({"validate_only": true}));
        world.post("/v1/pushes", &world.app.server, bad).await.refused_field(400, "validation_failed", "audience.rule");
        world.drain().await;
        for table in ["pushes", "push_runs", "push_targets", "decisions", "choices", "messages", "versions"] {
            assert_eq!(rows(world, table).await, 0, "{table}");
        }
        assert!(stage.standin.ledger().is_empty());
    }

    async fn what_is_wrong_is_refused_with_its_field(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let me = json!({"user_ids": [who.person.id]});
        let long = "x".repeat(4_096);
        let many = vec![who.person.id.clone(); 1_001];
        let cases = [
            (push(json!({}), json!({})), "audience"),
            (push(json!({"user_ids": [who.person.id], "topic": "offers"}), json!({})), "audience"),
            (push(json!({"user_ids": []}), json!({})), "audience.user_ids"),
            (push(json!({"user_ids": many}), json!({})), "audience.user_ids"),
            (push(json!({"tokens": [""]}), json!({})), "audience.tokens[0]"),
            (push(json!({"topic": "nothing"}), json!({})), "audience.topic"),
            (push(json!({"rule": "event.type == 'x'"}), json!({})), "audience.rule"),
            (push(json!({"rule": "1 +"}), json!({})), "audience.rule"),
            (push(me.clone(), json!({"purpose": "nothing"})), "purpose"),
            (push(me.clone(), json!({"topic": "nothing"})), "topic"),
            (push(me.clone(), json!({"class": "critical"})), "topic"),
            (push(me.clone(), json!({"class": "critical", "topic": null})), "topic"),
            (push(me.clone(), json!({"ttl_ms": 10})), "ttl_ms"),
            (push(me.clone(), json!({"ttl_ms": 10_000, "deliver_by": world.time(60)})), "ttl_ms"),
            (push(me.clone(), json!({"deliver_by": world.time(-60)})), "deliver_by"),
            (push(me.clone(), json!({"send_at": world.time(-3_600)})), "send_at"),
            (push(me.clone(), json!({"send_at": world.time(367 * 86_400)})), "send_at"),
            (push(me.clone(), json!({"send_at": "tomorrow"})), "send_at"),
            (push(me.clone(), json!({"local": true})), "send_at"),
            (push(me.clone(), json!({"local": true, "send_at": "2026-06-16T09:00:00Z"})), "send_at"),
            (push(me.clone(), json!({"collapse_id": "a b"})), "collapse_id"),
            (push(me.clone(), json!({"content": {"title": "{{ user.", "body": "x"}})), "content.title"),
            (push(me.clone(), json!({"content": {"title": "x", "body": long}})), "content.body"),
            (push(me.clone(), json!({"translations": {"de": {"title": "x", "body": long}}})), "translations.de.body"),
            // A locale that begins like that of `content`, which has none.
            (push(me.clone(), json!({"translations": {"und-Latn": {"title": "x", "body": long}}})), "translations.und-Latn.body"),
            (push(me.clone(), json!({"translations": {"und-Latn": {"title": "{{ user.", "body": "x"}}})), "translations.und-Latn.title"),
            (push(me.clone(), json!({"translations": {"und": {"title": "x", "body": "x"}}})), "translations.und"),
            (push(me.clone(), json!({"translations": {"und.body": {"title": "x", "body": "x"}}})), "translations.und.body"),
            (push(me.clone(), json!({"translations": {"undefined": {"title": "x", "body": "x"}}})), "translations.undefined"),
            (push(me.clone(), json!({"nothing": 1})), "nothing"),
        ];
        for (body, field) in cases {
            world.post("/v1/pushes", &world.app.server, body).await.refused_field(400, "validation_failed", field);
        }
        let missing = json!({"audience": me, "content": {"title": "x", "body": "x"}});
        world.post("/v1/pushes", &world.app.server, missing).await.refused_field(400, "validation_failed", "purpose");
        assert_eq!(rows(world, "pushes").await, 0);
        let reader = world.server_key(&stage.app, &["decisions:read"]).await;
        world.post("/v1/pushes", &reader, push(me.clone(), json!({}))).await.refused(403, "missing_scope");
    }

    async fn a_push_may_have_49_translations_and_is_told_so(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let words = json!({"title": "x", "body": "x"});
        for (n, status) in [(49, 200), (50, 400), (51, 400)] {
            let translations: serde_json::Map<String, Value> = (0..n).map(|n| (format!("de-x{n:02}"), words.clone())).collect();
            let change = json!({"translations": translations, "validate_only": true});
            let answer = world.post("/v1/pushes", &world.app.server, push(json!({"user_ids": [who.person.id]}), change)).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            if status == 400 {
                let told = answer.refused_field(400, "validation_failed", "translations");
                assert_eq!((told["errors"].as_array().unwrap().len(), &told["errors"][0]["code"]), (1, &json!("too_long")), "{told}");
                assert!(told["errors"][0]["message"].as_str().unwrap().contains("49"), "{told}");
            }
        }
    }

    async fn words_are_each_persons_own_and_too_long_ones_silence_one_person_alone(world) {
        let stage = Stage::set(world).await;
        let by = &world.app.server;
        world.post("/v1/attributes", by, json!({"scope": "user", "key": "nick", "kind": "string"})).await.good();
        let (short, long) = (stage.listener(world).await, stage.listener(world).await);
        for (who, nick) in [(&short, "Ann".to_owned()), (&long, "é".repeat(400))] {
            world.patch(&format!("/v1/users/{}", who.person.id), by, json!({"attributes": {"nick": nick}, "locale": "en"})).await.good();
        }
        let nick = "{{ user.attributes.nick }}".repeat(5);
        let words = |greeting: &str| json!({"title": greeting, "body": format!("{greeting} {nick}")});
        let change = json!({"content": words("Bonjour"), "translations": {"en": words("Hello"), "de": words("Hallo")}});
        let id = send(world, push(json!({"user_ids": [short.person.id, long.person.id]}), change)).await;
        world.drain().await;
        let text = stage.arrived(&short)[0].text.clone().unwrap();
        assert!(text.contains("AnnAnn") && text.contains("Hello"), "{text}");
        assert!(stage.arrived(&long).is_empty());
        let out = read(world, &id).await;
        conserved(&out);
        assert_eq!(out["counts"]["suppressed"], json!({"payload_too_large": 1}));
        stage.adds_up(world).await;
    }

    async fn a_collapse_id_is_weighed_with_the_words_to_the_byte(world) {
        let stage = Stage::set(world).await;
        let by = &world.app.server;
        world.put("/v1/push-credentials/fcm", by, stage.standin.issue_fcm("demo-project").unwrap()).await.good();
        let person = world.person(&stage.app).await;
        grant(world, &person, "marketing").await;
        phone_with(world, &person, (Gateway::Fcm, "android-1", "phone-1")).await;
        let me = json!({"user_ids": [person.id]});
        for id in ["c".repeat(65), "é".repeat(32)] {
            let body = push(me.clone(), json!({"collapse_id": id}));
            world.post("/v1/pushes", by, body).await.refused_field(400, "validation_failed", "collapse_id");
        }
        // The longest that there is: with it fits less than beside one of its own.
        let id = "c".repeat(64);
        let said = |story: &str| json!({"title": "Grüße", "body": "Ihr Flugsteig hat gewechselt", "android": {"data": {"story": story}}});
        let weight = |story: &str| {
            let mut content = said(story);
            content["collapse_id"] = json!(id);
            serde_json::from_value::<Content>(content).unwrap().bytes(Gateway::Fcm)
        };
        let room = PAYLOAD_LIMIT_BYTES - weight("");
        let full = format!("{}{}", "é".repeat(room / 2), "x".repeat(room % 2));
        for (story, accepted, suppressed) in [(full.clone(), 1, json!({})), (format!("{full}x"), 0, json!({"payload_too_large": 1}))] {
            let id = send(world, push(me.clone(), json!({"content": said(&story), "collapse_id": id}))).await;
            world.drain().await;
            let out = read(world, &id).await;
            conserved(&out);
            assert_eq!((&out["counts"]["messages"]["accepted"], &out["counts"]["suppressed"]), (&json!(accepted), &suppressed), "{out:#}");
        }
        let ledger = stage.standin.ledger();
        assert_eq!((weight(&full), ledger.len(), ledger[0].collapse_id.as_deref()), (PAYLOAD_LIMIT_BYTES, 1, Some(id.as_str())));
        stage.adds_up(world).await;
    }

    async fn quiet_time_holds_it_until_its_end_when_that_is_before_the_deadline(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        wish(world, &who, json!({"quiet_hours": {"from": "09:00", "to": "11:00", "zone": "UTC"}})).await;
        let out = sent(world, &who, json!({"ttl_ms": 2 * HOUR_MS})).await;
        conserved(&out);
        assert_eq!((&out["state"], &out["counts"]["held"]), (&json!("running"), &json!(1)));
        world.advance(minutes(59)).await;
        assert!(stage.arrived(&who).is_empty());
        world.advance(minutes(1)).await;
        assert_eq!(stage.arrived(&who).len(), 1);
        let out = read(world, out["id"].as_str().unwrap()).await;
        conserved(&out);
        assert_eq!((&out["state"], &out["counts"]["messages"]["accepted"]), (&json!("done"), &json!(1)));
        stage.adds_up(world).await;
    }

    async fn its_deadline_is_never_passed_and_a_withdrawal_in_between_revokes_it(world) {
        let stage = Stage::set(world).await;
        let (late, gone) = (stage.listener(world).await, stage.listener(world).await);
        stage.standin.inject(Rule::once(Fault::Answer { status: 403, reason: "Forbidden".into(), retry_after_s: None, timestamp_ms: None }));
        let scapegoat = stage.listener(world).await;
        sent(world, &scapegoat, json!({})).await;
        // The gateway is closed for half a minute: what is decided waits.
        let id = send(world, push(json!({"user_ids": [late.person.id]}), json!({"deliver_by": world.time(20)}))).await;
        let other = send(world, push(json!({"user_ids": [gone.person.id]}), json!({}))).await;
        world.drain().await;
        assert_eq!(read(world, &id).await["counts"]["messages"]["waiting"], 1);
        world.post("/v1/me/consents", &gone.person.token, json!({"purpose": "marketing", "granted": false})).await.good();
        world.advance(minutes(1)).await;
        assert!(stage.arrived(&late).is_empty() && stage.arrived(&gone).is_empty());
        for (id, end) in [(&id, "expired"), (&other, "revoked")] {
            let out = read(world, id).await;
            conserved(&out);
            assert_eq!((&out["state"], &out["counts"]["messages"][end]), (&json!("done"), &json!(1)), "{out:#}");
        }
        // One that is late before anybody is decided about is refused.
        let id = send(world, push(json!({"user_ids": [late.person.id]}), json!({"ttl_ms": 60_000}))).await;
        world.advance(minutes(2)).await;
        assert_eq!(read(world, &id).await["counts"]["suppressed"], json!({"closed": 1}));
        stage.adds_up(world).await;
    }

    async fn a_scheduled_push_goes_out_at_its_instant_and_not_before(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let id = send(world, push(json!({"user_ids": [who.person.id]}), json!({"send_at": world.time(3_600)}))).await;
        assert_eq!(read(world, &id).await["state"], "scheduled");
        world.clock.set(world.now_ms() + HOUR_MS - 1);
        world.drain().await;
        assert_eq!((stage.standin.ledger().len(), rows(world, "decisions").await), (0, 0));
        world.clock.set(world.now_ms() + 1);
        world.drain().await;
        assert_eq!(stage.arrived(&who).len(), 1);
        assert_eq!(read(world, &id).await["state"], "done");
        let listed = world.get("/v1/pushes?state=done", &world.app.server).await.expect(200);
        assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["counts"]["users"]), (&json!(id), &json!(1)));
        stage.adds_up(world).await;
    }

    async fn a_local_time_is_each_users_own_also_over_the_end_of_summer_time(world) {
        let stage = Stage::set(world).await;
        let by = &world.app.server;
        // 02:30 is there twice in Paris on this night and once elsewhere.
        world.clock.set(kairos::clock::Time::parse("2026-10-24T12:00:00Z").unwrap().0);
        let mut people = Vec::new();
        for zone in ["Asia/Tokyo", "Europe/Paris", "America/New_York", "Europe/Paris"] {
            let who = stage.listener(world).await;
            world.patch(&format!("/v1/users/{}", who.person.id), by, json!({"time_zone": zone})).await.good();
            people.push(who);
        }
        let ids: Vec<&String> = people.iter().map(|who| &who.person.id).collect();
        let change = json!({"purpose": "service", "send_at": "2026-10-25T02:30:00", "local": true, "ttl_ms": 2 * HOUR_MS});
        let list = send(world, push(json!({"user_ids": ids}), change.clone())).await;
        let topic = send(world, push(json!({"topic": "offers"}), change)).await;
        let moved = &people[3].person.id;
        let mut seen = std::collections::BTreeMap::new();
        for quarter in 0..(4 * 50) {
            let before = stage.standin.ledger().len();
            world.drain().await;
            for row in &stage.standin.ledger()[before..] {
                seen.entry(row.token.clone()).or_insert_with(Vec::new).push(world.time(0));
            }
            if quarter == 4 * 8 {
                // Past Tokyo's time, before that of Paris: nobody is left out, and nobody is told in the middle of the day.
                world.patch(&format!("/v1/users/{moved}"), by, json!({"time_zone": "Asia/Tokyo"})).await.good();
            }
            world.clock.advance(std::time::Duration::from_secs(900));
        }
        for (who, at) in people.iter().zip(["2026-10-24T17:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-25T06:30:00.000Z"]) {
            assert_eq!(seen[&who.token], [at, at]);
        }
        assert!(!seen.contains_key(&people[3].token));
        for id in [list, topic] {
            let out = read(world, &id).await;
            conserved(&out);
            assert_eq!((&out["state"], &out["counts"]["users"], &out["visited"]), (&json!("done"), &json!(4), &json!(4)));
            assert_eq!(out["counts"]["suppressed"], json!({"closed": 1}));
        }
        stage.adds_up(world).await;
    }

    async fn cancelling_ends_what_is_scheduled_held_and_queued_and_nothing_that_has_ended(world) {
        let stage = Stage::set(world).await;
        let (one, two, quiet) = (stage.listener(world).await, stage.listener(world).await, stage.listener(world).await);
        wish(world, &quiet, json!({"quiet_hours": {"from": "09:00", "to": "11:00", "zone": "UTC"}})).await;
        let cancel = |id: &str| format!("/v1/pushes/{id}/cancel");
        let by = &world.app.server;
        let scheduled = send(world, push(json!({"user_ids": [one.person.id]}), json!({"send_at": world.time(600)}))).await;
        assert_eq!(world.post(&cancel(&scheduled), by, json!({})).await.expect(200)["state"], "cancelled");
        sent(world, &one, json!({})).await;
        stage.standin.inject(Rule::once(Fault::Answer { status: 403, reason: "Forbidden".into(), retry_after_s: None, timestamp_ms: None }));
        let scapegoat = stage.listener(world).await;
        sent(world, &scapegoat, json!({})).await;
        let id = send(world, push(json!({"user_ids": [two.person.id, quiet.person.id]}), json!({}))).await;
        world.drain().await;
        let before = read(world, &id).await;
        assert_eq!((&before["counts"]["held"], &before["counts"]["messages"]["waiting"]), (&json!(1), &json!(1)));
        let path = cancel(&id);
        let answers = join_all((0..4).map(|_| world.post(&path, by, json!({})))).await;
        let after = answers.last().unwrap().expect(200);
        conserved(&after);
        assert_eq!((&after["state"], &after["counts"]["suppressed"]), (&json!("cancelled"), &json!({"cancelled": 1})));
        assert_eq!((&after["counts"]["messages"]["cancelled"], &after["counts"]["messages"]["waiting"]), (&json!(1), &json!(0)));
        world.advance(minutes(90)).await;
        assert!(stage.arrived(&two).is_empty() && stage.arrived(&quiet).is_empty());
        assert_eq!(stage.arrived(&one).len(), 1);
        assert_eq!(stage.decision(world, &quiet).await["reason"], "cancelled");
        assert!(read(world, &id).await["ended_at"].is_string());
        let done = sent(world, &one, json!({})).await;
        world.post(&cancel(done["id"].as_str().unwrap()), by, json!({})).await.refused(409, "has_ended");
        stage.adds_up(world).await;
    }

    async fn a_test_keys_push_counts_nowhere_and_is_marked(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let key = json!({"kind": "server", "mode": "test", "name": "test", "scopes": ["push:write", "decisions:read"]});
        let made = world.post("/v1/keys", &world.app.server, key).await.expect(201);
        let tester = Caller::Bearer(made["secret"].as_str().unwrap().to_owned());
        wish(world, &who, json!({"frequency": {"limit": 1, "window_ms": HOUR_MS}})).await;
        let out = world.post("/v1/pushes", &tester, push(json!({"user_ids": [who.person.id]}), json!({}))).await.expect(202);
        assert_eq!(out["test"], true);
        world.drain().await;
        assert_eq!(stage.messages(world, &who).await[0]["test"], true);
        assert_eq!(sent(world, &who, json!({})).await["counts"]["chosen"], 1, "a test is no message that was heard");
        assert_eq!(stage.arrived(&who).len(), 2);
    }
}
