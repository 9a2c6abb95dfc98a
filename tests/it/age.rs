//! The age gate: who may consent for themselves, from when on, and what is kept of their age.

use crate::consent::{signed_in, state_of};
use crate::world::{Caller, World, story};
use jiff::civil::date;
use jiff::tz::TimeZone;
use kairos::clock::Time;
use kairos::people::consent::of_age_ms;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn one_comes_of_age_at_the_beginning_of_the_birthday_where_one_lives() {
    let paris = TimeZone::get("Europe/Paris").unwrap();
    let now = Time::parse("2026-06-15T10:00:00.000Z").unwrap().0;
    let at = |birth, years| of_age_ms(birth, years, &paris, now).map(|ms| Time(ms).to_string());
    assert_eq!(at(date(2010, 6, 16), 16).as_deref(), Some("2026-06-15T22:00:00.000Z"));
    assert_eq!(at(date(2012, 2, 29), 16).as_deref(), Some("2028-02-28T23:00:00.000Z"), "2028 has the day");
    assert_eq!(at(date(2012, 2, 29), 18).as_deref(), Some("2030-02-28T23:00:00.000Z"), "2030 has not: on 1 March");
    assert_eq!(at(date(2026, 6, 16), 16), None, "nobody is born tomorrow");
    assert_eq!(at(date(1895, 1, 1), 16), None);
    assert_eq!(at(date(2026, 6, 15), 16).as_deref(), Some("2042-06-14T22:00:00.000Z"));
}

async fn gate(world: &World, gate: Value) {
    world
        .patch("/v1/app", &world.app.server, json!({"settings": {"time_zone": "Europe/Paris", "age_gate": gate}}))
        .await
        .expect(200);
}

fn yes() -> Value {
    json!({"purpose": "offers", "granted": true, "text_version": "v1", "evidence": {"screen": "welcome"}})
}

async fn standing(world: &World, me: &Caller) -> Value {
    let state = state_of(&world.get("/v1/me/consents", me).await.expect(200), "offers").clone();
    if state["standing"] == "refused" { state["reason"].clone() } else { state["standing"].clone() }
}

