//! What a test's server would log at the most talkative level: to look for what must never be in there.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins to keep every log line of this process, at `trace`. Call it first in a test.
pub fn keep() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = EnvFilter::new(kairos::telemetry::directives("trace"));
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Lines).init();
    });
}

/// Everything that was logged.
pub fn text() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(!lines.is_empty(), "nothing is logged: call logs::keep() first");
    String::from_utf8_lossy(&lines).into_owned()
}

/// The lines that hold one of these words.
pub fn with(words: &[&str]) -> Vec<String> {
    text().lines().filter(|line| words.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
}
