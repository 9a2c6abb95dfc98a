//! argon2id on threads of its own: sign-ins queue here and never hold up other requests.

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::id::AppId;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use icu_normalizer::ComposingNormalizerBorrowed;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
/// How many hashes of one app may wait for each thread: about two seconds' worth. Beyond it callers are told to come back.
const WAITING_PER_THREAD: usize = 64;
/// How many apps may fill their places at once.
const CROWDS: usize = 8;
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

/// Whose hash it is; none: an operator's.
type Whose = Option<AppId>;

/// A bounded pool of hashing threads; cheap to clone. Apps take turns: one whose crowd signs in, or whose old hashes are
/// dear, fills its own places and keeps nobody else waiting for more than one of them.
#[derive(Clone)]
pub struct Hasher {
    shared: Arc<Shared>,
    /// The threads end when the last handle is gone.
    _open: Arc<Open>,
}

struct Shared {
    queue: Mutex<Queue>,
    come: Condvar,
    count: AtomicU64,
    places: usize,
}

#[derive(Default)]
struct Queue {
    waiting: HashMap<Whose, VecDeque<Job>>,
    /// Whose turn is next: everybody who waits, once.
    turns: VecDeque<Whose>,
    length: usize,
    closed: bool,
}

impl Queue {
    /// Takes a place; the job comes back when there is none.
    fn push(&mut self, whose: Whose, job: Job, places: usize) -> bool {
        let own = self.waiting.entry(whose).or_default();
        if own.len() >= places || self.length >= places * CROWDS {
            if own.is_empty() {
                self.waiting.remove(&whose);
            }
            return false;
        }
        if own.is_empty() {
            self.turns.push_back(whose);
        }
        own.push_back(job);
        self.length += 1;
        true
    }

    /// The first job of whoever's turn it is, who then goes to the end of the line.
    fn pop(&mut self) -> Option<Job> {
        let whose = self.turns.pop_front()?;
        let own = self.waiting.get_mut(&whose)?;
        let job = own.pop_front();
        if own.is_empty() {
            self.waiting.remove(&whose);
        } else {
            self.turns.push_back(whose);
        }
        self.length -= 1;
        job
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.come.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job; `Err` after a long time without one, none when there never will be another.
    fn next(&self) -> std::result::Result<Option<Job>, Idle> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.pop() {
                return Ok(Some(job));
            }
            if queue.closed {
                return Ok(None);
            }
            let (held, waited) = self.come.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = held;
            if waited.timed_out() && queue.turns.is_empty() {
                return Err(Idle);
            }
        }
    }
}

/// Nothing has come for a long time.
struct Idle;

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
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            come: Condvar::new(),
            count: AtomicU64::new(0),
            places: threads * WAITING_PER_THREAD,
        });
        let open = Arc::new(Open(Arc::clone(&shared)));
        for n in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("hash-{n}")).spawn(move || work(&shared)).map_err(Error::broken)?;
        }
        Ok(Self { shared, _open: open })
    }

    /// Hashes one password of an app's user, or of an operator; the answer is a PHC string.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn hash(&self, whose: Option<AppId>, password: Secret, salt: [u8; 16]) -> Result<String> {
        self.hash_and(whose, (password, salt), None).await.map(|(hash, _)| hash)
    }

    /// Hashes one password and works something else out with it, in one job: what that says, or false without it.
    ///
    /// # Errors
    /// `Busy` when too many are waiting.
    pub async fn hash_and(
        &self,
        whose: Option<AppId>,
        (password, salt): (Secret, [u8; 16]),
        also: Option<Also>,
    ) -> Result<(String, bool)> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.queue().push(whose, Job { password, salt, also, reply }, self.shared.places) {
            return Err(Error::Busy("too many password hashes are waiting"));
        }
        self.shared.come.notify_one();
        answer.await.unwrap_or_else(|_| Err(Error::broken("a hashing thread has stopped")))
    }

    /// How many hashes were made since the start: tests check that every attempt costs exactly one.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
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

fn work(shared: &Shared) {
    give_way();
    // The block is reused: asking the system for 19 MiB costs about as much as a fifth of the hash.
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let job = match shared.next() {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(Idle) => {
                memory = Vec::new();
                continue;
            }
        };
        // Nobody is waiting for it any more.
        if job.reply.is_closed() {
            continue;
        }
        let result = hash(&job.password, &job.salt, &mut memory);
        let result = result.map(|hash| (hash, job.also.is_some_and(|also| also(&job.password))));
        shared.count.fetch_add(1, Ordering::SeqCst);
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
