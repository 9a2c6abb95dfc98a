//! An anonymous history becomes an account's: by rules that never widen a choice, however often it is interrupted.

use crate::world::story::{self, EVENT};
use crate::world::{Caller, Person, World};
use kairos::id::{ConsentId, PartnerId, UserId};
use kairos::people::consent::{
    Age, Basis, Channel, Extent, Ledger, Need, Purpose, Purposes, Reason, Row, Standing, Version, Voice,
};
use kairos::people::merge;
use kairos::push::standin::{Fault, Rule};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(61);

async fn begin(world: &World, from: &str, into: &str) -> bool {
    let (app, now_ms) = (world.app.id, world.now_ms());
    let pair: (UserId, UserId) = (from.parse().unwrap(), into.parse().unwrap());
    world.kairos.platform.store.write(move |conn| merge::begin(conn, app, pair, now_ms)).await.unwrap()
}

async fn choose(world: &World, by: &Caller, purpose: &str, granted: bool) -> Value {
    let body = match granted {
        true => json!({"purpose": purpose, "granted": true, "text_version": "1", "evidence": {"screen": "welcome"}}),
        false => json!({"purpose": purpose, "granted": false}),
    };
    world.post("/v1/me/consents", by, body).await.expect(201)
}

async fn event(world: &World, id: &str, subject: &str) -> Value {
    let event = json!({"id": id, "type": EVENT, "occurred_at": world.time(0), "subject": subject, "properties": {"n": id}});
    let taken = world.post("/v1/events", &world.app.server, json!({"events": [event]})).await.expect(202);
    let path = format!("/v1/events/{}", taken["results"][0]["event_id"].as_str().unwrap());
    world.drain().await;
    world.get(&path, &world.app.server).await.expect(200)
}

