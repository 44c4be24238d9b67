//! Networks, and an instance's place in them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::label::Labels;
use crate::name::NetworkName;

/// A network of the substrate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Network {
    /// The technology's own id, or the name again.
    pub id: String,
    /// Its name.
    pub name: NetworkName,
    /// The technology's word for its type: `bridge`, `overlay`, `vlan`.
    pub driver: String,
    /// Its subnets in CIDR form: `10.1.0.0/24`.
    pub subnets: Vec<String>,
    /// Its gateway.
    pub gateway: Option<IpAddr>,
    /// Whether it has no way out.
    pub internal: bool,
    /// Its labels, where the substrate has [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    pub labels: Labels,
}

impl Network {
    /// A network of which nothing more is known.
    #[must_use]
    pub fn new(id: impl Into<String>, name: NetworkName, driver: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name,
            driver: driver.into(),
            subnets: Vec::new(),
            gateway: None,
            internal: false,
            labels: Labels::new(),
        }
    }
}

/// An instance's place in a network: what `attach_network` and
/// [`InstanceConfig::networks`](crate::InstanceConfig) take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// The network.
    pub network_name: NetworkName,
    /// A fixed address; needs [`Feature::FixedAddress`](crate::Feature::FixedAddress).
    #[serde(default)]
    pub ip_address: Option<IpAddr>,
    /// The gateway, where the instance and not the network decides it.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Name servers, where the instance and not the network decides them.
    #[serde(default)]
    pub dns_servers: Vec<IpAddr>,
}

impl NetworkConfig {
    /// A place in `network_name` with whatever address the substrate gives.
    #[must_use]
    pub fn new(network_name: NetworkName) -> Self {
        Self { network_name, ip_address: None, gateway: None, dns_servers: Vec::new() }
    }

    /// Asks for a fixed address.
    #[must_use]
    pub fn with_ip_address(mut self, address: IpAddr) -> Self {
        self.ip_address = Some(address);
        self
    }

    /// Sets the gateway.
    #[must_use]
    pub fn with_gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Adds a name server.
    #[must_use]
    pub fn with_dns_server(mut self, server: IpAddr) -> Self {
        self.dns_servers.push(server);
        self
    }
}

/// What [`create_network`](crate::Substrate::create_network) takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkSpec {
    /// Its name.
    pub name: NetworkName,
    /// The technology's word for its type; its default when left out.
    #[serde(default)]
    pub driver: Option<String>,
    /// Its subnet in CIDR form; the substrate picks one when left out.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Its gateway, inside the subnet.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Without a way out.
    #[serde(default)]
    pub internal: bool,
    /// Labels; need [`Feature::ResourceLabels`](crate::Feature::ResourceLabels).
    #[serde(default)]
    pub labels: Labels,
    /// What only one technology has; unknown keys are refused.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl NetworkSpec {
    /// A network with everything left to the substrate.
    #[must_use]
    pub fn new(name: NetworkName) -> Self {
        Self {
            name,
            driver: None,
            subnet: None,
            gateway: None,
            internal: false,
            labels: Labels::new(),
            options: serde_json::Map::new(),
        }
    }

    /// Sets the subnet.
    #[must_use]
    pub fn with_subnet(mut self, subnet: impl Into<String>) -> Self {
        self.subnet = Some(subnet.into());
        self
    }

    /// Sets the gateway.
    #[must_use]
    pub fn with_gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Takes the way out away.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }
}
