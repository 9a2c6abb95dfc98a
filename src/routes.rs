//! Every URL on one page, in reading order.

use crate::app;
use crate::campaign::http as campaign;
use crate::event;
use crate::http::ProblemBody;
use crate::mail::http as mail;
use crate::moment::activity::http as activity;
use crate::moment::direct::http as pushes;
use crate::moment::http as moment;
use crate::partner;
use crate::people::account;
use crate::people::http as people;
use crate::people::import;
use crate::place;
use crate::platform::health;
use crate::privacy::http as privacy;
use crate::push;
use crate::push::channel::http as channel;
use crate::webhook;
use actix_web::HttpResponse;
use actix_web::web::{self, ServiceConfig};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi, openapi};
use utoipa_swagger_ui::SwaggerUi;

/// The OpenAPI document; its paths are the routes below, which a test compares.
#[derive(OpenApi)]
#[openapi(
    info(title = "Kairos", description = "The mobile backend that seizes business moments.", license(name = "Apache-2.0")),
    modifiers(&Credentials),
    paths(
        health::livez,
        health::readyz,
        health::metrics,
        account::http::sign::sign_up,
        account::http::sign::sign_in,
        account::http::sign::anonymous,
        account::http::session::refresh,
        account::http::session::sign_out,
        account::http::step_up::step_up,
        account::http::step_up::change_password,
        account::http::code::request,
        account::http::code::verify,
        account::http::reset::forgot,
        account::http::reset::reset,
        account::http::address::request,
        account::http::address::verify,
        account::http::address::change,
        account::http::address::confirm,
        account::http::session::jwks,
        account::http::session::metadata,
        account::http::session::server_metadata,
        account::http::totp::enroll,
        account::http::totp::confirm,
        account::http::totp::disable,
        account::http::second::totp,
        account::http::second::recovery,
        account::http::factors::renew_codes,
        account::http::passkeys::register_begin,
        account::http::passkeys::register_finish,
        account::http::passkeys::sign_in_begin,
        account::http::passkeys::sign_in_finish,
        account::http::factors::read,
        account::http::factors::patch,
        account::http::factors::delete,
        account::http::factors::delete_password,
        app::http::associations::apple,
        app::http::associations::android,
        account::http::mine::list,
        account::http::mine::get,
        account::http::mine::patch,
        account::http::mine::end,
        account::http::mine::end_all,
        account::federation::http::sign::id_token,
        account::federation::http::notices::apple,
        account::federation::http::mine::list,
        account::federation::http::mine::create,
        account::federation::http::mine::delete,
        account::federation::http::providers::put,
        account::federation::http::providers::list,
        account::federation::http::providers::read,
        account::federation::http::providers::delete,
        people::me::read,
        people::me::patch,
        people::preferences::read,
        people::preferences::patch,
        people::consents::read,
        people::consents::history,
        people::consents::record,
        people::devices::list,
        people::devices::register,
        people::devices::read,
        people::devices::forget,
        people::badge::put,
        people::start_tokens::put,
        people::start_tokens::forget,
        activity::mine::put,
        activity::mine::end,
        people::users::create,
        people::users::list,
        people::users::read,
        people::users::patch,
        account::http::theirs::list_sessions,
        account::http::theirs::end_sessions,
        account::http::theirs::end_session,
        account::http::theirs::read_factors,
        account::http::theirs::drop_factors,
        account::http::theirs::impersonate,
        people::preferences::read_of_user,
        people::preferences::patch_of_user,
        people::consents::read_of_user,
        people::consents::history_of_user,
        people::consents::record_for_user,
        people::devices::list_of_user,
        people::devices::register_for_user,
        import::http::users,
        import::http::devices,
        import::http::read,
        people::purposes::create,
        people::purposes::list,
        people::purposes::read,
        people::purposes::patch,
        people::purposes::publish,
        people::purposes::versions,
        people::topics::create,
        people::topics::list,
        people::topics::read,
        people::topics::patch,
        people::attributes::create,
        people::attributes::list,
        people::attributes::patch,
        people::receipts::read,
        people::receipts::read_of_user,
        people::age::read,
        people::age::state,
        people::age::read_of_user,
        people::age::state_for_user,
        people::gpc::support,
        partner::http::create,
        partner::http::list,
        partner::http::read,
        partner::http::create_key,
        partner::http::list_keys,
        partner::http::revoke_key,
        campaign::kinds::create,
        campaign::kinds::list,
        campaign::kinds::read,
        campaign::kinds::put,
        campaign::kinds::delete,
        campaign::offers::create,
        campaign::offers::list,
        campaign::offers::read,
        campaign::offers::put,
        campaign::offers::archive,
        campaign::campaigns::create,
        campaign::campaigns::list,
        campaign::campaigns::read,
        campaign::campaigns::put,
        campaign::campaigns::delete,
        campaign::campaigns::publish,
        campaign::campaigns::pause,
        campaign::campaigns::resume,
        campaign::campaigns::end,
        event::http::events::create,
        event::http::events::read,
        event::http::types::put,
        event::http::types::read,
        event::http::types::list,
        event::http::types::delete,
        event::http::things::create,
        event::http::things::read,
        event::http::things::list,
        event::http::things::patch,
        event::http::things::delete,
        event::http::links::create,
        event::http::links::list,
        event::http::links::delete,
        place::http::nearby::nearby,
        place::http::places::create,
        place::http::places::read,
        place::http::places::list,
        place::http::places::patch,
        place::http::places::delete,
        moment::decisions::list,
        moment::decisions::read,
        pushes::create,
        pushes::list,
        pushes::read,
        pushes::cancel,
        pushes::recall,
        pushes::results,
        pushes::export,
        moment::messages::list,
        moment::messages::read,
        moment::cancel::cancel,
        moment::receipts::create,
        moment::receipts::create_many,
        moment::recall::message,
        moment::recall::decision,
        moment::recall::of_campaign,
        moment::mine::list,
        moment::mine::read,
        moment::mine::mark_read,
        moment::mine::mark_unread,
        moment::mine::archive,
        moment::mine::unarchive,
        moment::why::why,
        privacy::export,
        privacy::export_user,
        privacy::leave,
        privacy::erase_user,
        privacy::restore,
        privacy::read,
        moment::question::next,
        moment::question::skip,
        activity::theirs::create,
        activity::theirs::list,
        activity::theirs::read,
        activity::theirs::devices,
        activity::theirs::update,
        channel::channels::create,
        channel::channels::list,
        channel::channels::read,
        channel::channels::delete,
        channel::broadcasts::send,
        channel::broadcasts::list_broadcasts,
        channel::broadcasts::read_broadcast,
        push::http::put_apns,
        push::http::put_fcm,
        push::http::put_webpush,
        push::http::webpush_key,
        push::http::read,
        push::http::delete,
        push::http::test,
        mail::templates::list,
        mail::templates::put,
        mail::templates::read,
        mail::templates::delete,
        mail::mails::list,
        mail::mails::read,
        webhook::http::own::create,
        webhook::http::own::list,
        webhook::http::own::read,
        webhook::http::own::patch,
        webhook::http::own::delete,
        webhook::http::own::rotate,
        webhook::http::own::test,
        webhook::http::own::deliveries,
        webhook::http::own::replay_one,
        webhook::http::own::replay_since,
        partner::webhooks::create,
        partner::webhooks::list,
        partner::webhooks::read,
        partner::webhooks::patch,
        partner::webhooks::delete,
        partner::webhooks::rotate,
        partner::webhooks::test,
        partner::webhooks::deliveries,
        partner::webhooks::replay_one,
        partner::webhooks::replay_since,
        app::http::settings::read,
        app::http::settings::patch,
        app::http::keys::create,
        app::http::keys::list,
        app::http::keys::revoke,
        app::http::keys::rotate,
        app::http::sign_in::sign_in,
        app::http::sign_in::enrol,
        app::http::sign_in::accept,
        app::http::sign_in::sign_out,
        app::http::sign_in::me,
        app::http::operators::create,
        app::http::operators::list,
        app::http::operators::patch,
        app::http::operators::end_sessions,
        app::http::audit::list,
        app::http::audit::verify,
    ),
    components(schemas(ProblemBody))
)]
pub struct ApiDoc;

