//! Rows of one fixed width that grow in number and never move.
//!
//! Segment 0 holds `2^base` rows and each further segment as many as all before it, so a handful of segments reaches
//! any size, a row's address is two instructions and one load away from its number, and a small arena costs a few
//! pages. Memory comes zeroed from the allocator, which hands out large blocks as untouched pages: a segment costs
//! what was written to it.
//!
//! An arena may have a folder. Then its segments are files there that have no name: mapped, so that memory holds what is in
//! use, and gone with the arena. They are allocated whole, so that a full device is noticed here and not by a write to
//! memory, which no one survives; a segment the device has no room for is memory after all.
//!
//! Invariant: a segment pointer is set once and lives as long as the arena, so a row's address stays valid.
//!
//! What it deliberately does not do: decide who may write a row. Rows of atomics are shared freely; rows of plain
//! numbers are reached through raw pointers, and the caller says why that is sound.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

const SEGMENT_COUNT: usize = 33;
const LINE_BYTES: usize = 64;
/// From this size on a segment is aligned for, and asks for, huge pages.
const HUGE_BYTES: usize = 2 << 20;
/// Rows of the first segment fill about this much.
const FIRST_SEGMENT_BYTES: usize = 16 << 10;

/// Numbers for which zeroed memory is a value.
///
/// # Safety
/// All-zero bytes are a valid value, and the type needs no drop.
pub(super) unsafe trait Cell {}
// SAFETY: numbers; zero is a value of each.
unsafe impl Cell for f32 {}
// SAFETY: as above; the layout is that of a u16.
unsafe impl Cell for half::f16 {}
// SAFETY: as above.
unsafe impl Cell for u8 {}
// SAFETY: as above; atomics have the layout of their number.
unsafe impl Cell for AtomicU8 {}
// SAFETY: as above.
unsafe impl Cell for AtomicU32 {}
// SAFETY: as above.
unsafe impl Cell for AtomicU64 {}

// SAFETY: a null pointer is all zero bytes, and a value.
unsafe impl<T> Cell for AtomicPtr<T> {}

/// Atomics: a shared reference is enough to read and to write, so rows of them are safe to share.
pub(super) trait Shared: Cell {}
impl Shared for AtomicU8 {}
impl Shared for AtomicU32 {}
impl Shared for AtomicU64 {}
impl<T> Shared for AtomicPtr<T> {}

/// Growing storage of rows of `width` cells each.
#[derive(Debug)]
pub(super) struct Arena<T: Cell> {
    /// Address that row 0 would have if the segment began there: `biased + row * stride` is a row of the segment.
    biased: [AtomicPtr<u8>; SEGMENT_COUNT],
    /// The allocations, to free them. Short section: one allocation.
    owned: Mutex<Vec<Segment>>,
    folder: Option<PathBuf>,
    width: usize,
    stride_bytes: usize,
    base: u32,
    cells: PhantomData<T>,
}

#[derive(Debug)]
enum Segment {
    Memory(*mut u8, Layout),
    Mapped(memmap2::MmapMut),
}

// SAFETY: the pointers are owned allocations that live as long as the arena; shared references only give out `&[T]`
// of `Shared` (atomic) cells, or raw pointers whose use is the caller's unsafe code.
unsafe impl<T: Cell + Send> Send for Arena<T> {}
// SAFETY: as above.
unsafe impl<T: Cell + Send + Sync> Sync for Arena<T> {}

impl<T: Cell> Arena<T> {
    /// An arena without rows. Rows of 64 bytes and more start on cache lines.
    pub(super) fn new(width: usize) -> Arena<T> {
        let row_bytes = (width * size_of::<T>()).max(size_of::<T>());
        let stride_bytes = if row_bytes >= LINE_BYTES { row_bytes.next_multiple_of(LINE_BYTES) } else { row_bytes };
        Arena::with_stride(width, stride_bytes)
    }

    /// An arena without rows, which will follow each other without gaps: for what is seldom read but in their order.
    pub(super) fn packed(width: usize) -> Arena<T> {
        Arena::with_stride(width, (width * size_of::<T>()).max(size_of::<T>()))
    }

