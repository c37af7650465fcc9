//! Golden tokens per tokenizer and language, golden weights, and what holds for any text.

use proptest::prelude::*;

use super::bm25::murmur3;
use super::*;
use crate::model::field_index::{Stemmer, Stopwords, TextParams, TokenizerKind};

fn of_kind(kind: TokenizerKind) -> TextParams {
    TextParams { tokenizer: Some(kind), ..TextParams::default() }
}

#[track_caller]
fn check(params: &TextParams, text: &str, want: &[&str]) {
    assert_eq!(Tokenizer::new(params).document(text), want, "document {text}");
}

#[track_caller]
fn check_query(params: &TextParams, text: &str, want: &[&str]) {
    assert_eq!(Tokenizer::new(params).query(text), want, "query {text}");
}

#[test]
fn s8_word_splits_at_everything_but_letters_and_digits() {
    check(
        &TextParams::default(),
        "Hello, wörld! snake_case it's 3.14",
        &["hello", "wörld", "snake", "case", "it", "s", "3", "14"],
    );
    check(&TextParams::default(), " ... ", &[]);
    let cased = TextParams { lowercase: Some(false), ..TextParams::default() };
    check(&cased, "Hello You", &["Hello", "You"]);
}

#[test]
fn s8_whitespace_splits_at_whitespace_only() {
    check(&of_kind(TokenizerKind::Whitespace), "It's\u{2003}e-mail \t(ok)", &["it's", "e-mail", "(ok)"]);
}

#[test]
fn s8_prefix_documents_hold_all_prefixes_and_queries_one() {
    let params = TextParams { min_token_len: Some(2), max_token_len: Some(4), ..of_kind(TokenizerKind::Prefix) };
    check(&params, "Überall a", &["üb", "übe", "über"]);
    check_query(&params, "Überall a üb", &["über", "üb"]);
    check(&of_kind(TokenizerKind::Prefix), "abc", &["a", "ab", "abc"]);
    let stopped = TextParams {
        stopwords: Some(Stopwords { languages: vec!["english".into()], ..Stopwords::default() }),
        ..of_kind(TokenizerKind::Prefix)
    };
    check(&stopped, "the cat", &["c", "ca", "cat"]);
    check_query(&stopped, "the", &["the"]);
}

#[test]
fn s8_multilingual_follows_the_script_and_drops_what_has_no_letter() {
    let params = of_kind(TokenizerKind::Multilingual);
    check(&params, "The quick fox, 42!", &["the", "quick", "fox"]);
    let tokens = Tokenizer::new(&params).document("我们喜欢向量数据库");
    assert!(tokens.contains(&"我们".to_owned()) && tokens.contains(&"喜欢".to_owned()), "{tokens:?}");
}

#[test]
fn s8_code_takes_identifiers_apart() {
    let want = ["parse", "http", "header", "2", "into", "map", "x"];
    check(&of_kind(TokenizerKind::Code), "parseHTTPHeader2(into_map, x)", &want);
}

#[test]
fn s8_the_pipeline_folds_lowercases_stops_stems_and_measures() {
    let params = TextParams {
        ascii_folding: Some(true),
        stopwords: Some(Stopwords {
            languages: vec!["english".into()],
            custom: ["Foxes".to_owned()].into(),
            is_bare: false,
        }),
        stemmer: Some(Stemmer::Snowball("english".into())),
        min_token_len: Some(3),
        max_token_len: Some(6),
        ..TextParams::default()
    };
    // `the` and `foxes` are stopwords, `running` is stemmed, `cafés` folded, `ab` too short, `extraordinary` too long.
    check(&params, "The foxes Running in Cafés ab extraordinary straße", &["run", "cafe", "strass"]);
    let kept = TextParams {
        lowercase: Some(false),
        stopwords: Some(Stopwords { custom: ["Foxes".to_owned()].into(), ..Stopwords::default() }),
        ..TextParams::default()
    };
    check(&kept, "Foxes foxes", &["foxes"]);
    for (language, word, stem) in
        [("german", "häuser", "haus"), ("french", "maisons", "maison"), ("russian", "книги", "книг")]
    {
        let params = TextParams { stemmer: Some(Stemmer::Snowball(language.into())), ..TextParams::default() };
        check(&params, word, &[stem]);
    }
    let none = TextParams { stemmer: Some(Stemmer::None), ..TextParams::default() };
    check(&none, "running", &["running"]);
}

