//! (e) 100,000 messages, each in its person's words, in the outbox: sends per second and CPU per send, against `h2load` on
//! the same stand-in, paths, sizes and connections, on both databases; memory; and what a moment waits meanwhile.

use super::client::{Connection, request};
use super::latency::{campaign, delays_ms, drive, order, people};
use super::measure::{PAIRS_MIN, Pairs, Sample, cpu_time_of, median, quantile, round, sample};
use super::server::{BUNDLE, Engine, House, Server, gateway, phone};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kairos::clock::{Clock, DAY_MS};
use kairos::config::Config;
use kairos::id::{AppId, Ids, MessageId};
use kairos::people::device::{self, Environment, Registration};
use kairos::people::profile::{self, NewUser};
use kairos::push::standin::StandIn;
use kairos::push::{Allowed, Content, Gateway, Mode, NewMessage, outbox};
use kairos::serve::Kairos;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// Messages per run.
const MESSAGES: usize = 100_000;
/// Connections of ours and of `h2load`: as many as the server opens when nobody says otherwise.
const CONNECTIONS: usize = 4;
/// Streams in flight per connection, likewise.
const STREAMS: usize = 500;
/// How long a run may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Moments per second beside the fan-out, and how many.
const MOMENTS_PER_S: usize = 100;
const MOMENTS: usize = 200;

/// Takes the figure.
pub fn run() -> Value {
    json!({
        "sqlite": against_h2load(Engine::Sqlite, "≥ 0.6 of h2load, ≤ 18 µs CPU, ≤ 64 MiB above idle"),
        "postgres": against_h2load(Engine::Postgres, "≥ 0.3 of h2load, ≤ 64 MiB above idle"),
    })
}

fn against_h2load(engine: Engine, aim: &str) -> Value {
    // Both run beside what they measure, so the stand-in's own cost is the same for both.
    let (runtime, standin) = gateway();
    let apns = standin.issue_apns(Environment::Production, &[BUNDLE]).unwrap();
    let jwt = provider_token(&apns);
    let above_idle = RefCell::new(Vec::new());
    let ours = || {
        let house = House::build_on(engine, "fanout");
        let idle_mib = prepare(&runtime, &house, &standin, &apns);
        let (sent, peak_mib) = send(&house, &standin);
        above_idle.borrow_mut().push(peak_mib - idle_mib);
        sent
    };
    let mut figure = Pairs::take(5, ours, || h2load(&standin, &jwt)).json(aim);
    figure["messages"] = json!(MESSAGES);
    figure["peak_mib_above_idle"] = json!(round(median(above_idle.into_inner())));
    // The whole takes minutes: what is known is shown.
    eprintln!("fanout on {engine:?}: {figure:#}");
    figure
}

/// A moment's way from its event to the gateway, on a quiet server and while a fan-out is under way, in turns.
pub fn beside() -> Value {
    let (runtime, standin) = gateway();
    let apns = standin.issue_apns(Environment::Production, &[BUNDLE]).unwrap();
    let mut of_rounds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..PAIRS_MIN {
        let mut p99_ms = Vec::new();
        for (name, queued) in [("idle", 0), ("fanout", MESSAGES)] {
            let (mut delays, sent) = moments(&runtime, &standin, (&apns, queued));
            p99_ms.push(quantile(&mut delays, 0.99));
            let known = [("p50_ms", quantile(&mut delays, 0.50)), ("p99_ms", quantile(&mut delays, 0.99))];
            for (of, value) in known.into_iter().chain([("sent_meanwhile", sent as f64)]) {
                of_rounds.entry(format!("{name}_{of}")).or_default().push(value);
            }
        }
        of_rounds.entry("ratio".to_owned()).or_default().push(p99_ms[1] / p99_ms[0].max(1.0));
    }
    let worst = of_rounds["ratio"].iter().copied().fold(0.0, f64::max);
    let mut figure = json!({ "aim": "p99 ≤ 3 × idle", "rounds": PAIRS_MIN, "ratio_worst": round(worst) });
    for (name, values) in of_rounds {
        figure[name] = json!(round(median(values)));
    }
    figure
}

