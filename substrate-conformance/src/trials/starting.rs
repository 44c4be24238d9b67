//! Starting and restarting.

use substrate_core::{ErrorKind, InstanceState, StopMode};

use crate::context::{AMPLE, BRIEF, Context};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, conflict, ensure, not_found, refused, same};

trials! {
    start_returns_when_the_instance_runs => StartInstance;
    starting_twice_is_success_and_one_start => StartInstance;
    start_of_a_missing_instance_is_not_found => StartInstance;
    start_of_a_paused_instance_is_a_conflict => StartInstance [Operation::PauseInstance];
    start_of_a_program_that_does_not_exist_is_invalid_input => StartInstance [Feature::CreateCommand];
    start_after_stop_is_a_new_start => StartInstance [Operation::StopInstance];
    a_started_instance_keeps_id_and_labels => StartInstance;
    restart_is_a_new_start => RestartInstance;
    restart_of_a_stopped_instance_starts_it => RestartInstance;
    restart_of_a_missing_instance_is_not_found => RestartInstance;
    restart_of_a_deaf_instance_is_a_timeout_and_kills_nothing
        => RestartInstance [Feature::GracefulStop, Feature::CreateCommand];
}

async fn start_returns_when_the_instance_runs(context: &Context) -> Verdict {
    let name = context.stopped("idle").await?;
    context.substrate().start_instance(&name).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn starting_twice_is_success_and_one_start(context: &Context) -> Verdict {
    let name = context.running("busy").await?;
    let before = context.get(&name).await?;
    context.substrate().start_instance(&name).await?;
    context.is_untouched(&before).await
}

async fn start_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    not_found("start", context.substrate().start_instance(&context.name("nobody")?).await)
}

async fn start_of_a_paused_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    context.pause(&name).await?;
    let before = context.get(&name).await?;
    conflict("start", context.substrate().start_instance(&name).await)?;
    context.is_untouched(&before).await
}

async fn start_of_a_program_that_does_not_exist_is_invalid_input(context: &Context) -> Verdict {
    let config = context.config("hollow")?.with_command(context.program(&Program::Missing)?);
    match context.create(&config).await {
        // Some technologies look at once.
        Err(error) => {
            refused("create", Err::<(), _>(error), &[ErrorKind::InvalidInput])?;
            context.is_absent(&config.name).await
        }
        Ok(_) => {
            let start = context.substrate().start_instance(&config.name).await;
            refused("start", start, &[ErrorKind::InvalidInput])?;
            let state = context.get(&config.name).await?.state;
            let down = matches!(state, InstanceState::Stopped | InstanceState::Failed);
            ensure!(down, "it could not be started, and is {state}");
            Ok(())
        }
    }
}

async fn start_after_stop_is_a_new_start(context: &Context) -> Verdict {
    let name = context.running("cycled").await?;
    let first = context.start_time(&name).await?;
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    context.substrate().start_instance(&name).await?;
    context.has_state(&name, InstanceState::Running).await?;
    let second = context.start_time(&name).await?;
    ensure!(second > first, "it was started again, and says the same time: {second:?}");
    Ok(())
}

async fn a_started_instance_keeps_id_and_labels(context: &Context) -> Verdict {
    let created = context.created("same").await?;
    context.substrate().start_instance(&created.name).await?;
    let running = context.get(&created.name).await?;
    same("the id", &running.id, &created.id)?;
    same("the labels", &running.labels, &created.labels)
}

async fn restart_is_a_new_start(context: &Context) -> Verdict {
    let name = context.running("again").await?;
    let first = context.get(&name).await?;
    context.substrate().restart_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    let second = context.get(&name).await?;
    same("the state", second.state, InstanceState::Running)?;
    same("the id", &second.id, &first.id)?;
    match (first.started_at, second.started_at) {
        (Some(first), Some(second)) => ensure!(second > first, "it says that it did not start again"),
        _ => return Err(Failure::skipped("the substrate does not tell when an instance started")),
    }
    Ok(())
}

async fn restart_of_a_stopped_instance_starts_it(context: &Context) -> Verdict {
    let name = context.stopped("down").await?;
    context.substrate().restart_instance(&name, StopMode::Force).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn restart_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    not_found(
        "restart",
        context.substrate().restart_instance(&context.name("nobody")?, StopMode::Force).await,
    )
}

async fn restart_of_a_deaf_instance_is_a_timeout_and_kills_nothing(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &Program::Deaf).await?;
    let before = context.get(&name).await?;
    let restart = context.substrate().restart_instance(&name, StopMode::Graceful(BRIEF)).await;
    refused("restart", restart, &[ErrorKind::Timeout])?;
    context.is_untouched(&before).await
}
