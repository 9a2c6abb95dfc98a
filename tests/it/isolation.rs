//! An app with one of everything, and how to ask each operation of the OpenAPI document of it: what `matrix` walks. A new
//! route without a sample here fails. Also: no body takes a field that the server makes.

#[path = "isolation/document.rs"]
mod document;

use crate::stage::Stage;
use crate::world::{Answer, Caller, Person, Tenant, World};
pub use document::{Operation, operations};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where names are chosen by callers: another app may make a thing of its own under the same name.
const NAMED: [&str; 8] = [
    "/v1/moment-kinds/{key}",
    "/v1/event-types/{type}",
    "/v1/mail-templates/{template}/{locale}",
    "/v1/me/devices/{installation_id}",
    "/v1/push-credentials/apns",
    "/v1/push-credentials/fcm",
    "/v1/push-credentials/webpush",
    "/v1/identity-providers/{provider}",
];

/// Whether whoever asks gets a thing of their own by it.
pub fn makes_its_own(operation: &Operation) -> bool {
    let is_new = operation.method == "POST" && !operation.path.contains('{');
    is_new || operation.method == "PUT" && NAMED.contains(&operation.path.as_str())
}

/// Whether it ends the session that asks.
pub fn signs_out(operation: &Operation) -> bool {
    let all =
        [("DELETE", "/v1/me/sessions"), ("DELETE", "/v1/me"), ("POST", "/v1/auth/sign-out"), ("POST", "/v1/operators/sign-out")];
    all.contains(&(operation.method.as_str(), operation.path.as_str()))
}

/// An app with one of everything.
pub struct House {
    /// The app.
    pub tenant: Tenant,
    /// A user of it.
    pub person: Person,
    /// Whoever holds a key of its partner.
    pub partner: Caller,
    /// An owner of it.
    pub operator: Caller,
    /// Path parameters by template, in order.
    samples: BTreeMap<&'static str, Vec<String>>,
}

impl House {
    /// The operation's path with a sample of each parameter.
    pub fn path(&self, operation: &Operation) -> String {
        if !operation.path.contains('{') {
            return operation.path.clone();
        }
        // The longest template that the path begins with has its parameters first.
        let sample = self.samples.get(operation.path.as_str()).or_else(|| {
            let prefix = self.samples.keys().filter(|template| operation.path.starts_with(&format!("{template}/")));
            prefix.max_by_key(|template| template.len()).map(|template| &self.samples[template])
        });
        let sample = sample.unwrap_or_else(|| panic!("give a sample of {} in this file", operation.path));
        let mut path = operation.path.clone();
        for value in sample {
            let (open, close) = (path.find('{').unwrap(), path.find('}').unwrap());
            path.replace_range(open..=close, value);
        }
        assert!(!path.contains('{'), "the sample of {} is too short", operation.path);
        path
    }

    /// Where its partner is.
    pub fn partner_path(&self) -> String {
        format!("/v1/partners/{}", self.samples["/v1/partners/{id}"][0])
    }

    /// Whoever has this kind of credential here.
    pub fn caller(&self, scheme: &str) -> Caller {
        match scheme {
            "publishable_key" => self.tenant.phone.clone(),
            "server_key" => self.tenant.server.clone(),
            "user_token" => self.person.token.clone(),
            "partner_key" => self.partner.clone(),
            "operator_token" => self.operator.clone(),
            other => panic!("a new kind of caller: {other}"),
        }
    }
}

async fn made(world: &World, path: &str, by: &Caller, body: Value) -> String {
    let answer = world.post(path, by, body).await;
    assert!([200, 201, 202].contains(&answer.status), "{path}: {}", answer.text());
    let made = answer.json();
    made["id"].as_str().unwrap_or_default().to_owned()
}

async fn partner_key(world: &World, by: &Caller) -> (String, String, Caller) {
    let partner = made(world, "/v1/partners", by, json!({"name": "canary taxi"})).await;
    let key = world.post(&format!("/v1/partners/{partner}/keys"), by, json!({"name": "canary key"})).await.expect(201);
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    (partner, text("id"), Caller::Bearer(text("secret")))
}

