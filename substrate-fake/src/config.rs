//! Settings of a fake in a configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use substrate_core::registry::Registry;
use substrate_core::{Ability, Capabilities, Error, Feature, InstanceKind, Operation, Result, Substrate};

use crate::fake::Fake;

/// What a substrate of type `fake` takes in a configuration; unknown keys are refused.
///
/// ```
/// use substrate_core::config::Section;
/// use substrate_fake::{Fake, FakeConfig};
/// let section = Section::from_value(serde_json::json!({
///     "latency": "20ms",
///     "fail_on_start": ["db"],
///     "without": {"snapshot_memory": "no file system for it"},
/// }));
/// let fake = Fake::from_config("staging", section.parse::<FakeConfig>()?)?;
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FakeConfig {
    /// Creates fail: all of them (`true`), or those of these instances.
    pub fail_on_create: FailSwitch,
    /// Starts fail, restarts too.
    pub fail_on_start: FailSwitch,
    /// Stops fail, restarts too.
    pub fail_on_stop: FailSwitch,
    /// Deletes fail.
    pub fail_on_delete: FailSwitch,
    /// Creates and starts fail.
    pub fail_on_deploy: FailSwitch,
    /// How long every call takes [default: no time].
    #[serde(with = "substrate_core::config::duration")]
    pub latency: Duration,
    /// What ids and chance come from [default: 0].
    pub seed: u64,
    /// Operations and features that it shall not have, each with the reason that it gives.
    pub without: BTreeMap<String, String>,
    /// The file that keeps its state; in memory only when left out.
    pub state_file: Option<PathBuf>,
    /// The images at hand, instead of the usual ones.
    pub images: Option<Vec<String>>,
    /// The kinds of instances that it runs, instead of the usual ones.
    pub kinds: Option<Vec<InstanceKind>>,
}

impl FakeConfig {
    /// What it can do: everything but what is left out.
    ///
    /// # Errors
    /// `InvalidInput` for an ability that there is not, with the known ones.
    pub(crate) fn capabilities(&self) -> Result<Capabilities> {
        let mut capabilities = Fake::default_capabilities();
        for (name, reason) in &self.without {
            capabilities = capabilities.without(ability(name)?, reason.as_str());
        }
        Ok(capabilities)
    }
}

fn ability(name: &str) -> Result<Ability> {
    let operations = || Operation::ALL.iter().copied().map(Ability::Operation);
    let abilities = || operations().chain(Feature::ALL.iter().copied().map(Ability::Feature));
    let found = abilities().find(|ability| ability.to_string() == name).ok_or_else(|| {
        let known: Vec<String> = abilities().map(|ability| ability.to_string()).collect();
        Error::invalid_input(format!(
            "without: there is no operation or feature `{}`; known: {}",
            name.escape_debug(),
            known.join(", ")
        ))
    })?;
    match found {
        Ability::Operation(operation) if operation.profile().required => {
            Err(Error::invalid_input(format!("without: every substrate has `{operation}`")))
        }
        found => Ok(found),
    }
}

/// Registers the type `fake`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `fake` already.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register("fake", |name, section| {
        let config: FakeConfig = section.parse()?;
        Ok(Arc::new(Fake::from_config(name, config)?) as Arc<dyn Substrate>)
    })
}

/// Which instances something fails for: `true`, `false`, a name or a list of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FailSwitch {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl FailSwitch {
    fn is_on_for(&self, name: &str) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|named| named == name),
        }
    }
}

impl<'de> Deserialize<'de> for FailSwitch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchVisitor;
        impl<'de> Visitor<'de> for SwitchVisitor {
            type Value = FailSwitch;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false, or a list of instance names")
            }

            fn visit_bool<E>(self, on: bool) -> Result<FailSwitch, E> {
                Ok(if on { FailSwitch::All } else { FailSwitch::Off })
            }

            fn visit_str<E>(self, name: &str) -> Result<FailSwitch, E> {
                Ok(FailSwitch::Named(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<FailSwitch, A::Error> {
                let mut named = Vec::new();
                while let Some(name) = names.next_element()? {
                    named.push(name);
                }
                Ok(FailSwitch::Named(named))
            }
        }
        deserializer.deserialize_any(SwitchVisitor)
    }
}

