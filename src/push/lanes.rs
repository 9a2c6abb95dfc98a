//! All lanes: opened when first needed, gone when the app's credentials change; what is under way ends on the old ones.

use super::credentials::{self, Sealed};
use super::edge::Edge;
use super::lane::Lane;
use super::message::{Gateway, NewMessage};
use super::news::{Desk, News, Standing};
use super::route::Route;
use super::traffic::Traffic;
use crate::clock;
use crate::error::Result;
use crate::id::AppId;
use crate::outbound::Limits;
use crate::people::device::web::{self, Services};
use crate::platform::Platform;
use crate::store::Conn;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The topics of an app's further keys, key by key; what none of them names is the first key's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named(Vec<Vec<String>>);

impl Named {
    fn of(all: &[Sealed]) -> Self {
        Self(all.iter().skip(1).filter_map(|of| of.public.topics.clone()).collect())
    }

    /// By which of its topics the queues of the key that speaks for this one are called; none for the first key's.
    pub(super) fn key(&self, topic: &str) -> Option<&str> {
        let of = self.0.iter().find(|topics| topics.iter().any(|own| own == topic))?;
        of.first().map(String::as_str)
    }

    /// All of them.
    pub(super) fn topics(&self) -> Vec<String> {
        self.0.concat()
    }
}

/// Which messages of a route a lane serves, by their topics: Apple's keys may each have topics of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Serves {
    /// All: there is one key.
    All,
    /// Those of these topics.
    Only(Arc<[String]>),
    /// All but those that further keys name, and those that name none.
    But(Arc<Named>),
}

impl Serves {
    /// What a key of an app serves: the first one, whose number is 0, serves what no other is named for.
    fn of(all: &[Sealed], n: usize) -> Self {
        match (all.len(), n) {
            (1, _) => Self::All,
            (_, 0) => Self::But(Arc::new(Named::of(all))),
            (_, _) => Self::Only(all.get(n).and_then(|of| of.public.topics.clone()).unwrap_or_default().into()),
        }
    }

    pub(super) fn has(&self, topic: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Only(topics) => topic.is_some_and(|topic| topics.iter().any(|own| own == topic)),
            Self::But(named) => topic.is_none_or(|topic| named.key(topic).is_none()),
        }
    }

    /// What it leaves to others, if there are any.
    pub(super) fn named(&self) -> Option<&Arc<Named>> {
        match self {
            Self::But(named) => Some(named),
            Self::All | Self::Only(_) => None,
        }
    }
}

/// The lanes of an app's route, one per key; none when it has no credential.
pub(super) type Ways = Arc<[Arc<Lane>]>;

/// What there is of a route.
pub(super) enum Found {
    Lanes(Ways),
    /// There are too many of this app's push services, and all of them are busy.
    NoRoom,
}

/// Most push services of browsers to which one app has connections at once.
const SERVICES_MAX: usize = 64;
/// How long one keeps its connections at least: built anew at every look, none would ever be ready.
const STAYS_MS: i64 = 60_000;

/// All lanes, opened when first needed.
pub(super) struct Lanes {
    platform: Platform,
    pub(super) edge: Edge,
    services: Services,
    pub(super) desk: Desk,
    open: Arc<RwLock<Open>>,
    bulk: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Open {
    lanes: HashMap<(AppId, Route), Ways>,
    /// How often credentials were told to have changed: what was read before the last time is not kept.
    changes: u64,
}

impl Lanes {
    pub(super) fn new(platform: &Platform) -> Result<Self> {
        let edge = Edge::new(platform)?;
        let services = Services::parse(&platform.config.webpush_hosts)?;
        let open: Arc<RwLock<Open>> = Arc::default();
        let told = Arc::clone(&open);
        let hint = platform.push_hint.clone();
        platform.cache.subscribe(credentials::CHANGED, move |app| {
            let mut open = told.write().unwrap_or_else(PoisonError::into_inner);
            open.changes += 1;
            // Nothing said: anything may have changed.
            open.lanes.retain(|(of, _), _| !app.is_empty() && of.to_string() != app);
            hint.nudge();
        });
        Ok(Self { platform: platform.clone(), edge, services, desk: Desk::default(), open, bulk: Arc::default() })
    }

    /// The lane for a message of this topic, if it was opened before: for places that cannot wait.
    pub(super) fn opened(&self, (app, route): (AppId, Route), topic: Option<&str>) -> Option<Arc<Lane>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.lanes.get(&(app, route))?.iter().find(|lane| lane.serves.has(topic)).cloned()
    }

