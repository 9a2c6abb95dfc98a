//! Connections to a browser's push service.

use crate::error::Result;
use crate::outbound::{Answer, Dial, Limits, Pool, Target, Trust};
use crate::platform::Platform;
use http::StatusCode;
use std::sync::Arc;

/// A service that says of a subscription that it is gone for good has looked it up for us; 404 is what any server says.
fn lets_in(answer: &Answer) -> bool {
    answer.status.is_success() || answer.status == StatusCode::GONE
}

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
    Ok(Pool::new(target.proven_by(lets_in), trust.clone(), limits, move || hint.nudge()))
}
