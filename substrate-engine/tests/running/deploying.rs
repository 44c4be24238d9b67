//! Deploying: what is desired is there, and the second time there is nothing to do.

use substrate_core::{Substrate, mark};
use substrate_engine::RunOptions;

use super::lab::{Lab, name, steps};

const SHOP: &str = r"
name: shop
resources:
  - {type: network, name: front}
  - {type: storage, name: data, specs: {size: 1GiB}}
  - {type: compute, name: db, specs: {image: postgres, memory: 512MiB, volumes: ['data:/var/lib'], networks: [front]}}
  - {type: compute, name: web, count: 3, specs: {image: nginx, environment: {DB: '${db.address}:5432'}, networks: [front]}}
  - {type: service, name: cache, specs: {image: redis, replicas: 2}}
";

#[tokio::test(start_paused = true)]
async fn what_is_desired_is_there_and_marked() {
    let lab = Lab::new().await;
    let report = lab.deploy(SHOP).await;
    assert!(report.is_done(), "{report}");
    assert_eq!(report.created.len(), 8);
    assert_eq!(lab.running().await, ["cache-0", "cache-1", "db", "web-0", "web-1", "web-2"]);
    let web = lab.fake.get_instance(&"web-1".parse().unwrap()).await.unwrap();
    assert_eq!(web.labels.get(mark::RESOURCE), Some("shop/web[1]"));
    assert!(web.labels.get(mark::DEPLOYMENT).unwrap().starts_with("shop."));
    assert_eq!(lab.fake.list_volumes().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deploying_twice_is_deploying_once() {
    let lab = Lab::new().await;
    lab.deploy(SHOP).await;
    let before = lab.instances().await;
    assert!(lab.plan(SHOP).await.is_empty(), "{}", lab.plan(SHOP).await);
    let again = lab.deploy(SHOP).await;
    assert_eq!((again.steps_done(), again.unchanged), (0, 8));
    assert_eq!(lab.instances().await, before);
}

#[tokio::test(start_paused = true)]
async fn the_sample_deploys_as_it_stands() {
    let Ok(text) = std::fs::read_to_string("../../shared/samples/simple-web-app.yaml") else { return };
    let lab = Lab::new().await;
    let report = lab.deploy(&text).await;
    assert!(report.is_done() && report.created.len() == 4, "{report}");
    assert!(lab.plan(&text).await.is_empty(), "{}", lab.plan(&text).await);
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_is_set_on_the_same_instance_and_a_changed_image_makes_another() {
    let lab = Lab::new().await;
    lab.deploy(SHOP).await;
    let id = async |name: &str| lab.fake.get_instance(&name.parse().unwrap()).await.unwrap().id.clone();
    let (db, web) = (id("db").await, id("web-0").await);
    let changed = SHOP.replace("512MiB", "1GiB").replace("nginx", "caddy");
    let report = lab.deploy(&changed).await;
    assert!(report.is_done(), "{report}");
    assert_eq!((report.updated.len(), report.replaced.len()), (1, 3));
    assert_eq!(id("db").await, db);
    assert_ne!(id("web-0").await, web);
    assert!(lab.plan(&changed).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_out_of_the_documents_is_removed() {
    let lab = Lab::new().await;
    lab.deploy(SHOP).await;
    let report =
        lab.deploy("name: shop\nresources: [{type: compute, name: db, specs: {image: postgres}}]").await;
    assert!(report.is_done(), "{report}");
    assert_eq!(lab.running().await, ["db"]);
    assert!(lab.fake.list_volumes().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn destroying_leaves_nothing_and_can_be_repeated() {
    let lab = Lab::new().await;
    lab.deploy(SHOP).await;
    let networks = lab.fake.list_networks().await.unwrap().len();
    let report = lab.engine.destroy(&[name("shop")], None, &RunOptions::default()).await.unwrap();
    assert!(report.is_done(), "{report}");
    assert!(lab.instances().await.is_empty());
    assert_eq!(lab.fake.list_networks().await.unwrap().len(), networks - 1);
    let again = lab.engine.destroy(&[name("shop")], None, &RunOptions::default()).await.unwrap();
    assert_eq!(again.steps_done(), 0);
}

#[tokio::test(start_paused = true)]
async fn drift_is_found_and_mended() {
    let lab = Lab::new().await;
    lab.deploy(SHOP).await;
    let parse = |name: &str| name.parse().unwrap();
    lab.fake.delete_instance(&parse("web-0"), true).await.unwrap();
    lab.fake.stop_instance(&parse("web-1"), substrate_core::StopMode::Force).await.unwrap();
    let limits = substrate_core::ResourceLimits { memory_mb: Some(64), ..Default::default() };
    lab.fake.set_resource_limits(&parse("db"), &limits).await.unwrap();
    let plan = lab.plan(SHOP).await;
    let mut found = steps(&plan);
    found.sort();
    assert_eq!(found, ["create shop/web[0]", "update shop/db", "update shop/web[1]"]);
    assert!(lab.deploy(SHOP).await.is_done());
    assert!(lab.plan(SHOP).await.is_empty());
    assert_eq!(lab.running().await.len(), 6);
}
