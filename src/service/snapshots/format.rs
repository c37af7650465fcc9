//! The bytes of a snapshot: written and read in one pass, a block at a time.
//!
//! Layout: `QVRSNAP` and a format version (8 bytes), then blocks: kind (1 byte), length and CRC-32 (4 bytes each,
//! little-endian), content. The CRC covers kind and content. Blocks come in this order:
//!
//! 1. what the file holds ([`Contents`], JSON);
//! 2. per collection: its name, configuration and shards ([`CollectionHeader`], JSON);
//! 3. per shard of it: its place in that list (4 bytes), then its points as upserts, in the form in which they enter a
//!    shard's log;
//! 4. at the end how many points there were (8 bytes). A file without it was cut off, one that goes on after it is none.
//!
//! Headers are JSON, so that a snapshot of a later version that knows more settings stays readable. What is read here is
//! checked as if a stranger had written it: whatever [`Reader`] shows fits the collection it is of, down to the shard
//! that each id belongs to.
//!
//! Vectors have their own names here, not their stored ones: how many of a name were dropped before is the collection's
//! affair, and another one's may have dropped more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::SnapshotError;
use crate::cluster::{ShardPlace, shard_of_slot};
use crate::index::Stop;
use crate::model::collection::{
    CollectionConfig, CollectionName, DIM_MAX, DIM_MIN, HNSW_EF_CONSTRUCT_MAX, HNSW_M_MAX, HnswConfigDiff, ShardKey,
    ShardingMethod,
};
use crate::model::field_index::FieldIndexSchema;
use crate::model::vector::split_stored_name;
use crate::model::write::UpsertMode;
use crate::model::{NamedVectors, Path, Point, PointOp, Vector, VectorName};
use crate::service::checks::{ENTRY_BYTES_MAX, check_stored};
use crate::service::collections::SHARDS_PER_COLLECTION_MAX;
use crate::shard::{Shard, decode_plain_upsert, encode_command};

const MAGIC: &[u8; 7] = b"QVRSNAP";
/// What this program writes and reads. Format 1 had no shards and no node.
const FORMAT: u8 = 2;

const KIND_CONTENTS: u8 = 1;
const KIND_POINTS: u8 = 2;
const KIND_END: u8 = 3;
const KIND_COLLECTION: u8 = 4;
const KIND_SHARD: u8 = 5;

/// Points of one block; fewer where they are large.
const BLOCK_POINTS_MAX: usize = 128;
/// A block that claims to be longer is damage: no group's queue would take it.
const BLOCK_BYTES_MAX: u32 = 128 << 20;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Contents {
    Collection,
    /// One shard of a collection.
    Shard {
        /// Its number in the collection, as the protocol shows it.
        number: u64,
    },
    /// All collections of the node, with alias and collection.
    Node {
        aliases: BTreeMap<String, String>,
    },
}

/// What is said of a collection before its points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CollectionHeader {
    pub(super) name: String,
    /// Its field indexes are beside it: in JSON a path is a text.
    config: CollectionConfig,
    field_indexes: BTreeMap<String, FieldIndexSchema>,
    shards: Vec<ShardHeader>,
}

/// What a shard holds of its collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ShardHeader {
    key: Option<ShardKey>,
    range: u32,
    range_count: u32,
}

impl CollectionHeader {
    pub(super) fn new(name: &str, mut config: CollectionConfig, places: impl Iterator<Item = ShardPlace>) -> Self {
        config.dropped_vectors.clear();
        let fields = std::mem::take(&mut config.field_indexes);
        let field_indexes = fields.into_iter().map(|(path, schema)| (path.to_string(), schema)).collect();
        let shard = |ShardPlace { key, range, range_count }| ShardHeader {
            key,
            range: range as u32,
            range_count: range_count as u32,
        };
        CollectionHeader { name: name.to_owned(), config, field_indexes, shards: places.map(shard).collect() }
    }

