//! Logs. What a guest wrote to its console is not kept by Proxmox VE: it can only be followed while the guest runs. What
//! is kept is the log of what was done to it, its tasks.
//!
//! So they are two logs, and a call reads one of them. A follower of a running guest gets what the guest writes, and
//! nothing before: `lines` and `since` choose among lines that were kept, of which there are none. The tasks' lines are
//! not put before it: nobody who waits for the first line of a guest expects one that the guest did not write, and
//! they would not go on.

use futures_util::{StreamExt, TryStreamExt, stream};
use substrate_core::provider::in_context;
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
        let about = self.descriptor.about(Operation::GetLogs, name.clone());
        if options.follow
            && guest.runs()
            && let Some(console) = self.console(&guest).await?
        {
            return Ok(in_context(console, about));
        }
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
        Ok(in_context(stream::iter(lines.into_iter().map(Ok)).boxed(), about))
    }
}
