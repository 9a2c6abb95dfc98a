//! This person's words: the template in the device's language. Pure.

use super::input::{Device, Input};
use super::refusal::Refusal;
use super::terms::{Terms, View};
use crate::id::ChoiceId;
use crate::push::{self, Content};

/// Makes the words for one device.
///
/// # Errors
/// When the template fails, or the words do not fit into a push.
pub fn words(input: &Input, terms: &Terms, device: &Device, view: &View<'_>) -> Result<Content, Refusal> {
    let locales = [device.locale.as_deref(), input.user.locale.as_deref()];
    let locales: Vec<&str> = locales.into_iter().flatten().collect();
    let words = view.words(terms, &locales, &device.facts).map_err(|_| Refusal::TemplateFailed)?;
    push::fits(&words).map_err(|_| Refusal::PayloadTooLarge)?;
    Ok(words)
}

/// By which a phone replaces what it shows: the same for every attempt at a message, at most 64 bytes.
pub fn collapse_id(choice: ChoiceId) -> String {
    choice.to_string()
}
