//! The kinds that come with the engine, at work. What runs programs of this machine does so in real time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use substrate_core::Substrate;
use substrate_engine::RunOptions;
use substrate_fake::{Fake, ProgramResult};

use super::lab::{Lab, name, steps};

/// An empty folder of this test's own.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn destroy(lab: &Lab, text: &str) -> substrate_engine::Report {
    let documents = lab.desired(text);
    lab.engine.destroy(&[name("manifests")], Some(&documents), &RunOptions::default()).await.unwrap()
}

const SHARED: &str = r"
kind: Values
metadata: {name: common}
spec: {region: paris, image: nginx, db: {password: hunter22}}
---
kind: Values
metadata: {name: derived}
spec: {greeting: 'hello from ${common.region}', where: 'at ${shop/web.name}'}
---
name: shop
resources:
  - {type: compute, name: web, specs: {image: '${manifests/common.image}', environment: {PASSWORD: '${manifests/common.db.password}'}}}
  - {type: compute, name: log, specs: {image: busybox, labels: {greeting: '${manifests/derived.greeting}'}}}
  - {type: compute, name: end, specs: {image: busybox, labels: {where: '${manifests/derived.where}'}}}
";

#[tokio::test(start_paused = true)]
async fn values_are_shared_and_never_in_the_journal() {
    let lab = Lab::new().await;
    let report = lab.deploy(SHARED).await;
    assert!(report.is_done(), "{report}");
    let instance = async |name: &str| lab.fake.get_instance(&name.parse().unwrap()).await.unwrap();
    assert_eq!(instance("web").await.image.as_deref(), Some("nginx"));
    assert_eq!(instance("log").await.labels.get("greeting"), Some("hello from paris"));
    assert_eq!(instance("end").await.labels.get("where"), Some("at web"));
    for deployment in ["manifests", "shop"] {
        let state = lab.engine.state(&name(deployment)).await.unwrap();
        assert!(!serde_json::to_string(&state).unwrap().contains("hunter22"));
    }
    assert!(lab.plan(SHARED).await.is_empty(), "{}", lab.plan(SHARED).await);
}

