//! The consent law: which row of a user's ledger decides a need, and which grants a withdrawal ends. Pure.

use super::age::Age;
use super::purpose::{Basis, Purpose, Purposes};
use crate::id::{ConsentId, PartnerId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A way to reach a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Notifications on the phone.
    Push,
    /// Electronic mail.
    Email,
    /// Short messages.
    Sms,
    /// Inside the app.
    InApp,
}

impl Channel {
    /// The word for it in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::InApp => "in_app",
        }
    }

    /// The channel behind the word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Push, Self::Email, Self::Sms, Self::InApp].into_iter().find(|c| c.name() == word)
    }
}

/// What a push or a match needs: a purpose, and the partner whose offer or event it is. The channel is push.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Need {
    /// The purpose's key.
    pub purpose: String,
    /// Whose offer, event or link it is; none for the app's own.
    pub partner: Option<PartnerId>,
}

/// What a grant or withdrawal is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// The purpose's key.
    pub purpose: String,
    /// One channel, or all that no other row names.
    pub channel: Option<Channel>,
    /// One partner; a grant without one covers none, a withdrawal without one covers all.
    pub partner: Option<PartnerId>,
}

/// One row of the ledger, as far as the law reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The record's id.
    pub id: ConsentId,
    /// What it is about.
    #[serde(flatten)]
    pub extent: Extent,
    /// Granted, or withdrawn.
    pub granted: bool,
    /// Which text was shown.
    pub text_version: Option<String>,
    /// From when on a grant no longer counts, UTC milliseconds; none: it lasts.
    pub expires_ms: Option<i64>,
    /// Whether a guardian gave it for somebody who is not of age.
    pub guardian: bool,
    /// Whose word it is.
    pub voice: Voice,
}

/// Whose word a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voice {
    /// The user's own, in the app.
    User,
    /// A standing signal of their browser or phone.
    Signal,
    /// Somebody's who made it known for them.
    Other,
}

/// All rows of one user, in the order in which they were committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether the user may speak for themselves.
    pub age: Age,
    /// Whether the app has disabled the user's account.
    pub disabled: bool,
}

/// How a need stands with a user's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// This record allows it.
    Granted(ConsentId),
    /// The purpose rests on a contract and no partner is involved.
    NotNeeded,
    /// It may not be done.
    Refused(Reason),
}

/// Why a need is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody ever granted it.
    NotGranted,
    /// The latest row that matches is a withdrawal.
    Withdrawn,
    /// It was granted for a text that has been replaced by one that must be asked again.
    AskAgain,
    /// The time for which it was granted is over.
    Expired,
    /// Its giver is not of age, or has not said so, and no guardian gave it.
    AgeGate,
    /// The app has no such purpose.
    UnknownPurpose,
    /// The app has disabled the account.
    AccountDisabled,
}

impl Reason {
    /// The stable word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotGranted => "not_granted",
            Self::Withdrawn => "withdrawn",
            Self::AskAgain => "ask_again",
            Self::Expired => "expired",
            Self::AgeGate => "age_gate",
            Self::UnknownPurpose => "unknown_purpose",
            Self::AccountDisabled => "account_disabled",
        }
    }
}

impl Standing {
    /// Whether it may be done.
    pub fn permits(self) -> bool {
        match self {
            Self::Granted(_) | Self::NotNeeded => true,
            Self::Refused(_) => false,
        }
    }
}

impl Need {
    /// A need of the app itself.
    pub fn of(purpose: impl Into<String>) -> Self {
        Self { purpose: purpose.into(), partner: None }
    }

    /// A need of a partner's offer, event or link.
    pub fn of_partner(purpose: impl Into<String>, partner: PartnerId) -> Self {
        Self { purpose: purpose.into(), partner: Some(partner) }
    }
}

