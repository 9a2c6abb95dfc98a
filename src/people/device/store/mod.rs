//! Devices in the database.

mod zone;

pub(super) use zone::{settle_zone, settle_zones};

use super::address::{join, split};
use super::token::forms;
use super::{Count, Device, Environment, Hold, Platform, PushPermission, Registration, Traits, Verdict, address};
use crate::error::{Error, Result};
use crate::id::{AppId, DeviceId, SessionId, UserId};
use crate::on;
use crate::store::schema::devices;
use crate::store::{Conn, among};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::collections::{BTreeSet, HashMap};

/// How many values one `in (…)` or one insert takes.
const CHUNK: usize = 500;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = devices, treat_none_as_default_value = false)]
struct DeviceRow {
    app_id: AppId,
    id: DeviceId,
    installation_id: String,
    user_id: Option<UserId>,
    platform: String,
    token: Option<String>,
    environment: String,
    topic: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    push_permission: String,
    app_version: Option<String>,
    token_ms: Option<i64>,
    session_id: Option<SessionId>,
    last_seen_ms: i64,
    created_ms: i64,
    web_keys: Option<String>,
}

impl DeviceRow {
    fn new(app_id: AppId, registration: &Registration) -> Self {
        let traits = registration.traits.clone();
        let (token, web_keys) = traits.token.map(split).unzip();
        Self {
            app_id,
            id: registration.id,
            installation_id: registration.installation_id.clone(),
            user_id: Some(registration.user),
            platform: traits.platform.name().to_owned(),
            token_ms: token.as_ref().map(|_| registration.now_ms),
            token,
            environment: traits.environment.name().to_owned(),
            topic: traits.topic,
            locale: traits.locale,
            time_zone: traits.time_zone,
            push_permission: traits.push_permission.name().to_owned(),
            app_version: traits.app_version,
            session_id: registration.session,
            last_seen_ms: registration.now_ms,
            created_ms: registration.now_ms,
            web_keys: web_keys.flatten(),
        }
    }

    fn device(self) -> Result<Device> {
        let unknown = |what: &str, word: &str| Error::broken(format!("a device has the unknown {what} {word}"));
        Ok(Device {
            id: self.id,
            user_id: self.user_id,
            installation_id: self.installation_id,
            traits: Traits {
                platform: Platform::named(&self.platform).ok_or_else(|| unknown("platform", &self.platform))?,
                token: self.token.map(|endpoint| join(endpoint, self.web_keys)),
                environment: Environment::named(&self.environment).ok_or_else(|| unknown("environment", &self.environment))?,
                topic: self.topic,
                locale: self.locale,
                time_zone: self.time_zone,
                push_permission: PushPermission::named(&self.push_permission)
                    .ok_or_else(|| unknown("permission", &self.push_permission))?,
                app_version: self.app_version,
            },
            token_ms: self.token_ms,
            last_seen_ms: self.last_seen_ms,
            created_ms: self.created_ms,
        })
    }
}

fn all(rows: Vec<DeviceRow>) -> Result<Vec<Device>> {
    rows.into_iter().map(DeviceRow::device).collect()
}

/// Who holds a token that this registration takes: the same token anywhere, or any token of this installation.
pub(super) fn holders(conn: &mut Conn, app: AppId, wanted: &Registration) -> Result<Vec<(DeviceId, Option<UserId>)>> {
    let traits = &wanted.traits;
    let of_installation: Vec<(DeviceId, Option<UserId>)> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::installation_id.eq(&wanted.installation_id)))
        .filter(devices::token.is_not_null())
        .filter(devices::user_id.is_null().or(devices::user_id.ne(wanted.user)))
        .select((devices::id, devices::user_id))
        .load(c))?;
    let Some(token) = traits.address() else { return Ok(of_installation) };
    let of_token: Vec<(DeviceId, Option<UserId>, String)> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::platform.eq(traits.platform.name())).and(devices::token.eq(token)))
        .select((devices::id, devices::user_id, devices::installation_id))
        .load(c))?;
    let others = of_token
        .into_iter()
        .filter(|(_, user, installation)| *user != Some(wanted.user) || *installation != wanted.installation_id);
    Ok(others.map(|(id, user, _)| (id, user)).chain(of_installation).collect())
}

