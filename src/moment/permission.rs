//! May we? The gates in their order; a candidate stops at its first refusal, which is kept with its reason. Pure.

use super::cap::{self, Planned};
use super::input::{Candidate, Device, Input, Standing};
use super::refusal::{Gate, GateVerdict, Refusal};
use super::terms::{Terms, View};
use super::value::Limit;
use crate::campaign::rule::Name;
use crate::campaign::{Class, Devices};
use crate::id::ConsentId;
use crate::people::device::Platform;
use crate::people::profile::quiet;

/// A candidate that passed all gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Permit {
    /// When it is to go out: now, or when the first device leaves its quiet time.
    pub planned_ms: i64,
    /// Whether it has to wait for that.
    pub held: bool,
    /// When it will be on the phone, as predicted.
    pub delivered_ms: i64,
    /// What it will be worth then.
    pub value: f64,
    /// Until when it may be handed over.
    pub deadline_ms: i64,
    /// The devices it goes to, as places in the input's list; empty while it is held.
    pub devices: Vec<usize>,
    /// The records that allow it: one for each need that rests on consent.
    pub consent_ids: Vec<ConsentId>,
}

/// How one candidate fared.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Each gate up to the first refusal.
    pub gates: Vec<GateVerdict>,
    /// The permit, or the reason of the refusal.
    pub result: Result<Permit, Refusal>,
}

/// Where a candidate stands on its way through the gates.
struct Way<'a> {
    input: &'a Input,
    candidate: &'a Candidate,
    terms: &'a Terms,
    kept: Vec<usize>,
    permit: Permit,
}

/// Leads one candidate through gates 1 to 8.
pub fn try_candidate(input: &Input, candidate: &Candidate, terms: &Terms, view: &View<'_>) -> Trial {
    let delivered_ms = input.now_ms.saturating_add(input.latency_ms);
    let span = &input.moment.span;
    let permit = Permit {
        planned_ms: input.now_ms,
        held: false,
        delivered_ms,
        value: span.value_at(terms.offer.base_value, delivered_ms),
        deadline_ms: span.deadline_ms(terms.offer.deliver_by).0,
        devices: Vec::new(),
        consent_ids: Vec::new(),
    };
    let meant = |n: &usize| candidate.only.as_ref().is_none_or(|only| only.contains(&input.user.devices[*n].id));
    let kept = (0..input.user.devices.len()).filter(meant).collect();
    let mut way = Way { input, candidate, terms, kept, permit };
    let mut gates = Vec::with_capacity(8);
    for gate in
        [Gate::Window, Gate::Audience, Gate::Consent, Gate::Preference, Gate::Reachable, Gate::QuietHours, Gate::Cap, Gate::Stock]
    {
        let said = match gate {
            Gate::Window => way.window(),
            Gate::Audience => way.audience(view),
            Gate::Consent => way.consent(),
            Gate::Preference => way.preference(),
            Gate::Reachable => way.reachable(),
            Gate::QuietHours => way.quiet_hours(),
            Gate::Cap => way.cap(),
            Gate::Stock => way.stock(),
            Gate::Message => Ok(()),
        };
        match said {
            Ok(()) => gates.push(GateVerdict::passed(gate)),
            Err(refusal) => {
                gates.push(GateVerdict::refused(gate, refusal));
                return Trial { gates, result: Err(refusal) };
            }
        }
    }
    Trial { gates, result: Ok(way.permit) }
}

