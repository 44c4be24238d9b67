//! What only Kubernetes has.

use std::time::Duration;

use serde_json::json;
use substrate_core::{Command, InstanceState, NetworkConfig, NetworkSpec, Substrate, SubstrateExt};

use crate::lab::{Lab, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_stuck_finalizer_is_reported_and_not_waited_for_without_end() {
    let lab = Lab::new();
    let cluster = lab.connected(lab.settings().with_deletion_timeout(Duration::from_secs(4))).await;
    let config = lab.config("held");
    cluster.create_instance(&config).await.unwrap();
    let path = format!("statefulsets/{}", config.name);
    let finalizers = |list: &[&str]| Some(json!({"metadata": {"finalizers": list}}));
    lab.ask("PATCH", "/apis/apps/v1", &path, finalizers(&["example.org/backup"])).await;
    let error = cluster.delete_instance(&config.name, false).await.unwrap_err();
    assert!(error.is_timeout() && error.message().contains("example.org/backup"), "{error}");
    // What is being deleted is told so.
    assert_eq!(cluster.get_instance(&config.name).await.unwrap().state, InstanceState::Stopping);
    lab.ask("PATCH", "/apis/apps/v1", &path, finalizers(&[])).await;
    until("it has gone", async || cluster.get_instance(&config.name).await.is_err()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn what_cannot_run_says_why() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let missing = lab.config("imageless").with_image("sk-no-such-image:1");
    cluster.create_instance(&missing).await.unwrap();
    let error = cluster.start_instance(&missing.name).await.unwrap_err();
    assert!(error.is_not_found() && error.message().contains("ErrImageNeverPull"), "{error}");
    let instance = cluster.get_instance(&missing.name).await.unwrap();
    assert_eq!(instance.state, InstanceState::Failed, "{}", instance.provider_state);

    let crashing = lab.config("crashing").with_command(["sh", "-c", "exit 3"]);
    cluster.create_instance(&crashing.clone()).await.unwrap();
    let _ = cluster.start_instance(&crashing.name).await;
    until("it is in its loop", async || {
        let instance = cluster.get_instance(&crashing.name).await.unwrap();
        instance.state == InstanceState::Failed && instance.provider_state.contains("exit code 3")
    })
    .await;

    // A start that gives up can only say what the cluster has said by then.
    let impatient = lab.connected(lab.settings().with_start_timeout(Duration::from_millis(100))).await;
    let large = lab.config("large").with_option("cpu_request", 4000.0);
    cluster.create_instance(&large).await.unwrap();
    assert!(impatient.start_instance(&large.name).await.is_err());
    until("the scheduler has tried", async || {
        cluster.get_instance(&large.name).await.unwrap().state == InstanceState::Failed
    })
    .await;
    let error = impatient.start_instance(&large.name).await.unwrap_err();
    assert!(error.is_exhausted() && error.message().contains("Insufficient cpu"), "{error}");
    cluster.stop_instance(&large.name, substrate_core::StopMode::Force).await.unwrap();
    assert_eq!(cluster.get_instance(&large.name).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_secret_reaches_the_instance_and_stands_in_no_workload() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let secret = lab.named("secret");
    let body = json!({"metadata": {"name": secret}, "stringData": {"password": "hunter2"}});
    lab.ask("POST", "/api/v1", "secrets", Some(body)).await;
    let reference = json!({"PASSWORD": {"secret": secret, "key": "password"}});
    let config = lab.config("safe").with_option("secret_environment", reference);
    cluster.create_and_start(&config).await.unwrap();
    let print = Command::new(["sh", "-c", "echo $PASSWORD"]);
    let output = cluster.execute_command(&config.name, &print).await.unwrap();
    let workload = lab.ask("GET", "/apis/apps/v1", &format!("statefulsets/{}", config.name), None).await;
    let instance = cluster.get_instance(&config.name).await.unwrap();
    lab.ask("DELETE", "/api/v1", &format!("secrets/{secret}"), None).await;
    assert_eq!(output.stdout_text(), "hunter2\n");
    assert!(!workload.to_string().contains("hunter2") && !format!("{instance:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn the_log_before_a_restart_is_read_too() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let script = "test -e /state/once && { echo second; trap 'exit 0' TERM; while :; do sleep 0.1; done; }; \
                  echo first; touch /state/once; sleep 1";
    let config =
        lab.config("again").with_command(["sh", "-c", script]).with_option("empty_dirs", json!(["/state"]));
    cluster.create_and_start(&config).await.unwrap();
    until("it has written in both runs", async || {
        let lines = cluster.tail_logs(&config.name, 10).await.unwrap();
        lines.iter().map(|line| line.message.as_str()).eq(["first", "second"])
    })
    .await;
    let tail = cluster.tail_logs(&config.name, 1).await.unwrap();
    assert_eq!(tail[0].message, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn an_attached_instance_is_behind_its_service() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let mut spec = NetworkSpec::new(lab.named("front").as_str().parse().unwrap());
    spec.options.insert("ports".to_owned(), json!([{"port": 80, "target_port": 8080}]));
    let network = cluster.create_network(&spec).await.unwrap();
    assert_eq!(network.driver, "ClusterIP");
    let name = lab.running(&cluster, "member").await;
    let before = cluster.get_instance(&name).await.unwrap();
    let address = before.addresses[0].to_string();
    let endpoints =
        async || lab.ask("GET", "/api/v1", &format!("endpoints/{}", spec.name), None).await.to_string();
    assert!(!endpoints().await.contains(&address));
    cluster.attach_network(&name, &NetworkConfig::new(spec.name.clone())).await.unwrap();
    until("the service knows it", async || endpoints().await.contains(&address)).await;
    assert_eq!(
        cluster.get_instance(&name).await.unwrap().started_at,
        before.started_at,
        "it was not restarted"
    );
    cluster.detach_network(&name, &spec.name).await.unwrap();
    until("the service knows it no more", async || !endpoints().await.contains(&address)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn a_networks_policy_is_made_with_it_and_goes_with_it() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let mut spec = NetworkSpec::new(lab.named("walled").as_str().parse().unwrap());
    let member = format!("network.substrate/{}", spec.name);
    let policy = json!({"policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {&member: ""}}}]}]});
    spec.options.insert("network_policy".to_owned(), policy);
    cluster.create_network(&spec).await.unwrap();
    let policies = async || {
        let all = lab.ask("GET", "/apis/networking.k8s.io/v1", "networkpolicies", None).await;
        let items = all["items"].as_array().unwrap().clone();
        items.into_iter().filter(|one| one["metadata"]["name"] == spec.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(policies().await[0]["spec"]["podSelector"], json!({"matchLabels": {&member: ""}}));
    cluster.delete_network(&spec.name).await.unwrap();
    assert!(policies().await.is_empty());
    // One that the server refuses leaves no network without it.
    spec.options.insert("network_policy".to_owned(), json!({"policyTypes": ["Sideways"]}));
    assert!(cluster.create_network(&spec).await.unwrap_err().is_invalid_input());
    let networks = cluster.list_networks().await.unwrap();
    assert!(!networks.iter().any(|network| network.name == spec.name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn what_another_tool_has_made_is_not_taken_over() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let config = lab.config("claimed");
    let labels = json!({"app": config.name});
    let foreign = json!({
        "metadata": {"name": config.name},
        "spec": {"replicas": 0, "serviceName": config.name, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "another:1"}]}}},
    });
    let made = lab.ask("POST", "/apis/apps/v1", "statefulsets", Some(foreign)).await;
    let error = cluster.create_instance(&config).await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    let path = format!("statefulsets/{}", config.name);
    let now = lab.ask("GET", "/apis/apps/v1", &path, None).await;
    assert_eq!(now["spec"], made["spec"]);
    assert_eq!(now["metadata"]["labels"], made["metadata"]["labels"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn what_others_scale_is_not_switched() {
    let lab = Lab::new();
    let cluster = lab.cluster().await;
    let config = lab.config("several");
    cluster.create_instance(&config).await.unwrap();
    let path = format!("statefulsets/{}", config.name);
    lab.ask("PATCH", "/apis/apps/v1", &path, Some(json!({"spec": {"replicas": 2}}))).await;
    let error = cluster.stop_instance(&config.name, substrate_core::StopMode::Force).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("2 replicas"), "{error}");
    cluster.delete_instance(&config.name, true).await.unwrap();
}
