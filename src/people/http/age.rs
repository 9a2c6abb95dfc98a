//! `/v1/me/age` and `/v1/users/{id}/age`: whether a user may consent for themselves, where the app asks.

use super::user_id;
use crate::app::{BackOffice, Scope, check_jurisdiction, settings};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::id::{AppId, UserId};
use crate::people::account::UserToken;
use crate::people::consent::{self, Age, Gate, Source, Stated};
use crate::people::profile::{self, quiet};
use crate::platform::Platform;
use crate::platform::fence::Whose;
use crate::store::Conn;
use actix_web::web;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A birth date. It is not kept: only from when on its bearer is of age.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgeIn {
    #[schema(example = "1990-05-17", pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    birth_date: String,
    /// Where they live: a country (`DE`) or a part of one (`US-CA`); left out for the app's.
    jurisdiction: Option<String>,
}

/// How a user stands with the app's age gate.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Age)]
pub struct AgeOut {
    /// Whether the app asks.
    asked: bool,
    /// From which age on people consent for themselves there, in years.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_years: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jurisdiction: Option<String>,
    /// Whether they are of that age; absent when they have not said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_age: Option<bool>,
    /// From when on they will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_age_at: Option<Time>,
}

fn answer(gate: Option<Gate>, of_app: Option<String>, now_ms: i64) -> AgeOut {
    let Some(gate) = gate else {
        return AgeOut { asked: false, minimum_years: None, jurisdiction: None, of_age: None, of_age_at: None };
    };
    let age = gate.age();
    let jurisdiction = gate.stated.and_then(|said| said.jurisdiction).or(of_app);
    let (of_age, of_age_at) = match age {
        Age::From(at_ms) if at_ms > now_ms => (Some(false), Some(Time(at_ms))),
        Age::From(_) => (Some(true), None),
        Age::NotAsked | Age::Unstated => (None, None),
    };
    AgeOut { asked: true, minimum_years: Some(gate.gate.minimum(jurisdiction.as_deref())), jurisdiction, of_age, of_age_at }
}

async fn shown(platform: &Platform, app: AppId, user: UserId) -> Result<web::Json<AgeOut>> {
    let found = platform.store.read(move |conn| {
        profile::person(conn, app, user)?;
        Ok((consent::gate(conn, app, user)?, settings(conn, app)?.jurisdiction))
    });
    let (gate, of_app) = found.await?;
    Ok(web::Json(answer(gate, of_app, platform.clock.now_ms())))
}

async fn stated(platform: &Platform, app: AppId, (user, source): (UserId, Source), body: AgeIn) -> Result<web::Json<AgeOut>> {
    let unreadable = || Error::invalid("birth_date", "invalid", "expected a date of the past such as 1990-05-17");
    let birth: Date =
        if body.birth_date.len() == 10 { body.birth_date.parse().map_err(|_| unreadable())? } else { return Err(unreadable()) };
    body.jurisdiction.as_deref().map_or(Ok(()), |code| check_jurisdiction("jurisdiction", code))?;
    let now_ms = platform.clock.now_ms();
    let write = move |conn: &mut Conn| {
        profile::person(conn, app, user)?;
        let settings = settings(conn, app)?;
        let jurisdiction = body.jurisdiction.or_else(|| settings.jurisdiction.clone());
        let minimum_years = settings.age_gate.as_ref().map_or(0, |gate| gate.minimum(jurisdiction.as_deref()));
        let zone = quiet::zone([settings.time_zone.as_str()]);
        let of_age_ms = consent::of_age_ms(birth, minimum_years, &zone, now_ms).ok_or_else(unreadable)?;
        // Of those who are of age nothing more is kept than that they are.
        let stated = Stated { jurisdiction, minimum_years, of_age_ms: of_age_ms.max(now_ms), stated_ms: now_ms };
        let gate = consent::state_age(conn, (app, user), stated, source)?;
        Ok(((gate, settings.jurisdiction), Whose::Users(vec![user])))
    };
    let (gate, of_app) = platform.write_and_fence(app, write, |_| ()).await?;
    Ok(web::Json(answer(Some(gate), of_app, now_ms)))
}

/// Shows whether the app asks for one's age, and how one stands.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me/age", tag = "me", security(("user_token" = [])),
    responses((status = 200, body = AgeOut), (status = 401, body = ProblemBody)))]
pub async fn read(caller: UserToken, platform: web::Data<Platform>) -> Result<web::Json<AgeOut>> {
    shown(&platform, caller.app_id, caller.user_id).await
}

/// States one's age, once: another answer later is for the app's server to give.
///
/// # Errors
/// 400, 401, 409 `no_age_gate` or `age_stated`.
#[utoipa::path(post, path = "/v1/me/age", tag = "me", request_body = AgeIn, security(("user_token" = [])),
    responses((status = 200, body = AgeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn state(caller: UserToken, platform: web::Data<Platform>, body: Body<AgeIn>) -> Result<web::Json<AgeOut>> {
    stated(&platform, caller.app_id, (caller.user_id, Source::User), body.0).await
}

/// Shows how a user stands with the app's age gate.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/users/{id}/age", tag = "users", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = AgeOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read_of_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
) -> Result<web::Json<AgeOut>> {
    caller.need(Scope::UsersRead)?;
    shown(&platform, caller.app_id, user_id(&path)?).await
}

/// States a user's age, also against what was said before.
///
/// # Errors
/// 400, 401, 403, 404, 409 `no_age_gate`.
#[utoipa::path(post, path = "/v1/users/{id}/age", tag = "users", params(("id" = String, Path)), request_body = AgeIn, security(("server_key" = [])),
    responses((status = 200, body = AgeOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn state_for_user(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<AgeIn>,
) -> Result<web::Json<AgeOut>> {
    caller.need(Scope::UsersWrite)?;
    stated(&platform, caller.app_id, (user_id(&path)?, Source::from(caller.who)), body.0).await
}
