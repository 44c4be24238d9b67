//! What a process uses, from `/proc`, where supervisord runs on this host.

use substrate_core::{InstanceName, ResourceUsage, Result, UsageCounters};
use tokio::time::Instant;

use super::SupervisorSubstrate;
use crate::client::Call;
use crate::convert::process::Process;
use crate::convert::value::integer_of;
use crate::error::FaultCode;
use crate::folder::blocking;
use crate::host::usage_of;
use crate::name::missing;

const ATTEMPT: &str = "measure the process";

impl SupervisorSubstrate {
    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let found = self.shared.find(name).await?;
        if found.process.is_none() {
            return Ok(ResourceUsage::default());
        }
        // Both at one moment: the process' id and whose child it must be.
        let calls = [
            Call::new("supervisor.getProcessInfo").text(found.address.namespec()),
            Call::new("supervisor.getPID"),
        ];
        let [process, supervisord] = self.client().batch(ATTEMPT, calls).await?;
        let process = match process {
            Ok(value) => Process::read(&value)?,
            Err(fault) if fault.code == FaultCode::BadName => return Err(missing(name.as_str())),
            Err(fault) => return Err(fault.into_error(ATTEMPT)),
        };
        let supervisord = supervisord.map_err(|fault| fault.into_error(ATTEMPT))?;
        let (Some(_), true) = (process.pid, self.shared.is_here(&supervisord).await?) else {
            return Ok(ResourceUsage::default());
        };
        let Some(pid) = integer_of(&supervisord).and_then(|pid| u32::try_from(pid).ok()) else {
            return Ok(ResourceUsage::default());
        };
        // The next process of the name is another one: its counters begin anew.
        let id = format!("{} {:?}", found.address.namespec(), process.pid);
        let read = blocking(move || {
            let asked = Instant::now();
            Ok(usage_of(&process, pid).map(|usage| (usage, UsageCounters::read_since(asked))))
        });
        let Some((usage, counters)) = read.await? else { return Ok(ResourceUsage::default()) };
        let rates = self.meter.record(&id, UsageCounters { cpu_time: Some(usage.cpu_time), ..counters });
        #[allow(clippy::cast_precision_loss, reason = "a measurement needs no more than 52 bits")]
        let memory_mb = usage.resident_kib as f64 / 1024.0;
        Ok(ResourceUsage {
            cpu_percent: rates.cpu_percent,
            memory_mb: Some(memory_mb),
            ..ResourceUsage::default()
        })
    }
}
