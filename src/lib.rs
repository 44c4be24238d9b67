//! Run workloads anywhere: one async trait over virtual machines, containers, pods and processes.
//!
//! This crate is the front door: everything of `substrate-core` under one name, the providers whose features
//! are on, and [`registry()`] with all of them.
//!
//! ```
//! use substrates::config::Config;
//! use substrates::{InstanceConfig, SubstrateExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> substrates::Result<()> {
//! # #[cfg(feature = "fake")] {
//! let stack = substrates::registry().open(&Config::default(), "fake")?;
//! let substrate = stack.substrate();
//! substrate.ensure_connected().await?;
//! let web = InstanceConfig::new("web".parse()?).with_image("busybox:local");
//! let web = substrate.create_and_start(&web).await?;
//! println!("{} is {}", web.name, web.state);
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! A blueprint says what shall be there, on any number of substrates, and the `engine` brings it about; the second time
//! there is nothing to do:
//!
//! ```
//! use substrates::config::Config;
//! # #[cfg(all(feature = "engine", feature = "fake"))]
//! use substrates::engine::{Engine, JournalStore, Reader, RunOptions, Selector};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(all(feature = "engine", feature = "fake"))] {
//! let shop = r#"
//! name: shop
//! resources:
//!   - {type: storage, name: data, provider: fake, specs: {size: 1GiB}}
//!   - {type: compute, name: web, provider: fake, count: 2, specs: {image: "busybox:local", volumes: ["data:/srv"]}}
//! "#;
//! let documents = Reader::new().text("shop.yaml", shop).read();
//! // Opens the substrates that the documents name; `JournalStore::local` survives this process.
//! let engine = Engine::builder(JournalStore::memory())
//!     .open(&documents, &Config::default(), &substrates::registry())
//!     .await?
//!     .connect()
//!     .await?;
//! let desired = engine.validate(&documents)?;
//! let report = engine.deploy(&desired, &RunOptions::default()).await?;
//! assert_eq!(report.created.len(), 3);
//! assert!(engine.plan(&desired, &Selector::all()).await?.is_empty());
//! # }
//! # Ok(())
//! # }
//! ```

pub use substrate_core::*;

/// Docker, and what speaks its API.
#[cfg(feature = "docker")]
pub mod docker {
    pub use substrate_docker::*;
}

/// Blueprints: documents that say what shall be there, and the engine that brings it about.
#[cfg(feature = "engine")]
pub mod engine {
    pub use substrate_engine::*;
}

/// LXD and Incus.
#[cfg(feature = "lxc")]
pub mod lxc {
    pub use substrate_lxc::*;
}

/// The in-memory substrate.
#[cfg(feature = "fake")]
pub mod fake {
    pub use substrate_fake::*;
}

/// Processes under supervisord.
#[cfg(feature = "supervisor")]
pub mod supervisor {
    pub use substrate_supervisor::*;
}

/// Proxmox VE.
#[cfg(feature = "proxmox")]
pub mod proxmox {
    pub use substrate_proxmox::*;
}

/// Virtual machines behind libvirt.
#[cfg(feature = "libvirt")]
pub mod libvirt {
    pub use substrate_libvirt::*;
}

/// Kubernetes.
#[cfg(feature = "k8s")]
pub mod k8s {
    pub use substrate_k8s::*;
}

/// A registry of the providers whose features are on. A value: add your own to it.
#[must_use]
#[allow(unused_mut, reason = "without any provider feature nothing is registered")]
pub fn registry() -> registry::Registry {
    let mut registry = registry::Registry::new();
    // A name is only refused when it is taken, and these are the first.
    #[cfg(feature = "docker")]
    let _ = substrate_docker::register(&mut registry);
    #[cfg(feature = "fake")]
    let _ = substrate_fake::register(&mut registry);
    #[cfg(feature = "supervisor")]
    let _ = substrate_supervisor::register(&mut registry);
    #[cfg(feature = "lxc")]
    let _ = substrate_lxc::register(&mut registry);
    #[cfg(feature = "proxmox")]
    let _ = substrate_proxmox::register(&mut registry);
    #[cfg(feature = "libvirt")]
    let _ = substrate_libvirt::register(&mut registry);
    #[cfg(feature = "k8s")]
    let _ = substrate_k8s::register(&mut registry);
    registry
}

/// Guides, for reading.
#[cfg(any(doc, doctest))]
pub mod guide {
    #[cfg(all(feature = "engine", feature = "fake"))]
    #[doc = include_str!("../docs/operating-blueprints.md")]
    pub mod operating_blueprints {}
    #[cfg(feature = "fake")]
    #[doc = include_str!("../docs/writing-a-provider.md")]
    pub mod writing_a_provider {}
}

// The README's examples compile and run.
#[cfg(all(doctest, feature = "fake"))]
#[doc = include_str!("../README.md")]
mod readme {}
