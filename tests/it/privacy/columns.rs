//! The columns of text in the schema, and why some hold no word of a person.

use crate::world::{Db, World};
use std::fmt;

/// A column of the schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    pub table: String,
    pub name: String,
}

impl Column {
    /// Whether it holds bytes that are no text.
    pub fn is_bytes(&self) -> bool {
        let also = ["decisions.input", "choices.release_input", "webhooks.secret", "webhooks.old_secret"];
        self.name.ends_with("sealed") || also.contains(&self.to_string().as_str())
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.name)
    }
}

/// Tables that hold nothing about users.
const OF_THE_APP: &[&str] = &[
    "apps",
    "api_keys",
    "signing_keys",
    "attributes",
    "purposes",
    "purpose_versions",
    "topics",
    "event_types",
    "things",
    "event_counts",
    "places",
    "place_revisions",
    "place_changes",
    "partners",
    "moment_kinds",
    "offers",
    "catalogues",
    "campaigns",
    "campaign_recalls",
    "versions",
    "push_credentials",
    // What goes out over a channel goes to everybody who listens: nothing of a person is in it.
    "channels",
    "broadcasts",
    "webhooks",
    "mail_templates",
    "identity_providers",
    "identity_notices",
    "operators",
    "operator_roles",
    "operator_sessions",
    "operator_recovery_codes",
    "operator_attempts",
    // What was done to which id; it is never shortened.
    "audit",
];

/// Names that say the same in every table: ids name nobody without their rows, and the test looks for the user's own.
const IDS: &[&str] = &[
    "app_id",
    "id",
    "user_id",
    "session_id",
    "device_id",
    "event_id",
    "thing_id",
    "partner_id",
    "place_id",
    "cause_id",
    "moment_id",
    "decision_id",
    "choice_id",
    "campaign_id",
    "offer_id",
    "message_id",
    "link_partner_id",
    "from_id",
    "into_id",
    "cursor_user_id",
    "identity_id",
    "webhook_id",
    "import_id",
    "push_id",
    "activity_id",
    "channel_id",
    "end_id",
];

/// Words of a closed set, names of the app's own and figures; they go with their rows.
const WORDS: &[&str] = &[
    "epochs.scope",
    "epochs.key",
    "users.locale",
    "users.time_zone",
    "users.zone",
    "sessions.mode",
    "sessions.amr",
    "challenges.kind",
    "challenges.mode",
    "challenges.state",
    "passkeys.credential",
    "passkeys.transports",
    "identities.provider",
    "identities.issuer",
    "identities.client_id",
    "identity_revocations.client_id",
    "ages.jurisdiction",
    "ages.source",
    "questions.attribute",
    "mails.template",
    "mails.locale",
    "mails.state",
    "mails.reason",
    "webhook_deliveries.event_type",
    "webhook_deliveries.body",
    "webhook_deliveries.state",
    "webhook_deliveries.reason",
    "webhook_deliveries.attempts",
    "consents.language",
    "consents.jurisdiction",
    "sessions.end_reason",
    "sessions.actor",
    "consents.purpose",
    "consents.channel",
    "consents.text_version",
    "consents.source",
    "preferences.topics",
    "preferences.channels",
    "preferences.quiet_hours",
    "preferences.frequency",
    "devices.platform",
    "devices.environment",
    "devices.locale",
    "devices.time_zone",
    "devices.push_permission",
    // Keys that a browser made; they are shown to their user and go with their row.
    "devices.web_keys",
    "events.source",
    "events.type",
    "events.disposition",
    "events.decision_ids",
    "positions.subject_id",
    "positions.sights",
    "place_states.subject_id",
    "place_states.state",
    // The caller's own name of a push, its words, its audience in general: never who is in it. It goes with the last
    // decision about somebody, so that words to one person go with that person.
    "pushes.name",
    "pushes.state",
    "pushes.spec",
    "pushes.unknown",
    "pushes.outside",
    "pushes.settled",
    "push_runs.zone",
    // Ids of devices.
    "push_targets.devices",
    // What an activity shows, in its sender's words: gone with its last decision, and when no phone shows it any more.
    "activities.attributes_type",
    "activities.spec",
    "activities.start",
    "activity_updates.event",
    "start_tokens.attributes_type",
    "campaign_runs.zone",
    "campaign_runs.state",
    "moments.kind",
    "moments.context",
    "decisions.outcome",
    "decisions.reason",
    "decisions.candidates",
    "decisions.choices",
    "decisions.hops",
    "choices.category",
    "choices.state",
    "choices.release",
    "message_bodies.platform",
    "message_bodies.environment",
    "message_states.route",
    "message_bodies.collapse_id",
    "message_bodies.mode",
    "message_bodies.head",
    "message_bodies.consent",
    "message_states.state",
    "message_states.reason",
    "message_states.stop_reason",
    "message_states.attempts",
    "message_bodies.recalls",
    "receipts.kind",
    // The id of a button, which the app has in its code.
    "receipts.action",
    "erasures.asked_by",
    "erasures.state",
    "imports.kind",
    "imports.state",
    // Errors of lines: their numbers, codes and words of ours, never what they said; tests/it/import.rs looks.
    "imports.errors",
];

