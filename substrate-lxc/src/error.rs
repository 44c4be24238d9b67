//! The table from what goes wrong with a server to kinds and outcomes.

use std::error::Error as StdError;
use std::io;

use substrate_core::{Error, ErrorKind, Outcome};

/// Phrases of the servers that decide what a code leaves open. The first that fits wins. Codes are coarse: 400 is
/// "instance is running" as well as "invalid name", and an operation that failed has no code at all on LXD.
const PHRASES: &[(&str, ErrorKind)] = &[
    ("is busy running a", ErrorKind::Busy),
    // LXD waited for another change of the instance, and does not go on by itself.
    ("non-reusable operation", ErrorKind::Busy),
    // Incus makes a network while an interface of another goes.
    ("failed to delete bridge children interfaces", ErrorKind::Busy),
    ("already being", ErrorKind::Busy),
    ("already exists", ErrorKind::AlreadyExists),
    ("unique constraint failed", ErrorKind::AlreadyExists),
    ("already defined on another nic", ErrorKind::Conflict),
    ("already in use", ErrorKind::Conflict),
    ("in use", ErrorKind::Conflict),
    ("already running", ErrorKind::Conflict),
    ("already stopped", ErrorKind::Conflict),
    ("already frozen", ErrorKind::Conflict),
    ("instance is running", ErrorKind::Conflict),
    ("not running", ErrorKind::Conflict),
    ("isn't running", ErrorKind::Conflict),
    ("is frozen", ErrorKind::Conflict),
    ("isn't frozen", ErrorKind::Conflict),
    ("is protected", ErrorKind::Conflict),
    ("protection.delete", ErrorKind::Conflict),
    ("etag doesn't match", ErrorKind::Conflict),
    ("precondition failed", ErrorKind::Conflict),
    ("has volumes or snapshots that depend", ErrorKind::Conflict),
    ("no space left", ErrorKind::Exhausted),
    ("disk quota exceeded", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("reached maximum number", ErrorKind::Exhausted),
    ("exceed project limit", ErrorKind::Exhausted),
    ("couldn't find the image", ErrorKind::NotFound),
    ("image not provided", ErrorKind::NotFound),
    ("does not exist", ErrorKind::NotFound),
    ("doesn't exist", ErrorKind::NotFound),
    ("not found", ErrorKind::NotFound),
    ("not authorized", ErrorKind::PermissionDenied),
    ("is forbidden", ErrorKind::PermissionDenied),
    ("not allowed", ErrorKind::PermissionDenied),
    ("does not support", ErrorKind::Unsupported),
    ("doesn't support", ErrorKind::Unsupported),
    ("not supported", ErrorKind::Unsupported),
    ("not implemented", ErrorKind::Unsupported),
    ("criu", ErrorKind::Unsupported),
    ("unknown configuration key", ErrorKind::InvalidInput),
    ("invalid", ErrorKind::InvalidInput),
    ("daemon is shutting down", ErrorKind::Unavailable),
];

fn by_words(message: &str) -> Option<ErrorKind> {
    let lower = message.to_lowercase();
    PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, kind)| *kind)
}

/// The error of an answer that is not a success. `attempt` is what was tried: "start the instance".
pub(crate) fn from_status(attempt: &str, status: u16, message: &str) -> Error {
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        404 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::Timeout,
        412 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        502 | 503 => ErrorKind::Unavailable,
        501 => ErrorKind::Unsupported,
        _ => by_words(message).unwrap_or(match status {
            403 => ErrorKind::PermissionDenied,
            409 => ErrorKind::Conflict,
            400..=499 => ErrorKind::InvalidInput,
            500..=599 => ErrorKind::Internal,
            _ => ErrorKind::Protocol,
        }),
    };
    let message = if message.is_empty() { "no reason given" } else { message.trim() };
    let error = Error::new(kind, format!("cannot {attempt}: {message} (HTTP {status})"));
    // A refusal before anything was done; 503 is the servers' own "not now", while proxies use 502 and 504.
    if matches!(status, 400..=499 | 503) { error.with_outcome(Outcome::Rejected) } else { error }
}

/// Whether a change was refused because the thing has changed since it was read.
pub(crate) fn is_outdated(error: &Error) -> bool {
    error.is_conflict() && error.message().ends_with("(HTTP 412)")
}

/// The error of an operation that ended without success. What the words do not tell apart may have been done
/// in part.
pub(crate) fn from_operation(attempt: &str, message: &str) -> Error {
    let message = if message.is_empty() { "no reason given" } else { message.trim() };
    let kind = by_words(message).unwrap_or(ErrorKind::Internal);
    Error::new(kind, format!("cannot {attempt}: {message}"))
}

