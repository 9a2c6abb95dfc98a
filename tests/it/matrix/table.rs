//! What each operation's path names, whose that is, and what somebody in the back office needs to do it. Written by hand:
//! the tests take nothing of it from the code.

use crate::isolation::{Operation, operations};
use std::collections::BTreeMap;

/// Whose the object is that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The path names nothing, or nothing but the caller.
    Nobody,
    /// The app's: to another app it is not there.
    App,
    /// The app's, under a name that another app may use for a thing of its own.
    Name,
    /// The user's who asks: to another user of the same app it is not there either.
    User,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What the path names, the innermost thing.
    pub object: &'static str,
    /// Whose it is.
    pub owner: Owner,
    /// What a server key or an operator's role needs.
    pub scope: Option<&'static str>,
}

/// Each operation with its row.
///
/// # Panics
/// When one of the two is without the other.
pub fn rows() -> Vec<(Operation, Row)> {
    let mut table: BTreeMap<String, Row> = TABLE.lines().filter(|line| !line.is_empty()).map(row).collect();
    let mut missing = Vec::new();
    let mut all = Vec::new();
    for operation in operations() {
        let name = format!("{} {}", operation.method, operation.path);
        match table.remove(&name) {
            Some(row) => all.push((operation, row)),
            None => missing.push(name),
        }
    }
    assert!(missing.is_empty(), "say in tests/it/matrix/table.rs what these name, whose it is and what they need: {missing:#?}");
    assert!(table.is_empty(), "there is no such operation any more: {:#?}", table.keys());
    for (operation, row) in &all {
        let name = format!("{} {}", operation.method, operation.path);
        assert_eq!(operation.path.contains('{'), row.object != "-", "{name}");
        assert_eq!(operation.path.contains('{'), row.owner != Owner::Nobody, "{name}");
        assert_eq!(operation.takes("server_key"), row.scope.is_some(), "{name}: whoever takes server keys asks for a scope");
        assert_eq!(
            operation.takes("server_key"),
            row.scope.is_some() && operation.takes("operator_token"),
            "{name}: operators too"
        );
    }
    all
}

fn row(line: &'static str) -> (String, Row) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [method, path, object, owner, scope] = words[..] else { panic!("a line of five words: {line}") };
    let owner = match owner {
        "-" => Owner::Nobody,
        "app" => Owner::App,
        "name" => Owner::Name,
        "me" => Owner::User,
        other => panic!("nobody is called {other}"),
    };
    (format!("{method} {path}"), Row { object, owner, scope: (scope != "-").then_some(scope) })
}

