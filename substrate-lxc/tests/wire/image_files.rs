//! Images that are files: hashed first, sent only to a server that does not have them, and never half.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ring::digest::{SHA256, digest};
use serde_json::json;
use substrate_core::{InstanceConfig, Outcome, Substrate};

use crate::server::{Answer, Server};

static FILES: AtomicU32 = AtomicU32::new(0);

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn of(content: &[u8]) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sl-image-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
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

fn fingerprint(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that answers an upload like this, and then has the image or not.
fn taking(fingerprint: &str, upload: Answer, has_it_then: bool) -> Server {
    let (line_of_image, document) = (
        format!("GET /1.0/images/{fingerprint}"),
        json!({"fingerprint": fingerprint, "size": 5, "aliases": [{"name": "bb"}]}),
    );
    let was_asked = Arc::new(AtomicBool::new(false));
    Server::new(move |line, _| {
        if line == "POST /1.0/images" {
            was_asked.store(true, Ordering::SeqCst);
            return upload.clone();
        }
        if line == line_of_image && has_it_then && was_asked.load(Ordering::SeqCst) {
            return Answer::done(document.clone());
        }
        Answer::Usual
    })
}

#[tokio::test]
async fn a_file_is_sent_once_with_the_hash_that_the_server_checks() {
    let content = vec![7; 700_000];
    let (file, fingerprint) = (File::of(&content), fingerprint(&content));
    let server = taking(&fingerprint, Answer::begun(), true);
    let substrate = server.substrate();
    for _ in 0..2 {
        let image = substrate.ensure_image(&file.reference()).await.unwrap();
        assert_eq!(
            (image.id.as_str(), image.names.as_slice()),
            (fingerprint.as_str(), &["bb".to_owned()][..])
        );
    }
    substrate
        .create_instance(&InstanceConfig::new("web".parse().unwrap()).with_image(file.reference()))
        .await
        .unwrap();
    let changes = server.changes();
    assert_eq!(changes.len(), 2, "one upload, one creation");
    let head = changes[0].head.to_lowercase();
    assert!(head.contains(&format!("x-lxd-fingerprint: {fingerprint}")), "{head}");
    assert!(head.contains(&format!("x-incus-fingerprint: {fingerprint}")), "{head}");
    assert!(head.contains("content-length: 700000") && !head.contains("chunked"), "{head}");
    assert_eq!(changes[0].raw, content);
    assert_eq!(changes[1].body["source"], json!({"type": "image", "fingerprint": fingerprint}));
}

#[tokio::test]
async fn two_files_are_sent_as_parts_and_hashed_as_one() {
    let (metadata, disk) = (File::of(b"metadata"), File::of(b"QFI\xfbdisk"));
    let fingerprint = fingerprint(b"metadataQFI\xfbdisk");
    let server = taking(&fingerprint, Answer::begun(), true);
    let reference = format!("{}+{}", metadata.reference(), disk.0.display());
    assert_eq!(server.substrate().ensure_image(&reference).await.unwrap().id, fingerprint);
    let change = &server.changes()[0];
    assert!(change.head.contains("multipart/form-data; boundary="), "{}", change.head);
    let body = String::from_utf8_lossy(&change.raw).into_owned();
    let parts = body.split("form-data; name=").skip(1).map(|part| part.split(';').next().unwrap());
    // Its beginning tells that it is the disk of a machine.
    assert_eq!(parts.collect::<Vec<_>>(), ["\"metadata\"", "\"rootfs.img\""], "{body}");
    assert!(body.contains("\r\n\r\nmetadata\r\n--") && body.ends_with("--\r\n"), "{body}");
}

#[tokio::test]
async fn an_import_that_another_finished_first_is_one() {
    for refusal in [
        Answer::refusal(409, "Image with same fingerprint already exists"),
        Answer::refusal(500, "Image with same fingerprint already exists"),
    ] {
        let file = File::of(b"image");
        let server = taking(&fingerprint(b"image"), refusal, true);
        assert_eq!(
            server.substrate().ensure_image(&file.reference()).await.unwrap().id,
            fingerprint(b"image")
        );
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_open_whether_the_image_came_and_no_instance() {
    let file = File::of(&vec![1; 3 << 20]);
    let server = taking("none", Answer::Die, false);
    let substrate = server.substrate();
    let error = substrate.ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::Unknown, "{error}");
    assert!(error.message().contains(file.0.to_str().unwrap()), "{error}");
    let config = InstanceConfig::new("web".parse().unwrap()).with_image(file.reference());
    let error = substrate.create_instance(&config).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
    assert!(server.lines().iter().all(|line| !line.starts_with("POST /1.0/instances")));
}

#[tokio::test]
async fn a_server_that_does_not_take_an_image_says_why() {
    let file = File::of(b"no image");
    let server = taking("none", Answer::refusal(403, "Certificate is restricted"), false);
    let error = server.substrate().ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_permission_denied() && error.message().contains("is restricted"), "{error}");
    // It looks at what it got only in the operation.
    let server = Server::new(|line, _| match line {
        line if line.starts_with("GET /1.0/operations/") => {
            Answer::operation(400, "Invalid image: unknown format")
        }
        _ => Answer::Usual,
    });
    let error = server.substrate().ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("unknown format"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_said_before_anything_is_asked() {
    let server = Server::new(|_, _| Answer::Usual);
    let substrate = server.substrate();
    let reference = "file:/nonexistent/image.tar.xz";
    let config = InstanceConfig::new("web".parse().unwrap()).with_image(reference);
    for error in [
        substrate.ensure_image(reference).await.unwrap_err(),
        substrate.validate_config(&config).await.unwrap_err(),
        substrate.create_instance(&config).await.unwrap_err(),
    ] {
        assert!(error.is_not_found() && error.message().contains("/nonexistent/image.tar.xz"), "{error}");
    }
    assert!(server.changes().is_empty());
}
