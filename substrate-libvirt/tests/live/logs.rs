//! A console's log: the suite's guests have no command of their own that could write one.

use futures_util::{StreamExt, TryStreamExt};
use substrate_core::{InstanceName, LogOptions, StopMode, Substrate, SubstrateExt};

use crate::lab::{Lab, until};

async fn write(lab: &Lab, name: &InstanceName, lines: &[&str]) {
    for line in lines {
        lab.run(name, &["sh", "-c", r#"printf '%s\n' "$0" > /proc/1/fd/1"#, line]).await;
    }
    until("the lines are in the log", async || {
        messages(lab, name, &LogOptions::all()).await.len() >= lines.len()
    })
    .await;
}

async fn messages(lab: &Lab, name: &InstanceName, options: &LogOptions) -> Vec<String> {
    let stream = lab.libvirt.get_logs(name, options).await.unwrap();
    stream.map_ok(|line| line.message).try_collect().await.unwrap()
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_log_holds_odd_lines_exactly_and_outlives_a_stop_and_a_start() {
    let lab = Lab::new().await;
    let config = lab.config("writer");
    lab.running(&config).await;
    let long = "x".repeat(3_000);
    let odd = ["  spaces  ", "", "größe ☃ 🦀", r#"{"json": "\n"}"#, &long];
    write(&lab, &config.name, &odd).await;
    assert_eq!(messages(&lab, &config.name, &LogOptions::all()).await, odd);
    for count in 0..=odd.len() {
        let tail = lab.libvirt.tail_logs(&config.name, count).await.unwrap();
        let tail: Vec<&str> = tail.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(tail, odd[odd.len() - count..]);
    }
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    assert_eq!(messages(&lab, &config.name, &LogOptions::all()).await, odd);
    lab.libvirt.start_instance(&config.name).await.unwrap();
    assert_eq!(messages(&lab, &config.name, &LogOptions::all()).await, odd);
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_follower_begins_with_the_last_lines_and_ends_with_the_machine() {
    let lab = Lab::new().await;
    let config = lab.config("writer");
    lab.running(&config).await;
    write(&lab, &config.name, &["one", "two", "three"]).await;
    let mut stream = lab.libvirt.get_logs(&config.name, &LogOptions::tail(2).follow()).await.unwrap();
    let mut all = lab.libvirt.get_logs(&config.name, &LogOptions::all().follow()).await.unwrap();
    write(&lab, &config.name, &["four"]).await;
    for expected in ["two", "three", "four"] {
        assert_eq!(stream.next().await.unwrap().unwrap().message, expected);
    }
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    assert!(stream.next().await.is_none());
    lab.libvirt.delete_instance(&config.name, true).await.unwrap();
    let mut rest = 0;
    while let Some(line) = all.next().await {
        rest += usize::from(line.is_ok());
    }
    assert!(rest <= 4);
}
