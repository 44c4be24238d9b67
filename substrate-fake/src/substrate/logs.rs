//! Logs: the last lines, and those to come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream;
use substrate_core::{Feature, InstanceName, LogLine, LogOptions, LogSource, LogStream, Operation, Result};
use tokio::sync::watch;

use crate::call::Call;
use crate::error::connection_lost;
use crate::inner::Inner;

pub(super) async fn open(
    inner: &Arc<Inner>,
    call: &Call<'_>,
    name: &InstanceName,
    options: &LogOptions,
) -> Result<LogStream> {
    options.require_features(&inner.descriptor.capabilities)?;
    let apart = inner.descriptor.capabilities.can(Feature::LogStreamsApart);
    let reader = inner
        .read(call.lag(), |state, _| {
            let record = state.instance(name)?;
            let end = record.log.end();
            // Without a time the last lines are found by their numbers, without a look at the others.
            let first = match (options.lines, options.since) {
                (Some(last), None) => end.saturating_sub(last as u64),
                _ => 0,
            };
            let mut reader = Reader {
                inner: Arc::clone(inner),
                instance: record.config.name.clone(),
                id: record.id.clone(),
                run: record.run,
                generation: call.generation,
                pulse: record.pulse.subscribe(),
                since: options.since,
                apart,
                next: end,
                ready: VecDeque::new(),
                follows: options.follow,
            };
            let mut lines: VecDeque<LogLine> =
                record.log.range(first, end).filter(|line| reader.wants(line)).cloned().collect();
            if let Some(last) = options.lines {
                lines.drain(..lines.len().saturating_sub(last));
            }
            reader.ready = lines;
            Ok(reader)
        })
        .await?;
    let lines = stream::unfold(reader, |mut reader| async move {
        let line = reader.next().await?;
        Some((line, reader))
    });
    Ok(Box::pin(lines))
}

/// Reads the log of one run: it ends with that run, whatever comes after.
struct Reader {
    inner: Arc<Inner>,
    instance: InstanceName,
    id: String,
    run: u64,
    generation: u64,
    pulse: watch::Receiver<()>,
    since: Option<SystemTime>,
    apart: bool,
    /// The number of the first line that was not looked at.
    next: u64,
    ready: VecDeque<LogLine>,
    follows: bool,
}

impl Reader {
    fn wants(&self, line: &LogLine) -> bool {
        self.since.is_none_or(|since| line.time.is_none_or(|time| time >= since))
    }

    async fn next(&mut self) -> Option<Result<LogLine>> {
        loop {
            if let Some(mut line) = self.ready.pop_front() {
                if !self.apart {
                    line.source = LogSource::Stdout;
                }
                return Some(Ok(line));
            }
            if !self.follows {
                return None;
            }
            // Marked as seen before the look: a line that comes during the look is seen the next time.
            self.pulse.mark_unchanged();
            if let Err(error) = self.look() {
                self.follows = false;
                return Some(Err(error));
            }
            if self.ready.is_empty() && self.follows && self.pulse.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Takes what is new; stops following when the run has ended.
    fn look(&mut self) -> Result<()> {
        let core = self.inner.lock();
        if core.daemon.generation != self.generation {
            return Err(connection_lost()
                .with_operation(Operation::GetLogs)
                .with_substrate(Arc::clone(&self.inner.descriptor.name))
                .with_instance(&self.instance));
        }
        let Some(record) = core.state.instances.get(&self.instance).filter(|record| record.id == self.id)
        else {
            self.follows = false;
            return Ok(());
        };
        let same_run = record.run == self.run;
        let end = if same_run { record.log.end() } else { record.run_begins_at_line };
        let new: Vec<LogLine> =
            record.log.range(self.next, end).filter(|line| self.wants(line)).cloned().collect();
        self.follows = same_run && record.is_up();
        self.next = end;
        self.ready.extend(new);
        Ok(())
    }
}
