//! How SQLite finds what is asked for: never by walking all that an app has.

use crate::world::{Db, World, run};
use diesel::RunQueryDsl as _;
use kairos::on;

#[derive(diesel::QueryableByName)]
struct Plan {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

/// The steps of a plan.
async fn plan(world: &World, query: &str) -> Vec<String> {
    let explain = format!("explain query plan {query}");
    let store = world.kairos.platform.store.clone();
    let steps: Vec<Plan> = store.read(move |conn| Ok(on!(conn, c => diesel::sql_query(&explain).load(c))?)).await.unwrap();
    steps.into_iter().map(|step| step.detail).collect()
}

/// A campaign's whole audience is due in one instant: what is taken of it first must not have to be sorted out of all.
#[test]
fn a_long_queue_is_walked_along_its_index() {
    run(Db::Sqlite, async |world: &mut World| {
        let waits = "state in ('queued', 'retry_at')";
        let queries = [
            format!(
                "select topic from message_states where app_id = 'a' and route = 'r' and due_ms <= 1 and {waits} order by due_ms, n limit 5"
            ),
            format!(
                "select due_ms from message_states where {waits} and app_id = 'a' and route > 'r' order by route, due_ms limit 1"
            ),
            format!("select due_ms from message_states where {waits} and app_id > 'a' order by app_id, route, due_ms limit 1"),
        ];
        for query in queries {
            let plan = plan(world, &query).await;
            let along = |step: &String| step.starts_with("SEARCH") && step.contains("INDEX message_states_due");
            assert!(plan.len() == 1 && plan.iter().all(along), "{query}: {plan:?}");
        }
    });
}

/// What is asked for a moment, a session, a page of something of a user: sorted out of few, whatever the order it is wanted in.
#[test]
fn what_few_rows_hold_is_not_looked_for_in_all_of_an_app() {
    run(Db::Sqlite, async |world: &mut World| {
        for (query, index) in [
            ("select * from devices where app_id = ? and user_id in (?) and token is not null order by id", "devices_user"),
            ("select * from moments where app_id = ? and user_id in (?, ?) and closes_ms > ? order by id", "moments_user"),
            ("select * from sessions where app_id = ? and user_id = ? and ended_ms is null order by id", "sessions_user"),
            ("select * from messages where app_id = ? and choice_id in (?) order by id", "message_bodies_choice"),
            ("select * from messages where app_id = ? and decision_id in (?) order by id", "message_bodies_once"),
            (
                "select * from messages where app_id = ? and user_id = ? and id < ? order by id desc limit ?",
                "message_bodies_user",
            ),
            ("select * from decisions where app_id = ? and user_id = ? and id > ? order by id limit ?", "decisions_user"),
            ("select * from consents where app_id = ? and user_id in (?, ?) order by id", "consents_user"),
            ("select * from links where app_id = ? and thing_id in (?) order by id", "links_pair"),
            (
                "select * from messages where settled = false and ended_ms is not null order by n limit ?",
                "message_states_unsettled",
            ),
            (
                "select * from decisions where app_id = ? and campaign_id = ? and moment_id is null and user_id > ? order by user_id",
                "decisions_campaign",
            ),
            ("select * from decisions where app_id = ? and moment_id = ?", "decisions_moment"),
            ("select id from events where app_id = ? and user_id is null and thing_id is null and subject = ?", "events_nobody"),
            (
                "select * from devices where app_id = ? and platform in (?, ?, ?) and token in (select value from json_each(?))",
                "devices_token",
            ),
            ("select * from choices where (state = 'held') and planned_ms <= ? order by planned_ms, id limit ?", "choices_held"),
        ] {
            let plan = plan(world, query).await;
            assert!(plan[0].contains(&format!("INDEX {index}")) && !plan[0].contains("ANY("), "{query}: {plan:?}");
            let sorts = plan.iter().any(|step| step.ends_with("TEMP B-TREE FOR ORDER BY"));
            assert!(!sorts || query.contains("user_id in") || query.contains("order by id"), "{query}: {plan:?}");
        }
    });
}

/// The figures are there in every new database, in one that was made without them, and cost nothing at the next start.
#[test]
fn a_database_without_figures_gets_them_at_the_next_start() {
    run(Db::Sqlite, async |world: &mut World| {
        let all = "select tbl || coalesce(idx, '') || stat as line from sqlite_stat1 order by 1";
        let before = world.lines(all).await;
        assert!(before.len() > 100, "{before:?}");
        for made in ["delete from sqlite_stat1", "analyze"] {
            world.kairos.platform.store.write(move |conn| conn.batch(made)).await.unwrap();
            assert_ne!(world.lines(all).await, before);
            world.restart(|_| {}).await;
            assert_eq!(world.lines(all).await, before, "after {made}");
        }
    });
}
