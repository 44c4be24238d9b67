//! A blueprint as people have it, read as it stands.

use serde_json::json;
use substrate_core::{InstanceName, NetworkName, VolumeName};
use substrate_engine::handler::{NetworkSpecs, StorageSpecs, WorkloadSpecs};
use substrate_engine::plan::{Observed, Recorded, plan};

use super::{deployed, desired, plan_of, steps};

const SAMPLE: &str = include_str!("../fixtures/simple-web-app.yaml");

#[test]
fn it_plans_as_it_stands() {
    assert_eq!(
        steps(&plan_of(SAMPLE, &Recorded::default())),
        [
            "create simple-web-app/web-server-01",
            "create simple-web-app/db-server-01",
            "create simple-web-app/load-balancer",
            "create simple-web-app/backup-storage",
        ]
    );
}

#[test]
fn planning_it_twice_gives_an_empty_plan() {
    let desired = desired(SAMPLE);
    let again = plan(&desired, &deployed(&desired), &Observed::default()).unwrap();
    assert!(again.is_empty());
    assert_eq!(again.to_json()["steps"], json!([]));
    assert_eq!(again.kept.len(), 4);
}

#[test]
fn the_load_balancer_comes_after_its_backend() {
    let plan = plan_of(SAMPLE, &Recorded::default());
    assert_eq!(serde_json::to_value(&plan.steps[2].after).unwrap(), json!([{"step": 0}]));
    assert!(plan.steps[3].after.is_empty());
}

#[test]
fn its_specs_become_what_the_contract_takes() {
    let desired = desired(SAMPLE);
    let specs = |index: usize| desired.resources()[index].specs().clone();
    let web = specs(0).parse::<WorkloadSpecs>().unwrap().instance_config(InstanceName::new("w").unwrap());
    assert_eq!(web.image.as_deref(), Some("ubuntu-22.04"));
    assert_eq!(web.limits.cpu_cores, Some(4.0));
    // 8 GB and 100 GB, rounded up to whole MiB and GiB.
    assert_eq!((web.limits.memory_mb, web.limits.disk_gb), (Some(7630), Some(94)));
    let network = specs(2).parse::<NetworkSpecs>().unwrap();
    assert_eq!(network.backends(), ["web-server-01"]);
    let network = network.network_spec(NetworkName::new("n").unwrap());
    assert_eq!(network.driver, None);
    assert_eq!(network.labels.get("network.type"), Some("http"));
    let volume = specs(3).parse::<StorageSpecs>().unwrap().volume_spec(VolumeName::new("v").unwrap());
    assert_eq!(volume.size_bytes, Some(1_000_000_000_000));
    assert_eq!(volume.labels.get("storage.encryption"), Some("true"));
}
