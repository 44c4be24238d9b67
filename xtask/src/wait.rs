//! Waiting for something outside this process that sends no notice.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until `condition` holds (`true`) or the time is over (`false`).
pub fn until(patience: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        sleep(PAUSE);
    }
}
