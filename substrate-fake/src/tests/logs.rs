use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use substrate_core::{LogOptions, LogSource, StopMode, Substrate, SubstrateExt};

use super::{execute, name, running};
use crate::Fake;

async fn messages(fake: &Fake, options: &LogOptions) -> Vec<String> {
    let stream = fake.get_logs(&name("web"), options).await.unwrap();
    stream.map_ok(|line| line.message).try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_and_those_since_a_time() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &["serve", "one", "two", "three"]).await;
    assert_eq!(messages(&fake, &LogOptions::all()).await, ["one", "two", "three"]);
    assert_eq!(messages(&fake, &LogOptions::tail(2)).await, ["two", "three"]);
    assert!(messages(&fake, &LogOptions::tail(0)).await.is_empty());
    let time = fake.tail_logs(&web, 2).await.unwrap()[0].time.unwrap();
    assert_eq!(messages(&fake, &LogOptions::all().since(time)).await, ["two", "three"]);
    assert_eq!(messages(&fake, &LogOptions::tail(1).since(time)).await, ["three"]);
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    assert_eq!(messages(&fake, &LogOptions::all()).await, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn both_streams_stay_apart() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    execute(&fake, "web", &["log", "out"]).await.unwrap();
    execute(&fake, "web", &["log-err", "err"]).await.unwrap();
    let lines = fake.tail_logs(&web, 9).await.unwrap();
    let found: Vec<_> = lines.iter().map(|line| (line.message.as_str(), line.source)).collect();
    assert_eq!(found, [("out", LogSource::Stdout), ("err", LogSource::Stderr)]);
    assert!(lines[0].time < lines[1].time);
}

#[tokio::test(start_paused = true)]
async fn following_goes_on_until_the_run_ends() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &["serve", "one", "two"]).await;
    let mut stream = fake.get_logs(&web, &LogOptions::tail(1).follow()).await.unwrap();
    execute(&fake, "web", &["log", "three"]).await.unwrap();
    for expected in ["two", "three"] {
        assert_eq!(stream.next().await.unwrap().unwrap().message, expected);
    }
    assert!(tokio::time::timeout(Duration::from_secs(60), stream.next()).await.is_err());
    // The last words are told, those of the next run are not.
    execute(&fake, "web", &["log", "four"]).await.unwrap();
    fake.restart_instance(&web, StopMode::Force).await.unwrap();
    let rest: Vec<String> = stream.map_ok(|line| line.message).try_collect().await.unwrap();
    assert_eq!(rest, ["four"]);
    let follower = fake.get_logs(&web, &LogOptions::tail(0).follow()).await.unwrap();
    fake.delete_instance(&web, true).await.unwrap();
    assert!(follower.try_collect::<Vec<_>>().await.unwrap().is_empty());
}
