//! Profiles: typed attributes under conditional writes, preferences that change only what is named, and the server's side.

use crate::consent::signed_in;
use crate::world::{Caller, World};
use kairos::error::FieldError;
use kairos::http::FreeJson;
use kairos::id::{ConsentId, DeviceId, UserId};
use kairos::people::consent::{self, Channel, Extent, Grant, Need, Source};
use kairos::people::device::{self, Environment, Platform, PushPermission, Registration, Traits};
use kairos::people::profile::{
    self, Attribute, AttributeKind, AttributeScope, Declared, NewUser, Preferences, PreferencesPatch, Topic, Topics, Writer,
    Writers, Writes, apply,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn declared() -> Declared {
    use AttributeKind::{Boolean, List, Number, String, Time};
    let kinds = [("tier", String), ("miles", Number), ("vip", Boolean), ("born", Time), ("tags", List)];
    kinds.map(|(key, kind)| (key.to_owned(), Attribute::new(AttributeScope::User, key, kind))).into()
}

fn merge(
    declared: &Declared,
    current: &Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<FieldError>> {
    apply(declared, Writer::User, current, &Writes::patch(patch.clone()))
}

#[test]
fn each_kind_of_attribute_takes_its_own_values_and_no_others() {
    let samples = json!({
        "tier": ["gold", ""], "miles": [0, -1.5, 1e300], "vip": [true, false],
        "born": ["2026-01-31T08:30:00Z", "2026-01-31T08:30:00.123+02:00"], "tags": [[], ["a", "b"]],
    });
    for (key, Attribute { kind, .. }) in declared() {
        for (of, values) in object(&samples) {
            for value in values.as_array().unwrap() {
                // A time is a text too, so the kind `string` takes it.
                let fits = of == key || (key == "tier" && of == "born");
                assert_eq!(kind.fault(value).is_none(), fits, "{key} with {value}");
            }
        }
        assert!(kind.fault(&json!({"a": 1})).is_some() && kind.fault(&Value::Null).is_some());
    }
    assert!(AttributeKind::String.fault(&json!("x".repeat(1025))).is_some());
    assert!(AttributeKind::List.fault(&json!(vec!["x"; 101])).is_some());
    assert!(AttributeKind::List.fault(&json!(["x".repeat(257)])).is_some());
    assert!(AttributeKind::List.fault(&json!(["a", 1])).is_some());
    assert!(AttributeKind::Time.fault(&json!("yesterday")).is_some());
}

#[test]
fn a_patch_names_every_field_at_fault_and_changes_nothing_then() {
    let current = object(&json!({"tier": "gold"}));
    let faults =
        merge(&declared(), &current, &object(&json!({"tier": 1, "miles": 5, "__proto__": {}, "admin": true}))).unwrap_err();
    let fields: Vec<(&str, &str)> = faults.iter().map(|f| (f.field.as_str(), f.code)).collect();
    assert_eq!(fields, [("attributes.__proto__", "unknown"), ("attributes.admin", "unknown"), ("attributes.tier", "invalid")]);
    let merged = merge(&declared(), &current, &object(&json!({"tier": null, "miles": 5}))).unwrap();
    assert_eq!(Value::Object(merged), json!({"miles": 5}));
}

fn writes(value: &Value) -> Writes {
    let part = |name: &str| value.get(name).map(object).unwrap_or_default();
    Writes { attributes: part("attributes"), increment: part("increment"), append: part("append"), set_once: part("set_once") }
}

/// What comes of one change, or the fields and codes of its refusal.
fn written(current: &Value, change: &Value) -> Result<Value, Vec<(String, &'static str)>> {
    let done = apply(&declared(), Writer::User, &object(current), &writes(change));
    done.map(Value::Object).map_err(|faults| faults.into_iter().map(|f| (f.field, f.code)).collect())
}

#[test]
fn operations_add_append_and_set_once() {
    for (current, change, after) in [
        (json!({}), json!({"increment": {"miles": 2}}), json!({"miles": 2})),
        (json!({"miles": 5}), json!({"increment": {"miles": -7}}), json!({"miles": -2})),
        (json!({"miles": 5}), json!({"increment": {"miles": 0.5}}), json!({"miles": 5.5})),
        (
            json!({"miles": 9_007_199_254_740_993_u64}),
            json!({"increment": {"miles": 1}}),
            json!({"miles": 9_007_199_254_740_994_u64}),
        ),
        (json!({"miles": i64::MAX}), json!({"increment": {"miles": 1}}), json!({"miles": 1_u64 << 63})),
        (json!({}), json!({"append": {"tags": ["a", "b", "a"]}}), json!({"tags": ["a", "b"]})),
        (json!({"tags": ["b"]}), json!({"append": {"tags": ["a", "b"]}}), json!({"tags": ["b", "a"]})),
        (json!({}), json!({"append": {"tags": []}}), json!({})),
        (json!({}), json!({"set_once": {"tier": "gold"}}), json!({"tier": "gold"})),
        (json!({"tier": "tin"}), json!({"set_once": {"tier": "gold"}}), json!({"tier": "tin"})),
        (
            json!({"vip": true}),
            json!({"attributes": {"vip": null}, "increment": {"miles": 1}, "append": {"tags": ["a"]}, "set_once": {"tier": "x"}}),
            json!({"miles": 1, "tags": ["a"], "tier": "x"}),
        ),
    ] {
        assert_eq!(written(&current, &change), Ok(after), "{current} {change}");
    }
}

#[test]
fn an_operation_that_cannot_be_done_is_refused_by_its_field_and_nothing_is_written() {
    let full: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for (current, change, field, code) in [
        (json!({}), json!({"increment": {"tier": 1}}), "increment.tier", "invalid"),
        (json!({}), json!({"increment": {"miles": "1"}}), "increment.miles", "invalid"),
        (json!({}), json!({"increment": {"miles": null}}), "increment.miles", "invalid"),
        (json!({"miles": 1e308}), json!({"increment": {"miles": 1e308}}), "increment.miles", "out_of_range"),
        (json!({"miles": u64::MAX}), json!({"increment": {"miles": 1}}), "increment.miles", "out_of_range"),
        (json!({"miles": i64::MIN}), json!({"increment": {"miles": -1}}), "increment.miles", "out_of_range"),
        (json!({}), json!({"append": {"tags": "a"}}), "append.tags", "invalid"),
        (json!({}), json!({"append": {"tags": [1]}}), "append.tags", "invalid"),
        (json!({}), json!({"append": {"tier": ["a"]}}), "append.tier", "invalid"),
        (json!({}), json!({"append": {"tags": ["x".repeat(257)]}}), "append.tags", "too_long"),
        (json!({"tags": full}), json!({"append": {"tags": ["one more"]}}), "append.tags", "too_long"),
        (json!({}), json!({"set_once": {"miles": "far"}}), "set_once.miles", "invalid"),
        (json!({"miles": 1}), json!({"set_once": {"miles": "far"}}), "set_once.miles", "invalid"),
        (json!({}), json!({"set_once": {"tier": null}}), "set_once.tier", "invalid"),
        (json!({}), json!({"set_once": {"nothing": 1}}), "set_once.nothing", "unknown"),
        (json!({}), json!({"attributes": {"miles": 1}, "increment": {"miles": 1}}), "increment.miles", "duplicate"),
        (json!({}), json!({"increment": {"miles": 1}, "set_once": {"miles": 1}}), "set_once.miles", "duplicate"),
        (json!({}), json!({"attributes": {"tags": null}, "append": {"tags": ["a"]}}), "append.tags", "duplicate"),
    ] {
        assert_eq!(written(&current, &change), Err(vec![(field.to_owned(), code)]), "{current} {change}");
    }
    assert_eq!(written(&json!({"tags": full}), &json!({"append": {"tags": ["7"]}})), Ok(json!({"tags": full})), "it is there");
}

#[test]
fn only_who_may_write_an_attribute_writes_it_in_whatever_way() {
    let mut declared = declared();
    declared.get_mut("tier").unwrap().writers = Writers::Server;
    declared.get_mut("miles").unwrap().writers = Writers::User;
    let current = object(&json!({"tier": "gold", "miles": 1}));
    for (change, writer, field) in [
        (json!({"attributes": {"tier": "tin"}}), Writer::User, "attributes.tier"),
        (json!({"attributes": {"tier": null}}), Writer::User, "attributes.tier"),
        (json!({"set_once": {"tier": "tin"}}), Writer::User, "set_once.tier"),
        (json!({"increment": {"miles": 1}}), Writer::Server, "increment.miles"),
    ] {
        let faults = apply(&declared, writer, &current, &writes(&change)).unwrap_err();
        assert_eq!((faults[0].field.as_str(), faults[0].code, faults.len()), (field, "not_writable", 1));
        let other = if writer == Writer::User { Writer::Server } else { Writer::User };
        assert!(apply(&declared, other, &current, &writes(&change)).is_ok(), "{change}");
    }
    for writer in [Writer::User, Writer::Server] {
        assert!(apply(&declared, writer, &current, &writes(&json!({"attributes": {"vip": true}}))).is_ok());
    }
}

/// JSON of any shape, its keys those that other languages and databases trip over, and the declared ones among them.
fn hostile() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("2026-01-31T08:30:00Z")),
        Just(json!("gold")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), hostile_map(inner).prop_map(Value::Object),]
    })
}

