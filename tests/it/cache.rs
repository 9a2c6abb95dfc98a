//! The cache with and without Redis: shared budgets, news between nodes, and what is left when Redis goes away.

use crate::world::Db;
use kairos::cache::{Budget, Cache};
use kairos::config::Secret;
use kairos::serve::Kairos;
use serde_json::json;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NOW_MS: i64 = 1_750_000_000_000;

/// A Redis of one test, on a port of its own.
struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, child: None };
        redis.run();
        redis
    }

    fn run(&mut self) {
        let port = self.port.to_string();
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let child = Command::new("redis-server").args(args).stdout(Stdio::null()).spawn();
        self.child = Some(child.expect("redis-server is needed: `make test` provides it"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn node(&self, name: &str) -> Node {
        let url = Secret::new(format!("redis://127.0.0.1:{}", self.port));
        let cache = Cache::open(&url, "kairos:test".to_owned(), name.to_owned()).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        cache.subscribe("keys", move |payload| notes.lock().unwrap().push(payload.to_owned()));
        Node { cache, heard }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Node {
    cache: Cache,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Node {
    fn heard(&self, payload: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|p| p == payload)
    }

    fn forget(&self) {
        self.heard.lock().unwrap().clear();
    }

    /// How many of `tries` the budget allows.
    async fn allowed(&self, bucket: &str, tries: u32) -> u32 {
        let mut allowed = 0;
        for _ in 0..tries {
            let budget = Budget { bucket, limit: 10, window_ms: 60_000 };
            allowed += u32::from(self.cache.take(budget, 1, NOW_MS).await.is_ok());
        }
        allowed
    }
}

/// Waits for something that another process brings about.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("not within 20 s: {what}"));
}

async fn two_nodes(redis: &Redis) -> (Node, Node) {
    let (one, two) = (redis.node("one"), redis.node("two"));
    until("both nodes share", || one.cache.is_shared() && two.cache.is_shared()).await;
    // A node that has just begun to listen is told that anything may have changed.
    until("both nodes listen", || one.heard("") && two.heard("")).await;
    one.forget();
    two.forget();
    (one, two)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_budgets_and_hear_each_other() {
    let redis = Redis::start();
    let (one, two) = two_nodes(&redis).await;
    assert_eq!(one.allowed("shared", 6).await, 6);
    assert_eq!(two.allowed("shared", 6).await, 4, "the budget is one for all nodes");
    assert_eq!(one.allowed("shared", 1).await, 0);
    assert_eq!(one.allowed("another", 1).await, 1);
    one.cache.publish("keys", "key_1");
    assert!(one.heard("key_1"), "this node hears at once");
    until("the other node hears", || two.heard("key_1")).await;
    assert_eq!(one.heard.lock().unwrap().len(), 1, "nobody hears itself twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_limits_are_counted_here_and_are_never_open() {
    let mut redis = Redis::start();
    let (one, two) = two_nodes(&redis).await;
    // Both nodes must have counted each other, so that each knows its part.
    until("both were counted", || one.cache.is_shared() && two.cache.is_shared()).await;
    assert_eq!(one.allowed("used before", 3).await, 3);
    redis.kill();
    let left = one.allowed("used before", 20).await;
    assert!(left <= 7, "what was used before counts still: {left}");
    for node in [&one, &two] {
        let allowed = node.allowed("fresh", 20).await;
        assert!((1..=10).contains(&allowed), "a limit must stay a limit: {allowed}");
        assert_eq!(node.allowed("fresh", 20).await, 0);
    }
    assert!(!one.cache.is_shared());
    one.cache.publish("keys", "while away");
    assert!(one.heard("while away"), "this node's own news needs no Redis");
    one.forget();
    two.forget();

    redis.run();
    until("both share again", || one.cache.is_shared() && two.cache.is_shared()).await;
    until("both are told that they may have missed something", || one.heard("") && two.heard("")).await;
    assert_eq!(one.allowed("after", 6).await + two.allowed("after", 6).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_never_there_stops_nothing() {
    let nowhere = Redis { port: 1, child: None };
    let node = nowhere.node("alone");
    assert_eq!(node.allowed("bucket", 12).await, 10);
    node.cache.publish("keys", "key_1");
    assert!(node.heard("key_1") && !node.cache.is_shared());
}

#[tokio::test]
async fn a_window_begins_anew_and_says_how_long_to_wait() {
    let cache = Cache::default();
    let budget = Budget { bucket: "b", limit: 2, window_ms: 1_000 };
    assert_eq!(cache.take(budget, 2, 10_250).await, Ok(()));
    assert_eq!(cache.take(budget, 1, 10_250).await, Err(750));
    assert_eq!(cache.take(budget, 1, 10_999).await, Err(1));
    assert_eq!(cache.take(budget, 1, 11_000).await, Ok(()));
    assert_eq!(cache.take(budget, 2, 11_000).await, Err(1_000), "a cost beyond the rest takes nothing");
    assert_eq!(cache.take(budget, 1, 11_000).await, Ok(()));
}

#[test]
fn a_wrong_redis_url_stops_the_start_with_one_line() {
    let error = Cache::open(&Secret::new("http://localhost"), String::new(), String::new()).err().unwrap().to_string();
    assert!(error.contains("KAIROS_REDIS_URL") && !error.contains('\n'), "{error}");
}

/// An event posted to one node wakes the lanes of another; without Redis they look by themselves.
#[test]
fn work_is_told_to_other_nodes() {
    crate::world::run(Db::Postgres, async |world| {
        let redis = Redis::start();
        let mut config = None;
        world
            .restart(|c| {
                c.redis_url = Secret::new(format!("redis://127.0.0.1:{}", redis.port));
                config = Some(c.clone());
            })
            .await;
        let other = Kairos::open(config.unwrap(), world.clock.clone()).await.unwrap();
        let (here, there) = (world.kairos.platform.clone(), other.platform.clone());
        until("both nodes share", || here.cache.is_shared() && there.cache.is_shared()).await;
        world.put("/v1/event-types/landed", &world.app.server, json!({"max_useful_age_ms": 60_000})).await.expect(200);
        // What they were told on connecting.
        while tokio::time::timeout(Duration::from_millis(500), there.lane_hint.nudged()).await.is_ok() {}
        let who = world.person(&world.app).await;
        let event = json!({"id": "1", "type": "landed", "occurred_at": world.time(0), "subject": who.id});
        let answer = world.post("/v1/events", &world.app.server, json!({"events": [event]})).await.expect(202);
        assert_eq!(answer["results"][0]["status"], "accepted", "{answer}");
        let woken = tokio::time::timeout(Duration::from_secs(20), there.lane_hint.nudged()).await;
        assert!(woken.is_ok(), "the other node was not woken");
        world.drain().await;
    });
}
