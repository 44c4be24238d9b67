//! Whose things are: marks, names that carry them, and what belongs to others.

use std::sync::Arc;

use substrate_core::{Feature, InstanceConfig, Operation, Substrate};
use substrate_engine::{Engine, JournalStore, RunOptions, SweepMode, Verdict};
use substrate_fake::{Fake, Fault};

use super::lab::{Lab, engine, name, parse, steps};

const WEB: &str = "name: shop\nresources: [{type: compute, name: web, specs: {image: busybox:local}}]";

fn config(name: &str) -> InstanceConfig {
    InstanceConfig::new(name.parse().unwrap()).with_image("busybox:local")
}

#[tokio::test(start_paused = true)]
async fn what_others_made_is_refused_before_anything_is_done() {
    let lab = Lab::new().await;
    let stranger = lab.fake.create_instance(&config("web")).await.unwrap();
    let error = lab.try_deploy(WEB).await.unwrap_err();
    assert!(error.to_string().contains("this deployment did not make"), "{error}");
    assert_eq!(lab.instances().await, [stranger]);
}

#[tokio::test(start_paused = true)]
async fn two_deployments_of_one_name_do_not_take_each_others_things() {
    let lab = Lab::new().await;
    lab.deploy(WEB).await;
    let other = engine(lab.fake.clone(), &JournalStore::memory()).await;
    let error = other.deploy(&parse(&other, WEB), &RunOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("this deployment did not make"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_was_taken_off_is_put_back() {
    let lab = Lab::new().await;
    lab.deploy(WEB).await;
    lab.fake.world().remove_label("web", "substrate.deployment").await.unwrap();
    assert_eq!(steps(&lab.plan(WEB).await), ["replace shop/web"]);
    assert!(lab.deploy(WEB).await.is_done());
    assert!(lab.plan(WEB).await.is_empty());
}

/// A substrate without a place for marks.
async fn unmarked() -> Lab {
    let capabilities = Fake::default_capabilities()
        .without(Feature::Labels, "it has none")
        .without(Feature::ResourceLabels, "it has none");
    Lab::over(Arc::new(Fake::builder().name("fake").capabilities(capabilities).build())).await
}

#[tokio::test(start_paused = true)]
async fn without_marks_the_name_tells_whose_it_is() {
    let lab = unmarked().await;
    let text = "name: shop\nresources:\n  - {type: network, name: front}\n  - {type: storage, name: data}\n  - {type: compute, name: web, specs: {image: busybox:local, networks: [front], volumes: ['data:/srv']}}";
    let report = lab.deploy(text).await;
    assert!(report.is_done(), "{report}");
    let web = lab.instances().await[0].clone();
    assert!(
        web.name.as_str().starts_with("web-") && web.name.as_str().len() == "web-".len() + 8,
        "{}",
        web.name
    );
    let networks: Vec<&str> = web.networks.iter().map(|one| one.network_name.as_str()).collect();
    assert!(networks.iter().any(|network| network.starts_with("front-")), "{networks:?}");
    assert!(lab.plan(text).await.is_empty());
    // A stranger of the plain name is nobody's business.
    lab.fake.create_instance(&config("web")).await.unwrap();
    assert!(lab.plan(text).await.is_empty());
    lab.engine.destroy(&[name("shop")], None, &RunOptions::default()).await.unwrap();
    assert_eq!(lab.instances().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_removes_what_its_deployment_does_not_know_and_nothing_else() {
    let lab = Lab::new().await;
    lab.deploy(WEB).await;
    let labels = lab.instances().await[0].labels.clone();
    // As a copy that a call made which came true after all, and one of a deployment that is not ours.
    let mut orphan = config("lost");
    orphan.labels = labels.clone();
    lab.fake.create_instance(&orphan).await.unwrap();
    let mut foreign = config("foreign");
    foreign.labels = labels;
    foreign.labels.insert("substrate.deployment", "elsewhere.0123");
    lab.fake.create_instance(&foreign).await.unwrap();
    lab.fake.create_instance(&config("stranger")).await.unwrap();

    let found = lab.engine.sweep(SweepMode::DryRun).await.unwrap();
    let verdicts: Vec<(&str, &Verdict)> = found.iter().map(|one| (one.name.as_str(), &one.verdict)).collect();
    assert_eq!(verdicts, [("foreign", &Verdict::UnknownDeployment), ("lost", &Verdict::Abandoned)]);
    assert_eq!(lab.instances().await.len(), 4);
    lab.engine.sweep(SweepMode::Remove).await.unwrap();
    let names: Vec<String> = lab.instances().await.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["foreign", "stranger", "web"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_creation_makes_one_instance_and_no_failure() {
    let lab = Lab::new().await;
    lab.fake.inject(Fault::answer_lost().on(Operation::CreateInstance));
    let report = lab.deploy(WEB).await;
    assert!(report.is_done(), "{report}");
    assert_eq!(lab.running().await, ["web"]);
    assert!(lab.plan(WEB).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_new_one_is_there_before_the_old_one_goes_if_that_is_asked_for() {
    let lab = Lab::new().await;
    let text = |command: &str| {
        format!(
            "name: shop\nresources: [{{type: compute, name: web, specs: {{image: busybox:local, command: [serve, {command}]}}, lifecycle: {{create_before_destroy: true}}}}]"
        )
    };
    lab.deploy(&text("one")).await;
    lab.fake.clear_calls();
    let report = lab.deploy(&text("two")).await;
    assert_eq!(report.replaced.len(), 1, "{report}");
    let calls: Vec<Operation> = lab.fake.calls().iter().map(|call| call.operation).collect();
    let position = |wanted| calls.iter().position(|call| *call == wanted).unwrap();
    assert!(position(Operation::CreateInstance) < position(Operation::DeleteInstance));
    assert_eq!(lab.running().await, ["web-next"]);
    assert!(lab.plan(&text("two")).await.is_empty());
    lab.deploy(&text("three")).await;
    assert_eq!(lab.running().await, ["web"]);
}

/// Two engines that share a journal, each of its own process as far as they know.
async fn pair() -> (Arc<Fake>, Engine, Engine) {
    let fake = Arc::new(Fake::new("fake"));
    let journals = JournalStore::memory();
    (fake.clone(), engine(fake.clone(), &journals).await, engine(fake, &journals).await)
}

#[tokio::test(start_paused = true)]
async fn of_two_engines_one_wins_and_the_other_is_told_by_whom() {
    let (fake, first, second) = pair().await;
    // The first is busy for an hour.
    fake.inject(Fault::latency(std::time::Duration::from_secs(3600)).on(Operation::CreateInstance));
    let desired = parse(&first, WEB);
    let options = RunOptions::default();
    let deploying = first.deploy(&desired, &options);
    let waiting = async {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        second.deploy(&desired, &options).await
    };
    let (won, lost) = tokio::join!(deploying, waiting);
    assert!(won.unwrap().is_done());
    let error = lost.unwrap_err().to_string();
    assert!(error.contains("`shop` is being changed by process"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_is_followed_after_its_lease() {
    let (fake, first, second) = pair().await;
    fake.inject(Fault::hang().on(Operation::CreateInstance));
    let desired = parse(&first, WEB);
    let options = RunOptions::default();
    let abandoned = first.deploy(&desired, &options);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(5), abandoned).await.is_err());
    fake.clear_faults();
    let begun = tokio::time::Instant::now();
    assert!(second.deploy(&desired, &options).await.unwrap().is_done());
    assert_eq!(begun.elapsed().as_secs(), 15);
}
