//! What stands in the place of `tc`, for one daemon: it writes down what the kernel is asked to bound.
//!
//! Not every kernel has all parts of the traffic control that libvirt uses, and where one is missing no machine with a
//! bound can be started. What libvirt asks for, and what it makes of a refusal, is the same everywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::quoted;

/// The program, as the daemon finds it.
pub const SYSTEM: &str = "/usr/sbin/tc";

/// The folder where requests are written into the file `asked`. Those that match a line of the file `refused` are not
/// granted.
pub struct TrafficControl(PathBuf);

impl TrafficControl {
    pub fn new(home: &Path) -> Self {
        Self(home.join("traffic-control"))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn program(&self) -> PathBuf {
        self.0.join("tc")
    }

    pub fn prepare(&self) -> Result<()> {
        fs::create_dir_all(&self.0).with_context(|| format!("cannot create {}", self.0.display()))?;
        let program = self.program();
        fs::write(&program, self.script()).with_context(|| format!("cannot write {}", program.display()))?;
        for file in ["asked", "refused"] {
            fs::write(self.0.join(file), "")?;
        }
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn script(&self) -> String {
        format!(
            "#!/bin/sh\ncd {} || exit 1\necho \"$*\" >> asked\n\
             if [ -s refused ] && echo \"$*\" | grep -q -f refused; then\n    \
             echo 'RTNETLINK answers: Operation not supported' >&2\n    exit 2\nfi\n",
            quoted(&self.0.display().to_string())
        )
    }
}
