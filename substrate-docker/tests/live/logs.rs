//! What a container wrote.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use substrate_core::{LogLine, LogOptions, LogSource, StopMode, Substrate, SubstrateExt};

use crate::lab::{Lab, SERVE, until};

async fn collect(lab: &Lab, name: &substrate_core::InstanceName, options: LogOptions) -> Vec<LogLine> {
    let stream = lab.docker.get_logs(name, &options).await.unwrap();
    stream.map(|line| line.unwrap()).collect().await
}

fn messages(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

#[tokio::test]
#[ignore = "live: docker"]
async fn tail_since_and_sources() {
    let lab = Lab::new().await;
    let script = "for n in 1 2 3 4 5; do echo line $n; done; echo wrong >&2; sleep 1; echo late; ";
    let instance = lab.running("a", &format!("{script}{SERVE}")).await;
    until("it wrote everything", async || {
        lab.docker.tail_logs(&instance.name, 100).await.unwrap().iter().any(|line| line.message == "late")
    })
    .await;
    let all = collect(&lab, &instance.name, LogOptions::all()).await;
    assert_eq!(all.len(), 7);
    let error = all.iter().find(|line| line.message == "wrong").unwrap();
    assert_eq!(error.source, LogSource::Stderr);
    assert_eq!(messages(&collect(&lab, &instance.name, LogOptions::tail(1)).await), ["late"]);
    assert_eq!(collect(&lab, &instance.name, LogOptions::tail(3)).await, all[4..]);
    assert_eq!(collect(&lab, &instance.name, LogOptions::tail(100)).await, all);
    assert!(collect(&lab, &instance.name, LogOptions::tail(0)).await.is_empty());
    let late = all.last().unwrap().time.unwrap();
    assert_eq!(messages(&collect(&lab, &instance.name, LogOptions::all().since(late)).await), ["late"]);
    let future = SystemTime::now() + Duration::from_secs(3600);
    assert!(collect(&lab, &instance.name, LogOptions::all().since(future)).await.is_empty());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_line_of_a_megabyte_is_one_line_also_at_the_end() {
    let lab = Lab::new().await;
    let script = "echo before; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo after; ";
    let instance = lab.running("a", &format!("{script}{SERVE}")).await;
    until("it wrote everything", async || {
        lab.docker.tail_logs(&instance.name, 100).await.unwrap().iter().any(|line| line.message == "after")
    })
    .await;
    for tail in [2, 3] {
        let lines = collect(&lab, &instance.name, LogOptions::tail(tail)).await;
        assert_eq!(lines.len(), tail);
        assert_eq!(lines[tail - 2].message.len(), 1_048_576);
        assert_eq!(lines[tail - 1].message, "after");
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn following_goes_on_where_the_tail_ends_and_ends_with_the_container() {
    let lab = Lab::new().await;
    let script = "n=0; trap 'echo bye; exit 0' TERM; while :; do n=$((n+1)); echo $n; sleep 0.02; done";
    let instance = lab.running("a", script).await;
    until("it wrote some lines", async || {
        lab.docker.tail_logs(&instance.name, 100).await.unwrap().len() > 20
    })
    .await;
    let mut stream = lab.docker.get_logs(&instance.name, &LogOptions::tail(5).follow()).await.unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 60 {
        let line = tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("lines come");
        numbers.push(line.unwrap().unwrap().message.parse::<u32>().unwrap());
    }
    let expected: Vec<u32> = (numbers[0]..numbers[0] + 60).collect();
    assert_eq!(numbers, expected, "nothing twice, nothing lost");
    assert!(numbers[0] > 10, "only the tail");
    lab.docker.stop_instance(&instance.name, StopMode::Graceful(Duration::from_secs(10))).await.unwrap();
    let rest: Vec<_> =
        tokio::time::timeout(Duration::from_secs(10), stream.collect::<Vec<_>>()).await.expect("it ends");
    assert_eq!(rest.last().unwrap().as_ref().unwrap().message, "bye");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_terminal_s_log_is_plain_lines() {
    let lab = Lab::new().await;
    let config = lab.config("a", &format!("echo one; printf two; {SERVE}")).with_option("tty", true);
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    until("it wrote", async || !lab.docker.tail_logs(&config.name, 9).await.unwrap().is_empty()).await;
    let lines = lab.docker.tail_logs(&config.name, 9).await.unwrap();
    assert_eq!(lines[0].message, "one");
    assert_eq!(lines[0].source, LogSource::Stdout);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_log_that_is_kept_nowhere_cannot_be_read() {
    let lab = Lab::new().await;
    let config = lab.config("a", SERVE).with_option("log_driver", "none");
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    let result = lab.docker.get_logs(&config.name, &LogOptions::all()).await;
    assert!(result.err().unwrap().is_unsupported());
}
