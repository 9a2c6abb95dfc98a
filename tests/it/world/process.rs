//! The real program as a process of its own.

use super::{Api, Caller, Database, Db, Tenant};
use kairos::push::standin::StandIn;
use serde_json::Value;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The real program on one port and one database, started and killed at will.
pub struct Process {
    pub database: Database,
    pub api: Api,
    pub settings: Vec<(&'static str, String)>,
    pub child: Option<Child>,
}

impl Process {
    pub fn new(db: Db, standin: &StandIn) -> Self {
        let database = Database::make(db);
        let ca_file = database.folder().join("standin-ca.pem");
        std::fs::write(&ca_file, standin.ca_pem()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = vec![
            ("KAIROS_LISTEN", address.to_string()),
            ("KAIROS_DATA_DIR", database.folder().display().to_string()),
            ("KAIROS_DATABASE_URL", database.url().to_owned()),
            ("KAIROS_MASTER_KEY", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=".to_owned()),
            ("KAIROS_APNS_URL", standin.url()),
            ("KAIROS_FCM_URL", standin.url()),
            ("KAIROS_CA_FILE", ca_file.display().to_string()),
            ("KAIROS_RETRY_BASE_MS", "200".to_owned()),
            ("KAIROS_RETRY_LIMIT_MS", "1000".to_owned()),
            ("KAIROS_LOG", "warn".to_owned()),
        ];
        Self { database, api: Api { address }, settings, child: None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kairos"));
        command.args(arguments).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env_remove("KAIROS_TEST_POSTGRES_URL").env_remove("KAIROS_TEST_REDIS_URL").stdin(Stdio::null());
        command
    }

    pub fn make_app(&self) -> Tenant {
        let made = self.command(&["app", "create", "--name", "Airport", "--json"]).output().unwrap();
        let text = String::from_utf8_lossy(&made.stdout);
        assert!(made.status.success(), "{text}{}", String::from_utf8_lossy(&made.stderr));
        let keys: Value = serde_json::from_str(&text).unwrap();
        let key = |name: &str| keys[name].as_str().unwrap().to_owned();
        Tenant {
            id: key("app_id").parse().unwrap(),
            phone: Caller::App(key("publishable_key")),
            server: Caller::Bearer(key("server_key")),
        }
    }

    pub async fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.database.folder().join("kairos.log")).unwrap();
        let mut command = self.command(&["serve"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        // Nobody reads what it says: no reason to end.
        drop(child.stdout.take());
        self.child = Some(child);
        for _ in 0..600 {
            let alive = self.api.call("GET", "/livez").try_send().await;
            if alive.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it does not start: {}", self.log());
            nap(50).await;
        }
        panic!("it does not answer: {}", self.log());
    }

    /// SIGTERM: it is asked to stop.
    pub fn ask_to_stop(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.database.folder().join("kairos.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of the server's log:\n{}", self.log());
        }
        self.database.remove();
    }
}

/// For what lives in real time: a process, a wire, a loop.
#[expect(clippy::disallowed_methods, reason = "no clock of ours moves these")]
pub async fn nap(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
