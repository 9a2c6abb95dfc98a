//! (g) Idle memory, start to first answer, binary size.

use super::measure::{median, round};
use super::server::{BINARY, House};
use serde_json::{Value, json};

/// Takes the figure.
pub fn run() -> Value {
    let house = House::build("footprint");
    let mut first_answer_ms = Vec::new();
    let mut idle_mb = Vec::new();
    for _ in 0..5 {
        let server = house.serve(&[]);
        first_answer_ms.push(server.first_answer.as_secs_f64() * 1e3);
        // One request was answered; what is resident now is what an idle server keeps.
        idle_mb.push(resident_mb(&server.pid()));
    }
    let binary = std::fs::metadata(BINARY).unwrap().len() as f64 / 1e6;
    json!({
        "aim": "≤ 40 MB, ≤ 200 ms, ≤ 40 MB",
        "idle_mb": round(median(idle_mb)),
        "first_answer_ms": round(median(first_answer_ms)),
        "binary_mb": round(binary),
    })
}

/// Resident memory of a process, in megabytes.
pub fn resident_mb(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
}