#[test]
fn s13_3_murmur3_gives_the_published_values() {
    // From the verification tables of the reference implementation (x86, 32 bits, seed 0).
    for (text, want) in [("", 0), ("a", 0x3c25_69b2), ("test", 0xba6b_d213), ("Hello, world!", 0xc036_3e43)] {
        assert_eq!(murmur3(text.as_bytes()), want, "{text}");
    }
    assert_eq!(murmur3(b"The quick brown fox jumps over the lazy dog"), 0x2e4f_f723);
}

#[test]
fn s13_3_weights_of_documents_and_queries() {
    let bm25 = Bm25::new(&Bm25Options::default()).unwrap();
    let document = bm25.document("The fox and the foxes run");
    // Tokens: fox, fox, run. tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * 3 / 256)).
    let norm = 1.2 * (0.25 + 0.75 * 3.0 / 256.0);
    let (twice, once) = ((2.0 * 2.2 / (2.0 + norm)) as f32, (2.2 / (1.0 + norm)) as f32);
    let id = |token: &str| (murmur3(token.as_bytes()) as i32).unsigned_abs();
    let mut want = vec![(id("fox"), twice), (id("run"), once)];
    want.sort_by_key(|(index, _)| *index);
    assert_eq!(document.iter().collect::<Vec<_>>(), want);
    let query = bm25.query("foxes fox runs");
    assert_eq!(query.indices(), document.indices());
    assert!(query.values().iter().all(|weight| *weight == 1.0));
    assert!(bm25.query("the").is_empty());
    let plain = Bm25::new(&Bm25Options { language: Some("none".into()), ..Bm25Options::default() }).unwrap();
    assert_eq!(plain.query("the foxes").len(), 2);
}

#[test]
fn s13_3_options_have_ranges() {
    let with = |k, b, avg_len| Bm25::new(&Bm25Options { k, b, avg_len, ..Bm25Options::default() });
    assert!(with(Some(0.0), Some(1.0), Some(0.5)).is_ok());
    assert_eq!(with(Some(-1.0), None, None).unwrap_err().option, "k");
    assert_eq!(with(Some(f64::NAN), None, None).unwrap_err().option, "k");
    assert_eq!(with(None, Some(1.1), None).unwrap_err().option, "b");
    assert_eq!(with(None, None, Some(0.0)).unwrap_err().option, "avg_len");
}

fn any_params() -> impl Strategy<Value = TextParams> {
    let kinds = [
        TokenizerKind::Word,
        TokenizerKind::Whitespace,
        TokenizerKind::Prefix,
        TokenizerKind::Multilingual,
        TokenizerKind::Code,
    ];
    (prop::sample::select(kinds.to_vec()), any::<bool>(), any::<bool>(), 0..4_usize, 3..9_usize, any::<bool>())
        .prop_map(|(kind, lowercase, folding, min, max, stems)| TextParams {
            lowercase: Some(lowercase),
            ascii_folding: Some(folding),
            min_token_len: Some(min),
            max_token_len: Some(max),
            stemmer: stems.then(|| Stemmer::Snowball("english".into())),
            ..of_kind(kind)
        })
}

proptest! {
    /// Any text: no panic, lengths within bounds, and what a query of the same text looks for is in the document.
    #[test]
    fn tokens_of_any_text(params in any_params(), text in "\\PC{0,40}") {
        let tokenizer = Tokenizer::new(&params);
        let document = tokenizer.document(&text);
        for token in &document {
            let length = token.chars().count();
            prop_assert!((params.min_token_len.unwrap()..=params.max_token_len.unwrap()).contains(&length), "{token}");
            prop_assert!(!token.is_empty());
        }
        for token in tokenizer.query(&text) {
            prop_assert!(document.contains(&token), "{token} of {text} is not in {document:?}");
        }
    }
}
