//! A route: what is sent over one set of connections under one credential.

use super::message::{Gateway, NewMessage};
use crate::config::Config;
use crate::people::device::Environment;

/// Gateway, world and whether it is a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Through which gateway.
    pub gateway: Gateway,
    /// In which of its worlds; Google has one only.
    pub environment: Environment,
    /// Whether it may go to the stand-in or sandbox only.
    pub test: bool,
}

impl Route {
    /// The route of a message under these settings.
    pub fn of(message: &NewMessage, config: &Config) -> Self {
        let NewMessage { gateway, test, .. } = *message;
        let environment = match gateway {
            // Without a stand-in, a test of Apple's gateway goes to its sandbox, whatever the device said.
            Gateway::Apns if test && config.apns_url.is_empty() => Environment::Sandbox,
            Gateway::Apns => message.environment,
            Gateway::Fcm => Environment::Production,
        };
        Self { gateway, environment, test }
    }

    /// The word in the database.
    pub fn word(self) -> &'static str {
        match (self.gateway, self.environment, self.test) {
            (Gateway::Apns, Environment::Production, false) => "apns.production",
            (Gateway::Apns, Environment::Production, true) => "apns.production.test",
            (Gateway::Apns, Environment::Sandbox, false) => "apns.sandbox",
            (Gateway::Apns, Environment::Sandbox, true) => "apns.sandbox.test",
            (Gateway::Fcm, _, false) => "fcm",
            (Gateway::Fcm, _, true) => "fcm.test",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        let (gateway, environment) = match word.trim_end_matches(".test") {
            "apns.production" => (Gateway::Apns, Environment::Production),
            "apns.sandbox" => (Gateway::Apns, Environment::Sandbox),
            "fcm" => (Gateway::Fcm, Environment::Production),
            _ => return None,
        };
        Some(Self { gateway, environment, test: word.ends_with(".test") })
    }
}
