//! Chance, drawn from a seed: the same seed gives the same run for ever, on every machine and with every version of
//! every crate, so a seed that once failed can be kept.

/// A stream of random numbers (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, `end` left out; 0 when that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let drawn = self.next();
        usize::try_from(drawn % (end.max(1) as u64)).unwrap_or(0)
    }

    /// A time from `low` to `high` milliseconds.
    pub(super) fn ms(&mut self, low: i64, high: i64) -> i64 {
        let span = usize::try_from(high - low).unwrap_or(0) + 1;
        low + i64::try_from(self.below(span)).unwrap_or(0)
    }

    /// True in so many of a thousand cases.
    pub(super) fn permille(&mut self, cases: usize) -> bool {
        self.below(1000) < cases
    }

    /// A number from 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(u16::try_from(self.below(10_001)).unwrap_or(0)) / 10_000.0
    }

    /// One of these, `None` when there is none.
    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len());
        from.get(at).cloned()
    }
}
