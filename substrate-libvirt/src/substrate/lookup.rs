//! Finding domains and describing them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// So many are asked for one after the other, which tells how far away the server is.
const FIRST: usize = 8;
/// From this on it is the way that takes the time of an answer, and not the server: several ask at once. A server on this
/// machine takes a tenth of it, and has to share its processors with whoever asks.
const FAR: Duration = Duration::from_millis(1);
/// One below the server's usual limit per connection.
const ASKERS: usize = 4;

/// Each of these domains that is wanted. Each document is a question of its own.
fn all_listed<D: Sync>(
    domains: &[D],
    listed: &(impl Fn(&D) -> Result<Option<Arc<Instance>>> + Sync),
) -> Result<Vec<Arc<Instance>>> {
    let add = |instances: &mut Vec<Arc<Instance>>, part: &[D]| {
        for domain in part {
            match listed(domain) {
                Ok(instance) => instances.extend(instance),
                // It went in the meantime.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let mut instances = Vec::with_capacity(domains.len());
    let (first, rest) = domains.split_at(domains.len().min(FIRST));
    let begin = Instant::now();
    add(&mut instances, first)?;
    if rest.is_empty() || begin.elapsed() < FAR * FIRST as u32 {
        add(&mut instances, rest)?;
        return Ok(instances);
    }
    std::thread::scope(|scope| {
        let mut parts = rest.chunks(rest.len().div_ceil(ASKERS));
        let here = parts.next().unwrap_or_default();
        let ask = |part| {
            let mut instances = Vec::new();
            add(&mut instances, part).map(|()| instances)
        };
        // A part that gets no thread is asked for here.
        let there: Vec<_> = parts
            .map(|part| {
                let helper = std::thread::Builder::new().name("libvirt-list".to_owned());
                helper.spawn_scoped(scope, move || ask(part)).map_err(|_| part)
            })
            .collect();
        add(&mut instances, here)?;
        for asked in there {
            match asked {
                Err(part) => add(&mut instances, part)?,
                Ok(helper) => instances.extend(
                    helper
                        .join()
                        .map_err(|_| Error::internal("a thread that listed machines ended abnormally"))??,
                ),
            }
        }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::thread::{self, ThreadId};

    use substrate_core::InstanceKind;

    use super::*;

    fn instance(number: usize) -> Option<Arc<Instance>> {
        let name = InstanceName::new(format!("machine-{number}")).unwrap();
        let (id, kind) = (number.to_string(), InstanceKind::VirtualMachine);
        Some(Arc::new(Instance::new(id, name, kind, InstanceState::Running)))
    }

    #[test]
    fn a_server_far_away_is_asked_by_several_at_once_and_every_answer_counts() {
        let threads: Mutex<HashSet<ThreadId>> = Mutex::default();
        let numbers: Vec<usize> = (0..50).collect();
        let all = all_listed(&numbers, &|number| {
            threads.lock().unwrap().insert(thread::current().id());
            thread::sleep(2 * FAR);
            match number % 10 {
                3 => Err(Error::not_found("it went")),
                4 => Ok(None),
                _ => Ok(instance(*number)),
            }
        });
        let mut names: Vec<String> = all.unwrap().iter().map(|one| one.id.clone()).collect();
        names.sort_unstable_by_key(|name| name.parse::<usize>().unwrap());
        let expected = numbers.iter().filter(|number| ![3, 4].contains(&(*number % 10)));
        assert_eq!(names, expected.map(usize::to_string).collect::<Vec<_>>());
        assert_eq!(threads.lock().unwrap().len(), ASKERS);
    }

    #[test]
    fn one_that_cannot_be_described_fails_the_list_whoever_asks_for_it() {
        for pause in [Duration::ZERO, 2 * FAR] {
            for broken in [0, 20, 49] {
                let numbers: Vec<usize> = (0..50).collect();
                let all = all_listed(&numbers, &|number| {
                    thread::sleep(pause);
                    if *number == broken {
                        Err(Error::protocol("a torn document"))
                    } else {
                        Ok(instance(*number))
                    }
                });
                assert!(all.unwrap_err().is_protocol(), "{broken}");
            }
        }
    }
}
