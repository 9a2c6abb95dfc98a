//! `/v1/mail-templates`: an app's own words in the place of the built-in ones, per template and locale.

use crate::app::{BackOffice, Scope, is_locale};
use crate::clock::Time;
use crate::error::{Error, Problem, Result};
use crate::http::{Body, Page, PageQuery, ProblemBody, Query};
use crate::mail::store::{self, Own};
use crate::mail::texts::{Text, canonical};
use crate::mail::{Name, render};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Most texts of one app.
const TEXTS_MAX: i64 = 500;

/// An app's own words for a mail.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = MailTemplate)]
pub struct TextOut {
    #[schema(value_type = Name)]
    template: String,
    locale: String,
    subject: String,
    text: String,
    created_at: Time,
    updated_at: Time,
}

/// Words for a mail. They may hold `{{ name }}`, `{% if name %}`, `{% if name == "word" %}`, `{% elif … %}`, `{% else %}` and
/// `{% endif %}`. Names: `app`, `at`; `code`, `link`, `minutes` where the reader has to prove something; `new_email`,
/// `factor` (`totp` or `passkey`), `until` (may be empty) where they fit. The HTML is made from the text.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailTemplateIn)]
pub struct TextIn {
    /// One line.
    #[schema(min_length = 1, max_length = 300, example = "{{ code }} is your code for {{ app }}")]
    subject: String,
    /// Plain text; a blank line begins a paragraph. Must hold `{{ code }}` or `{{ link }}` where the template has them.
    #[schema(min_length = 1, max_length = 10000)]
    text: String,
}

impl From<Own> for TextOut {
    fn from(own: Own) -> Self {
        Self {
            template: own.template,
            locale: own.locale,
            subject: own.subject,
            text: own.body,
            created_at: Time(own.created_ms),
            updated_at: Time(own.updated_ms),
        }
    }
}

/// Stores the app's own words for one template and locale, after trying them. They hold for the next mail.
///
/// # Errors
/// 400, 401, 403, 404, 409.
#[utoipa::path(put, path = "/v1/mail-templates/{template}/{locale}", tag = "mails",
    params(("template" = Name, Path), ("locale" = String, Path)), request_body = TextIn, security(("server_key" = [])),
    responses((status = 200, body = TextOut), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub async fn put(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
    body: Body<TextIn>,
) -> Result<web::Json<TextOut>> {
    caller.need(Scope::SchemaWrite)?;
    let name = name(&path.0)?;
    let locale = canonical(&path.1);
    if !is_locale(&locale) {
        return Err(Error::invalid("locale", "invalid", "expected a BCP 47 tag such as fr or fr-CH"));
    }
    let Body(TextIn { subject, text }) = body;
    let text = Text { subject, body: text.replace("\r\n", "\n") };
    render::check(name, &text)?;
    let (app, now_ms) = (caller.app_id, platform.clock.now_ms());
    let stored = platform.store.write(move |conn| {
        store::put_text(conn, app, (name, &locale, &text), now_ms)?;
        if store::count_texts(conn, app)? > TEXTS_MAX {
            return Err(Problem::new(409, "too_many", format!("An app has at most {TEXTS_MAX} mail templates.")).into());
        }
        store::text(conn, app, (name, &locale))
    });
    Ok(web::Json(stored.await?.into()))
}

/// Reads the app's own words for one template and locale.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(get, path = "/v1/mail-templates/{template}/{locale}", tag = "mails",
    params(("template" = Name, Path), ("locale" = String, Path)), security(("server_key" = [])),
    responses((status = 200, body = TextOut), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn read(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<web::Json<TextOut>> {
    caller.need(Scope::SchemaRead)?;
    let (name, locale) = (name(&path.0)?, canonical(&path.1));
    let found = platform.store.read(move |conn| store::text(conn, caller.app_id, (name, &locale))).await?;
    Ok(web::Json(found.into()))
}

/// Lists the app's own words, by template and locale.
///
/// # Errors
/// 400, 401, 403.
#[utoipa::path(get, path = "/v1/mail-templates", tag = "mails", params(PageQuery), security(("server_key" = [])),
    responses((status = 200, body = Page<TextOut>), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn list(caller: BackOffice, platform: web::Data<Platform>, page: Query<PageQuery>) -> Result<web::Json<Page<TextOut>>> {
    caller.need(Scope::SchemaRead)?;
    let (rows, after) = (page.0.rows()?, page.0.after().to_owned());
    let found = platform.store.read(move |conn| {
        let (template, locale) = after.split_once('/').unwrap_or((&after, ""));
        store::text_page(conn, caller.app_id, ((template, locale), rows))
    });
    Ok(web::Json(page.0.page(found.await?, |own| format!("{}/{}", own.template, own.locale), TextOut::from)?))
}

/// Forgets the app's own words for one template and locale: the next mail has the built-in ones, or those of another
/// locale.
///
/// # Errors
/// 401, 403, 404.
#[utoipa::path(delete, path = "/v1/mail-templates/{template}/{locale}", tag = "mails",
    params(("template" = Name, Path), ("locale" = String, Path)), security(("server_key" = [])),
    responses((status = 204), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub async fn delete(
    caller: BackOffice,
    platform: web::Data<Platform>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse> {
    caller.need(Scope::SchemaWrite)?;
    let (name, locale) = (name(&path.0)?, canonical(&path.1));
    let write = move |conn: &mut Conn| {
        let gone = store::delete_text(conn, caller.app_id, (name, &locale))?;
        if gone { Ok(()) } else { Err(Error::not_found("mail template")) }
    };
    platform.store.write(write).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn name(word: &str) -> Result<Name> {
    Name::parse(word).ok_or_else(|| Error::not_found("mail template"))
}
