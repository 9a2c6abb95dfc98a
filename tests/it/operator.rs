//! Operators: invitation, second factor, sessions, roles; what is guessed, raced or stolen opens nothing.

use crate::world::{Answer, Caller, OPERATOR_PASSWORD, Staff, World, totp_code};
use kairos::app::accepted_step;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

const NOBODY: &Caller = &Caller::Nobody;

async fn sign_in(world: &World, body: Value) -> Answer {
    // A name of its own would differ in each answer.
    world.call("POST", "/v1/operators/sign-in").header("X-Request-Id", "same").json(&body).send().await
}

fn with_code(staff: &Staff, world: &World) -> Value {
    let code = totp_code(&staff.secret, world.now_ms() / 1_000);
    json!({"email": staff.email, "password": OPERATOR_PASSWORD, "code": code})
}

fn by_token(session: &Value, staff: &Staff) -> Caller {
    let Caller::Operator { app, .. } = &staff.caller else { panic!("not an operator") };
    Caller::Operator { token: session["session"]["token"].as_str().unwrap().to_owned(), app: app.clone() }
}

fn hashes(world: &World) -> u64 {
    world.kairos.platform.hasher.count()
}

/// The next step, whose code was not used yet.
async fn next_step(world: &World) {
    world.advance(Duration::from_secs(30)).await;
}

#[test]
fn codes_are_those_of_the_standard_and_each_is_taken_in_its_time_only() {
    let secret = b"12345678901234567890";
    for (at_s, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
    ] {
        let step = at_s / 30;
        let asked = |steps: i64, last: i64| accepted_step(secret, code, ((at_s + 30 * steps) * 1_000, last));
        for near in [-1, 0, 1] {
            assert_eq!(asked(near, 0), Some(step), "{code} {near}");
            assert_eq!(asked(near, step - 1), Some(step));
            assert_eq!(asked(near, step), None, "taken already");
            assert_eq!(asked(near, step + 1), None, "older than one that was taken");
        }
        for far in [-2, 2, 100] {
            assert_eq!(asked(far, 0), None, "{code} {far}");
        }
        for wrong in ["", "287", "2870820", "28708 ", "+87082", "２８７０８２"] {
            assert_eq!(accepted_step(secret, wrong, (59_000, 0)), None, "{wrong}");
        }
        assert_eq!(totp_code(secret, at_s), code, "the tests' own");
    }
}

