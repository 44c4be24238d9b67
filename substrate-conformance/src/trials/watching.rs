//! Native events: nothing is missed without a gap.

use futures_util::StreamExt;
use substrate_core::{
    Event, EventKind, EventOrigin, InstanceName, StopMode, WatchCursor, WatchItem, WatchOptions, WatchStream,
};
use tokio::time::{Instant, timeout_at};

use crate::context::{AMPLE, Context};
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, same};

trials! {
    a_gap_is_an_exception => Watch;
    a_life_is_watched_in_order => Watch [Operation::StopInstance];
    nothing_is_missed_from_the_moment_of_watching => Watch [Operation::StopInstance];
    a_pause_is_watched => Watch [Operation::PauseInstance, Operation::ResumeInstance];
    watched_events_say_where_and_how_they_are_known => Watch [Operation::StopInstance];
    two_watchers_see_the_same => Watch [Operation::StopInstance];
    a_dropped_watcher_harms_nobody => Watch [Operation::StopInstance];
    watching_resumes_after_a_cursor => Watch [Feature::WatchResume, Operation::StopInstance];
    the_end_of_a_deaf_instance_is_watched => Watch [Feature::CreateCommand];
}

async fn watch(context: &Context) -> Verdict<WatchStream> {
    Ok(context.substrate().watch(&WatchOptions::from_now()).await?)
}

