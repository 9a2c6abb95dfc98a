//! The transport against the stand-in: many requests on one connection, and the truth about each loss.

use crate::gateway::{self, PATIENCE, push, wired, wired_with};
use futures_util::future::join_all;
use kairos::outbound::wire::Frames;
use kairos::outbound::{HandOver, Limits, Loss, Pool, Target, Trust, Way};
use kairos::push::Gateway;
use kairos::push::standin::{Fault, GoneTo, Rule};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pushes_at_once_from_a_cold_start_all_arrive_once() {
    let world = wired_with(Limits { streams: 50, connections: 3 }).await;
    let pushes: Vec<_> = (1..=400).map(|n| push(n, Gateway::Apns)).collect();
    let answers = join_all(pushes.iter().map(|p| world.send(p))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200)), "{answers:?}");
    let ledger = world.standin.ledger();
    let tokens: HashSet<_> = ledger.iter().map(|row| row.token.clone()).collect();
    assert_eq!((ledger.len(), tokens.len()), (400, 400));
    // A client that opened many streams before its first success would have met refusals.
    assert!(ledger.iter().all(|row| row.answer == "200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_connection_is_left_to_those_who_are_in_a_hurry() {
    let world = wired_with(Limits { streams: 50, connections: 3 }).await;
    for round in 0..40 {
        if world.pool.free() == 150 {
            break;
        }
        let pushes: Vec<_> = (1..=200).map(|n| push(round * 200 + n, Gateway::Apns)).collect();
        join_all(pushes.iter().map(|p| world.send(p))).await;
    }
    assert_eq!(world.pool.free(), 150, "three connections are there and have proven good");
    let take = |n: usize, way: Way| world.pool.take_some(n, |room| (room.free, way));
    let many = take(1_000, Way::Broad);
    assert_eq!(many.len(), 100);
    let one = take(1, Way::Emptiest);
    assert_eq!((one.len(), world.pool.free()), (1, 49), "it does not wait behind the many");
    assert!(take(1_000, Way::Broad).is_empty());
    assert_eq!(take(1_000, Way::Everywhere).len(), 49);
    drop(many);
    let next = take(2, Way::Emptiest);
    assert_eq!((next.len(), world.pool.free()), (2, 147));
}

#[tokio::test]
async fn a_connection_opens_by_what_proves_that_we_are_let_in() {
    let world = wired().await;
    let gone = Fault::Answer { status: 410, reason: "Unregistered".into(), retry_after_s: None, timestamp_ms: None };
    world.standin.inject(Rule { times: None, ..Rule::once(gone) });
    let target = || Target::new(kairos::push::apns::PRODUCTION, &world.standin.url(), "KAIROS_APNS_URL").unwrap();
    let trust = Trust::with_pem(world.standin.ca_pem()).unwrap();
    for (target, streams) in [(target(), 1), (target().proven_by(|answer| answer.status == 410), 50)] {
        let pool = Pool::new(target, trust.clone(), Limits { streams: 50, connections: 1 }, || {});
        let outgoing = || world.apns.request(&push(1, Gateway::Apns), gateway::NOW_MS).unwrap().0;
        assert_eq!(gateway::send(&pool, PATIENCE, outgoing).await.unwrap().status, 410);
        assert_eq!(pool.free(), streams);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_its_connection_leaves_the_others_alone() {
    let world = wired().await;
    let target = Target::new(kairos::push::apns::PRODUCTION, &world.standin.url(), "KAIROS_APNS_URL").unwrap();
    let trust = Trust::with_pem(world.standin.ca_pem()).unwrap();
    let limits = Limits { streams: 50, connections: 2 };
    let pool = Pool::new(target.ended_by(kairos::push::apns::ends), trust, limits, || {});
    let outgoing = |n| world.apns.request(&push(n, Gateway::Apns), gateway::NOW_MS).unwrap().0;
    for round in 0..40 {
        if pool.free() == 100 {
            break;
        }
        join_all((1..=120).map(|n| gateway::send(&pool, PATIENCE, move || outgoing(round * 200 + n)))).await;
    }
    assert_eq!(pool.free(), 100, "two connections are there and have proven good");
    world.standin.inject(Rule::once(Fault::Answer {
        status: 503,
        reason: "Shutdown".into(),
        retry_after_s: None,
        timestamp_ms: None,
    }));
    assert_eq!(gateway::send(&pool, PATIENCE, || outgoing(1)).await.unwrap().status, 503);
    assert_eq!(pool.free(), 50);
    assert_eq!(gateway::send(&pool, PATIENCE, || outgoing(2)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_refused_last_check_leaves_nothing_on_the_wire_and_frees_the_slot() {
    let world = wired().await;
    world.warm().await;
    let before = world.pool.free();
    let slot = world.pool.slot(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(world.pool.free(), before - 1);
    assert_eq!(slot.hand_over(|| Err("too late")).err(), Some(HandOver::Refused("too late")));
    assert_eq!(world.pool.free(), before);
    assert_eq!(world.standin.arrivals(), 1);
}

#[tokio::test]
async fn a_refused_stream_was_not_processed() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::RefuseStream));
    assert_eq!(world.send(&push(2, Gateway::Apns)).await.unwrap_err(), Loss::Unsent("refused_stream"));
    assert_eq!(world.send(&push(2, Gateway::Apns)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_above_the_last_one_of_a_goaway_was_not_processed() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::GoAway { last: GoneTo::Before, close: false }));
    assert_eq!(world.send(&push(2, Gateway::Apns)).await.unwrap_err(), Loss::Unsent("goaway"));
    assert_eq!(world.send(&push(2, Gateway::Apns)).await.unwrap().status, 200);
    let delivered = world.standin.ledger().iter().filter(|row| row.delivered).count();
    assert_eq!(delivered, 2);
}

#[tokio::test]
async fn a_stream_up_to_the_last_one_of_a_goaway_may_have_been_processed() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::GoAway { last: GoneTo::This, close: true }));
    assert!(matches!(world.send(&push(2, Gateway::Apns)).await, Err(Loss::Unknown(_))));
    assert_eq!(world.send(&push(3, Gateway::Apns)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_goaway_as_notice_loses_nothing_and_the_next_push_takes_a_new_connection() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::GoAway { last: GoneTo::All, close: false }));
    assert_eq!(world.send(&push(2, Gateway::Apns)).await.unwrap().status, 200);
    assert_eq!(world.send(&push(3, Gateway::Apns)).await.unwrap().status, 200);
    assert_eq!(world.standin.arrivals(), 3);
}

#[tokio::test]
async fn a_connection_cut_after_the_request_leaves_it_unknown() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::CutAfterRequest));
    assert!(matches!(world.send(&push(2, Gateway::Apns)).await, Err(Loss::Unknown(_))));
    assert_eq!(world.send(&push(3, Gateway::Apns)).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_it_unknown_and_others_are_not_held_up() {
    let world = wired().await;
    world.warm().await;
    world.standin.inject(Rule::once(Fault::Silent));
    let lost = world.send_within(&push(2, Gateway::Apns), Duration::from_millis(200)).await;
    assert_eq!(lost.unwrap_err(), Loss::Unknown("timeout"));
    assert_eq!(world.send(&push(3, Gateway::Apns)).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_allows_one_stream_gets_one_at_a_time() {
    let world = wired_with(Limits { streams: 500, connections: 1 }).await;
    world.standin.set_streams(1);
    let pushes: Vec<_> = (1..=40).map(|n| push(n, Gateway::Apns)).collect();
    let answers = join_all(pushes.iter().map(|p| world.send(p))).await;
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200)), "{answers:?}");
    assert_eq!(world.standin.arrivals(), 40);
}

