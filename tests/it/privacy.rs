//! Everything about a person is shown, and nothing of them is left when they are gone: driven by the schema, so that a new
//! column has to say what it is.

#[path = "privacy/columns.rs"]
mod columns;

use crate::world::story::{self, EVENT};
use crate::world::{Caller, Database, Db, Person, Tenant, World, logs};
use columns::{Column, NOT_SHOWN, reason, text_columns};
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A life with a word of its own in every column that takes one.
struct Life {
    word: &'static str,
    id: String,
    token: Caller,
    message: String,
}

const MINUTE: Duration = Duration::from_secs(61);

async fn send(world: &World, by: &Caller, event: Value) -> Value {
    let taken = world.post("/v1/events", by, json!({"events": [event]})).await.expect(202);
    assert_eq!(taken["results"][0]["status"], "accepted", "{taken}");
    taken["results"][0].clone()
}

async fn grant(world: &World, by: &Caller, (purpose, version): (&str, &str), screen: &str) {
    let body = json!({"purpose": purpose, "granted": true, "text_version": version, "evidence": {"screen": screen}});
    world.post("/v1/me/consents", by, body).await.expect(201);
}

/// What the lives of an app need.
async fn open(world: &World, tenant: &Tenant) {
    let by = &tenant.server;
    story::declare(&world.api, tenant).await;
    story::credentials(&world.api, tenant, &world.standin).await;
    let mut offer = story::offer("Lounge");
    offer["template"]["variants"]["en"]["body"] = "Ready: {{ event.properties.n }}".into();
    story::campaign(&world.api, tenant, &offer).await;
    world.post("/v1/attributes", by, json!({"scope": "user", "key": "nick", "kind": "string"})).await.expect(201);
    world.post("/v1/things", by, json!({"key": "belt"})).await.expect(201);
    let circle = json!({"name": "Hall", "circle": {"lat": 48.72, "lon": 2.36, "radius_m": 3000}});
    world.post("/v1/places", by, circle).await.expect(201);
}

/// A passkey and an identity as if they had been registered.
async fn ways_in(world: &World, tenant: &Tenant, (user, word): (&str, &str)) {
    let (app, n) = (tenant.id, &user[4..]);
    let rows = format!(
        "insert into passkeys (app_id, id, user_id, handle, credential_id, credential, counter, backed_up, transports, name, \
         second_factor, created_ms) values ('{app}', 'psk_{n}', '{user}', 'x', '{n}', '{{}}', 0, false, '[]', '{word}passkey', \
         false, 0); \
         insert into identities (app_id, id, user_id, provider, issuer, subject, client_id, email, email_is_private, \
         email_reachable, email_ms, created_ms, last_used_ms) values ('{app}', 'idn_{n}', '{user}', 'google', 'x', \
         '{word}subject', 'x', '{word}alias@example.com', false, true, 0, 0, 0); \
         insert into foreign_passwords (app_id, user_id, email, place, created_ms) values ('{app}', '{user}', \
         '{word}brought@example.com', '{n}', 0)"
    );
    world.kairos.platform.store.write(move |conn| conn.batch(&rows)).await.unwrap();
}

/// A token of Apple's for a word.
fn hex(word: &str) -> String {
    word.bytes().map(|b| format!("{b:02x}")).collect()
}

