//! Bounds of guests that exist.

use substrate_core::{Error, InstanceName, InstanceState, ResourceLimits, Result};

use super::ProxmoxSubstrate;
use super::orders::Order;
use crate::client::Form;
use crate::convert::guest::{Guest, GuestKind};
use crate::convert::limits;

impl ProxmoxSubstrate {
    pub(super) async fn limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        let guest = self.guest(name).await?;
        Ok(limits::of(&guest))
    }

    pub(super) async fn set_limits(&self, name: &InstanceName, wanted: &ResourceLimits) -> Result<()> {
        limits::check(wanted)?;
        wanted.require_features(&self.descriptor.get().capabilities)?;
        let mut guest = self.settled(name).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        if guest.kind == GuestKind::Qemu && guest.state() != InstanceState::Stopped {
            return Err(Error::conflict(format!("the machine is {}", guest.state()))
                .with_hint("stop it: a running machine gets new bounds at its next start only"));
        }
        if guest.marks().is_some_and(|marks| marks.unfinished.is_some()) {
            guest = self.finish(guest).await?;
        }
        let disk = self.disk_to_grow(&guest, wanted)?;
        let settings = limits::settings(&guest, wanted)?;
        let before: Vec<(String, String)> = settings
            .keys()
            .filter_map(|key| Some((key.clone(), crate::convert::text::text(&guest.config, key)?)))
            .collect();
        let unset: Vec<&String> =
            settings.keys().filter(|key| !before.iter().any(|(had, _)| had == *key)).collect();
        if !settings.is_empty() {
            // What was read is what is changed: else somebody else's change is lost.
            let form = Form::new().extended(settings.clone()).maybe("digest", guest.digest());
            let order = Order::put("change the guest's bounds", &["config"], form);
            self.order(&mut guest.place(), &order).await?;
        }
        let Some((key, gibibytes)) = disk else { return Ok(()) };
        match self.grow(&guest, &key, gibibytes).await {
            Ok(()) => Ok(()),
            Err(error) => {
                // All or nothing.
                let delete: Vec<&str> = unset.iter().map(|key| key.as_str()).collect();
                let form = Form::new()
                    .extended(before)
                    .maybe("delete", Some(delete.join(",")).filter(|keys| !keys.is_empty()));
                if !form.is_empty() {
                    let back = Order::put("take the guest's bounds back", &["config"], form);
                    self.order(&mut guest.place(), &back).await?;
                }
                Err(error)
            }
        }
    }

    /// The disk to grow and its new size; nothing when it has that size.
    fn disk_to_grow(&self, guest: &Guest, wanted: &ResourceLimits) -> Result<Option<(String, u64)>> {
        let Some(gibibytes) = wanted.disk_gb else { return Ok(None) };
        let Some((key, bytes)) = guest.root_disk() else {
            return Err(Error::invalid_input("the guest has no disk"));
        };
        match (gibibytes << 30).cmp(&bytes) {
            std::cmp::Ordering::Less => Err(Error::invalid_input(format!(
                "the disk `{key}` is larger than {gibibytes} GiB, and disks only grow"
            ))),
            std::cmp::Ordering::Equal => Ok(None),
            std::cmp::Ordering::Greater => Ok(Some((key, gibibytes))),
        }
    }

    /// Grows a disk. An unchanged size is success.
    pub(super) async fn grow(&self, guest: &Guest, disk: &str, gibibytes: u64) -> Result<()> {
        if guest.root_disk().is_some_and(|(key, bytes)| key == disk && bytes == gibibytes << 30) {
            return Ok(());
        }
        let form = Form::new().with("disk", disk).with("size", format!("{gibibytes}G"));
        let order = Order::put("grow the disk", &["resize"], form);
        self.order(&mut guest.place(), &order).await
    }
}
