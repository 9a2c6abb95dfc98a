//! Sign-in by ID token: which tokens are taken, whom an identity leads to, the keys of issuers, Apple's notices.

use crate::idp::{CLIENT, Idp, Key, NONCE, body, merge};
use crate::world::{Caller, Person, Tenant, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use kairos::people::account::revoke_apple;
use kairos::serve::Kairos;
use ring::hmac;
use serde_json::{Value, json};
use std::time::Duration;

const GOOD: &str = "correct horse battery";

async fn sql(world: &World, text: String) {
    world.kairos.platform.store.write(move |conn| conn.batch(&text)).await.unwrap();
}

/// Whether an access token opens anything.
async fn speaks(world: &World, token: &Caller) -> bool {
    world.get("/v1/me", token).await.status == 200
}

async fn signs_up(world: &World, tenant: &Tenant, email: &str) -> Person {
    let pair = json!({"email": email, "password": GOOD});
    Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, pair).await.expect(200))
}

/// Somebody who has shown that they read the mail of their address.
async fn with_proven(world: &World, tenant: &Tenant, email: &str) -> Person {
    let person = signs_up(world, tenant, email).await;
    sql(world, format!("insert into emails values ('{}', '{email}', '{}', {})", tenant.id, person.id, world.now_ms())).await;
    person
}

/// A claim of an address that the issuer says it has verified.
fn mail(email: &str) -> Value {
    json!({"email": email, "email_verified": true})
}

fn encoded(text: &str) -> String {
    BASE64URL.encode(text)
}

