//! Updates and ends a running activity: the newest state alone, on every phone that shows it.

use super::spec::{NewActivityUpdate, Plan};
use super::store::{self, Activity, Update};
use super::{Known, LINGERS_MS, Sender, find, is_taken, lock, taken};
use crate::audit;
use crate::campaign::Class;
use crate::error::{Error, Result};
use crate::id::{ActivityId, AppId, DeviceId, UserId};
use crate::moment::direct::{Saying, Target};
use crate::moment::live::Live;
use crate::people::consent;
use crate::people::device::activity::on_devices;
use crate::push::activity::{self, Event, Frame, Shown};
use crate::push::{NewMessage, channel};
use crate::store::Conn;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

impl Live {
    /// Updates or ends an activity, or finds what was asked for before with the same key.
    ///
    /// # Errors
    /// 400 that names the field; 403; 404; 409 `activity_over`, `updated_over_channel`; 422; 429.
    pub(super) async fn update(&self, sender: Sender, id: ActivityId, new: NewActivityUpdate) -> Result<Update> {
        let app = sender.app;
        let text = serde_json::to_string(&new).map_err(Error::broken)?;
        let known = Known::new(&self.parts().platform, &sender, ("activity updates", format!("{id}|{text}")));
        if let Some(update) = self.updated(app, &known).await? {
            return Ok(update);
        }
        match self.change(sender, id, new, known.clone()).await {
            Err(error) if is_taken(&error) => {
                self.updated(app, &known).await?.ok_or(Error::Busy("the update of this key was forgotten"))
            }
            answer => answer,
        }
    }

    async fn updated(&self, app: AppId, known: &Known) -> Result<Option<Update>> {
        let Some(key) = known.key_hash.clone() else { return Ok(None) };
        let row = self.parts().platform.store.read_kept(move |conn| store::update_by_key(conn, app, Some(&key))).await?;
        row.as_ref().map_or(Ok(()), |row| known.same(&row.body_hash))?;
        Ok(row)
    }

    async fn change(&self, sender: Sender, id: ActivityId, new: NewActivityUpdate, known: Known) -> Result<Update> {
        let Sender { app, test, .. } = sender;
        let (platform, now_ms) = (&self.parts().platform, self.parts().platform.clock.now_ms());
        let (event, mode, purpose) = (new.event, new.mode, new.purpose.clone());
        let read = move |conn: &mut Conn| {
            let row = find(conn, app, id)?;
            if test && !row.test {
                return Err(Error::forbidden("A test key updates activities that a test key has started."));
            }
            open(&row, now_ms)?;
            let plan = Plan { mode, ..plan(conn, &row, purpose)? };
            let users: BTreeSet<UserId> = store::running(conn, app, id)?.into_iter().map(|running| running.user_id).collect();
            Ok((row, plan, users))
        };
        let (row, plan, users) = platform.store.read(read).await?;
        let (frame, priority, deadline_ms) = new.checked(now_ms)?;
        let shown = Shown { activity_id: id, event, frame, start: None, timestamp_s: now_ms.div_euclid(1_000), priority };
        shown.check_size(deadline_ms)?;
        let update = Update {
            app_id: app,
            id: platform.ids.next(),
            activity_id: id,
            event: event.name().to_owned(),
            key_hash: known.key_hash,
            body_hash: known.body_hash,
            created_ms: now_ms,
        };
        let saying = Saying {
            id: update.id.uuid().into(),
            test: row.test,
            spec: plan.update((id, priority), (now_ms, deadline_ms, users.len())),
            targets: users.into_iter().map(|user_id| Target { user_id, devices: None }).collect(),
            along: {
                let (update, frame) = (update.clone(), shown.frame.clone());
                Arc::new(move |conn, messages| keep(conn, (&update, &frame), messages))
            },
            activity: Some(Arc::new(shown)),
        };
        self.say(app, saying).await?;
        // What waited and was overtaken has ended.
        platform.feedback_hint.nudge();
        Ok(update)
    }
}

/// Whether it can still be updated here.
fn open(row: &Activity, now_ms: i64) -> Result<()> {
    if row.ended_ms.is_some() || row.over_ms <= now_ms {
        return Err(Error::conflict("activity_over", "The activity has ended: no phone shows it any longer."));
    }
    match row.channel_id {
        None => Ok(()),
        Some(channel) => {
            let detail = format!("It listens to a channel: send to /v1/channels/{channel}/broadcasts, once for everybody.");
            Err(Error::conflict("updated_over_channel", detail))
        }
    }
}

/// What the update needs: what the start needed, or the purpose that is named where a phone has begun it.
fn plan(conn: &mut Conn, row: &Activity, named: Option<String>) -> Result<Plan> {
    let plan = match (&row.spec, named) {
        (Some(plan), None) => return Ok(plan.0.clone()),
        (Some(plan), Some(purpose)) if plan.0.purpose == purpose => return Ok(plan.0.clone()),
        (Some(_), Some(_)) => return Err(Error::invalid("purpose", "conflict", "the activity was started for another purpose")),
        (None, None) => {
            return Err(Error::invalid("purpose", "required", "a phone has begun this activity: say for which purpose it is"));
        }
        (None, Some(purpose)) => {
            Plan { purpose, class: Class::Critical, topic: None, category: None, mode: crate::campaign::Mode::default() }
        }
    };
    if consent::purposes(conn, row.app_id)?.get(&plan.purpose).is_none() {
        return Err(Error::invalid("purpose", "unknown_reference", "there is no such purpose in this app"));
    }
    Ok(plan)
}

/// Writes an update along with its decisions: after those before it, and in their place.
fn keep(conn: &mut Conn, (update, frame): (&Update, &Frame), messages: &mut [NewMessage]) -> Result<()> {
    let &Update { app_id: app, activity_id: id, created_ms: now_ms, .. } = update;
    lock(conn, app, id)?;
    if store::update_by_key(conn, app, update.key_hash.as_deref())?.is_some() {
        return Err(taken());
    }
    let mut row = find(conn, app, id)?;
    open(&row, now_ms)?;
    row.timestamp_s = channel::rising(row.timestamp_s, now_ms)?;
    if update.event == Event::End.name() {
        activity::stop(conn, app, id, now_ms)?;
        (row.ended_ms, row.end_id, row.start) = (Some(now_ms), Some(update.id), None);
        row.over_ms = row.over_ms.min(frame.dismissal_ms.unwrap_or(now_ms + LINGERS_MS).max(now_ms));
    } else {
        activity::supersede(conn, app, id, now_ms)?;
        // Who gets the start later begins with the state of now.
        if let Some(start) = &mut row.start {
            let (content_state, stale_ms) = (frame.content_state.clone(), frame.stale_ms);
            start.0.frame = Frame { content_state, stale_ms, ..start.0.frame.clone() };
        }
    }
    store::change(conn, &row)?;
    store::insert_update(conn, update)?;
    audit::made(update.id);
    // What phones have said since the decision was made counts: from here on they wait for this to be written.
    let running = on_devices(conn, app, id, ("", i64::MAX))?.into_iter();
    let tokens: HashMap<DeviceId, String> = running.filter_map(|running| Some((running.device_id, running.token?))).collect();
    for message in messages {
        if let Some(shown) = &message.activity {
            message.activity = Some(Arc::new(Shown { timestamp_s: row.timestamp_s, ..Shown::clone(shown) }));
        }
        if let Some(token) = tokens.get(&message.device_id) {
            if message.token.is_empty() {
                message.due_ms = now_ms;
            }
            message.token.clone_from(token);
        }
    }
    Ok(())
}
