//! Connecting, discovering, health.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use reqwest::Method;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use substrate_core::{
    Capabilities, Capacity, Descriptor, Error, Feature, HealthReport, HealthStatus, InstanceKind, Operation,
    Outcome, Result,
};
use tokio::time::Instant;

use super::LxcSubstrate;
use crate::client::Target;
use crate::config::{LxcConfig, ServerKind};

/// The server's description of itself, as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Server {
    api_extensions: BTreeSet<String>,
    auth: String,
    environment: Environment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Environment {
    server: String,
    server_name: String,
    server_version: String,
    server_clustered: bool,
    driver: String,
    driver_version: String,
    kernel_version: String,
    storage: String,
    architectures: Option<Vec<String>>,
}

impl Server {
    fn kind(&self) -> Option<ServerKind> {
        match self.environment.server.as_str() {
            "lxd" => Some(ServerKind::Lxd),
            "incus" => Some(ServerKind::Incus),
            _ => None,
        }
    }

    fn has(&self, extension: &str) -> bool {
        self.api_extensions.contains(extension)
    }

    /// Whether it ends a terminal as soon as the program has ended, read or not (canonical/lxd#11422: on a busy machine
    /// nothing at all arrives, with its own client too). No extension tells, so here the version must.
    fn loses_output_of_terminals(&self) -> bool {
        let mut numbers = self.environment.server_version.split('.').map(|number| number.parse::<u32>().ok());
        let mut next = || numbers.next().flatten().unwrap_or(0);
        let version = (next(), next(), next());
        let is_mended = version >= (5, 13, 0) || (version.0 == 5 && version.1 == 0 && version.2 >= 3);
        self.kind() == Some(ServerKind::Lxd) && !is_mended
    }

    fn runs_machines(&self) -> bool {
        self.environment.driver.contains("qemu")
    }
}