fn hostile_map(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let names = vec![
        "tier",
        "miles",
        "vip",
        "born",
        "tags",
        "__proto__",
        "constructor",
        "prototype",
        "$inc",
        "$set",
        "tier.x",
        "attributes.tier",
        "attributes",
        "id",
        "user_id",
        "app_id",
        "revision",
        "disabled",
        "anonymous",
        "external_id",
        "Tier",
        "tier ",
        "TIER",
        "",
        "..",
        "toString",
        "hasOwnProperty",
        "ti\u{0}er",
        "тier",
        "increment",
        "writers",
        "0",
    ];
    let key = prop_oneof![4 => prop::sample::select(names).prop_map(str::to_owned), 1 => ".{0,6}".prop_map(|text| text)];
    prop::collection::btree_map(key, value, 0..4).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn nothing_but_declared_attributes_of_their_kind_is_ever_written(
        parts in prop::collection::vec(hostile_map(hostile()), 4), before in hostile_map(hostile()), by_user in any::<bool>(),
    ) {
        let declared = declared();
        let by = if by_user { Writer::User } else { Writer::Server };
        // What is brought in from elsewhere takes the same way into an empty profile.
        let before = apply(&declared, by, &Map::new(), &Writes::patch(before)).unwrap_or_default();
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let writes = Writes { attributes: next(), increment: next(), append: next(), set_once: next() };
        let all = [&writes.attributes, &writes.increment, &writes.append, &writes.set_once];
        let foreign = all.iter().flat_map(|part| part.keys()).any(|key| !declared.contains_key(key));
        match apply(&declared, by, &before, &writes) {
            Ok(after) => {
                prop_assert!(!foreign, "an undeclared name was swallowed");
                for (key, value) in &after {
                    prop_assert!(declared.get(key).is_some_and(|attribute| attribute.fault(value).is_none()), "{} {}", key, value);
                    prop_assert!(before.get(key) == Some(value) || all.iter().any(|part| part.contains_key(key)), "{} was not named", key);
                }
            }
            Err(faults) => prop_assert!(!faults.is_empty() && faults.len() <= 50),
        }
    }
}

