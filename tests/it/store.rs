//! The store: the same promises on both databases.

use crate::world::{Database, Db, World, number};
use futures_util::FutureExt as _;
use kairos::error::{Error, Problem, Result};
use kairos::store::{Conn, GroupCommit, Limits, Options, Store, down_all, down_one, migrate_up, pending};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const STATES: [&str; 10] =
    ["queued", "sending", "retry_at", "accepted", "rejected", "expired", "revoked", "token_dead", "cancelled", "unknown"];

/// Every legal edge of a message's life (moments.md §8); all others must be refused by the database itself, but for one:
/// what may have arrived ends as unknown where it waits.
const EDGES: [(&str, &str); 19] = [
    ("queued", "sending"),
    ("queued", "expired"),
    ("queued", "revoked"),
    ("queued", "token_dead"),
    ("queued", "cancelled"),
    ("retry_at", "sending"),
    ("retry_at", "expired"),
    ("retry_at", "revoked"),
    ("retry_at", "token_dead"),
    ("retry_at", "cancelled"),
    ("sending", "accepted"),
    ("sending", "rejected"),
    ("sending", "retry_at"),
    ("sending", "unknown"),
    ("sending", "expired"),
    ("sending", "revoked"),
    ("sending", "cancelled"),
    ("sending", "token_dead"),
    ("sending", "queued"),
];

fn limits(queue_calls: usize, batch_calls: usize) -> Limits {
    Limits { queue_calls, queue_weight: u32::MAX >> 4, batch_calls, batch_weight: u32::MAX }
}

fn open(url: &str) -> Result<Store> {
    Store::open(&Options { url: url.to_owned(), readers: 1, writers: 1 })
}

fn store(world: &World) -> Store {
    world.kairos.platform.store.clone()
}

fn note(conn: &mut Conn, key: &str) -> Result<()> {
    conn.batch(&format!("insert into epochs (app_id, scope, key, value) values ('app', 'consent', '{key}', 1)"))
}

async fn notes(world: &World) -> i64 {
    world.number("select count(*) from epochs where app_id = 'app'").await
}

/// `table.column type null?` of every column on disk, in SQLite's and PostgreSQL's shared words.
pub async fn columns_on_disk(world: &World) -> Vec<String> {
    // A number that is a table's key is an `integer` on SQLite, or it would be no row id. A view does not say what may be null.
    const SQLITE: &str = "select m.name || '.' || p.name || ' ' || replace(lower(p.type), 'integer', 'bigint') || case when p.\"notnull\" = 1 or p.pk > 0 then '' \
        else '?' end as line from sqlite_master m join pragma_table_info(m.name) p where m.type in ('table', 'view') \
        and m.name not like '\\_\\_%' escape '\\' and m.name not like 'sqlite%' order by m.name, p.cid";
    const POSTGRES: &str = "select table_name || '.' || column_name || ' ' || data_type || case is_nullable when 'NO' then '' else '?' end \
        as line from information_schema.columns where table_schema = 'public' and table_name not like '\\_\\_%' \
        order by table_name, ordinal_position";
    let sql = match world.database.db() {
        Db::Sqlite => SQLITE,
        Db::Postgres => POSTGRES,
    };
    world.lines(sql).await
}

/// The same, from the code's own table macros.
fn columns_in_code() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/schema.rs")).unwrap();
    let (mut table, mut sql_name, mut tables) = (String::new(), None::<String>, BTreeMap::<String, Vec<String>>::new());
    for line in text.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_suffix(") {").and_then(|l| l.split_once(" (")) {
            name.clone_into(&mut table);
        } else if let Some(rest) = line.strip_prefix("#[sql_name = \"") {
            sql_name = Some(rest.trim_end_matches("\"]").to_owned());
        } else if let Some((name, kind)) = line.trim_end_matches(',').split_once(" -> ") {
            let (kind, optional) = kind.strip_prefix("Nullable<").map_or((kind, ""), |k| (k.trim_end_matches('>'), "?"));
            let kind = match kind {
                "Text" => "text",
                "BigInt" => "bigint",
                "Bool" => "boolean",
                "Double" => "double precision",
                "Binary" => "bytea",
                other => panic!("schema.rs has a type that no migration uses: {other}"),
            };
            let name = sql_name.take().unwrap_or_else(|| name.to_owned());
            tables.entry(table.clone()).or_default().push(format!("{table}.{name} {kind}{optional}"));
        }
    }
    tables.into_values().flatten().collect()
}

