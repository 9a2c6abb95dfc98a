//! Passkeys: registered, signed in with, asked for as a second factor; everything that a forged one may say.

use crate::totp::{careful, claims, code, plain, sign_in, sign_up, speaks};
use crate::world::authenticator::{Authenticator, PRESENT, Says, VERIFIED, encode};
use crate::world::browser::{Browser, serve};
use crate::world::{Answer, Caller, Person, Tenant, World};
use serde_json::{Value, json};
use std::time::Duration;

const ORIGIN: &str = "https://shop.example.com";
const ANDROID: &str = "android:apk-key-hash:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn settings(world: &World, tenant: &Tenant, passkeys: Value) -> Answer {
    world.patch("/v1/app", &tenant.server, json!({"settings": {"passkeys": passkeys}})).await
}

/// An app whose passkeys belong to `example.com`.
async fn shop(world: &World) -> Tenant {
    let tenant = world.new_app("Shop").await;
    settings(world, &tenant, json!({"rp_id": "example.com", "origins": [ORIGIN, ANDROID]})).await.expect(200);
    tenant
}

async fn begin_register(world: &World, person: &Person) -> (String, Value) {
    let begun = world.post("/v1/auth/passkeys/register/begin", &person.token, json!({})).await.expect(200);
    (begun["challenge_token"].as_str().unwrap().to_owned(), begun["options"].clone())
}

async fn finish_register(world: &World, person: &Person, (token, credential): (&str, Value)) -> Answer {
    let body = json!({"challenge_token": token, "credential": credential, "name": "my phone"});
    world.post("/v1/auth/passkeys/register/finish", &person.token, body).await
}

/// Registers a passkey: the new session, the authenticator, and the passkey's id.
async fn register(world: &World, person: &Person) -> (Person, Authenticator, String) {
    let (token, options) = begin_register(world, person).await;
    let (authenticator, credential) = Authenticator::create(&options, &Says::at(ORIGIN));
    let made = finish_register(world, person, (&token, credential)).await.expect(200);
    (Person::from(&made), authenticator, made["passkey"]["id"].as_str().unwrap().to_owned())
}

async fn begin(world: &World, tenant: &Tenant, body: Value) -> (String, Value) {
    let begun = world.post("/v1/auth/passkeys/sign-in/begin", &tenant.phone, body).await.expect(200);
    (begun["challenge_token"].as_str().unwrap().to_owned(), begun["options"].clone())
}

async fn finish(world: &World, tenant: &Tenant, (token, credential): (&str, &Value)) -> Answer {
    let body = json!({"challenge_token": token, "credential": credential});
    world.post("/v1/auth/passkeys/sign-in/finish", &tenant.phone, body).await
}

/// Signs in with a passkey alone.
async fn enter(world: &World, tenant: &Tenant, authenticator: &mut Authenticator) -> Answer {
    let (token, options) = begin(world, tenant, json!({})).await;
    let credential = authenticator.sign(&options, &Says::at(ORIGIN));
    finish(world, tenant, (&token, &credential)).await
}

