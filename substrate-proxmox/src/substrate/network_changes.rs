//! Making and removing bridges.
//!
//! A node's network is a file. A change is written beside it, as a plan, and takes effect when the plan is applied. So
//! plans of somebody else are never applied along with ours, and ours is taken back when a part of it fails.

use futures_util::future::join_all;
use substrate_core::{Error, Network, NetworkName, NetworkSpec, Outcome, Result};

use super::ProxmoxSubstrate;
use super::networks::NodeNetworks;
use crate::client::{Form, Upid, path};
use crate::convert::guest::numbered;
use crate::convert::marks;
use crate::convert::network::{Bridge, NetworkMarks, Wanted, bridge_for};
use crate::convert::pending::is_only_ours;
use crate::convert::property::Properties;
use crate::convert::subnet::Subnet;
use crate::options::{self, ProxmoxNetworkOptions};

/// The API bounds no comment; an administrator reads this file.
const LONGEST_COMMENT: usize = 8_192;

/// What is to be made, as far as it can be said without asking.
pub(super) struct Plan {
    pub(super) marks: NetworkMarks,
    pub(super) subnet: Option<Subnet>,
    pub(super) options: ProxmoxNetworkOptions,
}

impl Plan {
    fn read(spec: &NetworkSpec) -> Result<Self> {
        let options: ProxmoxNetworkOptions = options::read(&spec.options)?;
        let name = spec.name.as_str();
        if Wanted::read(&spec.name).tag.is_some() {
            return Err(Error::invalid_input(format!("`{}` names a VLAN", name.escape_debug())).with_hint(
                "a VLAN needs no creation: put guests on it; or choose a name without `.` and a number",
            ));
        }
        let subnet = spec.subnet.as_deref().map(Subnet::new).transpose()?;
        let gateway = match (subnet, spec.gateway) {
            (None, Some(_)) => return Err(Error::invalid_input("a gateway needs a subnet around it")),
            (Some(subnet), Some(gateway)) if !subnet.contains(gateway) => {
                return Err(Error::invalid_input(format!("the gateway {gateway} is not in {subnet}")));
            }
            (_, Some(_)) if spec.internal => {
                return Err(Error::invalid_input("a network without a way out has no gateway"));
            }
            (_, Some(gateway)) => Some(gateway),
            // The node's own address on it: its guests' way to the node.
            (Some(subnet), None) if !spec.internal => subnet.first_address(),
            (_, None) => None,
        };
        if spec.internal && !options.ports.is_empty() {
            return Err(Error::invalid_input("a network without a way out has no `ports`"));
        }
        let plain = |text: &&String| !options::is_plain(text);
        let given = options.nodes.iter().chain(&options.ports).chain(&options.zone);
        if let Some(wrong) = given.clone().find(plain) {
            return Err(Error::invalid_input(format!(
                "`{}` can be no node, interface or zone",
                wrong.escape_debug()
            )));
        }
        let marks = NetworkMarks {
            name: name.to_owned(),
            subnet: subnet.map(|subnet| subnet.to_string()),
            gateway,
            internal: spec.internal,
            labels: spec.labels.clone(),
        };
        Ok(Self { marks, subnet, options })
    }

    fn bridge(&self) -> Result<Form> {
        let comment = self.options.comment.as_deref().unwrap_or_default();
        let comments = marks::write(comment, &self.marks, LONGEST_COMMENT)?;
        let mut form = Form::new()
            .with("iface", bridge_for(&self.marks.name))
            .with("type", "bridge")
            .flag("autostart", true)
            .with("comments", comments);
        if let (Some(subnet), Some(gateway)) = (self.subnet, self.marks.gateway) {
            let key = if gateway.is_ipv4() { "cidr" } else { "cidr6" };
            form = form.with(key, format!("{gateway}/{}", subnet.length()));
        }
        if !self.options.ports.is_empty() {
            form = form.with("bridge_ports", self.options.ports.join(" "));
        }
        if let Some(aware) = self.options.vlan_aware {
            form = form.flag("bridge_vlan_aware", aware);
        }
        Ok(form)
    }

