//! Cuts a body into lines, and lines into chunks, while it arrives. Pure.

use crate::error::{Problem, Result};

/// Lines of a chunk: one transaction works on them, in some hundred milliseconds at most.
const LINES: i64 = 100;
/// Bytes at which a chunk is closed earlier.
const BYTES: usize = 256 * 1024;

/// Lines that are worked on together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of its first line in the body, from 1.
    pub(super) first_line: i64,
    /// Lines that say something; the text may have empty ones too.
    pub(super) lines: i64,
    pub(super) text: Vec<u8>,
}

/// What is taken at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) line_bytes: usize,
    pub(super) lines: i64,
}

/// See the module.
pub(super) struct Cutter {
    limits: Limits,
    /// The lines that are whole.
    whole: i64,
    /// Those that say something.
    lines: i64,
    /// The line that is not whole yet.
    rest: Vec<u8>,
    open: Chunk,
    ready: Vec<Chunk>,
}

impl Cutter {
    pub(super) fn new(limits: Limits) -> Self {
        let open = Chunk { first_line: 1, ..Chunk::default() };
        Self { limits, whole: 0, lines: 0, rest: Vec::new(), open, ready: Vec::new() }
    }

    /// How many lines there were that say something.
    pub(super) fn lines(&self) -> i64 {
        self.lines
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// 413 that says which limit it is and what to do.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.extend(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            self.end_line()?;
        }
        self.extend(bytes)
    }

    /// The chunks that are whole by now.
    pub(super) fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.ready)
    }

    /// The body has ended, with or without a line feed.
    ///
    /// # Errors
    /// As [`Cutter::push`]; 400 when no line said anything.
    pub(super) fn finish(&mut self) -> Result<Vec<Chunk>> {
        if !self.rest.is_empty() {
            self.end_line()?;
        }
        self.close();
        if self.lines == 0 {
            let detail = "The body has no line. Send one JSON object on each line.";
            return Err(Problem::new(400, "no_lines", detail).field("body", "required", detail).into());
        }
        Ok(self.take())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        if self.rest.len() + bytes.len() > self.limits.line_bytes {
            let (line, most) = (self.whole + 1, self.limits.line_bytes);
            let detail = format!(
                "Line {line} has more than {most} bytes, the most a line may have. Is there a line feed after each object?"
            );
            return Err(Problem::new(413, "line_too_long", detail).into());
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<()> {
        self.whole += 1;
        if !self.rest.trim_ascii().is_empty() {
            self.lines += 1;
            self.open.lines += 1;
        }
        if self.lines > self.limits.lines {
            let detail = format!("An import may have at most {} lines. Send the rest as another import.", self.limits.lines);
            return Err(Problem::new(413, "too_many_lines", detail).into());
        }
        self.open.text.append(&mut self.rest);
        self.open.text.push(b'\n');
        if self.open.lines >= LINES || self.open.text.len() >= BYTES {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        let next = Chunk { first_line: self.whole + 1, ..Chunk::default() };
        let chunk = std::mem::replace(&mut self.open, next);
        if chunk.lines > 0 {
            self.ready.push(chunk);
        }
    }
}
