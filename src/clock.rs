//! Time as a value that is handed in: the system's, a hand-moved one for tests, or one that follows a recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// One minute, in milliseconds.
pub const MINUTE_MS: i64 = 60_000;
/// One hour, in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// One day, in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Whether a pause that ends at a time is still on. One that ends later than the longest pause there is was begun under
/// another clock, before it was set back: it is over, or it would last as long as the clock was wrong.
pub fn is_ahead(until_ms: i64, now_ms: i64, longest_ms: i64) -> bool {
    now_ms < until_ms && until_ms - now_ms <= longest_ms
}

/// The domain's clock: UTC milliseconds since 1970. Ages, windows, deadlines and quiet hours read nothing else.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Hand(Arc<Hand>),
}

struct Hand {
    now_ms: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until [`Clock::set`] moves it.
    pub fn at(now_ms: i64) -> Self {
        Self(Kind::Hand(Arc::new(Hand { now_ms: AtomicI64::new(now_ms), moved: Notify::new() })))
    }

    /// Now, in UTC milliseconds.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
            Kind::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
            Kind::Hand(hand) => hand.now_ms.load(Ordering::SeqCst),
        }
    }

    /// Whether somebody moves this clock by hand (tests, replay); the system's clock cannot be moved.
    pub fn is_hand_moved(&self) -> bool {
        matches!(self.0, Kind::Hand(_))
    }

    /// Moves a hand clock; a step back is allowed. The system's clock stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Kind::Hand(hand) = &self.0 {
            hand.now_ms.store(now_ms, Ordering::SeqCst);
            hand.moved.notify_waiters();
        }
    }

    /// Moves a hand clock forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now_ms() + i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }

    /// Waits until this clock shows `due_ms` or later.
    pub async fn sleep_until(&self, due_ms: i64) {
        match &self.0 {
            Kind::System => loop {
                let wait_ms = due_ms - self.now_ms();
                if wait_ms <= 0 {
                    return;
                }
                // Short naps, so that a step of the wall clock is noticed within a second.
                #[expect(clippy::disallowed_methods, reason = "the one place that waits for the machine's clock")]
                tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms.min(1_000)).unwrap_or(1))).await;
            },
            Kind::Hand(hand) => loop {
                let moved = hand.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if self.now_ms() >= due_ms {
                    return;
                }
                moved.await;
            },
        }
    }
}

/// A point in time on the wire: RFC 3339, UTC, milliseconds. Inside it is UTC milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// 1970-01-01, the earliest time that is taken.
    pub const MIN_MS: i64 = 0;
    /// 2200-01-01, the latest time that is taken.
    pub const MAX_MS: i64 = 7_258_118_400_000;

    /// Reads RFC 3339 with any offset; digits beyond the millisecond are cut.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "expected an RFC 3339 time such as 2026-01-31T08:30:00.000Z";
        // jiff also reads looser forms (a blank for the T, bracketed zones); the wire takes RFC 3339 alone.
        if text.len() > 40
            || !text.is_ascii()
            || text.as_bytes().get(10).is_none_or(|b| *b != b'T' && *b != b't')
            || text.contains('[')
        {
            return Err(WRONG);
        }
        let ms = text.parse::<jiff::Timestamp>().map_err(|_| WRONG)?.as_millisecond();
        if !(Self::MIN_MS..=Self::MAX_MS).contains(&ms) {
            return Err("the time lies outside 1970 to 2200");
        }
        Ok(Self(ms))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "invalid"),
        }
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Time {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Time {}
