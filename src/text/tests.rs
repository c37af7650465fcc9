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
    for (text, want) in [
        ("What are you waiting for?", "what are you waiting for"),
        ("The quick fox, 42! 3.14 b2b", "the quick fox b2b"),
        ("Dies ist ein Test", "dies ist ein test"),
        ("It's used within Qdrant's code", "it s used within qdrant s code"),
        ("今天是星期一", "今天 是 星期 一"),
        ("我们喜欢向量数据库", "我们 喜欢 向量 数据 库"),
        // Marks are taken off.
        ("มาทำงานกันเถอะ", "มา ทางาน กน เถอะ"),
        ("Überraschung für Žižek", "uberraschung fur zizek"),
        ("Привет, мир", "привет мир"),
        ("... 12 -- 7", ""),
    ] {
        check(&params, text, &want.split_whitespace().collect::<Vec<_>>());
    }
    // Segments come in lower case whatever is asked for.
    check(&TextParams { lowercase: Some(false), ..params }, "Hello Hello", &["hello", "hello"]);
}

#[test]
fn s8_code_takes_identifiers_apart() {
    let params = of_kind(TokenizerKind::Code);
    for (text, want) in [
        ("parseHTTPHeader2(into_map, x)", "parse http header 2 into map x"),
        ("SCREAMING_SNAKE kebab-case std::vec::Vec", "screaming snake kebab case std vec vec"),
        ("XMLHttpRequest getURL iOS utf8", "xml http request get url i os utf 8"),
        ("größeÄndern ÉTÉ", "größe ändern été"),
        ("A aB AB ABc", "a a b ab a bc"),
    ] {
        check(&params, text, &want.split_whitespace().collect::<Vec<_>>());
    }
    // What is stopped and measured are the parts.
    let english = Stopwords { languages: vec!["english".into()], ..Stopwords::default() };
    check(&TextParams { stopwords: Some(english), min_token_len: Some(3), ..params }, "isTheValue", &["value"]);
}

#[test]
fn s8_folding_spells_latin_letters_in_ascii_and_leaves_other_scripts() {
    for (text, want) in [
        ("ação Ångström naïve Çeşme Łódź", "acao Angstrom naive Cesme Lodz"),
        ("straße STRAẞE æther Ørsted œuvre þorn Ðe ıldız ŋ", "strasse STRASSE aether Orsted oeuvre thorn De ildiz n"),
        ("Việt Nam ǿ ﬁne ǆ ³ Ａｂ", "Viet Nam o fine dz 3 Ab"),
        // Decomposed letters.
        ("e\u{301}te\u{301} o\u{302}\u{323}", "ete o"),
        ("«» – “x” ’", "«» - \"x\" '"),
        ("й ё и\u{306} 한글 ทำงาน हिन्दी が ά", "й ё и\u{306} 한글 ทำงาน हिन्दी が ά"),
        ("´ ½", "´ ½"),
    ] {
        assert_eq!(super::fold::ascii(text), want);
    }
}

#[test]
fn s8_stopwords_are_looked_up_after_folding_and_are_not_folded() {
    let with = |stopwords, lowercase| TextParams {
        ascii_folding: Some(true),
        lowercase: Some(lowercase),
        stopwords: Some(stopwords),
        ..TextParams::default()
    };
    let german = Stopwords { languages: vec!["german".into()], ..Stopwords::default() };
    check(&with(german, true), "Für und über", &["fur", "uber"]);
    let custom =
        |words: &[&str]| Stopwords { custom: words.iter().map(|it| (*it).into()).collect(), ..Stopwords::default() };
    check(&with(custom(&["CAFE"]), true), "Café cafe bar", &["bar"]);
    check(&with(custom(&["CAFE"]), false), "Café CAFÉ cafe", &["Cafe", "cafe"]);
}

