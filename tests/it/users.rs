//! Users as the app's own back end makes, finds, changes, disables and impersonates them.

use crate::stage::{Good as _, Stage, minutes};
use crate::world::{Answer, Caller, Person, Tenant, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kairos::push::standin::{Fault, Rule};
use serde_json::{Value, json};
use std::time::Duration;

const PASSWORD: &str = "correct horse battery";
const ADA: &str = "ada@example.com";

async fn made(world: &World, tenant: &Tenant, body: Value) -> Value {
    world.post("/v1/users", &tenant.server, body).await.expect(201)
}

fn path(user: &Value) -> String {
    format!("/v1/users/{}", user["id"].as_str().unwrap())
}

async fn sign_in(world: &World, tenant: &Tenant, email: &str, password: &str) -> Answer {
    world.post("/v1/auth/sign-in", &tenant.phone, json!({ "email": email, "password": password })).await
}

async fn sign_up(world: &World, tenant: &Tenant, email: &str) -> Person {
    let answer = world.post("/v1/auth/sign-up", &tenant.phone, json!({ "email": email, "password": PASSWORD })).await;
    Person::from(&answer.expect(200))
}

/// What a token says.
fn said(token: &Caller) -> Value {
    let Caller::Bearer(token) = token else { panic!("no token") };
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn found(world: &World, tenant: &Tenant, query: &str) -> Vec<String> {
    let page = world.get(&format!("/v1/users?{query}"), &tenant.server).await.expect(200);
    page["items"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
}

async fn impersonate(world: &World, by: &Caller, user: &str) -> Answer {
    world.post(&format!("/v1/users/{user}/impersonate"), by, json!({"reason": "ticket 4711"})).await
}

both! {
    async fn a_user_who_is_made_with_a_password_signs_in(world) {
        let tenant = world.new_app("Louvre").await;
        let body = json!({"external_id": "crm-1", "email": "Ada@Example.com", "email_verified": true, "password": PASSWORD,
            "claims": {"plan": "gold", "seats": 3}});
        let user = made(world, &tenant, body).await;
        assert_eq!((&user["email"], &user["email_verified"], &user["disabled"]), (&json!(ADA), &json!(true), &json!(false)));
        assert!(user.get("password").is_none() && !user.to_string().contains("argon2"));
        let person = Person::from(&sign_in(world, &tenant, ADA, PASSWORD).await.expect(200));
        assert_eq!(person.id, user["id"].as_str().unwrap());
        assert_eq!(said(&person.token)["claims"], json!({"plan": "gold", "seats": 3}));
        let me = world.get("/v1/me", &person.token).await.expect(200);
        assert_eq!((&me["email"], &me["email_verified"]), (&json!(ADA), &json!(true)));
        assert!(me.get("claims").is_none() && me.get("disabled").is_none());
        sign_in(world, &tenant, ADA, "wrong horse battery").await.refused(401, "invalid_credentials");
        // The address is theirs: a stranger's claim of it is another account, and nobody else can be given it.
        world.post("/v1/users", &tenant.server, json!({"email": ADA, "email_verified": true})).await.refused(409, "email_taken");
        assert_eq!(found(world, &tenant, "").await.len(), 1, "a refusal leaves no user behind");
    }

    async fn a_user_who_is_made_without_a_password_comes_in_by_mail(world) {
        let tenant = world.new_app("Louvre").await;
        let user = made(world, &tenant, json!({"email": ADA, "email_verified": true})).await;
        let asked = world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": ADA})).await.expect(202);
        let code = world.letter(&tenant, ADA).await.code();
        let verify = json!({"challenge_id": asked["challenge_id"], "code": code});
        let session = world.post("/v1/auth/email-code/verify", &tenant.phone, verify).await.expect(200);
        assert_eq!(session["user"]["id"], user["id"]);
    }

    async fn what_leads_nowhere_or_is_no_value_is_refused_by_name(world) {
        let tenant = world.new_app("Louvre").await;
        let user = made(world, &tenant, json!({"external_id": "crm-1"})).await;
        let long = json!({"a": "x".repeat(2_000)});
        for (body, field) in [
            (json!({"email": "nonsense", "email_verified": true}), "email"),
            (json!({"email": ADA}), "email_verified"),
            (json!({"email_verified": true}), "email_verified"),
            (json!({"password": PASSWORD}), "password"),
            (json!({"email": ADA, "password": "short"}), "password"),
            (json!({"email": ADA, "password": "password1234"}), "password"),
            (json!({"email": ADA, "password": "x".repeat(257)}), "password"),
            (json!({"claims": long}), "claims"),
        ] {
            world.post("/v1/users", &tenant.server, body.clone()).await.refused_field(400, "validation_failed", field);
            world.patch(&path(&user), &tenant.server, body).await.refused_field(400, "validation_failed", field);
        }
        world.patch(&path(&user), &tenant.server, json!({"disabled": null})).await.refused(400, "validation_failed");
        world.patch(&path(&user), &tenant.server, json!({"claims": "admin"})).await.refused(400, "validation_failed");
        assert_eq!(world.get(&path(&user), &tenant.server).await.expect(200), user);
        assert_eq!(world.number("select count(*) from users").await, 1);
        assert_eq!(world.number("select count(*) from passwords").await, 0);
    }

    async fn another_password_or_address_ends_every_session(world) {
        let tenant = world.new_app("Louvre").await;
        let user = made(world, &tenant, json!({"email": ADA, "email_verified": true, "password": PASSWORD})).await;
        let first = Person::from(&sign_in(world, &tenant, ADA, PASSWORD).await.expect(200));
        let changed = world.patch(&path(&user), &tenant.server, json!({"password": "battery staple horse"})).await.expect(200);
        assert!(changed["updated_at"].as_str() >= user["updated_at"].as_str());
        world.get("/v1/me", &first.token).await.refused(401, "unauthorized");
        world.post("/v1/auth/refresh", &tenant.phone, json!({"refresh_token": first.refresh_token})).await
            .refused(401, "invalid_refresh_token");
        sign_in(world, &tenant, ADA, PASSWORD).await.refused(401, "invalid_credentials");
        let second = Person::from(&sign_in(world, &tenant, ADA, "battery staple horse").await.expect(200));
        assert_eq!(world.letter(&tenant, ADA).await.to, ADA, "the owner is told");
        // A new address takes the password with it unless there is a new one; the old address is told.
        let moved = json!({"email": "countess@example.com", "email_verified": true});
        let moved = world.patch(&path(&user), &tenant.server, moved).await.expect(200);
        assert_eq!(moved["email"], "countess@example.com");
        world.get("/v1/me", &second.token).await.refused(401, "unauthorized");
        for email in [ADA, "countess@example.com"] {
            sign_in(world, &tenant, email, "battery staple horse").await.refused(401, "invalid_credentials");
        }
        assert!(world.letters(&tenant).await.iter().filter(|letter| letter.to == ADA).count() >= 2);
        let both = json!({"email": ADA, "email_verified": true, "password": PASSWORD});
        world.patch(&path(&user), &tenant.server, both).await.expect(200);
        sign_in(world, &tenant, ADA, PASSWORD).await.expect(200);
        world.patch(&path(&user), &tenant.server, json!({"email": null})).await.expect(200);
        sign_in(world, &tenant, ADA, PASSWORD).await.refused(401, "invalid_credentials");
        assert_eq!(world.number("select (select count(*) from emails) + (select count(*) from passwords)").await, 0);
    }

    async fn saying_again_what_is_so_ends_nothing(world) {
        let tenant = world.new_app("Louvre").await;
        let user = made(world, &tenant, json!({"email": ADA, "email_verified": true, "password": PASSWORD})).await;
        let person = Person::from(&sign_in(world, &tenant, ADA, PASSWORD).await.expect(200));
        let same = json!({"email": ADA, "email_verified": true, "disabled": false, "claims": {"a": 1}});
        world.patch(&path(&user), &tenant.server, same).await.expect(200);
        world.get("/v1/me", &person.token).await.expect(200);
        let refreshed = world.post("/v1/auth/refresh", &tenant.phone, json!({"refresh_token": person.refresh_token})).await;
        assert_eq!(said(&Person::from(&refreshed.expect(200)).token)["claims"], json!({"a": 1}), "from the next token on");
    }

    async fn a_claim_becomes_proven_by_the_back_ends_word_and_its_claimer_stays_outside(world) {
        let tenant = world.new_app("Louvre").await;
        let person = sign_up(world, &tenant, ADA).await;
        let at = format!("/v1/users/{}", person.id);
        assert_eq!(world.get(&at, &tenant.server).await.expect(200)["email_verified"], false);
        world.patch(&at, &tenant.server, json!({"email_verified": true})).await.expect(200);
        assert_eq!(world.get(&at, &tenant.server).await.expect(200)["email_verified"], true);
        // Whoever claimed it may have been anybody: the reader of its mail comes in.
        world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
        sign_in(world, &tenant, ADA, PASSWORD).await.refused(401, "invalid_credentials");
        let asked = world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": ADA})).await.expect(202);
        let verify = json!({"challenge_id": asked["challenge_id"], "code": world.letter(&tenant, ADA).await.code()});
        let session = world.post("/v1/auth/email-code/verify", &tenant.phone, verify).await.expect(200);
        assert_eq!(session["user"]["id"], json!(person.id));
        world.patch(&at, &tenant.server, json!({"password": PASSWORD})).await.expect(200);
        sign_in(world, &tenant, ADA, PASSWORD).await.expect(200);
        // The revision of a change counts for all of it.
        let stale = world.call("PATCH", &at).by(&tenant.server).header("If-Match", "\"1\"");
        stale.json(&json!({"password": "battery staple horse"})).send().await.refused(412, "revision_mismatch");
        sign_in(world, &tenant, ADA, PASSWORD).await.expect(200);
    }

    async fn an_anonymous_user_who_is_given_an_address_is_anonymous_no_more(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let at = format!("/v1/users/{}", person.id);
        world.patch(&at, &tenant.server, json!({"email": ADA, "email_verified": true, "password": PASSWORD})).await.expect(200);
        assert_eq!(world.get(&at, &tenant.server).await.expect(200)["anonymous"], false);
        assert_eq!(Person::from(&sign_in(world, &tenant, ADA, PASSWORD).await.expect(200)).id, person.id);
    }

    async fn users_are_found_by_what_is_known_of_them(world) {
        let (tenant, other) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let ada = made(world, &tenant, json!({"external_id": "crm-ada", "email": ADA, "email_verified": true})).await;
        let claim = sign_up(world, &tenant, ADA).await;
        let odd = made(world, &tenant, json!({"external_id": "a_a%!x"})).await;
        let anonymous = world.person(&tenant).await;
        made(world, &other, json!({"external_id": "crm-ada", "email": ADA, "email_verified": true})).await;
        let id = |user: &Value| user["id"].as_str().unwrap().to_owned();
        let both = vec![id(&ada), claim.id.clone()];
        assert_eq!(found(world, &tenant, "email=ADA%40example.com").await, both);
        assert_eq!(found(world, &tenant, "external_id=crm-ada").await, [id(&ada)]);
        assert_eq!(found(world, &tenant, "query=ada%40").await, both);
        assert_eq!(found(world, &tenant, "query=crm-").await, [id(&ada)]);
        assert_eq!(found(world, &tenant, "query=a_a%25!").await, [id(&odd)], "every character is itself");
        assert_eq!(found(world, &tenant, "query=a%25a").await, [""; 0]);
        assert_eq!(found(world, &tenant, "query=%25%25%25").await, [""; 0]);
        assert_eq!(found(world, &tenant, "anonymous=true").await, std::slice::from_ref(&anonymous.id));
        world.patch(&path(&odd), &tenant.server, json!({"disabled": true})).await.expect(200);
        assert_eq!(found(world, &tenant, "disabled=true").await, [id(&odd)]);
        assert_eq!(found(world, &tenant, "disabled=false&query=ada%40").await, both);
        let page = world.get("/v1/users?query=ada%40&limit=1", &tenant.server).await.expect(200);
        assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (1, &ada["id"]));
        for (query, field) in [("query=ab", "query"), ("email=nonsense", "email")] {
            world.get(&format!("/v1/users?{query}"), &tenant.server).await.refused_field(400, "validation_failed", field);
        }
    }

    async fn a_disabled_user_is_out_at_once_and_told_nothing(world) {
        let stage = Stage::set(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let who = stage.listener(world).await;
        stage.standin.inject(Rule { gateway: None, token: None, times: Some(1),
            fault: Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(60), timestamp_ms: None } });
        stage.lands(world, &who, 0).await;
        world.drain().await;
        assert_eq!(stage.messages(world, &who).await[0]["state"], "retry_at");
        let at = format!("/v1/users/{}", who.person.id);
        // A phone that the back end registered stays the user's, and hears nothing all the same.
        let phone = json!({"platform": "ios", "token": "ee".repeat(32), "topic": "app.kairos.demo", "push_permission": "granted"});
        world.put(&format!("{at}/devices/spare"), &stage.app.server, phone).await.good();
        world.patch(&at, &stage.app.server, json!({"disabled": true})).await.expect(200);
        world.get("/v1/me", &who.person.token).await.refused(401, "unauthorized");
        world.advance(minutes(2)).await;
        let message = stage.messages(world, &who).await.remove(0);
        assert!(message["state"] == "revoked" || message["state"] == "cancelled", "{message}");
        stage.lands_at(world, &who, "Nice", 0).await;
        world.drain().await;
        let decisions = stage.decisions(world, &who).await;
        let silent = decisions.iter().find(|d| d["outcome"] == "silent").unwrap_or_else(|| panic!("{decisions:?}"));
        assert_eq!(silent["reason"], "account_disabled");
        assert!(stage.arrived(&who).is_empty());
        // Enabled again, they are told what happens next.
        world.patch(&at, &stage.app.server, json!({"disabled": false})).await.expect(200);
        world.advance(minutes(60)).await;
        stage.lands_at(world, &who, "Lyon", 0).await;
        world.drain().await;
        assert!(!stage.standin.ledger().iter().any(|row| row.delivered && row.token == who.token), "the session's phone is gone");
        assert!(stage.standin.ledger().iter().any(|row| row.delivered && row.token == "ee".repeat(32)));
    }

    async fn a_disabled_user_gets_no_way_in_and_no_other_answer(world) {
        let tenant = world.new_app("Louvre").await;
        let user = made(world, &tenant, json!({"email": ADA, "email_verified": true, "password": PASSWORD})).await;
        let person = Person::from(&sign_in(world, &tenant, ADA, PASSWORD).await.expect(200));
        world.patch(&path(&user), &tenant.server, json!({"disabled": true})).await.expect(200);
        world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
        let right = sign_in(world, &tenant, ADA, PASSWORD).await;
        let wrong = sign_in(world, &tenant, "nobody@example.com", PASSWORD).await;
        assert_eq!((right.status, right.json()["code"].clone()), (wrong.status, wrong.json()["code"].clone()));
        assert_eq!(world.lines("select end_reason as line from sessions").await, ["disabled"]);
        impersonate(world, &tenant.server, &person.id).await.refused(409, "user_disabled");
        world.patch(&path(&user), &tenant.server, json!({"disabled": false})).await.expect(200);
        sign_in(world, &tenant, ADA, PASSWORD).await.expect(200);
        world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
    }

    async fn a_users_sessions_and_factors_are_seen_and_ended_by_the_back_end(world) {
        let (tenant, other) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let (first, second) = (sign_up(world, &tenant, ADA).await, sign_up(world, &tenant, ADA).await);
        let at = format!("/v1/users/{}", first.id);
        let sessions = world.get(&format!("{at}/sessions"), &tenant.server).await.expect(200);
        let sessions = sessions["items"].as_array().unwrap().clone();
        assert_eq!(sessions.len(), 2);
        assert_eq!((&sessions[0]["amr"], sessions[0].get("current")), (&json!(["pwd"]), None));
        let one = format!("{at}/sessions/{}", sessions[0]["id"].as_str().unwrap());
        world.delete(&one, &other.server).await.refused(404, "not_found");
        world.get(&format!("{at}/sessions"), &other.server).await.refused(404, "not_found");
        world.delete(&format!("{at}/sessions"), &other.server).await.refused(404, "not_found");
        world.delete(&one, &tenant.server).await.expect(204);
        world.get("/v1/me", &first.token).await.refused(401, "unauthorized");
        world.get("/v1/me", &second.token).await.expect(200);
        world.delete(&one, &tenant.server).await.refused(404, "not_found");
        world.delete(&format!("{at}/sessions"), &tenant.server).await.expect(204);
        world.get("/v1/me", &second.token).await.refused(401, "unauthorized");
        let factors = world.get(&format!("{at}/factors"), &tenant.server).await.expect(200);
        assert_eq!((&factors["password"], &factors["second_factor"]), (&json!(true), &json!(false)));
    }

    async fn a_lost_second_factor_is_taken_away_by_the_back_end(world) {
        let tenant = world.new_app("Louvre").await;
        let person = crate::totp::careful(world, &tenant, ADA).await.person;
        let at = format!("/v1/users/{}", person.id);
        crate::totp::sign_in(world, &tenant, ADA).await.expect(202);
        world.delete(&format!("{at}/factors"), &tenant.server).await.expect(204);
        world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
        let session = crate::totp::sign_in(world, &tenant, ADA).await.expect(200);
        assert_eq!(session["user"]["id"], json!(person.id));
        let factors = world.get(&format!("{at}/factors"), &tenant.server).await.expect(200);
        assert_eq!((&factors["second_factor"], &factors["recovery_codes_left"]), (&json!(false), &json!(0)));
    }

    async fn who_acts_as_a_user_sees_and_changes_nothing(world) {
        let (tenant, other) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let person = sign_up(world, &tenant, ADA).await;
        let key = world.server_key(&tenant, &["users:impersonate"]).await;
        let acting = impersonate(world, &key, &person.id).await.expect(200);
        assert_eq!(acting["expires_in"], 600);
        assert!(acting.get("refresh_token").is_none());
        let token = Caller::Bearer(acting["access_token"].as_str().unwrap().to_owned());
        let claims = said(&token);
        assert_eq!((&claims["sub"], &claims["amr"]), (&json!(person.id), &json!(["imp"])));
        assert!(claims["act"]["sub"].as_str().unwrap().starts_with("key_"));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
        assert_eq!(world.get("/v1/me", &token).await.expect(200)["email"], ADA);
        // The user's own word is theirs alone, and so is the way to their account.
        world.patch("/v1/me", &token, json!({"locale": "fr"})).await.refused(403, "impersonated");
        let grant = json!({"purpose": "location", "granted": true, "text_version": "1", "evidence": {"screen": "x"}});
        world.post("/v1/me/consents", &token, grant).await.refused(403, "impersonated");
        world.put("/v1/me/devices/x", &token, json!({"platform": "ios"})).await.refused(403, "impersonated");
        world.delete("/v1/me", &token).await.refused(403, "impersonated");
        world.delete("/v1/me/sessions", &token).await.refused(403, "impersonated");
        world.post("/v1/auth/step-up", &token, json!({"password": PASSWORD})).await.refused(403, "impersonated");
        let signal = world.call("GET", "/v1/me").by(&token).header("Sec-GPC", "1");
        signal.send().await.expect(200);
        assert_eq!(world.number("select count(*) from consents").await, 0);
        // The user sees it, and what becomes of it.
        let sessions = world.get("/v1/me/sessions", &person.token).await.expect(200);
        let by = sessions["items"][1]["impersonated_by"].as_str().unwrap().to_owned();
        assert_eq!(claims["act"]["sub"], json!(by));
        assert_eq!(sessions["items"][1]["id"], acting["session_id"]);
        let audit = world.get("/v1/audit", &tenant.server).await.expect(200);
        let row = audit["items"].as_array().unwrap().iter().find(|row| row["action"].as_str().unwrap().contains("impersonate"));
        let row = row.unwrap_or_else(|| panic!("no mark in the audit log: {audit}"));
        assert_eq!((&row["actor"], &row["details"]["reason"]), (&json!(by), &json!("ticket 4711")));
        assert!(row["objects"].to_string().contains(&person.id));
        world.delete(&format!("/v1/me/sessions/{}", acting["session_id"].as_str().unwrap()), &person.token).await.expect(204);
        world.get("/v1/me", &token).await.refused(401, "unauthorized");
        // Without the right, in another app, without a reason: nobody.
        let writer = world.server_key(&tenant, &["users:write", "users:read"]).await;
        impersonate(world, &writer, &person.id).await.refused(403, "missing_scope");
        impersonate(world, &other.server, &person.id).await.refused(404, "not_found");
        for wrong in [json!({}), json!({"reason": ""}), json!({"reason": "x".repeat(201)})] {
            world.post(&format!("/v1/users/{}/impersonate", person.id), &key, wrong).await.refused_field(400, "validation_failed", "reason");
        }
    }

    async fn acting_ends_after_ten_minutes_and_by_signing_out(world) {
        let tenant = world.new_app("Louvre").await;
        let person = sign_up(world, &tenant, ADA).await;
        let begin = async || {
            let acting = impersonate(world, &tenant.server, &person.id).await.expect(200);
            Caller::Bearer(acting["access_token"].as_str().unwrap().to_owned())
        };
        let token = begin().await;
        world.post("/v1/auth/sign-out", &token, json!({})).await.expect(204);
        world.get("/v1/me", &token).await.refused(401, "unauthorized");
        let token = begin().await;
        world.advance(Duration::from_secs(599)).await;
        world.get("/v1/me", &token).await.expect(200);
        world.advance(Duration::from_secs(1)).await;
        world.get("/v1/me", &token).await.refused(401, "unauthorized");
        let left = world.get(&format!("/v1/users/{}/sessions", person.id), &tenant.server).await.expect(200);
        assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    }

    async fn acting_as_an_anonymous_user_takes_nothing_along(world) {
        let tenant = world.new_app("Louvre").await;
        let (anonymous, _) = (world.person(&tenant).await, sign_up(world, &tenant, ADA).await);
        let acting = impersonate(world, &tenant.server, &anonymous.id).await.expect(200);
        let token = Caller::Bearer(acting["access_token"].as_str().unwrap().to_owned());
        for (path, body) in [
            ("/v1/auth/sign-in", json!({"email": ADA, "password": PASSWORD})),
            ("/v1/auth/sign-up", json!({"email": "eve@example.com", "password": PASSWORD})),
        ] {
            let asked = world.call("POST", path).by(&tenant.phone).by(&token).json(&body).send().await;
            asked.refused(403, "impersonated");
        }
        world.get("/v1/me", &anonymous.token).await.expect(200);
        assert_eq!(world.number("select count(*) from merges").await, 0);
    }
}
