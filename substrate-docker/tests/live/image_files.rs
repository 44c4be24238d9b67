//! Images that are files of this machine.

use std::path::{Path, PathBuf};

use bollard::query_parameters::RemoveImageOptions;
use serde_json::Value;
use substrate_core::{InstanceState, Substrate};

use tokio::process::Command;

use crate::lab::{Lab, SERVE, raw, variable};

async fn run(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lab's image with another author, as an archive that no daemon has seen.
async fn new_image(folder: &Path, author: &str) -> PathBuf {
    let saved = variable("SUBSTRATES_LAB_DOCKER_IMAGE_FILE");
    run(Command::new("tar").args(["--extract", "--file", &saved, "--directory"]).arg(folder)).await;
    let manifest_file = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&manifest_file).unwrap()).unwrap();
    let config_file = folder.join(manifest[0]["Config"].as_str().unwrap());
    let mut config: Value = serde_json::from_slice(&std::fs::read(&config_file).unwrap()).unwrap();
    config["author"] = author.into();
    std::fs::write(&config_file, config.to_string()).unwrap();
    let sum = run(Command::new("sha256sum").arg(&config_file)).await;
    let name = format!("{}.json", sum.split(' ').next().unwrap());
    std::fs::rename(&config_file, folder.join(&name)).unwrap();
    manifest[0]["Config"] = name.clone().into();
    manifest[0]["RepoTags"] = Value::Null;
    std::fs::write(&manifest_file, manifest.to_string()).unwrap();
    let (path, layer) = (folder.join("image.tar"), manifest[0]["Layers"][0].as_str().unwrap());
    let mut archive = Command::new("tar");
    archive.arg("--create").arg("--file").arg(&path).arg("--directory").arg(folder);
    run(archive.args([layer, &name, "manifest.json"])).await;
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: docker"]
async fn a_file_becomes_an_image_that_runs_and_is_loaded_once() {
    let lab = Lab::new().await;
    // Another image than the lab's: the same content under another configuration, as an archive made by hand.
    let folder = std::env::temp_dir().join(&lab.prefix);
    std::fs::create_dir_all(&folder).unwrap();
    let path = new_image(&folder, &lab.prefix).await;
    let file = format!("file:{}", path.display());
    let docker = &lab.docker;

    let (first, second) = tokio::join!(docker.ensure_image(&file), docker.ensure_image(&file));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.id, second.id);
    // By its id: other tests make images of their own at the same time.
    let listed = docker.list_images().await.unwrap();
    assert_eq!(listed.iter().filter(|image| image.id == first.id).count(), 1);
    // A compressed one cannot be looked into without the daemon: it says what was in it.
    run(Command::new("gzip").arg("--keep").arg(&path)).await;
    assert_eq!(docker.ensure_image(&format!("{file}.gz")).await.unwrap().id, first.id);

    let config = lab.config("made", SERVE).with_image(&file);
    docker.create_instance(&config).await.unwrap();
    docker.start_instance(&config.name).await.unwrap();
    assert_eq!(docker.get_instance(&config.name).await.unwrap().state, InstanceState::Running);
    docker.delete_instance(&config.name, true).await.unwrap();
    raw().remove_image(&first.id, None::<RemoveImageOptions>, None).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: docker"]
async fn a_file_that_is_no_image_is_refused_and_makes_nothing() {
    let lab = Lab::new().await;
    let path = std::env::temp_dir().join(format!("{}.tar", lab.prefix));
    std::fs::write(&path, "no archive at all").unwrap();
    let config = lab.config("made", SERVE).with_image(format!("file:{}", path.display()));
    let error = lab.docker.create_instance(&config).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(error.is_invalid_input() && error.message().contains(path.to_str().unwrap()), "{error}");
    assert!(lab.docker.get_instance(&config.name).await.unwrap_err().is_not_found());
}
