//! Bounds of bandwidth, which the kernel of the hypervisor's machine keeps.

use std::path::PathBuf;

use substrate_core::{InstanceConfig, NetworkConfig, NetworkSpec, ResourceLimits, Substrate};
use virt::sys;

use crate::lab::{Lab, variable};

fn megabits(megabits: f64) -> ResourceLimits {
    ResourceLimits { network_mbps: Some(megabits), ..ResourceLimits::default() }
}

// What the kernel of this host cannot do is found at the start; the definition is the same everywhere.
#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_bound_of_bandwidth_is_defined_for_every_interface_of_a_machine() {
    let lab = Lab::with(|settings| settings.with_bandwidth_limits(true)).await;
    let network =
        NetworkSpec::new(format!("{}-net", lab.prefix).parse().unwrap()).with_subnet("10.211.9.0/24");
    lab.libvirt.create_network(&network).await.unwrap();
    let mut config = lab.config("bound").with_network(NetworkConfig::new(network.name.clone()));
    config.limits.network_mbps = Some(80.0);
    let error =
        lab.libvirt.create_instance(&lab.config("bare").with_limits(config.limits)).await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    lab.libvirt.create_instance(&config).await.unwrap();
    let defined = || lab.document(&config.name, sys::VIR_DOMAIN_XML_INACTIVE);
    assert!(defined().contains("<inbound average='10000'/>"), "{}", defined());
    let change = ResourceLimits { network_mbps: Some(8.0), ..Default::default() };
    lab.libvirt.set_resource_limits(&config.name, &change).await.unwrap();
    assert!(defined().contains("<outbound average='1000'/>"), "{}", defined());
    if let Err(error) = lab.libvirt.start_instance(&config.name).await {
        assert!(
            error.is_unsupported() && error.hint().is_some_and(|hint| hint.contains("sch_htb")),
            "{error:?}"
        );
    }
}

/// A hypervisor whose traffic control writes down what it is asked for instead of doing it: few kernels have all of it.
struct Recorded {
    lab: Lab,
    folder: PathBuf,
}

impl Recorded {
    async fn new() -> Self {
        let uri = variable("SUBSTRATES_LAB_LIBVIRT_NEW");
        let lab = Lab::at(uri, |settings| settings.with_bandwidth_limits(true)).await;
        Self { lab, folder: variable("SUBSTRATES_LAB_LIBVIRT_NEW_TRAFFIC_CONTROL").into() }
    }

    /// A machine on these two networks, bounded and running, with the names that its interfaces have on the host.
    async fn running(&self, bound: f64, subnets: [&str; 2]) -> (InstanceConfig, Vec<String>) {
        let mut config = self.lab.config("bound").with_limits(megabits(bound));
        for (number, subnet) in subnets.into_iter().enumerate() {
            let network = format!("{}-{number}", self.lab.prefix).parse().unwrap();
            let network = NetworkSpec::new(network).with_subnet(subnet);
            self.lab.libvirt.create_network(&network).await.unwrap();
            config = config.with_network(NetworkConfig::new(network.name));
        }
        self.lab.running(&config).await;
        let document = self.lab.document(&config.name, 0);
        let interfaces = document.split("<target dev='vnet").skip(1);
        let interfaces = interfaces.filter_map(|rest| rest.split('\'').next());
        let interfaces: Vec<String> = interfaces.map(|number| format!("vnet{number}")).collect();
        assert_eq!(interfaces.len(), 2, "{document}");
        (config, interfaces)
    }

    /// Kilobytes per second that were asked for last at this interface: what goes in, and what comes out.
    fn asked(&self, interface: &str) -> [Option<u32>; 2] {
        let asked = std::fs::read_to_string(self.folder.join("asked")).unwrap();
        let ours: Vec<&str> =
            asked.lines().filter(|line| line.contains(&format!(" dev {interface} "))).collect();
        ["htb rate ", "police rate "].map(|words| {
            let rate = ours.iter().rev().find_map(|line| line.split_once(words)).map(|(_, rest)| rest)?;
            rate.split("kbps").next()?.parse().ok()
        })
    }

    /// From now on, this rate is not granted to this interface.
    fn refuse(&self, interface: &str, kilobytes: u32) {
        let requests = format!("dev {interface} .*rate {kilobytes}kbps\n");
        std::fs::write(self.folder.join("refused"), requests).unwrap();
    }
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn a_bound_of_bandwidth_changes_at_each_interface_of_a_running_machine() {
    let recorded = Recorded::new().await;
    let (config, interfaces) = recorded.running(80.0, ["10.211.10.0/24", "10.211.11.0/24"]).await;
    for interface in &interfaces {
        assert_eq!(recorded.asked(interface), [Some(10_000); 2], "{interface}");
    }
    let libvirt = &recorded.lab.libvirt;
    libvirt.set_resource_limits(&config.name, &megabits(8.0)).await.unwrap();
    for interface in &interfaces {
        assert_eq!(recorded.asked(interface), [Some(1_000); 2], "{interface}");
    }
    for flags in [0, sys::VIR_DOMAIN_XML_INACTIVE] {
        let document = recorded.lab.document(&config.name, flags);
        assert_eq!(document.matches("<inbound average='1000'/>").count(), 2, "{document}");
        assert_eq!(document.matches("<outbound average='1000'/>").count(), 2, "{document}");
    }
    assert_eq!(libvirt.get_resource_limits(&config.name).await.unwrap().network_mbps, Some(8.0));
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn a_bound_that_one_interface_cannot_have_is_taken_back_from_the_others() {
    let recorded = Recorded::new().await;
    let (config, interfaces) = recorded.running(80.0, ["10.211.12.0/24", "10.211.13.0/24"]).await;
    recorded.refuse(&interfaces[1], 1_000);
    let libvirt = &recorded.lab.libvirt;
    let error = libvirt.set_resource_limits(&config.name, &megabits(8.0)).await.unwrap_err();
    assert!(error.is_unsupported() && error.hint().is_some_and(|hint| hint.contains("sch_htb")), "{error:?}");
    for interface in &interfaces {
        assert_eq!(recorded.asked(interface), [Some(10_000); 2], "{interface}");
    }
    for flags in [0, sys::VIR_DOMAIN_XML_INACTIVE] {
        let document = recorded.lab.document(&config.name, flags);
        assert_eq!(document.matches("<outbound average='10000'/>").count(), 2, "{document}");
    }
    assert_eq!(libvirt.get_resource_limits(&config.name).await.unwrap().network_mbps, Some(80.0));
}
