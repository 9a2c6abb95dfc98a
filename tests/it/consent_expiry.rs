//! Grants that end by themselves: exactly so long after they were given, at the decision, in the queue, at the hand-over.

use crate::consent::{signed_in, state_of};
use crate::outbox::{arrivals, message, plan, post, queue, state};
use crate::world::{World, story};
use kairos::clock::{DAY_MS, HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};
use std::time::Duration;

/// Publishes the version `2` of a purpose, whose grants count so long.
async fn publish(world: &World, purpose: &str, more: Value) {
    let mut body = json!({"version": "2", "texts": {"en": "May we, for a while?"}, "re_ask": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.post(&format!("/v1/purposes/{purpose}/versions"), &world.app.server, body).await.expect(201);
}

fn yes(purpose: &str) -> Value {
    json!({"purpose": purpose, "granted": true, "text_version": "2", "evidence": {"screen": "settings", "locale": "en"}})
}

/// Access tokens that outlive the tests.
async fn long_tokens(world: &mut World) {
    world.restart(|config| config.access_token_life_s = 10 * 86_400).await;
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap())
}

both! {
    async fn a_grant_counts_to_the_last_millisecond_of_its_time_and_is_renewed_by_giving_it_again(world) {
        long_tokens(world).await;
        story::declare(world, &world.app).await;
        publish(world, "offers", json!({"valid_ms": DAY_MS})).await;
        let (_, me) = signed_in(world, &world.app).await;
        let made = world.post("/v1/me/consents", &me, yes("offers")).await.expect(201);
        assert_eq!(made["expires_at"], world.time(86_400));
        let standing = async || {
            let state = state_of(&world.get("/v1/me/consents", &me).await.expect(200), "offers").clone();
            (state["standing"].as_str().unwrap().to_owned(), state["reason"].clone(), state["grants"].as_array().unwrap().len())
        };
        world.clock.advance(ms(DAY_MS - 1));
        assert_eq!(standing().await, ("granted".to_owned(), Value::Null, 1));
        let again = world.post("/v1/me/consents", &me, yes("offers")).await.expect(201);
        assert_ne!(again["id"], made["id"], "a grant that counts longer is another one");
        world.post("/v1/me/consents", &me, yes("offers")).await.expect(200);
        world.clock.advance(ms(DAY_MS - 1));
        assert_eq!(standing().await.0, "granted");
        world.clock.advance(ms(1));
        assert_eq!(standing().await, ("refused".to_owned(), json!("expired"), 0));
        let gone = world.post("/v1/me/consents", &me, json!({"purpose": "offers", "granted": false})).await.expect(201);
        assert_eq!(gone["ended"], json!([]), "what is over is not ended again");
    }

    async fn no_decision_rests_on_a_grant_that_is_over(world) {
        story::declare(world, &world.app).await;
        story::credentials(world, &world.app, &world.standin).await;
        story::campaign(world, &world.app, &story::offer("Coffee")).await;
        publish(world, "offers", json!({"valid_ms": HOUR_MS})).await;
        let ada = story::person(world, &world.app, "ada").await;
        let mut grant = yes("offers");
        grant["evidence"]["method"] = "support".into();
        world.post(&format!("/v1/users/{}/consents", ada.id), &world.app.server, grant).await.expect(201);
        world.clock.advance(ms(HOUR_MS - 1));
        let send = async |id: &str| {
            let event = story::event(id, &ada, &world.time(0));
            world.post("/v1/events", &world.app.server, json!({"events": [event]})).await.expect(202);
            world.drain().await;
            let decided = world.get("/v1/decisions?limit=500", &world.app.server).await.expect(200);
            let of = |d: &&Value| d["moment"]["context"].is_object();
            let last = decided["items"].as_array().unwrap().iter().filter(of).max_by_key(|d| d["id"].as_str().unwrap().to_owned());
            last.unwrap().clone()
        };
        assert_eq!(send("a").await["outcome"], "chosen");
        let arrived = world.standin.arrivals();
        assert!(arrived > 0);
        world.clock.advance(ms(1));
        let silent = send("b").await;
        assert_eq!((&silent["outcome"], &silent["reason"]), (&json!("silent"), &json!("expired")), "{silent}");
        assert_eq!(world.standin.arrivals(), arrived);
    }

    async fn what_waits_ends_as_revoked_when_its_grant_is_over_and_not_a_millisecond_before(world) {
        let post = post(world).await;
        publish(world, "offers", json!({"valid_ms": HOUR_MS})).await;
        let me = post.person.token.clone();
        let made = world.post("/v1/me/consents", &me, yes("offers")).await.expect(201);
        let (start_ms, id) = (world.now_ms(), made["id"].as_str().unwrap().parse().unwrap());
        let planned = |due_ms: i64| message(world, &post.phone, |m| {
            (m.due_ms, m.deadline_ms) = (due_ms, start_ms + 2 * HOUR_MS);
            (m.allowed.until_ms, m.allowed.consent_ids) = (Some(start_ms + HOUR_MS), vec![id]);
        });
        let (before, at) = (planned(start_ms + HOUR_MS - 1), planned(start_ms + HOUR_MS));
        for message in [&before, &at] {
            plan(world, message).await;
        }
        world.advance(ms(HOUR_MS - 1)).await;
        assert_eq!((state(world, &before).await, state(world, &at).await), ("accepted".into(), "queued".into()));
        world.advance(ms(1)).await;
        assert_eq!((state(world, &at).await, arrivals(&post.standin, at.id).len()), ("revoked:consent_expired".to_owned(), 0));
    }

    async fn a_grant_given_again_in_time_lets_what_waits_go_under_the_new_record(world) {
        let post = post(world).await;
        publish(world, "offers", json!({"valid_ms": HOUR_MS})).await;
        let me = post.person.token.clone();
        world.post("/v1/me/consents", &me, yes("offers")).await.expect(201);
        let start_ms = world.now_ms();
        let waits = message(world, &post.phone, |m| {
            (m.due_ms, m.deadline_ms) = (start_ms + HOUR_MS, start_ms + 2 * HOUR_MS);
            m.allowed.until_ms = Some(start_ms + HOUR_MS);
        });
        plan(world, &waits).await;
        world.advance(ms(MINUTE_MS)).await;
        let again = world.post("/v1/me/consents", &me, yes("offers")).await.expect(201);
        world.advance(ms(HOUR_MS - MINUTE_MS)).await;
        assert_eq!(state(world, &waits).await, "accepted");
        let consent = world.lines("select consent as line from messages").await;
        assert!(consent[0].contains(again["id"].as_str().unwrap()), "{consent:?}");
        let until = world.number("select consent_until_ms from messages").await;
        assert_eq!(until, start_ms + MINUTE_MS + HOUR_MS);
    }

    async fn the_hand_over_itself_asks_whether_the_grant_is_over(world) {
        let post = post(world).await;
        publish(world, "offers", json!({"valid_ms": HOUR_MS})).await;
        world.post("/v1/me/consents", &post.person.token, yes("offers")).await.expect(201);
        let end_ms = world.now_ms() + HOUR_MS;
        let due_now = |until_ms| message(world, &post.phone, |m| m.allowed.until_ms = Some(until_ms));
        // The first opens the connection, so that the next ones go from their own transaction, past the claim.
        let first = due_now(end_ms);
        plan(world, &first).await;
        world.drain().await;
        assert_eq!(state(world, &first).await, "accepted");
        world.clock.advance(ms(HOUR_MS - 1));
        let last = due_now(end_ms);
        plan(world, &last).await;
        world.drain().await;
        assert_eq!((state(world, &last).await, arrivals(&post.standin, last.id).len()), ("accepted".to_owned(), 1));
        world.clock.advance(ms(1));
        let over = due_now(end_ms);
        plan(world, &over).await;
        world.drain().await;
        assert_eq!((state(world, &over).await, arrivals(&post.standin, over.id).len()), ("revoked:consent_expired".to_owned(), 0));
    }

    async fn a_long_queue_is_claimed_without_those_whose_grant_is_over(world) {
        let post = post(world).await;
        publish(world, "offers", json!({"valid_ms": HOUR_MS})).await;
        world.post("/v1/me/consents", &post.person.token, yes("offers")).await.expect(201);
        let end_ms = world.now_ms() + HOUR_MS;
        world.clock.advance(ms(HOUR_MS));
        let messages: Vec<_> = (0..20).map(|n| message(world, &post.phone, |m| {
            m.allowed.until_ms = (n % 2 == 0).then_some(end_ms);
            // As of the epochs of now, so that nothing but the time speaks against them.
            (m.consent_epoch, m.app_consent_epoch) = (2, 1);
        })).collect();
        queue(world, messages.clone()).await;
        world.drain().await;
        for (n, message) in messages.iter().enumerate() {
            let want = if n % 2 == 0 { "revoked:consent_expired" } else { "accepted" };
            assert_eq!(state(world, message).await, want, "{n}");
        }
    }

    async fn fixes_are_kept_no_longer_than_the_consent_to_location_lasts(world) {
        long_tokens(world).await;
        publish(world, "location", json!({"valid_ms": HOUR_MS, "re_ask": false})).await;
        let (_, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, yes("location")).await.expect(201);
        let fix = async |id: &str| {
            let event = json!({"id": id, "type": "here", "occurred_at": world.time(0), "location": {"lat": 48.7, "lon": 2.3}});
            let answer = world.post("/v1/events", &me, json!({"events": [event]})).await.expect(202);
            let id = answer["results"][0]["event_id"].as_str().unwrap().to_owned();
            world.drain().await;
            world.lines(&format!("select coalesce(disposition, '-') as line from events where id = '{id}' and lat is null")).await
        };
        world.clock.advance(ms(HOUR_MS - 1));
        assert_eq!(fix("a").await, [""; 0], "the fix is kept");
        world.clock.advance(ms(1));
        assert_eq!(fix("b").await.len(), 1, "no fix is kept");
    }

    async fn the_time_may_differ_by_jurisdiction_and_has_its_limits(world) {
        story::declare(world, &world.app).await;
        let differs = json!({"US": {"valid_ms": HOUR_MS}, "US-CA": {"texts": {"en": "Californians, may we?"}}});
        publish(world, "offers", json!({"valid_ms": DAY_MS, "jurisdictions": differs})).await;
        let (_, me) = signed_in(world, &world.app).await;
        let start_ms = world.now_ms();
        for (code, span_ms) in [("DE", DAY_MS), ("US", HOUR_MS), ("US-CA", HOUR_MS)] {
            let mut body = yes("offers");
            body["jurisdiction"] = code.into();
            let made = world.post("/v1/me/consents", &me, body).await.expect(201);
            assert_eq!(made["expires_at"], kairos::clock::Time(start_ms + span_ms).to_string(), "{code}");
            assert_eq!(made["jurisdiction"], code);
            world.post("/v1/me/consents", &me, json!({"purpose": "offers", "granted": false})).await.expect(201);
        }
        let history = world.get("/v1/me/consents/history", &me).await.expect(200);
        let texts = ["May we, for a while?", "May we, for a while?", "Californians, may we?"];
        for (n, text) in texts.into_iter().enumerate() {
            let shown = &history["items"][2 * n];
            let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!((&shown["text"], &shown["notice_hash"]), (&json!(text), &json!(hash)));
        }
        let mut body = yes("offers");
        body["jurisdiction"] = "Germany".into();
        world.post("/v1/me/consents", &me, body).await.refused_field(400, "validation_failed", "jurisdiction");
        for (more, field) in [
            (json!({"valid_ms": 59_999}), "valid_ms"),
            (json!({"valid_ms": 3_661 * DAY_MS}), "valid_ms"),
            (json!({"jurisdictions": {"us": {}}}), "jurisdictions"),
            (json!({"jurisdictions": {"US": {"valid_ms": 0}}}), "jurisdictions.US.valid_ms"),
            (json!({"jurisdictions": {"US": {"texts": {"en": " "}}}}), "jurisdictions.US.texts.en"),
        ] {
            let mut body = json!({"version": "3", "texts": {"en": "x"}});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            world.post("/v1/purposes/offers/versions", &world.app.server, body).await.refused_field(400, "validation_failed", field);
        }
    }
}
