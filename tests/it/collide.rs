//! Calls that change how one user comes in, all at once: nobody waits in a circle, and nothing is left of the ones that
//! came too late.

use crate::idp::Idp;
use crate::totp::{Careful, GOOD, careful, code, sign_in};
use crate::world::{Answer, Caller, Person, Tenant, World};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

const ROUNDS: usize = 8;
const NEW: &str = "staple of horses";

/// A call of a round.
struct Call {
    method: &'static str,
    path: String,
    by: Caller,
    /// The access token of an anonymous user that goes with it.
    beside: Option<Caller>,
    body: Value,
}

fn call(method: &'static str, path: impl Into<String>, by: &Caller, body: Value) -> Call {
    Call { method, path: path.into(), by: by.clone(), beside: None, body }
}

async fn make(world: &World, call: &Call) -> Answer {
    let mut request = world.call(call.method, &call.path).by(&call.by);
    if let Some(Caller::Bearer(token)) = &call.beside {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    match call.method {
        "DELETE" => request.send().await,
        _ => request.json(&call.body).send().await,
    }
}

/// Makes all calls at once; a refusal is an answer, a fault or a wait in a circle is none.
async fn at_once(world: &World, calls: &[Call]) -> Vec<Answer> {
    let all = join_all(calls.iter().map(|call| make(world, call))).await;
    for (call, answer) in calls.iter().zip(&all) {
        assert!(answer.status < 500, "{} {}: {} {}", call.method, call.path, answer.status, answer.text());
    }
    all
}

async fn open(world: &mut World) -> Idp {
    let idp = Idp::open(world).await;
    world.restart(|config| (config.db_writers, config.sign_in_per_account_per_minute) = (12, 10_000)).await;
    idp
}

/// Somebody with an authenticator app, a proven address and an identity.
async fn settled(world: &World, (idp, tenant): (&Idp, &Tenant), email: &str) -> Careful {
    let ada = careful(world, tenant, email).await;
    let code = world.letters(tenant).await.iter().find(|letter| letter.to == email).unwrap().code();
    let verified = world.post("/v1/auth/email/verify", &ada.person.token, json!({ "code": code })).await.expect(200);
    let person = Person::from(&verified);
    idp.link(world, &person.token, ("google", email), json!({})).await.expect(201);
    Careful { person, ..ada }
}

/// A second session of theirs, by a recovery code.
async fn beside(world: &World, tenant: &Tenant, (ada, n): (&Careful, usize)) -> Person {
    let asked = sign_in(world, tenant, &ada.email).await.expect(202);
    let body = json!({"challenge_token": asked["challenge_token"], "code": ada.recovery[n]});
    Person::from(&world.post("/v1/auth/mfa/totp/recovery", &tenant.phone, body).await.expect(200))
}

async fn mailed(world: &World, tenant: &Tenant, (path, email): (&str, &str)) -> String {
    world.post(path, &tenant.phone, json!({ "email": email })).await.expect(202);
    world.letter(tenant, email).await.token()
}

/// Everything that somebody can do about an account at once, from two phones and from the mailbox.
async fn round(world: &World, (idp, tenant): (&Idp, &Tenant), n: usize) {
    let email = format!("ada{n}@example.com");
    let ada = settled(world, (idp, tenant), &email).await;
    let tablet = beside(world, tenant, (&ada, 0)).await;
    let (phone, nobody) = (&ada.person.token, world.person(tenant).await);
    let other = format!("ada{n}@example.org");
    world.post("/v1/auth/email/change", phone, json!({"email": other, "password": GOOD})).await.expect(202);
    let change = world.letter(tenant, &other).await.token();
    let reset = mailed(world, tenant, ("/v1/auth/password/forgot", &email)).await;
    let link = mailed(world, tenant, ("/v1/auth/email-code/request", &email)).await;
    let second = sign_in(world, tenant, &email).await.expect(202)["challenge_token"].clone();
    let identities = world.get("/v1/me/identities", phone).await.expect(200);
    let identity = format!("/v1/me/identities/{}", identities["items"][0]["id"].as_str().unwrap());
    let word = idp.rsa.token(&idp.claims(world, ("google", &email), json!({})));
    let (pair, totp) = (json!({"email": email, "password": GOOD}), code(world, &ada.secret, 30));
    let mut all = vec![
        call("POST", "/v1/auth/email/change/confirm", phone, json!({ "token": change })),
        call("POST", "/v1/auth/password/reset", &Caller::Nobody, json!({"token": reset, "new_password": NEW})),
        call("POST", "/v1/auth/email-code/verify", &tenant.phone, json!({ "token": link })),
        call("POST", "/v1/auth/mfa/totp/challenge", &tenant.phone, json!({"challenge_token": second, "code": totp})),
        call("POST", "/v1/auth/password/change", phone, json!({"password": GOOD, "new_password": NEW})),
        call("POST", "/v1/auth/mfa/recovery-codes", &tablet.token, json!({})),
        call("POST", "/v1/auth/mfa/totp/disable", &tablet.token, json!({"recovery_code": ada.recovery[2]})),
        call("POST", "/v1/auth/step-up", phone, json!({"recovery_code": ada.recovery[3]})),
        call("POST", "/v1/auth/step-up", &tablet.token, json!({"password": GOOD})),
        call("DELETE", identity, phone, Value::Null),
        call("DELETE", "/v1/me/sessions", &tablet.token, Value::Null),
        call("DELETE", "/v1/me/sessions?keep_current=true", phone, Value::Null),
        call("POST", "/v1/auth/id-token", &tenant.phone, crate::idp::body("google", &word)),
        call("POST", "/v1/auth/sign-in", &tenant.phone, pair.clone()),
        call("POST", "/v1/auth/sign-up", &tenant.phone, pair),
    ];
    for way in &mut all {
        // Some come from a phone that was an anonymous user's, and all of those want to take its place.
        way.beside =
            ["sign-in", "sign-up", "email-code", "id-token"].iter().any(|w| way.path.contains(w)).then(|| nobody.token.clone());
    }
    if n.is_multiple_of(2) {
        all.push(call("DELETE", format!("/v1/users/{}", ada.person.id), &tenant.server, Value::Null));
        all.push(call("DELETE", format!("/v1/users/{}", nobody.id), &tenant.server, Value::Null));
    }
    all.rotate_left(n * 5 % 15);
    at_once(world, &all).await;
}

both! {
    async fn whatever_is_asked_about_one_account_at_once_nobody_waits_in_a_circle(world) {
        world.may_leave_work();
        let idp = open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        world.patch("/v1/app", &tenant.server, json!({"settings": {"erasure_undo_ms": 3_600_000}})).await.expect(200);
        for n in 0..ROUNDS {
            round(world, (&idp, &tenant), n).await;
        }
    }

    async fn an_old_address_opens_nothing_once_it_was_given_up(world) {
        let idp = open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        for n in 0..ROUNDS {
            let (old, new) = (format!("ada{n}@example.com"), format!("ada{n}@example.org"));
            let ada = settled(world, (&idp, &tenant), &old).await;
            let body = json!({"code": code(world, &ada.secret, 30)});
            let phone = Person::from(&world.post("/v1/auth/mfa/totp/disable", &ada.person.token, body).await.expect(200)).token;
            world.post("/v1/auth/email/change", &phone, json!({"email": new, "password": GOOD})).await.expect(202);
            let change = world.letter(&tenant, &new).await.token();
            let reset = mailed(world, &tenant, ("/v1/auth/password/forgot", &old)).await;
            let mut all = vec![
                call("POST", "/v1/auth/email/change/confirm", &phone, json!({ "token": change })),
                call("POST", "/v1/auth/password/reset", &Caller::Nobody, json!({"token": reset, "new_password": NEW})),
            ];
            all.rotate_left(n % 2);
            at_once(world, &all).await;
            // Whichever came first, and whether or not the other one came through: no pair names an address that is not theirs.
            let strays = "select count(*) from passwords p join emails e on e.app_id = p.app_id and e.user_id = p.user_id where p.email <> e.email";
            assert_eq!(world.number(strays).await, 0, "round {n}");
        }
    }

    async fn a_slow_request_of_a_session_that_has_ended_meanwhile_changes_nothing(world) {
        let idp = open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        let ada = settled(world, (&idp, &tenant), "ada@example.com").await;
        let phone = ada.person.token.clone();
        let enrolled = crate::totp::sign_up(world, &tenant, "eve@example.com").await;
        let eve = world.post("/v1/auth/mfa/totp/enroll", &enrolled.token, json!({})).await.expect(200);
        let eves = code(world, eve["secret"].as_str().unwrap(), 0);
        let identities = world.get("/v1/me/identities", &phone).await.expect(200);
        let identity = format!("/v1/me/identities/{}", identities["items"][0]["id"].as_str().unwrap());
        let word = idp.rsa.token(&idp.claims(world, ("corp", "another"), json!({})));
        let calls = [
            call("POST", "/v1/me/identities", &phone, crate::idp::body("corp", &word)),
            call("DELETE", identity, &phone, Value::Null),
            call("POST", "/v1/auth/mfa/recovery-codes", &phone, json!({})),
            call("POST", "/v1/auth/mfa/totp/disable", &phone, json!({"code": code(world, &ada.secret, 30)})),
            call("POST", "/v1/auth/password/change", &phone, json!({"password": GOOD, "new_password": NEW})),
            call("POST", "/v1/auth/step-up", &phone, json!({"recovery_code": ada.recovery[0]})),
            call("DELETE", "/v1/me/password", &phone, Value::Null),
            call("POST", "/v1/auth/mfa/totp/confirm", &enrolled.token, json!({"challenge_token": eve["challenge_token"], "code": eves})),
        ];
        let before = held(world).await;
        // The sessions end in the database alone, as if another node had ended them and its news were still on the way.
        let end = "update sessions set ended_ms = 1, end_reason = 'revoked'";
        world.kairos.platform.store.write(move |conn| conn.batch(end)).await.unwrap();
        for one in &calls {
            let answer = make(world, one).await;
            assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("unauthorized")), "{} {}", one.method, one.path);
            assert_eq!(held(world).await, before, "{} {}", one.method, one.path);
        }
    }

    async fn two_ways_in_that_go_at_once_leave_one(world) {
        let idp = open(world).await;
        let tenant = world.new_app("Louvre").await;
        idp.set_up(world, &tenant).await;
        for n in 0..ROUNDS {
            let person = idp.enters(world, &tenant, ("google", &format!("a{n}")), json!({})).await;
            idp.link(world, &person.token, ("corp", &format!("b{n}")), json!({})).await.expect(201);
            let own = world.get("/v1/me/identities", &person.token).await.expect(200);
            let path = |i: usize| format!("/v1/me/identities/{}", own["items"][i]["id"].as_str().unwrap());
            // From two phones: the session alone would make one wait for the other.
            let tablet = idp.enters(world, &tenant, ("google", &format!("a{n}")), json!({})).await;
            let phones = [&person.token, &tablet.token];
            let all = [0, 1].map(|i| call("DELETE", path(i), phones[i], Value::Null));
            let statuses: Vec<u16> = at_once(world, &all).await.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
            let left = format!("select count(*) from identities where user_id = '{}'", person.id);
            assert_eq!(world.number(&left).await, 1);
        }
        world.advance(Duration::from_secs(1)).await;
    }
}

/// What says how anybody comes in.
async fn held(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for rows in [
        "select email || password_hash as line from passwords order by 1",
        "select email || user_id as line from emails order by 1",
        "select user_id as line from totps order by 1",
        "select code_hash || case when used_ms is null then '' else 'used' end as line from recovery_codes order by 1",
        "select id || user_id as line from identities order by 1",
        "select id as line from passkeys order by 1",
        "select id as line from sessions order by 1",
    ] {
        all.extend(world.lines(rows).await);
    }
    all
}
