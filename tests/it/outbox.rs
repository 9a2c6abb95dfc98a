//! The outbox on both databases, judged by the stand-in's ledger: every ending of a message.

use crate::gateway::{TOPIC, open_standin};
use crate::world::{Caller, Db, Lossy, Person, World, nap};
use kairos::clock::{HOUR_MS, MINUTE_MS};
use kairos::id::{DeviceId, MessageId, UserId};
use kairos::people::device::Platform;
use kairos::platform::epoch;
use kairos::push::standin::{Fault, GoneTo, Phone, Quota, Row, Rule, StandIn};
use kairos::push::{Allowed, Content, Environment, Gateway, Mode, NewMessage, Planned, outbox, personal};
use kairos::store::Conn;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

static TOKENS: AtomicU32 = AtomicU32::new(1);

/// A world with a stand-in, credentials stored, one user with one phone.
pub struct Post {
    pub standin: StandIn,
    pub person: Person,
    pub phone: Phoned,
}

/// A user's phone.
#[derive(Clone)]
pub struct Phoned {
    user: UserId,
    device: DeviceId,
    /// Its token.
    pub token: String,
    gateway: Gateway,
}

/// Opens it.
pub async fn post(world: &mut World) -> Post {
    let standin = open_standin(&world.clock).await;
    let ca = world.database.folder().join("standin-ca.pem");
    std::fs::write(&ca, standin.ca_pem()).unwrap();
    let url = standin.url();
    world
        .restart(|config| {
            (config.apns_url, config.fcm_url) = (url.clone(), url);
            config.ca_file = ca.display().to_string();
            config.gateway_timeout_ms = 3_000;
        })
        .await;
    let apns = standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
    let fcm = standin.issue_fcm("demo-project").unwrap();
    world.put("/v1/push-credentials/apns", &world.app.server, apns).await.expect(204);
    world.put("/v1/push-credentials/fcm", &world.app.server, fcm).await.expect(204);
    world.post("/v1/purposes", &world.app.server, purpose()).await.expect(201);
    let person = world.person(&world.app).await;
    grant(world, &person.token, true).await;
    let phone = phone(world, &person, Gateway::Apns).await;
    Post { standin, person, phone }
}

fn purpose() -> Value {
    json!({"key": "offers", "name": "Offers", "basis": "consent", "version": "1", "texts": {"en": "May we send you offers?"}})
}

/// Gives consent, or takes it back.
pub async fn grant(world: &World, user: &Caller, granted: bool) {
    let body = json!({"purpose": "offers", "granted": granted, "text_version": "1", "evidence": {"screen": "test"}});
    let answer = world.post("/v1/me/consents", user, body).await;
    assert!(answer.status < 300, "{answer:?}");
}

/// Registers a phone of this gateway with a token that nobody has.
pub async fn phone(world: &World, person: &Person, gateway: Gateway) -> Phoned {
    let token = format!("{:064x}", TOKENS.fetch_add(1, Ordering::SeqCst));
    phone_with(world, person, (gateway, &token, "phone-1")).await
}