impl Row {
    fn matches(&self, need: &Need) -> bool {
        let Extent { purpose, channel, partner } = &self.extent;
        let of_partner = if self.granted { *partner == need.partner } else { partner.is_none() || *partner == need.partner };
        *purpose == need.purpose && of_partner && channel.is_none_or(|c| c == Channel::Push)
    }

    /// Whether its time is over: exactly the end no longer counts.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Whether it ends by itself later than another one, or not at all.
    fn outlasts(&self, other: &Self) -> bool {
        other.expires_ms.is_some_and(|others| self.expires_ms.is_none_or(|own| own > others))
    }
}

impl Extent {
    /// Whether a withdrawal of this extent ends the whole of a grant of the other one.
    pub(super) fn ends(&self, granted: &Self) -> bool {
        self.purpose == granted.purpose
            && (self.channel.is_none() || self.channel == granted.channel)
            && (self.partner.is_none() || self.partner == granted.partner)
    }
}

impl Ledger {
    /// How this need stands now: the latest matching row decides, one that names the channel before one that does not.
    pub fn standing(&self, purposes: &Purposes, need: &Need, now_ms: i64) -> Standing {
        let Some(purpose) = purposes.get(&need.purpose) else { return Standing::Refused(Reason::UnknownPurpose) };
        if self.disabled {
            return Standing::Refused(Reason::AccountDisabled);
        }
        if purpose.basis == Basis::Contract && need.partner.is_none() {
            return Standing::NotNeeded;
        }
        match self.grant((purpose, need), now_ms) {
            Ok(row) => Standing::Granted(row.id),
            Err(reason) => Standing::Refused(reason),
        }
    }

    fn grant(&self, (purpose, need): (&Purpose, &Need), now_ms: i64) -> Result<&Row, Reason> {
        let (mut naming, mut other): (Option<&Row>, Option<&Row>) = (None, None);
        let (mut void_ever, mut void_last): (Option<Reason>, Option<Reason>) = (None, None);
        for row in self.rows.iter().filter(|row| row.matches(need)) {
            let slot = if row.extent.channel.is_some() { &mut naming } else { &mut other };
            // A grant that does not count is as if it had not been made: it allows nothing, and it lifts no withdrawal.
            void_last = self.void(row, purpose, now_ms);
            void_ever = void_last.or(void_ever);
            if let Some(reason) = void_last {
                // But one whose time is over had taken the place of those before it.
                if reason == Reason::Expired && slot.is_some_and(|before| before.granted) {
                    *slot = None;
                }
                continue;
            }
            *slot = Some(row);
            // A withdrawal ends the grants of the other kind. One that names the channel stays: a wide grant does not
            // imply what was withdrawn by name.
            if !row.granted {
                let others = if row.extent.channel.is_none() { &mut naming } else { &mut other };
                *others = others.filter(|grant| !grant.granted);
            }
        }
        match naming.or(other) {
            Some(row) if row.granted => Ok(row),
            Some(_) => Err(void_last.unwrap_or(Reason::Withdrawn)),
            None => Err(void_ever.unwrap_or(Reason::NotGranted)),
        }
    }

    /// Why a row does not count, if it does not.
    fn void(&self, row: &Row, purpose: &Purpose, now_ms: i64) -> Option<Reason> {
        if !row.granted {
            None
        } else if !purpose.counts(row.text_version.as_deref()) {
            Some(Reason::AskAgain)
        } else if row.is_over(now_ms) {
            Some(Reason::Expired)
        } else if !row.guardian && !self.age.reached(now_ms) {
            Some(Reason::AgeGate)
        } else {
            None
        }
    }

    /// When the first of these records stops to count by itself.
    pub fn until_ms(&self, ids: &[ConsentId]) -> Option<i64> {
        self.rows.iter().filter(|row| ids.contains(&row.id)).filter_map(|row| row.expires_ms).min()
    }

