//! QEMU's guest agent: JSON over a channel into the machine.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use substrate_core::provider::Wait;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, Result};

use super::LibvirtSubstrate;
use super::lookup::{find, state_of};
use crate::client::{Client, Lane};
use crate::error::Attempt;

/// How long the agent may take for one answer, in seconds.
const ANSWER: i32 = 20;
/// How long a ping may take, in seconds.
const PING: i32 = 3;

#[derive(Serialize)]
struct Request<'a, A: Serialize> {
    execute: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<A>,
}

#[derive(Deserialize)]
struct Response<T> {
    #[serde(rename = "return")]
    value: T,
}

/// The way to the agents of a server's machines.
#[derive(Debug, Clone)]
pub(super) struct Agent(Arc<Client>);

impl Agent {
    /// Asks the agent of a running machine. An agent that is not there is `Unavailable`, what it refuses keeps its
    /// own words.
    async fn ask_within<A, T>(
        &self,
        machine: &str,
        execute: &'static str,
        arguments: Option<A>,
        seconds: i32,
    ) -> Result<T>
    where
        A: Serialize + Send,
        T: DeserializeOwned + Send + 'static,
    {
        let request = serde_json::to_string(&Request { execute, arguments })
            .map_err(|error| Error::internal(format!("the agent's request cannot be written: {error}")))?;
        let wanted = machine.to_owned();
        self.0
            .run(Lane::Agent, None, move |connection| {
                let domain = find(connection, &wanted)?;
                let answer = domain
                    .qemu_agent_command(&request, seconds, 0)
                    .attempt("ask the guest agent")
                    .map_err(without_stopped)?;
                let response: Response<T> = serde_json::from_str(&answer).map_err(|error| {
                    Error::protocol(format!("the guest agent's answer cannot be read: {error}"))
                })?;
                Ok(response.value)
            })
            .await
    }

    pub(super) async fn ask<A, T>(
        &self,
        machine: &str,
        execute: &'static str,
        arguments: Option<A>,
    ) -> Result<T>
    where
        A: Serialize + Send,
        T: DeserializeOwned + Send + 'static,
    {
        self.ask_within(machine, execute, arguments, ANSWER).await
    }
}

impl LibvirtSubstrate {
    pub(super) fn agent(&self) -> Agent {
        Agent(Arc::clone(&self.client))
    }

    /// Waits until the agent answers. That a machine has the channel says nothing: the agent comes late in a boot,
    /// or never. Returns the machine's UUID: what is asked afterwards is asked of this one.
    pub(super) async fn agent_is_there(&self, name: &InstanceName) -> Result<String> {
        let agent = self.agent();
        let patience: Duration = self.config.agent_timeout;
        let mut wait = Wait::at_most(patience);
        loop {
            let wanted = name.clone();
            let (state, uuid) = self
                .client
                .look(move |connection| {
                    let domain = find(connection, wanted.as_str())?;
                    let uuid = domain.uuid_string().attempt("ask for the machine's UUID")?;
                    Ok((state_of(&domain)?, uuid))
                })
                .await?;
            if state != InstanceState::Running {
                return Err(Error::conflict(format!("it is {state}: commands run in a running machine")));
            }
            match agent.ask_within::<(), serde_json::Value>(&uuid, "guest-ping", None, PING).await {
                Ok(_) => return Ok(uuid),
                Err(error)
                    if error.is_unavailable()
                        || error.is_timeout()
                        || error.is_conflict()
                        || error.is_busy() =>
                {
                    if !wait.pause().await {
                        return Err(Error::unavailable(format!(
                            "the guest agent did not answer within {patience:?}: {}",
                            error.message()
                        ))
                        .with_outcome(Outcome::NotSent)
                        .with_hint("is qemu-guest-agent installed and running in the machine?"));
                    }
                }
                Err(error)
                    if error.is_unsupported() || error.message().contains("agent is not configured") =>
                {
                    return Err(Error::unsupported("the machine has no channel for a guest agent")
                        .with_hint(
                            "machines made by this provider have one; add it to the domain's document",
                        ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// A machine that stopped under the question: the present state forbids it.
fn without_stopped(error: Error) -> Error {
    if error.message().contains("domain is not running") {
        return Error::conflict("it does not run");
    }
    error
}
