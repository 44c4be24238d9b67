//! What a call takes on Kubernetes beside the bare client's, on the cluster whose kubeconfig `SUBSTRATES_LAB_K8S` names.
//!
//! A workload is a StatefulSet and what runs of it is a pod: the bare client asks for both too, and for a list in pages of
//! the same size.

use std::process::ExitCode;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::de::DeserializeOwned;
use substrates::config::Section;
use substrates::{InstanceName, Substrate};
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises, SERVE, say};
use tokio::io::AsyncReadExt;

const WORKLOADS: usize = 500;
const PAGE: u32 = 100;

struct Bare {
    sets: Api<StatefulSet>,
    pods: Api<Pod>,
}

fn main() -> Result<ExitCode, Failure> {
    let Ok(kubeconfig) = std::env::var("SUBSTRATES_LAB_K8S") else {
        say("SUBSTRATES_LAB_K8S is not set: nothing is measured (cargo xtask lab up k8s)");
        return Ok(ExitCode::SUCCESS);
    };
    let namespace = std::env::var("SUBSTRATES_LAB_K8S_NAMESPACE")?;
    let image = std::env::var("SUBSTRATES_LAB_K8S_IMAGE")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();

    let section = Section::from_value(serde_json::json!({
        "kubeconfig": kubeconfig, "namespace": namespace, "page_size": PAGE, "image_pull_policy": "never",
    }));
    let cluster: Arc<dyn Substrate> = substrates::registry().create("k8s", "k8s", &section)?;
    runtime.block_on(cluster.connect())?;
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let client = runtime.block_on(kube::Config::from_custom_kubeconfig(kubeconfig, &options))?;
    let client = kube::Client::try_from(client)?;
    let bare =
        Bare { sets: Api::namespaced(client.clone(), &namespace), pods: Api::namespaced(client, &namespace) };
    let mut promises = Promises::default();
    among(
        &runtime,
        &*cluster,
        WORKLOADS,
        |config| config.with_image(&image).with_command(SERVE),
        |running, _| {
            let comparison = Comparison { runtime: &runtime, ours: &*cluster, promises: &mut promises };
            calls(comparison, &bare, running)
        },
    )?;
    Ok(promises.conclude())
}

fn calls(mut comparison: Comparison<'_>, bare: &Bare, running: &InstanceName) -> Result<(), Failure> {
    let row = |what, at_most| Row { what, beside: "the bare client `kube`", at_most };
    let list = format!("list of {WORKLOADS} workloads of Kubernetes, {PAGE} a page");
    comparison.list(row(&list, Some(1.2)), WORKLOADS, || async {
        tokio::try_join!(pages(&bare.sets), pages(&bare.pods))
    })?;
    comparison.one(row("one workload of Kubernetes", None), running, || async {
        let set = bare.sets.get(running.as_str()).await?;
        // Its pods are found by what it selects.
        let labels = set.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
        let selector: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        bare.pods.list(&ListParams::default().labels(&selector.join(","))).await
    })?;
    let command = row("command `true` on Kubernetes", None);
    comparison.command(command, running, || bare_command(&bare.pods, running))
}

/// How many objects all pages of a list have.
async fn pages<K: Clone + DeserializeOwned + std::fmt::Debug>(api: &Api<K>) -> kube::Result<usize> {
    let mut parameters = ListParams::default().limit(PAGE);
    let mut count = 0;
    loop {
        let page = api.list(&parameters).await?;
        count += page.items.len();
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(count),
        }
    }
}

/// In a pod that is known already; its output and its end are waited for.
async fn bare_command(pods: &Api<Pod>, running: &InstanceName) -> Result<(), Failure> {
    let parameters = AttachParams::default().stdin(false).stdout(true).stderr(true);
    let mut process = pods.exec(&format!("{running}-0"), ["true"], &parameters).await?;
    let status = process.take_status().ok_or("a command has a status")?;
    let mut stdout = process.stdout().ok_or("the output was asked for")?;
    let mut stderr = process.stderr().ok_or("the errors were asked for")?;
    let (mut written, mut complained) = (Vec::new(), Vec::new());
    tokio::try_join!(stdout.read_to_end(&mut written), stderr.read_to_end(&mut complained))?;
    let status = status.await.and_then(|status| status.status);
    process.join().await?;
    if status.as_deref() == Some("Success") {
        Ok(())
    } else {
        Err(format!("it ended with {status:?}").into())
    }
}
