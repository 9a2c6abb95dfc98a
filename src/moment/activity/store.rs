//! Live Activities in the database, and on which phones a decision finds them.

use super::spec::{Opening, Plan};
use crate::error::Result;
use crate::id::{ActivityId, ActivityUpdateId, AppId, CampaignId, ChannelId, DeviceId, PushId, UserId};
use crate::moment::terms::Terms;
use crate::on;
use crate::people::device::activity::{self as tokens, Running};
use crate::people::device::{Device, Platform};
use crate::push::State;
use crate::push::activity::{Event, Shown};
use crate::store::schema::{activities, activity_updates, decisions, messages, versions};
use crate::store::{Conn, Doc, among, part};
use diesel::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Most devices that one activity is looked for on: 1,000 users with as many phones as they may have.
const DEVICES_MAX: i64 = 100_000;

/// An activity as it is stored.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = activities, treat_none_as_default_value = false)]
pub(super) struct Activity {
    pub app_id: AppId,
    pub id: ActivityId,
    pub attributes_type: String,
    pub test: bool,
    pub spec: Option<Doc<Plan>>,
    pub start: Option<Doc<Opening>>,
    pub channel_id: Option<ChannelId>,
    pub timestamp_s: i64,
    pub key_hash: Option<String>,
    pub body_hash: String,
    pub created_ms: i64,
    pub over_ms: i64,
    pub ended_ms: Option<i64>,
    pub end_id: Option<ActivityUpdateId>,
    pub swept: bool,
}

/// An update of one, or its end.
#[derive(Debug, Clone, Queryable, Selectable, Insertable)]
#[diesel(table_name = activity_updates, treat_none_as_default_value = false)]
pub(super) struct Update {
    pub app_id: AppId,
    pub id: ActivityUpdateId,
    pub activity_id: ActivityId,
    pub event: String,
    pub key_hash: Option<String>,
    pub body_hash: String,
    pub created_ms: i64,
}

impl Activity {
    /// What its start shows, while somebody may still get it.
    fn shown(&self) -> Option<Shown> {
        let Opening { frame, start, priority, .. } = self.start.clone()?.0;
        let (activity_id, timestamp_s) = (self.id, self.timestamp_s);
        Some(Shown { activity_id, event: Event::Start, frame, start: Some(start), timestamp_s, priority })
    }

    /// Its start as decisions take it; none once it is to end.
    pub fn terms(&self) -> Result<Option<Terms>> {
        let (Some(Doc(plan)), Some(Doc(opening)), Some(shown), None) = (&self.spec, &self.start, self.shown(), self.ended_ms)
        else {
            return Ok(None);
        };
        let terms = plan.start(self.id, opening).terms(self.id.uuid().into())?;
        Ok(Some(terms.showing(Some(Arc::new(shown)))))
    }
}

pub(super) fn insert(conn: &mut Conn, row: &Activity) -> Result<()> {
    on!(conn, c => diesel::insert_into(activities::table).values(row).execute(c))?;
    Ok(())
}

pub(super) fn get(conn: &mut Conn, app: AppId, id: ActivityId) -> Result<Option<Activity>> {
    Ok(on!(conn, c => activities::table.find((app, id)).select(Activity::as_select()).first(c).optional())?)
}

pub(super) fn by_key(conn: &mut Conn, app: AppId, key_hash: Option<&str>) -> Result<Option<Activity>> {
    let Some(key_hash) = key_hash else { return Ok(None) };
    Ok(on!(conn, c => activities::table
        .filter(activities::app_id.eq(app).and(activities::key_hash.eq(key_hash)))
        .select(Activity::as_select()).first(c).optional())?)
}

/// Activities before an id, the newest first.
pub(super) fn page(conn: &mut Conn, app: AppId, (before, limit): (&str, i64)) -> Result<Vec<Activity>> {
    Ok(on!(conn, c => {
        let mut query = activities::table.filter(activities::app_id.eq(app)).into_boxed();
        if !before.is_empty() {
            query = query.filter(activities::id.lt(before));
        }
        query.order(activities::id.desc()).limit(limit).select(Activity::as_select()).load(c)
    })?)
}