/// The subscription of a browser with this endpoint, whoever holds it.
pub(super) fn subscription(conn: &mut Conn, app: AppId, endpoint: &str) -> Result<Option<String>> {
    let keys: Option<Option<String>> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::platform.eq(Platform::Web.name())).and(devices::token.eq(endpoint)))
        .select(devices::web_keys)
        .first(c)
        .optional())?;
    Ok(keys.map(|keys| join(endpoint.to_owned(), keys)))
}

/// The endpoints of a user's browsers, by their installations.
pub(super) fn endpoints(conn: &mut Conn, app: AppId, user: UserId) -> Result<Vec<(String, String)>> {
    Ok(on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)).and(devices::platform.eq(Platform::Web.name())))
        .filter(devices::token.is_not_null())
        .select((devices::installation_id, devices::token.assume_not_null()))
        .load(c))?)
}

/// What a device has that has lost its token.
#[derive(Default, AsChangeset)]
#[diesel(table_name = devices, treat_none_as_null = true)]
pub(super) struct Nothing {
    token: Option<String>,
    token_ms: Option<i64>,
    web_keys: Option<String>,
    session_id: Option<SessionId>,
}

/// Takes the tokens from these devices.
pub(super) fn release(conn: &mut Conn, app: AppId, ids: &[DeviceId]) -> Result<()> {
    for chunk in ids.chunks(CHUNK) {
        on!(conn, c => diesel::update(devices::table.filter(devices::app_id.eq(app).and(devices::id.eq_any(chunk))))
            .set(Nothing::default())
            .execute(c))?;
    }
    Ok(())
}

/// A user's device by its installation.
pub(super) fn own(conn: &mut Conn, app: AppId, user: UserId, installation_id: &str) -> Result<Option<DeviceId>> {
    Ok(on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::installation_id.eq(installation_id)).and(devices::user_id.eq(user)))
        .select(devices::id)
        .first(c)
        .optional())?)
}

/// The same and its token, until the transaction ends: whoever takes a token from a device locks it before its user's epoch.
pub(super) fn lock_own(
    conn: &mut Conn,
    app: AppId,
    user: UserId,
    installation_id: &str,
) -> Result<Option<(DeviceId, Option<String>)>> {
    let own = devices::table
        .filter(devices::app_id.eq(app).and(devices::installation_id.eq(installation_id)).and(devices::user_id.eq(user)))
        .select((devices::id, devices::token, devices::web_keys));
    let own: Option<(DeviceId, Option<String>, Option<String>)> = match conn {
        Conn::Sqlite(c) => own.first(c).optional()?,
        Conn::Postgres(c) => own.for_update().first(c).optional()?,
    };
    Ok(own.map(|(id, token, web_keys)| (id, token.map(|token| join(token, web_keys)))))
}

pub(super) fn count(conn: &mut Conn, app: AppId, user: UserId) -> Result<usize> {
    let n: i64 = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)))
        .count()
        .get_result(c))?;
    Ok(usize::try_from(n).unwrap_or(usize::MAX))
}

pub(super) fn insert(conn: &mut Conn, app: AppId, registrations: &[Registration]) -> Result<()> {
    for chunk in registrations.chunks(CHUNK) {
        let rows: Vec<DeviceRow> = chunk.iter().map(|r| DeviceRow::new(app, r)).collect();
        on!(conn, c => diesel::insert_into(devices::table).values(&rows).execute(c))?;
    }
    Ok(())
}

