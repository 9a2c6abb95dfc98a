//! Writes decisions: in one transaction with the stock they reserve, the moments they belong to and the messages they plan.

use super::context::{HeardBy, Known};
use super::decide;
use super::decision::{Choice, Decision, Outcome, Reason};
use super::input::{Input, is_direct};
use super::message::collapse_id;
use super::store::{self, NewChoice, NewDecision, NewMoment};
use super::terms::Terms;
use crate::campaign::{self, Campaign, Class, Mode, Offer};
use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, DeviceId, EventId, Ids, UserId};
use crate::people::consent::Need;
use crate::planted::{Bug, planted};
use crate::platform::stopwatch::{Hop, Stopwatch};
use crate::push::activity::Event;
use crate::push::{self, Allowed, Gateway, NewMessage};
use crate::store::{Conn, Doc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The code by which a step knows that it has to look again.
const STALE: &str = "decided_on_what_has_changed";

/// The lock that commits of decisions take.
pub(super) const LOCK: &str = "decisions";

/// When what happened, on the way to a decision, in UTC milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hops {
    /// The event, in its source's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_ms: Option<i64>,
    /// Its arrival here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_ms: Option<i64>,
    /// The decision.
    pub decided_ms: i64,
}

/// A decision that was made and not written yet.
pub(super) struct Made {
    pub user_id: UserId,
    pub event_id: Option<EventId>,
    pub moment: Option<NewMoment>,
    /// The scheduled campaign, where there is no moment.
    pub campaign_id: Option<CampaignId>,
    pub hops: Hops,
    pub input: Input,
    pub terms: Vec<Arc<Terms>>,
    pub id: DecisionId,
    pub decision: Decision,
    pub choice_ids: Vec<ChoiceId>,
}

impl Made {
    /// Decides, and gives everything its id.
    pub fn new(ids: &Ids, input: Input, terms: Vec<Arc<Terms>>, hops: Hops) -> Self {
        let decision = decide(&input, &terms);
        let choice_ids = decision.choices.iter().map(|_| ids.next()).collect();
        let user_id = input.user.id;
        let id = ids.next();
        Self { user_id, event_id: None, moment: None, campaign_id: None, hops, input, terms, id, decision, choice_ids }
    }

    /// Which choice belongs to which decision, in the order of the choices.
    pub fn heard_by(&self) -> Vec<HeardBy> {
        self.choice_ids.iter().map(|choice_id| HeardBy { choice_id: *choice_id, decision_id: self.id }).collect()
    }

    fn terms_of(&self, choice: &Choice) -> Option<&Arc<Terms>> {
        self.terms.iter().find(|t| t.version.offer_id == choice.offer_id && t.version.campaign_id == choice.campaign_id)
    }
}

/// The refusal that makes a step look again: something was decided, or stopped, since the context was read.
pub(super) fn stale() -> Error {
    Error::conflict(STALE, "Something has changed since the context was read.")
}

/// Whether an error says to look again.
pub(super) fn is_stale(error: &Error) -> bool {
    matches!(error, Error::Refused(problem) if problem.code == STALE)
}

/// Makes sure that decisions of one app rest on what still holds, under the lock that lets one such commit follow the other
/// over all processes on this database: so caps hold under any interleaving. Call it before anything is written.
///
/// # Errors
/// [`stale`] when they would rest on what has changed; nothing may be written then.
pub(super) fn check(conn: &mut Conn, known: &Known, made: &[Made]) -> Result<()> {
    conn.serialise(LOCK)?;
    let users: BTreeSet<UserId> = made.iter().map(|m| m.user_id).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    if known.is_fresh(conn, &users)? { Ok(()) } else { Err(stale()) }
}

