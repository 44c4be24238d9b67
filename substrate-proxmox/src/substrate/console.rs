//! A running guest's console, as it is written.
//!
//! Proxmox VE keeps nothing of it, so it begins when it is opened. One call makes a port, a process behind it and a
//! ticket; the websocket takes one to the other. Port and process are on the host that answered, whichever node the guest
//! is on: the websocket must go to that host, and to no other.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, LogLine, LogSource, LogStream, Result};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::ProxmoxSubstrate;
use super::locate::guest_path;
use super::waiting::wait_at_most;
use crate::client::{Form, Incoming, Socket, understood};
use crate::convert::guest::{Guest, GuestKind, Place, uptime};
use crate::convert::text::{Fields, integer, text};
use crate::error;

const ATTEMPT: &str = "follow the guest's console";
/// The server ends a console of which nobody is heard for longer.
const PING_EVERY: Duration = Duration::from_secs(20);
/// After how many pings without any sign of life the connection is given up: a node that loses its power closes none.
const SILENT_PINGS: u32 = 3;
/// How long the other end may take to say that the ticket is good.
const GREETING: Duration = Duration::from_secs(30);
/// How long after its console a guest may still be said to run.
const STOPPING: Duration = Duration::from_secs(2);
/// A program may write for ever without ending its line.
const LONGEST_LINE: usize = 64 << 10;

#[derive(Deserialize)]
struct Opened {
    port: Value,
    ticket: String,
    user: String,
}

/// What makes the console of this guest; a reason if it has none. Nothing is asked for that.
fn form_of(guest: &Guest) -> Result<Form> {
    let vmid = guest.vmid;
    match guest.kind {
        GuestKind::Qemu => ["serial0", "serial1", "serial2", "serial3"]
            .into_iter()
            .find(|port| text(&guest.config, port).as_deref() == Some("socket"))
            .map(|port| Form::new().with("serial", port))
            .ok_or_else(|| {
                Error::unsupported(
                    "the machine has no serial port (`serial0: socket`), so its console cannot be followed",
                )
                .with_hint(format!("give it one, and restart it: qm set {vmid} --serial0 socket"))
            }),
        // Who looks would start a shell in it, and read that one's prompt.
        GuestKind::Lxc if text(&guest.config, "cmode").as_deref() == Some("shell") => {
            Err(Error::unsupported("the container's console is a shell of whoever looks (`cmode: shell`)")
                .with_hint(format!("pct set {vmid} --cmode console")))
        }
        GuestKind::Lxc => Ok(Form::new()),
    }
}

/// Whether a first line is not the guest's, but that of the program which connects to it.
fn is_preface(line: &str) -> bool {
    ["starting serial terminal on interface ", "Connected to tty ", "Type <Ctrl+"]
        .iter()
        .any(|beginning| line.starts_with(beginning))
}

/// Bytes of a terminal as lines.
#[derive(Debug, Default)]
struct Lines {
    ready: VecDeque<String>,
    rest: Vec<u8>,
    /// Whether the guest has written a line.
    begun: bool,
    /// Empty lines at the beginning: whose they are shows when another one comes.
    empty: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ => self.rest.push(*byte),
            }
            if self.rest.len() >= LONGEST_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.rest);
        // A terminal puts a carriage return before each line end.
        let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let line = String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned();
        if self.begun {
            self.ready.push_back(line);
        } else if line.is_empty() {
            self.empty += 1;
        } else if is_preface(&line) {
            self.empty = 0;
        } else {
            self.begun = true;
            self.ready.extend(std::iter::repeat_n(String::new(), std::mem::take(&mut self.empty)));
            self.ready.push_back(line);
        }
    }

    /// Nothing more comes: the last line needs no end.
    fn end(&mut self) {
        if !self.rest.is_empty() {
            self.end_line();
        }
    }
}

/// How it ended.
enum End {
    Stopped,
    Broken(Error),
}

/// One run of a guest, from a start to its end.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Not every version tells a container's.
    process: Option<u64>,
    /// In seconds.
    uptime: u64,
}

