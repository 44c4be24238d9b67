//! Networks: plans of nodes, and what happens to them when something fails.

use serde_json::json;
use substrate_core::{NetworkConfig, NetworkName, NetworkSpec, Substrate};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::{Fault, Setup};

use crate::double::{config, machine, name, number_of, pair, pair_of};

fn network(text: &str) -> NetworkSpec {
    NetworkSpec::new(NetworkName::new(text).unwrap())
}

fn two_nodes() -> Setup {
    Setup { nodes: vec!["pve1".to_owned(), "pve2".to_owned()], ..Setup::default() }
}

const AS_IT_WAS: [&str; 3] = ["eth0", "vmbr0", "vmbr1"];

#[tokio::test]
async fn a_bridge_is_made_on_every_node_and_called_as_it_was_asked_for() {
    let (double, substrate) = pair_of(two_nodes()).await;
    let made = substrate.create_network(&network("back end ☃").with_subnet("10.9.0.0/24")).await.unwrap();
    assert_eq!((made.name.as_str(), made.gateway), ("back end ☃", Some("10.9.0.1".parse().unwrap())));
    for node in ["pve1", "pve2"] {
        let (interfaces, planned) = double.interfaces(node);
        assert!(interfaces.contains(&made.id) && !planned, "{interfaces:?}");
    }
    // Another handle calls a guest's network so too.
    substrate
        .create_instance(&machine("web").with_network(NetworkConfig::new(made.name.clone())))
        .await
        .unwrap();
    let fresh = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    assert_eq!(fresh.get_instance(&name("web")).await.unwrap().networks[0].network_name, made.name);
    let device = double.guests()[&number_of(&double, "web")]["net0"].clone();
    assert!(device.as_str().unwrap().contains(&format!("bridge={}", made.id)), "{device}");
    assert!(fresh.delete_network(&made.name).await.unwrap_err().is_conflict());
    fresh.delete_instance(&name("web"), false).await.unwrap();
    fresh.delete_network(&made.name).await.unwrap();
    assert_eq!(double.interfaces("pve2"), (AS_IT_WAS.map(str::to_owned).to_vec(), false));
}

#[tokio::test]
async fn a_change_that_somebody_else_planned_is_neither_applied_nor_thrown_away() {
    let (double, substrate) = pair().await;
    double.plan_network("pve", "vmbr5", Some(json!({"iface": "vmbr5", "type": "bridge"})));
    for change in [
        substrate.create_network(&network("blue")).await.map(drop),
        substrate.create_network(&network("vmbr6")).await.map(drop),
    ] {
        let error = change.unwrap_err();
        assert!(error.is_conflict() && error.message().contains("planned"), "{error}");
    }
    assert_eq!(double.interfaces("pve"), (AS_IT_WAS.map(str::to_owned).to_vec(), true));
}

#[tokio::test]
async fn what_an_interrupted_call_left_is_taken_back_by_the_next_one() {
    let (double, substrate) = pair().await;
    // The plan was written, and the process ended before it was applied.
    double.plan("PUT", "/network", Fault::LoseRequest, 1);
    double.plan("DELETE", "/network", Fault::LoseRequest, 4);
    let error = substrate.create_network(&network("blue")).await.unwrap_err();
    assert_eq!(error.outcome(), substrate_core::Outcome::Unknown, "{error}");
    assert!(double.interfaces("pve").1, "it is planned");
    double.clear_plans();
    // It is not there yet, and its name is free.
    let listed = substrate.list_networks().await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    substrate.create_network(&network("green")).await.unwrap();
    let made = substrate.create_network(&network("blue")).await.unwrap();
    substrate.delete_network(&made.name).await.unwrap();
    assert!(!double.interfaces("pve").1);
}

#[tokio::test]
async fn a_failure_on_one_node_leaves_nothing_on_any() {
    let (double, substrate) = pair_of(two_nodes()).await;
    // To plan it fails, on the second node.
    double.plan("POST", "/nodes/pve2/network", Fault::Refuse(500, "something new".into()), 1);
    assert!(substrate.create_network(&network("blue")).await.is_err());
    // To apply it fails, after it took effect.
    double.break_network("pve2");
    let error = substrate.create_network(&network("blue")).await.unwrap_err();
    assert!(error.message().contains("ifreload"), "{error}");
    for node in ["pve1", "pve2"] {
        assert_eq!(double.interfaces(node), (AS_IT_WAS.map(str::to_owned).to_vec(), false), "{node}");
    }
}

