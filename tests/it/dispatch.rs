//! Which push goes when: the breaker, the window, what is said to many behind what is said to one.

use crate::outbox::{Post, arrivals, message, phone_with, plan, post, queue, state};
use crate::stage::{Good as _, Stage, minutes};
use crate::world::{Caller, World, nap};
use kairos::clock::MINUTE_MS;
use kairos::outbound::{Room, Way};
use kairos::people::device::Environment;
use kairos::push::breaker::{Breaker, FIRST_MS, LONGEST_MS, ROW};
use kairos::push::pace::{FLOOR as FLOOR_OF_BULK, Pace, START as START_OF_BULK};
use kairos::push::share::Turn;
use kairos::push::standin::{Door, Fault, Row, Rule};
use kairos::push::verdict::Reason;
use kairos::push::window::{FLOOR, Flight, LATE, Window};
use kairos::push::{Gateway, Mode, NewMessage, Queue, Route, outbox};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const WORD: Reason = Reason::Borrowed("internal_server_error");

fn fails(breaker: &mut Breaker, times: u32, now_ms: i64) -> Option<i64> {
    let mut opened = None;
    for _ in 0..times {
        opened = breaker.failed(&WORD, (now_ms, now_ms)).map(|open| open.until_ms);
    }
    opened
}

#[test]
fn a_breaker_opens_at_the_last_of_a_row_and_not_before() {
    let mut breaker = Breaker::default();
    assert_eq!(fails(&mut breaker, ROW - 1, 0), None);
    assert_eq!(breaker.worked(), None);
    assert_eq!(fails(&mut breaker, ROW - 1, 0), None, "a success in between begins the row anew");
    assert_eq!((breaker.until_ms(0), breaker.open()), (None, None));
    assert_eq!(breaker.failed(&"timeout".into(), (0, 10)).map(|open| open.until_ms), Some(10 + FIRST_MS));
    let open = breaker.open().unwrap();
    assert_eq!((&*open.reason, open.since_ms, breaker.until_ms(10)), ("timeout", 10, Some(10 + FIRST_MS)));
    assert_eq!(breaker.until_ms(10 + FIRST_MS), None, "then it may be probed");
}

