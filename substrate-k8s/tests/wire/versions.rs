//! What servers of different versions do differently.

use serde_json::json;
use substrate_core::{Command, Feature, Operation, ResourceLimits, Substrate};

use crate::server::{Answer, PODS, Server, WEB, list, ok, path, running_pod, set};

fn of_version(minor: &'static str) -> impl Fn(&str, usize) -> Answer + Send + Sync + 'static {
    move |asked, _| match path(asked) {
        "GET /version" => ok(json!({"major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0")})),
        WEB => ok(set("web", "1", 1)),
        PODS => list("1", &[running_pod("web", "1")]),
        changed if changed.starts_with("PATCH ") => ok(json!({})),
        _ => Answer::Usual,
    }
}

#[tokio::test]
async fn the_end_of_input_and_bounds_in_place_come_with_their_versions() {
    for (minor, input, live) in [
        ("20", false, false),
        ("29+", false, false),
        ("30", true, false),
        ("33", true, true),
        ("37", true, true),
    ] {
        let server = Server::new(of_version(minor)).await;
        let cluster = server.cluster();
        cluster.connect().await.unwrap();
        let capabilities = &cluster.descriptor().capabilities;
        assert_eq!(capabilities.can(Feature::CommandInput), input, "1.{minor}");
        assert_eq!(capabilities.can(Feature::LiveLimits), live, "1.{minor}");
        assert!(capabilities.can(Operation::Watch));
    }
}

/// Older servers end the whole command when its input is to end, and the rest of its output would be lost.
#[tokio::test]
async fn input_is_refused_by_an_old_server_before_anything_is_asked() {
    let old = Server::new(of_version("29")).await;
    let cluster = old.cluster();
    cluster.connect().await.unwrap();
    let before = old.requests().len();
    let command = Command::new(["cat"]).with_input("hello");
    let error = cluster.execute_command(&"web".parse().unwrap(), &command).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("1.30"), "{error}");
    assert_eq!(old.requests().len(), before);
}

#[tokio::test]
async fn bounds_of_a_running_instance_change_in_place_on_a_new_server_only() {
    let limits = ResourceLimits { cpu_cores: Some(0.5), ..ResourceLimits::default() };
    let name = "web".parse().unwrap();
    let old = Server::new(of_version("20")).await;
    let cluster = old.cluster();
    cluster.connect().await.unwrap();
    assert!(cluster.set_resource_limits(&name, &limits).await.unwrap_err().is_conflict());
    assert!(old.changes().is_empty());
    let new = Server::new(of_version("34")).await;
    let cluster = new.cluster();
    cluster.connect().await.unwrap();
    cluster.set_resource_limits(&name, &limits).await.unwrap();
    let changes: Vec<String> = new.changes().iter().map(|request| path(request).to_owned()).collect();
    assert_eq!(
        changes,
        [
            "PATCH /api/v1/namespaces/shop/pods/web-0/resize",
            "PATCH /apis/apps/v1/namespaces/shop/statefulsets/web"
        ]
    );
}
