//! The arguments of each daemon.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::certificates::{
    API_SERVER, API_SERVER_CLIENT, AUTHORITY, CONTROLLER_MANAGER, KUBELET, SCHEDULER, SERVICE_ACCOUNTS,
};
use super::daemon::Record;

/// The bridge that pods are on has this address; loopback is refused for nodes and API servers.
pub const NODE_ADDRESS: &str = "10.213.0.1";
pub const NODE: &str = "substrates-lab";
pub const SERVICE_ADDRESS: &str = "10.215.0.1";
const SERVICES: &str = "10.215.0.0/16";
/// Below it the node's agent makes the control groups of its pods.
pub const CGROUP: &str = "/substrates-lab-k8s";

pub const ETCD: &str = "k8s-etcd";
pub const API: &str = "k8s-api";
pub const VICTIM: &str = "k8s-victim";
pub const CONTROLLERS: &str = "k8s-controllers";
pub const SCHEDULING: &str = "k8s-scheduler";
pub const AGENT: &str = "k8s-kubelet";

/// Everything that arguments name.
pub struct Settings<'a> {
    pub home: &'a Path,
    pub record: &'a Record,
    /// The node's `dockerd`.
    pub docker: String,
}

impl Settings<'_> {
    pub fn port(&self, name: &str) -> Result<u16> {
        self.record.ports.get(name).copied().with_context(|| format!("no port is recorded for {name}"))
    }

    pub fn certificates(&self) -> PathBuf {
        self.home.join("certificates")
    }

    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.kubeconfig"))
    }

    fn file(&self, name: &str) -> String {
        self.certificates().join(name).display().to_string()
    }

    fn folder(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }

    pub fn etcd(&self) -> Result<Vec<String>> {
        let client = format!("http://127.0.0.1:{}", self.port(ETCD)?);
        let peer = format!("http://127.0.0.1:{}", self.port("k8s-etcd-peer")?);
        Ok(vec![
            "--name=lab".to_owned(),
            format!("--data-dir={}", self.folder("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=lab={peer}"),
            "--logger=zap".to_owned(),
            // What is lost when the machine goes down is the lab's, and waiting for disks is most of a test's time.
            "--unsafe-no-fsync".to_owned(),
        ])
    }

    pub fn api_server(&self, name: &str) -> Result<Vec<String>> {
        Ok(vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.port(ETCD)?),
            format!("--bind-address={NODE_ADDRESS}"),
            format!("--advertise-address={NODE_ADDRESS}"),
            format!("--secure-port={}", self.port(name)?),
            "--insecure-port=0".to_owned(),
            format!("--tls-cert-file={}", self.file(&format!("{API_SERVER}.crt"))),
            format!("--tls-private-key-file={}", self.file(&format!("{API_SERVER}.key"))),
            format!("--client-ca-file={}", self.file(&format!("{AUTHORITY}.crt"))),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file(&format!("{SERVICE_ACCOUNTS}.pub"))),
            format!("--service-account-signing-key-file={}", self.file(&format!("{SERVICE_ACCOUNTS}.key"))),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--kubelet-certificate-authority={}", self.file(&format!("{AUTHORITY}.crt"))),
            format!("--kubelet-client-certificate={}", self.file(&format!("{API_SERVER_CLIENT}.crt"))),
            format!("--kubelet-client-key={}", self.file(&format!("{API_SERVER_CLIENT}.key"))),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--cert-dir={}", self.folder(name)),
            "--profiling=false".to_owned(),
        ])
    }

    pub fn controllers(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig(CONTROLLER_MANAGER).display()),
            "--port=0".to_owned(),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--root-ca-file={}", self.file(&format!("{AUTHORITY}.crt"))),
            format!("--service-account-private-key-file={}", self.file(&format!("{SERVICE_ACCOUNTS}.key"))),
            // Folders of this machine as volumes.
            "--enable-hostpath-provisioner=true".to_owned(),
            format!("--flex-volume-plugin-dir={}", self.folder("volume-plugins")),
            format!("--cert-dir={}", self.folder("controllers")),
            // Its default is 20 requests a second: many tests at once wait for that and for nothing else.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]
    }

    pub fn scheduler(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig(SCHEDULER).display()),
            "--port=0".to_owned(),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            format!("--cert-dir={}", self.folder("scheduler")),
        ]
    }

    pub fn agent(&self) -> Vec<String> {
        let plugins = self.folder("volume-plugins");
        vec![
            format!("--config={}", self.agent_settings_file().display()),
            format!("--kubeconfig={}", self.kubeconfig(KUBELET).display()),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_ADDRESS}"),
            format!("--root-dir={}", self.folder("kubelet")),
            format!("--cert-dir={}", self.folder("kubelet-certificates")),
            "--container-runtime=docker".to_owned(),
            format!("--docker-endpoint={}", self.docker),
            // Where it measures what containers use.
            format!("--docker={}", self.docker),
            "--pod-infra-container-image=pause:local".to_owned(),
            // It collects every second here, and counts a container that was made and does not run yet: of one that starts
            // anew the run before, whose log is asked for, would be the one too many.
            "--maximum-dead-containers-per-container=2".to_owned(),
            format!("--container-runtime-endpoint=unix://{}", self.folder("dockershim.sock")),
            format!("--experimental-dockershim-root-directory={}", self.folder("dockershim")),
            format!("--volume-plugin-dir={plugins}"),
        ]
    }

    pub fn agent_settings_file(&self) -> PathBuf {
        self.home.join("kubelet.json")
    }

    pub fn agent_settings(&self) -> Result<serde_json::Value> {
        Ok(serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "port": self.port(AGENT)?,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.file(&format!("{AUTHORITY}.crt"))},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.file(&format!("{KUBELET}.crt")),
            "tlsPrivateKeyFile": self.file(&format!("{KUBELET}.key")),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": CGROUP,
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            "hairpinMode": "none",
            "clusterDNS": [NODE_ADDRESS],
            "maxPods": 400,
            "serializeImagePulls": false,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "nodeStatusUpdateFrequency": "2s",
            "nodeStatusReportFrequency": "5m",
            // No image may be collected: there is no registry to get it back from.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
        }))
    }
}
