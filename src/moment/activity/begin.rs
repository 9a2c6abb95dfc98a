//! Starts an activity: checked, led through the gates for each of its users, kept with the messages in one transaction.

use super::spec::NewActivity;
use super::store::{self, Activity};
use super::{ACTIVE_MS, Known, LINGERS_MS, Sender, is_taken, taken};
use crate::audit;
use crate::error::{Error, Result};
use crate::id::{ActivityId, AppId, ChannelId};
use crate::moment::direct::{Audience, Saying, Unknown};
use crate::moment::live::Live;
use crate::push::Gateway;
use crate::push::activity::Shown;
use crate::push::channel::{self, Life};
use crate::store::{Conn, Doc};
use std::sync::Arc;

impl Live {
    /// Starts an activity, or finds the one that was started before with the same key. Answers the entries of its list
    /// behind which there is nobody, too.
    ///
    /// # Errors
    /// 400 that names the field; 409 when its channel is not live; 422 when the key came with another body.
    pub(super) async fn begin(&self, sender: Sender, new: NewActivity) -> Result<(Activity, Vec<Unknown>)> {
        let platform = &self.parts().platform;
        let text = serde_json::to_string(&new).map_err(Error::broken)?;
        let known = Known::new(platform, &sender, ("activities", text));
        let (app, audience) = (sender.app, new.audience.clone());
        match self.started(app, &known).await? {
            Some(row) => Ok((row, self.unknown(app, audience).await?)),
            None => match self.start(sender, new, known.clone()).await {
                Err(error) if is_taken(&error) => {
                    let row = self.started(app, &known).await?.ok_or(Error::Busy("the activity of this key was forgotten"))?;
                    Ok((row, self.unknown(app, audience).await?))
                }
                answer => answer,
            },
        }
    }

    async fn started(&self, app: AppId, known: &Known) -> Result<Option<Activity>> {
        let Some(key) = known.key_hash.clone() else { return Ok(None) };
        let row = self.parts().platform.store.read_kept(move |conn| store::by_key(conn, app, Some(&key))).await?;
        row.as_ref().map_or(Ok(()), |row| known.same(&row.body_hash))?;
        Ok(row)
    }

    async fn unknown(&self, app: AppId, audience: Audience) -> Result<Vec<Unknown>> {
        Ok(self.parts().platform.store.read(move |conn| audience.find(conn, app)).await?.unknown)
    }

    async fn start(&self, sender: Sender, new: NewActivity, known: Known) -> Result<(Activity, Vec<Unknown>)> {
        let Sender { app, test, .. } = sender;
        let (platform, now_ms) = (&self.parts().platform, self.parts().platform.clock.now_ms());
        let (id, audience, channel_id) = (platform.ids.next::<ActivityId>(), new.audience.clone(), new.channel_id);
        let attributes_type = new.attributes_type.clone();
        let of_type = attributes_type.clone();
        let apple = platform.store.read(move |conn| channel_id.map(|id| channel(conn, (app, test), (id, &of_type))).transpose());
        let (plan, opening) = new.checked(id, apple.await?, now_ms)?;
        let row = Activity {
            app_id: app,
            id,
            attributes_type,
            test,
            over_ms: opening.deadline_ms + ACTIVE_MS + LINGERS_MS,
            spec: Some(Doc(plan)),
            start: Some(Doc(opening)),
            channel_id,
            timestamp_s: now_ms.div_euclid(1_000),
            key_hash: known.key_hash,
            body_hash: known.body_hash,
            created_ms: now_ms,
            ended_ms: None,
            end_id: None,
            swept: false,
        };
        let (Some(Doc(plan)), Some(Doc(opening)), Some(terms)) = (&row.spec, &row.start, row.terms()?) else {
            return Err(Error::broken("an activity to be started has no start"));
        };
        let shown: Option<Arc<Shown>> = terms.activity.clone();
        shown.as_ref().map_or(Ok(()), |shown| shown.check_size(opening.deadline_ms))?;
        let (spec, offer) = (plan.start(id, opening), Arc::clone(&terms.offer));
        let found = platform.store.read(move |conn| {
            offer.check_names(conn, app)?;
            audience.find(conn, app)
        });
        let found = found.await?;
        let kept = row.clone();
        let along = move |conn: &mut Conn, _: &mut [crate::push::NewMessage]| {
            if let Some(key) = &kept.key_hash {
                conn.serialise(&format!("activities:{key}"))?;
                if store::by_key(conn, app, Some(key))?.is_some() {
                    return Err(taken());
                }
            }
            audit::made(kept.id);
            store::insert(conn, &kept)
        };
        let targets = found.targets;
        self.say(app, Saying { id: id.uuid().into(), test, spec, targets, activity: shown, along: Arc::new(along) }).await?;
        Ok((row, found.unknown))
    }
}

/// Apple's name of a channel over which activities of this type can be updated.
fn channel(conn: &mut Conn, (app, test): (AppId, bool), (id, attributes_type): (ChannelId, &str)) -> Result<String> {
    let refused = |message: &str| Error::invalid("channel_id", "invalid", message);
    let channel = match channel::find(conn, app, id) {
        Ok(channel) => channel,
        Err(Error::Refused(_)) => return Err(Error::invalid("channel_id", "unknown_reference", "there is no such channel")),
        Err(error) => return Err(error),
    };
    if channel.test != test {
        return Err(refused("what a test key starts is updated over a channel that a test key has made, and the other way"));
    }
    if channel.attributes_type.is_some_and(|of| of != attributes_type) {
        return Err(refused("this channel is for activities of another type"));
    }
    if channel.gateway != Gateway::Apns {
        return Err(refused("a Live Activity listens to a channel of Apple's"));
    }
    channel.name.filter(|_| channel.life == Life::Live).ok_or_else(|| refused("this channel is being made or deleted"))
}
