//! Places over HTTP, and who enters, leaves and stays at them.

use crate::event::{anonymous, grant, listen, send, thing};
use crate::world::{Caller, World};
use kairos::place::geometry::{Point, Shape};
use kairos::place::transition::Terms;
use kairos::place::{DWELL_MS_DEFAULT, Place, STALE_AFTER_MS_DEFAULT, create_many};
use serde_json::{Value, json};
use std::time::Duration;

const LAT: f64 = 48.7253;
const LON: f64 = 2.3594;

async fn place(world: &World, extra: Value) -> Value {
    let mut body = json!({"name": "Orly", "circle": {"lat": LAT, "lon": LON, "radius_m": 3000}});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    world.post("/v1/places", &world.app.server, body).await.expect(201)
}

/// Sends fixes of the signed-in user: seconds from now, metres north of the centre, accuracy in metres.
async fn walk(world: &World, user: &Caller, fixes: &[(i64, f64, f64)]) {
    let events: Vec<Value> = fixes
        .iter()
        .map(|(s, north_m, accuracy_m)| {
            json!({"id": format!("{s} {north_m} {}", world.now_ms()), "type": "location", "occurred_at": world.time(*s),
                "location": {"lat": LAT + north_m / 111_195.0, "lon": LON, "accuracy_m": accuracy_m}})
        })
        .collect();
    for result in send(world, user, json!(events)).await {
        assert_eq!(result["status"], "accepted", "{result}");
    }
}

async fn transitions(world: &World) -> (i64, i64, i64) {
    let count = async |kind: &str| world.number(&format!("select count(*) from events where type = 'place.{kind}'")).await;
    (count("enter").await, count("dwell").await, count("exit").await)
}

