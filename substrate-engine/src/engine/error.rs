//! Why an engine could not do what it was asked for.

use std::fmt;

use substrate_core::Error;
use substrate_core::config::ConfigError;

use crate::plan::PlanError;

/// Nothing was done, for one of these reasons. What goes wrong while a plan is carried out is no such error: it is in
/// the [`Report`](crate::run::Report).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EngineError {
    /// The documents hold mistakes.
    Invalid(ConfigError),
    /// There is no plan: something protected would go, something belongs to others, something is not known.
    Refused(PlanError),
    /// A substrate or the journal did not answer, or another engine is at work
    /// ([`Conflict`](substrate_core::ErrorKind::Conflict)).
    Failed(Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Refused(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::Failed(error) => Some(error),
        }
    }
}

impl From<ConfigError> for EngineError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error)
    }
}

impl From<PlanError> for EngineError {
    fn from(error: PlanError) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