    /// The shards' places, in the collection's order.
    pub(super) fn places(&self) -> impl Iterator<Item = ShardPlace> + '_ {
        self.shards.iter().map(|shard| ShardPlace {
            key: shard.key.clone(),
            range: shard.range as usize,
            range_count: shard.range_count as usize,
        })
    }

    pub(super) fn config(&self) -> &CollectionConfig {
        &self.config
    }

    /// Reads and checks the header, and puts the field indexes where they belong.
    fn parse(json: &[u8]) -> Result<CollectionHeader, SnapshotError> {
        let unreadable = SnapshotError::Damaged("the header of a collection is not readable");
        let Ok(mut header) = serde_json::from_slice::<CollectionHeader>(json) else { return Err(unreadable) };
        for (path, schema) in std::mem::take(&mut header.field_indexes) {
            let Ok(path) = path.parse::<Path>() else { return Err(unreadable) };
            header.config.field_indexes.insert(path, schema);
        }
        header.config.dropped_vectors.clear();
        header.check().map_err(SnapshotError::Damaged)?;
        Ok(header)
    }

    /// What `api` checks of a collection that is created, as far as the server depends on it.
    fn check(&self) -> Result<(), &'static str> {
        if CollectionName::new(&self.name).is_err() {
            return Err("a collection's name is none");
        }
        let counts = [self.config.shard_number, self.config.replication_factor, self.config.write_consistency_factor];
        if counts.contains(&0) || self.config.shard_number > SHARDS_PER_COLLECTION_MAX {
            return Err("a collection's number of shards or replicas is out of range");
        }
        let hnsw_fits = |hnsw: &HnswConfigDiff| {
            hnsw.m.is_none_or(|m| m <= HNSW_M_MAX)
                && hnsw.ef_construct.is_none_or(|ef| (4..=HNSW_EF_CONSTRUCT_MAX).contains(&ef))
        };
        let vectors = &self.config.vectors.by_name;
        if !vectors.values().all(|vector| (DIM_MIN..=DIM_MAX).contains(&vector.dim))
            || !vectors.values().filter_map(|vector| vector.hnsw.as_ref()).all(hnsw_fits)
            || !hnsw_fits(&self.config.hnsw)
        {
            return Err("a collection's vectors are out of range");
        }
        if self.config.sparse_vectors.iter().flatten().any(|(name, _)| name.is_empty() || vectors.contains_key(name)) {
            return Err("two vectors of a collection have one name");
        }
        self.check_places()
    }

    /// Each key has all its ranges, in order; without custom sharding there is one set of ranges.
    fn check_places(&self) -> Result<(), &'static str> {
        if self.shards.len() > SHARDS_PER_COLLECTION_MAX as usize {
            return Err("a collection has too many shards");
        }
        let mut sets: BTreeMap<&Option<ShardKey>, (u32, u32)> = BTreeMap::new();
        for shard in &self.shards {
            let (next, count) = sets.entry(&shard.key).or_insert((0, shard.range_count));
            if (shard.range, shard.range_count) != (*next, *count) {
                return Err("a collection's shards are not in order");
            }
            *next += 1;
        }
        let is_custom = self.config.sharding_method == Some(ShardingMethod::Custom);
        let is_whole = sets.values().all(|(next, count)| next == count);
        let is_keyed = sets.keys().all(|key| key.is_some() == is_custom);
        let is_counted = is_custom || self.shards.len() == self.config.shard_number as usize;
        if is_whole && is_keyed && is_counted { Ok(()) } else { Err("a collection's shards are not all there") }
    }
}

/// Writes a snapshot; see the file's comment for the order of calls.
pub(super) struct Writer<W> {
    out: Hashing<W>,
    point_count: u64,
}

