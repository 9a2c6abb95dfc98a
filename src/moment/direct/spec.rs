//! What a direct push says, to what kind of audience, when: as it is asked for, as it is kept, and as a decision takes it.

use crate::campaign::check::{Check, NAME_CHARS_MAX, SPAN_MS_MAX};
use crate::campaign::template::{NO_LOCALE, VARIANTS_MAX, is_locale};
use crate::campaign::{Campaign, Class, DeliverBy, Devices, LocalTime, Mode, Offer, Schedule, Start, Template, Variant, When};
use crate::clock::{DAY_MS, Time};
use crate::error::{Error, Result};
use crate::http::unique_keys;
use crate::id::PushId;
use crate::moment::direct::audience::Audience;
use crate::moment::terms::Terms;
use crate::moment::value::SKEW_MS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The longest that a push may be worth delivering: no gateway keeps one longer.
const TTL_MS_MAX: i64 = 28 * DAY_MS;
/// A list of up to so many goes out like a moment's pushes, a longer one behind them.
const FEW_MAX: usize = 50;
/// The locale of the words for everybody whose language has none of its own: ISO 639's "undetermined".
pub(super) const UNDETERMINED: &str = "und";
/// Most translations: `content` is a locale more.
const TRANSLATIONS_MAX: usize = VARIANTS_MAX - 1;
/// Most bytes of all words of a push, as they are kept: each of its steps reads them.
const WORDS_BYTES_MAX: usize = 256 * 1_024;
/// Longest collapse id, in bytes: APNs takes no more.
const COLLAPSE_ID_BYTES_MAX: usize = 64;

/// A direct push to be sent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPush {
    /// What people call it; never shown on a phone.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub name: Option<String>,
    /// The purpose that its users must have consented to, when it has basis `consent`.
    #[schema(max_length = 64)]
    pub purpose: String,
    /// How it stands with pause, quiet hours and caps; `critical` needs a critical topic.
    #[serde(default)]
    pub class: Class,
    /// The topic that users must not have switched off; absent: that of the audience, else none.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub topic: Option<String>,
    /// What caps per category count it under.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub category: Option<String>,
    /// To whom.
    pub audience: Audience,
    /// The words; each text is a template, as those of offers.
    pub content: Variant,
    /// The words for those who read another language, by locale; at most 49 locales.
    #[serde(default, deserialize_with = "unique_keys")]
    pub translations: BTreeMap<String, Variant>,
    /// When: an instant, or with `local` a wall-clock time without a zone such as `2026-12-24T18:30:00`. Absent: now.
    #[serde(default)]
    #[schema(max_length = 40)]
    pub send_at: Option<String>,
    /// Whether `send_at` is a time of each user's own clock.
    #[serde(default)]
    pub local: bool,
    /// Not at or after this instant.
    #[serde(default)]
    pub deliver_by: Option<Time>,
    /// Not later than this after its time, in milliseconds; a day when `deliver_by` is absent too.
    #[serde(default)]
    #[schema(minimum = 1000, maximum = 2_419_200_000_i64)]
    pub ttl_ms: Option<i64>,
    /// Which of a user's devices get it.
    #[serde(default)]
    pub devices: Devices,
    /// What happens to a message whose fate is not known after a crash or a cut connection.
    #[serde(default)]
    pub mode: Mode,
    /// Pushes with the same id replace each other on the phone; absent: each has its own.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    pub collapse_id: Option<String>,
    /// Checks and counts everything, stores and sends nothing.
    #[serde(default)]
    pub validate_only: bool,
}

/// What kind of audience a push has; who is in a list is kept apart, until it is decided about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = PushAudience)]
pub enum Kind {
    /// Users and devices that the caller named.
    List {
        /// How many entries the list had.
        named: usize,
    },
    /// Everybody who has a topic on.
    Topic {
        /// Which.
        topic: String,
    },
    /// Everybody of whom a rule is true.
    Rule {
        /// The rule.
        rule: String,
    },
}

/// What is kept of a push: nobody is named in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The purpose.
    pub purpose: String,
    /// The class.
    pub class: Class,
    /// The topic, if any.
    pub topic: Option<String>,
    /// The category, if any.
    pub category: Option<String>,
    /// To whom, in general.
    pub audience: Kind,
    /// The words by locale.
    pub template: Template,
    /// When.
    pub when: When,
    /// For how long it is worth delivering, in milliseconds.
    pub window_ms: i64,
    /// The instant before which it has to be handed over.
    pub deliver_by: Option<Time>,
    /// Which of a user's devices.
    pub devices: Devices,
    /// What happens to a message whose fate is not known.
    pub mode: Mode,
    /// By which a phone replaces what it shows.
    pub collapse_id: Option<String>,
}

