//! Followed logs: the console of a running guest, live.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use substrate_core::{ErrorKind, LogOptions, LogSource, LogStream, Operation, Result, StopMode, Substrate};
use substrate_proxmox::{ProxmoxConfig, ProxmoxSubstrate};
use substrate_proxmox_double::{Double, FINGERPRINT, Fault, Kind, Setup};

use crate::access::{PemFile, with_tls};
use crate::double::{cluster, config, machine, name, number_of, pair};

async fn follow(substrate: &ProxmoxSubstrate, guest: &str) -> Result<LogStream> {
    substrate.get_logs(&name(guest), &LogOptions::all().follow()).await
}

async fn refused(substrate: &ProxmoxSubstrate, guest: &str) -> substrate_core::Error {
    match follow(substrate, guest).await {
        Ok(_) => panic!("it is followed"),
        Err(error) => error,
    }
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} takes for ever"))
}

async fn next(stream: &mut LogStream) -> String {
    let line = within("the next line", stream.next()).await.unwrap().unwrap();
    assert_eq!((line.time, line.source), (None, LogSource::Console));
    line.message
}

async fn ends(stream: &mut LogStream) {
    let last = within("the end", stream.next()).await;
    assert!(last.is_none(), "{last:?}");
}

async fn breaks(stream: &mut LogStream) -> substrate_core::Error {
    match within("the break", stream.next()).await {
        Some(Err(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

/// Waits until so many look at a guest's console.
async fn lookers(double: &Double, vmid: u64, count: usize) {
    within("the consoles", async {
        while double.lookers(vmid) != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn add_container(double: &Double, vmid: u64, node: &str) {
    double.add_guest(vmid, Kind::Lxc, node, &[("hostname", json!("ct"))]);
    double.switch(vmid, true);
}

async fn running_machine(double: &Double, substrate: &ProxmoxSubstrate) -> u64 {
    substrate.create_instance(&machine("web")).await.unwrap();
    substrate.start_instance(&name("web")).await.unwrap();
    number_of(double, "web")
}

#[tokio::test]
async fn a_machines_console_is_followed_from_now_until_it_stops() {
    let (double, substrate) = pair().await;
    let vmid = running_machine(&double, &substrate).await;
    double.write_console(vmid, "before\r\n");
    let mut stream = follow(&substrate, "web").await.unwrap();
    for piece in ["[    0.1] bo", "ot\r\nlog", "in: \r\n"] {
        double.write_console(vmid, piece);
    }
    assert_eq!(next(&mut stream).await, "[    0.1] boot");
    assert_eq!(next(&mut stream).await, "login: ");
    double.write_console(vmid, "going");
    substrate.stop_instance(&name("web"), StopMode::Force).await.unwrap();
    assert_eq!(next(&mut stream).await, "going", "the last line needs no end");
    ends(&mut stream).await;
    assert!(double.typed(vmid).is_empty(), "who follows types nothing");
}

#[tokio::test]
async fn a_container_has_a_console_without_being_given_one() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    let mut stream = follow(&substrate, "ct").await.unwrap();
    double.write_console(500, "hello\r\n");
    assert_eq!(next(&mut stream).await, "hello");
    double.switch(500, false);
    ends(&mut stream).await;
}

#[tokio::test]
async fn a_paused_machine_is_followed() {
    let (double, substrate) = pair().await;
    let vmid = running_machine(&double, &substrate).await;
    substrate.pause_instance(&name("web")).await.unwrap();
    let mut stream = follow(&substrate, "web").await.unwrap();
    substrate.resume_instance(&name("web")).await.unwrap();
    double.write_console(vmid, "again\r\n");
    assert_eq!(next(&mut stream).await, "again");
}

#[tokio::test]
async fn a_guest_that_is_deleted_or_restarted_ends_its_follower() {
    let (double, substrate) = pair().await;
    let vmid = running_machine(&double, &substrate).await;
    let mut stream = follow(&substrate, "web").await.unwrap();
    // So fast that whoever looks sees a guest that runs.
    double.switch(vmid, false);
    double.switch(vmid, true);
    double.break_consoles(vmid);
    ends(&mut stream).await;
    let mut stream = follow(&substrate, "web").await.unwrap();
    substrate.delete_instance(&name("web"), true).await.unwrap();
    ends(&mut stream).await;
}

#[tokio::test]
async fn a_machine_without_a_serial_port_is_refused_before_anything_is_opened() {
    let (double, substrate) = pair().await;
    double.add_guest(500, Kind::Qemu, "pve", &[("name", json!("bare")), ("serial0", json!("/dev/ttyS0"))]);
    double.switch(500, true);
    double.take_requests();
    let error = refused(&substrate, "bare").await;
    assert!(error.is_unsupported() && error.message().contains("serial0"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("qm set 500 --serial0 socket")), "{error:?}");
    assert_eq!(error.operation(), Some(Operation::GetLogs));
    assert!(double.take_requests().iter().all(|request| request.starts_with("GET")));
    double.change(500, "serial1", Some(json!("socket")));
    drop(follow(&substrate, "bare").await.unwrap());
}

#[tokio::test]
async fn a_container_whose_console_is_a_shell_is_refused() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    double.change(500, "cmode", Some(json!("shell")));
    let error = refused(&substrate, "ct").await;
    assert!(error.is_unsupported() && error.message().contains("cmode"), "{error}");
    assert!(double.take_requests().iter().all(|request| request.starts_with("GET")));
}

#[tokio::test]
async fn a_console_that_is_refused_says_why() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    let denied = "Permission check failed (/vms/500, VM.Console)".to_owned();
    for (method, part) in [("POST", "/termproxy"), ("GET", "/vncwebsocket")] {
        double.plan(method, part, Fault::Refuse(403, denied.clone()), 1);
        let error = refused(&substrate, "ct").await;
        assert!(error.is_permission_denied() && error.message().contains("VM.Console"), "{error}");
    }
}

#[tokio::test]
async fn a_ticket_that_has_ended_is_said_to_be() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    double.end_console_tickets();
    let error = refused(&substrate, "ct").await;
    assert!(error.is_unauthenticated() && error.message().contains("invalid PVEVNC ticket"), "{error}");
    assert!(!format!("{error:?}").contains("PVEVNC:"), "a ticket is a secret: {error:?}");
}

#[tokio::test]
async fn the_certificate_is_checked_as_with_every_other_request() {
    let (double, file) = (with_tls().await, PemFile::authority());
    add_container(&double, 500, "pve");
    let settings = config(&double);
    let [mut by_authority, mut pinned, mut unchecked] = [(); 3].map(|()| settings.clone());
    by_authority.ca = Some(file.0.clone());
    pinned.fingerprint = vec![FINGERPRINT.to_owned()];
    unchecked.verify_ssl = false;
    for settings in [by_authority, pinned, unchecked] {
        let substrate = ProxmoxSubstrate::new("pve", settings).unwrap();
        let mut stream = follow(&substrate, "ct").await.unwrap();
        double.write_console(500, "hello\r\n");
        assert_eq!(next(&mut stream).await, "hello");
        double.switch(500, false);
        ends(&mut stream).await;
        double.switch(500, true);
    }
}

#[tokio::test]
async fn version_8_takes_a_ticket_of_a_user_and_none_of_a_token() {
    let setup = Setup { version: "8.4.5", ..Setup::default() };
    let (double, by_token) = crate::double::pair_of(setup).await;
    add_container(&double, 500, "pve");
    let error = refused(&by_token, "ct").await;
    assert!(error.is_unauthenticated(), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("password")), "{error:?}");
    lookers(&double, 500, 0).await;
    let mut settings = ProxmoxConfig::default().with_password("root@pam", "labsecret".to_owned());
    settings.hosts = double.urls();
    let by_password = ProxmoxSubstrate::new("pve", settings).unwrap();
    let mut stream = follow(&by_password, "ct").await.unwrap();
    double.write_console(500, "hello\r\n");
    assert_eq!(next(&mut stream).await, "hello");
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_and_no_end() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    let mut stream = follow(&substrate, "ct").await.unwrap();
    double.write_console(500, "whole\r\nhal");
    assert_eq!(next(&mut stream).await, "whole");
    double.break_consoles(500);
    assert_eq!(next(&mut stream).await, "hal");
    let error = breaks(&mut stream).await;
    assert!(error.kind() == ErrorKind::Unavailable && error.message().contains("still runs"), "{error}");
    assert_eq!(error.operation(), Some(Operation::GetLogs));
    ends(&mut stream).await;
}

#[tokio::test]
async fn a_host_that_goes_away_under_a_follower_is_an_error() {
    let double = Double::start(cluster()).await;
    let substrate = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    add_container(&double, 500, "pve1");
    let mut stream = follow(&substrate, "ct").await.unwrap();
    double.kill_host(0);
    let error = breaks(&mut stream).await;
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_guest_that_moves_is_an_error_that_says_where_it_went() {
    let double = Double::start(cluster()).await;
    let substrate = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    add_container(&double, 500, "pve1");
    let mut stream = follow(&substrate, "ct").await.unwrap();
    double.move_guest(500, "pve2");
    double.gossip();
    double.break_consoles(500);
    let error = breaks(&mut stream).await;
    assert!(error.is_unavailable() && error.message().contains("pve2"), "{error}");
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (double, substrate) = pair().await;
    add_container(&double, 500, "pve");
    let streams = [follow(&substrate, "ct").await.unwrap(), follow(&substrate, "ct").await.unwrap()];
    assert_eq!(double.lookers(500), 2);
    drop(streams);
    lookers(&double, 500, 0).await;
    let ended = double.tasks().into_iter().filter(|(kind, ..)| kind == "vncproxy").count();
    assert_eq!(ended, 2, "what stood behind them has ended");
}

#[tokio::test]
async fn the_socket_is_opened_at_the_host_that_made_the_port() {
    let double = Double::start(cluster()).await;
    let substrate = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    // The guest is on another node than any host: its node is a matter of the path.
    add_container(&double, 500, "pve2");
    double.kill_host(0);
    double.take_requests();
    let mut stream = follow(&substrate, "ct").await.unwrap();
    double.write_console(500, "hello\r\n");
    assert_eq!(next(&mut stream).await, "hello");
    let requests = double.take_requests();
    for part in ["POST /nodes/pve2/lxc/500/termproxy", "GET /nodes/pve2/lxc/500/vncwebsocket?port=59"] {
        assert_eq!(requests.iter().filter(|one| one.starts_with(part)).count(), 1, "{part}: {requests:?}");
    }
}

#[tokio::test]
async fn consoles_at_once_through_hosts_that_come_and_go_find_their_ports() {
    let double = Double::start(cluster()).await;
    let substrate = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    add_container(&double, 500, "pve1");
    // Other calls change meanwhile which host answered last: an answer that is lost sends them to the next one.
    let follows = futures_util::future::join_all((0..6).map(|_| follow(&substrate, "ct")));
    let flips = async {
        for _ in 0..200 {
            double.plan("GET", "/version", Fault::LoseAnswer, 1);
            substrate.connect().await.unwrap();
        }
    };
    tokio::select! {
        streams = follows => streams.into_iter().for_each(|stream| drop(stream.unwrap())),
        () = flips => panic!("the hosts were changed too fast"),
    }
}

#[tokio::test]
async fn following_a_stopped_guest_is_its_tasks_log_and_ends() {
    let (_double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let stream = follow(&substrate, "web").await.unwrap();
    let lines: Vec<_> = stream.map(|line| line.unwrap().source).collect().await;
    assert!(!lines.is_empty() && lines.iter().all(|source| *source == LogSource::System), "{lines:?}");
}