/// A passkey as if it had been registered: only its key is missing, which nobody uses here.
fn passkey(world: &World, (app, user): (&str, &str)) -> String {
    let id = format!("psk_{}", &user[4..]);
    let made = world.database.lines(&format!(
        "insert into passkeys (app_id, id, user_id, handle, credential_id, credential, counter, backed_up, transports, name, \
         second_factor, created_ms) values ('{app}', '{id}', '{user}', 'x', 'x', '{{}}', 0, false, '[]', 'canary phone', false, 0) \
         returning id as line"
    ));
    assert_eq!(made, std::slice::from_ref(&id));
    id
}

/// A webhook at this path and a delivery to it: a user's withdrawal towards a partner. Nobody sends it in this test.
async fn webhook_of(world: &World, by: &Caller, at: &str, (partner, user): (&str, &str)) -> (String, String) {
    let webhook = made(world, at, by, json!({"url": "https://hooks.invalid/canary"})).await;
    let withdrawal = json!({"purpose": "partner_events", "channel": at.contains("partners").then_some("push"), "granted": false, "partner": partner});
    made(world, &format!("/v1/users/{user}/consents"), by, withdrawal).await;
    let deliveries = world.get(&format!("{at}/{webhook}/deliveries"), by).await.expect(200);
    (webhook, deliveries["items"][0]["id"].as_str().unwrap().to_owned())
}

/// A channel, and what went out over it.
async fn broadcast(world: &World, by: &Caller) -> (String, String) {
    let channel = made(world, "/v1/channels", by, json!({"key": "canary-match"})).await;
    let broadcast = json!({"event": "update", "content_state": {"score": "canary"}});
    let broadcast = world.post(&format!("/v1/channels/{channel}/broadcasts"), by, broadcast).await.expect(202);
    (channel, broadcast["id"].as_str().unwrap().to_owned())
}

/// What a phone says of its Live Activities; the id of one that its app has begun.
async fn activity(world: &World, me: &Caller, installation: &str) -> String {
    let phone = format!("/v1/me/devices/{installation}");
    world.put(&format!("{phone}/start-tokens/CanaryAttributes"), me, json!({"token": "c0ffee"})).await.expect(204);
    let running = json!({"token": "c0ffee00", "attributes_type": "CanaryAttributes"});
    let running = world.put(&format!("{phone}/activities/canary-run"), me, running).await.expect(200);
    running["activity_id"].as_str().unwrap().to_owned()
}

/// The id of the first of a list.
async fn first(world: &World, path: &str, by: &Caller) -> String {
    world.get(path, by).await.expect(200)["items"][0]["id"].as_str().unwrap().to_owned()
}

async fn erasure(world: &World, by: &Caller) -> String {
    let leaver = made(world, "/v1/users", by, json!({"external_id": "canary-gone"})).await;
    world.delete(&format!("/v1/users/{leaver}"), by).await.expect(202)["erasure"]["id"].as_str().unwrap().to_owned()
}

async fn import(world: &World, by: &Caller) -> String {
    let lines = "{\"external_id\": \"canary-moved\"}\n";
    let import = world.call("POST", "/v1/users/import").by(by).text("application/x-ndjson", lines);
    import.send().await.expect(202)["id"].as_str().unwrap().to_owned()
}

async fn push(world: &World, by: &Caller, user: &str) -> String {
    let push = json!({"name": "canary push", "purpose": "marketing", "audience": {"user_ids": [user]}, "send_at": world.time(86_400),
        "content": {"title": "canary", "body": "canary"}});
    made(world, "/v1/pushes", by, push).await
}

