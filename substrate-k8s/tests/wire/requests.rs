//! What is asked, and what is made of the answers.

use std::time::Duration;

use serde_json::json;
use substrate_core::{
    ErrorKind, InstanceConfig, InstanceFilter, InstanceState, Outcome, ResourceUsage, RetryAdvice, StopMode,
    Substrate,
};

use crate::server::{Answer, PODS, SETS, Server, WEB, list, ok, path, refusal, running_pod, set};

const CREATE: &str = "PATCH /apis/apps/v1/namespaces/shop/statefulsets/web";

fn config() -> InstanceConfig {
    InstanceConfig::new("web".parse().unwrap()).with_image("busybox:1")
}

#[tokio::test]
async fn a_page_that_expired_begins_the_list_anew_and_none_is_shorter() {
    let server = Server::new(|asked, before| match (path(asked), asked.contains("continue=")) {
        (SETS, false) => {
            ok(json!({"metadata": {"resourceVersion": "1", "continue": "next"}, "items": [set("a", "1", 0)]}))
        }
        (SETS, true) if before < 2 => refusal(410, "Expired", "the continue token is too old"),
        (SETS, true) => list("1", &[set("b", "1", 0)]),
        _ => Answer::Usual,
    })
    .await;
    let listed = server.cluster().list_instances(&InstanceFilter::all()).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let asked = server.requests().iter().filter(|request| path(request) == SETS).count();
    assert_eq!(asked, 4, "two pages, twice");
}

