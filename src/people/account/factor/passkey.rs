//! Passkeys (WebAuthn): an app's relying party, and the two halves of registering one and of signing with one.
//!
//! What has to be signed is kept as a single-use secret between the halves. Options for signing in name nobody, so they
//! tell nothing; the authenticator's answer says who it is.

use super::super::challenge::{self, Challenge, Draft, Kind, Wanted};
use super::super::store::{self, Passkey};
use crate::app::{self, Mode};
use crate::config::Secret;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, UserId};
use crate::platform::Platform;
use crate::store::{Conn, Doc};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder,
};

/// How long the user may take, in seconds.
pub(crate) const LIFE_S: i64 = 300;
/// Most passkeys of a user.
const PASSKEYS_MAX: usize = 20;

/// Between the halves of registering.
#[derive(Serialize, Deserialize)]
struct Registering {
    handle: Uuid,
    state: PasskeyRegistration,
}

/// Between the halves of signing.
#[derive(Serialize, Deserialize)]
struct Signing {
    state: DiscoverableAuthentication,
    /// The second factor that it is to be, by its token's hash.
    second: Option<String>,
}

/// The first half: what the client hands to its authenticator, and the secret that goes with it.
pub(crate) struct Begun {
    pub(crate) token: Secret,
    pub(crate) options: Value,
}

/// The second half of signing, as the client sends it.
pub(crate) struct Assertion {
    pub(crate) token: Secret,
    pub(crate) credential: PublicKeyCredential,
}

/// Who signed, and for what.
pub(crate) struct Asserted {
    pub(crate) user: UserId,
    /// The second factor that it is, by its token's hash.
    pub(crate) second: Option<String>,
}

/// Whom options for signing name.
#[derive(Clone)]
pub(crate) enum For {
    Anybody,
    User(UserId),
    /// Who has shown the first factor, and the hash of the token that they got for it.
    Second(UserId, String),
}

fn relying_party(conn: &mut Conn, app_id: AppId) -> Result<Webauthn> {
    let off = || Error::conflict("no_passkeys", "This app has no passkeys: set `passkeys` at /v1/app first.");
    let settings = app::settings(conn, app_id)?.passkeys.ok_or_else(off)?;
    let name = app::name(conn, app_id)?;
    let origins: Result<Vec<Url>, _> = settings.origins.iter().map(|origin| Url::parse(origin)).collect();
    let mut origins = origins.map_err(Error::broken)?;
    // The first one has to be a page's.
    origins.sort_by_key(|origin| !origin.scheme().starts_with("http"));
    let (first, rest) = origins.split_first().ok_or_else(off)?;
    let builder = WebauthnBuilder::new(&settings.rp_id, first).map_err(Error::broken)?.rp_name(&name);
    let builder = builder.timeout(Duration::from_secs(LIFE_S.unsigned_abs()));
    rest.iter().fold(builder, WebauthnBuilder::append_allowed_origin).build().map_err(Error::broken)
}

/// Begins to register a passkey for a user.
///
/// # Errors
/// 409 when the app has no passkeys or the user has too many; what the database says.
pub(crate) fn begin_register(conn: &mut Conn, platform: &Platform, who: (AppId, UserId, Mode)) -> Result<Begun> {
    let (app_id, user, mode) = who;
    let party = relying_party(conn, app_id)?;
    let had = store::passkeys(conn, app_id, user)?;
    if had.len() >= PASSKEYS_MAX {
        return Err(Error::conflict("too_many", format!("A user may have {PASSKEYS_MAX} passkeys; delete one first.")));
    }
    // One handle per user, so that an authenticator keeps one entry for them.
    let handle = had.first().and_then(|passkey| Uuid::try_parse(&passkey.handle).ok());
    let handle = handle.unwrap_or_else(|| Uuid::from_bytes(platform.ids.bytes::<16>()));
    let email = store::email_of(conn, app_id, user)?.map(|(email, _)| email);
    let name = email.unwrap_or_else(|| "account".to_owned());
    let exclude = had.iter().filter_map(|passkey| URL_SAFE_NO_PAD.decode(&passkey.credential_id).ok()).collect();
    let (options, state) = party.start_passkey_registration(handle, &name, &name, Some(exclude)).map_err(Error::broken)?;
    let mut options = public_key(&options)?;
    // Without it no authenticator could say who its user is, and there would be no signing in with it alone.
    options["authenticatorSelection"]["residentKey"] = json!("required");
    options["authenticatorSelection"]["requireResidentKey"] = json!(true);
    let state = serde_json::to_value(Registering { handle, state }).map_err(Error::broken)?;
    begin(conn, platform, (app_id, mode), (Kind::RegisterPasskey, Some(user), state))
        .map(|draft| Begun { token: draft.token, options })
}

