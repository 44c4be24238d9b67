//! Dropping a call at any point: the substrate stays in a state that is described truthfully.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use substrate_core::{InstanceName, InstanceState, Operation, SnapshotConfig, SnapshotName, StopMode};

use crate::context::{AMPLE, Context, snapshot_name};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Verdict, ensure, within};

trials! {
    a_dropped_create_leaves_nothing_or_an_instance => CreateInstance;
    a_dropped_start_leaves_it_running_or_stopped => StartInstance [Operation::StopInstance];
    a_dropped_stop_leaves_it_running_or_stopped => StopInstance;
    a_dropped_delete_leaves_nothing_or_an_instance => DeleteInstance;
    a_dropped_command_leaves_the_instance_usable => ExecuteCommand;
    a_dropped_snapshot_leaves_a_whole_one_or_none
        => CreateSnapshot [Operation::ListSnapshots, Operation::DeleteSnapshot];
    a_dropped_restore_leaves_an_instance_that_works => RestoreSnapshot [Operation::CreateSnapshot];
    a_dropped_clone_leaves_nothing_or_a_copy => CloneInstance;
    a_dropped_read_harms_nobody => ListInstances;
}

/// When a call is dropped.
#[derive(Debug, Clone, Copy)]
enum Drop {
    /// After it was polled so often: the first pieces of code.
    Polls(usize),
    /// After this time: somewhere in the exchange with a server.
    Time(Duration),
}

const DROPS: [Drop; 7] = [
    Drop::Polls(1),
    Drop::Polls(2),
    Drop::Polls(4),
    Drop::Time(Duration::from_millis(1)),
    Drop::Time(Duration::from_millis(8)),
    Drop::Time(Duration::from_millis(40)),
    Drop::Time(LONGEST),
];

const LONGEST: Duration = Duration::from_millis(200);
const BRIEFLY: Duration = Duration::from_millis(20);

/// Runs a call and drops it.
async fn dropped<T>(drop: Drop, call: impl Future<Output = T>) {
    let mut call = Box::pin(call);
    match drop {
        Drop::Polls(polls) => {
            let mut left = polls;
            let polled = poll_fn(|task| {
                left -= 1;
                // Pending wakes up by itself: the call's next step counts as the next poll.
                if call.as_mut().poll(task).is_ready() || left == 0 { Poll::Ready(()) } else { Poll::Pending }
            });
            // A call that has fewer steps, and waits long in the last of them.
            let _ = tokio::time::timeout(BRIEFLY, polled).await;
        }
        Drop::Time(time) => std::mem::drop(tokio::time::timeout(time, call).await),
    }
}

/// Whatever a dropped call had begun comes to its end: the state is one that lasts.
async fn settles(context: &Context, name: &InstanceName) -> Verdict<Option<InstanceState>> {
    context
        .eventually(&format!("`{name}` settling"), || async {
            match context.substrate().get_instance(name).await {
                Err(error) if error.is_not_found() => Ok(Some(None)),
                Err(error) => Err(error.into()),
                Ok(instance) => Ok(match instance.state {
                    InstanceState::Running | InstanceState::Stopped => Some(Some(instance.state)),
                    _ => None,
                }),
            }
        })
        .await
}

/// The name is usable as if nothing had been: what is there can be deleted, and made again.
async fn can_begin_anew(context: &Context, word: &str) -> Verdict {
    let name = context.name(word)?;
    // A dropped call may still take effect behind our back: then the deletion comes too early, or the
    // creation finds it. Both are retried; neither may last.
    context
        .eventually(&format!("`{name}` made anew"), || async {
            match context.substrate().delete_instance(&name, true).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() && !error.is_busy() => {
                    return Err(error.into());
                }
                _ => {}
            }
            match context.create(&context.config(word)?).await {
                Ok(_) => Ok(Some(())),
                Err(error) if error.is_already_exists() || error.is_conflict() || error.is_busy() => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
    // Where what is created runs, it has to end first.
    let grace = context.setup().grace.max(AMPLE);
    within(grace, "deleting it", context.substrate().delete_instance(&name, true)).await??;
    context.is_absent(&name).await
}

async fn a_dropped_create_leaves_nothing_or_an_instance(context: &Context) -> Verdict {
    for drop in DROPS {
        let config = context.config("half")?;
        dropped(drop, context.create(&config)).await;
        settles(context, &config.name).await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
        can_begin_anew(context, "half").await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
    }
    Ok(())
}

async fn a_dropped_start_leaves_it_running_or_stopped(context: &Context) -> Verdict {
    let name = context.stopped("torn").await?;
    for drop in DROPS {
        dropped(drop, context.substrate().start_instance(&name)).await;
        ensure!(settles(context, &name).await?.is_some(), "{drop:?}: it is gone");
        // Whatever came of it: a whole start and a whole stop work.
        context.substrate().start_instance(&name).await?;
        context.has_state(&name, InstanceState::Running).await?;
        context.substrate().stop_instance(&name, StopMode::Force).await?;
        context.has_state(&name, InstanceState::Stopped).await?;
    }
    Ok(())
}

async fn a_dropped_stop_leaves_it_running_or_stopped(context: &Context) -> Verdict {
    let name = context.running("torn").await?;
    for drop in DROPS {
        dropped(drop, context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE))).await;
        ensure!(settles(context, &name).await?.is_some(), "{drop:?}: it is gone");
        context.substrate().stop_instance(&name, StopMode::Force).await?;
        context.has_state(&name, InstanceState::Stopped).await?;
        context.substrate().start_instance(&name).await?;
        context.has_state(&name, InstanceState::Running).await?;
    }
    Ok(())
}

