//! Direct pushes side by side: nobody waits for the largest, nothing stands still, and what was stopped stays so.

use super::many::crowd;
use super::{conserved, push, read, send, sent, wish};
use crate::stage::{Good, Stage, minutes};
use crate::world::{Caller, World};
use kairos::clock::HOUR_MS;
use kairos::push::standin::{Fault, Row, Rule};
use serde_json::{Value, json};
use std::time::Duration;

/// One step of the walks, a second later.
async fn step(world: &World) {
    world.clock.advance(Duration::from_secs(1));
    world.kairos.step("direct_pushes").await.unwrap();
}

/// Writes past the rooms what a fault would leave behind.
async fn plant(world: &World, sql: String) {
    world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
}

/// A server key for tests.
async fn test_key(world: &World) -> Caller {
    let key = json!({"kind": "server", "mode": "test", "name": "test", "scopes": ["push:write", "decisions:read"]});
    let made = world.post("/v1/keys", &world.app.server, key).await.expect(201);
    Caller::Bearer(made["secret"].as_str().unwrap().to_owned())
}

/// Closes the gateway for half a minute: what is decided then waits.
async fn close(world: &World, stage: &Stage) {
    let closed = Fault::Answer { status: 403, reason: "Forbidden".into(), retry_after_s: None, timestamp_ms: None };
    stage.standin.inject(Rule::once(closed));
    let scapegoat = stage.listener(world).await;
    send(world, push(json!({"user_ids": [scapegoat.person.id]}), json!({}))).await;
    world.drain().await;
}

