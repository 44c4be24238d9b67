//! Networks, and instances on them.

use std::net::IpAddr;

use substrate_core::{ErrorKind, InstanceName, NetworkAttachment, NetworkConfig, NetworkName, NetworkSpec};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Verdict, conflict, ensure, not_found, refused, same};

trials! {
    a_network_is_listed_as_it_was_made => CreateNetwork [Operation::ListNetworks];
    a_taken_network_name_is_already_exists => CreateNetwork [Operation::ListNetworks];
    a_subnet_that_is_none_is_invalid_input => CreateNetwork [Operation::ListNetworks];
    a_subnet_that_overlaps_is_a_conflict => CreateNetwork [Operation::ListNetworks];
    a_network_carries_its_labels => CreateNetwork [Feature::ResourceLabels, Operation::ListNetworks];
    an_internal_network_says_so => CreateNetwork [Operation::ListNetworks];
    an_unknown_network_option_is_refused => CreateNetwork [Operation::ListNetworks];
    networks_are_listed_in_order_of_names => ListNetworks [Operation::CreateNetwork];
    a_deleted_network_is_gone_and_its_name_free => DeleteNetwork [Operation::CreateNetwork, Operation::ListNetworks];
    delete_of_a_missing_network_is_not_found => DeleteNetwork;
    delete_of_a_network_in_use_is_a_conflict => DeleteNetwork [Operation::CreateNetwork, Operation::AttachNetwork];
    an_instance_is_created_on_its_network => CreateInstance [Feature::CreateNetworks, Operation::CreateNetwork];
    an_instance_is_created_with_its_address
        => CreateInstance [Feature::CreateNetworks, Feature::FixedAddress, Operation::CreateNetwork];
    an_instance_is_created_on_several_networks
        => CreateInstance [Feature::CreateNetworks, Operation::CreateNetwork];
    an_attached_network_shows_on_the_instance => AttachNetwork [Operation::CreateNetwork];
    attaching_twice_is_success_and_one_attachment => AttachNetwork [Operation::CreateNetwork];
    attaching_a_stopped_instance_lasts_until_it_starts => AttachNetwork [Operation::CreateNetwork];
    attaching_gives_the_address_asked_for => AttachNetwork [Feature::FixedAddress, Operation::CreateNetwork];
    attaching_with_another_address_is_a_conflict => AttachNetwork [Feature::FixedAddress, Operation::CreateNetwork];
    attaching_with_a_taken_address_is_a_conflict => AttachNetwork [Feature::FixedAddress, Operation::CreateNetwork];
    attaching_what_is_missing_is_not_found => AttachNetwork [Operation::CreateNetwork];
    a_detached_network_is_gone_from_the_instance
        => DetachNetwork [Operation::AttachNetwork, Operation::CreateNetwork];
    detaching_twice_is_success => DetachNetwork [Operation::AttachNetwork, Operation::CreateNetwork];
    detaching_what_is_missing_is_not_found => DetachNetwork [Operation::CreateNetwork];
}

async fn listed(context: &Context, name: &NetworkName) -> Verdict<Vec<substrate_core::Network>> {
    let networks = context.substrate().list_networks().await?;
    Ok(networks.into_iter().filter(|network| network.name == *name).collect())
}

async fn attachment(
    context: &Context,
    name: &InstanceName,
    network: &NetworkName,
) -> Verdict<Option<NetworkAttachment>> {
    let instance = context.get(name).await?;
    let mut found = instance.networks.iter().filter(|attachment| attachment.network_name == *network);
    let first = found.next().cloned();
    ensure!(found.next().is_none(), "`{name}` is attached twice to `{network}`");
    Ok(first)
}

/// Attached, and with this address if one is given.
async fn is_attached(
    context: &Context,
    name: &InstanceName,
    network: &NetworkName,
    address: Option<IpAddr>,
) -> Verdict {
    let found = attachment(context, name, network).await?;
    ensure!(found.is_some(), "`{name}` is not attached to `{network}`");
    match address {
        None => Ok(()),
        Some(_) => same("its address", found.and_then(|attachment| attachment.ip_address), address),
    }
}

async fn a_network_is_listed_as_it_was_made(context: &Context) -> Verdict {
    let (made, [first, second, third]) = context.network("blue").await?;
    let found = listed(context, &made.name).await?;
    same("what is listed", found.len(), 1)?;
    for network in [Some(&made), found.first()].into_iter().flatten() {
        if context.setup().network_subnets {
            same("the subnets", &network.subnets, &[format!("{first}.{second}.{third}.0/24")])?;
            same("the gateway", network.gateway, Some(IpAddr::from([first, second, third, 1])))?;
        }
        same("the id", &network.id, &made.id)?;
        ensure!(!network.driver.is_empty(), "it has no driver");
        ensure!(!network.internal, "it is internal, which was not asked for");
    }
    Ok(())
}

async fn a_taken_network_name_is_already_exists(context: &Context) -> Verdict {
    let (made, _) = context.network("blue").await?;
    let again = context.substrate().create_network(&NetworkSpec::new(made.name.clone())).await;
    refused("a second network of the name", again, &[ErrorKind::AlreadyExists])?;
    same("what is listed", listed(context, &made.name).await?.len(), 1)
}

