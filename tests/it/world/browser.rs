//! A real browser, driven over WebDriver: Chromium without a window, and its virtual authenticators.
//!
//! `KAIROS_TEST_CHROMEDRIVER` names the driver; `make test` provides it.

use super::client::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// See the module. Dropped, it takes its driver and its windows with it.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Opens an empty browser that keeps its files in a folder of its own.
    pub async fn open(folder: &Path) -> Self {
        let program = std::env::var("KAIROS_TEST_CHROMEDRIVER").unwrap_or_else(|_| {
            panic!("KAIROS_TEST_CHROMEDRIVER is not set: run `make test`, which provides it, or set it to the program's path")
        });
        let mut driver = Command::new(&program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program} does not start: {e}"));
        let address = ([127, 0, 0, 1], port(&mut driver)).into();
        let profile = format!("--user-data-dir={}", folder.join("browser").display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 30_000}}}});
        let mut browser = Self { driver, address, session: String::new() };
        browser.session = browser.ask("POST", "", &wanted).await["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// Goes to a page.
    pub async fn go(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url })).await;
    }

    /// Runs the body of an async function in the page, with `a` for the argument; its value, or why it failed.
    pub async fn run(&self, body: &str, argument: Value) -> Result<Value, String> {
        let script = format!(
            "const [a, done] = arguments; (async () => {{ {body} }})().then(v => done({{ok: v ?? null}}), e => done({{error: String(e)}}))"
        );
        let mut answer = self.ask("POST", "/execute/async", &json!({"script": script, "args": [argument]})).await;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Clicks on the first element that a CSS selector finds.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.ask("POST", &format!("/element/{element}/click"), &json!({})).await;
    }

    /// The text of the first element that a CSS selector finds.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        self.ask("GET", &format!("/element/{element}/text"), &Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Types into the first element that a CSS selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.ask("POST", &format!("/element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Presses keys one after the other, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let each = |key: char| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key}));
        let actions: Vec<Value> = keys.chars().flat_map(each).collect();
        self.ask("POST", "/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": actions}]})).await;
    }

    /// Says a command of the browser's own protocol.
    pub async fn command(&self, command: &str, parameters: Value) {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await;
    }

    /// What the browser complained of since it was last asked: errors of scripts, of its policy, of loading.
    pub async fn complaints(&self) -> Vec<Value> {
        self.ask("POST", "/se/log", &json!({"type": "browser"})).await.as_array().unwrap().clone()
    }

    /// A picture of the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let text = self.ask("GET", "/screenshot", &Value::Null).await;
        STANDARD.decode(text.as_str().unwrap()).unwrap()
    }

    /// Plugs an authenticator in whose user is there and known; its id.
    pub async fn plug(&self) -> String {
        let wanted = json!({"protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true});
        self.ask("POST", "/webauthn/authenticator", &wanted).await.as_str().unwrap().to_owned()
    }

    /// The passkeys of an authenticator, with their private keys.
    pub async fn credentials(&self, authenticator: &str) -> Vec<Value> {
        let path = format!("/webauthn/authenticator/{authenticator}/credentials");
        self.ask("GET", &path, &Value::Null).await.as_array().unwrap().clone()
    }

    /// Takes all passkeys from an authenticator and gives it this one.
    pub async fn put_credential(&self, authenticator: &str, credential: &Value) {
        let path = format!("/webauthn/authenticator/{authenticator}/credential");
        self.ask("DELETE", &format!("{path}s"), &Value::Null).await;
        self.ask("POST", &path, credential).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.ask("POST", "/element", &json!({"using": "css selector", "value": selector})).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let session = if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let mut request = Request::new(self.address, method, &format!("/session{session}{path}"));
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes its browser when its session is deleted, and answers then.
        let _ = std::net::TcpStream::connect(self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let path = format!("/session/{}", self.session);
            write!(stream, "DELETE {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")?;
            stream.read(&mut [0; 512])
        });
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port on which a driver that was just started says that it listens.
fn port(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let said = lines.find_map(|line| line.unwrap().rsplit_once("successfully on port ").map(|(_, port)| port.to_owned()));
    // What it says later is read too, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    said.expect("the driver listens").trim_end_matches('.').parse().unwrap()
}

/// Serves one page at every path of an origin of its own, `http://localhost:…`; ends with the runtime.
pub async fn serve(page: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 16_384];
                let _ = stream.read(&mut head).await;
                let length = page.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    origin
}