/// An app with one of everything, made the way a real one is.
pub async fn furnish(world: &mut World) -> House {
    let stage = Stage::set(world).await;
    let by = stage.app.server.clone();
    let question = json!({"scope": "user", "key": "canary_tier", "kind": "string", "question": {"en": "Which canary?"}});
    made(world, "/v1/attributes", &by, question).await;
    let audience = json!({"audience": "!has(user.attributes.canary_tier) || user.attributes.canary_tier == 'x'"});
    let (offer, campaign) = stage.one_offer(world, audience, json!({})).await;
    let listener = stage.listener(world).await;
    let event = stage.lands(world, &listener, 1).await;
    world.drain().await;
    let decision = stage.decision(world, &listener).await["id"].as_str().unwrap().to_owned();
    let message = stage.messages(world, &listener).await[0]["id"].as_str().unwrap().to_owned();
    let (partner, partners_key, partner_caller) = partner_key(world, &by).await;
    made(world, "/v1/users", &by, json!({"external_id": "canary-crm"})).await;
    let thing = made(world, "/v1/things", &by, json!({"key": "canary-39a415", "class": "aircraft"})).await;
    let link =
        made(world, &format!("/v1/things/{thing}/links"), &by, json!({"user": listener.person.id, "ends_at": world.time(500)}))
            .await;
    let circle = json!({"key": "ORY", "name": "canary Orly", "circle": {"lat": 48.72, "lon": 2.36, "radius_m": 3000}});
    let place = made(world, "/v1/places", &by, circle).await;
    world.put("/v1/event-types/landed", &by, json!({"max_useful_age_ms": 3_600_000})).await.expect(200);
    let (webhook, delivery) = webhook_of(world, &by, "/v1/webhooks", (&partner, &listener.person.id)).await;
    let of_partner = format!("/v1/partners/{partner}/webhooks");
    let (partners_webhook, partners_delivery) = webhook_of(world, &by, &of_partner, (&partner, &listener.person.id)).await;
    let key = made(world, "/v1/keys", &by, json!({"kind": "server", "name": "canary spare", "scopes": ["app:read"]})).await;
    let words = json!({"subject": "canary", "text": "{{ code }}"});
    world.put("/v1/mail-templates/sign_in/en", &by, words).await.expect(200);
    let mail = crate::mail::one_of(world, &stage.app, &listener.person.id).await;
    let operator = world.operator(&stage.app, "owner").await;
    let colleague =
        made(world, "/v1/operators", &by, json!({"email": "canary@example.com", "name": "canary", "role": "viewer"})).await;
    // What is asked by being read is asked before anything is compared.
    world.get("/v1/me/next-question", &listener.person.token).await;
    let (channel, broadcast) = broadcast(world, &by).await;
    let installation = format!("phone-{}", &listener.person.id[4..]);
    let activity = activity(world, &listener.person.token, &installation).await;
    let user = listener.person.id.clone();
    let session = first(world, "/v1/me/sessions", &listener.person.token).await;
    let acting = world.post(&format!("/v1/users/{user}/impersonate"), &by, json!({"reason": "ticket 7"})).await.expect(200);
    let looked_in = acting["session_id"].as_str().unwrap().to_owned();
    let erasure = erasure(world, &by).await;
    let passkey = passkey(world, (&stage.app.id.to_string(), &user));
    let consent = first(world, &format!("/v1/users/{user}/consents/history"), &by).await;
    world.put("/v1/identity-providers/google", &by, json!({"client_ids": ["canary-client"]})).await.expect(200);
    let identity = world.identity(&stage.app, &listener.person.id).await;
    let import = import(world, &by).await;
    let push = push(world, &by, &user).await;
    world.drain().await;
    let samples = [
        ("/v1/pushes/{id}", vec![push]),
        ("/v1/erasures/{id}", vec![erasure]),
        ("/v1/imports/{id}", vec![import]),
        ("/v1/me/passkeys/{id}", vec![passkey]),
        ("/v1/me/consents/{id}/receipt", vec![consent.clone()]),
        ("/v1/users/{id}/consents/{consent_id}/receipt", vec![user.clone(), consent]),
        ("/v1/identity-providers/{provider}", vec!["google".to_owned()]),
        ("/v1/me/identities/{id}", vec![identity]),
        ("/v1/me/sessions/{id}", vec![session]),
        ("/v1/users/{id}/sessions/{session}", vec![user.clone(), looked_in]),
        ("/v1/users/{id}", vec![user.clone()]),
        ("/v1/users/{id}/devices/{installation_id}", vec![user, installation.clone()]),
        ("/v1/me/devices/{installation_id}/badge", vec![installation.clone()]),
        (
            "/v1/me/devices/{installation_id}/start-tokens/{attributes_type}",
            vec![installation.clone(), "CanaryAttributes".to_owned()],
        ),
        ("/v1/me/devices/{installation_id}/activities/{activity_id}", vec![installation.clone(), "canary-run".to_owned()]),
        ("/v1/activities/{id}", vec![activity]),
        ("/v1/me/devices/{installation_id}", vec![installation]),
        ("/v1/me/messages/{id}", vec![message.clone()]),
        ("/v1/purposes/{key}", vec!["marketing".to_owned()]),
        ("/v1/topics/{key}", vec!["offers".to_owned()]),
        ("/v1/attributes/{scope}/{key}", vec!["user".to_owned(), "canary_tier".to_owned()]),
        ("/v1/channels/{id}", vec![channel.clone()]),
        ("/v1/channels/{id}/broadcasts/{broadcast}", vec![channel, broadcast]),
        ("/v1/partners/{id}", vec![partner.clone()]),
        ("/v1/partners/{id}/keys/{key_id}", vec![partner.clone(), partners_key]),
        ("/v1/partners/{id}/webhooks/{webhook}", vec![partner.clone(), partners_webhook.clone()]),
        ("/v1/partners/{id}/webhooks/{webhook}/deliveries/{delivery}", vec![partner, partners_webhook, partners_delivery]),
        ("/v1/webhooks/{id}", vec![webhook.clone()]),
        ("/v1/webhooks/{id}/deliveries/{delivery}", vec![webhook, delivery]),
        ("/v1/moment-kinds/{key}", vec!["landing".to_owned()]),
        ("/v1/offers/{id}", vec![offer]),
        ("/v1/campaigns/{id}", vec![campaign]),
        ("/v1/events/{id}", vec![event]),
        ("/v1/event-types/{type}", vec!["landed".to_owned()]),
        ("/v1/things/{id}", vec![thing.clone()]),
        ("/v1/things/{id}/links/{link}", vec![thing, link]),
        ("/v1/places/{id}", vec![place]),
        ("/v1/decisions/{id}", vec![decision]),
        ("/v1/messages/{id}", vec![message]),
        ("/v1/push-credentials/{gateway}", vec!["apns".to_owned()]),
        ("/v1/mail-templates/{template}/{locale}", vec!["sign_in".to_owned(), "en".to_owned()]),
        ("/v1/mails/{id}", vec![mail]),
        ("/v1/keys/{id}", vec![key]),
        ("/v1/operators/{id}", vec![colleague]),
    ];
    let (partner, operator) = (partner_caller, operator.caller);
    House { tenant: stage.app, person: listener.person, partner, operator, samples: samples.into() }
}

