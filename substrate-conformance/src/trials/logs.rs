//! Logs: the last lines, those since a time, and those to come.

use futures_util::{StreamExt, TryStreamExt};
use substrate_core::{InstanceName, LogLine, LogOptions, LogSource, LogStream, StopMode, SubstrateExt};

use crate::context::{AMPLE, Context};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found, same, within};

trials! {
    logs_hold_what_the_instance_wrote_in_order => GetLogs [Feature::CreateCommand];
    logs_give_the_last_lines => GetLogs [Feature::CreateCommand];
    logs_of_a_stopped_instance_are_still_there => GetLogs [Feature::CreateCommand, Operation::StopInstance];
    logs_of_a_missing_instance_are_not_found => GetLogs;
    logs_hold_odd_lines_exactly => GetLogs [Feature::CreateCommand];
    logs_since_a_time_begin_there
        => GetLogs [Feature::LogSince, Feature::CreateCommand, Operation::ExecuteCommand];
    logs_keep_both_streams_apart => GetLogs [Feature::LogStreamsApart, Operation::ExecuteCommand];
    following_delivers_new_lines => GetLogs [Feature::LogFollow, Operation::ExecuteCommand];
    following_begins_with_the_last_lines
        => GetLogs [Feature::LogFollow, Feature::CreateCommand, Operation::ExecuteCommand];
    following_ends_when_the_instance_stops => GetLogs [Feature::LogFollow, Feature::CreateCommand, Operation::StopInstance];
    following_ends_when_the_instance_is_deleted => GetLogs [Feature::LogFollow, Feature::CreateCommand];
    following_a_stopped_instance_ends => GetLogs [Feature::LogFollow, Feature::CreateCommand, Operation::StopInstance];
    a_dropped_follower_harms_nobody => GetLogs [Feature::LogFollow, Feature::CreateCommand];
}

/// An instance that has written these lines: all of them are in its log already.
async fn writer(context: &Context, lines: &[&str]) -> Verdict<InstanceName> {
    let program = Program::ServeWithLog(lines.iter().map(|line| (*line).to_owned()).collect());
    let name = context.running_program("writer", &program).await?;
    // Not only their number: of a line that is still being written there is a part.
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    context
        .eventually("the written lines", || async {
            let found = messages(context, &name, &LogOptions::all()).await?;
            let whole = found.iter().map(String::len).sum::<usize>() >= bytes;
            Ok((found.len() >= lines.len() && whole).then_some(()))
        })
        .await?;
    Ok(name)
}

async fn lines(context: &Context, name: &InstanceName, options: &LogOptions) -> Verdict<Vec<LogLine>> {
    let stream = context.substrate().get_logs(name, options).await?;
    Ok(within(context.setup().patience, "the log", stream.try_collect()).await??)
}

async fn messages(context: &Context, name: &InstanceName, options: &LogOptions) -> Verdict<Vec<String>> {
    Ok(lines(context, name, options).await?.into_iter().map(|line| line.message).collect())
}

async fn follow(context: &Context, name: &InstanceName, options: LogOptions) -> Verdict<LogStream> {
    Ok(context.substrate().get_logs(name, &options.follow()).await?)
}

async fn next(context: &Context, stream: &mut LogStream) -> Verdict<String> {
    let line = within(context.setup().patience, "the next line", stream.next()).await?;
    line.transpose()?.map(|line| line.message).ok_or_else(|| Failure::broken("the follower ended"))
}

/// The rest of the stream: it must end.
async fn ends(context: &Context, stream: LogStream) -> Verdict<Vec<LogLine>> {
    // An end with an error is an end too: the instance is gone.
    let rest = stream.filter_map(|line| std::future::ready(line.ok())).collect();
    within(context.setup().patience, "the follower", rest).await
}

async fn logs_hold_what_the_instance_wrote_in_order(context: &Context) -> Verdict {
    let name = writer(context, &["one", "two", "three"]).await?;
    let lines = lines(context, &name, &LogOptions::all()).await?;
    let words: Vec<&str> = lines.iter().map(|line| line.message.as_str()).collect();
    same("the log", words, ["one", "two", "three"])?;
    ensure!(lines.is_sorted_by(|one, other| one.time <= other.time), "the times are not in order");
    Ok(())
}

async fn logs_give_the_last_lines(context: &Context) -> Verdict {
    let name = writer(context, &["one", "two", "three", "four"]).await?;
    let all = ["one", "two", "three", "four"];
    for (count, expected) in [(1, &all[3..]), (2, &all[2..]), (4, &all[..]), (100, &all[..]), (0, &[])] {
        let tail = context.substrate().tail_logs(&name, count).await?;
        let tail: Vec<&str> = tail.iter().map(|line| line.message.as_str()).collect();
        same(&format!("the last {count} lines"), tail, expected)?;
    }
    Ok(())
}

async fn logs_of_a_stopped_instance_are_still_there(context: &Context) -> Verdict {
    context.only_with_logs_of_stopped()?;
    let name = writer(context, &["last", "words"]).await?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    same("the log", messages(context, &name, &LogOptions::all()).await?, ["last", "words"])
}

async fn logs_of_a_missing_instance_are_not_found(context: &Context) -> Verdict {
    let name = context.name("nobody")?;
    let result = match context.substrate().get_logs(&name, &LogOptions::all()).await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    not_found("its log", result)
}

