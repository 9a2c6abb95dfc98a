//! Templates at work: compiled once, rendered with bounded effort, in the best locale there is.

mod engine;
mod reads;
mod url;

use super::rule::{Name, Sample};
use super::template::Template;
use crate::push::Content;
use crate::push::content::is_template;
use engine::{Bounded, ENGINE, FUEL, OUTPUT_BYTES_MAX, Properties, TOO_LONG, explain, tame, to_value};
use minijinja::value::{Object, ObjectRepr};
use minijinja::{Environment, Value};
use reads::Reads;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many steps all texts of a template may take together when they are tried.
const TRIAL_FUEL: u64 = 1_000_000;

/// A compiled template.
#[derive(Debug)]
pub struct Words {
    engine: Environment<'static>,
    fallback: String,
    /// Lower-case locale → (locale, what is said in it).
    locales: BTreeMap<String, (String, Content)>,
    reads: Reads,
}

/// A person's words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rendered {
    /// The locale of the variant that was taken.
    pub locale: String,
    /// What is said.
    pub content: Content,
}

/// Why a template gave no words this time. It silences its candidate, with this reason; it holds no value of a person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RenderFailure {
    /// The locale of the variant.
    pub locale: String,
    /// `title`, `body`, `data.<key>`, …
    pub part: String,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for RenderFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}: {}", self.part, self.locale, self.reason)
    }
}

impl std::error::Error for RenderFailure {}

/// What templates may say: the same names as in rules, and `offer`.
#[derive(Debug, Clone, Default)]
pub struct Known(BTreeMap<&'static str, Value>);

impl Known {
    /// Says what a name stands for; null stands for an object without properties.
    pub fn set(&mut self, name: Name, facts: &serde_json::Value) {
        let value = if facts.is_object() { to_value(facts) } else { Value::from_object(Properties::new()) };
        self.0.insert(name.word(), value);
    }

    /// Says what the words are about: the offer's `id`, `name`, `category`.
    pub fn set_offer(&mut self, facts: &serde_json::Value) {
        self.0.insert("offer", to_value(facts));
    }

    fn root(&self) -> Value {
        Value::from_object(self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Properties>())
    }
}

impl Words {
    /// Compiles every text of a template.
    ///
    /// # Errors
    /// The fields at fault and what their author should mend.
    pub fn compile(template: &Template) -> Result<Self, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let mut engine = ENGINE.clone();
        let (mut locales, mut reads) = (BTreeMap::new(), Reads::default());
        for (locale, variant) in &template.variants {
            for (part, source) in variant.texts() {
                reads.add(source);
                let compiled = tame(source).and_then(|()| {
                    engine.add_template_owned(text_name(locale, &part), source.to_owned()).map_err(|e| explain(&e))
                });
                if let Err(message) = compiled {
                    faults.push((format!("template.variants.{locale}.{part}"), message));
                }
            }
            locales.insert(locale.to_ascii_lowercase(), (locale.clone(), variant.clone()));
        }
        if faults.is_empty() { Ok(Self { engine, fallback: template.fallback.clone(), locales, reads }) } else { Err(faults) }
    }

    /// Words that fail, in the place of a stored template that can no longer be read.
    pub(super) fn unreadable(template: &Template) -> Self {
        let (engine, fallback) = (ENGINE.clone(), template.fallback.clone());
        Self { engine, fallback, locales: BTreeMap::new(), reads: Reads::default() }
    }

    /// Whether any of its texts may read this attribute of users.
    pub fn reads(&self, attribute: &str) -> bool {
        self.reads.has(attribute)
    }

    /// Compiles a template that an author wants to save, and tries every variant on the app's sample.
    pub(super) fn compile_for(template: &Template, sample: &Sample) -> Result<Self, Vec<(String, String)>> {
        let words = Self::compile(template)?;
        let mut faults = Vec::new();
        let (mut guesses, spent) = (Guess::ALL.map(|guess| guess.known(sample)), Cell::new(0));
        for locale in template.variants.keys() {
            // What events and things carry is not declared: one guess that works is enough.
            let mut first = None;
            let good = guesses.iter().position(|known| {
                words.render_in(locale, known, &spent).map_err(|failure| first.get_or_insert(failure).clone()).is_ok()
            });
            if spent.get() > TRIAL_FUEL {
                let message = "up to here all texts together take too many steps: use fewer loops, `data` or variants";
                faults.push((format!("template.variants.{locale}"), message.to_owned()));
                break;
            }
            match (good, first) {
                // Variants are much alike: the next one begins with the guess that worked.
                (Some(n), _) => guesses.swap(0, n),
                (None, Some(RenderFailure { part, reason, .. })) => {
                    faults.push((format!("template.variants.{locale}.{part}"), format!("fails on a sample: {reason}")));
                }
                (None, None) => {}
            }
        }
        if faults.is_empty() { Ok(words) } else { Err(faults) }
    }

    /// The words for somebody who reads these locales, the dearest first.
    ///
    /// # Errors
    /// When the template has no words for this context; a silence, not a fault.
    pub fn render(&self, locales: &[&str], known: &Known) -> Result<Rendered, RenderFailure> {
        let rendered = self.render_in(self.choose(locales), known, &Cell::new(0))?;
        // Not asked of samples: what a guess makes of a URL says nothing.
        match rendered.content.fault() {
            Some((part, why)) => Err(RenderFailure { locale: rendered.locale, part, reason: why.to_owned() }),
            None => Ok(rendered),
        }
    }

    /// The locale of the variant for somebody who reads these: of the first one that has any, the very one, else it
    /// without its last parts; else the fallback.
    pub fn choose(&self, locales: &[&str]) -> &str {
        for locale in locales {
            let wanted = locale.replace('_', "-").to_ascii_lowercase();
            let mut wanted = wanted.as_str();
            while !wanted.is_empty() {
                if let Some((found, _)) = self.locales.get(wanted) {
                    return found;
                }
                wanted = wanted.rsplit_once('-').map_or("", |(shorter, _)| shorter);
            }
        }
        &self.fallback
    }

    /// Adds the steps that it took to `spent`.
    fn render_in(&self, locale: &str, known: &Known, spent: &Cell<u64>) -> Result<Rendered, RenderFailure> {
        let fail = |part: &str, reason: &str| RenderFailure {
            locale: locale.to_owned(),
            part: part.to_owned(),
            reason: reason.to_owned(),
        };
        let (_, source) =
            self.locales.get(&locale.to_ascii_lowercase()).ok_or_else(|| fail("template", "there is no such text"))?;
        let root = OnceCell::new();
        let content = source.with_texts(|part, source| {
            let text = match is_template(source) {
                true => self.text((locale, part), root.get_or_init(|| known.root()), spent).map_err(|why| fail(part, &why))?,
                false if source.len() > OUTPUT_BYTES_MAX => return Err(fail(part, TOO_LONG)),
                false => source.to_owned(),
            };
            if is_data(part) {
                return Ok(text);
            }
            let shown = text.trim();
            if shown.is_empty() && !part.contains("args") {
                return Err(fail(part, "the text is blank"));
            }
            Ok(if shown.len() == text.len() { text } else { shown.to_owned() })
        })?;
        Ok(Rendered { locale: locale.to_owned(), content })
    }

    fn text(&self, (locale, part): (&str, &str), root: &Value, spent: &Cell<u64>) -> Result<String, String> {
        let template = self.engine.get_template(&text_name(locale, part)).map_err(|_| "there is no such text".to_owned())?;
        let mut output = Bounded::new();
        let rendered = template.render_captured_to(root.clone(), &mut output);
        let steps = match &rendered {
            Ok(rendered) => rendered.state().fuel_levels().map_or(0, |(used, _)| used),
            // How far it came is not told; without a loop it has no more steps than letters.
            Err(_) if template.source().contains("for") => FUEL,
            Err(_) => template.source().len() as u64,
        };
        spent.set(spent.get() + steps);
        rendered.map_err(|e| explain(&e))?;
        String::from_utf8(output.0).map_err(|_| "the text is no UTF-8".to_owned())
    }
}