impl NewPush {
    /// Everything about it that needs no look into the database.
    ///
    /// # Errors
    /// 400 that names every field at fault.
    pub fn spec(&self, now_ms: i64) -> Result<Spec> {
        let mut check = Check::default();
        if let Some(name) = &self.name {
            check.words("name", name, NAME_CHARS_MAX);
        }
        let when = self.when(&mut check, now_ms);
        let kind = self.audience.kind(&mut check);
        if let Some(ttl_ms) = self.ttl_ms {
            check.range("ttl_ms", ttl_ms, 1_000..=TTL_MS_MAX);
            if self.deliver_by.is_some() {
                check.refuse("ttl_ms", "conflict", "give either ttl_ms or deliver_by");
            }
        }
        if let Some(id) = &self.collapse_id
            && !((1..=COLLAPSE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
        {
            check.refuse("collapse_id", "invalid", "must have 1 to 64 visible ASCII characters");
        }
        self.check_locales(&mut check);
        if let (Some(by), Some(When::At(at))) = (self.deliver_by, when)
            && by.0 <= at.0
        {
            check.refuse("deliver_by", "out_of_range", "must be after send_at");
        }
        check.finish()?;
        let (Some(when), Some(kind)) = (when, kind) else { return Err(Error::broken("a checked push has no time or audience")) };
        let mut variants = self.translations.clone();
        variants.insert(UNDETERMINED.to_owned(), self.content.clone());
        let template = Template { fallback: UNDETERMINED.to_owned(), variants };
        if serde_json::to_vec(&template).map_err(Error::broken)?.len() > WORDS_BYTES_MAX {
            let message = format!("all words together must have at most {WORDS_BYTES_MAX} bytes");
            return Err(Error::invalid("translations", "too_long", message));
        }
        let of_audience = match &kind {
            Kind::Topic { topic } => Some(topic.clone()),
            Kind::List { .. } | Kind::Rule { .. } => None,
        };
        Ok(Spec {
            purpose: self.purpose.clone(),
            class: self.class,
            topic: self.topic.clone().or(of_audience),
            category: self.category.clone(),
            audience: kind,
            template,
            when,
            window_ms: self.ttl_ms.unwrap_or(if self.deliver_by.is_some() { SPAN_MS_MAX } else { DAY_MS }),
            deliver_by: self.deliver_by,
            devices: self.devices,
            mode: self.mode,
            collapse_id: self.collapse_id.clone(),
        })
    }

    /// The locales of its translations: refused later, as variants of an offer, they would go by names that no push has.
    fn check_locales(&self, check: &mut Check) {
        check.count("translations", self.translations.len(), 0..=TRANSLATIONS_MAX);
        for locale in self.translations.keys() {
            if locale == UNDETERMINED {
                check.refuse(format!("translations.{locale}"), "invalid", "say in `content` what everybody else reads");
            } else if !is_locale(locale) {
                check.refuse(format!("translations.{locale}"), "invalid", NO_LOCALE);
            }
        }
    }

    fn when(&self, check: &mut Check, now_ms: i64) -> Option<When> {
        let Some(text) = self.send_at.as_deref() else {
            if self.local {
                check.refuse("send_at", "required", "a push at a local time needs one");
            }
            return Some(When::At(Time(now_ms)));
        };
        // The first and the last zone in which a clock shows it.
        let (when, first_ms, last_ms) = if self.local {
            let local = LocalTime::parse(text).map_err(|why| check.refuse("send_at", "invalid", why)).ok()?;
            let utc_ms = local.due_ms("UTC").ok()?;
            (When::Local(local), utc_ms.saturating_sub(super::zones::EAST_MS), utc_ms.saturating_add(super::zones::WEST_MS))
        } else {
            let Ok(at) = Time::parse(text) else {
                check.refuse("send_at", "invalid", "expected an instant such as 2026-12-24T18:30:00Z");
                return None;
            };
            (When::At(Time(at.0.max(now_ms))), at.0, at.0)
        };
        if last_ms < now_ms - SKEW_MS || first_ms > now_ms.saturating_add(SPAN_MS_MAX) {
            check.refuse("send_at", "out_of_range", "must be ahead, by at most 366 days");
        }
        Some(when)
    }
}

impl Spec {
    /// The same without its words.
    pub fn blank(&self) -> Self {
        let fallback = self.template.fallback.clone();
        let variants = BTreeMap::from([(fallback.clone(), Variant::default())]);
        Self { template: Template { fallback, variants }, collapse_id: None, ..self.clone() }
    }

    /// The campaign that it is to its decisions.
    pub fn campaign(&self, id: PushId) -> Campaign {
        Campaign {
            name: id.to_string(),
            offers: vec![id.uuid().into()],
            trigger: Start::Schedule(Schedule { when: self.when, window_ms: self.window_ms }),
            audience: None,
            caps: Vec::new(),
            devices: self.devices,
            mode: self.mode,
        }
    }

    /// The offer that it is to its decisions: the only one, so that its worth is of no account.
    pub fn offer(&self, id: PushId) -> Offer {
        let rule = match &self.audience {
            Kind::Rule { rule } => Some(rule.clone()),
            Kind::List { .. } | Kind::Topic { .. } => None,
        };
        Offer {
            name: id.to_string(),
            partner_id: None,
            purpose: self.purpose.clone(),
            topic: self.topic.clone().unwrap_or_default(),
            class: self.class,
            base_value: 1.0,
            min_value: 0.0,
            audience: rule,
            deliver_by: self.deliver_by.map(DeliverBy::At),
            inbox_until: None,
            stock: None,
            category: self.category.clone(),
            exclusive_group: None,
            weight: 1.0,
            cost: 0.0,
            template: self.template.clone(),
        }
    }

    /// Whether it is said to a large audience and can wait for what is not. Nobody counts one of a topic or a rule beforehand.
    fn is_bulk(&self) -> bool {
        if self.class == Class::Critical {
            return false;
        }
        match &self.audience {
            Kind::List { named } => *named > FEW_MAX,
            Kind::Topic { .. } | Kind::Rule { .. } => true,
        }
    }

    /// What competes in its decisions, alone.
    ///
    /// # Errors
    /// When what once was accepted no longer compiles.
    pub fn terms(&self, id: PushId) -> Result<Terms> {
        Terms::direct(id, (self.campaign(id), self.offer(id)), (self.collapse_id.clone(), self.is_bulk()))
    }
}
