//! Who may call what, for every operation of the OpenAPI document and every kind of caller: callers × routes × owners (I8).
//!
//! What each cell has to answer follows from the document (`security`) and from the table in `matrix/table.rs`: 401 to whoever
//! has no credential of the right kind, 403 to whoever lacks the scope, 404 for what is another's, and never a refusal of
//! these kinds to whoever may. What is refused changes nothing.

#[path = "matrix/callers.rs"]
mod callers;
#[path = "matrix/table.rs"]
mod table;

use crate::isolation::{
    Operation, ask, everything, furnish, ids, makes_its_own, may_be_refused_by_its_body, operations, signs_out, stranger,
};
use crate::world::{Answer, Caller};
use callers::{Standing, Visitor, late, rights, scopes, visitors};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use table::{Owner, Row, rows};

/// What a cell has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// 401 `unauthorized`.
    Unknown,
    /// 403 `missing_scope`, which names it.
    Lacks(&'static str),
    /// 403 `no_role`.
    NoRole,
    /// 404, as if it were not there.
    Hidden,
    /// Anything but these.
    May,
}

fn verdict((operation, row): (&Operation, &Row), visitor: &Visitor) -> Verdict {
    // Where nothing at all is enough, what the body holds is the credential, or nobody asks for one.
    if operation.callers.is_empty() || operation.callers.iter().any(BTreeSet::is_empty) {
        return Verdict::May;
    }
    if !operation.callers.contains(&visitor.schemes) || visitor.standing == Standing::Void {
        return Verdict::Unknown;
    }
    let in_the_back_office = ["server_key", "operator_token"].iter().any(|scheme| visitor.schemes.contains(*scheme));
    let scope = row.scope.filter(|_| in_the_back_office);
    // Who an operator is, is one question; what they may do in an app is another.
    if visitor.standing == Standing::NoRole && scope.is_some() {
        return Verdict::NoRole;
    }
    let is_anothers = visitor.standing == Standing::Neighbour && row.owner == Owner::User && !makes_its_own(operation);
    match scope.filter(|scope| !visitor.scopes.contains(scope)) {
        Some(scope) => Verdict::Lacks(scope),
        None if is_anothers => Verdict::Hidden,
        None => Verdict::May,
    }
}

/// Whether this visitor's cell is one that says something new.
fn is_a_cell((operation, row): (&Operation, &Row), visitor: &Visitor) -> bool {
    // Two credentials at once matter where two are taken; who holds everything but one scope, where this one is asked for.
    let two_are_taken = visitor.schemes.len() < 2 || operation.callers.contains(&visitor.schemes);
    let lacks_another =
        visitor.name.contains(" server without ") && !visitor.name.ends_with(&format!(" {}", row.scope.unwrap_or("app:read")));
    two_are_taken && !lacks_another
}

/// What an answer says is lacking.
fn lacking(answer: &Answer) -> Option<String> {
    let problem = answer.json();
    if answer.status != 403 || problem["code"] != "missing_scope" {
        return None;
    }
    let detail = problem["detail"].as_str().unwrap();
    Some(detail.trim_end_matches('.').rsplit(' ').next().unwrap().to_owned())
}

fn is_as_said(answer: &Answer, verdict: Verdict) -> bool {
    let code = || answer.json()["code"].as_str().map(str::to_owned);
    match verdict {
        Verdict::Unknown => answer.status == 401 && code().as_deref() == Some("unauthorized"),
        Verdict::Lacks(scope) => lacking(answer).as_deref() == Some(scope),
        Verdict::NoRole => answer.status == 403 && code().as_deref() == Some("no_role"),
        Verdict::Hidden => answer.status == 404,
        Verdict::May => {
            answer.status < 500
                && (answer.status < 400 || !["unauthorized", "missing_scope", "no_role"].map(Some).contains(&code().as_deref()))
        }
    }
}

fn what(operation: &Operation, visitor: &str, answer: &Answer) -> String {
    format!("{} {} by {visitor}: {} {}", operation.method, operation.path, answer.status, answer.text())
}

/// Where a user's token beside a key is looked at after a body that this test cannot make.
const LATER: [&str; 3] = ["/v1/auth/passkeys/sign-in/begin", "/v1/auth/passkeys/sign-in/finish", "/v1/auth/id-token"];

