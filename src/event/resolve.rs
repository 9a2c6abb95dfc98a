//! Who is meant by a subject, whom an event reaches, and whether they consented to being matched.

use super::item::{Item, Subject};
use super::store::{self, Link, Thing};
use crate::error::Result;
use crate::id::{AppId, DeviceId, PartnerId, ThingId, UserId};
use crate::people::consent::{self, LOCATION, Ledger, Need, PARTNER_EVENTS, Purposes};
use crate::people::device;
use crate::people::erasure;
use crate::people::merge;
use crate::people::profile;
use crate::platform::MasterKey;
use crate::store::Conn;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Whom an event is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) user_id: Option<UserId>,
    pub(super) thing_id: Option<ThingId>,
    pub(super) device_id: Option<DeviceId>,
    /// Whether a test key says so.
    pub(super) test: bool,
}

/// Before the name of a position that test keys report.
const TEST: &str = "test:";

impl Who {
    /// Its id: of the thing, else of the installation, else of the user.
    pub(super) fn subject_id(&self) -> Option<String> {
        let device = self.device_id.map(|id| id.to_string());
        self.thing_id.map(|id| id.to_string()).or(device).or_else(|| self.user_id.map(|id| id.to_string()))
    }

    /// The name under which its position is kept: what test keys say never moves a live one.
    pub(super) fn track_id(&self) -> Option<String> {
        self.subject_id().map(|id| if self.test { format!("{TEST}{id}") } else { id })
    }

    /// Reads [`Who::track_id`] back.
    pub(super) fn of_track(track_id: &str, user_id: Option<UserId>) -> Self {
        let id = track_id.strip_prefix(TEST).unwrap_or(track_id);
        Self { user_id, thing_id: id.parse().ok(), device_id: id.parse().ok(), test: id != track_id }
    }
}

/// The names under which positions of a thing are kept: the live one, and that of tests.
pub(super) fn tracks(thing_id: ThingId) -> [String; 2] {
    [thing_id.to_string(), format!("{TEST}{thing_id}")]
}

/// All that the subjects of a batch name.
#[derive(Default)]
pub(super) struct Directory {
    users: HashSet<UserId>,
    /// Anonymous users who have turned out to be an account's.
    merged: HashMap<UserId, UserId>,
    external: HashMap<String, UserId>,
    devices: HashMap<DeviceId, Option<UserId>>,
    keys: HashMap<String, ThingId>,
    pub(super) things: HashMap<ThingId, Thing>,
}

impl Directory {
    /// Looks all subjects up, and the users who speak, in few statements.
    pub(super) fn load<'a>(
        conn: &mut Conn,
        app: AppId,
        (subjects, speakers): (impl Iterator<Item = &'a Subject>, impl Iterator<Item = UserId>),
    ) -> Result<Self> {
        let mut users: HashSet<UserId> = speakers.collect();
        let (mut devices, mut things) = (HashSet::new(), HashSet::new());
        let (mut external, mut keys) = (HashSet::new(), HashSet::new());
        for subject in subjects {
            match subject {
                Subject::User(id) => drop(users.insert(*id)),
                Subject::Device(id) => drop(devices.insert(*id)),
                Subject::Thing(id) => drop(things.insert(*id)),
                Subject::External(id) => drop(external.insert(id.as_str())),
                Subject::Key(key) => drop(keys.insert(key.as_str())),
            }
        }
        let devices = device::holds(conn, app, &devices.into_iter().collect::<Vec<_>>())?;
        users.extend(devices.values().filter_map(|hold| hold.user_id));
        let asked: Vec<UserId> = users.into_iter().collect();
        let users = store::users(conn, app, &asked)?;
        let absent: Vec<UserId> = asked.into_iter().filter(|user| !users.contains(user)).collect();
        let merged = if absent.is_empty() { HashMap::new() } else { merge::meant(conn, app, &absent)? };
        let mut found = Self { users, merged, ..Self::default() };
        let external: Vec<String> = external.into_iter().map(str::to_owned).collect();
        found.external = profile::resolve_external(conn, app, &external)?;
        found.devices = devices.into_iter().map(|(id, hold)| (id, hold.user_id)).collect();
        let mut loaded = store::things_by_ids(conn, app, &things.into_iter().collect::<Vec<_>>())?;
        loaded.extend(store::things_by_keys(conn, app, &keys.into_iter().collect::<Vec<_>>())?);
        for thing in loaded {
            found.keys.insert(thing.key.clone(), thing.id);
            found.things.insert(thing.id, thing);
        }
        Ok(found)
    }

