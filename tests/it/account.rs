//! Accounts: sign-up, sign-in, refresh tokens, sign-out.

use crate::world::{Answer, Caller, Person, Tenant, World};
use kairos::clock::DAY_MS;
use kairos::http::{ClientAddress, TrustedProxies};
use kairos::people::account::{Life, Presented, SessionState, Verdict, check_email, check_password, judge};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const GOOD: &str = "correct horse battery";

fn pair(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

async fn refresh(world: &World, tenant: &Tenant, token: &str) -> Answer {
    world.post("/v1/auth/refresh", &tenant.phone, json!({ "refresh_token": token })).await
}

/// Whether a token opens anything.
async fn speaks(world: &World, token: &Caller) -> bool {
    let Caller::Bearer(token) = token else { unreachable!() };
    match world.kairos.accounts().verify(token).await {
        Ok(_) => true,
        Err(kairos::error::Error::Refused(problem)) if problem.status == 401 => false,
        Err(other) => panic!("{other}"),
    }
}

fn hashes(world: &World) -> u64 {
    world.kairos.accounts().hasher().count()
}

both! {
    async fn a_user_signs_up_signs_in_and_out(world) {
        let tenant = world.new_app("Louvre").await;
        let up = world.post("/v1/auth/sign-up", &tenant.phone, pair("Ada@Example.com", GOOD)).await;
        assert_eq!(up.header("cache-control"), Some("no-store"));
        let up = up.expect(200);
        assert_eq!((&up["expires_in"], &up["user"]["anonymous"]), (&json!(600), &json!(false)));
        let signed_in = world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        assert_eq!(up["user"]["id"], signed_in["user"]["id"]);
        assert_ne!(up["access_token"], signed_in["access_token"]);
        let (first, second) = (Person::from(&up), Person::from(&signed_in));
        world.post("/v1/auth/sign-out", &first.token, json!({})).await.expect(204);
        assert!(!speaks(world, &first.token).await, "an access token must not outlive its session");
        refresh(world, &tenant, &first.refresh_token).await.refused(401, "invalid_refresh_token");
        assert!(speaks(world, &second.token).await);
        refresh(world, &tenant, &second.refresh_token).await.expect(200);
    }

    async fn sixty_four_refreshes_at_once_get_one_child(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let all = futures_util::future::join_all((0..64).map(|_| refresh(world, &tenant, &person.refresh_token))).await;
        let children: BTreeSet<String> =
            all.iter().map(|a| a.expect(200)["refresh_token"].as_str().unwrap().to_owned()).collect();
        assert_eq!(children.len(), 1);
        refresh(world, &tenant, children.first().unwrap()).await.expect(200);
    }

    async fn a_lost_answer_logs_nobody_out(world) {
        let tenant = world.new_app("Louvre").await;
        let mut token = world.person(&tenant).await.refresh_token;
        for _ in 0..4 {
            let lost = refresh(world, &tenant, &token).await.expect(200);
            world.advance(Duration::from_secs(86_400)).await;
            let again = refresh(world, &tenant, &token).await.expect(200);
            assert_eq!(lost["refresh_token"], again["refresh_token"]);
            token = again["refresh_token"].as_str().unwrap().to_owned();
        }
    }

    async fn a_grandparent_ends_the_session_and_all_its_tokens(world) {
        let tenant = world.new_app("Louvre").await;
        let grandparent = world.person(&tenant).await;
        let parent = Person::from(&refresh(world, &tenant, &grandparent.refresh_token).await.expect(200));
        let child = Person::from(&refresh(world, &tenant, &parent.refresh_token).await.expect(200));
        let newest = Person::from(&refresh(world, &tenant, &child.refresh_token).await.expect(200));
        assert!(speaks(world, &newest.token).await);
        refresh(world, &tenant, &grandparent.refresh_token).await.refused(401, "invalid_refresh_token");
        assert!(!speaks(world, &newest.token).await);
        for token in [&parent, &child, &newest] {
            refresh(world, &tenant, &token.refresh_token).await.refused(401, "invalid_refresh_token");
        }
        assert_eq!(world.number("select count(*) from sessions where end_reason = 'refresh_reused'").await, 1);
    }

    async fn a_parent_that_comes_late_is_refused_and_much_later_ends_the_session(world) {
        let tenant = world.new_app("Louvre").await;
        let parent = world.person(&tenant).await.refresh_token;
        let child = Person::from(&refresh(world, &tenant, &parent).await.expect(200)).refresh_token;
        refresh(world, &tenant, &child).await.expect(200);
        refresh(world, &tenant, &parent).await.refused(401, "invalid_refresh_token");
        refresh(world, &tenant, &child).await.expect(200);
        world.advance(Duration::from_secs(30)).await;
        refresh(world, &tenant, &parent).await.refused(401, "invalid_refresh_token");
        refresh(world, &tenant, &child).await.refused(401, "invalid_refresh_token");
    }

    async fn a_session_ends_after_ninety_days_without_use_and_not_before(world) {
        let tenant = world.new_app("Louvre").await;
        let token = world.person(&tenant).await.refresh_token;
        world.advance(Duration::from_secs(90 * 86_400 - 1)).await;
        let token = Person::from(&refresh(world, &tenant, &token).await.expect(200)).refresh_token;
        world.advance(Duration::from_secs(90 * 86_400)).await;
        refresh(world, &tenant, &token).await.refused(401, "invalid_refresh_token");
    }

    async fn an_access_token_ends_with_its_time(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        world.advance(Duration::from_secs(599)).await;
        assert!(speaks(world, &person.token).await);
        world.advance(Duration::from_secs(1)).await;
        assert!(!speaks(world, &person.token).await);
    }

    async fn a_token_of_one_app_is_nothing_to_another(world) {
        let (louvre, orsay) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let person = world.person(&louvre).await;
        refresh(world, &orsay, &person.refresh_token).await.refused(401, "invalid_refresh_token");
        world.post("/v1/auth/sign-up", &louvre.phone, pair("ada@example.com", GOOD)).await.expect(200);
        world.post("/v1/auth/sign-in", &orsay.phone, pair("ada@example.com", GOOD)).await.refused(401, "invalid_credentials");
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let upgrade = world.call("POST", "/v1/auth/sign-up").by(&orsay.phone).header("Authorization", &format!("Bearer {token}"));
        upgrade.json(&pair("eve@example.com", GOOD)).send().await.refused(401, "unauthorized");
    }

    async fn a_token_that_we_did_not_sign_is_refused(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        for forged in forgeries(token) {
            assert!(!speaks(world, &Caller::Bearer(forged.clone())).await, "{forged}");
        }
        assert!(!speaks(world, &Caller::Bearer(person.refresh_token.clone())).await, "a refresh token is no access token");
        refresh(world, &tenant, token).await.refused(401, "invalid_refresh_token");
        let stretched = person.refresh_token.replacen("_0_", "_1_", 1);
        refresh(world, &tenant, &stretched).await.refused(401, "invalid_refresh_token");
        assert!(speaks(world, &person.token).await, "a forged refresh token must not end the session");
    }

    async fn the_published_key_checks_our_tokens_and_says_nothing_private(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let keys = world.get("/.well-known/jwks.json", &Caller::Nobody).await.expect(200);
        let key = &keys["keys"][0];
        assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert!(key.get("d").is_none(), "{key}");
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let header = part(token, 0);
        assert_eq!((&header["typ"], &header["kid"]), (&json!("at+jwt"), &key["kid"]));
        let claims = part(token, 1);
        assert_eq!((&claims["iss"], &claims["aud"], &claims["sub"]), (&json!("http://kairos.test"), &json!(tenant.id.to_string()), &json!(person.id)));
        // Another program's library must be able to check it.
        let decoding = jsonwebtoken::DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        rules.set_audience(&[tenant.id.to_string()]);
        rules.validate_exp = false;
        jsonwebtoken::decode::<Value>(token, &decoding, &rules).unwrap();
    }

    async fn tokens_outlive_a_restart(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let ended = world.person(&tenant).await;
        world.post("/v1/auth/sign-out", &ended.token, json!({})).await.expect(204);
        world.restart(|_| {}).await;
        assert!(speaks(world, &person.token).await);
        assert!(!speaks(world, &ended.token).await);
        refresh(world, &tenant, &person.refresh_token).await.expect(200);
    }

    async fn nobody_learns_from_an_answer_whether_an_email_is_known(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        let shape = |answer: &Answer| {
            let body = answer.json();
            let keys: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
            let user: Vec<String> = body["user"].as_object().map(|u| u.keys().cloned().collect()).unwrap_or_default();
            (answer.status, keys, user, body["user"]["anonymous"].clone(), body["detail"].clone())
        };
        let before = hashes(world);
        let known = world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", "wrong password")).await;
        assert_eq!(hashes(world), before + 1);
        let unknown = world.post("/v1/auth/sign-in", &tenant.phone, pair("eve@example.com", "wrong password")).await;
        assert_eq!(hashes(world), before + 2);
        assert_eq!(shape(&known), shape(&unknown));
        known.refused(401, "invalid_credentials");

        let known = world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", "another password")).await;
        assert_eq!(hashes(world), before + 3);
        let unknown = world.post("/v1/auth/sign-up", &tenant.phone, pair("eve@example.com", "another password")).await;
        assert_eq!(hashes(world), before + 4);
        let same = world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await;
        assert_eq!(hashes(world), before + 5);
        assert_eq!(shape(&known), shape(&unknown));
        assert_eq!(shape(&known), shape(&same));
        // Whoever claims an e-mail with another password gets an account of their own, never Ada's.
        assert_ne!(known.expect(200)["user"]["id"], ada["user"]["id"]);
        assert_eq!(same.expect(200)["user"]["id"], ada["user"]["id"]);
        let signed_in = world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        assert_eq!(signed_in["user"]["id"], ada["user"]["id"]);
    }

    async fn one_pair_that_signs_up_many_times_at_once_is_one_user(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_account_per_minute = 1_000).await;
        let all = (0..8).map(|_| world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)));
        let all = futures_util::future::join_all(all).await;
        let users: BTreeSet<String> = all.iter().map(|a| a.expect(200)["user"]["id"].to_string()).collect();
        assert_eq!(users.len(), 1);
        assert_eq!(world.number("select count(*) from users").await, 1);
    }

    async fn an_anonymous_user_gets_an_account_and_stays_who_it_is(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let ask = || world.call("POST", "/v1/auth/sign-up").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        let up = ask().json(&pair("ada@example.com", GOOD)).send().await.expect(200);
        assert_eq!((&up["user"]["id"], &up["user"]["anonymous"]), (&json!(person.id), &json!(false)));
        assert!(!speaks(world, &person.token).await, "a session of the anonymous user must not become one of the account");
        let Caller::Bearer(token) = Person::from(&up).token else { unreachable!() };
        let again = world.call("POST", "/v1/auth/sign-up").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        again.json(&pair("eve@example.com", GOOD)).send().await.refused(409, "not_anonymous");
    }

    async fn a_session_is_replaced_by_one_account_alone(world) {
        let tenant = world.new_app("Louvre").await;
        let person = world.person(&tenant).await;
        let Caller::Bearer(token) = &person.token else { unreachable!() };
        let asked = ["ada@example.com", "eve@example.com"].map(|email| {
            let ask = world.call("POST", "/v1/auth/sign-up").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
            tokio::spawn(ask.json(&pair(email, GOOD)).send())
        });
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap().status);
        }
        answers.sort_unstable();
        assert!(matches!(answers[..], [200, 401 | 409]), "{answers:?}");
        assert_eq!(world.number("select count(*) from passwords").await, 1);
    }

    async fn who_signs_in_to_an_account_ends_the_anonymous_session_and_no_other(world) {
        let tenant = world.new_app("Louvre").await;
        let ada = world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        for path in ["/v1/auth/sign-up", "/v1/auth/sign-in"] {
            let person = world.person(&tenant).await;
            let Caller::Bearer(token) = &person.token else { unreachable!() };
            let ask = || world.call("POST", path).by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
            world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", "wrong password")).await.refused(401, "invalid_credentials");
            assert!(speaks(world, &person.token).await, "a wrong password must end nothing");
            assert_eq!(ask().json(&pair("ada@example.com", GOOD)).send().await.expect(200)["user"]["id"], ada["user"]["id"]);
            assert!(!speaks(world, &person.token).await, "{path}");
        }
        assert!(speaks(world, &Person::from(&ada).token).await);
        // Who is signed in already may sign in as somebody else beside it.
        let Caller::Bearer(token) = Person::from(&ada).token else { unreachable!() };
        world.post("/v1/auth/sign-up", &tenant.phone, pair("eve@example.com", GOOD)).await.expect(200);
        let beside = world.call("POST", "/v1/auth/sign-in").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        beside.json(&pair("eve@example.com", GOOD)).send().await.expect(200);
        assert!(speaks(world, &Person::from(&ada).token).await);
    }

    async fn a_proof_makes_a_new_session_in_place_of_the_old_one(world) {
        let tenant = world.new_app("Louvre").await;
        let up = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200));
        let device = json!({"platform": "ios", "token": "ab".repeat(32), "topic": "a.b", "push_permission": "granted"});
        world.put("/v1/me/devices/phone-1", &up.token, device).await.expect(201);
        world.post("/v1/auth/step-up", &up.token, json!({"password": "wrong password"})).await.refused(401, "invalid_credentials");
        assert!(speaks(world, &up.token).await);
        world.advance(Duration::from_secs(60)).await;
        let again = Person::from(&world.post("/v1/auth/step-up", &up.token, json!({"password": GOOD})).await.expect(200));
        assert_eq!(again.id, up.id);
        assert!(!speaks(world, &up.token).await);
        refresh(world, &tenant, &up.refresh_token).await.refused(401, "invalid_refresh_token");
        let Caller::Bearer(token) = &again.token else { unreachable!() };
        let claims = part(token, 1);
        assert_eq!((&claims["amr"], &claims["auth_time"]), (&json!(["pwd"]), &claims["iat"]));
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1, "the phone stays reachable");
        let nobody = world.person(&tenant).await;
        world.post("/v1/auth/step-up", &nobody.token, json!({"password": GOOD})).await.refused(409, "no_email");
    }

    async fn a_new_password_ends_every_other_session(world) {
        let tenant = world.new_app("Louvre").await;
        let sign_in = |password: &'static str| world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", password));
        let up = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200));
        let other = Person::from(&sign_in(GOOD).await.expect(200));
        let eve = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair("eve@example.com", GOOD)).await.expect(200));
        let change = |old: Option<&str>, new: &str| {
            let mut body = json!({ "new_password": new });
            if let Some(old) = old {
                body["password"] = json!(old);
            }
            world.post("/v1/auth/password/change", &up.token, body)
        };
        change(Some("wrong password"), "a new password").await.refused(401, "invalid_credentials");
        change(None, "a new password").await.refused_field(400, "validation_failed", "password");
        change(Some(GOOD), "short").await.refused_field(400, "validation_failed", "new_password");
        assert!(speaks(world, &other.token).await);
        let changed = Person::from(&change(Some(GOOD), "a new password").await.expect(200));
        for gone in [&up, &other] {
            assert!(!speaks(world, &gone.token).await);
            refresh(world, &tenant, &gone.refresh_token).await.refused(401, "invalid_refresh_token");
        }
        assert!(speaks(world, &changed.token).await && speaks(world, &eve.token).await);
        sign_in(GOOD).await.refused(401, "invalid_credentials");
        assert_eq!(sign_in("a new password").await.expect(200)["user"]["id"], json!(changed.id));
        // Each try at an address that is not proven counts: wait.
        world.advance(Duration::from_secs(60)).await;
        // Another account that claims the same address and has this password already is not told apart from this one.
        world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", "somebody else's")).await.expect(200);
        let taken = json!({"password": "a new password", "new_password": "somebody else's"});
        world.post("/v1/auth/password/change", &changed.token, taken).await.refused_field(400, "validation_failed", "new_password");
    }

    async fn failures_make_known_and_unknown_accounts_wait_longer_and_longer(world) {
        let tenant = world.new_app("Louvre").await;
        world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        world.advance(Duration::from_secs(60)).await;
        for email in ["ada@example.com", "eve@example.com"] {
            for _ in 0..6 {
                world.post("/v1/auth/sign-in", &tenant.phone, pair(email, "wrong password")).await.refused(401, "invalid_credentials");
            }
            let before = hashes(world);
            let wrong = world.post("/v1/auth/sign-in", &tenant.phone, pair(email, "wrong password")).await;
            assert_eq!(wrong.header("retry-after"), Some("60"));
            let right = world.post("/v1/auth/sign-in", &tenant.phone, pair(email, GOOD)).await;
            assert_eq!((wrong.status, wrong.json()["detail"].clone()), (right.status, right.json()["detail"].clone()));
            wrong.refused(429, "too_many_attempts");
            assert_eq!(hashes(world), before, "an attempt that is refused must cost no hash");
        }
        world.advance(Duration::from_secs(60)).await;
        world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        let mut waits = Vec::new();
        for _ in 0..120 {
            let wrong = world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", "wrong password")).await;
            let Some(wait) = wrong.header("retry-after") else { continue };
            waits.push(wait.parse::<u64>().unwrap());
            world.advance(Duration::from_secs(waits[waits.len() - 1])).await;
            if waits[waits.len() - 1] > 4 * 3_600 {
                break;
            }
        }
        let longest: Vec<u64> = [0, 60, 15 * 60, 3 * 3_600].into_iter().filter(|least| waits.iter().any(|wait| wait > least)).collect();
        assert_eq!(longest.len(), 4, "{waits:?}");
        world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
    }

    async fn an_account_takes_a_hundred_failures_a_day(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_account_per_minute = 1_000).await;
        // Her sign-up counts too: no answer may tell whether a pair that is new is one by a wrong password.
        world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        let (mut failures, begin_ms) = (1, world.now_ms());
        for n in 0.. {
            let (path, password) = if n % 2 == 0 { ("/v1/auth/sign-in", "wrong password".to_owned()) } else { ("/v1/auth/sign-up", format!("wrong password {n}")) };
            let answer = world.post(path, &tenant.phone, pair("ada@example.com", &password)).await;
            match answer.header("retry-after") {
                Some(wait) => {
                    world.clock.advance(Duration::from_secs(wait.parse().unwrap()));
                    if world.now_ms() - begin_ms > 13 * 3_600_000 {
                        break;
                    }
                }
                None => failures += 1,
            }
        }
        assert!((50..=100).contains(&failures), "{failures}");
        world.advance(Duration::from_secs(86_400)).await;
        world.post("/v1/auth/sign-in", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
    }

    async fn failures_of_one_network_make_it_wait_longer_and_longer(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.trusted_proxies = "127.0.0.0/8".to_owned()).await;
        let sign_in = async |from: &str, email: &str, password: &str| {
            let proxied = world.call("POST", "/v1/auth/sign-in").by(&tenant.phone).header("X-Forwarded-For", from);
            proxied.json(&pair(email, password)).send().await
        };
        world.post("/v1/auth/sign-up", &tenant.phone, pair("ada@example.com", GOOD)).await.expect(200);
        let (mut guesses, mut waits) = (0, Vec::new());
        // Each guess from another address of one customer's network, at another account.
        while waits.len() < 6 {
            let (from, email) = (format!("2001:db8:0:7:{guesses:x}::1"), format!("guess{guesses}@example.com"));
            let answer = sign_in(&from, &email, "wrong password").await;
            guesses += 1;
            let Some(wait) = answer.header("retry-after") else {
                answer.refused(401, "invalid_credentials");
                continue;
            };
            if waits.is_empty() {
                assert_eq!((guesses, wait), (41, "60"), "forty in a minute");
            }
            waits.push(wait.parse::<u64>().unwrap());
            // The right password does not get through from there either; from the network beside it does.
            sign_in("2001:db8:0:7:ffff::1", "ada@example.com", GOOD).await.refused(429, "too_many_attempts");
            sign_in("2001:db8:0:8::1", "ada@example.com", GOOD).await.expect(200);
            world.advance(Duration::from_secs(waits[waits.len() - 1])).await;
        }
        assert!(waits.iter().any(|wait| *wait > 60), "{waits:?}");
        sign_in("2001:db8:0:7:ffff::1", "ada@example.com", GOOD).await.expect(200);
    }

    async fn one_address_may_not_try_without_end(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_address_per_minute = 3).await;
        for _ in 0..3 {
            world.post("/v1/auth/anonymous", &tenant.phone, json!({})).await.expect(200);
        }
        // Nobody in front of this server is trusted: what a client claims of its address counts for nothing.
        let forged = world.call("POST", "/v1/auth/anonymous").by(&tenant.phone).header("X-Forwarded-For", "203.0.113.9");
        forged.json(&json!({})).send().await.refused(429, "too_many_attempts");
        world.restart(|config| config.trusted_proxies = "127.0.0.0/8".to_owned()).await;
        for n in 0..6 {
            let proxied = world.call("POST", "/v1/auth/anonymous").by(&tenant.phone).header("X-Forwarded-For", &format!("203.0.113.{n}"));
            proxied.json(&json!({})).send().await.expect(200);
        }
    }

    async fn bad_input_is_refused_by_the_name_of_its_field(world) {
        let tenant = world.new_app("Louvre").await;
        let long = "x".repeat(257);
        for (body, field) in [
            (pair("ada", GOOD), "email"),
            (pair("ada@example.com", "short"), "password"),
            (pair("ada@example.com", &long), "password"),
            (json!({ "email": "ada@example.com" }), "password"),
            (json!({ "email": 1, "password": GOOD }), "email"),
            (json!({ "email": "ada@example.com", "password": { "$ne": "" } }), "password"),
            (json!({ "email": "ada@example.com", "password": GOOD, "id": "usr_1" }), "id"),
            (json!({ "email": "ada@example.com", "password": GOOD, "anonymous": false }), "anonymous"),
        ] {
            let answer = world.post("/v1/auth/sign-up", &tenant.phone, body).await;
            answer.refused_field(400, "validation_failed", field);
        }
        assert_eq!(world.number("select count(*) from users").await, 0);
        assert_eq!(hashes(world), 0);
    }

    async fn a_test_key_cannot_refresh_a_live_session(world) {
        let tenant = world.new_app("Louvre").await;
        let body = json!({ "kind": "publishable", "mode": "test", "name": "t" });
        let test = world.post("/v1/keys", &tenant.server, body).await.expect(201);
        let test = Caller::App(test["secret"].as_str().unwrap().to_owned());
        let person = world.person(&tenant).await;
        world.post("/v1/auth/refresh", &test, json!({ "refresh_token": person.refresh_token })).await.refused(401, "invalid_refresh_token");
        refresh(world, &tenant, &person.refresh_token).await.expect(200);
    }
}

