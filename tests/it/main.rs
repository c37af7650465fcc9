//! The integration tests, in one binary so that RocksDB is linked once. `tidy` proves that every file here is listed.

// Helpers of tests may panic as tests do; clippy excuses only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

/// Call it before an HTTP client is made: `reqwest` comes without a provider of cryptography.
fn install_cryptography() {
    // A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

mod bench;
mod clients_rust;
mod cluster;
mod full_disk;
mod grpc;
mod operations;
mod process;
mod rest;
mod snapshots;
mod tidy;
