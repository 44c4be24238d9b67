//! The double against what real daemons answered, call by call, where the record is at hand.
//!
//! The record is data that lies beside the checkout; without it there is nothing to compare with, and nothing is
//! proved.

use std::path::PathBuf;

use serde_json::{Value, json};
use substrate_proxmox_double::{Double, Kind, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TOKEN: &str = "PVEAPIToken=root@pam!lab=57441adc-20c6-4869-a7ac-1f8500670747";

/// Calls that the double does not know, and why that is no loss: nothing here sends them.
const ELSEWHERE: &[&str] = &[
    "/nodes/pve/vzdump",
    "/vncproxy",
    "/termproxy",
    "/upload",
    "/cloudinit",
    "/access/acl",
    "/access/permissions",
    "archive=",
    "/move_disk",
    "/unlink",
    "/capabilities",
    "/agent/info",
    "vzdump-qemu",
    // Programs of the recorded guest.
    "/bin/sh",
    "/bin/ls",
    "pid=138",
    "pid=151",
    // Lists of subfolders, and of what else the recorded host had.
    "/nodes/pve/qemu/140/status ",
    "GET /storage ",
    "GET /cluster/status",
    "GET /nodes/pve/status",
    "GET /nodes/pve/storage ",
    // Made by hand as root with a password; the replay has a token.
    "lock=backup",
    "delete=lock",
    "skiplock",
    "args=-no-reboot",
];

/// Fields that come and go with memory and with what the recorded host had.
const PASSING: &[&str] =
    &["running-nets-host-mtu", "runningcpu", "runningmachine", "vmstate", "snaptime", "parent", "args"];

/// One recorded call.
#[derive(Debug, Default, Clone)]
struct Recorded {
    section: String,
    call: String,
    status: String,
    body: String,
    exit: Option<String>,
}

fn record() -> Option<Vec<Recorded>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/pve/recorded.txt");
    let text = std::fs::read_to_string(path).ok()?;
    let (mut calls, mut section, mut current) = (Vec::new(), String::new(), None::<Recorded>);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            section = name.trim_end_matches(" ==").to_owned();
        } else if let Some(call) = line.strip_prefix("### ") {
            calls.extend(current.take());
            current =
                Some(Recorded { section: section.clone(), call: call.to_owned(), ..Recorded::default() });
        } else if let Some(one) = &mut current {
            if one.status.is_empty() {
                match line.strip_prefix("HTTP/1.1 ") {
                    Some(status) => one.status = status.to_owned(),
                    // A value with a line end in it.
                    None => one.call = format!("{}\n{line}", one.call),
                }
            } else if let Some(task) = line.strip_prefix("task: ") {
                let task: Value = serde_json::from_str(task).unwrap_or_default();
                one.exit = one.exit.take().or_else(|| task["data"]["exitstatus"].as_str().map(str::to_owned));
            } else if one.body.is_empty() && line.starts_with('{') {
                one.body = line.to_owned();
            }
        }
    }
    calls.extend(current);
    Some(calls)
}

fn encode(text: &str) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    text.bytes()
        .map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Verb, path with query, content type, body.
fn request(call: &str) -> Option<(String, String, String, String)> {
    let (head, data) = match call.find(" -d ") {
        Some(at) => call.split_at(at),
        None => (call, ""),
    };
    let (head, json) = match head.split_once(" -H Content-Type: application/json") {
        Some((head, rest)) => (head, Some(rest.split_once("--data-raw ").map_or("", |(_, json)| json))),
        None => (head, None),
    };
    let mut words = head.split_whitespace();
    let (verb, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    if words.next().is_some() {
        return None;
    }
    if let Some(json) = json {
        return Some((verb, path, "application/json".to_owned(), json.to_owned()));
    }
    let pairs: Vec<String> = data
        .split(" -d ")
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => format!("{}={}", encode(key), encode(value)),
            None => encode(pair),
        })
        .collect();
    Some((verb, path, "application/x-www-form-urlencoded".to_owned(), pairs.join("&")))
}

