//! Caps and the minimum gap: rolling windows over what a user heard and will hear. Pure.

use super::input::{Heard, Input};
use super::refusal::Refusal;
use super::terms::Terms;
use crate::campaign::Cap;
use crate::id::CampaignId;
use crate::planted::{Bug, planted};

/// When something is to be said, and what the same decision has chosen already.
pub struct Planned<'a> {
    /// When it is to go out.
    pub at_ms: i64,
    /// The winners so far: they count in caps, but between them there is no gap.
    pub beside: &'a [Heard],
}

/// Gate 7 for one candidate at one time. Half open: exactly one window (or gap) away no longer counts.
///
/// # Errors
/// The first cap that is full, from the narrowest to the widest.
pub fn check(input: &Input, terms: &Terms, campaign: CampaignId, planned: &Planned<'_>) -> Result<(), Refusal> {
    if planted(Bug::NoCaps) {
        return Ok(());
    }
    let category = terms.offer.category.as_deref();
    let none = Vec::new();
    let of_category = category.and_then(|c| input.limits.per_category.get(c)).unwrap_or(&none);
    let in_campaign = |h: &Heard| h.campaign_id == campaign;
    let in_category = |h: &Heard| h.category.as_deref() == category;
    let any = |_: &Heard| true;
    let rules: [(&[Cap], &dyn Fn(&Heard) -> bool, Refusal); 4] = [
        (&terms.campaign.caps, &in_campaign, Refusal::CampaignCap),
        (of_category, &in_category, Refusal::CategoryCap),
        (&input.limits.overall, &any, Refusal::OverallCap),
        (&input.user.frequency, &any, Refusal::UserFrequency),
    ];
    for (caps, counts, refusal) in rules {
        if caps.iter().any(|cap| {
            is_full(*cap, planned, input.heard.iter().chain(&input.beside).chain(planned.beside).filter(|h| counts(h)))
        }) {
            return Err(refusal);
        }
    }
    let gap_ms = input.limits.min_gap_ms;
    if input.heard.iter().any(|h| (h.planned_ms.saturating_sub(planned.at_ms)).abs() < gap_ms) {
        return Err(Refusal::MinGap);
    }
    Ok(())
}

/// Whether one more at this time would make more than `limit` in some window of the cap's length.
/// Held choices lie ahead, so windows on both sides are looked at.
fn is_full<'a>(cap: Cap, planned: &Planned<'_>, heard: impl Iterator<Item = &'a Heard>) -> bool {
    let at_ms = planned.at_ms;
    let mut times: Vec<i64> = heard.map(|h| h.planned_ms).filter(|t| (t - at_ms).abs() < cap.window_ms).collect();
    times.push(at_ms);
    times.sort_unstable();
    let room = usize::try_from(cap.limit).unwrap_or(usize::MAX);
    times.iter().enumerate().take_while(|(_, from_ms)| **from_ms <= at_ms).any(|(first, from_ms)| {
        let within = times[first..].iter().take_while(|t| **t - from_ms < cap.window_ms);
        within.count() > room
    })
}
