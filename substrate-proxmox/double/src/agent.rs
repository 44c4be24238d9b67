//! The guest agent, and a guest that knows a few programs and has no shell.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Shared;
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::world::{Guest, Kind};

/// A program that runs or has run.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    until: Instant,
    code: Option<i32>,
    signal: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Each byte as the character of its number: that is how the real one writes output.
fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn raw(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
}

/// Runs a program of the guest; nothing when there is no such program.
fn run(guest: &mut Guest, argv: &[String], input: &[u8]) -> Option<Exec> {
    let mut exec =
        Exec { until: Instant::now(), code: Some(0), signal: None, stdout: Vec::new(), stderr: Vec::new() };
    let word = |index: usize| argv.get(index).map(String::as_str).unwrap_or_default();
    let number = |index: usize| word(index).parse::<i64>().unwrap_or_default();
    let program = word(0).trim_start_matches("/bin/").trim_start_matches("/usr/bin/");
    match program {
        "true" | "log" | "log-err" => {}
        "false" => exec.code = Some(1),
        "exit" => exec.code = Some(number(1) as i32),
        "emit" => {
            exec.stdout = word(1).into();
            exec.stderr = word(2).into();
            exec.code = Some(number(3) as i32);
        }
        "arguments" => {
            exec.stdout = argv[1..].iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
        }
        "echo" => exec.stdout = format!("{}\n", argv[1..].join(" ")).into(),
        "cat" => match argv.get(1) {
            None => exec.stdout = input.to_vec(),
            Some(path) => match guest.files.get(path) {
                Some(content) => exec.stdout.clone_from(content),
                None => {
                    exec.stderr = format!("cat: {path}: No such file or directory\n").into();
                    exec.code = Some(1);
                }
            },
        },
        "write" => drop(guest.files.insert(word(1).to_owned(), word(2).into())),
        "touch" => drop(guest.files.insert(word(1).to_owned(), Vec::new())),
        "rm" => {
            if guest.files.remove(word(1)).is_none() {
                exec.code = Some(1);
            }
        }
        "flood" => {
            exec.stdout = vec![0; number(1) as usize];
            exec.stderr = vec![0; number(2) as usize];
        }
        "printenv" => exec.stdout = b"\n".to_vec(),
        "pwd" => exec.stdout = b"/\n".to_vec(),
        "whoami" => exec.stdout = b"root\n".to_vec(),
        "hostname" => exec.stdout = format!("{}\n", guest.name()).into(),
        "sleep" => {
            let seconds: f64 = word(1).parse().unwrap_or_default();
            exec.until = Instant::now() + Duration::from_secs_f64(seconds);
        }
        // It ends at once, and the child that it leaves holds its output. The agent reports an end when the process
        // is gone *and* nobody holds the output any more.
        "leave-child" => {
            let seconds: f64 = word(1).parse().unwrap_or_default();
            exec.until = Instant::now() + Duration::from_secs_f64(seconds);
            exec.code = Some(number(2) as i32);
        }
        "kill-self" => {
            exec.code = None;
            exec.signal = Some(number(1) as i32);
        }
        _ => return None,
    }
    Some(exec)
}

