//! Points whose vectors were replaced lately.
//!
//! A replacement takes a new slot and retires the old one. A search that read its plan or its tail before, and meets
//! the old slot after, would see neither and miss a point that existed all along. So it notes where this log stands
//! when it begins and looks again, at its end, at what was replaced since.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::model::PointId;

/// Replacements remembered, so that memory is bounded (24 bytes each). A search during which more points were replaced
/// may miss those beyond.
const REMEMBERED_MAX: usize = 65_536;

/// A bounded log of replaced points.
#[derive(Default)]
pub(super) struct Replaced {
    /// Replacements so far; read by every search, so it stands outside the lock.
    count: AtomicU64,
    /// The last of them. Short sections, taken by the writer and by searches that ran beside one.
    latest: Mutex<VecDeque<PointId>>,
}

impl Replaced {
    /// Where the log stands now.
    pub(super) fn mark(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Notes a replacement: after the new slot is found by searches, before the old one is dead.
    pub(super) fn push(&self, id: PointId) {
        let mut latest = self.latest.lock();
        if latest.len() == REMEMBERED_MAX {
            latest.pop_front();
        }
        latest.push_back(id);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Ids replaced since `mark`.
    pub(super) fn since(&self, mark: u64) -> Vec<PointId> {
        if self.mark() == mark {
            return Vec::new();
        }
        let latest = self.latest.lock();
        let missed = (self.mark() - mark) as usize;
        latest.iter().skip(latest.len().saturating_sub(missed)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_since_a_mark_is_remembered_up_to_the_bound() {
        let log = Replaced::default();
        log.push(PointId::Num(1));
        let mark = log.mark();
        assert_eq!(log.since(mark), []);
        log.push(PointId::Num(2));
        log.push(PointId::Num(3));
        assert_eq!(log.since(mark), [PointId::Num(2), PointId::Num(3)]);
        (0..REMEMBERED_MAX as u64).for_each(|n| log.push(PointId::Num(n)));
        assert_eq!(log.since(mark).len(), REMEMBERED_MAX);
        assert_eq!(log.since(log.mark() - 1), [PointId::Num(REMEMBERED_MAX as u64 - 1)]);
    }
}
