//! From start to delete.

use substrate_core::{
    Error, EventKind, Feature, InstanceName, InstanceState, LogSource, Outcome, Result, RetryAdvice, StopMode,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::Call;
use crate::change::Change;
use crate::error::wrong_state;
use crate::guest::{Invocation, Main, main_invocation, write_files};
use crate::inner::Inner;
use crate::state::State;

// ---- starting -----------------------------------------------------------------------------------------

pub(super) async fn start(call: &Call<'_>, name: &InstanceName) -> Result<()> {
    let look = |state: &mut State, _| {
        let record = state.instance(name)?;
        Ok((record.state, record.options.start_delay))
    };
    let (state, delay) = call.inner.read(None, look).await?;
    match state {
        InstanceState::Running => return Ok(()),
        InstanceState::Paused => return Err(paused(name)),
        _ => {}
    }
    let main = main_of(call.inner, name).await?;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
        call.still_connected()?;
    }
    call.change(|change| run(change, name, main)).await
}

fn paused(name: &InstanceName) -> Error {
    wrong_state(name, InstanceState::Paused, "resume it, or stop it first")
}

/// What the main program of an instance does when it is started. A user's program is called without any lock.
pub(crate) async fn main_of(inner: &Inner, name: &InstanceName) -> Result<Main> {
    let invocation = inner.read(None, |state, _| Ok(main_invocation(&state.instance(name)?.config))).await?;
    start_main(inner, &invocation)
}

pub(super) fn start_main(inner: &Inner, invocation: &Invocation) -> Result<Main> {
    let programs = inner.lock().programs.clone();
    Main::start(invocation, &programs)
}

/// Starts a stopped instance; a running one is left alone.
pub(crate) fn run(change: &mut Change<'_>, name: &InstanceName, main: Main) -> Result<()> {
    match change.state.instance(name)?.state {
        InstanceState::Running => return Ok(()),
        InstanceState::Paused => return Err(paused(name)),
        _ => {}
    }
    let (time, now) = (change.tick(), change.now);
    let record = change.state.instance_mut(name)?;
    record.begin_run(time, now);
    let name = record.config.name.clone();
    change.happened(EventKind::Started, &name, None);
    let (stdout, stderr, files, end) = match main {
        Main::Runs { stdout, stderr, files } => (stdout, stderr, files, None),
        Main::Ends { code, stdout, stderr, files } => (stdout, stderr, files, Some(code)),
    };
    write_files(change, &name, files)?;
    for (source, lines) in [(LogSource::Stdout, stdout), (LogSource::Stderr, stderr)] {
        for line in lines {
            change.write_log(&name, source, &line)?;
        }
    }
    match end {
        Some(code) => end_run(change, &name, code, format!("exit code {code}")),
        None => Ok(()),
    }
}

fn end_run(change: &mut Change<'_>, name: &InstanceName, code: i32, how: String) -> Result<()> {
    let record = change.state.instance_mut(name)?;
    record.end_run(InstanceState::Stopped, format!("exited ({code})"));
    let name = record.config.name.clone();
    change.happened(EventKind::Stopped, &name, Some(how));
    Ok(())
}

// ---- stopping -----------------------------------------------------------------------------------------

/// What a stop sees of an instance.
struct Sight {
    state: InstanceState,
    run: u64,
    /// When it ends in order, if it listens.
    ends_after: Option<std::time::Duration>,
    pulse: watch::Receiver<()>,
}

fn sight(state: &State, name: &InstanceName) -> Result<Sight> {
    let record = state.instance(name)?;
    let listens = record.state == InstanceState::Running && Main::heeds_stop(&record.config.command);
    Ok(Sight {
        state: record.state,
        run: record.run,
        ends_after: listens.then_some(record.options.stop_delay),
        pulse: record.pulse.subscribe(),
    })
}

pub(super) async fn stop(call: &Call<'_>, name: &InstanceName, mode: StopMode) -> Result<()> {
    if matches!(mode, StopMode::Graceful(_)) {
        call.inner.descriptor.capabilities.require(Feature::GracefulStop)?;
    }
    let asked = Instant::now();
    let mut run = None;
    loop {
        let sight = call.inner.read(None, |state, _| sight(state, name)).await?;
        let same_run = *run.get_or_insert(sight.run) == sight.run;
        // Stopped before, by the guest itself, or by somebody else in the meantime.
        if !same_run || sight.state == InstanceState::Stopped {
            return Ok(());
        }
        if mode == StopMode::Force || sight.state == InstanceState::Failed {
            return call.change(|change| cut(change, name)).await;
        }
        let (grace, now) = (mode.grace(), Instant::now());
        let waited = now.saturating_duration_since(asked);
        let in_order = sight.ends_after.filter(|delay| *delay <= grace);
        if in_order.is_some_and(|delay| waited >= delay) {
            return call.change(|change| end_in_order(change, name)).await;
        }
        if waited >= grace {
            if matches!(mode, StopMode::GracefulThenForce(_)) {
                return call.change(|change| cut(change, name)).await;
            }
            return Err(Error::timeout(format!("instance `{name}` did not stop within {grace:?}"))
                .with_outcome(Outcome::Rejected)
                .with_retry(RetryAdvice::Safe)
                .with_hint("it still runs; give it more time, or stop it by force"));
        }
        let mut pulse = sight.pulse;
        tokio::select! {
            biased;
            _ = pulse.changed() => {}
            () = tokio::time::sleep(in_order.unwrap_or(grace) - waited) => {}
        }
        call.still_connected()?;
    }
}

