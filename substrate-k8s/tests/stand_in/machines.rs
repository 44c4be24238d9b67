//! A stand-in for virt-controller and virt-handler: machines become machine instances, whose phases take their time.
//!
//! How a guest behaves is written in the annotation `stand-in/guest` of a machine's template: `deaf` (heeds no request to
//! end), `crashes`, `ends` (by itself, in order, when it has run for a moment), `unschedulable`, `no-image`. With
//! `stand-in/launcher`, the image of a pod, it also has a real pod with a console's log.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::api::Api;

pub(crate) const KUBEVIRT: &str = "kubevirt.io/v1";
pub(crate) const MACHINES: &str = "virtualmachines";
pub(crate) const INSTANCES: &str = "virtualmachineinstances";

const MACHINE_HELD: &str = "kubevirt.io/virtualMachineControllerFinalize";
const INSTANCE_HELD: &str = "foregroundDeleteVirtualMachine";

/// How long a phase of a start takes, and an orderly end.
const PHASE: Duration = Duration::from_millis(150);
/// How often it looks: a controller's own clock.
const BEAT: Duration = Duration::from_millis(100);

pub(crate) fn is_final(instance: &Value) -> bool {
    matches!(instance["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// What it remembers of machine instances, by their ids.
#[derive(Default)]
struct Memory {
    born: HashMap<String, Instant>,
    dying: HashMap<String, Instant>,
}

/// How long one has been there, and how long it has been on its way out.
struct Ages {
    lives: Duration,
    dies: Duration,
}

impl Memory {
    fn ages(&mut self, instance: &Value) -> Ages {
        let uid = instance["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let lives = self.born.entry(uid.clone()).or_insert_with(Instant::now).elapsed();
        let dies = if is_going(instance) {
            self.dying.entry(uid).or_insert_with(Instant::now).elapsed()
        } else {
            Duration::ZERO
        };
        Ages { lives, dies }
    }
}

/// Plays until it is aborted.
pub(crate) async fn control(api: Api, prefix: String) {
    let mut memory = Memory::default();
    loop {
        sleep(BEAT).await;
        let (machines, instances) = tokio::join!(api.list(KUBEVIRT, MACHINES), api.list(KUBEVIRT, INSTANCES));
        let is_ours = |one: &&Value| name(one).starts_with(&prefix);
        // All at once: one after the other, a slow server would stretch every phase.
        let ages: Vec<(&Value, Ages)> =
            instances.iter().filter(is_ours).map(|one| (one, memory.ages(one))).collect();
        let own = |machine: &Value| instances.iter().find(|one| name(one) == name(machine));
        tokio::join!(
            join_all(ages.into_iter().map(|(instance, ages)| step_instance(&api, instance, ages))),
            join_all(machines.iter().filter(is_ours).map(|machine| step_machine(
                &api,
                machine,
                own(machine)
            ))),
        );
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn guest(object: &Value) -> &str {
    let template = &object["spec"]["template"]["metadata"]["annotations"]["stand-in/guest"];
    template.as_str().or(object["metadata"]["annotations"]["stand-in/guest"].as_str()).unwrap_or("heeds")
}

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

async fn release(api: &Api, path: &str, object: &Value, held: &str) {
    let left: Vec<&str> = finalizers(object).into_iter().filter(|one| *one != held).collect();
    let version = &object["metadata"]["resourceVersion"];
    let body = json!({"metadata": {"finalizers": left, "resourceVersion": version}});
    api.patch(KUBEVIRT, path, body).await;
}

// ---- machine instances ----------------------------------------------------------------------------

async fn step_instance(api: &Api, instance: &Value, ages: Ages) {
    let path = format!("{INSTANCES}/{}", name(instance));
    let (age, since) = (ages.lives, ages.dies);
    if is_going(instance) {
        let grace =
            Duration::from_secs(instance["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30));
        let is_frozen = instance["metadata"]["annotations"]["stand-in/paused"] == "true";
        let heeds = guest(instance) != "deaf" && !is_frozen && since >= PHASE;
        let never_ran = instance["status"]["phase"] != "Running";
        if heeds || never_ran || since >= grace {
            drop_launcher(api, instance).await;
            release(api, &path, instance, INSTANCE_HELD).await;
        }
        return;
    }
    let now = instance["status"]["phase"].as_str().unwrap_or_default();
    let phases = (age.as_millis() / PHASE.as_millis()).min(4);
    let next = match (guest(instance), phases) {
        _ if is_final(instance) => return,
        (_, 0) => "Pending",
        (_, 1) | ("unschedulable" | "no-image", _) => "Scheduling",
        (_, 2) => "Scheduled",
        ("crashes", _) => "Failed",
        ("ends", 4) if age >= 12 * PHASE => "Succeeded",
        _ => "Running",
    };
    let status = instance_status(instance, next);
    if next == "Scheduled" && now != next {
        make_launcher(api, instance).await;
    }
    if instance["status"]["phase"] != next || instance["status"]["conditions"] != status["conditions"] {
        api.patch(KUBEVIRT, &format!("{path}/status"), json!({"status": status})).await;
    }
}

fn instance_status(instance: &Value, phase: &str) -> Value {
    let is_paused = instance["metadata"]["annotations"]["stand-in/paused"] == "true";
    let condition =
        |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }});
    let mut conditions = vec![condition("Ready", phase == "Running" && !is_paused)];
    if is_paused {
        conditions.push(condition("Paused", true));
    }
    if guest(instance) == "unschedulable" && phase == "Scheduling" {
        conditions.push(json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/1 nodes are available"}));
    }
    let mut transitions =
        instance["status"]["phaseTransitionTimestamps"].as_array().cloned().unwrap_or_default();
    if instance["status"]["phase"] != phase {
        let time = time_now();
        transitions.push(json!({"phase": phase, "phaseTransitionTimestamp": time}));
    }
    let mut status =
        json!({"phase": phase, "conditions": conditions, "phaseTransitionTimestamps": transitions});
    if phase == "Running" {
        status["interfaces"] = json!([{"name": "default", "ipAddress": "10.244.0.7"}]);
    }
    status
}

fn time_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

// ---- machines -------------------------------------------------------------------------------------

async fn step_machine(api: &Api, machine: &Value, instance: Option<&Value>) {
    let path = format!("{MACHINES}/{}", name(machine));
    if is_going(machine) {
        match instance {
            Some(instance) if !is_going(instance) => end(api, instance).await,
            Some(_) => {}
            None if finalizers(machine).contains(&MACHINE_HELD) => {
                release(api, &path, machine, MACHINE_HELD).await;
            }
            None => {}
        }
        return;
    }
    if !finalizers(machine).contains(&MACHINE_HELD) {
        let mut all = finalizers(machine);
        all.push(MACHINE_HELD);
        let version = &machine["metadata"]["resourceVersion"];
        api.patch(KUBEVIRT, &path, json!({"metadata": {"finalizers": all, "resourceVersion": version}}))
            .await;
    }
    let strategy = match machine["spec"]["running"].as_bool() {
        Some(true) => "Always",
        Some(false) => "Halted",
        None => machine["spec"]["runStrategy"].as_str().unwrap_or("Halted"),
    };
    let asked = machine["status"]["stateChangeRequests"][0]["action"].as_str().unwrap_or_default().to_owned();
    let phase = instance.and_then(|one| one["status"]["phase"].as_str()).unwrap_or_default();
    let done = json!({"status": {"stateChangeRequests": null}});
    match instance {
        Some(instance) if is_going(instance) => {}
        Some(instance) => {
            let is_rerun = phase == "Failed" && strategy == "RerunOnFailure";
            let is_unwanted = strategy == "Halted" || asked == "Stop";
            if is_unwanted || is_rerun || (is_final(instance) && strategy == "Always") {
                end(api, instance).await;
            }
            if !asked.is_empty() {
                api.patch(KUBEVIRT, &format!("{path}/status"), done).await;
            }
        }
        None => {
            let wants = matches!(strategy, "Always" | "RerunOnFailure" | "Once") || asked == "Start";
            // One that crashed is tried again after a while, of which this one's user sees the loop only.
            let is_looping = machine["status"]["printableStatus"] == "CrashLoopBackOff";
            if wants && !is_looping {
                begin(api, machine).await;
            }
        }
    }
    let word = word(machine, instance, strategy, phase);
    if machine["status"]["printableStatus"] != word {
        let conditions = json!([{"type": "Ready", "status": "False", "message": "the guest does not run"}]);
        let status = json!({"status": {"printableStatus": word, "conditions": conditions}});
        api.patch(KUBEVIRT, &format!("{path}/status"), status).await;
    }
}

fn word(machine: &Value, instance: Option<&Value>, strategy: &str, phase: &str) -> &'static str {
    let crashed = machine["status"]["printableStatus"] == "CrashLoopBackOff" || phase == "Failed";
    match (instance, guest(machine)) {
        (Some(instance), _) if is_going(instance) && phase != "Failed" => "Stopping",
        (Some(instance), _) if instance["metadata"]["annotations"]["stand-in/paused"] == "true" => "Paused",
        (_, "crashes") if strategy == "Always" && crashed => "CrashLoopBackOff",
        (Some(_), "unschedulable") => "ErrorUnschedulable",
        (Some(_), "no-image") => "ErrImagePull",
        (Some(_), _) if phase == "Running" => "Running",
        (Some(instance), _) if is_final(instance) => "Stopped",
        (Some(_), _) => "Starting",
        (None, _) => "Stopped",
    }
}

async fn end(api: &Api, instance: &Value) {
    let path = api.path(KUBEVIRT, &format!("{INSTANCES}/{}", name(instance)));
    let body = json!({"preconditions": {"uid": instance["metadata"]["uid"]}});
    let _ = api.ask("DELETE", &path, Some(body)).await;
}

async fn begin(api: &Api, machine: &Value) {
    let template = &machine["spec"]["template"];
    let instance = json!({
        "apiVersion": KUBEVIRT, "kind": "VirtualMachineInstance",
        "metadata": {
            "name": name(machine), "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"], "finalizers": [INSTANCE_HELD],
            "ownerReferences": [{"apiVersion": KUBEVIRT, "kind": "VirtualMachine", "name": name(machine),
                "uid": machine["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": template["spec"],
    });
    let _ = api.ask("POST", &api.path(KUBEVIRT, INSTANCES), Some(instance)).await;
}

// ---- launchers ------------------------------------------------------------------------------------

fn launcher(instance: &Value) -> String {
    format!("virt-launcher-{}", name(instance))
}

async fn make_launcher(api: &Api, instance: &Value) {
    let Some(image) = instance["metadata"]["annotations"]["stand-in/launcher"].as_str() else { return };
    let mut labels = instance["metadata"]["labels"].clone();
    labels["kubevirt.io/created-by"] = instance["metadata"]["uid"].clone();
    let container = |name: &str, script: &str| json!({"name": name, "image": image, "imagePullPolicy": "Never", "command": ["sh", "-c", script]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": launcher(instance), "labels": labels, "ownerReferences": [{"apiVersion": KUBEVIRT,
            "kind": "VirtualMachineInstance", "name": name(instance), "uid": instance["metadata"]["uid"],
            "controller": true}]},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            container("compute", "echo of libvirt; trap 'exit 0' TERM; while :; do sleep 0.1; done"),
            container("guest-console-log",
                "echo the kernel; echo login:; trap 'exit 0' TERM; while :; do sleep 0.1; done"),
        ]},
    });
    let _ = api.ask("POST", &api.path("v1", "pods"), Some(pod)).await;
}

async fn drop_launcher(api: &Api, instance: &Value) {
    if instance["metadata"]["annotations"]["stand-in/launcher"].is_string() {
        let path = api.path("v1", &format!("pods/{}", launcher(instance)));
        let _ = api.ask("DELETE", &path, Some(json!({"gracePeriodSeconds": 1}))).await;
    }
}