#[test]
fn a_probe_that_fails_doubles_the_pause_up_to_a_minute_and_one_that_succeeds_ends_it() {
    let mut breaker = Breaker::default();
    let mut until_ms = fails(&mut breaker, ROW, 0).unwrap();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        // What was on its way when it opened is no news.
        assert_eq!(breaker.failed(&WORD, (until_ms - 1, until_ms - 1)), None);
        let next_ms = fails(&mut breaker, 1, until_ms).unwrap();
        pauses.push(next_ms - until_ms);
        until_ms = next_ms;
    }
    assert_eq!(pauses, [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    assert_eq!(breaker.open().unwrap().since_ms, 0);
    // A clock that is set back by a day does not make the pause a day longer, nor a failed probe unheard.
    let back_ms = until_ms - 86_400_000;
    assert_eq!(breaker.until_ms(back_ms), None);
    assert_eq!(fails(&mut breaker, 1, back_ms), Some(back_ms + LONGEST_MS));
    assert!(breaker.worked().is_some() && breaker.open().is_none());
    assert_eq!(fails(&mut breaker, ROW - 1, until_ms), None, "and the row begins anew");
    assert_eq!(fails(&mut breaker, 1, until_ms), Some(until_ms + FIRST_MS), "and so do the pauses");
}

/// So many answers that took so long, all in flight together since `at_ms`.
fn answers(window: &mut Window, n: usize, (at_ms, took_ms): (u64, u64)) -> usize {
    let (left, landed) = (Duration::from_millis(at_ms), Duration::from_millis(at_ms + took_ms));
    (0..n).filter(|_| window.answered(Flight { left, landed, slots: 1_000 })).count()
}

#[test]
fn a_window_shrinks_by_a_tenth_once_per_round_trip_when_answers_are_late() {
    let mut window = Window::new(1_000);
    assert_eq!(answers(&mut window, 100, (0, 40)), 0);
    // Late in itself or against what is usual is not enough: both.
    let late_ms = u64::try_from(LATE.as_millis()).unwrap();
    assert_eq!(answers(&mut window, 100, (100, late_ms)), 0);
    assert_eq!(answers(&mut window, 2_000, (700, 40)), 0);
    assert_eq!((answers(&mut window, 500, (1_000, late_ms + 1)), window.limit()), (1, 900));
    // What left before it shrank says nothing of the smaller window.
    assert_eq!((answers(&mut window, 500, (1_400, 600)), window.limit()), (0, 900));
    assert_eq!((answers(&mut window, 500, (1_600, 600)), window.limit()), (1, 810));
}

#[test]
fn a_window_counts_from_the_slots_that_there_were_and_has_a_floor() {
    let mut window = Window::new(2_000);
    let mut at_ms = 0;
    let mut gone = |window: &mut Window, slots: usize| {
        at_ms += 1_000;
        let (left, landed) = (Duration::from_millis(at_ms), Duration::from_millis(at_ms + 500));
        window.timed_out(Flight { left, landed, slots })
    };
    assert!(gone(&mut window, 500));
    assert_eq!(window.limit(), 250);
    for _ in 0..20 {
        gone(&mut window, 500);
    }
    assert_eq!(window.limit(), FLOOR);
    let mut narrow = Window::new(3);
    assert!(gone(&mut narrow, 3));
    assert_eq!(narrow.limit(), 3, "a lane that has no more slots than that keeps them");
}

#[test]
fn a_window_widens_by_one_per_full_window_of_answers_in_time_while_it_is_what_holds_back() {
    let mut window = Window::new(100);
    answers(&mut window, 10, (0, 40));
    let at = |ms| Duration::from_millis(ms);
    assert!(window.timed_out(Flight { left: at(100), landed: at(1_100), slots: 100 }));
    assert_eq!(window.limit(), 50);
    answers(&mut window, 500, (2_000, 40));
    assert_eq!(window.limit(), 50, "nobody wanted more");
    assert_eq!(window.room(60, 0), 50);
    answers(&mut window, 49, (2_000, 40));
    assert_eq!(window.limit(), 50);
    answers(&mut window, 1, (2_000, 40));
    assert_eq!(window.limit(), 51);
    answers(&mut window, 51, (2_000, 40));
    assert_eq!(window.limit(), 51, "once more only when it holds back again");
    for _ in 0..60 {
        window.room(500, 0);
        answers(&mut window, 200, (3_000, 40));
    }
    assert_eq!(window.limit(), 100, "no wider than the lane");
}

#[test]
fn a_gateway_that_stays_slow_gets_its_window_back() {
    let mut window = Window::new(1_000);
    answers(&mut window, 100, (0, 40));
    for n in 1..200 {
        answers(&mut window, 1_000, (n * 1_000, 800));
    }
    let low = window.limit();
    assert!(low < 500 && low > FLOOR, "{low}");
    for n in 200..1_200 {
        window.room(1_000, 0);
        answers(&mut window, 1_000, (n * 1_000, 800));
    }
    assert_eq!(window.limit(), 1_000);
}

#[test]
fn what_is_said_to_many_gives_way_while_decisions_are_late_and_has_all_back_when_they_are_not() {
    let ms = Duration::from_millis;
    let mut alone = Pace::default();
    let opened: Vec<Option<usize>> = [0, 9, 10, 20, 49, 50, 900].into_iter().map(|at| alone.limit(0, ms(at))).collect();
    let doubled = |n| Some(START_OF_BULK << n);
    assert_eq!(opened, [doubled(0), doubled(0), doubled(1), doubled(2), doubled(4), None, None], "where there are no moments");
    assert_eq!((alone.limit(0, ms(1_899)), alone.limit(0, ms(2_899))), (None, doubled(0)), "the next campaign opens anew");
    // One that follows another, with moments in between, finds the width of that one no longer its own.
    alone.decided((1, ms(5)), 0, ms(2_900));
    assert!((3_400..=11_900).step_by(500).map(|at| alone.limit(0, ms(at))).last().unwrap().is_none());
    assert_eq!(alone.limit(0, ms(12_890)), None);
    alone.decided((1, ms(5)), 1_500, ms(12_890));
    alone.limit(0, ms(12_890));
    assert_eq!(alone.limit(0, ms(17_000)), Some(START_OF_BULK), "it begins where moments are");
    // One whose answers take seconds has not ended meanwhile.
    let mut slow = Pace::default();
    slow.limit(0, ms(0));
    assert_eq!((slow.limit(1_500, ms(5_000)), slow.limit(2_000, ms(9_000))), (None, None));
    let mut pace = Pace::default();
    for n in 0..50 {
        pace.decided((1, ms(5)), 0, ms(n));
    }
    assert_eq!(pace.limit(1_500, ms(50)), Some(START_OF_BULK), "where there are, it begins with little");
    pace.decided((1, ms(15)), 1_500, ms(100));
    assert_eq!(pace.limit(1_500, ms(100)), Some(START_OF_BULK), "three times the usual is not late");
    pace.decided((80, ms(100)), 1_500, ms(110));
    assert_eq!(pace.limit(1_500, ms(110)), Some(START_OF_BULK), "eighty at once may take longer");
    for n in 1..=50 {
        pace.limit(1_500, ms(200 * n));
        pace.decided((1, ms(5)), 1_500, ms(200 * n));
    }
    assert_eq!(pace.limit(1_500, ms(10_000)), None, "while they are in time it has more and more");
    pace.decided((1, ms(60)), 1_500, ms(10_120));
    assert_eq!(pace.limit(1_500, ms(10_120)), Some(750));
    pace.decided((1, ms(60)), 1_500, ms(10_130));
    assert_eq!(pace.limit(1_500, ms(10_130)), Some(750), "what was begun before says nothing of the smaller one");
    for n in 1..5 {
        pace.decided((1, ms(60)), 400, ms(10_120 + 20 * n));
    }
    assert_eq!(pace.limit(1_500, ms(10_200)), Some(FLOOR_OF_BULK), "never less");
    pace.decided((1, ms(5)), FLOOR_OF_BULK, ms(10_300));
    assert_eq!(pace.limit(1_500, ms(10_710)), Some(FLOOR_OF_BULK / 4 * 5));
    // Between two claims nothing may be in flight: that is no beginning.
    pace.decided((1, ms(5)), 0, ms(10_720));
    assert_eq!(pace.limit(1_500, ms(10_720)), Some(FLOOR_OF_BULK / 4 * 5));
    assert!(pace.limit(1_500, ms(14_000)).unwrap() > 100);
    // Once there have been none for long, what runs has all of it back.
    let mut stopped = Pace::default();
    stopped.decided((1, ms(5)), 0, ms(0));
    let limits = [(0, 9_000), (64, 10_000), (100, 10_010), (200, 10_100)].map(|(in_flight, at)| stopped.limit(in_flight, ms(at)));
    assert_eq!(limits, [Some(START_OF_BULK), Some(START_OF_BULK / 16 * 25), Some(START_OF_BULK / 8 * 25), None]);
    // The first in a long time finds no campaign at full width in its way for long.
    pace.decided((1, ms(5)), 1_500, ms(60_000));
    assert_eq!(pace.limit(1_500, ms(60_000)), Some(START_OF_BULK));
    // A moment now and then is no beginning for a campaign that runs.
    let mut rare = Pace::default();
    for n in 0..100 {
        rare.limit(1_500, ms(100 * n));
        if n % 20 == 0 {
            rare.decided((1, ms(5)), 1_500, ms(100 * n));
        }
    }
    assert_eq!(rare.limit(1_500, ms(10_000)), None);
    // On a machine on which every decision takes long that is usual: nothing is held back for it.
    let mut slow = Pace::default();
    for n in 0..50 {
        slow.decided((1, ms(80)), 0, ms(n));
    }
    slow.decided((1, ms(200)), 1_500, ms(100));
    assert_eq!(slow.limit(1_500, ms(100)), Some(START_OF_BULK));
    // Also when it has never seen quiet: what holding back does not mend is no longer late.
    let mut busy = Pace::default();
    for n in 0..700 {
        busy.limit(1_500, ms(20 * n));
        busy.decided((1, ms(80)), 1_500, ms(20 * n));
        busy.decided((1, ms(80)), FLOOR_OF_BULK, ms(20 * n + 19));
    }
    assert_eq!(busy.limit(1_500, ms(14_000)), None);
}

#[test]
fn a_share_of_the_slots_is_free_for_one_and_another_kept_for_many() {
    for all in [1, 2, 3, 8, 31, 32, 64, 500, 2_000] {
        let share = (all / 32).max(usize::from(all > 1));
        for free in 0..=all {
            let room = Room { all, free };
            let turn = |bulk, bulk_in_flight, bulk_waits| Turn { bulk, singles: true, bulk_in_flight, bulk_waits }.of(room);
            let busy = all - free;
            assert_eq!(turn(true, share, false), free.saturating_sub(share), "{room:?}");
            assert_eq!(turn(true, 0, true), free.saturating_sub(share).max(share.min(free)), "{room:?}");
            assert_eq!(turn(false, busy, false), free, "{room:?}");
            assert_eq!(turn(false, 0, true), free - share.min(free), "{room:?}");
            assert_eq!(turn(false, share, true), free, "{room:?}");
            let way = |bulk, singles, bulk_in_flight| Turn { bulk, singles, bulk_in_flight, bulk_waits: true }.way(room);
            assert_eq!((way(false, true, 9), way(true, true, share)), (Way::Emptiest, Way::Broad), "{room:?}");
            assert_eq!(way(true, true, 0), if share == 0 { Way::Broad } else { Way::Everywhere }, "{room:?}");
            assert_eq!((way(false, false, 9), way(true, false, share)), (Way::Emptiest, Way::Everywhere), "{room:?}");
        }
    }
    // Who asks for one of many free slots has it, however little of the other side is in flight.
    let (mut window, room) = (Window::new(2_000), Room { all: 2_000, free: 1_990 });
    let gap = Room { all: window.limit(), free: window.room(1, 10) };
    assert!(Turn { bulk: false, singles: true, bulk_in_flight: 10, bulk_waits: true }.of(room.within(gap)) > 0);
}

#[test]
fn the_word_of_a_queue_says_which_and_old_words_are_read() {
    let mut words = BTreeSet::new();
    for bulk in [false, true] {
        for test in [false, true] {
            let ways = [
                (Gateway::Apns, Environment::Production, None),
                (Gateway::Apns, Environment::Sandbox, None),
                (Gateway::Apns, Environment::Sandbox, Some("app.kairos.bulk")),
                (Gateway::Fcm, Environment::Production, None),
                (Gateway::WebPush, Environment::Production, Some("push.example.bulk:8443")),
                (Gateway::WebPush, Environment::Production, Some("[::1]:8443")),
            ];
            for (gateway, environment, service) in ways {
                let topic = service.filter(|_| gateway == Gateway::Apns);
                let service = service.filter(|_| topic.is_none()).map(Into::into);
                let queue = Queue { route: Route { gateway, environment, test, service }, bulk, key: topic.map(Into::into) };
                assert_eq!(Queue::parse(&queue.word()), Some(queue.clone()));
                words.insert(queue.word().into_owned());
            }
        }
    }
    assert_eq!(words.len(), 24, "{words:?}");
    for word in [
        "apns.production",
        "apns.sandbox.test.bulk",
        "apns.production:app.kairos",
        "fcm",
        "webpush:push.example",
        "webpush.test.bulk:push.example",
    ] {
        assert_eq!(Queue::parse(word).unwrap().word(), word);
    }
    for word in ["", "apns", "apns.bulk.production", "webpush", "fcm.bulk.test", "fcm:x"] {
        assert_eq!(Queue::parse(word), None, "{word}");
    }
}

fn answer(status: u16, reason: &str) -> Fault {
    Fault::Answer { status, reason: reason.into(), retry_after_s: None, timestamp_ms: None }
}

/// A post whose lanes have so many slots, over one connection that has proven good.
async fn narrow(world: &mut World, streams: usize) -> Post {
    let post = post(world).await;
    world
        .restart(|config| {
            (config.gateway_streams, config.gateway_connections) = (streams, 1);
            (config.retry_base_ms, config.retry_limit_ms) = (1_000, 1_000);
        })
        .await;
    let first = post.message(world, |_| {});
    plan(world, &first).await;
    world.drain().await;
    assert_eq!(state(world, &first).await, "accepted");
    post
}

async fn queued(world: &World, post: &Post, n: usize, change: impl Fn(&mut NewMessage)) -> Vec<NewMessage> {
    let messages: Vec<NewMessage> = (0..n).map(|_| post.message(world, &change)).collect();
    queue(world, messages.clone()).await;
    messages
}

/// What an operator sees of Apple's lane.
async fn sending(world: &World) -> Value {
    let known = world.get("/v1/push-credentials/apns", &world.app.server).await.expect(200);
    assert_eq!(known["items"][0]["sending"].as_array().unwrap().len(), 1, "{known}");
    known["items"][0]["sending"][0].clone()
}

async fn tally(world: &World) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in world.lines("select state || coalesce(':' || reason, '') as line from messages").await {
        *tally.entry(line).or_default() += 1;
    }
    tally
}

