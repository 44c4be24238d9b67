//! Waiting until something holds: for `readiness`, `health_check` and `wait-for`.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use serde_json::{Value, json};
use substrate_core::layer::fresh;
use substrate_core::{
    Command, Error, Feature, Instance, InstanceName, InstanceState, LogOptions, Operation, Result, Substrate,
};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::model::{Condition, Readiness};

/// Finds out whether a TCP port takes connections. The default connects; tests over a substrate without a real
/// network have one of their own.
#[async_trait]
pub trait PortProbe: Send + Sync {
    /// Whether somebody listens. Bounded by the caller.
    async fn is_open(&self, address: IpAddr, port: u16) -> bool;
}

/// Connects, and closes the connection at once.
#[derive(Debug, Clone, Copy)]
pub struct TcpProbe;

#[async_trait]
impl PortProbe for TcpProbe {
    async fn is_open(&self, address: IpAddr, port: u16) -> bool {
        tokio::net::TcpStream::connect((address, port)).await.is_ok()
    }
}

/// What a condition takes to be looked at.
impl Readiness {
    pub(crate) fn needs(&self) -> Vec<Operation> {
        match self.condition {
            Condition::Command(_) => vec![Operation::ExecuteCommand],
            Condition::Log(_) => vec![Operation::GetLogs],
            Condition::Port(_) | Condition::Health => Vec::new(),
        }
    }

