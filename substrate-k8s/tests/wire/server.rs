//! An API server that answers as it is told, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use substrate_k8s::{K8sConfig, K8sSubstrate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a JSON body.
    Json(u16, String),
    /// These pieces of a body one by one, then nothing for ever, or the end.
    Stream(Vec<String>, bool),
    /// The same, but nothing of the body before so long.
    Late(Duration, Vec<String>),
    /// Nothing, for ever.
    Hang,
    /// The end of the connection, without a word.
    Die,
    /// As an everyday server of version 1.20.
    Usual,
}

pub(crate) fn ok(body: Value) -> Answer {
    Answer::Json(200, body.to_string())
}

pub(crate) fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let body =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    Answer::Json(code, body.to_string())
}

pub(crate) fn list(version: &str, items: &[Value]) -> Answer {
    ok(json!({"metadata": {"resourceVersion": version}, "items": items}))
}

pub(crate) fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// A set with so many replicas.
pub(crate) fn set(name: &str, version: &str, replicas: u32) -> Value {
    json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": version,
            "creationTimestamp": "2026-11-21T10:00:00Z"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"substrate/instance": name}},
            "template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
    })
}

pub(crate) fn running_pod(set: &str, version: &str) -> Value {
    json!({
        "metadata": {"name": format!("{set}-0"), "uid": format!("pod-{set}"), "resourceVersion": version,
            "labels": {"substrate/instance": set},
            "ownerReferences": [{"kind": "StatefulSet", "name": set, "uid": format!("uid-{set}"), "controller": true}]},
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}}}]},
    })
}

/// A request: its first line, as whom, and its body.
struct Asked {
    line: String,
    authorization: String,
    body: Vec<u8>,
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// The server. Its task is gone when it is dropped.
pub(crate) struct Server {
    kubeconfig: PathBuf,
    requests: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers `METHOD /path?query` as `script` says; the number is how often the same path was asked before.
    pub(crate) async fn new(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let kubeconfig =
            std::env::temp_dir().join(format!("sk-wire-{}-{number}.kubeconfig", std::process::id()));
        let content = json!({
            "clusters": [{"name": "w", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "w", "user": {"token": "hunter2"}}],
            "contexts": [{"name": "w", "context": {"cluster": "w", "user": "w", "namespace": "shop"}}],
            "current-context": "w",
        });
        std::fs::write(&kubeconfig, content.to_string()).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Arc<Script>) = (requests.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), script.clone()));
            }
        });
        Self { kubeconfig, requests, task }
    }

    /// One answer for one path, everything else as usual.
    pub(crate) async fn answering(request: &'static str, answer: Answer) -> Self {
        Self::new(move |asked, _| if path(asked) == request { answer.clone() } else { Answer::Usual }).await
    }

    pub(crate) fn config(&self) -> K8sConfig {
        K8sConfig::default()
            .with_kubeconfig(self.kubeconfig.display().to_string())
            .with_request_timeout(Duration::from_secs(5))
    }

    pub(crate) fn cluster(&self) -> K8sSubstrate {
        K8sSubstrate::new("wire", self.config()).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|asked| asked.line.clone()).collect()
    }

    /// What each request was authorized by.
    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|asked| asked.authorization.clone()).collect()
    }

    /// The kubeconfig by which it is reached.
    pub(crate) fn kubeconfig(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.kubeconfig).unwrap()).unwrap()
    }

    /// A file of this server's own: its maker removes it.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.kubeconfig.with_extension(format!("own-{suffix}"))
    }

    /// The bodies of what was asked at a path.
    pub(crate) fn bodies(&self, request: &str) -> Vec<Value> {
        let requests = self.requests.lock().unwrap();
        let same = requests.iter().filter(|asked| path(&asked.line) == request);
        same.map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect()
    }

    /// What was asked that could have changed something.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.requests().into_iter().filter(|request| !request.starts_with("GET")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// Without the query.
pub(crate) fn path(request: &str) -> &str {
    request.split('?').next().unwrap_or_default()
}

pub(crate) const SETS: &str = "GET /apis/apps/v1/namespaces/shop/statefulsets";
pub(crate) const PODS: &str = "GET /api/v1/namespaces/shop/pods";
pub(crate) const WEB: &str = "GET /apis/apps/v1/namespaces/shop/statefulsets/web";

fn everyday(request: &str) -> Answer {
    if request.contains("watch=true") {
        return Answer::Stream(Vec::new(), false);
    }
    match path(request) {
        "GET /version" => ok(json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2"})),
        "GET /apis" => ok(json!({"groups": [{"name": "apps"}]})),
        "GET /readyz" => Answer::Json(200, "ok".to_owned()),
        SETS | PODS | "GET /api/v1/nodes" | "GET /api/v1/namespaces/shop/resourcequotas" => list("10", &[]),
        _ => refusal(404, "NotFound", "there is no such thing"),
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<Asked>>>, script: Arc<Script>) {
    while let Some(asked) = read_request(&mut stream).await {
        let request = asked.line.clone();
        let before = {
            let mut seen = seen.lock().unwrap();
            let before = seen.iter().filter(|earlier| path(&earlier.line) == path(&request)).count();
            seen.push(asked);
            before
        };
        let answer = match script(&request, before) {
            Answer::Usual => everyday(&request),
            other => other,
        };
        match answer {
            Answer::Json(status, body) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Stream(pieces, ends) => {
                send_pieces(&mut stream, Duration::ZERO, &pieces).await;
                if !ends {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
            }
            Answer::Late(by, pieces) => {
                send_pieces(&mut stream, by, &pieces).await;
                std::future::pending::<()>().await;
            }
            Answer::Hang => std::future::pending().await,
            Answer::Die | Answer::Usual => return,
        }
    }
}

async fn send_pieces(stream: &mut TcpStream, late_by: Duration, pieces: &[String]) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = stream.write_all(head.as_bytes()).await;
    tokio::time::sleep(late_by).await;
    for piece in pieces {
        let _ = stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await;
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Asked> {
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
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                if stream.read_buf(&mut body).await.ok()? == 0 {
                    return None;
                }
            }
            let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
            let authorization = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                .map_or_else(String::new, |(_, value)| value.to_owned());
            return Some(Asked { line, authorization, body });
        }
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
