//! Answers that break off, never come, or are no answers; and what is known about the effect then.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    ErrorKind, InstanceConfig, InstanceFilter, LogOptions, Outcome, Substrate, WatchOptions,
};

use crate::server::{Answer, Server, usual};

fn config() -> InstanceConfig {
    InstanceConfig::new("web".parse().unwrap()).with_image("busybox")
}

#[tokio::test]
async fn a_daemon_that_dies_in_the_middle_of_a_change_leaves_it_unknown() {
    for answer in [
        Answer::Die,
        Answer::Raw(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{\"Id\":".to_vec()),
        Answer::Raw(b"HTTP/1.1 20".to_vec()),
    ] {
        let server = Server::answering("POST /containers/create", answer.clone());
        let docker = server.docker();
        let error = docker.create_instance(&config()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unavailable, Outcome::Unknown),
            "{answer:?}: {error}"
        );
        assert!(!docker.is_connected(), "{answer:?}");
        assert_eq!(server.changes().len(), 1, "never sent twice");
    }
}

#[tokio::test]
async fn a_daemon_that_never_answers_runs_into_the_deadline() {
    let server = Server::answering("POST /containers/create", Answer::Hang);
    let docker = server.docker_within(Duration::from_millis(300));
    let error = docker.create_instance(&config()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Unknown), "{error}");
    assert!(!docker.is_connected());
    docker.list_instances(&InstanceFilter::all()).await.unwrap();
    assert!(docker.is_connected(), "the handle goes on");
}

#[tokio::test]
async fn no_daemon_means_nothing_was_sent() {
    let server = Server::new(|_, _| usual());
    let docker = server.docker();
    docker.connect().await.unwrap();
    drop(server);
    let error = docker.create_instance(&config()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{error}");
}

#[tokio::test]
async fn a_failed_agreement_on_the_version_means_that_the_call_was_not_sent() {
    for answer in [Answer::Die, Answer::refusal(500, "starting up"), Answer::ok("{}"), Answer::ok("not json")]
    {
        let server = Server::answering("GET /version", answer.clone());
        let error = server.docker().create_instance(&config()).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent, "{answer:?}: {error}");
        assert!(server.changes().is_empty());
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_an_error_and_never_a_shorter_list() {
    for answer in [
        Answer::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n[{\"Id\":\"aa\",\"Names\":[\"/one\"]}\r\n".to_vec()),
        Answer::ok(r#"[{"Id":"aa","Names":["/one"]}"#),
        Answer::ok(r#"{"message":"not a list"}"#),
        Answer::ok(r#"[{"Names":["/no id"]}]"#),
    ] {
        let server = Server::answering("GET /containers/json", answer.clone());
        let error = server.docker().list_instances(&InstanceFilter::all()).await.unwrap_err();
        assert!(error.is_protocol() || error.is_unavailable(), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn an_event_stream_that_ends_says_so() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let event = "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"f0\",\"Attributes\":{\"name\":\"web\"}},\"time\":1795234400,\"timeNano\":1795234400000000000}\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    for end in ["", "0\r\n\r\n"] {
        let server =
            Server::answering("GET /events", Answer::Raw(format!("{head}{chunk}{end}").into_bytes()));
        let mut stream = server.docker().watch(&WatchOptions::from_now()).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert_eq!(error.substrate(), Some("wire"));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_log_that_breaks_off_is_an_error_after_its_lines() {
    let frame = b"\x01\0\0\0\0\0\0\x24".as_slice();
    let line = b"2026-11-21T04:13:03.201834498Z hello\n\0".as_slice();
    let chunk = [frame, &line[..36]].concat();
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", chunk.len());
    let answer = [head.as_bytes(), &chunk, b"\r\n"].concat();
    let server = Server::answering("GET /containers/", Answer::Raw(answer.clone()));
    let server = {
        drop(server);
        Server::new(
            move |asked, _| if asked.contains("/logs") { Answer::Raw(answer.clone()) } else { usual() },
        )
    };
    let mut lines = server.docker().get_logs(&"web".parse().unwrap(), &LogOptions::all()).await.unwrap();
    let mut seen = 0;
    let error = loop {
        match lines.next().await.unwrap() {
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_unavailable(), "{error}");
    assert!(seen <= 1);
    assert!(lines.next().await.is_none());
}