#[test]
fn s8_every_language_has_its_stopwords_and_its_stemmer() {
    for (language, stopword) in [
        ("arabic", "في"),
        ("azerbaijani", "və"),
        ("basque", "eta"),
        ("bengali", "এবং"),
        ("catalan", "i"),
        ("chinese", "的"),
        ("danish", "og"),
        ("dutch", "en"),
        ("english", "and"),
        ("finnish", "ja"),
        ("french", "et"),
        ("german", "und"),
        ("greek", "και"),
        ("hebrew", "את"),
        ("hinglish", "aur"),
        ("hungarian", "és"),
        ("indonesian", "dan"),
        ("italian", "e"),
        ("japanese", "あの"),
        ("kazakh", "жоқ"),
        ("nepali", "र"),
        ("norwegian", "og"),
        ("portuguese", "e"),
        ("romanian", "ar"),
        ("russian", "и"),
        ("slovene", "in"),
        ("spanish", "y"),
        ("swedish", "och"),
        ("tajik", "ва"),
        ("turkish", "ve"),
    ] {
        let stopwords = Stopwords { languages: vec![language.into()], ..Stopwords::default() };
        let params = TextParams { stopwords: Some(stopwords), ..of_kind(TokenizerKind::Whitespace) };
        check(&params, &format!("{stopword} qdrant"), &["qdrant"]);
    }
    // As the reference implementation of Snowball has them, too.
    for (language, word, stem) in [
        ("arabic", "المكتبات", "مكتب"),
        ("armenian", "քաղաքներում", "քաղ"),
        ("danish", "husene", "hus"),
        ("dutch", "lichamelijk", "licham"),
        ("english", "generously", "generous"),
        ("finnish", "taloissa", "talo"),
        ("french", "continuellement", "continuel"),
        ("german", "aufeinander", "aufeinand"),
        ("greek", "βιβλία", "βιβλ"),
        ("hungarian", "házakban", "ház"),
        ("italian", "abbandonata", "abbandon"),
        ("norwegian", "opplysningene", "opplysning"),
        ("portuguese", "quilometros", "quilometr"),
        ("romanian", "absolutul", "absol"),
        ("russian", "важнейшими", "важн"),
        ("spanish", "cheques", "chequ"),
        ("swedish", "jaktkarlarne", "jaktkarl"),
        ("tamil", "புத்தகங்கள்", "புத்தகம்"),
        ("turkish", "kitaplarımız", "kitap"),
    ] {
        let stemmer = Some(Stemmer::Snowball(language.into()));
        check(&TextParams { stemmer, ..of_kind(TokenizerKind::Whitespace) }, word, &[stem]);
    }
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
    // Every length of the last block, and what is not ASCII, as mmh3 has it.
    for (text, want) in [("ab", 0x9bbf_d75f), ("abc", 0xb3dd_93fa), ("abcd", 0x43ed_676a), ("日本語", 0xa5a4_7297)] {
        assert_eq!(murmur3(text.as_bytes()), want, "{text}");
    }
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

/// Computed in Python: mmh3, the stemmers' Python binding, and the formula in doubles; fastembed's `Qdrant/bm25` gives
/// the first one, too.
#[test]
fn s13_3_golden_weights() {
    let language = |name: &str| Bm25Options { language: Some(name.into()), ..Bm25Options::default() };
    /// Text, options, index and weight of each token.
    type Case = (&'static str, Bm25Options, &'static [(u32, f32)]);
    let cases: [Case; 8] = [
        (
            "The quick brown foxes are jumping over the lazy dogs; the dogs sleep.",
            Bm25Options::default(),
            &[
                (134_749_957, 1.656_470_5),
                (226_376_294, 1.656_470_5),
                (741_580_288, 1.656_470_5),
                (771_291_085, 1.656_470_5),
                (1_312_749_093, 1.889_932_9),
                (1_621_867_415, 1.656_470_5),
                (1_913_189_942, 1.656_470_5),
            ],
        ),
        (
            "Les chevaux mangeaient l'herbe des prairies françaises, l'été.",
            language("French"),
            &[
                (367_697_797, 1.669_730_2),
                (475_655_266, 1.669_730_2),
                (485_998_316, 1.669_730_2),
                (1_449_680_052, 1.669_730_2),
                (1_957_708_230, 1.669_730_2),
            ],
        ),
        (
            "Книги лежали на столах, и книга была открыта",
            language("russian"),
            &[
                (884_104_020, 1.669_730_2),
                (1_279_918_800, 1.669_730_2),
                (1_650_306_798, 1.898_533_6),
                (1_721_407_946, 1.669_730_2),
            ],
        ),
        (
            "The cat Sat on the MAT the_end",
            language("none"),
            &[
                (69_083_019, 1.656_470_5),
                (182_765_111, 1.656_470_5),
                (703_717_300, 1.656_470_5),
                (939_215_365, 1.656_470_5),
                (1_132_748_958, 1.983_098_6),
                (1_751_422_759, 1.656_470_5),
            ],
        ),
        (
            "to be or not to be that is the question be be",
            Bm25Options { k: Some(2.0), b: Some(0.3), avg_len: Some(5.0), ..language("none") },
            &[
                (117_848_935, 0.781_25),
                (152_217_691, 1.239_669_4),
                (297_834_021, 0.781_25),
                (572_399_988, 0.781_25),
                (1_132_748_958, 0.781_25),
                (1_480_764_286, 1.754_386),
                (1_746_366_895, 0.781_25),
                (2_021_799_277, 0.781_25),
            ],
        ),
        (
            "Run RUN run Runs",
            Bm25Options { k: Some(0.0), b: Some(1.0), avg_len: Some(1.0), lowercase: Some(false), ..language("none") },
            &[(243_905_464, 1.0), (1_521_927_186, 1.0), (2_038_036_125, 1.0), (2_092_358_713, 1.0)],
        ),
        (
            "a bb ccc dddd eeeee",
            Bm25Options { min_token_len: Some(2), max_token_len: Some(4), ..language("none") },
            &[(735_026_264, 1.678_688_5), (855_411_159, 1.678_688_5), (2_067_265_391, 1.678_688_5)],
        ),
        (
            "Die Häuser der Städte und das Haus",
            Bm25Options { stopwords: Some(Stopwords::default()), ..language("german") },
            &[
                (18_554_856, 1.892_791_2),
                (164_058_840, 1.660_867),
                (408_270_109, 1.660_867),
                (1_109_731_834, 1.660_867),
                (1_407_327_463, 1.660_867),
                (1_413_554_298, 1.660_867),
            ],
        ),
    ];
    for (text, options, want) in cases {
        let bm25 = Bm25::new(&options).unwrap();
        assert_eq!(bm25.document(text).iter().collect::<Vec<_>>(), want, "{text}");
        let query: Vec<(u32, f32)> = want.iter().map(|(index, _)| (*index, 1.0)).collect();
        assert_eq!(bm25.query(text).iter().collect::<Vec<_>>(), query, "{text}");
    }
}

#[test]
fn s13_3_prefix_documents_weigh_every_prefix_and_queries_look_for_one() {
    let options = Bm25Options {
        tokenizer: Some(TokenizerKind::Prefix),
        stemmer: Some(Stemmer::None),
        min_token_len: Some(2),
        ..Bm25Options::default()
    };
    let bm25 = Bm25::new(&options).unwrap();
    assert_eq!(bm25.document("the hello").len(), 4);
    assert_eq!(bm25.query("the hello").len(), 2);
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

const STEMMERS: [&str; 18] = [
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
];

fn any_params() -> impl Strategy<Value = TextParams> {
    let kinds = [
        TokenizerKind::Word,
        TokenizerKind::Whitespace,
        TokenizerKind::Prefix,
        TokenizerKind::Multilingual,
        TokenizerKind::Code,
    ];
    let stemmer = prop::option::of(prop::sample::select(STEMMERS.to_vec()));
    (prop::sample::select(kinds.to_vec()), any::<bool>(), any::<bool>(), 0..4_usize, 3..9_usize, stemmer).prop_map(
        |(kind, lowercase, folding, min, max, stemmer)| TextParams {
            lowercase: Some(lowercase),
            ascii_folding: Some(folding),
            min_token_len: Some(min),
            max_token_len: Some(max),
            stemmer: stemmer.map(|language| Stemmer::Snowball(language.into())),
            ..of_kind(kind)
        },
    )
}

/// Anything at all, and what the stemmers and segmenters look into.
fn any_text() -> impl Strategy<Value = String> {
    let scripts = "[a-zA-Z0-9äöüßéşıİğœ'’_ .\\-\u{300}-\u{304}а-яΑ-ωء-يًஂ-ௌக-ஹก-๏ក-៓一-俿ぁ-んァ-ン가-각]{0,40}";
    prop_oneof![any::<String>(), scripts, "[A-Za-z]{0,12}( [a-z]{1,12}){0,4}"]
}

proptest! {
    /// Any text: no panic, lengths within bounds, and what a query of the same text looks for is in the document.
    #[test]
    fn tokens_of_any_text(params in any_params(), text in any_text()) {
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

    /// Folding twice changes nothing more, ASCII stays, and so does what is not Latin.
    #[test]
    fn folding_of_any_text(text in any_text(), plain in "[ -~]{0,20}", other in "[а-яα-ω가-힣ก-๛ऀ-ॿ]{0,20}") {
        let folded = super::fold::ascii(&text);
        prop_assert_eq!(&super::fold::ascii(&folded), &folded);
        prop_assert_eq!(&super::fold::ascii(&plain), &plain);
        prop_assert_eq!(&super::fold::ascii(&other), &other);
    }

    /// The parts of an identifier are the identifier, in whole letters.
    #[test]
    fn parts_of_any_word(word in any::<String>()) {
        let parts: Vec<&str> = super::words::identifier_parts(&word).collect();
        prop_assert_eq!(&parts.concat(), &word);
        prop_assert!(parts.iter().all(|part| !part.is_empty()));
    }

    /// A text's weights: one per distinct token, positive, at the query's indices, and below k + 1.
    #[test]
    fn weights_of_any_text(text in any_text(), k in 0.0..3.0_f64, b in 0.0..=1.0_f64, avg_len in 0.1..500.0_f64) {
        let options = Bm25Options { k: Some(k), b: Some(b), avg_len: Some(avg_len), ..Bm25Options::default() };
        let bm25 = Bm25::new(&options).unwrap();
        let (document, query) = (bm25.document(&text), bm25.query(&text));
        prop_assert_eq!(document.indices(), query.indices());
        prop_assert!(document.values().iter().all(|weight| *weight > 0.0 && f64::from(*weight) <= k + 1.000_001));
        prop_assert!(query.values().iter().all(|weight| *weight == 1.0));
    }
}
