//! The lanes on bad days: work that always fails, and messages that wait when their moment or campaign is over.

use crate::event::thing;
use crate::stage::{Good, Listener, Stage, grant, minutes, phone};
use crate::world::{Caller, World};
use kairos::event;
use kairos::push::standin::{Fault, Rule};
use kairos::store::Conn;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Makes a user's row unreadable, as a fault of the disk or of a migration would.
async fn poison(world: &World, user: &str) {
    let sql = format!("update users set attributes = 'no json' where id = '{user}'");
    world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
}

async fn heal(world: &World, user: &str) {
    let sql = format!("update users set attributes = '{{}}' where id = '{user}'");
    world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
}

/// Makes the database refuse every decision about a user, until [`allow`].
async fn forbid(world: &World, user: &str) {
    let forbidden = format!("before insert on decisions for each row when (new.user_id = '{user}')");
    let refuse = move |conn: &mut Conn| match conn {
        Conn::Sqlite(_) => conn.batch(&format!("create trigger no {forbidden} begin select raise(abort, 'no'); end")),
        Conn::Postgres(_) => {
            conn.batch("create function no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$")?;
            conn.batch(&format!("create trigger no {forbidden} execute function no()"))
        }
    };
    world.kairos.platform.store.write(refuse).await.unwrap();
}

async fn allow(world: &World) {
    let allow = |conn: &mut Conn| match conn {
        Conn::Sqlite(_) => conn.batch("drop trigger no"),
        Conn::Postgres(_) => conn.batch("drop trigger no on decisions"),
    };
    world.kairos.platform.store.write(allow).await.unwrap();
}

/// Events by disposition; those that the lanes have not judged under "".
async fn tally(world: &World, stage: &Stage) -> BTreeMap<String, i64> {
    let app = stage.app.id;
    let tally = world.kairos.platform.store.read(move |conn| event::tally(conn, app)).await.unwrap();
    tally.into_iter().map(|((_, word), n)| (word, n)).collect()
}

/// Makes the gateway refuse our credential once, so that nothing goes out for half a minute: what is decided waits.
async fn close_the_gateway(world: &World, stage: &Stage) {
    let scapegoat = stage.listener(world).await;
    stage.standin.inject(Rule::once(Fault::Answer {
        status: 403,
        reason: "Forbidden".into(),
        retry_after_s: None,
        timestamp_ms: None,
    }));
    stage.lands(world, &scapegoat, 0).await;
    world.drain().await;
    assert_eq!(stage.messages(world, &scapegoat).await[0]["state"], "retry_at");
}

async fn states(world: &World, stage: &Stage, who: &Listener) -> Vec<Value> {
    stage.messages(world, who).await.iter().map(|message| message["state"].clone()).collect()
}

