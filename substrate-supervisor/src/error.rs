//! The table from what goes wrong with supervisord to kinds and outcomes.

use std::error::Error as StdError;
use std::io;

use substrate_core::{Error, ErrorKind, Outcome, RetryAdvice};

/// The faults that supervisord documents. The numbers are its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultCode {
    UnknownMethod,
    IncorrectParameters,
    BadArguments,
    SignatureUnsupported,
    ShutdownState,
    BadName,
    BadSignal,
    NoFile,
    NotExecutable,
    Failed,
    AbnormalTermination,
    SpawnError,
    AlreadyStarted,
    NotRunning,
    /// Not a failure: the status of one success in an answer about several. As a fault it makes no sense.
    Success,
    AlreadyAdded,
    StillRunning,
    CantReread,
    /// One that no version up to 4.3 has.
    Other(i32),
}

impl FaultCode {
    pub(crate) fn of(code: i32) -> Self {
        match code {
            1 => Self::UnknownMethod,
            2 => Self::IncorrectParameters,
            3 => Self::BadArguments,
            4 => Self::SignatureUnsupported,
            6 => Self::ShutdownState,
            10 => Self::BadName,
            11 => Self::BadSignal,
            20 => Self::NoFile,
            21 => Self::NotExecutable,
            30 => Self::Failed,
            40 => Self::AbnormalTermination,
            50 => Self::SpawnError,
            60 => Self::AlreadyStarted,
            70 => Self::NotRunning,
            80 => Self::Success,
            90 => Self::AlreadyAdded,
            91 => Self::StillRunning,
            92 => Self::CantReread,
            other => Self::Other(other),
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            // An older supervisord, which lacks the method.
            Self::UnknownMethod => ErrorKind::Unsupported,
            Self::BadName => ErrorKind::NotFound,
            // `BadArguments` and the like are ours to avoid, so they are no fault of the caller's.
            Self::IncorrectParameters | Self::BadArguments | Self::SignatureUnsupported => {
                ErrorKind::Internal
            }
            Self::ShutdownState => ErrorKind::Unavailable,
            Self::BadSignal | Self::NoFile | Self::NotExecutable | Self::AbnormalTermination => {
                ErrorKind::InvalidInput
            }
            Self::SpawnError => ErrorKind::InvalidInput,
            Self::AlreadyStarted | Self::NotRunning | Self::StillRunning | Self::CantReread => {
                ErrorKind::Conflict
            }
            Self::AlreadyAdded => ErrorKind::AlreadyExists,
            Self::Failed => ErrorKind::Internal,
            Self::Success | Self::Other(_) => ErrorKind::Protocol,
        }
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::UnknownMethod => "this supervisord is too old for it; 3.3 and newer have all methods",
            Self::ShutdownState => "supervisord is shutting down or restarting",
            Self::NoFile => "the program must exist on supervisord's host",
            Self::NotExecutable => "the program must be an executable file on supervisord's host",
            Self::AbnormalTermination | Self::SpawnError => "its log may say why",
            Self::CantReread => "mend the configuration file that it names; until then nothing can be added",
            _ => return None,
        })
    }
}