impl Shared {
    pub(crate) fn agent(&self, vmid: u64, what: &str, method: &str, params: &Params) -> Answer {
        let now = self.clock.now();
        let mut world = self.world();
        let number = world.counter() as i64;
        let Some(guest) = world.guests.get_mut(&vmid).filter(|guest| guest.kind == Kind::Qemu) else {
            return fail(format!("VM {vmid} does not exist"));
        };
        let setting = guest.text("agent").unwrap_or_default();
        let enabled = setting.split(',').any(|part| part == "1" || part == "enabled=1");
        if !enabled {
            return fail("No QEMU guest agent configured");
        }
        if !guest.running {
            return fail(format!("VM {vmid} is not running"));
        }
        if guest.paused || now < guest.agent_from {
            return fail("QEMU guest agent is not running");
        }
        match (method, what) {
            ("POST", "ping") => Ok(json!({"result": {}})),
            ("GET", "get-osinfo") => {
                Ok(json!({"result": {"id": "labguest", "pretty-name": "Lab guest", "machine": "x86_64"}}))
            }
            ("GET", "network-get-interfaces") => {
                let mac = guest
                    .text("net0")
                    .and_then(|net| Some(net.split(',').next()?.split_once('=')?.1.to_lowercase()))
                    .unwrap_or_default();
                let host = vmid % 250 + 2;
                Ok(json!({"result": [
                    {"name": "lo", "hardware-address": "00:00:00:00:00:00",
                     "ip-addresses": [{"ip-address": "127.0.0.1", "prefix": 8, "ip-address-type": "ipv4"}]},
                    {"name": "eth0", "hardware-address": mac,
                     "ip-addresses": [{"ip-address": format!("10.77.200.{host}"), "prefix": 16, "ip-address-type": "ipv4"}]},
                    {"name": "docker0", "hardware-address": "02:42:aa:bb:cc:dd",
                     "ip-addresses": [{"ip-address": "172.17.0.1", "prefix": 16, "ip-address-type": "ipv4"}]},
                ]}))
            }
            ("POST", "exec") => {
                let argv = params.all("command");
                let input = raw(&params.text("input-data").unwrap_or_default());
                let writes = matches!(argv.first().map(String::as_str), Some("log" | "log-err"));
                match run(guest, &argv, &input) {
                    Some(exec) => {
                        if writes && guest.text("serial0").as_deref() == Some("socket") {
                            self.write_console(
                                vmid,
                                &format!("{}\r\n", argv.get(1).cloned().unwrap_or_default()),
                            );
                        }
                        guest.execs.insert(number, exec);
                        Ok(json!({"pid": number}))
                    }
                    None => Err(Refusal::empty(596, "Broken pipe")),
                }
            }
            ("GET", "exec-status") => {
                let pid = params.text("pid").and_then(|pid| pid.parse().ok()).unwrap_or_default();
                let Some(exec) = guest.execs.get(&pid) else {
                    return fail("Agent error: Invalid parameter 'pid'");
                };
                if exec.until > Instant::now() {
                    return Ok(json!({"exited": 0}));
                }
                // It can be read once.
                let Some(exec) = guest.execs.remove(&pid) else { return fail("Agent error") };
                let mut status = json!({"exited": 1});
                if let Some(code) = exec.code {
                    status["exitcode"] = code.into();
                }
                if let Some(signal) = exec.signal {
                    status["signal"] = signal.into();
                }
                for (key, cut, bytes) in
                    [("out-data", "out-truncated", &exec.stdout), ("err-data", "err-truncated", &exec.stderr)]
                {
                    if !bytes.is_empty() {
                        let most = bytes.len().min(16 << 20);
                        status[key] = characters(&bytes[..most]).into();
                        status[cut] = u8::from(most < bytes.len()).into();
                    }
                }
                Ok(status)
            }
            ("POST", "file-write") => {
                let content = params.text("content").unwrap_or_default();
                let encoded = params.text("encode").as_deref() == Some("0");
                let content = if encoded { base64(&content) } else { content.into_bytes() };
                guest.files.insert(params.text("file").unwrap_or_default(), content);
                Ok(Value::Null)
            }
            ("GET", "file-read") => {
                let file = params.text("file").unwrap_or_default();
                match guest.files.get(&file) {
                    Some(content) => Ok(json!({"content": characters(content), "bytes-read": content.len()})),
                    None => fail(format!(
                        "Agent error: failed to open file '{file}' (mode: 'r'): No such file or directory"
                    )),
                }
            }
            _ => Err(crate::no_method(method, &format!("/nodes/qemu/{vmid}/agent/{what}"))),
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let Some(value) = ALPHABET.iter().position(|known| *known == letter) else { continue };
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    out
}
