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

/// Plays on each database.
const PLAYS: u32 = 24;
const ACTS_MAX: usize = 9;
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
        }
    }

    /// The accounts that somebody gets into now, by everything that they have.
    async fn reaches(&mut self, who: Who) -> BTreeSet<String> {
        let (world, idp, tenant) = (self.world, self.idp, self.tenant.clone());
        let mut ids = BTreeSet::new();
        let mut note = |answer: &crate::world::Answer| {
            if answer.status == 200 {
                let answer = answer.json();
                ids.insert(answer["user"]["id"].as_str().or(answer["id"].as_str()).unwrap().to_owned());
            }
        };
        for session in &self.hand(who).sessions {
            note(&world.get("/v1/me", &session.token).await);
            let refresh = json!({"refresh_token": session.refresh_token});
            note(&world.post("/v1/auth/refresh", &tenant.phone, refresh).await);
        }
        for password in self.hand(who).passwords.clone() {
            for (email, _) in ADDRESSES {
                let pair = json!({"email": email, "password": password});
                note(&world.post("/v1/auth/sign-in", &tenant.phone, pair).await);
            }
        }
        let words = PROVIDERS.iter().flat_map(|provider| ADDRESSES.map(|(email, _)| Some((*provider, email))));
        for word in words.chain([None]) {
            let ((provider, subject), claims) = Self::word(who, word);
            note(&idp.sign_in(world, &tenant, (provider, &subject), claims).await);
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
