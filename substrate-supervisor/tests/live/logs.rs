//! Logs of both streams, as files and through supervisord.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use substrate_core::{InstanceName, LogLine, LogOptions, LogSource, Substrate, SubstrateExt};
use substrate_supervisor::SupervisorSubstrate;

use crate::lab::{Lab, until};

async fn read(supervisor: &SupervisorSubstrate, name: &InstanceName, options: &LogOptions) -> Vec<LogLine> {
    supervisor.get_logs(name, options).await.unwrap().try_collect().await.unwrap()
}

/// The same supervisord, as if it were on another host.
fn remote(lab: &Lab) -> SupervisorSubstrate {
    lab.other(|config| config.with_same_host(false))
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn both_streams_are_told_apart_however_they_are_read() {
    let lab = Lab::new().await;
    let instance = lab.running("a", "echo 'to out'; echo '  to err ☃ ' >&2; exec sleep 600").await;
    until("both lines are there", async || lab.lines(&instance.name).await.len() == 2).await;
    let far = remote(&lab);
    for supervisor in [&*lab.supervisor, &far] {
        let lines = read(supervisor, &instance.name, &LogOptions::all()).await;
        let lines: Vec<_> = lines.iter().map(|line| (line.source, line.message.as_str())).collect();
        assert_eq!(lines, [(LogSource::Stdout, "to out"), (LogSource::Stderr, "  to err ☃ ")]);
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn one_stream_is_enough_where_both_are_one() {
    let lab = Lab::new().await;
    let config =
        lab.config("a", "echo one; echo two >&2; exec sleep 600").with_option("redirect_stderr", true);
    lab.running_from(&config).await;
    until("both lines are there", async || lab.lines(&config.name).await == ["one", "two"]).await;
    assert_eq!(lab.files_in(lab.logs()).len(), 1);
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_long_log_of_long_characters_comes_whole_however_it_is_read() {
    let lab = Lab::new().await;
    // Three bytes to a character: pieces of 256 KiB end within one.
    let script = r#"i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo "$i ☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃☃"; done; exec sleep 600"#;
    let instance = lab.running("a", script).await;
    let last = "3000 ☃";
    until("the last line is there", async || {
        lab.supervisor
            .tail_logs(&instance.name, 1)
            .await
            .unwrap()
            .iter()
            .any(|it| it.message.starts_with(last))
    })
    .await;
    let far = remote(&lab);
    for supervisor in [&*lab.supervisor, &far] {
        let all = read(supervisor, &instance.name, &LogOptions::all()).await;
        assert_eq!(all.len(), 3000);
        for (index, line) in all.iter().enumerate() {
            assert!(line.message.starts_with(&format!("{} ☃", index + 1)) && line.message.ends_with('☃'));
        }
        for count in [1, 10, 2999, 5000] {
            let tail = read(supervisor, &instance.name, &LogOptions::tail(count)).await;
            assert_eq!(tail, all[3000_usize.saturating_sub(count)..]);
        }
        assert!(read(supervisor, &instance.name, &LogOptions::tail(0)).await.is_empty());
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn followers_get_every_new_line_of_both_streams_until_the_end() {
    let lab = Lab::new().await;
    let script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; sleep 0.3; done; printf 'no end'";
    let instance = lab.running("a", script).await;
    let far = remote(&lab);
    for supervisor in [&*lab.supervisor, &far] {
        let stream = supervisor.get_logs(&instance.name, &LogOptions::all().follow()).await.unwrap();
        let lines =
            tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>()).await.unwrap();
        let lines = lines.unwrap();
        let of = |source| {
            lines
                .iter()
                .filter(|line| line.source == source)
                .map(|line| line.message.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(LogSource::Stdout), ["out 1", "out 2", "out 3", "out 4", "out 5", "no end"]);
        assert_eq!(of(LogSource::Stderr), ["err 1", "err 2", "err 3", "err 4", "err 5"]);
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn following_from_the_end_tells_only_what_is_new() {
    let lab = Lab::new().await;
    let instance = lab.running("a", "echo old; while :; do sleep 0.2; echo new; done").await;
    until("the first line is there", async || !lab.lines(&instance.name).await.is_empty()).await;
    let mut stream = lab.supervisor.get_logs(&instance.name, &LogOptions::tail(0).follow()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().message, "new");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_follower_goes_on_when_a_full_log_is_moved_aside() {
    let lab = Lab::new().await;
    let script = r#"i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "line $i of some length, so that a log is soon full"; sleep 0.005; done; exec sleep 1"#;
    let config =
        lab.config("a", script).with_option("logfile_maxbytes", 4096).with_option("logfile_backups", 3);
    lab.running_from(&config).await;
    let stream = lab.supervisor.get_logs(&config.name, &LogOptions::tail(0).follow()).await.unwrap();
    let lines =
        tokio::time::timeout(Duration::from_secs(30), stream.try_collect::<Vec<_>>()).await.unwrap().unwrap();
    let numbers: Vec<u32> =
        lines.iter().map(|line| line.message.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&400));
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "a line is missing or doubled: {numbers:?}"
    );
    assert!(lab.files_in(lab.logs()).len() > 2, "no log was moved aside");
    lab.supervisor.delete_instance(&config.name, true).await.unwrap();
    assert!(lab.files_in(lab.logs()).is_empty(), "{:?}", lab.files_in(lab.logs()));
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn colours_and_the_line_ends_of_other_systems_do_not_shift_what_follows() {
    let lab = Lab::new().await;
    let script =
        r"i=0; while [ $i -lt 100 ]; do i=$((i+1)); printf '\033[1m%s\033[0m <&>\r\n' $i; sleep 0.01; done";
    let instance = lab.running("a", script).await;
    let expected: Vec<String> = (1..=100).map(|number| format!("\u{1b}[1m{number}\u{1b}[0m <&>")).collect();
    let far = remote(&lab);
    for supervisor in [&*lab.supervisor, &far] {
        let lines = read(supervisor, &instance.name, &LogOptions::all().follow()).await;
        let lines: Vec<String> = lines.into_iter().map(|line| line.message).collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn what_is_no_text_is_read_as_a_file_and_refused_from_afar() {
    let lab = Lab::new().await;
    let instance = lab.running("a", r"printf 'a\377\376\375\374\373\372b\n'; exec sleep 600").await;
    until("the line is there", async || !lab.lines(&instance.name).await.is_empty()).await;
    let line = &lab.lines(&instance.name).await[0];
    assert!(line.starts_with('a') && line.ends_with('b') && line.contains('\u{fffd}'));
    let far = remote(&lab);
    let error = match far.get_logs(&instance.name, &LogOptions::all()).await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.is_unsupported() && error.message().contains("UTF-8"), "{error}");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_without_logs_says_so() {
    let mut lab = Lab::new().await;
    let prefix = lab.prefix.clone();
    lab.stranger(
        "mute",
        &format!("[program:{prefix}-mute]\ncommand=sleep 600\nautostart=false\nstdout_logfile=NONE\nstderr_logfile=NONE\n"),
    );
    lab.administrator(&["update", &format!("{prefix}-mute")]).await;
    let error = lab.supervisor.get_logs(&lab.named("mute"), &LogOptions::all()).await.map(drop).unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("NONE"), "{error}");
}