#[tokio::test]
async fn an_unknown_certificate_is_never_sent_to() {
    let world = wired().await;
    let target = Target::new("api.push.apple.com", &world.standin.url(), "KAIROS_APNS_URL").unwrap();
    let pool = Pool::new(target, Trust::with_pem("").unwrap(), Limits { streams: 5, connections: 1 }, || {});
    let slot = pool.slot(Instant::now() + Duration::from_millis(500)).await;
    assert_eq!(slot.err(), Some(Loss::Unsent("no_connection")));
    assert_eq!(world.standin.arrivals(), 0);
}

#[test]
fn a_target_is_the_gateway_itself_or_what_stands_in_for_it_under_its_name() {
    let real = Target::new("api.push.apple.com", "", "KAIROS_APNS_URL").unwrap();
    assert_eq!((real.host.as_str(), real.port), ("api.push.apple.com", 443));
    let other = Target::new("api.push.apple.com", "https://[::1]:9443/", "KAIROS_APNS_URL").unwrap();
    assert_eq!((other.host.as_str(), other.port, other.authority.as_str()), ("::1", 9443, "api.push.apple.com"));
    for wrong in ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://a b"] {
        assert!(Target::new("x", wrong, "KAIROS_APNS_URL").unwrap_err().to_string().contains("KAIROS_APNS_URL"), "{wrong}");
    }
}

