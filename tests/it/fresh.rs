//! A proof that is five minutes old at most, and what counts as one: of somebody with a second factor, that one.

use crate::idp::Idp;
use crate::totp::{Careful, GOOD, careful, claims, code, sign_in, sign_up, speaks};
use crate::world::{Answer, Caller, Person, Tenant, World};
use serde_json::{Value, json};
use std::time::Duration;

const STALE: &str = "insufficient_user_authentication";
const ADA: &str = "ada@example.com";

/// Every call that wants a fresh proof; none of them gets as far as to look at the rest.
async fn sensitive(world: &World, by: &Caller, password: &str) -> Vec<(&'static str, Answer)> {
    let token = json!({"link_token": "ct_0"});
    let change = json!({"email": "eve@example.com", "password": password});
    let renew = json!({"password": password, "new_password": "another horse battery"});
    vec![
        ("enroll", world.post("/v1/auth/mfa/totp/enroll", by, json!({})).await),
        ("disable", world.post("/v1/auth/mfa/totp/disable", by, json!({"code": "123456"})).await),
        ("renew codes", world.post("/v1/auth/mfa/recovery-codes", by, json!({})).await),
        ("register", world.post("/v1/auth/passkeys/register/begin", by, json!({})).await),
        ("give up", world.delete("/v1/me/password", by).await),
        ("change address", world.post("/v1/auth/email/change", by, change).await),
        ("change password", world.post("/v1/auth/password/change", by, renew).await),
        ("link", world.post("/v1/me/identities", by, token).await),
        ("unlink", world.delete(&format!("/v1/me/identities/idn_{}", "0".repeat(32)), by).await),
        ("export", world.get("/v1/me/export", by).await),
        ("leave", world.delete("/v1/me", by).await),
    ]
}

async fn step_up(world: &World, by: &Caller, password: &str) -> Answer {
    world.post("/v1/auth/step-up", by, json!({ "password": password })).await
}

/// Shows a second factor with the token of a 202.
async fn show(world: &World, tenant: &Tenant, (asked, way, code): (&Value, &str, &str)) -> Answer {
    let body = json!({"challenge_token": asked["challenge_token"], "code": code});
    world.post(&format!("/v1/auth/mfa/totp/{way}"), &tenant.phone, body).await
}

/// Somebody with an authenticator app, who has proven their address.
async fn proven(world: &World, tenant: &Tenant, email: &str) -> Careful {
    let ada = careful(world, tenant, email).await;
    let code = world.letters(tenant).await.iter().find(|letter| letter.to == email).unwrap().code();
    let person = world.post("/v1/auth/email/verify", &ada.person.token, json!({ "code": code })).await.expect(200);
    Careful { person: Person::from(&person), ..ada }
}

/// Asks for the erasure of somebody who can come back within an hour.
async fn leave(world: &World, tenant: &Tenant, person: &Person) {
    world.patch("/v1/app", &tenant.server, json!({"settings": {"erasure_undo_ms": 3_600_000}})).await.expect(200);
    world.delete("/v1/me", &person.token).await.expect(202);
}

async fn leaving(world: &World) -> i64 {
    world.number("select count(*) from users where leaving_ms is not null").await
}

