//! No choice implies another: every choice is made once, and every other one is compared byte for byte.

use crate::consent::{add_partner, signed_in};
use crate::world::{Caller, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A choice and its opposite: what it is called in [`choices`], where it is made, and the two bodies.
struct Choice {
    name: String,
    path: &'static str,
    make: Value,
    undo: Value,
}

fn wish(name: &str, make: Value, undo: Value) -> Choice {
    Choice { name: name.to_owned(), path: "/v1/me/preferences", make, undo }
}

fn consent(name: &str, extent: &Value) -> Choice {
    let with = |more: Value| {
        let mut body = extent.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    Choice {
        name: name.to_owned(),
        path: "/v1/me/consents",
        make: with(json!({"granted": true, "text_version": "1", "evidence": {"screen": "settings"}})),
        undo: with(json!({"granted": false})),
    }
}

async fn make(world: &World, me: &Caller, (path, body): (&str, &Value)) {
    let answer = match path {
        "/v1/me/preferences" => world.patch(path, me, body.clone()).await,
        _ => world.post(path, me, body.clone()).await,
    };
    assert!(answer.status < 300, "{body}: {}", answer.text());
}

/// Everything that the user has chosen, by name, as text.
async fn choices(world: &World, me: &Caller) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let wishes = world.get("/v1/me/preferences", me).await.expect(200);
    for group in ["topics", "channels"] {
        for (key, on) in wishes[group].as_object().unwrap() {
            all.insert(format!("{group}.{key}"), on.to_string());
        }
    }
    for key in ["quiet_hours", "frequency", "pause_until"] {
        all.insert(key.to_owned(), wishes[key].to_string());
    }
    let consents = world.get("/v1/me/consents", me).await.expect(200);
    for state in consents["items"].as_array().unwrap() {
        let purpose = state["purpose"].as_str().unwrap();
        let grants = state["grants"].as_array().unwrap();
        let of = |wanted: &dyn Fn(&Value) -> bool| json!(grants.iter().filter(|g| wanted(g)).collect::<Vec<_>>()).to_string();
        all.insert(format!("{purpose} wide"), of(&|g| g["partner"].is_null() && g["channel"].is_null()));
        all.insert(format!("{purpose} email"), of(&|g| g["partner"].is_null() && g["channel"] == "email"));
        all.insert(format!("{purpose} partner"), of(&|g| !g["partner"].is_null()));
    }
    all
}

both! {
    async fn no_choice_changes_another_in_any_pair(world) {
        let server = &world.app.server;
        for key in ["ads", "news"] {
            let body = json!({"key": key, "name": key, "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
            world.post("/v1/purposes", server, body).await.expect(201);
        }
        for (key, on) in [("sport", true), ("culture", false)] {
            world.post("/v1/topics", server, json!({"key": key, "name": key, "default_on": on})).await.expect(201);
        }
        let partner = add_partner(world, world.app.id).await;
        let (_, me) = signed_in(world, &world.app).await;
        let all = [
            wish("topics.sport", json!({"topics": {"sport": false}}), json!({"topics": {"sport": null}})),
            wish("topics.culture", json!({"topics": {"culture": true}}), json!({"topics": {"culture": false}})),
            wish("channels.push", json!({"channels": {"push": false}}), json!({"channels": {"push": null}})),
            wish("channels.email", json!({"channels": {"email": false}}), json!({"channels": {"email": true}})),
            wish("channels.sms", json!({"channels": {"sms": false}}), json!({"channels": {"sms": null}})),
            wish("channels.in_app", json!({"channels": {"in_app": false}}), json!({"channels": {"in_app": null}})),
            wish("quiet_hours", json!({"quiet_hours": {"from": "22:00", "to": "07:00"}}), json!({"quiet_hours": null})),
            wish("frequency", json!({"frequency": {"limit": 1, "window_ms": 86_400_000}}), json!({"frequency": null})),
            wish("pause_until", json!({"pause_until": world.time(86_400)}), json!({"pause_until": null})),
            consent("ads wide", &json!({"purpose": "ads"})),
            consent("ads email", &json!({"purpose": "ads", "channel": "email"})),
            consent("ads partner", &json!({"purpose": "ads", "partner": partner})),
            consent("news wide", &json!({"purpose": "news"})),
            consent("location wide", &json!({"purpose": "location"})),
            consent("partner_events partner", &json!({"purpose": "partner_events", "partner": partner})),
        ];
        // From nothing chosen, and from everything chosen: a choice may hide among defaults.
        for opposite in [false, true] {
            for choice in &all {
                let before = choices(world, &me).await;
                let body = if opposite { &choice.undo } else { &choice.make };
                make(world, &me, (choice.path, body)).await;
                let after = choices(world, &me).await;
                assert_eq!(before.len(), after.len());
                for (name, value) in &before {
                    // A withdrawal that names only the purpose ends all of it: that is what it names.
                    let named = opposite && choice.name == "ads wide" && name.starts_with("ads ");
                    let same = value == &after[name];
                    if name == &choice.name {
                        assert!(!same, "{body} changed nothing");
                    } else {
                        assert!(same || named, "{body} changed {name} from {value} to {}", after[name]);
                    }
                }
                if opposite && choice.name == "ads wide" {
                    // So that the next ones have something to take back.
                    for again in &all[10..=11] {
                        make(world, &me, (again.path, &again.make)).await;
                    }
                }
            }
        }
    }

    async fn a_frequency_may_be_one_a_day_or_one_a_week_and_a_pause_ends_by_itself(world) {
        let (_, me) = signed_in(world, &world.app).await;
        for days in [1, 7] {
            let frequency = json!({"limit": 1, "window_ms": days * 86_400_000_i64});
            let made = world.patch("/v1/me/preferences", &me, json!({"frequency": frequency})).await.expect(200);
            assert_eq!(made["frequency"], frequency);
        }
        for (limit, window_ms) in [(0, 86_400_000_i64), (1, 3_599_999), (1, 32 * 86_400_000)] {
            let body = json!({"frequency": {"limit": limit, "window_ms": window_ms}});
            world.patch("/v1/me/preferences", &me, body).await.refused(400, "validation_failed");
        }
        let until = world.time(60);
        let made = world.patch("/v1/me/preferences", &me, json!({"pause_until": until})).await.expect(200);
        assert_eq!(made["pause_until"], until);
        world.patch("/v1/me/preferences", &me, json!({"pause_until": "tomorrow"})).await.refused_field(400, "validation_failed", "pause_until");
    }
}
