//! A replica of a shard as a group's state machine. The shard itself knows nothing of Raft.

use std::path::{Path, PathBuf};

use super::{Committed, Position, StateMachine};
use crate::shard::{Entry, Replica};
use crate::storage::StorageError;

impl StateMachine for Replica {
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError> {
        let entries: Vec<Entry<'_>> =
            entries.iter().map(|entry| Entry { index: entry.index, command: entry.command }).collect();
        let outcomes = Replica::apply(self, &entries, &position.0)?;
        Ok(outcomes.iter().map(|outcome| outcome.encode()).collect())
    }

    fn position(&self) -> Result<Option<Position>, StorageError> {
        Ok(self.shard().position()?.map(Position))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.shard().flush()
    }

    fn is_behind(&self) -> bool {
        Replica::is_behind(self)
    }

    fn export(&self, folder: &Path) -> Result<Position, StorageError> {
        let nowhere =
            || StorageError::Failed { path: PathBuf::from("kvdb"), what: "an empty shard is not sent".to_owned() };
        Replica::export(self, folder)?.map(Position).ok_or_else(nowhere)
    }

    fn import(&self, folder: &Path, position: &Position) -> Result<(), StorageError> {
        Replica::import(self, folder, &position.0)
    }
}
