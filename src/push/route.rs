//! A route: what is sent over one set of connections under one credential.

use super::message::{Gateway, NewMessage};
use crate::config::Config;
use crate::people::device::{Environment, web};
use std::borrow::Cow;
use std::sync::Arc;

/// Gateway, world and whether it is a test; for browsers, which of their push services.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Through which gateway.
    pub gateway: Gateway,
    /// In which of its worlds; Google and browsers have one only.
    pub environment: Environment,
    /// Whether it may go to the stand-in or sandbox only.
    pub test: bool,
    /// The push service of a browser: its host, and its port unless that is 443. None for Apple and Google.
    pub service: Option<Arc<str>>,
}

/// What stands before the push service.
const WEB: &str = "webpush:";
const WEB_TEST: &str = "webpush.test:";

impl Route {
    /// The route of a message under these settings.
    pub fn of(message: &NewMessage, config: &Config) -> Self {
        let NewMessage { gateway, test, .. } = *message;
        let (environment, service) = match gateway {
            // Without a stand-in, a test of Apple's gateway goes to its sandbox, whatever the device said.
            Gateway::Apns if test && config.apns_url.is_empty() => (Environment::Sandbox, None),
            Gateway::Apns => (message.environment, None),
            Gateway::Fcm => (Environment::Production, None),
            // A token that leads nowhere has a lane of its own, which finds no way.
            Gateway::WebPush => (Environment::Production, Some(web::authority(&message.token).unwrap_or("invalid").into())),
        };
        Self { gateway, environment, test, service }
    }

    /// The word in the database.
    pub fn word(&self) -> Cow<'static, str> {
        Cow::Borrowed(match (self.gateway, self.environment, self.test) {
            (Gateway::Apns, Environment::Production, false) => "apns.production",
            (Gateway::Apns, Environment::Production, true) => "apns.production.test",
            (Gateway::Apns, Environment::Sandbox, false) => "apns.sandbox",
            (Gateway::Apns, Environment::Sandbox, true) => "apns.sandbox.test",
            (Gateway::Fcm, _, false) => "fcm",
            (Gateway::Fcm, _, true) => "fcm.test",
            (Gateway::WebPush, _, test) => {
                let (before, service) = (if test { WEB_TEST } else { WEB }, self.service.as_deref().unwrap_or_default());
                return Cow::Owned(format!("{before}{service}"));
            }
        })
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        if let Some((service, test)) =
            word.strip_prefix(WEB).map(|s| (s, false)).or(word.strip_prefix(WEB_TEST).map(|s| (s, true)))
        {
            let service = Some(service.into());
            return Some(Self { gateway: Gateway::WebPush, environment: Environment::Production, test, service });
        }
        let (gateway, environment) = match word.trim_end_matches(".test") {
            "apns.production" => (Gateway::Apns, Environment::Production),
            "apns.sandbox" => (Gateway::Apns, Environment::Sandbox),
            "fcm" => (Gateway::Fcm, Environment::Production),
            _ => return None,
        };
        Some(Self { gateway, environment, test: word.ends_with(".test"), service: None })
    }
}
