//! What supervisord tells about a process.

use std::time::{Duration, SystemTime};

use dxr::Value;
use substrate_core::{Error, Instance, InstanceKind, InstanceName, InstanceState, Result};

use super::record::Record;
use super::value::{integer_member, text_member};
use crate::name::Address;

/// supervisord's states. The numbers are its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessState {
    Stopped,
    /// Spawned, and not yet up for `startsecs`.
    Starting,
    Running,
    /// It ended before `startsecs`; supervisord will try again.
    Backoff,
    Stopping,
    Exited,
    /// It ended before `startsecs` too often; supervisord has given up.
    Fatal,
    Unknown,
}

impl ProcessState {
    fn of(number: i32) -> Self {
        match number {
            0 => Self::Stopped,
            10 => Self::Starting,
            20 => Self::Running,
            30 => Self::Backoff,
            40 => Self::Stopping,
            100 => Self::Exited,
            200 => Self::Fatal,
            _ => Self::Unknown,
        }
    }

    /// Nothing of it runs, and nothing will without a call.
    pub(crate) fn is_down(self) -> bool {
        matches!(self, Self::Stopped | Self::Exited | Self::Fatal)
    }

    pub(crate) fn instance_state(self) -> InstanceState {
        match self {
            // A process there is: that it stays is what supervisord waits to see.
            Self::Starting | Self::Running => InstanceState::Running,
            Self::Stopping => InstanceState::Stopping,
            // However it ended: as everywhere, its exit code is in the provider's own word.
            Self::Stopped | Self::Exited => InstanceState::Stopped,
            Self::Backoff | Self::Fatal => InstanceState::Failed,
            Self::Unknown => InstanceState::Unknown,
        }
    }
}

/// One process as supervisord described it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Process {
    pub(crate) address: Address,
    pub(crate) state: ProcessState,
    state_name: String,
    /// The process, if there is one.
    pub(crate) pid: Option<u32>,
    /// Seconds since 1970, capped at 2038: XML-RPC has no larger numbers.
    pub(crate) started: Option<u64>,
    pub(crate) stopped: Option<u64>,
    exit_status: i32,
    pub(crate) spawn_error: String,
    pub(crate) stdout_log: Option<String>,
    pub(crate) stderr_log: Option<String>,
}

impl Process {
    pub(crate) fn read(value: &Value) -> Result<Self> {
        let lacks =
            |field: &str| Error::protocol(format!("supervisord describes a process without its `{field}`"));
        let text = |field: &str| text_member(value, field).unwrap_or_default().to_owned();
        let name = text_member(value, "name").ok_or_else(|| lacks("name"))?;
        let group = text_member(value, "group").ok_or_else(|| lacks("group"))?;
        let state = integer_member(value, "state").ok_or_else(|| lacks("state"))?;
        let positive = |field: &str| {
            let number = integer_member(value, field).unwrap_or_default();
            u64::try_from(number).ok().filter(|number| *number > 0)
        };
        let file = |field: &str| Some(text(field)).filter(|path| !path.is_empty());
        Ok(Self {
            address: Address::new(group, name),
            state: ProcessState::of(state),
            state_name: text("statename"),
            pid: positive("pid").and_then(|pid| u32::try_from(pid).ok()),
            started: positive("start"),
            stopped: positive("stop"),
            exit_status: integer_member(value, "exitstatus").unwrap_or_default(),
            spawn_error: text("spawnerr"),
            stdout_log: file("stdout_logfile"),
            stderr_log: file("stderr_logfile"),
        })
    }

    /// supervisord's own word, with the reason where there is one.
    pub(crate) fn provider_state(&self) -> String {
        match self.state {
            ProcessState::Exited => format!("{} ({})", self.state_name, self.exit_status),
            ProcessState::Backoff | ProcessState::Fatal if !self.spawn_error.is_empty() => {
                format!("{}: {}", self.state_name, self.spawn_error)
            }
            _ => self.state_name.clone(),
        }
    }

