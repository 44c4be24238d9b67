//! What we write beside a program's settings: whose it is, and what supervisord has no place for.
//!
//! It is the first line of the program's file, as a comment: labels and settings come to be in one step, and go in
//! one. The line is ASCII, so that no encoding of supervisord's can spoil it, and JSON has no line ends.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use substrate_core::{Error, Instance, Labels, Result};

use crate::options::{Autorestart, StopSignal};

/// What the first line of a file of ours begins with.
const MARK: &str = "; substrate-supervisor ";
/// The length of a key: 64 bits in hexadecimal.
pub(crate) const KEY_LENGTH: usize = 16;

/// The record of one creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The instance's name, which is also the program's and the group's.
    pub(crate) name: String,
    /// Made anew for each creation: tells it from an earlier one of the name.
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) labels: Labels,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub(crate) autorestart: Autorestart,
    #[serde(default)]
    pub(crate) stopsignal: StopSignal,
    /// The log files that go with it, where they have names of ours.
    #[serde(default)]
    pub(crate) logs: Vec<String>,
    /// When the file was written, by the clock of its file system.
    #[serde(skip)]
    pub(crate) created_at: Option<SystemTime>,
}

impl Record {
    /// The instance's id: it is never that of another creation.
    pub(crate) fn id(&self) -> String {
        format!("{0}:{0}@{1}", self.name, self.key)
    }

    /// Adds what supervisord does not know.
    pub(crate) fn describe(&self, instance: &mut Instance) {
        instance.image.clone_from(&self.image);
        instance.labels = self.labels.clone();
        instance.metadata.clone_from(&self.metadata);
        instance.created_at = self.created_at;
        let autorestart = serde_json::to_value(self.autorestart).unwrap_or_default();
        instance.properties.insert("autorestart".to_owned(), autorestart);
    }

    /// The line, with its end.
    pub(crate) fn line(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| {
            Error::invalid_input(format!("labels or metadata cannot be written: {error}"))
        })?;
        let mut line = String::from(MARK);
        for letter in json.chars() {
            if letter.is_ascii() {
                line.push(letter);
            } else {
                // Inside a string, where alone such a letter can stand.
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
        line.push('\n');
        Ok(line)
    }

    /// The record in a file, if the file is one of ours.
    ///
    /// # Errors
    /// `Protocol` for a file of ours that is damaged: it is never taken for a stranger's, nor for nothing.
    pub(crate) fn read(file: &str, text: &str) -> Result<Option<Self>> {
        let Some(json) = text.lines().next().and_then(|line| line.strip_prefix(MARK)) else {
            return Ok(None);
        };
        let record = serde_json::from_str(json).map_err(|error| {
            Error::protocol(format!("the program file {file} was changed by another hand: {error}"))
                .with_hint("its first line holds what supervisord cannot keep; mend or remove the file")
        })?;
        Ok(Some(record))
    }
}

/// A new key.
pub(crate) fn new_key() -> String {
    // Seeded from the system's randomness at the start, and never the same twice.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            name: "web".to_owned(),
            key: new_key(),
            image: Some("/bin/sh".to_owned()),
            labels: [("words", "größe ☃ 🦀\n; [x]"), ("quotes", r#""'\"#)].into_iter().collect(),
            metadata: BTreeMap::from([("nested".to_owned(), serde_json::json!({"a": [1, 2.5, null]}))]),
            autorestart: Autorestart::Unexpected,
            stopsignal: StopSignal::Int,
            logs: vec!["/log".to_owned()],
            created_at: None,
        }
    }

    #[test]
    fn a_record_comes_back_exactly_from_one_line_of_ascii() {
        let record = record();
        let line = record.line().unwrap();
        assert!(line.is_ascii());
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let file = format!("{line}[program:web]\ncommand=x\n");
        assert_eq!(Record::read("f", &file).unwrap(), Some(record));
    }

    #[test]
    fn a_strangers_file_is_none_of_ours_and_a_damaged_one_is_an_error() {
        assert_eq!(Record::read("f", "[program:web]\n").unwrap(), None);
        assert_eq!(Record::read("f", "").unwrap(), None);
        assert!(Record::read("f", "; substrate-supervisor {\"na").unwrap_err().is_protocol());
    }

    #[test]
    fn keys_are_not_repeated() {
        let mut keys: Vec<String> = (0..1000).map(|_| new_key()).collect();
        assert!(keys.iter().all(|key| key.len() == KEY_LENGTH));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 1000);
    }
}
