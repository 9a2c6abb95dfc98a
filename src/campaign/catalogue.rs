//! What an app may say, compiled and in memory: kinds by event type, live campaigns, offers with rules and words.
//!
//! A snapshot carries the revision of the catalogue in the database. Whoever asks does so inside a read or a transaction
//! and gets the snapshot of exactly that state: nothing has to be invalidated, on this node or another.

use super::rule::Rule;
use super::store::campaigns::CampaignRow;
use super::store::kinds::KindRow;
use super::store::offers::OfferRow;
use super::words::Words;
use super::{Campaign, Kind, Offer, Status, store};
use crate::error::Result;
use crate::id::{AppId, CampaignId, OfferId};
use crate::store::{Conn, beside_others};
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::Arc;

/// How many apps' snapshots are kept.
const APPS_KEPT: u64 = 1_000;

/// Snapshots by app; cheap to clone.
#[derive(Clone)]
pub struct Catalogue(Cache<AppId, Arc<Snapshot>>);

impl Default for Catalogue {
    fn default() -> Self {
        Self(Cache::new(APPS_KEPT))
    }
}

impl Catalogue {
    /// What this app may say, as the transaction of `conn` sees it. Not for a closure that has changed it itself: that may yet
    /// be undone.
    ///
    /// # Errors
    /// What the database says.
    pub fn current(&self, conn: &mut Conn, app: AppId) -> Result<Arc<Snapshot>> {
        let revision = store::revision(conn, app)?;
        if let Some(kept) = self.0.get(&app).filter(|kept| kept.revision == revision) {
            return Ok(kept);
        }
        let made = Arc::new(Snapshot::load(conn, app, revision)?);
        if !beside_others() {
            self.0.insert(app, Arc::clone(&made));
        }
        Ok(made)
    }
}

/// What one app may say.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The revision of the catalogue.
    pub revision: i64,
    kinds: HashMap<String, Arc<LiveKind>>,
    by_event_type: HashMap<String, Vec<Arc<LiveKind>>>,
    campaigns: HashMap<CampaignId, Arc<LiveCampaign>>,
}

/// A moment kind at work.
#[derive(Debug)]
pub struct LiveKind {
    /// Its version.
    pub revision: i64,
    /// What it says.
    pub spec: Arc<Kind>,
    /// `trigger.rule`.
    pub rule: Option<Rule>,
    /// `moment_key`.
    pub moment_key: Option<Rule>,
    /// The live campaigns that its moments trigger, by id.
    pub campaigns: Vec<Arc<LiveCampaign>>,
}

/// A live campaign.
#[derive(Debug)]
pub struct LiveCampaign {
    /// Its id.
    pub id: CampaignId,
    /// Its version.
    pub revision: i64,
    /// What it says.
    pub spec: Arc<Campaign>,
    /// `audience`.
    pub audience: Option<Rule>,
    /// Its offers that are not archived, in its order.
    pub offers: Vec<Arc<LiveOffer>>,
}

/// An offer of a live campaign.
#[derive(Debug)]
pub struct LiveOffer {
    /// Its id.
    pub id: OfferId,
    /// Its version.
    pub revision: i64,
    /// What it says.
    pub spec: Arc<Offer>,
    /// `audience`.
    pub audience: Option<Rule>,
    /// `template`.
    pub words: Words,
}

impl Snapshot {
    /// The kinds that an event of this type may open a moment of.
    pub fn kinds_for(&self, event_type: &str) -> &[Arc<LiveKind>] {
        self.by_event_type.get(event_type).map_or(&[], Vec::as_slice)
    }

    /// One kind.
    pub fn kind(&self, key: &str) -> Option<&Arc<LiveKind>> {
        self.kinds.get(key)
    }

    /// One campaign, if it is live; for held choices and scheduled runs.
    pub fn campaign(&self, id: CampaignId) -> Option<&Arc<LiveCampaign>> {
        self.campaigns.get(&id)
    }

    /// The live campaigns, each with the kind of its trigger if it has one.
    pub fn campaigns(&self) -> impl Iterator<Item = (&Arc<LiveCampaign>, Option<&Arc<LiveKind>>)> {
        self.campaigns.values().map(|campaign| (campaign, campaign.spec.kind().and_then(|key| self.kinds.get(key))))
    }

    fn load(conn: &mut Conn, app: AppId, revision: i64) -> Result<Self> {
        let live = store::campaigns::with_status(conn, app, &[Status::Live])?;
        let wanted: Vec<OfferId> = live.iter().flat_map(|row| row.spec.0.offers.iter().copied()).collect();
        let offers: HashMap<OfferId, Arc<LiveOffer>> = store::offers::by_ids(conn, app, &wanted)?
            .into_values()
            .filter(|row| !row.archived)
            .map(|row| (row.id, Arc::new(LiveOffer::new(row))))
            .collect();
        let campaigns: Vec<Arc<LiveCampaign>> = live.into_iter().map(|row| Arc::new(LiveCampaign::new(row, &offers))).collect();
        let mut by_kind: HashMap<String, Vec<Arc<LiveCampaign>>> = HashMap::new();
        for campaign in &campaigns {
            if let Some(kind) = campaign.spec.kind() {
                by_kind.entry(kind.to_owned()).or_default().push(Arc::clone(campaign));
            }
        }
        let mut snapshot = Self { revision, ..Self::default() };
        for row in store::kinds::all(conn, app)? {
            let triggered = by_kind.remove(&row.key).unwrap_or_default();
            let kind = Arc::new(LiveKind::new(row, triggered));
            snapshot.by_event_type.entry(kind.spec.trigger.event_type.clone()).or_default().push(Arc::clone(&kind));
            snapshot.kinds.insert(kind.spec.key.clone(), kind);
        }
        snapshot.campaigns = campaigns.into_iter().map(|campaign| (campaign.id, campaign)).collect();
        Ok(snapshot)
    }
}

/// A rule that was right when it was saved; if it no longer is, it refuses whenever it runs.
fn rule(source: Option<&str>) -> Option<Rule> {
    source.map(|source| Rule::compile(source).unwrap_or_else(|_| Rule::unreadable()))
}

impl LiveKind {
    /// The rules that decide whether a moment opens, and which.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rule.iter().chain(&self.moment_key)
    }

    /// Whether they may read this attribute of users.
    pub fn reads(&self, attribute: &str) -> bool {
        self.rules().any(|rule| rule.reads(attribute))
    }

    fn new(row: KindRow, campaigns: Vec<Arc<LiveCampaign>>) -> Self {
        let spec = Arc::new(row.spec.0);
        Self {
            revision: row.revision,
            rule: rule(spec.trigger.rule.as_deref()),
            moment_key: rule(spec.moment_key.as_deref()),
            spec,
            campaigns,
        }
    }
}

impl LiveCampaign {
    fn new(row: CampaignRow, offers: &HashMap<OfferId, Arc<LiveOffer>>) -> Self {
        let spec = Arc::new(row.spec.0);
        Self {
            id: row.id,
            revision: row.revision,
            audience: rule(spec.audience.as_deref()),
            offers: spec.offers.iter().filter_map(|id| offers.get(id).cloned()).collect(),
            spec,
        }
    }
}

impl LiveOffer {
    fn new(row: OfferRow) -> Self {
        let spec = Arc::new(row.spec.0);
        Self {
            id: row.id,
            revision: row.revision,
            audience: rule(spec.audience.as_deref()),
            words: Words::compile(&spec.template).unwrap_or_else(|_| Words::unreadable(&spec.template)),
            spec,
        }
    }
}