/// Writes decisions of one app that were [`check`]ed. The answer is the messages to be planned in the same transaction.
///
/// # Errors
/// [`stale`] when the stock is no longer there; nothing may be written then.
pub(super) fn write(conn: &mut Conn, ids: &Ids, known: &Known, made: &[Made]) -> Result<Vec<NewMessage>> {
    let live = made.iter().filter(|m| !m.input.test).flat_map(|m| &m.decision.choices);
    let wanted: Vec<_> = live.filter(|c| !is_direct(c.campaign_id, c.offer_id)).map(|c| (c.offer_id, 1)).collect();
    // The turn passes to the next survivor: with what is left now everything is decided again.
    if campaign::reserve_stock(conn, known.app_id, &wanted)?.contains(&false) {
        return Err(stale());
    }
    keep_versions(conn, known.app_id, made.iter().flat_map(|m| &m.terms))?;
    let mut moments = Vec::new();
    let mut decisions = Vec::with_capacity(made.len());
    let mut choices = Vec::new();
    let mut messages = Vec::new();
    for m in made {
        moments.extend(m.moment.clone());
        decisions.push(decision_row(known.app_id, m)?);
        for (choice, id) in m.decision.choices.iter().zip(&m.choice_ids) {
            choices.push(choice_row(known.app_id, m, choice, *id));
            if let Some(terms) = m.terms_of(choice) {
                let to = Addressed { app_id: known.app_id, decision_id: m.id, choice_id: *id, user_id: m.user_id };
                messages.extend(messages_of(ids, known, &to, (&m.input, choice, terms)));
            }
        }
    }
    store::insert_moments(conn, &moments)?;
    store::insert_decisions(conn, &decisions)?;
    store::insert_choices(conn, &choices)?;
    Ok(messages)
}

/// Keeps the specs that the inputs name, so that the decisions can be made again.
pub(super) fn keep_versions<'a>(conn: &mut Conn, app: AppId, used: impl Iterator<Item = &'a Arc<Terms>>) -> Result<()> {
    let mut campaigns: BTreeMap<(String, i64), Arc<Campaign>> = BTreeMap::new();
    let mut offers: BTreeMap<(String, i64), Arc<Offer>> = BTreeMap::new();
    for terms in used {
        let v = terms.version;
        campaigns.entry((v.campaign_id.to_string(), v.campaign_revision)).or_insert_with(|| Arc::clone(&terms.campaign));
        offers.entry((v.offer_id.to_string(), v.offer_revision)).or_insert_with(|| Arc::clone(&terms.offer));
    }
    store::keep_versions(conn, app, campaigns)?;
    store::keep_versions(conn, app, offers)
}

/// Writes that deciding about these users of a scheduled campaign failed: a silence with its reason, and without an input
/// from which it could be made again.
///
/// # Errors
/// What the database says.
pub(super) fn write_failed(
    conn: &mut Conn,
    ids: &Ids,
    (app_id, campaign_id, users): (AppId, CampaignId, &[UserId]),
    decided_ms: i64,
) -> Result<Vec<Written>> {
    let row = |user_id: &UserId| NewDecision {
        app_id,
        id: ids.next(),
        user_id: *user_id,
        event_id: None,
        moment_id: None,
        campaign_id: Some(campaign_id),
        outcome: Outcome::Silent.name(),
        reason: Some(Reason::Failed.name()),
        candidates: Doc(Vec::new()),
        choices: Doc(Vec::new()),
        input: Vec::new(),
        predicted_latency_ms: 0,
        hops: Doc(Hops { decided_ms, ..Hops::default() }),
        decided_ms,
        test: false,
    };
    let rows: Vec<NewDecision> = users.iter().map(row).collect();
    store::insert_decisions(conn, &rows)?;
    Ok(rows.iter().map(|row| Written { id: row.id, outcome: Outcome::Silent, test: row.test }).collect())
}

fn decision_row(app_id: AppId, m: &Made) -> Result<NewDecision> {
    Ok(NewDecision {
        app_id,
        id: m.id,
        user_id: m.user_id,
        event_id: m.event_id,
        moment_id: m.moment.as_ref().map(|moment| moment.id),
        campaign_id: m.campaign_id,
        outcome: m.decision.outcome.name(),
        reason: m.decision.reason.map(Reason::name).filter(|_| !planted(Bug::MuteSilence)),
        candidates: Doc(m.decision.candidates.clone()),
        choices: Doc(m.decision.choices.clone()),
        input: m.input.pack()?,
        predicted_latency_ms: m.input.latency_ms,
        hops: Doc(m.hops),
        decided_ms: m.hops.decided_ms,
        test: m.input.test,
    })
}

