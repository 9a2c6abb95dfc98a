//! Global Privacy Control: a standing signal against selling and sharing, kept as a withdrawal in the ledger.
//!
//! At its first sight it withdraws every purpose that sells or shares, and every grant for a partner. What the user grants
//! by name after that stands; what others bring in for them does not.

use super::law::{Extent, Ledger, Row, Voice};

/// The header of the signal; only the exact value 1 means something.
pub const HEADER: &str = "sec-gpc";

/// What the signal still has to withdraw, given the purposes that sell or share.
pub fn due(ledger: &Ledger, sharing: &[String], now_ms: i64) -> Vec<Extent> {
    let first = ledger.rows.iter().position(|row| row.voice == Voice::Signal);
    let chosen = |n: usize, row: &Row| row.granted && row.voice == Voice::User && first.is_some_and(|at| n > at);
    let mut due: Vec<Extent> = Vec::new();
    // Each purpose once, also where nothing was granted: the objection is on record.
    for purpose in sharing {
        let wide = Extent { purpose: purpose.clone(), channel: None, partner: None };
        let said = |(n, row): (usize, &Row)| {
            let signalled = row.voice == Voice::Signal && row.extent == wide;
            signalled || chosen(n, row) && row.extent.purpose == *purpose
        };
        if !ledger.rows.iter().enumerate().any(said) {
            due.push(wide);
        }
    }
    for grant in ledger.in_force(now_ms) {
        let shares = grant.extent.partner.is_some() || sharing.contains(&grant.extent.purpose);
        let by_name = ledger.rows.iter().position(|row| row.id == grant.id).is_some_and(|n| chosen(n, grant));
        if shares && !by_name && !due.iter().any(|extent| extent.ends(&grant.extent)) {
            due.push(grant.extent.clone());
        }
    }
    due
}

/// Whether the signal speaks against a grant that somebody else brings in for the user.
pub fn forbids(ledger: &Ledger, extent: &Extent) -> bool {
    let signal = ledger.rows.iter().rposition(|row| row.voice == Voice::Signal && row.extent.ends(extent));
    let chosen = |row: &Row| row.granted && row.voice == Voice::User && row.extent == *extent;
    signal.is_some_and(|at| !ledger.rows[at..].iter().any(chosen))
}
