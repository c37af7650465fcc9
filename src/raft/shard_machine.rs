//! A shard as a group's state machine. The shard itself knows nothing of Raft.

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
}
