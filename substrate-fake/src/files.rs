//! What lies on an instance's disk, on a volume, or in a folder of the host.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Files by absolute path. Contents are shared: a snapshot of many files costs no copies of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Files(BTreeMap<String, Content>);

impl Files {
    pub(crate) fn read(&self, path: &str) -> Option<Bytes> {
        self.0.get(path).map(|content| content.0.clone())
    }

    pub(crate) fn write(&mut self, path: &str, data: Bytes) {
        self.0.insert(path.to_owned(), Content(data));
    }

    pub(crate) fn remove(&mut self, path: &str) -> bool {
        self.0.remove(path).is_some()
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.values().map(|content| content.0.len() as u64).sum()
    }

    /// Whether a file lies somewhere below the folder.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        self.0.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Content(Bytes);

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_seq(self.0.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => bytes.into(),
        }))
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { folder };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_plain() {
        assert_eq!(absolute("/tmp", "note"), "/tmp/note");
        assert_eq!(absolute("/tmp", "/note"), "/note");
        assert_eq!(absolute("/a/b", "../c//./d"), "/a/c/d");
        assert_eq!(absolute("/", "../../x"), "/x");
    }

    #[test]
    fn bytes_survive_a_document_whatever_they_are() {
        let mut files = Files::default();
        files.write("/text", Bytes::from_static("größe".as_bytes()));
        files.write("/bytes", Bytes::from_static(b"\xff\x00"));
        let json = serde_json::to_string(&files).unwrap();
        assert_eq!(serde_json::from_str::<Files>(&json).unwrap(), files);
    }

    #[test]
    fn a_folder_is_where_a_file_lies() {
        let mut files = Files::default();
        files.write("/srv/data/note", Bytes::new());
        assert!(files.has_folder("/srv") && files.has_folder("/srv/data"));
        assert!(!files.has_folder("/srv/da") && !files.has_folder("/srv/data/note"));
    }
}
