//! Where a value came from, so that an error can point at it.

use std::fmt;
use std::sync::Arc;

/// The place a configuration value was written at.
///
/// ```
/// # use substrate_core::config::Location;
/// assert_eq!(Location::in_source("substrate.yaml", 3, 5).to_string(), "substrate.yaml:3:5");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A position in a document.
    Source {
        /// File path, or the name that was given for a text.
        source: Arc<str>,
        /// Line, counted from 1.
        line: u32,
        /// Column in characters, counted from 1.
        column: u32,
    },
    /// A variable of the environment.
    Environment {
        /// The variable's name; never its value.
        variable: Arc<str>,
    },
}

impl Location {
    /// A position in a document; line and column count from 1.
    pub fn in_source(source: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self::Source { source: source.into(), line, column }
    }

    /// A variable of the environment.
    pub fn in_environment(variable: impl Into<Arc<str>>) -> Self {
        Self::Environment { variable: variable.into() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { source, line, column } => write!(f, "{source}:{line}:{column}"),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
        }
    }
}
