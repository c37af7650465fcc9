//! From a text to its tokens (PROTOCOL section 8): split, fold, lowercase, drop stopwords, stem, check lengths.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use charabia::Segment;
use rust_stemmers::Stemmer as Snowball;

use super::{fold, language};
use crate::model::field_index::{Stemmer, TextParams, TokenizerKind};

/// Parameters made ready to be used on many texts.
pub struct Tokenizer {
    kind: TokenizerKind,
    is_lowercasing: bool,
    is_folding: bool,
    stopwords: HashSet<String>,
    stemmer: Option<Snowball>,
    /// Characters.
    length_min: usize,
    /// Characters.
    length_max: usize,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Languages without a list of stopwords or a stemmer are passed over.
    pub fn new(params: &TextParams) -> Tokenizer {
        let is_lowercasing = params.lowercase.unwrap_or(true);
        let is_folding = params.ascii_folding.unwrap_or(false);
        // Stopwords meet tokens that have been folded and lowercased.
        let prepared = |word: &str| {
            let folded = if is_folding { fold::ascii(word) } else { word.to_owned() };
            if is_lowercasing { folded.to_lowercase() } else { folded }
        };
        let given = params.stopwords.iter();
        let listed = given.clone().flat_map(|stopwords| &stopwords.languages);
        let listed = listed.filter_map(|name| language::stopwords(name)).flatten().copied();
        let custom = given.flat_map(|stopwords| &stopwords.custom).map(String::as_str);
        let stopwords = listed.chain(custom).map(prepared).collect();
        let stemmer = match &params.stemmer {
            Some(Stemmer::Snowball(name)) => language::stemmer(name).map(Snowball::create),
            Some(Stemmer::None) | None => None,
        };
        Tokenizer {
            kind: params.tokenizer.unwrap_or_default(),
            is_lowercasing,
            is_folding,
            stopwords,
            stemmer,
            length_min: params.min_token_len.unwrap_or(0),
            length_max: params.max_token_len.unwrap_or(usize::MAX),
        }
    }

    /// The tokens of a stored text, in order, repeated words repeated.
    pub fn document(&self, text: &str) -> Vec<String> {
        match self.kind {
            TokenizerKind::Prefix => {
                let words = split(TokenizerKind::Word, text).into_iter().filter_map(|word| self.stem(word, true));
                words.flat_map(|word| self.prefixes(&word)).collect()
            }
            kind => split(kind, text).into_iter().filter_map(|word| self.token(word)).collect(),
        }
    }

    /// The tokens of a query, in order.
    pub fn query(&self, text: &str) -> Vec<String> {
        match self.kind {
            TokenizerKind::Prefix => {
                let words = split(TokenizerKind::Word, text).into_iter().filter_map(|word| self.stem(word, false));
                words.filter_map(|word| self.longest_prefix(&word)).collect()
            }
            kind => split(kind, text).into_iter().filter_map(|word| self.token(word)).collect(),
        }
    }

    fn token(&self, word: &str) -> Option<String> {
        let token = self.stem(word, true)?;
        let length = token.chars().count();
        (self.length_min..=self.length_max).contains(&length).then_some(token)
    }

    /// `None`: a stopword, or nothing is left.
    fn stem(&self, word: &str, drops_stopwords: bool) -> Option<String> {
        let mut word = Cow::Borrowed(word);
        if self.is_folding {
            word = Cow::Owned(fold::ascii(&word));
        }
        if self.is_lowercasing {
            word = Cow::Owned(word.to_lowercase());
        }
        if drops_stopwords && self.stopwords.contains(&*word) {
            return None;
        }
        let stem = match &self.stemmer {
            Some(stemmer) => stemmer.stem(&word).into_owned(),
            None => word.into_owned(),
        };
        (!stem.is_empty()).then_some(stem)
    }

    /// All prefixes of a word from the shortest to the longest wanted.
    fn prefixes(&self, word: &str) -> Vec<String> {
        let lengths = self.length_min.max(1)..=self.length_max;
        let ends = word.char_indices().map(|(start, letter)| start + letter.len_utf8()).zip(1..);
        let wanted = ends.filter(|(_, length)| lengths.contains(length));
        wanted.filter_map(|(end, _)| word.get(..end).map(str::to_owned)).collect()
    }

    /// The prefix a query's word is looked up by.
    fn longest_prefix(&self, word: &str) -> Option<String> {
        let prefix: String = word.chars().take(self.length_max).collect();
        (prefix.chars().count() >= self.length_min.max(1)).then_some(prefix)
    }
}

/// The words of `text`, as they stand there.
fn split(kind: TokenizerKind, text: &str) -> Vec<&str> {
    match kind {
        TokenizerKind::Word | TokenizerKind::Prefix => words(text).collect(),
        TokenizerKind::Whitespace => text.split_whitespace().collect(),
        // By script: Chinese by dictionary, Thai and Khmer by theirs, others at their word borders.
        TokenizerKind::Multilingual => {
            text.segment_str().filter(|word| word.chars().any(char::is_alphabetic)).collect()
        }
        TokenizerKind::Code => words(text).flat_map(identifier_parts).collect(),
    }
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The parts of an identifier: `parseHTTPHeader2` is parse, HTTP, Header, 2.
fn identifier_parts(word: &str) -> Vec<&str> {
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    let mut starts = vec![0];
    for (place, (at, letter)) in letters.iter().enumerate().skip(1) {
        let Some((_, before)) = letters.get(place - 1) else { continue };
        let after = letters.get(place + 1).map(|(_, after)| *after);
        let begins_word = letter.is_uppercase() && !before.is_uppercase();
        // The last capital of a run begins the next word: HTTPHeader.
        let ends_acronym =
            letter.is_uppercase() && before.is_uppercase() && after.is_some_and(|after| after.is_lowercase());
        if begins_word || ends_acronym || letter.is_numeric() != before.is_numeric() {
            starts.push(*at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([word.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| word.get(*start..end)).filter(|part| !part.is_empty()).collect()
}
