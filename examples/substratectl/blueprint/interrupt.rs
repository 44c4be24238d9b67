//! Ctrl-C: once to stop in order, twice to stop at once.

use std::io::{self, Write};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;

use crate::ending::{self, Ending};

/// Listens as long as it is kept.
pub(super) struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls `stop` on the first interrupt, and ends the process on the second: the journal makes that as safe as the end
/// of any other process.
pub(super) fn listen(stop: impl FnOnce() + Send + 'static) -> Result<Listening, Ending> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listening = tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        stop();
        // Nobody may be there to read it: that is no reason to go on.
        let _ =
            writeln!(io::stderr(), "stopping: what was begun is finished; interrupt again to stop at once");
        next(&mut interrupt, &mut terminate).await;
        let _ = writeln!(io::stderr(), "stopped: run the same again to go on");
        std::process::exit(i32::from(ending::INTERRUPTED));
    });
    Ok(Listening(listening.abort_handle()))
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
