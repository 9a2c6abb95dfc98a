//! A person's inbox: each thing once, read on one device is read on all, gone when its time is over.

use crate::push_direct::{push, send};
use crate::recall::unheard;
use crate::stage::{Good, Listener, Stage, grant, minutes, phone};
use crate::world::{Answer, Caller, Tenant, World};
use kairos::moment::decision::Reason;
use kairos::moment::plain;
use kairos::moment::refusal::Refusal;
use kairos::moment::words::Words;
use kairos::push::State;
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};

async fn inbox(world: &World, who: &Listener, query: &str) -> Vec<String> {
    let page = world.get(&format!("/v1/me/messages{query}"), &who.person.token).await.good();
    page["items"].as_array().unwrap().iter().map(|item| item["body"].as_str().unwrap().to_owned()).collect()
}

async fn unread(world: &World, who: &Listener) -> i64 {
    world.get("/v1/me/messages", &who.person.token).await.good()["unread"].as_i64().unwrap()
}

async fn mark(world: &World, who: &Listener, verb: &str, body: Value) -> Answer {
    world.post(&format!("/v1/me/messages/{verb}"), &who.person.token, body).await
}

/// The secret of a new key in test mode.
async fn test_key(world: &World, stage: &Stage, mut key: Value) -> String {
    key["mode"] = json!("test");
    key["name"] = json!("try");
    let made = world.post("/v1/keys", &stage.app.server, key).await.expect(201);
    made["secret"].as_str().unwrap().to_owned()
}

/// Two things said to somebody with two phones, at Orly and a minute later at Nice.
async fn two_things(world: &World, stage: &Stage) -> Listener {
    stage.one_offer(world, json!({}), json!({})).await;
    let who = stage.listener(world).await;
    phone(world, &who.person, "tablet").await;
    stage.lands_at(world, &who, "Orly", 0).await;
    world.drain().await;
    world.advance(minutes(1)).await;
    stage.lands_at(world, &who, "Nice", 0).await;
    world.drain().await;
    assert_eq!(stage.messages(world, &who).await.len(), 4);
    who
}

