//! How a trial says that a rule was broken.

use std::fmt;
use std::time::Duration;

use substrate_core::{Error, ErrorKind, Outcome, Result};

/// The result of a trial, or of a step in one.
pub(crate) type Verdict<T = ()> = std::result::Result<T, Failure>;

/// Why a trial did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The rule is broken.
    Broken(String),
    /// It cannot be tried here, because of this.
    Skipped(String),
}

impl Failure {
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self::Broken(reason.into())
    }

    pub(crate) fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }

    /// The same with what was being done in front.
    pub(crate) fn during(self, step: &str) -> Self {
        match self {
            Self::Broken(reason) => Self::Broken(format!("{step}: {reason}")),
            skipped => skipped,
        }
    }
}

/// A call that the trial takes for granted failed.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(format!("unexpected error: {error}"))
    }
}

/// Ends the trial as broken unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            return Err($crate::verdict::Failure::broken(format!($($reason)+)));
        }
    }};
}
pub(crate) use ensure;

/// Both are equal, or the trial is broken.
#[allow(clippy::needless_pass_by_value, reason = "temporaries and constants are compared, at every call")]
pub(crate) fn same<T: PartialEq<U> + fmt::Debug, U: fmt::Debug>(
    what: &str,
    actual: T,
    expected: U,
) -> Verdict {
    ensure!(actual == expected, "{what} is {actual:?}, it should be {expected:?}");
    Ok(())
}

/// The call was refused with one of `kinds`, and says that nothing happened.
pub(crate) fn refused<T>(what: &str, result: Result<T>, kinds: &[ErrorKind]) -> Verdict<Error> {
    let expected = || kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
    match result {
        Ok(_) => Err(Failure::broken(format!("{what} succeeded, it should fail with {}", expected()))),
        Err(error) if !kinds.contains(&error.kind()) => {
            Err(Failure::broken(format!("{what} should fail with {}, and failed so: {error}", expected())))
        }
        Err(error) if error.outcome() == Outcome::Unknown => Err(Failure::broken(format!(
            "{what} was refused, but its error leaves open whether it happened: {error}"
        ))),
        Err(error) => Ok(error),
    }
}

/// The thing is not there, and the call says so.
pub(crate) fn not_found<T>(what: &str, result: Result<T>) -> Verdict {
    refused(what, result, &[ErrorKind::NotFound]).map(drop)
}

/// The present state forbids it, and the call says so.
pub(crate) fn conflict<T>(what: &str, result: Result<T>) -> Verdict {
    refused(what, result, &[ErrorKind::Conflict]).map(drop)
}

/// The future ends in time, or the trial is broken.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> Verdict<T> {
    tokio::time::timeout(limit, future)
        .await
        .map_err(|_| Failure::broken(format!("{what} did not end within {limit:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_may_have_happened_is_no_refusal() {
        let refusal = || Error::conflict("it runs");
        assert!(conflict("delete", Err::<(), _>(refusal())).is_ok());
        assert!(conflict("delete", Err::<(), _>(refusal().with_outcome(Outcome::Unknown))).is_err());
        assert!(conflict("delete", Err::<(), _>(Error::busy("locked"))).is_err());
        assert!(conflict("delete", Ok(())).is_err());
    }
}