both! {
    async fn whoever_is_below_the_gate_or_says_nothing_cannot_consent_but_can_withdraw(world) {
        story::declare(world, &world.app).await;
        gate(world, json!({"minimum_years": 16})).await;
        let (_, me) = signed_in(world, &world.app).await;
        let asked = world.get("/v1/me/age", &me).await.expect(200);
        assert_eq!(asked, json!({"asked": true, "minimum_years": 16}));
        world.post("/v1/me/consents", &me, yes()).await.refused(403, "age_gate");
        let said = world.post("/v1/me/age", &me, json!({"birth_date": "2010-06-16"})).await.expect(200);
        assert_eq!((&said["of_age"], &said["of_age_at"]), (&json!(false), &json!("2026-06-15T22:00:00.000Z")));
        world.post("/v1/me/consents", &me, yes()).await.refused(403, "age_gate");
        world.post("/v1/me/consents", &me, json!({"purpose": "offers", "granted": false})).await.expect(201);
        assert_eq!(world.number("select count(*) from consents where granted").await, 0);

        // Paris begins the birthday in twelve hours.
        world.clock.advance(Duration::from_secs(12 * 3_600) - Duration::from_millis(1));
        let (_, other) = signed_in(world, &world.app).await;
        world.post("/v1/me/age", &other, json!({"birth_date": "2010-06-16"})).await.expect(200);
        world.post("/v1/me/consents", &other, yes()).await.refused(403, "age_gate");
        world.clock.advance(Duration::from_millis(1));
        world.post("/v1/me/consents", &other, yes()).await.expect(201);
        assert_eq!(standing(world, &other).await, "granted");
    }

    async fn no_birth_date_is_kept_and_of_adults_only_that_they_are(world) {
        story::declare(world, &world.app).await;
        gate(world, json!({"minimum_years": 18})).await;
        let (_, me) = signed_in(world, &world.app).await;
        let said = world.post("/v1/me/age", &me, json!({"birth_date": "1987-03-04"})).await.expect(200);
        assert_eq!(said, json!({"asked": true, "minimum_years": 18, "of_age": true}));
        let kept = world.lines("select of_age_ms || ' ' || stated_ms as line from ages").await;
        let now = world.now_ms();
        assert_eq!(kept, [format!("{now} {now}")]);
        world.post("/v1/me/consents", &me, yes()).await.expect(201);
        // Said again it is the same; said otherwise it is for the server to mend.
        world.post("/v1/me/age", &me, json!({"birth_date": "1970-01-01"})).await.expect(200);
        world.post("/v1/me/age", &me, json!({"birth_date": "2015-01-01"})).await.refused(409, "age_stated");
        for date in ["", "2015-13-01", "2015-02-30", "2099-01-01", "01.02.2015", "1800-01-01"] {
            world.post("/v1/me/age", &me, json!({"birth_date": date})).await.refused_field(400, "validation_failed", "birth_date");
        }
        world.post("/v1/me/age", &me, json!({"birth_date": "1987-03-04", "jurisdiction": "x"})).await.refused_field(400, "validation_failed", "jurisdiction");
    }

    async fn a_minor_does_not_grow_by_saying_so_and_the_server_can_mend_it(world) {
        story::declare(world, &world.app).await;
        gate(world, json!({"minimum_years": 16})).await;
        let (user, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/age", &me, json!({"birth_date": "2015-01-01"})).await.expect(200);
        world.post("/v1/me/age", &me, json!({"birth_date": "2015-01-01"})).await.expect(200);
        for body in [json!({"birth_date": "1990-01-01"}), json!({"birth_date": "1990-01-01", "jurisdiction": "FR"})] {
            world.post("/v1/me/age", &me, body).await.refused(409, "age_stated");
        }
        world.post("/v1/me/consents", &me, yes()).await.refused(403, "age_gate");
        let path = format!("/v1/users/{user}/age");
        let mended = world.post(&path, &world.app.server, json!({"birth_date": "1990-01-01"})).await.expect(200);
        assert_eq!(mended["of_age"], true);
        assert_eq!(world.get(&path, &world.app.server).await.expect(200), mended);
        world.post("/v1/me/consents", &me, yes()).await.expect(201);
        world.post(&path, &world.app.server, json!({"birth_date": "2015-01-01"})).await.expect(200);
        assert_eq!(standing(world, &me).await, "age_gate", "it counts no more");
    }

    async fn a_guardian_consents_through_the_apps_server(world) {
        story::declare(world, &world.app).await;
        gate(world, json!({"minimum_years": 16})).await;
        let (user, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/age", &me, json!({"birth_date": "2015-01-01"})).await.expect(200);
        let mut body = yes();
        body["guardian"] = true.into();
        world.post("/v1/me/consents", &me, body.clone()).await.refused_field(400, "validation_failed", "guardian");
        let path = format!("/v1/users/{user}/consents");
        world.post(&path, &world.app.server, yes()).await.refused(403, "age_gate");
        body["evidence"] = json!({"guardian": "mother", "method": "card check"});
        let made = world.post(&path, &world.app.server, body).await.expect(201);
        assert_eq!(made["guardian"], true);
        assert_eq!(standing(world, &me).await, "granted");
        let id = made["id"].as_str().unwrap();
        let receipt = world.get(&format!("{path}/{id}/receipt"), &world.app.server).await.expect(200);
        assert_eq!(receipt["receipt"]["events"][0]["entity_id"], "guardian");
        // The child takes it back alone.
        world.post("/v1/me/consents", &me, json!({"purpose": "offers", "granted": false})).await.expect(201);
        assert_eq!(standing(world, &me).await, "withdrawn");
    }

    async fn a_gate_that_comes_later_ends_what_the_undeclared_granted_before_queued_messages_too(world) {
        story::declare(world, &world.app).await;
        story::credentials(world, &world.app, &world.standin).await;
        story::campaign(world, &world.app, &story::offer("Coffee")).await;
        let ada = story::person(world, &world.app, "ada").await;
        let send = async |id: &str| {
            let event = story::event(id, &ada, &world.time(0));
            world.post("/v1/events", &world.app.server, json!({"events": [event]})).await.expect(202);
            world.drain().await;
        };
        send("a").await;
        let arrived = world.standin.arrivals();
        assert_eq!(arrived, 2, "both phones");
        // What waits for the gateway when the gate comes is looked at again.
        world.standin.inject(kairos::push::standin::Rule::always(kairos::push::standin::Fault::Answer {
            status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(30), timestamp_ms: None,
        }));
        send("b").await;
        assert_eq!(world.number("select count(*) from messages where state = 'retry_at'").await, 2);
        gate(world, json!({"minimum_years": 13, "per_jurisdiction": {"DE": 16}})).await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'revoked' and reason = 'consent'").await, 2);
        send("c").await;
        assert_eq!(world.number("select count(*) from decisions where outcome = 'silent' and reason = 'age_gate'").await, 1);

        world.standin.heal();
        let path = format!("/v1/users/{}/age", ada.id);
        world.post(&path, &world.app.server, json!({"birth_date": "2012-01-01", "jurisdiction": "DE"})).await.expect(200);
        send("d").await;
        assert_eq!(world.number("select count(*) from decisions where outcome = 'silent' and reason = 'age_gate'").await, 2, "14 is too young there");
        world.post(&path, &world.app.server, json!({"birth_date": "2012-01-01", "jurisdiction": "FR"})).await.expect(200);
        let before = world.standin.arrivals();
        send("e").await;
        assert_eq!(world.standin.arrivals(), before + 2, "and old enough here");
        // A higher gate asks anew whoever passed a lower one.
        gate(world, json!({"minimum_years": 16})).await;
        assert_eq!(world.get(&path, &world.app.server).await.expect(200)["of_age"], Value::Null);
        gate(world, Value::Null).await;
        assert_eq!(world.get(&path, &world.app.server).await.expect(200), json!({"asked": false}));
    }

    async fn an_app_without_a_gate_keeps_nothing_of_anybodys_age(world) {
        story::declare(world, &world.app).await;
        let (_, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/age", &me, json!({"birth_date": "1990-01-01"})).await.refused(409, "no_age_gate");
        assert_eq!(world.number("select count(*) from ages").await, 0);
        world.post("/v1/me/consents", &me, yes()).await.expect(201);
        for gate in [json!({"minimum_years": 0}), json!({"minimum_years": 26}), json!({"minimum_years": 16, "per_jurisdiction": {"DE": 0}})] {
            let body = json!({"settings": {"age_gate": gate}});
            world.patch("/v1/app", &world.app.server, body).await.refused_field(400, "validation_failed", "settings.age_gate");
        }
        let body = json!({"settings": {"age_gate": {"minimum_years": 16, "per_jurisdiction": {"de": 16}}}});
        world.patch("/v1/app", &world.app.server, body).await.refused_field(400, "validation_failed", "settings.age_gate.per_jurisdiction");
    }

    async fn a_contract_needs_nobodys_age(world) {
        gate(world, json!({"minimum_years": 16})).await;
        let body = json!({"key": "care", "name": "Service", "basis": "contract", "version": "1", "texts": {"en": "Your flight."}});
        world.post("/v1/purposes", &world.app.server, body).await.expect(201);
        let (_, me) = signed_in(world, &world.app).await;
        let state = world.get("/v1/me/consents", &me).await.expect(200);
        assert_eq!(state_of(&state, "care")["standing"], "not_needed");
        let grant = json!({"purpose": "care", "granted": true, "text_version": "1", "evidence": {"screen": "welcome"}});
        world.post("/v1/me/consents", &me, grant).await.expect(201);
    }
}
