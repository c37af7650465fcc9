//! See `quiver::fuzzing::formulas`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::formulas(data));
