//! A real, small mail server: TLS or not, says what it is told to say, and keeps what it got.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// How connections are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    Tls,
    StartTls,
}

/// What the server does with one mail; each connection takes the next of the script, then all take.
#[derive(Debug, Clone)]
pub enum Say {
    /// Takes the mail.
    Take,
    /// Greets with this and hangs up.
    Greet(&'static str),
    /// Answers the password with this.
    Auth(&'static str),
    /// Answers the recipient with this.
    Rcpt(&'static str),
    /// Answers the content with this.
    Data(&'static str),
    /// Takes the content and says this only after [`MailServer::let_go`].
    Hold(&'static str),
    /// Takes the content and hangs up.
    HangUp,
}

/// A mail as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub encrypted: bool,
}

/// See the module.
#[derive(Clone)]
pub struct MailServer(Arc<Inner>);

struct Inner {
    port: u16,
    ca_pem: String,
    security: Security,
    acceptor: TlsAcceptor,
    script: Mutex<VecDeque<Say>>,
    mails: Mutex<Vec<Received>>,
    /// Every command that was heard, without contents.
    heard: Mutex<Vec<String>>,
    arrived: Semaphore,
    holding: Semaphore,
    go: Semaphore,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}
type Line = BufStream<Box<dyn Io>>;

impl MailServer {
    /// Listens on a free port.
    pub async fn open(security: Security) -> Self {
        let (acceptor, ca_pem) = certificate(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            port: listener.local_addr().unwrap().port(),
            ca_pem,
            security,
            acceptor,
            script: Mutex::default(),
            mails: Mutex::default(),
            heard: Mutex::default(),
            arrived: Semaphore::new(0),
            holding: Semaphore::new(0),
            go: Semaphore::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let me = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let me = Arc::clone(&me);
                tokio::spawn(async move {
                    let open = me.open.fetch_add(1, Ordering::SeqCst) + 1;
                    me.most_open.fetch_max(open, Ordering::SeqCst);
                    // A client that goes away is its own affair.
                    let _ = me.serve(stream).await;
                    me.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self(inner)
    }

    /// Its URL for `KAIROS_SMTP_URL`; `user` is `user:password@` or nothing.
    pub fn url(&self, user: &str) -> String {
        let port = self.0.port;
        match self.0.security {
            Security::Plain => format!("smtp://{user}127.0.0.1:{port}"),
            Security::Tls => format!("smtps://{user}127.0.0.1:{port}"),
            Security::StartTls => format!("smtp://{user}127.0.0.1:{port}?tls=required"),
        }
    }

    /// The CA that vouches for it.
    pub fn ca_pem(&self) -> &str {
        &self.0.ca_pem
    }

    /// What to do with the next mails.
    pub fn script(&self, says: impl IntoIterator<Item = Say>) {
        self.0.script.lock().unwrap().extend(says);
    }

    /// Every mail that was taken, or whose content has come at least.
    pub fn mails(&self) -> Vec<Received> {
        self.0.mails.lock().unwrap().clone()
    }

    /// Every command heard.
    pub fn heard(&self) -> Vec<String> {
        self.0.heard.lock().unwrap().clone()
    }

    /// Forgets the script and what was heard.
    pub fn forget(&self) {
        self.0.script.lock().unwrap().clear();
        self.0.mails.lock().unwrap().clear();
        self.0.heard.lock().unwrap().clear();
    }

    /// The connections that are open.
    pub fn open_now(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// The most connections that were open at once.
    pub fn most_open(&self) -> usize {
        self.0.most_open.load(Ordering::SeqCst)
    }

    /// Waits until the content of one more mail has come.
    pub async fn arrived(&self) {
        self.0.arrived.acquire().await.unwrap().forget();
    }

    /// Waits until a mail is held.
    pub async fn holding(&self) {
        self.0.holding.acquire().await.unwrap().forget();
    }

    /// Answers a mail that is held.
    pub fn let_go(&self) {
        self.0.go.add_permits(1);
    }
}

impl Inner {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let say = self.script.lock().unwrap().pop_front().unwrap_or(Say::Take);
        let mut encrypted = self.security == Security::Tls;
        let stream: Box<dyn Io> = if encrypted { Box::new(self.acceptor.accept(stream).await?) } else { Box::new(stream) };
        let mut line = BufStream::new(stream);
        if let Say::Greet(text) = say {
            return tell(&mut line, text).await;
        }
        tell(&mut line, "220 mail.test ESMTP").await?;
        let mut mail = Received { from: String::new(), to: Vec::new(), data: String::new(), encrypted };
        loop {
            let mut text = String::new();
            if line.read_line(&mut text).await? == 0 {
                return Ok(());
            }
            let text = text.trim_end().to_owned();
            self.heard.lock().unwrap().push(text.clone());
            let verb = text.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let starttls = if self.security == Security::StartTls && !encrypted { "250-STARTTLS\r\n" } else { "" };
                    tell(&mut line, &format!("250-mail.test\r\n{starttls}250-8BITMIME\r\n250 AUTH PLAIN LOGIN")).await?;
                }
                "STARTTLS" => {
                    tell(&mut line, "220 go ahead").await?;
                    let secured = self.acceptor.accept(line.into_inner()).await?;
                    line = BufStream::new(Box::new(secured));
                    encrypted = true;
                    mail.encrypted = true;
                }
                "AUTH" => tell(&mut line, if let Say::Auth(text) = say { text } else { "235 welcome" }).await?,
                "MAIL" => {
                    mail.from = address(&text);
                    tell(&mut line, "250 ok").await?;
                }
                "RCPT" => {
                    mail.to.push(address(&text));
                    tell(&mut line, if let Say::Rcpt(text) = say { text } else { "250 ok" }).await?;
                }
                "DATA" => {
                    tell(&mut line, "354 go ahead").await?;
                    mail.data = content(&mut line).await?;
                    if let Say::Data(text) = say {
                        tell(&mut line, text).await?;
                        continue;
                    }
                    self.mails.lock().unwrap().push(mail.clone());
                    self.arrived.add_permits(1);
                    match say {
                        Say::HangUp => return Ok(()),
                        Say::Hold(text) => {
                            self.holding.add_permits(1);
                            self.go.acquire().await.unwrap().forget();
                            tell(&mut line, text).await?;
                        }
                        _ => tell(&mut line, "250 taken").await?,
                    }
                }
                "QUIT" => return tell(&mut line, "221 bye").await,
                _ => tell(&mut line, "250 ok").await?,
            }
        }
    }
}

async fn tell(line: &mut Line, text: &str) -> std::io::Result<()> {
    line.write_all(format!("{text}\r\n").as_bytes()).await?;
    line.flush().await
}

async fn content(line: &mut Line) -> std::io::Result<String> {
    let mut data = String::new();
    loop {
        let mut text = String::new();
        if line.read_line(&mut text).await? == 0 || text == ".\r\n" {
            return Ok(data);
        }
        data.push_str(text.strip_prefix('.').unwrap_or(&text));
    }
}

fn address(command: &str) -> String {
    command.split(['<', '>']).nth(1).unwrap_or("").to_owned()
}

/// TLS for a server at 127.0.0.1 that speaks these protocols, under a CA of its own; that CA in PEM form.
pub fn certificate(protocols: &[&[u8]]) -> (TlsAcceptor, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

impl Received {
    /// A header of the mail itself, unfolded, encoded words read.
    pub fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let line = unfolded
            .split("\r\n")
            .find(|line| line.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())))?;
        Some(words(line.split_once(':').unwrap().1.trim()))
    }

    /// How many lines the mail's header has that begin with this, in any case.
    pub fn headers(&self, start: &str) -> usize {
        let (head, _) = self.data.split_once("\r\n\r\n").unwrap();
        head.split("\r\n").filter(|line| line.to_ascii_lowercase().starts_with(&start.to_ascii_lowercase())).count()
    }

    /// The plain part.
    pub fn text(&self) -> String {
        self.part("text/plain")
    }

    /// The HTML part.
    pub fn html(&self) -> String {
        self.part("text/html")
    }

    fn part(&self, kind: &str) -> String {
        let at = self.data.find(&format!("Content-Type: {kind}")).unwrap_or_else(|| panic!("no {kind}: {}", self.data));
        let (head, rest) = self.data[at..].split_once("\r\n\r\n").unwrap();
        let body = rest.split("\r\n--").next().unwrap();
        let bytes = if head.contains("base64") {
            STANDARD.decode(body.replace("\r\n", "")).unwrap()
        } else if head.contains("quoted-printable") {
            quoted(body)
        } else {
            body.as_bytes().to_vec()
        };
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }
}

fn quoted(body: &str) -> Vec<u8> {
    let body = body.replace("=\r\n", "");
    let mut out = Vec::new();
    let mut rest = body.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            out.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// Reads RFC 2047 words in base64.
fn words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("=?utf-8?b?") {
        let (word, after) = after.split_once("?=").unwrap();
        // Blanks between two encoded words are none.
        out.push_str(if out.is_empty() { before } else { before.trim() });
        out.push_str(&String::from_utf8(STANDARD.decode(word).unwrap()).unwrap());
        rest = after;
    }
    out + rest
}
