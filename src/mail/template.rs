//! What Kairos writes to account holders: a closed list, each with typed values.

use crate::clock::{MINUTE_MS, Time};
use crate::config::Secret;
use crate::error::{Error, Result};
use minijinja::Value;
use std::collections::BTreeMap;

/// Values by the names that texts use.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// A mail's template and what is put into it.
#[derive(Debug, Clone)]
pub enum Template {
    /// To an address that somebody says is theirs: prove it.
    VerifyEmail(Proof),
    /// To a known address: sign in without a password.
    SignIn(Proof),
    /// To a known address: choose a new password.
    ResetPassword(Proof),
    /// To the address that an account is to have from now on: prove it.
    ChangeEmail(Proof),
    /// To the address that an account had until now.
    EmailChanged {
        /// The new address; the mail shows its first letter and its domain.
        new_email: String,
    },
    /// To the owner of an account: somebody tried to sign up with its address.
    SignUpAttempt,
    /// The password of the account is another one.
    PasswordChanged,
    /// The account can be signed in to in one more way.
    FactorAdded(Factor),
    /// The account can no longer be signed in to in this way.
    FactorRemoved(Factor),
    /// The account is deleted, or will be.
    AccountDeletion {
        /// Until when signing in takes it back, in UTC milliseconds; `None`: it is gone.
        until_ms: Option<i64>,
    },
}

/// What proves that a mail was read: a code to type, and a token for the link. Either is enough.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Typed by a person.
    pub code: Secret,
    /// Goes into the link: letters, digits, `-`, `_`.
    pub token: Secret,
    /// When both end, in UTC milliseconds. The mail is not sent at or after it.
    pub expires_ms: i64,
}

/// A way to sign in beside the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// One-time codes of an authenticator app.
    Totp,
    /// A passkey.
    Passkey,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The name of a template, without values.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[schema(as = MailTemplateName)]
        pub enum Name {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Name {
            /// Every template there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name on the wire and in the database.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Reads a name.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|name| name.word() == word)
            }
        }
    };
}

names! {
    /// See [`Template::VerifyEmail`].
    VerifyEmail = "verify_email",
    /// See [`Template::SignIn`].
    SignIn = "sign_in",
    /// See [`Template::ResetPassword`].
    ResetPassword = "reset_password",
    /// See [`Template::ChangeEmail`].
    ChangeEmail = "change_email",
    /// See [`Template::EmailChanged`].
    EmailChanged = "email_changed",
    /// See [`Template::SignUpAttempt`].
    SignUpAttempt = "sign_up_attempt",
    /// See [`Template::PasswordChanged`].
    PasswordChanged = "password_changed",
    /// See [`Template::FactorAdded`].
    FactorAdded = "factor_added",
    /// See [`Template::FactorRemoved`].
    FactorRemoved = "factor_removed",
    /// See [`Template::AccountDeletion`].
    AccountDeletion = "account_deletion",
}

impl Name {
    /// Whether its text must hold the code or the link.
    pub(super) fn needs_proof(self) -> bool {
        match self {
            Self::VerifyEmail | Self::SignIn | Self::ResetPassword | Self::ChangeEmail => true,
            Self::EmailChanged
            | Self::SignUpAttempt
            | Self::PasswordChanged
            | Self::FactorAdded
            | Self::FactorRemoved
            | Self::AccountDeletion => false,
        }
    }

    /// Whether only somebody who is signed in to the account can cause it. The others can be caused by anybody who knows
    /// the address; the two are counted apart, so that a flood of the ones cannot keep back the others.
    pub(super) fn is_notice(self) -> bool {
        !self.needs_proof() && self != Self::SignUpAttempt
    }

