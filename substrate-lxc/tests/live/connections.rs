//! HTTPS with certificates and tokens, projects, the wrong server.

use secrecy::SecretString;
use substrate_core::{Command, InstanceFilter, Outcome, Substrate};
use substrate_lxc::{LxcConfig, LxcSubstrate, ServerKind, TlsConfig};

use crate::lab::Lab;

on_both!(
    https_with_a_certificate_does_what_the_socket_does,
    a_stranger_s_certificate_is_not_trusted_until_a_token_makes_it_known,
    another_server_s_certificate_is_not_accepted_and_nothing_is_sent,
    the_other_product_is_refused,
    a_project_has_names_of_its_own,
);

fn https(lab: &Lab, certificate: &str) -> LxcConfig {
    let file = |name: String| lab.certificate(&name);
    lab.settings(lab.variable("_HTTPS")).with_tls(TlsConfig::new(
        file("server.crt".to_owned()),
        file(format!("{certificate}.crt")),
        file(format!("{certificate}.key")),
    ))
}

async fn https_with_a_certificate_does_what_the_socket_does(lab: Lab) {
    let server = lab.connected(https(&lab, "client")).await;
    let name = lab.running(&server, "remote").await;
    let output = server.execute_command(&name, &Command::new(["cat"]).with_input("over TLS")).await.unwrap();
    assert_eq!(output.stdout_text(), "over TLS");
    let mut events = server.watch(&substrate_core::WatchOptions::from_now()).await.unwrap();
    server.delete_instance(&name, true).await.unwrap();
    assert!(futures_util::StreamExt::next(&mut events).await.unwrap().is_ok());
}

async fn a_stranger_s_certificate_is_not_trusted_until_a_token_makes_it_known(lab: Lab) {
    let stranger = LxcSubstrate::new("stranger", https(&lab, "stranger")).unwrap();
    let error = stranger.connect().await.unwrap_err();
    assert!(error.is_unauthenticated(), "{error}");
    let error = stranger.list_instances(&InstanceFilter::all()).await.unwrap_err();
    assert!(error.is_unauthenticated() || error.is_permission_denied(), "{error}");

    let wrong = https(&lab, "stranger").with_token(SecretString::from("bm8gdG9rZW4="));
    let error = LxcSubstrate::new("stranger", wrong).unwrap().connect().await.unwrap_err();
    assert!(error.is_unauthenticated(), "{error}");
    assert!(!error.to_string().contains("bm8gdG9rZW4="));

    let token = match lab.kind {
        ServerKind::Lxd => {
            lab.run_client(&["config", "trust", "add", "--name", &lab.prefix, "--quiet"]).await
        }
        ServerKind::Incus => lab.run_client(&["config", "trust", "add", &lab.prefix, "--quiet"]).await,
    };
    let token = token.lines().last().unwrap().trim().to_owned();
    let known =
        LxcSubstrate::new(lab.prefix.as_str(), https(&lab, "stranger").with_token(token.into())).unwrap();
    known.connect().await.unwrap();
    known.list_instances(&InstanceFilter::all()).await.unwrap();
    // The token is used up; the certificate is what counts from now on.
    known.connect().await.unwrap();
    let plain = LxcSubstrate::new("plain", https(&lab, "stranger")).unwrap();
    plain.connect().await.unwrap();

    let list = lab.run_client(&["config", "trust", "list", "--format", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let entry = list.as_array().unwrap().iter().find(|entry| {
        let certificate = std::fs::read_to_string(lab.certificate("stranger.crt")).unwrap();
        entry["certificate"].as_str().unwrap().trim() == certificate.trim()
    });
    let fingerprint = entry.unwrap()["fingerprint"].as_str().unwrap().to_owned();
    lab.run_client(&["config", "trust", "remove", &fingerprint]).await;
    assert!(plain.connect().await.unwrap_err().is_unauthenticated());
}

async fn another_server_s_certificate_is_not_accepted_and_nothing_is_sent(lab: Lab) {
    let mut settings = https(&lab, "client");
    if let Some(tls) = &mut settings.tls {
        // Some other certificate.
        tls.server_certificate = Some(lab.certificate("stranger.crt"));
    }
    let server = LxcSubstrate::new("mistaken", settings).unwrap();
    let error = server.connect().await.unwrap_err();
    assert!(error.is_unauthenticated(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
}

async fn the_other_product_is_refused(lab: Lab) {
    let other = match lab.kind {
        ServerKind::Lxd => ServerKind::Incus,
        ServerKind::Incus => ServerKind::Lxd,
    };
    let settings = LxcConfig::default().with_address(lab.variable("")).with_server(other);
    let error = LxcSubstrate::new("mistaken", settings).unwrap().connect().await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains(&lab.kind.to_string()), "{error}");
}

async fn a_project_has_names_of_its_own(lab: Lab) {
    let project = lab.prefix.clone();
    lab.run_client(&[
        "project",
        "create",
        &project,
        "-c",
        "features.images=false",
        "-c",
        "features.profiles=false",
    ])
    .await;
    let inside = lab.connected(lab.settings(lab.variable("")).with_project(&project)).await;
    let outside = lab.server().await;
    let config = lab.config("same");
    let mut events = inside.watch(&substrate_core::WatchOptions::from_now()).await.unwrap();
    outside.create_instance(&config).await.unwrap();
    let made = inside.create_instance(&config).await.unwrap();
    assert_eq!(made.properties["project"], project.as_str());
    assert_ne!(outside.get_instance(&config.name).await.unwrap().id, made.id);
    // The other project's birth of the same name came first, and is nobody's news here.
    let first = futures_util::StreamExt::next(&mut events).await.unwrap().unwrap();
    let substrate_core::WatchItem::Event { event, .. } = first else { panic!("{first:?}") };
    assert!(event.time >= made.created_at.unwrap(), "{event:?}");
    inside.delete_instance(&config.name, true).await.unwrap();
    assert!(inside.get_instance(&config.name).await.unwrap_err().is_not_found());
    outside.delete_instance(&config.name, true).await.unwrap();
    lab.run_client(&["project", "delete", &project]).await;
}
