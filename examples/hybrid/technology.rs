//! The technologies of the lab: how each is reached, what runs on it, and its own command-line client.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::Problem;

/// Instances by name, with whether they run.
pub(crate) type View = BTreeMap<String, bool>;

/// One technology whose server is up.
pub(crate) enum Technology {
    Docker,
    Lxd,
    Libvirt,
    Supervisor,
    Kubernetes,
}

/// A program for containers that serves until it is asked to end.
const SERVE: [&str; 3] = ["sh", "-c", r#"trap "exit 0" TERM; while :; do sleep 0.1; done"#];

/// A variable that `cargo xtask lab env` prints.
fn lab(variable: &str) -> Result<String, Problem> {
    let name = format!("SUBSTRATES_LAB_{variable}");
    std::env::var(&name).map_err(|_| format!("{name} is not set: eval \"$(cargo xtask lab env)\"").into())
}

impl Technology {
    /// Those whose servers are up, in the order in which they are built upon each other.
    pub(crate) fn that_are_up() -> Vec<Self> {
        let all = [Self::Libvirt, Self::Lxd, Self::Docker, Self::Supervisor, Self::Kubernetes];
        all.into_iter().filter(|technology| lab(&technology.provider().to_uppercase()).is_ok()).collect()
    }

    /// What the registry and blueprints call it.
    pub(crate) fn provider(&self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Lxd => "lxd",
            Self::Libvirt => "libvirt",
            Self::Supervisor => "supervisor",
            Self::Kubernetes => "k8s",
        }
    }

    /// Its section of the configuration.
    pub(crate) fn settings(&self) -> Result<Value, Problem> {
        Ok(match self {
            Self::Docker => json!({"host": lab("DOCKER")?}),
            Self::Lxd => json!({"address": lab("LXD")?}),
            Self::Libvirt => json!({
                "uri": lab("LIBVIRT")?,
                "pool": "machines",
                "image_pool": "images",
                "domain_type": "qemu",
                "images": {"busybox": {
                    "volume": lab("LIBVIRT_VOLUME")?,
                    "kernel": lab("LIBVIRT_KERNEL")?,
                    "initrd": lab("LIBVIRT_INITRD")?,
                    "kernel_arguments": lab("LIBVIRT_KERNEL_ARGUMENTS")?,
                }},
            }),
            Self::Supervisor => json!({
                "url": lab("SUPERVISOR")?,
                "include_folder": lab("SUPERVISOR_INCLUDE")?,
                "log_folder": lab("SUPERVISOR_LOGS")?,
            }),
            Self::Kubernetes => json!({
                "kubeconfig": lab("K8S")?,
                "namespace": lab("K8S_NAMESPACE")?,
                "image_pull_policy": "never",
                "reserve_limits": false,
            }),
        })
    }

    /// What shall run on it.
    pub(crate) fn specs(&self) -> Result<Value, Problem> {
        Ok(match self {
            Self::Docker => json!({"image": lab("DOCKER_IMAGE")?, "command": SERVE, "memory": "64MiB"}),
            Self::Lxd => json!({"image": lab("LXD_IMAGE")?, "command": SERVE, "memory": "64MiB"}),
            Self::Libvirt => json!({"image": "busybox", "memory": "96MiB", "cpu": 1}),
            Self::Supervisor => json!({"command": ["/bin/sleep", "100000"]}),
            Self::Kubernetes => json!({"image": lab("K8S_IMAGE")?, "command": SERVE, "memory": "64MiB"}),
        })
    }

    /// What its own client shows of the instances whose names begin so.
    pub(crate) async fn shows(&self, prefix: &str) -> Result<View, Problem> {
        if matches!(self, Self::Kubernetes) {
            return stateful_sets(&self.client(&["GET", ""]).await?, prefix);
        }
        // Each line a name and a state, apart from each other by blanks or a comma.
        let (words, running): (&[&str], _) = match self {
            Self::Docker => (&["ps", "--all", "--format", "{{.Names}} {{.State}}"], "running"),
            Self::Lxd => (&["list", "--format", "csv", "--columns", "n,s"], "RUNNING"),
            // The first column is a number, or a dash.
            Self::Libvirt => (&["list", "--all"], "running"),
            Self::Supervisor => (&["status"], "RUNNING"),
            Self::Kubernetes => (&[], ""),
        };
        let told = self.client(words).await?;
        let instances = told.lines().filter_map(|line| {
            let columns = line.split([' ', ',']).filter(|word| !word.is_empty());
            let mut columns = columns.skip_while(|word| !word.starts_with(prefix));
            Some((columns.next()?.to_owned(), columns.next()? == running))
        });
        Ok(instances.collect())
    }

    /// What an impatient operator does at night, with the technology's own client: removes one of two instances where
    /// that leaves nothing else behind, else pulls its plug.
    pub(crate) async fn is_damaged(&self, instance: &str) -> Result<(), Problem> {
        let words = match self {
            Self::Docker => &["rm", "--force", instance][..],
            Self::Lxd => &["delete", "--force", instance],
            Self::Libvirt => &["destroy", instance],
            Self::Supervisor => &["stop", instance],
            Self::Kubernetes => &["DELETE", instance],
        };
        self.client(words).await.map(drop)
    }

    async fn client(&self, words: &[&str]) -> Result<String, Problem> {
        let mut command = match self {
            Self::Docker => of("docker", &["--host", &lab("DOCKER")?]),
            Self::Lxd => {
                let mut command = of(&lab("LXD_CLIENT")?, &[]);
                command.env("LXD_DIR", lab("LXD_FOLDER")?);
                command
            }
            Self::Libvirt => of("virsh", &["--quiet", "--connect", &lab("LIBVIRT")?]),
            Self::Supervisor => of("supervisorctl", &["--serverurl", &lab("SUPERVISOR")?]),
            Self::Kubernetes => return kubernetes(words).await,
        };
        let output = command.args(words).stdin(Stdio::null()).kill_on_drop(true).output().await?;
        // `supervisorctl status` exits with 3 when something does not run.
        let is_answer =
            output.status.success() || (matches!(self, Self::Supervisor) && output.stderr.is_empty());
        if !is_answer {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}'s client, {words:?}: {}", self.provider(), reason.trim()).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Kubernetes' answer to `[METHOD, NAME]` of stateful sets, asked by `curl`: the lab has no `kubectl`.
async fn kubernetes(words: &[&str]) -> Result<String, Problem> {
    let [method, name] = words else { return Err("a method and a name".into()) };
    let kubeconfig: Value = serde_json::from_slice(&tokio::fs::read(lab("K8S")?).await?)?;
    let of_kubeconfig = |pointer: &str| {
        let word = kubeconfig.pointer(pointer).and_then(Value::as_str);
        word.ok_or_else(|| format!("the kubeconfig has no {pointer}"))
    };
    let mut address = format!(
        "{}/apis/apps/v1/namespaces/{}/statefulsets",
        of_kubeconfig("/clusters/0/cluster/server")?,
        lab("K8S_NAMESPACE")?
    );
    if !name.is_empty() {
        address = format!("{address}/{name}");
    }
    let output =
        of("curl", &["--silent", "--fail", "--noproxy", "*", "--max-time", "30", "--request", method])
            .args(["--cacert", of_kubeconfig("/clusters/0/cluster/certificate-authority")?])
            .args(["--cert", of_kubeconfig("/users/0/user/client-certificate")?])
            .args(["--key", of_kubeconfig("/users/0/user/client-key")?])
            .arg(address)
            .kill_on_drop(true)
            .output()
            .await?;
    if !output.status.success() {
        return Err(format!("Kubernetes, {words:?}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// One runs when its pod is ready.
fn stateful_sets(answer: &str, prefix: &str) -> Result<View, Problem> {
    let answer: Value = serde_json::from_str(answer)?;
    let items = answer.get("items").and_then(Value::as_array).ok_or("the answer is no list")?;
    let sets = items.iter().filter_map(|item| {
        let name = item.pointer("/metadata/name")?.as_str()?;
        let ready = item.pointer("/status/readyReplicas").and_then(Value::as_u64);
        name.starts_with(prefix).then(|| (name.to_owned(), ready == Some(1)))
    });
    Ok(sets.collect())
}

fn of(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