/// A body that this operation takes; `{}` where anything may be left out.
pub fn body(operation: &Operation) -> Value {
    let device = json!({"platform": "ios", "topic": "app.kairos.demo", "push_permission": "granted"});
    let consent = json!({"purpose": "location", "granted": false});
    let kind = json!({"key": "landing", "trigger": {"event_type": "landed"}, "window_ms": 60_000});
    let offer = json!({"name": "x", "purpose": "location", "topic": "offers", "base_value": 1.0,
        "template": {"fallback": "en", "variants": {"en": {"title": "x", "body": "x"}}}});
    match (operation.method.as_str(), operation.path.as_str()) {
        ("POST", "/v1/users/{id}/consents" | "/v1/me/consents") => consent,
        ("POST", "/v1/users/{id}/age" | "/v1/me/age") => json!({"birth_date": "1990-05-17"}),
        ("PUT", "/v1/users/{id}/devices/{installation_id}" | "/v1/me/devices/{installation_id}") => device,
        ("PUT", "/v1/me/devices/{installation_id}/badge") => json!({"badge": 3}),
        ("PUT", "/v1/me/devices/{installation_id}/start-tokens/{attributes_type}") => json!({"token": "ab"}),
        ("PUT", "/v1/me/devices/{installation_id}/activities/{activity_id}") => {
            json!({"token": "abcd", "attributes_type": "CanaryAttributes"})
        }
        ("POST", "/v1/activities") => {
            json!({"attributes_type": "X", "attributes": {}, "content_state": {}, "purpose": "location",
            "alert": {"title": "x", "body": "x"}, "audience": {"user_ids": ["usr_00000000000070008000000000000000"]}})
        }
        ("POST", "/v1/activities/{id}/updates") => json!({"event": "update", "content_state": {}, "purpose": "location"}),
        ("POST", "/v1/purposes/{key}/versions") => json!({"version": "9", "texts": {"en": "x"}, "re_ask": true}),
        ("PATCH", "/v1/topics/{key}" | "/v1/purposes/{key}") => json!({"name": "taken over"}),
        ("PATCH", "/v1/attributes/{scope}/{key}") => json!({"settle_ms": 1}),
        ("POST", "/v1/partners/{id}/keys") => json!({"name": "taken over"}),
        ("POST" | "PUT", "/v1/moment-kinds" | "/v1/moment-kinds/{key}") => kind,
        ("POST" | "PUT", "/v1/offers" | "/v1/offers/{id}") => offer,
        ("POST", "/v1/pushes") => {
            json!({"purpose": "location", "audience": {"rule": "user.anonymous"}, "content": {"title": "x", "body": "x"}})
        }
        ("PUT" | "POST", "/v1/campaigns/{id}" | "/v1/campaigns") => {
            json!({"name": "x", "offers": [], "trigger": {"moment": "landing"}})
        }
        ("PUT", "/v1/push-credentials/apns") => {
            json!({"environment": "production", "team_id": "x", "key_id": "x", "key_p8": "x", "topics": []})
        }
        ("PUT", "/v1/push-credentials/fcm") => json!({"service_account": {}}),
        ("PUT", "/v1/push-credentials/webpush") => json!({"subject": "mailto:ops@example.com"}),
        ("PUT", "/v1/mail-templates/{template}/{locale}") => json!({"subject": "x", "text": "{{ code }}"}),
        ("POST", "/v1/messages/{id}/receipts") => json!({"kind": "opened"}),
        ("POST", "/v1/receipts") => json!({"installation_id": "x", "receipts": []}),
        ("POST", "/v1/me/messages/read" | "/v1/me/messages/unread" | "/v1/me/messages/archive" | "/v1/me/messages/unarchive") => {
            json!({"ids": []})
        }
        ("POST", "/v1/things/{id}/links") => json!({"user": "usr_00000000000070008000000000000000"}),
        ("POST", "/v1/users/{id}/impersonate") => json!({"reason": "ticket 7"}),
        ("POST", "/v1/me/next-question/skip") => json!({"attribute": "canary_tier"}),
        ("PUT", "/v1/identity-providers/{provider}") => json!({"client_ids": ["x"]}),
        ("POST", "/v1/attributes") => json!({"scope": "user", "key": "x", "kind": "string"}),
        ("POST", "/v1/events") => json!({"events": []}),
        ("POST", "/v1/keys") => json!({"kind": "publishable", "name": "x"}),
        ("POST", "/v1/channels") => json!({"key": "x"}),
        ("POST", "/v1/channels/{id}/broadcasts") => json!({"event": "update", "content_state": {}}),
        ("POST", "/v1/partners") => json!({"name": "x"}),
        ("POST", "/v1/places") => json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}}),
        ("POST", "/v1/purposes") => json!({"key": "x", "name": "x", "basis": "consent", "version": "1", "texts": {"en": "x"}}),
        ("POST", "/v1/things") => json!({"key": "x", "class": "x"}),
        ("POST", "/v1/webhooks" | "/v1/partners/{id}/webhooks") => json!({"url": "https://hooks.invalid/x"}),
        ("POST", "/v1/webhooks/{id}/replay" | "/v1/partners/{id}/webhooks/{webhook}/replay") => {
            json!({"since": "2026-01-01T00:00:00.000Z"})
        }
        ("POST", "/v1/topics") => json!({"key": "x", "name": "x"}),
        ("POST", "/v1/operators") => json!({"email": "x@example.com", "name": "x", "role": "viewer"}),
        ("POST", "/v1/auth/sign-up" | "/v1/auth/sign-in") => json!({"email": "x@example.com", "password": "staple of horses"}),
        ("POST", "/v1/auth/email-code/verify") => json!({"token": "x"}),
        ("POST", "/v1/operators/sign-in") => json!({"email": "x@example.com", "password": "x"}),
        ("POST", "/v1/operators/enrol") => json!({"token": "x", "code": "x"}),
        ("POST", "/v1/operators/accept") => json!({"token": "x", "password": "x"}),
        _ => json!({}),
    }
}

