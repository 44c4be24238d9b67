//! Stand-ins for the controllers of snapshots: that of CSI, and KubeVirt's. How one fares is written in its label
//! `stand-in`: `fails` (an error that is told again and again), `never` (nothing is ever said), `partly` (a machine's, that
//! leaves a disk out).

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::Api;
use super::machines::{INSTANCES, KUBEVIRT, is_final};

pub(crate) const CSI: &str = "snapshot.storage.k8s.io/v1";
const OF_MACHINES: &str = "snapshot.kubevirt.io/v1beta1";
const HELD: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
const BEAT: Duration = Duration::from_millis(150);

/// Plays until it is aborted, for what begins with `prefix`. Each thing is touched once a beat, and takes several.
pub(crate) async fn control(api: Api, prefix: String) {
    loop {
        sleep(BEAT).await;
        for (group, plural) in [(CSI, "volumesnapshots"), (OF_MACHINES, "virtualmachinesnapshots")] {
            for one in api.list(group, plural).await.iter().filter(|one| name(one).starts_with(&prefix)) {
                step(&api, group, plural, one).await;
            }
        }
        for one in api.list(OF_MACHINES, "virtualmachinerestores").await.iter() {
            if name(one).starts_with(&prefix) {
                restore(&api, one).await;
            }
        }
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

async fn step(api: &Api, group: &str, plural: &str, snapshot: &Value) {
    let path = format!("{plural}/{}", name(snapshot));
    let holds =
        snapshot["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| one == HELD));
    if snapshot["metadata"]["deletionTimestamp"].is_string() {
        if holds {
            api.patch(group, &path, json!({"metadata": {"finalizers": null}})).await;
        }
        return;
    }
    if !holds {
        api.patch(group, &path, json!({"metadata": {"finalizers": [HELD]}})).await;
        return;
    }
    let failure = json!({"error": {"message": "the stand-in was told to fail", "time": time_now()}});
    let status = match snapshot["metadata"]["labels"]["stand-in"].as_str() {
        Some("never") => return,
        Some("fails") if plural == "volumesnapshots" => {
            json!({"readyToUse": false, "error": failure["error"]})
        }
        Some("fails") => json!({"phase": "Failed", "readyToUse": false, "error": failure["error"]}),
        word if plural == "virtualmachinesnapshots" => {
            let excluded: &[&str] = if word == Some("partly") { &["main"] } else { &[] };
            json!({"phase": "Succeeded", "readyToUse": true, "creationTime": time_now(),
                "snapshotVolumes": {"excludedVolumes": excluded}})
        }
        _ => json!({"readyToUse": true, "creationTime": time_now(), "restoreSize": "1Gi"}),
    };
    if snapshot["status"].is_null() {
        api.patch(group, &format!("{path}/status"), json!({"status": status})).await;
    }
}

/// A machine that runs is not brought back: KubeVirt waits until it does not.
async fn restore(api: &Api, restore: &Value) {
    let target = restore["spec"]["target"]["name"].as_str().unwrap_or_default();
    let instance = api.ask("GET", &api.path(KUBEVIRT, &format!("{INSTANCES}/{target}")), None).await;
    if instance.is_ok_and(|instance| !is_final(&instance)) || restore["status"]["complete"] == true {
        return;
    }
    let path = format!("virtualmachinerestores/{}/status", name(restore));
    api.patch(OF_MACHINES, &path, json!({"status": {"complete": true}})).await;
    // Of which the machine of a test bears the proof.
    let mark = json!({"metadata": {"annotations": {"stand-in/restored": restore["spec"]["virtualMachineSnapshotName"]}}});
    api.patch(KUBEVIRT, &format!("virtualmachines/{target}"), mark).await;
}

fn time_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