    /// The grants that stand: neither withdrawn in whole, nor replaced by a later row of the same extent, nor over.
    pub fn in_force(&self, now_ms: i64) -> Vec<&Row> {
        let mut standing: Vec<&Row> = Vec::new();
        for row in &self.rows {
            standing.retain(|grant| {
                let replaced = grant.extent == row.extent;
                let ended = !row.granted && row.extent.ends(&grant.extent);
                !replaced && !ended
            });
            if row.granted {
                standing.push(row);
            }
        }
        standing.retain(|row| !row.is_over(now_ms));
        standing
    }

    /// The grants that stand and that a withdrawal of this extent would end in whole.
    pub fn ended_by(&self, extent: &Extent, now_ms: i64) -> Vec<&Row> {
        self.in_force(now_ms).into_iter().filter(|grant| extent.ends(&grant.extent)).collect()
    }

    /// What of another ledger is appended to this one when its user turns out to be the same person, so that nothing is
    /// allowed, now or later, that either has refused: every withdrawal; the grants of whose extent this ledger says nothing
    /// (those that were ended later too: one may have lifted an earlier withdrawal), and of those that count what counts here
    /// too, for as long at least, and a withdrawal carried over before them would end. A grant of whoever was not of age
    /// there stays behind: here it would be judged by the age of the account.
    pub fn carried_over<'a>(&self, theirs: &'a Self, purposes: &Purposes, now_ms: i64) -> Vec<&'a Row> {
        let (own, standing) = (self.counting(purposes, now_ms), theirs.counting(purposes, now_ms));
        let mut carried: Vec<&Row> = Vec::new();
        for row in theirs.rows.iter().filter(|row| theirs.void_in(row, purposes, now_ms) != Some(Reason::AgeGate)) {
            let both = || {
                let stands = own.iter().any(|grant| grant.extent == row.extent && !row.outlasts(grant));
                stands && carried.iter().any(|before| !before.granted && before.extent.ends(&row.extent))
            };
            let stands = standing.iter().any(|grant| grant.id == row.id);
            if !row.granted || !self.speaks_of(&row.extent) || stands && both() {
                carried.push(row);
            }
        }
        carried
    }

    /// Of the grants that stand those that allow something: for a text that still counts, by somebody of age.
    fn counting(&self, purposes: &Purposes, now_ms: i64) -> Vec<&Row> {
        self.in_force(now_ms).into_iter().filter(|row| self.void_in(row, purposes, now_ms).is_none()).collect()
    }

    fn void_in(&self, row: &Row, purposes: &Purposes, now_ms: i64) -> Option<Reason> {
        purposes.get(&row.extent.purpose).map_or(Some(Reason::UnknownPurpose), |purpose| self.void(row, purpose, now_ms))
    }

    /// Whether a row is about this extent, or a withdrawal about more than it.
    fn speaks_of(&self, extent: &Extent) -> bool {
        self.rows.iter().any(|row| row.extent == *extent || !row.granted && row.extent.ends(extent))
    }

    /// The partners that a withdrawal of this extent concerns: those it names, and those of whose grants it ends
    /// something.
    pub fn concerned(&self, extent: &Extent, now_ms: i64) -> BTreeSet<PartnerId> {
        let meets = |row: &&Row| {
            let Extent { purpose, channel, partner } = &row.extent;
            *purpose == extent.purpose
                && (channel.is_none() || extent.channel.is_none() || *channel == extent.channel)
                && (extent.partner.is_none() || *partner == extent.partner)
        };
        self.in_force(now_ms).into_iter().filter(meets).filter_map(|row| row.extent.partner).chain(extent.partner).collect()
    }

    /// The last row about a purpose.
    pub fn last(&self, purpose: &str) -> Option<&Row> {
        self.rows.iter().rev().find(|row| row.extent.purpose == purpose)
    }

    /// The withdrawal that ended the whole of a grant, if there is one.
    pub fn end_of(&self, grant: ConsentId) -> Option<&Row> {
        let at = self.rows.iter().position(|row| row.id == grant)?;
        self.rows[at..].iter().find(|row| !row.granted && row.extent.ends(&self.rows[at].extent))
    }
}