/// How callers prove who they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer =
            |what: &str| SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build());
        let in_header = ApiKeyValue::with_description("X-Kairos-Key", "`pk_…`; also as the user name of HTTP Basic");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("publishable_key", SecurityScheme::ApiKey(ApiKey::Header(in_header)));
        components.add_security_scheme("server_key", bearer("`sk_…`, scoped"));
        components.add_security_scheme("operator_token", bearer("`op_…`, with `X-Kairos-App` to say in which app; by role"));
        components.add_security_scheme("partner_key", bearer("`pt_…`"));
        components.add_security_scheme("user_token", bearer("an access token"));
        // Whatever a server key may do with its scopes, an operator may do with those of their role.
        let (server, operator) = (alone("server_key"), alone("operator_token"));
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for ways in operations.into_iter().flatten().filter_map(|operation| operation.security.as_mut()) {
                if let Some(at) = ways.iter().position(|way| *way == server) {
                    ways.insert(at + 1, operator.clone());
                }
            }
        }
    }
}

/// A credential that suffices alone.
fn alone(scheme: &str) -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], &str>(scheme, [])
}

/// The OpenAPI document as `make openapi` has written it from the code; a test keeps it true. Built at start it would
/// cost a third of the server's memory.
pub const DOCUMENT: &str = include_str!("../sdk-schemas/openapi.json");

