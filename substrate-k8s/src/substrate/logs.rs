//! Logs: of the pod that the instance is now, and of its container's run before the present one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use substrate_core::{BoxStream, Error, InstanceName, LogLine, LogOptions, LogStream, Operation, Result};

use super::K8sSubstrate;
use super::machines::Launcher;
use crate::client::{Client, Resource, Target};
use crate::convert::lines::LineAssembler;
use crate::convert::pod::Pod;
use crate::convert::state;
use crate::convert::time;

const ATTEMPT: &str = "read the log";

/// Which part of a pod's log.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    lines: Option<usize>,
    since: Option<SystemTime>,
    follow: bool,
    /// Of the container's run before the present one.
    previous: bool,
}

impl K8sSubstrate {
    pub(super) async fn logs(&self, name: &InstanceName, options: &LogOptions) -> Result<LogStream> {
        let descriptor = self.descriptor.get();
        descriptor.require(Operation::GetLogs)?;
        options.require_features(&descriptor.capabilities)?;
        let found = self.find(name).await?;
        let pods = found.pods();
        // A stopped instance has no pod, and its log went with it.
        let Some(pod) = state::current(&pods) else { return Ok(stream::empty().boxed()) };
        let launcher = self.launcher(pod).await?;
        let pod = match &launcher {
            // It comes before its pod does.
            Launcher::Awaited => return Ok(stream::empty().boxed()),
            Launcher::Pod(launcher) if !launcher.has_console() => {
                return Err(Error::unsupported(
                    "KubeVirt does not keep what this machine writes to its console",
                )
                .with_hint("`logSerialConsole` is off in the machine or in KubeVirt's own configuration"));
            }
            Launcher::Pod(launcher) => launcher.as_ref(),
            Launcher::NotNeeded => pod,
        };
        let part = Part { lines: options.lines, since: options.since, follow: false, previous: false };
        if options.follow {
            return self.follow(pod, part).await;
        }
        let mut lines = self.lines_of(pod, part).await?;
        if pod.log_status().is_some_and(|status| status.restart_count > 0) {
            let mut before = self.lines_of(pod, Part { previous: true, ..part }).await?;
            // Between two runs the present one is the one before: it is read twice then.
            if before != lines {
                before.append(&mut lines);
                lines = before;
            }
        }
        let surplus = options.lines.map_or(0, |most| lines.len().saturating_sub(most));
        Ok(stream::iter(lines.into_iter().skip(surplus).map(Ok)).boxed())
    }

