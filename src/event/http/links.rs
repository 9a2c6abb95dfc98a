//! `/v1/things/{id}/links`: which users a thing concerns, and when.

use super::things::find;
use crate::app::{BackOffice, Scope};
use crate::clock::Time;
use crate::error::{Error, Result};
use crate::event::item::Subject;
use crate::event::store::{self, Link, LinkPage};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query, check_text, given};
use crate::id::{AppId, LinkId, PartnerId, ThingId, UserId};
use crate::people::consent;
use crate::people::profile;
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// A link of a thing to a user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Link)]
pub struct LinkOut {
    id: LinkId,
    thing_id: ThingId,
    user_id: UserId,
    kind: String,
    /// The partner that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<PartnerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<Time>,
    created_at: Time,
}

/// A link to make; the one of this user and kind gets these times when there is one.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkIn {
    /// `usr_…` or `user:<external id>`.
    #[schema(max_length = 205)]
    user: String,
    /// What ties them, e.g. `boarding`; `booking` when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    kind: Option<String>,
    /// From when it counts; always when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    starts_at: Option<Time>,
    /// Until when it counts, that instant not included; for ever when left out.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    ends_at: Option<Time>,
    /// The partner that made it: then it counts only under the user's consent `partner_events` for that partner.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    partner_id: Option<PartnerId>,
}

impl From<Link> for LinkOut {
    fn from(link: Link) -> Self {
        Self {
            id: link.id,
            thing_id: link.thing_id,
            user_id: link.user_id,
            kind: link.kind,
            partner_id: link.partner_id,
            starts_at: link.starts_ms.map(Time),
            ends_at: link.ends_ms.map(Time),
            created_at: Time(link.created_ms),
        }
    }
}

/// Links a thing to a user.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(post, path = "/v1/things/{id}/links", tag = "things", params(("id" = String, Path)), request_body = LinkIn,
    security(("server_key" = [])),
    responses((status = 200, body = LinkOut), (status = 201, body = LinkOut), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn create(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    body: Body<LinkIn>,
) -> Result<HttpResponse> {
    caller.need(Scope::ThingsWrite)?;
    let Body(LinkIn { user, kind, starts_at, ends_at, partner_id }) = body;
    let kind = kind.unwrap_or_else(|| "booking".to_owned());
    check_text("kind", &kind, 100)?;
    if starts_at.zip(ends_at).is_some_and(|(from, to)| from >= to) {
        return Err(Error::invalid("ends_at", "out_of_range", "must be later than starts_at"));
    }
    let subject = Subject::parse(&user).map_err(|_| no_user("invalid"))?;
    let (app, id, created_ms) = (caller.app_id, platform.ids.next(), platform.clock.now_ms());
    let made = platform.store.write(move |conn| {
        let thing_id = find(conn, app, &path)?.id;
        let user_id = user_of(conn, app, &subject)?;
        if let Some(partner) = partner_id
            && !consent::has_partner(conn, app, partner)?
        {
            return Err(Error::invalid("partner_id", "unknown", "this app has no such partner"));
        }
        let (starts_ms, ends_ms) = (starts_at.map(|t| t.0), ends_at.map(|t| t.0));
        store::put_link(conn, app, &Link { id, thing_id, user_id, partner_id, kind, starts_ms, ends_ms, created_ms })
    });
    let (link, new) = made.await?;
    let mut answer = if new { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(answer.json(LinkOut::from(link)))
}

fn no_user(code: &'static str) -> Error {
    Error::invalid("user", code, "expected usr_… or user:<external id> of a user of this app")
}

fn user_of(conn: &mut Conn, app: AppId, subject: &Subject) -> Result<UserId> {
    let found = match subject {
        Subject::User(id) => store::users(conn, app, &[*id])?.into_iter().next(),
        Subject::External(id) => profile::resolve_external(conn, app, std::slice::from_ref(id))?.remove(id),
        Subject::Device(_) | Subject::Thing(_) | Subject::Key(_) => return Err(no_user("invalid")),
    };
    found.ok_or_else(|| no_user("unknown"))
}

/// Lists a thing's links.
///
/// # Errors
/// 400, 401, 403, 404.
#[utoipa::path(get, path = "/v1/things/{id}/links", tag = "things", params(("id" = String, Path), PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<LinkOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn list(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<String>,
    page: Query<PageQuery>,
) -> Result<web::Json<Page<LinkOut>>> {
    caller.need(Scope::ThingsRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| {
        let thing = find(conn, caller.app_id, &path)?.id;
        store::link_page(conn, caller.app_id, &LinkPage { thing, after: &after, rows })
    });
    Ok(web::Json(page.0.page(found.await?, |link| link.id.to_string(), LinkOut::from)?))
}

/// Ends a link at once.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/things/{id}/links/{link}", tag = "things", params(("id" = String, Path), ("link" = String, Path)),
    security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::ThingsWrite)?;
    let (thing, link) = path.into_inner();
    let link: LinkId = link.parse().map_err(|_| Error::not_found("link"))?;
    let gone = platform.store.write(move |conn| {
        let thing = find(conn, caller.app_id, &thing)?.id;
        if store::delete_link(conn, caller.app_id, thing, link)? { Ok(()) } else { Err(Error::not_found("link")) }
    });
    gone.await?;
    Ok(HttpResponse::NoContent().finish())
}
