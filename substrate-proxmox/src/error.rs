//! The table from what Proxmox VE says to kinds and outcomes.
//!
//! A status says little here: "does not exist", "can't lock file" and "already exists" are all 500, and a task that
//! failed has only words. So the words decide, and they are kept.

use std::error::Error as StdError;

use serde_json::{Map, Value};
use substrate_core::{Error, ErrorKind, Outcome, RetryAdvice};

/// Phrases that decide. The first that fits wins: a lock's "got timeout" comes before a guest's.
const PHRASES: &[(&str, ErrorKind)] = &[
    ("no quorum", ErrorKind::Unavailable),
    ("can't lock file", ErrorKind::Busy),
    ("is locked (", ErrorKind::Busy),
    ("-locked command timed out", ErrorKind::Busy),
    ("got lock timeout", ErrorKind::Busy),
    ("got lock request timeout", ErrorKind::Busy),
    ("powerdown failed - got timeout", ErrorKind::Timeout),
    ("already exists", ErrorKind::AlreadyExists),
    ("already used", ErrorKind::AlreadyExists),
    ("already running", ErrorKind::Conflict),
    ("not running", ErrorKind::Conflict),
    ("is running", ErrorKind::Conflict),
    ("container is running", ErrorKind::Conflict),
    ("running container", ErrorKind::Conflict),
    ("checksum mismatch", ErrorKind::Conflict),
    ("still in use", ErrorKind::Conflict),
    ("used in ha resources", ErrorKind::Conflict),
    ("protection mode enabled", ErrorKind::Conflict),
    ("can't remove vm", ErrorKind::Conflict),
    ("you can't start a vm if it's a template", ErrorKind::Conflict),
    ("not most recent snapshot", ErrorKind::Conflict),
    ("is not the most recent snapshot", ErrorKind::Conflict),
    ("no qemu guest agent configured", ErrorKind::Conflict),
    ("hostname lookup", ErrorKind::NotFound),
    ("no such cluster node", ErrorKind::NotFound),
    ("does not exist", ErrorKind::NotFound),
    ("no such", ErrorKind::NotFound),
    ("unable to find", ErrorKind::NotFound),
    ("snapshot feature is not available", ErrorKind::Unsupported),
    ("feature is not supported", ErrorKind::Unsupported),
    ("not enough space", ErrorKind::Exhausted),
    ("no space left", ErrorKind::Exhausted),
    ("not enough free space", ErrorKind::Exhausted),
    ("insufficient free space", ErrorKind::Exhausted),
    ("cannot allocate memory", ErrorKind::Exhausted),
    ("shrinking disks is not supported", ErrorKind::InvalidInput),
    ("only root can", ErrorKind::PermissionDenied),
    ("permission check failed", ErrorKind::PermissionDenied),
    ("permission denied", ErrorKind::PermissionDenied),
    ("got timeout", ErrorKind::Timeout),
    ("timed out", ErrorKind::Timeout),
];

fn by_words(text: &str) -> Option<ErrorKind> {
    let lower = text.to_lowercase();
    PHRASES.iter().find(|(phrase, _)| lower.contains(phrase)).map(|(_, kind)| *kind)
}

/// What the API wrote about its refusal: the body's message and its `errors`, or the reason in the status line.
/// Before version 8.4 of its server, and for every 401, the body says nothing.
pub(crate) fn words(reason: &str, body: &[u8]) -> String {
    let answer: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let mut text = answer.get("message").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    if text.is_empty() {
        text = reason.trim().to_owned();
    }
    if text.is_empty() {
        // A proxy's page can be long, and only its beginning says anything.
        text = String::from_utf8_lossy(body).trim().chars().take(300).collect();
    }
    if let Some(Value::Object(errors)) = answer.get("errors") {
        for (parameter, problem) in errors {
            let problem = problem.as_str().map_or_else(|| problem.to_string(), |text| text.trim().to_owned());
            text.push_str(&format!(" {parameter}: {problem};"));
        }
    }
    text.trim_end_matches(';').to_owned()
}

