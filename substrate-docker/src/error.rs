//! The table from what goes wrong with a daemon to kinds and outcomes.

use std::error::Error as StdError;
use std::io;

use serde::Deserialize;
use substrate_core::{Error, ErrorKind, Outcome, RetryAdvice};

use crate::client::TransportError;

/// Phrases of a daemon that decide what a status alone leaves open. The first that fits wins.
/// Statuses are coarse: 403 is "pool overlaps", 500 is "no such program" as well as "disk full".
const PHRASES: &[(&str, ErrorKind)] = &[
    ("is already in use by container", ErrorKind::AlreadyExists),
    ("already in use by", ErrorKind::AlreadyExists),
    ("network with name", ErrorKind::AlreadyExists),
    ("removal of container", ErrorKind::Busy),
    ("is already in progress", ErrorKind::Busy),
    ("multiple ids found", ErrorKind::Conflict),
    ("pool overlaps", ErrorKind::Conflict),
    ("overlaps with other", ErrorKind::Conflict),
    ("active endpoints", ErrorKind::Conflict),
    ("volume is in use", ErrorKind::Conflict),
    ("address already in use", ErrorKind::Conflict),
    ("port is already allocated", ErrorKind::Conflict),
    ("no space left on device", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("no available ipv4", ErrorKind::Exhausted),
    ("no available network", ErrorKind::Exhausted),
    ("could not find an available", ErrorKind::Exhausted),
    ("predefined address pools", ErrorKind::Exhausted),
    ("too many open files", ErrorKind::Exhausted),
    ("executable file not found", ErrorKind::InvalidInput),
    ("unable to start container process", ErrorKind::InvalidInput),
    ("starting container process caused", ErrorKind::InvalidInput),
    ("unable to find user", ErrorKind::InvalidInput),
    ("invalid cidr", ErrorKind::InvalidInput),
    ("invalid subnet", ErrorKind::InvalidInput),
    ("no configured subnet", ErrorKind::InvalidInput),
    ("user specified ip address is supported", ErrorKind::InvalidInput),
    ("is paused", ErrorKind::Conflict),
    ("is not running", ErrorKind::Conflict),
    ("unauthorized", ErrorKind::Unauthenticated),
];

/// The error of an answer that is not a success. `attempt` is what was tried: "start the container".
pub(crate) fn from_status(attempt: &str, status: u16, message: &str) -> Error {
    let kind = kind_of(status, message);
    let message = if message.is_empty() { "no reason given" } else { message.trim() };
    let error = Error::new(kind, format!("cannot {attempt}: {message} (HTTP {status})"));
    match (status, kind) {
        // A refusal before anything was done. The daemon reports a failure half way as 5xx.
        (400..=499, _) | (_, ErrorKind::InvalidInput | ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
            error.with_outcome(Outcome::Rejected)
        }
        // Docker's own "not now" (shutting down, no swarm manager); proxies use 502 and 504.
        (503, _) => error.with_outcome(Outcome::Rejected),
        _ => error,
    }
}

fn kind_of(status: u16, message: &str) -> ErrorKind {
    let lower = message.to_lowercase();
    // 401 and 404 mean one thing each; everything else is worth a look at the words.
    let by_words = || PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, kind)| *kind);
    match status {
        401 => ErrorKind::Unauthenticated,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        408 | 504 => ErrorKind::Timeout,
        502 | 503 => ErrorKind::Unavailable,
        405 | 501 => ErrorKind::Unsupported,
        _ => by_words().unwrap_or(match status {
            403 => ErrorKind::PermissionDenied,
            409 => ErrorKind::Conflict,
            400..=499 => ErrorKind::InvalidInput,
            500..=599 => ErrorKind::Internal,
            _ => ErrorKind::Protocol,
        }),
    }
}

/// What a daemon wrote about its refusal: `{"message": …}`, or plain text from a proxy.
pub(crate) fn message_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        // A proxy's page can be long, and only its beginning says anything.
        Err(_) => String::from_utf8_lossy(body).chars().take(300).collect(),
    }
}

