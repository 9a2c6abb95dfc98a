//! The stage of a replay: a server in an empty database, strict stand-ins for Apple and Google, one clock for all.

use super::airports::Airport;
use super::client::Client;
use super::laps::{Call, Laps};
use super::pace::{self, Speed};
use super::recording::{self, Recorded};
use super::seed::Seed;
use super::story::{Story, text};
use super::verdict::{Sent, Verdict};
use crate::app;
use crate::cli::Settings;
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::error::{Error, Result};
use crate::event;
use crate::push::standin::{Options, StandIn};
use crate::serve::{Kairos, Running};
use crate::telemetry;
use serde_json::json;
use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Most events in one call.
const CALL_EVENTS_MAX: usize = 500;
/// How often the loops are looked at before the story is told with what still waits: half a minute.
const SETTLE_TICKS_MAX: usize = 150;

/// What to play.
pub(crate) struct Play {
    /// The recording, in time order.
    pub(crate) events: Vec<Recorded>,
    /// Every one becomes a circle.
    pub(crate) airports: Vec<Airport>,
    /// How fast.
    pub(crate) speed: Speed,
    /// Whether times are moved so that the recording begins now.
    pub(crate) rebase: bool,
    /// Whether nothing is printed on the way.
    pub(crate) quiet: bool,
}

/// An opened stage.
pub(crate) struct Stage {
    play: Play,
    shift_ms: i64,
    clock: Clock,
    kairos: Kairos,
    standin: StandIn,
    client: Client,
    app: app::Created,
    server: Server,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// The folder that goes away with the stage, unless a folder or database was named.
    temporary: Option<PathBuf>,
}

/// At maximum speed the loops are stepped between the slices, else they run.
enum Server {
    Stepped(actix_web::dev::ServerHandle),
    Running(Running),
}

impl Stage {
    /// Opens the server and the gateways, and fills the database.
    ///
    /// # Errors
    /// When the database is not empty, or something cannot be opened.
    pub(crate) async fn open(settings: &Settings, play: Play) -> Result<Self> {
        let first_ms = play.events.first().map(|e| e.at_ms);
        let system = Clock::system();
        let shift_ms = if play.rebase { system.now_ms() - first_ms.unwrap_or(0) } else { 0 };
        let clock = pace::clock_for(play.speed, first_ms.map(|ms| ms + shift_ms))?;
        let (mut config, temporary) = configure(settings)?;
        telemetry::start_logs(if play.quiet { "error" } else { "warn" }, false);
        let standin = standin(clock.clone()).await?;
        let ca_file = config.data_dir.join("standin-ca.pem");
        std::fs::create_dir_all(&config.data_dir).map_err(Error::broken)?;
        std::fs::write(&ca_file, standin.ca_pem()).map_err(Error::broken)?;
        (config.apns_url, config.fcm_url, config.ca_file) = (standin.url(), standin.url(), ca_file.display().to_string());
        let listener = listen(settings)?;
        let address = listener.local_addr().map_err(Error::broken)?;
        let kairos = Kairos::open(config, clock.clone()).await?;
        let (ids, now_ms) = (kairos.platform.ids.clone(), clock.now_ms());
        let app = kairos
            .platform
            .store
            .write(move |conn| {
                if app::any(conn)? {
                    return Err(Error::broken("the database is not empty: a replay needs one of its own (leave out --data-dir and KAIROS_DATABASE_URL, or name an empty one)"));
                }
                app::create(conn, &ids, now_ms, "Example")
            })
            .await?;
        let server = if play.speed == Speed::Max {
            let server = kairos.listen(listener)?;
            let handle = server.handle();
            tokio::spawn(server);
            Server::Stepped(handle)
        } else {
            Server::Running(kairos.start(listener)?)
        };
        let client = Client::new(address, Secret::new(app.server_key.expose()));
        kairos.platform.stopwatch.start();
        let stage = Self { play, shift_ms, clock, kairos, standin, client, app, server, address, temporary };
        stage.fill().await?;
        Ok(stage)
    }

