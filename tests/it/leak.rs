//! Nothing secret and nothing personal is in the log at its most talkative, and no refusal says back what it was sent.
//!
//! Every word of a person's in this file has [`BIRD`] in it; every secret that the server makes is gathered from its answers.

use crate::idp::Idp;
use crate::mail::server::{MailServer, Security};
use crate::mail::through;
use crate::totp::code;
use crate::world::{Answer, Caller, Db, OPERATOR_PASSWORD, Tenant, World, base32, logs, totp_code};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The word; it says nothing else anywhere.
const BIRD: &str = "kanarie7q";
const MAIL: &str = "kanarie7q@example.com";
const GOOD: &str = "kanarie7q battery staple";
const NEW: &str = "another kanarie7q staple";
/// Names of fields whose values are secrets, or a person's.
const SECRET: [&str; 12] = [
    "access_token",
    "refresh_token",
    "token",
    "secret",
    "challenge_token",
    "link_token",
    "invitation",
    "recovery_codes",
    "otpauth_uri",
    "previous_secret",
    "key",
    "code",
];

/// Somebody who calls, and remembers what must not be seen.
struct Watch<'w> {
    world: &'w World,
    words: BTreeSet<String>,
    refusals: Vec<String>,
}

impl Watch<'_> {
    async fn call(&mut self, (method, path): (&str, &str), by: &Caller, body: &Value) -> Answer {
        self.send((method, path), by, ("application/json", &body.to_string())).await
    }

    async fn post(&mut self, path: &str, by: &Caller, body: Value) -> Value {
        let answer = self.call(("POST", path), by, &body).await;
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    async fn send(&mut self, (method, path): (&str, &str), by: &Caller, (kind, text): (&str, &str)) -> Answer {
        let request =
            self.world.call(method, path).by(by).header("User-Agent", "kanarie7q-phone/1").header("Cookie", "sid=kanarie7q");
        let answer = request.text(kind, text).send().await;
        match answer.status {
            400.. => self.refusals.push(format!("{method} {path}: {} {}", answer.status, answer.text())),
            _ if !answer.body.is_empty() => gather(&answer.json(), "", &mut self.words),
            _ => {}
        }
        answer
    }

    /// The secrets of the newest mail.
    async fn letter(&mut self, tenant: &Tenant, to: &str) -> (String, String) {
        let letter = self.world.letter(tenant, to).await;
        self.words.insert(letter.token());
        // Six digits stand in many numbers: in a log they would be the value of something.
        let code = letter.code();
        self.words.extend([format!("\"{code}\""), format!("={code}"), format!(": {code}")]);
        (code, letter.token())
    }
}

fn gather(value: &Value, name: &str, words: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => all.iter().for_each(|(name, value)| gather(value, name, words)),
        Value::Array(all) => all.iter().for_each(|value| gather(value, name, words)),
        Value::String(text) if SECRET.contains(&name) && text.len() >= 12 => drop(words.insert(text.clone())),
        _ => {}
    }
}

/// A word as it might be written.
fn forms(word: &str) -> Vec<String> {
    let bytes = word.as_bytes();
    let hex = |upper: bool, before: &str| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = if upper { write!(text, "{before}{byte:02X}") } else { write!(text, "{before}{byte:02x}") };
            text
        })
    };
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let percent = word.bytes().fold(String::new(), |mut text, byte| {
        let _ = if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            write!(text, "{}", byte as char)
        } else {
            write!(text, "%{byte:02X}")
        };
        text
    });
    let mut all =
        vec![word.to_owned(), word.to_uppercase(), percent, hex(false, ""), hex(true, ""), hex(true, "%"), list.join(", ")];
    // In base64 a word looks different at each place of three: what is the same wherever it begins is its middle.
    for before in 0..3 {
        let padded = [&b"\0\0"[..before], bytes].concat();
        let whole = padded.len() / 3 * 4;
        let skip = [0, 2, 3][before];
        for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            all.extend(text.get(skip..whole).map(str::to_owned));
        }
    }
    all.retain(|form| form.len() >= 8);
    all
}

fn seen(text: &str, words: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for word in words {
        for form in forms(word) {
            if let Some(at) = text.find(&form) {
                let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
                found.push(format!(
                    "{word:?} as {form:?} in {}",
                    text[line..].lines().next().unwrap_or_default().chars().take(400).collect::<String>()
                ));
            }
        }
    }
    found
}

fn pair(password: &str) -> Value {
    json!({ "email": MAIL, "password": password })
}

fn bearer(session: &Value) -> Caller {
    Caller::Bearer(session["access_token"].as_str().unwrap().to_owned())
}

