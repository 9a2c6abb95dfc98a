//! Broadcast channels: made and deleted at Apple, and what goes out over them, over the real wire.

use crate::gateway::{PATIENCE, pool};
use crate::mail::server::certificate;
use crate::outbox::post;
use crate::world::{World, nap, number};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use kairos::clock::Clock;
use kairos::outbound::{Limits, Outgoing, Pool};
use kairos::push::channel::verdict;
use kairos::push::standin::{Fault, GoneTo, Row, Rule, StandIn};
use kairos::push::{Environment, Gateway, Verdict, fcm};
use kairos::store::{Closing, Conn, with_closing};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

const BUNDLE: &str = "app.kairos.demo";

async fn made(world: &World, change: Value) -> Value {
    let mut body = json!({"key": "match-7", "attributes_type": "MatchAttributes"});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    world.post("/v1/channels", &world.app.server, body).await.expect(201)
}

async fn send(world: &World, channel: &Value, change: Value) -> Value {
    let mut body = json!({"event": "update", "content_state": {"score": "1:0"}});
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    world.post(&path(channel), &world.app.server, body).await.expect(202)
}

fn path(channel: &Value) -> String {
    format!("/v1/channels/{}/broadcasts", channel["id"].as_str().unwrap())
}

async fn fate(world: &World, broadcast: &Value) -> String {
    let at =
        format!("/v1/channels/{}/broadcasts/{}", broadcast["channel_id"].as_str().unwrap(), broadcast["id"].as_str().unwrap());
    let read = world.get(&at, &world.app.server).await.expect(200);
    match read["reason"].as_str() {
        Some(reason) => format!("{}:{reason}", read["state"].as_str().unwrap()),
        None => read["state"].as_str().unwrap().to_owned(),
    }
}

/// What arrived of it: Apple is told the UUID in its id, Google the id itself.
fn arrived(standin: &StandIn, broadcast: &Value) -> Vec<Row> {
    let id = &broadcast["id"].as_str().unwrap()[4..];
    let is = |row: &Row| row.push_id.as_deref().is_some_and(|own| own.trim_start_matches("brd_").replace('-', "") == id);
    standin.ledger().into_iter().filter(is).collect()
}

/// Moves the clock when a broadcast has been claimed: after what was looked at for it, before it is handed over.
struct Leap {
    clock: Clock,
    by: Duration,
    done: AtomicBool,
}

impl Closing for Leap {
    fn close(&self, conn: &mut Conn) -> kairos::error::Result<()> {
        let claimed = number(conn, "select count(*) as n from broadcasts where state = 'sending'")? > 0;
        if claimed && !self.done.swap(true, Ordering::SeqCst) {
            self.clock.advance(self.by);
        }
        Ok(())
    }

    fn committed(&self) {}
}

/// What was posted over a wire, as far as it was JSON.
type Heard = Arc<Mutex<Vec<Value>>>;

/// A wire to the stand-in that is listened to: its URL, its CA in PEM form, and what was heard.
async fn overheard(standin: &StandIn) -> (String, String, Heard) {
    let (acceptor, ca) = certificate(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (far, heard) = (pool(standin, fcm::GATEWAY, Limits { streams: 8, connections: 1 }), Heard::default());
    let listening = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, far, heard) = (acceptor.clone(), far.clone(), Arc::clone(&listening));
            tokio::spawn(async move {
                let tls = acceptor.accept(tcp).await.unwrap();
                let mut near = h2::server::Builder::new().max_concurrent_streams(8).handshake::<_, Bytes>(tls).await.unwrap();
                while let Some(Ok((request, respond))) = near.accept().await {
                    tokio::spawn(pass_on(request, respond, far.clone(), Arc::clone(&heard)));
                }
            });
        }
    });
    (url, ca, heard)
}

async fn pass_on(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, far: Pool, heard: Heard) {
    let (head, mut body) = request.into_parts();
    let mut whole = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        whole.extend_from_slice(&chunk);
    }
    heard.lock().unwrap().extend(serde_json::from_slice::<Value>(&whole).ok());
    let outgoing = || Outgoing { head: Request::from_parts(head.clone(), ()), body: whole.clone().into() };
    let answer = far.request(outgoing, PATIENCE).await.unwrap();
    let mut reply = Response::new(());
    *reply.status_mut() = answer.status;
    respond.send_response(reply, false).unwrap().send_data(answer.body, true).unwrap();
}