both! {
    async fn work_that_always_fails_is_settled_as_failed_and_harms_no_neighbour(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (mut people, mut events) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            people.push(stage.listener(world).await);
        }
        for who in &people {
            events.push(stage.lands(world, who, 0).await);
        }
        poison(world, &people[0].person.id).await;
        poison(world, &people[3].person.id).await;
        world.drain().await;
        for (n, event) in events.iter().enumerate() {
            let said = stage.event(world, event).await;
            let (disposition, pushes) = if n % 3 == 0 { ("failed", 0) } else { ("decided", 1) };
            assert_eq!((&said["disposition"], stage.arrived(&people[n]).len()), (&json!(disposition), pushes), "{n}");
            assert!(said["settled_at"].is_string(), "{said}");
        }
        assert_eq!(tally(world, &stage).await, BTreeMap::from([("decided".to_owned(), 4), ("failed".to_owned(), 2)]));
        assert_eq!(world.number("select n from event_counts where disposition = 'failed' and source = 'server'").await, 2);
        assert_eq!(world.number("select count(*) from decisions").await, 4);
        let figures = world.get("/metrics", &Caller::Nobody).await.text();
        assert!(figures.contains("kairos_lane_work_total{disposition=\"failed\"}"), "{figures}");
        heal(world, &people[0].person.id).await;
        heal(world, &people[3].person.id).await;
        // The lane is free again for the same person.
        stage.lands_at(world, &people[0], "Roissy", 0).await;
        world.drain().await;
        assert_eq!(stage.arrived(&people[0]).len(), 1);
        stage.adds_up(world).await;
    }

    async fn a_release_that_always_fails_is_refused_with_a_reason_and_harms_no_neighbour(world) {
        let stage = Stage::set(world).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 9}), json!({})).await;
        let mut people = Vec::new();
        for _ in 0..4 {
            let who = stage.listener(world).await;
            let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
            world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
            stage.lands(world, &who, 0).await;
            people.push(who);
        }
        world.drain().await;
        assert_eq!(world.number("select count(*) from decisions where outcome = 'held'").await, 4);
        for n in [0, 2] {
            poison(world, &people[n].person.id).await;
        }
        world.advance(minutes(20)).await;
        for n in [0, 2] {
            heal(world, &people[n].person.id).await;
        }
        for (n, who) in people.iter().enumerate() {
            let decision = stage.decision(world, who).await;
            let (outcome, reason, pushes) =
                if n % 2 == 0 { ("release_refused", json!("failed"), 0) } else { ("chosen", Value::Null, 1) };
            assert_eq!((&decision["outcome"], &decision["reason"], stage.arrived(who).len()), (&json!(outcome), &reason, pushes), "{n}");
        }
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 2);
        world.advance(minutes(60)).await;
        assert_eq!(stage.standin.ledger().len(), 2);
        stage.adds_up(world).await;
    }

    async fn a_walk_that_always_fails_at_somebody_says_so_and_goes_on_to_the_next(world) {
        let stage = Stage::set(world).await;
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Good morning"}}}});
        let offer = stage.offer(world, words).await;
        let mut people = Vec::new();
        for _ in 0..6 {
            people.push(stage.listener(world).await);
        }
        let campaign = stage.campaign(world, &[&offer], json!({"trigger": {"schedule": {"when": {"at": world.time(600)}}}})).await;
        for n in [0, 3] {
            poison(world, &people[n].person.id).await;
        }
        world.advance(minutes(10)).await;
        for n in [0, 3] {
            heal(world, &people[n].person.id).await;
        }
        for (n, who) in people.iter().enumerate() {
            let decision = stage.decision(world, who).await;
            let (outcome, reason, pushes) = if n % 3 == 0 { ("silent", json!("failed"), 0) } else { ("chosen", Value::Null, 1) };
            assert_eq!((&decision["outcome"], &decision["reason"], stage.arrived(who).len()), (&json!(outcome), &reason, pushes), "{n}");
            assert_eq!(decision["campaign_id"], json!(campaign));
        }
        assert_eq!(world.number("select visited from campaign_runs where state = 'done'").await, 6);
        stage.adds_up(world).await;
    }

    async fn an_event_that_failed_for_one_of_its_users_says_so_and_keeps_the_decisions_of_the_others(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let aircraft = thing(world, "39a415").await;
        let (bad, good) = (stage.listener(world).await, stage.listener(world).await);
        for who in [&bad, &good] {
            let link = json!({"user": who.person.id});
            world.post(&format!("/v1/things/{aircraft}/links"), &stage.app.server, link).await.good();
        }
        poison(world, &bad.person.id).await;
        let event = json!({"id": "1", "type": "landed", "occurred_at": world.time(0), "subject": aircraft, "properties": {"airport": "Orly"}});
        let taken = world.post("/v1/events", &stage.app.server, json!({"events": [event]})).await.expect(202);
        world.drain().await;
        heal(world, &bad.person.id).await;
        let said = stage.event(world, taken["results"][0]["event_id"].as_str().unwrap()).await;
        assert_eq!((&said["disposition"], said["decision_ids"].as_array().unwrap().len()), (&json!("failed"), 1), "{said}");
        assert_eq!((stage.arrived(&good).len(), stage.arrived(&bad).len()), (1, 0));
        assert_eq!(world.number("select n from event_counts where disposition = 'failed'").await, 1);
        stage.adds_up(world).await;
    }

    async fn a_newer_moment_cancels_what_is_queued_for_an_older_one(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let (who, other) = (stage.listener(world).await, stage.listener(world).await);
        let tablet = phone(world, &who.person, "tablet").await;
        close_the_gateway(world, &stage).await;
        stage.lands_at(world, &who, "Orly", 0).await;
        stage.lands_at(world, &other, "Orly", 0).await;
        world.drain().await;
        assert_eq!(states(world, &stage, &who).await, ["queued", "queued"], "one per device");
        // The newer moment of one person takes nothing from another one, and nothing older takes from what is newer.
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        stage.lands_at(world, &who, "Lyon", 60).await;
        world.drain().await;
        assert_eq!(
            states(world, &stage, &who).await,
            ["cancelled", "cancelled", "queued", "queued", "queued", "queued"],
            "what opened earlier is no newer moment"
        );
        assert_eq!(states(world, &stage, &other).await, ["queued"]);
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(states(world, &stage, &who).await, ["cancelled", "cancelled", "accepted", "accepted", "accepted", "accepted"]);
        assert_eq!((stage.arrived(&who).len(), stage.arrived(&other).len()), (2, 1));
        assert_eq!(stage.standin.ledger().iter().filter(|row| row.token == tablet && row.delivered).count(), 2);
        stage.adds_up(world).await;
    }

    async fn what_a_newer_moment_cancels_takes_no_room_under_its_caps(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        stage.one_offer(world, json!({}), json!({"caps": [{"limit": 1, "window_ms": 3_600_000}]})).await;
        let who = stage.listener(world).await;
        let tablet = phone(world, &who.person, "tablet").await;
        close_the_gateway(world, &stage).await;
        stage.lands_at(world, &who, "Orly", 0).await;
        world.drain().await;
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        assert_eq!(states(world, &stage, &who).await, ["cancelled", "cancelled", "queued", "queued"]);
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(stage.arrived(&who).len(), 1);
        // What has reached one of the phones counts, whatever becomes of the other.
        stage.standin.inject(Rule::always(Fault::Answer {
            status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(60), timestamp_ms: None,
        }).to(tablet));
        world.advance(minutes(60)).await;
        stage.lands_at(world, &who, "Lyon", 0).await;
        world.drain().await;
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        assert_eq!(stage.decisions(world, &who).await[3]["reason"], "campaign_cap");
        assert_eq!(stage.arrived(&who).len(), 2);
        stage.adds_up(world).await;
    }

    async fn what_may_have_arrived_counts_though_a_newer_moment_ends_its_wait(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        let terms = json!({"mode": "at_least_once", "caps": [{"limit": 1, "window_ms": 3_600_000}]});
        let (offer, _) = stage.one_offer(world, json!({"stock": 5}), terms).await;
        let who = stage.listener(world).await;
        stage.standin.inject(Rule::once(Fault::CutAfterRequest));
        stage.standin.inject(Rule::once(Fault::Answer {
            status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(600), timestamp_ms: None,
        }));
        stage.lands_at(world, &who, "Orly", 0).await;
        world.drain().await;
        assert_eq!((states(world, &stage, &who).await, stage.arrived(&who).len()), (vec![json!("retry_at")], 1));
        stage.lands_at(world, &who, "Roissy", 0).await;
        world.drain().await;
        let ended = stage.messages(world, &who).await.remove(0);
        assert_eq!((&ended["state"], &ended["reason"]), (&json!("unknown"), &json!("superseded")));
        assert_eq!(stage.decisions(world, &who).await[1]["reason"], "campaign_cap");
        world.advance(minutes(20)).await;
        assert_eq!((states(world, &stage, &who).await.len(), stage.arrived(&who).len()), (1, 1));
        assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 1);
        stage.adds_up(world).await;
    }

    async fn what_a_newer_moment_cancels_gives_its_stock_to_the_newer_decision_once(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 2}), json!({})).await;
        let reserved = format!("select stock_reserved from offers where id = '{offer}'");
        let (who, other) = (stage.listener(world).await, stage.listener(world).await);
        phone(world, &who.person, "tablet").await;
        // That takes a piece, and leaves one.
        close_the_gateway(world, &stage).await;
        stage.lands_at(world, &who, "Orly", 0).await;
        world.drain().await;
        // In one step: the last piece goes from one moment of a person to the next, and never to two people.
        stage.lands_at(world, &who, "Roissy", 0).await;
        stage.lands_at(world, &other, "Roissy", 0).await;
        world.drain().await;
        assert_eq!(states(world, &stage, &who).await, ["cancelled", "cancelled", "queued", "queued"]);
        assert_eq!(stage.decision(world, &other).await["reason"], "out_of_stock");
        assert_eq!(world.number(&reserved).await, 2);
        // What is held gives it back as well.
        let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
        world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
        for airport in ["Lyon", "Nice"] {
            stage.lands_at(world, &who, airport, 0).await;
            world.drain().await;
            assert_eq!(world.number(&reserved).await, 2, "{airport}");
        }
        let outcomes: Vec<Value> = stage.decisions(world, &who).await.iter().map(|d| d["outcome"].clone()).collect();
        assert_eq!(outcomes, ["chosen", "chosen", "release_refused", "held"]);
        world.advance(minutes(20)).await;
        assert_eq!((stage.arrived(&who).len(), stage.arrived(&other).len()), (1, 0));
        assert_eq!(world.number(&reserved).await, 2);
        stage.adds_up(world).await;
    }

    async fn two_nodes_pass_the_stock_of_what_they_take_back_on_and_never_sell_more(world) {
        let stage = Stage::set(world).await;
        stage.kind(world, json!({"supersede": true})).await;
        let (offer, _) = stage.one_offer(world, json!({"stock": 3}), json!({})).await;
        let mut people = Vec::new();
        for _ in 0..6 {
            let who = stage.listener(world).await;
            let quiet = json!({"quiet_hours": {"from": "12:00", "to": "12:20", "zone": "Europe/Paris"}});
            world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&quiet).send().await.good();
            people.push(who);
        }
        let second = kairos::serve::Kairos::open(world.kairos.platform.config.clone(), world.clock.clone()).await.unwrap();
        for airport in ["Orly", "Roissy", "Lyon", "Nice"] {
            for who in &people {
                stage.lands_at(world, who, airport, 0).await;
            }
            world.drain_beside(&second).await;
            assert_eq!(world.number(&format!("select stock_reserved from offers where id = '{offer}'")).await, 3, "{airport}");
            assert_eq!(world.number("select count(*) from choices where state = 'held' and counts").await, 3, "{airport}");
        }
        assert_eq!(world.number("select count(*) from decisions").await, 24);
        world.advance(minutes(20)).await;
        assert_eq!(stage.standin.ledger().len(), 3);
        stage.adds_up(world).await;
    }

    async fn a_pause_cancels_what_is_queued_and_a_resume_revives_nothing(world) {
        let stage = Stage::set(world).await;
        let (offer, campaign) = stage.one_offer(world, json!({"stock": 9}), json!({})).await;
        let (_, other) = stage.one_offer(world, json!({"audience": "event.properties.airport == 'Nice'", "base_value": 99.0}), json!({})).await;
        let (who, elsewhere) = (stage.listener(world).await, stage.listener(world).await);
        close_the_gateway(world, &stage).await;
        stage.lands(world, &who, 0).await;
        stage.lands_at(world, &elsewhere, "Nice", 0).await;
        world.drain().await;
        assert_eq!(states(world, &stage, &who).await, ["queued"]);
        let step = |step: &str| format!("/v1/campaigns/{campaign}/{step}");
        world.post(&step("pause"), &stage.app.server, json!({})).await.good();
        let message = stage.messages(world, &who).await.remove(0);
        assert_eq!((&message["state"], &message["reason"]), (&json!("cancelled"), &json!("campaign_stopped")));
        assert_eq!(states(world, &stage, &elsewhere).await, ["queued"], "another campaign's message waits on");
        world.drain().await;
        let reserved = format!("select stock_reserved from offers where id = '{offer}'");
        assert_eq!(world.number(&reserved).await, 0, "what was cancelled gives its stock back");
        world.post(&step("resume"), &stage.app.server, json!({})).await.good();
        world.advance(minutes(1)).await;
        assert_eq!(states(world, &stage, &who).await, ["cancelled"]);
        assert!(stage.arrived(&who).is_empty(), "nothing comes back from its end");
        assert_eq!(stage.messages(world, &elsewhere).await[0]["campaign_id"], json!(other));
        assert_eq!(stage.arrived(&elsewhere).len(), 1);
        // The campaign itself speaks again, of what happens from now on.
        let late = stage.listener(world).await;
        stage.lands(world, &late, 0).await;
        world.drain().await;
        assert_eq!(stage.arrived(&late).len(), 1);
        stage.adds_up(world).await;
    }

    async fn a_wall_clock_campaign_reaches_each_person_once_at_their_own_hour_also_over_a_restart(world) {
        // The world begins on 2026-06-15 at 10:00 UTC; on 2026-10-25 clocks in Europe go back at 01:00 UTC.
        let stage = Stage::set(world).await;
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Good morning"}}}});
        let offer = stage.offer(world, words).await;
        let when = json!({"trigger": {"schedule": {"when": {"local": "2026-10-25T02:30"}}}});
        let mut due = Vec::new();
        for (zone, at) in [
            ("Asia/Tokyo", "2026-10-24T17:30:00.000Z"),
            // The repeated hour: the first pass counts, and the second brings nothing.
            ("Europe/Paris", "2026-10-25T00:30:00.000Z"),
            ("Europe/London", "2026-10-25T02:30:00.000Z"),
            ("America/New_York", "2026-10-25T06:30:00.000Z"),
        ] {
            for _ in 0..2 {
                let person = world.person(&stage.app).await;
                let zone = json!({"time_zone": zone});
                world.call("PATCH", "/v1/me").by(&person.token).header("If-Match", "*").json(&zone).send().await.good();
                grant(world, &person, "marketing").await;
                let token = phone(world, &person, "phone").await;
                due.push((Listener { person, token }, kairos::clock::Time::parse(at).unwrap().0));
            }
        }
        let campaign = stage.campaign(world, &[&offer], when).await;
        world.clock.set(kairos::clock::Time::parse("2026-10-24T17:00:00.000Z").unwrap().0);
        world.drain().await;
        for quarter in 0..(4 * 16) {
            let now_ms = world.now_ms();
            for (who, due_ms) in &due {
                let arrived = stage.arrived(who);
                assert_eq!(arrived.len(), usize::from(now_ms >= *due_ms), "{} at {now_ms}", due_ms);
                assert!(arrived.iter().all(|row| row.at_ms == *due_ms));
            }
            // Between any two zones, and between the two passes of the repeated hour.
            if quarter % 3 == 0 {
                world.restart(|_| {}).await;
            }
            world.advance(minutes(15)).await;
        }
        for (who, _) in &due {
            let decision = stage.decision(world, who).await;
            assert_eq!((&decision["outcome"], &decision["campaign_id"]), (&json!("chosen"), &json!(campaign)));
        }
        assert_eq!(stage.standin.ledger().len(), due.len());
        stage.adds_up(world).await;
    }

    async fn a_walk_that_broke_off_goes_on_where_it_was_after_a_restart(world) {
        let stage = Stage::set(world).await;
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Good morning"}}}});
        let offer = stage.offer(world, words).await;
        let mut people = vec![stage.listener(world).await];
        for _ in 0..210 {
            world.post("/v1/users", &stage.app.server, json!({"time_zone": "Asia/Tokyo"})).await.expect(201);
        }
        people.push(stage.listener(world).await);
        for who in &people {
            let zone = json!({"time_zone": "Asia/Tokyo"});
            world.call("PATCH", "/v1/me").by(&who.person.token).header("If-Match", "*").json(&zone).send().await.good();
        }
        let when = json!({"trigger": {"schedule": {"when": {"local": "2026-06-16T09:00"}}}});
        stage.campaign(world, &[&offer], when).await;
        // The second stretch of the walk cannot be written: the walk breaks off after the first.
        let last = world.lines("select max(id) as line from users").await.remove(0);
        forbid(world, &last).await;
        world.clock.set(kairos::clock::Time::parse("2026-06-16T00:00:00.000Z").unwrap().0);
        assert!(world.kairos.drain().await.is_err());
        let walked = world.number("select visited from campaign_runs where zone = 'Asia/Tokyo'").await;
        assert!(walked > 0 && walked < 212, "{walked}");
        assert_eq!(world.number("select count(*) from decisions").await, walked);
        world.restart(|_| {}).await;
        allow(world).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from decisions").await, 212);
        assert_eq!(world.number("select count(distinct user_id) from decisions").await, 212);
        for who in &people {
            assert_eq!(stage.decision(world, who).await["outcome"], "chosen");
            assert_eq!(stage.arrived(who).len(), 1);
        }
        world.advance(minutes(60)).await;
        assert_eq!(stage.standin.ledger().len(), 2);
        stage.adds_up(world).await;
    }
}
