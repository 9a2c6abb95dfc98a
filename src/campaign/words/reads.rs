//! Which attributes of users a template may read, judged by its bare text: rather one too many than one too few.

use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Every word of texts that speak of attributes.
    words: BTreeSet<String>,
    /// Whether a text reaches attributes in a way that does not spell their names.
    any: bool,
}

impl Reads {
    /// Takes in one more text.
    pub(super) fn add(&mut self, source: &str) {
        if !source.contains("{{") && !source.contains("{%") {
            return;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = || source.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
        if words().any(|word| word == "attributes") {
            self.words.extend(words().map(str::to_owned));
        }
        // `user|…`, `user[…]`, `attributes[name]`, a loop over either, an escaped letter in a name.
        self.any |= source.contains('\\') || ["user", "attributes"].iter().any(|word| slips(source, word));
    }

    /// Whether it may read this attribute.
    pub(super) fn has(&self, attribute: &str) -> bool {
        self.any || self.words.contains(attribute)
    }
}

/// Whether a word of a text is followed by anything else than a dot or a name that is spelt out.
fn slips(source: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    source.match_indices(word).any(|(at, _)| {
        let (before, after) = (&source[..at], source[at + word.len()..].trim_start());
        let whole = !before.ends_with(is_word) && !source[at + word.len()..].starts_with(is_word);
        let spelt = after.strip_prefix('[').map(str::trim_start).is_some_and(|name| name.starts_with(['\'', '"']));
        whole && !after.starts_with('.') && !spelt
    })
}