impl Run {
    /// The run that a state tells of; nothing when the guest does not run.
    fn of(status: &Fields) -> Option<Self> {
        let runs = text(status, "status").as_deref() == Some("running");
        runs.then(|| Self { process: integer(status, "pid"), uptime: uptime(status).unwrap_or_default() })
    }

    /// Whether this is another run than an earlier one. No clock is asked: an answer can be under way for seconds.
    fn is_after(self, earlier: Self) -> bool {
        match (self.process, earlier.process) {
            (Some(now), Some(before)) => now != before,
            _ => self.uptime < earlier.uptime,
        }
    }
}

/// Whose console it is.
struct Owner {
    substrate: ProxmoxSubstrate,
    place: Place,
    run: Run,
}

struct Console {
    owner: Owner,
    socket: Socket,
    lines: Lines,
    ping: Interval,
    /// Pings since the last sign of life.
    unanswered: u32,
    end: Option<End>,
}

impl Console {
    async fn next(mut self) -> Result<Option<(LogLine, Self)>> {
        loop {
            if let Some(message) = self.lines.ready.pop_front() {
                return Ok(Some((LogLine { time: None, source: LogSource::Console, message }, self)));
            }
            match self.end {
                Some(End::Stopped) => return Ok(None),
                Some(End::Broken(error)) => return Err(error),
                None => {}
            }
            let broke = tokio::select! {
                incoming = self.socket.receive() => {
                    self.unanswered = 0;
                    match incoming {
                        Incoming::Data(bytes) => {
                            self.lines.push(&bytes);
                            None
                        }
                        Incoming::Pong => None,
                        Incoming::Closed(reason) => Some(reason),
                    }
                }
                _ = self.ping.tick() => self.keep_alive().await.err(),
            };
            if let Some(reason) = broke {
                self.lines.end();
                self.end = Some(self.owner.why(&reason).await);
            }
        }
    }

    /// One ping for the program behind the port, which ends without, and one for the server, which answers it.
    async fn keep_alive(&mut self) -> Result<(), String> {
        if self.unanswered >= SILENT_PINGS {
            return Err(format!("no sign of life for {:?}", PING_EVERY * self.unanswered));
        }
        self.unanswered += 1;
        self.socket.send("2".to_owned()).await?;
        self.socket.ping().await
    }
}

impl Owner {
    /// Why the connection ended: because the guest did, or before.
    async fn why(&self, reason: &str) -> End {
        let mut wait = wait_at_most(STOPPING);
        let mut place = self.place.clone();
        loop {
            let now = self.substrate.wherever(&mut place, |place| self.substrate.run(place)).await;
            let broken = match now {
                Ok(None) => return End::Stopped,
                Err(error) if error::is_not_here(&error) => return End::Stopped,
                Ok(Some(_)) if place.node != self.place.node => {
                    format!("the guest moved to the node {}", place.node)
                }
                // It was stopped and started again.
                Ok(Some(run)) if run.is_after(self.run) => return End::Stopped,
                // A guest's console goes before its state does.
                Ok(Some(_)) if wait.pause().await => continue,
                Ok(Some(_)) => format!("the connection broke off ({reason}), and the guest still runs"),
                Err(error) => {
                    format!(
                        "the connection broke off ({reason}), and what became of the guest cannot be told: {error}"
                    )
                }
            };
            return End::Broken(
                Error::unavailable(format!("cannot go on to {ATTEMPT}: {broken}"))
                    .with_hint("follow it again; what it writes meanwhile is not kept"),
            );
        }
    }
}

impl ProxmoxSubstrate {
    /// What a running guest writes to its console from now on, until it stops. Nothing when it has just stopped.
    ///
    /// # Errors
    /// `Unsupported`, before anything is opened, for a guest that has no console; in the stream `Unavailable` when the
    /// connection breaks while the guest still runs.
    pub(super) async fn console(&self, guest: &Guest) -> Result<Option<LogStream>> {
        let form = form_of(guest)?;
        let mut place = guest.place();
        let Some(run) = self.wherever(&mut place, |place| self.run(place)).await? else {
            return Ok(None);
        };
        let (socket, first) = match timeout(GREETING, self.open_console(&mut place, &form)).await {
            Ok(opened) => opened?,
            Err(_) => {
                return Err(Error::timeout(format!("cannot {ATTEMPT}: it did not open within {GREETING:?}")));
            }
        };
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lines = Lines::default();
        lines.push(&first);
        let owner = Owner { substrate: self.watcher(), place, run };
        let console = Console { owner, socket, lines, ping, unanswered: 0, end: None };
        Ok(Some(stream::try_unfold(console, Console::next).boxed()))
    }

