//! See `quiver::fuzzing::rest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::rest(data));
