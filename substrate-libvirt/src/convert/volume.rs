//! Storage volumes.

use substrate_core::{Error, Result};

use super::element::Element;

/// What a new volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeDocument {
    pub(crate) name: String,
    pub(crate) capacity: u64,
    /// `qcow2` or `raw`.
    pub(crate) format: String,
    /// The file that it holds the differences to, and its format.
    pub(crate) backing: Option<(String, String)>,
}

impl VolumeDocument {
    pub(crate) fn to_xml(&self) -> String {
        let format = |format: &str| Element::new("format").with("type", format);
        let backing = self.backing.as_ref().map(|(path, kind)| {
            Element::new("backingStore").and(Element::of_text("path", path)).and(format(kind))
        });
        Element::new("volume")
            .and(Element::of_text("name", &self.name))
            .and(Element::of_text("capacity", self.capacity.to_string()).with("unit", "bytes"))
            // Nothing is set aside: what a disk does not hold takes no room.
            .and(Element::of_text("allocation", "0").with("unit", "bytes"))
            .and(Element::new("target").and(format(&self.format)))
            .and_maybe(backing)
            .to_xml()
    }
}

/// What a volume's document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeFacts {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) format: String,
    pub(crate) capacity: u64,
    pub(crate) backing: Option<String>,
}

impl VolumeFacts {
    pub(crate) fn read(xml: &str) -> Result<Self> {
        let document = Element::parse(xml)?;
        let text = |path: &str| document.text_at(path).map(str::to_owned);
        let capacity = document.find("capacity").and_then(|size| {
            let number: u64 = size.text().trim().parse().ok()?;
            // libvirt answers in bytes, whatever it was asked in.
            matches!(size.attribute("unit"), None | Some("bytes")).then_some(number)
        });
        Ok(Self {
            name: text("name").ok_or_else(|| Error::protocol("libvirt described a volume without a name"))?,
            path: text("target/path").unwrap_or_default(),
            format: document.attribute_at("target/format", "type").unwrap_or("raw").to_owned(),
            capacity: capacity.unwrap_or_default(),
            backing: text("backingStore/path"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_on_another_one_names_it() {
        let document = VolumeDocument {
            name: "a".into(),
            capacity: 1 << 30,
            format: "qcow2".into(),
            backing: Some(("/images/base & co.qcow2".into(), "qcow2".into())),
        };
        let facts = VolumeFacts::read(&document.to_xml()).unwrap();
        assert_eq!(facts.backing.as_deref(), Some("/images/base & co.qcow2"));
        assert_eq!((facts.capacity, facts.format.as_str()), (1 << 30, "qcow2"));
    }

    #[test]
    fn a_volume_as_libvirt_describes_it() {
        let xml = "<volume type='file'>\n  <name>busybox.qcow2</name>\n  <key>/x/busybox.qcow2</key>\n  \
                   <capacity unit='bytes'>67108864</capacity>\n  <target>\n    <path>/x/busybox.qcow2</path>\n    \
                   <format type='qcow2'/>\n  </target>\n</volume>";
        let facts = VolumeFacts::read(xml).unwrap();
        assert_eq!((facts.path.as_str(), facts.capacity), ("/x/busybox.qcow2", 64 << 20));
        assert!(VolumeFacts::read("<volume/>").is_err());
    }
}
