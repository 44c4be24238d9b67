//! A server that answers as it is told, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use substrate_lxc::{LxcConfig, LxcSubstrate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a JSON body.
    Json(u16, Value),
    /// The end of the connection, without a word.
    Die,
    /// What such a server answers every day.
    Usual,
}

impl Answer {
    #[allow(clippy::needless_pass_by_value, reason = "it is made for this in nearly every call")]
    pub(crate) fn done(content: Value) -> Self {
        Self::Json(200, json!({"type": "sync", "status_code": 200, "metadata": content}))
    }

    pub(crate) fn begun() -> Self {
        let operation = json!({"id": "0a1b", "status_code": 103, "status": "Running", "err": ""});
        Self::Json(202, json!({"type": "async", "operation": "/1.0/operations/0a1b", "metadata": operation}))
    }

    /// An operation with this code.
    pub(crate) fn operation(code: u16, err: &str) -> Self {
        Self::done(json!({"id": "0a1b", "status_code": code, "err": err}))
    }

    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        Self::Json(status, json!({"type": "error", "error_code": status, "error": message}))
    }

    /// As Incus refuses an operation's question: with a status of success.
    pub(crate) fn refusal_in_success(code: u16, message: &str) -> Self {
        Self::Json(200, json!({"type": "error", "error_code": code, "error": message}))
    }
}

pub(crate) fn instance(code: u16) -> Value {
    json!({
        "name": "web", "type": "container", "status": "x", "status_code": code, "profiles": ["default"],
        "config": {"volatile.uuid": "25bd09b9-2ae2-4578-9243-58088e0032fb", "volatile.eth0.hwaddr": "00:16:3e:00:00:01",
                   "limits.cpu": "2"},
        "devices": {}, "architecture": "x86_64", "ephemeral": false, "stateful": false, "description": "",
    })
}

/// One request: its line, the tag that it was conditional on, its body; also as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) condition: Option<String>,
    pub(crate) body: Value,
    pub(crate) head: String,
    pub(crate) raw: Vec<u8>,
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// The server. Its task and its socket are gone when it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers `METHOD /path?query` as `script` says; the number is how often that was asked before.
    pub(crate) fn new(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sl-wire-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Arc<Script>) = (requests.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), script.clone()));
            }
        });
        Self { path, requests, task }
    }

    pub(crate) fn config(&self) -> LxcConfig {
        LxcConfig::default()
            .with_address(format!("unix://{}", self.path.display()))
            .with_request_timeout(Duration::from_secs(5))
    }

    pub(crate) fn substrate(&self) -> LxcSubstrate {
        LxcSubstrate::new("wire", self.config()).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// What was asked that could have changed something.
    pub(crate) fn changes(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| !request.line.starts_with("GET")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn everyday(line: &str) -> Answer {
    match line.split('?').next().unwrap_or_default() {
        "GET /1.0" => Answer::done(json!({
            "auth": "trusted", "environment": {"server": "lxd", "server_version": "5.0.2", "driver": "lxc"},
            "api_extensions": ["cloud_init", "network", "event_lifecycle", "container_exec_user_group_cwd"],
        })),
        "GET /1.0/instances" => Answer::done(json!([])),
        "GET /1.0/operations" => Answer::done(json!({})),
        "GET /1.0/instances/web" => Answer::done(instance(102)),
        "GET /1.0/profiles/default" => {
            Answer::done(json!({"devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}}))
        }
        "GET /1.0/storage-pools/default" => Answer::done(json!({"name": "default", "driver": "zfs"})),
        "GET /1.0/images/aliases/bb" => Answer::done(json!({"target": "f306346ba008"})),
        "GET /1.0/operations/0a1b/wait" | "GET /1.0/operations/0a1b" => Answer::operation(200, ""),
        line if line.starts_with("GET") => Answer::refusal(404, "not here"),
        _ => Answer::begun(),
    }
}

async fn serve(mut stream: UnixStream, seen: Arc<Mutex<Vec<Request>>>, script: Arc<Script>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let line = request.line.clone();
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|earlier| earlier.line == line).count();
        seen.push(request);
        before
    };
    let answer = match script(&line, before) {
        Answer::Usual => everyday(&line),
        other => other,
    };
    if let Answer::Json(status, body) = answer {
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nETag: tag-{before}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let header = |wanted: &str| {
                let mut fields = head.lines().filter_map(|line| line.split_once(':'));
                fields
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                    .map(|(_, value)| value.trim().to_owned())
            };
            let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
            while bytes.len() < end + 4 + length {
                let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
                bytes.extend_from_slice(&buffer[..read]);
            }
            let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
            let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or(Value::Null);
            let (condition, raw) = (header("if-match"), bytes[end + 4..].to_vec());
            return Some(Request { line, condition, body, head, raw });
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
