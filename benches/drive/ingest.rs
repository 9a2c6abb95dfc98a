//! (c) Durable ingest in batches of 1, 100 and 1,000 against raw inserts of the same rows into the same database.

use super::client::{Connection, post};
use super::measure::{Pairs, Sample, cpu_time_of, sample};
use super::server::House;
use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::prelude::{ExpressionMethods as _, RunQueryDsl as _, SqliteConnection};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Clients at once.
const CLIENTS: usize = 4;
/// Clients at once when each event is a call of its own.
const CLIENTS_SINGLE: usize = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Takes the figure.
pub fn run() -> Value {
    let mut out = Map::new();
    for (batch, events) in [(1_usize, 4_000_usize), (100, 40_000), (1_000, 60_000)] {
        let house = House::build(&format!("ingest-{batch}"));
        let server = house.serve(&[]);
        let user = server.must("POST", "/v1/users", &house.server, &json!({ "external_id": "bench" }));
        let user = user["id"].as_str().unwrap().to_owned();
        let pid = server.pid();
        let ours = || {
            let clients = if batch == 1 { CLIENTS_SINGLE } else { CLIENTS };
            let bodies: Vec<Vec<Vec<u8>>> = (0..clients)
                .map(|_| (0..events / batch / clients).map(|_| call(batch, &user, &house.server)).collect())
                .collect();
            let address = server.address;
            let (cpu, started) = (cpu_time_of(&pid), Instant::now());
            let sent: usize = bodies.iter().map(|calls| calls.len() * batch).sum();
            std::thread::scope(|scope| {
                for calls in &bodies {
                    scope.spawn(move || {
                        let mut connection = Connection::open(address);
                        for call in calls {
                            let (status, answer) = connection.send(call);
                            assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
                        }
                    });
                }
            });
            Sample { operations: sent as f64, wall: started.elapsed(), cpu: cpu_time_of(&pid) - cpu }
        };
        let raw = || raw_inserts(&house, batch, if batch == 1 { 400 } else { events }, &user);
        let figure = Pairs::take(5, ours, raw).json(if batch == 100 { "≥ 0.4" } else { "reported" });
        out.insert(format!("batch_{batch}"), figure);
    }
    Value::Object(out)
}

fn event(user: &str) -> Value {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    json!({
        "id": format!("bench-{n}"),
        "type": "bench.seen",
        "occurred_at": "2026-06-15T10:00:00.000Z",
        "subject": user,
        "properties": { "screen": "home", "n": n, "from": "bench" },
    })
}

fn call(batch: usize, user: &str, credential: &str) -> Vec<u8> {
    let events: Vec<Value> = (0..batch).map(|_| event(user)).collect();
    post("/v1/events", credential, &json!({ "events": events }).to_string())
}

diesel::table! {
    bench_events (id) {
        id -> Text,
        app_id -> Text,
        external_id -> Text,
        kind -> Text,
        occurred_ms -> BigInt,
        received_ms -> BigInt,
        user_id -> Text,
        properties -> Text,
    }
}

/// The same facts, prepared single-row inserts, `batch` of them per transaction, synchronous=FULL, with the same two keys.
fn raw_inserts(house: &House, batch: usize, events: usize, user: &str) -> Sample {
    let path = house.folder.join("raw.db");
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         CREATE TABLE IF NOT EXISTS bench_events (id text primary key, app_id text not null, external_id text not null, \
         kind text not null, occurred_ms bigint not null, received_ms bigint not null, user_id text not null, properties text not null); \
         CREATE UNIQUE INDEX IF NOT EXISTS bench_external ON bench_events (app_id, external_id)",
    )
    .unwrap();
    let properties = json!({ "screen": "home", "n": 123_456, "from": "bench" }).to_string();
    sample(|| {
        for _ in 0..events / batch {
            conn.transaction::<_, diesel::result::Error, _>(|conn| {
                for _ in 0..batch {
                    let n = NEXT.fetch_add(1, Ordering::Relaxed);
                    diesel::insert_into(bench_events::table)
                        .values((
                            bench_events::id.eq(format!("evt_{n:032x}")),
                            bench_events::app_id.eq(&house.app_id),
                            bench_events::external_id.eq(format!("bench-{n}")),
                            bench_events::kind.eq("bench.seen"),
                            bench_events::occurred_ms.eq(1_781_517_600_000_i64),
                            bench_events::received_ms.eq(1_781_517_600_000_i64),
                            bench_events::user_id.eq(user),
                            bench_events::properties.eq(&properties),
                        ))
                        .execute(conn)?;
                }
                Ok(())
            })
            .unwrap();
        }
        (events / batch * batch) as f64
    })
}
