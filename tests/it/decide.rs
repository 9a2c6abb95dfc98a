//! `decide` as a pure function: a small maker of inputs, the same input gives the same decision, and planted bugs.

use kairos::app::{Cap, QuietHours, TimeOfDay};
use kairos::campaign::{Campaign, Class, Curve, DeliverBy, Devices, Offer};
use kairos::clock::{DAY_MS, HOUR_MS, MINUTE_MS, Time};
use kairos::id::{CampaignId, ConsentId, DeviceId, MomentId, OfferId, UserId};
use kairos::moment::decide;
use kairos::moment::decision::{Decision, Fate, Outcome, Reason};
use kairos::moment::input::{Candidate, Device, Facts, Heard, Input, Limits, Opening, Standing, Version, Who};
use kairos::moment::refusal::{Gate, Refusal, Verdict};
use kairos::moment::terms::Terms;
use kairos::moment::value::Span;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// Noon in Paris, a Monday in summer.
pub const NOON: &str = "2026-06-15T10:00:00.000Z";
/// How long the moments of these tests last.
pub const WINDOW_MS: i64 = 30 * MINUTE_MS;
/// Predicted push latency in these tests.
pub const LATENCY_MS: i64 = 2_000;

/// An id that sorts by its number.
pub fn nth<I: From<Uuid>>(n: u128) -> I {
    I::from(Uuid::from_u128(n))
}

pub fn noon_ms() -> i64 {
    Time::parse(NOON).unwrap().0
}

pub fn cap(limit: u32, window_ms: i64) -> Cap {
    Cap { limit, window_ms }
}

pub fn hours(from: &str, to: &str) -> QuietHours {
    QuietHours { from: TimeOfDay::parse(from).unwrap(), to: TimeOfDay::parse(to).unwrap() }
}

/// One decision under construction: everything is such that the one offer is chosen, until a test changes something.
pub struct Case {
    pub input: Input,
    pub campaigns: Vec<Campaign>,
    pub offers: Vec<Offer>,
}

impl Case {
    pub fn new() -> Self {
        let opened_ms = noon_ms();
        let input = Input {
            now_ms: opened_ms,
            seed: 7,
            latency_ms: LATENCY_MS,
            moment: Opening {
                id: Some(nth::<MomentId>(1)),
                kind: "landing".into(),
                key: "orly".into(),
                span: Span { opened_ms, window_ms: WINDOW_MS, curve: Curve::Flat },
                offers_max: 1,
            },
            facts: Facts {
                user: json!({"id": "usr_1", "attributes": {"tier": "gold"}}),
                event: json!({"type": "landed", "properties": {"gate": "F12"}}),
                moment: json!({"kind": "landing", "key": "orly"}),
                place: json!({"name": "Orly", "tags": ["airport"]}),
                thing: json!({"key": "AF123"}),
            },
            user: Who {
                id: nth::<UserId>(1),
                locale: None,
                time_zone: None,
                quiet_hours: None,
                paused_until_ms: None,
                push_on: true,
                topics: BTreeMap::from([("offers".into(), true)]),
                frequency: Vec::new(),
                devices: vec![device(1)],
            },
            limits: Limits { time_zone: "Europe/Paris".into(), ..Limits::default() },
            heard: Vec::new(),
            beside: Vec::new(),
            trigger_needs: Vec::new(),
            test: false,
            candidates: Vec::new(),
        };
        let mut case = Self { input, campaigns: Vec::new(), offers: Vec::new() };
        case.add(10.0);
        case
    }

    /// One more candidate, in a campaign of its own.
    pub fn add(&mut self, base_value: f64) -> usize {
        let n = self.offers.len();
        let number = u128::try_from(n).unwrap() + 1;
        self.campaigns.push(campaign());
        self.offers.push(offer(base_value));
        self.input.candidates.push(Candidate {
            version: Version {
                campaign_id: nth::<CampaignId>(number + 1_000),
                campaign_revision: 1,
                offer_id: nth::<OfferId>(number),
                offer_revision: 1,
            },
            standing: Standing::Granted(nth::<ConsentId>(1)),
            stock_left: None,
            hidden: BTreeSet::new(),
            read: Vec::new(),
            only: None,
            collapse_id: None,
        });
        n
    }

