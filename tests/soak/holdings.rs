//! What this process holds of its machine.

use std::fs;

/// At one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) memory_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Holdings {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let of = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            memory_kib: of("VmRSS:"),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: usize::try_from(of("Threads:")).unwrap(),
        }
    }
}

/// How many readings are kept.
const KEPT: usize = 1024;

/// The readings of a run, evenly thinned out: a list that grows with the run would itself be what is looked for.
#[derive(Debug)]
pub(crate) struct Readings {
    held: Vec<Holdings>,
    taken: usize,
    /// One of so many is kept.
    every: usize,
}

impl Readings {
    pub(crate) fn new() -> Self {
        Self { held: Vec::with_capacity(KEPT), taken: 0, every: 1 }
    }

    pub(crate) fn take(&mut self, reading: Holdings) {
        if self.held.len() == KEPT {
            let mut number = 0;
            self.held.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.every *= 2;
        }
        if self.taken.is_multiple_of(self.every) {
            self.held.push(reading);
        }
        self.taken += 1;
    }

    /// How many were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn held(&self) -> &[Holdings] {
        &self.held
    }
}

/// Whether the second half of a run held more than the first, of which a quarter is for warming up.
pub(crate) fn grows(held: &[Holdings]) -> Result<(), String> {
    let (begin, middle) = (held.len() / 4, held.len() / 2);
    let most = |range: &[Holdings], of: fn(&Holdings) -> u64| range.iter().map(of).max().unwrap_or_default();
    let early = held.get(begin..middle).unwrap_or_default();
    let late = held.get(middle..).unwrap_or_default();
    if early.is_empty() {
        return Err(format!("{} checkpoints are too few to tell", held.len()));
    }
    // An allocator keeps some; a connection or a timer may be on its way out.
    for (what, of, slack) in [
        ("KiB of memory", (|one: &Holdings| one.memory_kib) as fn(&Holdings) -> u64, 4096),
        ("descriptors", |one| one.descriptors as u64, 6),
        ("threads", |one| one.threads as u64, 2),
    ] {
        let (before, after) = (most(early, of), most(late, of));
        if after > before + before / 20 + slack {
            return Err(format!("{what} grow: at most {before} in the first half, {after} in the second"));
        }
    }
    Ok(())
}

#[test]
fn growth_is_noticed_and_a_plateau_is_none() {
    let at = |memory_kib, descriptors| Holdings { memory_kib, descriptors, threads: 4 };
    let flat: Vec<Holdings> = (0..20).map(|round| at(20_000 + round % 3, 12)).collect();
    grows(&flat).unwrap();
    let leaky: Vec<Holdings> =
        (0..20).map(|round| at(20_000, 10 + usize::try_from(round).unwrap())).collect();
    assert!(grows(&leaky).unwrap_err().contains("descriptors"));
    let fat: Vec<Holdings> = (0..20).map(|round| at(20_000 + round * 1000, 12)).collect();
    assert!(grows(&fat).unwrap_err().contains("memory"));
}

#[test]
fn readings_of_a_long_run_are_spread_over_it() {
    let mut readings = Readings::new();
    for number in 0..5000 {
        readings.take(Holdings { memory_kib: number, descriptors: 0, threads: 0 });
    }
    assert_eq!(readings.taken(), 5000);
    let kept: Vec<u64> = readings.held().iter().map(|one| one.memory_kib).collect();
    assert_eq!(kept, (0..5000).step_by(8).collect::<Vec<u64>>());
}