    /// As data, for properties: all of it, so that any change is seen.
    pub(crate) fn describe(&self) -> Value {
        let condition = match &self.condition {
            Condition::Port(port) => json!({ "port": port }),
            Condition::Command(argv) => json!({ "command": argv }),
            Condition::Log(text) => json!({ "log": text }),
            Condition::Health => json!({ "health": true }),
        };
        json!({
            "condition": condition,
            "timeout_ms": u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            "interval_ms": u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// What [`describe`](Self::describe) described.
    pub(crate) fn from_description(description: &Value) -> Option<Self> {
        let condition = description.get("condition")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let condition = if let Some(port) = condition.get("port") {
            Condition::Port(u16::try_from(port.as_u64()?).ok()?)
        } else if let Some(argv) = condition.get("command") {
            Condition::Command(argv.as_array()?.iter().map(text).collect::<Option<_>>()?)
        } else if let Some(log) = condition.get("log") {
            Condition::Log(text(log)?)
        } else {
            Condition::Health
        };
        let duration = |key: &str| Some(Duration::from_millis(description.get(key)?.as_u64()?));
        Some(Self { condition, timeout: duration("timeout_ms")?, interval: duration("interval_ms")? })
    }
}

/// Waits until the condition holds on an instance.
///
/// # Errors
/// [`Timeout`](substrate_core::ErrorKind::Timeout) with what was seen last; [`Conflict`](substrate_core::ErrorKind)
/// as soon as the instance is no longer up, since then it never will hold; what the substrate refuses.
pub(crate) async fn wait_until(
    readiness: &Readiness,
    substrate: &dyn Substrate,
    name: &InstanceName,
    probe: &dyn PortProbe,
) -> Result<()> {
    let deadline = Instant::now() + readiness.timeout;
    if let Condition::Log(text) = &readiness.condition
        && substrate.descriptor().capabilities.support(Feature::LogFollow).is_yes()
    {
        return wait_for_line(readiness, substrate, name, text, deadline).await;
    }
    let mut last = "nothing was seen yet".to_owned();
    loop {
        let next = Instant::now() + readiness.interval;
        match timeout_at(deadline, look(readiness, substrate, name, probe, next.min(deadline))).await {
            Ok(Ok(Seen::Holds)) => return Ok(()),
            Ok(Ok(Seen::NotYet(what))) => last = what,
            // A substrate that cannot be asked for a moment is asked again.
            Ok(Err(error)) if error.retry() != substrate_core::RetryAdvice::Never => last = error.to_string(),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        if next >= deadline {
            return Err(too_late(readiness, &last));
        }
        sleep_until(next).await;
    }
}

enum Seen {
    Holds,
    NotYet(String),
}

async fn look(
    readiness: &Readiness,
    substrate: &dyn Substrate,
    name: &InstanceName,
    probe: &dyn PortProbe,
    until: Instant,
) -> Result<Seen> {
    let instance = fresh(substrate.get_instance(name)).await?;
    check_up(&instance)?;
    match &readiness.condition {
        Condition::Health => Ok(match (instance.state, health_of(&instance)) {
            (InstanceState::Running, None | Some("healthy")) => Seen::Holds,
            (_, Some("unhealthy")) => Seen::NotYet("the substrate calls it unhealthy".to_owned()),
            _ => Seen::NotYet(format!("it is `{}`", instance.provider_state)),
        }),
        Condition::Port(port) => {
            for address in &instance.addresses {
                if timeout_at(until, probe.is_open(*address, *port)).await.unwrap_or(false) {
                    return Ok(Seen::Holds);
                }
            }
            Ok(Seen::NotYet(match instance.addresses.first() {
                Some(address) => format!("nothing listens on port {port} of {address}"),
                None => "it has no address yet".to_owned(),
            }))
        }
        Condition::Command(argv) => {
            let output = substrate.execute_command(name, &Command::new(argv.clone())).await?;
            Ok(match output.success() {
                true => Seen::Holds,
                false => Seen::NotYet(format!("the command ended with {}", output.status)),
            })
        }
        Condition::Log(text) => {
            let mut lines = substrate.get_logs(name, &LogOptions::all()).await?;
            while let Some(line) = lines.next().await {
                if line?.message.contains(text.as_str()) {
                    return Ok(Seen::Holds);
                }
            }
            Ok(Seen::NotYet("no line of its log says so".to_owned()))
        }
    }
}

/// Reads along instead of reading everything again and again.
async fn wait_for_line(
    readiness: &Readiness,
    substrate: &dyn Substrate,
    name: &InstanceName,
    text: &str,
    deadline: Instant,
) -> Result<()> {
    let mut last = "its log is empty".to_owned();
    let reading = async {
        let mut lines = substrate.get_logs(name, &LogOptions::all().follow()).await?;
        while let Some(line) = lines.next().await {
            let line = line?;
            if line.message.contains(text) {
                return Ok(());
            }
            last = "no line of its log says so".to_owned();
        }
        // A log ends with its instance.
        check_up(&*fresh(substrate.get_instance(name)).await?)?;
        Err(Error::unavailable("its log ended while it was read").with_instance(name))
    };
    match timeout_at(deadline, reading).await {
        Ok(result) => result,
        Err(_) => Err(too_late(readiness, &last)),
    }
}

fn health_of(instance: &Instance) -> Option<&str> {
    instance.properties.get("health").and_then(Value::as_str).filter(|health| *health != "none")
}

fn check_up(instance: &Instance) -> Result<()> {
    match instance.state {
        InstanceState::Stopped | InstanceState::Failed => {
            Err(Error::conflict(format!("it is `{}` and will not become ready", instance.provider_state))
                .with_instance(&instance.name)
                .with_hint("look into its log"))
        }
        _ => Ok(()),
    }
}

fn too_late(readiness: &Readiness, last: &str) -> Error {
    let what = match &readiness.condition {
        Condition::Port(port) => format!("port {port} to open"),
        Condition::Command(argv) => {
            format!("`{}` to succeed", argv.first().map(String::as_str).unwrap_or_default())
        }
        Condition::Log(_) => "a line in its log".to_owned(),
        Condition::Health => "it to be healthy".to_owned(),
    };
    Error::timeout(format!("waited {:?} for {what}: {last}", readiness.timeout))
}

#[cfg(test)]
mod tests {
    use crate::model::{Condition, Readiness};

    #[test]
    fn a_condition_reads_back_from_its_description() {
        let conditions = [
            Condition::Port(80),
            Condition::Command(vec!["true".to_owned(), "a b".to_owned()]),
            Condition::Log("ready".to_owned()),
            Condition::Health,
        ];
        for condition in conditions {
            let readiness = Readiness::new(condition);
            assert_eq!(Readiness::from_description(&readiness.describe()), Some(readiness));
        }
    }
}