    pub fn terms(&self) -> Vec<Arc<Terms>> {
        let specs = self.campaigns.iter().zip(&self.offers).zip(&self.input.candidates);
        specs.map(|((c, o), of)| Arc::new(Terms::compile(of.version, c.clone(), o.clone()).unwrap())).collect()
    }

    pub fn decide(&self) -> Decision {
        decide(&self.input, &self.terms())
    }

    /// The refusal of the first candidate; it must be the reason of the silence, said by its gate, after the others passed.
    pub fn refused(&self) -> Refusal {
        let decision = self.decide();
        assert_eq!(decision.outcome, Outcome::Silent, "{decision:?}");
        assert!(decision.choices.is_empty());
        let tried = &decision.candidates[0];
        assert_eq!(tried.result, Fate::Refused);
        let (last, before) = tried.gates.split_last().unwrap();
        assert!(before.iter().all(|g| g.verdict == Verdict::Passed && g.gate < last.gate), "{:?}", tried.gates);
        let refusal = last.reason.unwrap();
        assert_eq!((last.verdict, last.gate), (Verdict::Refused, refusal.gate()));
        if decision.candidates.len() == 1 {
            assert_eq!(decision.reason, Some(Reason::Refused(refusal)));
        }
        refusal
    }

    /// The choice of a decision that goes out now.
    pub fn chosen(&self) -> kairos::moment::decision::Choice {
        let decision = self.decide();
        assert_eq!(decision.outcome, Outcome::Chosen, "{decision:?}");
        assert_eq!(decision.reason, None);
        decision.choices[0].clone()
    }

    /// The choice of a decision that waits.
    pub fn held(&self) -> kairos::moment::decision::Choice {
        let decision = self.decide();
        assert_eq!(decision.outcome, Outcome::Held, "{decision:?}");
        decision.choices[0].clone()
    }
}

pub fn device(n: u128) -> Device {
    Device {
        id: nth::<DeviceId>(n),
        platform: kairos::people::device::Platform::Ios,
        has_token: true,
        permitted: true,
        own_kind: None,
        locale: Some("en".into()),
        time_zone: None,
        last_seen_ms: 0,
        facts: json!({"id": format!("dev_{n}"), "platform": "ios", "app_version": "1.0.0"}),
    }
}

pub fn campaign() -> Campaign {
    serde_json::from_value(json!({
        "name": "Arrivals",
        "offers": ["ofr_00000000000000000000000000000001"],
        "trigger": {"moment": "landing"},
    }))
    .unwrap()
}

pub fn offer(base_value: f64) -> Offer {
    serde_json::from_value(json!({
        "name": "Lounge",
        "purpose": "marketing",
        "topic": "offers",
        "base_value": base_value,
        "template": {"fallback": "en", "variants": {
            "en": {"title": "Welcome to {{ place.name }}", "body": "Gate {{ event.properties.gate }}"},
            "fr": {"title": "Bienvenue à {{ place.name }}", "body": "Porte {{ event.properties.gate }}"},
        }},
    }))
    .unwrap()
}

/// Something that the user heard of a campaign at a time.
pub fn heard(campaign: u128, planned_ms: i64) -> Heard {
    Heard { campaign_id: nth::<CampaignId>(campaign + 1_000), category: None, planned_ms }
}

