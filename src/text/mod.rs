//! Words: how a text becomes tokens, and tokens become a sparse vector.
//!
//! Invariants:
//! - The same text and parameters give the same tokens, on every machine: indexes and replicas stand on it.
//! - A document and a query go through the same pipeline, but for prefixes (PROTOCOL section 8).
//!
//! What it deliberately does not do: keep an index, or know payloads.

mod bm25;
mod fold;
mod language;
mod tokenizer;
mod words;

pub use bm25::{Bm25, Bm25Error, Bm25Options};
pub use tokenizer::Tokenizer;
pub use words::words;

#[cfg(test)]
mod tests;
