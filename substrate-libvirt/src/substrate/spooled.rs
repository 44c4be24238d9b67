//! Commands whose output goes through files of the guest, which its agent reads while they grow: of any length, and
//! without waiting for a child that holds the output open.
//!
//! The files are opened by the agent before the command begins, and their names are gone before it runs: nobody else
//! finds them, and nothing of them outlives the command and the agent. They lie where only root may look.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use substrate_core::provider::Wait;
use substrate_core::{BoxStream, CommandEvent, Error, ExitStatus, Outcome, Result};
use uuid::Uuid;

use super::agent::Agent;
use super::captured::{decoded, exit_status};
use super::exec::{Exec, Started, Which, lost_end};

const SHELL: &str = "/bin/sh";
const FOLDER: &str = "/run/substrates";
/// Bytes per answer. Encoded, far below what libvirt takes.
const PIECE: usize = 512 << 10;
/// Given the two files and the command. `$0` is a word that nobody else knows: written where an error goes, it says that
/// there was nothing to execute.
const SCRIPT: &str = r#"case "$3" in
*/*) [ -x "$3" ] && [ ! -d "$3" ] ;;
*) command -v "$3" >/dev/null 2>&1 ;;
esac || {
    printf %s "$0" >"$2"
    rm -f "$1" "$2"
    exit 127
}
exec >"$1" 2>"$2"
rm -f "$1" "$2" 2>/dev/null
shift 2
exec "$@""#;

#[derive(Serialize)]
struct Open<'a> {
    path: &'a str,
    mode: &'static str,
}

#[derive(Serialize)]
struct Handle {
    handle: i64,
}

#[derive(Serialize)]
struct Read {
    handle: i64,
    count: usize,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(rename = "buf-b64")]
    data: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    exited: bool,
    #[serde(rename = "exitcode")]
    exit_code: Option<i32>,
    signal: Option<i32>,
}

/// Starts a command; nothing when this guest has no place for files, or no shell.
pub(super) async fn start(
    agent: &Agent,
    machine: &str,
    argv: &[String],
    environment: Option<Vec<String>>,
) -> Result<Option<BoxStream<Result<CommandEvent>>>> {
    let word = Uuid::new_v4().to_string();
    let paths = ["out", "err"].map(|end| format!("{FOLDER}/{word}.{end}"));
    let [out, err] = &paths;
    let Some(stdout) = open(agent, machine, out).await? else { return Ok(None) };
    let mut files = Files { agent: agent.clone(), machine: machine.to_owned(), handles: vec![stdout] };
    let Some(stderr) = open(agent, machine, err).await? else { return Ok(None) };
    files.handles.push(stderr);
    let mut arguments = vec!["-c".to_owned(), SCRIPT.to_owned(), word.clone()];
    arguments.extend(paths.iter().cloned());
    arguments.extend(argv.iter().cloned());
    let exec = Exec { path: SHELL.to_owned(), arg: arguments, env: environment, capture_output: false };
    let started: Started = match agent.ask(machine, "guest-exec", Some(exec)).await {
        Ok(started) => started,
        Err(error) if error.message().contains("Failed to execute child process") => return Ok(None),
        Err(error) => return Err(error),
    };
    let running = Running {
        files,
        streams: [Stream::Stdout(stdout), Stream::Stderr(stderr)],
        pid: started.pid,
        word: word.into(),
        program: argv.first().cloned().unwrap_or_default(),
        wait: Wait::without_end(),
        ready: VecDeque::new(),
        was_there: true,
        status: None,
        has_ended: false,
    };
    Ok(Some(stream::unfold(running, Running::step).boxed()))
}

/// Opens a new file; nothing where the guest lets nobody do so.
async fn open(agent: &Agent, machine: &str, path: &str) -> Result<Option<i64>> {
    let mut is_made = false;
    loop {
        match agent.ask(machine, "guest-file-open", Some(Open { path, mode: "w+" })).await {
            Ok(handle) => return Ok(Some(handle)),
            Err(error) if error.is_unavailable() || error.is_timeout() => return Err(error),
            Err(error) if error.message().contains("No such file or directory") && !is_made => {
                make_folder(agent, machine).await?;
                is_made = true;
            }
            Err(_) => return Ok(None),
        }
    }
}

/// Makes the folder. Whether it is there afterwards shows when it is used.
async fn make_folder(agent: &Agent, machine: &str) -> Result<()> {
    let arg = ["-p", "-m", "700", FOLDER].map(str::to_owned).to_vec();
    let exec = Exec { path: "mkdir".to_owned(), arg, env: None, capture_output: false };
    let started: Started = match agent.ask(machine, "guest-exec", Some(exec)).await {
        Ok(started) => started,
        Err(error) if error.is_unavailable() || error.is_timeout() => return Err(error),
        Err(_) => return Ok(()),
    };
    let mut wait = Wait::without_end();
    loop {
        let which = Which { pid: started.pid };
        let status: Status = agent.ask(machine, "guest-exec-status", Some(which)).await?;
        if status.exited {
            return Ok(());
        }
        wait.pause().await;
    }
}

/// Files that the agent holds open. It would keep them until it ends.
struct Files {
    agent: Agent,
    machine: String,
    handles: Vec<i64>,
}

async fn close(agent: &Agent, machine: &str, handles: Vec<i64>) {
    for handle in handles {
        // Gone with the machine, if it is that.
        let _: Result<Value> = agent.ask(machine, "guest-file-close", Some(Handle { handle })).await;
    }
}

impl Files {
    async fn close(&mut self) {
        close(&self.agent, &self.machine, std::mem::take(&mut self.handles)).await;
    }
}

impl Drop for Files {
    /// Closing is two short questions, which a dropped session does not wait for.
    fn drop(&mut self) {
        let handles = std::mem::take(&mut self.handles);
        if let (false, Ok(runtime)) = (handles.is_empty(), tokio::runtime::Handle::try_current()) {
            let (agent, machine) = (self.agent.clone(), std::mem::take(&mut self.machine));
            runtime.spawn(async move { close(&agent, &machine, handles).await });
        }
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout(i64),
    Stderr(i64),
}

/// A command under way.
struct Running {
    files: Files,
    streams: [Stream; 2],
    pid: i64,
    /// What says that there was nothing to execute.
    word: Bytes,
    program: String,
    wait: Wait,
    ready: VecDeque<Result<CommandEvent>>,
    /// Whether there was a program to execute, as far as is known.
    was_there: bool,
    status: Option<ExitStatus>,
    has_ended: bool,
}

impl Running {
    async fn step(mut self) -> Option<(Result<CommandEvent>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.has_ended {
                return None;
            }
            if let Err(error) = self.look().await {
                self.ready.push_back(Err(lost_end(&error)));
                self.has_ended = true;
            }
        }
    }

    /// One look at the command, and at what it has written since the last. In this order: what it had written by its
    /// end is in the files by then.
    async fn look(&mut self) -> Result<()> {
        if self.status.is_none() {
            let which = Which { pid: self.pid };
            let status: Status =
                self.files.agent.ask(&self.files.machine, "guest-exec-status", Some(which)).await?;
            if status.exited {
                self.status = Some(exit_status(status.exit_code, status.signal)?);
            }
        }
        for stream in self.streams {
            self.read(stream).await?;
        }
        if !self.ready.is_empty() {
            self.wait = Wait::without_end();
            return Ok(());
        }
        let Some(status) = self.status else {
            self.wait.pause().await;
            return Ok(());
        };
        self.files.close().await;
        self.has_ended = true;
        self.ready.push_back(if self.was_there {
            Ok(CommandEvent::Exited(status))
        } else {
            Err(Error::invalid_input(format!(
                "the command could not be started: there is no program `{}` that can be executed",
                self.program.escape_debug()
            ))
            .with_outcome(Outcome::Rejected))
        });
        Ok(())
    }

    async fn read(&mut self, stream: Stream) -> Result<()> {
        let (Stream::Stdout(handle) | Stream::Stderr(handle)) = stream;
        let read = Read { handle, count: PIECE };
        let piece: Piece = self.files.agent.ask(&self.files.machine, "guest-file-read", Some(read)).await?;
        let Some(data) = decoded(piece.data)? else { return Ok(()) };
        match stream {
            Stream::Stdout(_) => self.ready.push_back(Ok(CommandEvent::Stdout(data))),
            Stream::Stderr(_) if data == self.word => self.was_there = false,
            Stream::Stderr(_) => self.ready.push_back(Ok(CommandEvent::Stderr(data))),
        }
        Ok(())
    }
}
