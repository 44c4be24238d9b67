//! Names, creation, states, deletion.

use std::time::Duration;

use substrate_core::{
    ErrorKind, InstanceConfig, InstanceFilter, InstanceState, NetworkConfig, NetworkName, NetworkSpec,
    Outcome, StopMode, Substrate, VolumeMount, VolumeName, VolumeSource, VolumeSpec,
};

use crate::lab::{DEAF, Lab, SERVE, name};

#[tokio::test]
#[ignore = "live: docker"]
async fn hostile_names_hit_nothing() {
    let lab = Lab::new().await;
    let victim = lab.running("victim", SERVE).await;
    let escaped = format!("x/../{}", victim.name);
    let queried = format!("{}?force=1", victim.name);
    for text in ["../x", "a/b", "%2e", "?x", "a b", "🦀", "..%2f", "containers", "json", &escaped, &queried]
    {
        let hostile = name(text);
        assert!(lab.docker.get_instance(&hostile).await.unwrap_err().is_not_found(), "{text}");
        assert!(lab.docker.start_instance(&hostile).await.unwrap_err().is_not_found(), "{text}");
        assert!(lab.docker.delete_instance(&hostile, true).await.unwrap_err().is_not_found(), "{text}");
        if !["containers", "json"].contains(&text) {
            let config = InstanceConfig::new(hostile).with_image(crate::lab::image());
            assert!(lab.docker.create_instance(&config).await.unwrap_err().is_invalid_input(), "{text}");
        }
    }
    assert_eq!(lab.docker.get_instance(&victim.name).await.unwrap().state, InstanceState::Running);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn an_id_is_accepted_and_a_short_prefix_is_not() {
    let lab = Lab::new().await;
    let created = lab.docker.create_instance(&lab.config("a", SERVE)).await.unwrap();
    for reference in [&created.id[..], &created.id[..12]] {
        assert_eq!(lab.docker.get_instance(&name(reference)).await.unwrap().id, created.id);
    }
    for length in [2, 6, 11] {
        let error = lab.docker.delete_instance(&name(&created.id[..length]), true).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
    let prefix = lab.named("");
    assert!(lab.docker.get_instance(&prefix).await.unwrap_err().is_not_found(), "no substring of a name");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_failed_creation_leaves_nothing_behind() {
    let lab = Lab::new().await;
    let missing_network =
        lab.config("n", SERVE).with_network(NetworkConfig::new("no-such-net".parse().unwrap()));
    assert!(lab.docker.create_instance(&missing_network).await.unwrap_err().is_not_found());
    let volume = VolumeMount {
        source: VolumeSource::Volume(VolumeName::new(lab.named("nov")).unwrap()),
        target: "/data".into(),
        read_only: false,
    };
    assert!(
        lab.docker
            .create_instance(&lab.config("v", SERVE).with_volume(volume))
            .await
            .unwrap_err()
            .is_not_found()
    );
    let image = InstanceConfig::new(lab.named("i")).with_image("no-such-image:nowhere");
    let error = lab.docker.create_instance(&image).await.unwrap_err();
    assert!(error.is_not_found() && error.outcome() == Outcome::Rejected, "{error}");
    let path = VolumeMount {
        source: VolumeSource::HostPath("/no/such/path".into()),
        target: "/data".into(),
        read_only: false,
    };
    let error = lab.docker.create_instance(&lab.config("p", SERVE).with_volume(path)).await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    let option = lab.config("o", SERVE).with_option("no_such_option", 1);
    assert!(lab.docker.create_instance(&option).await.unwrap_err().is_invalid_input());
    assert_eq!(lab.leftovers().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_second_network_that_fails_takes_the_container_back() {
    let lab = Lab::new().await;
    let network = lab.named("net");
    let spec = NetworkSpec::new(network.as_str().parse().unwrap()).with_subnet("10.210.31.0/24");
    lab.docker.create_network(&spec).await.unwrap();
    let first = NetworkConfig::new(network.as_str().parse().unwrap());
    // The host's network cannot be joined beside another one: the daemon says so when it is connected.
    let config =
        lab.config("a", SERVE).with_network(first).with_network(NetworkConfig::new("host".parse().unwrap()));
    let error = lab.docker.create_instance(&config).await.unwrap_err();
    assert!(error.outcome() != Outcome::NotSent, "{error}");
    assert!(lab.docker.get_instance(&config.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_container_has_its_networks_and_fixed_addresses_from_the_start() {
    let lab = Lab::new().await;
    for (suffix, subnet) in [("n1", "10.210.32.0/24"), ("n2", "10.210.33.0/24")] {
        let spec = NetworkSpec::new(lab.named(suffix).as_str().parse().unwrap()).with_subnet(subnet);
        lab.docker.create_network(&spec).await.unwrap();
    }
    let place = |suffix: &str, address: &str| {
        NetworkConfig::new(lab.named(suffix).as_str().parse().unwrap())
            .with_ip_address(address.parse().unwrap())
    };
    let config = lab
        .config("a", SERVE)
        .with_network(place("n1", "10.210.32.7"))
        .with_network(place("n2", "10.210.33.8"))
        .with_metadata("owner", "me")
        .with_label("substrate.key", "k1");
    let created = lab.docker.create_instance(&config).await.unwrap();
    assert_eq!(created.networks.len(), 2);
    assert_eq!(created.metadata["owner"], "me");
    assert_eq!(created.labels, [("substrate.key", "k1")].into_iter().collect());
    lab.docker.start_instance(&config.name).await.unwrap();
    let running = lab.docker.get_instance(&config.name).await.unwrap();
    assert_eq!(
        running.addresses,
        ["10.210.32.7".parse::<std::net::IpAddr>().unwrap(), "10.210.33.8".parse().unwrap()]
    );
    let filter = InstanceFilter::all().with_label("substrate.key", "k1").with_name_prefix(&lab.prefix);
    let listed = lab.docker.list_instances(&filter).await.unwrap();
    assert_eq!(listed[0].addresses, running.addresses);
    assert_eq!((&listed[0].labels, &listed[0].metadata), (&running.labels, &running.metadata));
    assert_eq!(listed[0].provider_state, running.provider_state);
    // Attached already: success; with another address: a conflict.
    lab.docker.attach_network(&config.name, &place("n1", "10.210.32.7")).await.unwrap();
    let other = lab.docker.attach_network(&config.name, &place("n1", "10.210.32.9")).await.unwrap_err();
    assert!(other.is_conflict(), "{other}");
    let network: NetworkName = lab.named("n1").as_str().parse().unwrap();
    let held = lab.docker.delete_network(&network).await.unwrap_err();
    assert!(held.is_conflict() && held.message().contains(config.name.as_str()), "{held}");
    lab.docker.detach_network(&config.name, &network).await.unwrap();
    lab.docker.detach_network(&config.name, &network).await.unwrap();
    lab.docker.delete_network(&network).await.unwrap();
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_network_of_the_same_name_is_refused_and_an_ambiguous_one_names_the_candidates() {
    let lab = Lab::new().await;
    let spec = NetworkSpec::new(lab.named("n").as_str().parse().unwrap()).with_subnet("10.210.34.0/24");
    let network = lab.docker.create_network(&spec).await.unwrap();
    assert_eq!(network.subnets, ["10.210.34.0/24"]);
    assert!(lab.docker.create_network(&spec).await.unwrap_err().is_already_exists());
    let overlapping =
        NetworkSpec::new(lab.named("o").as_str().parse().unwrap()).with_subnet("10.210.34.0/25");
    assert!(lab.docker.create_network(&overlapping).await.unwrap_err().is_conflict());
    let nonsense = NetworkSpec::new(lab.named("x").as_str().parse().unwrap()).with_subnet("nonsense");
    let error = lab.docker.create_network(&nonsense).await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    // A second one of the same name, as others can make it.
    let twin = bollard::models::NetworkCreateRequest { name: spec.name.to_string(), ..Default::default() };
    crate::lab::raw().create_network(twin).await.unwrap();
    let error = lab.docker.delete_network(&spec.name).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains(&network.id), "{error}");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_graceful_stop_never_kills() {
    let lab = Lab::new().await;
    let deaf = lab.running("deaf", DEAF).await;
    let error = lab
        .docker
        .stop_instance(&deaf.name, StopMode::Graceful(Duration::from_millis(600)))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::Rejected));
    assert_eq!(lab.docker.get_instance(&deaf.name).await.unwrap().state, InstanceState::Running);
    lab.docker.stop_instance(&deaf.name, StopMode::GracefulThenForce(Duration::from_secs(1))).await.unwrap();
    let stopped = lab.docker.get_instance(&deaf.name).await.unwrap();
    assert_eq!(stopped.provider_state, "exited (137)");
    let polite = lab.running("polite", SERVE).await;
    lab.docker.stop_instance(&polite.name, StopMode::Graceful(Duration::from_secs(10))).await.unwrap();
    assert_eq!(lab.docker.get_instance(&polite.name).await.unwrap().provider_state, "exited (0)");
    lab.docker.stop_instance(&polite.name, StopMode::Force).await.unwrap();
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_stop_may_last_longer_than_the_usual_deadline() {
    let lab = Lab::new().await;
    let slow = lab.running("slow", "trap 'sleep 3; exit 0' TERM; while :; do sleep 0.05; done").await;
    let config = substrate_docker::DockerConfig::default()
        .with_host(crate::lab::variable("SUBSTRATES_LAB_DOCKER"))
        .with_request_timeout(Duration::from_secs(2));
    let hasty = substrate_docker::DockerSubstrate::new("hasty", config).unwrap();
    hasty.stop_instance(&slow.name, StopMode::GracefulThenForce(Duration::from_secs(20))).await.unwrap();
    assert_eq!(lab.docker.get_instance(&slow.name).await.unwrap().provider_state, "exited (0)");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_paused_container_can_be_stopped_in_every_way() {
    let lab = Lab::new().await;
    for (suffix, mode) in [
        ("g", StopMode::Graceful(Duration::from_secs(10))),
        ("f", StopMode::Force),
        ("gf", StopMode::GracefulThenForce(Duration::from_secs(5))),
    ] {
        let instance = lab.running(suffix, SERVE).await;
        lab.docker.pause_instance(&instance.name).await.unwrap();
        lab.docker.pause_instance(&instance.name).await.unwrap();
        assert!(lab.docker.start_instance(&instance.name).await.unwrap_err().is_conflict());
        assert!(lab.docker.delete_instance(&instance.name, false).await.unwrap_err().is_conflict());
        lab.docker.stop_instance(&instance.name, mode).await.unwrap();
        assert_eq!(
            lab.docker.get_instance(&instance.name).await.unwrap().state,
            InstanceState::Stopped,
            "{mode:?}"
        );
        assert!(lab.docker.resume_instance(&instance.name).await.unwrap_err().is_conflict());
        assert!(lab.docker.pause_instance(&instance.name).await.unwrap_err().is_conflict());
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_program_that_does_not_exist_is_a_wrong_configuration() {
    let lab = Lab::new().await;
    let config = lab.config("a", "x").with_command(["/no/such/program"]);
    lab.docker.create_instance(&config).await.unwrap();
    let error = lab.docker.start_instance(&config.name).await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert_eq!(lab.docker.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_container_that_crashes_and_restarts_is_failed_and_can_be_stopped() {
    let lab = Lab::new().await;
    let config = lab.config("a", "exit 1").with_option("restart_policy", "always");
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    crate::lab::until("it waits for its next restart", async || {
        lab.docker.get_instance(&config.name).await.unwrap().state == InstanceState::Failed
    })
    .await;
    lab.docker.stop_instance(&config.name, StopMode::Force).await.unwrap();
    assert_eq!(lab.docker.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_deleted_name_is_free_at_once() {
    let lab = Lab::new().await;
    let config = lab.config("a", SERVE);
    for _ in 0..5 {
        lab.docker.create_instance(&config).await.unwrap();
        assert!(lab.docker.create_instance(&config).await.unwrap_err().is_already_exists());
        lab.docker.start_instance(&config.name).await.unwrap();
        assert!(lab.docker.delete_instance(&config.name, false).await.unwrap_err().is_conflict());
        lab.docker.delete_instance(&config.name, true).await.unwrap();
        assert!(lab.docker.delete_instance(&config.name, true).await.unwrap_err().is_not_found());
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn two_deletions_at_once_both_end_with_the_name_free() {
    let lab = Lab::new().await;
    for _ in 0..5 {
        let instance = lab.running("a", SERVE).await;
        let (left, right) = tokio::join!(
            lab.docker.delete_instance(&instance.name, true),
            lab.docker.delete_instance(&instance.name, true)
        );
        for result in [left, right] {
            assert!(result.is_ok() || result.unwrap_err().is_not_found());
        }
        lab.docker.create_instance(&lab.config("a", SERVE)).await.unwrap();
        lab.docker.delete_instance(&instance.name, true).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn volumes_are_made_used_and_deleted() {
    let lab = Lab::new().await;
    let volume: VolumeName = lab.named("v").as_str().parse().unwrap();
    let spec = VolumeSpec::new(volume.clone()).with_label("a", "b");
    assert_eq!(lab.docker.create_volume(&spec).await.unwrap().labels, spec.labels);
    assert!(lab.docker.create_volume(&spec).await.unwrap_err().is_already_exists());
    let sized = VolumeSpec::new(lab.named("s").as_str().parse().unwrap()).with_size_bytes(1);
    assert!(lab.docker.create_volume(&sized).await.unwrap_err().is_unsupported());
    let mount = VolumeMount {
        source: VolumeSource::Volume(volume.clone()),
        target: "/data".into(),
        read_only: false,
    };
    let config = lab.config("a", SERVE).with_volume(mount);
    lab.docker.create_instance(&config).await.unwrap();
    let used = lab.docker.delete_volume(&volume).await.unwrap_err();
    assert!(used.is_conflict(), "{used}");
    lab.docker.delete_instance(&config.name, true).await.unwrap();
    lab.docker.delete_volume(&volume).await.unwrap();
    assert!(lab.docker.delete_volume(&volume).await.unwrap_err().is_not_found());
    assert!(lab.docker.delete_volume(&"../x".parse().unwrap()).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn images_at_hand_are_listed_and_ensured_and_hostile_references_are_refused() {
    let lab = Lab::new().await;
    let image = lab.docker.ensure_image(&crate::lab::image()).await.unwrap();
    let all = lab.docker.list_images().await.unwrap();
    let listed = all.iter().find(|listed| listed.id == image.id).unwrap();
    assert!(listed.names.contains(&crate::lab::image()));
    let missing = lab.docker.ensure_image("no-such-image:nowhere").await.unwrap_err();
    assert!(missing.is_not_found() && missing.hint().is_some(), "{missing}");
    assert!(lab.docker.ensure_image("../containers/x").await.unwrap_err().is_invalid_input());
}

/// Own work on top of the bare client's call, interleaved so that the daemon's moods meet both.
#[tokio::test]
#[ignore = "live: docker"]
async fn a_list_of_two_hundred_costs_hardly_more_than_the_bare_call() {
    use bollard::query_parameters::ListContainersOptions;
    let lab = Lab::new().await;
    for number in 0..200 {
        lab.docker
            .create_instance(&lab.config(&format!("c{number}"), SERVE).with_label("n", "1"))
            .await
            .unwrap();
    }
    let raw = crate::lab::raw().negotiate_version().await.unwrap();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let start = std::time::Instant::now();
        assert!(lab.docker.list_instances(&InstanceFilter::all()).await.unwrap().len() >= 200);
        ours.push(start.elapsed());
        let start = std::time::Instant::now();
        let options = ListContainersOptions { all: true, ..Default::default() };
        assert!(raw.list_containers(Some(options)).await.unwrap().len() >= 200);
        bare.push(start.elapsed());
    }
    ours.sort();
    bare.sort();
    println!("median of ours {:?}, of the bare call {:?}", ours[30], bare[30]);
    // The bench holds it to 1.1 on an optimised build; here both are unoptimised and not alone.
    assert!(ours[30] < bare[30] * 2, "{:?} against {:?}", ours[30], bare[30]);
}
