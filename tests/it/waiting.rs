//! What waits, for a gateway or for a database: the user's wishes are asked again, and nothing is lost or sent twice.

use crate::stage::{Good as _, Listener, Stage, minutes};
use crate::world::{Db, World, run};
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};
use std::time::Duration;

/// The gateway is away for so many pushes and asks for ten minutes.
fn away(times: u32) -> Rule {
    let fault = Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(600), timestamp_ms: None };
    Rule { gateway: None, token: None, times: Some(times), fault }
}

async fn prefer(world: &World, who: &Listener, change: Value) {
    world.call("PATCH", "/v1/me/preferences").by(&who.person.token).header("If-Match", "*").json(&change).send().await.good();
}

/// Somebody has landed and their push is to be tried again in ten minutes.
async fn waiting(world: &World, stage: &Stage) -> Listener {
    let who = stage.listener(world).await;
    stage.standin.inject(away(1));
    stage.lands(world, &who, 0).await;
    world.drain().await;
    assert_eq!(stage.messages(world, &who).await[0]["state"], "retry_at");
    who
}

async fn stage(world: &mut World) -> Stage {
    let stage = Stage::set(world).await;
    stage.one_offer(world, json!({}), json!({})).await;
    stage
}

both! {
    async fn a_retry_waits_for_the_end_of_quiet_hours(world) {
        let stage = stage(world).await;
        let who = waiting(world, &stage).await;
        // It is 12:00 in Paris, and the moment lasts half an hour.
        prefer(world, &who, json!({"quiet_hours": {"from": "12:05", "to": "12:20", "zone": "Europe/Paris"}})).await;
        world.advance(minutes(10)).await;
        world.advance(minutes(9)).await;
        assert!(stage.arrived(&who).is_empty(), "it is quiet");
        world.advance(minutes(1)).await;
        assert_eq!(stage.arrived(&who).len(), 1);
    }

    async fn a_retry_that_is_quiet_until_its_deadline_ends(world) {
        let stage = stage(world).await;
        let who = waiting(world, &stage).await;
        prefer(world, &who, json!({"quiet_hours": {"from": "12:05", "to": "13:20", "zone": "Europe/Paris"}})).await;
        world.advance(minutes(10)).await;
        let message = stage.messages(world, &who).await.remove(0);
        assert_eq!((&message["state"], &message["reason"]), (&json!("expired"), &json!("quiet_hours")));
        assert!(stage.arrived(&who).is_empty());
    }

    async fn what_a_user_switches_off_holds_for_what_waits(world) {
        let stage = stage(world).await;
        for (change, reason) in [
            (json!({"topics": {"offers": false}}), "topic_off"),
            (json!({"channels": {"push": false}}), "channel_off"),
            (json!({"pause_until": "2027-01-01T00:00:00.000Z"}), "paused"),
        ] {
            let who = waiting(world, &stage).await;
            prefer(world, &who, change).await;
            world.advance(minutes(10)).await;
            let message = stage.messages(world, &who).await.remove(0);
            assert_eq!((&message["state"], &message["reason"]), (&json!("cancelled"), &json!(reason)));
            assert!(stage.arrived(&who).is_empty(), "{reason}");
        }
    }
}

/// A disk that is full, as PostgreSQL says it; the sequence counts how often, for what is undone leaves no other trace.
const FULL: &str = "create sequence refusals; \
    create function full_disk() returns trigger language plpgsql as $$ begin perform nextval('refusals'); raise exception using \
    errcode = '53100', message = 'could not extend file \"base/1/2\": No space left on device'; end $$;";

async fn run_sql(world: &World, sql: String) {
    world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
}

#[test]
fn a_full_disk_loses_no_event() {
    run(Db::Postgres, async |world| {
        let stage = stage(world).await;
        let who = stage.listener(world).await;
        let full = "create trigger full_disk before insert on decisions for each row execute function full_disk()";
        run_sql(world, format!("{FULL} {full}")).await;
        let id = stage.lands(world, &who, 0).await;
        for _ in 0..5 {
            assert!(world.kairos.drain().await.is_err(), "the work waits for the disk");
        }
        run_sql(world, "drop trigger full_disk on decisions".to_owned()).await;
        world.drain().await;
        assert_eq!(stage.event(world, &id).await["disposition"], "decided");
        assert_eq!(stage.arrived(&who).len(), 1);
    });
}

#[test]
fn a_full_disk_loses_no_answer_of_a_gateway() {
    run(Db::Postgres, async |world| {
        let stage = stage(world).await;
        let who = stage.listener(world).await;
        let full = "create trigger full_disk before update on message_states for each row when (new.state = 'retry_at') \
            execute function full_disk()";
        run_sql(world, format!("{FULL} {full}")).await;
        stage.standin.inject(away(1));
        stage.lands(world, &who, 0).await;
        let store = world.kairos.platform.store.clone();
        let freed = async {
            while world.number("select last_value from refusals").await < 2 {
                tokio::task::yield_now().await;
            }
            store.write(|conn| conn.batch("drop trigger full_disk on message_states")).await.unwrap();
        };
        tokio::join!(world.drain(), freed);
        world.drain().await;
        assert_eq!(stage.messages(world, &who).await[0]["state"], "retry_at");
        world.advance(minutes(10)).await;
        assert_eq!(stage.arrived(&who).len(), 1);
    });
}

/// A claim that is undone at its commit, claimed again and handed over; then its end is refused for good.
#[test]
fn a_claim_that_was_undone_once_does_not_excuse_a_second_hand_over() {
    run(Db::Postgres, async |world| {
        let stage = stage(world).await;
        let who = stage.listener(world).await;
        let undone = "create constraint trigger undone after update on message_states deferrable initially deferred for each row \
            when (new.state = 'sending') execute function full_disk()";
        run_sql(world, format!("{FULL} {undone}")).await;
        stage.lands(world, &who, 0).await;
        assert!(world.kairos.drain().await.is_err());
        assert!(stage.arrived(&who).is_empty());
        let refused = "drop trigger undone on message_states; create or replace function refuse() returns trigger language plpgsql as \
            $$ begin raise exception 'never'; end $$; create trigger refuse before update on message_states for each row \
            when (new.state = 'accepted') execute function refuse()";
        run_sql(world, refused.to_owned()).await;
        let _ = world.kairos.drain().await;
        assert_eq!(stage.arrived(&who).len(), 1);
        run_sql(world, "drop trigger refuse on message_states".to_owned()).await;
        for _ in 0..3 {
            world.advance(Duration::from_secs(16)).await;
        }
        assert_eq!(stage.arrived(&who).len(), 1, "handed over twice");
        assert_eq!(stage.messages(world, &who).await[0]["state"], "unknown");
    });
}
