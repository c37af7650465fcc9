//! Tokens of texts: which slots have a token, and each slot's tokens in their order.
//!
//! A slot's tokens are kept as numbers, element after element of its array of texts. That one list serves phrases,
//! frequencies and the removal; where neither phrases nor scores are wanted, each element's tokens are kept once, sorted.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::dictionary::{Dictionary, Posting, union};

/// Stands between the elements of an array of texts.
pub(super) const ELEMENT_END: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Words {
    dictionary: Dictionary<Arc<str>>,
    /// By slot.
    texts: Vec<Option<Box<[u32]>>>,
    /// Tokens keep their order and their repetitions.
    keeps_order: bool,
    /// Slots with texts of several elements.
    several: RoaringBitmap,
    /// Slots with at least one token.
    document_count: u64,
    /// The lengths of all texts, summed.
    token_count: u64,
}

/// How many points there are to score against, and how often each token occurs among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordStats {
    /// Points with at least one token.
    pub document_count: u64,
    /// Their lengths, summed: tokens, each length with its leading bits only.
    pub token_count: u64,
    /// For each distinct token asked about: the points that have it.
    pub frequencies: BTreeMap<String, u64>,
}

impl WordStats {
    /// Takes in those of another index for the same query.
    pub fn add(&mut self, other: WordStats) {
        self.document_count += other.document_count;
        self.token_count += other.token_count;
        for (token, frequency) in other.frequencies {
            *self.frequencies.entry(token).or_default() += frequency;
        }
    }
}

/// How texts are scored (PROTOCOL section 13.4).
#[derive(Clone, Copy, Debug)]
pub struct Bm25Scoring<'a> {
    pub stats: &'a WordStats,
    /// Saturation of a token's frequency.
    pub k: f32,
    /// Weight of a text's length, 0 to 1.
    pub b: f32,
}

impl Words {
    pub(super) fn new(keeps_order: bool) -> Words {
        Words {
            dictionary: Dictionary::new(),
            texts: Vec::new(),
            keeps_order,
            several: RoaringBitmap::new(),
            document_count: 0,
            token_count: 0,
        }
    }

    /// What `texts` has by slot: places in `tokens`. `None`: it has others.
    pub(super) fn restore(keeps_order: bool, tokens: Vec<Arc<str>>, texts: Vec<Option<Box<[u32]>>>) -> Option<Words> {
        let (dictionary, numbers) = Dictionary::with_keys(tokens);
        let mut words = Words { dictionary, texts, ..Words::new(keeps_order) };
        for (text, slot) in words.texts.iter_mut().zip(0..) {
            let Some(text) = text else { continue };
            for number in text.iter_mut().filter(|number| **number != ELEMENT_END) {
                *number = *numbers.get(*number as usize)?;
                words.dictionary.append(*number, slot);
            }
            if !keeps_order {
                text.split_mut(|number| *number == ELEMENT_END).for_each(<[u32]>::sort_unstable);
            }
            if text.contains(&ELEMENT_END) {
                words.several.insert(slot);
            }
            let count = leading_bits(token_count(text));
            words.document_count += u64::from(count > 0);
            words.token_count += count;
        }
        words.dictionary.forget_unused();
        Some(words)
    }

    pub(super) fn dictionary(&self) -> &Dictionary<Arc<str>> {
        &self.dictionary
    }

    /// The numbers of the tokens of `slot`, its elements apart by [`ELEMENT_END`]; none if it has no text.
    pub(super) fn text(&self, slot: u32) -> Option<&[u32]> {
        self.texts.get(slot as usize)?.as_deref()
    }

    pub(super) fn keeps_order(&self) -> bool {
        self.keeps_order
    }

    /// Gives `slot`, which has none, the tokens of these texts.
    pub(super) fn put(&mut self, slot: u32, elements: &[Vec<Arc<str>>]) {
        if elements.is_empty() {
            return;
        }
        let mut numbers: Vec<u32> = Vec::new();
        for (nth, element) in elements.iter().enumerate() {
            if nth > 0 {
                numbers.push(ELEMENT_END);
            }
            let first = numbers.len();
            numbers.extend(element.iter().map(|token| self.dictionary.add(Arc::clone(token), slot)));
            if !self.keeps_order {
                let mut of_element = numbers.split_off(first);
                of_element.sort_unstable();
                of_element.dedup();
                numbers.extend(of_element);
            }
        }
        let count = leading_bits(token_count(&numbers));
        self.document_count += u64::from(count > 0);
        self.token_count += count;
        if elements.len() > 1 {
            self.several.insert(slot);
        }
        if self.texts.len() <= slot as usize {
            self.texts.resize(slot as usize + 1, None);
        }
        if let Some(text) = self.texts.get_mut(slot as usize) {
            *text = Some(numbers.into());
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(text) = self.texts.get_mut(slot as usize).and_then(Option::take) else { return };
        let count = leading_bits(token_count(&text));
        self.document_count -= u64::from(count > 0);
        self.token_count -= count;
        self.several.remove(slot);
        let mut numbers: Vec<u32> = text.iter().copied().filter(|number| *number != ELEMENT_END).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            self.dictionary.drop(number, slot);
        }
    }

