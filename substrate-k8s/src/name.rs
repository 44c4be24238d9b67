//! Kubernetes' grammars of names. What does not fit cannot exist there, and is never put into a path.

use substrate_core::{Error, Result};

/// The longest name of a workload: its pods and their labels get more appended, and those end at 63.
const LONGEST_WORKLOAD: usize = 52;
const LONGEST_LABEL: usize = 63;
const LONGEST_SUBDOMAIN: usize = 253;

/// A name as DNS has it between two dots: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`.
fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_LABEL).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether anything can be called so: labels of DNS with dots between.
pub(crate) fn is_object_name(text: &str) -> bool {
    text.len() <= LONGEST_SUBDOMAIN
        && text.split('.').all(|part| {
            // A part alone may be longer than a label of DNS.
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        })
}

/// Whether `text` is written as the ids of objects are.
pub(crate) fn is_uid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Refuses the name of a new workload that the cluster would refuse, at once or when its pod is made.
pub(crate) fn check_new_workload(text: &str) -> Result<()> {
    if is_dns_label(text) && text.len() <= LONGEST_WORKLOAD {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no name of a workload: Kubernetes allows up to {LONGEST_WORKLOAD} of [a-z0-9-], no dash at either end",
        text.escape_debug()
    )))
}

/// Refuses the name of a new service; it has to begin with a letter.
pub(crate) fn check_new_service(text: &str) -> Result<()> {
    if is_dns_label(text) && text.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no name of a service: Kubernetes allows up to 63 of [a-z0-9-], a letter first, no dash at the end",
        text.escape_debug()
    )))
}

/// Refuses the name of a new claim.
pub(crate) fn check_new_claim(text: &str) -> Result<()> {
    if is_object_name(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no name of a volume claim: Kubernetes allows up to 253 of [a-z0-9.-]",
        text.escape_debug()
    )))
}

/// Refuses the name of a new snapshot; it is a part of names and the value of a label.
pub(crate) fn check_new_snapshot(text: &str) -> Result<()> {
    if is_dns_label(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no name of a snapshot: Kubernetes allows up to 63 of [a-z0-9-], no dash at either end",
        text.escape_debug()
    )))
}

/// Refuses a namespace that can be none.
pub(crate) fn check_namespace(text: &str) -> Result<()> {
    if is_dns_label(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!("`{}` is no name of a namespace", text.escape_debug())))
}

fn is_qualified(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let edge = |text: &str| {
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().next_back().is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(inner) && edge(text)
}

/// Whether Kubernetes takes this as the key of a label: `name` or `domain/name`.
pub(crate) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => is_object_name(domain) && is_qualified(name),
        None => is_qualified(text),
    }
}

/// Whether Kubernetes takes this as the value of a label.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_qualified(text)
}

/// Refuses what no environment variable of a pod can be called.
pub(crate) fn check_variable(text: &str) -> Result<()> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = text.bytes().all(inner)
        && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        && text != "."
        && text != ".."
        && !text.starts_with("..");
    if fits {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "environment variable `{}`: Kubernetes allows [a-zA-Z0-9._-], no digit first",
        text.escape_debug()
    )))
}

/// Refuses what no image can be called: `[registry[:port]/]name[:tag][@digest]`. The cluster would only find out when a
/// pod is started.
pub(crate) fn check_image(text: &str) -> Result<()> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // The colon of a port has a slash behind it.
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (rest, None),
    };
    let allowed = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let parts_fit = repository.split('/').enumerate().all(|(position, part)| {
        let more: &[u8] = if position == 0 { b"._-:[]" } else { b"._-" };
        allowed(part, more) && !part.starts_with(['.', '-', '_'])
    });
    let tag_fits =
        tag.is_none_or(|tag| tag.len() <= 128 && allowed(tag, b"_.-") && !tag.starts_with(['.', '-']));
    let digest_fits = digest.is_none_or(|digest| allowed(digest, b":+._-") && digest.contains(':'));
    if parts_fit && tag_fits && digest_fits && text.len() <= 1024 {
        return Ok(());
    }
    Err(Error::invalid_input(format!("`{}` is no image reference", text.escape_debug()))
        .with_hint("write it as [registry/]name[:tag] or [registry/]name@sha256:digest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_can_be_no_objects() {
        for name in
            ["../x", "a/b", "%2e", "?x", "a b", "-a", ".a", "a.", "ä", "A", "a_b", "", "a..b", "a#b", "a-"]
        {
            assert!(!is_object_name(name), "{name}");
            assert!(check_new_workload(name).unwrap_err().is_invalid_input());
            assert!(check_new_service(name).unwrap_err().is_invalid_input());
        }
        assert!(check_new_workload("0a-b").is_ok() && check_new_service("0a-b").is_err());
        assert!(check_new_workload(&"a".repeat(52)).is_ok() && check_new_workload(&"a".repeat(53)).is_err());
        assert!(is_object_name("kube-root-ca.crt"));
    }

    #[test]
    fn ids_are_known_by_their_form() {
        assert!(is_uid("4a1e4f0c-1f5c-4d6e-9d67-2f2f6a1f2b11"));
        assert!(!is_uid("4a1e4f0c-1f5c-4d6e-9d67-2f2f6a1f2b1"));
        assert!(!is_uid("4A1e4f0c-1f5c-4d6e-9d67-2f2f6a1f2b11"));
    }

    #[test]
    fn labels_that_kubernetes_does_not_take_are_known() {
        assert!(is_label_key("role") && is_label_key("substrate.key") && is_label_key("example.org/role"));
        for key in ["", "rolé", "-a", "a-", "a/b/c", "A.B/c", "/a", "a/"] {
            assert!(!is_label_key(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("a.b_c-1"));
        for value in ["a b", "a=b", "ä", "-a", "a.", &"a".repeat(64)] {
            assert!(!is_label_value(value), "{value}");
        }
    }

    #[test]
    fn hostile_image_references_are_refused() {
        for text in [
            "", "../x", "a/../b", "a b", "a?x=1", "-x", "a//b", "a:", "a@b", "%2e%2e/x", "]]>", "$(id)", "🦀",
        ] {
            assert!(check_image(text).unwrap_err().is_invalid_input(), "{text}");
        }
        for text in ["busybox", "busybox:local", "r.io:9443/a/b:1", "a@sha256:00ff", "a:1@sha256:00ff"] {
            check_image(text).unwrap();
        }
    }

    #[test]
    fn variables_that_a_pod_cannot_have_are_refused_without_their_value() {
        for name in ["1A", "", "A B", "..x", "Ä"] {
            assert!(check_variable(name).is_err(), "{name}");
        }
        check_variable("SC_ODD").unwrap();
    }
}
