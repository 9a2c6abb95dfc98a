//! The few mails that Kairos itself writes to account holders: codes, links, notices.
//!
//! A mail is rendered and written to the outbox in the transaction of its effect ([`queue`]): either both are on disk or
//! neither is, and what an operator is shown is what is sent. Address, subject and body hold secrets, so they are sealed
//! with the master key and wiped when the mail has ended; what stays for 30 days (template, state, attempts, a keyed
//! hash of the address) says nothing of the person.
//!
//! With `KAIROS_SMTP_URL` a mail is `waiting` until it is `sent`, `failed` (the server refuses it for good) or `expired`
//! (the code in it is no longer good: it is never sent late). It is sent at least once: after a crash between hand-over
//! and note it goes out again with the same Message-ID. Without SMTP it is `kept`: for 24 hours an operator with the
//! master key reads it by `kairos mail show`. No API shows its contents: a server key that could read sign-in codes
//! could take accounts over.

pub mod http;
pub mod personal;
mod post;
mod render;
mod retention;
mod smtp;
mod store;
mod template;
mod texts;

pub use post::Mailer;
pub use template::{Factor, Name, Proof, Template};

use crate::app;
use crate::clock::{DAY_MS, MINUTE_MS};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::{AppId, MailId, UserId};
use crate::platform::{MasterKey, Platform};
use crate::store::Conn;
use lettre::Address;
use render::Rendered;
use serde::{Deserialize, Serialize};
use template::Values;

/// Most mails to one address that anybody could have caused: (window in milliseconds, mails).
const BY_ANYBODY: [(i64, i64); 2] = [(10 * MINUTE_MS, 5), (DAY_MS, 30)];
/// Most notices to one address, which only the owner of the account can cause.
const BY_OWNER: [(i64, i64); 2] = [(10 * MINUTE_MS, 20), (DAY_MS, 60)];
/// How long a notice is worth sending, in milliseconds.
const NOTICE_USEFUL_MS: i64 = 3 * DAY_MS;
/// Longest address, in bytes (RFC 5321).
const ADDRESS_BYTES_MAX: usize = 254;

/// A mail to write.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The address.
    pub to: String,
    /// What to say.
    pub template: Template,
    /// The reader's locale, as far as it is known.
    pub locale: Option<String>,
    /// Whose account it is about. `None` where there is none, or none any more: a mail about a deleted account must
    /// outlive it.
    pub user: Option<UserId>,
}

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MailState)]
pub enum State {
    /// To be sent, or on its way.
    Waiting,
    /// There is no mail server: shown to the operator for 24 hours.
    Kept,
    /// The mail server has taken it.
    Sent,
    /// The mail server refuses it for good.
    Failed,
    /// It was no longer of use before a mail server took it.
    Expired,
}

impl State {
    /// The state's name in the database and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Kept => "kept",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// What an operator sees of a mail.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What may be known of it by anybody who may ask.
    pub entry: Entry,
    /// Its secret part, unless that is wiped by now.
    pub content: Option<Content>,
}

/// What is kept of a mail beside its content.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each field is a column that the migration documents")]
pub struct Entry {
    pub app_id: AppId,
    pub id: MailId,
    pub user_id: Option<UserId>,
    pub template: String,
    pub locale: String,
    pub state: String,
    pub reason: Option<String>,
    pub attempts: i64,
    pub useful_until_ms: i64,
    pub created_ms: i64,
    pub ended_ms: Option<i64>,
}

