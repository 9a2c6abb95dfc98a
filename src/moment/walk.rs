//! Scheduled campaigns: a walk through the audience, the cursor moved in the transaction of the decisions it made.

use super::commit::{self, Hops, Made, stale};
use super::context::{Known, Question};
use super::input::{Facts, Opening};
use super::live::Parts;
use super::store;
use super::terms::Terms;
use super::trigger::moment_facts;
use super::value::Span;
use crate::campaign::{self, Catalogue, Curve, LiveCampaign, Run, Schedule, Start};
use crate::error::Result;
use crate::id::UserId;
use crate::push;
use crate::store::Conn;
use crate::worker::Progress;
use std::sync::Arc;

/// Users of one step.
const BATCH: i64 = 200;
/// The kind of the stretch of time in which a scheduled campaign may speak.
const SCHEDULE: &str = "schedule";

/// The next stretch of a walk.
struct Stretch {
    run: Run,
    /// Everybody who was met, in the order of ids.
    users: Vec<UserId>,
    /// Those about whom nothing was decided yet.
    new: Vec<UserId>,
    campaign: Option<Arc<LiveCampaign>>,
    terms: Vec<Arc<Terms>>,
    known: Known,
    revision: i64,
}

/// One step: the next users of the walk that is due first.
pub(super) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let now_ms = parts.platform.clock.now_ms();
    let store = &parts.platform.store;
    // Looking for due walks also finds zones that have appeared, so it may write.
    let (due, next_ms) =
        store.write(move |conn| Ok((campaign::runs_due(conn, now_ms, 1)?, campaign::next_run_ms(conn)?))).await?;
    let Some(run) = due.into_iter().next() else {
        return Ok(match next_ms {
            Some(at_ms) if at_ms <= now_ms => Progress::More,
            Some(at_ms) => Progress::Until(at_ms),
            None => Progress::Idle,
        });
    };
    let (limit, of) = (parts.walks.appetite(BATCH), run.clone());
    let users = store.read(move |conn| of.next(conn, limit)).await?;
    if let Err(error) = walk(parts, (run.clone(), users.clone()), now_ms).await {
        let met: Vec<_> = users.iter().map(|user| (run.campaign_id, *user)).collect();
        if parts.walks.failed(&met, error)? {
            give_up(parts, (run, users), now_ms).await?;
        }
    }
    Ok(Progress::More)
}

/// Walks on over these users; without any the walk is done.
async fn walk(parts: &Arc<Parts>, (run, users): (Run, Vec<UserId>), now_ms: i64) -> Result<()> {
    let catalogue = parts.catalogue.clone();
    let store = &parts.platform.store;
    let mut stretch = store.read(move |conn| gather(conn, &catalogue, (run, users), now_ms)).await?;
    let made = decide_all(&mut stretch, parts)?;
    let shared = Arc::clone(parts);
    let decided: Vec<_> = made.iter().map(commit::Written::from).collect();
    let planned = store
        .write_patiently(move |conn| {
            conn.serialise(commit::LOCK)?;
            let messages = write(conn, &shared, &stretch, &made)?;
            push::outbox::plan(conn, &shared.dispatcher, messages, now_ms)
        })
        .await?;
    commit::written(&parts.platform.stopwatch, &decided);
    parts.dispatcher.go(planned);
    parts.release_hint.nudge();
    Ok(())
}

/// Walks past those at whom it fails again and again: their decisions say `failed`, the fault is in the log.
async fn give_up(parts: &Arc<Parts>, (run, users): (Run, Vec<UserId>), now_ms: i64) -> Result<()> {
    let ids = parts.platform.ids.clone();
    let silent = move |conn: &mut Conn| {
        conn.serialise(commit::LOCK)?;
        // Another node may have managed it meanwhile.
        let met = store::met(conn, run.app_id, run.campaign_id, &users)?;
        let new: Vec<UserId> = users.iter().filter(|user| !met.contains(user)).copied().collect();
        let silences = commit::write_failed(conn, &ids, (run.app_id, run.campaign_id, &new), now_ms)?;
        campaign::run_advance(conn, &run, &users)?;
        Ok(silences)
    };
    let silences = parts.platform.store.write_patiently(silent).await?;
    commit::written(&parts.platform.stopwatch, &silences);
    Ok(())
}

fn gather(conn: &mut Conn, catalogue: &Catalogue, (run, users): (Run, Vec<UserId>), now_ms: i64) -> Result<Stretch> {
    let snapshot = catalogue.current(conn, run.app_id)?;
    let campaign = snapshot.campaign(run.campaign_id).cloned();
    let terms: Vec<Arc<Terms>> = campaign.iter().flat_map(Terms::all_of).collect();
    let met = store::met(conn, run.app_id, run.campaign_id, &users)?;
    let new: Vec<UserId> = users.iter().filter(|user| !met.contains(user)).copied().collect();
    let known = Known::read(conn, run.app_id, &new, &terms, now_ms)?;
    Ok(Stretch { run, users, new, campaign, terms, known, revision: snapshot.revision })
}

fn decide_all(stretch: &mut Stretch, parts: &Parts) -> Result<Vec<Made>> {
    let Some(campaign) = stretch.campaign.clone() else { return Err(stale()) };
    let Start::Schedule(Schedule { window_ms, .. }) = &campaign.spec.trigger else { return Err(stale()) };
    let span = Span { opened_ms: stretch.run.due_ms, window_ms: *window_ms, curve: Curve::Flat };
    let key = campaign.id.to_string();
    let mut made = Vec::new();
    for user in std::mem::take(&mut stretch.new) {
        let facts = Facts { moment: moment_facts(SCHEDULE, &key, (span.opened_ms, span.closes_ms())), ..Facts::default() };
        let moment = Opening { id: None, kind: SCHEDULE.to_owned(), key: key.clone(), span: span.clone(), offers_max: 1 };
        let question = Question {
            user_id: user,
            moment,
            facts,
            trigger_needs: Vec::new(),
            test: false,
            terms: &stretch.terms,
            latency: parts.latency(),
            seed: u64::from_be_bytes(parts.platform.ids.bytes::<8>()),
            again: None,
            taken_back: &[],
            only: None,
        };
        let Some(input) = stretch.known.input(question) else { continue };
        let hops = Hops { decided_ms: stretch.known.now_ms, ..Hops::default() };
        let one = Made::new(&parts.platform.ids, input, stretch.terms.clone(), hops);
        stretch.known.note(user, &one.decision, &one.heard_by());
        made.push(Made { campaign_id: Some(campaign.id), ..one });
    }
    Ok(made)
}

fn write(conn: &mut Conn, parts: &Parts, stretch: &Stretch, made: &[Made]) -> Result<Vec<push::NewMessage>> {
    if !campaign::hold_still(conn, stretch.run.app_id, stretch.revision)? {
        return Err(stale());
    }
    commit::check(conn, &stretch.known, made)?;
    let messages = commit::write(conn, &parts.platform.ids, &stretch.known, made)?;
    campaign::run_advance(conn, &stretch.run, &stretch.users)?;
    Ok(messages)
}
