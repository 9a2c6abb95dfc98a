//! The API as a whole, generated from its own OpenAPI document: what no write takes, and that no answer is our fault.

use crate::world::{Caller, Db, World, story};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

/// One operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    callers: BTreeSet<String>,
    takes_body: bool,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn serves(&self, caller: &str) -> bool {
        self.callers.contains(caller)
    }

    /// The path with every placeholder filled in; a placeholder without a value fails the test.
    fn fill(&self, values: &BTreeMap<String, String>) -> String {
        let mut filled = Vec::new();
        let mut before = "";
        for part in self.path.split('/') {
            match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                Some(name) => {
                    let key = format!("{before}.{name}");
                    let value = values.get(&key).unwrap_or_else(|| panic!("tests/it/api.rs makes no {key} for {}", self.name()));
                    filled.push(value.clone());
                }
                None => {
                    before = part;
                    filled.push(part.to_owned());
                }
            }
        }
        filled.join("/")
    }
}

/// Every operation, from the document that the server itself serves.
async fn operations(world: &World) -> Vec<Operation> {
    let document = world.get("/openapi.json", &Caller::Nobody).await.expect(200);
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            // Credentials that are enough alone; some operations also take two at once.
            let ways = operation["security"].as_array().into_iter().flatten().map(|way| way.as_object().unwrap());
            let callers = ways.filter(|way| way.len() == 1).flat_map(|way| way.keys().cloned()).collect();
            // Lines of an import are judged one by one, by its job: import.rs.
            let takes_lines = operation.pointer("/requestBody/content/application~1x-ndjson").is_some();
            let takes_body = operation.get("requestBody").is_some() && !takes_lines;
            found.push(Operation { method: method.to_uppercase(), path: path.clone(), callers, takes_body });
        }
    }
    assert!(found.len() > 40, "the document is not whole");
    // What makes a thing under a name that the caller chooses comes last, so that the others do not find it.
    found.sort_by_key(|operation| operation.method == "PUT");
    found
}

/// One thing of each sort in an app, by `segment.parameter`, and who may ask for it.
struct Furnished {
    values: BTreeMap<String, String>,
    server: Caller,
    user: Caller,
    phone: Caller,
}

impl Furnished {
    fn callers(&self, operation: &Operation) -> Vec<Caller> {
        let all = [("server_key", &self.server), ("user_token", &self.user), ("publishable_key", &self.phone)];
        all.iter().filter(|(name, _)| operation.serves(name)).map(|(_, caller)| (*caller).clone()).collect()
    }
}

