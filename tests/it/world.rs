//! A whole Kairos in one test: a real server on a free port, a fresh database, a clock that is moved by hand.
//!
//! `both!` makes two tests of one body, one on SQLite and one on PostgreSQL. Nothing runs behind the test's back: the
//! background work is done by [`World::drain`], time passes by [`World::advance`].

mod client;
mod database;
mod letters;
mod lossy;
mod tenant;

pub mod authenticator;
pub mod browser;
pub mod logs;
mod process;
pub mod story;

pub use client::{Answer, Api, Caller};
pub use database::{Database, Db, cut_connections, number};
pub use letters::Letter;
pub use lossy::Lossy;
pub use process::{Process, nap};
pub use tenant::{OPERATOR_PASSWORD, Person, Staff, base32, totp_code};

use kairos::app;
use kairos::clock::{Clock, Time};
use kairos::config::Config;
use kairos::id::AppId;
use kairos::push::standin::{Options, StandIn};
use kairos::serve::Kairos;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

/// When every test begins: a Monday in summer, noon in Paris.
pub const START: &str = "2026-06-15T10:00:00.000Z";

/// Makes two tests of each body: `name::sqlite` and `name::postgres`.
///
/// ```ignore
/// both! {
///     async fn an_unknown_url_is_a_404(world) {
///         world.get("/v1/nothing", &Caller::Nobody).await.refused(404, "no_route");
///     }
/// }
/// ```
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident) $body:block)+) => {$(
        async fn $name($world: &mut $crate::world::World) $body

        mod $name {
            $(#[$meta])*
            #[test]
            fn sqlite() {
                $crate::world::run($crate::world::Db::Sqlite, super::$name);
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                $crate::world::run($crate::world::Db::Postgres, super::$name);
            }
        }
    )+};
}

/// Runs one body in a world of its own; the database is removed afterwards, also when the body failed.
pub fn run(db: Db, body: impl AsyncFnOnce(&mut World)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut world = runtime.block_on(World::start(db));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            body(&mut world).await;
            world.rests().await;
        });
    }));
    runtime.block_on(world.close());
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// An app and its first two keys.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The app.
    pub id: AppId,
    /// With the publishable key: the app on a phone, nobody signed in.
    pub phone: Caller,
    /// With the server key, which holds every scope.
    pub server: Caller,
}

/// See the module.
pub struct World {
    /// The opened server; its platform gives store, clock and ids.
    pub kairos: Kairos,
    /// The clock that everything reads; [`World::advance`] moves it.
    pub clock: Clock,
    /// The server's front door; a world can be asked directly: `world.get(…)`.
    pub api: Api,
    /// The database below it.
    pub database: Database,
    /// The stand-in of Apple's and Google's gateways, on the world's clock; its ledger is the judge.
    pub standin: StandIn,
    /// The app that most tests are content with; [`World::new_app`] makes others.
    pub app: Tenant,
    config: Config,
    server: actix_web::dev::ServerHandle,
    leaves_work: bool,
}

impl World {
    async fn start(db: Db) -> Self {
        let database = Database::make(db);
        let clock = Clock::at(Time::parse(START).unwrap().0);
        let standin = stand_in(clock.clone()).await;
        let config = config(&database, &standin);
        let kairos = Kairos::open(config.clone(), clock.clone()).await.unwrap();
        let (api, server) = listen(&kairos);
        let app = new_app(&kairos, "Airport").await;
        Self { kairos, clock, api, database, standin, app, config, server, leaves_work: false }
    }