async fn a_subnet_that_is_none_is_invalid_input(context: &Context) -> Verdict {
    for subnet in ["", "blue", "10.0.0.0", "10.0.0.0/33", "10.0.0.300/24", "10.210.0.0/-1"] {
        let spec = context.network_spec("odd")?.with_subnet(subnet);
        let create = context.substrate().create_network(&spec).await;
        refused(&format!("a network with the subnet `{subnet}`"), create, &[ErrorKind::InvalidInput])?;
        same("what is listed", listed(context, &spec.name).await?.len(), 0)?;
    }
    Ok(())
}

async fn a_subnet_that_overlaps_is_a_conflict(context: &Context) -> Verdict {
    context.only_with_subnets()?;
    let (_, [first, second, third]) = context.network("blue").await?;
    let spec = context.network_spec("green")?.with_subnet(format!("{first}.{second}.{third}.128/25"));
    conflict("a network with a subnet that overlaps", context.substrate().create_network(&spec).await)?;
    same("what is listed", listed(context, &spec.name).await?.len(), 0)
}

async fn a_network_carries_its_labels(context: &Context) -> Verdict {
    let spec = context.with_subnet(context.network_spec("blue")?, context.run().subnet());
    let spec = spec.with_label("role", "front \"end\" = 1");
    context.substrate().create_network(&spec).await?;
    for network in listed(context, &spec.name).await? {
        ensure!(network.labels.contains_all(&spec.labels), "its labels are {:?}", network.labels);
    }
    Ok(())
}

async fn an_internal_network_says_so(context: &Context) -> Verdict {
    let spec = context.with_subnet(context.network_spec("inner")?, context.run().subnet()).internal();
    match context.substrate().create_network(&spec).await {
        Err(error) if error.is_unsupported() => {
            same("what is listed", listed(context, &spec.name).await?.len(), 0)
        }
        Err(error) => Err(error.into()),
        Ok(made) => {
            ensure!(made.internal, "the answer says that it has a way out");
            for network in listed(context, &spec.name).await? {
                ensure!(network.internal, "the list says that it has a way out");
            }
            Ok(())
        }
    }
}

async fn an_unknown_network_option_is_refused(context: &Context) -> Verdict {
    let mut spec = context.network_spec("odd")?;
    spec.options.insert("sc-no-such-option".to_owned(), true.into());
    let create = context.substrate().create_network(&spec).await;
    refused("an option that nobody has", create, &[ErrorKind::InvalidInput, ErrorKind::Unsupported])?;
    same("what is listed", listed(context, &spec.name).await?.len(), 0)
}

async fn networks_are_listed_in_order_of_names(context: &Context) -> Verdict {
    for word in ["b", "c", "a"] {
        context.network(word).await?;
    }
    let all = context.substrate().list_networks().await?;
    ensure!(all.is_sorted_by(|one, other| one.name <= other.name), "the list is not in order");
    let own = context.unique("");
    let found: Vec<_> = all.iter().filter_map(|network| network.name.as_str().strip_prefix(&own)).collect();
    same("the networks", found, ["a", "b", "c"])
}

async fn a_deleted_network_is_gone_and_its_name_free(context: &Context) -> Verdict {
    for _ in 0..2 {
        let (made, _) = context.network("blue").await?;
        context.substrate().delete_network(&made.name).await?;
        same("what is listed", listed(context, &made.name).await?.len(), 0)?;
        not_found("a second delete", context.substrate().delete_network(&made.name).await)?;
    }
    Ok(())
}

async fn delete_of_a_missing_network_is_not_found(context: &Context) -> Verdict {
    let name = NetworkName::new(context.unique("none"))?;
    not_found("delete", context.substrate().delete_network(&name).await)
}

async fn delete_of_a_network_in_use_is_a_conflict(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    context.substrate().attach_network(&name, &NetworkConfig::new(network.name.clone())).await?;
    conflict("delete", context.substrate().delete_network(&network.name).await)?;
    is_attached(context, &name, &network.name, None).await?;
    context.substrate().delete_instance(&name, true).await?;
    Ok(context.substrate().delete_network(&network.name).await?)
}

async fn an_instance_is_created_on_its_network(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let config = context.config("guest")?.with_network(NetworkConfig::new(network.name.clone()));
    let name = context.running_from(&config).await?;
    is_attached(context, &name, &network.name, None).await?;
    // The network asked for, instead of the default one.
    same("the number of networks", context.get(&name).await?.networks.len(), 1)
}

async fn an_instance_is_created_with_its_address(context: &Context) -> Verdict {
    let (network, [first, second, third]) = context.network("blue").await?;
    let address = IpAddr::from([first, second, third, 42]);
    let place = NetworkConfig::new(network.name.clone()).with_ip_address(address);
    let name = context.running_from(&context.config("guest")?.with_network(place)).await?;
    is_attached(context, &name, &network.name, Some(address)).await?;
    let addresses = context.get(&name).await?.addresses.clone();
    ensure!(addresses.contains(&address), "its addresses are {addresses:?}");
    Ok(())
}