fn part(token: &str, n: usize) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The same claims under other headers, with other claims, with a broken signature.
fn forgeries(token: &str) -> Vec<String> {
    use base64::Engine as _;
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = token.split('.').collect();
    let header = part(token, 0);
    let mut out = vec![
        String::new(),
        "a.b.c".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len())),
    ];
    for (name, value) in [("alg", "none"), ("alg", "HS256"), ("typ", "JWT"), ("kid", "other"), ("kid", "../../etc/passwd")] {
        let mut header = header.clone();
        header[name] = json!(value);
        out.push(format!("{}.{}.{}", encode(&header), parts[1], parts[2]));
    }
    for (name, value) in
        [("exp", json!(i64::MAX)), ("sub", json!("usr_00000000000070008000000000000000")), ("iss", json!("https://evil"))]
    {
        let mut claims = part(token, 1);
        claims[name] = value;
        out.push(format!("{}.{}.{}", parts[0], encode(&claims), parts[2]));
    }
    out
}

#[test]
fn an_email_is_checked_by_form_and_kept_in_lower_case() {
    assert_eq!(check_email("Ada.Lovelace+news@Sub.Example.COM").unwrap(), "ada.lovelace+news@sub.example.com");
    let long = format!("{}@example.com", "a".repeat(65));
    for wrong in
        ["", "@", "a@", "@b.c", "a b@c.de", "a@b", "a@-b.de", "a@b..de", "a@b.de ", "a\n@b.de", "a@b@c.de", "<a>@b.de", &long]
    {
        assert!(check_email(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_password_is_checked_by_length_and_by_what_is_guessed_first() {
    for common in [
        "12345678",
        "87654321",
        "        ",
        "🐎🐎🐎🐎🐎🐎🐎🐎",
        &"ü".repeat(256),
        "abcdefghij",
        "password",
        "PassWord1",
        "iloveyou",
        "ada@example.com",
        "adalovelace",
        "AdaLovelace1815",
    ] {
        let refused = check_password(
            "password",
            common,
            (if common.contains('@') { "ada@example.com" } else { "adalovelace@example.com" }, 8),
        );
        assert!(matches!(refused, Err(kairos::error::Error::Refused(p)) if p.errors[0].code == "too_common"), "{common}");
    }
    assert!(check_password("password", "fourteen chars", ("ada@example.com", 15)).is_err());
    for good in
        ["пароль12", "correct horse", "ada@example.com!", "1234567890123456789012345 a", "12345679x", "adalovelace was here"]
    {
        assert!(check_password("password", good, ("ada@example.com", 8)).is_ok(), "{good}");
    }
    for wrong in ["", "1234567", "üüüüüüü", &"x".repeat(257)] {
        assert!(check_password("password", wrong, ("ada@example.com", 8)).is_err(), "{wrong}");
    }
}

#[test]
fn a_forwarded_address_counts_only_as_far_as_trusted_proxies_wrote_it() {
    let proxies = TrustedProxies::parse("10.0.0.0/8, 192.0.2.1, fd00::/8").unwrap();
    for (peer, header, client) in [
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "6.6.6.6, 198.51.100.1, 192.0.2.1", "198.51.100.1"),
        ("10.1.2.3", "nonsense", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("11.0.0.1", "198.51.100.1", "11.0.0.1"),
    ] {
        let found = proxies.client(peer.parse().unwrap(), header);
        assert_eq!(found.to_string(), client, "{peer} {header}");
    }
    for wrong in ["10.0.0.0/33", "x", "10.0.0.0/-1", "10.0.0"] {
        assert!(TrustedProxies::parse(wrong).is_err(), "{wrong}");
    }
    let prefix = ClientAddress("2001:db8:1:2:3:4:5:6".parse().unwrap()).prefix();
    assert_eq!(prefix.to_string(), "2001:db8:1:2::");
}

proptest::proptest! {
    /// Whatever clients do, at most two tokens of a chain are good at any time, and the newest issued one is always good.
    #[test]
    fn at_most_two_tokens_of_a_session_are_good(steps in proptest::collection::vec((0_i64..12, 0_i64..40_000), 1..60)) {
        let mut session = SessionState { generation: 0, generation_ms: 0, last_used_ms: 0, created_ms: 0, ended: false };
        let (mut newest, mut now_ms) = (0, 0);
        for (back, wait_ms) in steps {
            now_ms += wait_ms;
            let presented = Presented { generation: (newest - back).max(0), now_ms, life: Life { idle_ms: 90 * DAY_MS, whole_ms: None } };
            let good: Vec<i64> = (0..=newest)
                .filter(|n| matches!(judge(&session, &Presented { generation: *n, ..presented }), Verdict::Child(_)))
                .collect();
            proptest::prop_assert!(good.len() <= 2);
            proptest::prop_assert!(session.ended || good.contains(&newest));
            match judge(&session, &presented) {
                Verdict::Child(child) => {
                    proptest::prop_assert_eq!(child, presented.generation + 1);
                    if presented.generation > session.generation {
                        session.generation = presented.generation;
                        session.generation_ms = now_ms;
                    }
                    session.last_used_ms = now_ms;
                    newest = newest.max(child);
                }
                Verdict::Refused => {}
                Verdict::Reused => {
                    proptest::prop_assert!(presented.generation < session.generation);
                    session.ended = true;
                }
            }
        }
    }
}
