//! The table from what goes wrong with an API server to kinds and outcomes.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use kube::core::Status;
use substrate_core::{Error, ErrorKind, Outcome, RetryAdvice};

/// Kinds by the `reason` of a status; what is not here is decided by the code.
const REASONS: &[(&str, ErrorKind)] = &[
    ("Unauthorized", ErrorKind::Unauthenticated),
    ("Forbidden", ErrorKind::PermissionDenied),
    ("NotFound", ErrorKind::NotFound),
    ("AlreadyExists", ErrorKind::AlreadyExists),
    ("Conflict", ErrorKind::Conflict),
    ("Invalid", ErrorKind::InvalidInput),
    ("BadRequest", ErrorKind::InvalidInput),
    ("RequestEntityTooLarge", ErrorKind::InvalidInput),
    ("NotAcceptable", ErrorKind::Unsupported),
    ("MethodNotAllowed", ErrorKind::Unsupported),
    ("UnsupportedMediaType", ErrorKind::Unsupported),
    ("TooManyRequests", ErrorKind::RateLimited),
    ("ServiceUnavailable", ErrorKind::Unavailable),
    ("Timeout", ErrorKind::Timeout),
    // The server did not get its own answer in time; whether the change was made it does not know either.
    ("ServerTimeout", ErrorKind::Timeout),
    ("Gone", ErrorKind::Conflict),
    ("Expired", ErrorKind::Conflict),
    ("InternalError", ErrorKind::Internal),
];

/// What the server says when a namespace has no more of something: it is `Forbidden`, and no lack of rights.
const QUOTA: &[&str] = &["exceeded quota", "maximum cpu usage", "maximum memory usage"];

/// The error of an answer that is not a success. `attempt` is what was tried: "start the instance"; `pause` the seconds
/// that the server asks to wait.
pub(crate) fn from_status(attempt: &str, status: &Status, pause: Option<u32>) -> Error {
    let by_reason = REASONS.iter().find(|(reason, _)| *reason == status.reason).map(|(_, kind)| *kind);
    let mut kind = by_reason.unwrap_or(match status.code {
        400 | 413 | 422 => ErrorKind::InvalidInput,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        405 | 406 | 415 | 501 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::Timeout,
        409 | 410 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        502 | 503 => ErrorKind::Unavailable,
        500..=599 => ErrorKind::Internal,
        _ => ErrorKind::Protocol,
    });
    if kind == ErrorKind::PermissionDenied && QUOTA.iter().any(|words| status.message.contains(words)) {
        kind = ErrorKind::Exhausted;
    }
    // Older servers call it a failure of their own.
    let is_unreadable = status.message.contains("failed to create typed patch object");
    if is_unreadable {
        kind = ErrorKind::InvalidInput;
    }
    let message = if status.message.is_empty() { "no reason given" } else { status.message.trim() };
    let mut error = Error::new(kind, format!("cannot {attempt}: {message} (HTTP {})", status.code));
    // A refusal before anything was done. 504 and 500 say nothing of the kind.
    if matches!(status.code, 400..=499 | 503) || is_unreadable {
        error = error.with_outcome(Outcome::Rejected);
    }
    let told = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    let pause = pause.unwrap_or(0).max(told);
    if pause > 0 && kind != ErrorKind::InvalidInput {
        error = error.with_retry(RetryAdvice::After(Duration::from_secs(pause.into())));
    }
    error
}

/// Whether the server no longer has the version that it was asked for: then one has to list again.
pub(crate) fn is_expired(status: &Status) -> bool {
    status.code == 410 || matches!(status.reason.as_str(), "Expired" | "Gone")
}

/// Whether an apply found another version than it named: of the thing `is_asked`, by kind and name (a quota that is
/// contested is a conflict too), or one with fields that are somebody else's.
pub(crate) fn is_taken(status: &Status, is_asked: impl Fn(&str, &str) -> bool) -> bool {
    status.code == 409
        && status.reason == "Conflict"
        && status.details.as_ref().is_some_and(|details| {
            is_asked(&details.kind, &details.name)
                || details.causes.iter().any(|cause| cause.reason == "FieldManagerConflict")
        })
}

/// The error of a request that got no whole answer.
pub(crate) fn from_request(attempt: &str, server: &str, error: kube::Error) -> Error {
    let error = match error {
        kube::Error::Api(status) => return from_status(attempt, &status, None),
        error => error,
    };
    let text = format!("cannot {attempt}: {server}: {}", with_causes(&error));
    match &error {
        kube::Error::Auth(_) => {
            return Error::unauthenticated(text)
                .with_hint("check the token or the exec plugin of the kubeconfig's user")
                .with_outcome(Outcome::NotSent)
                .with_source(error);
        }
        kube::Error::RustlsTls(_) => {
            return Error::invalid_input(text).with_outcome(Outcome::NotSent).with_source(error);
        }
        _ => {}
    }
    if is_tls(&error) {
        // Either way the server has carried nothing out.
        return Error::unauthenticated(text)
            .with_hint("check the kubeconfig's authority, certificate and key")
            .with_outcome(Outcome::NotSent)
            .with_source(error);
    }
    if text.contains("(Connect)") && text.contains("deadline has elapsed") {
        return Error::timeout(text)
            .with_hint("is the address right?")
            .with_outcome(Outcome::NotSent)
            .with_source(error);
    }
    if is_connect(&error) {
        return Error::unavailable(text)
            .with_hint("is the API server running? see `kubeconfig`, KUBECONFIG")
            .with_outcome(Outcome::NotSent)
            .with_source(error);
    }
    Error::unavailable(text).with_outcome(Outcome::Unknown).with_source(error)
}