#[tokio::test]
async fn a_list_that_expires_for_ever_is_an_error_and_no_shorter_list() {
    let server = Server::new(|asked, _| match (path(asked), asked.contains("continue=")) {
        (SETS, false) => ok(json!({"metadata": {"continue": "next"}, "items": [set("a", "1", 0)]})),
        (SETS, true) => refusal(410, "Expired", "too old"),
        _ => Answer::Usual,
    })
    .await;
    assert!(server.cluster().list_instances(&InstanceFilter::all()).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn the_server_filters_by_labels_and_what_it_lets_through_is_looked_at_again() {
    let server = Server::answering(SETS, list("1", &[set("a", "1", 0)])).await;
    let filter = InstanceFilter::all().with_label("role", "web").with_label("odd", "a b");
    assert!(server.cluster().list_instances(&filter).await.unwrap().is_empty());
    assert!(
        server.requests().iter().any(|request| request.contains("labelSelector=role%3Dweb&")),
        "{:?}",
        server.requests()
    );
}

#[tokio::test]
async fn a_hostile_name_is_never_asked_for() {
    let server = Server::new(|_, _| Answer::Usual).await;
    let cluster = server.cluster();
    for name in ["../pods/x", "a/b", "%2e%2e", "x?y=1", "A", "a b"] {
        assert!(cluster.get_instance(&name.parse().unwrap()).await.unwrap_err().is_not_found(), "{name}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn each_refusal_of_a_creation_has_its_kind_and_is_certain() {
    for (code, reason, kind) in [
        (422, "Invalid", ErrorKind::InvalidInput),
        (403, "Forbidden", ErrorKind::PermissionDenied),
        (401, "Unauthorized", ErrorKind::Unauthenticated),
        (429, "TooManyRequests", ErrorKind::RateLimited),
        (503, "ServiceUnavailable", ErrorKind::Unavailable),
    ] {
        let server = Server::answering(CREATE, refusal(code, reason, "because")).await;
        let error = server.cluster().create_instance(&config()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Rejected), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

/// Of somebody else's fields, of another version, and of something else that was contested.
#[tokio::test]
async fn an_apply_finds_the_name_taken_in_either_form_and_tells_it_from_other_conflicts() {
    for (details, kind) in [
        (json!({"name": "web", "group": "apps", "kind": "statefulsets"}), ErrorKind::AlreadyExists),
        (json!({"causes": [{"reason": "FieldManagerConflict", "field": ".spec"}]}), ErrorKind::AlreadyExists),
        (json!({"name": "web", "kind": "resourcequotas"}), ErrorKind::Conflict),
    ] {
        let body =
            json!({"kind": "Status", "code": 409, "reason": "Conflict", "message": "x", "details": details});
        let server = Server::answering(CREATE, Answer::Json(409, body.to_string())).await;
        let error = server.cluster().create_instance(&config()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Rejected), "{error}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_a_creation_unknown_and_nothing_repeats_it() {
    for answer in [Answer::Die, Answer::Hang] {
        let server = Server::answering(CREATE, answer).await;
        let cluster = substrate_k8s::K8sSubstrate::new(
            "wire",
            server.config().with_request_timeout(Duration::from_millis(500)),
        );
        let error = cluster.unwrap().create_instance(&config()).await.unwrap_err();
        assert!(error.is_unavailable() || error.is_timeout(), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(server.changes().len(), 1, "{:?}", server.changes());
    }
}

#[tokio::test]
async fn the_server_says_how_long_to_wait() {
    let body = json!({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "slow down",
        "details": {"retryAfterSeconds": 7}});
    let server = Server::answering(WEB, Answer::Json(429, body.to_string())).await;
    let error = server.cluster().get_instance(&"web".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(7)));
}

#[tokio::test]
async fn text_of_a_proxy_is_an_error_with_its_words() {
    let server = Server::answering(WEB, Answer::Json(502, "<html>Bad Gateway</html>".to_owned())).await;
    let error = server.cluster().get_instance(&"web".parse().unwrap()).await.unwrap_err();
    assert!(error.is_unavailable() && error.message().contains("Bad Gateway"), "{error}");
    let server = Server::answering(WEB, Answer::Json(200, "<html>Log in</html>".to_owned())).await;
    assert!(server.cluster().get_instance(&"web".parse().unwrap()).await.unwrap_err().is_protocol());
}

#[tokio::test]
async fn a_stop_ends_the_pod_before_the_number_and_names_whom_it_means() {
    let server = Server::new(|asked, before| match path(asked) {
        WEB => ok(set("web", "1", 1)),
        PODS if before < 1 => list("1", &[running_pod("web", "1")]),
        "DELETE /api/v1/namespaces/shop/pods/web-0"
        | "PATCH /apis/apps/v1/namespaces/shop/statefulsets/web" => ok(json!({})),
        _ => Answer::Usual,
    })
    .await;
    server.cluster().stop_instance(&"web".parse().unwrap(), StopMode::Force).await.unwrap();
    let changes: Vec<String> = server.changes().iter().map(|request| path(request).to_owned()).collect();
    assert_eq!(
        changes,
        ["DELETE /api/v1/namespaces/shop/pods/web-0", "PATCH /apis/apps/v1/namespaces/shop/statefulsets/web"]
    );
}

#[tokio::test]
async fn a_graceful_stop_is_refused_before_anything_is_asked() {
    let server = Server::new(|_, _| Answer::Usual).await;
    let stop = server
        .cluster()
        .stop_instance(&"web".parse().unwrap(), StopMode::Graceful(Duration::from_secs(1)))
        .await;
    assert!(stop.unwrap_err().is_unsupported());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn missing_and_broken_metrics_are_not_measured_and_no_failure() {
    for broken in [
        refusal(404, "NotFound", "x"),
        refusal(503, "ServiceUnavailable", "x"),
        refusal(403, "Forbidden", "x"),
    ] {
        let server = Server::new(move |asked, _| match path(asked) {
            WEB => ok(set("web", "1", 1)),
            PODS => list("1", &[running_pod("web", "1")]),
            "GET /apis" => ok(json!({"groups": [{"name": "metrics.k8s.io"}]})),
            other if other.contains("metrics.k8s.io") || other.contains("/proxy/") => broken.clone(),
            _ => Answer::Usual,
        })
        .await;
        let cluster = server.cluster();
        cluster.connect().await.unwrap();
        assert_eq!(cluster.get_metrics(&"web".parse().unwrap()).await.unwrap(), ResourceUsage::default());
        assert_eq!(
            cluster.get_instance(&"web".parse().unwrap()).await.unwrap().state,
            InstanceState::Running
        );
    }
}

#[tokio::test]
async fn a_namespace_without_rights_to_look_at_nodes_is_healthy() {
    let server = Server::answering("GET /api/v1/nodes", refusal(403, "Forbidden", "no")).await;
    let report = server.cluster().health_check().await.unwrap();
    assert_eq!(report.status, substrate_core::HealthStatus::Healthy, "{:?}", report.issues);
    assert_eq!(report.capacity.cpu_cores, None);
}
