//! Fills an empty database with the example app: airports, aircraft, passengers, partners and their offers.
//!
//! What marketers and partners make goes through the API, as they would; what would come from an airline's own systems
//! in bulk is written in bulk.

use super::airports::{self, Airport};
use super::client::Client;
use super::recording::POSITION;
use super::scene::{self, COMPETITORS, Persona, Phone};
use super::story::text;
use crate::app::TimeOfDay;
use crate::clock::HOUR_MS;
use crate::error::{Error, Result};
use crate::event::{self, Link, Thing};
use crate::http::{FreeJson, IfMatch};
use crate::id::{AppId, ConsentId, DeviceId, LinkId, PartnerId, PlaceId, ThingId, UserId};
use crate::people::consent::{self, Extent, Grant, Source};
use crate::people::device::{self, Environment, Platform as Os, PushPermission, Registration, Traits};
use crate::people::profile::{self, NewUser, PreferencesPatch, QuietTime};
use crate::place::geometry::{Point, Shape};
use crate::place::transition::Terms;
use crate::place::{self, DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT};
use crate::platform::Platform;
use crate::push;
use crate::push::standin::{self, StandIn};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the example app is made of.
pub(crate) struct Seed<'a> {
    /// The shared floor of the server that is filled.
    pub(crate) platform: &'a Platform,
    /// A connection to that server with the app's server key.
    pub(crate) client: &'a Client,
    /// The app.
    pub(crate) app_id: AppId,
    /// Every airport becomes a circle.
    pub(crate) airports: &'a [Airport],
    /// Every aircraft becomes a thing with ten passengers.
    pub(crate) aircraft: &'a BTreeSet<String>,
}

/// A passenger before and after the database knows of it.
struct Passenger {
    id: UserId,
    aircraft: usize,
    seat: usize,
}

