//! The `meta` group's state machine: [`MetaState`] on disk and in memory.
//!
//! Layout of a command and of the stored state: format version (1 byte), then `postcard`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::state::{MetaCommand, MetaOutcome, MetaState};
use crate::raft::{Committed, Position, StateMachine};
use crate::storage::{ShardStore, StorageError};

/// The newest format of commands and state this program writes and reads.
const META_FORMAT: u8 = 1;
/// Shard-level entry that holds the collections and aliases.
const STATE_ENTRY: &[u8] = b"meta_state";
/// Shard-level entry that holds the nodes and the places of replicas.
const LAYOUT_ENTRY: &[u8] = b"meta_layout";

/// All collections, aliases and nodes of the cluster, as this node has applied them.
pub struct Meta {
    store: ShardStore,
    /// What `store` holds; replaced after the batch is written, so readers never see what a crash could take back.
    state: ArcSwap<MetaState>,
    /// Grows with every change of `state`.
    changes: watch::Sender<u64>,
}

impl Meta {
    /// Reads the stored state. `store` is that of [`super::META_GROUP`].
    pub fn open(store: ShardStore) -> Result<Meta, StorageError> {
        let state = ArcSwap::from_pointee(stored_state(&store)?);
        Ok(Meta { store, state, changes: watch::Sender::new(0) })
    }

    /// Rung after every change of the state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set_state(&self, state: MetaState) {
        self.state.store(Arc::new(state));
        self.changes.send_modify(|count| *count += 1);
    }

    /// The state as of the last applied command. Never waits.
    pub fn state(&self) -> Arc<MetaState> {
        self.state.load_full()
    }
}

fn stored_state(store: &ShardStore) -> Result<MetaState, StorageError> {
    let mut state: MetaState = match store.entry(STATE_ENTRY)? {
        Some(bytes) => decode(&bytes, "the list of collections")?,
        None => MetaState::default(),
    };
    if let Some(bytes) = store.entry(LAYOUT_ENTRY)? {
        state.set_layout(decode(&bytes, "the list of nodes")?);
    }
    Ok(state)
}

impl MetaCommand {
    /// The bytes to propose.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}

/// Reads a reply of [`Meta`]; `None` when it is none.
pub fn outcome_from_reply(reply: &[u8]) -> Option<MetaOutcome> {
    postcard::from_bytes(reply).ok()
}

impl StateMachine for Meta {
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut state = MetaState::clone(&self.state.load());
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(bytes) = entry.command {
                let command: MetaCommand = decode(bytes, "a change of the list of collections")?;
                // Writing to a growing vector cannot fail, and the types have no unserialisable state.
                replies.push(postcard::to_stdvec(&state.apply(entry.index, command)).unwrap_or_default());
            }
        }
        let mut batch = self.store.batch();
        if !replies.is_empty() {
            batch.put_entry(STATE_ENTRY, &encode(&state));
            batch.put_entry(LAYOUT_ENTRY, &encode(&**state.layout()));
        }
        batch.set_position(&position.0);
        self.store.commit(batch)?;
        if !replies.is_empty() {
            self.set_state(state);
        }
        Ok(replies)
    }

    fn position(&self) -> Result<Option<Position>, StorageError> {
        Ok(self.store.position()?.map(Position))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    fn export(&self, folder: &Path) -> Result<Position, StorageError> {
        let position = self.store.dump(folder)?;
        position.map(Position).ok_or_else(|| damaged("the list of collections", "it stands nowhere".to_owned()))
    }

    fn import(&self, folder: &Path, position: &Position) -> Result<(), StorageError> {
        self.store.replace(folder, &position.0)?;
        // The log that led there is gone as soon as the group knows.
        self.store.flush()?;
        self.set_state(stored_state(&self.store)?);
        Ok(())
    }
}

fn damaged(what: &'static str, found: String) -> StorageError {
    let what = format!("{what}: {found}");
    StorageError::Damaged { path: PathBuf::from("kvdb"), what, advice: "Restore the node's data folder from a backup" }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // As above: cannot fail.
    postcard::to_extend(value, vec![META_FORMAT]).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, StorageError> {
    match bytes.split_first() {
        Some((&META_FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| damaged(what, error.to_string())),
        Some((&found, _)) if found > META_FORMAT => {
            Err(StorageError::FormatVersion { path: PathBuf::from("kvdb"), found, supported: META_FORMAT })
        }
        _ => Err(damaged(what, "no format version".to_owned())),
    }
}