/// Writes what an update changes about its activity.
pub(super) fn change(conn: &mut Conn, row: &Activity) -> Result<()> {
    on!(conn, c => diesel::update(activities::table.find((row.app_id, row.id)))
        .set((
            activities::start.eq(row.start.clone()),
            activities::timestamp_s.eq(row.timestamp_s),
            activities::over_ms.eq(row.over_ms),
            activities::ended_ms.eq(row.ended_ms),
            activities::end_id.eq(row.end_id),
        ))
        .execute(c))?;
    Ok(())
}

pub(super) fn insert_update(conn: &mut Conn, row: &Update) -> Result<()> {
    on!(conn, c => diesel::insert_into(activity_updates::table).values(row).execute(c))?;
    Ok(())
}

pub(super) fn update_by_key(conn: &mut Conn, app: AppId, key_hash: Option<&str>) -> Result<Option<Update>> {
    let Some(key_hash) = key_hash else { return Ok(None) };
    Ok(on!(conn, c => activity_updates::table
        .filter(activity_updates::app_id.eq(app).and(activity_updates::key_hash.eq(key_hash)))
        .select(Update::as_select()).first(c).optional())?)
}

/// What held starts of these activities say; nothing of one that is to end.
pub(in crate::moment) fn terms_of(
    conn: &mut Conn,
    app: AppId,
    ids: impl Iterator<Item = PushId>,
) -> Result<HashMap<PushId, Arc<Terms>>> {
    let ids: BTreeSet<ActivityId> = ids.map(|id| id.uuid().into()).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<Activity> = on!(conn, c => activities::table
        .filter(activities::app_id.eq(app).and(among(activities::id, ids))).select(Activity::as_select()).load(c))?;
    let terms = rows.iter().map(|row| Ok(row.terms()?.map(|terms| (row.id.uuid().into(), Arc::new(terms)))));
    terms.filter_map(Result::transpose).collect()
}

/// How messages to an activity have fared on devices: those of its start, or those of its end.
pub(super) fn fates(
    conn: &mut Conn,
    app: AppId,
    (activity, of): (ActivityId, CampaignId),
) -> Result<HashMap<DeviceId, (State, Option<String>)>> {
    let rows: Vec<(DeviceId, String, Option<String>)> = on!(conn, c => messages::table
        .filter(messages::app_id.eq(app).and(messages::activity_id.eq(activity.to_string())))
        .filter(part("activity_id <> ''").and(messages::campaign_id.eq(of)))
        .select((messages::device_id, messages::state, messages::reason))
        .load(c))?;
    Ok(rows.into_iter().filter_map(|(device, state, reason)| Some((device, (State::parse(&state)?, reason)))).collect())
}

/// Where it runs or is about to: of those who have a token, and those whose start has been taken or still may be.
pub(super) fn running(conn: &mut Conn, app: AppId, id: ActivityId) -> Result<Vec<Running>> {
    let fates = fates(conn, app, (id, id.uuid().into()))?;
    let mut all = tokens::on_devices(conn, app, id, ("", DEVICES_MAX))?;
    let failed = |running: &Running| fates.get(&running.device_id).is_some_and(|(state, _)| !state.counts());
    all.retain(|running| running.ended_ms.is_none() && (running.token.is_some() || !failed(running)));
    Ok(all)
}

/// These users' phones as an activity knows them: with the token that starts one of its type, or with that to which its
/// updates go; "" where the phone has not said it yet.
pub(in crate::moment) fn reach(
    conn: &mut Conn,
    app: AppId,
    shown: &Shown,
    devices: &HashMap<UserId, Vec<Device>>,
) -> Result<HashMap<UserId, Vec<Device>>> {
    let phones: Vec<&Device> = devices.values().flatten().filter(|d| d.traits.platform == Platform::Ios).collect();
    let held: HashMap<DeviceId, String> = match &shown.start {
        Some(start) => {
            let ids: Vec<DeviceId> = phones.iter().map(|device| device.id).collect();
            tokens::start_tokens(conn, app, (&start.attributes_type, &ids))?
        }
        None => {
            let running = running(conn, app, shown.activity_id)?.into_iter();
            running.map(|running| (running.device_id, running.token.unwrap_or_default())).collect()
        }
    };
    let mut found: HashMap<UserId, Vec<Device>> = HashMap::new();
    for phone in phones {
        let mut known = phone.clone();
        known.traits.token = held.get(&phone.id).cloned();
        if let Some(user) = known.user_id {
            found.entry(user).or_default().push(known);
        }
    }
    Ok(found)
}