async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT)
}

/// Mounts every route. They are looked through in this order: what phones ask for all the time comes first.
pub fn mount(config: &mut ServiceConfig) {
    config
        .configure(me)
        .configure(events)
        .configure(operations)
        .configure(accounts)
        .configure(factors)
        .configure(federation)
        .configure(questions)
        .configure(users)
        .configure(rights)
        .configure(declarations)
        .configure(proofs)
        .configure(campaigns)
        .configure(decisions)
        .configure(direct)
        .configure(activities)
        .configure(mails)
        .configure(webhooks)
        .configure(administration)
        .configure(operators);
}

/// Health, figures, documents.
fn operations(config: &mut ServiceConfig) {
    config.route("/livez", web::get().to(health::livez));
    config.route("/readyz", web::get().to(health::readyz));
    config.route("/metrics", web::get().to(health::metrics));
    config.route("/openapi.json", web::get().to(document));
    config.service(SwaggerUi::new("/docs/{_:.*}").config(utoipa_swagger_ui::Config::from("/openapi.json")));
    config.service(web::redirect("/docs", "/docs/"));
}

/// Sign-up, sign-in, sessions.
fn accounts(config: &mut ServiceConfig) {
    config.route("/v1/auth/sign-up", web::post().to(account::http::sign::sign_up));
    config.route("/v1/auth/sign-in", web::post().to(account::http::sign::sign_in));
    config.route("/v1/auth/anonymous", web::post().to(account::http::sign::anonymous));
    config.route("/v1/auth/refresh", web::post().to(account::http::session::refresh));
    config.route("/v1/auth/sign-out", web::post().to(account::http::session::sign_out));
    config.route("/v1/auth/step-up", web::post().to(account::http::step_up::step_up));
    config.route("/v1/auth/password/change", web::post().to(account::http::step_up::change_password));
    config.route("/v1/auth/email-code/request", web::post().to(account::http::code::request));
    config.route("/v1/auth/email-code/verify", web::post().to(account::http::code::verify));
    config.route("/v1/auth/password/forgot", web::post().to(account::http::reset::forgot));
    config.route("/v1/auth/password/reset", web::post().to(account::http::reset::reset));
    config.route("/v1/auth/email/verify/request", web::post().to(account::http::address::request));
    config.route("/v1/auth/email/verify", web::post().to(account::http::address::verify));
    config.route("/v1/auth/email/change", web::post().to(account::http::address::change));
    config.route("/v1/auth/email/change/confirm", web::post().to(account::http::address::confirm));
    config.route("/auth/page.js", web::get().to(account::http::page::script));
    config.route("/auth/page.css", web::get().to(account::http::page::style));
    config.route("/auth/{app}/{page}", web::get().to(account::http::page::page));
    // Scanners of mails look whether a link leads anywhere before somebody opens it.
    config.route("/auth/{app}/{page}", web::head().to(account::http::page::page));
    config.route("/.well-known/openid-configuration", web::get().to(account::http::session::metadata));
    config.route("/.well-known/oauth-authorization-server", web::get().to(account::http::session::server_metadata));
    config.route("/.well-known/jwks.json", web::get().to(account::http::session::jwks));
    config.route("/v1/me/sessions", web::get().to(account::http::mine::list));
    config.route("/v1/me/sessions", web::delete().to(account::http::mine::end_all));
    config.route("/v1/me/sessions/{id}", web::get().to(account::http::mine::get));
    config.route("/v1/me/sessions/{id}", web::patch().to(account::http::mine::patch));
    config.route("/v1/me/sessions/{id}", web::delete().to(account::http::mine::end));
}

