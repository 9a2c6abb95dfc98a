//! Who, where, what local hour, what they heard lately: everything known of users, gathered in one read.

use super::activity;
use super::decision::Decision;
use super::input::{Candidate, Device, Facts, Heard, Input, Limits, Opening, Standing, TriggerNeed, Who};
use super::sight::user_facts;
use super::store::{self, WaitingChoice};
use super::terms::Terms;
use crate::app::{self, Cap, Settings};
use crate::campaign;
use crate::clock::{DAY_MS, Time};
use crate::error::Result;
use crate::id::{ActivityId, AppId, ChoiceId, ConsentId, DecisionId, DeviceId, OfferId, UserId};
use crate::people::consent::{self, Channel, Need};
use crate::people::device;
use crate::people::profile::{self, Person};
use crate::platform::epoch;
use crate::push::Gateway;
use crate::push::activity::{Event, Shown};
use crate::push::wish::{Asked, What, Wish};
use crate::store::Conn;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Longest rolling window that is looked back for, whatever a setting says.
const LOOK_BACK_MAX_MS: i64 = 366 * DAY_MS;

/// Which choice made a user hear something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeardBy {
    /// The choice.
    pub choice_id: ChoiceId,
    /// Its decision.
    pub decision_id: DecisionId,
}

/// What is known of some users of an app at one time.
pub(super) struct Known {
    pub app_id: AppId,
    pub now_ms: i64,
    pub settings: Settings,
    purposes: consent::Purposes,
    topics: profile::Topics,
    /// The attributes that may be seen under a purpose alone, and that purpose.
    pub guards: BTreeMap<String, String>,
    people: HashMap<UserId, Person>,
    ledgers: HashMap<UserId, consent::Ledger>,
    devices: HashMap<UserId, Vec<device::Device>>,
    /// The same as Live Activities know them: with the token that starts or updates one, if there is any.
    phones: HashMap<(ActivityId, Event), HashMap<UserId, Vec<device::Device>>>,
    heard: HashMap<UserId, Vec<(HeardBy, Heard)>>,
    heard_after_ms: i64,
    latest: HashMap<UserId, (i64, i64)>,
    epochs: HashMap<epoch::Scope, i64>,
    stock: HashMap<OfferId, i64>,
}

/// Predicted time from hand-over to the phone, by gateway, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub apns_ms: i64,
    pub fcm_ms: i64,
    pub webpush_ms: i64,
}

/// What is to be decided about one user.
pub(super) struct Question<'a> {
    pub user_id: UserId,
    pub moment: Opening,
    /// Everything but the user, who is filled in.
    pub facts: Facts,
    /// What has to be granted for the trigger to be matched with the user.
    pub trigger_needs: Vec<Need>,
    /// Whether a test key is behind it.
    pub test: bool,
    pub terms: &'a [Arc<Terms>],
    pub latency: Latency,
    pub seed: u64,
    /// The decision whose held choice is looked at again, and that choice.
    pub again: Option<HeardBy>,
    /// Choices that this decision takes back, and that therefore count no longer.
    pub taken_back: &'a [ChoiceId],
    /// The devices that alone are meant.
    pub only: Option<&'a [DeviceId]>,
}

