//! Making guests: lost answers, crashes in between, templates, and what is kept with them.

use serde_json::json;
use substrate_core::{CloneConfig, InstanceFilter, InstanceState, NetworkConfig, Outcome, Substrate, mark};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::{Fault, Kind};

use crate::double::{add_template, config, count_of, machine, name, number_of, pair};

#[tokio::test]
async fn a_lost_answer_to_a_creation_makes_one_guest_and_a_success() {
    let (double, substrate) = pair().await;
    double.plan("POST", "/qemu", Fault::LoseAnswer, 1);
    let made = substrate.create_instance(&machine("web").with_label("role", "web")).await.unwrap();
    assert_eq!(made.state, InstanceState::Stopped);
    assert_eq!(count_of(&double, "web"), 1);
    assert_eq!(double.guests().len(), 1);
}

#[tokio::test]
async fn a_lost_request_for_a_creation_is_sent_again_and_makes_one_guest() {
    let (double, substrate) = pair().await;
    double.plan("POST", "/qemu", Fault::LoseRequest, 2);
    substrate.create_instance(&machine("web")).await.unwrap();
    assert_eq!(double.guests().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_to_a_clone_makes_one_guest_and_a_success() {
    let (double, substrate) = pair().await;
    add_template(&double, 100);
    double.plan("POST", "/clone", Fault::LoseAnswer, 1);
    let config = machine("web").with_image("debian").with_memory_mb(1024);
    substrate.create_instance(&config).await.unwrap();
    assert_eq!((count_of(&double, "web"), double.guests().len()), (1, 2));
    let limits = substrate.get_resource_limits(&name("web")).await.unwrap();
    assert_eq!(limits.memory_mb, Some(1024));
}

#[tokio::test]
async fn a_creation_that_is_never_heard_of_is_open_and_leaves_nothing() {
    let (double, substrate) = pair().await;
    double.plan("POST", "/qemu", Fault::LoseRequest, 100);
    let error = substrate.create_instance(&machine("web")).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(double.guests().is_empty());
}

#[tokio::test]
async fn an_id_that_was_given_away_meanwhile_is_replaced_and_its_bearer_untouched() {
    let (double, _) = pair().await;
    let mut settings = config(&double);
    settings.vmid_range = (500, 501);
    let substrate = ProxmoxSubstrate::new("pve", settings).unwrap();
    substrate.create_instance(&machine("one")).await.unwrap();
    substrate.create_instance(&machine("two")).await.unwrap();
    let error = substrate.create_instance(&machine("three")).await.unwrap_err();
    assert!(error.to_string().contains("500") && error.hint().is_none(), "{error}");
    assert_eq!(double.guests().keys().copied().collect::<Vec<_>>(), [500, 501]);
}

/// What an engine does that crashed right after it had sent the call.
#[tokio::test]
async fn a_clone_that_nobody_waited_for_is_found_by_its_mark_and_finished_by_its_start() {
    let (double, substrate) = pair().await;
    add_template(&double, 100);
    double.set_times(|times| times.copy = 20.0);
    let config = machine("web")
        .with_image("debian")
        .with_cpu_cores(3.0)
        .with_memory_mb(2048)
        .with_label(mark::KEY, "key-1");
    double.take_requests();
    let sent = async {
        while !double.take_requests().iter().any(|one| one.ends_with("/clone")) {
            tokio::task::yield_now().await;
        }
    };
    // The call is given up as soon as it was sent.
    tokio::select! {
        made = substrate.create_instance(&config) => panic!("{made:?}"),
        () = sent => {}
    }
    drop(substrate);
    let restarted = ProxmoxSubstrate::new("pve", self::config(&double)).unwrap();
    let filter = InstanceFilter::all().with_label(mark::KEY, "key-1");
    let found = loop {
        let found = restarted.list_instances(&filter).await.unwrap();
        if found.first().is_some_and(|one| one.state == InstanceState::Stopped) {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(found.len(), 1);
    let found = restarted.get_instance(&name("web")).await.unwrap();
    assert!(found.provider_state.contains("not finished"), "{}", found.provider_state);
    restarted.start_instance(&name("web")).await.unwrap();
    let limits = restarted.get_resource_limits(&name("web")).await.unwrap();
    assert_eq!((limits.cpu_cores, limits.memory_mb), (Some(3.0), Some(2048)));
    let found = restarted.get_instance(&name("web")).await.unwrap();
    assert!(!found.provider_state.contains("not finished"), "{}", found.provider_state);
    assert_eq!(found.labels.get(mark::KEY), Some("key-1"));
}

#[tokio::test]
async fn a_copy_that_somebody_else_made_does_not_carry_our_marks() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web").with_label("owner", "me")).await.unwrap();
    let guests = double.guests();
    let original = guests.values().next().unwrap();
    let copied: Vec<(&str, serde_json::Value)> =
        original.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    double.add_guest(20_000_000, Kind::Qemu, "pve", &copied);
    double.change(20_000_000, "name", Some(json!("copy")));
    double.gossip();
    let found = substrate.list_instances(&InstanceFilter::all().with_label("owner", "me")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, "web");
    assert!(substrate.get_instance(&name("copy")).await.unwrap().labels.is_empty());
}

#[tokio::test]
async fn the_users_notes_and_tags_are_kept_beside_the_marks() {
    let (double, substrate) = pair().await;
    let config = machine("web")
        .with_label("role", "web")
        .with_option("description", "First line\nsecond é")
        .with_option("tags", vec!["Prod", "web"]);
    let made = substrate.create_instance(&config).await.unwrap();
    assert_eq!(made.properties["description"], "First line\nsecond é");
    assert_eq!(made.properties["tags"], "prod;web");
    let copy = CloneConfig::new(name("copy")).with_label("role", "copy");
    let copy = substrate.clone_instance(&name("web"), &copy).await.unwrap();
    assert_eq!(copy.properties["description"], "First line\nsecond é");
    assert_eq!(copy.labels.get("role"), Some("copy"));
    let notes = double.guests()[&number_of(&double, "web")]["description"].as_str().unwrap().to_owned();
    assert!(notes.starts_with("First line\nsecond é\n\n<!-- "), "{notes}");
}

#[tokio::test]
async fn labels_that_do_not_fit_are_refused_before_anything_is_made() {
    let (double, substrate) = pair().await;
    let config = machine("web").with_label("long", "x".repeat(8_000));
    let error = substrate.create_instance(&config).await.unwrap_err();
    assert!(error.is_invalid_input() && error.outcome() != Outcome::Unknown, "{error}");
    assert!(double.guests().is_empty());
}

#[tokio::test]
async fn a_template_gives_full_and_linked_clones_in_a_pool_with_cloud_init() {
    let (double, substrate) = pair().await;
    add_template(&double, 100);
    double.add_pool("lab");
    let network = NetworkConfig::new("vmbr1".parse().unwrap())
        .with_ip_address("10.78.0.9".parse().unwrap())
        .with_gateway("10.78.0.1".parse().unwrap())
        .with_dns_server("10.78.0.2".parse().unwrap());
    let mut config = machine("full").with_image("debian").with_network(network);
    config.limits.disk_gb = Some(3);
    config.limits.network_mbps = Some(80.0);
    let config = config
        .with_option("pool", "lab")
        .with_option("cloud_init", json!({"user": "admin", "ssh_keys": ["ssh-ed25519 AAAA+/= a b"]}));
    let full = substrate.create_instance(&config).await.unwrap();
    assert_eq!(full.addresses, ["10.78.0.9".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!((full.limits.disk_gb, full.limits.network_mbps), (Some(3), Some(80.0)));
    let made = double.guests()[&number_of(&double, "full")].clone();
    assert_eq!(made["ipconfig0"], "ip=10.78.0.9/24,gw=10.78.0.1");
    assert_eq!(made["nameserver"], "10.78.0.2");
    assert_eq!(double.pool_of(number_of(&double, "full")).as_deref(), Some("lab"));
    let linked = machine("linked").with_image("100").with_option("linked", true);
    substrate.create_instance(&linked).await.unwrap();
    let disk = double.guests()[&number_of(&double, "linked")]["scsi0"].as_str().unwrap().to_owned();
    assert!(disk.contains("base-100-disk-0.qcow2/"), "{disk}");
    // Templates are images, and no instances.
    let images = substrate.list_images().await.unwrap();
    assert!(images.iter().any(|image| image.id == "100" && image.names == ["debian"]));
    assert!(substrate.get_instance(&name("debian")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_disk_smaller_than_its_template_is_refused_before_anything_is_made() {
    let (double, substrate) = pair().await;
    add_template(&double, 100);
    double.change(100, "scsi0", Some(json!("local:100/base-100-disk-0.qcow2,size=8G")));
    let mut config = machine("small").with_image("debian");
    config.limits.disk_gb = Some(4);
    assert!(substrate.create_instance(&config).await.unwrap_err().is_invalid_input());
    assert_eq!(double.guests().len(), 1);
}

#[tokio::test]
async fn an_iso_gives_an_empty_machine_with_it_in_its_drive() {
    let (double, substrate) = pair().await;
    let mut config = machine("fresh").with_image("local:iso/tiny.iso");
    config.limits.disk_gb = Some(2);
    substrate.create_instance(&config).await.unwrap();
    let made = double.guests()[&number_of(&double, "fresh")].clone();
    assert_eq!(made["ide2"], "local:iso/tiny.iso,media=cdrom");
    assert!(made["scsi0"].as_str().unwrap().ends_with("size=2G"));
    assert_eq!(made["boot"], "order=scsi0;ide2");
}

#[tokio::test]
async fn a_failed_creation_tells_the_tasks_words_and_leaves_nothing() {
    let (double, substrate) = pair().await;
    let config = machine("web").with_option("pool", "nosuch");
    let error = substrate.create_instance(&config).await.unwrap_err();
    assert!(error.is_not_found() && error.message().contains("pool 'nosuch' does not exist"), "{error}");
    let error =
        substrate.create_instance(&machine("web").with_option("storage", "nosuch")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(double.guests().is_empty());
}
