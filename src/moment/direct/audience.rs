//! To whom a push goes, as its sender says it: a list of users or devices, a topic, or a rule; and who is behind a list.

use super::spec::Kind;
use super::{Target, Unknown};
use crate::campaign::check::Check;
use crate::error::Result;
use crate::id::{AppId, DeviceId, UserId};
use crate::people::{device, profile};
use crate::store::Conn;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use utoipa::ToSchema;

/// Most entries of a list.
pub const LIST_MAX: usize = 1_000;
/// Longest entry that is no id of ours, in bytes: the endpoint of a browser's subscription is the longest token.
const ENTRY_BYTES_MAX: usize = 4_096;

/// To whom; exactly one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPushAudience)]
pub struct Audience {
    /// Users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub user_ids: Option<Vec<UserId>>,
    /// Users by the names that another system has for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub external_ids: Option<Vec<String>>,
    /// Devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub device_ids: Option<Vec<DeviceId>>,
    /// Devices by the phones' own names for their installations: of each the one that can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub installation_ids: Option<Vec<String>>,
    /// Devices by their push tokens; each has to be registered in this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 1000)]
    pub tokens: Option<Vec<String>>,
    /// Everybody who has this topic on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub topic: Option<String>,
    /// Everybody of whom this rule over `user` and `device` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2000)]
    pub rule: Option<String>,
}

/// Who is behind a list.
#[derive(Debug, Default)]
pub struct Found {
    /// Users, each once, in the order of their ids.
    pub targets: Vec<Target>,
    /// The entries behind which there is nobody.
    pub unknown: Vec<Unknown>,
}

impl Audience {
    /// Its kind, when exactly one is given and within the limits.
    pub(in crate::moment) fn kind(&self, check: &mut Check) -> Option<Kind> {
        let texts = |list: &Option<Vec<String>>| list.as_ref().map(Vec::len);
        let lists = [
            ("user_ids", self.user_ids.as_ref().map(Vec::len)),
            ("external_ids", texts(&self.external_ids)),
            ("device_ids", self.device_ids.as_ref().map(Vec::len)),
            ("installation_ids", texts(&self.installation_ids)),
            ("tokens", texts(&self.tokens)),
        ];
        let mut kinds = Vec::new();
        for (field, count) in lists {
            if let Some(named) = count {
                check.count(format!("audience.{field}"), named, 1..=LIST_MAX);
                kinds.push(Kind::List { named });
            }
        }
        for (field, entries) in
            [("external_ids", &self.external_ids), ("installation_ids", &self.installation_ids), ("tokens", &self.tokens)]
        {
            for (n, entry) in entries.iter().flatten().enumerate() {
                if entry.is_empty() || entry.len() > ENTRY_BYTES_MAX || entry.chars().any(char::is_control) {
                    let message = format!("must have 1 to {ENTRY_BYTES_MAX} bytes without control characters");
                    check.refuse(format!("audience.{field}[{n}]"), "invalid", message);
                }
            }
        }
        kinds.extend(self.topic.clone().map(|topic| Kind::Topic { topic }));
        kinds.extend(self.rule.clone().map(|rule| Kind::Rule { rule }));
        if kinds.len() == 1 {
            return kinds.pop();
        }
        let message = "give exactly one of user_ids, external_ids, device_ids, installation_ids, tokens, topic, rule";
        check.refuse("audience", if kinds.is_empty() { "required" } else { "conflict" }, message);
        None
    }

    /// Who is behind its list; nobody when it is none.
    ///
    /// # Errors
    /// What the database says.
    pub(in crate::moment) fn find(&self, conn: &mut Conn, app: AppId) -> Result<Found> {
        if let Some(ids) = &self.user_ids {
            let people = profile::people(conn, app, ids)?;
            return Ok(users("user_ids", ids.iter().map(|id| people.contains_key(id).then_some(*id))));
        }
        if let Some(names) = &self.external_ids {
            let known = profile::resolve_external(conn, app, names)?;
            return Ok(users("external_ids", names.iter().map(|name| known.get(name).copied())));
        }
        if let Some(ids) = &self.device_ids {
            let held = device::holds(conn, app, ids)?;
            return Ok(devices("device_ids", ids.iter().map(|id| Some((held.get(id)?.user_id?, *id)))));
        }
        if let Some(names) = &self.installation_ids {
            let found = device::by_installations(conn, app, names)?;
            return Ok(devices("installation_ids", names.iter().map(|name| found.get(name).copied())));
        }
        if let Some(tokens) = &self.tokens {
            let found = device::by_tokens(conn, app, tokens)?;
            return Ok(devices("tokens", tokens.iter().map(|token| found.get(token).copied())));
        }
        Ok(Found::default())
    }
}

fn users(list: &str, entries: impl Iterator<Item = Option<UserId>>) -> Found {
    let (mut met, mut unknown) = (BTreeSet::new(), Vec::new());
    for (n, entry) in entries.enumerate() {
        match entry {
            Some(user) => drop(met.insert(user)),
            None => unknown.push(Unknown { entry: format!("audience.{list}[{n}]"), reason: "unknown_user".to_owned() }),
        }
    }
    Found { targets: met.into_iter().map(|user_id| Target { user_id, devices: None }).collect(), unknown }
}

fn devices(list: &str, entries: impl Iterator<Item = Option<(UserId, DeviceId)>>) -> Found {
    let (mut met, mut unknown) = (BTreeMap::<UserId, Vec<DeviceId>>::new(), Vec::new());
    let mut seen = HashSet::new();
    for (n, entry) in entries.enumerate() {
        match entry {
            Some((user, device)) if seen.insert(device) => met.entry(user).or_default().push(device),
            Some(_) => {}
            None => unknown.push(Unknown { entry: format!("audience.{list}[{n}]"), reason: "unknown_device".to_owned() }),
        }
    }
    Found { targets: met.into_iter().map(|(user_id, devices)| Target { user_id, devices: Some(devices) }).collect(), unknown }
}
