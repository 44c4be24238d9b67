//! Stand-ins for what the lab has not: KubeVirt, and a controller of snapshots. None of them is the real thing: they play
//! its part against a real API server, with the shapes and the words of the real API, and no machine or disk behind it.
//!
//! What is installed in the cluster is there while anybody in this program uses it, and removed by the last.

pub(crate) mod api;
pub(crate) mod definitions;
pub(crate) mod front;
pub(crate) mod machines;
pub(crate) mod snapshots;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;

use api::Api;
pub(crate) use definitions::Definition;
use definitions::Installed;

static STAND_INS: AtomicU32 = AtomicU32::new(0);

/// A stand-in for KubeVirt, for the machines whose names begin with one prefix. Gone when it is dropped.
pub(crate) struct KubeVirt {
    kubeconfig: PathBuf,
    tasks: Vec<JoinHandle<()>>,
    _installed: Installed,
}

impl KubeVirt {
    /// In the cluster of this kubeconfig and in this namespace.
    pub(crate) async fn up(
        kubeconfig: &str,
        namespace: &str,
        prefix: &str,
        definitions: &[Definition],
    ) -> Self {
        let installed = Installed::new(kubeconfig, definitions).await;
        let api = Api::of(kubeconfig, namespace).await;
        if definitions.contains(&Definition::Machine) {
            definitions::wait_for_collector(&api).await;
        }
        let (address, front) = front::serve(api.clone()).await;
        let mut tasks = vec![front, tokio::spawn(machines::control(api.clone(), prefix.to_owned()))];
        if definitions.contains(&Definition::MachineSnapshot) {
            tasks.push(tokio::spawn(snapshots::control(api, prefix.to_owned())));
        }
        let number = STAND_INS.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("sk-stand-in-{}-{number}.kubeconfig", std::process::id()));
        let content = json!({
            "clusters": [{"name": "s", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "s", "user": {}}],
            "contexts": [{"name": "s", "context": {"cluster": "s", "user": "s", "namespace": namespace}}],
            "current-context": "s",
        });
        std::fs::write(&path, content.to_string()).unwrap();
        Self { kubeconfig: path, tasks, _installed: installed }
    }

    /// Of the API server with this stand-in before it.
    pub(crate) fn kubeconfig(&self) -> String {
        self.kubeconfig.display().to_string()
    }
}

impl Drop for KubeVirt {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// A stand-in for the controller of CSI's snapshots, likewise.
pub(crate) struct Snapshotter {
    task: JoinHandle<()>,
    _installed: Installed,
}

impl Snapshotter {
    #[allow(dead_code, reason = "not of every program")]
    pub(crate) async fn up(kubeconfig: &str, namespace: &str, prefix: &str) -> Self {
        let installed = Installed::new(kubeconfig, &[Definition::VolumeSnapshot]).await;
        let api = Api::of(kubeconfig, namespace).await;
        let task = tokio::spawn(snapshots::control(api, prefix.to_owned()));
        Self { task, _installed: installed }
    }
}

impl Drop for Snapshotter {
    fn drop(&mut self) {
        self.task.abort();
    }
}
