//! What was shown is taken back: once, from the phone that has it and from no other, whatever is on its way.

use crate::push_direct::{conserved, push, read, send};
use crate::stage::{Good, Listener, Stage, minutes, phone};
use crate::subscriber::Subscriber;
use crate::world::World;
use kairos::push::standin::{Fault, Row, Rule};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the phone with this token shows, by the gateway's own account: text by collapse id.
fn screen(stage: &Stage, token: &str) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for row in stage.standin.ledger().into_iter().filter(|row| row.delivered && row.token == token) {
        let (stamp, collapse_id) = (row.kairos.unwrap(), row.collapse_id.unwrap());
        match (stamp.recall, row.text) {
            (Some(recalled), None) => {
                assert_eq!(ids.get(&recalled), Some(&collapse_id), "a recall goes by the collapse id of what it takes back");
                shown.remove(&collapse_id);
            }
            (None, Some(text)) => {
                ids.insert(stamp.message_id, collapse_id.clone());
                shown.insert(collapse_id, text);
            }
            odd => panic!("neither a push nor a recall: {odd:?}"),
        }
    }
    shown
}

fn recalls(stage: &Stage) -> Vec<Row> {
    let recall = |row: &Row| row.kairos.as_ref().is_some_and(|stamp| stamp.recall.is_some());
    stage.standin.ledger().into_iter().filter(recall).collect()
}

async fn recall(world: &World, stage: &Stage, what: &str, id: &Value) -> Value {
    world.post(&format!("/v1/{what}/{}/recall", id.as_str().unwrap()), &stage.app.server, json!({})).await.good()
}

/// Somebody who lands, and the one message to them.
async fn landed(world: &World, stage: &Stage) -> (Listener, Value) {
    let who = stage.listener(world).await;
    stage.lands(world, &who, 0).await;
    world.drain().await;
    let message = stage.messages(world, &who).await.remove(0);
    (who, message)
}

/// Somebody who has a message on their phone that waits, for this long, to be sent again: nobody has heard that it is there.
pub async fn unheard(world: &World, stage: &Stage, retry_after_s: i64) -> (Listener, Value) {
    stage.standin.inject(Rule::once(Fault::CutAfterRequest));
    stage.standin.inject(later(retry_after_s));
    let (who, message) = landed(world, stage).await;
    assert_eq!((&message["state"], screen(stage, &who.token).len()), (&json!("retry_at"), 1));
    (who, message)
}

/// The recall of a message.
async fn recall_of(world: &World, stage: &Stage, who: &Listener, message: &Value) -> Value {
    let all = stage.messages(world, who).await;
    let mut own: Vec<Value> = all.into_iter().filter(|one| one["recalls"] == message["id"]).collect();
    assert_eq!(own.len(), 1, "{own:#?}");
    own.remove(0)
}

