//! The stage of the story: an app that may speak, gateways that keep a ledger, and people who listen.

use crate::world::{Answer, Person, Tenant, World};
use kairos::moment::{books, decide_again};
use kairos::push::Gateway;
use kairos::push::standin::{Options, Row, StandIn};
use serde_json::{Value, json};
use std::time::Duration;

/// The bundle id of the app.
pub const TOPIC: &str = "app.kairos.demo";

/// See the module.
pub struct Stage {
    /// The gateways.
    pub standin: StandIn,
    /// The app.
    pub app: Tenant,
}

/// Somebody with a phone.
pub struct Listener {
    /// The person.
    pub person: Person,
    /// The token of the phone.
    pub token: String,
}

impl Stage {
    /// Opens the stand-in, points the server to it, and declares what every test needs: a purpose, a topic, a kind of
    /// moment that lasts half an hour from an event `landed`.
    pub async fn set(world: &mut World) -> Self {
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            clock: world.clock.clone(),
            ledger_file: None,
            any_token: true,
            streams: 1_000,
        };
        let standin = StandIn::open(options).await.unwrap();
        let ca = world.database.folder().join("standin-ca.pem");
        std::fs::write(&ca, standin.ca_pem()).unwrap();
        let url = standin.url();
        world
            .restart(|config| {
                config.apns_url.clone_from(&url);
                config.fcm_url.clone_from(&url);
                config.webpush_url = url;
                config.ca_file = ca.display().to_string();
            })
            .await;
        let stage = Self { standin, app: world.app.clone() };
        stage.declare(world).await;
        stage
    }

    async fn declare(&self, world: &World) {
        let by = &self.app.server;
        let apns = self.standin.issue_apns(kairos::push::Environment::Production, &[TOPIC]).unwrap();
        world.put("/v1/push-credentials/apns", by, apns).await.good();
        world.put("/v1/push-credentials/webpush", by, json!({"subject": "mailto:ops@example.com"})).await.good();
        let purpose =
            json!({"key": "marketing", "name": "Offers", "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
        world.post("/v1/purposes", by, purpose).await.good();
        let contract =
            json!({"key": "service", "name": "Service", "basis": "contract", "version": "1", "texts": {"en": "We do."}});
        world.post("/v1/purposes", by, contract).await.good();
        let topic = json!({"key": "offers", "name": "Offers", "default_on": true});
        world.post("/v1/topics", by, topic).await.good();
        let alerts = json!({"key": "alerts", "name": "Alerts", "default_on": true, "critical": true});
        world.post("/v1/topics", by, alerts).await.good();
        self.kind(world, json!({})).await;
    }

    /// The kind `landing`, with these fields changed.
    pub async fn kind(&self, world: &World, change: Value) {
        let mut body = json!({"key": "landing", "trigger": {"event_type": "landed"}, "window_ms": 1_800_000,
            "moment_key": "event.properties.airport"});
        merge(&mut body, change);
        world.put("/v1/moment-kinds/landing", &self.app.server, body).await.good();
    }

    /// An offer with these fields changed; its id.
    pub async fn offer(&self, world: &World, change: Value) -> String {
        let mut body = json!({"name": "Lounge", "purpose": "marketing", "topic": "offers", "base_value": 10.0,
            "template": {"fallback": "en", "variants": {"en": {
                "title": "Welcome", "body": "You are at {{ event.properties.airport }}"}}}});
        merge(&mut body, change);
        let made = world.post("/v1/offers", &self.app.server, body).await.good();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A published campaign of these offers with these fields changed; its id.
    pub async fn campaign(&self, world: &World, offers: &[&str], change: Value) -> String {
        let mut body = json!({"name": "Arrivals", "offers": offers, "trigger": {"moment": "landing"}});
        merge(&mut body, change);
        let made = world.post("/v1/campaigns", &self.app.server, body).await.good();
        let id = made["id"].as_str().unwrap().to_owned();
        world.post(&format!("/v1/campaigns/{id}/publish"), &self.app.server, json!({})).await.good();
        id
    }

    /// One offer in one campaign.
    pub async fn one_offer(&self, world: &World, offer: Value, campaign: Value) -> (String, String) {
        let offer = self.offer(world, offer).await;
        let campaign = self.campaign(world, &[&offer], campaign).await;
        (offer, campaign)
    }

    /// Somebody who agreed to offers and has a phone.
    pub async fn listener(&self, world: &World) -> Listener {
        let person = world.person(&self.app).await;
        grant(world, &person, "marketing").await;
        let token = phone(world, &person, "phone").await;
        Listener { person, token }
    }

    /// Somebody lands now, or some seconds ago; the event's id.
    pub async fn lands(&self, world: &World, who: &Listener, ago_s: i64) -> String {
        self.lands_at(world, who, "Orly", ago_s).await
    }

    /// Somebody lands at an airport.
    pub async fn lands_at(&self, world: &World, who: &Listener, airport: &str, ago_s: i64) -> String {
        let id = format!("e{}", world.number("select count(*) from events").await);
        let event = json!({"id": id, "type": "landed", "occurred_at": world.time(-ago_s), "subject": who.person.id,
            "properties": {"airport": airport}});
        let taken = world.post("/v1/events", &self.app.server, json!({"events": [event]})).await.expect(202);
        assert_eq!(taken["results"][0]["status"], "accepted", "{taken}");
        taken["results"][0]["event_id"].as_str().unwrap().to_owned()
    }

    /// What became of an event.
    pub async fn event(&self, world: &World, id: &str) -> Value {
        world.get(&format!("/v1/events/{id}"), &self.app.server).await.good()
    }

    /// The decisions about somebody, the oldest first.
    pub async fn decisions(&self, world: &World, who: &Listener) -> Vec<Value> {
        let page = world.get(&format!("/v1/decisions?user={}", who.person.id), &self.app.server).await.good();
        page["items"].as_array().unwrap().clone()
    }

    /// The one decision about somebody.
    pub async fn decision(&self, world: &World, who: &Listener) -> Value {
        let mut all = self.decisions(world, who).await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The messages to somebody, the oldest first.
    pub async fn messages(&self, world: &World, who: &Listener) -> Vec<Value> {
        let page = world.get(&format!("/v1/messages?user={}", who.person.id), &self.app.server).await.good();
        page["items"].as_array().unwrap().clone()
    }

    /// What arrived on somebody's phone, by the gateway's own account.
    pub fn arrived(&self, who: &Listener) -> Vec<Row> {
        self.standin.ledger().into_iter().filter(|row| row.token == who.token && row.delivered).collect()
    }

    /// The reason of the silence of the one decision about somebody; nothing may have arrived.
    pub async fn silence(&self, world: &World, who: &Listener) -> String {
        let decision = self.decision(world, who).await;
        assert_eq!(decision["outcome"], "silent", "{decision:#}");
        assert_eq!(decision["choices"], json!([]));
        assert!(self.arrived(who).is_empty() && self.messages(world, who).await.is_empty());
        decision["reason"].as_str().unwrap().to_owned()
    }

    /// Everything adds up, and every decision made again from its stored input is the same.
    pub async fn adds_up(&self, world: &World) {
        let app = self.app.id;
        let (books, faults) = world
            .kairos
            .platform
            .store
            .read(move |conn| {
                let books = books(conn, app)?;
                let mut faults = books.faults.clone();
                for decision in kairos::moment::decision_ids(conn, app)? {
                    faults.extend(decide_again(conn, app, decision)?);
                }
                Ok((books, faults))
            })
            .await
            .unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        // The gateways' account: nobody got a message twice, and what we call accepted has arrived.
        let arrived: Vec<String> = self.standin.ledger().into_iter().filter(|r| r.delivered).filter_map(|r| r.push_id).collect();
        let mut once = arrived.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), arrived.len(), "a message arrived twice");
        let accepted = books.messages.get("accepted").copied().unwrap_or(0);
        assert!(usize::try_from(accepted).unwrap() <= arrived.len(), "{accepted} accepted, {} arrived", arrived.len());
    }
}

/// Grants a purpose in its first text.
pub async fn grant(world: &World, person: &Person, purpose: &str) {
    let consent = json!({"purpose": purpose, "granted": true, "text_version": "1", "evidence": {"screen": "welcome"}});
    let answer = world.post("/v1/me/consents", &person.token, consent).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
}

/// Registers an iPhone; its token.
pub async fn phone(world: &World, person: &Person, installation: &str) -> String {
    let n = world.number("select count(*) from devices").await;
    let token = format!("{:064x}", 0xabc0_0000_i64 + n);
    let body = json!({"platform": "ios", "token": token, "topic": TOPIC, "locale": "en", "push_permission": "granted"});
    let path = format!("/v1/me/devices/{installation}-{}", &person.id[4..]);
    let answer = world.put(&path, &person.token, body).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    token
}

/// Puts the fields of one object into another; null removes a field.
fn merge(into: &mut Value, change: Value) {
    for (key, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(key)),
            _ => into[key] = value.clone(),
        }
    }
}

/// Minutes as a duration.
pub fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// Which gateway the phones of these tests hang on.
pub const GATEWAY: Gateway = Gateway::Apns;

/// An answer that has to be good, whichever of the good ones it is.
pub trait Good {
    /// Its body, or null.
    fn good(&self) -> Value;
}

impl Good for Answer {
    fn good(&self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        serde_json::from_str(&self.text()).unwrap_or_default()
    }
}