/// What supervisord answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: FaultCode,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code: FaultCode::of(code), text: text.into() }
    }

    /// The error of this fault. `attempt` is what was tried: "start the process".
    pub(crate) fn into_error(self, attempt: &str) -> Error {
        let kind = if self.text.contains("too many open files") || self.text.contains("process table") {
            ErrorKind::Exhausted
        } else {
            self.code.kind()
        };
        let error = Error::new(kind, format!("cannot {attempt}: {}", self.text));
        let error = match self.code {
            // It was tried, and what came of it is not said.
            FaultCode::Failed | FaultCode::Success | FaultCode::Other(_) => error,
            _ => error.with_outcome(Outcome::Rejected),
        };
        match self.code.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// The error of an answer whose status is not 200.
pub(crate) fn from_status(attempt: &str, status: u16) -> Error {
    let (kind, reason) = match status {
        401 => (ErrorKind::Unauthenticated, "the user or the password is wrong, or is missing"),
        403 => (ErrorKind::PermissionDenied, "access is forbidden"),
        404 => (ErrorKind::Protocol, "there is no XML-RPC at this address"),
        400 => (ErrorKind::Protocol, "it could not read the request"),
        408 | 504 => (ErrorKind::Timeout, "no answer in time"),
        429 => (ErrorKind::RateLimited, "too many requests"),
        502 | 503 => (ErrorKind::Unavailable, "what stands before supervisord cannot reach it"),
        500 => (ErrorKind::Internal, "an exception in supervisord; its own log has the traceback"),
        _ => (ErrorKind::Protocol, "an answer that XML-RPC does not know"),
    };
    let error = Error::new(kind, format!("cannot {attempt}: {reason} (HTTP {status})"));
    match status {
        400 | 401 | 403 | 404 | 429 => error.with_outcome(Outcome::Rejected),
        _ => error,
    }
}

/// The error of an exchange that did not come about, or broke.
pub(crate) fn from_transport(attempt: &str, endpoint: &str, failure: reqwest::Error) -> Error {
    // The address is in our own words; the library's would be that of a socket's made-up host.
    let failure = failure.without_url();
    let text = format!("cannot {attempt} at {endpoint}: {}", with_causes(&failure));
    let error = if failure.is_timeout() && failure.is_connect() {
        Error::timeout(text).with_outcome(Outcome::NotSent)
    } else if failure.is_timeout() {
        Error::timeout(text)
    } else if failure.is_connect() {
        let (kind, hint) = match io_kind(&failure) {
            Some(io::ErrorKind::PermissionDenied) => (
                ErrorKind::PermissionDenied,
                "`chmod` and `chown` of `[unix_http_server]` say who may connect",
            ),
            _ => (ErrorKind::Unavailable, "is supervisord running, and is the address right?"),
        };
        Error::new(kind, text).with_hint(hint).with_outcome(Outcome::NotSent)
    } else {
        Error::unavailable(text)
    };
    error.with_source(failure)
}

/// The error of an answer that is not what XML-RPC promises.
pub(crate) fn unreadable(attempt: &str, why: &str) -> Error {
    Error::protocol(format!("cannot {attempt}: the answer cannot be read: {why}"))
        .with_retry(RetryAdvice::Never)
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        current = cause.source();
    }
    None
}

fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_fault_has_its_kind_and_outcome() {
        use ErrorKind::*;
        for (code, kind, outcome) in [
            (1, Unsupported, Outcome::Rejected),
            (2, Internal, Outcome::Rejected),
            (3, Internal, Outcome::Rejected),
            (4, Internal, Outcome::Rejected),
            (6, Unavailable, Outcome::Rejected),
            (10, NotFound, Outcome::Rejected),
            (11, InvalidInput, Outcome::Rejected),
            (20, InvalidInput, Outcome::Rejected),
            (21, InvalidInput, Outcome::Rejected),
            (30, Internal, Outcome::Unknown),
            (40, InvalidInput, Outcome::Rejected),
            (50, InvalidInput, Outcome::Rejected),
            (60, Conflict, Outcome::Rejected),
            (70, Conflict, Outcome::Rejected),
            (80, Protocol, Outcome::Unknown),
            (90, AlreadyExists, Outcome::Rejected),
            (91, Conflict, Outcome::Rejected),
            (92, Conflict, Outcome::Rejected),
            (99, Protocol, Outcome::Unknown),
        ] {
            let error = Fault::new(code, "WORDS: web").into_error("try");
            assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{code}");
            assert!(error.message().contains("WORDS: web"), "{error}");
        }
    }

    #[test]
    fn a_full_machine_is_exhausted() {
        for words in
            ["too many open files to spawn 'web'", "Too many processes in process table to spawn 'web'"]
        {
            assert_eq!(Fault::new(50, words).into_error("start").kind(), ErrorKind::Exhausted);
        }
    }

    #[test]
    fn a_status_gives_a_kind() {
        for (status, kind, outcome) in [
            (400, ErrorKind::Protocol, Outcome::Rejected),
            (401, ErrorKind::Unauthenticated, Outcome::Rejected),
            (403, ErrorKind::PermissionDenied, Outcome::Rejected),
            (404, ErrorKind::Protocol, Outcome::Rejected),
            (500, ErrorKind::Internal, Outcome::Unknown),
            (502, ErrorKind::Unavailable, Outcome::Unknown),
            (504, ErrorKind::Timeout, Outcome::Unknown),
            (302, ErrorKind::Protocol, Outcome::Unknown),
        ] {
            let error = from_status("try", status);
            assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{status}");
        }
    }
}
