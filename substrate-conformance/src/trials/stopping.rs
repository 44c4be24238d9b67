//! Stopping: asked, cut, or first the one and then the other. Never a silent kill.

use std::time::Duration;

use substrate_core::{ErrorKind, InstanceState, StopMode};
use tokio::time::Instant;

use crate::context::{AMPLE, BRIEF, Context};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Verdict, ensure, not_found, refused};

trials! {
    stop_returns_when_the_instance_has_stopped => StopInstance;
    stopping_twice_is_success => StopInstance;
    stop_of_a_missing_instance_is_not_found => StopInstance;
    a_graceful_stop_lets_the_guest_end => StopInstance [Feature::GracefulStop];
    a_graceful_stop_of_a_deaf_instance_is_a_timeout_and_kills_nothing
        => StopInstance [Feature::GracefulStop, Feature::CreateCommand];
    a_graceful_stop_gives_the_guest_its_time => StopInstance [Feature::GracefulStop, Feature::CreateCommand];
    graceful_then_force_ends_a_deaf_instance => StopInstance [Feature::CreateCommand];
    force_ends_a_deaf_instance_without_waiting => StopInstance [Feature::CreateCommand];
    force_stops_a_paused_instance => StopInstance [Operation::PauseInstance];
}

async fn stop_returns_when_the_instance_has_stopped(context: &Context) -> Verdict {
    let name = context.running("up").await?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn stopping_twice_is_success(context: &Context) -> Verdict {
    let name = context.running("up").await?;
    for mode in [StopMode::Force, StopMode::Force, StopMode::GracefulThenForce(AMPLE)] {
        context.substrate().stop_instance(&name, mode).await?;
        context.has_state(&name, InstanceState::Stopped).await?;
    }
    Ok(())
}

async fn stop_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let name = context.name("nobody")?;
    for mode in [StopMode::Force, StopMode::GracefulThenForce(AMPLE)] {
        not_found("stop", context.substrate().stop_instance(&name, mode).await)?;
    }
    Ok(())
}

async fn a_graceful_stop_lets_the_guest_end(context: &Context) -> Verdict {
    let name = context.running("polite").await?;
    context.substrate().stop_instance(&name, StopMode::Graceful(context.setup().grace)).await?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn a_graceful_stop_of_a_deaf_instance_is_a_timeout_and_kills_nothing(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &Program::Deaf).await?;
    let before = context.get(&name).await?;
    let stop = context.substrate().stop_instance(&name, StopMode::Graceful(BRIEF)).await;
    refused("stop", stop, &[ErrorKind::Timeout])?;
    context.is_untouched(&before).await
}

async fn a_graceful_stop_gives_the_guest_its_time(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &Program::Deaf).await?;
    let begin = Instant::now();
    let stop = context.substrate().stop_instance(&name, StopMode::Graceful(BRIEF)).await;
    refused("stop", stop, &[ErrorKind::Timeout])?;
    // A clock's granularity less.
    let least = BRIEF - Duration::from_millis(20);
    ensure!(begin.elapsed() >= least, "it gave up after {:?}, it was to wait {BRIEF:?}", begin.elapsed());
    Ok(())
}

async fn graceful_then_force_ends_a_deaf_instance(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &Program::Deaf).await?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(BRIEF)).await?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn force_ends_a_deaf_instance_without_waiting(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &Program::Deaf).await?;
    let begin = Instant::now();
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    // Ten seconds are what daemons wait by default before they cut.
    ensure!(begin.elapsed() < Duration::from_secs(10), "a forced stop took {:?}", begin.elapsed());
    context.has_state(&name, InstanceState::Stopped).await
}

async fn force_stops_a_paused_instance(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    context.pause(&name).await?;
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    context.has_state(&name, InstanceState::Stopped).await
}
