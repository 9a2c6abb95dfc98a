//! kill -9 of the real process, again and again, under traffic: what was acknowledged happens once, nothing happens twice.
//!
//! The judge reads three things only: what clients got acknowledged, the ledger of the gateways' stand-in, and the
//! database after recovery. It never trusts the server's own counters. The rules R1–R8 are those of the promises in the
//! README. `make soak` kills more often.

use crate::world::story::{self, Person};
use crate::world::{Api, Caller, Database, Db, Process, Tenant, nap, stand_in};
use kairos::clock::{Clock, Time};
use kairos::id::AppId;
use kairos::moment;
use kairos::push::standin::{Fault, Row, Rule, StandIn};
use kairos::store::{Options, Store};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Kills per database in `make test`.
const KILLS: u64 = 25;
const PEOPLE: usize = 12;
const POSTERS: usize = 4;
/// How much later a push may arrive than it was handed over: the way through a loaded machine.
const WAY_MS: i64 = 1_500;
/// How long the work may take to be done after the last kill.
const REST: Duration = Duration::from_secs(90);

/// A small deterministic generator: the seed is printed, so that a run can be made again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What the clients know.
#[derive(Default)]
struct Books {
    attempted: Mutex<BTreeSet<String>>,
    acknowledged: Mutex<BTreeSet<String>>,
    /// `effective_at` of acknowledged withdrawals, and when consent was asked for again, per user.
    withdrawn: Mutex<Vec<(String, i64)>>,
    next: AtomicU64,
    stop: AtomicBool,
}

/// Posts events about random people until told to stop; what got no answer is posted again or given up.
async fn post(api: Api, tenant: Tenant, people: Arc<Vec<Person>>, books: Arc<Books>, mut dice: Dice) {
    let mut again: Vec<Value> = Vec::new();
    while !books.stop.load(Ordering::SeqCst) {
        let mut events = std::mem::take(&mut again);
        for _ in 0..=dice.below(3) {
            let id = format!("event-{}", books.next.fetch_add(1, Ordering::SeqCst));
            let person = &people[usize::try_from(dice.below(PEOPLE as u64)).unwrap()];
            events.push(story::event(&id, person, &Time(Clock::system().now_ms()).to_string()));
            books.attempted.lock().unwrap().insert(id);
        }
        let body = json!({"events": events});
        let answer = api.call("POST", "/v1/events").by(&tenant.server).json(&body).try_send().await;
        match answer {
            Ok(answer) if answer.status == 202 => {
                for result in answer.json()["results"].as_array().unwrap() {
                    // A repeated event whose first try was taken is a duplicate: acknowledged all the same.
                    let status = result["status"].as_str().unwrap_or_default();
                    assert!(matches!(status, "accepted" | "duplicate"), "{result}");
                    books.acknowledged.lock().unwrap().insert(result["id"].as_str().unwrap().to_owned());
                }
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                again = events;
                nap(20).await;
            }
            // Dead: half of the clients try again under the same ids, the others give up.
            Err(_) => {
                if dice.below(2) == 0 {
                    again = events;
                }
                nap(20).await;
            }
        }
        nap(dice.below(25)).await;
    }
}

/// The last people on the list withdraw their consent, one after the other, and never grant it again.
async fn withdraw(api: Api, tenant: Tenant, people: Arc<Vec<Person>>, books: Arc<Books>) {
    for person in people.iter().rev().take(PEOPLE / 3) {
        nap(700).await;
        while !books.stop.load(Ordering::SeqCst) {
            let path = format!("/v1/users/{}/consents", person.id);
            let body = json!({"purpose": "offers", "granted": false});
            if let Ok(answer) = api.call("POST", &path).by(&tenant.server).json(&body).try_send().await
                && matches!(answer.status, 200 | 201)
            {
                let effective = answer.json()["effective_at"].as_str().unwrap().to_owned();
                books.withdrawn.lock().unwrap().push((person.id.clone(), Time::parse(&effective).unwrap().0));
                break;
            }
            nap(50).await;
        }
    }
}

