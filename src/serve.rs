//! The composition root: opens the edges, mounts the routes, starts the loops, stops in order.
//! The only file that knows everything.

use crate::app::{Keys, Origins, Quotas, cors};
use crate::cache::Cache;
use crate::campaign::Catalogue;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::{Log, Schemas};
use crate::http::{BodyLimit, Templates, TrustedProxies, door, no_route};
use crate::id::Ids;
use crate::mail::Mailer;
use crate::moment::{Live, Questions, Receipts};
use crate::outbound::Trust;
use crate::outbound::address::Blocks;
use crate::outbound::guarded::Guarded;
use crate::people::account::{Accounts, Federation};
use crate::people::consent::Signals;
use crate::people::import;
use crate::place::Places;
use crate::platform::{Hasher, MasterKey, Parts, Platform, fence::Fence, stopwatch::Stopwatch};
use crate::privacy;
use crate::push::Dispatcher;
use crate::push::channel::Channels;
use crate::routes;
use crate::store::{Options, Store};
use crate::telemetry;
use crate::webhook;
use crate::worker::{Hint, Progress, Worker};
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many steps of all workers may follow one another in [`Kairos::drain`] before it is taken for a fault.
const DRAIN_STEPS_MAX: usize = 100_000;

/// An opened Kairos: rooms and loops, not yet serving.
pub struct Kairos {
    /// The shared floor.
    pub platform: Platform,
    keys: Keys,
    accounts: Accounts,
    federation: Federation,
    quotas: Quotas,
    origins: Origins,
    log: Log,
    schemas: Schemas,
    questions: Questions,
    receipts: Receipts,
    live: Live,
    dispatcher: Dispatcher,
    channels: Channels,
    mailer: Mailer,
    workers: Vec<Arc<Worker>>,
}

impl Kairos {
    /// Opens the database and the rooms. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// One line that says what to set or mend.
    pub async fn open(config: Config, clock: Clock) -> Result<Self> {
        // The error says that a provider is installed already, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        telemetry::start_metrics();
        let platform = floor(config, clock).await?;
        let mailer = Mailer::open(&platform)?;
        let keys = Keys::open(&platform);
        let (quotas, origins) = (Quotas::open(&platform), Origins::open(&platform));
        let accounts = Accounts::open(&platform).await?;
        let federation = Federation::open(&platform).await?;
        let log = Log::open(&platform, &Places::default());
        let schemas = Schemas::open(&platform);
        let dispatcher = Dispatcher::open(&platform).await?;
        let channels = Channels::open(&platform, &dispatcher).await?;
        let catalogue = Catalogue::default();
        let questions = Questions::open(catalogue.clone());
        let receipts = Receipts::open(&platform);
        let live = Live::open(&platform, catalogue, dispatcher.clone());
        let mut workers = vec![keys.worker(), accounts.worker(), log.worker(), dispatcher.worker(), federation.worker()];
        workers.push(dispatcher.credentials_worker());
        workers.extend(privacy::workers(&platform));
        workers.extend(webhook::workers(&platform));
        workers.push(import::worker(&platform));
        workers.push(channels.worker());
        workers.extend(live.workers());
        workers.extend(mailer.workers());
        let workers = workers.into_iter().map(Arc::new).collect();
        Ok(Self {
            platform,
            keys,
            accounts,
            federation,
            quotas,
            origins,
            log,
            schemas,
            questions,
            receipts,
            live,
            dispatcher,
            channels,
            mailer,
            workers,
        })
    }

    /// Says at `/readyz` that this node takes no new work soon; everything goes on as before.
    pub fn leave(&self) {
        self.platform.leaving.store(true, Ordering::SeqCst);
    }

