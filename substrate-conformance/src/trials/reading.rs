//! Getting and listing: exact, complete, in order.

use std::sync::Arc;

use futures_util::future::try_join_all;
use substrate_core::{Instance, InstanceFilter, InstanceName, InstanceState, StopMode};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found, same};

trials! {
    get_by_id_is_get_by_name => GetInstance;
    get_of_a_missing_instance_is_not_found => GetInstance;
    get_of_a_part_of_a_name_is_not_found => GetInstance;
    an_id_is_accepted_in_place_of_a_name => GetInstance [Operation::StopInstance];
    a_name_wins_over_an_id => GetInstance;
    get_tells_when_it_was_created => GetInstance;
    list_agrees_with_get => ListInstances;
    list_is_in_order_of_names => ListInstances;
    list_has_running_and_stopped_instances => ListInstances;
    list_filters_by_name_prefix_and_not_by_part => ListInstances;
    list_takes_a_name_prefix_literally => ListInstances;
    list_filters_by_label_and_value_exactly => ListInstances [Feature::Labels];
    list_filters_by_all_labels_at_once => ListInstances [Feature::Labels];
    list_filters_by_state => ListInstances;
    list_filters_by_kind => ListInstances;
    list_without_a_match_is_empty => ListInstances;
}

async fn get_by_id_is_get_by_name(context: &Context) -> Verdict {
    let created = context.created("known").await?;
    let by_name = context.get(&created.name).await?;
    let by_id = context.get(&InstanceName::new(&created.id)?).await?;
    same("what get by id finds", &by_id, &by_name)
}

async fn get_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    not_found("get", context.substrate().get_instance(&context.name("nobody")?).await)
}

async fn get_of_a_part_of_a_name_is_not_found(context: &Context) -> Verdict {
    context.created("web-one").await?;
    let beginning = context.name("web")?;
    not_found("get by a beginning", context.substrate().get_instance(&beginning).await)?;
    let end = InstanceName::new(context.unique("web-one").trim_start_matches("sc-"))?;
    not_found("get by an end", context.substrate().get_instance(&end).await)
}

async fn an_id_is_accepted_in_place_of_a_name(context: &Context) -> Verdict {
    let name = context.stopped("numbered").await?;
    let id = InstanceName::new(&context.get(&name).await?.id)?;
    let substrate = context.substrate();
    substrate.start_instance(&id).await?;
    context.has_state(&name, InstanceState::Running).await?;
    substrate.stop_instance(&id, StopMode::Force).await?;
    context.has_state(&name, InstanceState::Stopped).await?;
    substrate.delete_instance(&id, false).await?;
    context.is_absent(&name).await
}

async fn a_name_wins_over_an_id(context: &Context) -> Verdict {
    let first = context.created("first").await?;
    let Ok(name) = InstanceName::new(&first.id) else {
        return Err(Failure::skipped("an id is no valid name here"));
    };
    if name == first.name {
        return Err(Failure::skipped("ids are names here"));
    }
    let config = context.config_named(name.clone())?;
    let second = match context.create(&config).await {
        Ok(second) => second,
        // Some ids are no names, which may be so for this one and not for the next: then nothing can come before it.
        Err(error) if error.is_invalid_input() => {
            return same("the id of what is found", &context.get(&name).await?.id, &first.id);
        }
        Err(error) => return Err(error.into()),
    };
    same("the id of what is found", &context.get(&name).await?.id, &second.id)
}

async fn get_tells_when_it_was_created(context: &Context) -> Verdict {
    let older = context.created("older").await?;
    let newer = context.created("newer").await?;
    let (Some(older), Some(newer)) = (older.created_at, newer.created_at) else {
        return Err(Failure::skipped("the substrate does not tell when an instance was created"));
    };
    ensure!(older <= newer, "what was created later says {newer:?}, earlier than {older:?}");
    Ok(())
}

/// The names of this trial's instances in the answer to a filter, without what comes before the last dash.
async fn listed(context: &Context, filter: InstanceFilter) -> Verdict<Vec<String>> {
    let found = context.substrate().list_instances(&filter).await?;
    Ok(words(context, &found))
}

fn words(context: &Context, found: &[Arc<Instance>]) -> Vec<String> {
    let own = context.unique("");
    found.iter().filter_map(|instance| instance.name.as_str().strip_prefix(&own)).map(str::to_owned).collect()
}

fn own(context: &Context) -> InstanceFilter {
    InstanceFilter::all().with_name_prefix(context.unique(""))
}

async fn list_agrees_with_get(context: &Context) -> Verdict {
    context.running("one").await?;
    context.stopped("two").await?;
    let found = context.substrate().list_instances(&own(context)).await?;
    same("the number of instances", found.len(), 2)?;
    for listed in found {
        let got = context.get(&listed.name).await?;
        same("the id in the list", &listed.id, &got.id)?;
        same("the kind in the list", listed.kind, got.kind)?;
        same("the state in the list", listed.state, got.state)?;
        same("the labels in the list", &listed.labels, &got.labels)?;
    }
    Ok(())
}

