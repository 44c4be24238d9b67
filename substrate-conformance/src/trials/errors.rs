//! Errors that a person can act on.

use substrate_core::{Outcome, StopMode};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, same};

trials! {
    an_error_names_what_it_is_about_in_one_line => GetInstance;
    not_found_is_never_uncertain => GetInstance;
    a_conflict_does_not_pass_by_itself => DeleteInstance;
}

async fn an_error_names_what_it_is_about_in_one_line(context: &Context) -> Verdict {
    let name = context.name("nobody")?;
    let substrate = context.substrate();
    for (what, error) in [
        ("get", substrate.get_instance(&name).await.err()),
        ("start", substrate.start_instance(&name).await.err()),
        ("stop", substrate.stop_instance(&name, StopMode::Force).await.err()),
        ("delete", substrate.delete_instance(&name, true).await.err()),
    ] {
        let Some(error) = error else {
            return Err(Failure::broken(format!("{what} of nobody succeeded")));
        };
        let text = error.to_string();
        // In so many words, or in its place, where the layers around a provider show it.
        let named = text.contains(name.as_str()) || error.instance() == Some(name.as_str());
        ensure!(named, "the error of {what} does not name the instance: {text}");
        ensure!(!text.chars().any(char::is_control), "the error of {what} is more than one line: {text:?}");
        ensure!(text.len() < 1_000, "the error of {what} has {} bytes", text.len());
    }
    Ok(())
}

async fn not_found_is_never_uncertain(context: &Context) -> Verdict {
    let name = context.name("nobody")?;
    for error in [
        context.substrate().start_instance(&name).await.err(),
        context.substrate().delete_instance(&name, true).await.err(),
    ] {
        let outcome = error.map(|error| error.outcome());
        let certain = matches!(outcome, Some(Outcome::Rejected | Outcome::NotSent));
        ensure!(certain, "the outcome is {outcome:?}, and nothing can have happened");
    }
    Ok(())
}

async fn a_conflict_does_not_pass_by_itself(context: &Context) -> Verdict {
    let name = context.running("busy").await?;
    let Err(error) = context.substrate().delete_instance(&name, false).await else {
        return Err(Failure::broken("a running instance was deleted without force"));
    };
    same("whether trying again helps", error.retry(), substrate_core::RetryAdvice::Never)
}