    /// Refuses a name that is taken and a subnet that overlaps another's.
    pub(super) fn check_against(&self, known: &[Bridge]) -> Result<()> {
        let name = &self.marks.name;
        let iface = bridge_for(name);
        if known.iter().any(|bridge| bridge.name() == *name || bridge.iface == iface) {
            return Err(Error::already_exists(format!(
                "there is a network called `{}` already",
                name.escape_debug()
            )));
        }
        let Some(subnet) = self.subnet else { return Ok(()) };
        for bridge in known {
            if let Some(other) = bridge.subnets().into_iter().find(|other| other.overlaps(subnet)) {
                return Err(Error::conflict(format!(
                    "the subnet {subnet} overlaps {other} of `{}`",
                    bridge.name().escape_debug()
                )));
            }
        }
        Ok(())
    }
}

impl ProxmoxSubstrate {
    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let plan = Plan::read(spec)?;
        let bridge = plan.bridge()?;
        let is_vnet = match spec.driver.as_deref() {
            None | Some("bridge") => false,
            Some("vnet") => true,
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "a network of the type `{}` cannot be made",
                    other.escape_debug()
                ))
                .with_hint("`bridge` or `vnet`"));
            }
        };
        // One plan at a time: a node has room for one.
        let _one = self.names.hold("network", "").await;
        let online: Vec<String> = self.online_nodes().await?.into_iter().map(|node| node.node).collect();
        let nodes = if plan.options.nodes.is_empty() { online.clone() } else { plan.options.nodes.clone() };
        if let Some(missing) = nodes.iter().find(|node| !online.contains(node)) {
            return Err(Error::not_found(format!("there is no node `{missing}` online")));
        }
        for node in &online {
            plan.check_against(&self.bridges(node).await?)?;
        }
        if is_vnet {
            self.make_vnet(&plan).await?;
        } else {
            if plan.options.zone.is_some() || plan.options.tag.is_some() {
                return Err(Error::invalid_input("`zone` and `tag` are options of virtual networks")
                    .with_hint("set the driver to `vnet`"));
            }
            self.make_bridge(&nodes, &plan.marks.name, &bridge).await?;
        }
        let first = nodes.first().ok_or_else(|| Error::unavailable("no node of the cluster is online"))?;
        let made = self.bridges(first).await?;
        made.iter()
            .find(|bridge| bridge.name() == plan.marks.name)
            .and_then(Bridge::network)
            .ok_or_else(|| Error::conflict("the network was deleted as soon as it was made"))
    }

    async fn make_bridge(&self, nodes: &[String], name: &str, form: &Form) -> Result<()> {
        let iface = bridge_for(name);
        for node in nodes {
            self.check_no_plan(node, &iface).await?;
        }
        let attempt = "make the bridge";
        for (index, node) in nodes.iter().enumerate() {
            let target = path(&["nodes", node, "network"]);
            if let Err(error) = self.client.post(attempt, &target, form.clone()).await {
                // Nothing is applied yet: the plans are thrown away. On this node too, if it may have one.
                let until = index + usize::from(error.outcome() == Outcome::Unknown);
                let planned = nodes.iter().take(until);
                let taken_back = join_all(planned.map(|node| self.drop_plan(node))).await;
                return Err(all_back(error, taken_back, Outcome::Rejected));
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            if let Err(error) = self.apply_plan(node).await {
                // This node's plan may be its network by now; those of the others are only plans.
                let later = nodes.iter().skip(index + 1);
                let mut taken_back = join_all(later.map(|node| self.drop_plan(node))).await;
                for node in nodes.iter().take(index + 1) {
                    taken_back.push(self.remove_bridge(node, &iface).await);
                }
                return Err(all_back(error, taken_back, Outcome::Rejected));
            }
        }
        Ok(())
    }

    pub(super) async fn drop_network(&self, name: &NetworkName) -> Result<()> {
        let wanted = Wanted::read(name);
        let none =
            || Error::not_found(format!("there is no network called `{}`", name.as_str().escape_debug()));
        if wanted.tag.is_some() {
            return Err(none());
        }
        let _one = self.names.hold("network", "").await;
        let online: Vec<String> = self.online_nodes().await?.into_iter().map(|node| node.node).collect();
        let mut found: Vec<(String, Bridge)> = Vec::new();
        for node in &online {
            let bridges = self.bridges(node).await?;
            found.extend(wanted.bridge_in(&bridges).ok().map(|bridge| (node.clone(), bridge.clone())));
        }
        let Some((_, first)) = found.first() else { return Err(none()) };
        if found.iter().any(|(_, bridge)| bridge.marks().is_none()) {
            return Err(Error::conflict(format!(
                "`{name}` was not made here: it is a part of the nodes' own network"
            ))
            .with_hint("an administrator removes it, in the web interface or in /etc/network/interfaces"));
        }
        let nodes: Vec<String> = found.iter().map(|(node, _)| node.clone()).collect();
        let on = |(_, net): (String, Properties)| net.get("bridge") == Some(first.iface.as_str());
        let user = self.user_of(&nodes, |settings| {
            settings.both().into_iter().any(|fields| numbered(fields, "net").any(on))
        });
        let user = user.await?;
        if let Some(user) = user {
            return Err(Error::conflict(format!("the guest {user} is on the network")));
        }
        if first.is_vnet() {
            return self.remove_vnet(&first.iface).await;
        }
        for node in &nodes {
            self.check_no_plan(node, &first.iface).await?;
        }
        for node in &nodes {
            self.remove_bridge(node, &first.iface).await?;
        }
        Ok(())
    }

    // ---- plans ------------------------------------------------------------------------------------

    /// Refuses to go on where somebody else has a plan: it would be applied along with ours. One that an interrupted
    /// call of ours left is thrown away.
    async fn check_no_plan(&self, node: &str, iface: &str) -> Result<()> {
        let NodeNetworks { planned, .. } = self.networks_of(node).await?;
        match planned {
            None => Ok(()),
            Some(difference) if is_only_ours(&difference, iface) => self.drop_plan(node).await,
            Some(_) => Err(Error::conflict(format!(
                "somebody has planned changes of the network of {node} and not applied them"
            ))
            .with_hint("apply or revert them in the web interface: they would take effect with this one")),
        }
    }

    async fn drop_plan(&self, node: &str) -> Result<()> {
        let target = path(&["nodes", node, "network"]);
        self.client.delete("take the planned change back", &target, Form::new()).await.map(drop)
    }

    async fn apply_plan(&self, node: &str) -> Result<()> {
        let attempt = "apply the change of the node's network";
        let data = self.client.put(attempt, &path(&["nodes", node, "network"]), Form::new()).await?;
        self.client.follow(attempt, &Upid::parse(attempt, &data)?).await
    }

    async fn remove_bridge(&self, node: &str, iface: &str) -> Result<()> {
        let target = path(&["nodes", node, "network", iface]);
        match self.client.delete("remove the bridge", &target, Form::new()).await {
            Ok(_) => {}
            // It is in no file of that node: then there is nothing to apply either.
            Err(error) if error.message().contains("does not exist") => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.apply_plan(node).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let taken_back = self.drop_plan(node).await;
                Err(all_back(error, [taken_back], Outcome::Unknown))
            }
        }
    }
}

/// The error that made everything be taken back, and what that came to.
pub(super) fn all_back(
    error: Error,
    taken_back: impl IntoIterator<Item = Result<()>>,
    outcome: Outcome,
) -> Error {
    match taken_back.into_iter().find_map(Result::err) {
        None => error.with_outcome(outcome),
        Some(left) => error.with_outcome(Outcome::Unknown).with_hint(format!(
            "a part of it may be left, because it could not be taken back: {}",
            left.message()
        )),
    }
}
