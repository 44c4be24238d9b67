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

pub use substrate_core::*;

/// Docker, and what speaks its API.
#[cfg(feature = "docker")]
pub mod docker {
    pub use substrate_docker::*;
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
    registry
}

// The README's examples compile and run.
#[cfg(all(doctest, feature = "fake"))]
#[doc = include_str!("../README.md")]
mod readme {}
