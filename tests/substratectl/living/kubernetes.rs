//! Kubernetes: workloads of a namespace.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Deployment, Stage, Technology, ends_as_it_shall_be_however_often_it_is_killed, lines, output};

struct Kubernetes;

fn variable(name: &str) -> String {
    super::variable(&format!("SUBSTRATES_LAB_K8S{name}"))
}

impl Kubernetes {
    /// The server's own answer, by way of no Kubernetes client: a path below the namespace.
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let kubeconfig: Value = serde_json::from_slice(&std::fs::read(variable("")).unwrap()).unwrap();
        let word = |pointer: &str| kubeconfig.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let (group, path) = path.split_once(' ').unwrap();
        let address = format!(
            "{}{group}/namespaces/{}/{path}",
            word("/clusters/0/cluster/server"),
            variable("_NAMESPACE")
        );
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", "--max-time", "30", "--request", method])
            .args(["--cacert", &word("/clusters/0/cluster/certificate-authority")])
            .args(["--cert", &word("/users/0/user/client-certificate")])
            .args(["--key", &word("/users/0/user/client-key")]);
        if let Some(body) = body {
            let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            curl.args(["--header", &format!("Content-Type: {content}"), "--data", &body.to_string()]);
        }
        serde_json::from_str(&output(curl.arg(address))).unwrap()
    }

    /// Those of a sort whose name begins so.
    fn all(&self, path: &str, prefix: &str) -> Vec<Value> {
        let list = self.ask("GET", path, None);
        let named = |item: &&Value| name(item).starts_with(prefix);
        list["items"].as_array().unwrap().iter().filter(named).cloned().collect()
    }
}

fn name(item: &Value) -> &str {
    item["metadata"]["name"].as_str().unwrap()
}

const SETS: &str = "/apis/apps/v1 statefulsets";

impl Technology for Kubernetes {
    fn section(&self) -> String {
        format!(
            "k8s:
  kubeconfig: '{}'
  namespace: {}
  image_pull_policy: never
  reserve_limits: false
",
            variable(""),
            variable("_NAMESPACE")
        )
    }

    fn seen(&self, prefix: &str) -> BTreeSet<String> {
        // Pods that nobody owns any more show as well: they are no set's.
        let pods = self.all("/api/v1 pods", prefix);
        let sets = self.all(SETS, prefix);
        let pods_of = |set: &Value| {
            let uid = set["metadata"]["uid"].clone();
            pods.iter().filter(move |pod| pod["metadata"]["ownerReferences"][0]["uid"] == uid)
        };
        let states = sets.iter().map(|set| {
            let ready =
                pods_of(set).filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true).count();
            let state = match (set["spec"]["replicas"].as_u64(), pods_of(set).count(), ready) {
                (Some(1), 1, 1) => "running".to_owned(),
                (Some(0), 0, 0) => "stopped".to_owned(),
                (replicas, pods, ready) => format!("of {replicas:?} has {pods} pods, {ready} ready"),
            };
            format!("{} {state}", name(set))
        });
        let owned = |pod: &&Value| !sets.iter().any(|set| pods_of(set).any(|one| one == *pod));
        let strays = pods.iter().filter(owned).map(|pod| format!("stray pod {}", name(pod)));
        let claims = self.all("/api/v1 persistentvolumeclaims", prefix);
        let services = self.all("/api/v1 services", prefix);
        states
            .chain(strays)
            .chain(claims.iter().map(|claim| format!("volume {}", name(claim))))
            .chain(services.iter().map(|service| format!("network {}", name(service))))
            .collect()
    }
}

/// Some of it differs from stage to stage.
fn stage(number: usize) -> Stage {
    // Ends at once when it is asked to.
    const SERVE: &str = r#"[sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']"#;
    let memory = if number.is_multiple_of(2) { 64 } else { 96 };
    let mut resources = format!(
        "
  - {{type: network, name: NAME-front, provider: k8s}}
  - {{type: storage, name: NAME-data, provider: k8s, specs: {{size: 16MiB}}}}
  - {{type: compute, name: NAME-db, provider: k8s, specs: {{image: IMAGE, command: SERVE, memory: {memory}MiB, networks: [NAME-front], volumes: ['NAME-data:/data']}}}}
"
    );
    let mut wanted = lines(["NAME-db running", "network NAME-front", "volume NAME-data"]);
    if !number.is_multiple_of(3) {
        resources += &format!(
            "
  - {{type: compute, name: NAME-web, count: 2, provider: k8s, dependencies: [NAME-db], specs: {{image: IMAGE, command: SERVE, labels: {{stage: '{number}'}}}}}}
"
        );
        wanted.extend(lines(["NAME-web-0 running", "NAME-web-1 running"]));
    }
    let resources = resources.replace("SERVE", SERVE).replace("IMAGE", &variable("_IMAGE"));
    Stage { resources, wanted }
}

#[test]
#[ignore = "live: k8s"]
fn workloads_are_deployed_once_mended_rolled_back_and_destroyed() {
    let shop = Deployment::new("k8s", &[&Kubernetes]);
    let Stage { resources, wanted } = stage(1);
    let first = shop.write("first.yaml", &resources);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);
    // The server fills in a hundred defaults; that is no difference.
    assert_eq!(shop.plan(&first), [""; 0]);

    let now = json!({"propagationPolicy": "Background", "apiVersion": "v1", "kind": "DeleteOptions"});
    Kubernetes.ask("DELETE", &format!("{SETS}/{}-web-0", shop.name), Some(now));
    let none = json!({"spec": {"replicas": 0}});
    Kubernetes.ask("PATCH", &format!("{SETS}/{}-web-1", shop.name), Some(none));
    // A pod ends in its own time.
    let late = Instant::now() + Duration::from_secs(60);
    while !Kubernetes.all("/api/v1 pods", &format!("{}-web", shop.name)).is_empty() {
        assert!(Instant::now() < late, "the pods stay: {:?}", shop.seen());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(shop.plan(&first), ["create NAME/NAME-web[0]", "update NAME/NAME-web[1]"]);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);

    let second = shop.write("second.yaml", &stage(3).resources);
    shop.deploy(&second);
    assert_eq!(shop.seen(), stage(3).wanted);
    shop.does(&["rollback", &second, "--yes"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    shop.does(&["destroy", &first, "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}

#[test]
#[ignore = "live: k8s"]
fn killed_at_any_moment_workloads_end_as_they_shall_be_when_it_is_run_again() {
    ends_as_it_shall_be_however_often_it_is_killed("k8s-kill", &Kubernetes, 10, stage);
}
