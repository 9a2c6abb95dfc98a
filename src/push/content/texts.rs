//! The texts of a content that may be templates, each under the name of its field.

use super::{Content, Localised};
use serde_json::Value;
use std::sync::Arc;

/// Whether a text has anything in it that a template engine would read.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

impl Content {
    /// Whether the field of this name, as [`Content::texts`] has it, is a URL: values are encoded there.
    pub fn is_url(field: &str) -> bool {
        matches!(field, "image" | "link" | "android.image")
    }

    /// Every text that may be a template, by the name of its field: `title`, `body_key.args[0]`, `data.gate`.
    pub fn texts(&self) -> Vec<(String, &str)> {
        let mut texts: Vec<(String, &str)> = Vec::with_capacity(4 + self.data.len());
        let body = Some(self.body.as_str()).filter(|body| !body.is_empty());
        for (name, text) in [
            ("title", self.title.as_deref()),
            ("subtitle", self.subtitle.as_deref()),
            ("image", self.image.as_deref()),
            ("link", self.link.as_deref()),
            ("thread", self.thread.as_deref()),
            ("collapse_id", self.collapse_id.as_deref()),
            ("body", body),
        ] {
            texts.extend(text.map(|text| (name.to_owned(), text)));
        }
        for (name, key) in self.keys() {
            texts.extend(key.args.iter().enumerate().map(|(n, arg)| (format!("{name}.args[{n}]"), arg.as_str())));
        }
        texts.extend(self.android.iter().filter_map(|android| Some(("android.image".to_owned(), android.image.as_deref()?))));
        let own = self.data.iter().map(|entry| ("data", entry));
        let androids = self.android.iter().flat_map(|android| &android.data).map(|entry| ("android.data", entry));
        texts.extend(own.chain(androids).filter_map(|(at, (key, value))| Some((format!("{at}.{key}"), value.as_str()?))));
        texts
    }

    /// The same content with every one of these texts replaced, in the order of [`Content::texts`].
    ///
    /// # Errors
    /// What `make` says.
    pub fn with_texts<E>(&self, mut make: impl FnMut(&str, &str) -> Result<String, E>) -> Result<Self, E> {
        let mut content = self.clone();
        let Self { title, subtitle, image, link, thread, collapse_id, .. } = &mut content;
        for (name, text) in [
            ("title", title),
            ("subtitle", subtitle),
            ("image", image),
            ("link", link),
            ("thread", thread),
            ("collapse_id", collapse_id),
        ] {
            if let Some(text) = text {
                *text = make(name, text)?;
            }
        }
        if !content.body.is_empty() {
            content.body = make("body", &content.body)?;
        }
        let Self { title_key, subtitle_key, body_key, .. } = &mut content;
        for (name, key) in [("title_key", title_key), ("subtitle_key", subtitle_key), ("body_key", body_key)] {
            for (n, arg) in key.iter_mut().flat_map(|key| &mut key.args).enumerate() {
                *arg = make(&format!("{name}.args[{n}]"), arg)?;
            }
        }
        if let Some(android) = &mut content.android {
            // Beside sealed words it is read by the gateway: nothing of a person is put into it.
            let image = android.image.as_deref().filter(|_| content.encrypted.is_none());
            let image = image.map(|url| make("android.image", url)).transpose()?;
            // Most are the same for everybody, and then the block stays shared.
            if image.is_some() && image != android.image {
                Arc::make_mut(android).image = image;
            }
        }
        for (key, value) in &mut content.data {
            if let Value::String(text) = value {
                *text = make(&format!("data.{key}"), text)?;
            }
        }
        if let Some(android) = &mut content.android
            && android.data.values().any(Value::is_string)
        {
            for (key, value) in &mut Arc::make_mut(android).data {
                if let Value::String(text) = value {
                    *text = make(&format!("android.data.{key}"), text)?;
                }
            }
        }
        Ok(content)
    }

    /// The keys of translations, by the names of their fields.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, &Localised)> {
        [("title_key", &self.title_key), ("subtitle_key", &self.subtitle_key), ("body_key", &self.body_key)]
            .into_iter()
            .filter_map(|(name, key)| Some((name, key.as_ref()?)))
    }
}
