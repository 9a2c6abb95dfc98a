//! (a) Decisions per second of the pure core, and what each gate costs per candidate.

use super::case::cases;
use super::measure::{median, round, sample};
use kairos::moment::decide;
use serde_json::{Map, Value, json};

/// Decisions per run.
const RUN: usize = 20_000;
/// Runs per case.
const RUNS: usize = 7;

/// Takes the figure.
pub fn run() -> Value {
    let mut before_ns = 0.0;
    let mut gates = Map::new();
    let mut whole = 0.0;
    for case in cases() {
        let once = || {
            let taken = sample(|| {
                (0..RUN).for_each(|_| drop(std::hint::black_box(decide(std::hint::black_box(&case.input), &case.terms))));
                RUN as f64
            });
            1e9 / taken.per_second()
        };
        let ns = median((0..RUNS).map(|_| once()).collect());
        if case.name == "chosen" {
            whole = ns;
            gates.insert("competition_and_words".to_owned(), json!(round(ns - before_ns)));
        } else {
            // Four candidates stop at this gate; the difference to those that stopped one earlier is this gate's.
            gates.insert(case.name.to_owned(), json!(round((ns - before_ns) / 4.0)));
            before_ns = ns;
        }
    }
    json!({ "aim": "reported", "decisions_per_s": round(1e9 / whole), "decision_ns": round(whole), "ns_per_gate": gates })
}