    /// Stops the server without a word to the rooms and opens it again on the same database, with other settings.
    pub async fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.server.stop(false).await;
        self.kairos = Kairos::open(self.config.clone(), self.clock.clone()).await.unwrap();
        (self.api, self.server) = listen(&self.kairos);
    }

    /// Another tenant.
    pub async fn new_app(&self, name: &'static str) -> Tenant {
        new_app(&self.kairos, name).await
    }

    /// Does all background work that is due at the clock's present time.
    pub async fn drain(&self) {
        self.kairos.drain().await.unwrap();
    }

    /// As [`World::drain`], with a second node on the same database; one that finds it busy comes back. What
    /// is left undone then, the test's own figures show.
    pub async fn drain_beside(&self, second: &Kairos) {
        for _ in 0..20 {
            let (one, two) = tokio::join!(self.kairos.drain(), second.drain());
            if one.is_ok() && two.is_ok() {
                return;
            }
        }
    }

    /// Lets time pass, and does the work that falls due at the end of it.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.drain().await;
    }

    /// Now, in UTC milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The wire form of a time this many seconds from now; negative is in the past.
    pub fn time(&self, from_now_s: i64) -> String {
        Time(self.now_ms() + from_now_s * 1_000).to_string()
    }

    /// The one number that a query answers, e.g. `select count(*) from events`.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = format!("select cast(({sql}) as bigint) as n");
        self.kairos.platform.store.read(move |conn| database::number(conn, &sql)).await.unwrap()
    }

    /// The column `line` of every row of a query.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        self.kairos.platform.store.read(move |conn| database::lines(conn, &sql)).await.unwrap()
    }

    /// Says that this test ends with work in the queues on purpose; every other test that does so fails.
    pub fn may_leave_work(&mut self) {
        self.leaves_work = true;
    }

    async fn rests(&self) {
        if self.leaves_work {
            return;
        }
        let lanes = self.number("select count(*) from lane_work").await;
        let waiting = self.number("select count(*) from messages where state in ('queued', 'sending', 'retry_at')").await;
        let mails = self.number("select count(*) from mails where state = 'waiting'").await;
        let none = lanes == 0 && waiting == 0 && mails == 0;
        assert!(none, "the test leaves work behind: {lanes} in the lanes, {waiting} messages, {mails} mails");
    }

    async fn close(self) {
        self.server.stop(false).await;
        drop(self.kairos);
        self.database.remove();
    }
}

impl Deref for World {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// A stand-in that knows every well-formed token.
pub async fn stand_in(clock: Clock) -> StandIn {
    let listen = ([127, 0, 0, 1], 0).into();
    StandIn::open(Options { listen, clock, ledger_file: None, any_token: true, streams: 500 }).await.unwrap()
}

/// The settings of a test server: the defaults, on this database and stand-in, small.
fn config(database: &Database, standin: &StandIn) -> Config {
    let ca_file = database.folder().join("standin-ca.pem");
    std::fs::write(&ca_file, standin.ca_pem()).unwrap();
    let flags: BTreeMap<String, String> = [
        ("listen", "127.0.0.1:1".to_owned()),
        ("public_url", "http://kairos.test".to_owned()),
        ("data_dir", database.folder().display().to_string()),
        ("database_url", database.url().to_owned()),
        ("apns_url", standin.url()),
        ("fcm_url", standin.url()),
        ("webpush_url", standin.url()),
        ("ca_file", ca_file.display().to_string()),
        // 32 bytes of the letter k, in base64.
        ("master_key", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut config = Config::load(None::<&Path>, &flags).unwrap();
    // Every test signs in from one address while the clock stands still.
    config.sign_in_per_address_per_minute = 10_000;
    config.fcm_ramp_s = 0;
    (config.http_threads, config.db_readers, config.db_writers) = (1, 2, 2);
    config
}

async fn new_app(kairos: &Kairos, name: &'static str) -> Tenant {
    let (ids, now_ms) = (kairos.platform.ids.clone(), kairos.platform.clock.now_ms());
    let made = kairos.platform.store.write(move |conn| app::create(conn, &ids, now_ms, name)).await.unwrap();
    Tenant {
        id: made.app_id,
        phone: Caller::App(made.publishable_key.expose().to_owned()),
        server: Caller::Bearer(made.server_key.expose().to_owned()),
    }
}

fn listen(kairos: &Kairos) -> (Api, actix_web::dev::ServerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = Api { address: listener.local_addr().unwrap() };
    let server = kairos.listen(listener).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    (api, handle)
}
