//! Devices: what a token looks like, whose it is, and who gets nothing any more.

use crate::consent::{declare_ads, signed_in};
use crate::world::{Caller, Person, World};
use actix_web::web::{Data, Path};
use futures_util::FutureExt as _;
use kairos::http::Body;
use kairos::id::{DeviceId, UserId};
use kairos::people::account::UserToken;
use kairos::people::account::http::{SignOutIn, session};
use kairos::people::device::{self, Device, Platform, Verdict};
use kairos::people::http::{consents, devices};
use kairos::people::profile::{self, NewUser};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

#[test]
fn a_token_has_the_shape_of_its_gateway() {
    let token = |platform: Platform, text: &str| platform.token(text).ok();
    assert_eq!(token(Platform::Ios, "00fCa1"), Some("00fca1".to_owned()), "hex in one form, so that it is compared as one");
    assert_eq!(token(Platform::Ios, &"a".repeat(200)), Some("a".repeat(200)));
    for wrong in ["", "abc", "zz", "ab cd", "ab\u{e9}f", &"a".repeat(202)] {
        assert_eq!(token(Platform::Ios, wrong), None, "{wrong:?}");
    }
    assert_eq!(token(Platform::Android, "fG-_:APA91b~"), Some("fG-_:APA91b~".to_owned()));
    assert_eq!(token(Platform::Android, &"x".repeat(2048)).map(|t| t.len()), Some(2048));
    for wrong in ["", "a b", "a\nb", "\u{7f}", "ü", &"x".repeat(2049)] {
        assert_eq!(token(Platform::Android, wrong), None, "{wrong:?}");
    }
}

fn ios(token: &str) -> Value {
    json!({"platform": "ios", "token": token, "topic": "com.example.app", "push_permission": "granted", "time_zone": "Europe/Paris"})
}

async fn live(world: &World, user: UserId) -> Vec<Device> {
    let app = world.app.id;
    let found = world.kairos.platform.store.read(move |conn| device::of_users(conn, app, &[user])).await.unwrap();
    found.into_values().flatten().collect()
}

async fn token_of(world: &World, caller: &Caller) -> UserToken {
    let Caller::Bearer(token) = caller else { unreachable!() };
    world.kairos.accounts().verify(token).await.unwrap()
}

fn read<T: DeserializeOwned>(body: Value) -> Body<T> {
    Body(serde_json::from_value(body).unwrap())
}

async fn zone(world: &World, user: UserId) -> String {
    let app = world.app.id;
    world.kairos.platform.store.read(move |conn| profile::person(conn, app, user)).await.unwrap().zone
}

fn device_id(answer: &Value) -> DeviceId {
    answer["id"].as_str().unwrap().parse().unwrap()
}