impl Seed<'_> {
    /// Makes everything; answers how many places, things, users and phones there are.
    ///
    /// # Errors
    /// When the server refuses something, which would be a fault of the scene.
    pub(crate) async fn fill(&self, standin: &StandIn) -> Result<[usize; 4]> {
        self.credentials(standin).await?;
        let partners = self.partners_and_offers().await?;
        let things = self.ground().await?;
        let passengers = self.passengers(&things, standin).await?;
        self.consents(&passengers, &partners).await?;
        let phones = passengers.iter().map(|p| p.persona().phones.len()).sum();
        Ok([self.airports.len(), things.len(), passengers.len(), phones])
    }

    async fn credentials(&self, standin: &StandIn) -> Result<()> {
        let apns = standin.issue_apns(push::Environment::Production, &[scene::BUNDLE])?;
        for (gateway, body) in [("apns", apns), ("fcm", standin.issue_fcm("kairos-example")?)] {
            self.client.must(http::Method::PUT, &format!("/v1/push-credentials/{gateway}"), Some(&body)).await?;
        }
        Ok(())
    }

    /// Purposes, topic, attributes, partners, offers, the landing and its campaigns. Answers the partners' ids, in the
    /// order of the competitors.
    async fn partners_and_offers(&self) -> Result<Vec<Option<PartnerId>>> {
        let post = |path: &'static str, body| async move { self.client.post(path, &body).await };
        for (key, name) in [(scene::TRAVEL, "Hints for your journey"), (scene::OFFERS, "Offers of our partners")] {
            let texts = json!({ "en": name });
            post(
                "/v1/purposes",
                json!({ "key": key, "name": name, "basis": "consent", "version": scene::TEXT_VERSION, "texts": texts }),
            )
            .await?;
        }
        post("/v1/topics", json!({ "key": scene::ARRIVALS, "name": "Arrivals", "default_on": true })).await?;
        for (key, kind) in [("bags", "number"), ("tier", "string")] {
            post("/v1/attributes", json!({ "scope": "user", "key": key, "kind": kind })).await?;
        }
        let settle = json!({ "scope": "thing", "key": scene::ON_GROUND, "kind": "boolean", "settle_ms": scene::SETTLE_MS });
        post("/v1/attributes", settle).await?;
        let path = format!("/v1/event-types/{POSITION}");
        self.client.must(http::Method::PUT, &path, Some(&json!({ "max_useful_age_ms": HOUR_MS }))).await?;
        post("/v1/moment-kinds", scene::landing()).await?;
        let (mut partners, mut own, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for competitor in &COMPETITORS {
            let partner = match competitor.partner {
                Some(name) => Some(text(&post("/v1/partners", json!({ "name": name })).await?, "/id").to_owned()),
                None => None,
            };
            let offer = post("/v1/offers", competitor.body(partner.as_deref())).await?;
            if partner.is_some() { &mut theirs } else { &mut own }.push(text(&offer, "/id").to_owned());
            partners.push(partner.map(|id| id.parse()).transpose().map_err(Error::broken)?);
        }
        for (name, offers) in [("Partners on arrival", theirs), ("The app's own hints on arrival", own)] {
            let campaign = post("/v1/campaigns", scene::campaign(name, &offers)).await?;
            let path = format!("/v1/campaigns/{}/publish", text(&campaign, "/id"));
            self.client.must(http::Method::POST, &path, None).await?;
        }
        Ok(partners)
    }

    /// Airports and aircraft.
    async fn ground(&self) -> Result<Vec<ThingId>> {
        let (app, ids, now_ms) = (self.app_id, &self.platform.ids, self.platform.clock.now_ms());
        let place = |airport: &Airport| Place {
            id: ids.next::<PlaceId>(),
            key: Some(airport.iata.clone()),
            name: airport.name.clone(),
            shape: Shape::Circle { center: Point { lat: airport.lat, lon: airport.lon }, radius_m: airports::RADIUS_M },
            tags: vec![airports::TAG.to_owned()],
            terms: Terms { dwell_ms: DWELL_MS_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT },
            opening_hours: None,
            revision: 1,
            shaped_ms: now_ms,
            created_ms: now_ms,
        };
        let places: Vec<Place> = self.airports.iter().map(place).collect();
        let thing = |key: &String| Thing {
            id: ids.next::<ThingId>(),
            key: key.clone(),
            class: Some("aircraft".to_owned()),
            properties: Map::new(),
            held: BTreeMap::new(),
            seen_ms: None,
            created_ms: now_ms,
        };
        let things: Vec<Thing> = self.aircraft.iter().map(thing).collect();
        let made = things.iter().map(|t| t.id).collect();
        self.platform
            .store
            .write(move |conn| {
                place::create_many(conn, app, &places)?;
                event::things_create_many(conn, app, &things)
            })
            .await?;
        Ok(made)
    }

    /// Passengers with their phones, preferences and bookings.
    async fn passengers(&self, things: &[ThingId], standin: &StandIn) -> Result<Vec<Passenger>> {
        let (app, ids, now_ms) = (self.app_id, &self.platform.ids, self.platform.clock.now_ms());
        let keys: Vec<&String> = self.aircraft.iter().collect();
        let mut passengers = Vec::new();
        for aircraft in 0..things.len() {
            passengers.extend((0..scene::PERSONAS.len()).map(|seat| Passenger { id: ids.next(), aircraft, seat }));
        }
        let users: Vec<NewUser> = passengers.iter().map(|p| p.user(keys[p.aircraft], now_ms)).collect();
        let phones: Vec<Registration> = passengers.iter().flat_map(|p| p.phones(self, keys[p.aircraft], standin)).collect();
        let links: Vec<Link> = passengers
            .iter()
            .map(|p| Link {
                id: ids.next::<LinkId>(),
                thing_id: things[p.aircraft],
                user_id: p.id,
                partner_id: None,
                kind: "booking".to_owned(),
                starts_ms: None,
                ends_ms: None,
                created_ms: now_ms,
            })
            .collect();
        let patches: Vec<(UserId, PreferencesPatch)> =
            passengers.iter().filter_map(|p| p.preferences(now_ms).map(|patch| (p.id, patch))).collect();
        self.platform
            .store
            .write(move |conn| {
                profile::create_many(conn, app, &users)?;
                device::register_many(conn, app, &phones)?;
                event::links_create_many(conn, app, &links)?;
                for (user, patch) in patches {
                    profile::prefer(conn, app, (user, &IfMatch::any()), patch)?;
                }
                Ok(())
            })
            .await?;
        Ok(passengers)
    }

    async fn consents(&self, passengers: &[Passenger], partners: &[Option<PartnerId>]) -> Result<()> {
        let (app, ids, at_ms) = (self.app_id, &self.platform.ids, self.platform.clock.now_ms());
        let mut grants: Vec<(Extent, Vec<(UserId, ConsentId)>)> = Vec::new();
        let who = |wants: &dyn Fn(&Persona) -> bool| {
            passengers.iter().filter(|p| wants(p.persona())).map(|p| (p.id, ids.next())).collect()
        };
        grants.push((Extent { purpose: scene::TRAVEL.to_owned(), channel: None, partner: None }, who(&|p| p.travel)));
        for (n, partner) in partners.iter().enumerate() {
            if partner.is_some() {
                let extent = Extent { purpose: scene::OFFERS.to_owned(), channel: None, partner: *partner };
                grants.push((extent, who(&|p| p.partners.contains(&n))));
            }
        }
        let evidence =
            FreeJson(Map::from_iter([("screen".to_owned(), json!("onboarding")), ("language".to_owned(), json!("en"))]));
        let grant = move |extent: &Extent| Grant {
            extent: extent.clone(),
            text_version: scene::TEXT_VERSION.to_owned(),
            evidence: evidence.clone(),
            source: Source::Seed,
            at_ms,
        };
        self.platform
            .store
            .write(move |conn| {
                grants.iter().try_for_each(|(extent, users)| consent::grant_many(conn, app, users, &grant(extent)))
            })
            .await?;
        for passenger in passengers.iter().filter(|p| p.persona().withdrawn) {
            for purpose in [scene::TRAVEL, scene::OFFERS] {
                let body = json!({ "purpose": purpose, "granted": false });
                self.client.post(&format!("/v1/users/{}/consents", passenger.id), &body).await?;
            }
        }
        Ok(())
    }
}

