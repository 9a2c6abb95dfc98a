//! What an offer says, from its author to the phone: headers, badges, ids, limits, and refusals that name their field.

use crate::stage::{Good, Listener, Stage};
use crate::world::World;
use serde_json::{Value, json};

fn template(content: Value) -> Value {
    json!({"template": {"fallback": "en", "variants": {"en": content}}})
}

/// The payloads of somebody's messages as they were sent, the oldest first.
async fn payloads(world: &World) -> Vec<Value> {
    let texts = world.lines("select payload as line from messages order by id").await;
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Somebody lands with a story to tell.
async fn tells(world: &World, stage: &Stage, (who, airport): (&Listener, &str), story: &str) {
    let event = json!({"id": airport, "type": "landed", "occurred_at": world.time(0), "subject": who.person.id,
        "properties": {"airport": airport, "story": story}});
    world.post("/v1/events", &stage.app.server, json!({"events": [event]})).await.expect(202);
    world.drain().await;
}

both! {
    async fn all_that_an_offer_says_is_sent(world) {
        let stage = Stage::set(world).await;
        let content = json!({
            "title": "Welcome", "subtitle": "To {{ event.properties.airport }}", "body": "Lounge \"{{ event.properties.airport }}\"",
            "link": "airport://{{ event.properties.airport|lower }}", "data": {"n": 7, "at": "{{ event.properties.airport }}"},
            "thread": "at-{{ event.properties.airport }}", "collapse_id": "lounge-{{ event.properties.airport }}",
            "interruption_level": "time-sensitive", "priority": "normal", "ttl_limit_ms": 60_500,
            "body_key": null, "apple": {"target_content_id": "lounge"}, "android": {"channel_id": "lounge"},
        });
        stage.one_offer(world, template(content), json!({})).await;
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let row = &stage.arrived(&who)[0];
        assert_eq!(row.text.as_deref(), Some("Lounge \"Orly\""));
        assert_eq!(row.collapse_id.as_deref(), Some("lounge-Orly"));
        // The shorter of the moment's end and the author's limit, rounded down to the second.
        let now_ms = world.clock.now_ms();
        assert_eq!(row.keep_until_ms, Some((now_ms + 60_500).div_euclid(1_000) * 1_000));
        let message = &stage.messages(world, &who).await[0];
        assert_eq!((&message["collapse_id"], &message["state"]), (&json!("lounge-Orly"), &json!("accepted")));
        let payload = &payloads(world).await[0];
        let wanted = json!({
            "alert": {"title": "Welcome", "subtitle": "To Orly", "body": "Lounge \"Orly\""}, "sound": "default", "thread-id": "at-Orly",
            "interruption-level": "time-sensitive", "target-content-id": "lounge",
        });
        assert_eq!(payload["aps"], wanted);
        assert_eq!((&payload["n"], &payload["at"], &payload["link"]), (&json!(7), &json!("Orly"), &json!("airport://orly")));
        assert_eq!(payload["kairos"]["deadline_ms"], now_ms + 60_500);
        assert_eq!(world.lines("select head as line from messages").await, ["alert 5"]);
        stage.adds_up(world).await;
    }

    async fn a_silent_push_goes_out_as_one_and_the_usual_costs_no_header(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, template(json!({"silent": true, "data": {"sync": "now"}})), json!({})).await;
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let row = &stage.arrived(&who)[0];
        assert_eq!((row.answer.as_str(), &row.text), ("200", &None));
        assert_eq!(world.lines("select head as line from messages").await, ["background 5"]);
        assert_eq!(payloads(world).await[0]["aps"], json!({"content-available": 1}));
        stage.adds_up(world).await;
    }

    async fn badges_are_counted_for_each_device_and_cleared_by_the_app(world) {
        let stage = Stage::set(world).await;
        let more = template(json!({"title": "x", "body": "y", "badge": {"increment": 2}}));
        let (more, _) = stage.one_offer(world, more, json!({})).await;
        let (who, other) = (stage.listener(world).await, stage.listener(world).await);
        let badges = async |world: &World| -> Vec<Value> {
            payloads(world).await.iter().map(|payload| payload["aps"]["badge"].clone()).collect()
        };
        for airport in ["Orly", "Nice"] {
            stage.lands_at(world, &who, airport, 0).await;
            world.drain().await;
        }
        assert_eq!(badges(world).await, [json!(2), json!(4)]);
        stage.lands(world, &other, 0).await;
        world.drain().await;
        assert_eq!(badges(world).await[2], 2);
        // The app says what its icon shows; nobody else can.
        let path = format!("/v1/me/devices/phone-{}/badge", &who.person.id[4..]);
        world.put(&path, &other.person.token, json!({"badge": 0})).await.refused(404, "not_found");
        for wrong in [json!({"badge": -1}), json!({"badge": 1_000_001})] {
            world.put(&path, &who.person.token, wrong).await.refused_field(400, "validation_failed", "badge");
        }
        assert_eq!(world.put(&path, &who.person.token, json!({"badge": 0})).await.status, 204);
        stage.lands_at(world, &who, "Lyon", 0).await;
        world.drain().await;
        assert_eq!(badges(world).await[3], 2);
        assert_eq!(world.number("select count(*) from devices where badge = 2").await, 2);
        // From now on it sets the number; what says nothing of badges leaves it alone.
        let offer = |badge: Value| json!({"name": "Lounge", "purpose": "marketing", "topic": "offers", "base_value": 10.0,
            "template": {"fallback": "en", "variants": {"en": {"title": "x", "body": "y", "badge": badge}}}});
        world.put(&format!("/v1/offers/{more}"), &stage.app.server, offer(json!({"set": 9}))).await.good();
        stage.lands_at(world, &who, "Brest", 0).await;
        world.drain().await;
        world.put(&format!("/v1/offers/{more}"), &stage.app.server, offer(json!("clear"))).await.good();
        stage.lands_at(world, &other, "Brest", 0).await;
        world.drain().await;
        assert_eq!(badges(world).await[4..], [json!(9), json!(0)]);
        assert_eq!(world.lines("select cast(badge as text) as line from devices order by badge").await, ["0", "9"]);
        stage.adds_up(world).await;
    }

    async fn several_messages_of_one_batch_count_one_after_the_other(world) {
        let stage = Stage::set(world).await;
        let more = |n: u32| template(json!({"title": "x", "body": "y", "badge": {"increment": n}}));
        stage.kind(world, json!({"max_offers_per_moment": 3})).await;
        for n in [1, 10, 100] {
            stage.one_offer(world, more(n), json!({})).await;
        }
        let who = stage.listener(world).await;
        stage.lands(world, &who, 0).await;
        world.drain().await;
        let mut badges: Vec<i64> = payloads(world).await.iter().map(|payload| payload["aps"]["badge"].as_i64().unwrap()).collect();
        badges.sort_unstable();
        assert_eq!((badges.len(), badges[2]), (3, 111));
        assert!([1, 10, 100].contains(&badges[0]) && [11, 101, 110].contains(&badges[1]), "{badges:?}");
        assert_eq!(world.number("select badge from devices").await, 111);
    }

    async fn a_long_value_of_a_person_is_refused_with_its_field_and_never_cut(world) {
        let stage = Stage::set(world).await;
        let content = json!({"title": "x", "body": "Hello", "data": {"story": "{{ event.properties.story }}"}});
        stage.one_offer(world, template(content), json!({})).await;
        let who = stage.listener(world).await;
        tells(world, &stage, (&who, "Orly"), &"x".repeat(3_900)).await;
        assert_eq!(stage.silence(world, &who).await, "payload_too_large");
        let decision = stage.decision(world, &who).await;
        let last = decision["candidates"][0]["gates"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["gate"], &last["reason"], &last["field"]), (&json!("message"), &json!("payload_too_large"), &json!("data.story")));
        let detail = last["detail"].as_str().unwrap();
        assert!(detail.contains("4096 bytes") && detail.contains("too many, 3902 of them in data.story"), "{detail}");
        // One that fits goes out whole.
        tells(world, &stage, (&who, "Nice"), &"y".repeat(3_000)).await;
        assert_eq!(payloads(world).await[0]["story"], "y".repeat(3_000));
        stage.adds_up(world).await;
    }

    async fn what_a_persons_values_make_impossible_is_refused_with_its_field(world) {
        let stage = Stage::set(world).await;
        for (field, source) in [("image", "{{ event.properties.airport }}"), ("link", "app://{{ event.properties.airport|safe }}"),
            ("collapse_id", "{{ event.properties.airport }}"), ("thread", "at {{ event.properties.airport }}")] {
            let mut content = json!({"title": "x", "body": "y"});
            content[field] = json!(source);
            stage.one_offer(world, template(content), json!({})).await;
            let who = stage.listener(world).await;
            stage.lands_at(world, &who, "São Paulo", 0).await;
            world.drain().await;
            let decision = stage.decision(world, &who).await;
            assert_eq!(decision["outcome"], "silent", "{decision:#}");
            let fields: Vec<&Value> = decision["candidates"].as_array().unwrap().iter()
                .map(|candidate| &candidate["gates"].as_array().unwrap().last().unwrap()["field"]).collect();
            assert!(fields.contains(&&json!(field)), "{fields:?}");
        }
        assert!(stage.standin.ledger().is_empty());
    }

    async fn an_offer_that_no_push_can_carry_is_refused_when_it_is_made(world) {
        let stage = Stage::set(world).await;
        let refused = async |content: Value, field: &str| {
            let body = json!({"name": "Lounge", "purpose": "marketing", "topic": "offers", "base_value": 10.0,
                "template": {"fallback": "en", "variants": {"en": content}}});
            let field = format!("template.variants.en.{field}");
            world.post("/v1/offers", &stage.app.server, body).await.refused_field(400, "validation_failed", &field);
        };
        refused(json!({"title": "x", "body": "y".repeat(4_000)}), "body").await;
        refused(json!({"title": "x", "body": "{{ event.properties.x }}", "data": {"story": "y".repeat(4_000)}}), "data.story").await;
        refused(json!({"title": "x", "android": {"color": "red"}}), "android.color").await;
        refused(json!({"title": "x", "android": {"channel": "red"}}), "android.channel").await;
        refused(json!({"title": "x", "badge": {"increment": 0}}), "badge.increment").await;
        refused(json!({"title": "x", "subtitle": "{{ nobody }}"}), "subtitle").await;
    }
}