/// A snapshot that was written.
pub(super) struct Written<W> {
    pub(super) out: W,
    pub(super) size: u64,
    /// SHA-256, lowercase hexadecimal.
    pub(super) checksum: String,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W, contents: &Contents) -> Result<Writer<W>, SnapshotError> {
        let mut out = Hashing { inner: out, digest: Sha256::new(), size: 0 };
        out.write_all(MAGIC)?;
        out.write_all(&[FORMAT])?;
        write_block(&mut out, KIND_CONTENTS, &[&json(contents)?])?;
        Ok(Writer { out, point_count: 0 })
    }

    pub(super) fn collection(&mut self, header: &CollectionHeader) -> Result<(), SnapshotError> {
        Ok(write_block(&mut self.out, KIND_COLLECTION, &[&json(header)?])?)
    }

    /// The points of the shard at `place` of the collection, as they are now; writes to it go on. `stored` are the stored
    /// names of the collection's vectors.
    pub(super) fn shard(
        &mut self,
        place: usize,
        shard: &Shard,
        stored: &BTreeSet<VectorName>,
    ) -> Result<(), SnapshotError> {
        let place = u32::try_from(place).map_err(io::Error::other)?;
        write_block(&mut self.out, KIND_SHARD, &[&place.to_le_bytes()])?;
        let mut points: Vec<Point> = Vec::with_capacity(BLOCK_POINTS_MAX);
        let mut bytes = 0;
        shard.dump::<SnapshotError>(stored, &Stop::default(), &mut |mut point| {
            point.vectors = plain_names(point.vectors);
            let weight = weight(&point);
            // A block is about an entry of the log, unless one point alone is larger.
            if points.len() == BLOCK_POINTS_MAX || bytes + weight > ENTRY_BYTES_MAX {
                self.points(std::mem::take(&mut points))?;
                bytes = 0;
            }
            bytes += weight;
            points.push(point);
            Ok(())
        })?;
        self.points(points)
    }

    fn points(&mut self, points: Vec<Point>) -> Result<(), SnapshotError> {
        if points.is_empty() {
            return Ok(());
        }
        self.point_count += points.len() as u64;
        let op = PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None };
        Ok(write_block(&mut self.out, KIND_POINTS, &[&encode_command(&op)])?)
    }

    pub(super) fn finish(mut self) -> Result<Written<W>, SnapshotError> {
        write_block(&mut self.out, KIND_END, &[&self.point_count.to_le_bytes()])?;
        self.out.flush()?;
        let Hashing { inner, digest, size } = self.out;
        Ok(Written { out: inner, size, checksum: hex(&digest.finalize()) })
    }
}

/// From the names of the shard's log to those of the collection.
fn plain_names(vectors: NamedVectors) -> NamedVectors {
    vectors.into_iter().map(|(stored, vector)| (split_stored_name(&stored).0.to_owned(), vector)).collect()
}

/// What is read next.
#[derive(Debug)]
pub(super) enum Item {
    Collection(Box<CollectionHeader>),
    /// A shard begins: its place in the list of the collection's.
    Shard(usize),
    /// Points of it, as a command for its log.
    Points(Vec<u8>),
}

/// Reads a snapshot and shows nothing of it that is not as [`Writer`] writes it.
pub(super) struct Reader<R> {
    input: R,
    contents: Contents,
    collection: Option<CollectionHeader>,
    /// Shards of the collection that have begun; the last one is being read.
    begun: usize,
    place: Option<ShardPlace>,
    point_count: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut input: R) -> Result<Reader<R>, SnapshotError> {
        let mut start = [0; 8];
        input.read_exact(&mut start).map_err(cut_off)?;
        match start.split_last() {
            Some((&FORMAT, magic)) if magic == MAGIC => {}
            Some((&format, magic)) if magic == MAGIC => return Err(SnapshotError::Format { found: format }),
            _ => return Err(SnapshotError::Damaged("it does not begin as one")),
        }
        let (KIND_CONTENTS, contents) = read_block(&mut input)? else {
            return Err(SnapshotError::Damaged("it does not say what it holds"));
        };
        let contents = serde_json::from_slice(&contents)
            .map_err(|_| SnapshotError::Damaged("what it holds is not known to this version"))?;
        Ok(Reader { input, contents, collection: None, begun: 0, place: None, point_count: 0 })
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// `None`: that was all, and it was whole.
    pub(super) fn next(&mut self) -> Result<Option<Item>, SnapshotError> {
        let (kind, content) = read_block(&mut self.input)?;
        match kind {
            KIND_COLLECTION => self.begin_collection(&content).map(|header| Some(Item::Collection(Box::new(header)))),
            KIND_SHARD => self.begin_shard(&content).map(|place| Some(Item::Shard(place))),
            KIND_POINTS => {
                self.check_points(&content)?;
                Ok(Some(Item::Points(content)))
            }
            KIND_END => self.end(&content).map(|()| None),
            _ => Err(SnapshotError::Damaged("a block of unknown kind")),
        }
    }

    fn begin_collection(&mut self, content: &[u8]) -> Result<CollectionHeader, SnapshotError> {
        self.end_collection()?;
        if self.collection.is_some() && !matches!(self.contents, Contents::Node { .. }) {
            return Err(SnapshotError::Damaged("it holds a second collection"));
        }
        let header = CollectionHeader::parse(content)?;
        self.collection = Some(header.clone());
        (self.begun, self.place) = (0, None);
        Ok(header)
    }

    fn begin_shard(&mut self, content: &[u8]) -> Result<usize, SnapshotError> {
        let place = content.try_into().map(u32::from_le_bytes);
        let place = place.map_err(|_| SnapshotError::Damaged("the begin of a shard is not readable"))? as usize;
        let is_next = match self.contents {
            Contents::Shard { .. } => self.begun == 0,
            _ => self.begun == place,
        };
        let found = self.collection.as_ref().and_then(|header| header.places().nth(place)).filter(|_| is_next);
        self.place = Some(found.ok_or(SnapshotError::Damaged("a shard where none can be"))?);
        self.begun += 1;
        Ok(place)
    }

    fn check_points(&mut self, command: &[u8]) -> Result<(), SnapshotError> {
        let (Some(header), Some(place)) = (&self.collection, &self.place) else {
            return Err(SnapshotError::Damaged("points of no shard"));
        };
        let points = decode_plain_upsert(command).ok_or(SnapshotError::Damaged("a block holds no points"))?;
        self.point_count += points.len() as u64;
        for mut point in points {
            if shard_of_slot(point.id.hash_slot(), place.range_count) != place.range {
                return Err(SnapshotError::Damaged("a point is of another shard"));
            }
            check_stored(&header.config, &mut point.vectors).map_err(|_| SnapshotError::Vectors { id: point.id })?;
        }
        Ok(())
    }

    /// All shards of the collection that was read have been there.
    fn end_collection(&self) -> Result<(), SnapshotError> {
        let wanted = match (&self.contents, &self.collection) {
            (_, None) => 0,
            (Contents::Shard { .. }, Some(_)) => 1,
            (_, Some(header)) => header.shards.len(),
        };
        if self.begun == wanted { Ok(()) } else { Err(SnapshotError::Damaged("shards are missing")) }
    }

    fn end(&mut self, content: &[u8]) -> Result<(), SnapshotError> {
        self.end_collection()?;
        if self.collection.is_none() && !matches!(self.contents, Contents::Node { .. }) {
            return Err(SnapshotError::Damaged("it holds no collection"));
        }
        if *content != self.point_count.to_le_bytes() {
            return Err(SnapshotError::Damaged("points are missing"));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(SnapshotError::Damaged("it goes on after its end")),
        }
    }
}

