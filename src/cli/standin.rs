//! `kairos standin`: the strict stand-in for the gateways of Apple, Google and browsers, for developing without them.

use super::{say, serve, system_clock};
use crate::error::{Error, Result};
use crate::push::standin::{Options, StandIn};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// How the stand-in runs.
#[derive(Debug, Args)]
pub(super) struct StandInArgs {
    /// Address and port to listen on.
    #[arg(long = "at", value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    at: SocketAddr,
    /// Where to write the CA that signed its certificate, for KAIROS_CA_FILE.
    #[arg(long, value_name = "FILE", default_value = "standin-ca.pem")]
    ca: PathBuf,
    /// Where to write the credentials that it believes: bodies of PUT /v1/push-credentials/{apns,fcm}.
    #[arg(long, value_name = "FILE", default_value = "standin-credentials.json")]
    credentials: PathBuf,
    /// Where to append its ledger, one JSON object per push; without it the ledger is in memory only.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The bundle id for which the APNs key is good.
    #[arg(long, default_value = "com.example.app")]
    bundle: String,
    /// Refuse tokens of phones that were not registered through PUT /standin/phones.
    #[arg(long)]
    known_phones_only: bool,
}

/// Serves until told to stop.
///
/// # Errors
/// When the address is taken or a file cannot be written.
pub(super) async fn run(args: StandInArgs) -> Result<ExitCode> {
    let options = Options {
        listen: args.at,
        clock: system_clock(),
        ledger_file: args.ledger,
        any_token: !args.known_phones_only,
        streams: 1_000,
    };
    // The error says that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let standin = StandIn::open(options).await?;
    let keep = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|e| Error::broken(format!("cannot write {}: {e}", path.display())))
    };
    keep(&args.ca, standin.ca_pem())?;
    let apns = standin.issue_apns(crate::people::device::Environment::Production, &[&args.bundle])?;
    let credentials = serde_json::json!({ "apns": apns, "fcm": standin.issue_fcm("example")? });
    keep(&args.credentials, &credentials.to_string())?;
    let (url, ca) = (standin.url(), args.ca.display());
    let credentials = args.credentials.display();
    say(&format!("Stand-in of APNs, FCM and web push on {url}; its CA is in {ca}, its credentials in {credentials}."));
    say(&format!("Next: KAIROS_APNS_URL={url} KAIROS_FCM_URL={url} KAIROS_WEBPUSH_URL={url} KAIROS_CA_FILE={ca} kairos serve"));
    say("Or your own sender, with HTTP/2 and that CA:");
    say(&format!(
        "  APNs     POST {url}/3/device/TOKEN, Google's tokens POST {url}/token, FCM POST {url}/v1/projects/PROJECT/messages:send"
    ));
    say(&format!("  a key    curl --http2 --cacert {ca} {url}/standin/apns-keys -d '{{\"topics\":[\"com.example.app\"]}}'"));
    say(&format!("  account  curl --http2 --cacert {ca} {url}/standin/service-accounts -d '{{\"project_id\":\"example\"}}'"));
    say(&format!("  phones   curl --http2 --cacert {ca} {url}/standin/phones -d '{{\"gateway\":\"apns\",\"count\":3}}'"));
    say(&format!("  browser  curl --http2 --cacert {ca} {url}/standin/subscriptions -d '{{\"host\":\"push.example.com\"}}'"));
    say(&format!("  outcome  curl --http2 --cacert {ca} {url}/standin/summary"));
    serve::stop_signal().await?;
    Ok(ExitCode::SUCCESS)
}
