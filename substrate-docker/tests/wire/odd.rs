//! Answers that are odd and right: other versions, other engines, several names, a listener left behind.

use futures_util::StreamExt;
use substrate_core::{
    InstanceConfig, InstanceFilter, InstanceState, NetworkConfig, Substrate, WatchItem, WatchOptions,
};

use crate::server::{Answer, ID, Server, usual};

#[tokio::test]
async fn a_list_is_one_request_with_the_negotiated_version() {
    let server = Server::new(|_, _| usual());
    let docker = server.docker();
    docker.connect().await.unwrap();
    let before = server.requests().len();
    docker.list_instances(&InstanceFilter::all().with_label("a", "b")).await.unwrap();
    let asked = server.requests().split_off(before);
    assert_eq!(asked, ["GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D"]);
}

#[tokio::test]
async fn without_a_connect_the_version_is_agreed_on_first_and_once() {
    let server = Server::new(|_, _| usual());
    let docker = server.docker();
    let filter = InstanceFilter::all();
    let (left, right) = tokio::join!(docker.list_instances(&filter), docker.list_instances(&filter));
    assert!(left.is_ok() && right.is_ok());
    let asked = server.requests();
    assert_eq!(asked.iter().filter(|request| request.contains("/version")).count(), 1);
    assert_eq!(asked[0], "GET /version");
}

#[tokio::test]
async fn a_newer_daemon_is_asked_in_its_words_and_gets_all_networks_at_once() {
    let version = r#"{"Version":"28.0","ApiVersion":"1.48","MinAPIVersion":"1.24"}"#;
    let server = Server::new(move |asked, _| match asked {
        "GET /version" => Answer::ok(version),
        _ if asked.ends_with("/networks") => {
            Answer::ok(r#"[{"Id":"n1","Name":"one","IPAM":{}},{"Id":"n2","Name":"two","IPAM":{}}]"#)
        }
        _ if asked.contains("/images/") => Answer::ok(r#"{"Id":"sha256:1"}"#),
        _ if asked.contains("/containers/create") => Answer::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
        _ if asked.contains("/json") => crate::server::inspection("created"),
        _ => usual(),
    });
    let docker = server.docker();
    let place = |name: &str| NetworkConfig::new(name.parse().unwrap());
    let config = InstanceConfig::new("web".parse().unwrap())
        .with_image("b")
        .with_network(place("one"))
        .with_network(place("two"));
    docker.create_instance(&config).await.unwrap();
    assert_eq!(server.changes(), ["POST /v1.48/containers/create?name=web"], "no connect call is needed");
}

#[tokio::test]
async fn podman_s_words_do_not_make_a_list_unreadable() {
    let server = Server::answering(
        "GET /containers/json",
        Answer::ok(
            r#"[{"Id":"aa","Names":["/one"],"State":"configured","Labels":null,"NetworkSettings":null,"Created":1700000000},
            {"Id":"bb","Names":["/app/db","/two"],"State":"initialized","Status":"","Ports":null},
            {"Id":"cc","Names":[],"State":"","Unknown":{"x":1}}]"#,
        ),
    );
    let all = server.docker().list_instances(&InstanceFilter::all()).await.unwrap();
    let names: Vec<&str> = all.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["cc", "one", "two"]);
    assert_eq!(all[0].state, InstanceState::Unknown);
    assert_eq!(all[1].state, InstanceState::Stopped);
}

#[tokio::test]
async fn a_listener_left_behind_by_more_than_the_daemon_queues_is_told_of_a_gap() {
    let mut body = String::from("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
    // Somewhat more than the daemon queues, and less than a socket holds: the server writes it at one go.
    for number in 0..1100_u64 {
        let time = 1_795_234_400_000_000_000 + number;
        body.push_str(&format!(
            "{{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{{\"ID\":\"f0\",\"Attributes\":{{\"name\":\"web\"}}}},\"time\":1795234400,\"timeNano\":{time}}}\n"
        ));
    }
    let server = Server::answering("GET /events", Answer::Raw(body.into_bytes()));
    let docker = server.docker();
    let stream = docker.watch(&WatchOptions::from_now()).await.unwrap();
    // The whole answer lies ready before the first look at it.
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while server.requests().iter().filter(|asked| asked.contains("/events")).count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let items: Vec<_> = stream.take_while(|item| std::future::ready(item.is_ok())).collect().await;
    let events = items.iter().filter(|item| matches!(item, Ok(WatchItem::Event { .. }))).count();
    assert_eq!(events, 1100, "nothing that came is left out");
    assert!(items.iter().any(|item| matches!(item, Ok(WatchItem::Gap { .. }))));
}

/// A daemon that lacks the image until it was fetched.
fn lacking_the_image() -> Server {
    Server::new(|asked, before| match asked {
        _ if asked.starts_with("POST /containers/create") && before == 0 => {
            Answer::refusal(404, "No such image: busybox:1.36")
        }
        _ if asked.starts_with("POST /containers/create") => Answer::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
        _ if asked.starts_with("GET /images/") => Answer::refusal(404, "No such image: busybox:1.36"),
        _ if asked.starts_with("POST /images/create") => Answer::ok(r#"{"status":"Downloaded"}"#),
        _ if asked.ends_with("/json") => crate::server::inspection("created"),
        _ => usual(),
    })
}

#[tokio::test]
async fn a_missing_image_is_fetched_and_the_creation_repeated() {
    let server = lacking_the_image();
    let config = InstanceConfig::new("web".parse().unwrap()).with_image("busybox:1.36");
    let instance = server.docker().create_instance(&config).await.unwrap();
    assert_eq!(instance.state, InstanceState::Stopped);
    let changes = server.changes();
    let asked: Vec<&str> = changes.iter().filter_map(|request| request.split(['?', ' ']).nth(1)).collect();
    assert_eq!(asked, ["/v1.41/containers/create", "/v1.41/images/create", "/v1.41/containers/create"]);
    assert!(changes[1].contains("busybox") && changes[1].contains("1.36"), "{changes:?}");
}

#[tokio::test]
async fn an_image_that_is_there_costs_no_request() {
    let server = Server::new(|asked, _| match asked {
        _ if asked.starts_with("POST /containers/create") => Answer::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
        _ if asked.ends_with("/json") => crate::server::inspection("created"),
        _ => usual(),
    });
    let docker = server.docker();
    docker.connect().await.unwrap();
    let before = server.requests().len();
    let config = InstanceConfig::new("web".parse().unwrap()).with_image("busybox:1.36");
    docker.create_instance(&config).await.unwrap();
    assert_eq!(server.requests().len() - before, 2, "create, and look at what was made");
}

#[tokio::test]
async fn where_fetching_is_forbidden_a_missing_image_is_not_found_and_says_what_to_do() {
    let server = lacking_the_image();
    let config = InstanceConfig::new("web".parse().unwrap()).with_image("busybox:1.36");
    let docker = server.docker_that_never_fetches();
    let error = docker.create_instance(&config).await.unwrap_err();
    assert!(error.is_not_found() && error.hint().is_some(), "{error}");
    assert_eq!(server.changes(), ["POST /v1.41/containers/create?name=web"]);
}
