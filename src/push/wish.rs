//! What users wish, asked once more for messages that have waited: a retry or a long queue must not wake somebody up, or
//! speak to somebody who has switched that off meanwhile.
//!
//! The decision has asked all this already (gates 4 and 6); what goes out within the same second is not asked twice.

use super::store::{self, Due};
use crate::app::{self, Settings};
use crate::error::Result;
use crate::id::{AppId, DeviceId, UserId};
use crate::people::consent::Channel;
use crate::people::device;
use crate::people::profile::{self, Preferences, QuietTime, Topics, quiet};
use crate::push::message::State;
use crate::store::Conn;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// From this age on a message has waited.
const WAITED_MS: i64 = 1_000;

/// What a user's wishes say to a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It may go.
    Go,
    /// It is quiet until then, UTC milliseconds.
    Quiet(i64),
    /// Not any more, and why.
    No(&'static str),
}

/// What a message is, as far as wishes go: a part of [`super::Allowed`], read without the rest.
#[derive(Debug, Deserialize)]
pub struct What<'a> {
    /// The topic that it belongs to.
    #[serde(borrow, default)]
    pub topic: Option<Cow<'a, str>>,
    /// Whether pauses and quiet hours do not concern it.
    #[serde(default)]
    pub critical: bool,
}

/// Whose wishes, where, and what an app says for those who have said nothing.
pub struct Asked<'a> {
    /// What the user has said.
    pub wishes: &'a Preferences,
    /// The time zone of the user's profile.
    pub profile_zone: Option<&'a str>,
    /// The device's time zone.
    pub device_zone: Option<&'a str>,
    /// The app's topics.
    pub topics: &'a Topics,
    /// The app's settings.
    pub settings: &'a Settings,
}

impl Wish {
    /// Asks in the order of the gates: topic, channel, pause, quiet hours; critical messages pass the last two.
    pub fn of(asked: &Asked<'_>, what: &What<'_>, now_ms: i64) -> Self {
        let wishes = asked.wishes;
        if let Some(topic) = &what.topic {
            match asked.topics.on(topic, wishes) {
                None => return Self::No("unknown_topic"),
                Some(false) => return Self::No("topic_off"),
                Some(true) => {}
            }
        }
        if !wishes.channel_on(Channel::Push) {
            return Self::No("channel_off");
        }
        if what.critical {
            return Self::Go;
        }
        if wishes.pause_until_ms.is_some_and(|until_ms| now_ms < until_ms) {
            return Self::No("paused");
        }
        let hours = wishes.quiet_hours.as_ref().map(QuietTime::hours).or(asked.settings.quiet_hours);
        let Some(hours) = hours else { return Self::Go };
        let zones = [wishes.chosen_zone(asked.profile_zone), asked.device_zone, Some(asked.settings.time_zone.as_str())];
        match quiet::leaves_ms(hours, &quiet::zone(zones.into_iter().flatten()), now_ms) {
            at_ms if at_ms <= now_ms => Self::Go,
            at_ms => Self::Quiet(at_ms),
        }
    }
}

/// Takes out of the due those whose users do not want them now: what is quiet waits for the end of quiet time, or ends
/// when that is too late; what was switched off ends. Answers whether some ended.
pub(super) fn ask(conn: &mut Conn, app: AppId, due: &mut Vec<Due>, now_ms: i64) -> Result<bool> {
    // A recall makes no sound and shows nothing.
    let waited = |d: &Due| d.recalls().is_none() && (d.attempt > 0 || now_ms - d.created_ms >= WAITED_MS);
    let users: BTreeSet<UserId> = due.iter().filter(|d| waited(d)).map(|d| d.user_id).collect();
    if users.is_empty() {
        return Ok(false);
    }
    let users: Vec<UserId> = users.into_iter().collect();
    let wishes = profile::preferences(conn, app, &users)?;
    let (topics, settings) = (profile::topics(conn, app)?, app::settings(conn, app)?);
    let quiet = settings.quiet_hours.is_some() || wishes.values().any(|w| w.quiet_hours.is_some());
    let (mut zones, mut devices) = (HashMap::new(), HashMap::new());
    if quiet {
        let ids: BTreeSet<DeviceId> = due.iter().filter(|d| waited(d)).map(|d| d.device_id).collect();
        zones = profile::time_zones(conn, app, &users)?;
        devices = device::holds(conn, app, &ids.into_iter().collect::<Vec<_>>())?;
    }
    let nothing_said = Preferences::default();
    let (mut later, mut ends) = (BTreeMap::<i64, Vec<i64>>::new(), BTreeMap::<&str, (State, Vec<i64>)>::new());
    let mut kept = Vec::with_capacity(due.len());
    for message in std::mem::take(due) {
        if !waited(&message) {
            kept.push(message);
            continue;
        }
        let wishes = wishes.get(&message.user_id).unwrap_or(&nothing_said);
        let profile_zone = zones.get(&message.user_id).map(String::as_str);
        let device_zone = devices.get(&message.device_id).and_then(|d| d.time_zone.as_deref());
        let asked = Asked { wishes, profile_zone, device_zone, topics: &topics, settings: &settings };
        let Ok(what) = message.what() else {
            // As where its consent is asked for: it must not hold up its neighbours.
            tracing::error!(message = %message.id, "a message does not say what it is: it is not sent");
            ends.entry("consent").or_insert((State::Revoked, Vec::new())).1.push(message.n);
            continue;
        };
        match Wish::of(&asked, &what, now_ms) {
            Wish::Go => kept.push(message),
            Wish::Quiet(at_ms) if at_ms < message.deadline_ms => later.entry(at_ms).or_default().push(message.n),
            Wish::Quiet(_) => ends.entry("quiet_hours").or_insert((State::Expired, Vec::new())).1.push(message.n),
            Wish::No(why) => ends.entry(why).or_insert((State::Cancelled, Vec::new())).1.push(message.n),
        }
    }
    *due = kept;
    for (at_ms, ids) in &later {
        store::postpone(conn, (ids, *at_ms))?;
    }
    for (why, (state, ids)) in &ends {
        store::end(conn, (ids, *state, why), now_ms)?;
    }
    Ok(!ends.is_empty())
}
