//! The lab's hypervisor, and what a test makes on it: gone when the test ends, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use substrate_core::{
    Command, Instance, InstanceConfig, InstanceFilter, InstanceName, NetworkName, Substrate, VolumeName,
};
use substrate_libvirt::{DomainType, ImageConfig, LibvirtConfig, LibvirtSubstrate};

static TESTS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("live tests need {name}: start the lab"))
}

pub(crate) fn kernel_arguments() -> String {
    variable("SUBSTRATES_LAB_LIBVIRT_KERNEL_ARGUMENTS")
}

pub(crate) fn settings(uri: &str) -> LibvirtConfig {
    let image = ImageConfig::new(variable("SUBSTRATES_LAB_LIBVIRT_VOLUME")).with_kernel(
        variable("SUBSTRATES_LAB_LIBVIRT_KERNEL"),
        variable("SUBSTRATES_LAB_LIBVIRT_INITRD"),
        kernel_arguments(),
    );
    LibvirtConfig::default()
        .with_uri(uri)
        .with_pool("machines")
        .with_image_pool("images")
        .with_image("busybox", image)
        .with_domain_type(DomainType::Qemu)
        .with_default_resources(96, 1.0)
}

/// The binding itself, for what others do.
pub(crate) fn raw(uri: &str) -> virt::connect::Connect {
    virt::connect::Connect::open(Some(uri)).unwrap()
}

pub(crate) fn name(text: &str) -> InstanceName {
    text.parse().unwrap()
}

/// One test's corner of the hypervisor.
pub(crate) struct Lab {
    pub(crate) libvirt: Arc<LibvirtSubstrate>,
    pub(crate) prefix: String,
    pub(crate) uri: String,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::at(variable("SUBSTRATES_LAB_LIBVIRT"), |settings| settings).await
    }

    pub(crate) async fn with(change: impl FnOnce(LibvirtConfig) -> LibvirtConfig) -> Self {
        Self::at(variable("SUBSTRATES_LAB_LIBVIRT"), change).await
    }

    pub(crate) async fn at(uri: String, change: impl FnOnce(LibvirtConfig) -> LibvirtConfig) -> Self {
        let libvirt = Arc::new(LibvirtSubstrate::new("lab", change(settings(&uri))).unwrap());
        libvirt.connect().await.unwrap();
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        Self { libvirt, prefix: format!("sl-{}-{number}", std::process::id()), uri }
    }

    pub(crate) fn named(&self, suffix: &str) -> InstanceName {
        name(&format!("{}-{suffix}", self.prefix))
    }

    pub(crate) fn config(&self, suffix: &str) -> InstanceConfig {
        InstanceConfig::new(self.named(suffix)).with_image("busybox")
    }

    /// A guest with further words on its kernel's command line.
    pub(crate) fn config_with(&self, suffix: &str, words: &str) -> InstanceConfig {
        self.config(suffix).with_option("kernel_arguments", format!("{} {words}", kernel_arguments()))
    }

    /// The definition of a machine; with flag 0 as it runs.
    pub(crate) fn document(&self, name: &InstanceName, flags: u32) -> String {
        raw(&self.uri).lookup_domain_by_name(name.as_str()).unwrap().xml_desc(flags).unwrap()
    }

    pub(crate) async fn running(&self, config: &InstanceConfig) -> Arc<Instance> {
        self.libvirt.create_instance(config).await.unwrap();
        self.libvirt.start_instance(&config.name).await.unwrap();
        self.libvirt.get_instance(&config.name).await.unwrap()
    }

    pub(crate) async fn run(&self, name: &InstanceName, argv: &[&str]) -> String {
        let command = Command::new(argv.iter().copied());
        let output = self.libvirt.execute_command(name, &command).await.unwrap();
        assert!(output.success(), "{argv:?}: {}", output.stderr_text());
        output.stdout_text()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A panicking test is inside a runtime that may be on its way down: clean up from a thread of our own.
        let (prefix, uri) = (self.prefix.clone(), self.uri.clone());
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&prefix, &uri));
        });
        let _ = cleaner.join();
    }
}

async fn clean(prefix: &str, uri: &str) {
    let libvirt = LibvirtSubstrate::new("cleaner", settings(uri)).unwrap();
    let Ok(instances) = libvirt.list_instances(&InstanceFilter::all().with_name_prefix(prefix)).await else {
        return;
    };
    for instance in instances {
        let _ = libvirt.delete_instance(&instance.name, true).await;
    }
    for network in libvirt.list_networks().await.unwrap_or_default() {
        if network.name.as_str().starts_with(prefix) {
            let _ = libvirt.delete_network(&NetworkName::new(network.name.as_str()).unwrap()).await;
        }
    }
    for volume in libvirt.list_volumes().await.unwrap_or_default() {
        if volume.name.as_str().starts_with(prefix) {
            let _ = libvirt.delete_volume(&VolumeName::new(volume.name.as_str()).unwrap()).await;
        }
    }
}

/// Waits for a condition with a deadline.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
