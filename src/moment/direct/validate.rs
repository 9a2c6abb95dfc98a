//! A push looked at and not sent: everybody is led through the gates, and nothing is kept.

use super::audience::Found;
use super::say::{self, Judged, Ready};
use super::spec::{Kind, NewPush};
use super::{Target, Unknown};
use crate::campaign::When;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::moment::context::Known;
use crate::moment::decision::{Outcome, Reason};
use crate::moment::live::Live;
use crate::people::profile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Users of one read.
const BATCH: usize = 200;
/// Most users that are looked at.
const USERS_MAX: i64 = 10_000;

/// What would come of a push.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ValidatedPush)]
pub struct Validated {
    /// Users about whom would be decided.
    users: i64,
    /// Those for whom it would go out.
    chosen: i64,
    /// Those for whom it would wait for the end of quiet time.
    held: i64,
    /// Those who would not get it, by reason.
    suppressed: BTreeMap<String, i64>,
    /// Devices that it would go to.
    devices: i64,
    /// Entries of the list behind which there is nobody.
    unknown: Vec<Unknown>,
    /// Users who were looked at.
    visited: i64,
    /// Those of them who are not in the audience of the topic or the rule, by reason.
    outside: BTreeMap<String, i64>,
    /// Whether everybody was looked at: of a large app only the first 10,000 users are.
    complete: bool,
}

impl Live {
    /// Checks everything about a push and counts whom it would reach at its time, as they are now.
    ///
    /// # Errors
    /// As of sending it.
    pub(super) async fn validate(&self, (app, test): (AppId, bool), new: NewPush) -> Result<Validated> {
        let parts = self.parts();
        let now_ms = parts.platform.clock.now_ms();
        let spec = self.checked(app, &new, now_ms).await?;
        let is_list = matches!(spec.audience, Kind::List { .. });
        let at_ms = match spec.when {
            When::At(at) => at.0.max(now_ms),
            When::Local(local) => local.due_ms("UTC")?.max(now_ms),
        };
        let push = Ready::new(parts.platform.ids.next(), test, spec)?;
        let Found { targets, unknown } = parts.platform.store.read(move |conn| new.audience.find(conn, app)).await?;
        let mut said = Validated { unknown, complete: true, ..Validated::default() };
        let (mut list, mut after): (_, Option<UserId>) = (targets.into_iter(), None);
        loop {
            let next: Vec<Target> = if is_list {
                list.by_ref().take(BATCH).collect()
            } else {
                let page = (after, i64::try_from(BATCH).unwrap_or(i64::MAX));
                let users = parts.platform.store.read(move |conn| profile::walk(conn, app, None, page)).await?;
                users.into_iter().map(|user_id| Target { user_id, devices: None }).collect()
            };
            let Some(last) = next.last() else { return Ok(said) };
            if said.visited >= USERS_MAX {
                said.complete = false;
                return Ok(said);
            }
            after = Some(last.user_id);
            let users: Vec<UserId> = next.iter().map(|target| target.user_id).collect();
            let terms = [Arc::clone(&push.terms)];
            let mut known = parts.platform.store.read(move |conn| Known::read(conn, app, &users, &terms, at_ms)).await?;
            let judged = say::decide(&mut known, &push, &next, (parts, &|opens_ms: i64| opens_ms.max(now_ms)))?;
            said.count(i64::try_from(next.len()).unwrap_or(i64::MAX), judged);
        }
    }
}

impl Validated {
    fn count(&mut self, visited: i64, Judged { made, outside }: Judged) {
        self.visited += visited;
        for (reason, n) in outside {
            *self.outside.entry(reason).or_default() += n;
        }
        for one in made {
            self.users += 1;
            match one.decision.outcome {
                Outcome::Chosen => self.chosen += 1,
                Outcome::Held => self.held += 1,
                Outcome::HeldOut | Outcome::ReleaseRefused | Outcome::Silent => {
                    let reason = one.decision.reason.map_or("failed", Reason::name);
                    *self.suppressed.entry(reason.to_owned()).or_default() += 1;
                }
            }
            let devices = one.decision.choices.iter().map(|choice| choice.devices.len()).sum::<usize>();
            self.devices += i64::try_from(devices).unwrap_or(i64::MAX);
        }
    }
}
