//! Volumes: custom volumes of the storage pools.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use substrate_core::{Error, Outcome, Result, Volume, VolumeName, VolumeSpec};

use super::LxcSubstrate;
use crate::client::Target;
use crate::convert::{labels, limits};
use crate::name::{check_new, is_volume_name};
use crate::options::{LxcVolumeOptions, parse};

#[derive(Debug, Deserialize)]
struct Pool {
    name: String,
    #[serde(default)]
    driver: String,
}

/// A volume as the servers describe it.
#[derive(Debug, Deserialize)]
pub(super) struct VolumeDocument {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
    #[serde(default)]
    used_by: Option<Vec<String>>,
}

impl VolumeDocument {
    fn into_volume(self, pool: &str) -> Result<Volume> {
        let mut volume = Volume::new(format!("{pool}/{}", self.name), VolumeName::new(&self.name)?);
        let config = self.config.unwrap_or_default();
        volume.size_bytes = config.get("size").and_then(|size| limits::bytes(size));
        volume.location = Some(pool.to_owned());
        volume.labels = labels::read(&config);
        Ok(volume)
    }
}

fn pools() -> Target {
    Target::new("/1.0/storage-pools")
}

fn volumes_in(pool: &str) -> Target {
    pools().segment(pool).segment("volumes").segment("custom")
}

impl LxcSubstrate {
    async fn all_pools(&self) -> Result<Vec<Pool>> {
        self.client.get("list the storage pools", &pools().with("recursion", "1")).await
    }

    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for pool in self.all_pools().await? {
            let target = volumes_in(&pool.name).with("recursion", "1");
            let documents: Vec<VolumeDocument> = self.client.get("list the volumes", &target).await?;
            // Snapshots of volumes are in the list too.
            let whole =
                documents.into_iter().filter(|volume| volume.kind == "custom" && !volume.name.contains('/'));
            for document in whole {
                volumes.push(document.into_volume(&pool.name)?);
            }
        }
        volumes.sort_by(|left, right| (&left.name, &left.id).cmp(&(&right.name, &right.id)));
        Ok(volumes)
    }

    pub(super) async fn volume_in(&self, pool: &str, name: &str) -> Result<Option<VolumeDocument>> {
        match self.client.get("look at the volume", &volumes_in(pool).segment(name)).await {
            Ok(volume) => Ok(Some(volume)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn make_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let name = spec.name.as_str();
        check_new("volume", name, is_volume_name(name))?;
        labels::check(&spec.labels)?;
        let options: LxcVolumeOptions = parse("volume", &spec.options)?;
        if let Some(key) = options.config.keys().find(|key| key.starts_with("user.") || *key == "size") {
            return Err(Error::invalid_input(format!(
                "the option `config` holds `{}`, which has a field of its own",
                key.escape_debug()
            )));
        }
        let pool = match &spec.location {
            Some(pool) => pool.clone(),
            None => self.pool().await?,
        };
        let mut config = options.config;
        config.extend(labels::write(&spec.labels));
        if let Some(size) = spec.size_bytes {
            self.require_sizes(&pool).await?;
            config.insert("size".to_owned(), size.to_string());
        }
        let body = json!({
            "name": name,
            "type": "custom",
            "content_type": if options.block == Some(true) { "block" } else { "filesystem" },
            "description": options.description.unwrap_or_default(),
            "config": config,
        });
        let _held = self.names.hold("volume", &format!("{pool}/{name}")).await;
        self.client
            .send("create the volume", Method::POST, &volumes_in(&pool), Some(&body), None)
            .await
            .map_err(|error| {
                // A pool that is not there is a wrong `location`, not a missing volume.
                if error.is_not_found() { Error::invalid_input(error.message()) } else { error }
            })?;
        match self.volume_in(&pool, name).await.map_err(|error| error.with_outcome(Outcome::Unknown))? {
            Some(volume) => volume.into_volume(&pool),
            None => {
                Err(Error::conflict("it was deleted right after it was made").with_outcome(Outcome::Unknown))
            }
        }
    }

    /// A plain folder takes a size and does not keep to it.
    async fn require_sizes(&self, pool: &str) -> Result<()> {
        let pool: Pool =
            self.client.get("look at the storage pool", &pools().segment(pool)).await.map_err(|error| {
                if error.is_not_found() { Error::invalid_input(error.message()) } else { error }
            })?;
        if pool.driver == "dir" {
            return Err(Error::unsupported(format!(
                "the storage pool `{}` is a plain folder (`dir`), which does not keep to sizes",
                pool.name
            ))
            .with_hint("leave the size out, or use a zfs, btrfs, lvm or ceph pool"));
        }
        Ok(())
    }

    pub(super) async fn drop_volume(&self, name: &VolumeName) -> Result<()> {
        let missing =
            || Error::not_found(format!("there is no volume called `{}`", name.as_str().escape_debug()));
        let (pool, plain) = match name.as_str().split_once('/') {
            // A volume's id.
            Some((pool, plain)) => (Some(pool), plain),
            None => (None, name.as_str()),
        };
        if !is_volume_name(plain) || pool.is_some_and(|pool| !is_volume_name(pool)) {
            return Err(missing());
        }
        let (pool, volume) = match pool {
            Some(pool) => (pool.to_owned(), self.volume_in(pool, plain).await?),
            None => self.pool_of(plain).await?,
        };
        let volume = volume.ok_or_else(missing)?;
        if let Some(users) = volume.used_by.filter(|users| !users.is_empty()) {
            let users: Vec<&str> = users.iter().filter_map(|user| user.rsplit('/').next()).collect();
            return Err(Error::conflict(format!("it is in use by {}", users.join(", "))));
        }
        let target = volumes_in(&pool).segment(plain);
        match self.client.send("delete the volume", Method::DELETE, &target, None, None).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(missing()),
            Err(error) => Err(error),
        }
    }

    /// In which pool a volume is: the usual one, else the only one that has it.
    async fn pool_of(&self, name: &str) -> Result<(String, Option<VolumeDocument>)> {
        let usual = self.pool().await?;
        if let Some(volume) = self.volume_in(&usual, name).await? {
            return Ok((usual, Some(volume)));
        }
        let mut found = Vec::new();
        for pool in self.all_pools().await?.into_iter().filter(|pool| pool.name != usual) {
            if let Some(volume) = self.volume_in(&pool.name, name).await? {
                found.push((pool.name, volume));
            }
        }
        if found.len() > 1 {
            let candidates: Vec<String> = found.iter().map(|(pool, _)| format!("{pool}/{name}")).collect();
            return Err(Error::conflict(format!("several pools have it: {}", candidates.join(", ")))
                .with_hint("name it with its pool"));
        }
        Ok(found.pop().map_or((usual, None), |(pool, volume)| (pool, Some(volume))))
    }
}
