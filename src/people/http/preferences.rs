//! `/v1/me/preferences` and `/v1/users/{id}/preferences`: topics, channels, quiet hours, frequency, pause.

use super::user_id;
use crate::app::{BackOffice, Cap, Scope};
use crate::clock::Time;
use crate::error::Result;
use crate::http::{Body, IfMatch, ProblemBody, etag};
use crate::id::{AppId, UserId};
use crate::people::account::UserToken;
use crate::people::consent::Channel;
use crate::people::profile::{self, Preferences, PreferencesPatch, QuietTime, Topic, Topics};
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use std::collections::BTreeMap;

/// Preferences as they are in effect, defaults included.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Preferences)]
pub struct PreferencesOut {
    /// Every topic of the app, on or off.
    topics: BTreeMap<String, bool>,
    /// Every channel, on or off.
    #[schema(value_type = BTreeMap<String, bool>)]
    channels: BTreeMap<Channel, bool>,
    /// The quiet time chosen; absent for the app's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_hours: Option<QuietTime>,
    /// At most so many messages; absent for no limit of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency: Option<Cap>,
    /// Nothing before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_until: Option<Time>,
    /// What the topics are called, and which of them are fixed.
    catalogue: Vec<TopicOut>,
}

/// A topic.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Topic)]
pub struct TopicOut {
    key: String,
    /// For people.
    name: String,
    /// Whether it is on for those who said nothing.
    default_on: bool,
    /// Whether it carries service messages and cannot be switched off.
    critical: bool,
    created_at: Time,
}

impl From<Topic> for TopicOut {
    fn from(topic: Topic) -> Self {
        let Topic { key, name, default_on, critical, created_ms } = topic;
        Self { key, name, default_on, critical, created_at: Time(created_ms) }
    }
}

fn answer(topics: Topics, chosen: Preferences) -> HttpResponse {
    let on = |key: &String| topics.on(key, &chosen).map(|on| (key.clone(), on));
    let every = [Channel::Push, Channel::Email, Channel::Sms, Channel::InApp];
    let out = PreferencesOut {
        topics: topics.0.keys().filter_map(on).collect(),
        channels: every.into_iter().map(|channel| (channel, chosen.channel_on(channel))).collect(),
        quiet_hours: chosen.quiet_hours,
        frequency: chosen.frequency,
        pause_until: chosen.pause_until_ms.map(Time),
        catalogue: topics.0.into_values().map(TopicOut::from).collect(),
    };
    HttpResponse::Ok().insert_header(etag(chosen.revision)).json(out)
}

async fn shown(platform: &Platform, app: AppId, user: UserId) -> Result<HttpResponse> {
    let found = platform.store.read(move |conn| Ok((profile::topics(conn, app)?, profile::person(conn, app, user)?))).await?;
    Ok(answer(found.0, found.1.preferences))
}

async fn changed(platform: &Platform, app: AppId, who: (UserId, IfMatch), patch: PreferencesPatch) -> Result<HttpResponse> {
    let done = platform.store.write(move |conn| {
        let chosen = profile::prefer(conn, app, (who.0, &who.1), patch)?;
        Ok((profile::topics(conn, app)?, chosen))
    });
    let (topics, chosen) = done.await?;
    Ok(answer(topics, chosen))
}

/// Reads one's own preferences.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me/preferences", tag = "me", security(("user_token" = [])),
    responses((status = 200, body = PreferencesOut, headers(("ETag" = String))), (status = 401, body = ProblemBody)))]
pub async fn read(caller: UserToken, platform: web::Data<Platform>) -> Result<HttpResponse> {
    shown(&platform, caller.app_id, caller.user_id).await
}

/// Changes one's own preferences: only what the change names.
///
/// # Errors
/// 400, 401, 412.
#[utoipa::path(patch, path = "/v1/me/preferences", tag = "me", request_body = PreferencesPatch, security(("user_token" = [])),
    params(("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = PreferencesOut, headers(("ETag" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: UserToken,
    platform: web::Data<Platform>,
    if_match: IfMatch,
    body: Body<PreferencesPatch>,
) -> Result<HttpResponse> {
    changed(&platform, caller.app_id, (caller.user_id, if_match), body.0).await
}

/// Reads a user's preferences.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/preferences", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = PreferencesOut, headers(("ETag" = String))), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read_of_user(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::UsersRead)?;
    shown(&platform, caller.app_id, user_id(&path)?).await
}

/// Changes a user's preferences: only what the change names.
///
/// # Errors
/// 400, 401, 403, 404, 412.
#[utoipa::path(patch, path = "/v1/users/{id}/preferences", tag = "users", request_body = PreferencesPatch, security(("server_key" = [])),
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = PreferencesOut, headers(("ETag" = String))), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch_of_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    if_match: IfMatch,
    body: Body<PreferencesPatch>,
) -> Result<HttpResponse> {
    caller.need(Scope::UsersWrite)?;
    changed(&platform, caller.app_id, (user_id(&path)?, if_match), body.0).await
}
