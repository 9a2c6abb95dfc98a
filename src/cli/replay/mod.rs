//! `kairos replay FILE`: a recording through a server of its own, with phones' gateways that keep their own books.

pub(crate) mod airports;
pub(crate) mod client;
mod laps;
mod pace;
pub(crate) mod recording;
mod scene;
mod seed;
mod stage;
mod story;
mod table;
mod verdict;

pub(crate) use pace::Speed;
pub(crate) use stage::{Play, Stage};

use super::Settings;
use crate::error::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to replay and how.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// NDJSON events (the shape of POST /v1/events) or position CSV, plain or gzip.
    file: PathBuf,
    /// `max`, or seconds of the recording per second; 1 is as recorded, by the machine's own clock.
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Move all times so that the recording begins now.
    #[arg(long)]
    rebase: bool,
    /// Airports (CSV: iata,name,city,lat,lon,…), each a circle of 3 km; by default the built-in extract.
    #[arg(long, value_name = "FILE")]
    airports: Option<PathBuf>,
    /// Print the outcome as one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

/// Plays the recording, prints the story, the totals and the verdict.
///
/// # Errors
/// When the recording makes no sense or the server cannot be opened.
pub(super) async fn run(settings: &Settings, args: ReplayArgs) -> Result<ExitCode> {
    let airports = match &args.airports {
        Some(path) => airports::read(
            std::fs::File::open(path).map_err(|e| crate::error::Error::broken(format!("cannot open {}: {e}", path.display())))?,
        )?,
        None => airports::read(airports::EXTRACT.as_bytes())?,
    };
    let play =
        Play { events: recording::read_file(&args.file)?, airports, speed: args.speed, rebase: args.rebase, quiet: args.json };
    let stage = Stage::open(settings, play).await?;
    let outcome = stage.play().await?;
    if args.json {
        println!("{}", outcome.json());
    } else {
        print!("{}", outcome.print());
    }
    let code = outcome.exit_code();
    stage.close().await;
    Ok(code)
}
