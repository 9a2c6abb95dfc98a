//! `/v1/app`: the tenant's name and settings.

use crate::app::caller::BackOffice;
use crate::app::legal::{AgeGate, Controller};
use crate::app::passkeys::Passkeys;
use crate::app::scope::Scope;
use crate::app::settings::{Caps, QuietHours, Settings};
use crate::app::store::{self, AppRow};
use crate::clock::Time;
use crate::error::Result;
use crate::http::{Body, IfMatch, ProblemBody, check_text, etag, given};
use crate::id::AppId;
use crate::platform::fence::Whose;
use crate::platform::{Platform, epoch};
use crate::store::{Conn, Doc};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Published after a commit that changed an app's settings; the payload is the app's id.
pub const APPS_TOPIC: &str = "apps";

/// An app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = App)]
pub struct AppOut {
    id: AppId,
    name: String,
    settings: Settings,
    created_at: Time,
}

/// What to change; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppPatch {
    /// What people call the app.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    settings: Option<SettingsPatch>,
}

/// Settings to change; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AppSettingsPatch)]
pub struct SettingsPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "Europe/Paris")]
    time_zone: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "EUR")]
    currency: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "en")]
    locale: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = json!(["https://shop.example"]))]
    cors_origins: Option<BTreeSet<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    caps: Option<Caps>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0)]
    min_gap_ms: Option<i64>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<QuietHours>)]
    quiet_hours: Option<Option<QuietHours>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0)]
    location_retention_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 604_800_000_i64)]
    event_retention_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 2_678_400_000_i64)]
    decision_retention_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0)]
    erasure_undo_ms: Option<i64>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 600_000)]
    session_life_ms: Option<Option<i64>>,
    /// `null` for the server's own limit.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 600_000)]
    session_idle_ms: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 8, maximum = 64)]
    password_chars_min: Option<u32>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Passkeys>)]
    passkeys: Option<Option<Passkeys>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 60_000)]
    question_cool_down_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0)]
    question_skip_ms: Option<i64>,
    /// `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "DE")]
    jurisdiction: Option<Option<String>>,
    /// Replaced as a whole; `null` for no gate.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<AgeGate>)]
    age_gate: Option<Option<AgeGate>>,
    /// Replaced as a whole; `null` for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Controller>)]
    controller: Option<Option<Controller>>,
}

impl SettingsPatch {
    fn apply(self, to: &mut Settings) {
        fn set<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        set(&mut to.time_zone, self.time_zone);
        set(&mut to.currency, self.currency);
        set(&mut to.locale, self.locale);
        set(&mut to.cors_origins, self.cors_origins);
        set(&mut to.caps, self.caps);
        set(&mut to.min_gap_ms, self.min_gap_ms);
        set(&mut to.quiet_hours, self.quiet_hours);
        set(&mut to.location_retention_ms, self.location_retention_ms);
        set(&mut to.event_retention_ms, self.event_retention_ms);
        set(&mut to.decision_retention_ms, self.decision_retention_ms);
        set(&mut to.erasure_undo_ms, self.erasure_undo_ms);
        set(&mut to.session_life_ms, self.session_life_ms);
        set(&mut to.session_idle_ms, self.session_idle_ms);
        set(&mut to.password_chars_min, self.password_chars_min);
        set(&mut to.passkeys, self.passkeys);
        set(&mut to.question_cool_down_ms, self.question_cool_down_ms);
        set(&mut to.question_skip_ms, self.question_skip_ms);
        set(&mut to.jurisdiction, self.jurisdiction);
        set(&mut to.age_gate, self.age_gate);
        set(&mut to.controller, self.controller);
    }
}

/// Reads the app.
///
/// # Errors
/// 401, 403.
#[utoipa::path(get, path = "/v1/app", tag = "app", security(("server_key" = [])),
    responses((status = 200, body = AppOut, headers(("ETag" = String))), (status = 401, body = ProblemBody), (status = 403, body = ProblemBody)))]
pub async fn read(caller: BackOffice, platform: web::Data<Platform>) -> Result<HttpResponse> {
    caller.need(Scope::AppRead)?;
    let row = platform.store.read(move |conn| store::app(conn, caller.app_id)).await?;
    Ok(answer(row))
}

/// Changes the app's name and settings.
///
/// # Errors
/// 400, 401, 403, 409, 412.
#[utoipa::path(patch, path = "/v1/app", tag = "app", request_body = AppPatch, security(("server_key" = [])),
    params(("If-Match" = Option<String>, Header, description = "Change only this revision.")),
    responses((status = 200, body = AppOut, headers(("ETag" = String))), (status = 400, body = ProblemBody),
        (status = 401, body = ProblemBody), (status = 403, body = ProblemBody), (status = 409, body = ProblemBody), (status = 412, body = ProblemBody)))]
pub async fn patch(
    caller: BackOffice,
    platform: web::Data<Platform>,
    if_match: IfMatch,
    body: Body<AppPatch>,
) -> Result<HttpResponse> {
    caller.need(Scope::AppWrite)?;
    let Body(patch) = body;
    if let Some(name) = &patch.name {
        check_text("name", name, 100)?;
    }
    let write = move |conn: &mut Conn| {
        let mut row = store::app(conn, caller.app_id)?;
        if_match.check(row.revision)?;
        let mut whose = Whose::Users(Vec::new());
        if let Some(name) = patch.name {
            row.name = name;
        }
        if let Some(settings) = patch.settings {
            let gate = row.settings.0.age_gate.clone();
            settings.apply(&mut row.settings.0);
            row.settings.0.check()?;
            store::own_rp_id(conn, &row)?;
            if row.settings.0.age_gate != gate {
                // Whose consent counts may have changed: what is under way is looked at again.
                epoch::bump(conn, caller.app_id, epoch::Scope::AppConsent)?;
                whose = Whose::All;
            }
        }
        store::update_app(conn, &row)?;
        row.revision += 1;
        Ok((row, whose))
    };
    let cache = platform.cache.clone();
    let tell = move |_: &AppRow| cache.publish(APPS_TOPIC, &caller.app_id.to_string());
    Ok(answer(platform.write_and_fence(caller.app_id, write, tell).await?))
}

fn answer(row: AppRow) -> HttpResponse {
    let AppRow { id, name, settings: Doc(settings), revision, created_ms } = row;
    HttpResponse::Ok().insert_header(etag(revision)).json(AppOut { id, name, settings, created_at: Time(created_ms) })
}
