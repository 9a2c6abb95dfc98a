//! The walks of direct pushes: the next of an audience, decided about in the transaction that moves the walk on.
//!
//! One step takes walks of one app until it has enough users: many small pushes share a transaction, a large one has many.

use super::say::{self, Judged, Ready};
use super::spec::Kind;
use super::store::{self, PushRow, RunRow};
use super::zones::{self, EVERYBODY, SCOUT};
use super::{State, Target};
use crate::campaign::When;
use crate::error::Result;
use crate::id::{AppId, PushId, UserId};
use crate::moment::commit::{self, Made, stale};
use crate::moment::context::Known;
use crate::moment::live::Parts;
use crate::people::profile;
use crate::push;
use crate::store::Conn;
use crate::worker::Progress;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Users of one step.
const BATCH: i64 = 200;
/// Walks of one step.
const RUNS: i64 = 100;

/// The next stretch of one walk.
#[derive(Clone)]
struct Stretch {
    run: RunRow,
    push: Arc<Ready>,
    /// Everybody whom it comes to, in the order of ids.
    users: Vec<Target>,
    /// Whether there is nobody behind them.
    last: bool,
}

/// What was decided along a stretch.
struct Walked {
    stretch: Stretch,
    outside: BTreeMap<String, i64>,
}

/// One step: the walks that are due first.
pub(in crate::moment) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let now_ms = parts.platform.clock.now_ms();
    let store = &parts.platform.store;
    let app = match store.read(store::first_due).await? {
        None => return Ok(Progress::Idle),
        Some((_, due_ms)) if due_ms > now_ms => return Ok(Progress::Until(due_ms)),
        Some((app, _)) => app,
    };
    let limit = parts.pushes.appetite(BATCH);
    let (scouts, stretches) = store.read(move |conn| next(conn, app, (now_ms, limit))).await?;
    if !scouts.is_empty() {
        store.write(move |conn| scouts.iter().try_for_each(|(run, push)| scout(conn, (run, push.as_ref()), now_ms))).await?;
    }
    let met = stretches.iter().flat_map(|s| s.users.iter().map(|target| (s.run.push_id, target.user_id)));
    let met: Vec<(PushId, UserId)> = met.collect();
    if let Err(error) = walk(parts, app, stretches.clone(), now_ms).await
        && parts.pushes.failed(&met, error)?
    {
        give_up(parts, app, stretches, now_ms).await?;
    }
    parts.ends_hint.nudge();
    Ok(Progress::More)
}

type Scouts = Vec<(RunRow, Option<PushRow>)>;

/// Who comes next: scouts apart, and stretches with users until there are enough.
fn next(conn: &mut Conn, app: AppId, (now_ms, limit): (i64, i64)) -> Result<(Scouts, Vec<Stretch>)> {
    let runs = store::due(conn, app, (now_ms, if limit < BATCH { 1 } else { RUNS }))?;
    let ids: BTreeSet<PushId> = runs.iter().map(|run| run.push_id).collect();
    let rows = store::by_ids(conn, app, &ids.into_iter().collect::<Vec<_>>())?;
    let mut ready: HashMap<PushId, Arc<Ready>> = HashMap::new();
    let (mut scouts, mut stretches, mut left) = (Vec::new(), Vec::new(), limit);
    for run in runs {
        let row = rows.get(&run.push_id);
        // A walk without its push is none.
        let Some(row) = row.filter(|_| run.zone != SCOUT) else {
            scouts.push((run, row.cloned()));
            continue;
        };
        if left <= 0 {
            break;
        }
        let push = match ready.get(&run.push_id) {
            Some(push) => Arc::clone(push),
            None => {
                let Ok(push) = Ready::new(row.id, row.test, row.spec.0.clone()) else {
                    tracing::error!(push = %row.id, "a push that was accepted can no longer be read: its walk ends");
                    scouts.push((run, None));
                    continue;
                };
                let push = Arc::new(push);
                ready.insert(run.push_id, Arc::clone(&push));
                push
            }
        };
        let users = match push.spec.audience {
            Kind::List { .. } => store::targets(conn, &run, left)?,
            Kind::Topic { .. } | Kind::Rule { .. } => {
                let zone = (run.zone != EVERYBODY).then_some(run.zone.as_str());
                let users = profile::walk(conn, app, zone, (run.cursor_user_id, left))?;
                users.into_iter().map(|user_id| Target { user_id, devices: None }).collect()
            }
        };
        let met = i64::try_from(users.len()).unwrap_or(i64::MAX);
        stretches.push(Stretch { run, push, last: met < left, users });
        left -= met;
    }
    Ok((scouts, stretches))
}

fn scout(conn: &mut Conn, (run, push): (&RunRow, Option<&PushRow>), now_ms: i64) -> Result<()> {
    match push.map(|push| push.spec.0.when) {
        Some(When::Local(local)) => zones::scout(conn, run, (local, now_ms)),
        Some(When::At(_)) | None => store::end_run(conn, run).map(drop),
    }
}

