//! All points of a shard as they stood at one moment, for snapshots.

use std::collections::BTreeSet;

use super::{ReadError, Shard};
use crate::index::Stop;
use crate::model::{NamedVectors, Point, VectorName};

/// Points between two looks at the stop flag.
const POINTS_PER_STOP_CHECK: usize = 256;

impl Shard {
    /// Shows every point, ascending by id, as the shard held them when the call began. Writes go on meanwhile.
    ///
    /// One view of the store serves heads, payloads and vectors, and every applied run is one atomic batch: what is
    /// shown is the state at one log index. Of the vectors only those of `names` are shown, as the log names them: their
    /// stored names.
    pub fn dump<E: From<ReadError>>(
        &self,
        names: &BTreeSet<VectorName>,
        stop: &Stop,
        show: &mut dyn FnMut(Point) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| E::from(ReadError::Storage(error));
        let view = self.store.view();
        // A vector that was dropped meanwhile is shown whole or not at all: its column goes before its bytes do.
        let columns = self.columns.read().clone();
        let names: BTreeSet<&VectorName> = names.iter().filter(|stored| columns.contains_key(*stored)).collect();
        let mut payloads = view.iter_payloads(None).peekable();
        let mut vectors = view.iter_vectors().peekable();
        for (seen, head) in view.iter_heads(None).enumerate() {
            if seen.is_multiple_of(POINTS_PER_STOP_CHECK) && stop.is_raised() {
                return Err(ReadError::Stopped.into());
            }
            let (id, _) = head.map_err(failed)?;
            let mut point = Point { id, vectors: NamedVectors::new(), payload: Default::default() };
            // All three run in id order; an error stands at its place.
            while let Some(next) = payloads.next_if(|next| !matches!(next, Ok((of, _)) if *of > id)) {
                let (of, payload) = next.map_err(failed)?;
                if of == id {
                    point.payload = payload;
                }
            }
            while let Some(next) = vectors.next_if(|next| !matches!(next, Ok((of, _, _)) if *of > id)) {
                let (of, name, vector) = next.map_err(failed)?;
                // Vectors of a name that was dropped are not the point's any more.
                if of == id && names.contains(&name) {
                    point.vectors.insert(name, vector);
                }
            }
            show(point)?;
        }
        Ok(())
    }
}
