//! Texts: their tokens by any parameters, their weights, and text indexes on them.

use serde_json::json;

use super::split;
use crate::model::field_index::{FieldIndexKind, Stemmer, Stopwords, TextParams, TokenizerKind};
use crate::model::filter::{FieldCondition, Match, Predicate};
use crate::model::{Condition, Path, Payload};
use crate::shard;
use crate::text::{Bm25, Bm25Options, Tokenizer};

/// With a stemmer, a list of stopwords, or neither.
const LANGUAGES: [&str; 32] = [
    "none",
    "arabic",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "azerbaijani",
    "basque",
    "bengali",
    "catalan",
    "chinese",
    "hebrew",
    "hinglish",
    "indonesian",
    "kazakh",
    "nepali",
    "slovene",
    "tajik",
    "klingon",
];

/// Input: five bytes of parameters, then two texts.
pub fn texts(data: &[u8]) {
    let Some((choices, rest)) = data.split_first_chunk() else { return };
    let Some([text, query]) = split(rest) else { return };
    let params = params(*choices, query);
    let tokenizer = Tokenizer::new(&params);
    let document = tokenizer.document(text);
    assert_eq!(tokenizer.document(text), document, "asked twice");
    let (min, max) = (params.min_token_len.unwrap_or(0), params.max_token_len.unwrap_or(usize::MAX));
    for token in &document {
        assert!(
            !token.is_empty() && (min..=max).contains(&token.chars().count()),
            "{token:?} is too short or too long"
        );
    }
    let is_prefix = params.tokenizer == Some(TokenizerKind::Prefix);
    if !is_prefix {
        assert_eq!(tokenizer.query(text), document, "queries are split as texts are");
    } else if params.stopwords.is_none() {
        // A query's stopword may be the beginning of another word.
        assert!(tokenizer.query(text).iter().all(|token| document.contains(token)), "a text is found by itself");
    }
    if params.tokenizer != Some(TokenizerKind::Multilingual) {
        // Its segments depend on what stands around them.
        let both = tokenizer.document(&format!("{text} {query}"));
        let one_by_one: Vec<String> = document.iter().cloned().chain(tokenizer.document(query)).collect();
        assert_eq!(both, one_by_one, "words do not depend on other words");
    }
    weights(&params, *choices, text);
    conditions(&params, text, query);
}

fn params([kind, flags, lengths, stemmer, stopwords]: [u8; 5], word: &str) -> TextParams {
    let kinds = [
        TokenizerKind::Word,
        TokenizerKind::Whitespace,
        TokenizerKind::Prefix,
        TokenizerKind::Multilingual,
        TokenizerKind::Code,
    ];
    let flag = |bit: u8| (flags & (1 << bit) != 0).then_some(flags & (2 << bit) != 0);
    let language = |byte: u8| LANGUAGES[usize::from(byte) % LANGUAGES.len()];
    let stemmer = match language(stemmer) {
        "none" => None,
        "klingon" => Some(Stemmer::None),
        language => Some(Stemmer::Snowball(language.to_owned())),
    };
    let stopwords = (language(stopwords) != "none").then(|| Stopwords {
        is_bare: false,
        languages: vec![language(stopwords).to_owned()],
        custom: word.split_whitespace().take(2).map(str::to_owned).collect(),
    });
    TextParams {
        tokenizer: Some(kinds[usize::from(kind) % kinds.len()]),
        lowercase: flag(0),
        ascii_folding: flag(2),
        min_token_len: (lengths & 0x03 != 0).then_some(usize::from(lengths & 0x03)),
        max_token_len: (lengths & 0xF0 != 0).then_some(usize::from(lengths >> 4) + 3),
        stopwords,
        stemmer,
        phrase_matching: flag(4),
        scoring: flag(6),
    }
}

fn weights(params: &TextParams, [_, _, k, b, length]: [u8; 5], text: &str) {
    let k = f64::from(k) / 64.0;
    let options = Bm25Options {
        k: Some(k),
        b: Some(f64::from(b) / 255.0),
        avg_len: Some(f64::from(length) + 0.5),
        tokenizer: params.tokenizer,
        language: None,
        lowercase: params.lowercase,
        ascii_folding: params.ascii_folding,
        stopwords: params.stopwords.clone(),
        stemmer: params.stemmer.clone(),
        min_token_len: params.min_token_len,
        max_token_len: params.max_token_len,
    };
    let bm25 = Bm25::new(&options).unwrap();
    let (document, query) = (bm25.document(text), bm25.query(text));
    assert!(document.indices().is_sorted_by(|a, b| a < b), "each word once");
    assert!(document.values().iter().all(|weight| *weight > 0.0 && f64::from(*weight) <= k + 1.000_001));
    assert!(query.values().iter().all(|weight| *weight == 1.0));
    if params.tokenizer != Some(TokenizerKind::Prefix) {
        assert_eq!(document.indices(), query.indices(), "queries look for what texts weigh");
    }
}

/// A text index and the payloads agree about conditions on words.
fn conditions(params: &TextParams, text: &str, query: &str) {
    let point = |value: serde_json::Value| Payload(json!({ "t": value }).as_object().unwrap().clone());
    let payloads = [point(json!(text)), point(json!([text, query])), point(json!(query)), point(json!([1, text]))];
    let key = || Path { first: "t".to_owned(), rest: Vec::new() };
    for operand in [
        Match::Text(query.to_owned()),
        Match::TextAny(query.to_owned()),
        Match::Phrase(query.to_owned()),
        Match::Keyword(text.to_owned()),
        Match::Prefix(query.to_owned()),
        Match::ExceptKeyword(vec![text.to_owned()]),
    ] {
        let condition = Condition::Field(FieldCondition { key: key(), predicates: vec![Predicate::Match(operand)] });
        shard::fuzzing::index_agrees(&condition, FieldIndexKind::Text(params.clone()), &payloads);
    }
}
