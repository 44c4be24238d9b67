//! What the cluster did to a guest: the logs of its tasks. A console is not recorded by Proxmox VE.

use futures_util::{StreamExt, TryStreamExt, stream};
use substrate_core::{Error, InstanceName, LogLine, LogOptions, LogSource, LogStream, Operation, Result};

use super::ProxmoxSubstrate;
use crate::client::{Form, Upid, path};
use crate::convert::guest::time;
use crate::convert::inventory::Task;

/// How many of a guest's tasks are looked at.
const TASKS: usize = 200;
/// How many logs are read at once.
const READS: usize = 8;

impl ProxmoxSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        options.require_features(&self.descriptor.get().capabilities)?;
        let guest = self.guest(name).await?;
        // A number is given again: what was done to its former bearer is not this guest's log.
        let born = guest.marks().and_then(|marks| marks.created).unwrap_or_default();
        let since = options.since.map(crate::convert::guest::seconds).unwrap_or_default();
        let query = Form::new()
            .with("vmid", guest.vmid)
            .with("limit", TASKS)
            .with("source", "all")
            .with("since", since.max(born));
        let mut tasks: Vec<Task> =
            self.client.get("list the guest's tasks", &path(&["nodes", &guest.node, "tasks"]), query).await?;
        tasks.sort_by_key(|task| (task.starttime, Upid::from_text(&task.upid).started_ticks()));
        let read = tasks.into_iter().map(|task| async move {
            let lines = match self.client.log(&Upid::from_text(&task.upid)).await {
                // Old logs are thrown away.
                Err(error) if error.is_not_found() || error.is_invalid_input() => Vec::new(),
                lines => lines?,
            };
            let written = Some(time(task.starttime));
            Ok::<_, Error>(lines.into_iter().filter(|line| line != "no content").map(move |text| LogLine {
                time: written,
                source: LogSource::System,
                message: text,
            }))
        });
        let all: Vec<_> = stream::iter(read).buffered(READS).try_collect().await?;
        let mut lines: Vec<LogLine> = all.into_iter().flatten().collect();
        if let Some(count) = options.lines {
            lines.drain(..lines.len().saturating_sub(count));
        }
        let about = self.about(Operation::GetLogs, name.clone());
        Ok(stream::iter(lines.into_iter().map(Ok)).map_err(about).boxed())
    }
}