impl Way<'_> {
    fn is_critical(&self) -> bool {
        self.terms.offer.class == Class::Critical
    }

    /// Gate 1. `t'` is before the deadline, and the value then is enough. Of a direct push only the deadline is asked, and
    /// that by now: its sender has judged what it is worth.
    fn window(&self) -> Result<(), Refusal> {
        let (deadline_ms, limit) = self.input.moment.span.deadline_ms(self.terms.offer.deliver_by);
        let direct = self.candidate.version.is_direct();
        if if direct { self.input.now_ms } else { self.permit.delivered_ms } >= deadline_ms {
            return Err(match limit {
                Limit::Closes => Refusal::Closed,
                Limit::DeliverBy => Refusal::DeliverBy,
            });
        }
        if !direct && self.permit.value < self.terms.offer.min_value { Err(Refusal::BelowMinValue) } else { Ok(()) }
    }

    /// Gate 2. A rule over devices keeps those that match; every other rule is asked once.
    fn audience(&mut self, view: &View<'_>) -> Result<(), Refusal> {
        for rule in self.terms.audience() {
            if !rule.uses(Name::Device) {
                match view.holds(rule, None) {
                    Ok(true) => {}
                    Ok(false) => return Err(Refusal::NotInAudience),
                    Err(fault) => return Err(fault.into()),
                }
                continue;
            }
            let mut fault = None;
            let devices = &self.input.user.devices;
            self.kept.retain(|n| match view.holds(rule, Some(&devices[*n].facts)) {
                Ok(matches) => matches,
                Err(error) => {
                    fault.get_or_insert(error);
                    false
                }
            });
            if self.kept.is_empty() {
                return Err(fault.map_or(Refusal::NoMatchingDevice, Refusal::from));
            }
        }
        Ok(())
    }

    /// Gate 3. What the trigger needed, then what the offer needs, then that under which attributes were seen; the ledger
    /// was asked when the context was gathered.
    fn consent(&mut self) -> Result<(), Refusal> {
        let of_trigger = self.input.trigger_needs.iter().map(|met| met.standing);
        let of_attributes = self.candidate.read.iter().map(|met| met.standing);
        for standing in of_trigger.chain([self.candidate.standing]).chain(of_attributes) {
            match standing {
                Standing::Granted(id) => self.permit.consent_ids.push(id),
                Standing::NotNeeded => {}
                Standing::Refused(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// Gate 4. Topic and channel are on, and no pause is in force.
    fn preference(&self) -> Result<(), Refusal> {
        let user = &self.input.user;
        if let Some(topic) = self.terms.topic() {
            match user.topics.get(topic) {
                None => return Err(Refusal::UnknownTopic),
                Some(false) => return Err(Refusal::TopicOff),
                Some(true) => {}
            }
        }
        if !user.push_on {
            return Err(Refusal::ChannelOff);
        }
        if !self.is_critical() && user.paused_until_ms.is_some_and(|until_ms| self.input.now_ms < until_ms) {
            return Err(Refusal::Paused);
        }
        Ok(())
    }

    /// Gate 5. Of the kept devices those stay that have a live token for this kind of push and may show messages. What goes to
    /// a token of its own needs no permission to show them.
    fn reachable(&mut self) -> Result<(), Refusal> {
        if self.kept.is_empty() {
            return Err(Refusal::NoDevice);
        }
        let devices = &self.input.user.devices;
        let own_kind = self.terms.own_kind();
        let takes = |device: &Device| device.platform != Platform::Ios || device.own_kind.as_deref() == own_kind;
        self.kept.retain(|n| devices[*n].has_token && takes(&devices[*n]));
        if self.kept.is_empty() {
            return Err(Refusal::NoToken);
        }
        self.kept.retain(|n| devices[*n].permitted || devices[*n].own_kind.is_some());
        if self.kept.is_empty() { Err(Refusal::NoPermission) } else { Ok(()) }
    }

    /// Gate 6. Devices out of quiet time get it now; when there is none, it is held for the first that leaves.
    fn quiet_hours(&mut self) -> Result<(), Refusal> {
        let now_ms = self.input.now_ms;
        let leaves: Vec<(usize, i64)> = if self.is_critical() {
            self.kept.iter().map(|n| (*n, now_ms)).collect()
        } else {
            self.kept.iter().map(|n| (*n, self.leaves_quiet_ms(&self.input.user.devices[*n]))).collect()
        };
        let awake: Vec<usize> = leaves.iter().filter(|(_, at_ms)| *at_ms <= now_ms).map(|(n, _)| *n).collect();
        if !awake.is_empty() {
            self.permit.devices = self.pick(awake);
            return Ok(());
        }
        let first_ms = leaves.iter().map(|(_, at_ms)| *at_ms).min().unwrap_or(now_ms);
        let delivered_ms = first_ms.saturating_add(self.input.latency_ms);
        if delivered_ms >= self.permit.deadline_ms {
            return Err(Refusal::QuietUntilTooLate);
        }
        let value = self.input.moment.span.value_at(self.terms.offer.base_value, delivered_ms);
        if value < self.terms.offer.min_value {
            return Err(Refusal::QuietBelowMinValue);
        }
        self.permit = Permit { planned_ms: first_ms, held: true, delivered_ms, value, ..self.permit.clone() };
        Ok(())
    }

    fn leaves_quiet_ms(&self, device: &Device) -> i64 {
        let Some(hours) = self.input.user.quiet_hours else { return self.input.now_ms };
        let zones =
            [self.input.user.time_zone.as_deref(), device.time_zone.as_deref(), Some(self.input.limits.time_zone.as_str())];
        quiet::leaves_ms(hours, &quiet::zone(zones.into_iter().flatten()), self.input.now_ms)
    }

    /// All of the devices, or the one last heard of where the campaign says so.
    fn pick(&self, awake: Vec<usize>) -> Vec<usize> {
        let devices = &self.input.user.devices;
        match self.terms.campaign.devices {
            Devices::All => awake,
            // Of two seen at the same time the first by id, so that the choice is the same every time.
            Devices::LastActive => {
                awake.into_iter().max_by_key(|n| (devices[*n].last_seen_ms, std::cmp::Reverse(*n))).into_iter().collect()
            }
        }
    }

    /// Gate 7. Rolling windows and the minimum gap, at the time it is to go out.
    fn cap(&self) -> Result<(), Refusal> {
        if self.is_critical() {
            return Ok(());
        }
        cap::check(
            self.input,
            self.terms,
            self.candidate.version.campaign_id,
            &Planned { at_ms: self.permit.planned_ms, beside: &[] },
        )
    }

    /// Gate 8. Something is left of the offer.
    fn stock(&self) -> Result<(), Refusal> {
        if self.candidate.stock_left.is_some_and(|left| left < 1) { Err(Refusal::OutOfStock) } else { Ok(()) }
    }
}
