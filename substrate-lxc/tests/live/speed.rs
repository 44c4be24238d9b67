//! What a call costs beside the bare exchange and beside the server's own client.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use substrate_core::{Command, InstanceConfig, InstanceFilter, Substrate};

use crate::lab::Lab;

on_both!(alone:
    a_list_of_200_instances_costs_little_more_than_its_bare_request,
    a_command_costs_little_more_than_with_the_servers_own_client,
);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn a_list_of_200_instances_costs_little_more_than_its_bare_request(lab: Lab) {
    let server = &lab.server().await;
    let image = &lab.variable("_IMAGE");
    let made: Vec<_> = stream::iter(0..200)
        .map(|number| {
            let config = InstanceConfig::new(lab.named(&format!("i{number}"))).with_image(image);
            async move { server.create_instance(&config).await }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    assert!(made.iter().all(Result::is_ok));
    let socket = lab.variable("").trim_start_matches("unix://").to_owned();
    let bare = reqwest::Client::builder()
        .tls_backend_preconfigured(
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth(),
        )
        .unix_socket(socket)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let filter = InstanceFilter::all();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // In turns, so that both see the same machine.
    for _ in 0..25 {
        let start = Instant::now();
        let answer = bare.get("http://lxc/1.0/instances?recursion=1").send().await.unwrap();
        assert!(answer.bytes().await.unwrap().len() > 100_000);
        theirs.push(start.elapsed());
        let start = Instant::now();
        assert!(server.list_instances(&filter).await.unwrap().len() >= 200);
        ours.push(start.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{}: 200 instances: ours {ours:?}, the bare request {theirs:?}, ratio {ratio:.2}", lab.kind);
    // Reading 200 documents costs several times as much without optimisation; the promise is about the other.
    let most = if cfg!(debug_assertions) { 3.0 } else { 1.2 };
    assert!(ratio <= most, "the list takes {ratio:.2} of its bare request's time");
    let names: Vec<_> = (0..200).map(|number| lab.named(&format!("i{number}"))).collect();
    let deleted: Vec<_> = stream::iter(&names)
        .map(|name| server.delete_instance(name, true))
        .buffer_unordered(4)
        .collect()
        .await;
    assert!(deleted.iter().all(Result::is_ok));
}

async fn a_command_costs_little_more_than_with_the_servers_own_client(lab: Lab) {
    let server = lab.server().await;
    let name = lab.running(&server, "fast").await;
    let command = Command::new(["true"]);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        let start = Instant::now();
        lab.run_client(&["exec", name.as_str(), "--", "true"]).await;
        theirs.push(start.elapsed());
        let start = Instant::now();
        assert!(server.execute_command(&name, &command).await.unwrap().success());
        ours.push(start.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{}: exec of true: ours {ours:?}, its own client {theirs:?}, ratio {ratio:.2}", lab.kind);
    assert!(ratio <= 1.3, "a command takes {ratio:.2} of the own client's time");
}
