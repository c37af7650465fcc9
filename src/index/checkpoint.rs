//! Checkpoints of the slot table and the graph, so that a restart does not link everything again.
//!
//! What is in a file ([`super::file`]): who lived at each slot, who was linked, the links, the entry point. Vectors are
//! not: the shard reads them from its storage and puts them back. All files of one checkpoint are written under one
//! [`Pin`], so that no slot changes its identity between the first file and the last. Insertions and removals go on
//! meanwhile: a link to a slot that was not linked yet is dropped by the load.
//!
//! The load: [`Slots::load`]; then for each vector name [`VectorIndex::load`], [`Restoring::put`] for every point that
//! still is the one in the table, [`Restoring::finish`]; then [`Slots::settle`]. Linked slots that were put back count
//! as linked; those that were not are dead and are repaired around like any removed slot.
//!
//! Format 1. Slot table: one section of 25 bytes per slot: 0 none, 1 number, 2 UUID; 16 bytes id (big-endian); version.
//! Graph: its header has dim, metric, m, and the entry point; section of a bit per slot, linked or not; section of the
//! level 0 rows of all slots; section of the upper rows of linked slots in their order. A row is `u32` cells: slot + 1,
//! or 0.

use std::io;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::bitmap::Bitmap;
use super::file::{CRC_BYTES, CheckpointError, FileKind, HEADER_BYTES, Header, Input, Output, array};
use super::graph::{Entry, Graph};
use super::rows::Rows;
use super::slots::{Pin, Slots};
use super::vector_index::{IndexParams, VectorIndex};
use crate::model::{Metric, PointId, PointVersion, Slot};

const SLOT_BYTES: usize = 25;

impl Slots {
    /// Writes the slot table. `pin` is the one of all files of the checkpoint, `stamp` its number.
    ///
    /// # Panics
    /// If the pin is not one of these slots.
    pub fn write_checkpoint(&self, pin: &Pin<'_>, path: &Path, stamp: u64) -> io::Result<()> {
        assert!(pin.is_of(self));
        let live = self.live();
        let header = Header { kind: FileKind::Slots, of: [0; 3], bound: live.bound(), stamp, more: 0 };
        let mut out = Output::create(path, &header)?;
        for slot in (0..live.bound() as u32).map(Slot) {
            out.write(&encode_slot(self.get(slot).filter(|_| live.contains(slot))))?;
        }
        out.end_section()?;
        out.finish()
    }

    /// Reads a slot table. Its points are live; free slots wait for [`Slots::settle`].
    pub fn load(path: &Path, stamp: u64) -> Result<Slots, CheckpointError> {
        let mut input = Input::open(path)?;
        let header = input.header(FileKind::Slots, [0; 3], stamp)?;
        input.check_len(HEADER_BYTES + CRC_BYTES + header.bound * SLOT_BYTES + CRC_BYTES)?;
        let mut entries = Vec::with_capacity(header.bound);
        for _ in 0..header.bound {
            let mut bytes = [0; SLOT_BYTES];
            input.read(&mut bytes, "slots")?;
            entries.push(decode_slot(&bytes).ok_or_else(|| input.damaged("slots"))?);
        }
        input.end_section("slots")?;
        Ok(Slots::from_entries(entries.into_iter()))
    }
}

