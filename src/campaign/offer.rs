//! An offer: something worth saying in a moment, what it is worth, to whom, and in whose words.

use super::check::{Check, NAME_CHARS_MAX, SPAN_MS_MAX};
use super::template::Template;
use crate::clock::Time;
use crate::error::Result;
use crate::id::PartnerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Highest value, cost or weight: a bound that keeps products of them finite.
const VALUE_MAX: f64 = 1e12;
/// Highest stock.
const STOCK_MAX: i64 = 1_000_000_000_000;

/// Something worth saying in a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Whose offer it is; absent: the app's own. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner_id: Option<PartnerId>,
    /// The purpose that the user must have consented to, when it has basis `consent`; a partner's offer always names one.
    #[schema(max_length = 64)]
    pub purpose: String,
    /// The topic that the user must not have switched off.
    #[schema(max_length = 64)]
    pub topic: String,
    /// How it stands with pause, quiet hours and caps.
    #[serde(default)]
    pub class: Class,
    /// What it is worth when it arrives at once, in the app's currency; above 0.
    #[schema(exclusive_minimum = 0)]
    pub base_value: f64,
    /// What it must still be worth on arrival.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub min_value: f64,
    /// A rule over `user, device, event, moment, place, thing` that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// By when it must be handed over, if earlier than the moment's close.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<DeliverBy>,
    /// Until when its words stay in the person's inbox, also when no push gets through; absent: until the deadline, when
    /// one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox_until: Option<DeliverBy>,
    /// How many may be chosen in all; absent: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub stock: Option<i64>,
    /// What caps per category count it under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub category: Option<String>,
    /// At most one offer of a group is chosen in one moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub exclusive_group: Option<String>,
    /// A factor of its score.
    #[serde(default = "one")]
    #[schema(exclusive_minimum = 0)]
    pub weight: f64,
    /// What an accepted message costs, in the app's currency.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub cost: f64,
    /// Its words.
    pub template: Template,
}

fn one() -> f64 {
    1.0
}

/// How an offer stands with pause, quiet hours and caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OfferClass)]
pub enum Class {
    /// Held by all of them.
    #[default]
    Normal,
    /// A service message on a topic that users cannot switch off: passes all of them and counts in none.
    Critical,
}

/// By when an offer must be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliverBy {
    /// An instant.
    At(Time),
    /// A span from the moment's opening, in milliseconds.
    AfterMs(i64),
}

impl DeliverBy {
    /// The instant for a moment that opened then, in UTC milliseconds.
    pub fn due_ms(self, opened_ms: i64) -> i64 {
        match self {
            Self::At(time) => time.0,
            Self::AfterMs(span_ms) => opened_ms.saturating_add(span_ms),
        }
    }
}

impl Offer {
    /// Checks everything that needs no look into the database. The rule and the template are compiled elsewhere.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub fn check(&self) -> Result<()> {
        let mut check = Check::default();
        check.words("name", &self.name, NAME_CHARS_MAX);
        check.key("purpose", &self.purpose);
        check.key("topic", &self.topic);
        for (field, key) in [("category", &self.category), ("exclusive_group", &self.exclusive_group)] {
            if let Some(key) = key {
                check.key(field, key);
            }
        }
        for (field, value) in [("base_value", self.base_value), ("weight", self.weight)] {
            if !(value > 0.0 && value <= VALUE_MAX) {
                check.refuse(field, "out_of_range", format!("must be above 0 and at most {VALUE_MAX}"));
            }
        }
        check.range("min_value", self.min_value, 0.0..=VALUE_MAX);
        check.range("cost", self.cost, 0.0..=VALUE_MAX);
        if let Some(stock) = self.stock {
            check.range("stock", stock, 0..=STOCK_MAX);
        }
        match self.deliver_by {
            Some(DeliverBy::AfterMs(span_ms)) => check.range("deliver_by.after_ms", span_ms, 1_000..=SPAN_MS_MAX),
            Some(DeliverBy::At(_)) | None => {}
        }
        match self.inbox_until {
            Some(DeliverBy::AfterMs(span_ms)) => check.range("inbox_until.after_ms", span_ms, 1_000..=SPAN_MS_MAX),
            Some(DeliverBy::At(_)) | None => {}
        }
        self.template.check(&mut check);
        check.finish()
    }
}
