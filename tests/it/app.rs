//! Apps and their keys.

use crate::world::{Caller, Tenant, World};
use kairos::app::{Scope, TimeOfDay};
use serde_json::{Value, json};
use std::time::Duration;

fn secret(made: &Value) -> Caller {
    Caller::Bearer(made["secret"].as_str().unwrap().to_owned())
}

async fn make(world: &World, by: &Caller, scopes: &[&str]) -> Value {
    world.post("/v1/keys", by, json!({ "kind": "server", "name": "a key", "scopes": scopes })).await.expect(201)
}

/// Every answer to a bad credential, without what differs by request.
async fn refusal(world: &World, path: &str, by: &Caller) -> Value {
    let mut problem = world.get(path, by).await.refused(401, "unauthorized");
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

both! {
    async fn an_unknown_a_revoked_an_expired_and_no_key_get_the_same_answer(world) {
        let tenant = world.new_app("Louvre").await;
        let revoked = make(world, &tenant.server, &["keys:read"]).await;
        world.get("/v1/keys", &secret(&revoked)).await.expect(200);
        world.delete(&format!("/v1/keys/{}", revoked["id"].as_str().unwrap()), &tenant.server).await.expect(204);
        let body = json!({ "kind": "server", "name": "short", "scopes": ["keys:read"], "expires_at": world.time(60) });
        let expired = world.post("/v1/keys", &tenant.server, body).await.expect(201);
        world.get("/v1/keys", &secret(&expired)).await.expect(200);
        world.advance(Duration::from_secs(60)).await;

        let unknown = refusal(world, "/v1/keys", &Caller::Bearer(format!("sk_live_{}", "0".repeat(40)))).await;
        let Caller::App(publishable) = &tenant.phone else { unreachable!() };
        let wrong = [
            Caller::Nobody,
            secret(&revoked),
            secret(&expired),
            tenant.phone.clone(),
            Caller::Bearer(publishable.clone()),
            Caller::Bearer("sk_live_short".to_owned()),
            Caller::Bearer("' or 1=1 --".to_owned()),
        ];
        for caller in &wrong {
            assert_eq!(refusal(world, "/v1/keys", caller).await, unknown, "{caller:?}");
        }
    }

    async fn a_revoked_key_dies_at_once_also_when_it_was_in_use(world) {
        let tenant = world.new_app("Louvre").await;
        let made = make(world, &tenant.server, &["app:read"]).await;
        for _ in 0..3 {
            world.get("/v1/app", &secret(&made)).await.expect(200);
        }
        world.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap()), &tenant.server).await.expect(204);
        world.get("/v1/app", &secret(&made)).await.refused(401, "unauthorized");
        world.delete(&format!("/v1/keys/{}", made["id"].as_str().unwrap()), &tenant.server).await.expect(204);
    }

    async fn a_rotated_key_lives_on_for_the_overlap_and_its_successor_has_the_same_rights(world) {
        let tenant = world.new_app("Louvre").await;
        let old = make(world, &tenant.server, &["app:read"]).await;
        let path = format!("/v1/keys/{}/rotate", old["id"].as_str().unwrap());
        let new = world.post(&path, &tenant.server, json!({ "overlap_ms": 60_000 })).await.expect(201);
        assert_eq!((&new["scopes"], &new["kind"], &new["mode"]), (&old["scopes"], &old["kind"], &old["mode"]));
        world.get("/v1/app", &secret(&old)).await.expect(200);
        world.get("/v1/app", &secret(&new)).await.expect(200);
        world.advance(Duration::from_millis(59_999)).await;
        world.get("/v1/app", &secret(&old)).await.expect(200);
        world.advance(Duration::from_millis(1)).await;
        world.get("/v1/app", &secret(&old)).await.refused(401, "unauthorized");
        world.get("/v1/app", &secret(&new)).await.expect(200);
        world.post(&path, &tenant.server, json!({})).await.refused(409, "key_ended");
    }

    async fn a_key_has_one_successor_however_many_rotate_and_revoke_it_at_once(world) {
        let tenant = world.new_app("Louvre").await;
        let mut seen = Vec::new();
        for _ in 0..12 {
            let old = make(world, &tenant.server, &["app:read"]).await;
            let path = format!("/v1/keys/{}", old["id"].as_str().unwrap());
            let (rotate, now) = (format!("{path}/rotate"), json!({ "overlap_ms": 0 }));
            let by = &tenant.server;
            let (a, b, revoked) =
                tokio::join!(world.post(&rotate, by, now.clone()), world.post(&rotate, by, now.clone()), world.delete(&path, by));
            world.get("/v1/app", &secret(&old)).await.refused(401, "unauthorized");
            seen.push((a.status, b.status, revoked.status));
        }
        assert!(seen.iter().all(|(a, b, revoked)| (*a, *b) != (201, 201) && *revoked == 204), "{seen:?}");
    }

    async fn a_key_cannot_make_or_rotate_one_that_may_more_or_lives_longer(world) {
        let tenant = world.new_app("Louvre").await;
        let body = json!({ "kind": "server", "name": "child", "scopes": ["keys:write", "app:read"], "expires_at": world.time(3_600) });
        let parent = secret(&world.post("/v1/keys", &tenant.server, body).await.expect(201));
        let ask = |scopes: Value, expires_at: Value| {
            let mut body = json!({ "kind": "server", "name": "grandchild", "scopes": scopes });
            if !expires_at.is_null() {
                body["expires_at"] = expires_at;
            }
            body
        };
        let later = json!(world.time(3_601));
        world.post("/v1/keys", &parent, ask(json!(["app:write"]), json!(world.time(60)))).await.refused_field(403, "key_exceeds_caller", "scopes");
        world.post("/v1/keys", &parent, ask(json!(["app:read"]), later)).await.refused_field(403, "key_exceeds_caller", "expires_at");
        world.post("/v1/keys", &parent, ask(json!(["app:read"]), Value::Null)).await.refused_field(403, "key_exceeds_caller", "expires_at");
        world.post("/v1/keys", &parent, ask(json!(["app:read"]), json!(world.time(3_600)))).await.expect(201);
        // Rotating shows the successor's text, so it is minting too.
        let strong = make(world, &tenant.server, &["app:write"]).await;
        let path = format!("/v1/keys/{}/rotate", strong["id"].as_str().unwrap());
        world.post(&path, &parent, json!({})).await.refused(403, "key_exceeds_caller");
        assert_eq!(world.number("select count(*) from api_keys where name = 'grandchild'").await, 1);
    }

    async fn a_test_key_says_so_and_makes_test_keys_only(world) {
        let tenant = world.new_app("Louvre").await;
        let body = json!({ "kind": "server", "mode": "test", "name": "t", "scopes": ["keys:write", "keys:read"] });
        let made = world.post("/v1/keys", &tenant.server, body).await.expect(201);
        assert!(made["secret"].as_str().unwrap().starts_with("sk_test_"), "{made}");
        let test = secret(&made);
        let live = json!({ "kind": "publishable", "mode": "live", "name": "p" });
        world.post("/v1/keys", &test, live).await.refused_field(403, "key_exceeds_caller", "mode");
        let own = world.post("/v1/keys", &test, json!({ "kind": "publishable", "name": "p" })).await.expect(201);
        assert!(own["secret"].as_str().unwrap().starts_with("pk_test_"), "{own}");
    }

    async fn a_key_without_the_scope_is_refused_and_learns_which_one(world) {
        let tenant = world.new_app("Louvre").await;
        let weak = world.server_key(&tenant, &["events:write"]).await;
        for (method, path, scope) in [("GET", "/v1/app", "app:read"), ("GET", "/v1/keys", "keys:read")] {
            let problem = world.call(method, path).by(&weak).send().await.refused(403, "missing_scope");
            assert!(problem["detail"].as_str().unwrap().contains(scope), "{problem}");
        }
        world.patch("/v1/app", &weak, json!({ "name": "mine" })).await.refused(403, "missing_scope");
        world.post("/v1/keys", &weak, json!({ "kind": "publishable", "name": "p" })).await.refused(403, "missing_scope");
    }

    async fn no_list_shows_a_key_and_the_database_holds_only_hashes(world) {
        let tenant = world.new_app("Louvre").await;
        let made = make(world, &tenant.server, &["app:read"]).await;
        let text = made["secret"].as_str().unwrap();
        let listed = world.get("/v1/keys", &tenant.server).await;
        assert!(!listed.text().contains(text), "{}", listed.text());
        assert!(text.starts_with(made["prefix"].as_str().unwrap()));
        let stored = format!("select count(*) from api_keys where secret_hash = '{text}' or prefix = '{text}'");
        assert_eq!(world.number(&stored).await, 0);
        assert_eq!(listed.expect(200)["items"].as_array().unwrap().len(), 3);
    }

    async fn the_last_use_of_a_key_is_written_down_later_and_once(world) {
        let tenant = world.new_app("Louvre").await;
        let used = "select count(*) from api_keys where last_used_ms is not null";
        world.get("/v1/app", &tenant.server).await.expect(200);
        assert_eq!(world.number(used).await, 0, "a request must not write");
        world.drain().await;
        assert_eq!(world.number(used).await, 1);
        let at = world.number("select max(last_used_ms) from api_keys").await;
        assert_eq!(at, world.now_ms());
    }

    async fn the_publishable_key_may_come_as_the_user_name_of_http_basic(world) {
        let tenant = world.new_app("Louvre").await;
        let Caller::App(key) = &tenant.phone else { unreachable!() };
        let basic = |text: String| {
            use base64::Engine as _;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
        };
        let ask = |header: String| world.call("POST", "/v1/auth/anonymous").header("Authorization", &header).json(&json!({}));
        ask(basic(format!("{key}:"))).send().await.expect(200);
        ask(basic(format!("{key}x:"))).send().await.refused(401, "unauthorized");
        ask("Basic !!!".to_owned()).send().await.refused(401, "unauthorized");
    }

    async fn settings_change_only_under_the_revision_that_was_read(world) {
        let tenant = world.new_app("Louvre").await;
        let read = world.get("/v1/app", &tenant.server).await;
        let etag = read.header("etag").unwrap().to_owned();
        assert_eq!(read.expect(200)["settings"]["time_zone"], "UTC");
        let patch = |etag: &str, body: Value| world.call("PATCH", "/v1/app").by(&tenant.server).header("If-Match", etag).json(&body);
        let body = json!({ "settings": { "time_zone": "Europe/Paris", "quiet_hours": { "from": "22:00", "to": "07:30" } } });
        let changed = patch(&etag, body).send().await;
        assert_ne!(changed.header("etag").unwrap(), etag);
        assert_eq!(changed.expect(200)["settings"]["quiet_hours"], json!({ "from": "22:00", "to": "07:30" }));
        for stale in [etag.as_str(), "W/\"v2\"", "nonsense", ""] {
            patch(stale, json!({ "name": "x" })).send().await.refused(412, "revision_mismatch");
        }
        patch("\"v9\", \"v2\"", json!({ "settings": { "quiet_hours": null } })).send().await.expect(200);
        let now = world.get("/v1/app", &tenant.server).await.expect(200);
        assert_eq!((&now["name"], &now["settings"]["quiet_hours"]), (&json!("Louvre"), &Value::Null));
        assert_eq!(now["settings"]["time_zone"], "Europe/Paris", "what is left out stays");
    }

    async fn settings_that_cannot_be_meant_are_refused_by_name_and_change_nothing(world) {
        let tenant = world.new_app("Louvre").await;
        for (field, value) in bad_settings() {
            let body = json!({ "settings": { field: value } });
            let problem = world.patch("/v1/app", &tenant.server, body).await.refused(400, "validation_failed");
            let named = problem["errors"][0]["field"].as_str().unwrap();
            assert!(named.starts_with(&format!("settings.{field}")), "{field}: {problem}");
        }
        world.patch("/v1/app", &tenant.server, json!({ "settings": { "zone": "UTC" } })).await.refused_field(400, "validation_failed", "settings.zone");
        world.patch("/v1/app", &tenant.server, json!({ "id": "app_0" })).await.refused_field(400, "validation_failed", "id");
        assert_eq!(world.number("select max(revision) from apps").await, 1);
    }

    async fn a_key_of_one_app_sees_nothing_of_another(world) {
        let (louvre, orsay) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let made = make(world, &louvre.server, &["app:read"]).await;
        let id = made["id"].as_str().unwrap();
        world.delete(&format!("/v1/keys/{id}"), &orsay.server).await.refused(404, "not_found");
        world.post(&format!("/v1/keys/{id}/rotate"), &orsay.server, json!({})).await.refused(404, "not_found");
        world.get("/v1/app", &secret(&made)).await.expect(200);
        assert_eq!(world.get("/v1/app", &orsay.server).await.expect(200)["name"], "Orsay");
        assert!(!world.get("/v1/keys", &orsay.server).await.text().contains(id));
    }

    async fn pages_of_keys_hold_every_key_once(world) {
        let tenant: Tenant = world.new_app("Louvre").await;
        for _ in 0..5 {
            make(world, &tenant.server, &["app:read"]).await;
        }
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/v1/keys?limit=2{cursor}"), &tenant.server).await.expect(200);
            seen.extend(page["items"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!((seen.len(), once.len()), (7, 7));
    }
}

fn bad_settings() -> Vec<(&'static str, Value)> {
    let hours = |from: &str| json!({ "from": from, "to": "07:00" });
    vec![
        ("time_zone", json!("Mars/Olympus")),
        ("time_zone", Value::Null),
        ("currency", json!("euro")),
        ("locale", json!("x")),
        ("cors_origins", json!(["https://a.example/path"])),
        ("cors_origins", json!(["*"])),
        ("cors_origins", json!(["https://A.example"])),
        ("cors_origins", json!(["https://"])),
        ("min_gap_ms", json!(-1)),
        ("min_gap_ms", json!("1")),
        // How long a message may wait is said by its moment and its offer, how many offers a moment brings by its kind.
        ("push_ttl_ms", json!(1_000)),
        ("max_offers_per_moment", json!(1)),
        ("quiet_hours", hours("24:00")),
        ("quiet_hours", hours("7:00")),
        ("caps", json!({ "overall": [{ "limit": 1, "window_ms": 0 }] })),
        ("caps", json!({ "overall": [{ "limit": -1, "window_ms": 1 }] })),
        ("caps", json!({ "everything": [] })),
        ("location_retention_ms", json!(1e30)),
    ]
}

#[test]
fn every_scope_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
    assert_eq!(names.len(), Scope::ALL.len());
    let rights = [":read", ":write", ":publish", ":impersonate"];
    assert!(names.iter().all(|name| rights.iter().any(|right| name.ends_with(right))));
}

proptest::proptest! {
    #[test]
    fn a_time_of_day_reads_back_what_it_writes(minutes in 0_u16..1_440) {
        let time = TimeOfDay::from_minutes(minutes).unwrap();
        proptest::prop_assert_eq!(TimeOfDay::parse(&time.to_string()), Some(time));
    }

    #[test]
    fn a_time_of_day_is_read_in_one_form_only(text in "\\PC{0,7}") {
        if let Some(time) = TimeOfDay::parse(&text) {
            proptest::prop_assert_eq!(time.to_string(), text);
        }
    }
}
