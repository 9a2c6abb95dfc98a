//! A local identity provider over real HTTP: keys, discovery, Apple's token endpoints, everything it was asked, and
//! tokens signed in every way.

use crate::world::{Answer, Caller, Person, Tenant, World};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The client id that every test app has everywhere.
pub const CLIENT: &str = "com.example.airport";
/// The nonce that every test says.
pub const NONCE: &str = "n-0S6_WzA2Mj";

/// A key of an issuer.
pub struct Key {
    /// Its id.
    pub kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

impl Key {
    /// The one RSA key of these tests.
    pub fn rsa(kid: &str) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("idp/rsa.pem")).unwrap();
        let pair = Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()));
        Self { kid: kid.to_owned(), pair }
    }

    /// A new key on the curve P-256.
    pub fn p256(kid: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P256(EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap()) }
    }

    /// A new Ed25519 key.
    pub fn ed25519(kid: &str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap()) }
    }

    /// What a token says of how it signs.
    pub fn alg(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// Its public part.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encoded(&n), "e": encoded(&e)})
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())}),
        };
        (jwk["kid"], jwk["use"], jwk["alg"]) = (self.kid.clone().into(), "sig".into(), self.alg().into());
        jwk
    }

    /// The usual header of its tokens.
    pub fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": self.kid, "typ": "JWT"})
    }

    /// A token with the usual header.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// Signs any header and any claims.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", encoded(&signature))
    }
}

/// What it was asked, and how it answers.
#[derive(Default)]
pub struct State {
    /// Each request: its path and its body.
    pub asked: Vec<(String, String)>,
    /// Its key set.
    pub keys: Vec<Value>,
    /// `Cache-Control` of its key set.
    pub cache_control: Option<String>,
    /// In place of its discovery document.
    pub discovery: Option<Value>,
    /// In place of everything: this status, with a `Location` when it is a redirect.
    pub status: Option<u16>,
    /// Bytes of white space in front of the key set.
    pub padding: usize,
    /// How Apple answers a code.
    pub granted: Option<Value>,
    /// How often Apple refuses to take a token back before it does.
    pub refusals: usize,
}

/// See the module.
pub struct Idp {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The key that is in its set from the start.
    pub rsa: Key,
    /// Another one.
    pub p256: Key,
    /// A third one.
    pub ed25519: Key,
}

impl Idp {
    /// Opens one, and points the server to it for everything that it asks of Apple, of Google and of the provider `corp`.
    pub async fn open(world: &mut World) -> Self {
        let idp = Self::start().await;
        let url = idp.url();
        world
            .restart(|config| {
                config.apple_url.clone_from(&url);
                config.google_url = url;
                config.outbound_allow = "127.0.0.0/8".to_owned();
            })
            .await;
        idp
    }

