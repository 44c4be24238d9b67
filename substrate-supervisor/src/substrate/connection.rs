//! Connecting, discovering, health.

use substrate_core::{
    Capabilities, Capacity, Error, Feature, HealthReport, HealthStatus, InstanceState, Operation, Result,
};
use substrate_core::{Descriptor, InstanceKind};
use tokio::time::Instant;

use super::{PROVIDER_TYPE, Shared, SupervisorSubstrate};
use crate::client::Call;
use crate::config::Endpoint;
use crate::convert::value::{integer_member, integer_of, string_of, text_member};
use crate::error::{Fault, FaultCode};
use crate::folder::blocking;
use crate::host::has_supervisord;

pub(super) const NO_FOLDER: &str = "supervisord has no call that makes a program: set `include_folder` to the folder \
     that its `[include]` reads";
const NO_EXEC: &str = "supervisord runs the programs of its configuration and no commands beside them";
const NO_PAUSE: &str = "supervisord does not know a stopped process: SIGSTOP would freeze the main process alone, and \
     it would still be told as RUNNING";
const NO_LIMITS: &str = "supervisord bounds nothing";
const NO_SNAPSHOTS: &str = "a process has no disk of its own, and its memory cannot be saved";
const NO_NETWORKS: &str = "processes share the network of their host";
const NO_FIRST_BOOT: &str = "a process does not boot, so nothing in it reads cloud-init data";
const NO_VOLUMES: &str = "processes share the files of their host";
const NO_IMAGES: &str =
    "the image of a process is an executable file of its host: nothing is fetched or listed";
const NO_TIMES: &str = "supervisord's logs hold what was written, without times";
const BY_POLLING: &str = "supervisord tells events only to its own children, so that a watch looks at every \
     `poll_interval`: who comes and goes between two looks is not seen";

/// What can be done, with an include folder or without.
pub(super) fn capabilities(folder: std::result::Result<(), &str>) -> Capabilities {
    let mut capabilities = Capabilities::required_only()
        .with([Operation::GetLogs, Operation::Watch])
        .with([Feature::LogFollow, Feature::LogStreamsApart]);
    for (operations, reason) in [
        (&[Operation::PauseInstance, Operation::ResumeInstance][..], NO_PAUSE),
        (&[Operation::ExecuteCommand, Operation::OpenCommand], NO_EXEC),
        (&[Operation::GetResourceLimits, Operation::SetResourceLimits], NO_LIMITS),
        (
            &[
                Operation::CreateSnapshot,
                Operation::ListSnapshots,
                Operation::RestoreSnapshot,
                Operation::DeleteSnapshot,
                Operation::CloneInstance,
            ],
            NO_SNAPSHOTS,
        ),
        (
            &[
                Operation::ListNetworks,
                Operation::CreateNetwork,
                Operation::DeleteNetwork,
                Operation::AttachNetwork,
                Operation::DetachNetwork,
            ],
            NO_NETWORKS,
        ),
        (&[Operation::ListVolumes, Operation::CreateVolume, Operation::DeleteVolume], NO_VOLUMES),
        (&[Operation::ListImages, Operation::EnsureImage], NO_IMAGES),
    ] {
        for operation in operations {
            capabilities = capabilities.without(*operation, reason);
        }
    }
    for (features, reason) in [
        (&[Feature::CreateNetworks, Feature::FixedAddress, Feature::CreatePorts][..], NO_NETWORKS),
        (&[Feature::CreateVolumes], NO_VOLUMES),
        (&[Feature::CloudInit], NO_FIRST_BOOT),
        (
            &[
                Feature::CpuLimit,
                Feature::MemoryLimit,
                Feature::DiskLimit,
                Feature::NetworkLimit,
                Feature::LiveLimits,
            ],
            NO_LIMITS,
        ),
        (&[Feature::LogSince], NO_TIMES),
        (&[Feature::NativeEvents, Feature::WatchResume], BY_POLLING),
    ] {
        for feature in features {
            capabilities = capabilities.without(*feature, reason);
        }
    }
    let created = [
        Feature::Labels,
        Feature::Metadata,
        Feature::CreateStopped,
        Feature::CreateCommand,
        Feature::CreateEnvironment,
        Feature::GracefulStop,
    ];
    match folder {
        Ok(()) => capabilities.with(created),
        Err(reason) => {
            let no_create = [Operation::CreateInstance, Operation::DeleteInstance];
            let without = no_create.into_iter().fold(capabilities, |all, it| all.without(it, reason));
            created.into_iter().fold(without, |all, feature| all.without(feature, reason))
        }
    }
}

