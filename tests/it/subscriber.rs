//! A server that plays the receiver of webhooks: it keeps every request and answers as it is told. Its check of
//! signatures shares nothing with the code that makes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// How to answer.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status, these header lines, no body.
    Status(u16, &'static str),
    /// This status, and a body that never ends.
    Endless(u16),
    /// This status, a body that is announced and never comes.
    Stuck(u16),
    /// Nothing, ever.
    Silence,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub head: String,
    pub body: String,
}

/// See the module.
#[derive(Clone)]
pub struct Subscriber {
    pub address: SocketAddr,
    kept: Arc<Kept>,
}

struct Kept {
    arrivals: Mutex<Vec<Arrival>>,
    next: Mutex<VecDeque<Reply>>,
    usual: Mutex<Reply>,
    arrived: Notify,
}

impl Subscriber {
    /// Listens on a free port of 127.0.0.1 and answers 204.
    pub async fn open() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// Listens there.
    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let me = Self::unheard(listener.local_addr().unwrap());
        let server = me.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        me
    }

    /// One that listens to nothing by itself: feed it with [`Subscriber::serve`].
    pub fn unheard(address: SocketAddr) -> Self {
        let kept = Kept {
            arrivals: Mutex::default(),
            next: Mutex::default(),
            usual: Mutex::new(Reply::Status(204, "")),
            arrived: Notify::new(),
        };
        Self { address, kept: Arc::new(kept) }
    }

    /// Answers one connection.
    pub async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(arrival) = read(&mut stream).await else { return };
        let reply = self.kept.next.lock().unwrap().pop_front().unwrap_or_else(|| self.kept.usual.lock().unwrap().clone());
        self.kept.arrivals.lock().unwrap().push(arrival);
        self.kept.arrived.notify_waiters();
        match reply {
            Reply::Status(status, headers) => {
                let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            Reply::Endless(status) => {
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n").as_bytes()).await;
                while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
            }
            Reply::Stuck(status) => {
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 10\r\n\r\nabc").as_bytes()).await;
                std::future::pending::<()>().await;
            }
            Reply::Silence => std::future::pending::<()>().await,
        }
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next request in this way.
    pub fn next(&self, reply: Reply) {
        self.kept.next.lock().unwrap().push_back(reply);
    }

    /// Answers every request in this way from now on.
    pub fn always(&self, reply: Reply) {
        *self.kept.usual.lock().unwrap() = reply;
    }

    /// What has come so far.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.kept.arrivals.lock().unwrap().clone()
    }

    /// How many have come so far.
    pub fn count(&self) -> usize {
        self.kept.arrivals.lock().unwrap().len()
    }

    /// Waits until so many have come.
    pub async fn has(&self, n: usize) {
        loop {
            let arrived = self.kept.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if self.count() >= n {
                return;
            }
            arrived.await;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Arrival> {
    let mut raw = Vec::new();
    loop {
        if let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(raw[..end].to_vec()).ok()?;
            let length = find(&head, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            if raw.len() >= end + 4 + length {
                return Some(Arrival { head, body: String::from_utf8(raw[end + 4..].to_vec()).ok()? });
            }
        }
        let mut chunk = [0; 4_096];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => raw.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn find<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

impl Arrival {
    /// A header's value.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        find(&self.head, name).unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    /// The `webhook-id`.
    pub fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the receiver who holds this secret would believe the message at this time.
    pub fn verifies(&self, secret: &str, now_ms: i64) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let timestamp: i64 = self.header("webhook-timestamp").parse().unwrap();
        let signed = format!("{}.{timestamp}.{}", self.header("webhook-id"), self.body);
        let wanted = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, signed.as_bytes())));
        (now_ms / 1_000 - timestamp).abs() <= 300 && self.header("webhook-signature").split(' ').any(|one| one == wanted)
    }

    /// How many signatures it carries.
    pub fn signatures(&self) -> usize {
        self.header("webhook-signature").split(' ').count()
    }
}

/// RFC 2104, written out.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = digest(&SHA256, &[pad(0x36), text.to_vec()].concat());
    digest(&SHA256, &[pad(0x5c), inner.as_ref().to_vec()].concat()).as_ref().to_vec()
}
