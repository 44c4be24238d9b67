//! What the front page says is special about these servers.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    CloudInit, Command, CommandEvent, InstanceConfig, InstanceState, LogOptions, NetworkConfig, NetworkSpec,
    ResourceLimits, StopMode, Substrate, SubstrateExt, TerminalSize,
};

use substrate_lxc::ServerKind;

use crate::lab::{Lab, until};

on_both!(
    every_word_of_a_main_command_arrives_exactly,
    without_a_command_the_images_own_init_runs,
    labels_are_what_the_servers_own_client_filters_by,
    changes_at_once_through_two_handles_lose_nothing,
    a_network_with_a_long_name_has_a_short_bridge,
    a_console_is_handed_out_once_and_this_handle_remembers_it,
    what_the_server_writes_about_an_instance_can_be_read,
    a_command_in_a_folder_that_is_not_there_is_refused,
    a_command_is_ended_when_its_session_is_dropped,
    cloud_init_data_is_kept_where_cloud_init_looks,
    a_protected_instance_is_not_deleted,
    a_terminal_of_a_running_program_has_its_size_and_is_resized,
);

async fn every_word_of_a_main_command_arrives_exactly(lab: Lab) {
    let server = lab.server().await;
    let words = ["", " a  b ", "q\"'*?[x]", "$HOME `id`", "back\\slash\\n", "größe ☃"];
    let script = r#"for word; do echo "<$word>"; done; trap 'exit 0' TERM; while :; do sleep 0.05; done"#;
    let argv = ["sh", "-c", script, "sh"].into_iter().chain(words);
    let config = lab.config("words").with_command(argv);
    server.create_instance(&config).await.unwrap();
    server.start_instance(&config.name).await.unwrap();
    let expected: Vec<String> = words.iter().map(|word| format!("<{word}>")).collect();
    until("all words are in the log", async || {
        let log = server.tail_logs(&config.name, 100).await.unwrap();
        log.iter().map(|line| line.message.clone()).collect::<Vec<_>>() == expected
    })
    .await;
}

async fn without_a_command_the_images_own_init_runs(lab: Lab) {
    let server = lab.server().await;
    let config = InstanceConfig::new(lab.named("init")).with_image(lab.variable("_IMAGE"));
    server.create_instance(&config).await.unwrap();
    server.start_instance(&config.name).await.unwrap();
    let first = server.execute_command(&config.name, &Command::new(["cat", "/proc/1/comm"])).await.unwrap();
    assert_eq!(first.stdout_text(), "init\n");
    server.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(30))).await.unwrap();
    assert_eq!(server.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
}

async fn labels_are_what_the_servers_own_client_filters_by(lab: Lab) {
    let server = lab.server().await;
    let config = lab.config("web").with_label("role", &lab.prefix);
    server.create_instance(&config).await.unwrap();
    let filter = format!("user.role={}", lab.prefix);
    let found = lab.run_client(&["list", &filter, "--format", "csv", "--columns", "n"]).await;
    assert_eq!(found.trim(), config.name.as_str());
    lab.run_client(&["config", "set", config.name.as_str(), "user.tier=1"]).await;
    assert_eq!(server.get_instance(&config.name).await.unwrap().labels.get("tier"), Some("1"));
}

async fn changes_at_once_through_two_handles_lose_nothing(lab: Lab) {
    let (one, other) = (lab.server().await, lab.server().await);
    let config = lab.config("contested");
    one.create_instance(&config).await.unwrap();
    let name = &config.name;
    for round in 1..=10_u32 {
        let memory = u64::from(64 + round);
        let cores = f64::from(round) / 10.0;
        let limits =
            |cpu_cores, memory_mb| ResourceLimits { cpu_cores, memory_mb, ..ResourceLimits::default() };
        let (cpu_limits, memory_limits) = (limits(Some(cores), None), limits(None, Some(memory)));
        let (first, second) = tokio::join!(
            one.set_resource_limits(name, &cpu_limits),
            other.set_resource_limits(name, &memory_limits)
        );
        first.unwrap();
        second.unwrap();
        let found = one.get_resource_limits(name).await.unwrap();
        assert_eq!((found.cpu_cores, found.memory_mb), (Some(cores), Some(memory)), "in round {round}");
    }
}

async fn a_network_with_a_long_name_has_a_short_bridge(lab: Lab) {
    let server = lab.server().await;
    let long = format!("{}-production-backend-network", lab.prefix);
    let third = (std::process::id() % 250) as u8;
    let second = if lab.kind == ServerKind::Lxd { 213 } else { 214 };
    let spec = NetworkSpec::new(long.parse().unwrap()).with_subnet(format!("10.{second}.{third}.0/24"));
    let network = server.create_network(&spec).await.unwrap();
    assert!(network.id.len() <= 15, "{}", network.id);
    let name = lab.running(&server, "guest").await;
    server.attach_network(&name, &NetworkConfig::new(spec.name.clone())).await.unwrap();
    let attached = server.get_instance(&name).await.unwrap();
    assert!(attached.networks.iter().any(|end| end.network_name == spec.name), "{:?}", attached.networks);
    server.delete_instance(&name, true).await.unwrap();
    // By its bridge too, for that is its id.
    server.delete_network(&network.id.parse().unwrap()).await.unwrap();
}

