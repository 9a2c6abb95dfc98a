//! An attacker was there first: whatever the two of them do, in whatever order, the attacker ends with no way into an
//! account that the victim can use.
//!
//! Each address has one reader, and each identity one owner; what else one of them knows is what they have said
//! themselves. Further ways to prove an address or to get in are further lines of [`Act`] and arms of [`Play::act`].

use crate::idp::Idp;
use crate::world::{Caller, Db, Person, World};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Plays on each database.
const PLAYS: u32 = 24;
const ACTS_MAX: usize = 11;
/// The victim's addresses: over one Google has authority, over the other `corp`. Both issuers speak of both.
const ADDRESSES: [(&str, &str); 2] = [("victim@gmail.com", "google"), ("victim@corp.example", "corp")];
const PROVIDERS: [&str; 2] = ["google", "corp"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Attacker,
    Victim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// With the victim's address and a password of their own.
    SignUp(&'static str),
    /// With a password of their own; nothing happens where it is none.
    SignIn(&'static str),
    /// By an issuer's word with an address of the victim's.
    Provider(&'static str, &'static str),
    /// By the same word, as an account of its own.
    Apart(&'static str, &'static str),
    /// By an identity without an address.
    Bare,
    /// The newest session gets the identity that has the address.
    Link(&'static str, &'static str),
    /// The newest session gets the identity without one.
    LinkBare,
    /// The newest session unlinks its first identity.
    Unlink,
    /// The newest session confirms the link that they were asked for last.
    Confirm,
    /// The newest session changes its password.
    ChangePassword,
    /// An anonymous user begins.
    Anonymous,
    /// A code and a link to sign in are mailed.
    AskCode(&'static str),
    /// A link for a new password is mailed.
    AskReset(&'static str),
    /// The newest session asks once more to have its address proven.
    AskProof,
    /// The newest session wants this address.
    AskChange(&'static str),
    /// The reader of an address follows the link in one of its newest mails, whoever has asked for it. Nobody else can.
    Read(&'static str, usize),
    /// The newest session gets an authenticator app.
    Enroll,
}

fn acts() -> impl Strategy<Value = Vec<(Who, Act)>> {
    let address = || prop::sample::select(ADDRESSES.map(|(email, _)| email).to_vec());
    let word = || (prop::sample::select(PROVIDERS.to_vec()), address());
    let act = prop_oneof![
        3 => address().prop_map(Act::SignUp),
        2 => address().prop_map(Act::SignIn),
        4 => word().prop_map(|(provider, email)| Act::Provider(provider, email)),
        1 => word().prop_map(|(provider, email)| Act::Apart(provider, email)),
        1 => Just(Act::Bare),
        2 => word().prop_map(|(provider, email)| Act::Link(provider, email)),
        2 => Just(Act::LinkBare),
        1 => Just(Act::Unlink),
        2 => Just(Act::Confirm),
        1 => Just(Act::ChangePassword),
        1 => Just(Act::Anonymous),
        2 => address().prop_map(Act::AskCode),
        2 => address().prop_map(Act::AskReset),
        1 => Just(Act::AskProof),
        2 => address().prop_map(Act::AskChange),
        5 => (address(), 0_usize..3).prop_map(|(email, nth)| Act::Read(email, nth)),
        4 => Just(Act::Enroll),
    ];
    let who = prop_oneof![Just(Who::Attacker), Just(Who::Victim)];
    prop::collection::vec((who, act), 2..ACTS_MAX)
}

/// What somebody has in hand.
#[derive(Default)]
struct Hand {
    sessions: Vec<Person>,
    passwords: BTreeSet<String>,
    asked: Option<Value>,
    /// Recovery codes, a set for each authenticator app.
    recovery: Vec<Vec<String>>,
}

struct Play<'a> {
    world: &'a World,
    idp: &'a Idp,
    tenant: crate::world::Tenant,
    attacker: Hand,
    victim: Hand,
    turn: usize,
}

impl Play<'_> {
    fn hand(&mut self, who: Who) -> &mut Hand {
        match who {
            Who::Attacker => &mut self.attacker,
            Who::Victim => &mut self.victim,
        }
    }

    fn keep(&mut self, who: Who, answer: &crate::world::Answer) {
        match answer.status {
            200 => self.hand(who).sessions.push(Person::from(&answer.json())),
            202 => self.hand(who).asked = Some(answer.json()),
            _ => {}
        }
    }

    /// Whose identity, and what its issuer says of the address. One that has no authority over an address may have
    /// verified it when it was the attacker's.
    fn word(who: Who, word: Option<(&'static str, &'static str)>) -> ((&'static str, String), Value) {
        let name = match who {
            Who::Attacker => "attacker",
            Who::Victim => "victim",
        };
        let Some((provider, email)) = word else { return (("corp", name.to_owned()), json!({})) };
        let verified = who == Who::Victim || !ADDRESSES.contains(&(email, provider));
        ((provider, format!("{name}:{email}")), json!({"email": email, "email_verified": verified}))
    }

    fn newest(&mut self, who: Who) -> Option<Caller> {
        self.hand(who).sessions.last().map(|person| person.token.clone())
    }

    async fn act(&mut self, (who, act): (Who, Act)) {
        let (world, idp, tenant) = (self.world, self.idp, self.tenant.clone());
        self.turn += 1;
        let password = |turn: usize| format!("{who:?} password {turn}");
        match act {
            Act::SignUp(email) => {
                let password = password(self.turn);
                let pair = json!({"email": email, "password": password});
                let answer = world.post("/v1/auth/sign-up", &tenant.phone, pair).await;
                self.hand(who).passwords.insert(password);
                self.keep(who, &answer);
            }
            Act::SignIn(email) => {
                for password in self.hand(who).passwords.clone() {
                    let pair = json!({"email": email, "password": password});
                    let answer = world.post("/v1/auth/sign-in", &tenant.phone, pair).await;
                    self.keep(who, &answer);
                }
            }
            Act::Provider(..) | Act::Apart(..) | Act::Bare => {
                let (word, apart) = match act {
                    Act::Provider(provider, email) => (Some((provider, email)), false),
                    Act::Apart(provider, email) => (Some((provider, email)), true),
                    _ => (None, false),
                };
                let ((provider, subject), claims) = Self::word(who, word);
                let token = idp.rsa.token(&idp.claims(world, (provider, &subject), claims));
                let mut body = crate::idp::body(provider, &token);
                body["new_account"] = apart.into();
                let answer = world.post("/v1/auth/id-token", &tenant.phone, body).await;
                self.keep(who, &answer);
            }
            Act::Link(..) | Act::LinkBare => {
                let word = if let Act::Link(provider, email) = act { Some((provider, email)) } else { None };
                let ((provider, subject), claims) = Self::word(who, word);
                if let Some(token) = self.newest(who) {
                    idp.link(world, &token, (provider, &subject), claims).await;
                }
            }
            Act::Unlink => {
                if let Some(token) = self.newest(who) {
                    let own = world.get("/v1/me/identities", &token).await;
                    if let Some(id) = own.json()["items"][0]["id"].as_str() {
                        world.delete(&format!("/v1/me/identities/{id}"), &token).await;
                    }
                }
            }
            Act::Confirm => {
                if let (Some(token), Some(asked)) = (self.newest(who), self.hand(who).asked.clone()) {
                    world.post("/v1/me/identities", &token, json!({"link_token": asked["link_token"]})).await;
                }
            }
            Act::ChangePassword => {
                let (new, old) = (password(self.turn), self.hand(who).passwords.iter().next_back().cloned());
                if let Some(token) = self.newest(who) {
                    let body = json!({"password": old, "new_password": new});
                    let answer = world.post("/v1/auth/password/change", &token, body).await;
                    self.hand(who).passwords.insert(new);
                    self.keep(who, &answer);
                }
            }
            Act::Anonymous => {
                let person = world.person(&tenant).await;
                self.hand(who).sessions.push(person);
            }
            _ => self.by_mail((who, act), password(self.turn)).await,
        }
    }

    async fn by_mail(&mut self, (who, act): (Who, Act), password: String) {
        let (world, tenant) = (self.world, self.tenant.clone());
        match (act, self.newest(who)) {
            (Act::AskCode(email), _) => {
                drop(world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": email })).await)
            }
            (Act::AskReset(email), _) => {
                drop(world.post("/v1/auth/password/forgot", &tenant.phone, json!({ "email": email })).await)
            }
            (Act::AskProof, Some(token)) => drop(world.post("/v1/auth/email/verify/request", &token, json!({})).await),
            (Act::AskChange(email), Some(token)) => {
                // Whoever has no password says none.
                for password in self.hand(who).passwords.clone().into_iter().map(Some).chain([None]) {
                    world.post("/v1/auth/email/change", &token, json!({"email": email, "password": password})).await;
                }
            }
            (Act::Enroll, Some(token)) => {
                let enrolled = world.post("/v1/auth/mfa/totp/enroll", &token, json!({})).await;
                if enrolled.status == 200 {
                    let enrolled = enrolled.json();
                    let code = crate::totp::code(world, enrolled["secret"].as_str().unwrap(), 0);
                    let body = json!({"challenge_token": enrolled["challenge_token"], "code": code});
                    let answer = world.post("/v1/auth/mfa/totp/confirm", &token, body).await;
                    if answer.status == 200 {
                        let all = answer.json()["recovery_codes"].as_array().unwrap().clone();
                        self.hand(who).recovery.push(all.iter().map(|code| code.as_str().unwrap().to_owned()).collect());
                    }
                    self.keep(who, &answer);
                }
            }
            (Act::Read(email, nth), token) if who == Who::Victim => self.read((email, nth), token, password).await,
            _ => {}
        }
    }

    /// The victim follows a link, in their own session where there is one, and says a password of their own.
    async fn read(&mut self, (email, nth): (&str, usize), token: Option<Caller>, password: String) {
        let (world, tenant) = (self.world, self.tenant.clone());
        let all = world.letters(&tenant).await;
        let Some(letter) = all.iter().filter(|letter| letter.to == email && letter.text.contains("#token=")).nth(nth) else {
            return;
        };
        let link = json!({ "token": letter.token() });
        let with_password = json!({"token": letter.token(), "new_password": password});
        self.victim.passwords.insert(password);
        let answer = match letter.link() {
            link_text if link_text.contains("/sign-in") => world.post("/v1/auth/email-code/verify", &tenant.phone, link).await,
            link_text if link_text.contains("/reset-password") => {
                world.post("/v1/auth/password/reset", &Caller::Nobody, with_password).await
            }
            link_text if link_text.contains("/change-email") => match token {
                Some(token) => world.post("/v1/auth/email/change/confirm", &token, link).await,
                None => return,
            },
            _ => {
                let within = match &token {
                    Some(token) => Some(world.post("/v1/auth/email/verify", token, link).await),
                    None => None,
                };
                match within.filter(|answer| answer.status == 200) {
                    Some(answer) => answer,
                    None => world.post("/v1/auth/email/verify", &Caller::Nobody, with_password).await,
                }
            }
        };
        self.keep(Who::Victim, &answer);
    }

    /// The accounts that somebody gets into now, by everything that they have.
    async fn reaches(&mut self, who: Who) -> BTreeSet<String> {
        let (world, idp, tenant) = (self.world, self.idp, self.tenant.clone());
        let mut ids = BTreeSet::new();
        let mut codes = std::mem::take(&mut self.hand(who).recovery);
        // Whoever is asked for a second factor shows one of their own.
        let mut note = async |answer: crate::world::Answer| {
            let mut answer = answer;
            if answer.status == 202 && answer.json()["challenge_token"].is_string() {
                let asked = answer.json();
                for set in &mut codes {
                    let body = json!({"challenge_token": asked["challenge_token"], "code": set.pop()});
                    world.clock.advance(Duration::from_secs(20));
                    answer = world.post("/v1/auth/mfa/totp/recovery", &tenant.phone, body).await;
                    if answer.status == 200 {
                        break;
                    }
                }
            }
            if answer.status == 200 {
                let body = answer.json();
                ids.insert(body["user"]["id"].as_str().or(body["id"].as_str()).unwrap().to_owned());
            }
            // Nobody is held up by the count of failures.
            world.clock.advance(Duration::from_secs(1_000));
            answer.status
        };
        if who == Who::Victim {
            for (email, _) in ADDRESSES {
                world.post("/v1/auth/email-code/request", &tenant.phone, json!({ "email": email })).await.expect(202);
                let token = world.letter(&tenant, email).await.token();
                let status = note(world.post("/v1/auth/email-code/verify", &tenant.phone, json!({ "token": token })).await).await;
                assert_eq!(status, 200, "the reader of {email} does not get in");
            }
        }
        for session in &self.hand(who).sessions {
            note(world.get("/v1/me", &session.token).await).await;
            let refresh = json!({"refresh_token": session.refresh_token});
            note(world.post("/v1/auth/refresh", &tenant.phone, refresh).await).await;
        }
        for password in self.hand(who).passwords.clone() {
            for (email, _) in ADDRESSES {
                let pair = json!({"email": email, "password": password});
                note(world.post("/v1/auth/sign-in", &tenant.phone, pair).await).await;
            }
        }
        let words = PROVIDERS.iter().flat_map(|provider| ADDRESSES.map(|(email, _)| Some((*provider, email))));
        for word in words.chain([None]) {
            let ((provider, subject), claims) = Self::word(who, word);
            note(idp.sign_in(world, &tenant, (provider, &subject), claims).await).await;
        }
        ids
    }
}

fn plays(db: Db) {
    crate::world::run(db, async |world: &mut World| {
        world.may_leave_work();
        let idp = Idp::open(world).await;
        let config = Config { cases: PLAYS, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let handle = tokio::runtime::Handle::current();
        let (world, idp) = (&*world, &idp);
        let done = tokio::task::block_in_place(|| {
            runner.run(&acts(), |acts| {
                handle.block_on(async {
                    let tenant = world.new_app("Play").await;
                    idp.set_up(world, &tenant).await;
                    let (attacker, victim) = (Hand::default(), Hand::default());
                    let mut play = Play { world, idp, tenant, attacker, victim, turn: 0 };
                    for act in &acts {
                        play.act(*act).await;
                    }
                    world.clock.advance(Duration::from_secs(86_400));
                    // The victim looks first: their coming in may be what ends the attacker's.
                    let victims = play.reaches(Who::Victim).await;
                    let attackers = play.reaches(Who::Attacker).await;
                    let both: Vec<_> = victims.intersection(&attackers).collect();
                    prop_assert!(both.is_empty(), "the attacker is in {both:?}");
                    Ok(())
                })
            })
        });
        done.unwrap();
    });
}

#[test]
fn an_attacker_who_was_first_ends_outside_on_sqlite() {
    plays(Db::Sqlite);
}

#[test]
fn an_attacker_who_was_first_ends_outside_on_postgres() {
    plays(Db::Postgres);
}
