//! Text tables for the terminal: columns as wide as their widest cell, numbers to the right.

use std::fmt::Write as _;

/// A table under construction.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether there is nothing under the head.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, indented by two.
    pub(crate) fn render(&self) -> String {
        let width = |n: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
            cells.chain([self.head[n].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        let head: Vec<String> = self.head.iter().map(|&h| h.to_owned()).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::from(" ");
            for (n, width) in widths.iter().enumerate() {
                let cell = row.get(n).map_or("", String::as_str);
                let pad = " ".repeat(width - cell.chars().count());
                let is_number = cell.starts_with(|c: char| c.is_ascii_digit())
                    && cell.chars().all(|c| c.is_ascii_digit() || ".,".contains(c));
                // Writing to a String cannot fail.
                let _ = if is_number { write!(line, " {pad}{cell} ") } else { write!(line, " {cell}{pad} ") };
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}