both! {
    async fn a_local_time_that_came_late_ends_and_holds_up_nobody(world) {
        let stage = Stage::set(world).await;
        let ids: Vec<String> = crowd(world, (250, 3)).await.iter().map(ToString::to_string).collect();
        let change = json!({"purpose": "service", "local": true, "send_at": "2026-06-16T12:00:00", "ttl_ms": 72 * HOUR_MS});
        let id = send(world, push(json!({"user_ids": ids}), change)).await;
        // Nobody works for two days: the scout and the zone are due together, and the last clock on earth has shown it.
        world.clock.advance(minutes(48 * 60));
        world.drain().await;
        world.advance(minutes(2)).await;
        let out = read(world, &id).await;
        conserved(&out);
        assert_eq!((&out["state"], &out["counts"]["users"], &out["visited"]), (&json!("done"), &json!(250), &json!(250)), "{out:#}");
        assert_eq!(stage.standin.ledger().len(), 3);
    }

    async fn a_small_push_does_not_wait_for_a_large_one_of_its_own_app_or_of_another(world) {
        let stage = Stage::set(world).await;
        let other = world.new_app("Other").await;
        let person = world.person(&other).await;
        crowd(world, (800, 0)).await;
        let who = stage.listener(world).await;
        // More of them than have their share in one step.
        let mut large = Vec::new();
        for _ in 0..5 {
            large.push(send(world, push(json!({"topic": "offers"}), json!({"purpose": "service"}))).await);
        }
        step(world).await;
        world.clock.advance(Duration::from_secs(1));
        let small = send(world, push(json!({"user_ids": [who.person.id]}), json!({}))).await;
        let theirs = push(json!({"user_ids": [person.id]}), json!({"purpose": "location", "topic": null}));
        let theirs = world.post("/v1/pushes", &other.server, theirs).await.expect(202);
        let theirs = format!("/v1/pushes/{}", theirs["id"].as_str().unwrap());
        for _ in 0..4 {
            step(world).await;
        }
        assert_eq!(world.get(&theirs, &other.server).await.expect(200)["visited"], 1);
        assert_eq!(read(world, &small).await["visited"], 1);
        for id in &large {
            assert_eq!(read(world, id).await["state"], "running");
        }
        world.drain().await;
        for id in &large {
            assert_eq!(read(world, id).await["visited"], 801);
        }
    }

    async fn a_walk_that_outlives_its_push_ends(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let change = json!({"send_at": "2026-06-16T12:00:00", "local": true});
        let id = send(world, push(json!({"user_ids": [who.person.id]}), change)).await;
        world.post(&format!("/v1/pushes/{id}/cancel"), &world.app.server, json!({})).await.expect(200);
        world.drain().await;
        for zone in ["Europe/Paris", "?"] {
            plant(world, format!("insert into push_runs values ('{}', '{id}', '{zone}', 0, null, false)", world.app.id)).await;
        }
        world.drain().await;
        assert_eq!(world.number("select count(*) from push_runs where done = false").await, 0);
        assert_eq!(read(world, &id).await["state"], "cancelled");
    }

    async fn a_recall_of_one_of_two_changes_no_figure_of_its_push(world) {
        let stage = Stage::set(world).await;
        let (quiet, one, two) = (stage.listener(world).await, stage.listener(world).await, stage.listener(world).await);
        // While the first one waits, nothing behind it is settled: all of it is counted anew.
        wish(world, &quiet, json!({"quiet_hours": {"from": "09:00", "to": "11:00", "zone": "UTC"}})).await;
        let ids = [&quiet, &one, &two].map(|who| who.person.id.clone());
        let id = send(world, push(json!({"user_ids": ids}), json!({"ttl_ms": 2 * HOUR_MS}))).await;
        world.drain().await;
        let before = read(world, &id).await;
        let message = stage.messages(world, &one).await.remove(0);
        world.post(&format!("/v1/messages/{}/recall", message["id"].as_str().unwrap()), &world.app.server, json!({})).await.good();
        world.drain().await;
        let results = format!("/v1/pushes/{id}/results");
        assert_eq!(read(world, &id).await["counts"], before["counts"]);
        assert_eq!(world.get(&results, &world.app.server).await.expect(200)["items"].as_array().unwrap().len(), 3);
        world.advance(minutes(60)).await;
        let out = read(world, &id).await;
        conserved(&out);
        assert_eq!((&out["state"], &out["counts"]["messages"]["taken"]), (&json!("done"), &json!(3)), "{out:#}");
        assert_eq!(out["results"].as_array().unwrap().len(), 3);
    }

    async fn words_of_a_list_that_was_cancelled_before_its_time_are_gone_and_the_push_is_not(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let secret = json!({"name": "Ann's", "content": {"title": "Dear Ann", "body": "your parcel is here"},
            "translations": {"de": {"title": "Liebe Ann", "body": "Dein Paket ist da"}}, "send_at": world.time(86_400)});
        let id = send(world, push(json!({"user_ids": [who.person.id]}), secret)).await;
        world.post(&format!("/v1/pushes/{id}/cancel"), &world.app.server, json!({})).await.expect(200);
        world.drain().await;
        world.delete(&format!("/v1/users/{}", who.person.id), &world.app.server).await.expect(202);
        world.drain().await;
        for table in ["pushes", "versions"] {
            assert_eq!(world.number(&format!("select count(*) from {table} where spec like '%Ann%'")).await, 0, "{table}");
        }
        let out = read(world, &id).await;
        assert_eq!((&out["state"], &out["name"], &out["counts"]["users"]), (&json!("cancelled"), &Value::Null, &json!(0)));
        let listed = world.get("/v1/pushes?limit=1", &world.app.server).await.expect(200);
        assert_eq!(listed["items"][0]["id"], json!(id));
    }

    async fn cancelling_stops_what_waits_in_batches_and_a_cancellation_that_was_cut_short_is_finished(world) {
        let stage = Stage::set(world).await;
        crowd(world, (1_100, 1_100)).await;
        close(world, &stage).await;
        let topic = || push(json!({"topic": "offers"}), json!({"purpose": "service"}));
        let (whole, cut) = (send(world, topic()).await, send(world, topic()).await);
        world.drain().await;
        let waiting = read(world, &whole).await["counts"]["messages"]["waiting"].as_i64().unwrap();
        assert!(waiting >= 1_100, "{waiting}");
        let out = world.post(&format!("/v1/pushes/{whole}/cancel"), &world.app.server, json!({})).await.expect(200);
        conserved(&out);
        assert_eq!((&out["counts"]["messages"]["cancelled"], &out["counts"]["messages"]["waiting"]), (&json!(waiting), &json!(0)));
        plant(world, format!("update pushes set state = 'cancelled' where id = '{cut}'")).await;
        world.drain().await;
        for id in [&whole, &cut] {
            let out = read(world, id).await;
            conserved(&out);
            assert_eq!((&out["state"], &out["counts"]["messages"]["cancelled"]), (&json!("cancelled"), &json!(waiting)), "{out:#}");
            assert!(out["ended_at"].is_string());
        }
        world.advance(minutes(1)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'accepted' and reason = 'cancelled'").await, 0);
    }

    async fn cancelling_while_what_was_held_is_released_leaves_nothing_that_goes_out_later(world) {
        let stage = Stage::set(world).await;
        let mut people = Vec::new();
        for _ in 0..12 {
            let who = stage.listener(world).await;
            wish(world, &who, json!({"quiet_hours": {"from": "09:00", "to": "11:00", "zone": "UTC"}})).await;
            people.push(who.person.id.clone());
        }
        for round in 0..6_u64 {
            let id = send(world, push(json!({"user_ids": people}), json!({"ttl_ms": 4 * HOUR_MS}))).await;
            world.drain().await;
            assert_eq!(read(world, &id).await["counts"]["held"], json!(12), "round {round}");
            world.clock.advance(minutes(90));
            let cancel = format!("/v1/pushes/{id}/cancel");
            let (answer, ()) = tokio::join!(
                async {
                    for _ in 0..(round * 40) {
                        tokio::task::yield_now().await;
                    }
                    world.post(&cancel, &world.app.server, json!({})).await
                },
                world.drain()
            );
            // It may have ended before it was stopped.
            assert!([200, 409].contains(&answer.status), "{}", answer.text());
            let arrived = stage.standin.ledger().len();
            world.advance(minutes(1)).await;
            world.drain().await;
            let out = read(world, &id).await;
            conserved(&out);
            assert_eq!((&out["counts"]["held"], &out["counts"]["messages"]["waiting"]), (&json!(0), &json!(0)), "{out:#}");
            assert!(out["ended_at"].is_string(), "{out:#}");
            assert_eq!(stage.standin.ledger().len(), arrived, "what was stopped went out later");
            // The next morning.
            world.advance(minutes(24 * 60 - 91)).await;
        }
        stage.adds_up(world).await;
    }

    async fn what_of_a_stopped_push_may_be_on_the_phone_is_unknown_and_counts_as_heard(world) {
        let stage = Stage::set(world).await;
        let quiet = stage.listener(world).await;
        wish(world, &quiet, json!({"quiet_hours": {"from": "09:00", "to": "11:00", "zone": "UTC"}})).await;
        for verb in ["recall", "cancel"] {
            let who = stage.listener(world).await;
            wish(world, &who, json!({"frequency": {"limit": 1, "window_ms": HOUR_MS}})).await;
            let reason = "ServiceUnavailable".to_owned();
            let later = Fault::Answer { status: 503, reason, retry_after_s: Some(600), timestamp_ms: None };
            for fault in [Fault::CutAfterRequest, later] {
                stage.standin.inject(Rule::once(fault).to(who.token.clone()));
            }
            let ids = [&quiet, &who].map(|one| one.person.id.clone());
            let id = send(world, push(json!({"user_ids": ids}), json!({"mode": "at_least_once"}))).await;
            world.drain().await;
            let before = read(world, &id).await;
            let counts = &before["counts"];
            assert_eq!((&counts["held"], &counts["messages"]["waiting"]), (&json!(1), &json!(1)), "{before:#}");
            for _ in 0..2 {
                world.post(&format!("/v1/pushes/{id}/{verb}"), &world.app.server, json!({})).await.good();
                let out = read(world, &id).await;
                conserved(&out);
                let (suppressed, messages) = (&out["counts"]["suppressed"], &out["counts"]["messages"]);
                assert_eq!((&out["state"], suppressed), (&json!("cancelled"), &json!({"cancelled": 1})), "{verb}");
                assert_eq!((&messages["unknown"], &messages["taken"]), (&json!(1), &json!(1)), "{verb}: {messages}");
                world.drain().await;
            }
            let is_recall = |row: &&Row| row.kairos.as_ref().is_some_and(|stamp| stamp.recall.is_some());
            let recalls = stage.arrived(&who).iter().filter(is_recall).count();
            assert_eq!(recalls, usize::from(verb == "recall"));
            assert_eq!(sent(world, &who, json!({})).await["counts"]["suppressed"], json!({"user_frequency": 1}), "{verb}");
            world.advance(minutes(11)).await;
            assert_eq!(stage.arrived(&who).len(), 1 + recalls, "{verb}: it was not sent again");
        }
        stage.adds_up(world).await;
    }

    async fn a_test_keys_push_swallows_no_live_one_and_leaves_the_icons_number(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let tester = test_key(world).await;
        let content = json!({"title": "x", "body": "y", "badge": {"increment": 2}});
        let body = push(json!({"user_ids": [who.person.id]}), json!({"content": content}));
        let mut ids = Vec::new();
        for by in [&tester, &world.app.server, &tester] {
            let call = world.call("POST", "/v1/pushes").by(by).header("Idempotency-Key", "order-1").json(&body);
            ids.push(call.send().await.expect(202)["id"].clone());
            world.drain().await;
        }
        assert!(ids[0] != ids[1] && ids[0] == ids[2], "{ids:?}");
        let texts = world.lines("select payload as line from messages order by id").await;
        let badges: Vec<Value> = texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()["aps"]["badge"].clone()).collect();
        assert_eq!(badges, [json!(2), json!(2)], "what a test would have made of it, and what there was without it");
        assert_eq!(world.number("select badge from devices").await, 2);
    }

    async fn a_test_key_stops_and_takes_back_no_live_push(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let tester = test_key(world).await;
        let body = push(json!({"user_ids": [who.person.id]}), json!({"send_at": world.time(600)}));
        let live = send(world, body.clone()).await;
        let mut tests = Vec::new();
        for _ in 0..3 {
            let made = world.post("/v1/pushes", &tester, body.clone()).await.expect(202);
            tests.push(made["id"].as_str().unwrap().to_owned());
        }
        let path = |id: &str, verb: &str| format!("/v1/pushes/{id}/{verb}");
        for verb in ["cancel", "recall"] {
            world.post(&path(&live, verb), &tester, json!({})).await.refused(403, "forbidden");
        }
        assert_eq!(read(world, &live).await["state"], "scheduled");
        assert_eq!(world.number("select count(*) from campaign_recalls").await, 0);
        // Its own are its own, and a live key's too.
        assert_eq!(world.post(&path(&tests[0], "cancel"), &tester, json!({})).await.expect(200)["state"], "cancelled");
        world.post(&path(&tests[1], "recall"), &tester, json!({})).await.expect(202);
        world.post(&path(&tests[2], "recall"), &world.app.server, json!({})).await.expect(202);
        for id in &tests {
            assert_eq!(read(world, id).await["state"], "cancelled");
        }
        world.advance(minutes(11)).await;
        let messages = stage.messages(world, &who).await;
        assert_eq!((messages.len(), &messages[0]["push_id"], stage.arrived(&who).len()), (1, &json!(live), 1));
        stage.adds_up(world).await;
    }

    async fn looking_at_a_crowd_is_paid_for_and_says_where_it_stopped(world) {
        Stage::set(world).await;
        crowd(world, (450, 5)).await;
        let body = push(json!({"topic": "offers"}), json!({"purpose": "service", "validate_only": true}));
        let said = world.post("/v1/pushes", &world.app.server, body.clone()).await.expect(200);
        assert_eq!((&said["visited"], &said["chosen"], &said["complete"]), (&json!(450), &json!(5), &json!(true)));
        world.restart(|config| config.requests_per_key_per_second = 5).await;
        let said = world.post("/v1/pushes", &world.app.server, body).await.expect(200);
        assert_eq!((&said["visited"], &said["complete"]), (&json!(200), &json!(false)));
    }

    async fn words_have_a_limit_together(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let words = json!({"title": "x".repeat(4_000), "body": "y".repeat(4_000)});
        let translations: serde_json::Map<String, Value> = (0..49).map(|n| (format!("de-x{n:02}"), words.clone())).collect();
        let body = push(json!({"user_ids": [who.person.id]}), json!({"translations": translations}));
        let told = world.post("/v1/pushes", &world.app.server, body).await.refused_field(400, "validation_failed", "translations");
        assert!(told["errors"][0]["message"].as_str().unwrap().contains("bytes"), "{told}");
    }
}
