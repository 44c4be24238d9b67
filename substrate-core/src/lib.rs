//! One async trait over everything that runs workloads.
//!
//! [`Substrate`] is the contract: virtual machines, containers, pods and supervised processes behind one
//! `Arc<dyn Substrate>`, with the same meaning on every technology. Providers are crates of their own;
//! this crate knows none of them. It holds the contract's vocabulary, typed [`Error`]s that say whether a
//! lost call may have happened, [`Capabilities`] with reasons, the [`layer`]s around a provider, the
//! [`config`]uration and the [`registry`].
//!
//! A tool written against the contract runs on everything:
//!
//! ```
//! use std::time::Duration;
//! use substrate_core::{InstanceConfig, InstanceState, Result, Substrate, SubstrateExt};
//!
//! /// Makes `count` workers and waits until all of them run.
//! async fn start_workers(substrate: &dyn Substrate, image: &str, count: u32) -> Result<()> {
//!     substrate.ensure_connected().await?;
//!     for number in 0..count {
//!         let config = InstanceConfig::new(format!("worker-{number}").parse()?)
//!             .with_image(image)
//!             .with_memory_mb(64)
//!             .with_label("role", "worker");
//!         substrate.create_and_start(&config).await?;
//!         substrate.wait_for_state(&config.name, InstanceState::Running, Duration::from_secs(10)).await?;
//!     }
//!     Ok(())
//! }
//! ```

// The standard stack is one future of a dozen nested layers; the compiler's default depth ends at eight.
#![recursion_limit = "256"]

mod capability;
mod cloud_init;
mod command;
pub mod config;
mod descriptor;
mod error;
mod event;
mod extension;
#[cfg(test)]
mod fuzz;
mod health;
mod image;
mod image_file;
mod instance;
mod instance_config;
mod label;
pub mod layer;
mod log;
mod metrics;
mod name;
mod network;
mod operation;
pub mod provider;
pub mod registry;
mod resource;
mod snapshot;
mod stream;
mod substrate;
mod time_format;
mod volume;

pub use async_trait::async_trait;

pub use crate::capability::{Ability, Capabilities, Feature, Support};
pub use crate::cloud_init::CloudInit;
pub use crate::command::{
    Command, CommandEvent, CommandInput, CommandOutput, CommandSession, ExitStatus, TerminalSize,
};
pub use crate::descriptor::{Descriptor, DescriptorCell};
pub use crate::error::{Error, ErrorKind, Outcome, Result, RetryAdvice};
pub use crate::event::{Event, EventKind, EventOrigin, WatchCursor, WatchItem, WatchOptions, WatchStream};
pub use crate::extension::SubstrateExt;
pub use crate::health::{Capacity, HealthReport, HealthStatus};
pub use crate::image::Image;
pub use crate::image_file::{ImageFile, OpenImageFile, UploadProgress};
pub use crate::instance::{
    Instance, InstanceFilter, InstanceKind, InstanceState, NetworkAttachment, StopMode,
};
pub use crate::instance_config::{
    EnvironmentVariables, InstanceConfig, InstanceTemplate, PortMapping, PortProtocol, VolumeMount,
    VolumeSource,
};
pub use crate::label::{Labels, mark};
pub use crate::log::{LogLine, LogOptions, LogSource, LogStream};
pub use crate::metrics::{DurationHistogram, OperationMetrics, SubstrateMetrics};
pub use crate::name::{InstanceName, MAX_NAME_BYTES, NetworkName, SnapshotName, VolumeName};
pub use crate::network::{Network, NetworkConfig, NetworkSpec};
pub use crate::operation::{Effect, Operation, OperationGroup, OperationProfile, Repeat, TimeoutClass};
pub use crate::resource::{ResourceLimits, ResourceUsage, UsageCounters, UsageMeter, UsageRates};
pub use crate::snapshot::{CloneConfig, Snapshot, SnapshotConfig};
pub use crate::stream::BoxStream;
#[cfg(feature = "mock")]
pub use crate::substrate::MockSubstrate;
pub use crate::substrate::Substrate;
pub use crate::volume::{Volume, VolumeSpec};
