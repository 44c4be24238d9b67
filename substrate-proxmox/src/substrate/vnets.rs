//! Virtual networks: the cluster's, not a node's. Proxmox VE calls them SDN.

use serde::Deserialize;
use substrate_core::{Error, Outcome, Result};

use super::ProxmoxSubstrate;
use super::network_changes::{Plan, all_back};
use crate::client::{Form, Upid, path};
use crate::convert::marks;
use crate::convert::network::vnet_for;

/// What a virtual network's alias can hold.
const LONGEST_ALIAS: usize = 256;

/// A virtual network, as the cluster knows it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Vnet {
    pub(super) vnet: String,
    #[serde(default)]
    pub(super) alias: Option<String>,
}

impl ProxmoxSubstrate {
    /// The virtual networks that are applied; none where the cluster has no SDN.
    pub(super) async fn vnets(&self) -> Result<Vec<Vnet>> {
        let target = path(&["cluster", "sdn", "vnets"]);
        match self.client.get("list the virtual networks", &target, Form::new().flag("running", true)).await {
            Err(error) if error.is_unsupported() => Ok(Vec::new()),
            vnets => vnets,
        }
    }

    pub(super) async fn make_vnet(&self, plan: &Plan) -> Result<()> {
        let Some(zone) = &plan.options.zone else {
            return Err(Error::invalid_input("a virtual network needs the option `zone`")
                .with_hint("an administrator makes zones, under Datacenter → SDN"));
        };
        if !plan.options.ports.is_empty() || !plan.options.nodes.is_empty() {
            return Err(Error::invalid_input("`ports` and `nodes` are options of bridges")
                .with_hint("a virtual network's are its zone's"));
        }
        self.check_no_vnet_plan().await?;
        let vnet = vnet_for(&plan.marks.name);
        let alias =
            marks::write(plan.options.comment.as_deref().unwrap_or_default(), &plan.marks, LONGEST_ALIAS)?;
        let form = Form::new()
            .with("vnet", &vnet)
            .with("zone", zone)
            .with("alias", alias)
            .maybe("tag", plan.options.tag)
            .maybe("vlanaware", plan.options.vlan_aware.map(u8::from));
        self.client.post("make the virtual network", &path(&["cluster", "sdn", "vnets"]), form).await?;
        let filled = async {
            if let Some(subnet) = plan.subnet {
                let form = Form::new()
                    .with("subnet", subnet)
                    .with("type", "subnet")
                    .maybe("gateway", plan.marks.gateway)
                    // The way out of a simple zone is the node's, by translation.
                    .flag("snat", plan.marks.gateway.is_some());
                let target = path(&["cluster", "sdn", "vnets", &vnet, "subnets"]);
                self.client.post("make the subnet", &target, form).await?;
            }
            self.apply_vnets().await
        };
        match filled.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let taken_back = self.remove_vnet(&vnet).await;
                Err(all_back(error, [taken_back], Outcome::Rejected))
            }
        }
    }

    /// Removes a virtual network with its subnets, which the API wants gone first.
    pub(super) async fn remove_vnet(&self, vnet: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct Subnet {
            subnet: String,
        }
        let attempt = "remove the virtual network";
        let target = path(&["cluster", "sdn", "vnets", vnet, "subnets"]);
        let subnets: Vec<Subnet> = self.client.get(attempt, &target, Form::new()).await?;
        for subnet in subnets {
            let target = path(&["cluster", "sdn", "vnets", vnet, "subnets", &subnet.subnet]);
            self.client.delete(attempt, &target, Form::new()).await?;
        }
        self.client.delete(attempt, &path(&["cluster", "sdn", "vnets", vnet]), Form::new()).await?;
        self.apply_vnets().await
    }

    /// Refuses to go on where somebody has planned changes: they would be applied along with ours.
    async fn check_no_vnet_plan(&self) -> Result<()> {
        let query = Form::new().flag("pending", true);
        for what in ["vnets", "zones"] {
            let target = path(&["cluster", "sdn", what]);
            let all: Vec<crate::convert::text::Fields> =
                self.client.get("look for planned changes of the SDN", &target, query.clone()).await?;
            if all.iter().any(|one| one.contains_key("state")) {
                return Err(Error::conflict("somebody has planned changes of the SDN and not applied them")
                    .with_hint(
                        "apply or revert them under Datacenter → SDN: they would take effect with this one",
                    ));
            }
        }
        Ok(())
    }

    async fn apply_vnets(&self) -> Result<()> {
        let attempt = "apply the change of the SDN";
        let data = self.client.put(attempt, &path(&["cluster", "sdn"]), Form::new()).await?;
        self.client.follow(attempt, &Upid::parse(attempt, &data)?).await
    }
}