/// Registers a passkey; `None` when the secret is worth nothing, a reason when the authenticator's answer is. Commit,
/// whatever comes back.
///
/// # Errors
/// 409 when the app knows the passkey already; what the database says.
pub(crate) fn register(
    conn: &mut Conn,
    platform: &Platform,
    (app_id, user, name): (AppId, UserId, String),
    (token, credential): (&Secret, &RegisterPublicKeyCredential),
) -> Result<Option<Result<Passkey, String>>> {
    let now_ms = platform.clock.now_ms();
    let hash = challenge::token_hash(platform, token.expose());
    let found = challenge::redeem(conn, (Some(app_id), Kind::RegisterPasskey), (&hash, now_ms))?;
    let Some(found) = found.filter(|found| found.app_id == app_id && found.user_id == Some(user)) else { return Ok(None) };
    let Registering { handle, state } = serde_json::from_value(found.state).map_err(Error::broken)?;
    let made = match relying_party(conn, app_id)?.finish_passkey_registration(credential, &state) {
        Ok(made) => made,
        Err(error) => return Ok(Some(Err(error.to_string()))),
    };
    let inner = serde_json::to_value(&made).map_err(Error::broken)?;
    let transports = serde_json::to_value(&credential.response.transports).map_err(Error::broken)?;
    let passkey = Passkey {
        app_id,
        id: platform.ids.next(),
        user_id: user,
        handle: handle.as_simple().to_string(),
        credential_id: URL_SAFE_NO_PAD.encode(made.cred_id()),
        counter: inner.pointer("/cred/counter").and_then(Value::as_i64).unwrap_or(0),
        backed_up: inner.pointer("/cred/backup_state").and_then(Value::as_bool).unwrap_or(false),
        transports: Doc(serde_json::from_value(transports).unwrap_or_default()),
        name,
        second_factor: false,
        created_ms: now_ms,
        last_used_ms: None,
    };
    if !store::insert_passkey(conn, &passkey, &Doc(made))? {
        return Err(Error::conflict("passkey_known", "This passkey is registered already."));
    }
    Ok(Some(Ok(passkey)))
}

/// Begins to sign.
///
/// # Errors
/// 409 when the app has no passkeys; what the database says.
pub(crate) fn begin_sign(conn: &mut Conn, platform: &Platform, app: (AppId, Mode), whom: For) -> Result<Begun> {
    let (options, state) = relying_party(conn, app.0)?.start_discoverable_authentication().map_err(Error::broken)?;
    let mut options = public_key(&options)?;
    let (user, second) = match whom {
        For::Anybody => (None, None),
        For::User(user) => (Some(user), None),
        For::Second(user, hash) => (Some(user), Some(hash)),
    };
    if let Some(user) = user {
        let of =
            |passkey: Passkey| json!({ "type": "public-key", "id": passkey.credential_id, "transports": passkey.transports.0 });
        options["allowCredentials"] = store::passkeys(conn, app.0, user)?.into_iter().map(of).collect();
    }
    let state = serde_json::to_value(Signing { state, second }).map_err(Error::broken)?;
    begin(conn, platform, app, (Kind::PasskeySignIn, user, state)).map(|draft| Begun { token: draft.token, options })
}

/// Who signed, held; nobody when anything about it is wrong, or it is not whom it has to be, and nothing says what.
/// Commit, whatever comes back.
pub(crate) fn assert(
    conn: &mut Conn,
    platform: &Platform,
    (app_id, mode, only): (AppId, Mode, Option<UserId>),
    Assertion { token, credential }: &Assertion,
) -> Result<Option<Asserted>> {
    let now_ms = platform.clock.now_ms();
    let hash = challenge::token_hash(platform, token.expose());
    let found = challenge::redeem(conn, (Some(app_id), Kind::PasskeySignIn), (&hash, now_ms))?;
    let Some(found) = found.filter(|found| found.app_id == app_id && found.mode == mode) else { return Ok(None) };
    let Challenge { user_id, state, .. } = found;
    let Signing { state, second } = serde_json::from_value(state).map_err(Error::broken)?;
    let id = URL_SAFE_NO_PAD.encode(credential.get_credential_id());
    let Some((mut passkey, Doc(mut key))) = store::passkey_of(conn, app_id, &id)? else { return Ok(None) };
    // Where nobody was named, the authenticator has to say who it is; where somebody was, it may leave it out.
    let handle = credential.get_user_unique_id().map(|bytes| Uuid::from_slice(bytes).ok());
    let names = |handle: Option<Uuid>| handle.is_some_and(|handle| handle.as_simple().to_string() == passkey.handle);
    let is_theirs = match (user_id, handle) {
        (None, handle) => handle.is_some_and(names),
        (Some(user), handle) => user == passkey.user_id && handle.is_none_or(names),
    };
    if !is_theirs || only.is_some_and(|only| only != passkey.user_id) {
        return Ok(None);
    }
    store::hold_user(conn, app_id, passkey.user_id)?;
    let done = relying_party(conn, app_id)?.finish_discoverable_authentication_v2(credential, state, &key);
    let done = match done {
        Ok(done) => done,
        Err(reason) => {
            metrics::counter!("kairos_passkey_refused_total").increment(1);
            tracing::debug!(%app_id, passkey = %passkey.id, %reason, "a passkey was refused");
            return Ok(None);
        }
    };
    let counter = passkey.counter;
    key.update_credential(&done);
    passkey.counter = i64::from(done.counter());
    passkey.backed_up = done.backup_state();
    passkey.last_used_ms = Some(now_ms);
    if !store::note_use(conn, &passkey, (&Doc(key), counter))? {
        return Ok(None);
    }
    Ok(Some(Asserted { user: passkey.user_id, second }))
}

fn begin(
    conn: &mut Conn,
    platform: &Platform,
    (app_id, mode): (AppId, Mode),
    (kind, user_id, state): (Kind, Option<UserId>, Value),
) -> Result<Draft> {
    let life_ms = LIFE_S * 1_000;
    let draft = challenge::draft(platform, Wanted { app_id, mode, kind, user_id, email: None, state, life_ms });
    challenge::open(conn, &draft)?;
    Ok(draft)
}

/// The part of the options that platforms take as JSON.
fn public_key(options: &impl Serialize) -> Result<Value> {
    let mut options = serde_json::to_value(options).map_err(Error::broken)?;
    Ok(options["publicKey"].take())
}

/// One answer for everything that can be wrong with a passkey at the door.
pub(crate) fn refused() -> Error {
    let detail = "The passkey is unknown, was removed, or did not sign what this server asked for. Begin again.";
    Problem::new(401, "invalid_passkey", detail).into()
}
