//! A client and a stand-in, wired together without a database: what the transport and gateway tests share.

use http::HeaderValue;
use kairos::clock::{Clock, HOUR_MS};
use kairos::outbound::{Answer, HandOver, Limits, Loss, Outgoing, Pool, Target, Trust};
use kairos::push::standin::{Options, StandIn};
use kairos::push::{Content, Environment, Gateway, Push, Stamp, apns, fcm, render};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// 2026-11-22, 00:00 UTC.
pub const NOW_MS: i64 = 1_795_305_600_000;
pub const TOPIC: &str = "app.kairos.demo";
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Wired {
    pub clock: Clock,
    pub standin: StandIn,
    pub pool: Pool,
    pub apns: apns::Client,
}

pub async fn open_standin(clock: &Clock) -> StandIn {
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        clock: clock.clone(),
        ledger_file: None,
        any_token: true,
        streams: 1_000,
    };
    StandIn::open(options).await.unwrap()
}

pub fn pool(standin: &StandIn, authority: &str, limits: Limits) -> Pool {
    let target = Target::new(authority, &standin.url(), "KAIROS_APNS_URL").unwrap();
    Pool::new(target, Trust::with_pem(standin.ca_pem()).unwrap(), limits, || {})
}

pub async fn wired_with(limits: Limits) -> Wired {
    let clock = Clock::at(NOW_MS);
    let standin = open_standin(&clock).await;
    let issued = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let text = |key: &str| issued[key].as_str().unwrap().to_owned();
    let key = apns::ProviderKey::parse(&text("team_id"), &text("key_id"), &text("key_p8")).unwrap();
    let apns = apns::Client::new(apns::ProviderToken::new(key), vec![TOPIC.to_owned()], apns::PRODUCTION);
    let pool = pool(&standin, apns::PRODUCTION, limits);
    Wired { clock, standin, pool, apns }
}

pub async fn wired() -> Wired {
    wired_with(Limits { streams: 500, connections: 2 }).await
}

pub fn push(n: u128, gateway: Gateway) -> Push {
    let deadline_ms = NOW_MS + HOUR_MS;
    let content = Content { title: Some("Welcome".into()), body: "Lounge, 2 min".into(), ..Content::default() };
    let id = uuid::Uuid::from_u128(n).into();
    let nil = uuid::Uuid::nil();
    let stamp = Stamp { message_id: id, decision_id: nil.into(), campaign_id: nil.into(), deadline_ms };
    Push {
        id,
        token: format!("{n:064x}"),
        topic: None,
        collapse_id: format!("c{n}"),
        deadline_ms,
        consent_until_ms: None,
        head: None,
        payload: render(gateway, &content, &stamp).into(),
    }
}

impl Wired {
    pub async fn send(&self, push: &Push) -> Result<Answer, Loss> {
        self.send_within(push, PATIENCE).await
    }

    pub async fn send_within(&self, push: &Push, within: Duration) -> Result<Answer, Loss> {
        let now_ms = self.clock.now_ms();
        send(&self.pool, within, || self.apns.request(push, now_ms).unwrap().0).await
    }

    /// One push that succeeds, so that the connection may carry many.
    pub async fn warm(&self) {
        assert_eq!(self.send(&push(1, Gateway::Apns)).await.unwrap().status, 200);
    }
}

pub async fn send(pool: &Pool, within: Duration, outgoing: impl Fn() -> Outgoing) -> Result<Answer, Loss> {
    loop {
        let slot = pool.slot(Instant::now() + PATIENCE).await?;
        match slot.hand_over(|| Ok::<_, ()>(outgoing())) {
            Ok(flying) => return flying.answer(within).await,
            Err(HandOver::Closed) => {}
            Err(HandOver::Refused(())) => unreachable!(),
        }
    }
}

pub struct Google {
    pub clock: Clock,
    pub standin: StandIn,
    pub pool: Pool,
    pub client: fcm::Client,
}

pub async fn google() -> Google {
    let clock = Clock::at(NOW_MS);
    let standin = open_standin(&clock).await;
    let issued = standin.issue_fcm("demo-project").unwrap();
    let account = fcm::ServiceAccount::parse(&issued["service_account"]).unwrap();
    let limits = Limits { streams: 500, connections: 2 };
    let tokens = pool(&standin, account.token_uri.host().unwrap(), Limits { streams: 1, connections: 1 });
    let token = Arc::new(fcm::AccessToken::new(account, tokens, clock.clone()));
    let pool = pool(&standin, fcm::GATEWAY, limits);
    let client = fcm::Client::new(token, fcm::GATEWAY).unwrap();
    Google { clock, standin, pool, client }
}

impl Google {
    /// The access token, after an exchange if need be.
    pub async fn bearer(&self) -> HeaderValue {
        loop {
            let done = Arc::new(tokio::sync::Notify::new());
            let told = Arc::clone(&done);
            if let Some(bearer) = self.client.token.bearer(self.clock.now_ms(), move || told.notify_one()) {
                return bearer;
            }
            tokio::time::timeout(PATIENCE, done.notified()).await.expect("the exchange ends");
        }
    }

    pub async fn send(&self, push: &Push) -> Result<Answer, Loss> {
        let bearer = self.bearer().await;
        let now_ms = self.clock.now_ms();
        send(&self.pool, PATIENCE, || self.client.request(push, &bearer, now_ms).unwrap()).await
    }
}
