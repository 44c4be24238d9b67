//! Answers that no Proxmox VE gives: the real ones, damaged. Whatever comes, it is read or refused.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use substrate_conformance::hostile::Hostile;
use substrate_core::{Labels, ResourceLimits, Result};

use super::connection::capacity;
use super::exec::{Progress, bytes};
use super::locate::{Interfaces, Node};
use super::snapshots::{self, in_order};
use super::storage::storage_in;
use crate::client::{Upid, date, encode, read_body};
use crate::convert::guest::{Guest, GuestKind, id_of, read_id};
use crate::convert::inventory::{Content, Listed, ListedFields, Storage, Task};
use crate::convert::marks::{self, LabelMarks};
use crate::convert::network::{Bridge, may_be_derived, place_of};
use crate::convert::notes::{self, Marks};
use crate::convert::pending::is_only_ours;
use crate::convert::property::Properties;
use crate::convert::subnet::Subnet;
use crate::convert::text::Fields;
use crate::convert::{base64, limits, volume};
use crate::error;

macro_rules! answers {
    ($($shape:literal),*) => {
        Hostile::new([$(include_str!(concat!("../../tests/corpus/", $shape, ".txt"))),*].into_iter().flat_map(str::lines))
    };
}

fn data<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    Ok(read_body("ask", body)?.0)
}

fn guest(kind: GuestKind, config: Fields, status: Fields) -> Guest {
    Guest {
        vmid: 100,
        kind,
        node: "pve".to_owned(),
        config,
        status,
        started: None,
        addresses: Vec::new(),
        network_names: BTreeMap::new(),
    }
}

#[test]
fn configurations_and_states_of_guests() {
    answers!("config", "status").check(|body| {
        let fields: Fields = data(body)?;
        for kind in [GuestKind::Qemu, GuestKind::Lxc] {
            for guest in
                [guest(kind, fields.clone(), Fields::new()), guest(kind, Fields::new(), fields.clone())]
            {
                let limits = ResourceLimits {
                    cpu_cores: Some(1.5),
                    memory_mb: Some(64),
                    disk_gb: Some(1),
                    network_mbps: Some(8.0),
                };
                let _ = limits::settings(&guest, &limits);
                let _ = (guest.root_disk(), guest.identity(), guest.is_template(), guest.digest());
                if let Ok(instance) = guest.instance() {
                    let told = [instance.limits.cpu_cores, instance.limits.network_mbps];
                    assert!(told.into_iter().flatten().all(f64::is_finite), "{:?}", instance.limits);
                    // What is shown to people and programs can be written.
                    serde_json::to_string(&instance).expect("an instance as JSON");
                }
            }
        }
        Ok::<_, substrate_core::Error>(())
    });
}

#[test]
fn lists_of_the_cluster_and_of_nodes() {
    answers!("resources", "nodes", "status").check(|body| {
        for entry in &data::<Vec<ListedFields>>(body)? {
            let _ = (Listed::of_cluster(entry), Listed::of_node(entry, GuestKind::Lxc, "pve"));
        }
        capacity(&data::<Vec<Fields>>(body)?);
        data::<Vec<Node>>(body)
    });
}

#[test]
fn storages_and_their_content() {
    answers!("content", "nodes").check(|body| {
        if let Ok(contents) = data::<Vec<Content>>(body) {
            for content in contents {
                let _ = (content.owner(), storage_in(&content.volid), volume::read(&content.volid, 999));
            }
        }
        let storages: Vec<Storage> = data(body)?;
        Ok::<_, substrate_core::Error>(storages.iter().filter(|one| one.is_usable_for("images")).count())
    });
}

#[test]
fn tasks_and_their_ids() {
    answers!("tasks", "task", "log").check(|body| {
        let tasks: Vec<Task> = data(body)?;
        for task in tasks {
            let upid = Upid::parse("ask", &Value::String(task.upid))?;
            let _ = (upid.node(), upid.started_ticks(), crate::convert::guest::time(task.starttime));
        }
        Ok::<_, substrate_core::Error>(())
    });
    Hostile::new(["UPID:pve:00003EDB:0007EC0B:6B00E371:qmshutdown:120:root@pam:"]).check_text(|text| {
        let upid = Upid::parse("ask", &Value::String(text.to_owned()))?;
        assert_eq!(upid.as_str(), text);
        assert!(text.contains(upid.node()));
        Ok::<_, substrate_core::Error>(upid.started_ticks())
    });
}