fn end_in_order(change: &mut Change<'_>, name: &InstanceName) -> Result<()> {
    if change.state.instance(name)?.is_up() {
        end_run(change, name, 0, "exit code 0".to_owned())?;
    }
    Ok(())
}

/// Cuts the power; what does not run is left alone, what has failed counts as stopped from now on.
pub(crate) fn cut(change: &mut Change<'_>, name: &InstanceName) -> Result<()> {
    let record = change.state.instance_mut(name)?;
    if record.state == InstanceState::Failed {
        record.state = InstanceState::Stopped;
        let name = record.config.name.clone();
        change.happened(EventKind::Stopped, &name, Some("it had failed".to_owned()));
    } else if record.is_up() {
        end_run(change, name, 137, "signal 9".to_owned())?;
    }
    Ok(())
}

/// The main program dies although nobody asked it to.
pub(crate) fn crash(change: &mut Change<'_>, name: &InstanceName, code: i32) -> Result<()> {
    let record = change.state.instance(name)?;
    if !record.is_up() {
        return Err(wrong_state(name, record.state, "what does not run cannot crash"));
    }
    let record = change.state.instance_mut(name)?;
    record.end_run(InstanceState::Failed, format!("crashed ({code})"));
    let name = record.config.name.clone();
    change.happened(EventKind::Failed, &name, Some(format!("exit code {code}")));
    Ok(())
}

pub(super) async fn restart(call: &Call<'_>, name: &InstanceName, mode: StopMode) -> Result<()> {
    stop(call, name, mode).await?;
    let started = async {
        start(call, name).await?;
        call.change(|change| {
            let name = change.state.instance(name)?.config.name.clone();
            change.happened(EventKind::Restarted, &name, None);
            Ok(())
        })
        .await
    };
    started.await.map_err(|error| error.with_hint("the restart had already stopped it"))
}

// ---- pausing ------------------------------------------------------------------------------------------

pub(super) async fn pause(call: &Call<'_>, name: &InstanceName) -> Result<()> {
    call.change(|change| {
        let now = change.now;
        match change.state.instance(name)?.state {
            InstanceState::Paused => return Ok(()),
            InstanceState::Running => {}
            other => return Err(wrong_state(name, other, "only a running instance can be paused")),
        }
        set_frozen(change, name, InstanceState::Paused, now, EventKind::Paused)
    })
    .await
}

pub(super) async fn resume(call: &Call<'_>, name: &InstanceName) -> Result<()> {
    call.change(|change| {
        let now = change.now;
        match change.state.instance(name)?.state {
            InstanceState::Running => return Ok(()),
            InstanceState::Paused => {}
            other => return Err(wrong_state(name, other, "only a paused instance can be resumed; start it")),
        }
        set_frozen(change, name, InstanceState::Running, now, EventKind::Resumed)
    })
    .await
}

fn set_frozen(
    change: &mut Change<'_>,
    name: &InstanceName,
    state: InstanceState,
    now: Instant,
    kind: EventKind,
) -> Result<()> {
    let record = change.state.instance_mut(name)?;
    record.state = state;
    state.as_str().clone_into(&mut record.provider_state);
    record.settle_usage(now);
    let name = record.config.name.clone();
    change.happened(kind, &name, None);
    Ok(())
}

// ---- deleting -----------------------------------------------------------------------------------------

pub(crate) fn delete(change: &mut Change<'_>, name: &InstanceName, force: bool) -> Result<()> {
    let record = change.state.instance(name)?;
    if record.options.protected {
        return Err(Error::conflict(format!("instance `{name}` is protected"))
            .with_hint("it was created with the option `protected`"));
    }
    if record.is_up() {
        if !force {
            return Err(wrong_state(name, record.state, "stop it first, or delete with force"));
        }
        cut(change, name)?;
    }
    let name = change.state.remove(name)?.config.name;
    change.happened(EventKind::Deleted, &name, None);
    Ok(())
}
