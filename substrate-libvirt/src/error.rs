//! The table from libvirt's errors to ours.

use substrate_core::{Error, ErrorKind, Outcome, Result};
use virt::sys;

/// The kind that a libvirt error number means where nothing more is known.
fn kind_of(code: u32, message: &str) -> ErrorKind {
    match code {
        sys::VIR_ERR_NO_DOMAIN
        | sys::VIR_ERR_NO_NETWORK
        | sys::VIR_ERR_NO_STORAGE_POOL
        | sys::VIR_ERR_NO_STORAGE_VOL
        | sys::VIR_ERR_NO_DOMAIN_SNAPSHOT
        | sys::VIR_ERR_NO_DOMAIN_METADATA => ErrorKind::NotFound,
        sys::VIR_ERR_DOM_EXIST | sys::VIR_ERR_NETWORK_EXIST | sys::VIR_ERR_STORAGE_VOL_EXIST => {
            ErrorKind::AlreadyExists
        }
        sys::VIR_ERR_OPERATION_INVALID => ErrorKind::Conflict,
        sys::VIR_ERR_NO_SUPPORT
        | sys::VIR_ERR_CONFIG_UNSUPPORTED
        | sys::VIR_ERR_OPERATION_UNSUPPORTED
        | sys::VIR_ERR_ARGUMENT_UNSUPPORTED => ErrorKind::Unsupported,
        sys::VIR_ERR_INVALID_ARG
        | sys::VIR_ERR_XML_ERROR
        | sys::VIR_ERR_XML_DETAIL
        | sys::VIR_ERR_XML_INVALID_SCHEMA
        | sys::VIR_ERR_INVALID_MAC => ErrorKind::InvalidInput,
        sys::VIR_ERR_AUTH_FAILED | sys::VIR_ERR_AUTH_CANCELLED | sys::VIR_ERR_AUTH_UNAVAILABLE => {
            ErrorKind::Unauthenticated
        }
        sys::VIR_ERR_OPERATION_DENIED | sys::VIR_ERR_ACCESS_DENIED => ErrorKind::PermissionDenied,
        sys::VIR_ERR_RESOURCE_BUSY | sys::VIR_ERR_OPERATION_TIMEOUT => ErrorKind::Busy,
        sys::VIR_ERR_AGENT_UNRESPONSIVE
        | sys::VIR_ERR_NO_CONNECT
        | sys::VIR_ERR_INVALID_CONN
        | sys::VIR_ERR_RPC => ErrorKind::Unavailable,
        sys::VIR_ERR_AGENT_COMMAND_TIMEOUT => ErrorKind::Timeout,
        sys::VIR_ERR_NO_MEMORY => ErrorKind::Exhausted,
        _ if is_end_of_machine(message) => ErrorKind::Conflict,
        sys::VIR_ERR_SYSTEM_ERROR if is_broken_wire(message) => ErrorKind::Unavailable,
        _ => by_message(message),
    }
}

/// Numbers that stand for anything at all are told apart by what is said with them.
fn by_message(message: &str) -> ErrorKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already exists with uuid", "already exists", "already defined with uuid"]) {
        return ErrorKind::AlreadyExists;
    }
    if says(&["No space left", "Cannot allocate memory"]) {
        return ErrorKind::Exhausted;
    }
    if says(&["is already in use by", "existing dhcp host entry", "in use"]) {
        return ErrorKind::Conflict;
    }
    if says(&["not running", "is not active"]) {
        return ErrorKind::Conflict;
    }
    if is_broken_wire(message) {
        return ErrorKind::Unavailable;
    }
    if says(&["Permission denied"]) {
        return ErrorKind::PermissionDenied;
    }
    ErrorKind::Internal
}

/// The machine's process ended while the daemon spoke with it. The wire to the daemon is whole, although it is reported
/// with the same words.
fn is_end_of_machine(message: &str) -> bool {
    ["Unable to read from monitor", "Unable to write to monitor", "End of file from qemu monitor"]
        .iter()
        .any(|words| message.contains(words))
}

