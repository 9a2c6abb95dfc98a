//! Direct pushes to many: batches, restarts in between, two nodes, exports, what is told, and what is forgotten.

use super::{conserved, push, read, send};
use crate::stage::{Good, Stage, TOPIC, minutes};
use crate::subscriber::Subscriber;
use crate::world::World;
use kairos::id::UserId;
use kairos::people::device::{self, Environment, Platform, PushPermission, Registration, Traits};
use kairos::people::profile::{self, NewUser};
use kairos::serve::Kairos;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Makes users, the first of them with a phone; their ids.
pub async fn crowd(world: &World, (users, phones): (usize, usize)) -> Vec<UserId> {
    let (app, now_ms, ids) = (world.app.id, world.now_ms(), world.kairos.platform.ids.clone());
    let users: Vec<NewUser> = (0..users).map(|_| NewUser::bare(ids.next(), false, now_ms)).collect();
    let of: Vec<UserId> = users.iter().map(|user| user.id).collect();
    let traits = |n: usize| Traits {
        platform: Platform::Ios,
        token: Some(format!("{:064x}", 0xdead_0000_u64 + n as u64)),
        environment: Environment::Production,
        topic: Some(TOPIC.to_owned()),
        locale: None,
        time_zone: None,
        push_permission: PushPermission::Granted,
        app_version: None,
    };
    let registrations: Vec<Registration> = of[..phones]
        .iter()
        .enumerate()
        .map(|(n, user)| Registration {
            id: ids.next(),
            user: *user,
            installation_id: format!("crowd-{n}"),
            session: None,
            traits: traits(n),
            now_ms,
        })
        .collect();
    let made = world.kairos.platform.store.write(move |conn| {
        profile::create_many(conn, app, &users)?;
        device::register_many(conn, app, &registrations)
    });
    made.await.unwrap();
    of
}

fn to_topic() -> Value {
    push(json!({"topic": "offers"}), json!({"purpose": "service"}))
}

/// Steps the walk of pushes by hand, so many times.
async fn steps(kairos: &Kairos, n: usize) {
    for _ in 0..n {
        kairos.step("direct_pushes").await.unwrap();
    }
}

