//! Addresses: what a network's DHCP server gives, and what it keeps.

use std::net::IpAddr;

use substrate_core::{CloneConfig, InstanceName, NetworkConfig, NetworkSpec, Substrate};

use crate::lab::{Lab, until};

async fn network(lab: &Lab, third: u8) -> NetworkConfig {
    let spec = NetworkSpec::new(format!("{}-net", lab.prefix).parse().unwrap())
        .with_subnet(format!("10.211.{third}.0/24"));
    lab.libvirt.create_network(&spec).await.unwrap();
    NetworkConfig::new(spec.name)
}

async fn address(lab: &Lab, name: &InstanceName) -> Option<IpAddr> {
    lab.libvirt.get_instance(name).await.unwrap().addresses.first().copied()
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn an_address_that_was_given_is_told() {
    let lab = Lab::new().await;
    let place = network(&lab, 1).await;
    let config = lab.config("guest").with_network(place);
    lab.running(&config).await;
    until("the guest has an address", async || address(&lab, &config.name).await.is_some()).await;
    let told = address(&lab, &config.name).await.unwrap().to_string();
    assert!(told.starts_with("10.211.1."), "{told}");
    assert!(lab.run(&config.name, &["ifconfig", "eth0"]).await.contains(&told));
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_fixed_address_reaches_the_guest_and_is_free_again_after_it() {
    let lab = Lab::new().await;
    let fixed: IpAddr = "10.211.2.42".parse().unwrap();
    let place = network(&lab, 2).await.with_ip_address(fixed);
    let config = lab.config("guest").with_network(place.clone());
    lab.running(&config).await;
    until("the guest has its address", async || {
        lab.run(&config.name, &["ifconfig", "-a"]).await.contains("10.211.2.42")
    })
    .await;
    let other = lab.config("other").with_network(place);
    assert!(lab.libvirt.create_instance(&other).await.unwrap_err().is_conflict());
    lab.libvirt.delete_instance(&config.name, true).await.unwrap();
    lab.libvirt.create_instance(&other).await.unwrap();
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_copy_has_a_hardware_address_of_its_own() {
    let lab = Lab::new().await;
    let place = network(&lab, 3).await;
    let config = lab.config("source").with_network(place);
    let source = lab.libvirt.create_instance(&config).await.unwrap();
    let copy = lab.libvirt.clone_instance(&config.name, &CloneConfig::new(lab.named("copy"))).await.unwrap();
    assert_eq!(copy.networks.len(), 1);
    assert_ne!(copy.networks[0].mac_address, source.networks[0].mac_address);
    assert_ne!(copy.id, source.id);
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn networks_that_two_handles_make_at_once_do_not_share_a_subnet() {
    let (one, other) = (Lab::new().await, Lab::new().await);
    let made = |lab: &Lab, number: usize| {
        let spec = NetworkSpec::new(format!("{}-net-{number}", lab.prefix).parse().unwrap());
        let libvirt = lab.libvirt.clone();
        async move { libvirt.create_network(&spec).await.unwrap() }
    };
    for number in 0..4 {
        let (left, right) = tokio::join!(made(&one, number), made(&other, number));
        assert_ne!(left.subnets, right.subnets);
    }
}