async fn live(world: &World, tenant: &Tenant, word: &'static str) -> Life {
    let by = &tenant.server;
    let crm = format!("user:{word}crm");
    let early = json!({"id": format!("{word}early"), "type": "crm.noted", "occurred_at": world.time(0), "subject": crm,
        "properties": {"note": format!("{word}note")}});
    send(world, by, early).await;
    let pair = json!({"email": format!("{word}mail@example.com"), "password": "correct horse battery"});
    let request = world.call("POST", "/v1/auth/sign-up").by(&tenant.phone).header("User-Agent", &format!("{word}agent/1"));
    let Person { id, token, .. } = Person::from(&request.json(&pair).send().await.expect(200));
    let code = world.letter(tenant, &format!("{word}mail@example.com")).await.code();
    let Person { token, .. } =
        Person::from(&world.post("/v1/auth/email/verify", &token, json!({ "code": code })).await.expect(200));
    ways_in(world, tenant, (&id, word)).await;
    let patch = json!({"external_id": format!("{word}crm"), "attributes": {"nick": format!("{word}nick")},
        "claims": {"club": format!("{word}club")}});
    world.patch(&format!("/v1/users/{id}"), by, patch).await.expect(200);
    let sessions = world.get("/v1/me/sessions", &token).await.expect(200);
    let session = format!("/v1/me/sessions/{}", sessions["items"][0]["id"].as_str().unwrap());
    world.patch(&session, &token, json!({"name": format!("{word}session")})).await.expect(200);
    grant(world, &token, ("offers", "v1"), &format!("{word}screen")).await;
    grant(world, &token, ("location", "1"), &format!("{word}place")).await;
    let device = json!({"platform": "android", "token": format!("fcm-{word}token:APA91bkairos"), "topic": format!("{word}.topic"),
        "push_permission": "granted", "app_version": format!("{word}version"), "locale": "en"});
    world.put(&format!("/v1/me/devices/{word}phone"), &token, device).await.expect(201);
    let iphone = json!({"platform": "ios", "token": hex(&format!("{word}iphone")), "topic": story::TOPIC});
    world.put(&format!("/v1/me/devices/{word}iphone"), &token, iphone).await.expect(201);
    let activity = json!({"token": hex(&format!("{word}activity")), "attributes_type": "FlightAttributes"});
    world.put(&format!("/v1/me/devices/{word}iphone/activities/{word}activity"), &token, activity).await.expect(200);
    world.patch("/v1/me/preferences", &token, json!({"topics": {"news": true}})).await.expect(200);
    let things = world.get("/v1/things", by).await.expect(200);
    let links = format!("/v1/things/{}/links", things["items"][0]["id"].as_str().unwrap());
    world.post(&links, by, json!({"user": id, "kind": format!("{word}kind")})).await.expect(201);
    let ready = json!({"id": format!("{word}event"), "type": EVENT, "occurred_at": world.time(0), "subject": crm,
        "properties": {"n": format!("{word}order")}});
    send(world, by, ready).await;
    let fix = json!({"id": format!("{word}fix"), "type": "app.moved", "occurred_at": world.time(0),
        "location": {"lat": 48.72, "lon": 2.36, "accuracy_m": 5}});
    send(world, &token, fix).await;
    world.drain().await;
    let inbox = world.get("/v1/me/messages", &token).await.expect(200);
    let message = inbox["items"][0]["id"].as_str().unwrap().to_owned();
    world.post(&format!("/v1/messages/{message}/receipts"), &token, json!({"kind": "opened"})).await.expect(200);
    Life { word, id, token, message }
}

/// Every cell that is text, by column.
async fn everything(world: &World) -> BTreeMap<Column, Vec<String>> {
    let mut all = BTreeMap::new();
    for column in text_columns(world).await {
        let Column { table, name } = &column;
        // Bytes are of no use here: a word cannot be found in them.
        let cell = if column.is_bytes() { "''".to_owned() } else { format!("coalesce({name}, '')") };
        all.insert(column.clone(), world.lines(&format!("select {cell} as line from {table}")).await);
    }
    all
}

/// The cells that hold a word.
fn holding(all: &BTreeMap<Column, Vec<String>>, word: &str) -> Vec<(Column, String)> {
    let cells = all.iter().flat_map(|(column, cells)| cells.iter().map(move |cell| (column, cell)));
    cells.filter(|(_, cell)| cell.contains(word)).map(|(column, cell)| (column.clone(), cell.clone())).collect()
}

/// The word of a cell that begins with a canary.
fn canary<'a>(cell: &'a str, word: &str) -> &'a str {
    let rest = &cell[cell.find(word).unwrap()..];
    &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())]
}

/// Whether the files of an SQLite database hold one of these words, deleted or not.
fn in_files(database: &Database, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in ["kairos.db", "kairos.db-wal"] {
        let bytes = std::fs::read(database.folder().join(file)).unwrap_or_default();
        let holds = |word: &&&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        found.extend(words.iter().filter(holds).map(|word| format!("{word} in {file}")));
    }
    found
}

async fn erase(world: &World, tenant: &Tenant, user: &str) -> Value {
    world.delete(&format!("/v1/users/{user}"), &tenant.server).await.expect(202)["erasure"].clone()
}