/// Those of these under which nothing was decided, or is any more.
fn undecided(conn: &mut Conn, app: AppId, ids: &[CampaignId]) -> Result<Vec<CampaignId>> {
    let decided: Vec<Option<CampaignId>> = on!(conn, c => decisions::table
        .filter(decisions::app_id.eq(app).and(among(decisions::campaign_id.assume_not_null(), ids)))
        .filter(decisions::moment_id.is_null())
        .select(decisions::campaign_id)
        .distinct()
        .load(c))?;
    Ok(ids.iter().filter(|id| !decided.contains(&Some(**id))).copied().collect())
}

/// Forgets those of these starts and updates of which no decision is left.
pub(super) fn forget_empty(conn: &mut Conn, app: AppId, ids: &[PushId]) -> Result<()> {
    let known: Vec<ActivityId> = ids.iter().map(|id| id.uuid().into()).collect();
    let known: Vec<ActivityId> = on!(conn, c => activities::table
        .filter(activities::app_id.eq(app).and(among(activities::id, known))).select(activities::id).load(c))?;
    let updates: Vec<ActivityUpdateId> = ids.iter().map(|id| id.uuid().into()).collect();
    let updates: Vec<ActivityUpdateId> = on!(conn, c => activity_updates::table
        .filter(activity_updates::app_id.eq(app).and(among(activity_updates::id, updates)))
        .select(activity_updates::id).load(c))?;
    let all: Vec<CampaignId> = known.iter().map(|id| id.uuid().into()).chain(updates.iter().map(|id| id.uuid().into())).collect();
    if all.is_empty() {
        return Ok(());
    }
    let gone = undecided(conn, app, &all)?;
    let kept = gone.iter().flat_map(|id| [id.to_string(), format!("ofr_{}", id.uuid().simple())]);
    on!(conn, c => diesel::delete(versions::table
        .filter(versions::app_id.eq(app).and(among(versions::id, kept)))).execute(c))?;
    let gone: Vec<ActivityId> = gone.iter().map(|id| id.uuid().into()).filter(|id| known.contains(id)).collect();
    forget(conn, app, &gone)
}

fn forget(conn: &mut Conn, app: AppId, ids: &[ActivityId]) -> Result<()> {
    tokens::forget_activities(conn, app, ids)?;
    on!(conn, c => diesel::delete(activity_updates::table
        .filter(activity_updates::app_id.eq(app).and(among(activity_updates::activity_id, ids)))).execute(c))?;
    on!(conn, c => diesel::delete(activities::table
        .filter(activities::app_id.eq(app).and(among(activities::id, ids)))).execute(c))?;
    Ok(())
}

/// Forgets tokens and words of activities that no phone shows any more, and those that a phone had begun wholly; answers
/// how many there were.
pub(super) fn expire(conn: &mut Conn, app: AppId, (now_ms, limit): (i64, i64)) -> Result<usize> {
    let over: Vec<(ActivityId, Option<Doc<Plan>>)> = on!(conn, c => activities::table
        .filter(activities::app_id.eq(app).and(part("swept = false")).and(activities::over_ms.le(now_ms)))
        .order((activities::over_ms, activities::id))
        .limit(limit)
        .select((activities::id, activities::spec))
        .load(c))?;
    let ids: Vec<ActivityId> = over.iter().map(|(id, _)| *id).collect();
    tokens::forget_activities(conn, app, &ids)?;
    let by_phones: Vec<ActivityId> = over.iter().filter(|(_, plan)| plan.is_none()).map(|(id, _)| *id).collect();
    forget(conn, app, &by_phones)?;
    // From now on only its decisions keep it.
    on!(conn, c => diesel::update(activities::table.filter(activities::app_id.eq(app).and(among(activities::id, &ids))))
        .set((activities::start.eq(None::<Doc<Opening>>), activities::swept.eq(true)))
        .execute(c))?;
    Ok(ids.len())
}