/// The error of a request that got no whole answer.
pub(crate) fn from_request(attempt: &str, endpoint: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let text = format!("cannot {attempt}: {endpoint}: {}", with_causes(&error));
    if is_tls(&error) {
        // With TLS 1.3 a server refuses the client's certificate after the handshake, in place of an answer.
        // Either way it has carried nothing out.
        return Error::unauthenticated(text)
            .with_hint("check `tls.server_certificate`, `tls.cert` and `tls.key`")
            .with_outcome(Outcome::NotSent)
            .with_source(error);
    }
    if error.is_connect() {
        let (kind, hint) = match io_kind(&error) {
            Some(io::ErrorKind::PermissionDenied) => {
                (ErrorKind::PermissionDenied, "the socket belongs to root and a group of the server's")
            }
            Some(io::ErrorKind::TimedOut) => (ErrorKind::Timeout, "is the address right?"),
            _ => (ErrorKind::Unavailable, "is the server running? see `address`, INCUS_SOCKET, LXD_DIR"),
        };
        return Error::new(kind, text).with_hint(hint).with_outcome(Outcome::NotSent).with_source(error);
    }
    if error.is_timeout() {
        return Error::timeout(text).with_source(error);
    }
    Error::unavailable(text).with_source(error)
}

/// The error of a stream that broke off.
pub(crate) fn broken(attempt: &str, error: &(dyn StdError + 'static)) -> Error {
    Error::unavailable(format!("cannot {attempt}: the connection broke off: {}", with_causes(error)))
}

pub(crate) fn with_causes(error: &(dyn StdError + 'static)) -> String {
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

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        current = cause.source();
    }
    None
}

fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(cause) = current {
        if cause.is::<rustls::Error>() {
            return true;
        }
        // An io::Error hides what it wraps from `source`, and shows that one's source instead.
        if let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && is_tls(inner)
        {
            return true;
        }
        current = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_alone_gives_a_kind() {
        for (status, kind) in [
            (400, ErrorKind::InvalidInput),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (409, ErrorKind::Conflict),
            (412, ErrorKind::Conflict),
            (429, ErrorKind::RateLimited),
            (500, ErrorKind::Internal),
            (501, ErrorKind::Unsupported),
            (502, ErrorKind::Unavailable),
            (503, ErrorKind::Unavailable),
            (504, ErrorKind::Timeout),
            (307, ErrorKind::Protocol),
        ] {
            assert_eq!(from_status("try", status, "").kind(), kind, "{status}");
        }
    }

    #[test]
    fn the_words_of_real_servers_decide_what_the_code_leaves_open() {
        for (status, words, kind) in [
            (400, "Instance is running", ErrorKind::Conflict),
            (400, "Instance is frozen", ErrorKind::Conflict),
            (400, "The network already exists", ErrorKind::AlreadyExists),
            (400, "The storage volume is still in use", ErrorKind::Conflict),
            (400, "Invalid instance name: Name must not start with a number", ErrorKind::InvalidInput),
            (500, "Image not provided for instance creation", ErrorKind::NotFound),
            (500, "Instance is busy running a \"stop\" operation", ErrorKind::Busy),
            (500, "The instance isn't running", ErrorKind::Conflict),
        ] {
            let error = from_status("try", status, words);
            assert_eq!(error.kind(), kind, "{words}");
            assert_eq!(error.outcome(), Outcome::Rejected, "{words}");
        }
    }

    #[test]
    fn what_an_operation_says_when_it_fails_gives_a_kind() {
        for (words, kind) in [
            (
                "Failed creating instance record: Add instance info to the database: This \"instances\" entry already exists",
                ErrorKind::AlreadyExists,
            ),
            (
                "Failed creating instance record: Failed initialising instance: Invalid devices: Device validation failed for \"eth0\": Failed loading device \"eth0\": Failed to load network \"nonet\" for project \"default\": Network not found",
                ErrorKind::NotFound,
            ),
            ("Snapshot deaf/two does not exist", ErrorKind::NotFound),
            ("The container is already frozen", ErrorKind::Conflict),
            ("Failed creating instance record: Unknown configuration key: foo.bar", ErrorKind::InvalidInput),
            ("write: no space left on device", ErrorKind::Exhausted),
        ] {
            assert_eq!(from_operation("try", words).kind(), kind, "{words}");
        }
        let unknown = from_operation("try", "Failed to run: forkstart: exit status 1");
        assert_eq!((unknown.kind(), unknown.outcome()), (ErrorKind::Internal, Outcome::Unknown));
    }
}
