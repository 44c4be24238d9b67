//! Creating: what arrives, what is refused, and what a crash or a rival leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use substrate_core::{InstanceConfig, InstanceFilter, InstanceState, Substrate, mark};

use crate::lab::{Lab, SERVE, until};

/// Everything that a configuration file of supervisord's could take for its own.
const HOSTILE: [&str; 20] = [
    "plain",
    "",
    "  two  words  ",
    "a ; comment",
    "a # comment",
    "; begins",
    "# begins",
    "a\u{a0};b",
    "100%",
    "%(here)s",
    "%%(here)s %(ENV_HOME)s %(program_name)s",
    "it's \"quoted\"",
    "back\\slash \\n",
    "$HOME `id` $(id)",
    "one\ntwo\n\n  three  \n",
    "\n",
    "x\ncommand=evil\n[program:evil]\ncommand=evil\n;x\n#y",
    "tab\there",
    "größe ☃ 🦀 \u{2028}",
    "[x]=:,",
];

#[tokio::test]
#[ignore = "live: supervisor"]
async fn every_argument_arrives_as_it_was() {
    let lab = Lab::new().await;
    let file = lab.logs().join(format!("{}-arguments", lab.prefix));
    let script = r#"out="$1"; shift; printf '%s\0' "$@" > "$out.new"; mv "$out.new" "$out"; exec sleep 600"#;
    let mut command = vec!["sh", "-c", script, "sh", file.to_str().unwrap()];
    command.extend(HOSTILE);
    let config = InstanceConfig::new(lab.named("a")).with_image("/bin/sh").with_command(command);
    lab.running_from(&config).await;
    until("the arguments are written", async || file.exists()).await;
    let written = String::from_utf8(fs::read(&file).unwrap()).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(written.split_terminator('\0').collect::<Vec<_>>(), HOSTILE);
    // Nor was anything else made of it.
    let filter = InstanceFilter::all().with_name_prefix("evil");
    assert!(lab.supervisor.list_instances(&filter).await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn every_variable_arrives_as_it_was_or_is_refused() {
    let lab = Lab::new().await;
    let (mut arrived, mut refused) = (0, 0);
    for (number, value) in
        HOSTILE.iter().chain(&[r#"{"json": 1}"#, "'", "a\rb", r#"both ' and ""#]).enumerate()
    {
        let file = lab.logs().join(format!("{}-{number}", lab.prefix));
        let script = r#"printf '%s\0' "$VALUE" > "$OUT.new"; mv "$OUT.new" "$OUT"; exec sleep 600"#;
        let config = lab
            .config(&number.to_string(), script)
            .with_environment("VALUE", *value)
            .with_environment("OUT", file.to_str().unwrap());
        if let Err(error) = lab.supervisor.create_instance(&config).await {
            assert!(error.is_invalid_input() && error.message().contains("`VALUE`"), "{error}");
            assert!(lab.supervisor.get_instance(&config.name).await.unwrap_err().is_not_found());
            refused += 1;
            continue;
        }
        lab.supervisor.start_instance(&config.name).await.unwrap();
        until("the variable is written", async || file.exists()).await;
        let written = String::from_utf8(fs::read(&file).unwrap()).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(written.trim_end_matches('\0'), *value);
        lab.supervisor.delete_instance(&config.name, true).await.unwrap();
        arrived += 1;
    }
    // A line that is only `it's "quoted"` has both marks; so has the last. One begins with a mark.
    assert_eq!((arrived, refused), (20, 4));
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn the_file_is_nobody_elses_to_read() {
    let lab = Lab::new().await;
    lab.running_from(&lab.config("a", SERVE).with_environment("TOKEN", "s3cret")).await;
    let files = lab.files_in(lab.include());
    assert_eq!(files, [format!("substrate-{}-a.conf", lab.prefix)]);
    let mode = fs::metadata(lab.include().join(&files[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn what_a_crash_left_between_the_file_and_the_call_is_told_adopted_and_removed() {
    let lab = Lab::new().await;
    for (suffix, adopt) in [("adopted", true), ("removed", false)] {
        let config = lab.config(suffix, SERVE).with_label(mark::KEY, "k1");
        let created = lab.supervisor.create_instance(&config).await.unwrap();
        // The file without the group: as if the creator had died before its call.
        lab.administrator(&["remove", config.name.as_str()]).await;
        let left = lab.supervisor.get_instance(&config.name).await.unwrap();
        assert_eq!((left.state, &*left.provider_state), (InstanceState::Stopped, "not loaded"));
        assert_eq!((&left.id, left.labels.get(mark::KEY)), (&created.id, Some("k1")));
        let found =
            lab.supervisor.list_instances(&InstanceFilter::all().with_label(mark::KEY, "k1")).await.unwrap();
        assert_eq!(found.len(), 1);
        let again = lab.supervisor.create_instance(&config).await.unwrap_err();
        assert!(again.is_already_exists(), "{again}");
        assert!(lab.supervisor.get_metrics(&config.name).await.unwrap().memory_mb.is_none());
        assert!(lab.lines(&config.name).await.is_empty());
        if adopt {
            lab.supervisor.start_instance(&config.name).await.unwrap();
            let adopted = lab.supervisor.get_instance(&config.name).await.unwrap();
            assert_eq!((adopted.state, &adopted.id), (InstanceState::Running, &created.id));
        }
        lab.supervisor.delete_instance(&config.name, true).await.unwrap();
        assert!(lab.supervisor.get_instance(&config.name).await.unwrap_err().is_not_found());
    }
    assert!(lab.files_in(lab.include()).is_empty() && lab.files_in(lab.logs()).is_empty());
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn of_creators_that_do_not_know_of_each_other_one_succeeds() {
    let lab = Lab::new().await;
    let config = lab.config("contested", SERVE);
    let others: Vec<_> = (0..6).map(|_| lab.other(|config| config)).collect();
    for _ in 0..5 {
        let results =
            futures_util::future::join_all(others.iter().map(|it| it.create_instance(&config))).await;
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(error.is_already_exists(), "{error}");
        }
        assert_eq!(lab.supervisor.get_instance(&config.name).await.unwrap().id, won[0].id);
        lab.supervisor.delete_instance(&config.name, true).await.unwrap();
    }
    assert!(lab.files_in(lab.include()).is_empty(), "{:?}", lab.files_in(lab.include()));
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_name_that_stands_in_somebody_elses_file_is_taken_though_it_is_not_loaded() {
    let mut lab = Lab::new().await;
    let config = lab.config("a", SERVE);
    let stranger = lab.stranger(
        "zz",
        &format!("[program:{}]\ncommand=sleep 600\nuser=root\nautostart=false\n", config.name),
    );
    let error = lab.supervisor.create_instance(&config).await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    assert_eq!(lab.files_in(lab.include()).len(), 1, "only the stranger's file is there");
    fs::remove_file(stranger).unwrap();
    lab.supervisor.create_instance(&config).await.unwrap();
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_configuration_that_cannot_be_read_is_told_and_leaves_nothing() {
    let mut lab = Lab::victim().await;
    lab.stranger("broken", "no section\n");
    let config = lab.config("a", SERVE);
    let error = lab.supervisor.create_instance(&config).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(error.message().contains(&format!("{}-broken.conf", lab.prefix)), "{error}");
    assert!(error.hint().unwrap().contains("mend"), "{error}");
    assert_eq!(lab.files_in(lab.include()).len(), 1, "only the stranger's file is there");
    assert!(lab.supervisor.get_instance(&config.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_user_that_does_not_exist_is_invalid_input_and_leaves_nothing() {
    let lab = Lab::new().await;
    let config = lab.config("a", SERVE).with_option("user", "no-such-user");
    let error = lab.supervisor.create_instance(&config).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("no-such-user"), "{error}");
    assert!(lab.files_in(lab.include()).is_empty());
    assert!(lab.supervisor.get_instance(&config.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_folder_that_supervisord_does_not_read_is_told_and_nothing_stays_in_it() {
    let lab = Lab::new().await;
    let folder = lab.logs().join(format!("{}-elsewhere", lab.prefix));
    fs::create_dir(&folder).unwrap();
    let supervisor = lab.other(|config| config.with_include_folder(&folder));
    let error = supervisor.create_instance(&lab.config("a", SERVE)).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().contains("elsewhere/*.conf"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(&folder).unwrap();
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn an_image_is_the_program_and_is_looked_for() {
    let lab = Lab::new().await;
    let config = |image: &str| InstanceConfig::new(lab.named("a")).with_image(image);
    assert!(lab.supervisor.validate_config(&config("/no/such/program")).await.unwrap_err().is_not_found());
    for wrong in ["/etc", "/etc/passwd", "nginx:1.27"] {
        assert!(
            lab.supervisor.validate_config(&config(wrong)).await.unwrap_err().is_invalid_input(),
            "{wrong}"
        );
    }
    let other = config("/bin/sh").with_command(["bash", "-c", "true"]);
    assert!(lab.supervisor.create_instance(&other).await.unwrap_err().is_invalid_input());
    let created = lab.supervisor.create_instance(&config("/bin/cat")).await.unwrap();
    assert_eq!(created.image.as_deref(), Some("/bin/cat"));
    lab.supervisor.start_instance(&created.name).await.unwrap();
}
