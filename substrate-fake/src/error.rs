//! The words for what goes wrong: one place, so that the same failure reads the same everywhere.

use std::fmt::Display;

use substrate_core::{Error, InstanceState, Outcome, RetryAdvice};

pub(crate) fn no_instance(name: impl Display) -> Error {
    Error::not_found(format!("there is no instance `{name}`"))
}

pub(crate) fn no_snapshot(instance: impl Display, snapshot: impl Display) -> Error {
    Error::not_found(format!("instance `{instance}` has no snapshot `{snapshot}`"))
}

pub(crate) fn no_network(name: impl Display) -> Error {
    Error::not_found(format!("there is no network `{name}`"))
}

pub(crate) fn no_volume(name: impl Display) -> Error {
    Error::not_found(format!("there is no volume `{name}`"))
}

pub(crate) fn no_image(reference: impl Display) -> Error {
    Error::not_found(format!("the image `{reference}` is not at hand"))
        .with_hint("fetch it with ensure_image, or name it when the fake is built")
}

pub(crate) fn taken(what: &str, name: impl Display) -> Error {
    Error::already_exists(format!("there is {what} `{name}` already"))
}

/// The present state forbids it.
pub(crate) fn wrong_state(name: impl Display, state: InstanceState, hint: &str) -> Error {
    Error::conflict(format!("instance `{name}` is {state}")).with_hint(hint)
}

/// The server was not reached at all: certainly nothing happened.
pub(crate) fn unreachable() -> Error {
    Error::unavailable("the fake's daemon is down")
        .with_outcome(Outcome::NotSent)
        .with_retry(RetryAdvice::Safe)
}

/// The server went away between the request and the answer.
pub(crate) fn connection_lost() -> Error {
    Error::unavailable("the connection to the fake's daemon was lost")
        .with_outcome(Outcome::Unknown)
        .with_retry(RetryAdvice::Safe)
}

pub(crate) fn answer_lost() -> Error {
    Error::timeout("the answer did not come").with_outcome(Outcome::Unknown).with_retry(RetryAdvice::Safe)
}
