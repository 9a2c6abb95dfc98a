//! This person's words: the template in the device's language. Pure.

use super::input::{Device, Input};
use super::refusal::{Refusal, Refused};
use super::terms::{Terms, View};
use crate::id::ChoiceId;
use crate::push::{Content, Gateway};

/// Makes the words for one device.
///
/// # Errors
/// When the template fails, or the words do not fit into a push of the device's gateway; with the field that did it.
pub fn words(
    input: &Input,
    (terms, collapse_id): (&Terms, Option<&str>),
    device: &Device,
    view: &View<'_>,
) -> Result<Content, Refused> {
    let locales = [device.locale.as_deref(), input.user.locale.as_deref()];
    let locales: Vec<&str> = locales.into_iter().flatten().collect();
    let mut words = view.words(terms, &locales, &device.facts).map_err(|failure| Refused {
        reason: Refusal::TemplateFailed,
        detail: Some(failure.to_string()),
        field: Some(failure.part),
    })?;
    // A direct push may name one beside its words: it is weighed with them.
    words.collapse_id = words.collapse_id.or_else(|| collapse_id.map(str::to_owned));
    words.fits(Gateway::of(device.platform)).map_err(|large| Refused {
        reason: Refusal::PayloadTooLarge,
        detail: Some(large.to_string()),
        field: Some(large.field),
    })?;
    Ok(words)
}

/// By which a phone replaces what it shows: the same for every attempt at a message, at most 64 bytes.
pub fn collapse_id(choice: ChoiceId) -> String {
    choice.to_string()
}
