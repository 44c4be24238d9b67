//! What LXD leaves in the machine's packet filter: it removes no rule of a network that is deleted where `iptables`
//! writes to nftables, for it looks for the tables in a file that lists the old kind only. A few hundred suites later
//! every packet passes ten thousand rules.

use anyhow::Result;

use crate::command::{command, output};
use crate::lab::firewall::{delete, rules, words};

const TABLES: &[&str] = &["filter", "mangle", "nat"];
const COMMENT: &str = "generated for LXD network ";

/// Removes the rules of networks whose bridge is gone, whoever made them: they match nothing any more.
pub fn remove_rules_of_gone_networks() -> Result<()> {
    let links = output(command("ip").args(["-brief", "link", "show"]))?;
    let links: Vec<&str> = links.lines().filter_map(interface).collect();
    for table in TABLES {
        let rules = rules(table)?;
        delete(
            table,
            rules.iter().filter(|rule| network(rule).is_some_and(|name| !links.contains(&name.as_str()))),
        )?;
    }
    Ok(())
}

/// The network that a rule was made for.
fn network(rule: &str) -> Option<String> {
    words(rule).iter().find_map(|word| word.strip_prefix(COMMENT)).map(str::to_owned)
}

/// The name in a line of `ip -brief link`; one end of a pair is listed with the other's.
fn interface(line: &str) -> Option<&str> {
    line.split_whitespace().next()?.split('@').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_tells_its_network() {
        let rule =
            r#"-A INPUT -i lxdbr0 -p tcp -m comment --comment "generated for LXD network lxdbr0" -j ACCEPT"#;
        assert_eq!(network(rule).as_deref(), Some("lxdbr0"));
        assert_eq!(network("-A INPUT -i lxdbr0 -j ACCEPT"), None);
    }

    #[test]
    fn a_line_of_links_tells_the_name() {
        assert_eq!(interface("veth12@if5       UP             aa:bb"), Some("veth12"));
        assert_eq!(interface("lxdbr0           DOWN           aa:bb"), Some("lxdbr0"));
        assert_eq!(interface(""), None);
    }
}