async fn send(double: &Double, verb: &str, path: &str, kind: &str, body: &str) -> (String, String) {
    let address = double.url(0).replace("http://", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let content = if body.is_empty() && verb != "POST" && verb != "PUT" {
        String::new()
    } else {
        format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len())
    };
    let head = format!(
        "{verb} /api2/json{path} HTTP/1.1\r\nHost: pve\r\nAuthorization: {TOKEN}\r\n{content}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let count = stream.read(&mut chunk).await.unwrap();
        answer.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                let status = head.lines().next().unwrap().trim_start_matches("HTTP/1.1 ").to_owned();
                return (status, body.to_owned());
            }
        }
        assert!(count > 0, "the answer broke off: {text}");
    }
}

/// Waits for a task's end.
async fn exit_of(double: &Double, upid: &str) -> String {
    loop {
        let path = format!("/nodes/pve/tasks/{}/status", encode(upid));
        let (_, body) = send(double, "GET", &path, "", "").await;
        let status: Value = serde_json::from_str(&body).unwrap();
        if let Some(exit) = status["data"]["exitstatus"].as_str() {
            return exit.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Kinds of the values, by key.
fn shape(value: &Value) -> Vec<(String, &'static str)> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fields = value.as_object().cloned().unwrap_or_default();
    let mut shape: Vec<_> = fields
        .iter()
        .filter(|(key, _)| !PASSING.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), kind(value)))
        .collect();
    shape.sort();
    shape
}

#[tokio::test]
async fn the_double_answers_as_the_real_daemon_did() {
    let Some(calls) = record() else { return };
    let double = Double::start(Setup { checked: false, scale: 0.001, ..Setup::default() }).await;
    double.add_guest(
        300,
        Kind::Lxc,
        "pve",
        &[
            ("hostname", json!("ct1")),
            ("memory", json!(128)),
            ("arch", json!("amd64")),
            ("swap", json!(0)),
            ("ostype", json!("unmanaged")),
            ("net0", json!("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:B6:11:65,ip=manual,type=veth")),
            ("rootfs", json!("local:300/vm-300-disk-0.raw,size=102M")),
        ],
    );
    double.switch(300, true);
    let (mut compared, mut wrong) = (0, Vec::new());
    // Ids that the server made, in the record and here.
    let mut ids: Vec<(String, String)> = Vec::new();
    for one in calls {
        let Some((verb, path, kind, body)) = request(&one.call) else { continue };
        let line = format!("{} ", one.call);
        by_hand(&double, &path, &body);
        // The token that the replay itself uses, and an agent that was on its way up.
        let ours = line.contains("root@pam/token/lab") && one.status.starts_with("200");
        let early = one.status.ends_with("QEMU guest agent is not running");
        let raw =
            one.section.starts_with("REBOOT without") && line.contains("GET /nodes/pve/qemu/120/config");
        let elsewhere = ours
            || early
            || raw
            || !matches!(verb.as_str(), "GET" | "POST" | "PUT" | "DELETE")
            || ELSEWHERE.iter().any(|part| line.contains(part));
        if elsewhere {
            continue;
        }
        prepare(&double, &one, &verb, &path, &body);
        let body = ids.iter().fold(body, |body, (theirs, ours)| body.replace(theirs, ours));
        let path = ids.iter().fold(path, |path, (theirs, ours)| {
            path.replace(theirs, ours).replace(&encode(theirs), &encode(ours))
        });
        let held = match one.section.starts_with("CONCURRENCY") && verb == "PUT" {
            true => Some(double.hold_config(120).await),
            false => None,
        };
        let (status, answer) = send(&double, &verb, &path, &kind, &body).await;
        drop(held);
        remember(&one, &answer, &mut ids);
        let problem = compare(&double, &one, &verb, &path, &status, &answer).await;
        compared += 1;
        if let Some(problem) = problem {
            wrong.push(format!("[{}] {}\n    {problem}", one.section, one.call));
        }
    }
    assert!(compared > 250, "only {compared} calls were compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Does what only root with a password may.
fn by_hand(double: &Double, path: &str, body: &str) {
    let vmid = path.split('/').nth(4).and_then(|vmid| vmid.parse().ok()).unwrap_or_default();
    if body == "lock=backup" {
        double.change(vmid, "lock", Some(json!("backup")));
    }
    if body == "delete=lock&skiplock=1" {
        double.change(vmid, "lock", None);
    }
}

/// Keeps which id of ours stands for which of the record.
fn remember(one: &Recorded, answer: &str, ids: &mut Vec<(String, String)>) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (theirs, ours) = (parse(&one.body), parse(answer));
    if let (Some(theirs), Some(ours)) = (theirs["data"].as_str(), ours["data"].as_str())
        && theirs.starts_with("UPID:")
    {
        ids.push((theirs.to_owned(), ours.to_owned()));
    }
    if let (Some(theirs), Some(ours)) = (theirs["data"]["digest"].as_str(), ours["data"]["digest"].as_str()) {
        ids.retain(|(known, _)| known != theirs);
        ids.push((theirs.to_owned(), ours.to_owned()));
    }
    if let (Some(theirs), Some(ours)) = (theirs["data"]["pid"].as_u64(), ours["data"]["pid"].as_u64())
        && one.call.contains("/agent/exec")
    {
        ids.push((format!("pid={theirs}"), format!("pid={ours}")));
    }
}

/// The recording began anew between its sections, and had a guest that did not always listen.
fn prepare(double: &Double, one: &Recorded, verb: &str, path: &str, body: &str) {
    let creates = verb == "POST" && (path == "/nodes/pve/qemu" || path == "/nodes/pve/lxc");
    if creates && one.status.starts_with("200") {
        let vmid = body
            .split('&')
            .find_map(|pair| pair.strip_prefix("vmid="))
            .or_else(|| body.split_once("\"vmid\":").map(|(_, rest)| rest.trim_start_matches('"')))
            .and_then(|rest| rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok());
        if let Some(vmid) = vmid {
            double.remove_guest(vmid);
        }
    }
    let section = |name: &str| one.section.starts_with(name);
    let there = |vmid: u64| double.guests().contains_key(&vmid);
    // The machine that was restored from a backup, and the one that was there when containers were tried.
    if section("BACKUP / RESTORE") && path == "/nodes/pve/qemu/131/config" {
        let guests = double.guests();
        let settings: Vec<(&str, Value)> =
            guests[&130].iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        double.add_guest(131, Kind::Qemu, "pve", &settings);
        double.change(131, "scsi0", Some(json!("local:131/vm-131-disk-0.qcow2,size=64M")));
    }
    if section("LXC") && !there(100) {
        double.add_guest(100, Kind::Qemu, "pve", &[("name", json!("vm1"))]);
    }
    // What the calls did that the double does not know.
    if body.contains("snapname=onraw") {
        double.change(120, "scsi0", Some(json!("local:120/vm-120-disk-1.raw,size=1G")));
    }
    // The guest had just begun to boot, and heard nothing.
    double.set_deaf(200, body.contains("timeout=1"));
}

async fn compare(
    double: &Double,
    one: &Recorded,
    verb: &str,
    path: &str,
    status: &str,
    answer: &str,
) -> Option<String> {
    if status != one.status {
        return Some(format!("answers `{status}`, recorded `{}`\n    {answer}", one.status));
    }
    if serde_json::from_str::<Value>(&one.body).is_err() && status.starts_with("200") {
        return None;
    }
    let (recorded, ours): (Value, Value) = (
        serde_json::from_str(&one.body).unwrap_or_default(),
        serde_json::from_str(answer).unwrap_or_default(),
    );
    if !status.starts_with("200") {
        return (recorded != ours).then(|| format!("says {ours}, recorded {recorded}"));
    }
    let (recorded, ours) = (&recorded["data"], &ours["data"]);
    match (recorded, ours) {
        (Value::String(theirs), Value::String(upid)) if theirs.starts_with("UPID:") => {
            let part = |text: &str| text.split(':').skip(5).take(2).collect::<Vec<_>>().join(":");
            if part(theirs) != part(upid) {
                return Some(format!("is the task {upid}, recorded {theirs}"));
            }
            let exit = exit_of(double, upid).await;
            let expected = one.exit.as_ref()?;
            (exit != *expected).then(|| format!("ends with `{exit}`, recorded `{expected}`"))
        }
        // What a guest uses and runs differs; which fields there are and their types are the same.
        (Value::Object(_), Value::Object(_)) if path.ends_with("/config") && verb == "GET" => {
            (shape(recorded) != shape(ours))
                .then(|| format!("has {:?}, recorded {:?}", shape(ours), shape(recorded)))
        }
        (Value::Null, ours) => (!ours.is_null()).then(|| format!("gives {ours}, recorded null")),
        (Value::String(_), ours) => (!ours.is_string()).then(|| format!("gives {ours}, recorded {recorded}")),
        _ => None,
    }
}
