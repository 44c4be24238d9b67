//! Every fault that supervisord documents, as it comes over the wire.

use std::time::Duration;

use substrate_core::{ErrorKind, HealthStatus, InstanceFilter, Operation, Outcome, StopMode, Substrate};

use crate::server::{Answer, Server, array, fault, process};

const FAULTS: [(i32, &str, ErrorKind, Outcome); 18] = [
    (1, "UNKNOWN_METHOD", ErrorKind::Unsupported, Outcome::Rejected),
    (2, "INCORRECT_PARAMETERS", ErrorKind::Internal, Outcome::Rejected),
    (3, "BAD_ARGUMENTS", ErrorKind::Internal, Outcome::Rejected),
    (4, "SIGNATURE_UNSUPPORTED", ErrorKind::Internal, Outcome::Rejected),
    (6, "SHUTDOWN_STATE", ErrorKind::Unavailable, Outcome::Rejected),
    (10, "BAD_NAME", ErrorKind::NotFound, Outcome::Rejected),
    (11, "BAD_SIGNAL", ErrorKind::InvalidInput, Outcome::Rejected),
    (20, "NO_FILE", ErrorKind::InvalidInput, Outcome::Rejected),
    (21, "NOT_EXECUTABLE", ErrorKind::InvalidInput, Outcome::Rejected),
    (30, "FAILED", ErrorKind::Internal, Outcome::Unknown),
    (40, "ABNORMAL_TERMINATION", ErrorKind::InvalidInput, Outcome::Rejected),
    (50, "SPAWN_ERROR", ErrorKind::InvalidInput, Outcome::Rejected),
    (60, "ALREADY_STARTED", ErrorKind::Conflict, Outcome::Rejected),
    (70, "NOT_RUNNING", ErrorKind::Conflict, Outcome::Rejected),
    (80, "SUCCESS", ErrorKind::Protocol, Outcome::Unknown),
    (90, "ALREADY_ADDED", ErrorKind::AlreadyExists, Outcome::Rejected),
    (91, "STILL_RUNNING", ErrorKind::Conflict, Outcome::Rejected),
    (92, "CANT_REREAD", ErrorKind::Conflict, Outcome::Rejected),
];

