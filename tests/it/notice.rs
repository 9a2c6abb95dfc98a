//! What the owner of an account is told by mail: at an address that they have proven, and at no other.

use crate::totp::{GOOD, careful, code, sign_up};
use crate::world::authenticator::{Authenticator, Says};
use crate::world::{Person, Tenant, World};
use serde_json::json;
use std::time::Duration;

const ADA: &str = "ada@example.com";
const ORIGIN: &str = "https://shop.example.com";

async fn proven(world: &World, tenant: &Tenant, person: &Person, email: &str) -> Person {
    let code = world.letters(tenant).await.iter().find(|letter| letter.to == email).unwrap().code();
    Person::from(&world.post("/v1/auth/email/verify", &person.token, json!({ "code": code })).await.expect(200))
}

/// The subjects of the mails to an address since there were so many, the oldest first.
async fn subjects(world: &World, tenant: &Tenant, since: usize) -> Vec<String> {
    let all = world.letters(tenant).await;
    all.iter().rev().skip(since).filter(|letter| letter.to == ADA).map(|letter| letter.subject.clone()).collect()
}

/// Registers a passkey: the new session and the passkey's id.
async fn register(world: &World, person: &Person) -> (Person, String) {
    let begun = world.post("/v1/auth/passkeys/register/begin", &person.token, json!({})).await.expect(200);
    let (_, credential) = Authenticator::create(&begun["options"], &Says::at(ORIGIN));
    let body = json!({"challenge_token": begun["challenge_token"], "credential": credential});
    let made = world.post("/v1/auth/passkeys/register/finish", &person.token, body).await.expect(200);
    (Person::from(&made), made["passkey"]["id"].as_str().unwrap().to_owned())
}

/// Changes everything that a user is told of; the last session.
async fn change_everything(world: &World, person: &Person) -> Person {
    let enrolled = world.post("/v1/auth/mfa/totp/enroll", &person.token, json!({})).await.expect(200);
    let secret = enrolled["secret"].as_str().unwrap();
    let first = json!({"challenge_token": enrolled["challenge_token"], "code": code(world, secret, 0)});
    let person = Person::from(&world.post("/v1/auth/mfa/totp/confirm", &person.token, first).await.expect(200));
    let off = json!({"code": code(world, secret, 30)});
    let person = Person::from(&world.post("/v1/auth/mfa/totp/disable", &person.token, off).await.expect(200));
    let (person, id) = register(world, &person).await;
    world.delete(&format!("/v1/me/passkeys/{id}"), &person.token).await.expect(204);
    let change = json!({"password": GOOD, "new_password": "another horse battery"});
    Person::from(&world.post("/v1/auth/password/change", &person.token, change).await.expect(200))
}

async fn shop(world: &World) -> Tenant {
    let tenant = world.new_app("Shop").await;
    let settings = json!({"settings": {"passkeys": {"rp_id": "example.com", "origins": [ORIGIN]}}});
    world.patch("/v1/app", &tenant.server, settings).await.expect(200);
    tenant
}

both! {
    async fn whatever_changes_about_a_way_in_is_told_to_the_proven_address(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, ADA).await;
        let ada = proven(world, &tenant, &ada, ADA).await;
        world.patch("/v1/me", &ada.token, json!({"locale": "de-CH"})).await.expect(200);
        let before = world.letters(&tenant).await.len();
        let now = change_everything(world, &ada).await;
        let told = subjects(world, &tenant, before).await;
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        let [added, removed, passkey_added, passkey_removed, changed] = told[..] else { panic!("{told:?}") };
        assert_eq!((added, removed), (passkey_added, passkey_removed));
        assert!(changed.contains("Passwort"), "in the user's own language: {changed}");
        let texts: Vec<String> = world.letters(&tenant).await.into_iter().rev().skip(before).map(|letter| letter.text).collect();
        assert!(texts[0].contains("Authenticator-App") && texts[2].contains("Passkey"), "{texts:?}");
        world.patch("/v1/app", &tenant.server, json!({"settings": {"erasure_undo_ms": 86_400_000}})).await.expect(200);
        world.delete("/v1/me", &now.token).await.expect(202);
        let letter = world.letter(&tenant, ADA).await;
        assert!(letter.subject.contains("wird gelöscht") && letter.text.contains("2026-06-16 10:00"), "until when: {letter:?}");
        world.advance(Duration::from_secs(86_401)).await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(world.number("select count(*) from users").await, 0);
        assert_eq!(world.number("select count(*) from mails").await, 0, "no mail to the address outlives the account");
    }

    async fn an_address_that_nobody_has_proven_is_told_nothing(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, ADA).await;
        let before = world.letters(&tenant).await.len();
        let now = change_everything(world, &ada).await;
        world.delete("/v1/me", &now.token).await.expect(202);
        assert_eq!(subjects(world, &tenant, before).await, Vec::<String>::new());
        // Nor is an anonymous user, who has none.
        let nobody = world.person(&tenant).await;
        register(world, &nobody).await;
        assert_eq!(world.letters(&tenant).await.len(), before);
    }

    async fn who_is_erased_at_once_is_told_by_a_mail_that_names_nobody(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, ADA).await;
        let ada = proven(world, &tenant, &ada, ADA).await;
        world.delete(&format!("/v1/users/{}", ada.id), &tenant.server).await.expect(202);
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(world.number("select count(*) from users").await, 0);
        assert!(world.letter(&tenant, ADA).await.subject.contains("was deleted"));
        assert_eq!(world.number("select count(*) from mails where user_id is not null").await, 0);
        world.advance(Duration::from_secs(3 * 86_400)).await;
        assert_eq!(world.number("select count(*) from mails where sealed is not null").await, 0, "and that is wiped when it has ended");
    }

    async fn asking_twice_for_an_erasure_tells_once(world) {
        let tenant = shop(world).await;
        let ada = sign_up(world, &tenant, ADA).await;
        let ada = proven(world, &tenant, &ada, ADA).await;
        world.patch("/v1/app", &tenant.server, json!({"settings": {"erasure_undo_ms": 86_400_000}})).await.expect(200);
        let before = world.letters(&tenant).await.len();
        for _ in 0..2 {
            world.delete(&format!("/v1/users/{}", ada.id), &tenant.server).await.expect(202);
        }
        assert_eq!(subjects(world, &tenant, before).await.len(), 1);
    }

    async fn nothing_is_mailed_to_an_address_that_apple_no_longer_forwards(world) {
        let tenant = shop(world).await;
        let ada = careful(world, &tenant, ADA).await;
        let person = proven(world, &tenant, &ada.person, ADA).await;
        world.identity(&tenant, &person.id).await;
        let set = async |reachable: bool| {
            let row = format!("update identities set email = '{ADA}', email_is_private = true, email_reachable = {reachable}");
            world.kairos.platform.store.write(move |conn| conn.batch(&row)).await.unwrap();
        };
        let request = async || {
            let before = world.letters(&tenant).await.len();
            let asked = world.post("/v1/auth/email-code/request", &tenant.phone, json!({"email": ADA})).await.expect(202);
            assert!(asked["challenge_id"].is_string());
            world.letters(&tenant).await.len() - before
        };
        set(false).await;
        assert_eq!(request().await, 0);
        let before = world.letters(&tenant).await.len();
        let change = json!({"password": GOOD, "new_password": "another horse battery"});
        world.post("/v1/auth/password/change", &person.token, change).await.expect(200);
        assert_eq!(world.letters(&tenant).await.len(), before);
        set(true).await;
        assert_eq!(request().await, 1);
    }
}
