//! Finding guests: stale views, moved guests, numbers that are given again, names that are not unique.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use substrate_core::{
    Command, InstanceConfig, InstanceFilter, InstanceKind, InstanceState, NetworkConfig, SnapshotConfig,
    Substrate, SubstrateExt,
};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::{Fault, Kind, Setup};

use crate::double::{config, machine, name, number_of, pair, pair_of};

#[tokio::test]
async fn two_thousand_guests_are_listed_with_one_request() {
    let (double, substrate) = pair().await;
    for vmid in 100..2_100 {
        let key = if vmid % 2 == 0 { "name" } else { "hostname" };
        let kind = if vmid % 2 == 0 { Kind::Qemu } else { Kind::Lxc };
        double.add_guest(vmid, kind, "pve", &[(key, json!(format!("guest-{vmid}")))]);
    }
    double.gossip();
    let all = substrate.list_instances(&InstanceFilter::all()).await.unwrap();
    assert_eq!(all.len(), 2_000);
    assert_eq!(double.take_requests(), ["GET /cluster/resources?type=vm"]);
    // Nor with a filter by labels: guests with a number that people pick carry none of ours.
    let labelled = substrate.list_instances(&InstanceFilter::all().with_label("role", "web")).await.unwrap();
    assert_eq!(labelled.len(), 0);
    assert_eq!(double.take_requests(), ["GET /cluster/resources?type=vm"]);
}

#[tokio::test]
async fn our_own_guests_labels_are_read_once() {
    let (double, substrate) = pair().await;
    for index in 0..5 {
        let config = machine(&format!("own-{index}")).with_label("role", "web");
        substrate.create_instance(&config).await.unwrap();
    }
    double.gossip();
    // A new handle knows nothing.
    let fresh = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    let filter = InstanceFilter::all().with_label("role", "web");
    double.take_requests();
    assert_eq!(fresh.list_instances(&filter).await.unwrap().len(), 5);
    assert_eq!(double.take_requests().len(), 6, "the list, and one for each guest");
    assert_eq!(fresh.list_instances(&filter).await.unwrap().len(), 5);
    assert_eq!(double.take_requests().len(), 1);
}

#[tokio::test]
async fn a_number_that_was_given_to_another_guest_is_not_the_guest_that_had_it() {
    let (double, substrate) = pair().await;
    let made = substrate.create_instance(&machine("web")).await.unwrap();
    let vmid = number_of(&double, "web");
    // Somebody deletes it, and the next one gets its number.
    double.remove_guest(vmid);
    double.add_guest(vmid, Kind::Qemu, "pve", &[("name", json!("precious"))]);
    for gone in [made.name.as_str(), made.id.as_str()] {
        let error = substrate.delete_instance(&name(gone), true).await.unwrap_err();
        assert!(error.is_not_found(), "{gone}: {error}");
        assert!(substrate.start_instance(&name(gone)).await.unwrap_err().is_not_found());
    }
    assert_eq!(number_of(&double, "precious"), vmid);
    assert!(!double.is_running(vmid));
    // The cluster's view still calls it by its old name; the guest itself is asked.
    double.gossip();
    assert_eq!(substrate.get_instance(&name("precious")).await.unwrap().id, vmid.to_string());
}

