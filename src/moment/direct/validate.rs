//! A push looked at and not sent: everybody is led through the gates, and nothing is kept.

use super::audience::Found;
use super::say::{self, Judged, Ready};
use super::spec::{Kind, NewPush};
use super::{Target, Unknown};
use crate::campaign::When;
use crate::error::{Error, Result};
use crate::id::{AppId, UserId};
use crate::moment::context::Known;
use crate::moment::decision::{Outcome, Reason};
use crate::moment::live::Live;
use crate::people::profile;
use crate::platform::turns::Turns;
use actix_web::web;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Users of one read.
const BATCH: usize = 200;
/// Most users that are looked at.
const USERS_MAX: i64 = 10_000;
/// How long users are looked at, in machine time.
const PATIENCE: Duration = Duration::from_secs(5);
/// What each further batch costs its caller, in requests.
pub(super) const COST: usize = 20;
/// Batches that are looked at at once, over all apps.
static TURNS: Turns = Turns::new(2);

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
    /// Whether everybody was looked at: of a large app only the first 10,000 users are, and fewer when that takes longer
    /// than five seconds or more than the key may do. Every 200 users beyond the first cost 20 requests.
    complete: bool,
}

impl Live {
    /// Checks everything about a push and counts whom it would reach at its time, as they are now.
    ///
    /// # Errors
    /// As of sending it; `Busy` when many of this app wait to be looked at. What the caller cannot pay is not looked at.
    pub(super) async fn validate(
        &self,
        (app, test): (AppId, bool),
        new: NewPush,
        pays: impl AsyncFn(usize) -> Result<()>,
    ) -> Result<Validated> {
        let (parts, begun) = (self.parts(), Instant::now());
        let now_ms = parts.platform.clock.now_ms();
        let spec = self.checked(app, &new, now_ms).await?;
        let is_list = matches!(spec.audience, Kind::List { .. });
        let at_ms = match spec.when {
            When::At(at) => at.0.max(now_ms),
            When::Local(local) => local.due_ms("UTC")?.max(now_ms),
        };
        let push = Arc::new(Ready::new(parts.platform.ids.next(), test, spec)?);
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
            if said.visited > 0 && !goes_on(said.visited, begun, &pays).await? {
                said.complete = false;
                return Ok(said);
            }
            after = Some(last.user_id);
            let users: Vec<UserId> = next.iter().map(|target| target.user_id).collect();
            let terms = [Arc::clone(&push.terms)];
            let mut known = parts.platform.store.read(move |conn| Known::read(conn, app, &users, &terms, at_ms)).await?;
            let (parts, push, met) = (Arc::clone(parts), Arc::clone(&push), i64::try_from(next.len()).unwrap_or(i64::MAX));
            // Not on a thread that others wait for.
            let _turn = TURNS.take(app).await?;
            let at = move |opens_ms: i64| opens_ms.max(now_ms);
            let judged =
                web::block(move || say::decide(&mut known, &push, &next, (&parts, &at))).await.map_err(Error::broken)??;
            said.count(met, judged);
        }
    }
}

/// Whether the next batch may be looked at.
async fn goes_on(visited: i64, begun: Instant, pays: &impl AsyncFn(usize) -> Result<()>) -> Result<bool> {
    if visited >= USERS_MAX || begun.elapsed() > PATIENCE {
        return Ok(false);
    }
    match pays(COST).await {
        Err(Error::Refused(_)) => Ok(false),
        paid => paid.map(|()| true),
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
