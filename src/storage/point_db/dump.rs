//! All of a shard in one file: what a replica gets that the log does not reach back to.
//!
//! Layout: `QVRDUMP` and a format version (8 bytes), then blocks: length and CRC-32 of the content (4 bytes each,
//! little-endian), content. A content is a run of records: column family (1 byte, its place in [`FAMILIES`]), lengths of key
//! and value (4 bytes each), the key without its shard, the value as stored. A block without content ends the file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rocksdb::{DBRawIterator, WriteBatch};

use super::{FAMILIES, META, ShardStore, bounds, bytes_from_stored, keys, ranges};
use crate::storage::StorageError;
use crate::storage::rocks::from_io;

const FILE: &str = "state";
const MAGIC: &[u8; 8] = b"QVRDUMP\x01";
/// A block is closed once it is so long.
const BLOCK_BYTES: usize = 1 << 20;
/// A block that claims to be longer is damage: no point is so large.
const BLOCK_BYTES_MAX: usize = 256 << 20;
/// Bytes written to the database at once.
const BATCH_BYTES: usize = 4 << 20;

const ADVICE: &str = "It is sent again";

impl ShardStore {
    /// Writes all of the shard, as it is at one moment, into `folder`. Its position; `None` if it has none.
    pub fn dump(&self, folder: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        let path = folder.join(FILE);
        let failed = |error: io::Error| from_io(&path, &error);
        let mut blocks = BlockWriter::new(File::create(&path).map_err(failed)?).map_err(failed)?;
        let rocks = &self.store.rocks;
        let snapshot = rocks.db.snapshot();
        for (place, family) in FAMILIES.iter().enumerate() {
            for (start, end) in ranges(self.prefix, family) {
                let mut raw: DBRawIterator<'_> = snapshot.raw_iterator_cf_opt(rocks.family(family), bounds(start, end));
                raw.seek_to_first();
                while let Some((key, value)) = raw.item() {
                    let key = keys::without_shard(key, *family == META).ok_or_else(|| self.strange(family, key))?;
                    blocks.record(place as u8, &key, value).map_err(failed)?;
                    raw.next();
                }
                raw.status().map_err(|error| rocks.error(&error))?;
            }
        }
        blocks.finish().map_err(failed)?;
        let key = keys::position(self.prefix);
        let position = snapshot.get_cf(rocks.family(META), &key).map_err(|error| rocks.error(&error))?;
        position.map(|stored| self.store.decode(META, &key, &stored, bytes_from_stored)).transpose()
    }

    /// Takes in what [`ShardStore::dump`] wrote into `folder` at `position`. The shard must have nothing, and after an error
    /// it has a part.
    pub fn load(&self, folder: &Path, position: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        self.each_record(folder, position, |family, key, value| {
            batch.put_cf(self.store.rocks.family(family), key, value);
            if batch.size_in_bytes() >= BATCH_BYTES {
                self.store.write(std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        self.store.write(batch)
    }

    /// Puts what [`ShardStore::dump`] wrote into `folder` at `position` in the place of all that the shard has, as one
    /// atomic step. For what fits into memory.
    pub fn replace(&self, folder: &Path, position: &[u8]) -> Result<(), StorageError> {
        let mut batch = self.store.deletion_of_all(&[self.prefix]);
        self.each_record(folder, position, |family, key, value| {
            batch.put_cf(self.store.rocks.family(family), key, value);
            Ok(())
        })?;
        self.store.write(batch)
    }

    fn strange(&self, family: &str, key: &[u8]) -> StorageError {
        self.store.rocks.flaw(family, key, super::Flaw::Shape("a strange key"))
    }

    fn each_record(
        &self,
        folder: &Path,
        position: &[u8],
        mut take: impl FnMut(&'static str, Vec<u8>, &[u8]) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let mut blocks = BlockReader::open(folder.join(FILE))?;
        let (own_position, mut found) = (keys::position(self.prefix), None);
        while let Some(content) = blocks.next()? {
            let mut rest = content.as_slice();
            while !rest.is_empty() {
                let (place, key, value) =
                    split_record(&mut rest).ok_or_else(|| blocks.damaged("a record ends early"))?;
                let family = FAMILIES.get(usize::from(place)).ok_or_else(|| blocks.damaged("a strange family"))?;
                let key = keys::with_shard(key, self.prefix, *family == META);
                let key = key.ok_or_else(|| blocks.damaged("a strange key"))?;
                if *family == META && key == own_position {
                    found = Some(value.to_vec());
                }
                take(family, key, value)?;
            }
        }
        let found = found.map(|stored| bytes_from_stored(&stored)).transpose();
        match found {
            Ok(Some(found)) if found == position => Ok(()),
            _ => Err(blocks.damaged("it stands elsewhere than announced")),
        }
    }
}

fn split_record<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    let (place, after) = rest.split_first()?;
    let (key_len, after) = after.split_first_chunk()?;
    let (value_len, after) = after.split_first_chunk()?;
    let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    *rest = after;
    Some((*place, key, value))
}

struct BlockWriter {
    out: BufWriter<File>,
    content: Vec<u8>,
}

impl BlockWriter {
    fn new(file: File) -> io::Result<BlockWriter> {
        let mut out = BufWriter::new(file);
        out.write_all(MAGIC)?;
        Ok(BlockWriter { out, content: Vec::new() })
    }

    fn record(&mut self, place: u8, key: &[u8], value: &[u8]) -> io::Result<()> {
        let len = |len: usize| u32::try_from(len).map(u32::to_le_bytes).map_err(io::Error::other);
        self.content.push(place);
        self.content.extend_from_slice(&len(key.len())?);
        self.content.extend_from_slice(&len(value.len())?);
        self.content.extend_from_slice(key);
        self.content.extend_from_slice(value);
        if self.content.len() >= BLOCK_BYTES { self.block() } else { Ok(()) }
    }

    fn block(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.content.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&crc32fast::hash(&self.content).to_le_bytes())?;
        self.out.write_all(&self.content)?;
        self.content.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.content.is_empty() {
            self.block()?;
        }
        self.block()?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

struct BlockReader {
    path: PathBuf,
    input: BufReader<File>,
}

impl BlockReader {
    fn open(path: PathBuf) -> Result<BlockReader, StorageError> {
        let input = File::open(&path).map_err(|error| from_io(&path, &error))?;
        let mut blocks = BlockReader { path, input: BufReader::new(input) };
        if blocks.exactly()? != *MAGIC {
            return Err(blocks.damaged("it is no dump of this version"));
        }
        Ok(blocks)
    }

    fn damaged(&self, what: &str) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), what: what.to_owned(), advice: ADVICE }
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), StorageError> {
        self.input.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends early"),
            _ => from_io(&self.path, &error),
        })
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The next content; `None` after the last.
    fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        let (len, crc) = (u32::from_le_bytes(self.exactly()?) as usize, u32::from_le_bytes(self.exactly()?));
        if len > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block is too long"));
        }
        let mut content = vec![0; len];
        self.read_exact(&mut content)?;
        if crc32fast::hash(&content) != crc {
            return Err(self.damaged("a checksum does not match"));
        }
        if len > 0 {
            return Ok(Some(content));
        }
        let is_end = self.input.read(&mut [0]).map_err(|error| from_io(&self.path, &error))? == 0;
        if is_end { Ok(None) } else { Err(self.damaged("it goes on after its end")) }
    }
}
