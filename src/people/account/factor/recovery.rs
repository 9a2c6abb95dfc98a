//! Recovery codes: ten texts of sixty random bits, shown once, each good once.

use super::super::store;
use crate::error::Result;
use crate::id::{AppId, UserId};
use crate::platform::Platform;
use crate::store::Conn;

/// How many a user gets.
const COUNT: usize = 10;
/// Characters of one, without the dashes.
const CHARS: usize = 12;
/// Crockford's digits: nothing in them is taken for something else.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Gives a user new codes in place of the ones they had; their texts are in the answer and nowhere else.
pub(crate) fn renew(conn: &mut Conn, platform: &Platform, who: (AppId, UserId)) -> Result<Vec<String>> {
    let codes: Vec<String> = (0..COUNT).map(|_| text(u64::from_be_bytes(platform.ids.bytes::<8>()))).collect();
    let hashes: Vec<String> = codes.iter().map(|code| hash(platform, who, code)).collect();
    store::put_codes(conn, who, &hashes, platform.clock.now_ms())?;
    Ok(codes)
}

/// What is stored of a code; people may leave its dashes out, write it in capitals, or o for 0 and l for 1.
pub(super) fn hash(platform: &Platform, (app_id, user): (AppId, UserId), code: &str) -> String {
    let plain = code.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    });
    let plain: String = plain.collect();
    platform.master_key.derive_hex("recovery code", format!("{app_id}|{user}|{plain}").as_bytes())
}

fn text(random: u64) -> String {
    let mut out = String::with_capacity(CHARS + 2);
    for n in 0..CHARS {
        if n > 0 && n % 4 == 0 {
            out.push('-');
        }
        out.push(char::from(DIGITS[usize::try_from(random >> (n * 5) & 31).unwrap_or(0)]));
    }
    out
}
