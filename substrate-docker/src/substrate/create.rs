//! Creating: everything is checked before anything is made, and a failure leaves nothing behind.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::NetworkConnectRequest;
use serde::Deserialize;
use serde_json::Value;
use substrate_core::provider::Wait;
use substrate_core::{
    Error, ImageFile, Instance, InstanceConfig, InstanceKind, InstanceName, InstanceState, NetworkConfig,
    Outcome, Result, VolumeSource,
};

use super::DockerSubstrate;
use crate::client::Target;
use crate::config::PullPolicy;
use crate::convert::create::{body, endpoint};
use crate::convert::instance::Inspection;
use crate::name::{check_new_container, is_volume_name};
use crate::options::DockerOptions;

/// How long a name may stay taken by a container that is being removed.
const NAME_LIMIT: Duration = Duration::from_secs(30);
/// From this API on (1.44), a container can be created in several networks at once.
const SEVERAL_NETWORKS: u64 = 44;
/// Networks that give no fixed addresses.
const NETWORKS_WITHOUT_ADDRESSES: [&str; 3] = ["bridge", "host", "none"];

/// Whether the daemon refused because it has no such image: Docker's words and Podman's.
fn lacks_image(error: &Error) -> bool {
    let message = error.message().to_ascii_lowercase();
    error.is_not_found() && (message.contains("no such image") || message.contains("image not known"))
}

fn image_file(config: &InstanceConfig) -> Result<Option<ImageFile>> {
    config.image.as_deref().map_or(Ok(None), ImageFile::in_reference)
}

impl DockerSubstrate {
    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<()> {
        let config = self.checked(config)?;
        self.check_references(&config).await
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let mut config = self.checked(config)?;
        self.check_references(&config).await?;
        if let Some(file) = image_file(&config)? {
            // Whatever comes of it, no container was asked for yet. By its id, because a name can be moved on.
            let image = self.imported(&file).await.map_err(|error| error.with_outcome(Outcome::NotSent))?;
            config.image = Some(image.id);
        } else if let (Some(image), PullPolicy::Always) = (&config.image, self.config.pull_policy) {
            self.provide_image(image).await?;
        }
        let networks: Vec<&NetworkConfig> = config.networks.iter().collect();
        let (inside, after) = if self.client.api_is_at_least(SEVERAL_NETWORKS) {
            (networks.as_slice(), &[][..])
        } else {
            networks.split_at(networks.len().min(1))
        };
        let body = body(&config, DockerOptions::of(&config)?, inside)?;
        let body = serde_json::to_value(body)
            .map_err(|error| Error::internal(format!("the container cannot be written as JSON: {error}")))?;
        // The image is there, nearly always: asking first would cost every creation a round trip.
        let id = match (self.create_named(&config.name, &body).await, &config.image) {
            (Err(error), Some(image)) if lacks_image(&error) => {
                self.provide_image(image).await?;
                self.create_named(&config.name, &body).await?
            }
            (result, _) => result?,
        };
        match self.complete(&id, after).await {
            Ok(instance) => Ok(Arc::new(instance)),
            Err(error) => Err(self.undo(&id, error).await),
        }
    }

    /// Everything that can be said without asking the daemon. Defaults are filled in.
    fn checked(&self, config: &InstanceConfig) -> Result<InstanceConfig> {
        config.validate()?;
        let descriptor = self.descriptor.get();
        config.require_features(&descriptor.capabilities)?;
        check_new_container(config.name.as_str())?;
        if let Some(kind) = config.kind.filter(|kind| *kind != InstanceKind::Container) {
            return Err(Error::unsupported(format!("Docker runs containers, not a {kind}")));
        }
        config.networks.iter().try_for_each(check_place)?;
        let mut config = config.clone();
        config.limits = self.config.default_resources.limits().overlaid_with(&config.limits);
        let networks: Vec<&NetworkConfig> = config.networks.iter().collect();
        // Made again when it is sent: what is wrong must be said before the daemon is asked anything, and how many
        // networks go inside is known only after a version was agreed on with it.
        body(&config, DockerOptions::of(&config)?, &networks)?;
        Ok(config)
    }

    /// Whether the networks and volumes are there. The daemon would make a missing volume silently, and
    /// find a missing network only when the container starts.
    async fn check_references(&self, config: &InstanceConfig) -> Result<()> {
        if let Some(file) = image_file(config)? {
            file.open().await?;
        }
        for place in &config.networks {
            let network = self.find_network(&place.network_name).await?;
            check_address(place, &network.name, &network.subnets())?;
            self.check_address_is_free(place, &network.id).await?;
        }
        for mount in &config.volumes {
            if let VolumeSource::Volume(name) = &mount.source {
                let found = is_volume_name(name.as_str()) && self.volume_exists(name).await?;
                if !found {
                    return Err(Error::not_found(format!("there is no volume called `{name}`"))
                        .with_hint("create it first"));
                }
            }
        }
        Ok(())
    }