fn any_patch() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![Just(Value::Null), Just(json!("x")), Just(json!(1)), Just(json!(true)), Just(json!(["t"]))];
    let key = prop::sample::select(vec!["tier", "miles", "vip", "tags", "other"]);
    prop::collection::btree_map(key.prop_map(str::to_owned), value, 0..5).prop_map(|m| m.into_iter().collect())
}

proptest! {
    #[test]
    fn a_merge_leaves_alone_what_it_does_not_name(first in any_patch(), second in any_patch()) {
        let Ok(before) = merge(&declared(), &Map::new(), &first) else { return Ok(()) };
        prop_assert!(before.iter().all(|(key, value)| declared()[key].fault(value).is_none()));
        let Ok(after) = merge(&declared(), &before, &second) else { return Ok(()) };
        for key in declared().keys() {
            match second.get(key) {
                None => prop_assert_eq!(after.get(key), before.get(key)),
                Some(Value::Null) => prop_assert_eq!(after.get(key), None),
                Some(value) => prop_assert_eq!(after.get(key), Some(value)),
            }
        }
        prop_assert_eq!(merge(&declared(), &after, &second).unwrap(), after, "twice is once");
    }
}

#[test]
fn topics_follow_the_choice_then_the_default_and_critical_ones_are_always_on() {
    let topic = |key: &str, default_on, critical| {
        (key.to_owned(), Topic { key: key.to_owned(), name: key.to_owned(), default_on, critical, created_ms: 0 })
    };
    let topics = Topics([topic("deals", false, false), topic("news", true, false), topic("gate", false, true)].into());
    let mut mine = Preferences::default();
    let on = |mine: &Preferences| ["deals", "news", "gate", "nothing"].map(|key| topics.on(key, mine));
    assert_eq!(on(&mine), [Some(false), Some(true), Some(true), None]);
    let patch = |value: Value| serde_json::from_value::<PreferencesPatch>(value).unwrap();
    mine = mine.changed(&topics, patch(json!({"topics": {"deals": true, "news": false}}))).unwrap();
    assert_eq!(on(&mine), [Some(true), Some(false), Some(true), None]);
    mine = mine.changed(&topics, patch(json!({"topics": {"news": null}}))).unwrap();
    assert_eq!(on(&mine), [Some(true), Some(true), Some(true), None]);
    assert!(mine.changed(&topics, patch(json!({"topics": {"gate": false}}))).is_err());
    assert!(mine.channel_on(Channel::Push));
    mine = mine.changed(&topics, patch(json!({"channels": {"push": false}}))).unwrap();
    assert!(!mine.channel_on(Channel::Push) && mine.channel_on(Channel::Email));
}

async fn declare(world: &World) {
    for (key, Attribute { kind, .. }) in declared() {
        let body = json!({"scope": "user", "key": key, "kind": kind});
        world.post("/v1/attributes", &world.app.server, body).await.expect(201);
    }
}

