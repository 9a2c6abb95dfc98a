//! Receipts: what was shown is provable, and a stock library verifies who says so.

use crate::consent::{add_partner, signed_in};
use crate::world::{Caller, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kairos::clock::{DAY_MS, Time};
use serde_json::{Value, json};
use std::time::Duration;

const FRENCH: &str = "Pouvons-nous vous faire des offres ?";

async fn declare(world: &World) {
    let body = json!({"key": "ads", "name": "Offers", "basis": "consent", "version": "1", "valid_ms": DAY_MS,
        "texts": {"en": "May we make you offers?", "fr": FRENCH}, "categories": ["PersonalisedAdvertising"],
        "personal_data": ["interests"]});
    world.post("/v1/purposes", &world.app.server, body).await.expect(201);
    let controller = json!({"name": "Airport plc", "address": "1 Runway", "email": "privacy@airport.example",
        "url": "https://airport.example", "privacy_notice_url": "https://airport.example/privacy"});
    let body = json!({"settings": {"controller": controller, "jurisdiction": "FR"}});
    world.patch("/v1/app", &world.app.server, body).await.expect(200);
}

async fn granted(world: &World, me: &Caller, more: Value) -> String {
    let mut body = json!({"purpose": "ads", "granted": true, "text_version": "1",
        "evidence": {"screen": "welcome", "locale": "fr-CA", "app_version": "4.2", "method": "onboarding"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.post("/v1/me/consents", me, body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn receipt(world: &World, me: &Caller, id: &str) -> Value {
    world.get(&format!("/v1/me/consents/{id}/receipt"), me).await.expect(200)
}

/// The claims of a signature by one of the published keys, as another service would read them.
async fn verified(world: &World, jws: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let keys = world.get("/.well-known/jwks.json", &Caller::Nobody).await.expect(200);
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let header = jsonwebtoken::decode_header(jws)?;
    assert_eq!(header.typ.as_deref(), Some("consent-receipt+jwt"));
    let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref().unwrap()).unwrap())?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    Ok(jsonwebtoken::decode::<Value>(jws, &key, &validation)?.claims)
}

fn states(receipt: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    receipt["events"].as_array().unwrap().iter().map(|e| (text(&e["event_state"]), text(&e["event_time"]))).collect()
}

both! {
    async fn a_receipt_says_what_was_shown_by_whom_for_what_and_until_when(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        let start = world.now_ms();
        let id = granted(world, &me, json!({})).await;
        let answer = receipt(world, &me, &id).await;
        let receipt = &answer["receipt"];
        assert_eq!(receipt["schema_version"], "ISO/IEC TS 27560:2023");
        assert_eq!((&receipt["record_id"], &receipt["pii_principal_id"]), (&json!(id), &json!(user)));
        let processing = &receipt["processing"];
        let hash = ring::digest::digest(&ring::digest::SHA256, FRENCH.as_bytes());
        let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(processing["notice"], json!({"version": "1", "language": "fr", "text": FRENCH, "sha256": hash}));
        assert_eq!(processing["purpose_type"], json!(["https://w3id.org/dpv#PersonalisedAdvertising"]));
        assert_eq!(processing["pii_information"], json!([{"pii_type": "interests"}]));
        for (field, value) in [
            ("purpose", "ads"), ("purpose_name", "Offers"), ("lawful_basis", "consent"), ("collection_method", "onboarding"),
            ("jurisdiction", "FR"), ("privacy_notice", "https://airport.example/privacy"),
        ] {
            assert_eq!(processing[field], value, "{field}");
        }
        assert!(processing["withdrawal_method"].as_str().unwrap().starts_with("POST http"));
        assert_eq!(processing["recipient_third_parties"], json!([]));
        let controller = &receipt["parties"][0];
        assert_eq!((&controller["party_type"], &controller["party_name"]), (&json!("controller"), &json!("Airport plc")));
        assert_eq!((&controller["party_email"], &processing["pii_controllers"][0]), (&json!("privacy@airport.example"), &controller["party_id"]));
        assert_eq!(receipt["events"], json!([{"event_time": Time(start).to_string(), "event_state": "given",
            "event_type": "explicit", "entity_id": "user", "validity_duration": "PT86400S"}]));

        let claims = verified(world, answer["jws"].as_str().unwrap()).await.unwrap();
        assert_eq!(&claims["receipt"], receipt);
        assert_eq!(claims["iat"], start / 1_000);
        let by_server = world.get(&format!("/v1/users/{user}/consents/{id}/receipt"), &world.app.server).await.expect(200);
        assert_eq!(&by_server["receipt"], receipt);
    }

    async fn a_receipt_is_no_access_token_and_no_other_content_has_its_signature(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        let id = granted(world, &me, json!({})).await;
        let answer = receipt(world, &me, &id).await;
        let jws = answer["jws"].as_str().unwrap();
        world.get("/v1/me", &Caller::Bearer(jws.to_owned())).await.refused(401, "unauthorized");
        let Caller::Bearer(token) = &me else { unreachable!() };
        // An access token's header over a receipt, a receipt's over a token: neither signature fits.
        let (parts, other): (Vec<&str>, Vec<&str>) = (jws.split('.').collect(), token.split('.').collect());
        for forged in [[other[0], parts[1], parts[2]], [other[0], other[1], parts[2]], [parts[0], other[1], parts[2]]] {
            world.get("/v1/me", &Caller::Bearer(forged.join("."))).await.refused(401, "unauthorized");
        }
        let mut claims: Value = serde_json::from_slice(&BASE64URL.decode(parts[1]).unwrap()).unwrap();
        claims["receipt"]["processing"]["purpose"] = "everything".into();
        let changed = BASE64URL.encode(claims.to_string());
        assert!(verified(world, &[parts[0], &changed, parts[2]].join(".")).await.is_err());
        let payload: Value = serde_json::from_slice(&BASE64URL.decode(parts[1]).unwrap()).unwrap();
        for claim in ["sub", "aud", "exp", "sid"] {
            assert!(payload.get(claim).is_none(), "{claim} belongs to tokens");
        }
    }

    async fn a_receipt_tells_what_became_of_the_grant(world) {
        declare(world).await;
        let partner = add_partner(world, world.app.id).await;
        let (_, me) = signed_in(world, &world.app).await;
        let start = world.now_ms();
        let at = |ms: i64| Time(start + ms).to_string();
        let wide = granted(world, &me, json!({})).await;
        let theirs = granted(world, &me, json!({"partner": partner})).await;
        world.clock.advance(Duration::from_millis(10));
        let gone = world.post("/v1/me/consents", &me, json!({"purpose": "ads", "granted": false, "partner": partner})).await.expect(201);
        let of_partner = receipt(world, &me, &theirs).await;
        assert_eq!(states(&of_partner["receipt"]), [("given".into(), at(0)), ("withdrawn".into(), at(10))]);
        assert_eq!(of_partner["receipt"]["processing"]["recipient_third_parties"], json!([partner]));
        assert_eq!(of_partner["receipt"]["parties"][1]["party_name"], "Hotel");
        assert_eq!(states(&receipt(world, &me, &wide).await["receipt"]), [("given".into(), at(0))], "another's end is not its own");
        let of_withdrawal = receipt(world, &me, gone["id"].as_str().unwrap()).await;
        assert_eq!(states(&of_withdrawal["receipt"]), [("withdrawn".into(), at(10))]);
        assert_eq!(of_withdrawal["receipt"]["processing"]["notice"], json!({}));

        world.clock.advance(Duration::from_millis(u64::try_from(DAY_MS).unwrap()));
        let fresh = world.post("/v1/auth/anonymous", &world.app.phone, json!({})).await.expect(200);
        assert!(fresh["access_token"].is_string());
        // The access token is over by now: the server reads it.
        let user = of_partner["receipt"]["pii_principal_id"].as_str().unwrap();
        let read = world.get(&format!("/v1/users/{user}/consents/{wide}/receipt"), &world.app.server).await.expect(200);
        assert_eq!(states(&read["receipt"]), [("given".into(), at(0)), ("expired".into(), at(DAY_MS))]);
        let read = world.get(&format!("/v1/users/{user}/consents/{theirs}/receipt"), &world.app.server).await.expect(200);
        assert_eq!(states(&read["receipt"]), [("given".into(), at(0)), ("withdrawn".into(), at(10))], "it had ended before");
    }

    async fn a_receipt_is_for_its_person_and_their_app_alone(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        let (neighbour, them) = signed_in(world, &world.app).await;
        let other = world.new_app("Other").await;
        let id = granted(world, &me, json!({})).await;
        world.get(&format!("/v1/me/consents/{id}/receipt"), &them).await.refused(404, "not_found");
        world.get(&format!("/v1/users/{neighbour}/consents/{id}/receipt"), &world.app.server).await.refused(404, "not_found");
        world.get(&format!("/v1/users/{user}/consents/{id}/receipt"), &other.server).await.refused(404, "not_found");
        world.get("/v1/me/consents/con_1/receipt", &me).await.refused(404, "not_found");
        let limited = world.server_key(&world.app, &["app:read"]).await;
        world.get(&format!("/v1/users/{user}/consents/{id}/receipt"), &limited).await.refused(403, "missing_scope");
    }

    async fn the_history_shows_what_was_shown_also_after_the_text_has_changed(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        granted(world, &me, json!({})).await;
        let next = json!({"version": "2", "texts": {"fr": "Encore ?"}, "re_ask": true});
        world.post("/v1/purposes/ads/versions", &world.app.server, next).await.expect(201);
        granted(world, &me, json!({"text_version": "2", "evidence": {"locale": "de", "app_version": "5"}})).await;
        world.post("/v1/me/consents", &me, json!({"purpose": "ads", "granted": false})).await.expect(201);
        let history = world.get("/v1/me/consents/history", &me).await.expect(200);
        let shown = |n: usize, field: &str| history["items"][n][field].clone();
        for (n, version, language, text) in [(0, "1", "fr", FRENCH), (1, "2", "fr", "Encore ?")] {
            assert_eq!((shown(n, "text_version"), shown(n, "language"), shown(n, "text")), (json!(version), json!(language), json!(text)));
            let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!((shown(n, "notice_hash"), shown(n, "jurisdiction")), (json!(hash), json!("FR")));
        }
        assert_eq!((shown(0, "app_version"), shown(0, "method")), (json!("4.2"), json!("onboarding")));
        assert_eq!((shown(1, "app_version"), shown(1, "method")), (json!("5"), json!("app")));
        assert_eq!((shown(2, "text"), shown(2, "granted")), (Value::Null, json!(false)));
    }

    async fn the_class_of_a_purpose_is_checked_and_may_be_changed(world) {
        declare(world).await;
        let server = &world.app.server;
        let changed = world.patch("/v1/purposes/ads", server, json!({"sale_or_share": true, "categories": ["TargetedAdvertising"]})).await.expect(200);
        assert_eq!((&changed["sale_or_share"], &changed["categories"], &changed["name"]), (&json!(true), &json!(["TargetedAdvertising"]), &json!("Offers")));
        assert_eq!(changed["personal_data"], json!(["interests"]));
        world.patch("/v1/purposes/ads", server, json!({"categories": ["Spying"]})).await.refused_field(400, "validation_failed", "categories");
        world.patch("/v1/purposes/ads", server, json!({"basis": "contract"})).await.refused_field(400, "validation_failed", "basis");
        for (controller, field) in [
            (json!({"name": " "}), "settings.controller.name"),
            (json!({"name": "a", "url": "ftp://a"}), "settings.controller.url"),
            (json!({"name": "a", "email": "x".repeat(300)}), "settings.controller.email"),
        ] {
            let body = json!({"settings": {"controller": controller}});
            world.patch("/v1/app", server, body).await.refused_field(400, "validation_failed", field);
        }
        let body = json!({"settings": {"jurisdiction": "fr"}});
        world.patch("/v1/app", server, body).await.refused_field(400, "validation_failed", "settings.jurisdiction");
    }
}
