//! Everybody who may call, with what they have in hand and how things stand with them.

use crate::isolation::House;
use crate::world::{Caller, OPERATOR_PASSWORD, Person, Tenant, World};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How things stand with a caller, seen from the house whose routes are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Good,
    /// What it holds was good once, or never.
    Void,
    /// Another user of the same app.
    Neighbour,
    /// An operator without a role here.
    NoRole,
}

/// One of them.
pub struct Visitor {
    /// For the reader of a failure.
    pub name: String,
    /// Its kinds of credentials.
    pub schemes: BTreeSet<String>,
    /// How things stand.
    pub standing: Standing,
    /// What it may do in the back office.
    pub scopes: BTreeSet<&'static str>,
    /// What it shows.
    pub shows: Vec<Caller>,
}

impl Visitor {
    fn new(name: &str, schemes: &[&str], standing: Standing, shows: &[&Caller]) -> Self {
        let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
        let shows = shows.iter().map(|caller| (*caller).clone()).collect();
        Self { name: name.to_owned(), schemes, standing, scopes: BTreeSet::new(), shows }
    }

    fn with(mut self, scopes: BTreeSet<&'static str>) -> Self {
        self.scopes = scopes;
        self
    }
}

/// Every scope there is.
pub fn scopes() -> BTreeSet<&'static str> {
    kairos::app::Scope::ALL.iter().map(|scope| scope.name()).collect()
}

/// The table of roles as the tests know it; not taken from the code.
pub fn rights() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let viewer: BTreeSet<&str> = [
        "app:read",
        "schema:read",
        "users:read",
        "events:read",
        "things:read",
        "places:read",
        "campaigns:read",
        "partners:read",
        "decisions:read",
    ]
    .into();
    let marketer: BTreeSet<&str> = viewer.iter().copied().chain(["campaigns:write"]).collect();
    let publisher: BTreeSet<&str> = marketer.iter().copied().chain(["campaigns:publish", "push:write"]).collect();
    let owner = scopes();
    let developer = owner.iter().copied().filter(|scope| !scope.starts_with("operators:")).collect();
    [("viewer", viewer), ("marketer", marketer), ("publisher", publisher), ("developer", developer), ("owner", owner)].into()
}

/// Somebody of an app whose access token is over.
pub async fn late(world: &World, tenant: &Tenant) -> Caller {
    let person = world.person(tenant).await;
    world.clock.advance(Duration::from_secs(3_600));
    person.token
}

/// Everybody who is not the house's own owner, user, partner.
pub async fn visitors(world: &World, house: &House, (stranger, late): (&House, &Caller)) -> Vec<Visitor> {
    let mut all = users(world, house, (stranger, late)).await;
    all.extend(keys(world, house).await);
    all.extend(operators(world, house, stranger).await);
    all
}

async fn users(world: &World, house: &House, (stranger, late): (&House, &Caller)) -> Vec<Visitor> {
    let (tenant, user) = (&house.tenant, ["user_token"].as_slice());
    let mut gone = Vec::new();
    for (method, path) in [("POST", "/v1/auth/sign-out"), ("DELETE", "/v1/me/sessions"), ("DELETE", "/v1/me")] {
        let Person { token, .. } = world.person(tenant).await;
        let answer = world.call(method, path).by(&token).json(&json!({})).send().await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
        gone.push((path, token));
    }
    let Caller::Bearer(own) = &house.person.token else { panic!("a user has a token") };
    let forged = Caller::Bearer(format!("{}AAAA", &own[..own.len() - 4]));
    let account = json!({"email": "canary-neighbour@example.com", "password": OPERATOR_PASSWORD});
    let account = Person::from(&world.post("/v1/auth/sign-up", &tenant.phone, account).await.expect(200));
    let mut all = vec![
        Visitor::new("nobody", &[], Standing::Void, &[]),
        Visitor::new("a user whose token is over", user, Standing::Void, &[late]),
        Visitor::new("a user with a forged token", user, Standing::Void, &[&forged]),
        Visitor::new("an anonymous neighbour", user, Standing::Neighbour, &[&world.person(tenant).await.token]),
        Visitor::new("a neighbour with an account", user, Standing::Neighbour, &[&account.token]),
        Visitor::new("the user", user, Standing::Good, &[&house.person.token]),
    ];
    all.extend(gone.iter().map(|(how, token)| Visitor::new(&format!("a user after {how}"), user, Standing::Void, &[token])));
    let both = ["publishable_key", "user_token"];
    let foreign = &stranger.person.token;
    all.push(Visitor::new("a user of another app", &both, Standing::Void, &[&tenant.phone, foreign]));
    all.push(Visitor::new(
        "a user with another app's key",
        &both,
        Standing::Void,
        &[&stranger.tenant.phone, &house.person.token],
    ));
    all.push(Visitor::new("the app with a token that is over", &both, Standing::Void, &[&tenant.phone, late]));
    all.push(Visitor::new("the app with a session that is over", &both, Standing::Void, &[&tenant.phone, &gone[0].1]));
    all
}

