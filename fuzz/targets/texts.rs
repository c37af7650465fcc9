//! See `quiver::fuzzing::texts`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::texts(data));