/// Counts what passes, and digests it.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Lowercase hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, SnapshotError> {
    serde_json::to_vec(value).map_err(|error| SnapshotError::Io(error.into()))
}

/// About as many bytes as the point has in a command.
fn weight(point: &Point) -> usize {
    fn of_json(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::String(text) => text.len() + 2,
            serde_json::Value::Array(items) => items.iter().map(|item| of_json(item) + 1).sum::<usize>() + 2,
            serde_json::Value::Object(map) => map.iter().map(|(key, item)| key.len() + of_json(item) + 4).sum(),
            _ => 8,
        }
    }
    let vectors = point.vectors.values().map(|vector| match vector {
        Vector::Dense(values) => values.len() * 4,
        Vector::Sparse(sparse) => sparse.len() * 8,
        Vector::Multi(multi) => multi.values().len() * 4,
    });
    let payload = point.payload.0.iter().map(|(key, value)| key.len() + of_json(value) + 4);
    vectors.sum::<usize>() + payload.sum::<usize>() + 32
}

fn write_block(out: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).ok().filter(|length| *length <= BLOCK_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("a block is too long"))?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    parts.iter().for_each(|part| crc.update(part));
    out.write_all(&[kind])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc.finalize().to_le_bytes())?;
    parts.iter().try_for_each(|part| out.write_all(part))
}

/// The next block's kind and content.
fn read_block(input: &mut impl Read) -> Result<(u8, Vec<u8>), SnapshotError> {
    let mut kind = [0];
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    input.read_exact(&mut kind).map_err(cut_off)?;
    input.read_exact(&mut length).map_err(cut_off)?;
    input.read_exact(&mut crc).map_err(cut_off)?;
    let length = u32::from_le_bytes(length);
    if length > BLOCK_BYTES_MAX {
        return Err(SnapshotError::Damaged("a block is too long"));
    }
    // Grows with what is there, not with what a damaged length claims.
    let mut content = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut content).map_err(cut_off)?;
    if content.len() != length as usize {
        return Err(SnapshotError::Damaged("it ends too early"));
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind);
    hasher.update(&content);
    if hasher.finalize() != u32::from_le_bytes(crc) {
        return Err(SnapshotError::Damaged("a block's checksum is wrong"));
    }
    Ok((kind[0], content))
}

fn cut_off(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged("it ends too early"),
        _ => SnapshotError::Io(error),
    }
}
