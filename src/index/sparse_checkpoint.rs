//! Checkpoints of posting lists, so that a restart does not sort them anew.
//!
//! What is in a file: for each window of slots which of its vectors are in its lists, and the lists. Vectors are not: the
//! shard reads them from its storage and puts them back. A vector that is put back where the file has its slot is in the
//! lists already; any other goes to the tail, and what the file has and nobody puts back is dead.
//!
//! Writing reads a window's sets and lists for a moment each and holds up nobody. The pin, which all files of a checkpoint
//! share, keeps a slot from changing its identity between the lists and the slot table.
//!
//! Format 1. The header says the length and the CRC-32 of the vector's name. Sized sections: the name; per window
//!  a bit per slot, in the lists or not; the lists as [`Postings`] has them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::bitmap::Bitmap;
use super::file::{CheckpointError, FileKind, Header, Input, Output, array, fingerprint};
use super::postings::{Postings, WINDOW_SLOTS};
use super::slots::{Pin, Slots};
use super::sparse::{SparseIndex, Standing, WINDOW_WORDS};
use crate::model::{Slot, SparseVector};

impl SparseIndex {
    /// Writes the posting lists while the index is in use. `pin` is the one of all files of the checkpoint, `stamp` its
    /// number, `name` the vector's.
    ///
    /// # Panics
    /// If the pin is not one of this shard's slots.
    pub fn write_checkpoint(&self, pin: &Pin<'_>, path: &Path, stamp: u64, name: &str) -> io::Result<()> {
        assert!(pin.is_of(self.vectors.slots()));
        let window_count = self.windows.read().len();
        let bound = window_count * WINDOW_SLOTS;
        let header = Header { kind: FileKind::Sparse, of: fingerprint(name.as_bytes()), bound, stamp, more: 0 };
        let mut out = Output::create(path, &header)?;
        out.sized_section(name.as_bytes())?;
        for window in 0..window_count {
            let live = self.vectors.live();
            let words = window * WINDOW_WORDS..(window + 1) * WINDOW_WORDS;
            // As a search reads them: who is live, then the tail, then the lists, which have everyone found so far.
            let listed: Vec<u64> = words.clone().map(|i| live.word(i) & !self.tail.word(i)).collect();
            let postings = self.postings(window).unwrap_or_default();
            // But for who has been removed since, and was left out when the lists were built once more.
            let members = words.zip(listed).map(|(i, word)| word & live.word(i)).collect();
            let members = Bitmap::from_words(members, WINDOW_SLOTS);
            let mut bytes: Vec<u8> = members.words().iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.append(&mut postings.encode(&members));
            out.sized_section(&bytes)?;
        }
        out.finish()
    }

    /// Reads the posting lists of the vector called `name` for the slots of the same checkpoint.
    pub fn load(slots: Arc<Slots>, path: &Path, stamp: u64, name: &str) -> Result<RestoringSparse, CheckpointError> {
        let mut input = Input::open(path)?;
        let header = input.header(FileKind::Sparse, fingerprint(name.as_bytes()), stamp)?;
        let mut bytes = Vec::new();
        input.sized_section(&mut bytes, "name")?;
        if bytes != name.as_bytes() {
            return Err(input.foreign("index"));
        }
        let mut windows = Vec::new();
        let mut members = Vec::new();
        for _ in 0..header.bound.div_ceil(WINDOW_SLOTS) {
            input.sized_section(&mut bytes, "lists")?;
            let window = bytes.split_at_checked(WINDOW_WORDS * 8);
            let window = window.and_then(|(members, lists)| Some((members, Postings::decode(lists)?)));
            let (words, postings) = window.ok_or_else(|| input.damaged("lists"))?;
            members.extend(words.chunks_exact(8).map(|word| u64::from_le_bytes(array(word))));
            windows.push(Arc::new(postings));
        }
        input.check_end()?;
        // Slots beyond the table were handed out after it was written.
        let bound = slots.bound().min(windows.len() * WINDOW_SLOTS);
        let index = SparseIndex::new(slots);
        let standings = members.chunks(WINDOW_WORDS).map(|words| {
            let listed = words.iter().map(|word| word.count_ones() as usize).sum();
            Standing { listed, ..Standing::default() }
        });
        index.agenda.lock().standings = standings.collect();
        *index.windows.write() = windows;
        members.truncate(bound.div_ceil(64));
        let listed = Bitmap::from_words(members, bound);
        Ok(RestoringSparse { index, lost: listed.clone(), listed })
    }
}