#[tokio::test]
async fn every_documented_fault_becomes_an_error_with_its_words() {
    for (code, word, kind, outcome) in FAULTS {
        let server = Server::always(Answer::fault(code, &format!("{word}: a &lt;web&gt;")));
        let error = server.supervisor().list_instances(&InstanceFilter::all()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{word}: {error}");
        assert!(error.message().contains(&format!("{word}: a <web>")), "{error}");
        assert_eq!(error.operation(), Some(Operation::ListInstances));
        assert_eq!(error.substrate(), Some("wire"));
    }
}

/// Looks show a process in this state; everything else is answered so.
fn with_state(state: i32, word: &'static str, other: Answer) -> Server {
    Server::new(move |request, _| match &*request.methods()[0] {
        "getProcessInfo" => Answer::value(process("web", "web", state, word)),
        _ => other.clone(),
    })
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    for (code, word, kind) in [
        (6, "SHUTDOWN_STATE", ErrorKind::Unavailable),
        (10, "BAD_NAME", ErrorKind::NotFound),
        (20, "NO_FILE", ErrorKind::InvalidInput),
        (21, "NOT_EXECUTABLE", ErrorKind::InvalidInput),
        (30, "FAILED", ErrorKind::Internal),
    ] {
        let server = with_state(0, "STOPPED", Answer::fault(code, word));
        let error = server.supervisor().start_instance(&"web".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{word}: {error}");
        assert_eq!(error.instance(), Some("web"));
    }
}

#[tokio::test]
async fn already_started_and_not_running_are_success() {
    // Somebody else was faster, between the look and the call.
    let started = Server::new(|request, number| match (&*request.methods()[0], number) {
        ("getProcessInfo", 0 | 1) => Answer::value(process("web", "web", 0, "STOPPED")),
        ("getProcessInfo", _) => Answer::value(process("web", "web", 20, "RUNNING")),
        _ => Answer::fault(60, "ALREADY_STARTED: web:web"),
    });
    started.supervisor().start_instance(&"web".parse().unwrap()).await.unwrap();
    for mode in [StopMode::Force, StopMode::GracefulThenForce(Duration::from_secs(1))] {
        let stopped = Server::new(move |request, number| match (&*request.methods()[0], number) {
            ("getProcessInfo", 0) => Answer::value(process("web", "web", 20, "RUNNING")),
            ("getProcessInfo", _) => Answer::value(process("web", "web", 0, "STOPPED")),
            _ if mode == StopMode::Force => {
                Answer::value(array([fault(70, "NOT_RUNNING: web:web"), fault(70, "NOT_RUNNING: web:web")]))
            }
            _ => Answer::fault(70, "NOT_RUNNING: web:web"),
        });
        stopped.supervisor().stop_instance(&"web".parse().unwrap(), mode).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_during_a_stop_waits_since_supervisord_would_ignore_it() {
    let server = Server::new(|request, number| match (&*request.methods()[0], number) {
        ("getProcessInfo", 0..=3) => Answer::value(process("web", "web", 40, "STOPPING")),
        ("getProcessInfo", 4) => Answer::value(process("web", "web", 0, "STOPPED")),
        ("getProcessInfo", _) => Answer::value(process("web", "web", 20, "RUNNING")),
        _ => Answer::value("<boolean>1</boolean>"),
    });
    server.supervisor().start_instance(&"web".parse().unwrap()).await.unwrap();
    let starts: Vec<usize> = server
        .requests()
        .iter()
        .enumerate()
        .filter(|(_, request)| request.methods()[0] == "startProcess")
        .map(|(number, _)| number)
        .collect();
    assert_eq!(starts, [5], "one start, after the stop was over");
}

#[tokio::test]
async fn a_server_that_shuts_down_is_unhealthy_and_not_an_error() {
    let down = || fault(6, "SHUTDOWN_STATE");
    let server = Server::always(Answer::value(array([down(), down(), down(), down(), down()])));
    let health = server.supervisor().health_check().await.unwrap();
    assert_eq!(health.status, HealthStatus::Unhealthy);
    assert!(health.issues[0].contains("shutting down"));
}

#[tokio::test]
async fn a_log_that_is_longer_than_xml_rpc_can_say_is_unsupported() {
    // supervisord's exception about a number of more than 31 bits.
    let server = with_state(20, "RUNNING", Answer::Status(500, String::new()));
    let log =
        server.supervisor().get_logs(&"web".parse().unwrap(), &substrate_core::LogOptions::tail(1)).await;
    let error = log.map(drop).unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("2 GiB"), "{error}");
}

#[tokio::test]
async fn a_stop_ends_though_somebody_starts_it_anew_between_two_looks() {
    let running = |pid: &str| {
        let process = process("web", "web", 20, "RUNNING");
        Answer::value(process.replace(
            "<name>pid</name>\n<value><int>0</int>",
            &format!("<name>pid</name>\n<value><int>{pid}</int>"),
        ))
    };
    let server = Server::new(move |request, number| match (&*request.methods()[0], number) {
        ("getProcessInfo", 0..=3) => running("7"),
        ("getProcessInfo", _) => running("8"),
        _ => Answer::value(array(["<boolean>1</boolean>".to_owned(), "<boolean>1</boolean>".to_owned()])),
    });
    let stop = server.supervisor();
    let stop = tokio::time::timeout(Duration::from_secs(5), async {
        stop.stop_instance(&"web".parse().unwrap(), StopMode::Force).await
    });
    stop.await.expect("it ends").unwrap();
    assert_eq!(server.requests().iter().filter(|request| request.methods()[0] == "stopProcess").count(), 1);
}

/// A record beside it makes the program one of ours, which can be stopped gracefully.
fn ours(server: &Server) {
    let record = r#"; substrate-supervisor {"name":"web","key":"0123456789abcdef"}"#;
    std::fs::write(server.folder.join("substrate-web.conf"), format!("{record}\n[program:web]\n")).unwrap();
}

fn asked(server: &Server) -> Vec<String> {
    let methods = server.requests().into_iter().flat_map(|request| request.methods());
    methods.filter(|method| method != "getProcessInfo").collect()
}

#[tokio::test]
async fn a_graceful_stop_sends_one_signal_and_never_supervisords_own_stop() {
    let server = with_state(20, "RUNNING", Answer::value("<boolean>1</boolean>"));
    ours(&server);
    let grace = StopMode::Graceful(Duration::from_millis(200));
    let error = server.supervisor().stop_instance(&"web".parse().unwrap(), grace).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Rejected), "{error}");
    assert_eq!(asked(&server), ["signalProcess"]);
}

#[tokio::test]
async fn a_graceful_stop_between_two_tries_tells_supervisord_to_try_no_more() {
    // It ends of the signal before its `startsecs`: supervisord would start it again.
    let server = Server::new(|request, number| match (&*request.methods()[0], number) {
        ("getProcessInfo", 0) => Answer::value(process("web", "web", 10, "STARTING")),
        ("getProcessInfo", 1..=2) => Answer::value(process("web", "web", 30, "BACKOFF")),
        ("getProcessInfo", _) => Answer::value(process("web", "web", 0, "STOPPED")),
        _ => Answer::value("<boolean>1</boolean>"),
    });
    ours(&server);
    let grace = StopMode::Graceful(Duration::from_secs(5));
    server.supervisor().stop_instance(&"web".parse().unwrap(), grace).await.unwrap();
    assert_eq!(asked(&server), ["signalProcess", "stopProcess"]);
}