    /// One that nobody is pointed to.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (rsa, p256, ed25519) = (Key::rsa("r1"), Key::p256("e1"), Key::ed25519("d1"));
        let keys = vec![rsa.jwk(), p256.jwk(), ed25519.jwk()];
        let state = Arc::new(Mutex::new(State { keys, ..State::default() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, address, Arc::clone(&shared)));
            }
        });
        Self { address, state, rsa, p256, ed25519 }
    }

    /// Its base, and its issuer when it is `corp`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it behaves; changes count from the next request on.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The bodies of what it was asked at a path.
    pub fn asked(&self, path: &str) -> Vec<String> {
        self.state().asked.iter().filter(|(at, _)| at == path).map(|(_, body)| body.clone()).collect()
    }

    /// Sets an app up with `corp`, `google` and `apple`.
    pub async fn set_up(&self, world: &World, tenant: &Tenant) {
        let corp = json!({"issuer": self.url(), "client_ids": [CLIENT], "trusted_domains": ["corp.example"]});
        let apple =
            json!({"client_ids": [CLIENT], "apple": {"team_id": "TEAM000001", "key_id": "KEY0000001", "key_p8": apple_p8()}});
        for (name, body) in [("corp", corp), ("google", json!({"client_ids": [CLIENT]})), ("apple", apple)] {
            world.put(&format!("/v1/identity-providers/{name}"), &tenant.server, body).await.expect(200);
        }
    }

    /// The `iss` of a provider's tokens.
    pub fn issuer(&self, provider: &str) -> String {
        match provider {
            "apple" => "https://appleid.apple.com".to_owned(),
            "google" => "https://accounts.google.com".to_owned(),
            _ => self.url(),
        }
    }

    /// Claims that are good now, with some changed; null leaves one out.
    pub fn claims(&self, world: &World, (provider, subject): (&str, &str), change: Value) -> Value {
        let now_s = world.now_ms() / 1_000;
        let mut claims = json!({
            "iss": self.issuer(provider), "sub": subject, "aud": CLIENT, "iat": now_s, "exp": now_s + 600, "nonce": NONCE,
        });
        merge(&mut claims, change);
        claims
    }

    /// A sign-in of somebody with these claims.
    pub async fn sign_in(&self, world: &World, tenant: &Tenant, who: (&str, &str), change: Value) -> Answer {
        let token = self.rsa.token(&self.claims(world, who, change));
        world.post("/v1/auth/id-token", &tenant.phone, body(who.0, &token)).await
    }

    /// A sign-in that has to succeed.
    pub async fn enters(&self, world: &World, tenant: &Tenant, who: (&str, &str), change: Value) -> Person {
        Person::from(&self.sign_in(world, tenant, who, change).await.expect(200))
    }

    /// Somebody signed in links an identity.
    pub async fn link(&self, world: &World, by: &Caller, who: (&str, &str), change: Value) -> Answer {
        let token = self.rsa.token(&self.claims(world, who, change));
        world.post("/v1/me/identities", by, body(who.0, &token)).await
    }

    /// A notice of Apple's: `events` and the id it goes by.
    pub fn notice(&self, world: &World, jti: &str, event: &Value) -> String {
        let claims = json!({
            "iss": self.issuer("apple"), "aud": CLIENT, "iat": world.now_ms() / 1_000, "jti": jti, "events": event.to_string(),
        });
        self.rsa.token(&claims)
    }
}

/// A body for `POST /v1/auth/id-token`.
pub fn body(provider: &str, token: &str) -> Value {
    json!({"provider": provider, "id_token": token, "nonce": NONCE})
}

/// Puts fields over others; null takes one away.
pub fn merge(into: &mut Value, change: Value) {
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
            value => into[name] = value.clone(),
        }
    }
}

/// A private key as Apple hands it out.
fn apple_p8() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem()
}

async fn serve(mut stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>) {
    let mut raw = Vec::new();
    let (path, body) = loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => raw.extend_from_slice(&chunk[..n]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&raw).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            break (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned());
        }
    };
    let (status, extra, body) = answer(address, &mut state.lock().unwrap(), (path, body));
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{extra}\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn answer(address: SocketAddr, state: &mut State, (path, body): (String, String)) -> (u16, String, String) {
    state.asked.push((path.clone(), body));
    if let Some(status) = state.status {
        return (status, format!("Location: http://{address}/elsewhere\r\n"), String::new());
    }
    let own = format!("http://{address}");
    let keys = || format!("{}{}", " ".repeat(state.padding), json!({"keys": state.keys}));
    let cached = state.cache_control.as_ref().map(|words| format!("Cache-Control: {words}\r\n")).unwrap_or_default();
    match path.as_str() {
        "/.well-known/openid-configuration" => {
            let usual = json!({"issuer": own, "jwks_uri": format!("{own}/keys")});
            (200, String::new(), state.discovery.clone().unwrap_or(usual).to_string())
        }
        "/keys" | "/auth/keys" | "/oauth2/v3/certs" | "/elsewhere" => (200, cached, keys()),
        "/auth/token" => match &state.granted {
            Some(granted) => (200, String::new(), granted.to_string()),
            None => (400, String::new(), json!({"error": "invalid_grant"}).to_string()),
        },
        "/auth/revoke" if state.refusals > 0 => {
            state.refusals -= 1;
            (503, String::new(), String::new())
        }
        "/auth/revoke" => (200, String::new(), String::new()),
        _ => (404, String::new(), String::new()),
    }
}
