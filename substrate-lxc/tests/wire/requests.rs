//! What is sent: as few requests as can be, to the right project, on the right condition, and nothing hostile.

use serde_json::json;
use substrate_core::{
    InstanceConfig, InstanceFilter, InstanceName, Outcome, ResourceLimits, StopMode, Substrate,
};
use substrate_lxc::{ImageProtocol, LxcConfig, LxcSubstrate, RemoteConfig};

use crate::server::{Answer, Server, instance};

fn web() -> InstanceName {
    "web".parse().unwrap()
}

#[tokio::test]
async fn a_list_is_one_request_and_not_two_levels_deep() {
    let server = Server::new(|line, _| match line {
        "GET /1.0/instances?recursion=1" => Answer::done(json!(vec![instance(103); 200])),
        _ => Answer::Usual,
    });
    let found = server.substrate().list_instances(&InstanceFilter::all()).await.unwrap();
    assert_eq!((found.len(), server.lines().len()), (200, 1));
}

#[tokio::test]
async fn every_request_names_the_project() {
    let server = Server::new(|_, _| Answer::Usual);
    let substrate = LxcSubstrate::new("wire", server.config().with_project("a b")).unwrap();
    substrate.start_instance(&web()).await.unwrap();
    substrate.create_instance(&InstanceConfig::new(web()).with_image("bb")).await.unwrap();
    let _ = substrate.watch(&substrate_core::WatchOptions::from_now()).await;
    let lines = server.lines();
    assert!(lines.len() > 5 && lines.iter().any(|line| line.contains("/events")));
    for line in lines {
        assert!(line.contains("project=a%20b"), "{line}");
    }
}

#[tokio::test]
async fn a_change_is_of_the_whole_and_conditional_and_made_again_when_another_came_first() {
    let server = Server::new(|line, before| match line {
        "PUT /1.0/instances/web" if before == 0 => Answer::refusal(412, "ETag doesn't match"),
        _ => Answer::Usual,
    });
    let limits = ResourceLimits { cpu_cores: Some(0.5), ..ResourceLimits::default() };
    server.substrate().set_resource_limits(&web(), &limits).await.unwrap();
    let changes = server.changes();
    assert_eq!(changes.len(), 2);
    assert_ne!(changes[0].condition, changes[1].condition, "it was read again");
    assert!(
        changes.iter().all(|change| change.condition.as_deref().is_some_and(|tag| tag.starts_with("tag-")))
    );
    let config = &changes[1].body["config"];
    assert_eq!(config["limits.cpu.allowance"], "50ms/100ms");
    assert_eq!(config["volatile.eth0.hwaddr"], "00:16:3e:00:00:01", "the server's own notes stay");
    assert!(config.get("limits.cpu").is_none(), "a key can be taken away: {config}");
}

#[tokio::test]
async fn a_hostile_name_is_never_sent() {
    let server = Server::new(|_, _| Answer::Usual);
    let substrate = server.substrate();
    for text in ["../networks/x", "web/state", "web?force=1", "%2e%2e", "a b", "-x", "größe"] {
        let name: InstanceName = text.parse().unwrap();
        assert!(substrate.get_instance(&name).await.unwrap_err().is_not_found(), "{text}");
        assert!(substrate.stop_instance(&name, StopMode::Force).await.unwrap_err().is_not_found(), "{text}");
        let config = InstanceConfig::new(name).with_image("bb");
        assert!(substrate.create_instance(&config).await.unwrap_err().is_invalid_input(), "{text}");
    }
    assert!(server.lines().is_empty(), "{:?}", server.lines());
}

#[tokio::test]
async fn an_instance_whose_inside_cannot_be_seen_is_still_described() {
    let server = Server::new(|line, _| match line {
        "GET /1.0/instances/web" => Answer::done(instance(103)),
        "GET /1.0/instances/web/state" => Answer::refusal(500, "Invalid PID '\u{fffd}'"),
        _ => Answer::Usual,
    });
    let found = server.substrate().get_instance(&web()).await.unwrap();
    assert_eq!(found.state, substrate_core::InstanceState::Running);
    // A machine without agent, or one on its way down: nothing was measured, and not zero.
    let usage = server.substrate().get_metrics(&web()).await.unwrap();
    assert_eq!(usage, substrate_core::ResourceUsage::default());
}

#[tokio::test]
async fn an_image_of_another_server_is_asked_for_there() {
    let server = Server::new(|_, _| Answer::Usual);
    let remote = RemoteConfig {
        server: "https://images.example.org".to_owned(),
        protocol: ImageProtocol::Simplestreams,
        certificate: None,
    };
    let settings: LxcConfig = server.config().with_remote("images", remote);
    let substrate = LxcSubstrate::new("wire", settings).unwrap();
    let config = InstanceConfig::new(web()).with_image("images:debian/12");
    substrate.create_instance(&config).await.unwrap();
    let source = &server.changes()[0].body["source"];
    assert_eq!(source["server"], "https://images.example.org");
    assert_eq!((&source["protocol"], &source["alias"]), (&json!("simplestreams"), &json!("debian/12")));
    let unknown = InstanceConfig::new(web()).with_image("other:debian/12");
    let error = substrate.create_instance(&unknown).await.unwrap_err();
    assert!(error.is_not_found() && error.message().contains("images"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_trust_us_says_what_to_do() {
    let server = Server::new(|line, _| match line {
        "GET /1.0" => Answer::done(json!({"auth": "untrusted"})),
        "POST /1.0/certificates" => Answer::refusal(403, "not authorized"),
        _ => Answer::Usual,
    });
    let error = server.substrate().connect().await.unwrap_err();
    assert!(error.is_unauthenticated() && error.to_string().contains("token"), "{error}");
    let with_token = server.config().with_token("hunter2".to_owned().into());
    let error = LxcSubstrate::new("wire", with_token).unwrap().connect().await.unwrap_err();
    assert!(error.is_unauthenticated() && !format!("{error} {error:?}").contains("hunter2"), "{error}");
    let sent = server.changes();
    assert_eq!(
        (&sent[0].body["password"], &sent[0].body["trust_token"]),
        (&json!("hunter2"), &json!("hunter2"))
    );
}

#[tokio::test]
async fn nobody_there_means_nothing_sent() {
    let settings = LxcConfig::default().with_address("unix:///nonexistent/unix.socket");
    let substrate = LxcSubstrate::new("wire", settings).unwrap();
    let error = substrate.create_instance(&InstanceConfig::new(web()).with_image("bb")).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::NotSent, "{error}");
}

#[tokio::test]
async fn log_files_are_named_without_their_folder_and_a_hostile_one_is_never_sent() {
    let server = Server::new(|line, _| match line {
        "GET /1.0/instances/web/logs" => Answer::done(json!([
            "/1.0/instances/web/logs/lxc.log",
            "/1.0/instances/web/logs/forkstart.log?project=a",
            "/1.0/instances/web/logs/..",
        ])),
        _ => Answer::Usual,
    });
    let substrate = server.substrate();
    assert_eq!(substrate.log_files(&web()).await.unwrap(), ["lxc.log", "forkstart.log"]);
    for file in ["../../x", "a/b", "..", "%2e%2e", ""] {
        assert!(substrate.read_log_file(&web(), file).await.unwrap_err().is_not_found(), "{file}");
    }
    assert!(server.lines().iter().all(|line| !line.contains("logs/")), "{:?}", server.lines());
}
