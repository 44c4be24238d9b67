//! Commands by the guest agent.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use substrate_core::{
    Command, CommandInput, CommandSession, Error, InstanceName, Operation, Outcome, Result, TerminalSize,
};

use super::{LibvirtSubstrate, captured, spooled};

/// Where a command's own environment takes the place of the agent's, programs are still to be found.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Exec {
    pub(super) path: String,
    pub(super) arg: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) env: Option<Vec<String>>,
    pub(super) capture_output: bool,
}

#[derive(Deserialize)]
pub(super) struct Started {
    pub(super) pid: i64,
}

#[derive(Serialize)]
pub(super) struct Which {
    pub(super) pid: i64,
}

impl LibvirtSubstrate {
    pub(super) async fn open(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        self.require(Operation::OpenCommand)?;
        command.validate()?;
        command.require_features(&self.descriptor.get().capabilities)?;
        let machine = self.agent_is_there(name).await?;
        let agent = self.agent();
        let (path, arguments) =
            command.argv.split_first().ok_or_else(|| Error::invalid_input("the command is empty"))?;
        let environment = environment(command);
        let spooled = spooled::start(&agent, &machine, &command.argv, environment.clone());
        if let Some(output) = spooled.await.map_err(could_not_start)? {
            return Ok(CommandSession::new(Box::new(NoInput), output));
        }
        let exec =
            Exec { path: path.clone(), arg: arguments.to_vec(), env: environment, capture_output: true };
        let started: Started =
            agent.ask(&machine, "guest-exec", Some(exec)).await.map_err(could_not_start)?;
        let output = captured::output(agent, machine, started.pid);
        Ok(CommandSession::new(Box::new(NoInput), output))
    }
}

fn environment(command: &Command) -> Option<Vec<String>> {
    if command.environment.is_empty() {
        return None;
    }
    let mut variables: Vec<String> =
        command.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if command.environment.get("PATH").is_none() {
        variables.push(PATH.to_owned());
    }
    Some(variables)
}

/// The agent says in words that a program could not be started.
fn could_not_start(error: Error) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| error.message().contains(word));
    if says(&["Failed to execute child process", "No such file or directory", "Permission denied"]) {
        return Error::invalid_input(error.message()).with_outcome(Outcome::Rejected);
    }
    if says(&["has been disabled", "not allowed"]) {
        return Error::permission_denied(error.message())
            .with_hint("the guest agent is configured to refuse `guest-exec`");
    }
    error
}

pub(super) fn lost_end(error: &Error) -> Error {
    Error::new(
        error.kind(),
        format!("the command was started, and its end is not known: {}", error.message()),
    )
    .with_outcome(Outcome::Unknown)
}

/// The input of a command that has none.
struct NoInput;

#[async_trait]
impl CommandInput for NoInput {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Err(Error::conflict("the input is closed: the guest agent's commands have none"))
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }

    async fn resize(&mut self, _: TerminalSize) -> Result<()> {
        Err(Error::unsupported("the command has no terminal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_does_not_take_the_programs_away() {
        let command = Command::new(["env"]).with_environment("A", "1");
        assert_eq!(environment(&command).unwrap(), ["A=1".to_owned(), PATH.to_owned()]);
        assert_eq!(environment(&Command::new(["env"])), None);
    }
}
