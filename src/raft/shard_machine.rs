//! A shard as a group's state machine. The shard itself knows nothing of Raft.

use std::path::Path;

use super::{Committed, Position, StateMachine};
use crate::shard::{Entry, Shard};
use crate::storage::StorageError;

impl StateMachine for Shard {
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError> {
        let entries: Vec<Entry<'_>> =
            entries.iter().map(|entry| Entry { index: entry.index, command: entry.command }).collect();
        let outcomes = Shard::apply(self, &entries, &position.0)?;
        Ok(outcomes.iter().map(|outcome| outcome.encode()).collect())
    }

    fn position(&self) -> Result<Option<Position>, StorageError> {
        Ok(Shard::position(self)?.map(Position))
    }

    fn flush(&self) -> Result<(), StorageError> {
        Shard::flush(self)
    }

    fn export(&self, _folder: &Path) -> Result<Position, StorageError> {
        Err(not_yet())
    }

    fn import(&self, _folder: &Path, _position: &Position) -> Result<(), StorageError> {
        Err(not_yet())
    }
}

/// Groups of shards have one voter so far.
fn not_yet() -> StorageError {
    StorageError::Failed { path: "kvdb".into(), what: "sending a shard to another node is not implemented yet".to_owned() }
}
