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
    /// The API host that it came to.
    pub(crate) host: usize,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// A form of parts: its fields, and the file that it ends in.
    pub(crate) parts: Option<(Params, Vec<u8>)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Accepts connections until the task is aborted; its connections end with it.
pub(crate) async fn serve(shared: Shared, host: usize, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    let shared = Arc::new(shared);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                // Else what follows the first piece of an answer waits for its acknowledgement, which the other side
                // holds back for 40 ms.
                let _ = stream.set_nodelay(true);
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = connection(&shared, host, stream).await;
                            }
                        }
                        None => drop(connection(&shared, host, stream).await),
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    host: usize,
    mut stream: S,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut buffer, host).await? else { return Ok(()) };
        let fault = shared.fault(&request);
        if matches!(fault, Some(Fault::LoseRequest)) {
            return Ok(());
        }
        let result = shared.answer(&request).await;
        shared.delay().await;
        if matches!(fault, Some(Fault::LoseAnswer)) {
            return Ok(());
        }
        let upgrade = request.header("upgrade").is_some_and(|name| name.eq_ignore_ascii_case("websocket"));
        if upgrade && result.is_ok() && fault.is_none() && request.path.ends_with("websocket") {
            return shared.serve_console(stream, &request).await;
        }
        let result = match fault {
            Some(Fault::Refuse(status, reason)) => Err(Refusal::new(status, reason)),
            Some(Fault::RefuseTersely(status, reason)) => Err(Refusal::terse(status, reason)),
            Some(Fault::Stall(pause)) => {
                tokio::time::sleep(pause).await;
                result
            }
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
        let answer = format!(
            "HTTP/1.1 {status} {reason}\r\nCache-Control: max-age=0\r\nConnection: {connection}\r\nDate: {}\r\n\
             Pragma: no-cache\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {}\r\n\
             Content-Type: application/json;charset=UTF-8\r\n\r\n{body}",
            shared.clock.date(),
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if !keep {
            let _ = stream.shutdown().await;
            return Ok(());
        }
    }
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    host: usize,
) -> io::Result<Option<Request>> {
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
        host,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::new(),
        parts: None,
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
    let body = &buffer[begin..begin + length];
    match request.header("content-type").and_then(|kind| kind.strip_prefix("multipart/form-data; boundary="))
    {
        Some(boundary) => request.parts = Some(parts(body, boundary)),
        None => request.body = String::from_utf8_lossy(body).into_owned(),
    }
    buffer.drain(..begin + length);
    Ok(Some(request))
}

/// The fields up to the file, and the file; what comes after it is not read.
fn parts(body: &[u8], boundary: &str) -> (Params, Vec<u8>) {
    let find = |text: &[u8], wanted: &[u8]| text.windows(wanted.len()).position(|window| window == wanted);
    let mut fields = Params::default();
    let mut rest = body;
    loop {
        let Some(end_of_head) = find(rest, b"\r\n\r\n") else { return (fields, Vec::new()) };
        let head = String::from_utf8_lossy(&rest[..end_of_head]).into_owned();
        let value_of = |key: &str| {
            let (_, value) = head.split_once(&format!("; {key}=\""))?;
            Some(value.split('"').next().unwrap_or_default().to_owned())
        };
        rest = &rest[end_of_head + 4..];
        let end = find(rest, format!("\r\n--{boundary}").as_bytes()).unwrap_or(rest.len());
        let (content, after) = (&rest[..end], &rest[end..]);
        if let Some(file) = value_of("filename") {
            fields.0.push(("filename".to_owned(), file.into()));
            return (fields, content.to_vec());
        }
        let name = value_of("name").unwrap_or_default();
        fields.0.push((name, String::from_utf8_lossy(content).into_owned().into()));
        rest = after;
    }
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
        Some(kind) if kind.starts_with("multipart/form-data") => {
            params.extend(request.parts.as_ref().map(|(fields, _)| fields.clone()).unwrap_or_default());
        }
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
