//! (f) Sign-ins per second against raw argon2id hashes per second on as many threads.

use super::client::{Connection, post};
use super::measure::{Pairs, Sample, cpu_time, cpu_time_of, sample};
use super::server::House;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Sign-ins, and hashes, per run.
const RUN: usize = 120;
/// Clients at once.
const CLIENTS: usize = 8;
/// Accounts they sign in to.
const ACCOUNTS: usize = 20;
const PASSWORD: &str = "correct horse battery";

/// Takes the figure.
pub fn run() -> Value {
    let house = House::build("signin");
    let open = "1000000".to_owned();
    let limits = [("sign_in_per_account_per_minute", open.clone()), ("sign_in_per_address_per_minute", open)];
    let server = house.serve(&limits);
    let body = |n: usize| json!({ "email": format!("user{n}@example.com"), "password": PASSWORD }).to_string();
    let mut connection = Connection::open(server.address);
    for n in 0..ACCOUNTS {
        let (status, answer) = connection.send(&post("/v1/auth/sign-up", &house.publishable, &body(n)));
        assert!((200..300).contains(&status), "{status} {}", String::from_utf8_lossy(&answer));
    }
    let requests: Vec<Vec<u8>> = (0..ACCOUNTS).map(|n| post("/v1/auth/sign-in", &house.publishable, &body(n))).collect();
    let pid = server.pid();
    let ours = || {
        let next = AtomicUsize::new(0);
        let (cpu, started) = (cpu_time_of(&pid), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut connection = Connection::open(server.address);
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= RUN {
                            break;
                        }
                        let (status, answer) = connection.send(&requests[n % ACCOUNTS]);
                        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
                    }
                });
            }
        });
        Sample { operations: RUN as f64, wall: started.elapsed(), cpu: cpu_time_of(&pid) - cpu }
    };
    Pairs::take(5, ours, raw_hashes).json("≥ 0.9 of raw argon2 hashes/s")
}

/// The same hashes on every core, memory reused, nothing else.
fn raw_hashes() -> Sample {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let _ = cpu_time();
    sample(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let params = Params::new(19_456, 2, 1, Some(32)).unwrap();
                    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                    let mut memory = vec![Block::default(); params.block_count()];
                    let mut out = [0; 32];
                    for _ in 0..RUN / threads {
                        argon
                            .hash_password_into_with_memory(PASSWORD.as_bytes(), b"sixteen byte salt", &mut out, &mut memory)
                            .unwrap();
                    }
                });
            }
        });
        (RUN / threads * threads) as f64
    })
}