/// The ways in: password, code, link, another password, another address, second factor, refresh.
async fn ways_in(watch: &mut Watch<'_>, tenant: &Tenant) -> Caller {
    let (world, phone) = (watch.world, &tenant.phone);
    let ada = bearer(&watch.post("/v1/auth/sign-up", phone, pair(GOOD)).await);
    let (proof, _) = watch.letter(tenant, MAIL).await;
    let ada = bearer(&watch.post("/v1/auth/email/verify", &ada, json!({ "code": proof })).await);
    watch.call(("POST", "/v1/auth/sign-in"), phone, &pair("wrong kanarie7q")).await.refused(401, "invalid_credentials");
    let asked = watch.post("/v1/auth/email-code/request", phone, json!({ "email": MAIL })).await;
    let (proof, _) = watch.letter(tenant, MAIL).await;
    let body = json!({ "challenge_id": asked["challenge_id"], "code": proof });
    watch.post("/v1/auth/email-code/verify", phone, body.clone()).await;
    watch.call(("POST", "/v1/auth/email-code/verify"), phone, &body).await.refused(401, "invalid_secret");
    watch.post("/v1/auth/email-code/request", phone, json!({ "email": MAIL })).await;
    let (_, token) = watch.letter(tenant, MAIL).await;
    watch.post("/v1/auth/email-code/verify", phone, json!({ "token": token })).await;
    let change = json!({ "email": "second.kanarie7q@example.com", "password": GOOD });
    watch.post("/v1/auth/email/change", &ada, change).await;
    let (_, token) = watch.letter(tenant, "second.kanarie7q@example.com").await;
    watch
        .call(("POST", "/v1/auth/email/change/confirm"), &ada, &json!({ "token": format!("{token}x") }))
        .await
        .refused(401, "invalid_secret");
    watch.post("/v1/auth/password/forgot", phone, json!({ "email": MAIL })).await;
    let (_, token) = watch.letter(tenant, MAIL).await;
    let reset = json!({ "token": token, "new_password": NEW });
    assert_eq!(watch.call(("POST", "/v1/auth/password/reset"), &Caller::Nobody, &reset).await.status, 204);
    watch.call(("POST", "/v1/auth/password/reset"), &Caller::Nobody, &reset).await.refused(401, "invalid_secret");
    let session = watch.post("/v1/auth/sign-in", phone, pair(NEW)).await;
    watch.post("/v1/auth/refresh", phone, json!({ "refresh_token": session["refresh_token"] })).await;
    let ada = bearer(&session);
    let enrolled = watch.post("/v1/auth/mfa/totp/enroll", &ada, json!({})).await;
    let first =
        json!({ "challenge_token": enrolled["challenge_token"], "code": code(world, enrolled["secret"].as_str().unwrap(), 0) });
    let confirmed = watch.post("/v1/auth/mfa/totp/confirm", &ada, first).await;
    let asked = watch.post("/v1/auth/sign-in", phone, pair(NEW)).await;
    let body = json!({ "challenge_token": asked["challenge_token"], "code": confirmed["recovery_codes"][0] });
    watch.post("/v1/auth/mfa/totp/recovery", phone, body.clone()).await;
    watch.call(("POST", "/v1/auth/mfa/totp/recovery"), phone, &body).await.refused(401, "challenge_over");
    let ada = bearer(&confirmed);
    watch.post("/v1/auth/passkeys/register/begin", &ada, json!({})).await;
    let forged = json!({ "challenge_token": "kanarie7q", "credential": { "id": "kanarie7q" } });
    watch.call(("POST", "/v1/auth/passkeys/register/finish"), &ada, &forged).await;
    ada
}

/// A life: device, consent, answer, events, the server's own words on the user.
async fn life(watch: &mut Watch<'_>, tenant: &Tenant, ada: &Caller) -> String {
    let (world, server) = (watch.world, &tenant.server);
    let attribute =
        json!({"scope": "user", "key": "nick", "kind": "string", "question": {"en": "Your name?"}, "writers": "user"});
    watch.post("/v1/attributes", server, attribute).await;
    let device = json!({"platform": "android", "token": "kanarie7q-fcm:APA91bkanarie7q", "push_permission": "granted"});
    assert_eq!(watch.call(("PUT", "/v1/me/devices/kanarie7q-phone"), ada, &device).await.status, 201);
    let evidence = json!({"screen": "kanarie7q", "note": "kanarie7q"});
    watch.post("/v1/me/consents", ada, json!({"purpose": "location", "granted": false, "evidence": evidence})).await;
    watch.call(("PATCH", "/v1/me"), ada, &json!({"attributes": {"nick": "kanarie7q"}})).await.expect(200);
    let me = watch.call(("GET", "/v1/me"), ada, &json!({})).await.expect(200)["id"].as_str().unwrap().to_owned();
    watch.call(("PATCH", &format!("/v1/users/{me}")), server, &json!({"external_id": "crm-kanarie7q"})).await.expect(200);
    let event = json!({"id": "kanarie7q-1", "type": "noted", "occurred_at": world.time(0), "subject": "user:crm-kanarie7q",
        "properties": {"note": "kanarie7q"}});
    watch.post("/v1/events", server, json!({"events": [event, {"id": "kanarie7q", "type": 7, "note": "kanarie7q"}]})).await;
    watch.call(("GET", "/v1/users?external_id=crm-kanarie7q"), server, &json!({})).await;
    watch.call(("GET", "/v1/users/kanarie7q"), server, &json!({})).await;
    watch.call(("GET", "/v1/me/export"), ada, &json!({})).await.expect(200);
    me
}

