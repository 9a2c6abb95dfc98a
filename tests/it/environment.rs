//! A token that one of Apple's hosts does not know: the other one is asked before anything is concluded, and when none is
//! known it is not the tokens that are wrong.

use crate::gateway::TOPIC;
use crate::outbox::{Phoned, Post, grant, message, phone_with, plan, post, queue, state, token_of};
use crate::world::World;
use kairos::push::standin::Phone;
use kairos::push::{Environment, Gateway, NewMessage};
use serde_json::json;
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(31);

/// Says where the phone with this token is, as Apple knows it.
fn lives(post: &Post, token: &str, environment: Environment) {
    let topic = Some(TOPIC.to_owned());
    post.standin.register(token, Phone { gateway: Gateway::Apns, environment, topic, dead_ms: None });
}

async fn both_keys(world: &World, post: &Post) {
    let sandbox = post.standin.issue_apns(Environment::Sandbox, &[TOPIC]).unwrap();
    world.put("/v1/push-credentials/apns", &world.app.server, sandbox).await.expect(204);
}

async fn sent(world: &World, message: &NewMessage) -> String {
    plan(world, message).await;
    world.drain().await;
    state(world, message).await
}

/// A phone of somebody who agreed.
async fn somebodys(world: &World, phone: (Gateway, &str, &str)) -> Phoned {
    let person = world.person(&world.app).await;
    grant(world, &person.token, true).await;
    phone_with(world, &person, phone).await
}

fn answers(post: &Post, message: &NewMessage) -> Vec<String> {
    post.arrivals(message).into_iter().map(|row| row.answer).collect()
}

async fn environment(world: &World, token: &str) -> String {
    world.lines(&format!("select environment as line from devices where token = '{token}'")).await.remove(0)
}

