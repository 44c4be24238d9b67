//! Commands inside a machine, through its guest agent, and files.
//!
//! The agent runs a program and keeps what it wrote until it is asked how it ended; that answer can be had once. There
//! is no stream: output arrives when the program has ended. A dropped session leaves the program running.
//!
//! The agent tells of an end when the process is gone and its output is closed on every side, so a child that inherited
//! it delays that. Running everything in a shell that detaches it would change that, and is what no provider does: what
//! is run is what was asked for.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{
    Command, CommandEvent, CommandInput, CommandSession, Error, ExitStatus, InstanceName, InstanceState,
    Outcome, Result, TerminalSize,
};
use tokio::time::sleep;

use super::ProxmoxSubstrate;
use super::lifecycle::{not_running, only_machines};
use super::locate::{guest_path, has_agent};
use super::waiting::wait_at_most;
use crate::client::{Client, Form};
use crate::convert::base64;
use crate::convert::guest::{Guest, Place};
use crate::convert::text::text;

/// How much a file may hold that is written at once: the API's limit, in Base64.
const FILE_LIMIT: usize = 61_440;
/// Between two looks at a command.
const FIRST_LOOK: std::time::Duration = std::time::Duration::from_millis(15);
const LONGEST_LOOK: std::time::Duration = std::time::Duration::from_millis(500);

#[derive(Debug, Deserialize)]
struct Begun {
    pid: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Progress {
    #[serde(default)]
    exited: Value,
    #[serde(default)]
    exitcode: Option<i32>,
    #[serde(default)]
    signal: Option<i32>,
    #[serde(default)]
    out_data: Option<String>,
    #[serde(default)]
    err_data: Option<String>,
    #[serde(default)]
    out_truncated: Value,
    #[serde(default)]
    err_truncated: Value,
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => text == "1",
        _ => false,
    }
}

/// Bytes of an answer: the API writes each byte as one character. Text with others was decoded on its way.
pub(super) fn bytes(text: &str) -> Bytes {
    let exact: Option<Vec<u8>> =
        text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    exact.map_or_else(|| Bytes::copy_from_slice(text.as_bytes()), Bytes::from)
}

impl ProxmoxSubstrate {
    /// A running machine with an agent.
    async fn with_agent(&self, name: &InstanceName) -> Result<Guest> {
        let guest = self.guest(name).await?;
        only_machines(&guest, "told to run a command: the API has no call for it")?;
        let state = guest.state();
        if state != InstanceState::Running {
            return Err(not_running(state));
        }
        if !text(&guest.config, "agent").is_some_and(|agent| has_agent(&agent)) {
            return Err(Error::conflict("the machine is not configured to have a guest agent")
                .with_hint("install qemu-guest-agent inside, and set the option `agent`"));
        }
        Ok(guest)
    }

    /// Calls the agent, waiting for one that is still on its way up.
    async fn call_agent<T, F>(&self, place: &mut Place, call: impl Fn(Place) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut wait = wait_at_most(self.config.agent_timeout);
        loop {
            match self.wherever(place, &call).await {
                Err(error) if error.message().contains("guest agent is not running") => {
                    if !wait.pause().await {
                        return Err(Error::unavailable(format!(
                            "the guest agent did not answer within {:?}",
                            self.config.agent_timeout
                        ))
                        .with_outcome(Outcome::Rejected)
                        .with_hint("is qemu-guest-agent installed and running inside?"));
                    }
                }
                result => return result,
            }
        }
    }