    fn text_of(&self, slot: u32) -> &[u32] {
        self.texts.get(slot as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    /// The tokens of each text of `slot`, as they are kept; none if it has no text.
    pub(super) fn texts_of(&self, slot: u32) -> Vec<Vec<Arc<str>>> {
        let Some(Some(text)) = self.texts.get(slot as usize) else { return Vec::new() };
        let elements = text.split(|number| *number == ELEMENT_END);
        elements.map(|element| element.iter().filter_map(|n| self.dictionary.key(*n).cloned()).collect()).collect()
    }

    /// Slots among `within` with a text that has all of `tokens`; there are none if there are no tokens.
    pub(super) fn with_all(&self, tokens: &[String], within: &RoaringBitmap) -> RoaringBitmap {
        let Some((numbers, mut found)) = self.candidates(tokens, within) else { return RoaringBitmap::new() };
        if !found.is_disjoint(&self.several) {
            // Both tokens may be there, each in another element.
            found.retain(|slot| {
                !self.several.contains(slot) || {
                    let mut elements = self.text_of(slot).split(|number| *number == ELEMENT_END);
                    elements.any(|element| numbers.iter().all(|number| element.contains(number)))
                }
            });
        }
        found
    }

    /// Slots among `within` with a text that has one of `tokens`.
    pub(super) fn with_any(&self, tokens: &[String], within: &RoaringBitmap) -> RoaringBitmap {
        union(tokens.iter().filter_map(|token| self.dictionary.posting(token.as_str()))) & within
    }

    /// Slots among `within` with a text that has `tokens` one after another. Needs the order to be kept.
    pub(super) fn with_phrase(&self, tokens: &[String], within: &RoaringBitmap) -> RoaringBitmap {
        let Some((numbers, mut found)) = self.candidates(tokens, within) else { return RoaringBitmap::new() };
        if numbers.len() > 1 {
            found.retain(|slot| self.text_of(slot).windows(numbers.len()).any(|window| window == numbers));
        }
        found
    }

    /// The numbers of `tokens`, and the slots among `within` that have all of them, be it in different elements.
    fn candidates(&self, tokens: &[String], within: &RoaringBitmap) -> Option<(Vec<u32>, RoaringBitmap)> {
        let numbers: Option<Vec<u32>> = tokens.iter().map(|token| self.dictionary.number(token.as_str())).collect();
        let numbers = numbers.filter(|numbers| !numbers.is_empty())?;
        let mut postings: Vec<&Posting> = numbers.iter().filter_map(|n| self.dictionary.posting_of(*n)).collect();
        postings.sort_by_key(|posting| posting.len());
        let found = postings.into_iter().fold(within.clone(), |found, posting| posting.within(&found));
        Some((numbers, found))
    }

    /// At most as many slots have all of `tokens`.
    pub(super) fn len_of_all(&self, tokens: &[String]) -> u64 {
        let len = |token: &String| self.dictionary.posting(token.as_str()).map_or(0, Posting::len);
        tokens.iter().map(len).min().unwrap_or(0)
    }

    /// What scoring texts for `tokens` needs to know.
    pub(super) fn stats(&self, tokens: &[String]) -> WordStats {
        let frequency = |token: &String| self.dictionary.posting(token.as_str()).map_or(0, Posting::len);
        WordStats {
            document_count: self.document_count,
            token_count: self.token_count,
            frequencies: tokens.iter().map(|token| (token.clone(), frequency(token))).collect(),
        }
    }

    /// Every slot among `within` with one of the tokens of `bm25`, with its score. Needs the order to be kept.
    pub(super) fn scores(&self, bm25: &Bm25Scoring<'_>, within: &RoaringBitmap, mut found: impl FnMut(u32, f32)) {
        let stats = bm25.stats;
        let documents = stats.document_count as f64;
        let average = stats.token_count as f64 / documents.max(1.0);
        let (k, b) = (f64::from(bm25.k), f64::from(bm25.b));
        let known = stats.frequencies.iter().filter_map(|(token, frequency)| {
            let number = self.dictionary.number(token.as_str())?;
            let frequency = *frequency as f64;
            Some((number, ((documents - frequency + 0.5) / (frequency + 0.5) + 1.0).ln()))
        });
        let known: Vec<(u32, f64)> = known.collect();
        let slots = union(known.iter().filter_map(|(number, _)| self.dictionary.posting_of(*number))) & within;
        for slot in &slots {
            let text = self.text_of(slot);
            let len = leading_bits(token_count(text)) as f64;
            let norm = k * (1.0 - b + b * len / average);
            let of_token = |(number, idf): &(u32, f64)| {
                let times = text.iter().filter(|n| *n == number).count() as f64;
                if times > 0.0 { idf * times * (k + 1.0) / (times + norm) } else { 0.0 }
            };
            let score: f64 = known.iter().map(of_token).sum();
            found(slot, score as f32);
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let texts: usize = self.texts.iter().flatten().map(|text| size_of_val(&**text) + 16).sum();
        self.dictionary.memory_bytes(|token| token.len() + 16)
            + texts
            + self.texts.capacity() * size_of::<Option<Box<[u32]>>>()
    }
}

/// Tokens of a slot's text, repetitions included.
fn token_count(numbers: &[u32]) -> u64 {
    numbers.iter().filter(|number| **number != ELEMENT_END).count() as u64
}

/// A text's length keeps its 13 leading bits: exact below 8,192 tokens.
fn leading_bits(len: u64) -> u64 {
    let cut = (u64::BITS - len.leading_zeros()).saturating_sub(13);
    len >> cut << cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn words(keeps_order: bool, texts: &[&[&str]]) -> Words {
        let mut words = Words::new(keeps_order);
        for (slot, elements) in (0..).zip(texts) {
            let elements: Vec<Vec<Arc<str>>> =
                elements.iter().map(|text| text.split_whitespace().map(Arc::from).collect()).collect();
            words.put(slot, &elements);
        }
        words
    }

    #[test]
    fn s7_6_tokens_are_looked_for_in_each_element_alone() {
        for keeps_order in [false, true] {
            let words = words(keeps_order, &[&["a b c"], &["a x", "b c"], &["c b a a"], &[""], &[]]);
            let all: RoaringBitmap = (0..5).collect();
            let found = |bitmap: RoaringBitmap| bitmap.iter().collect::<Vec<_>>();
            assert_eq!(found(words.with_all(&tokens("a b"), &all)), [0, 2]);
            assert_eq!(found(words.with_all(&tokens("b c"), &all)), [0, 1, 2]);
            assert_eq!(found(words.with_all(&tokens("a nowhere"), &all)), [] as [u32; 0]);
            assert_eq!(found(words.with_all(&[], &all)), [] as [u32; 0]);
            assert_eq!(found(words.with_any(&tokens("x nowhere c"), &all)), [0, 1, 2]);
            assert_eq!(found(words.with_any(&tokens("c"), &[1, 4].into_iter().collect())), [1]);
        }
    }

    #[test]
    fn s7_6_phrases_are_consecutive_and_end_with_their_element() {
        let words = words(true, &[&["a b a a b c"], &["a b", "c"], &["a b c"]]);
        let all: RoaringBitmap = (0..3).collect();
        let found = |phrase: &str| words.with_phrase(&tokens(phrase), &all).iter().collect::<Vec<_>>();
        assert_eq!(found("a a b"), [0]);
        assert_eq!(found("a b c"), [0, 2]);
        assert_eq!(found("b"), [0, 1, 2]);
        assert_eq!(found(""), [] as [u32; 0]);
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let mut words = words(true, &[&["a b", "b"], &["b c c"], &["", ""]]);
        assert_eq!((words.document_count, words.token_count, words.several.len()), (2, 6, 2));
        assert_eq!(words.texts_of(0), [vec![Arc::from("a"), Arc::from("b")], vec![Arc::from("b")]]);
        assert_eq!((words.texts_of(2).len(), words.texts_of(9).len()), (2, 0));
        (0..3).for_each(|slot| words.remove(slot));
        assert_eq!((words.document_count, words.token_count, words.several.len()), (0, 0, 0));
        assert_eq!(words.dictionary.len(), 0);
    }

    #[test]
    fn s13_4_scores_follow_the_formula() {
        let words = words(true, &[&["a b b"], &["b"], &["c c", "c a"], &[""]]);
        let stats = words.stats(&tokens("b a b"));
        assert_eq!((stats.document_count, stats.token_count), (3, 8));
        assert_eq!(stats.frequencies, [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
        let mut scores = BTreeMap::new();
        let bm25 = Bm25Scoring { stats: &stats, k: 1.2, b: 0.75 };
        words.scores(&bm25, &(0..4).collect(), |slot, score| _ = scores.insert(slot, score));
        let idf = (1.5_f64 / 2.5 + 1.0).ln();
        let of = |times: f64, len: f64| idf * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len / (8.0 / 3.0)));
        let want = [(0, of(1.0, 3.0) + of(2.0, 3.0)), (1, of(1.0, 1.0)), (2, of(1.0, 4.0))];
        assert_eq!(scores.len(), 3);
        for (slot, want) in want {
            assert!((f64::from(scores[&slot]) - want).abs() < 1e-6, "{slot}: {} is not {want}", scores[&slot]);
        }
    }

    #[test]
    fn s13_4_lengths_keep_thirteen_bits() {
        for (len, kept) in [(0, 0), (8_191, 8_191), (8_192, 8_192), (8_193, 8_192), (16_387, 16_384), (16_391, 16_388)]
        {
            assert_eq!(leading_bits(len), kept, "{len}");
        }
    }
}