/// What takes something away comes last, the innermost first; what ends the session that asks comes after that.
fn order(operation: &Operation) -> impl Ord + use<> {
    let takes = operation.method == "DELETE" || ["/end", "/publish"].iter().any(|end| operation.path.ends_with(end));
    // What the back office takes from a user ends the user's session.
    let whose = match operation.path.as_str() {
        "/v1/users/{id}" => 3,
        "/v1/users/{id}/sessions/{session}" => 0,
        path if path.starts_with("/v1/users/{id}/") => 2,
        "/v1/me/sessions/{id}" => 1,
        _ => 0,
    };
    (
        operation.path == "/v1/operators/sign-out",
        if takes { whose } else { 0 },
        signs_out(operation),
        takes,
        operation.method != "GET",
        std::cmp::Reverse(operation.path.len()),
    )
}

/// Whether there is nothing to do it to in the house, whoever asks.
fn finds_nothing(operation: &Operation) -> bool {
    // Nobody is leaving who could be taken back.
    operation.path == "/v1/users/{id}/restore"
}

/// Where there is nothing: whoever gets there was let in, and changes nothing.
fn nowhere(operation: &Operation) -> String {
    let parts = operation.path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn every_operation_has_its_row_and_every_scope_a_route() {
    let all = rows();
    assert!(all.len() > 200, "{}", all.len());
    let asked: BTreeSet<&str> = all.iter().filter_map(|(_, row)| row.scope).collect();
    let idle: Vec<&str> = scopes().into_iter().filter(|scope| !asked.contains(scope)).collect();
    assert_eq!(idle, [""; 0], "no route asks for these");
    for scope in asked {
        assert!(scopes().contains(scope), "there is no {scope}");
        assert!(rights()["owner"].contains(scope), "an owner may everything");
    }
}

both! {
    async fn whoever_may_not_is_refused_in_the_one_right_way_and_changes_nothing(world) {
        let late = late(world, &world.app).await;
        let house = furnish(world).await;
        let stranger = stranger(world).await;
        let visitors = visitors(world, &house, (&stranger, &late)).await;
        let before = everything(world, &house).await;
        let (mut asked, mut wrong) = (BTreeMap::new(), Vec::new());
        for (operation, row) in &rows() {
            let path = house.path(operation);
            for visitor in &visitors {
                let verdict = verdict((operation, row), visitor);
                if verdict == Verdict::May || !is_a_cell((operation, row), visitor) {
                    continue;
                }
                let answer = ask(world, operation, &path, &visitor.shows).await;
                let by_its_body = visitor.schemes.len() > 1 && LATER.contains(&operation.path.as_str()) && [400, 409].contains(&answer.status);
                if !is_as_said(&answer, verdict) && !by_its_body {
                    wrong.push(format!("{verdict:?} expected: {}", what(operation, &visitor.name, &answer)));
                }
                *asked.entry(if let Verdict::Lacks(_) = verdict { Verdict::Lacks("") } else { verdict }).or_insert(0) += 1;
            }
        }
        assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
        assert!(asked.values().all(|n| *n >= 10) && asked.len() == 4 && asked.values().sum::<i32>() > 3_000, "{asked:?}");
        let after = everything(world, &house).await;
        for (path, value) in &before {
            assert_eq!(value, &after[path], "{path} has changed");
        }
    }

    async fn what_belongs_elsewhere_in_the_same_app_is_not_found_there(world) {
        let house = furnish(world).await;
        let by = &house.tenant.server;
        let made = async |path: &str, body| world.post(path, by, body).await.expect(201)["id"].as_str().unwrap().to_owned();
        let others = [
            ("/v1/users/", made("/v1/users", json!({"external_id": "canary-sibling"})).await),
            ("/v1/partners/", made("/v1/partners", json!({"name": "canary sibling"})).await),
            ("/v1/webhooks/", made("/v1/webhooks", json!({"url": "https://hooks.invalid/sibling"})).await),
            ("/v1/things/", made("/v1/things", json!({"key": "canary-sibling", "class": "aircraft"})).await),
        ];
        let before = everything(world, &house).await;
        let mut asked = 0;
        for operation in operations().iter().filter(|o| o.path.matches("{").count() > 1 && o.takes("server_key")) {
            let Some((at, other)) = others.iter().find(|(at, _)| operation.path.starts_with(at)) else { continue };
            // A phone that another user registers is theirs from then on: the law of devices has its own tests.
            if operation.method == "PUT" && operation.path.contains("/devices/") {
                continue;
            }
            let own = house.path(operation);
            let rest = own[at.len()..].split_once('/').unwrap().1;
            let answer = ask(world, operation, &format!("{at}{other}/{rest}"), std::slice::from_ref(by)).await;
            assert_eq!(answer.status, 404, "{}", what(operation, "its app", &answer));
            asked += 1;
        }
        assert!(asked >= 10, "{asked}");
        let after = everything(world, &house).await;
        for (path, value) in &before {
            assert_eq!(value, &after[path], "{path} has changed");
        }
    }

    async fn whoever_may_is_let_in_by_the_one_scope_or_by_their_role(world) {
        let house = furnish(world).await;
        let mut exact = BTreeMap::new();
        for scope in scopes() {
            exact.insert(scope, world.server_key(&house.tenant, &[scope]).await);
        }
        let mut staff = Vec::new();
        for (role, scopes) in rights() {
            staff.push((world.operator(&house.tenant, role).await.caller, role, scopes));
        }
        let mut wrong = Vec::new();
        let mut all = rows();
        all.sort_by_key(|(operation, _)| order(operation));
        for (operation, row) in &all {
            for (operator, role, scopes) in &staff {
                if row.scope.is_some_and(|scope| scopes.contains(scope)) {
                    let answer = ask(world, operation, &nowhere(operation), std::slice::from_ref(operator)).await;
                    if !is_as_said(&answer, Verdict::May) {
                        wrong.push(what(operation, role, &answer));
                    }
                }
            }
            for set in &operation.callers {
                let callers: Vec<Caller> = match row.scope.filter(|_| set.contains("server_key")) {
                    Some(scope) => vec![exact[scope].clone()],
                    // Whoever is signed out, or becomes somebody else by it, is no user of the house whom later lines need.
                    None if set.contains("user_token") && (signs_out(operation) || set.len() > 1) => {
                        let guest = world.person(&house.tenant).await.token;
                        let of = |scheme: &String| if scheme == "user_token" { guest.clone() } else { house.caller(scheme) };
                        set.iter().map(of).collect()
                    }
                    None => set.iter().map(|scheme| house.caller(scheme)).collect(),
                };
                // An owner gets there too, after whoever was there first: then it may be gone.
                let answer = ask(world, operation, &house.path(operation), &callers).await;
                let is_there = operation.callers.first() == Some(set) && row.owner != Owner::Nobody && !finds_nothing(operation);
                let is_missed = is_there && answer.status == 404 || operation.method == "GET" && answer.status >= 300;
                if is_missed || !is_as_said(&answer, Verdict::May) {
                    wrong.push(what(operation, &format!("{set:?}"), &answer));
                }
            }
        }
        assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
        world.may_leave_work();
    }

    async fn no_route_shows_or_changes_anything_of_another_app(world) {
        let house = furnish(world).await;
        let before = everything(world, &house).await;
        let secret: BTreeSet<String> = before.values().flat_map(|value| ids(&value.to_string())).collect();
        assert!(secret.len() > 15, "{secret:?}");
        let stranger = stranger(world).await;
        let (mut asked, mut wrong) = (0, Vec::new());
        let mut all = operations();
        // What makes things of the stranger's own comes late: under a name that the other app uses too, they would be
        // taken for the other app's. What ends the session that asks comes after that.
        all.sort_by_key(|operation| (signs_out(operation), makes_its_own(operation)));
        for operation in all.iter().filter(|o| !o.callers.is_empty() && !o.path.starts_with("/v1/auth/")) {
            let path = house.path(operation);
            for schemes in &operation.callers {
                let callers: Vec<Caller> = schemes.iter().map(|scheme| stranger.caller(scheme)).collect();
                let answer = ask(world, operation, &path, &callers).await;
                let what = format!("{} {path} by {schemes:?}: {} {}", operation.method, answer.status, answer.text());
                assert!(answer.status < 500, "{what}");
                let refused = answer.status == 404 || answer.status == 400 && may_be_refused_by_its_body(operation);
                if path != operation.path && !makes_its_own(operation) && !refused {
                    wrong.push(what.clone());
                }
                let shown: Vec<_> = ids(&answer.text()).intersection(&secret).cloned().collect();
                assert!(shown.is_empty() && !answer.text().contains("canary Orly"), "{shown:?} in {what}");
                asked += 1;
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(asked > 80, "{asked}");
        let after = everything(world, &house).await;
        for (path, value) in &before {
            assert_eq!(value, &after[path], "{path} has changed");
        }
    }
}
