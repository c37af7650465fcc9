//! Field indexes as files, so that a restart reads no payloads and splits no texts.
//!
//! What is in a file: for every slot the version its point had and what the index had of it then. The way from values to
//! slots is not: the load builds it from the slots' values, so the two cannot disagree.
//!
//! A file is written in pieces. [`FieldWriter::take`] copies the slots of a piece, in memory, while its caller keeps
//! points and index from changing; [`FieldWriter::write`] writes the copy while they change again. So a writer waits for
//! a piece, however large the index is, and the file is of no single moment. It need not be: each slot's values are of
//! the version beside them, and the load keeps a slot only if that is the version its point is stored with.
//!
//! The load: [`RestoringField::load`], or [`RestoringField::new`] without a file; for every stored point
//! [`RestoringField::keep`], and where that says no, [`RestoringField::put`]; then [`RestoringField::finish`].
//!
//! Format 1. The header says the length and the CRC-32 of the definition. Sized sections: the definition (path and kind
//! as JSON); a piece for every [`PIECE_SLOTS`] slots; the distinct values, in the order of their numbers (texts with a
//! `u32` length, integers and UUIDs as they are, places as the bits of longitude and latitude). A piece is `u32` words:
//! the lowest version (two words), and for each slot how much larger its version is, plus 1, or 0; the sets of slots with
//! nulls and with values of other kinds; the number of lengths, and for each the length (two words) and the set of slots
//! with it; the set of slots with one value, and their values; how many slots have another number of values, and for
//! each its place in the piece, that number, and the values. A set is a bit per slot. A value is one word, its number, or
//! two, its key; a text is the numbers of its tokens, its elements apart by `u32::MAX`.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::super::file::{CheckpointError, FileKind, Header, Input, Output, array, fingerprint};
use super::column::Column;
use super::dictionary::{Dictionary, Lookup};
use super::field::{FieldIndex, Kind};
use super::ordered::{self, Key, Ordered};
use super::places::{PlaceKey, Places};
use super::selection::{FieldSpec, FieldValues};
use super::words::{ELEMENT_END, Words};
use crate::model::{PointVersion, Slot};

/// Slots of a piece: what a writer may have to wait for. Copying it takes some tens of microseconds per index.
pub const PIECE_SLOTS: usize = 1 << 11;
const WORD_BITS: u32 = u32::BITS;

/// A field index being written. Nothing is there under the file's name before [`FieldWriter::finish`].
pub struct FieldWriter {
    out: Output,
    copied: Copied,
}

/// What has been copied of an index: one piece, and all values it had.
struct Copied {
    keys: Keys,
    piece: Vec<u32>,
}

/// The distinct values met so far, by the kind of index. Kinds with an order and nothing else have none.
enum Keys {
    Texts(Numbering<Arc<str>>),
    Integers(Numbering<i64>),
    Bools(Numbering<bool>),
    Uuids(Numbering<Uuid>),
    Places(Numbering<PlaceKey>),
    None,
}

/// The numbers that values have in the file. A dictionary gives the number of a value that is gone to another one, and
/// may do so between two pieces; the file's numbers are never given twice.
struct Numbering<K> {
    /// By the dictionary's number: whose it was when it was met last, and its number in the file.
    met: Vec<Option<(K, u32)>>,
    /// By the file's number.
    keys: Vec<K>,
}

/// A value as bytes.
trait StoredKey: Ord + Clone {
    /// Whether it is the value met before: the same one, where looking at it would be slow.
    fn is_same(&self, other: &Self) -> bool;
    fn write(&self, out: &mut Vec<u8>);
    /// Takes one from the front.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

impl StoredKey for Arc<str> {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self, other)
    }
    fn write(&self, out: &mut Vec<u8>) {
        // Payloads are bounded far below this by the size of a request.
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = u32::from_le_bytes(take_array(bytes)?) as usize;
        let (text, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(Arc::from(std::str::from_utf8(text).ok()?))
    }
}

impl StoredKey for i64 {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take_array(bytes).map(i64::from_le_bytes)
    }
}

