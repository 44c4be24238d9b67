//! The cluster, its nodes and pools.

use serde_json::{Value, json};

use crate::Shared;
use crate::params::Params;
use crate::power::status_of;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::listed;
use crate::world::{Kind, World};

/// How old the cluster's view of states and names can be.
const LAG: f64 = 10.0;
const MEMORY: u64 = 64 << 30;

impl Shared {
    pub(crate) fn cluster(&self, rest: &[&str], method: &str, params: &Params) -> Answer {
        let now = self.clock.now();
        let mut world = self.world();
        match (method, rest) {
            ("GET", ["resources"]) => {
                world.refresh_gossip(now, LAG);
                Ok(resources(&world, params.text("type").as_deref()))
            }
            ("GET", ["nextid"]) => match params.number("vmid") {
                Some(vmid) if world.guests.contains_key(&vmid) => {
                    Err(Refusal::parameter("vmid", format!("VM {vmid} already exists")))
                }
                Some(vmid) => Ok(vmid.to_string().into()),
                None => {
                    let free = (100_u64..).find(|vmid| !world.guests.contains_key(vmid));
                    Ok(free.unwrap_or_default().to_string().into())
                }
            },
            ("GET", ["status"]) => {
                let mut members: Vec<Value> = Vec::new();
                if world.nodes.len() > 1 {
                    members.push(json!({"type": "cluster", "name": "lab", "id": "cluster", "version": 3,
                        "nodes": world.nodes.len(), "quorate": u8::from(world.quorate)}));
                }
                for (index, (node, up)) in world.nodes.iter().enumerate() {
                    members.push(json!({"type": "node", "name": node, "id": format!("node/{node}"),
                        "ip": format!("192.0.2.{}", index + 2), "nodeid": index, "online": u8::from(*up),
                        "level": "", "local": u8::from(index == 0)}));
                }
                Ok(members.into())
            }
            ("GET", ["tasks"]) => {
                let mut tasks: Vec<_> = world.tasks.values().collect();
                tasks.sort_by_key(|task| std::cmp::Reverse(task.order));
                Ok(tasks.into_iter().take(25).map(listed).collect::<Vec<_>>().into())
            }
            ("GET", ["options"]) => {
                Ok(json!({"allowed-tags": [], "description": "", "mac_prefix": "BC:24:11"}))
            }
            _ => Err(crate::no_method(method, &format!("/cluster/{}", rest.join("/")))),
        }
    }

    pub(crate) fn nodes(&self) -> Answer {
        let world = self.world();
        let nodes = world.nodes.iter().map(|(node, up)| {
            let mut entry = json!({"node": node, "type": "node", "id": format!("node/{node}"), "level": "",
                "status": if *up { "online" } else { "offline" }});
            if *up {
                let used: u64 = world
                    .guests
                    .values()
                    .filter(|guest| guest.running && guest.node == *node)
                    .map(crate::world::Guest::max_memory)
                    .sum();
                entry["maxmem"] = MEMORY.into();
                entry["mem"] = used.min(MEMORY).into();
                entry["maxcpu"] = 16.into();
                entry["cpu"] = 0.05.into();
            }
            entry
        });
        Ok(nodes.collect::<Vec<_>>().into())
    }

    pub(crate) fn node_guests(&self, kind: Kind, node: &str) -> Answer {
        let now = self.clock.now();
        let world = self.world();
        let guests = world.guests.values().filter(|guest| guest.kind == kind && guest.node == node);
        Ok(guests.map(|guest| status_of(guest, now, false)).collect::<Vec<_>>().into())
    }

    pub(crate) fn pools(&self, method: &str, params: &Params) -> Answer {
        let mut world = self.world();
        let id = params.text("poolid").unwrap_or_default();
        let members: Vec<u64> = world
            .guests
            .values()
            .filter(|guest| guest.pool.as_deref() == Some(&id))
            .map(|guest| guest.vmid)
            .collect();
        match method {
            "POST" if world.pools.contains_key(&id) => {
                fail(format!("create pool failed: pool '{id}' already exists"))
            }
            "POST" => {
                world.pools.insert(id, params.text("comment").unwrap_or_default());
                Ok(Value::Null)
            }
            "PUT" => {
                for vmid in
                    params.all("vms").iter().flat_map(|list| list.split(',')).filter_map(|id| id.parse().ok())
                {
                    let pool = (!params.flag("delete")).then(|| id.clone());
                    if let Some(guest) = world.guests.get_mut(&vmid) {
                        guest.pool = pool;
                    }
                }
                Ok(Value::Null)
            }
            "DELETE" => match (world.pools.contains_key(&id), members.first()) {
                (false, _) => fail(format!("delete pool failed: pool '{id}' does not exist")),
                (true, Some(vmid)) => {
                    fail(format!("delete pool failed: pool '{id}' is not empty (contains VM {vmid})"))
                }
                (true, None) => {
                    world.pools.remove(&id);
                    Ok(Value::Null)
                }
            },
            _ => {
                let comment = world.pools.get(&id).cloned().unwrap_or_default();
                Ok(json!([{"poolid": id, "comment": comment, "members": members}]))
            }
        }
    }
}

fn resources(world: &World, kind: Option<&str>) -> Value {
    let mut all = Vec::new();
    let wants = |word: &str| kind.is_none_or(|kind| kind == word);
    for guest in world.guests.values().filter(|_| wants("vm")) {
        let word = guest.kind.word();
        let mut entry = json!({"id": format!("{word}/{}", guest.vmid), "type": word, "vmid": guest.vmid, "node": guest.node});
        // Membership, tags and locks are exact; the rest is gossip.
        if let Some(tags) = guest.text("tags") {
            entry["tags"] = tags.into();
        }
        if let Some(lock) = guest.lock() {
            entry["lock"] = lock.into();
        }
        if let Some(pool) = &guest.pool {
            entry["pool"] = pool.clone().into();
        }
        let up = world.nodes.get(&guest.node).copied().unwrap_or(false);
        match world.gossip.get(&guest.vmid).filter(|gossip| gossip.kind == guest.kind && up) {
            Some(gossip) => {
                entry["name"] = gossip.name.clone().into();
                entry["status"] = gossip.status.into();
                entry["template"] = u8::from(gossip.template).into();
                entry["maxcpu"] = guest.cpus().into();
                entry["maxmem"] = guest.max_memory().into();
                entry["maxdisk"] = guest.max_disk().into();
                for key in ["cpu", "mem", "disk", "uptime", "netin", "netout", "diskread", "diskwrite"] {
                    entry[key] = 0.into();
                }
            }
            None => entry["status"] = "unknown".into(),
        }
        all.push(entry);
    }
    for (node, up) in world.nodes.iter().filter(|_| wants("node")) {
        let mut entry = json!({"id": format!("node/{node}"), "type": "node", "node": node, "level": "",
            "status": if *up { "online" } else { "offline" }});
        if *up {
            entry["maxmem"] = MEMORY.into();
            entry["mem"] = (4_u64 << 30).into();
            entry["maxcpu"] = 16.into();
            entry["cpu"] = 0.05.into();
        }
        all.push(entry);
    }
    for node in world.nodes.keys().filter(|_| wants("storage")) {
        for (name, storage) in &world.storages {
            all.push(json!({"id": format!("storage/{node}/{name}"), "type": "storage", "storage": name,
                "node": node, "status": "available", "shared": u8::from(storage.shared), "plugintype": storage.kind,
                "content": storage.content, "maxdisk": 1_u64 << 40, "disk": 1_u64 << 36}));
        }
    }
    all.into()
}
