//! Rules: CEL over what is known of a moment. Parsed once, refused early, run with a bounded cost, never a panic.
//!
//! | name | properties |
//! |---|---|
//! | `user` | `id, external_id, anonymous, locale, time_zone, attributes.<declared>` |
//! | `device` | `id, platform, locale, time_zone, app_version, push_permission, last_seen_at` |
//! | `event` | `id, type, source, occurred_at, received_at, partner_id, location.{lat, lon, accuracy_m}, properties.<any>` |
//! | `moment` | `kind, key, opened_at, closes_at` |
//! | `place` | `id, key, name, tags` |
//! | `thing` | `id, key, class, properties.<any>` |
//!
//! Values are those of JSON: every number is a `double`, times are RFC 3339 texts that `timestamp()` reads. What is not
//! known is missing, not null: ask with `has()`.
//!
//! The crate has no type checker and no cost limit. So a rule has no loops (comprehension macros are refused), a capped
//! length and depth, names and functions from closed lists and a cost that is summed up before it first runs; when
//! saved it is run on a sample that has every declared attribute in its type.

mod audit;
mod sample;
mod scope;

pub use sample::Sample;
pub(in crate::campaign) use sample::Use;
pub use scope::{Name, Scope};

use cel::common::ast::Expr;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelUInt};
use cel::common::value::CowVal;
use cel::{ExecutionError, IdedExpr, Value};

/// Longest source of a rule, in bytes.
pub const SOURCE_BYTES_MAX: usize = 2_000;

/// A rule that may run.
#[derive(Debug, Clone)]
pub struct Rule {
    /// None: it could be read when it was saved and no longer can.
    expr: Option<IdedExpr>,
    findings: audit::Findings,
}

/// Why a text is no rule; the words are for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault(pub String);

impl std::fmt::Display for RuleFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a rule gave no answer this time. It refuses its candidate, with this reason; it holds no value of a person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleFailure {
    /// A property that the rule names is not known; `has()` asks for it without failing.
    MissingProperty(String),
    /// A value is not of the type that the rule takes it for.
    TypeError(String),
    /// A division by zero, an overflow, a text that is no time.
    BadValue(String),
}

impl std::fmt::Display for RuleFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MissingProperty(name) => write!(f, "missing_property: {name}"),
            Self::TypeError(what) => write!(f, "type_error: {what}"),
            Self::BadValue(what) => write!(f, "bad_value: {what}"),
        }
    }
}

impl std::error::Error for RuleFailure {}

impl Rule {
    /// Parses a rule and checks everything that does not depend on what the app has declared.
    ///
    /// # Errors
    /// What its author should mend.
    pub fn compile(source: &str) -> Result<Self, RuleFault> {
        let mut expr = audit::parse(source)?;
        let findings = audit::audit(&mut expr)?;
        Ok(Self { expr: Some(expr), findings })
    }

    /// A rule that has no answer, in the place of a stored one that can no longer be read.
    pub(super) fn unreadable() -> Self {
        Self { expr: None, findings: audit::Findings::default() }
    }

    /// Whether it names this.
    pub fn uses(&self, name: Name) -> bool {
        self.findings.names.contains(&name)
    }

    /// Whether it may read this attribute of users.
    pub fn reads(&self, attribute: &str) -> bool {
        self.findings.any_attribute || self.findings.attributes.contains(attribute)
    }

    /// The attributes of users that it names.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.findings.attributes.iter().map(String::as_str)
    }

    /// Those of them that it asks for with `has()`: without them it is false, where it would else have no answer.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        self.findings.asked.iter().map(String::as_str)
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// When it has no answer; a refusal, not a fault.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, RuleFailure> {
        let value = self.run(scope)?;
        match value.downcast_ref::<CelBool>() {
            Some(answer) => Ok(*answer.inner()),
            None => Err(RuleFailure::TypeError(format!("a rule must be true or false, not {}", value.get_type().name()))),
        }
    }

    /// Its value as a key: a text, a number or a boolean.
    ///
    /// # Errors
    /// When it has no answer; a refusal, not a fault.
    pub fn key(&self, scope: &Scope<'_>) -> Result<String, RuleFailure> {
        let value = self.run(scope)?;
        if let Some(text) = value.downcast_ref::<CelString<'_>>() {
            return Ok(text.inner().to_owned());
        }
        if let Some(number) = value.downcast_ref::<CelDouble>() {
            return Ok(number.inner().to_string());
        }
        if let Some(number) = value.downcast_ref::<CelInt>() {
            return Ok(number.inner().to_string());
        }
        if let Some(number) = value.downcast_ref::<CelUInt>() {
            return Ok(number.inner().to_string());
        }
        if let Some(answer) = value.downcast_ref::<CelBool>() {
            return Ok(answer.inner().to_string());
        }
        Err(RuleFailure::TypeError(format!("a key must be a text, a number or a boolean, not {}", value.get_type().name())))
    }

    fn run<'e>(&'e self, scope: &'e Scope<'_>) -> Result<CowVal<'e, 'static>, RuleFailure> {
        let expr = self.expr.as_ref().ok_or_else(|| RuleFailure::BadValue("the rule can no longer be read".into()))?;
        Value::resolve_val(expr, scope.context()).map_err(failure)
    }
}

/// What the crate says, without the values, which may be somebody's.
fn failure(error: ExecutionError) -> RuleFailure {
    match error {
        ExecutionError::NoSuchKey(name) | ExecutionError::UndeclaredReference(name) => {
            RuleFailure::MissingProperty(name.to_string())
        }
        ExecutionError::NoSuchOverload(overload) => RuleFailure::TypeError(overload.to_string()),
        ExecutionError::ValuesNotComparable(..) => RuleFailure::TypeError("the two values cannot be compared".into()),
        ExecutionError::UnexpectedType { got, want } => RuleFailure::TypeError(format!("got {got}, want {want}")),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            RuleFailure::TypeError(format!("`{operator}` is not for values of these types"))
        }
        ExecutionError::UnsupportedIndex(..) | ExecutionError::UnsupportedKeyType(_) => {
            RuleFailure::TypeError("this value is no index".into())
        }
        ExecutionError::UnsupportedTargetType { .. } | ExecutionError::NotSupportedAsMethod { .. } => {
            RuleFailure::TypeError("the function is not for values of this type".into())
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            RuleFailure::BadValue("division by zero".into())
        }
        ExecutionError::Overflow(..) => RuleFailure::BadValue("the number is too large".into()),
        ExecutionError::IndexOutOfBounds(_) => RuleFailure::BadValue("the list is shorter than that".into()),
        ExecutionError::FunctionError { function, .. } => RuleFailure::BadValue(format!("{function} cannot read this value")),
        _ => RuleFailure::BadValue("the rule cannot be worked out".into()),
    }
}

/// `event.properties.<name>` or `thing.properties.<name>`: what only the sender knows.
fn free_property(expr: &Expr) -> Option<(Name, &str)> {
    let Expr::Select(last) = expr else { return None };
    let Expr::Select(middle) = &last.operand.expr else { return None };
    let Expr::Ident(root) = &middle.operand.expr else { return None };
    let name = Name::parse(root).filter(|name| matches!(name, Name::Event | Name::Thing))?;
    (middle.field == "properties").then_some((name, last.field.as_str()))
}
