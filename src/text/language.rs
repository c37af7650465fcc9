//! Languages by the names the protocol uses: their stopwords and their stemmers.

use std::borrow::Cow;

use rust_stemmers::Algorithm;

/// Stopwords of a language, if there is a list: NLTK's, and for Japanese that of stopwords-iso.
pub(super) fn stopwords(language: &str) -> Option<&'static [&'static str]> {
    match code(language)? {
        // The protocol has no lists of them.
        "uk" | "hy" => None,
        code => stop_words::lookup(code),
    }
}

/// A Snowball stemmer.
pub(super) enum WordStemmer {
    Common(rust_stemmers::Stemmer),
    /// The one language the other crate lacks.
    Armenian(snowball_stemmers_rs::Stemmer),
}

impl WordStemmer {
    pub(super) fn stem<'a>(&self, word: &'a str) -> Cow<'a, str> {
        match self {
            WordStemmer::Common(stemmer) => stemmer.stem(word),
            WordStemmer::Armenian(stemmer) => stemmer.stem(word),
        }
    }
}

/// The Snowball stemmer of a language, if there is one.
pub(super) fn stemmer(language: &str) -> Option<WordStemmer> {
    let algorithm = match code(language)? {
        "hy" => {
            let stemmer = snowball_stemmers_rs::Stemmer::create(snowball_stemmers_rs::Algorithm::Armenian);
            return Some(WordStemmer::Armenian(stemmer));
        }
        "ar" => Algorithm::Arabic,
        "da" => Algorithm::Danish,
        "nl" => Algorithm::Dutch,
        "en" => Algorithm::English,
        "fi" => Algorithm::Finnish,
        "fr" => Algorithm::French,
        "de" => Algorithm::German,
        "el" => Algorithm::Greek,
        "hu" => Algorithm::Hungarian,
        "it" => Algorithm::Italian,
        "no" => Algorithm::Norwegian,
        "pt" => Algorithm::Portuguese,
        "ro" => Algorithm::Romanian,
        "ru" => Algorithm::Russian,
        "es" => Algorithm::Spanish,
        "sv" => Algorithm::Swedish,
        "ta" => Algorithm::Tamil,
        "tr" => Algorithm::Turkish,
        _ => return None,
    };
    Some(WordStemmer::Common(rust_stemmers::Stemmer::create(algorithm)))
}

/// ISO 639-1, from a name as the protocol spells it or from the code itself.
fn code(language: &str) -> Option<&'static str> {
    CODES.iter().find(|(name, code)| name.eq_ignore_ascii_case(language) || *code == language).map(|(_, code)| *code)
}

const CODES: [(&str, &str); 37] = [
    ("albanian", "sq"),
    ("arabic", "ar"),
    ("armenian", "hy"),
    ("azerbaijani", "az"),
    ("basque", "eu"),
    ("belarusian", "be"),
    ("bengali", "bn"),
    ("catalan", "ca"),
    ("chinese", "zh"),
    ("danish", "da"),
    ("dutch", "nl"),
    ("english", "en"),
    ("finnish", "fi"),
    ("french", "fr"),
    ("german", "de"),
    ("greek", "el"),
    ("hebrew", "he"),
    ("hinglish", "hinglish"),
    ("hungarian", "hu"),
    ("indonesian", "id"),
    ("italian", "it"),
    ("japanese", "ja"),
    ("kazakh", "kk"),
    ("nepali", "ne"),
    ("norwegian", "no"),
    ("portuguese", "pt"),
    ("romanian", "ro"),
    ("russian", "ru"),
    ("slovene", "sl"),
    ("slovenian", "sl"),
    ("spanish", "es"),
    ("swedish", "sv"),
    ("tajik", "tg"),
    ("tamil", "ta"),
    ("turkish", "tr"),
    ("ukrainian", "uk"),
    ("uzbek", "uz"),
];