/// The error of a connection that did not come about, or broke.
pub(crate) fn from_transport(attempt: &str, failure: TransportError) -> Error {
    match &failure {
        TransportError::Connect { error, .. } => {
            let text = format!("cannot {attempt}: {failure}");
            let (kind, hint) = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    (ErrorKind::PermissionDenied, "the socket belongs to root and the group `docker`")
                }
                io::ErrorKind::NotFound => (ErrorKind::Unavailable, "is the daemon running? see DOCKER_HOST"),
                io::ErrorKind::TimedOut => (ErrorKind::Timeout, "is the address right?"),
                _ if is_tls(&failure) => {
                    (ErrorKind::Unauthenticated, "check `tls.ca` and the host name in its certificate")
                }
                _ => (ErrorKind::Unavailable, "is the daemon running? see DOCKER_HOST"),
            };
            Error::new(kind, text).with_hint(hint).with_outcome(Outcome::NotSent).with_source(failure)
        }
        TransportError::Broken { .. } if is_tls(&failure) => {
            // With TLS 1.3 a server refuses the client's certificate after the handshake, in place of an
            // answer.
            Error::unauthenticated(format!("cannot {attempt}: {}", with_causes(&failure)))
                .with_hint("check `tls.cert` and `tls.key`")
                .with_outcome(Outcome::NotSent)
                .with_source(failure)
        }
        TransportError::Broken { .. } => {
            Error::unavailable(format!("cannot {attempt}: {}", with_causes(&failure))).with_source(failure)
        }
    }
}

/// The error of an answer that broke off.
pub(crate) fn broken(attempt: &str, error: &(dyn StdError + 'static)) -> Error {
    Error::unavailable(format!("cannot {attempt}: the daemon's answer broke off: {}", with_causes(error)))
}

/// The error of one of bollard's calls.
pub(crate) fn from_bollard(attempt: &str, error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as Bollard;
    match error {
        Bollard::DockerResponseServerError { status_code, message } => {
            from_status(attempt, status_code, &message)
        }
        Bollard::DockerStreamError { error } => Error::internal(format!("cannot {attempt}: {error}")),
        Bollard::IOError { err } => match err.downcast::<TransportError>() {
            Ok(failure) => from_transport(attempt, failure),
            Err(err) => broken(attempt, &err),
        },
        Bollard::HyperResponseError { err } => broken(attempt, &err),
        Bollard::RequestTimeoutError => Error::timeout(format!("cannot {attempt}: no answer in time")),
        other => Error::protocol(format!(
            "cannot {attempt}: the answer is not what the API promises: {}",
            with_causes(&other)
        ))
        .with_retry(RetryAdvice::Never),
    }
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

#[cfg(feature = "tls")]
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

#[cfg(not(feature = "tls"))]
fn is_tls(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_gives_a_kind() {
        for (status, kind) in [
            (400, ErrorKind::InvalidInput),
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::PermissionDenied),
            (404, ErrorKind::NotFound),
            (405, ErrorKind::Unsupported),
            (409, ErrorKind::Conflict),
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
    fn the_words_of_real_daemons_decide_what_the_status_leaves_open() {
        for (status, words, kind) in [
            (
                409,
                "Conflict. The container name \"/a\" is already in use by container \"f0\".",
                ErrorKind::AlreadyExists,
            ),
            (409, "removal of container a is already in progress", ErrorKind::Busy),
            (403, "Pool overlaps with other one on this address space", ErrorKind::Conflict),
            (403, "error while removing network: network n id f0 has active endpoints", ErrorKind::Conflict),
            (403, "Address already in use", ErrorKind::Conflict),
            (500, "write /x: no space left on device", ErrorKind::Exhausted),
            (
                400,
                "OCI runtime create failed: exec: \"/no/such\": stat /no/such: no such file or directory: unable to start container process",
                ErrorKind::InvalidInput,
            ),
            (
                500,
                "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated",
                ErrorKind::Conflict,
            ),
            (409, "Container f0 is not running", ErrorKind::Conflict),
            (400, "Multiple IDs found with provided prefix: ab", ErrorKind::Conflict),
        ] {
            assert_eq!(from_status("try", status, words).kind(), kind, "{words}");
        }
    }

    #[test]
    fn a_refusal_did_nothing_and_a_failure_half_way_may_have() {
        assert_eq!(from_status("try", 409, "x").outcome(), Outcome::Rejected);
        assert_eq!(from_status("try", 503, "x").outcome(), Outcome::Rejected);
        assert_eq!(from_status("try", 500, "x").outcome(), Outcome::Unknown);
        assert_eq!(from_status("try", 502, "x").outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_refused_connection_sent_nothing() {
        let failure = TransportError::Connect {
            endpoint: "unix:///x".to_owned(),
            error: io::Error::from(io::ErrorKind::ConnectionRefused),
        };
        let error = from_transport("list", failure);
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent));
        assert!(error.to_string().contains("unix:///x"));
    }

    #[test]
    fn a_proxys_page_is_shown_short() {
        assert_eq!(message_of(br#"{"message":"no"}"#), "no");
        assert_eq!(message_of("<html>".repeat(100).as_bytes()).len(), 300);
    }
}