/// Method, path, object, owner, scope.
const TABLE: &str = "
GET    /.well-known/apple-app-site-association                                -                 -    -
GET    /.well-known/assetlinks.json                                           -                 -    -
GET    /.well-known/gpc.json                                                  -                 -    -
GET    /.well-known/jwks.json                                                 -                 -    -
GET    /.well-known/oauth-authorization-server                                -                 -    -
GET    /.well-known/openid-configuration                                      -                 -    -
GET    /livez                                                                 -                 -    -
GET    /metrics                                                               -                 -    -
GET    /readyz                                                                -                 -    -
GET    /v1/app                                                                -                 -    app:read
PATCH  /v1/app                                                                -                 -    app:write
GET    /v1/attributes                                                         -                 -    schema:read
POST   /v1/attributes                                                         -                 -    schema:write
PATCH  /v1/attributes/{scope}/{key}                                           attribute         name schema:write
GET    /v1/audit                                                              -                 -    audit:read
GET    /v1/audit/verify                                                       -                 -    audit:read
POST   /v1/auth/anonymous                                                     -                 -    -
POST   /v1/auth/apple/notifications                                           -                 -    -
POST   /v1/auth/email-code/request                                            -                 -    -
POST   /v1/auth/email-code/verify                                             -                 -    -
POST   /v1/auth/email/change                                                  -                 -    -
POST   /v1/auth/email/change/confirm                                          -                 -    -
POST   /v1/auth/email/verify                                                  -                 -    -
POST   /v1/auth/email/verify/request                                          -                 -    -
POST   /v1/auth/id-token                                                      -                 -    -
POST   /v1/auth/mfa/recovery-codes                                            -                 -    -
POST   /v1/auth/mfa/totp/challenge                                            -                 -    -
POST   /v1/auth/mfa/totp/confirm                                              -                 -    -
POST   /v1/auth/mfa/totp/disable                                              -                 -    -
POST   /v1/auth/mfa/totp/enroll                                               -                 -    -
POST   /v1/auth/mfa/totp/recovery                                             -                 -    -
POST   /v1/auth/passkeys/register/begin                                       -                 -    -
POST   /v1/auth/passkeys/register/finish                                      -                 -    -
POST   /v1/auth/passkeys/sign-in/begin                                        -                 -    -
POST   /v1/auth/passkeys/sign-in/finish                                       -                 -    -
POST   /v1/auth/password/change                                               -                 -    -
POST   /v1/auth/password/forgot                                               -                 -    -
POST   /v1/auth/password/reset                                                -                 -    -
POST   /v1/auth/refresh                                                       -                 -    -
POST   /v1/auth/sign-in                                                       -                 -    -
POST   /v1/auth/sign-out                                                      -                 -    -
POST   /v1/auth/sign-up                                                       -                 -    -
POST   /v1/auth/step-up                                                       -                 -    -
GET    /v1/campaigns                                                          -                 -    campaigns:read
POST   /v1/campaigns                                                          -                 -    campaigns:write
GET    /v1/campaigns/{id}                                                     campaign          app  campaigns:read
PUT    /v1/campaigns/{id}                                                     campaign          app  campaigns:write
DELETE /v1/campaigns/{id}                                                     campaign          app  campaigns:write
POST   /v1/campaigns/{id}/end                                                 campaign          app  campaigns:publish
POST   /v1/campaigns/{id}/pause                                               campaign          app  campaigns:publish
POST   /v1/campaigns/{id}/recall                                             campaign          app  push:write
POST   /v1/campaigns/{id}/publish                                             campaign          app  campaigns:publish
POST   /v1/campaigns/{id}/resume                                              campaign          app  campaigns:publish
GET    /v1/decisions                                                          -                 -    decisions:read
GET    /v1/decisions/{id}                                                     decision          app  decisions:read
POST   /v1/decisions/{id}/recall                                             decision          app  push:write
GET    /v1/erasures/{id}                                                      erasure           app  users:read
GET    /v1/event-types                                                        -                 -    schema:read
GET    /v1/event-types/{type}                                                 event-type        name schema:read
PUT    /v1/event-types/{type}                                                 event-type        name schema:write
DELETE /v1/event-types/{type}                                                 event-type        name schema:write
POST   /v1/events                                                             -                 -    events:write
GET    /v1/events/{id}                                                        event             app  events:read
GET    /v1/identity-providers                                                 -                 -    app:read
GET    /v1/identity-providers/{provider}                                      identity-provider name app:read
PUT    /v1/identity-providers/{provider}                                      identity-provider name app:write
DELETE /v1/identity-providers/{provider}                                      identity-provider name app:write
GET    /v1/keys                                                               -                 -    keys:read
POST   /v1/keys                                                               -                 -    keys:write
DELETE /v1/keys/{id}                                                          key               app  keys:write
POST   /v1/keys/{id}/rotate                                                   key               app  keys:write
GET    /v1/mail-templates                                                     -                 -    schema:read
GET    /v1/mail-templates/{template}/{locale}                                 mail-template     name schema:read
PUT    /v1/mail-templates/{template}/{locale}                                 mail-template     name schema:write
DELETE /v1/mail-templates/{template}/{locale}                                 mail-template     name schema:write
GET    /v1/mails                                                              -                 -    users:read
GET    /v1/mails/{id}                                                         mail              app  users:read
GET    /v1/me                                                                 -                 -    -
DELETE /v1/me                                                                 -                 -    -
PATCH  /v1/me                                                                 -                 -    -
GET    /v1/me/age                                                             -                 -    -
POST   /v1/me/age                                                             -                 -    -
GET    /v1/me/consents                                                        -                 -    -
POST   /v1/me/consents                                                        -                 -    -
GET    /v1/me/consents/history                                                -                 -    -
GET    /v1/me/consents/{id}/receipt                                           consent           me   -
GET    /v1/me/devices                                                         -                 -    -
GET    /v1/me/devices/{installation_id}                                       device            me   -
PUT    /v1/me/devices/{installation_id}                                       device            me   -
DELETE /v1/me/devices/{installation_id}                                       device            me   -
PUT    /v1/me/devices/{installation_id}/badge                                 device            me   -
PUT    /v1/me/devices/{installation_id}/start-tokens/{attributes_type}        device            me   -
DELETE /v1/me/devices/{installation_id}/start-tokens/{attributes_type}        start-token       me   -
PUT    /v1/me/devices/{installation_id}/activities/{activity_id}              activity          me   -
DELETE /v1/me/devices/{installation_id}/activities/{activity_id}              activity          me   -
GET    /v1/me/export                                                          -                 -    -
GET    /v1/me/factors                                                         -                 -    -
GET    /v1/me/identities                                                      -                 -    -
POST   /v1/me/identities                                                      -                 -    -
DELETE /v1/me/identities/{id}                                                 identity          me   -
GET    /v1/me/messages                                                        -                 -    -
GET    /v1/me/messages/{id}                                                   message           me   -
GET    /v1/me/messages/{id}/why                                               message           me   -
POST   /v1/me/messages/archive                                               -                 -    -
POST   /v1/me/messages/read                                                  -                 -    -
POST   /v1/me/messages/unarchive                                             -                 -    -
POST   /v1/me/messages/unread                                                -                 -    -
GET    /v1/me/next-question                                                   -                 -    -
POST   /v1/me/next-question/skip                                              -                 -    -
DELETE /v1/me/passkeys/{id}                                                   passkey           me   -
PATCH  /v1/me/passkeys/{id}                                                   passkey           me   -
DELETE /v1/me/password                                                        -                 -    -
GET    /v1/me/preferences                                                     -                 -    -
PATCH  /v1/me/preferences                                                     -                 -    -
GET    /v1/me/sessions                                                        -                 -    -
DELETE /v1/me/sessions                                                        -                 -    -
GET    /v1/me/sessions/{id}                                                   session           me   -
DELETE /v1/me/sessions/{id}                                                   session           me   -
PATCH  /v1/me/sessions/{id}                                                   session           me   -
GET    /v1/messages                                                           -                 -    decisions:read
GET    /v1/messages/{id}                                                      message           app  decisions:read
POST   /v1/messages/{id}/cancel                                               message           app  push:write
POST   /v1/messages/{id}/recall                                              message           app  push:write
POST   /v1/messages/{id}/receipts                                             message           me   -
POST   /v1/receipts                                                          -                 -    -
GET    /v1/moment-kinds                                                       -                 -    campaigns:read
POST   /v1/moment-kinds                                                       -                 -    campaigns:write
GET    /v1/moment-kinds/{key}                                                 moment-kind       name campaigns:read
PUT    /v1/moment-kinds/{key}                                                 moment-kind       name campaigns:write
DELETE /v1/moment-kinds/{key}                                                 moment-kind       name campaigns:write
GET    /v1/offers                                                             -                 -    campaigns:read
POST   /v1/offers                                                             -                 -    campaigns:write
GET    /v1/offers/{id}                                                        offer             app  campaigns:read
PUT    /v1/offers/{id}                                                        offer             app  campaigns:write
DELETE /v1/offers/{id}                                                        offer             app  campaigns:write
GET    /v1/operators                                                          -                 -    operators:read
POST   /v1/operators                                                          -                 -    operators:write
POST   /v1/operators/accept                                                   -                 -    -
POST   /v1/operators/enrol                                                    -                 -    -
GET    /v1/operators/me                                                       -                 -    -
POST   /v1/operators/sign-in                                                  -                 -    -
POST   /v1/operators/sign-out                                                 -                 -    -
PATCH  /v1/operators/{id}                                                     operator          app  operators:write
DELETE /v1/operators/{id}/sessions                                            operator          app  operators:write
GET    /v1/activities                                                         -                 -    decisions:read
POST   /v1/activities                                                         -                 -    push:write
GET    /v1/activities/{id}                                                    activity          app  decisions:read
GET    /v1/activities/{id}/devices                                            activity          app  decisions:read
POST   /v1/activities/{id}/updates                                            activity          app  push:write
GET    /v1/channels                                                           -                 -    decisions:read
POST   /v1/channels                                                           -                 -    push:write
GET    /v1/channels/{id}                                                      channel           app  decisions:read
DELETE /v1/channels/{id}                                                      channel           app  push:write
GET    /v1/channels/{id}/broadcasts                                           channel           app  decisions:read
POST   /v1/channels/{id}/broadcasts                                           channel           app  push:write
GET    /v1/channels/{id}/broadcasts/{broadcast}                               broadcast         app  decisions:read
GET    /v1/partners                                                           -                 -    partners:read
POST   /v1/partners                                                           -                 -    partners:write
GET    /v1/partners/{id}                                                      partner           app  partners:read
GET    /v1/partners/{id}/keys                                                 partner           app  partners:read
POST   /v1/partners/{id}/keys                                                 partner           app  partners:write
DELETE /v1/partners/{id}/keys/{key_id}                                        key               app  partners:write
GET    /v1/partners/{id}/webhooks                                             partner           app  webhooks:read
POST   /v1/partners/{id}/webhooks                                             partner           app  webhooks:write
GET    /v1/partners/{id}/webhooks/{webhook}                                   webhook           app  webhooks:read
DELETE /v1/partners/{id}/webhooks/{webhook}                                   webhook           app  webhooks:write
PATCH  /v1/partners/{id}/webhooks/{webhook}                                   webhook           app  webhooks:write
GET    /v1/partners/{id}/webhooks/{webhook}/deliveries                        webhook           app  webhooks:read
POST   /v1/partners/{id}/webhooks/{webhook}/deliveries/{delivery}/replay      delivery          app  webhooks:write
POST   /v1/partners/{id}/webhooks/{webhook}/replay                            webhook           app  webhooks:write
POST   /v1/partners/{id}/webhooks/{webhook}/secret/rotate                     webhook           app  webhooks:write
POST   /v1/partners/{id}/webhooks/{webhook}/test                              webhook           app  webhooks:write
GET    /v1/places                                                             -                 -    places:read
POST   /v1/places                                                             -                 -    places:write
GET    /v1/places/nearby                                                      -                 -    -
GET    /v1/places/{id}                                                        place             app  places:read
DELETE /v1/places/{id}                                                        place             app  places:write
PATCH  /v1/places/{id}                                                        place             app  places:write
GET    /v1/purposes                                                           -                 -    schema:read
POST   /v1/purposes                                                           -                 -    schema:write
GET    /v1/purposes/{key}                                                     purpose           name schema:read
PATCH  /v1/purposes/{key}                                                     purpose           name schema:write
GET    /v1/purposes/{key}/versions                                            purpose           name schema:read
POST   /v1/purposes/{key}/versions                                            purpose           name schema:write
PUT    /v1/push-credentials/apns                                              -                 -    credentials:write
PUT    /v1/push-credentials/fcm                                               -                 -    credentials:write
PUT    /v1/push-credentials/webpush                                           -                 -    credentials:write
GET    /v1/webpush/key                                                        -                 -    -
GET    /v1/push-credentials/{gateway}                                         push-credential   name credentials:read
DELETE /v1/push-credentials/{gateway}                                         push-credential   name credentials:write
POST   /v1/push-credentials/{gateway}/test                                    push-credential   name credentials:write
GET    /v1/things                                                             -                 -    things:read
POST   /v1/things                                                             -                 -    things:write
GET    /v1/things/{id}                                                        thing             app  things:read
DELETE /v1/things/{id}                                                        thing             app  things:write
PATCH  /v1/things/{id}                                                        thing             app  things:write
GET    /v1/things/{id}/links                                                  thing             app  things:read
POST   /v1/things/{id}/links                                                  thing             app  things:write
DELETE /v1/things/{id}/links/{link}                                           link              app  things:write
GET    /v1/pushes                                                             -                 -    decisions:read
POST   /v1/pushes                                                             -                 -    push:write
GET    /v1/pushes/{id}                                                        push              app  decisions:read
POST   /v1/pushes/{id}/cancel                                                 push              app  push:write
POST   /v1/pushes/{id}/recall                                                 push              app  push:write
GET    /v1/pushes/{id}/results                                                push              app  decisions:read
GET    /v1/pushes/{id}/results.ndjson                                         push              app  decisions:read
GET    /v1/topics                                                             -                 -    schema:read
POST   /v1/topics                                                             -                 -    schema:write
GET    /v1/topics/{key}                                                       topic             name schema:read
PATCH  /v1/topics/{key}                                                       topic             name schema:write
GET    /v1/users                                                              -                 -    users:read
POST   /v1/users                                                              -                 -    users:write
GET    /v1/users/{id}                                                         user              app  users:read
DELETE /v1/users/{id}                                                         user              app  users:write
PATCH  /v1/users/{id}                                                         user              app  users:write
GET    /v1/users/{id}/age                                                     user              app  users:read
POST   /v1/users/{id}/age                                                     user              app  users:write
GET    /v1/users/{id}/consents                                                user              app  users:read
POST   /v1/users/{id}/consents                                                user              app  users:write
GET    /v1/users/{id}/consents/history                                        user              app  users:read
GET    /v1/users/{id}/consents/{consent_id}/receipt                           consent           app  users:read
GET    /v1/users/{id}/devices                                                 user              app  users:read
PUT    /v1/users/{id}/devices/{installation_id}                               device            app  users:write
GET    /v1/users/{id}/export                                                  user              app  users:read
GET    /v1/users/{id}/preferences                                             user              app  users:read
PATCH  /v1/users/{id}/preferences                                             user              app  users:write
GET    /v1/users/{id}/factors                                                 user              app  users:read
DELETE /v1/users/{id}/factors                                                 user              app  users:write
POST   /v1/users/{id}/impersonate                                             user              app  users:impersonate
GET    /v1/users/{id}/sessions                                                user              app  users:read
DELETE /v1/users/{id}/sessions                                                user              app  users:write
DELETE /v1/users/{id}/sessions/{session}                                      session           app  users:write
POST   /v1/users/import                                                       -                 -    users:write
POST   /v1/devices/import                                                     -                 -    users:write
GET    /v1/imports/{id}                                                       import            app  users:read
POST   /v1/users/{id}/restore                                                 user              app  users:write
GET    /v1/webhooks                                                           -                 -    webhooks:read
POST   /v1/webhooks                                                           -                 -    webhooks:write
GET    /v1/webhooks/{id}                                                      webhook           app  webhooks:read
DELETE /v1/webhooks/{id}                                                      webhook           app  webhooks:write
PATCH  /v1/webhooks/{id}                                                      webhook           app  webhooks:write
GET    /v1/webhooks/{id}/deliveries                                           webhook           app  webhooks:read
POST   /v1/webhooks/{id}/deliveries/{delivery}/replay                         delivery          app  webhooks:write
POST   /v1/webhooks/{id}/replay                                               webhook           app  webhooks:write
POST   /v1/webhooks/{id}/secret/rotate                                        webhook           app  webhooks:write
POST   /v1/webhooks/{id}/test                                                 webhook           app  webhooks:write
";
