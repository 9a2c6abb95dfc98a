//! Takes a body in while it arrives: lines go to the database as they come, and count once the body is whole.

use super::chunk::{Chunk, Cutter, Limits};
use super::store::{self, Job, Kind};
use super::work::context;
use crate::audit;
use crate::error::{Error, Problem, Result};
use crate::id::{AppId, ImportId};
use crate::platform::Platform;
use crate::store::Conn;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::web::{Bytes, Payload};
use futures_util::StreamExt as _;
use ring::digest::{Context, SHA256};
use std::time::Duration;

/// How long the next piece of a body may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of lines that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Longest Idempotency-Key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// Receives an import, or finds the one that was sent before with the same key.
///
/// # Errors
/// 400, 408, 413, 415, 422, 429, each with what to do.
pub(super) async fn receive(
    platform: &Platform,
    (app, kind): (AppId, Kind),
    (headers, payload): (&HeaderMap, Payload),
) -> Result<Job> {
    let mut body = Body::of(platform, headers, payload)?;
    let key_hash = idempotency_key(headers)?
        .map(|key| platform.master_key.derive_hex("idempotency key", format!("{app}|imports/{}|{key}", kind.name()).as_bytes()));
    if let Some(known) = by_key(platform, (app, kind), key_hash.as_deref()).await? {
        while body.next().await?.is_some() {}
        return same(known, &body.hash());
    }
    let mut staged = Staged::open(platform, (app, kind)).await?;
    let hash = match staged.fill(&mut body).await {
        Ok(()) => body.hash(),
        Err(error) => {
            staged.give_up().await;
            return Err(error);
        }
    };
    let (id, lines) = (staged.id, body.cutter.lines());
    let (body_hash, key) = (hash.clone(), key_hash.clone());
    let write = move |conn: &mut Conn| {
        store::received(conn, (app, id, kind), (lines, &body_hash), key.as_deref())?;
        audit::made(id);
        store::read(conn, app, id)
    };
    match platform.store.write(write).await {
        Ok(job) => {
            staged.settled = true;
            platform.import_hint.nudge();
            job.ok_or_else(|| Error::not_found("import"))
        }
        // The same import was sent twice at once: the other one is it.
        Err(error) => {
            staged.give_up().await;
            let known = by_key(platform, (app, kind), key_hash.as_deref()).await?;
            known.map_or(Err(error), |known| same(known, &hash))
        }
    }
}

async fn by_key(platform: &Platform, (app, kind): (AppId, Kind), key_hash: Option<&str>) -> Result<Option<Job>> {
    let Some(key) = key_hash.map(str::to_owned) else { return Ok(None) };
    platform.store.read_kept(move |conn| store::by_key(conn, app, (kind, &key))).await
}

/// The import that was sent before, when it was this one.
fn same(known: Job, body_hash: &str) -> Result<Job> {
    if known.body_hash == body_hash {
        return Ok(known);
    }
    let detail = "Another import was sent with this Idempotency-Key. Take a new key for another body.";
    Err(Problem::new(422, "idempotency_key_reused", detail).field("Idempotency-Key", "invalid", detail).into())
}

/// The key by which an import that is sent again is known.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("Idempotency-Key") else { return Ok(None) };
    let key = value.to_str().unwrap_or("").trim();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        let message = format!("expected 1 to {KEY_CHARS_MAX} visible characters");
        return Err(Error::invalid("Idempotency-Key", "invalid", message));
    }
    Ok(Some(key.to_owned()))
}

/// A body that is arriving.
struct Body {
    platform: Platform,
    payload: Payload,
    cutter: Cutter,
    digest: Context,
    bytes: usize,
}

