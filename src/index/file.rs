//! The files of a checkpoint: there whole or not at all, read section by section.
//!
//! A file is written beside its name, synced, renamed, and its folder synced. Its header and each section carry a
//! CRC-32; whatever does not match is [`CheckpointError::Damaged`], and the shard builds anew what the file is of. Every
//! file of one checkpoint carries the same stamp, and all of them are written under one [`super::Pin`].
//!
//! Little-endian, first byte the version. Header: version, kind, 2 zero bytes; three `u32` that say what the file is of;
//! `u64` bound (slots below it are in the file), stamp, and one number more that depends on the kind; CRC. A sized section
//! is its length (`u64`), its bytes, and the CRC of both; other sections have a length that follows from what stands
//! before them.
//!
//! What it deliberately does not do: know what is in a section.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::slots::SLOT_COUNT_MAX;

/// Of every file. A change of what a file means raises it: also one of how texts are split into the tokens it holds.
const FORMAT_VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const CRC_BYTES: usize = 4;
const BUFFER_BYTES: usize = 1 << 20;

/// What a file is of: its second byte. The numbers are never given to anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileKind {
    Slots = 1,
    Graph = 2,
    Field = 3,
    Sparse = 4,
    MultiGraph = 5,
}

/// Why a checkpoint file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading failed; also if there is no such file.
    #[error("reading {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("{path} is damaged ({section})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part whose length, checksum or contents are wrong.
        section: &'static str,
    },
    /// Whole, but of another format, index or checkpoint.
    #[error("{path} belongs to another {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        what: &'static str,
    },
}

/// How a file begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) kind: FileKind,
    /// What it is of, in three numbers. A file of anything else is foreign.
    pub(super) of: [u32; 3],
    /// Slots below this are in the file.
    pub(super) bound: usize,
    pub(super) stamp: u64,
    /// Its meaning depends on the kind.
    pub(super) more: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = FORMAT_VERSION;
        bytes[1] = self.kind as u8;
        for (at, value) in [4, 8, 12].into_iter().zip(self.of) {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(16, self.bound as u64), (24, self.stamp), (32, self.more)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

/// The first `N` bytes; zeros where there are fewer.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

/// What a header says of a file whose definition is these bytes.
pub(super) fn fingerprint(definition: &[u8]) -> [u32; 3] {
    [definition.len() as u32, crc32fast::hash(definition), 0]
}

/// A file being written, section by section. Under its name it is there from [`Output::finish`] on.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    crc: crc32fast::Hasher,
}

impl Output {
    pub(super) fn create(path: &Path, header: &Header) -> io::Result<Output> {
        let file = File::create(unfinished(path))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut out = Output { path: path.to_owned(), file, crc: crc32fast::Hasher::new() };
        out.write(&header.encode())?;
        out.end_section()?;
        Ok(out)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.file.write_all(bytes)
    }

    pub(super) fn end_section(&mut self) -> io::Result<()> {
        let crc = std::mem::take(&mut self.crc).finalize();
        self.file.write_all(&crc.to_le_bytes())
    }

    pub(super) fn sized_section(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(&(bytes.len() as u64).to_le_bytes())?;
        self.write(bytes)?;
        self.end_section()
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> io::Result<()> {
        let Output { path, file, .. } = self;
        file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
        fs::rename(unfinished(&path), &path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// A file being read, section by section.
pub(super) struct Input<'a> {
    path: &'a Path,
    file: BufReader<File>,
    crc: crc32fast::Hasher,
    len: u64,
    /// Bytes that were not read yet.
    left: u64,
}

impl Input<'_> {
    pub(super) fn open(path: &Path) -> Result<Input<'_>, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Input { path, file, crc: crc32fast::Hasher::new(), len, left: len })
    }

    pub(super) fn damaged(&self, section: &'static str) -> CheckpointError {
        CheckpointError::Damaged { path: self.path.to_owned(), section }
    }

    pub(super) fn foreign(&self, what: &'static str) -> CheckpointError {
        CheckpointError::Foreign { path: self.path.to_owned(), what }
    }

    pub(super) fn read(&mut self, bytes: &mut [u8], section: &'static str) -> Result<(), CheckpointError> {
        self.file.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(section),
            _ => CheckpointError::Io { path: self.path.to_owned(), source },
        })?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.crc.update(bytes);
        Ok(())
    }

    pub(super) fn end_section(&mut self, section: &'static str) -> Result<(), CheckpointError> {
        let want = std::mem::take(&mut self.crc).finalize();
        let mut bytes = [0; CRC_BYTES];
        self.read(&mut bytes, section)?;
        self.crc = crc32fast::Hasher::new();
        if u32::from_le_bytes(bytes) == want { Ok(()) } else { Err(self.damaged(section)) }
    }

    /// Reads a sized section into `bytes`. A length beyond the file's end is not believed.
    pub(super) fn sized_section(&mut self, bytes: &mut Vec<u8>, section: &'static str) -> Result<(), CheckpointError> {
        let mut len = [0; 8];
        self.read(&mut len, section)?;
        let len = u64::from_le_bytes(len);
        if len > self.left {
            return Err(self.damaged(section));
        }
        bytes.clear();
        bytes.resize(len as usize, 0);
        self.read(bytes, section)?;
        self.end_section(section)
    }

    pub(super) fn check_len(&self, want: usize) -> Result<(), CheckpointError> {
        if self.len == want as u64 { Ok(()) } else { Err(self.damaged("length")) }
    }

    /// Everything has been read.
    pub(super) fn check_end(&self) -> Result<(), CheckpointError> {
        if self.left == 0 { Ok(()) } else { Err(self.damaged("length")) }
    }

    /// Nothing is allocated by a number of the header before its checksum matched.
    pub(super) fn header(&mut self, kind: FileKind, of: [u32; 3], stamp: u64) -> Result<Header, CheckpointError> {
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes, "header")?;
        self.end_section("header")?;
        let u32_at = |at: usize| u32::from_le_bytes(array(&bytes[at..]));
        let u64_at = |at: usize| u64::from_le_bytes(array(&bytes[at..]));
        if bytes[..4] != [FORMAT_VERSION, kind as u8, 0, 0] {
            return Err(self.foreign("format"));
        }
        if [u32_at(4), u32_at(8), u32_at(12)] != of {
            return Err(self.foreign("index"));
        }
        if u64_at(24) != stamp {
            return Err(self.foreign("checkpoint"));
        }
        let bound = usize::try_from(u64_at(16)).ok().filter(|bound| *bound <= SLOT_COUNT_MAX as usize);
        let bound = bound.ok_or_else(|| self.damaged("header"))?;
        Ok(Header { kind, of, bound, stamp, more: u64_at(32) })
    }
}
