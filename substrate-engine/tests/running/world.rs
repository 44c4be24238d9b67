//! What can be seen of a fake from outside: for comparing two moments.

use std::collections::{BTreeMap, BTreeSet};

use substrate_core::{InstanceFilter, Labels, Substrate, mark};
use substrate_fake::Fake;

/// Everything that somebody could notice, without what is new at each creation: ids, keys, times, addresses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Visible {
    instances: BTreeMap<String, String>,
    networks: BTreeMap<String, String>,
    volumes: BTreeMap<String, String>,
}

impl Visible {
    pub(crate) async fn of(fake: &Fake) -> Self {
        let mut instances = BTreeMap::new();
        for one in fake.list_instances(&InstanceFilter::all()).await.unwrap() {
            let one = fake.get_instance(&one.name).await.unwrap();
            let networks: BTreeSet<String> =
                one.networks.iter().map(|one| one.network_name.to_string()).collect();
            let seen = format!(
                "{:?} {:?} {:?} {:?} {networks:?}",
                one.state,
                one.image,
                one.limits,
                without_key(&one.labels)
            );
            instances.insert(one.name.to_string(), seen);
        }
        let networks = fake.list_networks().await.unwrap().into_iter();
        let volumes = fake.list_volumes().await.unwrap().into_iter();
        Self {
            instances,
            networks: networks
                .map(|one| (one.name.to_string(), format!("{:?} {:?}", one.driver, without_key(&one.labels))))
                .collect(),
            volumes: volumes
                .map(|one| {
                    (one.name.to_string(), format!("{:?} {:?}", one.size_bytes, without_key(&one.labels)))
                })
                .collect(),
        }
    }
}

/// The deployment's identity is new in each journal; the key in each creation.
fn without_key(labels: &Labels) -> BTreeMap<String, String> {
    let kept = labels.iter().filter(|(key, _)| *key != mark::KEY && *key != mark::DEPLOYMENT);
    kept.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
