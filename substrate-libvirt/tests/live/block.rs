//! Bounds of disk input and output, which the hypervisor keeps itself.

use std::time::{Duration, Instant};

use substrate_libvirt::BlockLimits;
use virt::sys;

use crate::lab::Lab;

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_bound_of_a_disk_holds_at_once_and_from_the_next_start_on() {
    let lab = Lab::new().await;
    let config = lab.config("slow");
    lab.running(&config).await;
    // The agent first, so that only the writing is measured.
    lab.run(&config.name, &["true"]).await;
    let limits = BlockLimits::default().with_bytes_per_second(512 << 10);
    lab.libvirt.set_block_limits(&config.name, &limits).await.unwrap();
    let begin = Instant::now();
    lab.run(&config.name, &["dd", "if=/dev/zero", "of=/data", "bs=65536", "count=64", "conv=fsync"]).await;
    // Four mebibytes at half of one per second; the first tenth of a second's worth comes at once.
    assert!(begin.elapsed() >= Duration::from_secs(6), "{:?}", begin.elapsed());
    for flags in [0, sys::VIR_DOMAIN_XML_INACTIVE] {
        let document = lab.document(&config.name, flags);
        assert!(document.contains("<total_bytes_sec>524288</total_bytes_sec>"), "{document}");
    }
    assert_eq!(lab.libvirt.block_limits(&config.name).await.unwrap(), limits);
    lab.libvirt
        .set_block_limits(&config.name, &BlockLimits::default().with_bytes_per_second_apart(0, 1 << 20))
        .await
        .unwrap();
    let apart = lab.document(&config.name, 0);
    assert!(apart.contains("<write_bytes_sec>1048576<") && !apart.contains("total_bytes"), "{apart}");
    lab.libvirt
        .set_block_limits(&config.name, &BlockLimits::default().with_bytes_per_second(0))
        .await
        .unwrap();
    assert!(!lab.document(&config.name, 0).contains("bytes_sec"));
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_machine_begins_with_the_bounds_of_its_options_and_its_seed_has_none() {
    let lab = Lab::new().await;
    let bounds = serde_json::json!({"read_operations_per_second": 5000, "write_operations_per_second": 4000});
    let config = lab
        .config("born")
        .with_cloud_init(substrate_core::CloudInit::new("#cloud-config\n"))
        .with_option("block_limits", bounds);
    lab.running(&config).await;
    let document = lab.document(&config.name, 0);
    assert_eq!(document.matches("<write_iops_sec>4000</write_iops_sec>").count(), 1, "{document}");
    assert_eq!(lab.run(&config.name, &["echo", "up"]).await, "up\n");
}
