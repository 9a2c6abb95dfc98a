//! The one client for URLs that somebody else chose: webhooks, key sets, token endpoints.
//!
//! A request goes to an address that was looked up and judged a moment before, never to a name that could mean another
//! one by then; redirects are answers like any other; the time and the answer's size are bounded; a failure says what
//! happened in one word and never what the peer said. HTTP/1.1, one connection per request.
//!
//! Public addresses take https alone, on port 443 or from 1024 on: below that live protocols that have nothing to do
//! with the web. Blocks of `KAIROS_OUTBOUND_ALLOW` take any port, and http.

use super::Trust;
use super::address::{Blocks, is_public};
use super::url::{Host, WebUrl};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How many addresses of one host are tried, and how long each may take to let us in.
const ADDRESSES_MAX: usize = 3;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a look-up may take when a URL is only checked.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(3);
/// Most bytes of an answer's head, give or take one read.
const HEAD_LIMIT_BYTES: usize = 64 << 10;
/// The lowest port beside 443 that is called at public addresses.
const PORT_MIN: u16 = 1_024;
/// Who we are when the caller does not say.
const AGENT: &str = concat!("Kairos/", env!("CARGO_PKG_VERSION"));

/// Looks names up. The machine's resolver in a server; tests bring their own.
pub trait Resolve: Send + Sync {
    /// The addresses behind a name, in the order in which to try them.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>>;
}

struct Machine;

impl Resolve for Machine {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// A request to a URL that somebody else chose.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// Headers; `Host` and the length are added.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
    /// How long all of it may take: looking up, connecting, sending, reading the whole answer.
    pub timeout: Duration,
    /// Most bytes of the answer's body.
    pub body_max: usize,
}

/// What the peer said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status; 3xx too, redirects are not followed.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer. Holds nothing that the peer said but its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The URL is none that can be called; why, for people.
    Url(&'static str),
    /// The host has no address that may be called in this way.
    Forbidden,
    /// The name cannot be looked up.
    Unresolved,
    /// No connection.
    Unreachable,
    /// No TLS: a wrong certificate, or a peer that speaks none.
    Tls,
    /// Nothing was answered in time.
    Timeout,
    /// The connection ended before the answer, or the answer is not HTTP.
    Lost,
    /// This status was answered, with a body that was too long or did not end in time.
    Cut(StatusCode),
}

impl Failure {
    /// A stable word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Url(_) => "bad_url",
            Self::Forbidden => "forbidden_address",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Lost => "connection_lost",
            Self::Cut(_) => "answer_cut",
        }
    }
}

/// See the module.
pub struct Guarded {
    trust: Trust,
    allow: Blocks,
    resolver: RwLock<Arc<dyn Resolve>>,
}

impl Guarded {
    /// A client that trusts these roots and may call these blocks beside the public internet.
    pub fn new(trust: &Trust, allow: Blocks) -> Self {
        Self { trust: trust.for_http1(), allow, resolver: RwLock::new(Arc::new(Machine)) }
    }

    /// Looks names up in another way from now on.
    pub fn resolve_by(&self, resolver: Arc<dyn Resolve>) {
        *self.resolver.write().unwrap_or_else(PoisonError::into_inner) = resolver;
    }

    /// Whether a URL could be called now: for the moment in which it is chosen. A name that nobody knows yet passes.
    ///
    /// # Errors
    /// `Url` or `Forbidden`.
    pub async fn vet(&self, url: &str) -> Result<(), Failure> {
        let url = self.parse(url)?;
        match timeout(LOOK_UP_PATIENCE, self.addresses(&url)).await {
            Ok(Err(Failure::Forbidden)) => Err(Failure::Forbidden),
            Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// What is known of the failure.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Answer, Failure> {
        let (within, seen) = (outgoing.timeout, OnceLock::new());
        match timeout(within, self.exchange(outgoing, &seen)).await {
            Ok(done) => done,
            Err(_) => Err(seen.get().copied().map_or(Failure::Timeout, Failure::Cut)),
        }
    }

    /// Connects to a host of a name that somebody else chose, for whoever speaks another protocol than this client: the
    /// same look-up, the same judgement, the same address.
    ///
    /// # Errors
    /// What is known of the failure.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let url = self.parse(&format!("https://{host}:{port}/"))?;
        connect(&self.addresses(&url).await?, url.port).await
    }

    fn parse(&self, url: &str) -> Result<WebUrl, Failure> {
        let url = WebUrl::parse(url).map_err(Failure::Url)?;
        if !url.secure && self.allow.is_empty() {
            return Err(Failure::Url("must begin with https://"));
        }
        Ok(url)
    }

    /// Addresses that may be called now. Whoever gets them connects to one of them and asks nobody again.
    async fn addresses(&self, url: &WebUrl) -> Result<Vec<IpAddr>, Failure> {
        let found = match &url.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                let resolver = Arc::clone(&self.resolver.read().unwrap_or_else(PoisonError::into_inner));
                resolver.resolve(name).await.map_err(|_| Failure::Unresolved)?
            }
        };
        if found.is_empty() {
            return Err(Failure::Unresolved);
        }
        let open: Vec<IpAddr> = found.into_iter().filter(|address| self.may_call(url, *address)).take(ADDRESSES_MAX).collect();
        if open.is_empty() { Err(Failure::Forbidden) } else { Ok(open) }
    }

    fn may_call(&self, url: &WebUrl, address: IpAddr) -> bool {
        let port = url.port == 443 || url.port >= PORT_MIN;
        self.allow.contain(address) || url.secure && port && is_public(address)
    }

    async fn exchange(&self, outgoing: Outgoing, seen: &OnceLock<StatusCode>) -> Result<Answer, Failure> {
        let url = self.parse(&outgoing.url)?;
        let tcp = connect(&self.addresses(&url).await?, url.port).await?;
        let (body_max, request) = (outgoing.body_max, request(&url, outgoing)?);
        if !url.secure {
            return speak(tcp, request, (body_max, seen)).await;
        }
        let name = match &url.host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Failure::Tls)?,
            Host::Address(address) => ServerName::from(*address),
        };
        let tls = self.trust.0.connect(name, tcp).await.map_err(|_| Failure::Tls)?;
        speak(tls, request, (body_max, seen)).await
    }
}

async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    for address in addresses {
        if let Ok(Ok(tcp)) = timeout(CONNECT_PATIENCE, TcpStream::connect((*address, port))).await {
            // The head and the body are two small writes; a failure only makes them slower.
            let _ = tcp.set_nodelay(true);
            return Ok(tcp);
        }
    }
    Err(Failure::Unreachable)
}

fn request(url: &WebUrl, outgoing: Outgoing) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = outgoing.method;
    *request.uri_mut() = url.path.clone().into();
    *request.headers_mut() = outgoing.headers;
    let host = HeaderValue::try_from(url.authority()).map_err(|_| Failure::Url("has a host that is not well formed"))?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    Ok(request)
}

async fn speak<S>(stream: S, request: Request<Full<Bytes>>, limits: (usize, &OnceLock<StatusCode>)) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (body_max, seen) = limits;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_LIMIT_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Lost)?;
    let exchange = async move {
        let (head, mut body) = sender.send_request(request).await.map_err(|_| Failure::Lost)?.into_parts();
        let status = *seen.get_or_init(|| head.status);
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::Cut(status))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if whole.len() + chunk.len() > body_max {
                return Err(Failure::Cut(status));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers: head.headers, body: whole.freeze() })
    };
    // Moved here and not by a task of its own: when this ends, so does the connection.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = driven => never,
    }
}
