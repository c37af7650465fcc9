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

/// Whether words of this language, as the protocol names it, can be stemmed.
pub fn has_stemmer(language: &str) -> bool {
    language::stemmer(language).is_some()
}

/// Whether there are stopwords of this language, as the protocol names it.
pub fn has_stopwords(language: &str) -> bool {
    language::stopwords(language).is_some()
}

#[cfg(test)]
mod tests;