#[test]
fn snapshots_and_whose_child_they_are() {
    answers!("snapshots").check(|body| {
        let listed: Vec<snapshots::Listed> = data(body)?;
        let count = listed.len();
        assert_eq!(in_order(listed).len(), count);
        Ok::<_, substrate_core::Error>(())
    });
}

#[test]
fn networks_of_a_node() {
    answers!("network").check(|body| {
        let bridges: Vec<Bridge> = data(body)?;
        for bridge in &bridges {
            let _ = (bridge.network(), bridge.prefix_length([10, 0, 0, 1].into()), bridge.is_active());
        }
        Ok::<_, substrate_core::Error>(())
    });
}

#[test]
fn answers_of_the_agent() {
    answers!("interfaces", "execution").check(|body| {
        if let Ok(interfaces) = data::<Interfaces>(body) {
            interfaces.addresses(&["bc:24:11:ea:5b:c9".to_owned()]);
        }
        data::<Progress>(body)
    });
    Hostile::texts().check_text(|text| {
        assert!(bytes(text).len() <= text.len());
        Ok::<_, String>(())
    });
}

#[test]
fn refusals() {
    answers!("refusal").check(|body| {
        let words = error::words("Parameter verification failed.", body);
        let _ = error::from_task("start the guest", &words, &[words.clone(), words.clone()]);
        for status in [400, 401, 500, 595, 700] {
            let refusal = error::from_status("start the guest", status, &words);
            if status == 700 {
                return Err::<(), _>(refusal);
            }
        }
        Ok(())
    });
}

#[test]
fn dates_and_ids() {
    Hostile::new(["Sat, 21 Nov 2026 00:18:37 GMT"]).check_text(|text| date::parse(text).ok_or("no date"));
    Hostile::new(["100.0123456789abcdef", "100"]).check_text(|text| {
        let (vmid, nonce) = read_id(text).ok_or("no id")?;
        let marks = nonce.map(|nonce| Marks { nonce: nonce.to_owned(), ..Marks::default() });
        assert_eq!(id_of(vmid, marks.as_ref()), text);
        Ok::<_, &str>(())
    });
}

#[test]
fn property_strings_come_back_as_they_were() {
    let corpus = [
        "virtio=BC:24:11:EA:5B:C9,bridge=vmbr0,tag=5,rate=12.5",
        "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:B6:11:65,ip=10.0.0.2/24,type=veth",
        "local:300/vm-300-disk-0.raw,size=102M",
    ];
    Hostile::new(corpus).check_text(|text| {
        let properties = Properties::parse(text);
        let written = properties.to_string();
        assert_eq!(Properties::parse(&written), properties);
        let parts = |text: &str| text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let (before, after): (Vec<String>, Vec<String>) = (parts(text), parts(&written));
        assert_eq!(before, after);
        let _ = (place_of(&properties), properties.get("size").and_then(limits::size_in_bytes));
        Ok::<_, String>(())
    });
}

#[test]
fn subnets_come_back_as_they_were() {
    Hostile::new(["10.1.0.0/24", "fd00::/64", "0.0.0.0/0", "255.255.255.255/32"]).check_text(|text| {
        let subnet = Subnet::new(text)?;
        assert_eq!(Subnet::new(&subnet.to_string())?, subnet);
        assert!(subnet.overlaps(subnet));
        if let Some(first) = subnet.first_address() {
            assert!(subnet.contains(first));
        }
        Ok::<_, substrate_core::Error>(())
    });
}

