//! (h) What a signed-in phone asks for: `GET /v1/me` against a bare JSON answer of the same server, refreshes against raw
//! durable commits, and what a crowd that signs in does to everybody else.

use super::client::{Connection, post, request};
use super::measure::{Pairs, Sample, cpu_time_of, quantile, round, sample};
use super::server::{House, Server};
use diesel::connection::{Connection as _, SimpleConnection as _};
use diesel::prelude::*;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients at once, each with a session of its own.
const CLIENTS: usize = 16;
/// Requests per run.
const READS: usize = 20_000;
/// Refreshes, and commits, per run.
const REFRESHES: usize = 4_000;
/// Clients that sign in all the time.
const CROWD: usize = 8;
/// How often somebody reads beside the crowd, per second, and for how long.
const READS_PER_S: usize = 100;
const SECONDS: usize = 10;
const PASSWORD: &str = "correct horse battery";

/// Takes the figures.
pub fn run() -> Value {
    let house = House::build("account");
    let open = "1000000".to_owned();
    let limits = [("sign_in_per_account_per_minute", open.clone()), ("sign_in_per_address_per_minute", open)];
    let server = house.serve(&limits);
    let sessions: Vec<Value> =
        (0..CLIENTS).map(|n| server.must("POST", "/v1/auth/sign-up", &house.publishable, &credentials(n))).collect();
    let mine: Vec<Vec<u8>> = sessions.iter().map(|session| request("GET", "/v1/me", &bearer(session), "")).collect();
    let bare = vec![request("GET", "/.well-known/openid-configuration", "accept: */*", ""); CLIENTS];
    let me = Pairs::take(5, || read(&server, &mine), || read(&server, &bare)).json("≥ 0.3 of a bare JSON answer (goal 0.4)");
    let tokens: Mutex<Vec<String>> = Mutex::new(sessions.iter().map(refresh_token).collect());
    let refresh = Pairs::take(5, || refreshes(&server, &house, &tokens), || raw_commits(&house));
    json!({
        "me": me,
        "refresh": refresh.json("≥ 0.3 of raw durable two-row commits"),
        "beside_sign_ins": beside(&server, &house, &mine[0]),
    })
}

fn credentials(n: usize) -> Value {
    json!({ "email": format!("user{n}@example.com"), "password": PASSWORD })
}

fn bearer(session: &Value) -> String {
    format!("authorization: Bearer {}", session["access_token"].as_str().unwrap())
}

fn refresh_token(session: &Value) -> String {
    session["refresh_token"].as_str().unwrap().to_owned()
}

/// Runs one client per request on connections of their own until `all` are answered.
fn clients(server: &Server, all: usize, work: impl Fn(usize, &mut Connection) + Sync) -> Sample {
    let (next, pid) = (AtomicUsize::new(0), server.pid());
    let (cpu, started) = (cpu_time_of(&pid), Instant::now());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (next, work) = (&next, &work);
            scope.spawn(move || {
                let mut connection = Connection::open(server.address);
                while next.fetch_add(1, Ordering::Relaxed) < all {
                    work(client, &mut connection);
                }
            });
        }
    });
    Sample { operations: all as f64, wall: started.elapsed(), cpu: cpu_time_of(&pid) - cpu }
}

fn read(server: &Server, requests: &[Vec<u8>]) -> Sample {
    clients(server, READS, |client, connection| {
        let (status, answer) = connection.send(&requests[client]);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    })
}

/// Each client refreshes its own session, always with the token of the answer before.
fn refreshes(server: &Server, house: &House, tokens: &Mutex<Vec<String>>) -> Sample {
    clients(server, REFRESHES, |client, connection| {
        let token = tokens.lock().unwrap()[client].clone();
        let body = json!({ "refresh_token": token }).to_string();
        let (status, answer) = connection.send(&post("/v1/auth/refresh", &house.publishable, &body));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        tokens.lock().unwrap()[client] = refresh_token(&serde_json::from_slice(&answer).unwrap());
    })
}