impl Known {
    /// Reads what decisions about these users by these terms need.
    pub fn read(conn: &mut Conn, app_id: AppId, users: &[UserId], terms: &[Arc<Terms>], now_ms: i64) -> Result<Self> {
        // The epochs first: whatever changes after them is noticed when the messages are planned.
        let mut scopes: Vec<epoch::Scope> = users.iter().map(|u| epoch::Scope::Consent(*u)).collect();
        scopes.push(epoch::Scope::AppConsent);
        let epochs = epoch::read(conn, app_id, &scopes)?;
        let settings = app::settings(conn, app_id)?;
        let people = profile::people(conn, app_id, users)?;
        let frequencies = people.values().filter_map(|p| p.preferences.frequency.map(|f| f.window_ms));
        let of_app = settings.caps.overall.iter().chain(settings.caps.per_category.values().flatten());
        let of_campaigns = terms.iter().flat_map(|t| &t.campaign.caps);
        let windows = of_app.chain(of_campaigns).map(|c| c.window_ms).chain(frequencies).chain([settings.min_gap_ms]);
        let heard_after_ms = now_ms - windows.max().unwrap_or(0).clamp(0, LOOK_BACK_MAX_MS);
        let mut heard: HashMap<UserId, Vec<(HeardBy, Heard)>> = HashMap::new();
        for (user, by, what) in store::heard(conn, app_id, users, (heard_after_ms, now_ms))? {
            heard.entry(user).or_default().push((by, what));
        }
        let mut offers: Vec<OfferId> = terms.iter().map(|t| t.version.offer_id).collect();
        offers.sort_unstable();
        offers.dedup();
        let devices = device::of_users(conn, app_id, users)?;
        let mut phones = HashMap::new();
        for shown in terms.iter().filter_map(|terms| terms.activity.as_deref()) {
            phones.insert((shown.activity_id, shown.event), activity::reach(conn, app_id, shown, &devices)?);
        }
        Ok(Self {
            app_id,
            now_ms,
            purposes: consent::purposes(conn, app_id)?,
            topics: profile::topics(conn, app_id)?,
            guards: profile::guarded(conn, app_id)?,
            ledgers: consent::ledgers(conn, app_id, users)?,
            devices,
            phones,
            latest: store::latest_choices(conn, app_id, users, heard_after_ms)?,
            stock: campaign::stock_left(conn, app_id, &offers)?,
            settings,
            people,
            heard,
            heard_after_ms,
            epochs,
        })
    }

    /// One of the users; nothing when there is no such user.
    pub fn person(&self, user: UserId) -> Option<&Person> {
        self.people.get(&user)
    }

    /// Whether a topic is on for a user; nothing when there is no such user or topic.
    pub fn topic_on(&self, user: UserId, topic: &str) -> Option<bool> {
        self.topics.on(topic, &self.person(user)?.preferences)
    }

    /// What the app's own rules see of a user; nothing when there is no such user.
    pub fn facts_of(&self, user: UserId) -> Option<Value> {
        self.person(user).map(|person| user_facts(person, &self.hidden(person, None)))
    }

    /// How a need stands with a user's ledger.
    pub fn standing(&self, user: UserId, need: &Need) -> consent::Standing {
        match self.ledgers.get(&user) {
            Some(ledger) => ledger.standing(&self.purposes, need, self.now_ms),
            None => consent::Ledger::default().standing(&self.purposes, need, self.now_ms),
        }
    }

    /// When the first of these records of a user stops to count by itself.
    pub fn consent_until_ms(&self, user: UserId, ids: &[ConsentId]) -> Option<i64> {
        self.ledgers.get(&user)?.until_ms(ids)
    }

    /// A user's devices, as these terms know them.
    fn devices(&self, user: UserId, terms: Option<&Terms>) -> &[device::Device] {
        let all = match terms.and_then(|terms| terms.activity.as_deref()) {
            Some(shown) => self.phones.get(&(shown.activity_id, shown.event)),
            None => Some(&self.devices),
        };
        all.and_then(|all| all.get(&user)).map_or(&[], Vec::as_slice)
    }

    /// A device of a user, as these terms know it.
    pub fn device(&self, (user, id): (UserId, DeviceId), terms: &Terms) -> Option<&device::Device> {
        self.devices(user, Some(terms)).iter().find(|d| d.id == id)
    }

    /// What an activity shows on a device: a state that comes in quiet time comes without a sound.
    pub fn shown(&self, shown: &Arc<Shown>, (user, device): (UserId, &device::Device)) -> Arc<Shown> {
        let Some(person) = self.person(user).filter(|_| shown.event != Event::Start && shown.frame.alert.is_some()) else {
            return Arc::clone(shown);
        };
        let asked = Asked {
            wishes: &person.preferences,
            profile_zone: person.time_zone.as_deref(),
            device_zone: device.traits.time_zone.as_deref(),
            topics: &self.topics,
            settings: &self.settings,
        };
        match Wish::of(&asked, &What { topic: None, critical: false }, self.now_ms) {
            Wish::Go => Arc::clone(shown),
            Wish::Quiet(_) | Wish::No(_) => Arc::new(shown.hushed()),
        }
    }

