//! Codes and links that are mailed: signing in by them, proving an address, a new password, another address.

use crate::world::{Answer, Caller, Letter, Person, Tenant, World};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const GOOD: &str = "correct horse battery";
const NEW: &str = "staple of horses";
const ADA: &str = "ada@example.com";

fn pair(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

async fn sign_up(world: &World, tenant: &Tenant, email: &str) -> Person {
    Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair(email, GOOD)).await.expect(200))
}

async fn sign_in(world: &World, tenant: &Tenant, email: &str, password: &str) -> Answer {
    world.post("/v1/auth/sign-in", &tenant.phone, pair(email, password)).await
}

async fn lives(world: &World, person: &Person) -> bool {
    world.get("/v1/me", &person.token).await.status == 200
}

/// Signs up and proves the address in that session.
async fn proven(world: &World, tenant: &Tenant, email: &str) -> Person {
    let person = sign_up(world, tenant, email).await;
    let code = world.letter(tenant, email).await.code();
    Person::from(&world.post("/v1/auth/email/verify", &person.token, json!({ "code": code })).await.expect(200))
}

async fn ask(world: &World, tenant: &Tenant, path: &str, email: &str) -> (Value, Letter) {
    let asked = world.post(path, &tenant.phone, json!({ "email": email })).await.expect(202);
    (asked, world.letter(tenant, email).await)
}

fn code(asked: &Value, code: &str) -> Value {
    json!({ "challenge_id": asked["challenge_id"], "code": code })
}

async fn confirm(world: &World, by: &Person, body: Value) -> Answer {
    world.post("/v1/auth/email/change/confirm", &by.token, body).await
}

/// A code that is not this one.
fn other(code: &str) -> String {
    if code == "123456" { "654321".to_owned() } else { "123456".to_owned() }
}

/// How many answers were a success; every other one has to be this refusal, or that there were too many.
fn successes(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status >= 400 && answer.status != 429) {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (401, Some("invalid_secret")), "{}", answer.text());
    }
    answers.iter().filter(|answer| answer.status < 400).count()
}