/// Fills an app with one thing of each sort, under names that only this app has.
async fn furnish(world: &World, tag: &'static str) -> Furnished {
    let tenant = world.new_app(tag).await;
    let (server, key) = (tenant.server.clone(), |name: &str| format!("{tag}-{name}"));
    let mut values = BTreeMap::new();
    let mut put = |name: &str, value: &str| drop(values.insert(name.to_owned(), value.to_owned()));
    let id = |answer: &Value| answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned();

    story::declare(world, &tenant).await;
    story::credentials(world, &tenant, &world.standin).await;
    let (offer_id, campaign_id) = story::campaign(world, &tenant, &story::offer(&key("offer"))).await;
    put("offers.id", &offer_id);
    put("campaigns.id", &campaign_id);
    put("push-credentials.gateway", "apns");
    world.put("/v1/identity-providers/google", &server, json!({"client_ids": ["x"]})).await.expect(200);
    put("identity-providers.provider", "google");

    let texts = json!({"en": "May we?"});
    let purpose = json!({"key": key("purpose"), "name": "P", "basis": "consent", "version": "v1", "texts": texts});
    world.post("/v1/purposes", &server, purpose).await.expect(201);
    put("purposes.key", &key("purpose"));
    world.post("/v1/topics", &server, json!({"key": key("topic"), "name": "T"})).await.expect(201);
    put("topics.key", &key("topic"));
    let attribute = format!("{tag}_attribute");
    world.post("/v1/attributes", &server, json!({"scope": "user", "key": attribute, "kind": "string"})).await.expect(201);
    put("attributes.scope", "user");
    put("attributes.key", &attribute);
    let mut kind = story::kind();
    kind["key"] = key("kind").into();
    world.post("/v1/moment-kinds", &server, kind).await.expect(201);
    put("moment-kinds.key", &key("kind"));
    world.put(&format!("/v1/event-types/{}", key("type")), &server, json!({})).await;
    put("event-types.type", &key("type"));
    let words = json!({"subject": "x", "text": "{{ code }}"});
    world.put("/v1/mail-templates/sign_in/en", &server, words).await.expect(200);
    put("mail-templates.template", "sign_in");
    put("mail-templates.locale", "en");

    let made = world.post("/v1/keys", &server, json!({"kind": "publishable", "name": "k"})).await.expect(201);
    let operator = json!({"email": format!("{tag}@operators.example"), "name": "O", "role": "viewer"});
    put("operators.id", &id(&world.post("/v1/operators", &server, operator).await.expect(201)));
    put("keys.id", made["id"].as_str().or(made["key"]["id"].as_str()).unwrap());
    let partner = id(&world.post("/v1/partners", &server, json!({"name": key("partner")})).await.expect(201));
    put("partners.id", &partner);
    let made = world.post(&format!("/v1/partners/{partner}/keys"), &server, json!({"name": "k"})).await.expect(201);
    put("keys.key_id", made["id"].as_str().or(made["key"]["id"].as_str()).unwrap());

    for at in ["/v1/webhooks".to_owned(), format!("/v1/partners/{partner}/webhooks")] {
        let hook = id(&world.post(&at, &server, json!({"url": "https://hooks.invalid/x"})).await.expect(201));
        put(if at == "/v1/webhooks" { "webhooks.id" } else { "webhooks.webhook" }, &hook);
        world.patch(&format!("{at}/{hook}"), &server, json!({"event_types": ["never"]})).await.expect(200);
    }
    put("deliveries.delivery", "whd_00000000000070008000000000000000");

    let person = story::person(world, &tenant, &key("person")).await;
    put("users.id", &person.id);
    let (user_id, user) = story::sign_up(world, &tenant, &format!("{tag}@example.com")).await;
    let (installation, device, _) = story::phone(&key("own"), "android");
    put("devices.installation_id", &installation);
    put("start-tokens.attributes_type", "FlightAttributes");
    put("activities.activity_id", "own");
    put("activities.id", &format!("act_{}", "0".repeat(32)));
    for path in [format!("/v1/me/devices/{installation}")] {
        assert!(world.put(&path, &user, device.clone()).await.status < 300);
    }
    let (other, device, _) = story::phone(&key("made"), "android");
    assert!(world.put(&format!("/v1/users/{}/devices/{other}", person.id), &server, device).await.status < 300);
    put("mails.id", &crate::mail::one_of(world, &tenant, &user_id).await);
    put("passkeys.id", "psk_00000000000070008000000000000000");
    put("consents.id", &id(&story::consent(world, &tenant, &user_id, true).await));
    let history = world.get(&format!("/v1/users/{}/consents/history", person.id), &server).await.expect(200);
    put("consents.consent_id", &id(&history["items"][0]));
    put("identities.id", &world.identity(&tenant, &user_id).await);
    put("sessions.id", &id(&world.get("/v1/me/sessions", &user).await.expect(200)["items"][0]));

    let leaver = id(&world.post("/v1/users", &server, json!({"external_id": key("leaver")})).await.expect(201));
    put("erasures.id", &id(&world.delete(&format!("/v1/users/{leaver}"), &server).await.expect(202)["erasure"]));

    let thing = id(&world.post("/v1/things", &server, json!({"key": key("thing")})).await.expect(201));
    put("things.id", &thing);
    let link = world.post(&format!("/v1/things/{thing}/links"), &server, json!({"user": person.id})).await.expect(201);
    put("links.link", &id(&link));
    let place = json!({"name": key("place"), "circle": {"lat": 48.7, "lon": 2.3, "radius_m": 3000.0}});
    put("places.id", &id(&world.post("/v1/places", &server, place).await.expect(201)));

    let push = json!({"purpose": key("purpose"), "audience": {"user_ids": [person.id]}, "send_at": world.time(86_400),
        "content": {"title": key("title"), "body": "b"}});
    put("pushes.id", &id(&world.post("/v1/pushes", &server, push).await.expect(202)));
    let channel = id(&world.post("/v1/channels", &server, json!({"key": key("channel")})).await.expect(201));
    put("channels.id", &channel);
    let broadcast = json!({"event": "update", "content_state": {}});
    let broadcast = world.post(&format!("/v1/channels/{channel}/broadcasts"), &server, broadcast).await.expect(202);
    put("broadcasts.broadcast", &id(&broadcast));

    // The whole story once, for the signed-in user: an event, its decision, its message.
    let event = json!({
        "id": key("event"), "type": story::EVENT, "occurred_at": world.time(0), "subject": user_id, "properties": {"n": "1"},
    });
    let taken = world.post("/v1/events", &server, json!({"events": [event]})).await.expect(202);
    put("events.id", taken["results"][0]["event_id"].as_str().unwrap_or_else(|| panic!("{taken}")));
    world.drain().await;
    let decisions = world.get(&format!("/v1/decisions?user={user_id}"), &server).await.expect(200);
    put("decisions.id", &id(&decisions["items"][0]));
    let messages = world.get(&format!("/v1/messages?user={user_id}"), &server).await.expect(200);
    put("messages.id", &id(&messages["items"][0]));
    Furnished { values, server, user, phone: tenant.phone }
}

