//! Commands.

use std::sync::Arc;

use substrate_core::{
    Command, CommandOutput, CommandSession, Error, EventKind, InstanceName, Operation, Result,
};

use crate::call::Call;
use crate::guest::{self, launch};
use crate::inner::Inner;

/// Starts a command and opens its streams.
pub(super) async fn open(
    inner: &Arc<Inner>,
    call: &Call<'_>,
    name: &InstanceName,
    command: &Command,
    with_input: bool,
) -> Result<CommandSession> {
    command.validate()?;
    command.require_features(&inner.descriptor.capabilities)?;
    let launched = call
        .change(|change| {
            let launched = launch(change, name, command)?;
            // The program alone: arguments often hold secrets.
            change.happened(EventKind::CommandExecuted, &launched.instance, command.argv.first().cloned());
            Ok(launched)
        })
        .await?;
    Ok(guest::open(inner, launched, command, with_input, call.generation))
}

/// Runs a command to its end.
pub(super) async fn execute(
    inner: &Arc<Inner>,
    call: &Call<'_>,
    name: &InstanceName,
    command: &Command,
) -> Result<CommandOutput> {
    let with_input = command.interactive || command.input.is_some();
    let run = async {
        let session = open(inner, call, name, command, with_input).await?;
        session.collect(command.input.clone(), command.output_limit).await
    };
    let result = match command.timeout {
        None => run.await,
        Some(timeout) => tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
            Err(Error::timeout(format!("the command did not end within {timeout:?}"))
                .with_operation(Operation::ExecuteCommand))
        }),
    };
    result.map_err(|error| match error.operation() {
        // The streams belong to this call, whatever they call themselves.
        Some(Operation::OpenCommand) => {
            let again = Error::new(error.kind(), error.message())
                .with_outcome(error.outcome())
                .with_retry(error.retry());
            again.with_source(error)
        }
        _ => error,
    })
}
