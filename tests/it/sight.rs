//! What rules and templates see of a person: an attribute under a purpose only while that purpose is granted, in live,
//! scheduled and held decisions alike; what is stored is what was seen.

use crate::stage::{Good as _, Listener, Stage, grant, minutes};
use crate::world::{Db, World};
use kairos::moment::Input;
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};

const GOLD: &str = "user.attributes.tier == 'gold'";

/// An app whose attribute `tier` may be read under the purpose `profiling` alone; `city` may be read by all.
async fn stage(world: &mut World) -> Stage {
    let stage = Stage::set(world).await;
    let by = &stage.app.server;
    let purpose = json!({"key": "profiling", "name": "Profile", "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
    world.post("/v1/purposes", by, purpose).await.good();
    let tier = json!({"scope": "user", "key": "tier", "kind": "string", "purpose": "profiling"});
    world.post("/v1/attributes", by, tier).await.good();
    world.post("/v1/attributes", by, json!({"scope": "user", "key": "city", "kind": "string"})).await.good();
    stage
}

/// Somebody with a phone and a golden card.
async fn golden(world: &World, stage: &Stage) -> Listener {
    let who = stage.listener(world).await;
    let body = json!({"attributes": {"tier": "gold", "city": "Lyon"}});
    world.patch("/v1/me", &who.person.token, body).await.good();
    who
}

async fn withdraw(world: &World, who: &Listener, purpose: &str) {
    world.post("/v1/me/consents", &who.person.token, json!({"purpose": purpose, "granted": false})).await.good();
}

async fn grant_to(world: &World, who: &Listener, (purpose, partner): (&str, &str)) {
    let consent = json!({"purpose": purpose, "partner": partner, "granted": true, "text_version": "1", "evidence": {"s": 1}});
    world.post("/v1/me/consents", &who.person.token, consent).await.good();
}

/// Somebody lands, and what comes of it is told.
async fn landed(world: &World, stage: &Stage, who: &Listener, airport: &str) -> Value {
    stage.lands_at(world, who, airport, 0).await;
    world.drain().await;
    stage.decisions(world, who).await.pop().unwrap()
}

/// The stored input of the last decision, or of the last second look.
async fn stored(world: &World, column: &str, table: &str) -> Input {
    let hex = match world.database.db() {
        Db::Sqlite => format!("hex({column})"),
        Db::Postgres => format!("encode({column}, 'hex')"),
    };
    let sql = format!("select {hex} as line from {table} where {column} is not null order by id desc limit 1");
    let line = world.lines(&sql).await.remove(0);
    let bytes: Vec<u8> = (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect();
    Input::unpack(&bytes).unwrap()
}

both! {
    async fn a_rule_sees_an_attribute_only_while_its_purpose_is_granted(world) {
        let stage = stage(world).await;
        stage.one_offer(world, json!({"audience": GOLD}), json!({})).await;
        let who = golden(world, &stage).await;
        let unseen = landed(world, &stage, &who, "Orly").await;
        assert_eq!((&unseen["outcome"], &unseen["reason"]), (&json!("silent"), &json!("missing_property")));
        let input = stored(world, "input", "decisions").await;
        assert_eq!(input.facts.user["attributes"], json!({"city": "Lyon"}), "what nobody saw is not kept");
        stage.adds_up(world).await;

        grant(world, &who.person, "profiling").await;
        assert_eq!(landed(world, &stage, &who, "Roissy").await["outcome"], "chosen");
        let input = stored(world, "input", "decisions").await;
        assert_eq!(input.facts.user["attributes"], json!({"city": "Lyon", "tier": "gold"}));
        let message = stage.messages(world, &who).await.remove(0);
        assert_eq!(message["consent_ids"].as_array().unwrap().len(), 2, "the offer's and the attribute's: {message}");

        withdraw(world, &who, "profiling").await;
        assert_eq!(landed(world, &stage, &who, "Nice").await["reason"], "missing_property");
        let input = stored(world, "input", "decisions").await;
        assert_eq!(input.facts.user["attributes"], json!({"city": "Lyon"}));
        assert_eq!(stage.arrived(&who).len(), 1);
        stage.adds_up(world).await;
    }

    async fn for_a_partners_offer_the_grant_must_name_the_partner(world) {
        let stage = stage(world).await;
        let partner = world.post("/v1/partners", &stage.app.server, json!({"name": "Taxi"})).await.good();
        let partner = partner["id"].as_str().unwrap().to_owned();
        let own = stage.offer(world, json!({"audience": GOLD})).await;
        let theirs = stage.offer(world, json!({"audience": GOLD, "partner_id": partner, "base_value": 20.0})).await;
        stage.campaign(world, &[&own], json!({})).await;
        stage.campaign(world, &[&theirs], json!({})).await;
        let who = golden(world, &stage).await;
        grant_to(world, &who, ("marketing", &partner)).await;
        let reasons = |decision: &Value| {
            let candidates = decision["candidates"].as_array().unwrap();
            let of = |offer: &str| candidates.iter().find(|c| c["offer_id"] == offer).unwrap();
            let last = |offer: &str| of(offer)["gates"].as_array().unwrap().last().unwrap()["reason"].as_str().map(str::to_owned);
            (last(&own), last(&theirs))
        };
        let missing = || Some("missing_property".to_owned());

        grant(world, &who.person, "profiling").await;
        let decision = landed(world, &stage, &who, "Orly").await;
        assert_eq!((reasons(&decision), &decision["choices"][0]["offer_id"]), ((None, missing()), &json!(own)));
        let hidden: Vec<usize> = stored(world, "input", "decisions").await.candidates.iter().map(|c| c.hidden.len()).collect();
        assert_eq!(hidden.iter().sum::<usize>(), 1, "hidden from one of two: {hidden:?}");

        withdraw(world, &who, "profiling").await;
        grant_to(world, &who, ("profiling", &partner)).await;
        let decision = landed(world, &stage, &who, "Roissy").await;
        assert_eq!((reasons(&decision), &decision["choices"][0]["offer_id"]), ((missing(), None), &json!(theirs)));
        withdraw(world, &who, "profiling").await;
        assert_eq!(reasons(&landed(world, &stage, &who, "Nice").await), (missing(), missing()));
        stage.adds_up(world).await;
    }

    async fn a_template_falls_back_where_it_may_not_see(world) {
        let stage = stage(world).await;
        let body = "Dear {{ user.attributes.tier | default('guest') }} from {{ user.attributes.city }}";
        let template = json!({"fallback": "en", "variants": {"en": {"title": "Hello", "body": body}}});
        stage.one_offer(world, json!({"template": template}), json!({})).await;
        let who = golden(world, &stage).await;
        landed(world, &stage, &who, "Orly").await;
        grant(world, &who.person, "profiling").await;
        landed(world, &stage, &who, "Roissy").await;
        let mine = world.get("/v1/me/messages", &who.person.token).await.good();
        let bodies: Vec<&str> = mine["items"].as_array().unwrap().iter().map(|m| m["body"].as_str().unwrap()).collect();
        assert_eq!(bodies, ["Dear gold from Lyon", "Dear guest from Lyon"]);
        stage.adds_up(world).await;
    }

    async fn a_trigger_does_not_see_it_either(world) {
        let stage = stage(world).await;
        stage.kind(world, json!({"trigger": {"event_type": "landed", "rule": GOLD}})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = golden(world, &stage).await;
        let event = stage.lands_at(world, &who, "Orly", 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &event).await["disposition"], "no_trigger");
        assert_eq!(world.number("select count(*) from decisions").await, 0);
        grant(world, &who.person, "profiling").await;
        let event = stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &event).await["disposition"], "decided");
        assert_eq!(stage.messages(world, &who).await[0]["consent_ids"].as_array().unwrap().len(), 2);
        stage.adds_up(world).await;
    }

    async fn a_scheduled_campaign_sees_what_each_user_allows(world) {
        let stage = stage(world).await;
        let (shut, open) = (golden(world, &stage).await, golden(world, &stage).await);
        grant(world, &open.person, "profiling").await;
        let template = json!({"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Now"}}});
        let offer = json!({"audience": "user.attributes['tier'] == 'gold'", "template": template});
        let schedule = json!({"trigger": {"schedule": {"when": {"at": world.time(60)}}}});
        stage.one_offer(world, offer, schedule).await;
        world.advance(minutes(1)).await;
        assert_eq!(stage.silence(world, &shut).await, "missing_property");
        assert_eq!(stage.decision(world, &open).await["outcome"], "chosen");
        assert_eq!(stage.arrived(&open).len(), 1);
        stage.adds_up(world).await;
    }

    async fn what_is_held_is_not_seen_at_its_release_once_the_purpose_is_withdrawn(world) {
        let stage = stage(world).await;
        stage.one_offer(world, json!({"audience": GOLD}), json!({})).await;
        let (still, gone) = (golden(world, &stage).await, golden(world, &stage).await);
        for who in [&still, &gone] {
            grant(world, &who.person, "profiling").await;
            let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
            world.patch("/v1/me/preferences", &who.person.token, quiet).await.good();
            stage.lands(world, who, 0).await;
        }
        world.drain().await;
        assert_eq!(stage.decision(world, &gone).await["outcome"], "held");
        withdraw(world, &gone, "profiling").await;
        world.advance(minutes(20)).await;
        let refused = stage.decision(world, &gone).await;
        assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("release_refused"), &json!("missing_property")));
        assert!(stage.arrived(&gone).is_empty());
        assert_eq!(stage.arrived(&still).len(), 1);
        let second = stored(world, "release_input", "choices").await;
        assert_eq!(second.facts.user["attributes"], json!({"city": "Lyon"}), "the last choice is that of the one who withdrew");
        stage.adds_up(world).await;
    }

    async fn what_waits_for_a_gateway_ends_with_the_purpose_of_what_it_has_read(world) {
        let stage = stage(world).await;
        let text = |body: &str| json!({"fallback": "en", "variants": {"en": {"title": "Hello", "body": body}}});
        let reading = "Dear {% if user.attributes['tier'] %}{{ user.attributes['tier'] }}{% else %}guest{% endif %}";
        let reads = stage.offer(world, json!({"template": text(reading), "audience": "event.properties.airport == 'Orly'"})).await;
        let blind = stage.offer(world, json!({"template": text("Dear guest"), "audience": "event.properties.airport == 'Nice'"})).await;
        stage.campaign(world, &[&reads], json!({})).await;
        stage.campaign(world, &[&blind], json!({})).await;
        let who = golden(world, &stage).await;
        grant(world, &who.person, "profiling").await;
        let fault = Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(600), timestamp_ms: None };
        stage.standin.inject(Rule { gateway: None, token: None, times: Some(2), fault });
        landed(world, &stage, &who, "Orly").await;
        landed(world, &stage, &who, "Nice").await;
        let states = async |world: &World| {
            let all = stage.messages(world, &who).await;
            all.iter().map(|m| (m["offer_id"].clone(), m["state"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(states(world).await, [(json!(reads), json!("retry_at")), (json!(blind), json!("retry_at"))]);
        withdraw(world, &who, "profiling").await;
        world.advance(minutes(10)).await;
        assert_eq!(states(world).await, [(json!(reads), json!("revoked")), (json!(blind), json!("accepted"))]);
        assert_eq!(stage.arrived(&who).len(), 1);
        stage.adds_up(world).await;
    }
}