/// Second factors and passkeys.
fn factors(config: &mut ServiceConfig) {
    config.route("/v1/auth/mfa/totp/enroll", web::post().to(account::http::totp::enroll));
    config.route("/v1/auth/mfa/totp/confirm", web::post().to(account::http::totp::confirm));
    config.route("/v1/auth/mfa/totp/disable", web::post().to(account::http::totp::disable));
    config.route("/v1/auth/mfa/totp/challenge", web::post().to(account::http::second::totp));
    config.route("/v1/auth/mfa/totp/recovery", web::post().to(account::http::second::recovery));
    config.route("/v1/auth/mfa/recovery-codes", web::post().to(account::http::factors::renew_codes));
    config.route("/v1/auth/passkeys/register/begin", web::post().to(account::http::passkeys::register_begin));
    config.route("/v1/auth/passkeys/register/finish", web::post().to(account::http::passkeys::register_finish));
    config.route("/v1/auth/passkeys/sign-in/begin", web::post().to(account::http::passkeys::sign_in_begin));
    config.route("/v1/auth/passkeys/sign-in/finish", web::post().to(account::http::passkeys::sign_in_finish));
    config.route("/v1/me/factors", web::get().to(account::http::factors::read));
    config.route("/v1/me/passkeys/{id}", web::patch().to(account::http::factors::patch));
    config.route("/v1/me/passkeys/{id}", web::delete().to(account::http::factors::delete));
    config.route("/v1/me/password", web::delete().to(account::http::factors::delete_password));
    config.route("/.well-known/apple-app-site-association", web::get().to(app::http::associations::apple));
    config.route("/.well-known/assetlinks.json", web::get().to(app::http::associations::android));
}

/// Sign-in by another issuer's word.
fn federation(config: &mut ServiceConfig) {
    config.route("/v1/auth/id-token", web::post().to(account::federation::http::sign::id_token));
    config.route("/v1/auth/apple/notifications", web::post().to(account::federation::http::notices::apple));
    config.route("/v1/me/identities", web::get().to(account::federation::http::mine::list));
    config.route("/v1/me/identities", web::post().to(account::federation::http::mine::create));
    config.route("/v1/me/identities/{id}", web::delete().to(account::federation::http::mine::delete));
    config.route("/v1/identity-providers", web::get().to(account::federation::http::providers::list));
    config.route("/v1/identity-providers/{provider}", web::put().to(account::federation::http::providers::put));
    config.route("/v1/identity-providers/{provider}", web::get().to(account::federation::http::providers::read));
    config.route("/v1/identity-providers/{provider}", web::delete().to(account::federation::http::providers::delete));
}

/// What a user may do with their own.
fn me(config: &mut ServiceConfig) {
    config.route("/v1/me", web::get().to(people::me::read));
    config.route("/v1/me", web::patch().to(people::me::patch));
    config.route("/v1/me/preferences", web::get().to(people::preferences::read));
    config.route("/v1/me/preferences", web::patch().to(people::preferences::patch));
    config.route("/v1/me/consents", web::get().to(people::consents::read));
    config.route("/v1/me/consents", web::post().to(people::consents::record));
    config.route("/v1/me/consents/history", web::get().to(people::consents::history));
    config.route("/v1/me/devices", web::get().to(people::devices::list));
    config.route("/v1/me/devices/{installation_id}", web::put().to(people::devices::register));
    config.route("/v1/me/devices/{installation_id}", web::get().to(people::devices::read));
    config.route("/v1/me/devices/{installation_id}", web::delete().to(people::devices::forget));
    config.route("/v1/me/devices/{installation_id}/badge", web::put().to(people::badge::put));
    config.route("/v1/me/devices/{installation_id}/start-tokens/{attributes_type}", web::put().to(people::start_tokens::put));
    config
        .route("/v1/me/devices/{installation_id}/start-tokens/{attributes_type}", web::delete().to(people::start_tokens::forget));
    config.route("/v1/me/devices/{installation_id}/activities/{activity_id}", web::put().to(activity::mine::put));
    config.route("/v1/me/devices/{installation_id}/activities/{activity_id}", web::delete().to(activity::mine::end));
}

