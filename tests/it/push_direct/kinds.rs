//! Apple's kinds of push that have tokens of their own: each goes to installations of its kind, and to no other iPhone.

use super::{push, read, send};
use crate::stage::{Stage, TOPIC, minutes, phone};
use crate::world::{Caller, World};
use kairos::people::device::Environment;
use kairos::push::Gateway;
use kairos::push::standin::{Fault, Phone, Rule};
use serde_json::{Value, json};

/// Registers a token of this kind; the answer.
async fn registered(world: &World, by: &Caller, (installation, kind, token): (&str, &str, &str)) -> crate::world::Answer {
    let body = json!({"platform": "ios", "token": token, "token_kind": kind, "topic": TOPIC});
    world.put(&format!("/v1/me/devices/{installation}"), by, body).await
}

both! {
    async fn a_call_rings_where_calls_are_taken_and_words_are_shown_where_words_are(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let (calls, widget) = ("c0".repeat(32), "d1".repeat(32));
        let by = &who.person.token;
        let device = registered(world, by, ("phone.voip", "apns_voip", &calls.to_uppercase())).await.expect(201);
        assert_eq!(device["token_kind"], "apns_voip");
        registered(world, by, ("phone.widget", "apns_widgets", &widget)).await.expect(201);
        registered(world, by, ("phone.odd", "apns_voip", "xyz")).await.refused_field(400, "validation_failed", "token");
        let odd = json!({"platform": "android", "token": "x", "token_kind": "apns_voip"});
        world.put("/v1/me/devices/phone.odd", by, odd).await.refused_field(400, "validation_failed", "token_kind");
        // As Apple: a token of PushKit is none of the app's others, and the other way round.
        for (token, suffix) in [(&calls, ".voip"), (&widget, ".push-type.widgets"), (&who.token, "")] {
            let topic = Some(format!("{TOPIC}{suffix}"));
            let phone = Phone { gateway: Gateway::Apns, environment: Environment::Production, topic, dead_ms: None };
            stage.standin.register(token.clone(), phone);
        }
        let call = json!({"content": {"apple": {"push_type": "voip"}, "data": {"call": "7"}}});
        for (change, token) in [(json!({}), &who.token), (call.clone(), &calls)] {
            let before = stage.standin.ledger().len();
            let id = send(world, push(json!({"user_ids": [who.person.id]}), change)).await;
            world.drain().await;
            let ledger = stage.standin.ledger();
            let arrived: Vec<_> = ledger[before..].iter().map(|row| (&row.token, row.answer.as_str())).collect();
            assert_eq!(arrived, [(token, "200")]);
            let messages = &read(world, &id).await["counts"]["messages"];
            assert_eq!((&messages["accepted"], &messages["taken"]), (&json!(1), &json!(1)), "there is none for the others: {messages}");
        }
        // It is found as it was said, and there is no notification to take back.
        let before = stage.standin.ledger().len();
        let id = send(world, push(json!({"tokens": [calls.to_uppercase()]}), call.clone())).await;
        world.drain().await;
        let rows = |from: usize| stage.standin.ledger()[from..].iter().map(|row| row.token.clone()).collect::<Vec<_>>();
        assert_eq!(rows(before), [calls]);
        world.post(&format!("/v1/pushes/{id}/recall"), &world.app.server, json!({})).await.expect(202);
        world.drain().await;
        assert_eq!((rows(before).len(), world.number("select count(*) from messages where recalls <> ''").await), (1, 0));
        let message = world.lines("select id as line from messages order by id desc limit 1").await.remove(0);
        let path = format!("/v1/messages/{message}/recall");
        world.post(&path, &world.app.server, json!({})).await.refused(409, "never_shown");
        // Whoever has a phone that takes no calls has no device for one.
        let other = stage.listener(world).await;
        phone(world, &other.person, "second").await;
        let id = send(world, push(json!({"user_ids": [other.person.id]}), call)).await;
        world.drain().await;
        let after = read(world, &id).await;
        assert_eq!((&after["counts"]["chosen"], &after["results"][0]["reason"]), (&json!(0), &json!("no_token")), "{after:#}");
    }

    async fn a_call_that_may_have_rung_is_stopped_and_nothing_follows_it_however_often_it_is_taken_back(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        let calls = "c0".repeat(32);
        registered(world, &who.person.token, ("phone.voip", "apns_voip", &calls)).await.expect(201);
        let reason = "ServiceUnavailable".to_owned();
        let later = Fault::Answer { status: 503, reason, retry_after_s: Some(600), timestamp_ms: None };
        for fault in [Fault::CutAfterRequest, later] {
            stage.standin.inject(Rule::once(fault));
        }
        let call = json!({"content": {"apple": {"push_type": "voip"}, "data": {"call": "7"}}, "mode": "at_least_once"});
        send(world, push(json!({"tokens": [calls]}), call)).await;
        world.drain().await;
        let message = stage.messages(world, &who).await.remove(0);
        assert_eq!((&message["state"], stage.standin.ledger().len()), (&json!("retry_at"), 2));
        let path = format!("/v1/messages/{}/recall", message["id"].as_str().unwrap());
        for _ in 0..2 {
            let back = world.post(&path, &world.app.server, json!({})).await.expect(200);
            assert_eq!((&back["state"], &back["reason"]), (&json!("unknown"), &json!("recalled")));
            assert_eq!(back.get("recalled_at"), None);
            world.advance(minutes(6)).await;
        }
        let recalls = world.number("select count(*) from messages where recalls <> ''").await;
        assert_eq!((stage.standin.ledger().len(), recalls), (2, 0));
    }

    async fn what_has_tokens_of_its_own_is_so_in_all_languages(world) {
        Stage::set(world).await;
        let mixed: Value = json!({"content": {"apple": {"push_type": "voip"}}, "translations": {"de": {"body": "Hallo"}}});
        let body = push(json!({"topic": "offers"}), mixed);
        world.post("/v1/pushes", &world.app.server, body).await.refused_field(400, "validation_failed", "translations");
    }
}