#[test]
fn an_offer_that_passes_every_gate_is_chosen_for_the_device_in_its_language() {
    let mut case = Case::new();
    case.input.user.devices.push(Device { locale: Some("fr-CA".into()), ..device(2) });
    case.input.user.devices.push(Device { locale: Some("sv".into()), ..device(3) });
    let choice = case.chosen();
    assert_eq!(choice.devices, [nth::<DeviceId>(1), nth(2), nth(3)]);
    let titles: Vec<_> = choice.words.iter().map(|w| w.title.clone().unwrap()).collect();
    assert_eq!(titles, ["Welcome to Orly", "Bienvenue à Orly", "Welcome to Orly"], "its own, its language's, the fallback");
    assert_eq!(choice.deadline_ms, noon_ms() + WINDOW_MS);
    assert_eq!(choice.planned_ms, noon_ms());
    assert_eq!(choice.consent_ids, [nth(1)]);
    let gates: Vec<Gate> = case.decide().candidates[0].gates.iter().map(|g| g.gate).collect();
    let all = [
        Gate::Window,
        Gate::Audience,
        Gate::Consent,
        Gate::Preference,
        Gate::Reachable,
        Gate::QuietHours,
        Gate::Cap,
        Gate::Stock,
        Gate::Message,
    ];
    assert_eq!(gates, all, "every gate, in the order of the law");
}

#[test]
fn without_candidates_there_is_silence_with_its_reason() {
    let mut case = Case::new();
    case.input.candidates.clear();
    let decision = case.decide();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Silent, Some(Reason::NoCandidate)));
}

#[test]
fn the_reason_of_silence_is_that_of_the_candidate_that_came_furthest() {
    let mut case = Case::new();
    case.input.candidates[0].standing = Standing::Refused(Refusal::NotGranted);
    let late = case.add(5.0);
    case.input.candidates[late].stock_left = Some(0);
    let early = case.add(5.0);
    case.offers[early].audience = Some("user.attributes.tier == 'silver'".into());
    let decision = case.decide();
    assert_eq!(decision.reason, Some(Reason::Refused(Refusal::OutOfStock)));
}

#[test]
fn a_stored_input_is_read_back_whole() {
    let mut case = Case::new();
    case.offers[0].base_value = 0.1 + 0.2;
    case.input.moment.span.curve = Curve::Linear;
    case.input.facts.event = json!({"properties": {"lat": 48.723_333_333_333_336, "n": 1e-7, "text": "é"}});
    case.input.user.quiet_hours = Some(hours("22:00", "07:00"));
    let packed = case.input.pack().unwrap();
    let again = Input::unpack(&packed).unwrap();
    assert_eq!(again, case.input);
    assert_eq!(decide(&again, &case.terms()), case.decide());
    assert!(Input::unpack(&packed[1..]).is_err());
}

/// The world of a random decision; each field moves one thing that a gate looks at.
#[derive(Debug, Clone)]
struct Roll {
    age_ms: i64,
    values: Vec<f64>,
    offers_max: u32,
    quiet: Option<(u16, u16)>,
    heard: Vec<(u128, i64)>,
    caps: (u32, i64, i64),
    stock: Vec<Option<i64>>,
    flags: (bool, bool, bool, bool),
    devices: Vec<(bool, bool, &'static str)>,
    curve: u8,
}

fn rolls() -> impl Strategy<Value = Roll> {
    let devices = prop::collection::vec(
        (any::<bool>(), any::<bool>(), prop::sample::select(vec!["Europe/Paris", "Asia/Tokyo", "America/New_York"])),
        0..4,
    );
    (
        -5 * MINUTE_MS..2 * WINDOW_MS,
        prop::collection::vec(0.01_f64..100.0, 0..6),
        1_u32..4,
        prop::option::of((0_u16..1440, 0_u16..1440)),
        prop::collection::vec((1_u128..6, -2 * DAY_MS..HOUR_MS), 0..6),
        (1_u32..4, HOUR_MS..2 * DAY_MS, 0..2 * HOUR_MS),
        prop::collection::vec(prop::option::of(0_i64..2), 6),
        (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.9)),
        devices,
        0_u8..4,
    )
        .prop_map(|(age_ms, values, offers_max, quiet, heard, caps, stock, flags, devices, curve)| Roll {
            age_ms,
            values,
            offers_max,
            quiet,
            heard,
            caps,
            stock,
            flags,
            devices,
            curve,
        })
}

