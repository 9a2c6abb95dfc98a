//! Partners and their keys over HTTP.

use crate::world::Caller;
use serde_json::json;

both! {
    async fn a_partner_is_made_listed_and_read(world) {
        let by = &world.app.server;
        let made = world.post("/v1/partners", by, json!({"name": "Taxi Paris"})).await.expect(201);
        let path = format!("/v1/partners/{}", made["id"].as_str().unwrap());
        assert_eq!(world.get(&path, by).await.expect(200), made);
        assert_eq!(world.get("/v1/partners", by).await.expect(200)["items"], json!([made]));
        for (body, field) in [
            (json!({}), "name"),
            (json!({"name": " "}), "name"),
            (json!({"name": "a\u{0}"}), "name"),
            (json!({"name": "x".repeat(101)}), "name"),
            (json!({"name": "x", "id": "ptn_1"}), "id"),
        ] {
            world.post("/v1/partners", by, body).await.refused_field(400, "validation_failed", field);
        }
        world.get("/v1/partners/nonsense", by).await.refused(404, "not_found");
    }

    async fn a_partners_key_is_shown_once_listed_and_revoked(world) {
        let by = &world.app.server;
        let partner = world.post("/v1/partners", by, json!({"name": "Taxi Paris"})).await.expect(201);
        let keys = format!("/v1/partners/{}/keys", partner["id"].as_str().unwrap());
        let made = world.post(&keys, by, json!({"name": "till"})).await.expect(201);
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("pt_live_"));
        assert_eq!((&made["kind"], &made["partner_id"]), (&json!("partner"), &partner["id"]));
        let test = world.post(&keys, by, json!({"name": "try", "mode": "test", "expires_at": world.time(60)})).await.expect(201);
        assert!(test["secret"].as_str().unwrap().starts_with("pt_test_"));
        world.post(&keys, by, json!({"name": "late", "expires_at": world.time(-1)})).await.refused_field(400, "validation_failed", "expires_at");
        world.post(&keys, by, json!({"name": "x", "scopes": ["app:write"]})).await.refused_field(400, "validation_failed", "scopes");

        let listed = world.get(&format!("{keys}?limit=1"), by).await;
        assert!(!listed.text().contains(&secret), "a key is shown once");
        let listed = listed.expect(200);
        assert_eq!(listed["items"][0]["id"], made["id"]);
        let rest = world.get(&format!("{keys}?cursor={}", listed["next_cursor"].as_str().unwrap()), by).await.expect(200);
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]["id"]), (1, &test["id"]));

        // A partner's key opens none of the app's doors, and is not among the app's own keys.
        let till = Caller::Bearer(secret);
        for path in ["/v1/partners", "/v1/offers", "/v1/app", "/v1/users", "/v1/keys"] {
            world.get(path, &till).await.refused(401, "unauthorized");
        }
        let own = world.get("/v1/keys", by).await.expect(200);
        assert!(own["items"].as_array().unwrap().iter().all(|key| key["kind"] != "partner"));

        let path = format!("{keys}/{}", made["id"].as_str().unwrap());
        world.delete(&path, by).await.expect(204);
        world.delete(&path, by).await.expect(204);
        assert!(world.get(&keys, by).await.expect(200)["items"][0]["revoked_at"].is_string());
    }

    async fn another_app_or_another_partner_reaches_no_key(world) {
        let by = &world.app.server;
        let mut paths = Vec::new();
        for name in ["Taxi", "Hotel"] {
            let partner = world.post("/v1/partners", by, json!({"name": name})).await.expect(201);
            let keys = format!("/v1/partners/{}/keys", partner["id"].as_str().unwrap());
            let key = world.post(&keys, by, json!({"name": "k"})).await.expect(201);
            paths.push((keys, key["id"].as_str().unwrap().to_owned()));
        }
        let (taxi, taxi_key) = &paths[0];
        let (hotel, _) = &paths[1];
        world.delete(&format!("{hotel}/{taxi_key}"), by).await.refused(404, "not_found");
        let other = world.new_app("Elsewhere").await.server;
        world.get(taxi, &other).await.refused(404, "not_found");
        world.post(taxi, &other, json!({"name": "k"})).await.refused(404, "not_found");
        world.delete(&format!("{taxi}/{taxi_key}"), &other).await.refused(404, "not_found");
        assert_eq!(world.get("/v1/partners", &other).await.expect(200), json!({"items": []}));
        assert_eq!(world.number("select count(*) from api_keys where kind = 'partner' and revoked_ms is null").await, 2);
    }

    async fn a_limited_key_cannot_make_a_partner_key_that_outlives_or_outranks_it(world) {
        let by = &world.app.server;
        let partner = world.post("/v1/partners", by, json!({"name": "Taxi"})).await.expect(201);
        let keys = format!("/v1/partners/{}/keys", partner["id"].as_str().unwrap());
        let body = json!({"kind": "server", "name": "t", "mode": "test", "scopes": ["partners:write"], "expires_at": world.time(600)});
        let limited = world.post("/v1/keys", by, body).await.expect(201);
        let limited = Caller::Bearer(limited["secret"].as_str().unwrap().to_owned());
        world.post(&keys, &limited, json!({"name": "k", "mode": "live", "expires_at": world.time(60)})).await.refused(403, "key_exceeds_caller");
        world.post(&keys, &limited, json!({"name": "k"})).await.refused(403, "key_exceeds_caller");
        world.post(&keys, &limited, json!({"name": "k", "expires_at": world.time(60)})).await.expect(201);
        world.get(&keys, &limited).await.refused(403, "missing_scope");
    }
}
