//! (d) From the event to the gateway at 500 and 1,000 events per second, open loop, SQLite with synchronous=FULL.

use super::client::{Connection, post};
use super::measure::{quantile, round};
use super::server::{BUNDLE, House, gateway, phone};
use kairos::clock::Clock;
use kairos::config::Config;
use kairos::id::AppId;
use kairos::people::device::{self, Environment};
use kairos::people::profile::{self, NewUser};
use kairos::push::standin::{Row, StandIn};
use kairos::serve::Kairos;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Users, each with one phone; every event opens a moment for one of them.
const USERS: usize = 12_000;
/// How long each rate is held.
const SECONDS: usize = 8;
/// Connections that send.
const CLIENTS: usize = 16;

/// Takes the figure.
pub fn run() -> Value {
    let (runtime, standin) = gateway();
    let mut out = Map::new();
    for rate in [500, 1_000] {
        out.insert(format!("at_{rate}_per_s"), at(rate, &runtime, &standin));
    }
    out.insert("aim".to_owned(), json!("p99 ≤ 50 ms"));
    Value::Object(out)
}

fn at(rate: usize, runtime: &tokio::runtime::Runtime, standin: &StandIn) -> Value {
    let house = House::build(&format!("latency-{rate}"));
    let ca = house.folder.join("ca.pem");
    std::fs::write(&ca, standin.ca_pem()).unwrap();
    let settings = vec![("apns_url", standin.url()), ("fcm_url", standin.url()), ("ca_file", ca.display().to_string())];
    let app: AppId = house.app_id.parse().unwrap();
    people(runtime, &house, app, &settings);
    let server = house.serve(&settings);
    server.must(
        "PUT",
        "/v1/push-credentials/apns",
        &house.server,
        &standin.issue_apns(Environment::Production, &[BUNDLE]).unwrap(),
    );
    campaign(&server, &house);
    let events = rate * SECONDS;
    let bodies: Vec<Vec<u8>> = (0..events).map(|n| order(n, &house)).collect();
    let before = standin.arrivals();
    let sent = drive(&server, &bodies, rate);
    let patience = Instant::now();
    while standin.arrivals() < before + events && patience.elapsed() < Duration::from_secs(30) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let mut delays = delays_ms(&standin.ledger()[before..], &sent);
    json!({
        "events": events,
        "pushes": standin.arrivals() - before,
        "p50_ms": round(quantile(&mut delays, 0.50)),
        "p99_ms": round(quantile(&mut delays, 0.99)),
    })
}

/// How long each order took from the time at which its event was due to its arrival at the gateway.
pub(super) fn delays_ms(arrived: &[Row], sent: &HashMap<usize, i64>) -> Vec<f64> {
    let delay = |row: &Row| {
        let n: usize = row.text.as_deref()?.split_once("Order ")?.1.parse().ok()?;
        Some((row.real_ms - sent.get(&n)?) as f64)
    };
    arrived.iter().filter_map(delay).collect()
}

/// The event of the n-th user's order.
pub(super) fn order(n: usize, house: &House) -> Vec<u8> {
    let event = json!({ "id": format!("e{n}"), "type": "order.ready", "occurred_at": kairos::clock::Time(Clock::system().now_ms()).to_string(),
        "subject": format!("user:{n}"), "properties": { "shop": "bakery" } });
    post("/v1/events", &house.server, &json!({ "events": [event] }).to_string())
}

/// Open loop: each event leaves at its own time, whether or not those before it were answered. Answers when each was due.
pub(super) fn drive(server: &super::server::Server, bodies: &[Vec<u8>], rate: usize) -> HashMap<usize, i64> {
    let next = AtomicUsize::new(0);
    let sent = Mutex::new(HashMap::with_capacity(bodies.len()));
    let (started, clock) = (Instant::now(), Clock::system());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(server.address);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(n) else { break };
                    let due = Duration::from_secs_f64(n as f64 / rate as f64);
                    while let Some(wait) = due.checked_sub(started.elapsed()).filter(|w| !w.is_zero()) {
                        std::thread::park_timeout(wait);
                    }
                    // Counted from the time at which it was due, so that a slow answer is not hidden.
                    let late_ms = i64::try_from((started.elapsed() - due).as_millis()).unwrap();
                    sent.lock().unwrap().insert(n, clock.now_ms() - late_ms);
                    let (status, answer) = connection.send(body);
                    assert_eq!(status, 202, "{}", String::from_utf8_lossy(&answer));
                }
            });
        }
    });
    sent.into_inner().unwrap()
}

/// A campaign that speaks to the subject of each `order.ready`.
pub(super) fn campaign(server: &super::server::Server, house: &House) {
    let must = |path: &str, body: Value| server.must("POST", path, &house.server, &body);
    must(
        "/v1/purposes",
        json!({ "key": "service", "name": "Service", "basis": "contract", "version": "1", "texts": { "en": "Service" } }),
    );
    must("/v1/topics", json!({ "key": "orders", "name": "Orders", "default_on": true }));
    must("/v1/moment-kinds", json!({ "key": "ready", "trigger": { "event_type": "order.ready" }, "window_ms": 600_000 }));
    let template =
        json!({ "fallback": "en", "variants": { "en": { "title": "Ready", "body": "Order {{ user.external_id }}" } } });
    let offer = must(
        "/v1/offers",
        json!({ "name": "Ready", "purpose": "service", "topic": "orders", "base_value": 1.0, "template": template }),
    );
    let campaign = must("/v1/campaigns", json!({ "name": "Ready", "offers": [offer["id"]], "trigger": { "moment": "ready" } }));
    server.must("POST", &format!("/v1/campaigns/{}/publish", campaign["id"].as_str().unwrap()), &house.server, &Value::Null);
}

/// Users with an iPhone each; their external ids are numbers from 0.
pub(super) fn people(runtime: &tokio::runtime::Runtime, house: &House, app: AppId, settings: &[(&'static str, String)]) {
    let mut flags: BTreeMap<String, String> = settings.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    flags.insert("data_dir".to_owned(), house.folder.display().to_string());
    let config = Config::load(None, &flags).unwrap();
    runtime.block_on(async {
        let kairos = Kairos::open(config, Clock::system()).await.unwrap();
        let (ids, now_ms) = (kairos.platform.ids.clone(), kairos.platform.clock.now_ms());
        let user = |n| NewUser { external_id: Some(format!("{n}")), ..NewUser::bare(ids.next(), false, now_ms) };
        let users: Vec<NewUser> = (0..USERS).map(user).collect();
        let phones: Vec<_> = users.iter().enumerate().map(|(n, user)| phone(ids.next(), user.id, n, now_ms)).collect();
        let write = move |conn: &mut kairos::store::Conn| {
            profile::create_many(conn, app, &users)?;
            device::register_many(conn, app, &phones)
        };
        kairos.platform.store.write(write).await.unwrap();
    });
}
