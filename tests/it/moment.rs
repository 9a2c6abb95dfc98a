//! Every ending of the story, told over HTTP, judged by the gateways' own ledger.

use crate::stage::{Good, Listener, Stage, grant, minutes, phone};
use crate::world::World;
use serde_json::{Value, json};

async fn patch_preferences(world: &World, who: &Listener, change: Value) {
    let answer =
        world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&change).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn settings(world: &World, stage: &Stage, change: Value) {
    let read = world.get("/v1/app", &stage.app.server).await;
    let etag = read.header("ETag").unwrap_or("*").to_owned();
    let body = json!({ "settings": change });
    let answer = world.call("PATCH", "/v1/app").by(&stage.app.server).header("If-Match", &etag).json(&body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

both! {
    async fn an_event_becomes_one_push_on_the_phone(world) {
        let stage = Stage::set(world).await;
        let (offer, campaign) = stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        let event = stage.lands(world, &who, 0).await;
        world.drain().await;

        let said = stage.event(world, &event).await;
        assert_eq!(said["disposition"], "decided");
        let decision = stage.decision(world, &who).await;
        assert_eq!(said["decision_ids"], json!([decision["id"]]));
        assert_eq!(decision["outcome"], "chosen");
        assert_eq!(decision["event_id"], event.as_str());
        assert_eq!(decision["moment"]["kind"], "landing");
        assert_eq!(decision["moment"]["closes_at"], world.time(1_800).as_str());
        assert_eq!(decision["predicted_latency_ms"], 2_000);
        assert_eq!(decision["candidates"][0]["score"], 10.0);
        assert_eq!(decision["candidates"][0]["gates"].as_array().unwrap().len(), 9);
        assert_eq!(decision["choices"][0]["offer_id"], offer.as_str());
        let message = stage.messages(world, &who).await.remove(0);
        assert_eq!(decision["choices"][0]["message_ids"], json!([message["id"]]));
        assert_eq!(message["state"], "accepted", "{message:#}");
        assert_eq!(message["consent_ids"].as_array().unwrap().len(), 1);

        let arrived = stage.arrived(&who);
        assert_eq!(arrived.len(), 1);
        let stamp = arrived[0].kairos.clone().unwrap();
        assert_eq!(stamp.message_id, message["id"].as_str().unwrap());
        assert_eq!(stamp.campaign_id, campaign);
        assert_eq!(stamp.decision_id, decision["id"].as_str().unwrap());
        assert!(arrived[0].keep_until_ms.unwrap() <= stamp.deadline_ms);

        let id = message["id"].as_str().unwrap();
        let path = format!("/v1/messages/{id}/receipts");
        world.post(&path, &who.person.token, json!({"kind": "opened"})).await.good();
        let twice = world.post(&path, &who.person.token, json!({"kind": "opened"})).await.good();
        assert_eq!(twice["receipts"].as_array().unwrap().len(), 1);
        let mine = world.get("/v1/me/messages", &who.person.token).await.good();
        assert_eq!(mine["items"][0]["body"], "You are at Orly");
        let why = world.get(&format!("/v1/me/messages/{id}/why"), &who.person.token).await.good();
        assert_eq!(why["decision_id"], decision["id"]);
        assert_eq!(why["because"].as_array().unwrap().len(), 3);
        let other = stage.listener(world).await;
        world.get(&format!("/v1/me/messages/{id}"), &other.person.token).await.refused(404, "not_found");
        world.post(&path, &other.person.token, json!({"kind": "opened"})).await.refused(404, "not_found");
        stage.adds_up(world).await;
    }

    async fn every_phone_of_a_person_gets_it_once(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        let second = phone(world, &who.person, "tablet").await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        world.drain().await;
        assert_eq!(stage.arrived(&who).len(), 1);
        assert_eq!(stage.standin.ledger().iter().filter(|r| r.token == second && r.delivered).count(), 1);
        assert_eq!(stage.messages(world, &who).await.len(), 2);
        stage.adds_up(world).await;
    }

    async fn nobody_speaks_without_a_campaign_and_no_event_without_a_kind(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        let other = json!({"id": "x", "type": "waved", "occurred_at": world.time(0), "subject": who.person.id});
        let taken = world.post("/v1/events", &stage.app.server, json!({"events": [other]})).await.expect(202);
        world.drain().await;
        assert_eq!(stage.silence(world, &who).await, "no_candidate");
        let event = stage.event(world, taken["results"][0]["event_id"].as_str().unwrap()).await;
        assert_eq!(event["disposition"], "no_trigger");
        stage.adds_up(world).await;
    }

    async fn a_late_event_finds_its_window_closed(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (late, just) = (stage.listener(world).await, stage.listener(world).await);
        stage.lands(world, &late, 1_798).await;
        stage.lands(world, &just, 1_797).await;
        world.drain().await;
        assert_eq!(stage.silence(world, &late).await, "closed", "it would arrive exactly at the close");
        assert_eq!(stage.decision(world, &just).await["outcome"], "chosen");
        stage.adds_up(world).await;
    }

    async fn the_same_event_twice_is_one_decision(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        let event = json!({"id": "same", "type": "landed", "occurred_at": world.time(0), "subject": who.person.id,
            "properties": {"airport": "Orly"}});
        for status in ["accepted", "duplicate", "duplicate"] {
            let taken = world.post("/v1/events", &stage.app.server, json!({"events": [event]})).await.expect(202);
            assert_eq!(taken["results"][0]["status"], status);
            world.drain().await;
        }
        stage.decision(world, &who).await;
        assert_eq!(stage.arrived(&who).len(), 1);
    }

    async fn a_further_event_joins_the_open_moment_and_then_its_kind_cools_down(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"cool_down_ms": 600_000})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        let joined = stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &joined).await["disposition"], "joined", "within one batch");
        world.advance(minutes(29)).await;
        let joined = stage.lands(world, &who, 0).await;
        let elsewhere = stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &joined).await["disposition"], "joined");
        assert_eq!(stage.event(world, &elsewhere).await["disposition"], "decided", "another key is another moment");
        world.advance(minutes(1)).await;
        let cooling = stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &cooling).await["disposition"], "cool_down", "closed exactly now");
        world.advance(minutes(10)).await;
        let again = stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(stage.event(world, &again).await["disposition"], "decided", "the cool-down is over exactly now");
        assert_eq!(stage.arrived(&who).len(), 3);
        stage.adds_up(world).await;
    }

    async fn each_gate_refuses_with_its_reason(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({"audience": "event.properties.airport == 'Orly'"}), json!({})).await;
        let wrong_place = stage.listener(world).await;
        stage.lands_at(world, &wrong_place, "Roissy", 0).await;
        let nobody = Listener { person: world.person(&stage.app).await, token: String::new() };
        grant(world, &nobody.person, "marketing").await;
        stage.lands(world, &nobody, 0).await;
        let silent = Listener { person: world.person(&stage.app).await, token: String::new() };
        phone(world, &silent.person, "phone").await;
        stage.lands(world, &silent, 0).await;
        let withdrawn = stage.listener(world).await;
        world.post("/v1/me/consents", &withdrawn.person.token, json!({"purpose": "marketing", "granted": false})).await;
        stage.lands(world, &withdrawn, 0).await;
        let off = stage.listener(world).await;
        patch_preferences(world, &off, json!({"topics": {"offers": false}})).await;
        stage.lands(world, &off, 0).await;
        let muted = stage.listener(world).await;
        patch_preferences(world, &muted, json!({"channels": {"push": false}})).await;
        stage.lands(world, &muted, 0).await;
        let paused = stage.listener(world).await;
        patch_preferences(world, &paused, json!({"pause_until": world.time(1)})).await;
        stage.lands(world, &paused, 0).await;
        let asleep = stage.listener(world).await;
        patch_preferences(world, &asleep, json!({"quiet_hours": {"from": "11:00", "to": "13:00", "zone": "Europe/Paris"}})).await;
        stage.lands(world, &asleep, 0).await;
        world.drain().await;
        for (who, reason) in [
            (wrong_place, "not_in_audience"),
            (silent, "not_granted"),
            (withdrawn, "withdrawn"),
            (off, "topic_off"),
            (muted, "channel_off"),
            (paused, "paused"),
            (nobody, "no_device"),
            (asleep, "quiet_until_too_late"),
        ] {
            assert_eq!(stage.silence(world, &who).await, reason);
        }
        assert!(stage.standin.ledger().is_empty());
        stage.adds_up(world).await;
    }

    async fn a_cap_refuses_the_second_and_a_critical_offer_passes(world) {
        let stage = Stage::set(world).await;
        settings(world, &stage, json!({"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        // Two airports in one batch: the later decision sees the earlier one.
        stage.lands_at(world, &who, "Orly", 0).await;
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        let reasons: Vec<Value> = stage.decisions(world, &who).await.iter().map(|d| d["reason"].clone()).collect();
        assert_eq!(reasons, [Value::Null, json!("overall_cap")]);
        let critical = json!({"class": "critical", "topic": "alerts", "purpose": "service", "base_value": 1.0});
        stage.one_offer(world, critical, json!({})).await;
        stage.lands_at(world, &who, "Lyon", 0).await;
        world.drain().await;
        assert_eq!(stage.decisions(world, &who).await[2]["outcome"], "chosen");
        assert_eq!(stage.arrived(&who).len(), 2);
        // Exactly one window later the first no longer counts.
        world.advance(minutes(60)).await;
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        assert_eq!(stage.decisions(world, &who).await[3]["outcome"], "chosen");
        stage.adds_up(world).await;
    }

    async fn caps_and_the_gap_hold_when_the_clock_steps_back(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let capped = json!({"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}});
        for (change, reason) in [(capped, "overall_cap"), (json!({"caps": {"overall": []}, "min_gap_ms": 3_600_000}), "min_gap")] {
            settings(world, &stage, change).await;
            let who = stage.listener(world).await;
            stage.lands_at(world, &who, "Orly", 0).await;
            world.drain().await;
            assert_eq!(stage.arrived(&who).len(), 1);
            world.clock.set(world.now_ms() - 7_200_000);
            stage.lands_at(world, &who, "Roissy", 0).await;
            world.drain().await;
            let reasons: Vec<Value> = stage.decisions(world, &who).await.iter().map(|d| d["reason"].clone()).collect();
            assert_eq!(reasons, [Value::Null, json!(reason)]);
            assert_eq!(stage.arrived(&who).len(), 1);
        }
        stage.adds_up(world).await;
    }

    async fn what_is_held_for_the_night_goes_out_in_the_morning(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        patch_preferences(world, &who, json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}})).await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let held = stage.decision(world, &who).await;
        assert_eq!(held["outcome"], "held");
        assert_eq!(held["choices"][0]["state"], "held");
        assert_eq!(held["choices"][0]["send_at"], world.time(1_200).as_str());
        assert!(stage.messages(world, &who).await.is_empty());
        stage.adds_up(world).await;
        world.advance(minutes(19)).await;
        assert!(stage.arrived(&who).is_empty());
        world.advance(minutes(1)).await;
        assert_eq!(stage.decision(world, &who).await["outcome"], "chosen");
        assert_eq!(stage.arrived(&who).len(), 1);
        stage.adds_up(world).await;
    }

    async fn what_may_no_longer_be_said_is_refused_at_its_release(world) {
        let stage = Stage::set(world).await;
        let (offer, campaign) = stage.one_offer(world, json!({"stock": 5}), json!({})).await;
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
        let (gone, longer, other) = (stage.listener(world).await, stage.listener(world).await, stage.listener(world).await);
        for who in [&gone, &longer, &other] {
            patch_preferences(world, who, quiet.clone()).await;
            stage.lands(world, who, 0).await;
        }
        world.drain().await;
        let path = format!("select stock_reserved from offers where id = '{offer}'");
        assert_eq!(world.number(&path).await, 3);
        world.post("/v1/me/consents", &gone.person.token, json!({"purpose": "marketing", "granted": false})).await;
        patch_preferences(world, &longer, json!({"quiet_hours": {"from": "12:00", "to": "12:25", "zone": "Europe/Paris"}})).await;
        world.advance(minutes(20)).await;
        let refused = stage.decision(world, &gone).await;
        assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("release_refused"), &json!("withdrawn")));
        assert_eq!(refused["choices"][0]["state"], "release_refused");
        assert_eq!(stage.decision(world, &longer).await["outcome"], "held", "quiet for longer: held again");
        assert_eq!(stage.decision(world, &other).await["outcome"], "chosen");
        assert_eq!(world.number(&path).await, 2, "what was refused gives its stock back");
        stage.adds_up(world).await;
        world.post(&format!("/v1/campaigns/{campaign}/pause"), &stage.app.server, json!({})).await.good();
        world.advance(minutes(5)).await;
        let refused = stage.decision(world, &longer).await;
        assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("release_refused"), &json!("campaign_not_live")));
        assert_eq!(world.number(&path).await, 1);
        stage.adds_up(world).await;
    }

    async fn of_the_last_one_in_stock_one_person_gets_it(world) {
        let stage = Stage::set(world).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 1}), json!({})).await;
        let (first, second) = (stage.listener(world).await, stage.listener(world).await);
        stage.lands(world, &first, 0).await;
        stage.lands(world, &second, 0).await;
        world.drain().await;
        assert_eq!(stage.decision(world, &first).await["outcome"], "chosen");
        assert_eq!(stage.silence(world, &second).await, "out_of_stock");
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 1);
        stage.adds_up(world).await;
    }

    async fn what_never_arrived_counts_in_no_cap_and_gives_its_stock_back(world) {
        let stage = Stage::set(world).await;
        settings(world, &stage, json!({"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}})).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 1}), json!({})).await;
        let who = stage.listener(world).await;
        stage.standin.register(who.token.clone(), kairos::push::standin::Phone {
            gateway: crate::stage::GATEWAY,
            environment: kairos::push::Environment::Production,
            topic: None,
            dead_ms: Some(world.now_ms() - 1_000),
        });
        stage.lands(world, &who, 0).await;
        world.drain().await;
        world.drain().await;
        assert_eq!(stage.messages(world, &who).await[0]["state"], "rejected");
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 0);
        // The same person comes back with another phone: neither cap nor stock stands in the way.
        let token = phone(world, &who.person, "new").await;
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        assert_eq!(stage.decisions(world, &who).await[1]["outcome"], "chosen");
        assert_eq!(stage.standin.ledger().iter().filter(|r| r.token == token && r.delivered).count(), 1);
        stage.adds_up(world).await;
    }

    async fn two_partners_compete_and_the_better_offer_wins(world) {
        let stage = Stage::set(world).await;
        let partner = |name: &str| json!({ "name": name });
        let coffee = world.post("/v1/partners", &stage.app.server, partner("Coffee")).await.good();
        let taxi = world.post("/v1/partners", &stage.app.server, partner("Taxi")).await.good();
        let (low, _) = stage.one_offer(world, json!({"partner_id": coffee["id"], "base_value": 3.0}), json!({})).await;
        let (high, _) = stage.one_offer(world, json!({"partner_id": taxi["id"], "base_value": 7.0}), json!({})).await;
        let who = stage.listener(world).await;
        for partner in [&coffee, &taxi] {
            let consent = json!({"purpose": "marketing", "partner": partner["id"], "granted": true, "text_version": "1",
                "evidence": {"screen": "partners"}});
            let answer = world.post("/v1/me/consents", &who.person.token, consent).await;
            assert!(answer.status < 300, "{}", answer.text());
        }
        let stranger = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        stage.lands(world, &stranger, 0).await;
        world.drain().await;
        let decision = stage.decision(world, &who).await;
        assert_eq!(decision["choices"][0]["offer_id"], high.as_str());
        let fates: Vec<(Value, Value)> = decision["candidates"].as_array().unwrap().iter()
            .map(|c| (c["offer_id"].clone(), c["result"].clone())).collect();
        assert!(fates.contains(&(json!(low), json!("outscored"))) && fates.contains(&(json!(high), json!("chosen"))), "{fates:?}");
        assert_eq!(stage.silence(world, &stranger).await, "not_granted", "a grant without a partner covers none");
        stage.adds_up(world).await;
    }

    async fn a_newer_moment_takes_back_what_is_held_for_an_older_one(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        settings(world, &stage, json!({"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}})).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 9}), json!({})).await;
        let who = stage.listener(world).await;
        patch_preferences(world, &who, json!({"quiet_hours": {"from": "12:00", "to": "12:10", "zone": "Europe/Paris"}})).await;
        stage.lands_at(world, &who, "Orly", 0).await;
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        let decisions = stage.decisions(world, &who).await;
        assert_eq!((&decisions[0]["outcome"], &decisions[0]["reason"]), (&json!("release_refused"), &json!("superseded")));
        assert_eq!(decisions[1]["outcome"], "held");
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 1);
        world.advance(minutes(10)).await;
        assert_eq!(stage.arrived(&who).len(), 1);
        stage.adds_up(world).await;
    }

    async fn a_failing_rule_or_template_silences_its_candidate_and_nobody_else(world) {
        let stage = Stage::set(world).await;
        let template = json!({"fallback": "en", "variants": {"en": {"title": "x", "body": "{{ event.properties.gate.number }}"}}});
        stage.one_offer(world, json!({"template": template, "base_value": 99.0}), json!({})).await;
        stage.one_offer(world, json!({"audience": "event.properties.seats > 3.0", "base_value": 98.0}), json!({})).await;
        let (good, _) = stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let decision = stage.decision(world, &who).await;
        assert_eq!(decision["choices"][0]["offer_id"], good.as_str());
        let last = |n: usize| decision["candidates"][n]["gates"].as_array().unwrap().last().unwrap()["reason"].clone();
        assert_eq!([last(0), last(1)], [json!("template_failed"), json!("missing_property")]);
        assert_eq!(stage.arrived(&who).len(), 1);
        stage.adds_up(world).await;
    }

    async fn a_scheduled_campaign_meets_everybody_once(world) {
        let stage = Stage::set(world).await;
        let mut people = Vec::new();
        for _ in 0..3 {
            people.push(stage.listener(world).await);
        }
        let quiet = Listener { person: world.person(&stage.app).await, token: String::new() };
        let when = json!({"trigger": {"schedule": {"when": {"at": world.time(600)}}}});
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Good morning"}}}});
        let offer = stage.offer(world, words).await;
        let campaign = stage.campaign(world, &[&offer], when).await;
        world.drain().await;
        assert!(stage.standin.ledger().is_empty());
        world.advance(minutes(10)).await;
        world.drain().await;
        for who in &people {
            let decision = stage.decision(world, who).await;
            assert_eq!((&decision["outcome"], &decision["campaign_id"]), (&json!("chosen"), &json!(campaign)));
            assert_eq!(stage.arrived(who).len(), 1);
        }
        assert_eq!(stage.silence(world, &quiet).await, "not_granted");
        world.advance(minutes(10)).await;
        assert_eq!(stage.standin.ledger().len(), 3);
        stage.adds_up(world).await;
    }

    async fn two_nodes_on_one_database_decide_everything_once_and_never_beyond_stock_or_cap(world) {
        let stage = Stage::set(world).await;
        settings(world, &stage, json!({"caps": {"overall": [{"limit": 1, "window_ms": 3_600_000}]}})).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 3}), json!({})).await;
        let mut people = Vec::new();
        for _ in 0..6 {
            people.push(stage.listener(world).await);
        }
        let config = world.kairos.platform.config.clone();
        let second = kairos::serve::Kairos::open(config, world.clock.clone()).await.unwrap();
        for airport in ["Orly", "Roissy"] {
            for who in &people {
                stage.lands_at(world, who, airport, 0).await;
            }
            world.drain_beside(&second).await;
        }
        assert_eq!(world.number("select count(*) from lane_work").await, 0);
        assert_eq!(world.number("select count(*) from decisions").await, 12);
        assert_eq!(world.number("select count(*) from decisions where outcome = 'chosen'").await, 3);
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 3);
        assert!(people.iter().all(|who| stage.arrived(who).len() <= 1), "the cap is one an hour");
        assert_eq!(stage.standin.ledger().len(), 3);
        stage.adds_up(world).await;
    }

    async fn a_planted_bug_is_found_by_the_books(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, silent) = (stage.listener(world).await, stage.listener(world).await);
        stage.lands(world, &who, 0).await;
        stage.lands(world, &silent, 1_799).await;
        world.drain().await;
        stage.adds_up(world).await;
        let app = stage.app.id;
        for (bug, mend) in [
            ("update decisions set reason = null where outcome = 'silent'", "update decisions set reason = 'closed' where outcome = 'silent'"),
            ("update decisions set outcome = 'held' where outcome = 'chosen'", "update decisions set outcome = 'chosen' where outcome = 'held'"),
            ("update choices set state = 'held'", "update choices set state = 'planned'"),
            ("update decisions set moment_id = null where outcome = 'silent'", ""),
        ] {
            let faults = world.kairos.platform.store.write(move |conn| {
                conn.batch(bug)?;
                let faults = kairos::moment::books(conn, app)?.faults;
                if !mend.is_empty() {
                    conn.batch(mend)?;
                }
                Ok(faults)
            }).await.unwrap();
            assert!(!faults.is_empty(), "nobody noticed: {bug}");
        }
        // A decision whose stored candidates were tampered with is not the one that its input gives.
        let tampered = world.kairos.platform.store.write(move |conn| {
            conn.batch("update decisions set candidates = replace(candidates, '10.0', '11.0') where outcome = 'chosen'")?;
            let mut faults = Vec::new();
            for id in kairos::moment::decision_ids(conn, app)? {
                faults.extend(kairos::moment::decide_again(conn, app, id)?);
            }
            Ok(faults)
        }).await.unwrap();
        assert_eq!(tampered.len(), 1, "{tampered:?}");
    }
}