    /// The epochs at which consents were read: the user's and the app's.
    pub fn epochs_of(&self, user: UserId) -> (i64, i64) {
        let at = |scope| self.epochs.get(&scope).copied().unwrap_or(0);
        (at(epoch::Scope::Consent(user)), at(epoch::Scope::AppConsent))
    }

    /// Whether nothing was decided about these users since they were read, and none of them has left. Ask it in the
    /// transaction that writes.
    pub fn is_fresh(&self, conn: &mut Conn, users: &[UserId]) -> Result<bool> {
        let met: Vec<UserId> = users.iter().filter(|user| self.people.contains_key(user)).copied().collect();
        if !profile::are_there(conn, self.app_id, &met)? {
            return Ok(false);
        }
        let now = store::latest_choices(conn, self.app_id, users, self.heard_after_ms)?;
        Ok(users.iter().all(|user| now.get(user) == self.latest.get(user)))
    }

    /// Remembers a decision of this batch, so that later ones see it.
    pub fn note(&mut self, user: UserId, decision: &Decision, choices: &[HeardBy]) {
        for (choice, by) in decision.choices.iter().zip(choices) {
            if !choice.critical {
                let what =
                    Heard { campaign_id: choice.campaign_id, category: choice.category.clone(), planned_ms: choice.planned_ms };
                self.heard.entry(user).or_default().push((*by, what));
            }
            if let Some(left) = self.stock.get_mut(&choice.offer_id) {
                *left -= 1;
            }
        }
    }

    /// Remembers what a newer moment takes back: its stock is there again for that decision and the later ones.
    pub fn give_back(&mut self, choices: &[WaitingChoice]) {
        for choice in choices.iter().filter(|choice| !choice.test) {
            if let Some(left) = self.stock.get_mut(&choice.offer_id) {
                *left += 1;
            }
        }
    }

    /// Remembers what came of a held choice.
    pub fn note_release(&mut self, user: UserId, choice: ChoiceId, planned_ms: Option<i64>) {
        let Some(heard) = self.heard.get_mut(&user) else { return };
        match planned_ms {
            Some(at_ms) => heard.iter_mut().filter(|(by, _)| by.choice_id == choice).for_each(|(_, h)| h.planned_ms = at_ms),
            None => heard.retain(|(by, _)| by.choice_id != choice),
        }
    }

    /// The whole input of one decision; nothing when there is no such user.
    pub fn input(&self, question: Question<'_>) -> Option<Input> {
        let Question { user_id, moment, mut facts, trigger_needs, test, terms, latency, seed, again, taken_back, only } =
            question;
        let person = self.people.get(&user_id)?;
        let hidden: Vec<BTreeSet<String>> = terms.iter().map(|t| self.hidden(person, t.offer.partner_id)).collect();
        // What no candidate may see is not kept either.
        let unseen = hidden.iter().cloned().reduce(|all, one| &all & &one).unwrap_or_else(|| self.hidden(person, None));
        facts.user = user_facts(person, &unseen);
        let first = terms.first().map(Arc::as_ref);
        let mut devices: Vec<Device> =
            self.devices(user_id, first).iter().map(|device| device_facts(device, self.now_ms)).collect();
        if first.is_some_and(|terms| terms.activity.is_some()) {
            // Activities are allowed apart from messages; an app that may have none has no token for them.
            devices.iter_mut().for_each(|device| device.permitted = true);
        }
        let (mut heard, mut beside) = (Vec::new(), Vec::new());
        for (by, what) in self.heard.get(&user_id).into_iter().flatten() {
            if taken_back.contains(&by.choice_id) || again.is_some_and(|a| a.choice_id == by.choice_id) {
                continue;
            }
            let same = again.is_some_and(|a| a.decision_id == by.decision_id);
            if same { &mut beside } else { &mut heard }.push(what.clone());
        }
        let met = |need: Need| TriggerNeed { standing: self.standing(user_id, &need).into(), need };
        let trigger_needs: Vec<TriggerNeed> = trigger_needs.into_iter().map(met).collect();
        let mut candidates = Vec::with_capacity(terms.len());
        for (terms, hidden) in terms.iter().zip(hidden) {
            let mut candidate = self.candidate(person, terms, again.is_some() && !test);
            candidate.hidden = &hidden - &unseen;
            candidate.only = only.map(<[DeviceId]>::to_vec);
            candidate.read.retain(|read| !trigger_needs.contains(read));
            candidates.push(candidate);
        }
        Some(Input {
            now_ms: self.now_ms,
            seed,
            latency_ms: latency.of(&devices),
            moment,
            facts,
            user: self.who(person, devices, terms),
            limits: Limits {
                time_zone: self.settings.time_zone.clone(),
                overall: self.settings.caps.overall.clone(),
                per_category: self.settings.caps.per_category.clone(),
                min_gap_ms: self.settings.min_gap_ms,
            },
            heard,
            beside,
            trigger_needs,
            test,
            candidates,
        })
    }

