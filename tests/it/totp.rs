//! Authenticator apps and recovery codes: turned on, asked for, good once.

use crate::world::{Answer, Caller, Person, Tenant, World};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use kairos::people::account::totp_step;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub const GOOD: &str = "correct horse battery";

/// Somebody with an authenticator app.
pub struct Careful {
    pub person: Person,
    pub email: String,
    pub secret: String,
    pub recovery: Vec<String>,
}

/// The code of a secret, some seconds from now.
pub fn code(world: &World, secret: &str, from_now_s: i64) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    let time = u64::try_from(world.now_ms() / 1_000 + from_now_s).unwrap();
    totp_rs::Builder::new().with_secret(secret).build_noncompliant().generate(time).to_string()
}

pub async fn sign_up(world: &World, tenant: &Tenant, email: &str) -> Person {
    Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, json!({"email": email, "password": GOOD})).await.expect(200))
}

pub async fn sign_in(world: &World, tenant: &Tenant, email: &str) -> Answer {
    world.post("/v1/auth/sign-in", &tenant.phone, json!({"email": email, "password": GOOD})).await
}

/// Signs somebody up and turns their authenticator app on; its first code is used up.
pub async fn careful(world: &World, tenant: &Tenant, email: &str) -> Careful {
    let person = sign_up(world, tenant, email).await;
    let enrolled = world.post("/v1/auth/mfa/totp/enroll", &person.token, json!({})).await.expect(200);
    let secret = enrolled["secret"].as_str().unwrap().to_owned();
    let first = json!({"challenge_token": enrolled["challenge_token"], "code": code(world, &secret, 0)});
    let confirmed = world.post("/v1/auth/mfa/totp/confirm", &person.token, first).await.expect(200);
    let recovery = confirmed["recovery_codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect();
    Careful { person: Person::from(&confirmed), email: email.to_owned(), secret, recovery }
}

/// The token of a second factor after a right password.
async fn asked(world: &World, tenant: &Tenant, email: &str) -> String {
    sign_in(world, tenant, email).await.expect(202)["challenge_token"].as_str().unwrap().to_owned()
}

async fn second(world: &World, by: &Caller, (way, token, code): (&str, &str, &str)) -> Answer {
    world.post(&format!("/v1/auth/mfa/totp/{way}"), by, json!({"challenge_token": token, "code": code})).await
}

pub fn claims(person: &Person) -> Value {
    let Caller::Bearer(token) = &person.token else { unreachable!() };
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

pub async fn speaks(world: &World, person: &Person) -> bool {
    world.get("/v1/me/factors", &person.token).await.status == 200
}

async fn many_attempts(world: &mut World) {
    world.restart(|config| config.sign_in_per_account_per_minute = 10_000).await;
}

/// A refusal without what differs from request to request.
pub fn plain(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    (answer.status, body)
}

both! {
    async fn an_authenticator_app_is_asked_for_once_its_first_code_was_seen(world) {
        let tenant = world.new_app("Louvre").await;
        let up = sign_up(world, &tenant, "ada@example.com").await;
        let other = Person::from(&sign_in(world, &tenant, "ada@example.com").await.expect(200));
        let enrolled = world.post("/v1/auth/mfa/totp/enroll", &up.token, json!({})).await;
        assert_eq!(enrolled.header("cache-control"), Some("no-store"));
        let enrolled = enrolled.expect(200);
        let secret = enrolled["secret"].as_str().unwrap();
        assert_eq!(secret.len(), 32, "160 bits");
        let uri = enrolled["uri"].as_str().unwrap();
        let expected = format!("otpauth://totp/Louvre:ada%40example.com?secret={secret}&issuer=Louvre&algorithm=SHA1&digits=6&period=30");
        assert_eq!(uri, expected);
        let token = enrolled["challenge_token"].as_str().unwrap();
        sign_in(world, &tenant, "ada@example.com").await.expect(200);
        assert!(speaks(world, &other).await, "nothing has changed yet");
        second(world, &up.token, ("confirm", token, &code(world, secret, 90))).await.refused(401, "invalid_code");
        second(world, &other.token, ("confirm", "ct_0", &code(world, secret, 0))).await.refused(401, "challenge_over");
        let confirmed = second(world, &up.token, ("confirm", token, &code(world, secret, 0))).await.expect(200);
        let now = Person::from(&confirmed);
        let codes: BTreeSet<&str> = confirmed["recovery_codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        assert_eq!(codes.len(), 10);
        assert!(!speaks(world, &up).await && !speaks(world, &other).await && speaks(world, &now).await);
        assert_eq!(claims(&now)["amr"], json!(["pwd", "otp"]));

        let asked = sign_in(world, &tenant, "ada@example.com").await;
        assert_eq!(asked.header("cache-control"), Some("no-store"));
        let asked = asked.expect(202);
        assert_eq!((&asked["factors"], &asked["expires_in"]), (&json!(["totp", "recovery"]), &json!(300)));
        assert!(asked.get("access_token").is_none() && asked.get("refresh_token").is_none(), "{asked}");
        // Who signs up again with the same pair is asked as well.
        let body = json!({"email": "ada@example.com", "password": GOOD});
        let asked = world.post("/v1/auth/sign-up", &tenant.phone, body).await.expect(202);
        let sessions = "select count(*) from sessions where ended_ms is null";
        assert_eq!(world.number(sessions).await, 1, "no session begins before the second factor");
        world.advance(Duration::from_secs(30)).await;
        let token = asked["challenge_token"].as_str().unwrap();
        let entered = Person::from(&second(world, &tenant.phone, ("challenge", token, &code(world, secret, 0))).await.expect(200));
        assert_eq!(entered.id, up.id);
        assert_eq!(claims(&entered)["amr"], json!(["pwd", "otp"]));
        assert!(speaks(world, &now).await, "a sign-in ends nothing");
        let factors = world.get("/v1/me/factors", &entered.token).await.expect(200);
        let since = world.time(-30);
        let expected = json!({"password": true, "second_factor": true, "totp_since": since, "recovery_codes_left": 10, "passkeys": []});
        assert_eq!(factors, expected);
        world.post("/v1/auth/mfa/totp/enroll", &entered.token, json!({})).await.refused(409, "totp_enabled");
    }

    async fn a_code_is_good_once_and_so_is_every_older_one(world) {
        many_attempts(world).await;
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        // The code that turned it on is used up, and the one before it too.
        for from_now_s in [0, -30] {
            let token = asked(world, &tenant, &ada.email).await;
            second(world, &tenant.phone, ("challenge", &token, &code(world, &ada.secret, from_now_s))).await.refused(401, "invalid_code");
        }
        let token = asked(world, &tenant, &ada.email).await;
        second(world, &tenant.phone, ("challenge", &token, &code(world, &ada.secret, 60))).await.refused(401, "invalid_code");
        let next = code(world, &ada.secret, 30);
        second(world, &tenant.phone, ("challenge", &token, &next)).await.expect(200);
        let token = asked(world, &tenant, &ada.email).await;
        second(world, &tenant.phone, ("challenge", &token, &next)).await.refused(401, "invalid_code");
        world.advance(Duration::from_secs(60)).await;
        for late in [&next, &code(world, &ada.secret, 0)] {
            let expected = if *late == next { 401 } else { 200 };
            assert_eq!(second(world, &tenant.phone, ("challenge", &token, late)).await.status, expected);
        }
    }

    async fn of_sixty_four_uses_of_a_code_at_once_one_succeeds(world) {
        many_attempts(world).await;
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let good = |all: &[Answer]| all.iter().filter(|answer| answer.status == 200).count();
        let token = asked(world, &tenant, &ada.email).await;
        let all = (0..64).map(|_| second(world, &tenant.phone, ("recovery", &token, &ada.recovery[0])));
        let all = futures_util::future::join_all(all).await;
        assert_eq!(good(&all), 1);
        // The same code in eight sessions at once, eight times in each.
        for (email, is_totp) in [("eve@example.com", true), ("bob@example.com", false)] {
            world.advance(Duration::from_secs(61)).await;
            let user = careful(world, &tenant, email).await;
            let mut sessions = Vec::new();
            for n in 0..8 {
                let token = asked(world, &tenant, &user.email).await;
                sessions.push(Person::from(&second(world, &tenant.phone, ("recovery", &token, &user.recovery[n])).await.expect(200)));
            }
            // The failures of those before are counted by the minute.
            world.advance(Duration::from_secs(61)).await;
            let body = if is_totp { json!({"totp_code": code(world, &user.secret, 0)}) } else { json!({"recovery_code": user.recovery[8]}) };
            let all = (0..64).map(|n| world.post("/v1/auth/step-up", &sessions[n % 8].token, body.clone()));
            let all = futures_util::future::join_all(all).await;
            assert_eq!(good(&all), 1, "{body}");
            assert!(all.iter().all(|answer| [200, 401, 429].contains(&answer.status)));
        }
    }

    async fn a_challenge_takes_five_codes_and_says_nothing_of_why_it_is_over(world) {
        many_attempts(world).await;
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let good = code(world, &ada.secret, 30);
        let mut over = Vec::new();
        let tried = asked(world, &tenant, &ada.email).await;
        for n in 0..5 {
            let wrong = if n % 2 == 0 { ("challenge", "abcdef") } else { ("recovery", good.as_str()) };
            second(world, &tenant.phone, (wrong.0, &tried, wrong.1)).await.refused(401, "invalid_code");
        }
        over.push(second(world, &tenant.phone, ("challenge", &tried, &good)).await);
        let superseded = asked(world, &tenant, &ada.email).await;
        let used = asked(world, &tenant, &ada.email).await;
        over.push(second(world, &tenant.phone, ("challenge", &superseded, &good)).await);
        let stranger = world.new_app("Stranger").await;
        over.push(second(world, &stranger.phone, ("challenge", &used, &good)).await);
        let key = world.post("/v1/keys", &tenant.server, json!({"kind": "publishable", "mode": "test", "name": "t"})).await.expect(201);
        over.push(second(world, &Caller::App(key["secret"].as_str().unwrap().to_owned()), ("challenge", &used, &good)).await);
        second(world, &tenant.phone, ("challenge", &used, &good)).await.expect(200);
        over.push(second(world, &tenant.phone, ("challenge", &used, &good)).await);
        over.push(second(world, &tenant.phone, ("challenge", "ct_00000000000000000000000000000000", &good)).await);
        // A secret of another kind opens nothing.
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let enrolled = world.post("/v1/auth/mfa/totp/enroll", &eve.token, json!({})).await.expect(200);
        over.push(second(world, &tenant.phone, ("challenge", enrolled["challenge_token"].as_str().unwrap(), &good)).await);
        let late = asked(world, &tenant, &ada.email).await;
        world.advance(Duration::from_secs(300)).await;
        over.push(second(world, &tenant.phone, ("recovery", &late, &ada.recovery[0])).await);
        over[0].refused(401, "challenge_over");
        for answer in &over {
            assert_eq!(plain(answer), plain(&over[0]));
        }
        assert_eq!(world.number("select count(*) from recovery_codes where used_ms is not null").await, 0);
    }

    async fn wrong_codes_count_as_failures_of_the_account(world) {
        many_attempts(world).await;
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        for wrong in [5, 1] {
            let token = asked(world, &tenant, &ada.email).await;
            for _ in 0..wrong {
                second(world, &tenant.phone, ("challenge", &token, "000000")).await.refused(401, "invalid_code");
            }
        }
        let token = asked(world, &tenant, &ada.email).await;
        second(world, &tenant.phone, ("challenge", &token, &code(world, &ada.secret, 30))).await.refused(429, "too_many_attempts");
        world.post("/v1/auth/step-up", &ada.person.token, json!({"totp_code": code(world, &ada.secret, 30)})).await.refused(429, "too_many_attempts");
        world.advance(Duration::from_secs(86_400)).await;
        let token = asked(world, &tenant, &ada.email).await;
        second(world, &tenant.phone, ("challenge", &token, &code(world, &ada.secret, 0))).await.expect(200);
    }

    async fn what_an_anonymous_user_brought_counts_after_the_second_factor(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let nobody = world.person(&tenant).await;
        let device = json!({"platform": "ios", "token": "ab".repeat(32), "topic": "a.b", "push_permission": "granted"});
        world.put("/v1/me/devices/phone-1", &nobody.token, device).await.expect(201);
        let Caller::Bearer(token) = &nobody.token else { unreachable!() };
        let asked = world.call("POST", "/v1/auth/sign-in").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        let asked = asked.json(&json!({"email": ada.email, "password": GOOD})).send().await.expect(202);
        assert!(speaks(world, &nobody).await, "half a sign-in takes nothing");
        let token = asked["challenge_token"].as_str().unwrap();
        let entered = second(world, &tenant.phone, ("challenge", token, &code(world, &ada.secret, 30))).await.expect(200);
        assert_eq!(entered["user"]["id"], json!(ada.person.id));
        assert!(!speaks(world, &nobody).await);
        assert_eq!(world.number("select count(*) from sessions where end_reason = 'merged'").await, 1);
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1, "the phone goes over to the account");
        world.drain().await;
        let of_ada = format!("select count(*) from devices where token is not null and user_id = '{}'", ada.person.id);
        assert_eq!(world.number(&of_ada).await, 1);
    }

    async fn factors_change_only_with_a_fresh_proof(world) {
        let tenant = world.new_app("Louvre").await;
        let up = sign_up(world, &tenant, "ada@example.com").await;
        world.advance(Duration::from_secs(300)).await;
        let stale = "insufficient_user_authentication";
        world.post("/v1/auth/mfa/totp/enroll", &up.token, json!({})).await.refused(401, stale);
        let nobody = world.person(&tenant).await;
        world.post("/v1/auth/mfa/totp/enroll", &nobody.token, json!({})).await.refused(409, "anonymous_user");
        let ada = careful(world, &tenant, "grace@example.com").await;
        world.advance(Duration::from_secs(300)).await;
        let off = json!({"code": code(world, &ada.secret, 0)});
        world.post("/v1/auth/mfa/totp/disable", &ada.person.token, off.clone()).await.refused(401, stale);
        world.post("/v1/auth/mfa/recovery-codes", &ada.person.token, json!({})).await.refused(401, stale);
        world.delete("/v1/me/password", &ada.person.token).await.refused(401, stale);
        // One proof per call.
        for body in [json!({}), json!({"password": GOOD, "totp_code": "123456"})] {
            world.post("/v1/auth/step-up", &ada.person.token, body).await.refused_field(400, "validation_failed", "password");
        }
        world.post("/v1/auth/step-up", &ada.person.token, json!({"totp_code": "000000"})).await.refused(401, "invalid_code");
        assert!(speaks(world, &ada.person).await);
        let fresh = Person::from(&world.post("/v1/auth/step-up", &ada.person.token, json!({"recovery_code": ada.recovery[0].to_uppercase().replace('-', " ")})).await.expect(200));
        assert_eq!(claims(&fresh)["amr"], json!(["pwd", "otp", "rec"]));
        assert!(!speaks(world, &ada.person).await);
        // Codes of another user are worth nothing.
        let eve = careful(world, &tenant, "eve@example.com").await;
        for body in [json!({"recovery_code": ada.recovery[1]}), json!({"totp_code": code(world, &ada.secret, 0)})] {
            world.post("/v1/auth/step-up", &eve.person.token, body).await.refused(401, "invalid_code");
        }
        let renewed = world.post("/v1/auth/mfa/recovery-codes", &fresh.token, json!({})).await.expect(200);
        assert_eq!(renewed["recovery_codes"].as_array().unwrap().len(), 10);
        for body in [json!({}), json!({"code": "1", "recovery_code": "1"})] {
            assert_eq!(world.post("/v1/auth/mfa/totp/disable", &fresh.token, body).await.status, 400);
        }
        let old = json!({"recovery_code": ada.recovery[1]});
        world.post("/v1/auth/mfa/totp/disable", &fresh.token, old).await.refused(401, "invalid_code");
        let disabled = Person::from(&world.post("/v1/auth/mfa/totp/disable", &fresh.token, off).await.expect(200));
        assert!(!speaks(world, &fresh).await);
        let factors = world.get("/v1/me/factors", &disabled.token).await.expect(200);
        assert_eq!(factors, json!({"password": true, "second_factor": false, "recovery_codes_left": 0, "passkeys": []}));
        sign_in(world, &tenant, "grace@example.com").await.expect(200);
        world.post("/v1/auth/mfa/recovery-codes", &disabled.token, json!({})).await.refused(409, "no_second_factor");
        world.delete("/v1/me/password", &disabled.token).await.refused(409, "last_way_in");
        assert!(world.get("/v1/me/factors", &disabled.token).await.expect(200)["password"].as_bool().unwrap());
    }

    async fn a_new_password_ends_sign_ins_that_wait_for_the_second_factor(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let token = asked(world, &tenant, &ada.email).await;
        let change = json!({"password": GOOD, "new_password": "another horse battery"});
        world.post("/v1/auth/password/change", &ada.person.token, change).await.expect(200);
        second(world, &tenant.phone, ("challenge", &token, &code(world, &ada.secret, 30))).await.refused(401, "challenge_over");
    }

    async fn no_secret_of_a_factor_is_on_disk(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let token = asked(world, &tenant, &ada.email).await;
        let mut lines = world.lines("select state || token_hash || code_hash as line from challenges").await;
        lines.extend(world.lines("select code_hash as line from recovery_codes").await);
        // Ten recovery codes; the secrets of sign-up, enrolment and sign-in.
        assert_eq!(lines.len(), 13);
        let secret = totp_rs::Secret::try_from_base32(&ada.secret).unwrap();
        let clear = STANDARD.encode(secret.as_bytes());
        for line in lines {
            for text in [&ada.secret, &clear, &token].into_iter().chain(&ada.recovery) {
                assert!(!line.contains(text.as_str()) && !line.contains(&text.replace('-', "")), "{line}");
            }
        }
    }
}

#[test]
fn codes_are_those_of_the_standard() {
    let secret = b"12345678901234567890";
    for (time_s, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
    ] {
        let step = time_s / 30;
        for (now_s, found) in [
            (time_s, Some(step)),
            (step * 30 + 59, Some(step)),
            (step * 30 - 30, Some(step)),
            (step * 30 + 60, None),
            (step * 30 - 31, None),
        ] {
            assert_eq!(totp_step(secret, code, now_s), found, "{code} at {now_s}");
        }
        assert_eq!(totp_step(secret, &format!("{} {}", &code[..3], &code[3..]), time_s), Some(step));
        for wrong in ["", "28708", "2870820", "28708a", "２87082"] {
            assert_eq!(totp_step(secret, wrong, time_s), None);
        }
        assert_eq!(totp_step(b"another secret 23456", code, time_s), None);
    }
}
