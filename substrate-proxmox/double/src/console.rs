//! Consoles: a port and a ticket for each who looks, on the host that was asked, whichever node the guest is on; then a
//! websocket with what the guest writes, in the terminal protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::access::Caller;
use crate::http::Request;
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::Done;
use crate::world::Kind;
use crate::{Shared, locked};

/// How long a ticket lives, by our clock: how fast a caller is does not depend on the server's.
const TICKET: Duration = Duration::from_secs(40);

/// Who may look at what, until it is looked at.
#[derive(Debug, Clone)]
struct Opened {
    vmid: u64,
    authid: String,
    host: usize,
    port: u64,
    upid: String,
    until: Instant,
}

/// What happens on a console.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Written(Vec<u8>),
    /// The connection is lost.
    Broken,
}

/// The consoles of all guests.
#[derive(Debug, Default)]
pub(crate) struct Consoles {
    tickets: HashMap<String, Opened>,
    happenings: HashMap<u64, broadcast::Sender<Happening>>,
    /// What was typed into each.
    pub(crate) typed: HashMap<u64, Vec<u8>>,
    /// Tickets end as soon as they are made.
    pub(crate) ends_at_once: bool,
}

impl Consoles {
    pub(crate) fn of(&mut self, vmid: u64) -> &broadcast::Sender<Happening> {
        self.happenings.entry(vmid).or_insert_with(|| broadcast::channel(1024).0)
    }
}

pub(crate) type SharedConsoles = Arc<Mutex<Consoles>>;

impl Shared {
    pub(crate) fn open_console(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let now = self.clock.now();
        let mut world = self.world();
        world.here(kind, node, vmid)?;
        let number = world.counter();
        let Some(guest) = world.guests.get(&vmid) else { return fail("no such guest") };
        let port = 5900 + number % 100;
        let has_serial = || {
            let serial = params.text("serial").unwrap_or_else(|| "serial0".to_owned());
            guest.text(&serial).as_deref() == Some("socket")
        };
        // What shall stand behind the port ends at once.
        if !guest.running || (kind == Kind::Qemu && !has_serial()) {
            return fail(format!("Timeout while waiting for port '{port}' to get ready!"));
        }
        let upid = world.new_task(node, "vncproxy", &vmid.to_string(), &caller.user, now);
        let mut consoles = locked(&self.consoles);
        let life = if consoles.ends_at_once { Duration::ZERO } else { TICKET };
        let opened = Opened {
            vmid,
            authid: caller.authid.clone(),
            host: caller.host,
            port,
            upid: upid.clone(),
            until: Instant::now() + life,
        };
        let ticket = format!("PVEVNC:{number:08X}::c2lnbmVk+/{number}==");
        consoles.tickets.insert(ticket.clone(), opened);
        Ok(json!({"port": port, "ticket": ticket, "user": caller.authid, "upid": upid}))
    }

    /// Whether a ticket opens a port; it is checked again by what stands behind that.
    pub(crate) fn check_console(&self, vmid: u64, caller: &Caller, params: &Params) -> Answer {
        let ticket = params.text("vncticket").unwrap_or_default();
        let consoles = locked(&self.consoles);
        match consoles.tickets.get(&ticket) {
            Some(opened)
                if opened.vmid == vmid && opened.authid == caller.authid && opened.until > Instant::now() =>
            {
                Ok(json!({"port": params.text("port")}))
            }
            _ => Err(Refusal::empty(401, "permission denied - invalid PVEVNC ticket")),
        }
    }

    /// A guest writes to its console. Nobody may be looking: then it is lost.
    pub(crate) fn write_console(&self, vmid: u64, text: &str) {
        let _ = locked(&self.consoles).of(vmid).send(Happening::Written(text.as_bytes().to_vec()));
    }