/// A world whose app has an APNs key.
async fn open(world: &mut World) -> StandIn {
    post(world).await.standin
}

both! {
    async fn a_channel_is_made_at_apple_found_by_the_app_and_deleted(world) {
        let standin = open(world).await;
        let channel = made(world, json!({"public": true})).await;
        let name = channel["apns_channel_id"].as_str().unwrap().to_owned();
        assert_eq!(standin.channels(Environment::Production, BUNDLE), vec![name.clone()]);
        assert_eq!((&channel["state"], &channel["storage"], &channel["topic"]), (&json!("live"), &json!("latest"), &json!(BUNDLE)));
        let hidden = made(world, json!({"key": "staff", "storage": "none"})).await;
        let phone = world.get("/v1/channels", &world.app.phone).await.expect(200);
        assert_eq!(phone["items"].as_array().unwrap().len(), 1, "{phone}");
        let by_key = world.get("/v1/channels?key=match-7", &world.app.phone).await.expect(200);
        assert_eq!(by_key["items"][0]["apns_channel_id"], json!(name));
        assert_eq!(world.get("/v1/channels?key=staff", &world.app.phone).await.expect(200)["items"], json!([]));
        assert_eq!(world.get("/v1/channels", &world.app.server).await.expect(200)["items"].as_array().unwrap().len(), 2);
        let other = world.new_app("Harbour").await;
        let at = format!("/v1/channels/{}", hidden["id"].as_str().unwrap());
        world.get(&at, &other.server).await.refused(404, "not_found");
        world.delete(&at, &other.server).await.refused(404, "not_found");
        assert_eq!(world.get("/v1/channels", &other.phone).await.expect(200)["items"], json!([]));
        world.delete(&at, &world.app.server).await.expect(204);
        assert_eq!(standin.channels(Environment::Production, BUNDLE), vec![name]);
        world.get(&at, &world.app.server).await.refused(404, "not_found");
        made(world, json!({"key": "staff"})).await;
    }

    async fn a_topic_of_googles_is_a_channel_too_and_gets_the_same_states_as_data(world) {
        let standin = open(world).await;
        let by = world.app.server.clone();
        for (body, field) in [
            (json!({"key": "a", "gateway": "webpush"}), "gateway"),
            (json!({"key": "a", "gateway": "fcm", "topic": BUNDLE}), "topic"),
            (json!({"key": "a", "gateway": "fcm", "environment": "sandbox"}), "environment"),
        ] {
            world.post("/v1/channels", &by, body).await.refused_field(400, "validation_failed", field);
        }
        let channel = made(world, json!({"gateway": "fcm", "public": true})).await;
        assert_eq!((&channel["state"], &channel["fcm_topic"]), (&json!("live"), &channel["id"]));
        let found = world.get("/v1/channels?key=match-7", &world.app.phone).await.expect(200);
        assert_eq!((&found["items"][0]["fcm_topic"], &found["items"][0]["gateway"]), (&channel["id"], &json!("fcm")));
        let alert = json!({"title": "Goal", "body": "1:0"});
        let sent = send(world, &channel, json!({"stale_at": world.time(600), "alert": alert})).await;
        world.drain().await;
        assert_eq!(fate(world, &sent).await, "accepted");
        let rows = standin.ledger();
        let row = rows.last().unwrap();
        assert_eq!((&json!(row.token), &json!(row.push_id)), (&channel["id"], &sent["id"]));
        assert_eq!((row.gateway, row.keep_until_ms), (Gateway::Fcm, Some(world.now_ms() + 600_000)));
        assert_eq!(row.aps, Some(json!({"content-available": 1})), "iPhones that listen by Firebase wake for it");
        // Late is never: the gateway is away.
        standin.inject(Rule { times: None, ..Rule::once(Fault::Answer { status: 503, reason: "UNAVAILABLE".into(), retry_after_s: None, timestamp_ms: None }) });
        let late = send(world, &channel, json!({"stale_at": world.time(60)})).await;
        world.drain().await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(fate(world, &late).await, "expired:deadline");
        let large = json!({"event": "update", "content_state": {"story": "x".repeat(2_048)}});
        world.post(&path(&channel), &by, large).await.refused_field(400, "payload_too_large", "content_state");
        world.delete(&format!("/v1/channels/{}", channel["id"].as_str().unwrap()), &by).await.expect(204);
        world.post(&path(&channel), &by, json!({"event": "update", "content_state": {}})).await.refused(404, "not_found");
    }

    async fn what_google_hands_on_to_iphones_and_browsers_has_the_headers_that_these_know(world) {
        let standin = open(world).await;
        let (url, ca, heard) = overheard(&standin).await;
        let known = world.database.folder().join("known-ca.pem");
        std::fs::write(&known, format!("{}\n{ca}", standin.ca_pem())).unwrap();
        world.restart(|config| (config.fcm_url, config.ca_file) = (url, known.display().to_string())).await;
        for (storage, priority, urgency, kept_s) in [("latest", 10, "high", 600), ("latest", 5, "normal", 600), ("none", 1, "normal", 0)] {
            let key = format!("{storage}-{priority}");
            let channel = made(world, json!({"gateway": "fcm", "key": key, "storage": storage})).await;
            let sent = send(world, &channel, json!({"stale_at": world.time(600), "priority": priority})).await;
            world.drain().await;
            assert_eq!((fate(world, &sent).await.as_str(), arrived(&standin, &sent).len()), ("accepted", 1));
            let said = heard.lock().unwrap().pop().unwrap();
            let until_s = if kept_s > 0 { world.now_ms() / 1_000 + kept_s } else { 0 };
            let apple = json!({"apns-push-type": "background", "apns-priority": "5", "apns-expiration": until_s.to_string()});
            assert_eq!(said["message"]["apns"]["headers"], apple, "{key}");
            assert_eq!(said["message"]["webpush"], json!({"headers": {"TTL": kept_s.to_string(), "Urgency": urgency}}), "{key}");
        }
    }

    async fn a_broadcast_to_a_topic_of_googles_waits_for_an_access_token_that_is_being_renewed(world) {
        let standin = open(world).await;
        let channel = made(world, json!({"gateway": "fcm"})).await;
        let first = send(world, &channel, json!({})).await;
        world.drain().await;
        assert_eq!((fate(world, &first).await.as_str(), standin.exchanges()), ("accepted", 1));
        // It is claimed while there is a token, and handed over when that one is too old to be shown.
        let sent = send(world, &channel, json!({"deliver_by": world.time(7_200)})).await;
        let leap = Leap { clock: world.clock.clone(), by: Duration::from_secs(3_570), done: AtomicBool::new(false) };
        with_closing(Arc::new(leap), world.drain()).await;
        assert_eq!((fate(world, &sent).await.as_str(), standin.exchanges()), ("accepted", 2));
        assert_eq!(arrived(&standin, &sent).len(), 1);
        let claims = format!("select attempt from broadcasts where id = '{}'", sent["id"].as_str().unwrap());
        assert_eq!(world.number(&claims).await, 2, "it was let go of once");
    }

    async fn a_topic_of_googles_is_tried_again_after_ten_seconds_at_the_earliest(world) {
        let standin = open(world).await;
        let channel = made(world, json!({"gateway": "fcm"})).await;
        for (status, reason, retry_after_s) in [(503, "UNAVAILABLE", Some(0)), (429, "QUOTA_EXCEEDED", Some(1)), (500, "INTERNAL", None)] {
            standin.inject(Rule::once(Fault::Answer { status, reason: reason.into(), retry_after_s, timestamp_ms: None }));
            let sent = send(world, &channel, json!({})).await;
            world.drain().await;
            assert_eq!(fate(world, &sent).await, format!("retry_at:{}", reason.to_lowercase()));
            world.advance(Duration::from_millis(9_999)).await;
            assert_eq!(arrived(&standin, &sent).len(), 1, "{status}");
            world.advance(Duration::from_millis(1)).await;
            assert_eq!((fate(world, &sent).await.as_str(), arrived(&standin, &sent).len()), ("accepted", 2), "{status}");
        }
    }

    async fn what_apple_does_not_allow_leaves_no_channel_behind(world) {
        let standin = open(world).await;
        let by = world.app.server.clone();
        let body = |key: &str| json!({"key": key});
        world.post("/v1/channels", &by, json!({"key": "a b"})).await.refused(400, "validation_failed");
        world.post("/v1/channels", &by, json!({"key": "a", "topic": "app.other"})).await.refused(400, "validation_failed");
        world.post("/v1/channels", &by, json!({"key": "a", "environment": "sandbox"})).await.refused(409, "no_credential");
        world.post("/v1/channels", &by, json!({"key": "a", "apple_id": "x"})).await.refused(400, "validation_failed");
        made(world, json!({"key": "taken"})).await;
        world.post("/v1/channels", &by, body("taken")).await.refused(409, "key_taken");
        standin.rule_channels(1, &[]);
        world.post("/v1/channels", &by, body("more")).await.refused(409, "too_many_channels");
        standin.rule_channels(10, &[BUNDLE]);
        let refused = world.post("/v1/channels", &by, body("more")).await;
        assert!(refused.text().contains("feature_not_enabled"), "{}", refused.text());
        refused.refused(409, "refused_by_apple");
        standin.rule_channels(10, &[]);
        made(world, json!({"key": "more"})).await;
        assert_eq!(standin.channels(Environment::Production, BUNDLE).len(), 2);
        let read_only = world.server_key(&world.app, &["decisions:read"]).await;
        world.post("/v1/channels", &read_only, body("x")).await.refused(403, "missing_scope");
    }

    async fn a_broadcast_is_stored_and_reaches_apple_once_with_its_channel_and_deadline(world) {
        let standin = open(world).await;
        let channel = made(world, json!({})).await;
        let sent = send(world, &channel, json!({"stale_at": world.time(600)})).await;
        assert_eq!((sent["state"].as_str(), standin.arrivals()), (Some("queued"), 0), "stored before it is sent");
        world.drain().await;
        assert_eq!(fate(world, &sent).await, "accepted");
        let rows = arrived(&standin, &sent);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].token, channel["apns_channel_id"].as_str().unwrap());
        assert_eq!(rows[0].keep_until_ms, Some(world.now_ms() + 600_000));
        assert_eq!(rows[0].priority.as_deref(), Some("5"));
        let aps = rows[0].aps.clone().unwrap();
        assert_eq!((&aps["event"], &aps["content-state"]), (&json!("update"), &json!({"score": "1:0"})));
        assert_eq!((aps["timestamp"].as_i64(), aps["stale-date"].as_i64()), (Some(world.now_ms() / 1_000), Some(world.now_ms() / 1_000 + 600)));
        // A second one in the same second is later all the same: phones drop what is not.
        let end = json!({"event": "end", "dismissal_at": world.time(60), "alert": {"title": "Over", "body_loc_key": "WON", "body_loc_args": ["1:0"], "sound": "default"}});
        let end = send(world, &channel, end).await;
        world.drain().await;
        let row = arrived(&standin, &end).remove(0);
        let aps = row.aps.unwrap();
        assert_eq!((aps["timestamp"].as_i64(), row.priority.as_deref()), (Some(world.now_ms() / 1_000 + 1), Some("10")));
        let alert = json!({"title": "Over", "body": {"loc-key": "WON", "loc-args": ["1:0"]}, "sound": "default"});
        assert_eq!((&aps["alert"], &aps["event"]), (&alert, &json!("end")));
        let listed = world.get(&path(&channel), &world.app.server).await.expect(200);
        assert_eq!(listed["items"].as_array().unwrap().len(), 2);
        // A channel that keeps nothing is told to keep nothing.
        let silent = made(world, json!({"key": "now", "storage": "none"})).await;
        let sent = send(world, &silent, json!({"priority": 1})).await;
        world.drain().await;
        assert_eq!((fate(world, &sent).await.as_str(), arrived(&standin, &sent)[0].keep_until_ms), ("accepted", Some(world.now_ms())));
    }

    async fn what_no_phone_could_show_is_refused_by_its_field(world) {
        open(world).await;
        let channel = made(world, json!({})).await;
        let (at, by) = (path(&channel), world.app.server.clone());
        let big = "x".repeat(5_200);
        for (change, field) in [
            (json!({"event": "start"}), "event"),
            (json!({"content_state": {"text": big}}), "content_state"),
            (json!({"alert": {"title": "t", "body": "b".repeat(501)}}), "alert.body"),
            (json!({"alert": {"title": "t"}}), "alert.body"),
            (json!({"alert": {"title": "t", "title_loc_key": "T", "body": "b"}}), "alert.title"),
            (json!({"priority": 7}), "priority"),
            (json!({"stale_at": world.time(-1)}), "stale_at"),
            (json!({"dismissal_at": world.time(60)}), "dismissal_at"),
            (json!({"deliver_by": world.time(9 * 3_600)}), "deliver_by"),
            (json!({"relevance_score": -1}), "relevance_score"),
            (json!({"attributes": {}}), "attributes"),
        ] {
            let mut body = json!({"event": "update", "content_state": {}});
            for (key, value) in change.as_object().unwrap() {
                body[key] = value.clone();
            }
            let answer = world.post(&at, &by, body).await;
            assert_eq!((answer.status, answer.json()["errors"][0]["field"].as_str()), (400, Some(field)), "{}", answer.text());
        }
        let fits = "x".repeat(5_120 - r#"{"aps":{"timestamp":1781517600,"event":"update","content-state":{"t":""}}}"#.len());
        send(world, &channel, json!({"content_state": {"t": fits}})).await;
        world.drain().await;
        world.post(&at, &by, json!({"event": "update", "content_state": {"t": format!("{fits}x")}})).await.refused(400, "payload_too_large");
    }

    async fn the_same_idempotency_key_is_the_same_broadcast(world) {
        let standin = open(world).await;
        let channel = made(world, json!({})).await;
        let ask = async |state: &str| {
            let body = json!({"event": "update", "content_state": {"score": state}});
            world.call("POST", &path(&channel)).by(&world.app.server).header("Idempotency-Key", "goal-1").json(&body).send().await
        };
        let first = ask("1:0").await.expect(202);
        world.drain().await;
        let again = ask("1:0").await.expect(202);
        assert_eq!((&again["id"], &again["state"]), (&first["id"], &json!("accepted")));
        ask("2:0").await.refused(422, "idempotency_key_reused");
        world.drain().await;
        assert_eq!(standin.arrivals(), 1);
    }

    async fn a_newer_state_takes_the_place_of_what_waits_and_none_older_follows_it(world) {
        let standin = open(world).await;
        let channel = made(world, json!({})).await;
        let busy = Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(60), timestamp_ms: None };
        standin.inject(Rule::once(busy));
        let old = send(world, &channel, json!({})).await;
        world.drain().await;
        assert_eq!(fate(world, &old).await, "retry_at:service_unavailable");
        let new = send(world, &channel, json!({"content_state": {"score": "2:0"}})).await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!((fate(world, &old).await.as_str(), fate(world, &new).await.as_str()), ("cancelled:superseded", "accepted"));
        assert_eq!((arrived(&standin, &old).len(), arrived(&standin, &new).len()), (1, 1));
        // One that is on its way when the newer one comes is not tried again either, and nothing overtakes it.
        standin.inject(Rule::once(Fault::Silent));
        let old = send(world, &channel, json!({"mode": "at_least_once"})).await;
        let newer = async {
            while fate(world, &old).await != "sending" {
                nap(5).await;
            }
            send(world, &channel, json!({"content_state": {"score": "3:0"}})).await
        };
        let ((), new) = tokio::join!(world.drain(), newer);
        world.drain().await;
        assert_eq!((fate(world, &old).await.as_str(), fate(world, &new).await.as_str()), ("unknown:superseded", "accepted"));
        assert_eq!(arrived(&standin, &old).len(), 1);
        let stamps: Vec<String> =
            standin.ledger().into_iter().filter(|r| r.delivered).map(|r| r.aps.unwrap()["timestamp"].to_string()).collect();
        let mut rising = stamps.clone();
        rising.sort();
        assert_eq!(stamps, rising, "time stamps rise in the order of arrival");
    }

    async fn each_answer_of_apples_ends_or_delays_it(world) {
        let standin = open(world).await;
        let channel = made(world, json!({})).await;
        let answer = |status: u16, reason: &str| Fault::Answer { status, reason: reason.into(), retry_after_s: None, timestamp_ms: None };
        for (fault, wanted) in [
            (answer(400, "BadChannelId"), "rejected:bad_channel_id"),
            (answer(404, "ChannelNotRegistered"), "rejected:channel_not_registered"),
            (answer(403, "FeatureNotEnabled"), "rejected:feature_not_enabled"),
            (answer(400, "TopicMismatch"), "rejected:topic_mismatch"),
            (answer(413, "PayloadTooLarge"), "rejected:payload_too_large"),
            (answer(403, "ExpiredProviderToken"), "accepted"),
            (Fault::RefuseStream, "accepted"),
            (Fault::GoAway { last: GoneTo::Before, close: true }, "accepted"),
            (Fault::CutAfterRequest, "unknown:connection_lost"),
        ] {
            world.clock.advance(Duration::from_secs(60));
            standin.inject(Rule::once(fault.clone()));
            let sent = send(world, &channel, json!({})).await;
            world.drain().await;
            assert_eq!(fate(world, &sent).await, wanted, "{fault:?}");
        }
        // Nothing of all that made a pause for the app's other pushes.
        let sent = send(world, &channel, json!({})).await;
        world.drain().await;
        assert_eq!(fate(world, &sent).await, "accepted");
    }

    async fn none_goes_out_after_its_deadline_or_over_a_channel_that_is_gone(world) {
        let standin = open(world).await;
        let channel = made(world, json!({})).await;
        let late = send(world, &channel, json!({"deliver_by": world.time(5)})).await;
        world.advance(Duration::from_secs(5)).await;
        assert_eq!((fate(world, &late).await.as_str(), standin.arrivals()), ("expired:deadline", 0));
        let waits = send(world, &channel, json!({})).await;
        let at = format!("/v1/channels/{}", channel["id"].as_str().unwrap());
        world.delete(&at, &world.app.server).await.expect(204);
        world.drain().await;
        assert_eq!(standin.arrivals(), 0);
        let id = waits["id"].as_str().unwrap();
        assert_eq!(world.lines(&format!("select reason as line from broadcasts where id = '{id}'")).await, ["channel_deleted"]);
        world.post(&path(&channel), &world.app.server, json!({"event": "update", "content_state": {}})).await.refused(404, "not_found");
    }

    async fn a_crash_leaves_what_was_on_its_way_unknown_or_sends_it_again_by_its_mode(world) {
        let standin = open(world).await;
        let one = made(world, json!({"key": "one"})).await;
        let two = made(world, json!({"key": "two"})).await;
        let once = send(world, &one, json!({})).await;
        let again = send(world, &two, json!({"mode": "at_least_once"})).await;
        let kept = send(world, &made(world, json!({"key": "three"})).await, json!({})).await;
        let sql = format!(
            "update broadcasts set state = 'sending', attempt = 1, sending_ms = due_ms where id <> '{}'",
            kept["id"].as_str().unwrap()
        );
        world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
        world.restart(|_| {}).await;
        world.drain().await;
        assert_eq!((fate(world, &once).await.as_str(), arrived(&standin, &once).len()), ("unknown:crash", 0));
        assert_eq!((fate(world, &again).await.as_str(), arrived(&standin, &again).len()), ("accepted", 1));
        assert_eq!((fate(world, &kept).await.as_str(), arrived(&standin, &kept).len()), ("accepted", 1), "what waited goes out");
        // What the database alone takes to be on its way is found without a restart.
        let stray = send(world, &one, json!({})).await;
        let sql = format!("update broadcasts set state = 'sending', attempt = 1 where id = '{}'", stray["id"].as_str().unwrap());
        world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
        world.advance(Duration::from_secs(61)).await;
        assert_eq!(fate(world, &stray).await, "unknown:lost");
        let back = world.kairos.platform.store.write(|conn| conn.batch("update broadcasts set state = 'queued'")).await;
        assert!(back.is_err(), "an end is for ever");
    }

    async fn updates_faster_than_apple_tells_apart_are_slowed_down(world) {
        open(world).await;
        let channel = made(world, json!({})).await;
        for _ in 0..=60 {
            send(world, &channel, json!({})).await;
        }
        let body = json!({"event": "update", "content_state": {}});
        world.post(&path(&channel), &world.app.server, body).await.refused(429, "too_many_updates");
        world.clock.advance(Duration::from_secs(1));
        send(world, &channel, json!({})).await;
        world.drain().await;
    }
}

#[test]
fn each_reason_of_a_broadcast_has_one_verdict() {
    for (status, text, rejected) in [
        (400, "BadChannelId", true),
        (404, "ChannelNotRegistered", true),
        (400, "MissingChannelId", true),
        (400, "MissingPushType", true),
        (400, "BadRequestParams", true),
        (400, "BadRequestPayload", true),
        (403, "TopicMismatch", true),
        (403, "FeatureNotEnabled", true),
        (410, "Unregistered", true),
        (403, "InvalidProviderToken", false),
        (429, "TooManyRequests", false),
        (500, "InternalServerError", false),
        (200, "", false),
    ] {
        assert_eq!(matches!(verdict(status, text), Verdict::Rejected(_)), rejected, "{status} {text}");
    }
    assert_eq!(verdict(200, ""), Verdict::Accepted);
}
