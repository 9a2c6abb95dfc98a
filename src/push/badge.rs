//! The numbers on icons: kept for each device, and counted when messages are planned, in their transaction.

use super::content::{BADGE_MAX, Badge};
use super::message::NewMessage;
use crate::error::Result;
use crate::id::{AppId, DeviceId};
use crate::people::device::{self, Count};
use crate::store::Conn;
use std::collections::{BTreeMap, HashMap};

/// Turns what contents ask for into numbers: one statement for all devices that are asked the same, none where no
/// content speaks of a badge. A test is shown what it would have made of the number, which stays as it is.
pub(super) fn settle(conn: &mut Conn, messages: &mut [NewMessage]) -> Result<()> {
    let mut whole: BTreeMap<At, Count> = BTreeMap::new();
    for message in messages.iter() {
        if let Some(badge) = message.content.badge {
            let at = at(message);
            let before = whole.get(&at).copied().unwrap_or(Count::Add(0));
            whole.insert(at, after(before, badge));
        }
    }
    let mut alike: BTreeMap<(AppId, Count, bool), Vec<DeviceId>> = BTreeMap::new();
    for ((app, device, test), count) in &whole {
        alike.entry((*app, *count, *test)).or_default().push(*device);
    }
    let mut ends: HashMap<At, i64> = HashMap::new();
    for ((app, count, test), devices) in alike {
        let (kept, more) = match count {
            count if !test => (count, 0),
            Count::Add(more) => (Count::Add(0), more),
            Count::Put(_) => continue,
        };
        let counted = device::count_badges(conn, app, (&devices, kept))?;
        ends.extend(counted.into_iter().map(|(device, number)| ((app, device, test), number + more)));
    }
    // Several messages for one device count one after the other: each shows what it made of the number before all.
    let mut so_far: HashMap<At, Count> = HashMap::new();
    for message in messages.iter_mut() {
        let Some(badge) = message.content.badge else { continue };
        let at = at(message);
        let count = after(so_far.get(&at).copied().unwrap_or(Count::Add(0)), badge);
        so_far.insert(at, count);
        let number = match (count, whole.get(&at), ends.get(&at)) {
            (Count::Put(number), _, _) => Some(number),
            (Count::Add(part), Some(Count::Add(all)), Some(end)) => Some(end - all + part),
            // The first ones only added; what was there before them is gone from the database.
            (Count::Add(_), _, _) => None,
        };
        message.content.badge = number.map(|number| Badge::Set(u32::try_from(number).unwrap_or(0).min(BADGE_MAX)));
    }
    Ok(())
}

/// An icon, as live messages see it or as tests do.
type At = (AppId, DeviceId, bool);

fn at(message: &NewMessage) -> At {
    (message.app_id, message.device_id, message.test)
}

fn after(before: Count, badge: Badge) -> Count {
    match (badge, before) {
        (Badge::Set(number), _) => Count::Put(i64::from(number)),
        (Badge::Clear, _) => Count::Put(0),
        (Badge::Increment(number), Count::Put(before)) => Count::Put(before + i64::from(number)),
        (Badge::Increment(number), Count::Add(before)) => Count::Add(before + i64::from(number)),
    }
}
