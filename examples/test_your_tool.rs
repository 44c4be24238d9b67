//! A little tool, and its tests against the in-memory substrate: no daemon, no waiting, every failure at will.
//!
//! ```text
//! cargo run --example test_your_tool
//! cargo test --example test_your_tool
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use substrates::config::Config;
use substrates::{
    Error, InstanceConfig, InstanceFilter, InstanceName, InstanceState, Result, StopMode, Substrate,
    SubstrateExt,
};

/// Restarts every instance with this role, one after the other, so that all but one are up at any time. Returns
/// how many were restarted.
///
/// Ends at the first that does not come back, and does not begin (or go on) while another one is down: then
/// a restart would be a second outage.
async fn rolling_restart(substrate: &dyn Substrate, role: &str, patience: Duration) -> Result<usize> {
    let of_role = InstanceFilter::all().with_label("role", role);
    let names: Vec<InstanceName> =
        substrate.list_instances(&of_role).await?.iter().map(|instance| instance.name.clone()).collect();
    for name in &names {
        let instances = substrate.list_instances(&of_role).await?;
        if let Some(down) = instances.iter().find(|instance| instance.state != InstanceState::Running) {
            return Err(Error::conflict(format!(
                "`{}` is {}, so `{name}` must stay up",
                down.name, down.state
            )));
        }
        // Not `restart_instance`: when its answer is lost, nothing tells one restart from two, so no layer
        // repeats it. A stop and a start may be repeated, and the standard stack does.
        substrate.stop_instance(name, StopMode::default()).await?;
        substrate.start_instance(name).await?;
        substrate.wait_for_state(name, InstanceState::Running, patience).await?;
    }
    Ok(names.len())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let stack = substrates::registry().open(&Config::default(), "fake")?;
    let substrate = stack.substrate();
    substrate.ensure_connected().await?;
    for name in ["web-1", "web-2", "web-3"] {
        let config = InstanceConfig::new(name.parse()?).with_image("busybox:local").with_label("role", "web");
        substrate.create_and_start(&config).await?;
    }
    let restarted = rolling_restart(&*substrate, "web", Duration::from_secs(30)).await?;
    println!("{restarted} instances were restarted, one at a time");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, StreamExt};
    use substrates::fake::{Fake, Fault};
    use substrates::layer::{Stack, StackSettings};
    use substrates::{ErrorKind, EventKind, Operation, WatchItem, WatchOptions, WatchStream};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Three instances of the role and one of another, all running; nothing has gone wrong yet.
    async fn facility(seed: u64) -> Fake {
        let fake = Fake::builder().seed(seed).build();
        for (name, role) in [("db", "db"), ("web-1", "web"), ("web-2", "web"), ("web-3", "web")] {
            let config = InstanceConfig::new(name.parse().unwrap()).with_image("busybox:local");
            fake.create_and_start(&config.with_label("role", role)).await.unwrap();
        }
        fake.clear_calls();
        fake
    }

    /// What the tool asked this operation for, in order.
    fn asked(fake: &Fake, operation: Operation) -> Vec<String> {
        let calls = fake.calls();
        calls.iter().filter(|call| call.operation == operation).map(|call| call.target().to_owned()).collect()
    }

    async fn events(fake: &Fake) -> WatchStream {
        fake.watch(&WatchOptions::from_now()).await.unwrap()
    }

    /// How many outages there were, and how many of them at the same time.
    fn outages(mut events: WatchStream) -> (usize, usize) {
        let (mut all, mut down, mut most) = (0, 0, 0_usize);
        while let Some(Some(item)) = events.next().now_or_never() {
            let WatchItem::Event { event, .. } = item.unwrap() else { panic!("events are missing") };
            match event.kind {
                EventKind::Stopped => (all, down) = (all + 1, down + 1),
                EventKind::Started => down -= 1,
                _ => {}
            }
            most = most.max(down);
        }
        (all, most)
    }

    #[tokio::test(start_paused = true)]
    async fn every_instance_of_the_role_is_restarted_and_no_other() {
        let fake = facility(0).await;
        assert_eq!(rolling_restart(&fake, "web", PATIENCE).await.unwrap(), 3);
        assert_eq!(asked(&fake, Operation::StopInstance), ["web-1", "web-2", "web-3"]);
        assert_eq!(asked(&fake, Operation::StartInstance), ["web-1", "web-2", "web-3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_one_is_down_at_any_time() {
        let fake = facility(0).await;
        let events = events(&fake).await;
        rolling_restart(&fake, "web", PATIENCE).await.unwrap();
        assert_eq!(outages(events), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_back_ends_the_roll() {
        let fake = facility(0).await;
        fake.inject(Fault::error(ErrorKind::Exhausted).on(Operation::StartInstance).instance("web-2"));
        assert!(rolling_restart(&fake, "web", PATIENCE).await.unwrap_err().is_exhausted());
        assert_eq!(asked(&fake, Operation::StopInstance), ["web-1", "web-2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_touched_while_another_one_is_down() {
        let fake = facility(0).await;
        fake.stop_instance(&"web-3".parse().unwrap(), StopMode::Force).await.unwrap();
        fake.clear_calls();
        assert!(rolling_restart(&fake, "web", PATIENCE).await.unwrap_err().is_conflict());
        assert!(asked(&fake, Operation::StopInstance).is_empty());
    }

    /// The stop is done and its answer is lost: the stack asks again, and that is no second outage.
    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_no_second_outage() {
        let fake = facility(0).await;
        let events = events(&fake).await;
        fake.inject(Fault::answer_lost().on(Operation::StopInstance).instance("web-2"));
        let stack = Stack::standard(Arc::new(fake.clone()), &StackSettings::default()).unwrap();
        assert_eq!(rolling_restart(&*stack.substrate(), "web", PATIENCE).await.unwrap(), 3);
        assert_eq!(asked(&fake, Operation::StopInstance), ["web-1", "web-2", "web-2", "web-3"]);
        assert_eq!(outages(events), (3, 1));
    }

    /// Three hours, in no time: the clock is paused, and jumps to where somebody waits for.
    #[tokio::test(start_paused = true)]
    async fn slow_starts_are_waited_for_one_after_the_other() {
        let fake = facility(0).await;
        let hour = Duration::from_secs(3600);
        fake.inject(Fault::latency(hour).on(Operation::StartInstance).every());
        let begin = Instant::now();
        rolling_restart(&fake, "web", PATIENCE).await.unwrap();
        assert!((hour * 3..hour * 4).contains(&begin.elapsed()));
    }

    /// Two hundred bad days, each of which can be had again by its seed.
    #[tokio::test(start_paused = true)]
    async fn whatever_goes_wrong_at_most_one_is_down() {
        for seed in 0..200 {
            let fake = facility(seed).await;
            let events = events(&fake).await;
            fake.inject(Fault::error(ErrorKind::Unavailable).probability(0.05));
            fake.inject(Fault::answer_lost().probability(0.05));
            let result = rolling_restart(&fake, "web", PATIENCE).await;
            let (all, most) = outages(events);
            assert!(most <= 1 && all <= 3, "seed {seed}: {all} outages, {most} at once, {result:?}");
        }
    }
}