proptest::proptest! {
    #[test]
    fn frames_are_found_however_the_bytes_are_cut(
        lengths in proptest::collection::vec((0_usize..40, 0_u8..10, 0_u32..9), 1..20),
        cuts in proptest::collection::vec(1_usize..30, 1..60),
    ) {
        let mut bytes = Vec::new();
        let mut wanted = Vec::new();
        for (length, kind, stream) in &lengths {
            let payload: Vec<u8> = (0..*length).map(|n| u8::try_from(n).unwrap()).collect();
            bytes.extend_from_slice(&u32::try_from(*length).unwrap().to_be_bytes()[1..]);
            bytes.extend_from_slice(&[*kind, 0]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&payload);
            let last = if *kind == 7 && *length >= 4 { 0x0001_0203 } else { 0 };
            wanted.push((*kind, *stream, last));
        }
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            frames.feed(now, |kind, stream, last| seen.push((kind, stream, if kind == 7 { last } else { 0 })));
            rest = later;
        }
        for (got, want) in seen.iter().zip(&wanted) {
            proptest::prop_assert_eq!((got.0, got.1), (want.0, want.1));
            if want.2 != 0 { proptest::prop_assert_eq!(got.2, want.2); }
        }
        proptest::prop_assert_eq!(seen.len(), wanted.len());
        proptest::prop_assert!(frames.at_boundary());
    }
}

#[tokio::test]
async fn the_time_that_a_slot_takes_is_bounded() {
    let world = wired_with(Limits { streams: 1, connections: 1 }).await;
    world.warm().await;
    let held = world.pool.slot(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(world.pool.slot(Instant::now() + Duration::from_millis(50)).await.err(), Some(Loss::Unsent("no_connection")));
    drop(held);
    assert!(world.pool.slot(Instant::now() + gateway::PATIENCE).await.is_ok());
}

/// What is said to many opens all connections but the last by itself: the one that it leaves alone is no room for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_every_connection_that_they_need() {
    let world = wired_with(Limits { streams: 50, connections: 4 }).await;
    let until = Instant::now() + PATIENCE;
    let mut slots = Vec::new();
    while slots.len() < 150 {
        assert!(Instant::now() < until, "{} slots", slots.len());
        let mut some = world.pool.take_some(50, |room| (room.free, Way::Broad));
        if some.len() > 1 {
            slots.append(&mut some);
        } else if let Some(slot) = some.pop() {
            // Whatever is new proves itself with its first push.
            let outgoing = world.apns.request(&push(1, Gateway::Apns), world.clock.now_ms()).unwrap().0;
            slot.hand_over(|| Ok::<_, ()>(outgoing)).unwrap().answer(PATIENCE).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!((slots.len(), world.pool.free()), (150, 50));
}