impl StoredKey for bool {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take_array::<1>(bytes).map(|[byte]| byte != 0)
    }
}

impl StoredKey for Uuid {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take_array(bytes).map(Uuid::from_bytes)
    }
}

impl StoredKey for PlaceKey {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
        out.extend_from_slice(&self.1.to_le_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((u64::from_le_bytes(take_array(bytes)?), u64::from_le_bytes(take_array(bytes)?)))
    }
}

impl<K: StoredKey> Numbering<K> {
    fn new() -> Numbering<K> {
        Numbering { met: Vec::new(), keys: Vec::new() }
    }

    /// The file's number of what has `number` in the dictionary now.
    fn number(&mut self, dictionary: &Dictionary<K>, number: u32) -> u32 {
        let Some(key) = dictionary.key(number) else { unreachable!("a slot has a value its dictionary lacks") };
        let at = number as usize;
        if at >= self.met.len() {
            self.met.resize(at + 1, None);
        }
        match &mut self.met[at] {
            Some((met, number)) if met.is_same(key) => *number,
            stale => {
                let number = self.keys.len() as u32;
                self.keys.push(key.clone());
                *stale = Some((key.clone(), number));
                number
            }
        }
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.keys.iter().for_each(|key| key.write(&mut bytes));
        bytes
    }
}

/// All values of a section.
fn read_keys<K: StoredKey>(mut bytes: &[u8]) -> Option<Vec<K>> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        keys.push(K::read(&mut bytes)?);
    }
    Some(keys)
}

impl FieldWriter {
    /// Begins the file of `index`, for the slots below `bound`. `stamp` is the checkpoint's number.
    pub fn create(index: &FieldIndex, path: &Path, stamp: u64, bound: usize) -> io::Result<FieldWriter> {
        let definition = definition(&index.spec);
        let header = Header { kind: FileKind::Field, of: fingerprint(&definition), bound, stamp, more: 0 };
        let mut out = Output::create(path, &header)?;
        out.sized_section(&definition)?;
        Ok(FieldWriter { out, copied: Copied::new(index) })
    }

    /// Copies what the index has of the next piece: the slots from `first` on, as many as there are `versions` of their
    /// points; `None` where there is no point. The caller keeps index and points from changing meanwhile.
    pub fn take(&mut self, index: &FieldIndex, first: Slot, versions: &[Option<PointVersion>]) {
        self.copied.take(index, first, versions);
    }

    /// Writes the piece that was copied.
    pub fn write(&mut self) -> io::Result<()> {
        let bytes: Vec<u8> = self.copied.piece.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.out.sized_section(&bytes)
    }

    /// All pieces are written: the file gets its name.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.sized_section(&self.copied.keys())?;
        self.out.finish()
    }
}

impl Copied {
    fn new(index: &FieldIndex) -> Copied {
        let keys = match &index.kind {
            Kind::Keyword(_) | Kind::Text(_) => Keys::Texts(Numbering::new()),
            Kind::Integer { lookup: Some(_), .. } => Keys::Integers(Numbering::new()),
            Kind::Bool(_) => Keys::Bools(Numbering::new()),
            Kind::Uuid(_) => Keys::Uuids(Numbering::new()),
            Kind::Geo(_) => Keys::Places(Numbering::new()),
            Kind::Integer { lookup: None, .. } | Kind::Float(_) | Kind::Datetime(_) => Keys::None,
        };
        Copied { keys, piece: Vec::new() }
    }

