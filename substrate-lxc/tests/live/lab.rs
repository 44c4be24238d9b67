//! The lab's servers, and what a test makes on them: gone when the test ends, however it ends.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use substrate_core::{InstanceConfig, InstanceFilter, InstanceName, Substrate};
use substrate_lxc::{LxcConfig, LxcSubstrate, ServerKind};
use tokio::process::Command;

/// A main process that ends in order on a stop request.
pub(crate) const SERVE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

static TESTS: AtomicU32 = AtomicU32::new(0);

/// One test's corner of a server.
pub(crate) struct Lab {
    pub(crate) kind: ServerKind,
    pub(crate) prefix: String,
}

impl Lab {
    pub(crate) fn of(kind: ServerKind) -> Self {
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        Self { kind, prefix: format!("sl-{}-{number}", std::process::id()) }
    }

    pub(crate) fn variable(&self, name: &str) -> String {
        let name = format!("SUBSTRATES_LAB_{}{name}", self.kind.as_str().to_uppercase());
        std::env::var(&name).unwrap_or_else(|_| panic!("live tests need {name}: start the lab"))
    }

    pub(crate) fn settings(&self, address: String) -> LxcConfig {
        LxcConfig::default().with_address(address).with_server(self.kind)
    }

    pub(crate) async fn server(&self) -> LxcSubstrate {
        self.connected(self.settings(self.variable(""))).await
    }

    pub(crate) async fn victim(&self, request_timeout: Duration) -> LxcSubstrate {
        let settings = self.settings(self.variable("_VICTIM")).with_request_timeout(request_timeout);
        self.connected(settings).await
    }

    pub(crate) async fn connected(&self, settings: LxcConfig) -> LxcSubstrate {
        let server = LxcSubstrate::new("lab", settings).unwrap();
        server.connect().await.unwrap();
        server
    }

    pub(crate) fn certificate(&self, file: &str) -> PathBuf {
        PathBuf::from(self.variable("_CERTS")).join(file)
    }

    /// The server's own client.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut client = Command::new(self.variable("_CLIENT"));
        let folder = if self.kind == ServerKind::Lxd { "LXD_DIR" } else { "INCUS_DIR" };
        client.args(arguments).env(folder, self.variable("_FOLDER")).stdin(Stdio::null());
        client
    }

    pub(crate) async fn run_client(&self, arguments: &[&str]) -> String {
        let output = self.client(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills, stops, starts, freezes or thaws the victim.
    pub(crate) async fn control(&self, action: &str) {
        let output = Command::new(self.variable("_VICTIM_CONTROL")).arg(action).output().await.unwrap();
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn named(&self, suffix: &str) -> InstanceName {
        format!("{}-{suffix}", self.prefix).parse().unwrap()
    }

    pub(crate) fn config(&self, suffix: &str) -> InstanceConfig {
        InstanceConfig::new(self.named(suffix))
            .with_image(self.variable("_IMAGE"))
            .with_command(["sh", "-c", SERVE])
    }

    pub(crate) async fn running(&self, server: &LxcSubstrate, suffix: &str) -> InstanceName {
        let config = self.config(suffix);
        server.create_instance(&config).await.unwrap();
        // A server that was killed comes back before its bridges do: it tries those again once in a minute.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
        loop {
            match server.start_instance(&config.name).await {
                Err(error) if error.is_unavailable() && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                result => {
                    result.unwrap();
                    return config.name;
                }
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A panicking test is inside a runtime that may be on its way down: clean up from a thread of our own.
        let prefix = self.prefix.clone();
        let places = [self.variable(""), self.variable("_VICTIM")].map(|address| self.settings(address));
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for settings in places {
                    clean(&prefix, settings.with_request_timeout(Duration::from_secs(20))).await;
                }
            });
        });
        let _ = cleaner.join();
    }
}

async fn clean(prefix: &str, settings: LxcConfig) {
    let server = LxcSubstrate::new("cleaner", settings).unwrap();
    let filter = InstanceFilter::all().with_name_prefix(prefix);
    for instance in server.list_instances(&filter).await.unwrap_or_default() {
        let _ = server.delete_instance(&instance.name, true).await;
    }
    for network in server.list_networks().await.unwrap_or_default() {
        if network.name.as_str().starts_with(prefix) {
            let _ = server.delete_network(&network.name).await;
        }
    }
    for volume in server.list_volumes().await.unwrap_or_default() {
        if volume.name.as_str().starts_with(prefix) {
            let _ = server.delete_volume(&volume.name).await;
        }
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