/// What an app's back office makes: keys, webhooks, operators.
async fn back_office(watch: &mut Watch<'_>, tenant: &Tenant) {
    let (world, server) = (watch.world, &tenant.server);
    watch.post("/v1/keys", server, json!({"kind": "server", "name": "spare", "scopes": ["app:read"]})).await;
    let hook = watch.post("/v1/webhooks", server, json!({"url": "https://hooks.invalid/in"})).await;
    let hook = format!("/v1/webhooks/{}", hook["id"].as_str().unwrap());
    watch.post(&format!("{hook}/secret/rotate"), server, json!({})).await;
    watch.post(&format!("{hook}/test"), server, json!({})).await;
    let invited = watch
        .post("/v1/operators", server, json!({"email": "boss.kanarie7q@example.com", "name": "Kanarie7q", "role": "owner"}))
        .await;
    watch.words.insert(OPERATOR_PASSWORD.to_owned());
    let accept = json!({"token": invited["invitation"], "password": OPERATOR_PASSWORD});
    assert_eq!(watch.call(("POST", "/v1/operators/accept"), &Caller::Nobody, &accept).await.status, 204);
    let pair = json!({"email": "boss.kanarie7q@example.com", "password": OPERATOR_PASSWORD});
    let offered = watch.post("/v1/operators/sign-in", &Caller::Nobody, pair.clone()).await;
    let secret = base32(offered["enrolment"]["secret"].as_str().unwrap());
    let confirm = json!({"token": offered["enrolment"]["token"], "code": totp_code(&secret, world.now_ms() / 1_000)});
    let session = watch.post("/v1/operators/enrol", &Caller::Nobody, confirm).await;
    let owner = Caller::Operator { token: session["token"].as_str().unwrap().to_owned(), app: tenant.id.to_string() };
    watch.call(("GET", "/v1/operators/me"), &owner, &json!({})).await.expect(200);
    watch.call(("POST", "/v1/operators/sign-in"), &Caller::Nobody, &pair).await.refused(401, "invalid_credentials");
    let apns =
        json!({"environment": "production", "team_id": "kanarie7q", "key_id": "kanarie7q", "key_p8": "kanarie7q", "topics": []});
    watch.call(("PUT", "/v1/push-credentials/apns"), server, &apns).await;
    watch.call(("PUT", "/v1/push-credentials/fcm"), server, &json!({"service_account": {"private_key": "kanarie7q"}})).await;
    let provider = json!({"client_ids": ["x"], "apple": {"team_id": "T", "key_id": "K", "key_p8": "kanarie7q"}});
    watch.call(("PUT", "/v1/identity-providers/apple"), server, &provider).await;
}

