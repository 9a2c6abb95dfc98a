//! argon2id on threads of its own: sign-ins queue here and never hold up other requests.

use crate::config::Secret;
use crate::error::{Error, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use icu_normalizer::ComposingNormalizerBorrowed;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Memory of one hash, in KiB (19 MiB; OWASP's minimum with two passes and one lane).
const MEMORY_KIB: u32 = 19_456;
/// Passes.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// How many hashes may wait for each thread: about two seconds' worth. Beyond it callers are told to come back.
const WAITING_PER_THREAD: usize = 64;
/// A thread without work for this long gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// What else is worked out with the password of a job; its memory and time are bounded by whoever asks.
pub type Also = Box<dyn FnOnce(&Secret) -> bool + Send>;

struct Job {
    password: Secret,
    salt: [u8; 16],
    also: Option<Also>,
    reply: oneshot::Sender<Result<(String, bool)>>,
}

/// A bounded pool of hashing threads; cheap to clone.
#[derive(Clone)]
pub struct Hasher {
    jobs: Sender<Job>,
    count: Arc<AtomicU64>,
}

impl Hasher {
    /// Starts the threads; 0: one per core.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(threads: usize) -> Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        };
        let (jobs, waiting) = crossbeam_channel::bounded(threads * WAITING_PER_THREAD);
        let count = Arc::new(AtomicU64::new(0));
        for n in 0..threads {
            let (waiting, count) = (waiting.clone(), Arc::clone(&count));
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || work(&waiting, &count)).map_err(Error::broken)?;
        }
        Ok(Self { jobs, count })
    }

    /// Hashes one password; the answer is a PHC string.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn hash(&self, password: Secret, salt: [u8; 16]) -> Result<String> {
        self.hash_and(password, salt, None).await.map(|(hash, _)| hash)
    }

    /// Hashes one password and works something else out with it, in one job: what that says, or false without it.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn hash_and(&self, password: Secret, salt: [u8; 16], also: Option<Also>) -> Result<(String, bool)> {
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job { password, salt, also, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Error::Busy("too many password hashes are waiting")),
            Err(TrySendError::Disconnected(_)) => return Err(Error::broken("the hashing threads have stopped")),
        }
        answer.await.unwrap_or_else(|_| Err(Error::broken("a hashing thread has stopped")))
    }

    /// How many hashes were made since the start: tests check that every attempt costs exactly one.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

/// How much a hash gives way to everything else of the server, as `nice` counts: a crowd that signs in keeps all cores
/// busy, and nobody else waits for them.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Lets this thread give way. Where the system refuses, hashes compete with answers, as they did before.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        // On Linux each thread has a priority of its own (setpriority(2)).
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    }
}

fn work(waiting: &Receiver<Job>, count: &AtomicU64) {
    give_way();
    // The block is reused: asking the system for 19 MiB costs about as much as a fifth of the hash.
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let job = match waiting.recv_timeout(IDLE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                memory = Vec::new();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // Nobody is waiting for it any more.
        if job.reply.is_closed() {
            continue;
        }
        let result = hash(&job.password, &job.salt, &mut memory);
        let result = result.map(|hash| (hash, job.also.is_some_and(|also| also(&job.password))));
        count.fetch_add(1, Ordering::SeqCst);
        let _ = job.reply.send(result);
    }
}

fn hash(password: &Secret, salt: &[u8; 16], memory: &mut Vec<Block>) -> Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).map_err(Error::broken)?;
    memory.resize(params.block_count(), Block::new());
    let mut out = [0; HASH_BYTES];
    // One password in two encodings of Unicode is one password (NIST SP 800-63B, 3.1.1.2).
    let password = ComposingNormalizerBorrowed::new_nfkc().normalize(password.expose());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut out, memory.as_mut_slice())
        .map_err(Error::broken)?;
    let (salt, out) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(out));
    Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${out}"))
}
