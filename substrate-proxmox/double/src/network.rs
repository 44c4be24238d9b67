//! The nodes' networks: a file, a plan beside it, and a task that applies the plan. And the virtual networks of the
//! cluster, which work alike.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::params::Params;
use crate::reply::{Answer, Refusal, beside, fail};
use crate::tasks::Done;
use crate::world::World;

type Interfaces = BTreeMap<String, Value>;

/// What a node has, and what it is to have.
#[derive(Debug, Clone)]
pub(crate) struct NodeNetwork {
    pub(crate) applied: Interfaces,
    pub(crate) planned: Option<Interfaces>,
    /// Whether the next reload fails.
    pub(crate) broken: bool,
}

fn bridge(name: &str, cidr: Option<&str>) -> Value {
    let mut entry = json!({"type": "bridge", "iface": name, "active": 1, "autostart": 1, "method": "manual",
        "method6": "manual", "families": ["inet"], "priority": 3, "bridge_ports": "", "bridge_stp": "off",
        "bridge_fd": "0"});
    if let Some(cidr) = cidr {
        entry["cidr"] = cidr.into();
    }
    entry
}

impl Default for NodeNetwork {
    fn default() -> Self {
        let all = [
            ("vmbr0", bridge("vmbr0", Some("10.77.0.1/16"))),
            ("vmbr1", bridge("vmbr1", Some("10.78.0.1/24"))),
            (
                "eth0",
                json!({"iface": "eth0", "type": "eth", "active": 1, "exists": 1, "method": "manual",
                "method6": "manual", "families": ["inet"]}),
            ),
        ];
        let applied = all.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect();
        Self { applied, planned: None, broken: false }
    }
}

/// An interface as the file has it.
fn stanza(entry: &Value) -> Vec<String> {
    let name = entry["iface"].as_str().unwrap_or_default();
    let mut lines = vec![format!("auto {name}"), format!("iface {name} inet static")];
    for key in ["cidr", "cidr6", "bridge_ports"] {
        lines.extend(entry[key].as_str().map(|value| format!("\t{key} {value}")));
    }
    let comments = entry["comments"].as_str().unwrap_or_default();
    lines.extend(comments.lines().map(|line| format!("#{line}")));
    lines
}

impl NodeNetwork {
    /// What `diff` says of the file and the plan.
    fn difference(&self) -> Option<String> {
        let planned = self.planned.as_ref()?;
        let mut text =
            "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n@@ -1 +1 @@\n".to_owned();
        let names: std::collections::BTreeSet<&String> = self.applied.keys().chain(planned.keys()).collect();
        for name in names {
            let (old, new) = (self.applied.get(name).map(stanza), planned.get(name).map(stanza));
            if old == new {
                old.into_iter().flatten().for_each(|line| text.push_str(&format!(" {line}\n")));
                continue;
            }
            // A line that is in both stays: so it is with a change of one setting.
            for line in old.iter().flatten() {
                let kept = new.iter().flatten().any(|other| other == line);
                text.push_str(&format!("{}{line}\n", if kept { " " } else { "-" }));
            }
            for line in new.iter().flatten().filter(|line| !old.iter().flatten().any(|other| other == *line))
            {
                text.push_str(&format!("+{line}\n"));
            }
        }
        Some(text)
    }
}

impl World {
    pub(crate) fn network(&mut self, node: &str) -> &mut NodeNetwork {
        self.networks.entry(node.to_owned()).or_default()
    }
}

impl Shared {
    pub(crate) fn network_call(
        &self,
        node: &str,
        rest: &[&str],
        method: &str,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let mut world = self.world();
        let vnets: Vec<Value> = world
            .vnets
            .applied
            .keys()
            .map(|name| json!({"iface": name, "type": "vnet", "active": "1"}))
            .collect();
        let network = world.network(node);
        match (method, rest) {
            ("GET", []) => {
                let wanted = params.text("type");
                let fits = |entry: &&Value| {
                    let kind = entry["type"].as_str().unwrap_or_default();
                    match wanted.as_deref() {
                        None => true,
                        Some("any_bridge" | "any_local_bridge") => kind == "bridge",
                        Some(wanted) => kind == wanted,
                    }
                };
                let now = network.planned.as_ref().unwrap_or(&network.applied);
                let mut all: Vec<Value> = now.values().filter(fits).cloned().collect();
                if matches!(wanted.as_deref(), Some("any_bridge" | "vnet")) {
                    all.extend(vnets);
                }
                Ok(match network.difference() {
                    Some(difference) => beside(all.into(), "changes", difference.into()),
                    None => all.into(),
                })
            }
            ("POST", []) => {
                let iface = params.text("iface").unwrap_or_default();
                let mut plan = network.planned.clone().unwrap_or_else(|| network.applied.clone());
                if plan.contains_key(&iface) {
                    return Err(Refusal::parameter("iface", "interface already exists"));
                }
                let mut entry = json!({"iface": iface, "method": "manual", "method6": "manual",
                    "families": ["inet"], "bridge_stp": "off", "bridge_fd": "0"});
                for (key, value) in &params.0 {
                    let text = crate::params::text_of(value).unwrap_or_default();
                    entry[key] = match key.as_str() {
                        "autostart" => 1.into(),
                        // Each line is one of the file's, with its end.
                        "comments" => format!("{text}\n").into(),
                        _ => text.into(),
                    };
                }
                for (key, other) in plan.values().filter_map(|other| Some((other["iface"].as_str()?, other)))
                {
                    let same = ["cidr", "cidr6"]
                        .iter()
                        .any(|part| entry[*part].is_string() && entry[*part] == other[*part]);
                    if same {
                        return Err(Refusal::parameter("cidr", format!("address already in use by {key}")));
                    }
                }
                plan.insert(iface, entry);
                network.planned = Some(plan);
                Ok(Value::Null)
            }
            ("DELETE", []) => {
                network.planned = None;
                Ok(Value::Null)
            }
            ("DELETE", [iface]) => {
                let mut plan = network.planned.clone().unwrap_or_else(|| network.applied.clone());
                if plan.remove(*iface).is_none() {
                    return Err(Refusal::parameter("iface", "interface does not exist"));
                }
                network.planned = Some(plan);
                Ok(Value::Null)
            }
            ("PUT", []) => {
                drop(world);
                let name = node.to_owned();
                self.spawn(node, "srvreload", "networking", &caller.user, move |shared, _| async move {
                    shared.clock.sleep(shared.times().quick).await;
                    let mut world = shared.world();
                    let network = world.network(&name);
                    // The file takes the plan's place before anything is brought up.
                    if let Some(mut plan) = network.planned.take() {
                        plan.values_mut().for_each(|entry| entry["active"] = 1.into());
                        network.applied = plan;
                    }
                    if std::mem::take(&mut network.broken) {
                        return Done::failed(
                            vec!["error: sb: netlink: cannot create bridge".to_owned()],
                            "command 'ifreload -a' failed: exit code 1",
                        );
                    }
                    Done::ok(Vec::new())
                })
            }
            _ => Err(crate::no_method(method, &format!("/nodes/{node}/network/{}", rest.join("/")))),
        }
    }

