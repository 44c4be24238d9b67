//! What a list costs beside the bare client.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde::de::DeserializeOwned;
use substrate_core::{InstanceConfig, InstanceFilter, Substrate};

use crate::lab::{Lab, variable};

const COUNT: usize = 500;
const PAGE: u32 = 100;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// All pages of a list, as the bare client gives them.
async fn bare<K>(api: &Api<K>) -> usize
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut parameters = ListParams::default().limit(PAGE);
    let mut count = 0;
    loop {
        let page = api.list(&parameters).await.unwrap();
        count += page.items.len();
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return count,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s, alone"]
async fn a_list_of_500_workloads_in_pages_costs_little_more_than_the_bare_clients() {
    let lab = Lab::new();
    let cluster = &lab.connected(lab.settings().with_page_size(PAGE)).await;
    let made: Vec<_> = stream::iter(0..COUNT)
        .map(|number| {
            let config = InstanceConfig::new(lab.named(&format!("i{number}")))
                .with_image(variable("_IMAGE"))
                .with_label("speed", &lab.prefix);
            async move { cluster.create_instance(&config).await }
        })
        .buffer_unordered(8)
        .collect()
        .await;
    let failed = made.into_iter().find_map(Result::err);
    let client = lab.bare().await;
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &variable("_NAMESPACE"));
    let pods: Api<Pod> = Api::namespaced(client, &variable("_NAMESPACE"));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // In turns, so that both see the same machine.
    for _ in 0..15 {
        let start = Instant::now();
        let (found, _) = tokio::join!(bare(&sets), bare(&pods));
        theirs.push(start.elapsed());
        let start = Instant::now();
        let instances = cluster.list_instances(&InstanceFilter::all()).await.unwrap();
        ours.push(start.elapsed());
        assert!(instances.len() >= found.min(COUNT));
    }
    let all = DeleteParams::background();
    sets.delete_collection(&all, &ListParams::default().labels(&format!("speed={}", lab.prefix)))
        .await
        .unwrap();
    assert!(failed.is_none(), "{failed:?}");
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("k8s: {COUNT} workloads: ours {ours:?}, the bare client {theirs:?}, ratio {ratio:.2}");
    assert!(ratio <= 1.2, "the list takes {ratio:.2} of the bare client's time");
}
