//! The real binary in a process of its own, on a fresh database.

use super::client::{Connection, request};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use kairos::clock::Clock;
use kairos::id::{DeviceId, UserId};
use kairos::people::device::{Environment, Platform, PushPermission, Registration, Traits};
use kairos::push::standin::{Options, StandIn};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary under measure.
pub const BINARY: &str = env!("CARGO_BIN_EXE_kairos");

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite, in the data folder.
    Sqlite,
    /// PostgreSQL, a database of its own on the server of `KAIROS_TEST_POSTGRES_URL`.
    Postgres,
}

/// A folder with a database, and the app in it.
pub struct House {
    /// The data folder; removed at the end.
    pub folder: PathBuf,
    /// What its processes are told beside that folder.
    pub settings: Vec<(&'static str, String)>,
    /// The name of its PostgreSQL database.
    database: Option<String>,
    /// The app's id.
    pub app_id: String,
    /// The header line of the server key.
    pub server: String,
    /// The header line of the publishable key.
    pub publishable: String,
}

/// A serving process.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its first answer.
    pub first_answer: Duration,
}

impl House {
    /// A fresh SQLite database with one app.
    pub fn build(name: &str) -> Self {
        Self::build_on(Engine::Sqlite, name)
    }

    /// A fresh database with one app.
    pub fn build_on(engine: Engine, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("kairos-bench-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        // With another database nothing is kept there, but a test's certificate is.
        std::fs::create_dir_all(&folder).unwrap();
        let database =
            (engine == Engine::Postgres).then(|| format!("kairos_bench_{}_{}", std::process::id(), name.replace('-', "_")));
        let mut settings = Vec::new();
        if let Some(database) = &database {
            admin(&format!("drop database if exists {database} with (force)"));
            admin(&format!("create database {database} template template0"));
            settings.push(("database_url", postgres_url(database)));
            settings.push(("master_key", "YmJi".repeat(10) + "YmI="));
        }
        let mut command = Command::new(BINARY);
        command.args(["app", "create", "--name", "Bench", "--json", "--data-dir"]).arg(&folder);
        command.args(settings.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]));
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let keys: Value = serde_json::from_slice(&out.stdout).unwrap();
        let key = |name: &str| keys[name].as_str().unwrap().to_owned();
        Self {
            folder,
            settings,
            database,
            app_id: key("app_id"),
            server: format!("authorization: Bearer {}", key("server_key")),
            publishable: format!("x-kairos-key: {}", key("publishable_key")),
        }
    }

    /// Starts the server with these settings on top.
    pub fn serve(&self, settings: &[(&str, String)]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = Command::new(BINARY);
        command.arg("serve").arg("--data-dir").arg(&self.folder).args(["--listen", &address.to_string()]);
        for (name, value) in [("log", "warn".to_owned()), ("requests_per_key_per_second", "0".to_owned())]
            .iter()
            .chain(&self.settings)
            .chain(settings)
        {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let started = Instant::now();
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Server { child, address, first_answer: Duration::ZERO };
        server.first_answer = server.wait(started);
        server
    }
}

/// The topic of the phones of a bench.
pub const BUNDLE: &str = "com.example.bench";

/// A stand-in of the gateways that knows every well-formed token, and the runtime it lives in.
pub fn gateway() -> (tokio::runtime::Runtime, StandIn) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        clock: Clock::system(),
        ledger_file: None,
        any_token: true,
        streams: 1_000,
    };
    let standin = runtime.block_on(StandIn::open(options)).unwrap();
    (runtime, standin)
}

/// The n-th phone, an iPhone that shows pushes.
pub fn phone(id: DeviceId, user: UserId, n: usize, now_ms: i64) -> Registration {
    let traits = Traits {
        platform: Platform::Ios,
        token: Some(format!("{n:064x}")),
        environment: Environment::Production,
        topic: Some(BUNDLE.to_owned()),
        locale: None,
        time_zone: None,
        push_permission: PushPermission::Granted,
        app_version: None,
    };
    Registration { id, user, installation_id: format!("bench-{n}"), session: None, traits, now_ms }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some(database) = &self.database {
            admin(&format!("drop database if exists {database} with (force)"));
        }
    }
}

/// The server of the benches on PostgreSQL, with this database.
fn postgres_url(database: &str) -> String {
    let url = std::env::var("KAIROS_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| panic!("run it by `make bench`, or set KAIROS_TEST_POSTGRES_URL"));
    let (main, query) = url.split_once('?').map_or((url.as_str(), String::new()), |(main, query)| (main, format!("?{query}")));
    let (scheme, rest) = main.split_once("://").unwrap();
    format!("{scheme}://{}/{database}{query}", rest.split('/').next().unwrap())
}

/// Runs one statement on the server's own database.
fn admin(sql: &str) {
    let mut conn = PgConnection::establish(&postgres_url("postgres")).unwrap();
    conn.batch_execute(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

impl Server {
    fn wait(&mut self, started: Instant) -> Duration {
        let mut line = String::new();
        // The line that says where it listens comes after the listener is there.
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the server did not start");
        let (status, _) = Connection::open(self.address).send(&request("GET", "/readyz", "accept: */*", ""));
        assert_eq!(status, 200);
        started.elapsed()
    }

    /// Its process id, as text.
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Resident memory now and at its peak, in MiB.
    pub fn memory_mib(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Sends one request and expects success; answers the body.
    pub fn must(&self, method: &str, path: &str, credential: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = Connection::open(self.address).send(&request(method, path, credential, &body));
        assert!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
