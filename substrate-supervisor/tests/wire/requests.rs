//! What is sent: how often, and with which credentials.

use substrate_core::{InstanceFilter, Substrate};
use substrate_supervisor::SupervisorSubstrate;

use crate::server::{Answer, Server, array, process};

#[tokio::test]
async fn two_hundred_processes_are_one_request() {
    let all = array((0..200).map(|number| process("many", &format!("many-{number:03}"), 20, "RUNNING")));
    let server = Server::always(Answer::value(all));
    let found = server.supervisor().list_instances(&InstanceFilter::all()).await.unwrap();
    assert_eq!(found.len(), 200);
    assert_eq!(found[7].name, "many:many-007");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].methods(), ["getAllProcessInfo"]);
}

#[tokio::test]
async fn credentials_go_with_every_request_and_into_no_error() {
    let server = Server::always(Answer::Status(500, String::new()));
    let config = server.config().with_credentials("admin", "hunter2");
    let supervisor = SupervisorSubstrate::new("wire", config).unwrap();
    let error = supervisor.connect().await.unwrap_err();
    assert!(server.requests()[0].head.to_ascii_lowercase().contains("authorization: basic "));
    // `admin:hunter2`
    assert!(server.requests()[0].head.contains("YWRtaW46aHVudGVyMg=="));
    for text in [error.to_string(), format!("{error:?}"), format!("{supervisor:?}")] {
        assert!(!text.contains("hunter2") && !text.contains("YWRtaW46"), "{text}");
    }
}

#[tokio::test]
async fn a_name_is_escaped_and_never_more_than_a_name() {
    let server = Server::always(Answer::fault(10, "BAD_NAME"));
    let supervisor = server.supervisor();
    for hostile in ["]]>", "<web>", "a&b", "\"'", "</string></value>"] {
        let error = supervisor.get_instance(&hostile.parse().unwrap()).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
    for request in server.requests() {
        assert_eq!(request.body.matches("<string>").count(), 1, "{}", request.body);
    }
    // What XML cannot hold is nobody's name, and is not sent.
    let before = server.requests().len();
    assert!(supervisor.get_instance(&"a\u{ffff}".parse().unwrap()).await.unwrap_err().is_not_found());
    assert_eq!(server.requests().len(), before);
}
