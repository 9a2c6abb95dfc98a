//! Channels in the database.

use crate::error::{Error, Result};
use crate::id::{AppId, ChannelId};
use crate::on;
use crate::people::device::Environment;
use crate::push::message::Gateway;
use crate::store::Conn;
use crate::store::schema::channels;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

/// How far a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChannelState)]
pub enum Life {
    /// Apple has been asked for it.
    Creating,
    /// Phones can listen to it.
    Live,
    /// Apple has been asked to forget it.
    Deleting,
    /// It is gone.
    Deleted,
}

impl Life {
    const ALL: [Self; 4] = [Self::Creating, Self::Live, Self::Deleting, Self::Deleted];

    fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Live => "live",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The tenant.
    pub app_id: AppId,
    /// Its id.
    pub id: ChannelId,
    /// The app's own name for it.
    pub key: String,
    /// Whose it is: a broadcast channel of Apple's, or a topic of Google's.
    pub gateway: Gateway,
    /// Which type of activities listens to it.
    pub attributes_type: Option<String>,
    /// The bundle id; Google's have none.
    pub topic: String,
    /// In which of Apple's worlds it is; Google has one.
    pub environment: Environment,
    /// Whether a test key has made it.
    pub test: bool,
    /// Whether the gateway keeps the latest broadcast for phones that are away.
    pub keeps_latest: bool,
    /// Whether the app on a phone may find it.
    pub public: bool,
    /// How far it is.
    pub life: Life,
    /// The gateway's name for it.
    pub name: Option<String>,
    /// The time stamp of the last broadcast, in seconds.
    pub timestamp_s: i64,
    /// UTC milliseconds.
    pub created_ms: i64,
    /// When it last got further, UTC milliseconds.
    pub updated_ms: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = channels, treat_none_as_default_value = false)]
struct ChannelRow {
    app_id: AppId,
    id: ChannelId,
    key: String,
    gateway: String,
    attributes_type: Option<String>,
    topic: String,
    environment: String,
    test: bool,
    keeps_latest: bool,
    public: bool,
    state: String,
    name: Option<String>,
    timestamp_s: i64,
    created_ms: i64,
    updated_ms: i64,
}

impl ChannelRow {
    fn channel(self) -> Result<Channel> {
        let unknown = |what: &str| Error::broken(format!("a channel has an unknown {what}"));
        Ok(Channel {
            app_id: self.app_id,
            id: self.id,
            key: self.key,
            gateway: Gateway::parse(&self.gateway).ok_or_else(|| unknown("gateway"))?,
            attributes_type: self.attributes_type,
            topic: self.topic,
            environment: Environment::named(&self.environment).ok_or_else(|| unknown("environment"))?,
            test: self.test,
            keeps_latest: self.keeps_latest,
            public: self.public,
            life: Life::ALL.into_iter().find(|life| life.name() == self.state).ok_or_else(|| unknown("state"))?,
            name: self.name,
            timestamp_s: self.timestamp_s,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
        })
    }
}

pub(in crate::push::channel) fn insert(conn: &mut Conn, channel: &Channel) -> Result<()> {
    let channel = channel.clone();
    let row = ChannelRow {
        app_id: channel.app_id,
        id: channel.id,
        key: channel.key,
        gateway: channel.gateway.word().to_owned(),
        attributes_type: channel.attributes_type,
        topic: channel.topic,
        environment: channel.environment.name().to_owned(),
        test: channel.test,
        keeps_latest: channel.keeps_latest,
        public: channel.public,
        state: channel.life.name().to_owned(),
        name: channel.name,
        timestamp_s: channel.timestamp_s,
        created_ms: channel.created_ms,
        updated_ms: channel.updated_ms,
    };
    on!(conn, c => diesel::insert_into(channels::table).values(&row).execute(c))?;
    Ok(())
}

pub(in crate::push::channel) fn find(conn: &mut Conn, app: AppId, id: ChannelId) -> Result<Option<Channel>> {
    let row: Option<ChannelRow> =
        on!(conn, c => channels::table.find((app, id)).select(ChannelRow::as_select()).first(c).optional())?;
    row.map(ChannelRow::channel).transpose()
}

pub(in crate::push::channel) fn by_key(conn: &mut Conn, app: AppId, key: &str) -> Result<Option<Channel>> {
    let row: Option<ChannelRow> = on!(conn, c => channels::table
        .filter(channels::app_id.eq(app).and(channels::key.eq(key)))
        .filter(sql::<Bool>("state <> 'deleted'"))
        .select(ChannelRow::as_select())
        .first(c)
        .optional())?;
    row.map(ChannelRow::channel).transpose()
}

/// How many the gateway keeps, or has been asked for.
pub(in crate::push::channel) fn count(
    conn: &mut Conn,
    app: AppId,
    (gateway, environment): (Gateway, Environment),
) -> Result<i64> {
    Ok(on!(conn, c => channels::table
        .filter(channels::app_id.eq(app).and(channels::environment.eq(environment.name())))
        .filter(channels::gateway.eq(gateway.word()))
        .filter(channels::state.ne("deleted"))
        .count()
        .get_result(c))?)
}

/// Channels after an id that are not deleted; the live public ones alone for the app on a phone.
pub(in crate::push::channel) fn page(
    conn: &mut Conn,
    app: AppId,
    (after, rows): (&str, i64),
    of: (Option<&str>, bool),
) -> Result<Vec<Channel>> {
    let (key, phone) = of;
    let found: Vec<ChannelRow> = on!(conn, c => {
        let mut query = channels::table
            .filter(channels::app_id.eq(app).and(channels::id.gt(after)).and(channels::state.ne("deleted")))
            .into_boxed();
        if let Some(key) = key {
            query = query.filter(channels::key.eq(key));
        }
        if phone {
            query = query.filter(channels::public.eq(true).and(channels::state.eq("live")));
        }
        query.order(channels::id).limit(rows).select(ChannelRow::as_select()).load(c)
    })?;
    found.into_iter().map(ChannelRow::channel).collect()
}

/// Says how far a channel is; with Apple's name when it has just got one.
pub(in crate::push::channel) fn live(conn: &mut Conn, (app, id): (AppId, ChannelId), life: Life, now_ms: i64) -> Result<bool> {
    let rows = on!(conn, c => diesel::update(channels::table.find((app, id)).filter(channels::state.ne("deleted")))
        .set((channels::state.eq(life.name()), channels::updated_ms.eq(now_ms)))
        .execute(c))?;
    Ok(rows > 0)
}

/// Notes Apple's name of a channel.
pub(in crate::push::channel) fn name(conn: &mut Conn, (app, id): (AppId, ChannelId), name: &str, now_ms: i64) -> Result<()> {
    on!(conn, c => diesel::update(channels::table.find((app, id)))
        .set((channels::name.eq(name), channels::state.eq(Life::Live.name()), channels::updated_ms.eq(now_ms)))
        .execute(c))?;
    Ok(())
}

/// Forgets a channel of which Apple knows nothing.
pub(in crate::push::channel) fn forget(conn: &mut Conn, app: AppId, id: ChannelId) -> Result<()> {
    on!(conn, c => diesel::delete(channels::table.find((app, id))).execute(c))?;
    Ok(())
}

pub(in crate::push::channel) fn stamp(conn: &mut Conn, (app, id): (AppId, ChannelId), timestamp_s: i64) -> Result<()> {
    on!(conn, c => diesel::update(channels::table.find((app, id))).set(channels::timestamp_s.eq(timestamp_s)).execute(c))?;
    Ok(())
}
