//! HTTP/1.1 as pveproxy speaks it: its own reasons in the status line, errors that close the connection.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Shared;
use crate::faults::Fault;
use crate::params::{Params, decode_segment};
use crate::reply::{Refusal, body_of};

/// A request, read whole.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Accepts connections until the task is aborted; its connections end with it.
pub(crate) async fn serve(shared: Shared, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    let shared = Arc::new(shared);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = connection(&shared, stream).await;
                            }
                        }
                        None => drop(connection(&shared, stream).await),
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, mut stream: S) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut buffer).await? else { return Ok(()) };
        let fault = shared.fault(&request);
        if matches!(fault, Some(Fault::LoseRequest)) {
            return Ok(());
        }
        let result = shared.answer(&request).await;
        shared.delay().await;
        if matches!(fault, Some(Fault::LoseAnswer)) {
            return Ok(());
        }
        let result = match fault {
            Some(Fault::Refuse(status, reason)) => Err(Refusal::new(status, reason)),
            _ => result,
        };
        let (status, reason, body, keep) = match &result {
            Ok(data) => (200, "OK".to_owned(), body_of(data), true),
            Err(refusal) => {
                let reason = refusal.message.replace(['\n', '\r'], " ");
                (refusal.status, reason, refusal.body(), false)
            }
        };
        if status == 401 {
            // Late, so that guessing is slow.
            shared.clock.sleep(3.0).await;
        }
        let connection = if keep { "Keep-Alive" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nCache-Control: max-age=0\r\nConnection: {connection}\r\nDate: {}\r\n\
             Pragma: no-cache\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {}\r\n\
             Content-Type: application/json;charset=UTF-8\r\n\r\n",
            shared.clock.date(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
        if !keep {
            let _ = stream.shutdown().await;
            return Ok(());
        }
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut chunk = [0; 16 * 1024];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
    };
    let length: usize = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let begin = head_end + 4;
    while buffer.len() < begin + length {
        let mut chunk = [0; 64 * 1024];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        buffer.extend_from_slice(&chunk[..count]);
    }
    request.body = String::from_utf8_lossy(&buffer[begin..begin + length]).into_owned();
    buffer.drain(..begin + length);
    Ok(Some(request))
}

/// The parts of a path below `/api2/json`, or why there are none.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix("/api2/json")?;
    Some(rest.split('/').filter(|part| !part.is_empty()).map(decode_segment).collect())
}

/// The parameters of a request, from its query and its body.
pub(crate) fn parameters(request: &Request) -> Result<Params, Refusal> {
    let mut params = Params::of_form(&request.query);
    let sends = matches!(request.method.as_str(), "POST" | "PUT");
    if !sends {
        return if request.body.is_empty() {
            Ok(params)
        } else {
            Err(Refusal::plain(501, format!("Unexpected content for method '{}'", request.method)))
        };
    }
    if request.header("transfer-encoding").is_some() {
        return Err(Refusal::plain(501, "chunked transfer encoding not supported"));
    }
    match request.header("content-type") {
        Some(kind) if kind.starts_with("application/json") => params.extend(Params::of_json(&request.body)?),
        Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
            params.extend(Params::of_form(&request.body));
        }
        None if request.body.is_empty() => {}
        kind => {
            let kind = kind.unwrap_or_default();
            return Err(Refusal::plain(506, format!("upload 'Content-Type '{kind}' not implemented")));
        }
    }
    Ok(params)
}
