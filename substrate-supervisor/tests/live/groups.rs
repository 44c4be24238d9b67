//! Programs of others, and groups of several.

use std::time::Duration;

use substrate_core::{InstanceFilter, InstanceState, StopMode, Substrate};

use crate::lab::{Lab, SERVE, name, until};

/// Without logs: supervisord would keep those of programs that are gone until it starts anew.
const MUTE: &str = "stdout_logfile=NONE\nstderr_logfile=NONE\n";

/// Two programs in a group, and one program that is three processes.
async fn strangers(lab: &mut Lab) {
    let prefix = lab.prefix.clone();
    lab.stranger(
        "strangers",
        &format!(
            "[group:{prefix}-pool]\nprograms={prefix}-web,{prefix}-job\n\
             [program:{prefix}-web]\ncommand=sleep 600\nautostart=false\nautorestart=false\nstartsecs=0\n{MUTE}\
             [program:{prefix}-job]\ncommand=sleep 600\nautostart=false\nautorestart=false\nstartsecs=0\n{MUTE}\
             [program:{prefix}-many]\ncommand=sleep 600\nautostart=false\nautorestart=false\nstartsecs=0\n{MUTE}\
             process_name=many-%(process_num)02d\nnumprocs=3\n"
        ),
    );
    let update = lab.administrator(&["update", &format!("{prefix}-pool"), &format!("{prefix}-many")]).await;
    assert!(update.contains("added process group"), "{update}");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_process_of_a_group_is_found_by_its_full_name_only() {
    let mut lab = Lab::new().await;
    strangers(&mut lab).await;
    let prefix = &lab.prefix;
    let filter = InstanceFilter::all().with_name_prefix(prefix);
    let names: Vec<String> =
        lab.supervisor.list_instances(&filter).await.unwrap().iter().map(|it| it.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "many:many-00",
            "many:many-01",
            "many:many-02",
            &format!("pool:{prefix}-job"),
            &format!("pool:{prefix}-web")
        ]
        .map(|name| format!("{prefix}-{name}"))
    );
    for text in &names {
        assert_eq!(&lab.supervisor.get_instance(&name(text)).await.unwrap().id, text);
    }
    for nobody in ["web", "many", "pool", "pool:"] {
        let error = lab.supervisor.get_instance(&name(&format!("{prefix}-{nobody}"))).await.unwrap_err();
        assert!(error.is_not_found(), "{nobody}: {error}");
    }
    let whole = lab.supervisor.get_instance(&name(&format!("{prefix}-many:*"))).await.unwrap_err();
    assert!(whole.is_conflict() && whole.message().contains("many:many-01"), "{whole}");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_whole_group_is_started_and_stopped_by_its_star_and_nobody_else() {
    let mut lab = Lab::new().await;
    strangers(&mut lab).await;
    let prefix = lab.prefix.clone();
    let star = name(&format!("{prefix}-many:*"));
    let states = async || {
        let filter = InstanceFilter::all().with_name_prefix(&prefix);
        let all = lab.supervisor.list_instances(&filter).await.unwrap();
        all.iter().map(|instance| instance.state == InstanceState::Running).collect::<Vec<_>>()
    };
    lab.supervisor.start_instance(&star).await.unwrap();
    assert_eq!(states().await, [true, true, true, false, false]);
    lab.supervisor.restart_instance(&star, StopMode::Force).await.unwrap();
    assert_eq!(states().await, [true, true, true, false, false]);
    lab.supervisor.stop_instance(&star, StopMode::GracefulThenForce(Duration::from_secs(5))).await.unwrap();
    assert_eq!(states().await, [false; 5]);
    // Half a name never means the whole group: supervisord would take it so.
    let half = name(&format!("{prefix}-many:"));
    assert!(lab.supervisor.start_instance(&half).await.unwrap_err().is_not_found());
    assert_eq!(states().await, [false; 5]);
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_of_somebody_else_is_run_and_never_deleted_nor_silently_killed() {
    let mut lab = Lab::new().await;
    strangers(&mut lab).await;
    let web = name(&format!("{0}-pool:{0}-web", lab.prefix));
    lab.supervisor.start_instance(&web).await.unwrap();
    let before = lab.supervisor.get_instance(&web).await.unwrap();
    let graceful =
        lab.supervisor.stop_instance(&web, StopMode::Graceful(Duration::from_secs(1))).await.unwrap_err();
    assert!(graceful.is_unsupported() && graceful.message().contains("kill"), "{graceful}");
    assert_eq!(lab.supervisor.get_instance(&web).await.unwrap().properties["pid"], before.properties["pid"]);
    let delete = lab.supervisor.delete_instance(&web, true).await.unwrap_err();
    assert!(delete.is_conflict(), "{delete}");
    assert_eq!(lab.supervisor.get_instance(&web).await.unwrap().state, InstanceState::Running);
    lab.supervisor.stop_instance(&web, StopMode::Force).await.unwrap();
    assert_eq!(lab.supervisor.get_instance(&web).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn what_others_have_changed_in_the_configuration_is_left_to_them() {
    let mut lab = Lab::new().await;
    strangers(&mut lab).await;
    let prefix = lab.prefix.clone();
    let web = name(&format!("{prefix}-pool:{prefix}-web"));
    lab.supervisor.start_instance(&web).await.unwrap();
    let before = lab.supervisor.get_instance(&web).await.unwrap();
    // One new that would start at once, one changed, three gone from the file.
    lab.stranger(
        "strangers",
        &format!(
            "[group:{prefix}-pool]\nprograms={prefix}-web\n\
             [program:{prefix}-web]\ncommand=sleep 700\nautostart=false\n{MUTE}\
             [program:{prefix}-new]\ncommand=sleep 600\nautostart=true\n"
        ),
    );
    let own = lab.running("own", SERVE).await;
    lab.supervisor.delete_instance(&own.name, true).await.unwrap();
    let after = lab.supervisor.get_instance(&web).await.unwrap();
    assert_eq!((&after.properties["pid"], after.state), (&before.properties["pid"], InstanceState::Running));
    let new = lab.supervisor.get_instance(&name(&format!("{prefix}-new"))).await;
    assert!(new.unwrap_err().is_not_found(), "a stranger's program was loaded");
    let filter = InstanceFilter::all().with_name_prefix(&prefix);
    assert_eq!(
        lab.supervisor.list_instances(&filter).await.unwrap().len(),
        5,
        "a stranger's program was removed"
    );
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn two_hundred_processes_are_listed() {
    let mut lab = Lab::victim().await;
    let prefix = lab.prefix.clone();
    lab.stranger(
        "many",
        &format!(
            "[program:{prefix}-many]\ncommand=sleep 600\nautostart=false\nnumprocs=200\n{MUTE}\
             process_name=%(process_num)03d\n"
        ),
    );
    lab.administrator(&["update", &format!("{prefix}-many")]).await;
    let filter = InstanceFilter::all().with_name_prefix(&prefix);
    until("all of them are there", async || {
        lab.supervisor.list_instances(&filter).await.unwrap().len() == 200
    })
    .await;
}
