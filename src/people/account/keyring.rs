//! Which of our signing keys signs now, and whose signatures are believed. Pure.
//!
//! A new key is published at once and signs only when every verifier that keeps our key set for as long as it may has
//! seen it. The old one is believed until the last token that it signed is over; then its private half is destroyed. Its
//! public half stays published, because receipts that it signed are to be checked for years.

use crate::clock::MINUTE_MS;

/// For how long verifiers may keep our key set without asking again, in seconds.
pub const CACHE_S: i64 = 300;
/// How long a key is published before it signs, in milliseconds: twice the above.
pub const PUBLISHED_MS: i64 = 10 * MINUTE_MS;
/// How far the clocks of nodes and verifiers may be apart, in milliseconds.
const SKEW_MS: i64 = MINUTE_MS;

/// The place of the key that signs, in a list of when the keys that are not retired were made, oldest first.
pub fn signing(made_ms: &[i64], now_ms: i64) -> usize {
    // The first key of all signs at once: nobody has another.
    made_ms.iter().skip(1).take_while(|made_ms| **made_ms + PUBLISHED_MS <= now_ms).count()
}

/// From when on what a key signed is over, given when the next key was made and how long tokens live.
pub fn over_ms(next_made_ms: i64, token_life_ms: i64) -> i64 {
    next_made_ms + PUBLISHED_MS + token_life_ms + SKEW_MS
}
