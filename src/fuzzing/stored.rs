//! What is read from disk, and from snapshots that a caller uploads.

use crate::cluster::MetaCommand;
use crate::model::{CollectionConfig, NamedVectors, PointOp, Vector};
use crate::shard::{decode_command, encode_command};
use crate::{raft, storage};

/// Input: a byte that chooses what is read, and its bytes.
pub fn stored(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    match choice % 4 {
        0 => command(bytes),
        1 => storage::fuzzing::values(bytes),
        2 => raft::fuzzing::records(bytes),
        _ => {
            if let Ok(config) = postcard::from_bytes::<CollectionConfig>(bytes) {
                let written = postcard::to_stdvec(&config).unwrap();
                let again: CollectionConfig = postcard::from_bytes(&written).unwrap();
                assert_eq!(postcard::to_stdvec(&again).unwrap(), written);
            }
            if let Ok(command) = postcard::from_bytes::<MetaCommand>(bytes) {
                assert!(!command.encode().is_empty());
            }
        }
    }
}

/// A change of points: of the log, and a block of a snapshot.
fn command(bytes: &[u8]) {
    let Ok(op) = decode_command(bytes) else { return };
    let written = encode_command(&op);
    let read = decode_command(&written).expect("a command that was written can be read");
    assert_eq!(encode_command(&read), written);
    match &op {
        PointOp::Upsert { points, .. } => points.iter().for_each(|point| check(&point.vectors)),
        PointOp::UpdateVectors { points, .. } => points.iter().for_each(|point| check(&point.vectors)),
        _ => {}
    }
}

/// Vectors are what their types promise, whatever the bytes say.
fn check(vectors: &NamedVectors) {
    for vector in vectors.values() {
        match vector {
            Vector::Dense(_) => {}
            Vector::Sparse(sparse) => {
                assert!(sparse.indices().is_sorted_by(|a, b| a < b));
                assert_eq!(sparse.indices().len(), sparse.values().len());
            }
            Vector::Multi(multi) => {
                assert!(multi.rows().len() > 0);
                assert_eq!(multi.rows().len() * multi.dim(), multi.values().len());
            }
        }
    }
}
