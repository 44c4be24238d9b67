//! Images that are files: looked into first, sent only when the daemon does not have what is in them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use substrate_core::{InstanceConfig, Outcome, Substrate};

use crate::server::{Answer, Server, usual};

static FILES: AtomicU32 = AtomicU32::new(0);
const DIGEST: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const LOADED: &str = r#"{"stream":"Loaded image: busybox:new\n"}"#;

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn of(content: &[u8]) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sd-image-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// An archive of images by the digests of their configurations.
    fn archive(digests: &[&str]) -> Self {
        let listed: Vec<String> = digests
            .iter()
            .map(|digest| format!(r#"{{"Config":"{digest}.json","RepoTags":null,"Layers":[]}}"#))
            .collect();
        let mut bytes = entry("x/layer.tar", &[7; 700]);
        bytes.extend(entry("manifest.json", format!("[{}]", listed.join(",")).as_bytes()));
        bytes.extend([0; 1024]);
        Self::of(&bytes)
    }

    fn reference(&self) -> String {
        format!("file:{}", self.0.display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[257..262].copy_from_slice(b"ustar");
    block.extend_from_slice(content);
    block.resize(512 + content.len().div_ceil(512) * 512, 0);
    block
}

fn loading(answer: Answer) -> Server {
    Server::new(move |asked, _| match asked {
        asked if asked.starts_with("GET /images/sha256%3A1111") => Answer::refusal(404, "No such image"),
        asked if asked.starts_with("POST /images/load") => answer.clone(),
        _ => usual(),
    })
}

#[tokio::test]
async fn what_the_daemon_has_is_not_sent_again() {
    let file = File::archive(&[DIGEST]);
    let server = Server::new(|_, _| usual());
    let image = server.docker().ensure_image(&file.reference()).await.unwrap();
    assert_eq!(image.id, "sha256:1");
    assert!(server.changes().is_empty(), "{:?}", server.changes());
}

#[tokio::test]
async fn what_it_does_not_have_is_loaded_and_named_by_its_answer() {
    let file = File::archive(&[DIGEST]);
    let server = loading(Answer::ok(LOADED));
    assert_eq!(server.docker().ensure_image(&file.reference()).await.unwrap().names, ["busybox:latest"]);
    assert_eq!(server.changes(), ["POST /v1.41/images/load?quiet=1"]);
    let asked = server.requests();
    assert!(asked.iter().any(|asked| asked.contains("busybox%3Anew")), "{asked:?}");
}

#[tokio::test]
async fn a_file_of_several_images_is_refused_before_anything_is_sent() {
    let file = File::archive(&[DIGEST, &"2".repeat(64)]);
    let server = loading(Answer::ok(LOADED));
    let error = server.docker().ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("several"), "{error}");
    assert!(server.changes().is_empty());
}

#[tokio::test]
async fn a_failure_in_the_stream_is_an_error_and_makes_no_container() {
    let file = File::of(b"no archive");
    let server =
        loading(Answer::ok(r#"{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}"#));
    let error = server.docker().ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("unexpected EOF"), "{error}");
    let config = InstanceConfig::new("new".parse().unwrap()).with_image(file.reference());
    let error = server.docker().create_instance(&config).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert!(server.changes().iter().all(|change| !change.contains("/containers/create")));
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_open_whether_the_image_came() {
    let file = File::of(&vec![1; 1 << 20]);
    let error = loading(Answer::Die).docker().ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::Unknown, "{error}");
}
