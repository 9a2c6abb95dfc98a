//! What every request passes: names, headers, limits, cross-origin rules, and the URLs for machines.

use crate::world::{Answer, Caller, Tenant, World};
use kairos::http::Templates;
use kairos::routes::{self, ApiDoc};
use serde_json::json;
use std::time::Duration;
use utoipa::OpenApi as _;

const SHOP: &str = "https://shop.example";
const EVIL: &str = "https://evil.example";

async fn preflight(world: &World, origin: &str) -> Answer {
    let call = world.call("OPTIONS", "/v1/app").header("Origin", origin).header("Access-Control-Request-Method", "PATCH");
    call.send().await
}

async fn from_page(world: &World, origin: &str, by: &Caller) -> Answer {
    world.call("GET", "/v1/app").by(by).header("Origin", origin).send().await
}

async fn list_origin(world: &World, tenant: &Tenant, origin: &str) {
    world.patch("/v1/app", &tenant.server, json!({ "settings": { "cors_origins": [origin] } })).await.expect(200);
}

both! {
    async fn a_request_keeps_its_harmless_name_and_gets_one_otherwise(world) {
        let named = world.call("GET", "/v1/nothing").header("X-Request-Id", "checkout-42").send().await;
        assert_eq!(named.header("x-request-id"), Some("checkout-42"));
        assert_eq!(named.refused(404, "no_route")["request_id"], "checkout-42");
        let long = "x".repeat(101);
        for harmful in ["a b", "<script>", "ä", long.as_str(), ""] {
            let answer = world.call("GET", "/v1/app").header("X-Request-Id", harmful).send().await;
            let made = answer.header("x-request-id").unwrap().to_owned();
            assert!(made.starts_with("req_") && made.len() == 36, "{made}");
            assert_eq!(answer.refused(401, "unauthorized")["request_id"], made.as_str());
        }
    }

    async fn an_unknown_url_is_404_and_a_wrong_method_405_with_the_right_ones(world) {
        world.get("/v1/app/", &Caller::Nobody).await.refused(404, "no_route");
        world.get("//v1/app", &Caller::Nobody).await.refused(404, "no_route");
        world.get("/V1/app", &Caller::Nobody).await.refused(404, "no_route");
        world.get("/v1/app;x", &Caller::Nobody).await.refused(404, "no_route");
        let wrong = world.delete("/v1/app", &Caller::Nobody).await;
        wrong.refused(405, "method_not_allowed");
        assert_eq!(wrong.header("allow"), Some("GET, PATCH"));
        assert_eq!(world.call("TRACE", "/v1/keys/key_1").send().await.header("allow"), Some("DELETE"));
    }

    async fn every_answer_has_the_headers_that_keep_browsers_careful(world) {
        for path in ["/v1/app", "/v1/nothing", "/livez"] {
            let answer = world.get(path, &Caller::Nobody).await;
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert!(answer.header("content-security-policy").unwrap().contains("default-src 'none'"), "{path}");
        }
        assert_eq!(world.get("/v1/app", &world.app.server).await.header("cache-control"), Some("no-store"));
    }

    async fn a_key_has_a_budget_that_every_answer_shows_and_that_ends(world) {
        world.restart(|config| config.requests_per_key_per_second = 2).await;
        let tenant = world.new_app("Louvre").await;
        for left in (0..8).rev() {
            let answer = world.get("/v1/app", &tenant.server).await;
            assert_eq!(answer.header("ratelimit-policy"), Some("\"key\";q=8;w=4"));
            assert_eq!(answer.header("ratelimit"), Some(format!("\"key\";r={left};t=4").as_str()));
            answer.expect(200);
        }
        let refused = world.get("/v1/app", &tenant.server).await;
        assert_eq!(refused.header("retry-after"), Some("4"));
        refused.refused(429, "rate_limited");
        let other = world.new_app("Orsay").await;
        world.get("/v1/app", &other.server).await.expect(200);
        world.advance(Duration::from_secs(4)).await;
        world.get("/v1/app", &tenant.server).await.expect(200);
    }

    async fn a_budget_holds_when_all_come_at_once(world) {
        world.restart(|config| config.requests_per_key_per_second = 10).await;
        let tenant = world.new_app("Louvre").await;
        let all = futures_util::future::join_all((0..60).map(|_| world.get("/v1/app", &tenant.server))).await;
        assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 40);
        assert_eq!(all.iter().filter(|answer| answer.status == 429).count(), 20);
    }

    async fn a_page_reads_only_what_its_own_app_answers(world) {
        let (shop, other) = (world.new_app("Shop").await, world.new_app("Other").await);
        assert_eq!(preflight(world, SHOP).await.status, 403);
        list_origin(world, &shop, SHOP).await;
        let allowed = preflight(world, SHOP).await;
        assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, Some(SHOP)));
        assert!(allowed.header("access-control-allow-headers").unwrap().contains("x-kairos-key"));
        assert_eq!(allowed.header("access-control-allow-credentials"), None);
        let foreign = preflight(world, EVIL).await;
        assert_eq!(foreign.header("access-control-allow-origin"), None);
        foreign.refused(403, "origin_not_allowed");

        let own = from_page(world, SHOP, &shop.server).await;
        assert_eq!((own.status, own.header("access-control-allow-origin")), (200, Some(SHOP)));
        assert!(own.header("vary").unwrap().contains("Origin"));
        for (origin, by) in [(SHOP, &other.server), (EVIL, &shop.server), (EVIL, &Caller::Nobody), ("null", &shop.server)] {
            let answer = from_page(world, origin, by).await;
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin} {by:?}");
        }
        // A page must be able to read that its token has expired.
        let expired = from_page(world, SHOP, &Caller::Bearer("sk_live_old".to_owned())).await;
        assert_eq!((expired.status, expired.header("access-control-allow-origin")), (401, Some(SHOP)));

        world.patch("/v1/app", &shop.server, json!({ "settings": { "cors_origins": [] } })).await.expect(200);
        assert_eq!(preflight(world, SHOP).await.status, 403);
    }

    async fn machines_find_health_figures_and_the_document(world) {
        assert_eq!(world.get("/livez", &Caller::Nobody).await.status, 200);
        assert_eq!(world.get("/readyz", &Caller::Nobody).await.status, 200);
        let key = world.get("/v1/keys?limit=1", &world.app.server).await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned();
        world.delete(&format!("/v1/keys/{key}?canary=secret"), &Caller::Nobody).await.refused(401, "unauthorized");
        let document = world.get("/openapi.json", &Caller::Nobody).await.expect(200);
        assert_eq!(document["openapi"].as_str().unwrap().split('.').take(2).collect::<Vec<_>>(), ["3", "1"]);
        assert!(document["components"]["securitySchemes"]["server_key"].is_object());
        let figures = world.get("/metrics", &Caller::Nobody).await.text();
        assert!(figures.contains("kairos_http_request_duration_seconds_bucket"), "{figures}");
        assert!(figures.contains("route=\"/v1/keys/{id}\""), "{figures}");
        assert!(!figures.contains(&key) && !figures.contains("canary"), "a path or query must not become a label");
        let page = world.get("/docs/", &Caller::Nobody).await;
        assert!(page.status == 200 && page.text().contains("swagger"), "{}", page.status);
        assert!(page.header("content-security-policy").unwrap().contains("'self'"));
    }
}

#[test]
fn every_method_of_every_documented_path_is_known_to_the_answer_to_wrong_methods() {
    let templates = Templates::of(routes::DOCUMENT).unwrap();
    assert_eq!(templates.methods("/v1/keys/key_1"), ["DELETE"]);
    assert_eq!(templates.methods("/v1/keys/"), Vec::<&str>::new());
    assert_eq!(templates.methods("/v1/keys/key_1/x"), Vec::<&str>::new());
}

#[test]
fn the_document_that_is_served_is_that_of_the_code() {
    let written = ApiDoc::openapi().to_pretty_json().unwrap() + "\n";
    assert!(written == routes::DOCUMENT, "sdk-schemas/openapi.json is not what the code says: run `make openapi`");
}