/// Bodies, headers and paths that are wrong in every way there is.
async fn nonsense(watch: &mut Watch<'_>, tenant: &Tenant, ada: &Caller) {
    let phone = &tenant.phone;
    let json = "application/json";
    let long = format!("{{\"email\": \"{BIRD}\", \"password\": \"{}\"}}", BIRD.repeat(200_000));
    for (kind, text) in [
        (json, r#"{"email": "kanarie7q@example.com", "password": "kanarie7q"#),
        (json, r#"{"email": "kanarie7q", "password": "kanarie7q kanarie7q"}"#),
        (json, r#"{"email": ["kanarie7q"], "password": {"kanarie7q": "kanarie7q"}}"#),
        (json, r#"{"email": {"$ne": "kanarie7q"}, "password": true}"#),
        (json, r#"{"email": "kanarie7q@example.com", "password": ["kanarie7q"]}"#),
        (json, r#"{"email": "kanarie7q@example.com", "password": "x", "password": "kanarie7q"}"#),
        (json, r#""kanarie7q""#),
        (json, r#"{"email": "kanarie7q@example.com", "password": "good"} kanarie7q"#),
        ("text/plain", "kanarie7q"),
        ("application/x-www-form-urlencoded", "email=kanarie7q%40example.com&password=kanarie7q"),
        (json, long.as_str()),
    ] {
        for path in [
            "/v1/auth/sign-in",
            "/v1/auth/sign-up",
            "/v1/auth/refresh",
            "/v1/auth/id-token",
            "/v1/auth/password/reset",
            "/v1/auth/email-code/verify",
            "/v1/operators/sign-in",
        ] {
            let answer = watch.send(("POST", path), phone, (kind, text)).await;
            assert!((400..500).contains(&answer.status), "{path} {text:.80}: {}", answer.text());
        }
        for path in ["/v1/me/consents", "/v1/me/age", "/v1/auth/email/change", "/v1/auth/password/change", "/v1/events"] {
            watch.send(("POST", path), ada, (kind, text)).await;
        }
    }
    for by in [
        Caller::Bearer("kanarie7q".into()),
        Caller::Bearer("sk_live_kanarie7q".into()),
        Caller::Bearer("op_kanarie7q".into()),
        Caller::App("pk_live_kanarie7q".into()),
    ] {
        for path in ["/v1/me", "/v1/app", "/v1/auth/anonymous", "/v1/events"] {
            watch.call(("POST", path), &by, &json!({})).await;
            watch.call(("GET", path), &by, &json!({})).await;
        }
    }
    for path in [
        "/v1/me/devices/kanarie7q-none",
        "/v1/users?limit=kanarie7q",
        "/v1/users?cursor=kanarie7q",
        "/v1/kanarie7q",
        "/v1/me/sessions/kanarie7q",
    ] {
        for by in [ada, &tenant.server] {
            watch.call(("GET", path), by, &json!({})).await;
        }
    }
}

/// A database that refuses to store what a person said, in words that repeat it.
async fn broken(watch: &mut Watch<'_>, tenant: &Tenant) {
    let world = watch.world;
    let sql = |text: &'static str| world.kairos.platform.store.write(move |conn| conn.batch(text));
    let (break_it, mend_it) = match world.database.db() {
        Db::Postgres => (
            "alter table passwords add constraint never check (email = '') not valid",
            "alter table passwords drop constraint never",
        ),
        Db::Sqlite => {
            ("create trigger never before insert on passwords begin select raise(abort, 'never'); end", "drop trigger never")
        }
    };
    sql(break_it).await.unwrap();
    let body = json!({"email": "third.kanarie7q@example.com", "password": GOOD});
    watch.call(("POST", "/v1/auth/sign-up"), &tenant.phone, &body).await.refused(500, "internal");
    sql(mend_it).await.unwrap();
}

both! {
    async fn no_secret_and_no_word_of_a_person_is_in_the_log_or_in_a_refusal(world) {
        logs::keep();
        let server = MailServer::open(Security::Tls).await;
        through(world, &server, "mailer:kanarie7q-smtp@").await;
        let idp = Idp::open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        let passkeys = json!({"settings": {"passkeys": {"rp_id": "localhost", "origins": ["http://localhost:1"]}}});
        world.patch("/v1/app", &tenant.server, passkeys).await.expect(200);
        let mut watch = Watch { world, words: BTreeSet::from([BIRD.to_owned()]), refusals: Vec::new() };
        let ada = ways_in(&mut watch, &tenant).await;
        let claims = idp.claims(world, ("google", "kanarie7q"), json!({"email": "fourth.kanarie7q@gmail.com", "email_verified": true}));
        let token = idp.rsa.token(&claims);
        watch.words.insert(token.clone());
        watch.post("/v1/auth/id-token", &tenant.phone, crate::idp::body("google", &token)).await;
        let spoilt = format!("{}AAAA", &token[..token.len() - 4]);
        watch.call(("POST", "/v1/auth/id-token"), &tenant.phone, &crate::idp::body("google", &spoilt)).await;
        let me = life(&mut watch, &tenant, &ada).await;
        back_office(&mut watch, &tenant).await;
        nonsense(&mut watch, &tenant, &ada).await;
        broken(&mut watch, &tenant).await;
        world.drain().await;
        assert!(server.mails().len() > 5, "{}", server.mails().len());
        watch.call(("DELETE", &format!("/v1/users/{me}")), &tenant.server, &json!({})).await.expect(202);
        world.advance(std::time::Duration::from_secs(3_600)).await;
        assert!(watch.words.len() > 40 && watch.refusals.len() > 100, "{} {}", watch.words.len(), watch.refusals.len());

        let log = logs::text();
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log is not at its most talkative");
        let in_log = seen(&log, &watch.words);
        assert!(in_log.is_empty(), "{} in the log: {in_log:#?}", in_log.len());
        // The path of a request is the caller's own, and an answer may name it.
        let said: String = watch.refusals.iter().map(|line| line.split_once(": ").unwrap().1.to_owned() + "\n").collect();
        let in_refusals = seen(&said, &watch.words);
        assert!(in_refusals.is_empty(), "{} in refusals: {in_refusals:#?}", in_refusals.len());
        world.may_leave_work();
    }
}
