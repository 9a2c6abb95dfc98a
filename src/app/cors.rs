//! Cross-origin calls: an app's web pages may read the answers to that app's callers, and no others.
//!
//! A preflight carries no key, so it is allowed for every origin that some app lists; it does nothing. The answer
//! itself is shown to an origin only if the app that the caller turned out to belong to lists it. A refusal that found
//! no app (an expired token, say) holds nothing private and is shown to every listed origin.

use super::http::settings::APPS_TOPIC;
use super::passkeys::Passkeys;
use super::store;
use crate::clock::MINUTE_MS;
use crate::error::{Error, Problem, Result};
use crate::http::CallerApp;
use crate::id::AppId;
use crate::platform::Platform;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpResponse, ResponseError as _, web};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What a page may send.
const HEADERS_IN: &str = "authorization, content-type, x-kairos-key, x-kairos-app, if-match, idempotency-key, x-request-id";
/// What a page may read.
const HEADERS_OUT: &str = "etag, retry-after, ratelimit, ratelimit-policy, x-request-id";
/// How long a browser may remember a preflight, in seconds.
const PREFLIGHT_S: &str = "600";
/// How long the origins are believed without asking the database, in milliseconds.
const BELIEVED_MS: i64 = MINUTE_MS;

/// What the settings of all apps say of the web; cheap to clone.
#[derive(Clone)]
pub struct Origins(Arc<Inner>);

struct Inner {
    platform: Platform,
    listed: RwLock<Listed>,
    /// When they were read; negative: never, or they have changed since.
    read_ms: AtomicI64,
}

#[derive(Default)]
struct Listed {
    /// Which apps list which origins.
    origins: HashMap<String, HashSet<AppId>>,
    /// Whose passkeys are bound to which domain.
    passkeys: HashMap<String, Vec<(AppId, Passkeys)>>,
}

impl Origins {
    /// Reads nothing yet; listens for changes.
    pub fn open(platform: &Platform) -> Self {
        let inner = Inner { platform: platform.clone(), listed: RwLock::default(), read_ms: AtomicI64::new(-1) };
        let origins = Self(Arc::new(inner));
        let weak = Arc::downgrade(&origins.0);
        platform.cache.subscribe(APPS_TOPIC, move |_| {
            if let Some(inner) = weak.upgrade() {
                inner.read_ms.store(-1, Ordering::SeqCst);
            }
        });
        origins
    }

    /// Whether this app lists the origin; without an app, whether any does.
    async fn lists(&self, origin: &str, app: Option<AppId>) -> Result<bool> {
        self.refresh().await?;
        let listed = self.0.listed.read().unwrap_or_else(PoisonError::into_inner);
        Ok(listed.origins.get(origin).is_some_and(|listing| app.is_none_or(|app| listing.contains(&app))))
    }

    /// The settings of the passkeys that are bound to a domain.
    pub(super) async fn passkeys(&self, domain: &str) -> Result<Vec<Passkeys>> {
        self.refresh().await?;
        let listed = self.0.listed.read().unwrap_or_else(PoisonError::into_inner);
        Ok(listed.passkeys.get(domain).into_iter().flatten().map(|(_, passkeys)| passkeys.clone()).collect())
    }

    /// The programs of every app, when this is the domain to which the links in its mails lead.
    pub(super) async fn linked(&self, domain: &str) -> Result<Vec<(AppId, Passkeys)>> {
        let own = self.0.platform.config.public_url.parse::<actix_web::http::Uri>().ok();
        if own.as_ref().and_then(|uri| uri.host()).is_none_or(|own| !own.eq_ignore_ascii_case(domain)) {
            return Ok(Vec::new());
        }
        self.refresh().await?;
        let listed = self.0.listed.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = listed.passkeys.values().flatten().cloned().collect();
        all.sort_by_key(|(app, _)| *app);
        Ok(all)
    }

    async fn refresh(&self) -> Result<()> {
        let inner = &self.0;
        let (now_ms, read_ms) = (inner.platform.clock.now_ms(), inner.read_ms.load(Ordering::SeqCst));
        if read_ms >= 0 && (0..BELIEVED_MS).contains(&(now_ms - read_ms)) {
            return Ok(());
        }
        // Marked before the look, so that a change during it is not lost.
        inner.read_ms.store(now_ms, Ordering::SeqCst);
        let rows =
            inner.platform.store.read(store::all_settings).await.inspect_err(|_| inner.read_ms.store(-1, Ordering::SeqCst))?;
        let mut listed = Listed::default();
        for (app, settings) in rows {
            for origin in settings.0.cors_origins {
                listed.origins.entry(origin).or_default().insert(app);
            }
            if let Some(passkeys) = settings.0.passkeys {
                listed.passkeys.entry(passkeys.rp_id.clone()).or_default().push((app, passkeys));
            }
        }
        *inner.listed.write().unwrap_or_else(PoisonError::into_inner) = listed;
        Ok(())
    }
}

/// The middleware; requests without an `Origin` pass untouched.
///
/// # Errors
/// What is below it says.
pub async fn cors<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let origin = request.headers().get(ORIGIN).cloned();
    let origins = request.app_data::<web::Data<Origins>>().cloned();
    let (Some(origin), Some(origins)) = (origin, origins) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let name = origin.to_str().unwrap_or("").to_owned();
    if request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        let answer = match origins.lists(&name, None).await {
            Ok(true) => preflight(&origin),
            Ok(false) => Error::from(Problem::new(403, "origin_not_allowed", "No app lists this origin.")).error_response(),
            Err(error) => error.error_response(),
        };
        return Ok(request.into_response(answer).map_into_right_body());
    }
    let mut response = next.call(request).await?;
    let app = response.request().extensions().get::<CallerApp>().map(|caller| caller.0);
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    // An answer must not get lost because the origins cannot be read: then the page does not see it, that is all.
    if origins.lists(&name, app).await.unwrap_or(false) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(HEADERS_OUT));
    }
    Ok(response.map_into_left_body())
}

fn preflight(origin: &HeaderValue) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, HEADERS_IN))
        .insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S))
        .insert_header((VARY, "Origin"))
        .finish()
}
