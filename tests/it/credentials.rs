//! Credentials: tried against the gateway, watched, several per app, replaced while pushes are under way.

use crate::gateway::TOPIC;
use crate::outbox::{Post, message, phone_with, plan, planned, post, queue, state};
use crate::subscriber::Subscriber;
use crate::world::{Db, World, nap};
use kairos::clock::MINUTE_MS;
use kairos::push::standin::{Door, Fault, Rule, StandIn};
use kairos::push::{Environment, Gateway, NewMessage, outbox};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const SECOND_TOPIC: &str = "app.kairos.second";
const PAUSE: Duration = Duration::from_secs(31);
const DAY: Duration = Duration::from_secs(86_400);

/// What a gateway thinks, by its own word.
async fn asked(world: &World, gateway: &str, body: Value) -> Vec<Value> {
    let found = world.post(&format!("/v1/push-credentials/{gateway}/test"), &world.app.server, body).await.expect(200);
    found["items"].as_array().unwrap().clone()
}

async fn shown(world: &World, gateway: &str) -> Vec<Value> {
    let all = world.get(&format!("/v1/push-credentials/{gateway}"), &world.app.server).await.expect(200);
    all["items"].as_array().unwrap().clone()
}

fn outcome(found: &Value) -> (&str, &str) {
    (found["result"].as_str().unwrap(), found["reason"].as_str().unwrap_or(""))
}

async fn put(world: &World, post: &Post, (environment, topics): (Environment, &[&str])) -> String {
    let issued = post.standin.issue_apns(environment, topics).unwrap();
    world.put("/v1/push-credentials/apns", &world.app.server, issued.clone()).await.expect(204);
    issued["key_id"].as_str().unwrap().to_owned()
}

fn refusal(status: u16, reason: &str) -> Fault {
    Fault::Answer { status, reason: reason.into(), retry_after_s: None, timestamp_ms: None }
}

/// A wire to the stand-in: its URL, and how many connections were opened over it.
async fn counted(standin: &StandIn) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (gateway, opened) = (standin.url().replace("https://", ""), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&opened);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut far = TcpStream::connect(&gateway).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (url, opened)
}

/// Sends one push and answers its state.
async fn one(world: &World, post: &Post) -> String {
    let message = post.message(world, |_| {});
    plan(world, &message).await;
    world.drain().await;
    state(world, &message).await
}