/// Reads until these kinds have come for the instance, in this order, others between them allowed. A gap
/// means that the substrate may have lost some: then nothing can be said.
async fn sees(
    context: &Context,
    stream: &mut WatchStream,
    name: &InstanceName,
    expected: &[EventKind],
) -> Verdict<Vec<(Event, Option<WatchCursor>)>> {
    let deadline = Instant::now() + context.setup().patience;
    let mut seen = Vec::new();
    for kind in expected {
        loop {
            let Ok(item) = timeout_at(deadline, stream.next()).await else {
                let so_far: Vec<_> = seen.iter().map(|(event, _): &(Event, _)| event.kind).collect();
                return Err(Failure::broken(format!("`{kind}` of `{name}` did not come, only {so_far:?}")));
            };
            match item.transpose()? {
                None => return Err(Failure::broken(format!("the stream ended before `{kind}`"))),
                Some(WatchItem::Gap { reason }) => {
                    return Err(Failure::skipped(format!("the substrate reported a gap: {reason}")));
                }
                Some(WatchItem::Event { event, cursor }) if event.instance.as_ref() == Some(name) => {
                    let found = event.kind == *kind;
                    seen.push((event, cursor));
                    if found {
                        break;
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(seen)
}

/// Other trials are skipped by a gap, and may be: events can get lost. But one birth in three that comes without
/// is little to ask, and a watch that always has a gap tells nothing.
async fn a_gap_is_an_exception(context: &Context) -> Verdict {
    let mut reason = String::new();
    for word in ["first", "second", "third"] {
        let mut stream = watch(context).await?;
        let name = context.stopped(word).await?;
        match sees(context, &mut stream, &name, &[EventKind::Created]).await {
            Err(Failure::Skipped(gap)) => reason = gap,
            result => return result.map(drop),
        }
    }
    Err(Failure::broken(format!("three watches of one birth each, and each had a gap; the last: {reason}")))
}

const LIFE: [EventKind; 4] = [EventKind::Created, EventKind::Started, EventKind::Stopped, EventKind::Deleted];

async fn live(context: &Context, word: &str) -> Verdict<InstanceName> {
    let name = context.stopped(word).await?;
    context.substrate().start_instance(&name).await?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    context.substrate().delete_instance(&name, false).await?;
    Ok(name)
}

/// The kinds of a whole life, each once.
fn is_one_life(seen: &[(Event, Option<WatchCursor>)]) -> Verdict {
    for kind in LIFE {
        let times = seen.iter().filter(|(event, _)| event.kind == kind).count();
        // Where nothing can be created stopped, it is started and stopped once more on the way.
        ensure!(times >= 1, "`{kind}` was not seen");
    }
    Ok(())
}

async fn a_life_is_watched_in_order(context: &Context) -> Verdict {
    let mut stream = watch(context).await?;
    let name = live(context, "watched").await?;
    is_one_life(&sees(context, &mut stream, &name, &LIFE).await?)
}

async fn nothing_is_missed_from_the_moment_of_watching(context: &Context) -> Verdict {
    let name = context.stopped("early").await?;
    // The very first change after the watch returned counts, time after time.
    for _ in 0..5 {
        let mut stream = watch(context).await?;
        context.substrate().start_instance(&name).await?;
        sees(context, &mut stream, &name, &[EventKind::Started]).await?;
        let mut stream = watch(context).await?;
        context.substrate().stop_instance(&name, StopMode::Force).await?;
        sees(context, &mut stream, &name, &[EventKind::Stopped]).await?;
    }
    Ok(())
}

async fn a_pause_is_watched(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    let mut stream = watch(context).await?;
    context.pause(&name).await?;
    context.substrate().resume_instance(&name).await?;
    sees(context, &mut stream, &name, &[EventKind::Paused, EventKind::Resumed]).await.map(drop)
}

async fn watched_events_say_where_and_how_they_are_known(context: &Context) -> Verdict {
    let mut stream = watch(context).await?;
    let name = live(context, "watched").await?;
    let descriptor = context.substrate().descriptor();
    let seen = sees(context, &mut stream, &name, &LIFE).await?;
    for (event, _) in &seen {
        same("the substrate of an event", &*event.substrate, &*descriptor.name)?;
        same("the origin of an event", event.origin, EventOrigin::Observed)?;
    }
    ensure!(seen.is_sorted_by(|(one, _), (other, _)| one.time <= other.time), "the times are not in order");
    Ok(())
}

async fn two_watchers_see_the_same(context: &Context) -> Verdict {
    let (mut one, mut other) = (watch(context).await?, watch(context).await?);
    let name = live(context, "watched").await?;
    let kinds = |seen: Vec<(Event, Option<WatchCursor>)>| -> Vec<EventKind> {
        seen.into_iter().map(|(event, _)| event.kind).collect()
    };
    let first = kinds(sees(context, &mut one, &name, &LIFE).await?);
    let second = kinds(sees(context, &mut other, &name, &LIFE).await?);
    same("what the second one saw", second, first)
}

async fn a_dropped_watcher_harms_nobody(context: &Context) -> Verdict {
    let mut kept = watch(context).await?;
    for _ in 0..10 {
        drop(watch(context).await?);
    }
    let name = live(context, "watched").await?;
    sees(context, &mut kept, &name, &LIFE).await.map(drop)
}

async fn watching_resumes_after_a_cursor(context: &Context) -> Verdict {
    let mut stream = watch(context).await?;
    let name = context.stopped("resumed").await?;
    let seen = sees(context, &mut stream, &name, &[EventKind::Created]).await?;
    let Some((_, Some(cursor))) = seen.last().cloned() else {
        return Err(Failure::broken("watching can be resumed, and an event has no cursor"));
    };
    drop(stream);
    // What happens while nobody watches.
    context.substrate().start_instance(&name).await?;
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    let mut resumed = context.substrate().watch(&WatchOptions::after(cursor)).await?;
    context.substrate().delete_instance(&name, false).await?;
    let rest = [EventKind::Started, EventKind::Stopped, EventKind::Deleted];
    let seen = sees(context, &mut resumed, &name, &rest).await?;
    let again = seen.iter().any(|(event, _)| event.kind == EventKind::Created);
    ensure!(!again, "what came before the cursor came again");
    Ok(())
}

async fn the_end_of_a_deaf_instance_is_watched(context: &Context) -> Verdict {
    let name = context.running_program("deaf", &crate::guest::Program::Deaf).await?;
    let mut stream = watch(context).await?;
    context.substrate().delete_instance(&name, true).await?;
    sees(context, &mut stream, &name, &[EventKind::Stopped, EventKind::Deleted]).await.map(drop)
}
