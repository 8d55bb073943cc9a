//! One link message, under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rumormill_fuzz::link_message(data));