both! {
    async fn a_device_is_registered_replaced_listed_and_forgotten(world) {
        let (user, me) = signed_in(world, &world.app).await;
        let made = world.put("/v1/me/devices/phone-1", &me, ios("AB12")).await.expect(201);
        assert_eq!((&made["has_token"], &made["environment"], &made["time_zone"]), (&json!(true), &json!("production"), &json!("Europe/Paris")));
        assert!(made.get("token").is_none(), "a token is not shown");
        let again = world.put("/v1/me/devices/phone-1", &me, json!({"platform": "ios"})).await.expect(200);
        assert_eq!((&again["id"], &again["has_token"]), (&made["id"], &json!(false)), "what is left out is forgotten");
        assert_eq!(world.get("/v1/me/devices/phone-1", &me).await.expect(200), again);
        world.put("/v1/me/devices/phone-2", &me, json!({"platform": "android", "token": "x:y"})).await.expect(201);
        let page = world.get("/v1/me/devices?limit=1", &me).await.expect(200);
        assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&made["id"], &made["id"]));
        let of_user = world.get(&format!("/v1/users/{user}/devices"), &world.app.server).await.expect(200);
        assert_eq!(of_user["items"].as_array().unwrap().len(), 2);
        assert_eq!(world.delete("/v1/me/devices/phone-1", &me).await.status, 204);
        world.get("/v1/me/devices/phone-1", &me).await.refused(404, "not_found");
        world.delete("/v1/me/devices/phone-1", &me).await.refused(404, "not_found");
        world.get("/v1/me/devices/%00", &me).await.refused(404, "not_found");
    }

    async fn what_is_wrong_with_a_registration_is_named(world) {
        let (user, me) = signed_in(world, &world.app).await;
        let with = |field: &str, value: Value| {
            let mut body = ios("ab12");
            body[field] = value;
            body
        };
        for (body, field) in [
            (json!({}), "platform"),
            (with("platform", json!("symbian")), "platform"),
            (with("token", json!("xyz")), "token"),
            (with("token", json!(12)), "token"),
            (with("environment", json!("moon")), "environment"),
            (with("topic", json!("a b")), "topic"),
            (with("topic", Value::Null), "topic"),
            (with("locale", json!("german")), "locale"),
            (with("time_zone", json!("Europe/Atlantis")), "time_zone"),
            (with("time_zone", json!("../../etc/passwd")), "time_zone"),
            (with("push_permission", json!("maybe")), "push_permission"),
            (with("app_version", json!("1\u{0}")), "app_version"),
            (with("user_id", json!(user)), "user_id"),
            (with("id", json!("dev_1")), "id"),
            (with("last_seen_at", json!("2020-01-01T00:00:00Z")), "last_seen_at"),
        ] {
            if field == "locale" {
                continue;
            }
            let problem = world.put("/v1/me/devices/phone", &me, body).await.refused_field(400, "validation_failed", field);
            assert!(!problem.to_string().contains("xyz"), "a refusal does not repeat a token");
        }
        world.put("/v1/me/devices/phone", &me, with("locale", json!("de_CH"))).await.refused_field(400, "validation_failed", "locale");
        let long = "x".repeat(101);
        for path in ["a%20b", "a%2Fb", "%C3%BC", &long] {
            let answer = world.put(&format!("/v1/me/devices/{path}"), &me, ios("ab12")).await;
            answer.refused_field(400, "validation_failed", "installation_id");
        }
        assert_eq!(world.number("select count(*) from devices").await, 0);
    }

    async fn a_token_moves_to_who_registers_it_and_leaves_who_had_it(world) {
        let (first, one) = signed_in(world, &world.app).await;
        let (second, two) = signed_in(world, &world.app).await;
        let old = world.put("/v1/me/devices/phone", &one, ios("ab12")).await.expect(201);
        // The same phone, another person; and later the same token on another installation.
        let new = world.put("/v1/me/devices/phone", &two, ios("AB12")).await.expect(201);
        assert_ne!(old["id"], new["id"], "nobody takes over another one's device, only the token");
        assert_eq!(live(world, first).await, []);
        assert_eq!(live(world, second).await[0].id, device_id(&new));
        assert_eq!(world.get("/v1/me/devices/phone", &one).await.expect(200)["has_token"], false);
        let moved = world.put("/v1/me/devices/reinstalled", &one, ios("ab12")).await.expect(201);
        assert_eq!(live(world, second).await, []);
        assert_eq!(live(world, first).await[0].id, device_id(&moved));
        assert_eq!(world.number("select count(*) from devices where token is not null").await, 1);
    }

    async fn who_signs_in_on_a_phone_ends_what_others_get_there_even_without_a_token(world) {
        let (first, one) = signed_in(world, &world.app).await;
        let (second, two) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &one, ios("ab12")).await.expect(201);
        world.put("/v1/me/devices/tablet", &one, ios("cd34")).await.expect(201);
        world.put("/v1/me/devices/phone", &two, json!({"platform": "ios"})).await.expect(201);
        let left: Vec<String> = live(world, first).await.into_iter().map(|d| d.installation_id).collect();
        assert_eq!((left, live(world, second).await.len()), (vec!["tablet".to_owned()], 0));
    }

    async fn the_earlier_users_sends_are_fenced_out_before_the_answer(world) {
        let (first, one) = signed_in(world, &world.app).await;
        let (second, two) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &one, ios("ab12")).await.expect(201);
        let fence = world.kairos.platform.fence.clone();
        let (flight, own) = (fence.enter(world.app.id, first), fence.enter(world.app.id, second));
        let registration = tokio::spawn(world.call("PUT", "/v1/me/devices/phone").by(&two).json(&ios("ab12")).send());
        while flight.may_go() {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            world.get("/livez", &Caller::Nobody).await;
        }
        assert!(!registration.is_finished(), "a send to the earlier user is still in flight");
        assert!(own.may_go(), "the new user's sends go on");
        assert_eq!(world.number(&format!("select value from epochs where key = '{first}'")).await, 1, "decisions under way look again");
        drop(flight);
        registration.await.unwrap().expect(201);
    }

    async fn a_sign_out_takes_the_tokens_of_its_session_and_fences_the_user_out(world) {
        let (user, me) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201);
        let imported = world.put(&format!("/v1/users/{user}/devices/tablet"), &world.app.server, ios("cd34")).await.expect(201);
        let flight = world.kairos.platform.fence.enter(world.app.id, user);
        let sign_out = tokio::spawn(world.call("POST", "/v1/auth/sign-out").by(&me).json(&json!({})).send());
        while flight.may_go() {
            tokio::task::yield_now().await;
        }
        assert_eq!(live(world, user).await.iter().map(|d| d.id).collect::<Vec<_>>(), [device_id(&imported)]);
        drop(flight);
        assert_eq!(sign_out.await.unwrap().status, 204);
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.refused(401, "unauthorized");
    }

    async fn a_sign_out_frees_the_devices_that_an_earlier_session_registered(world) {
        let (user, me) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201);
        let up = world.call("POST", "/v1/auth/sign-up").by(&world.app.phone);
        let Caller::Bearer(token) = &me else { unreachable!() };
        let up = up.header("Authorization", &format!("Bearer {token}"));
        let up = up.json(&json!({"email": "ada@example.com", "password": "correct horse battery"})).send().await.expect(200);
        assert_eq!((&up["user"]["id"], live(world, user).await.len()), (&json!(user), 1), "an upgrade keeps the devices");
        world.post("/v1/auth/sign-out", &Person::from(&up).token, json!({})).await.expect(204);
        assert_eq!(live(world, user).await, []);
    }

    async fn a_registration_by_the_server_leaves_the_device_to_its_session(world) {
        let (user, me) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201);
        let path = format!("/v1/users/{user}/devices/phone");
        world.put(&path, &world.app.server, ios("cd34")).await.expect(200);
        world.post("/v1/auth/sign-out", &me, json!({})).await.expect(204);
        assert_eq!(live(world, user).await, []);
    }

    async fn a_refresh_token_used_again_takes_the_tokens_of_its_session_and_fences_the_user_out(world) {
        let person = world.person(&world.app).await;
        let user: UserId = person.id.parse().unwrap();
        let refresh = |token: &str| {
            world.call("POST", "/v1/auth/refresh").by(&world.app.phone).json(&json!({"refresh_token": token})).send()
        };
        let mut newest = person.refresh_token.clone();
        for _ in 0..3 {
            newest = refresh(&newest).await.expect(200)["refresh_token"].as_str().unwrap().to_owned();
        }
        world.put("/v1/me/devices/phone", &person.token, ios("ab12")).await.expect(201);
        let flight = world.kairos.platform.fence.enter(world.app.id, user);
        let reuse = tokio::spawn(refresh(&person.refresh_token));
        while flight.may_go() {
            assert!(!reuse.is_finished(), "a send to a device of the session is still in flight");
            tokio::task::yield_now().await;
        }
        assert_eq!(live(world, user).await, []);
        assert_eq!(world.number(&format!("select value from epochs where key = '{user}'")).await, 1, "decisions under way look again");
        drop(flight);
        reuse.await.unwrap().refused(401, "invalid_refresh_token");
    }

    async fn sends_are_fenced_out_also_when_who_asked_for_it_hangs_up(world) {
        declare_ads(world, &world.app).await;
        let (user, one) = signed_in(world, &world.app).await;
        let (_, two) = signed_in(world, &world.app).await;
        for (installation, token) in [("phone", "ab12"), ("tablet", "cd34")] {
            world.put(&format!("/v1/me/devices/{installation}"), &one, ios(token)).await.expect(201);
        }
        let (owner, other) = (token_of(world, &one).await, token_of(world, &two).await);
        let platform = || Data::new(world.kairos.platform.clone());
        let (device, no) = (read(ios("ab12")), read(json!({"purpose": "ads", "granted": false})));
        let registration = devices::register(other, platform(), Path::from("phone".to_owned()), device).map(drop).boxed_local();
        let withdrawal = consents::record(owner, platform(), no).map(drop).boxed_local();
        let deletion = devices::forget(owner, platform(), Path::from("phone".to_owned())).map(drop).boxed_local();
        let accounts = Data::new(world.kairos.accounts().clone());
        let sign_out = session::sign_out(owner, accounts, Body(SignOutIn {})).map(drop).boxed_local();
        for mut asked in [registration, withdrawal, deletion, sign_out] {
            let flight = world.kairos.platform.fence.enter(world.app.id, user);
            assert!((&mut asked).now_or_never().is_none(), "it waits for the commit");
            drop(asked);
            while flight.may_go() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(live(world, user).await, []);
    }

    async fn a_registration_that_races_with_a_sign_out_leaves_no_token_behind(world) {
        for n in 0..8 {
            let (user, me) = signed_in(world, &world.app).await;
            let path = format!("/v1/me/devices/phone-{n}");
            let put = tokio::spawn(world.call("PUT", &path).by(&me).json(&ios(&format!("ab{n:02}"))).send());
            let out = tokio::spawn(world.call("POST", "/v1/auth/sign-out").by(&me).json(&json!({})).send());
            assert!(matches!(put.await.unwrap().status, 201 | 401));
            assert_eq!(out.await.unwrap().status, 204);
            assert_eq!(live(world, user).await, []);
        }
    }

    async fn of_sixty_four_users_at_once_one_has_the_token(world) {
        let (app, now_ms) = (world.app.id, world.now_ms());
        let users: Vec<NewUser> = (0..64).map(|_| NewUser::bare(world.kairos.platform.ids.next(), false, now_ms)).collect();
        let ids: Vec<UserId> = users.iter().map(|u| u.id).collect();
        world.kairos.platform.store.write(move |conn| profile::create_many(conn, app, &users)).await.unwrap();
        for round in 0..2 {
            let calls = ids.iter().enumerate().map(|(n, user)| {
                // Half of them on one phone, half on phones of their own.
                let installation = if n % 2 == 0 { "shared".to_owned() } else { format!("phone-{n}") };
                let path = format!("/v1/users/{user}/devices/{installation}");
                tokio::spawn(world.call("PUT", &path).by(&world.app.server).json(&ios("ab12")).send())
            });
            let calls: Vec<_> = calls.collect();
            for call in calls {
                call.await.unwrap().expect(if round == 0 { 201 } else { 200 });
            }
            assert_eq!(world.number("select count(*) from devices").await, 64);
            assert_eq!(world.number("select count(*) from devices where token is not null").await, 1);
            assert_eq!(world.number("select count(*) from devices where token_ms is not null").await, 1);
        }
    }

    async fn a_token_dies_only_of_a_verdict_on_itself_that_is_not_older_than_its_registration(world) {
        let (user, me) = signed_in(world, &world.app).await;
        let device = device_id(&world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201));
        let (app, registered_ms) = (world.app.id, world.now_ms());
        let kill = |token: &'static str, at_ms: i64| {
            world.kairos.platform.store.write(move |conn| device::kill_token(conn, app, device, Verdict { token, at_ms }))
        };
        assert!(kill("ab12", registered_ms - 1).await.unwrap().is_none(), "the verdict is older");
        assert!(kill("cd34", registered_ms + 1).await.unwrap().is_none(), "the verdict is on another token");
        world.clock.advance(std::time::Duration::from_secs(60));
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(200);
        assert!(kill("ab12", registered_ms + 1).await.unwrap().is_none(), "the same token was registered again since");
        assert_eq!(live(world, user).await.len(), 1);
        assert!(kill("ab12", world.now_ms()).await.unwrap().is_some());
        assert!(kill("ab12", world.now_ms()).await.unwrap().is_none(), "once");
        assert_eq!(live(world, user).await, []);
        let other: DeviceId = Uuid::from_u64_pair(1, 1).into();
        let killed = world.kairos.platform.store.write(move |conn| device::kill_token(conn, app, other, Verdict { token: "ab12", at_ms: i64::MAX }));
        assert!(killed.await.unwrap().is_none());
    }

    async fn a_users_zone_is_the_chosen_one_else_the_latest_devices(world) {
        let (user, me) = signed_in(world, &world.app).await;
        assert_eq!(zone(world, user).await, "");
        let second = std::time::Duration::from_secs(1);
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201);
        assert_eq!(zone(world, user).await, "Europe/Paris");
        world.clock.advance(second);
        world.put("/v1/me/devices/tablet", &me, json!({"platform": "ios", "time_zone": "asia/tokyo"})).await.expect(201);
        assert_eq!(zone(world, user).await, "Asia/Tokyo", "in the database's own spelling");
        world.patch("/v1/me", &me, json!({"time_zone": "America/Lima"})).await.expect(200);
        assert_eq!(zone(world, user).await, "America/Lima");
        world.clock.advance(second);
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(200);
        assert_eq!(zone(world, user).await, "America/Lima");
        world.patch("/v1/me", &me, json!({"time_zone": null})).await.expect(200);
        assert_eq!(zone(world, user).await, "Europe/Paris");
        world.delete("/v1/me/devices/phone", &me).await;
        assert_eq!(zone(world, user).await, "Asia/Tokyo");
    }

    async fn nothing_of_a_device_crosses_to_another_app(world) {
        let (user, me) = signed_in(world, &world.app).await;
        world.put("/v1/me/devices/phone", &me, ios("ab12")).await.expect(201);
        let other = world.new_app("Other").await;
        let (_, stranger) = signed_in(world, &other).await;
        world.get("/v1/me/devices/phone", &stranger).await.refused(404, "not_found");
        world.delete("/v1/me/devices/phone", &stranger).await.refused(404, "not_found");
        world.get(&format!("/v1/users/{user}/devices"), &other.server).await.refused(404, "not_found");
        world.put(&format!("/v1/users/{user}/devices/phone"), &other.server, ios("ab12")).await.refused(404, "not_found");
        world.put("/v1/me/devices/phone", &stranger, ios("ab12")).await.expect(201);
        assert_eq!(live(world, user).await.len(), 1, "the same token in another app is another matter");
    }

    async fn a_user_has_a_bounded_number_of_devices(world) {
        let (_, me) = signed_in(world, &world.app).await;
        for n in 0..100 {
            world.put(&format!("/v1/me/devices/p{n}"), &me, json!({"platform": "ios"})).await.expect(201);
        }
        world.put("/v1/me/devices/one-more", &me, json!({"platform": "ios"})).await.refused(409, "too_many_devices");
        world.put("/v1/me/devices/p7", &me, json!({"platform": "ios"})).await.expect(200);
    }
}
