//! `kairos demo`: three hours around Paris, from a landing to the push on the phones of those who wanted it.

use super::Settings;
use super::replay::{Play, Speed, Stage, airports, recording};
use crate::error::Result;
use clap::Args;
use flate2::read::MultiGzDecoder;
use std::process::ExitCode;

/// 29,270 positions of 115 aircraft; where they come from: examples/README.md.
const PARIS: &[u8] = include_bytes!("../../examples/paris-arrivals.csv.gz");
/// How fast the plain demo plays.
const FOLD: f64 = 60.0;

/// How the demo plays.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// At maximum speed, and exit: 0 only if the gateways' own books agree with the database.
    #[arg(long)]
    headless: bool,
    /// Print the outcome as one JSON object and nothing else; implies --headless.
    #[arg(long)]
    json: bool,
}

/// Plays the built-in recording; the plain form keeps serving afterwards.
///
/// # Errors
/// When the server cannot be opened.
pub(super) async fn run(settings: &Settings, args: DemoArgs) -> Result<ExitCode> {
    let headless = args.headless || args.json;
    let play = Play {
        events: recording::read(MultiGzDecoder::new(PARIS), "paris-arrivals")?,
        airports: airports::read(airports::EXTRACT.as_bytes())?,
        speed: if headless { Speed::Max } else { Speed::Fold(FOLD) },
        rebase: false,
        quiet: args.json,
    };
    if !headless {
        println!("Three hours of real air traffic around Paris in three minutes. A landing opens a moment for each passenger.");
    }
    let stage = Stage::open(settings, play).await?;
    let outcome = stage.play().await?;
    if args.json {
        println!("{}", outcome.json());
    } else {
        print!("{}", outcome.print());
    }
    if !headless {
        stage.serve_on().await?;
    }
    let code = outcome.exit_code();
    stage.close().await;
    Ok(code)
}
