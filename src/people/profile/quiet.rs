//! Quiet hours: whether a wall clock says silence, and when it next stops saying so, daylight saving included. Pure.

use crate::app::QuietHours;
use crate::clock::DAY_MS;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// How many days ahead the end of a quiet time is searched: a zone may skip a whole day, never two.
const DAYS_AHEAD: i32 = 3;

/// Whether a wall clock time is quiet: [from, to), over midnight when `from` > `to`, none when they are equal.
pub fn covers(hours: QuietHours, minute_of_day: u16) -> bool {
    let (from, to) = (hours.from.minutes(), hours.to.minutes());
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => false,
        std::cmp::Ordering::Less => (from..to).contains(&minute_of_day),
        std::cmp::Ordering::Greater => minute_of_day >= from || minute_of_day < to,
    }
}

/// Whether this instant is quiet in this zone. In the repeated hour of autumn both passes count.
pub fn quiet_at(hours: QuietHours, zone: &TimeZone, at_ms: i64) -> bool {
    let Ok(at) = Timestamp::from_millisecond(at_ms) else { return false };
    covers(hours, minute(zone.to_datetime(at).time()))
}

/// When a device that is in quiet time leaves it: the first instant after `at_ms` that is not quiet.
/// `at_ms` itself when it is not quiet.
pub fn leaves_ms(hours: QuietHours, zone: &TimeZone, at_ms: i64) -> i64 {
    if !quiet_at(hours, zone, at_ms) {
        return at_ms;
    }
    let Ok(at) = Timestamp::from_millisecond(at_ms) else { return at_ms };
    // Quiet time ends where the wall clock shows `to`, or where it is set past it.
    let today = zone.to_datetime(at).date();
    let ends = (-1..=DAYS_AHEAD)
        .filter_map(|days| today.checked_add(jiff::Span::new().days(days)).ok())
        .flat_map(|date| showing(zone, date, hours.to.minutes()));
    let horizon_ms = at_ms.saturating_add(i64::from(DAYS_AHEAD) * DAY_MS);
    let settings = zone.following(at).map(|t| t.timestamp().as_millisecond()).take_while(|t| *t <= horizon_ms);
    ends.chain(settings).filter(|t| *t > at_ms && !quiet_at(hours, zone, *t)).min().unwrap_or(horizon_ms)
}

fn minute(time: Time) -> u16 {
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0)
}

/// The instants at which the wall clock of a day shows a minute: none in the gap of spring, two in the fold of autumn.
fn showing(zone: &TimeZone, date: Date, minute_of_day: u16) -> Vec<i64> {
    let (hour, minute) = (minute_of_day / 60, minute_of_day % 60);
    let Ok(time) = Time::new(i8::try_from(hour).unwrap_or(0), i8::try_from(minute).unwrap_or(0), 0, 0) else {
        return Vec::new();
    };
    let wall = date.to_datetime(time);
    let offsets = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Fold { before, after } => vec![before, after],
        AmbiguousOffset::Gap { .. } => Vec::new(),
    };
    offsets.into_iter().filter_map(|o| o.to_timestamp(wall).ok()).map(Timestamp::as_millisecond).collect()
}

/// The first of these zone names that is known; UTC when none is.
pub fn zone<'a>(names: impl IntoIterator<Item = &'a str>) -> TimeZone {
    names.into_iter().filter(|n| !n.is_empty()).find_map(|n| TimeZone::get(n).ok()).unwrap_or(TimeZone::UTC)
}
