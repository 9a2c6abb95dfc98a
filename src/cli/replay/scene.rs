//! The example app: its partners, their offers, what a landing is worth, and the passengers of every aircraft.
//!
//! Everything here is fixed, so that the one who judges a replay can say beforehand whose phones must ring.

use crate::clock::{HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

/// The property of an aircraft that says whether it stands on the ground.
pub(crate) const ON_GROUND: &str = "on_ground";
/// How long the old value must have been held, so that a flicker on the taxiway is no landing, in milliseconds.
pub(crate) const SETTLE_MS: i64 = 120_000;
/// The kind of moment that a landing opens.
pub(crate) const LANDING: &str = "landing";
/// The purpose of the app's own hints.
pub(crate) const TRAVEL: &str = "travel_hints";
/// The purpose of partners' offers.
pub(crate) const OFFERS: &str = "partner_offers";
/// The topic of everything that is said on arrival.
pub(crate) const ARRIVALS: &str = "arrivals";
/// The version of every purpose's text.
pub(crate) const TEXT_VERSION: &str = "2021-10";
/// The bundle id of the example app on iOS.
pub(crate) const BUNDLE: &str = "com.example.kairos";

/// A partner of the example app and its one offer.
pub(crate) struct PartnerOffer {
    /// The partner's name; `None` is the app itself.
    pub(crate) partner: Option<&'static str>,
    name: &'static str,
    base_value: f64,
    audience: Option<&'static str>,
    stock: Option<i64>,
    title: [&'static str; 2],
    body: [&'static str; 2],
}

/// Those who compete for a passenger who has just landed.
pub(crate) const COMPETITORS: [PartnerOffer; 4] = [
    PartnerOffer {
        partner: Some("City Taxi"),
        name: "Taxi at the exit",
        base_value: 9.0,
        audience: None,
        stock: None,
        title: ["Welcome to {{ place.name }}", "Bienvenue à {{ place.name }}"],
        body: [
            "A taxi waits at the exit: 10 % off for the next half hour.",
            "Un taxi vous attend : 10 % de remise pendant une demi-heure.",
        ],
    },
    PartnerOffer {
        partner: Some("Rail Link"),
        name: "Express to the centre",
        base_value: 7.0,
        audience: Some("user.attributes.bags <= 1.0"),
        stock: None,
        title: ["Next express to the centre", "Prochain train pour le centre"],
        body: ["Light luggage? Be downtown in 25 minutes.", "Bagage léger ? Le centre en 25 minutes."],
    },
    PartnerOffer {
        partner: Some("Quiet Lounge"),
        name: "Arrivals lounge",
        base_value: 14.0,
        audience: Some("user.attributes.tier == 'gold'"),
        stock: Some(20),
        title: ["The arrivals lounge is yours", "Le salon arrivées vous attend"],
        body: ["Shower and coffee, free for gold members.", "Douche et café, offerts aux membres or."],
    },
    PartnerOffer {
        partner: None,
        name: "Way to the city",
        base_value: 4.0,
        audience: None,
        stock: None,
        title: ["You have landed at {{ place.name }}", "Vous voici à {{ place.name }}"],
        body: ["Tap for the way into the city.", "Touchez pour l’itinéraire vers la ville."],
    },
];

/// The moment kind of a landing: on_ground turns true inside an airport, worth half after ten minutes, over after thirty.
pub(crate) fn landing() -> Value {
    json!({
        "key": LANDING,
        "trigger": { "event_type": "thing.changed", "property": ON_GROUND, "from": false, "to": true, "place_tags": [super::airports::TAG] },
        "window_ms": 30 * MINUTE_MS,
        "curve": { "half_life": { "h_ms": 10 * MINUTE_MS } },
        "cool_down_ms": 10 * MINUTE_MS,
    })
}

impl PartnerOffer {
    /// The body of `POST /v1/offers`.
    pub(crate) fn body(&self, partner_id: Option<&str>) -> Value {
        let variant = |n: usize| json!({ "title": self.title[n], "body": self.body[n] });
        let mut offer = json!({
            "name": self.name,
            "purpose": if self.partner.is_some() { OFFERS } else { TRAVEL },
            "topic": ARRIVALS,
            "base_value": self.base_value,
            "min_value": 1.0,
            "template": { "fallback": "en", "variants": { "en": variant(0), "fr": variant(1) } },
        });
        let optional = [
            ("partner_id", partner_id.map(Value::from)),
            ("audience", self.audience.map(Value::from)),
            ("stock", self.stock.map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                offer[key] = value;
            }
        }
        offer
    }
}

/// The body of `POST /v1/campaigns`.
pub(crate) fn campaign(name: &str, offers: &[String]) -> Value {
    json!({
        "name": name,
        "offers": offers,
        "trigger": { "moment": LANDING },
        "caps": [{ "limit": 3, "window_ms": 24 * HOUR_MS }],
    })
}

/// A phone of a passenger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phone {
    /// Through Apple's gateway.
    Ios,
    /// Through Google's.
    Android,
}

/// One kind of passenger; every aircraft carries one of each.
pub(crate) struct Persona {
    /// What tells this passenger from the others, for the story.
    pub(crate) label: &'static str,
    /// The phones that the passenger carries.
    pub(crate) phones: &'static [Phone],
    /// Whether the phones may show pushes.
    pub(crate) permission: bool,
    /// Indexes into [`COMPETITORS`] of the partners granted; the app's own hints are granted with `travel`.
    pub(crate) partners: &'static [usize],
    /// Whether the app's own hints are granted.
    pub(crate) travel: bool,
    /// Whether everything granted was withdrawn again before the flight.
    pub(crate) withdrawn: bool,
    /// Whether the topic is on.
    pub(crate) topic_on: bool,
    /// Quiet time by wall clock in Paris.
    pub(crate) quiet: Option<(&'static str, &'static str)>,
    /// Whether the passenger paused everything.
    pub(crate) paused: bool,
    /// Pieces of luggage.
    pub(crate) bags: i64,
    /// Member level.
    pub(crate) tier: &'static str,
    /// Language.
    pub(crate) locale: &'static str,
}

const PLAIN: Persona = Persona {
    label: "",
    phones: &[Phone::Ios],
    permission: true,
    partners: &[],
    travel: true,
    withdrawn: false,
    topic_on: true,
    quiet: None,
    paused: false,
    bags: 2,
    tier: "basic",
    locale: "en",
};

/// The passengers of every aircraft.
pub(crate) const PERSONAS: [Persona; 10] = [
    Persona { label: "two bags, all partners", partners: &[0, 1, 2], locale: "fr", ..PLAIN },
    Persona { label: "one bag, rail only", phones: &[Phone::Android], partners: &[1], travel: false, bags: 1, ..PLAIN },
    Persona { label: "gold, two phones", phones: &[Phone::Ios, Phone::Android], partners: &[0, 1, 2], tier: "gold", ..PLAIN },
    Persona { label: "never asked", travel: false, ..PLAIN },
    Persona { label: "withdrew consent", partners: &[0, 1, 2], withdrawn: true, ..PLAIN },
    Persona { label: "topic off", partners: &[0, 1, 2], topic_on: false, ..PLAIN },
    Persona { label: "pushes not allowed", partners: &[0, 1, 2], permission: false, ..PLAIN },
    Persona { label: "asleep", partners: &[0, 1, 2], quiet: Some(("05:00", "04:59")), ..PLAIN },
    Persona { label: "paused", partners: &[0, 1, 2], paused: true, ..PLAIN },
    Persona { label: "app's hints only", phones: &[Phone::Android], locale: "fr", ..PLAIN },
];

impl Persona {
    /// Whether this passenger's phones must ring on a landing, once each.
    pub(crate) fn must_ring(&self) -> bool {
        self.permission
            && !self.withdrawn
            && self.topic_on
            && self.quiet.is_none()
            && !self.paused
            && (self.travel || !self.partners.is_empty())
    }
}

/// The external id of a passenger: aircraft and seat.
pub(crate) fn passenger(aircraft: &str, seat: usize) -> String {
    format!("{aircraft}-{seat}")
}

/// The persona of an external id that [`passenger`] made.
pub(crate) fn persona_of(external_id: &str) -> Option<&'static Persona> {
    let seat: usize = external_id.rsplit_once('-')?.1.parse().ok()?;
    PERSONAS.get(seat)
}
