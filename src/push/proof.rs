//! Credentials, tried: the gateway itself is asked what it thinks of them, without sending anything to a phone.
//!
//! Apple is sent a push to a token that nobody has: whoever is told that the token is bad has been let in. Google is asked
//! for an access token and then to check a message that it does not deliver. Browsers' push services know keys by the
//! subscriptions that were made with them alone, so there nobody can be asked: whether the keys sign is found out here. Each goes over connections of its own, so
//! that what it finds out does not touch the pushes that are under way.

use super::credentials::{self, Credential, Sealed, Which};
use super::dispatch::Dispatcher;
use super::edge::Client;
use super::message::Gateway;
use super::news::News;
use super::verdict::Verdict;
use super::{advice, apns, fcm, webpush};
use crate::error::{Error, Result};
use crate::id::AppId;
use crate::outbound::{Answer, Limits, Loss, Pool};
use crate::people::device::Environment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One connection, one question at a time.
const LIMITS: Limits = Limits { streams: 1, connections: 1 };
/// Topics of a key that are asked about.
const TOPICS_MAX: usize = 5;
/// Credentials that are asked about in one call.
const KEYS_MAX: usize = 10;

/// What the gateway thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// It takes the credential.
    Good,
    /// It refuses it.
    Refused,
    /// It did not say: it was not reached, or is in trouble itself.
    Unknown,
}

/// What was found out about one credential, for one topic where there are topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// In which of the gateway's worlds it was asked.
    pub environment: Environment,
    /// Apple: the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Apple: the topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Google: the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// What the gateway thinks of it.
    pub result: Opinion,
    /// The gateway's HTTP status, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The gateway's word, or ours when it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it means and what to do.
    pub message: String,
}

/// What to try; what is left out is any.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Only credentials of this world.
    pub environment: Option<Environment>,
    /// Apple: only this key.
    #[schema(max_length = 10)]
    pub key_id: Option<String>,
    /// Apple: only this topic; else the first five of each key.
    #[schema(max_length = 255)]
    pub topic: Option<String>,
}

/// What was answered, before it is put into words.
struct Said {
    result: Opinion,
    status: Option<u16>,
    reason: Option<String>,
}

impl Said {
    fn good(status: u16) -> Self {
        Self { result: Opinion::Good, status: Some(status), reason: None }
    }

    fn refused(status: Option<u16>, reason: impl Into<String>) -> Self {
        Self { result: Opinion::Refused, status, reason: Some(reason.into()) }
    }

    fn unknown(status: Option<u16>, reason: impl Into<String>) -> Self {
        Self { result: Opinion::Unknown, status, reason: Some(reason.into()) }
    }

    fn message(&self, gateway: Gateway) -> String {
        match (self.result, &self.reason) {
            (Opinion::Good, _) => match gateway {
                Gateway::Apns | Gateway::Fcm => "The gateway takes it.".to_owned(),
                Gateway::WebPush => {
                    "The keys sign. This was checked here, no push service was asked: each knows a key only by the \
                     subscriptions that were made with it, so the first push to one of them shows whether it takes it."
                        .to_owned()
                }
            },
            (Opinion::Refused, reason) => advice::of(gateway, reason.as_deref().unwrap_or_default()).to_owned(),
            (Opinion::Unknown, _) => {
                "The gateway did not say whether it takes it: it was not reached in time, or has trouble of its own. Try again; \
                 if that does not help, check that this server may connect to it."
                    .to_owned()
            }
        }
    }
}

impl Dispatcher {
    /// Asks a gateway what it thinks of an app's credentials, and notes it.
    ///
    /// # Errors
    /// 404 when there is no such credential.
    pub async fn prove(&self, app: AppId, gateway: Gateway, asked: Asked) -> Result<Vec<Finding>> {
        let which = Which { environment: asked.environment, key_id: asked.key_id };
        let read = move |conn: &mut crate::store::Conn| {
            let mut all = credentials::sealed(conn, app, (gateway, Environment::Production))?;
            all.extend(credentials::sealed(conn, app, (gateway, Environment::Sandbox))?);
            Ok(all)
        };
        let mut all = self.0.platform.store.read(read).await?;
        all.retain(|sealed| which.holds(&sealed.public));
        if all.is_empty() {
            return Err(Error::not_found("push credential"));
        }
        let mut findings = Vec::new();
        for sealed in all.iter().take(KEYS_MAX) {
            let of_key = match sealed.open(&self.0.platform, app)? {
                credential @ Credential::Apns { .. } => {
                    self.prove_apns((app, sealed), credential, asked.topic.as_deref()).await?
                }
                Credential::Fcm(account) => vec![self.prove_fcm((app, sealed), account).await?],
                Credential::WebPush(keys) => vec![self.prove_webpush(sealed, &keys)],
            };
            findings.extend(of_key);
        }
        Ok(findings)
    }

