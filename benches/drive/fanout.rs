//! (e) 20,000 messages put straight into the outbox: sends per second and CPU per send, against `h2load` on the same
//! stand-in, paths, bodies and connections.

use super::client::{Connection, request};
use super::measure::{Pairs, Sample, cpu_time_of, sample};
use super::server::{BUNDLE, House, gateway, phone};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kairos::clock::{Clock, DAY_MS};
use kairos::config::Config;
use kairos::id::{AppId, MessageId, UserId};
use kairos::people::device::{self, Environment, Registration};
use kairos::people::profile::{self, NewUser};
use kairos::push::standin::StandIn;
use kairos::push::{Allowed, Content, Gateway, Mode, NewMessage, outbox};
use kairos::serve::Kairos;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// Messages per run.
const MESSAGES: usize = 20_000;
/// Connections of ours and of `h2load`.
const CONNECTIONS: usize = 2;
/// Streams in flight per connection.
const STREAMS: usize = 500;
/// How long a run may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes the figure.
pub fn run() -> Value {
    // Both run beside what they measure, so the stand-in's own cost is the same for both.
    let (runtime, standin) = gateway();
    let apns = standin.issue_apns(Environment::Production, &[BUNDLE]).unwrap();
    let jwt = provider_token(&apns);
    let ours = || {
        let house = House::build("fanout");
        prepare(&runtime, &house, &standin, &apns);
        send(&house, &standin)
    };
    let mut figure = Pairs::take(5, ours, || h2load(&standin, &jwt)).json("≥ 0.4 of h2load, ≤ 25 µs CPU");
    figure["messages"] = json!(MESSAGES);
    figure
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
    ]
}

/// Credentials, one user with as many devices, and a message for each, straight into the outbox.
fn prepare(runtime: &tokio::runtime::Runtime, house: &House, standin: &StandIn, apns: &Value) {
    let settings = settings(standin, house);
    house.serve(&settings).must("PUT", "/v1/push-credentials/apns", &house.server, apns);
    let mut flags: BTreeMap<String, String> = settings.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    flags.insert("data_dir".to_owned(), house.folder.display().to_string());
    let config = Config::load(None, &flags).unwrap();
    let app: AppId = house.app_id.parse().unwrap();
    runtime.block_on(async {
        let kairos = Kairos::open(config, Clock::system()).await.unwrap();
        let (ids, now_ms, dispatcher) =
            (kairos.platform.ids.clone(), kairos.platform.clock.now_ms(), kairos.dispatcher().clone());
        let users: Vec<UserId> = (0..MESSAGES).map(|_| ids.next()).collect();
        let made: Vec<NewUser> = users.iter().map(|user| NewUser::bare(*user, false, now_ms)).collect();
        let phones: Vec<Registration> = users.iter().enumerate().map(|(n, user)| phone(ids.next(), *user, n, now_ms)).collect();
        let words = Content {
            title: Some("Welcome to Orly".to_owned()),
            body: "A taxi waits at the exit: 10 % off.".to_owned(),
            ..Content::default()
        };
        let campaign = ids.next();
        let offer = ids.next();
        let messages: Vec<NewMessage> = phones
            .iter()
            .map(|phone| NewMessage {
                id: ids.next::<MessageId>(),
                app_id: app,
                decision_id: ids.next(),
                choice_id: ids.next(),
                user_id: phone.user,
                device_id: phone.id,
                campaign_id: campaign,
                offer_id: offer,
                gateway: Gateway::Apns,
                token: phone.traits.token.clone().unwrap(),
                environment: Environment::Production,
                topic: Some(BUNDLE.to_owned()),
                test: false,
                content: words.clone(),
                collapse_id: "bench".to_owned(),
                mode: Mode::AtMostOnce,
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
                due_ms: now_ms,
                deadline_ms: now_ms + DAY_MS,
            })
            .collect();
        let write = move |conn: &mut kairos::store::Conn| {
            profile::create_many(conn, app, &made)?;
            device::register_many(conn, app, &phones)?;
            outbox::insert_many(conn, &dispatcher, &messages, now_ms)
        };
        kairos.platform.store.write(write).await.unwrap();
    });
}

/// Starts the server on the full outbox; ends when every message is settled in the database.
fn send(house: &House, standin: &StandIn) -> Sample {
    let before = standin.arrivals();
    let server = house.serve(&settings(standin, house));
    let pid = server.pid();
    let (cpu, started) = (cpu_time_of(&pid), Instant::now());
    let mut connection = Connection::open(server.address);
    let waiting = request("GET", "/metrics", "accept: */*", "");
    while standin.arrivals() < before + MESSAGES {
        assert!(started.elapsed() < PATIENCE, "{} of {MESSAGES} arrived", standin.arrivals() - before);
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let wall = started.elapsed();
    // The books of the last batch are still being written; they belong to the cost.
    while accepted(&mut connection, &waiting) < MESSAGES {
        assert!(started.elapsed() < PATIENCE, "not all messages were settled");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Sample { operations: MESSAGES as f64, wall, cpu: cpu_time_of(&pid) - cpu }
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

/// The same number of the same requests from `h2load`.
fn h2load(standin: &StandIn, jwt: &str) -> Sample {
    let folder = std::env::temp_dir().join(format!("kairos-bench-{}-h2load", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (paths, body) = (folder.join("paths"), folder.join("body"));
    let urls: String = (0..MESSAGES).map(|n| format!("{}/3/device/{n:064x}\n", standin.url())).collect();
    std::fs::write(&paths, urls).unwrap();
    let stamp = json!({ "message_id": "msg", "decision_id": "dec", "campaign_id": "cmp", "deadline_ms": 4_000_000_000_000_i64 });
    let alert = json!({ "title": "Welcome to Orly", "body": "A taxi waits at the exit: 10 % off." });
    std::fs::write(&body, json!({ "aps": { "alert": alert, "sound": "default" }, "kairos": stamp }).to_string()).unwrap();
    let mut command = Command::new("h2load");
    command.args(["-n", &MESSAGES.to_string(), "-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string(), "-t", "1"]);
    command.arg("-i").arg(&paths).arg("-d").arg(&body);
    for header in
        [&format!("authorization: bearer {jwt}"), &format!("apns-topic: {BUNDLE}"), "apns-push-type: alert", "apns-priority: 10"]
    {
        command.args(["-H", header]);
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
