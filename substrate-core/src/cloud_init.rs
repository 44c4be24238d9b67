//! What an instance configures itself with at its first boot.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a text for cloud-init may begin with: a `#` line (`#cloud-config`, `#!/bin/sh`, …), a MIME message, or a
/// Jinja template, which begins with `##`.
const BEGINNINGS: [&str; 3] = ["#", "Content-Type:", "MIME-Version:"];

/// Data for [cloud-init](https://docs.cloud-init.io), which an image that has it reads at its first boot.
///
/// Where it is laid for the instance is the technology's affair (a small disk, a key of the server, a metadata
/// service); what is in it is the same everywhere. `Debug` shows none of the texts: there are passwords in such.
///
/// ```
/// use substrate_core::{CloudInit, InstanceConfig};
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("debian-12-cloud")
///     .with_cloud_init(CloudInit::new("#cloud-config\npackages: [nginx]\n"));
/// config.validate()?;
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CloudInit {
    /// The user data: `#cloud-config` and what follows, a script, or a MIME message of several parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// What the vendor of the image would have said; user data goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
    /// The meta data, as YAML; the provider's own (an instance id, the name as the host's name) when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<String>,
    /// The network's configuration, as YAML of version 1 or 2; the image's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
}

impl CloudInit {
    /// Nothing but user data.
    #[must_use]
    pub fn new(user_data: impl Into<String>) -> Self {
        Self { user_data: Some(user_data.into()), ..Self::default() }
    }

    /// Each text with its name, as cloud-init calls it, in a fixed order.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("user-data", &self.user_data),
            ("vendor-data", &self.vendor_data),
            ("meta-data", &self.meta_data),
            ("network-config", &self.network_config),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    /// Checks what cloud-init itself would only complain about in a log inside the instance.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the part, never its text.
    pub fn validate(&self) -> Result<()> {
        if self.parts().next().is_none() {
            return Err(Error::invalid_input("the cloud-init data is empty"));
        }
        for (part, text) in self.parts() {
            if text.contains('\0') {
                return Err(Error::invalid_input(format!("cloud-init's {part} has a NUL byte")));
            }
            let says_what_it_is = BEGINNINGS.iter().any(|beginning| text.starts_with(beginning));
            if matches!(part, "user-data" | "vendor-data") && !says_what_it_is {
                return Err(Error::invalid_input(format!(
                    "cloud-init's {part} must begin with a line such as `#cloud-config` or `#!/bin/sh`"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for CloudInit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.parts().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_not_shown() {
        let data = CloudInit::new("#cloud-config\npassword: hunter2\n");
        assert_eq!(format!("{data:?}"), r#"{"user-data"}"#);
    }

    #[test]
    fn user_data_must_say_what_it_is() {
        for good in
            ["#cloud-config\n", "#!/bin/sh\n", "Content-Type: multipart/mixed\n", "## template: jinja\n"]
        {
            CloudInit::new(good).validate().unwrap();
        }
        for bad in ["", "packages: [nginx]", "#cloud-config\0"] {
            assert!(CloudInit::new(bad).validate().unwrap_err().is_invalid_input(), "{bad:?}");
        }
        assert!(CloudInit::default().validate().unwrap_err().is_invalid_input());
    }
}
