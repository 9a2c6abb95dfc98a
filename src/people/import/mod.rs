//! Imports: users and devices that move in from another system, many at a time.
//!
//! A body of lines is taken in as it arrives, in sealed chunks, and becomes a job once it is whole; half a body leaves
//! nothing behind. A worker takes chunk after chunk, jobs in turn: a chunk's lines and its end are one transaction, so
//! that nothing is done twice or left out, whenever the process is killed. A line that fails is undone alone and noted
//! with its number, never with what it said.
//!
//! - A line is about the user with its external id; without one about the user whose address it is. Who is known is
//!   updated as `PATCH /v1/users/{id}` would, who is not is made, so a body can be sent again.
//! - What users have done themselves stands above a line: `account::foreign` says how far.
//! - Who was erased does not come back by an old list: a name with a tombstone, which nobody has taken since, is an error
//!   of its line. Whoever has really come back is made by `POST /v1/users`, or signs up.
//! - Lines that wait name people, and nobody can look for one person in them: they are sealed, gone within minutes, and
//!   looked at against tombstones and leavers as any others when their turn comes.

mod chunk;
mod devices;
pub mod http;
mod line;
pub mod personal;
mod receive;
mod store;
mod users;
mod work;

pub use store::{Job, Kind, State};
pub use work::{step, worker};

use crate::error::{Error, Problem};
use crate::id::{SessionId, UserId};
use serde::{Deserialize, Serialize};

/// Longest message of a line's error, in characters.
const MESSAGE_CHARS_MAX: usize = 300;
/// How many errors of a job are kept; all are counted.
const ERRORS_MAX: usize = 100;

/// What is wrong with a line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ImportError)]
pub struct LineError {
    /// Its number in the body, from 1.
    line: i64,
    /// Stable machine word.
    code: String,
    /// The field at fault, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What is wrong and what would be right. It never repeats what the line says.
    message: String,
}

impl LineError {
    fn new(line: i64, code: &str, message: &str) -> Self {
        Self { line, code: code.to_owned(), field: None, message: message.to_owned() }
    }

    fn of(line: i64, problem: &Problem) -> Self {
        let (code, field, message) = match problem.errors.first() {
            Some(error) => (error.code, Some(error.field.clone()), error.message.as_str()),
            None => (problem.code, None, problem.detail.as_str()),
        };
        // Only a name of a field goes through: a body of another form may have people's names in its place.
        let field = field.map(|field| line::named(&field));
        Self { line, code: code.to_owned(), field, message: message.chars().take(MESSAGE_CHARS_MAX).collect() }
    }
}

/// What a line did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Created,
    Updated,
}

/// What has to be told once a line's transaction is through.
#[derive(Debug, Default)]
struct Effects {
    /// Sessions that have ended.
    sessions: Vec<SessionId>,
    /// Whose sends are to let go.
    users: Vec<UserId>,
}

/// What the lines of a chunk did.
#[derive(Debug, Default)]
struct Tally {
    done: i64,
    created: i64,
    updated: i64,
    failed: i64,
    errors: Vec<LineError>,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        self.done += 1;
        match outcome {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
        }
    }

    fn fail(&mut self, lines: i64, error: LineError) {
        self.done += lines;
        self.failed += lines;
        self.errors.push(error);
    }
}

/// A refusal of one line that names its field.
fn refused(field: &str, code: &'static str, message: &str) -> Error {
    Error::invalid(field, code, message)
}
