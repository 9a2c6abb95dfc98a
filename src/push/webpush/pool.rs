//! Connections to a browser's push service.

use crate::error::Result;
use crate::outbound::{Dial, Limits, Pool, Target, Trust};
use crate::platform::Platform;
use std::sync::Arc;

/// Connections to the push service at this host, or host and port, whose name somebody else chose: to addresses that were
/// judged a moment before, but for the stand-in that the operator has named.
///
/// # Errors
/// When the stand-in's URL is none.
pub fn pool((platform, trust): (&Platform, &Trust), service: &str, limits: Limits) -> Result<Pool> {
    let (hint, instead) = (platform.push_hint.clone(), &platform.config.webpush_url);
    let target = if instead.is_empty() {
        let platform = platform.clone();
        let dial: Dial = Arc::new(move |host, port| {
            let platform = platform.clone();
            Box::pin(async move { platform.web.dial(&host, port).await })
        });
        Target::named(service)?.by(dial)
    } else {
        Target::new(service, instead, "KAIROS_WEBPUSH_URL")?
    };
    Ok(Pool::new(target, trust.clone(), limits, move || hint.nudge()))
}
