//! The mail server: where it is, how it is spoken to, and what its answers mean.

use super::Content;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::MailId;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, transport::smtp};
use std::error::Error as _;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::timeout;

/// How long a farewell may take, which changes nothing any more.
const FAREWELL: Duration = Duration::from_millis(500);

/// A mail server that is ready for use.
pub(super) struct Server {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    hello: ClientId,
    from: Address,
    timeout: Duration,
}

enum Security {
    /// TLS from the first byte.
    Tls(TlsParameters),
    /// STARTTLS, or nothing is sent.
    StartTls(TlsParameters),
    /// On this machine, or without a password.
    Plain,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server has taken it.
    Sent,
    /// The server will never take it; the reason has its code and nothing of the person.
    Refused(String),
    /// Perhaps later.
    Later(String),
}

impl Server {
    /// The server of the settings; `None` when there is none.
    ///
    /// # Errors
    /// One line that names the setting.
    pub(super) fn open(config: &Config) -> Result<Option<Self>> {
        let url = config.smtp_url.expose();
        if url.is_empty() {
            return Ok(None);
        }
        if config.mail_from.is_empty() {
            return Err(Error::broken(
                "KAIROS_MAIL_FROM is required with KAIROS_SMTP_URL: set the sender's address, e.g. no-reply@example.com",
            ));
        }
        let from: Address = config.mail_from.parse().ok().filter(|_| config.mail_from.is_ascii()).ok_or_else(|| {
            Error::broken("KAIROS_MAIL_FROM: expected an address such as no-reply@example.com; the sender's name is the app's")
        })?;
        let parts = Parts::parse(url)?;
        let tls = |parts: &Parts| tls(&parts.host, &config.ca_file);
        let security = match (parts.scheme.as_str(), parts.tls.as_deref()) {
            ("smtps", None) => Security::Tls(tls(&parts)?),
            ("smtp", Some("required")) => Security::StartTls(tls(&parts)?),
            ("smtp", None) if parts.credentials.is_none() || is_here(&parts.host) => Security::Plain,
            ("smtp", None) => {
                return Err(Error::broken(
                    "KAIROS_SMTP_URL: a password is not sent to another machine without TLS: use smtps://, or add ?tls=required",
                ));
            }
            _ => return Err(wrong("expected smtps://…, or smtp://… with ?tls=required")),
        };
        let credentials = parts.credentials.map(|(user, password)| Credentials::new(user, password));
        let hello = ClientId::Domain(parts.hello.unwrap_or_else(|| from.domain().to_owned()));
        let timeout = Duration::from_millis(config.smtp_timeout_ms.max(1));
        Ok(Some(Self { host: parts.host, port: parts.port, security, credentials, hello, from, timeout }))
    }

    /// Hands a mail over. The same mail has the same Message-ID every time.
    pub(super) async fn send(&self, id: MailId, content: &Content, created_ms: i64) -> Verdict {
        let Some(message) = self.message(id, content, created_ms) else {
            return Verdict::Refused("not_a_mail".to_owned());
        };
        let (mut connection, verdict) = match timeout(self.timeout, self.hand_over(&message)).await {
            Ok(done) => done,
            Err(_) => return Verdict::Later("timeout".to_owned()),
        };
        if let Some(connection) = &mut connection {
            let _ = timeout(FAREWELL, connection.quit()).await;
        }
        verdict
    }