    /// The room of accounts, whose hashes tests count.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The room of pushes.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Serves on a bound listener and starts every loop.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn start(&self, listener: TcpListener) -> Result<Running> {
        let server = self.listen(listener)?;
        let http = server.handle();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for worker in self.workers.iter().flat_map(|worker| (0..worker.loops).map(move |_| worker)) {
            tasks.spawn(Arc::clone(worker).run(self.platform.clock.clone(), stopped.clone()));
        }
        tokio::spawn(server);
        let (dispatcher, channels, mailer) = (self.dispatcher.clone(), self.channels.clone(), self.mailer.clone());
        Ok(Running { http, stop, tasks, dispatcher, channels, mailer, drain_s: self.platform.config.drain_s })
    }

    /// Starts the HTTP server alone on a bound listener; tests step the loops by hand.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn listen(&self, listener: TcpListener) -> Result<actix_web::dev::Server> {
        let platform = self.platform.clone();
        let (keys, accounts, signals) = (self.keys.clone(), self.accounts.clone(), Signals::default());
        let federation = self.federation.clone();
        let (quotas, origins) = (self.quotas.clone(), self.origins.clone());
        let (log, schemas, questions) = (self.log.clone(), self.schemas.clone(), self.questions.clone());
        let receipts = self.receipts.clone();
        let live = self.live.clone();
        let dispatcher = self.dispatcher.clone();
        let channels = self.channels.clone();
        let templates = web::Data::new(Templates::of(routes::DOCUMENT)?);
        let proxies = TrustedProxies::parse(&self.platform.config.trusted_proxies)?;
        let limit = BodyLimit(platform.config.body_limit_bytes);
        let mut server = HttpServer::new(move || {
            App::new()
                .app_data(limit)
                .app_data(web::Data::new(platform.clone()))
                .app_data(web::Data::new(keys.clone()))
                .app_data(web::Data::new(accounts.clone()))
                .app_data(web::Data::new(signals.clone()))
                .app_data(web::Data::new(federation.clone()))
                .app_data(web::Data::new(log.places().clone()))
                .app_data(web::Data::new(log.clone()))
                .app_data(web::Data::new(schemas.clone()))
                .app_data(web::Data::new(questions.clone()))
                .app_data(web::Data::new(receipts.clone()))
                .app_data(web::Data::new(live.clone()))
                .app_data(web::Data::new(dispatcher.clone()))
                .app_data(web::Data::new(channels.clone()))
                .app_data(web::Data::new(proxies.clone()))
                .app_data(web::Data::new(platform.ids.clone()))
                .app_data(web::Data::new(quotas.clone()))
                .app_data(web::Data::new(origins.clone()))
                .app_data(templates.clone())
                .wrap(from_fn(cors))
                .wrap(from_fn(door))
                .configure(routes::mount)
                .default_service(web::to(no_route))
        })
        .disable_signals()
        .tcp_nodelay(true)
        .shutdown_timeout(self.platform.config.drain_s.div_ceil(2));
        if self.platform.config.http_threads > 0 {
            server = server.workers(self.platform.config.http_threads);
        }
        Ok(server.listen(listener).map_err(Error::broken)?.run())
    }

    /// One step of the worker of this name: tests that look in between.
    ///
    /// # Errors
    /// When the step fails, or there is no such worker.
    pub async fn step(&self, name: &str) -> Result<Progress> {
        let worker = self.workers.iter().find(|worker| worker.name == name);
        worker.ok_or_else(|| Error::broken(format!("there is no worker {name}")))?.step().await
    }

    /// Works off everything that can be worked off at the clock's present time: tests and replay.
    ///
    /// # Errors
    /// When a step fails, or the work never ends.
    pub async fn drain(&self) -> Result<()> {
        for _ in 0..DRAIN_STEPS_MAX {
            let mut more = false;
            for worker in &self.workers {
                more |= worker.step().await? == Progress::More;
            }
            if !more {
                return Ok(());
            }
        }
        Err(Error::broken("the work never ends"))
    }
}

/// Opens the shared floor: the database, the cache, the hashing threads and the guarded way out.
async fn floor(config: Config, clock: Clock) -> Result<Platform> {
    let ids = Ids::new(clock.clone());
    let master_key = MasterKey::load(&config, &ids)?;
    let options =
        Options { url: config.database_url.expose().to_owned(), readers: config.db_readers, writers: config.db_writers };
    let store = tokio::task::spawn_blocking(move || Store::open(&options)).await.map_err(Error::broken)??;
    let channel = name_of(&master_key.derive("redis channel", b""));
    let cache = Cache::open(&config.redis_url, format!("kairos:{channel}"), name_of(&ids.bytes::<16>()))?;
    let hasher = Hasher::start(config.hash_threads)?;
    let allow = Blocks::parse(&config.outbound_allow, "KAIROS_OUTBOUND_ALLOW")?;
    let web = Guarded::new(&Trust::load(&config.ca_file)?, allow);
    Ok(Platform::new(Parts {
        config,
        store,
        cache,
        clock,
        ids,
        stopwatch: Stopwatch::default(),
        fence: Fence::default(),
        leaving: AtomicBool::new(false),
        hasher,
        web,
        master_key,
        lane_hint: Hint::default(),
        push_hint: Hint::default(),
        feedback_hint: Hint::default(),
        mail_hint: Hint::default(),
        import_hint: Hint::default(),
        timer_hint: Hint::default(),
    }))
}

/// A serving Kairos.
pub struct Running {
    http: ServerHandle,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    dispatcher: Dispatcher,
    channels: Channels,
    mailer: Mailer,
    drain_s: u64,
}

impl Running {
    /// Stops in order: no new requests (half of the time at most), the loops finish the step they are in, the pushes in
    /// flight are answered and settled, then nothing is left to wait for.
    pub async fn stop(mut self) {
        let finish = async {
            self.http.stop(true).await;
            let _ = self.stop.send(true);
            self.dispatcher.leave();
            while self.tasks.join_next().await.is_some() {}
            self.dispatcher.landed().await;
            self.channels.landed().await;
            self.mailer.landed().await;
        };
        if tokio::time::timeout(Duration::from_secs(self.drain_s), finish).await.is_err() {
            tracing::warn!("some loops did not finish in time; what they held is taken up at the next start");
        }
    }
}

/// A short name for bytes that are as good as random.
fn name_of(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
