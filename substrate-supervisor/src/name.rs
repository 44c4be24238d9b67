//! What a process is called: `group:name`, in short `name` where the two are the same.

use substrate_core::{Error, InstanceName, Result};

use crate::convert::record::KEY_LENGTH;

/// The longest name of a created program: it is part of file names, with more behind it.
const LONGEST_NAME: usize = 128;

/// Which process a name means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) group: String,
    pub(crate) process: String,
}

impl Address {
    pub(crate) fn new(group: impl Into<String>, process: impl Into<String>) -> Self {
        Self { group: group.into(), process: process.into() }
    }

    /// As calls want it. Always in full: in short it means nothing where a group has another name.
    pub(crate) fn namespec(&self) -> String {
        format!("{}:{}", self.group, self.process)
    }

    /// As people write it, and as `supervisorctl` shows it.
    pub(crate) fn short(&self) -> String {
        if self.group == self.process { self.group.clone() } else { self.namespec() }
    }
}

/// What an instance's name means: one process, or each of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    One(Address),
    /// `group:*`. supervisord also takes `group:` for it, which we take for a mistake.
    Group(String),
    /// What no process can be called.
    Nobody,
}

impl Target {
    pub(crate) fn of(name: &str) -> Self {
        // XML cannot hold these two, so that supervisord would call the whole request unreadable.
        if name.is_empty() || name.contains(['\u{fffe}', '\u{ffff}']) {
            return Self::Nobody;
        }
        match name.split_once(':') {
            // In full it would be `*:*`, which supervisord reads as a whole group.
            None if name == "*" => Self::Nobody,
            None => Self::One(Address::new(name, name)),
            // supervisord would act on the whole group.
            Some((_, "")) => Self::Nobody,
            Some((group, "*")) => Self::Group(group.to_owned()),
            Some((group, process)) => Self::One(Address::new(group, process)),
        }
    }
}

/// Takes `group:name@key` apart, the id of a created program.
pub(crate) fn split_id(id: &str) -> Option<(Address, &str)> {
    let (address, key) = id.rsplit_once('@')?;
    let is_key = key.len() == KEY_LENGTH && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    match Target::of(address) {
        Target::One(address) if is_key => Some((address, key)),
        _ => None,
    }
}

/// Refuses a name that a created program cannot have.
///
/// supervisord itself forbids ` `, `:` and `/`. The rest would break the file that it stands in, the file's own
/// name, or lists of programs elsewhere.
pub(crate) fn check_new(name: &InstanceName) -> Result<()> {
    if is_creatable(name.as_str()) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{:.60}` cannot be the name of a program",
        name.as_str().escape_debug()
    ))
    .with_hint(format!(
        "use letters, digits, `_`, `.` and `-`, a letter or digit first, at most {LONGEST_NAME}"
    )))
}

/// Whether a created program can be called so. Only such a name is ever made a part of a path.
pub(crate) fn is_creatable(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

pub(crate) fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no process called `{}`", name.escape_debug()))
        .with_hint("a process of a group is called `group:name`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_made_full() {
        assert_eq!(Target::of("web"), Target::One(Address::new("web", "web")));
        assert_eq!(Target::of("pool:web_01"), Target::One(Address::new("pool", "web_01")));
        assert_eq!(Target::of("pool:*"), Target::Group("pool".to_owned()));
        assert_eq!(Address::new("web", "web").namespec(), "web:web");
        assert_eq!(Address::new("web", "web").short(), "web");
        assert_eq!(Address::new("pool", "web").short(), "pool:web");
    }

    #[test]
    fn half_a_name_never_means_a_whole_group() {
        assert_eq!(Target::of("web:"), Target::Nobody);
        assert_eq!(Target::of(""), Target::Nobody);
        assert_eq!(Target::of("*"), Target::Nobody);
    }

    #[test]
    fn an_id_is_a_name_with_a_key() {
        let (address, key) = split_id("web:web@0123456789abcdef").unwrap();
        assert_eq!((address, key), (Address::new("web", "web"), "0123456789abcdef"));
        assert_eq!(split_id("web:web@2"), None);
        assert_eq!(split_id("web:web"), None);
    }

    #[test]
    fn names_that_would_break_a_file_or_a_path_are_refused() {
        for good in ["web", "web-1", "a.b_c", "1"] {
            assert!(check_new(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in [
            "a b",
            "a:b",
            "a/b",
            "../a",
            ".a",
            "-a",
            "a%b",
            "a;b",
            "a]b",
            "größe",
            "a,b",
            "a@b",
            &"n".repeat(129),
        ] {
            assert!(check_new(&bad.parse().unwrap()).unwrap_err().is_invalid_input(), "{bad}");
        }
    }
}