async fn an_instance_is_created_on_several_networks(context: &Context) -> Verdict {
    let (blue, _) = context.network("blue").await?;
    let (green, _) = context.network("green").await?;
    let config = context
        .config("guest")?
        .with_network(NetworkConfig::new(blue.name.clone()))
        .with_network(NetworkConfig::new(green.name.clone()));
    let name = context.running_from(&config).await?;
    is_attached(context, &name, &blue.name, None).await?;
    is_attached(context, &name, &green.name, None).await?;
    same("the number of networks", context.get(&name).await?.networks.len(), 2)
}

async fn an_attached_network_shows_on_the_instance(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let before = context.get(&name).await?;
    ensure!(attachment(context, &name, &network.name).await?.is_none(), "it is attached already");
    context.substrate().attach_network(&name, &NetworkConfig::new(network.name.clone())).await?;
    is_attached(context, &name, &network.name, None).await?;
    context.is_untouched(&before).await
}

async fn attaching_twice_is_success_and_one_attachment(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let place = NetworkConfig::new(network.name.clone());
    context.substrate().attach_network(&name, &place).await?;
    let first = attachment(context, &name, &network.name).await?;
    context.substrate().attach_network(&name, &place).await?;
    same("the attachment", attachment(context, &name, &network.name).await?, first)
}

async fn attaching_a_stopped_instance_lasts_until_it_starts(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.stopped("guest").await?;
    context.substrate().attach_network(&name, &NetworkConfig::new(network.name.clone())).await?;
    is_attached(context, &name, &network.name, None).await?;
    context.substrate().start_instance(&name).await?;
    is_attached(context, &name, &network.name, None).await
}

async fn attaching_gives_the_address_asked_for(context: &Context) -> Verdict {
    let (network, [first, second, third]) = context.network("blue").await?;
    let address = IpAddr::from([first, second, third, 42]);
    let name = context.running("guest").await?;
    let place = NetworkConfig::new(network.name.clone()).with_ip_address(address);
    context.substrate().attach_network(&name, &place).await?;
    is_attached(context, &name, &network.name, Some(address)).await?;
    // The same again is success.
    context.substrate().attach_network(&name, &place).await?;
    is_attached(context, &name, &network.name, Some(address)).await
}

async fn attaching_with_another_address_is_a_conflict(context: &Context) -> Verdict {
    let (network, [first, second, third]) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let place = |last: u8| {
        NetworkConfig::new(network.name.clone()).with_ip_address([first, second, third, last].into())
    };
    context.substrate().attach_network(&name, &place(42)).await?;
    conflict("attaching with another address", context.substrate().attach_network(&name, &place(43)).await)?;
    is_attached(context, &name, &network.name, Some([first, second, third, 42].into())).await
}

async fn attaching_with_a_taken_address_is_a_conflict(context: &Context) -> Verdict {
    let (network, [first, second, third]) = context.network("blue").await?;
    let (one, other) = (context.running("one").await?, context.running("other").await?);
    let place = NetworkConfig::new(network.name.clone()).with_ip_address([first, second, third, 42].into());
    context.substrate().attach_network(&one, &place).await?;
    conflict("attaching with a taken address", context.substrate().attach_network(&other, &place).await)?;
    same("the other's attachment", attachment(context, &other, &network.name).await?, None)
}

async fn attaching_what_is_missing_is_not_found(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let missing = NetworkConfig::new(NetworkName::new(context.unique("none"))?);
    not_found("attaching a missing network", context.substrate().attach_network(&name, &missing).await)?;
    let place = NetworkConfig::new(network.name);
    let attach = context.substrate().attach_network(&context.name("nobody")?, &place).await;
    not_found("attaching a missing instance", attach)
}

async fn a_detached_network_is_gone_from_the_instance(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let before = context.get(&name).await?;
    context.substrate().attach_network(&name, &NetworkConfig::new(network.name.clone())).await?;
    context.substrate().detach_network(&name, &network.name).await?;
    same("the attachment", attachment(context, &name, &network.name).await?, None)?;
    same("the number of networks", context.get(&name).await?.networks.len(), before.networks.len())?;
    context.is_untouched(&before).await
}

async fn detaching_twice_is_success(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    // Never attached, too.
    context.substrate().detach_network(&name, &network.name).await?;
    context.substrate().attach_network(&name, &NetworkConfig::new(network.name.clone())).await?;
    context.substrate().detach_network(&name, &network.name).await?;
    Ok(context.substrate().detach_network(&name, &network.name).await?)
}

async fn detaching_what_is_missing_is_not_found(context: &Context) -> Verdict {
    let (network, _) = context.network("blue").await?;
    let name = context.running("guest").await?;
    let missing = NetworkName::new(context.unique("none"))?;
    not_found("detaching a missing network", context.substrate().detach_network(&name, &missing).await)?;
    let detach = context.substrate().detach_network(&context.name("nobody")?, &network.name).await;
    not_found("detaching a missing instance", detach)
}