/// How long each moment's push took, in milliseconds, beside so many that were queued before, and how many arrived meanwhile.
fn moments(runtime: &tokio::runtime::Runtime, standin: &StandIn, (apns, queued): (&Value, usize)) -> (Vec<f64>, usize) {
    let house = House::build("beside");
    people(runtime, &house, house.app_id.parse().unwrap(), &settings(standin, &house));
    {
        let server = house.serve(&settings(standin, &house));
        server.must("PUT", "/v1/push-credentials/apns", &house.server, apns);
        campaign(&server, &house);
    }
    fill(runtime, &house, standin, queued);
    let bodies: Vec<Vec<u8>> = (0..MOMENTS).map(|n| order(n, &house)).collect();
    let before = standin.arrivals();
    let server = house.serve(&settings(standin, &house));
    let sent = drive(&server, &bodies, MOMENTS_PER_S);
    let meanwhile = standin.arrivals() - before;
    wait(standin, before + queued + MOMENTS);
    let delays = delays_ms(&standin.ledger()[before..], &sent);
    assert_eq!(delays.len(), MOMENTS);
    (delays, meanwhile)
}

fn settings(standin: &StandIn, house: &House) -> Vec<(&'static str, String)> {
    let ca = house.folder.join("ca.pem");
    std::fs::write(&ca, standin.ca_pem()).unwrap();
    vec![
        ("apns_url", standin.url()),
        ("fcm_url", standin.url()),
        ("ca_file", ca.display().to_string()),
        ("gateway_connections", CONNECTIONS.to_string()),
        ("gateway_streams", STREAMS.to_string()),
        ("fcm_quota_per_minute", "0".to_owned()),
    ]
}

/// Credentials, users with a device each, and a message for each, straight into the outbox. Answers the memory of the
/// server before it had anything to do, in MiB.
fn prepare(runtime: &tokio::runtime::Runtime, house: &House, standin: &StandIn, apns: &Value) -> f64 {
    let server = house.serve(&settings(standin, house));
    server.must("PUT", "/v1/push-credentials/apns", &house.server, apns);
    let (idle_mib, _) = server.memory_mib();
    drop(server);
    fill(runtime, house, standin, MESSAGES);
    idle_mib
}

fn fill(runtime: &tokio::runtime::Runtime, house: &House, standin: &StandIn, many: usize) {
    let all = house.settings.iter().cloned().chain(settings(standin, house));
    let mut flags: BTreeMap<String, String> = all.map(|(k, v)| (k.to_owned(), v)).collect();
    flags.insert("data_dir".to_owned(), house.folder.display().to_string());
    let config = Config::load(None, &flags).unwrap();
    let app: AppId = house.app_id.parse().unwrap();
    runtime.block_on(async {
        let kairos = Kairos::open(config, Clock::system()).await.unwrap();
        let (ids, now_ms) = (kairos.platform.ids.clone(), kairos.platform.clock.now_ms());
        let (campaign, offer) = (ids.next(), ids.next());
        for first in (0..many).step_by(10_000) {
            let (ids, dispatcher) = (ids.clone(), kairos.dispatcher().clone());
            let made: Vec<NewUser> =
                (first..many.min(first + 10_000)).map(|_| NewUser::bare(ids.next(), false, now_ms)).collect();
            // Other tokens than those of the people of the moments.
            let phones: Vec<Registration> =
                made.iter().enumerate().map(|(n, user)| phone(ids.next(), user.id, 1_000_000 + first + n, now_ms)).collect();
            let message =
                |phone: &Registration| NewMessage { campaign_id: campaign, offer_id: offer, ..message(&ids, app, phone) };
            let messages: Vec<NewMessage> = phones.iter().map(message).collect();
            let write = move |conn: &mut kairos::store::Conn| {
                profile::create_many(conn, app, &made)?;
                device::register_many(conn, app, &phones)?;
                outbox::insert_many(conn, &dispatcher, &messages, now_ms)
            };
            kairos.platform.store.write(write).await.unwrap();
        }
    });
}

/// A push in its person's words, due now.
fn message(ids: &Ids, app: AppId, phone: &Registration) -> NewMessage {
    NewMessage {
        id: ids.next::<MessageId>(),
        app_id: app,
        decision_id: ids.next(),
        choice_id: ids.next(),
        user_id: phone.user,
        device_id: phone.id,
        campaign_id: ids.next(),
        offer_id: ids.next(),
        gateway: Gateway::Apns,
        token: phone.traits.token.clone().unwrap(),
        environment: Environment::Production,
        topic: Some(BUNDLE.to_owned()),
        test: false,
        content: Content {
            title: Some("Welcome to Orly".to_owned()),
            body: format!("A taxi for {} waits at the exit: 10 % off.", phone.installation_id),
            ..Content::default()
        },
        activity: None,
        collapse_id: "bench".to_owned(),
        mode: Mode::AtMostOnce,
        bulk: true,
        allowed: Allowed {
            topic: None,
            critical: false,
            purpose: "service".to_owned(),
            partner_id: None,
            trigger_needs: Vec::new(),
            consent_ids: Vec::new(),
            until_ms: None,
        },
        consent_epoch: 0,
        app_consent_epoch: 0,
        due_ms: phone.now_ms,
        deadline_ms: phone.now_ms + DAY_MS,
    }
}

