//! Typed, prefixed identifiers: a UUIDv7 behind three letters, e.g. `usr_0192…` (32 lower-case hex digits).

use crate::clock::Clock;
use crate::error::Error;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Makes identifiers and randomness; injected, so that tests can fix the seed.
#[derive(Clone)]
pub struct Ids {
    clock: Clock,
    last: Arc<Mutex<(u64, u16)>>,
    random: SystemRandom,
}

impl Ids {
    /// Identifiers that carry this clock's time, so that they sort by it.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: Arc::default(), random: SystemRandom::new() }
    }

    /// The next identifier. Ids of one process rise strictly, also within a millisecond and when the clock steps back.
    pub fn next<I: From<Uuid>>(&self) -> I {
        I::from(self.uuid())
    }

    fn uuid(&self) -> Uuid {
        let now_ms = u64::try_from(self.clock.now_ms()).unwrap_or(0);
        let (ms, sequence) = {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *last = match *last {
                (ms, _) if now_ms > ms => (now_ms, 0),
                (ms, 0xfff) => (ms + 1, 0),
                (ms, sequence) => (ms, sequence + 1),
            };
            *last
        };
        // RFC 9562 §5.7: 48 bits of time, version 7, 12 bits (here a counter), variant, 62 random bits.
        let random = u64::from_be_bytes(self.bytes::<8>());
        let high = (ms << 16) | 0x7000 | u64::from(sequence);
        let low = (random & (u64::MAX >> 2)) | (1 << 63);
        Uuid::from_u64_pair(high, low)
    }

    /// Cryptographically secure random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // The operating system's generator does not fail once it has started; a process without one must not go on.
        if self.random.fill(&mut bytes).is_err() {
            std::process::abort();
        }
        bytes
    }
}

/// Reads `prefix_` and 32 lower-case hex digits.
fn parse(text: &str, prefix: &'static str) -> Result<Uuid, IdError> {
    let wrong = || IdError { prefix };
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(wrong)?;
    if digits.len() != 32 || digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong());
    }
    Uuid::try_parse(digits).map_err(|_| wrong())
}

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdError {
    prefix: &'static str,
}

impl std::fmt::Display for IdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected an id of the form {}_ and 32 lower-case hex digits", self.prefix)
    }
}

impl std::error::Error for IdError {}

impl IdError {
    /// The refusal for a field that should have held this id.
    pub fn at(self, field: &str) -> Error {
        Error::invalid(field, "invalid", self.to_string())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, diesel::expression::AsExpression, diesel::deserialize::FromSqlRow)]
        #[diesel(sql_type = diesel::sql_types::Text)]
        pub struct $name(Uuid);

        impl $name {
            /// The UUID behind the prefix.
            pub fn uuid(self) -> Uuid { self.0 }
            /// A text before every id made at this time (UTC milliseconds) or later, and after every earlier one.
            pub fn floor(at_ms: i64) -> String { format!("{}_{:012x}", $prefix, at_ms.max(0)) }
            /// When it was made, in UTC milliseconds.
            pub fn made_ms(self) -> i64 { i64::try_from(self.0.as_u128() >> 80).unwrap_or(0) }
        }
        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self { Self(uuid) }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                // In one piece: ids are written more often than anything else.
                const HEAD: &str = concat!($prefix, "_");
                let mut text = [0; HEAD.len() + uuid::fmt::Simple::LENGTH];
                let (head, digits) = text.split_at_mut(HEAD.len());
                head.copy_from_slice(HEAD.as_bytes());
                self.0.as_simple().encode_lower(digits);
                f.write_str(std::str::from_utf8(&text).map_err(|_| std::fmt::Error)?)
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { std::fmt::Display::fmt(self, f) }
        }
        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { parse(text, $prefix).map(Self) }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::sqlite::Sqlite> for $name {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, diesel::sqlite::Sqlite>) -> diesel::serialize::Result {
                out.set_value(self.to_string());
                Ok(diesel::serialize::IsNull::No)
            }
        }
        impl diesel::serialize::ToSql<diesel::sql_types::Text, diesel::pg::Pg> for $name {
            fn to_sql<'b>(&'b self, out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>) -> diesel::serialize::Result {
                use std::io::Write as _;
                write!(out, "{self}")?;
                Ok(diesel::serialize::IsNull::No)
            }
        }
        impl<DB> diesel::deserialize::FromSql<diesel::sql_types::Text, DB> for $name
        where
            DB: diesel::backend::Backend,
            *const str: diesel::deserialize::FromSql<diesel::sql_types::Text, DB>,
        {
            fn from_sql(raw: DB::RawValue<'_>) -> diesel::deserialize::Result<Self> {
                let text = <*const str as diesel::deserialize::FromSql<diesel::sql_types::Text, DB>>::from_sql(raw)?;
                // SAFETY: diesel hands out a pointer into the row, which outlives this call.
                #[expect(unsafe_code, reason = "diesel's own borrowed text type is a raw pointer")]
                let text = unsafe { &*text };
                Ok(text.parse()?)
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some(concat!("^", $prefix, "_[0-9a-f]{32}$")))
                    .into()
            }
        }
        impl utoipa::ToSchema for $name {}
    )*};
}

ids! {
    /// A tenant: one mobile app.
    AppId = "app";
    /// An API key of an app.
    KeyId = "key";
    /// A person who runs apps.
    OperatorId = "opr";
    /// A person in an app.
    UserId = "usr";
    /// A single-use secret that was handed out or mailed.
    ChallengeId = "chl";
    /// A passkey of a user.
    PasskeyId = "psk";
    /// One sign-in of a user.
    SessionId = "ses";
    /// Who a user is to another issuer.
    IdentityId = "idn";
    /// One installation of the app.
    DeviceId = "dev";
    /// A non-person event source.
    ThingId = "thg";
    /// A thing's link to a user.
    LinkId = "lnk";
    /// A fact from app, server, partner or thing.
    EventId = "evt";
    /// One unit of work of a lane: an event to be judged for one user.
    WorkId = "wrk";
    /// A circle or polygon.
    PlaceId = "plc";
    /// A transient opportunity for one user.
    MomentId = "mom";
    /// The stored outcome of one moment or scheduled target.
    DecisionId = "dec";
    /// One chosen offer of a decision.
    ChoiceId = "cho";
    /// One decision rendered for one device.
    MessageId = "msg";
    /// Offers, who and when.
    CampaignId = "cmp";
    /// Something worth saying in a moment.
    OfferId = "ofr";
    /// A direct push; the campaign and the offer of its decisions have the same UUID.
    PushId = "psh";
    /// Another business in the network.
    PartnerId = "ptn";
    /// A mail to an account holder.
    MailId = "mal";
    /// One row of the consent ledger.
    ConsentId = "con";
    /// The erasure of a user.
    ErasureId = "era";
    /// An endpoint that is told of events.
    WebhookId = "whk";
    /// One event on its way to one endpoint; the `webhook-id` of every attempt.
    DeliveryId = "whd";
    /// An import of users or devices.
    ImportId = "imp";
    /// A Live Activity: something that goes on, shown on lock screens.
    ActivityId = "act";
    /// One update of a Live Activity, or its end.
    ActivityUpdateId = "acu";
    /// A broadcast channel of Apple's.
    ChannelId = "chn";
    /// One broadcast over a channel.
    BroadcastId = "brd";
}
