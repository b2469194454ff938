//! Feeds libFuzzer's bytes to the target `input`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weft_fuzz::run("input", data));