    fn with_stride(width: usize, stride_bytes: usize) -> Arena<T> {
        let base = (FIRST_SEGMENT_BYTES / stride_bytes).max(1).ilog2();
        let biased = [const { AtomicPtr::new(std::ptr::null_mut()) }; SEGMENT_COUNT];
        Arena { biased, owned: Mutex::new(Vec::new()), folder: None, width, stride_bytes, base, cells: PhantomData }
    }

    /// The same, without rows yet, in files in `folder`, if one is given.
    pub(super) fn on_disk(self, folder: Option<&Path>) -> Arena<T> {
        Arena { folder: folder.map(Path::to_owned), ..self }
    }

    #[inline]
    fn segment_of(&self, row: u32) -> usize {
        (u32::BITS - (row >> self.base).leading_zeros()) as usize
    }

    /// Makes room for `row` and every row before it.
    pub(super) fn grow_to(&self, row: u32) {
        for segment in 0..=self.segment_of(row) {
            if self.biased[segment].load(Ordering::Acquire).is_null() {
                self.allocate(segment);
            }
        }
    }

    /// Bytes of memory allocated. What was not written to takes none yet: at most about half.
    pub(super) fn allocated_bytes(&self) -> usize {
        let bytes_of = |segment: &Segment| if let Segment::Memory(_, layout) = segment { layout.size() } else { 0 };
        self.owned.lock().iter().map(bytes_of).sum()
    }

    /// Bytes of files, about as many of which are in use.
    pub(super) fn file_bytes(&self) -> usize {
        let bytes_of = |segment: &Segment| if let Segment::Mapped(file) = segment { file.len() } else { 0 };
        self.owned.lock().iter().map(bytes_of).sum()
    }

    #[cold]
    fn allocate(&self, segment: usize) {
        let mut owned = self.owned.lock();
        if !self.biased[segment].load(Ordering::Acquire).is_null() {
            return;
        }
        let first_row = if segment == 0 { 0 } else { 1usize << (self.base as usize + segment - 1) };
        let row_count = first_row.max(1 << self.base);
        let bytes = row_count * self.stride_bytes;
        let mapped = self.folder.as_ref().and_then(|folder| map_file(folder, bytes).ok());
        let start = match mapped {
            Some(mut file) => {
                let start = file.as_mut_ptr();
                owned.push(Segment::Mapped(file));
                start
            }
            None => {
                let (segment, start) = allocate(bytes);
                owned.push(segment);
                start
            }
        };
        let biased = start.wrapping_sub(first_row * self.stride_bytes);
        self.biased[segment].store(biased, Ordering::Release);
    }

    /// The address of a row, or none before `grow_to` has reached it. Points to `width` cells.
    #[inline]
    pub(super) fn row_ptr(&self, row: u32) -> Option<*mut T> {
        let biased = self.biased[self.segment_of(row)].load(Ordering::Acquire);
        if biased.is_null() {
            return None;
        }
        Some(biased.wrapping_add(row as usize * self.stride_bytes).cast())
    }

    /// The address of a row that exists.
    ///
    /// # Panics
    /// If `grow_to` has not reached it.
    #[inline]
    pub(super) fn grown_ptr(&self, row: u32) -> *mut T {
        match self.row_ptr(row) {
            Some(at) => at,
            None => panic!("row {row} of an arena that has not grown to it"),
        }
    }

    /// Asks the processor to fetch the first `lines` cache lines of a row. A row that does not exist is ignored.
    #[inline]
    pub(super) fn prefetch(&self, row: u32, lines: usize) {
        if let Some(at) = self.row_ptr(row) {
            prefetch(at.cast(), lines);
        }
    }

    /// Cells per row.
    pub(super) fn width(&self) -> usize {
        self.width
    }
}

impl<T: Shared> Arena<T> {
    /// A row, or none before `grow_to` has reached it.
    #[inline]
    pub(super) fn row(&self, row: u32) -> Option<&[T]> {
        // SAFETY: the row lies inside a live, zeroed allocation of the arena; `Shared` cells may be aliased.
        self.row_ptr(row).map(|at| unsafe { std::slice::from_raw_parts(at, self.width) })
    }

