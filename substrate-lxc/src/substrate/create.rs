//! Creating: everything is checked before anything is made, and a failure leaves nothing behind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{
    Error, Feature, Instance, InstanceConfig, InstanceKind, NetworkConfig, Outcome, Result, VolumeName,
    VolumeSource,
};

use super::LxcSubstrate;
use super::image_files::ImageFiles;
use super::lifecycle::missing;
use crate::client::{Ended, Target};
use crate::convert::create::{Surroundings, body, nic};
use crate::convert::limits::{self, Device};
use crate::name::{check_new_instance, is_volume_name};
use crate::options::LxcOptions;

/// How long a creation may take: an image from a remote server takes minutes.
const CREATION_LIMIT: Duration = Duration::from_secs(1800);

#[derive(Debug, Deserialize)]
struct Profile {
    #[serde(default)]
    devices: Option<BTreeMap<String, Device>>,
}

impl LxcSubstrate {
    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<()> {
        let options = self.checked(config)?;
        self.surroundings(config, &options).await.map(drop)
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let options = self.checked(config)?;
        let profiles = self.profiles(&options);
        let surroundings = self.surroundings(config, &options).await?;
        let mut body = body(config, &options, &profiles, &surroundings)?;
        let source = self.image_source(config.image.as_deref()).await?;
        if let Some(fields) = body.as_object_mut() {
            fields.insert("source".to_owned(), source);
        }
        let _held = self.names.hold("instance", config.name.as_str()).await;
        self.make("create the instance", config.name.as_str(), &body, options.target.as_deref()).await
    }

    /// Sends a create call and follows it. The server takes back what a failed one has made.
    pub(super) async fn make(
        &self,
        attempt: &str,
        name: &str,
        body: &Value,
        member: Option<&str>,
    ) -> Result<Arc<Instance>> {
        let mut target = Target::new("/1.0/instances");
        if let Some(member) = member {
            target = target.with("target", member);
        }
        let target = &target;
        let ended = self
            .when_free(|| self.client.change(attempt, Method::POST, target, Some(body), CREATION_LIMIT))
            .await?;
        let document = self.look(name).await.map_err(|error| error.with_outcome(Outcome::Unknown))?;
        match (document, ended) {
            (Some(document), _) => Ok(Arc::new(
                self.described(document).await.map_err(|error| error.with_outcome(Outcome::Unknown))?,
            )),
            (None, Ended::Done) => {
                Err(Error::conflict(format!("{} right after it was made", missing(name).message()))
                    .with_outcome(Outcome::Unknown))
            }
            (None, Ended::Gone) => {
                Err(Error::internal("the server ended the creation without a word, and nothing was made")
                    .with_outcome(Outcome::Rejected))
            }
        }
    }

    /// Everything that can be said without asking the server.
    fn checked(&self, config: &InstanceConfig) -> Result<LxcOptions> {
        config.validate()?;
        let descriptor = self.descriptor.get();
        config.require_features(&descriptor.capabilities)?;
        check_new_instance(config.name.as_str())?;
        let kind = config.kind.unwrap_or(InstanceKind::Container);
        if !descriptor.kinds.contains(&kind) {
            return Err(Error::unsupported(match kind {
                InstanceKind::VirtualMachine => {
                    "this server runs no virtual machines: it has no QEMU driver".to_owned()
                }
                other => format!("LXD and Incus run containers and virtual machines, not a {other}"),
            }));
        }
        let options = LxcOptions::of(config)?;
        if let Some(image) = &config.image
            && ImageFiles::in_reference(image)?.is_none()
        {
            self.image_reference(image)?;
        }
        for place in &config.networks {
            nic(place)?;
        }
        // Made again when it is sent, with what the server has: what is wrong in itself must be said before.
        let mut bare = config.clone();
        bare.limits.disk_gb = None;
        bare.limits.network_mbps = None;
        body(&bare, &options, &[], &Surroundings::default())?;
        Ok(options)
    }

    fn profiles(&self, options: &LxcOptions) -> Vec<String> {
        let default = || self.config.profiles.clone().unwrap_or_else(|| vec!["default".to_owned()]);
        options.profiles.clone().unwrap_or_else(default)
    }

    /// What the server has of that which the configuration names. It would find a missing network or volume
    /// itself, but only after the image was fetched and unpacked.
    async fn surroundings(&self, config: &InstanceConfig, options: &LxcOptions) -> Result<Surroundings> {
        let mut surroundings = Surroundings::default();
        if let Some(image) = &config.image
            && let Some(files) = ImageFiles::in_reference(image)?
        {
            files.check().await?;
        }
        for place in &config.networks {
            let network = self.find_network(place.network_name.as_str()).await?;
            if let Some(address) = place.ip_address {
                self.check_address(&network, address, config.name.as_str()).await?;
            }
        }
        let volumes: Vec<&VolumeName> = config
            .volumes
            .iter()
            .filter_map(|mount| match &mount.source {
                VolumeSource::Volume(name) => Some(name),
                VolumeSource::HostPath(_) => None,
            })
            .collect();
        if !volumes.is_empty() {
            surroundings.pool = self.pool().await?;
        }
        for volume in volumes {
            let there = is_volume_name(volume.as_str())
                && self.volume_in(&surroundings.pool, volume.as_str()).await?.is_some();
            if !there {
                return Err(Error::not_found(format!(
                    "there is no volume called `{volume}` in the pool `{}`",
                    surroundings.pool
                ))
                .with_hint("create it first"));
            }
        }
        let replaces = !config.networks.is_empty()
            || config.limits.disk_gb.is_some()
            || config.limits.network_mbps.is_some();
        if replaces {
            surroundings.profile_devices = self.devices_of(&self.profiles(options)).await?;
        }
        Ok(surroundings)
    }

    /// The devices that profiles bring, the later ones over the earlier.
    pub(super) async fn devices_of(&self, profiles: &[String]) -> Result<BTreeMap<String, Device>> {
        let mut devices = BTreeMap::new();
        for profile in profiles {
            let target = Target::new("/1.0/profiles").segment(profile);
            let profile: Profile =
                self.client.get("look at the profile", &target).await.map_err(|error| {
                    if error.is_not_found() {
                        return Error::invalid_input(format!(
                            "there is no profile called `{}`",
                            profile.escape_debug()
                        ));
                    }
                    error
                })?;
            devices.extend(profile.devices.unwrap_or_default());
        }
        Ok(devices)
    }

    /// The storage pool of new root disks: that of the profiles' root disk.
    pub(super) async fn root_pool(&self) -> Result<Option<String>> {
        let profiles = self.profiles(&LxcOptions::default());
        let devices = match self.devices_of(&profiles).await {
            Ok(devices) => devices,
            Err(error) if error.is_invalid_input() || error.is_permission_denied() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(devices.into_values().find(limits::is_root).and_then(|mut root| root.remove("pool")))
    }

    /// The storage pool of new volumes.
    pub(super) async fn pool(&self) -> Result<String> {
        if let Some(pool) = &self.config.storage_pool {
            return Ok(pool.clone());
        }
        self.root_pool().await?.ok_or_else(|| {
            Error::invalid_input("it is not said in which storage pool volumes are")
                .with_hint("set `storage_pool`, or give the default profile a root disk")
        })
    }

    /// Whether a place has an address that its network can give.
    pub(super) fn require_address(&self, place: &NetworkConfig) -> Result<()> {
        match place.ip_address {
            Some(IpAddr::V4(_) | IpAddr::V6(_)) => {
                self.descriptor.get().capabilities.require(Feature::FixedAddress)
            }
            None => Ok(()),
        }
    }
}
