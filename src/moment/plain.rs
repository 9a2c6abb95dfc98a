//! Every end of a message and every reason in words for the person whom it concerns. Pure.

use super::decision::Reason;
use super::refusal::Refusal;
use crate::push::State;

/// Reasons that this server writes on messages, and what they mean. What a gateway says is in its own words.
pub const REASONS: &[(&str, &str)] = &[
    ("deadline", "The time until which it was of use had passed."),
    ("quiet_hours", "It was your quiet time, and after that it would have been too late."),
    ("consent", "Your consent to messages of its purpose was no longer in force."),
    ("consent_expired", "The time for which you had agreed to messages of its purpose was over."),
    ("token_dead", "The device could no longer receive it, or was somebody else's by then."),
    ("user_left", "The account was on its way out."),
    ("unregistered", "The app was no longer installed on that device."),
    ("no_credential", "The app was not set up to send pushes to such devices."),
    ("topic_not_configured", "The app was not set up to send pushes to this edition of it."),
    ("malformed_token", "The address of the device could not be used."),
    ("malformed_payload", "Its words could not be put into a push."),
    ("campaign_stopped", "The campaign that it belonged to was stopped."),
    ("superseded", "Something newer took its place."),
    ("cancelled", "It was cancelled."),
    ("recalled", "It was taken back."),
    ("nothing_to_recall", "There was nothing to take back."),
    ("unknown_topic", "Its topic was no longer known."),
    ("topic_off", "You had switched its topic off."),
    ("channel_off", "You had switched push messages off."),
    ("paused", "You had paused messages."),
    ("crash", "The server stopped while it was being sent."),
    ("lost", "The server lost sight of it while it was being sent."),
    ("no_connection", "The push service could not be reached."),
    ("fenced", "Something about your consent or your device changed while it was being sent."),
    ("original_on_its_way", "What it takes back was still being sent."),
];

/// What a state means.
fn of_state(state: State) -> &'static str {
    match state {
        State::Queued => "It waits to be sent.",
        State::Sending => "It is being sent.",
        State::RetryAt => "It could not be sent yet and is tried again.",
        State::Accepted => "It was handed to your device's push service, which took it.",
        State::Rejected => "It was not sent: your device's push service would not take it.",
        State::Expired => "It was not sent: it would have come too late.",
        State::Revoked => "It was not sent: you had not agreed to it any more.",
        State::TokenDead => "It was not sent: your device could not be reached any more.",
        State::Cancelled => "It was not sent: it was called off.",
        State::Unknown => "Nobody knows whether your device's push service took it; it is not sent again.",
    }
}

/// What came of a message, and why.
pub fn outcome(state: State, reason: Option<&str>) -> String {
    let said = of_state(state);
    match reason.filter(|reason| !reason.is_empty() && state != State::Accepted) {
        None => said.to_owned(),
        Some(word) => match REASONS.iter().find(|(known, _)| *known == word) {
            Some((_, why)) => format!("{said} {why}"),
            None => format!("{said} The reason given was “{}”.", word.replace('_', " ")),
        },
    }
}

/// Why nothing was said, from the word that the decision has for it.
pub fn silence(word: &str) -> Option<&'static str> {
    let own = Reason::OTHERS.iter().find(|reason| reason.name() == word).map(|reason| reason.plain());
    own.or_else(|| Refusal::ALL.iter().find(|refusal| refusal.name() == word).map(|refusal| refusal.plain()))
}