diesel::table! {
    bench_sessions (id) {
        id -> BigInt,
        generation -> BigInt,
        used_ms -> BigInt,
    }
}

/// Two rows in one transaction, synchronous=FULL, by as many clients: one connection that they pass on, which costs less
/// than locks on the file.
fn raw_commits(house: &House) -> Sample {
    let path = house.folder.join("raw.db");
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    conn.batch_execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         CREATE TABLE IF NOT EXISTS bench_sessions (id integer primary key, generation bigint not null, used_ms bigint not null)",
    )
    .unwrap();
    for id in 0..2 * CLIENTS as i64 {
        conn.batch_execute(&format!("INSERT OR IGNORE INTO bench_sessions VALUES ({id}, 0, 0)")).unwrap();
    }
    let (conn, next) = (Mutex::new(conn), AtomicUsize::new(0));
    sample(|| {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS as i64 {
                let (conn, next) = (&conn, &next);
                scope.spawn(move || {
                    while next.fetch_add(1, Ordering::Relaxed) < REFRESHES {
                        let mut conn = conn.lock().unwrap();
                        let two = |conn: &mut SqliteConnection| {
                            for id in [2 * client, 2 * client + 1] {
                                diesel::update(bench_sessions::table.find(id))
                                    .set((
                                        bench_sessions::generation.eq(bench_sessions::generation + 1),
                                        bench_sessions::used_ms.eq(id),
                                    ))
                                    .execute(conn)?;
                            }
                            Ok::<_, diesel::result::Error>(())
                        };
                        conn.immediate_transaction(two).unwrap();
                    }
                });
            }
        });
        REFRESHES as f64
    })
}

/// How long a read takes, quiet and beside a crowd that signs in: the 99th percentiles, in turns.
fn beside(server: &Server, house: &House, mine: &[u8]) -> Value {
    let requests: Vec<Vec<u8>> =
        (0..CLIENTS).map(|n| post("/v1/auth/sign-in", &house.publishable, &credentials(n).to_string())).collect();
    let (mut quiet, mut crowded, mut signed_in) = (Vec::new(), Vec::new(), 0);
    for _ in 0..3 {
        quiet.push(p99_ms(server, mine));
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for client in 0..CROWD {
                let (stop, count, requests) = (&stop, &count, &requests);
                scope.spawn(move || {
                    let mut connection = Connection::open(server.address);
                    while !stop.load(Ordering::Relaxed) {
                        let (status, answer) = connection.send(&requests[client]);
                        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            crowded.push(p99_ms(server, mine));
            stop.store(true, Ordering::Relaxed);
        });
        signed_in += count.into_inner();
    }
    let ratio = quiet.iter().zip(&crowded).map(|(quiet, crowded)| crowded / quiet).collect();
    json!({
        "aim": "p99 ≤ 3 × quiet",
        "ratio": round(super::measure::median(ratio)),
        "quiet_p99_ms": round(super::measure::median(quiet)),
        "crowded_p99_ms": round(super::measure::median(crowded)),
        "sign_ins_per_s": round(signed_in as f64 / (3 * SECONDS) as f64),
    })
}

/// Open loop: each read leaves at its own time.
fn p99_ms(server: &Server, mine: &[u8]) -> f64 {
    let mut connection = Connection::open(server.address);
    let started = Instant::now();
    let mut times: Vec<f64> = (0..READS_PER_S * SECONDS)
        .map(|n| {
            let due = Duration::from_secs_f64(n as f64 / READS_PER_S as f64);
            while let Some(wait) = due.checked_sub(started.elapsed()).filter(|w| !w.is_zero()) {
                std::thread::park_timeout(wait);
            }
            let (status, _) = connection.send(mine);
            assert_eq!(status, 200);
            // Counted from the time at which it was due, so that a slow answer is not hidden.
            (started.elapsed() - due).as_secs_f64() * 1e3
        })
        .collect();
    quantile(&mut times, 0.99)
}
