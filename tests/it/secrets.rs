//! Single-use secrets: of 64 who use one at once, one gets through, whatever it is for.

use crate::idp::Idp;
use crate::totp::{Careful, GOOD, careful, code, sign_in, sign_up};
use crate::world::authenticator::{Authenticator, Says};
use crate::world::{Caller, OPERATOR_PASSWORD, Person, Tenant, World, base32, totp_code};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const ORIGIN: &str = "https://shop.example.com";
const ADA: &str = "ada@example.com";
const NEW: &str = "staple of horses";
/// What single-use secrets are for, and whether they are shown as a code or as a token.
const SECRETS: [(&str, &str); 17] = [
    ("verify_email", "token"),
    ("verify_email", "code"),
    ("sign_in", "token"),
    ("sign_in", "code"),
    ("reset_password", "token"),
    ("reset_password", "code"),
    ("change_email", "token"),
    ("change_email", "code"),
    ("second_factor", "totp"),
    ("second_factor", "recovery"),
    ("second_factor", "passkey"),
    ("register_passkey", "token"),
    ("passkey_sign_in", "token"),
    ("enroll_totp", "token"),
    ("link_identity", "token"),
    ("invitation", "token"),
    ("enrolment", "token"),
];

/// A call that uses a secret up. The n-th one may differ, so that it is the secret which is used once and nothing else.
struct Use {
    path: &'static str,
    by: Caller,
    body: Box<dyn Fn(usize) -> Value>,
}

struct Scene<'a> {
    world: &'a World,
    idp: &'a Idp,
    tenant: Tenant,
}

impl Scene<'_> {
    fn once(path: &'static str, by: &Caller, body: Value) -> Use {
        Use { path, by: by.clone(), body: Box::new(move |_| body.clone()) }
    }

    async fn ask(&self, path: &str, by: &Caller, body: Value) -> Value {
        self.world.post(path, by, body).await.expect(202)
    }

    /// Somebody who has shown that they read the mail of their address.
    async fn proven(&self) -> Person {
        let person = sign_up(self.world, &self.tenant, ADA).await;
        let code = self.world.letter(&self.tenant, ADA).await.code();
        Person::from(&self.world.post("/v1/auth/email/verify", &person.token, json!({ "code": code })).await.expect(200))
    }

    async fn by_mail(&self, (kind, shown): (&str, &str)) -> Use {
        let (world, phone) = (self.world, &self.tenant.phone);
        let (path, by, mut body, asked) = match kind {
            "verify_email" => {
                let ada = sign_up(world, &self.tenant, ADA).await;
                match shown {
                    "token" => ("/v1/auth/email/verify", Caller::Nobody, json!({ "new_password": NEW }), None),
                    _ => ("/v1/auth/email/verify", ada.token, json!({}), None),
                }
            }
            "change_email" => {
                let ada = self.proven().await;
                self.ask("/v1/auth/email/change", &ada.token, json!({"email": "ada@example.org", "password": GOOD})).await;
                ("/v1/auth/email/change/confirm", ada.token, json!({}), None)
            }
            "reset_password" => {
                self.proven().await;
                let asked = self.ask("/v1/auth/password/forgot", phone, json!({ "email": ADA })).await;
                ("/v1/auth/password/reset", phone.clone(), json!({ "new_password": NEW }), Some(asked))
            }
            _ => {
                let asked = self.ask("/v1/auth/email-code/request", phone, json!({ "email": ADA })).await;
                ("/v1/auth/email-code/verify", phone.clone(), json!({}), Some(asked))
            }
        };
        let letter = world.letters(&self.tenant).await.remove(0);
        match (shown, asked) {
            ("token", _) => body["token"] = letter.token().into(),
            (_, asked) => {
                body["code"] = letter.code().into();
                asked.into_iter().for_each(|asked| body["challenge_id"] = asked["challenge_id"].clone());
            }
        }
        Self::once(path, &by, body)
    }

    async fn second_factor(&self, shown: &str) -> Use {
        let (world, phone) = (self.world, &self.tenant.phone);
        let Careful { person, secret, recovery, .. } = careful(world, &self.tenant, ADA).await;
        let mut authenticator = None;
        if shown == "passkey" {
            authenticator = Some(self.register(&person).await.1);
        }
        let asked = sign_in(world, &self.tenant, ADA).await.expect(202);
        let token = asked["challenge_token"].clone();
        match shown {
            "totp" => {
                // Codes of three steps are good at once.
                let codes = [0, 30].map(|from_now_s| code(world, &secret, from_now_s));
                let body = move |n: usize| json!({"challenge_token": token, "code": codes[n % 2]});
                Use { path: "/v1/auth/mfa/totp/challenge", by: phone.clone(), body: Box::new(body) }
            }
            "recovery" => {
                let body = move |n: usize| json!({"challenge_token": token, "code": recovery[n % 10]});
                Use { path: "/v1/auth/mfa/totp/recovery", by: phone.clone(), body: Box::new(body) }
            }
            _ => {
                let mut authenticator = authenticator.unwrap();
                let begun =
                    world.post("/v1/auth/passkeys/sign-in/begin", phone, json!({ "challenge_token": token })).await.expect(200);
                let credential = authenticator.sign(&begun["options"], &Says::at(ORIGIN));
                let body = json!({"challenge_token": begun["challenge_token"], "credential": credential});
                Self::once("/v1/auth/passkeys/sign-in/finish", phone, body)
            }
        }
    }

    async fn begin_register(&self, person: &Person) -> (Authenticator, Value) {
        let begun = self.world.post("/v1/auth/passkeys/register/begin", &person.token, json!({})).await.expect(200);
        let (authenticator, credential) = Authenticator::create(&begun["options"], &Says::at(ORIGIN));
        (authenticator, json!({"challenge_token": begun["challenge_token"], "credential": credential}))
    }

    async fn register(&self, person: &Person) -> (Person, Authenticator) {
        let (authenticator, body) = self.begin_register(person).await;
        let made = self.world.post("/v1/auth/passkeys/register/finish", &person.token, body).await.expect(200);
        (Person::from(&made), authenticator)
    }

    async fn passkey(&self, kind: &str) -> Use {
        let (world, phone) = (self.world, &self.tenant.phone);
        let ada = sign_up(world, &self.tenant, ADA).await;
        if kind == "register_passkey" {
            let (_, body) = self.begin_register(&ada).await;
            return Self::once("/v1/auth/passkeys/register/finish", &ada.token, body);
        }
        let (_, mut authenticator) = self.register(&ada).await;
        let begun = world.post("/v1/auth/passkeys/sign-in/begin", phone, json!({})).await.expect(200);
        let credential = authenticator.sign(&begun["options"], &Says::at(ORIGIN));
        let body = json!({"challenge_token": begun["challenge_token"], "credential": credential});
        Self::once("/v1/auth/passkeys/sign-in/finish", phone, body)
    }

    async fn operator(&self, kind: &str) -> Use {
        let (world, nobody) = (self.world, Caller::Nobody);
        let email = format!("{kind}@operators.example");
        let body = json!({"email": email, "name": "Grace", "role": "viewer"});
        let invited = world.post("/v1/operators", &self.tenant.server, body).await.expect(201);
        let accept = json!({"token": invited["invitation"], "password": OPERATOR_PASSWORD});
        if kind == "invitation" {
            return Self::once("/v1/operators/accept", &nobody, accept);
        }
        world.post("/v1/operators/accept", &nobody, accept).await.expect(204);
        let pair = json!({"email": email, "password": OPERATOR_PASSWORD});
        let offered = world.post("/v1/operators/sign-in", &nobody, pair).await.expect(200);
        let secret = base32(offered["enrolment"]["secret"].as_str().unwrap());
        let codes = [0, 30].map(|from_now_s| totp_code(&secret, world.now_ms() / 1_000 + from_now_s));
        let token = offered["enrolment"]["token"].clone();
        let body = move |n: usize| json!({"token": token, "code": codes[n % 2]});
        Use { path: "/v1/operators/enrol", by: nobody, body: Box::new(body) }
    }

    async fn make(&self, secret: (&str, &str)) -> Use {
        let world = self.world;
        match secret.0 {
            "second_factor" => self.second_factor(secret.1).await,
            "register_passkey" | "passkey_sign_in" => self.passkey(secret.0).await,
            "invitation" | "enrolment" => self.operator(secret.0).await,
            "enroll_totp" => {
                let ada = sign_up(world, &self.tenant, ADA).await;
                let enrolled = world.post("/v1/auth/mfa/totp/enroll", &ada.token, json!({})).await.expect(200);
                let secret = enrolled["secret"].as_str().unwrap();
                let body = json!({"challenge_token": enrolled["challenge_token"], "code": code(world, secret, 0)});
                Self::once("/v1/auth/mfa/totp/confirm", &ada.token, body)
            }
            "link_identity" => {
                let ada = self.proven().await;
                let claims = json!({"email": ADA, "email_verified": true});
                let asked = self.idp.sign_in(world, &self.tenant, ("google", "g1"), claims).await.expect(202);
                Self::once("/v1/me/identities", &ada.token, json!({"link_token": asked["link_token"]}))
            }
            _ => self.by_mail(secret).await,
        }
    }
}

