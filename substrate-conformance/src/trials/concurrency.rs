//! Many calls at once on one handle.

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use substrate_core::{ErrorKind, InstanceFilter, InstanceState, NetworkSpec, SnapshotConfig, StopMode};

use crate::context::{AMPLE, Context, snapshot_name};
use crate::guest::Program;
use crate::inventory::Thing;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, refused, same};

trials! {
    many_gets_at_once_are_answered_each_with_its_own => GetInstance;
    many_lists_at_once_are_answered_completely => ListInstances;
    lists_go_on_while_instances_come_and_go => ListInstances;
    creating_one_name_at_once_makes_one_instance => CreateInstance;
    starting_at_once_is_one_start => StartInstance;
    stopping_at_once_succeeds => StopInstance;
    deleting_at_once_deletes_once => DeleteInstance;
    starting_and_stopping_at_once_ends_in_one_of_both => StopInstance;
    lives_beside_each_other_do_not_disturb => CreateInstance [Operation::StopInstance];
    commands_at_once_are_not_mixed_up => ExecuteCommand;
    snapshots_of_one_name_at_once_make_one
        => CreateSnapshot [Operation::ListSnapshots];
    networks_of_one_name_at_once_make_one => CreateNetwork [Operation::ListNetworks];
    volumes_of_one_name_at_once_make_one => CreateVolume [Operation::ListVolumes];
}

/// How many callers compete for one thing.
const RIVALS: usize = 6;

async fn many_gets_at_once_are_answered_each_with_its_own(context: &Context) -> Verdict {
    let mut instances = Vec::new();
    for word in ["a", "b", "c"] {
        instances.push(context.created(word).await?);
    }
    let nobody = context.name("nobody")?;
    let calls = (0..context.setup().many_calls).map(|index| {
        let expected = instances.get(index % 4);
        let nobody = &nobody;
        async move {
            let name = expected.map_or(nobody, |instance| &instance.name);
            match (context.substrate().get_instance(name).await, expected) {
                (Ok(found), Some(expected)) => {
                    same("the name in an answer", &found.name, &expected.name)?;
                    same("the id in an answer", &found.id, &expected.id)
                }
                (Err(error), None) if error.is_not_found() => Ok(()),
                (Ok(found), None) => {
                    Err(Failure::broken(format!("nobody was asked for, `{}` came", found.name)))
                }
                (Err(error), _) => Err(error.into()),
            }
        }
    });
    // All are made before the first is awaited to its end.
    join_all(calls).await.into_iter().collect()
}

async fn many_lists_at_once_are_answered_completely(context: &Context) -> Verdict {
    for word in ["a", "b", "c"] {
        context.created(word).await?;
    }
    let filter = InstanceFilter::all().with_name_prefix(context.unique(""));
    let calls = (0..context.setup().many_calls).map(|_| async {
        let found = context.substrate().list_instances(&filter).await?;
        same("the number of instances in an answer", found.len(), 3)
    });
    join_all(calls).await.into_iter().collect()
}

