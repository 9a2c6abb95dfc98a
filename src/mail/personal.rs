//! What this room holds of a person: that there were mails to them. Their contents are secrets of an hour, which are
//! wiped by themselves.

use crate::platform::personal::{OF_USER, Room, Table, hand_over, plain, time};

/// See `platform::personal`. A mail that says that the account is deleted names no user.
pub const ROOM: Room = Room {
    tables: &[Table {
        name: "mails",
        shown_in: None,
        section: "mails",
        key: "id",
        whose: OF_USER,
        shows: &[
            plain("id"),
            plain("template"),
            plain("locale"),
            plain("state"),
            plain("reason"),
            time("created_ms"),
            time("ended_ms"),
        ],
        finish: None,
    }],
    erase: None,
    turn_over: None,
    absorb: Some(|conn, merge, budget| hand_over(conn, ("mails", "id"), merge, budget)),
};
