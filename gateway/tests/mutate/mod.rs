//! Makes new inputs from good ones: the same ones for the same seed, for ever and on every platform.

#[path = "../../../protocol/tests/mutate/bytes.rs"]
mod bytes;

pub(crate) use bytes::Random;
use bytes::scratch;

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
        return random.bytes();
    }
    let mut data = random.pick(seeds).to_vec();
    for _ in 0..=random.below(3) {
        scratch(&mut data, random, PIECES, |random| random.pick(seeds).to_vec());
    }
    data
}
