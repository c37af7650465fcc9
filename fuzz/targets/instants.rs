//! See `quiver::fuzzing::instants`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::instants(data));
