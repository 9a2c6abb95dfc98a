//! Which events an endpoint listens to: names, and `prefix.*` for all below a prefix. Pure.

/// Most entries of a filter.
pub(super) const FILTER_MAX: usize = 50;
/// Longest entry, in bytes.
const NAME_LIMIT: usize = 100;

/// Whether an endpoint with this filter hears of an event; an empty filter hears of everything.
pub fn listens(filter: &[String], kind: &str) -> bool {
    let takes = |wanted: &String| match wanted.strip_suffix('*') {
        Some(prefix) => kind.len() > prefix.len() && kind.starts_with(prefix),
        None => wanted == kind,
    };
    filter.is_empty() || filter.iter().any(takes)
}

/// Whether an entry of a filter is well formed: words of letters, digits and `_`, parted by dots, perhaps `.*` at the end.
///
/// # Errors
/// What is wrong, for people.
pub fn check_filter(entry: &str) -> Result<(), &'static str> {
    let name = entry.strip_suffix(".*").unwrap_or(entry);
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if entry.len() <= NAME_LIMIT && name.split('.').all(word) {
        return Ok(());
    }
    Err("expected names such as user.created, or user.* for all below it")
}