both! {
    async fn every_write_refuses_what_it_does_not_understand(world) {
        let mine = furnish(world, "mine").await;
        let large = format!("{{\"surprise\": \"{}\"}}", "x".repeat(1 << 20));
        let broken = ["", "{", "[]", "null", "\"text\"", "{\"a\": 1, \"a\": 2}", "[1, 2]", "{\"a\": NaN}", "\u{feff}{}", "{} {}"];
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for operation in operations(world).await.iter().filter(|o| o.takes_body) {
            let path = operation.fill(&mine.values);
            for caller in mine.callers(operation) {
                let with = |kind: &str, body: &str| world.call(&operation.method, &path).by(&caller).text(kind, body).send();
                let name = operation.name();
                for body in broken.iter().copied().chain([deep.as_str(), "{\"surprise\": 1}"]) {
                    let answer = with("application/json", body).await;
                    assert_eq!(answer.status, 400, "{name} takes {:.40}: {}", body, answer.text());
                    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
                }
                let unknown = with("application/json", "{\"surprise\": 1}").await.json();
                assert!(unknown.to_string().contains("surprise") || unknown["errors"].is_array(), "{name} names no field: {unknown}");
                assert_eq!(with("application/json", &large).await.status, 413, "{name}");
                assert_eq!(with("text/plain", "{}").await.status, 415, "{name}");
            }
        }
    }
}

/// Generated requests of every shape against every operation: no answer may be our fault.
async fn schemathesis(world: &World, callers: &[&Caller]) {
    let program = std::env::var("KAIROS_TEST_SCHEMATHESIS").unwrap_or_else(|_| {
        panic!("KAIROS_TEST_SCHEMATHESIS is not set: run `make test`, which provides it, or set it to the program's path")
    });
    let mut command = Command::new(program);
    command
        .args(["run", &format!("http://{}/openapi.json", world.api.address), "--no-color", "--seed", "1"])
        .args(["--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing", "--max-examples", "10"])
        .args(["--max-time", "120", "--request-timeout", "20", "--continue-on-failure", "--no-shrink"])
        .args(["--suppress-health-check", "all", "--generation-database", "none"])
        // What ends the session that asks: everything after it would be a 401. And imports, whose lines (NDJSON) it cannot
        // write: import.rs has bad ones.
        .args(["--exclude-path-regex", "^/v1/(auth/sign-out|me/sessions(/.*)?|users/import|devices/import)$"])
        .args(["--exclude-operation-id", "leave"])
        // One worker: CPython 3.11 loses count of its recursion when threads parse at the same time (python/cpython 106905).
        .args(["--workers", "1"])
        .current_dir(world.database.folder())
        .stdin(Stdio::null());
    for caller in callers {
        match caller {
            Caller::Nobody => {}
            Caller::App(key) => drop(command.args(["--header", &format!("X-Kairos-Key:{key}")])),
            Caller::Bearer(token) => drop(command.args(["--header", &format!("Authorization:Bearer {token}")])),
            Caller::Operator { token, app } => {
                let headers = [format!("Authorization:Bearer {token}"), format!("X-Kairos-App:{app}")];
                for header in &headers {
                    command.args(["--header", header]);
                }
            }
        }
    }
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let report = String::from_utf8_lossy(&done.stdout);
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{report}\n{told}");
    assert!(report.contains("generated") || report.contains("passed"), "did it test anything?\n{report}");
}

#[test]
fn schemathesis_finds_no_fault_of_ours_as_a_server_on_sqlite() {
    crate::world::run(Db::Sqlite, async |world: &mut World| {
        world.may_leave_work();
        let mine = furnish(world, "mine").await;
        schemathesis(world, &[&mine.server, &mine.phone]).await;
    });
}

#[test]
fn schemathesis_finds_no_fault_of_ours_as_a_user_on_postgres() {
    crate::world::run(Db::Postgres, async |world: &mut World| {
        world.may_leave_work();
        let mine = furnish(world, "mine").await;
        schemathesis(world, &[&mine.user, &mine.phone]).await;
    });
}
