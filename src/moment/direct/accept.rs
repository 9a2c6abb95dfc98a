//! Takes a push in: checks all of it, finds who is meant, and keeps it with its walks; the walk itself comes later.

use super::spec::{Kind, NewPush, Spec, UNDETERMINED};
use super::store::{self, PushRow, RunRow};
use super::tally::Tally;
use super::walk::begins;
use super::zones::{self, EVERYBODY};
use crate::audit;
use crate::campaign::check::Check;
use crate::campaign::http::offers::tried;
use crate::campaign::{Name, Rule, When};
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, PushId};
use crate::moment::live::Live;
use crate::people::profile;
use crate::store::{Conn, Doc};
use std::collections::BTreeMap;

/// Most pushes of an app that have not ended.
const OPEN_MAX: i64 = 10_000;
/// The code by which a transaction says that another one with the same key was first.
const TAKEN: &str = "key_taken_meanwhile";

/// Who sends a push, and under which key.
pub(super) struct Sender {
    pub app: AppId,
    pub test: bool,
    pub key: Option<String>,
}

impl Live {
    /// Keeps a push, or finds the one that was sent before with the same key.
    ///
    /// # Errors
    /// 400 that names every field at fault; 409 `too_many`; 422 when the key came with another push.
    pub(super) async fn accept(&self, sender: Sender, new: NewPush) -> Result<PushRow> {
        let Sender { app, test, key } = sender;
        let platform = &self.parts().platform;
        let derive = |what: &str, bytes: &[u8]| platform.master_key.derive_hex(what, bytes);
        // The same key in the hands of a test is another one: a rehearsal must not swallow what is meant.
        let room = if test { "test pushes" } else { "pushes" };
        let key_hash = key.map(|key| derive("idempotency key", format!("{app}|{room}|{key}").as_bytes()));
        let body_hash = derive("push body", &serde_json::to_vec(&new).map_err(Error::broken)?);
        if let Some(known) = self.by_key(app, key_hash.as_deref()).await? {
            return same(known, &body_hash);
        }
        let now_ms = platform.clock.now_ms();
        let spec = self.checked(app, &new, now_ms).await?;
        let row = PushRow {
            app_id: app,
            id: platform.ids.next(),
            name: new.name.clone(),
            state: String::new(),
            test,
            spec: Doc(spec),
            unknown: Doc(Vec::new()),
            key_hash: key_hash.clone(),
            body_hash: body_hash.clone(),
            visited: 0,
            outside: Doc(BTreeMap::new()),
            settled: Doc(Tally::default()),
            cursor_user_id: None,
            due_ms: 0,
            created_ms: now_ms,
            ended_ms: None,
        };
        match platform.store.write(move |conn| keep(conn, &new, row, now_ms)).await {
            Ok(row) => {
                self.parts().direct_hint.nudge();
                Ok(row)
            }
            Err(Error::Refused(problem)) if problem.code == TAKEN => {
                let known = self.by_key(app, key_hash.as_deref()).await?;
                known.map_or(Err(Error::Busy("the push with this key was forgotten")), |known| same(known, &body_hash))
            }
            Err(error) => Err(error),
        }
    }

    async fn by_key(&self, app: AppId, key_hash: Option<&str>) -> Result<Option<PushRow>> {
        let Some(key) = key_hash.map(str::to_owned) else { return Ok(None) };
        self.parts().platform.store.read_kept(move |conn| store::by_key(conn, app, &key)).await
    }

