//! Bounds of a machine's disk input and output, which no other technology of the family has.

use serde::{Deserialize, Serialize};
use substrate_core::{Error, Result};

/// More than that QEMU does not take.
const MOST: u64 = 1_000_000_000_000_000;

/// How fast a machine may read and write: each of its disks that can be written to, apart. Unknown keys are refused.
///
/// Bytes and operations are bounded either in total or reading and writing apart. Where something of a group is said, it
/// says the whole group; of a group that nothing is said about, all stays as it is. `0` lifts a bound.
///
/// ```
/// use substrate_libvirt::BlockLimits;
///
/// let limits: BlockLimits = serde_json::from_str(r#"{"bytes_per_second": 50000000, "weight": 200}"#)?;
/// assert_eq!(limits, BlockLimits::default().with_bytes_per_second(50_000_000).with_weight(200));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BlockLimits {
    /// Bytes per second, read and written together. Excludes the next two.
    pub bytes_per_second: Option<u64>,
    /// Bytes read per second.
    pub read_bytes_per_second: Option<u64>,
    /// Bytes written per second.
    pub write_bytes_per_second: Option<u64>,
    /// Operations per second, of reading and writing together. Excludes the next two.
    pub operations_per_second: Option<u64>,
    /// Operations of reading per second.
    pub read_operations_per_second: Option<u64>,
    /// Operations of writing per second.
    pub write_operations_per_second: Option<u64>,
    /// The machine's share of the host's disks against that of others, from 10 to 1000. Needs control groups with
    /// weights and a scheduler of the host's disks that heeds them: elsewhere libvirt refuses it, to a machine that
    /// is off when it starts.
    pub weight: Option<u32>,
}

impl BlockLimits {
    /// Bounds the bytes per second.
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Bounds the bytes per second, read and written apart.
    #[must_use]
    pub fn with_bytes_per_second_apart(mut self, read: u64, written: u64) -> Self {
        (self.read_bytes_per_second, self.write_bytes_per_second) = (Some(read), Some(written));
        self
    }

    /// Bounds the operations per second.
    #[must_use]
    pub fn with_operations_per_second(mut self, operations: u64) -> Self {
        self.operations_per_second = Some(operations);
        self
    }

    /// Bounds the operations per second, of reading and writing apart.
    #[must_use]
    pub fn with_operations_per_second_apart(mut self, reading: u64, writing: u64) -> Self {
        (self.read_operations_per_second, self.write_operations_per_second) = (Some(reading), Some(writing));
        self
    }

    /// Sets the share of the host's disks.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    pub(crate) fn bytes(&self) -> Group {
        Group([self.bytes_per_second, self.read_bytes_per_second, self.write_bytes_per_second])
    }

    pub(crate) fn operations(&self) -> Group {
        Group([self.operations_per_second, self.read_operations_per_second, self.write_operations_per_second])
    }

    pub(crate) fn validate(&self) -> Result<()> {
        for (what, group) in [("bytes", self.bytes()), ("operations", self.operations())] {
            let [total, read, written] = group.values();
            if total > 0 && (read > 0 || written > 0) {
                return Err(Error::invalid_input(format!(
                    "{what} per second are bounded in total or apart, not both"
                )));
            }
            if [total, read, written].into_iter().any(|value| value > MOST) {
                return Err(Error::invalid_input(format!(
                    "QEMU bounds no more than {MOST} {what} per second"
                )));
            }
        }
        if self.weight.is_some_and(|weight| !(10..=1000).contains(&weight)) {
            return Err(Error::invalid_input("a `weight` is from 10 to 1000"));
        }
        Ok(())
    }
}

/// Bounds that are set together: in total, of reading, of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group([Option<u64>; 3]);

impl Group {
    /// Whether anything is said.
    pub(crate) fn is_said(self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    pub(crate) fn values(self) -> [u64; 3] {
        self.0.map(Option::unwrap_or_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_and_its_parts_exclude_each_other_in_one_group_only() {
        let limits = BlockLimits::default().with_bytes_per_second(1).with_operations_per_second_apart(1, 2);
        limits.validate().unwrap();
        assert!(limits.with_bytes_per_second_apart(1, 0).validate().unwrap_err().is_invalid_input());
        limits.with_bytes_per_second_apart(0, 0).validate().unwrap();
    }

    #[test]
    fn figures_that_the_hypervisor_would_not_take_are_refused() {
        for limits in [
            BlockLimits::default().with_weight(9),
            BlockLimits::default().with_weight(1001),
            BlockLimits::default().with_bytes_per_second(u64::MAX),
            BlockLimits::default().with_operations_per_second_apart(1, MOST + 1),
        ] {
            assert!(limits.validate().unwrap_err().is_invalid_input(), "{limits:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<BlockLimits>(r#"{"bytes": 1}"#).unwrap_err();
        assert!(error.to_string().contains("bytes"), "{error}");
    }
}
