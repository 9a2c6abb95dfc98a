//! `/v1/operators`: the people who run this app. Only owners, and keys with every right, change them.

use crate::app::caller::BackOffice;
use crate::app::operator::store::{self, OperatorRow, Post};
use crate::app::operator::{self, Newcomer, Role};
use crate::app::scope::Scope;
use crate::audit;
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, given};
use crate::id::OperatorId;
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// An operator, and what they are in this app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Operator)]
pub struct OperatorOut {
    id: OperatorId,
    email: String,
    name: String,
    role: Role,
    /// Whether they may do nothing in this app for now.
    disabled: bool,
    /// Whether they have a password and a second factor.
    active: bool,
    created_at: Time,
}

/// An invited operator, with the token to accept with, which is never shown again.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = InvitedOperator)]
pub struct InvitedOut {
    #[serde(flatten)]
    operator: OperatorOut,
    /// Hand it to them: it sets their password at `/v1/operators/accept`, once.
    invitation: String,
    invitation_expires_at: Time,
}

/// The operator to invite.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOperator)]
pub struct OperatorIn {
    #[schema(max_length = 254)]
    email: String,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// No more than the caller may do.
    role: Role,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OperatorPatch)]
pub struct OperatorPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    role: Option<Role>,
    /// Whether they may do nothing in this app for now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    disabled: Option<bool>,
}

impl From<(OperatorRow, Post)> for OperatorOut {
    fn from((row, post): (OperatorRow, Post)) -> Self {
        let active = row.is_active();
        let Post { app_id: _, role, disabled } = post;
        Self { id: row.id, email: row.email, name: row.name, role, disabled, active, created_at: Time(row.created_ms) }
    }
}

/// Invites an operator. An address that is an operator's already, here or in another app of this server, is refused.
///
/// # Errors
/// 400, 401, 403, 409 `operator_exists`.
#[utoipa::path(post, path = "/v1/operators", tag = "operators", request_body = OperatorIn, security(("server_key" = [])),
    responses((status = 201, body = InvitedOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn create(caller: BackOffice, platform: web::Data<Platform>, body: Body<OperatorIn>) -> Result<HttpResponse> {
    caller.need(Scope::OperatorsWrite)?;
    let OperatorIn { email, name, role } = body.0;
    caller.may_appoint(role)?;
    let (ids, now_ms, app_id) = (platform.ids.clone(), platform.clock.now_ms(), caller.app_id);
    let made = platform.store.write(move |conn| {
        let newcomer = Newcomer { app_id, role, email, name };
        let invited = operator::invite(conn, &ids, (now_ms, caller.who.into()), newcomer)?;
        audit::made(invited.id);
        audit::note("role", role.name());
        let row = store::operator(conn, invited.id)?;
        Ok((OperatorOut::from((row, Post { app_id, role, disabled: false })), invited.invitation))
    });
    let (operator, invitation) = made.await?;
    let invitation = invitation.ok_or_else(|| Error::broken("a new operator without an invitation"))?;
    let (token, expires_ms) = (invitation.token.expose().to_owned(), invitation.expires_ms);
    Ok(HttpResponse::Created().json(InvitedOut { operator, invitation: token, invitation_expires_at: Time(expires_ms) }))
}

/// Lists the app's operators, suspended ones included.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/operators", tag = "operators", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<OperatorOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<OperatorOut>>> {
    caller.need(Scope::OperatorsRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| store::page(conn, caller.app_id, (&after, rows))).await?;
    Ok(web::Json(page.0.page(found, |(row, _)| row.id.to_string(), OperatorOut::from)?))
}

/// Changes what an operator is in this app, or suspends them here; other apps are not concerned.
///
/// # Errors
/// 400, 401, 403, 404, 409 `last_owner`.
#[utoipa::path(patch, path = "/v1/operators/{id}", tag = "operators", params(("id" = String, Path)), request_body = OperatorPatch,
    security(("server_key" = [])),
    responses((status = 200, body = OperatorOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<OperatorPatch>,
) -> Result<web::Json<OperatorOut>> {
    caller.need(Scope::OperatorsWrite)?;
    let (id, app, now_ms) = (parse(&path)?, caller.app_id, platform.clock.now_ms());
    let OperatorPatch { role, disabled } = body.0;
    let changed = platform.store.write(move |conn| {
        operator::appoint(conn, app, (id, now_ms), (role, disabled), |role| caller.may_appoint(role))?;
        let post = store::post(conn, app, id)?.ok_or_else(no_one)?;
        audit::note("role", post.role.name());
        audit::note("disabled", post.disabled);
        Ok(OperatorOut::from((store::operator(conn, id)?, post)))
    });
    Ok(web::Json(changed.await?))
}

/// Ends every session of an operator of this app: they sign in anew.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/operators/{id}/sessions", tag = "operators", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn end_sessions(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<HttpResponse> {
    caller.need(Scope::OperatorsWrite)?;
    let id = parse(&path)?;
    let ended = platform.store.write(move |conn| {
        let post = store::post(conn, caller.app_id, id)?.ok_or_else(no_one)?;
        caller.may_appoint(post.role)?;
        store::end_sessions(conn, id)
    });
    ended.await?;
    Ok(HttpResponse::NoContent().finish())
}

fn no_one() -> Error {
    Error::not_found("operator")
}

fn parse(id: &str) -> Result<OperatorId> {
    id.parse().map_err(|_| no_one())
}