    pub(crate) fn sdn(&self, rest: &[&str], method: &str, caller: &Caller, params: &Params) -> Answer {
        let mut world = self.world();
        let network = &mut world.vnets;
        let mut plan = network.planned.clone().unwrap_or_else(|| network.applied.clone());
        match (method, rest) {
            ("GET", ["zones"]) => Ok(json!([{"zone": "simple1", "type": "simple"}])),
            ("GET", ["vnets"]) if params.flag("pending") => {
                let all = plan.iter().map(|(name, entry)| {
                    let mut entry = entry.clone();
                    if !network.applied.contains_key(name) {
                        entry["state"] = "new".into();
                    }
                    entry
                });
                Ok(all.collect::<Vec<_>>().into())
            }
            ("GET", ["vnets"]) => {
                let all = if params.flag("running") { &network.applied } else { &plan };
                Ok(all.values().cloned().collect::<Vec<_>>().into())
            }
            ("POST", ["vnets"]) => {
                let (vnet, zone) =
                    (params.text("vnet").unwrap_or_default(), params.text("zone").unwrap_or_default());
                if vnet.len() > 8 || !vnet.starts_with(|first: char| first.is_ascii_lowercase()) {
                    return Err(Refusal::parameter(
                        "vnet",
                        format!("invalid format - vnet ID '{vnet}' contains illegal characters\n"),
                    ));
                }
                if zone != "simple1" {
                    return fail(format!("create sdn vnet object failed: zone {zone} does not exist"));
                }
                if plan.contains_key(&vnet) {
                    return fail(format!(
                        "create sdn vnet object failed: sdn vnet object ID '{vnet}' already defined"
                    ));
                }
                let alias = params.text("alias").unwrap_or_default();
                plan.insert(
                    vnet.clone(),
                    json!({"vnet": vnet, "zone": zone, "alias": alias, "type": "vnet", "subnets": {}}),
                );
                network.planned = Some(plan);
                Ok(Value::Null)
            }
            (_, ["vnets", vnet, rest @ ..]) => {
                let Some(entry) = plan.get_mut(*vnet) else {
                    return fail(format!("sdn '{vnet}' does not exist"));
                };
                match (method, rest) {
                    ("DELETE", []) if entry["subnets"].as_object().is_some_and(|all| !all.is_empty()) => {
                        return fail("delete sdn vnet object failed: vnet has subnets");
                    }
                    ("DELETE", []) => drop(plan.remove(*vnet)),
                    ("GET", ["subnets"]) => {
                        let all = entry["subnets"].as_object().cloned().unwrap_or_default();
                        return Ok(all.into_iter().map(|(_, subnet)| subnet).collect::<Vec<_>>().into());
                    }
                    ("POST", ["subnets"]) => {
                        let subnet = params.text("subnet").unwrap_or_default();
                        let zone = entry["zone"].as_str().unwrap_or_default();
                        let id = format!("{zone}-{}", subnet.replace('/', "-"));
                        entry["subnets"][&id] = json!({"subnet": id, "cidr": subnet, "vnet": vnet});
                    }
                    ("DELETE", ["subnets", id]) => {
                        if let Some(all) = entry["subnets"].as_object_mut() {
                            all.remove(*id);
                        }
                    }
                    _ => return Err(crate::no_method(method, &format!("/cluster/sdn/vnets/{vnet}"))),
                }
                network.planned = Some(plan);
                Ok(Value::Null)
            }
            ("PUT", []) => {
                drop(world);
                let node = self.world().nodes.keys().next().cloned().unwrap_or_default();
                self.spawn(&node, "reloadnetworkall", "", &caller.user, move |shared, _| async move {
                    shared.clock.sleep(shared.times().quick).await;
                    let mut world = shared.world();
                    if let Some(plan) = world.vnets.planned.take() {
                        world.vnets.applied = plan;
                    }
                    Done::ok(Vec::new())
                })
            }
            _ => Err(crate::no_method(method, &format!("/cluster/sdn/{}", rest.join("/")))),
        }
    }
}