#[tokio::test]
async fn a_guest_that_moved_to_another_node_is_found_there() {
    let nodes = vec!["pve1".to_owned(), "pve2".to_owned()];
    let (double, substrate) = pair_of(Setup { nodes, ..Setup::default() }).await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let vmid = number_of(&double, "web");
    let before = double.node_of(vmid).unwrap();
    let other = if before == "pve1" { "pve2" } else { "pve1" };
    double.move_guest(vmid, other);
    substrate.start_instance(&name("web")).await.unwrap();
    assert!(double.is_running(vmid));
    // It moves between the look and the deed: "does not exist" is no proof that it is gone.
    let gone = format!("Configuration file 'nodes/{other}/qemu-server/{vmid}.conf' does not exist");
    double.plan("GET", "/config", Fault::Refuse(500, gone.clone()), 1);
    substrate.get_instance(&name("web")).await.unwrap();
    double.plan("POST", "/snapshot", Fault::Refuse(500, gone), 1);
    let error = substrate.create_snapshot(&name("web"), &SnapshotConfig::new("s1".parse().unwrap())).await;
    // The double had done it before it said so: then it is there already.
    assert!(error.as_ref().map_or_else(substrate_core::Error::is_already_exists, |_| true), "{error:?}");
    substrate.migrate_instance(&name("web"), &before).await.unwrap();
    assert_eq!(double.node_of(vmid), Some(before.clone()));
    substrate.migrate_instance(&name("web"), &before).await.unwrap();
    assert!(substrate.migrate_instance(&name("web"), "nowhere").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn two_guests_of_one_name_are_a_conflict_that_names_both() {
    let (double, substrate) = pair().await;
    for vmid in [100, 101] {
        double.add_guest(vmid, Kind::Qemu, "pve", &[("name", json!("twin"))]);
    }
    double.gossip();
    let error = substrate.delete_instance(&name("twin"), true).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(error.message().contains("100") && error.message().contains("101"), "{error}");
    assert!(substrate.create_instance(&machine("twin")).await.unwrap_err().is_already_exists());
    // The id says which.
    substrate.delete_instance(&name("100"), false).await.unwrap();
    assert_eq!(double.guests().keys().copied().collect::<Vec<_>>(), [101]);
}

#[tokio::test]
async fn what_somebody_else_made_a_moment_ago_is_found() {
    let (double, substrate) = pair().await;
    double.gossip();
    double.add_guest(100, Kind::Qemu, "pve", &[("name", json!("new"))]);
    assert_eq!(substrate.get_instance(&name("new")).await.unwrap().id, "100");
    let listed = substrate.list_instances(&InstanceFilter::all()).await.unwrap();
    assert_eq!((listed.len(), listed[0].state), (1, InstanceState::Stopped));
    // Renamed a moment ago: the old name is nobody's any more.
    double.gossip();
    double.change(100, "name", Some(json!("newer")));
    assert!(substrate.get_instance(&name("new")).await.unwrap_err().is_not_found());
    assert_eq!(substrate.get_instance(&name("newer")).await.unwrap().id, "100");
}

#[tokio::test]
async fn machines_and_containers_are_one_list_and_what_containers_cannot_is_refused() {
    let (_double, substrate) = pair().await;
    substrate.create_instance(&machine("vm")).await.unwrap();
    let container = InstanceConfig::new(name("ct"))
        .with_kind(InstanceKind::Container)
        .with_image("local:vztmpl/labct_1.0_amd64.tar.gz")
        .with_network(
            NetworkConfig::new("vmbr1.20".parse().unwrap()).with_ip_address("10.78.0.5".parse().unwrap()),
        );
    substrate.create_and_start(&container).await.unwrap();
    let kinds: Vec<_> = substrate
        .list_instances(&InstanceFilter::all())
        .await
        .unwrap()
        .iter()
        .map(|one| (one.name.to_string(), one.kind))
        .collect();
    assert_eq!(
        kinds,
        [("ct".to_owned(), InstanceKind::Container), ("vm".to_owned(), InstanceKind::VirtualMachine)]
    );
    let found = substrate.get_instance(&name("ct")).await.unwrap();
    assert_eq!(found.networks[0].network_name, "vmbr1.20");
    assert_eq!(found.networks[0].ip_address, Some("10.78.0.5".parse().unwrap()));
    for error in [
        substrate.execute_command(&name("ct"), &Command::new(["true"])).await.unwrap_err(),
        substrate.pause_instance(&name("ct")).await.unwrap_err(),
    ] {
        assert!(error.is_unsupported(), "{error}");
    }
    let memory = SnapshotConfig::new("s1".parse().unwrap()).with_memory();
    assert!(substrate.create_snapshot(&name("ct"), &memory).await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn networks_are_attached_and_detached_with_their_vlan() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let networks: Vec<String> =
        substrate.list_networks().await.unwrap().iter().map(|network| network.name.to_string()).collect();
    assert_eq!(networks, ["vmbr0", "vmbr1"]);
    let vlan = NetworkConfig::new("vmbr1.7".parse().unwrap());
    substrate.attach_network(&name("web"), &vlan).await.unwrap();
    substrate.attach_network(&name("web"), &vlan).await.unwrap();
    let made = double.guests()[&number_of(&double, "web")].clone();
    assert!(made["net1"].as_str().unwrap().contains("bridge=vmbr1,tag=7"), "{made:?}");
    substrate.detach_network(&name("web"), &vlan.network_name).await.unwrap();
    substrate.detach_network(&name("web"), &vlan.network_name).await.unwrap();
    assert!(!double.guests()[&number_of(&double, "web")].contains_key("net1"));
    let none = NetworkConfig::new("vmbr9".parse().unwrap());
    assert!(substrate.attach_network(&name("web"), &none).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_change_by_somebody_else_is_not_overwritten() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    double.plan(
        "PUT",
        "/config",
        Fault::Refuse(500, "checksum mismatch (file change by other user?)".into()),
        1,
    );
    let limits = substrate_core::ResourceLimits { memory_mb: Some(700), ..Default::default() };
    let error = substrate.set_resource_limits(&name("web"), &limits).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let puts: Vec<String> = double.take_requests().into_iter().filter(|one| one.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 1, "{puts:?}");
}

#[tokio::test]
async fn a_guests_log_is_that_of_its_tasks() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    substrate.start_instance(&name("web")).await.unwrap();
    let log = substrate.tail_logs(&name("web"), 100).await.unwrap();
    let lines: Vec<&str> = log.iter().map(|line| line.message.as_str()).collect();
    assert!(lines.iter().any(|line| line.contains("create full clone of drive")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| **line == "TASK OK").count(), 2, "{lines:?}");
    // Also a long one, of which a page is a part.
    double.lengthen_logs(number_of(&double, "web"), 1_500);
    let log = substrate.tail_logs(&name("web"), 1).await.unwrap();
    assert_eq!(log[0].message, "line 1499");
}

#[tokio::test]
async fn a_registry_opens_a_section() {
    let (double, _) = pair().await;
    let text = format!(
        "substrates: {{pve: {{type: proxmox, url: \"{}\", token_id: \"root@pam!lab\", token_secret: \"{}\"}}}}",
        double.url(0),
        crate::double::SECRET
    );
    let config = substrate_core::config::Config::from_yaml("substrate.yaml", &text).unwrap();
    let section = &config.substrate("pve").unwrap().section;
    let substrate: Arc<dyn Substrate> = ProxmoxSubstrate::from_section("pve", section).unwrap();
    substrate.connect().await.unwrap();
    assert_eq!(&*substrate.descriptor().provider_type, "proxmox");
}

#[tokio::test]
async fn an_agent_that_does_not_answer_holds_nobody_up() {
    let (double, substrate) = pair().await;
    substrate.create_and_start(&machine("web")).await.unwrap();
    double.plan("GET", "/agent/", Fault::Stall(Duration::from_secs(60)), 1);
    let begin = Instant::now();
    assert!(substrate.get_instance(&name("web")).await.unwrap().addresses.is_empty());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // And it is not asked again at once.
    double.take_requests();
    substrate.get_instance(&name("web")).await.unwrap();
    assert!(!double.take_requests().iter().any(|one| one.contains("/agent/")));
}

#[tokio::test]
async fn the_first_look_at_the_network_is_the_last_recorded_minute() {
    let (double, substrate) = pair().await;
    substrate.create_and_start(&machine("web")).await.unwrap();
    // Of the minute that is still running nothing is known yet.
    let points = json!([
        {"time": 60, "netin": 1.0, "netout": 1.0},
        {"time": 120, "netin": 125_000.0, "netout": 250_000.0},
        {"time": 180},
    ]);
    double.record(number_of(&double, "web"), points);
    let usage = substrate.get_metrics(&name("web")).await.unwrap();
    assert_eq!((usage.network_rx_mbps, usage.network_tx_mbps), (Some(1.0), Some(2.0)));
    assert_eq!(usage.disk_gb, None, "a machine's use of its disk is always 0 there: not measured");
}
