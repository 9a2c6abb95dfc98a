//! The one way of a direct push through the gates: known users in, decisions and messages out, by the code of every moment.

use super::spec::{Kind, Spec};
use super::zones;
use super::{Target, store};
use crate::campaign::{Curve, When};
use crate::error::Result;
use crate::id::{AppId, DecisionId, MessageId, PushId, UserId};
use crate::moment::commit::{self, Hops, Made, stale};
use crate::moment::context::{Known, Latency, Question};
use crate::moment::decision::{Outcome, Reason};
use crate::moment::input::{Facts, Opening};
use crate::moment::live::{Live, Parts};
use crate::moment::refusal::Gate;
use crate::moment::terms::Terms;
use crate::moment::trigger::moment_facts;
use crate::moment::value::Span;
use crate::push::activity::Shown;
use crate::push::{self, NewMessage};
use crate::store::Conn;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kind of the stretch of time in which a push may go out.
const KIND: &str = "push";
/// Most targets of one [`Live::say`].
const SAID_MAX: usize = 1_000;

/// A push, ready to be decided about.
pub(super) struct Ready {
    pub id: PushId,
    pub test: bool,
    pub spec: Spec,
    pub terms: Arc<Terms>,
}

/// What came of some users.
#[derive(Default)]
pub(super) struct Judged {
    pub made: Vec<Made>,
    /// Those who are not in the audience of a topic or a rule, by reason.
    pub outside: BTreeMap<String, i64>,
}

/// What is written along with the decisions of a saying; the last touch to its messages before they are planned.
pub type Along = Arc<dyn Fn(&mut Conn, &mut [NewMessage]) -> Result<()> + Send + Sync>;

impl Ready {
    pub fn new(id: PushId, test: bool, spec: Spec) -> Result<Self> {
        let terms = Arc::new(spec.terms(id)?);
        Ok(Self { id, test, spec, terms })
    }

    /// When it opens for a user: at its instant, or when the clock in the user's zone shows its time.
    pub fn opens_ms(&self, known: &Known, user: UserId) -> Result<i64> {
        match self.spec.when {
            When::At(at) => Ok(at.0),
            When::Local(local) => {
                let zone = known.person(user).map_or("", |person| person.zone.as_str());
                zones::due_ms(local, zone, &known.settings.time_zone)
            }
        }
    }
}

/// Decides about these users, one after the other; `now_ms` says what time it is for somebody for whom the push opens then.
pub(super) fn decide(
    known: &mut Known,
    push: &Ready,
    targets: &[Target],
    (parts, now_ms): (&Parts, &dyn Fn(i64) -> i64),
) -> Result<Judged> {
    let mut judged = Judged::default();
    let latency: Latency = parts.latency();
    for target in targets {
        let user = target.user_id;
        if known.person(user).is_none() {
            continue;
        }
        if let Kind::Topic { topic } = &push.spec.audience
            && known.topic_on(user, topic) != Some(true)
        {
            *judged.outside.entry("topic_off".to_owned()).or_default() += 1;
            continue;
        }
        let span = Span { opened_ms: push.opens_ms(known, user)?, window_ms: push.spec.window_ms, curve: Curve::Flat };
        let (key, at_ms) = (push.id.to_string(), now_ms(span.opened_ms));
        let facts = Facts { moment: moment_facts(KIND, &key, (span.opened_ms, span.closes_ms())), ..Facts::default() };
        let question = Question {
            user_id: user,
            moment: Opening { id: None, kind: KIND.to_owned(), key, span, offers_max: 1 },
            facts,
            trigger_needs: Vec::new(),
            test: push.test,
            terms: std::slice::from_ref(&push.terms),
            latency,
            seed: u64::from_be_bytes(parts.platform.ids.bytes::<8>()),
            again: None,
            taken_back: &[],
            only: target.devices.as_deref(),
        };
        let Some(mut input) = known.input(question) else { continue };
        input.now_ms = at_ms;
        let hops = Hops { decided_ms: known.now_ms, ..Hops::default() };
        let one = Made::new(&parts.platform.ids, input, vec![Arc::clone(&push.terms)], hops);
        if let (Kind::Rule { .. }, Some(Reason::Refused(refusal))) = (&push.spec.audience, one.decision.reason)
            && refusal.gate() == Gate::Audience
        {
            *judged.outside.entry(refusal.name().to_owned()).or_default() += 1;
            continue;
        }
        if !push.test {
            known.note(user, &one.decision, &one.heard_by());
        }
        judged.made.push(Made { campaign_id: Some(push.id.uuid().into()), ..one });
    }
    Ok(judged)
}

