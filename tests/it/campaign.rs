//! Moment kinds, offers and campaigns over HTTP; stock; the runs of scheduled campaigns.

use crate::world::{Caller, World};
use kairos::campaign::{
    Catalogue, Name, Run, Scope, hold_still, release_stock, reserve_stock, run_advance, runs_due, stock_left,
};
use kairos::error::Error;
use kairos::id::{OfferId, UserId};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const NO_ID: &str = "00000000000000000000000000000000";

fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

/// What offers and rules lean on.
async fn declare(world: &World, by: &Caller) {
    for (key, basis) in [("offers", "consent"), ("service", "contract")] {
        let body = json!({"key": key, "name": key, "basis": basis, "version": "1", "texts": {"en": "May we?"}});
        world.post("/v1/purposes", by, body).await.expect(201);
    }
    for (key, critical) in [("deals", false), ("boarding", true)] {
        world
            .post("/v1/topics", by, json!({"key": key, "name": key, "default_on": true, "critical": critical}))
            .await
            .expect(201);
    }
    for (key, kind) in [("tier", "string"), ("age", "number"), ("vip", "boolean"), ("born", "time"), ("langs", "list")] {
        world.post("/v1/attributes", by, json!({"scope": "user", "key": key, "kind": kind})).await.expect(201);
    }
}

fn kind() -> Value {
    json!({
        "key": "landing",
        "trigger": {"event_type": "thing.changed", "property": "on_ground", "from": false, "to": true},
        "window_ms": 1_800_000,
        "curve": {"half_life": {"h_ms": 600_000}},
    })
}

fn offer() -> Value {
    json!({
        "name": "Taxi",
        "purpose": "offers",
        "topic": "deals",
        "base_value": 12.5,
        "audience": "user.attributes.tier == 'gold'",
        "template": {
            "fallback": "en",
            "variants": {
                "en": {"title": "Welcome", "body": "A taxi to {{ place.name|default('town') }}?"},
                "de": {"title": "Willkommen", "body": "Ein Taxi?", "data": {"gate": "{{ event.properties.gate|default('-') }}"}},
            },
        },
    })
}

fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

async fn make_offer(world: &World, body: Value) -> String {
    id(&world.post("/v1/offers", &world.app.server, body).await.expect(201))
}

async fn make_campaign(world: &World, offers: &[&str], trigger: Value) -> String {
    let body = json!({"name": "Arrivals", "offers": offers, "trigger": trigger});
    id(&world.post("/v1/campaigns", &world.app.server, body).await.expect(201))
}

/// Everything, from kind to draft: (offer, campaign).
async fn draft(world: &World) -> (String, String) {
    declare(world, &world.app.server).await;
    world.post("/v1/moment-kinds", &world.app.server, kind()).await.expect(201);
    let offer = make_offer(world, offer()).await;
    let campaign = make_campaign(world, &[&offer], json!({"moment": "landing"})).await;
    (offer, campaign)
}