/// Every token that is not to be taken, and what is wrong with it.
#[expect(clippy::too_many_lines, reason = "a table, one row after the other")]
fn forgeries(world: &World, idp: &Idp, other: &Idp) -> Vec<(String, String)> {
    let now_s = world.now_ms() / 1_000;
    let good = idp.claims(world, ("corp", "victim"), json!({}));
    let (key, thief) = (&idp.rsa, Key::p256("e1"));
    let claims = |change: Value| key.token(&idp.claims(world, ("corp", "victim"), change));
    let header = |key: &Key, change: Value| {
        let mut header = key.header();
        merge(&mut header, change);
        key.sign(&header.to_string(), &good.to_string())
    };
    let whole = key.token(&good);
    let (message, signature) = whole.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let hs256 = |kid: &str, secret: &[u8]| {
        let message = format!("{}.{payload}", encoded(&json!({"alg": "HS256", "kid": kid, "typ": "JWT"}).to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", BASE64URL.encode(tag))
    };
    let raw = |header: &str, payload: &str| key.sign(header, payload);
    let usual = key.header().to_string();
    let forged_claims = encoded(&idp.claims(world, ("corp", "somebody else"), json!({})).to_string());
    let mut flipped = BASE64URL.decode(signature).unwrap();
    flipped[20] ^= 1;
    let mut all: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, token: String| all.push((name.to_owned(), token));

    for alg in ["none", "None", "NONE", "nOnE"] {
        put(alg, format!("{}.{payload}.", encoded(&json!({"alg": alg, "typ": "JWT"}).to_string())));
        put(alg, format!("{}.{payload}.", encoded(&json!({"alg": alg, "kid": "r1"}).to_string())));
    }
    put("hmac with the modulus", hs256("r1", key.jwk()["n"].as_str().unwrap().as_bytes()));
    put("hmac with the key's JSON", hs256("r1", key.jwk().to_string().as_bytes()));
    put("hmac with nothing", hs256("r1", b""));
    for alg in ["RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", ""] {
        put("another algorithm", header(key, json!({ "alg": alg })));
    }
    put("an algorithm that is no text", header(key, json!({"alg": ["RS256"]})));
    put("no algorithm", header(key, json!({"alg": null})));
    put("another key's id", header(key, json!({"kid": "e1"})));
    put("another key's id and algorithm", header(key, json!({"kid": "e1", "alg": "ES256"})));
    put("a flipped bit", format!("{message}.{}", BASE64URL.encode(&flipped)));
    put("half a signature", format!("{message}.{}", &signature[..signature.len() / 2]));
    put("an empty signature", format!("{message}."));
    put("no signature", message.to_owned());
    put("a part more", format!("{whole}.{payload}"));
    put("five parts", format!("{whole}.{payload}.{payload}"));
    put("nothing", String::new());
    put("dots", "..".to_owned());
    put("other claims under the signature", format!("{head}.{forged_claims}.{signature}"));
    put("a thief's key under a known id", thief.token(&good));
    for kid in ["r2", "", "../keys", "r1' or '1'='1", "R1", " r1"] {
        put("an unknown key", header(key, json!({ "kid": kid })));
    }
    put("a very long key id", header(key, json!({"kid": "r".repeat(300)})));
    put("a key id that is no text", header(key, json!({"kid": 1})));
    put("no key id", header(key, json!({"kid": null})));
    for (name, value) in
        [("jwk", thief.jwk()), ("jku", other.url().into()), ("x5u", other.url().into()), ("x5c", json!(["AA=="]))]
    {
        put(name, header(&thief, json!({ name: value })));
        put(name, header(&thief, json!({ name: value, "kid": "thief" })));
    }
    put("something critical", header(key, json!({"crit": ["exp"], "exp": now_s + 60})));
    put("critically unencoded", header(key, json!({"crit": ["b64"], "b64": false})));
    for typ in ["at+jwt", "application/at+jwt", "AT+JWT", "dpop+jwt", "logout+jwt", ""] {
        put("another type", header(key, json!({ "typ": typ })));
    }
    let slashed = format!("{}/", idp.url());
    for iss in [
        slashed.as_str(),
        "https://accounts.google.com",
        "https://appleid.apple.com",
        "HTTP://127.0.0.1",
        "",
        "http://kairos.test",
    ] {
        put("another issuer", claims(json!({ "iss": iss })));
    }
    put("an issuer that is a list", claims(json!({"iss": [idp.url()]})));
    put("no issuer", claims(json!({"iss": null})));
    put("another server's token", other.rsa.token(&other.claims(world, ("corp", "victim"), json!({}))));
    for aud in ["com.example.other", "", "com.example.airport2", "com.example", "COM.EXAMPLE.AIRPORT"] {
        put("another audience", claims(json!({ "aud": aud })));
    }
    put("no audience", claims(json!({"aud": null})));
    put("an empty list of audiences", claims(json!({"aud": []})));
    put("a list of other audiences", claims(json!({"aud": ["com.example.other"]})));
    put("audiences that are no texts", claims(json!({"aud": [CLIENT, 1]})));
    put("an audience that is an object", claims(json!({"aud": {"id": CLIENT}})));
    put("several audiences and no party", claims(json!({"aud": [CLIENT, "com.example.other"]})));
    put("several audiences and another party", claims(json!({"aud": [CLIENT, "x"], "azp": "x"})));
    put("another party", claims(json!({"azp": "com.example.other"})));
    put("a party that is no text", claims(json!({"azp": [CLIENT]})));
    put("expired", claims(json!({"exp": now_s - 3_600})));
    put("just expired", claims(json!({"exp": now_s - 60})));
    put("good for too long", claims(json!({"exp": now_s + 86_400 + 61})));
    put("good for ever", claims(json!({"exp": 1e300})));
    put("an end that is a text", claims(json!({"exp": (now_s + 600).to_string()})));
    put("an end before all time", claims(json!({"exp": -1})));
    put("no end", claims(json!({"exp": null})));
    put("not yet good", claims(json!({"nbf": now_s + 61})));
    put("issued in the future", claims(json!({"iat": now_s + 61})));
    put("never issued", claims(json!({"iat": null})));
    put("issued at a text", claims(json!({"iat": "now"})));
    put("another nonce", claims(json!({"nonce": "another"})));
    put("a nonce in other letters", claims(json!({"nonce": NONCE.to_lowercase()})));
    put("no nonce", claims(json!({"nonce": null})));
    put("a nonce that is a list", claims(json!({"nonce": [NONCE]})));
    for sub in
        [json!(null), json!(""), json!(17), json!("x".repeat(256)), json!("a\u{7}b"), json!("victim\u{0}"), json!({"$gt": ""})]
    {
        put("a subject that is none", claims(json!({ "sub": sub })));
    }
    put("a truth that is none", claims(json!({"email": "a@corp.example", "email_verified": "yes"})));
    put("an address that is a list", claims(json!({"email": ["a@corp.example"], "email_verified": true})));
    put("two subjects", raw(&usual, &good.to_string().replacen('{', "{\"sub\":\"somebody else\",", 1)));
    put("two of a claim that nobody reads", raw(&usual, &good.to_string().replacen('{', "{\"x\":1,\"x\":1,", 1)));
    put("two algorithms", raw(&usual.replacen('{', "{\"alg\":\"none\",", 1), &good.to_string()));
    put("claims that are a list", raw(&usual, &json!([good]).to_string()));
    put("claims that are no JSON", raw(&usual, "{"));
    put("something after the claims", raw(&usual, &format!("{good} {{}}")));
    put("a header that is a list", raw("[]", &good.to_string()));
    put("padding", format!("{head}.{payload}==.{signature}"));
    put("blanks", format!(" {whole}"));
    put("a line's end", format!("{whole}\n"));
    put("very long", claims(json!({"x": "x".repeat(8_192)})));
    put("very deep", raw(&usual, &good.to_string().replacen('{', &format!("{{\"x\":{}1{},", "[".repeat(64), "]".repeat(64)), 1)));
    put("a notice of Apple's", idp.notice(world, "j1", &json!({"type": "consent-revoked", "sub": "victim", "event_time": 1})));
    all
}

both! {
    async fn every_forged_token_gets_one_answer_and_changes_nothing(world) {
        let idp = Idp::open(world).await;
        let (tenant, other) = (world.app.clone(), Idp::start().await);
        idp.set_up(world, &tenant).await;
        let victim = idp.enters(world, &tenant, ("corp", "victim"), json!({})).await;
        let count = "select (select count(*) from identities) * 1000000 + (select count(*) from sessions) * 1000 \
            + (select count(*) from users)";
        let before = world.number(count).await;
        let mut forged = forgeries(world, &idp, &other);
        let Caller::Bearer(own) = &victim.token else { unreachable!() };
        forged.push(("a token of our own".to_owned(), own.clone()));
        assert!(forged.len() >= 100, "{}", forged.len());
        let mut wrong = Vec::new();
        let mut one: Option<Value> = None;
        for (name, token) in &forged {
            let answer = world.post("/v1/auth/id-token", &tenant.phone, body("corp", token)).await;
            let mut said = answer.json();
            said.as_object_mut().unwrap().remove("request_id");
            if answer.status != 401 || said["code"] != "invalid_id_token" || *one.get_or_insert(said.clone()) != said {
                wrong.push(format!("{name}: {} {}", answer.status, answer.text()));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(world.number(count).await, before);
        assert!(other.state().asked.is_empty(), "a token named a place, and it was asked");
        let again = idp.enters(world, &tenant, ("corp", "victim"), json!({})).await;
        assert_eq!(again.id, victim.id);
    }

    async fn odd_tokens_that_are_good_are_taken(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let now_s = world.now_ms() / 1_000;
        let first = idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        for change in [
            json!({"aud": [CLIENT]}),
            json!({"aud": ["x", CLIENT], "azp": CLIENT}),
            json!({"azp": CLIENT}),
            json!({"exp": now_s - 59}),
            json!({"exp": now_s as f64 + 60.5}),
            json!({"exp": now_s + 86_400}),
            json!({"iat": now_s + 60, "nbf": now_s + 60}),
            json!({"email": "not an address", "email_verified": "true"}),
            json!({"anything": {"else": [1, null, "x"]}}),
        ] {
            assert_eq!(idp.enters(world, &tenant, ("corp", "ada"), change.clone()).await.id, first.id, "{change}");
        }
        let claims = idp.claims(world, ("corp", "ada"), json!({}));
        for (key, header) in [
            (&idp.rsa, json!({"alg": "RS256", "kid": "r1"})),
            (&idp.rsa, json!({"alg": "RS256", "kid": "r1", "typ": "jwt", "jku": "http://127.0.0.1:1/keys"})),
            (&idp.p256, idp.p256.header()),
            (&idp.ed25519, idp.ed25519.header()),
        ] {
            let token = key.sign(&header.to_string(), &claims.to_string());
            let entered = world.post("/v1/auth/id-token", &tenant.phone, body("corp", &token)).await.expect(200);
            assert_eq!(entered["user"]["id"], first.id.as_str(), "{header}");
        }
        let both = ["https://accounts.google.com", "accounts.google.com"];
        let one = idp.enters(world, &tenant, ("google", "g1"), json!({"iss": both[0]})).await;
        assert_eq!(idp.enters(world, &tenant, ("google", "g1"), json!({"iss": both[1]})).await.id, one.id);
    }

    async fn a_token_of_one_provider_or_app_is_nothing_to_another(world) {
        let idp = Idp::open(world).await;
        let (tenant, neighbour) = (world.app.clone(), world.new_app("Neighbour").await);
        idp.set_up(world, &tenant).await;
        let corp = json!({"issuer": idp.url(), "client_ids": ["com.example.neighbour"]});
        world.put("/v1/identity-providers/corp", &neighbour.server, corp).await.expect(200);
        let token = idp.rsa.token(&idp.claims(world, ("corp", "ada"), json!({})));
        world.post("/v1/auth/id-token", &tenant.phone, body("corp", &token)).await.expect(200);
        for (phone, provider) in [(&neighbour.phone, "corp"), (&tenant.phone, "google"), (&tenant.phone, "apple")] {
            world.post("/v1/auth/id-token", phone, body(provider, &token)).await.refused(401, "invalid_id_token");
        }
        let unknown = world.post("/v1/auth/id-token", &neighbour.phone, body("google", &token)).await;
        unknown.refused_field(400, "validation_failed", "provider");
    }

    async fn the_nonce_goes_by_the_providers_rule(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        let hash: String = ring::digest::digest(&ring::digest::SHA256, NONCE.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let hash = hash.as_str();
        // (rule, what the caller says, what the token says, whether it is good)
        let table = [
            ("required", Some(NONCE), Some(NONCE), true),
            ("required", Some(NONCE), Some(hash), false),
            ("required", None, None, false),
            ("required", None, Some(NONCE), false),
            ("required", Some(NONCE), None, false),
            ("sha256", Some(NONCE), Some(hash), true),
            ("sha256", Some(NONCE), Some(NONCE), false),
            ("sha256", Some(hash), Some(hash), false),
            ("sha256", None, None, false),
            ("optional", None, None, true),
            ("optional", Some(NONCE), Some(NONCE), true),
            ("optional", Some("other"), Some(NONCE), false),
            ("optional", None, Some(NONCE), false),
            ("optional", Some(NONCE), None, false),
        ];
        for (rule, given, said, good) in table {
            let corp = json!({"issuer": idp.url(), "client_ids": [CLIENT], "nonce": rule});
            world.put("/v1/identity-providers/corp", &tenant.server, corp).await.expect(200);
            let token = idp.rsa.token(&idp.claims(world, ("corp", "ada"), json!({"nonce": said})));
            let mut body = json!({"provider": "corp", "id_token": token});
            if let Some(given) = given {
                body["nonce"] = given.into();
            }
            let answer = world.post("/v1/auth/id-token", &tenant.phone, body).await;
            assert_eq!(answer.status, if good { 200 } else { 401 }, "{rule} {given:?} {said:?}");
        }
    }

    async fn a_flood_of_unknown_keys_asks_once_a_minute(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let stranger = Key::p256("stranger");
        let claims = idp.claims(world, ("corp", "ada"), json!({}));
        let knock = |n: usize| {
            let mut header = stranger.header();
            header["kid"] = format!("k{n}").into();
            let token = stranger.sign(&header.to_string(), &claims.to_string());
            world.post("/v1/auth/id-token", &tenant.phone, body("corp", &token))
        };
        let all: Vec<_> = (0..32).map(knock).collect();
        // The bodies borrow nothing from the world's state: they fly together.
        for answer in futures_util::future::join_all(all).await {
            answer.refused(401, "invalid_id_token");
        }
        assert_eq!(idp.asked("/keys").len(), 1, "32 at once are one request");
        world.advance(Duration::from_secs(59)).await;
        knock(1).await.refused(401, "invalid_id_token");
        assert_eq!(idp.asked("/keys").len(), 1);
        world.advance(Duration::from_secs(1)).await;
        for n in 0..5 {
            knock(n).await.refused(401, "invalid_id_token");
        }
        assert_eq!(idp.asked("/keys").len(), 2);
    }

    async fn keys_rotate(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        idp.state().cache_control = Some("public, max-age=600".to_owned());
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        let fresh = Key::p256("e2");
        idp.state().keys = vec![fresh.jwk()];
        world.advance(Duration::from_secs(60)).await;
        // The old key is good until its time is over or a new one is seen.
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        let token = fresh.token(&idp.claims(world, ("corp", "ada"), json!({})));
        world.post("/v1/auth/id-token", &tenant.phone, body("corp", &token)).await.expect(200);
        idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await.refused(401, "invalid_id_token");
        // A key that leaves the set is good no longer than the set.
        idp.state().keys = vec![idp.rsa.jwk()];
        world.advance(Duration::from_secs(600)).await;
        let token = fresh.token(&idp.claims(world, ("corp", "ada"), json!({})));
        world.post("/v1/auth/id-token", &tenant.phone, body("corp", &token)).await.refused(401, "invalid_id_token");
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
    }

    async fn while_an_issuer_is_away_its_keys_are_good_for_a_day_more(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        idp.state().status = Some(500);
        let away = idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await;
        away.refused(503, "identity_provider_away");
        assert_eq!(away.header("retry-after"), Some("10"));
        (idp.state().status, idp.state().cache_control) = (None, Some("max-age=1".to_owned()));
        world.advance(Duration::from_secs(10)).await;
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        idp.state().status = Some(302);
        // Five minutes at least, whatever it says; then a day on what there is.
        world.advance(Duration::from_secs(300 + 86_400 - 1)).await;
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        world.advance(Duration::from_secs(1)).await;
        idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await.refused(503, "identity_provider_away");
        assert!(idp.asked("/elsewhere").is_empty(), "a redirect was followed");
        idp.state().status = None;
        world.advance(Duration::from_secs(60)).await;
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
    }

    async fn key_sets_are_bounded_and_read_with_care(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let mut private = idp.rsa.jwk();
        private["d"] = "AQAB".into();
        let with = |name: &str, value: Value| {
            let mut jwk = idp.rsa.jwk();
            jwk[name] = value;
            jwk
        };
        let many: Vec<Value> = (0..33).map(|n| with("kid", format!("r{n}").into())).collect();
        let unusable = [
            vec![private],
            vec![with("use", "enc".into())],
            vec![with("alg", "RS512".into())],
            vec![with("alg", "HS256".into())],
            vec![with("key_ops", json!(["encrypt"]))],
            vec![with("kty", "oct".into())],
            vec![json!({"kty": "oct", "kid": "r1", "k": "AAAA"})],
            vec![],
            many,
        ];
        let (good, mut wait) = (idp.state().keys.clone(), 0);
        for keys in unusable {
            idp.state().keys = keys.clone();
            world.advance(Duration::from_secs(10)).await;
            idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await.refused(503, "identity_provider_away");
            wait += 1;
        }
        idp.state().keys = good;
        idp.state().padding = 64 << 10;
        world.advance(Duration::from_secs(10)).await;
        idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await.refused(503, "identity_provider_away");
        idp.state().padding = 0;
        for discovery in [json!({"issuer": "http://elsewhere", "jwks_uri": format!("{}/keys", idp.url())}), json!({"issuer": idp.url()}),
            json!({"issuer": idp.url(), "jwks_uri": "http://169.254.169.254/keys"}), json!([])] {
            idp.state().discovery = Some(discovery.clone());
            world.advance(Duration::from_secs(10)).await;
            let answer = idp.sign_in(world, &tenant, ("corp", "ada"), json!({})).await;
            assert_eq!(answer.status, 503, "{discovery}: {}", answer.text());
        }
        idp.state().discovery = None;
        world.advance(Duration::from_secs(10)).await;
        idp.enters(world, &tenant, ("corp", "ada"), json!({})).await;
        assert_eq!(wait, 9);
    }

    async fn an_address_leads_to_its_account_only_where_the_issuer_has_authority(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        // (provider, address, more, whether it leads to the account that has proven the address)
        let table = [
            ("google", "ada@gmail.com", json!({}), true),
            ("google", "ada@googlemail.com", json!({}), true),
            ("google", "ada@hosted.example", json!({"hd": "hosted.example"}), true),
            ("google", "ada@hosted2.example", json!({"hd": "hosted.example"}), false),
            ("google", "ada@elsewhere.example", json!({}), false),
            ("google", "ada2@gmail.com", json!({"email_verified": false}), false),
            ("apple", "ada@privaterelay.appleid.com", json!({"is_private_email": "true", "email_verified": "true"}), true),
            ("apple", "ada@icloud.com", json!({}), true),
            ("apple", "ada2@icloud.com", json!({"email_verified": null}), false),
            ("corp", "ada@corp.example", json!({}), true),
            ("corp", "ada@sub.corp.example", json!({}), false),
            ("corp", "ada3@gmail.com", json!({}), false),
            ("corp", "ada2@corp.example", json!({"email_verified": "false"}), false),
        ];
        for (provider, email, more, leads) in table {
            let owner = with_proven(world, &tenant, email).await;
            let mut claims = mail(&email.to_uppercase());
            merge(&mut claims, more);
            claims["email"] = email.to_uppercase().into();
            let answer = idp.sign_in(world, &tenant, (provider, email), claims).await;
            let same = answer.status == 200 && answer.json()["user"]["id"] == owner.id.as_str();
            assert_eq!(same, leads, "{provider} {email}: {}", answer.text());
            assert!(speaks(world, &owner.token).await, "{email}");
            let owned = world.number(&format!("select count(*) from emails where user_id = '{}'", owner.id)).await;
            assert_eq!(owned, 1, "{email}");
        }
    }

    async fn a_new_account_owns_an_address_that_its_issuer_may_speak_for(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = idp.enters(world, &tenant, ("google", "g1"), mail("ada@gmail.com")).await;
        let owner = world.lines("select user_id as line from emails where email = 'ada@gmail.com'").await;
        assert_eq!(owner, [ada.id.as_str()]);
        // Another identity with the same address is hers too; one that is not verified is somebody else.
        let corp = json!({"issuer": idp.url(), "client_ids": [CLIENT], "trusted_domains": ["gmail.com"]});
        world.put("/v1/identity-providers/corp", &tenant.server, corp).await.expect(200);
        assert_eq!(idp.enters(world, &tenant, ("corp", "c1"), mail("ada@gmail.com")).await.id, ada.id);
        let other = idp.enters(world, &tenant, ("corp", "c2"), json!({"email": "ada@gmail.com", "email_verified": false})).await;
        assert_ne!(other.id, ada.id);
        let other = idp.enters(world, &tenant, ("google", "g2"), mail("eve@elsewhere.example")).await;
        assert_eq!(world.number(&format!("select count(*) from emails where user_id = '{}'", other.id)).await, 0);
        // What the address is by now changes nothing for an identity that is known.
        let same = idp.enters(world, &tenant, ("google", "g2"), mail("ada@gmail.com")).await;
        assert_eq!(same.id, other.id);
    }

    async fn whoever_claimed_an_address_before_is_out_once_its_reader_comes(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let attacker = signs_up(world, &tenant, "ada@gmail.com").await;
        idp.link(world, &attacker.token, ("corp", "attacker"), json!({})).await.expect(201);
        let victim = idp.enters(world, &tenant, ("google", "ada"), mail("ada@gmail.com")).await;
        assert!(!speaks(world, &attacker.token).await);
        let again = json!({"refresh_token": attacker.refresh_token});
        world.post("/v1/auth/refresh", &tenant.phone, again).await.refused(401, "invalid_refresh_token");
        let pair = json!({"email": "ada@gmail.com", "password": GOOD});
        world.post("/v1/auth/sign-in", &tenant.phone, pair).await.refused(401, "invalid_credentials");
        assert_ne!(idp.enters(world, &tenant, ("corp", "attacker"), json!({})).await.id, victim.id);
        let own = world.get("/v1/me/identities", &victim.token).await.expect(200);
        assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
        assert_eq!(own["items"][0]["provider"], "google");
    }

    async fn an_address_without_authority_is_linked_by_its_accounts_own_user(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = with_proven(world, &tenant, "ada@yahoo.example").await;
        let eve = with_proven(world, &tenant, "eve@yahoo.example").await;
        let claims = || mail("ada@yahoo.example");
        let ask = async || idp.sign_in(world, &tenant, ("google", "g1"), claims()).await.expect(202);
        let asked = ask().await;
        assert!(asked.get("access_token").is_none() && asked["link_expires_in"] == 900, "{asked}");
        assert_eq!(world.number("select count(*) from identities").await, 0);
        let link = async |by: &Caller, asked: &Value| {
            world.post("/v1/me/identities", by, json!({"link_token": asked["link_token"]})).await
        };
        link(&eve.token, &asked).await.refused(401, "invalid_link_token");
        let newer = ask().await;
        link(&ada.token, &asked).await.refused(401, "invalid_link_token");
        let linked = link(&ada.token, &newer).await.expect(201);
        assert_eq!((&linked["provider"], &linked["email"]), (&json!("google"), &json!("ada@yahoo.example")));
        link(&ada.token, &newer).await.refused(401, "invalid_link_token");
        assert_eq!(idp.enters(world, &tenant, ("google", "g1"), claims()).await.id, ada.id);
        // Those who say no get an account of their own, and the address stays where it is.
        let token = idp.rsa.token(&idp.claims(world, ("google", "g2"), claims()));
        let mut apart = body("google", &token);
        apart["new_account"] = true.into();
        let apart = Person::from(&world.post("/v1/auth/id-token", &tenant.phone, apart).await.expect(200));
        assert_ne!(apart.id, ada.id);
        assert_eq!(world.lines("select user_id as line from emails where email = 'ada@yahoo.example'").await, [ada.id.as_str()]);
        // Too late, and not fresh.
        let late = idp.sign_in(world, &tenant, ("google", "g3"), claims()).await.expect(202);
        world.advance(Duration::from_secs(301)).await;
        link(&ada.token, &late).await.refused(401, "insufficient_user_authentication");
        world.advance(Duration::from_secs(599)).await;
        let pair = json!({"email": "ada@yahoo.example", "password": GOOD});
        let ada = Person::from(&world.post("/v1/auth/sign-in", &tenant.phone, pair).await.expect(200));
        link(&ada.token, &late).await.refused(401, "invalid_link_token");
    }

    async fn a_link_is_used_once_by_sixty_four_at_once(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = with_proven(world, &tenant, "ada@yahoo.example").await;
        let asked = idp.sign_in(world, &tenant, ("google", "g1"), mail("ada@yahoo.example")).await.expect(202);
        let link = || world.post("/v1/me/identities", &ada.token, json!({"link_token": asked["link_token"]}));
        let all = futures_util::future::join_all((0..64).map(|_| link())).await;
        let taken = all.iter().filter(|answer| answer.status == 201).count();
        assert_eq!((taken, all.iter().filter(|answer| answer.status == 401).count()), (1, 63));
    }

    async fn an_identity_is_made_once_by_many_at_once(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let all = (0..16).map(|_| idp.enters(world, &tenant, ("google", "g1"), mail("ada@gmail.com")));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|person| person.id == all[0].id));
        assert_eq!(world.number("select count(*) from identities").await, 1);
        assert_eq!(world.number("select count(*) from users").await, 1);
    }

    async fn an_anonymous_user_is_upgraded_or_merged(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let enters = async |anonymous: &Person, subject: &str| {
            let Caller::Bearer(token) = &anonymous.token else { unreachable!() };
            let id_token = idp.rsa.token(&idp.claims(world, ("google", subject), mail(&format!("{subject}@gmail.com"))));
            let call = world.call("POST", "/v1/auth/id-token").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
            call.json(&body("google", &id_token)).send().await
        };
        let anonymous = world.person(&tenant).await;
        let ada = enters(&anonymous, "ada").await.expect(200);
        assert_eq!((&ada["user"]["id"], &ada["user"]["anonymous"]), (&json!(anonymous.id), &json!(false)));
        assert!(!speaks(world, &anonymous.token).await);
        let ada = Person::from(&ada);
        let other = world.person(&tenant).await;
        assert_eq!(Person::from(&enters(&other, "ada").await.expect(200)).id, ada.id);
        assert!(!speaks(world, &other.token).await && speaks(world, &ada.token).await);
        let refused = world.person(&tenant).await;
        idp.link(world, &refused.token, ("corp", "c1"), json!({})).await.refused(409, "anonymous");
    }

    async fn a_user_links_and_unlinks_identities(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = idp.enters(world, &tenant, ("google", "g1"), json!({})).await;
        let list = async |by: &Caller| world.get("/v1/me/identities", by).await.expect(200)["items"].as_array().unwrap().clone();
        let google = list(&ada.token).await[0]["id"].as_str().unwrap().to_owned();
        let path = |id: &str| format!("/v1/me/identities/{id}");
        world.delete(&path(&google), &ada.token).await.refused(409, "last_way_in");
        let corp = idp.link(world, &ada.token, ("corp", "c1"), mail("ada@corp.example")).await.expect(201);
        assert_eq!(world.lines("select user_id as line from emails").await, [ada.id.as_str()], "she had no address");
        assert_eq!(idp.link(world, &ada.token, ("corp", "c1"), json!({})).await.expect(201)["id"], corp["id"]);
        assert_eq!(idp.enters(world, &tenant, ("corp", "c1"), json!({})).await.id, ada.id);
        let eve = idp.enters(world, &tenant, ("corp", "eve"), json!({})).await;
        idp.link(world, &eve.token, ("google", "g1"), json!({})).await.refused(409, "identity_taken");
        world.delete(&path(&google), &eve.token).await.refused(404, "not_found");
        let elsewhere = idp.enters(world, &tenant, ("google", "g1"), json!({})).await;
        world.delete(&path(&google), &ada.token).await.expect(204);
        assert!(speaks(world, &ada.token).await && !speaks(world, &elsewhere.token).await);
        assert_ne!(idp.enters(world, &tenant, ("google", "g1"), json!({})).await.id, ada.id);
        assert_eq!(list(&ada.token).await.len(), 1);
        world.advance(Duration::from_secs(300)).await;
        let stale = idp.link(world, &ada.token, ("google", "g9"), json!({})).await;
        stale.refused(401, "insufficient_user_authentication");
        let gone = world.delete(&path(corp["id"].as_str().unwrap()), &ada.token).await;
        gone.refused(401, "insufficient_user_authentication");
    }

    async fn linking_proves_no_address_that_is_not_the_users_to_have(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = with_proven(world, &tenant, "ada@yahoo.example").await;
        let eve = signs_up(world, &tenant, "eve@yahoo.example").await;
        idp.link(world, &ada.token, ("corp", "ada"), mail("ada@corp.example")).await.expect(201);
        idp.link(world, &eve.token, ("corp", "eve"), mail("eve@corp.example")).await.expect(201);
        assert_eq!(world.lines("select email as line from emails").await, ["ada@yahoo.example"]);
    }

    async fn a_disabled_user_stays_out(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = idp.enters(world, &tenant, ("google", "g1"), mail("ada@gmail.com")).await;
        sql(world, format!("update users set disabled = true where id = '{}'", ada.id)).await;
        idp.sign_in(world, &tenant, ("google", "g1"), mail("ada@gmail.com")).await.refused(401, "invalid_id_token");
        idp.sign_in(world, &tenant, ("google", "g2"), mail("ada@gmail.com")).await.refused(401, "invalid_id_token");
        assert_eq!(world.number("select count(*) from identities").await, 1);
    }

    async fn a_provider_that_could_not_be_told_from_others_is_refused(world) {
        let idp = Idp::open(world).await;
        let by = world.app.server.clone();
        let put = async |name: &str, body: Value| world.put(&format!("/v1/identity-providers/{name}"), &by, body).await;
        for (name, body, field) in [
            ("google", json!({"client_ids": []}), "client_ids"),
            ("google", json!({}), "client_ids"),
            ("google", json!({"client_ids": [" "]}), "client_ids"),
            ("google", json!({"client_ids": ["x"], "issuer": "https://evil.example"}), "issuer"),
            ("google", json!({"client_ids": ["x"], "jwks_uri": idp.url()}), "jwks_uri"),
            ("google", json!({"client_ids": ["x"], "trusted_domains": ["x.example"]}), "trusted_domains"),
            ("apple", json!({"client_ids": ["x"], "apple": {"team_id": "T", "key_id": "KEY0000001", "key_p8": "x"}}), "apple.team_id"),
            ("apple", json!({"client_ids": ["x"], "apple": {"team_id": "TEAM000001", "key_id": "KEY0000001", "key_p8": "x"}}), "apple.key_p8"),
            ("corp", json!({"client_ids": ["x"]}), "issuer"),
            ("corp", json!({"client_ids": ["x"], "issuer": "ftp://x.example"}), "issuer"),
            ("corp", json!({"client_ids": ["x"], "issuer": "https://10.0.0.1"}), "issuer"),
            ("corp", json!({"client_ids": ["x"], "issuer": "https://appleid.apple.com"}), "issuer"),
            ("corp", json!({"client_ids": ["x"], "issuer": "http://kairos.test"}), "issuer"),
            ("corp", json!({"client_ids": ["x"], "issuer": "x", "jwks_uri": "https://169.254.169.254/"}), "jwks_uri"),
            ("corp", json!({"client_ids": ["x"], "issuer": idp.url(), "trusted_domains": ["Not A Domain"]}), "trusted_domains"),
            ("Corp", json!({"client_ids": ["x"], "issuer": idp.url()}), "provider"),
        ] {
            put(name, body.clone()).await.refused_field(400, "validation_failed", field);
        }
        assert_eq!(world.number("select count(*) from identity_providers").await, 0);
        idp.set_up(world, &world.app.clone()).await;
        let shown = world.get("/v1/identity-providers", &by).await;
        assert!(!shown.text().contains("PRIVATE") && shown.text().contains("TEAM000001"), "{}", shown.text());
        world.delete("/v1/identity-providers/corp", &by).await.expect(204);
        world.get("/v1/identity-providers/corp", &by).await.refused(404, "not_found");
    }

    async fn a_start_fails_over_a_provider_without_a_client_id(world) {
        let idp = Idp::open(world).await;
        idp.set_up(world, &world.app.clone()).await;
        let row = json!({"issuer": "https://accounts.google.com", "client_ids": []});
        sql(world, format!("update identity_providers set settings = '{row}' where name = 'google'")).await;
        let token = idp.rsa.token(&idp.claims(world, ("google", "g1"), json!({})));
        assert_eq!(world.post("/v1/auth/id-token", &world.app.phone, body("google", &token)).await.status, 500);
        let config = world.kairos.platform.config.clone();
        let said = Kairos::open(config, world.clock.clone()).await.err().unwrap().to_string();
        assert!(said.contains("`google`") && said.contains("no client id") && said.lines().count() == 1, "{said}");
    }

    async fn apple_gives_a_token_once_and_takes_it_back_when_the_identity_goes(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let granted = |subject: &str| json!({"refresh_token": "r.canary", "id_token": idp.rsa.token(&json!({"sub": subject}))});
        let enters = async |code: &str| {
            let mut body = body("apple", &idp.rsa.token(&idp.claims(world, ("apple", "a1"), mail("ada@icloud.com"))));
            body["authorization_code"] = code.into();
            Person::from(&world.post("/v1/auth/id-token", &tenant.phone, body).await.expect(200))
        };
        // Neither a refusal nor another one's code stops a sign-in or leaves anything.
        enters("bad").await;
        idp.state().granted = Some(granted("somebody else"));
        enters("stolen").await;
        assert_eq!(world.number("select count(*) from identities where refresh_sealed is not null").await, 0);
        idp.state().granted = Some(granted("a1"));
        let ada = enters("good & well").await;
        enters("once more").await;
        let asked = idp.asked("/auth/token");
        assert_eq!(asked.len(), 3, "it has a token: no code is traded any more");
        let secret = asked[2].split('&').find_map(|pair| pair.strip_prefix("client_secret=")).unwrap();
        let claims: Value = serde_json::from_slice(&BASE64URL.decode(secret.split('.').nth(1).unwrap()).unwrap()).unwrap();
        let now_s = world.now_ms() / 1_000;
        assert_eq!(claims, json!({"iss": "TEAM000001", "iat": now_s, "exp": now_s + 300, "aud": "https://appleid.apple.com", "sub": CLIENT}));
        assert!(asked[2].contains("grant_type=authorization_code&code=good%20%26%20well") && asked[2].contains(&format!("client_id={CLIENT}&")));
        idp.link(world, &ada.token, ("corp", "c1"), json!({})).await.expect(201);
        let own = world.get("/v1/me/identities", &ada.token).await.expect(200);
        let apple = own["items"][0]["id"].as_str().unwrap();
        idp.state().refusals = 2;
        world.delete(&format!("/v1/me/identities/{apple}"), &ada.token).await.expect(204);
        world.drain().await;
        assert_eq!(idp.asked("/auth/revoke").len(), 1);
        world.advance(Duration::from_secs(59)).await;
        assert_eq!(idp.asked("/auth/revoke").len(), 1);
        world.advance(Duration::from_secs(1)).await;
        world.advance(Duration::from_secs(120)).await;
        let asked = idp.asked("/auth/revoke");
        assert_eq!(asked.len(), 3);
        assert!(asked[2].contains("token=r.canary&token_type_hint=refresh_token"), "{}", asked[2]);
        assert_eq!(world.number("select count(*) from identity_revocations").await, 0);
        world.advance(Duration::from_secs(86_400)).await;
        assert_eq!(idp.asked("/auth/revoke").len(), 3);
    }

    async fn apple_takes_its_token_back_when_an_account_is_erased(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        idp.state().granted = Some(json!({"refresh_token": "r.canary", "id_token": idp.rsa.token(&json!({"sub": "a1"}))}));
        let mut body = body("apple", &idp.rsa.token(&idp.claims(world, ("apple", "a1"), json!({}))));
        body["authorization_code"] = "c".into();
        let ada = Person::from(&world.post("/v1/auth/id-token", &tenant.phone, body).await.expect(200));
        let (app, user, now_ms) = (tenant.id, ada.id.parse().unwrap(), world.now_ms());
        for _ in 0..2 {
            world.kairos.platform.store.write(move |conn| revoke_apple(conn, (app, user), now_ms)).await.unwrap();
        }
        sql(world, "delete from identities".to_owned()).await;
        world.drain().await;
        assert_eq!(idp.asked("/auth/revoke").len(), 1);
        // A token that can never be taken back is given up after some days.
        sql(world, "delete from identity_providers".to_owned()).await;
        let row = format!("insert into identity_revocations values ('{app}', 'idn_00000000000070008000000000000000', 'x', '', 0, 0)");
        sql(world, row).await;
        for _ in 0..30 {
            world.advance(Duration::from_secs(6 * 3_600)).await;
        }
        assert_eq!(world.number("select count(*) from identity_revocations").await, 0);
    }

    async fn apples_notices_are_heeded_once(world) {
        let idp = Idp::open(world).await;
        let (tenant, second) = (world.app.clone(), world.new_app("Staging").await);
        idp.set_up(world, &tenant).await;
        idp.set_up(world, &second).await;
        let tell = async |jti: &str, kind: &str, at_ms: i64| {
            let event = json!({"type": kind, "sub": "a1", "event_time": at_ms});
            world.post("/v1/auth/apple/notifications", &Caller::Nobody, json!({"payload": idp.notice(world, jti, &event)})).await
        };
        let first = idp.enters(world, &tenant, ("apple", "a1"), mail("x@privaterelay.appleid.com")).await;
        let twin = idp.enters(world, &second, ("apple", "a1"), mail("x@privaterelay.appleid.com")).await;
        let stranger = idp.enters(world, &tenant, ("apple", "a2"), json!({})).await;
        world.advance(Duration::from_secs(10)).await;
        let reachable = async || world.get("/v1/me/identities", &first.token).await.expect(200)["items"][0]["email_reachable"].clone();
        tell("m1", "email-disabled", world.now_ms()).await.expect(200);
        assert_eq!(reachable().await, false);
        tell("m0", "email-enabled", world.now_ms() - 5_000).await.expect(200);
        assert_eq!(reachable().await, false, "an older notice comes late");
        world.advance(Duration::from_secs(1)).await;
        tell("m2", "email-enabled", world.now_ms()).await.expect(200);
        assert_eq!(reachable().await, true);
        tell("m3", "something-new", world.now_ms()).await.expect(200);
        // What was before the last sign-in is over.
        tell("r0", "consent-revoked", world.now_ms() - 60_000).await.expect(200);
        assert!(speaks(world, &first.token).await);
        tell("r1", "consent-revoked", world.now_ms()).await.expect(200);
        assert!(!speaks(world, &first.token).await && !speaks(world, &twin.token).await && speaks(world, &stranger.token).await);
        world.advance(Duration::from_secs(1)).await;
        let back = idp.enters(world, &tenant, ("apple", "a1"), mail("x@privaterelay.appleid.com")).await;
        assert_eq!(back.id, first.id, "who comes back is who they were");
        tell("r1", "consent-revoked", world.now_ms() + 1).await.expect(200);
        assert!(speaks(world, &back.token).await, "the same notice again");
        tell("d1", "account-delete", world.now_ms()).await.expect(200);
        assert!(!speaks(world, &back.token).await);
        assert_eq!(world.number("select count(*) from identities where subject = 'a1'").await, 0);
    }

    async fn the_only_way_in_opens_again_after_a_new_consent(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = idp.enters(world, &tenant, ("apple", "a1"), json!({})).await;
        let event = json!({"type": "consent-revoked", "sub": "a1", "event_time": world.now_ms()});
        let notice = json!({"payload": idp.notice(world, "r1", &event)});
        world.post("/v1/auth/apple/notifications", &Caller::Nobody, notice).await.expect(200);
        assert_eq!(world.number("select count(*) from identities where revoked_ms is not null").await, 1);
        assert!(!speaks(world, &ada.token).await);
        assert_eq!(idp.enters(world, &tenant, ("apple", "a1"), json!({})).await.id, ada.id);
        assert_eq!(world.number("select count(*) from identities where revoked_ms is not null").await, 0);
    }

    async fn a_forged_notice_is_refused_and_changes_nothing(world) {
        let idp = Idp::open(world).await;
        let tenant = world.app.clone();
        idp.set_up(world, &tenant).await;
        let ada = idp.enters(world, &tenant, ("apple", "a1"), json!({})).await;
        let now_s = world.now_ms() / 1_000;
        let event = json!({"type": "account-delete", "sub": "a1", "event_time": world.now_ms()}).to_string();
        let claims = |change: Value| {
            let mut claims = json!({"iss": "https://appleid.apple.com", "aud": CLIENT, "iat": now_s, "jti": "j", "events": event});
            merge(&mut claims, change);
            claims
        };
        let signed = |change: Value| idp.rsa.token(&claims(change));
        let mut forged = vec![
            Key::p256("e1").token(&claims(json!({}))),
            Key::p256("unknown").token(&claims(json!({}))),
            format!("{}.{}.", encoded("{\"alg\":\"none\",\"kid\":\"r1\"}"), encoded(&claims(json!({})).to_string())),
            idp.rsa.token(&idp.claims(world, ("apple", "a1"), json!({}))),
            String::new(),
        ];
        for change in [
            json!({"iss": idp.url()}), json!({"aud": "com.example.other"}), json!({"aud": null}), json!({"jti": null}),
            json!({"jti": ""}), json!({"iat": null}), json!({"iat": now_s + 61}), json!({"iat": now_s - 31 * 86_400}),
            json!({"exp": now_s - 61}), json!({"events": null}), json!({"events": "{"}), json!({"events": {"type": "account-delete"}}),
        ] {
            forged.push(signed(change));
        }
        for payload in forged {
            let answer = world.post("/v1/auth/apple/notifications", &Caller::Nobody, json!({"payload": payload})).await;
            answer.refused(401, "invalid_id_token");
        }
        assert!(speaks(world, &ada.token).await);
        assert_eq!(world.number("select count(*) from identity_notices").await, 0);
        let good = signed(json!({}));
        world.post("/v1/auth/apple/notifications", &Caller::Nobody, json!({"payload": good})).await.expect(200);
        assert!(!speaks(world, &ada.token).await);
    }
}