impl Body {
    fn of(platform: &Platform, headers: &HeaderMap, payload: Payload) -> Result<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = text(CONTENT_TYPE).split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if media != "application/x-ndjson" {
            let detail = "Send one JSON object on each line, as application/x-ndjson.";
            return Err(Problem::new(415, "unsupported_media_type", detail).into());
        }
        let config = &platform.config;
        let limits = Limits { line_bytes: config.import_line_limit_bytes, lines: config.import_lines_limit };
        if text(CONTENT_LENGTH).parse::<usize>().is_ok_and(|n| n > config.import_body_limit_bytes) {
            return Err(body_too_large(config.import_body_limit_bytes));
        }
        Ok(Self { platform: platform.clone(), payload, cutter: Cutter::new(limits), digest: Context::new(&SHA256), bytes: 0 })
    }

    /// The next piece.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let slow =
            || Problem::new(408, "body_too_slow", format!("Each piece of the body must arrive within {} s.", PATIENCE.as_secs()));
        let Some(piece) = tokio::time::timeout(PATIENCE, self.payload.next()).await.map_err(|_| slow())? else { return Ok(None) };
        let piece = piece.map_err(|e| Problem::new(400, "unreadable_body", format!("The body could not be read: {e}.")))?;
        self.bytes += piece.len();
        if self.bytes > self.platform.config.import_body_limit_bytes {
            return Err(body_too_large(self.platform.config.import_body_limit_bytes));
        }
        self.digest.update(&piece);
        Ok(Some(piece))
    }

    /// A keyed hash of what has arrived.
    fn hash(&self) -> String {
        self.platform.master_key.derive_hex("import body", self.digest.clone().finish().as_ref())
    }
}

fn body_too_large(most: usize) -> Error {
    let detail = format!("The body of an import may have at most {most} bytes. Send it in several imports.");
    Problem::new(413, "body_too_large", detail).into()
}

/// An import whose body is arriving; unless it becomes whole, nothing of it stays. It is written outside of the request's
/// own transactions: a refusal is no entry of the audit log.
struct Staged {
    platform: Platform,
    app: AppId,
    id: ImportId,
    seq: i64,
    chunks: Vec<(i64, Chunk, Vec<u8>)>,
    bytes: usize,
    /// When it was written last: a body that drips counts as one that is under way.
    written_ms: i64,
    /// Whether it is whole, or nothing of it is left.
    settled: bool,
}

impl Staged {
    async fn open(platform: &Platform, (app, kind): (AppId, Kind)) -> Result<Self> {
        let (id, now_ms, most) = (platform.ids.next(), platform.clock.now_ms(), platform.config.import_jobs_limit);
        let store = platform.store.clone();
        let mut staged = Self {
            platform: platform.clone(),
            app,
            id,
            seq: 0,
            chunks: Vec::new(),
            bytes: 0,
            written_ms: now_ms,
            settled: false,
        };
        let write = async move { store.write(move |conn| store::open(conn, (app, id, kind), (most, now_ms))).await };
        let opened = tokio::spawn(write).await.map_err(Error::broken)?;
        staged.settled = opened.is_err();
        opened.map(|()| staged)
    }

    /// Takes in a whole body.
    async fn fill(&mut self, body: &mut Body) -> Result<()> {
        while let Some(bytes) = body.next().await? {
            body.cutter.push(&bytes)?;
            self.take(body.cutter.take()).await?;
        }
        let rest = body.cutter.finish()?;
        self.take(rest).await?;
        self.write().await
    }

    /// Forgets what has arrived, before the refusal is answered.
    async fn give_up(mut self) {
        self.settled = true;
        let (store, app, id) = (self.platform.store.clone(), self.app, self.id);
        let write = async move { store.write(move |conn| store::give_up(conn, (app, id))).await };
        if !matches!(tokio::spawn(write).await, Ok(Ok(_))) {
            // Should this be lost too, the worker of retention finds what is left.
            self.settled = false;
        }
    }

    /// Takes whole chunks, and writes them once there are enough of them.
    async fn take(&mut self, chunks: Vec<Chunk>) -> Result<()> {
        for mut chunk in chunks {
            let (key, context) = (&self.platform.master_key, context(self.app, self.id, self.seq));
            let sealed = key.seal(&self.platform.ids, &context, &std::mem::take(&mut chunk.text))?;
            self.bytes += sealed.len();
            self.chunks.push((self.seq, chunk, sealed));
            self.seq += 1;
            if self.bytes >= WRITE_BYTES {
                self.write().await?;
            }
        }
        if self.platform.clock.now_ms() - self.written_ms >= store::RECEIVING_MS / 2 {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let (chunks, app, id) = (std::mem::take(&mut self.chunks), self.app, self.id);
        let (store, now_ms) = (self.platform.store.clone(), self.platform.clock.now_ms());
        (self.bytes, self.written_ms) = (0, now_ms);
        let write = async move { store.write(move |conn| store::add(conn, (app, id), &chunks, now_ms)).await };
        tokio::spawn(write).await.map_err(Error::broken)?
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        // The caller has hung up.
        let (store, app, id) = (self.platform.store.clone(), self.app, self.id);
        drop(tokio::spawn(async move { store.write(move |conn| store::give_up(conn, (app, id))).await }));
    }
}
