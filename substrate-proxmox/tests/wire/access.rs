//! Who we are, and who they are: tickets, tokens, second factors, certificates.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use substrate_core::{ErrorKind, HealthStatus, InstanceFilter, Outcome, Substrate};
use substrate_proxmox::{ProxmoxConfig, ProxmoxSubstrate};
use substrate_proxmox_double::{AUTHORITY, Double, FINGERPRINT, Fault, Setup};

use crate::double::{SECRET, TOKEN, config, machine, name, pair};

pub(crate) async fn with_tls() -> Double {
    Double::start(Setup { tls: true, ..Setup::default() }).await
}

fn by_password(double: &Double, user: &str, password: &str) -> ProxmoxSubstrate {
    let mut config = ProxmoxConfig::default().with_password(user, password.to_owned());
    config.hosts = double.urls();
    ProxmoxSubstrate::new("pve", config).unwrap()
}

/// A PEM file, gone with the test.
pub(crate) struct PemFile(pub(crate) PathBuf);

impl PemFile {
    pub(crate) fn authority() -> Self {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("substrate-proxmox-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, AUTHORITY).unwrap();
        Self(path)
    }
}

impl Drop for PemFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_ticket_is_fetched_and_replaced_when_it_has_ended() {
    let (double, _) = pair().await;
    let substrate = by_password(&double, "root@pam", "labsecret");
    substrate.create_instance(&machine("web")).await.unwrap();
    double.expire_tickets();
    // A change, which needs the new CSRF token too.
    substrate.start_instance(&name("web")).await.unwrap();
    let logins = double.take_requests().iter().filter(|one| one.contains("/access/ticket")).count();
    assert_eq!(logins, 2, "one at the beginning, one after the end");
}

#[tokio::test]
async fn callers_at_once_share_one_login() {
    let (double, _) = pair().await;
    let substrate = by_password(&double, "root", "labsecret");
    let filter = InstanceFilter::all();
    let calls = (0..20).map(|_| substrate.list_instances(&filter));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    let logins = double.take_requests().iter().filter(|one| one.contains("/access/ticket")).count();
    assert_eq!(logins, 1);
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_token_are_told_apart_from_silence() {
    let (double, _) = pair().await;
    let wrong_password = by_password(&double, "root@pam", "canary-password");
    let mut settings = config(&double);
    settings.token_secret = Some("canary-token".to_owned().into());
    let wrong_token = ProxmoxSubstrate::new("pve", settings).unwrap();
    for substrate in [wrong_password, wrong_token] {
        let error = substrate.create_instance(&machine("web")).await.unwrap_err();
        assert!(error.is_unauthenticated(), "{error}");
        assert_ne!(error.outcome(), Outcome::Unknown, "{error}");
    }
    assert!(double.guests().is_empty());
}

#[tokio::test]
async fn a_second_factor_is_reported_with_the_way_around_it() {
    let (double, _) = pair().await;
    let error = by_password(&double, "strict@pve", "labsecret").connect().await.unwrap_err();
    assert!(error.is_unauthenticated(), "{error}");
    assert!(
        error.to_string().contains("second factor") && error.to_string().contains("API token"),
        "{error}"
    );
}

#[tokio::test]
async fn a_configuration_without_credentials_opens_and_says_so_when_it_is_used() {
    let (double, _) = pair().await;
    let substrate = ProxmoxSubstrate::new("pve", ProxmoxConfig::new(double.url(0))).unwrap();
    let error = substrate.connect().await.unwrap_err();
    assert!(error.is_unauthenticated() && error.outcome() == Outcome::NotSent, "{error}");
}

#[tokio::test]
async fn a_certificate_of_ones_own_authority_is_accepted_and_no_other() {
    let (double, file) = (with_tls().await, PemFile::authority());
    let mut settings = config(&double);
    let stranger = ProxmoxSubstrate::new("pve", settings.clone()).unwrap();
    let error = stranger.connect().await.unwrap_err();
    assert!(error.is_unauthenticated() && error.outcome() == Outcome::NotSent, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("fingerprint")), "{error}");
    settings.ca = Some(file.0.clone());
    let substrate = ProxmoxSubstrate::new("pve", settings).unwrap();
    substrate.connect().await.unwrap();
    assert_eq!(substrate.health_check().await.unwrap().status, HealthStatus::Healthy);
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_and_no_other() {
    let double = with_tls().await;
    let mut settings = config(&double);
    settings.fingerprint = vec![FINGERPRINT.to_owned()];
    ProxmoxSubstrate::new("pve", settings.clone()).unwrap().connect().await.unwrap();
    settings.fingerprint = vec![FINGERPRINT.replacen("C1", "C2", 1)];
    let error = ProxmoxSubstrate::new("pve", settings).unwrap().connect().await.unwrap_err();
    assert!(error.is_unauthenticated(), "{error}");
    // What was seen is what a person compares and pins.
    assert!(error.to_string().contains(FINGERPRINT), "{error}");
}

#[tokio::test]
async fn without_a_check_it_works_and_health_says_so() {
    let double = with_tls().await;
    let mut settings = config(&double);
    settings.verify_ssl = false;
    let substrate = ProxmoxSubstrate::new("pve", settings).unwrap();
    let report = substrate.health_check().await.unwrap();
    assert_eq!(report.status, HealthStatus::Degraded);
    assert!(report.issues.iter().any(|issue| issue.contains("verify_ssl")), "{:?}", report.issues);
}

#[tokio::test]
async fn no_secret_is_in_any_text() {
    let (double, substrate) = pair().await;
    let mut texts = vec![format!("{substrate:?}"), format!("{:?}", config(&double))];
    let config = machine("web").with_option(
        "cloud_init",
        serde_json::json!({"user": "admin", "password": "canary-cloud", "ssh_keys": ["ssh-ed25519 AAAA x"]}),
    );
    substrate.create_instance(&config).await.unwrap();
    texts.push(format!("{:?}", substrate.get_instance(&name("web")).await.unwrap()));
    for (user, password) in [("root@pam", "canary-password"), ("strict@pve", "labsecret")] {
        let other = by_password(&double, user, password);
        texts.push(format!("{other:?}"));
        let error = other.connect().await.unwrap_err();
        texts.extend([error.to_string(), format!("{error:?}")]);
    }
    // Also where the cluster keeps what was asked for, and in paths and queries.
    texts.push(format!("{:?}", double.guests()));
    texts.extend(double.take_requests());
    for text in texts {
        for secret in ["canary", SECRET, "labsecret"] {
            assert!(!text.contains(secret), "`{secret}` is in {text}");
        }
    }
    assert_eq!(TOKEN, "root@pam!lab");
}

#[tokio::test]
async fn a_reason_in_the_status_line_alone_is_understood() {
    let (double, substrate) = pair().await;
    let refusals = [
        (500, "error with cfs lock 'domain-ha': no quorum!", ErrorKind::Unavailable),
        (403, "Permission check failed (/, Sys.Audit)", ErrorKind::PermissionDenied),
    ];
    for (status, reason, kind) in refusals {
        double.plan("GET", "/version", Fault::RefuseTersely(status, reason.to_owned()), 1);
        let error = substrate.connect().await.unwrap_err();
        assert!(error.kind() == kind && error.message().contains(reason), "{error}");
    }
}
