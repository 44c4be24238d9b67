//! What `/proc` tells about processes.

use std::time::Duration;

/// `/proc/PID/stat` counts in hundredths of a second, on every architecture: it is part of the kernel's interface
/// to programs, whatever its own clock does.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// What of `/proc/PID/stat` is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// Processor time of it and of its children that have ended, in ticks.
    pub(crate) ticks: u64,
    /// When it started, in ticks since the machine did.
    pub(crate) started: u64,
}

impl Stat {
    /// Reads the file. The name of the program may hold anything, brackets and spaces too: counting starts behind
    /// the last bracket.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The state, field 3 of proc(5), is the first one here.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let times = [field(14)?, field(15)?, field(16)?, field(17)?];
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            group: u32::try_from(field(5)?).ok()?,
            ticks: times.into_iter().fold(0, u64::saturating_add),
            started: field(22)?,
        })
    }

    pub(crate) fn cpu_time(self) -> Duration {
        Duration::from_millis(self.ticks.saturating_mul(1000 / TICKS_PER_SECOND))
    }
}

/// The resident memory in KiB, from `/proc/PID/status`. A process that has ended has none.
pub(crate) fn resident_kib(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
}

/// When the machine started, in seconds since 1970, from `/proc/stat`.
pub(crate) fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// Whether a process that started so many ticks after the machine can be the one that supervisord started at
/// `told`, which it gives in whole seconds, as is the machine's start. Somebody else who got its id later cannot.
pub(crate) fn is_same_start(boot: u64, started_ticks: u64, told: u64) -> bool {
    boot.saturating_add(started_ticks / TICKS_PER_SECOND).abs_diff(told) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) S 9 (b) S 7 42 42 0 -1 4194560 0 0 0 0 150 50 20 5 20 0 1 0 777 0 0";
        let stat = Stat::read(stat).unwrap();
        assert_eq!(stat, Stat { parent: 7, group: 42, ticks: 225, started: 777 });
        assert_eq!(stat.cpu_time(), Duration::from_millis(2250));
        assert_eq!(Stat::read("42 (sh) S 7"), None);
    }

    #[test]
    fn memory_and_boot_time_are_found_or_not_told() {
        assert_eq!(resident_kib("Name:\tsh\nVmRSS:\t     912 kB\n"), Some(912));
        assert_eq!(resident_kib("Name:\tsh\nState:\tZ\n"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn a_process_that_got_the_id_later_is_another() {
        assert!(is_same_start(1000, 50_099, 1500));
        assert!(is_same_start(1000, 50_000, 1502));
        assert!(!is_same_start(1000, 50_000, 1400));
    }
}