    async fn fill(&self) -> Result<()> {
        let aircraft = recording::things(&self.play.events);
        let seed = Seed {
            platform: &self.kairos.platform,
            client: &self.client,
            app_id: self.app.app_id,
            airports: &self.play.airports,
            aircraft: &aircraft,
        };
        let [places, things, users, phones] = seed.fill(&self.standin).await?;
        self.say(&format!("Example app: {places} places, {things} things, {users} users, {phones} phones, 3 partners.\n"));
        Ok(())
    }

    fn say(&self, line: &str) {
        if !self.play.quiet {
            print!("{line}");
            // A closed terminal is no reason to stop.
            let _ = std::io::stdout().flush();
        }
    }

    /// Plays the whole recording and reads back what came of it.
    ///
    /// # Errors
    /// When the server fails or refuses an event.
    pub(crate) async fn play(&self) -> Result<Verdict> {
        let started = Instant::now();
        let sent = match self.play.speed {
            Speed::Max => self.play_slices().await?,
            Speed::Fold(fold) => self.play_along(fold).await?,
        };
        let took = started.elapsed();
        self.say("\r\x1b[K");
        let taps = self.open_some().await?;
        let story = Story::read(&self.client).await?;
        let timed = (self.kairos.platform.stopwatch.clone(), sent.calls.clone(), taps);
        let laps = Laps::read(&self.client, &story, timed).await?;
        let app = self.app.app_id;
        let tally = self.kairos.platform.store.read(move |conn| event::tally(conn, app)).await?;
        Ok(Verdict { story, sent, tally, ledger: self.standin.ledger(), laps, took })
    }

    /// Slice by slice: the clock jumps to the slice's end, its events go out, all work is done, the next.
    async fn play_slices(&self) -> Result<Sent> {
        let times: Vec<i64> = self.play.events.iter().map(|e| e.at_ms).collect();
        let mut sent = Sent::default();
        let mut start = 0;
        for end in pace::slices(&times, CALL_EVENTS_MAX) {
            self.clock.set(times[end - 1] + self.shift_ms);
            self.send(&self.play.events[start..end], &mut sent).await?;
            self.kairos.drain().await?;
            start = end;
            self.progress(&sent);
        }
        Ok(sent)
    }

    /// As time goes by, N-fold.
    async fn play_along(&self, fold: f64) -> Result<Sent> {
        let ticking = (fold != 1.0).then(|| pace::run_clock(self.clock.clone(), fold));
        let mut sent = Sent::default();
        let mut rest = &self.play.events[..];
        while let Some(first) = rest.first() {
            self.clock.sleep_until(first.at_ms + self.shift_ms).await;
            let now_ms = self.clock.now_ms() - self.shift_ms;
            let due = rest.partition_point(|e| e.at_ms <= now_ms).clamp(1, CALL_EVENTS_MAX);
            self.send(&rest[..due], &mut sent).await?;
            rest = &rest[due..];
            self.progress(&sent);
        }
        self.settle_down().await?;
        if let Some(ticking) = ticking {
            ticking.abort();
        }
        Ok(sent)
    }

