//! Devices: installations of the app, and the law that a push token belongs to one device and one user.
//!
//! Registering a token moves it: whoever held it before, and whoever else used this installation, loses theirs in the
//! same transaction. The caller writes with [`Platform::write_and_fence`](crate::platform::Platform::write_and_fence), so
//! that the earlier users' sends are out before it answers.

pub mod activity;
mod address;
mod dead;
pub mod personal;
mod store;
mod token;
pub mod web;
mod words;

pub use address::{address, sealing_keys, with_keys};
pub use dead::{Dead, Verdict, bury, kill_token};
pub use token::{FID_PREFIX, Platform, TokenKind, own_kind, own_word};
pub use words::{Environment, PushPermission};

use crate::error::{Error, Problem, Result};
use crate::id::{AppId, DeviceId, SessionId, UserId};
use crate::people::check;
use crate::platform::epoch;
use crate::platform::fence::Whose;
use crate::store::Conn;
use crate::webhook::{self, Event};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

/// Most devices that one user may have.
const DEVICES_LIMIT: usize = 100;

/// One installation of the app, as one user uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whose it is.
    pub user_id: Option<UserId>,
    /// The phone's own name for this installation.
    pub installation_id: String,
    /// What the app said of it last.
    pub traits: Traits,
    /// When its token was registered last; none without a token.
    pub token_ms: Option<i64>,
    /// When the app registered it last.
    pub last_seen_ms: i64,
    /// When the app registered it first.
    pub created_ms: i64,
}

/// What an app says of its installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits {
    /// Operating system.
    pub platform: Platform,
    /// Push token, in the form in which tokens are compared; none when pushes cannot reach it. A browser's is its whole
    /// subscription: see [`web`]; keys for sealed words stand behind the others: see [`address`].
    pub token: Option<String>,
    /// Where the token is good.
    pub environment: Environment,
    /// The app's bundle id, which APNs wants to know.
    pub topic: Option<String>,
    /// Language.
    pub locale: Option<String>,
    /// IANA time zone.
    pub time_zone: Option<String>,
    /// What the operating system lets it show.
    pub push_permission: PushPermission,
    /// Version of the app.
    pub app_version: Option<String>,
}

impl Traits {
    /// Whether there is a token that pushes may go to now: a browser's may have ended by itself.
    pub fn has_live_token(&self, now_ms: i64) -> bool {
        let ended = |token: &str| {
            self.platform == Platform::Web && web::Address::parse(token).and_then(|a| a.expires_ms).is_some_and(|at| at <= now_ms)
        };
        self.token.as_deref().is_some_and(|token| !ended(token))
    }

    /// Apple's word for the kind of push that its token is for alone.
    pub fn own_kind(&self) -> Option<&'static str> {
        self.address().filter(|_| self.platform == Platform::Ios).and_then(|token| own_kind(token).0)
    }

    /// What of the token belongs to one device alone.
    fn address(&self) -> Option<&str> {
        self.token.as_deref().map(address)
    }

    /// The traits in the form in which they are kept.
    ///
    /// # Errors
    /// 400 that names the field at fault.
    pub fn checked(self) -> Result<Self> {
        let token = self.token.as_deref().map(|token| self.platform.token(token)).transpose()?;
        if let Some(topic) = &self.topic {
            let good = topic.len() <= 255 && topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            if !good || topic.is_empty() {
                return Err(Error::invalid("topic", "invalid", "expected a bundle id such as com.example.app"));
            }
        } else if token.is_some() && self.platform == Platform::Ios {
            return Err(Error::invalid("topic", "required", "APNs wants the app's bundle id along with a token"));
        }
        if let Some(locale) = &self.locale {
            check::locale("locale", locale)?;
        }
        let time_zone = self.time_zone.as_deref().map(|zone| check::zone("time_zone", zone)).transpose()?;
        if let Some(version) = &self.app_version {
            crate::http::check_text("app_version", version, 64)?;
        }
        Ok(Self { token, time_zone, ..self })
    }
}

/// A registration to make.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The id that the device gets when it is new.
    pub id: DeviceId,
    /// For whom.
    pub user: UserId,
    /// The phone's own name for this installation.
    pub installation_id: String,
    /// The sign-in under which it is made; its end unbinds the token.
    pub session: Option<SessionId>,
    /// What the app says, checked.
    pub traits: Traits,
    /// Now.
    pub now_ms: i64,
}

