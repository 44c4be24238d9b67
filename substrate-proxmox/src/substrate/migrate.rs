//! Moving a guest to another node: what only this technology has, as a method of its own.

use substrate_core::{Error, InstanceName, InstanceState, Operation, Result};

use super::ProxmoxSubstrate;
use super::orders::Order;
use super::waiting::wait_at_most;
use crate::client::Form;
use crate::convert::guest::GuestKind;

impl ProxmoxSubstrate {
    /// Moves a guest to another node of the cluster; there already = success. A running machine is moved alive, a
    /// running container is restarted there. Disks on local storages are copied along.
    ///
    /// # Errors
    /// `NotFound` for the guest or the node; `Conflict` when something ties it to its node.
    pub async fn migrate_instance(&self, name: &InstanceName, target: &str) -> Result<()> {
        self.migrate(name, target).await.map_err(self.descriptor.about(Operation::RestartInstance, name))
    }

    async fn migrate(&self, name: &InstanceName, target: &str) -> Result<()> {
        let guest = self.settled(name).await?;
        if guest.node == target {
            return Ok(());
        }
        if !self.nodes().await?.iter().any(|node| node.node == target) {
            return Err(Error::not_found(format!("the cluster has no node `{}`", target.escape_debug())));
        }
        let runs = guest.state() != InstanceState::Stopped;
        let form = Form::new().with("target", target);
        let form = match guest.kind {
            GuestKind::Qemu => form.flag("online", runs).flag("with-local-disks", true),
            GuestKind::Lxc => form.flag("restart", runs),
        };
        let order = Order::post("migrate the guest", &["migrate"], form);
        self.order(&mut guest.place(), &order).await?;
        let mut wait = wait_at_most(std::time::Duration::from_secs(120));
        // The high-availability manager acts in its own time.
        while self.whereabouts(guest.vmid).await?.is_none_or(|place| place.node != target) {
            if !wait.pause().await {
                return Err(Error::timeout(format!("the guest did not arrive on {target}")));
            }
        }
        self.memory.touch(guest.vmid);
        Ok(())
    }
}
