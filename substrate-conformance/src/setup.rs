//! What the suite is told about a substrate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use substrate_core::Substrate;

use crate::guest::Guest;

/// A substrate, and what the suite needs to know to try it out.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setup {
    /// What is certified.
    pub substrate: Arc<dyn Substrate>,
    /// The image that instances are made from; it is at hand.
    pub image: String,
    /// What can be run in it.
    pub guest: Guest,
    /// An image that exists nowhere; trials that need one are skipped without.
    pub missing_image: Option<String>,
    /// A file on this machine that is an image, by its absolute path; trials that need one are skipped without.
    pub image_file: Option<String>,
    /// The first two numbers of the subnets that the suite may use: `(10, 210)` for `10.210.0.0/16`.
    pub subnets: (u8, u8),
    /// Whether networks have subnets of their own [default: yes]. Where they have none, naming one is refused.
    pub network_subnets: bool,
    /// Whether an instance can be stopped [default: yes]. Without it, it runs from its creation to its deletion.
    pub stops: bool,
    /// Whether the log of an instance stays when it is stopped [default: yes].
    pub logs_of_stopped: bool,
    /// How long one trial may take [default: 120 s].
    pub trial_deadline: Duration,
    /// How long a trial waits for what must come soon: an event, a log line, a measurement [default: 20 s].
    pub patience: Duration,
    /// How long a guest may take that heeds a request to stop: one that boots first takes longer [default: 10 s].
    pub grace: Duration,
    /// How much a command writes on each stream where a trial wants much [default: 64 MiB]; an eighth of it
    /// is what a command reads there.
    pub large_output: usize,
    /// How many calls are made at once where a trial wants many [default: 1,000].
    pub many_calls: usize,
    /// Whether nobody else uses this substrate during the run. Then whatever is new afterwards was left
    /// behind, also what carries neither name nor mark of the run, such as an image without a name. That is
    /// told and not removed.
    pub exclusive: bool,
}

impl Setup {
    /// A setup with defaults for everything else.
    pub fn new(substrate: Arc<dyn Substrate>, image: impl Into<String>, guest: Guest) -> Self {
        Self {
            substrate,
            image: image.into(),
            guest,
            missing_image: None,
            image_file: None,
            subnets: (10, 210),
            network_subnets: true,
            stops: true,
            logs_of_stopped: true,
            trial_deadline: Duration::from_secs(120),
            patience: Duration::from_secs(20),
            grace: Duration::from_secs(10),
            large_output: 64 << 20,
            many_calls: 1_000,
            exclusive: false,
        }
    }

    /// Names an image that exists nowhere.
    #[must_use]
    pub fn with_missing_image(mut self, image: impl Into<String>) -> Self {
        self.missing_image = Some(image.into());
        self
    }

    /// Names a file on this machine that is an image, by its absolute path. It holds what `image` holds, as far as
    /// the guest goes, and the substrate keeps it after the run.
    #[must_use]
    pub fn with_image_file(mut self, path: impl Into<String>) -> Self {
        self.image_file = Some(path.into());
        self
    }

    /// Sets the subnets that the suite may use.
    #[must_use]
    pub fn with_subnets(mut self, first: u8, second: u8) -> Self {
        self.subnets = (first, second);
        self
    }

    /// Says that networks have no subnets of their own.
    #[must_use]
    pub fn without_subnets(mut self) -> Self {
        self.network_subnets = false;
        self
    }

    /// Says that an instance runs from its creation to its deletion: it cannot be stopped, and says so.
    #[must_use]
    pub fn without_stops(mut self) -> Self {
        self.stops = false;
        self
    }

    /// Says that the log of an instance goes when it is stopped.
    #[must_use]
    pub fn without_logs_of_stopped(mut self) -> Self {
        self.logs_of_stopped = false;
        self
    }

    /// Bounds each trial.
    #[must_use]
    pub fn with_trial_deadline(mut self, deadline: Duration) -> Self {
        self.trial_deadline = deadline;
        self
    }

    /// Sets how long a trial waits for what must come soon.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long a guest may take that heeds a request to stop.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how much a command writes where a trial wants much, per stream.
    #[must_use]
    pub fn with_large_output(mut self, bytes: usize) -> Self {
        self.large_output = bytes;
        self
    }

    /// Sets how many calls are made at once where a trial wants many.
    #[must_use]
    pub fn with_many_calls(mut self, calls: usize) -> Self {
        self.many_calls = calls;
        self
    }

    /// Says that nobody else uses this substrate during the run.
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Setup")
            .field("substrate", &self.substrate.descriptor().name)
            .field("image", &self.image)
            .field("guest", &self.guest)
            .finish_non_exhaustive()
    }
}
