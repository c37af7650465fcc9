//! Sets of slots: [`Bitmap`], a plain one, and [`LiveBits`], one that many threads read while some change it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::arena::Arena;
use crate::distance::{Loop, widest};
use crate::model::Slot;

const WORD_BITS: usize = 64;

/// A set of slots below a fixed bound; one bit each.
///
/// Slots at or beyond the bound are not in the set and cannot be put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    bound: usize,
}

impl Bitmap {
    /// An empty set that can hold the slots below `bound`.
    pub fn new(bound: usize) -> Bitmap {
        Bitmap { words: vec![0; bound.div_ceil(WORD_BITS)], bound }
    }

    /// One more than the largest slot the set can hold.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// Puts `slot` in; nothing happens at or beyond the bound. Was it absent?
    #[inline]
    pub fn set(&mut self, slot: Slot) -> bool {
        if slot.index() >= self.bound {
            return false;
        }
        let (word, bit) = (&mut self.words[slot.index() / WORD_BITS], 1 << (slot.index() % WORD_BITS));
        let absent = *word & bit == 0;
        *word |= bit;
        absent
    }

    /// Takes `slot` out.
    #[inline]
    pub fn clear(&mut self, slot: Slot) {
        if let Some(word) = self.words.get_mut(slot.index() / WORD_BITS) {
            *word &= !(1 << (slot.index() % WORD_BITS));
        }
    }

    /// Is `slot` in the set?
    #[inline]
    pub fn contains(&self, slot: Slot) -> bool {
        self.words.get(slot.index() / WORD_BITS).is_some_and(|word| word >> (slot.index() % WORD_BITS) & 1 == 1)
    }

    /// How many slots are in the set; counts the bits.
    pub fn count(&self) -> usize {
        widest(Count(&self.words))
    }

    /// The slots of the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.words.iter().enumerate().flat_map(|(i, word)| slots_of_word(i, *word))
    }

    /// Keeps the slots that are in `other` too.
    pub fn intersect(&mut self, other: &Bitmap) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word &= other.word(i);
        }
    }

    /// Takes in the slots of `other` that lie below the bound.
    pub fn unite(&mut self, other: &Bitmap) {
        for (i, word) in self.words.iter_mut().enumerate() {
            *word |= other.word(i);
        }
        self.trim();
    }

    /// Turns the set into its complement below the bound.
    pub fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
    }

    /// Takes out the slots at or beyond `bound`; the set's own bound stays.
    pub(super) fn cut(&mut self, bound: usize) {
        for (i, word) in self.words.iter_mut().enumerate() {
            let kept = bound.saturating_sub(i * WORD_BITS);
            if kept < WORD_BITS {
                *word &= (1 << kept) - 1;
            }
        }
    }

    fn trim(&mut self) {
        if let Some(last) = self.words.last_mut().filter(|_| !self.bound.is_multiple_of(WORD_BITS)) {
            *last &= (1 << (self.bound % WORD_BITS)) - 1;
        }
    }

    /// The 64 slots from `64 * i`; zero beyond the bound.
    #[inline]
    pub(super) fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }

    /// The words from `block * BLOCK_WORDS` on, as far as there are any.
    #[inline]
    pub(super) fn block(&self, block: usize) -> &[u64] {
        let from = self.words.len().min(block * BLOCK_WORDS);
        &self.words[from..self.words.len().min(from + BLOCK_WORDS)]
    }

    pub(super) fn from_words(words: Vec<u64>, bound: usize) -> Bitmap {
        let mut bitmap = Bitmap { words, bound };
        bitmap.words.resize(bound.div_ceil(WORD_BITS), 0);
        bitmap.trim();
        bitmap
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }
}

/// The slots of word `i` whose bits are set, ascending.
#[inline]
pub(super) fn slots_of_word(i: usize, mut word: u64) -> impl Iterator<Item = Slot> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros();
        word &= word - 1;
        Some(Slot((i * WORD_BITS) as u32 + bit))
    })
}

/// A growing set of slots that is changed and read by many threads at once.
///
/// A count per block of 4,096 slots is raised before a bit is set and lowered after one is cleared, so a block whose
/// count is zero holds no member: sparse sets are read in a time that depends on their size.
#[derive(Debug)]
pub(super) struct LiveBits {
    /// A row per block.
    words: Arena<AtomicU64>,
    blocks: Arena<AtomicU64>,
    count: AtomicU64,
}

/// Words of one block.
pub(super) const BLOCK_WORDS: usize = 64;

/// The slots of one block.
pub(super) type Block = [u64; BLOCK_WORDS];

impl LiveBits {
    pub(super) fn new() -> LiveBits {
        LiveBits { words: Arena::new(BLOCK_WORDS), blocks: Arena::new(1), count: AtomicU64::new(0) }
    }

    /// Makes room for `slot`. Needed before `set`.
    pub(super) fn grow_to(&self, slot: Slot) {
        let block = (slot.index() / WORD_BITS / BLOCK_WORDS) as u32;
        self.words.grow_to(block);
        self.blocks.grow_to(block);
    }