both! {
    async fn a_proof_moves_the_revision_of_its_user(world) {
        let tenant = world.new_app("Louvre").await;
        let person = sign_up(world, &tenant, ADA).await;
        let before = world.get("/v1/me", &person.token).await;
        let code = world.letter(&tenant, ADA).await.code();
        let verified = world.post("/v1/auth/email/verify", &person.token, json!({ "code": code })).await.expect(200);
        let after = world.get("/v1/me", &Person::from(&verified).token).await;
        assert_eq!((before.header("etag"), after.header("etag")), (Some("\"v1\""), Some("\"v2\"")));
    }

    async fn a_code_signs_in_whoever_reads_the_mail_and_makes_one_account(world) {
        let tenant = world.new_app("Louvre").await;
        let asked = world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": "Ada@example.com" })).await.expect(202);
        let letter = world.letter(&tenant, ADA).await;
        assert_eq!(asked["expires_in"], json!(900));
        let verify = |body: Value| world.post("/v1/auth/email-code/verify", &tenant.phone, body);
        verify(code(&asked, &other(&letter.code()))).await.refused(401, "invalid_secret");
        let first = verify(code(&asked, &letter.code())).await.expect(200);
        verify(code(&asked, &letter.code())).await.refused(401, "invalid_secret");
        verify(json!({ "token": letter.token() })).await.refused(401, "invalid_secret");
        let (_, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let second = verify(json!({ "token": letter.token() })).await.expect(200);
        assert_eq!(first["user"]["id"], second["user"]["id"]);
        assert_eq!(world.number("select count(*) from users").await, 1);
        let (_, late) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        world.advance(Duration::from_secs(15 * 60)).await;
        verify(json!({ "token": late.token() })).await.refused(401, "invalid_secret");
    }

    async fn a_code_dies_after_five_tries_and_an_older_one_with_the_next_mail(world) {
        let tenant = world.new_app("Louvre").await;
        let verify = |body: Value| world.post("/v1/auth/email-code/verify", &tenant.phone, body);
        let (asked, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        for _ in 0..5 {
            verify(code(&asked, &other(&letter.code()))).await.refused(401, "invalid_secret");
        }
        verify(code(&asked, &letter.code())).await.refused(401, "invalid_secret");
        // A new mail brings no new tries: they are counted by the address.
        let (asked, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        verify(code(&asked, &letter.code())).await.refused(429, "too_many_attempts");
        world.advance(Duration::from_secs(60)).await;
        let (old_asked, old) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let (asked, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        verify(code(&old_asked, &old.code())).await.refused(401, "invalid_secret");
        verify(code(&old_asked, &letter.code())).await.refused(401, "invalid_secret");
        verify(code(&asked, &letter.code())).await.expect(200);
    }

    async fn of_sixty_four_who_use_one_secret_at_once_one_gets_through(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_account_per_minute = 1_000).await;
        let owner = proven(world, &tenant, "eve@example.com").await;
        let (_, link) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let body = json!({ "token": link.token() });
        let all = join_all((0..64).map(|_| world.post("/v1/auth/email-code/verify", &tenant.phone, body.clone()))).await;
        assert_eq!(successes(&all), 1);
        assert_eq!(world.number("select count(*) from users").await, 2);
        let (_, link) = ask(world, &tenant, "/v1/auth/password/forgot", "eve@example.com").await;
        let body = json!({ "token": link.token(), "new_password": NEW });
        let all = join_all((0..16).map(|_| world.post("/v1/auth/password/reset", &Caller::Nobody, body.clone()))).await;
        assert_eq!(successes(&all), 1);
        assert!(!lives(world, &owner).await);
        // Guesses at once are no more than guesses one by one: five of a code's tries are all that are looked at.
        let (asked, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let guess = code(&asked, &other(&letter.code()));
        let all = join_all((0..16).map(|_| world.post("/v1/auth/email-code/verify", &tenant.phone, guess.clone()))).await;
        assert_eq!(successes(&all), 0);
        let row = "select tries from challenges where kind = 'sign_in' and used_ms is null";
        assert!(world.number(row).await <= 5);
    }

    async fn a_secret_opens_nothing_in_another_app_or_for_another_use(world) {
        let (louvre, orsay) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        proven(world, &louvre, ADA).await;
        let (asked, letter) = ask(world, &louvre, "/v1/auth/email-code/request", ADA).await;
        for body in [json!({ "token": letter.token() }), code(&asked, &letter.code())] {
            world.post("/v1/auth/email-code/verify", &orsay.phone, body).await.refused(401, "invalid_secret");
        }
        let misused = json!({ "token": letter.token(), "new_password": NEW });
        world.post("/v1/auth/password/reset", &Caller::Nobody, misused.clone()).await.refused(401, "invalid_secret");
        world.post("/v1/auth/email/verify", &Caller::Nobody, misused).await.refused(401, "invalid_secret");
        let test_key = world.post("/v1/keys", &louvre.server, json!({"kind": "publishable", "mode": "test", "name": "t"})).await.expect(201);
        let test_key = Caller::App(test_key["secret"].as_str().unwrap().to_owned());
        let (_, fresh) = ask(world, &louvre, "/v1/auth/email-code/request", ADA).await;
        world.post("/v1/auth/email-code/verify", &test_key, json!({ "token": fresh.token() })).await.refused(401, "invalid_secret");
        let (_, fresh) = ask(world, &louvre, "/v1/auth/email-code/request", ADA).await;
        world.post("/v1/auth/email-code/verify", &louvre.phone, json!({ "token": fresh.token() })).await.expect(200);
    }

    async fn an_anonymous_user_signs_in_by_code_and_stays_who_they_are(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let (_, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let verify = world.call("POST", "/v1/auth/email-code/verify").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        let session = verify.json(&json!({ "token": letter.token() })).send().await.expect(200);
        assert_eq!((&session["user"]["id"], &session["user"]["anonymous"]), (&json!(person.id), &json!(false)));
        assert!(!lives(world, &person).await);
    }

    async fn an_address_is_proven_in_its_users_session(world) {
        let tenant = world.new_app("Louvre").await;
        let phone = sign_up(world, &tenant, ADA).await;
        let tablet = Person::from(&sign_in(world, &tenant, ADA, GOOD).await.expect(200));
        let code = world.letter(&tenant, ADA).await.code();
        let verify = |body: Value| world.post("/v1/auth/email/verify", &phone.token, body);
        verify(json!({ "code": other(&code) })).await.refused(401, "invalid_secret");
        verify(json!({ "code": code, "new_password": NEW })).await.refused_field(400, "validation_failed", "new_password");
        let session = Person::from(&verify(json!({ "code": code })).await.expect(200));
        assert_eq!(session.id, phone.id);
        for gone in [&phone, &tablet] {
            assert!(!lives(world, gone).await);
        }
        sign_in(world, &tenant, ADA, GOOD).await.expect(200);
        world.post("/v1/auth/email/verify/request", &session.token, json!({})).await.refused(409, "already_verified");
        // The address is theirs now: another claim of it cannot be proven.
        let eve = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair(ADA, "something else")).await.expect(200));
        assert_ne!(eve.id, session.id);
        assert!(world.letter(&tenant, ADA).await.subject.contains("already"), "the owner is told");
    }

    async fn who_proves_an_address_by_a_link_alone_ends_what_was_there_before(world) {
        let tenant = world.new_app("Louvre").await;
        // Somebody signs up with an address that is not theirs, and waits for its owner to confirm it.
        let attacker = sign_up(world, &tenant, ADA).await;
        let letter = world.letter(&tenant, ADA).await;
        let verify = |body: Value| world.post("/v1/auth/email/verify", &Caller::Nobody, body);
        verify(json!({ "token": letter.token() })).await.refused_field(400, "validation_failed", "new_password");
        verify(json!({ "token": letter.token(), "new_password": NEW })).await.expect(204);
        assert!(!lives(world, &attacker).await);
        let token = json!({ "refresh_token": attacker.refresh_token });
        world.post("/v1/auth/refresh", &tenant.phone, token).await.refused(401, "invalid_refresh_token");
        sign_in(world, &tenant, ADA, GOOD).await.refused(401, "invalid_credentials");
        sign_in(world, &tenant, ADA, NEW).await.expect(200);
        verify(json!({ "token": letter.token(), "new_password": GOOD })).await.refused(401, "invalid_secret");
    }

    async fn what_an_attacker_added_to_a_claim_is_gone_when_its_owner_comes(world) {
        let tenant = world.new_app("Louvre").await;
        let attacker = sign_up(world, &tenant, ADA).await;
        world.identity(&tenant, &attacker.id).await;
        let enrolled = world.post("/v1/auth/mfa/totp/enroll", &attacker.token, json!({})).await.expect(200);
        let secret = enrolled["secret"].as_str().unwrap();
        let code = crate::totp::code(world, secret, 0);
        let body = json!({ "challenge_token": enrolled["challenge_token"], "code": code });
        world.post("/v1/auth/mfa/totp/confirm", &attacker.token, body).await.expect(200);
        let (_, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let owner = world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": letter.token() })).await.expect(200);
        assert!(lives(world, &Person::from(&owner)).await, "no second factor of somebody else is asked for");
        for table in ["totps", "recovery_codes", "identities", "passwords"] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
    }

    async fn who_signs_in_by_code_ends_an_unproven_claim(world) {
        let tenant = world.new_app("Louvre").await;
        let attacker = sign_up(world, &tenant, ADA).await;
        let (_, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let owner = world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": letter.token() })).await.expect(200);
        assert!(lives(world, &Person::from(&owner)).await && !lives(world, &attacker).await);
        sign_in(world, &tenant, ADA, GOOD).await.refused(401, "invalid_credentials");
    }

    async fn a_forgotten_password_is_replaced_by_mail_and_nobody_learns_who_has_an_account(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = proven(world, &tenant, ADA).await;
        let before = world.letters(&tenant).await.len();
        let forgot = |email: &str| world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": email }));
        let (known, unknown) = (forgot(ADA).await, forgot("eve@example.com").await);
        let shape = |answer: &Answer| {
            let body = answer.json();
            let length = body["challenge_id"].as_str().map(str::len);
            (answer.status, body.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>(), length, body["expires_in"].clone())
        };
        assert_eq!(shape(&known), shape(&unknown));
        assert_eq!(world.letters(&tenant).await.len(), before + 1, "who has no account gets no mail");
        let reset = |body: Value| world.post("/v1/auth/password/reset", &Caller::Nobody, body);
        let letter = world.letter(&tenant, ADA).await;
        reset(json!({ "token": letter.token(), "new_password": "password" })).await.refused_field(400, "validation_failed", "new_password");
        reset(json!({ "token": letter.token(), "new_password": NEW })).await.expect(204);
        assert!(!lives(world, &ada).await);
        sign_in(world, &tenant, ADA, GOOD).await.refused(401, "invalid_credentials");
        assert_eq!(sign_in(world, &tenant, ADA, NEW).await.expect(200)["user"]["id"], json!(ada.id));
        assert!(world.letter(&tenant, ADA).await.subject.contains("changed"), "the owner is told");
        reset(json!({ "token": letter.token(), "new_password": GOOD })).await.refused(401, "invalid_secret");
        // By code, in the app.
        let (asked, letter) = ask(world, &tenant, "/v1/auth/password/forgot", ADA).await;
        let body = |code: &str| json!({ "challenge_id": asked["challenge_id"], "code": code, "new_password": GOOD });
        world.post("/v1/auth/password/reset", &Caller::Nobody, body(&letter.code())).await.refused(401, "unauthorized");
        world.post("/v1/auth/password/reset", &tenant.phone, body(&other(&letter.code()))).await.refused(401, "invalid_secret");
        world.post("/v1/auth/password/reset", &tenant.phone, body(&letter.code())).await.expect(204);
        sign_in(world, &tenant, ADA, GOOD).await.expect(200);
    }

    async fn another_address_is_taken_in_the_session_that_asked_for_it(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = proven(world, &tenant, ADA).await;
        let other_phone = Person::from(&sign_in(world, &tenant, ADA, GOOD).await.expect(200));
        let change = |body: Value| world.post("/v1/auth/email/change", &ada.token, body);
        change(json!({ "email": "ada@example.org" })).await.refused_field(400, "validation_failed", "password");
        change(json!({ "email": "ada@example.org", "password": "wrong password" })).await.refused(401, "invalid_credentials");
        change(json!({ "email": ADA, "password": GOOD })).await.refused_field(400, "validation_failed", "email");
        change(json!({ "email": "ada@example.org", "password": GOOD })).await.expect(202);
        let letter = world.letter(&tenant, "ada@example.org").await;
        confirm(world, &other_phone, json!({ "token": "ct_00000000000000000000000000000000" })).await.refused(401, "invalid_secret");
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        confirm(world, &eve, json!({ "token": letter.token() })).await.refused(401, "invalid_secret");
        let session = Person::from(&confirm(world, &ada, json!({ "code": letter.code() })).await.expect(200));
        assert_eq!(session.id, ada.id);
        assert!(!lives(world, &ada).await && !lives(world, &other_phone).await && lives(world, &session).await);
        sign_in(world, &tenant, ADA, GOOD).await.refused(401, "invalid_credentials");
        sign_in(world, &tenant, "ada@example.org", GOOD).await.expect(200);
        assert!(world.letter(&tenant, ADA).await.text.contains("a…@example.org"), "the old address is told");
    }

    async fn what_was_asked_for_under_an_old_password_is_worth_nothing_under_a_new_one(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = proven(world, &tenant, ADA).await;
        let ask = json!({ "email": "ada@example.org", "password": GOOD });
        world.post("/v1/auth/email/change", &ada.token, ask).await.expect(202);
        let letter = world.letter(&tenant, "ada@example.org").await;
        let change = json!({ "password": GOOD, "new_password": NEW });
        let ada = Person::from(&world.post("/v1/auth/password/change", &ada.token, change).await.expect(200));
        confirm(world, &ada, json!({ "token": letter.token() })).await.refused(401, "invalid_secret");
        sign_in(world, &tenant, ADA, NEW).await.expect(200);
    }

    async fn an_anonymous_user_of_the_other_mode_is_nobody(world) {
        let tenant = world.new_app("Louvre").await;
        let test_key = world.post("/v1/keys", &tenant.server, json!({"kind": "publishable", "mode": "test", "name": "t"})).await.expect(201);
        let test_key = Caller::App(test_key["secret"].as_str().unwrap().to_owned());
        let person = world.person(&tenant).await;
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let up = world.call("POST", "/v1/auth/sign-up").by(&test_key).header("Authorization", &format!("Bearer {token}"));
        up.json(&pair(ADA, GOOD)).send().await.refused(401, "unauthorized");
        assert!(lives(world, &person).await);
    }

    async fn an_address_that_is_somebodys_cannot_be_taken_and_nobody_learns_it(world) {
        let tenant = world.new_app("Louvre").await;
        proven(world, &tenant, ADA).await;
        let eve = proven(world, &tenant, "eve@example.com").await;
        let change = |email: &str| world.post("/v1/auth/email/change", &eve.token, json!({ "email": email, "password": GOOD }));
        let (taken, free) = (change(ADA).await, change("eve@example.org").await);
        assert_eq!((taken.status, taken.json()["expires_in"].clone()), (free.status, free.json()["expires_in"].clone()));
        assert!(world.letter(&tenant, ADA).await.subject.contains("already"));
        // Two users ask for one address; the first who proves it has it.
        let bob = proven(world, &tenant, "bob@example.com").await;
        let ask = json!({ "email": "eve@example.org", "password": GOOD });
        let theirs = world.letter(&tenant, "eve@example.org").await;
        world.post("/v1/auth/email/change", &bob.token, ask).await.expect(202);
        let his = world.letter(&tenant, "eve@example.org").await;
        // The newer request of one's own alone makes one's older one worthless; his is another user's.
        let change_again = change("eve@example.org").await;
        change_again.expect(202);
        confirm(world, &eve, json!({ "token": theirs.token() })).await.refused(401, "invalid_secret");
        confirm(world, &bob, json!({ "token": his.token() })).await.expect(200);
        let newest = world.letter(&tenant, "eve@example.org").await;
        confirm(world, &eve, json!({ "token": newest.token() })).await.refused(409, "email_taken");
        assert_eq!(world.number("select count(*) from emails where email = 'eve@example.org'").await, 1);
    }

    async fn a_mailed_secret_is_forgotten_a_day_after_its_end(world) {
        let tenant = world.new_app("Louvre").await;
        ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let kept = "select count(*) from challenges";
        world.advance(Duration::from_secs(86_400 + 15 * 60)).await;
        assert_eq!(world.number(kept).await, 1);
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(world.number(kept).await, 0);
    }

    async fn links_lead_to_the_configured_address_whatever_a_request_says(world) {
        let tenant = world.new_app("Louvre").await;
        let names = ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Host", "X-Original-Host", "X-Original-URL", "X-Rewrite-URL", "Forwarded", "Origin", "Referer"];
        for (n, name) in names.iter().enumerate() {
            for value in ["evil.example", "kairos.test.evil.example:80"] {
                let value = if *name == "Forwarded" { format!("host={value}") } else { value.to_owned() };
                let email = format!("ada{n}@example.com");
                let request = world.call("POST", "/v1/auth/email-code/request").by(&tenant.phone).header(name, &value);
                request.json(&json!({ "email": email })).send().await;
                let all = world.letters(&tenant).await;
                for letter in &all {
                    assert!(letter.link().starts_with("http://kairos.test/auth/app_"), "{name}: {}", letter.link());
                    assert!(!letter.text.contains("evil"), "{name}");
                }
            }
        }
        assert!(world.letters(&tenant).await.len() > 15);
    }

    async fn a_page_says_nothing_and_changes_nothing_by_being_read(world) {
        let tenant = world.new_app("Louvre").await;
        sign_up(world, &tenant, ADA).await;
        let link = world.letter(&tenant, ADA).await;
        let path = link.link().strip_prefix("http://kairos.test").unwrap().split('#').next().unwrap().to_owned();
        let unknown = format!("/auth/app_{}/verify-email", "0".repeat(32));
        let (page, other) = (world.get(&path, &Caller::Nobody).await, world.get(&unknown, &Caller::Nobody).await);
        assert_eq!((page.status, &page.body), (200, &other.body));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        for file in ["/auth/page.js", "/auth/page.css"] {
            assert_eq!(world.get(file, &Caller::Nobody).await.status, 200);
        }
        world.get(&path.replace("verify-email", "other"), &Caller::Nobody).await.refused(404, "not_found");
        assert_eq!(world.number("select count(*) from challenges where used_ms is not null").await, 0);
    }

    async fn what_is_not_a_secret_is_refused_by_the_name_of_its_field(world) {
        let tenant = world.new_app("Louvre").await;
        let (asked, letter) = ask(world, &tenant, "/v1/auth/email-code/request", ADA).await;
        let id = asked["challenge_id"].clone();
        for (body, field) in [
            (json!({}), "token"),
            (json!({ "code": "123456" }), "challenge_id"),
            (json!({ "challenge_id": id }), "code"),
            (json!({ "token": letter.token(), "code": "123456", "challenge_id": id }), "token"),
            (json!({ "token": { "$ne": "" } }), "token"),
            (json!({ "token": 7 }), "token"),
            (json!({ "challenge_id": "x", "code": "123456" }), "challenge_id"),
        ] {
            world.post("/v1/auth/email-code/verify", &tenant.phone, body).await.refused_field(400, "validation_failed", field);
        }
        for token in ["", "ct_", "' or 1=1 --", &"x".repeat(10_000)] {
            world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": token })).await.refused(401, "invalid_secret");
        }
        world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": "ada" })).await.refused_field(400, "validation_failed", "email");
    }
}