both! {
    async fn a_place_is_made_read_listed_changed_and_deleted(world) {
        let server = &world.app.server;
        let hours = json!({"time_zone": "Europe/Paris", "spans": [{"days": ["mon", "tue"], "from": "06:00", "to": "23:00"}]});
        let made = place(world, json!({"key": "ORY", "tags": ["airport"], "opening_hours": hours})).await;
        assert_eq!((made["dwell_ms"].as_i64(), made["stale_after_ms"].as_i64()), (Some(300_000), Some(3_600_000)));
        let path = format!("/v1/places/{}", made["id"].as_str().unwrap());
        let read = world.get(&path, server).await;
        assert_eq!(read.json(), made);
        let tag = read.header("etag").unwrap().to_owned();
        assert_eq!(world.get("/v1/places?key=ORY", server).await.expect(200)["items"], json!([made]));
        assert_eq!(world.get("/v1/places?key=CDG", server).await.expect(200)["items"], json!([]));
        let changed = world.call("PATCH", &path).by(server).header("If-Match", &tag).json(&json!({"name": "Paris-Orly", "opening_hours": null})).send().await;
        assert_eq!(changed.expect(200)["name"], "Paris-Orly");
        assert_eq!(changed.json()["opening_hours"], Value::Null);
        let late = world.call("PATCH", &path).by(server).header("If-Match", &tag).json(&json!({"name": "x"})).send().await;
        late.refused(412, "revision_mismatch");
        world.post("/v1/places", server, json!({"key": "ORY", "name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}})).await.refused(409, "already_exists");
        world.get(&path, &world.new_app("Other").await.server).await.refused(404, "not_found");
        world.delete(&path, server).await.expect(204);
        world.get(&path, server).await.refused(404, "not_found");
        world.delete(&path, server).await.refused(404, "not_found");
        world.get("/v1/places/thg_1", server).await.refused(404, "not_found");
    }

    async fn a_place_that_cannot_be_is_refused_by_its_field(world) {
        let ring = json!([[0, 0], [1, 0], [1, 1], [0, 0]]);
        for (body, field) in [
            (json!({"name": "x"}), "circle"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}, "geometry": {"type": "Polygon", "coordinates": [ring]}}), "geometry"),
            (json!({"name": "x", "circle": {"lat": 90.1, "lon": 0, "radius_m": 100}}), "circle.lat"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 181, "radius_m": 100}}), "circle.lon"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 0}}), "circle.radius_m"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 1e9}}), "circle.radius_m"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0}}), "circle.radius_m"),
            (json!({"name": "", "circle": {"lat": 0, "lon": 0, "radius_m": 100}}), "name"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}, "dwell_ms": 0}), "dwell_ms"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}, "id": "plc_1"}), "id"),
            (json!({"name": "x", "circle": {"lat": 0, "lon": 0, "radius_m": 100}, "opening_hours": {"time_zone": "Mars/Base", "spans": []}}), "opening_hours.time_zone"),
            (json!({"name": "x", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}}), "geometry.coordinates[0]"),
        ] {
            world.post("/v1/places", &world.app.server, body.clone()).await.refused_field(400, "validation_failed", field);
        }
        let fiji = json!({"type": "Polygon", "coordinates": [[[177, -20], [-178, -20], [-178, -16], [177, -16], [177, -20]]]});
        let made = world.post("/v1/places", &world.app.server, json!({"name": "Fiji", "geometry": fiji})).await.expect(201);
        assert_eq!(made["geometry"]["type"], "MultiPolygon");
    }

    async fn an_edit_counts_at_once_and_only_its_own_place_is_read_again(world) {
        let server = &world.app.server;
        let aircraft = thing(world, "a").await;
        let flies = async |n: i64, north_m: f64| {
            let fix = |n: i64| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": aircraft,
                "location": {"lat": LAT + north_m / 111_195.0, "lon": LON}});
            send(world, server, json!([fix(n), fix(n + 1)])).await;
        };
        let edited = place(world, json!({})).await;
        place(world, json!({"name": "B", "circle": {"lat": LAT + 1.0, "lon": LON, "radius_m": 3000}})).await;
        flies(0, 50_000.0).await;
        // Not through the front door, so that nobody is told of it.
        let moved = format!("update places set lat = {LAT} where name = 'B'");
        world.kairos.platform.store.write(move |conn| conn.batch(&moved)).await.unwrap();
        let path = format!("/v1/places/{}", edited["id"].as_str().unwrap());
        world.patch(&path, server, json!({"circle": {"lat": LAT, "lon": LON, "radius_m": 200}})).await.expect(200);
        flies(10, 500.0).await;
        assert_eq!(transitions(world).await, (0, 0, 0), "one was made smaller, the other was not read");
        place(world, json!({"name": "C"})).await;
        flies(20, 500.0).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        world.patch(&path, server, json!({"circle": {"lat": LAT, "lon": LON, "radius_m": 1000}})).await.expect(200);
        flies(30, 500.0).await;
        assert_eq!(transitions(world).await, (2, 0, 0));
        world.delete(&path, server).await.expect(204);
        flies(40, 50_000.0).await;
        assert_eq!(transitions(world).await, (2, 0, 1), "of a place that is gone nobody hears any more");
    }

    async fn many_places_at_once_are_all_read(world) {
        let aircraft = thing(world, "a").await;
        let fix = |n: i64| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": aircraft, "location": {"lat": LAT, "lon": LON}});
        send(world, &world.app.server, json!([fix(-10), fix(-9)])).await;
        let (app, now_ms, ids) = (world.app.id, world.now_ms(), world.kairos.platform.ids.clone());
        let all: Vec<Place> = (0..150)
            .map(|n| Place {
                id: ids.next(),
                key: None,
                name: n.to_string(),
                shape: Shape::Circle { center: Point { lat: LAT, lon: LON }, radius_m: 100.0 },
                tags: Vec::new(),
                terms: Terms { dwell_ms: DWELL_MS_DEFAULT, stale_after_ms: STALE_AFTER_MS_DEFAULT },
                opening_hours: None,
                revision: 1,
                shaped_ms: now_ms,
                created_ms: now_ms,
            })
            .collect();
        world.kairos.platform.store.write(move |conn| create_many(conn, app, &all)).await.unwrap();
        send(world, &world.app.server, json!([fix(0), fix(1)])).await;
        assert_eq!(transitions(world).await, (150, 0, 0));
    }

    async fn a_phone_enters_dwells_by_the_clock_and_leaves(world) {
        listen(world, "place.enter").await;
        let (user_id, user) = anonymous(world).await;
        grant(world, &user, "location", None).await;
        place(world, json!({})).await;
        walk(world, &user, &[(0, 5_000.0, 10.0), (60, 2_000.0, 10.0)]).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        assert_eq!(world.number(&format!("select count(*) from lane_work where user_id = '{user_id}'")).await, 1);
        world.advance(Duration::from_secs(359)).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(transitions(world).await, (1, 1, 0));
        walk(world, &user, &[(60, 2_999.0, 50.0), (120, 3_010.0, 50.0), (180, 3_020.0, 50.0)]).await;
        assert_eq!(transitions(world).await, (1, 1, 1));
        // Long after, nothing more: no second dwell, no stale exit.
        world.advance(Duration::from_secs(90_000)).await;
        assert_eq!(transitions(world).await, (1, 1, 1));
        assert_eq!(world.number("select count(*) from place_states").await, 0);
        world.may_leave_work();
    }

    async fn a_silent_visit_is_closed_by_the_clock_even_after_a_restart(world) {
        let aircraft = thing(world, "a").await;
        place(world, json!({"stale_after_ms": 600_000, "dwell_ms": 3_600_000})).await;
        let fix = |n: i64| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": aircraft, "location": {"lat": LAT, "lon": LON}});
        send(world, &world.app.server, json!([fix(0), fix(1)])).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        world.restart(|_| {}).await;
        world.advance(Duration::from_millis(600_999)).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        world.advance(Duration::from_millis(1)).await;
        assert_eq!(transitions(world).await, (1, 0, 1));
        let exit = "select occurred_ms from events where type = 'place.exit'";
        assert_eq!(world.number(exit).await, world.now_ms());
    }

    async fn fixes_of_many_calls_are_judged_in_time_order_and_late_ones_in_no_pair(world) {
        let aircraft = thing(world, "a").await;
        place(world, json!({})).await;
        let fix = |n: i64, lat: f64| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": aircraft, "location": {"lat": lat, "lon": LON}});
        send(world, &world.app.server, json!([fix(-50, LAT), fix(-60, LAT + 1.0), fix(-70, LAT + 1.0)])).await;
        assert_eq!(transitions(world).await, (0, 0, 0), "one fix inside is no pair");
        send(world, &world.app.server, json!([fix(-55, LAT)])).await;
        assert_eq!(transitions(world).await, (0, 0, 0), "a late one is in no pair");
        send(world, &world.app.server, json!([fix(-40, LAT)])).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        let first = "select occurred_ms from events where type = 'place.enter'";
        assert_eq!(world.number(first).await, world.now_ms() - 50_000);
    }

    async fn a_change_of_dwell_counts_for_those_inside(world) {
        let aircraft = thing(world, "a").await;
        let made = place(world, json!({"dwell_ms": 3_000_000})).await;
        let fix = |n: i64| json!({"id": n.to_string(), "type": "position", "occurred_at": world.time(n), "subject": aircraft, "location": {"lat": LAT, "lon": LON}});
        send(world, &world.app.server, json!([fix(0), fix(1)])).await;
        world.patch(&format!("/v1/places/{}", made["id"].as_str().unwrap()), &world.app.server, json!({"dwell_ms": 60_000})).await.expect(200);
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(transitions(world).await, (1, 1, 0));
        world.delete(&format!("/v1/places/{}", made["id"].as_str().unwrap()), &world.app.server).await.expect(204);
        world.advance(Duration::from_secs(9_000)).await;
        assert_eq!(transitions(world).await, (1, 1, 0), "a place that is gone tells no exit");
    }

    async fn whoever_takes_the_consent_back_is_followed_no_longer(world) {
        let (_, user) = anonymous(world).await;
        grant(world, &user, "location", None).await;
        place(world, json!({})).await;
        walk(world, &user, &[(0, 5_000.0, 10.0), (60, 0.0, 10.0)]).await;
        let withdrawn = world.post("/v1/me/consents", &user, json!({"purpose": "location", "granted": false})).await;
        assert!((200..300).contains(&withdrawn.status), "{}", withdrawn.text());
        world.advance(Duration::from_secs(4_000)).await;
        assert_eq!(transitions(world).await, (1, 0, 0));
        assert_eq!(world.number("select (select count(*) from positions) + (select count(*) from place_states)").await, 0);
    }

    async fn a_phone_asks_for_the_nearest_places_and_when_to_ask_again(world) {
        let (_, user) = anonymous(world).await;
        for n in 0..5 {
            let body = json!({"name": format!("p{n}"), "circle": {"lat": f64::from(n), "lon": 0, "radius_m": 1000}});
            world.post("/v1/places", &world.app.server, body).await.expect(201);
        }
        for caller in [&user, &world.app.phone] {
            let near = world.get("/v1/places/nearby?lat=0.1&lon=0&limit=2", caller).await.expect(200);
            let names: Vec<&str> = near["places"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["p0", "p1"]);
            assert_eq!(near["refresh_radius_m"], 50_000.0);
        }
        let none = world.get("/v1/places/nearby?lat=91&lon=0", &user).await;
        none.refused_field(400, "validation_failed", "lat");
        world.get("/v1/places/nearby?lat=1", &user).await.refused_field(400, "validation_failed", "lon");
        world.get("/v1/places/nearby?lat=1&lon=1&limit=101", &user).await.refused_field(400, "validation_failed", "limit");
        world.get("/v1/places/nearby?lat=1&lon=1", &Caller::Nobody).await.refused(401, "unauthorized");
        // A new place is seen at once.
        world.post("/v1/places", &world.app.server, json!({"name": "new", "circle": {"lat": 0.1, "lon": 0, "radius_m": 50}})).await.expect(201);
        let near = world.get("/v1/places/nearby?lat=0.1&lon=0&limit=1", &user).await.expect(200);
        assert_eq!(near["places"][0]["name"], "new");
    }
}
