//! The consent law: which row of a user's ledger decides a need, and which grants a withdrawal ends. Pure.

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
}

/// All rows of one user, in the order in which they were committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(pub Vec<Row>);

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
    /// The app has no such purpose.
    UnknownPurpose,
}

impl Reason {
    /// The stable word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotGranted => "not_granted",
            Self::Withdrawn => "withdrawn",
            Self::AskAgain => "ask_again",
            Self::UnknownPurpose => "unknown_purpose",
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
}

impl Extent {
    /// Whether a withdrawal of this extent ends the whole of a grant of the other one.
    fn ends(&self, granted: &Self) -> bool {
        self.purpose == granted.purpose
            && (self.channel.is_none() || self.channel == granted.channel)
            && (self.partner.is_none() || self.partner == granted.partner)
    }
}

impl Ledger {
    /// How this need stands: the latest matching row decides, one that names the channel before one that does not.
    pub fn standing(&self, purposes: &Purposes, need: &Need) -> Standing {
        let Some(purpose) = purposes.get(&need.purpose) else { return Standing::Refused(Reason::UnknownPurpose) };
        if purpose.basis == Basis::Contract && need.partner.is_none() {
            return Standing::NotNeeded;
        }
        match self.grant(purpose, need) {
            Ok(row) => Standing::Granted(row.id),
            Err(reason) => Standing::Refused(reason),
        }
    }

    fn grant(&self, purpose: &Purpose, need: &Need) -> Result<&Row, Reason> {
        let (mut naming, mut other): (Option<&Row>, Option<&Row>) = (None, None);
        let (mut outdated_ever, mut outdated_last) = (false, false);
        for row in self.0.iter().filter(|row| row.matches(need)) {
            // A grant for a text that has to be asked again is as if it had not been made: it allows nothing, and it
            // lifts no withdrawal.
            outdated_last = row.granted && !purpose.counts(row.text_version.as_deref());
            outdated_ever |= outdated_last;
            if outdated_last {
                continue;
            }
            let slot = if row.extent.channel.is_some() { &mut naming } else { &mut other };
            *slot = Some(row);
            // A withdrawal that names no channel ends the grants that name one. A withdrawal that names the
            // channel stays: a wide grant does not imply what was withdrawn by name.
            if !row.granted && row.extent.channel.is_none() && naming.is_some_and(|n| n.granted) {
                naming = None;
            }
        }
        match naming.or(other) {
            Some(row) if row.granted => Ok(row),
            Some(_) if !outdated_last => Err(Reason::Withdrawn),
            None if !outdated_ever => Err(Reason::NotGranted),
            Some(_) | None => Err(Reason::AskAgain),
        }
    }

    /// The grants that stand: neither withdrawn in whole, nor replaced by a later row of the same extent.
    pub fn in_force(&self) -> Vec<&Row> {
        let mut standing: Vec<&Row> = Vec::new();
        for row in &self.0 {
            standing.retain(|grant| {
                let replaced = grant.extent == row.extent;
                let ended = !row.granted && row.extent.ends(&grant.extent);
                !replaced && !ended
            });
            if row.granted {
                standing.push(row);
            }
        }
        standing
    }

    /// The grants that stand and that a withdrawal of this extent would end in whole.
    pub fn ended_by(&self, extent: &Extent) -> Vec<&Row> {
        self.in_force().into_iter().filter(|grant| extent.ends(&grant.extent)).collect()
    }

    /// The partners that a withdrawal of this extent concerns: those it names, and those of whose grants it ends
    /// something.
    pub fn concerned(&self, extent: &Extent) -> BTreeSet<PartnerId> {
        let meets = |row: &&Row| {
            let Extent { purpose, channel, partner } = &row.extent;
            *purpose == extent.purpose
                && (channel.is_none() || extent.channel.is_none() || *channel == extent.channel)
                && (extent.partner.is_none() || *partner == extent.partner)
        };
        self.in_force().into_iter().filter(meets).filter_map(|row| row.extent.partner).chain(extent.partner).collect()
    }

    /// The last row about a purpose.
    pub fn last(&self, purpose: &str) -> Option<&Row> {
        self.0.iter().rev().find(|row| row.extent.purpose == purpose)
    }
}