    /// The subjects of these that mean people who were erased: those whom nobody is known by, and external ids of somebody
    /// who came after the event: they may have been another's before.
    pub(super) fn gone<'a>(
        &self,
        conn: &mut Conn,
        app: AppId,
        (key, items): (&MasterKey, impl Iterator<Item = &'a Item>),
    ) -> Result<HashSet<&'a str>> {
        let doubtful = items.filter(|item| match self.find(&item.subject) {
            None => !item.subject.may_be_a_thing(),
            Some(Who { user_id: Some(user), .. }) => {
                matches!(item.subject, Subject::External(_)) && item.occurred_ms < user.made_ms()
            }
            Some(_) => false,
        });
        let names: HashSet<&str> = doubtful.map(|item| item.subject_text.as_str()).collect();
        erasure::buried(conn, key, app, &names)
    }

    /// The user behind an id: the one of this id, else the account that they have turned out to be.
    pub(super) fn user(&self, id: UserId) -> Option<UserId> {
        if self.users.contains(&id) { Some(id) } else { self.merged.get(&id).copied() }
    }

    /// Whom a subject means; nobody when it is not known, or an installation that nobody uses.
    pub(super) fn find(&self, subject: &Subject) -> Option<Who> {
        let user = |id: UserId| Who { user_id: Some(id), ..Who::default() };
        let thing = |id: &ThingId| Who { thing_id: Some(*id), ..Who::default() };
        match subject {
            Subject::User(id) => self.user(*id).map(user),
            Subject::External(id) => self.external.get(id).copied().map(user),
            Subject::Device(id) => {
                let user_id = (*self.devices.get(id)?)?;
                self.user(user_id).map(|user_id| Who { user_id: Some(user_id), device_id: Some(*id), ..Who::default() })
            }
            Subject::Thing(id) => self.things.get(id).map(|found| thing(&found.id)),
            Subject::Key(key) => self.keys.get(key).map(thing),
        }
    }
}

/// The users whom an event reaches, each with the partner that made the link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// These.
    Users(Vec<(UserId, Option<PartnerId>)>),
    /// Some, but none who consented.
    NoConsent,
}

/// Links and consents, loaded as they are needed.
pub(super) struct Reaches {
    app: AppId,
    now_ms: i64,
    links: HashMap<ThingId, Vec<Link>>,
    ledgers: HashMap<UserId, Ledger>,
    purposes: Option<Purposes>,
}

impl Reaches {
    pub(super) fn new(app: AppId, now_ms: i64) -> Self {
        Self { app, now_ms, links: HashMap::new(), ledgers: HashMap::new(), purposes: None }
    }

    pub(super) fn app(&self) -> AppId {
        self.app
    }

    /// Loads the ledgers of these users, those known already left out.
    pub(super) fn need_ledgers(&mut self, conn: &mut Conn, users: impl Iterator<Item = UserId>) -> Result<()> {
        let wanted: HashSet<UserId> = users.filter(|user| !self.ledgers.contains_key(user)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if self.purposes.is_none() {
            self.purposes = Some(consent::purposes(conn, self.app)?);
        }
        self.ledgers.extend(consent::ledgers(conn, self.app, &wanted.into_iter().collect::<Vec<_>>())?);
        Ok(())
    }

    /// Loads the links of these things, and the ledgers that partners' links or a partner as sender need.
    pub(super) fn need_links(&mut self, conn: &mut Conn, things: &[(ThingId, Option<PartnerId>)]) -> Result<()> {
        let wanted: HashSet<ThingId> = things.iter().map(|(id, _)| *id).filter(|id| !self.links.contains_key(id)).collect();
        if !wanted.is_empty() {
            let wanted: Vec<ThingId> = wanted.into_iter().collect();
            let mut found = store::links_of(conn, self.app, &wanted)?;
            self.links.extend(wanted.into_iter().map(|id| (id, found.remove(&id).unwrap_or_default())));
        }
        let users: Vec<UserId> = things
            .iter()
            .filter_map(|(id, sender)| Some((self.links.get(id)?, sender)))
            .flat_map(|(links, sender)| links.iter().filter(move |l| l.partner_id.is_some() || sender.is_some()))
            .map(|link| link.user_id)
            .collect();
        self.need_ledgers(conn, users.into_iter())
    }

    /// Whether a user lets their fixes be stored and evaluated.
    pub(super) fn location(&self, user: UserId) -> bool {
        self.permits(user, LOCATION, None)
    }

    /// Whether a user lets this partner's events and links be matched; always without a partner.
    pub(super) fn partner(&self, user: UserId, partner: Option<PartnerId>) -> bool {
        partner.is_none() || self.permits(user, PARTNER_EVENTS, partner)
    }

    fn permits(&self, user: UserId, purpose: &str, partner: Option<PartnerId>) -> bool {
        let (Some(ledger), Some(purposes)) = (self.ledgers.get(&user), &self.purposes) else { return false };
        ledger.standing(purposes, &Need { purpose: purpose.to_owned(), partner }, self.now_ms).permits()
    }

    /// Whom an event about this subject reaches at this time.
    pub(super) fn reach(&self, who: Who, at_ms: i64, sender: Option<PartnerId>) -> Reach {
        if let Some(user) = who.user_id {
            return if self.partner(user, sender) { Reach::Users(vec![(user, None)]) } else { Reach::NoConsent };
        }
        let links = who.thing_id.and_then(|id| self.links.get(&id)).map_or(&[][..], Vec::as_slice);
        let mut refused = false;
        // Of several links of one user the app's own comes first: it needs nothing.
        let mut users: BTreeMap<UserId, Option<PartnerId>> = BTreeMap::new();
        for link in links.iter().filter(|link| link.holds_at(at_ms)) {
            if self.partner(link.user_id, link.partner_id) && self.partner(link.user_id, sender) {
                let by = users.entry(link.user_id).or_insert(link.partner_id);
                *by = by.and(link.partner_id);
            } else {
                refused = true;
            }
        }
        if users.is_empty() && refused { Reach::NoConsent } else { Reach::Users(users.into_iter().collect()) }
    }
}