    pub(super) async fn open(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        command.validate()?;
        let capabilities = &self.descriptor.get().capabilities;
        command.require_features(capabilities)?;
        let mut place = self.with_agent(name).await?.place();
        let attempt = "start the command";
        let form = || command.argv.iter().fold(Form::new(), |form, word| form.with("command", word));
        let begun = self
            .call_agent(&mut place, |place| async move {
                let target = guest_path(&place, &["agent", "exec"]);
                let data = self.client.post(attempt, &target, form()).await.map_err(could_not_start)?;
                crate::client::understood::<Begun>(attempt, data)
            })
            .await?;
        let output = Output { client: self.client.clone(), place, pid: begun.pid };
        let events = stream::once(output.end()).flat_map(|end| {
            let events: Vec<Result<CommandEvent>> = match end {
                Ok(events) => events.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(events)
        });
        Ok(CommandSession::new(Box::new(NoInput), events.boxed()))
    }

    /// Writes a file inside a running machine, replacing what was there.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it does not run or has no agent; `Unsupported` for containers; `InvalidInput` for
    /// more than 45 KiB.
    pub async fn write_file(&self, name: &InstanceName, file: &str, content: &[u8]) -> Result<()> {
        let about = self.descriptor.about(substrate_core::Operation::ExecuteCommand, name);
        let write = async {
            let encoded = base64::encode(content);
            if encoded.len() > FILE_LIMIT {
                return Err(Error::invalid_input(format!(
                    "the agent takes files up to 45 KiB, not {} bytes",
                    content.len()
                )));
            }
            let mut place = self.with_agent(name).await?.place();
            let encoded = &encoded;
            self.call_agent(&mut place, |place| async move {
                // `encode=0` says that it is Base64 already: any byte can be in it.
                let form = Form::new().with("file", file).with("content", encoded).flag("encode", false);
                self.client.post("write the file", &guest_path(&place, &["agent", "file-write"]), form).await
            })
            .await
            .map(drop)
        };
        write.await.map_err(about)
    }
}

/// A program that cannot be started: newer daemons say so, others break the connection to themselves.
fn could_not_start(error: Error) -> Error {
    let message = error.message();
    let said = message.contains("Agent error") && message.contains("xec");
    let broke = message.contains("(HTTP 596)") && message.contains("Broken pipe");
    if said || broke {
        return Error::invalid_input(format!("the command could not be started: {message}"))
            .with_outcome(Outcome::Rejected)
            .with_hint("is the program there? the agent looks for it on its own PATH");
    }
    error
}

/// The reading side: nothing until the end, then everything.
struct Output {
    client: std::sync::Arc<Client>,
    place: Place,
    pid: i64,
}

impl Output {
    async fn end(self) -> Result<Vec<CommandEvent>> {
        let attempt = "ask for the command's end";
        let target = guest_path(&self.place, &["agent", "exec-status"]);
        let mut pause = FIRST_LOOK;
        loop {
            let query = Form::new().with("pid", self.pid);
            let progress: Progress = self.client.get(attempt, &target, query).await.map_err(|error| {
                // The command was started, whatever happened to the question; its end is told once only.
                error.with_outcome(Outcome::Unknown).with_hint("how the command ended is not known")
            })?;
            if !truth(&progress.exited) {
                sleep(pause).await;
                pause = (pause * 3 / 2).min(LONGEST_LOOK);
                continue;
            }
            if truth(&progress.out_truncated) || truth(&progress.err_truncated) {
                return Err(Error::exhausted(
                    "the guest agent keeps 16 MiB of output, and the command wrote more",
                )
                .with_outcome(Outcome::Unknown)
                .with_hint("write into a file inside the guest, and read that in parts"));
            }
            let status = match (progress.signal, progress.exitcode) {
                (Some(signal), _) => ExitStatus::Signal(signal),
                (None, Some(code)) => ExitStatus::Code(code),
                (None, None) => return Err(Error::protocol("the command ended without a status")),
            };
            let mut events = Vec::new();
            if let Some(data) = progress.out_data.filter(|data| !data.is_empty()) {
                events.push(CommandEvent::Stdout(bytes(&data)));
            }
            if let Some(data) = progress.err_data.filter(|data| !data.is_empty()) {
                events.push(CommandEvent::Stderr(bytes(&data)));
            }
            events.push(CommandEvent::Exited(status));
            return Ok(events);
        }
    }
}

/// The writing side: there is none.
struct NoInput;

#[async_trait]
impl CommandInput for NoInput {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Err(Error::conflict("the command's standard input is closed").with_outcome(Outcome::NotSent))
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
    fn every_byte_comes_back_from_the_character_that_stands_for_it() {
        let every: Vec<u8> = (0..=u8::MAX).collect();
        let text: String = every.iter().map(|byte| char::from(*byte)).collect();
        assert_eq!(bytes(&text), every);
        assert_eq!(bytes("☃"), "☃".as_bytes());
    }

    #[test]
    fn a_broken_pipe_of_the_daemon_is_a_program_that_did_not_start() {
        let error = crate::error::from_status("start the command", 596, "Broken pipe");
        let error = could_not_start(error);
        assert!(error.is_invalid_input() && error.outcome() == Outcome::Rejected, "{error}");
    }
}
