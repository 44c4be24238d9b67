//! Documents and journals that nobody writes: real ones, damaged. Whatever comes, it is read or refused.

use std::time::SystemTime;

use substrate_conformance::hostile::Hostile;
use substrate_core::config::{ConfigError, Environment};
use substrate_core::{Capabilities, Descriptor, InstanceKind};

use crate::journal::{JournalState, Made, Owner, Purpose, Record, RunStatus};
use crate::model::{Address, Name, ResourceId, Version};
use crate::plan::{RecordedResource, StepAction};
use crate::{Desired, Facilities, Reader, Rules, Selector, validate};

const BLUEPRINT: &str = include_str!("../tests/fixtures/simple-web-app.yaml");

/// Variables, references, counts and both of the other forms.
const FORMS: &str = "name: shop\nvariables: {size: 4, image: {default: busybox}}\nresources:\n\
    \x20 - {type: compute, name: web, count: 2, specs: {cpu: '${var.size}', memory: 64MiB, image: '${var.image}'}}\n\
    \x20 - {type: compute, name: db, specs: {image: x, environment: {HOST: '${web.address}', DEEP: '$${x}'}}, dependencies: [web]}\n\
    ---\nkind: SystemBlueprint\nmetadata: {name: other}\nspec: {resources: [{kind: ComputeNode, metadata: {name: one}, spec: {image: x}}]}\n\
    ---\nkind: StorageVolume\nmetadata: {name: data}\nspec: {size: 1GiB}\n";

fn facilities() -> Facilities {
    let everything = Capabilities::all();
    Facilities::from_iter([Descriptor::new("fake", "fake", [InstanceKind::Container], everything)])
}

fn checked(text: &str) -> Result<Desired, ConfigError> {
    let environment = Environment::from_iter([("TOKEN", "hunter2")]);
    let documents = Reader::new().text("shop.yaml", text).environment(environment).read();
    validate(&documents, &Rules::standard(), &facilities())
}

/// In a report each problem has a line of its own; each of them must be one that a person reads.
fn first_of(error: &ConfigError) -> String {
    for problem in error.problems() {
        let line = problem.to_string();
        assert!(line.len() <= 8_192 && !line.contains('\n'), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
    error.summary()
}

#[test]
fn documents_of_every_form() {
    checked(BLUEPRINT).unwrap();
    // A resource of a few letters becomes one with all that is known of it.
    Hostile::new([BLUEPRINT, FORMS]).memory_factor(4_096).check_text(|text| {
        let desired = checked(text).map_err(|error| first_of(&error))?;
        Ok::<_, String>(desired.resources().len())
    });
}

#[test]
fn variables_and_references() {
    let corpus = [
        "${var.size}",
        "${web.address}-${db[0].id}",
        "$${not} ${var.image}",
        "a ${var.size} b ${web.outputs.url}",
    ];
    Hostile::new(corpus).memory_factor(4_096).check_text(|text| {
        let quoted = serde_json::to_string(text).unwrap();
        let document = format!(
            "name: shop\nvariables: {{size: 4, image: x}}\nresources:\n  - {{type: compute, name: web, specs: {{image: x}}}}\n  \
             - {{type: compute, name: db, specs: {{image: {quoted}}}}}\n"
        );
        checked(&document).map_err(|error| first_of(&error))
    });
}

#[test]
fn names_versions_and_selections() {
    Hostile::new(["web-1", "shop.web", "shop.web[3]", "shop.*", "module.shop.web[\"a\"]"]).check_text(
        |text| {
            let _ = (text.parse::<Name>(), text.parse::<Address>().map(|address| address.to_string()));
            if let Ok(id) = text.parse::<ResourceId>() {
                assert_eq!(id.to_string().parse::<ResourceId>().unwrap(), id);
            }
            text.parse::<Selector>().map(drop)
        },
    );
    Hostile::new(["1.0", "2.10.3", "1.0.0-rc.1"]).check_text(str::parse::<Version>);
}

fn journal() -> Vec<u8> {
    let desired = checked(BLUEPRINT).unwrap();
    let mut records = vec![
        Record::Founded { format: 1, identity: "shop.0123456789abcdef".to_owned() },
        Record::Acquired { owner: Owner::this_process() },
        Record::Began { run: 1, purpose: Purpose::Deploy, steps: 4, at: SystemTime::UNIX_EPOCH },
    ];
    for one in desired.resources() {
        let resource = one.id.clone();
        let next = Some(RecordedResource::of(one).into());
        records.push(Record::Intended { resource: resource.clone(), action: StepAction::Create, next });
        records.push(Record::Progressed { resource: resource.clone(), directive: 1 });
        records.push(Record::Finished { resource, made: Some(Made::default()) });
    }
    records.push(Record::Ended { status: RunStatus::Done });
    records.push(Record::Released);
    records.iter().flat_map(|record| serde_json::to_vec(record).unwrap().into_iter().chain([b'\n'])).collect()
}

fn replayed(content: &[u8]) -> Result<JournalState, String> {
    let mut state = JournalState::default();
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // As the store says it.
        let damaged = |why: String| substrate_core::Error::protocol(why).to_string();
        let record: Record = serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        state.apply(&record).map_err(|error| damaged(error.to_string()))?;
    }
    Ok(state)
}

#[test]
fn journals_read_back_from_damaged_bytes() {
    let journal = journal();
    assert_eq!(replayed(&journal).unwrap().last_run(), 1);
    Hostile::new([&journal]).memory_factor(2_048).check(replayed);
}

#[test]
fn states_read_back_from_damaged_bytes() {
    let state = serde_json::to_vec(&replayed(&journal()).unwrap()).unwrap();
    Hostile::new([&state]).memory_factor(2_048).check(|body| {
        let mut state: JournalState = serde_json::from_slice(body)
            .map_err(|error| substrate_core::Error::protocol(error.to_string()).to_string())?;
        for record in [
            Record::Acquired { owner: Owner::this_process() },
            Record::Began { run: 2, purpose: Purpose::Destroy, steps: 1, at: SystemTime::UNIX_EPOCH },
            Record::Ended { status: RunStatus::Failed },
        ] {
            state.apply(&record).map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(())
    });
}

#[test]
fn a_run_behind_the_last_number_is_refused() {
    let mut state = serde_json::to_value(replayed(&journal()).unwrap()).unwrap();
    state["runs"][0]["number"] = u64::MAX.into();
    let mut state: JournalState = serde_json::from_value(state).unwrap();
    state.apply(&Record::Acquired { owner: Owner::this_process() }).unwrap();
    let next = Record::Began { run: 0, purpose: Purpose::Deploy, steps: 0, at: SystemTime::UNIX_EPOCH };
    assert!(state.apply(&next).unwrap_err().to_string().contains("in order"));
}
