//! Extractors: a handler's signature says who may call it.

use super::key::{Key, KeyKind, Mode, may_mint};
use super::keys::{Keys, missing};
use super::operator::{Role, begin_as_operator, is_operator_token};
use super::quota::count;
use super::scope::{Scope, Scopes};
use crate::audit::{self, Act, Actor};
use crate::error::{Error, Problem, Result};
use crate::http::CallerApp;
use crate::id::{AppId, KeyId, OperatorId, PartnerId};
use crate::planted::{Bug, planted, planted_first};
use crate::platform::Platform;
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

/// The app's own back office: its servers (`Authorization: Bearer sk_…`), or an operator (`Bearer op_…` with
/// `X-Kairos-App`).
#[derive(Debug, Clone)]
pub struct BackOffice {
    /// The tenant.
    pub app_id: AppId,
    /// Which of them.
    pub who: Who,
    /// Live or test; an operator acts live.
    pub mode: Mode,
    /// What the key or the role may do.
    pub scopes: Scopes,
    /// When a key ends.
    expires_ms: Option<i64>,
}

/// Who it is in the back office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A server with this key.
    Key(KeyId),
    /// A person.
    Operator(OperatorId),
}

impl From<Who> for Actor {
    fn from(who: Who) -> Self {
        match who {
            Who::Key(id) => Self::Key(id),
            Who::Operator(id) => Self::Operator(id),
        }
    }
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

impl BackOffice {
    /// Refuses a key or a role without this scope.
    ///
    /// # Errors
    /// 403 `missing_scope`.
    pub fn need(&self, scope: Scope) -> Result<()> {
        if self.scopes.contains(&scope) || planted(Bug::NoScopeCheck) {
            return Ok(());
        }
        metrics::counter!("kairos_missing_scope_total", "scope" => scope.name()).increment(1);
        let what = match self.who {
            Who::Key(_) => "This key",
            Who::Operator(_) => "Your role",
        };
        Err(Problem::new(403, "missing_scope", format!("{what} lacks the scope {}.", scope.name())).into())
    }

    /// Refuses what this caller may not hand on to a key that it makes.
    ///
    /// # Errors
    /// 403 that names the field.
    pub fn may_mint(&self, wanted: &super::Mint) -> Result<()> {
        may_mint((&self.scopes, self.expires_ms, self.mode), wanted)
    }

    /// Refuses to give or take a role that may do more than this caller. An operator has no end and acts live, so a key
    /// that ends, or a test key, gives none.
    ///
    /// # Errors
    /// 403 that names `role`.
    pub fn may_appoint(&self, role: Role) -> Result<()> {
        let message = match role.scopes().difference(&self.scopes).next() {
            Some(scope) => format!("you lack {}, which {} has", scope.name(), role.name()),
            None if self.expires_ms.is_some() || self.mode == Mode::Test => {
                "a test key, or one that ends, has no operators".to_owned()
            }
            None => return Ok(()),
        };
        Err(Problem::new(403, "role_exceeds_caller", message.clone()).field("role", "forbidden", message).into())
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

impl FromRequest for BackOffice {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = bearer(request.headers());
        let request = request.clone();
        if is_operator_token(text.as_ref()) {
            return Box::pin(async move {
                let (token, app_id, role) = begin_as_operator(&request).await?;
                let who = Who::Operator(token.operator_id);
                acts(&request, app_id, who)?;
                Ok(Self { app_id, who, mode: Mode::Live, scopes: role.scopes(), expires_ms: None })
            });
        }
        let verified = verified(&request, KeyKind::Server, text, |key| {
            let app_id = planted_first(Bug::ForeignApp, key.app_id);
            let who = Who::Key(key.id);
            Ok(Self { app_id, who, mode: key.mode, scopes: key.scopes.clone(), expires_ms: key.expires_ms })
        });
        Box::pin(async move {
            let caller = verified.await?;
            acts(&request, caller.app_id, caller.who)?;
            Ok(caller)
        })
    }
}

/// Parameters of paths whose values are names that the app's makers chose; the values of others are only kept when they
/// are ids of ours: the audit log holds nothing personal.
const DECLARED: [&str; 7] = ["key", "type", "scope", "gateway", "template", "locale", "provider"];

/// Says to the audit log who makes the request.
fn acts(request: &HttpRequest, app_id: AppId, who: Who) -> Result<()> {
    let platform = request.app_data::<web::Data<Platform>>().ok_or_else(|| Error::broken("the server has no platform"))?;
    let objects = request.match_info().iter().filter(|(name, value)| DECLARED.contains(name) || is_id(value));
    audit::act(Act {
        app_id,
        actor: who.into(),
        method: request.method().as_str().to_owned(),
        route: request.match_pattern().unwrap_or_default(),
        objects: objects.map(|(_, value)| value.to_owned()).collect(),
        clock: platform.clock.clone(),
    });
    Ok(())
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

/// Whether a text is an id of ours: `xxx_` and 32 digits.
fn is_id(text: &str) -> bool {
    text.split_once('_')
        .is_some_and(|(kind, digits)| kind.len() == 3 && digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
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
