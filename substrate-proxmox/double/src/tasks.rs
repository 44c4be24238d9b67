//! Tasks: accepted at once, done in their own time.

use serde_json::{Value, json};

use crate::Shared;
use crate::params::Params;
use crate::reply::{Answer, Refusal};
use crate::world::{Task, World};

pub(crate) type Log = Vec<String>;

/// What a task's work gives: its log, and how it ended.
pub(crate) struct Done {
    pub(crate) log: Log,
    pub(crate) result: Result<(), String>,
}

impl Done {
    pub(crate) fn ok(log: Log) -> Self {
        Self { log, result: Ok(()) }
    }

    pub(crate) fn failed(log: Log, reason: impl Into<String>) -> Self {
        Self { log, result: Err(reason.into()) }
    }
}

impl World {
    pub(crate) fn new_task(&mut self, node: &str, kind: &str, id: &str, user: &str, now: f64) -> String {
        let order = self.counter();
        let (pid, pstart, start) = (order + 0x2000, (now * 100.0) as u64 & 0xffff_ffff, now as u64);
        let upid = format!("UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:");
        let task = Task {
            upid: upid.clone(),
            node: node.to_owned(),
            kind: kind.to_owned(),
            id: id.to_owned(),
            user: user.to_owned(),
            pid,
            pstart,
            start,
            end: None,
            exit: None,
            log: Vec::new(),
            order,
        };
        self.tasks.insert(upid.clone(), task);
        upid
    }

    pub(crate) fn end_task(&mut self, upid: &str, done: Done, now: f64) {
        let Some(task) = self.tasks.get_mut(upid).filter(|task| task.end.is_none()) else { return };
        task.log = done.log;
        let (exit, last) = match done.result {
            Ok(()) if self.warned.contains(&task.kind) => {
                task.log.push("WARN: something is not as it should be".to_owned());
                ("WARNINGS: 1".to_owned(), "TASK WARNINGS: 1".to_owned())
            }
            Ok(()) => ("OK".to_owned(), "TASK OK".to_owned()),
            Err(reason) => (reason.clone(), format!("TASK ERROR: {reason}")),
        };
        task.log.push(last);
        task.exit = Some(exit);
        task.end = Some(now as u64);
    }

    /// A task that was killed leaves no verdict.
    pub(crate) fn kill_task(&mut self, upid: &str, now: f64) {
        if let Some(task) = self.tasks.get_mut(upid).filter(|task| task.end.is_none()) {
            task.exit = Some("unexpected status".to_owned());
            task.log.push("received interrupt".to_owned());
            task.end = Some(now as u64);
        }
    }
}

impl Shared {
    /// Accepts a task and does it.
    pub(crate) fn spawn<F, W>(&self, node: &str, kind: &str, id: &str, user: &str, work: W) -> Answer
    where
        W: FnOnce(Self, String) -> F,
        F: Future<Output = Done> + Send + 'static,
    {
        let upid = self.world().new_task(node, kind, id, user, self.clock.now());
        let shared = self.clone();
        let work = work(self.clone(), upid.clone());
        let name = upid.clone();
        tokio::spawn(async move {
            let done = work.await;
            let now = shared.clock.now();
            shared.world().end_task(&name, done, now);
        });
        Ok(json!(upid))
    }

    pub(crate) fn is_killed(&self, upid: &str) -> bool {
        self.world().tasks.get(upid).is_some_and(|task| task.end.is_some())
    }

    pub(crate) fn task_call(&self, node: &str, rest: &[&str], method: &str, params: &Params) -> Answer {
        let mut world = self.world();
        let [upid, what @ ..] = rest else { return Ok(self.list_tasks(&world, node, params)) };
        if !upid.starts_with("UPID:") {
            return Err(Refusal::parameter("upid", "unable to parse worker upid"));
        }
        if !world.tasks.contains_key(*upid) {
            return Err(Refusal::parameter("upid", "no such task"));
        }
        let task = world.tasks[*upid].clone();
        match (method, what) {
            ("GET", ["status"]) => {
                let mut status = json!({
                    "upid": task.upid, "node": task.node, "type": task.kind, "id": task.id, "user": task.user,
                    "pid": task.pid, "pstart": task.pstart, "starttime": task.start,
                    "status": if task.end.is_some() { "stopped" } else { "running" },
                });
                if let Some(exit) = task.exit {
                    status["exitstatus"] = exit.into();
                }
                Ok(status)
            }
            ("GET", ["log"]) => {
                let start = params.number("start").unwrap_or(0) as usize;
                let limit = params.number("limit").unwrap_or(50) as usize;
                let lines: Vec<String> =
                    if task.log.is_empty() { vec!["no content".to_owned()] } else { task.log };
                let page: Vec<Value> = lines
                    .iter()
                    .enumerate()
                    .skip(start)
                    .take(limit)
                    .map(|(index, text)| json!({"n": index + 1, "t": text}))
                    .collect();
                Ok(page.into())
            }
            ("DELETE", []) => {
                let now = self.clock.now();
                world.kill_task(upid, now);
                Ok(Value::Null)
            }
            _ => Err(Refusal::new(501, format!("Method '{method} /nodes/{node}/tasks' not implemented"))),
        }
    }

    fn list_tasks(&self, world: &World, node: &str, params: &Params) -> Value {
        let since = params.number("since").unwrap_or(0);
        let source = params.text("source").unwrap_or_else(|| "archive".to_owned());
        let mut tasks: Vec<&Task> = world
            .tasks
            .values()
            .filter(|task| task.node == node && task.start >= since)
            .filter(|task| params.text("vmid").is_none_or(|vmid| task.id == vmid))
            .filter(|task| params.text("typefilter").is_none_or(|kind| task.kind == kind))
            .filter(|task| match source.as_str() {
                "active" => task.end.is_none(),
                "archive" => task.end.is_some(),
                _ => true,
            })
            .filter(|task| !params.flag("errors") || task.exit.as_deref().is_some_and(|exit| exit != "OK"))
            .collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.order));
        let limit = params.number("limit").unwrap_or(50) as usize;
        tasks.into_iter().take(limit).map(listed).collect::<Vec<_>>().into()
    }
}

pub(crate) fn listed(task: &Task) -> Value {
    let mut entry = json!({
        "upid": task.upid, "node": task.node, "type": task.kind, "id": task.id, "user": task.user,
        "pid": task.pid, "pstart": task.pstart, "starttime": task.start,
    });
    if let (Some(end), Some(exit)) = (task.end, &task.exit) {
        entry["endtime"] = end.into();
        entry["status"] = exit.clone().into();
    }
    entry
}
