//! The one event loop of the process.
//!
//! libvirt delivers events, and answers keepalive messages, only while somebody runs its loop; and there is one
//! implementation per process. Registered after a connection was opened, that connection never tells anything and is
//! cut off by its keepalive timer: so this comes before every other call.

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
/// runs it on a thread of its own. Without this, a thread is started with the first connection and runs libvirt's
/// default loop as long as the process lives.
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
    virt::event::event_register_default_impl()
        .map_err(|error| Error::internal(format!("libvirt's event loop cannot be registered: {error}")))?;
    thread::Builder::new()
        .name("libvirt-events".to_owned())
        .spawn(|| {
            loop {
                // One round: sleeps until something happens. A failure concerns that round only.
                if virt::event::event_run_default_impl().is_err() {
                    thread::yield_now();
                }
            }
        })
        .map_err(|error| Error::internal(format!("no thread for libvirt's event loop: {error}")))?;
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
