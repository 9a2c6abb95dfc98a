//! `make bench`: the whole server over loopback against yardsticks in the same run; ratios go to `target/bench.json`.
//!
//! Each figure is a ratio of ours to a yardstick taken in turns (see `measure.rs`), because machines differ and are
//! shared. Name figures to take only those: `cargo bench --bench drive -- ingest fanout`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop and say where")]

mod account;
mod case;
mod client;
mod core;
mod fanout;
mod footprint;
mod ingest;
mod latency;
mod lookup;
mod measure;
mod server;
mod signin;

use serde_json::{Map, Value};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let figures: [(&str, fn() -> Value); 9] = [
        ("core", core::run),
        ("lookup", lookup::run),
        ("ingest", ingest::run),
        ("latency", latency::run),
        ("fanout", fanout::run),
        ("beside", fanout::beside),
        ("signin", signin::run),
        ("account", account::run),
        ("footprint", footprint::run),
    ];
    // What was taken before stays, so that figures can be taken one by one.
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    let before = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    let mut all = before.unwrap_or_default();
    for (name, run) in figures {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("{name} …");
            let figure = run();
            println!("{name}: {}", serde_json::to_string_pretty(&figure).unwrap());
            all.insert(name.to_owned(), figure);
        }
    }
    std::fs::write(&path, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
    println!("Written to {}.", path.display());
}