    /// Creates, waiting for a name that is held by a container on its way out.
    async fn create_named(&self, name: &InstanceName, body: &Value) -> Result<String> {
        let mut wait = Wait::at_most(NAME_LIMIT);
        loop {
            let result = self.create_from(name.as_str(), body).await;
            match result {
                Ok(id) => return Ok(id),
                Err(error) if error.is_already_exists() => {
                    if !self.is_being_removed(name).await? || !wait.pause().await {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The create call itself. Not the typed one: that takes an answer without a field that nobody needs for
    /// no answer, and the container would be there all the same.
    pub(super) async fn create_from(&self, name: &str, body: &Value) -> Result<String> {
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "Id")]
            id: String,
        }
        let target = Target::new("/containers/create").with("name", name);
        let created: Created = self.client.post("create the container", &target, body).await?;
        Ok(created.id)
    }

    /// Whether the holder of a name is going or gone.
    async fn is_being_removed(&self, name: &InstanceName) -> Result<bool> {
        match self.inspect(name).await {
            Ok(holder) => Ok(holder.instance_state() == InstanceState::Stopping),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn complete(&self, id: &str, networks: &[&NetworkConfig]) -> Result<Instance> {
        for place in networks {
            let network = self.find_network(&place.network_name).await?;
            self.connect_container(id, &network.id, endpoint(place)).await?;
        }
        self.inspect_id(id)
            .await?
            .ok_or_else(|| Error::conflict("the container was deleted while it was being created"))
            .and_then(Inspection::into_instance)
    }

    /// Takes back what a failed creation made; the failure stays the answer.
    pub(super) async fn undo(&self, id: &str, error: Error) -> Error {
        match self.remove_id(id, true).await {
            Ok(()) => error,
            Err(left) if left.is_not_found() => error,
            Err(left) => error.with_outcome(substrate_core::Outcome::Unknown).with_hint(format!(
                "the container {id} could not be taken back: {}; delete it by hand",
                left.message()
            )),
        }
    }

    pub(super) async fn connect_container(
        &self,
        container: &str,
        network: &str,
        endpoint: bollard::models::EndpointSettings,
    ) -> Result<()> {
        let request =
            NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(endpoint) };
        self.client
            .call("attach the network", async |docker| docker.connect_network(network, request).await)
            .await
    }

    async fn volume_exists(&self, name: &substrate_core::VolumeName) -> Result<bool> {
        let target = Target::new("/volumes").segment(name.as_str());
        match self.client.get::<Value>("look at the volume", &target).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Refuses what Docker cannot say about one place in a network.
fn check_place(place: &NetworkConfig) -> Result<()> {
    if place.gateway.is_some() {
        return Err(Error::unsupported("on Docker the gateway belongs to the network, not to a container")
            .with_hint("set it when the network is created"));
    }
    Ok(())
}

/// Whether a fixed address can be had: the daemon would only find out when the container starts.
pub(super) fn check_address(place: &NetworkConfig, network: &str, subnets: &[&str]) -> Result<()> {
    let Some(address) = place.ip_address else { return Ok(()) };
    if NETWORKS_WITHOUT_ADDRESSES.contains(&network) {
        return Err(Error::invalid_input(format!("the network `{network}` gives no fixed addresses"))
            .with_hint("create a network of your own"));
    }
    let known: Vec<bool> = subnets.iter().filter_map(|subnet| subnet_contains(subnet, address)).collect();
    if !known.is_empty() && !known.contains(&true) {
        return Err(Error::invalid_input(format!(
            "the address {address} is in no subnet of the network `{network}` ({})",
            subnets.join(", ")
        )));
    }
    Ok(())
}

/// Whether `10.1.0.0/24` holds an address; `None` for what is no subnet.
fn subnet_contains(subnet: &str, address: IpAddr) -> Option<bool> {
    let (base, length) = subnet.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (base, address, width) = match (base.parse::<IpAddr>().ok()?, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(base.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        _ => return Some(false),
    };
    let rest = u32::checked_sub(width, length)?;
    Some(base.checked_shr(rest).unwrap_or(0) == address.checked_shr(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_subnet_or_not() {
        let contains = |subnet: &str, address: &str| subnet_contains(subnet, address.parse().unwrap());
        assert_eq!(contains("10.1.0.0/24", "10.1.0.7"), Some(true));
        assert_eq!(contains("10.1.0.0/24", "10.1.1.7"), Some(false));
        assert_eq!(contains("0.0.0.0/0", "1.2.3.4"), Some(true));
        assert_eq!(contains("fd00::/64", "fd00::1"), Some(true));
        assert_eq!(contains("fd00::/64", "10.1.0.1"), Some(false));
        assert_eq!(contains("10.1.0.0/33", "10.1.0.1"), None);
        assert_eq!(contains("nonsense", "10.1.0.1"), None);
    }

    #[test]
    fn an_address_that_nobody_can_give_is_refused_before_the_call() {
        let place = NetworkConfig::new("front".parse().unwrap()).with_ip_address("10.2.0.7".parse().unwrap());
        assert!(check_address(&place, "front", &["10.1.0.0/24"]).unwrap_err().is_invalid_input());
        assert!(check_address(&place, "bridge", &["10.2.0.0/24"]).unwrap_err().is_invalid_input());
        assert!(check_address(&place, "front", &["10.2.0.0/24"]).is_ok());
        assert!(check_address(&place, "front", &[]).is_ok());
    }
}
