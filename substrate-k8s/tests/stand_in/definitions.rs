//! The resources that real installations define, with their groups, versions and names, and no schema.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Api;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// One of them.
#[allow(dead_code, reason = "not every program has all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Definition {
    Machine,
    MachineInstance,
    MachineSnapshot,
    MachineRestore,
    VolumeSnapshot,
}

/// How many users each has.
static USERS: Mutex<[usize; 5]> = Mutex::new([0; 5]);
/// One comes or goes at a time.
static DOOR: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Definition {
    pub(crate) const MACHINES: [Self; 2] = [Self::Machine, Self::MachineInstance];

    fn words(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Machine => ("kubevirt.io", "v1", "VirtualMachine", "virtualmachines"),
            Self::MachineInstance => {
                ("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstances")
            }
            Self::MachineSnapshot => {
                ("snapshot.kubevirt.io", "v1beta1", "VirtualMachineSnapshot", "virtualmachinesnapshots")
            }
            Self::MachineRestore => {
                ("snapshot.kubevirt.io", "v1beta1", "VirtualMachineRestore", "virtualmachinerestores")
            }
            Self::VolumeSnapshot => ("snapshot.storage.k8s.io", "v1", "VolumeSnapshot", "volumesnapshots"),
        }
    }

    fn name(self) -> String {
        let (group, _, _, plural) = self.words();
        format!("{plural}.{group}")
    }

    fn object(self) -> Value {
        let (group, version, kind, plural) = self.words();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.name(),
                "labels": {"substrate-stand-in": ""},
                // Or nobody may define anything in a group of Kubernetes' own.
                "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural,
                    "singular": kind.to_lowercase()},
                "versions": [{
                    "name": version, "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema":
                        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }],
            },
        })
    }
}

/// Definitions that are in the cluster while this lives.
pub(crate) struct Installed {
    kubeconfig: String,
    definitions: Vec<Definition>,
}

impl Installed {
    pub(crate) async fn new(kubeconfig: &str, definitions: &[Definition]) -> Self {
        let _one = DOOR.lock().await;
        let api = Api::of(kubeconfig, "default").await;
        let installed = Self { kubeconfig: kubeconfig.to_owned(), definitions: definitions.to_vec() };
        for definition in definitions {
            USERS.lock().unwrap_or_else(PoisonError::into_inner)[*definition as usize] += 1;
            let uri = format!("{DEFINITIONS}/{}", definition.name());
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let now = api.ask("GET", &uri, None).await.unwrap_or_default();
                let is = |kind: &str| {
                    let mut all = now["status"]["conditions"].as_array().into_iter().flatten();
                    all.any(|one| one["type"] == kind && one["status"] == "True")
                };
                if is("Established") && !is("Terminating") {
                    break;
                }
                if now.is_null() {
                    let _ = api.ask("POST", DEFINITIONS, Some(definition.object())).await;
                }
                assert!(Instant::now() < deadline, "{definition:?} is not established");
                sleep(Duration::from_millis(100)).await;
            }
        }
        installed
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let (kubeconfig, definitions) = (self.kubeconfig.clone(), self.definitions.clone());
        // The runtime may be on its way down.
        let remover = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove(&kubeconfig, &definitions));
        });
        let _ = remover.join();
    }
}

async fn remove(kubeconfig: &str, definitions: &[Definition]) {
    let _one = DOOR.lock().await;
    let api = Api::of(kubeconfig, "default").await;
    for definition in definitions {
        let is_last = {
            let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
            users[*definition as usize] -= 1;
            users[*definition as usize] == 0
        };
        if !is_last {
            continue;
        }
        free(&api, *definition).await;
        let uri = format!("{DEFINITIONS}/{}", definition.name());
        let _ = api.ask("DELETE", &uri, None).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        while api.ask("GET", &uri, None).await != Err(404) && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Nobody is left who would take finalizers away.
async fn free(api: &Api, definition: Definition) {
    let (group, version, _, plural) = definition.words();
    let all = api.ask("GET", &format!("/apis/{group}/{version}/{plural}"), None).await.unwrap_or_default();
    for one in all["items"].as_array().into_iter().flatten() {
        let meta = &one["metadata"];
        let (namespace, name) = (meta["namespace"].as_str().unwrap(), meta["name"].as_str().unwrap());
        let uri = format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}");
        let _ = api.ask("PATCH", &uri, Some(json!({"metadata": {"finalizers": null}}))).await;
    }
}

/// Kubernetes' garbage collector looks for new resources every half minute, and lets nothing go that it does not know.
pub(crate) async fn wait_for_collector(api: &Api) {
    let name = format!("sk-probe-{}", std::process::id());
    let path = api.path("kubevirt.io/v1", &format!("virtualmachines/{name}"));
    let body = json!({"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name},
        "spec": {"runStrategy": "Halted"}});
    let _ = api.ask("POST", &api.path("kubevirt.io/v1", "virtualmachines"), Some(body)).await;
    let _ = api.ask("DELETE", &path, Some(json!({"propagationPolicy": "Foreground"}))).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    while api.ask("GET", &path, None).await != Err(404) {
        assert!(Instant::now() < deadline, "the garbage collector does not know machines");
        sleep(Duration::from_millis(200)).await;
    }
}