/// Registers a phone.
pub async fn phone_with(world: &World, person: &Person, (gateway, token, installation): (Gateway, &str, &str)) -> Phoned {
    let platform = gateway.platform().name();
    let body = json!({"platform": platform, "token": token, "environment": "production", "topic": TOPIC,
        "locale": "en", "time_zone": "Europe/Paris", "push_permission": "granted", "app_version": "1.0"});
    let answer = world.put(&format!("/v1/me/devices/{installation}"), &person.token, body).await;
    assert!(answer.status < 300, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().parse().unwrap();
    Phoned { user: person.id.parse().unwrap(), device: id, token: token.to_owned(), gateway }
}

impl Phoned {
    /// This device of somebody's, with its token.
    pub fn of(person: &Person, device: &str, (gateway, token): (Gateway, &str)) -> Self {
        let (user, device) = (person.id.parse().unwrap(), device.parse().unwrap());
        Self { user, device, token: token.to_owned(), gateway }
    }

    /// The device.
    pub fn device(&self) -> String {
        self.device.to_string()
    }
}

impl Post {
    /// A message to the first phone, due now.
    pub fn message(&self, world: &World, change: impl FnOnce(&mut NewMessage)) -> NewMessage {
        message(world, &self.phone, change)
    }

    /// What arrived of a message.
    pub fn arrivals(&self, message: &NewMessage) -> Vec<Row> {
        arrivals(&self.standin, message.id)
    }
}

/// What arrived of a message at a stand-in.
pub fn arrivals(standin: &StandIn, id: MessageId) -> Vec<Row> {
    let hyphenated = id.uuid().to_string();
    let is = |row: &Row| row.push_id.as_deref() == Some(&hyphenated) || row.push_id.as_deref() == Some(&id.to_string());
    standin.ledger().into_iter().filter(is).collect()
}

/// A message to this phone, due now.
pub fn message(world: &World, phone: &Phoned, change: impl FnOnce(&mut NewMessage)) -> NewMessage {
    let ids = &world.kairos.platform.ids;
    let mut message = NewMessage {
        id: ids.next(),
        app_id: world.app.id,
        decision_id: ids.next(),
        choice_id: ids.next(),
        user_id: phone.user,
        device_id: phone.device,
        campaign_id: ids.next(),
        offer_id: ids.next(),
        gateway: phone.gateway,
        token: phone.token.clone(),
        environment: Environment::Production,
        topic: Some(TOPIC.to_owned()),
        test: false,
        content: Content { title: Some("Welcome".into()), body: "Lounge, 2 min".into(), ..Content::default() },
        activity: None,
        collapse_id: "lounge".into(),
        mode: Mode::AtMostOnce,
        bulk: false,
        allowed: Allowed {
            purpose: "offers".into(),
            partner_id: None,
            topic: None,
            critical: false,
            trigger_needs: vec![],
            consent_ids: vec![],
            until_ms: None,
        },
        consent_epoch: 0,
        app_consent_epoch: 0,
        due_ms: world.now_ms(),
        deadline_ms: world.now_ms() + HOUR_MS,
    };
    change(&mut message);
    message
}

/// Plans as a decision does, with the epochs of this moment, and hands over after the commit.
pub async fn plan(world: &World, message: &NewMessage) {
    let planned = planned(world, message).await;
    world.kairos.dispatcher().go(planned);
}

/// The same as far as the commit.
pub async fn planned(world: &World, message: &NewMessage) -> Planned {
    let (mut message, planner, now_ms) = (message.clone(), world.kairos.dispatcher().clone(), world.now_ms());
    world
        .kairos
        .platform
        .store
        .write(move |conn| {
            let scopes = [epoch::Scope::Consent(message.user_id), epoch::Scope::AppConsent];
            let epochs = epoch::read(conn, message.app_id, &scopes)?;
            message.consent_epoch = epochs[&scopes[0]];
            message.app_consent_epoch = epochs[&scopes[1]];
            outbox::plan(conn, &planner, vec![message], now_ms)
        })
        .await
        .unwrap()
}

/// Puts messages into the outbox as they are, all at once.
pub async fn queue(world: &World, messages: Vec<NewMessage>) {
    let (dispatcher, now_ms) = (world.kairos.dispatcher().clone(), world.now_ms());
    world.kairos.platform.store.write(move |c| outbox::insert_many(c, &dispatcher, &messages, now_ms)).await.unwrap();
}

/// The state of a message and its reason.
pub async fn state(world: &World, message: &NewMessage) -> String {
    let sql = format!("select state || coalesce(':' || reason, '') as line from messages where id = '{}'", message.id);
    world.lines(&sql).await.pop().unwrap()
}

/// The token that a device has now.
pub async fn token_of(world: &World, phone: &Phoned) -> String {
    world
        .lines(&format!("select coalesce(token, 'none') as line from devices where id = '{}'", phone.device))
        .await
        .pop()
        .unwrap()
}

fn gone(timestamp_ms: i64) -> Fault {
    Fault::Answer { status: 410, reason: "Unregistered".into(), retry_after_s: None, timestamp_ms: Some(timestamp_ms) }
}

fn later(status: u16, reason: &str, retry_after_s: Option<i64>) -> Fault {
    Fault::Answer { status, reason: reason.into(), retry_after_s, timestamp_ms: None }
}

async fn pause() {
    nap(300).await;
}

/// A message that waits for a minute to be sent again, and the phone of somebody new to which it goes. If it is `unheard`,
/// it is on that phone, and nobody has heard so.
async fn waits_again(world: &World, post: &Post, (unheard, good_for_ms): (bool, i64)) -> (Person, Phoned, NewMessage) {
    // A way that was cut has its pauses until a push is taken on it again.
    let other = post.message(world, |_| {});
    plan(world, &other).await;
    world.drain().await;
    assert_eq!(state(world, &other).await, "accepted");
    let person = world.person(&world.app).await;
    grant(world, &person.token, true).await;
    let phone = phone(world, &person, Gateway::Apns).await;
    let message = message(world, &phone, |m| (m.mode, m.deadline_ms) = (Mode::AtLeastOnce, m.due_ms + good_for_ms));
    if unheard {
        post.standin.inject(Rule::once(Fault::CutAfterRequest).to(phone.token.clone()));
    }
    post.standin.inject(Rule::once(later(503, "ServiceUnavailable", Some(60))).to(phone.token.clone()));
    plan(world, &message).await;
    world.drain().await;
    assert_eq!(state(world, &message).await, "retry_at:service_unavailable");
    let delivered: Vec<bool> = post.arrivals(&message).iter().map(|row| row.delivered).collect();
    assert_eq!(delivered, if unheard { vec![true, false] } else { vec![false] });
    (person, phone, message)
}

both! {
    async fn a_message_due_now_is_accepted_once_with_its_ids_and_deadline(world) {
        let post = post(world).await;
        for _ in 0..2 {
            // The first finds no connection and waits in the queue; the second goes from its own transaction.
            let message = post.message(world, |m| m.deadline_ms += 999);
            plan(world, &message).await;
            world.drain().await;
            assert_eq!(state(world, &message).await, "accepted");
            let rows = post.arrivals(&message);
            assert_eq!(rows.len(), 1);
            let row = &rows[0];
            assert_eq!((row.answer.as_str(), row.token.as_str()), ("200", post.phone.token.as_str()));
            assert_eq!(row.collapse_id.as_deref(), Some("lounge"));
            assert_eq!(row.keep_until_ms, Some(message.deadline_ms / 1_000 * 1_000));
            let stamp = row.kairos.as_ref().unwrap();
            assert_eq!((stamp.message_id.as_str(), stamp.deadline_ms), (message.id.to_string().as_str(), message.deadline_ms));
        }
        // An attempt that was accepted at once is not written out: the row's status and time are its story.
        let attempts = world.lines("select attempts as line from messages").await;
        assert_eq!(attempts, ["[]", "[]"]);
    }

    async fn a_phone_of_googles_gets_it_with_a_ttl_that_ends_by_the_deadline(world) {
        let post = post(world).await;
        let person = world.person(&world.app).await;
        grant(world, &person.token, true).await;
        let android = phone(world, &person, Gateway::Fcm).await;
        let message = message(world, &android, |m| m.deadline_ms = m.due_ms + 90_500);
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "accepted");
        let rows = post.arrivals(&message);
        assert_eq!((rows.len(), rows[0].keep_until_ms), (1, Some(world.now_ms() + 90_000)));
    }

    async fn a_message_for_later_waits_for_its_time(world) {
        let post = post(world).await;
        let message = post.message(world, |m| m.due_ms += 10 * MINUTE_MS);
        plan(world, &message).await;
        world.drain().await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("queued".to_owned(), 0));
        world.advance(Duration::from_secs(10 * 60)).await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("accepted".to_owned(), 1));
    }

    async fn a_message_whose_deadline_passes_in_the_queue_expires_unsent(world) {
        let post = post(world).await;
        let message = post.message(world, |m| (m.due_ms, m.deadline_ms) = (m.due_ms + MINUTE_MS, m.due_ms + 2 * MINUTE_MS));
        plan(world, &message).await;
        world.advance(Duration::from_secs(2 * 60)).await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("expired:deadline".to_owned(), 0));
    }

    async fn a_withdrawn_consent_ends_what_waits_as_revoked(world) {
        let post = post(world).await;
        let message = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &message).await;
        grant(world, &post.person.token, false).await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("revoked:consent".to_owned(), 0));
    }

    async fn one_that_cannot_say_what_it_rests_on_is_not_sent_and_holds_up_nobody(world) {
        let post = post(world).await;
        for moved in [true, false] {
            let [odd, good] = [0; 2].map(|_| post.message(world, |m| m.due_ms += 2_000));
            plan(world, &odd).await;
            plan(world, &good).await;
            let sql = format!("update message_bodies set consent = '{{\"topic\": 1}}' where id = '{}'", odd.id);
            world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.unwrap();
            if moved {
                grant(world, &post.person.token, true).await;
            }
            world.advance(Duration::from_secs(2)).await;
            assert_eq!((state(world, &odd).await.as_str(), state(world, &good).await.as_str()), ("revoked:consent", "accepted"), "{moved}");
        }
    }

    async fn a_consent_that_was_withdrawn_and_given_again_lets_it_go_under_the_new_record(world) {
        let post = post(world).await;
        let message = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &message).await;
        grant(world, &post.person.token, false).await;
        grant(world, &post.person.token, true).await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &message).await, "accepted");
        assert!(world.lines("select consent as line from messages").await[0].contains("con_"));
    }

    async fn a_phone_that_now_is_someone_elses_ends_what_waits_as_token_dead(world) {
        let post = post(world).await;
        let message = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &message).await;
        let other = world.person(&world.app).await;
        phone_with(world, &other, (Gateway::Apns, &post.phone.token, "phone-1")).await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("token_dead:token_dead".to_owned(), 0));
    }

    async fn a_new_token_on_the_same_phone_ends_what_waits_for_the_old_one(world) {
        let post = post(world).await;
        let message = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &message).await;
        phone(world, &post.person, Gateway::Apns).await;
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &message).await, "token_dead:token_dead");
    }

    async fn whatever_takes_a_token_from_a_phone_ends_what_waits_for_it(world) {
        let post = post(world).await;
        for way in ["forgotten", "signed out", "turned over to another installation", "switched off"] {
            let person = world.person(&world.app).await;
            grant(world, &person.token, true).await;
            let phone = phone(world, &person, Gateway::Apns).await;
            let message = message(world, &phone, |m| m.due_ms += MINUTE_MS);
            plan(world, &message).await;
            match way {
                "forgotten" => drop(world.delete("/v1/me/devices/phone-1", &person.token).await.expect(204)),
                "signed out" => drop(world.post("/v1/auth/sign-out", &person.token, json!({})).await.expect(204)),
                "switched off" => {
                    let without = json!({"platform": "ios", "environment": "production", "topic": TOPIC});
                    world.put("/v1/me/devices/phone-1", &person.token, without).await.expect(200);
                }
                _ => drop(phone_with(world, &person, (Gateway::Apns, &phone.token, "phone-2")).await),
            }
            world.advance(Duration::from_secs(60)).await;
            assert_eq!(state(world, &message).await, "token_dead:token_dead", "{way}");
            assert!(post.arrivals(&message).is_empty(), "{way}");
        }
    }

    async fn a_phone_that_says_again_what_it_has_said_moves_no_epoch(world) {
        let post = post(world).await;
        let epochs = "select coalesce(sum(value), 0) from epochs where scope = 'consent'";
        let before = world.number(epochs).await;
        phone_with(world, &post.person, (Gateway::Apns, &post.phone.token, "phone-1")).await;
        assert_eq!(world.number(epochs).await, before);
    }

    async fn a_gone_phone_is_rejected_and_its_token_deleted_if_it_was_registered_before(world) {
        let post = post(world).await;
        world.advance(Duration::from_secs(5 * 60)).await;
        let now_ms = world.now_ms();
        // Dead since before its registration: the phone has come back since, the verdict says nothing about it.
        post.standin.inject(Rule::once(gone(now_ms - 6 * MINUTE_MS)));
        let first = post.message(world, |_| {});
        plan(world, &first).await;
        world.drain().await;
        assert_eq!(state(world, &first).await, "rejected:unregistered");
        assert_eq!(token_of(world, &post.phone).await, post.phone.token);
        let third = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &third).await;
        post.standin.inject(Rule::once(gone(now_ms - MINUTE_MS)));
        let second = post.message(world, |_| {});
        plan(world, &second).await;
        world.drain().await;
        assert_eq!((state(world, &second).await, token_of(world, &post.phone).await), ("rejected:unregistered".into(), "none".into()));
        // From now on nothing is sent to it, not even what was planned before.
        world.advance(Duration::from_secs(60)).await;
        assert_eq!((state(world, &third).await, post.arrivals(&third).len()), ("token_dead:token_dead".into(), 0));
    }

    async fn a_refusal_for_now_is_tried_again_when_the_gateway_asked_for_it(world) {
        let post = post(world).await;
        for (status, reason) in [(429, "TooManyRequests"), (500, "InternalServerError"), (503, "ServiceUnavailable")] {
            post.standin.inject(Rule::once(later(status, reason, Some(30))));
            let message = post.message(world, |_| {});
            plan(world, &message).await;
            world.drain().await;
            assert!(state(world, &message).await.starts_with("retry_at:"), "{status}");
            world.advance(Duration::from_millis(29_999)).await;
            assert_eq!(post.arrivals(&message).len(), 1, "{status}");
            world.advance(Duration::from_millis(1)).await;
            assert_eq!((state(world, &message).await, post.arrivals(&message).len()), ("accepted".to_owned(), 2), "{status}");
        }
    }

    async fn without_a_word_from_the_gateway_the_pauses_grow_and_end_at_the_deadline(world) {
        let post = post(world).await;
        post.standin.inject(Rule::always(later(503, "ServiceUnavailable", None)));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        for _ in 0..60 {
            world.advance(Duration::from_secs(60)).await;
        }
        assert_eq!(state(world, &message).await, "expired:deadline");
        let rows = post.arrivals(&message);
        assert!(rows.len() >= 3 && rows.len() <= 40, "{}", rows.len());
        assert!(rows.iter().all(|row| row.at_ms < message.deadline_ms));
    }

    async fn what_is_tried_very_often_lists_its_first_attempts_and_its_last(world) {
        let post = post(world).await;
        // As long a word of the gateway's as is kept.
        post.standin.inject(Rule::always(later(429, &"r".repeat(56), Some(1))));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        let again = async |times: usize| {
            for _ in 0..times {
                world.advance(Duration::from_secs(1)).await;
            }
            let read = world.get(&format!("/v1/messages/{}", message.id), &world.app.server).await.expect(200);
            read["attempts"].as_array().unwrap().iter().map(|attempt| attempt["n"].as_u64().unwrap()).collect::<Vec<u64>>()
        };
        let (before, after) = (again(129).await, again(10).await);
        let bytes = world.lines("select attempts as line from messages").await[0].len();
        assert!((16_000..16_800).contains(&bytes), "{bytes}");
        let first = u64::try_from(before.len()).unwrap() - 1;
        let wanted = |last: u64| (1..=first).chain([last]).collect::<Vec<u64>>();
        assert_eq!((&before, &after, post.arrivals(&message).len()), (&wanted(130), &wanted(140), 140));
        post.standin.heal();
        assert_eq!((again(1).await.last(), state(world, &message).await.as_str()), (Some(&141), "accepted"));
    }

    async fn a_gateway_that_asks_for_no_pause_is_not_asked_again_at_once(world) {
        let post = post(world).await;
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        post.standin.inject(Rule::always(later(503, "ServiceUnavailable", Some(0))));
        world.drain().await;
        assert_eq!(post.arrivals(&message).len(), 1);
        post.standin.heal();
        world.advance(Duration::from_secs(1)).await;
        assert_eq!((state(world, &message).await.as_str(), post.arrivals(&message).len()), ("accepted", 2));
    }

    async fn a_retry_after_beyond_the_deadline_is_not_tried(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(later(429, "TooManyRequests", Some(7_200))));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        world.advance(Duration::from_secs(3 * 3_600)).await;
        assert_eq!((state(world, &message).await, post.arrivals(&message).len()), ("expired:deadline".to_owned(), 1));
    }

    async fn a_cut_after_the_request_ends_as_unknown_and_is_not_sent_again(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(Fault::CutAfterRequest));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "unknown:connection_lost");
        world.advance(Duration::from_secs(30 * 60)).await;
        assert_eq!(post.arrivals(&message).len(), 1);
    }

    async fn a_cut_after_the_request_is_sent_again_under_the_same_ids_where_the_campaign_wants_that(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(Fault::CutAfterRequest));
        let message = post.message(world, |m| m.mode = Mode::AtLeastOnce);
        plan(world, &message).await;
        world.drain().await;
        let rows = post.arrivals(&message);
        assert_eq!((state(world, &message).await, rows.len()), ("accepted".to_owned(), 2));
        assert_eq!((&rows[0].push_id, &rows[0].collapse_id), (&rows[1].push_id, &rows[1].collapse_id));
    }

    async fn a_silent_gateway_leaves_it_unknown(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(Fault::Silent));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        assert_eq!((state(world, &message).await, post.arrivals(&message).len()), ("unknown:timeout".to_owned(), 1));
    }

    async fn a_refused_stream_is_sent_again_at_once(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(Fault::RefuseStream));
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        let delivered = post.arrivals(&message).iter().filter(|row| row.delivered).count();
        assert_eq!((state(world, &message).await, delivered), ("accepted".to_owned(), 1));
    }

    async fn a_goaway_resends_what_was_not_processed_and_nothing_else(world) {
        let post = post(world).await;
        let safe = post.message(world, |_| {});
        post.standin.inject(Rule::once(Fault::GoAway { last: GoneTo::Before, close: false }));
        plan(world, &safe).await;
        world.drain().await;
        let delivered = post.arrivals(&safe).iter().filter(|row| row.delivered).count();
        assert_eq!((state(world, &safe).await, delivered), ("accepted".to_owned(), 1));
        let ambiguous = post.message(world, |_| {});
        post.standin.inject(Rule::once(Fault::GoAway { last: GoneTo::This, close: true }));
        plan(world, &ambiguous).await;
        world.drain().await;
        assert!(state(world, &ambiguous).await.starts_with("unknown:"));
        assert_eq!(post.arrivals(&ambiguous).len(), 1);
    }

    async fn a_permanent_refusal_ends_the_message_and_keeps_the_token(world) {
        let post = post(world).await;
        for reason in ["BadDeviceToken", "PayloadTooLarge", "SomethingNew"] {
            post.standin.inject(Rule::once(later(400, reason, None)));
            let message = post.message(world, |_| {});
            plan(world, &message).await;
            world.drain().await;
            assert!(state(world, &message).await.starts_with("rejected:"), "{reason}");
        }
        assert_eq!(token_of(world, &post.phone).await, post.phone.token);
    }

    async fn a_token_of_ours_that_apple_calls_expired_is_made_anew_once(world) {
        let post = post(world).await;
        let first = post.message(world, |_| {});
        plan(world, &first).await;
        world.drain().await;
        world.advance(Duration::from_secs(25 * 60)).await;
        post.standin.inject(Rule::once(later(403, "ExpiredProviderToken", None)));
        let second = post.message(world, |_| {});
        plan(world, &second).await;
        world.drain().await;
        assert_eq!((state(world, &second).await, post.arrivals(&second).len()), ("accepted".to_owned(), 2));
    }

    async fn an_answer_that_lands_while_the_outbox_is_looked_at_is_worked_off_all_the_same(world) {
        let post = post(world).await;
        for round in 0..150 {
            post.standin.inject(Rule::once(Fault::RefuseStream));
            let message = post.message(world, |_| {});
            plan(world, &message).await;
            world.drain().await;
            assert_eq!(state(world, &message).await, "accepted", "{round}");
        }
    }

    async fn pushes_go_on_past_the_hour_for_which_a_token_of_ours_is_good(world) {
        let post = post(world).await;
        for _ in 0..8 {
            let apns = post.message(world, |_| {});
            plan(world, &apns).await;
            world.drain().await;
            assert_eq!(state(world, &apns).await, "accepted");
            world.advance(Duration::from_secs(23 * 60)).await;
        }
    }

    async fn a_pause_of_a_clock_that_was_set_back_is_over(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(later(403, "InvalidProviderToken", None)));
        let (refused, paused) = (post.message(world, |_| {}), post.message(world, |_| {}));
        plan(world, &refused).await;
        world.drain().await;
        plan(world, &paused).await;
        world.drain().await;
        assert_eq!((state(world, &paused).await, post.arrivals(&paused).len()), ("queued".to_owned(), 0));
        world.clock.set(world.now_ms() - HOUR_MS);
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "accepted");
        world.advance(Duration::from_millis((HOUR_MS + MINUTE_MS).unsigned_abs())).await;
        assert_eq!(state(world, &paused).await, "accepted");
    }

    async fn a_credential_that_comes_while_its_absence_is_read_is_not_overlooked(world) {
        let post = post(world).await;
        let apns = post.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
        for _ in 0..10 {
            world.delete("/v1/push-credentials/apns", &world.app.server).await.expect(204);
            let (early, late) = (post.message(world, |_| {}), post.message(world, |_| {}));
            plan(world, &early).await;
            let put = world.put("/v1/push-credentials/apns", &world.app.server, apns.clone());
            let ((), answer) = tokio::join!(world.drain(), put);
            answer.expect(204);
            plan(world, &late).await;
            world.drain().await;
            assert_eq!(state(world, &late).await, "accepted");
        }
    }

    async fn a_credential_is_used_though_who_stored_it_hangs_up_before_it_is_written(world) {
        let post = post(world).await;
        world.delete("/v1/push-credentials/apns", &world.app.server).await.expect(204);
        let absent = post.message(world, |_| {});
        plan(world, &absent).await;
        world.drain().await;
        assert_eq!(state(world, &absent).await, "rejected:no_credential");
        // All writers are busy while the request comes in and its caller goes.
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let writers = [1, 2].map(|_| {
            let (store, wait) = (world.kairos.platform.store.clone(), Arc::clone(&wait));
            let blocked = move |_: &mut Conn| {
                wait.lock().unwrap().recv().unwrap();
                Ok(())
            };
            tokio::spawn(async move { store.write(blocked).await.unwrap() })
        });
        let body = post.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap().to_string();
        let Caller::Bearer(key) = &world.app.server else { panic!("a server key") };
        let head = format!("PUT /v1/push-credentials/apns HTTP/1.1\r\nhost: kairos.test\r\nauthorization: Bearer {key}\r\n\
            content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut caller = tokio::net::TcpStream::connect(world.api.address).await.unwrap();
        caller.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        pause().await;
        caller.set_zero_linger().unwrap();
        drop(caller);
        pause().await;
        for _ in &writers {
            go_on.send(()).unwrap();
        }
        for writer in writers {
            writer.await.unwrap();
        }
        while world.number("select count(*) from push_credentials where gateway = 'apns'").await == 0 {
            tokio::task::yield_now().await;
        }
        pause().await;
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        assert_eq!(state(world, &message).await, "accepted");
    }

    async fn an_app_without_a_credential_gets_a_reason(world) {
        let post = post(world).await;
        world.delete("/v1/push-credentials/apns", &world.app.server).await.expect(204);
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        assert_eq!((state(world, &message).await, post.standin.arrivals()), ("rejected:no_credential".to_owned(), 0));
    }

    async fn a_credential_is_checked_on_write_and_never_shown_again(world) {
        let post = post(world).await;
        let shown = world.get("/v1/push-credentials/apns", &world.app.server).await.expect(200).to_string();
        assert!(shown.contains(TOPIC) && !shown.contains("PRIVATE") && !shown.contains("key_p8"), "{shown}");
        let mut wrong = post.standin.issue_apns(Environment::Production, &[TOPIC]).unwrap();
        wrong["key_p8"] = json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----");
        world.put("/v1/push-credentials/apns", &world.app.server, wrong).await.refused(400, "validation_failed");
        let mut elsewhere = post.standin.issue_fcm("demo-project").unwrap();
        elsewhere["service_account"]["token_uri"] = json!("https://169.254.169.254/token");
        world.put("/v1/push-credentials/fcm", &world.app.server, elsewhere).await.refused(400, "validation_failed");
        let other = world.new_app("Harbour").await;
        world.get("/v1/push-credentials/apns", &other.server).await.refused(404, "not_found");
    }

    async fn a_crash_leaves_what_was_on_its_way_unknown_or_sends_it_again_by_its_mode(world) {
        let post = post(world).await;
        let once = post.message(world, |m| m.due_ms += MINUTE_MS);
        let again = post.message(world, |m| (m.due_ms, m.mode) = (m.due_ms + MINUTE_MS, Mode::AtLeastOnce));
        plan(world, &once).await;
        plan(world, &again).await;
        let sql = "update message_states set state = 'sending', attempt = 1, sending_ms = due_ms";
        world.kairos.platform.store.write(move |conn| conn.batch(sql)).await.unwrap();
        world.restart(|_| {}).await;
        world.drain().await;
        assert_eq!((state(world, &once).await, post.arrivals(&once).len()), ("unknown:crash".to_owned(), 0));
        assert_eq!((state(world, &again).await, post.arrivals(&again).len()), ("accepted".to_owned(), 1));
    }

    async fn a_stopped_campaign_ends_what_waits_of_it_and_nothing_else(world) {
        let post = post(world).await;
        let stopped = post.message(world, |m| m.due_ms += MINUTE_MS);
        let other = post.message(world, |m| m.due_ms += MINUTE_MS);
        plan(world, &stopped).await;
        plan(world, &other).await;
        let (app, campaign, now_ms) = (world.app.id, stopped.campaign_id, world.now_ms());
        world.kairos.platform.store.write(move |c| outbox::cancel_campaign(c, app, (campaign, "campaign_stopped"), now_ms)).await.unwrap();
        world.advance(Duration::from_secs(60)).await;
        assert_eq!(state(world, &stopped).await, "cancelled:campaign_stopped");
        assert_eq!((state(world, &other).await, post.standin.arrivals()), ("accepted".to_owned(), 1));
    }

    async fn what_is_stopped_while_it_is_being_sent_is_not_tried_again(world) {
        let post = post(world).await;
        let store = world.kairos.platform.store.clone();
        for (mode, by_campaign) in [(Mode::AtMostOnce, true), (Mode::AtLeastOnce, false)] {
            let message = post.message(world, |m| m.mode = mode);
            // Apple takes the push and falls silent; with at_least_once the timeout would send it again.
            post.standin.inject(Rule::once(Fault::Silent));
            plan(world, &message).await;
            let (app, now_ms, stopped) = (world.app.id, world.now_ms(), message.clone());
            let stop = async {
                while post.arrivals(&message).is_empty() {
                    nap(5).await;
                }
                let stop = move |c: &mut Conn| match by_campaign {
                    true => outbox::cancel_campaign(c, app, (stopped.campaign_id, "campaign_stopped"), now_ms),
                    false => outbox::cancel(c, app, (stopped.id, "cancelled"), now_ms).map(|found| assert!(found)),
                };
                store.write(stop).await.unwrap();
            };
            tokio::join!(world.drain(), stop);
            world.advance(Duration::from_secs(30 * 60)).await;
            assert_eq!(post.arrivals(&message).len(), 1, "{mode:?}");
            assert_eq!(state(world, &message).await, "unknown:timeout", "it may be on the phone");
        }
    }

    async fn whatever_ends_the_wait_of_what_may_have_arrived_nobody_knows_whether_it_did(world) {
        let post = post(world).await;
        let ways = [
            ("cancelled", "cancelled"),
            ("cancelled", "campaign_stopped"),
            ("cancelled", "superseded"),
            ("expired", "deadline"),
            ("revoked", "consent"),
            ("token_dead", "token_dead"),
            ("token_dead", "user_left"),
            ("rejected", "payload_too_large"),
            ("rejected", "unregistered"),
        ];
        for ((end, why), unheard) in ways.into_iter().flat_map(|way| [(way, false), (way, true)]) {
            let good_for_ms = if why == "deadline" { MINUTE_MS } else { HOUR_MS };
            let (person, phone, message) = waits_again(world, &post, (unheard, good_for_ms)).await;
            let before = post.arrivals(&message).len();
            let (store, app, now_ms) = (world.kairos.platform.store.clone(), world.app.id, world.now_ms());
            let (id, campaign, decision, user) = (message.id, message.campaign_id, message.decision_id, message.user_id);
            let refused = match why {
                "payload_too_large" => Some(later(400, "PayloadTooLarge", None)),
                "unregistered" => Some(gone(now_ms + 30_000)),
                _ => None,
            };
            match why {
                "cancelled" => assert!(store.write(move |c| outbox::cancel(c, app, (id, why), now_ms)).await.unwrap()),
                "campaign_stopped" => store.write(move |c| outbox::cancel_campaign(c, app, (campaign, why), now_ms)).await.unwrap(),
                "superseded" => {
                    let stop = move |c: &mut Conn| outbox::cancel_decisions(c, app, (&[decision], why), now_ms);
                    assert_eq!(store.write(stop).await.unwrap(), 1);
                }
                "user_left" => store.write(move |c| personal::stop(c, app, user, now_ms)).await.unwrap(),
                "consent" => grant(world, &person.token, false).await,
                "token_dead" => drop(world.delete("/v1/me/devices/phone-1", &person.token).await.expect(204)),
                _ => {}
            }
            if let Some(fault) = &refused {
                post.standin.inject(Rule::once(fault.clone()).to(phone.token.clone()));
            }
            world.advance(Duration::from_secs(61)).await;
            let end = if unheard { "unknown" } else { end };
            assert_eq!(state(world, &message).await, format!("{end}:{why}"), "{unheard}");
            assert_eq!(post.arrivals(&message).len(), before + usize::from(refused.is_some()), "{why} {unheard}");
            if why == "unregistered" {
                assert_eq!(token_of(world, &phone).await, "none", "what the gateway says of the token is true all the same");
            }
        }
        // The answer to a later attempt says that it was taken: then that is known.
        let (_, _, message) = waits_again(world, &post, (true, HOUR_MS)).await;
        world.advance(Duration::from_secs(61)).await;
        assert_eq!((state(world, &message).await.as_str(), post.arrivals(&message).len()), ("accepted", 3));
    }

    async fn what_may_have_arrived_and_passes_its_deadline_while_nothing_goes_out_is_unknown(world) {
        let post = post(world).await;
        let (_, _, unheard) = waits_again(world, &post, (true, MINUTE_MS)).await;
        let (_, _, heard) = waits_again(world, &post, (false, MINUTE_MS)).await;
        world.advance(Duration::from_secs(50)).await;
        post.standin.inject(Rule::once(later(403, "InvalidProviderToken", None)).to(post.phone.token.clone()));
        let refused = post.message(world, |_| {});
        plan(world, &refused).await;
        world.drain().await;
        // No way is free for the next half minute. What is late is looked for once a second.
        for _ in 0..3 {
            world.advance(Duration::from_secs(5)).await;
        }
        assert_eq!(state(world, &unheard).await, "unknown:deadline");
        assert_eq!(state(world, &heard).await, "expired:deadline");
        assert_eq!((post.arrivals(&unheard).len(), post.arrivals(&heard).len()), (2, 1));
        for _ in 0..4 {
            world.advance(Duration::from_secs(60)).await;
        }
        assert_eq!(state(world, &refused).await, "accepted");
    }

    async fn all_that_is_late_behind_a_shut_lane_ends_together_however_much_it_is(world) {
        let post = post(world).await;
        post.standin.inject(Rule::once(later(403, "InvalidProviderToken", None)));
        let refused = post.message(world, |_| {});
        plan(world, &refused).await;
        world.drain().await;
        queue(world, (0..1_200).map(|_| post.message(world, |m| m.deadline_ms = m.due_ms + 5_000)).collect()).await;
        world.drain().await;
        world.advance(Duration::from_secs(6)).await;
        assert_eq!(world.number("select count(*) from messages where state = 'expired'").await, 1_200);
        world.advance(Duration::from_secs(60)).await;
        assert_eq!((state(world, &refused).await.as_str(), post.standin.arrivals()), ("accepted", 2));
    }

    async fn what_is_stopped_during_an_attempt_that_fails_may_have_arrived_by_an_earlier_one(world) {
        let post = post(world).await;
        let person = world.person(&world.app).await;
        grant(world, &person.token, true).await;
        let android = phone(world, &person, Gateway::Fcm).await;
        for unheard in [false, true] {
            if unheard {
                post.standin.inject(Rule::once(Fault::CutAfterRequest).to(android.token.clone()));
            }
            // Google takes its time, and refuses for now.
            post.standin.inject(Rule::once(Fault::Slow { wait_ms: 1_500 }).to(android.token.clone()));
            post.standin.set_quota(Some(Quota { per_minute: 0, retry_after_s: Some(60) }));
            let message = message(world, &android, |m| m.mode = Mode::AtLeastOnce);
            plan(world, &message).await;
            let (store, app, id, now_ms) = (world.kairos.platform.store.clone(), world.app.id, message.id, world.now_ms());
            let flies = format!("select coalesce(max(attempt), 0) from messages where id = '{id}' and state = 'sending'");
            let stop = async {
                // No other attempt takes as long as the slow one.
                let mut seen = 0;
                for _ in 0..50 {
                    nap(200).await;
                    let attempt = world.number(&flies).await;
                    if attempt > 0 && attempt == seen && post.arrivals(&message).len() == usize::from(unheard) {
                        break;
                    }
                    seen = attempt;
                }
                assert!(store.write(move |c| outbox::cancel(c, app, (id, "cancelled"), now_ms)).await.unwrap());
            };
            tokio::join!(world.drain(), stop);
            let end = if unheard { "unknown:cancelled" } else { "cancelled:cancelled" };
            assert_eq!(state(world, &message).await, end);
            world.advance(Duration::from_secs(10 * 60)).await;
            assert_eq!(post.arrivals(&message).len(), 1 + usize::from(unheard));
        }
    }

    async fn what_is_sending_in_the_database_alone_is_taken_up_without_a_restart(world) {
        let post = post(world).await;
        let once = post.message(world, |m| m.due_ms += HOUR_MS / 2);
        let again = post.message(world, |m| (m.due_ms, m.mode) = (m.due_ms + HOUR_MS / 2, Mode::AtLeastOnce));
        plan(world, &once).await;
        plan(world, &again).await;
        let sql = "update message_states set state = 'sending', attempt = 1, sending_ms = due_ms";
        world.kairos.platform.store.write(move |conn| conn.batch(sql)).await.unwrap();
        world.advance(Duration::from_secs(15)).await;
        assert_eq!((state(world, &once).await, state(world, &again).await), ("sending".into(), "sending".into()));
        world.advance(Duration::from_secs(15)).await;
        assert_eq!((state(world, &once).await, post.arrivals(&once).len()), ("unknown:lost".to_owned(), 0));
        assert_eq!((state(world, &again).await, post.arrivals(&again).len()), ("accepted".to_owned(), 1));
    }

    async fn an_edge_that_no_life_has_is_refused_by_the_database(world) {
        let post = post(world).await;
        let message = post.message(world, |_| {});
        plan(world, &message).await;
        world.drain().await;
        for state in ["queued", "sending", "retry_at", "rejected", "unknown"] {
            let sql = format!("update message_states set state = '{state}'");
            assert!(world.kairos.platform.store.write(move |conn| conn.batch(&sql)).await.is_err(), "{state}");
        }
    }

    async fn many_messages_go_in_batches_and_each_arrives_once(world) {
        let post = post(world).await;
        let known = post.standin.clone();
        known.register(post.phone.token.clone(), Phone { gateway: Gateway::Apns, environment: Environment::Production, topic: None, dead_ms: None });
        let messages: Vec<NewMessage> = (0..1_500).map(|_| post.message(world, |_| {})).collect();
        queue(world, messages).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where state = 'accepted'").await, 1_500);
        let ids: std::collections::HashSet<_> = post.standin.ledger().into_iter().map(|row| row.push_id).collect();
        assert_eq!((post.standin.arrivals(), ids.len()), (1_500, 1_500));
        assert_eq!(Gateway::of(Platform::Ios), Gateway::Apns);
    }
}

