//! The guarded client: what it does not call, however it is spelt, and what a peer cannot do to it.

use crate::subscriber::{Reply, Subscriber};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use kairos::outbound::Trust;
use kairos::outbound::address::{Blocks, is_public};
use kairos::outbound::guarded::{Failure, Guarded, Outgoing, Resolve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A resolver of our own: what each further look-up answers, the last one for ever, and what it was asked.
#[derive(Default)]
pub struct Dns {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Dns {
    /// Answers these in turn.
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let dns = Self::default();
        dns.say(answers);
        Arc::new(dns)
    }

    /// Answers these in turn from now on.
    pub fn say(&self, answers: &[&[&str]]) {
        let parse = |one: &&[&str]| one.iter().map(|text| text.parse().unwrap()).collect();
        *self.answers.lock().unwrap() = answers.iter().map(parse).collect();
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolve for Dns {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.remove(0) } else { answers.first().cloned().unwrap_or_default() };
        Box::pin(async move { Ok(next) })
    }
}

fn guarded(allow: &str, dns: &Arc<Dns>) -> Guarded {
    let web = Guarded::new(&Trust::with_pem("").unwrap(), Blocks::parse(allow, "X").unwrap());
    web.resolve_by(Arc::clone(dns) as Arc<dyn Resolve>);
    web
}

fn to(url: &str) -> Outgoing {
    let (timeout, headers) = (Duration::from_secs(30), HeaderMap::new());
    Outgoing { method: Method::POST, url: url.to_owned(), headers, body: "hello".into(), timeout, body_max: 1_000 }
}

/// Addresses of no machine of the public internet, in their usual spelling.
const CLOSED: [&str; 62] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:53aa:64c:0:0:f5ff:fffe",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2a00:1450::5efe:7f00:1",
];

/// Addresses of the public internet.
const OPEN: [&str; 14] = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "169.253.1.1",
    "192.0.1.1",
    "198.17.1.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "2001:4860:4860::8888",
];

/// What could be taken for one of the addresses above, or is no URL that two readers read alike.
const ODD: [&str; 62] = [
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://0177.0.0.01/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://127.0.0.0x1/",
    "https://0/",
    "https://0x0/",
    "https://127.0.0.256/",
    "https://127.0.0.1.1/",
    "https://1.2.3.4.5/",
    "https://00127.0.0.1/",
    "https://127.0.0.01/",
    "https://3232235521/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xA9.0xFE.0xA9.0xFE/",
    "https://169.254.43518/",
    "https://169.16689662/",
    "https://0251.0376.0251.0376/",
    "https://example.0x7f/",
    "https://example.1/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://::1/",
    "https://[::1]x/",
    "https://[::1%25lo]/",
    "https://[fe80::1%25eth0]/",
    "https://[::ffff:127.1]/",
    "https://[]/",
    "https://127.0.0.%31/",
    "https://%31%32%37.0.0.1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://１２７.0.0.1/",
    "https://user@example.com/",
    "https://example.com@127.0.0.1/",
    "https://u:p@example.com/",
    "https://example.com#@127.0.0.1/",
    "https://example.com/#f",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\127.0.0.1/",
    "https:/127.0.0.1/",
    "https:127.0.0.1",
    "//127.0.0.1/",
    "127.0.0.1",
    "",
    "https://",
    "https:///etc",
    "https://.example.com/",
    "https://example..com/",
    "https://example.com:/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:0443/",
    "https://exa mple.com/",
    "https://-a.example/",
    "https://example.com:443:80/",
];

/// Schemes that are none of the web's, and ports below 1024 that are not 443.
const WRONG_WAY: [&str; 20] = [
    "http://93.184.216.34/",
    "http://93.184.216.34:443/",
    "ftp://93.184.216.34/",
    "file:///etc/passwd",
    "gopher://93.184.216.34/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "HTTPS://93.184.216.34/",
    "ws://93.184.216.34/",
    "https+x://93.184.216.34/",
    "unix:///run/x.sock",
    "https://93.184.216.34:22/",
    "https://93.184.216.34:25/",
    "https://93.184.216.34:80/",
    "https://93.184.216.34:110/",
    "https://93.184.216.34:143/",
    "https://93.184.216.34:445/",
    "https://93.184.216.34:631/",
    "https://93.184.216.34:993/",
    "https://93.184.216.34:1023/",
];