both! {
    async fn a_shown_push_is_taken_back_by_one_silent_push(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        assert_eq!(screen(&stage, &who.token).len(), 1);
        let back = recall(world, &stage, "messages", &message["id"]).await;
        assert_eq!(back["recalled_at"], world.time(0).as_str());
        world.drain().await;
        assert_eq!(screen(&stage, &who.token).len(), 0);
        let sent = recalls(&stage);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].answer, "200");
        let own = recall_of(world, &stage, &who, &message).await;
        assert_eq!((&own["state"], &own["decision_id"]), (&json!("accepted"), &message["decision_id"]));
        // An hour at least, though the moment closes in half of one.
        assert_eq!(own["deadline"], world.time(3_600).as_str());
        assert!(sent[0].keep_until_ms.unwrap() <= world.now_ms() + 3_600_000);
        for _ in 0..3 {
            recall(world, &stage, "messages", &message["id"]).await;
            recall(world, &stage, "decisions", &message["decision_id"]).await;
            world.drain().await;
        }
        assert_eq!(recalls(&stage).len(), 1);
        let inbox = world.get("/v1/me/messages", &who.person.token).await.good();
        assert_eq!(inbox["items"], json!([]), "what was taken back is in no inbox");
        let refused = format!("/v1/messages/{}/recall", own["id"].as_str().unwrap());
        world.post(&refused, &stage.app.server, json!({})).await.refused(409, "never_shown");
        stage.adds_up(world).await;
    }

    async fn sixty_four_recalls_at_once_are_one(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        futures_util::future::join_all((0..64).map(|_| recall(world, &stage, "messages", &message["id"]))).await;
        world.drain().await;
        assert_eq!((recalls(&stage).len(), screen(&stage, &who.token).len()), (1, 0));
        recall_of(world, &stage, &who, &message).await;
    }

    async fn a_recall_needs_no_consent_and_wakes_nobody(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        let by = &who.person.token;
        world.post("/v1/me/consents", by, json!({"purpose": "marketing", "granted": false})).await.good();
        let quiet = json!({"topics": {"offers": false}, "quiet_hours": {"from": "00:00", "to": "23:59", "zone": "Europe/Paris"}});
        let patch = world.call("PATCH", "/v1/me/preferences").by(by).header("If-Match", "*").json(&quiet);
        assert_eq!(patch.send().await.status, 200);
        world.clock.advance(minutes(2));
        recall(world, &stage, "messages", &message["id"]).await;
        world.clock.advance(minutes(2));
        world.drain().await;
        assert_eq!((recalls(&stage).len(), screen(&stage, &who.token).len()), (1, 0));
        assert_eq!(recalls(&stage)[0].text, None);
    }

    async fn two_users_on_one_phone(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        recall(world, &stage, "messages", &message["id"]).await;
        // Before it has left, somebody else signs in on the phone.
        let other = world.person(&stage.app).await;
        let body = json!({"platform": "ios", "token": who.token, "topic": crate::stage::TOPIC, "push_permission": "granted"});
        let path = format!("/v1/me/devices/phone-{}", &who.person.id[4..]);
        world.put(&path, &other.token, body).await.good();
        world.drain().await;
        assert_eq!(recalls(&stage).len(), 0, "it is somebody else's phone by now");
        assert_eq!(recall_of(world, &stage, &who, &message).await["state"], "token_dead");
        stage.adds_up(world).await;
    }

    async fn a_recall_follows_the_token_of_its_phone(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        let fresh = "ab".repeat(32);
        let body = json!({"platform": "ios", "token": fresh, "topic": crate::stage::TOPIC, "push_permission": "granted"});
        world.put(&format!("/v1/me/devices/phone-{}", &who.person.id[4..]), &who.person.token, body).await.good();
        recall(world, &stage, "messages", &message["id"]).await;
        world.drain().await;
        let sent = recalls(&stage);
        assert_eq!((sent.len(), sent[0].token.as_str()), (1, fresh.as_str()));
    }

    async fn a_recall_does_not_follow_to_a_token_that_takes_calls_alone(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        let body = json!({"platform": "ios", "token": "c0".repeat(32), "token_kind": "apns_voip", "topic": crate::stage::TOPIC});
        world.put(&format!("/v1/me/devices/phone-{}", &who.person.id[4..]), &who.person.token, body).await.good();
        recall(world, &stage, "messages", &message["id"]).await;
        world.drain().await;
        assert_eq!(recalls(&stage).len(), 0);
        assert_eq!(recall_of(world, &stage, &who, &message).await["state"], "token_dead");
        stage.adds_up(world).await;
    }

    async fn what_waits_is_cancelled_and_nothing_is_sent_after_it(world) {
        let stage = Stage::set(world).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 5}), json!({})).await;
        stage.standin.inject(later(600));
        let (who, message) = landed(world, &stage).await;
        assert_eq!(message["state"], "retry_at");
        let back = recall(world, &stage, "messages", &message["id"]).await;
        assert_eq!((&back["state"], &back["reason"]), (&json!("cancelled"), &json!("recalled")));
        world.advance(minutes(20)).await;
        assert_eq!(recalls(&stage).len() + stage.arrived(&who).len(), 0);
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 0);
        assert_eq!(stage.messages(world, &who).await.len(), 1);
        recall(world, &stage, "messages", &message["id"]).await;
        stage.adds_up(world).await;
    }

    async fn what_waits_though_it_may_be_on_the_phone_is_taken_back_from_there_whatever_ended_its_wait(world) {
        let stage = Stage::set(world).await;
        let caps = json!([{"limit": 1, "window_ms": 86_400_000}]);
        let (offer, _) = stage.one_offer(world, json!({"stock": 9}), json!({"mode": "at_least_once", "caps": caps})).await;
        let reserved = format!("select stock_reserved from offers where id = '{offer}'");
        let by = &stage.app.server;
        for (n, why) in ["recalled", "cancelled", "consent", "deadline", "late"].into_iter().enumerate() {
            let (who, message) = unheard(world, &stage, if why == "consent" { 600 } else { 3_600 }).await;
            let id = message["id"].as_str().unwrap();
            match why {
                "cancelled" => drop(world.post(&format!("/v1/messages/{id}/cancel"), by, json!({})).await.expect(200)),
                "consent" => {
                    world.post("/v1/me/consents", &who.person.token, json!({"purpose": "marketing", "granted": false})).await.good();
                    world.advance(minutes(10)).await;
                }
                "deadline" => world.advance(minutes(30)).await,
                // Nobody has looked yet.
                "late" => world.clock.advance(minutes(31)),
                _ => {}
            }
            let back = recall(world, &stage, "messages", &message["id"]).await;
            assert_eq!(back["recalled_at"], world.time(0).as_str(), "{why}");
            world.drain().await;
            world.advance(Duration::from_secs(5)).await;
            let ended = stage.messages(world, &who).await.remove(0);
            let reason = if why == "late" { "deadline" } else { why };
            assert_eq!((&ended["state"], &ended["reason"]), (&json!("unknown"), &json!(reason)));
            assert_eq!(recall_of(world, &stage, &who, &message).await["state"], "accepted", "{why}");
            assert_eq!((recalls(&stage).len(), screen(&stage, &who.token).len()), (n + 1, 0), "{why}");
            assert_eq!(world.number(&reserved).await, i64::try_from(n + 1).unwrap(), "{why}: it keeps its piece of the stock");
            if why == "deadline" {
                stage.lands_at(world, &who, "Nice", 0).await;
                world.drain().await;
                assert_eq!(stage.decisions(world, &who).await[1]["reason"], "campaign_cap", "and its place under the cap");
            }
        }
        stage.adds_up(world).await;
    }

    async fn what_waits_though_it_may_be_on_the_phone_is_cancelled_however_often_that_is_asked(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({"mode": "at_least_once"})).await;
        let cancel = |message: &Value| format!("/v1/messages/{}/cancel", message["id"].as_str().unwrap());
        let (_, message) = unheard(world, &stage, 600).await;
        let stopped = world.post(&cancel(&message), &stage.app.server, json!({})).await.expect(200);
        assert_eq!((&stopped["state"], &stopped["reason"]), (&json!("unknown"), &json!("cancelled")));
        world.advance(minutes(1)).await;
        assert_eq!(world.post(&cancel(&message), &stage.app.server, json!({})).await.expect(200), stopped, "asked again");
        // What nobody has stopped has ended by itself.
        let (_, late) = unheard(world, &stage, 3_600).await;
        world.advance(minutes(30)).await;
        world.post(&cancel(&late), &stage.app.server, json!({})).await.refused(409, "has_ended");
        assert_eq!(stage.standin.ledger().len(), 4, "two attempts at each, and none after that");
        stage.adds_up(world).await;
    }

    async fn whoever_listens_is_told_once_that_nobody_knows_what_came_of_what_was_cancelled(world) {
        let stage = Stage::set(world).await;
        world.restart(|config| "127.0.0.0/8".clone_into(&mut config.outbound_allow)).await;
        stage.one_offer(world, json!({}), json!({"mode": "at_least_once"})).await;
        let subscriber = Subscriber::open().await;
        let hook = json!({"url": subscriber.url("/in"), "event_types": ["message.unknown", "message.cancelled"]});
        world.post("/v1/webhooks", &stage.app.server, hook).await.expect(201);
        let (who, message) = unheard(world, &stage, 600).await;
        let path = format!("/v1/messages/{}/cancel", message["id"].as_str().unwrap());
        for _ in 0..2 {
            world.post(&path, &stage.app.server, json!({})).await.expect(200);
            world.drain().await;
            world.drain().await;
        }
        let told: Vec<Value> = subscriber.arrivals().iter().map(|arrival| arrival.json()).collect();
        assert_eq!((told.len(), &told[0]["type"]), (1, &json!("message.unknown")), "{told:#?}");
        let result = json!({"message": message["id"], "user": who.person.id, "at": world.time(0), "reason": "cancelled"});
        assert_eq!(told[0]["data"], result);
    }

    async fn a_decision_and_a_push_are_taken_back_with_what_may_be_on_the_phone(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({"mode": "at_least_once"})).await;
        let (who, message) = unheard(world, &stage, 600).await;
        let done = recall(world, &stage, "decisions", &message["decision_id"]).await;
        assert_eq!(done, json!({"cancelled": 0, "recalled": 1}));
        world.drain().await;
        assert_eq!(screen(&stage, &who.token).len(), 0);
        // A campaign that is paused first, which ends the wait.
        let (who, message) = unheard(world, &stage, 600).await;
        let campaign = message["campaign_id"].as_str().unwrap();
        world.post(&format!("/v1/campaigns/{campaign}/pause"), &stage.app.server, json!({})).await.good();
        let paused = stage.messages(world, &who).await.remove(0);
        assert_eq!((&paused["state"], &paused["reason"]), (&json!("unknown"), &json!("campaign_stopped")));
        world.post(&format!("/v1/campaigns/{campaign}/recall"), &stage.app.server, json!({})).await.expect(202);
        world.drain().await;
        assert_eq!((screen(&stage, &who.token).len(), recalls(&stage).len()), (0, 2));
        stage.adds_up(world).await;
    }

    async fn a_recall_of_what_is_on_its_way_waits_for_its_end(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        for accepted in [true, false] {
            let who = stage.listener(world).await;
            let id = hold(world, &stage, &who).await;
            let back = recall(world, &stage, "messages", &json!(id)).await;
            assert_eq!(back["state"], "sending");
            world.drain().await;
            assert_eq!(recalls(&stage).iter().filter(|row| row.token == who.token).count(), 0, "nobody knows yet");
            let (state, reason) = if accepted { ("accepted", "null") } else { ("rejected", "'bad_topic'") };
            let end = format!(
                "update message_states set state = '{state}', reason = {reason}, ended_ms = {} where {}",
                world.now_ms(),
                of(&id)
            );
            world.kairos.platform.store.write(move |conn| conn.batch(&end)).await.unwrap();
            world.advance(minutes(1)).await;
            let own = recall_of(world, &stage, &who, &json!({"id": id})).await;
            let sent = recalls(&stage).iter().filter(|row| row.token == who.token).count();
            match accepted {
                true => assert_eq!((&own["state"], sent), (&json!("accepted"), 1)),
                false => assert_eq!((&own["state"], &own["reason"], sent), (&json!("cancelled"), &json!("nothing_to_recall"), 0)),
            }
        }
    }

    async fn when_a_moment_is_over_what_it_showed_goes(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"recall": true})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, _) = landed(world, &stage).await;
        phone(world, &who.person, "tablet").await;
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        assert_eq!(screen(&stage, &who.token).len(), 2);
        world.advance(minutes(29)).await;
        assert_eq!(recalls(&stage).len(), 0);
        world.advance(minutes(1)).await;
        assert_eq!(recalls(&stage).len(), 3, "on every device");
        assert_eq!(screen(&stage, &who.token).len(), 0);
        world.advance(minutes(60)).await;
        assert_eq!(recalls(&stage).len(), 3);
        assert_eq!(world.number("select count(*) from moments where recall_ms is not null").await, 0);
        stage.adds_up(world).await;
    }

    async fn a_newer_moment_takes_the_older_ones_push_off_the_screen(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"recall": true, "supersede": true})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = landed(world, &stage).await;
        let (other, _) = landed(world, &stage).await;
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        let left: Vec<String> = screen(&stage, &who.token).into_values().collect();
        assert_eq!(left, ["You are at Nice"]);
        assert_eq!(recall_of(world, &stage, &who, &message).await["state"], "accepted");
        assert_eq!((recalls(&stage).len(), screen(&stage, &other.token).len()), (1, 1));
        world.advance(minutes(40)).await;
        assert_eq!(recalls(&stage).len(), 3, "each once");
    }

    async fn a_campaign_that_has_stopped_is_taken_back_and_no_other(world) {
        let stage = Stage::set(world).await;
        let (_, campaign) = stage.one_offer(world, json!({}), json!({})).await;
        let mut people = Vec::new();
        for _ in 0..3 {
            people.push(landed(world, &stage).await.0);
        }
        let path = format!("/v1/campaigns/{campaign}/recall");
        world.post(&path, &stage.app.server, json!({})).await.refused(409, "is_live");
        world.post(&format!("/v1/campaigns/{campaign}/pause"), &stage.app.server, json!({})).await.good();
        let (_, other) = stage.one_offer(world, json!({"name": "Other"}), json!({"name": "Other"})).await;
        let (kept, _) = landed(world, &stage).await;
        let begun = world.post(&path, &stage.app.server, json!({})).await.expect(202);
        assert_eq!((&begun["recalled"], begun.get("done_at")), (&json!(0), None));
        world.drain().await;
        for who in &people {
            assert_eq!(screen(&stage, &who.token).len(), 0);
        }
        assert_eq!((recalls(&stage).len(), screen(&stage, &kept.token).len()), (3, 1));
        let row = world.lines("select cast(recalled as text) as line from campaign_recalls where done_ms is not null").await;
        assert_eq!(row, ["3"]);
        world.post(&path, &stage.app.server, json!({})).await.expect(202);
        world.drain().await;
        assert_eq!(recalls(&stage).len(), 3);
        let stranger = world.new_app("Stranger").await;
        for (what, id) in [("campaigns", &other), ("campaigns", &campaign)] {
            world.post(&format!("/v1/{what}/{id}/recall"), &stranger.server, json!({})).await.refused(404, "not_found");
        }
        stage.adds_up(world).await;
    }

    async fn a_direct_push_is_taken_back_whole_what_waits_of_it_too(world) {
        let stage = Stage::set(world).await;
        let (shown, waits, quiet) = (stage.listener(world).await, stage.listener(world).await, stage.listener(world).await);
        let wish = json!({"quiet_hours": {"from": "12:00", "to": "13:00", "zone": "Europe/Paris"}});
        world.patch("/v1/me/preferences", &quiet.person.token, wish).await.good();
        stage.standin.inject(later(600).to(waits.token.clone()));
        let kept = send(world, push(json!({"user_ids": [shown.person.id]}), json!({}))).await;
        world.drain().await;
        world.clock.advance(minutes(2));
        let people = [&shown, &waits, &quiet].map(|who| who.person.id.clone());
        let id = send(world, push(json!({"user_ids": people}), json!({}))).await;
        world.drain().await;
        let before = read(world, &id).await;
        let counts = &before["counts"];
        assert_eq!((&counts["held"], &counts["messages"]["waiting"], &counts["messages"]["accepted"]), (&json!(1), &json!(1), &json!(1)));
        let path = format!("/v1/pushes/{id}/recall");
        let begun = world.post(&path, &stage.app.server, json!({})).await.expect(202);
        assert_eq!((&begun["push_id"], &begun["recalled"], begun.get("done_at")), (&json!(id), &json!(0), None));
        assert_eq!(begun["asked_at"], world.time(0).as_str());
        let out = read(world, &id).await;
        conserved(&out);
        assert_eq!((&out["state"], &out["counts"]["suppressed"]), (&json!("cancelled"), &json!({"cancelled": 1})));
        let messages = &out["counts"]["messages"];
        assert_eq!((&messages["cancelled"], &messages["waiting"], &messages["accepted"]), (&json!(1), &json!(0), &json!(1)));
        let passed = "select count(*) from messages, campaign_recalls where messages.id < campaign_recalls.cursor_id";
        assert_eq!(world.number(passed).await, 1, "what was said before the push was made is not walked through");
        // Asked again while it is under way, it is the same recall.
        world.clock.advance(minutes(1));
        assert_eq!(world.post(&path, &stage.app.server, json!({})).await.expect(202), begun);
        world.drain().await;
        let sent = recalls(&stage);
        assert_eq!((sent.len(), &sent[0].token, &sent[0].answer), (1, &shown.token, &"200".to_owned()));
        assert_eq!(screen(&stage, &shown.token).len(), 1, "what another push has said stays");
        let row = world.lines("select cast(recalled as text) as line from campaign_recalls where done_ms is not null").await;
        assert_eq!(row, ["1"]);
        world.post(&path, &stage.app.server, json!({})).await.expect(202);
        world.advance(minutes(90)).await;
        assert_eq!(recalls(&stage).len(), 1);
        assert!(stage.arrived(&waits).is_empty() && stage.arrived(&quiet).is_empty());
        assert_eq!(read(world, &kept).await["state"], "done");
        assert_eq!(read(world, &id).await["counts"], out["counts"]);
        stage.adds_up(world).await;
    }

    async fn a_recall_leaves_alone_what_has_taken_the_place_of_the_original(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let mut scores = Vec::new();
        for _ in 0..2 {
            scores.push(send(world, push(json!({"user_ids": [who.person.id]}), json!({"collapse_id": "match-7"}))).await);
            world.advance(minutes(1)).await;
        }
        for (n, id) in scores.iter().enumerate() {
            world.post(&format!("/v1/pushes/{id}/recall"), &stage.app.server, json!({})).await.expect(202);
            world.drain().await;
            assert_eq!((screen(&stage, &who.token).len(), recalls(&stage).len()), (1 - n, n), "the older one is gone already");
        }
        stage.adds_up(world).await;
    }

    async fn a_direct_push_that_has_ended_is_taken_back_by_its_own_app_alone(world) {
        let stage = Stage::set(world).await;
        let (one, two) = (stage.listener(world).await, stage.listener(world).await);
        let id = send(world, push(json!({"user_ids": [one.person.id, two.person.id]}), json!({}))).await;
        world.drain().await;
        let before = read(world, &id).await;
        assert_eq!(before["state"], "done");
        let path = format!("/v1/pushes/{id}/recall");
        let stranger = world.new_app("Stranger").await;
        world.post(&path, &stranger.server, json!({})).await.refused(404, "not_found");
        let reader = world.server_key(&stage.app, &["decisions:read"]).await;
        world.post(&path, &reader, json!({})).await.refused(403, "missing_scope");
        // It is no campaign, though it has the id of one.
        let campaign = format!("/v1/campaigns/cmp_{}/recall", &id[4..]);
        world.post(&campaign, &stage.app.server, json!({})).await.refused(404, "not_found");
        world.drain().await;
        assert_eq!((recalls(&stage).len(), screen(&stage, &one.token).len()), (0, 1));
        world.post(&path, &stage.app.server, json!({})).await.expect(202);
        world.drain().await;
        assert_eq!((recalls(&stage).len(), screen(&stage, &one.token).len(), screen(&stage, &two.token).len()), (2, 0, 0));
        let after = read(world, &id).await;
        assert_eq!((&after["state"], &after["counts"]), (&json!("done"), &before["counts"]));
        stage.adds_up(world).await;
    }

    async fn a_decision_is_taken_back_with_what_it_holds(world) {
        let stage = Stage::set(world).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 5}), json!({})).await;
        let who = stage.listener(world).await;
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:10", "zone": "Europe/Paris"}});
        let patch = world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet);
        assert_eq!(patch.send().await.status, 200);
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let decision = stage.decision(world, &who).await;
        assert_eq!(decision["outcome"], "held");
        assert_eq!(recall(world, &stage, "decisions", &decision["id"]).await, json!({"cancelled": 1, "recalled": 0}));
        world.advance(minutes(20)).await;
        let decision = stage.decision(world, &who).await;
        assert_eq!((&decision["outcome"], &decision["reason"]), (&json!("release_refused"), &json!("cancelled")));
        assert!(stage.arrived(&who).is_empty() && recalls(&stage).is_empty());
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 0);
        stage.adds_up(world).await;
    }
}

fn later(retry_after_s: i64) -> Rule {
    let reason = "ServiceUnavailable".to_owned();
    Rule::once(Fault::Answer { status: 503, reason, retry_after_s: Some(retry_after_s), timestamp_ms: None })
}

/// The state of a message.
fn of(id: &str) -> String {
    format!("n in (select n from message_bodies where id = '{id}')")
}

/// A message of somebody's that is being sent, as far as the database knows; its id.
async fn hold(world: &World, stage: &Stage, who: &Listener) -> String {
    stage.lands(world, who, 0).await;
    world.drain().await;
    let id = stage.messages(world, who).await[0]["id"].as_str().unwrap().to_owned();
    // The end was never written: the edges of a message's life allow no way back, a copy begins where it was.
    let rewind = format!(
        "create temp table held as select * from message_states where {of}; delete from message_states where {of}; \
         update held set state = 'sending', ended_ms = null, reason = null, settled = false; \
         insert into message_states select * from held; drop table held",
        of = of(&id)
    );
    world.kairos.platform.store.write(move |conn| conn.batch(&rewind)).await.unwrap();
    id
}
