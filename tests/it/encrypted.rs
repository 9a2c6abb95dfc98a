//! Words that neither Apple nor Google read: encrypted on the way out, legible on the phone and in the inbox.

use crate::push_direct::{push, read, send};
use crate::stage::{Good, Stage, grant};
use crate::world::{Person, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kairos::push::sealing::seal;
use kairos::push::standin::{Keyring, Row};
use kairos::push::webpush::Fresh;
use kairos::push::{Content, Gateway, Push, Stamp, render};
use serde_json::{Value, json};

const PLACEHOLDER: &str = "You have a new message";

/// A phone of somebody who agreed, with keys or without; its token.
async fn phone(world: &World, person: &Person, os: &str, keys: Option<&Keyring>) -> String {
    let n = world.number("select count(*) from devices").await;
    let (token, topic) = match os {
        "ios" => (format!("{:064x}", 0xe2e_0000_i64 + n), json!("app.kairos.demo")),
        _ => (format!("android-{n}"), Value::Null),
    };
    let mut body = json!({"platform": os, "token": token, "push_permission": "granted", "locale": "en"});
    if !topic.is_null() {
        body["topic"] = topic;
    }
    if let Some(keys) = keys {
        body["encryption"] = keys.shared();
    }
    let made = world.put(&format!("/v1/me/devices/{os}-{}", &person.id[4..]), &person.token, body).await.good();
    assert_eq!(made["encrypts"], keys.is_some());
    token
}

async fn somebody(world: &World, stage: &Stage) -> Person {
    let person = world.person(&stage.app).await;
    let nick = json!({"scope": "user", "key": "nick", "kind": "string"});
    assert!([201, 409].contains(&world.post("/v1/attributes", &stage.app.server, nick).await.status));
    let named = json!({"attributes": {"nick": "Ann"}});
    world.patch(&format!("/v1/users/{}", person.id), &stage.app.server, named).await.good();
    grant(world, &person, "marketing").await;
    person
}

fn secret() -> Value {
    json!({"title": "Dr. Bones", "subtitle": "Your results", "body": "All is well, {{ user.attributes.nick }}",
        "image": "https://img.example/x-ray.png", "link": "clinic://results", "data": {"ward": "7"},
        "encrypted": {"title": "Clinic", "body": PLACEHOLDER}, "badge": {"increment": 1}})
}

fn arrived(stage: &Stage, token: &str) -> Row {
    let rows: Vec<Row> = stage.standin.ledger().into_iter().filter(|row| row.token == token && row.delivered).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

fn opened(keys: &Keyring, row: &Row) -> Value {
    let body = URL_SAFE_NO_PAD.decode(row.sealed.as_ref().expect("sealed words")).unwrap();
    serde_json::from_slice(&keys.read(&body).expect("the phone can read them")).unwrap()
}

/// What leaves for a gateway, of a content with words for one person alone.
fn leaves(gateway: Gateway, token: &str) -> String {
    let content: Content = serde_json::from_value(secret()).unwrap();
    let nil = uuid::Uuid::nil();
    let stamp =
        Stamp { message_id: nil.into(), decision_id: nil.into(), campaign_id: nil.into(), deadline_ms: 9_000_000_000_000 };
    let push = Push {
        id: nil.into(),
        token: token.to_owned(),
        topic: None,
        collapse_id: "x".to_owned(),
        deadline_ms: stamp.deadline_ms,
        consent_until_ms: None,
        head: None,
        payload: render(gateway, &content, &stamp).into(),
    };
    assert!(String::from_utf8_lossy(&push.payload).contains("Bones"), "the inbox reads it in what is stored");
    let sealed = seal(gateway, &push, || Fresh { private: [7; 32], salt: [9; 16] }).unwrap().expect("another payload");
    String::from_utf8(sealed.to_vec()).unwrap()
}

#[test]
fn not_one_word_leaves_in_the_clear() {
    let shared = Keyring::make().unwrap().shared();
    let with_keys = format!("abcd {} {}", shared["p256dh"].as_str().unwrap(), shared["auth"].as_str().unwrap());
    for gateway in [Gateway::Apns, Gateway::Fcm] {
        for token in ["abcd", &with_keys] {
            let out = leaves(gateway, token);
            for word in ["Bones", "results", "All is well", "x-ray", "clinic://", "ward", "kairos_clear"] {
                assert!(!out.contains(word), "{word} in {out}");
            }
            assert!(out.contains(PLACEHOLDER) && out.contains("kairos_sealed") == token.contains(' '), "{out}");
        }
    }
}

both! {
    async fn words_are_read_by_the_phone_and_in_the_inbox_and_by_no_gateway(world) {
        let stage = Stage::set(world).await;
        let google = stage.standin.issue_fcm("demo-project").unwrap();
        world.put("/v1/push-credentials/fcm", &stage.app.server, google).await.good();
        for os in ["ios", "android"] {
            let (who, keys) = (somebody(world, &stage).await, Keyring::make().unwrap());
            let token = phone(world, &who, os, Some(&keys)).await;
            let id = send(world, push(json!({"user_ids": [who.id]}), json!({"content": secret()}))).await;
            world.drain().await;
            assert_eq!(read(world, &id).await["counts"]["messages"]["accepted"], 1);
            let row = arrived(&stage, &token);
            // Apple's phone shows a line until the app's extension is done; Google's leaves all of it to the app.
            assert_eq!(row.text.as_deref(), (os == "ios").then_some(PLACEHOLDER));
            let words = json!({"title": "Dr. Bones", "subtitle": "Your results", "body": "All is well, Ann",
                "image": "https://img.example/x-ray.png", "link": "clinic://results", "data": {"ward": "7"}});
            assert_eq!(opened(&keys, &row), words);
            assert!(Keyring::make().unwrap().read(&URL_SAFE_NO_PAD.decode(row.sealed.unwrap()).unwrap()).is_none());
            assert!(row.kairos.is_some());
            let inbox = world.get("/v1/me/messages", &who.token).await.good();
            let item = &inbox["items"][0];
            assert_eq!((&item["title"], &item["body"]), (&json!("Dr. Bones"), &json!("All is well, Ann")));
            assert_eq!((&item["image"], &item["link"], &item["data"]), (&words["image"], &words["link"], &words["data"]));
            let shown = world.get(&format!("/v1/messages?user={}", who.id), &stage.app.server).await.good();
            assert_eq!(shown["items"][0]["token"], token, "the keys are nobody's business");
        }
        stage.adds_up(world).await;
    }

    async fn a_phone_without_keys_gets_the_placeholder_and_no_words(world) {
        let stage = Stage::set(world).await;
        let who = somebody(world, &stage).await;
        let token = phone(world, &who, "ios", None).await;
        send(world, push(json!({"user_ids": [who.id]}), json!({"content": secret()}))).await;
        world.drain().await;
        let row = arrived(&stage, &token);
        assert_eq!((row.text.as_deref(), &row.sealed), (Some(PLACEHOLDER), &None));
        assert!(!row.answer.is_empty() && !format!("{row:?}").contains("Bones"), "{row:?}");
        let inbox = world.get("/v1/me/messages", &who.token).await.good();
        assert_eq!(inbox["items"][0]["title"], "Dr. Bones");
        stage.adds_up(world).await;
    }

    async fn new_keys_are_a_new_token_and_a_dead_one_takes_its_keys_along(world) {
        let stage = Stage::set(world).await;
        let (who, old, new) = (somebody(world, &stage).await, Keyring::make().unwrap(), Keyring::make().unwrap());
        let later = json!({"content": secret(), "send_at": world.time(600)});
        let token = phone(world, &who, "ios", Some(&old)).await;
        send(world, push(json!({"user_ids": [who.id]}), later)).await;
        world.drain().await;
        let body = json!({"platform": "ios", "token": token.to_uppercase(), "topic": "app.kairos.demo", "push_permission": "granted",
            "encryption": new.shared()});
        world.put(&format!("/v1/me/devices/ios-{}", &who.id[4..]), &who.token, body).await.good();
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1);
        world.advance(std::time::Duration::from_secs(600)).await;
        let words = opened(&new, &arrived(&stage, &token));
        assert_eq!(words["title"], "Dr. Bones");
        let dead = kairos::push::standin::Fault::Answer { status: 410, reason: "Unregistered".into(), retry_after_s: None, timestamp_ms: Some(world.now_ms()) };
        stage.standin.inject(kairos::push::standin::Rule::once(dead));
        send(world, push(json!({"user_ids": [who.id]}), json!({"content": secret()}))).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from devices where token is not null or web_keys is not null").await, 0);
    }

    async fn what_cannot_be_is_refused_by_name(world) {
        let stage = Stage::set(world).await;
        let who = somebody(world, &stage).await;
        let keys = Keyring::make().unwrap().shared();
        let at = format!("/v1/me/devices/{}", &who.id[4..]);
        let ios = json!({"platform": "ios", "token": "ab".repeat(32), "topic": "app.kairos.demo"});
        for (change, field) in [
            (json!({"encryption": {"p256dh": keys["auth"], "auth": keys["auth"]}}), "encryption.p256dh"),
            (json!({"encryption": {"p256dh": keys["p256dh"], "auth": "AAAA"}}), "encryption.auth"),
            (json!({"encryption": keys, "token": null}), "encryption"),
            (json!({"encryption": keys, "token": format!("{} x", "ab".repeat(32))}), "token"),
            (json!({"token": format!("{} {} {}", "ab".repeat(32), keys["p256dh"].as_str().unwrap(), "x")}), "token"),
        ] {
            let mut body = ios.clone();
            change.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
            let refused = world.put(&at, &who.token, body).await.refused(400, "validation_failed");
            assert_eq!(refused["errors"][0]["field"], field, "{refused}");
        }
        for (content, field) in [
            (json!({"title": "x", "encrypted": {"body": "{{ user.id }}"}}), "content.encrypted.body"),
            (json!({"title": "x", "encrypted": {"body": " "}}), "content.encrypted.body"),
            (json!({"title_key": {"key": "K"}, "encrypted": {"body": "x"}}), "content.title_key"),
            (json!({"silent": true, "data": {"a": "b"}, "encrypted": {"body": "x"}}), "content.encrypted"),
            (json!({"title": "x", "body": "y".repeat(3_000), "encrypted": {"body": "x"}}), "content.body"),
        ] {
            let body = push(json!({"user_ids": [who.id]}), json!({ "content": content }));
            let refused = world.post("/v1/pushes", &stage.app.server, body).await.refused(400, "validation_failed");
            assert_eq!(refused["errors"][0]["field"], field, "{refused}");
        }
    }
}