both! {
    async fn a_profile_is_patched_under_its_revision(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        let read = world.get("/v1/me", &me).await;
        assert_eq!((read.header("etag"), &read.expect(200)["id"]), (Some("\"v1\""), &json!(user)));
        let patch = |tag: &str, body: Value| world.call("PATCH", "/v1/me").by(&me).header("If-Match", tag).json(&body).send();
        let done = patch("\"v1\"", json!({"attributes": {"tier": "gold", "miles": 12}, "locale": "fr-CH"})).await;
        assert_eq!(done.header("etag"), Some("\"v2\""));
        assert_eq!(done.expect(200)["attributes"], json!({"tier": "gold", "miles": 12}));
        for stale in ["\"v1\"", "W/\"v2\"", "v2", "nonsense"] {
            patch(stale, json!({"attributes": {"tier": "tin"}})).await.refused(412, "revision_mismatch");
        }
        for fresh in ["\"v2\"", "\"v1\", \"v2\"", "*"] {
            patch(fresh, json!({"attributes": {"tier": "gold"}})).await.expect(200);
        }
        let same = world.patch("/v1/me", &me, json!({})).await;
        assert_eq!(same.header("etag"), Some("\"v2\""), "what changes nothing keeps the revision");
        let less = world.patch("/v1/me", &me, json!({"attributes": {"tier": null}, "locale": null})).await.expect(200);
        assert_eq!((&less["attributes"], less.get("locale")), (&json!({"miles": 12}), None));
        assert_eq!(world.get("/v1/me", &me).await.expect(200), less);
    }

    async fn of_sixty_four_writers_of_one_revision_one_wins(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        let call = |n: usize| world.call("PATCH", "/v1/me").by(&me).header("If-Match", "\"v1\"").json(&json!({"attributes": {"miles": n}})).send();
        let calls: Vec<_> = (0..64).map(|n| tokio::spawn(call(n))).collect();
        let mut won = 0;
        for call in calls {
            match call.await.unwrap() {
                answer if answer.status == 200 => won += 1,
                answer => drop(answer.refused(412, "revision_mismatch")),
            }
        }
        assert_eq!(won, 1);
    }

    async fn what_is_wrong_with_a_profile_is_named_and_server_made_fields_are_refused(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        let before = world.get("/v1/me", &me).await.expect(200);
        for (body, field) in [
            (json!({"attributes": {"tier": 1}}), "attributes.tier"),
            (json!({"attributes": {"height": 1}}), "attributes.height"),
            (json!({"attributes": {"__proto__": {"a": 1}}}), "attributes.__proto__"),
            (json!({"attributes": 7}), "attributes"),
            (json!({"locale": "xx_YY"}), "locale"),
            (json!({"time_zone": "Mars/Olympus"}), "time_zone"),
            (json!({"time_zone": 1}), "time_zone"),
            (json!({"id": "usr_1"}), "id"),
            (json!({"external_id": "crm-1"}), "external_id"),
            (json!({"anonymous": false}), "anonymous"),
            (json!({"zone": "UTC"}), "zone"),
            (json!({"disabled": true}), "disabled"),
            (json!({"revision": 9}), "revision"),
            (json!({"created_at": "2020-01-01T00:00:00Z"}), "created_at"),
        ] {
            world.patch("/v1/me", &me, body).await.refused_field(400, "validation_failed", field);
        }
        let send = |text: &'static str| world.call("PATCH", "/v1/me").by(&me).text("application/merge-patch+json", text).send();
        send(r#"{"attributes":{"tier":"a","tier":"b"}}"#).await.refused(400, "validation_failed");
        send(r#"{"locale":"de","locale":"fr"}"#).await.refused(400, "validation_failed");
        send(r#"{"attributes":{"tier":"\u0000"}}"#).await.refused(400, "validation_failed");
        world.call("PATCH", "/v1/me").by(&me).text("text/plain", "{}").send().await.refused(415, "unsupported_media_type");
        for nothing in ["", " \n"] {
            let refusal = send(nothing).await.refused_field(400, "validation_failed", "body");
            assert_eq!(refusal["errors"][0]["code"], "required", "{refusal}");
        }
        assert_eq!(world.get("/v1/me", &me).await.expect(200), before);
        send(r#"{"attributes":{"tier":"a"}}"#).await.expect(200);
    }

    async fn preferences_change_only_what_is_named(world) {
        for (key, default_on, critical) in [("deals", false, false), ("news", true, false), ("gate", true, true)] {
            let body = json!({"key": key, "name": key, "default_on": default_on, "critical": critical});
            world.post("/v1/topics", &world.app.server, body).await.expect(201);
        }
        let (user, me) = signed_in(world, &world.app).await;
        let path = "/v1/me/preferences";
        let fresh = world.get(path, &me).await;
        assert_eq!(fresh.header("etag"), Some("\"v0\""));
        assert_eq!(fresh.expect(200)["topics"], json!({"deals": false, "gate": true, "news": true}));
        assert_eq!(fresh.json()["channels"], json!({"push": true, "email": true, "sms": true, "in_app": true}));
        let quiet = json!({"from": "22:00", "to": "07:30", "zone": "europe/zurich"});
        world.patch(path, &me, json!({"topics": {"deals": true}, "quiet_hours": quiet})).await.expect(200);
        world.patch(path, &me, json!({"frequency": {"limit": 3, "window_ms": 86_400_000}})).await.expect(200);
        let done = world.patch(path, &me, json!({"topics": {"news": false}, "pause_until": world.time(3600), "channels": {"sms": false}})).await;
        assert_eq!(done.header("etag"), Some("\"v3\""));
        let all = done.expect(200);
        assert_eq!(all["topics"], json!({"deals": true, "gate": true, "news": false}));
        assert_eq!(all["quiet_hours"], json!({"from": "22:00", "to": "07:30", "zone": "Europe/Zurich"}));
        assert_eq!((&all["frequency"]["limit"], &all["pause_until"]), (&json!(3), &json!(world.time(3600))));
        let server = world.get(&format!("/v1/users/{user}/preferences"), &world.app.server).await.expect(200);
        assert_eq!(server, all);
        let less = world.patch(path, &me, json!({"quiet_hours": null, "pause_until": null, "frequency": null, "topics": {"deals": null}})).await.expect(200);
        assert_eq!((less.get("quiet_hours"), less.get("pause_until"), less.get("frequency")), (None, None, None));
        assert_eq!((&less["topics"]["deals"], &less["topics"]["news"], &less["channels"]["sms"]), (&json!(false), &json!(false), &json!(false)));
        world.call("PATCH", path).by(&me).header("If-Match", "\"v1\"").json(&json!({})).send().await.refused(412, "revision_mismatch");
    }

    async fn preferences_that_cannot_be_meant_are_refused_by_their_field(world) {
        world.post("/v1/topics", &world.app.server, json!({"key": "gate", "name": "Gate", "critical": true})).await.expect(201);
        let (_, me) = signed_in(world, &world.app).await;
        for (body, field) in [
            (json!({"topics": {"gate": false}}), "topics.gate"),
            (json!({"topics": {"nothing": true}}), "topics.nothing"),
            (json!({"topics": {"gate": "on"}}), "topics.gate"),
            (json!({"topics": ["gate"]}), "topics"),
            (json!({"channels": {"push": 1}}), "channels.push"),
            (json!({"quiet_hours": {"from": "24:00", "to": "07:00"}}), "quiet_hours.from"),
            (json!({"quiet_hours": {"from": "22:00", "to": "7:00"}}), "quiet_hours.to"),
            (json!({"quiet_hours": {"from": "22:00"}}), "quiet_hours.to"),
            (json!({"quiet_hours": {"from": "22:00", "to": "07:00", "zone": "Nowhere"}}), "quiet_hours.zone"),
            (json!({"quiet_hours": {"from": "22:00", "to": "07:00", "days": []}}), "quiet_hours.days"),
            (json!({"frequency": {"limit": 0, "window_ms": 86_400_000}}), "frequency.limit"),
            (json!({"frequency": {"limit": 1, "window_ms": 1}}), "frequency.window_ms"),
            (json!({"frequency": {"limit": -1, "window_ms": 86_400_000}}), "frequency.limit"),
            (json!({"pause_until": "tomorrow"}), "pause_until"),
            (json!({"pause": true}), "pause"),
            (json!({"revision": 1}), "revision"),
        ] {
            world.patch("/v1/me/preferences", &me, body).await.refused_field(400, "validation_failed", field);
        }
        world.patch("/v1/me/preferences", &me, json!({"channels": {"fax": true}})).await.refused(400, "validation_failed");
        let twice = r#"{"topics":{"gate":true,"gate":null}}"#;
        let answer = world.call("PATCH", "/v1/me/preferences").by(&me).text("application/json", twice).send().await;
        answer.refused(400, "validation_failed");
        assert_eq!(world.number("select count(*) from preferences").await, 0);
    }

    async fn the_server_makes_finds_and_changes_users(world) {
        declare(world).await;
        let server = &world.app.server;
        let body = json!({"external_id": "crm-1", "attributes": {"tier": "gold"}, "locale": "de", "time_zone": "Europe/Berlin"});
        let made = world.post("/v1/users", server, body.clone()).await;
        let user = made.expect(201);
        let path = made.header("location").unwrap().to_owned();
        assert_eq!((&user["zone"], &user["anonymous"]), (&json!("Europe/Berlin"), &json!(false)));
        world.post("/v1/users", server, body).await.refused_field(409, "already_exists", "external_id");
        let other = world.post("/v1/users", server, json!({})).await.expect(201);
        let found = world.get("/v1/users?external_id=crm-1", server).await.expect(200);
        assert_eq!(found["items"], json!([user]));
        assert_eq!(world.get("/v1/users?external_id=crm-2", server).await.expect(200)["items"], json!([]));
        let page = world.get("/v1/users?limit=1", server).await.expect(200);
        assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&user["id"], &user["id"]));
        let rest = world.get(&format!("/v1/users?cursor={}", page["next_cursor"].as_str().unwrap()), server).await.expect(200);
        assert_eq!(rest["items"][0]["id"], other["id"]);
        world.patch(&format!("/v1/users/{}", other["id"].as_str().unwrap()), server, json!({"external_id": "crm-1"})).await
            .refused_field(409, "already_exists", "external_id");
        let moved = world.patch(&path, server, json!({"external_id": null, "time_zone": null})).await.expect(200);
        assert_eq!((moved.get("external_id"), moved.get("zone")), (None, None));
        world.call("PATCH", &path).by(server).header("If-Match", "\"v1\"").json(&json!({})).send().await.refused(412, "revision_mismatch");
        for (query, field) in [("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("page=2", "page"), ("cursor=%00", "cursor")] {
            let answer = world.get(&format!("/v1/users?{query}"), server).await;
            if field == "limit" && query == "limit=x" { answer.refused(400, "validation_failed") } else { answer.refused_field(400, "validation_failed", field) };
        }
        for (body, field) in [(json!({"external_id": ""}), "external_id"), (json!({"external_id": "x".repeat(201)}), "external_id"), (json!({"id": "usr_1"}), "id")] {
            world.post("/v1/users", server, body).await.refused_field(400, "validation_failed", field);
        }
    }

    async fn a_user_of_another_app_is_not_there(world) {
        let (user, me) = signed_in(world, &world.app).await;
        let other = world.new_app("Other").await;
        let path = format!("/v1/users/{user}");
        for answer in [
            world.get(&path, &other.server).await,
            world.patch(&path, &other.server, json!({"locale": "de"})).await,
            world.get(&format!("{path}/preferences"), &other.server).await,
            world.patch(&format!("{path}/preferences"), &other.server, json!({})).await,
            world.get("/v1/users/usr_1", &world.app.server).await,
            world.get("/v1/users/%00", &world.app.server).await,
            world.get("/v1/topics/nothing", &world.app.server).await,
            world.patch("/v1/attributes/thing/nothing", &world.app.server, json!({"settle_ms": 1})).await,
            world.patch("/v1/attributes/place/nothing", &world.app.server, json!({"settle_ms": 1})).await,
        ] {
            answer.refused(404, "not_found");
        }
        assert_eq!(world.get("/v1/users", &other.server).await.expect(200)["items"], json!([]));
        world.get("/v1/users", &me).await.refused(401, "unauthorized");
        world.get("/v1/me", &world.app.server).await.refused(401, "unauthorized");
        world.get("/v1/me", &Caller::Nobody).await.refused(401, "unauthorized");
    }

    async fn a_key_does_only_what_its_scopes_say(world) {
        let (user, _) = signed_in(world, &world.app).await;
        let body = json!({"kind": "server", "name": "reader", "scopes": ["users:read"]});
        let key = world.post("/v1/keys", &world.app.server, body).await.expect(201);
        let reader = Caller::Bearer(key["secret"].as_str().unwrap().to_owned());
        world.get(&format!("/v1/users/{user}"), &reader).await.expect(200);
        world.post("/v1/users", &reader, json!({})).await.refused(403, "missing_scope");
        world.post(&format!("/v1/users/{user}/consents"), &reader, json!({"purpose": "location", "granted": false})).await.refused(403, "missing_scope");
        world.put(&format!("/v1/users/{user}/devices/x"), &reader, json!({"platform": "ios"})).await.refused(403, "missing_scope");
        world.get("/v1/topics", &reader).await.refused(403, "missing_scope");
    }

    async fn attributes_and_topics_are_declared_once_and_checked(world) {
        let server = &world.app.server;
        let thing = json!({"scope": "thing", "key": "on_ground", "kind": "boolean", "settle_ms": 120_000});
        let made = world.post("/v1/attributes", server, thing.clone()).await.expect(201);
        assert_eq!(made["settle_ms"], 120_000);
        world.post("/v1/attributes", server, thing).await.refused(409, "already_exists");
        world.post("/v1/attributes", server, json!({"scope": "user", "key": "on_ground", "kind": "string"})).await.expect(201);
        for (body, field) in [
            (json!({"scope": "user", "key": "a b", "kind": "string"}), "key"),
            (json!({"scope": "user", "key": "a.b", "kind": "string"}), "key"),
            (json!({"scope": "place", "key": "a", "kind": "string"}), "scope"),
            (json!({"scope": "user", "key": "a", "kind": "blob"}), "kind"),
            (json!({"scope": "user", "key": "a", "kind": "string", "settle_ms": 5}), "settle_ms"),
            (json!({"scope": "thing", "key": "a", "kind": "string", "settle_ms": -5}), "settle_ms"),
        ] {
            world.post("/v1/attributes", server, body).await.refused_field(400, "validation_failed", field);
        }
        let page = world.get("/v1/attributes?limit=1", server).await.expect(200);
        assert_eq!(page["items"][0]["scope"], "thing");
        let rest = world.get(&format!("/v1/attributes?cursor={}", page["next_cursor"].as_str().unwrap()), server).await.expect(200);
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["items"][0]["scope"]), (1, &json!("user")));
        let patched = world.patch("/v1/attributes/thing/on_ground", server, json!({"settle_ms": null})).await.expect(200);
        assert!(patched.get("settle_ms").is_none());
        world.post("/v1/topics", server, json!({"key": "deals", "name": "Deals"})).await.expect(201);
        world.post("/v1/topics", server, json!({"key": "deals", "name": "Deals"})).await.refused(409, "already_exists");
        world.post("/v1/topics", server, json!({"key": "1", "name": "Deals"})).await.refused_field(400, "validation_failed", "key");
        let topic = world.patch("/v1/topics/deals", server, json!({"default_on": true})).await.expect(200);
        assert_eq!((&topic["name"], &topic["default_on"]), (&json!("Deals"), &json!(true)));
        world.patch("/v1/topics/deals", server, json!({"critical": true})).await.refused_field(400, "validation_failed", "critical");
    }

    async fn many_people_with_devices_and_consents_are_made_in_one_transaction(world) {
        const COUNT: usize = 1_200;
        let (app, now_ms, ids) = (world.app.id, world.now_ms(), world.kairos.platform.ids.clone());
        let users: Vec<NewUser> = (0..COUNT)
            .map(|n| NewUser { external_id: Some(format!("crm-{n}")), ..NewUser::bare(ids.next(), false, now_ms) })
            .collect();
        let consents: Vec<(UserId, ConsentId)> = users.iter().map(|u| (u.id, ids.next())).collect();
        let registrations: Vec<Registration> = users.iter().enumerate().map(|(n, user)| registration(ids.next(), user.id, n, now_ms)).collect();
        let grant = Grant {
            extent: Extent { purpose: "location".to_owned(), channel: None, partner: None },
            text_version: "1".to_owned(),
            evidence: FreeJson(object(&json!({"seed": true}))),
            source: Source::Seed,
            at_ms: now_ms,
        };
        let first = users[0].id;
        let made = world.kairos.platform.store.write(move |conn| {
            profile::create_many(conn, app, &users)?;
            device::register_many(conn, app, &registrations)?;
            consent::grant_many(conn, app, &consents, &grant)?;
            let users: Vec<UserId> = users.iter().map(|u| u.id).collect();
            Ok((profile::people(conn, app, &users)?, device::of_users(conn, app, &users)?, consent::ledgers(conn, app, &users)?, consent::purposes(conn, app)?))
        });
        let (people, devices, ledgers, purposes) = made.await.unwrap();
        assert_eq!((people.len(), devices.len(), ledgers.len()), (COUNT, COUNT, COUNT));
        assert!(people.values().all(|p| p.zone == "Europe/Paris"));
        assert!(ledgers.values().all(|ledger| ledger.standing(&purposes, &Need::of("location"), world.now_ms()).permits()));
        let found = world.kairos.platform.store.read(move |conn| profile::resolve_external(conn, app, &["crm-0".to_owned(), "crm-x".to_owned()]));
        assert_eq!(found.await.unwrap(), [("crm-0".to_owned(), first)].into());
    }
}

both! {
    async fn of_sixty_four_increments_at_once_none_is_lost(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        let path = format!("/v1/users/{user}");
        let body = json!({"increment": {"miles": 1}, "append": {"tags": ["seen"]}, "set_once": {"tier": "first"}});
        let call = |n: usize| {
            let (path, by) = if n.is_multiple_of(2) { ("/v1/me", &me) } else { (path.as_str(), &world.app.server) };
            world.call("PATCH", path).by(by).json(&body).send()
        };
        let calls: Vec<_> = (0..64).map(|n| tokio::spawn(call(n))).collect();
        for call in calls {
            call.await.unwrap().expect(200);
        }
        let after = world.get("/v1/me", &me).await;
        assert_eq!(after.header("etag"), Some("\"v65\""));
        assert_eq!(after.expect(200)["attributes"], json!({"miles": 64, "tags": ["seen"], "tier": "first"}));
    }

    async fn operations_go_through_either_door_and_refusals_change_nothing(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        let path = format!("/v1/users/{user}");
        world.patch("/v1/me", &me, json!({"attributes": {"miles": 1}})).await.expect(200);
        let before = world.get("/v1/me", &me).await.expect(200);
        let shapes = [
            (json!({"increment": {"miles": 1}, "attributes": {"miles": 5}}), "increment.miles"),
            (json!({"increment": {"miles": 1}, "set_once": {"admin": true}}), "set_once.admin"),
            (json!({"increment": {"__proto__": 1}}), "increment.__proto__"),
            (json!({"append": {"constructor": ["x"]}}), "append.constructor"),
            (json!({"set_once": {"tags.0": "x"}}), "set_once.tags.0"),
            (json!({"attributes": {"$inc": {"miles": 1}}}), "attributes.$inc"),
            (json!({"attributes": {"miles": {"$inc": 1}}}), "attributes.miles"),
            (json!({"attributes": {"tier": {"__proto__": {"a": 1}}}}), "attributes.tier"),
            (json!({"increment": {"miles": {"$gt": 0}}}), "increment.miles"),
            (json!({"increment": [1]}), "increment"),
            (json!({"append": "x"}), "append"),
            (json!({"$inc": {"miles": 1}}), "$inc"),
            (json!({"attributes.miles": 3}), "attributes.miles"),
            (json!({"__proto__": {"miles": 3}}), "__proto__"),
        ];
        for (body, field) in &shapes {
            world.patch("/v1/me", &me, body.clone()).await.refused_field(400, "validation_failed", field);
            world.patch(&path, &world.app.server, body.clone()).await.refused_field(400, "validation_failed", field);
            if body.get("increment").or(body.get("append")).or(body.get("set_once")).is_none() {
                world.post("/v1/users", &world.app.server, body.clone()).await.refused_field(400, "validation_failed", field);
            }
        }
        for text in [
            r#"{"increment":{"miles":1,"miles":2}}"#, r#"{"increment":{"miles":1},"increment":{"miles":2}}"#,
            r#"{"append":{"tags":["a"],"tags":["b"]}}"#, r#"{"set_once":{"tier":"a","tier":"b"}}"#,
            r#"{"attributes":{"tier":{"a":1,"a":2}}}"#, r#"{"increment":{"miles":1e999}}"#, r#"{"increment":{"miles":NaN}}"#,
            r#"{"append":{"tags":["\u0000"]}}"#,
        ] {
            let send = |to: &str, by: &Caller| world.call("PATCH", to).by(by).text("application/json", text).send();
            send("/v1/me", &me).await.refused(400, "validation_failed");
            send(&path, &world.app.server).await.refused(400, "validation_failed");
        }
        assert_eq!(world.get("/v1/me", &me).await.expect(200), before);
        assert_eq!(world.number("select count(*) from users").await, 1);
        let done = world.patch(&path, &world.app.server, json!({"increment": {"miles": 2}, "append": {"tags": ["a"]}})).await.expect(200);
        assert_eq!(done["attributes"], json!({"miles": 3, "tags": ["a"]}));
    }

    async fn an_attribute_says_who_may_write_it_and_what_it_takes(world) {
        let server = &world.app.server;
        for body in [
            json!({"scope": "user", "key": "status", "kind": "string", "writers": "server"}),
            json!({"scope": "user", "key": "diet", "kind": "string", "writers": "user", "options": ["all", "vegan"]}),
            json!({"scope": "user", "key": "likes", "kind": "list", "options": ["art", "sport"]}),
            json!({"scope": "user", "key": "size", "kind": "number", "options": [1, 2.5]}),
        ] {
            world.post("/v1/attributes", server, body).await.expect(201);
        }
        let (user, me) = signed_in(world, &world.app).await;
        let path = format!("/v1/users/{user}");
        world.patch("/v1/me", &me, json!({"attributes": {"status": "gold"}})).await.refused_field(400, "validation_failed", "attributes.status");
        world.patch("/v1/me", &me, json!({"set_once": {"status": "gold"}})).await.refused_field(400, "validation_failed", "set_once.status");
        world.patch(&path, server, json!({"attributes": {"diet": "all"}})).await.refused_field(400, "validation_failed", "attributes.diet");
        world.post("/v1/users", server, json!({"attributes": {"diet": "all"}})).await.refused_field(400, "validation_failed", "attributes.diet");
        for (change, field) in [
            (json!({"attributes": {"diet": "meat"}}), "attributes.diet"),
            (json!({"append": {"likes": ["war"]}}), "append.likes"),
            (json!({"increment": {"size": 2}}), "increment.size"),
        ] {
            world.patch("/v1/me", &me, change).await.refused_field(400, "validation_failed", field);
        }
        world.patch(&path, server, json!({"attributes": {"status": "gold"}})).await.expect(200);
        let good = json!({"attributes": {"diet": "vegan"}, "append": {"likes": ["art"]}, "increment": {"size": 1.0}});
        let all = world.patch("/v1/me", &me, good).await.expect(200);
        assert_eq!(all["attributes"], json!({"status": "gold", "diet": "vegan", "likes": ["art"], "size": 1.0}));
    }

    async fn what_an_attribute_is_for_is_declared_changed_and_checked(world) {
        let server = &world.app.server;
        let purpose = json!({"key": "profiling", "name": "P", "basis": "consent", "version": "1", "texts": {"en": "May we?"}});
        world.post("/v1/purposes", server, purpose).await.expect(201);
        let whole = json!({"scope": "user", "key": "diet", "kind": "string", "name": "Diet", "pii": true, "purpose": "profiling",
            "writers": "user", "question": {"en": "What do you eat?"}, "options": ["all", "vegan"]});
        let mut made = world.post("/v1/attributes", server, whole.clone()).await.expect(201);
        made.as_object_mut().unwrap().remove("created_at");
        assert_eq!(made, whole);
        let plain = world.post("/v1/attributes", server, json!({"scope": "user", "key": "plain", "kind": "boolean"})).await.expect(201);
        assert_eq!((&plain["pii"], &plain["writers"], plain.get("purpose")), (&json!(false), &json!("both"), None));
        world.post("/v1/attributes", server, json!({"scope": "thing", "key": "gate", "kind": "string", "name": "Gate"})).await.expect(201);
        for key in ["constructor", "prototype", "__proto__", "$inc", "a.b"] {
            let body = json!({"scope": "user", "key": key, "kind": "string"});
            world.post("/v1/attributes", server, body).await.refused_field(400, "validation_failed", "key");
        }
        for (to, change, field) in [
            ("user/diet", json!({"purpose": "nothing"}), "purpose"),
            ("user/diet", json!({"writers": "nobody"}), "writers"),
            ("user/diet", json!({"writers": "server"}), "question"),
            ("user/diet", json!({"question": {}}), "question"),
            ("user/diet", json!({"question": {"en": ""}}), "question.en"),
            ("user/diet", json!({"question": {"e_n": "What?"}}), "question"),
            ("user/diet", json!({"question": {"en": "x".repeat(301)}}), "question.en"),
            ("user/diet", json!({"options": []}), "options"),
            ("user/diet", json!({"options": [1]}), "options"),
            ("user/diet", json!({"options": ["a", "a"]}), "options"),
            ("user/plain", json!({"options": [true]}), "options"),
            ("user/diet", json!({"name": ""}), "name"),
            ("user/diet", json!({"pii": null}), "pii"),
            ("user/diet", json!({"kind": "number"}), "kind"),
            ("user/diet", json!({"key": "x"}), "key"),
            ("thing/gate", json!({"pii": true}), "pii"),
            ("thing/gate", json!({"purpose": "profiling"}), "purpose"),
            ("thing/gate", json!({"writers": "server"}), "writers"),
            ("thing/gate", json!({"question": {"en": "Which?"}}), "question"),
        ] {
            world.patch(&format!("/v1/attributes/{to}"), server, change).await.refused_field(400, "validation_failed", field);
        }
        let twice = r#"{"question":{"en":"a","en":"b"}}"#;
        let send = world.call("PATCH", "/v1/attributes/user/diet").by(server).text("application/json", twice).send();
        send.await.refused(400, "validation_failed");
        let page = world.get("/v1/attributes", server).await.expect(200);
        let mut kept = page["items"].as_array().unwrap().iter().find(|a| a["key"] == "diet").unwrap().clone();
        kept.as_object_mut().unwrap().remove("created_at");
        assert_eq!(kept, whole, "what is refused changes nothing");
        let bare = json!({"name": null, "pii": false, "purpose": null, "writers": "both", "question": null, "options": null});
        let mut less = world.patch("/v1/attributes/user/diet", server, bare).await.expect(200);
        less.as_object_mut().unwrap().remove("created_at");
        assert_eq!(less, json!({"scope": "user", "key": "diet", "kind": "string", "pii": false, "writers": "both"}));
        let back = json!({"purpose": "profiling", "question": {"de": "Was essen Sie?"}});
        let more = world.patch("/v1/attributes/user/diet", server, back).await.expect(200);
        assert_eq!((&more["purpose"], &more["question"]), (&json!("profiling"), &json!({"de": "Was essen Sie?"})));
    }
}

fn registration(id: DeviceId, user: UserId, n: usize, now_ms: i64) -> Registration {
    let traits = Traits {
        platform: Platform::Ios,
        token: Some(format!("{n:08x}")),
        environment: Environment::Production,
        topic: Some("com.example.app".to_owned()),
        locale: Some("fr".to_owned()),
        time_zone: Some("Europe/Paris".to_owned()),
        push_permission: PushPermission::Granted,
        app_version: None,
    };
    Registration { id, user, installation_id: format!("phone-{n}"), session: None, traits: traits.checked().unwrap(), now_ms }
}