/// An index whose posting lists were loaded and whose vectors are being put back. Not searchable before
/// [`RestoringSparse::finish`].
#[derive(Debug)]
pub struct RestoringSparse {
    index: SparseIndex,
    /// In the lists.
    listed: Bitmap,
    /// In the lists, and not put back yet.
    lost: Bitmap,
}

impl RestoringSparse {
    /// Puts back the vector of a slot. One that is in the lists stays there; another one goes to the tail.
    ///
    /// # Panics
    /// As [`SparseIndex::put`].
    pub fn put(&mut self, slot: Slot, vector: SparseVector) {
        if self.lost.contains(slot) {
            self.lost.clear(slot);
            self.index.vectors.put(slot, vector);
        } else {
            self.index.put(slot, vector);
        }
    }

    /// Every vector that still exists has been put back: what else the lists have is dead.
    pub fn finish(self) -> SparseIndex {
        let RestoringSparse { index, listed, lost } = self;
        let mut spread = index.spread.write();
        let mut agenda = index.agenda.lock();
        for (window, postings) in index.windows.read().iter().enumerate() {
            let words = window * WINDOW_WORDS..(window + 1) * WINDOW_WORDS;
            let dead: usize = words.map(|i| lost.word(i).count_ones() as usize).sum();
            let is_kept = |place: u16| {
                let slot = Slot((window * WINDOW_SLOTS) as u32 + u32::from(place));
                listed.contains(slot) && !lost.contains(slot)
            };
            let is_whole = dead == 0 && (window + 1) * WINDOW_SLOTS <= listed.bound();
            for (index, places) in postings.lists() {
                let kept = || places.iter().filter(|place| is_kept(**place)).count();
                let count = if is_whole { places.len() } else { kept() } as u32;
                if count > 0 {
                    *spread.entry(index).or_default() += count;
                }
            }
            if let Some(standing) = agenda.standings.get_mut(window) {
                standing.dead += dead;
            }
            agenda.look_at(window);
        }
        drop((spread, agenda));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::sparse::tests::{Fixture, Rng, sparse};
    use crate::index::tests::{Numbers, check_golden};
    use crate::model::PointId;
    use std::fs;
    use std::path::PathBuf;

    /// Slot table and lists, written into a fresh folder.
    fn write(of: &Fixture) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (slots, lists) = (folder.path().join("slots"), folder.path().join("sparse"));
        let pin = of.slots.pin();
        of.index.write_checkpoint(&pin, &lists, 5, "name").unwrap();
        of.slots.write_checkpoint(&pin, &slots, 5).unwrap();
        (folder, slots, lists)
    }

    /// What a shard does at its start: `keeps` says which points its storage still has.
    fn load(of: &Fixture, files: &(tempfile::TempDir, PathBuf, PathBuf), keeps: impl Fn(Slot) -> bool) -> Fixture {
        let slots = Arc::new(Slots::load(&files.1, 5).unwrap());
        let mut restoring = SparseIndex::load(Arc::clone(&slots), &files.2, 5, "name").unwrap();
        let mut live = std::collections::BTreeMap::new();
        for slot in slots.live().iter() {
            match of.live.get(&slot).filter(|_| keeps(slot)) {
                Some(vector) => {
                    restoring.put(slot, vector.clone());
                    live.insert(slot, vector.clone());
                }
                None => assert!(slots.retire(slot)),
            }
        }
        let index = restoring.finish();
        slots.settle();
        Fixture { slots, index, live }
    }

    fn check(of: &Fixture, rng: &mut Rng) {
        for k in [1, 10, usize::MAX] {
            (0..6).for_each(|_| of.check(&rng.vector(40, true), k, None));
        }
        let indices: Vec<u32> = (0..400).collect();
        let having = |index: &u32| of.live.values().filter(|of| of.indices().contains(index)).count() as u64;
        let counts = of.index.counts(&of.slots.pin(), &indices, None, &crate::index::Stop::new()).unwrap();
        assert_eq!(counts.having, indices.iter().map(having).collect::<Vec<_>>());
    }

