//! Property strings: `virtio=BC:24:11:…,bridge=vmbr0,tag=5`. The first part may have no key.

use std::fmt;

/// Keys and values in order. What is not understood stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<(Option<String>, String)>);

impl Properties {
    pub(crate) fn parse(text: &str) -> Self {
        let part = |part: &str| match part.split_once('=') {
            Some((key, value)) => (Some(key.to_owned()), value.to_owned()),
            None => (None, part.to_owned()),
        };
        Self(text.split(',').filter(|part| !part.is_empty()).map(part).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name.as_deref() == Some(key)).map(|(_, value)| value.as_str())
    }

    /// The value without a key: a volume.
    pub(crate) fn bare(&self) -> Option<&str> {
        self.0.iter().find(|(name, _)| name.is_none()).map(|(_, value)| value.as_str())
    }

    /// The first part, with its key.
    pub(crate) fn first(&self) -> Option<(&str, &str)> {
        self.0.first().map(|(name, value)| (name.as_deref().unwrap_or_default(), value.as_str()))
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(name, _)| name.as_deref() == Some(key)) {
            Some((_, old)) => *old = value,
            None => self.0.push((Some(key.to_owned()), value)),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name.as_deref() != Some(key));
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            match key {
                Some(key) => write!(formatter, "{key}={value}")?,
                None => formatter.write_str(value)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let text = "virtio=BC:24:11:1C:A8:0C,bridge=vmbr0,firewall=1";
        let mut net = Properties::parse(text);
        assert_eq!(net.to_string(), text);
        assert_eq!((net.get("bridge"), net.first()), (Some("vmbr0"), Some(("virtio", "BC:24:11:1C:A8:0C"))));
        net.set("rate", "12.5");
        net.remove("firewall");
        assert_eq!(net.to_string(), "virtio=BC:24:11:1C:A8:0C,bridge=vmbr0,rate=12.5");
        assert_eq!(
            Properties::parse("local:1/vm-1-disk-0.raw,size=2G").bare(),
            Some("local:1/vm-1-disk-0.raw")
        );
    }
}