fn is_broken_wire(message: &str) -> bool {
    [
        "client socket is closed",
        "End of file while reading",
        "End of file while writing",
        "Connection reset by peer",
        "Broken pipe",
        "Cannot recv data",
        "Cannot write data",
        "keepalive",
        "connection closed",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Whether the daemon has answered, so that its "no" is one.
fn outcome_of(kind: ErrorKind) -> Outcome {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout => Outcome::Unknown,
        // An answer that says no: nothing was done, or it was taken back.
        _ => Outcome::Rejected,
    }
}

/// Says what was attempted and what libvirt said to it.
pub(crate) fn translate(attempt: &str, failure: &virt::error::Error) -> Error {
    let code = failure.code().to_raw();
    let kind = kind_of(code, failure.message());
    let error = Error::new(kind, format!("cannot {attempt}: {}", failure.message()))
        .with_outcome(outcome_of(kind))
        .with_source(failure.clone());
    match kind {
        ErrorKind::PermissionDenied => {
            error.with_hint("the user needs the group `libvirt`, or a rule of polkit, for this server")
        }
        ErrorKind::Unauthenticated => error.with_hint("check the certificates, or the SASL or SSH login"),
        _ => error,
    }
}

/// A connection that could not be opened: nothing was sent.
pub(crate) fn not_connected(uri: &str, failure: &virt::error::Error) -> Error {
    let code = failure.code().to_raw();
    let kind = match kind_of(code, failure.message()) {
        kind @ (ErrorKind::Unauthenticated | ErrorKind::PermissionDenied) => kind,
        // A scheme that this build of the library has no driver for.
        _ if code == sys::VIR_ERR_NO_CONNECT && failure.message().contains("no connection driver") => {
            ErrorKind::InvalidInput
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("cannot connect to {}: {}", shown(uri), failure.message()))
        .with_outcome(Outcome::NotSent)
        .with_source(failure.clone())
        .with_hint("is the daemon running, and is the URI right? `virsh -c URI list` tries the same")
}

/// A URI without a password in it.
pub(crate) fn shown(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}/{path}")
}

/// `?` with what was attempted.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: &str) -> Result<T>;
    /// Nothing when the thing is not there.
    fn attempt_to_find(self, what: &str) -> Result<Option<T>>;
}

impl<T> Attempt<T> for std::result::Result<T, virt::error::Error> {
    fn attempt(self, what: &str) -> Result<T> {
        self.map_err(|failure| translate(what, &failure))
    }

    fn attempt_to_find(self, what: &str) -> Result<Option<T>> {
        match self.attempt(what) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_kinds() {
        for (code, kind) in [
            (sys::VIR_ERR_NO_DOMAIN, ErrorKind::NotFound),
            (sys::VIR_ERR_OPERATION_INVALID, ErrorKind::Conflict),
            (sys::VIR_ERR_NO_SUPPORT, ErrorKind::Unsupported),
            (sys::VIR_ERR_AUTH_FAILED, ErrorKind::Unauthenticated),
            (sys::VIR_ERR_RPC, ErrorKind::Unavailable),
            (sys::VIR_ERR_OPERATION_TIMEOUT, ErrorKind::Busy),
        ] {
            assert_eq!(kind_of(code, "x"), kind, "{code}");
        }
    }

    #[test]
    fn a_number_that_means_anything_is_read_by_its_words() {
        let of = |message: &str| kind_of(sys::VIR_ERR_OPERATION_FAILED, message);
        assert_eq!(of("domain 'a' already exists with uuid 1"), ErrorKind::AlreadyExists);
        assert_eq!(of("internal error: client socket is closed"), ErrorKind::Unavailable);
        assert_eq!(of("Network is already in use by interface virbr0"), ErrorKind::Conflict);
        assert_eq!(of("no idea"), ErrorKind::Internal);
    }

    #[test]
    fn a_machine_that_ends_in_mid_call_is_not_a_daemon_that_is_gone() {
        let of = |message: &str| kind_of(sys::VIR_ERR_SYSTEM_ERROR, message);
        assert_eq!(of("Unable to read from monitor: Connection reset by peer"), ErrorKind::Conflict);
        assert_eq!(of("Cannot recv data: Connection reset by peer"), ErrorKind::Unavailable);
    }

    #[test]
    fn a_lost_answer_leaves_the_effect_open_and_an_answer_does_not() {
        assert_eq!(outcome_of(ErrorKind::Unavailable), Outcome::Unknown);
        assert_eq!(outcome_of(ErrorKind::Internal), Outcome::Rejected);
    }

    #[test]
    fn a_password_in_a_uri_is_not_shown() {
        assert_eq!(shown("qemu+ssh://me:secret@host/system"), "qemu+ssh://me@host/system");
        assert_eq!(shown("qemu:///system?socket=/x"), "qemu:///system?socket=/x");
        assert_eq!(shown("test:///default"), "test:///default");
    }
}
