//! Credentials that change under a handle, and programs that give them.

use std::time::Duration;

use serde_json::json;
use substrate_core::{Outcome, Substrate};
use substrate_k8s::{K8sConfig, K8sSubstrate};

use crate::server::{Server, WEB, ok, set};

/// A kubeconfig whose user is somebody else, and its file: gone when it is dropped.
struct Kubeconfig(std::path::PathBuf);

impl Kubeconfig {
    fn of(server: &Server, user: &serde_json::Value) -> Self {
        let mut content = server.kubeconfig();
        content["users"] = json!([{"name": "w", "user": user}]);
        let path = server.file("kubeconfig");
        std::fs::write(&path, content.to_string()).unwrap();
        Self(path)
    }

    fn cluster(&self) -> K8sSubstrate {
        let config = K8sConfig::default().with_kubeconfig(self.0.display().to_string());
        K8sSubstrate::new("wire", config).unwrap()
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn plugin(program: &str, arguments: &[&str]) -> serde_json::Value {
    json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": program, "args": arguments,
        "interactiveMode": "Never"}})
}

fn credential(token: &str) -> String {
    // It has expired as soon as it is given: the next request needs another.
    json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": token, "expirationTimestamp": "2020-01-01T00:00:00Z"}})
    .to_string()
}

#[tokio::test]
async fn a_plugins_token_that_expires_is_asked_for_again_under_the_same_handle() {
    let server = Server::answering(WEB, ok(set("web", "1", 0))).await;
    let file = server.file("credential");
    std::fs::write(&file, credential("first")).unwrap();
    let kubeconfig = Kubeconfig::of(&server, &plugin("cat", &[file.to_str().unwrap()]));
    let cluster = kubeconfig.cluster();
    cluster.get_instance(&"web".parse().unwrap()).await.unwrap();
    std::fs::write(&file, credential("second")).unwrap();
    cluster.get_instance(&"web".parse().unwrap()).await.unwrap();
    let _ = std::fs::remove_file(&file);
    let used = server.authorizations();
    assert_eq!(used.first().map(String::as_str), Some("Bearer first"));
    assert_eq!(used.last().map(String::as_str), Some("Bearer second"));
}

/// The binding reads such a file again after a minute, so this takes one: it has nothing to wait for but the clock.
#[tokio::test]
async fn a_token_in_a_file_that_rotates_is_read_again_under_the_same_handle() {
    let server = Server::answering(WEB, ok(set("web", "1", 0))).await;
    let file = server.file("token");
    std::fs::write(&file, "first").unwrap();
    let kubeconfig = Kubeconfig::of(&server, &json!({"tokenFile": file}));
    let cluster = kubeconfig.cluster();
    cluster.get_instance(&"web".parse().unwrap()).await.unwrap();
    std::fs::write(&file, "second").unwrap();
    let rotated = async {
        while server.authorizations().last().map(String::as_str) != Some("Bearer second") {
            tokio::time::sleep(Duration::from_millis(500)).await;
            cluster.get_instance(&"web".parse().unwrap()).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(90), rotated).await.unwrap();
    let _ = std::fs::remove_file(&file);
    assert_eq!(server.authorizations().first().map(String::as_str), Some("Bearer first"));
}

#[tokio::test]
async fn a_plugin_that_fails_is_a_failure_to_authenticate_before_anything_is_sent() {
    let server = Server::answering(WEB, ok(set("web", "1", 0))).await;
    for (program, arguments) in [("false", &[][..]), ("/no/such/plugin", &[]), ("echo", &["no credential"])] {
        let kubeconfig = Kubeconfig::of(&server, &plugin(program, arguments));
        let error = kubeconfig.cluster().get_instance(&"web".parse().unwrap()).await.unwrap_err();
        assert!(error.is_unauthenticated() || error.is_invalid_input(), "{program}: {error}");
        assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    }
    assert!(server.requests().is_empty());
}