    /// A row that exists.
    ///
    /// # Panics
    /// If `grow_to` has not reached it.
    pub(super) fn grown(&self, row: u32) -> &[T] {
        match self.row(row) {
            Some(cells) => cells,
            None => panic!("row {row} of an arena that has not grown to it"),
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Segment::Memory(start, layout) = self {
            // SAFETY: allocated with this layout, freed once.
            unsafe { dealloc(*start, *layout) };
        }
    }
}

/// Zeroed memory, and where it begins on a cache line, or on a huge page if it is large.
fn allocate(bytes: usize) -> (Segment, *mut u8) {
    let align = if bytes >= 2 * HUGE_BYTES { HUGE_BYTES } else { LINE_BYTES };
    // Alignment is made by hand: asking the allocator for it would make it write zeros over every page.
    let Ok(layout) = Layout::from_size_align(bytes + align, 16) else {
        panic!("a segment of {bytes} bytes does not fit the address space");
    };
    // SAFETY: the size is not zero.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        handle_alloc_error(layout);
    }
    let aligned = start.wrapping_add(start.align_offset(align));
    advise_huge_pages(aligned, bytes);
    (Segment::Memory(start, layout), aligned)
}

/// A file of zeros without a name, mapped.
fn map_file(folder: &Path, bytes: usize) -> io::Result<memmap2::MmapMut> {
    let file = tempfile::tempfile_in(folder)?;
    reserve(&file, bytes)?;
    // SAFETY: the file has no name, so nobody else shortens it or writes to it.
    let mapped = unsafe { memmap2::MmapOptions::new().len(bytes).map_mut(&file)? };
    mapped.advise(memmap2::Advice::Random)?;
    Ok(mapped)
}

/// Makes `file` as long as `bytes`, all of which the device has room for.
fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as the file is borrowed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[inline]
pub(super) fn prefetch(at: *const u8, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint; it does not fault at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line * LINE_BYTES).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, lines);
}

fn advise_huge_pages(start: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if bytes >= 2 * HUGE_BYTES {
        // SAFETY: the range is inside our own allocation, aligned to pages, and the advice changes no contents. A
        // refusal costs only speed.
        unsafe { libc::madvise(start.cast(), bytes / HUGE_BYTES * HUGE_BYTES, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distinct_zeroed_and_stay_where_they_are() {
        for width in [1, 3, 32, 5_000] {
            let arena = Arena::<AtomicU32>::new(width);
            assert!(arena.row(0).is_none());
            arena.grow_to(0);
            let first = arena.row(0).unwrap().as_ptr();
            let rows = if width > 1_000 { 40 } else { 20_000 };
            for row in 0..rows {
                arena.grow_to(row);
                for cell in arena.row(row).unwrap() {
                    assert_eq!(cell.swap(row + 1, Ordering::Relaxed), 0);
                }
            }
            for row in 0..rows {
                assert!(arena.row(row).unwrap().iter().all(|cell| cell.load(Ordering::Relaxed) == row + 1));
            }
            assert_eq!(arena.row(0).unwrap().as_ptr(), first);
            if width * 4 >= LINE_BYTES {
                assert_eq!(arena.row(7).unwrap().as_ptr() as usize % LINE_BYTES, 0);
            }
        }
    }

    #[test]
    fn rows_in_files_are_rows_and_take_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let arena = Arena::<AtomicU32>::new(100).on_disk(Some(folder.path()));
        for row in 0..500 {
            arena.grow_to(row);
            arena.row(row).unwrap().iter().for_each(|cell| assert_eq!(cell.swap(row + 1, Ordering::Relaxed), 0));
        }
        assert!((0..500).all(|row| arena.grown(row)[99].load(Ordering::Relaxed) == row + 1));
        assert_eq!(arena.allocated_bytes(), 0);
        assert!(arena.file_bytes() >= 500 * 448);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "they have no names");
    }

    #[test]
    fn rows_for_which_there_is_no_folder_are_in_memory() {
        let arena = Arena::<AtomicU32>::new(100).on_disk(Some(Path::new("/nowhere")));
        arena.grow_to(500);
        assert_eq!(arena.file_bytes(), 0);
        assert!(arena.allocated_bytes() >= 500 * 448 && arena.row(500).is_some());
    }

    #[test]
    fn growing_reaches_far_rows_without_touching_memory() {
        let arena = Arena::<f32>::new(65_536);
        arena.grow_to(1_000);
        assert!(arena.row_ptr(1_000).is_some());
        assert!(arena.row_ptr(0).is_some() && arena.row_ptr(511).is_some());
    }
}