both! {
    async fn a_passkey_signs_in_alone_and_counts_as_two_factors(world) {
        let tenant = shop(world).await;
        let ada = careful(world, &tenant, "ada@example.com").await;
        let (token, options) = begin_register(world, &ada.person).await;
        assert_eq!(options["rp"], json!({"name": "Shop", "id": "example.com"}));
        assert_eq!((&options["user"]["name"], &options["attestation"]), (&json!("ada@example.com"), &json!("none")));
        let selection = &options["authenticatorSelection"];
        assert_eq!((&selection["residentKey"], &selection["userVerification"]), (&json!("required"), &json!("required")));
        let handle = options["user"]["id"].as_str().unwrap();
        assert!(handle.len() == 22 && !encode(ada.person.id.as_bytes()).contains(handle), "the handle is random");
        let (mut phone, credential) = Authenticator::create(&options, &Says::at(ORIGIN));
        let made = finish_register(world, &ada.person, (&token, credential.clone())).await.expect(200);
        finish_register(world, &Person::from(&made), (&token, credential)).await.refused(401, "challenge_over");
        let now = Person::from(&made);
        assert!(!speaks(world, &ada.person).await, "a new session takes the place of the old one");
        assert_eq!(claims(&now)["amr"], json!(["pwd", "pop", "otp"]));
        let entered = Person::from(&enter(world, &tenant, &mut phone).await.expect(200));
        assert_eq!(entered.id, ada.person.id);
        assert_eq!(claims(&entered)["amr"], json!(["pop"]));
        assert!(speaks(world, &now).await);
        let factors = world.get("/v1/me/factors", &entered.token).await.expect(200);
        let expected = json!([{"id": made["passkey"]["id"], "name": "my phone", "second_factor": false, "backed_up": false,
            "transports": ["internal"], "created_at": world.time(0), "last_used_at": world.time(0)}]);
        assert_eq!(factors["passkeys"], expected);
        // On a phone, the origin is the program's.
        let (token, options) = begin(world, &tenant, json!({})).await;
        let credential = phone.sign(&options, &Says::at(ANDROID));
        finish(world, &tenant, (&token, &credential)).await.expect(200);
    }

    async fn beginning_to_sign_in_tells_nothing_and_names_nobody(world) {
        let tenant = shop(world).await;
        let (_, mut before) = begin(world, &tenant, json!({})).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        register(world, &ada).await;
        let (_, mut after) = begin(world, &tenant, json!({})).await;
        let challenges = (before["challenge"].take(), after["challenge"].take());
        assert_ne!(challenges.0, challenges.1);
        assert_eq!(before, after);
        assert_eq!(after["allowCredentials"], json!([]));
        for token in ["ct_00000000000000000000000000000000", "x"] {
            let answer = world.post("/v1/auth/passkeys/sign-in/begin", &tenant.phone, json!({"challenge_token": token})).await;
            answer.refused(401, "challenge_over");
        }
        let other = world.new_app("Without").await;
        world.post("/v1/auth/passkeys/sign-in/begin", &other.phone, json!({})).await.refused(409, "no_passkeys");
        let nobody = world.person(&other).await;
        world.post("/v1/auth/passkeys/register/begin", &nobody.token, json!({})).await.refused(409, "no_passkeys");
    }

    async fn a_marked_passkey_is_asked_for_after_the_password(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let (_, mut evil, _) = register(world, &eve).await;
        let (ada, mut phone, id) = register(world, &ada).await;
        let other = Person::from(&sign_in(world, &tenant, "ada@example.com").await.expect(200));
        let path = format!("/v1/me/passkeys/{id}");
        let renamed = world.patch(&path, &ada.token, json!({"name": "old phone"})).await.expect(200);
        assert_eq!((&renamed["name"], renamed.get("recovery_codes")), (&json!("old phone"), None));
        assert!(speaks(world, &other).await, "a name changes nothing else");
        world.patch(&path, &eve.token, json!({"name": "mine"})).await.refused(401, "unauthorized");
        let marked = world.patch(&path, &ada.token, json!({"second_factor": true})).await.expect(200);
        assert_eq!(marked["recovery_codes"].as_array().unwrap().len(), 10);
        assert!(!speaks(world, &other).await && speaks(world, &ada).await);
        let asked = sign_in(world, &tenant, "ada@example.com").await.expect(202);
        assert_eq!(asked["factors"], json!(["passkey", "recovery"]));
        // Somebody else's passkey is no second factor of hers.
        let second = json!({"challenge_token": asked["challenge_token"]});
        let (token, options) = begin(world, &tenant, second.clone()).await;
        assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 1);
        let credential = evil.sign(&options, &Says::at(ORIGIN));
        finish(world, &tenant, (&token, &credential)).await.refused(401, "invalid_passkey");
        let (token, options) = begin(world, &tenant, second.clone()).await;
        let mut credential = phone.sign(&options, &Says::at(ORIGIN));
        // A phone that was told whom to ask for may leave out who it is.
        credential["response"].as_object_mut().unwrap().remove("userHandle");
        let entered = Person::from(&finish(world, &tenant, (&token, &credential)).await.expect(200));
        assert_eq!((&entered.id, &claims(&entered)["amr"]), (&ada.id, &json!(["pwd", "pop"])));
        world.post("/v1/auth/passkeys/sign-in/begin", &tenant.phone, second).await.refused(401, "challenge_over");
        // The codes work too, and the mark can be taken away again.
        let asked = sign_in(world, &tenant, "ada@example.com").await.expect(202);
        let body = json!({"challenge_token": asked["challenge_token"], "code": marked["recovery_codes"][0]});
        let entered = Person::from(&world.post("/v1/auth/mfa/totp/recovery", &tenant.phone, body).await.expect(200));
        world.advance(Duration::from_secs(300)).await;
        let stale = world.patch(&path, &entered.token, json!({"second_factor": false})).await;
        stale.refused(401, "insufficient_user_authentication");
        let fresh = Person::from(&enter(world, &tenant, &mut phone).await.expect(200));
        world.patch(&path, &fresh.token, json!({"second_factor": false})).await.expect(200);
        let factors = world.get("/v1/me/factors", &fresh.token).await.expect(200);
        assert_eq!((&factors["second_factor"], &factors["recovery_codes_left"]), (&json!(false), &json!(0)));
        sign_in(world, &tenant, "ada@example.com").await.expect(200);
    }

    async fn a_passkey_steps_up_its_own_user_alone(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let (ada, mut phone, _) = register(world, &ada).await;
        let (eve, mut evil, _) = register(world, &eve).await;
        let Caller::Bearer(token) = &ada.token else { unreachable!() };
        let by = async || {
            let begun = world.call("POST", "/v1/auth/passkeys/sign-in/begin").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
            begun.json(&json!({})).send().await.expect(200)
        };
        for (signer, good) in [(&mut evil, false), (&mut phone, true)] {
            let begun = by().await;
            assert_eq!(begun["options"]["allowCredentials"].as_array().unwrap().len(), 1);
            let credential = signer.sign(&begun["options"], &Says::at(ORIGIN));
            let body = json!({"passkey": {"challenge_token": begun["challenge_token"], "credential": credential}});
            let answer = world.post("/v1/auth/step-up", &ada.token, body.clone()).await;
            if good {
                assert_eq!(answer.expect(200)["user"]["id"], json!(ada.id));
            } else {
                answer.refused(401, "invalid_passkey");
                assert!(speaks(world, &ada).await);
            }
            // Used up either way.
            world.post("/v1/auth/step-up", &eve.token, body).await.refused(401, "invalid_passkey");
        }
    }

    async fn an_anonymous_user_gets_an_account_with_a_passkey(world) {
        let tenant = shop(world).await;
        let nobody = world.person(&tenant).await;
        let device = json!({"platform": "ios", "token": "ab".repeat(32), "topic": "a.b", "push_permission": "granted"});
        world.put("/v1/me/devices/phone-1", &nobody.token, device).await.expect(201);
        let (person, mut phone, id) = register(world, &nobody).await;
        assert_eq!(person.id, nobody.id);
        assert!(!speaks(world, &nobody).await);
        assert_eq!(world.number("select count(*) from users where anonymous").await, 0);
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1);
        world.delete(&format!("/v1/me/passkeys/{id}"), &person.token).await.refused(409, "last_way_in");
        let entered = Person::from(&enter(world, &tenant, &mut phone).await.expect(200));
        assert_eq!(entered.id, nobody.id);
        // With a second way in, either may go.
        let (entered, mut spare, other) = register(world, &entered).await;
        world.delete(&format!("/v1/me/passkeys/{other}"), &entered.token).await.expect(204);
        world.delete(&format!("/v1/me/passkeys/{other}"), &entered.token).await.refused(404, "not_found");
        enter(world, &tenant, &mut spare).await.refused(401, "invalid_passkey");
        enter(world, &tenant, &mut phone).await.expect(200);
        // Somebody else's anonymous session is merged and ends, as at every door.
        let guest = world.person(&tenant).await;
        let Caller::Bearer(token) = &guest.token else { unreachable!() };
        let (challenge, options) = begin(world, &tenant, json!({})).await;
        let body = json!({"challenge_token": challenge, "credential": phone.sign(&options, &Says::at(ORIGIN))});
        let call = world.call("POST", "/v1/auth/passkeys/sign-in/finish").by(&tenant.phone).header("Authorization", &format!("Bearer {token}"));
        call.json(&body).send().await.expect(200);
        assert!(!speaks(world, &guest).await);
    }

    async fn a_password_is_given_up_for_a_passkey(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let (ada, mut phone, id) = register(world, &ada).await;
        let other = Person::from(&sign_in(world, &tenant, "ada@example.com").await.expect(200));
        world.delete("/v1/me/password", &ada.token).await.expect(204);
        world.delete("/v1/me/password", &ada.token).await.refused(404, "not_found");
        assert!(speaks(world, &ada).await && !speaks(world, &other).await);
        sign_in(world, &tenant, "ada@example.com").await.refused(401, "invalid_credentials");
        enter(world, &tenant, &mut phone).await.expect(200);
        world.delete(&format!("/v1/me/passkeys/{id}"), &ada.token).await.refused(409, "last_way_in");
    }

    async fn no_forged_passkey_is_registered(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let good = Says::at(ORIGIN);
        let forged = [
            Says { kind: Some("webauthn.get"), ..good.clone() },
            Says { challenge: Some(encode(&[7; 32])), ..good.clone() },
            Says { origin: "https://example.com".to_owned(), ..good.clone() },
            Says { origin: "https://shop.example.com.evil.example".to_owned(), ..good.clone() },
            Says { origin: "http://shop.example.com".to_owned(), ..good.clone() },
            Says { origin: "https://shop.example.com:8443".to_owned(), ..good.clone() },
            Says { origin: ANDROID.replace('A', "B"), ..good.clone() },
            Says { rp_id: Some("shop.example.com"), ..good.clone() },
            Says { flags: PRESENT, ..good.clone() },
            Says { flags: VERIFIED, ..good.clone() },
        ];
        for says in forged {
            let (token, options) = begin_register(world, &ada).await;
            let (_, credential) = Authenticator::create(&options, &says);
            finish_register(world, &ada, (&token, credential)).await.refused(400, "passkey_refused");
            // It is used up: a second try begins again.
            let (_, credential) = Authenticator::create(&options, &good);
            finish_register(world, &ada, (&token, credential)).await.refused(401, "challenge_over");
        }
        // Neither somebody else's secret nor an old one is good.
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let (token, options) = begin_register(world, &eve).await;
        let (_, credential) = Authenticator::create(&options, &good);
        finish_register(world, &ada, (&token, credential)).await.refused(401, "challenge_over");
        let (token, options) = begin_register(world, &ada).await;
        world.advance(Duration::from_secs(300)).await;
        let (_, credential) = Authenticator::create(&options, &good);
        finish_register(world, &ada, (&token, credential)).await.refused(401, "challenge_over");
        world.post("/v1/auth/passkeys/register/begin", &ada.token, json!({})).await.refused(401, "insufficient_user_authentication");
        assert_eq!(world.number("select count(*) from passkeys").await, 0);
        // A passkey that is registered is not registered again, by nobody.
        let ada = Person::from(&sign_in(world, &tenant, "ada@example.com").await.expect(200));
        let (ada, phone, _) = register(world, &ada).await;
        let (token, options) = begin_register(world, &ada).await;
        assert_eq!(options["excludeCredentials"][0]["id"], phone.created(&options, &good)["id"]);
        finish_register(world, &ada, (&token, phone.created(&options, &good))).await.refused(400, "passkey_refused");
        let eve = Person::from(&sign_in(world, &tenant, "eve@example.com").await.expect(200));
        let (token, options) = begin_register(world, &eve).await;
        finish_register(world, &eve, (&token, phone.created(&options, &good))).await.refused(409, "passkey_known");
        assert_eq!(world.number("select count(*) from passkeys").await, 1);
    }

    async fn no_forged_signature_signs_in_and_all_refusals_are_alike(world) {
        let tenant = shop(world).await;
        let stranger = world.new_app("Stranger").await;
        settings(world, &stranger, json!({"rp_id": "example.org", "origins": ["https://example.org"]})).await.expect(200);
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let (_, mut phone, _) = register(world, &ada).await;
        let (_, mut evil, _) = register(world, &eve).await;
        let good = Says::at(ORIGIN);
        let forged = [
            Says { kind: Some("webauthn.create"), ..good.clone() },
            Says { challenge: Some(encode(&[7; 32])), ..good.clone() },
            Says { origin: "https://example.com".to_owned(), ..good.clone() },
            Says { rp_id: Some("example.org"), ..good.clone() },
            Says { flags: PRESENT, ..good.clone() },
            Says { flags: VERIFIED, ..good.clone() },
        ];
        let mut refusals = Vec::new();
        for says in forged {
            let (token, options) = begin(world, &tenant, json!({})).await;
            let credential = phone.sign(&options, &says);
            refusals.push(finish(world, &tenant, (&token, &credential)).await);
        }
        // Parts of one answer in another one.
        let (token, options) = begin(world, &tenant, json!({})).await;
        let theirs = evil.sign(&options, &good);
        for part in ["signature", "authenticatorData", "clientDataJSON", "userHandle"] {
            let (token, options) = begin(world, &tenant, json!({})).await;
            let mut credential = phone.sign(&options, &good);
            credential["response"][part] = theirs["response"][part].clone();
            refusals.push(finish(world, &tenant, (&token, &credential)).await);
        }
        let mut credential = phone.sign(&options, &good);
        credential["response"].as_object_mut().unwrap().remove("userHandle");
        refusals.push(finish(world, &tenant, (&token, &credential)).await);
        // One that nobody has registered.
        let (token, options) = begin_register(world, &Person::from(&sign_in(world, &tenant, "eve@example.com").await.expect(200))).await;
        let (mut unknown, _) = Authenticator::create(&options, &good);
        refusals.push(enter(world, &tenant, &mut unknown).await);
        // A secret of another kind, of another app, too old, made up.
        let (asked, options) = begin(world, &tenant, json!({})).await;
        let credential = phone.sign(&options, &good);
        refusals.push(finish(world, &tenant, (&token, &credential)).await);
        refusals.push(finish(world, &stranger, (&asked, &credential)).await);
        refusals.push(finish(world, &tenant, ("ct_00000000000000000000000000000000", &credential)).await);
        let (asked, options) = begin(world, &tenant, json!({})).await;
        world.advance(Duration::from_secs(300)).await;
        let credential = phone.sign(&options, &good);
        refusals.push(finish(world, &tenant, (&asked, &credential)).await);
        refusals[0].refused(401, "invalid_passkey");
        for answer in &refusals {
            assert_eq!(plain(answer), plain(&refusals[0]));
        }
        enter(world, &tenant, &mut phone).await.expect(200);
    }

    async fn a_copy_of_a_passkey_is_refused_by_its_counter(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let (_, mut phone, _) = register(world, &ada).await;
        for _ in 0..3 {
            enter(world, &tenant, &mut phone).await.expect(200);
        }
        let newest = phone.counter;
        for counter in [newest - 1, newest - 2, 0] {
            phone.counter = counter;
            enter(world, &tenant, &mut phone).await.refused(401, "invalid_passkey");
        }
        phone.counter = newest;
        enter(world, &tenant, &mut phone).await.expect(200);
        // One that does not count at all is never refused for it.
        let eve = sign_up(world, &tenant, "eve@example.com").await;
        let (token, options) = begin_register(world, &eve).await;
        let (mut synced, _) = Authenticator::create(&options, &Says::at(ORIGIN));
        synced.counter = 0;
        let credential = synced.created(&options, &Says::at(ORIGIN));
        finish_register(world, &eve, (&token, credential)).await.expect(200);
        for _ in 0..2 {
            enter(world, &tenant, &mut synced).await.expect(200);
        }
    }

    async fn of_sixty_four_uses_of_a_signature_at_once_one_succeeds(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, "ada@example.com").await;
        let (_, mut phone, _) = register(world, &ada).await;
        let (token, options) = begin(world, &tenant, json!({})).await;
        let credential = phone.sign(&options, &Says::at(ORIGIN));
        let all = futures_util::future::join_all((0..64).map(|_| finish(world, &tenant, (&token, &credential)))).await;
        assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(all.iter().all(|answer| [200, 401].contains(&answer.status)));
    }

    async fn a_domain_is_one_apps_and_says_which_programs_may_use_its_passkeys(world) {
        let tenant = world.new_app("Shop").await;
        let print = ["AB"; 32].join(":");
        let whole = json!({"rp_id": "example.com", "origins": [ORIGIN, "https://example.com:8443", ANDROID],
            "apple_app_ids": ["A1B2C3D4E5.com.example.app"], "android": [{"package": "com.example.app", "sha256_cert_fingerprints": [print]}]});
        for (field, wrong) in [
            ("rp_id", json!("com")),
            ("rp_id", json!("Example.com")),
            ("rp_id", json!("https://example.com")),
            ("rp_id", json!("127.0.0.1")),
            ("rp_id", json!("shop.example.com")),
            ("origins", json!([])),
            ("origins", json!([ANDROID])),
            ("origins", json!(["http://example.com"])),
            ("origins", json!(["http://localhost:3000"])),
            ("origins", json!(["https://badexample.com"])),
            ("origins", json!(["https://example.com.evil.example"])),
            ("origins", json!(["https://example.com/path"])),
            ("origins", json!(["https://example.com:0"])),
            ("origins", json!([ORIGIN, "android:apk-key-hash:short"])),
            ("apple_app_ids", json!(["com.example.app"])),
            ("android", json!([{"package": "app", "sha256_cert_fingerprints": [print]}])),
            ("android", json!([{"package": "com.example.app", "sha256_cert_fingerprints": [print.to_lowercase()]}])),
            ("android", json!([{"package": "com.example.app", "sha256_cert_fingerprints": []}])),
        ] {
            let mut body = whole.clone();
            body[field] = wrong.clone();
            let named = if field == "rp_id" && wrong == "shop.example.com" { "origins" } else { field };
            let answer = settings(world, &tenant, body).await;
            assert_eq!(answer.status, 400, "{field} {wrong}: {}", answer.text());
            answer.refused_field(400, "validation_failed", &format!("settings.passkeys.{named}"));
        }
        let (apple, android) = ("/.well-known/apple-app-site-association", "/.well-known/assetlinks.json");
        let hosted = async |path: &str, host: &str| {
            let answer = world.call("GET", path).host(host).send().await;
            assert_eq!(answer.header("content-type"), Some("application/json"));
            answer.expect(200)
        };
        let none = json!({"details": []});
        assert_eq!(hosted(apple, "example.com").await, json!({"webcredentials": {"apps": []}, "applinks": none}));
        settings(world, &tenant, whole.clone()).await.expect(200);
        let ids = json!(["A1B2C3D4E5.com.example.app"]);
        assert_eq!(hosted(apple, "Example.com:443").await, json!({"webcredentials": {"apps": ids}, "applinks": none}));
        // Links in mails lead to the server's own domain; each app's programs open that app's alone.
        let own = json!({"appIDs": ids, "components": [{"/": format!("/auth/{}/*", tenant.id), "comment": "Links in mails"}]});
        assert_eq!(hosted(apple, "kairos.test:80").await, json!({"webcredentials": {"apps": []}, "applinks": {"details": [own]}}));
        let links = json!([{"relation": ["delegate_permission/common.get_login_creds"], "target": {"namespace": "android_app",
            "package_name": "com.example.app", "sha256_cert_fingerprints": [print]}}]);
        assert_eq!(hosted(android, "example.com").await, links);
        for other in ["shop.example.com", "example.org"] {
            assert_eq!(hosted(android, other).await, json!([]));
        }
        // Another app that named the domain would be let at its passkeys.
        let stranger = world.new_app("Stranger").await;
        settings(world, &stranger, whole.clone()).await.refused_field(400, "validation_failed", "settings.passkeys.rp_id");
        settings(world, &tenant, Value::Null).await.expect(200);
        assert_eq!(hosted(android, "example.com").await, json!([]));
        settings(world, &stranger, whole).await.expect(200);
    }

    async fn a_real_browser_registers_a_passkey_and_signs_in_with_it(world) {
        let tenant = world.new_app("Shop").await;
        let (page, elsewhere) = (serve(PAGE).await, serve(PAGE).await);
        let passkeys = json!({"rp_id": "localhost", "origins": [page]});
        let change = json!({"settings": {"passkeys": passkeys, "cors_origins": [page, elsewhere]}});
        world.patch("/v1/app", &tenant.server, change).await.expect(200);
        let ada = careful(world, &tenant, "ada@example.com").await;
        let browser = Browser::open(world.database.folder()).await;
        let (Caller::App(key), Caller::Bearer(token)) = (&tenant.phone, &ada.person.token) else { unreachable!() };
        let api = format!("http://{}", world.api.address);
        let with = |more: Value| {
            let mut all = json!({"api": api, "key": key});
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        browser.go(&page).await;
        let phone = browser.plug().await;
        let made = browser.run("return await register(a)", with(json!({ "token": token }))).await.unwrap();
        assert_eq!(made["status"], 200, "{made}");
        let ada_now = Person::from(&made["body"]);
        assert_eq!(made["body"]["passkey"]["transports"], json!(["internal"]));
        // Its authenticator knows that it has a passkey already.
        let Caller::Bearer(token) = &ada_now.token else { unreachable!() };
        let again = browser.run("return await register(a)", with(json!({ "token": token }))).await;
        assert!(again.as_ref().is_err_and(|error| error.starts_with("InvalidStateError")), "{again:?}");

        // Alone, by a click of the user.
        browser.run("window.a = a", with(json!({}))).await.unwrap();
        browser.click("#sign-in").await;
        browser.run("await window.done", json!({})).await.unwrap();
        assert_eq!(browser.text("#out").await, format!("200 {}", ada.person.id));
        let before = browser.credentials(&phone).await;
        assert_eq!(before.len(), 1);

        // After the password.
        let asked = sign_in(world, &tenant, &ada.email).await.expect(202);
        assert_eq!(asked["factors"], json!(["totp", "passkey", "recovery"]));
        let second = with(json!({"begin": {"challenge_token": asked["challenge_token"]}}));
        let entered = browser.run("return await signIn(a)", second).await.unwrap();
        assert_eq!(entered["status"], 200, "{entered}");
        let entered_person = Person::from(&entered["body"]);
        assert_eq!(claims(&entered_person)["amr"], json!(["pwd", "pop"]));

        // The same assertion a second time.
        let replayed = finish(world, &tenant, (entered["sent"]["challenge_token"].as_str().unwrap(), &entered["sent"]["credential"])).await;
        replayed.refused(401, "invalid_passkey");
        // The right passkey at another page.
        browser.go(&elsewhere).await;
        let wrong = browser.run("return await signIn(a)", with(json!({}))).await.unwrap();
        assert_eq!((&wrong["status"], &wrong["body"]["code"]), (&json!(401), &json!("invalid_passkey")), "{wrong}");
        browser.go(&page).await;
        let newest = browser.credentials(&phone).await.remove(0);
        assert!(newest["signCount"].as_i64() > before[0]["signCount"].as_i64(), "{newest} {before:?}");
        // A copy that was made earlier counts from where it was.
        browser.put_credential(&phone, &before[0]).await;
        let copy = browser.run("return await signIn(a)", with(json!({}))).await.unwrap();
        assert_eq!(copy["body"]["code"], json!("invalid_passkey"), "{copy}");
        browser.put_credential(&phone, &newest).await;
        assert_eq!(browser.run("return await signIn(a)", with(json!({}))).await.unwrap()["status"], 200);
        // Deleted on the server, it opens nothing, whatever the phone still has.
        let path = format!("/v1/me/passkeys/{}", made["body"]["passkey"]["id"].as_str().unwrap());
        world.delete(&path, &entered_person.token).await.expect(204);
        let gone = browser.run("return await signIn(a)", with(json!({}))).await.unwrap();
        assert_eq!(gone["body"]["code"], json!("invalid_passkey"), "{gone}");
        world.advance(Duration::from_secs(30)).await;
        let asked = sign_in(world, &tenant, &ada.email).await.expect(202);
        let body = json!({"challenge_token": asked["challenge_token"], "code": code(world, &ada.secret, 0)});
        world.post("/v1/auth/mfa/totp/challenge", &tenant.phone, body).await.expect(200);
    }
}

