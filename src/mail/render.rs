//! From a text and its values to a mail's subject, plain body and HTML body.
//!
//! A text may hold `{{ name }}` and `{% if name %}`, `{% if name == "word" %}`, `elif`, `else`, `endif`, and nothing else: no
//! text can cost more than its length. The HTML is made from the rendered plain text, so an app's words need no escaping
//! and can bring in nothing from elsewhere.

use super::template::{Name, Template, Values, link};
use super::texts::Text;
use crate::error::{Error, Result};
use crate::http::check_text;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use regex::Regex;
use std::sync::LazyLock;

/// Longest source of a subject, in characters.
pub(super) const SUBJECT_CHARS_MAX: usize = 300;
/// Longest source of a body, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 10_000;
/// Longest rendered subject, in characters; the rest is cut.
const SUBJECT_SHOWN_MAX: usize = 200;
/// Longest rendered body, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How many steps one text may take.
const FUEL: u64 = 100_000;

/// The words of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_fuel(Some(FUEL));
    // A missing name is a fault of the text, not a gap in the mail.
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_debug(false);
    engine.set_auto_escape_callback(|name| if name == LAYOUT { AutoEscape::Html } else { AutoEscape::None });
    engine
});
const LAYOUT: &str = "layout.html";

static TAG: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let condition = r#"(?:if|elif)\s+(?:not\s+)?[a-z_]+(?:\s*==\s*"[a-z_]*")?"#;
    Regex::new(&format!(r"\{{\{{\s*[a-z_]+\s*\}}\}}|\{{%\s*(?:{condition}|else|endif)\s*%\}}")).ok()
});

/// Renders a text. `values` holds `code` and `link` where the template has them.
///
/// # Errors
/// What is wrong with the text: the part (`subject` or `text`) and why, without any value.
pub(super) fn render(text: &Text, locale: &str, values: &Values) -> Result<Rendered, (&'static str, String)> {
    let part =
        |part: &'static str, source: &str| ENGINE.render_named_str(part, source, values).map_err(|error| (part, explain(&error)));
    let subject = part("subject", &text.subject)?;
    // A subject is one line, whatever was put into it.
    let subject: String = subject.split(char::is_control).collect::<Vec<_>>().join(" ");
    let subject: String = subject.trim().chars().take(SUBJECT_SHOWN_MAX).collect();
    let body: String = part("text", &text.body)?.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    if subject.is_empty() {
        return Err(("subject", "it is empty".to_owned()));
    }
    if body.trim().is_empty() || body.len() > BODY_BYTES_MAX {
        return Err(("text", format!("it must not be empty, nor longer than {BODY_BYTES_MAX} bytes")));
    }
    let html = to_html(&subject, &body, (locale, values)).map_err(|error| ("text", explain(&error)))?;
    Ok(Rendered { subject, text: body, html })
}

/// Refuses an app's own text that cannot be meant: a tag that is not allowed, a name that there is not, or no way to prove
/// anything where the reader has to.
///
/// # Errors
/// 400 that names `subject` or `text`.
pub(super) fn check(name: Name, text: &Text) -> Result<()> {
    check_text("subject", &text.subject, SUBJECT_CHARS_MAX)?;
    if text.body.trim().is_empty() {
        return Err(Error::invalid("text", "required", "must not be empty"));
    }
    if text.body.chars().count() > TEXT_CHARS_MAX {
        return Err(Error::invalid("text", "too_long", format!("may have at most {TEXT_CHARS_MAX} characters")));
    }
    if text.body.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(Error::invalid("text", "invalid", "must not have control characters but line ends and tabs"));
    }
    check_tags("subject", &text.subject)?;
    check_tags("text", &text.body)?;
    for sample in name.samples() {
        let values = values(&sample, ("https://kairos.example", "app_0", "App"), 0)?;
        let rendered = render(text, "en", &values)
            .map_err(|(part, why)| Error::invalid(part, "invalid", format!("{why}; it may use {}", names(&values))))?;
        let shows = |name: &str| values.get(name).and_then(Value::as_str).is_some_and(|proof| rendered.text.contains(proof));
        if name.needs_proof() && !shows("code") && !shows("link") {
            return Err(Error::invalid(
                "text",
                "invalid",
                "must hold {{ code }} or {{ link }}: without them the mail is of no use",
            ));
        }
    }
    Ok(())
}

fn check_tags(field: &str, source: &str) -> Result<()> {
    let tag = TAG.as_ref().ok_or_else(|| Error::broken("the pattern of a mail's tags cannot be read"))?;
    let rest = tag.replace_all(source, " ");
    if ["{{", "{%", "{#"].iter().any(|open| rest.contains(open)) {
        let allowed =
            "only {{ name }}, {% if name %}, {% if name == \"word\" %}, {% elif … %}, {% else %} and {% endif %} are allowed";
        return Err(Error::invalid(field, "invalid", allowed));
    }
    Ok(())
}

/// The values of a template, with what every mail has.
///
/// # Errors
/// When the token is not safe in a URL: a fault of ours.
pub(super) fn values(template: &Template, (public_url, app, app_name): (&str, &str, &str), now_ms: i64) -> Result<Values> {
    let mut values = template.values(now_ms);
    values.insert("app", Value::from(app_name));
    values.insert("at", Value::from(super::template::minute(now_ms)));
    if let Some((proof, page)) = template.proof() {
        values.insert("link", Value::from(link(public_url, (app, page), &proof.token)?));
    }
    Ok(values)
}

fn names(values: &Values) -> String {
    values.keys().copied().collect::<Vec<_>>().join(", ")
}

/// The plain text as HTML: paragraphs, the link to be followed, the code to be read.
fn to_html(subject: &str, body: &str, (locale, values): (&str, &Values)) -> Result<String, minijinja::Error> {
    let marks: Vec<(&str, &str)> = ["link", "code"]
        .into_iter()
        .filter_map(|kind| Some((kind, values.get(kind)?.as_str().filter(|text| !text.is_empty())?)))
        .collect();
    let paragraphs: Vec<Vec<Value>> = body.split("\n\n").map(|paragraph| pieces(paragraph.trim(), &marks)).collect();
    ENGINE.render_named_str(LAYOUT, include_str!("texts/layout.html"), context! { locale, subject, paragraphs })
}

/// A paragraph in pieces: what is the link, what is the code, what is neither.
fn pieces(mut rest: &str, marks: &[(&str, &str)]) -> Vec<Value> {
    let piece = |kind: &str, text: &str| context! { kind, text };
    let mut pieces = Vec::new();
    while let Some((at, kind, text)) =
        marks.iter().filter_map(|(kind, text)| Some((rest.find(text)?, *kind, *text))).min_by_key(|(at, ..)| *at)
    {
        pieces.extend([piece("text", &rest[..at]), piece(kind, text)]);
        rest = &rest[at + text.len()..];
    }
    pieces.push(piece("text", rest));
    pieces
}

/// What the engine says, without values, which may be somebody's.
fn explain(error: &minijinja::Error) -> String {
    let line = error.line().map(|n| format!(" in line {n}")).unwrap_or_default();
    match error.kind() {
        minijinja::ErrorKind::UndefinedError => format!("it uses a name that there is not{line}"),
        minijinja::ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        minijinja::ErrorKind::SyntaxError => format!("it cannot be read: {}{line}", error.detail().unwrap_or("")),
        _ => format!("it cannot be rendered{line}"),
    }
}
