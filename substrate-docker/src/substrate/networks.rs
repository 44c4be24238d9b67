//! Networks. Docker's names of networks are not unique, its ids are: a name is resolved to an id first, and
//! an ambiguous one is an error.

use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkDisconnectRequest};
use serde_json::json;
use std::collections::BTreeMap;
use substrate_core::provider::Wait;
use substrate_core::{
    Error, InstanceName, Network, NetworkAttachment, NetworkConfig, NetworkName, NetworkSpec, Result,
};

use super::DockerSubstrate;
use super::create::check_address;
use crate::client::Target;
use crate::convert::create::endpoint;
use crate::convert::instance::Summary;
use crate::convert::inventory::NetworkDocument;
use crate::name::is_id_of;
use crate::options::{DockerNetworkOptions, parse};

/// How long endpoints of containers that are gone may keep a network.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// A network that was found.
#[derive(Debug)]
pub(super) struct FoundNetwork {
    pub(super) id: String,
    pub(super) name: String,
    subnets: Vec<String>,
}

impl FoundNetwork {
    pub(super) fn subnets(&self) -> Vec<&str> {
        self.subnets.iter().map(String::as_str).collect()
    }
}

impl DockerSubstrate {
    async fn network_documents(&self) -> Result<Vec<NetworkDocument>> {
        self.client.get("list the networks", &Target::new("/networks")).await
    }

    pub(super) async fn networks(&self) -> Result<Vec<Network>> {
        let documents = self.network_documents().await?;
        let mut networks: Vec<Network> =
            documents.into_iter().map(NetworkDocument::into_network).collect::<Result<_>>()?;
        networks.sort_by(|left, right| (&left.name, &left.id).cmp(&(&right.name, &right.id)));
        Ok(networks)
    }

