//! A sample of what rules and templates will see: every name, with every declared attribute in its type.
//!
//! A rule that cannot be right on any sample is refused when it is saved. What events and things carry is not declared:
//! a property that a rule names is tried as a number, a text, a boolean and a list.

use super::{Name, Rule, RuleFailure, RuleFault, Scope};
use serde_json::{Map, Value, json};

/// Rules that name more undeclared properties than this are tried on uniform samples only.
const COMBINED_MAX: usize = 3;

/// The sample of one app.
#[derive(Debug, Clone)]
pub struct Sample(Vec<(Name, Value)>);

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::campaign) enum Use {
    /// It is true or false.
    Truth,
    /// Its value tells moments apart.
    Key,
}

impl Sample {
    /// The sample of an app that has declared these attributes of users: name and kind (`string`, `number`, `boolean`,
    /// `time`, `list`).
    pub fn new(attributes: impl IntoIterator<Item = (String, String)>) -> Self {
        let attributes: Map<String, Value> = attributes.into_iter().map(|(key, kind)| (key, of_kind(&kind))).collect();
        let time = "2026-01-31T08:30:00.000Z";
        let id = |prefix: &str| format!("{prefix}_0190163d8694739baea5966c26f8ad91");
        Self(vec![
            (
                Name::User,
                json!({"id": id("usr"), "external_id": "sample", "anonymous": false, "locale": "en", "time_zone": "Europe/Paris",
                    "attributes": attributes}),
            ),
            (
                Name::Device,
                json!({"id": id("dev"), "platform": "ios", "locale": "en", "time_zone": "Europe/Paris", "app_version": "1.0.0",
                    "push_permission": "granted", "last_seen_at": time}),
            ),
            (
                Name::Event,
                json!({"id": id("evt"), "type": "sample", "source": "server", "occurred_at": time, "received_at": time,
                    "partner_id": id("ptn"), "location": {"lat": 48.73, "lon": 2.37, "accuracy_m": 5.0}, "properties": {}}),
            ),
            (Name::Moment, json!({"kind": "sample", "key": "sample", "opened_at": time, "closes_at": time})),
            (Name::Place, json!({"id": id("plc"), "key": "sample", "name": "Sample", "tags": ["sample"]})),
            (Name::Thing, json!({"id": id("thg"), "key": "sample", "class": "sample", "properties": {}})),
        ])
    }

    /// The facts by name, for templates.
    pub fn facts(&self) -> impl Iterator<Item = (Name, &Value)> {
        self.0.iter().map(|(name, facts)| (*name, facts))
    }

    fn declares(&self, attribute: &str) -> bool {
        self.0.iter().any(|(name, facts)| *name == Name::User && facts["attributes"].get(attribute).is_some())
    }

    fn scope(&self, free: &[(Name, &str, Value)]) -> Scope<'static> {
        let mut scope = Scope::new();
        for (name, facts) in &self.0 {
            let mut facts = facts.clone();
            for (_, property, value) in free.iter().filter(|(of, ..)| of == name) {
                facts["properties"][*property] = value.clone();
            }
            scope.set(*name, &facts);
        }
        scope
    }
}

fn of_kind(kind: &str) -> Value {
    match kind {
        "number" => json!(1.0),
        "boolean" => json!(true),
        "time" => json!("2026-01-31T08:30:00.000Z"),
        "list" => json!(["sample"]),
        _ => json!("sample"),
    }
}

/// What an undeclared property may be.
fn guesses() -> [Value; 5] {
    [json!(1.0), json!("sample"), json!(true), json!(["sample"]), json!("2026-01-31T08:30:00.000Z")]
}

impl Rule {
    /// Compiles a rule that an author wants to save, and tries it on the app's sample.
    ///
    /// # Errors
    /// What the author should mend.
    pub(in crate::campaign) fn compile_for(source: &str, used_as: Use, sample: &Sample) -> Result<Self, RuleFault> {
        let rule = Self::compile(source)?;
        if let Some(unknown) = rule.findings.attributes.iter().find(|attribute| !sample.declares(attribute)) {
            return Err(RuleFault(format!("the attribute `{unknown}` of users is not declared")));
        }
        match rule.tried(used_as, sample) {
            Err(failure) if !rule.findings.opaque => Err(RuleFault(format!("the rule fails on a sample: {failure}"))),
            Err(_) | Ok(()) => Ok(rule),
        }
    }

    /// Runs the rule with each guess at what is not declared, until one gives an answer.
    fn tried(&self, used_as: Use, sample: &Sample) -> Result<(), RuleFailure> {
        let free: Vec<(Name, &str)> = self.findings.free.iter().map(|(name, property)| (*name, property.as_str())).collect();
        let guesses = guesses();
        let combined = free.len() <= COMBINED_MAX;
        let tries = if combined { guesses.len().pow(u32::try_from(free.len()).unwrap_or(0)) } else { guesses.len() };
        let mut last = Ok(());
        for n in 0..tries {
            let digit = |at: usize| if combined { n / guesses.len().pow(u32::try_from(at).unwrap_or(0)) } else { n };
            let assigned: Vec<(Name, &str, Value)> = free
                .iter()
                .enumerate()
                .map(|(at, (name, property))| (*name, *property, guesses[digit(at) % guesses.len()].clone()))
                .collect();
            let scope = sample.scope(&assigned);
            last = match used_as {
                Use::Truth => self.holds(&scope).map(drop),
                Use::Key => self.key(&scope).map(drop),
            };
            match &last {
                Ok(()) => return Ok(()),
                // A sample's text is no time and its list may be short: that says nothing against the rule.
                Err(RuleFailure::BadValue(_)) => return Ok(()),
                Err(RuleFailure::MissingProperty(_) | RuleFailure::TypeError(_)) => {}
            }
        }
        // With many undeclared properties not every mix was tried, so nothing is proved.
        if combined { last } else { Ok(()) }
    }
}