#[tokio::test]
async fn a_nodes_own_bridge_is_not_deleted() {
    let (double, substrate) = pair().await;
    let error = substrate.delete_network(&"vmbr0".parse().unwrap()).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("not made here"), "{error}");
    assert!(substrate.delete_network(&"vmbr0.20".parse().unwrap()).await.unwrap_err().is_not_found());
    assert_eq!(double.interfaces("pve").0, AS_IT_WAS);
    // One that was made here may be called so.
    let made = substrate.create_network(&network("vmbr7")).await.unwrap();
    assert_eq!(made.id, "vmbr7");
    substrate.delete_network(&made.name).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_a_network_is_refused_before_anything_is_asked() {
    let (double, substrate) = pair().await;
    double.take_requests();
    let option = |key: &str, value: serde_json::Value| {
        let mut spec = network("blue");
        spec.options.insert(key.to_owned(), value);
        spec
    };
    for spec in [
        network("vmbr0.30"),
        network("blue").with_gateway("10.0.0.1".parse().unwrap()),
        network("blue").with_subnet("10.0.0.0/24").with_gateway("10.0.1.1".parse().unwrap()),
        network("blue").with_subnet("10.0.0.0/24").with_gateway("10.0.0.1".parse().unwrap()).internal(),
        option("ports", json!(["a,b"])),
        option("port", json!("eth0")),
    ] {
        let error = substrate.create_network(&spec).await.unwrap_err();
        assert!(error.is_invalid_input(), "{spec:?}: {error}");
    }
    let mut overlay = network("blue");
    overlay.driver = Some("overlay".to_owned());
    assert!(substrate.create_network(&overlay).await.unwrap_err().is_unsupported());
    assert_eq!(double.take_requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_virtual_network_is_made_in_its_zone_and_removed_with_its_subnet() {
    let (double, substrate) = pair().await;
    let mut spec = network("shared").with_subnet("10.9.0.0/24").with_label("role", "back");
    spec.driver = Some("vnet".to_owned());
    assert!(substrate.create_network(&spec).await.unwrap_err().is_invalid_input(), "it needs a zone");
    spec.options.insert("zone".to_owned(), "nowhere".into());
    assert!(substrate.create_network(&spec).await.unwrap_err().is_not_found());
    spec.options.insert("zone".to_owned(), "simple1".into());
    let made = substrate.create_network(&spec).await.unwrap();
    assert_eq!((made.driver.as_str(), &made.labels), ("vnet", &spec.labels));
    assert!(substrate.create_network(&spec).await.unwrap_err().is_already_exists());
    substrate
        .create_instance(&machine("web").with_network(NetworkConfig::new(made.name.clone())))
        .await
        .unwrap();
    let found = substrate.get_instance(&name("web")).await.unwrap();
    assert_eq!(found.networks[0].network_name, "shared");
    assert!(substrate.delete_network(&made.name).await.unwrap_err().is_conflict());
    substrate.delete_instance(&name("web"), false).await.unwrap();
    substrate.delete_network(&made.name).await.unwrap();
    assert_eq!(substrate.list_networks().await.unwrap().len(), 2);
    assert_eq!(double.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_machine_without_a_drive_for_cloud_init_gets_no_address() {
    let (double, substrate) = pair().await;
    double.add_guest(100, substrate_proxmox_double::Kind::Qemu, "pve", &[("name", json!("own"))]);
    let place = NetworkConfig::new("vmbr1".parse().unwrap()).with_ip_address("10.78.0.9".parse().unwrap());
    let error = substrate.attach_network(&name("own"), &place).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("cloud-init"), "{error}");
    assert!(!double.guests()[&100].contains_key("net0"));
    // One that is made here has a drive, unless it is to have none.
    substrate.create_instance(&machine("made")).await.unwrap();
    substrate.attach_network(&name("made"), &place).await.unwrap();
    let made = double.guests()[&number_of(&double, "made")].clone();
    assert_eq!((&made["ipconfig0"], &made["ipconfig1"]), (&json!("ip=dhcp"), &json!("ip=10.78.0.9/24")));
    substrate.create_instance(&machine("bare").with_option("cloud_init_drive", false)).await.unwrap();
    assert!(substrate.attach_network(&name("bare"), &place).await.unwrap_err().is_unsupported());
}