/// What is worth asking a user.
fn questions(config: &mut ServiceConfig) {
    config.route("/v1/me/next-question", web::get().to(moment::question::next));
    config.route("/v1/me/next-question/skip", web::post().to(moment::question::skip));
}

/// Users as the app's servers see them.
fn users(config: &mut ServiceConfig) {
    config.route("/v1/users", web::post().to(people::users::create));
    config.route("/v1/users", web::get().to(people::users::list));
    config.route("/v1/users/import", web::post().to(import::http::users));
    config.route("/v1/devices/import", web::post().to(import::http::devices));
    config.route("/v1/imports/{id}", web::get().to(import::http::read));
    config.route("/v1/users/{id}", web::get().to(people::users::read));
    config.route("/v1/users/{id}", web::patch().to(people::users::patch));
    config.route("/v1/users/{id}/sessions", web::get().to(account::http::theirs::list_sessions));
    config.route("/v1/users/{id}/sessions", web::delete().to(account::http::theirs::end_sessions));
    config.route("/v1/users/{id}/sessions/{session}", web::delete().to(account::http::theirs::end_session));
    config.route("/v1/users/{id}/factors", web::get().to(account::http::theirs::read_factors));
    config.route("/v1/users/{id}/factors", web::delete().to(account::http::theirs::drop_factors));
    config.route("/v1/users/{id}/impersonate", web::post().to(account::http::theirs::impersonate));
    config.route("/v1/users/{id}/preferences", web::get().to(people::preferences::read_of_user));
    config.route("/v1/users/{id}/preferences", web::patch().to(people::preferences::patch_of_user));
    config.route("/v1/users/{id}/consents", web::get().to(people::consents::read_of_user));
    config.route("/v1/users/{id}/consents", web::post().to(people::consents::record_for_user));
    config.route("/v1/users/{id}/consents/history", web::get().to(people::consents::history_of_user));
    config.route("/v1/users/{id}/devices", web::get().to(people::devices::list_of_user));
    config.route("/v1/users/{id}/devices/{installation_id}", web::put().to(people::devices::register_for_user));
}

/// A person's rights: to see everything, to leave.
fn rights(config: &mut ServiceConfig) {
    config.route("/v1/me", web::delete().to(privacy::leave));
    config.route("/v1/me/export", web::get().to(privacy::export));
    config.route("/v1/users/{id}", web::delete().to(privacy::erase_user));
    config.route("/v1/users/{id}/export", web::get().to(privacy::export_user));
    config.route("/v1/users/{id}/restore", web::post().to(privacy::restore));
    config.route("/v1/erasures/{id}", web::get().to(privacy::read));
}

/// Purposes, topics, attributes.
fn declarations(config: &mut ServiceConfig) {
    config.route("/v1/purposes", web::post().to(people::purposes::create));
    config.route("/v1/purposes", web::get().to(people::purposes::list));
    config.route("/v1/purposes/{key}", web::get().to(people::purposes::read));
    config.route("/v1/purposes/{key}", web::patch().to(people::purposes::patch));
    config.route("/v1/purposes/{key}/versions", web::post().to(people::purposes::publish));
    config.route("/v1/purposes/{key}/versions", web::get().to(people::purposes::versions));
    config.route("/v1/topics", web::post().to(people::topics::create));
    config.route("/v1/topics", web::get().to(people::topics::list));
    config.route("/v1/topics/{key}", web::get().to(people::topics::read));
    config.route("/v1/topics/{key}", web::patch().to(people::topics::patch));
    config.route("/v1/attributes", web::post().to(people::attributes::create));
    config.route("/v1/attributes", web::get().to(people::attributes::list));
    config.route("/v1/attributes/{scope}/{key}", web::patch().to(people::attributes::patch));
}

