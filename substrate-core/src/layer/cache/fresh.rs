//! Reads that are answered by nothing older than themselves.

use std::sync::atomic::{AtomicU64, Ordering};

/// A place in the order in which reads and fresh work begin. No clock: several things happen in one of its ticks, and
/// a paused one stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Turn {
    pub(super) fn next() -> Self {
        static TURNS: AtomicU64 = AtomicU64::new(0);
        Self(TURNS.fetch_add(1, Ordering::Relaxed))
    }
}

tokio::task_local! {
    static BEGUN: Turn;
}

/// Does `work` with answers that were asked for after it began: what a [`Cache`](super::Cache) kept before is read again,
/// and then kept as ever, so that `work` reads the same thing once. For decisions: natively told changes end a kept
/// answer's life, but not every substrate tells them, and none at once.
///
/// It holds for what `work` itself awaits, not for tasks that it spawns. Without a cache it costs nothing.
///
/// ```
/// # async fn example(substrate: &dyn substrate_core::Substrate) -> substrate_core::Result<()> {
/// use substrate_core::InstanceFilter;
/// use substrate_core::layer::fresh;
///
/// let as_it_is_now = fresh(substrate.list_instances(&InstanceFilter::all())).await?;
/// # Ok(())
/// # }
/// ```
pub async fn fresh<F: Future>(work: F) -> F::Output {
    BEGUN.scope(Turn::next(), work).await
}

/// Whose turn came before this one was not asked for late enough.
pub(super) fn not_before() -> Option<Turn> {
    BEGUN.try_with(|begun| *begun).ok()
}