/// What a registration did.
#[derive(Debug)]
pub struct Registered {
    /// The device as it is now.
    pub device: Device,
    /// Whether it was not known before.
    pub new: bool,
    /// Other users who lost a token by it: their sends are to be fenced out before the answer.
    pub displaced: Vec<UserId>,
}

/// Registers an installation for a user and moves its token to it (I6).
///
/// # Errors
/// 409 `too_many_devices`, `too_many_push_services`.
pub fn register(conn: &mut Conn, app: AppId, registration: &Registration) -> Result<Registered> {
    let Registration { user, installation_id, traits, .. } = registration;
    // Installations before tokens, everywhere: nobody waits in a circle.
    conn.serialise(&format!("installation:{app}:{installation_id}"))?;
    if let Some(token) = traits.address() {
        conn.serialise(&format!("token:{app}:{}:{token}", traits.platform.name()))?;
    }
    let remembered = remembering(conn, app, registration)?;
    let registration = remembered.as_ref().unwrap_or(registration);
    let holders = store::holders(conn, app, registration)?;
    let released: Vec<DeviceId> = holders.iter().map(|(device, _)| *device).collect();
    store::release(conn, app, &released)?;
    activity::forget(conn, app, &released)?;
    let known = store::lock_own(conn, app, *user, installation_id)?;
    let mut losers: BTreeSet<UserId> = holders.into_iter().filter_map(|(_, holder)| holder).collect();
    if known.as_ref().is_some_and(|(_, token)| *token != traits.token) {
        losers.insert(*user);
    }
    // A decision that saw the old binding must not plan a send on it, nor must what is planned go there.
    epoch::bump_users(conn, app, &losers.iter().copied().collect::<Vec<_>>())?;
    let displaced: Vec<UserId> = losers.into_iter().filter(|loser| loser != user).collect();
    address::check_services(conn, app, registration)?;
    let device = match &known {
        &Some((id, _)) => {
            if traits.token.is_none() || traits.platform != Platform::Ios {
                activity::forget(conn, app, &[id])?;
            }
            store::update(conn, app, id, registration)?
        }
        None => {
            if store::count(conn, app, *user)? >= DEVICES_LIMIT {
                let detail = format!("A user may have at most {DEVICES_LIMIT} devices; delete one that is no longer used.");
                return Err(Problem::new(409, "too_many_devices", detail).into());
            }
            store::insert(conn, app, std::slice::from_ref(registration))?;
            registration.device()
        }
    };
    settle_zone(conn, app, *user)?;
    if known.is_none() {
        let data = json!({ "device": device.id, "platform": traits.platform });
        webhook::emit(conn, app, &Event::of_user("device.registered", (*user, registration.now_ms), device.id, data))?;
    }
    Ok(Registered { device, new: known.is_none(), displaced })
}

/// The registration of a browser's subscription that was seen before, with the word on the VAPID key that it was made
/// with: that one keeps it, until the page subscribes again.
fn remembering(conn: &mut Conn, app: AppId, registration: &Registration) -> Result<Option<Registration>> {
    let Some(token) = registration.traits.token.as_deref().filter(|_| registration.traits.platform == Platform::Web) else {
        return Ok(None);
    };
    let before = store::subscription(conn, app, registration.traits.address().unwrap_or_default())?;
    let Some(token) = before.and_then(|before| web::kept(token, &before)) else { return Ok(None) };
    Ok(Some(Registration { traits: Traits { token: Some(token), ..registration.traits.clone() }, ..registration.clone() }))
}

/// Registers many installations that are not known yet, for users that exist: seeding and import. Tokens do not move:
/// one that is taken refuses all.
///
/// # Errors
/// 409 when an installation of the same user or a token is known.
pub fn register_many(conn: &mut Conn, app: AppId, registrations: &[Registration]) -> Result<()> {
    store::insert(conn, app, registrations)?;
    store::settle_zones(conn, app, registrations)
}

/// Who holds a device, and with which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Whose it is.
    pub user_id: Option<UserId>,
    /// The address of its pushes.
    pub token: Option<String>,
    /// Where its clock stands.
    pub time_zone: Option<String>,
}

impl Registration {
    fn device(&self) -> Device {
        Device {
            id: self.id,
            user_id: Some(self.user),
            installation_id: self.installation_id.clone(),
            token_ms: self.traits.token.as_ref().map(|_| self.now_ms),
            traits: self.traits.clone(),
            last_seen_ms: self.now_ms,
            created_ms: self.now_ms,
        }
    }
}

