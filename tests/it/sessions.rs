//! A user's own sessions: seen, named, ended one by one or all at once, and over when their time is.

use crate::consent::signed_in;
use crate::world::{Answer, Caller, Person, Tenant, World};
use serde_json::{Value, json};
use std::time::Duration;

const DAY: u64 = 86_400;

async fn sign_in(world: &World, tenant: &Tenant, email: &str, user_agent: &str) -> Person {
    let pair = json!({ "email": email, "password": "correct horse battery" });
    let request = world.call("POST", "/v1/auth/sign-up").by(&tenant.phone).header("User-Agent", user_agent).json(&pair);
    Person::from(&request.send().await.expect(200))
}

async fn refresh(world: &World, tenant: &Tenant, person: &Person) -> Answer {
    world.post("/v1/auth/refresh", &tenant.phone, json!({ "refresh_token": person.refresh_token })).await
}

async fn mine(world: &World, caller: &Caller) -> Vec<Value> {
    world.get("/v1/me/sessions", caller).await.expect(200)["items"].as_array().unwrap().clone()
}

fn path(session: &Value) -> String {
    format!("/v1/me/sessions/{}", session["id"].as_str().unwrap())
}

fn ios(token: &str) -> Value {
    json!({"platform": "ios", "token": token, "topic": "com.example.app", "push_permission": "granted"})
}

async fn limits(world: &World, tenant: &Tenant, settings: Value) -> Answer {
    world.patch("/v1/app", &tenant.server, json!({ "settings": settings })).await
}

