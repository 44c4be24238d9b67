use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use substrate_core::{EventKind, StopMode, Substrate, WatchCursor, WatchItem, WatchOptions, WatchStream};

use super::{config, name, running};
use crate::Fake;

async fn watch(fake: &Fake) -> WatchStream {
    fake.watch(&WatchOptions::from_now()).await.unwrap()
}

/// What is there to be read without waiting.
fn ready(stream: &mut WatchStream) -> Vec<WatchItem> {
    let mut items = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        items.push(item.unwrap());
    }
    items
}

fn kinds(items: &[WatchItem]) -> Vec<Option<EventKind>> {
    let kind = |item: &WatchItem| match item {
        WatchItem::Event { event, .. } => Some(event.kind),
        _ => None,
    };
    items.iter().map(kind).collect()
}

fn cursor(item: &WatchItem) -> WatchCursor {
    match item {
        WatchItem::Event { cursor: Some(cursor), .. } => cursor.clone(),
        other => panic!("{other:?} has no cursor"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_watcher_sees_everything_since_it_subscribed() {
    let fake = Fake::new("fake");
    let mut first = watch(&fake).await;
    let web = running(&fake, "web", &[]).await;
    let mut second = watch(&fake).await;
    fake.restart_instance(&web, StopMode::Force).await.unwrap();
    fake.world().crash("web", 1).await.unwrap();
    fake.delete_instance(&web, false).await.unwrap();
    use EventKind::*;
    let tail = [Stopped, Started, Restarted, Failed, Deleted].map(Some);
    assert_eq!(kinds(&ready(&mut second)), tail);
    let all = ready(&mut first);
    assert_eq!(kinds(&all), [&[Some(Created), Some(Started)], &tail[..]].concat());
    let WatchItem::Event { event, .. } = &all[0] else { panic!() };
    assert_eq!(event.instance.as_ref(), Some(&web));
    assert_eq!(event.origin, substrate_core::EventOrigin::Observed);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_waits_is_woken() {
    let fake = Fake::new("fake");
    let mut stream = watch(&fake).await;
    let (item, _) = tokio::join!(stream.next(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fake.create_instance(&config("web")).await.unwrap();
    });
    assert_eq!(kinds(&[item.unwrap().unwrap()]), [Some(EventKind::Created)]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_resumed_after_its_cursor() {
    let fake = Fake::new("fake");
    let mut stream = watch(&fake).await;
    for text in ["a", "b", "c"] {
        fake.create_instance(&config(text)).await.unwrap();
    }
    let all = ready(&mut stream);
    let mut resumed = fake.watch(&WatchOptions::after(cursor(&all[0]))).await.unwrap();
    assert_eq!(ready(&mut resumed), all[1..]);
    let mut resumed = fake.watch(&WatchOptions::after(cursor(&all[2]))).await.unwrap();
    assert!(ready(&mut resumed).is_empty());
    let strange = WatchOptions::after(WatchCursor("x".to_owned()));
    assert!(fake.watch(&strange).await.err().unwrap().is_invalid_input());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_kept_is_a_gap() {
    let fake = Fake::builder().event_history(3).build();
    let mut slow = watch(&fake).await;
    fake.create_instance(&config("0")).await.unwrap();
    let first = cursor(&ready(&mut slow)[0]);
    for number in 1..=5 {
        fake.create_instance(&config(&number.to_string())).await.unwrap();
    }
    let created = Some(EventKind::Created);
    assert_eq!(kinds(&ready(&mut slow)), [None, created, created, created]);
    let mut resumed = fake.watch(&WatchOptions::after(first)).await.unwrap();
    assert_eq!(kinds(&ready(&mut resumed)), [None, created, created, created]);
    // A cursor of another history, from the future of this one.
    let mut foreign = fake.watch(&WatchOptions::after(WatchCursor("99".to_owned()))).await.unwrap();
    assert_eq!(kinds(&ready(&mut foreign)), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_the_watch_and_the_cursor_goes_on() {
    let fake = Fake::new("fake");
    let mut stream = watch(&fake).await;
    fake.create_instance(&config("a")).await.unwrap();
    let last = cursor(&ready(&mut stream)[0]);
    fake.world().disconnect_watchers();
    assert!(stream.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(stream.next().await.is_none());
    fake.create_instance(&config("b")).await.unwrap();
    let mut resumed = fake.watch(&WatchOptions::after(last)).await.unwrap();
    assert_eq!(kinds(&ready(&mut resumed)), [Some(EventKind::Created)]);
    assert!(fake.get_instance(&name("b")).await.is_ok());
}
