//! Logs and metrics: set up once, used everywhere through `tracing` and `metrics`.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// Buckets of every histogram, in seconds: those of OpenTelemetry for HTTP, and finer ones below.
const BUCKETS_S: [f64; 17] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts logging to standard error; a second call changes nothing.
pub fn start_logs(filter: &str, json: bool) {
    let filter = EnvFilter::try_new(directives(filter)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The error says that a subscriber is set already, which is what a second server in one process finds.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// The log filter for what was asked: libraries that write headers and paths at their lower levels, and with them tokens
/// and addresses, stay at `info`, unless they are named.
pub fn directives(filter: &str) -> String {
    const TALKATIVE: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "actix_http"];
    let quiet = TALKATIVE.iter().filter(|name| !filter.contains(*name)).map(|name| format!(",{name}=info"));
    quiet.fold(filter.to_owned(), |all, one| all + &one)
}

/// The process's metrics, in the Prometheus text format.
pub fn render_metrics() -> String {
    let handle = start_metrics();
    handle.run_upkeep();
    handle.render()
}

/// Installs the recorder behind the `metrics` macros; a second call changes nothing.
pub fn start_metrics() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        // Without buckets histograms would be summaries, which cannot be added up over nodes. Only an empty list is refused.
        let builder = builder.set_buckets(&BUCKETS_S).unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // The error says that a recorder is set already; the handle then shows nothing, and nothing else breaks.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}