    /// Puts `slot` in: what was written before is seen by whoever finds it.
    ///
    /// # Panics
    /// If there is no room for `slot`.
    pub(super) fn set(&self, slot: Slot) {
        let word = slot.index() / WORD_BITS;
        let row = (word / BLOCK_WORDS) as u32;
        let block = &self.blocks.grown(row)[0];
        block.fetch_add(1, Ordering::SeqCst);
        let bit = 1 << (slot.index() % WORD_BITS);
        let before = self.words.grown(row)[word % BLOCK_WORDS].fetch_or(bit, Ordering::SeqCst);
        if before & bit != 0 {
            block.fetch_sub(1, Ordering::SeqCst);
        } else {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes `slot` out. Was it in?
    pub(super) fn clear(&self, slot: Slot) -> bool {
        let word = slot.index() / WORD_BITS;
        let Some(cells) = self.words.row((word / BLOCK_WORDS) as u32) else { return false };
        let bit = 1 << (slot.index() % WORD_BITS);
        let was_in = cells[word % BLOCK_WORDS].fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        if was_in {
            self.count.fetch_sub(1, Ordering::SeqCst);
            if let Some(block) = self.blocks.row((word / BLOCK_WORDS) as u32) {
                block[0].fetch_sub(1, Ordering::SeqCst);
            }
        }
        was_in
    }

    #[inline]
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.word(slot.index() / WORD_BITS) >> (slot.index() % WORD_BITS) & 1 == 1
    }

    /// The 64 slots from `64 * i`.
    #[inline]
    pub(super) fn word(&self, i: usize) -> u64 {
        let cells = self.words.row((i / BLOCK_WORDS) as u32);
        cells.map_or(0, |cells| cells[i % BLOCK_WORDS].load(Ordering::SeqCst))
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst) as usize
    }

    /// The words from `block * BLOCK_WORDS` on. None if none of their slots is a member.
    #[inline]
    pub(super) fn block(&self, block: usize) -> Option<Block> {
        let count = self.blocks.row(block as u32)?[0].load(Ordering::SeqCst);
        let cells = self.words.row(block as u32).filter(|_| count != 0)?;
        Some(std::array::from_fn(|i| cells[i].load(Ordering::SeqCst)))
    }

    /// Runs over the words below `bound` slots that may hold members, ascending: (index of the word, the word).
    pub(super) fn words(&self, bound: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let words = bound.div_ceil(WORD_BITS);
        let blocks = (0..words.div_ceil(BLOCK_WORDS)).filter_map(|block| Some((block, self.block(block)?)));
        let all = blocks.flat_map(|(block, words)| (block * BLOCK_WORDS..).zip(words));
        all.filter(move |(i, word)| *i < words && *word != 0)
    }

    /// A copy of the set, for the slots below `bound`.
    pub(super) fn snapshot(&self, bound: usize) -> Bitmap {
        Bitmap::from_words((0..bound.div_ceil(WORD_BITS)).map(|i| self.word(i)).collect(), bound)
    }
}

/// How many bits are set.
struct Count<'a>(&'a [u64]);

impl Loop for Count<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum::<u64>() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_is_a_set() {
        let mut bitmap = Bitmap::new(130);
        assert!(bitmap.set(Slot(0)) && bitmap.set(Slot(64)) && bitmap.set(Slot(129)));
        assert!(!bitmap.set(Slot(64)), "already there");
        assert!(!bitmap.set(Slot(130)), "beyond the bound");
        assert_eq!(bitmap.iter().map(|slot| slot.0).collect::<Vec<_>>(), [0, 64, 129]);
        assert_eq!(bitmap.count(), 3);
        bitmap.clear(Slot(64));
        assert!(!bitmap.contains(Slot(64)) && bitmap.contains(Slot(129)) && !bitmap.contains(Slot(5_000)));
        bitmap.invert();
        assert_eq!(bitmap.count(), 128);
        let mut other = Bitmap::new(1_000);
        other.set(Slot(0));
        other.set(Slot(5));
        other.set(Slot(999));
        let mut both = bitmap.clone();
        both.intersect(&other);
        assert_eq!(both.iter().collect::<Vec<_>>(), [Slot(5)]);
        bitmap.unite(&other);
        assert_eq!(bitmap.count(), 129);
    }

    #[test]
    fn live_bits_are_a_set() {
        let bits = LiveBits::new();
        assert!(!bits.contains(Slot(0)) && !bits.clear(Slot(77)));
        for slot in [3, 4_095, 4_096, 300_000] {
            bits.grow_to(Slot(slot));
            bits.set(Slot(slot));
            bits.set(Slot(slot));
        }
        assert_eq!(bits.count(), 4);
        assert!(bits.clear(Slot(4_096)) && !bits.clear(Slot(4_096)));
        let slots = |bound| bits.words(bound).flat_map(|(i, word)| slots_of_word(i, word)).collect::<Vec<_>>();
        assert_eq!(slots(300_001), [Slot(3), Slot(4_095), Slot(300_000)]);
        assert_eq!(bits.snapshot(4_096).iter().collect::<Vec<_>>(), [Slot(3), Slot(4_095)]);
    }
}
