//! Bounds, and changing them.

use serde_json::{Map, Value, json};
use substrate_core::{Error, InstanceName, InstanceState, Outcome, ResourceLimits, Result};

use super::LxcSubstrate;
use crate::convert::instance::Document;
use crate::convert::limits::{self, Device};

impl LxcSubstrate {
    pub(super) async fn limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        let document = self.find(name.as_str()).await?;
        Ok(limits::read(document.configuration(), document.all_devices()))
    }

    pub(super) async fn set_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        limits.validate()?;
        limits.require_features(&self.descriptor.get().capabilities)?;
        let (_held, document) = self.held(name).await?;
        if limits.is_empty() {
            return Ok(());
        }
        let config = limits::write(document.kind(), limits)?;
        let devices = changed_devices(&document, limits)?;
        if let Some(bound) = limits.memory_mb {
            self.check_memory_in_use(&document, bound).await?;
        }
        self.update("change the instance's limits", &document.name, |document| {
            let own = field(document, "config")?;
            if config.contains_key("limits.cpu.allowance") {
                // Pinned to fewer processors than its share, the share would not be the bound.
                own.remove("limits.cpu");
            }
            own.extend(config.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
            let own = field(document, "devices")?;
            own.extend(devices.iter().map(|(name, device)| (name.clone(), json!(device))));
            Ok(())
        })
        .await
    }

    /// The kernel takes a bound below what is in use, and then kills. Neither is what was asked for.
    async fn check_memory_in_use(&self, document: &Document, bound: u64) -> Result<()> {
        if !matches!(document.state(), InstanceState::Running | InstanceState::Paused) {
            return Ok(());
        }
        let used = self.inside(&document.name).await?.map_or(0, |state| state.memory.usage);
        let used = u64::try_from(used).unwrap_or(0).div_ceil(1 << 20);
        if used > bound {
            return Err(Error::conflict(format!("it uses {used} MiB of memory now, more than {bound}"))
                .with_outcome(Outcome::Rejected)
                .with_hint("stop the instance first, or choose a higher bound"));
        }
        Ok(())
    }
}

/// The devices that bounds of disk and network change, as the instance's own: profiles are others' too.
fn changed_devices(document: &Document, limits: &ResourceLimits) -> Result<Vec<(String, Device)>> {
    let mut changed = Vec::new();
    if let Some(gigabytes) = limits.disk_gb {
        let root = document.all_devices().iter().find(|(_, device)| limits::is_root(device));
        let (name, root) = root.ok_or_else(|| Error::invalid_input("it has no root disk"))?;
        let mut root = root.clone();
        root.insert("size".to_owned(), format!("{gigabytes}GiB"));
        changed.push((name.clone(), root));
    }
    if let Some(megabits) = limits.network_mbps {
        for (name, nic, _) in document.nics() {
            let mut nic = nic.clone();
            limits::write_bandwidth(&mut nic, megabits)?;
            changed.push((name.to_owned(), nic));
        }
        if document.nics().next().is_none() {
            return Err(Error::invalid_input("network_mbps bounds a network device, and it has none"));
        }
    }
    Ok(changed)
}

/// A part of a document that is an object; an empty one where the server left it out.
pub(super) fn field<'a>(
    document: &'a mut Map<String, Value>,
    name: &str,
) -> Result<&'a mut Map<String, Value>> {
    let value = document.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| Error::protocol(format!("`{name}` of the instance is no object")))
}
