//! The shapes of documents, for serde and for the JSON Schema. What a document *means* is not decided here.
//!
//! Types are generic over the parts that others read (`specs` belongs to a handler): while reading, those are
//! skipped; in the schema they are described.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use substrate_core::config::duration;

use crate::directive::Action;
use crate::model::{Address, Condition, Lifecycle, Name, Readiness, Version};

/// A blueprint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Blueprint")]
pub(crate) struct BlueprintForm<R: Default, M: Default> {
    /// The author's version of this blueprint.
    pub(crate) version: Option<String>,
    /// Its name: letters, digits, `-` and `_`.
    #[schemars(with = "String")]
    pub(crate) name: Name,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// What it is made of.
    #[serde(default)]
    #[allow(dead_code, reason = "read piece by piece, with the place of each")]
    pub(crate) resources: R,
    /// Values for `${var.NAME}`; one without a value must be given by the caller.
    #[serde(default)]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) variables: M,
    /// Specs that lie under those of the resources: by facility (its name or type), then by type of resource.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, serde_json::Map<String, serde_json::Value>>>")]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) defaults: M,
    /// Free data; `engine_config` is laid over the configuration of the substrates.
    #[serde(default)]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) metadata: M,
}

/// A resource of a blueprint.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Resource")]
pub(crate) struct ResourceForm<S: Default, D: Default, M: Default> {
    /// The kind of thing: `compute`, `network`, `storage`, `service`, `configure`, or one that the program registered.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its name, unique in the blueprint: letters, digits, `-` and `_`.
    #[schemars(with = "String")]
    pub(crate) name: Name,
    /// The version of the kind; the newest when left out.
    #[schemars(with = "Option<String>")]
    pub(crate) version: Option<Version>,
    /// The facility: a substrate of the configuration, by name or by type.
    pub(crate) provider: Option<String>,
    /// What it shall be.
    #[serde(default)]
    #[allow(dead_code, reason = "read by the handler")]
    pub(crate) specs: S,
    /// Resources that must be there before it: `name`, `name[0]`, `blueprint/name`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(crate) dependencies: Vec<Address>,
    /// How many of it; they are called `name-0`, `name-1`, ….
    pub(crate) count: Option<u32>,
    /// Free data.
    #[serde(default)]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) metadata: M,
    /// What is to be done on actions, in order.
    #[serde(default)]
    #[allow(dead_code, reason = "read by the directive")]
    pub(crate) directives: D,
    /// How it may be changed.
    #[serde(default)]
    pub(crate) lifecycle: LifecycleForm,
    /// When it counts as ready.
    #[schemars(with = "Option<ConditionForm>")]
    pub(crate) readiness: Option<Readiness>,
}

/// How a resource may be changed.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Lifecycle")]
pub(crate) struct LifecycleForm {
    /// Refuse every plan that would delete or replace it.
    protect: bool,
    /// When it must be replaced, make the new one before the old one goes.
    create_before_destroy: bool,
    /// Dotted property paths whose changes are left alone.
    ignore_changes: Vec<String>,
}

impl From<LifecycleForm> for Lifecycle {
    fn from(form: LifecycleForm) -> Self {
        Self {
            protect: form.protect,
            create_before_destroy: form.create_before_destroy,
            ignore_changes: form.ignore_changes,
        }
    }
}

/// Something to wait for: exactly one of `port`, `command`, `log` and `health`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Condition")]
pub(crate) struct ConditionForm {
    /// A TCP port that takes connections.
    port: Option<u16>,
    /// A command, as an argument vector, that ends with exit code 0.
    command: Option<Vec<String>>,
    /// A text that a line of the log contains.
    log: Option<String>,
    /// `true`: the substrate reports that it runs and is healthy.
    health: Option<bool>,
    /// How long to wait in all: `30s`, `5m`.
    #[serde(default, with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    timeout: Option<Duration>,
    /// How long to wait between two looks.
    #[serde(default, with = "duration::optional")]
    #[schemars(with = "Option<String>")]
    interval: Option<Duration>,
}

impl TryFrom<ConditionForm> for Readiness {
    type Error = &'static str;

    fn try_from(form: ConditionForm) -> Result<Self, &'static str> {
        let condition = match (form.port, form.command, form.log, form.health) {
            (Some(0), None, None, None) => return Err("port 0 is no port"),
            (Some(port), None, None, None) => Condition::Port(port),
            (None, Some(argv), None, None) if argv.first().is_none_or(String::is_empty) => {
                return Err("`command` needs a program as its first item");
            }
            (None, Some(argv), None, None) => Condition::Command(argv),
            (None, None, Some(text), None) if text.is_empty() => {
                return Err("`log` needs a text to look for");
            }
            (None, None, Some(text), None) => Condition::Log(text),
            (None, None, None, Some(true)) => Condition::Health,
            _ => return Err("give exactly one of `port`, `command`, `log` and `health: true`"),
        };
        let interval = form.interval.unwrap_or(Self::DEFAULT_INTERVAL);
        if interval.is_zero() {
            return Err("`interval` must be longer than nothing");
        }
        Ok(Self { condition, timeout: form.timeout.unwrap_or(Self::DEFAULT_TIMEOUT), interval })
    }
}