    /// The network that `name` means: by its name, else its id.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` naming the candidates when several have the name.
    pub(super) async fn find_network(&self, name: &NetworkName) -> Result<FoundNetwork> {
        let documents = self.network_documents().await?;
        let mut named: Vec<&NetworkDocument> =
            documents.iter().filter(|network| network.name == name.as_str()).collect();
        if named.is_empty() {
            named = documents.iter().filter(|network| is_id_of(name.as_str(), &network.id)).collect();
        }
        match named.as_slice() {
            [] => Err(Error::not_found(format!("there is no network called `{name}`"))),
            [network] => {
                let id = network.id.clone();
                let found = documents.into_iter().find(|network| network.id == id);
                let network =
                    found.ok_or_else(|| Error::internal("a network vanished from a list"))?.into_network()?;
                Ok(FoundNetwork { id, name: network.name.to_string(), subnets: network.subnets })
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|network| network.id.as_str()).collect();
                Err(Error::conflict(format!(
                    "{} networks are called `{name}`: {}",
                    ids.len(),
                    ids.join(", ")
                ))
                .with_hint("use the id"))
            }
        }
    }

    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let options: DockerNetworkOptions = parse("network", &spec.options)?;
        if spec.gateway.is_some() && spec.subnet.is_none() {
            return Err(Error::invalid_input("a gateway needs the subnet that it is in"));
        }
        let _held = self.names.hold("network", spec.name.as_str()).await;
        // The daemon's own check is "best effort" up to 1.43, and whoever comes by id is not checked.
        let documents = self.network_documents().await?;
        if let Some(holder) = documents.iter().find(|network| network.name == spec.name.as_str()) {
            return Err(Error::already_exists(format!(
                "there is a network called `{}` already ({})",
                spec.name, holder.id
            )));
        }
        let pool = spec.subnet.as_ref().map(|subnet| IpamConfig {
            subnet: Some(subnet.clone()),
            gateway: spec.gateway.map(|gateway| gateway.to_string()),
            ip_range: options.ip_range.clone(),
            ..IpamConfig::default()
        });
        let request = NetworkCreateRequest {
            name: spec.name.to_string(),
            driver: spec.driver.clone(),
            internal: Some(spec.internal),
            attachable: options.attachable,
            enable_ipv6: options.enable_ipv6,
            ipam: pool.map(|pool| Ipam { config: Some(vec![pool]), ..Ipam::default() }),
            options: Some(options.driver_options.into_iter().collect()),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        // Not a field of the typed request any more, and yet what makes daemons before 1.44 refuse a second
        // network of the same name that came in between.
        let mut body = serde_json::to_value(&request)
            .map_err(|error| Error::internal(format!("the network cannot be written as JSON: {error}")))?;
        if let Some(body) = body.as_object_mut() {
            body.insert("CheckDuplicate".to_owned(), json!(true));
        }
        let created: serde_json::Value =
            self.client.post("create the network", &Target::new("/networks/create"), &body).await.map_err(
                |error| {
                    // The subnet is all that can be wrong with such a request.
                    let is_subnet = error.message().contains("invalid") && spec.subnet.is_some();
                    if is_subnet && !error.is_conflict() && !error.is_already_exists() {
                        return Error::invalid_input(error.message());
                    }
                    error
                },
            )?;
        let id = created.get("Id").and_then(serde_json::Value::as_str).unwrap_or_default();
        self.network_by_id(id).await?.into_network()
    }

    async fn network_by_id(&self, id: &str) -> Result<NetworkDocument> {
        self.client.get("look at the network", &Target::new("/networks").segment(id)).await
    }

    pub(super) async fn drop_network(&self, name: &NetworkName) -> Result<()> {
        let network = self.find_network(name).await?;
        let mut wait = Wait::at_most(REMOVAL_LIMIT);
        loop {
            let id = network.id.as_str();
            let result =
                self.client.call("delete the network", async |docker| docker.remove_network(id).await).await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) if error.message().contains("active endpoints") => {
                    // Held by containers, or by endpoints that outlived theirs.
                    self.free_network(id, name, &error).await?;
                    if !wait.pause().await {
                        return Err(error);
                    }
                }
                Err(error) if error.is_permission_denied() => {
                    return Err(Error::conflict(error.message()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes endpoints off whose containers are gone.
    ///
    /// # Errors
    /// `Conflict` when a container that exists holds the network.
    async fn free_network(&self, id: &str, name: &NetworkName, error: &Error) -> Result<()> {
        let document = self.network_by_id(id).await?;
        let endpoints: BTreeMap<String, serde_json::Value> = document.containers.unwrap_or_default();
        let mut holders = Vec::new();
        let mut orphans = Vec::new();
        for (container, endpoint) in &endpoints {
            // An endpoint that lost its container is listed under `ep-…`.
            match self.inspect_id(container).await? {
                Some(found) => holders.push(found.plain_name().to_owned()),
                None => {
                    let label = endpoint.get("Name").and_then(serde_json::Value::as_str);
                    orphans.push(label.filter(|label| !label.is_empty()).unwrap_or(container).to_owned());
                }
            }
        }
        if !holders.is_empty() {
            return Err(Error::conflict(format!("the network `{name}` is used by {}", holders.join(", ")))
                .with_hint("detach or delete them first"));
        }
        for container in orphans {
            self.disconnect(id, &container, true).await?;
        }
        if endpoints.is_empty() && error.message().contains("service") {
            return Err(error.clone());
        }
        Ok(())
    }

    /// Whether a fixed address is promised to another container: the daemon only notices when both run.
    ///
    /// # Errors
    /// `Conflict` naming the holder.
    pub(super) async fn check_address_is_free(&self, place: &NetworkConfig, network: &str) -> Result<()> {
        let Some(wanted) = place.ip_address else { return Ok(()) };
        let filters = json!({"network": [network]}).to_string();
        let target = Target::new("/containers/json").with("all", "1").with("filters", &filters);
        let attached: Vec<Summary> = self.client.get("look at the network's containers", &target).await?;
        for summary in attached {
            let instance = summary.into_instance()?;
            let holds = |attachment: &NetworkAttachment| attachment.ip_address == Some(wanted);
            if instance.networks.iter().any(holds) {
                return Err(Error::conflict(format!("the address {wanted} belongs to `{}`", instance.name))
                    .with_hint("choose another address, or leave it to the network"));
            }
        }
        Ok(())
    }

    async fn disconnect(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(force) };
        let result = self
            .client
            .call("detach the network", async |docker| docker.disconnect_network(network, request).await)
            .await;
        match result {
            Err(error) if error.is_not_found() || error.message().contains("is not connected") => Ok(()),
            other => other,
        }
    }

    pub(super) async fn attach(&self, name: &InstanceName, place: &NetworkConfig) -> Result<()> {
        if place.gateway.is_some() {
            return Err(Error::unsupported(
                "on Docker the gateway belongs to the network, not to a container",
            ));
        }
        if !place.dns_servers.is_empty() {
            return Err(Error::unsupported(
                "on Docker name servers belong to the container and are set when it is created",
            ));
        }
        let container = self.inspect(name).await?;
        let network = self.find_network(&place.network_name).await?;
        check_address(place, &network.name, &network.subnets())?;
        let attached = container.network_settings.networks.as_ref().and_then(|networks| {
            networks.iter().find(|(key, endpoint)| {
                **key == network.name || endpoint.network_id.as_deref() == Some(&network.id)
            })
        });
        if let Some((_, endpoint)) = attached {
            let present = endpoint.ip_address.as_deref().and_then(|text| text.parse().ok());
            let has_wanted = place
                .ip_address
                .is_none_or(|wanted| [endpoint.fixed_address(), present].contains(&Some(wanted)));
            if has_wanted {
                return Ok(());
            }
            return Err(Error::conflict(format!(
                "it is attached to `{}` with another address",
                network.name
            ))
            .with_hint("detach it first"));
        }
        self.check_address_is_free(place, &network.id).await?;
        let result = self.connect_container(&container.id, &network.id, endpoint(place)).await;
        match result {
            // Somebody else was faster.
            Err(error) if error.message().contains("already exists in network") => Ok(()),
            other => other,
        }
    }

    pub(super) async fn detach(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        let container = self.inspect(name).await?;
        let network = self.find_network(network).await?;
        let networks = container.network_settings.networks.as_ref();
        let is_attached = networks.is_some_and(|networks| {
            networks.iter().any(|(key, endpoint)| {
                *key == network.name || endpoint.network_id.as_deref() == Some(&network.id)
            })
        });
        if !is_attached {
            return Ok(());
        }
        self.disconnect(&network.id, &container.id, false).await
    }
}
