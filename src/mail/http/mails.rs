//! `/v1/mails`: that there was a mail and what became of it, never what it says.

use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::http::{Page, PageQuery, ProblemBody, Query};
use crate::id::{MailId, UserId};
use crate::mail::{Entry, Name, State, store};
use crate::platform::Platform;
use actix_web::web;
use serde::{Deserialize, Serialize};

/// Which mails to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MailQuery {
    /// Only those about this user.
    user: Option<String>,
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A mail to an account holder, without its contents: whoever could read codes and links could take accounts over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Mail)]
pub struct MailOut {
    id: MailId,
    /// Whose account it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[schema(value_type = Name)]
    template: String,
    /// The locale of its words.
    locale: String,
    #[schema(value_type = State)]
    state: String,
    /// Why it failed, or why it has not been sent yet, e.g. `smtp 550 5.1.1`, `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempts: i64,
    created_at: Time,
    /// It is not sent at or after this.
    useful_until: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Time>,
}

impl From<Entry> for MailOut {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id,
            user_id: entry.user_id,
            template: entry.template,
            locale: entry.locale,
            state: entry.state,
            reason: entry.reason,
            attempts: entry.attempts,
            created_at: Time(entry.created_ms),
            useful_until: Time(entry.useful_until_ms),
            ended_at: entry.ended_ms.map(Time),
        }
    }
}

/// Lists the mails of the last 30 days, the oldest first.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/mails", tag = "mails", params(MailQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<MailOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    query: Query<MailQuery>,
) -> Result<web::Json<Page<MailOut>>> {
    caller.need(Scope::UsersRead)?;
    let Query(MailQuery { user, limit, cursor }) = query;
    let page = PageQuery { limit, cursor };
    let user = user.map(|text| text.parse::<UserId>().map_err(|e| e.at("user"))).transpose()?;
    let (rows, after) = (page.rows()?, page.after().to_owned());
    let found = platform.store.read(move |conn| store::entries(conn, caller.app_id, user, (&after, rows))).await?;
    Ok(web::Json(page.page(found, |entry| entry.id.to_string(), MailOut::from)?))
}

/// Reads what became of one mail.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/mails/{id}", tag = "mails", params(("id" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = MailOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>, path: web::Path<String>) -> Result<web::Json<MailOut>> {
    caller.need(Scope::UsersRead)?;
    let id: MailId = path.parse().map_err(|_| Error::not_found("mail"))?;
    let entry = platform.store.read(move |conn| store::entry(conn, caller.app_id, id)).await?;
    Ok(web::Json(entry.into()))
}
