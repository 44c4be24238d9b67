//! Files in a machine, written by its guest agent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use substrate_core::{Error, InstanceName, Operation, Result};

use super::LibvirtSubstrate;
use super::agent::Agent;

/// Bytes per message to the agent, whose parser loses its way in much longer ones.
const PIECE: usize = 32 << 10;

#[derive(Serialize)]
struct Open<'a> {
    path: &'a str,
    mode: &'static str,
}

#[derive(Serialize)]
struct Write {
    handle: i64,
    #[serde(rename = "buf-b64")]
    data: String,
}

#[derive(Deserialize)]
struct Written {
    count: usize,
}

#[derive(Serialize)]
struct Close {
    handle: i64,
}

impl LibvirtSubstrate {
    /// Writes a file in a running machine, by its guest agent: what was in it is replaced. Waits for the agent as a
    /// command does.
    ///
    /// Repeating it does no harm. Not atomic: a reader may see a part, and a dropped call leaves one.
    ///
    /// # Errors
    /// `NotFound` for the machine; `Conflict` when it does not run; `InvalidInput` for a path that is not absolute, or
    /// that the guest cannot write to; `Unavailable` without an agent.
    pub async fn write_file(&self, name: &InstanceName, path: &str, content: &[u8]) -> Result<()> {
        let write = async {
            self.require(Operation::ExecuteCommand)?;
            if !path.starts_with('/') || path.contains('\0') {
                return Err(Error::invalid_input(format!("`{}` is no absolute path", path.escape_debug())));
            }
            let machine = self.agent_is_there(name).await?;
            let agent = self.agent();
            let handle: i64 = agent
                .ask(&machine, "guest-file-open", Some(Open { path, mode: "w" }))
                .await
                .map_err(|error| could_not_open(error, path))?;
            let written = write_all(&agent, &machine, handle, content).await;
            // Closed in any case: the agent keeps what is open until it ends.
            let closed: Result<serde_json::Value> =
                agent.ask(&machine, "guest-file-close", Some(Close { handle })).await;
            written.and(closed.map(drop))
        };
        write.await.map_err(self.descriptor.about(Operation::ExecuteCommand, name))
    }
}

async fn write_all(agent: &Agent, machine: &str, handle: i64, mut content: &[u8]) -> Result<()> {
    while !content.is_empty() {
        let piece = content.get(..PIECE.min(content.len())).unwrap_or_default();
        let write = Write { handle, data: STANDARD.encode(piece) };
        let written: Written = agent.ask(machine, "guest-file-write", Some(write)).await?;
        if written.count == 0 {
            return Err(Error::exhausted("the guest takes no more of the file; is its disk full?"));
        }
        content = content.get(written.count..).unwrap_or_default();
    }
    Ok(())
}

fn could_not_open(error: Error, path: &str) -> Error {
    if error.message().contains("failed to open file") {
        return Error::invalid_input(format!("the guest cannot write to `{path}`: {}", error.message()))
            .with_outcome(substrate_core::Outcome::Rejected);
    }
    error
}
