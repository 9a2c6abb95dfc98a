//! The pure core under divan: `cargo bench --bench core`.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on should stop and say where")]

#[path = "drive/case.rs"]
mod case;

use divan::Bencher;
use kairos::moment::decide;

fn main() {
    divan::main();
}

/// Four candidates: all stop at the gate named, or one is chosen.
#[divan::bench(args = ["window", "audience", "consent", "preference", "reachable", "quiet_hours", "cap", "stock", "chosen"])]
fn decide_four(bencher: Bencher, stops_at: &str) {
    let case = case::cases().into_iter().find(|c| c.name == stops_at).unwrap();
    bencher.bench_local(|| decide(divan::black_box(&case.input), &case.terms));
}
