//! How answers are printed.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::SystemTime;

use serde::Serialize;

use crate::arguments::Format;
use crate::ending::Ending;

/// Prints answers in one format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
}

impl Output {
    /// One answer: in JSON as it is, else as `text` says it.
    pub(crate) fn answer<T: Serialize + ?Sized>(
        self,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Ending> {
        let mut line = match self.format {
            Format::Json => serde_json::to_string(answer).map_err(io::Error::from)?,
            Format::Text => text(answer),
        };
        if !line.is_empty() && !line.ends_with('\n') {
            line.push('\n');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_bytes())?;
        // Readers of a stream want each line when it is there.
        Ok(stdout.flush()?)
    }

    /// The answer of a change that returns nothing: in JSON `null`, else what was done.
    pub(crate) fn done(self, what: impl Display) -> Result<(), Ending> {
        self.answer(&(), |()| what.to_string())
    }
}

/// Rows in columns that are as wide as they have to be, under a header.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = std::iter::once(header.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair per line.
pub(crate) fn pairs<const N: usize>(pairs: [(&str, String); N]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .map(|(name, value)| format!("{name:<width$}  {value}"))
        .map(|line| line.trim_end().to_owned() + "\n")
        .concat()
}

/// A value, or `-` where there is none: unknown is neither zero nor empty.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Several values, or `-`.
pub(crate) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}

/// A time as everybody reads it, in UTC.
pub(crate) fn time(time: Option<SystemTime>) -> String {
    or_dash(time.map(humantime::format_rfc3339_seconds))
}