    fn take(&mut self, index: &FieldIndex, first: Slot, versions: &[Option<PointVersion>]) {
        let slots = first.0..first.0 + versions.len() as u32;
        let piece = &mut self.piece;
        piece.clear();
        put_versions(piece, versions);
        put_set(piece, &index.nulls, &slots);
        put_set(piece, &index.others, &slots);
        let count_at = piece.len();
        piece.push(0);
        for (length, set) in &index.lengths {
            if set.range_cardinality(slots.clone()) > 0 {
                piece[count_at] += 1;
                put_two_words(piece, *length);
                put_set(piece, set, &slots);
            }
        }
        match (&index.kind, &mut self.keys) {
            (Kind::Keyword(lookup), Keys::Texts(numbering)) => put_lookup(piece, &slots, lookup, numbering),
            (Kind::Integer { lookup: Some(lookup), .. }, Keys::Integers(numbering)) => {
                put_lookup(piece, &slots, lookup, numbering);
            }
            (Kind::Bool(lookup), Keys::Bools(numbering)) => put_lookup(piece, &slots, lookup, numbering),
            (Kind::Uuid(lookup), Keys::Uuids(numbering)) => put_lookup(piece, &slots, lookup, numbering),
            (Kind::Geo(places), Keys::Places(numbering)) => put_lookup(piece, &slots, places.lookup(), numbering),
            (Kind::Text(words), Keys::Texts(numbering)) => {
                let number = |number| match number {
                    ELEMENT_END => ELEMENT_END,
                    number => numbering.number(words.dictionary(), number),
                };
                put_values(piece, &slots, |slot| words.text(slot), 1, one_word(number));
            }
            (
                Kind::Float(ordered) | Kind::Datetime(ordered) | Kind::Integer { lookup: None, ordered: Some(ordered) },
                Keys::None,
            ) => put_values(piece, &slots, |slot| some(ordered.keys_of(slot)), 2, put_two_words),
            _ => unreachable!("a field index does not change its kind"),
        }
    }

    /// The distinct values, in the order of their numbers.
    fn keys(&self) -> Vec<u8> {
        match &self.keys {
            Keys::Texts(numbering) => numbering.write(),
            Keys::Integers(numbering) => numbering.write(),
            Keys::Bools(numbering) => numbering.write(),
            Keys::Uuids(numbering) => numbering.write(),
            Keys::Places(numbering) => numbering.write(),
            Keys::None => Vec::new(),
        }
    }
}

/// What an index must be of for a file to serve it.
fn definition(spec: &FieldSpec) -> Vec<u8> {
    // Neither a text nor a kind has a state that cannot be written.
    serde_json::to_vec(&(spec.path.to_string(), &spec.kind)).unwrap_or_default()
}

fn some<T>(values: &[T]) -> Option<&[T]> {
    (!values.is_empty()).then_some(values)
}

fn put_two_words(piece: &mut Vec<u32>, value: u64) {
    piece.extend([value as u32, (value >> 32) as u32]);
}

fn one_word<T>(mut word: impl FnMut(T) -> u32) -> impl FnMut(&mut Vec<u32>, T) {
    move |piece, value| piece.push(word(value))
}

fn put_versions(piece: &mut Vec<u32>, versions: &[Option<PointVersion>]) {
    let lowest = versions.iter().flatten().min().copied().unwrap_or_default();
    put_two_words(piece, lowest);
    // A version that is too far away is left out: its point is read again, that is all.
    let word = |version: PointVersion| u32::try_from(version - lowest + 1).unwrap_or(0);
    piece.extend(versions.iter().map(|version| version.map_or(0, word)));
}

fn put_set(piece: &mut Vec<u32>, set: &RoaringBitmap, slots: &Range<u32>) {
    let at = piece.len();
    piece.resize(at + slots.len().div_ceil(WORD_BITS as usize), 0);
    for place in set.range(slots.clone()).map(|slot| slot - slots.start) {
        piece[at + (place / WORD_BITS) as usize] |= 1 << (place % WORD_BITS);
    }
}

fn put_lookup<K: StoredKey>(piece: &mut Vec<u32>, slots: &Range<u32>, of: &Lookup<K>, numbering: &mut Numbering<K>) {
    let number = |number| numbering.number(&of.dictionary, number);
    put_values(piece, slots, |slot| some(of.numbers_of(slot)), 1, one_word(number));
}

