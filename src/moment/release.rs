//! Held choices whose time has come: the gates once more, then out, held again, or refused with a reason.

use super::activity;
use super::commit::{self, Addressed, stale};
use super::context::{HeardBy, Known, Question};
use super::decide;
use super::decision::{Choice, Decision, Reason};
use super::direct;
use super::feedback;
use super::input::Input;
use super::live::Parts;
use super::refusal::Refusal;
use super::store::{self, HeldRow, Release};
use super::terms::Terms;
use crate::campaign::{self, Catalogue, Snapshot};
use crate::error::{Error, Result};
use crate::id::{AppId, ChoiceId, DecisionId, UserId};
use crate::platform::stopwatch::Hop;
use crate::push;
use crate::store::Conn;
use crate::worker::Progress;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Held choices of one step.
const BATCH: i64 = 200;

/// The due choices of one app, with everything that is known of them.
struct Batch {
    rows: Vec<HeldRow>,
    known: Known,
    snapshot: Arc<Snapshot>,
    inputs: HashMap<DecisionId, Input>,
    terms: Vec<Option<Arc<Terms>>>,
}

/// What came of one held choice.
struct Looked {
    row: HeldRow,
    /// Whether it is a test, which counts nowhere and has reserved nothing.
    test: bool,
    input: Option<Input>,
    terms: Option<Arc<Terms>>,
    result: std::result::Result<Choice, Reason>,
    decision: Option<Decision>,
}

/// One step: the choices that are due.
pub(super) async fn step(parts: &Arc<Parts>) -> Result<Progress> {
    let now_ms = parts.platform.clock.now_ms();
    let limit = parts.releases.appetite(BATCH);
    let due = parts.platform.store.read(move |conn| store::due_held(conn, now_ms, limit)).await?;
    if due.is_empty() {
        let next_ms = parts.platform.store.read(store::next_due_ms).await?;
        return Ok(next_ms.map_or(Progress::Idle, Progress::Until));
    }
    let ids: Vec<ChoiceId> = due.iter().map(|row| row.id).collect();
    if let Err(error) = look_again(parts, due.clone(), now_ms).await
        && parts.releases.failed(&ids, error)?
    {
        give_up(parts, due, now_ms).await?;
    }
    Ok(Progress::More)
}

/// Looks at held choices again, all of them from the gathering on.
async fn look_again(parts: &Arc<Parts>, due: Vec<HeldRow>, now_ms: i64) -> Result<()> {
    let catalogue = parts.catalogue.clone();
    let store = &parts.platform.store;
    let batches = store.read(move |conn| gather(conn, &catalogue, due, now_ms)).await?;
    let mut looked = Vec::new();
    for mut batch in batches {
        let rows: Vec<(HeldRow, Option<Arc<Terms>>)> =
            std::mem::take(&mut batch.rows).into_iter().zip(std::mem::take(&mut batch.terms)).collect();
        let of_app: Vec<Looked> = rows.into_iter().map(|(row, terms)| look(&mut batch, parts, row, terms)).collect();
        looked.push((batch.known, batch.snapshot, of_app));
    }
    let released: Vec<_> = looked.iter().flat_map(|(_, _, of_app)| of_app).map(|l| l.row.decision_id.uuid()).collect();
    let shared = Arc::clone(parts);
    let planned = store
        .write(move |conn| {
            conn.serialise(commit::LOCK)?;
            let mut messages = Vec::new();
            for (known, snapshot, of_app) in &looked {
                messages.extend(write(conn, &shared, (known, snapshot), of_app)?);
            }
            push::outbox::plan(conn, &shared.dispatcher, messages, now_ms)
        })
        .await?;
    parts.platform.stopwatch.lap(Hop::Decided, released);
    parts.dispatcher.go(planned);
    Ok(())
}

/// Ends choices at which the second look fails again and again: refused with the reason `failed`, the fault is in the log.
async fn give_up(parts: &Arc<Parts>, due: Vec<HeldRow>, now_ms: i64) -> Result<()> {
    let said = json!({ "at_ms": now_ms, "reason": Reason::Failed.name() });
    let refused = move |conn: &mut Conn| {
        conn.serialise(commit::LOCK)?;
        let of = |row: &HeldRow| (row.decision_id, row.id, row.planned_ms);
        due.iter().try_for_each(|row| refuse(conn, row.app_id, of(row), (Reason::Failed, &said)))
    };
    parts.platform.store.write(refused).await
}

/// Refuses a held choice for a reason that needed no second look. It counts no longer.
///
/// # Errors
/// [`stale`] when it is held no longer.
pub(super) fn refuse(
    conn: &mut Conn,
    app_id: AppId,
    (decision_id, id, planned_ms): (DecisionId, ChoiceId, i64),
    (reason, said): (Reason, &Value),
) -> Result<()> {
    feedback::stop_counting(conn, app_id, id)?;
    let release = Release { app_id, id, state: "release_refused", planned_ms, counts: false, input: None, said };
    if !store::release(conn, &release)? {
        return Err(stale());
    }
    store::update_outcome(conn, app_id, decision_id, Some(reason.name()))
}