/// A claim commits and the line breaks before anybody hears of it: the message still goes, once, and soon.
#[test]
fn a_claim_whose_commit_was_not_heard_of_is_taken_up() {
    crate::world::run(Db::Postgres, async |world| {
        let lossy = Lossy::before(world.database.url(), world.database.folder());
        let url = lossy.url().to_owned();
        let post = post(world).await;
        world.restart(|config| config.database_url = kairos::config::Secret::new(url)).await;
        for planned in [false, true] {
            // The first finds no lane and is claimed from the queue; the second is claimed by its own transaction.
            let message = post.message(world, |m| m.due_ms += if planned { 0 } else { MINUTE_MS });
            if !planned {
                plan(world, &message).await;
                world.clock.advance(Duration::from_secs(60));
            }
            lossy.lose_the_next_claim();
            if planned {
                let (dispatcher, now_ms) = (world.kairos.dispatcher().clone(), world.now_ms());
                let (row, planner) = (message.clone(), dispatcher.clone());
                let lost = world.kairos.platform.store.write(move |c| outbox::plan(c, &planner, vec![row], now_ms)).await;
                assert!(lost.is_err());
            } else {
                let _ = world.kairos.drain().await;
            }
            assert!(lossy.has_lost());
            world.advance(Duration::from_secs(2)).await;
            world.advance(Duration::from_secs(2)).await;
            assert_eq!((state(world, &message).await, post.arrivals(&message).len()), ("accepted".to_owned(), 1), "{planned}");
        }
    });
}