/// Something to be said to these users at once: what other rooms of this story plan for somebody.
pub struct Saying {
    /// Names it; to its decisions it is campaign and offer. One decision is made about each user under one id.
    pub id: PushId,
    /// Whether a test key is behind it.
    pub test: bool,
    /// Purpose, class, topic, words, deadline.
    pub spec: Spec,
    /// To whom, each user once.
    pub targets: Vec<Target>,
    /// What a Live Activity is to show, where this is about one.
    pub activity: Option<Arc<Shown>>,
    /// What is written in the same transaction; its refusal is the answer, and nothing is written then.
    pub along: Along,
}

/// What came of it for one user.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who.
    pub user_id: UserId,
    /// The stored decision.
    pub decision_id: DecisionId,
    /// What came of it.
    pub outcome: Outcome,
    /// Why there is silence.
    pub reason: Option<Reason>,
    /// The messages that were planned.
    pub message_ids: Vec<MessageId>,
}

impl Live {
    /// Leads a saying through the gates for each of its users, stores a decision about each, plans the messages in the same
    /// transaction and hands them over. Users who are not there, and those about whom was decided under this id before, are
    /// absent in the answer. More than 1,000 are cut off.
    ///
    /// # Errors
    /// What the database says.
    pub async fn say(&self, app: AppId, saying: Saying) -> Result<Vec<Said>> {
        let Saying { id, test, spec, mut targets, activity, along } = saying;
        targets.sort_by_key(|target| target.user_id);
        targets.dedup_by_key(|target| target.user_id);
        targets.truncate(SAID_MAX);
        let terms = Arc::new(spec.terms(id)?.showing(activity));
        let (push, targets) = (Arc::new(Ready { id, test, spec, terms }), Arc::new(targets));
        loop {
            let one = say_once(self.parts(), app, (Arc::clone(&push), Arc::clone(&targets)), Arc::clone(&along));
            match self.turn(one).await {
                Err(error) if commit::is_stale(&error) => {}
                answer => return answer,
            }
        }
    }
}

async fn say_once(
    parts: &Arc<Parts>,
    app: AppId,
    (push, targets): (Arc<Ready>, Arc<Vec<Target>>),
    along: Along,
) -> Result<Vec<Said>> {
    let now_ms = parts.platform.clock.now_ms();
    let users: BTreeSet<UserId> = targets.iter().map(|target| target.user_id).collect();
    let users: Vec<UserId> = users.into_iter().collect();
    let terms = [Arc::clone(&push.terms)];
    let id = push.id;
    let gather =
        move |conn: &mut Conn| Ok((Known::read(conn, app, &users, &terms, now_ms)?, store::met(conn, app, (&[id], &users))?));
    let (mut known, met) = parts.platform.store.read(gather).await?;
    let new: Vec<Target> = targets.iter().filter(|target| !met.contains(&(id, target.user_id))).cloned().collect();
    let Judged { made, .. } = decide(&mut known, &push, &new, (parts, &|_| now_ms))?;
    let decided: Vec<_> = made.iter().map(commit::Written::from).collect();
    let shared = Arc::clone(parts);
    let (planned, said) = parts
        .platform
        .store
        .write(move |conn| {
            let mut messages = write(conn, &shared, &known, &made)?;
            along(conn, &mut messages)?;
            let said = made.iter().map(|one| said(one, &messages)).collect();
            Ok((push::outbox::plan(conn, &shared.dispatcher, messages, now_ms)?, said))
        })
        .await?;
    commit::written(&parts.platform.stopwatch, &decided);
    parts.dispatcher.go(planned);
    parts.release_hint.nudge();
    Ok(said)
}

fn said(made: &Made, messages: &[NewMessage]) -> Said {
    let own = messages.iter().filter(|message| message.decision_id == made.id);
    Said {
        user_id: made.user_id,
        decision_id: made.id,
        outcome: made.decision.outcome,
        reason: made.decision.reason,
        message_ids: own.map(|message| message.id).collect(),
    }
}

/// Writes decisions of one app, if they rest on what still holds and nobody was decided about twice.
///
/// # Errors
/// [`stale`] when something has changed; nothing may be written then.
pub(super) fn write(conn: &mut Conn, parts: &Parts, known: &Known, made: &[Made]) -> Result<Vec<NewMessage>> {
    commit::check(conn, known, made)?;
    let pushes: BTreeSet<PushId> = made.iter().filter_map(|one| one.campaign_id).map(|id| id.uuid().into()).collect();
    let users: BTreeSet<UserId> = made.iter().map(|one| one.user_id).collect();
    let whom = (&pushes.into_iter().collect::<Vec<_>>()[..], &users.into_iter().collect::<Vec<_>>()[..]);
    let met = store::met(conn, known.app_id, whom)?;
    let again = |one: &Made| one.campaign_id.is_some_and(|id| met.contains(&(id.uuid().into(), one.user_id)));
    if made.iter().any(again) {
        return Err(stale());
    }
    commit::write(conn, &parts.platform.ids, known, made)
}