/// Nobody got anything twice, and everything that was planned is somewhere.
async fn adds_up(world: &World, post: &Post, planned: usize) {
    let tally = tally(world).await;
    assert_eq!(tally.values().sum::<usize>(), planned, "{tally:?}");
    assert_eq!(post.standin.summary().repeated, 0);
}

const SECOND: Duration = Duration::from_secs(1);

both! {
    async fn a_gateway_that_fails_push_after_push_is_left_alone_probed_and_taken_up_again(world) {
        let post = narrow(world, 4).await;
        assert_eq!(sending(world).await, json!({"test": false, "in_flight": 0, "in_flight_max": 4}));
        post.standin.inject(Rule::always(answer(500, "InternalServerError")));
        queued(world, &post, 80, |_| {}).await;
        let short = queued(world, &post, 5, |m| m.deadline_ms = m.due_ms + 2_500).await;
        let opened_ms = world.now_ms();
        world.drain().await;
        let flood = post.standin.arrivals();
        assert!((21..=24).contains(&flood), "twenty in a row, and what was in flight beside: {flood}");
        let seen = sending(world).await;
        let broken = |until_s| json!({"reason": "internal_server_error", "since": world.time(0), "until": world.time(until_s)});
        assert_eq!((&seen["broken"], &seen["in_flight"]), (&broken(1), &json!(0)));
        let figures = world.get("/metrics", &Caller::Nobody).await.text();
        assert!(figures.contains("kairos_push_breaker_open{gateway=\"apns\"}"), "{figures}");
        world.drain().await;
        world.advance(SECOND - Duration::from_millis(1)).await;
        assert_eq!(post.standin.arrivals(), flood, "nothing is claimed while it is open");
        for (n, pause_s) in [(1, 1), (2, 2), (3, 4)] {
            world.clock.set(opened_ms + ((1 << n) - 1) * 1_000);
            world.drain().await;
            assert_eq!(post.standin.arrivals(), flood + n, "one probe, and no more");
            let (seen, until_s) = (sending(world).await, pause_s * 2);
            assert_eq!(seen["broken"]["until"], json!(world.time(until_s)), "{seen}");
        }
        for message in &short {
            assert_eq!((state(world, message).await.as_str(), arrivals(&post.standin, message.id).len()), ("expired:deadline", 0));
        }
        post.standin.heal();
        world.advance(SECOND * 8).await;
        assert_eq!(sending(world).await["broken"], Value::Null, "one good answer closes it");
        world.advance(SECOND).await;
        assert_eq!(tally(world).await, BTreeMap::from([("accepted".to_owned(), 81), ("expired:deadline".to_owned(), 5)]));
        adds_up(world, &post, 86).await;
    }

    async fn a_single_good_answer_begins_the_row_anew(world) {
        let post = narrow(world, 1).await;
        for opens in [false, false, true] {
            post.standin.inject(Rule { gateway: None, token: None, times: Some(if opens { 20 } else { 19 }), fault: answer(503, "ServiceUnavailable") });
            queued(world, &post, if opens { 20 } else { 19 }, |m| m.deadline_ms = m.due_ms + 500).await;
            world.drain().await;
            assert_eq!(sending(world).await["broken"].is_object(), opens);
            if !opens {
                queued(world, &post, 1, |_| {}).await;
                world.drain().await;
            }
            world.advance(Duration::from_millis(500)).await;
        }
        // 503 with Retry-After is what it was: the message waits as long as the gateway said.
        post.standin.heal();
        post.standin.inject(Rule::once(Fault::Answer { status: 503, reason: "ServiceUnavailable".into(), retry_after_s: Some(30), timestamp_ms: None }));
        world.advance(SECOND).await;
        let asked = queued(world, &post, 1, |_| {}).await;
        world.drain().await;
        assert!(state(world, &asked[0]).await.starts_with("retry_at"));
        world.advance(SECOND * 29).await;
        assert_eq!(arrivals(&post.standin, asked[0].id).len(), 1);
        world.advance(SECOND).await;
        assert_eq!(state(world, &asked[0]).await, "accepted");
    }

    async fn pushes_that_are_never_answered_and_connections_that_cannot_be_made_count_too(world) {
        let post = narrow(world, 20).await;
        world.restart(|config| config.gateway_timeout_ms = 300).await;
        let first = post.message(world, |_| {});
        plan(world, &first).await;
        world.drain().await;
        post.standin.inject(Rule::always(Fault::Silent));
        queued(world, &post, 60, |_| {}).await;
        world.drain().await;
        let seen = sending(world).await;
        assert_eq!(seen["broken"]["reason"], "timeout");
        assert!((8..=10).contains(&seen["in_flight_max"].as_u64().unwrap()), "half of twenty, and not below the floor: {seen}");
        let unknown = tally(world).await["unknown:timeout"];
        assert!((20..=40).contains(&unknown), "{unknown}");
        // It works again, fails eighteen times, and then cannot be reached at all.
        post.standin.heal();
        world.advance(SECOND).await;
        assert_eq!((sending(world).await["broken"].clone(), tally(world).await["unknown:timeout"]), (Value::Null, unknown));
        // Not eighteen times by count: what was given up above may arrive only now.
        post.standin.inject(Rule::always(answer(500, "InternalServerError")));
        queued(world, &post, 18, |m| m.deadline_ms = m.due_ms + 500).await;
        world.drain().await;
        assert_eq!(sending(world).await["broken"], Value::Null);
        post.standin.heal();
        post.standin.set_door(Door::Closed, None);
        post.standin.cut_all();
        // In case that the cut is not seen before it goes.
        let waits = queued(world, &post, 1, |m| m.mode = Mode::AtLeastOnce).await;
        for _ in 0..20 {
            world.advance(SECOND).await;
            if sending(world).await["broken"].is_object() {
                break;
            }
        }
        assert_eq!(sending(world).await["broken"]["reason"], "no_connection");
        post.standin.set_door(Door::Open, None);
        for _ in 0..20 {
            world.advance(SECOND).await;
            if state(world, &waits[0]).await == "accepted" {
                break;
            }
        }
        assert_eq!((state(world, &waits[0]).await.as_str(), sending(world).await["broken"].clone()), ("accepted", Value::Null));
        assert_eq!(post.standin.summary().repeated, 0);
    }

    async fn a_slow_gateway_gets_fewer_pushes_at_once_until_it_is_quick_again(world) {
        let post = narrow(world, 20).await;
        queued(world, &post, 60, |_| {}).await;
        world.drain().await;
        assert_eq!(sending(world).await["in_flight_max"], 20);
        post.standin.inject(Rule::always(Fault::Slow { wait_ms: 900 }));
        queued(world, &post, 50, |_| {}).await;
        world.drain().await;
        let shrunk = sending(world).await["in_flight_max"].as_u64().unwrap();
        assert!((10..=16).contains(&shrunk), "a tenth for each of a few round trips: {shrunk}");
        post.standin.heal();
        queued(world, &post, 400, |_| {}).await;
        world.drain().await;
        assert_eq!(sending(world).await["in_flight_max"], 20);
        assert_eq!(tally(world).await["accepted"], 511);
        adds_up(world, &post, 511).await;
    }
}