/// The first write of an end is refused for good, the second finds the disk full, all others go well.
const TWICE_IN_TROUBLE: &str = "create sequence tries; create function trouble() returns trigger language plpgsql as $$ \
    declare n bigint; begin n := nextval('tries'); if n = 1 then raise exception 'never'; end if; \
    if n = 2 then raise exception using errcode = '53100', message = 'No space left on device'; end if; return new; end $$; \
    create trigger trouble before update on message_states for each row when (new.state = 'accepted') execute function trouble()";

/// A batch of ends is refused; while they are tried one by one the database is away for a moment.
#[test]
fn a_refused_batch_loses_no_answer_while_the_database_is_away() {
    for mode in [Mode::AtMostOnce, Mode::AtLeastOnce] {
        crate::world::run(Db::Postgres, async |world: &mut World| {
            let post = post(world).await;
            world.kairos.platform.store.write(|conn| conn.batch(TWICE_IN_TROUBLE)).await.unwrap();
            let sent = message(world, &post.phone, |m| m.mode = mode);
            queue(world, vec![sent.clone()]).await;
            world.drain().await;
            for _ in 0..3 {
                world.advance(Duration::from_secs(16)).await;
            }
            assert_eq!(
                (arrivals(&post.standin, sent.id).len(), state(world, &sent).await),
                (1, "accepted".to_owned()),
                "{mode:?}"
            );
        });
    }
}

