//! What rules and templates may see of a user: an attribute under a purpose only while consent to that purpose stands.

use super::context::Known;
use super::input::TriggerNeed;
use crate::campaign::LiveKind;
use crate::id::PartnerId;
use crate::people::consent::{Need, Standing};
use crate::people::profile::Person;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

impl Known {
    /// The attributes of a user that nobody may see for this partner's offer, or for the app itself.
    pub(super) fn hidden(&self, person: &Person, partner: Option<PartnerId>) -> BTreeSet<String> {
        let guarded = self.guarded(person, partner);
        guarded.filter(|(_, _, standing)| !standing.permits()).map(|(key, ..)| key.to_owned()).collect()
    }

    /// What has to be granted because these attributes are seen and read.
    pub(super) fn needs_read(
        &self,
        person: &Person,
        partner: Option<PartnerId>,
        reads: impl Fn(&str) -> bool,
    ) -> Vec<TriggerNeed> {
        let mut met: Vec<TriggerNeed> = Vec::new();
        for (key, need, standing) in self.guarded(person, partner) {
            if standing.permits() && reads(key) && met.iter().all(|m| m.need != need) {
                met.push(TriggerNeed { need, standing: standing.into() });
            }
        }
        met
    }

    /// What has to be granted because of what the rules of a kind have seen of a user.
    pub(super) fn read_by_trigger(&self, person: &Person, kind: &LiveKind) -> Vec<Need> {
        self.needs_read(person, None, |key| kind.reads(key)).into_iter().map(|met| met.need).collect()
    }

    fn guarded<'a>(
        &'a self,
        person: &'a Person,
        partner: Option<PartnerId>,
    ) -> impl Iterator<Item = (&'a str, Need, Standing)> + 'a {
        let there = self.guards.iter().filter(|(key, _)| person.attributes.contains_key(*key));
        there.map(move |(key, purpose)| {
            let need = Need { purpose: purpose.clone(), partner };
            let standing = self.standing(person.id, &need);
            (key.as_str(), need, standing)
        })
    }
}

/// What rules and templates see of a user, without what is hidden.
pub(super) fn user_facts(person: &Person, hidden: &BTreeSet<String>) -> Value {
    let seen = person.attributes.iter().filter(|(key, _)| !hidden.contains(*key));
    let attributes: Map<String, Value> = seen.map(|(key, value)| (key.clone(), value.clone())).collect();
    json!({
        "id": person.id,
        "external_id": person.external_id,
        "anonymous": person.anonymous,
        "locale": person.locale,
        "time_zone": person.time_zone,
        "attributes": attributes,
    })
}