    async fn lines_of(&self, pod: &Pod, part: Part) -> Result<Vec<LogLine>> {
        match open(&self.client, self.client.namespace().await?, pod, part).await {
            Ok(bytes) => whole(lines(bytes), part.since).try_collect().await,
            Err(error) if has_no_log(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn follow(&self, pod: &Pod, part: Part) -> Result<LogStream> {
        let namespace = self.client.namespace().await?.to_owned();
        let mut follower = Follower {
            client: self.client.clone(),
            namespace,
            pod: pod.clone(),
            part: Part { follow: true, ..part },
            lines: None,
            opened: false,
            last: None,
            again: 0,
            repeated: 0,
        };
        // Now, so that the last lines are those of this moment.
        if !follower.open_again().await? {
            return Ok(stream::empty().boxed());
        }
        Ok(stream::unfold(Some(follower), Follower::step).boxed())
    }
}

/// Nothing was written yet, or there was no run before.
fn has_no_log(error: &substrate_core::Error) -> bool {
    let words = error.message();
    error.is_not_found()
        || ["is waiting to start", "previous terminated container", "ContainerCreating", "is not available"]
            .iter()
            .any(|phrase| words.contains(phrase))
}

async fn open(client: &Client, namespace: &str, pod: &Pod, part: Part) -> Result<BoxStream<Result<Bytes>>> {
    let flag = |is: bool| if is { "true" } else { "false" };
    let lines = part.lines.map(|lines| lines.to_string());
    let since = part.since.map(time::format);
    let target: Target = Resource::Pods
        .one(namespace, &pod.metadata.name)
        .segment("log")
        .maybe("container", pod.log_container())
        .with("timestamps", "true")
        .with("follow", flag(part.follow))
        .with("previous", flag(part.previous))
        .maybe("tailLines", lines.as_deref())
        .maybe("sinceTime", since.as_deref());
    client.stream(ATTEMPT, &target).await
}

fn lines(bytes: BoxStream<Result<Bytes>>) -> BoxStream<Result<LogLine>> {
    let state = (bytes, LineAssembler::default(), false);
    stream::try_unfold(state, |(mut bytes, mut assembler, mut ended)| async move {
        loop {
            if let Some(line) = assembler.next() {
                return Ok(Some((line, (bytes, assembler, ended))));
            }
            if ended {
                let last = assembler.finish();
                return Ok(last.map(|line| (line, (bytes, assembler, ended))));
            }
            match bytes.next().await {
                Some(piece) => assembler.push(&piece?),
                None => ended = true,
            }
        }
    })
    .boxed()
}

/// The server counts in seconds.
fn whole(lines: BoxStream<Result<LogLine>>, since: Option<SystemTime>) -> BoxStream<Result<LogLine>> {
    match since {
        None => lines,
        Some(since) => lines
            .try_filter(move |line| std::future::ready(line.time.is_none_or(|time| time >= since)))
            .boxed(),
    }
}

/// A log that is followed. Its connection ends when the node rotates the log, when the container starts anew and when the
/// API server does: whether the pod is still there decides what the end means.
struct Follower {
    client: Arc<Client>,
    namespace: String,
    pod: Pod,
    part: Part,
    lines: Option<BoxStream<Result<LogLine>>>,
    /// Whether it was open before.
    opened: bool,
    /// The time of the last line, and how many were handed on with that time.
    last: Option<(SystemTime, usize)>,
    /// How many lines of that time come again, after the log was opened anew.
    again: usize,
    /// How often it was opened anew without a line having come.
    repeated: u32,
}

/// How often a log that says nothing is opened anew, at growing intervals: together about a minute, in which an API server
/// is back.
const REPETITIONS: u32 = 14;

impl Follower {
    async fn step(state: Option<Self>) -> Option<(Result<LogLine>, Option<Self>)> {
        let mut follower = state?;
        match follower.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(follower))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            let mut broken = None;
            if let Some(lines) = &mut self.lines {
                match lines.next().await {
                    Some(Ok(line)) => {
                        if self.is_new(&line) {
                            self.repeated = 0;
                            return Ok(Some(line));
                        }
                        continue;
                    }
                    Some(Err(error)) => broken = Some(error),
                    None => {}
                }
                self.lines = None;
            }
            match self.open_again().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if error.is_unavailable() || error.is_timeout() => broken = Some(error),
                Err(error) => return Err(error),
            }
            if self.repeated > REPETITIONS {
                return broken.map_or(Ok(None), Err);
            }
            if self.repeated > 0 {
                let pause = 50_u64 << self.repeated.min(7);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            self.repeated += 1;
        }
    }

    /// False when the instance is not there any more, or will write nothing more.
    async fn open_again(&mut self) -> Result<bool> {
        let target = Resource::Pods.one(&self.namespace, &self.pod.metadata.name);
        let now: Option<Pod> = self.client.find(ATTEMPT, &target).await?;
        let Some(now) = now.filter(|now| now.metadata.uid == self.pod.metadata.uid) else {
            return Ok(false);
        };
        let runs = now.log_status().is_some_and(|status| status.state.running.is_some());
        let ends = now.is_over() || (now.metadata.is_going() && !runs);
        if ends && self.opened {
            return Ok(false);
        }
        let mut part = self.part;
        if let Some((last, count)) = self.last {
            // From the beginning of that second.
            (part.lines, part.since) = (None, Some(last));
            self.again = count;
        }
        match open(&self.client, &self.namespace, &now, part).await {
            Ok(bytes) => {
                self.lines = Some(whole(lines(bytes), part.since));
                self.opened = true;
                self.pod = now;
                Ok(true)
            }
            Err(error) if has_no_log(&error) => Ok(!ends),
            Err(error) => Err(error),
        }
    }

    /// Remembers a line; false when it was handed on before the log was opened anew.
    fn is_new(&mut self, line: &LogLine) -> bool {
        let Some(time) = line.time else { return true };
        match &mut self.last {
            Some((last, _)) if time == *last && self.again > 0 => {
                self.again -= 1;
                false
            }
            Some((last, count)) if time == *last => {
                *count += 1;
                true
            }
            last => {
                *last = Some((time, 1));
                self.again = 0;
                true
            }
        }
    }
}