/// Receipts of consents, the age gate, Global Privacy Control.
fn proofs(config: &mut ServiceConfig) {
    config.route("/v1/me/consents/{id}/receipt", web::get().to(people::receipts::read));
    config.route("/v1/users/{id}/consents/{consent_id}/receipt", web::get().to(people::receipts::read_of_user));
    config.route("/v1/me/age", web::get().to(people::age::read));
    config.route("/v1/me/age", web::post().to(people::age::state));
    config.route("/v1/users/{id}/age", web::get().to(people::age::read_of_user));
    config.route("/v1/users/{id}/age", web::post().to(people::age::state_for_user));
    config.route("/.well-known/gpc.json", web::get().to(people::gpc::support));
}

/// Who may speak, when, and in which words.
fn campaigns(config: &mut ServiceConfig) {
    config.route("/v1/partners", web::post().to(partner::http::create));
    config.route("/v1/partners", web::get().to(partner::http::list));
    config.route("/v1/partners/{id}", web::get().to(partner::http::read));
    config.route("/v1/partners/{id}/keys", web::post().to(partner::http::create_key));
    config.route("/v1/partners/{id}/keys", web::get().to(partner::http::list_keys));
    config.route("/v1/partners/{id}/keys/{key_id}", web::delete().to(partner::http::revoke_key));
    config.route("/v1/moment-kinds", web::post().to(campaign::kinds::create));
    config.route("/v1/moment-kinds", web::get().to(campaign::kinds::list));
    config.route("/v1/moment-kinds/{key}", web::get().to(campaign::kinds::read));
    config.route("/v1/moment-kinds/{key}", web::put().to(campaign::kinds::put));
    config.route("/v1/moment-kinds/{key}", web::delete().to(campaign::kinds::delete));
    config.route("/v1/offers", web::post().to(campaign::offers::create));
    config.route("/v1/offers", web::get().to(campaign::offers::list));
    config.route("/v1/offers/{id}", web::get().to(campaign::offers::read));
    config.route("/v1/offers/{id}", web::put().to(campaign::offers::put));
    config.route("/v1/offers/{id}", web::delete().to(campaign::offers::archive));
    config.route("/v1/campaigns", web::post().to(campaign::campaigns::create));
    config.route("/v1/campaigns", web::get().to(campaign::campaigns::list));
    config.route("/v1/campaigns/{id}", web::get().to(campaign::campaigns::read));
    config.route("/v1/campaigns/{id}", web::put().to(campaign::campaigns::put));
    config.route("/v1/campaigns/{id}", web::delete().to(campaign::campaigns::delete));
    config.route("/v1/campaigns/{id}/publish", web::post().to(campaign::campaigns::publish));
    config.route("/v1/campaigns/{id}/pause", web::post().to(campaign::campaigns::pause));
    config.route("/v1/campaigns/{id}/resume", web::post().to(campaign::campaigns::resume));
    config.route("/v1/campaigns/{id}/end", web::post().to(campaign::campaigns::end));
}

/// Facts, things, places.
fn events(config: &mut ServiceConfig) {
    config.route("/v1/events", web::post().to(event::http::events::create));
    config.route("/v1/events/{id}", web::get().to(event::http::events::read));
    config.route("/v1/event-types", web::get().to(event::http::types::list));
    config.route("/v1/event-types/{type}", web::put().to(event::http::types::put));
    config.route("/v1/event-types/{type}", web::get().to(event::http::types::read));
    config.route("/v1/event-types/{type}", web::delete().to(event::http::types::delete));
    config.route("/v1/things", web::post().to(event::http::things::create));
    config.route("/v1/things", web::get().to(event::http::things::list));
    config.route("/v1/things/{id}", web::get().to(event::http::things::read));
    config.route("/v1/things/{id}", web::patch().to(event::http::things::patch));
    config.route("/v1/things/{id}", web::delete().to(event::http::things::delete));
    config.route("/v1/things/{id}/links", web::post().to(event::http::links::create));
    config.route("/v1/things/{id}/links", web::get().to(event::http::links::list));
    config.route("/v1/things/{id}/links/{link}", web::delete().to(event::http::links::delete));
    config.route("/v1/places/nearby", web::get().to(place::http::nearby::nearby));
    config.route("/v1/places", web::post().to(place::http::places::create));
    config.route("/v1/places", web::get().to(place::http::places::list));
    config.route("/v1/places/{id}", web::get().to(place::http::places::read));
    config.route("/v1/places/{id}", web::patch().to(place::http::places::patch));
    config.route("/v1/places/{id}", web::delete().to(place::http::places::delete));
}

