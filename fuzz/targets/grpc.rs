//! See `quiver::fuzzing::grpc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quiver::fuzzing::grpc(data));