/// Seventy of a hundred streams are never answered; the thirty that are free are used meanwhile.
#[test]
fn what_is_never_answered_does_not_hold_up_the_others() {
    crate::world::run(Db::Sqlite, async |world: &mut World| {
        let post = post(world).await;
        world.restart(|c| (c.gateway_streams, c.gateway_connections) = (100, 1)).await;
        queue(world, vec![message(world, &post.phone, |_| {})]).await;
        world.drain().await;
        let silent = Rule { gateway: None, token: Some(post.phone.token.clone()), times: Some(70), fault: Fault::Silent };
        post.standin.inject(silent);
        let many = |n: usize| (0..n).map(|_| message(world, &post.phone, |_| {})).collect::<Vec<_>>();
        queue(world, many(70)).await;
        let others = async {
            while post.standin.arrivals() < 71 {
                nap(2).await;
            }
            queue(world, many(20)).await;
            world.kairos.platform.push_hint.nudge();
            let begun = Instant::now();
            while world.number("select count(*) from messages where state = 'accepted'").await < 21 {
                nap(5).await;
                // The clock of the tests stands still by itself.
                world.clock.advance(Duration::from_millis(5));
            }
            begun.elapsed()
        };
        let ((), took) = tokio::join!(world.drain(), others);
        assert!(took < Duration::from_secs(2), "{took:?}");
    });
}