    /// Waits until the loops have worked off everything, for a while.
    async fn settle_down(&self) -> Result<()> {
        let app = self.app.app_id;
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        for _ in 0..SETTLE_TICKS_MAX {
            ticks.tick().await;
            let tally = self.kairos.platform.store.read(move |conn| event::tally(conn, app)).await?;
            let in_lanes = tally.keys().any(|(_, disposition)| disposition.is_empty());
            if !in_lanes && !Story::read(&self.client).await?.has_waiting() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn send(&self, events: &[Recorded], sent: &mut Sent) -> Result<()> {
        let body = json!({ "events": events.iter().map(|e| e.shifted(self.shift_ms)).collect::<Vec<_>>() });
        let began = Instant::now();
        let answer = self.client.post("/v1/events", &body).await?;
        let call = Call { began, answered: Instant::now() };
        let results = answer["results"].as_array().map_or(&[][..], Vec::as_slice);
        if results.len() != events.len() {
            return Err(Error::broken("the server did not answer for every event"));
        }
        results.iter().for_each(|result| sent.count(result, call));
        Ok(())
    }

    fn progress(&self, sent: &Sent) {
        if std::io::stdout().is_terminal() {
            let all = self.play.events.len();
            self.say(&format!(
                "\r{} of {all} events ({} %), {} pushes",
                sent.all(),
                sent.all() * 100 / all.max(1),
                self.standin.arrivals()
            ));
        }
    }

    /// Every second phone's owner taps the push: receipts as the SDK sends them, with the user's own token.
    async fn open_some(&self) -> Result<HashMap<String, Call>> {
        let ledger = self.standin.ledger();
        let mut taps = HashMap::new();
        for row in ledger.iter().filter(|row| row.delivered).step_by(2) {
            let Some(message_id) = row.kairos.as_ref().map(|k| &k.message_id) else { continue };
            let message = self.client.must(http::Method::GET, &format!("/v1/messages/{message_id}"), None).await?;
            let user = text(&message, "/user_id").parse().map_err(Error::broken)?;
            let token = self.kairos.accounts().vouch(self.app.app_id, user).await?;
            let phone = Client::new(self.address, token);
            let began = Instant::now();
            phone.post(&format!("/v1/messages/{message_id}/receipts"), &json!({ "kind": "opened" })).await?;
            taps.insert(message_id.clone(), Call { began, answered: Instant::now() });
        }
        Ok(taps)
    }

    /// Prints where everything is and serves until told to stop.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub(crate) async fn serve_on(&self) -> Result<()> {
        println!("Still serving on http://{} (docs at /docs). Keys of the example app:", self.address);
        println!("  publishable key: {}", self.app.publishable_key.expose());
        println!("  server key:      {}", self.app.server_key.expose());
        println!(
            "Try: curl -H 'Authorization: Bearer {}' 'http://{}/v1/decisions?limit=3'",
            self.app.server_key.expose(),
            self.address
        );
        println!("Ctrl-C stops it and throws the database away.");
        crate::cli::serve::stop_signal().await
    }

    /// Stops the server and removes what was temporary.
    pub(crate) async fn close(self) {
        match self.server {
            Server::Stepped(http) => http.stop(false).await,
            Server::Running(running) => running.stop().await,
        }
        drop(self.kairos);
        if let Some(folder) = self.temporary {
            // What cannot be removed from the temporary folder the system removes later.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The settings; without a folder or database of the user's choice everything lives in a temporary folder.
fn configure(settings: &Settings) -> Result<(Config, Option<PathBuf>)> {
    // The gateways are stand-ins, and time is not the real one: no slow start.
    if settings.names_database() {
        return Ok((Config { fcm_ramp_s: 0, ..settings.load()? }, None));
    }
    let folder = std::env::temp_dir().join(format!("kairos-{}", std::process::id()));
    let config = settings.with_data_dir(&folder).load()?;
    Ok((Config { fcm_ramp_s: 0, ..config }, Some(folder)))
}

/// The address that was asked for; else any free port, so that a replay never collides with a server that runs.
fn listen(settings: &Settings) -> Result<TcpListener> {
    crate::cli::serve::bind(settings.listen.as_deref().unwrap_or("127.0.0.1:0"))
}

/// How long something took, for people.
pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// Both gateways at a free port, by the replay's clock. A phone that nobody registered is refused, as the real ones do.
async fn standin(clock: Clock) -> Result<StandIn> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    StandIn::open(Options { listen, clock, ledger_file: None, any_token: false, streams: 1_000 }).await
}
