//! What competes, compiled: an offer and its campaign at a revision, with their rules and words, ready to be asked.

use super::input::{Candidate, Facts, Input, Version};
use crate::campaign::words::{Known as Vocabulary, RenderFailure, Words};
use crate::campaign::{Campaign, LiveCampaign, LiveOffer, Name, Offer, Rule, RuleFailure, Scope, Start};
use crate::error::{Error, Result};
use crate::id::PushId;
use crate::people::device::own_word;
use crate::push::Content;
use crate::push::activity::Shown;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An offer and its campaign at a revision.
pub struct Terms {
    /// Which.
    pub version: Version,
    /// The campaign's spec.
    pub campaign: Arc<Campaign>,
    /// The offer's spec.
    pub offer: Arc<Offer>,
    /// By which a phone replaces what it shows, where a direct push says so; else each choice has its own.
    pub collapse_id: Option<String>,
    /// Whether it is said to a large audience: then it lets what is said to one person go first.
    pub bulk: bool,
    /// What a Live Activity is to show, where this is about one; its words are of no account then.
    pub activity: Option<Arc<Shown>>,
    live: (Arc<LiveCampaign>, Arc<LiveOffer>),
}

impl Terms {
    /// An offer of a campaign, as the catalogue has them.
    pub fn of(campaign: &Arc<LiveCampaign>, offer: &Arc<LiveOffer>) -> Self {
        Self {
            version: Version {
                campaign_id: campaign.id,
                campaign_revision: campaign.revision,
                offer_id: offer.id,
                offer_revision: offer.revision,
            },
            campaign: Arc::clone(&campaign.spec),
            offer: Arc::clone(&offer.spec),
            collapse_id: None,
            bulk: matches!(campaign.spec.trigger, Start::Schedule(_)),
            activity: None,
            live: (Arc::clone(campaign), Arc::clone(offer)),
        }
    }

    /// What a direct push says: it is its own campaign and its own offer.
    ///
    /// # Errors
    /// When a spec that once was accepted no longer is.
    pub fn direct(
        push: PushId,
        (campaign, offer): (Campaign, Offer),
        (collapse_id, bulk): (Option<String>, bool),
    ) -> Result<Self> {
        let (campaign_id, offer_id) = (push.uuid().into(), push.uuid().into());
        let version = Version { campaign_id, campaign_revision: 1, offer_id, offer_revision: 1 };
        Ok(Self { collapse_id, bulk, ..Self::compile(version, campaign, offer)? })
    }

    /// The same about a Live Activity, if there is one.
    #[must_use]
    pub fn showing(self, activity: Option<Arc<Shown>>) -> Self {
        Self { activity, ..self }
    }

    /// Every offer of a campaign, in its order.
    pub fn all_of(campaign: &Arc<LiveCampaign>) -> impl Iterator<Item = Arc<Self>> {
        campaign.offers.iter().map(|offer| Arc::new(Self::of(campaign, offer)))
    }

    /// Compiles specs as they were kept; used when a decision is made again.
    ///
    /// # Errors
    /// When a spec that once was accepted no longer is.
    pub fn compile(version: Version, campaign: Campaign, offer: Offer) -> Result<Self> {
        let rule = |source: Option<&str>| source.map(Rule::compile).transpose().map_err(Error::broken);
        let words = Words::compile(&offer.template).map_err(|_| Error::broken("a kept template no longer compiles"))?;
        let live_campaign = LiveCampaign {
            id: version.campaign_id,
            revision: version.campaign_revision,
            audience: rule(campaign.audience.as_deref())?,
            spec: Arc::new(campaign),
            offers: Vec::new(),
        };
        let live_offer = LiveOffer {
            id: version.offer_id,
            revision: version.offer_revision,
            audience: rule(offer.audience.as_deref())?,
            spec: Arc::new(offer),
            words,
        };
        Ok(Self::of(&Arc::new(live_campaign), &Arc::new(live_offer)))
    }

    /// The topic that a user must not have switched off; only a direct push may have none.
    pub fn topic(&self) -> Option<&str> {
        Some(self.offer.topic.as_str()).filter(|topic| !(topic.is_empty() && self.version.is_direct()))
    }

