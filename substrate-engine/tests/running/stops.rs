//! A stop that a killed run had begun, on a technology that shows it and lets nothing be changed in its middle.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use substrate_core::layer::{Call, Interceptor, Next, StackBuilder};
use substrate_core::{Error, Instance, InstanceState, Operation, Result, Substrate};
use substrate_engine::{JournalStore, RunOptions};

use super::lab::{Lab, engine, parse};

/// Instances are stopping from a word on, until somebody stops them to the end.
#[derive(Debug, Default)]
struct Stopping(Arc<AtomicBool>);

impl Interceptor for Stopping {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        let is_stopping = || self.0.load(Ordering::SeqCst);
        match call.operation {
            Operation::SetResourceLimits | Operation::StartInstance if is_stopping() => {
                return Err(Error::conflict("the instance is stopping"));
            }
            Operation::StopInstance => self.0.store(false, Ordering::SeqCst),
            _ => {}
        }
        let mut answer = next.run().await?;
        if is_stopping() {
            show(&mut answer);
        }
        Ok(answer)
    }
}

/// What is told of an instance, alone or in a list.
fn show<T: 'static>(answer: &mut T) {
    let answer: &mut dyn Any = answer;
    if let Some(instance) = answer.downcast_mut::<Arc<Instance>>() {
        Arc::make_mut(instance).state = InstanceState::Stopping;
    } else if let Some(instances) = answer.downcast_mut::<Vec<Arc<Instance>>>() {
        instances.iter_mut().for_each(|instance| Arc::make_mut(instance).state = InstanceState::Stopping);
    }
}

fn web(specs: &str) -> String {
    format!("name: shop\nresources: [{{type: compute, name: web, specs: {{image: busybox:local, {specs}}}}}]")
}

#[tokio::test(start_paused = true)]
async fn what_an_interrupted_run_has_begun_to_stop_is_let_down_before_it_is_changed() {
    let lab = Lab::new().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let shown: Arc<dyn Substrate> = lab.fake.clone();
    let shown = StackBuilder::new(shown).layer(Stopping(stopping.clone())).build().unwrap().substrate();
    let engine = engine(shown, &JournalStore::memory()).await;
    for (specs, megabytes) in [("memory: 64MiB", 64), ("memory: 96MiB", 96)] {
        let report = engine.deploy(&parse(&engine, &web(specs)), &RunOptions::default()).await.unwrap();
        assert!(report.is_done(), "{report}");
        assert_eq!(lab.instances().await[0].limits.memory_mb, Some(megabytes));
        assert_eq!(lab.running().await, ["web"]);
        stopping.store(true, Ordering::SeqCst);
    }
}
