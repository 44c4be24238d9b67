use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::*;
use crate::capability::Capabilities;
use crate::descriptor::Descriptor;
use crate::error::Error;
use crate::event::EventOrigin;
use crate::name::InstanceName;
use crate::resource::ResourceLimits;

/// A source of answers that counts how often it was asked.
struct Source {
    cache: Cache,
    descriptor: Arc<Descriptor>,
    name: InstanceName,
    asked: AtomicUsize,
}

impl Source {
    fn new(settings: CacheSettings) -> Self {
        Self {
            cache: Cache::new(settings),
            descriptor: Arc::new(Descriptor::new("test", "test", [], Capabilities::all())),
            name: "web".parse().unwrap(),
            asked: AtomicUsize::new(0),
        }
    }

    fn call(&self, operation: Operation) -> Call<'_> {
        Call::new(operation, Target::Instance(&self.name), &self.descriptor)
    }

    async fn through<T: Send + 'static>(&self, operation: Operation, next: impl Next<T>) -> Result<T> {
        self.cache.around(&self.call(operation), &next).await
    }

    /// Reads limits; the n-th real answer has n MiB.
    async fn read(&self) -> u64 {
        let limits = self.through(Operation::GetResourceLimits, || async { Ok(self.answer()) });
        limits.await.unwrap().memory_mb.unwrap()
    }

    fn answer(&self) -> ResourceLimits {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) as u64 + 1;
        ResourceLimits { memory_mb: Some(number), ..ResourceLimits::default() }
    }

    async fn change(&self, result: Result<()>) {
        let result = &result;
        let _ = self.through(Operation::SetResourceLimits, || async move { result.clone() }).await;
    }
}

fn source() -> Source {
    Source::new(CacheSettings::default())
}