    /// Speaks with who looks at a console, until the guest stops or they go. The server ends it without a closing
    /// handshake.
    pub(crate) async fn serve_console<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        request: &Request,
    ) -> std::io::Result<()> {
        let params = Params::of_form(&request.query);
        let ticket = params.text("vncticket").unwrap_or_default();
        // A port takes one connection, and is on one host.
        let opened = {
            let mut consoles = locked(&self.consoles);
            match consoles.tickets.get(&ticket) {
                Some(opened) if opened.host == request.host && params.number("port") == Some(opened.port) => {
                    consoles.tickets.remove(&ticket)
                }
                _ => None,
            }
        };
        let Some(opened) = opened else { return stream.shutdown().await };
        let key = request.header("sec-websocket-key").unwrap_or_default();
        let protocol = match request.header("sec-websocket-protocol") {
            Some(protocol) => format!("Sec-WebSocket-Protocol: {protocol}\r\n"),
            None => String::new(),
        };
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            derive_accept_key(key.as_bytes())
        );
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        self.stand_behind(&mut socket, &opened, &ticket).await;
        let now = self.clock.now();
        self.world().end_task(&opened.upid, Done::ok(Vec::new()), now);
        socket.get_mut().shutdown().await
    }

    async fn stand_behind<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: &mut WebSocketStream<S>,
        opened: &Opened,
        ticket: &str,
    ) {
        let mut happenings = locked(&self.consoles).of(opened.vmid).subscribe();
        let greeting = socket.next().await.and_then(Result::ok).map(|message| message.into_data());
        let expected = format!("{}:{ticket}\n", opened.authid);
        // Before version 9 it asks for a user, which a token is not.
        let by_token = opened.authid.contains('!') && self.version.starts_with('8');
        if greeting.as_deref() != Some(expected.as_bytes()) || by_token {
            return;
        }
        let kind = self.world().guests.get(&opened.vmid).map(|guest| guest.kind);
        let preface = match kind {
            Some(Kind::Qemu) => "starting serial terminal on interface serial0 (press Ctrl+O to exit)\r\n",
            _ => "",
        };
        let _ = socket.send(Message::Binary("OK".into())).await;
        if !preface.is_empty() {
            let _ = socket.send(Message::Binary(preface.into())).await;
        }
        let mut unread = Vec::new();
        loop {
            tokio::select! {
                biased;
                happening = happenings.recv() => match happening {
                    Ok(Happening::Written(text)) => {
                        if socket.send(Message::Binary(text.into())).await.is_err() {
                            return;
                        }
                    }
                    Ok(Happening::Broken) | Err(_) => return,
                },
                came = socket.next() => match came {
                    Some(Ok(Message::Binary(data))) => {
                        unread.extend_from_slice(&data);
                        if !self.take_frames(opened.vmid, &mut unread) {
                            return;
                        }
                    }
                    Some(Ok(Message::Ping(_))) => {}
                    _ => return,
                },
                () = tokio::time::sleep(Duration::from_millis(10)) => {
                    if !self.world().guests.get(&opened.vmid).is_some_and(|guest| guest.running) {
                        return;
                    }
                }
            }
        }
    }

    /// Takes whole frames of the terminal protocol; `false` for anything else.
    fn take_frames(&self, vmid: u64, unread: &mut Vec<u8>) -> bool {
        loop {
            let text = String::from_utf8_lossy(unread).into_owned();
            let used = match text.chars().next() {
                None => return true,
                // A ping.
                Some('2') => 1,
                // A size: `1:COLUMNS:ROWS:`.
                Some('1') => {
                    let mut parts = text.splitn(4, ':');
                    let (_, columns, rows, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
                    let Some(rest) = rest else { return true };
                    if [columns, rows].iter().any(|part| part.is_none_or(|part| part.parse::<u16>().is_err()))
                    {
                        return false;
                    }
                    text.len() - rest.len()
                }
                // Keys: `0:LENGTH:KEYS`.
                Some('0') => {
                    let mut parts = text.splitn(3, ':');
                    let (_, length, keys) = (parts.next(), parts.next(), parts.next());
                    let Some(keys) = keys else { return true };
                    let Some(length) = length.and_then(|length| length.parse::<usize>().ok()) else {
                        return false;
                    };
                    if keys.len() < length {
                        return true;
                    }
                    let begin = text.len() - keys.len();
                    let typed = &unread[begin..begin + length];
                    locked(&self.consoles).typed.entry(vmid).or_default().extend_from_slice(typed);
                    begin + length
                }
                Some(_) => return false,
            };
            unread.drain(..used);
        }
    }
}