/// `get`: the values of a slot, `None` where it has none (a text has tokens, but may have no token).
fn put_values<'a, T: Copy + 'a>(
    piece: &mut Vec<u32>,
    slots: &Range<u32>,
    get: impl Fn(u32) -> Option<&'a [T]>,
    width: usize,
    mut put: impl FnMut(&mut Vec<u32>, T),
) {
    let at = piece.len();
    piece.resize(at + slots.len().div_ceil(WORD_BITS as usize), 0);
    for slot in slots.clone() {
        if let Some([value]) = get(slot) {
            let place = slot - slots.start;
            piece[at + (place / WORD_BITS) as usize] |= 1 << (place % WORD_BITS);
            put(piece, *value);
        }
    }
    let count_at = piece.len();
    piece.push(0);
    for slot in slots.clone() {
        let Some(values) = get(slot).filter(|values| values.len() != 1) else { continue };
        piece[count_at] += 1;
        piece.extend([slot - slots.start, values.len() as u32]);
        let values_at = piece.len();
        values.iter().for_each(|value| put(piece, *value));
        debug_assert_eq!(piece.len() - values_at, values.len() * width);
    }
}

/// A field index that is brought up to the stored points: what a file has of it is believed slot by slot.
pub struct RestoringField {
    index: FieldIndex,
    /// By slot: one more than the version that the file has of its point; 0 where it has none, or that is settled.
    versions: Vec<u64>,
    is_restored: bool,
}

impl RestoringField {
    /// An index without a file: every point is to be put.
    pub fn new(spec: Arc<FieldSpec>) -> RestoringField {
        RestoringField { index: FieldIndex::new(spec), versions: Vec::new(), is_restored: false }
    }

    /// Reads the file of the index that `spec` makes. `stamp` is the number of the checkpoint it must belong to.
    pub fn load(spec: Arc<FieldSpec>, path: &Path, stamp: u64) -> Result<RestoringField, CheckpointError> {
        let definition = definition(&spec);
        let mut input = Input::open(path)?;
        let header = input.header(FileKind::Field, fingerprint(&definition), stamp)?;
        let mut bytes = Vec::new();
        input.sized_section(&mut bytes, "definition")?;
        if bytes != definition {
            return Err(input.foreign("index"));
        }
        let mut loading = Loading::new(FieldIndex::new(spec));
        for first in (0..header.bound).step_by(PIECE_SLOTS) {
            let len = PIECE_SLOTS.min(header.bound - first) as u32;
            input.sized_section(&mut bytes, "slots")?;
            let words: Vec<u32> = bytes.chunks_exact(4).map(|word| u32::from_le_bytes(array(word))).collect();
            loading.piece(first as u32, len, &words).ok_or_else(|| input.damaged("slots"))?;
        }
        input.sized_section(&mut bytes, "values")?;
        input.check_end()?;
        let (index, versions) = loading.finish(&bytes).ok_or_else(|| input.damaged("values"))?;
        Ok(RestoringField { index, versions, is_restored: true })
    }

    /// What the index is for.
    pub fn spec(&self) -> &Arc<FieldSpec> {
        self.index.spec()
    }

    /// Whether a file was read.
    pub fn is_restored(&self) -> bool {
        self.is_restored
    }

    /// Whether the index has the point at `slot` as it is with this version. If not, it is to be put.
    pub fn keep(&mut self, slot: Slot, version: PointVersion) -> bool {
        match self.versions.get_mut(slot.index()).map(std::mem::take) {
            Some(of) if of == version + 1 => true,
            None | Some(0) => false,
            Some(_) => {
                self.index.remove(slot);
                false
            }
        }
    }

    /// Takes in what is stored of the point at `slot`.
    pub fn put(&mut self, slot: Slot, values: FieldValues) {
        self.index.put(slot, values);
    }

    /// Every stored point has been kept or put: what else the file had is gone.
    pub fn finish(self) -> FieldIndex {
        let RestoringField { mut index, versions, .. } = self;
        let lost = (0..).zip(versions).filter(|(_, version)| *version != 0);
        lost.for_each(|(slot, _)| index.remove(Slot(slot)));
        index
    }
}