both! {
    async fn what_is_read_on_one_phone_is_read_on_the_other(world) {
        let stage = Stage::set(world).await;
        let who = two_things(world, &stage).await;
        assert_eq!(inbox(world, &who, "").await, ["You are at Nice", "You are at Orly"], "once each, the newest first");
        assert_eq!(unread(world, &who).await, 2);
        let all = stage.messages(world, &who).await;
        // The second phone's message of the first thing.
        let marked = mark(world, &who, "read", json!({"ids": [all[1]["id"]]})).await.good();
        assert_eq!(marked, json!({"changed": 1, "unread": 1}));
        assert_eq!(mark(world, &who, "read", json!({"ids": [all[0]["id"]]})).await.good()["changed"], 0);
        let one = world.get(&format!("/v1/me/messages/{}", all[0]["id"].as_str().unwrap()), &who.person.token).await.good();
        assert_eq!(one["read_at"], world.time(0).as_str());
        assert_eq!(inbox(world, &who, "?state=unread").await, ["You are at Nice"]);
        assert_eq!(inbox(world, &who, "?state=read").await, ["You are at Orly"]);
        assert_eq!(mark(world, &who, "unread", json!({"ids": [all[0]["id"]]})).await.good()["unread"], 2);
        assert_eq!(mark(world, &who, "archive", json!({"ids": [all[2]["id"]]})).await.good()["unread"], 1);
        assert_eq!(inbox(world, &who, "").await, ["You are at Orly"]);
        assert_eq!(inbox(world, &who, "?state=archived").await, ["You are at Nice"]);
        mark(world, &who, "unarchive", json!({"ids": [all[3]["id"]]})).await.good();
        // Half open: what was made at that very time stays.
        let nice = all[2]["created_at"].as_str().unwrap();
        assert_eq!(mark(world, &who, "read", json!({"all_before": nice})).await.good(), json!({"changed": 1, "unread": 1}));
        assert_eq!(mark(world, &who, "archive", json!({"all_before": world.time(1)})).await.good(), json!({"changed": 2, "unread": 0}));
        assert_eq!(inbox(world, &who, "").await, [""; 0]);
        mark(world, &who, "read", json!({})).await.refused_field(400, "validation_failed", "ids");
        mark(world, &who, "read", json!({"ids": [], "all_before": nice})).await.refused_field(400, "validation_failed", "ids");
        mark(world, &who, "read", json!({"ids": vec![&all[0]["id"]; 101]})).await.refused_field(400, "validation_failed", "ids");
    }

    async fn it_is_shown_until_its_time_is_over_and_page_by_page(world) {
        world.restart(|config| config.access_token_life_s = 86_400).await;
        let stage = Stage::set(world).await;
        let who = two_things(world, &stage).await;
        let first = world.get("/v1/me/messages?limit=1", &who.person.token).await.good();
        assert_eq!(first["items"][0]["body"], "You are at Nice");
        assert_eq!(first["items"][0]["title"], "Welcome");
        assert_eq!((&first["unread"], &first["items"][0]["expires_at"]), (&json!(2), &first["items"][0]["deadline"]));
        let rest = format!("?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
        assert_eq!(inbox(world, &who, &rest).await, ["You are at Orly"]);
        let answer = world.get("/v1/me/messages", &who.person.token).await;
        let etag = answer.header("etag").unwrap().to_owned();
        let again = |etag: String| world.call("GET", "/v1/me/messages").by(&who.person.token).header("If-None-Match", &etag).send();
        assert_eq!(again(etag.clone()).await.status, 304);
        let ids = stage.messages(world, &who).await;
        mark(world, &who, "read", json!({"ids": [ids[0]["id"]]})).await.good();
        let changed = again(etag).await;
        assert_eq!((changed.status, &changed.json()["unread"]), (200, &json!(1)));
        world.advance(minutes(29)).await;
        assert_eq!(inbox(world, &who, "").await, ["You are at Nice"], "at its deadline it is gone");
        assert_eq!(unread(world, &who).await, 1);
        world.advance(minutes(1)).await;
        assert_eq!((inbox(world, &who, "").await.len(), unread(world, &who).await), (0, 0));
    }

    async fn what_a_test_key_sends_is_in_no_live_inbox(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let by = Caller::Bearer(test_key(world, &stage, json!({"kind": "server", "scopes": ["push:write"]})).await);
        let phone_of_tests = Caller::App(test_key(world, &stage, json!({"kind": "publishable"})).await);
        let person = world.person(&Tenant { phone: phone_of_tests, ..stage.app.clone() }).await;
        grant(world, &person, "marketing").await;
        let token = phone(world, &person, "phone").await;
        let (live, tester) = (stage.listener(world).await, Listener { person, token });
        for who in [&live, &tester] {
            stage.lands_at(world, who, "Nice", 0).await;
            world.drain().await;
            let test = json!({"purpose": "marketing", "topic": "offers", "audience": {"user_ids": [who.person.id]},
                "content": {"title": "Rehearsal", "body": "This is a test"}});
            world.post("/v1/pushes", &by, test).await.expect(202);
            world.drain().await;
            let tests: Vec<Value> = stage.messages(world, who).await.iter().map(|message| message["test"].clone()).collect();
            assert_eq!((tests, stage.arrived(who).len()), (vec![json!(false), json!(true)], 2));
        }
        assert_eq!((inbox(world, &live, "").await, unread(world, &live).await), (vec!["You are at Nice".to_owned()], 1));
        assert_eq!(inbox(world, &live, "?state=unread").await, ["You are at Nice"]);
        assert_eq!(inbox(world, &tester, "").await, ["This is a test", "You are at Nice"], "one can try it out");
        assert_eq!(unread(world, &tester).await, 2);
        let all = json!({"all_before": world.time(1)});
        assert_eq!(mark(world, &live, "read", all.clone()).await.good(), json!({"changed": 1, "unread": 0}));
        assert_eq!(mark(world, &tester, "read", all).await.good(), json!({"changed": 2, "unread": 0}));
    }

    async fn nobody_marks_or_sees_what_is_anothers(world) {
        let stage = Stage::set(world).await;
        let who = two_things(world, &stage).await;
        let other = stage.listener(world).await;
        let ids: Vec<Value> = stage.messages(world, &who).await.iter().map(|m| m["id"].clone()).collect();
        for verb in ["read", "archive", "unread", "unarchive"] {
            assert_eq!(mark(world, &other, verb, json!({"ids": ids})).await.good()["changed"], 0);
        }
        assert_eq!(world.number("select count(*) from inbox").await, 0);
        assert_eq!((inbox(world, &other, "").await.len(), unread(world, &who).await), (0, 2));
        mark(world, &who, "read", json!({"ids": ids})).await.good();
        world.delete(&format!("/v1/users/{}", who.person.id), &stage.app.server).await.expect(202);
        world.drain().await;
        assert_eq!(world.number("select count(*) from inbox").await, 0);
    }

    async fn what_did_not_get_through_is_there_when_the_offer_says_so(world) {
        world.restart(|config| config.access_token_life_s = 86_400).await;
        let stage = Stage::set(world).await;
        let offer = json!({"inbox_until": {"after_ms": 7_200_000}});
        stage.one_offer(world, offer, json!({})).await;
        let (lost, withdrawn) = (stage.listener(world).await, stage.listener(world).await);
        for who in [&lost, &withdrawn] {
            stage.standin.register(who.token.clone(), dead(world));
        }
        stage.lands(world, &lost, 0).await;
        world.drain().await;
        let message = stage.messages(world, &lost).await.remove(0);
        assert_eq!((&message["state"], &message["reason"]), (&json!("rejected"), &json!("unregistered")));
        assert_eq!(inbox(world, &lost, "").await, ["You are at Orly"]);
        let id = message["id"].as_str().unwrap();
        let why = world.get(&format!("/v1/me/messages/{id}/why"), &lost.person.token).await.good();
        assert!(why["outcome"].as_str().unwrap().ends_with("The app was no longer installed on that device."), "{why:#}");
        world.advance(minutes(119)).await;
        assert_eq!(inbox(world, &lost, "").await, ["You are at Orly"], "longer than its moment");
        world.advance(minutes(1)).await;
        assert_eq!(inbox(world, &lost, "").await, [""; 0]);
        assert!(stage.arrived(&lost).is_empty());
    }

    async fn what_may_be_on_the_phone_is_not_there_once_it_was_taken_back(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        let offer = json!({"inbox_until": {"after_ms": 7_200_000}});
        stage.one_offer(world, offer, json!({"mode": "at_least_once"})).await;
        for why in ["superseded", "cancelled", "consent", "topic_off"] {
            let (who, message) = unheard(world, &stage, 60).await;
            let (id, by) = (message["id"].as_str().unwrap(), &who.person.token);
            let hush = json!({"purpose": "marketing", "granted": false});
            match why {
                "superseded" => drop(stage.lands_at(world, &who, "Nice", 0).await),
                "cancelled" => drop(world.post(&format!("/v1/messages/{id}/cancel"), &stage.app.server, json!({})).await.good()),
                "consent" => drop(world.post("/v1/me/consents", by, hush).await.good()),
                _ => drop(world.patch("/v1/me/preferences", by, json!({"topics": {"offers": false}})).await.good()),
            }
            world.drain().await;
            world.advance(minutes(2)).await;
            let ended = stage.messages(world, &who).await.remove(0);
            assert_eq!((&ended["id"], &ended["state"], &ended["reason"]), (&message["id"], &json!("unknown"), &json!(why)));
            let left: &[&str] = if why == "superseded" { &["You are at Nice"] } else { &[] };
            assert_eq!(inbox(world, &who, "").await, left, "{why}");
            assert_eq!(stage.arrived(&who).len(), 1 + left.len(), "{why}");
        }
        stage.adds_up(world).await;
    }

    async fn what_may_be_on_the_phone_is_there_where_nobody_took_it_back(world) {
        world.restart(|config| config.access_token_life_s = 86_400).await;
        let stage = Stage::set(world).await;
        let offer = json!({"inbox_until": {"after_ms": 7_200_000}});
        stage.one_offer(world, offer, json!({"mode": "at_least_once"})).await;
        let (late, _) = unheard(world, &stage, 3_600).await;
        assert_eq!(inbox(world, &late, "").await, [""; 0], "it waits to be sent again");
        // The other one was sent once, and nobody has heard of it.
        let lost = stage.listener(world).await;
        stage.standin.inject(Rule::once(Fault::CutAfterRequest).to(lost.token.clone()));
        send(world, push(json!({"user_ids": [lost.person.id]}), json!({}))).await;
        world.drain().await;
        world.advance(minutes(30)).await;
        let (ended, unanswered) = (stage.messages(world, &late).await.remove(0), stage.messages(world, &lost).await.remove(0));
        assert_eq!((&ended["state"], &ended["reason"]), (&json!("unknown"), &json!("deadline")));
        assert_eq!(unanswered["state"], "unknown", "{unanswered:#}");
        assert_eq!(inbox(world, &late, "").await, ["You are at Orly"]);
        assert_eq!(inbox(world, &lost, "").await, ["Your gate has changed"]);
        world.advance(minutes(90)).await;
        assert_eq!((inbox(world, &late, "").await.len(), inbox(world, &lost, "").await.len()), (0, 1), "each until its own time");
        stage.adds_up(world).await;
    }
}

/// A phone without the app, as its gateway knows it.
fn dead(world: &World) -> kairos::push::standin::Phone {
    kairos::push::standin::Phone {
        gateway: kairos::push::Gateway::Apns,
        environment: kairos::push::Environment::Production,
        topic: None,
        dead_ms: Some(world.now_ms()),
    }
}

#[test]
fn every_end_and_every_reason_has_a_sentence() {
    for state in State::ALL {
        let bare = plain::outcome(*state, None);
        assert!(bare.ends_with('.') && !bare.contains('_'), "{bare}");
        for (reason, sentence) in plain::REASONS {
            let said = plain::outcome(*state, Some(reason));
            assert!(*state == State::Accepted || said.ends_with(sentence), "{state:?} {reason}: {said}");
            assert!(sentence.ends_with('.') && !sentence.contains('_'), "{sentence}");
        }
    }
    for refusal in Refusal::ALL {
        assert_eq!(plain::silence(refusal.name()), Some(refusal.plain()));
    }
    for reason in Reason::OTHERS {
        assert_eq!(plain::silence(reason.name()), Some(reason.plain()));
    }
    assert_eq!(plain::silence("nonsense"), None);
    assert!(plain::outcome(State::Rejected, Some("bad_device_token")).ends_with("“bad device token”."));
}

/// The reasons that the sources write on messages: each has to be in the table.
#[test]
fn no_reason_of_our_own_is_without_a_sentence() {
    let known: Vec<&str> = plain::REASONS.iter().map(|(word, _)| *word).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = Vec::new();
    for (file, before) in [
        ("src/push/outbox.rs", "State::Expired, \""),
        ("src/push/outbox.rs", "State::Revoked, \""),
        ("src/push/outbox.rs", "State::TokenDead, \""),
        ("src/push/wish.rs", "Self::No(\""),
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let words: Vec<String> = text.split(before).skip(1).map(|rest| rest[..rest.find('"').unwrap()].to_owned()).collect();
        assert!(!words.is_empty(), "{file} no longer writes {before}: look where it does");
        written.extend(words);
    }
    let missing: Vec<&String> = written.iter().filter(|word| !known.contains(&word.as_str())).collect();
    assert!(missing.is_empty(), "say in src/moment/plain.rs what these mean: {missing:?}");
}

#[test]
fn words_are_read_back_from_either_payload() {
    let apple = json!({"aps": {"alert": {"title": "a", "body": "b"}}, "image": "i", "link": "l", "own": 1,
        "kairos": {"message_id": "x"}});
    let google = json!({"notification": {"title": "a", "body": "b", "image": "i"},
        "data": {"link": "l", "own": "1", "kairos_message_id": "x"}});
    for (payload, own) in [(apple, json!({"own": 1})), (google, json!({"own": "1"}))] {
        let words = Words::of(&payload.to_string());
        let text = |part: &str| Some(part.to_owned());
        assert_eq!((words.title, words.body, words.image, words.link), (text("a"), text("b"), text("i"), text("l")));
        assert_eq!(Value::Object(words.data), own);
    }
    assert_eq!(Words::of("{\"aps\":{\"alert\":\"short\"}}").body.as_deref(), Some("short"));
    assert_eq!(Words::of("no json"), Words::default());
}
