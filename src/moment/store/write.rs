//! What a commit writes: moments, decisions, choices, the versions that they name, and the reserved stock.

use crate::error::{Error, Result};
use crate::id::{AppId, CampaignId, ChoiceId, DecisionId, EventId, MomentId, OfferId, UserId};
use crate::moment::commit::Hops;
use crate::moment::decision::{Choice, Tried};
use crate::on;
use crate::store::schema::{choices, decisions, moments, versions};
use crate::store::{Conn, Doc};
use diesel::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows of one statement: far below the number of parameters that either database takes.
const ROWS_MAX: usize = 500;

/// A moment that opens.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = moments, treat_none_as_default_value = false)]
pub(in crate::moment) struct NewMoment {
    pub app_id: AppId,
    pub id: MomentId,
    pub user_id: UserId,
    pub kind: String,
    pub key: String,
    pub event_id: EventId,
    pub opened_ms: i64,
    pub closes_ms: i64,
    pub test: bool,
    pub context: Doc<Value>,
    /// When what it shows is to be taken back.
    pub recall_ms: Option<i64>,
}

/// A decision to be stored.
#[derive(Debug, Insertable)]
#[diesel(table_name = decisions, treat_none_as_default_value = false)]
pub(in crate::moment) struct NewDecision {
    pub app_id: AppId,
    pub id: DecisionId,
    pub user_id: UserId,
    pub event_id: Option<EventId>,
    pub moment_id: Option<MomentId>,
    pub campaign_id: Option<CampaignId>,
    pub outcome: &'static str,
    pub reason: Option<&'static str>,
    pub candidates: Doc<Vec<Tried>>,
    pub choices: Doc<Vec<Choice>>,
    pub input: Vec<u8>,
    pub predicted_latency_ms: i64,
    pub hops: Doc<Hops>,
    pub decided_ms: i64,
    pub test: bool,
}

/// A choice to be stored.
#[derive(Debug, Insertable)]
#[diesel(table_name = choices, treat_none_as_default_value = false)]
pub(in crate::moment) struct NewChoice {
    pub app_id: AppId,
    pub id: ChoiceId,
    pub decision_id: DecisionId,
    pub user_id: UserId,
    pub campaign_id: CampaignId,
    pub offer_id: OfferId,
    pub category: Option<String>,
    pub critical: bool,
    pub state: &'static str,
    pub planned_ms: i64,
    pub counts: bool,
    pub release_input: Option<Vec<u8>>,
    pub release: Option<Doc<Value>>,
}

pub(in crate::moment) fn insert_moments(conn: &mut Conn, rows: &[NewMoment]) -> Result<()> {
    for chunk in rows.chunks(ROWS_MAX) {
        on!(conn, c => diesel::insert_into(moments::table).values(chunk).execute(c))?;
    }
    Ok(())
}

pub(in crate::moment) fn insert_decisions(conn: &mut Conn, rows: &[NewDecision]) -> Result<()> {
    for chunk in rows.chunks(ROWS_MAX) {
        on!(conn, c => diesel::insert_into(decisions::table).values(chunk).execute(c))?;
    }
    Ok(())
}

pub(in crate::moment) fn insert_choices(conn: &mut Conn, rows: &[NewChoice]) -> Result<()> {
    for chunk in rows.chunks(ROWS_MAX) {
        on!(conn, c => diesel::insert_into(choices::table).values(chunk).execute(c))?;
    }
    Ok(())
}

/// Keeps specs as they are at their revisions, once each.
pub(in crate::moment) fn keep_versions<T>(conn: &mut Conn, app: AppId, kept: BTreeMap<(String, i64), Arc<T>>) -> Result<()>
where
    T: Serialize,
{
    for ((id, revision), spec) in kept {
        let there: i64 = on!(conn, c => versions::table.find((app, &id, revision)).count().get_result(c))?;
        if there > 0 {
            continue;
        }
        let spec = serde_json::to_string(&*spec).map_err(Error::broken)?;
        on!(conn, c => diesel::insert_into(versions::table)
            .values((versions::app_id.eq(app), versions::id.eq(&id), versions::revision.eq(revision), versions::spec.eq(&spec)))
            .on_conflict_do_nothing()
            .execute(c))?;
    }
    Ok(())
}

/// A spec as it was at a revision.
pub(in crate::moment) fn version<T>(conn: &mut Conn, app: AppId, id: &str, revision: i64) -> Result<Option<T>>
where
    T: DeserializeOwned,
{
    let spec: Option<String> = on!(conn, c => versions::table
        .find((app, id, revision))
        .select(versions::spec)
        .first(c)
        .optional())?;
    spec.map(|s| serde_json::from_str(&s).map_err(Error::broken)).transpose()
}
