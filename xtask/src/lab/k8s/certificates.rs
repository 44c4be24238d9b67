//! An authority of the cluster's own and a certificate for each of its parts. The names are those that Kubernetes gives
//! its rights to.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{command, output};
use crate::lab::create_private_directory;

pub const AUTHORITY: &str = "ca";
pub const API_SERVER: &str = "apiserver";
/// The API server, as it calls the node's agent.
pub const API_SERVER_CLIENT: &str = "apiserver-kubelet";
pub const KUBELET: &str = "kubelet";
pub const CONTROLLER_MANAGER: &str = "controller-manager";
pub const SCHEDULER: &str = "scheduler";
pub const ADMIN: &str = "admin";
/// Signs the tokens of service accounts; no certificate.
pub const SERVICE_ACCOUNTS: &str = "service-accounts";

/// Makes all that the folder does not have. `address` is the node's, `service` that of the service `kubernetes`.
pub fn ensure(folder: &Path, node: &str, address: &str, service: &str) -> Result<()> {
    if folder.join(format!("{ADMIN}.crt")).exists() {
        return Ok(());
    }
    create_private_directory(folder)?;
    let settings = format!(
        "[req]\nprompt = no\ndistinguished_name = name\n[name]\nCN = substrates lab cluster\n\
         [authority]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign,digitalSignature\n\
         subjectKeyIdentifier = hash\n\
         [server]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = serverAuth,clientAuth\n\
         subjectAltName = IP:127.0.0.1,IP:{address},IP:{service},DNS:localhost,DNS:{node},DNS:kubernetes,\
         DNS:kubernetes.default,DNS:kubernetes.default.svc\n\
         [client]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = clientAuth\n"
    );
    fs::write(folder.join("openssl.cnf"), settings).context("cannot write the settings for openssl")?;
    make(folder, "/CN=substrates lab cluster", "authority", AUTHORITY)?;
    make(folder, "/CN=kube-apiserver", "server", API_SERVER)?;
    make(folder, &format!("/O=system:nodes/CN=system:node:{node}"), "server", KUBELET)?;
    make(folder, "/O=system:masters/CN=kube-apiserver-kubelet", "client", API_SERVER_CLIENT)?;
    make(folder, "/CN=system:kube-controller-manager", "client", CONTROLLER_MANAGER)?;
    make(folder, "/CN=system:kube-scheduler", "client", SCHEDULER)?;
    let key = format!("{SERVICE_ACCOUNTS}.key");
    output(command("openssl").current_dir(folder).args(["genrsa", "-out", &key, "2048"]))?;
    let public = format!("{SERVICE_ACCOUNTS}.pub");
    output(command("openssl").current_dir(folder).args(["rsa", "-in", &key, "-pubout", "-out", &public]))?;
    // Last, because its presence says that all are there.
    make(folder, "/O=system:masters/CN=lab-admin", "client", ADMIN)
}

fn make(folder: &Path, subject: &str, extensions: &str, name: &str) -> Result<()> {
    let mut openssl = command("openssl");
    openssl
        .current_dir(folder)
        .args(["req", "-x509", "-config", "openssl.cnf", "-extensions", extensions])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "3650"])
        .args(["-subj", subject, "-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    if name != AUTHORITY {
        openssl.args(["-CA", &format!("{AUTHORITY}.crt"), "-CAkey", &format!("{AUTHORITY}.key")]);
    }
    output(&mut openssl).map(drop)
}

/// A kubeconfig of the part with this certificate, which names the files.
pub fn kubeconfig(folder: &Path, server: &str, name: &str) -> serde_json::Value {
    let file = |ending: &str| folder.join(format!("{name}.{ending}")).display().to_string();
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {
            "server": server,
            "certificate-authority": folder.join(format!("{AUTHORITY}.crt")).display().to_string(),
        }}],
        "users": [{"name": name, "user": {"client-certificate": file("crt"), "client-key": file("key")}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    })
}