/// Another phone of the same person.
async fn second(world: &World, post: &Post, token: &str) -> crate::outbox::Phoned {
    phone_with(world, &post.person, (Gateway::Apns, token, "phone-2")).await
}

/// Where in the ledger these arrived, 0 for the first of them all.
fn places(ledger: &[Row], of: &[NewMessage]) -> Vec<usize> {
    let ids: BTreeSet<String> = of.iter().map(|message| message.id.uuid().to_string()).collect();
    let is = |row: &Row| row.push_id.as_ref().is_some_and(|id| ids.contains(id));
    ledger.iter().enumerate().filter(|(_, row)| is(row)).map(|(n, _)| n).collect()
}

both! {
    async fn a_moments_push_passes_a_campaign_that_is_stuck_behind_a_slow_gateway(world) {
        let post = narrow(world, 32).await;
        let token = "ab".repeat(32);
        let phone = second(world, &post, &token).await;
        post.standin.inject(Rule::always(Fault::Slow { wait_ms: 400 }).to(&post.phone.token));
        let many = queued(world, &post, 3_000, |m| (m.bulk, m.due_ms) = (true, m.due_ms - MINUTE_MS)).await;
        world.kairos.step("push").await.unwrap();
        // One that finds a berth in its own transaction, and one that has to wait in its queue.
        let direct = message(world, &phone, |_| {});
        plan(world, &direct).await;
        let waits = message(world, &phone, |_| {});
        queue(world, vec![waits.clone()]).await;
        for _ in 0..200 {
            world.kairos.step("push").await.unwrap();
            if arrivals(&post.standin, waits.id).len() == 1 && arrivals(&post.standin, direct.id).len() == 1 {
                break;
            }
        }
        let ledger = post.standin.ledger();
        let (direct, waits) = (places(&ledger, &[direct]), places(&ledger, &[waits]));
        assert!(direct.len() == 1 && direct[0] <= 32, "before all that was not in flight already: {direct:?}");
        assert!(waits.len() == 1 && waits[0] <= 64, "before what was claimed after it: {waits:?}");
        let waiting = world.number("select count(*) from messages where state = 'queued' and route = 'apns.production.bulk'").await;
        assert!(waiting > 2_900, "{waiting}");
        let (app, now_ms, campaigns) = (world.app.id, world.now_ms(), many);
        let end = move |conn: &mut kairos::store::Conn| {
            campaigns.iter().try_for_each(|m| outbox::cancel(conn, app, (m.id, "over"), now_ms).map(drop))
        };
        world.kairos.platform.store.write(end).await.unwrap();
        world.drain().await;
        adds_up(world, &post, 3_003).await;
    }

    async fn what_is_said_to_a_large_audience_waits_in_a_queue_of_its_own(world) {
        let stage = Stage::set(world).await;
        let who = stage.listener(world).await;
        stage.one_offer(world, json!({}), json!({})).await;
        let words = json!({"template": {"fallback": "en", "variants": {"en": {"title": "Hello", "body": "Good morning"}}}});
        let offer = stage.offer(world, words).await;
        stage.campaign(world, &[&offer], json!({"trigger": {"schedule": {"when": {"at": world.time(600)}}}})).await;
        stage.lands(world, &who, 0).await;
        world.advance(minutes(10)).await;
        let named = |n: usize| {
            let mut tokens: Vec<String> = (1..n).map(|n| format!("{n:064x}")).collect();
            tokens.push(who.token.clone());
            json!({"tokens": tokens})
        };
        for audience in [named(1), named(50), named(51), json!({"topic": "offers"}), json!({"rule": "true"})] {
            let push = json!({"purpose": "marketing", "audience": audience, "content": {"title": "Hi", "body": "There"}, "ttl_ms": 600_000});
            world.post("/v1/pushes", &world.app.server, push).await.good();
            world.advance(minutes(1)).await;
        }
        let routes = world.lines("select route as line from messages order by created_ms, id").await;
        let (one, many) = ("apns.production", "apns.production.bulk");
        assert_eq!(routes, [one, many, one, one, many, many, many]);
        assert_eq!(stage.arrived(&who).len(), 7);
        stage.adds_up(world).await;
    }

    async fn a_campaign_moves_on_however_many_moments_there_are(world) {
        let post = narrow(world, 8).await;
        post.standin.inject(Rule::always(Fault::Slow { wait_ms: 5 }));
        let many = queued(world, &post, 60, |m| m.bulk = true).await;
        let ones = queued(world, &post, 600, |m| m.due_ms -= MINUTE_MS).await;
        world.drain().await;
        let ledger = post.standin.ledger();
        let (many, ones) = (places(&ledger, &many), places(&ledger, &ones));
        assert_eq!((many.len(), ones.len()), (60, 600));
        let early = many.iter().filter(|place| **place < 300).count();
        assert!((10..=90).contains(&early), "one slot of eight is the campaign's while the moments have the rest: {early}");
        adds_up(world, &post, 661).await;
    }

    async fn one_apps_campaign_does_not_hold_up_another_app(world) {
        let post = narrow(world, 8).await;
        let mut other = world.new_app("Harbour").await;
        std::mem::swap(&mut world.app, &mut other);
        let apns = post.standin.issue_apns(Environment::Production, &[crate::gateway::TOPIC]).unwrap();
        world.put("/v1/push-credentials/apns", &world.app.server, apns).await.expect(204);
        let person = world.person(&world.app).await;
        let phone = phone_with(world, &person, (Gateway::Apns, &"cd".repeat(32), "phone-3")).await;
        let contract = json!({"key": "offers", "name": "Service", "basis": "contract", "version": "1", "texts": {"en": "We do."}});
        world.post("/v1/purposes", &world.app.server, contract).await.expect(201);
        let theirs = message(world, &phone, |_| {});
        std::mem::swap(&mut world.app, &mut other);
        // What the first app has waiting is older, much, and goes slowly; it need not even be bulk.
        post.standin.inject(Rule::always(Fault::Slow { wait_ms: 300 }).to(&post.phone.token));
        let many = queued(world, &post, 200, |m| m.due_ms -= MINUTE_MS).await;
        queue(world, vec![theirs.clone()]).await;
        for _ in 0..50 {
            world.kairos.step("push").await.unwrap();
            if state(world, &theirs).await == "accepted" {
                break;
            }
        }
        let ledger = post.standin.ledger();
        let place = places(&ledger, &[theirs]);
        assert!(place.len() == 1 && place[0] <= 60, "{place:?}");
        assert!(places(&ledger, &many).len() < 150);
        post.standin.heal();
        world.drain().await;
        adds_up(world, &post, 202).await;
    }
}

