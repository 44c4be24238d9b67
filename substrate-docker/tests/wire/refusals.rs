//! What a daemon's refusals become.

use substrate_core::{ErrorKind, InstanceConfig, InstanceName, Outcome, StopMode, Substrate};

use crate::server::{Answer, ID, Server, inspection, usual};

fn web() -> InstanceName {
    "web".parse().unwrap()
}

fn config() -> InstanceConfig {
    InstanceConfig::new(web()).with_image("busybox")
}

#[tokio::test]
async fn each_status_has_its_kind() {
    for (status, kind) in [
        (400, ErrorKind::InvalidInput),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (409, ErrorKind::Conflict),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Internal),
        (502, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (504, ErrorKind::Timeout),
    ] {
        let server = Server::answering("POST /containers/create", Answer::refusal(status, "because"));
        let error = server.docker().create_instance(&config()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(error.message().contains("because"), "{error}");
        assert_eq!((error.substrate(), error.instance()), (Some("wire"), Some("web")));
        let outcome = if status < 500 || status == 503 { Outcome::Rejected } else { Outcome::Unknown };
        assert_eq!(error.outcome(), outcome, "{status}");
    }
}

#[tokio::test]
async fn a_stop_or_start_that_changes_nothing_is_a_success() {
    let server = Server::new(|asked, _| match asked {
        "GET /containers/web/json" => inspection("created"),
        _ if asked.starts_with("POST") => Answer::Json(304, String::new()),
        _ => usual(),
    });
    server.docker().start_instance(&web()).await.unwrap();
    assert_eq!(server.changes(), [format!("POST /v1.41/containers/{ID}/start")]);
    let server = Server::new(|asked, _| match asked {
        _ if asked.starts_with("POST") => Answer::Json(304, String::new()),
        _ => usual(),
    });
    server.docker().stop_instance(&web(), StopMode::default()).await.unwrap();
    assert!(
        server.changes()[0].contains("/stop?") && server.changes()[0].contains("t=10"),
        "{:?}",
        server.changes()
    );
}

#[tokio::test]
async fn a_removal_that_is_under_way_is_waited_for() {
    let server = Server::new(|asked, before| match asked {
        _ if asked.starts_with("DELETE") => {
            Answer::refusal(409, "removal of container f0 is already in progress")
        }
        "GET /containers/web/json" => inspection("exited"),
        _ if asked.starts_with(&format!("GET /containers/{ID}/json")) && before < 3 => inspection("removing"),
        _ if asked.starts_with(&format!("GET /containers/{ID}/json")) => {
            Answer::refusal(404, "No such container")
        }
        _ => usual(),
    });
    server.docker().delete_instance(&web(), false).await.unwrap();
    let looks = server.requests().iter().filter(|asked| asked.contains(&format!("{ID}/json"))).count();
    assert_eq!(looks, 4);
}

#[tokio::test]
async fn a_name_held_by_a_container_on_its_way_out_is_waited_for() {
    let taken = "Conflict. The container name \"/web\" is already in use by container \"f0\".";
    let server = Server::new(move |asked, before| match asked {
        _ if asked.starts_with("POST /containers/create") && before < 2 => Answer::refusal(409, taken),
        "GET /containers/web/json" => inspection("removing"),
        _ => usual(),
    });
    server.docker().create_instance(&config()).await.unwrap();
    let server = Server::answering("POST /containers/create", Answer::refusal(409, taken));
    let error = server.docker().create_instance(&config()).await.unwrap_err();
    assert!(error.is_already_exists(), "held by one that stays: {error}");
    assert_eq!(server.changes().len(), 1);
}

#[tokio::test]
async fn a_second_network_that_cannot_be_had_takes_the_container_back() {
    let networks = r#"[{"Id":"n1","Name":"one","IPAM":{}},{"Id":"n2","Name":"two","IPAM":{}}]"#;
    let server = Server::new(move |asked, _| match asked {
        "GET /networks" => Answer::ok(networks),
        "POST /networks/n2/connect" => Answer::refusal(403, "Address already in use"),
        _ if asked.starts_with("DELETE") => Answer::Json(204, String::new()),
        _ if asked.starts_with(&format!("GET /containers/{ID}/json")) => {
            Answer::refusal(404, "No such container")
        }
        _ => usual(),
    });
    let place = |name: &str| substrate_core::NetworkConfig::new(name.parse().unwrap());
    let config = config().with_network(place("one")).with_network(place("two"));
    let error = server.docker().create_instance(&config).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::Rejected), "{error}");
    let last = server.changes().pop().unwrap();
    assert!(
        last.starts_with(&format!("DELETE /v1.41/containers/{ID}?")) && last.contains("force=true"),
        "{last}"
    );
}