impl<'de> Deserialize<'de> for Readiness {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = ConditionForm::deserialize(deserializer)?;
        Self::try_from(form).map_err(serde::de::Error::custom)
    }
}

/// A document of a kind: a blueprint, a resource or a manifest.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Manifest")]
pub(crate) struct ManifestForm<S: Default> {
    /// The kind of document.
    pub(crate) kind: String,
    /// The version of the kind: `v1`, `substrate/v1`.
    #[serde(rename = "apiVersion", alias = "version")]
    #[schemars(with = "Option<String>")]
    pub(crate) version: Option<Version>,
    /// Who it is.
    pub(crate) metadata: ManifestMetadataForm,
    /// What the kind's handler reads.
    #[serde(default)]
    #[allow(dead_code, reason = "read by the handler")]
    pub(crate) spec: S,
    /// The facility, for kinds that live on one: its name or type, or `{provider: …}`.
    #[serde(default, rename = "engineSelector")]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) engine_selector: S,
}

/// Who a manifest is, and when it is applied.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(rename = "ManifestMetadata")]
pub(crate) struct ManifestMetadataForm {
    /// Its name: letters, digits, `-` and `_`.
    #[schemars(with = "String")]
    pub(crate) name: Name,
    /// What comes before it.
    #[serde(default)]
    pub(crate) dependencies: ManifestDependenciesForm,
    /// The environments that it is for; all when left out.
    #[serde(default)]
    pub(crate) environments: Vec<String>,
    /// Leave it out unless it is named.
    #[serde(default)]
    pub(crate) skip_apply_all: bool,
    /// Leave it alone when everything is deleted, unless it is named.
    #[serde(default)]
    pub(crate) skip_delete_all: bool,
    /// Another action in the place of one.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Action>")]
    pub(crate) action_overrides: BTreeMap<Action, Action>,
}

/// The two orders of a manifest.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "ManifestDependencies")]
pub(crate) struct ManifestDependenciesForm {
    /// Manifests that are applied before it.
    #[schemars(with = "Vec<String>")]
    pub(crate) apply: Vec<Address>,
    /// Manifests that are deleted before it; the reverse of the apply order when left out.
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) delete: Option<Vec<Address>>,
}

/// The head of a document of one of the built-in kinds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KindDocument")]
pub(crate) struct KindForm<M, S: Default> {
    /// `SystemBlueprint`, `ComputeNode`, `NetworkLink`, `StorageVolume` or `ServiceInstance`.
    #[allow(dead_code, reason = "decided which form this is")]
    pub(crate) kind: String,
    /// The version of the kind: `v1`, `substrate/v1`.
    #[serde(rename = "apiVersion", alias = "version")]
    #[schemars(with = "Option<String>")]
    #[allow(dead_code, reason = "moves to where the blueprint form has it")]
    pub(crate) api_version: Option<Version>,
    /// Its name, and for a resource what else the blueprint form has beside `specs`.
    #[allow(dead_code, reason = "read with places")]
    pub(crate) metadata: M,
    /// What it shall be.
    #[serde(default)]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) spec: S,
    /// The facility of a resource: its name or type, or `{provider: …}`.
    #[serde(default, rename = "engineSelector")]
    #[allow(dead_code, reason = "read with places")]
    pub(crate) engine_selector: S,
}

/// `metadata` of a resource in the kind form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KindMetadata")]
#[allow(dead_code, reason = "describes keys that move to where the blueprint form has them")]
pub(crate) struct KindMetadataForm<S: Default> {
    /// Its name.
    #[schemars(with = "String")]
    pub(crate) name: String,
    /// Resources that must be there before it.
    #[serde(default)]
    pub(crate) dependencies: S,
    /// How many of it.
    #[serde(default)]
    pub(crate) count: S,
    /// What is to be done on actions.
    #[serde(default)]
    pub(crate) directives: S,
    /// How it may be changed.
    #[serde(default)]
    pub(crate) lifecycle: S,
    /// When it counts as ready.
    #[serde(default)]
    pub(crate) readiness: S,
    /// Free data.
    #[serde(default)]
    pub(crate) annotations: S,
}
