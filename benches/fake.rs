//! What calls on the fake cost: one instance, and a list of ten thousand.

#![allow(clippy::indexing_slicing, reason = "a measurement that is missing must end the program")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use substrates::fake::Fake;
use substrates::layer::{Stack, StackSettings};
use substrates::{InstanceConfig, InstanceFilter, InstanceName, Substrate};
use substrates_benches::{Promises, candidate, measure, say};

const MANY: usize = 10_000;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let fill = |count: usize| -> Result<Arc<dyn Substrate>, Box<dyn Error>> {
        let fake = Fake::new("fake");
        runtime.block_on(async {
            fake.connect().await?;
            for number in 0..count {
                let config =
                    InstanceConfig::new(format!("i{number:05}").parse()?).with_image("busybox:local");
                fake.create_instance(&config).await?;
            }
            Ok::<_, substrates::Error>(())
        })?;
        Ok(Arc::new(fake))
    };
    let (few, many) = (fill(MANY / 10)?, fill(MANY)?);
    let stack = Stack::standard(many.clone(), &StackSettings::default())?.substrate();
    let (few, many, stack) = (&few, &many, &stack);
    let name: InstanceName = "i00042".parse()?;
    let name = &name;
    let (all, one) = (InstanceFilter::all(), InstanceFilter::all().with_name_prefix("i00042"));
    let (all, one) = (&all, &one);

    measure(
        "one of 10,000 instances",
        20,
        1_000,
        &[
            candidate(&runtime, "get_instance", || many.get_instance(name)),
            candidate(&runtime, "get_instance, cached", || stack.get_instance(name)),
        ],
    );
    let lists = measure(
        "lists",
        10,
        20,
        &[
            candidate(&runtime, "1,000 instances", || few.list_instances(all)),
            candidate(&runtime, "10,000 instances", || many.list_instances(all)),
            candidate(&runtime, "10,000 instances, cached", || stack.list_instances(all)),
            candidate(&runtime, "1 selected of 10,000", || many.list_instances(one)),
        ],
    );

    say("\npromises");
    let mut promises = Promises::default();
    let growth = lists[1].nanoseconds / lists[0].nanoseconds;
    let text = format!("ten times the instances take {growth:.1} times as long to list; at most 30");
    promises.check(&text, growth <= 30.0);
    Ok(promises.conclude())
}