/// What the server's host has, as far as it is used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    cpu: ProcessorTotal,
    memory: MemoryTotal,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProcessorTotal {
    total: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemoryTotal {
    total: u64,
    used: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolResources {
    space: Space,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Space {
    used: u64,
    total: u64,
}

/// Of containers; machines with `migration.stateful` have it.
pub(super) const MEMORY_IS_NOT_SAVED: &str = "containers would need CRIU for it, which mostly fails, so it is not \
     offered; virtual machines alone could (`migration.stateful`)";
const NO_FREE_PORTS: &str = "the servers pick no free port of their host; give a fixed one as a device of type \
     `proxy` in the option `devices`";
const NO_TIMES: &str = "a console keeps no times";
const ONE_CONSOLE: &str = "a console has one output";
const NO_HISTORY: &str = "the servers keep no history of events: after a break, list again";
const LOSSY_TERMINALS: &str = "this server loses what a program writes to a terminal shortly before its end \
     (canonical/lxd#11422); LXD from 5.0.3 on and Incus do not; `lossy_terminals: true` accepts it";
const NO_SHAPING: &str =
    "the configuration says that the server's host cannot limit bandwidth (`bandwidth_limits: false`)";

/// What the servers can do at best.
pub(super) fn at_best(config: &LxcConfig) -> Capabilities {
    let capabilities = Capabilities::all()
        .without(Feature::CreatePorts, NO_FREE_PORTS)
        .without(Feature::LogSince, NO_TIMES)
        .without(Feature::LogStreamsApart, ONE_CONSOLE)
        .without(Feature::WatchResume, NO_HISTORY);
    if config.bandwidth_limits {
        capabilities
    } else {
        capabilities.without(Feature::NetworkLimit, NO_SHAPING)
    }
}

/// What this server can do: its extensions say so, and the driver of the pool in which new disks are.
fn capabilities(config: &LxcConfig, server: &Server, pool_driver: Option<&str>) -> Capabilities {
    let mut capabilities = at_best(config);
    let lacks = |extension: &str| format!("the server is too old: it lacks the extension `{extension}`");
    match pool_driver {
        None => {
            capabilities = capabilities
                .without(Feature::DiskLimit, "the default profile has no root disk in a storage pool");
        }
        // Its quotas depend on project quotas of the file system below, and it ignores sizes without them.
        Some("dir") => {
            capabilities = capabilities.without(
                Feature::DiskLimit,
                "the storage pool is a plain folder (`dir`), which bounds sizes only with project quotas that the \
                 server does not tell about; use a zfs, btrfs, lvm or ceph pool",
            );
        }
        Some(_) => {}
    }
    if !server.runs_machines() {
        capabilities = capabilities.without(Feature::SnapshotMemory, MEMORY_IS_NOT_SAVED);
    }
    let exec = "container_exec_user_group_cwd";
    if !server.has(exec) {
        capabilities = capabilities
            .without(Feature::CommandUser, lacks(exec))
            .without(Feature::CommandWorkingDirectory, lacks(exec));
    }
    if !server.has("cloud_init") {
        capabilities = capabilities.without(Feature::CloudInit, lacks("cloud_init"));
    }
    if server.loses_output_of_terminals() && !config.lossy_terminals {
        capabilities = capabilities.without(Feature::CommandTerminal, LOSSY_TERMINALS);
    }
    if !server.has("event_lifecycle") {
        capabilities = capabilities.without(Operation::Watch, lacks("event_lifecycle"));
    }
    if !server.has("network") {
        for operation in [
            Operation::ListNetworks,
            Operation::CreateNetwork,
            Operation::DeleteNetwork,
            Operation::AttachNetwork,
            Operation::DetachNetwork,
        ] {
            capabilities = capabilities.without(operation, lacks("network"));
        }
    }
    capabilities
}

impl LxcSubstrate {
    /// Makes sure that the server trusts us, and finds out what it can do.
    pub(super) async fn discover(&self) -> Result<()> {
        let mut server = self.server().await?;
        if server.auth != "trusted" {
            self.introduce().await?;
            server = self.server().await?;
        }
        if server.auth != "trusted" {
            return Err(Error::unauthenticated("the server does not trust our certificate").with_hint(
                "add it on the server (`lxc config trust add`, `incus config trust add-certificate`), or set `token`",
            ));
        }
        if let (Some(wanted), found) = (self.config.server, server.kind())
            && found != Some(wanted)
        {
            let found = found.map_or_else(|| server.environment.server.clone(), |kind| kind.to_string());
            return Err(Error::invalid_input(format!("this is no {wanted} server but {found}"))
                .with_hint("use the type `lxc` for whichever answers"));
        }
        *self.product.write().unwrap_or_else(PoisonError::into_inner) = server.kind();
        let driver = self.root_pool_driver().await?;
        let name = self.descriptor.get().name.clone();
        let mut kinds = vec![InstanceKind::Container];
        if server.runs_machines() {
            kinds.push(InstanceKind::VirtualMachine);
        }
        let capabilities = capabilities(&self.config, &server, driver.as_deref());
        self.descriptor.set(Descriptor::new(self.config.provider_type(), name, kinds, capabilities));
        Ok(())
    }

    async fn server(&self) -> Result<Server> {
        self.client.get("ask for the server's description", &Target::new("/1.0")).await
    }

    /// Makes our certificate known with the trust token.
    async fn introduce(&self) -> Result<()> {
        let Some(token) = &self.config.token else { return Ok(()) };
        // LXD 5.0 reads it where passwords were, later ones and Incus in a place of its own. A stranger is not told
        // which of them it speaks to; what they do not know they leave alone.
        let token = token.expose_secret();
        let name = self.descriptor.get().name.clone();
        let body = json!({"type": "client", "name": &*name, "password": token, "trust_token": token});
        let attempt = "make our certificate known";
        let result = self
            .client
            .send(attempt, Method::POST, &Target::new("/1.0/certificates"), Some(&body), None)
            .await;
        match result {
            Ok(_) => Ok(()),
            // Another connect of ours was first.
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error)
                if error.is_permission_denied() || error.is_invalid_input() || error.is_not_found() =>
            {
                Err(Error::unauthenticated(format!(
                    "{}: the token is wrong, used or expired",
                    error.message()
                ))
                .with_outcome(Outcome::Rejected))
            }
            Err(error) => Err(error),
        }
    }

    async fn root_pool_driver(&self) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Pool {
            #[serde(default)]
            driver: String,
        }
        let Some(pool) = self.root_pool().await? else { return Ok(None) };
        let target = Target::new("/1.0/storage-pools").segment(&pool);
        match self.client.get::<Pool>("look at the storage pool", &target).await {
            Ok(pool) => Ok(Some(pool.driver)),
            // A project may be kept from looking at it.
            Err(error) if error.is_not_found() || error.is_permission_denied() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        let start = Instant::now();
        let server = self.server().await?;
        let latency = start.elapsed();
        let mut report = described(HealthReport::healthy(latency), &server);
        if server.auth != "trusted" {
            return Ok(report.with_issue(
                HealthStatus::Unhealthy,
                "the server does not trust our certificate; set `token`",
            ));
        }
        report.capacity = self.capacity().await?;
        if self.config.tls.as_ref().is_some_and(|tls| !tls.verify) {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the server's certificate is not checked (`tls.verify: false`): anybody in between can read and change everything",
            );
        }
        Ok(report)
    }

    async fn capacity(&self) -> Result<Capacity> {
        let mut capacity = Capacity::default();
        let may_not = |error: &Error| error.is_permission_denied() || error.is_not_found();
        match self
            .client
            .get::<Resources>("ask for the host's resources", &Target::new("/1.0/resources"))
            .await
        {
            Ok(resources) => {
                let some = |number: u64| (number > 0).then_some(number);
                capacity.cpu_cores = Some(f64::from(resources.cpu.total)).filter(|cores| *cores > 0.0);
                capacity.memory_mb = some(resources.memory.total >> 20);
                capacity.memory_used_mb = some(resources.memory.used >> 20);
            }
            Err(error) if may_not(&error) => {}
            Err(error) => return Err(error),
        }
        if let Some(pool) = self.root_pool().await? {
            let target = Target::new("/1.0/storage-pools").segment(&pool).segment("resources");
            match self.client.get::<PoolResources>("ask for the pool's space", &target).await {
                Ok(PoolResources { space }) => {
                    #[allow(clippy::cast_precision_loss, reason = "a size in GiB needs no more than 52 bits")]
                    let gigabytes = |bytes: u64| Some(bytes as f64 / (1_u64 << 30) as f64);
                    capacity.disk_gb = gigabytes(space.total);
                    capacity.disk_used_gb = gigabytes(space.used);
                }
                Err(error) if may_not(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(capacity)
    }
}

fn described(report: HealthReport, server: &Server) -> HealthReport {
    let environment = &server.environment;
    report
        .with_version(&environment.server_version)
        .with_property("server", server.kind().map_or(environment.server.clone(), |kind| kind.to_string()))
        .with_property("server_name", environment.server_name.as_str())
        .with_property("clustered", environment.server_clustered)
        .with_property("driver", environment.driver.as_str())
        .with_property("driver_version", environment.driver_version.as_str())
        .with_property("kernel", environment.kernel_version.as_str())
        .with_property("storage", environment.storage.as_str())
        .with_property("architectures", environment.architectures.clone().unwrap_or_default())
        .with_property("api_extensions", Vec::from_iter(server.api_extensions.iter().cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(extensions: &[&str]) -> Server {
        serde_json::from_value(json!({
            "api_extensions": extensions, "auth": "trusted",
            "environment": {"server": "lxd", "driver": "lxc | qemu", "architectures": null}
        }))
        .unwrap()
    }

    const USUAL: [&str; 4] = ["cloud_init", "container_exec_user_group_cwd", "event_lifecycle", "network"];

    #[test]
    fn extensions_decide_and_not_versions() {
        let config = LxcConfig::default();
        let full = capabilities(&config, &server(&USUAL), Some("zfs"));
        for feature in [Feature::DiskLimit, Feature::CloudInit, Feature::CommandUser, Feature::NetworkLimit] {
            assert!(full.can(feature), "{feature}");
        }
        let old = capabilities(&config, &server(&[]), Some("zfs"));
        assert!(
            !old.can(Feature::CloudInit)
                && !old.can(Feature::CommandUser)
                && !old.can(Operation::Watch)
                && !old.can(Operation::ListNetworks)
        );
        assert!(old.require(Operation::Watch).unwrap_err().message().contains("event_lifecycle"));
    }

    #[test]
    fn memory_is_saved_only_where_there_are_machines() {
        let config = LxcConfig::default();
        assert!(capabilities(&config, &server(&USUAL), None).can(Feature::SnapshotMemory));
        let without_machines = serde_json::from_value(json!({"environment": {"driver": "lxc"}})).unwrap();
        let refusal = capabilities(&config, &without_machines, None).require(Feature::SnapshotMemory);
        assert!(refusal.unwrap_err().message().contains("CRIU"));
    }

    #[test]
    fn a_folder_as_pool_bounds_no_disk() {
        let capabilities = capabilities(&LxcConfig::default(), &server(&USUAL), Some("dir"));
        assert!(capabilities.require(Feature::DiskLimit).unwrap_err().message().contains("dir"));
    }

    #[test]
    fn terminals_that_lose_output_are_offered_only_to_who_accepts_it() {
        let offers = |product: &str, version: &str, config: &LxcConfig| {
            let server = serde_json::from_value(json!({
                "environment": {"server": product, "server_version": version}
            }));
            capabilities(config, &server.unwrap(), None).can(Feature::CommandTerminal)
        };
        let usual = LxcConfig::default();
        for lossy in ["4.0.9", "5.0.0", "5.0.2", "5.11"] {
            assert!(!offers("lxd", lossy, &usual), "{lossy}");
            assert!(offers("lxd", lossy, &usual.clone().with_lossy_terminals(true)), "{lossy}");
        }
        for mended in ["5.0.3", "5.0.10", "5.21.1", "6.1"] {
            assert!(offers("lxd", mended, &usual), "{mended}");
        }
        assert!(offers("incus", "6.0.4", &usual) && offers("incus", "0.1", &usual));
    }

    #[test]
    fn what_the_servers_never_can_is_declared_with_a_reason() {
        let capabilities = at_best(&LxcConfig::default().with_bandwidth_limits(false));
        for feature in [Feature::CreatePorts, Feature::LogSince, Feature::WatchResume, Feature::NetworkLimit]
        {
            assert!(!capabilities.require(feature).unwrap_err().message().is_empty(), "{feature}");
        }
    }

    #[test]
    fn the_kinds_are_those_that_the_server_drives() {
        assert!(server(&[]).runs_machines());
        assert_eq!(server(&[]).kind(), Some(ServerKind::Lxd));
    }
}