both! {
    async fn a_kind_is_made_read_replaced_listed_and_deleted(world) {
        let by = &world.app.server;
        let made = world.post("/v1/moment-kinds", by, kind()).await;
        assert_eq!(made.header("etag"), Some("\"v1\""));
        let made = made.expect(201);
        assert_eq!((&made["key"], &made["max_offers_per_moment"], &made["revision"]), (&json!("landing"), &json!(1), &json!(1)));
        world.post("/v1/moment-kinds", by, kind()).await.refused(409, "already_exists");

        let mut other = kind();
        other.as_object_mut().unwrap().remove("key");
        other["window_ms"] = json!(60_000);
        let put = world.put("/v1/moment-kinds/landing", by, other.clone()).await;
        assert_eq!(put.header("etag"), Some("\"v2\""));
        assert_eq!(put.expect(200)["window_ms"], 60_000);
        world.put("/v1/moment-kinds/other", by, kind()).await.refused_field(400, "validation_failed", "key");
        let stale = world.call("PUT", "/v1/moment-kinds/landing").by(by).header("If-Match", "\"v1\"").json(&other).send().await;
        stale.refused(412, "revision_mismatch");
        world.put("/v1/moment-kinds/fresh", by, other).await.expect(201);

        let listed = world.get("/v1/moment-kinds?limit=1", by).await.expect(200);
        assert_eq!(listed["items"][0]["key"], "fresh");
        let next = format!("/v1/moment-kinds?cursor={}", listed["next_cursor"].as_str().unwrap());
        assert_eq!(world.get(&next, by).await.expect(200)["items"][0]["key"], "landing");

        assert_eq!(world.number("select count(*) from event_types where type = 'thing.changed' and listened").await, 1);
        world.delete("/v1/moment-kinds/fresh", by).await.expect(204);
        world.get("/v1/moment-kinds/fresh", by).await.refused(404, "not_found");
        world.delete("/v1/moment-kinds/fresh", by).await.refused(404, "not_found");
        for odd in ["%00", "a%20b", "..%2Fx", "%F0%9F%92%A9", &"x".repeat(300)] {
            world.get(&format!("/v1/moment-kinds/{odd}"), by).await.refused(404, "not_found");
            world.delete(&format!("/v1/moment-kinds/{odd}"), by).await.refused(404, "not_found");
        }
    }

    async fn a_bad_kind_is_refused_by_the_name_of_its_field(world) {
        let by = &world.app.server;
        let place = format!("plc_{NO_ID}");
        for (pointer, value, field) in [
            ("/key", json!("No Key"), "key"),
            ("/key", json!("x".repeat(65)), "key"),
            ("/window_ms", json!(0), "window_ms"),
            ("/window_ms", json!(-5), "window_ms"),
            ("/window_ms", json!("5"), "window_ms"),
            ("/window_ms", json!(i64::MAX), "window_ms"),
            ("/cool_down_ms", json!(-1), "cool_down_ms"),
            ("/max_offers_per_moment", json!(0), "max_offers_per_moment"),
            ("/max_offers_per_moment", json!(11), "max_offers_per_moment"),
            ("/trigger/event_type", json!(""), "trigger.event_type"),
            ("/trigger/event_type", json!("a b"), "trigger.event_type"),
            ("/trigger/event_type", json!("order.paid"), "trigger.property"),
            ("/trigger/property", Value::Null, "trigger.property"),
            ("/trigger/include_initial", json!(true), "trigger.include_initial"),
            ("/trigger/place_ids", json!([place]), "trigger.place_ids[0]"),
            ("/trigger/place_tags", json!([""]), "trigger.place_tags[0]"),
            ("/trigger/rule", json!("event.properties.from >"), "trigger.rule"),
            ("/trigger/rule", json!("nobody.knows"), "trigger.rule"),
            ("/trigger/rule", json!("user.attributes.undeclared == 1"), "trigger.rule"),
            ("/trigger/rule", json!("[1].all(x, x > 0)"), "trigger.rule"),
            ("/trigger/rule", json!("user.id"), "trigger.rule"),
            ("/moment_key", json!("place.tags"), "moment_key"),
            ("/curve", json!({"half_life": {"h_ms": 0}}), "curve.half_life.h_ms"),
            ("/curve", json!({"steps": []}), "curve.steps"),
            ("/curve", json!({"steps": [{"until_ms": 10, "factor": 1.1}]}), "curve.steps[0].factor"),
            ("/curve", json!({"steps": [{"until_ms": 10, "factor": 0.5}, {"until_ms": 10, "factor": 0.4}]}), "curve.steps[1].until_ms"),
            ("/curve", json!({"steps": [{"until_ms": 10, "factor": 0.5}, {"until_ms": 20, "factor": 0.6}]}), "curve.steps[1].factor"),
            ("/revision", json!(7), "revision"),
            ("/trigger/extra", json!(7), "trigger.extra"),
        ] {
            let body = with(kind(), pointer, value.clone());
            let answer = world.post("/v1/moment-kinds", by, body).await;
            let problem = answer.refused(400, "validation_failed");
            let named = problem["errors"].as_array().unwrap().iter().any(|e| e["field"] == field);
            assert!(named, "{pointer} = {value}: {problem}");
        }
        let twice = r#"{"key":"a","key":"b","trigger":{"event_type":"x"},"window_ms":60000}"#;
        let answer = world.call("POST", "/v1/moment-kinds").by(by).text("application/json", twice).send().await;
        answer.refused_field(400, "validation_failed", "key");
        assert_eq!(world.number("select count(*) from moment_kinds").await, 0);
        for curve in [json!("flat"), json!("linear"), json!({"steps": [{"until_ms": 10, "factor": 1.0}, {"until_ms": 20, "factor": 0.5}]})] {
            let body = with(with(kind(), "/curve", curve.clone()), "/key", json!("k"));
            assert_eq!(world.put("/v1/moment-kinds/k", by, body).await.json()["curve"], curve);
        }
    }

    async fn all_texts_of_an_offer_together_take_a_bounded_number_of_steps(world) {
        declare(world, &world.app.server).await;
        let digits = "[0,1,2,3,4,5,6,7,8,9]";
        let dear = format!("{{% for a in {digits} %}}{{% for b in {digits} %}}{{% for c in {digits} %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}x");
        let data: serde_json::Map<String, Value> = (0..20).map(|n| (format!("d{n}"), json!(dear))).collect();
        let variant = json!({"title": dear, "body": dear, "data": data});
        let template = |locales: usize| {
            let letters = |n: usize| char::from(b'a' + u8::try_from(n).unwrap());
            let locale = |n: usize| format!("{}{}", letters(n / 26), letters(n % 26));
            let variants: serde_json::Map<String, Value> = (0..locales).map(|n| (locale(n), variant.clone())).collect();
            with(offer(), "/template", json!({"fallback": "aa", "variants": variants}))
        };
        world.post("/v1/offers", &world.app.server, template(2)).await.expect(201);
        let problem = world.post("/v1/offers", &world.app.server, template(50)).await.refused(400, "validation_failed");
        assert_eq!(problem["errors"][0]["code"], "invalid_template");
        assert!(problem["errors"][0]["message"].as_str().unwrap().contains("use fewer loops"), "{problem}");
    }

    async fn an_offer_is_made_read_replaced_and_archived(world) {
        let by = &world.app.server;
        declare(world, by).await;
        let made = world.post("/v1/offers", by, with(offer(), "/stock", json!(3))).await.expect(201);
        assert_eq!((&made["class"], &made["weight"], &made["stock_left"]), (&json!("normal"), &json!(1.0), &json!(3)));
        let path = format!("/v1/offers/{}", id(&made));
        assert_eq!(world.get(&path, by).await.expect(200), made);

        let changed = world.call("PUT", &path).by(by).header("If-Match", "\"v1\"").json(&with(offer(), "/base_value", json!(99))).send().await;
        let changed = changed.expect(200);
        assert_eq!((&changed["revision"], &changed["base_value"], changed.get("stock")), (&json!(2), &json!(99.0), None));
        let stale = world.call("PUT", &path).by(by).header("If-Match", "\"v1\"").json(&offer()).send().await;
        stale.refused(412, "revision_mismatch");

        world.delete(&path, by).await.expect(204);
        world.delete(&path, by).await.expect(204);
        assert_eq!(world.get(&path, by).await.expect(200)["archived"], true);
        world.put(&path, by, offer()).await.refused(409, "archived");
        world.get(&format!("/v1/offers/ofr_{NO_ID}"), by).await.refused(404, "not_found");
        world.get("/v1/offers/nonsense", by).await.refused(404, "not_found");
    }

    async fn a_bad_offer_is_refused_by_the_name_of_its_field(world) {
        let by = &world.app.server;
        declare(world, by).await;
        let partner = format!("ptn_{NO_ID}");
        for (pointer, value, field) in [
            ("/name", json!(" "), "name"),
            ("/name", json!("a\u{0}b"), "name"),
            ("/base_value", json!(0), "base_value"),
            ("/base_value", json!(-1), "base_value"),
            ("/base_value", json!(1e300), "base_value"),
            ("/min_value", json!(-1), "min_value"),
            ("/weight", json!(0), "weight"),
            ("/cost", json!(-0.1), "cost"),
            ("/stock", json!(-1), "stock"),
            ("/stock", json!(1.5), "stock"),
            ("/class", json!("urgent"), "class"),
            ("/class", json!("critical"), "topic"),
            ("/purpose", json!("nothing"), "purpose"),
            ("/topic", json!("nothing"), "topic"),
            ("/partner_id", json!(partner), "partner_id"),
            ("/partner_id", json!("me"), "partner_id"),
            ("/category", json!("A B"), "category"),
            ("/deliver_by", json!({"after_ms": 0}), "deliver_by.after_ms"),
            ("/deliver_by", json!({"at": "tomorrow"}), "deliver_by.at"),
            ("/audience", json!("user.attributes.age > 'old'"), "audience"),
            ("/audience", json!("user.attributes.age"), "audience"),
            ("/audience", json!("user.attributes.age + 1 > 2"), "audience"),
            ("/audience", json!("x".repeat(3_000)), "audience"),
            ("/template/fallback", json!("fr"), "template.fallback"),
            ("/template/variants/en/title", json!(""), "template.variants.en.title"),
            ("/template/variants/en/title", json!("{{ nobody }}"), "template.variants.en.title"),
            ("/template/variants/en/body", json!("{{ user.attributes.undeclared }}"), "template.variants.en.body"),
            ("/template/variants/en/body", json!("{% set x = 1 %}"), "template.variants.en.body"),
            ("/template/variants/en/body", json!("{{ unclosed"), "template.variants.en.body"),
            ("/template/variants/de/data", json!({"aps": "x"}), "template.variants.de.data.aps"),
            ("/template/variants/de/data", json!({"kairos_message_id": "x"}), "template.variants.de.data.kairos_message_id"),
            ("/template/variants/de/data", json!({"from": "x"}), "template.variants.de.data.from"),
            ("/id", json!("ofr_1"), "id"),
            ("/stock_left", json!(5), "stock_left"),
            ("/archived", json!(true), "archived"),
        ] {
            let body = with(offer(), pointer, value.clone());
            let problem = world.post("/v1/offers", by, body).await.refused(400, "validation_failed");
            let named = problem["errors"].as_array().unwrap().iter().any(|e| e["field"] == field);
            assert!(named, "{pointer} = {value}: {problem}");
        }
        assert_eq!(world.number("select count(*) from offers").await, 0);
        // What only the sender of an event knows is taken on trust, and guarded when it runs.
        for rule in ["event.properties.amount > 3 && event.properties.gate.startsWith('F')", "'a' in thing.properties.list",
            "event.properties.nested.deep == 1", "has(event.properties.x) && event.properties.x", "size(event.properties.text) > 2"] {
            world.post("/v1/offers", by, with(offer(), "/audience", json!(rule))).await.expect(201);
        }
        world.post("/v1/offers", by, with(with(offer(), "/class", json!("critical")), "/topic", json!("boarding"))).await.expect(201);
    }

    async fn a_partners_offer_needs_a_purpose_with_consent_and_stays_the_partners(world) {
        let by = &world.app.server;
        declare(world, by).await;
        let partner = id(&world.post("/v1/partners", by, json!({"name": "Taxi Paris"})).await.expect(201));
        let body = with(offer(), "/partner_id", json!(partner));
        world.post("/v1/offers", by, with(body.clone(), "/purpose", json!("service"))).await.refused_field(400, "validation_failed", "purpose");
        let made = id(&world.post("/v1/offers", by, body).await.expect(201));
        world.put(&format!("/v1/offers/{made}"), by, offer()).await.refused_field(400, "validation_failed", "partner_id");
    }

    async fn a_campaign_lives_from_draft_to_its_end(world) {
        let by = &world.app.server;
        let (offer, campaign) = draft(world).await;
        let path = format!("/v1/campaigns/{campaign}");
        let step = |step: &str| format!("{path}/{step}");
        assert_eq!(world.get(&path, by).await.expect(200)["status"], "draft");
        for wrong in ["pause", "resume", "end"] {
            world.post(&step(wrong), by, json!({})).await.refused(409, "wrong_status");
        }
        let body = json!({"name": "Other", "offers": [offer], "trigger": {"moment": "landing"}, "mode": "at_least_once",
            "caps": [{"limit": 1, "window_ms": 86_400_000}], "devices": "last_active"});
        assert_eq!(world.put(&path, by, body.clone()).await.expect(200)["revision"], 2);
        assert_eq!(world.post(&step("publish"), by, json!({})).await.expect(200)["status"], "live");
        world.put(&path, by, body).await.refused(409, "not_a_draft");
        world.delete(&path, by).await.refused(409, "not_a_draft");
        world.delete("/v1/moment-kinds/landing", by).await.refused(409, "in_use");
        world.post(&step("publish"), by, json!({})).await.refused(409, "wrong_status");
        assert_eq!(world.post(&step("pause"), by, json!({})).await.expect(200)["status"], "paused");
        assert_eq!(world.post(&step("resume"), by, json!({})).await.expect(200)["status"], "live");
        let stale = world.call("POST", &step("end")).by(by).header("If-Match", "\"v1\"").json(&json!({})).send().await;
        stale.refused(412, "revision_mismatch");
        assert_eq!(world.post(&step("end"), by, json!({})).await.expect(200)["status"], "ended");
        for wrong in ["publish", "pause", "resume", "end"] {
            world.post(&step(wrong), by, json!({})).await.refused(409, "wrong_status");
        }
        world.delete("/v1/moment-kinds/landing", by).await.expect(204);

        let other = id(&world.post("/v1/campaigns", by, json!({"name": "x", "offers": [offer], "trigger": {"schedule": {"when": {"at": world.time(60)}}}})).await.expect(201));
        world.delete(&format!("/v1/campaigns/{other}"), by).await.expect(204);
        world.get(&format!("/v1/campaigns/{other}"), by).await.refused(404, "not_found");
    }

    async fn a_bad_campaign_is_refused_by_the_name_of_its_field(world) {
        let by = &world.app.server;
        let (offer, _) = draft(world).await;
        let archived = make_offer(world, self::offer()).await;
        world.delete(&format!("/v1/offers/{archived}"), by).await.expect(204);
        let good = json!({"name": "x", "offers": [offer], "trigger": {"moment": "landing"}});
        for (pointer, value, field) in [
            ("/name", json!(""), "name"),
            ("/offers", json!([]), "offers"),
            ("/offers", json!([offer, offer]), "offers[1]"),
            ("/offers", json!([format!("ofr_{NO_ID}")]), "offers[0]"),
            ("/offers", json!([archived]), "offers[0]"),
            ("/offers", json!(["x"]), "offers[0]"),
            ("/trigger", json!({"moment": "nothing"}), "trigger.moment"),
            ("/trigger", json!({"recurring": "x"}), "trigger"),
            ("/trigger", json!({"schedule": {"when": {"at": "soon"}}}), "trigger.schedule.when.at"),
            ("/trigger", json!({"schedule": {"when": {"local": "2026-13-01T09:00"}}}), "trigger.schedule.when.local"),
            ("/trigger", json!({"schedule": {"when": {"local": "2026-12-01T09:00Z"}}}), "trigger.schedule.when.local"),
            ("/trigger", json!({"schedule": {"when": {"local": "2026-12-01T09:00"}, "window_ms": 0}}), "trigger.schedule.window_ms"),
            ("/audience", json!("nobody"), "audience"),
            ("/caps", json!([{"limit": 0, "window_ms": 86_400_000}]), "caps[0].limit"),
            ("/caps", json!([{"limit": 1, "window_ms": 0}]), "caps[0].window_ms"),
            ("/mode", json!("exactly_once"), "mode"),
            ("/devices", json!("some"), "devices"),
            ("/status", json!("live"), "status"),
        ] {
            let problem = world.post("/v1/campaigns", by, with(good.clone(), pointer, value.clone())).await.refused(400, "validation_failed");
            let named = problem["errors"].as_array().unwrap().iter().any(|e| e["field"] == field);
            assert!(named, "{pointer} = {value}: {problem}");
        }
        // What was there when it was drafted may be gone when it is published.
        let campaign = make_campaign(world, &[&offer], json!({"moment": "landing"})).await;
        world.delete(&format!("/v1/offers/{offer}"), by).await.expect(204);
        world.post(&format!("/v1/campaigns/{campaign}/publish"), by, json!({})).await.refused_field(400, "validation_failed", "offers[0]");
    }

    async fn another_app_sees_and_changes_nothing(world) {
        let (offer, campaign) = draft(world).await;
        let other = world.new_app("Elsewhere").await.server;
        declare(world, &other).await;
        for path in ["/v1/moment-kinds/landing".to_owned(), format!("/v1/offers/{offer}"), format!("/v1/campaigns/{campaign}")] {
            world.get(&path, &other).await.refused(404, "not_found");
            world.delete(&path, &other).await.refused(404, "not_found");
        }
        world.put(&format!("/v1/offers/{offer}"), &other, self::offer()).await.refused(404, "not_found");
        for step in ["publish", "pause", "resume", "end"] {
            world.post(&format!("/v1/campaigns/{campaign}/{step}"), &other, json!({})).await.refused(404, "not_found");
        }
        let body = json!({"name": "x", "offers": [offer], "trigger": {"moment": "landing"}});
        let problem = world.post("/v1/campaigns", &other, body).await.refused(400, "validation_failed");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "neither the offer nor the kind is theirs: {problem}");
        for list in ["/v1/moment-kinds", "/v1/offers", "/v1/campaigns"] {
            assert_eq!(world.get(list, &other).await.expect(200), json!({"items": []}));
            world.get(list, &world.app.phone).await.refused(401, "unauthorized");
            world.get(list, &Caller::Nobody).await.refused(401, "unauthorized");
        }
    }

    async fn a_key_without_the_scope_is_refused(world) {
        let by = &world.app.server;
        let key = world.post("/v1/keys", by, json!({"kind": "server", "name": "reader", "scopes": ["campaigns:read"]})).await.expect(201);
        let reader = Caller::Bearer(key["secret"].as_str().unwrap().to_owned());
        world.get("/v1/offers", &reader).await.expect(200);
        world.post("/v1/moment-kinds", &reader, kind()).await.refused(403, "missing_scope");
        world.post("/v1/offers", &reader, offer()).await.refused(403, "missing_scope");
        world.get("/v1/partners", &reader).await.refused(403, "missing_scope");
    }

    async fn the_catalogue_holds_live_campaigns_and_moves_with_every_change(world) {
        let by = &world.app.server;
        let (offer, campaign) = draft(world).await;
        let (app, catalogue) = (world.app.id, Catalogue::default());
        let current = async |world: &World| {
            let catalogue = catalogue.clone();
            world.kairos.platform.store.read(move |conn| catalogue.current(conn, app)).await.unwrap()
        };
        let before = current(world).await;
        assert_eq!(before.kinds_for("thing.changed").len(), 1);
        assert!(before.kinds_for("order.paid").is_empty());
        assert!(before.kinds_for("thing.changed")[0].campaigns.is_empty(), "a draft does not speak");

        world.post(&format!("/v1/campaigns/{campaign}/publish"), by, json!({})).await.expect(200);
        let live = current(world).await;
        let kind = &live.kinds_for("thing.changed")[0];
        assert_eq!((kind.campaigns.len(), kind.campaigns[0].offers.len()), (1, 1));
        assert!(live.campaign(campaign.parse().unwrap()).is_some());
        let rule = kind.campaigns[0].offers[0].audience.as_ref().unwrap();
        let mut scope = Scope::new();
        scope.set(Name::User, &json!({"attributes": {"tier": "gold"}}));
        assert_eq!(rule.holds(&scope), Ok(true));
        assert!(std::sync::Arc::ptr_eq(&live, &current(world).await), "nothing changed, nothing is compiled again");

        world.put(&format!("/v1/offers/{offer}"), by, with(self::offer(), "/base_value", json!(77))).await.expect(200);
        let edited = current(world).await;
        let spec = &edited.kinds_for("thing.changed")[0].campaigns[0].offers[0];
        assert!((spec.revision, spec.spec.base_value) == (2, 77.0));

        world.delete(&format!("/v1/offers/{offer}"), by).await.expect(204);
        assert!(current(world).await.kinds_for("thing.changed")[0].campaigns[0].offers.is_empty());
        world.post(&format!("/v1/campaigns/{campaign}/pause"), by, json!({})).await.expect(200);
        assert!(current(world).await.campaign(campaign.parse().unwrap()).is_none());
    }

    async fn a_catalogue_that_has_moved_cannot_be_held(world) {
        let (_, campaign) = draft(world).await;
        let (app, store) = (world.app.id, world.kairos.platform.store.clone());
        let seen = store.read(move |conn| Catalogue::default().current(conn, app)).await.unwrap().revision;
        assert!(store.write(move |conn| hold_still(conn, app, seen)).await.unwrap());
        world.post(&format!("/v1/campaigns/{campaign}/publish"), &world.app.server, json!({})).await.expect(200);
        assert!(!store.write(move |conn| hold_still(conn, app, seen)).await.unwrap());
    }

    async fn an_ended_campaign_stays_ended_whoever_resumes_it_at_the_same_time(world) {
        let by = world.app.server.clone();
        let (offer, _) = draft(world).await;
        let mut seen = Vec::new();
        for _ in 0..12 {
            let campaign = make_campaign(world, &[&offer], json!({"moment": "landing"})).await;
            let path = |step: &str| format!("/v1/campaigns/{campaign}/{step}");
            for step in ["publish", "pause"] {
                world.post(&path(step), &by, json!({})).await.expect(200);
            }
            let (end, resume) = (path("end"), path("resume"));
            let (ended, resumed) = tokio::join!(world.post(&end, &by, json!({})), world.post(&resume, &by, json!({})));
            let now = world.get(&format!("/v1/campaigns/{campaign}"), &by).await.expect(200)["status"].as_str().unwrap().to_owned();
            seen.push((ended.status, resumed.status, now));
        }
        assert!(seen.iter().all(|(ended, _, now)| *ended == 200 && now == "ended"), "{seen:?}");
    }

    async fn of_several_changes_under_one_etag_one_is_taken(world) {
        let by = world.app.server.clone();
        declare(world, &by).await;
        world.post("/v1/moment-kinds", &by, kind()).await.expect(201);
        let mut taken = Vec::new();
        for round in 0..8 {
            let (key, offer) = (format!("k{round}"), make_offer(world, offer()).await);
            let campaign = make_campaign(world, &[&offer], json!({"moment": "landing"})).await;
            let other = with(kind(), "/key", json!(key));
            world.post("/v1/moment-kinds", &by, other.clone()).await.expect(201);
            let drafted = json!({"name": "again", "offers": [offer], "trigger": {"moment": "landing"}});
            for (path, body, last) in [
                (format!("/v1/campaigns/{campaign}"), drafted, "/publish"),
                (format!("/v1/offers/{offer}"), self::offer(), ""),
                (format!("/v1/moment-kinds/{key}"), other, ""),
            ] {
                let under = async |method: &'static str, path: &str| {
                    world.call(method, path).by(&by).header("If-Match", "\"v1\"").json(&body).send().await.status
                };
                let published = format!("{path}{last}");
                let end = if last.is_empty() { "PUT" } else { "POST" };
                let (a, b, c, d) =
                    tokio::join!(under("PUT", &path), under("DELETE", &path), under("PUT", &path), under(end, &published));
                taken.push((path, [a, b, c, d]));
            }
        }
        let several: Vec<_> = taken.iter().filter(|(_, all)| all.iter().filter(|s| (200..300).contains(*s)).count() != 1).collect();
        assert!(several.is_empty(), "{several:?}");
    }

    async fn a_kind_is_not_deleted_under_a_campaign_that_is_being_made(world) {
        let by = world.app.server.clone();
        let (offer, _) = draft(world).await;
        let mut both = 0;
        for round in 0..12 {
            let key = format!("k{round}");
            world.post("/v1/moment-kinds", &by, with(kind(), "/key", json!(key))).await.expect(201);
            let (path, body) = (format!("/v1/moment-kinds/{key}"), json!({"name": "x", "offers": [offer], "trigger": {"moment": key}}));
            let (made, gone) = tokio::join!(world.post("/v1/campaigns", &by, body), world.delete(&path, &by));
            both += u32::from(made.status == 201 && gone.status == 204);
        }
        assert_eq!(both, 0, "campaigns without their kind");
    }

    async fn stock_is_never_taken_twice_by_many_at_once(world) {
        declare(world, &world.app.server).await;
        let offer: OfferId = make_offer(world, with(offer(), "/stock", json!(10))).await.parse().unwrap();
        let (app, store) = (world.app.id, world.kairos.platform.store.clone());
        let takers = (0..40).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.write(move |conn| reserve_stock(conn, app, &[(offer, 1)])).await })
        });
        let mut taken = 0;
        for taker in takers.collect::<Vec<_>>() {
            match taker.await.unwrap() {
                Ok(answer) => taken += usize::from(answer[0]),
                Err(Error::Busy(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert!(taken <= 10, "{taken} of 10 were taken");
        assert_eq!(world.number("select stock_reserved from offers").await, i64::try_from(taken).unwrap());
        let left = store.read(move |conn| stock_left(conn, app, &[offer])).await.unwrap();
        assert_eq!(left[&offer], 10 - i64::try_from(taken).unwrap());
        assert_eq!(taken, 10, "all of it was to be had");

        store.write(move |conn| release_stock(conn, app, &[(offer, 4)])).await.unwrap();
        let answers = store.write(move |conn| reserve_stock(conn, app, &[(offer, 3), (offer, 2), (offer, 1)])).await.unwrap();
        assert_eq!(answers, [true, false, true]);
        assert!(store.write(move |conn| release_stock(conn, app, &[(offer, 11)])).await.is_err(), "more than was taken");

        let path = format!("/v1/offers/{offer}");
        world.put(&path, &world.app.server, with(self::offer(), "/stock", json!(9))).await.refused_field(400, "validation_failed", "stock");
        world.put(&path, &world.app.server, with(self::offer(), "/stock", json!(10))).await.expect(200);
    }

    async fn an_offer_without_a_stock_counts_all_the_same(world) {
        declare(world, &world.app.server).await;
        let offer: OfferId = make_offer(world, offer()).await.parse().unwrap();
        let (app, store) = (world.app.id, world.kairos.platform.store.clone());
        assert_eq!(store.write(move |conn| reserve_stock(conn, app, &[(offer, 5)])).await.unwrap(), [true]);
        assert!(store.read(move |conn| stock_left(conn, app, &[offer])).await.unwrap().is_empty());
        let put = world.put(&format!("/v1/offers/{offer}"), &world.app.server, with(self::offer(), "/stock", json!(6))).await.expect(200);
        assert_eq!(put["stock_left"], 1);
        assert_eq!(store.write(move |conn| reserve_stock(conn, app, &[(offer, 2)])).await.unwrap(), [false]);
    }

    async fn a_campaign_at_an_instant_walks_everybody_once_with_a_durable_cursor(world) {
        let (offer, _) = draft(world).await;
        let by = &world.app.server;
        let mut users: Vec<UserId> = Vec::new();
        for zone in ["Europe/Paris", "Asia/Tokyo", "Europe/Paris", "America/New_York", "Asia/Tokyo"] {
            users.push(id(&world.post("/v1/users", by, json!({"time_zone": zone})).await.expect(201)).parse().unwrap());
        }
        users.sort();
        let campaign = make_campaign(world, &[&offer], json!({"schedule": {"when": {"at": world.time(3_600)}}})).await;
        world.post(&format!("/v1/campaigns/{campaign}/publish"), by, json!({})).await.expect(200);
        assert!(due(world).await.is_empty());
        world.clock.advance(Duration::from_secs(3_600));
        assert_eq!(walk(world, 2).await, BTreeMap::from([("*".to_owned(), users)]));
        assert!(due(world).await.is_empty(), "done is done");
        assert_eq!(world.number("select visited from campaign_runs where state = 'done'").await, 5);
    }

    async fn a_paused_campaign_does_not_walk_and_an_ended_one_never_again(world) {
        let (offer, _) = draft(world).await;
        let by = &world.app.server;
        world.post("/v1/users", by, json!({})).await.expect(201);
        let campaign = make_campaign(world, &[&offer], json!({"schedule": {"when": {"at": world.time(60)}}})).await;
        let step = |step: &str| format!("/v1/campaigns/{campaign}/{step}");
        world.post(&step("publish"), by, json!({})).await.expect(200);
        world.clock.advance(Duration::from_secs(60));
        world.post(&step("pause"), by, json!({})).await.expect(200);
        assert!(due(world).await.is_empty());
        world.post(&step("resume"), by, json!({})).await.expect(200);
        assert_eq!(due(world).await.len(), 1);
        world.post(&step("end"), by, json!({})).await.expect(200);
        assert!(due(world).await.is_empty());
        assert_eq!(world.number("select count(*) from campaign_runs where state = 'cancelled'").await, 1);
    }

    async fn a_time_that_is_over_cannot_be_published(world) {
        let (offer, _) = draft(world).await;
        for when in [json!({"at": world.time(-90_000)}), json!({"local": "2026-06-13T09:00"})] {
            let campaign = make_campaign(world, &[&offer], json!({"schedule": {"when": when}})).await;
            world.post(&format!("/v1/campaigns/{campaign}/publish"), &world.app.server, json!({})).await.refused(409, "in_the_past");
        }
    }

    async fn a_wall_clock_campaign_comes_to_each_zone_at_its_own_hour_also_to_zones_that_appear_later(world) {
        // The world begins on 2026-06-15 at 10:00 UTC.
        let (offer, _) = draft(world).await;
        let by = &world.app.server;
        let mut of = BTreeMap::new();
        for zone in ["Asia/Tokyo", "Europe/Paris", ""] {
            let body = if zone.is_empty() { json!({}) } else { json!({"time_zone": zone}) };
            let user: UserId = id(&world.post("/v1/users", by, body).await.expect(201)).parse().unwrap();
            of.insert(zone, user);
        }
        let campaign = make_campaign(world, &[&offer], json!({"schedule": {"when": {"local": "2026-06-16T09:00"}}})).await;
        world.post(&format!("/v1/campaigns/{campaign}/publish"), by, json!({})).await.expect(200);

        let mut seen = BTreeMap::new();
        let mut late = None;
        for quarter in 0..(4 * 40) {
            for (zone, users) in walk(world, 10).await {
                assert!(seen.insert(zone.clone(), (world.now_ms(), users)).is_none(), "{zone} was walked twice");
            }
            if quarter == 4 * 20 {
                let made = world.post("/v1/users", by, json!({"time_zone": "America/New_York"})).await.expect(201);
                late = Some(id(&made).parse::<UserId>().unwrap());
            }
            world.clock.advance(Duration::from_secs(900));
        }
        let utc = |text: &str| kairos::clock::Time::parse(text).unwrap().0;
        assert_eq!(seen["Asia/Tokyo"], (utc("2026-06-16T00:00:00Z"), vec![of["Asia/Tokyo"]]));
        assert_eq!(seen["Europe/Paris"], (utc("2026-06-16T07:00:00Z"), vec![of["Europe/Paris"]]));
        assert_eq!(seen[""].1, vec![of[""]]);
        assert_eq!(seen["America/New_York"], (utc("2026-06-16T13:00:00Z"), vec![late.unwrap()]));
        assert_eq!(seen.len(), 4);
        assert_eq!(world.number("select count(*) from campaign_runs where state <> 'done'").await, 0, "the scout rests too");
    }
}

async fn due(world: &World) -> Vec<Run> {
    let now_ms = world.now_ms();
    world.kairos.platform.store.write(move |conn| runs_due(conn, now_ms, 100)).await.unwrap()
}

/// Walks every run that is due to its end, in steps: who was visited, by zone.
async fn walk(world: &World, step: i64) -> BTreeMap<String, Vec<UserId>> {
    let mut visited: BTreeMap<String, Vec<UserId>> = BTreeMap::new();
    for _ in 0..100 {
        let due = due(world).await;
        if due.is_empty() {
            return visited;
        }
        for run in due {
            let stepped = world.kairos.platform.store.write(move |conn| {
                let users = run.next(conn, step)?;
                run_advance(conn, &run, &users)?;
                Ok((run.zone, users))
            });
            let (zone, users) = stepped.await.unwrap();
            visited.entry(zone).or_default().extend(users);
        }
    }
    panic!("the walk never ends");
}

#[test]
fn a_wall_clock_time_in_the_skipped_and_the_repeated_hour_has_one_instant() {
    let due = |text: &str| {
        kairos::clock::Time(kairos::campaign::LocalTime::parse(text).unwrap().due_ms("Europe/Paris").unwrap()).to_string()
    };
    assert_eq!(due("2026-03-29T02:30"), "2026-03-29T01:30:00.000Z");
    assert_eq!(due("2026-10-25T02:30"), "2026-10-25T00:30:00.000Z");
    assert_eq!(due("2026-06-15T09:00:30"), "2026-06-15T07:00:30.000Z");
}

proptest! {
    #[test]
    fn no_text_makes_a_local_time_panic(text in "\\PC{0,25}") {
        let _ = kairos::campaign::LocalTime::parse(&text);
    }

    #[test]
    fn a_local_time_is_written_as_it_is_read(m in 1..=12_u32, d in 1..=28_u32, h in 0..24_u32, min in 0..60_u32) {
        let text = format!("2026-{m:02}-{d:02}T{h:02}:{min:02}:00");
        prop_assert_eq!(kairos::campaign::LocalTime::parse(&text).unwrap().to_string(), text);
    }
}