impl SupervisorSubstrate {
    pub(super) async fn discover(&self) -> Result<()> {
        let shared = &self.shared;
        let version =
            shared.client.call("ask for the version", Call::new("supervisor.getSupervisorVersion")).await?;
        string_of(&version).ok_or_else(|| Error::protocol("supervisord tells no version"))?;
        let folder = match &shared.folder {
            None => Err(NO_FOLDER.to_owned()),
            Some(folder) => folder.check().await.map_err(|error| error.message().to_owned()),
        };
        let capabilities = capabilities(folder.as_ref().copied().map_err(String::as_str));
        let name = shared.descriptor.get().name.clone();
        shared.descriptor.set(Descriptor::new(PROVIDER_TYPE, name, [InstanceKind::Process], capabilities));
        Ok(())
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        const ATTEMPT: &str = "ask how it is";
        let shared = &self.shared;
        let calls = [
            Call::new("supervisor.getSupervisorVersion"),
            Call::new("supervisor.getState"),
            Call::new("supervisor.getIdentification"),
            Call::new("supervisor.getAPIVersion"),
            Call::new("supervisor.getPID"),
        ];
        let start = Instant::now();
        let [version, state, identification, api, pid] = shared.client.batch(ATTEMPT, calls).await?;
        let mut report = HealthReport::healthy(start.elapsed());
        let is_shutting_down = |fault: &Fault| fault.code == FaultCode::ShutdownState;
        if state.as_ref().is_err_and(is_shutting_down) {
            return Ok(
                report.with_issue(HealthStatus::Unhealthy, "supervisord is shutting down or restarting")
            );
        }
        let state = state.map_err(|fault| fault.into_error(ATTEMPT))?;
        if let Ok(version) = &version {
            report = report.with_version(string_of(version).unwrap_or_default());
        }
        let word = text_member(&state, "statename").unwrap_or("UNKNOWN");
        report = report.with_property("state", word);
        if integer_member(&state, "statecode") != Some(1) {
            report = report.with_issue(HealthStatus::Unhealthy, format!("supervisord's state is {word}"));
        }
        for (key, answer) in [("identification", &identification), ("api_version", &api)] {
            if let Some(text) = answer.as_ref().ok().and_then(string_of) {
                report = report.with_property(key, text);
            }
        }
        if let Some(pid) = pid.as_ref().ok().and_then(integer_of) {
            report = report.with_property("pid", pid);
        }
        let mut capacity = Capacity::default();
        let all = shared.find_all().await?;
        let up = |found: &&super::looking::Found| {
            found
                .process
                .as_ref()
                .is_some_and(|process| process.state.instance_state() == InstanceState::Running)
        };
        capacity.instances = Some(all.len() as u64);
        capacity.instances_running = Some(all.iter().filter(up).count() as u64);
        report.capacity = capacity;
        let may_be_read = matches!(shared.config.endpoint()?, Endpoint::Http { loopback: false, .. });
        if may_be_read && shared.config.password.is_some() {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the password goes over the network as it is: supervisord has no TLS, and anybody in between can read it",
            );
        }
        Ok(report)
    }
}

impl Shared {
    /// Whether supervisord runs on this host.
    pub(super) async fn is_on_this_host(&self) -> Result<bool> {
        if self.config.same_host.is_some() {
            return Ok(self.config.same_host == Some(true));
        }
        let pid = self.client.call("ask for the process id", Call::new("supervisor.getPID")).await?;
        self.is_here(&pid).await
    }

    /// The same, when supervisord's process id is known.
    pub(super) async fn is_here(&self, pid: &dxr::Value) -> Result<bool> {
        if let Some(answer) = self.config.same_host {
            return Ok(answer);
        }
        let is_near = !matches!(self.config.endpoint()?, Endpoint::Http { loopback: false, .. });
        let pid = integer_of(pid).and_then(|pid| u32::try_from(pid).ok());
        match pid {
            Some(pid) if is_near => blocking(move || Ok(has_supervisord(pid))).await,
            _ => Ok(false),
        }
    }
}
