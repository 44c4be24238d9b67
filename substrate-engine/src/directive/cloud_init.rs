//! `cloud-init`: data that an instance configures itself with at its first boot.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Section};
use substrate_core::{Error, Feature, Result};

use super::{Action, CheckedDirective, Directive};
use crate::handler::Need;

/// Gives the instance cloud-init data in the call that creates it, on every facility that can lay it where cloud-init
/// finds it ([`Feature::CloudInit`]).
///
/// ```yaml
/// - cloud-init:
///     user_data: {package_update: true, packages: [nginx]}
/// ```
///
/// `user_data`, `vendor_data`, `meta_data` and `network_config` are maps, or the finished text.
#[derive(Debug, Clone, Copy)]
pub struct CloudInit;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_data: Option<Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vendor_data: Option<Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta_data: Option<Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network_config: Option<Data>,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "must be a map or a text")]
enum Data {
    Map(Map<String, Value>),
    Text(String),
}

impl Data {
    /// The text that cloud-init reads: a map is written as JSON, which every reader of YAML takes.
    fn text(self) -> String {
        match self {
            Self::Map(map) => Value::Object(map).to_string(),
            Self::Text(text) => text,
        }
    }

    /// The same of a part that says in its first line what it is.
    fn cloud_config(self) -> String {
        match self {
            Self::Map(_) => format!("#cloud-config\n{}\n", self.text()),
            Self::Text(text) => text,
        }
    }
}

impl Settings {
    fn data(self) -> substrate_core::CloudInit {
        let mut data = substrate_core::CloudInit::default();
        data.user_data = self.user_data.map(Data::cloud_config);
        data.vendor_data = self.vendor_data.map(Data::cloud_config);
        data.meta_data = self.meta_data.map(Data::text);
        data.network_config = self.network_config.map(Data::text);
        data
    }
}

impl Directive for CloudInit {
    fn name(&self) -> &str {
        "cloud-init"
    }

    fn check(&self, settings: &Section) -> std::result::Result<CheckedDirective, ConfigError> {
        let typed: Settings = settings.parse()?;
        let properties = serde_json::to_value(&typed).unwrap_or_default();
        if let Err(error) = typed.data().validate() {
            let part = ["user_data", "vendor_data"].into_iter().find_map(|part| settings.child(part));
            return Err(part.unwrap_or_else(|| settings.clone()).problem(error.message().to_owned()).into());
        }
        Ok(CheckedDirective::new(self.name(), [Action::Deploy], properties)
            .needing([Need::at(settings, "", Feature::CloudInit)])
            .fixed_at_creation())
    }

    fn prepare(&self, settings: &Value, properties: &mut Value) -> Result<()> {
        let unreadable =
            |error| Error::internal(format!("the settings of `cloud-init` cannot be read: {error}"));
        let data = Settings::deserialize(settings).map_err(unreadable)?.data();
        // References are in their places only now.
        data.validate()?;
        match properties {
            Value::Object(fields) => {
                fields.insert("cloud_init".to_owned(), serde_json::to_value(data).map_err(unreadable)?);
                Ok(())
            }
            _ => Err(Error::invalid_input("`cloud-init` is for resources that are instances")),
        }
    }
}