impl<R: Rows> VectorIndex<R> {
    /// Writes the graph while the index is in use. `pin` is the one of all files of the checkpoint, `stamp` its number.
    /// Without a graph only a header is written.
    ///
    /// # Panics
    /// If the pin is not one of this shard's slots.
    pub fn write_checkpoint(&self, pin: &Pin<'_>, path: &Path, stamp: u64) -> io::Result<()> {
        assert!(pin.is_of(&self.slots));
        let linked = match &self.graph {
            // Before the rows are read: who is linked now has complete rows then.
            Some(_) => {
                let agenda = self.agenda.lock();
                let mut linked = Bitmap::new(agenda.bound());
                agenda.linked().for_each(|slot| _ = linked.set(slot));
                linked
            }
            None => Bitmap::new(0),
        };
        let more = encode_entry(self.graph.as_ref().and_then(Graph::entry));
        let header = Header { kind: R::FILE, of: encode_params(&self.params), bound: linked.bound(), stamp, more };
        let mut out = Output::create(path, &header)?;
        let Some(graph) = &self.graph else { return out.finish() };
        for word in linked.words() {
            out.write(&word.to_le_bytes())?;
        }
        out.end_section()?;
        for slot in (0..linked.bound() as u32).map(Slot) {
            self.write_row(&mut out, graph, slot, 0)?;
        }
        out.end_section()?;
        for slot in linked.iter() {
            for level in 1..=graph.level(slot) {
                self.write_row(&mut out, graph, slot, level)?;
            }
        }
        out.end_section()?;
        out.finish()
    }

    fn write_row(&self, out: &mut Output, graph: &Graph, slot: Slot, level: usize) -> io::Result<()> {
        // Copied under the row's lock, so that no neighbor is in the copy twice.
        let cells: Vec<u32> = graph.edit(slot, level, &self.live).neighbors().map(|slot| slot.0 + 1).collect();
        for cell in cells.iter().copied().chain(std::iter::repeat(0)).take(graph.degree_max(level)) {
            out.write(&cell.to_le_bytes())?;
        }
        Ok(())
    }

    /// Reads a graph for the slots of the same checkpoint. `folder` is as in [`VectorIndex::new`].
    pub fn load(
        slots: Arc<Slots>,
        params: IndexParams,
        folder: Option<&Path>,
        path: &Path,
        stamp: u64,
    ) -> Result<Restoring<R>, CheckpointError> {
        let mut input = Input::open(path)?;
        let header = input.header(R::FILE, encode_params(&params), stamp)?;
        let index = VectorIndex::new(slots, params, folder);
        if let Some(graph) = &index.graph {
            input.graph(graph, &header, &index)?;
        } else {
            input.check_len(HEADER_BYTES + CRC_BYTES)?;
        }
        Ok(Restoring { index })
    }
}

/// An index whose graph was loaded and whose vectors are being put back. Not searchable before [`Restoring::finish`].
#[derive(Debug)]
pub struct Restoring<R> {
    index: VectorIndex<R>,
}

impl<R: Rows> Restoring<R> {
    /// What the index was made for.
    pub fn params(&self) -> &IndexParams {
        self.index.params()
    }

    /// Puts back the vector of a slot. One that was linked is linked again; another one goes to the tail.
    ///
    /// # Panics
    /// As [`VectorIndex::put`].
    pub fn put(&self, slot: Slot, vector: &R::Vector) {
        self.index.put(slot, vector);
    }

    /// Every vector that still exists has been put back: what else the graph holds is dead.
    pub fn finish(self) -> VectorIndex<R> {
        self.index.bury_lost();
        self.index.encode_linked();
        self.index
    }
}

/// dim, metric, m. `ef_construction` may change between checkpoints.
fn encode_params(params: &IndexParams) -> [u32; 3] {
    let metric = match params.metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::Euclid => 3,
        Metric::Manhattan => 4,
    };
    [params.dim as u32, metric, params.m as u32]
}

fn encode_entry(entry: Option<Entry>) -> u64 {
    entry.map_or(0, |entry| (entry.level as u64 + 1) << 32 | u64::from(entry.slot.0))
}

fn decode_entry(bits: u64) -> Option<Entry> {
    let level = (bits >> 32).checked_sub(1)?;
    Some(Entry { slot: Slot(bits as u32), level: level as usize })
}

