//! A server that answers as it is told, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use substrate_docker::{DockerConfig, DockerSubstrate, PullPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A full id, and the inspection of a container with it.
pub(crate) const ID: &str = "f08f2dbffaa5739bd1a5a95fab6250a37f8b55e0ac34e8b682d1ac4b5e46d02b";

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a JSON body.
    Json(u16, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, for ever.
    Hang,
    /// The end of the connection, without a word.
    Die,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Json(200, body.into())
    }

    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        Self::Json(status, format!(r#"{{"message":{message:?}}}"#))
    }
}

pub(crate) fn inspection(status: &str) -> Answer {
    let running = matches!(status, "running" | "paused");
    Answer::ok(format!(
        r#"{{"Id":"{ID}","Name":"/web","Image":"sha256:1","Created":"2026-11-21T04:13:03.1Z",
        "State":{{"Status":"{status}","Running":{running},"Paused":false,"Pid":1,"ExitCode":0}},
        "Config":{{"Image":"busybox","Labels":{{}}}},"HostConfig":{{}},"NetworkSettings":{{"Networks":{{}}}}}}"#
    ))
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// The server. Its task and its socket are gone when it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers `METHOD /path?query` (without the version) as `script` says; the number is how often that was
    /// asked before. What the script answers with 599 gets the everyday answers of a daemon with API 1.41.
    pub(crate) fn new(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sd-wire-{}-{number}.sock", std::process::id()));
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

    /// One answer for one request, everything else as usual.
    pub(crate) fn answering(request: &'static str, answer: Answer) -> Self {
        Self::new(move |asked, _| if asked.starts_with(request) { answer.clone() } else { usual() })
    }

    pub(crate) fn docker(&self) -> DockerSubstrate {
        self.docker_within(Duration::from_secs(5))
    }

    pub(crate) fn docker_within(&self, timeout: Duration) -> DockerSubstrate {
        DockerSubstrate::new("wire", self.config().with_request_timeout(timeout)).unwrap()
    }

    pub(crate) fn docker_that_never_fetches(&self) -> DockerSubstrate {
        DockerSubstrate::new("wire", self.config().with_pull_policy(PullPolicy::Never)).unwrap()
    }

    fn config(&self) -> DockerConfig {
        DockerConfig::default().with_host(format!("unix://{}", self.path.display()))
    }

    /// Everything that was asked, with its version.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// What was asked that could have changed something.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| !request.starts_with("GET")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Leave it to the everyday answers.
pub(crate) fn usual() -> Answer {
    Answer::Json(599, String::new())
}

fn everyday(request: &str) -> Answer {
    match request.split('?').next().unwrap_or_default() {
        "GET /version" => Answer::ok(r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}"#),
        "GET /info" => Answer::ok(
            r#"{"Driver":"overlay2","MemoryLimit":true,"CpuCfsQuota":true,"SystemTime":"2026-11-21T04:13:03.5Z"}"#,
        ),
        "GET /containers/json" | "GET /networks" | "GET /images/json" => Answer::ok("[]"),
        "GET /containers/web/json" => inspection("running"),
        path if path == format!("GET /containers/{ID}/json") => inspection("running"),
        path if path.starts_with("GET /images/") => {
            Answer::ok(r#"{"Id":"sha256:1","RepoTags":["busybox:latest"]}"#)
        }
        path if path.starts_with("POST /containers/create") => {
            Answer::Json(201, format!(r#"{{"Id":"{ID}","Warnings":[]}}"#))
        }
        _ => Answer::refusal(404, "page not found"),
    }
}

async fn serve(mut stream: UnixStream, seen: Arc<Mutex<Vec<String>>>, script: Arc<Script>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let bare = without_version(&request);
    let before = {
        let mut seen = seen.lock().unwrap();
        let before = seen.iter().filter(|earlier| without_version(earlier) == bare).count();
        seen.push(request.clone());
        before
    };
    let answer = match script(&bare, before) {
        Answer::Json(599, _) => everyday(&bare),
        other => other,
    };
    match answer {
        Answer::Json(status, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let _ = stream.write_all(head.as_bytes()).await;
        }
        Answer::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Answer::Hang => std::future::pending().await,
        Answer::Die => {}
    }
}

/// The request line; its body is read, so that the client is not stopped in the middle of sending.
async fn read_request(stream: &mut UnixStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
            let mut left = length.saturating_sub(bytes.len() - end - 4);
            while left > 0 {
                left = left.saturating_sub(stream.read(&mut buffer).await.ok()?);
            }
            let line = head.lines().next()?;
            return Some(line.trim_end_matches(" HTTP/1.1").to_owned());
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn without_version(request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let bare = target.strip_prefix("/v1.41").unwrap_or(target);
    format!("{method} {bare}")
}
