//! Moving in: users, devices and the passwords that another system hashed.

use crate::world::{Answer, Caller, Db, Person, Tenant, World, logs};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use kairos::clock::DAY_MS;
use kairos::people::import;
use kairos::serve::Kairos;
use kairos::worker::Progress;
use serde_json::{Value, json};
use std::time::Duration;

const GOOD: &str = "correct horse battery";

fn pair(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

fn body(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn send(world: &World, path: &str, (by, text): (&Caller, &str), key: Option<&str>) -> Answer {
    let request = world.call("POST", path).by(by).text("application/x-ndjson", text);
    let request = match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    };
    request.send().await
}

async fn look(world: &World, tenant: &Tenant, job: &Value) -> Value {
    world.get(&format!("/v1/imports/{}", job["id"].as_str().unwrap()), &tenant.server).await.expect(200)
}

/// Imports lines and works on them until they are done.
async fn bring(world: &World, tenant: &Tenant, (kind, lines): (&str, &[Value])) -> Value {
    let sent = send(world, &format!("/v1/{kind}/import"), (&tenant.server, &body(lines)), None).await;
    let location = sent.header("location").unwrap_or_default().to_owned();
    let job = sent.expect(202);
    assert_eq!(location, format!("/v1/imports/{}", job["id"].as_str().unwrap()));
    world.drain().await;
    let done = look(world, tenant, &job).await;
    assert_eq!(
        (&done["state"], &done["done"], &done["lines"]),
        (&json!("done"), &json!(lines.len()), &json!(lines.len())),
        "{done}"
    );
    done
}

/// The same, when no line may fail.
async fn users(world: &World, tenant: &Tenant, lines: &[Value]) -> Value {
    let done = bring(world, tenant, ("users", lines)).await;
    assert_eq!(done["failed"], 0, "{done}");
    done
}

/// (created, updated, failed)
fn figures(job: &Value) -> (i64, i64, i64) {
    let figure = |name: &str| job[name].as_i64().unwrap();
    (figure("created"), figure("updated"), figure("failed"))
}

/// (line, field, code) of each error.
fn errors(job: &Value) -> Vec<(i64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = job["errors"].as_array().unwrap();
    all.iter().map(|error| (error["line"].as_i64().unwrap(), text(&error["field"]), text(&error["code"]))).collect()
}

fn wrong(line: i64, field: &str, code: &str) -> (i64, String, String) {
    (line, field.to_owned(), code.to_owned())
}

async fn sign(world: &World, tenant: &Tenant, (way, email, password): (&str, &str, &str)) -> Answer {
    world.post(&format!("/v1/auth/sign-{way}"), &tenant.phone, pair(email, password)).await
}

async fn by_external(world: &World, tenant: &Tenant, external: &str) -> Value {
    let found = world.get(&format!("/v1/users?external_id={external}"), &tenant.server).await.expect(200);
    found["items"][0].clone()
}

async fn foreign(world: &World) -> i64 {
    world.number("select count(*) from foreign_passwords where sealed is not null").await
}

fn hashes(world: &World) -> u64 {
    world.kairos.accounts().hasher().count()
}

fn bcrypt_of(password: &str) -> String {
    bcrypt::hash_with_salt(password, 4, *b"sixteen bytes ok").unwrap().to_string()
}

/// Hashes of every scheme with their passwords: what others have published, and what the libraries make.
fn vectors() -> Vec<(String, String)> {
    let b64 = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    // Openwall's crypt_blowfish; the second one is cut at 72 bytes.
    let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored";
    let published = [
        ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
        ("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui", long),
        // The reference implementation's own tests.
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
        ("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"),
        ("$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ", "password"),
        // RFC 7914, sections 11 and 12.
        (
            "$pbkdf2-sha256$i=80000,l=64$TmFDbA$TdzY9guYviGDDO5e8icB+WQaRBjQTAQUrv8Ih2s0q1ah1CWhIlgzVJrbhBtRybMXaicr3ruh0HhHj2Kzl/M8jQ",
            "Password",
        ),
        (
            "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
            "password",
        ),
        (
            "$pbkdf2-sha512$i=1$c2FsdA$hn9wzxreAs/zdSWZo6U9xK80x6ZpgVrl1RNVThyM8lLALUcKKFoFAbrZmb/pQ8CPBQI119aLHaVeY/c7YKV/zg",
            "password",
        ),
        // Django's own tests.
        ("pbkdf2_sha256$12000$seasalt$Ybw8zsFxqja97tY/o6G+Fy1ksY4U/Hw3DRrGED6Up4s=", "lètmein"),
    ];
    let mut all: Vec<(String, String)> = published.map(|(hash, password)| (hash.to_owned(), password.to_owned())).into();
    // As typed: an e and an accent of its own, which our own hash takes for one letter.
    let typed = "ne\u{301}ant et tout";
    for head in ["$2b$", "$2y$"] {
        all.push((bcrypt_of(typed).replace("$2b$", head), typed.to_owned()));
    }
    let mut out = [0; 32];
    let params = argon2::Params::new(4_096, 3, 4, Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password_into(typed.as_bytes(), b"salt of argon2", &mut out).unwrap();
    all.push((format!("$argon2id$v=19$m=4096,t=3,p=4${}${}", b64(b"salt of argon2"), b64(&out)), typed.to_owned()));
    pbkdf2::pbkdf2_hmac::<pbkdf2::sha2::Sha256>(typed.as_bytes(), b"grain", 600, &mut out);
    all.push((format!("$pbkdf2-sha256$i=600,l=32${}${}", b64(b"grain"), b64(&out)), typed.to_owned()));
    all.push((format!("pbkdf2_sha256$600$grain${}", STANDARD.encode(out)), typed.to_owned()));
    pbkdf2::pbkdf2_hmac::<pbkdf2::sha2::Sha512>(typed.as_bytes(), b"grain", 600, &mut out);
    all.push((format!("$pbkdf2-sha512$i=600${}${}", b64(b"grain"), b64(&out)), typed.to_owned()));
    scrypt::scrypt(typed.as_bytes(), b"grain", &scrypt::Params::new(8, 8, 1).unwrap(), &mut out).unwrap();
    all.push((format!("$scrypt$ln=8,r=8,p=1${}${}", b64(b"grain"), b64(&out)), typed.to_owned()));
    all
}

/// What an answer says, without the name of its request.
fn said(answer: &Answer) -> Value {
    let mut said = answer.json();
    said.as_object_mut().unwrap().remove("request_id");
    said
}

both! {
    async fn a_password_of_another_system_opens_its_account_once_and_is_ours_from_then_on(world) {
        let tenant = world.new_app("Louvre").await;
        let all = vectors();
        let line = |n: usize, hash: &str| json!({"external_id": format!("u{n}"), "email": format!("U{n}@Example.com"),
            "email_verified": n.is_multiple_of(2), "password_hash": hash});
        let lines: Vec<Value> = all.iter().enumerate().map(|(n, (hash, _))| line(n, hash)).collect();
        users(world, &tenant, &lines).await;
        let mut left = foreign(world).await;
        assert_eq!(left, i64::try_from(all.len()).unwrap());
        for (n, (hash, password)) in all.iter().enumerate() {
            let email = format!("u{n}@example.com");
            let user = by_external(world, &tenant, &format!("u{n}")).await;
            let before = hashes(world);
            sign(world, &tenant, ("in", &email, &format!("{password}?")[1..])).await.refused(401, "invalid_credentials");
            assert_eq!(foreign(world).await, left, "a wrong password takes nothing away");
            let first = sign(world, &tenant, ("in", &email, password)).await;
            assert_eq!(first.status, 200, "{hash}: {}", first.text());
            assert_eq!(first.json()["user"]["id"], user["id"], "{hash}");
            left -= 1;
            assert_eq!(foreign(world).await, left, "{hash} is still there");
            assert_eq!(sign(world, &tenant, ("in", &email, password)).await.expect(200)["user"]["id"], user["id"], "{hash}");
            assert_eq!(hashes(world) - before, 3, "one job for each attempt");
            world.clock.advance(Duration::from_secs(61));
        }
        // Ours sees one password in two encodings.
        let email = format!("u{}@example.com", all.len() - 1);
        sign(world, &tenant, ("in", &email, "n\u{e9}ant et tout")).await.expect(200);
    }

    async fn no_answer_and_no_work_tells_who_was_brought_in(world) {
        let tenant = world.new_app("Louvre").await;
        sign(world, &tenant, ("up", "ada@example.com", GOOD)).await.expect(200);
        users(world, &tenant, &[
            json!({"external_id": "1", "email": "eve@example.com", "password_hash": bcrypt_of("eve's old one")}),
            json!({"external_id": "2", "email": "bob@example.com", "email_verified": true, "password_hash": bcrypt_of("bob's old one")}),
            json!({"external_id": "3", "email": "joe@example.com"}),
        ]).await;
        let mut answers = Vec::new();
        // The right password of another address is a wrong one, also where that address is the neighbour.
        for email in ["ada", "eve", "bob", "joe", "nobody", "nobody1", "nobody2"] {
            for password in ["wrong password", if email == "eve" { "bob's old one" } else { "eve's old one" }] {
                let before = hashes(world);
                let answer = sign(world, &tenant, ("in", &format!("{email}@example.com"), password)).await;
                assert_eq!(hashes(world) - before, 1, "{email}");
                answer.refused(401, "invalid_credentials");
                answers.push(said(&answer));
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(foreign(world).await, 2);
        // A sign-up with another password makes an account of its own, as for every address.
        let stranger = sign(world, &tenant, ("up", "eve@example.com", "a stranger's words")).await.expect(200);
        let eve = by_external(world, &tenant, "1").await;
        assert_ne!(stranger["user"]["id"], eve["id"]);
        // With theirs it signs in, which is one job too.
        let before = hashes(world);
        assert_eq!(sign(world, &tenant, ("up", "eve@example.com", "eve's old one")).await.expect(200)["user"]["id"], eve["id"]);
        assert_eq!((hashes(world) - before, foreign(world).await), (1, 1));
        // Another app has none of them.
        let other = world.new_app("Orsay").await;
        sign(world, &other, ("in", "bob@example.com", "bob's old one")).await.refused(401, "invalid_credentials");
        world.drain().await;
    }

    async fn a_foreign_password_is_a_password_wherever_one_is_asked_for(world) {
        let tenant = world.new_app("Louvre").await;
        let brought = |n: u32| json!({"external_id": format!("{n}"), "email": format!("u{n}@example.com"), "email_verified": true,
            "password_hash": bcrypt_of("the old one")});
        users(world, &tenant, &(0..6).map(brought).collect::<Vec<_>>()).await;
        let code = async |n: u32| {
            let email = format!("u{n}@example.com");
            world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": email })).await.expect(202);
            let token = world.letter(&tenant, &email).await.token();
            Person::from(&world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": token })).await.expect(200))
        };
        // By a mailed code they are in without it, and prove with it who they are.
        let person = code(0).await;
        assert_eq!(world.get("/v1/me/factors", &person.token).await.expect(200)["password"], true);
        world.post("/v1/auth/step-up", &person.token, json!({"password": "another one"})).await.refused(401, "invalid_credentials");
        world.post("/v1/auth/step-up", &person.token, json!({"password": "the old one"})).await.expect(200);
        assert_eq!(foreign(world).await, 5);
        sign(world, &tenant, ("in", "u0@example.com", "the old one")).await.expect(200);

        let person = code(1).await;
        let change = json!({"new_password": GOOD});
        world.post("/v1/auth/password/change", &person.token, change).await.refused_field(400, "validation_failed", "password");
        let change = json!({"password": "the old one", "new_password": GOOD});
        world.post("/v1/auth/password/change", &person.token, change).await.expect(200);
        assert_eq!(foreign(world).await, 4);
        sign(world, &tenant, ("in", "u1@example.com", "the old one")).await.refused(401, "invalid_credentials");
        sign(world, &tenant, ("in", "u1@example.com", GOOD)).await.expect(200);

        // A new password by mail ends the old one, wherever it was hashed.
        world.post("/v1/auth/password/forgot", &tenant.phone, json!({"email": "u2@example.com"})).await.expect(202);
        let token = world.letter(&tenant, "u2@example.com").await.token();
        world.post("/v1/auth/password/reset", &Caller::Nobody, json!({"token": token, "new_password": GOOD})).await.expect(204);
        sign(world, &tenant, ("in", "u2@example.com", "the old one")).await.refused(401, "invalid_credentials");
        assert_eq!(foreign(world).await, 3);

        let person = code(3).await;
        world.delete("/v1/me/password", &person.token).await.expect(204);
        sign(world, &tenant, ("in", "u3@example.com", "the old one")).await.refused(401, "invalid_credentials");
        assert_eq!(foreign(world).await, 2);

        // With another address the password goes along, hashed here.
        let person = code(4).await;
        let change = json!({"email": "new4@example.com", "password": "the old one"});
        world.post("/v1/auth/email/change", &person.token, change).await.expect(202);
        let token = world.letter(&tenant, "new4@example.com").await.token();
        world.post("/v1/auth/email/change/confirm", &person.token, json!({ "token": token })).await.expect(200);
        sign(world, &tenant, ("in", "u4@example.com", "the old one")).await.refused(401, "invalid_credentials");
        sign(world, &tenant, ("in", "new4@example.com", "the old one")).await.expect(200);
        assert_eq!(foreign(world).await, 1);
        world.drain().await;
    }

    async fn whoever_proves_an_address_first_takes_the_account_that_was_brought_in_for_it(world) {
        let tenant = world.new_app("Louvre").await;
        users(world, &tenant, &[
            json!({"external_id": "1", "email": "ada@example.com", "password_hash": bcrypt_of("somebody's old one")}),
            json!({"external_id": "2", "email": "joe@example.com"}),
        ]).await;
        for (external, email) in [("1", "ada@example.com"), ("2", "joe@example.com")] {
            world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": email })).await.expect(202);
            let token = world.letter(&tenant, email).await.token();
            let entered = world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": token })).await.expect(200);
            assert_eq!(entered["user"]["id"], by_external(world, &tenant, external).await["id"]);
        }
        sign(world, &tenant, ("in", "ada@example.com", "somebody's old one")).await.refused(401, "invalid_credentials");
        assert_eq!(world.number("select count(*) from foreign_passwords").await, 0);
        world.drain().await;
    }

    async fn an_import_takes_nothing_that_users_have_done_themselves(world) {
        let tenant = world.new_app("Louvre").await;
        let own = Person::from(&sign(world, &tenant, ("up", "own@example.com", GOOD)).await.expect(200));
        let code = world.letter(&tenant, "own@example.com").await.code();
        world.post("/v1/auth/email/verify", &own.token, json!({ "code": code })).await.expect(200);
        world.patch(&format!("/v1/users/{}", own.id), &tenant.server, json!({"external_id": "own"})).await.expect(200);
        // Who came by a mailed code alone has no password: a foreign one would be another's way in.
        world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": "code@example.com"})).await.expect(202);
        let token = world.letter(&tenant, "code@example.com").await.token();
        world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": token })).await.expect(200);
        let stolen = bcrypt_of("the thief's own");
        let done = bring(world, &tenant, ("users", &[
            json!({"external_id": "own", "email": "own@example.com", "email_verified": true, "password_hash": stolen}),
            json!({"external_id": "thief", "email": "own@example.com", "email_verified": true, "password_hash": stolen}),
            json!({"external_id": "own", "email": "thief@example.com", "email_verified": true, "password_hash": stolen}),
            json!({"email": "code@example.com", "email_verified": true, "password_hash": stolen}),
            json!({"external_id": "a", "email": "two@example.com", "password_hash": stolen}),
            json!({"external_id": "b", "email": "two@example.com", "password_hash": bcrypt_of("the second")}),
            json!({"external_id": "c", "email": "two@example.com"}),
        ])).await;
        assert_eq!(figures(&done), (1, 2, 4), "{done}");
        let expected = [wrong(2, "email", "taken"), wrong(3, "email", "conflict"), wrong(6, "email", "duplicate"), wrong(7, "email", "duplicate")];
        assert_eq!(errors(&done), expected);
        assert_eq!(by_external(world, &tenant, "thief").await, Value::Null, "a line that fails leaves nothing");
        for email in ["own@example.com", "code@example.com", "thief@example.com"] {
            sign(world, &tenant, ("in", email, "the thief's own")).await.refused(401, "invalid_credentials");
        }
        assert_eq!(sign(world, &tenant, ("in", "own@example.com", GOOD)).await.expect(200)["user"]["id"], json!(own.id));
        world.get("/v1/me", &own.token).await;
        sign(world, &tenant, ("in", "two@example.com", "the thief's own")).await.expect(200);
        // Once they have signed in, their password is theirs: the same file again changes nothing of it.
        let again = [json!({"external_id": "a", "email": "two@example.com", "password_hash": bcrypt_of("another")})];
        assert_eq!(figures(&users(world, &tenant, &again).await), (0, 1, 0));
        sign(world, &tenant, ("in", "two@example.com", "the thief's own")).await.expect(200);
        sign(world, &tenant, ("in", "two@example.com", "another")).await.refused(401, "invalid_credentials");
        world.drain().await;
    }
}

both! {
    async fn an_import_takes_an_address_from_whoever_had_only_claimed_it(world) {
        let tenant = world.new_app("Louvre").await;
        let squatter = Person::from(&sign(world, &tenant, ("up", "ada@example.com", GOOD)).await.expect(200));
        let anonymous = world.person(&tenant).await;
        for (person, external) in [(&squatter, "ada"), (&anonymous, "bob")] {
            world.patch(&format!("/v1/users/{}", person.id), &tenant.server, json!({ "external_id": external })).await.expect(200);
        }
        users(world, &tenant, &[
            json!({"external_id": "ada", "email": "ada@example.com", "email_verified": true, "password_hash": bcrypt_of("the owner's own")}),
            json!({"external_id": "bob", "email": "bob@example.com", "password_hash": bcrypt_of("the owner's own")}),
        ]).await;
        for person in [&squatter, &anonymous] {
            world.get("/v1/me", &person.token).await.refused(401, "unauthorized");
        }
        sign(world, &tenant, ("in", "ada@example.com", GOOD)).await.refused(401, "invalid_credentials");
        for (email, person) in [("ada@example.com", &squatter), ("bob@example.com", &anonymous)] {
            let session = sign(world, &tenant, ("in", email, "the owner's own")).await.expect(200);
            assert_eq!(session["user"]["id"], json!(person.id));
        }
        world.drain().await;
    }

    async fn a_line_that_no_database_takes_stands_in_nobodys_way(world) {
        let (tenant, other) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let nothing = json!({"external_id": "a\u{0}b"});
        let done = bring(world, &tenant, ("users", &[nothing.clone(), json!({"external_id": "c"})])).await;
        assert_eq!((figures(&done), errors(&done)[0].0), ((1, 0, 1), 1), "{done}");
        let device = json!({"external_id": "a\u{0}b", "installation_id": "x", "platform": "ios", "topic": "app.kairos.demo"});
        let done = bring(world, &tenant, ("devices", &[device])).await;
        assert_eq!(errors(&done), [wrong(1, "external_id", &errors(&done)[0].2)]);
        assert_ne!(errors(&done)[0].2, "internal");
        assert_eq!(figures(&users(world, &other, &[json!({"external_id": "d"})]).await), (1, 0, 0));
    }

    async fn who_is_known_is_updated_and_who_is_not_is_made(world) {
        let tenant = world.new_app("Louvre").await;
        for (key, kind) in [("tier", "string"), ("visits", "number")] {
            world.post("/v1/attributes", &tenant.server, json!({"scope": "user", "key": key, "kind": kind})).await.expect(201);
        }
        let line = json!({"external_id": "1", "email": "ada@example.com", "email_verified": true, "password_hash": bcrypt_of(GOOD),
            "attributes": {"tier": "gold", "visits": 3}, "locale": "de-CH", "time_zone": "Europe/Zurich",
            "created_at": "2019-03-01T08:30:00.000Z"});
        let done = users(world, &tenant, std::slice::from_ref(&line)).await;
        assert_eq!(figures(&done), (1, 0, 0));
        let made = by_external(world, &tenant, "1").await;
        assert_eq!((&made["attributes"], &made["locale"]), (&json!({"tier": "gold", "visits": 3}), &json!("de-CH")));
        assert_eq!((&made["time_zone"], &made["created_at"]), (&json!("Europe/Zurich"), &json!("2019-03-01T08:30:00.000Z")));
        let ada = Person::from(&sign(world, &tenant, ("in", "ada@example.com", GOOD)).await.expect(200));
        // The same again changes nothing; what is left out stays, null removes.
        assert_eq!(figures(&users(world, &tenant, &[line]).await), (0, 1, 0));
        assert_eq!(by_external(world, &tenant, "1").await, made);
        let changes = [
            json!({"external_id": "1", "attributes": {"visits": 4}}),
            json!({"email": "ADA@example.com", "attributes": {"tier": null}, "created_at": "2001-01-01T00:00:00.000Z"}),
        ];
        assert_eq!(figures(&users(world, &tenant, &changes).await), (0, 2, 0));
        let after = by_external(world, &tenant, "1").await;
        assert_eq!((&after["attributes"], &after["created_at"]), (&json!({"visits": 4}), &made["created_at"]));
        // Without an external id the address says who it is, proven or not.
        let by_address = [json!({"email": "joe@example.com"}), json!({"email": "joe@example.com", "attributes": {"visits": 1}})];
        assert_eq!(figures(&users(world, &tenant, &by_address).await), (1, 1, 0));
        // Who is disabled is out at once, and cannot come in; their sessions stay ended.
        world.get("/v1/me", &ada.token).await.expect(200);
        users(world, &tenant, &[json!({"external_id": "1", "disabled": true}), json!({"external_id": "2", "email": "eve@example.com",
            "password_hash": bcrypt_of(GOOD), "disabled": true})]).await;
        world.get("/v1/me", &ada.token).await.refused(401, "unauthorized");
        for email in ["ada@example.com", "eve@example.com"] {
            sign(world, &tenant, ("in", email, GOOD)).await.refused(401, "invalid_credentials");
        }
        let back = [json!({"external_id": "1", "disabled": false}), json!({"external_id": "2", "disabled": false})];
        users(world, &tenant, &back).await;
        world.get("/v1/me", &ada.token).await.refused(401, "unauthorized");
        sign(world, &tenant, ("in", "eve@example.com", GOOD)).await.expect(200);
    }

    async fn a_line_that_fails_is_named_and_nothing_that_it_says_is_told(world) {
        logs::keep();
        let tenant = world.new_app("Louvre").await;
        world.post("/v1/attributes", &tenant.server, json!({"scope": "user", "key": "visits", "kind": "number"})).await.expect(201);
        let text = [
            r#"{"external_id": "geheim1@example.com", "email": "geheim2 example.com"}"#,
            r#"{"external_id": 41791234567}"#,
            "geheim3, geheim4",
            "",
            r#"{"external_id": "geheim5", "attributes": {"visits": "geheim6"}}"#,
            r#"{"geheim7@example.com": 1}"#,
            r#"{"external_id": "geheim8", "attributes": {"geheim9@example.com": 1}}"#,
            r#"{"email": "geheim10@example.com", "password_hash": "$2b$04$geheim11"}"#,
            r#"{"email_verified": true}"#,
            r#"{"external_id": "x", "password_hash": "geheim12"}"#,
            r#"{"external_id": "geheim13", "time_zone": "geheim14"}"#,
            r#"{"external_id": "x", "external_id": "geheim15"}"#,
            r#"["geheim16"]"#,
            r#"{"external_id": "y", "created_at": "2150-01-01T00:00:00.000Z"}"#,
            r#"{"external_id": "z", "created_at": "geheim17"}"#,
            r#"{"external_id": "good"}"#,
            r#"{"external_id": "", "locale": "de"}"#,
        ]
        .join("\r\n");
        let job = send(world, "/v1/users/import", (&tenant.server, &text), None).await.expect(202);
        world.drain().await;
        let done = look(world, &tenant, &job).await;
        assert_eq!((figures(&done), &done["lines"]), ((1, 0, 15), &json!(16)), "{done}");
        let expected = [
            wrong(1, "email", "invalid"),
            wrong(2, "external_id", "invalid"),
            wrong(3, "body", "invalid"),
            wrong(5, "attributes.visits", "invalid"),
            wrong(6, "line", "unknown"),
            wrong(7, "attributes", "unknown"),
            wrong(8, "password_hash", "invalid"),
            wrong(9, "external_id", "required"),
            wrong(10, "email", "required"),
            wrong(11, "time_zone", "invalid"),
            wrong(12, "external_id", "duplicate"),
            wrong(13, "body", "invalid"),
            wrong(14, "created_at", "out_of_range"),
            wrong(15, "created_at", "invalid"),
            wrong(17, "external_id", "required"),
        ];
        assert_eq!(errors(&done), expected);
        for word in ["geheim", "41791234567"] {
            assert!(!done.to_string().contains(word), "{done}");
            assert_eq!(logs::with(&[word]), [""; 0]);
        }
    }

    async fn a_hash_beyond_the_limits_is_an_error_of_its_line(world) {
        let tenant = world.new_app("Louvre").await;
        let (salt, long) = ("c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc");
        let dear = [
            bcrypt_of("x").replace("$04$", "$15$"),
            bcrypt_of("x").replace("$04$", "$03$"),
            format!("$argon2id$v=19$m=65537,t=2,p=1${salt}${long}"),
            format!("$argon2id$v=19$m=65536,t=11,p=1${salt}${long}"),
            format!("$argon2id$v=19$m=65536,t=2,p=5${salt}${long}"),
            format!("$pbkdf2-sha256$i=2000001${salt}${long}"),
            format!("$pbkdf2-sha256$i=0${salt}${long}"),
            format!("pbkdf2_sha256$2000001$salt${long}="),
            format!("$scrypt$ln=17,r=8,p=1${salt}${long}"),
            format!("$scrypt$ln=10,r=8,p=17${salt}${long}"),
            format!("$scrypt$ln=63,r=8,p=1${salt}${long}"),
        ];
        let broken = [
            "$2b$04$short".to_owned(),
            format!("$argon2id$v=20$m=4096,t=2,p=1${salt}${long}"),
            format!("$argon2id$v=19$m=4096,t=2,p=1,keyid=AAAA${salt}${long}"),
            format!("$argon2id$v=19$m=4096,t=2${salt}${long}"),
            format!("$argon2id$v=19$m=4096,t=2,p=1,m=8${salt}${long}"),
            format!("$argon2id$v=19$m=4096,t=0,p=1${salt}${long}"),
            format!("$argon2id$v=19$m=7,t=1,p=1${salt}${long}"),
            // Two bytes of a hash many passwords have.
            format!("$pbkdf2-sha256$i=1000${salt}$AAA"),
            format!("$pbkdf2-sha256$i=1000,l=64${salt}${long}"),
            format!("$pbkdf2-sha256$i=1000$${long}"),
            format!("$scrypt$ln=10,r=8,p=1${salt}$!!!"),
        ];
        let unknown = [format!("$argon2d$v=19$m=4096,t=2,p=1${salt}${long}"), format!("$pbkdf2-sha1$i=1000${salt}${long}")];
        let all = [&dear[..], &broken[..], &unknown[..]].concat();
        let line = |(n, hash): (usize, &String)| json!({"external_id": n.to_string(), "email": format!("u{n}@example.com"), "password_hash": hash});
        let lines: Vec<Value> = all.iter().enumerate().map(line).collect();
        let done = bring(world, &tenant, ("users", &lines)).await;
        let codes: Vec<(String, String)> = errors(&done).into_iter().map(|(_, field, code)| (field, code)).collect();
        let expected = [("out_of_range", dear.len()), ("invalid", broken.len()), ("unknown", unknown.len())];
        let expected: Vec<_> = expected.iter().flat_map(|(code, n)| vec![("password_hash".to_owned(), (*code).to_owned()); *n]).collect();
        assert_eq!(codes, expected, "{done}");
        assert_eq!((world.number("select count(*) from users").await, foreign(world).await), (0, 0));
        // A zero byte: some systems do not see what comes after it, so nothing does.
        users(world, &tenant, &[json!({"external_id": "z", "email": "z@example.com", "password_hash": bcrypt_of("ab\0cd")})]).await;
        for password in ["ab\0cd", "ab", "ab\0xy"] {
            sign(world, &tenant, ("in", "z@example.com", password)).await.refused(401, "invalid_credentials");
        }
    }

    async fn each_limit_says_what_it_is_and_nothing_of_the_body_stays(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| {
            config.import_body_limit_bytes = 4_000;
            config.import_line_limit_bytes = 200;
            config.import_lines_limit = 5;
            config.import_jobs_limit = 2;
        }).await;
        let by = &tenant.server;
        let rows = world.number("select count(*) from audit").await;
        let line = "{\"external_id\":\"u\"}\n";
        for path in ["/v1/users/import", "/v1/devices/import"] {
            let send = async |text: &str| send(world, path, (by, text), None).await;
            let said = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
            assert!(said(send(&"x".repeat(4_001)).await.refused(413, "body_too_large")).contains("4000 bytes"));
            assert!(said(send(&format!("{line}{}", "x".repeat(201))).await.refused(413, "line_too_long")).contains("Line 2 has more than 200"));
            assert!(said(send(&line.repeat(6)).await.refused(413, "too_many_lines")).contains("at most 5 lines"));
            send("").await.refused(400, "no_lines");
            send(" \r\n\n").await.refused(400, "no_lines");
            world.post(path, by, json!({"external_id": "u"})).await.refused(415, "unsupported_media_type");
            let long = world.call("POST", path).by(by).header("Idempotency-Key", &"k".repeat(256)).text("application/x-ndjson", line);
            long.send().await.refused_field(400, "validation_failed", "Idempotency-Key");
        }
        // What was refused is forgotten, and is no entry of the audit log.
        assert_eq!(world.number("select (select count(*) from imports) + (select count(*) from import_chunks)").await, 0);
        assert_eq!(world.number("select count(*) from audit").await, rows);
        for _ in 0..2 {
            send(world, "/v1/users/import", (by, line), None).await.expect(202);
        }
        assert_eq!(world.number("select count(*) from audit").await, rows + 2);
        let full = send(world, "/v1/users/import", (by, line), None).await;
        assert_eq!(full.header("retry-after"), Some("10"));
        full.refused(429, "too_many_imports");
        // Bodies whose connection or server has died take nobody's place for long.
        let dead = format!("update imports set state = 'receiving' where app_id = '{}'", tenant.id);
        let alive = format!("update imports set state = 'waiting' where app_id = '{}' and state = 'receiving'", tenant.id);
        let long_ago = format!("update imports set worked_ms = worked_ms - 120001 where app_id = '{}'", tenant.id);
        let (dead_too, alive_too) = (format!("{dead};{long_ago}"), alive.clone());
        world.kairos.platform.store.write(move |conn| conn.batch(&dead)).await.unwrap();
        send(world, "/v1/users/import", (by, line), None).await.refused(429, "too_many_imports");
        world.kairos.platform.store.write(move |conn| conn.batch(&dead_too)).await.unwrap();
        send(world, "/v1/users/import", (by, line), None).await.expect(202);
        world.kairos.platform.store.write(move |conn| conn.batch(&alive_too)).await.unwrap();
        let other = world.new_app("Orsay").await;
        send(world, "/v1/users/import", (&other.server, line), None).await.expect(202);
        world.drain().await;
        send(world, "/v1/users/import", (by, &line.repeat(5)), None).await.expect(202);
        world.drain().await;
        // A body that broke off when the process died, and jobs that were done long ago.
        let half = format!("update imports set state = 'receiving', finished_ms = null where app_id = '{}'", other.id);
        world.kairos.platform.store.write(move |conn| conn.batch(&half)).await.unwrap();
        world.advance(Duration::from_secs(3_601)).await;
        assert_eq!(world.number("select count(*) from imports").await, 4);
        world.advance(Duration::from_millis(u64::try_from(30 * DAY_MS).unwrap())).await;
        assert_eq!(world.number("select count(*) from imports").await, 0);
    }

    async fn the_same_key_answers_the_same_import(world) {
        let tenant = world.new_app("Louvre").await;
        let (by, one, two) = (&tenant.server, "{\"external_id\":\"1\"}\n", "{\"external_id\":\"2\"}\n");
        let first = send(world, "/v1/users/import", (by, one), Some("k1")).await.expect(202);
        let again = send(world, "/v1/users/import", (by, one), Some("k1")).await;
        assert_eq!(again.header("location").unwrap(), format!("/v1/imports/{}", first["id"].as_str().unwrap()));
        assert_eq!(again.expect(202)["id"], first["id"]);
        world.drain().await;
        let late = send(world, "/v1/users/import", (by, one), Some("k1")).await.expect(202);
        assert_eq!((&late["id"], &late["state"], figures(&late)), (&first["id"], &json!("done"), (1, 0, 0)));
        send(world, "/v1/users/import", (by, two), Some("k1")).await.refused_field(422, "idempotency_key_reused", "Idempotency-Key");
        assert_ne!(send(world, "/v1/users/import", (by, two), Some("k2")).await.expect(202)["id"], first["id"]);
        // A key is a caller's of one app, for one kind.
        let other = world.new_app("Orsay").await;
        assert_ne!(send(world, "/v1/users/import", (&other.server, one), Some("k1")).await.expect(202)["id"], first["id"]);
        assert_ne!(send(world, "/v1/devices/import", (by, one), Some("k1")).await.expect(202)["id"], first["id"]);
        // Sent at once by several they are one.
        let text = body(&(0..300).map(|n| json!({"external_id": format!("m{n}")})).collect::<Vec<_>>());
        let all = futures_util::future::join_all((0..6).map(|_| send(world, "/v1/users/import", (by, &text), Some("k3")))).await;
        let ids: std::collections::BTreeSet<String> = all.iter().map(|answer| answer.expect(202)["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        world.drain().await;
        assert_eq!(world.number("select count(*) from users").await, 303);
    }

    async fn an_import_goes_on_where_it_was_when_the_server_comes_back(world) {
        let tenant = world.new_app("Louvre").await;
        let hash = bcrypt_of(GOOD);
        let line = |n: usize| json!({"external_id": format!("u{n}"), "email": format!("u{n}@example.com"), "password_hash": hash});
        let mut lines: Vec<Value> = (0..1_000).map(line).collect();
        lines[555] = json!({"nothing": 1});
        lines[560] = line(7);
        let job = send(world, "/v1/users/import", (&tenant.server, &body(&lines)), None).await.expect(202);
        assert_eq!((&job["state"], &job["lines"], &job["done"]), (&json!("waiting"), &json!(1_000), &json!(0)));
        for done in [100, 200, 300] {
            assert_eq!(import::step(&world.kairos.platform).await.unwrap(), Progress::More);
            let now = look(world, &tenant, &job).await;
            assert_eq!((&now["state"], &now["done"]), (&json!("running"), &json!(done)));
            // What is counted is there, and is no longer among the lines that wait.
            assert_eq!(world.number("select count(*) from users").await, done);
            assert_eq!(world.number("select coalesce(sum(lines), 0) from import_chunks").await, 1_000 - done);
        }
        world.restart(|_| ()).await;
        // A chunk that cannot be counted has not been worked on: whatever goes wrong in between, its lines are there again.
        let (stop, go) = match world.database.db() {
            Db::Sqlite => (
                "create trigger stop before update on imports begin select raise(abort, 'stop'); end",
                "drop trigger stop",
            ),
            Db::Postgres => (
                "create function stop() returns trigger language plpgsql as 'begin raise exception ''stop''; end'; \
                 create trigger stop before update on imports for each row execute function stop()",
                "drop trigger stop on imports; drop function stop",
            ),
        };
        world.kairos.platform.store.write(|conn| conn.batch(stop)).await.unwrap();
        assert!(import::step(&world.kairos.platform).await.is_err());
        assert_eq!(look(world, &tenant, &job).await["done"], 300);
        assert_eq!(world.number("select count(*) from users").await, 300);
        assert_eq!(world.number("select coalesce(sum(lines), 0) from import_chunks").await, 700);
        world.kairos.platform.store.write(|conn| conn.batch(go)).await.unwrap();
        world.drain().await;
        let done = look(world, &tenant, &job).await;
        assert_eq!((&done["state"], figures(&done), errors(&done)), (&json!("done"), (998, 1, 1), vec![wrong(556, "nothing", "unknown")]));
        assert_eq!(world.number("select count(*) from users").await, 998);
        assert_eq!(world.number("select count(*) from import_chunks").await, 0);
        assert_eq!(done["finished_at"], world.time(0));
        sign(world, &tenant, ("in", "u999@example.com", GOOD)).await.expect(200);
    }

    async fn ten_thousand_lines_are_one_import_also_with_two_nodes_at_work(world) {
        let tenant = world.new_app("Louvre").await;
        let other = world.new_app("Orsay").await;
        let hash = bcrypt_of(GOOD);
        let line = |n: usize| json!({"external_id": format!("u{n}"), "email": format!("u{n}@example.com"), "email_verified": true,
            "password_hash": hash});
        let text = body(&(0..10_000).map(line).collect::<Vec<_>>());
        let job = send(world, "/v1/users/import", (&tenant.server, &text), None).await.expect(202);
        // A short one of another app does not wait for the long one.
        let short = send(world, "/v1/users/import", (&other.server, "{\"external_id\":\"1\"}"), None).await.expect(202);
        world.clock.advance(Duration::from_millis(1));
        for _ in 0..2 {
            import::step(&world.kairos.platform).await.unwrap();
        }
        assert_eq!(look(world, &other, &short).await["state"], "done");
        let second = Kairos::open(world.kairos.platform.config.clone(), world.clock.clone()).await.unwrap();
        world.drain_beside(&second).await;
        world.drain().await;
        let done = look(world, &tenant, &job).await;
        assert_eq!((&done["state"], figures(&done)), (&json!("done"), (10_000, 0, 0)), "{done}");
        assert_eq!(world.number("select count(*) from users").await, 10_001);
        assert_eq!(foreign(world).await, 10_000);
        sign(world, &tenant, ("in", "u9999@example.com", GOOD)).await.expect(200);
        // Nothing of it is another app's.
        world.get(&format!("/v1/imports/{}", job["id"].as_str().unwrap()), &other.server).await.refused(404, "not_found");
        assert_eq!(by_external(world, &other, "u7").await, Value::Null);
        sign(world, &other, ("in", "u1@example.com", GOOD)).await.refused(401, "invalid_credentials");
    }

    async fn who_was_erased_does_not_come_back_by_an_old_list(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = json!({"external_id": "ada", "email": "ada@example.com", "email_verified": true, "password_hash": bcrypt_of(GOOD)});
        let joe = json!({"email": "joe@example.com", "password_hash": bcrypt_of(GOOD)});
        users(world, &tenant, &[ada.clone(), joe.clone()]).await;
        world.patch("/v1/app", &tenant.server, json!({"settings": {"erasure_undo_ms": 60_000}})).await.expect(200);
        let all = world.get("/v1/users", &tenant.server).await.expect(200);
        // Lines that wait while somebody leaves find them leaving, and gone later.
        let job = send(world, "/v1/users/import", (&tenant.server, &body(&[ada.clone(), joe.clone()])), None).await.expect(202);
        for user in all["items"].as_array().unwrap() {
            world.delete(&format!("/v1/users/{}", user["id"].as_str().unwrap()), &tenant.server).await.expect(202);
        }
        world.drain().await;
        let leaving = look(world, &tenant, &job).await;
        assert_eq!(errors(&leaving), [wrong(1, "external_id", "leaving"), wrong(2, "email", "leaving")]);
        world.advance(Duration::from_secs(61)).await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(world.number("select (select count(*) from users) + (select count(*) from foreign_passwords) + (select count(*) from emails)").await, 0);
        let gone = bring(world, &tenant, ("users", &[ada.clone(), joe.clone(), json!({"external_id": "new", "email": "joe@example.com"})])).await;
        assert_eq!(errors(&gone), [wrong(1, "external_id", "erased"), wrong(2, "email", "erased"), wrong(3, "external_id", "erased")]);
        assert_eq!(world.number("select count(*) from users").await, 0);
        sign(world, &tenant, ("in", "ada@example.com", GOOD)).await.refused(401, "invalid_credentials");
        // Who has really come back is made by name, and known to the next list.
        world.post("/v1/users", &tenant.server, json!({"external_id": "ada"})).await.expect(201);
        assert_eq!(figures(&users(world, &tenant, &[ada]).await), (0, 1, 0));
        sign(world, &tenant, ("in", "ada@example.com", GOOD)).await.expect(200);
    }

    async fn devices_move_in_with_their_tokens(world) {
        let tenant = world.new_app("Louvre").await;
        users(world, &tenant, &[json!({"external_id": "1"}), json!({"external_id": "2"})]).await;
        let two = by_external(world, &tenant, "2").await["id"].clone();
        let token = |n: u8| format!("{n:02x}").repeat(32);
        let done = bring(world, &tenant, ("devices", &[
            json!({"external_id": "1", "installation_id": "phone-1", "platform": "ios", "token": token(1), "topic": "app.kairos.demo", "push_permission": "granted"}),
            json!({"user_id": two, "installation_id": "phone-2", "platform": "android", "token": "fcm:APA91b", "time_zone": "Europe/Zurich"}),
            json!({"external_id": "1", "installation_id": "phone-1", "platform": "ios", "token": token(3), "topic": "app.kairos.demo"}),
            json!({"external_id": "3", "installation_id": "phone-3", "platform": "ios"}),
            json!({"user_id": "usr_00000000000070008000000000000000", "installation_id": "phone-3", "platform": "ios"}),
            json!({"external_id": "1", "user_id": two, "installation_id": "phone-3", "platform": "ios"}),
            json!({"external_id": "1", "installation_id": "no phone", "platform": "ios"}),
            json!({"external_id": "1", "platform": "ios"}),
            json!({"external_id": "1", "installation_id": "phone-3", "platform": "fridge"}),
            json!({"external_id": "1", "installation_id": "phone-3", "platform": "ios", "token": "not hex", "topic": "a.b"}),
            json!({"external_id": "1", "installation_id": "phone-3", "platform": "ios", "toke": "x"}),
            // The token moves, as it does when a phone registers.
            json!({"external_id": "1", "installation_id": "phone-4", "platform": "android", "token": "fcm:APA91b"}),
        ])).await;
        assert_eq!(figures(&done), (3, 1, 8), "{done}");
        assert_eq!(errors(&done), [
            wrong(4, "external_id", "unknown"),
            wrong(5, "user_id", "unknown"),
            wrong(6, "user_id", "invalid"),
            wrong(7, "installation_id", "invalid"),
            wrong(8, "installation_id", "required"),
            wrong(9, "platform", "invalid"),
            wrong(10, "token", "invalid"),
            wrong(11, "toke", "unknown"),
        ]);
        let of = async |user: &Value| {
            let page = world.get(&format!("/v1/users/{}/devices", user.as_str().unwrap()), &tenant.server).await.expect(200);
            let all = page["items"].as_array().unwrap().iter();
            all.map(|device| (device["installation_id"].as_str().unwrap().to_owned(), device["has_token"] == true)).collect::<Vec<_>>()
        };
        assert_eq!(of(&by_external(world, &tenant, "1").await["id"]).await, [("phone-1".to_owned(), true), ("phone-4".to_owned(), true)]);
        assert_eq!(of(&two).await, [("phone-2".to_owned(), false)]);
        let held = world.lines("select token as line from devices where token is not null order by 1").await;
        assert_eq!(held, [token(3), "fcm:APA91b".to_owned()]);
    }
}
