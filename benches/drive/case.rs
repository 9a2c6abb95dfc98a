//! Inputs of `decide` for the benches: four offers compete for one landing; each case stops at another gate.

use kairos::app::{Cap, QuietHours, TimeOfDay};
use kairos::campaign::{Campaign, Curve, HalfLife, Offer};
use kairos::clock::{DAY_MS, HOUR_MS, MINUTE_MS};
use kairos::id::{CampaignId, ConsentId, DeviceId, MomentId, OfferId, UserId};
use kairos::moment::input::{Candidate, Device, Facts, Heard, Input, Limits, Opening, Standing, Version, Who};
use kairos::moment::refusal::Refusal;
use kairos::moment::terms::Terms;
use kairos::moment::value::Span;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Noon in Paris on a Monday in summer.
const NOON_MS: i64 = 1_781_517_600_000;

/// An input with what competes in it, compiled.
pub struct Case {
    /// Where every candidate stops; `chosen` is the whole way.
    pub name: &'static str,
    /// The input.
    pub input: Input,
    /// Its candidates' terms.
    pub terms: Vec<Arc<Terms>>,
}

/// One case per gate at which all candidates stop, in the order of the gates; the last one goes all the way.
pub fn cases() -> Vec<Case> {
    let case = |name, change: &dyn Fn(&mut Input)| {
        let (mut input, terms) = landing();
        change(&mut input);
        Case { name, input, terms }
    };
    vec![
        case("window", &|i| i.now_ms += HOUR_MS),
        case("audience", &|i| i.facts.user = json!({ "attributes": { "tier": "basic", "bags": 9.0 } })),
        case("consent", &|i| i.candidates.iter_mut().for_each(|c| c.standing = Standing::Refused(Refusal::NotGranted))),
        case("preference", &|i| i.user.push_on = false),
        case("reachable", &|i| i.user.devices[0].permitted = false),
        case("quiet_hours", &|i| i.user.quiet_hours = hours("09:00", "23:00")),
        case("cap", &|i| i.limits.overall = vec![Cap { limit: 1, window_ms: DAY_MS }]),
        case("stock", &|i| i.candidates.iter_mut().for_each(|c| c.stock_left = Some(0))),
        case("chosen", &|_| {}),
    ]
}

fn hours(from: &str, to: &str) -> Option<QuietHours> {
    Some(QuietHours { from: TimeOfDay::parse(from)?, to: TimeOfDay::parse(to)? })
}

fn nth<I: From<Uuid>>(n: u128) -> I {
    I::from(Uuid::from_u128(n))
}

fn landing() -> (Input, Vec<Arc<Terms>>) {
    let mut candidates = Vec::new();
    let mut terms = Vec::new();
    for n in 1..=4_u128 {
        let version = Version {
            campaign_id: nth::<CampaignId>(n + 1_000),
            campaign_revision: 1,
            offer_id: nth::<OfferId>(n),
            offer_revision: 1,
        };
        candidates.push(Candidate {
            version,
            standing: Standing::Granted(nth::<ConsentId>(n)),
            stock_left: Some(5),
            hidden: BTreeSet::new(),
            read: Vec::new(),
            only: None,
            collapse_id: None,
        });
        terms.push(Arc::new(Terms::compile(version, campaign(), offer(n as f64)).unwrap()));
    }
    let span = Span { opened_ms: NOON_MS, window_ms: 30 * MINUTE_MS, curve: Curve::HalfLife(HalfLife { h_ms: 10 * MINUTE_MS }) };
    let input = Input {
        now_ms: NOON_MS + 2_000,
        seed: 7,
        latency_ms: 2_000,
        moment: Opening { id: Some(nth::<MomentId>(1)), kind: "landing".into(), key: "orly".into(), span, offers_max: 1 },
        facts: Facts {
            user: json!({ "attributes": { "tier": "gold", "bags": 1.0 } }),
            event: json!({ "type": "thing.changed", "properties": { "property": "on_ground" } }),
            moment: json!({ "kind": "landing", "key": "orly" }),
            place: json!({ "name": "Orly", "tags": ["airport"] }),
            thing: json!({ "key": "3964eb" }),
        },
        user: Who {
            id: nth::<UserId>(1),
            locale: Some("fr".into()),
            time_zone: Some("Europe/Paris".into()),
            quiet_hours: hours("22:00", "07:00"),
            paused_until_ms: None,
            push_on: true,
            topics: BTreeMap::from([("arrivals".into(), true)]),
            frequency: Vec::new(),
            devices: vec![device()],
        },
        limits: Limits {
            time_zone: "Europe/Paris".into(),
            overall: vec![Cap { limit: 9, window_ms: DAY_MS }],
            ..Limits::default()
        },
        heard: vec![Heard { campaign_id: nth::<CampaignId>(1_009), category: None, planned_ms: NOON_MS - HOUR_MS }],
        beside: Vec::new(),
        trigger_needs: Vec::new(),
        test: false,
        candidates,
    };
    (input, terms)
}

fn device() -> Device {
    Device {
        id: nth::<DeviceId>(1),
        platform: kairos::people::device::Platform::Ios,
        has_token: true,
        permitted: true,
        own_kind: None,
        locale: Some("fr".into()),
        time_zone: Some("Europe/Paris".into()),
        last_seen_ms: NOON_MS,
        facts: json!({ "platform": "ios", "app_version": "1.0.0" }),
    }
}

fn campaign() -> Campaign {
    let offers = json!(["ofr_00000000000000000000000000000001"]);
    serde_json::from_value(json!({ "name": "Arrivals", "offers": offers, "trigger": { "moment": "landing" } })).unwrap()
}

fn offer(base_value: f64) -> Offer {
    serde_json::from_value(json!({
        "name": "Taxi",
        "purpose": "offers",
        "topic": "arrivals",
        "base_value": base_value,
        "audience": "user.attributes.tier == 'gold' && user.attributes.bags < 3.0",
        "template": { "fallback": "en", "variants": {
            "en": { "title": "Welcome to {{ place.name }}", "body": "A taxi waits at the exit." },
            "fr": { "title": "Bienvenue à {{ place.name }}", "body": "Un taxi vous attend." },
        } },
    }))
    .unwrap()
}
