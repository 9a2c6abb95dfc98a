//! `kairos replay` as a program: what it says of a small recording, and how long it says that things took.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One aircraft on its way to Orly: five minutes in the air, then the ground. The landing is the first of a run of
/// events that lie within one slice of the recording, and nearly five seconds before the last of it.
fn recording(folder: &Path) -> std::path::PathBuf {
    let fix = |at_ms: i64, on_ground: bool| {
        json!({"id": at_ms.to_string(), "type": "aircraft.position", "subject": "thing:39a415",
            "occurred_at": kairos::clock::Time(1_633_000_000_000 + at_ms),
            "properties": {"on_ground": on_ground}, "location": {"lat": 48.7253, "lon": 2.3594}})
    };
    let air = (0..30).map(|n| fix(n * 10_000, false));
    let ground = [fix(300_000, true), fix(304_900, true)];
    let lines: Vec<String> = air.chain(ground).map(|event| event.to_string()).collect();
    let path = folder.join("landing.ndjson");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn replay(arguments: &[&str]) -> (Output, Duration) {
    let folder = tempfile();
    let path = recording(&folder);
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kairos"));
    command.arg("replay").arg(&path).args(arguments).stdin(Stdio::null());
    let said = command.output().unwrap();
    let took = began.elapsed();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(said.status.success(), "{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    (said, took)
}

fn tempfile() -> std::path::PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("kairos_replay_test_{}_{n}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_ms_of_the_story_are_the_machines_and_not_the_recordings() {
    let (said, took) = replay(&[]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("ms are this machine's own time"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("landing")).collect();
    assert_eq!(rows.len(), 10, "{text}");
    let took_ms = took.as_secs_f64() * 1_000.0;
    let mut pushed = 0;
    for row in rows {
        let figures: Vec<f64> = row.split_whitespace().rev().map_while(|cell| cell.parse().ok()).collect();
        assert!(figures.len() >= 2, "{row}");
        assert!(figures.iter().sum::<f64>() < took_ms, "{row} does not fit into {took_ms} ms");
        pushed += usize::from(figures.len() >= 4);
    }
    assert_eq!(pushed, 4, "who got a push has the hops of a push: {text}");
}

#[test]
fn a_replay_tells_programs_how_long_each_hop_took() {
    for speed in ["max", "300"] {
        let (said, took) = replay(&["--json", "--speed", speed]);
        let told: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(told["faults"], json!([]), "{told}");
        for (hop, count) in [("taken", 10), ("decided", 10), ("handed_over", 4), ("answered", 4), ("opened", 2)] {
            let figures = &told["hops_ms"][hop];
            assert!(figures["count"].as_u64().unwrap() >= count, "{speed} {hop}: {told}");
            let (median, worst) = (figures["median"].as_f64().unwrap(), figures["worst"].as_f64().unwrap());
            assert!(median <= worst && worst < took.as_secs_f64() * 1_000.0, "{speed} {hop}: {told}");
        }
    }
}