/// Bodies that hold references, or secrets of a form that only a gateway issues: they are refused before anything is
/// looked up, so that a 400 here says nothing of the target. That the target stays as it is is checked all the same.
pub fn may_be_refused_by_its_body(operation: &Operation) -> bool {
    operation.method == "PUT"
        && ["/v1/campaigns", "/v1/offers", "/v1/push-credentials"].iter().any(|p| operation.path.starts_with(p))
}

/// Asks for a path of an operation with a body that it takes.
pub async fn ask(world: &World, operation: &Operation, path: &str, callers: &[Caller]) -> Answer {
    let query = if operation.path == "/v1/places/nearby" { "?lat=48.7&lon=2.3" } else { "" };
    let mut request = world.call(&operation.method, &format!("{path}{query}"));
    for caller in callers {
        request = request.by(caller);
    }
    if operation.has_body || operation.method == "POST" {
        request = request.json(&body(operation));
    }
    request.send().await
}

/// What an app's own callers read of it, at every path, without when its keys were last used.
pub async fn everything(world: &World, house: &House) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for operation in operations().iter().filter(|o| o.method == "GET" && !o.callers.is_empty()) {
        let callers: Vec<Caller> = operation.callers[0].iter().map(|scheme| house.caller(scheme)).collect();
        let path = house.path(operation);
        let answer = ask(world, operation, &path, &callers).await;
        assert_eq!(answer.status, 200, "the sample of {path} must be there, or the test proves nothing: {}", answer.text());
        let mut value = answer.json();
        for item in value["items"].as_array_mut().into_iter().flatten() {
            item.as_object_mut().unwrap().remove("last_used_at");
        }
        all.insert(path, value);
    }
    all
}