/// What has been read so far.
struct Loading {
    index: FieldIndex,
    versions: Vec<u64>,
    values: LoadingValues,
}

enum LoadingValues {
    Numbers(Column<u32>),
    Keys(Column<Key>),
    Texts(Vec<Option<Box<[u32]>>>),
}

/// The words of a piece, from front to back.
struct Piece<'a> {
    first: u32,
    len: u32,
    words: &'a [u32],
}

impl<'a> Piece<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u32]> {
        let (head, rest) = self.words.split_at_checked(count)?;
        self.words = rest;
        Some(head)
    }

    fn word(&mut self) -> Option<u32> {
        self.take(1)?.first().copied()
    }

    fn two_words(&mut self) -> Option<u64> {
        self.take(2).map(two_words)
    }

    /// The slots of a set, ascending.
    fn set(&mut self) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let (first, len) = (self.first, self.len);
        let words = self.take(len.div_ceil(WORD_BITS) as usize)?;
        let is_in = move |place: &u32| words[(*place / WORD_BITS) as usize] >> (*place % WORD_BITS) & 1 == 1;
        Some((0..len).filter(is_in).map(move |place| first + place))
    }

    /// Calls `found` with every slot that has values and their words.
    fn values(&mut self, width: usize, mut found: impl FnMut(u32, &[u32])) -> Option<()> {
        for slot in self.set()? {
            found(slot, self.take(width)?);
        }
        for _ in 0..self.word()? {
            let place = self.word().filter(|place| *place < self.len)?;
            let count = self.word()? as usize;
            found(self.first + place, self.take(count.checked_mul(width)?)?);
        }
        Some(())
    }
}

fn two_words(words: &[u32]) -> u64 {
    words.iter().rev().fold(0, |value, word| value << 32 | u64::from(*word))
}

impl Loading {
    fn new(index: FieldIndex) -> Loading {
        let values = match &index.kind {
            Kind::Text(_) => LoadingValues::Texts(Vec::new()),
            Kind::Float(_) | Kind::Datetime(_) | Kind::Integer { lookup: None, .. } => {
                LoadingValues::Keys(Column::new())
            }
            _ => LoadingValues::Numbers(Column::new()),
        };
        Loading { index, versions: Vec::new(), values }
    }

    /// `None`: this is no piece.
    fn piece(&mut self, first: u32, len: u32, words: &[u32]) -> Option<()> {
        let mut piece = Piece { first, len, words };
        let lowest = piece.two_words()?;
        let version = |more: &u32| if *more == 0 { Some(0) } else { lowest.checked_add(u64::from(*more)) };
        for more in piece.take(len as usize)? {
            self.versions.push(version(more)?);
        }
        // Pieces come in the order of their slots.
        self.index.nulls.append(piece.set()?).ok()?;
        self.index.others.append(piece.set()?).ok()?;
        for _ in 0..piece.word()? {
            let length = piece.two_words()?;
            self.index.lengths.entry(length).or_default().append(piece.set()?).ok()?;
        }
        match &mut self.values {
            LoadingValues::Numbers(column) => piece.values(1, |slot, words| column.put(slot, words))?,
            LoadingValues::Keys(column) => piece.values(2, |slot, words| {
                let keys: Vec<Key> = words.chunks_exact(2).map(two_words).collect();
                column.put(slot, &keys);
            })?,
            LoadingValues::Texts(texts) => {
                texts.resize((first + len) as usize, None);
                piece.values(1, |slot, words| texts[slot as usize] = Some(words.into()))?;
            }
        }
        piece.words.is_empty().then_some(())
    }

