//! Dense vectors as rows of an index.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::arena::{Arena, Cell};
use super::codes::{CodeQuery, CodeRoom, Codes};
use super::file::FileKind;
use super::rows::{QueryRoom, Rows, RowsMemory};
use super::slots::{Pin, Slots};
use super::vector_index::IndexParams;
use crate::distance::{CodeBits, Distances, WHOLE_DIM_MAX};
use crate::model::collection::Datatype;
use crate::model::{Metric, Slot};

/// Vectors of so few numbers have no codes: a row is one cache line, as its code would be.
pub const UNCODED_DIM_MAX: usize = 16;

/// Vectors in rows of an arena, and beside them their codes, if the metric allows any and they are shorter.
#[derive(Debug)]
pub struct DenseRows {
    dim: usize,
    kernel: Distances,
    vectors: Vectors,
    codes: Option<Codes>,
}

/// What is kept of vectors.
#[derive(Debug)]
enum Vectors {
    /// Rows that have no codes are what walks read: they are padded with zeros to whole cache lines.
    Numbers(Arena<f32>),
    Halves(Arena<f16>),
    /// The codes, which are bytes as they came.
    Codes,
}

/// What dense vectors are compared with.
#[derive(Clone, Copy, Debug)]
pub enum DenseQuery<'a> {
    /// As long as a row.
    Numbers(&'a [f32]),
    /// A row.
    Halves(&'a [f16]),
    /// To be compared with codes.
    Code(CodeQuery<'a>),
}

impl DenseRows {
    /// A row of an arena of vectors.
    #[inline]
    fn row<'a, T: Cell>(vectors: &'a Arena<T>, _pin: &'a Pin<'_>, slot: Slot) -> &'a [T] {
        let row = vectors.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` numbers. It is written only at the start of a
        // life of its slot, before the slot is named by a live bit or a link (which are read in acquire order), and
        // again only in its next life, which does not begin while the pin lives.
        unsafe { std::slice::from_raw_parts(row, vectors.width()) }
    }

    /// Writes a row of an arena of vectors.
    fn write_row<T: Cell + Copy>(vectors: &Arena<T>, slot: Slot, numbers: &[T]) {
        assert!(numbers.len() <= vectors.width());
        vectors.grow_to(slot.0);
        let row = vectors.grown_ptr(slot.0);
        // SAFETY: the row has so many cells. Nobody reads it: a reader knows a slot through its live bit or a link while
        // pinned, both went before the slot's last life ended, and `Slots` began this life after every pin of that time
        // was dropped. Two writers exclude each other.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), row, numbers.len()) };
    }

    /// As many numbers of a slot's vector as `out` is long, `from` this one on.
    fn decode(&self, pin: &Pin<'_>, slot: Slot, from: usize, out: &mut [f32]) {
        let range = from..from + out.len();
        match (&self.vectors, &self.codes) {
            (Vectors::Numbers(vectors), _) => out.copy_from_slice(&Self::row(vectors, pin, slot)[range]),
            (Vectors::Halves(vectors), _) => Self::row(vectors, pin, slot)[range].convert_to_f32_slice(out),
            (Vectors::Codes, Some(codes)) => {
                out.iter_mut().zip(&codes.bytes(pin, slot)[range]).for_each(|(x, byte)| *x = f32::from(*byte));
            }
            (Vectors::Codes, None) => unreachable!("vectors that are codes have codes"),
        }
    }

    #[inline]
    fn score_in_batches<const BATCH: usize>(
        &self,
        vectors: &Arena<f32>,
        (pin, query): (&Pin<'_>, &[f32]),
        slots: &[Slot],
        out: &mut [f32],
    ) {
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows: [&[f32]; BATCH] = [&[]; BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = Self::row(vectors, pin, *slot);
            }
            self.kernel.distances(query, &rows[..slots.len()], out);
        }
    }

    /// Compares what is not kept as the kernel takes it: some rows at once, a stretch at a time. A distance is the sum of
    /// those of its stretches.
    #[cold]
    fn score_decoded(&self, pin: &Pin<'_>, query: DenseQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        const ROWS: usize = 8;
        const STRETCH: usize = 256;
        let (mut of_query, mut of_rows) = ([0.0; STRETCH], [[0.0; STRETCH]; ROWS]);
        for (slots, out) in slots.chunks(ROWS).zip(out.chunks_mut(ROWS)) {
            out.fill(0.0);
            for from in (0..self.dim).step_by(STRETCH) {
                let len = STRETCH.min(self.dim - from);
                let of_query = &mut of_query[..len];
                match query {
                    DenseQuery::Numbers(query) => of_query.copy_from_slice(&query[from..from + len]),
                    DenseQuery::Halves(query) => query[from..from + len].convert_to_f32_slice(of_query),
                    DenseQuery::Code(_) => unreachable!("codes are compared with codes"),
                }
                for (room, slot) in of_rows.iter_mut().zip(slots) {
                    self.decode(pin, *slot, from, &mut room[..len]);
                }
                let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                rows.iter_mut().zip(&of_rows).for_each(|(row, room)| *row = &room[..len]);
                let mut of_stretch = [0.0; ROWS];
                self.kernel.distances(of_query, &rows[..slots.len()], &mut of_stretch[..slots.len()]);
                out.iter_mut().zip(of_stretch).for_each(|(sum, distance)| *sum += distance);
            }
        }
    }
}

impl Rows for DenseRows {
    type Vector = [f32];
    type Query<'a> = DenseQuery<'a>;

    const DIVERSE_BATCH: usize = 8;
    const IS_SYMMETRIC: bool = true;
    const SCANNED_PER_WALKED: f64 = 4.0;
    const FILE: FileKind = FileKind::Graph;

    fn new(_slots: &Arc<Slots>, params: &IndexParams, kernel: Distances, folder: Option<&Path>) -> DenseRows {
        let IndexParams { dim, metric, m, storage, .. } = *params;
        let (of_vectors, of_codes) =
            (folder.filter(|_| storage.vectors_on_disk), folder.filter(|_| storage.codes_on_disk));
        let is_byte_metric = matches!(metric, Metric::Euclid | Metric::Dot);
        if storage.datatype == Datatype::Uint8 && is_byte_metric && dim <= WHOLE_DIM_MAX {
            let codes = Some(Codes::of_bytes(dim, metric, of_vectors));
            return DenseRows { dim, kernel, vectors: Vectors::Codes, codes };
        }
        let is_coded = m > 0 && dim > UNCODED_DIM_MAX && metric != Metric::Manhattan;
        let vectors = match storage.datatype {
            Datatype::Float16 => Vectors::Halves(Arena::packed(dim).on_disk(of_vectors)),
            _ if is_coded => Vectors::Numbers(Arena::packed(dim).on_disk(of_vectors)),
            _ => Vectors::Numbers(Arena::new(dim.next_multiple_of(16)).on_disk(of_vectors)),
        };
        let codes = is_coded.then(|| Codes::new(dim, metric, storage.codes, of_codes));
        DenseRows { dim, kernel, vectors, codes }
    }

    fn fits(&self, vector: &[f32]) -> bool {
        vector.len() == self.dim
    }

    fn write(&self, slot: Slot, vector: &[f32]) {
        assert!(self.fits(vector));
        match (&self.vectors, &self.codes) {
            (Vectors::Numbers(vectors), _) => Self::write_row(vectors, slot, vector),
            (Vectors::Halves(vectors), _) => {
                let mut halves = vec![f16::ZERO; self.dim];
                halves.convert_from_f32_slice(vector);
                Self::write_row(vectors, slot, &halves);
            }
            (Vectors::Codes, Some(codes)) => codes.write(slot, vector, &mut CodeRoom::default()),
            (Vectors::Codes, None) => unreachable!("vectors that are codes have codes"),
        }
    }

    fn write_stand_in(&self, pin: &Pin<'_>, slot: Slot, neighbor: Option<Slot>) {
        match neighbor {
            Some(neighbor) => self.write(slot, &self.vector(pin, neighbor)),
            None => self.write(slot, &vec![0.0; self.dim]),
        }
    }

    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Cow<'a, [f32]> {
        if let Vectors::Numbers(vectors) = &self.vectors {
            return Cow::Borrowed(&Self::row(vectors, pin, slot)[..self.dim]);
        }
        let mut vector = vec![0.0; self.dim];
        self.decode(pin, slot, 0, &mut vector);
        Cow::Owned(vector)
    }

    fn query<'a>(&'a self, vector: &'a [f32], room: &'a mut QueryRoom) -> DenseQuery<'a> {
        let QueryRoom { padded, code } = room;
        let width = match (&self.vectors, &self.codes) {
            (Vectors::Codes, Some(codes)) if vector.iter().all(|x| f32::from(*x as u8) == *x) => {
                return DenseQuery::Code(codes.probe(vector, code));
            }
            (Vectors::Numbers(vectors), _) => vectors.width(),
            _ => self.dim,
        };
        padded.clear();
        padded.extend_from_slice(vector);
        padded.resize(width, 0.0);
        DenseQuery::Numbers(padded)
    }

    fn encode(&self, pin: &Pin<'_>, slot: Slot, sample: impl FnOnce() -> Vec<Slot>, room: &mut CodeRoom) {
        let Some(codes) = self.codes.as_ref().filter(|codes| !codes.is_exact()) else { return };
        codes.center_on(|| sample().into_iter().map(|slot| self.vector(pin, slot)));
        codes.write(slot, &self.vector(pin, slot), room);
    }

    fn has_codes(&self) -> bool {
        self.codes.as_ref().is_some_and(|codes| !codes.is_exact())
    }

    fn probe<'a: 'b, 'b>(&'a self, query: DenseQuery<'a>, by_codes: bool, room: &'b mut CodeRoom) -> DenseQuery<'b> {
        match (query, &self.codes) {
            (DenseQuery::Numbers(numbers), Some(codes)) if by_codes && !codes.is_exact() => {
                DenseQuery::Code(codes.probe(&numbers[..self.dim], room))
            }
            _ => query,
        }
    }

    #[inline]
    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> DenseQuery<'a> {
        match (self.codes.as_ref().and_then(|codes| codes.row(pin, slot)), &self.vectors) {
            (Some(code), _) => DenseQuery::Code(CodeQuery::Row(code)),
            (None, Vectors::Numbers(vectors)) => DenseQuery::Numbers(Self::row(vectors, pin, slot)),
            (None, Vectors::Halves(vectors)) => DenseQuery::Halves(Self::row(vectors, pin, slot)),
            (None, Vectors::Codes) => unreachable!("codes of bytes have rows"),
        }
    }

    fn coarse_probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot, room: &'a mut CodeRoom) -> Option<DenseQuery<'a>> {
        let codes = self.codes.as_ref().filter(|codes| codes.is_coarse())?;
        Some(DenseQuery::Code(codes.probe(&self.vector(pin, slot), room)))
    }

    fn fine_probe<'a>(&'a self, probe: DenseQuery<'a>) -> Option<DenseQuery<'a>> {
        match (probe, &self.codes) {
            (DenseQuery::Code(probe), Some(codes)) => codes.fine(probe).map(DenseQuery::Code),
            _ => None,
        }
    }

    fn candidates_per_hit(&self) -> usize {
        match self.codes.as_ref().filter(|codes| !codes.is_exact()) {
            None => 1,
            Some(codes) => match codes.bits() {
                CodeBits::One => 16,
                _ if codes.is_coarse() => 4,
                _ => 2,
            },
        }
    }

    fn walked_bytes(&self) -> usize {
        match (&self.codes, &self.vectors) {
            (Some(codes), _) => codes.walk_bytes(),
            (None, Vectors::Halves(vectors)) => vectors.width() * size_of::<f16>(),
            (None, _) => self.dim * size_of::<f32>(),
        }
    }

    fn scanned_per_row_of_links(&self) -> f64 {
        1.0 + 1024.0 / self.walked_bytes() as f64
    }

    #[inline]
    fn score(&self, pin: &Pin<'_>, query: DenseQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        match (query, &self.codes, &self.vectors) {
            (DenseQuery::Code(code), Some(codes), _) => codes.estimate(pin, code, slots, out),
            (DenseQuery::Code(_), None, _) => unreachable!("a code is made by codes"),
            (DenseQuery::Numbers(query), _, Vectors::Numbers(vectors)) => {
                if slots.len() <= Self::DIVERSE_BATCH {
                    self.score_in_batches::<{ Self::DIVERSE_BATCH }>(vectors, (pin, query), slots, out);
                } else {
                    self.score_in_batches::<32>(vectors, (pin, query), slots, out);
                }
            }
            _ => self.score_decoded(pin, query, slots, out),
        }
    }

    #[inline]
    fn score_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]) {
        self.score(pin, self.probe_of(pin, to), from, out);
    }

    fn distance(&self, query: &[f32], vector: &[f32]) -> f32 {
        self.kernel.distance(query, vector)
    }

    #[inline]
    fn prefetch(&self, query: DenseQuery<'_>, slot: Slot) {
        const LINES_MAX: usize = 16;
        match (query, &self.codes, &self.vectors) {
            (DenseQuery::Code(query), Some(codes), _) => codes.prefetch(query, slot),
            (_, Some(codes), Vectors::Codes) => codes.prefetch(CodeQuery::Row(&[]), slot),
            (_, _, Vectors::Numbers(vectors)) => vectors.prefetch(slot.0, vectors.width().div_ceil(16).min(LINES_MAX)),
            (_, _, Vectors::Halves(vectors)) => vectors.prefetch(slot.0, vectors.width().div_ceil(32).min(LINES_MAX)),
            (_, None, Vectors::Codes) => {}
        }
    }

    fn memory(&self) -> RowsMemory {
        let (vector_bytes, vector_file_bytes) = match &self.vectors {
            Vectors::Numbers(vectors) => (vectors.allocated_bytes(), vectors.file_bytes()),
            Vectors::Halves(vectors) => (vectors.allocated_bytes(), vectors.file_bytes()),
            Vectors::Codes => (0, 0),
        };
        let (code_bytes, code_file_bytes) =
            self.codes.as_ref().map_or((0, 0), |codes| (codes.memory_bytes(), codes.file_bytes()));
        let file_bytes = vector_file_bytes + code_file_bytes;
        match self.vectors {
            Vectors::Codes => RowsMemory { vector_bytes: code_bytes, code_bytes: 0, file_bytes },
            _ => RowsMemory { vector_bytes, code_bytes, file_bytes },
        }
    }
}
