//! Extractors: a handler's signature says which key may call it.

use super::key::{Key, KeyKind, Mode};
use super::keys::{Keys, missing};
use super::quota::count;
use super::scope::{Scope, Scopes};
use crate::error::{Error, Problem, Result};
use crate::http::CallerApp;
use crate::id::{AppId, KeyId, PartnerId};
use crate::planted::{Bug, planted_first};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::LocalBoxFuture;

/// The app on the phone: `X-Kairos-Key: pk_…`, or the key as the user name of HTTP Basic.
#[derive(Debug, Clone, Copy)]
pub struct PublishableKey {
    /// The tenant.
    pub app_id: AppId,
    /// The key.
    pub key_id: KeyId,
    /// Live or test.
    pub mode: Mode,
}

/// The app's own servers: `Authorization: Bearer sk_…`.
#[derive(Debug, Clone)]
pub struct ServerKey {
    /// The tenant.
    pub app_id: AppId,
    /// The key.
    pub key_id: KeyId,
    /// Live or test.
    pub mode: Mode,
    /// What it may do.
    pub scopes: Scopes,
    pub(super) key: Key,
}

/// Another business: `Authorization: Bearer pt_…`.
#[derive(Debug, Clone, Copy)]
pub struct PartnerKey {
    /// The tenant.
    pub app_id: AppId,
    /// The key.
    pub key_id: KeyId,
    /// Whose key it is.
    pub partner_id: PartnerId,
    /// Live or test.
    pub mode: Mode,
}

impl ServerKey {
    /// Refuses a key without this scope.
    ///
    /// # Errors
    /// 403 `missing_scope`.
    pub fn need(&self, scope: Scope) -> Result<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::new(403, "missing_scope", format!("This key lacks the scope {}.", scope.name())).into())
    }
}

impl ServerKey {
    /// Refuses what this key may not hand on to a key that it makes.
    ///
    /// # Errors
    /// 403 that names the field.
    pub fn may_mint(&self, wanted: &super::Mint) -> Result<()> {
        self.key.may_mint(wanted)
    }
}

impl FromRequest for PublishableKey {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        verified(request, KeyKind::Publishable, publishable(request.headers()), |key| {
            Ok(Self { app_id: key.app_id, key_id: key.id, mode: key.mode })
        })
    }
}

impl FromRequest for ServerKey {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        verified(request, KeyKind::Server, bearer(request.headers()), |key| {
            let app_id = planted_first(Bug::ForeignApp, key.app_id);
            Ok(Self { app_id, key_id: key.id, mode: key.mode, scopes: key.scopes.clone(), key: key.clone() })
        })
    }
}

impl FromRequest for PartnerKey {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        verified(request, KeyKind::Partner, bearer(request.headers()), |key| {
            let partner_id = key.partner_id.ok_or_else(|| Error::broken("a partner key without a partner"))?;
            Ok(Self { app_id: key.app_id, key_id: key.id, partner_id, mode: key.mode })
        })
    }
}

fn verified<T: 'static>(
    request: &HttpRequest,
    kind: KeyKind,
    text: Option<String>,
    caller: fn(&Key) -> Result<T>,
) -> LocalBoxFuture<'static, Result<T>> {
    let request = request.clone();
    Box::pin(async move {
        let keys =
            request.app_data::<web::Data<Keys>>().ok_or_else(|| Error::broken("the server was started without its keys"))?;
        let found = keys.verify(kind, &text.ok_or_else(missing)?).await?;
        request.extensions_mut().insert(CallerApp(found.key.app_id));
        count(&request, found.key.id.uuid()).await?;
        caller(&found.key)
    })
}

/// What follows `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    credentials(headers, "bearer").map(str::to_owned)
}

/// The publishable key: in its own header, else the user name of HTTP Basic.
fn publishable(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get("X-Kairos-Key") {
        return value.to_str().ok().map(|text| text.trim().to_owned());
    }
    let decoded = STANDARD.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split(':').next().map(str::to_owned)
}

fn credentials<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| rest.trim())
}
