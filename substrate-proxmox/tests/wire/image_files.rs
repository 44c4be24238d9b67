//! Images that are files: uploaded once, to the configured storage, under a name that tells their content.

use std::path::PathBuf;

use substrate_core::{Outcome, Substrate};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::{Double, Fault};

use crate::double::{config, machine, name, pair};

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn of(file: &str, content: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
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

fn uploads(double: &Double) -> Vec<String> {
    double.take_requests().into_iter().filter(|request| request.ends_with("/upload")).collect()
}

#[tokio::test]
async fn a_file_is_uploaded_once_and_a_machine_is_made_from_it() {
    let (double, substrate) = pair().await;
    let file = File::of("once.qcow2", "a disk");
    // The hash of its content is in the name; it is no other file's.
    let image = substrate.ensure_image(&file.reference()).await.unwrap();
    assert!(image.id.starts_with("local:import/once-") && image.id.ends_with(".qcow2"), "{}", image.id);
    assert_eq!(image.size_bytes, Some(6));
    assert_eq!(uploads(&double), ["POST /nodes/pve/storage/local/upload"]);
    let other = ProxmoxSubstrate::new("other", config(&double)).unwrap();
    assert_eq!(other.ensure_image(&file.reference()).await.unwrap().id, image.id);
    let made = substrate.create_instance(&machine("web").with_image(file.reference())).await.unwrap();
    assert_eq!(made.image.as_deref(), Some(image.id.as_str()));
    assert!(uploads(&double).is_empty(), "it is there");
    // What takes long is done once: the file is not read again, only looked at.
    let begin = std::fs::metadata(&file.0).unwrap().modified().unwrap();
    std::fs::write(&file.0, "a dusk").unwrap();
    let writable = std::fs::File::options().write(true).open(&file.0).unwrap();
    writable.set_times(std::fs::FileTimes::new().set_modified(begin)).unwrap();
    assert_eq!(substrate.ensure_image(&file.reference()).await.unwrap().id, image.id);
}

#[tokio::test]
async fn another_file_of_the_same_name_is_another_image() {
    let (_double, substrate) = pair().await;
    let file = File::of("same.iso", "one");
    let one = substrate.ensure_image(&file.reference()).await.unwrap();
    std::fs::write(&file.0, "two").unwrap();
    let two = substrate.ensure_image(&file.reference()).await.unwrap();
    assert_ne!(one.id, two.id);
    assert_eq!(
        substrate.list_images().await.unwrap().iter().filter(|image| image.id.contains("same-")).count(),
        2
    );
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_leaves_it_open_and_the_next_finds_it() {
    let (double, substrate) = pair().await;
    let file = File::of("lost.iso", "a cd");
    double.plan("POST", "/upload", Fault::LoseAnswer, 1);
    let error = substrate.ensure_image(&file.reference()).await.unwrap_err();
    assert!(error.is_unavailable() && error.outcome() == Outcome::Unknown, "{error}");
    substrate.ensure_image(&file.reference()).await.unwrap();
}

#[tokio::test]
async fn a_refused_upload_makes_no_guest_and_says_why() {
    let (double, substrate) = pair().await;
    let file = File::of("refused.qcow2", "a disk");
    double.plan(
        "POST",
        "/upload",
        Fault::Refuse(403, "Permission check failed (/storage/local)".to_owned()),
        1,
    );
    let config = machine("web").with_image(file.reference());
    let error = substrate.create_instance(&config).await.unwrap_err();
    assert!(error.is_permission_denied() && error.outcome() == Outcome::NotSent, "{error}");
    assert!(error.message().contains("refused.qcow2"), "{error}");
    assert!(substrate.get_instance(&name("web")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn what_cannot_be_uploaded_is_refused_before_anything_is_asked() {
    let (double, substrate) = pair().await;
    let odd = File::of("no-image.txt", "text");
    double.take_requests();
    let error = substrate.ensure_image(&odd.reference()).await.unwrap_err();
    assert!(error.is_invalid_input() && error.hint().is_some_and(|hint| hint.contains(".qcow2")), "{error}");
    let error = substrate.ensure_image("file:/nonexistent/disk.qcow2").await.unwrap_err();
    assert!(error.is_not_found() && error.message().contains("/nonexistent/disk.qcow2"), "{error}");
    assert!(double.take_requests().is_empty());
}