/// The error of an answer that is not a success. `attempt` is what was tried: "start the guest".
pub(crate) fn from_status(attempt: &str, status: u16, words: &str) -> Error {
    let kind = kind_of(status, words);
    let shown = if words.is_empty() { "no reason given" } else { words };
    let error = Error::new(kind, format!("cannot {attempt}: {shown} (HTTP {status})"));
    let rejected = match status {
        400..=499 | 501 | 506 => true,
        // The node behind this host was not reached.
        595 => true,
        596..=599 | 502..=504 => false,
        // An immediate refusal in known words is one before anything was done; anything else may be half way.
        _ => !matches!(kind, ErrorKind::Internal | ErrorKind::Timeout | ErrorKind::Protocol),
    };
    let error = error.with_outcome(if rejected { Outcome::Rejected } else { Outcome::Unknown });
    match (status, kind) {
        (403, _) => error.with_hint("a token with privilege separation needs rights of its own"),
        (_, ErrorKind::Busy) => error.with_retry(RetryAdvice::Safe),
        _ => error,
    }
}

fn kind_of(status: u16, words: &str) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        501 => ErrorKind::Unsupported,
        502 | 503 | 595 | 596 => ErrorKind::Unavailable,
        504 | 597..=599 => ErrorKind::Timeout,
        400 if words.contains("already exists") => ErrorKind::AlreadyExists,
        400 if words.contains("no such task") => ErrorKind::NotFound,
        400..=499 => ErrorKind::InvalidInput,
        500 => by_words(words).unwrap_or(ErrorKind::Internal),
        _ => ErrorKind::Protocol,
    }
}

/// The error of a task that ended with anything but success. `log` is what it wrote.
pub(crate) fn from_task(attempt: &str, exit_status: &str, log: &[String]) -> Error {
    // Not a verdict but the lack of one: the worker died before it wrote how it ended.
    let lost = exit_status.is_empty()
        || exit_status.contains("unexpected status")
        || exit_status.contains("unable to get last line")
        || exit_status.contains("unable to read tail");
    if lost {
        return Error::internal(format!(
            "cannot {attempt}: the task ended without a verdict (`{exit_status}`)"
        ))
        .with_outcome(Outcome::Unknown)
        .with_hint("somebody stopped it, or its node went down: look at the guest");
    }
    let kind = by_words(exit_status).unwrap_or(ErrorKind::Internal);
    let mut text = format!("cannot {attempt}: {exit_status}");
    let last: Vec<&str> = log
        .iter()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with("TASK ") && *line != "no content")
        .collect();
    // The verdict often repeats the last line.
    let context: Vec<&str> = last.iter().rev().take(4).rev().copied().collect();
    if !context.is_empty() {
        let joined: String = context.join("; ").chars().take(400).collect();
        text.push_str(&format!(" [task log: {joined}]"));
    }
    let rejected = !matches!(kind, ErrorKind::Internal);
    Error::new(kind, text).with_outcome(if rejected { Outcome::Rejected } else { Outcome::Unknown })
}

/// Whether the guest is not on the node that was asked: gone, or moved to another one.
pub(crate) fn is_not_here(error: &Error) -> bool {
    error.is_not_found() && {
        let text = error.message();
        (text.contains("Configuration file") || text.contains("unable to find configuration file"))
            && text.contains("does not exist")
    }
}

/// Whether a lock is in the way that another operation holds: the same call can succeed later.
pub(crate) fn is_locked(error: &Error) -> bool {
    error.is_busy()
}

/// Whether a backup, a migration or a human holds the guest's lock: that can take hours.
pub(crate) fn is_locked_for_long(error: &Error) -> bool {
    ["(backup)", "(migrate)", "(suspended)", "(fstrim)", "(mounted)"]
        .iter()
        .any(|lock| error.message().contains(lock))
}

/// The error of a connection that did not come about, broke, or was too slow.
pub(crate) fn from_transport(attempt: &str, host: &str, error: &reqwest::Error) -> Error {
    let text = format!("cannot {attempt}: {host}: {}", with_causes(error));
    if let Some(problem) = tls_problem(error) {
        return Error::unauthenticated(format!("cannot {attempt}: {host}: {problem}"))
            .with_outcome(Outcome::NotSent)
            .with_hint("set `ca` (/etc/pve/pve-root-ca.pem of the cluster) or `fingerprint`");
    }
    if error.is_connect() {
        return Error::unavailable(text)
            .with_outcome(Outcome::NotSent)
            .with_hint("is the host right, and pveproxy running there?");
    }
    if error.is_timeout() {
        return Error::timeout(text);
    }
    Error::unavailable(text)
}

fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut current = Some(error);
    while let Some(cause) = current {
        let words = cause.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        current = cause.source();
    }
    text
}

fn tls_problem(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut current = Some(error);
    while let Some(cause) = current {
        if let Some(problem) = cause.downcast_ref::<rustls::Error>() {
            return Some(problem.to_string());
        }
        // An io::Error hides what it wraps from `source`, and shows that one's source instead.
        if let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(problem) = tls_problem(inner)
        {
            return Some(problem);
        }
        current = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_real_daemon_decide() {
        for (status, text, kind) in [
            (500, "Configuration file 'nodes/pve/qemu-server/999.conf' does not exist", ErrorKind::NotFound),
            (500, "unable to create VM 100 - VM 100 already exists on node 'pve'", ErrorKind::AlreadyExists),
            (500, "unable to create VM 101: config file already exists", ErrorKind::AlreadyExists),
            (500, "CT 300 already exists on node 'pve'", ErrorKind::AlreadyExists),
            (500, "can't lock file '/var/lock/qemu-server/lock-120.conf' - got timeout", ErrorKind::Busy),
            (500, "VM is locked (backup)", ErrorKind::Busy),
            (500, "checksum mismatch (file change by other user?)", ErrorKind::Conflict),
            (500, "VM 200 is running - destroy failed", ErrorKind::Conflict),
            (500, "VM 100 not running", ErrorKind::Conflict),
            (500, "snapshot 'nosuch' does not exist", ErrorKind::NotFound),
            (500, "storage 'nosuch' does not exist", ErrorKind::NotFound),
            (500, "hostname lookup 'other' failed - failed to get address info", ErrorKind::NotFound),
            (400, "Parameter verification failed. vmid: VM 100 already exists", ErrorKind::AlreadyExists),
            (400, "Parameter verification failed. cores: type check", ErrorKind::InvalidInput),
            (401, "Authentication failed!", ErrorKind::Unauthenticated),
            (403, "Permission check failed (/vms/120, VM.Config.CPU)", ErrorKind::PermissionDenied),
            (500, "only root can set 'args' config", ErrorKind::PermissionDenied),
            (500, "error during cfs-locked 'storage-ceph' operation: no quorum!", ErrorKind::Unavailable),
            (500, "'storage-ceph'-locked command timed out - aborting", ErrorKind::Busy),
            (400, "Parameter verification failed. iface: interface already exists", ErrorKind::AlreadyExists),
            (595, "Connection refused", ErrorKind::Unavailable),
            (501, "Method 'GET /nosuch' not implemented", ErrorKind::Unsupported),
        ] {
            let error = from_status("try", status, text);
            assert_eq!(error.kind(), kind, "{text}");
            assert_eq!(error.outcome(), Outcome::Rejected, "{text}");
        }
    }

    #[test]
    fn a_node_that_breaks_off_behind_the_host_leaves_it_open() {
        let error = from_status("start the guest", 596, "Broken pipe");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
    }

    #[test]
    fn the_reason_of_an_empty_401_is_in_the_status_line() {
        assert_eq!(
            words("Permission denied - invalid csrf token", b""),
            "Permission denied - invalid csrf token"
        );
        assert_eq!(words("No ticket", br#"{"data":null}"#), "No ticket");
    }

    #[test]
    fn each_parameter_is_named_with_what_is_wrong_with_it() {
        let body = br#"{"data":null,"message":"Parameter verification failed.\n","errors":{"cores":"type check ('integer') failed - got 'x'"}}"#;
        let text = words("Parameter verification failed.", body);
        assert_eq!(text, "Parameter verification failed. cores: type check ('integer') failed - got 'x'");
    }

    #[test]
    fn a_task_tells_its_log_and_a_lost_verdict_is_open() {
        let log = ["creating a clone".to_owned(), "TASK ERROR: x".to_owned()];
        let error = from_task("clone", "VM is locked (backup)", &log);
        assert!(error.is_busy() && error.message().contains("creating a clone"), "{error}");
        assert!(is_locked_for_long(&error));
        assert_eq!(from_task("clone", "unexpected status", &[]).outcome(), Outcome::Unknown);
        assert_eq!(from_task("clone", "something new", &[]).outcome(), Outcome::Unknown);
        assert!(from_task("stop", "VM quit/powerdown failed - got timeout", &[]).is_timeout());
    }
}