both! {
    async fn the_tables_in_code_are_the_tables_on_disk(world) {
        let of_view = |line: String| if line.starts_with("messages.") { line.trim_end_matches('?').to_owned() } else { line };
        let (disk, code) = (columns_on_disk(world).await, columns_in_code());
        let mut disk: Vec<String> = disk.into_iter().map(of_view).collect();
        let code: Vec<String> = code.into_iter().map(of_view).collect();
        assert!(code.len() > 200, "schema.rs was not read");
        // Databases order names differently; columns of a table keep their order under a stable sort.
        disk.sort_by_key(|line| line.split('.').next().unwrap_or_default().to_owned());
        assert_eq!(disk, code);
    }

    async fn migrations_go_up_and_down_and_up(world) {
        let bare = Database::bare(world.database.db());
        let url = bare.url().to_owned();
        let all = pending(&url).unwrap();
        assert!(!all.is_empty(), "an empty database lacks every migration");
        migrate_up(&url).unwrap();
        assert!(pending(&url).unwrap().is_empty());
        down_all(&url).unwrap();
        assert_eq!(pending(&url).unwrap(), all);
        let left = match bare.db() {
            Db::Sqlite => "select count(*) as n from sqlite_master where name not like '\\_\\_%' escape '\\' and name not like 'sqlite%'",
            Db::Postgres => "select (select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                where n.nspname = 'public' and relname not like '\\_\\_%') + (select count(*) from pg_proc p join pg_namespace n \
                on n.oid = p.pronamespace where n.nspname = 'public') as n",
        };
        assert_eq!(bare.number(left), 0, "the way down leaves nothing behind");
        migrate_up(&url).unwrap();
        assert!(pending(&url).unwrap().is_empty());
        bare.remove();
    }

    async fn an_old_program_refuses_a_newer_schema(world) {
        let newer = "insert into __diesel_schema_migrations (version) values ('2999-01-01_from_the_future')";
        store(world).write(move |conn| conn.batch(newer)).await.unwrap();
        let refusal = open(world.database.url()).err().expect("it must not open").to_string();
        assert!(refusal.contains("2999-01-01_from_the_future") && refusal.contains("newer version"), "{refusal}");
    }

    async fn a_write_that_fails_leaves_nothing(world) {
        let result: Result<()> = store(world).write(|conn| {
            note(conn, "one")?;
            Err(Problem::new(400, "no", "changed my mind").into())
        }).await;
        assert!(matches!(result, Err(Error::Refused(p)) if p.code == "no"));
        assert_eq!(notes(world).await, 0);
        store(world).write(|conn| note(conn, "one")).await.unwrap();
        assert_eq!(notes(world).await, 1);
    }

    async fn a_savepoint_is_undone_alone(world) {
        store(world).write(|conn| {
            note(conn, "before")?;
            let inner: Result<()> = conn.savepoint(|conn| {
                note(conn, "inside")?;
                note(conn, "before")
            });
            assert!(matches!(inner, Err(Error::Refused(p)) if p.status == 409), "a second row with the same key is a conflict");
            note(conn, "after")
        }).await.unwrap();
        assert_eq!(world.lines("select key as line from epochs where app_id = 'app' order by key").await, ["after", "before"]);
    }

    async fn a_read_sees_one_state_of_the_database(world) {
        let (seen, first_look) = mpsc::channel::<()>();
        let (go_on, wait) = mpsc::channel::<()>();
        let store = store(world);
        let reader = tokio::spawn({
            let store = store.clone();
            async move {
                store.read(move |conn| {
                    let before = number(conn, "select count(*) as n from epochs")?;
                    seen.send(()).unwrap();
                    wait.recv().unwrap();
                    Ok((before, number(conn, "select count(*) as n from epochs")?))
                }).await.unwrap()
            }
        });
        tokio::task::spawn_blocking(move || first_look.recv().unwrap()).await.unwrap();
        store.write(|conn| note(conn, "in between")).await.unwrap();
        go_on.send(()).unwrap();
        let (before, after) = reader.await.unwrap();
        assert_eq!(before, after, "the row written in between must not show");
    }

    async fn a_read_cannot_write_on_postgres_and_writes_take_turns(world) {
        if world.database.db() == Db::Postgres {
            assert!(store(world).read(|conn| note(conn, "sneaked in")).await.is_err());
        }
        let writers: Vec<_> = (0..20).map(|n| {
            let store = store(world);
            tokio::spawn(async move { store.write(move |conn| note(conn, &n.to_string())).await })
        }).collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(notes(world).await, 20);
    }

    async fn a_panic_in_a_closure_is_one_callers_trouble(world) {
        for _ in 0..3 {
            let result: Result<()> = store(world).write(|conn| {
                note(conn, "lost")?;
                panic!("a bug in a closure; this message in the log is expected");
            }).await;
            assert!(matches!(result, Err(Error::Broken(_))));
        }
        store(world).write(|conn| note(conn, "kept")).await.unwrap();
        assert_eq!(notes(world).await, 1);
    }

    async fn one_poisoned_write_does_not_sink_its_group(world) {
        let largest = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&largest);
        let group = GroupCommit::start(store(world), limits(1_000, 100), move |conn, keys: &[String]| {
            seen.fetch_max(keys.len(), Ordering::Relaxed);
            keys.iter().map(|key| if key == "poison" { Err(Error::broken("poison")) } else { note(conn, key) }).collect()
        });
        let calls: Vec<_> = (0..50).map(|n| {
            let group = group.clone();
            let key = if n == 25 { "poison".to_owned() } else { format!("key {n}") };
            tokio::spawn(async move { group.submit(key, 1).await })
        }).collect();
        let mut failed = Vec::new();
        for (n, call) in calls.into_iter().enumerate() {
            if call.await.unwrap().is_err() {
                failed.push(n);
            }
        }
        assert_eq!(failed, [25]);
        assert_eq!(notes(world).await, 49);
        assert!(largest.load(Ordering::Relaxed) > 1, "nothing was grouped, so nothing was tested");
    }

    async fn what_was_written_is_told_also_when_who_wrote_it_hangs_up(world) {
        let platform = world.kairos.platform.clone();
        let heard = Arc::new(AtomicUsize::new(0));
        let hears = Arc::clone(&heard);
        platform.cache.subscribe("told", move |payload| { hears.fetch_add(payload.len(), Ordering::SeqCst); });
        let (go_on, wait) = mpsc::channel::<()>();
        let write = move |conn: &mut Conn| {
            wait.recv().unwrap();
            conn.batch("select 1")
        };
        let asked = platform.write_and_tell(("told", "news".to_owned()), write);
        assert!(asked.now_or_never().is_none(), "it waits for the commit");
        go_on.send(()).unwrap();
        while heard.load(Ordering::SeqCst) != 4 {
            tokio::task::yield_now().await;
        }
        let refused = platform.write_and_tell(("told", "more".to_owned()), |_| Err::<(), _>(Error::broken("no")));
        assert!(refused.await.is_err());
        assert_eq!(heard.load(Ordering::SeqCst), 4, "what was undone is not told");
    }

    async fn a_full_queue_says_busy_and_does_not_wait(world) {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let group = GroupCommit::start(store(world), limits(2, 1), move |conn, keys: &[String]| {
            wait.lock().unwrap().recv().unwrap();
            keys.iter().map(|key| note(conn, key)).collect()
        });
        let calls: Vec<_> = (0..10).map(|n| {
            let group = group.clone();
            tokio::spawn(async move { group.submit(n.to_string(), 1).await })
        }).collect();
        // Those that found no room are back before anything was written.
        while calls.iter().filter(|c| c.is_finished()).count() < 7 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            let _ = go_on.send(());
        }
        let (mut written, mut busy) = (0, 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(()) => written += 1,
                Err(Error::Busy(_)) => busy += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(busy >= 7 && written + busy == 10, "{written} written, {busy} busy");
        assert_eq!(notes(world).await, written, "busy means that nothing was done");
    }

    async fn what_messages_say_and_where_they_stand_survives_a_change_of_their_tables(world) {
        let all = "select id || decision_id || user_id || token || payload || consent || state || attempts || route || recalls || \
            created_ms || due_ms || deadline_ms || coalesce(topic, '-') || coalesce(sending_ms, 0) as line from messages order by id";
        for (n, state) in STATES.iter().enumerate() {
            let insert = message(&format!("kept-{n}"), state);
            store(world).write(move |conn| conn.batch(&insert)).await.unwrap();
        }
        let before = world.lines(all).await;
        assert_eq!(before.len(), STATES.len());
        while !pending(world.database.url()).unwrap().contains(&"2026-11-30_standing".to_owned()) {
            down_one(world.database.url()).unwrap();
            assert_eq!(world.lines(all).await, before, "on the way down");
        }
        migrate_up(world.database.url()).unwrap();
        assert_eq!(world.lines(all).await, before, "on the way up");
        let anew = "select state as line from messages where consent_epoch = -1 order by state";
        assert_eq!(world.lines(anew).await, ["queued", "retry_at", "sending"], "what has not ended is judged anew");
        store(world).write(|conn| conn.batch("delete from message_bodies")).await.unwrap();
    }

    async fn what_waited_for_another_try_before_there_was_a_mark_is_marked_by_its_attempts(world) {
        let rows = [
            ("lost", "retry_at", "at_least_once", "timeout"),
            ("busy", "retry_at", "at_least_once", "service_unavailable"),
            ("once", "retry_at", "at_most_once", "timeout"),
            ("over", "accepted", "at_least_once", "timeout"),
        ];
        for (id, state, mode, reason) in rows {
            let attempts = format!("'[{{\"n\":1,\"started_ms\":1,\"ended_ms\":2,\"reason\":\"{reason}\"}}]'");
            let insert = message(id, state).replace("at_most_once", mode).replace("'[]'", &attempts);
            store(world).write(move |conn| conn.batch(&insert)).await.unwrap();
        }
        while !pending(world.database.url()).unwrap().contains(&"2026-12-03_perhaps".to_owned()) {
            down_one(world.database.url()).unwrap();
        }
        migrate_up(world.database.url()).unwrap();
        assert_eq!(world.lines("select id as line from messages where perhaps").await, ["lost"]);
        store(world).write(|conn| conn.batch("delete from message_bodies")).await.unwrap();
    }

    async fn a_message_takes_only_the_legal_edges_of_its_life(world) {
        let store = store(world);
        for (n, from) in STATES.iter().enumerate() {
            for (m, to) in STATES.iter().enumerate() {
                for perhaps in [false, true] {
                    let id = format!("{n}-{m}-{perhaps}");
                    let insert = message(&id, from);
                    store.write(move |conn| conn.batch(&insert)).await.unwrap();
                    let own = format!("where n in (select n from message_bodies where id = '{id}')");
                    let set = format!("update message_states set perhaps = {perhaps} {own}");
                    store.write(move |conn| conn.batch(&set)).await.unwrap();
                    let update = format!("update message_states set state = '{to}' {own}");
                    let result = store.write(move |conn| conn.batch(&update)).await;
                    let unheard = perhaps && ["queued", "retry_at"].contains(from);
                    let known = || EDGES.contains(&(from, to));
                    let legal = from == to || if unheard { ["sending", "unknown"].contains(to) } else { known() };
                    assert_eq!(result.is_ok(), legal, "{from} → {to}, {perhaps}: {result:?}");
                }
            }
        }
        store.write(|conn| conn.batch("delete from message_bodies")).await.unwrap();
        assert_eq!(world.number("select count(*) from message_states").await, 0, "both rows go together");
    }

    async fn a_message_is_there_once_per_decision_offer_and_device(world) {
        let (first, second) = (message("one", "accepted"), message("two", "accepted").replace("dec-two", "dec-one"));
        store(world).write(move |conn| conn.batch(&first)).await.unwrap();
        let twice = store(world).write(move |conn| conn.batch(&second)).await;
        assert!(matches!(twice, Err(Error::Refused(p)) if p.status == 409));
    }

    async fn the_consent_ledger_takes_no_change(world) {
        let row = "insert into consents (app_id, id, user_id, seq, purpose, channel, partner_id, granted, text_version, evidence, source, \
            at_ms) values ('app', 'con', 'usr', 1, 'offers', null, null, true, 'v1', '{}', 'user', 1)";
        store(world).write(move |conn| conn.batch(row)).await.unwrap();
        for change in ["granted = false", "at_ms = 2", "purpose = 'other'", "user_id = 'usr2'"] {
            let sql = format!("update consents set {change} where id = 'con'");
            let refusal = store(world).write(move |conn| conn.batch(&sql)).await.expect_err(change).to_string();
            assert!(refusal.contains("append-only"), "{refusal}");
        }
    }

    async fn what_is_acknowledged_is_on_disk(world) {
        match world.database.db() {
            Db::Sqlite => {
                // 1 is NORMAL: the log is flushed before a checkpoint, and before anybody is told of a commit (`flush.rs`).
                let sync = store(world).write(|conn| number(conn, "select synchronous as n from pragma_synchronous")).await.unwrap();
                let journal = world.lines("select journal_mode as line from pragma_journal_mode").await;
                assert_eq!((sync, journal), (1, vec!["wal".to_owned()]));
            }
            Db::Postgres => {
                let name = world.database.url().rsplit('/').next().unwrap().to_owned();
                for value in ["off", "on"] {
                    let alter = format!("alter database {name} set synchronous_commit = {value}");
                    store(world).write(move |conn| conn.batch(&alter)).await.unwrap();
                    let opened = open(world.database.url());
                    let refused = opened.err().map(|e| e.to_string());
                    assert_eq!(refused.is_some(), value == "off", "{refused:?}");
                    assert!(refused.is_none_or(|line| line.contains("synchronous_commit") && !line.contains('\n')));
                }
            }
        }
    }
}