async fn list_is_in_order_of_names(context: &Context) -> Verdict {
    try_join_all(["c", "a", "d", "b", "a-a"].map(|word| context.created(word))).await?;
    same("the list", listed(context, own(context)).await?, ["a", "a-a", "b", "c", "d"])?;
    let all = context.substrate().list_instances(&InstanceFilter::all()).await?;
    ensure!(all.is_sorted_by(|one, other| one.name <= other.name), "the list of all is not in order");
    Ok(())
}

async fn list_has_running_and_stopped_instances(context: &Context) -> Verdict {
    context.running("running").await?;
    context.stopped("stopped").await?;
    same("the list of all", listed(context, InstanceFilter::all()).await?, ["running", "stopped"])
}

async fn list_filters_by_name_prefix_and_not_by_part(context: &Context) -> Verdict {
    try_join_all(["web", "web-1", "my-web", "we"].map(|word| context.created(word))).await?;
    let filter = InstanceFilter::all().with_name_prefix(context.unique("web"));
    same("what begins so", listed(context, filter).await?, ["web", "web-1"])?;
    // A substring of every one of these names, and the beginning of none.
    let inner = InstanceFilter::all().with_name_prefix(context.unique("web").trim_start_matches("sc-"));
    same("what begins with an inner part", listed(context, inner).await?, [] as [&str; 0])
}

async fn list_takes_a_name_prefix_literally(context: &Context) -> Verdict {
    context.created("web-1").await?;
    for pattern in ["web.1", "web.*", "w*", "^", "we[b]", "%", "web?1", "web-1$"] {
        let filter = InstanceFilter::all().with_name_prefix(context.unique(pattern));
        same(&format!("what begins with `{pattern}`"), listed(context, filter).await?, [] as [&str; 0])?;
    }
    let anchored = InstanceFilter::all().with_name_prefix(format!("^{}", context.unique("web")));
    same("what begins with `^`", listed(context, anchored).await?, [] as [&str; 0])
}

async fn list_filters_by_label_and_value_exactly(context: &Context) -> Verdict {
    for (word, key, value) in [
        ("a", "role", "web"),
        ("b", "role", "web2"),
        ("c", "role", ""),
        ("d", "role2", "web"),
        ("e", "rol", "web"),
    ] {
        context.create(&context.config(word)?.with_label(key, value)).await?;
    }
    let filter = |key: &str, value: &str| own(context).with_label(key, value);
    same("role = web", listed(context, filter("role", "web")).await?, ["a"])?;
    same("role = we", listed(context, filter("role", "we")).await?, [] as [&str; 0])?;
    // To some technologies a key with an empty value means "has the key".
    same("role = nothing", listed(context, filter("role", "")).await?, ["c"])?;
    same("no such key", listed(context, filter("rolé", "web")).await?, [] as [&str; 0])
}

async fn list_filters_by_all_labels_at_once(context: &Context) -> Verdict {
    context.create(&context.config("both")?.with_label("role", "web").with_label("tier", "1")).await?;
    context.create(&context.config("one")?.with_label("role", "web").with_label("tier", "2")).await?;
    let filter = own(context).with_label("role", "web").with_label("tier", "1");
    same("what has both labels", listed(context, filter).await?, ["both"])
}

async fn list_filters_by_state(context: &Context) -> Verdict {
    context.running("running").await?;
    context.stopped("stopped").await?;
    let (running, stopped) = (InstanceState::Running, InstanceState::Stopped);
    same("what runs", listed(context, own(context).with_state(running)).await?, ["running"])?;
    same("what is stopped", listed(context, own(context).with_state(stopped)).await?, ["stopped"])?;
    let both = own(context).with_state(stopped).with_state(running);
    same("what is either", listed(context, both).await?, ["running", "stopped"])?;
    let failed = own(context).with_state(InstanceState::Failed);
    same("what has failed", listed(context, failed).await?, [] as [&str; 0])
}

async fn list_filters_by_kind(context: &Context) -> Verdict {
    let created = context.created("kind").await?;
    same("its kind", listed(context, own(context).with_kind(created.kind)).await?, ["kind"])?;
    use substrate_core::InstanceKind::{Container, Process, VirtualMachine};
    for other in [VirtualMachine, Container, Process].into_iter().filter(|kind| *kind != created.kind) {
        same("another kind", listed(context, own(context).with_kind(other)).await?, [] as [&str; 0])?;
    }
    Ok(())
}

async fn list_without_a_match_is_empty(context: &Context) -> Verdict {
    same("the list", listed(context, own(context)).await?, [] as [&str; 0])
}
