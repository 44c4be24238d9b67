//! Servers that are none, that hang, and that die in the middle.

use std::time::Duration;

use substrate_core::{
    ErrorKind, InstanceConfig, InstanceFilter, InstanceState, Outcome, StopMode, Substrate, mark,
};
use substrate_supervisor::SupervisorSubstrate;

use crate::server::{Answer, Server, array, fault, process};

#[tokio::test]
async fn what_is_no_supervisord_is_told_from_one_that_fails() {
    for (answer, kind) in [
        (Answer::Status(200, "<html>welcome</html>".to_owned()), ErrorKind::Protocol),
        (Answer::Status(200, String::new()), ErrorKind::Protocol),
        (Answer::Status(200, "<methodResponse><fault>".to_owned()), ErrorKind::Protocol),
        (Answer::value("<int>7</int>"), ErrorKind::Protocol),
        (Answer::value(array(["<int>7</int>".to_owned()])), ErrorKind::Protocol),
        (Answer::Status(404, String::new()), ErrorKind::Protocol),
        (Answer::Status(302, String::new()), ErrorKind::Protocol),
        (Answer::Status(401, String::new()), ErrorKind::Unauthenticated),
        (Answer::Status(403, String::new()), ErrorKind::PermissionDenied),
        (Answer::Status(500, String::new()), ErrorKind::Internal),
        (Answer::Status(502, String::new()), ErrorKind::Unavailable),
        (Answer::Torn, ErrorKind::Unavailable),
        (Answer::Die, ErrorKind::Unavailable),
    ] {
        let server = Server::always(answer.clone());
        let error = server.supervisor().list_instances(&InstanceFilter::all()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn a_batch_with_too_few_answers_is_no_success() {
    let server = Server::always(Answer::value(array(["<int>1</int>".to_owned()])));
    let error = server.supervisor().health_check().await.unwrap_err();
    assert!(error.is_protocol() && error.message().contains("5 calls have 1 answers"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout_and_the_outcome_is_open() {
    let server = Server::always(Answer::Hang);
    let config = server.config().with_request_timeout(Duration::from_millis(100));
    let supervisor = SupervisorSubstrate::new("wire", config).unwrap();
    let error = supervisor.stop_instance(&"web".parse().unwrap(), StopMode::Force).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Unknown), "{error}");
}

fn config() -> InstanceConfig {
    InstanceConfig::new("web".parse().unwrap()).with_command(["sleep", "9"]).with_label(mark::KEY, "k1")
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_can_be_found_by_its_mark() {
    // The check is answered; then the connection breaks, and supervisord may have loaded it or not.
    let server = Server::new(|request, number| match (number, &*request.methods()[0]) {
        (0, _) => Answer::value(array([array([]), array([]), array([])])),
        (1, _) => Answer::Die,
        (_, "getProcessInfo") => Answer::fault(10, "BAD_NAME: web:web"),
        _ => Answer::value(array([])),
    });
    let supervisor = server.supervisor();
    let error = supervisor.create_instance(&config()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error}");
    assert_eq!(server.files(), ["substrate-web.conf"]);
    let found = supervisor.list_instances(&InstanceFilter::all().with_label(mark::KEY, "k1")).await.unwrap();
    assert_eq!(
        (found.len(), found[0].state, &*found[0].provider_state),
        (1, InstanceState::Stopped, "not loaded")
    );
    assert_eq!(supervisor.get_instance(&"web".parse().unwrap()).await.unwrap().id, found[0].id);
}

#[tokio::test]
async fn a_creation_that_never_reached_anybody_writes_nothing() {
    // Only the look before it was sent: that its answer was lost leaves nothing open.
    let server = Server::always(Answer::Die);
    let error = server.supervisor().create_instance(&config()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{error}");
    assert!(server.files().is_empty());
}

#[tokio::test]
async fn a_creation_that_finds_nobody_any_more_takes_its_file_back() {
    let server = Server::new(|_, _| Answer::value(array([array([]), array([]), array([])])));
    let socket = server.folder.join("socket");
    let supervisor = server.supervisor();
    let mut taken_away = false;
    // The socket goes as soon as the file is there: the second request finds nobody.
    let config = config();
    let create = supervisor.create_instance(&config);
    tokio::pin!(create);
    let error = std::future::poll_fn(|task| {
        if !taken_away && server.requests().len() == 1 {
            let _ = std::fs::remove_file(&socket);
            taken_away = true;
        }
        create.as_mut().poll(task)
    })
    .await
    .unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{error}");
    assert!(server.files().is_empty(), "{:?}", server.files());
}

#[tokio::test]
async fn a_creation_that_supervisord_mixed_with_another_is_taken_back() {
    // Another file's section of the same name came in between: the command is not ours.
    let server = Server::new(|request, number| match (number, &*request.methods()[0]) {
        (0, _) => Answer::value(array([array([]), array([]), array([])])),
        (1, _) => {
            let mixed = crate::server::structure(&[
                ("group", crate::server::string("web")),
                ("name", crate::server::string("web")),
                ("command", crate::server::string("evil")),
            ]);
            let process = process("web", "web", 0, "STOPPED");
            let yes = "<boolean>1</boolean>".to_owned();
            Answer::value(array([array([]), yes, process, array([mixed])]))
        }
        (_, "removeProcessGroup") => Answer::value("<boolean>1</boolean>"),
        _ => Answer::value(array([array([]), fault(10, "BAD_NAME: web")])),
    });
    let error = server.supervisor().create_instance(&config()).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("another file"), "{error}");
    assert!(server.files().is_empty());
    let asked: Vec<String> = server.requests().iter().flat_map(|request| request.methods()).collect();
    assert_eq!(asked.iter().filter(|method| *method == "removeProcessGroup").count(), 2, "{asked:?}");
}
