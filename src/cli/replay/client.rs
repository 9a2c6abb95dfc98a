//! A small HTTP/1.1 client for our own server: one kept connection, JSON in, JSON out.

use crate::config::Secret;
use crate::error::{Error, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// A connection to a server of ours, with a credential.
pub(crate) struct Client {
    address: SocketAddr,
    credential: Secret,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body; null when there was none.
    pub(crate) body: Value,
}

impl Client {
    /// A client that sends `Authorization: Bearer <credential>`.
    pub(crate) fn new(address: SocketAddr, credential: Secret) -> Self {
        Self { address, credential, connection: Mutex::new(None) }
    }

    /// Sends a request and expects success.
    ///
    /// # Errors
    /// When the server is away or answers with anything but 2xx; its own words are passed on.
    pub(crate) async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.send(method.clone(), path, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let detail = answer.body.get("detail").and_then(Value::as_str).unwrap_or("no detail");
        Err(Error::broken(format!("{method} {path} was answered {}: {detail}", answer.status)))
    }

    /// `POST` and expect success.
    ///
    /// # Errors
    /// See [`Client::must`].
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.must(Method::POST, path, Some(body)).await
    }

    /// Sends a request; a connection that the server closed in between is opened anew once.
    ///
    /// # Errors
    /// When the server is away.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut slot = self.connection.lock().await;
        // Ready means that the answer before was read to its end; an error, that the server closed the connection.
        let kept = match slot.take() {
            Some(mut connection) => connection.ready().await.is_ok().then_some(connection),
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let bytes = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.credential.expose()));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(bytes)).map_err(Error::broken)?;
        let response = connection.send_request(request).await.map_err(Error::broken)?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(Error::broken)?.to_bytes();
        *slot = Some(connection);
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        Ok(Answer { status, body })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await.map_err(Error::broken)?;
        stream.set_nodelay(true).map_err(Error::broken)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(Error::broken)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
