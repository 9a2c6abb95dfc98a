//! Progressive profiling: the one question to a user that is worth asking now, because live offers depend on the answer.

mod rank;

pub(in crate::moment) use rank::{Asked, Offered, Refused, Worth};

use super::store;
use crate::app::{self, Settings};
use crate::campaign::{Catalogue, Snapshot};
use crate::error::{Error, Result};
use crate::id::{AppId, PartnerId, UserId};
use crate::people::consent::{self, Ledger, Need, Purposes};
use crate::people::device;
use crate::people::profile::{self, Attribute, Person, Writer};
use crate::store::Conn;
use moka::sync::Cache;
use rank::{Next, Pace, choose};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many apps' demands are kept.
const APPS_KEPT: u64 = 1_000;
/// How long what an app's users were refused is taken for news, in milliseconds.
const NEWS_MS: i64 = 60_000;
/// The latest decisions of an app that are looked at.
const APP_DECISIONS: i64 = 200;
/// The latest decisions of a user that are looked at.
const USER_DECISIONS: i64 = 50;
/// The devices of a user whose languages are looked at.
const DEVICES: i64 = 100;

/// What a user is asked now.
#[derive(Debug)]
pub(super) struct Question {
    pub attribute: Attribute,
    pub worth: Worth,
    /// The languages in which to ask, the dearest first.
    pub locales: Vec<String>,
}

/// What knows which attributes an app's offers want; cheap to clone.
#[derive(Clone)]
pub struct Questions(Catalogue, Cache<AppId, Arc<Demand>>);

/// Which offers want which attributes, and how often they were refused for want of them.
#[derive(Debug)]
struct Demand {
    revision: i64,
    at_ms: i64,
    wants: Vec<Want>,
    refused: Refused,
}

/// A live offer, and the attributes that decide whom it reaches.
#[derive(Debug)]
struct Want {
    offer: Offered,
    need: Need,
    /// Read by the rules of campaign and offer.
    attributes: BTreeSet<String>,
    /// Those of them that the rules ask for with `has()`.
    asked: BTreeSet<String>,
    /// Read by the rules of the moment kind, which are the app's own.
    by_trigger: BTreeSet<String>,
}

/// What is known of the user who may be asked.
struct Listener {
    person: Person,
    ledger: Ledger,
    purposes: Purposes,
    mine: Refused,
}

impl Questions {
    /// Over the same catalogue as the decisions.
    pub fn open(catalogue: Catalogue) -> Self {
        Self(catalogue, Cache::new(APPS_KEPT))
    }

    /// The question to this user, and whether it is a new one that [`ask`] has to note.
    ///
    /// # Errors
    /// 404; what the database says.
    pub(super) fn next(&self, conn: &mut Conn, (app, user): (AppId, UserId), now_ms: i64) -> Result<Option<(Question, bool)>> {
        let person = profile::person(conn, app, user)?;
        let mut open = profile::of_users(conn, app)?;
        open.retain(|key, a| a.question.is_some() && a.writers.include(Writer::User) && !person.attributes.contains_key(key));
        if open.is_empty() {
            return Ok(None);
        }
        let settings = app::settings(conn, app)?;
        let listener = Listener {
            person,
            ledger: consent::ledgers(conn, app, &[user])?.remove(&user).unwrap_or_default(),
            purposes: consent::purposes(conn, app)?,
            mine: store::refused(conn, (app, Some(user)), USER_DECISIONS)?,
        };
        let demand = self.demand(conn, app, now_ms)?;
        let worth: BTreeMap<String, Worth> =
            open.iter().filter_map(|(key, attribute)| Some((key.clone(), demand.worth(attribute, &listener, now_ms)?))).collect();
        let pace = Pace { now_ms, cool_down_ms: settings.question_cool_down_ms, skip_ms: settings.question_skip_ms };
        let (key, new) = match choose(&worth, &store::asked(conn, app, user)?, pace) {
            Next::Nothing => return Ok(None),
            Next::Still(key) => (key, false),
            Next::New(key) => (key, true),
        };
        let attribute = open.remove(&key).ok_or_else(|| Error::broken("a question without its attribute"))?;
        let locales = locales(conn, app, (&listener.person, &settings))?;
        Ok(Some((Question { attribute, worth: worth.get(&key).copied().unwrap_or_default(), locales }, new)))
    }

