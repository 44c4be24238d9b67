//! Deleting: the process, then its group, then its logs, then its file. When it returns, the name is free.
//!
//! The file goes last: what a crash in between leaves still says whose it is, and can be deleted again.

use substrate_core::{Error, InstanceName, InstanceState, Result};

use super::{Shared, SupervisorSubstrate};
use crate::client::Call;
use crate::convert::record::Record;
use crate::error::FaultCode;
use crate::folder::{Folder, remove_logs};
use crate::name::missing;

const ATTEMPT: &str = "delete the program";

impl SupervisorSubstrate {
    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let folder = self.shared.require_folder()?;
        let short = self.shared.find(name).await?.address.short();
        let _held = self.names.hold("process", &short).await;
        // Somebody else on this handle may have been faster.
        let found = self.shared.find(name).await?;
        let Some(record) = found.record.clone() else {
            return Err(Error::conflict(
                "it was not created here: its section is in a file of somebody else's",
            )
            .with_hint("remove the section there, then let supervisord update"));
        };
        if let Some(process) = &found.process
            && !process.state.is_down()
        {
            if !force {
                let word = process.provider_state();
                let state: InstanceState = process.state.instance_state();
                return Err(Error::conflict(format!("it is {state} ({word})"))
                    .with_hint("stop it first, or delete with force"));
            }
            self.shared.kill(&found).await?;
        }
        let mut logs = record.logs.clone();
        if logs.is_empty()
            && let Some(process) = &found.process
            && self.shared.is_on_this_host().await?
        {
            // supervisord gave them their names, and forgets them with the group. One of another name is not from us.
            let told = [&process.stdout_log, &process.stderr_log].into_iter().flatten();
            logs.extend(told.filter(|log| is_named_by_supervisord(log, &record.name)).cloned());
        }
        if self.shared.remove_program(folder, &record, logs).await? {
            Ok(())
        } else {
            Err(missing(name.as_str()))
        }
    }
}

/// Whether a log has a name as supervisord makes them: `web-stdout---supervisor-a1b2c3.log`.
fn is_named_by_supervisord(log: &str, program: &str) -> bool {
    let name = log.rsplit('/').next().and_then(|name| name.strip_prefix(program));
    name.is_some_and(|rest| rest.starts_with("-stdout---") || rest.starts_with("-stderr---"))
}

impl Shared {
    /// Takes a stopped program out of supervisord and removes its files. False when it was gone already.
    pub(super) async fn remove_program(
        &self,
        folder: &Folder,
        record: &Record,
        logs: Vec<String>,
    ) -> Result<bool> {
        let remove = || Call::new("supervisor.removeProcessGroup").text(&record.name);
        match self.client.ask(ATTEMPT, remove()).await? {
            Ok(_) => {}
            Err(fault) if fault.code == FaultCode::BadName => {}
            Err(fault) if fault.code == FaultCode::StillRunning => {
                return Err(Error::conflict("it was started meanwhile").with_hint("delete it with force"));
            }
            Err(fault) => return Err(fault.into_error(ATTEMPT)),
        }
        remove_logs(logs).await?;
        let was_there = folder.remove(&record.name, &record.key).await?;
        if was_there {
            // Between the two somebody can have made supervisord load what it did not have.
            let calls = [Call::new("supervisor.reloadConfig"), remove()];
            let [reloaded, removed] = self.client.batch(ATTEMPT, calls).await?;
            // A file of somebody else's that cannot be read is no reason to fail: the name is free.
            drop(reloaded);
            if let Err(fault) = removed
                && fault.code != FaultCode::BadName
            {
                return Err(fault.into_error(ATTEMPT));
            }
        }
        Ok(was_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_supervisord_named_goes_with_its_program() {
        assert!(is_named_by_supervisord("/tmp/web-stdout---supervisor-a1b2.log", "web"));
        assert!(is_named_by_supervisord("/tmp/web-stderr---x-a1b2.log", "web"));
        for other in ["/var/log/web.log", "/tmp/web-2-stdout---supervisor-a1b2.log", "/dev/stdout"] {
            assert!(!is_named_by_supervisord(other, "web"), "{other}");
        }
    }
}