fn gather(conn: &mut Conn, catalogue: &Catalogue, due: Vec<HeldRow>, now_ms: i64) -> Result<Vec<Batch>> {
    let mut by_app: BTreeMap<AppId, Vec<HeldRow>> = BTreeMap::new();
    for row in due {
        by_app.entry(row.app_id).or_default().push(row);
    }
    let mut batches = Vec::new();
    for (app, rows) in by_app {
        let snapshot = catalogue.current(conn, app)?;
        let users: BTreeSet<UserId> = rows.iter().map(|r| r.user_id).collect();
        let users: Vec<UserId> = users.into_iter().collect();
        let mut said = direct::terms_of(conn, app, rows.iter().filter_map(HeldRow::push))?;
        said.extend(activity::terms_of(conn, app, rows.iter().filter_map(HeldRow::push))?);
        let live = |row: &HeldRow| match row.push() {
            Some(push) => said.get(&push).cloned(),
            None => live_terms(&snapshot, row),
        };
        let terms: Vec<Option<Arc<Terms>>> = rows.iter().map(live).collect();
        let of_live: Vec<Arc<Terms>> = terms.iter().flatten().cloned().collect();
        let known = Known::read(conn, app, &users, &of_live, now_ms)?;
        let mut inputs = HashMap::new();
        for row in &rows {
            let packed = store::input_of(conn, app, row.decision_id)?;
            let packed = packed.ok_or_else(|| Error::broken("a held choice without a decision"))?;
            inputs.insert(row.decision_id, Input::unpack(&packed)?);
        }
        batches.push(Batch { rows, known, snapshot, inputs, terms });
    }
    Ok(batches)
}

/// The offer and the campaign as they are now; nothing when the campaign says it no longer.
fn live_terms(snapshot: &Snapshot, row: &HeldRow) -> Option<Arc<Terms>> {
    let campaign = snapshot.campaign(row.campaign_id)?;
    let offer = campaign.offers.iter().find(|o| o.id == row.offer_id)?;
    Some(Arc::new(Terms::of(campaign, offer)))
}

/// The second look at one choice. Later ones of this batch see what came of it.
fn look(batch: &mut Batch, parts: &Parts, row: HeldRow, terms: Option<Arc<Terms>>) -> Looked {
    let first = batch.inputs.get(&row.decision_id);
    let test = first.is_some_and(|input| input.test);
    let again = HeardBy { choice_id: row.id, decision_id: row.decision_id };
    let input = match (first, &terms) {
        (Some(first), Some(terms)) => batch.known.input(Question {
            user_id: row.user_id,
            moment: first.moment.clone(),
            facts: first.facts.clone(),
            trigger_needs: first.trigger_needs.iter().map(|met| met.need.clone()).collect(),
            test: first.test,
            terms: std::slice::from_ref(terms),
            latency: parts.latency(),
            seed: first.seed,
            again: Some(again),
            taken_back: &[],
            only: first.candidates.iter().find_map(|candidate| candidate.only.as_deref()),
        }),
        _ => None,
    };
    let decision = input.as_ref().zip(terms.as_ref()).map(|(i, t)| decide(i, std::slice::from_ref(t)));
    let result = match &decision {
        Some(made) => made.choices.first().cloned().ok_or(made.reason.unwrap_or(Reason::Failed)),
        None if terms.is_none() && row.push().is_some() => Err(Reason::Cancelled),
        None if terms.is_none() => Err(Reason::CampaignNotLive),
        None => Err(Reason::Refused(Refusal::NoDevice)),
    };
    batch.known.note_release(row.user_id, row.id, result.as_ref().ok().map(|choice| choice.planned_ms));
    Looked { row, test, input, terms, result, decision }
}

fn write(
    conn: &mut Conn,
    parts: &Parts,
    (known, snapshot): (&Known, &Snapshot),
    looked: &[Looked],
) -> Result<Vec<push::NewMessage>> {
    let users: BTreeSet<UserId> = looked.iter().map(|l| l.row.user_id).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    if !known.is_fresh(conn, &users)? || !campaign::hold_still(conn, known.app_id, snapshot.revision)? {
        return Err(stale());
    }
    // A push that was cancelled since it was gathered says nothing more.
    let pushes = looked.iter().filter(|l| l.terms.is_some()).filter_map(|l| l.row.push());
    if !direct::stand(conn, known.app_id, pushes)? {
        return Err(stale());
    }
    commit::keep_versions(conn, known.app_id, looked.iter().filter_map(|l| l.terms.as_ref()))?;
    let mut messages = Vec::new();
    for one in looked {
        let packed = one.input.as_ref().map(Input::pack).transpose()?;
        let said = json!({
            "at_ms": known.now_ms,
            "reason": one.result.as_ref().err().map(|reason| reason.name()),
            "candidates": one.decision.as_ref().map(|d| &d.candidates),
            "choices": one.decision.as_ref().map(|d| &d.choices),
        });
        let (state, planned_ms, counts) = match &one.result {
            Ok(choice) if choice.held => ("held", choice.planned_ms, !one.test),
            Ok(choice) => ("planned", choice.planned_ms, !one.test),
            Err(_) => ("release_refused", one.row.planned_ms, false),
        };
        let input = packed.as_deref();
        let release = Release { app_id: known.app_id, id: one.row.id, state, planned_ms, counts, input, said: &said };
        if !store::release(conn, &release)? {
            return Err(stale());
        }
        match &one.result {
            Ok(choice) => {
                let to = Addressed {
                    app_id: known.app_id,
                    decision_id: one.row.decision_id,
                    choice_id: one.row.id,
                    user_id: one.row.user_id,
                };
                if let Some((input, terms)) = one.input.as_ref().zip(one.terms.as_ref()) {
                    messages.extend(commit::messages_of(&parts.platform.ids, known, &to, (input, choice, terms)));
                }
            }
            Err(_) if one.test || one.row.push().is_some() => {}
            Err(_) => campaign::release_stock(conn, known.app_id, &[(one.row.offer_id, 1)])?,
        }
        let refused = one.result.as_ref().err().map(|reason| reason.name());
        store::update_outcome(conn, known.app_id, one.row.decision_id, refused)?;
    }
    Ok(messages)
}