/// What is in the database, and then what has arrived: whatever the first calls accepted has to be in the second.
async fn sample(world: &World, post: &Post, (planned, before): (usize, &BTreeMap<String, usize>)) -> BTreeMap<String, usize> {
    let tally = tally(world).await;
    let (delivered, repeated) = (post.standin.summary().delivered, post.standin.summary().repeated);
    assert_eq!((tally.values().sum::<usize>(), repeated), (planned, 0), "{tally:?}");
    let known = ["queued", "sending", "retry_at", "accepted", "unknown", "expired", "rejected"];
    assert!(tally.keys().all(|line| known.contains(&line.split(':').next().unwrap())), "{tally:?}");
    assert!(tally.get("accepted").copied().unwrap_or(0) <= delivered, "{tally:?}, {delivered} delivered");
    for (line, n) in before {
        let ends = !["queued", "sending", "retry_at"].contains(&line.split(':').next().unwrap());
        assert!(!ends || tally.get(line).is_some_and(|now| now >= n), "an end was undone: {before:?}, {tally:?}");
    }
    tally
}

both! {
    async fn at_every_instant_what_was_planned_is_somewhere_and_a_stop_ends_in_time(world) {
        let post = narrow(world, 16).await;
        let fault = |fault, times| Rule { gateway: None, token: None, times: Some(times), fault };
        // More than the twenty that open it and what is in flight beside them: some are left for probes.
        post.standin.inject(fault(answer(500, "InternalServerError"), 32));
        post.standin.inject(fault(Fault::Slow { wait_ms: 20 }, 100));
        post.standin.inject(fault(Fault::Stall { wait_ms: 200 }, 3));
        post.standin.inject(fault(Fault::Slow { wait_ms: 700 }, 60));
        post.standin.inject(fault(Fault::CutAfterRequest, 1));
        queued(world, &post, 300, |m| m.bulk = true).await;
        queued(world, &post, 300, |m| m.deadline_ms = m.due_ms + MINUTE_MS).await;
        let running = world.kairos.start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let (mut before, mut opened, mut narrowest) = (BTreeMap::new(), false, 16);
        for _ in 0..600 {
            before = sample(world, &post, (601, &before)).await;
            let seen = sending(world).await;
            opened |= seen["broken"].is_object();
            narrowest = narrowest.min(seen["in_flight_max"].as_u64().unwrap());
            if opened && before.get("accepted").is_some_and(|n| *n > 250) && narrowest < 16 {
                break;
            }
            // Pauses grow with each probe that fails.
            world.clock.advance(Duration::from_millis(if seen["broken"].is_object() { 2_000 } else { 200 }));
            nap(30).await;
        }
        assert!(opened && narrowest < 16, "{opened} {narrowest} {before:?}");
        // It stops while the gateway is silent.
        post.standin.inject(Rule::always(Fault::Silent));
        for _ in 0..100 {
            before = sample(world, &post, (601, &before)).await;
            if before.keys().any(|line| line.starts_with("sending")) {
                break;
            }
            world.clock.advance(Duration::from_millis(200));
            nap(10).await;
        }
        let begun = Instant::now();
        running.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        before = sample(world, &post, (601, &before)).await;
        assert!(!before.keys().any(|line| line.starts_with("sending")), "what was on its way has been given up: {before:?}");
        post.standin.heal();
        world.restart(|_| {}).await;
        for _ in 0..90 {
            world.advance(SECOND).await;
            before = sample(world, &post, (601, &before)).await;
        }
        assert!(!before.keys().any(|line| line.starts_with("queued") || line.starts_with("retry_at")), "{before:?}");
    }
}