    /// Apple's word for its kind of push, when such pushes go to tokens of their own: in all languages the same.
    pub fn own_kind(&self) -> Option<&'static str> {
        let template = &self.offer.template;
        let words = template.variants.get(&template.fallback).filter(|_| self.activity.is_none())?;
        own_word(words.kind().word)
    }

    /// The campaign's rule and the offer's, those that there are.
    pub fn audience(&self) -> impl Iterator<Item = &Rule> {
        self.live.0.audience.iter().chain(&self.live.1.audience)
    }

    /// Whether its rules or its words may read this attribute of users.
    pub fn reads(&self, attribute: &str) -> bool {
        self.audience().any(|rule| rule.reads(attribute)) || self.live.1.words.reads(attribute)
    }
}

/// What the candidates of one decision see: all of them the same, but for attributes that are hidden from some.
pub struct Views<'a> {
    whole: View<'a>,
    less: BTreeMap<&'a BTreeSet<String>, View<'a>>,
}

impl<'a> Views<'a> {
    /// The views of this input's candidates.
    pub fn new(input: &'a Input) -> Self {
        let hidden = input.candidates.iter().map(|candidate| &candidate.hidden).filter(|hidden| !hidden.is_empty());
        let less = hidden.map(|hidden| (hidden, View::without(&input.facts, hidden))).collect();
        Self { whole: View::new(&input.facts), less }
    }

    /// What this one sees.
    pub fn of(&self, candidate: &Candidate) -> &View<'a> {
        self.less.get(&candidate.hidden).unwrap_or(&self.whole)
    }
}

/// What rules and templates see in one decision.
pub struct View<'a> {
    facts: Cow<'a, Facts>,
    scope: OnceCell<Scope<'static>>,
    vocabulary: OnceCell<Vocabulary>,
}

impl<'a> View<'a> {
    /// A view of these facts.
    pub fn new(facts: &'a Facts) -> Self {
        Self { facts: Cow::Borrowed(facts), scope: OnceCell::new(), vocabulary: OnceCell::new() }
    }

    /// A view of these facts without some attributes of the user.
    fn without(facts: &Facts, hidden: &BTreeSet<String>) -> Self {
        let mut facts = facts.clone();
        if let Some(attributes) = facts.user.get_mut("attributes").and_then(Value::as_object_mut) {
            attributes.retain(|key, _| !hidden.contains(key));
        }
        Self { facts: Cow::Owned(facts), scope: OnceCell::new(), vocabulary: OnceCell::new() }
    }

    /// Whether a rule is true, of this device if it is about devices.
    ///
    /// # Errors
    /// When it has no answer.
    pub fn holds(&self, rule: &Rule, device: Option<&Value>) -> Result<bool, RuleFailure> {
        let scope = self.scope.get_or_init(|| self.facts.scope());
        match device {
            None => rule.holds(scope),
            Some(device) => {
                let mut child = scope.child();
                child.set(Name::Device, device);
                rule.holds(&child)
            }
        }
    }

    /// The words of an offer for a device, in the first of these languages that it has.
    ///
    /// # Errors
    /// When the template fails.
    pub fn words(&self, terms: &Terms, locales: &[&str], device: &Value) -> Result<Content, RenderFailure> {
        let vocabulary = self.vocabulary.get_or_init(|| {
            let mut vocabulary = Vocabulary::default();
            for (name, facts) in self.facts.named() {
                vocabulary.set(name, facts);
            }
            vocabulary
        });
        let mut vocabulary = vocabulary.clone();
        vocabulary.set(Name::Device, device);
        let offer = &terms.offer;
        vocabulary.set_offer(&json!({ "id": terms.version.offer_id, "name": offer.name, "category": offer.category }));
        terms.live.1.words.render(locales, &vocabulary).map(|rendered| rendered.content)
    }
}

impl Facts {
    /// Each with its name in rules.
    pub fn named(&self) -> [(Name, &Value); 5] {
        [
            (Name::User, &self.user),
            (Name::Event, &self.event),
            (Name::Moment, &self.moment),
            (Name::Place, &self.place),
            (Name::Thing, &self.thing),
        ]
    }

    /// What rules see of them.
    pub fn scope(&self) -> Scope<'static> {
        let mut scope = Scope::new();
        for (name, facts) in self.named() {
            scope.set(name, facts);
        }
        scope
    }
}
