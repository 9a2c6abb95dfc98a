//! A small HTTP/1.1 client: one connection per request, nothing hidden, able to send what no proper client would.

use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Who is calling.
#[derive(Debug, Clone)]
pub enum Caller {
    /// No credentials.
    Nobody,
    /// A publishable key, in `X-Kairos-Key`.
    App(String),
    /// A server key, partner key or access token, in `Authorization: Bearer`.
    Bearer(String),
    /// An operator's token, and the app to act in.
    Operator {
        /// `op_…`
        token: String,
        /// `app_…`
        app: String,
    },
}

/// A server's front door.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Api {
    /// A request under construction: `api.call("PATCH", "/v1/me").by(&user).header("If-Match", etag).json(&body).send().await`.
    pub fn call(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    /// GET.
    pub async fn get(&self, path: &str, by: &Caller) -> Answer {
        self.call("GET", path).by(by).send().await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, by: &Caller, body: Value) -> Answer {
        self.call("POST", path).by(by).json(&body).send().await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, by: &Caller, body: Value) -> Answer {
        self.call("PUT", path).by(by).json(&body).send().await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, by: &Caller, body: Value) -> Answer {
        self.call("PATCH", path).by(by).json(&body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str, by: &Caller) -> Answer {
        self.call("DELETE", path).by(by).send().await
    }
}

/// A request under construction.
pub struct Request {
    address: SocketAddr,
    host: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without credentials and body.
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        Self {
            address,
            host: address.to_string(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds the caller's credentials.
    pub fn by(self, caller: &Caller) -> Self {
        match caller {
            Caller::Nobody => self,
            Caller::App(key) => self.header("X-Kairos-Key", key),
            Caller::Bearer(token) => self.header("Authorization", &format!("Bearer {token}")),
            Caller::Operator { token, app } => {
                self.header("Authorization", &format!("Bearer {token}")).header("X-Kairos-App", app)
            }
        }
    }

    /// Asks for another host than the one that is connected to.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    /// Sets any body.
    pub fn text(mut self, content_type: &str, body: &str) -> Self {
        body.as_bytes().clone_into(&mut self.body);
        self.header("Content-Type", content_type)
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap_or_else(|e| panic!("no answer: {e}"))
    }

    /// Sends it; a server that goes away is an error, as in the tests that kill it.
    ///
    /// # Errors
    /// What the socket says, or an answer that ends early.
    pub async fn try_send(self) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&self.bytes()).await?;
        let mut raw = Vec::new();
        // A browser's driver keeps the connection open, whatever it was asked for.
        let is_whole =
            |raw: &[u8]| Answer::parse(raw, &self.method).is_some_and(|answer| answer.header("content-length").is_some());
        while stream.read_buf(&mut raw).await? > 0 && !is_whole(&raw) {}
        Answer::parse(&raw, &self.method).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "half an answer"))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !self.body.is_empty() || self.method != "GET" {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(raw: &[u8], method: &str) -> Option<Self> {
        let end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&raw[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: raw[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunk(&answer.body)?;
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().ok()?;
            if method != "HEAD" && answer.body.len() != length {
                return None;
            }
        }
        Some(answer)
    }

    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every header, by its lower-case name.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The body as JSON; `null` when there is none.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, when the status is the expected one; else the test fails and shows what came.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Checks that this is a proper problem+json refusal with this status and code, and gives it.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
        problem
    }

    /// The same for a refusal that must name this field.
    #[track_caller]
    pub fn refused_field(&self, status: u16, code: &str, field: &str) -> Value {
        let problem = self.refused(status, code);
        let named = problem["errors"].as_array().is_some_and(|all| all.iter().any(|e| e["field"] == field));
        assert!(named, "{field} is not named: {problem}");
        problem
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?.trim(), 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