both! {
    async fn a_password_alone_is_half_a_proof_of_somebody_with_a_second_factor(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, ADA).await;
        world.advance(Duration::from_secs(300)).await;
        for (call, answer) in sensitive(world, &ada.person.token, GOOD).await {
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some(STALE)), "{call}");
        }
        step_up(world, &ada.person.token, "wrong password").await.refused(401, "invalid_credentials");
        let answer = step_up(world, &ada.person.token, GOOD).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let asked = answer.expect(202);
        assert_eq!((&asked["factors"], asked.get("access_token")), (&json!(["totp", "recovery"]), None));
        // Nothing has come of the password: the session is as it was.
        for (call, answer) in sensitive(world, &ada.person.token, GOOD).await {
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some(STALE)), "{call}");
        }
        assert!(speaks(world, &ada.person).await);
        show(world, &tenant, (&asked, "challenge", "000000")).await.refused(401, "invalid_code");
        let device = json!({"platform": "ios", "token": "ab".repeat(32), "topic": "a.b", "push_permission": "granted"});
        world.put("/v1/me/devices/phone-1", &ada.person.token, device).await.expect(201);
        let fresh = Person::from(&show(world, &tenant, (&asked, "challenge", &code(world, &ada.secret, 0))).await.expect(200));
        let said = claims(&fresh);
        assert_eq!((&fresh.id, &said["amr"], &said["auth_time"]), (&ada.person.id, &json!(["pwd", "otp"]), &said["iat"]));
        assert!(!speaks(world, &ada.person).await, "it takes the place of the session that asked");
        assert_eq!(world.number("select count(*) from sessions where ended_ms is null").await, 1);
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1, "the phone stays reachable");
        world.get("/v1/me/export", &fresh.token).await.expect(200);
        world.post("/v1/auth/mfa/recovery-codes", &fresh.token, json!({})).await.expect(200);
    }

    async fn without_a_second_factor_a_password_is_a_whole_proof(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = sign_up(world, &tenant, ADA).await;
        world.get("/v1/me/export", &ada.token).await.expect(200);
        world.advance(Duration::from_secs(300)).await;
        world.get("/v1/me/export", &ada.token).await.refused(401, STALE);
        world.delete("/v1/me", &ada.token).await.refused(401, STALE);
        let fresh = Person::from(&step_up(world, &ada.token, GOOD).await.expect(200));
        world.get("/v1/me/export", &fresh.token).await.expect(200);
        // Nobody can ask an anonymous user for a proof.
        let nobody = world.person(&tenant).await;
        world.advance(Duration::from_secs(300)).await;
        world.get("/v1/me/export", &nobody.token).await.expect(200);
    }

    async fn a_session_gets_no_fresher_by_a_password_or_a_mail(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, ADA).await;
        let begun = claims(&ada.person)["auth_time"].clone();
        world.advance(Duration::from_secs(100)).await;
        let verify = world.letter(&tenant, ADA).await.code();
        let ada_now = Person::from(&world.post("/v1/auth/email/verify", &ada.person.token, json!({ "code": verify })).await.expect(200));
        assert_eq!(claims(&ada_now)["auth_time"], begun, "by mail");
        let change = json!({"password": GOOD, "new_password": "another horse battery"});
        let ada_now = Person::from(&world.post("/v1/auth/password/change", &ada_now.token, change).await.expect(200));
        assert_eq!(claims(&ada_now)["auth_time"], begun, "by a password");
        let change = json!({"email": "ada@example.org", "password": "another horse battery"});
        world.post("/v1/auth/email/change", &ada_now.token, change).await.expect(202);
        let code_there = json!({"code": world.letter(&tenant, "ada@example.org").await.code()});
        let ada_now = Person::from(&world.post("/v1/auth/email/change/confirm", &ada_now.token, code_there).await.expect(200));
        assert_eq!(claims(&ada_now)["auth_time"], begun, "by a mail to a new address");
        world.advance(Duration::from_secs(200)).await;
        world.get("/v1/me/export", &ada_now.token).await.refused(401, STALE);
        let by_code = world.post("/v1/auth/step-up", &ada_now.token, json!({"totp_code": code(world, &ada.secret, 0)})).await;
        world.get("/v1/me/export", &Person::from(&by_code.expect(200)).token).await.expect(200);
    }

    async fn half_a_proof_ends_with_its_session_and_with_the_password(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = careful(world, &tenant, ADA).await;
        let asked = step_up(world, &ada.person.token, GOOD).await.expect(202);
        world.post("/v1/auth/sign-out", &ada.person.token, json!({})).await.expect(204);
        show(world, &tenant, (&asked, "challenge", &code(world, &ada.secret, 30))).await.refused(401, "unauthorized");
        let asked = sign_in(world, &tenant, ADA).await.expect(202);
        let ada_now = Person::from(&show(world, &tenant, (&asked, "challenge", &code(world, &ada.secret, 30))).await.expect(200));
        let asked = step_up(world, &ada_now.token, GOOD).await.expect(202);
        let change = json!({"password": GOOD, "new_password": "another horse battery"});
        world.post("/v1/auth/password/change", &ada_now.token, change).await.expect(200);
        show(world, &tenant, (&asked, "recovery", &ada.recovery[0])).await.refused(401, "challenge_over");
        assert_eq!(world.number("select count(*) from sessions where ended_ms is null").await, 1);
    }

    async fn half_a_sign_in_takes_nobody_back_who_is_leaving(world) {
        let idp = Idp::open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        let ada = proven(world, &tenant, ADA).await;
        let shown = json!({"recovery_code": ada.recovery[0]});
        let person = Person::from(&world.post("/v1/auth/step-up", &ada.person.token, shown).await.expect(200));
        idp.link(world, &person.token, ("corp", "ada"), json!({})).await.expect(201);
        leave(world, &tenant, &person).await;
        let by_word = async |claims: Value, subject: &str| idp.sign_in(world, &tenant, ("corp", subject), claims).await;
        // By a password, a mailed code, an issuer's word; and by a word that leads nowhere yet.
        let first = sign_in(world, &tenant, ADA).await.expect(202);
        assert!(first["factors"].is_array());
        let mailed = world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": ADA})).await.expect(202);
        let body = json!({"challenge_id": mailed["challenge_id"], "code": world.letter(&tenant, ADA).await.code()});
        assert!(world.post("/v1/auth/email-code/verify", &tenant.phone, body).await.expect(202)["factors"].is_array());
        assert!(by_word(json!({}), "ada").await.expect(202)["factors"].is_array());
        let stranger = by_word(json!({"email": ADA, "email_verified": true}), "somebody").await.expect(202);
        assert!(stranger["link_token"].is_string());
        assert_eq!(leaving(world).await, 1, "half a way in");
        let last = sign_in(world, &tenant, ADA).await.expect(202);
        show(world, &tenant, (&last, "recovery", "wrong")).await.refused(401, "invalid_code");
        assert_eq!(leaving(world).await, 1, "a wrong code");
        let back = Person::from(&show(world, &tenant, (&last, "recovery", &ada.recovery[1])).await.expect(200));
        assert_eq!((leaving(world).await, &back.id), (0, &ada.person.id));
        world.advance(Duration::from_secs(7_200)).await;
        assert_eq!((leaving(world).await, world.number("select count(*) from users").await), (0, 1), "and they stay");
        // Without a second factor every one of these ways takes them back.
        let asked = sign_in(world, &tenant, ADA).await.expect(202);
        let fresh = Person::from(&show(world, &tenant, (&asked, "challenge", &code(world, &ada.secret, 0))).await.expect(200));
        let off = json!({"recovery_code": ada.recovery[2]});
        let mut now = Person::from(&world.post("/v1/auth/mfa/totp/disable", &fresh.token, off).await.expect(200));
        for way in ["password", "mail", "word"] {
            world.delete("/v1/me", &now.token).await.expect(202);
            assert_eq!(leaving(world).await, 1, "{way}");
            let answer = match way {
                "password" => sign_in(world, &tenant, ADA).await,
                "mail" => {
                    world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": ADA})).await.expect(202);
                    let body = json!({"token": world.letter(&tenant, ADA).await.token()});
                    world.post("/v1/auth/email-code/verify", &tenant.phone, body).await
                }
                _ => by_word(json!({}), "ada").await,
            };
            now = Person::from(&answer.expect(200));
            assert_eq!(leaving(world).await, 0, "{way}");
        }
    }
}