    /// Everything about a push that does not depend on who is meant.
    pub(super) async fn checked(&self, app: AppId, new: &NewPush, now_ms: i64) -> Result<Spec> {
        let spec = new.spec(now_ms)?;
        let id: PushId = uuid::Uuid::nil().into();
        let mut offer = spec.offer(id);
        if offer.topic.is_empty() {
            // It is looked at as an offer, which has one.
            "none".clone_into(&mut offer.topic);
        }
        tried(&self.parts().platform, app, offer).await.map_err(renamed)?;
        let mut check = Check::default();
        if let Kind::Rule { rule } = &spec.audience
            && let Ok(rule) = Rule::compile(rule)
        {
            for name in [Name::Event, Name::Place, Name::Thing].into_iter().filter(|name| rule.uses(*name)) {
                let message = format!("there is no {} here: name user, device or moment", name.word());
                check.refuse("audience.rule", "invalid_rule", message);
            }
        }
        check.finish()?;
        let checked = spec.clone();
        self.parts().platform.store.read(move |conn| check_names(conn, app, &checked)).await?;
        Ok(spec)
    }
}

/// Whether what it names is there.
fn check_names(conn: &mut Conn, app: AppId, spec: &Spec) -> Result<()> {
    spec.offer(uuid::Uuid::nil().into()).check_names(conn, app).map_err(renamed)?;
    if let Kind::Topic { topic } = &spec.audience
        && !profile::topics(conn, app)?.0.contains_key(topic)
    {
        return Err(Error::invalid("audience.topic", "unknown_reference", "there is no such topic in this app"));
    }
    Ok(())
}

/// The field of a push behind a field of the offer that it is taken for.
fn field(of_offer: &str) -> String {
    match of_offer.strip_prefix("template.variants.") {
        Some(rest) => match rest.strip_prefix(UNDETERMINED) {
            // Not of a longer locale that begins like this one: those have no dot.
            Some(part) if part.is_empty() || part.starts_with('.') => format!("content{part}"),
            Some(_) | None => format!("translations.{rest}"),
        },
        None if of_offer == "audience" => "audience.rule".to_owned(),
        None if of_offer == "template.variants" => "translations".to_owned(),
        None => of_offer.to_owned(),
    }
}

fn renamed(error: Error) -> Error {
    match error {
        Error::Refused(mut problem) if problem.status == 400 => {
            problem.errors.iter_mut().for_each(|error| error.field = field(&error.field));
            Error::invalid_fields(problem.errors)
        }
        other @ (Error::Refused(_) | Error::Busy(_) | Error::Broken(_)) => other,
    }
}

/// Writes a push with its walks and its list.
fn keep(conn: &mut Conn, new: &NewPush, mut row: PushRow, now_ms: i64) -> Result<PushRow> {
    let app = row.app_id;
    if let Some(key) = &row.key_hash {
        conn.serialise(&format!("push:{key}"))?;
        if store::by_key(conn, app, key)?.is_some() {
            return Err(Error::conflict(TAKEN, "Another request with this Idempotency-Key was first."));
        }
    }
    conn.serialise(&format!("pushes:{app}"))?;
    if store::open_count(conn, app)? >= OPEN_MAX {
        return Err(Error::conflict("too_many", format!("An app may have at most {OPEN_MAX} pushes that have not ended.")));
    }
    let found = new.audience.find(conn, app)?;
    let of = (app, row.id);
    let runs = match row.spec.0.when {
        When::At(at) => vec![RunRow::new(of, EVERYBODY, at.0)],
        When::Local(local) => zones::runs(conn, of, local)?,
    };
    row.due_ms = match row.spec.0.when {
        When::At(at) => at.0,
        When::Local(_) => runs.iter().filter(|run| run.zone != zones::SCOUT).map(|run| run.due_ms).min().unwrap_or(now_ms),
    };
    begins(row.due_ms, now_ms).name().clone_into(&mut row.state);
    row.unknown = Doc(found.unknown);
    store::insert(conn, &row, (&runs, &found.targets))?;
    audit::made(row.id);
    Ok(row)
}

/// The push that was sent before, when it was this one.
fn same(known: PushRow, body_hash: &str) -> Result<PushRow> {
    if known.body_hash == body_hash {
        return Ok(known);
    }
    let detail = "Another push was sent with this Idempotency-Key. Take a new key for another push.";
    Err(Problem::new(422, "idempotency_key_reused", detail).field("Idempotency-Key", "invalid", detail).into())
}