fn rolled(roll: &Roll) -> Case {
    let mut case = Case::new();
    (case.campaigns, case.offers, case.input.candidates) = (Vec::new(), Vec::new(), Vec::new());
    for (n, value) in roll.values.iter().enumerate() {
        case.add(*value);
        case.input.candidates[n].stock_left = roll.stock[n];
        if n % 3 == 1 {
            case.offers[n].exclusive_group = Some("one".into());
            case.offers[n].audience = Some("device.platform == 'ios'".into());
        }
        if n % 4 == 3 && roll.flags.0 {
            case.offers[n].class = Class::Critical;
        }
        if n % 5 == 2 {
            case.offers[n].deliver_by = Some(DeliverBy::AfterMs(WINDOW_MS / 2));
            case.campaigns[n].devices = Devices::LastActive;
        }
        case.campaigns[n].caps = vec![cap(roll.caps.0, roll.caps.1)];
    }
    let input = &mut case.input;
    input.now_ms = input.moment.span.opened_ms + roll.age_ms;
    input.moment.offers_max = roll.offers_max;
    input.moment.span.curve = match roll.curve {
        0 => Curve::Flat,
        1 => Curve::Linear,
        2 => serde_json::from_value(json!({"half_life": {"h_ms": 600_000}})).unwrap(),
        _ => serde_json::from_value(json!({"steps": [{"until_ms": 600_000, "factor": 0.5}]})).unwrap(),
    };
    input.user.quiet_hours = roll
        .quiet
        .map(|(from, to)| QuietHours { from: TimeOfDay::from_minutes(from).unwrap(), to: TimeOfDay::from_minutes(to).unwrap() });
    input.user.push_on = roll.flags.3;
    input.user.topics.insert("offers".into(), roll.flags.2);
    input.user.paused_until_ms = roll.flags.1.then_some(input.now_ms + i64::from(roll.curve) * 1_000 - 1_500);
    input.limits.overall = vec![cap(roll.caps.0 + 1, roll.caps.1)];
    input.limits.min_gap_ms = roll.caps.2;
    input.heard = roll.heard.iter().map(|(c, by_ms)| heard(*c, input.now_ms + by_ms)).collect();
    input.user.devices = roll
        .devices
        .iter()
        .zip(1..)
        .map(|((token, may, zone), n)| Device {
            has_token: *token,
            permitted: *may,
            time_zone: Some((*zone).into()),
            ..device(n)
        })
        .collect();
    case
}