both! {
    async fn what_the_first_host_said_stands_where_the_key_of_the_second_is_refused(world) {
        let post = post(world).await;
        let sandbox = post.standin.issue_apns(Environment::Sandbox, &[TOPIC]).unwrap();
        world.put("/v1/push-credentials/apns", &world.app.server, sandbox.clone()).await.expect(204);
        post.standin.revoke_apns(sandbox["key_id"].as_str().unwrap());
        lives(&post, &post.phone.token, Environment::Sandbox);
        for asked in [vec!["400 BadDeviceToken", "403 InvalidProviderToken"], vec!["400 BadDeviceToken"]] {
            let message = post.message(world, |_| {});
            assert_eq!((sent(world, &message).await.as_str(), answers(&post, &message)), ("rejected:bad_device_token", asked.iter().map(ToString::to_string).collect()));
        }
        assert_eq!(token_of(world, &post.phone).await, post.phone.token);
    }

    async fn a_token_of_the_other_world_is_found_there_and_its_device_corrected(world) {
        let post = post(world).await;
        both_keys(world, &post).await;
        lives(&post, &post.phone.token, Environment::Sandbox);
        let first = post.message(world, |_| {});
        assert_eq!(sent(world, &first).await, "accepted");
        assert_eq!(answers(&post, &first), ["400 BadDeviceToken", "200"]);
        assert_eq!(environment(world, &post.phone.token).await, "sandbox");
        let attempts = world.lines("select attempts as line from messages").await.remove(0);
        assert!(attempts.contains("\"reason\":\"bad_device_token\""), "{attempts}");
        // What is decided from now on goes there at once.
        let second = post.message(world, |m| m.environment = Environment::Sandbox);
        assert_eq!((sent(world, &second).await, answers(&post, &second)), ("accepted".to_owned(), vec!["200".to_owned()]));
    }

    async fn a_token_that_neither_host_knows_rejects_the_message_and_stays(world) {
        let post = post(world).await;
        both_keys(world, &post).await;
        let other_gateway = Phone { gateway: Gateway::Fcm, environment: Environment::Production, topic: None, dead_ms: None };
        post.standin.register(post.phone.token.clone(), other_gateway);
        let message = post.message(world, |_| {});
        assert_eq!(sent(world, &message).await, "rejected:bad_device_token");
        assert_eq!(answers(&post, &message), ["400 BadDeviceToken", "400 BadDeviceToken"]);
        assert_eq!(token_of(world, &post.phone).await, post.phone.token);
        assert_eq!(environment(world, &post.phone.token).await, "production");
    }

    async fn a_token_that_was_known_here_before_is_not_looked_for_elsewhere(world) {
        let post = post(world).await;
        both_keys(world, &post).await;
        let first = post.message(world, |_| {});
        assert_eq!(sent(world, &first).await, "accepted");
        lives(&post, &post.phone.token, Environment::Sandbox);
        let second = post.message(world, |_| {});
        assert_eq!(sent(world, &second).await, "rejected:bad_device_token");
        assert_eq!(answers(&post, &second), ["400 BadDeviceToken"]);
        assert_eq!(environment(world, &post.phone.token).await, "production");
    }

    async fn without_a_key_for_the_other_host_nothing_is_concluded(world) {
        let post = post(world).await;
        lives(&post, &post.phone.token, Environment::Sandbox);
        let message = post.message(world, |_| {});
        assert_eq!(sent(world, &message).await, "rejected:bad_device_token");
        assert_eq!(answers(&post, &message).len(), 1);
        assert_eq!(token_of(world, &post.phone).await, post.phone.token);
    }

    async fn a_token_that_changed_hands_meanwhile_corrects_nothing(world) {
        let post = post(world).await;
        both_keys(world, &post).await;
        lives(&post, &post.phone.token, Environment::Sandbox);
        // The device has a new token by the time the old one is found.
        let message = post.message(world, |_| {});
        queue(world, vec![message.clone()]).await;
        let change = async {
            phone_with(world, &post.person, (Gateway::Apns, &"ab".repeat(32), "phone-1")).await;
        };
        tokio::join!(world.drain(), change);
        world.drain().await;
        assert_eq!(environment(world, &"ab".repeat(32)).await, "production");
        assert!(["accepted", "token_dead:token_dead"].contains(&state(world, &message).await.as_str()));
    }

    async fn a_wrong_host_for_a_whole_fleet_pauses_the_app_and_deletes_not_one_token(world) {
        let post = post(world).await;
        let mut phones = Vec::new();
        for n in 0..20_u64 {
            let token = format!("{:064x}", 0xF1EE_7000 + n);
            phones.push(somebodys(world, (Gateway::Apns, &token, &format!("fleet-{n}"))).await);
            lives(&post, &token, Environment::Sandbox);
        }
        let messages: Vec<_> = (0..15).flat_map(|_| &phones).map(|phone| message(world, phone, |_| {})).collect();
        queue(world, messages.clone()).await;
        world.drain().await;
        let arrived = post.standin.arrivals();
        assert!((10..=20).contains(&arrived), "it stops soon: {arrived} of {} arrived", messages.len());
        let known = world.get("/v1/push-credentials/apns", &world.app.server).await.expect(200);
        assert_eq!(known["items"][0]["refused_reason"], json!("bad_device_tokens"), "{known}");
        assert!(known["items"][0]["warnings"][0]["message"].as_str().unwrap().contains("development builds"), "{known}");
        // One push at a time shows whether anything has changed.
        world.advance(PAUSE).await;
        assert_eq!(post.standin.arrivals(), arrived + 1);
        assert_eq!(world.number("select count(*) from devices where token is null").await, 0);
        assert_eq!(world.number("select count(*) from messages where state = 'queued' or state = 'retry_at'").await + i64::try_from(arrived).unwrap() + 1, 300);
        for row in post.standin.ledger() {
            lives(&post, &row.token, Environment::Production);
        }
        for n in 0..20_u64 {
            lives(&post, &format!("{:064x}", 0xF1EE_7000 + n), Environment::Production);
        }
        world.advance(PAUSE).await;
        world.drain().await;
        assert_eq!(world.number("select count(*) from messages where state = 'accepted'").await + i64::try_from(arrived).unwrap() + 1, 300);
        let known = world.get("/v1/push-credentials/apns", &world.app.server).await.expect(200);
        assert_eq!(known["items"][0]["warnings"], json!([]), "{known}");
    }

    async fn nobody_pauses_an_app_with_tokens_that_they_have_made_up(world) {
        let post = post(world).await;
        let mut made_up = Vec::new();
        for n in 0..40_u64 {
            let token = format!("{:064x}", 0xBAD_7000 + n);
            made_up.push(phone_with(world, &post.person, (Gateway::Apns, &token, &format!("junk-{n}"))).await);
            lives(&post, &token, Environment::Sandbox);
        }
        queue(world, made_up.iter().map(|phone| message(world, phone, |_| {})).collect()).await;
        world.drain().await;
        assert_eq!(post.standin.arrivals(), 40);
        let honest = somebodys(world, (Gateway::Apns, &"ef".repeat(32), "honest")).await;
        assert_eq!(sent(world, &message(world, &honest, |_| {})).await, "accepted");
    }

    async fn one_stray_token_of_another_project_is_dead_and_a_fleet_of_them_is_our_mistake(world) {
        let post = post(world).await;
        let person = world.person(&world.app).await;
        grant(world, &person.token, true).await;
        let android = phone_with(world, &person, (Gateway::Fcm, "good-1", "good")).await;
        let stray = phone_with(world, &person, (Gateway::Fcm, "stray-1", "stray")).await;
        let of = |topic: &str| Phone { gateway: Gateway::Fcm, environment: Environment::Production, topic: Some(topic.to_owned()), dead_ms: None };
        post.standin.register("stray-1", of("other-project"));
        let good: Vec<_> = (0..50).map(|_| message(world, &android, |_| {})).collect();
        queue(world, good[..49].to_vec()).await;
        world.drain().await;
        assert_eq!(sent(world, &message(world, &stray, |_| {})).await, "rejected:sender_id_mismatch", "too little is known yet");
        assert_eq!(token_of(world, &stray).await, "stray-1");
        let good: Vec<_> = (0..50).map(|_| message(world, &android, |_| {})).collect();
        queue(world, good).await;
        world.drain().await;
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(sent(world, &message(world, &stray, |_| {})).await, "rejected:unregistered");
        assert_eq!((token_of(world, &stray).await, token_of(world, &android).await), ("none".to_owned(), "good-1".to_owned()));
        // Another account by mistake: all phones are of another project.
        world.restart(|_| {}).await;
        post.standin.register("good-1", of("other-project"));
        let mut phones = vec![android.clone()];
        for n in 0..20 {
            let token = format!("theirs-{n}");
            post.standin.register(token.clone(), of("other-project"));
            phones.push(somebodys(world, (Gateway::Fcm, &token, &token)).await);
        }
        let all: Vec<_> = (0..5).flat_map(|_| &phones).map(|phone| message(world, phone, |_| {})).collect();
        queue(world, all.clone()).await;
        world.drain().await;
        let refused = world.number("select count(*) from messages where reason = 'sender_id_mismatch'").await;
        assert!((10..=100).contains(&refused), "{refused}");
        assert_eq!(token_of(world, &android).await, "good-1");
        let known = world.get("/v1/push-credentials/fcm", &world.app.server).await.expect(200);
        assert_eq!(known["items"][0]["refused_reason"], json!("sender_id_mismatch"));
        world.may_leave_work();
    }
}