fn choice_row(app_id: AppId, m: &Made, choice: &Choice, id: ChoiceId) -> NewChoice {
    NewChoice {
        app_id,
        id,
        decision_id: m.id,
        user_id: m.user_id,
        campaign_id: choice.campaign_id,
        offer_id: choice.offer_id,
        category: choice.category.clone(),
        critical: choice.critical,
        state: if choice.held { "held" } else { "planned" },
        planned_ms: choice.planned_ms,
        counts: !m.input.test,
        release_input: None,
        release: None,
    }
}

/// Whose choice messages belong to.
pub(super) struct Addressed {
    pub app_id: AppId,
    pub decision_id: DecisionId,
    pub choice_id: ChoiceId,
    pub user_id: UserId,
}

/// The messages of a choice, one per device; none while it is held.
pub(super) fn messages_of(
    ids: &Ids,
    known: &Known,
    to: &Addressed,
    (input, choice, terms): (&Input, &Choice, &Terms),
) -> Vec<NewMessage> {
    let (consent_epoch, app_consent_epoch) = known.epochs_of(to.user_id);
    // What was read under a purpose must not go out once that purpose is withdrawn.
    let candidate = input.candidates.iter().find(|candidate| candidate.version == terms.version);
    let needs = input.trigger_needs.iter().chain(candidate.into_iter().flat_map(|candidate| &candidate.read));
    let needs: Vec<Need> = needs.map(|met| met.need.clone()).collect();
    let inbox_until_ms = terms.offer.inbox_until.map(|until| until.due_ms(input.moment.span.opened_ms));
    let for_device = |(device_id, content): (&DeviceId, &push::Content)| {
        let device = known.device((to.user_id, *device_id), terms)?;
        let traits = &device.traits;
        let token = traits.token.clone()?;
        let activity = terms.activity.as_ref().map(|shown| known.shown(shown, (to.user_id, device)));
        // What may sound is asked of the user's wishes again when it has waited.
        let loud = activity.as_ref().is_some_and(|shown| shown.event != Event::Start && shown.frame.alert.is_some());
        let deadline_ms = content.deadline_ms(choice.planned_ms, choice.deadline_ms);
        Some(NewMessage {
            id: ids.next(),
            app_id: to.app_id,
            decision_id: to.decision_id,
            choice_id: to.choice_id,
            user_id: to.user_id,
            device_id: *device_id,
            campaign_id: choice.campaign_id,
            offer_id: choice.offer_id,
            gateway: Gateway::of(traits.platform),
            // Without one it waits until the phone has said it.
            due_ms: if token.is_empty() { deadline_ms } else { choice.planned_ms },
            token,
            activity,
            environment: traits.environment,
            topic: traits.topic.clone(),
            test: input.test,
            content: push::Content { inbox_until_ms, ..content.clone() },
            collapse_id: content.collapse_id.clone().unwrap_or_else(|| collapse_id(to.choice_id)),
            mode: match terms.campaign.mode {
                Mode::AtMostOnce => push::Mode::AtMostOnce,
                Mode::AtLeastOnce => push::Mode::AtLeastOnce,
            },
            bulk: terms.bulk,
            allowed: Allowed {
                purpose: terms.offer.purpose.clone(),
                partner_id: terms.offer.partner_id,
                topic: terms.topic().map(str::to_owned),
                critical: terms.offer.class == Class::Critical && !loud,
                trigger_needs: needs.clone(),
                consent_ids: choice.consent_ids.clone(),
                until_ms: known.consent_until_ms(to.user_id, &choice.consent_ids),
            },
            consent_epoch,
            app_consent_epoch,
            deadline_ms,
        })
    };
    choice.devices.iter().zip(&choice.words).filter_map(for_device).collect()
}

/// What is told of a decision once it is on disk.
pub(super) struct Written {
    id: DecisionId,
    outcome: Outcome,
    test: bool,
}

impl From<&Made> for Written {
    fn from(made: &Made) -> Self {
        Self { id: made.id, outcome: made.decision.outcome, test: made.input.test }
    }
}

/// Counts decisions that have just come to disk, for the figures that the server shows of itself, and times them.
pub(super) fn written(stopwatch: &Stopwatch, decisions: &[Written]) {
    stopwatch.lap(Hop::Decided, decisions.iter().map(|d| d.id.uuid()));
    for Written { outcome, test, .. } in decisions {
        let test = if *test { "true" } else { "false" };
        metrics::counter!("kairos_decisions_total", "outcome" => outcome.name(), "test" => test).increment(1);
    }
}
