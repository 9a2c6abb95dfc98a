//! The keys that sign our tokens change, and nobody who behaves notices.

use crate::world::{Caller, Person, Tenant, World};
use kairos::people::account::Accounts;
use kairos::people::account::keyring::{PUBLISHED_MS, over_ms, signing};
use serde_json::{Value, json};
use std::time::Duration;

fn kid(token: &Caller) -> String {
    let Caller::Bearer(token) = token else { unreachable!() };
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

/// Checks a token as another service would: from nothing but the issuer's name.
async fn another_service_takes(world: &World, tenant: &Tenant, token: &Caller) -> bool {
    let metadata = world.get("/.well-known/openid-configuration", &Caller::Nobody).await.expect(200);
    let issuer = metadata["issuer"].as_str().unwrap().to_owned();
    let path = metadata["jwks_uri"].as_str().unwrap().strip_prefix(&issuer).unwrap().to_owned();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(world.get(&path, &Caller::Nobody).await.expect(200)).unwrap();
    let Caller::Bearer(token) = token else { unreachable!() };
    let Some(key) = keys.find(&jsonwebtoken::decode_header(token).unwrap().kid.unwrap()) else { return false };
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&[tenant.id.to_string()]);
    rules.set_issuer(&[issuer]);
    // The test's clock is not the machine's.
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &jsonwebtoken::DecodingKey::from_jwk(key).unwrap(), &rules).is_ok()
}

async fn refresh(world: &World, tenant: &Tenant, person: &Person) -> Person {
    let body = json!({ "refresh_token": person.refresh_token });
    Person::from(&world.post("/v1/auth/refresh", &tenant.phone, body).await.expect(200))
}

async fn rotate(world: &World) -> String {
    let platform = world.kairos.platform.clone();
    let rotate = move |conn: &mut _| Accounts::rotate(conn, (&platform.master_key, &platform.ids, platform.clock.now_ms()));
    world.kairos.platform.store.write(rotate).await.unwrap()
}

both! {
    async fn a_new_key_is_published_before_it_signs_and_the_old_one_believed_until_it_is_over(world) {
        let tenant = world.new_app("Louvre").await;
        let mut person = world.person(&tenant).await;
        let (old, new) = (kid(&person.token), rotate(world).await);
        world.drain().await;
        let keys = world.get("/.well-known/jwks.json", &Caller::Nobody).await.expect(200);
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
        let mut seen = Vec::new();
        for minute in 0..30 {
            person = refresh(world, &tenant, &person).await;
            world.get("/v1/me", &person.token).await.expect(200);
            assert!(another_service_takes(world, &tenant, &person.token).await);
            seen.push(kid(&person.token));
            let before = person.clone();
            world.advance(Duration::from_secs(60)).await;
            world.get("/v1/me", &before.token).await.expect(200);
            assert_eq!(*seen.last().unwrap(), if minute <= 10 { old.clone() } else { new.clone() }, "minute {minute}");
        }
        let private = format!("select count(*) from signing_keys where kid = '{old}' and retired_ms is not null and length(sealed) = 0");
        assert_eq!(world.number(&private).await, 1, "the private half of the old key is gone");
        let keys = world.get("/.well-known/jwks.json", &Caller::Nobody).await.expect(200);
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "the public half stays, for what it signed for long");
        world.restart(|_| {}).await;
        world.get("/v1/me", &person.token).await.expect(200);
    }

    async fn keys_change_by_themselves_when_they_are_old(world) {
        let count = "select count(*) from signing_keys";
        world.advance(Duration::from_secs(90 * 86_400 - 1)).await;
        assert_eq!(world.number(count).await, 1);
        world.advance(Duration::from_secs(1)).await;
        world.drain().await;
        assert_eq!(world.number(count).await, 2);
        world.advance(Duration::from_secs(86_400)).await;
        assert_eq!(world.number(count).await, 2);
        let metadata = world.get("/.well-known/openid-configuration", &Caller::Nobody).await.expect(200);
        let other = world.get("/.well-known/oauth-authorization-server", &Caller::Nobody).await.expect(200);
        assert_eq!(metadata, other);
        assert_eq!(metadata["issuer"], json!("http://kairos.test"));
    }
}

#[test]
fn a_key_signs_only_after_everybody_may_have_seen_it() {
    assert_eq!(signing(&[0], 0), 0);
    assert_eq!(signing(&[0, 100], 100), 0);
    assert_eq!(signing(&[0, 100], 99 + PUBLISHED_MS), 0);
    assert_eq!(signing(&[0, 100], 100 + PUBLISHED_MS), 1);
    assert_eq!(signing(&[0, 100, 200], 100 + PUBLISHED_MS), 1);
    assert_eq!(signing(&[0, 100, 200], 200 + PUBLISHED_MS), 2);
    // A clock that is set back takes the first key that there is.
    assert_eq!(signing(&[500, 600], 0), 0);
    assert!(over_ms(100, 600_000) > 100 + PUBLISHED_MS + 600_000);
}
