//! `/v1/me/next-question`: the one question worth asking the user now, and passing it over.

use crate::error::{Error, Result};
use crate::http::{Body, ProblemBody};
use crate::moment::question::{self, Question, Questions};
use crate::people::account::UserToken;
use crate::people::profile::AttributeKind;
use crate::platform::Platform;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A question to the user. The answer is a `PATCH /v1/me` that writes the attribute.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Question)]
pub struct QuestionOut {
    /// The attribute to write.
    attribute: String,
    /// The type of its value.
    kind: AttributeKind,
    /// The text, in the user's language if there is one.
    question: String,
    /// The only answers, or the items of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    options: Option<Vec<Value>>,
    /// What the answer decides.
    reason: String,
}

/// A question that the user does not want to answer now.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipIn {
    /// The attribute that was asked for.
    attribute: String,
}

impl QuestionOut {
    fn of(question: Question) -> Result<Self> {
        let Question { attribute, worth, locales } = question;
        let locales: Vec<&str> = locales.iter().map(String::as_str).collect();
        let text = attribute.question_in(&locales).ok_or_else(|| Error::broken("a question without words"))?.to_owned();
        let reason = format!(
            "Offers that depend on the answer: {}. Withheld from you lately for want of it: {}.",
            worth.offers, worth.mine
        );
        Ok(Self { attribute: attribute.key, kind: attribute.kind, question: text, options: attribute.options, reason })
    }
}

/// The one question worth asking now. It stays the same until it is answered or passed over, or the app's
/// `question_cool_down_ms` has gone by; nothing when there is none.
///
/// # Errors
/// 401.
#[utoipa::path(get, path = "/v1/me/next-question", tag = "me", security(("user_token" = [])),
    responses((status = 200, body = QuestionOut), (status = 204, description = "Nothing is worth asking now."),
        (status = 401, body = ProblemBody)))]
pub async fn next(caller: UserToken, platform: web::Data<Platform>, questions: web::Data<Questions>) -> Result<HttpResponse> {
    let (who, now_ms) = ((caller.app_id, caller.user_id), platform.clock.now_ms());
    let reader = questions.clone();
    let found = match platform.store.read(move |conn| reader.next(conn, who, now_ms)).await? {
        // Who acts as the user asks them nothing.
        Some((_, true)) if !caller.acting => {
            platform.store.write(move |conn| question::ask(&questions, conn, who, now_ms)).await?
        }
        found => found.map(|(question, _)| question),
    };
    Ok(match found {
        Some(question) => HttpResponse::Ok().json(QuestionOut::of(question)?),
        None => HttpResponse::NoContent().finish(),
    })
}

/// Passes over the question: it is not asked again for the app's `question_skip_ms`, and never after three times. Said
/// again, it changes nothing.
///
/// # Errors
/// 400, 401.
#[utoipa::path(post, path = "/v1/me/next-question/skip", tag = "me", request_body = SkipIn, security(("user_token" = [])),
    responses((status = 204), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub async fn skip(caller: UserToken, platform: web::Data<Platform>, body: Body<SkipIn>) -> Result<HttpResponse> {
    let (who, now_ms) = ((caller.app_id, caller.user_id), platform.clock.now_ms());
    let Body(SkipIn { attribute }) = body;
    platform.store.write(move |conn| question::skip(conn, who, &attribute, now_ms)).await?;
    Ok(HttpResponse::NoContent().finish())
}
