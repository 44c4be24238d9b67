//! A server that answers as it is told, and remembers what it was asked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use substrate_supervisor::{SupervisorConfig, SupervisorSubstrate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

static SERVERS: AtomicU32 = AtomicU32::new(0);

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a body.
    Status(u16, String),
    /// The start of an answer, then the end of the connection.
    Torn,
    /// Nothing, for ever.
    Hang,
    /// The end of the connection, without a word.
    Die,
}

impl Answer {
    /// A result, given as what stands within `<value>`.
    pub(crate) fn value(value: impl std::fmt::Display) -> Self {
        Self::Status(
            200,
            format!(
                "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value>{value}</value>\n</param>\n\
                 </params>\n</methodResponse>\n"
            ),
        )
    }

    pub(crate) fn fault(code: i32, text: &str) -> Self {
        Self::Status(
            200,
            format!(
                "<?xml version='1.0'?>\n<methodResponse>\n<fault>\n<value>{}</value>\n</fault>\n</methodResponse>\n",
                fault(code, text)
            ),
        )
    }
}

pub(crate) fn string(text: &str) -> String {
    format!("<string>{text}</string>")
}

pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let values: String = values.into_iter().map(|value| format!("<value>{value}</value>\n")).collect();
    format!("<array><data>\n{values}</data></array>")
}

pub(crate) fn structure(members: &[(&str, String)]) -> String {
    let members: String = members
        .iter()
        .map(|(name, value)| format!("<member>\n<name>{name}</name>\n<value>{value}</value>\n</member>\n"))
        .collect();
    format!("<struct>\n{members}</struct>")
}

pub(crate) fn fault(code: i32, text: &str) -> String {
    structure(&[("faultCode", format!("<int>{code}</int>")), ("faultString", string(text))])
}

/// A process as supervisord 4.2.5 describes it.
pub(crate) fn process(group: &str, name: &str, state: i32, word: &str) -> String {
    let number = |number: i32| format!("<int>{number}</int>");
    structure(&[
        ("name", string(name)),
        ("group", string(group)),
        ("start", number(1_700_000_000)),
        ("stop", number(0)),
        ("now", number(1_700_000_009)),
        ("state", number(state)),
        ("statename", string(word)),
        ("spawnerr", string("")),
        ("exitstatus", number(0)),
        ("logfile", string("/log")),
        ("stdout_logfile", string("/log")),
        ("stderr_logfile", string("")),
        ("pid", number(0)),
        ("description", string("Not started")),
    ])
}

/// What was asked: the methods, in their order, and the head of the request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    /// The method, or those within a batch.
    pub(crate) fn methods(&self) -> Vec<String> {
        let names = self.body.split("supervisor.").skip(1);
        names.map(|rest| rest.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect()).collect()
    }
}

type Script = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// The server. Its task, its socket and its folder are gone when it is dropped.
pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Answers each request as `script` says; the number is how many came before.
    pub(crate) fn new(script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ss-wire-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("socket")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, script): (_, Arc<Script>) = (requests.clone(), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), script.clone()));
            }
        });
        Self { folder, requests, task }
    }

    pub(crate) fn always(answer: Answer) -> Self {
        Self::new(move |_, _| answer.clone())
    }

    pub(crate) fn config(&self) -> SupervisorConfig {
        SupervisorConfig::default()
            .with_url(format!("unix://{}", self.folder.join("socket").display()))
            .with_include_folder(&self.folder)
            .with_same_host(false)
            .with_request_timeout(Duration::from_secs(5))
    }

    pub(crate) fn supervisor(&self) -> SupervisorSubstrate {
        SupervisorSubstrate::new("wire", self.config()).unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The program files in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "socket").collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn serve(mut stream: UnixStream, seen: Arc<Mutex<Vec<Request>>>, script: Arc<Script>) {
    let mut bytes = Vec::new();
    let request = loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&piece[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
        });
        if length.is_none_or(|length| body.len() >= length) {
            break Request { head: head.to_owned(), body: body.to_owned() };
        }
    };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let answer = match script(&request, number) {
        Answer::Status(status, body) => format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        ),
        Answer::Torn => "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<?xml version".to_owned(),
        Answer::Hang => std::future::pending().await,
        Answer::Die => return,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}
