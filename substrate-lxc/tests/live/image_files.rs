//! Images that are files of this machine.

use std::path::{Path, PathBuf};

use substrate_core::{InstanceState, Substrate};
use tokio::process::Command;

use crate::lab::Lab;

on_both! {
    a_file_is_imported_once_however_many_ask,
    an_image_of_two_files_makes_an_instance_that_runs,
    a_file_that_is_no_image_is_refused_and_nothing_is_left,
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn of(lab: &Lab) -> Self {
        let path = std::env::temp_dir().join(format!("{}-{}", lab.prefix, lab.kind.as_str()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The lab's image with other bytes around the same content: one that no server has.
fn new_image(lab: &Lab, folder: &Folder) -> PathBuf {
    let mut bytes = std::fs::read(lab.variable("_IMAGE_FILE")).unwrap();
    // A second member of the archive, with nothing in it but the time when it was made.
    let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    bytes.extend([0x1f, 0x8b, 8, 0]);
    bytes.extend(moment.to_le_bytes());
    bytes.extend([0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let path = folder.0.join("image.tar.gz");
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn tar(arguments: &[&str]) {
    let status = Command::new("tar").args(arguments).status().await.unwrap();
    assert!(status.success(), "{arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn a_file_is_imported_once_however_many_ask(lab: Lab) {
    let folder = Folder::of(&lab);
    let file = format!("file:{}", text(&new_image(&lab, &folder)));
    let (one, other) = (lab.server().await, lab.server().await);
    let before = one.list_images().await.unwrap().len();
    // Two handles know nothing of each other: both send, and the server takes one.
    let (first, second) = tokio::join!(one.ensure_image(&file), other.ensure_image(&file));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.id, second.id);
    let size = std::fs::metadata(folder.0.join("image.tar.gz")).unwrap().len();
    assert_eq!(first.size_bytes, Some(size), "it is the file as it is");
    assert_eq!(one.ensure_image(&file).await.unwrap().id, first.id);
    assert_eq!(one.list_images().await.unwrap().len(), before + 1);

    let config = lab.config("made").with_image(&file);
    one.create_instance(&config).await.unwrap();
    one.start_instance(&config.name).await.unwrap();
    assert_eq!(one.get_instance(&config.name).await.unwrap().state, InstanceState::Running);
    one.delete_instance(&config.name, true).await.unwrap();
    lab.run_client(&["image", "delete", &first.id]).await;
}

async fn an_image_of_two_files_makes_an_instance_that_runs(lab: Lab) {
    let folder = Folder::of(&lab);
    let all = new_image(&lab, &folder);
    let inside = folder.0.join("inside");
    std::fs::create_dir_all(&inside).unwrap();
    tar(&["--extract", "--file", text(&all), "--directory", text(&inside)]).await;
    let (metadata, disk) = (folder.0.join("metadata.tar.gz"), folder.0.join("rootfs.tar.gz"));
    tar(&["-czf", text(&metadata), "--directory", text(&inside), "metadata.yaml", "templates"]).await;
    tar(&["-czf", text(&disk), "--directory", text(&inside.join("rootfs")), "."]).await;

    let server = lab.server().await;
    let file = format!("file:{}+{}", text(&metadata), text(&disk));
    let config = lab.config("made").with_image(&file);
    server.create_instance(&config).await.unwrap();
    server.start_instance(&config.name).await.unwrap();
    assert_eq!(server.get_instance(&config.name).await.unwrap().state, InstanceState::Running);
    server.delete_instance(&config.name, true).await.unwrap();
    let image = server.ensure_image(&file).await.unwrap();
    lab.run_client(&["image", "delete", &image.id]).await;
}

async fn a_file_that_is_no_image_is_refused_and_nothing_is_left(lab: Lab) {
    let folder = Folder::of(&lab);
    let path = folder.0.join("text");
    std::fs::write(&path, format!("{} is no image", lab.prefix)).unwrap();
    let server = lab.server().await;
    let before = server.list_images().await.unwrap().len();
    let config = lab.config("made").with_image(format!("file:{}", text(&path)));
    let error = server.create_instance(&config).await.unwrap_err();
    assert!(error.message().contains(text(&path)), "{error}");
    assert!(server.get_instance(&config.name).await.unwrap_err().is_not_found());
    assert_eq!(server.list_images().await.unwrap().len(), before);
}
