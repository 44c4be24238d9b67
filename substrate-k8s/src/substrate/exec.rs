//! Commands inside an instance: finding the pod that it is now, and asking for one.

use substrate_core::{
    Command, CommandSession, Error, InstanceName, InstanceState, Operation, Outcome, Result,
};

use super::K8sSubstrate;
use super::session;
use crate::client::{Resource, Target};
use crate::convert::pod::Pod;
use crate::convert::state;

const ATTEMPT: &str = "run the command";

impl K8sSubstrate {
    pub(super) async fn open(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        let descriptor = self.descriptor.get();
        descriptor.require(Operation::OpenCommand)?;
        command.validate()?;
        command.require_features(&descriptor.capabilities)?;
        let found = self.find(name).await?;
        let seen = found.seen(self.workload());
        let pods = found.pods();
        let pod = match state::current(&pods) {
            Some(pod) if seen.state == InstanceState::Running => pod,
            _ => {
                return Err(Error::conflict(format!("the instance is {}: {}", seen.state, seen.words))
                    .with_hint("start it first"));
            }
        };
        let socket = self.client.websocket(ATTEMPT, &self.exec_target(pod, command).await?).await.map_err(
            |error| {
                // The pod went between the look and the command; the server says so in several ways.
                let words = error.message();
                let gone = error.is_not_found()
                    || ["container not found", "is not running", "pod does not exist"]
                        .iter()
                        .any(|gone| words.contains(gone));
                if gone {
                    Error::conflict(format!("the instance does not run: {words}"))
                        .with_outcome(Outcome::Rejected)
                } else {
                    error
                }
            },
        )?;
        let open = command.interactive || command.input.is_some();
        session::begin(socket, open, command.terminal).await
    }

    async fn exec_target(&self, pod: &Pod, command: &Command) -> Result<Target> {
        let terminal = command.terminal.is_some();
        // Old nodes take a terminal without input for one that was left, and throw its output away.
        let input = command.interactive || command.input.is_some() || terminal;
        let flag = |is: bool| if is { "true" } else { "false" };
        let mut target = Resource::Pods
            .one(self.client.namespace().await?, &pod.metadata.name)
            .segment("exec")
            .maybe("container", pod.main_container())
            .with("stdin", flag(input))
            .with("stdout", "true")
            // A terminal has one output.
            .with("stderr", flag(!terminal))
            .with("tty", flag(terminal));
        for word in &command.argv {
            target = target.with("command", word);
        }
        Ok(target)
    }
}