/// Somebody anonymous and an account, in an app that may speak. The anonymous phone was registered by the back end.
async fn both_of(world: &World) -> (Person, Person) {
    let home = world.app.clone();
    story::declare(&world.api, &home).await;
    story::credentials(&world.api, &home, &world.standin).await;
    let mut offer = story::offer("Lounge");
    offer["purpose"] = "ads".into();
    for key in ["ads", "tips", "news"] {
        let purpose = json!({"key": key, "name": key, "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
        world.post("/v1/purposes", &home.server, purpose).await.expect(201);
    }
    story::campaign(&world.api, &home, &offer).await;
    for key in ["nick", "tier"] {
        world.post("/v1/attributes", &home.server, json!({"scope": "user", "key": key, "kind": "string"})).await.expect(201);
    }
    let anonymous = world.person(&home).await;
    let (id, token) = story::sign_up(&world.api, &home, "ada@example.com").await;
    (anonymous, Person { id, token, refresh_token: String::new() })
}

async fn phone(world: &World, user: &str, installation: &str) {
    let (_, device, _) = story::phone(installation, "android");
    world.put(&format!("/v1/users/{user}/devices/{installation}"), &world.app.server, device).await.expect(201);
}

both! {
    async fn what_the_account_says_stays_and_what_it_does_not_say_is_taken_over(world) {
        let (anonymous, account) = both_of(world).await;
        let patch = |nick: &str, more: Value| json!({"attributes": {"nick": nick, "tier": more}});
        world.patch("/v1/me", &anonymous.token, patch("stranger", json!("gold"))).await.expect(200);
        world.patch("/v1/me", &account.token, patch("ada", Value::Null)).await.expect(200);
        world.patch("/v1/me/preferences", &anonymous.token, json!({"topics": {"news": false}})).await.expect(200);
        let carried = choose(world, &anonymous.token, "tips", true).await;
        choose(world, &anonymous.token, "ads", true).await;
        choose(world, &anonymous.token, "location", false).await;
        choose(world, &account.token, "ads", false).await;
        choose(world, &account.token, "location", true).await;
        phone(world, &anonymous.id, "back").await;
        let (installation, device, _) = story::phone("own", "android");
        world.put(&format!("/v1/me/devices/{installation}"), &anonymous.token, device).await.expect(201);
        let thing = world.post("/v1/things", &world.app.server, json!({"key": "belt"})).await.expect(201);
        let links = format!("/v1/things/{}/links", thing["id"].as_str().unwrap());
        for (user, kind) in [(&anonymous.id, "booking"), (&account.id, "booking"), (&anonymous.id, "boarding")] {
            world.post(&links, &world.app.server, json!({"user": user, "kind": kind})).await.expect(201);
        }
        let before = event(world, "before", &anonymous.id).await;
        assert_eq!(before["disposition"], "decided");
        assert!(begin(world, &anonymous.id, &account.id).await);
        // Killed between any two transactions.
        for _ in 0..3 {
            kairos::privacy::workers(&world.kairos.platform)[0].step().await.unwrap();
            world.restart(|_| {}).await;
        }
        world.drain().await;
        world.advance(MINUTE).await;

        let me = world.get("/v1/me", &account.token).await.expect(200);
        assert_eq!(me["attributes"], json!({"nick": "ada", "tier": "gold"}));
        let wishes = world.get("/v1/me/preferences", &account.token).await.expect(200);
        assert_eq!(wishes["topics"]["news"], false);
        let consents = world.get("/v1/me/consents", &account.token).await.expect(200);
        let standing = |key: &str| {
            let all = consents["items"].as_array().unwrap();
            all.iter().find(|state| state["purpose"] == key).unwrap()["standing"].as_str().unwrap().to_owned()
        };
        assert_eq!(["tips", "ads", "location"].map(standing), ["granted", "refused", "refused"]);
        let ledger = world.get("/v1/me/consents/history", &account.token).await.expect(200);
        assert!(ledger["items"].as_array().unwrap().iter().any(|record| record["id"] == carried["id"]), "{ledger}");
        let devices = world.get("/v1/me/devices", &account.token).await.expect(200);
        let with_token = |device: &Value| (device["installation_id"].as_str().unwrap().to_owned(), device["has_token"] == true);
        let mut devices: Vec<_> = devices["items"].as_array().unwrap().iter().map(with_token).collect();
        devices.sort();
        assert_eq!(devices, [("back".to_owned(), true), ("own-android".to_owned(), false)], "a token of a session that ended stays behind");
        assert_eq!(world.number("select count(*) from links").await, 2);
        let export = world.get("/v1/me/export", &account.token).await.expect(200);
        assert_eq!(export["data"]["known_before_as"][0]["from_id"], json!(anonymous.id));
        for (section, n) in [("events", 1), ("moments", 1), ("decisions", 1), ("sessions", 2)] {
            assert_eq!(export["data"][section].as_array().unwrap().len(), n, "{section}");
        }
        // Nothing is the anonymous user's any more, and nobody signs in as them.
        world.get(&format!("/v1/users/{}", anonymous.id), &world.app.server).await.refused(404, "not_found");
        world.get("/v1/me", &anonymous.token).await.refused(401, "unauthorized");
        let tables = "users:id consents:user_id devices:user_id links:user_id events:user_id moments:user_id decisions:user_id \
            choices:user_id messages:user_id sessions:user_id preferences:user_id positions:user_id lane_work:user_id epochs:key";
        for (table, column) in tables.split_whitespace().map(|pair| pair.split_once(':').unwrap()) {
            let left = format!("select count(*) from {table} where {column} = '{}'", anonymous.id);
            assert_eq!(world.number(&left).await, 0, "{table}");
        }
        // What is still on its way to them finds the account.
        let late = event(world, "late", &anonymous.id).await;
        assert_eq!((&late["disposition"], &late["user_id"]), (&json!("decided"), &json!(account.id)), "{late}");
        assert!(!begin(world, &account.id, &anonymous.id).await, "an account is nobody's history");
    }

    async fn a_grant_of_somebody_who_has_not_said_their_age_does_not_become_an_adults(world) {
        let (anonymous, account) = both_of(world).await;
        choose(world, &anonymous.token, "tips", true).await;
        choose(world, &anonymous.token, "ads", false).await;
        // The app begins to ask afterwards.
        let gate = json!({"settings": {"age_gate": {"minimum_years": 16}}});
        world.patch("/v1/app", &world.app.server, gate).await.expect(200);
        world.post("/v1/me/age", &account.token, json!({"birth_date": "1987-03-04"})).await.expect(200);
        assert!(begin(world, &anonymous.id, &account.id).await);
        world.drain().await;
        let consents = world.get("/v1/me/consents", &account.token).await.expect(200);
        let reason = |key: &str| {
            let all = consents["items"].as_array().unwrap();
            all.iter().find(|state| state["purpose"] == key).unwrap()["reason"].clone()
        };
        assert_eq!(["tips", "ads"].map(reason), [json!("not_granted"), json!("withdrawn")], "{consents}");
    }

    async fn what_waits_goes_out_to_the_account_and_what_was_heard_counts_for_it(world) {
        let (anonymous, account) = both_of(world).await;
        let caps = json!({"settings": {"caps": {"overall": [{"limit": 1, "window_ms": 86_400_000}]}}});
        world.patch("/v1/app", &world.app.server, caps).await.expect(200);
        choose(world, &anonymous.token, "ads", true).await;
        phone(world, &anonymous.id, "back").await;
        world.standin.inject(Rule::always(Fault::Answer { status: 503, reason: "UNAVAILABLE".into(), retry_after_s: None, timestamp_ms: None }));
        event(world, "waits", &anonymous.id).await;
        assert_eq!(world.number("select count(*) from messages where state = 'retry_at'").await, 1);
        assert!(begin(world, &anonymous.id, &account.id).await);
        world.drain().await;
        world.standin.heal();
        world.advance(Duration::from_secs(120)).await;
        assert_eq!(world.number(&format!("select count(*) from messages where state = 'accepted' and user_id = '{}'", account.id)).await, 1);
        event(world, "again", &account.id).await;
        let decisions = world.get(&format!("/v1/decisions?user={}&outcome=silent", account.id), &world.app.server).await.expect(200);
        assert_eq!(decisions["items"][0]["reason"], "overall_cap", "{decisions}");
    }

    async fn what_waits_is_revoked_where_the_account_has_refused_it(world) {
        let (anonymous, account) = both_of(world).await;
        choose(world, &anonymous.token, "ads", true).await;
        choose(world, &account.token, "ads", false).await;
        phone(world, &anonymous.id, "back").await;
        world.standin.inject(Rule::always(Fault::Answer { status: 503, reason: "UNAVAILABLE".into(), retry_after_s: None, timestamp_ms: None }));
        event(world, "waits", &anonymous.id).await;
        let handed_over = world.standin.ledger().len();
        let epoch = world.number("select consent_epoch from messages").await;
        assert!(begin(world, &anonymous.id, &account.id).await);
        world.drain().await;
        // That both users' epochs are the same number says nothing.
        let same = format!("update epochs set value = {epoch} where key = '{}'", account.id);
        world.kairos.platform.store.write(move |conn| conn.batch(&same)).await.unwrap();
        world.standin.heal();
        world.advance(Duration::from_secs(120)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'revoked'").await, 1);
        assert_eq!(world.standin.ledger().len(), handed_over);
    }

    async fn what_is_being_sent_and_waits_again_is_judged_by_the_accounts_ledger(world) {
        let (anonymous, account) = both_of(world).await;
        choose(world, &anonymous.token, "ads", true).await;
        choose(world, &account.token, "ads", false).await;
        phone(world, &anonymous.id, "back").await;
        // The gateway's answer is still to come when the two become one.
        world.standin.inject(Rule::always(Fault::Answer { status: 503, reason: "UNAVAILABLE".into(), retry_after_s: None, timestamp_ms: None }));
        event(world, "waits", &anonymous.id).await;
        let epoch = world.number("select consent_epoch from messages").await;
        let of = |state: &str| format!("update message_states set state = '{state}', sending_ms = 1 where state in ('retry_at', 'sending')");
        let sql = |text: String| world.kairos.platform.store.write(move |conn| conn.batch(&text));
        sql(of("sending")).await.unwrap();
        assert!(begin(world, &anonymous.id, &account.id).await);
        sql(of("retry_at")).await.unwrap();
        world.drain().await;
        sql(format!("update epochs set value = {epoch} where key = '{}'", account.id)).await.unwrap();
        let handed_over = world.standin.ledger().len();
        world.standin.heal();
        world.advance(Duration::from_secs(120)).await;
        assert_eq!(world.lines("select state as line from messages").await, ["revoked"]);
        assert_eq!(world.standin.ledger().len(), handed_over);
    }

    async fn an_account_that_is_erased_takes_the_history_that_is_on_its_way_along(world) {
        let (anonymous, account) = both_of(world).await;
        event(world, "before", &anonymous.id).await;
        assert!(begin(world, &anonymous.id, &account.id).await);
        world.delete("/v1/me", &account.token).await.expect(202);
        world.drain().await;
        world.advance(MINUTE).await;
        world.advance(MINUTE).await;
        let all = "select (select count(*) from users) + (select count(*) from merges) + (select count(*) from decisions) \
            + (select count(*) from events) + (select count(*) from epochs where scope = 'consent')";
        assert_eq!(world.number(all).await, 0);
        let late = event(world, "late", &anonymous.id).await;
        assert_eq!((&late["disposition"], late.get("subject")), (&json!("unknown_subject"), None), "{late}");
    }
}

fn extent() -> impl Strategy<Value = Extent> {
    let channel = prop_oneof![Just(None), Just(Some(Channel::Push)), Just(Some(Channel::Email))];
    (channel, proptest::option::of(0_u128..2)).prop_map(|(channel, partner)| Extent {
        purpose: "ads".to_owned(),
        channel,
        partner: partner.map(|n| PartnerId::from(uuid::Uuid::from_u128(n))),
    })
}

/// Rows of texts old and new, that last, are over or will be, given by the user or a guardian, of somebody of this age.
fn ledger(first: u128, asked: bool) -> impl Strategy<Value = Ledger> {
    let age = if asked {
        prop_oneof![Just(Age::Unstated), Just(Age::From(-1)), Just(Age::From(1))].boxed()
    } else {
        Just(Age::NotAsked).boxed()
    };
    let version = prop_oneof![3 => Just("2"), 1 => Just("1")];
    let expires_ms = prop_oneof![4 => Just(None), 1 => Just(Some(-1_i64)), 1 => Just(Some(1))];
    let rows = proptest::collection::vec((extent(), any::<bool>(), version, expires_ms, any::<bool>()), 0..5);
    (rows, age).prop_map(move |(rows, age)| {
        let row = |(n, (extent, granted, version, expires_ms, guardian)): (usize, (Extent, bool, &str, Option<i64>, bool))| {
            let id = ConsentId::from(uuid::Uuid::from_u128(first + u128::try_from(n).unwrap()));
            let text_version = granted.then(|| version.to_owned());
            let expires_ms = expires_ms.filter(|_| granted);
            Row { id, extent, granted, text_version, expires_ms, guardian: guardian && granted, voice: Voice::User }
        };
        Ledger { rows: rows.into_iter().enumerate().map(row).collect(), age, disabled: false }
    })
}

/// What of a ledger counts at this time: withdrawals, and grants that allow something.
fn that_counts(ledger: &Ledger, now_ms: i64) -> Ledger {
    let of_age = match ledger.age {
        Age::NotAsked => true,
        Age::From(at_ms) => at_ms <= now_ms,
        Age::Unstated => false,
    };
    let counts = |row: &&Row| {
        let grant = row.text_version.as_deref() == Some("2") && row.expires_ms.is_none_or(|at_ms| at_ms > now_ms);
        !row.granted || grant && (row.guardian || of_age)
    };
    Ledger { rows: ledger.rows.iter().filter(counts).cloned().collect(), ..ledger.clone() }
}

fn ads() -> Purposes {
    let version = |version: &str, re_ask| Version { version: version.to_owned(), re_ask };
    let versions = vec![version("1", false), version("2", true)];
    Purposes::new(vec![("ads".to_owned(), Purpose { basis: Basis::Consent, versions })])
}

/// A ledger of the channel, the partner, whether it is a grant, and when that ends.
fn ledger_of(first: u128, said: &[(Option<Channel>, Option<PartnerId>, bool, Option<i64>)]) -> Ledger {
    let row =
        |(n, (channel, partner, granted, expires_ms)): (u128, &(Option<Channel>, Option<PartnerId>, bool, Option<i64>))| Row {
            id: ConsentId::from(uuid::Uuid::from_u128(first + n)),
            extent: Extent { purpose: "ads".to_owned(), channel: *channel, partner: *partner },
            granted: *granted,
            text_version: granted.then(|| "2".to_owned()),
            expires_ms: *expires_ms,
            guardian: false,
            voice: Voice::User,
        };
    Ledger { rows: (0..).zip(said).map(row).collect(), ..Ledger::default() }
}

fn merged(own: &Ledger, theirs: &Ledger) -> Ledger {
    let carried = own.carried_over(theirs, &ads(), 0);
    Ledger { rows: own.rows.iter().chain(carried).cloned().collect(), ..own.clone() }
}

#[test]
fn a_grant_that_was_ended_has_lifted_what_was_withdrawn_before_it_also_for_the_account() {
    let (push, partner) = (Some(Channel::Push), PartnerId::from(uuid::Uuid::from_u128(1)));
    let said = [
        (push, None, false, None),
        (push, Some(partner), true, None),
        (None, None, false, None),
        (None, Some(partner), true, None),
    ];
    let (theirs, need) = (ledger_of(100, &said), Need::of_partner("ads", partner));
    let after = merged(&Ledger::default(), &theirs);
    assert!(theirs.standing(&ads(), &need, 0).permits());
    assert_eq!(after.standing(&ads(), &need, 0), theirs.standing(&ads(), &need, 0));
}

#[test]
fn what_is_carried_over_allows_no_longer_than_the_accounts_own_grant() {
    let (push, need) = (Some(Channel::Push), Need::of("ads"));
    let own = ledger_of(0, &[(None, None, false, None), (push, None, true, Some(2))]);
    for (ends_ms, at_the_merge) in [(None, false), (Some(3), false), (Some(2), true), (Some(1), true)] {
        let after = merged(&own, &ledger_of(100, &[(push, None, false, None), (push, None, true, ends_ms)]));
        assert_eq!(after.standing(&ads(), &need, 0).permits(), at_the_merge, "{ends_ms:?}");
        assert!(!after.standing(&ads(), &need, 2).permits(), "{ends_ms:?}: the withdrawal stands again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn a_merge_allows_nothing_that_either_ledger_had_refused_and_nothing_that_neither_had_granted(
        (own, theirs) in any::<bool>().prop_flat_map(|asked| (ledger(0, asked), ledger(100, asked)))
    ) {
        let purposes = ads();
        let merged = merged(&own, &theirs);
        let app = Need::of("ads");
        let partners = [0, 1].map(|n| Need::of_partner("ads", PartnerId::from(uuid::Uuid::from_u128(n))));
        // At the merge, and after grants have ended and people have come of age.
        for (need, now_ms) in [&app, &partners[0], &partners[1]].into_iter().flat_map(|need| [(need, 0), (need, 2)]) {
            let [before, other, after] = [&own, &theirs, &merged].map(|ledger| ledger.standing(&purposes, need, now_ms));
            let refuses = |ledger: &Ledger| {
                let withdrawn = Standing::Refused(Reason::Withdrawn);
                [ledger, &that_counts(ledger, now_ms)].map(|ledger| ledger.standing(&purposes, need, now_ms)).contains(&withdrawn)
            };
            let refused = refuses(&own) || refuses(&theirs);
            prop_assert!(!(refused && after.permits()), "{need:?} at {now_ms}: {before:?} and {other:?} give {after:?}");
            // Later a grant that stayed behind for its giver's age might have come to count, and taken the place of another.
            let granted = now_ms > 0 || before.permits() || other.permits();
            prop_assert!(granted || !after.permits(), "{need:?} at {now_ms}: {before:?} and {other:?} give {after:?}");
            let both_of_age = [own.age, theirs.age].iter().all(|age| matches!(age, Age::NotAsked | Age::From(-1)));
            let silent = own.rows.is_empty() && both_of_age;
            prop_assert!(!silent || other == after, "{need:?}: an account that said nothing takes everything over");
        }
    }
}
