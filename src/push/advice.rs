//! What to do about a gateway's word: for warnings, tests of credentials, webhooks and the log. Pure.

use super::message::Gateway;

/// What to do about this reason; a general word for what is not known.
pub fn of(gateway: Gateway, reason: &str) -> &'static str {
    match gateway {
        Gateway::Apns => of_apple(reason),
        Gateway::Fcm => of_google(reason),
        Gateway::WebPush => of_browsers(reason),
    }
}

fn of_apple(reason: &str) -> &'static str {
    match reason {
        "invalid_provider_token" => {
            "Team id, key id and key file do not belong together, or the key was revoked: store the .p8 file again with the \
             ids that Apple shows beside it. If they are right, check this server's clock."
        }
        "bad_environment_key_id_in_token" | "bad_environment_key_in_token" => {
            "The key is for Apple's other environment: store one that is made for this environment, or for both."
        }
        "topic_disallowed" => {
            "The key may not push to this bundle id: it belongs to another team, or is bound to other topics. Correct the \
             topics, or store a key that is made for them."
        }
        "expired_provider_token" => "Apple finds our token too old: this server's clock goes slow. Set it by NTP.",
        "too_many_provider_token_updates" => {
            "Somebody else signs with this key and makes new tokens more often than every 20 minutes: give each system a \
             key of its own."
        }
        "unrelated_key_id_in_token" => "The connection was made under another key; it is made anew.",
        "bad_certificate" | "bad_certificate_environment" => {
            "A proxy on the way presents a certificate of its own to Apple: remove it, or exempt Apple's hosts."
        }
        "forbidden" | "missing_provider_token" => {
            "Apple does not allow this key to send pushes: check at Apple that the key has APNs switched on."
        }
        "bad_device_token" | "bad_device_tokens" => {
            "Apple knows none of these tokens here: most likely development builds are registered as production, or the \
             reverse. Correct `environment` where the app registers its devices. No token was deleted."
        }
        "device_token_not_for_topic" => {
            "The tokens belong to another bundle id: correct `topic` where the app registers its devices. No token was deleted."
        }
        _ => "Look the reason up in Apple's documentation of APNs; try again later.",
    }
}

fn of_google(reason: &str) -> &'static str {
    match reason {
        "invalid_grant" => {
            "Google does not know this key any more: it was deleted, or its account was disabled. Make a new key for the \
             service account and store it. If it is new, check this server's clock."
        }
        "invalid_client" | "unauthorized_client" | "invalid_scope" | "access_denied" => {
            "The account may not ask for access to messaging: use a service account of the Firebase project itself."
        }
        "permission_denied" | "http_403" => {
            "The account may not send for this project: give it the permission cloudmessaging.messages.create, and switch \
             the Firebase Cloud Messaging API (V1) on in the project."
        }
        "not_found" | "http_404" => "Google knows no such project: store the key file of the project that the app uses.",
        "unauthenticated" | "http_401" => {
            "Google does not take the access token that it has issued: check that the account is enabled and the clock right."
        }
        "sender_id_mismatch" => {
            "The tokens belong to another Firebase project: the app was built with another google-services.json than this \
             account's. No token was deleted."
        }
        "third_party_auth_error" => {
            "The APNs key or web push certificate that is stored in the Firebase console is wrong; only tokens of iOS and of \
             browsers are concerned. Register iOS devices with their APNs token instead."
        }
        "quota_exceeded" | "resource_exhausted" => {
            "The project's quota is used up: lower KAIROS_FCM_QUOTA_PER_MINUTE, or ask Google for more."
        }
        _ => "Look the reason up in Google's documentation of FCM; try again later.",
    }
}

fn of_browsers(reason: &str) -> &'static str {
    match reason {
        "vapid_pk_hash_mismatch" | "http_403" | "http_400" => {
            "The subscriptions were made with another VAPID key: store the private key with which the pages have subscribed, \
             or let them subscribe anew with the key of GET /v1/webpush/key. No subscription was deleted."
        }
        "invalid_authentication_109" | "http_401" | "bad_jwt_token" | "expired_jwt_token" => {
            "The push service does not believe our signature: check this server's clock, and that `subject` is an address \
             at which somebody can be reached."
        }
        "subscriptions_not_found" => {
            "This push service knows none of the subscriptions: check KAIROS_WEBPUSH_URL, and what answers there. No \
             subscription was deleted."
        }
        "unusable_key" => "The stored private key cannot sign: store it again, or make a new one with `rotate`.",
        _ => "Look the reason up in the push service's documentation; try again later.",
    }
}