#[tokio::test(start_paused = true)]
async fn cloud_init_data_is_given_with_the_creation_and_is_in_no_journal() {
    const CLOUDED: &str = r"
name: shop
resources:
  - {type: compute, name: db, specs: {image: nginx}}
  - type: compute
    name: web
    specs: {image: nginx}
    directives:
      - cloud-init:
          user_data: {chpasswd: {list: 'root:hunter22'}, runcmd: [[echo, '${db.name}']]}
          network_config: {version: 2}
";
    let lab = Lab::new().await;
    let report = lab.deploy(CLOUDED).await;
    assert!(report.is_done(), "{report}");
    let read = async |part: &str| {
        let file = format!("/var/lib/cloud/instance/{part}.txt");
        let command = substrate_core::Command::new(["cat", &file]);
        lab.fake.execute_command(&"web".parse().unwrap(), &command).await.unwrap().stdout_text()
    };
    let user_data = read("user-data").await;
    let (first, rest) = user_data.split_once('\n').unwrap();
    assert_eq!(first, "#cloud-config");
    let told: serde_json::Value = serde_json::from_str(rest).unwrap();
    assert_eq!(told, serde_json::json!({"chpasswd": {"list": "root:hunter22"}, "runcmd": [["echo", "db"]]}));
    assert_eq!(read("network-config").await, r#"{"version":2}"#);
    let state = lab.engine.state(&name("shop")).await.unwrap();
    assert!(!serde_json::to_string(&state).unwrap().contains("hunter22"));
    assert!(lab.plan(CLOUDED).await.is_empty(), "{}", lab.plan(CLOUDED).await);
    assert_eq!(steps(&lab.plan(&CLOUDED.replace("version: 2", "version: 1")).await), ["replace shop/web"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_value_concerns_those_who_use_it_in_the_same_run_and_nobody_else() {
    let lab = Lab::new().await;
    lab.deploy(SHARED).await;
    let moved = SHARED.replace("region: paris", "region: lyon");
    let mut planned = steps(&lab.plan(&moved).await);
    planned.sort();
    assert_eq!(planned, ["replace shop/log", "update manifests/common", "update manifests/derived"]);
    let report = lab.deploy(&moved).await;
    assert!(report.is_done(), "{report}");
    let log = lab.fake.get_instance(&"log".parse().unwrap()).await.unwrap();
    assert_eq!(log.labels.get("greeting"), Some("hello from lyon"));
    assert!(lab.plan(&moved).await.is_empty(), "{}", lab.plan(&moved).await);
}

#[tokio::test(start_paused = true)]
async fn what_passes_through_a_value_follows_what_is_made_anew() {
    let lab = Lab::new().await;
    lab.deploy(SHARED).await;
    let other = SHARED.replace("image: nginx", "image: caddy");
    let report = lab.deploy(&other).await;
    assert!(report.is_done(), "{report}");
    let replaced: Vec<String> = report.replaced.iter().map(ToString::to_string).collect();
    assert_eq!(replaced, ["shop/end", "shop/web"]);
    assert!(lab.plan(&other).await.is_empty(), "{}", lab.plan(&other).await);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_comes_later_gets_a_value_that_was_shared_before() {
    let lab = Lab::new().await;
    lab.deploy(SHARED).await;
    let more = format!(
        "{SHARED}  - {{type: compute, name: more, specs: {{image: busybox, labels: {{a: '${{manifests/derived.greeting}}'}}}}}}\n"
    );
    let report = lab.deploy(&more).await;
    assert!(report.is_done() && report.steps_done() == 1, "{report}");
    let more = lab.fake.get_instance(&"more".parse().unwrap()).await.unwrap();
    assert_eq!(more.labels.get("a"), Some("hello from paris"));
}

/// Appends a word to a file: `tee` reads no input here, so a copy of a file with the word tells that it ran.
fn command(folder: &std::path::Path, made: &str, trigger: u32) -> String {
    let folder = folder.display();
    format!(
        "kind: Command\nmetadata: {{name: mark}}\nspec:\n  command: [cp, '{folder}/word', '{folder}/{made}']\n  undo: [rm, \
         '{folder}/{made}']\n  environment: {{TOKEN: s3cr3t-token}}\n  triggers: {{number: {trigger}}}\n"
    )
}

#[tokio::test]
async fn a_command_runs_once_again_when_it_changes_and_is_undone_when_it_is_deleted() {
    let (lab, folder) = (Lab::new().await, folder("command"));
    std::fs::write(folder.join("word"), "x").unwrap();
    let first = command(&folder, "one", 1);
    assert!(lab.deploy(&first).await.is_done());
    assert!(folder.join("one").exists());
    std::fs::remove_file(folder.join("one")).unwrap();
    assert_eq!(lab.deploy(&first).await.steps_done(), 0);
    assert!(!folder.join("one").exists(), "it ran again though nothing had changed");
    assert_eq!(steps(&lab.plan(&command(&folder, "one", 2)).await), ["update manifests/mark"]);
    assert!(lab.deploy(&command(&folder, "one", 2)).await.is_done());
    // The new command runs, and the old one is not undone.
    let second = command(&folder, "two", 2);
    assert!(lab.deploy(&second).await.is_done());
    assert!(folder.join("one").exists() && folder.join("two").exists());
    let state = serde_json::to_string(&lab.engine.state(&name("manifests")).await.unwrap()).unwrap();
    assert!(!state.contains("s3cr3t-token"));
    let report = destroy(&lab, &second).await;
    assert!(report.is_done(), "{report}");
    assert!(folder.join("one").exists() && !folder.join("two").exists());
}

#[tokio::test]
async fn undoing_without_the_documents_says_which_secret_is_missing() {
    let (lab, folder) = (Lab::new().await, folder("command-secret"));
    std::fs::write(folder.join("word"), "x").unwrap();
    lab.deploy(&command(&folder, "one", 1)).await;
    let report = lab.engine.destroy(&[name("manifests")], None, &RunOptions::default()).await.unwrap();
    assert!(report.failed[0].reason.contains("the value of `TOKEN`"), "{report}");
    assert!(folder.join("one").exists());
}

#[tokio::test]
async fn a_command_that_fails_says_its_last_line_without_what_it_was_given() {
    let lab = Lab::new().await;
    let failing = "kind: Command\nmetadata: {name: a}\nspec: {command: [ls, /no/such/hunter22], environment: {WORD: hunter22}}\n";
    let report = lab.deploy(failing).await;
    let reason = &report.failed[0].reason;
    assert!(reason.contains("`ls` ended with exit status: ") && reason.contains("/no/such/***"), "{reason}");
    let slow = "kind: Command\nmetadata: {name: a}\nspec: {command: [sleep, '600'], timeout: 50ms}\n";
    let report = Lab::new().await.deploy(slow).await;
    assert!(report.failed[0].reason.contains("was not done within 50ms and was killed"), "{report}");
    let missing = "kind: Command\nmetadata: {name: a}\nspec: {command: [no-such-program-here]}\n";
    let report = Lab::new().await.deploy(missing).await;
    assert!(report.failed[0].reason.contains("could not be started"), "{report}");
}

fn file(path: &std::path::Path, content: &str) -> String {
    format!(
        "kind: WriteFile\nmetadata: {{name: motd}}\nspec: {{path: '{}', content: {content}, mode: '0640'}}\n",
        path.display()
    )
}

#[tokio::test]
async fn a_file_is_written_kept_as_it_shall_be_and_removed() {
    let (lab, folder) = (Lab::new().await, folder("file"));
    let path = folder.join("motd");
    let hello = file(&path, "hello");
    let mode = || {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777
    };
    let report = lab.deploy(&hello).await;
    assert!(report.is_done(), "{report}");
    assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode()), ("hello", 0o640));
    assert!(lab.plan(&hello).await.is_empty(), "{}", lab.plan(&hello).await);
    // Somebody changes it, its mode, or removes it.
    std::fs::write(&path, "bye").unwrap();
    assert_eq!(steps(&lab.plan(&hello).await), ["update manifests/motd"]);
    assert!(lab.deploy(&hello).await.is_done());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "hello");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(lab.deploy(&hello).await.is_done());
    assert_eq!(mode(), 0o640);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(steps(&lab.plan(&hello).await), ["create manifests/motd"]);
    assert!(lab.deploy(&hello).await.is_done());
    // Another place: the old file goes.
    let moved = file(&folder.join("other"), "hello");
    assert!(lab.deploy(&moved).await.is_done());
    assert!(!path.exists() && folder.join("other").exists());
    assert!(destroy(&lab, &moved).await.is_done());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing stays behind");
}

#[tokio::test]
async fn a_file_of_somebody_else_is_neither_overwritten_nor_removed() {
    let (lab, folder) = (Lab::new().await, folder("foreign-file"));
    let path = folder.join("motd");
    std::fs::write(&path, "theirs").unwrap();
    let error = lab.try_deploy(&file(&path, "ours")).await.unwrap_err().to_string();
    assert!(error.contains("that this deployment did not make"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "theirs");
    std::fs::remove_file(&path).unwrap();
    lab.deploy(&file(&path, "ours")).await;
    std::fs::write(&path, "edited").unwrap();
    let report = destroy(&lab, &file(&path, "ours")).await;
    assert!(report.failed[0].reason.contains("somebody has changed it since it was written"), "{report}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "edited");
}

const CONFIGURED: &str = r"
name: shop
resources:
  - {type: compute, name: web, provider: fake, specs: {image: nginx}}
  - type: configure
    name: motd
    specs: {target: web, files: [{path: /etc/motd, content: hello}], commands: [[reload, all]], undo: [[unload]]}
";

/// A fake with the programs that settings need, and what was run and written.
async fn configurable() -> (Lab, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
    let fake = Arc::new(Fake::new("fake"));
    let (runs, written) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    for program in ["mkdir", "mv", "chmod"] {
        fake.program(program, |_| ProgramResult::success());
    }
    let into = written.clone();
    fake.program("cp", move |one| {
        into.lock().unwrap().push(String::from_utf8_lossy(&one.input).into_owned());
        ProgramResult::success()
    });
    let count = runs.clone();
    fake.program("reload", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        ProgramResult::success()
    });
    let count = runs.clone();
    fake.program("unload", move |_| {
        count.fetch_add(100, Ordering::SeqCst);
        ProgramResult::success()
    });
    (Lab::over(fake).await, runs, written)
}

#[tokio::test(start_paused = true)]
async fn settings_are_applied_inside_and_again_when_they_or_their_target_change() {
    let (lab, runs, written) = configurable().await;
    let report = lab.deploy(CONFIGURED).await;
    assert!(report.is_done(), "{report}");
    assert_eq!((runs.load(Ordering::SeqCst), written.lock().unwrap().join(",")), (1, "hello".to_owned()));
    assert!(lab.plan(CONFIGURED).await.is_empty(), "{}", lab.plan(CONFIGURED).await);
    let changed = CONFIGURED.replace("hello", "bye");
    assert_eq!(steps(&lab.plan(&changed).await), ["update shop/motd"]);
    lab.deploy(&changed).await;
    assert_eq!((runs.load(Ordering::SeqCst), written.lock().unwrap().join(",")), (2, "hello,bye".to_owned()));
    let anew = changed.replace("nginx", "caddy");
    assert_eq!(steps(&lab.plan(&anew).await), ["replace shop/web", "update shop/motd"]);
    assert!(lab.deploy(&anew).await.is_done());
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert!(lab.plan(&anew).await.is_empty(), "{}", lab.plan(&anew).await);
    let without =
        "name: shop\nresources: [{type: compute, name: web, provider: fake, specs: {image: caddy}}]";
    assert!(lab.deploy(without).await.is_done());
    assert_eq!(runs.load(Ordering::SeqCst), 103);
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_drawn() {
    let (lab, ..) = configurable().await;
    let report = lab.deploy(CONFIGURED).await;
    let page = report.timeline.to_html();
    assert!(
        page.contains("create shop/web\n") && page.contains("after shop/web, which was done at "),
        "{page}"
    );
}
