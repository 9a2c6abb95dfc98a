//! `kairos serve`: opens everything, says where it listens, and stops in order on SIGTERM or Ctrl-C.

use super::{Settings, say, system_clock};
use crate::config::LogFormat;
use crate::error::{Error, Result};
use crate::mail;
use crate::serve::Kairos;
use crate::telemetry;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs until told to stop.
///
/// # Errors
/// One line that says what to set or mend.
pub(super) async fn run(settings: &Settings) -> Result<ExitCode> {
    let config = settings.load()?;
    telemetry::start_logs(&config.log, config.log_format == LogFormat::Json);
    telemetry::start_metrics();
    let listener = bind(&config.listen)?;
    let kairos = Kairos::open(config, system_clock()).await?;
    let address = listener.local_addr().map_err(Error::broken)?;
    let running = kairos.start(listener)?;
    let config = &kairos.platform.config;
    say(&format!(
        "Kairos {} listens on http://{address} ({:?}, data in {})",
        env!("CARGO_PKG_VERSION"),
        kairos.platform.store.engine(),
        config.data_dir.display()
    ));
    say(&format!("API: http://{address}/docs · next: kairos app create --name \"My app\""));
    if !mail::sends(config) {
        say("Mail: no KAIROS_SMTP_URL, so nothing is sent; sign-in codes and links are shown by `kairos mail list`.");
    }
    let mut signals = Signals::listen()?;
    if signals.next().await == Stop::Terminate {
        kairos.leave();
        say(&format!("Leaving: /readyz fails for {} s, the rest goes on.", config.leave_s));
        // A second signal, or the end of that time: either is a good moment to go on.
        let _ = tokio::time::timeout(Duration::from_secs(config.leave_s), signals.next()).await;
    }
    say(&format!("Stopping: finishing what is in flight (at most {} s).", config.drain_s));
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Binds the listener first, so that a taken port is told before anything is opened.
pub(super) fn bind(listen: &str) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(listen).map_err(|e| Error::broken(format!("cannot listen on {listen} (KAIROS_LISTEN): {e}")))?;
    Ok(listener)
}

/// Who wants it to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// SIGTERM: a supervisor, which may have a balancer beside it.
    Terminate,
    /// Ctrl-C: a person.
    Interrupt,
}

/// SIGTERM and Ctrl-C, none of which is lost between two waits.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).map_err(Error::broken)?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt()).map_err(Error::broken)? })
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() -> Result<()> {
    Signals::listen()?.next().await;
    Ok(())
}
