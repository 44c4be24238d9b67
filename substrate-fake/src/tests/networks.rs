use std::net::IpAddr;

use substrate_core::{
    NetworkConfig, NetworkName, NetworkSpec, Substrate, VolumeMount, VolumeName, VolumeSource, VolumeSpec,
};

use super::{config, execute, get, name, running, stdout};
use crate::Fake;

fn network(text: &str) -> NetworkName {
    NetworkName::new(text).unwrap()
}

fn spec(text: &str, subnet: &str) -> NetworkSpec {
    NetworkSpec::new(network(text)).with_subnet(subnet)
}

fn place(text: &str, last: u8) -> NetworkConfig {
    NetworkConfig::new(network(text)).with_ip_address([10, 1, 0, last].into())
}

async fn with_blue() -> Fake {
    let fake = Fake::new("fake");
    fake.create_network(&spec("blue", "10.1.0.0/24")).await.unwrap();
    fake
}

#[tokio::test(start_paused = true)]
async fn networks_are_made_listed_and_deleted() {
    let fake = with_blue().await;
    assert!(fake.create_network(&spec("blue", "10.2.0.0/24")).await.unwrap_err().is_already_exists());
    assert!(fake.create_network(&spec("red", "10.1.0.128/25")).await.unwrap_err().is_conflict());
    assert!(fake.create_network(&spec("red", "10.1.0.0")).await.unwrap_err().is_invalid_input());
    let outside = spec("red", "10.2.0.0/24").with_gateway([10, 3, 0, 1].into());
    assert!(fake.create_network(&outside).await.unwrap_err().is_invalid_input());
    let mut odd = spec("red", "10.2.0.0/24");
    odd.options.insert("mtu".into(), 1.into());
    assert!(fake.create_network(&odd).await.unwrap_err().is_invalid_input());
    let picked = fake.create_network(&NetworkSpec::new(network("any")).internal()).await.unwrap();
    assert!(picked.internal && picked.gateway.is_some());
    let other = fake.create_network(&NetworkSpec::new(network("other"))).await.unwrap();
    assert_ne!(other.subnets, picked.subnets);
    let names: Vec<_> = fake.list_networks().await.unwrap().into_iter().map(|network| network.name).collect();
    assert_eq!(names, ["any", "blue", "default", "other"]);
    // By its id, too.
    fake.delete_network(&network(&picked.id)).await.unwrap();
    assert!(fake.delete_network(&network("any")).await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn an_instance_has_its_places_and_gives_them_back() {
    let fake = with_blue().await;
    let created = fake.create_instance(&config("web").with_network(place("blue", 42))).await.unwrap();
    assert_eq!(created.addresses, [IpAddr::from([10, 1, 0, 42])]);
    assert_eq!(created.networks.len(), 1);
    let taken = fake.create_instance(&config("db").with_network(place("blue", 42))).await.unwrap_err();
    assert!(taken.is_conflict());
    let gateway = fake.create_instance(&config("db").with_network(place("blue", 1))).await.unwrap_err();
    assert!(gateway.is_conflict());
    assert!(fake.delete_network(&network("blue")).await.unwrap_err().is_conflict());
    fake.delete_instance(&created.name, true).await.unwrap();
    fake.create_instance(&config("db").with_network(place("blue", 42))).await.unwrap();
    fake.detach_network(&name("db"), &network("blue")).await.unwrap();
    fake.delete_network(&network("blue")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_half_way_gives_its_addresses_back() {
    let fake = with_blue().await;
    fake.create_network(&spec("tiny", "10.2.0.0/30")).await.unwrap();
    let both = |text: &str| {
        config(text).with_network(place("blue", 42)).with_network(NetworkConfig::new(network("tiny")))
    };
    // A subnet of four has room for one instance beside its gateway.
    fake.create_instance(&config("only").with_network(NetworkConfig::new(network("tiny")))).await.unwrap();
    assert!(fake.create_instance(&both("late")).await.unwrap_err().is_exhausted());
    fake.create_instance(&config("web").with_network(place("blue", 42))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attaching_and_detaching_twice_is_success() {
    let fake = with_blue().await;
    let web = running(&fake, "web", &[]).await;
    let other = running(&fake, "other", &[]).await;
    for _ in 0..2 {
        fake.attach_network(&web, &place("blue", 42)).await.unwrap();
    }
    fake.attach_network(&web, &NetworkConfig::new(network("blue"))).await.unwrap();
    assert_eq!(get(&fake, "web").await.networks.len(), 2);
    assert!(fake.attach_network(&web, &place("blue", 43)).await.unwrap_err().is_conflict());
    assert!(fake.attach_network(&other, &place("blue", 42)).await.unwrap_err().is_conflict());
    let outside = NetworkConfig::new(network("blue")).with_ip_address([10, 9, 0, 1].into());
    assert!(fake.attach_network(&other, &outside).await.unwrap_err().is_invalid_input());
    assert!(fake.attach_network(&other, &place("none", 2)).await.unwrap_err().is_not_found());
    for _ in 0..2 {
        fake.detach_network(&web, &network("blue")).await.unwrap();
    }
    assert!(fake.detach_network(&web, &network("none")).await.unwrap_err().is_not_found());
    fake.attach_network(&other, &place("blue", 42)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn addresses_are_used_up_and_found_again() {
    let fake = with_blue().await;
    let blue = |text: &str| config(text).with_network(NetworkConfig::new(network("blue")));
    // 254 hosts, one of them the gateway.
    for number in 0..253 {
        fake.create_instance(&blue(&number.to_string())).await.unwrap();
    }
    assert!(fake.create_instance(&blue("late")).await.unwrap_err().is_exhausted());
    let freed = fake.get_instance(&name("17")).await.unwrap().addresses.clone();
    fake.delete_instance(&name("17"), true).await.unwrap();
    assert_eq!(fake.create_instance(&blue("late")).await.unwrap().addresses, freed);
}

#[tokio::test(start_paused = true)]
async fn a_volume_outlives_its_instances() {
    let fake = Fake::new("fake");
    let data = VolumeName::new("data").unwrap();
    fake.create_volume(&VolumeSpec::new(data.clone()).with_size_bytes(1 << 30)).await.unwrap();
    assert!(fake.create_volume(&VolumeSpec::new(data.clone())).await.unwrap_err().is_already_exists());
    let mount = |read_only| VolumeMount {
        source: VolumeSource::Volume(VolumeName::new("data").unwrap()),
        target: "/data".to_owned(),
        read_only,
    };
    for (text, read_only) in [("writer", false), ("reader", true)] {
        fake.create_instance(&config(text).with_volume(mount(read_only))).await.unwrap();
        fake.start_instance(&name(text)).await.unwrap();
    }
    assert!(execute(&fake, "writer", &["write", "/data/note", "kept"]).await.unwrap().success());
    assert_eq!(stdout(&fake, "reader", &["cat", "/data/note"]).await, "kept");
    assert!(!execute(&fake, "reader", &["write", "/data/note", "changed"]).await.unwrap().success());
    assert!(!execute(&fake, "reader", &["rm", "/data/note"]).await.unwrap().success());
    assert_eq!(stdout(&fake, "writer", &["cat", "/data/note"]).await, "kept");
    fake.delete_instance(&name("writer"), true).await.unwrap();
    assert!(fake.delete_volume(&data).await.unwrap_err().is_conflict());
    fake.delete_instance(&name("reader"), true).await.unwrap();
    assert_eq!(fake.list_volumes().await.unwrap()[0].size_bytes, Some(1 << 30));
    fake.delete_volume(&data).await.unwrap();
    assert!(fake.delete_volume(&data).await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn images_are_fetched_when_they_are_missing() {
    let fake = Fake::new("fake");
    assert!(fake.list_images().await.unwrap().iter().any(|image| image.names == ["busybox:local"]));
    let first = fake.ensure_image("example.org/app:1").await.unwrap();
    assert_eq!(fake.ensure_image("example.org/app:1").await.unwrap(), first);
    fake.create_instance(&config("app").with_image("example.org/app:1")).await.unwrap();
    assert!(fake.ensure_image("missing-image:1").await.unwrap_err().is_not_found());
    for reference in ["", "a\nb", "\0", "a b"] {
        assert!(fake.ensure_image(reference).await.unwrap_err().is_invalid_input(), "{reference:?}");
    }
}
