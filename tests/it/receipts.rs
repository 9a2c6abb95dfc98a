//! What phones say came of messages: said twice it is once, in any order, by whom it concerns alone.

use crate::stage::{Good, Listener, Stage};
use crate::world::{Caller, World};
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};
use std::time::Duration;

/// Somebody to whom one push went, and its id.
async fn heard(world: &World, stage: &Stage) -> (Listener, String) {
    let who = stage.listener(world).await;
    stage.lands(world, &who, 0).await;
    world.drain().await;
    let message = stage.messages(world, &who).await.remove(0);
    assert_eq!(message["state"], "accepted", "{message:#}");
    (who, message["id"].as_str().unwrap().to_owned())
}

fn installation(who: &Listener) -> String {
    format!("phone-{}", &who.person.id[4..])
}

async fn send(world: &World, by: &Caller, receipts: Value) -> Vec<String> {
    let answer = world.post("/v1/receipts", by, json!({"receipts": receipts})).await.good();
    statuses(&answer)
}

fn statuses(answer: &Value) -> Vec<String> {
    answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap().to_owned()).collect()
}

async fn receipts(world: &World, stage: &Stage, message: &str) -> Vec<(String, String)> {
    let message = world.get(&format!("/v1/messages/{message}"), &stage.app.server).await.good();
    let text = |receipt: &Value, name: &str| receipt[name].as_str().unwrap().to_owned();
    message["receipts"].as_array().unwrap().iter().map(|receipt| (text(receipt, "kind"), text(receipt, "at"))).collect()
}

