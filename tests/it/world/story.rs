//! The smallest whole story over HTTP: an order is ready, one offer, one campaign, people with phones who said yes.
//! It works on a world and on a real process alike.

use super::{Api, Caller, Tenant};
use kairos::push::Environment;
use kairos::push::standin::StandIn;
use serde_json::{Value, json};

/// The bundle id of the app on Apple's phones.
pub const TOPIC: &str = "com.example.airport";
/// The event type that opens a moment; each event with another `n` opens another moment.
pub const EVENT: &str = "order.ready";

/// A person whom the app's back end made, with consent to `offers` and phones.
#[derive(Debug, Clone)]
pub struct Person {
    /// `usr_…`
    pub id: String,
    /// The name in the app's back end; events may say `user:` and this.
    pub external_id: String,
}

/// Declares what the story needs: purpose `offers`, topic `news`, the event type, and no caps or quiet hours by default.
pub async fn declare(api: &Api, tenant: &Tenant) {
    let texts = json!({"en": "May we tell you of offers?"});
    let purpose = json!({"key": "offers", "name": "Offers", "basis": "consent", "version": "v1", "texts": texts});
    api.post("/v1/purposes", &tenant.server, purpose).await.expect(201);
    api.post("/v1/topics", &tenant.server, json!({"key": "news", "name": "News", "default_on": true})).await.expect(201);
}

/// Stores credentials that the stand-in takes, for both gateways.
pub async fn credentials(api: &Api, tenant: &Tenant, standin: &StandIn) {
    let apns = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let fcm = standin.issue_fcm("airport").unwrap();
    for (gateway, body) in [("apns", apns), ("fcm", fcm)] {
        let answer = api.put(&format!("/v1/push-credentials/{gateway}"), &tenant.server, body).await;
        assert!(matches!(answer.status, 200 | 201 | 204), "{}", answer.text());
    }
}

/// A moment kind on [`EVENT`] that lasts ten minutes.
pub fn kind() -> Value {
    json!({
        "key": "order-ready", "trigger": {"event_type": EVENT}, "window_ms": 600_000, "moment_key": "event.properties.n",
    })
}

/// An offer of the app itself.
pub fn offer(name: &str) -> Value {
    json!({
        "name": name, "purpose": "offers", "topic": "news", "base_value": 5.0,
        "template": {"fallback": "en", "variants": {"en": {"title": "Your order is ready", "body": "{{ offer.name }}"}}},
    })
}

/// Makes kind, offer and campaign, and publishes it; the answer is (offer id, campaign id).
pub async fn campaign(api: &Api, tenant: &Tenant, offer: &Value) -> (String, String) {
    api.put("/v1/moment-kinds/order-ready", &tenant.server, kind()).await;
    let made = api.post("/v1/offers", &tenant.server, offer.clone()).await.expect(201);
    let offer_id = made["id"].as_str().unwrap().to_owned();
    let campaign = json!({"name": offer["name"], "offers": [offer_id], "trigger": {"moment": "order-ready"}});
    let campaign = api.post("/v1/campaigns", &tenant.server, campaign).await.expect(201);
    let campaign_id = campaign["id"].as_str().unwrap().to_owned();
    api.post(&format!("/v1/campaigns/{campaign_id}/publish"), &tenant.server, json!({})).await.expect(200);
    (offer_id, campaign_id)
}

/// Grants or withdraws the purpose `offers` for a person; the answer is the record.
pub async fn consent(api: &Api, tenant: &Tenant, user_id: &str, granted: bool) -> Value {
    let evidence = json!({"screen": "welcome", "language": "en", "app_version": "1.0"});
    let body = match granted {
        true => json!({"purpose": "offers", "granted": true, "text_version": "v1", "evidence": evidence}),
        false => json!({"purpose": "offers", "granted": false}),
    };
    let answer = api.post(&format!("/v1/users/{user_id}/consents"), &tenant.server, body).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

/// A person with consent, an iPhone and an Android phone.
pub async fn person(api: &Api, tenant: &Tenant, external_id: &str) -> Person {
    let made = api.post("/v1/users", &tenant.server, json!({"external_id": external_id, "locale": "en"})).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    consent(api, tenant, &id, true).await;
    for platform in ["ios", "android"] {
        let (installation, device, _) = phone(external_id, platform);
        let path = format!("/v1/users/{id}/devices/{installation}");
        let answer = api.put(&path, &tenant.server, device).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    }
    Person { id, external_id: external_id.to_owned() }
}

/// (installation id, body of its registration, token) of a phone of this owner.
pub fn phone(owner: &str, platform: &str) -> (String, Value, String) {
    let installation = format!("{owner}-{platform}");
    // Apple's tokens are hex; this one is the owner's name in it.
    let hex: String = installation.bytes().map(|b| format!("{b:02x}")).collect();
    let token = if platform == "ios" { format!("{hex:0<64}") } else { format!("fcm-{installation}:APA91b{hex}") };
    let mut device = json!({"platform": platform, "token": token, "push_permission": "granted", "time_zone": "Europe/Paris"});
    if platform == "ios" {
        device["topic"] = TOPIC.into();
    }
    (installation, device, token)
}

/// An event that opens a moment of its own for this person.
pub fn event(id: &str, person: &Person, occurred_at: &str) -> Value {
    json!({
        "id": id, "type": EVENT, "occurred_at": occurred_at, "subject": format!("user:{}", person.external_id), "properties": {"n": id},
    })
}

/// A user who signed up on the phone.
pub async fn sign_up(api: &Api, tenant: &Tenant, email: &str) -> (String, Caller) {
    let body = json!({"email": email, "password": "correct horse battery"});
    let session = api.post("/v1/auth/sign-up", &tenant.phone, body).await;
    assert!(matches!(session.status, 200 | 201), "{}", session.text());
    let session = session.json();
    (session["user"]["id"].as_str().unwrap().to_owned(), Caller::Bearer(session["access_token"].as_str().unwrap().to_owned()))
}