    /// The instance, with what our record of its creation adds. Without supervisord's `description`, which holds the
    /// time that it is up: of two looks at one thing both must be equal.
    pub(crate) fn into_instance(self, record: Option<&Record>) -> Result<Instance> {
        let name = InstanceName::new(self.address.short()).map_err(|error| {
            Error::protocol(format!("supervisord has a process with an impossible name: {}", error.message()))
        })?;
        let id = match record {
            Some(record) => record.id(),
            None => self.address.namespec(),
        };
        let mut instance = Instance::new(id, name, InstanceKind::Process, self.state.instance_state());
        instance.provider_state = self.provider_state();
        instance.started_at = self.started.map(since_1970);
        let mut property = |key: &str, value: serde_json::Value| {
            instance.properties.insert(key.to_owned(), value);
        };
        property("group", self.address.group.clone().into());
        property("process", self.address.process.clone().into());
        for (key, value) in [
            ("stdout_logfile", self.stdout_log),
            ("stderr_logfile", self.stderr_log),
            ("spawn_error", Some(self.spawn_error).filter(|error| !error.is_empty())),
        ] {
            if let Some(value) = value {
                property(key, value.into());
            }
        }
        if let Some(pid) = self.pid {
            property("pid", pid.into());
        }
        if self.state == ProcessState::Exited {
            property("exit_status", self.exit_status.into());
        }
        if let Some(record) = record {
            record.describe(&mut instance);
        }
        Ok(instance)
    }
}

/// A program of ours that supervisord has not loaded: its file is there. That is what a crash between the file
/// and the call leaves, and what everybody sees for a moment during each creation and deletion.
pub(crate) fn unloaded(record: &Record) -> Result<Instance> {
    let name = InstanceName::new(&record.name)
        .map_err(|error| Error::protocol(format!("a program file is wrong: {}", error.message())))?;
    let mut instance = Instance::new(record.id(), name, InstanceKind::Process, InstanceState::Stopped);
    instance.provider_state = "not loaded".to_owned();
    instance.properties.insert("group".to_owned(), record.name.clone().into());
    instance.properties.insert("process".to_owned(), record.name.clone().into());
    record.describe(&mut instance);
    Ok(instance)
}

fn since_1970(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::super::value::structure;
    use super::*;

    fn told(state: i32, statename: &str, exit: i32, spawnerr: &str) -> Process {
        let text = |text: &str| Value::String(text.to_owned());
        Process::read(&structure([
            ("name", text("web")),
            ("group", text("pool")),
            ("state", Value::Integer(state)),
            ("statename", text(statename)),
            ("start", Value::Integer(1_700_000_000)),
            ("stop", Value::Integer(0)),
            ("now", Value::Integer(1_700_000_009)),
            ("pid", Value::Integer(0)),
            ("exitstatus", Value::Integer(exit)),
            ("spawnerr", text(spawnerr)),
            ("stdout_logfile", text("/log")),
            ("stderr_logfile", text("")),
            ("description", text("")),
        ]))
        .unwrap()
    }

    #[test]
    fn every_state_of_supervisord_has_one_of_ours() {
        for (number, word, state) in [
            (0, "STOPPED", InstanceState::Stopped),
            (10, "STARTING", InstanceState::Running),
            (20, "RUNNING", InstanceState::Running),
            (30, "BACKOFF", InstanceState::Failed),
            (40, "STOPPING", InstanceState::Stopping),
            (100, "EXITED", InstanceState::Stopped),
            (200, "FATAL", InstanceState::Failed),
            (1000, "UNKNOWN", InstanceState::Unknown),
            (77, "ODD", InstanceState::Unknown),
        ] {
            assert_eq!(told(number, word, 0, "").into_instance(None).unwrap().state, state, "{word}");
        }
    }

    #[test]
    fn the_reason_is_in_the_providers_own_word() {
        assert_eq!(told(100, "EXITED", 3, "Bad exit code 3").provider_state(), "EXITED (3)");
        assert_eq!(told(200, "FATAL", 0, "Exited too quickly").provider_state(), "FATAL: Exited too quickly");
        assert_eq!(told(30, "BACKOFF", 0, "").provider_state(), "BACKOFF");
    }

    #[test]
    fn a_process_of_a_group_is_named_in_full_and_nothing_means_nothing() {
        let instance = told(0, "STOPPED", 0, "").into_instance(None).unwrap();
        assert_eq!((instance.name.as_str(), &*instance.id), ("pool:web", "pool:web"));
        assert_eq!(instance.started_at, Some(since_1970(1_700_000_000)));
        assert!(!instance.properties.contains_key("pid"));
        assert!(!instance.properties.contains_key("stderr_logfile"));
    }

    #[test]
    fn a_description_without_a_state_is_an_error() {
        let error = Process::read(&structure([("name", Value::String("x".to_owned()))])).unwrap_err();
        assert!(error.is_protocol());
    }
}