#[tokio::test]
async fn endpoints_of_containers_that_are_gone_are_taken_off_a_network() {
    let server = Server::new(|asked, before| match asked {
        "GET /networks" => Answer::ok(r#"[{"Id":"n1","Name":"one","IPAM":{}}]"#),
        "DELETE /networks/n1" if before == 0 => {
            Answer::refusal(403, "error while removing network: network one id n1 has active endpoints")
        }
        "DELETE /networks/n1" => Answer::Json(204, String::new()),
        "GET /networks/n1" => {
            Answer::ok(r#"{"Id":"n1","Name":"one","IPAM":{},"Containers":{"dead":{"Name":"gone"}}}"#)
        }
        "POST /networks/n1/disconnect" => Answer::Json(200, String::new()),
        _ => usual(),
    });
    server.docker().delete_network(&"one".parse().unwrap()).await.unwrap();
    assert_eq!(server.changes().len(), 3, "{:?}", server.changes());
}

#[tokio::test]
async fn a_beginning_of_several_ids_names_the_candidates() {
    let server = Server::new(|asked, _| match asked {
        _ if asked.starts_with("GET /containers/f08f2dbffaa5/json") => {
            Answer::refusal(400, "Multiple IDs found with provided prefix: f08f2dbffaa5")
        }
        _ if asked.starts_with("GET /containers/json") => Answer::ok(
            r#"[{"Id":"f08f2dbffaa51","Names":["/one"]},{"Id":"f08f2dbffaa52","Names":["/two"]},{"Id":"aa","Names":["/three"]}]"#,
        ),
        _ => usual(),
    });
    let error = server.docker().get_instance(&"f08f2dbffaa5".parse().unwrap()).await.unwrap_err();
    assert!(
        error.is_conflict() && error.message().contains("one") && error.message().contains("two"),
        "{error}"
    );
    assert!(!error.message().contains("three"));
}

#[tokio::test]
async fn hostile_names_send_nothing_that_they_could_bend() {
    let server = Server::new(|_, _| usual());
    let docker = server.docker();
    for text in ["../web", "web/../web", "%2e%2e", "web?x", "web#x", "a b"] {
        assert!(docker.delete_instance(&text.parse().unwrap(), true).await.unwrap_err().is_not_found());
        assert!(docker.delete_volume(&text.parse().unwrap()).await.unwrap_err().is_not_found());
        assert!(docker.delete_network(&text.parse().unwrap()).await.unwrap_err().is_not_found());
    }
    assert!(server.changes().is_empty());
}

#[tokio::test]
async fn what_is_unsupported_is_refused_before_anything_is_sent() {
    let server = Server::new(|_, _| usual());
    let docker = server.docker();
    docker.connect().await.unwrap();
    let before = server.requests().len();
    let mut disk = config();
    disk.limits.disk_gb = Some(1);
    let mut bandwidth = config();
    bandwidth.limits.network_mbps = Some(1.0);
    let gateway =
        substrate_core::NetworkConfig::new("n".parse().unwrap()).with_gateway("10.0.0.1".parse().unwrap());
    for config in [disk, bandwidth, config().with_network(gateway), config().with_option("auto_remove", true)]
    {
        assert!(docker.create_instance(&config).await.unwrap_err().is_unsupported());
    }
    assert_eq!(server.requests().len(), before);
}

#[tokio::test]
async fn a_registry_s_password_is_in_no_error() {
    let server = Server::new(|asked, _| match asked {
        _ if asked.starts_with("GET /images/") => Answer::refusal(404, "No such image"),
        _ if asked.starts_with("POST /images/create") => {
            Answer::refusal(500, "unauthorized: authentication required")
        }
        _ => usual(),
    });
    let host = format!("{:?}", server.docker());
    let config: substrate_docker::DockerConfig =
        serde_json::from_str(r#"{"registry": {"host": "r.io", "username": "u", "password": "hunter2"}}"#)
            .unwrap();
    let socket = host.split("unix://").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let config = config.with_host(format!("unix://{socket}"));
    let docker = substrate_docker::DockerSubstrate::new("wire", config).unwrap();
    let error = docker.ensure_image("r.io/private:1").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(!format!("{error} {error:?} {docker:?}").contains("hunter2"));
}