/// Replaces what the app said of a device before.
pub(super) fn update(conn: &mut Conn, app: AppId, id: DeviceId, registration: &Registration) -> Result<Device> {
    let row = DeviceRow::new(app, registration);
    on!(conn, c => diesel::update(devices::table.filter(devices::app_id.eq(app).and(devices::id.eq(id))))
        .set((
            devices::platform.eq(&row.platform),
            devices::token.eq(&row.token),
            devices::environment.eq(&row.environment),
            devices::topic.eq(&row.topic),
            devices::locale.eq(&row.locale),
            devices::time_zone.eq(&row.time_zone),
            devices::push_permission.eq(&row.push_permission),
            devices::app_version.eq(&row.app_version),
            devices::token_ms.eq(row.token_ms),
            devices::web_keys.eq(&row.web_keys),
            // The app's own back end has none: the session that registered it keeps it.
            registration.session.map(|session| devices::session_id.eq(session)),
            // Whoever comes back begins anew.
            devices::badge.eq(sql::<BigInt>("case when token is null then 0 else badge end")),
            devices::last_seen_ms.eq(row.last_seen_ms),
        ))
        .execute(c))?;
    by_id(conn, app, id)?.ok_or_else(|| Error::broken("a device vanished"))
}

pub(super) fn of_users(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Vec<Device>>> {
    let mut found: HashMap<UserId, Vec<Device>> = HashMap::new();
    for chunk in users.chunks(CHUNK) {
        let rows = on!(conn, c => devices::table
            .filter(devices::app_id.eq(app).and(devices::user_id.eq_any(chunk)).and(devices::token.is_not_null()))
            .select(DeviceRow::as_select())
            .load(c))?;
        for device in all(rows)? {
            if let Some(user) = device.user_id {
                found.entry(user).or_default().push(device);
            }
        }
    }
    // Asked for in this order, SQLite would rather walk all devices of the app in it than sort these few.
    found.values_mut().for_each(|devices| devices.sort_by_key(|device| device.id));
    Ok(found)
}

pub(super) fn holds(conn: &mut Conn, app: AppId, ids: &[DeviceId]) -> Result<HashMap<DeviceId, Hold>> {
    type Columns = (DeviceId, Option<UserId>, Option<String>, Option<String>, Option<String>);
    let rows: Vec<Columns> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(among(devices::id, ids)))
        .select((devices::id, devices::user_id, devices::token, devices::web_keys, devices::time_zone))
        .load(c))?;
    let hold = |(id, user_id, token, web_keys, time_zone): Columns| {
        (id, Hold { user_id, token: token.map(|endpoint| join(endpoint, web_keys)), time_zone })
    };
    Ok(rows.into_iter().map(hold).collect())
}

pub(super) fn count_badges(conn: &mut Conn, app: AppId, (ids, count): (&[DeviceId], Count)) -> Result<Vec<(DeviceId, i64)>> {
    let these = || devices::table.filter(devices::app_id.eq(app).and(among(devices::id, ids)));
    let numbers = match count {
        Count::Add(number) => on!(conn, c => diesel::update(these())
            .set(devices::badge.eq(devices::badge + number))
            .returning((devices::id, devices::badge))
            .get_results(c))?,
        Count::Put(number) => on!(conn, c => diesel::update(these())
            .set(devices::badge.eq(number))
            .returning((devices::id, devices::badge))
            .get_results(c))?,
    };
    Ok(numbers)
}

pub(super) fn by_installations(conn: &mut Conn, app: AppId, names: &[String]) -> Result<HashMap<String, (UserId, DeviceId)>> {
    // The last of an installation stays: without a token first, then by when it was heard of.
    let rows: Vec<(String, Option<UserId>, DeviceId)> = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(among(devices::installation_id, names)).and(devices::user_id.is_not_null()))
        .order((devices::token.is_not_null(), devices::last_seen_ms, devices::id))
        .select((devices::installation_id, devices::user_id, devices::id))
        .load(c))?;
    Ok(rows.into_iter().filter_map(|(name, user, id)| Some((name, (user?, id)))).collect())
}