/// Every URL that no field may take.
pub fn forbidden_urls() -> Vec<String> {
    let bracketed = |text: &&str| if text.contains(':') { format!("https://[{text}]/") } else { format!("https://{text}/") };
    CLOSED.iter().map(bracketed).chain(ODD.iter().chain(&WRONG_WAY).map(|url| (*url).to_owned())).collect()
}

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    for text in CLOSED {
        assert!(!is_public(text.parse().unwrap()), "{text}");
    }
    for text in OPEN {
        assert!(is_public(text.parse().unwrap()), "{text}");
    }
}

#[test]
fn blocks_have_what_they_name_and_nothing_in_another_dress() {
    let blocks = Blocks::parse("127.0.0.0/8, 10.1.2.3,fd00::/8", "KAIROS_X").unwrap();
    for (text, within) in [
        ("127.9.9.9", true),
        ("128.0.0.1", false),
        ("10.1.2.3", true),
        ("10.1.2.4", false),
        ("fd12::1", true),
        ("fc00::1", false),
        ("::ffff:127.0.0.1", false),
        ("::1", false),
    ] {
        assert_eq!(blocks.contain(text.parse().unwrap()), within, "{text}");
    }
    for wrong in ["10.0.0.0/33", "fd00::/129", "10.0.0/8", "host", "10.0.0.0/-1", "10.0.0.0/x"] {
        assert!(Blocks::parse(wrong, "KAIROS_X").unwrap_err().to_string().contains("KAIROS_X"), "{wrong}");
    }
    assert!(Blocks::parse("", "X").unwrap().is_empty());
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_is_called_or_looked_up() {
    let dns = Dns::new(&[&["93.184.216.34"]]);
    let web = guarded("", &dns);
    let urls = forbidden_urls();
    assert!(urls.len() > 120, "{}", urls.len());
    for url in &urls {
        let vetted = web.vet(url).await;
        assert!(matches!(vetted, Err(Failure::Url(_) | Failure::Forbidden)), "{url}: {vetted:?}");
        let sent = web.send(to(url)).await.err();
        assert!(matches!(sent, Some(Failure::Url(_) | Failure::Forbidden)), "{url}: {sent:?}");
    }
    assert_eq!(dns.asked(), Vec::<String>::new(), "a resolver takes odd spellings for addresses");
    for text in OPEN {
        let url = if text.contains(':') { format!("https://[{text}]:8443/x?y") } else { format!("https://{text}") };
        assert_eq!(web.vet(&url).await, Ok(()), "{url}");
    }
}

#[tokio::test]
async fn a_name_is_judged_by_every_address_behind_it() {
    for text in CLOSED {
        let dns = Dns::new(&[&[text]]);
        let web = guarded("", &dns);
        assert_eq!(web.vet("https://hooks.example/").await, Err(Failure::Forbidden), "{text}");
        assert_eq!(web.send(to("https://hooks.example/")).await.err(), Some(Failure::Forbidden), "{text}");
        assert_eq!(dns.asked().len(), 2);
    }
    // A name that nobody knows yet may be chosen, and cannot be called.
    let web = guarded("", &Dns::new(&[&[]]));
    assert_eq!(web.vet("https://hooks.example/").await, Ok(()));
    assert_eq!(web.send(to("https://hooks.example/")).await.err(), Some(Failure::Unresolved));
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_judged_and_to_no_other() {
    // 127.0.0.2 plays the public address, 127.0.0.1 the inner one; both listen on the same port.
    let inner = Subscriber::open().await;
    let port = inner.address.port();
    let public = Subscriber::at(&format!("127.0.0.2:{port}")).await;
    let url = format!("http://hooks.example:{port}/in?a=b");
    let dns = Dns::new(&[&["127.0.0.2", "127.0.0.1"]]);
    let web = guarded("127.0.0.2", &dns);
    assert_eq!(web.send(to(&url)).await.unwrap().status, 204);
    assert_eq!((public.count(), inner.count()), (1, 0));
    let arrival = &public.arrivals()[0];
    assert!(arrival.head.starts_with("POST /in?a=b HTTP/1.1"), "{}", arrival.head);
    assert_eq!((arrival.header("host"), arrival.body.as_str()), (format!("hooks.example:{port}").as_str(), "hello"));

    // The name changes its mind between the check and the call.
    dns.say(&[&["127.0.0.2"], &["127.0.0.1"]]);
    assert_eq!(web.vet(&url).await, Ok(()));
    assert_eq!(web.send(to(&url)).await.err(), Some(Failure::Forbidden));
    // The good address does not answer: the other one is no substitute.
    dns.say(&[&["127.0.0.3", "127.0.0.1"]]);
    let web = guarded("127.0.0.3", &dns);
    assert_eq!(web.send(to(&url)).await.err(), Some(Failure::Unreachable));
    assert_eq!((public.count(), inner.count()), (1, 0));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let (subscriber, elsewhere) = (Subscriber::open().await, Subscriber::open().await);
    let web = guarded("127.0.0.0/8", &Dns::new(&[]));
    subscriber.next(Reply::Status(302, "Location: http://169.254.169.254/latest/meta-data\r\n"));
    assert_eq!(web.send(to(&subscriber.url("/"))).await.unwrap().status, 302);
    let line: &'static str = format!("Location: {}\r\n", elsewhere.url("/")).leak();
    subscriber.next(Reply::Status(307, line));
    assert_eq!(web.send(to(&subscriber.url("/"))).await.unwrap().status, 307);
    assert_eq!((subscriber.count(), elsewhere.count()), (2, 0));
}

#[tokio::test]
async fn an_answer_is_bounded_in_size_and_time() {
    let subscriber = Subscriber::open().await;
    let web = guarded("127.0.0.0/8", &Dns::new(&[]));
    subscriber.next(Reply::Endless(200));
    assert_eq!(web.send(to(&subscriber.url("/"))).await.err(), Some(Failure::Cut(http::StatusCode::OK)));
    let short = |url: String| Outgoing { timeout: Duration::from_millis(300), ..to(&url) };
    subscriber.next(Reply::Stuck(503));
    let stuck = web.send(short(subscriber.url("/"))).await.err();
    assert_eq!(stuck, Some(Failure::Cut(http::StatusCode::SERVICE_UNAVAILABLE)));
    subscriber.next(Reply::Silence);
    assert_eq!(web.send(short(subscriber.url("/"))).await.err(), Some(Failure::Timeout));
    let huge: &'static str = format!("X: {}\r\n", "y".repeat(100_000)).leak();
    subscriber.next(Reply::Status(200, huge));
    assert_eq!(web.send(to(&subscriber.url("/"))).await.err(), Some(Failure::Lost));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(web.send(to(&format!("http://{nobody}/"))).await.err(), Some(Failure::Unreachable));
}

/// A server for one name, under a CA of its own; its CA in PEM form.
async fn secure(name: &str) -> (Subscriber, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let subscriber = Subscriber::unheard(listener.local_addr().unwrap());
    let server = subscriber.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(tls) = acceptor.accept(tcp).await {
                tokio::spawn(server.clone().serve(tls));
            }
        }
    });
    (subscriber, ca.pem())
}

#[tokio::test]
async fn a_certificate_must_be_of_a_known_root_and_of_this_name() {
    let (subscriber, pem) = secure("hooks.example").await;
    let port = subscriber.address.port();
    let dns = Dns::new(&[&["127.0.0.1"]]);
    let web = Guarded::new(&Trust::with_pem(&pem).unwrap(), Blocks::parse("127.0.0.1", "X").unwrap());
    web.resolve_by(Arc::clone(&dns) as Arc<dyn Resolve>);
    assert_eq!(web.send(to(&format!("https://hooks.example:{port}/"))).await.unwrap().status, 204);
    assert_eq!(web.send(to(&format!("https://other.example:{port}/"))).await.err(), Some(Failure::Tls));
    assert_eq!(web.send(to(&format!("https://127.0.0.1:{port}/"))).await.err(), Some(Failure::Tls));
    let stranger = guarded("127.0.0.1", &dns);
    assert_eq!(stranger.send(to(&format!("https://hooks.example:{port}/"))).await.err(), Some(Failure::Tls));
    assert_eq!(subscriber.count(), 1);
}