async fn logs_hold_odd_lines_exactly(context: &Context) -> Verdict {
    let long = "x".repeat(20_000);
    let odd = ["  spaces  ", "", "größe ☃ 🦀", r#"{"json": "\n"}"#, "2020-01-01T00:00:00Z not a time", &long];
    let name = writer(context, &odd).await?;
    let found = messages(context, &name, &LogOptions::all()).await?;
    for (index, line) in odd.iter().enumerate() {
        let found = found.get(index).map_or("missing", String::as_str);
        ensure!(
            found == *line,
            "line {index} is {found:.60} ({} bytes), it should be {line:.60} ({} bytes)",
            found.len(),
            line.len()
        );
    }
    same("the number of lines", found.len(), odd.len())
}

async fn logs_since_a_time_begin_there(context: &Context) -> Verdict {
    let name = writer(context, &["one"]).await?;
    // One after the other, so that their times differ.
    for (index, text) in ["two", "three"].into_iter().enumerate() {
        context.execute(&name, &Program::Log(text.to_owned())).await?;
        context
            .eventually("the line", || async {
                Ok((messages(context, &name, &LogOptions::all()).await?.len() > index + 1).then_some(()))
            })
            .await?;
    }
    let all = lines(context, &name, &LogOptions::all()).await?;
    let [one, two, _] = &*all else {
        return Err(Failure::broken(format!("the log has {} lines instead of 3", all.len())));
    };
    let Some(time) = two.time else {
        return Err(Failure::broken("the log can be read since a time, and its lines have none"));
    };
    ensure!(one.time < two.time, "lines written one after the other have the times {:?}, {time:?}", one.time);
    same(
        "the log since the second line",
        messages(context, &name, &LogOptions::all().since(time)).await?,
        ["two", "three"],
    )?;
    let both = LogOptions::tail(1).since(time);
    same("the last line since then", messages(context, &name, &both).await?, ["three"])
}

async fn logs_keep_both_streams_apart(context: &Context) -> Verdict {
    let name = context.running("speaker").await?;
    context.execute(&name, &Program::Log("to out".to_owned())).await?;
    context.execute(&name, &Program::LogError("to err".to_owned())).await?;
    let found = context
        .eventually("both lines", || async {
            let found = lines(context, &name, &LogOptions::all()).await?;
            Ok((found.len() == 2).then_some(found))
        })
        .await?;
    for line in found {
        let expected = if line.message == "to out" { LogSource::Stdout } else { LogSource::Stderr };
        same(&format!("the source of `{}`", line.message), line.source, expected)?;
    }
    Ok(())
}

async fn following_delivers_new_lines(context: &Context) -> Verdict {
    let name = context.running("speaker").await?;
    let mut stream = follow(context, &name, LogOptions::all()).await?;
    for text in ["one", "two", "three"] {
        context.execute(&name, &Program::Log(text.to_owned())).await?;
        same("the next line", next(context, &mut stream).await?, text)?;
    }
    Ok(())
}

async fn following_begins_with_the_last_lines(context: &Context) -> Verdict {
    let name = writer(context, &["one", "two", "three"]).await?;
    let mut stream = follow(context, &name, LogOptions::tail(2)).await?;
    context.execute(&name, &Program::Log("four".to_owned())).await?;
    for text in ["two", "three", "four"] {
        same("the next line", next(context, &mut stream).await?, text)?;
    }
    Ok(())
}

async fn following_ends_when_the_instance_stops(context: &Context) -> Verdict {
    let name = writer(context, &["one"]).await?;
    let mut stream = follow(context, &name, LogOptions::all()).await?;
    same("the first line", next(context, &mut stream).await?, "one")?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    ends(context, stream).await.map(drop)
}

async fn following_ends_when_the_instance_is_deleted(context: &Context) -> Verdict {
    let name = writer(context, &["one"]).await?;
    let mut stream = follow(context, &name, LogOptions::all()).await?;
    same("the first line", next(context, &mut stream).await?, "one")?;
    context.substrate().delete_instance(&name, true).await?;
    ends(context, stream).await.map(drop)
}

async fn following_a_stopped_instance_ends(context: &Context) -> Verdict {
    let name = writer(context, &["one"]).await?;
    context.substrate().stop_instance(&name, StopMode::GracefulThenForce(AMPLE)).await?;
    let stream = follow(context, &name, LogOptions::all()).await?;
    let lines = ends(context, stream).await?;
    context.only_with_logs_of_stopped()?;
    same("what it delivered", lines.into_iter().map(|line| line.message).collect::<Vec<_>>(), ["one"])
}

async fn a_dropped_follower_harms_nobody(context: &Context) -> Verdict {
    let name = writer(context, &["one"]).await?;
    let before = context.get(&name).await?;
    for _ in 0..5 {
        let mut stream = follow(context, &name, LogOptions::all()).await?;
        same("the first line", next(context, &mut stream).await?, "one")?;
        drop(stream);
    }
    drop(follow(context, &name, LogOptions::all()).await?);
    same("the log", messages(context, &name, &LogOptions::all()).await?, ["one"])?;
    context.is_untouched(&before).await
}
