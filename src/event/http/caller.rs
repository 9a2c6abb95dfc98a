//! Who may send events: the app on a phone, a signed-in user, the app's servers, a partner.

use crate::app::{BackOffice, Mode, PartnerKey, PublishableKey, Scope, bearer};
use crate::error::{Error, Result};
use crate::event::item::Subject;
use crate::event::log::Sender;
use crate::id::AppId;
use crate::people::account::UserToken;
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use futures_util::future::LocalBoxFuture;

/// Any caller that may send events.
#[derive(Debug, Clone, Copy)]
pub struct EventCaller {
    /// The tenant.
    pub app_id: AppId,
    /// Who it is to the log.
    pub sender: Sender,
    /// Whether the credential is a live or a test one.
    pub mode: Mode,
}

impl EventCaller {
    /// Whom an event without a subject is about.
    pub(super) fn subject(&self) -> Option<Subject> {
        match self.sender {
            Sender::User(id) => Some(Subject::User(id)),
            Sender::Installation | Sender::Server | Sender::Partner(_) => None,
        }
    }
}

impl FromRequest for EventCaller {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let token = bearer(request.headers()).unwrap_or_default();
        if token.starts_with("sk_") || token.starts_with("op_") {
            let key = BackOffice::from_request(request, payload);
            return Box::pin(async move {
                let key = key.await?;
                key.need(Scope::EventsWrite)?;
                Ok(Self { app_id: key.app_id, sender: Sender::Server, mode: key.mode })
            });
        }
        if token.starts_with("pt_") {
            let key = PartnerKey::from_request(request, payload);
            return Box::pin(async move {
                key.await.map(|k| Self { app_id: k.app_id, sender: Sender::Partner(k.partner_id), mode: k.mode })
            });
        }
        if token.is_empty() {
            let key = PublishableKey::from_request(request, payload);
            return Box::pin(
                async move { key.await.map(|k| Self { app_id: k.app_id, sender: Sender::Installation, mode: k.mode }) },
            );
        }
        let user = UserToken::from_request(request, payload);
        Box::pin(async move { user.await.map(|u| Self { app_id: u.app_id, sender: Sender::User(u.user_id), mode: u.mode }) })
    }
}