    fn candidate(&self, person: &Person, terms: &Terms, again: bool) -> Candidate {
        let need = Need { purpose: terms.offer.purpose.clone(), partner: terms.offer.partner_id };
        // A held choice has its own reservation already.
        let own = i64::from(again);
        let stock_left = self.stock.get(&terms.version.offer_id).map(|left| left + own);
        let standing = self.standing(person.id, &need).into();
        let mut read = self.needs_read(person, terms.offer.partner_id, |key| terms.reads(key));
        read.retain(|read| read.need != need);
        Candidate {
            version: terms.version,
            standing,
            stock_left,
            hidden: BTreeSet::new(),
            read,
            only: None,
            collapse_id: terms.collapse_id.clone(),
        }
    }

    fn who(&self, person: &Person, devices: Vec<Device>, terms: &[Arc<Terms>]) -> Who {
        let wishes = &person.preferences;
        let topics: BTreeMap<String, bool> =
            terms.iter().filter_map(|t| Some((t.offer.topic.clone(), self.topics.on(&t.offer.topic, wishes)?))).collect();
        let frequency: Vec<Cap> = wishes.frequency.into_iter().collect();
        Who {
            id: person.id,
            locale: person.locale.clone(),
            time_zone: person.chosen_zone().map(str::to_owned),
            quiet_hours: wishes.quiet_hours.as_ref().map(profile::QuietTime::hours).or(self.settings.quiet_hours),
            paused_until_ms: wishes.pause_until_ms,
            push_on: wishes.channel_on(Channel::Push),
            topics,
            frequency,
            devices,
        }
    }
}

impl Latency {
    /// The figure for a user: that of the slower of the gateways that reach the user's devices.
    fn of(self, devices: &[Device]) -> i64 {
        let gateways = devices.iter().filter(|d| d.has_token).map(|d| Gateway::of(d.platform));
        let slowest = gateways.map(|g| match g {
            Gateway::Apns => self.apns_ms,
            Gateway::Fcm => self.fcm_ms,
            Gateway::WebPush => self.webpush_ms,
        });
        slowest.max().unwrap_or(self.apns_ms.max(self.fcm_ms).max(self.webpush_ms))
    }
}

impl From<consent::Standing> for Standing {
    fn from(standing: consent::Standing) -> Self {
        match standing {
            consent::Standing::Granted(id) => Self::Granted(id),
            consent::Standing::NotNeeded => Self::NotNeeded,
            consent::Standing::Refused(reason) => Self::Refused(reason.into()),
        }
    }
}

fn device_facts(device: &device::Device, now_ms: i64) -> Device {
    let traits = &device.traits;
    let platform = traits.platform;
    Device {
        id: device.id,
        platform,
        has_token: traits.has_live_token(now_ms),
        permitted: traits.push_permission.shows(),
        own_kind: traits.own_kind().map(str::to_owned),
        locale: traits.locale.clone(),
        time_zone: traits.time_zone.clone(),
        last_seen_ms: device.last_seen_ms,
        facts: json!({
            "id": device.id,
            "platform": platform,
            "locale": traits.locale,
            "time_zone": traits.time_zone,
            "app_version": traits.app_version,
            "push_permission": traits.push_permission,
            "last_seen_at": Time(device.last_seen_ms),
        }),
    }
}