/// What was decided and what came of it.
fn decisions(config: &mut ServiceConfig) {
    config.route("/v1/decisions", web::get().to(moment::decisions::list));
    config.route("/v1/decisions/{id}", web::get().to(moment::decisions::read));
    config.route("/v1/messages", web::get().to(moment::messages::list));
    config.route("/v1/messages/{id}", web::get().to(moment::messages::read));
    config.route("/v1/messages/{id}/cancel", web::post().to(moment::cancel::cancel));
    config.route("/v1/messages/{id}/receipts", web::post().to(moment::receipts::create));
    config.route("/v1/receipts", web::post().to(moment::receipts::create_many));
    config.route("/v1/messages/{id}/recall", web::post().to(moment::recall::message));
    config.route("/v1/decisions/{id}/recall", web::post().to(moment::recall::decision));
    config.route("/v1/campaigns/{id}/recall", web::post().to(moment::recall::of_campaign));
    config.route("/v1/me/messages", web::get().to(moment::mine::list));
    config.route("/v1/me/messages/{id}", web::get().to(moment::mine::read));
    config.route("/v1/me/messages/{id}/why", web::get().to(moment::why::why));
    config.route("/v1/me/messages/read", web::post().to(moment::mine::mark_read));
    config.route("/v1/me/messages/unread", web::post().to(moment::mine::mark_unread));
    config.route("/v1/me/messages/archive", web::post().to(moment::mine::archive));
    config.route("/v1/me/messages/unarchive", web::post().to(moment::mine::unarchive));
}

/// Pushes that an app's own back end asks for.
fn direct(config: &mut ServiceConfig) {
    config.route("/v1/pushes", web::post().to(pushes::create));
    config.route("/v1/pushes", web::get().to(pushes::list));
    config.route("/v1/pushes/{id}", web::get().to(pushes::read));
    config.route("/v1/pushes/{id}/cancel", web::post().to(pushes::cancel));
    config.route("/v1/pushes/{id}/recall", web::post().to(pushes::recall));
    config.route("/v1/pushes/{id}/results", web::get().to(pushes::results));
    config.route("/v1/pushes/{id}/results.ndjson", web::get().to(pushes::export));
}

/// Live Activities, and the channels over which many are updated at once.
fn activities(config: &mut ServiceConfig) {
    config.route("/v1/activities", web::post().to(activity::theirs::create));
    config.route("/v1/activities", web::get().to(activity::theirs::list));
    config.route("/v1/activities/{id}", web::get().to(activity::theirs::read));
    config.route("/v1/activities/{id}/devices", web::get().to(activity::theirs::devices));
    config.route("/v1/activities/{id}/updates", web::post().to(activity::theirs::update));
    config.route("/v1/channels", web::post().to(channel::channels::create));
    config.route("/v1/channels", web::get().to(channel::channels::list));
    config.route("/v1/channels/{id}", web::get().to(channel::channels::read));
    config.route("/v1/channels/{id}", web::delete().to(channel::channels::delete));
    config.route("/v1/channels/{id}/broadcasts", web::post().to(channel::broadcasts::send));
    config.route("/v1/channels/{id}/broadcasts", web::get().to(channel::broadcasts::list_broadcasts));
    config.route("/v1/channels/{id}/broadcasts/{broadcast}", web::get().to(channel::broadcasts::read_broadcast));
}

/// Mails to account holders: what became of them, and an app's own words for them.
fn mails(config: &mut ServiceConfig) {
    config.route("/v1/mail-templates", web::get().to(mail::templates::list));
    config.route("/v1/mail-templates/{template}/{locale}", web::put().to(mail::templates::put));
    config.route("/v1/mail-templates/{template}/{locale}", web::get().to(mail::templates::read));
    config.route("/v1/mail-templates/{template}/{locale}", web::delete().to(mail::templates::delete));
    config.route("/v1/mails", web::get().to(mail::mails::list));
    config.route("/v1/mails/{id}", web::get().to(mail::mails::read));
}

