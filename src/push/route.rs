//! A route: what is sent over one set of connections under one credential. A queue: what of it waits together.

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

/// What waits for one route: what is said to a large audience apart from the rest, so that nobody has to walk past it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Which way it goes; both queues of a route share its lanes.
    pub route: Route,
    /// Whether it is what is said to a large audience.
    pub bulk: bool,
}

/// What stands before the push service of a browser.
const WEB: &str = "webpush";
/// What follows the words of tests, and of what is said to many.
const TEST: &str = ".test";
const BULK: &str = ".bulk";

impl Queue {
    /// Where a message waits under these settings.
    pub fn of(message: &NewMessage, config: &Config) -> Self {
        Self { route: Route::of(message, config), bulk: message.bulk }
    }

    /// The word in the database.
    pub fn word(&self) -> Cow<'static, str> {
        let word = self.route.word();
        match (self.bulk, word.split_once(':')) {
            (false, _) => word,
            (true, None) => Cow::Owned(format!("{word}{BULK}")),
            (true, Some((before, service))) => Cow::Owned(format!("{before}{BULK}:{service}")),
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        let (before, service) = word.split_once(':').map_or((word, None), |(before, service)| (before, Some(service)));
        let (before, bulk) = before.strip_suffix(BULK).map_or((before, false), |before| (before, true));
        Some(Self { route: Route::parse(before, service)?, bulk })
    }
}

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

    /// What its queues are called by.
    fn word(&self) -> Cow<'static, str> {
        Cow::Borrowed(match (self.gateway, self.environment, self.test) {
            (Gateway::Apns, Environment::Production, false) => "apns.production",
            (Gateway::Apns, Environment::Production, true) => "apns.production.test",
            (Gateway::Apns, Environment::Sandbox, false) => "apns.sandbox",
            (Gateway::Apns, Environment::Sandbox, true) => "apns.sandbox.test",
            (Gateway::Fcm, _, false) => "fcm",
            (Gateway::Fcm, _, true) => "fcm.test",
            (Gateway::WebPush, _, test) => {
                let (test, service) = (if test { TEST } else { "" }, self.service.as_deref().unwrap_or_default());
                return Cow::Owned(format!("{WEB}{test}:{service}"));
            }
        })
    }

    /// Reads what stands before a colon, and what behind it.
    fn parse(before: &str, service: Option<&str>) -> Option<Self> {
        let (gateway, test) = before.strip_suffix(TEST).map_or((before, false), |gateway| (gateway, true));
        let (gateway, environment) = match (gateway, service) {
            ("apns.production", None) => (Gateway::Apns, Environment::Production),
            ("apns.sandbox", None) => (Gateway::Apns, Environment::Sandbox),
            ("fcm", None) => (Gateway::Fcm, Environment::Production),
            (WEB, Some(_)) => (Gateway::WebPush, Environment::Production),
            _ => return None,
        };
        Some(Self { gateway, environment, test, service: service.map(Into::into) })
    }
}
