//! Reproducible chance.

use serde::{Deserialize, Serialize};

/// SplitMix64: a few lines, a state of one number that fits into the state file, and every seed is good.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether an event of this probability happens.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what a fraction has")]
        let fraction = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction < probability
    }

    /// 16 hexadecimal digits.
    pub(crate) fn id(&mut self) -> String {
        format!("{:016x}", self.next())
    }
}

/// A number that depends on nothing but the text.
pub(crate) fn digest(text: &str) -> u64 {
    let start = Random::new(text.len() as u64);
    text.bytes().fold(start, |state, byte| Random::new(Random::new(state.0 ^ u64::from(byte)).next())).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_one_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn probabilities_are_kept() {
        let mut random = Random::new(3);
        let hits = (0..10_000).filter(|_| random.happens(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert!(!random.happens(0.0) && random.happens(1.0));
    }

    #[test]
    fn a_digest_depends_on_every_letter() {
        assert_eq!(digest("busybox"), digest("busybox"));
        assert_ne!(digest("busybox"), digest("busyboy"));
    }
}
