//! Pausing and resuming.

use substrate_core::InstanceState;

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Verdict, conflict, not_found, same};

trials! {
    pause_returns_when_the_instance_is_paused => PauseInstance;
    pausing_twice_is_success => PauseInstance;
    pause_of_a_stopped_instance_is_a_conflict => PauseInstance;
    pause_of_a_missing_instance_is_not_found => PauseInstance;
    resume_goes_on_without_a_new_start => ResumeInstance [Operation::PauseInstance];
    resuming_twice_is_success => ResumeInstance [Operation::PauseInstance];
    resume_of_a_stopped_instance_is_a_conflict => ResumeInstance;
    resume_of_a_missing_instance_is_not_found => ResumeInstance;
}

async fn pause_returns_when_the_instance_is_paused(context: &Context) -> Verdict {
    let name = context.running("cold").await?;
    context.pause(&name).await?;
    context.has_state(&name, InstanceState::Paused).await
}

async fn pausing_twice_is_success(context: &Context) -> Verdict {
    let name = context.running("cold").await?;
    context.pause(&name).await?;
    context.pause(&name).await?;
    context.has_state(&name, InstanceState::Paused).await
}

async fn pause_of_a_stopped_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.stopped("down").await?;
    conflict("pause", context.substrate().pause_instance(&name).await)?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn pause_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    not_found("pause", context.substrate().pause_instance(&context.name("nobody")?).await)
}

async fn resume_goes_on_without_a_new_start(context: &Context) -> Verdict {
    let name = context.running("thawed").await?;
    let before = context.get(&name).await?;
    context.pause(&name).await?;
    context.substrate().resume_instance(&name).await?;
    context.is_untouched(&before).await
}

async fn resuming_twice_is_success(context: &Context) -> Verdict {
    let name = context.running("thawed").await?;
    let before = context.get(&name).await?;
    // Also one that was never paused.
    context.substrate().resume_instance(&name).await?;
    context.pause(&name).await?;
    context.substrate().resume_instance(&name).await?;
    context.substrate().resume_instance(&name).await?;
    same("the state", before.state, InstanceState::Running)?;
    context.is_untouched(&before).await
}

async fn resume_of_a_stopped_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.stopped("down").await?;
    conflict("resume", context.substrate().resume_instance(&name).await)?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn resume_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    not_found("resume", context.substrate().resume_instance(&context.name("nobody")?).await)
}