/// The secret part of a mail.
#[derive(Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the parts of a mail")]
pub struct Content {
    pub to: String,
    /// The app's name.
    pub sender: String,
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// Writes a mail to the outbox, in the transaction of its effect. Nudge `platform.mail_hint` after the commit; a nudge
/// that is forgotten costs a second.
///
/// An address that has got too many lately, or that no mail can reach, gets none. The answer does not tell, and must
/// not: whoever asked would learn something about the address.
///
/// # Errors
/// What the database says; a token that is not safe in a URL.
pub fn queue(conn: &mut Conn, platform: &Platform, app: AppId, mail: &Mail) -> Result<()> {
    let (name, now_ms) = (mail.template.name(), platform.clock.now_ms());
    let Some(to) = address(&mail.to) else {
        count(name.word(), "unmailable");
        return Ok(());
    };
    let recipient = recipient(&platform.master_key, app, &mail.to);
    conn.serialise(&format!("mail:{app}:{recipient}"))?;
    let limits = if name.is_notice() { BY_OWNER } else { BY_ANYBODY };
    for (window_ms, most) in limits {
        if store::count_since(conn, (app, &recipient, name.is_notice()), now_ms - window_ms)? >= most {
            count(name.word(), "suppressed");
            return Ok(());
        }
    }
    let (sender, settings) = (app::name(conn, app)?, app::settings(conn, app)?);
    let values = render::values(&mail.template, (&platform.config.public_url, &app.to_string(), &sender), now_ms)?;
    let chain = texts::chain(mail.locale.as_deref(), &settings.locale);
    let (locale, Rendered { subject, text, html }) = words(conn, (app, name), &chain, &values)?;
    let content = Content { to: to.to_string(), sender, subject, text, html };
    let id: MailId = platform.ids.next();
    let plain = serde_json::to_vec(&content).map_err(Error::broken)?;
    let sealed = platform.master_key.seal(&platform.ids, &context(app, id), &plain)?;
    let entry = Entry {
        app_id: app,
        id,
        user_id: mail.user,
        template: name.word().to_owned(),
        locale,
        state: if sends(&platform.config) { State::Waiting } else { State::Kept }.word().to_owned(),
        reason: None,
        attempts: 0,
        useful_until_ms: mail.template.proof().map_or(now_ms + NOTICE_USEFUL_MS, |(proof, _)| proof.expires_ms),
        created_ms: now_ms,
        ended_ms: None,
    };
    store::insert(conn, &entry, (&recipient, name.is_notice(), &sealed))
}

/// Whether there is a mail server.
pub fn sends(config: &Config) -> bool {
    !config.smtp_url.expose().is_empty()
}

/// The newest mails of all apps, or of one, with what can still be read of them.
///
/// # Errors
/// What the database says.
pub fn newest(conn: &mut Conn, key: &MasterKey, app: Option<AppId>, rows: i64) -> Result<Vec<Shown>> {
    let all = store::newest(conn, app, rows)?;
    Ok(all.into_iter().map(|(entry, sealed)| shown(key, entry, sealed)).collect())
}

/// One mail of whatever app.
///
/// # Errors
/// What the database says.
pub fn find(conn: &mut Conn, key: &MasterKey, id: MailId) -> Result<Option<Shown>> {
    Ok(store::find(conn, id)?.map(|(entry, sealed)| shown(key, entry, sealed)))
}

fn shown(key: &MasterKey, entry: Entry, sealed: Option<Vec<u8>>) -> Shown {
    let content = sealed.and_then(|sealed| open(key, (entry.app_id, entry.id), &sealed).ok());
    Shown { entry, content }
}

/// Reads a mail's secret part.
fn open(key: &MasterKey, (app, id): (AppId, MailId), sealed: &[u8]) -> Result<Content> {
    serde_json::from_slice(&key.open(&context(app, id), sealed)?).map_err(Error::broken)
}

/// The words of a mail: per locale the app's own before the built-in ones.
fn words(conn: &mut Conn, (app, name): (AppId, Name), chain: &[String], values: &Values) -> Result<(String, Rendered)> {
    let own = store::texts(conn, app, (name, chain))?;
    for locale in chain {
        let built_in = texts::built_in(name, locale);
        for text in own.get(locale).into_iter().chain(built_in) {
            match render::render(text, locale, values) {
                Ok(rendered) => return Ok((locale.clone(), rendered)),
                // It was tried when it was saved. A mail in other words is better than none.
                Err((part, why)) => tracing::warn!(%app, template = name.word(), locale, part, why, "a mail's text fails"),
            }
        }
    }
    Err(Error::broken(format!("there are no words for the mail {}", name.word())))
}

/// An address that mail can be sent to, and nothing that could become a header or a second recipient.
fn address(text: &str) -> Option<Address> {
    let plain = text.len() <= ADDRESS_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | ',' | ';' | '\\'));
    text.parse().ok().filter(|_| plain)
}

/// What stands for an address in one app; without the master key it says nothing.
fn recipient(key: &MasterKey, app: AppId, address: &str) -> String {
    key.derive_hex("mail recipient", format!("{app}|{}", address.to_lowercase()).as_bytes())
}

/// Ties the sealed bytes to their row, so that rows cannot be swapped.
fn context(app: AppId, id: MailId) -> String {
    format!("mails/{app}/{id}")
}

/// Counts what became of a mail.
fn count(template: &str, outcome: &'static str) {
    metrics::counter!("kairos_mails_total", "template" => template.to_owned(), "outcome" => outcome).increment(1);
}