#[test]
fn planned_changes_of_a_network() {
    let difference = "--- /etc/network/interfaces\n+++ /etc/network/interfaces.new\n@@ -9,3 +9,8 @@\n iface vmbr0 inet static\n+auto sb1a2b3c4d\n+iface sb1a2b3c4d inet manual\n+\tbridge-ports none\n";
    Hostile::new([difference]).check_text(|text| {
        if is_only_ours(text, "vmbr8") {
            let foreign = text.lines().any(|line| {
                let mut words = line.strip_prefix(['+', '-']).unwrap_or_default().split_whitespace();
                words.next() == Some("iface")
                    && words.next().is_some_and(|name| name != "vmbr8" && !may_be_derived(name))
            });
            assert!(!foreign, "a change of somebody else's is taken for ours");
        }
        Ok::<_, String>(())
    });
}

#[test]
fn labels_come_back_as_they_were_from_each_place_that_holds_them() {
    Hostile::texts().memory_factor(2_000).check_text(|word| {
        let labels: Labels = [(word, word), ("key", word)].into_iter().collect();
        let own = word.trim_end_matches([' ', '\n']);
        let ours = Marks { vmid: 1, nonce: word.to_owned(), labels: labels.clone(), ..Marks::default() };
        if let Ok(description) = notes::write(own, &ours) {
            assert_eq!(notes::read(&description), (own, Some(ours)));
        }
        let ours = LabelMarks { labels: labels.clone() };
        if let Ok(comment) = marks::write(own, &ours, 8_192) {
            assert_eq!(marks::read(&comment), (own, Some(ours)));
        }
        if let Ok(disk) = volume::disk_name(999, "data", &labels, "qcow2", "dir", true) {
            assert_eq!(volume::read(&format!("local:999/{disk}"), 999), Some(("data".to_owned(), labels)));
        }
        assert_eq!(base64::decode(&base64::encode(word.as_bytes())).as_deref(), Some(word.as_bytes()));
        assert!(encode(word).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._%".contains(&byte)));
        Ok::<_, String>(())
    });
}

#[test]
fn notes_that_somebody_changed() {
    let marks = Marks { vmid: 100, nonce: "0123".to_owned(), created: Some(1), ..Marks::default() };
    let notes = notes::write("mine\n", &marks).unwrap();
    let comment = marks::write("mine", &LabelMarks::default(), 1_000).unwrap();
    Hostile::new([notes, comment]).check_text(|text| {
        let (own, _) = notes::read(text);
        assert!(text.starts_with(own));
        let (own, _) = marks::read::<LabelMarks>(text);
        assert!(text.starts_with(own));
        Ok::<_, String>(())
    });
}

#[test]
fn many_snapshots_that_are_each_others_parents_are_in_some_order_soon() {
    let list = |count: usize| -> Vec<snapshots::Listed> {
        let one = |number: usize| {
            let parent = format!("s{}", (number + 1) % count);
            serde_json::json!({"name": format!("s{number}"), "parent": parent, "snaptime": 1})
        };
        serde_json::from_value((0..count).map(one).collect()).unwrap()
    };
    // A step for each ancestor of each would be a hundred million.
    assert_eq!(in_order(list(10_000)).len(), 10_000);
}

#[test]
fn bounds_that_are_no_numbers_are_left_out() {
    let config = serde_json::json!({
        "hostname": "web", "cores": "inf", "cpulimit": "NaN", "net0": "virtio=BC:24:11:EA:5B:C9,bridge=vmbr0,rate=inf"
    });
    let limits = guest(GuestKind::Lxc, config.as_object().cloned().unwrap(), Fields::new()).instance();
    let limits = limits.map(|instance| instance.limits);
    assert!(limits.is_ok_and(|limits| limits.cpu_cores.is_none() && limits.network_mbps.is_none()));
}

#[test]
fn a_creation_behind_all_times_is_no_reason_to_panic() {
    let config = serde_json::json!({"name": "web", "meta": "ctime=18446744073709551615"});
    let guest = guest(GuestKind::Qemu, config.as_object().cloned().unwrap(), Fields::new());
    let instance = guest.instance().unwrap();
    assert!(instance.created_at.is_some() && serde_json::to_string(&instance).is_ok());
}
