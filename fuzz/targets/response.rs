#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| authgear_fuzz::response::run(input));
