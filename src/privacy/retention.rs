//! Retention: for how long each class of data is kept. One table, one worker, bounded transactions.
//!
//! | class | kept | changed by |
//! |---|---|---|
//! | raw positions of people | 24 h | `location_retention_ms`, 0 to 366 days |
//! | events | 396 days (13 months) | `event_retention_ms`, 7 days to 10 years |
//! | decisions, moments, choices, messages, receipts, direct pushes | 396 days | `decision_retention_ms`, 31 days to 10 years |
//! | tokens and words of Live Activities | until no phone shows it: its end and 4 h, 12 h after its start at most | - |
//! | sessions | 30 days after their end, or after they can no longer be refreshed | - |
//! | codes and links that were mailed | a day after their end | - |
//! | imports: figures and errors, which hold nothing of a person | 30 days after their end | - |
//! | lines of an import | until they are worked on, within minutes; of a body that broke off, an hour | - |
//! | profile, devices, links, preferences, consents | until the user is erased | - |
//! | tombstones, and that an erasure was done | for ever: they name nobody | - |

use crate::app::{self, Settings};
use crate::clock::{DAY_MS, HOUR_MS};
use crate::config::Config;
use crate::error::Result;
use crate::event;
use crate::id::AppId;
use crate::moment;
use crate::people::{account, import};
use crate::platform::Platform;
use crate::store::Conn;
use crate::worker::Progress;

/// How often to look, in milliseconds.
pub(super) const POLL_MS: u64 = 600_000;
/// Rows of one class in one transaction.
const ROWS: i64 = 1_000;
/// Apps of one transaction.
const APPS: usize = 50;
/// How long an ended session is kept, in milliseconds: long enough to ask what it was.
const SESSIONS_MS: i64 = 30 * DAY_MS;
/// How long an import that is done can be looked at, in milliseconds.
const IMPORTS_MS: i64 = 30 * DAY_MS;
/// Imports that broke off, of one transaction: each may have as many rows as the largest body has chunks.
const HALVES: i64 = 4;

/// A class of data.
struct Class {
    /// For how long it is kept, in milliseconds.
    keeps_ms: fn(&Settings) -> i64,
    /// Forgets rows from before a time; answers how many there were.
    forget: fn(&mut Conn, AppId, i64, &Config) -> Result<usize>,
}

const CLASSES: [Class; 8] = [
    Class {
        keeps_ms: |settings| settings.location_retention_ms,
        forget: |conn, app, before_ms, _| event::personal::expire_fixes(conn, app, (before_ms, ROWS)),
    },
    Class {
        keeps_ms: |settings| settings.decision_retention_ms,
        forget: |conn, app, before_ms, _| moment::personal::expire(conn, app, before_ms),
    },
    Class { keeps_ms: |_| 0, forget: |conn, app, before_ms, _| moment::activity::personal::expire(conn, app, (before_ms, ROWS)) },
    Class {
        keeps_ms: |settings| settings.event_retention_ms,
        forget: |conn, app, before_ms, _| event::personal::expire(conn, app, (before_ms, ROWS)),
    },
    Class {
        keeps_ms: |_| SESSIONS_MS,
        forget: |conn, app, before_ms, config| {
            let unused_ms = before_ms.saturating_sub(config.refresh_token_life_days.saturating_mul(DAY_MS));
            account::personal::expire(conn, app, (before_ms, unused_ms), ROWS)
        },
    },
    Class {
        keeps_ms: |_| DAY_MS,
        forget: |conn, app, before_ms, _| account::personal::expire_secrets(conn, app, (before_ms, ROWS)),
    },
    Class { keeps_ms: |_| IMPORTS_MS, forget: |conn, app, before_ms, _| import::personal::expire(conn, app, (before_ms, ROWS)) },
    Class {
        keeps_ms: |_| HOUR_MS,
        forget: |conn, app, before_ms, _| import::personal::expire_halves(conn, app, (before_ms, HALVES)),
    },
];

/// One step: a batch of each class of each app.
pub(super) async fn step(platform: &Platform) -> Result<Progress> {
    let now_ms = platform.clock.now_ms();
    let apps = platform.store.read(app::every).await?;
    let mut forgotten = 0;
    for some in apps.chunks(APPS) {
        let (some, of) = (some.to_vec(), platform.clone());
        forgotten += platform
            .store
            .write_patiently(move |conn| {
                let mut rows = 0;
                for (app, settings) in &some {
                    for class in &CLASSES {
                        rows += (class.forget)(conn, *app, now_ms - (class.keeps_ms)(settings), &of.config)?;
                    }
                }
                Ok(rows)
            })
            .await?;
    }
    Ok(if forgotten == 0 { Progress::Idle } else { Progress::More })
}