both! {
    async fn a_user_sees_and_names_their_sessions(world) {
        let tenant = world.new_app("Louvre").await;
        let phone = sign_in(world, &tenant, "ada@example.com", "Louvre/7.1 (iPhone)").await;
        world.advance(Duration::from_secs(60)).await;
        let tablet = sign_in(world, &tenant, "ada@example.com", &"x".repeat(500)).await;
        let all = mine(world, &tablet.token).await;
        assert_eq!(all.len(), 2);
        let (first, second) = (&all[0], &all[1]);
        assert_eq!((&first["user_agent"], &first["current"]), (&json!("Louvre/7.1 (iPhone)"), &json!(false)));
        assert_eq!((second["user_agent"].as_str().unwrap().len(), &second["current"]), (200, &json!(true)));
        assert_eq!(first["created_at"], first["last_used_at"]);
        assert_ne!(first["created_at"], second["created_at"]);
        let named = world.patch(&path(first), &tablet.token, json!({"name": "Ada’s phone"})).await.expect(200);
        assert_eq!((&named["name"], &named["id"]), (&json!("Ada’s phone"), &first["id"]));
        assert_eq!(world.get(&path(first), &phone.token).await.expect(200)["name"], json!("Ada’s phone"));
        let cleared = world.patch(&path(first), &tablet.token, json!({"name": null})).await.expect(200);
        assert!(cleared.get("name").is_none());
        for wrong in [json!({"name": ""}), json!({"name": "x".repeat(101)}), json!({"name": "a\nb"}), json!({"name": 7})] {
            world.patch(&path(first), &tablet.token, wrong).await.refused_field(400, "validation_failed", "name");
        }
        refresh(world, &tenant, &phone).await.expect(200);
        let first = world.get(&path(first), &tablet.token).await.expect(200);
        assert_ne!(first["created_at"], first["last_used_at"], "a refresh is a use");
        let page = world.get("/v1/me/sessions?limit=1", &tablet.token).await.expect(200);
        assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&first["id"], &first["id"]));
    }

    async fn an_ended_session_ends_at_once_with_its_devices_and_alone(world) {
        let (_, mine_token) = signed_in(world, &world.app).await;
        let tenant = world.new_app("Louvre").await;
        let lost = sign_in(world, &tenant, "ada@example.com", "lost").await;
        let kept = sign_in(world, &tenant, "ada@example.com", "kept").await;
        world.put("/v1/me/devices/lost", &lost.token, ios("ab12")).await.expect(201);
        world.put("/v1/me/devices/kept", &kept.token, ios("cd34")).await.expect(201);
        let all = mine(world, &kept.token).await;
        world.delete(&path(&all[0]), &kept.token).await.expect(204);
        world.get("/v1/me", &lost.token).await.refused(401, "unauthorized");
        refresh(world, &tenant, &lost).await.refused(401, "invalid_refresh_token");
        world.delete(&path(&all[0]), &kept.token).await.refused(404, "not_found");
        world.patch(&path(&all[0]), &kept.token, json!({"name": "x"})).await.refused(404, "not_found");
        let has_token = async |phone: &str| world.get(&format!("/v1/me/devices/{phone}"), &kept.token).await.expect(200)["has_token"].clone();
        assert_eq!((has_token("lost").await, has_token("kept").await), (json!(false), json!(true)));
        assert_eq!(mine(world, &kept.token).await.len(), 1);
        assert_eq!(world.number("select count(*) from sessions where end_reason = 'revoked'").await, 1);
        // Of another user, of another app, of nobody: there is no such session.
        let other = sign_in(world, &tenant, "eve@example.com", "eve").await;
        for caller in [&other.token, &mine_token] {
            world.delete(&path(&all[1]), caller).await.refused(404, "not_found");
        }
        world.delete("/v1/me/sessions/ses_0", &kept.token).await.refused_field(400, "validation_failed", "id");
        world.get("/v1/me", &kept.token).await.expect(200);
    }

    async fn all_sessions_end_at_once_or_all_but_the_one_that_asks(world) {
        let tenant = world.new_app("Louvre").await;
        let mut people = Vec::new();
        for n in 0..5 {
            people.push(sign_in(world, &tenant, "ada@example.com", &n.to_string()).await);
        }
        let bystander = sign_in(world, &tenant, "eve@example.com", "eve").await;
        let asks = people.pop().unwrap();
        world.delete("/v1/me/sessions?keep_current=true", &asks.token).await.expect(204);
        for person in &people {
            world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
            refresh(world, &tenant, person).await.refused(401, "invalid_refresh_token");
        }
        assert_eq!(mine(world, &asks.token).await.len(), 1);
        world.delete("/v1/me/sessions?keep=all", &asks.token).await.refused(400, "validation_failed");
        world.delete("/v1/me/sessions", &asks.token).await.expect(204);
        world.get("/v1/me", &asks.token).await.refused(401, "unauthorized");
        refresh(world, &tenant, &asks).await.refused(401, "invalid_refresh_token");
        refresh(world, &tenant, &bystander).await.expect(200);
    }

    async fn an_app_limits_how_long_sessions_live(world) {
        let tenant = world.new_app("Louvre").await;
        let (hour_ms, day_ms) = (3_600_000, 86_400_000_i64);
        limits(world, &tenant, json!({"session_life_ms": 7 * day_ms, "session_idle_ms": 2 * day_ms})).await.expect(200);
        let idle = sign_in(world, &tenant, "idle@example.com", "idle").await;
        let mut used = sign_in(world, &tenant, "used@example.com", "used").await;
        for day in 1..=6 {
            world.advance(Duration::from_secs(DAY)).await;
            used = Person::from(&refresh(world, &tenant, &used).await.expect(200));
            assert_eq!(mine(world, &used.token).await.len(), 1, "day {day}");
        }
        refresh(world, &tenant, &idle).await.refused(401, "invalid_refresh_token");
        world.advance(Duration::from_secs(DAY - 1)).await;
        used = Person::from(&refresh(world, &tenant, &used).await.expect(200));
        world.advance(Duration::from_secs(1)).await;
        assert!(mine(world, &used.token).await.is_empty(), "what is over is not shown");
        refresh(world, &tenant, &used).await.refused(401, "invalid_refresh_token");
        // The server's own limit of 90 days without use is never exceeded.
        limits(world, &tenant, json!({"session_life_ms": null, "session_idle_ms": 360 * day_ms})).await.expect(200);
        let old = sign_in(world, &tenant, "old@example.com", "old").await;
        world.advance(Duration::from_secs(90 * DAY)).await;
        refresh(world, &tenant, &old).await.refused(401, "invalid_refresh_token");
        for field in ["session_life_ms", "session_idle_ms"] {
            for wrong in [0, 599_999, 367 * day_ms] {
                let name = format!("settings.{field}");
                limits(world, &tenant, json!({field: wrong})).await.refused_field(400, "validation_failed", &name);
            }
            limits(world, &tenant, json!({field: hour_ms})).await.expect(200);
        }
    }
}