/// A key of the house, and its id.
async fn key(world: &World, house: &House, body: serde_json::Value) -> (String, String) {
    let made = world.post("/v1/keys", &house.tenant.server, body).await.expect(201);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn keys(world: &World, house: &House) -> Vec<Visitor> {
    let server = ["server_key"].as_slice();
    let tester = key(world, house, json!({"kind": "publishable", "name": "canary", "mode": "test"})).await.1;
    let mut all = vec![
        Visitor::new("the app", &["publishable_key"], Standing::Good, &[&house.tenant.phone]),
        Visitor::new("the app in test mode", &["publishable_key"], Standing::Good, &[&Caller::App(tester)]),
        Visitor::new("the partner", &["partner_key"], Standing::Good, &[&house.partner]),
        Visitor::new("a server with every scope", server, Standing::Good, &[&house.tenant.server]).with(scopes()),
    ];
    for without in scopes() {
        for mode in ["live", "test"] {
            let rest: BTreeSet<&str> = scopes().into_iter().filter(|scope| *scope != without).collect();
            let body = json!({"kind": "server", "name": "canary", "mode": mode, "scopes": rest});
            let secret = Caller::Bearer(key(world, house, body).await.1);
            all.push(Visitor::new(&format!("a {mode} server without {without}"), server, Standing::Good, &[&secret]).with(rest));
        }
    }
    for kind in ["publishable", "server"] {
        let mut body = json!({"kind": kind, "name": "canary"});
        if kind == "server" {
            body["scopes"] = json!(scopes());
        }
        let (id, secret) = key(world, house, body).await;
        world.delete(&format!("/v1/keys/{id}"), &house.tenant.server).await.expect(204);
        let shows = if kind == "server" { Caller::Bearer(secret) } else { Caller::App(secret) };
        all.push(Visitor::new(&format!("a revoked {kind} key"), &[&format!("{kind}_key")], Standing::Void, &[&shows]));
    }
    let at = house.partner_path();
    let made = world.post(&format!("{at}/keys"), &house.tenant.server, json!({"name": "canary"})).await.expect(201);
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap().to_owned());
    world.delete(&format!("{at}/keys/{id}"), &house.tenant.server).await.expect(204);
    all.push(Visitor::new("a revoked partner key", &["partner_key"], Standing::Void, &[&Caller::Bearer(secret)]));
    all
}

async fn operators(world: &World, house: &House, stranger: &House) -> Vec<Visitor> {
    let operator = ["operator_token"].as_slice();
    let mut all = Vec::new();
    for (role, scopes) in rights() {
        let staff = world.operator(&house.tenant, role).await;
        all.push(Visitor::new(role, operator, Standing::Good, &[&staff.caller]).with(scopes));
    }
    let ended = world.operator(&house.tenant, "owner").await.caller;
    world.post("/v1/operators/sign-out", &ended, json!({})).await.expect(204);
    all.push(Visitor::new("an owner who signed out", operator, Standing::Void, &[&ended]));
    let disabled = world.operator(&house.tenant, "owner").await;
    world.patch(&format!("/v1/operators/{}", disabled.id), &house.tenant.server, json!({"disabled": true})).await.expect(200);
    all.push(Visitor::new("an owner who was put out", operator, Standing::NoRole, &[&disabled.caller]));
    let Caller::Operator { token, .. } = &stranger.operator else { panic!("not an operator") };
    let outsider = Caller::Operator { token: token.clone(), app: house.tenant.id.to_string() };
    all.push(Visitor::new("another app's owner", operator, Standing::NoRole, &[&outsider]));
    all
}