/// Hashes and bytes, in which a word cannot be found by looking; they go with their rows.
const HASHES: &[&str] = &[
    "passwords.password_hash",
    "events.content_hash",
    "decisions.input",
    "choices.release_input",
    "tombstones.hash",
    "challenges.token_hash",
    "challenges.code_hash",
    "totps.sealed",
    "recovery_codes.code_hash",
    "passkeys.handle",
    "passkeys.credential_id",
    "identities.refresh_sealed",
    // Outlives the user until Apple has answered, four days at most: it names nobody.
    "identity_revocations.refresh_sealed",
    "mails.recipient",
    "mails.sealed",
    "consents.notice_hash",
    "foreign_passwords.place",
    "foreign_passwords.sealed",
    "pushes.key_hash",
    "pushes.body_hash",
    "activities.key_hash",
    "activities.body_hash",
    "activity_updates.key_hash",
    "activity_updates.body_hash",
    // Hex of Apple's; they are shown to their user and go with their row.
    "start_tokens.token",
    "activity_devices.token",
    "imports.key_hash",
    "imports.body_hash",
    // Lines that wait, gone within minutes.
    "import_chunks.lines_sealed",
];

/// What holds a word of a person and is not in their export, and why.
pub const NOT_SHOWN: &[(&str, &str)] = &[];

/// Why a column holds no word of a person.
pub fn reason(column: &Column) -> Option<&'static str> {
    let whole = column.to_string();
    let among = |list: &[&str], name: &str| list.contains(&name);
    let reasons = [
        (among(OF_THE_APP, &column.table), "its table holds nothing about users"),
        (among(IDS, &column.name), "an id"),
        (among(WORDS, &whole), "a word of the app's or of ours"),
        (among(HASHES, &whole), "a hash or bytes"),
    ];
    reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

/// Every column of text or bytes that the database has.
pub async fn text_columns(world: &World) -> Vec<Column> {
    let query = match world.database.db() {
        Db::Sqlite => {
            "select m.name || '.' || p.name as line from sqlite_master m, pragma_table_info(m.name) p \
             where m.type = 'table' and lower(p.type) in ('text', 'bytea', 'blob', '') order by 1"
        }
        Db::Postgres => {
            "select c.table_name || '.' || c.column_name as line from information_schema.columns c \
             join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name \
             where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.data_type in ('text', 'bytea', 'character varying', 'jsonb') order by 1"
        }
    };
    let all = world.lines(query).await;
    let column = |line: String| {
        let (table, name) = line.split_once('.')?;
        let ours = !table.starts_with("__diesel") && !table.starts_with("sqlite_");
        ours.then(|| Column { table: table.to_owned(), name: name.to_owned() })
    };
    all.into_iter().filter_map(column).collect()
}
