//! The words of mails: built in for a few languages, an app's own where it has some, in the best locale there is.

use super::template::Name;
use figment::Figment;
use figment::providers::{Format as _, Toml};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The language that is always there.
const LAST_RESORT: &str = "en";

/// A subject and a body, both templates.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Text {
    pub(super) subject: String,
    #[serde(rename = "text")]
    pub(super) body: String,
}

type Texts = BTreeMap<String, Text>;

static BUILT_IN: LazyLock<BTreeMap<&'static str, Texts>> = LazyLock::new(|| {
    let read = |toml: &str| Figment::from(Toml::string(toml)).extract().unwrap_or_default();
    BTreeMap::from([
        ("de", read(include_str!("de.toml"))),
        ("en", read(include_str!("en.toml"))),
        ("es", read(include_str!("es.toml"))),
        ("fr", read(include_str!("fr.toml"))),
    ])
});

/// The built-in words in exactly this locale.
pub(super) fn built_in(name: Name, locale: &str) -> Option<&'static Text> {
    BUILT_IN.get(locale)?.get(name.word())
}

/// The locales to look in, the dearest first: the reader's and it without its last parts, the app's likewise, English.
pub(super) fn chain(reader: Option<&str>, app: &str) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for locale in reader.into_iter().filter(|locale| locale.is_ascii()).chain([app, LAST_RESORT]) {
        let locale = canonical(locale);
        let mut rest = locale.as_str();
        while !rest.is_empty() {
            if !chain.iter().any(|known| known == rest) {
                chain.push(rest.to_owned());
            }
            rest = rest.rsplit_once('-').map_or("", |(head, _)| head);
        }
    }
    chain
}

/// A language tag in its usual spelling: `pt_br` is `pt-BR`, `ZH-hant` is `zh-Hant`.
pub(super) fn canonical(locale: &str) -> String {
    let spell = |(n, part): (usize, &str)| match part.len() {
        2 if n > 0 => part.to_ascii_uppercase(),
        4 if n > 0 && part.is_ascii() => part[..1].to_ascii_uppercase() + &part[1..].to_ascii_lowercase(),
        _ => part.to_ascii_lowercase(),
    };
    locale.replace('_', "-").split('-').enumerate().map(spell).collect::<Vec<_>>().join("-")
}