/// Every id in a text.
pub fn ids(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let is_id = |at: usize| {
        let end = at + 36;
        end <= bytes.len()
            && bytes[at..at + 3].iter().all(u8::is_ascii_lowercase)
            && bytes[at + 3] == b'_'
            && bytes[at + 4..end].iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
    };
    (0..bytes.len()).filter(|at| is_id(*at)).map(|at| text[at..at + 36].to_owned()).filter(|id| !id.starts_with("req_")).collect()
}

/// Another app with as many callers.
pub async fn stranger(world: &World) -> House {
    let tenant = world.new_app("Stranger").await;
    let (_, _, partner) = partner_key(world, &tenant.server).await;
    let person = world.person(&tenant).await;
    let operator = world.operator(&tenant, "owner").await.caller;
    House { tenant, person, partner, operator, samples: BTreeMap::new() }
}

both! {
    async fn no_body_takes_a_field_that_the_server_makes(world) {
        let house = furnish(world).await;
        let before = everything(world, &house).await;
        let mut tried = 0;
        for operation in operations().iter().filter(|o| o.has_body) {
            let path = house.path(operation);
            let callers = operation.callers.first().into_iter().flatten();
            let callers: Vec<Caller> = callers.map(|scheme| house.caller(scheme)).collect();
            let sample = body(operation).to_string();
            for field in &operation.answered_only {
                // First in the object, so that it is the first thing that can be wrong.
                let rest = sample.strip_prefix('{').unwrap();
                let comma = if rest == "}" { "" } else { "," };
                let text = format!("{{\"{field}\":\"forged\"{comma}{rest}");
                let mut request = world.call(&operation.method, &path);
                for caller in &callers {
                    request = request.by(caller);
                }
                let answer = request.text("application/json", &text).send().await;
                let what = format!("{} {path} with {field}: {} {}", operation.method, answer.status, answer.text());
                assert_eq!(answer.status, 400, "{what}");
                let named = answer.json()["errors"].as_array().is_some_and(|all| all.iter().any(|e| e["field"] == field.as_str()));
                assert!(named, "{what}");
                tried += 1;
            }
        }
        assert!(tried > 200, "{tried}");
        assert_eq!(before, everything(world, &house).await);
    }
}
