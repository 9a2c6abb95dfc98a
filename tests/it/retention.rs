//! Each class of data is kept for its time, to the millisecond, and gone after it.

use crate::world::World;
use crate::world::story::{self, EVENT};
use serde_json::{Value, json};
use std::time::Duration;

const DAY_MS: u64 = 86_400_000;

async fn set(world: &World, settings: Value) {
    world.patch("/v1/app", &world.app.server, json!({ "settings": settings })).await.expect(200);
}

/// Waits until exactly the end of the time for which something is kept, and one millisecond more: how many there were each.
async fn around(world: &World, kept_ms: u64, count: &str) -> (i64, i64) {
    world.advance(Duration::from_millis(kept_ms)).await;
    let kept = world.number(count).await;
    world.advance(Duration::from_millis(1)).await;
    (kept, world.number(count).await)
}

async fn opened(world: &World, id: &str) {
    let event = json!({"id": id, "type": "app.opened", "occurred_at": world.time(0), "subject": "user:nobody"});
    world.post("/v1/events", &world.app.server, json!({"events": [event]})).await.expect(202);
}

both! {
    async fn events_are_kept_for_the_apps_time(world) {
        set(world, json!({"event_retention_ms": 7 * DAY_MS})).await;
        opened(world, "a").await;
        world.advance(Duration::from_millis(1)).await;
        opened(world, "b").await;
        let other = world.new_app("Louvre").await;
        let event = json!({"id": "a", "type": "app.opened", "occurred_at": world.time(0), "subject": "user:nobody"});
        world.post("/v1/events", &other.server, json!({"events": [event]})).await.expect(202);
        let count = "select count(*) from events";
        assert_eq!(around(world, 7 * DAY_MS - 1, count).await, (3, 2));
        assert_eq!(around(world, 0, count).await, (2, 1), "those of the app that keeps them for thirteen months stay");
        assert_eq!(around(world, 389 * DAY_MS, count).await.1, 0);
    }

    async fn decisions_are_kept_for_the_apps_time_with_all_that_belongs_to_them(world) {
        let home = world.app.clone();
        set(world, json!({"decision_retention_ms": 31 * DAY_MS})).await;
        story::declare(&world.api, &home).await;
        story::credentials(&world.api, &home, &world.standin).await;
        story::campaign(&world.api, &home, &story::offer("Lounge")).await;
        let ada = story::person(&world.api, &home, "ada").await;
        let event = story::event("1", &ada, &world.time(0));
        world.post("/v1/events", &home.server, json!({"events": [event]})).await.expect(202);
        world.drain().await;
        let all = "select (select count(*) from moments) + (select count(*) from decisions) + (select count(*) from choices) \
            + (select count(*) from messages)";
        assert_eq!(around(world, 31 * DAY_MS, all).await, (5, 0));
        assert_eq!(world.number(&format!("select count(*) from events where type = '{EVENT}'")).await, 1);
        assert_eq!(world.number("select count(*) from consents").await, 1, "the proof stays");
    }

    async fn sessions_are_kept_for_a_month_after_their_end(world) {
        let person = world.person(&world.app).await;
        world.post("/v1/auth/sign-out", &person.token, json!({})).await.expect(204);
        let count = "select count(*) from sessions";
        assert_eq!(around(world, 30 * DAY_MS, count).await, (1, 0));
        world.person(&world.app).await;
        assert_eq!(around(world, (90 + 30) * DAY_MS, count).await, (1, 0), "one that nobody could refresh any more");
    }

    async fn times_out_of_bounds_are_refused(world) {
        let wrong = [("event_retention_ms", 7 * DAY_MS - 1), ("event_retention_ms", 3_653 * DAY_MS + 1),
            ("decision_retention_ms", 31 * DAY_MS - 1), ("erasure_undo_ms", 28 * DAY_MS + 1)];
        for (name, ms) in wrong {
            let answer = world.patch("/v1/app", &world.app.server, json!({"settings": {name: ms}})).await;
            answer.refused_field(400, "validation_failed", &format!("settings.{name}"));
        }
        let app = world.get("/v1/app", &world.app.server).await.expect(200);
        let kept = ["location_retention_ms", "event_retention_ms", "decision_retention_ms", "erasure_undo_ms"];
        assert_eq!(kept.map(|name| app["settings"][name].as_u64().unwrap() / 3_600_000), [24, 396 * 24, 396 * 24, 0]);
    }
}