/// Decides about everybody along these stretches, and moves the walks on.
async fn walk(parts: &Arc<Parts>, app: AppId, stretches: Vec<Stretch>, now_ms: i64) -> Result<()> {
    let whom = stretches.clone();
    let (mut known, met) = parts.platform.store.read(move |conn| gather(conn, app, &whom, now_ms)).await?;
    let (mut made, mut walked): (Vec<Made>, Vec<Walked>) = (Vec::new(), Vec::new());
    for stretch in stretches {
        let push = Arc::clone(&stretch.push);
        let new = stretch.users.iter().filter(|target| !met.contains(&(push.id, target.user_id))).cloned();
        let new: Vec<Target> = new.collect();
        let judged = say::decide(&mut known, &push, &new, (parts, &|_| now_ms))?;
        let Judged { made: some, outside } = judged;
        made.extend(some);
        walked.push(Walked { stretch, outside });
    }
    let decided: Vec<_> = made.iter().map(commit::Written::from).collect();
    let shared = Arc::clone(parts);
    let planned = parts
        .platform
        .store
        .write(move |conn| {
            conn.serialise(commit::LOCK)?;
            walked.iter().try_for_each(|one| advance(conn, one))?;
            let messages = say::write(conn, &shared, &known, &made)?;
            push::outbox::plan(conn, &shared.dispatcher, messages, now_ms)
        })
        .await?;
    commit::written(&parts.platform.stopwatch, &decided);
    parts.dispatcher.go(planned);
    parts.release_hint.nudge();
    Ok(())
}

type Met = std::collections::HashSet<(PushId, UserId)>;

fn gather(conn: &mut Conn, app: AppId, stretches: &[Stretch], now_ms: i64) -> Result<(Known, Met)> {
    let pushes: BTreeSet<PushId> = stretches.iter().map(|s| s.run.push_id).collect();
    let users: BTreeSet<UserId> = stretches.iter().flat_map(|s| &s.users).map(|target| target.user_id).collect();
    let (pushes, users): (Vec<_>, Vec<_>) = (pushes.into_iter().collect(), users.into_iter().collect());
    let terms: Vec<_> = stretches.iter().map(|s| Arc::clone(&s.push.terms)).collect();
    Ok((Known::read(conn, app, &users, &terms, now_ms)?, store::met(conn, app, (&pushes, &users))?))
}

/// Moves a walk over a stretch; part of the transaction that stores its decisions.
///
/// # Errors
/// [`stale`] when somebody else has done so, or has cancelled the push.
fn advance(conn: &mut Conn, walked: &Walked) -> Result<()> {
    let Walked { stretch: Stretch { run, push, users, last }, outside } = walked;
    // Those who have moved past their zone's time are met a second time: they are counted once.
    let again = run.zone == EVERYBODY && matches!(push.spec.when, When::Local(_));
    let more = if again { 0 } else { i64::try_from(users.len()).unwrap_or(i64::MAX) };
    let none = BTreeMap::new();
    if !store::visited(conn, (run.app_id, run.push_id), (more, if again { &none } else { outside }))? {
        return Err(stale());
    }
    if matches!(push.spec.audience, Kind::List { .. }) {
        let ids: Vec<UserId> = users.iter().map(|target| target.user_id).collect();
        if !store::strike(conn, run, &ids)? {
            return Err(stale());
        }
    }
    let to = users.last().map(|target| target.user_id);
    if store::advance(conn, run, (to, *last))? { Ok(()) } else { Err(stale()) }
}

/// Walks past those at whom it fails again and again: their decisions say `failed`, the fault is in the log.
async fn give_up(parts: &Arc<Parts>, app: AppId, stretches: Vec<Stretch>, now_ms: i64) -> Result<()> {
    let ids = parts.platform.ids.clone();
    let silent = move |conn: &mut Conn| {
        conn.serialise(commit::LOCK)?;
        let mut silences = Vec::new();
        for stretch in stretches {
            let (push, users) = (stretch.run.push_id, stretch.users.iter().map(|t| t.user_id).collect::<Vec<_>>());
            // Another node may have managed it meanwhile.
            let met = store::met(conn, app, (&[push], &users))?;
            let new: Vec<UserId> = users.into_iter().filter(|user| !met.contains(&(push, *user))).collect();
            silences.extend(commit::write_failed(conn, &ids, (app, push.uuid().into(), &new), now_ms)?);
            advance(conn, &Walked { stretch, outside: BTreeMap::new() })?;
        }
        Ok(silences)
    };
    let silences = parts.platform.store.write(silent).await?;
    commit::written(&parts.platform.stopwatch, &silences);
    Ok(())
}

/// Where a push stands before its first step.
pub(super) fn begins(due_ms: i64, now_ms: i64) -> State {
    if due_ms > now_ms { State::Scheduled } else { State::Running }
}
