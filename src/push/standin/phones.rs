//! The phones that the stand-in knows: whose token is alive, for which app, in which world.

use crate::push::{Environment, Gateway};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// A phone as its gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phone {
    /// Whose phone it is; a browser's are made by `POST /standin/subscriptions`.
    pub gateway: Gateway,
    /// The token's world (Apple only); `production` when left out.
    #[serde(default)]
    pub environment: Environment,
    /// The app's bundle id (Apple), or the project (Google); absent: any. Of a token of PushKit or of widgets, which takes its
    /// own kind of push alone, the whole topic: `com.example.app.voip`.
    #[serde(default)]
    pub topic: Option<String>,
    /// Since when the app is gone, UTC milliseconds; absent: it is there.
    #[serde(default)]
    pub dead_ms: Option<i64>,
}

#[derive(Default)]
pub(super) struct Phones(RwLock<HashMap<String, Phone>>);

/// What a gateway says of a token.
pub(super) enum Standing {
    Live,
    Dead(i64),
    Elsewhere,
    OtherApp,
    Unheard,
}

impl Phones {
    pub(super) fn put(&self, token: String, phone: Phone) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token, phone);
    }

    pub(super) fn standing(&self, token: &str, gateway: Gateway, environment: Environment, topic: &str) -> Standing {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(token) {
            None => Standing::Unheard,
            Some(phone) if phone.gateway != gateway || phone.environment != environment => Standing::Elsewhere,
            Some(phone) if phone.topic.as_deref().is_some_and(|t| t != topic) => Standing::OtherApp,
            Some(phone) => phone.dead_ms.map_or(Standing::Live, Standing::Dead),
        }
    }
}
