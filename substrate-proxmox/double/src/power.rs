//! Power: start, stop, shutdown, pause, and what a guest says of itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::guests::{PATIENT, lock_file, missing};
use crate::params::Params;
use crate::reply::{Answer, fail};
use crate::tasks::Done;
use crate::world::{Guest, Kind};

impl Shared {
    pub(crate) fn current(&self, kind: Kind, node: &str, vmid: u64) -> Answer {
        let now = self.clock.now();
        let mut world = self.world();
        let guest = world.here(kind, node, vmid)?;
        Ok(status_of(guest, now, true))
    }

    pub(crate) fn power(
        &self,
        kind: Kind,
        node: &str,
        vmid: u64,
        what: &str,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let (exists, running, paused, managed) = {
            let world = self.world();
            let guest = world.guests.get(&vmid).filter(|guest| guest.kind == kind && guest.node == node);
            (
                guest.is_some(),
                guest.is_some_and(|guest| guest.running),
                guest.is_some_and(|guest| guest.paused),
                guest.is_some_and(|guest| guest.managed),
            )
        };
        let id = vmid.to_string();
        match (kind, what) {
            // A machine's start, stop and shutdown are accepted, whatever there is.
            (Kind::Qemu, "start" | "stop" | "shutdown") => {}
            _ if !exists => return Err(missing(kind, node, vmid)),
            (Kind::Lxc, "start") if running => return fail(format!("CT {vmid} already running")),
            (Kind::Lxc, "stop" | "shutdown") if !running => return fail(format!("CT {vmid} not running")),
            (Kind::Qemu, "reset" | "suspend" | "resume" | "reboot") if !running => {
                return fail(format!("VM {vmid} not running"));
            }
            _ => {}
        }
        if managed && matches!(what, "start" | "stop" | "shutdown") {
            // The manager is told; it acts in its own time.
            let start = what == "start";
            let task = if start { "hastart" } else { "hastop" };
            let answer = self.spawn(node, task, &id, &caller.user, |_, _| async { Done::ok(Vec::new()) });
            let shared = self.clone();
            tokio::spawn(async move {
                shared.clock.sleep(5.0).await;
                if start { shared.switch_on(vmid) } else { shared.switch_off(vmid) }
            });
            return answer;
        }
        let node_name = node.to_owned();
        let paused_word = match what {
            "suspend" if params.flag("todisk") => "suspend".to_owned(),
            "suspend" => {
                if kind == Kind::Qemu {
                    "pause".to_owned()
                } else {
                    "suspend".to_owned()
                }
            }
            other => other.to_owned(),
        };
        let word = what.to_owned();
        if what == "stop" && params.flag("overrule-shutdown") {
            let now = self.clock.now();
            let mut world = self.world();
            let shutdowns: Vec<String> = world
                .tasks
                .values()
                .filter(|task| task.end.is_none() && task.id == id && task.kind == kind.task("shutdown"))
                .map(|task| task.upid.clone())
                .collect();
            for upid in shutdowns {
                world.kill_task(&upid, now);
            }
        }
        let timeout = params.number("timeout");
        let force = params.flag("forceStop");
        self.spawn(node, &kind.task(&paused_word), &id, &caller.user, move |shared, upid| async move {
            let lock = shared.world().flock(format!("config {vmid}"));
            let patience = shared.clock.real(PATIENT);
            let mut log = Vec::new();
            let held = match lock.try_write() {
                Ok(held) => held,
                Err(_) => {
                    log.push("trying to acquire lock...".to_owned());
                    match tokio::time::timeout(patience, lock.write()).await {
                        Ok(held) => {
                            log.push(" OK".to_owned());
                            held
                        }
                        Err(_) => {
                            return Done::failed(
                                log,
                                format!("can't lock file '{}' - got timeout", lock_file(kind, vmid)),
                            );
                        }
                    }
                }
            };
            let look = || -> Result<Guest, String> {
                let mut world = shared.world();
                world
                    .here(kind, &node_name, vmid)
                    .map(|guest| guest.clone())
                    .map_err(|refusal| refusal.message)
            };
            let guest = match look() {
                Ok(guest) => guest,
                Err(reason) => return Done::failed(log, reason),
            };
            let lock = guest.lock().filter(|lock| lock != "suspended" || word != "start");
            if let Some(lock) = lock {
                return Done::failed(log, format!("{} is locked ({lock})", kind.label()));
            }
            let times = shared.times();
            match word.as_str() {
                "start" => {
                    if guest.running {
                        return Done::failed(log, format!("VM {vmid} already running"));
                    }
                    if guest.is_template() {
                        return Done::failed(log, "you can't start a vm if it's a template");
                    }
                    shared.clock.sleep(times.power).await;
                    shared.switch_on(vmid);
                }
                "stop" => {
                    if guest.running {
                        shared.clock.sleep(times.power).await;
                    }
                    shared.switch_off(vmid);
                }
                "shutdown" => {
                    if guest.paused && !force {
                        return Done::failed(log, "VM is paused - cannot shutdown");
                    }
                    let deaf = guest.running && (guest.deaf || guest.paused);
                    if deaf && !guest.paused {
                        // What a caller asks for are our seconds.
                        let asked = Duration::from_secs(timeout.unwrap_or(60));
                        let begin = tokio::time::Instant::now();
                        while begin.elapsed() < asked && !shared.is_killed(&upid) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        if shared.is_killed(&upid) {
                            return Done::failed(log, "unexpected status");
                        }
                    } else if guest.running {
                        shared.clock.sleep(times.power).await;
                    }
                    if deaf && !force {
                        return Done::failed(
                            log,
                            match kind {
                                Kind::Qemu => "VM quit/powerdown failed - got timeout".to_owned(),
                                Kind::Lxc => format!(
                                    "command 'lxc-stop -n {vmid} --nokill --timeout {}' failed: exit code 1",
                                    timeout.unwrap_or(60)
                                ),
                            },
                        );
                    }
                    if deaf {
                        log.push("VM still running - terminating now with SIGTERM".to_owned());
                    }
                    shared.switch_off(vmid);
                }
                "suspend" if paused_word == "suspend" && kind == Kind::Lxc => {
                    return Done::failed(
                        vec![format!("lxc-checkpoint: {vmid}: execing criu failed, is it installed?")],
                        format!(
                            "command 'lxc-checkpoint -n {vmid} -s -D /var/lib/vz/dump' failed: exit code 1"
                        ),
                    );
                }
                "suspend" if paused_word == "suspend" => {
                    shared.switch_off(vmid);
                    if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                        guest.config.insert("lock".into(), "suspended".into());
                    }
                    log.push("State saved, quitting".to_owned());
                }
                "suspend" | "resume" => {
                    shared.clock.sleep(times.quick).await;
                    if let Some(guest) = shared.world().guests.get_mut(&vmid) {
                        guest.paused = word == "suspend";
                    }
                }
                _ => {
                    shared.clock.sleep(times.power).await;
                    if word == "reboot" {
                        shared.switch_off(vmid);
                        shared.switch_on(vmid);
                    }
                }
            }
            drop(held);
            let _ = paused;
            Done::ok(log)
        })
    }

    pub(crate) fn switch_on(&self, vmid: u64) {
        let now = self.clock.now();
        let agent = self.times().agent;
        let mut world = self.world();
        let pid = world.counter() + 1_000;
        if let Some(guest) = world.guests.get_mut(&vmid).filter(|guest| !guest.running) {
            for (key, value) in std::mem::take(&mut guest.pending) {
                match value {
                    Some(value) => drop(guest.config.insert(key, value)),
                    None => drop(guest.config.remove(&key)),
                }
            }
            guest.config.remove("lock");
            guest.running = true;
            guest.paused = false;
            guest.started = now;
            guest.pid = pid;
            guest.agent_from = now + agent;
            guest.execs.clear();
        }
    }

    pub(crate) fn switch_off(&self, vmid: u64) {
        if let Some(guest) = self.world().guests.get_mut(&vmid) {
            guest.running = false;
            guest.paused = false;
            for (key, value) in std::mem::take(&mut guest.pending) {
                match value {
                    Some(value) => drop(guest.config.insert(key, value)),
                    None => drop(guest.config.remove(&key)),
                }
            }
        }
    }
}

