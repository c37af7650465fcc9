//! BM25 weights as sparse vectors (PROTOCOL section 13.3).
//!
//! Robertson, Zaragoza: "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), without the inverse document
//! frequency, which the vector's IDF modifier brings in when it is searched.

use std::collections::{BTreeMap, BTreeSet};

use super::tokenizer::Tokenizer;
use crate::model::SparseVector;
use crate::model::field_index::{Stemmer, Stopwords, TextParams, TokenizerKind};

/// What may be chosen; absent means the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bm25Options {
    /// Saturation of a token's frequency, finite, at least 0. 1.2.
    pub k: Option<f64>,
    /// Weight of a text's length, 0 to 1. 0.75.
    pub b: Option<f64>,
    /// Tokens of an average text, above 0. 256.
    pub avg_len: Option<f64>,
    /// Word.
    pub tokenizer: Option<TokenizerKind>,
    /// Its stopwords and stemmer stand in for absent ones; an unknown one has neither. `english`.
    pub language: Option<String>,
    /// True.
    pub lowercase: Option<bool>,
    /// False.
    pub ascii_folding: Option<bool>,
    pub stopwords: Option<Stopwords>,
    pub stemmer: Option<Stemmer>,
    /// Characters.
    pub min_token_len: Option<usize>,
    /// Characters.
    pub max_token_len: Option<usize>,
}

/// An option out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{option} is {value}, must be {range}")]
pub struct Bm25Error {
    /// Its name.
    pub option: &'static str,
    /// As given.
    pub value: f64,
    /// What it may be.
    pub range: &'static str,
}

const K_DEFAULT: f64 = 1.2;
const B_DEFAULT: f64 = 0.75;
const AVG_LEN_DEFAULT: f64 = 256.0;
const LANGUAGE_DEFAULT: &str = "english";

/// Options made ready to be used on many texts.
#[derive(Debug)]
pub struct Bm25 {
    tokenizer: Tokenizer,
    k: f64,
    b: f64,
    avg_len: f64,
}

impl Bm25 {
    /// Checks ranges.
    pub fn new(options: &Bm25Options) -> Result<Bm25, Bm25Error> {
        let checked = |option, value: f64, range, is_right: bool| match is_right {
            true => Ok(value),
            false => Err(Bm25Error { option, value, range }),
        };
        let k = options.k.unwrap_or(K_DEFAULT);
        let k = checked("k", k, "finite and at least 0", k.is_finite() && k >= 0.0)?;
        let b = options.b.unwrap_or(B_DEFAULT);
        let b = checked("b", b, "from 0 to 1", (0.0..=1.0).contains(&b))?;
        let avg_len = options.avg_len.unwrap_or(AVG_LEN_DEFAULT);
        let avg_len = checked("avg_len", avg_len, "finite and above 0", avg_len.is_finite() && avg_len > 0.0)?;
        let language = options.language.as_deref().unwrap_or(LANGUAGE_DEFAULT).to_lowercase();
        let of_language = || Stopwords { languages: vec![language.clone()], ..Stopwords::default() };
        let params = TextParams {
            tokenizer: options.tokenizer,
            lowercase: options.lowercase,
            ascii_folding: options.ascii_folding,
            min_token_len: options.min_token_len,
            max_token_len: options.max_token_len,
            stopwords: Some(options.stopwords.clone().unwrap_or_else(of_language)),
            stemmer: Some(options.stemmer.clone().unwrap_or_else(|| Stemmer::Snowball(language.clone()))),
            ..TextParams::default()
        };
        Ok(Bm25 { tokenizer: Tokenizer::new(&params), k, b, avg_len })
    }

    /// Weights of a stored text.
    pub fn document(&self, text: &str) -> SparseVector {
        self.weigh_document(text).0
    }

    /// As [`Bm25::document`], with the number of the text's tokens.
    pub fn weigh_document(&self, text: &str) -> (SparseVector, usize) {
        let tokens = self.tokenizer.document(text);
        let length = tokens.len() as f64;
        let mut frequencies: BTreeMap<&str, u32> = BTreeMap::new();
        for token in &tokens {
            *frequencies.entry(token).or_default() += 1;
        }
        let norm = self.k * (1.0 - self.b + self.b * length / self.avg_len);
        // Tokens of equal id: the last one stands.
        let weights: BTreeMap<u32, f32> = frequencies
            .into_iter()
            .map(|(token, frequency)| {
                let frequency = f64::from(frequency);
                (token_id(token), (frequency * (self.k + 1.0) / (frequency + norm)) as f32)
            })
            .collect();
        (SparseVector::new(weights.into_iter().collect()).unwrap_or_default(), tokens.len())
    }

    /// Every distinct token of a query weighs 1.
    pub fn query(&self, text: &str) -> SparseVector {
        self.weigh_query(text).0
    }

    /// As [`Bm25::query`], with the number of the query's tokens.
    pub fn weigh_query(&self, text: &str) -> (SparseVector, usize) {
        let tokens = self.tokenizer.query(text);
        let ids: BTreeSet<u32> = tokens.iter().map(|token| token_id(token)).collect();
        (SparseVector::new(ids.into_iter().map(|id| (id, 1.0)).collect()).unwrap_or_default(), tokens.len())
    }
}

/// The index of a token in the sparse vector.
fn token_id(token: &str) -> u32 {
    murmur3(token.as_bytes()).cast_signed().unsigned_abs()
}

/// MurmurHash3, x86, 32 bits, seed 0 (Austin Appleby, public domain).
pub(super) fn murmur3(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mixed = |block: u32| block.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0_u32;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        hash = (hash ^ mixed(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |last, byte| last << 8 | u32::from(*byte));
        hash ^= mixed(last);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
