//! Real answers, damaged: what a parser of foreign input must bear.
//!
//! A parser is given samples of what it reads as they are, and then hundreds of documents made from them:
//! truncated, with bits flipped, parts deleted or twice, numbers too large, negative or none, texts that end
//! things early, values of another type, thousands of levels, thousands of elements. For each of them:
//!
//! * it does not panic, and it ends soon (threads that it starts are not measured, neither their time nor their
//!   memory);
//! * it says what is wrong in a text that a person can read: of [`LONGEST_ERROR`] bytes at most, so never the
//!   document itself;
//! * the memory that it holds at once stays in proportion to the document.
//!
//! A test is one call; what else must hold is asserted in the closure:
//!
//! ```
//! use substrate_conformance::hostile::Hostile;
//!
//! Hostile::new(["2026-11-21", "1970-01-01"]).check(|bytes| {
//!     let text = String::from_utf8_lossy(bytes);
//!     let year = text.split('-').next().unwrap_or_default();
//!     year.parse::<u16>()
//! });
//! ```
//!
//! The documents are the same in each run. `PROPTEST_CASES` says how many there are for each call (256 unless it
//! is set), and `PROPTEST_RNG_SEED` makes others: both together search longer and elsewhere. What fails is
//! reported with the smallest damage that still fails.

mod mutation;
mod words;

use std::any::Any;
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

use mutation::{Mutation, WAYS};
pub use words::words;

/// How long the text of an error may be, in bytes: a message and a hint of 8 KiB, where each line end of the message is
/// shown as three characters.
pub const LONGEST_ERROR: usize = 36 * 1024;
/// How long one document may take, in time of the processor: far more than any takes in an unoptimised build.
const LONGEST_TIME: Duration = Duration::from_secs(5);
/// What may be held besides what grows with the document, in bytes.
const MEMORY: u64 = 256 * 1024;

/// Samples, and what is held against a parser of them.
#[derive(Debug, Clone)]
pub struct Hostile {
    samples: Vec<Vec<u8>>,
    memory_factor: u64,
}

impl Hostile {
    /// Begins with these samples: real ones, one of each shape that the parser knows.
    pub fn new<S: AsRef<[u8]>>(samples: impl IntoIterator<Item = S>) -> Self {
        let samples: Vec<Vec<u8>> = samples.into_iter().map(|sample| sample.as_ref().to_vec()).collect();
        assert!(!samples.is_empty(), "without samples nothing is tried");
        Self { samples, memory_factor: 256 }
    }

    /// Begins with the [`words`]: for what takes any text, as labels do.
    #[must_use]
    pub fn texts() -> Self {
        Self::new(words().iter().map(|word| word.as_bytes()))
    }

    /// How many bytes the parser may hold for each byte of the document: 256 unless it is set. A map of
    /// `serde_json` takes more than a hundred for the smallest object.
    #[must_use]
    pub fn memory_factor(mut self, factor: u64) -> Self {
        self.memory_factor = factor;
        self
    }