both! {
    async fn a_test_asks_the_gateway_itself_and_reaches_no_phone(world) {
        let post = post(world).await;
        let found = asked(world, "apns", json!({})).await;
        assert_eq!((found.len(), outcome(&found[0]), &found[0]["topic"]), (1, ("good", ""), &json!(TOPIC)));
        let found = asked(world, "fcm", json!({})).await;
        assert_eq!((outcome(&found[0]), &found[0]["project_id"]), (("good", ""), &json!("demo-project")));
        let ledger = post.standin.ledger();
        assert!(ledger.iter().all(|row| row.token.bytes().all(|b| b == b'0')), "no phone was sent anything: {ledger:?}");
        world.drain().await;
        for gateway in ["apns", "fcm"] {
            let known = shown(world, gateway).await;
            assert_eq!((&known[0]["warnings"], &known[0]["proven_at"]), (&json!([]), &json!(world.time(0))), "{gateway}");
        }
        let other = world.new_app("Harbour").await;
        world.post("/v1/push-credentials/apns/test", &other.server, json!({})).await.refused(404, "not_found");
        world.post("/v1/push-credentials/apns/test", &world.app.server, json!({"token": "00"})).await.refused(400, "validation_failed");
    }

    async fn a_test_says_what_is_wrong_and_what_to_do(world) {
        let post = post(world).await;
        let found = asked(world, "apns", json!({"topic": "app.kairos.other"})).await;
        assert_eq!(outcome(&found[0]), ("refused", "topic_disallowed"));
        world.drain().await;
        assert_eq!(shown(world, "apns").await[0]["refused_since"], Value::Null, "that topic is none of the key's");
        let mut elsewhere = post.standin.issue_apns(Environment::Sandbox, &[TOPIC]).unwrap();
        elsewhere["environment"] = json!("production");
        world.put("/v1/push-credentials/apns", &world.app.server, elsewhere).await.expect(204);
        assert_eq!(outcome(&asked(world, "apns", json!({})).await[0]), ("refused", "bad_environment_key_id_in_token"));
        world.drain().await;
        let known = shown(world, "apns").await;
        assert_eq!((known.len(), &known[0]["warnings"][0]["code"]), (1, &json!("wrong_environment")), "{known:?}");
        let key_id = put(world, &post, (Environment::Production, &[TOPIC])).await;
        post.standin.revoke_apns(&key_id);
        let found = asked(world, "apns", json!({"key_id": key_id})).await;
        assert_eq!(outcome(&found[0]), ("refused", "invalid_provider_token"));
        assert!(found[0]["message"].as_str().unwrap().contains("revoked"), "{found:?}");
        post.standin.revoke_fcm("kairos@demo-project.iam.gserviceaccount.com");
        assert_eq!(outcome(&asked(world, "fcm", json!({})).await[0]), ("refused", "invalid_grant"));
        world.drain().await;
        let known = shown(world, "fcm").await;
        assert_eq!((&known[0]["refused_reason"], &known[0]["warnings"][0]["code"]), (&json!("invalid_grant"), &json!("refused")));
        post.standin.set_door(Door::Closed, None);
        let found = asked(world, "apns", json!({})).await;
        assert_eq!(found[0]["result"], "unknown", "a gateway that is not reached has not refused anything: {found:?}");
        for _ in 0..10 {
            let answer = world.post("/v1/push-credentials/apns/test", &world.app.server, json!({"environment": "sandbox"})).await;
            if answer.status == 429 {
                answer.refused(429, "too_many_tests");
                return;
            }
        }
        panic!("tests of credentials have a limit");
    }

    async fn each_topic_has_one_key_per_environment_and_the_newest_wins(world) {
        let post = post(world).await;
        let second = put(world, &post, (Environment::Production, &[SECOND_TOPIC])).await;
        assert_eq!(shown(world, "apns").await.len(), 2);
        // Each key may push to its own topic alone: the stand-in would refuse what goes out under the other one.
        let (mine, other, none) = (
            post.message(world, |_| {}),
            post.message(world, |m| m.topic = Some(SECOND_TOPIC.to_owned())),
            post.message(world, |m| m.topic = Some("app.kairos.nobodys".to_owned())),
        );
        queue(world, vec![mine.clone(), other.clone(), none.clone()]).await;
        world.drain().await;
        assert_eq!((state(world, &mine).await, state(world, &other).await), ("accepted".to_owned(), "accepted".to_owned()));
        assert_eq!(state(world, &none).await, "rejected:topic_not_configured");
        assert_eq!(post.standin.provider_tokens(&second), 1);
        // From an open lane too, in the decision's own transaction.
        let other = post.message(world, |m| m.topic = Some(SECOND_TOPIC.to_owned()));
        plan(world, &other).await;
        world.drain().await;
        assert_eq!(state(world, &other).await, "accepted");
        let both = put(world, &post, (Environment::Production, &[TOPIC, SECOND_TOPIC])).await;
        let known = shown(world, "apns").await;
        assert_eq!((known.len(), &known[0]["key_id"]), (1, &json!(both)), "{known:?}");
        let sandbox = put(world, &post, (Environment::Sandbox, &[TOPIC])).await;
        assert_eq!(shown(world, "apns").await.len(), 2, "another environment is another world");
        world.delete(&format!("/v1/push-credentials/apns?key_id={sandbox}"), &world.app.server).await.expect(204);
        assert_eq!(shown(world, "apns").await.len(), 1);
        world.delete("/v1/push-credentials/apns?environment=sandbox", &world.app.server).await.refused(404, "not_found");
    }

    async fn a_key_that_is_refused_holds_up_its_own_topic_alone(world) {
        let post = post(world).await;
        let second = put(world, &post, (Environment::Production, &[SECOND_TOPIC])).await;
        post.standin.revoke_apns(&second);
        let older = |m: &mut NewMessage| (m.topic, m.due_ms) = (Some(SECOND_TOPIC.to_owned()), m.due_ms - MINUTE_MS);
        let theirs: Vec<_> = (0..700).map(|_| post.message(world, older)).collect();
        queue(world, theirs.clone()).await;
        let mine = post.message(world, |m| m.topic = Some(TOPIC.to_owned()));
        queue(world, vec![mine.clone()]).await;
        world.drain().await;
        assert_eq!(state(world, &mine).await, "accepted");
        // So the claim of one key never walks past what waits for the other.
        let routes = world.lines("select topic || ' ' || route as line from messages group by topic, route").await;
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert_ne!(routes[0].split(' ').next_back(), routes[1].split(' ').next_back());
        // Also the one that found it out.
        assert_eq!(world.number("select count(*) from messages where state in ('queued', 'retry_at')").await, 700);
        let (app, now_ms) = (world.app.id, world.now_ms());
        let end = move |conn: &mut kairos::store::Conn| {
            theirs.iter().try_for_each(|m| outbox::cancel(conn, app, (m.id, "over"), now_ms).map(drop))
        };
        world.kairos.platform.store.write(end).await.unwrap();
        world.drain().await;
    }

    async fn what_waits_when_a_topic_gets_a_key_of_its_own_is_moved_to_where_that_one_looks(world) {
        let post = post(world).await;
        let later = |topic: &'static str| move |m: &mut NewMessage| (m.topic, m.due_ms) = (Some(topic.to_owned()), m.due_ms + 1_000);
        let both: Vec<_> = [TOPIC, SECOND_TOPIC].iter().flat_map(|topic| [0; 60].map(|_| post.message(world, later(topic)))).collect();
        queue(world, both).await;
        assert_eq!(world.lines("select distinct route as line from messages").await, ["apns.production"]);
        put(world, &post, (Environment::Production, &[SECOND_TOPIC])).await;
        world.advance(Duration::from_secs(1)).await;
        let ends = world.lines("select distinct state as line from messages").await;
        assert_eq!((ends, world.number("select count(distinct route) from messages").await), (vec!["accepted".to_owned()], 2));
    }

    async fn a_new_key_takes_over_while_pushes_are_under_way_and_none_is_lost_or_doubled(world) {
        let post = post(world).await;
        let old = shown(world, "apns").await[0]["key_id"].as_str().unwrap().to_owned();
        let mut all = Vec::new();
        for wave in 0..4 {
            let messages: Vec<_> = (0..400).map(|_| post.message(world, |_| {})).collect();
            all.extend(messages.clone());
            queue(world, messages).await;
            let change = async {
                if wave > 0 {
                    put(world, &post, (Environment::Production, &[TOPIC])).await;
                }
            };
            tokio::join!(world.drain(), change);
        }
        world.drain().await;
        let states: HashSet<String> = world.lines("select distinct state || coalesce(reason, '') as line from messages").await.into_iter().collect();
        assert_eq!(states, HashSet::from(["accepted".to_owned()]));
        let summary = post.standin.summary();
        assert_eq!((summary.delivered, summary.repeated), (all.len(), 0), "{summary:?}");
        // The old key is of no more use to anybody.
        post.standin.revoke_apns(&old);
        assert_eq!(one(world, &post).await, "accepted");
        let new = shown(world, "apns").await[0]["key_id"].as_str().unwrap().to_owned();
        assert!(post.standin.provider_tokens(&new) > 0 && new != old);
    }

    async fn a_topic_that_apple_refuses_is_told_of_and_holds_up_no_other(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(refusal(400, "TopicDisallowed")));
        assert_eq!(one(world, &post).await, "rejected:topic_disallowed");
        assert_eq!(shown(world, "apns").await[0]["refused_reason"], "topic_disallowed");
        assert_eq!(one(world, &post).await, "accepted");
    }

    async fn a_refused_key_costs_no_message_and_is_asked_after_with_one_push_at_a_time(world) {
        let post = post(world).await;
        assert_eq!(one(world, &post).await, "accepted");
        let key = shown(world, "apns").await[0]["key_id"].as_str().unwrap().to_owned();
        post.standin.revoke_apns(&key);
        let all: Vec<_> = (0..300).map(|_| post.message(world, |_| {})).collect();
        queue(world, all.clone()).await;
        world.drain().await;
        let heard = || post.standin.ledger().len();
        for _ in 0..4 {
            let before = heard();
            world.advance(PAUSE).await;
            assert!(heard() - before <= 1, "{} at once", heard() - before);
        }
        assert_eq!(world.number("select count(*) from messages where state in ('queued', 'retry_at')").await, 300);
        world.delete(&format!("/v1/push-credentials/apns?key_id={key}"), &world.app.server).await;
        put(world, &post, (Environment::Production, &[TOPIC])).await;
        world.drain().await;
        // Those that have found it out wait for their own time.
        world.advance(Duration::from_secs(300)).await;
        for message in &all {
            assert_eq!(state(world, message).await, "accepted");
        }
        assert_eq!(post.standin.summary().repeated, 0);
    }

    async fn after_a_refused_key_the_next_push_goes_over_a_new_connection(world) {
        let post = post(world).await;
        let (url, opened) = counted(&post.standin).await;
        world.restart(|config| (config.apns_url, config.gateway_connections) = (url, 1)).await;
        let opened = || opened.load(Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!((one(world, &post).await.as_str(), opened()), ("accepted", 1));
        }
        post.standin.inject(Rule::once(refusal(403, "InvalidProviderToken")));
        assert_eq!((one(world, &post).await.as_str(), opened()), ("retry_at:invalid_provider_token", 1));
        world.advance(PAUSE).await;
        assert_eq!((world.number("select count(*) from messages where state = 'accepted'").await, opened()), (3, 2));
        assert_eq!((one(world, &post).await.as_str(), opened()), ("accepted", 2));
    }

    async fn after_an_answer_that_ends_its_connection_the_push_goes_again_over_a_new_one(world) {
        let post = post(world).await;
        let (url, opened) = counted(&post.standin).await;
        world.restart(|config| (config.apns_url, config.gateway_connections) = (url, 1)).await;
        let opened = || opened.load(Ordering::SeqCst);
        assert_eq!((one(world, &post).await.as_str(), opened()), ("accepted", 1));
        for (n, (status, reason)) in [(503, "Shutdown"), (400, "IdleTimeout"), (403, "UnrelatedKeyIdInToken")].into_iter().enumerate() {
            post.standin.inject(Rule::once(refusal(status, reason)));
            for _ in 0..2 {
                assert_eq!((one(world, &post).await.as_str(), opened()), ("accepted", n + 2), "{reason}");
            }
        }
        // What says nothing of its connection leaves it open.
        post.standin.inject(Rule::once(refusal(503, "ServiceUnavailable")));
        assert_eq!(one(world, &post).await, "retry_at:service_unavailable");
        world.advance(PAUSE).await;
        assert_eq!((one(world, &post).await.as_str(), opened()), ("accepted", 4));
    }

    async fn what_was_claimed_before_a_refusal_does_not_leave_after_it(world) {
        let post = post(world).await;
        let android = phone_with(world, &post.person, (Gateway::Fcm, "android-1", "phone-2")).await;
        let [first, claimed, refused] = [0; 3].map(|_| message(world, &android, |_| {}));
        plan(world, &first).await;
        world.drain().await;
        let leaves = planned(world, &claimed).await;
        assert_eq!((state(world, &first).await.as_str(), state(world, &claimed).await.as_str()), ("accepted", "sending"));
        post.standin.inject(Rule::once(refusal(403, "PERMISSION_DENIED")));
        plan(world, &refused).await;
        while state(world, &refused).await == "sending" {
            nap(5).await;
        }
        assert_eq!((state(world, &refused).await.as_str(), post.standin.arrivals()), ("retry_at:permission_denied", 2));
        world.kairos.dispatcher().go(leaves);
        world.drain().await;
        assert_eq!((state(world, &claimed).await.as_str(), post.standin.arrivals()), ("queued:no_connection", 2));
        world.advance(PAUSE).await;
        assert_eq!((state(world, &claimed).await.as_str(), state(world, &refused).await.as_str()), ("accepted", "accepted"));
    }

    async fn what_left_before_a_refusal_does_not_end_it(world) {
        let post = post(world).await;
        let android = phone_with(world, &post.person, (Gateway::Fcm, "android-1", "phone-2")).await;
        let send = async |n: usize| {
            queue(world, (0..n).map(|_| message(world, &android, |_| {})).collect()).await;
            world.drain().await;
        };
        send(1).await;
        // All of these leave together, and the last answer is the one that takes its push.
        post.standin.inject(Rule::once(Fault::Slow { wait_ms: 300 }));
        post.standin.inject(Rule::always(refusal(403, "PERMISSION_DENIED")));
        send(20).await;
        let accepted = async || world.number("select count(*) from messages where state = 'accepted'").await;
        assert_eq!((accepted().await, post.standin.arrivals()), (2, 21));
        world.advance(PAUSE).await;
        assert_eq!((accepted().await, post.standin.arrivals()), (2, 22), "one asks");
        post.standin.heal();
        world.advance(PAUSE).await;
        world.advance(PAUSE).await;
        assert_eq!((accepted().await, post.standin.summary().repeated), (21, 0));
    }

    async fn an_outage_is_told_once_and_its_end_once(world) {
        let post = post(world).await;
        world.restart(|config| "127.0.0.0/8".clone_into(&mut config.outbound_allow)).await;
        let subscriber = Subscriber::open().await;
        let body = json!({"url": subscriber.url("/in"), "event_types": ["push_credential.*"]});
        world.post("/v1/webhooks", &world.app.server, body).await.expect(201);
        assert_eq!(one(world, &post).await, "accepted");
        for round in 0..2 {
            post.standin.inject(Rule::always(refusal(403, "InvalidProviderToken")));
            for first in [true, false, false] {
                assert!(!one(world, &post).await.starts_with("accepted"));
                if first {
                    // Another server finds it out by itself.
                    world.restart(|_| {}).await;
                }
                world.advance(PAUSE).await;
            }
            let known = shown(world, "apns").await.remove(0);
            assert_eq!((&known["refused_reason"], &known["warnings"][0]["code"]), (&json!("invalid_provider_token"), &json!("refused")));
            post.standin.heal();
            world.advance(PAUSE).await;
            assert_eq!(one(world, &post).await, "accepted");
            assert_eq!(shown(world, "apns").await[0]["warnings"], json!([]));
            let kinds: Vec<String> =
                subscriber.arrivals().iter().map(|arrival| arrival.json()["type"].as_str().unwrap().to_owned()).collect();
            let wanted = ["push_credential.refused", "push_credential.recovered"].repeat(round + 1);
            assert_eq!(kinds, wanted);
        }
        let told = subscriber.arrivals()[0].json();
        assert_eq!((&told["data"]["gateway"], &told["data"]["reason"]), (&json!("apns"), &json!("invalid_provider_token")), "{told}");
        assert!(told["data"]["advice"].as_str().unwrap().contains("key id"), "{told}");
    }

    async fn a_credential_that_nobody_has_used_for_long_asks_for_attention(world) {
        let post = post(world).await;
        assert_eq!(shown(world, "apns").await[0]["warnings"], json!([]));
        world.advance(DAY + Duration::from_secs(1)).await;
        assert_eq!(shown(world, "apns").await[0]["warnings"][0]["code"], "never_proven");
        assert_eq!(one(world, &post).await, "accepted");
        assert_eq!(shown(world, "apns").await[0]["warnings"], json!([]));
        world.advance(DAY * 30 + Duration::from_secs(1)).await;
        assert_eq!(shown(world, "apns").await[0]["warnings"][0]["code"], "proven_long_ago");
        assert_eq!(shown(world, "fcm").await[0]["warnings"][0]["code"], "never_proven");
    }

    async fn a_key_file_that_google_has_deleted_is_found_out_by_the_first_push(world) {
        let post = post(world).await;
        let person = world.person(&world.app).await;
        crate::outbox::grant(world, &person.token, true).await;
        let android = phone_with(world, &person, (Gateway::Fcm, "android-1", "phone-1")).await;
        post.standin.revoke_fcm("kairos@demo-project.iam.gserviceaccount.com");
        let waiting = message(world, &android, |_| {});
        plan(world, &waiting).await;
        world.drain().await;
        world.advance(Duration::from_secs(5)).await;
        assert_eq!(state(world, &waiting).await, "queued", "it waits for a mended account until its deadline");
        assert_eq!(shown(world, "fcm").await[0]["refused_reason"], "invalid_grant");
        let account = post.standin.issue_fcm("demo-project").unwrap();
        world.put("/v1/push-credentials/fcm", &world.app.server, account).await.expect(204);
        world.drain().await;
        assert_eq!(state(world, &waiting).await, "accepted");
    }

    async fn a_fid_is_an_address_under_the_same_law_as_a_token(world) {
        let post = post(world).await;
        let fid = "cXyz_ABCDEFGHIJKL-1234";
        let register = |person: &crate::world::Person, kind: &'static str, token: &'static str| {
            let body = json!({"platform": "android", "token": token, "token_kind": kind, "push_permission": "granted"});
            let caller = person.token.clone();
            let api = world.api;
            async move { api.put("/v1/me/devices/phone-f", &caller, body).await }
        };
        let (first, second) = (world.person(&world.app).await, world.person(&world.app).await);
        crate::outbox::grant(world, &first.token, true).await;
        let device = register(&first, "fcm_fid", fid).await.expect(201);
        assert_eq!(device["token_kind"], "fcm_fid");
        register(&first, "apns", fid).await.refused_field(400, "validation_failed", "token_kind");
        register(&first, "fcm_fid", "short").await.refused_field(400, "validation_failed", "token");
        let kept = world.lines("select token as line from devices where installation_id = 'phone-f'").await;
        let mut message = post.message(world, |m| {
            (m.gateway, m.topic, m.token) = (Gateway::Fcm, None, kept[0].clone());
        });
        (message.user_id, message.device_id) = (first.id.parse().unwrap(), device["id"].as_str().unwrap().parse().unwrap());
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "accepted");
        assert_eq!(post.arrivals(&message)[0].token, format!("fid:{fid}"));
        // A log-in as someone else takes it along.
        register(&second, "fcm_fid", fid).await.expect(201);
        let mut late = post.message(world, |m| (m.gateway, m.topic, m.token) = (Gateway::Fcm, None, kept[0].clone()));
        (late.user_id, late.device_id) = (message.user_id, message.device_id);
        queue(world, vec![late.clone()]).await;
        world.drain().await;
        assert_eq!(state(world, &late).await, "token_dead:token_dead");
        let gone = refusal(404, "UNREGISTERED");
        post.standin.inject(Rule::once(gone));
        let holder = world.lines("select id as line from devices where token is not null and platform = 'android'").await;
        crate::outbox::grant(world, &second.token, true).await;
        world.clock.advance(Duration::from_secs(1));
        let mut dead = post.message(world, |m| (m.gateway, m.topic, m.token) = (Gateway::Fcm, None, kept[0].clone()));
        (dead.user_id, dead.device_id) = (second.id.parse().unwrap(), holder[0].parse().unwrap());
        plan(world, &dead).await;
        world.drain().await;
        assert_eq!(state(world, &dead).await, "rejected:unregistered");
        assert_eq!(world.number("select count(*) from devices where token is not null and platform = 'android'").await, 0);
    }
}

/// Keys that were stored before there could be several are found, opened and replaced.
#[test]
fn a_key_of_before_is_still_good() {
    crate::world::run(Db::Sqlite, async |world: &mut World| {
        let post = post(world).await;
        let platform = world.kairos.platform.clone();
        let issued = post.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
        let context = format!("push_credentials/{}/apns/production", world.app.id);
        let sealed = platform.master_key.seal(&platform.ids, &context, issued["key_p8"].as_str().unwrap().as_bytes()).unwrap();
        let hex: String = sealed.iter().map(|b| format!("{b:02x}")).collect();
        let mut public = issued.clone();
        public.as_object_mut().unwrap().remove("key_p8");
        let sql =
            format!("update push_credentials set key_id = '', public = '{public}', sealed = x'{hex}' where gateway = 'apns'");
        platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
        world.restart(|_| {}).await;
        assert_eq!(one(world, &post).await, "accepted");
        world.put("/v1/push-credentials/apns", &world.app.server, issued).await.expect(204);
        assert_eq!(shown(world, "apns").await.len(), 1);
        assert_eq!(one(world, &post).await, "accepted");
    });
}
