//! The machine's packet filter, which `dockerd` changes and does not put back.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::lab::firewall::{delete, iptables, rules, words};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const TABLES: &[&str] = &["filter", "nat"];

/// What `dockerd` finds before it starts, to be put back at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    forward_policy: String,
    ip_forward: String,
}

/// None when another Docker manages this machine's packet filter: a second one would empty its chains.
pub fn before() -> Result<Option<Before>> {
    if rules("nat")?.iter().any(|rule| rule == "-N DOCKER") {
        return Ok(None);
    }
    let forward_policy = rules("filter")?
        .iter()
        .find_map(|rule| rule.strip_prefix("-P FORWARD ").map(str::to_owned))
        .context("iptables shows no policy for FORWARD")?;
    let ip_forward = fs::read_to_string(IP_FORWARD).context("cannot read the forwarding switch")?;
    Ok(Some(Before { forward_policy, ip_forward: ip_forward.trim().to_owned() }))
}

/// Removes Docker's chains and the rules for the bridges, and puts back what was.
pub fn restore(before: &Before, bridges: &BTreeSet<String>) -> Result<()> {
    for table in TABLES {
        let rules = rules(table)?;
        delete(table, rules.iter().filter(|rule| is_ours(rule, bridges)))?;
        let chains: Vec<&str> = rules
            .iter()
            .filter_map(|rule| rule.strip_prefix("-N "))
            .filter(|chain| is_docker_chain(chain))
            .collect();
        // All are emptied before the first is removed: they name each other.
        for step in ["--flush", "--delete-chain"] {
            for chain in &chains {
                iptables(&["--table", table, step, chain])?;
            }
        }
    }
    iptables(&["--policy", "FORWARD", &before.forward_policy])?;
    fs::write(IP_FORWARD, &before.ip_forward).context("cannot put back the forwarding switch")
}

/// Rules in the built-in chains that lead into Docker's chains or were made for one of the bridges or for a
/// container that publishes a port.
fn is_ours(rule: &str, bridges: &BTreeSet<String>) -> bool {
    let words = words(rule);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let in_built_in_chain = matches!(words.as_slice(), ["-A", chain, ..] if !is_docker_chain(chain));
    let position = |flag: &str| words.iter().position(|word| *word == flag);
    let after = |flag: &str| position(flag).and_then(|at| words.get(at + 1));
    let names_bridge = ["-i", "-o"].iter().filter_map(|flag| after(flag)).any(|name| bridges.contains(*name));
    let jumps_to_docker = after("-j").is_some_and(|target| is_docker_chain(target));
    // A container that calls its own published port. Only Docker masquerades from an address to itself; others do so
    // from a subnet to everything but itself.
    let is_negated = position("-d").is_some_and(|at| at > 0 && words.get(at - 1) == Some(&"!"));
    let is_hairpin = after("-j") == Some(&"MASQUERADE")
        && after("-s").is_some()
        && after("-s") == after("-d")
        && !is_negated;
    in_built_in_chain && (names_bridge || jumps_to_docker || is_hairpin)
}

fn is_docker_chain(chain: &str) -> bool {
    chain == "DOCKER" || chain.starts_with("DOCKER-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_labs_bridges_and_jumps_to_dockers_chains_are_ours_and_others_are_not() {
        let bridges = BTreeSet::from(["substrates0".to_owned(), "br-0123456789ab".to_owned()]);
        for rule in [
            "-A FORWARD -j DOCKER-USER",
            "-A FORWARD -o substrates0 -j DOCKER",
            "-A FORWARD -i substrates0 ! -o substrates0 -j ACCEPT",
            "-A POSTROUTING -s 10.202.0.0/24 ! -o br-0123456789ab -j MASQUERADE",
            "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
            "-A POSTROUTING -s 10.202.0.2/32 -d 10.202.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
        ] {
            assert!(is_ours(rule, &bridges), "{rule}");
        }
        for rule in [
            "-P FORWARD DROP",
            "-N DOCKER",
            "-A FORWARD -i eth0 -j ACCEPT",
            "-A DOCKER -i substrates0 -j RETURN",
            "-A POSTROUTING -o substrates01 -j MASQUERADE",
            "-A POSTROUTING -s 10.1.0.0/16 -d 10.2.0.0/16 -j MASQUERADE",
            "-A POSTROUTING -s 10.1.0.0/24 ! -d 10.1.0.0/24 -m comment --comment \"of network x\" -j MASQUERADE",
        ] {
            assert!(!is_ours(rule, &bridges), "{rule}");
        }
    }
}
