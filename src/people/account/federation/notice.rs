//! Apple's notices: a user has taken their consent back, has deleted their Apple Account, or forwards mail no longer.
//!
//! A notice names a client id and no app: it is for every app that has set Apple up with this client. It is heeded
//! once. What happened before the user signed in last is over: they have consented again.

use super::link::revoke;
use super::provider::{APPLE_NAME, Provider};
use super::store::{self, Identity};
use super::token::{Claims, Flaw, SKEW_S};
use crate::clock::DAY_MS;
use crate::error::Result;
use crate::id::AppId;
use crate::people::account::departure::Gone;
use crate::store::Conn;
use serde::Deserialize;

/// How long notices are remembered, and how old one may be, in milliseconds.
pub(super) const KEPT_MS: i64 = 30 * DAY_MS;
/// Longest id of a notice, in bytes.
const JTI_MAX: usize = 255;
/// Times below this are in seconds: the year 5138 in them, 1973 in milliseconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// A notice whose signature is good.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub(super) jti: String,
    kind: What,
    subject: String,
    at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Mail {
        reachable: bool,
    },
    Revoked {
        for_good: bool,
    },
    /// A kind that came after us.
    Other,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    sub: String,
    event_time: i64,
}

impl Notice {
    /// Reads what Apple says, and for which of these it is.
    pub(super) fn read(claims: &Claims, apps: &[Provider], now_s: i64) -> Result<(Self, Vec<Provider>), Flaw> {
        let issued_s = claims.begun(now_s)?;
        if issued_s < now_s - KEPT_MS / 1_000 {
            return Err("iat");
        }
        if claims.time_s("exp")?.is_some_and(|ends_s| ends_s <= now_s - SKEW_S) {
            return Err("exp");
        }
        let jti = claims.text("jti")?.filter(|jti| (1..=JTI_MAX).contains(&jti.len())).ok_or("jti")?.to_owned();
        let concerned = |provider: &&Provider| claims.client(&provider.settings.client_ids).is_ok();
        let concerned: Vec<Provider> = apps.iter().filter(concerned).cloned().collect();
        if concerned.is_empty() {
            return Err("aud");
        }
        let event: Event = claims.text("events")?.and_then(|text| serde_json::from_str(text).ok()).ok_or("events")?;
        let at_ms = if event.event_time < SECONDS_BELOW { event.event_time.saturating_mul(1_000) } else { event.event_time };
        let kind = match event.kind.as_str() {
            "email-disabled" => What::Mail { reachable: false },
            "email-enabled" => What::Mail { reachable: true },
            "consent-revoked" => What::Revoked { for_good: false },
            // Apple has written it in both ways.
            "account-delete" | "account-deleted" => What::Revoked { for_good: true },
            _ => What::Other,
        };
        Ok((Self { jti, kind, subject: event.sub, at_ms }, concerned))
    }

    /// Does what it asks for in one app, once.
    pub(super) fn heed(&self, conn: &mut Conn, (app_id, issuer): (AppId, &str), now_ms: i64) -> Result<Gone> {
        if !store::note(conn, (app_id, &self.jti), now_ms)? {
            return Ok(Gone::default());
        }
        conn.serialise(&format!("identity:{app_id}:{APPLE_NAME}:{issuer}:{}", self.subject))?;
        let found = store::by_subject(conn, app_id, (APPLE_NAME, issuer, &self.subject))?;
        let Some(identity) = found else { return Ok(Gone::default()) };
        match self.kind {
            What::Mail { reachable } if self.at_ms >= identity.email_ms => {
                let told = Identity { email_reachable: reachable, email_ms: self.at_ms, ..identity };
                store::update(conn, &told).map(|()| Gone::default())
            }
            What::Revoked { for_good } if self.at_ms >= identity.last_used_ms => revoke(conn, &identity, (for_good, now_ms)),
            What::Mail { .. } | What::Revoked { .. } | What::Other => Ok(Gone::default()),
        }
    }
}
