//! Finding domains and describing them.

use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::{Error, Instance, InstanceFilter, InstanceName, InstanceState, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use super::LibvirtSubstrate;
use super::readings::Readings;
use crate::client::native;
use crate::convert::domain::Domain as Facts;
use crate::convert::state;
use crate::error::Attempt;
use crate::name::is_uuid;

/// The domain that `name` means: by its name, else by its UUID.
pub(super) fn find(connect: &Connect, name: &str) -> Result<Domain> {
    find_maybe(connect, name)?.ok_or_else(|| missing(name))
}

pub(super) fn find_maybe(connect: &Connect, name: &str) -> Result<Option<Domain>> {
    if let Some(domain) = connect.lookup_domain_by_name(name).attempt_to_find("look for the machine")? {
        return Ok(Some(domain));
    }
    if !is_uuid(name) {
        return Ok(None);
    }
    connect.lookup_domain_by_uuid_string(name).attempt_to_find("look for the machine")
}

pub(super) fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no machine called `{}`", name.escape_debug()))
}

/// What is defined: the document that a running domain will have at its next start. Secrets are left out.
pub(super) fn facts(domain: &Domain) -> Result<Facts> {
    let xml = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).attempt("describe the machine")?;
    Facts::read(&xml)
}

/// The same to be changed and defined again: with its secrets.
pub(super) fn whole_facts(domain: &Domain) -> Result<Facts> {
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    Facts::read(&domain.xml_desc(flags).attempt("describe the machine")?)
}

/// What a running domain is now.
pub(super) fn live_facts(domain: &Domain) -> Result<Facts> {
    Facts::read(&domain.xml_desc(0).attempt("describe the machine as it runs")?)
}

/// A domain's state and its reason, in libvirt's numbers.
pub(super) fn raw_state(domain: &Domain) -> Result<(i32, i32)> {
    native::state(domain).attempt("ask for the machine's state")
}

pub(super) fn state_of(domain: &Domain) -> Result<InstanceState> {
    Ok(state::state_for_reason(raw_state(domain)?))
}

/// Whether it has memory: runs, is paused, or is on its way.
pub(super) fn is_active(state: InstanceState) -> bool {
    !matches!(state, InstanceState::Stopped | InstanceState::Failed)
}

/// The states of all domains by their UUIDs.
fn all_states(connect: &Connect) -> Result<HashMap<String, (i32, i32)>> {
    let all = native::all_statistics(connect, sys::VIR_DOMAIN_STATS_STATE)
        .attempt("ask for the machines' states")?;
    let number =
        |one: &native::Statistics, key| one.number(key).and_then(|number| i32::try_from(number).ok());
    Ok(all
        .into_iter()
        .filter_map(|one| {
            let state = number(&one, "state.state")?;
            let reason = number(&one, "state.reason").unwrap_or(0);
            Some((one.uuid, (state, reason)))
        })
        .collect())
}

/// A domain as an instance.
pub(super) fn describe(domain: &Domain) -> Result<Instance> {
    let state = raw_state(domain)?;
    let facts = facts(domain)?;
    let mut instance = facts.instance(state)?;
    if instance.state == InstanceState::Running {
        add_leases(domain, &mut instance);
    }
    Ok(instance)
}

/// The addresses that the networks' DHCP servers have given. Lease, ARP and agent are three sources with three
/// answers; this one knows what it gave, needs nobody's help in the guest, and agrees with fixed addresses.
fn add_leases(domain: &Domain, instance: &mut Instance) {
    // Nothing to be told is no failure of a look at the machine.
    let leases = native::addresses(domain, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE).unwrap_or_default();
    for (mac, addresses) in leases {
        let attachment = instance
            .networks
            .iter_mut()
            .find(|end| end.mac_address.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(&mac)));
        let Some(attachment) = attachment else { continue };
        if attachment.ip_address.is_some() {
            continue;
        }
        attachment.ip_address = addresses.first().copied();
        for address in addresses {
            if !instance.addresses.contains(&address) {
                instance.addresses.push(address);
            }
        }
    }
}

impl LibvirtSubstrate {
    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        let wanted = name.clone();
        let found = self.client.look(move |connection| describe(&find(connection, wanted.as_str())?)).await;
        // It went while it was looked at.
        found.map(Arc::new).map_err(|error| if error.is_not_found() { missing(name.as_str()) } else { error })
    }

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let filter = filter.clone();
        let readings = Arc::clone(&self.readings);
        self.client
            .look(move |connection| {
                // All states in one call; then only what describes each.
                let states = all_states(connection)?;
                let domains = connection.list_all_domains(0).attempt("list the machines")?;
                let mut instances =
                    all_listed(&domains, &|domain: &Domain| listed(domain, &states, &filter, &readings))?;
                readings.retain(|uuid| states.contains_key(uuid));
                instances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
                Ok(instances)
            })
            .await
    }
}

/// From so many on two threads ask: each document is a question of its own, and the server answers several at a time.
const MANY: usize = 32;

/// Each of these domains that is wanted.
fn all_listed(
    domains: &[Domain],
    listed: &(impl Fn(&Domain) -> Result<Option<Arc<Instance>>> + Sync),
) -> Result<Vec<Arc<Instance>>> {
    let (here, there) =
        domains.split_at(if domains.len() < MANY { domains.len() } else { domains.len() / 2 });
    let of = |part: &[Domain]| {
        let mut instances = Vec::with_capacity(part.len());
        for domain in part {
            match listed(domain) {
                Ok(instance) => instances.extend(instance),
                // It went in the meantime.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(instances)
    };
    if there.is_empty() {
        return of(here);
    }
    std::thread::scope(|scope| {
        let helper = std::thread::Builder::new().name("libvirt-list".to_owned());
        let Ok(other) = helper.spawn_scoped(scope, || of(there)) else { return of(domains) };
        let mut instances = of(here)?;
        let others =
            other.join().map_err(|_| Error::internal("a thread that listed machines ended abnormally"))?;
        instances.extend(others?);
        Ok(instances)
    })
}

/// One domain of a list, if it is wanted. What the handle knows by itself, and what is known of its state, may exclude it
/// before it is looked at.
fn listed(
    domain: &Domain,
    states: &HashMap<String, (i32, i32)>,
    filter: &InstanceFilter,
    readings: &Readings,
) -> Result<Option<Arc<Instance>>> {
    let name = domain.name().attempt("name a machine")?;
    if filter.name_prefix.as_deref().is_some_and(|prefix| !name.starts_with(prefix)) {
        return Ok(None);
    }
    let uuid = domain.uuid_string().attempt("ask for a machine's UUID")?;
    // One that came to be between the two calls is asked by itself.
    let state = states.get(&uuid).copied().map_or_else(|| raw_state(domain), Ok)?;
    if !filter.states.is_empty() && !filter.states.contains(&state::state_for_reason(state)) {
        return Ok(None);
    }
    let text = domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).attempt("describe the machine")?;
    let instance = readings.of(uuid, text, state)?;
    Ok(filter.matches(&instance).then_some(instance))
}