/// What an app's page does, as short as it can be.
const PAGE: &str = r#"<!doctype html>
<title>Shop</title>
<button id="sign-in" onclick="window.done = signIn(window.a).then(r => out.textContent = r.status + ' ' + r.body.user.id)">Sign in</button>
<p id="out"></p>
<script>
async function call(a, path, body) {
  const headers = {"Content-Type": "application/json"};
  if (a.token) headers.Authorization = "Bearer " + a.token; else headers["X-Kairos-Key"] = a.key;
  const answer = await fetch(a.api + "/v1/auth/passkeys/" + path, {method: "POST", headers, body: JSON.stringify(body)});
  return {status: answer.status, body: await answer.json(), sent: body};
}
async function register(a) {
  const begun = (await call(a, "register/begin", {})).body;
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(begun.options);
  const credential = (await navigator.credentials.create({publicKey})).toJSON();
  return call(a, "register/finish", {challenge_token: begun.challenge_token, credential, name: "browser"});
}
async function signIn(a) {
  const begun = (await call(a, "sign-in/begin", a.begin ?? {})).body;
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.options);
  const credential = (await navigator.credentials.get({publicKey})).toJSON();
  return call(a, "sign-in/finish", {challenge_token: begun.challenge_token, credential});
}
</script>
"#;