    #[test]
    fn loaded_lists_answer_as_the_written_ones_and_go_on() {
        let mut rng = Rng(7);
        let mut of = Fixture::new();
        let count = WINDOW_SLOTS + 500;
        for n in 0..count {
            let vector = rng.vector(20, true);
            let slot = of.put(&vector);
            if rng.below(6) == 0 {
                of.remove(slot);
            }
            if n == count - 200 {
                while of.index.work(1) > 0 {}
            }
        }
        let files = write(&of);
        let mut whole = load(&of, &files, |_| true);
        assert_eq!((whole.index.live_len(), whole.index.tail_len()), (of.index.live_len(), of.index.tail_len()));
        assert!(whole.index.tail_len() <= 200);
        check(&whole, &mut rng);
        for lost in [100, 3] {
            let some = load(&of, &files, |slot| slot.0 % lost != 0);
            check(&some, &mut rng);
            while some.index.work(1) > 0 {}
            check(&some, &mut rng);
        }
        for _ in 0..3_000 {
            let vector = rng.vector(20, true);
            whole.put(&vector);
            let slot = *whole.live.keys().nth(rng.below(whole.live.len() as u64) as usize).unwrap();
            whole.remove(slot);
            whole.index.work(1);
        }
        check(&whole, &mut rng);
    }

    #[test]
    fn checkpoints_may_be_written_while_vectors_come_and_go() {
        let mut rng = Rng(9);
        let mut of = Fixture::new();
        (0..3_000).for_each(|_| _ = of.put(&rng.vector(10, true)));
        while of.index.work(1) > 0 {}
        for round in 0..8 {
            let Fixture { slots, index, live } = &mut of;
            let files = std::thread::scope(|scope| {
                let (slots, index) = (&*slots, &*index);
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let slot = slots.allocate(PointId::Num(n), 2).unwrap();
                        index.put(slot, sparse(&[(n as u32 % 50, 1.0)]));
                        if n % 64 == 0 {
                            index.work(1);
                        }
                        assert!(index.remove(slot) && slots.retire(slot));
                    }
                });
                let folder = tempfile::tempdir().unwrap();
                let (table, lists) = (folder.path().join("slots"), folder.path().join("sparse"));
                let pin = slots.pin();
                index.write_checkpoint(&pin, &lists, 5, "name").unwrap();
                slots.write_checkpoint(&pin, &table, 5).unwrap();
                (folder, table, lists)
            });
            // Those of the other thread are gone; the rest must be found.
            let stays: Vec<Slot> = live.keys().copied().collect();
            let loaded = load(&of, &files, |slot| stays.contains(&slot));
            assert_eq!(loaded.live.len(), 3_000, "round {round}");
            check(&loaded, &mut rng);
        }
    }

    #[test]
    fn any_damage_is_found_and_other_files_are_refused() {
        let mut of = Fixture::new();
        let mut rng = Rng(11);
        (0..6).for_each(|_| _ = of.put(&rng.vector(5, true)));
        while of.index.work(1) > 0 {}
        let (_folder, _, path) = write(&of);
        let load = |stamp, name: &str| SparseIndex::load(Arc::clone(&of.slots), &path, stamp, name).map(|_| ());
        load(5, "name").unwrap();
        assert!(matches!(load(6, "name"), Err(CheckpointError::Foreign { what: "checkpoint", .. })));
        assert!(matches!(load(5, "mane"), Err(CheckpointError::Foreign { what: "index", .. })));
        let whole = fs::read(&path).unwrap();
        let mut numbers = Numbers(3);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << numbers.below(8);
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(load(5, "name"), Err(CheckpointError::Damaged { .. })), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(load(5, "name"), Err(CheckpointError::Damaged { .. })), "{at} bytes");
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert!(matches!(load(5, "name"), Err(CheckpointError::Damaged { .. })), "a byte too many");
    }

    /// The bytes of format 1, but for the window's set. A change of them is a new format version.
    #[test]
    fn the_formats_bytes_are_golden() {
        let mut of = Fixture::new();
        of.put(&sparse(&[(7, 1.5), (300, -2.0)]));
        of.put(&sparse(&[(7, 0.5)]));
        while of.index.work(1) > 0 {}
        let (_folder, _, path) = write(&of);
        let bytes = fs::read(&path).unwrap();
        let (head, lists) = bytes.split_at(bytes.len() - 4 - (8 + 2 * 8 + 3 * 6));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let set = head.len() - WINDOW_WORDS * 8;
        check_golden("golden_sparse.txt", &format!("{}..{}\n", hex(&head[..set + 8]), hex(lists)));
    }
}