    /// The lanes of a route.
    pub(super) async fn get(&self, app: AppId, route: &Route) -> Result<Found> {
        loop {
            let changes = {
                let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = open.lanes.get(&(app, route.clone())) {
                    return Ok(Found::Lanes(Arc::clone(known)));
                }
                open.changes
            };
            let sealed = self.sealed(app, route).await?;
            let lanes: Result<Vec<Arc<Lane>>> =
                (0..sealed.len()).map(|n| self.build((app, route), &sealed, n).map(Arc::new)).collect();
            let lanes: Ways = lanes?.into();
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            // Somebody else may have been faster: what goes out on those lanes must be counted there.
            if let Some(known) = open.lanes.get(&(app, route.clone())) {
                return Ok(Found::Lanes(Arc::clone(known)));
            }
            if open.changes == changes {
                if route.service.as_deref().is_some_and(|service| !web::is_well_known(service))
                    && !open.make_room(app, self.platform.clock.now_ms())
                {
                    return Ok(Found::NoRoom);
                }
                open.lanes.insert((app, route.clone()), Arc::clone(&lanes));
                return Ok(Found::Lanes(lanes));
            }
        }
    }

    /// What further keys of Apple's speak for, where these messages go.
    pub(super) fn named(&self, conn: &mut Conn, messages: &[NewMessage]) -> Result<HashMap<(AppId, Route), Arc<Named>>> {
        let mut all = HashMap::new();
        for message in messages.iter().filter(|m| m.gateway == Gateway::Apns && m.topic.is_some()) {
            let way = (message.app_id, Route::of(message, &self.platform.config));
            if all.contains_key(&way) {
                continue;
            }
            let known = {
                let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
                open.lanes.get(&way).map(|ways| ways.iter().find_map(|lane| lane.serves.named().cloned()).unwrap_or_default())
            };
            let named = match known {
                Some(named) => named,
                None => Arc::new(Named::of(&credentials::sealed(conn, way.0, (Gateway::Apns, way.1.environment))?)),
            };
            all.insert(way, named);
        }
        Ok(all)
    }

    /// How much of what is said to many is in flight, on all lanes.
    pub(super) fn bulk(&self) -> usize {
        self.bulk.load(Ordering::SeqCst)
    }

    /// The lanes that are open for an app.
    pub(super) fn of_app(&self, app: AppId) -> Vec<Arc<Lane>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.lanes.iter().filter(|((of, _), _)| *of == app).flat_map(|(_, ways)| ways.iter().cloned()).collect()
    }

    async fn sealed(&self, app: AppId, route: &Route) -> Result<Vec<Sealed>> {
        let config = &self.platform.config;
        let may_test = match route.gateway {
            Gateway::Apns => true,
            // These have no sandbox: a test goes to a stand-in or nowhere.
            Gateway::Fcm => !config.fcm_url.is_empty(),
            Gateway::WebPush => !config.webpush_url.is_empty(),
        };
        // The operator may have changed his mind about a push service since the page subscribed.
        let allowed = route.service.as_deref().is_none_or(|service| self.services.allow(service));
        if route.test && !may_test || !allowed {
            return Ok(Vec::new());
        }
        let of = (route.gateway, route.environment);
        self.platform.store.read(move |c| credentials::sealed(c, app, of)).await
    }

    /// The lane of one of a route's credentials; the first one serves what none is named for.
    fn build(&self, (app, route): (AppId, &Route), all: &[Sealed], n: usize) -> Result<Lane> {
        let config = &self.platform.config;
        let limits = Limits { streams: config.gateway_streams, connections: config.gateway_connections };
        let sealed = all.get(n).ok_or_else(|| crate::error::Error::broken("no such credential"))?;
        let (pool, client) =
            self.edge.open(sealed.open(&self.platform, app)?, (route.environment, route.service.as_deref()), limits)?;
        let label = News {
            app,
            gateway: route.gateway,
            environment: route.environment,
            key_id: sealed.key_id.clone(),
            revision: sealed.revision,
            refused: None,
            at_ms: 0,
        };
        let standing = Standing::new(&self.desk, label);
        let beside = Traffic::beside(&self.bulk);
        Ok(Lane::new(&self.platform, route, (pool, client), (Serves::of(all, n), standing, beside)))
    }
}

impl Open {
    /// Makes room for one more push service of an app; false when all that there are have something to do.
    fn make_room(&mut self, app: AppId, now_ms: i64) -> bool {
        // The browsers' own services always have room: anybody can name another one.
        let other = |route: &Route| route.service.as_deref().is_some_and(|service| !web::is_well_known(service));
        let of_app = self.lanes.iter().filter(|((of, route), _)| *of == app && other(route));
        if of_app.clone().count() < SERVICES_MAX {
            return true;
        }
        let settled = |lane: &Lane| lane.in_flight() == 0 && !clock::is_ahead(lane.opened_ms + STAYS_MS, now_ms, STAYS_MS);
        let idle = of_app.filter(|(_, lanes)| lanes.iter().all(|lane| settled(lane)));
        let longest = idle.min_by_key(|(_, lanes)| lanes.iter().map(|lane| lane.taken_ms()).max());
        match longest.map(|(key, _)| key.clone()) {
            Some(key) => self.lanes.remove(&key).is_some(),
            None => false,
        }
    }
}
