//! Opening hours of a place: spans of wall-clock time by day of the week, in the place's own zone.

use serde::{Deserialize, Serialize};

/// Most spans of one place.
const SPANS_MAX: usize = 50;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days speak for themselves")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Open from one wall-clock time to another, `[from, to)`; over midnight when `from` is later than `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The days on which the span begins.
    pub days: Vec<Day>,
    /// `HH:MM`
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub from: String,
    /// `HH:MM`; `24:00` is midnight at the end of the day.
    #[schema(pattern = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    pub to: String,
}

/// When a place is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpeningHours {
    /// IANA name of the zone that the times mean.
    pub time_zone: String,
    /// The spans; closed at all other times.
    pub spans: Vec<Span>,
}

impl OpeningHours {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// The field at fault, relative to this object, and what is wrong.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        if jiff::tz::TimeZone::get(&self.time_zone).is_err() {
            return Err(("time_zone".to_owned(), "expected an IANA time zone such as Europe/Paris"));
        }
        if self.spans.len() > SPANS_MAX {
            return Err(("spans".to_owned(), "at most 50 spans"));
        }
        for (n, span) in self.spans.iter().enumerate() {
            if span.days.is_empty() || span.days.len() > 7 {
                return Err((format!("spans[{n}].days"), "one to seven days"));
            }
            if minute(&span.from).is_none_or(|m| m == 24 * 60) {
                return Err((format!("spans[{n}].from"), "expected HH:MM"));
            }
            if minute(&span.to).is_none() {
                return Err((format!("spans[{n}].to"), "expected HH:MM, or 24:00"));
            }
        }
        Ok(())
    }

    /// Whether the place is open at this time, in UTC milliseconds.
    pub fn open_at(&self, now_ms: i64) -> bool {
        let Ok(zone) = jiff::tz::TimeZone::get(&self.time_zone) else { return false };
        let Ok(now) = jiff::Timestamp::from_millisecond(now_ms) else { return false };
        let local = now.to_zoned(zone);
        let today = local.weekday().to_monday_zero_offset();
        let at = u16::try_from(i16::from(local.hour()) * 60 + i16::from(local.minute())).unwrap_or(0);
        self.spans.iter().any(|span| {
            let (Some(from), Some(to)) = (minute(&span.from), minute(&span.to)) else { return false };
            span.days.iter().any(|day| {
                let day = *day as i8;
                if from <= to {
                    return day == today && from <= at && at < to;
                }
                (day == today && from <= at) || ((day + 1) % 7 == today && at < to)
            })
        })
    }
}

/// `HH:MM` as minutes of the day, 0 to 1,440.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    (minutes < 60 && (hours < 24 || hours == 24 && minutes == 0)).then_some(hours * 60 + minutes)
}
