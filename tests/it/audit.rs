//! The audit log: one row for each change, none for what was refused, in a chain that shows what was done to it.

use crate::isolation::{body, furnish, operations};
use crate::world::{Caller, Db, OPERATOR_PASSWORD, Tenant, World};
use ring::digest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn count(world: &World, tenant: &Tenant) -> i64 {
    world.number(&format!("select count(*) from audit where app_id = '{}'", tenant.id)).await
}

async fn rows(world: &World, by: &Caller, query: &str) -> Vec<Value> {
    world.get(&format!("/v1/audit?limit=500{query}"), by).await.expect(200)["items"].as_array().unwrap().clone()
}

async fn run(world: &World, sql: String) -> kairos::error::Result<()> {
    world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

both! {
    async fn every_change_adds_one_row_and_a_refusal_none(world) {
        let house = furnish(world).await;
        let tenant = house.tenant.clone();
        let server_key = world.get("/v1/keys", &tenant.server).await.expect(200)["items"][1]["id"].clone();
        let operator = world.get("/v1/operators/me", &house.operator).await.expect(200)["id"].clone();
        let mut all: Vec<_> = operations().into_iter().filter(|o| o.method != "GET").collect();
        all.retain(|o| o.callers.contains(&BTreeSet::from(["server_key".to_owned()])));
        // What takes something away comes last.
        all.sort_by_key(|o| (o.method == "DELETE", o.path.ends_with("/end"), o.path.contains("/partners/"), o.path == "/v1/partners/{id}"));
        let (mut done, mut refused) = (BTreeSet::new(), 0);
        for operation in &all {
            for (by, actor) in [(&tenant.server, &server_key), (&house.operator, &operator)] {
                let (path, before) = (house.path(operation), count(world, &tenant).await);
                let body = body(operation);
                let request = world.call(&operation.method, &path).by(by).header("X-Request-Id", "walk-1");
                let answer = if operation.has_body || operation.method == "POST" { request.json(&body) } else { request }.send().await;
                let name = format!("{} {}", operation.path, operation.method);
                let what = format!("{name}: {} {}", answer.status, answer.text());
                let data_plane = kairos::audit::DATA_PLANE.iter().any(|(method, path)| (*method, *path) == (&operation.method, &operation.path));
                let added = count(world, &tenant).await - before;
                if answer.status >= 300 || data_plane {
                    assert_eq!(added, 0, "{what}");
                    refused += 1;
                    continue;
                }
                assert_eq!(added, 1, "{what}");
                let last = rows(world, &tenant.server, "").await[0].clone();
                assert_eq!((&last["actor"], &last["action"], &last["request_id"]), (actor, &json!(name), &json!("walk-1")), "{what}");
                let fields: BTreeSet<&str> = last["fields"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
                let sent: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).filter(|_| operation.has_body).collect();
                assert_eq!(fields, sent, "{what}");
                for object in last["objects"].as_array().unwrap() {
                    assert!(path.contains(object.as_str().unwrap()) || answer.text().contains(object.as_str().unwrap()), "{last}");
                }
                assert!(operation.path.contains("{installation_id}") || !operation.path.contains('{') || !last["objects"].as_array().unwrap().is_empty());
                done.insert(name);
            }
        }
        assert!(done.len() > 30 && refused > 5, "{} {refused} {done:#?}", done.len());
        world.drain().await;
        let whole = world.get("/v1/audit/verify", &tenant.server).await.expect(200);
        assert_eq!((&whole["whole"], &whole["count"]), (&json!(true), &json!(count(world, &tenant).await)));
    }

    async fn what_users_phones_and_readers_do_is_not_in_it(world) {
        let tenant = world.app.clone();
        let staff = world.operator(&tenant, "owner").await;
        let before = count(world, &tenant).await;
        let person = world.person(&tenant).await;
        world.patch("/v1/me", &person.token, json!({"locale": "fr"})).await.expect(200);
        world.post("/v1/me/consents", &person.token, json!({"purpose": "location", "granted": false})).await.expect(201);
        for by in [&tenant.server, &staff.caller] {
            world.get("/v1/users", by).await.expect(200);
            world.get("/v1/audit", by).await.expect(200);
            let event = json!({"events": [{"id": "e1", "type": "x", "occurred_at": world.time(0), "subject": person.id}]});
            world.post("/v1/events", by, event).await.expect(202);
            world.patch("/v1/app", by, json!({"name": ""})).await.refused(400, "validation_failed");
        }
        let poor = world.server_key(&tenant, &["app:read"]).await;
        assert_eq!(count(world, &tenant).await, before + 1, "the making of the key");
        world.patch("/v1/app", &poor, json!({"name": "x"})).await.refused(403, "missing_scope");
        world.patch("/v1/app", &Caller::Nobody, json!({"name": "x"})).await.refused(401, "unauthorized");
        world.drain().await;
        assert_eq!(count(world, &tenant).await, before + 1);
    }

    async fn keys_leave_rows_from_their_making_to_their_end(world) {
        let tenant = world.app.clone();
        let made = world.post("/v1/keys", &tenant.server, json!({"kind": "publishable", "name": "web"})).await.expect(201);
        let id = made["id"].as_str().unwrap();
        let next = world.post(&format!("/v1/keys/{id}/rotate"), &tenant.server, json!({})).await.expect(201);
        world.delete(&format!("/v1/keys/{id}"), &tenant.server).await.expect(204);
        let rows = rows(world, &tenant.server, &format!("&object={id}")).await;
        let seen: Vec<(&str, Value)> = rows.iter().rev().map(|row| (row["action"].as_str().unwrap(), row["objects"].clone())).collect();
        let expected = [
            ("/v1/keys POST", json!([id])),
            ("/v1/keys/{id}/rotate POST", json!([id, next["id"]])),
            ("/v1/keys/{id} DELETE", json!([id])),
        ];
        assert_eq!(seen, expected);
        assert_eq!(rows[2]["fields"], json!(["kind", "name"]));
        let text = world.lines("select objects || fields || details || action as line from audit").await.join("");
        assert!(!text.contains(made["secret"].as_str().unwrap()) && !text.contains("web"));
    }

    async fn signing_in_leaves_a_row_whether_it_succeeds_or_not(world) {
        let (tenant, other) = (world.app.clone(), world.new_app("Louvre").await);
        let staff = world.operator(&tenant, "owner").await;
        let attempt = |email: &str| json!({"email": email, "password": OPERATOR_PASSWORD, "code": "000000"});
        world.post("/v1/operators/sign-in", &Caller::Nobody, attempt(&staff.email)).await.refused(401, "invalid_credentials");
        world.post("/v1/operators/sign-in", &Caller::Nobody, attempt("nobody@example.com")).await.refused(401, "invalid_credentials");
        world.post("/v1/operators/sign-out", &staff.caller, json!({})).await.expect(204);
        let rows = rows(world, &tenant.server, "&action=operator.").await;
        let seen: Vec<(&str, &str)> = rows.iter().rev().map(|row| (row["action"].as_str().unwrap(), row["actor"].as_str().unwrap())).collect();
        let id = staff.id.as_str();
        let expected = [
            ("operator.accept", id), ("operator.enrolment-offered", id), ("operator.sign-in", id),
            ("operator.sign-in.failed", "nobody"), ("operator.sign-out", id),
        ];
        assert_eq!(seen, expected);
        assert!(rows.iter().all(|row| row["objects"] == json!([id])));
        assert_eq!(count(world, &other).await, 1, "only its own making");
        // What belongs to no app is in the installation's own chain, without the address.
        assert_eq!(world.lines("select action as line from audit where app_id = ''").await, ["operator.sign-in.failed"]);
        let text = world.lines("select objects || fields || details || actor as line from audit").await.join("");
        assert!(!text.contains("example"), "{text}");
    }

    async fn nothing_personal_is_in_it(world) {
        let tenant = world.app.clone();
        let user = json!({"external_id": "canary-7", "locale": "fr"});
        let id = world.post("/v1/users", &tenant.server, user).await.expect(201)["id"].as_str().unwrap().to_owned();
        let device = json!({"platform": "android", "token": "canary-token", "app_version": "canary"});
        assert!(world.put(&format!("/v1/users/{id}/devices/canary-phone"), &tenant.server, device).await.status < 300);
        world.patch(&format!("/v1/users/{id}"), &tenant.server, json!({"external_id": "canary-8"})).await;
        let text = world.lines("select action || actor || objects || fields || details as line from audit").await.join("\n");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains(&id));
    }

    async fn it_is_asked_by_actor_action_object_and_time_and_page_by_page(world) {
        let tenant = world.app.clone();
        let staff = world.operator(&tenant, "owner").await;
        for n in 0..5 {
            world.clock.advance(std::time::Duration::from_secs(60));
            let by = if n % 2 == 0 { &tenant.server } else { &staff.caller };
            world.post("/v1/topics", by, json!({"key": format!("a_{n}"), "name": "T"})).await.expect(201);
            world.patch(&format!("/v1/topics/a_{n}"), by, json!({"name": "U"})).await.expect(200);
        }
        let by = &tenant.server;
        assert_eq!(rows(world, by, &format!("&actor={}&action=/v1/topics", staff.id)).await.len(), 4);
        assert_eq!(rows(world, by, "&action=/v1/topics/").await.len(), 5);
        assert_eq!(rows(world, by, "&action=/v1/_opics").await.len(), 0, "no pattern");
        assert_eq!(rows(world, by, "&object=a_1").await.len(), 1);
        assert_eq!(rows(world, by, "&object=a%251").await.len(), 0, "no pattern");
        let since = world.time(-60).replace(':', "%3A");
        assert_eq!(rows(world, by, &format!("&since={since}")).await.len(), 4);
        assert_eq!(rows(world, by, &format!("&since={since}&until={}", world.time(0).replace(':', "%3A"))).await.len(), 2);
        let all = rows(world, by, "").await;
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/v1/audit?limit=3{cursor}"), by).await.expect(200);
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, all);
        let places: Vec<i64> = all.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
        assert_eq!(places, (1..=i64::try_from(all.len()).unwrap()).rev().collect::<Vec<_>>());
        for wrong in ["cursor=x", "limit=0", "since=soon", "actor=", "surprise=1"] {
            world.get(&format!("/v1/audit?{wrong}"), by).await.refused(400, "validation_failed");
        }
    }

    async fn anybody_can_check_the_chain_from_what_is_shown(world) {
        let tenant = world.app.clone();
        world.post("/v1/topics", &tenant.server, json!({"key": "a", "name": "T"})).await.expect(201);
        world.operator(&tenant, "viewer").await;
        let mut before = "0".repeat(64);
        for row in rows(world, &tenant.server, "").await.iter().rev() {
            let at_ms = kairos::clock::Time::parse(row["at"].as_str().unwrap()).unwrap().0;
            let canonical = json!([
                tenant.id.to_string(), row["seq"], at_ms, row["actor"], row["action"], row["objects"], row["fields"], row["details"], row["request_id"],
            ]);
            let hash = hex(digest::digest(&digest::SHA256, format!("{before}{canonical}").as_bytes()).as_ref());
            assert_eq!(row["hash"], hash, "{row}");
            before = hash;
        }
        let whole = world.get("/v1/audit/verify", &tenant.server).await.expect(200);
        assert_eq!((&whole["whole"], &whole["head"], whole.get("first_bad")), (&json!(true), &json!(before), None));
    }

    async fn the_database_refuses_to_change_it_and_what_was_changed_all_the_same_is_found(world) {
        let tenant = world.app.clone();
        for n in 0..6 {
            world.post("/v1/topics", &tenant.server, json!({"key": format!("t{n}"), "name": "T"})).await.expect(201);
        }
        let app = tenant.id;
        for change in ["update audit set actor = 'x'", "delete from audit", "update audit set hash = hash where seq = 1"] {
            assert!(run(world, change.to_owned()).await.is_err(), "{change}");
        }
        let columns = "app_id, seq, at_ms, actor, action, objects, fields, details, request_id, hash";
        let copy = format!("select app_id, seq, at_ms, 'x', action, objects, fields, details, request_id, hash from audit where seq = 3 and app_id = '{app}'");
        let replace = match world.database.db() {
            Db::Sqlite => format!("insert or replace into audit ({columns}) {copy}"),
            Db::Postgres => "truncate audit".to_owned(),
        };
        assert!(run(world, replace.clone()).await.is_err(), "{replace}");
        let verify = async || world.get("/v1/audit/verify", &tenant.server).await.expect(200);
        assert_eq!(verify().await["whole"], true);
        // As somebody with the database's own rights would.
        let off = match world.database.db() {
            Db::Sqlite => "drop trigger audit_no_update; drop trigger audit_no_delete; drop trigger audit_no_replace",
            Db::Postgres => "drop trigger audit_no_change on audit",
        };
        run(world, off.to_owned()).await.unwrap();
        run(world, format!("create table kept as select * from audit where app_id = '{app}'")).await.unwrap();
        let restore = format!("delete from audit where app_id = '{app}'; insert into audit ({columns}) select {columns} from kept");
        for (column, value) in [("actor", "'x'"), ("action", "'x'"), ("objects", "'[\"x\"]'"), ("fields", "'[]'"), ("details", "'{\"a\":\"b\"}'"), ("at_ms", "at_ms + 1"), ("request_id", "'x'"), ("hash", "'00'")] {
            run(world, format!("update audit set {column} = {value} where app_id = '{app}' and seq = 4")).await.unwrap();
            let found = verify().await;
            assert_eq!((&found["whole"], &found["first_bad"]), (&json!(false), &json!(4)), "{column}");
            run(world, restore.clone()).await.unwrap();
            assert_eq!(verify().await["whole"], true);
        }
        for (what, bad) in [
            ("delete from audit where seq = 4", Some(4)),
            ("delete from audit where seq = 1", Some(1)),
            ("update audit set seq = 100 where seq = 4; update audit set seq = 4 where seq = 5; update audit set seq = 5 where seq = 100", Some(4)),
            // A cut end looks whole: count and head tell, to who has kept them.
            ("delete from audit where seq = 7", None),
        ] {
            let before = verify().await;
            run(world, what.to_owned()).await.unwrap();
            let found = verify().await;
            assert_eq!(found["first_bad"].as_i64(), bad, "{what}");
            assert!(found["count"] != before["count"] || found["whole"] == false);
            run(world, restore.clone()).await.unwrap();
        }
    }

    async fn many_changes_at_once_make_one_chain_per_app(world) {
        let (one, other) = (world.app.clone(), world.new_app("Louvre").await);
        let (key, tenants) = (|n: usize| json!({"key": format!("t{n}"), "name": "T"}), [&one, &other]);
        let all = (0..60).map(|n| world.post("/v1/topics", &tenants[n % 2].server, key(n / 2)));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|answer| answer.status == 201));
        for tenant in tenants {
            let whole = world.get("/v1/audit/verify", &tenant.server).await.expect(200);
            assert_eq!((&whole["whole"], &whole["count"]), (&json!(true), &json!(31)));
        }
        // Of two that make the same only one has an effect, and only one has a row.
        let twice = futures_util::future::join_all((0..8).map(|_| world.post("/v1/topics", &one.server, key(99)))).await;
        assert_eq!(twice.iter().filter(|answer| answer.status == 201).count(), 1);
        assert_eq!(count(world, &one).await, 32);
    }

    async fn a_detail_noted_by_a_handler_is_in_the_row(world) {
        let tenant = world.app.clone();
        let staff = world.operator(&tenant, "viewer").await;
        world.patch(&format!("/v1/operators/{}", staff.id), &tenant.server, json!({"role": "marketer"})).await.expect(200);
        let last = rows(world, &tenant.server, "").await[0].clone();
        assert_eq!((&last["details"], &last["objects"]), (&json!({"role": "marketer", "disabled": "false"}), &json!([staff.id])));
    }
}