/// The live devices of these users: those with a token, in the order of their ids. Users without one are absent.
///
/// # Errors
/// What the database says.
pub fn of_users(conn: &mut Conn, app: AppId, users: &[UserId]) -> Result<HashMap<UserId, Vec<Device>>> {
    store::of_users(conn, app, users)
}

/// Whose these devices are, live or not: what is asked of each message on its way out.
///
/// # Errors
/// What the database says.
pub fn holds(conn: &mut Conn, app: AppId, ids: &[DeviceId]) -> Result<HashMap<DeviceId, Hold>> {
    store::holds(conn, app, ids)
}

/// Whose installations these are: of each the device that can be reached, else the one that was heard of last.
///
/// # Errors
/// What the database says.
pub fn by_installations(conn: &mut Conn, app: AppId, names: &[String]) -> Result<HashMap<String, (UserId, DeviceId)>> {
    store::by_installations(conn, app, names)
}

/// Whose tokens these are, as their senders write them.
///
/// # Errors
/// What the database says.
pub fn by_tokens(conn: &mut Conn, app: AppId, tokens: &[String]) -> Result<HashMap<String, (UserId, DeviceId)>> {
    store::by_tokens(conn, app, tokens)
}

/// A user's devices after an id, live or not, in the order of their ids.
///
/// # Errors
/// What the database says.
pub fn list(conn: &mut Conn, app: AppId, user: UserId, page: (&str, i64)) -> Result<Vec<Device>> {
    store::list(conn, app, user, page)
}

/// A user's device by its installation.
///
/// # Errors
/// 404 when this user has no such device.
pub fn of_installation(conn: &mut Conn, app: AppId, user: UserId, installation_id: &str) -> Result<Device> {
    let id = store::own(conn, app, user, installation_id)?.ok_or_else(|| Error::not_found("device"))?;
    store::by_id(conn, app, id)?.ok_or_else(|| Error::not_found("device"))
}

/// What becomes of the number on an app's icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// So many more.
    Add(i64),
    /// This one.
    Put(i64),
}

/// Counts the badges of these devices, all alike; answers the numbers that they have then.
///
/// # Errors
/// What the database says.
pub fn count_badges(conn: &mut Conn, app: AppId, (devices, count): (&[DeviceId], Count)) -> Result<Vec<(DeviceId, i64)>> {
    store::count_badges(conn, app, (devices, count))
}

/// Writes where a token is good, as its gateway has shown by taking a push to it, when the device still has it. What the
/// app says at the next registration counts again. Answers whether it was written.
///
/// # Errors
/// What the database says.
pub fn settle_environment(conn: &mut Conn, app: AppId, device: DeviceId, good: (&str, Environment)) -> Result<bool> {
    store::settle_environment(conn, app, device, good)
}

/// Takes the tokens from the devices that sessions registered, when they end. Answers whose sends are to let go.
///
/// # Errors
/// What the database says.
pub fn unbind(conn: &mut Conn, app: AppId, user: UserId, sessions: &[SessionId]) -> Result<Whose> {
    let released = store::unbind(conn, app, user, sessions)?;
    let unbound = !released.is_empty();
    if unbound {
        activity::forget(conn, app, &released)?;
        epoch::bump(conn, app, epoch::Scope::Consent(user))?;
    }
    Ok(Whose::Users(if unbound { vec![user] } else { Vec::new() }))
}

/// Hands the devices that a session registered to the one that takes its place.
///
/// # Errors
/// What the database says.
pub fn rebind(conn: &mut Conn, app: AppId, user: UserId, (from, to): (SessionId, SessionId)) -> Result<()> {
    store::rebind(conn, app, user, (from, to))
}

/// Forgets a user's device with its token. After the commit the caller fences the user out.
///
/// # Errors
/// 404 when this user has no such device.
pub fn forget(conn: &mut Conn, app: AppId, user: UserId, installation_id: &str) -> Result<()> {
    let device = store::delete(conn, app, user, installation_id)?.ok_or_else(|| Error::not_found("device"))?;
    activity::forget(conn, app, &[device])?;
    epoch::bump(conn, app, epoch::Scope::Consent(user))?;
    settle_zone(conn, app, user)
}

/// Writes anew what local times of this user mean: the zone chosen, else the latest device's, else '' for the app's.
///
/// # Errors
/// What the database says.
pub fn settle_zone(conn: &mut Conn, app: AppId, user: UserId) -> Result<()> {
    store::settle_zone(conn, app, user)
}