/// What must hold of every decision, by an account of its own: it looks at the choices, never at the gates' verdicts.
fn check(case: &Case, decision: &Decision) -> Result<(), String> {
    let input = &case.input;
    let ensure = |good: bool, what: &str| if good { Ok(()) } else { Err(format!("{what}: {decision:?}")) };
    ensure((decision.outcome == Outcome::Silent) == decision.choices.is_empty(), "silent means no choice")?;
    ensure((decision.outcome == Outcome::Silent) == decision.reason.is_some(), "every silence has a reason, nothing else has")?;
    ensure(decision.candidates.len() == input.candidates.len(), "every candidate is told of")?;
    ensure(decision.choices.len() <= input.moment.offers_max as usize, "no more than may be chosen")?;
    let mut ordinary: Vec<i64> = input.heard.iter().map(|h| h.planned_ms).collect();
    let mut group = 0;
    for choice in &decision.choices {
        let n = input.candidates.iter().position(|c| c.version.offer_id == choice.offer_id).unwrap();
        let offer = &case.offers[n];
        ensure(choice.planned_ms + input.latency_ms < choice.deadline_ms, "on the phone before the deadline")?;
        ensure(choice.deadline_ms <= input.moment.span.closes_ms(), "never after the close")?;
        ensure(input.candidates[n].stock_left.is_none_or(|left| left > 0), "something was left")?;
        ensure(choice.held == choice.devices.is_empty(), "a held choice has no devices yet, every other has some")?;
        let critical = offer.class == Class::Critical;
        for id in &choice.devices {
            let device = input.user.devices.iter().find(|d| d.id == *id).unwrap();
            ensure(device.has_token && device.permitted, "reachable")?;
            let zone = kairos::people::profile::quiet::zone([device.time_zone.as_deref().unwrap_or("")]);
            let quiet =
                input.user.quiet_hours.is_some_and(|h| kairos::people::profile::quiet::quiet_at(h, &zone, choice.planned_ms));
            ensure(critical || !quiet, "nobody is woken")?;
        }
        group += usize::from(offer.exclusive_group.is_some());
        if !critical {
            ensure(input.user.paused_until_ms.is_none_or(|t| t <= input.now_ms), "not in a pause")?;
            ensure(
                input.heard.iter().all(|h| (h.planned_ms - choice.planned_ms).abs() >= input.limits.min_gap_ms),
                "the gap is kept",
            )?;
            ordinary.push(choice.planned_ms);
        }
    }
    ensure(group <= 1, "one of a group")?;
    // By brute force: no window that a choice lies in holds more than the overall cap.
    let (limit, window_ms) = (input.limits.overall[0].limit as usize, input.limits.overall[0].window_ms);
    let chosen: Vec<i64> = ordinary.split_off(input.heard.len());
    let all: Vec<i64> = input.heard.iter().map(|h| h.planned_ms).chain(chosen.iter().copied()).collect();
    for at in &chosen {
        for from in all.iter().filter(|from| (0..window_ms).contains(&(at - **from))) {
            let within = all.iter().filter(|t| (0..window_ms).contains(&(**t - from))).count();
            ensure(within <= limit, "the cap is kept")?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_decision_ever_breaks_the_law_and_each_can_be_made_again(roll in rolls()) {
        let case = rolled(&roll);
        let decision = case.decide();
        prop_assert_eq!(check(&case, &decision), Ok(()));
        let again = Input::unpack(&case.input.pack().unwrap()).unwrap();
        prop_assert_eq!(decide(&again, &case.terms()), decision);
    }
}

/// Spoils a decision in one way after another: the account above must notice each.
#[test]
fn the_account_of_the_law_can_fail() {
    let mut case = Case::new();
    case.input.limits.overall = vec![cap(1, HOUR_MS)];
    case.input.heard = vec![heard(9, noon_ms() - HOUR_MS)];
    let good = case.decide();
    assert_eq!(check(&case, &good), Ok(()));
    let spoil = |change: fn(&mut Case, &mut Decision)| {
        let mut case = Case::new();
        case.input.limits.overall = vec![cap(1, HOUR_MS)];
        case.input.heard = vec![heard(9, noon_ms() - HOUR_MS)];
        let mut decision = case.decide();
        change(&mut case, &mut decision);
        assert!(check(&case, &decision).is_err(), "{decision:?}");
    };
    spoil(|_, d| d.reason = Some(Reason::NoCandidate));
    spoil(|_, d| d.choices.clear());
    spoil(|_, d| d.choices.push(d.choices[0].clone()));
    spoil(|c, _| c.input.latency_ms = WINDOW_MS);
    spoil(|c, _| c.input.candidates[0].stock_left = Some(0));
    spoil(|c, _| c.input.user.devices[0].has_token = false);
    spoil(|c, _| c.input.user.paused_until_ms = Some(noon_ms() + 1));
    spoil(|c, _| c.input.heard[0].planned_ms += 1);
    spoil(|c, _| c.input.limits.min_gap_ms = HOUR_MS + 1);
    spoil(|c, _| {
        c.input.user.devices[0].time_zone = Some("Europe/Paris".into());
        c.input.user.quiet_hours = Some(hours("12:00", "12:01"));
    });
}
