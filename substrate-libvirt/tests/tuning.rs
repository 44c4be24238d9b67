//! Bounds of bandwidth and of disks: what is defined and what runs, on libvirt's own mock, which needs no daemon and
//! keeps both apart as a hypervisor does.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helping functions too")]

use substrate_core::{InstanceConfig, InstanceName, ResourceLimits, Substrate, VolumeSpec};
use substrate_libvirt::{BlockLimits, LibvirtConfig, LibvirtSubstrate};
use virt::sys;

/// Machines of the mock are seen by every connection of this process.
struct Mock {
    libvirt: LibvirtSubstrate,
    raw: virt::connect::Connect,
}

impl Mock {
    fn new() -> Self {
        let config = LibvirtConfig::default()
            .with_uri("test:///default")
            .with_pool("default-pool")
            .with_bandwidth_limits(true);
        Self {
            libvirt: LibvirtSubstrate::new("mock", config).unwrap(),
            raw: virt::connect::Connect::open(Some("test:///default")).unwrap(),
        }
    }

    async fn config(&self, name: &str) -> InstanceConfig {
        let image = format!("{name}.img");
        let volume = VolumeSpec::new(image.parse().unwrap()).with_size_bytes(1 << 20);
        self.libvirt.create_volume(&volume).await.unwrap();
        InstanceConfig::new(name.parse().unwrap()).with_image(image)
    }

    async fn bounded(&self, name: &str, megabits: f64) -> InstanceName {
        let limits = bandwidth(megabits);
        let config = self.config(name).await.with_limits(limits);
        self.libvirt.create_instance(&config).await.unwrap();
        config.name
    }

    fn document(&self, name: &InstanceName, flags: u32) -> String {
        self.raw.lookup_domain_by_name(name.as_str()).unwrap().xml_desc(flags).unwrap()
    }

    fn defined(&self, name: &InstanceName) -> String {
        self.document(name, sys::VIR_DOMAIN_XML_INACTIVE)
    }

    fn running(&self, name: &InstanceName) -> String {
        self.document(name, 0)
    }
}

fn bandwidth(megabits: f64) -> ResourceLimits {
    ResourceLimits { network_mbps: Some(megabits), ..ResourceLimits::default() }
}

#[tokio::test]
async fn a_bound_of_bandwidth_is_defined_in_both_directions_and_read_back() {
    let mock = Mock::new();
    let name = mock.bounded("defined", 8.0).await;
    let document = mock.defined(&name);
    assert!(document.contains("<inbound average='1000'/>"), "{document}");
    assert!(document.contains("<outbound average='1000'/>"), "{document}");
    let limits = mock.libvirt.get_resource_limits(&name).await.unwrap();
    assert_eq!(limits.network_mbps, Some(8.0));
}

#[tokio::test]
async fn a_bound_of_bandwidth_changes_at_once_and_for_the_next_start() {
    let mock = Mock::new();
    let name = mock.bounded("changed", 8.0).await;
    mock.libvirt.start_instance(&name).await.unwrap();
    mock.libvirt.set_resource_limits(&name, &bandwidth(16.0)).await.unwrap();
    for document in [mock.running(&name), mock.defined(&name)] {
        assert!(document.contains("<inbound average='2000'"), "{document}");
        assert!(document.contains("<outbound average='2000'"), "{document}");
    }
    assert_eq!(mock.libvirt.get_resource_limits(&name).await.unwrap().network_mbps, Some(16.0));
}

#[tokio::test]
async fn a_bound_that_is_set_while_it_is_off_holds_from_its_start() {
    let mock = Mock::new();
    let name = mock.bounded("later", 8.0).await;
    mock.libvirt.set_resource_limits(&name, &bandwidth(80.0)).await.unwrap();
    mock.libvirt.start_instance(&name).await.unwrap();
    assert!(mock.running(&name).contains("<inbound average='10000'"), "{}", mock.running(&name));
}

#[tokio::test]
async fn a_machine_without_an_interface_cannot_be_bounded_and_keeps_what_it_has() {
    let mock = Mock::new();
    let xml = "<domain type='test'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
               <os><type>hvm</type></os></domain>";
    let config = InstanceConfig::new("alone".parse().unwrap()).with_option("xml", xml);
    mock.libvirt.create_instance(&config).await.unwrap();
    let error = mock.libvirt.set_resource_limits(&config.name, &bandwidth(8.0)).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("interfaces"), "{error}");
    let asked =
        InstanceConfig::new("born".parse().unwrap()).with_option("xml", xml).with_limits(bandwidth(8.0));
    assert!(mock.libvirt.create_instance(&asked).await.unwrap_err().is_invalid_input());
    assert!(mock.libvirt.get_instance(&asked.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn bandwidth_is_refused_where_the_settings_do_not_say_that_the_host_can() {
    let config = LibvirtConfig::default().with_uri("test:///default").with_pool("default-pool");
    let libvirt = LibvirtSubstrate::new("mock", config).unwrap();
    let config = InstanceConfig::new("refused".parse().unwrap()).with_image("x").with_limits(bandwidth(8.0));
    let error = libvirt.create_instance(&config).await.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("bandwidth_limits"), "{error}");
}

#[tokio::test]
async fn bounds_of_a_disk_are_defined_and_changed_and_lifted() {
    let mock = Mock::new();
    let bounds = serde_json::json!({"bytes_per_second": 1_000_000, "weight": 200});
    let config = mock.config("disk").await.with_option("block_limits", bounds);
    mock.libvirt.create_instance(&config).await.unwrap();
    let expected = BlockLimits::default().with_bytes_per_second(1_000_000).with_weight(200);
    assert_eq!(mock.libvirt.block_limits(&config.name).await.unwrap(), expected);
    assert!(mock.defined(&config.name).contains("<total_bytes_sec>1000000<"));
    let change = BlockLimits::default().with_bytes_per_second(0).with_operations_per_second_apart(10, 20);
    mock.libvirt.set_block_limits(&config.name, &change).await.unwrap();
    let expected = BlockLimits::default().with_operations_per_second_apart(10, 20).with_weight(200);
    assert_eq!(mock.libvirt.block_limits(&config.name).await.unwrap(), expected);
    assert!(!mock.defined(&config.name).contains("bytes_sec"));
}

#[tokio::test]
async fn a_weight_changes_at_once_and_for_the_next_start() {
    let mock = Mock::new();
    let config = mock.config("weighed").await;
    mock.libvirt.create_instance(&config).await.unwrap();
    mock.libvirt.start_instance(&config.name).await.unwrap();
    mock.libvirt.set_block_limits(&config.name, &BlockLimits::default().with_weight(300)).await.unwrap();
    for document in [mock.running(&config.name), mock.defined(&config.name)] {
        assert!(document.contains("<weight>300</weight>"), "{document}");
    }
}

// The mock takes a bound of bytes only together with a bound of their bursts, which we do not set.
#[tokio::test]
async fn what_the_running_machine_refuses_is_not_defined_either() {
    let mock = Mock::new();
    let config = mock.config("firm").await;
    mock.libvirt.create_instance(&config).await.unwrap();
    mock.libvirt.start_instance(&config.name).await.unwrap();
    let change = BlockLimits::default().with_bytes_per_second(1_000_000);
    let error = mock.libvirt.set_block_limits(&config.name, &change).await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert_eq!(mock.libvirt.block_limits(&config.name).await.unwrap(), BlockLimits::default());
}
