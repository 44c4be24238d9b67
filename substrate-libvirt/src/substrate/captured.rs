//! Commands whose output the guest agent keeps until their end: where it cannot be laid in files.
//!
//! libvirt takes no answer of an agent that is larger than 4 MiB, and cuts the channel at one; and the agent tells the
//! end of a command only when nobody holds its output open any more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use substrate_core::provider::Wait;
use substrate_core::{BoxStream, CommandEvent, Error, ExitStatus, Outcome, Result};

use super::agent::Agent;
use super::exec::{Which, lost_end};

/// How much the agent keeps of each stream, before it drops the rest.
const KEPT: &str = "16 MiB";
const CHANNEL_IS_CUT: &str = "libvirt cuts the agent's channel at an answer of more than 4 MiB, some 3 MiB of output, until \
     the machine starts again: let a command that writes more write into a file";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Status {
    exited: bool,
    #[serde(rename = "exitcode")]
    exit_code: Option<i32>,
    signal: Option<i32>,
    out_data: Option<String>,
    err_data: Option<String>,
    #[serde(default)]
    out_truncated: bool,
    #[serde(default)]
    err_truncated: bool,
}

/// What comes of a command that was started: nothing until it has ended.
pub(super) fn output(agent: Agent, machine: String, pid: i64) -> BoxStream<Result<CommandEvent>> {
    let end = async move {
        let events = match end(&agent, &machine, pid).await {
            Ok(events) => events.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(events)
    };
    stream::once(end).flatten().boxed()
}

/// Asks until it has ended. The answer that says so is given once: with it lost, the end is lost.
async fn end(agent: &Agent, machine: &str, pid: i64) -> Result<Vec<CommandEvent>> {
    let mut wait = Wait::without_end();
    loop {
        let asked = agent.ask(machine, "guest-exec-status", Some(Which { pid })).await;
        let status: Status = asked.map_err(|error| lost_end(&error).with_hint(CHANNEL_IS_CUT))?;
        if status.exited {
            return events(status);
        }
        wait.pause().await;
    }
}

pub(super) fn events(status: Status) -> Result<Vec<CommandEvent>> {
    if status.out_truncated || status.err_truncated {
        return Err(Error::exhausted(format!(
            "the command wrote more than the {KEPT} per stream that the guest agent keeps"
        ))
        .with_outcome(Outcome::Unknown)
        .with_hint("let it write into a file"));
    }
    let mut events = Vec::with_capacity(3);
    if let Some(data) = decoded(status.out_data)? {
        events.push(CommandEvent::Stdout(data));
    }
    if let Some(data) = decoded(status.err_data)? {
        events.push(CommandEvent::Stderr(data));
    }
    events.push(CommandEvent::Exited(exit_status(status.exit_code, status.signal)?));
    Ok(events)
}

pub(super) fn exit_status(code: Option<i32>, signal: Option<i32>) -> Result<ExitStatus> {
    match (code, signal) {
        (Some(code), _) => Ok(ExitStatus::Code(code)),
        (None, Some(signal)) => Ok(ExitStatus::Signal(signal)),
        (None, None) => Err(Error::protocol("the guest agent says that it ended, and not how")),
    }
}

pub(super) fn decoded(data: Option<String>) -> Result<Option<Bytes>> {
    let Some(data) = data.filter(|data| !data.is_empty()) else { return Ok(None) };
    let bytes = STANDARD
        .decode(data)
        .map_err(|error| Error::protocol(format!("the guest agent's output cannot be read: {error}")))?;
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Status {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_end_is_read_with_both_streams_apart() {
        let events = events(status(
            r#"{"exited":true,"exitcode":3,"out-data":"aGkK","err-data":"/w==","out-truncated":false}"#,
        ))
        .unwrap();
        assert_eq!(
            events,
            [
                CommandEvent::Stdout(Bytes::from_static(b"hi\n")),
                CommandEvent::Stderr(Bytes::from_static(b"\xff")),
                CommandEvent::Exited(ExitStatus::Code(3)),
            ]
        );
        let killed = super::events(status(r#"{"exited":true,"signal":9}"#)).unwrap();
        assert_eq!(killed, [CommandEvent::Exited(ExitStatus::Signal(9))]);
    }

    #[test]
    fn output_that_the_agent_cut_is_an_error() {
        let cut = status(r#"{"exited":true,"exitcode":0,"out-data":"aGkK","out-truncated":true}"#);
        assert!(events(cut).unwrap_err().is_exhausted());
    }
}
