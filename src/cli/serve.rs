//! `kairos serve`: opens everything, says where it listens, and stops in order on SIGTERM or Ctrl-C.

use super::{Settings, system_clock};
use crate::config::LogFormat;
use crate::error::{Error, Result};
use crate::serve::Kairos;
use crate::telemetry;
use std::net::TcpListener;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

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
    println!(
        "Kairos {} listens on http://{address} ({:?}, data in {})",
        env!("CARGO_PKG_VERSION"),
        kairos.platform.store.engine(),
        config.data_dir.display()
    );
    println!("API: http://{address}/docs · next: kairos app create --name \"My app\"");
    stop_signal().await?;
    println!("Stopping: finishing what is in flight (at most {} s).", config.drain_s);
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Binds the listener first, so that a taken port is told before anything is opened.
pub(super) fn bind(listen: &str) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(listen).map_err(|e| Error::broken(format!("cannot listen on {listen} (KAIROS_LISTEN): {e}")))?;
    Ok(listener)
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::broken)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::broken)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