fn wait(standin: &StandIn, arrivals: usize) {
    let started = Instant::now();
    while standin.arrivals() < arrivals {
        assert!(started.elapsed() < PATIENCE, "{} of {arrivals} arrived", standin.arrivals());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Starts the server on the full outbox; ends when every message is settled in the database. Answers its largest memory,
/// in MiB, too.
fn send(house: &House, standin: &StandIn) -> (Sample, f64) {
    let before = standin.arrivals();
    let server: Server = house.serve(&settings(standin, house));
    let pid = server.pid();
    let (cpu, started) = (cpu_time_of(&pid), Instant::now());
    let waiting = request("GET", "/metrics", "accept: */*", "");
    wait(standin, before + MESSAGES);
    let wall = started.elapsed();
    // Opened now: one that is idle for long is closed.
    let mut connection = Connection::open(server.address);
    // The books of the last batch are still being written; they belong to the cost.
    while accepted(&mut connection, &waiting) < MESSAGES {
        assert!(started.elapsed() < PATIENCE, "not all messages were settled");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let (_, peak_mib) = server.memory_mib();
    (Sample { operations: MESSAGES as f64, wall, cpu: cpu_time_of(&pid) - cpu }, peak_mib)
}

/// How many the server says were accepted.
fn accepted(connection: &mut Connection, request: &[u8]) -> usize {
    let (_, body) = connection.send(request);
    let text = String::from_utf8_lossy(&body).into_owned();
    let of = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let sum: f64 = text.lines().filter(|l| l.starts_with("kairos_push_sent_total") && l.contains("\"accepted\"")).map(of).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = sum as usize;
    count
}

/// As many requests from `h2load`, of the same paths, headers and size; all have one body and one `apns-id`, since it takes no
/// more.
fn h2load(standin: &StandIn, jwt: &str) -> Sample {
    let folder = std::env::temp_dir().join(format!("kairos-bench-{}-h2load", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (paths, body) = (folder.join("paths"), folder.join("body"));
    let urls: String = (0..MESSAGES).map(|n| format!("{}/3/device/{:064x}\n", standin.url(), 1_000_000 + n)).collect();
    std::fs::write(&paths, urls).unwrap();
    let clock = Clock::system();
    let ids = Ids::new(clock.clone());
    let push = message(&ids, ids.next(), &phone(ids.next(), ids.next(), 1_000_000, clock.now_ms()));
    std::fs::write(&body, push.payload()).unwrap();
    let mut command = Command::new("h2load");
    command.args(["-n", &MESSAGES.to_string(), "-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string(), "-t", "1"]);
    command.arg("-i").arg(&paths).arg("-d").arg(&body);
    for header in [
        format!("authorization: bearer {jwt}"),
        format!("apns-topic: {BUNDLE}"),
        "apns-push-type: alert".to_owned(),
        "apns-priority: 10".to_owned(),
        format!("apns-id: {}", push.id.uuid()),
        format!("apns-expiration: {}", push.deadline_ms / 1_000),
        format!("apns-collapse-id: {}", push.collapse_id),
    ] {
        command.args(["-H", &header]);
    }
    let before = standin.arrivals();
    let taken = sample(|| {
        let out = command.output().unwrap_or_else(|e| {
            panic!("h2load is missing ({e}): install Debian's nghttp2-client, or let `make bench` do it as root")
        });
        let text = String::from_utf8_lossy(&out.stdout);
        // h2load opens all its streams at once; what comes before a connection's first success is refused, as Apple does.
        let words: Vec<&str> = text.split_whitespace().collect();
        let succeeded = words.windows(2).find(|w| w[1].starts_with("succeeded")).and_then(|w| w[0].parse::<usize>().ok());
        let succeeded = succeeded.filter(|n| *n * 100 >= MESSAGES * 90).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(standin.arrivals() - before, succeeded);
        succeeded as f64
    });
    let _ = std::fs::remove_dir_all(folder);
    taken
}

/// A provider token as Apple wants it, made from the credential's own key.
fn provider_token(apns: &Value) -> String {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let text = |name: &str| apns[name].as_str().unwrap();
    let der: String = text("key_p8").lines().filter(|l| !l.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(der).unwrap();
    let random = ring::rand::SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
    let iat = Clock::system().now_ms() / 1_000;
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "ES256", "kid": text("key_id") })),
        part(json!({ "iss": text("team_id"), "iat": iat }))
    );
    let signature = key.sign(&random, signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
