//! What the server writes about an instance, beside its console: what only these servers have, as methods of their own.

use bytes::Bytes;
use substrate_core::{Error, InstanceName, Operation, Result};

use super::LxcSubstrate;
use super::lifecycle::target;
use crate::client::Target;

impl LxcSubstrate {
    /// The names of the files that the server keeps about an instance: `lxc.log` of a container, `qemu.log` of a machine,
    /// and those of its starts that failed. They tell why an instance does not start; what it says itself is in
    /// [`get_logs`](substrate_core::Substrate::get_logs).
    ///
    /// # Errors
    /// `NotFound` for the instance.
    pub async fn log_files(&self, name: &InstanceName) -> Result<Vec<String>> {
        self.listed(name)
            .await
            .map(|(_, files)| files)
            .map_err(self.descriptor.about(Operation::GetLogs, name))
    }

    /// One of those files, as it is now.
    ///
    /// # Errors
    /// `NotFound` for the instance and for the file.
    pub async fn read_log_file(&self, name: &InstanceName, file: &str) -> Result<Bytes> {
        let read = async {
            // Asked for a file that is not there, the servers speak of a fault of their own.
            let (logs, files) = self.listed(name).await?;
            if !files.iter().any(|known| known == file) {
                return Err(Error::not_found(format!("there is no log file `{}`", file.escape_debug())));
            }
            let (_, content) =
                self.client.get_raw("read the instance's log file", &logs.segment(file)).await?;
            Ok(content)
        };
        read.await.map_err(self.descriptor.about(Operation::GetLogs, name))
    }

    async fn listed(&self, name: &InstanceName) -> Result<(Target, Vec<String>)> {
        let document = self.find(name.as_str()).await?;
        let logs = target(&document.name).segment("logs");
        let paths: Vec<String> = self.client.get("list the instance's log files", &logs).await?;
        // Each with its whole path, and the project behind it.
        let names = paths.iter().filter_map(|path| path.split('?').next()?.rsplit('/').next());
        let files = names.filter(|name| is_file_name(name)).map(str::to_owned).collect();
        Ok((logs, files))
    }
}

/// Whether the servers would name a log so. A name that means another folder is asked for by nobody.
fn is_file_name(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    !text.is_empty() && is_plain && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_files() {
        for name in ["lxc.log", "forkstart.log", "qemu.early.log", "lxc.conf"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "a%2fb", "a b", "größe"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
