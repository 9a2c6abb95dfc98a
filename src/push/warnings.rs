//! What somebody should look after before pushes fail, or because they do. Pure.

use super::advice;
use super::credentials::Known;
use super::message::Gateway;
use crate::clock::{DAY_MS, Time};
use crate::people::device::Environment;
use serde::Serialize;

/// A credential that was taken last so long ago may have been revoked meanwhile.
pub const STALE_MS: i64 = 30 * DAY_MS;
/// One that was stored so long ago should have been tried.
const UNTRIED_MS: i64 = DAY_MS;

/// Something to look after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Warning {
    /// `refused`, `wrong_environment`, `never_proven`, `proven_long_ago`.
    pub code: &'static str,
    /// What it is and what to do.
    pub message: String,
    /// Since when.
    #[schema(value_type = Time)]
    pub since: Time,
}

/// The warnings about a stored credential.
pub fn of((gateway, environment): (Gateway, Environment), known: &Known, now_ms: i64) -> Vec<Warning> {
    if let (Some(since_ms), Some(reason)) = (known.refused_ms, &known.refused_reason) {
        let wrong_world = matches!(reason.as_str(), "bad_environment_key_id_in_token" | "bad_environment_key_in_token");
        let (code, whose) = if wrong_world {
            ("wrong_environment", format!("This key is stored for {}. ", environment.name()))
        } else {
            ("refused", String::new())
        };
        let message = format!("The gateway refuses it: {reason}. {whose}{}", advice::of(gateway, reason));
        return vec![Warning { code, message, since: Time(since_ms) }];
    }
    let test =
        format!("`POST /v1/push-credentials/{}/test` asks the gateway without sending anything to a phone.", gateway.word());
    match known.proven_ms {
        None if now_ms - known.updated_ms > UNTRIED_MS => {
            let message = format!("No push was ever taken under it. {test}");
            vec![Warning { code: "never_proven", message, since: Time(known.updated_ms) }]
        }
        Some(proven_ms) if now_ms - proven_ms > STALE_MS => {
            let message = format!("It was taken last more than 30 days ago and may have been revoked meanwhile. {test}");
            vec![Warning { code: "proven_long_ago", message, since: Time(proven_ms) }]
        }
        None | Some(_) => Vec::new(),
    }
}