async fn lists_go_on_while_instances_come_and_go(context: &Context) -> Verdict {
    let stays = context.stopped("stays").await?;
    let filter = InstanceFilter::all().with_name_prefix(context.unique(""));
    let change = async {
        for _ in 0..3 {
            for word in ["one", "two"] {
                context.created(word).await?;
            }
            for word in ["one", "two"] {
                context.substrate().delete_instance(&context.name(word)?, true).await?;
            }
        }
        Verdict::Ok(())
    };
    let look = async {
        loop {
            // What vanishes in mid-list is left out; it is no failure of the list, nor may it take others along.
            let found = context.substrate().list_instances(&filter).await?;
            ensure!(found.iter().any(|instance| instance.name == stays), "what stays is not in the list");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        changed = change => changed,
        broken = look => broken,
    }
}

/// One has succeeded, and all others were told that it exists.
fn one_won<T>(what: &str, results: Vec<substrate_core::Result<T>>) -> Verdict {
    let mut winners = 0;
    for result in results {
        match result {
            Ok(_) => winners += 1,
            Err(error) => drop(refused(what, Err::<(), _>(error), &[ErrorKind::AlreadyExists])?),
        }
    }
    same(&format!("how often {what} succeeded"), winners, 1)
}

async fn creating_one_name_at_once_makes_one_instance(context: &Context) -> Verdict {
    let config = context.config("contested")?;
    let results = join_all((0..RIVALS).map(|_| context.create(&config))).await;
    one_won("creating it", results)?;
    let filter = InstanceFilter::all().with_name_prefix(context.unique(""));
    same("the number of instances", context.substrate().list_instances(&filter).await?.len(), 1)
}

async fn starting_at_once_is_one_start(context: &Context) -> Verdict {
    let name = context.stopped("contested").await?;
    let starts = (0..RIVALS).map(|_| async {
        context.substrate().start_instance(&name).await?;
        // Each of them returns when it runs.
        context.get(&name).await
    });
    let mut seen = Vec::new();
    for result in join_all(starts).await {
        seen.push(result?);
    }
    for instance in &seen {
        same("the state", instance.state, InstanceState::Running)?;
    }
    seen.dedup_by_key(|instance| instance.started_at);
    same("the number of starts", seen.len(), 1)
}

async fn stopping_at_once_succeeds(context: &Context) -> Verdict {
    let name = context.running("contested").await?;
    let modes = [StopMode::Force, StopMode::GracefulThenForce(AMPLE)].into_iter().cycle().take(RIVALS);
    for result in join_all(modes.map(|mode| context.substrate().stop_instance(&name, mode))).await {
        result?;
    }
    context.has_state(&name, InstanceState::Stopped).await
}

async fn deleting_at_once_deletes_once(context: &Context) -> Verdict {
    let name = context.running("contested").await?;
    let mut deleted = 0;
    for result in join_all((0..RIVALS).map(|_| context.substrate().delete_instance(&name, true))).await {
        match result {
            Ok(()) => deleted += 1,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Where a deletion under way cannot be told from one's own, more than one may say that it did it.
    ensure!(deleted >= 1, "nobody deleted it");
    context.is_absent(&name).await
}

async fn starting_and_stopping_at_once_ends_in_one_of_both(context: &Context) -> Verdict {
    let name = context.stopped("torn").await?;
    let substrate = context.substrate();
    for _ in 0..3 {
        let (started, stopped) =
            tokio::join!(substrate.start_instance(&name), substrate.stop_instance(&name, StopMode::Force));
        for result in [started, stopped] {
            match result {
                // It may say that the other one was in its way.
                Err(error) if error.is_conflict() || error.is_busy() => {}
                result => result?,
            }
        }
        let state = context.get(&name).await?.state;
        let settled = matches!(state, InstanceState::Running | InstanceState::Stopped);
        ensure!(settled, "both calls have returned, and it is {state}");
    }
    Ok(())
}

async fn lives_beside_each_other_do_not_disturb(context: &Context) -> Verdict {
    let lives = ["a", "b", "c", "d"].map(|word| async move {
        let name = context.running(word).await?;
        context.has_state(&name, InstanceState::Running).await?;
        context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
        context.has_state(&name, InstanceState::Stopped).await?;
        context.substrate().delete_instance(&name, false).await?;
        context.is_absent(&name).await
    });
    join_all(lives).await.into_iter().collect()
}

async fn commands_at_once_are_not_mixed_up(context: &Context) -> Verdict {
    let name = context.running("crowd").await?;
    let name = &name;
    stream::iter(0..20)
        .map(|number| async move {
            let (stdout, stderr) = (format!("out {number}").repeat(50), format!("err {number}"));
            let emit = Program::Emit { stdout: stdout.clone(), stderr: stderr.clone(), code: number };
            let output = context.execute(name, &emit).await?;
            same("standard output", output.stdout_text(), stdout)?;
            same("standard error", output.stderr_text(), stderr)?;
            same("the exit code", output.status.shell_code(), number)
        })
        .buffer_unordered(20)
        .try_collect()
        .await
}

async fn snapshots_of_one_name_at_once_make_one(context: &Context) -> Verdict {
    let name = context.stopped("contested").await?;
    let config = SnapshotConfig::new(snapshot_name("one")?);
    one_won(
        "a snapshot",
        join_all((0..RIVALS).map(|_| context.substrate().create_snapshot(&name, &config))).await,
    )?;
    same("the number of snapshots", context.substrate().list_snapshots(&name).await?.len(), 1)
}

async fn networks_of_one_name_at_once_make_one(context: &Context) -> Verdict {
    let name = context.network_spec("contested")?.name;
    let calls = (0..RIVALS).map(|_| {
        // Each with a subnet of its own, so that nothing but the name stands in the way.
        let spec = context.with_subnet(NetworkSpec::new(name.clone()), context.run().subnet());
        async move { context.substrate().create_network(&spec).await }
    });
    one_won("creating the network", join_all(calls).await)?;
    let networks = context.substrate().list_networks().await?;
    same("the number of networks", networks.iter().filter(|network| network.name == name).count(), 1)
}

async fn volumes_of_one_name_at_once_make_one(context: &Context) -> Verdict {
    let spec = context.volume_spec("contested")?;
    context.remember(Thing::Volume(spec.name.clone()));
    one_won(
        "creating the volume",
        join_all((0..RIVALS).map(|_| context.substrate().create_volume(&spec))).await,
    )?;
    let volumes = context.substrate().list_volumes().await?;
    same("the number of volumes", volumes.iter().filter(|volume| volume.name == spec.name).count(), 1)
}
