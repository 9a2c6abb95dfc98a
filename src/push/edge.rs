//! What lanes of all apps share: whom connections trust, provider and access tokens by key, quotas by project.

use super::credentials::Credential;
use super::message::Gateway;
use super::{apns, fcm, webpush};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::outbound::{Limits, Pool, Target, Trust};
use crate::people::device::Environment;
use crate::platform::Platform;
use std::sync::Arc;

/// Channels are made one by one.
const MANAGE_LIMITS: Limits = Limits { streams: 8, connections: 1 };

/// See the module.
pub(super) struct Edge {
    platform: Platform,
    trust: Trust,
    provider_tokens: apns::ProviderTokens,
    access_tokens: fcm::AccessTokens,
    quotas: fcm::Quotas,
}

/// How one credential speaks to its gateway.
pub(super) enum Client {
    /// Besides, the way to where channels of broadcasts are made and deleted.
    Apns {
        client: apns::Client,
        manage: Pool,
    },
    Fcm {
        client: fcm::Client,
        quota: Arc<fcm::Quota>,
    },
    WebPush(webpush::Client),
}

impl Edge {
    pub(super) fn new(platform: &Platform) -> Result<Self> {
        let config = &platform.config;
        let rates = fcm::Rates { per_minute: config.fcm_quota_per_minute, ramp_s: config.fcm_ramp_s };
        Ok(Self {
            trust: Trust::load(&config.ca_file)?,
            platform: platform.clone(),
            provider_tokens: apns::ProviderTokens::default(),
            access_tokens: fcm::AccessTokens::default(),
            quotas: fcm::Quotas::new(rates),
        })
    }

    /// A client for this credential, in this world, or for this push service of browsers; connections of its own, what can be
    /// shared is.
    pub(super) fn open(
        &self,
        credential: Credential,
        (environment, service): (Environment, Option<&str>),
        limits: Limits,
    ) -> Result<(Pool, Client)> {
        let config = &self.platform.config;
        match credential {
            Credential::Apns { key, topics } => {
                let authority = match environment {
                    Environment::Production => apns::PRODUCTION,
                    Environment::Sandbox => apns::SANDBOX,
                };
                let pool = self.pool(Target::new(authority, &config.apns_url, "KAIROS_APNS_URL")?.ended_by(apns::ends), limits);
                let client = apns::Client::new(self.provider_tokens.of(key, environment), topics, authority);
                let manage = Pool::new(self.manage_target(environment)?, self.trust.clone(), MANAGE_LIMITS, || {});
                Ok((pool, Client::Apns { client, manage }))
            }
            Credential::Fcm(account) => {
                let now_ms = self.platform.clock.now_ms();
                let quota = self.quotas.of(&account.project_id, &account.client_email, now_ms);
                let token = self.access_tokens.of(account, |account| self.access_token(account))?;
                let client = fcm::Client::new(token, fcm::GATEWAY).map_err(Error::broken)?;
                let target = Target::new(fcm::GATEWAY, &config.fcm_url, "KAIROS_FCM_URL")?.proven_by(fcm::lets_in);
                let pool = self.pool(target, limits);
                Ok((pool, Client::Fcm { client, quota }))
            }
            Credential::WebPush(keys) => {
                let service = service.unwrap_or_default();
                let client = webpush::Client::new(&keys, service).map_err(Error::broken)?;
                Ok((webpush::pool((&self.platform, &self.trust), service, limits)?, Client::WebPush(client)))
            }
        }
    }

    fn manage_target(&self, environment: Environment) -> Result<Target> {
        let config = &self.platform.config;
        let at = match environment {
            Environment::Production => apns::MANAGE_PRODUCTION,
            Environment::Sandbox => apns::MANAGE_SANDBOX,
        };
        if config.apns_channels_url.is_empty() && config.apns_url.is_empty() {
            return Target::named(at.authority);
        }
        match config.apns_channels_url.as_str() {
            "" => Target::new(at.authority, &config.apns_url, "KAIROS_APNS_URL"),
            instead => Target::new(at.authority, instead, "KAIROS_APNS_CHANNELS_URL"),
        }
    }

    fn access_token(&self, account: fcm::ServiceAccount) -> Result<fcm::AccessToken> {
        let pool = self.token_pool(&account)?;
        Ok(fcm::AccessToken::new(account, pool, self.platform.clock.clone()))
    }

    /// The way to the host where this account's assertions are exchanged.
    pub(super) fn token_pool(&self, account: &fcm::ServiceAccount) -> Result<Pool> {
        let host = account.token_uri.host().unwrap_or_default().to_owned();
        let instead = self.platform.config.fcm_url.as_str();
        Ok(self.pool(Target::new(&host, instead, "KAIROS_FCM_URL")?, Limits { streams: 1, connections: 1 }))
    }

    fn pool(&self, target: Target, limits: Limits) -> Pool {
        let hint = self.platform.push_hint.clone();
        Pool::new(target, self.trust.clone(), limits, move || hint.nudge())
    }
}

/// Whether a server of the operator's choice answers for browsers' push services.
pub(super) fn stands_in(gateway: Gateway, config: &Config) -> bool {
    gateway == Gateway::WebPush && !config.webpush_url.is_empty()
}
