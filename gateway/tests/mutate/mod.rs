//! Makes new inputs from good ones: the same ones for the same seed, for ever and on every platform.

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
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

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Pieces that parsers of addresses, queries, headers and JSON trip over.
const PIECES: &[&[u8]] = &[
    b"/",
    b"//",
    b"/../",
    b"%",
    b"%2F",
    b"%00",
    b"%ff",
    b"%F0%9F%A6%80",
    b":cancel",
    b":",
    b"~",
    b"?",
    b"&",
    b"=",
    b"+",
    b"agents/",
    b"v1/",
    b"null",
    b"true",
    b"-1",
    b"1e400",
    b"18446744073709551616",
    b"2147483648",
    b"9999-12-31T23:59:59-25:59",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\0",
    b"\r",
    b"\n",
    b"\xff",
    b"\xf0\x9f\xa6\x80",
    b"{\"data\":null}",
    b"\"id\":{}",
    b"\"parts\":[[]]",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// One of the seeds, changed in one to four places; at times something that was never good.
pub(crate) fn mutated(random: &mut Random, seeds: &[&[u8]]) -> Vec<u8> {
    if random.below(32) == 0 {
        return (0..random.below(64)).map(|_| random.next().to_le_bytes()[0]).collect();
    }
    let mut data = random.pick(seeds).to_vec();
    for _ in 0..=random.below(3) {
        scratch(&mut data, random, seeds);
    }
    data
}

fn scratch(data: &mut Vec<u8>, random: &mut Random, seeds: &[&[u8]]) {
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
        3 => drop(data.splice(at..end, random.pick(PIECES).iter().copied())),
        4 => drop(data.splice(at..at, random.pick(PIECES).iter().copied())),
        5 => {
            let other = random.pick(seeds);
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