    /// `None`: the section of the distinct values is none, or lacks some.
    fn finish(self, keys: &[u8]) -> Option<(FieldIndex, Vec<u64>)> {
        let Loading { mut index, versions, values } = self;
        index.indexed = match &values {
            LoadingValues::Numbers(column) => column.slots().collect(),
            LoadingValues::Keys(column) => column.slots().collect(),
            LoadingValues::Texts(texts) => {
                (0..).zip(texts).filter(|(_, text)| text.is_some()).map(|(slot, _)| slot).collect()
            }
        };
        match (&mut index.kind, values) {
            (Kind::Keyword(lookup), LoadingValues::Numbers(column)) => {
                *lookup = Lookup::restore(read_keys(keys)?, column)?;
            }
            (Kind::Integer { lookup: Some(lookup), ordered }, LoadingValues::Numbers(column)) => {
                *lookup = Lookup::restore(read_keys(keys)?, column)?;
                if let Some(ordered) = ordered {
                    let mut column = Column::new();
                    for slot in &index.indexed {
                        let of_slot = lookup.keys_of(slot).copied().map(ordered::key_of_integer);
                        let mut of_slot: Vec<Key> = of_slot.collect();
                        of_slot.sort_unstable();
                        column.put(slot, &of_slot);
                    }
                    *ordered = Ordered::restore(column);
                }
            }
            (Kind::Bool(lookup), LoadingValues::Numbers(column)) => {
                *lookup = Lookup::restore(read_keys(keys)?, column)?;
            }
            (Kind::Uuid(lookup), LoadingValues::Numbers(column)) => {
                *lookup = Lookup::restore(read_keys(keys)?, column)?;
            }
            (Kind::Geo(places), LoadingValues::Numbers(column)) => {
                *places = Places::restore(Lookup::restore(read_keys(keys)?, column)?);
            }
            (
                Kind::Float(ordered) | Kind::Datetime(ordered) | Kind::Integer { lookup: None, ordered: Some(ordered) },
                LoadingValues::Keys(column),
            ) => *ordered = Ordered::restore(column),
            (Kind::Text(words), LoadingValues::Texts(texts)) => {
                *words = Words::restore(words.keeps_order(), read_keys(keys)?, texts)?;
            }
            _ => unreachable!("the values are read as the index's kind has them"),
        }
        Some((index, versions))
    }
}

