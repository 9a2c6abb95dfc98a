//! Stub until the rule engine is there.
use super::input::Facts;
use super::message::Words;
use crate::campaign::{Campaign, Offer};
use serde_json::Value;

/// Why a rule could not say yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFault {
    /// It asked for something that is not there.
    MissingProperty,
    /// It compared what does not go together.
    TypeError,
    /// Anything else.
    Failed,
}

/// stub
pub struct Rule;
impl Rule {
    /// stub
    pub fn names_device(&self) -> bool {
        false
    }
}

/// stub
pub struct Terms {
    /// stub
    pub campaign: Campaign,
    /// stub
    pub offer: Offer,
    /// stub
    pub audience: Vec<Rule>,
}

/// stub
pub struct View<'a>(pub &'a Facts);
impl<'a> View<'a> {
    /// stub
    pub fn new(f: &'a Facts) -> Self {
        Self(f)
    }
}

impl View<'_> {
    /// stub
    pub fn holds(&self, _: &Rule, _: Option<&Value>) -> Result<bool, RuleFault> {
        Ok(true)
    }
    /// stub
    pub fn render(&self, _: &Terms, _: &[&str], _: &Value) -> Result<Words, ()> {
        Ok(Words::default())
    }
}
