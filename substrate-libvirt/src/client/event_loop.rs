//! The one event loop of the process.
//!
//! libvirt delivers events, and answers keepalive messages, only while somebody runs its loop; and there is one
//! implementation per process. Registered after a connection was opened, that connection never tells anything and is
//! cut off by its keepalive timer: so this comes before every other call.

mod polled;

use std::sync::{Mutex, PoisonError};
use std::thread;

use substrate_core::{Error, Result};

/// Who runs the loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// A thread that this crate started.
    Ours,
    /// The program that this crate is part of.
    Theirs,
}

static OWNER: Mutex<Owner> = Mutex::new(Owner::Nobody);

/// Tells this crate that the program runs libvirt's event loop itself: it has registered an implementation and
/// runs it on a thread of its own. Without this, a thread is started with the first connection and runs a loop as
/// long as the process lives.
///
/// Idempotent. To be called before the first connection of this crate.
///
/// # Errors
/// `Conflict` when this crate has started its own loop already.
pub fn use_own_event_loop() -> Result<()> {
    let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if *owner == Owner::Ours {
        return Err(Error::conflict("libvirt's event loop runs already, on a thread of this crate")
            .with_hint("say so before the first connection is opened"));
    }
    *owner = Owner::Theirs;
    Ok(())
}

/// Starts the loop unless it runs.
pub(super) fn ensure() -> Result<()> {
    let mut owner = OWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if *owner != Owner::Nobody {
        return Ok(());
    }
    // Or the library prints every error on the program's standard error.
    virt::error::clear_error_callback();
    let run = polled::register()
        .map_err(|error| Error::internal("libvirt's event loop cannot be made").with_source(error))?;
    thread::Builder::new()
        .name("libvirt-events".to_owned())
        .spawn(run)
        .map_err(|error| Error::internal("no thread for libvirt's event loop").with_source(error))?;
    *owner = Owner::Ours;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loop_runs_and_a_second_owner_is_refused() {
        ensure().unwrap();
        ensure().unwrap();
        assert!(use_own_event_loop().unwrap_err().is_conflict());
    }
}
