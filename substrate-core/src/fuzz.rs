//! Configurations that nobody writes on purpose: a real one, damaged. Whatever comes, it is read or refused.

use serde_json::Value;
use substrate_conformance::hostile::Hostile;

use crate::config::{Config, ConfigError, Environment, Section, nearest, parse_duration, parse_size, quoted};
use crate::{
    CloudInit, Error, Event, Instance, InstanceConfig, InstanceName, InstanceState, Labels, NetworkName,
    ResourceLimits, Snapshot, SnapshotName, VolumeName,
};

/// What aliases may add to what a document itself holds.
const MOST_FROM_ALIASES: usize = 250_000;

const SETTINGS: &str = include_str!("../tests/fixtures/substrate_config.yaml");

/// The rest of what YAML knows.
const SYNTAX: &str = "docker: &base\n  host: '${DOCKER_HOST}'\n  tags: [a, \"b\\u263a\", !!str 1]\n  size: 64MiB\n\
    \x20 text: |\n    one\n    two\nlab:\n  <<: *base\n  type: docker\n  token: ${TOKEN:-none}\n  folded: >-\n    a\n    b\n\
    \x20 ratio: 1.5e3\n  none: ~\n";

/// A bomb, and a flow as deep as it is allowed to be.
const BOMB: &str =
    "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c, *c]\n";

fn environment() -> Environment {
    Environment::from_iter([("DOCKER_HOST", "unix:///x"), ("TOKEN", "hunter2")])
}

/// In a report each problem has a line of its own; each of them must be one that a person reads.
fn first_of(error: &ConfigError) -> String {
    for problem in error.problems() {
        let line = problem.to_string();
        assert!(line.len() <= 4_096 && !line.contains('\n'), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
    error.summary()
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(|value| 1 + size_of(value)).sum::<usize>(),
        _ => 1,
    }
}

// A text is parsed on a thread of its own, whose memory nobody counts here: the size of what comes out is compared.

#[test]
fn configurations() {
    Hostile::new([SETTINGS, SYNTAX, BOMB]).check_text(|text| {
        let config =
            Config::from_yaml_with("lab.yaml", text, environment()).map_err(|error| first_of(&error))?;
        for substrate in config.substrates() {
            let _ = config.substrate(&substrate.name);
        }
        assert!(!format!("{config:?}").contains("hunter2"));
        let _: Result<u64, _> = config.get("docker", "registry.port", 0);
        Ok::<_, String>(())
    });
}

#[test]
fn documents_one_after_the_other() {
    let several = format!("{SYNTAX}---\n{BOMB}---\n{SETTINGS}");
    Hostile::new([SYNTAX, BOMB, &several]).check_text(|text| {
        let sections = Section::from_yaml_documents("shop.yaml", text, &environment())
            .map_err(|error| first_of(&error))?;
        let mut nodes = 0;
        for section in sections {
            let value = section.to_value().map_err(|error| first_of(&error))?;
            nodes += size_of(&value);
        }
        assert!(nodes <= 2 * text.len() + 2 * MOST_FROM_ALIASES + 2, "{nodes} nodes");
        Ok::<_, String>(())
    });
}

#[test]
fn sizes_and_durations() {
    Hostile::new(["64MiB", "8GB", "1.5 KiB", "512"]).check_text(parse_size);
    Hostile::new(["1h 30m", "250ms", "1.5", "30s"]).check_text(|text| {
        #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
        struct Setting(#[serde(with = "crate::config::duration")] std::time::Duration);
        let setting = Setting(parse_duration(text).map_err(|error| error.to_string())?);
        let written = serde_json::to_string(&setting).map_err(|error| error.to_string())?;
        assert_eq!(serde_json::from_str::<Setting>(&written).unwrap(), setting);
        Ok::<_, String>(())
    });
}

#[test]
fn names_are_refused_or_come_back_as_they_were() {
    Hostile::texts().check_text(|text| {
        let name = InstanceName::new(text)?;
        assert_eq!(name.as_str(), text);
        let written = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<InstanceName>(&written).unwrap(), name);
        let _ = (SnapshotName::new(text)?, NetworkName::new(text)?, VolumeName::new(text)?);
        Ok::<_, Error>(())
    });
    Hostile::texts().check_text(|text| {
        let labels: Labels = [(text, text)].into_iter().collect();
        let written = serde_json::to_string(&labels).unwrap();
        assert_eq!(serde_json::from_str::<Labels>(&written).unwrap(), labels);
        Ok::<_, Error>(())
    });
}

#[test]
fn words_in_messages() {
    Hostile::texts().check_text(|text| {
        let shown = quoted(text);
        // Sixty characters, each of them escaped at worst.
        assert!(shown.len() <= 60 * 10 + 8 && !shown.contains('\n'), "{shown}");
        nearest(text, ["docker", "proxmox"]);
        Err::<(), _>(
            Error::protocol(text.repeat(3)).with_hint(text).with_operation(crate::Operation::StartInstance),
        )
    });
}

#[test]
fn things_read_back_from_json() {
    let name = || InstanceName::new("web").unwrap();
    let config = InstanceConfig::new(name()).with_command(["/bin/sh", "-c", "x"]).with_label("a", "b");
    let instance = Instance::new("1", name(), crate::InstanceKind::Container, InstanceState::Running);
    let snapshot = Snapshot::new(SnapshotName::new("one").unwrap(), name());
    let event = Event::new(
        std::time::SystemTime::UNIX_EPOCH,
        "lab",
        crate::EventKind::Started,
        crate::EventOrigin::Own,
    );
    let samples = [
        serde_json::to_string(&config),
        serde_json::to_string(&instance),
        serde_json::to_string(&snapshot),
        serde_json::to_string(&event),
    ];
    Hostile::new(samples.map(Result::unwrap)).check(|body| {
        let refused = |error: serde_json::Error| Error::protocol(error.to_string());
        if let Ok(config) = serde_json::from_slice::<InstanceConfig>(body) {
            let _ = config.validate();
        }
        let _ = serde_json::from_slice::<ResourceLimits>(body).map(|limits| limits.validate());
        let _ = (serde_json::from_slice::<Snapshot>(body), serde_json::from_slice::<Event>(body));
        serde_json::from_slice::<Instance>(body).map_err(refused)
    });
}

#[test]
fn data_for_cloud_init() {
    Hostile::new(["#cloud-config\npackages: [nginx]\n", "#!/bin/sh\necho x\n"])
        .check_text(|text| CloudInit::new(text).validate());
}
