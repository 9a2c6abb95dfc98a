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

/// What waits for one route: what is said to a large audience apart from the rest, and what each of Apple's keys speaks for
/// apart from the others. So nobody has to walk past what somebody else waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Queue {
    /// Which way it goes; all queues of a route share its lanes.
    pub route: Route,
    /// Whether it is what is said to a large audience.
    pub bulk: bool,
    /// The first topic of Apple's key that speaks for it; none for an app's first key, and where there is one only.
    pub key: Option<Arc<str>>,
}

/// What follows the words of tests, and of what is said to many.
const TEST: &str = ".test";
const BULK: &str = ".bulk";

impl Queue {
    /// Where a message waits for a route, for the key of this name.
    pub fn of(message: &NewMessage, route: Route, key: Option<&str>) -> Self {
        Self { route, bulk: message.bulk, key: key.map(Into::into) }
    }

    /// The same for another key.
    #[must_use]
    pub fn of_key(self, key: Option<&str>) -> Self {
        Self { key: key.map(Into::into), ..self }
    }

    /// The word in the database.
    pub fn word(&self) -> Cow<'static, str> {
        let (route, bulk) = (self.route.word(), if self.bulk { BULK } else { "" });
        match self.route.service.as_ref().or(self.key.as_ref()) {
            Some(name) => Cow::Owned(format!("{route}{bulk}:{name}")),
            None if self.bulk => Cow::Owned(format!("{route}{bulk}")),
            None => Cow::Borrowed(route),
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        let (before, name) = word.split_once(':').map_or((word, None), |(before, name)| (before, Some(name)));
        let (before, bulk) = before.strip_suffix(BULK).map_or((before, false), |before| (before, true));
        let (before, test) = before.strip_suffix(TEST).map_or((before, false), |before| (before, true));
        let route =
            |gateway, environment, service: Option<&str>| Route { gateway, environment, test, service: service.map(Into::into) };
        let (route, key) = match (before, name) {
            ("apns.production", key) => (route(Gateway::Apns, Environment::Production, None), key),
            ("apns.sandbox", key) => (route(Gateway::Apns, Environment::Sandbox, None), key),
            ("fcm", None) => (route(Gateway::Fcm, Environment::Production, None), None),
            ("webpush", Some(_)) => (route(Gateway::WebPush, Environment::Production, name), None),
            _ => return None,
        };
        Some(Self { route, bulk, key: key.map(Into::into) })
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

    /// What its queues are called by, but for the push service.
    fn word(&self) -> &'static str {
        match (self.gateway, self.environment, self.test) {
            (Gateway::Apns, Environment::Production, false) => "apns.production",
            (Gateway::Apns, Environment::Production, true) => "apns.production.test",
            (Gateway::Apns, Environment::Sandbox, false) => "apns.sandbox",
            (Gateway::Apns, Environment::Sandbox, true) => "apns.sandbox.test",
            (Gateway::Fcm, _, false) => "fcm",
            (Gateway::Fcm, _, true) => "fcm.test",
            (Gateway::WebPush, _, false) => "webpush",
            (Gateway::WebPush, _, true) => "webpush.test",
        }
    }
}