async fn erasure(world: &World, id: &Value) -> Value {
    world.get(&format!("/v1/erasures/{}", id.as_str().unwrap()), &world.app.server).await.expect(200)
}

fn row(data: &Value, section: &str) -> Value {
    data["data"][section][0].clone()
}

both! {
    async fn every_column_about_a_person_is_in_their_export_and_nowhere_after_their_erasure(world) {
        logs::keep();
        let (home, other) = (world.app.clone(), world.new_app("Louvre").await);
        open(world, &home).await;
        open(world, &other).await;
        let gone = live(world, &home, "kanarie1x").await;
        let (beside, elsewhere) = (live(world, &home, "kanarie2x").await, live(world, &other, "kanarie3x").await);
        let before = everything(world).await;

        // The schema: each column of text either holds a word of this life, or says why it does not.
        let planted: BTreeMap<Column, String> = holding(&before, gone.word).into_iter().collect();
        let mut unknown = Vec::new();
        for column in before.keys() {
            match (planted.contains_key(column), reason(column)) {
                (false, None) => unknown.push(format!("{column}: nobody has said what it is")),
                (true, Some(said)) => unknown.push(format!("{column} is said to be none: {said}")),
                (true, None) | (false, Some(_)) => {}
            }
        }
        assert!(unknown.is_empty(), "a column that may hold something about a person gets a canary in live(), and its table a \
            place in its room's personal.rs; any other gets a reason in privacy/columns.rs: {unknown:#?}");
        assert!(planted.len() > 15, "{planted:?}");

        let answer = world.get("/v1/me/export", &gone.token).await;
        let export = answer.expect(200);
        assert!(answer.header("content-disposition").unwrap().starts_with("attachment; filename=\"kairos-export-usr_"));
        let text = export.to_string();
        for (column, cell) in &planted {
            let word = canary(cell, gone.word);
            assert!(NOT_SHOWN.iter().any(|(hidden, _)| *hidden == column.to_string()) || text.contains(word), "{column}: {word}");
        }
        for strange in [beside.word, elsewhere.word, &beside.id, "password_hash"] {
            assert!(!text.contains(strange), "{strange} in the export of somebody else");
        }
        let decision = row(&export, "decisions");
        assert_eq!(decision["in_words"], "An offer was chosen for you and sent to your devices.");
        assert_eq!(decision["known"]["facts"]["user"]["attributes"]["nick"], "kanarie1xnick");
        assert_eq!(row(&export, "receipts")["kind"], "opened");
        assert_eq!(row(&export, "positions")["lat"], 48.72);
        assert_eq!((&export["schema"], &export["controller"]), (&json!("kairos.export/1"), &json!("Airport")));
        let by_server = world.get(&format!("/v1/users/{}/export", gone.id), &home.server).await.expect(200);
        assert_eq!(by_server["data"], export["data"]);

        let asked = erase(world, &home, &gone.id).await;
        // The same again changes nothing.
        assert_eq!(erase(world, &home, &gone.id).await["id"], asked["id"]);
        // Killed between any two transactions: whoever starts next goes on.
        for _ in 0..4 {
            let workers = kairos::privacy::workers(&world.kairos.platform);
            workers[0].step().await.unwrap();
            world.restart(|_| {}).await;
        }
        world.drain().await;
        world.advance(MINUTE).await;
        assert_eq!(erasure(world, &asked["id"]).await["state"], "done");
        world.get(&format!("/v1/users/{}", gone.id), &home.server).await.refused(404, "not_found");
        world.get(&format!("/v1/users/{}/export", gone.id), &home.server).await.refused(404, "not_found");
        world.delete(&format!("/v1/users/{}", gone.id), &home.server).await.refused(404, "not_found");

        let after = everything(world).await;
        // The audit log is never shortened: it names what was done to which id, and nothing else.
        let names = |word: &&str| holding(&after, word).into_iter().filter(|(column, _)| column.to_string() != "audit.objects");
        let left: Vec<_> = [gone.word, &gone.id, &gone.message].iter().flat_map(names).collect();
        assert!(left.is_empty(), "{left:#?}");
        assert_eq!(world.number("select count(*) from moments").await, 2);
        if world.database.db() == Db::Sqlite {
            assert_eq!(in_files(&world.database, &[gone.word]), [""; 0], "deleted content is in the files");
        }
        for life in [&beside, &elsewhere] {
            assert_eq!(holding(&before, life.word), holding(&after, life.word));
            assert_eq!(holding(&before, &life.id).len(), holding(&after, &life.id).len());
        }
        let words = ["kanarie1x", "kanarie2x", "kanarie3x", "correct horse", &gone.id];
        assert_eq!(logs::with(&words), [""; 0], "personal data in the log");
    }

    async fn whoever_leaves_hears_and_decides_nothing_more_from_the_answer_on(world) {
        let home = world.app.clone();
        open(world, &home).await;
        let life = live(world, &home, "kanarie1x").await;
        world.standin.inject(Rule::always(Fault::Answer { status: 503, reason: "UNAVAILABLE".into(), retry_after_s: None, timestamp_ms: None }));
        let event = |n: &str| json!({"id": n, "type": EVENT, "occurred_at": world.time(0), "subject": "user:kanarie1xcrm", "properties": {"n": n}});
        send(world, &home.server, event("waits")).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where state = 'retry_at'").await, 1);
        let late = send(world, &home.server, event("undecided")).await;
        let handed_over = world.standin.ledger().len();
        world.patch("/v1/app", &home.server, json!({"settings": {"erasure_undo_ms": 3_600_000}})).await.expect(200);
        let asked = world.delete("/v1/me", &life.token).await.expect(202);
        assert_eq!(asked["erasure"]["due_at"], json!(world.time(3_600)));
        // At once: no session, no token, no message, no profile.
        world.get("/v1/me", &life.token).await.refused(401, "unauthorized");
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 0);
        assert_eq!(world.number("select count(*) from messages where state = 'token_dead' and reason = 'user_left'").await, 1);
        world.get(&format!("/v1/users/{}", life.id), &home.server).await.refused(404, "not_found");
        let body = json!({"purpose": "offers", "granted": false});
        world.post(&format!("/v1/users/{}/consents", life.id), &home.server, body).await.refused(404, "not_found");
        let exported = world.get(&format!("/v1/users/{}/export", life.id), &home.server).await.expect(200);
        assert_eq!(row(&exported, "profile")["leaving_at"], json!(world.time(0)));
        world.standin.heal();
        let decisions = world.number("select count(*) from decisions").await;
        world.drain().await;
        world.advance(Duration::from_secs(1_800)).await;
        assert_eq!(world.standin.ledger().len(), handed_over, "something was handed over to somebody who left");
        assert_eq!(world.number("select count(*) from decisions").await, decisions);
        let path = format!("/v1/events/{}", late["event_id"].as_str().unwrap());
        assert_eq!(world.get(&path, &home.server).await.expect(200)["disposition"], "unknown_subject");
        assert_eq!(world.number("select count(*) from users").await, 1, "the window to undo it is open");
        world.advance(Duration::from_secs(1_801)).await;
        world.advance(MINUTE).await;
        assert_eq!(world.number("select count(*) from users").await, 0);
        assert_eq!(world.number("select count(*) from events where user_id is not null").await, 0);
    }

    async fn an_erasure_is_undone_within_its_window_by_a_sign_in_or_by_the_server_and_not_later(world) {
        let home = world.app.clone();
        world.patch("/v1/app", &home.server, json!({"settings": {"erasure_undo_ms": 60_000}})).await.expect(200);
        let pair = json!({"email": "ada@example.com", "password": "correct horse battery"});
        let (id, token) = story::sign_up(&world.api, &home, "ada@example.com").await;
        let asked = world.delete("/v1/me", &token).await.expect(202)["erasure"].clone();
        world.advance(Duration::from_secs(59)).await;
        let wrong = json!({"email": "ada@example.com", "password": "wrong horse battery"});
        world.post("/v1/auth/sign-in", &home.phone, wrong).await.refused(401, "invalid_credentials");
        assert_eq!(erasure(world, &asked["id"]).await["state"], "waiting");
        let back = Person::from(&world.post("/v1/auth/sign-in", &home.phone, pair.clone()).await.expect(200));
        assert_eq!((&back.id, erasure(world, &asked["id"]).await["state"].as_str().unwrap()), (&id, "restored"));
        world.advance(Duration::from_secs(120)).await;
        world.get("/v1/me", &back.token).await.expect(200);

        let restore = format!("/v1/users/{id}/restore");
        world.post(&restore, &home.server, json!({})).await.refused(404, "not_found");
        world.delete("/v1/me", &back.token).await.expect(202);
        world.post(&restore, &home.server, json!({})).await.expect(204);
        world.get("/v1/me", &back.token).await.refused(401, "unauthorized");
        let back = Person::from(&world.post("/v1/auth/sign-in", &home.phone, pair.clone()).await.expect(200));
        world.delete("/v1/me", &back.token).await.expect(202);
        world.advance(Duration::from_secs(60)).await;
        world.post(&restore, &home.server, json!({})).await.refused(404, "not_found");
        world.post("/v1/auth/sign-in", &home.phone, pair.clone()).await.refused(401, "invalid_credentials");
        // Who comes again is somebody new.
        let new = Person::from(&world.post("/v1/auth/sign-up", &home.phone, pair).await.expect(200));
        assert_ne!(new.id, id);
    }

    async fn what_comes_late_about_somebody_gone_leaves_no_trace_and_is_nobody_elses(world) {
        let home = world.app.clone();
        open(world, &home).await;
        let life = live(world, &home, "kanarie1x").await;
        let before = world.time(0);
        erase(world, &home, &life.id).await;
        world.drain().await;
        let late = |n: &str, subject: &str| json!({"id": n, "type": EVENT, "occurred_at": before, "subject": subject,
            "properties": {"n": "kanarie1xlate"}, "location": {"lat": 1, "lon": 1}});
        for (n, subject) in [("a", life.id.as_str()), ("b", "user:kanarie1xcrm")] {
            let event = send(world, &home.server, late(n, subject)).await;
            let path = format!("/v1/events/{}", event["event_id"].as_str().unwrap());
            let shown = world.get(&path, &home.server).await.expect(200);
            assert_eq!((&shown["disposition"], &shown["properties"]), (&json!("unknown_subject"), &json!({})), "{shown}");
        }
        let again = world.post("/v1/events", &home.server, json!({"events": [late("a", &life.id)]})).await.expect(202);
        assert_eq!(again["results"][0]["status"], "duplicate");
        // The back end makes somebody of that name again: what happened before is not theirs, what happens now is.
        world.advance(MINUTE).await;
        let made = world.post("/v1/users", &home.server, json!({"external_id": "kanarie1xcrm"})).await.expect(201);
        send(world, &home.server, late("c", "user:kanarie1xcrm")).await;
        let all = everything(world).await;
        let left: Vec<_> = holding(&all, "kanarie1x").into_iter().map(|(column, _)| column.to_string()).collect();
        assert_eq!(left, ["users.external_id"]);
        let now = json!({"id": "d", "type": EVENT, "occurred_at": world.time(0), "subject": "user:kanarie1xcrm", "properties": {"n": "1"}});
        send(world, &home.server, now).await;
        world.drain().await;
        let decisions = world.get(&format!("/v1/decisions?user={}", made["id"].as_str().unwrap()), &home.server).await.expect(200);
        assert_eq!(decisions["items"].as_array().unwrap().len(), 1);
    }

    async fn an_export_comes_in_pages_and_only_so_often(world) {
        let person = world.person(&world.app).await;
        for n in 0..5 {
            let event = |m: usize| json!({"id": format!("{n}-{m}"), "type": "app.opened", "occurred_at": world.time(0)});
            let events: Vec<Value> = (0..100).map(event).collect();
            world.post("/v1/events", &person.token, json!({"events": events})).await.expect(202);
        }
        for _ in 0..6 {
            let export = world.get("/v1/me/export", &person.token).await.expect(200);
            assert_eq!(export["data"]["events"].as_array().unwrap().len(), 500);
        }
        let refused = world.get("/v1/me/export", &person.token).await;
        refused.refused(429, "too_many_exports");
        assert!(refused.header("retry-after").is_some());
        let by_server = format!("/v1/users/{}/export", person.id);
        world.get(&by_server, &world.app.server).await.expect(200);
        world.advance(Duration::from_secs(3_600)).await;
        world.post("/v1/auth/refresh", &world.app.phone, json!({"refresh_token": person.refresh_token})).await.expect(200);
        for _ in 0..6 {
            world.get(&by_server, &world.app.server).await.expect(200);
        }
        world.get(&by_server, &world.app.server).await.refused(429, "too_many_exports");
    }
}
