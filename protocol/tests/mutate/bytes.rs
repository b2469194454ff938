//! Numbers by chance and changes of bytes: the same ones for the same seed, for ever and on every platform.

#![expect(clippy::indexing_slicing, reason = "a helper of a test may fail the test")]

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }

    /// Bytes that were never good.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(64)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Changes a few bytes: a bit, a cut, one of the `pieces` that parsers trip over, a part of some `other` input, a repeat.
pub(crate) fn scratch(
    data: &mut Vec<u8>,
    random: &mut Random,
    pieces: &[&[u8]],
    other: impl FnOnce(&mut Random) -> Vec<u8>,
) {
    let at = random.below(data.len() + 1);
    let end = (at + random.below(24)).min(data.len());
    match random.below(7) {
        0 => {
            let bit = 1 << random.below(8);
            if let Some(byte) = data.get_mut(at) {
                *byte ^= bit;
            }
        }
        1 => drop(data.drain(at..end)),
        2 => data.truncate(at),
        3 => drop(data.splice(at..end, random.pick(pieces).iter().copied())),
        4 => drop(data.splice(at..at, random.pick(pieces).iter().copied())),
        5 => {
            let other = other(random);
            let from = random.below(other.len());
            let to = (from + random.below(200)).min(other.len());
            drop(data.splice(at..end, other[from..to].iter().copied()));
        }
        _ => {
            let piece = data[at..end].to_vec();
            drop(data.splice(at..at, piece.repeat(random.below(80))));
        }
    }
}
