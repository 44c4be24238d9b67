//! The bare API, in JSON.

use kube::client::Body;
use serde_json::Value;

/// A namespace of a cluster.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
}

impl Api {
    pub(crate) async fn of(kubeconfig: &str, namespace: &str) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
        config.read_timeout = None;
        Self { client: kube::Client::try_from(config).unwrap(), namespace: namespace.to_owned() }
    }

    /// The path of a thing in the namespace: `kubevirt.io/v1`, `virtualmachines/web`.
    pub(crate) fn path(&self, group: &str, rest: &str) -> String {
        let root = if group == "v1" { "/api/v1".to_owned() } else { format!("/apis/{group}") };
        format!("{root}/namespaces/{}/{rest}", self.namespace)
    }

    /// Any request; a refusal is its code.
    pub(crate) async fn ask(&self, method: &str, uri: &str, body: Option<Value>) -> Result<Value, u16> {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method).uri(uri).header("Content-Type", content);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.client.request(request.body(body.into_bytes()).unwrap()).await;
        answer.map_err(|error| match error {
            kube::Error::Api(status) => status.code,
            _ => 0,
        })
    }

    pub(crate) async fn patch(&self, group: &str, rest: &str, body: Value) -> Option<Value> {
        self.ask("PATCH", &self.path(group, rest), Some(body)).await.ok()
    }

    pub(crate) async fn list(&self, group: &str, rest: &str) -> Vec<Value> {
        let answer = self.ask("GET", &self.path(group, rest), None).await.unwrap_or_default();
        answer["items"].as_array().cloned().unwrap_or_default()
    }

    /// Hands a request on as it is.
    pub(crate) async fn forward(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> kube::Result<http::Response<Body>> {
        self.client.send(request.map(Body::from)).await
    }
}