/// The switches of a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switches {
    pub(crate) create: FailSwitch,
    pub(crate) start: FailSwitch,
    pub(crate) stop: FailSwitch,
    pub(crate) delete: FailSwitch,
    pub(crate) deploy: FailSwitch,
}

impl Switches {
    /// The name of the switch that lets this call fail, if one does.
    pub(crate) fn failing(&self, operation: Operation, name: &str) -> Option<&'static str> {
        let create = (&self.create, "fail_on_create");
        let start = (&self.start, "fail_on_start");
        let stop = (&self.stop, "fail_on_stop");
        let delete = (&self.delete, "fail_on_delete");
        let deploy = (&self.deploy, "fail_on_deploy");
        let concerned: &[(&FailSwitch, &'static str)] = match operation {
            Operation::CreateInstance => &[create, deploy],
            Operation::StartInstance => &[start, deploy],
            Operation::StopInstance => &[stop],
            Operation::RestartInstance => &[stop, start, deploy],
            Operation::DeleteInstance => &[delete],
            _ => &[],
        };
        concerned.iter().find(|(switch, _)| switch.is_on_for(name)).map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use substrate_core::config::Section;

    use super::*;

    fn parse(settings: serde_json::Value) -> Result<FakeConfig> {
        Ok(Section::from_value(settings).named("fake").parse()?)
    }

    #[test]
    fn a_switch_is_a_truth_value_or_names() {
        let config =
            parse(json!({"fail_on_start": true, "fail_on_stop": ["a", "b"], "fail_on_delete": "c"})).unwrap();
        assert_eq!(config.fail_on_create, FailSwitch::Off);
        assert_eq!(config.fail_on_start, FailSwitch::All);
        assert_eq!(config.fail_on_stop, FailSwitch::Named(vec!["a".into(), "b".into()]));
        assert_eq!(config.fail_on_delete, FailSwitch::Named(vec!["c".into()]));
        let error = parse(json!({"fail_on_stop": 3})).unwrap_err();
        assert!(error.to_string().contains("list of instance names"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = parse(json!({"latencey": "1s"})).unwrap_err();
        assert!(error.is_invalid_input() && error.to_string().contains("`latency`"), "{error}");
    }

    #[test]
    fn an_ability_that_there_is_not_is_refused() {
        let fake = |without| Fake::from_config("fake", parse(json!({"without": without})).unwrap());
        assert!(fake(json!({"watching": "x"})).unwrap_err().message().contains("watch"));
        assert!(fake(json!({"get_instance": "x"})).unwrap_err().is_invalid_input());
        let capabilities = fake(json!({"watch": "too old"})).unwrap().descriptor().capabilities.clone();
        assert_eq!(capabilities.require(Operation::Watch).unwrap_err().message(), "too old");
    }

    #[test]
    fn a_deploy_is_a_create_or_a_start() {
        let switches = Switches { deploy: FailSwitch::All, ..Switches::default() };
        assert!(switches.failing(Operation::CreateInstance, "a").is_some());
        assert!(switches.failing(Operation::StartInstance, "a").is_some());
        assert!(switches.failing(Operation::StopInstance, "a").is_none());
    }

    #[test]
    fn the_registry_makes_fakes() {
        let mut registry = Registry::new();
        register(&mut registry).unwrap();
        let fake = registry.create("fake", "staging", &Section::empty("staging")).unwrap();
        assert_eq!(&*fake.descriptor().name, "staging");
        assert_eq!(&*fake.descriptor().provider_type, "fake");
    }
}