/// Starts, kills and starts again under traffic, lets the work come to rest, and leaves the process stopped.
async fn rounds(process: &mut Process, tenant: &Tenant, standin: &StandIn, seed: u64) -> Arc<Books> {
    let mut dice = Dice(seed);
    process.start().await;
    let api = process.api;
    story::declare(&api, tenant).await;
    story::credentials(&api, tenant, standin).await;
    story::campaign(&api, tenant, &story::offer("Coffee")).await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(story::person(&api, tenant, &format!("person-{n}")).await);
    }
    // Gateways that take their time keep messages in flight when the axe falls.
    standin.inject(Rule::always(Fault::Slow { wait_ms: 15 }));
    let (people, books) = (Arc::new(people), Arc::new(Books::default()));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..POSTERS {
        let dice = Dice(seed ^ (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        clients.spawn(post(api, tenant.clone(), Arc::clone(&people), Arc::clone(&books), dice));
    }
    clients.spawn(withdraw(api, tenant.clone(), Arc::clone(&people), Arc::clone(&books)));
    let kills = std::env::var("KAIROS_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    for _ in 0..kills {
        nap(40 + dice.below(500)).await;
        process.kill();
        process.start().await;
    }
    books.stop.store(true, Ordering::SeqCst);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let began_ms = Clock::system().now_ms();
    let left = "select (select count(*) from lane_work) + (select count(*) from messages where state in ('queued', 'sending', \
        'retry_at')) + (select count(*) from events where disposition is null) as n";
    while process.database.number(left) > 0 {
        let waited_ms = Clock::system().now_ms() - began_ms;
        assert!(waited_ms < i64::try_from(REST.as_millis()).unwrap(), "R9: the work does not come to rest\n{}", process.log());
        nap(100).await;
    }
    process.kill();
    books
}

/// What the database says after recovery.
struct Found {
    /// Sender's id → (event id, disposition).
    events: HashMap<String, (String, String)>,
    /// Event id → decisions: (decision id, user id, outcome, reason).
    decisions: HashMap<String, Vec<(String, String, String)>>,
    /// Message id → (decision id, device id, user id, state).
    messages: BTreeMap<String, (String, String, String, String)>,
}

fn read(database: &Database) -> Found {
    let rows = |sql: &str| -> Vec<Vec<String>> {
        database.lines(sql).into_iter().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    };
    let events = rows("select external_id || '|' || id || '|' || coalesce(disposition, '') as line from events");
    let decisions = rows("select coalesce(event_id, '') || '|' || id || '|' || user_id || '|' || outcome as line from decisions");
    let messages =
        rows("select id || '|' || decision_id || '|' || device_id || '|' || user_id || '|' || state as line from messages");
    let mut found = Found { events: HashMap::new(), decisions: HashMap::new(), messages: BTreeMap::new() };
    for row in events {
        let before = found.events.insert(row[0].clone(), (row[1].clone(), row[2].clone()));
        assert!(before.is_none(), "R2: the event {} is there twice", row[0]);
    }
    for row in decisions {
        found.decisions.entry(row[0].clone()).or_default().push((row[1].clone(), row[2].clone(), row[3].clone()));
    }
    for row in messages {
        found.messages.insert(row[0].clone(), (row[1].clone(), row[2].clone(), row[3].clone(), row[4].clone()));
    }
    found
}

fn judge(database: &Database, ledger: &[Row], books: &Books) {
    let found = read(database);
    let (attempted, acknowledged) = (books.attempted.lock().unwrap(), books.acknowledged.lock().unwrap());
    let withdrawn: HashMap<String, i64> = books.withdrawn.lock().unwrap().iter().cloned().collect();

    // R1: what was acknowledged is there. R3: nothing is there that nobody tried.
    let lost: Vec<_> = acknowledged.iter().filter(|id| !found.events.contains_key(*id)).collect();
    assert!(lost.is_empty(), "R1: acknowledged and lost: {lost:?}");
    let phantoms: Vec<_> = found.events.keys().filter(|id| !attempted.contains(*id)).collect();
    assert!(phantoms.is_empty(), "R3: nobody sent {phantoms:?}");

    // R2: each event has its effect exactly once.
    let mut of_decision: HashMap<&str, usize> = HashMap::new();
    for (decision_id, ..) in found.messages.values() {
        *of_decision.entry(decision_id).or_default() += 1;
    }
    for (id, (event_id, disposition)) in &found.events {
        assert_eq!(disposition, "decided", "R2: {id}");
        let decisions = found.decisions.get(event_id).map_or(&[][..], Vec::as_slice);
        assert_eq!(decisions.len(), 1, "R2: {id} has {} decisions", decisions.len());
        let (decision, user, outcome) = &decisions[0];
        let messages = of_decision.get(decision.as_str()).copied().unwrap_or(0);
        match outcome.as_str() {
            "chosen" => assert_eq!(messages, 2, "R2: a message per phone of {id}"),
            // Only who withdrew may be met with silence.
            "silent" => assert!(messages == 0 && withdrawn.contains_key(user), "R2: {id} fell silent"),
            other => panic!("R2: {id} ended as {other}"),
        }
    }

    // R4: at most one hand-over per message, and so per decision, offer and phone. R3 again: each is known.
    let mut arrivals: BTreeMap<&str, usize> = BTreeMap::new();
    for row in ledger {
        let message = row.kairos.as_ref().expect("every push names its message").message_id.as_str();
        *arrivals.entry(message).or_default() += 1;
        assert!(found.messages.contains_key(message), "R3: the gateway got {message}, which is not in the database");
    }
    let twice: Vec<_> = arrivals.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "R4: handed over more than once: {twice:?}");

    // R5: nothing arrives after a withdrawal took effect. R6: nothing arrives after its deadline.
    for row in ledger {
        let stamped = row.kairos.as_ref().unwrap();
        let user = &found.messages[&stamped.message_id].2;
        if let Some(effective_ms) = withdrawn.get(user) {
            assert!(row.real_ms <= effective_ms + WAY_MS, "R5: a push {} ms after the withdrawal", row.real_ms - effective_ms);
        }
        assert!(row.real_ms < stamped.deadline_ms, "R6: a push after its deadline");
        assert!(
            row.keep_until_ms.is_none_or(|until_ms| until_ms <= stamped.deadline_ms + 1_000),
            "R6: the gateway may keep it too long"
        );
    }

    // R8: every message has an end, and the end agrees with the gateway's own book.
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for (message, (.., state)) in &found.messages {
        *ends.entry(state).or_default() += 1;
        let arrived = arrivals.contains_key(message.as_str());
        match state.as_str() {
            "accepted" => assert!(arrived, "R8: {message} counts as accepted, but never arrived"),
            // After a crash nobody can know; it is said so, and not sent again.
            "unknown" => {}
            "revoked" => assert!(!arrived, "R8: {message} was revoked and arrived"),
            other => panic!("R8: {message} ended as {other}"),
        }
    }
    println!("{} events, {} acknowledged, {} pushes, ends {ends:?}", found.events.len(), acknowledged.len(), ledger.len());
    assert!(acknowledged.len() > 50 && ledger.len() > 50, "too little traffic to prove anything: {ends:?}");
    assert!(withdrawn.len() > 1, "nobody withdrew");
    assert!(ends.get("accepted").copied().unwrap_or(0) > 50, "{ends:?}");
}

