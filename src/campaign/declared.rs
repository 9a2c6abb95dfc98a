//! What specs lean on: attributes, purposes, topics, partners, kinds and offers of the app. Everything named must exist.

use super::check::Check;
use super::rule::{Rule, Sample, Use};
use super::words::Words;
use super::{Campaign, Class, Kind, Offer, Start, store};
use crate::error::Result;
use crate::id::AppId;
use crate::partner;
use crate::people::consent::{self, Basis};
use crate::people::profile::{self, AttributeScope};
use crate::place;
use crate::store::Conn;

/// The sample on which rules and templates are tried when they are saved.
///
/// # Errors
/// What the database says.
pub(super) fn sample(conn: &mut Conn, app: AppId) -> Result<Sample> {
    let kinds = profile::kinds(conn, app, AttributeScope::User)?;
    Ok(Sample::new(kinds.into_iter().map(|(key, kind)| (key, kind.name().to_owned()))))
}

fn try_rule(check: &mut Check, field: &str, (source, used_as): (Option<&str>, Use), sample: &Sample) {
    if let Some(source) = source
        && let Err(fault) = Rule::compile_for(source, used_as, sample)
    {
        check.refuse(field, "invalid_rule", fault.0);
    }
}

impl Kind {
    /// Tries its rules on a sample. Costs milliseconds: not inside a transaction.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub(super) fn try_on(&self, sample: &Sample) -> Result<()> {
        self.check()?;
        let mut check = Check::default();
        try_rule(&mut check, "trigger.rule", (self.trigger.rule.as_deref(), Use::Truth), sample);
        try_rule(&mut check, "moment_key", (self.moment_key.as_deref(), Use::Key), sample);
        check.finish()
    }

    /// Whether what it names is there.
    ///
    /// # Errors
    /// 400 that names every field at fault; what the database says.
    pub(super) fn check_names(&self, conn: &mut Conn, app: AppId) -> Result<()> {
        let mut check = Check::default();
        let known = place::by_ids(conn, app, &self.trigger.place_ids)?;
        for (n, id) in self.trigger.place_ids.iter().enumerate() {
            if !known.contains_key(id) {
                check.refuse(format!("trigger.place_ids[{n}]"), "unknown_reference", "there is no such place in this app");
            }
        }
        check.finish()
    }
}

impl Offer {
    /// Tries its rule and its words on a sample. Costs milliseconds: not inside a transaction.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub fn try_on(&self, sample: &Sample) -> Result<()> {
        self.check()?;
        let mut check = Check::default();
        try_rule(&mut check, "audience", (self.audience.as_deref(), Use::Truth), sample);
        for (field, message) in Words::compile_for(&self.template, sample).err().unwrap_or_default() {
            check.refuse(field, "invalid_template", message);
        }
        check.finish()
    }

    /// Whether what it names is there, and fits together. Only that of a direct push may have no topic.
    ///
    /// # Errors
    /// 400 that names every field at fault; what the database says.
    pub fn check_names(&self, conn: &mut Conn, app: AppId) -> Result<()> {
        let mut check = Check::default();
        let partner = match self.partner_id {
            Some(id) => Some(partner::exists(conn, app, id)?),
            None => None,
        };
        if partner == Some(false) {
            check.refuse("partner_id", "unknown_reference", "there is no such partner in this app");
        }
        match consent::purposes(conn, app)?.get(&self.purpose).map(|purpose| purpose.basis) {
            None => check.refuse("purpose", "unknown_reference", "there is no such purpose in this app"),
            Some(Basis::Contract) if self.partner_id.is_some() => {
                check.refuse("purpose", "invalid", "a partner's offer needs a purpose with the basis consent");
            }
            Some(Basis::Contract | Basis::Consent) => {}
        }
        match (profile::topics(conn, app)?.0.get(&self.topic), self.class) {
            (None, Class::Normal) if self.topic.is_empty() => {}
            (None, Class::Critical) if self.topic.is_empty() => {
                check.refuse("topic", "required", "the class critical needs a topic that is critical");
            }
            (None, _) => check.refuse("topic", "unknown_reference", "there is no such topic in this app"),
            (Some(topic), Class::Critical) if !topic.critical => {
                check.refuse("topic", "invalid", "an offer of class critical needs a topic that is critical");
            }
            (Some(_), Class::Critical | Class::Normal) => {}
        }
        check.finish()
    }
}

impl Campaign {
    /// Tries its rule on a sample. Costs milliseconds: not inside a transaction.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub(super) fn try_on(&self, sample: &Sample) -> Result<()> {
        self.check()?;
        let mut check = Check::default();
        try_rule(&mut check, "audience", (self.audience.as_deref(), Use::Truth), sample);
        check.finish()
    }

    /// Whether what it names is there.
    ///
    /// # Errors
    /// 400 that names every field at fault; what the database says.
    pub(super) fn check_names(&self, conn: &mut Conn, app: AppId) -> Result<()> {
        let mut check = Check::default();
        let known = store::offers::by_ids(conn, app, &self.offers)?;
        for (n, id) in self.offers.iter().enumerate() {
            match known.get(id) {
                None => check.refuse(format!("offers[{n}]"), "unknown_reference", "there is no such offer in this app"),
                Some(offer) if offer.archived => check.refuse(format!("offers[{n}]"), "archived", "this offer is archived"),
                Some(_) => {}
            }
        }
        match &self.trigger {
            Start::Moment(kind) if store::kinds::find(conn, app, kind)?.is_none() => {
                check.refuse("trigger.moment", "unknown_reference", "there is no moment kind with this key in this app");
            }
            Start::Moment(_) | Start::Schedule(_) => {}
        }
        check.finish()
    }
}
