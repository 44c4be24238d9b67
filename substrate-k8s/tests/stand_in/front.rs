//! A stand-in for virt-api: what it serves beside the API server's own. It stands before the API server, hands everything
//! else on, and so needs no certificate and no place in the cluster.

use std::net::SocketAddr;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::api::Api;
use super::machines::{INSTANCES, KUBEVIRT, MACHINES, is_final};

const SUBRESOURCES: &str = "/apis/subresources.kubevirt.io/v1/namespaces/";

pub(crate) async fn serve(api: Api) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(converse(stream, api.clone()));
            while connections.try_join_next().is_some() {}
        }
    });
    (address, task)
}

async fn converse(mut stream: TcpStream, api: Api) {
    while let Some(request) = read(&mut stream).await {
        let uri = request.uri().to_string();
        if let Some(rest) = uri.strip_prefix(SUBRESOURCES) {
            let body = serde_json::from_slice(request.body()).unwrap_or_default();
            let (code, message) = act(&api, rest, &body).await.err().unwrap_or((202, String::new()));
            let reason = if code == 404 { "NotFound" } else { "Conflict" };
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
            let text = if code == 202 { String::new() } else { status.to_string() };
            let head = format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            if stream.write_all(format!("{head}{text}").as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let Ok(response) = api.forward(request).await else { return };
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            response.status().as_u16()
        );
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let mut body = response.into_body().into_data_stream();
        while let Some(piece) = body.next().await {
            let Ok(piece) = piece else { return };
            let head = format!("{:x}\r\n", piece.len());
            let whole = [head.as_bytes(), &piece, b"\r\n"].concat();
            if !piece.is_empty() && stream.write_all(&whole).await.is_err() {
                return;
            }
        }
        if stream.write_all(b"0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<http::Request<Vec<u8>>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let mut request = http::Request::builder().method(words.next()?).uri(words.next()?);
    let mut length = 0;
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok()?,
            "content-type" | "accept" => request = request.header(name, value),
            _ => {}
        }
    }
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    request.body(body).ok()
}

fn conflict(message: &str) -> (u16, String) {
    (409, message.to_owned())
}

/// What KubeVirt does for `NAMESPACE/KIND/NAME/ACT`, with its refusals.
async fn act(api: &Api, rest: &str, body: &Value) -> Result<(), (u16, String)> {
    let parts: Vec<&str> = rest.split('/').collect();
    let [_, kind, name, act] = parts[..] else { return Err((404, "no such path".to_owned())) };
    let machine = format!("{MACHINES}/{name}");
    let path = format!("{INSTANCES}/{name}");
    let instance = api.ask("GET", &api.path(KUBEVIRT, &path), None).await.ok();
    if kind == INSTANCES {
        let Some(instance) = instance else { return Err((404, format!("{path} not found"))) };
        if instance["status"]["phase"] != "Running" {
            return Err(conflict("VMI is not running"));
        }
        let is_paused = instance["metadata"]["annotations"]["stand-in/paused"] == "true";
        let pause = act == "pause";
        if is_paused == pause {
            return Err(conflict(if pause { "VMI is already paused" } else { "VMI is not paused" }));
        }
        let mark = json!({"metadata": {"annotations": {"stand-in/paused": pause.to_string()}}});
        api.patch(KUBEVIRT, &path, mark).await;
        return Ok(());
    }
    let Ok(found) = api.ask("GET", &api.path(KUBEVIRT, &machine), None).await else {
        return Err((404, format!("{machine} not found")));
    };
    let live = instance.filter(|instance| !is_final(instance));
    let strategy = found["spec"]["runStrategy"].as_str().unwrap_or("Always");
    let request = |action: &str| json!({"status": {"stateChangeRequests": [{"action": action}]}});
    if act == "start" {
        if live.is_some() {
            return Err(conflict("VM is already running"));
        }
        api.patch(KUBEVIRT, &format!("{machine}/status"), request("Start")).await;
        return Ok(());
    }
    let grace = body["gracePeriod"].as_i64();
    let mut old = 0;
    if let (Some(live), Some(grace)) = (&live, grace) {
        old = live["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        api.patch(KUBEVIRT, &path, json!({"spec": {"terminationGracePeriodSeconds": grace}})).await;
    }
    match strategy {
        "Always" | "Once" => {
            api.patch(KUBEVIRT, &machine, json!({"spec": {"runStrategy": "Halted"}})).await;
        }
        _ if live.is_none() => return Err(conflict("VM is not running")),
        "Halted" if grace.is_none_or(|grace| grace >= old) => {
            return Err(conflict("Halted only supports manual stop requests with a shorter graceperiod"));
        }
        _ => drop(api.patch(KUBEVIRT, &format!("{machine}/status"), request("Stop")).await),
    }
    Ok(())
}