/// Who is told what happened: the app's own servers, its partners.
fn webhooks(config: &mut ServiceConfig) {
    config.route("/v1/webhooks", web::post().to(webhook::http::own::create));
    config.route("/v1/webhooks", web::get().to(webhook::http::own::list));
    config.route("/v1/webhooks/{id}", web::get().to(webhook::http::own::read));
    config.route("/v1/webhooks/{id}", web::patch().to(webhook::http::own::patch));
    config.route("/v1/webhooks/{id}", web::delete().to(webhook::http::own::delete));
    config.route("/v1/webhooks/{id}/secret/rotate", web::post().to(webhook::http::own::rotate));
    config.route("/v1/webhooks/{id}/test", web::post().to(webhook::http::own::test));
    config.route("/v1/webhooks/{id}/deliveries", web::get().to(webhook::http::own::deliveries));
    config.route("/v1/webhooks/{id}/deliveries/{delivery}/replay", web::post().to(webhook::http::own::replay_one));
    config.route("/v1/webhooks/{id}/replay", web::post().to(webhook::http::own::replay_since));
    config.route("/v1/partners/{id}/webhooks", web::post().to(partner::webhooks::create));
    config.route("/v1/partners/{id}/webhooks", web::get().to(partner::webhooks::list));
    config.route("/v1/partners/{id}/webhooks/{webhook}", web::get().to(partner::webhooks::read));
    config.route("/v1/partners/{id}/webhooks/{webhook}", web::patch().to(partner::webhooks::patch));
    config.route("/v1/partners/{id}/webhooks/{webhook}", web::delete().to(partner::webhooks::delete));
    config.route("/v1/partners/{id}/webhooks/{webhook}/secret/rotate", web::post().to(partner::webhooks::rotate));
    config.route("/v1/partners/{id}/webhooks/{webhook}/test", web::post().to(partner::webhooks::test));
    config.route("/v1/partners/{id}/webhooks/{webhook}/deliveries", web::get().to(partner::webhooks::deliveries));
    config.route(
        "/v1/partners/{id}/webhooks/{webhook}/deliveries/{delivery}/replay",
        web::post().to(partner::webhooks::replay_one),
    );
    config.route("/v1/partners/{id}/webhooks/{webhook}/replay", web::post().to(partner::webhooks::replay_since));
}

/// Gateways' credentials, settings, keys.
fn administration(config: &mut ServiceConfig) {
    config.route("/v1/push-credentials/apns", web::put().to(push::http::put_apns));
    config.route("/v1/push-credentials/fcm", web::put().to(push::http::put_fcm));
    config.route("/v1/push-credentials/webpush", web::put().to(push::http::put_webpush));
    config.route("/v1/webpush/key", web::get().to(push::http::webpush_key));
    config.route("/v1/push-credentials/{gateway}", web::get().to(push::http::read));
    config.route("/v1/push-credentials/{gateway}", web::delete().to(push::http::delete));
    config.route("/v1/push-credentials/{gateway}/test", web::post().to(push::http::test));
    config.route("/v1/app", web::get().to(app::http::settings::read));
    config.route("/v1/app", web::patch().to(app::http::settings::patch));
    config.route("/v1/keys", web::post().to(app::http::keys::create));
    config.route("/v1/keys", web::get().to(app::http::keys::list));
    config.route("/v1/keys/{id}", web::delete().to(app::http::keys::revoke));
    config.route("/v1/keys/{id}/rotate", web::post().to(app::http::keys::rotate));
}

/// Who runs the app, and what they changed.
fn operators(config: &mut ServiceConfig) {
    config.route("/v1/operators/sign-in", web::post().to(app::http::sign_in::sign_in));
    config.route("/v1/operators/enrol", web::post().to(app::http::sign_in::enrol));
    config.route("/v1/operators/accept", web::post().to(app::http::sign_in::accept));
    config.route("/v1/operators/sign-out", web::post().to(app::http::sign_in::sign_out));
    config.route("/v1/operators/me", web::get().to(app::http::sign_in::me));
    config.route("/v1/operators", web::post().to(app::http::operators::create));
    config.route("/v1/operators", web::get().to(app::http::operators::list));
    config.route("/v1/operators/{id}", web::patch().to(app::http::operators::patch));
    config.route("/v1/operators/{id}/sessions", web::delete().to(app::http::operators::end_sessions));
    config.route("/v1/audit", web::get().to(app::http::audit::list));
    config.route("/v1/audit/verify", web::get().to(app::http::audit::verify));
}
