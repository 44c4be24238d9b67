//! Whose changes of a node's network are waiting to be applied.

use super::network::may_be_derived;

/// Whether everything in a difference is about bridges of ours: then it is what an interrupted call left, and can be
/// taken back. `named` is the bridge that this call is about.
pub(crate) fn is_only_ours(difference: &str, named: &str) -> bool {
    let is_ours = |iface: &str| iface == named || may_be_derived(iface);
    let mut owner: Option<bool> = None;
    for line in difference.lines().filter(|line| !line.starts_with("---") && !line.starts_with("+++")) {
        let Some(text) = line.strip_prefix(['+', '-']) else {
            // An unchanged line: what changes after it is not begun by a line that says whose it is.
            owner = None;
            continue;
        };
        let mut words = text.split_whitespace();
        match (words.next(), words.next()) {
            (None, _) => {}
            (Some("auto" | "iface"), Some(iface)) => owner = Some(is_ours(iface)),
            _ if owner.is_none() => return false,
            _ => {}
        }
        if owner == Some(false) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_call_left_is_told_from_what_somebody_plans() {
        let ours = "--- a\n+++ b\n@@ -1,2 +1,5 @@\n iface vmbr0 inet manual\n \tbridge-ports none\n+\n+auto sb1a2b3c4d\n+iface sb1a2b3c4d inet static\n+\taddress 10.0.0.1/24\n+#a comment\n";
        assert!(is_only_ours(ours, ""));
        assert!(is_only_ours(&ours.replace("sb1a2b3c4d", "vmbr7"), "vmbr7"));
        for theirs in [
            ours.replace("sb1a2b3c4d", "vmbr7"),
            format!(
                "{ours}@@ -9 +9 @@\n iface vmbr0 inet static\n-\taddress 10.1.0.1/24\n+\taddress 10.2.0.1/24\n"
            ),
            format!("{ours}+auto bond0\n"),
        ] {
            assert!(!is_only_ours(&theirs, "vmbr8"), "{theirs}");
        }
    }
}
