//! `POST /v1/auth/apple/notifications`: what Apple tells us of users who have signed in with it.

use crate::error::Result;
use crate::http::{Body, ProblemBody};
use crate::people::account::access::Accounts;
use crate::people::account::federation::Federation;
use crate::people::account::federation::provider::APPLE;
use crate::store::Conn;
use actix_web::{HttpResponse, web};
use serde::Deserialize;

/// A notice, signed by Apple.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AppleNotice)]
pub struct NoticeIn {
    /// A JWS in compact form.
    #[schema(max_length = 8192)]
    payload: String,
}

/// Takes a notice of Apple's: set this URL as the server-to-server notification endpoint at Apple. A notice that comes
/// again has no second effect.
///
/// # Errors
/// 400, 401 `invalid_id_token` when it is not Apple's or for none of our apps, 503.
#[utoipa::path(post, path = "/v1/auth/apple/notifications", tag = "auth", request_body = NoticeIn,
    responses((status = 200), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub async fn apple(
    accounts: web::Data<Accounts>,
    federation: web::Data<Federation>,
    body: Body<NoticeIn>,
) -> Result<HttpResponse> {
    let (notice, concerned) = federation.notice(&body.0.payload).await?;
    let now_ms = accounts.platform().clock.now_ms();
    for provider in concerned {
        let (app_id, notice) = (provider.app_id, notice.clone());
        let write = move |conn: &mut Conn| Ok(((), notice.heed(conn, (app_id, APPLE), now_ms)?));
        accounts.write(app_id, write).await?;
    }
    Ok(HttpResponse::Ok().finish())
}