/// What a guest uses and how it is.
pub(crate) fn status_of(guest: &Guest, now: f64, detailed: bool) -> Value {
    let status = if guest.running { "running" } else { "stopped" };
    let uptime = if guest.running { (now - guest.started) as u64 } else { 0 };
    let mut fields = json!({
        "vmid": guest.vmid, "name": guest.name(), "status": status, "uptime": uptime,
        "cpus": guest.cpus(), "cpu": if guest.running { 0.02 } else { 0.0 },
        "maxmem": guest.max_memory(), "mem": if guest.running { 47_656_960 } else { 0 },
        "maxdisk": guest.max_disk(), "disk": 0,
        "netin": uptime * 220, "netout": uptime * 704, "diskread": 0, "diskwrite": 0,
    });
    let mut set = |key: &str, value: Value| fields[key] = value;
    if let Some(tags) = guest.text("tags") {
        set("tags", tags.into());
    }
    if let Some(lock) = guest.lock() {
        set("lock", lock.into());
    }
    if guest.is_template() {
        set("template", 1.into());
    }
    match guest.kind {
        Kind::Qemu => {
            set("memhost", 0.into());
            if guest.text("serial0").is_some() {
                set("serial", 1.into());
            }
            if guest.running {
                set("pid", guest.pid.into());
            }
        }
        Kind::Lxc => {
            set("type", "lxc".into());
            set("swap", 0.into());
            set("maxswap", 0.into());
            set("disk", if guest.running { 4_096_000.into() } else { 0.into() });
        }
    }
    if detailed {
        set("ha", json!({"managed": u8::from(guest.managed)}));
        if guest.kind == Kind::Qemu {
            let detail = if guest.paused { "paused" } else { status };
            set("qmpstatus", detail.into());
            if guest.text("agent").is_some_and(|agent| agent.starts_with('1') || agent.contains("enabled=1"))
            {
                set("agent", 1.into());
            }
        }
    }
    fields
}