both! {
    async fn an_invited_operator_sets_a_password_enrols_a_second_factor_and_is_in(world) {
        let app = world.app.clone();
        let body = json!({"email": "Grace@Example.com", "name": "Grace", "role": "marketer"});
        let invited = world.post("/v1/operators", &app.server, body).await.expect(201);
        assert_eq!((&invited["email"], &invited["active"]), (&json!("grace@example.com"), &json!(false)));
        let token = &invited["invitation"];
        assert!(token.as_str().unwrap().starts_with("oi_"));
        let accept = |password: &str| world.post("/v1/operators/accept", NOBODY, json!({"token": token, "password": password}));
        accept("too short").await.refused_field(400, "validation_failed", "password");
        accept(&"x".repeat(257)).await.refused_field(400, "validation_failed", "password");
        sign_in(world, json!({"email": "grace@example.com", "password": OPERATOR_PASSWORD})).await.refused(401, "invalid_credentials");
        accept(OPERATOR_PASSWORD).await.expect(204);
        accept("another password of hers").await.refused(401, "invalid_invitation");
        // The password alone opens nothing: it leads to the second factor.
        let offered = sign_in(world, json!({"email": "GRACE@example.com", "password": OPERATOR_PASSWORD})).await.expect(200);
        assert!(offered.get("session").is_none());
        let uri = offered["enrolment"]["otpauth_uri"].as_str().unwrap();
        let secret = offered["enrolment"]["secret"].as_str().unwrap();
        assert!(uri.starts_with("otpauth://totp/Kairos:grace%40example.com?secret="), "{uri}");
        for part in [secret, "issuer=Kairos", "algorithm=SHA1", "digits=6", "period=30"] {
            assert!(uri.contains(part), "{uri} lacks {part}");
        }
        assert_eq!(secret.len(), 32, "160 bits");
        let confirm = json!({"token": offered["enrolment"]["token"], "code": "000000"});
        world.post("/v1/operators/enrol", NOBODY, confirm).await.refused_field(400, "validation_failed", "code");
        let grace = world.enrol(&app, "grace@example.com").await;
        let codes: BTreeSet<_> = grace.recovery_codes.iter().collect();
        assert_eq!(codes.len(), 10);
        let me = world.get("/v1/operators/me", &grace.caller).await.expect(200);
        assert_eq!((&me["name"], &me["roles"]), (&json!("Grace"), &json!([{"app_id": app.id.to_string(), "role": "marketer"}])));
        assert_eq!(me["recovery_codes_left"], 10);
        world.get("/v1/campaigns", &grace.caller).await.expect(200);
        // The first offer is void, and there is no second enrolment.
        let old = json!({"token": offered["enrolment"]["token"], "code": totp_code(&grace.secret, world.now_ms() / 1_000)});
        world.post("/v1/operators/enrol", NOBODY, old).await.refused(401, "invalid_enrolment");
        let listed = world.get("/v1/operators", &app.server).await.expect(200);
        assert_eq!(listed["items"][0]["active"], true);
        // Nothing of it can be read in the database.
        for (column, table) in [("password_hash", "operators"), ("token_hash", "operator_sessions"), ("code_hash", "operator_recovery_codes")] {
            let stored = world.lines(&format!("select {column} as line from {table}")).await.join(" ");
            assert!(!stored.contains("horse") && !stored.contains("op_") && !stored.contains(&grace.recovery_codes[0]), "{stored}");
        }
    }

    async fn invitations_and_offers_of_a_second_factor_are_good_for_their_time(world) {
        let app = world.app.clone();
        let invite = |email: &str| world.post("/v1/operators", &app.server, json!({"email": email, "name": "N", "role": "viewer"}));
        let late = invite("late@example.com").await.expect(201);
        let in_time = invite("in-time@example.com").await.expect(201);
        world.clock.advance(Duration::from_secs(86_399));
        let accept = |invited: &Value| world.post("/v1/operators/accept", NOBODY, json!({"token": invited["invitation"], "password": OPERATOR_PASSWORD}));
        accept(&in_time).await.expect(204);
        world.clock.advance(Duration::from_secs(1));
        let before = hashes(world);
        accept(&late).await.refused(401, "invalid_invitation");
        assert_eq!(hashes(world), before, "a token that is none costs no hash");
        let offered = sign_in(world, json!({"email": "in-time@example.com", "password": OPERATOR_PASSWORD})).await.expect(200);
        world.clock.advance(Duration::from_secs(600));
        let confirm = json!({"token": offered["enrolment"]["token"], "code": "000000"});
        world.post("/v1/operators/enrol", NOBODY, confirm).await.refused(401, "invalid_enrolment");
        world.enrol(&app, "in-time@example.com").await;
    }

    async fn whatever_is_wrong_the_answer_is_the_same_and_costs_one_hash(world) {
        let app = world.app.clone();
        let staff = world.operator(&app, "developer").await;
        let gone = world.operator(&app, "viewer").await;
        let email = gone.email.clone();
        world.kairos.platform.store.write(move |conn| kairos::app::disable(conn, 1, &email)).await.unwrap();
        next_step(world).await;
        let (email, right) = (&staff.email, OPERATOR_PASSWORD);
        let cases = [
            ("unknown", json!({"email": "nobody@example.com", "password": right, "code": "123456"})),
            ("unknown without code", json!({"email": "nobody@example.com", "password": right})),
            ("wrong password", json!({"email": email, "password": "wrong horse", "code": totp_code(&staff.secret, world.now_ms() / 1_000)})),
            ("no code", json!({"email": email, "password": right})),
            ("wrong code", json!({"email": email, "password": right, "code": "000000"})),
            ("wrong recovery code", json!({"email": email, "password": right, "recovery_code": "0000-0000-0000-0000"})),
            ("disabled", with_code(&gone, world)),
        ];
        let mut answers = BTreeSet::new();
        for (what, body) in cases {
            let before = hashes(world);
            let answer = sign_in(world, body).await;
            answer.refused(401, "invalid_credentials");
            assert_eq!(hashes(world), before + 1, "{what}");
            assert_eq!(answer.header("retry-after"), None);
            answers.insert(answer.text());
        }
        assert_eq!(answers.len(), 1, "{answers:#?}");
        let before = hashes(world);
        sign_in(world, with_code(&staff, world)).await.expect(200);
        assert_eq!(hashes(world), before + 1);
        let both = json!({"email": email, "password": right, "code": "1", "recovery_code": "1"});
        sign_in(world, both).await.refused_field(400, "validation_failed", "recovery_code");
        sign_in(world, json!({"email": "no address", "password": right})).await.refused_field(400, "validation_failed", "email");
    }

    async fn a_code_is_taken_once_however_many_come_at_once(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        // Enrolling used up the code of its time.
        sign_in(world, with_code(&staff, world)).await.refused(401, "invalid_credentials");
        next_step(world).await;
        let earlier = with_code(&staff, world);
        next_step(world).await;
        let body = with_code(&staff, world);
        let all = futures_util::future::join_all((0..64).map(|_| sign_in(world, body.clone()))).await;
        let statuses: Vec<u16> = all.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|s| [200, 401, 429].contains(s)), "{statuses:?}");
        assert_eq!(world.number("select count(*) from operator_sessions").await, 2);
        world.clock.advance(Duration::from_secs(3_600 * 25));
        sign_in(world, earlier).await.refused(401, "invalid_credentials");
        sign_in(world, with_code(&staff, world)).await.expect(200);
    }

    async fn a_code_of_the_step_before_is_refused_once_a_later_one_was_taken(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        next_step(world).await;
        let earlier = with_code(&staff, world);
        next_step(world).await;
        sign_in(world, with_code(&staff, world)).await.expect(200);
        sign_in(world, earlier).await.refused(401, "invalid_credentials");
    }

    async fn a_recovery_code_stands_in_for_one_code_once(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        let with = |code: &str| json!({"email": staff.email, "password": OPERATOR_PASSWORD, "recovery_code": code});
        let first = with(&staff.recovery_codes[0]);
        let all = futures_util::future::join_all((0..64).map(|_| sign_in(world, first.clone()))).await;
        let good: Vec<&Answer> = all.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(good.len(), 1);
        assert_eq!(good[0].json()["session"]["operator"]["recovery_codes_left"], 9);
        assert_eq!(world.number("select count(*) from operator_recovery_codes where used_ms is null").await, 9);
        world.clock.advance(Duration::from_secs(3_600 * 25));
        sign_in(world, first).await.refused(401, "invalid_credentials");
        // However it is typed.
        let typed = staff.recovery_codes[1].replace('-', " ").to_uppercase();
        sign_in(world, with(&typed)).await.expect(200);
    }

    async fn an_invitation_and_an_offer_are_taken_once_however_many_come_at_once(world) {
        let app = world.app.clone();
        let body = json!({"email": "race@example.com", "name": "R", "role": "viewer"});
        let invited = world.post("/v1/operators", &app.server, body).await.expect(201);
        let accept = json!({"token": invited["invitation"], "password": OPERATOR_PASSWORD});
        let all = futures_util::future::join_all((0..8).map(|_| world.post("/v1/operators/accept", NOBODY, accept.clone()))).await;
        assert_eq!(all.iter().filter(|answer| answer.status == 204).count(), 1);
        assert!(all.iter().all(|answer| [204, 401].contains(&answer.status)));
        let offered = sign_in(world, json!({"email": "race@example.com", "password": OPERATOR_PASSWORD})).await.expect(200);
        let secret = crate::world::base32(offered["enrolment"]["secret"].as_str().unwrap());
        let confirm = json!({"token": offered["enrolment"]["token"], "code": totp_code(&secret, world.now_ms() / 1_000)});
        let all = futures_util::future::join_all((0..64).map(|_| world.post("/v1/operators/enrol", NOBODY, confirm.clone()))).await;
        assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
        assert_eq!(world.number("select count(*) from operator_recovery_codes").await, 10);
    }

    async fn failures_cost_an_account_longer_and_longer_waits_known_or_not(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        next_step(world).await;
        let wrong = |email: &str| json!({"email": email, "password": "wrong horse", "code": "000000"});
        let both = [staff.email.clone(), "nobody@example.com".to_owned()];
        for _ in 0..5 {
            for email in &both {
                sign_in(world, wrong(email)).await.refused(401, "invalid_credentials");
            }
        }
        let mut waited = 0;
        for wait_s in [30, 60, 120, 240] {
            for email in &both {
                sign_in(world, wrong(email)).await.refused(401, "invalid_credentials");
            }
            let before = hashes(world);
            // Whoever asks during the wait learns nothing, with the right password and code neither.
            let texts: BTreeSet<String> = [
                sign_in(world, wrong(&both[0])).await,
                sign_in(world, wrong(&both[1])).await,
                sign_in(world, with_code(&staff, world)).await,
            ]
            .iter()
            .map(|answer| {
                answer.refused(429, "too_many_attempts");
                assert_eq!(answer.header("retry-after"), Some(wait_s.to_string().as_str()));
                answer.text()
            })
            .collect();
            assert_eq!((texts.len(), hashes(world)), (1, before));
            world.clock.advance(Duration::from_millis(wait_s * 1_000 - 1));
            sign_in(world, with_code(&staff, world)).await.refused(429, "too_many_attempts");
            world.clock.advance(Duration::from_millis(1));
            waited += wait_s;
        }
        assert!(waited > 400);
        // The right one gets in after the wait, and all is forgotten.
        sign_in(world, with_code(&staff, world)).await.expect(200);
        sign_in(world, wrong(&staff.email)).await.refused(401, "invalid_credentials");
        sign_in(world, wrong(&staff.email)).await.refused(401, "invalid_credentials");
    }

    async fn failures_of_an_address_are_counted_too_and_a_sign_in_of_ones_own_opens_nothing(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        let guess = |n: usize| json!({"email": format!("guess{n}@example.com"), "password": "wrong horse", "code": "000000"});
        for n in 0..20 {
            sign_in(world, guess(n)).await.refused(401, "invalid_credentials");
            if n % 5 == 4 {
                next_step(world).await;
                sign_in(world, with_code(&staff, world)).await.expect(200);
            }
        }
        sign_in(world, guess(20)).await.refused(401, "invalid_credentials");
        let before = hashes(world);
        sign_in(world, guess(21)).await.refused(429, "too_many_attempts");
        sign_in(world, with_code(&staff, world)).await.refused(429, "too_many_attempts");
        assert_eq!(hashes(world), before);
    }

    async fn a_session_ends_by_sign_out_by_idleness_and_by_age(world) {
        let staff = world.operator(&world.app.clone(), "viewer").await;
        next_step(world).await;
        let other = by_token(&sign_in(world, with_code(&staff, world)).await.expect(200), &staff);
        world.post("/v1/operators/sign-out", &other, json!({})).await.expect(204);
        world.get("/v1/operators/me", &other).await.refused(401, "unauthorized");
        world.get("/v1/app", &other).await.refused(401, "unauthorized");
        world.get("/v1/operators/me", &staff.caller).await.expect(200);
        // In use it lives on, up to twelve hours.
        for _ in 0..13 {
            world.clock.advance(Duration::from_secs(55 * 60));
            world.get("/v1/app", &staff.caller).await.expect(200);
        }
        world.clock.advance(Duration::from_secs(4 * 60 + 29));
        world.get("/v1/app", &staff.caller).await.expect(200);
        world.clock.advance(Duration::from_secs(1));
        world.get("/v1/app", &staff.caller).await.refused(401, "unauthorized");
        let idle = by_token(&sign_in(world, with_code(&staff, world)).await.expect(200), &staff);
        world.get("/v1/app", &idle).await.expect(200);
        world.clock.advance(Duration::from_secs(3_600));
        world.get("/v1/app", &idle).await.refused(401, "unauthorized");
        for token in ["op_", "op_00", &format!("op_{}", "0".repeat(40)), "sk_live_00"] {
            let forged = Caller::Operator { token: token.to_owned(), app: world.app.id.to_string() };
            world.get("/v1/app", &forged).await.refused(401, "unauthorized");
            world.get("/v1/operators/me", &forged).await.refused(401, "unauthorized");
        }
    }

    async fn an_operator_acts_in_the_app_that_they_name_if_they_have_a_role_there(world) {
        let (app, other) = (world.app.clone(), world.new_app("Louvre").await);
        let staff = world.operator(&app, "owner").await;
        let Caller::Operator { token, .. } = staff.caller.clone() else { panic!() };
        let within = |app: &str| Caller::Operator { token: token.clone(), app: app.to_owned() };
        assert_eq!(world.get("/v1/app", &staff.caller).await.expect(200)["name"], "Airport");
        world.get("/v1/app", &Caller::Bearer(token.clone())).await.refused_field(400, "validation_failed", "X-Kairos-App");
        world.get("/v1/app", &within("Louvre")).await.refused_field(400, "validation_failed", "X-Kairos-App");
        let unknown = world.get("/v1/app", &within("app_00000000000070008000000000000000")).await.refused(403, "no_role");
        let foreign = world.get("/v1/app", &within(&other.id.to_string())).await.refused(403, "no_role");
        assert_eq!(unknown["detail"], foreign["detail"]);
        // Another app's owner cannot take the address over; the machine's own command gives the role.
        let invite = json!({"email": staff.email, "name": "N", "role": "viewer"});
        world.post("/v1/operators", &other.server, invite).await.refused(409, "operator_exists");
        let newcomer = kairos::app::Newcomer { app_id: other.id, role: kairos::app::Role::Viewer, email: staff.email.clone(), name: "N".into() };
        let (ids, by) = (world.kairos.platform.ids.clone(), (world.now_ms(), kairos::audit::Actor::Command));
        let invited = world.kairos.platform.store.write(move |conn| kairos::app::invite(conn, &ids, by, newcomer)).await.unwrap();
        assert!(invited.invitation.is_none(), "who has a password gets no second way in");
        assert_eq!(world.get("/v1/app", &within(&other.id.to_string())).await.expect(200)["name"], "Louvre");
        world.patch("/v1/app", &within(&other.id.to_string()), json!({})).await.refused(403, "missing_scope");
        // What an owner does here is not done there.
        let path = format!("/v1/operators/{}", staff.id);
        world.patch(&path, &other.server, json!({"disabled": true})).await.expect(200);
        world.get("/v1/app", &within(&other.id.to_string())).await.refused(403, "no_role");
        world.get("/v1/app", &staff.caller).await.expect(200);
    }

    async fn nobody_gives_more_than_they_have_and_the_last_owner_stays(world) {
        let app = world.app.clone();
        let owner = world.operator(&app, "owner").await;
        let developer = world.operator(&app, "developer").await;
        let path = |staff: &Staff| format!("/v1/operators/{}", staff.id);
        world.patch(&path(&owner), &owner.caller, json!({"role": "developer"})).await.refused(409, "last_owner");
        world.patch(&path(&owner), &owner.caller, json!({"disabled": true})).await.refused(409, "last_owner");
        world.patch(&path(&developer), &developer.caller, json!({"role": "owner"})).await.refused(403, "missing_scope");
        // A key that lacks a right cannot give it, nor take it from who has it.
        let limited = world.server_key(&app, &["operators:read", "operators:write", "app:read"]).await;
        let invite = |role: &str| json!({"email": format!("{role}@example.com"), "name": "N", "role": role});
        for role in ["viewer", "owner"] {
            world.post("/v1/operators", &limited, invite(role)).await.refused_field(403, "role_exceeds_caller", "role");
        }
        world.patch(&path(&developer), &limited, json!({"disabled": true})).await.refused_field(403, "role_exceeds_caller", "role");
        world.delete(&format!("{}/sessions", path(&owner)), &limited).await.refused(403, "role_exceeds_caller");
        let scopes: Vec<&str> = kairos::app::Scope::ALL.iter().map(|scope| scope.name()).collect();
        for (mode, ends) in [("test", Value::Null), ("live", json!(world.time(3_600)))] {
            let mut key = json!({"kind": "server", "name": "k", "mode": mode, "scopes": scopes});
            if !ends.is_null() {
                key["expires_at"] = ends;
            }
            let made = world.post("/v1/keys", &app.server, key).await.expect(201);
            let key = Caller::Bearer(made["secret"].as_str().unwrap().to_owned());
            world.post("/v1/operators", &key, invite("viewer")).await.refused_field(403, "role_exceeds_caller", "role");
        }
        // Keys that a developer makes have no more than a developer.
        let key = |scope: &str| json!({"kind": "server", "name": "k", "scopes": [scope]});
        world.post("/v1/keys", &developer.caller, key("operators:write")).await.refused_field(403, "key_exceeds_caller", "scopes");
        world.post("/v1/keys", &developer.caller, key("events:write")).await.expect(201);
        // Roles change at once; sessions end at once.
        world.patch(&path(&developer), &owner.caller, json!({"role": "owner"})).await.expect(200);
        world.patch(&path(&owner), &developer.caller, json!({"role": "viewer"})).await.expect(200);
        world.get("/v1/keys", &owner.caller).await.refused(403, "missing_scope");
        world.delete(&format!("{}/sessions", path(&owner)), &developer.caller).await.expect(204);
        world.get("/v1/operators/me", &owner.caller).await.refused(401, "unauthorized");
        world.patch(&path(&owner), &developer.caller, json!({"surprise": 1})).await.refused(400, "validation_failed");
        // Two owners who demote each other at once leave one.
        next_step(world).await;
        let owner = Staff { caller: by_token(&sign_in(world, with_code(&owner, world)).await.expect(200), &owner), ..owner };
        world.patch(&path(&owner), &developer.caller, json!({"role": "owner"})).await.expect(200);
        let (one, other) = (path(&owner), path(&developer));
        let both = tokio::join!(
            world.patch(&one, &developer.caller, json!({"role": "viewer"})),
            world.patch(&other, &owner.caller, json!({"role": "viewer"})),
        );
        assert_eq!([both.0.status, both.1.status].iter().filter(|status| **status == 200).count(), 1, "{} {}", both.0.text(), both.1.text());
        assert_eq!(world.number("select count(*) from operator_roles where role = 'owner'").await, 1);
    }

    async fn an_operator_may_record_a_consent_and_the_ledger_says_who(world) {
        let app = world.app.clone();
        let staff = world.operator(&app, "developer").await;
        let person = world.person(&app).await;
        let path = format!("/v1/users/{}/consents", person.id);
        world.post(&path, &staff.caller, json!({"purpose": "location", "granted": false})).await.expect(201);
        let history = world.get(&format!("{path}/history"), &staff.caller).await.expect(200);
        assert_eq!(history["items"][0]["source"], format!("operator:{}", staff.id));
        let event = json!({"events": [{"id": "e1", "type": "x", "occurred_at": world.time(0), "subject": person.id}]});
        assert_eq!(world.post("/v1/events", &staff.caller, event).await.expect(202)["results"][0]["status"], "accepted");
        world.drain().await;
    }

    async fn begun_anew_an_operator_has_neither_password_nor_second_factor_nor_session(world) {
        let app = world.app.clone();
        let staff = world.operator(&app, "owner").await;
        let (ids, now_ms, email) = (world.kairos.platform.ids.clone(), world.now_ms(), staff.email.clone());
        let reset = world.kairos.platform.store.write(move |conn| kairos::app::reset(conn, &ids, now_ms, &email)).await.unwrap();
        world.get("/v1/operators/me", &staff.caller).await.refused(401, "unauthorized");
        next_step(world).await;
        sign_in(world, with_code(&staff, world)).await.refused(401, "invalid_credentials");
        let recovery = json!({"email": staff.email, "password": OPERATOR_PASSWORD, "recovery_code": staff.recovery_codes[0]});
        sign_in(world, recovery.clone()).await.refused(401, "invalid_credentials");
        let token = reset.invitation.unwrap().token.expose().to_owned();
        world.post("/v1/operators/accept", NOBODY, json!({"token": token, "password": OPERATOR_PASSWORD})).await.expect(204);
        let again = world.enrol(&app, &staff.email).await;
        assert_eq!(again.id, staff.id);
        assert_ne!(again.secret, staff.secret);
        sign_in(world, recovery).await.refused(401, "invalid_credentials");
        world.get("/v1/operators", &again.caller).await.expect(200);
    }
}