    /// A socket on which the ticket was accepted, and what came after that.
    async fn open_console(&self, place: &mut Place, form: &Form) -> Result<(Socket, Vec<u8>)> {
        let (host, opened) = self
            .wherever(place, |place| {
                let form = form.clone();
                async move { self.client.post_at(ATTEMPT, &guest_path(&place, &["termproxy"]), form).await }
            })
            .await?;
        let opened: Opened = understood(ATTEMPT, opened)?;
        let port = opened.port.as_str().map_or_else(|| opened.port.to_string(), str::to_owned);
        let query = Form::new().with("port", port).with("vncticket", &opened.ticket);
        let target = guest_path(place, &["vncwebsocket"]);
        let mut socket = self.client.websocket(ATTEMPT, host, &target, &query).await?;
        let refused = |reason: &str| {
            Error::unauthenticated(format!("cannot {ATTEMPT}: its ticket was not accepted: {reason}"))
                .with_hint(
                    "version 8 accepts none that was fetched with an API token: use a user and a password",
                )
        };
        socket
            .send(format!("{}:{}\n", opened.user, opened.ticket))
            .await
            .map_err(|reason| refused(&reason))?;
        let mut first = Vec::new();
        while first.len() < 2 {
            match socket.receive().await {
                Incoming::Data(bytes) => first.extend_from_slice(&bytes),
                Incoming::Pong => {}
                Incoming::Closed(reason) => return Err(refused(&reason)),
            }
        }
        match first.strip_prefix(b"OK") {
            Some(rest) => Ok((socket, rest.to_vec())),
            None => Err(Error::protocol(format!("cannot {ATTEMPT}: the other end does not say OK"))),
        }
    }

    /// The run of the guest there; nothing when it does not run.
    async fn run(&self, place: Place) -> Result<Option<Run>> {
        let target = guest_path(&place, &["status", "current"]);
        let status: Fields = self.client.get("look at the guest", &target, Form::new()).await?;
        Ok(Run::of(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let mut lines = Lines::default();
        for piece in [&b"one\r\ntw"[..], b"o\r", b"\n\nlast"] {
            lines.push(piece);
        }
        assert_eq!(lines.ready, ["one", "two", ""]);
        assert_eq!(lines.rest, b"last");
        lines.push(&vec![b'x'; LONGEST_LINE]);
        assert_eq!(lines.ready.len(), 4, "a line without an end is cut");
        lines.end();
        assert_eq!(lines.ready.len(), 5, "the last line needs no end");
    }

    #[test]
    fn a_restart_shows_in_the_process_or_in_the_uptime() {
        let run = |process, uptime| Run { process, uptime };
        assert!(run(Some(2), 90).is_after(run(Some(1), 5)));
        assert!(!run(Some(1), 90).is_after(run(Some(1), 5)));
        assert!(run(None, 1).is_after(run(None, 5)));
        assert!(!run(None, 5).is_after(run(None, 5)));
    }

    #[test]
    fn what_connects_to_the_guest_is_not_the_guest() {
        let read = |text: &str| {
            let mut lines = Lines::default();
            lines.push(text.as_bytes());
            Vec::from(lines.ready)
        };
        assert_eq!(
            read("starting serial terminal on interface serial0 (press Ctrl+O to exit)\r\nlog\r\n"),
            ["log"]
        );
        assert_eq!(
            read("\r\nConnected to tty 1\r\nType <Ctrl+a q> to exit the console\r\n\r\nlog\r\n"),
            ["", "log"]
        );
        assert_eq!(read("log\r\nConnected to tty 1\r\n"), ["log", "Connected to tty 1"]);
    }
}
