//! Firmware with variables of its own, which every machine has in a file.

use substrate_core::{CloneConfig, InstanceConfig, InstanceName, StopMode, Substrate};
use virt::sys;

use crate::lab::{Lab, raw};

/// Where the daemon keeps the variables.
const FOLDER: &str = "/var/lib/libvirt/qemu/nvram";

/// The files of variables of this test's machines.
fn variables(lab: &Lab) -> Vec<String> {
    let connect = raw(&lab.uri);
    let xml =
        format!("<pool type='dir'><name>{0}</name><target><path>{FOLDER}</path></target></pool>", lab.prefix);
    let pool = connect.create_storage_pool_xml(&xml, 0).unwrap();
    let mut files = pool.list_volumes().unwrap();
    pool.destroy().unwrap();
    files.retain(|file| file.starts_with(&lab.prefix));
    files.sort();
    files
}

fn variables_of(lab: &Lab, name: &InstanceName) -> String {
    let connect = raw(&lab.uri);
    let domain = connect.lookup_domain_by_name(name.as_str()).unwrap();
    let document = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).unwrap();
    let (_, rest) = document.split_once("<nvram").unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

// What the firmware is does not matter to where it keeps its variables: this one is empty, and does nothing.
#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_copy_has_firmware_variables_of_its_own_and_they_go_with_their_machine() {
    let lab = Lab::new().await;
    // Readable by the emulator: libvirt gives it disks, and not its firmware.
    let volume = format!(
        "<volume><name>{}-firmware</name><capacity>262144</capacity><target><format type='raw'/>\
         <permissions><mode>0644</mode></permissions></target></volume>",
        lab.prefix
    );
    let pool = raw(&lab.uri).lookup_storage_pool_by_name("machines").unwrap();
    let firmware = virt::storage_vol::StorageVol::create_xml(&pool, &volume, 0).unwrap().path().unwrap();
    let xml = format!(
        "<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <features><acpi/></features><os><type arch='x86_64' machine='q35'>hvm</type>\
         <loader readonly='yes' type='pflash'>{firmware}</loader><nvram template='{firmware}'/></os></domain>"
    );
    let config = InstanceConfig::new(lab.named("source")).with_option("xml", xml);
    lab.running(&config).await;
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    let copy = CloneConfig::new(lab.named("copy"));
    lab.libvirt.clone_instance(&config.name, &copy).await.unwrap();
    assert_ne!(variables_of(&lab, &config.name), variables_of(&lab, &copy.name));
    lab.libvirt.start_instance(&copy.name).await.unwrap();
    assert_eq!(variables(&lab).len(), 2, "{:?}", variables(&lab));
    let connect = raw(&lab.uri);
    let source = connect.lookup_domain_by_name(config.name.as_str()).unwrap();
    assert!(source.undefine().is_err(), "plain undefine refuses it");
    lab.libvirt.delete_instance(&config.name, false).await.unwrap();
    assert_eq!(variables(&lab).len(), 1, "{:?}", variables(&lab));
    lab.libvirt.delete_instance(&copy.name, true).await.unwrap();
    assert!(variables(&lab).is_empty(), "{:?}", variables(&lab));
}