#[tokio::test(start_paused = true)]
async fn a_second_read_within_the_time_to_live_is_answered_from_memory() {
    let source = source();
    assert_eq!((source.read().await, source.read().await), (1, 1));
    let metrics = source.cache.metrics();
    assert_eq!((metrics.cache_hits, metrics.cache_misses), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn after_the_time_to_live_it_is_asked_again() {
    let source = source();
    source.read().await;
    tokio::time::advance(source.cache.shared.settings.instance).await;
    assert_eq!(source.read().await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_own_change_is_seen_by_the_next_read_whatever_its_result() {
    let source = source();
    source.read().await;
    source.change(Ok(())).await;
    assert_eq!(source.read().await, 2);
    source.change(Err(Error::timeout("lost"))).await;
    assert_eq!(source.read().await, 3);
}

#[tokio::test(start_paused = true)]
async fn fresh_work_gets_nothing_that_was_kept_before_it_and_reads_the_same_thing_once() {
    let source = source();
    source.read().await;
    assert_eq!(fresh(async { (source.read().await, source.read().await) }).await, (2, 2));
    assert_eq!(source.read().await, 2, "what it read is kept for others");
    assert_eq!(fresh(fresh(source.read())).await, 3);
}

#[tokio::test(start_paused = true)]
async fn fresh_work_does_not_wait_for_a_read_that_was_under_way() {
    let source = source();
    let (in_read, finish_read) = (Notify::new(), Notify::new());
    let slow_read = source.through(Operation::GetResourceLimits, || async {
        let old = source.answer();
        in_read.notify_one();
        finish_read.notified().await;
        Ok(old)
    });
    let fresh_read = async {
        in_read.notified().await;
        let value = fresh(source.read()).await;
        finish_read.notify_one();
        value
    };
    let (old, value) = tokio::join!(slow_read, fresh_read);
    assert_eq!((old.unwrap().memory_mb, value), (Some(1), 2));
    assert_eq!(source.read().await, 2, "the older answer takes nothing back");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_overlaps_a_change_is_not_kept() {
    let source = source();
    let (in_change, finish_change) = (Notify::new(), Notify::new());
    let change = source.through(Operation::SetResourceLimits, || async {
        in_change.notify_one();
        finish_change.notified().await;
        Ok(())
    });
    let read_during = async {
        in_change.notified().await;
        let value = source.read().await;
        finish_change.notify_one();
        value
    };
    let (changed, during) = tokio::join!(change, read_during);
    changed.unwrap();
    assert_eq!((during, source.read().await), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_a_change_is_not_given_to_one_that_began_after() {
    let source = source();
    let (in_read, finish_read) = (Notify::new(), Notify::new());
    let slow_read = source.through(Operation::GetResourceLimits, || async {
        let old = source.answer();
        in_read.notify_one();
        finish_read.notified().await;
        Ok(old)
    });
    let change_and_read = async {
        in_read.notified().await;
        source.change(Ok(())).await;
        let new = source.read().await;
        finish_read.notify_one();
        new
    };
    let (old, new) = tokio::join!(slow_read, change_and_read);
    assert_eq!((old.unwrap().memory_mb, new), (Some(1), 2));
    assert_eq!(source.read().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_change_forgets_too() {
    let source = source();
    let change = source.through(Operation::SetResourceLimits, std::future::pending::<Result<()>>);
    let read_then_drop = async {
        assert_eq!(source.read().await, 1);
    };
    tokio::select! {
        biased;
        _ = change => unreachable!(),
        () = read_then_drop => {}
    }
    assert_eq!(source.read().await, 2);
}

#[tokio::test(start_paused = true)]
async fn equal_reads_at_once_make_one_call() {
    let source = source();
    let release = Notify::new();
    let slow = || async {
        let answer = source.answer();
        release.notified().await;
        Ok(answer)
    };
    let reads = join_all((0..1000).map(|_| source.through(Operation::GetResourceLimits, slow)));
    let (answers, ()) = tokio::join!(reads, async { release.notify_one() });
    assert!(answers.into_iter().all(|answer| answer.unwrap().memory_mb == Some(1)));
    assert_eq!(source.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_to_all_who_waited_and_not_kept() {
    let source = source();
    let release = Notify::new();
    let asked = AtomicUsize::new(0);
    let failing = || async {
        asked.fetch_add(1, Ordering::Relaxed);
        release.notified().await;
        Err::<ResourceLimits, _>(Error::unavailable("down"))
    };
    let reads = join_all((0..100).map(|_| source.through(Operation::GetResourceLimits, failing)));
    let (answers, ()) = tokio::join!(reads, async { release.notify_one() });
    assert!(answers.into_iter().all(|answer| answer.is_err()));
    assert_eq!(asked.into_inner(), 1);
    assert_eq!(source.read().await, 1);
}

#[tokio::test(start_paused = true)]
async fn when_the_first_reader_is_dropped_the_next_takes_over() {
    let source = source();
    {
        let mut first = std::pin::pin!(
            source.through(Operation::GetResourceLimits, std::future::pending::<Result<ResourceLimits>>)
        );
        assert!(tokio::time::timeout(Duration::ZERO, first.as_mut()).await.is_err());
    }
    assert_eq!(source.read().await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_observed_event_forgets_and_a_command_does_not() {
    let source = source();
    let event = |kind| Event::new(SystemTime::UNIX_EPOCH, "test", kind, EventOrigin::Observed);
    source.read().await;
    source.cache.observe(&event(EventKind::CommandExecuted));
    assert_eq!(source.read().await, 1);
    source.cache.observe(&event(EventKind::Stopped));
    assert_eq!(source.read().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_tells_its_age() {
    let source = source();
    let age =
        || source.cache.age(Operation::GetResourceLimits, Target::Instance(&source.name), &source.descriptor);
    assert_eq!(age(), None);
    source.read().await;
    tokio::time::advance(Duration::from_millis(700)).await;
    assert_eq!(age(), Some(Duration::from_millis(700)));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_answers_is_bounded() {
    let source = Source::new(CacheSettings { max_entries: 10, ..CacheSettings::default() });
    for number in 0..100 {
        let name: InstanceName = format!("i{number}").parse().unwrap();
        let call = Call::new(Operation::GetResourceLimits, Target::Instance(&name), &source.descriptor);
        source.cache.around(&call, &|| async { Ok(source.answer()) }).await.unwrap();
        assert!(source.cache.len() <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_of_zero_keeps_nothing() {
    let source = Source::new(CacheSettings { instance: Duration::ZERO, ..CacheSettings::default() });
    assert_eq!((source.read().await, source.read().await), (1, 2));
    assert!(source.cache.is_empty());
}
