//! The walks of direct pushes: the next of an audience, decided about in the transaction that moves the walk on.
//!
//! One step takes walks of one app until it has enough users: many small pushes share a transaction, a large one has many.

use super::say::{self, Judged, Ready};
use super::spec::Kind;
use super::store::{self, RunRow};
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
use std::sync::{Arc, PoisonError};

/// Users of one step.
const BATCH: i64 = 200;
/// Walks of one step.
const RUNS: i64 = 100;
/// Users of one step that each walk may have, however many wait before it.
const SHARE: i64 = 50;

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
    /// About how many was decided.
    decided: usize,
    outside: BTreeMap<String, i64>,
}

/// One step: the walks of one app that are due first. Apps take turns.
pub(in crate::moment) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let now_ms = parts.platform.clock.now_ms();
    let store = &parts.platform.store;
    let last = parts.walked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (app, due_ms) = store.read(move |conn| Ok((store::next_app(conn, &last, now_ms)?, store::first_due_ms(conn)?))).await?;
    let Some(app) = app else { return Ok(due_ms.map_or(Progress::Idle, Progress::Until)) };
    *parts.walked.lock().unwrap_or_else(PoisonError::into_inner) = app.to_string();
    let limit = parts.pushes.appetite(BATCH);
    let (scouts, stretches) = store.read(move |conn| next(conn, app, (now_ms, limit))).await?;
    if !scouts.is_empty() {
        store.write(move |conn| look_about(conn, &scouts, now_ms)).await?;
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

/// Walks that come to nobody: those that look for zones, and with false those that end.
type Scouts = Vec<(RunRow, bool)>;

/// Who comes next: scouts apart, and stretches with users until there are enough. The walks behind one keep their share.
fn next(conn: &mut Conn, app: AppId, (now_ms, limit): (i64, i64)) -> Result<(Scouts, Vec<Stretch>)> {
    let runs = store::due(conn, app, (now_ms, if limit < BATCH { 1 } else { RUNS }))?;
    let ids: BTreeSet<PushId> = runs.iter().map(|run| run.push_id).collect();
    let rows = store::by_ids(conn, app, &ids.into_iter().collect::<Vec<_>>())?;
    let mut ready: HashMap<PushId, Arc<Ready>> = HashMap::new();
    let (mut scouts, mut stretches, mut left) = (Vec::new(), Vec::new(), limit);
    let mut behind = i64::try_from(runs.len()).unwrap_or(i64::MAX);
    for run in runs {
        behind -= 1;
        // A walk without its push, or of one that was stopped, is none.
        let row = rows.get(&run.push_id).filter(|row| row.is_open());
        let Some(row) = row.filter(|_| run.zone != SCOUT) else {
            scouts.push((run, row.is_some()));
            continue;
        };
        if left <= 0 {
            break;
        }
        let share = SHARE.max(left - SHARE * behind).min(left);
        let push = match ready.get(&run.push_id) {
            Some(push) => Arc::clone(push),
            None => {
                let Ok(push) = Ready::new(row.id, row.test, row.spec.0.clone()) else {
                    tracing::error!(push = %row.id, "a push that was accepted can no longer be read: its walk ends");
                    scouts.push((run, false));
                    continue;
                };
                let push = Arc::new(push);
                ready.insert(run.push_id, Arc::clone(&push));
                push
            }
        };
        let users = match push.spec.audience {
            Kind::List { .. } => store::targets(conn, &run, share)?,
            Kind::Topic { .. } | Kind::Rule { .. } => {
                let zone = (run.zone != EVERYBODY).then_some(run.zone.as_str());
                let users = profile::walk(conn, app, zone, (run.cursor_user_id, share))?;
                users.into_iter().map(|user_id| Target { user_id, devices: None }).collect()
            }
        };
        let met = i64::try_from(users.len()).unwrap_or(i64::MAX);
        stretches.push(Stretch { run, push, last: met < share, users });
        left -= met;
    }
    Ok((scouts, stretches))
}

/// The turn of those that look for zones. Whoever cancels a push takes the same lock: it gets no walk after its end.
fn look_about(conn: &mut Conn, scouts: &Scouts, now_ms: i64) -> Result<()> {
    conn.serialise(commit::LOCK)?;
    for (run, looks) in scouts {
        let push = if *looks { store::get(conn, run.app_id, run.push_id)? } else { None };
        match push.filter(store::PushRow::is_open).map(|push| push.spec.0.when) {
            Some(When::Local(local)) => zones::scout(conn, run, (local, now_ms))?,
            Some(When::At(_)) | None => store::end_run(conn, run).map(drop)?,
        }
    }
    Ok(())
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
        walked.push(Walked { stretch, decided: some.len(), outside });
        made.extend(some);
    }
    let decided: Vec<_> = made.iter().map(commit::Written::from).collect();
    let shared = Arc::clone(parts);
    let planned = parts
        .platform
        .store
        .write(move |conn| {
            conn.serialise(commit::LOCK)?;
            walked.iter().try_for_each(|one| advance(conn, one, now_ms))?;
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
fn advance(conn: &mut Conn, walked: &Walked, now_ms: i64) -> Result<()> {
    let Walked { stretch: Stretch { run, push, users, last }, decided, outside } = walked;
    let named = matches!(push.spec.audience, Kind::List { .. });
    // The walk of everybody comes a second time to those whom one of a zone has met; of a list they were struck off. Those
    // outside may have been so before: they are counted once.
    let again = !named && run.zone == EVERYBODY && matches!(push.spec.when, When::Local(_));
    let more = i64::try_from(if again { *decided } else { users.len() }).unwrap_or(i64::MAX);
    let none = BTreeMap::new();
    if !store::visited(conn, (run.app_id, run.push_id), (more, if again { &none } else { outside }))? {
        return Err(stale());
    }
    if named {
        let ids: Vec<UserId> = users.iter().map(|target| target.user_id).collect();
        if !store::strike(conn, run, &ids)? {
            return Err(stale());
        }
    }
    let to = users.last().map(|target| target.user_id);
    if store::advance(conn, run, (to, *last), now_ms)? { Ok(()) } else { Err(stale()) }
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
            advance(conn, &Walked { stretch, decided: new.len(), outside: BTreeMap::new() }, now_ms)?;
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