    /// Holds a parser against the samples and what is made from them.
    ///
    /// # Panics
    /// With the document and what it led to, where the parser does not bear it.
    #[allow(clippy::panic, reason = "a test's verdict")]
    pub fn check<T, E: Display + Debug>(&self, parse: impl Fn(&[u8]) -> Result<T, E>) {
        for sample in &self.samples {
            if let Err(problem) = self.tried(sample, &parse) {
                panic!("{problem}: {}", shown(sample));
            }
        }
        let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        if config.rng_seed == RngSeed::Random {
            config.rng_seed = RngSeed::Fixed(1);
        }
        let mutation = (0..WAYS.len(), any::<u16>(), any::<u16>())
            .prop_filter_map("a way", |(way, place, choice)| {
                Some(Mutation { way: *WAYS.get(way)?, place, choice })
            });
        let mutations = prop::collection::vec(mutation, 1..4);
        let outcome =
            TestRunner::new(config).run(&(0..self.samples.len(), mutations), |(sample, mutations)| {
                let document = self.damaged(sample, &mutations);
                self.tried(&document, &parse).map_err(TestCaseError::fail)
            });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(problem, (sample, mutations))) => {
                let document = self.damaged(sample, &mutations);
                panic!("{problem}: sample {sample} after {mutations:?}: {}", shown(&document));
            }
            Err(TestError::Abort(problem)) => panic!("{problem}"),
        }
    }

    /// As [`check`](Self::check), for a parser that takes text: what is no UTF-8 is replaced.
    ///
    /// # Panics
    /// With the document and what it led to, where the parser does not bear it.
    pub fn check_text<T, E: Display + Debug>(&self, parse: impl Fn(&str) -> Result<T, E>) {
        self.check(|bytes| parse(&String::from_utf8_lossy(bytes)));
    }

    fn damaged(&self, sample: usize, mutations: &[Mutation]) -> Vec<u8> {
        let sample = self.samples.get(sample).cloned().unwrap_or_default();
        mutations.iter().fold(sample, |document, mutation| mutation.applied(&document))
    }

    fn tried<T, E: Display + Debug>(
        &self,
        document: &[u8],
        parse: &impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<(), String> {
        let mut outcome = None;
        let began = processor_time();
        let memory = allocation_counter::measure(|| {
            // Caught in here: the count would be wrong for good if a panic left it.
            outcome = Some(catch_unwind(AssertUnwindSafe(|| parse(document).map(drop))));
        });
        let took = processor_time().saturating_sub(began);
        match outcome {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(error))) => {
                let (text, debug) = (error.to_string(), format!("{error:?}"));
                if text.trim().is_empty() {
                    return Err("an error says nothing".to_owned());
                }
                // For a programmer what cannot be shown is written as `\u{1}`.
                for (length, longest) in [(text.len(), LONGEST_ERROR), (debug.len(), 6 * LONGEST_ERROR)] {
                    if length > longest {
                        return Err(format!("an error is {length} bytes long, more than {longest}"));
                    }
                }
            }
            Some(Err(panic)) => return Err(format!("it panicked: {}", words_of(panic.as_ref()))),
        }
        let length = u64::try_from(document.len()).unwrap_or(u64::MAX);
        let allowed = MEMORY.saturating_add(length.saturating_mul(self.memory_factor));
        if memory.bytes_max > allowed {
            return Err(format!(
                "it held {} bytes at once for a document of {length}, more than {allowed}",
                memory.bytes_max
            ));
        }
        if took > LONGEST_TIME {
            return Err(format!("it took {took:?} for a document of {length} bytes"));
        }
        Ok(())
    }
}

/// How long this thread has run: a clock would count what else the machine does. Nothing where the kernel does not
/// tell, and then what never ends is seen by its never ending.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(
        told.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default(),
    )
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

/// The beginning of a document, as it can be put into a test.
fn shown(document: &[u8]) -> String {
    const LONGEST: usize = 2_000;
    let beginning = document.get(..LONGEST).unwrap_or(document).escape_ascii();
    let rest = document.len().saturating_sub(LONGEST);
    if rest == 0 { format!("b\"{beginning}\"") } else { format!("b\"{beginning}\" and {rest} bytes more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: impl FnOnce()) -> String {
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(()) => String::new(),
            Err(panic) => words_of(panic.as_ref()).to_owned(),
        }
    }

    fn samples() -> Hostile {
        Hostile::new([r#"{"name":"web","tags":["a","b"],"memory":512}"#])
    }

    #[test]
    fn a_panic_is_found_with_the_document_that_led_to_it() {
        let problem = found(|| {
            samples().check_text(|text| {
                assert!(!text.contains("-1"), "negative");
                Ok::<(), String>(())
            });
        });
        assert!(problem.contains("it panicked: negative") && problem.contains("-1"), "{problem}");
    }

    #[test]
    fn an_error_that_repeats_the_document_or_says_nothing_is_found() {
        let problem = found(|| samples().check_text(|text| Err::<(), _>(format!("bad: {text}"))));
        assert!(problem.contains("an error is"), "{problem}");
        assert!(found(|| samples().check(|_| Err::<(), _>(""))).contains("says nothing"));
    }

    #[test]
    fn memory_out_of_proportion_is_found() {
        let problem = found(|| {
            samples().check_text(|text| {
                // As a reader that believes a length.
                let size =
                    text.split("\"memory\":").nth(1).and_then(|rest| rest.trim_end_matches('}').parse().ok());
                drop(std::hint::black_box(Vec::<u8>::with_capacity(size.unwrap_or(0_usize).min(1 << 30))));
                Ok::<(), String>(())
            });
        });
        assert!(problem.contains("bytes at once"), "{problem}");
    }

    #[test]
    fn what_bears_it_passes() {
        samples().check(|bytes| serde_json::from_slice::<serde_json::Value>(bytes));
    }
}