both! {
    async fn what_was_gathered_offline_is_taken_once_in_any_order(world) {
        world.restart(|config| config.access_token_life_s = 86_400).await;
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        let sent = world.time(0);
        world.advance(Duration::from_secs(600)).await;
        let opened = json!({"message_id": message, "kind": "opened", "at": world.time(-60), "action": "reply"});
        let delivered = json!({"message_id": message, "kind": "delivered", "at": world.time(-500)});
        // A clock that is behind: it cannot have been shown before it left.
        let displayed = json!({"message_id": message, "kind": "displayed", "at": world.time(-86_400)});
        let all = json!([opened, delivered, displayed, opened]);
        assert_eq!(send(world, &who.person.token, all.clone()).await, ["accepted", "accepted", "accepted", "duplicate"]);
        assert_eq!(send(world, &who.person.token, all).await, ["duplicate"; 4]);
        let known = receipts(world, &stage, &message).await;
        let wanted = [("displayed", sent), ("delivered", world.time(-500)), ("opened", world.time(-60))];
        assert_eq!(known, wanted.map(|(kind, at)| (kind.to_owned(), at)));
        let shown = world.get(&format!("/v1/messages/{message}"), &stage.app.server).await.good();
        assert_eq!(shown["receipts"][2]["action"], "reply");
        assert_eq!(shown["receipts"][0].get("action"), None);
        // The first that was said stays, also when another says it was earlier or another button.
        let again = json!([{"message_id": message, "kind": "opened", "at": world.time(-70), "action": "call"}]);
        assert_eq!(send(world, &who.person.token, again).await, ["duplicate"]);
        assert_eq!(receipts(world, &stage, &message).await, known);
        let decision = stage.decision(world, &who).await;
        assert_eq!(decision["hops"]["opened_at"], world.time(-60).as_str());
    }

    async fn sixty_four_phones_that_say_it_at_once_have_said_it_once(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        let all = json!([{"message_id": message, "kind": "delivered"}, {"message_id": message, "kind": "opened"}]);
        let tries = (0..64).map(|_| send(world, &who.person.token, all.clone()));
        let answers: Vec<String> = futures_util::future::join_all(tries).await.into_iter().flatten().collect();
        let of = |status: &str| answers.iter().filter(|one| *one == status).count();
        assert_eq!((of("accepted"), of("duplicate")), (2, 126), "{answers:?}");
        assert_eq!(world.number("select count(*) from receipts").await, 2);
    }

    async fn a_phone_without_a_session_speaks_for_its_own_installation(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        let (other, _) = heard(world, &stage).await;
        let receipt = json!([{"message_id": message, "kind": "delivered"}]);
        let body = |name: &str| json!({"installation_id": name, "receipts": receipt});
        let phone = &stage.app.phone;
        let nameless = world.post("/v1/receipts", phone, json!({"receipts": receipt})).await;
        nameless.refused_field(400, "validation_failed", "installation_id");
        let theirs = world.post("/v1/receipts", phone, body(&installation(&other))).await.good();
        assert_eq!(statuses(&theirs), ["not_found"]);
        // Whoever is signed in on another's phone speaks for neither.
        let mixed = world.post("/v1/receipts", &other.person.token, body(&installation(&who))).await.good();
        assert_eq!(statuses(&mixed), ["not_found"]);
        assert_eq!(send(world, &other.person.token, receipt.clone()).await, ["not_found"]);
        let stranger = world.new_app("Stranger").await;
        let elsewhere = world.post("/v1/receipts", &stranger.phone, body(&installation(&who))).await.good();
        assert_eq!(statuses(&elsewhere), ["not_found"]);
        assert_eq!(world.number("select count(*) from receipts").await, 0);
        world.post("/v1/auth/sign-out", &who.person.token, json!({})).await.expect(204);
        let own = world.post("/v1/receipts", phone, body(&installation(&who))).await.good();
        assert_eq!(statuses(&own), ["accepted"]);
        world.post("/v1/receipts", &Caller::Nobody, body("x")).await.refused(401, "unauthorized");
    }

    async fn a_receipt_is_judged_and_says_what_is_wrong_with_it(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        let path = format!("/v1/messages/{message}/receipts");
        let by = &who.person.token;
        let early = json!({"kind": "opened", "at": world.time(301)});
        world.post(&path, by, early).await.refused_field(400, "validation_failed", "at");
        let ahead = world.post(&path, by, json!({"kind": "opened", "at": world.time(300)})).await.good();
        assert_eq!(ahead["receipts"][0]["at"], world.time(0).as_str(), "a clock that is a little ahead is forgiven");
        let button = json!({"kind": "displayed", "action": "reply"});
        world.post(&path, by, button.clone()).await.refused_field(400, "validation_failed", "action");
        let unknown = json!({"kind": "displayed", "state": "x"});
        world.post(&path, by, unknown).await.refused_field(400, "validation_failed", "state");
        let mut batch = vec![json!({"message_id": message, "kind": "dismissed"}); 101];
        let long = world.post("/v1/receipts", by, json!({"receipts": batch})).await;
        long.refused_field(400, "validation_failed", "receipts");
        batch.truncate(1);
        batch.push(json!({"message_id": message, "kind": "dismissed", "action": "x"}));
        let wrong = world.post("/v1/receipts", by, json!({"receipts": batch})).await;
        wrong.refused_field(400, "validation_failed", "receipts[1].action");
        let late = json!([{"message_id": message, "kind": "delivered", "at": world.time(301)},
            {"message_id": "msg_00000000000070008000000000000000", "kind": "delivered"},
            {"message_id": message, "kind": "displayed"}]);
        assert_eq!(send(world, by, late).await, ["invalid", "not_found", "accepted"], "each on its own");
    }

    async fn of_what_never_left_nobody_has_seen_anything(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        world.post(&format!("/v1/messages/{message}/recall"), &stage.app.server, json!({})).await.good();
        let recall = stage.messages(world, &who).await.remove(1);
        assert_eq!((&recall["recalls"], &recall["state"]), (&json!(message), &json!("queued")));
        let path = format!("/v1/messages/{}/receipts", recall["id"].as_str().unwrap());
        let done = json!({"kind": "delivered"});
        let many = |message: &Value| json!([{"message_id": message["id"], "kind": "delivered"}]);
        for _ in 0..2 {
            // A recall is nothing that anybody sees.
            world.post(&path, &who.person.token, done.clone()).await.refused(404, "not_found");
            assert_eq!(send(world, &who.person.token, many(&recall)).await, ["not_found"]);
            world.drain().await;
        }
        // The gateway is closed for half a minute.
        let closed = Fault::Answer { status: 403, reason: "Forbidden".into(), retry_after_s: None, timestamp_ms: None };
        stage.standin.inject(Rule::once(closed));
        let (scapegoat, late) = (stage.listener(world).await, stage.listener(world).await);
        for who in [&scapegoat, &late] {
            stage.lands(world, who, 0).await;
            world.drain().await;
        }
        let waiting = stage.messages(world, &late).await.remove(0);
        let path = format!("/v1/messages/{}/receipts", waiting["id"].as_str().unwrap());
        world.post(&path, &late.person.token, done.clone()).await.refused(409, "not_sent");
        assert_eq!(send(world, &late.person.token, many(&waiting)).await, ["not_sent"]);
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(world.post(&path, &late.person.token, done).await.good()["receipts"].as_array().unwrap().len(), 1);
    }

    async fn after_erasure_nobody_hears_a_receipt(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, message) = heard(world, &stage).await;
        let (other, theirs) = heard(world, &stage).await;
        let phone = stage.app.phone.clone();
        let body = json!({"installation_id": installation(&who), "receipts": [{"message_id": message, "kind": "opened"}]});
        world.post("/v1/receipts", &phone, body.clone()).await.good();
        world.delete(&format!("/v1/users/{}", who.person.id), &stage.app.server).await.expect(202);
        // Before the worker has been there, and while phones go on speaking.
        let mut late = body.clone();
        late["receipts"][0]["kind"] = json!("dismissed");
        assert_eq!(statuses(&world.post("/v1/receipts", &phone, late.clone()).await.good()), ["not_found"]);
        let speaking = async {
            for _ in 0..20 {
                world.post("/v1/receipts", &phone, late.clone()).await.good();
            }
        };
        tokio::join!(world.drain(), speaking);
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(statuses(&world.post("/v1/receipts", &phone, late).await.good()), ["not_found"]);
        assert_eq!(world.number("select count(*) from receipts").await, 0);
        assert_eq!(send(world, &other.person.token, json!([{"message_id": theirs, "kind": "opened"}])).await, ["accepted"]);
    }
}
