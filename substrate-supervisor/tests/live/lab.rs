//! The lab's supervisord, and what a test makes on it: gone when the test ends, however it ends.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use substrate_core::{Instance, InstanceConfig, InstanceFilter, InstanceName, Substrate, SubstrateExt};
use substrate_supervisor::{SupervisorConfig, SupervisorSubstrate};
use tokio::sync::{Mutex, MutexGuard};

/// A program that ends in order on a stop request.
pub(crate) const SERVE: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
/// One that is deaf to it.
pub(crate) const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.05; done";

/// There is one victim: one test at a time has it.
static VICTIM: Mutex<()> = Mutex::const_new(());
static TESTS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("live tests need {name}: start the lab"))
}

pub(crate) fn name(text: &str) -> InstanceName {
    text.parse().unwrap()
}

/// One test's corner of a supervisord.
pub(crate) struct Lab {
    pub(crate) supervisor: Arc<SupervisorSubstrate>,
    pub(crate) prefix: String,
    /// The variable that tells the address; those of the folders begin with it.
    which: &'static str,
    strangers: Vec<PathBuf>,
    // Let go after the cleaning.
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::at("SUBSTRATES_LAB_SUPERVISOR", None).await
    }

    pub(crate) async fn victim() -> Self {
        let alone = VICTIM.lock().await;
        Self::at("SUBSTRATES_LAB_SUPERVISOR_VICTIM", Some(alone)).await
    }

    async fn at(which: &'static str, alone: Option<MutexGuard<'static, ()>>) -> Self {
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        let supervisor = Arc::new(SupervisorSubstrate::new("lab", config(which)).unwrap());
        supervisor.connect().await.unwrap();
        let prefix = format!("st-{}-{number}", std::process::id());
        Self { supervisor, prefix, which, strangers: Vec::new(), _alone: alone }
    }

    /// Another handle on the same supervisord.
    pub(crate) fn other(
        &self,
        change: impl FnOnce(SupervisorConfig) -> SupervisorConfig,
    ) -> SupervisorSubstrate {
        SupervisorSubstrate::new("other", change(config(self.which))).unwrap()
    }

    pub(crate) fn include(&self) -> PathBuf {
        variable(&format!("{}_INCLUDE", self.which)).into()
    }

    pub(crate) fn logs(&self) -> PathBuf {
        variable(&format!("{}_LOGS", self.which)).into()
    }

    pub(crate) fn named(&self, suffix: &str) -> InstanceName {
        name(&format!("{}-{suffix}", self.prefix))
    }

    pub(crate) fn config(&self, suffix: &str, script: &str) -> InstanceConfig {
        InstanceConfig::new(self.named(suffix)).with_image("/bin/sh").with_command(["sh", "-c", script])
    }

    pub(crate) async fn running(&self, suffix: &str, script: &str) -> Arc<Instance> {
        self.running_from(&self.config(suffix, script)).await
    }

    pub(crate) async fn running_from(&self, config: &InstanceConfig) -> Arc<Instance> {
        self.supervisor.create_and_start(config).await.unwrap();
        if config.command.last().is_some_and(|script| script == DEAF) {
            let name = &config.name;
            until("the program is deaf", async || !self.lines(name).await.is_empty()).await;
        }
        self.supervisor.get_instance(&config.name).await.unwrap()
    }

    /// Puts somebody else's file into the include folder.
    pub(crate) fn stranger(&mut self, suffix: &str, text: &str) -> PathBuf {
        let path = self.include().join(format!("{}-{suffix}.conf", self.prefix));
        fs::write(&path, text).unwrap();
        self.strangers.push(path.clone());
        path
    }

    /// Runs supervisord's own client, as an administrator would.
    pub(crate) async fn administrator(&self, arguments: &[&str]) -> String {
        let output = tokio::process::Command::new("supervisorctl")
            .arg("--configuration")
            .arg(self.include().with_file_name("supervisord.conf"))
            .args(arguments)
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    pub(crate) async fn lines(&self, name: &InstanceName) -> Vec<String> {
        let lines = self.supervisor.tail_logs(name, 1_000).await.unwrap();
        lines.into_iter().map(|line| line.message).collect()
    }

    /// The files of this test in a folder.
    pub(crate) fn files_in(&self, folder: PathBuf) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(&self.prefix)).collect()
    }
}

pub(crate) fn config(which: &str) -> SupervisorConfig {
    SupervisorConfig::default()
        .with_url(variable(which))
        .with_include_folder(variable(&format!("{which}_INCLUDE")))
        .with_log_folder(variable(&format!("{which}_LOGS")))
        .with_poll_interval(Duration::from_millis(200))
}

impl Drop for Lab {
    fn drop(&mut self) {
        for stranger in &self.strangers {
            let _ = fs::remove_file(stranger);
        }
        // A panicking test is inside a runtime that may be on its way down: clean up from a thread of our own.
        let (prefix, which) = (self.prefix.clone(), self.which);
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&prefix, which));
        });
        let _ = cleaner.join();
    }
}

async fn clean(prefix: &str, which: &str) {
    let supervisor = SupervisorSubstrate::new("cleaner", config(which)).unwrap();
    let filter = InstanceFilter::all().with_name_prefix(prefix);
    let Ok(instances) = supervisor.list_instances(&filter).await else { return };
    for instance in instances {
        if supervisor.delete_instance(&instance.name, true).await.is_err() {
            // A stranger's: its file is gone, its group is not.
            let _ = supervisor.stop_instance(&instance.name, substrate_core::StopMode::Force).await;
            let group = instance.properties["group"].as_str().unwrap_or_default().to_owned();
            let mut remove = tokio::process::Command::new("supervisorctl");
            let include = PathBuf::from(variable(&format!("{which}_INCLUDE")));
            remove
                .arg("--configuration")
                .arg(include.with_file_name("supervisord.conf"))
                .args(["remove", &group]);
            let _ = remove.output().await;
        }
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
