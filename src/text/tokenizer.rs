//! From a text to its tokens (PROTOCOL section 8): split, fold, lowercase, drop stopwords, stem, check lengths.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use charabia::Tokenize;

use super::language::WordStemmer;
use super::words::{identifier_parts, words};
use super::{fold, language};
use crate::model::field_index::{Stemmer, TextParams, TokenizerKind};

/// Parameters made ready to be used on many texts.
pub struct Tokenizer {
    kind: TokenizerKind,
    is_lowercasing: bool,
    is_folding: bool,
    stopwords: HashSet<String>,
    stemmer: Option<WordStemmer>,
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
        // They are not folded: what folding turns into one of them is kept, as the protocol has it.
        let prepared = |word: &str| if is_lowercasing { word.to_lowercase() } else { word.to_owned() };
        let given = params.stopwords.iter();
        let listed = given.clone().flat_map(|stopwords| &stopwords.languages);
        let listed = listed.filter_map(|name| language::stopwords(name)).flatten().copied();
        let custom = given.flat_map(|stopwords| &stopwords.custom).map(String::as_str);
        let stopwords = listed.chain(custom).map(prepared).collect();
        let stemmer = match &params.stemmer {
            Some(Stemmer::Snowball(name)) => language::stemmer(name),
            Some(Stemmer::None) | None => None,
        };
        Tokenizer {
            kind: params.tokenizer.unwrap_or_default(),
            is_lowercasing,
            is_folding: params.ascii_folding.unwrap_or(false),
            stopwords,
            stemmer,
            length_min: params.min_token_len.unwrap_or(0),
            length_max: params.max_token_len.unwrap_or(usize::MAX),
        }
    }

    /// The tokens of a stored text, in order, repeated words repeated.
    pub fn document(&self, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        split(self.kind, text, |word| {
            let Some(stem) = self.stem(word, true) else { return };
            match self.kind {
                TokenizerKind::Prefix => tokens.extend(self.prefixes(&stem)),
                _ => tokens.extend(self.measured(stem)),
            }
        });
        tokens
    }

    /// The tokens of a query, in order.
    pub fn query(&self, text: &str) -> Vec<String> {
        let TokenizerKind::Prefix = self.kind else { return self.document(text) };
        let mut tokens = Vec::new();
        // A stopword may be the beginning of another word.
        split(self.kind, text, |word| {
            tokens.extend(self.stem(word, false).and_then(|stem| self.longest_prefix(&stem)))
        });
        tokens
    }

    /// `None`: too short or too long.
    fn measured(&self, token: String) -> Option<String> {
        let length = token.chars().count();
        (self.length_min..=self.length_max).contains(&length).then_some(token)
    }

    /// `None`: a stopword, or nothing is left.
    fn stem(&self, mut word: Cow<'_, str>, drops_stopwords: bool) -> Option<String> {
        if self.is_folding && !word.is_ascii() {
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
    fn prefixes(&self, word: &str) -> impl Iterator<Item = String> {
        let lengths = self.length_min.max(1)..=self.length_max;
        let ends = word.char_indices().map(|(start, letter)| start + letter.len_utf8()).zip(1..);
        let wanted = ends.filter(move |(_, length)| lengths.contains(length));
        wanted.filter_map(|(end, _)| word.get(..end).map(str::to_owned))
    }

    /// The prefix a query's word is looked up by.
    fn longest_prefix(&self, word: &str) -> Option<String> {
        if word.chars().count() < self.length_min {
            return None;
        }
        let prefix: String = word.chars().take(self.length_max).collect();
        (!prefix.is_empty()).then_some(prefix)
    }
}

/// Hands out the words of `text`, in order.
fn split(kind: TokenizerKind, text: &str, mut word: impl FnMut(Cow<'_, str>)) {
    match kind {
        TokenizerKind::Word | TokenizerKind::Prefix => words(text).for_each(|it| word(Cow::Borrowed(it))),
        TokenizerKind::Whitespace => text.split_whitespace().for_each(|it| word(Cow::Borrowed(it))),
        // By script: Chinese, Thai and Khmer by their dictionaries, others at their word borders. Segments come
        // normalised whatever the parameters say: decomposed, in lower case, without marks.
        TokenizerKind::Multilingual => {
            let segments = text.tokenize().map(|token| token.lemma);
            segments.filter(|segment| segment.chars().any(char::is_alphabetic)).for_each(word);
        }
        TokenizerKind::Code => words(text).flat_map(identifier_parts).for_each(|it| word(Cow::Borrowed(it))),
    }
}
