//! Who writes a journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One engine: the process that it runs in, and which of that process' engines it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine, as it calls itself.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Tells engines of one process apart, and processes that had the same number.
    pub token: String,
    /// Where the process can be looked for; `None` where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whereabouts: Option<Whereabouts>,
}

/// What makes "there is no such process" a proof: the same boot of the same machine, and the same view of its
/// processes (a container sees only its own).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Whereabouts {
    boot: String,
    processes: String,
    started: String,
}

impl Whereabouts {
    fn of(pid: u32) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let processes = std::fs::read_link("/proc/self/ns/pid").ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            processes: processes.to_string_lossy().into_owned(),
            started: started(pid)?,
        })
    }
}

/// When a process was started, in the kernel's count: a number that is used again has another.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, spaces and parentheses too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A process that ended and was not waited for runs no more.
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

impl Owner {
    /// This process, with a new token.
    #[must_use]
    pub fn this_process() -> Self {
        let pid = std::process::id();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        Self {
            host: host.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned()),
            pid,
            token: super::random_text(),
            whereabouts: Whereabouts::of(pid),
        }
    }

    /// Whether it has certainly ended: it ran on this machine since its last boot, and is no longer there. Of what runs
    /// elsewhere nothing can be said, and of this very process neither.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let (Some(theirs), Some(ours)) = (&self.whereabouts, Whereabouts::of(std::process::id())) else {
            return false;
        };
        theirs.boot == ours.boot
            && theirs.processes == ours.processes
            && started(self.pid).as_ref() != Some(&theirs.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn a_living_process_has_not_ended_and_a_waited_for_one_has() {
        assert!(!Owner::this_process().has_ended());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let mut owner = Owner::this_process();
        owner.pid = child.id();
        child.wait().unwrap();
        assert!(owner.has_ended());
    }

    #[test]
    fn of_another_machine_nothing_is_known() {
        let mut owner = Owner::this_process();
        owner.pid = u32::MAX;
        owner.whereabouts =
            owner.whereabouts.map(|one| super::Whereabouts { boot: "another".to_owned(), ..one });
        assert!(!owner.has_ended());
    }
}