/// The error of a kubeconfig that cannot be used.
pub(crate) fn from_kubeconfig(error: impl StdError + Send + Sync + 'static) -> Error {
    Error::invalid_input(format!("the kubeconfig cannot be used: {}", with_causes(&error)))
        .with_hint("see `kubeconfig`, `context`, KUBECONFIG; in a pod, its service account")
        .with_source(error)
}

pub(crate) fn timeout(attempt: &str, server: &str, limit: Duration) -> Error {
    Error::timeout(format!("cannot {attempt}: {server} did not answer within {limit:?}"))
}

/// An error and what caused it, each said once: some repeat their causes in their own text.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut found = vec![error];
    let mut present = error;
    while found.len() < 32 {
        // An I/O error hides the error that it wraps from `source`.
        let wrapped = present.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let below = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| present.source());
        let Some(below) = below else { break };
        found.push(below);
        present = below;
    }
    found
}

fn is_tls(error: &kube::Error) -> bool {
    causes(error).into_iter().any(|cause| {
        let words = cause.to_string();
        ["invalid peer certificate", "received fatal alert", "certificate required", "UnknownIssuer"]
            .iter()
            .any(|alert| words.contains(alert))
    })
}

fn is_connect(error: &kube::Error) -> bool {
    causes(error).into_iter().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
                    | io::ErrorKind::NotFound
            )
        }) || cause.to_string().contains("dns error")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> Status {
        Status { code, reason: reason.to_owned(), message: message.to_owned(), ..Status::default() }
    }

    #[test]
    fn every_status_has_its_kind_and_outcome() {
        use ErrorKind::*;
        for (code, reason, kind, outcome) in [
            (400, "BadRequest", InvalidInput, Outcome::Rejected),
            (401, "Unauthorized", Unauthenticated, Outcome::Rejected),
            (403, "Forbidden", PermissionDenied, Outcome::Rejected),
            (404, "NotFound", NotFound, Outcome::Rejected),
            (404, "", NotFound, Outcome::Rejected),
            (405, "MethodNotAllowed", Unsupported, Outcome::Rejected),
            (409, "AlreadyExists", AlreadyExists, Outcome::Rejected),
            (409, "Conflict", Conflict, Outcome::Rejected),
            (410, "Expired", Conflict, Outcome::Rejected),
            (422, "Invalid", InvalidInput, Outcome::Rejected),
            (429, "TooManyRequests", RateLimited, Outcome::Rejected),
            (500, "InternalError", Internal, Outcome::Unknown),
            (500, "ServerTimeout", Timeout, Outcome::Unknown),
            (503, "ServiceUnavailable", Unavailable, Outcome::Rejected),
            (504, "Timeout", Timeout, Outcome::Unknown),
            (502, "", Unavailable, Outcome::Unknown),
        ] {
            let error = from_status("look", &status(code, reason, "why"), None);
            assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{code} {reason}");
            assert!(error.message().contains("why"));
        }
    }

    #[test]
    fn an_exceeded_quota_is_no_lack_of_rights() {
        let error = from_status(
            "create",
            &status(403, "Forbidden", "pods \"a\" is forbidden: exceeded quota: q"),
            None,
        );
        assert!(error.is_exhausted());
    }

    #[test]
    fn an_apply_that_cannot_be_read_was_refused() {
        let words = "failed to create typed patch object: .spec.x: field not declared in schema";
        let error = from_status("create", &status(500, "", words), None);
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidInput, Outcome::Rejected));
    }

    #[test]
    fn an_apply_in_a_taken_place_is_told_from_other_conflicts() {
        let conflict = |details: serde_json::Value| {
            serde_json::from_value::<Status>(serde_json::json!({
                "code": 409, "reason": "Conflict", "message": "x", "details": details
            }))
            .unwrap()
        };
        let taken = |status: &Status| is_taken(status, |kind, name| (kind, name) == ("pods", "web"));
        assert!(taken(&conflict(serde_json::json!({"kind": "pods", "name": "web"}))));
        let causes = serde_json::json!({"causes": [{"reason": "FieldManagerConflict", "field": ".spec"}]});
        assert!(taken(&conflict(causes)));
        assert!(!taken(&conflict(serde_json::json!({"kind": "resourcequotas", "name": "web"}))));
        assert!(!taken(&status(409, "Conflict", "x")));
    }

    #[test]
    fn both_forms_of_an_expired_version_are_known() {
        assert!(is_expired(&status(410, "", "")));
        assert!(is_expired(&status(0, "Expired", "")));
        assert!(is_expired(&status(410, "Gone", "")));
        assert!(!is_expired(&status(404, "NotFound", "")));
    }
}
