//! An envelope, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::envelope(data));