    /// What this app's live offers want; a minute old at most.
    fn demand(&self, conn: &mut Conn, app: AppId, now_ms: i64) -> Result<Arc<Demand>> {
        let snapshot = self.0.current(conn, app)?;
        let fresh = |kept: &Arc<Demand>| {
            kept.revision == snapshot.revision && (kept.at_ms..kept.at_ms.saturating_add(NEWS_MS)).contains(&now_ms)
        };
        if let Some(kept) = self.1.get(&app).filter(fresh) {
            return Ok(kept);
        }
        let refused = store::refused(conn, (app, None), APP_DECISIONS)?;
        let made = Arc::new(Demand { revision: snapshot.revision, at_ms: now_ms, wants: wants(&snapshot), refused });
        self.1.insert(app, Arc::clone(&made));
        Ok(made)
    }
}

/// Chooses once more, in the transaction that notes what is asked: of many who ask at once all get the same question.
///
/// # Errors
/// As [`Questions::next`].
pub(super) fn ask(questions: &Questions, conn: &mut Conn, (app, user): (AppId, UserId), now_ms: i64) -> Result<Option<Question>> {
    conn.serialise(&format!("question:{app}:{user}"))?;
    let Some((question, new)) = questions.next(conn, (app, user), now_ms)? else { return Ok(None) };
    if new {
        store::note_asked(conn, (app, user), &question.attribute.key, now_ms)?;
    }
    Ok(Some(question))
}

/// Passes over the question that is open; one that is open no longer stays as it is.
///
/// # Errors
/// 400 when this user was never asked for the attribute.
pub(super) fn skip(conn: &mut Conn, (app, user): (AppId, UserId), attribute: &str, now_ms: i64) -> Result<()> {
    conn.serialise(&format!("question:{app}:{user}"))?;
    let all = store::asked(conn, app, user)?;
    match all.iter().find(|one| one.attribute == attribute) {
        None => Err(Error::invalid("attribute", "unknown", "this is not what was asked; GET /v1/me/next-question says what is")),
        Some(asked) if asked.open => store::note_skipped(conn, (app, user), attribute, now_ms),
        Some(_) => Ok(()),
    }
}

impl Demand {
    /// What it would change to know this of a user; nothing when no rule would get to see it.
    fn worth(&self, attribute: &Attribute, of: &Listener, now_ms: i64) -> Option<Worth> {
        let granted = |need: &Need| of.ledger.standing(&of.purposes, need, now_ms).permits();
        let seen = |partner: Option<PartnerId>| {
            attribute.purpose.as_ref().is_none_or(|purpose| granted(&Need { purpose: purpose.clone(), partner }))
        };
        let (seen_by_app, mut worth) = (seen(None), Worth::default());
        for want in &self.wants {
            let triggers = seen_by_app && want.by_trigger.contains(&attribute.key);
            let reads = || want.attributes.contains(&attribute.key) && seen(want.need.partner);
            // An offer that may not be made to the user for want of consent depends on more than the answer.
            if (triggers || reads()) && granted(&want.need) {
                worth.add((want.offer, want.asked.contains(&attribute.key)), (&of.mine, &self.refused));
            }
        }
        (seen_by_app || worth != Worth::default()).then_some(worth)
    }
}

fn wants(snapshot: &Snapshot) -> Vec<Want> {
    let mut wants = Vec::new();
    for (campaign, kind) in snapshot.campaigns() {
        let by_trigger = kind.into_iter().flat_map(|kind| kind.rules()).flat_map(|rule| rule.attributes());
        let by_trigger: BTreeSet<String> = by_trigger.map(str::to_owned).collect();
        for offer in &campaign.offers {
            let rules = || campaign.audience.iter().chain(&offer.audience);
            wants.push(Want {
                offer: (campaign.id, offer.id),
                need: Need { purpose: offer.spec.purpose.clone(), partner: offer.spec.partner_id },
                attributes: rules().flat_map(|rule| rule.attributes()).map(str::to_owned).collect(),
                asked: rules().flat_map(|rule| rule.asked()).map(str::to_owned).collect(),
                by_trigger: by_trigger.clone(),
            });
        }
    }
    wants
}

/// The language that the user chose, that of the device last heard of, the app's.
fn locales(conn: &mut Conn, app: AppId, (person, settings): (&Person, &Settings)) -> Result<Vec<String>> {
    // Also one that takes no pushes: a question is asked in the app.
    let devices = device::list(conn, app, person.id, ("", DEVICES))?;
    let last = devices.into_iter().max_by_key(|device| device.last_seen_ms).and_then(|device| device.traits.locale);
    Ok(person.locale.iter().cloned().chain(last).chain([settings.locale.clone()]).collect())
}