async fn a_console_is_handed_out_once_and_this_handle_remembers_it(lab: Lab) {
    let (one, other) = (lab.server().await, lab.server().await);
    let script = "echo one; echo two; trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    let config = lab.config("speaker").with_command(["sh", "-c", script]);
    one.create_instance(&config).await.unwrap();
    one.start_instance(&config.name).await.unwrap();
    until("the first handle has both lines", async || {
        one.tail_logs(&config.name, 10).await.unwrap().len() == 2
    })
    .await;
    // They were handed out once; the other handle learns nothing of them while it runs.
    assert!(other.tail_logs(&config.name, 10).await.unwrap().is_empty());
    let follower = one.get_logs(&config.name, &LogOptions::tail(0).follow()).await.unwrap();
    one.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(20))).await.unwrap();
    let all: &[&str] = &["one", "two", "bye"];
    for server in [&one, &one, &other] {
        let log = server.tail_logs(&config.name, 10).await.unwrap();
        let words: Vec<&str> = log.iter().map(|line| line.message.as_str()).collect();
        // The server then has all of it, or only what nobody was handed before: that is not for sure. The last line may
        // have been handed to the follower.
        let is_other = std::ptr::eq(server, &raw const other);
        assert!(words == all || (is_other && (words == all[2..] || words.is_empty())), "{words:?}");
    }
    let followed: Vec<_> = follower.map(|line| line.unwrap().message).collect().await;
    assert_eq!(followed, ["bye"]);
}

async fn what_the_server_writes_about_an_instance_can_be_read(lab: Lab) {
    let server = lab.server().await;
    let config = lab.config("logged");
    server.create_and_start(&config).await.unwrap();
    let files = server.log_files(&config.name).await.unwrap();
    assert!(files.iter().any(|file| file == "lxc.log"), "{files:?}");
    server.read_log_file(&config.name, "lxc.log").await.unwrap();
    for missing in ["no-such.log", "../lxc.conf", ""] {
        assert!(server.read_log_file(&config.name, missing).await.unwrap_err().is_not_found(), "{missing}");
    }
    assert!(server.log_files(&"no-such".parse().unwrap()).await.unwrap_err().is_not_found());
}

async fn a_command_in_a_folder_that_is_not_there_is_refused(lab: Lab) {
    let server = lab.server().await;
    let name = lab.running(&server, "lost").await;
    let command = Command::new(["pwd"]).with_working_directory("/no/such/folder");
    assert!(server.execute_command(&name, &command).await.unwrap_err().is_invalid_input());
    let file = Command::new(["pwd"]).with_working_directory("/etc/passwd");
    assert!(server.execute_command(&name, &file).await.unwrap_err().is_invalid_input());
}

async fn a_command_is_ended_when_its_session_is_dropped(lab: Lab) {
    let server = lab.server().await;
    let name = lab.running(&server, "left").await;
    let command = Command::new(["sh", "-c", "echo begun; exec sleep 4242"]);
    let mut session = server.open_command(&name, &command).await.unwrap();
    assert!(session.output.next().await.unwrap().is_ok());
    let look = Command::new(["sh", "-c", "ps | grep \"[s]leep 4242\""]);
    assert!(server.execute_command(&name, &look).await.unwrap().success());
    drop(session);
    until("the command is gone", async || !server.execute_command(&name, &look).await.unwrap().success())
        .await;
}

async fn cloud_init_data_is_kept_where_cloud_init_looks(lab: Lab) {
    let server = lab.server().await;
    let config = lab.config("seeded").with_cloud_init(CloudInit::new("#cloud-config\npackages: [nginx]\n"));
    server.create_instance(&config).await.unwrap();
    let kept = lab.run_client(&["config", "get", config.name.as_str(), "cloud-init.user-data"]).await;
    assert_eq!(kept.trim_end(), "#cloud-config\npackages: [nginx]");
}

async fn a_protected_instance_is_not_deleted(lab: Lab) {
    let server = lab.server().await;
    let config = lab.config("kept").with_option("protected", true);
    server.create_instance(&config).await.unwrap();
    for force in [false, true] {
        let error = server.delete_instance(&config.name, force).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
    lab.run_client(&["config", "unset", config.name.as_str(), "security.protection.delete"]).await;
    server.delete_instance(&config.name, false).await.unwrap();
}

async fn a_terminal_of_a_running_program_has_its_size_and_is_resized(lab: Lab) {
    // What a program writes while it runs arrives with every server.
    let settings = lab.settings(lab.variable("")).with_lossy_terminals(true);
    let server = lab.connected(settings).await;
    let name = lab.running(&server, "screen").await;
    let (small, large) = (TerminalSize { columns: 91, rows: 37 }, TerminalSize { columns: 100, rows: 20 });
    let command =
        Command::new(["sh", "-c", "while read line; do stty size; done"]).interactive().with_terminal(small);
    let mut session = server.open_command(&name, &command).await.unwrap();
    for (size, shown) in [(small, "37 91"), (large, "20 100")] {
        session.input.resize(size).await.unwrap();
        let mut seen = String::new();
        until(&format!("it shows {shown}"), async || {
            session.input.write("\n".into()).await.unwrap();
            if let Some(Ok(CommandEvent::Stdout(data))) = session.output.next().await {
                seen.push_str(&String::from_utf8_lossy(&data));
            }
            seen.contains(shown)
        })
        .await;
    }
}
