//! How the user of a session proved who they are: the `amr` of its tokens, in the words of RFC 8176 where it has one.

use crate::error::{Error, Result};
use std::collections::BTreeSet;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// One way to prove who one is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $($(#[$doc])* $name,)*
        }

        impl Method {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for it in tokens and in the database.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

methods! {
    /// A password.
    Password = "pwd",
    /// A code or link that was mailed to an address.
    Mail = "mail",
    /// Another issuer's ID token.
    Federated = "fed",
    /// A passkey.
    Passkey = "pop",
    /// A code of an authenticator app.
    Totp = "otp",
    /// A recovery code.
    Recovery = "rec",
    /// Somebody of the app's staff acts as this user.
    Impersonation = "imp",
}

/// The methods of a session; an anonymous user's has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Methods(BTreeSet<Method>);

impl Methods {
    /// One method alone.
    pub fn one(method: Method) -> Self {
        Self(BTreeSet::from([method]))
    }

    /// These and another one.
    #[must_use]
    pub fn and(mut self, method: Method) -> Self {
        self.0.insert(method);
        self
    }

    /// Whether this one is among them.
    pub fn has(&self, method: Method) -> bool {
        self.0.contains(&method)
    }

    /// These and others.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        self.0.extend(&others.0);
        self
    }

    /// Whether a second factor is among them; a passkey is two.
    pub fn is_second(&self) -> bool {
        [Method::Passkey, Method::Totp, Method::Recovery].into_iter().any(|method| self.has(method))
    }

    /// Their words, in a fixed order.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|method| method.word()).collect()
    }

    /// Reads what `Display` writes.
    ///
    /// # Errors
    /// When a word is unknown.
    pub fn parse(text: &str) -> Result<Self> {
        let of = |word: &str| Method::ALL.iter().copied().find(|method| method.word() == word);
        let methods: Option<BTreeSet<Method>> = text.split_ascii_whitespace().map(of).collect();
        methods.map(Self).ok_or_else(|| Error::broken("a stored session has an unknown method"))
    }
}

impl std::fmt::Display for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}
