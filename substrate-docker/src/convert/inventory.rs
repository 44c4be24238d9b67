//! Networks, volumes and images.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use substrate_core::{Error, Image, Labels, Network, NetworkName, Result, Volume, VolumeName};

use super::snapshot::ImageSummary;

/// One entry of `/networks`, or `/networks/{id}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkDocument {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    driver: Option<String>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default, rename = "IPAM")]
    addresses: Addresses,
    /// Only in an inspection: container id → endpoint. Only containers that run.
    #[serde(default)]
    pub(crate) containers: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Addresses {
    #[serde(default)]
    config: Option<Vec<AddressPool>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddressPool {
    #[serde(default)]
    subnet: Option<String>,
    #[serde(default)]
    gateway: Option<String>,
}

impl NetworkDocument {
    /// The network in our words.
    pub(crate) fn into_network(self) -> Result<Network> {
        let name = NetworkName::new(&self.name).map_err(|error| Error::protocol(error.message()))?;
        let mut network = Network::new(self.id, name, self.driver.unwrap_or_default());
        let pools = self.addresses.config.unwrap_or_default();
        // Some drivers write the gateway with the length of its network.
        network.gateway = pools.iter().find_map(|pool| {
            let text = pool.gateway.as_deref()?;
            text.split('/').next()?.parse::<IpAddr>().ok()
        });
        network.subnets = pools.into_iter().filter_map(|pool| pool.subnet).collect();
        network.internal = self.internal;
        network.labels = self.labels.unwrap_or_default();
        Ok(network)
    }
}

/// `/volumes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeList {
    #[serde(default)]
    pub(crate) volumes: Option<Vec<VolumeDocument>>,
}

/// One volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VolumeDocument {
    name: String,
    #[serde(default)]
    driver: Option<String>,
    #[serde(default)]
    labels: Option<Labels>,
}

impl VolumeDocument {
    /// The volume in our words.
    pub(crate) fn into_volume(self) -> Result<Volume> {
        let name = VolumeName::new(&self.name).map_err(|error| Error::protocol(error.message()))?;
        let mut volume = Volume::new(self.name, name);
        volume.location = self.driver;
        volume.labels = self.labels.unwrap_or_default();
        Ok(volume)
    }
}

impl ImageSummary {
    /// The image in our words.
    pub(crate) fn into_image(self) -> Image {
        let mut names: Vec<String> = self.names().map(str::to_owned).collect();
        let digests = self.repo_digests.iter().flatten().filter(|digest| !digest.contains("<none>"));
        names.extend(digests.cloned());
        let created_at = self.created_at();
        let mut image = Image::new(self.id, names);
        image.size_bytes = self.size.and_then(|size| u64::try_from(size).ok());
        image.created_at = created_at;
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_with_its_addresses() {
        let network: NetworkDocument = serde_json::from_str(
            r#"{"Name":"front","Id":"6b","Driver":"bridge","Internal":true,"Labels":{"a":"b"},
            "IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"10.1.0.0/24","Gateway":"10.1.0.1/24"}]}}"#,
        )
        .unwrap();
        let network = network.into_network().unwrap();
        assert_eq!(network.subnets, ["10.1.0.0/24"]);
        assert_eq!(network.gateway, Some("10.1.0.1".parse().unwrap()));
        assert!(network.internal);
    }

    #[test]
    fn networks_without_addresses_are_read_too() {
        let network: NetworkDocument = serde_json::from_str(
            r#"{"Name":"none","Id":"1","Driver":"null","IPAM":{"Config":null},"Labels":null}"#,
        )
        .unwrap();
        assert!(network.into_network().unwrap().subnets.is_empty());
    }

    #[test]
    fn no_volumes_are_an_empty_list() {
        let list: VolumeList = serde_json::from_str(r#"{"Volumes":null,"Warnings":null}"#).unwrap();
        assert!(list.volumes.is_none());
    }

    #[test]
    fn an_untagged_image_has_no_name() {
        let image: ImageSummary = serde_json::from_str(
            r#"{"Id":"sha256:1","RepoTags":["<none>:<none>"],"RepoDigests":["<none>@<none>"],"Created":7,"Size":9,"Labels":null}"#,
        )
        .unwrap();
        let image = image.into_image();
        assert!(image.names.is_empty());
        assert_eq!(image.size_bytes, Some(9));
    }
}
