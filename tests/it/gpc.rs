//! Global Privacy Control: what the signal withdraws, when, and what is stronger than it.

use crate::consent::{add_partner, signed_in, state_of};
use crate::world::{Answer, Caller, World};
use serde_json::{Value, json};

async fn signal(world: &World, me: &Caller, path: &str, values: &[&str]) -> Answer {
    let mut request = world.call("GET", path).by(me);
    for value in values {
        request = request.header("Sec-GPC", value);
    }
    request.send().await
}

/// `share` sells or shares, `own` does not.
async fn declare(world: &World) {
    for (key, shares) in [("share", true), ("own", false)] {
        let body = json!({"key": key, "name": key, "basis": "consent", "version": "1", "texts": {"en": "May we?"}, "sale_or_share": shares});
        world.post("/v1/purposes", &world.app.server, body).await.expect(201);
    }
}

fn grant(more: Value) -> Value {
    let mut body = json!({"granted": true, "text_version": "1", "evidence": {"screen": "settings"}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn in_force(world: &World, me: &Caller, purpose: &str) -> usize {
    state_of(&world.get("/v1/me/consents", me).await.expect(200), purpose)["grants"].as_array().unwrap().len()
}

both! {
    async fn the_signal_withdraws_what_sells_or_shares_once_and_nothing_else(world) {
        declare(world).await;
        let partner = add_partner(world, world.app.id).await;
        let (user, me) = signed_in(world, &world.app).await;
        for body in [json!({"purpose": "share"}), json!({"purpose": "own"}), json!({"purpose": "own", "partner": partner}),
            json!({"purpose": "location"}), json!({"purpose": "partner_events", "partner": partner})] {
            world.post("/v1/me/consents", &me, grant(body)).await.expect(201);
        }
        let fence = world.kairos.platform.fence.clone();
        let flight = fence.enter(world.app.id, user);
        let request = tokio::spawn(world.call("GET", "/v1/me").by(&me).header("Sec-GPC", "1").send());
        while flight.may_go() {
            tokio::task::yield_now().await;
        }
        drop(flight);
        request.await.unwrap().expect(200);
        let left = [in_force(world, &me, "share").await, in_force(world, &me, "partner_events").await];
        assert_eq!(left, [0, 0]);
        let own = state_of(&world.get("/v1/me/consents", &me).await.expect(200), "own").clone();
        assert_eq!((own["standing"].as_str(), own["grants"].as_array().unwrap().len()), (Some("granted"), 1), "the partner's went");
        assert_eq!(in_force(world, &me, "location").await, 1, "location is shared with nobody");

        let history = world.get("/v1/me/consents/history", &me).await.expect(200);
        let signals: Vec<&Value> = history["items"].as_array().unwrap().iter().filter(|r| r["source"] == "gpc").collect();
        let of: Vec<(&str, bool)> = signals.iter().map(|r| (r["purpose"].as_str().unwrap(), r["partner"].is_null())).collect();
        assert_eq!(of, [("partner_events", true), ("share", true), ("own", false)]);
        assert!(signals.iter().all(|r| r["granted"] == false && r["method"] == "gpc" && r["evidence"]["method"] == "gpc"));

        let epoch = format!("select value from epochs where key = '{user}'");
        let before = world.number(&epoch).await;
        for path in ["/v1/me", "/v1/me/consents", "/v1/me/preferences", "/v1/me/devices"] {
            signal(world, &me, path, &["1"]).await.expect(200);
        }
        assert_eq!(world.number("select count(*) from consents where source = 'gpc'").await, 3, "a signal is recorded once");
        assert_eq!(world.number(&epoch).await, before);
    }

    async fn only_the_exact_value_one_is_the_signal(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(json!({"purpose": "share"}))).await.expect(201);
        for values in [&["0"][..], &["true"], &["1, 1"], &["1;a"], &["01"], &[""], &["11", "0"], &[]] {
            signal(world, &me, "/v1/me", values).await.expect(200);
            assert_eq!(in_force(world, &me, "share").await, 1, "{values:?}");
        }
        signal(world, &me, "/v1/me", &["0", "1"]).await.expect(200);
        assert_eq!(in_force(world, &me, "share").await, 0, "one line of several is enough");
    }

    async fn what_the_user_grants_by_name_after_the_signal_stands_and_what_others_bring_does_not(world) {
        declare(world).await;
        let (hotel, bank) = (add_partner(world, world.app.id).await, add_partner(world, world.app.id).await);
        let (user, me) = signed_in(world, &world.app).await;
        // The very call that grants carries the signal: the signal was first, the choice is newer.
        let body = grant(json!({"purpose": "partner_events", "partner": hotel}));
        let made = world.call("POST", "/v1/me/consents").by(&me).header("Sec-GPC", "1").json(&body).send().await;
        made.expect(201);
        assert_eq!(in_force(world, &me, "partner_events").await, 1);

        let path = format!("/v1/users/{user}/consents");
        for body in [json!({"purpose": "partner_events", "partner": bank}), json!({"purpose": "share"})] {
            world.post(&path, &world.app.server, grant(body)).await.refused(409, "gpc");
        }
        world.post(&path, &world.app.server, grant(json!({"purpose": "own"}))).await.expect(201);
        world.post(&path, &world.app.server, grant(json!({"purpose": "own", "partner": bank}))).await.expect(201);

        // Another process remembers nothing: the ledger does.
        world.restart(|_| {}).await;
        signal(world, &me, "/v1/me", &["1"]).await.expect(200);
        assert_eq!(in_force(world, &me, "partner_events").await, 1, "it is newer and by name");
        assert_eq!(in_force(world, &me, "own").await, 1, "the bank's was brought in by others");
        let other = grant(json!({"purpose": "share"}));
        world.post("/v1/me/consents", &me, other).await.expect(201);
        world.restart(|_| {}).await;
        signal(world, &me, "/v1/me/consents", &["1"]).await.expect(200);
        assert_eq!(in_force(world, &me, "share").await, 1);
    }

    async fn events_of_a_user_carry_the_signal_too_and_nobody_elses_calls_do(world) {
        declare(world).await;
        let (user, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(json!({"purpose": "share"}))).await.expect(201);
        let send = |by: &Caller| world.call("POST", "/v1/events").by(by).header("Sec-GPC", "1").json(&json!({"events": []})).send();
        send(&world.app.server).await.expect(202);
        let read = world.call("GET", &format!("/v1/users/{user}/consents")).by(&world.app.server).header("Sec-GPC", "1").send().await;
        read.expect(200);
        assert_eq!(in_force(world, &me, "share").await, 1, "a server's browser is not the user's");
        let answer = send(&me).await;
        assert!(answer.status < 500, "{}", answer.text());
        assert_eq!(in_force(world, &me, "share").await, 0);
        let support = world.get("/.well-known/gpc.json", &Caller::Nobody).await.expect(200);
        assert_eq!((&support["gpc"], support["lastUpdate"].as_str().map(str::len)), (&json!(true), Some(10)));
    }

    async fn a_hundred_first_calls_at_once_record_one_signal(world) {
        declare(world).await;
        let (_, me) = signed_in(world, &world.app).await;
        world.post("/v1/me/consents", &me, grant(json!({"purpose": "share"}))).await.expect(201);
        let calls: Vec<_> = (0..100).map(|_| tokio::spawn(world.call("GET", "/v1/me").by(&me).header("Sec-GPC", "1").send())).collect();
        for call in calls {
            call.await.unwrap().expect(200);
        }
        assert_eq!(world.number("select count(*) from consents where source = 'gpc'").await, 2, "share and partner_events");
    }
}