    async fn prove_apns(
        &self,
        (app, sealed): (AppId, &Sealed),
        credential: Credential,
        topic: Option<&str>,
    ) -> Result<Vec<Finding>> {
        let (pool, client) = self.0.lanes.edge.open(credential, (sealed.public.environment, None), LIMITS)?;
        let Client::Apns { client, .. } = client else { return Err(Error::broken("a key of Apple's that is none")) };
        let topics = match topic {
            Some(topic) => vec![topic.to_owned()],
            None => client.topics.iter().take(TOPICS_MAX).cloned().collect(),
        };
        let mut findings = Vec::new();
        for topic in topics {
            let said = match client.probe(&topic, self.0.platform.clock.now_ms()) {
                Ok(_) => self.ask_apple(&pool, &client, &topic).await,
                Err(reason) => Said::unknown(None, reason),
            };
            findings.push(finding(Gateway::Apns, sealed, (Some(topic), &said)));
        }
        // A topic that was asked for by name may be none of the key's: that says nothing of the key.
        let own = |finding: &&Finding| sealed.public.topics.iter().flatten().any(|topic| Some(topic) == finding.topic.as_ref());
        let own: Vec<&Finding> = findings.iter().filter(own).collect();
        let worst = own.iter().find(|f| f.result == Opinion::Refused).or_else(|| own.first());
        if let Some(finding) = worst {
            self.note((app, sealed), finding);
        }
        Ok(findings)
    }

    async fn ask_apple(&self, pool: &Pool, client: &apns::Client, topic: &str) -> Said {
        let clock = &self.0.platform.clock;
        let Ok(first) = client.probe(topic, clock.now_ms()) else { return Said::unknown(None, "cannot_sign") };
        let (head, body) = (first.head, first.body);
        let outgoing = || crate::outbound::Outgoing { head: head.clone(), body: body.clone() };
        match pool.request(outgoing, self.patience()).await {
            Err(loss) => lost(loss),
            Ok(answer) => {
                let (status, reason) = (answer.status.as_u16(), apns::reason(&answer));
                let word = || super::verdict::word(&reason);
                match apns::of_key(status, &reason) {
                    Some(Ok(())) => Said::good(status),
                    Some(Err(reason)) => Said::refused(Some(status), reason),
                    None => Said::unknown(Some(status), word()),
                }
            }
        }
    }

    async fn prove_fcm(&self, (app, sealed): (AppId, &Sealed), account: fcm::ServiceAccount) -> Result<Finding> {
        let said = self.ask_google(account).await?;
        let finding = finding(Gateway::Fcm, sealed, (None, &said));
        self.note((app, sealed), &finding);
        Ok(finding)
    }

    async fn ask_google(&self, account: fcm::ServiceAccount) -> Result<Said> {
        let (edge, now_ms) = (&self.0.lanes.edge, self.0.platform.clock.now_ms());
        let bearer = match fcm::exchange(&account, &edge.token_pool(&account)?, now_ms).await {
            Ok((bearer, _)) => bearer,
            Err(refused) if refused.is_final() => return Ok(Said::refused(refused.status, refused.reason)),
            Err(refused) => return Ok(Said::unknown(refused.status, refused.reason)),
        };
        let (pool, client) = edge.open(Credential::Fcm(account), (Environment::Production, None), LIMITS)?;
        let Client::Fcm { client, .. } = client else { return Err(Error::broken("an account of Google's that is none")) };
        let answer = match pool.request(|| client.probe(&bearer), self.patience()).await {
            Err(loss) => return Ok(lost(loss)),
            Ok(answer) => answer,
        };
        Ok(of_account(&answer, now_ms))
    }

    /// Nobody was asked, so there is nothing to note.
    fn prove_webpush(&self, sealed: &Sealed, keys: &webpush::vapid::Keys) -> Finding {
        let said = match keys.try_all(self.0.platform.clock.now_ms()) {
            Ok(()) => Said { result: Opinion::Good, status: None, reason: None },
            Err(_) => Said::refused(None, "unusable_key"),
        };
        finding(Gateway::WebPush, sealed, (None, &said))
    }

    fn note(&self, (app, sealed): (AppId, &Sealed), finding: &Finding) {
        let refused = match finding.result {
            Opinion::Good => None,
            Opinion::Refused => finding.reason.clone(),
            Opinion::Unknown => return,
        };
        let at_ms = self.0.platform.clock.now_ms();
        let (environment, key_id, revision) = (sealed.public.environment, sealed.key_id.clone(), sealed.revision);
        self.0.lanes.desk.put(News { app, gateway: sealed.gateway, environment, key_id, revision, refused, at_ms });
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.config().gateway_timeout_ms)
    }
}

fn of_account(answer: &Answer, now_ms: i64) -> Said {
    let status = answer.status.as_u16();
    match fcm::judge(answer, now_ms, now_ms) {
        Verdict::Accepted => Said::good(status),
        Verdict::Misconfigured(reason) | Verdict::Renew(reason) => Said::refused(Some(status), reason),
        Verdict::Rejected(reason) | Verdict::Later { reason, .. } | Verdict::Hold(reason) | Verdict::Reconnect(reason) => {
            Said::unknown(Some(status), reason)
        }
        Verdict::Unregistered { .. } => Said::unknown(Some(status), "unregistered"),
    }
}

fn lost(loss: Loss) -> Said {
    match loss {
        Loss::Unsent(reason) | Loss::Unknown(reason) => Said::unknown(None, reason),
    }
}

fn finding(gateway: Gateway, sealed: &Sealed, (topic, said): (Option<String>, &Said)) -> Finding {
    let public = &sealed.public;
    Finding {
        environment: public.environment,
        key_id: public.key_id.clone(),
        topic,
        project_id: public.project_id.clone(),
        result: said.result,
        status: said.status,
        reason: said.reason.clone(),
        message: said.message(gateway),
    }
}