/// The books add up (R8, I12), and every decision can be made again from what was stored of it (I11).
async fn audit(database: &Database, app: AppId) {
    let options = Options { url: database.url().to_owned(), readers: 1, writers: 1 };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.unwrap().unwrap();
    let (books, differing, decisions) = store
        .read(move |conn| {
            let (books, ids) = (moment::books(conn, app)?, moment::decision_ids(conn, app)?);
            let mut differing = Vec::new();
            for id in &ids {
                differing.extend(moment::decide_again(conn, app, *id)?);
            }
            Ok((books, differing, ids.len()))
        })
        .await
        .unwrap();
    assert!(books.faults.is_empty(), "R8: {:?}", books.faults);
    assert!(decisions > 50 && differing.is_empty(), "I11: of {decisions} decisions {differing:?}");
}

fn in_real_time(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work);
}

fn survive(db: Db) {
    let seed = std::env::var("KAIROS_TEST_SEED").ok().and_then(|n| n.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(Clock::system().now_ms()).unwrap() | 1);
    println!("KAIROS_TEST_SEED={seed}");
    in_real_time(async {
        let standin = stand_in(Clock::system()).await;
        let mut process = Process::new(db, &standin);
        let tenant = process.make_app();
        let books = rounds(&mut process, &tenant, &standin, seed).await;
        judge(&process.database, &standin.ledger(), &books);
        audit(&process.database, tenant.id).await;
    });
}

#[test]
fn what_was_acknowledged_happens_once_on_sqlite() {
    survive(Db::Sqlite);
}

#[test]
fn what_was_acknowledged_happens_once_on_postgres() {
    survive(Db::Postgres);
}

/// What a node says at `/readyz`, once it is something else than this.
async fn readiness_after(process: &Process, status: u16) -> u16 {
    loop {
        let now = process.api.call("GET", "/readyz").try_send().await.map_or(0, |answer| answer.status);
        if now != status {
            return now;
        }
        nap(10).await;
    }
}

async fn leaves(db: Db) {
    let standin = stand_in(Clock::system()).await;
    let mut process = Process::new(db, &standin);
    process.settings.push(("KAIROS_LEAVE_S", "3600".to_owned()));
    let tenant = process.make_app();
    process.start().await;
    process.api.get("/readyz", &Caller::Nobody).await;
    process.ask_to_stop();
    assert_eq!(readiness_after(&process, 200).await, 503);
    process.api.get("/v1/app", &tenant.server).await.expect(200);
    assert_eq!(process.api.get("/livez", &Caller::Nobody).await.status, 200);
    process.ask_to_stop();
    let child = process.child.take().unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "it ends in order: {}", process.log());
}

#[test]
fn a_node_that_is_told_to_stop_says_so_first_and_serves_on_sqlite() {
    in_real_time(leaves(Db::Sqlite));
}

#[test]
fn a_node_that_is_told_to_stop_says_so_first_and_serves_on_postgres() {
    in_real_time(leaves(Db::Postgres));
}
