//! The server's clock: faster than ours, so that its seconds cost milliseconds.

use std::time::Duration;

use tokio::time::Instant;

/// When the server's clock began: 2026-11-21 00:00:00.
const EPOCH: f64 = 1_795_219_200.0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    begin: Instant,
    /// Our seconds per second of the server's.
    scale: f64,
}

impl Clock {
    pub(crate) fn new(scale: f64) -> Self {
        Self { begin: Instant::now(), scale }
    }

    /// Seconds since 1970 on the server's clock.
    pub(crate) fn now(&self) -> f64 {
        EPOCH + self.begin.elapsed().as_secs_f64() / self.scale
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.now() as u64
    }

    pub(crate) fn real(&self, server_seconds: f64) -> Duration {
        Duration::from_secs_f64((server_seconds * self.scale).max(0.0))
    }

    /// Waits so many of the server's seconds.
    pub(crate) async fn sleep(&self, server_seconds: f64) {
        tokio::time::sleep(self.real(server_seconds)).await;
    }

    /// The `Date` of an answer.
    pub(crate) fn date(&self) -> String {
        let total = self.seconds();
        let (days, rest) = (total / 86_400, total % 86_400);
        // Civil date from days since 1970.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let of_era = shifted - era * 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        format!(
            "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
            DAYS[(days % 7) as usize],
            MONTHS[(month - 1) as usize],
            rest / 3600,
            rest % 3600 / 60,
            rest % 60
        )
    }
}
