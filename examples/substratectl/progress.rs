//! A sign of life for people who wait.

use std::time::Duration;

use indicatif::ProgressBar;

/// Shows on standard error what is being done and for how long, until it is done. Nothing when that is no
/// terminal: the bar knows.
pub(crate) async fn while_waiting<T>(doing: impl Into<String>, work: impl Future<Output = T>) -> T {
    let shown = Shown(ProgressBar::new_spinner().with_message(doing.into()));
    if !shown.0.is_hidden() {
        shown.0.enable_steady_tick(Duration::from_millis(100));
    }
    work.await
}

/// Clears the line however the work ends, also when it is dropped.
struct Shown(ProgressBar);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
