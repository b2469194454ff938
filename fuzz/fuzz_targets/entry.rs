//! Feeds libFuzzer's bytes to the target `entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_fuzz::run("entry", data));