async fn a_dropped_delete_leaves_nothing_or_an_instance(context: &Context) -> Verdict {
    for drop in DROPS {
        let name = context.running("half").await?;
        dropped(drop, context.substrate().delete_instance(&name, true)).await;
        settles(context, &name).await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
        can_begin_anew(context, "half").await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
    }
    Ok(())
}

async fn a_dropped_command_leaves_the_instance_usable(context: &Context) -> Verdict {
    let name = context.running("left").await?;
    let before = context.get(&name).await?;
    let long = context.command(&Program::Sleep(Duration::from_secs(30)))?;
    for drop in DROPS {
        dropped(drop, context.substrate().execute_command(&name, &long)).await;
        ensure!(context.execute(&name, &Program::Exit(0)).await?.success(), "{drop:?}: the next one failed");
    }
    context.is_untouched(&before).await
}

async fn a_dropped_snapshot_leaves_a_whole_one_or_none(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    let substrate = context.substrate();
    for (index, drop) in DROPS.into_iter().enumerate() {
        let config = SnapshotConfig::new(SnapshotName::new(format!("s{index}"))?);
        dropped(drop, substrate.create_snapshot(&name, &config)).await;
        // It can be deleted, if it came to be; then its name can be used.
        context
            .eventually("the snapshot made anew", || async {
                match substrate.delete_snapshot(&name, &config.name).await {
                    Err(error) if !error.is_not_found() && !error.is_conflict() && !error.is_busy() => {
                        return Err(error.into());
                    }
                    _ => {}
                }
                match substrate.create_snapshot(&name, &config).await {
                    Ok(_) => Ok(Some(())),
                    Err(error) if error.is_already_exists() || error.is_conflict() || error.is_busy() => {
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                }
            })
            .await?;
        substrate.delete_snapshot(&name, &config.name).await?;
    }
    Ok(())
}

async fn a_dropped_restore_leaves_an_instance_that_works(context: &Context) -> Verdict {
    let name = context.stopped("torn").await?;
    let one = snapshot_name("one")?;
    let substrate = context.substrate();
    substrate.create_snapshot(&name, &SnapshotConfig::new(one.clone())).await?;
    for drop in DROPS {
        dropped(drop, substrate.restore_snapshot(&name, &one)).await;
        // A whole restore mends whatever the half one left, under the same name.
        context
            .eventually("a whole restore", || async {
                match substrate.restore_snapshot(&name, &one).await {
                    Ok(()) => Ok(Some(())),
                    Err(error) if error.is_conflict() || error.is_busy() => Ok(None),
                    Err(error) => Err(error.into()),
                }
            })
            .await
            .map_err(|failure| failure.during(&format!("{drop:?}")))?;
        context.has_state(&name, InstanceState::Stopped).await?;
    }
    substrate.start_instance(&name).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn a_dropped_clone_leaves_nothing_or_a_copy(context: &Context) -> Verdict {
    let source = context.stopped("source").await?;
    let before = context.get(&source).await?;
    for drop in DROPS {
        let config = substrate_core::CloneConfig::new(context.name("half")?);
        context.remember(crate::inventory::Thing::Instance(config.name.clone()));
        dropped(drop, context.substrate().clone_instance(&source, &config)).await;
        settles(context, &config.name).await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
        can_begin_anew(context, "half").await.map_err(|failure| failure.during(&format!("{drop:?}")))?;
    }
    context.is_untouched(&before).await
}

async fn a_dropped_read_harms_nobody(context: &Context) -> Verdict {
    let name = context.running("read").await?;
    let before = context.get(&name).await?;
    let substrate = context.substrate();
    for drop in DROPS {
        dropped(drop, substrate.list_instances(&substrate_core::InstanceFilter::all())).await;
        dropped(drop, substrate.get_instance(&name)).await;
        dropped(drop, substrate.get_metrics(&name)).await;
        if context.can(Operation::GetLogs) {
            dropped(drop, substrate.get_logs(&name, &substrate_core::LogOptions::all())).await;
        }
        within(context.setup().patience, "get after dropped reads", context.get(&name)).await??;
    }
    context.is_untouched(&before).await
}
