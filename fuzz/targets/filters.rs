//! See `quiver::fuzzing::filters`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::filters(data));