/// Whether a text is for the app, which gets it as it is.
fn is_data(part: &str) -> bool {
    part.starts_with("data.") || part.starts_with("android.data.")
}

fn text_name(locale: &str, part: &str) -> String {
    format!("{locale}/{part}")
}

/// What every undeclared property is taken for on a sample.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Anything,
    Number,
    Text,
    List,
}

impl Guess {
    const ALL: [Self; 4] = [Self::Anything, Self::Number, Self::Text, Self::List];

    fn known(self, sample: &Sample) -> Known {
        let mut known = Known::default();
        for (name, facts) in sample.facts() {
            known.set(name, facts);
            if let (Name::Event | Name::Thing, Some(map)) = (name, facts.as_object()) {
                let mut object: Properties = map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect();
                object.insert("properties".into(), Value::from_object(Undeclared(self)));
                known.0.insert(name.word(), Value::from_object(object));
            }
        }
        known.set_offer(
            &serde_json::json!({"id": "ofr_0190163d8694739baea5966c26f8ad91", "name": "Sample", "category": "sample"}),
        );
        known
    }
}

/// Properties of which only the sender knows: every one is there, and what we guess it to be.
#[derive(Debug)]
struct Undeclared(Guess);

impl Object for Undeclared {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(match self.0 {
            Guess::Anything => Value::from_object(Self(Guess::Anything)),
            Guess::Number => Value::from(1),
            Guess::Text => Value::from("sample"),
            Guess::List => vec![Value::from("sample")].into(),
        })
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sample")
    }
}
