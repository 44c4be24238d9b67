//! One answer for many callers: a thousand of them ask for the same list at once, and the server has few workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use substrate_core::Result;

/// The last answer, and how many questions were asked.
#[derive(Debug)]
pub(super) struct Coalesced<T> {
    asked: AtomicU64,
    /// Held by the caller who asks.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<(u64, Arc<T>)>>,
}

impl<T> Default for Coalesced<T> {
    fn default() -> Self {
        Self { asked: AtomicU64::new(0), turn: tokio::sync::Mutex::default(), last: Mutex::default() }
    }
}

impl<T> Coalesced<T> {
    /// An answer to a question that was asked after this call: never one that is older than the caller.
    pub(super) async fn get<F: Future<Output = Result<T>>>(&self, ask: impl FnOnce() -> F) -> Result<Arc<T>> {
        let before = self.asked.load(Ordering::SeqCst);
        let _turn = self.turn.lock().await;
        {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((number, answer)) = &*last
                && *number > before
            {
                return Ok(answer.clone());
            }
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = Arc::new(ask().await?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_at_once_share_two_questions_and_nobody_gets_an_old_answer() {
        let view = Coalesced::<u64>::default();
        let asked = AtomicU64::new(0);
        let ask = || async {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(number)
        };
        let late = async {
            // In the middle of the first question: its answer is older than this caller.
            tokio::time::sleep(Duration::from_millis(500)).await;
            view.get(ask).await
        };
        let (many, late) = tokio::join!(join_all((0..100).map(|_| view.get(ask))), late);
        assert!(many.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(*late.unwrap(), 1);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(*view.get(ask).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_gives_up_holds_nobody() {
        let view = Coalesced::<u64>::default();
        let hangs = || std::future::pending::<Result<u64>>();
        assert!(tokio::time::timeout(Duration::from_secs(1), view.get(hangs)).await.is_err());
        assert_eq!(*view.get(|| async { Ok(7) }).await.unwrap(), 7);
    }
}