impl Passenger {
    fn persona(&self) -> &'static Persona {
        &scene::PERSONAS[self.seat]
    }

    fn user(&self, aircraft: &str, now_ms: i64) -> NewUser {
        let persona = self.persona();
        let attributes = Map::from_iter([("bags".to_owned(), json!(persona.bags)), ("tier".to_owned(), json!(persona.tier))]);
        NewUser {
            id: self.id,
            external_id: Some(scene::passenger(aircraft, self.seat)),
            anonymous: false,
            attributes,
            locale: Some(persona.locale.to_owned()),
            time_zone: Some("Europe/Paris".to_owned()),
            now_ms,
        }
    }

    fn phones(&self, seed: &Seed<'_>, aircraft: &str, standin: &StandIn) -> Vec<Registration> {
        let persona = self.persona();
        let phone = |(n, phone): (usize, &Phone)| {
            let platform = match phone {
                Phone::Ios => Os::Ios,
                Phone::Android => Os::Android,
            };
            let installation_id = format!("{aircraft}-{}-{n}", self.seat);
            let token = token(&installation_id);
            let (gateway, topic) = match phone {
                Phone::Ios => (push::Gateway::Apns, Some(scene::BUNDLE.to_owned())),
                Phone::Android => (push::Gateway::Fcm, None),
            };
            standin
                .register(&token, standin::Phone { gateway, environment: push::Environment::Production, topic, dead_ms: None });
            let traits = Traits {
                platform,
                token: Some(token),
                environment: Environment::Production,
                topic: Some(scene::BUNDLE.to_owned()),
                locale: Some(persona.locale.to_owned()),
                time_zone: Some("Europe/Paris".to_owned()),
                push_permission: if persona.permission { PushPermission::Granted } else { PushPermission::Denied },
                app_version: Some("1.0.0".to_owned()),
            };
            let now_ms = seed.platform.clock.now_ms();
            Registration {
                id: seed.platform.ids.next::<DeviceId>(),
                user: self.id,
                installation_id,
                session: None,
                traits,
                now_ms,
            }
        };
        persona.phones.iter().enumerate().map(phone).collect()
    }

    fn preferences(&self, now_ms: i64) -> Option<PreferencesPatch> {
        let persona = self.persona();
        if persona.topic_on && persona.quiet.is_none() && !persona.paused {
            return None;
        }
        let mut patch = PreferencesPatch::default();
        if !persona.topic_on {
            patch.topics.insert(scene::ARRIVALS.to_owned(), Some(false));
        }
        if let Some((from, to)) = persona.quiet
            && let (Some(from), Some(to)) = (TimeOfDay::parse(from), TimeOfDay::parse(to))
        {
            patch.quiet_hours = Some(Some(QuietTime { from, to, zone: None }));
        }
        if persona.paused {
            patch.pause_until = Some(Some(crate::clock::Time(now_ms + 365 * 24 * HOUR_MS)));
        }
        Some(patch)
    }
}

/// A push token that looks like the real ones: 64 hex digits, the same for the same installation.
fn token(installation_id: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, installation_id.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