    async fn hand_over(&self, message: &Message) -> (Option<AsyncSmtpConnection>, Verdict) {
        // Whatever goes wrong before the mail itself is named says nothing about the mail.
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return (None, Verdict::Later(reason(&error, "connection"))),
        };
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        let verdict = match sent {
            Ok(_) => Verdict::Sent,
            // 530 asks for a password that the settings lack: no fault of the mail.
            Err(error) if error.is_permanent() && !reason(&error, "").starts_with("smtp 530") => {
                Verdict::Refused(reason(&error, "refused"))
            }
            // A server that cannot take this address at all.
            Err(error) if error.is_client() => Verdict::Refused("unsupported_address".to_owned()),
            Err(error) => Verdict::Later(reason(&error, "connection")),
        };
        (Some(connection), verdict)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, smtp::Error> {
        let at = (self.host.as_str(), self.port);
        let wrapped = match &self.security {
            Security::Tls(tls) => Some(tls.clone()),
            Security::StartTls(_) | Security::Plain => None,
        };
        let mut connection = AsyncSmtpConnection::connect_tokio1(at, Some(self.timeout), &self.hello, wrapped, None).await?;
        if let Security::StartTls(tls) = &self.security {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn message(&self, id: MailId, content: &Content, created_ms: i64) -> Option<Message> {
        let header =
            |name: &str, value: &str| Some(HeaderValue::new(HeaderName::new_from_ascii(name.to_owned()).ok()?, value.to_owned()));
        let date = UNIX_EPOCH + Duration::from_millis(u64::try_from(created_ms).ok()?);
        Message::builder()
            .from(Mailbox::new(Some(content.sender.clone()), self.from.clone()))
            .to(Mailbox::new(None, content.to.parse().ok()?))
            .subject(&content.subject)
            .date(date)
            .message_id(Some(format!("<{id}@{}>", self.from.domain())))
            // RFC 3834: no out-of-office answers to this.
            .raw_header(header("Auto-Submitted", "auto-generated")?)
            .multipart(MultiPart::alternative_plain_html(content.text.clone(), content.html.clone()))
            .ok()
    }
}

/// A mail server's URL, taken apart.
struct Parts {
    scheme: String,
    credentials: Option<(String, String)>,
    host: String,
    port: u16,
    hello: Option<String>,
    tls: Option<String>,
}

impl Parts {
    /// Reads `smtps://user:password@host:port/name-in-EHLO?tls=required`. No message shows any of it: it holds a password.
    fn parse(url: &str) -> Result<Self> {
        const EXAMPLE: &str = "expected e.g. smtps://user:password@smtp.example.com:465, special characters percent-encoded";
        let uri: http::Uri = url.parse().map_err(|_| wrong(EXAMPLE))?;
        let authority = uri.authority().ok_or_else(|| wrong(EXAMPLE))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.query().unwrap_or("") {
            "" => None,
            query => Some(query.strip_prefix("tls=").ok_or_else(|| wrong("the only parameter is tls=required"))?.to_owned()),
        };
        let scheme = uri.scheme_str().unwrap_or("").to_owned();
        let usual = match (scheme.as_str(), &tls) {
            ("smtps", _) => smtp::SUBMISSIONS_PORT,
            (_, Some(_)) => smtp::SUBMISSION_PORT,
            _ => smtp::SMTP_PORT,
        };
        let credentials = match authority.as_str().rsplit_once('@') {
            None => None,
            Some((pair, _)) => {
                let (user, password) = pair.split_once(':').ok_or_else(|| wrong("expected user:password before the @"))?;
                let both = decoded(user).zip(decoded(password));
                Some(both.ok_or_else(|| wrong("user or password is not proper percent-encoding"))?)
            }
        };
        let hello = Some(uri.path().trim_matches('/')).filter(|name| !name.is_empty()).map(str::to_owned);
        if host.is_empty() || hello.as_ref().is_some_and(|name| !name.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(wrong(EXAMPLE));
        }
        Ok(Self { scheme, credentials, host, port: authority.port_u16().unwrap_or(usual), hello, tls })
    }
}

fn wrong(what: &str) -> Error {
    Error::broken(format!("KAIROS_SMTP_URL: {what}"))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The public roots, and the CA of the settings.
fn tls(host: &str, ca_file: &str) -> Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    if !ca_file.is_empty() {
        let pem = std::fs::read(ca_file).map_err(|e| Error::broken(format!("KAIROS_CA_FILE: cannot read {ca_file}: {e}")))?;
        let roots = Certificate::from_pem(&pem).map_err(|_| Error::broken("KAIROS_CA_FILE: not a PEM certificate"))?;
        builder = builder.add_root_certificate(roots);
    }
    builder.build().map_err(|e| Error::broken(format!("cannot prepare TLS for the mail server: {e}")))
}

/// Why, in a few words: `smtp 550 5.1.1`, `tls`, `timeout`. Never the server's own text, which often repeats the address.
fn reason(error: &smtp::Error, otherwise: &str) -> String {
    if let Some(code) = error.status() {
        let text = error.to_string();
        let enhanced = text.split(|c: char| c.is_whitespace() || c == '#').find(|word| is_enhanced_code(word));
        return enhanced.map_or_else(|| format!("smtp {code}"), |enhanced| format!("smtp {code} {enhanced}"));
    }
    if error.is_timeout() {
        return "timeout".to_owned();
    }
    if is_tls(error) { "tls".to_owned() } else { otherwise.to_owned() }
}

/// Whether TLS failed: a certificate that nobody vouches for is something else than a server that is away.
fn is_tls(error: &smtp::Error) -> bool {
    let of_tls = |cause: &&(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>())
    };
    error.is_tls() || std::iter::successors(error.source(), |cause| (**cause).source()).any(|cause| of_tls(&cause))
}

/// RFC 3463: `5.1.1`.
fn is_enhanced_code(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    matches!(parts.as_slice(), ["2" | "4" | "5", subject, detail]
        if [subject, detail].iter().all(|n| (1..=3).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit())))
}
