//! What an instance wrote.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, Feature};
use crate::error::Result;
use crate::stream::BoxStream;

/// Which log lines to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// Only the last so many lines; all when left out.
    pub lines: Option<usize>,
    /// Only lines written at or after this time.
    pub since: Option<SystemTime>,
    /// Go on with what is written from now on, until the instance goes or the stream is dropped.
    pub follow: bool,
}

impl LogOptions {
    /// Everything there is.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The last `lines` lines.
    #[must_use]
    pub fn tail(lines: usize) -> Self {
        Self { lines: Some(lines), ..Self::default() }
    }

    /// Only lines since `time`.
    #[must_use]
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Goes on with new lines.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Refuses what the substrate cannot do.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) naming the feature and the reason.
    pub fn require_features(&self, capabilities: &Capabilities) -> Result<()> {
        if self.follow {
            capabilities.require(Feature::LogFollow)?;
        }
        if self.since.is_some() {
            capabilities.require(Feature::LogSince)?;
        }
        Ok(())
    }
}

/// Where a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// Standard output, or all output where the technology does not tell them apart.
    Stdout,
    /// Standard error.
    Stderr,
    /// A console.
    Console,
    /// The technology's own record about the instance.
    System,
}

/// One line, without its line end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, where the technology keeps that.
    #[serde(with = "crate::time_format::option")]
    pub time: Option<SystemTime>,
    /// Where it came from.
    pub source: LogSource,
    /// The text; what is not UTF-8 became `U+FFFD`.
    pub message: String,
}

/// Log lines, oldest first.
pub type LogStream = BoxStream<Result<LogLine>>;