both! {
    async fn of_sixty_four_who_use_any_single_use_secret_at_once_one_gets_through(world) {
        let idp = Idp::open(world).await;
        world.restart(|config| config.sign_in_per_account_per_minute = 10_000).await;
        for secret in SECRETS {
            // What failed for one of them is counted no more.
            world.clock.advance(Duration::from_secs(86_400));
            let tenant = world.new_app("Shop").await;
            idp.set_up(world, &tenant).await;
            let passkeys = json!({"settings": {"passkeys": {"rp_id": "example.com", "origins": [ORIGIN]}}});
            world.patch("/v1/app", &tenant.server, passkeys).await.expect(200);
            let scene = Scene { world, idp: &idp, tenant: tenant.clone() };
            let Use { path, by, body } = scene.make(secret).await;
            let all = join_all((0..64).map(|n| world.post(path, &by, body(n)))).await;
            let good = all.iter().filter(|answer| answer.status < 400).count();
            assert_eq!(good, 1, "{secret:?}");
            let odd = all.iter().find(|answer| answer.status >= 400 && ![401, 429].contains(&answer.status));
            assert!(odd.is_none(), "{secret:?}: {}", odd.unwrap().text());
            // One domain is one app's passkeys.
            world.patch("/v1/app", &tenant.server, json!({"settings": {"passkeys": null}})).await.expect(200);
        }
    }
}

#[test]
fn every_kind_of_single_use_secret_is_among_them() {
    let source = include_str!("../../src/people/account/challenge.rs");
    let names = source.split_once("fn name(self)").unwrap().1.split_once("/// A secret to be made.").unwrap().0;
    let kinds: BTreeSet<&str> = names.split('"').skip(1).step_by(2).collect();
    let tested: BTreeSet<&str> = SECRETS.iter().map(|(kind, _)| *kind).collect();
    assert!(kinds.len() > 8 && kinds.is_subset(&tested), "{:?}", kinds.difference(&tested));
}
