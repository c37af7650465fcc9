//! See `quiver::fuzzing::stored`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::stored(data));