    /// Values of every shape that this template gets, for trying texts.
    pub(super) fn samples(self) -> Vec<Template> {
        let proof = || Proof { code: Secret::new("493817"), token: Secret::new("x0x1x2x3x4x5x6x7x8x9x0"), expires_ms: 600_000 };
        let factors = [Factor::Totp, Factor::Passkey];
        match self {
            Self::VerifyEmail => vec![Template::VerifyEmail(proof())],
            Self::SignIn => vec![Template::SignIn(proof())],
            Self::ResetPassword => vec![Template::ResetPassword(proof())],
            Self::ChangeEmail => vec![Template::ChangeEmail(proof())],
            Self::EmailChanged => vec![Template::EmailChanged { new_email: "ada@example.com".to_owned() }],
            Self::SignUpAttempt => vec![Template::SignUpAttempt],
            Self::PasswordChanged => vec![Template::PasswordChanged],
            Self::FactorAdded => factors.map(Template::FactorAdded).into(),
            Self::FactorRemoved => factors.map(Template::FactorRemoved).into(),
            Self::AccountDeletion => [None, Some(86_400_000)].map(|until_ms| Template::AccountDeletion { until_ms }).into(),
        }
    }
}

impl Template {
    /// Its name.
    pub fn name(&self) -> Name {
        match self {
            Self::VerifyEmail(_) => Name::VerifyEmail,
            Self::SignIn(_) => Name::SignIn,
            Self::ResetPassword(_) => Name::ResetPassword,
            Self::ChangeEmail(_) => Name::ChangeEmail,
            Self::EmailChanged { .. } => Name::EmailChanged,
            Self::SignUpAttempt => Name::SignUpAttempt,
            Self::PasswordChanged => Name::PasswordChanged,
            Self::FactorAdded(_) => Name::FactorAdded,
            Self::FactorRemoved(_) => Name::FactorRemoved,
            Self::AccountDeletion { .. } => Name::AccountDeletion,
        }
    }

    /// What proves that it was read, and the page of the link.
    pub(super) fn proof(&self) -> Option<(&Proof, &'static str)> {
        match self {
            Self::VerifyEmail(proof) => Some((proof, "verify-email")),
            Self::SignIn(proof) => Some((proof, "sign-in")),
            Self::ResetPassword(proof) => Some((proof, "reset-password")),
            Self::ChangeEmail(proof) => Some((proof, "change-email")),
            Self::EmailChanged { .. }
            | Self::SignUpAttempt
            | Self::PasswordChanged
            | Self::FactorAdded(_)
            | Self::FactorRemoved(_)
            | Self::AccountDeletion { .. } => None,
        }
    }

    /// The values of a text, beside `app`, `at` and `link`.
    pub(super) fn values(&self, now_ms: i64) -> Values {
        match self {
            Self::VerifyEmail(proof) | Self::SignIn(proof) | Self::ResetPassword(proof) | Self::ChangeEmail(proof) => {
                let minutes = (proof.expires_ms - now_ms).max(1).saturating_add(MINUTE_MS - 1) / MINUTE_MS;
                Values::from([("code", Value::from(proof.code.expose())), ("minutes", Value::from(minutes))])
            }
            Self::EmailChanged { new_email } => Values::from([("new_email", Value::from(masked(new_email)))]),
            Self::FactorAdded(factor) | Self::FactorRemoved(factor) => Values::from([("factor", Value::from(factor.word()))]),
            Self::AccountDeletion { until_ms } => {
                Values::from([("until", until_ms.map_or_else(|| Value::from(""), |ms| Value::from(minute(ms))))])
            }
            Self::SignUpAttempt | Self::PasswordChanged => Values::new(),
        }
    }
}

impl Factor {
    fn word(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
        }
    }
}

/// The link of a mail: the configured public URL, the app, the page, and the token in the fragment, which no server on
/// the way sees. Nothing of a request has a part in it.
///
/// # Errors
/// When the token holds what is not safe in a URL: a fault of ours.
pub(super) fn link(public_url: &str, (app, page): (&str, &str), token: &Secret) -> Result<String> {
    let token = token.expose();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return Err(Error::broken("a token for a mail's link holds what is not safe in a URL"));
    }
    Ok(format!("{public_url}/auth/{app}/{page}#token={token}"))
}

/// A time as mails show it: `2026-06-15 10:00 UTC`.
pub(super) fn minute(at_ms: i64) -> String {
    let text = Time(at_ms).to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

/// `g…@example.com`: enough to be recognised by whoever knows it.
fn masked(email: &str) -> String {
    let (local, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    format!("{}…@{domain}", local.chars().next().unwrap_or('…'))
}