fn encode_slot(entry: Option<(PointId, PointVersion)>) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    if let Some((id, version)) = entry {
        let (kind, id) = match id {
            PointId::Num(num) => (1, u128::from(num)),
            PointId::Uuid(uuid) => (2, uuid.as_u128()),
        };
        bytes[0] = kind;
        bytes[1..17].copy_from_slice(&id.to_be_bytes());
        bytes[17..].copy_from_slice(&version.to_le_bytes());
    }
    bytes
}

/// None if no slot is written like this.
fn decode_slot(bytes: &[u8; SLOT_BYTES]) -> Option<Option<(PointId, PointVersion)>> {
    let id = u128::from_be_bytes(array(&bytes[1..17]));
    let version = u64::from_le_bytes(array(&bytes[17..]));
    match bytes[0] {
        0 => Some(None),
        1 => Some(Some((PointId::Num(u64::try_from(id).ok()?), version))),
        2 => Some(Some((PointId::Uuid(Uuid::from_u128(id)), version))),
        _ => None,
    }
}

impl Input<'_> {
    fn graph<R: Rows>(
        &mut self,
        graph: &Graph,
        header: &Header,
        index: &VectorIndex<R>,
    ) -> Result<(), CheckpointError> {
        let mut words = Vec::with_capacity(header.bound.div_ceil(64));
        for _ in 0..header.bound.div_ceil(64) {
            let mut bytes = [0; 8];
            self.read(&mut bytes, "linked")?;
            words.push(u64::from_le_bytes(bytes));
        }
        self.end_section("linked")?;
        // Slots beyond the table were handed out after it was written.
        let mut linked = Bitmap::from_words(words, header.bound);
        let upper_rows: usize = linked.iter().map(|slot| graph.level(slot)).sum();
        let cells = header.bound * graph.degree_max(0) + upper_rows * graph.degree_max(1);
        let linked_bytes = header.bound.div_ceil(64) * 8;
        self.check_len(HEADER_BYTES + linked_bytes + cells * 4 + 4 * CRC_BYTES)?;
        let written = linked.clone();
        linked.cut(index.slots.bound());
        let mut neighbors = Vec::new();
        for slot in (0..header.bound as u32).map(Slot) {
            self.row(graph.degree_max(0), &linked, &mut neighbors, "level 0")?;
            if linked.contains(slot) {
                graph.grow_to(slot);
                graph.restore(slot, 0, &neighbors);
            }
        }
        self.end_section("level 0")?;
        for slot in written.iter() {
            for level in 1..=graph.level(slot) {
                self.row(graph.degree_max(level), &linked, &mut neighbors, "upper levels")?;
                if linked.contains(slot) {
                    graph.restore(slot, level, &neighbors);
                }
            }
        }
        self.end_section("upper levels")?;
        index.claim_linked(&linked, decode_entry(header.more));
        Ok(())
    }

    /// The neighbors of a row that are linked.
    fn row(
        &mut self,
        cells: usize,
        linked: &Bitmap,
        neighbors: &mut Vec<Slot>,
        section: &'static str,
    ) -> Result<(), CheckpointError> {
        neighbors.clear();
        let mut bytes = [0; 256];
        let mut left = cells * 4;
        while left > 0 {
            let part = left.min(bytes.len());
            self.read(&mut bytes[..part], section)?;
            let cells = bytes[..part].chunks_exact(4).map(|cell| u32::from_le_bytes(array(cell)));
            neighbors
                .extend(cells.filter_map(|cell| cell.checked_sub(1)).map(Slot).filter(|slot| linked.contains(*slot)));
            left -= part;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::DenseIndex;
    use std::fs;
    use std::path::PathBuf;

    use crate::index::tests::{METRICS, Numbers, World, approximate};

    /// Slot table and graph, written into a fresh folder.
    fn write(world: &World, stamp: u64) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (slots, graph) = (folder.path().join("slots"), folder.path().join("graph"));
        let pin = world.slots.pin();
        world.slots.write_checkpoint(&pin, &slots, stamp).unwrap();
        world.index.write_checkpoint(&pin, &graph, stamp).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing unfinished is left");
        (folder, slots, graph)
    }

    /// What a shard does at its start: `keeps` says which points its storage still has.
    fn load(world: &World, files: &(tempfile::TempDir, PathBuf, PathBuf), keeps: impl Fn(Slot) -> bool) -> World {
        let slots = Arc::new(Slots::load(&files.1, 5).unwrap());
        let restoring = DenseIndex::load(slots.clone(), *world.index.params(), None, &files.2, 5).unwrap();
        for slot in slots.live().iter() {
            if !keeps(slot) {
                slots.retire(slot);
            }
        }
        let pin = world.slots.pin();
        for slot in slots.live().iter() {
            assert_eq!(slots.get(slot), world.slots.get(slot));
            restoring.put(slot, &world.index.vector(&pin, slot).unwrap());
        }
        let index = restoring.finish();
        slots.settle();
        World::over(slots, index)
    }

    #[test]
    fn a_loaded_index_answers_as_the_written_one() {
        for metric in METRICS {
            let scalar = World::new(metric, 12, 8);
            let params = *scalar.index.params();
            let mut world = World::over(scalar.slots.clone(), DenseIndex::new(scalar.slots, params, None));
            let slots = world.put_many(3_000);
            world.settle();
            for slot in &slots[..60] {
                world.remove(*slot);
            }
            let tail = world.put_many(10);
            let files = write(&world, 5);
            let mut loaded = load(&world, &files, |_| true);
            assert_eq!(loaded.slots.live(), world.slots.live());
            assert_eq!((loaded.index.indexed_len(), loaded.index.tail_len()), (2_940, tail.len()));
            for _ in 0..30 {
                let query = world.data.vector();
                for params in [approximate(10, 30), approximate(10, 200)] {
                    assert_eq!(loaded.search(&query, &params).hits, world.search(&query, &params).hits);
                }
            }
            loaded.settle();
            loaded.put_many(100);
            loaded.settle();
            assert!(loaded.slots.bound() <= 3_060, "slots that were dead are used again");
        }
    }

    #[test]
    fn points_that_are_gone_are_dropped_and_repaired_around() {
        let mut world = World::new(Metric::Euclid, 12, 8);
        world.put_many(3_000);
        world.settle();
        let files = write(&world, 5);
        let mut loaded = load(&world, &files, |slot| slot.0 % 4 != 0);
        assert_eq!(
            (loaded.index.live_len(), loaded.index.indexed_len(), loaded.index.repair_len()),
            (2_250, 2_250, 750)
        );
        let recall = loaded.recall(10, 100, None);
        assert!(recall >= 0.97, "before repair: {recall}");
        loaded.settle();
        assert_eq!(loaded.index.repair_len(), 0);
        let recall = loaded.recall(10, 100, None);
        assert!(recall >= 0.97, "after repair: {recall}");
        loaded.put_many(750);
        assert_eq!(loaded.slots.bound(), 3_000);
    }

    #[test]
    fn checkpoints_may_be_written_while_the_index_changes() {
        let mut world = World::new(Metric::Euclid, 8, 6);
        world.put_many(2_000);
        world.settle();
        let slots = world.put_many(2_000);
        let files = std::thread::scope(|scope| {
            let index = &world.index;
            let worker = scope.spawn(move || {
                let mut scratch = crate::index::Scratch::new();
                while index.work(&mut scratch, 8) > 0 {}
            });
            let files = write(&world, 5);
            for slot in &slots[..500] {
                world.remove(*slot);
            }
            worker.join().unwrap();
            files
        });
        let mut loaded = load(&world, &files, |slot| world.slots.is_live(slot));
        loaded.settle();
        let recall = loaded.recall(10, 100, None);
        assert!(recall >= 0.97, "{recall}");
        assert_eq!(loaded.index.live_len(), 3_500);
    }

    #[test]
    fn any_damage_is_found() {
        let mut world = World::new(Metric::Euclid, 4, 2);
        world.put_many(60);
        world.settle();
        let (_folder, slots_path, graph_path) = write(&world, 5);
        let load_slots = |path: &Path| Slots::load(path, 5).map(|_| ());
        let load_graph =
            |path: &Path| DenseIndex::load(world.slots.clone(), *world.index.params(), None, path, 5).map(|_| ());
        type Load<'a> = &'a dyn Fn(&Path) -> Result<(), CheckpointError>;
        for (path, load) in [(&slots_path, &load_slots as Load<'_>), (&graph_path, &load_graph)] {
            load(path).unwrap();
            let whole = fs::read(path).unwrap();
            let mut numbers = Numbers(3);
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << numbers.below(8);
                fs::write(path, &bytes).unwrap();
                assert!(matches!(load(path), Err(CheckpointError::Damaged { .. })), "byte {at} of {path:?}");
            }
            for len in 0..whole.len() {
                fs::write(path, &whole[..len]).unwrap();
                assert!(matches!(load(path), Err(CheckpointError::Damaged { .. })), "{len} bytes of {path:?}");
            }
            fs::write(path, [&whole[..], &[0]].concat()).unwrap();
            assert!(matches!(load(path), Err(CheckpointError::Damaged { .. })), "a byte too many in {path:?}");
            fs::write(path, &whole).unwrap();
        }
    }

    #[test]
    fn files_of_another_index_or_checkpoint_are_refused() {
        let mut world = World::new(Metric::Euclid, 4, 4);
        world.put_many(10);
        let (folder, slots_path, graph_path) = write(&world, 5);
        let load =
            |params: IndexParams, path: &Path, stamp| DenseIndex::load(world.slots.clone(), params, None, path, stamp);
        let params = *world.index.params();
        for other in [
            IndexParams { dim: 5, ..params },
            IndexParams { m: 5, ..params },
            IndexParams { m: 0, ..params },
            IndexParams { metric: Metric::Dot, ..params },
        ] {
            assert!(matches!(load(other, &graph_path, 5), Err(CheckpointError::Foreign { what: "index", .. })));
        }
        assert!(matches!(load(params, &graph_path, 6), Err(CheckpointError::Foreign { what: "checkpoint", .. })));
        assert!(matches!(load(params, &slots_path, 5), Err(CheckpointError::Foreign { what: "format", .. })));
        assert!(matches!(Slots::load(&slots_path, 4), Err(CheckpointError::Foreign { what: "checkpoint", .. })));
        assert!(matches!(Slots::load(&folder.path().join("none"), 5), Err(CheckpointError::Io { .. })));
    }

    #[test]
    fn graphless_indexes_have_checkpoints_too() {
        let mut world = World::new(Metric::Dot, 4, 0);
        world.put_many(10);
        let files = write(&world, 5);
        let mut loaded = load(&world, &files, |slot| slot.0 != 3);
        assert_eq!(loaded.search(&[1.0; 4], &approximate(20, 20)).hits.len(), 9);
    }

    /// The bytes of format 1. A change of them is a new format version.
    #[test]
    fn the_formats_bytes_are_golden() {
        let world = World::new(Metric::Euclid, 1, 1);
        for id in [PointId::Num(258), PointId::Uuid(Uuid::from_u128(1 << 127))] {
            let slot = world.slots.allocate(id, 772).unwrap();
            world.index.put(slot, &[slot.0 as f32]);
        }
        while world.index.work(&mut crate::index::Scratch::new(), 1) > 0 {}
        let (_folder, slots_path, graph_path) = write(&world, 5);
        let hex = |path: &Path| fs::read(path).unwrap().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let got = format!("slots {}\ngraph {}\n", hex(&slots_path), hex(&graph_path));
        crate::index::tests::check_golden("golden_checkpoint.txt", &got);
    }
}