pub(super) fn by_tokens(conn: &mut Conn, app: AppId, tokens: &[String]) -> Result<HashMap<String, (UserId, DeviceId)>> {
    let kept: BTreeSet<String> = tokens.iter().flat_map(|token| forms(token)).collect();
    let rows: Vec<(Option<String>, Option<UserId>, DeviceId, String)> = on!(conn, c => devices::table
        // The index has the platforms before the tokens.
        .filter(devices::app_id.eq(app).and(devices::platform.eq_any(Platform::ALL.map(Platform::name))))
        .filter(among(devices::token.assume_not_null(), kept).and(devices::user_id.is_not_null()))
        .select((devices::token, devices::user_id, devices::id, devices::platform))
        .load(c))?;
    let held: HashMap<String, (UserId, DeviceId, bool)> = rows
        .into_iter()
        .filter_map(|(token, user, id, platform)| Some((token?, (user?, id, platform == Platform::Ios.name()))))
        .collect();
    let of = |token: &String| {
        // In small letters it is another token, but for Apple.
        let same = |form: &str, ios: bool| ios || !form.eq_ignore_ascii_case(token) || form == token;
        let found = forms(token).find_map(|form| held.get(&form).filter(|(.., ios)| same(&form, *ios)).copied());
        found.map(|(user, id, _)| (user, id))
    };
    Ok(tokens.iter().filter_map(|token| Some((token.clone(), of(token)?))).collect())
}

pub(super) fn by_id(conn: &mut Conn, app: AppId, id: DeviceId) -> Result<Option<Device>> {
    let row: Option<DeviceRow> =
        on!(conn, c => devices::table.find((app, id)).select(DeviceRow::as_select()).first(c).optional())?;
    row.map(DeviceRow::device).transpose()
}

pub(super) fn list(conn: &mut Conn, app: AppId, user: UserId, page: (&str, i64)) -> Result<Vec<Device>> {
    let (after, limit) = page;
    let rows = on!(conn, c => devices::table
        .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)))
        .filter(devices::id.gt(after))
        .order(devices::id)
        .limit(limit)
        .select(DeviceRow::as_select())
        .load(c))?;
    all(rows)
}

/// Answers whose device it was, if the token was deleted.
pub(super) fn kill_token(conn: &mut Conn, app: AppId, device: DeviceId, verdict: Verdict<'_>) -> Result<Option<Option<UserId>>> {
    Ok(on!(conn, c => diesel::update(devices::table
            .filter(devices::app_id.eq(app).and(devices::id.eq(device)).and(devices::token.eq(address(verdict.token))))
            .filter(devices::token_ms.le(verdict.at_ms)))
        .set((
            devices::token.eq(None::<String>),
            devices::token_ms.eq(None::<i64>),
            devices::web_keys.eq(None::<String>),
        ))
        .returning(devices::user_id)
        .get_result(c)
        .optional())?)
}

pub(super) fn settle_environment(conn: &mut Conn, app: AppId, device: DeviceId, good: (&str, Environment)) -> Result<bool> {
    let (token, environment) = good;
    let token = address(token);
    let rows = on!(conn, c => diesel::update(devices::table
            .filter(devices::app_id.eq(app).and(devices::id.eq(device)).and(devices::token.eq(token)))
            .filter(devices::environment.ne(environment.name())))
        .set(devices::environment.eq(environment.name()))
        .execute(c))?;
    Ok(rows > 0)
}

/// Answers which devices the sessions had registered.
pub(super) fn unbind(conn: &mut Conn, app: AppId, user: UserId, sessions: &[SessionId]) -> Result<Vec<DeviceId>> {
    Ok(on!(conn, c => diesel::update(devices::table
            .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)).and(among(devices::session_id.assume_not_null(), sessions))))
        .set(Nothing::default())
        .returning(devices::id)
        .get_results(c))?)
}

pub(super) fn rebind(conn: &mut Conn, app: AppId, user: UserId, (from, to): (SessionId, SessionId)) -> Result<()> {
    on!(conn, c => diesel::update(devices::table
            .filter(devices::app_id.eq(app).and(devices::user_id.eq(user)).and(devices::session_id.eq(from))))
        .set(devices::session_id.eq(to))
        .execute(c))?;
    Ok(())
}

pub(super) fn delete(conn: &mut Conn, app: AppId, user: UserId, installation_id: &str) -> Result<Option<DeviceId>> {
    let own = own(conn, app, user, installation_id)?;
    if let Some(id) = own {
        on!(conn, c => diesel::delete(devices::table.find((app, id))).execute(c))?;
    }
    Ok(own)
}
