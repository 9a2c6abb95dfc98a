//! Limits and links hold whatever a request says of where it comes from, of where it goes, and however it spells an address.

use crate::world::{Answer, Caller, Person, Tenant, World};
use serde_json::{Value, json};

const GOOD: &str = "correct horse battery";
const ADA: &str = "ada@example.com";

/// Makes an anonymous user under these headers.
async fn begin(world: &World, tenant: &Tenant, headers: &[(&str, &str)]) -> Answer {
    let mut request = world.call("POST", "/v1/auth/anonymous").by(&tenant.phone);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.json(&json!({})).send().await
}

fn pair(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

async fn sign_in(world: &World, tenant: &Tenant, email: &str, password: &str) -> Answer {
    world.post("/v1/auth/sign-in", &tenant.phone, pair(email, password)).await
}

both! {
    async fn no_header_makes_another_client_of_whoever_is_counted(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_address_per_minute = 3).await;
        for _ in 0..3 {
            begin(world, &tenant, &[]).await.expect(200);
        }
        let names = ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-IP", "X-Originating-IP"];
        for name in names {
            for value in ["203.0.113.9", "127.0.0.2", "::1", "for=203.0.113.9"] {
                begin(world, &tenant, &[(name, value)]).await.refused(429, "too_many_attempts");
            }
        }
    }

    async fn behind_a_proxy_the_hop_it_wrote_counts_and_nothing_further_left(world) {
        let tenant = world.new_app("Louvre").await;
        world
            .restart(|config| {
                config.sign_in_per_address_per_minute = 3;
                config.trusted_proxies = "127.0.0.0/8".to_owned();
            })
            .await;
        // The client wrote another address each time; the proxy added the real one, on the same line or on its own.
        for n in 0..3 {
            begin(world, &tenant, &[("X-Forwarded-For", &format!("6.6.6.{n}, 203.0.113.9"))]).await.expect(200);
        }
        begin(world, &tenant, &[("X-Forwarded-For", "6.6.6.77, 203.0.113.9")]).await.refused(429, "too_many_attempts");
        begin(world, &tenant, &[("X-Forwarded-For", "6.6.6.78"), ("X-Forwarded-For", "203.0.113.9")]).await.refused(429, "too_many_attempts");
        begin(world, &tenant, &[("X-Forwarded-For", "::ffff:203.0.113.9")]).await.refused(429, "too_many_attempts");
        begin(world, &tenant, &[("X-Real-IP", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.9")]).await.refused(429, "too_many_attempts");
        begin(world, &tenant, &[("X-Forwarded-For", "203.0.113.10")]).await.expect(200);
        // One customer has a /64 of IPv6: whoever turns through it is one client, and their neighbour another.
        for n in 0..3 {
            begin(world, &tenant, &[("X-Forwarded-For", &format!("2001:db8:1:2:{n}::{n}"))]).await.expect(200);
        }
        begin(world, &tenant, &[("X-Forwarded-For", "2001:db8:1:2:ffff:ffff:ffff:ffff")]).await.refused(429, "too_many_attempts");
        begin(world, &tenant, &[("X-Forwarded-For", "2001:db8:1:3::1")]).await.expect(200);
        // What is no address is the proxy itself: nobody gets out of being counted.
        for (n, text) in ["nonsense", "", "203.0.113.999"].into_iter().enumerate() {
            begin(world, &tenant, &[("X-Forwarded-For", text)]).await.expect(200);
            assert!(n < 3);
        }
        begin(world, &tenant, &[("X-Forwarded-For", "unknown")]).await.refused(429, "too_many_attempts");
    }

    async fn an_address_is_one_account_however_its_letters_are_typed(world) {
        let tenant = world.new_app("Louvre").await;
        world.restart(|config| config.sign_in_per_account_per_minute = 3).await;
        let ada = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair(ADA, GOOD)).await.expect(200));
        world.clock.advance(std::time::Duration::from_secs(60));
        let signed_in = sign_in(world, &tenant, "ADA@Example.COM", GOOD).await.expect(200);
        assert_eq!(signed_in["user"]["id"], json!(ada.id));
        sign_in(world, &tenant, "Ada@example.com", "wrong password").await.refused(401, "invalid_credentials");
        sign_in(world, &tenant, "aDa@eXample.com", "wrong password").await.refused(401, "invalid_credentials");
        sign_in(world, &tenant, "adA@exAmple.com", "wrong password").await.refused(429, "too_many_attempts");
        for spaced in [" ada@example.com", "ada@example.com ", "ada@example.com\n", "ada@example.com\u{0}", "ada@example.com\u{200b}", "ada@exa\u{ad}mple.com"] {
            sign_in(world, &tenant, spaced, GOOD).await.refused_field(400, "validation_failed", "email");
        }
        let twice = r#"{"email": "eve@example.com", "email": "ada@example.com", "password": "wrong password"}"#;
        let answer = world.call("POST", "/v1/auth/sign-in").by(&tenant.phone).text("application/json", twice).send().await;
        answer.refused(400, "validation_failed");
    }

    async fn what_only_looks_like_an_address_leads_to_nobody_elses_account_or_mail(world) {
        let tenant = world.new_app("Louvre").await;
        for email in [ADA, "kim@example.com"] {
            world.post("/v1/auth/sign-up", &tenant.phone, pair(email, GOOD)).await.expect(200);
        }
        let before = world.letters(&tenant).await.len();
        // Plus and dots are part of an address: only its own mail server knows whether they matter.
        for other in ["ada+x@example.com", "a.da@example.com", "\u{ff41}da@example.com", "\u{430}da@example.com", "ada@ex\u{430}mple.com"] {
            sign_in(world, &tenant, other, GOOD).await.refused(401, "invalid_credentials");
            world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": other })).await.expect(202);
        }
        assert_eq!(world.letters(&tenant).await.len(), before, "none of these has an account");
        // A sign whose small letter is an ASCII one: what is stored and written to is the small one, never what was typed.
        let kelvin = "\u{212a}im@example.com";
        world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": kelvin })).await.expect(202);
        world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": kelvin })).await.expect(202);
        let mails = world.letters(&tenant).await;
        assert_eq!(mails.len(), before + 2);
        assert!(mails.iter().all(|mail| mail.to.is_ascii()), "{mails:?}");
        assert_eq!(mails[0].to, "kim@example.com");
    }

    async fn no_request_says_where_a_mail_or_a_page_leads(world) {
        let tenant = world.new_app("Louvre").await;
        let (evil, at) = ("evil.example", "http://kairos.test/auth/app_");
        let ask = async |path: &str, by: &Caller, body: Value| {
            let mut request = world.call("POST", path).by(by).host(evil);
            for name in ["X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "Origin", "Referer"] {
                request = request.header(name, "https://evil.example");
            }
            let answer = request.header("Forwarded", "host=evil.example;proto=https").json(&body).send().await;
            assert!(answer.status < 300, "{path}: {}", answer.text());
            assert!(!answer.text().contains(evil), "{path}: {}", answer.text());
            answer.json()
        };
        let ada = Person::from(&ask("/v1/auth/sign-up", &tenant.phone, pair(ADA, GOOD)).await);
        ask("/v1/auth/email/verify/request", &ada.token, json!({})).await;
        let code = world.letter(&tenant, ADA).await.code();
        let ada = Person::from(&ask("/v1/auth/email/verify", &ada.token, json!({ "code": code })).await);
        ask("/v1/auth/password/forgot", &tenant.phone, json!({ "email": ADA })).await;
        ask("/v1/auth/email-code/request", &tenant.phone, json!({ "email": ADA })).await;
        ask("/v1/auth/email/change", &ada.token, json!({ "email": "ada@example.org", "password": GOOD })).await;
        let mails = world.letters(&tenant).await;
        let kinds: std::collections::BTreeSet<&str> =
            mails.iter().filter_map(|mail| mail.text.split(at).nth(1)?.split(['/', '#']).nth(1)).collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["change-email", "reset-password", "sign-in", "verify-email"]);
        assert!(mails.iter().all(|mail| !mail.text.contains(evil) && !mail.subject.contains(evil)), "{mails:?}");

        let page = format!("/auth/{}/reset-password", tenant.id);
        for path in [page.as_str(), "/auth/page.js", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/v1/nothing"] {
            let plain = world.call("GET", path).header("X-Request-Id", "same").send().await;
            let asked = world.call("GET", path).host(evil).header("X-Forwarded-Host", evil).header("X-Request-Id", "same").send().await;
            assert_eq!(asked.text(), plain.text(), "{path}");
            assert!(asked.headers().all(|(_, value)| !value.contains(evil)), "{path}");
        }
    }

    async fn of_two_credentials_of_a_kind_the_second_is_never_the_one_that_counts(world) {
        let (louvre, orsay) = (world.new_app("Louvre").await, world.new_app("Orsay").await);
        let (one, other) = (world.person(&louvre).await, world.person(&orsay).await);
        for (first, second) in [(&one, &other), (&other, &one)] {
            let answer = world.call("GET", "/v1/me").by(&first.token).by(&second.token).send().await;
            assert!(answer.status == 401 || answer.json()["id"] == json!(first.id), "{}", answer.text());
        }
        let answer = world.call("GET", "/v1/app").by(&Caller::Bearer("sk_live_none".to_owned())).by(&louvre.server).send().await;
        answer.refused(401, "unauthorized");
    }
}
