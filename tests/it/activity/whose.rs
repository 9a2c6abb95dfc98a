//! Whose the tokens of Live Activities are: a person's on a device, an app's, and nobody's after they have left.

use super::{
    TYPE, ask, at, busy, fate, installation, newcomer, running, say, say_start, start, started, state, text, token, tokens,
};
use super::{traveller, updated};
use crate::stage::{Good, Stage, TOPIC};
use crate::world::Caller;
use kairos::id::UserId;
use kairos::people::device::Environment;
use kairos::people::merge;
use kairos::push::standin::{Fault, Rule};
use serde_json::json;
use std::time::Duration;

fn answers(status: u16, reason: &str, timestamp_ms: Option<i64>) -> Fault {
    Fault::Answer { status, reason: reason.into(), retry_after_s: None, timestamp_ms }
}

both! {
    async fn whoever_takes_the_phone_over_gets_nothing_of_it(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, update) = running(world, &who).await;
        stage.standin.inject(Rule::once(busy()));
        let waits = updated(world, &id, json!({"mode": "at_least_once"})).await;
        world.drain().await;
        let other = newcomer(world, &stage, &who).await;
        assert_eq!(tokens(world).await, (0, 0));
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(fate(world, &waits).await, "token_dead:token_dead");
        let sent = at(&stage, &update).len();
        // The newcomer's app finds the activity on the lock screen, and says its tokens.
        let path = format!("/v1/me/devices/{}/activities/{id}", installation(&who));
        let running = json!({"token": update, "attributes_type": TYPE});
        world.put(&path, &other.token, running).await.refused(404, "not_found");
        world.delete(&path, &other.token).await.refused(404, "not_found");
        let start_token = format!("/v1/me/devices/{}/start-tokens/{TYPE}", installation(&who));
        world.put(&start_token, &other.token, json!({"token": token(&who, "start")})).await.expect(204);
        // The one before, still signed in with an old session, takes nothing back without the phone.
        say(world, &who, (&id, &update)).await.refused(409, "no_device_token");
        say_start(world, &who, &token(&who, "start")).await.refused(409, "no_device_token");
        assert_eq!(ask(world, &id, json!({})).await.expect(202)["results"], json!([]));
        started(world, &who).await;
        world.drain().await;
        assert_eq!((at(&stage, &update).len(), at(&stage, &token(&who, "start")).len()), (sent, 1));
        let audience = json!({"audience": {"user_ids": [other.id]}});
        world.post("/v1/activities", &world.app.server, start(&who, audience)).await.expect(202);
        world.drain().await;
        assert_eq!(at(&stage, &token(&who, "start")).len(), 2, "the newcomer's own");
    }

    async fn a_token_said_on_another_phone_is_that_ones_from_now_on(world) {
        let stage = Stage::set(world).await;
        let (one, two) = (traveller(world, &stage).await, traveller(world, &stage).await);
        let (first, shared) = running(world, &one).await;
        let (second, _) = running(world, &two).await;
        stage.standin.inject(Rule::once(busy()));
        let waits = updated(world, &first, json!({})).await;
        world.drain().await;
        say(world, &two, (&second, &shared)).await.expect(200);
        say_start(world, &two, &token(&one, "start")).await.expect(204);
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(fate(world, &waits).await, "token_dead:token_dead");
        assert_eq!((state(world, &first).await.as_str(), tokens(world).await), ("started", (1, 1)));
    }

    async fn tokens_go_with_the_devices_own_and_with_its_user(world) {
        let stage = Stage::set(world).await;
        let ios = |token: Option<&str>| json!({"platform": "ios", "token": token, "topic": TOPIC, "push_permission": "granted"});
        for how in ["sign-out", "delete", "tokenless", "gone", "erased"] {
            let who = traveller(world, &stage).await;
            let (id, update) = running(world, &who).await;
            assert_eq!(tokens(world).await, (1, 1), "{how}");
            let device = format!("/v1/me/devices/{}", installation(&who));
            let by: &Caller = &who.person.token;
            match how {
                "sign-out" => drop(world.post("/v1/auth/sign-out", by, json!({})).await.good()),
                "delete" => drop(world.delete(&device, by).await.good()),
                "tokenless" => drop(world.put(&device, by, ios(None)).await.good()),
                "gone" => {
                    world.advance(Duration::from_secs(1)).await;
                    stage.standin.inject(Rule::once(answers(410, "Unregistered", Some(world.now_ms()))));
                    let push = json!({"purpose": "marketing", "audience": {"user_ids": [who.person.id]},
                        "content": {"title": "x", "body": "x"}});
                    world.post("/v1/pushes", &world.app.server, push).await.expect(202);
                    world.drain().await;
                }
                _ => {
                    let asked = world.delete(&format!("/v1/users/{}", who.person.id), &world.app.server).await;
                    asked.expect(202);
                    world.drain().await;
                }
            }
            assert_eq!(tokens(world).await, (0, 0), "{how}");
            let before = at(&stage, &update).len();
            let answer = ask(world, &id, json!({})).await;
            assert!(answer.status == 404 || answer.expect(202)["results"] == json!([]), "{how}");
            world.drain().await;
            assert_eq!(at(&stage, &update).len(), before, "{how}");
            // A device that comes back has to say them anew.
            if ["tokenless", "gone"].contains(&how) {
                world.put(&device, by, ios(Some(&who.token))).await.good();
                assert_eq!(tokens(world).await, (0, 0), "{how}");
            }
        }
    }

    async fn apples_word_about_a_token_of_an_activity_is_about_that_one_alone(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, update) = running(world, &who).await;
        world.advance(Duration::from_secs(60)).await;
        let now_ms = world.now_ms();
        let devices = "select count(*) from devices where token is not null";
        // Older than what the phone said last: it says nothing of it.
        stage.standin.inject(Rule::once(answers(410, "ExpiredToken", Some(now_ms - 120_000))));
        let first = updated(world, &id, json!({})).await;
        world.drain().await;
        assert_eq!((fate(world, &first).await.as_str(), tokens(world).await), ("rejected:unregistered", (1, 1)));
        for (fault, wanted) in [
            (answers(410, "Unregistered", Some(now_ms - 1_000)), "rejected:unregistered"),
            (answers(400, "BadDeviceToken", None), "rejected:bad_device_token"),
        ] {
            say(world, &who, (&id, &update)).await.expect(200);
            world.clock.advance(Duration::from_secs(60));
            let fault = match fault {
                Fault::Answer { timestamp_ms: Some(_), .. } => answers(410, "Unregistered", Some(world.now_ms())),
                other => other,
            };
            stage.standin.inject(Rule::once(fault));
            let sent = updated(world, &id, json!({})).await;
            world.drain().await;
            assert_eq!((fate(world, &sent).await.as_str(), tokens(world).await), (wanted, (1, 0)));
            assert_eq!((state(world, &id).await.as_str(), world.number(devices).await), ("ended", 1), "{wanted}");
        }
        assert_eq!(ask(world, &id, json!({})).await.expect(202)["results"], json!([]));
        // A start token is under the same law: what is older than its registration says nothing of it.
        stage.standin.inject(Rule::once(answers(410, "Unregistered", Some(now_ms - 120_000))));
        started(world, &who).await;
        assert_eq!(tokens(world).await, (1, 0));
        // A start token that is dead goes, and the device's own stays.
        world.clock.advance(Duration::from_secs(60));
        stage.standin.inject(Rule::once(answers(410, "Unregistered", Some(world.now_ms()))));
        started(world, &who).await;
        assert_eq!((tokens(world).await, world.number(devices).await), ((0, 0), 1));
        // Dead tokens of activities say nothing of the app's other pushes: many of them make no pause.
        for n in 0..12 {
            say(world, &who, (&format!("own-{n}"), &format!("{n:08x}"))).await.expect(200);
        }
        let own = world.lines("select distinct activity_id as line from activity_devices where token is not null").await;
        for id in &own {
            stage.standin.inject(Rule::once(answers(400, "BadDeviceToken", None)));
            updated(world, id, json!({"purpose": "marketing"})).await;
            world.drain().await;
        }
        let push = json!({"purpose": "marketing", "audience": {"user_ids": [who.person.id]}, "content": {"title": "x", "body": "x"}});
        world.post("/v1/pushes", &world.app.server, push).await.expect(202);
        world.drain().await;
        assert_eq!((own.len(), stage.arrived(&who).len()), (12, 1));
    }

    async fn a_dead_token_is_found_out_where_an_app_has_keys_for_both_worlds_too(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, _) = running(world, &who).await;
        let sandbox = stage.standin.issue_apns(Environment::Sandbox, &[TOPIC]).unwrap();
        world.put("/v1/push-credentials/apns", &world.app.server, sandbox).await.expect(204);
        let good = updated(world, &id, json!({})).await;
        world.drain().await;
        assert_eq!((fate(world, &good).await.as_str(), tokens(world).await), ("accepted", (1, 1)));
        world.clock.advance(Duration::from_secs(60));
        stage.standin.inject(Rule::once(answers(400, "BadDeviceToken", None)));
        let sent = updated(world, &id, json!({})).await;
        world.drain().await;
        assert_eq!((fate(world, &sent).await.as_str(), tokens(world).await), ("rejected:bad_device_token", (1, 0)));
    }

    async fn another_app_sees_nothing_of_it(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let (id, _) = running(world, &who).await;
        let other = world.new_app("Harbour").await;
        for path in ["", "/devices"] {
            world.get(&format!("/v1/activities/{id}{path}"), &other.server).await.refused(404, "not_found");
        }
        assert_eq!(world.get("/v1/activities", &other.server).await.expect(200)["items"], json!([]));
        let update = json!({"event": "update", "content_state": {}});
        world.post(&format!("/v1/activities/{id}/updates"), &other.server, update).await.refused(404, "not_found");
        let stranger = world.person(&other).await;
        let path = format!("/v1/me/devices/{}/activities/{id}", installation(&who));
        let running = json!({"token": "abcd", "attributes_type": TYPE});
        world.put(&path, &stranger.token, running).await.refused(404, "not_found");
        let theirs = json!({"audience": {"user_ids": [who.person.id]}, "purpose": "marketing"});
        let purpose = json!({"key": "marketing", "name": "x", "basis": "contract", "version": "1", "texts": {"en": "x"}});
        world.post("/v1/purposes", &other.server, purpose).await.good();
        let made = world.post("/v1/activities", &other.server, start(&who, theirs)).await.expect(202);
        assert_eq!(made["unknown"], json!([{"entry": "audience.user_ids[0]", "reason": "unknown_user"}]));
        let read_only = world.server_key(&world.app, &["decisions:read"]).await;
        world.post("/v1/activities", &read_only, start(&who, json!({}))).await.refused(403, "missing_scope");
        assert_eq!(state(world, &id).await, "running");
    }

    async fn what_an_activity_says_of_somebody_is_shown_to_them_and_goes_with_them(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        let body = start(&who, json!({"attributes": {"passenger": "canaryname"}, "content_state": {"seat": "canaryseat"}}));
        let id = text(&world.post("/v1/activities", &world.app.server, body).await.expect(202), "id");
        world.drain().await;
        say(world, &who, (&id, &token(&who, "update"))).await.expect(200);
        updated(world, &id, json!({"content_state": {"seat": "canarylater"}})).await;
        say(world, &who, ("canaryown", &token(&who, "own"))).await.expect(200);
        world.drain().await;
        let export = world.get("/v1/me/export", &who.person.token).await.expect(200).to_string();
        for word in ["canaryname", "canaryseat", "canarylater", "canaryown", &token(&who, "start"), &token(&who, "update")] {
            assert!(export.contains(word), "{word} in {export}");
        }
        let decided = world.get(&format!("/v1/decisions?user={}", who.person.id), &world.app.server).await.expect(200);
        let decided = decided["items"].as_array().unwrap();
        assert!(decided.len() >= 2 && decided.iter().all(|decision| decision.get("push_id").is_none()), "there is no such push");
        world.delete(&format!("/v1/users/{}", who.person.id), &world.app.server).await.expect(202);
        for _ in 0..10 {
            world.advance(Duration::from_secs(61)).await;
        }
        for table in ["start_tokens", "activity_devices", "messages", "decisions", "activity_updates"] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
        let words = world.lines("select coalesce(start, '') as line from activities").await;
        assert!(words.iter().all(|line| !line.contains("canary")), "{words:?}");
        assert_eq!(world.number("select count(*) from versions").await, 0);
    }

    async fn an_anonymous_users_activity_goes_along_with_the_device_or_not_at_all(world) {
        let stage = Stage::set(world).await;
        let who = traveller(world, &stage).await;
        running(world, &who).await;
        // This phone was registered by the back end: its token goes to the account; that of the session does not.
        let back = token(&who, "back");
        let device = json!({"platform": "ios", "token": &back[..64], "topic": TOPIC, "push_permission": "granted"});
        world.put(&format!("/v1/users/{}/devices/back", who.person.id), &world.app.server, device).await.expect(201);
        let said = json!({"token": back, "attributes_type": TYPE});
        let known = world.put("/v1/me/devices/back/activities/own", &who.person.token, said).await.expect(200);
        let account = world.post("/v1/users", &world.app.server, json!({"external_id": "ada"})).await.expect(201);
        let account = text(&account, "id");
        let consent = json!({"purpose": "marketing", "granted": true, "text_version": "1", "evidence": {"screen": "x"}});
        world.post(&format!("/v1/users/{account}/consents"), &world.app.server, consent).await.good();
        let pair: (UserId, UserId) = (who.person.id.parse().unwrap(), account.parse().unwrap());
        let (app, now_ms) = (world.app.id, world.now_ms());
        let begun = world.kairos.platform.store.write(move |conn| merge::begin(conn, app, pair, now_ms)).await.unwrap();
        assert!(begun);
        for _ in 0..4 {
            world.advance(Duration::from_secs(61)).await;
        }
        let of = format!("select count(*) from activity_devices where user_id = '{account}'");
        assert_eq!((tokens(world).await, world.number(&of).await), ((0, 1), 1));
        updated(world, &text(&known, "activity_id"), json!({"purpose": "marketing"})).await;
        world.drain().await;
        assert_eq!(at(&stage, &back).len(), 1);
    }
}