/// A message row in this state, of a decision of its own.
fn message(id: &str, state: &str) -> String {
    format!(
        "insert into message_bodies (app_id, id, decision_id, choice_id, user_id, device_id, campaign_id, offer_id, platform, token, \
         environment, test, payload, collapse_id, mode, consent, consent_epoch, app_consent_epoch, created_ms, activity_id, recalls) \
         values ('app', '{id}', 'dec-{id}', 'cho', 'usr', 'dev', 'cmp', 'ofr', 'ios', 'token', 'production', false, '{{}}', 'c', \
         'at_most_once', '{{}}', 0, 0, 1, '', ''); \
         insert into message_states (n, app_id, route, state, attempt, attempts, due_ms, deadline_ms, settled) \
         select n, 'app', 'apns.production', '{state}', 0, '[]', 1, 2, false from message_bodies where id = '{id}'"
    )
}

#[test]
fn idle_connections_that_were_cut_are_nobodys_trouble() {
    crate::world::run(Db::Postgres, async |world: &mut World| {
        let store = store(world);
        for round in 0..5 {
            world.database.cut_connections();
            store.write(move |conn| note(conn, &round.to_string())).await.unwrap();
            assert_eq!(notes(world).await, round + 1);
        }
    });
}

#[test]
fn a_commit_whose_connection_dies_is_never_half_done() {
    crate::world::run(Db::Postgres, async |world: &mut World| {
        let database = world.database.url().to_owned();
        let result = store(world)
            .write(move |conn| {
                note(conn, "one")?;
                crate::world::cut_connections(&database);
                note(conn, "two")
            })
            .await;
        assert!(matches!(result, Err(Error::Busy(_))), "{result:?}");
        store(world).write(|conn| note(conn, "later")).await.unwrap();
        assert_eq!(world.lines("select key as line from epochs where app_id = 'app'").await, ["later"]);
    });
}