both! {
    async fn an_audience_of_5_000_by_topic_has_exactly_5_000_decisions(world) {
        let stage = Stage::set(world).await;
        crowd(world, (5_000, 300)).await;
        let off = stage.listener(world).await;
        world.patch("/v1/me/preferences", &off.person.token, json!({"topics": {"offers": false}})).await.good();
        let id = send(world, to_topic()).await;
        let mut users = 0;
        for _ in 0..4 {
            steps(&world.kairos, 3).await;
            let out = read(world, &id).await;
            conserved(&out);
            assert!(out["counts"]["users"].as_i64().unwrap() > users, "{out:#}");
            users = out["counts"]["users"].as_i64().unwrap();
            assert_eq!(out["state"], "running");
        }
        world.drain().await;
        let out = read(world, &id).await;
        conserved(&out);
        assert_eq!((&out["counts"]["users"], &out["visited"], &out["outside"]), (&json!(5_000), &json!(5_001), &json!({"topic_off": 1})));
        assert_eq!((&out["counts"]["suppressed"], &out["counts"]["messages"]["accepted"]), (&json!({"no_device": 4_700}), &json!(300)));
        assert_eq!(world.number("select count(*) from decisions").await, 5_000);
        assert_eq!(stage.standin.ledger().len(), 300);
        assert_eq!(out["state"], "done");
        // The export has each of them, in pages and as a stream.
        let lines = world.get(&format!("/v1/pushes/{id}/results.ndjson"), &world.app.server).await;
        assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
        let streamed: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/v1/pushes/{id}/results?limit=500{cursor}"), &world.app.server).await.expect(200);
            paged.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((streamed.len(), streamed == paged), (5_000, true));
        let accepted = streamed.iter().filter(|line| line["state"] == "accepted").count();
        assert_eq!(accepted, 300);
        assert_eq!(out.get("results"), None, "too many to be shown with the push");
    }

    async fn a_restart_in_mid_expansion_sends_nothing_twice_and_leaves_nobody_out(world) {
        let stage = Stage::set(world).await;
        let users = crowd(world, (1_000, 60)).await;
        let topic = send(world, to_topic()).await;
        let ids: Vec<String> = users[..500].iter().map(ToString::to_string).collect();
        let list = send(world, push(json!({"user_ids": ids}), json!({"purpose": "service", "class": "critical", "topic": "alerts"}))).await;
        for _ in 0..3 {
            steps(&world.kairos, 2).await;
            // Nobody is told: what was claimed is in the air, what was not is in the database.
            world.restart(|_| ()).await;
        }
        world.drain().await;
        for (id, n) in [(&topic, 1_000), (&list, 500)] {
            let out = read(world, id).await;
            conserved(&out);
            assert_eq!((&out["state"], &out["counts"]["users"], &out["visited"]), (&json!("done"), &json!(n), &json!(n)), "{out:#}");
            assert_eq!(out["counts"]["chosen"], 60);
        }
        assert_eq!(world.number("select count(*) from decisions").await, 1_500);
        let pushes: Vec<String> = stage.standin.ledger().into_iter().filter_map(|row| row.push_id).collect();
        let once: BTreeSet<&String> = pushes.iter().collect();
        assert_eq!(once.len(), pushes.len(), "one arrived twice");
        stage.adds_up(world).await;
    }

    async fn two_nodes_walk_one_audience_and_meet_everybody_once(world) {
        let stage = Stage::set(world).await;
        crowd(world, (900, 40)).await;
        let second = Kairos::open(world.kairos.platform.config.clone(), world.clock.clone()).await.unwrap();
        let ids = [send(world, to_topic()).await, send(world, to_topic()).await];
        world.drain_beside(&second).await;
        world.drain().await;
        for id in ids {
            let out = read(world, &id).await;
            conserved(&out);
            assert_eq!((&out["counts"]["users"], &out["visited"]), (&json!(900), &json!(900)));
        }
        assert_eq!(world.number("select count(*) from decisions").await, 1_800);
        stage.adds_up(world).await;
    }

    async fn a_rule_reaches_those_of_whom_it_is_true_and_counts_the_others(world) {
        let stage = Stage::set(world).await;
        let by = &world.app.server;
        world.post("/v1/attributes", by, json!({"scope": "user", "key": "tier", "kind": "string"})).await.good();
        let mut people = Vec::new();
        for tier in ["gold", "gold", "basic", ""] {
            let who = stage.listener(world).await;
            if !tier.is_empty() {
                world.patch(&format!("/v1/users/{}", who.person.id), by, json!({"attributes": {"tier": tier}})).await.good();
            }
            people.push(who);
        }
        let id = send(world, push(json!({"rule": "user.attributes.tier == 'gold' && device.platform == 'ios'"}), json!({}))).await;
        world.drain().await;
        let out = read(world, &id).await;
        conserved(&out);
        let arrived: Vec<usize> = people.iter().map(|who| stage.arrived(who).len()).collect();
        assert_eq!(arrived, [1, 1, 0, 0]);
        assert_eq!((&out["counts"]["users"], &out["visited"]), (&json!(2), &json!(4)));
        assert_eq!(out["outside"].as_object().unwrap().values().filter_map(Value::as_i64).sum::<i64>(), 2, "{out:#}");
        stage.adds_up(world).await;
    }

    async fn the_end_is_told_once_with_its_figures_and_retention_forgets_all_of_it(world) {
        let stage = Stage::set(world).await;
        let subscriber = Subscriber::open().await;
        let hook = json!({"url": subscriber.url("/in"), "event_types": ["push.*"]});
        world.restart(|config| "127.0.0.0/8".clone_into(&mut config.outbound_allow)).await;
        world.post("/v1/webhooks", &world.app.server, hook).await.expect(201);
        let who = stage.listener(world).await;
        let id = send(world, push(json!({"user_ids": [who.person.id]}), json!({"name": "One"}))).await;
        world.drain().await;
        world.advance(minutes(1)).await;
        let told: Vec<Value> = subscriber.arrivals().iter().map(|arrival| arrival.json()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((&told[0]["type"], &told[0]["data"]["push"], &told[0]["data"]["state"]), (&json!("push.completed"), &json!(id), &json!("done")));
        assert_eq!(told[0]["data"]["counts"]["messages"]["accepted"], 1);
        world.advance(minutes(24 * 60 * 397)).await;
        for table in ["pushes", "push_runs", "push_targets", "decisions", "messages", "versions"] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
    }

    async fn words_to_one_person_go_with_that_person(world) {
        let stage = Stage::set(world).await;
        let (who, other) = (stage.listener(world).await, stage.listener(world).await);
        let secret = json!({"content": {"title": "Dear Ann", "body": "your parcel is here"}});
        let alone = send(world, push(json!({"user_ids": [who.person.id]}), secret.clone())).await;
        let mut later = secret.clone();
        later["send_at"] = json!(world.time(86_400));
        let planned = send(world, push(json!({"user_ids": [who.person.id]}), later.clone())).await;
        let both = send(world, push(json!({"user_ids": [who.person.id, other.person.id]}), later)).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from versions where spec like '%Dear Ann%'").await, 1);
        world.delete(&format!("/v1/users/{}", who.person.id), &world.app.server).await.expect(202);
        // Its time comes while its person is being erased.
        world.advance(minutes(24 * 60)).await;
        assert_eq!(stage.arrived(&other).len(), 1);
        world.advance(minutes(24 * 60 * 39)).await;
        for id in [&alone, &planned] {
            world.get(&format!("/v1/pushes/{id}"), &world.app.server).await.refused(404, "not_found");
        }
        assert_eq!(world.number("select count(*) from versions where spec like '%Dear Ann%'").await, 1, "that of the other one");
        assert_eq!(read(world, &both).await["counts"]["users"], 1);
        let of_them = format!("select count(*) from push_targets where user_id = '{}'", who.person.id);
        assert_eq!(world.number(&of_them).await, 0);
    }
}
