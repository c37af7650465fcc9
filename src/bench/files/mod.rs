//! Vectors and neighbors from files: `.npy`, `.fvecs`, `.bvecs`, `.ivecs`, and HDF5 of the ann-benchmarks layout.
//!
//! A file is not trusted: what its header claims is checked against its size before anything is allocated for it.

mod hdf5;
mod matrix;
mod npy;
mod vecs;

pub(super) use matrix::Matrix;

use std::path::Path;
use std::{fs, io};

use self::matrix::{Element, Raw};
use super::Failure;
use super::flags::Metric;

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its name says nothing about its format.
    #[error("its name ends in none of .npy, .fvecs, .bvecs, .ivecs, .hdf5, .h5")]
    Format,
    /// It ends before its header does.
    #[error("it ends within its header")]
    Truncated,
    /// It is no `.npy` file of a version that can be read.
    #[error("not a .npy file of version 1, 2 or 3")]
    NotNpy,
    /// A `.npy` header without something.
    #[error("its header does not say its {0}")]
    Header(&'static str),
    /// Numbers that cannot be read.
    #[error("numbers of type {0} cannot be read")]
    ElementType(String),
    /// Columns come first.
    #[error("its numbers are in Fortran order; save it in C order")]
    FortranOrder,
    /// Neither a list nor a table.
    #[error("it has {0} dimensions; 1 or 2 are wanted")]
    Rank(usize),
    /// No rows, or rows without numbers.
    #[error("it holds no numbers")]
    Empty,
    /// The header and the size disagree.
    #[error("its {rows} rows of {width} numbers do not take {got} bytes")]
    Length {
        /// By the header.
        rows: usize,
        /// By the header.
        width: usize,
        /// Without the header.
        got: usize,
    },
    /// A row of another length.
    #[error("row {row} claims {got} numbers, row 0 has {want}")]
    Row {
        /// Counted from 0.
        row: usize,
        /// Numbers it claims.
        got: i32,
        /// Numbers it should have.
        want: i32,
    },
    /// Neighbors are ids, and ids are integers.
    #[error("neighbors are integers, these are of type {0}")]
    NotIntegers(&'static str),
    /// An id above what signed integers hold.
    #[error("the id {0} is too large")]
    IdTooLarge(u64),
    /// HDF5's reader refused it.
    #[error("{0}")]
    Hdf5(#[from] hdf5_reader::error::Error),
}

/// The vectors of a file; `dataset` is where HDF5 has them.
pub(super) fn vectors(path: &Path, dataset: &'static str) -> Result<Matrix<f32>, Failure> {
    at(path, read(path, dataset).map(|raw| raw.floats()))
}

/// The neighbors of a file, nearest first; negative ids stand for none.
pub(super) fn neighbors(path: &Path, dataset: &'static str) -> Result<Matrix<i64>, Failure> {
    at(path, read(path, dataset).and_then(|raw| raw.integers()))
}

/// How the vectors of an HDF5 file are compared, if it says so.
pub(super) fn metric(path: &Path) -> Result<Option<Metric>, Failure> {
    at(path, hdf5::metric(path))
}

/// The lines of a text file.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = at(path, fs::read_to_string(path).map_err(FileError::Io))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn at<T>(path: &Path, outcome: Result<T, FileError>) -> Result<T, Failure> {
    outcome.map_err(|source| Failure::File { path: path.to_owned(), source })
}

fn read(path: &Path, dataset: &'static str) -> Result<Raw, FileError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => npy::parse(fs::read(path)?),
        Some("fvecs") => vecs::parse(&fs::read(path)?, Element::F32),
        Some("bvecs") => vecs::parse(&fs::read(path)?, Element::U8),
        Some("ivecs") => vecs::parse(&fs::read(path)?, Element::I32),
        Some("hdf5" | "h5") => hdf5::read(path, dataset),
        _ => Err(FileError::Format),
    }
}
