//! Nothing is changed that somebody did not agree to.

use std::io::{self, IsTerminal, Write};

use substrates::engine::plan::Plan;
use substrates::{Error, ErrorKind};

use super::arguments::Consent;
use crate::ending::Ending;

/// Whether there is somebody to ask, where asking is needed.
pub(super) fn can_be_given(consent: &Consent, command: &str) -> Result<(), Ending> {
    if consent.yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(Ending::Usage(format!(
        "{command} changes things, and there is nobody to ask here: look at the plan, then give --yes"
    )))
}

/// Shows a plan and asks.
pub(super) async fn given(consent: &Consent, plan: &Plan) -> Result<(), Ending> {
    if consent.yes || plan.is_empty() {
        return Ok(());
    }
    write!(io::stderr(), "{plan}Shall this be done? [y/N] ")?;
    io::stderr().flush()?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await.map_err(|error| Error::internal(error.to_string()))??;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::new(ErrorKind::Cancelled, "nothing was done: nobody agreed").into()),
    }
}