/// What a load makes of a file of `index`; for tests, without a file.
#[cfg(test)]
pub(super) fn restored(index: &FieldIndex, bound: usize) -> FieldIndex {
    let mut copied = Copied::new(index);
    let mut loading = Loading::new(FieldIndex::new(Arc::clone(&index.spec)));
    for first in (0..bound).step_by(PIECE_SLOTS) {
        let versions = vec![Some(1); PIECE_SLOTS.min(bound - first)];
        copied.take(index, Slot(first as u32), &versions);
        loading.piece(first as u32, versions.len() as u32, &copied.piece).expect("a piece that was just copied");
    }
    loading.finish(&copied.keys()).expect("values that were just copied").0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::{Numbers, check_golden};
    use crate::model::Payload;
    use crate::model::field_index::{FieldIndexKind, IntegerParams, KeywordParams, TextParams};
    use serde_json::{Value, json};
    use std::fs;

    fn kinds() -> Vec<FieldIndexKind> {
        let integer = |lookup, range| FieldIndexKind::Integer(IntegerParams { lookup, range });
        let text = |scoring| FieldIndexKind::Text(TextParams { scoring, ..TextParams::default() });
        vec![
            FieldIndexKind::Keyword(KeywordParams::default()),
            integer(None, None),
            integer(Some(false), None),
            integer(None, Some(false)),
            FieldIndexKind::Float,
            FieldIndexKind::Geo,
            text(None),
            text(Some(true)),
            FieldIndexKind::Bool,
            FieldIndexKind::Datetime,
            FieldIndexKind::Uuid,
        ]
    }

    /// Of any kind, often one that no other point has.
    fn value(numbers: &mut Numbers) -> Value {
        let n = numbers.below(1 << 30);
        match numbers.below(9) {
            0 => Value::Null,
            1 => json!(format!("word{n} red")),
            2 => json!(n),
            3 => json!(n as f64 / 8.0),
            4 => json!(n.is_multiple_of(2)),
            5 => json!(format!("20{:02}-01-01", n % 100)),
            6 => json!(uuid::Uuid::from_u128(n as u128).to_string()),
            7 => json!({"lon": (n % 3600) as f64 / 10.0 - 180.0, "lat": (n % 1800) as f64 / 10.0 - 90.0}),
            _ => (0..numbers.below(4)).map(|_| value(numbers)).collect(),
        }
    }

    /// An index, what it is of, and at which version.
    struct Fixture {
        index: FieldIndex,
        points: Vec<Option<(u64, Payload)>>,
    }

    impl Fixture {
        fn new(kind: FieldIndexKind, count: usize, numbers: &mut Numbers) -> Fixture {
            let spec = Arc::new(FieldSpec::new("v".parse().unwrap(), kind));
            let mut fixture = Fixture { index: FieldIndex::new(spec), points: vec![None; count] };
            (0..count).for_each(|slot| fixture.change(slot, 1, numbers));
            fixture
        }

        fn change(&mut self, slot: usize, version: u64, numbers: &mut Numbers) {
            let at = Slot(slot as u32);
            if numbers.below(10) == 0 {
                self.index.remove(at);
                self.points[slot] = None;
            } else {
                let Value::Object(payload) = json!({"v": value(numbers)}) else { unreachable!() };
                let payload = Payload(payload);
                self.index.put(at, self.index.spec().select(&payload));
                self.points[slot] = Some((version, payload));
            }
        }

        fn versions(&self, first: usize) -> Vec<Option<u64>> {
            let points = self.points[first..].iter().take(PIECE_SLOTS);
            points.map(|point| point.as_ref().map(|(version, _)| *version)).collect()
        }

        /// Writes a file; `between` runs between the pieces.
        fn write(&mut self, path: &Path, mut between: impl FnMut(&mut Fixture)) {
            let mut writer = FieldWriter::create(&self.index, path, 5, self.points.len()).unwrap();
            for first in (0..self.points.len()).step_by(PIECE_SLOTS) {
                writer.take(&self.index, Slot(first as u32), &self.versions(first));
                between(self);
                writer.write().unwrap();
            }
            writer.finish().unwrap();
        }

        /// What a shard does at its start; the index, and how many payloads it took.
        fn load(&self, path: &Path) -> (FieldIndex, usize) {
            let mut restoring = RestoringField::load(Arc::clone(self.index.spec()), path, 5).unwrap();
            let mut read = 0;
            for (slot, (version, payload)) in (0..).zip(&self.points).filter_map(|(n, of)| Some((n, of.as_ref()?))) {
                if !restoring.keep(Slot(slot), *version) {
                    restoring.put(Slot(slot), self.index.spec().select(payload));
                    read += 1;
                }
            }
            (restoring.finish(), read)
        }

        fn check(&self, index: &FieldIndex) {
            for (slot, point) in (0..).zip(&self.points) {
                let payload = point.as_ref().map(|(_, payload)| payload);
                assert!(index.holds(Slot(slot), payload), "slot {slot} with {payload:?}");
            }
            assert_eq!(index.point_count(), self.index.point_count());
            assert_eq!(index.facet(None, usize::MAX), self.index.facet(None, usize::MAX));
        }
    }

    #[test]
    fn a_file_that_is_written_while_the_index_changes_serves_what_did_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("field");
        let mut numbers = Numbers(3);
        for kind in kinds() {
            let mut fixture = Fixture::new(kind, 2 * PIECE_SLOTS + 700, &mut numbers);
            let mut version = 1;
            let mut changed = std::collections::BTreeSet::new();
            fixture.write(&path, |fixture| {
                // Values go and come, so that numbers in the dictionary are given anew.
                for _ in 0..300 {
                    version += 1;
                    let slot = numbers.below(fixture.points.len());
                    fixture.change(slot, version, &mut numbers);
                    changed.insert(slot);
                }
            });
            let (index, read) = fixture.load(&path);
            fixture.check(&index);
            assert!(read <= changed.len(), "{read} payloads were read for {} changes", changed.len());
            // What was changed before its piece was copied is in the file.
            assert!(read < changed.len(), "{read} payloads were read for {} changes", changed.len());
            let mut again = Fixture { index, points: fixture.points };
            (0..2_000).for_each(|n| again.change(n * 2 % again.points.len(), 9_999, &mut numbers));
            let index = restored(&again.index, again.points.len());
            again.check(&index);
        }
    }

    #[test]
    fn versions_too_far_apart_cost_a_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("field");
        let mut numbers = Numbers(4);
        let mut fixture = Fixture::new(FieldIndexKind::Bool, 40, &mut numbers);
        for (point, version) in fixture.points.iter_mut().flatten().zip([0, u64::MAX >> 1, 1, u64::from(u32::MAX)]) {
            point.0 = version;
        }
        fixture.write(&path, |_| {});
        let (index, read) = fixture.load(&path);
        fixture.check(&index);
        assert_eq!(read, 2);
    }

    #[test]
    fn any_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("field");
        let mut numbers = Numbers(5);
        for kind in kinds() {
            let mut fixture = Fixture::new(kind, 24, &mut numbers);
            fixture.write(&path, |_| {});
            let load = || RestoringField::load(Arc::clone(fixture.index.spec()), &path, 5).map(|_| ());
            load().unwrap();
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << numbers.below(8);
                fs::write(&path, &bytes).unwrap();
                assert!(matches!(load(), Err(CheckpointError::Damaged { .. })), "byte {at}");
                fs::write(&path, &whole[..at]).unwrap();
                assert!(matches!(load(), Err(CheckpointError::Damaged { .. })), "{at} bytes");
            }
            fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
            assert!(matches!(load(), Err(CheckpointError::Damaged { .. })), "a byte too many");
        }
    }

    #[test]
    fn files_of_another_index_or_checkpoint_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("field");
        let mut numbers = Numbers(6);
        let mut all = kinds();
        all.push(FieldIndexKind::Text(TextParams { lowercase: Some(false), ..TextParams::default() }));
        for kind in &all {
            Fixture::new(kind.clone(), 5, &mut numbers).write(&path, |_| {});
            let load = |field: &str, kind: &FieldIndexKind, stamp| {
                let spec = Arc::new(FieldSpec::new(field.parse().unwrap(), kind.clone()));
                RestoringField::load(spec, &path, stamp).map(|_| ())
            };
            load("v", kind, 5).unwrap();
            for other in all.iter().filter(|other| *other != kind) {
                assert!(matches!(load("v", other, 5), Err(CheckpointError::Foreign { what: "index", .. })));
            }
            assert!(matches!(load("w", kind, 5), Err(CheckpointError::Foreign { what: "index", .. })));
            assert!(matches!(load("v", kind, 6), Err(CheckpointError::Foreign { what: "checkpoint", .. })));
        }
    }

    /// The bytes of format 1. A change of them is a new format version.
    #[test]
    fn the_formats_bytes_are_golden() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("field");
        let mut got = String::new();
        let text = FieldIndexKind::Text(TextParams { phrase_matching: Some(true), ..TextParams::default() });
        for (kind, values) in [
            (FieldIndexKind::Keyword(KeywordParams::default()), [json!("b"), json!(["b", "a", null]), json!(7)]),
            (FieldIndexKind::Float, [json!(1.5), json!([-1, 2]), json!("x")]),
            (text, [json!("b a b"), json!(["a", "c"]), json!("")]),
        ] {
            let spec = Arc::new(FieldSpec::new("v".parse().unwrap(), kind));
            let mut fixture = Fixture { index: FieldIndex::new(Arc::clone(&spec)), points: Vec::new() };
            for (value, slot) in values.into_iter().zip(0..) {
                let Value::Object(payload) = json!({"v": value}) else { unreachable!() };
                fixture.index.put(Slot(slot), spec.select(&Payload(payload.clone())));
                fixture.points.push(Some((300 + u64::from(slot), Payload(payload))));
            }
            fixture.write(&path, |_| {});
            let hex: String = fs::read(&path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            got += &format!("{hex}\n");
        }
        check_golden("payload/golden_checkpoint.txt", &got);
    }
}