/// A command on the database of a world.
fn command(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kairos"));
    command.env_clear().args(arguments).args(["--database-url", world.database.url()]);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

both! {
    async fn the_machine_itself_makes_the_first_owner_and_checks_the_log(world) {
        let app = world.app.id.to_string();
        let create = ["operator", "create", "--email", "first@example.com", "--name", "First", "--role", "owner", "--app", &app];
        let made = command(world, &create);
        assert!(made.status.success(), "{}", said(&made));
        let text = said(&made);
        let token = text.split_whitespace().find(|word| word.starts_with("oi_")).unwrap();
        let accept = json!({"token": token, "password": OPERATOR_PASSWORD});
        world.post("/v1/operators/accept", NOBODY, accept).await.expect(204);
        let first = world.enrol(&world.app.clone(), "first@example.com").await;
        world.get("/v1/operators", &first.caller).await.expect(200);
        let again = command(world, &create);
        assert!(again.status.success() && !said(&again).contains("oi_"), "{}", said(&again));
        assert!(said(&command(world, &["operator", "list"])).contains("first@example.com  First  active  owner in app_"));
        let wrong = command(world, &["operator", "create", "--email", "x", "--name", "x", "--role", "owner", "--app", &app]);
        assert!(!wrong.status.success() && said(&wrong).contains("e-mail"), "{}", said(&wrong));
        let whole = command(world, &["audit", "verify"]);
        assert!(whole.status.success() && said(&whole).contains(&format!("{app}: whole")), "{}", said(&whole));
        let rows = world.get("/v1/audit?actor=command", &first.caller).await.expect(200);
        let actions: Vec<&str> = rows["items"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
        assert_eq!(actions, ["command operator create", "command operator create", "command app create"]);
        let out = command(world, &["operator", "disable", "--email", "first@example.com"]);
        assert!(out.status.success(), "{}", said(&out));
        world.get("/v1/operators/me", &first.caller).await.refused(401, "unauthorized");
        let anew = command(world, &["operator", "reset", "--email", "first@example.com"]);
        assert!(anew.status.success() && said(&anew).contains("oi_"), "{}", said(&anew));
    }
}
