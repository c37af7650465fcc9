//! Who is inside: counts calls under way, so that shutdown can refuse new ones and wait for the rest.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Error;

#[derive(Default)]
struct Count {
    inside: usize,
    is_closed: bool,
}

/// Open until [`Gate::close`].
#[derive(Default)]
pub(super) struct Gate {
    /// Held for a change of the count only.
    count: Mutex<Count>,
    left: Notify,
}

/// A call under way; leaving is dropping.
pub(super) struct Inside(Arc<Gate>);

impl Gate {
    /// Enters, unless the gate is closed.
    pub(super) fn enter(self: &Arc<Gate>) -> Result<Inside, Error> {
        let mut count = self.count.lock();
        if count.is_closed {
            return Err(Error::Unavailable { why: "the server is shutting down".to_owned() });
        }
        count.inside += 1;
        Ok(Inside(Arc::clone(self)))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.count.lock().is_closed
    }

    /// Refuses further calls and waits until those under way have left, or until `deadline`.
    /// Returns how many are still inside.
    pub(super) async fn close(&self, deadline: Instant) -> usize {
        self.count.lock().is_closed = true;
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the count is read, so that no leaving in between is missed.
            left.as_mut().enable();
            let inside = self.count.lock().inside;
            if inside == 0 || tokio::time::timeout_at(deadline.into(), left).await.is_err() {
                return inside;
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.count.lock().inside -= 1;
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn closing_waits_for_those_inside_and_refuses_others() {
        let gate = Arc::new(Gate::default());
        let inside = gate.enter().unwrap();
        let far = Instant::now() + Duration::from_secs(600);
        let closing = gate.close(far);
        tokio::pin!(closing);
        assert!(futures::poll!(&mut closing).is_pending());
        assert!(!gate.is_open());
        assert!(matches!(gate.enter(), Err(Error::Unavailable { .. })));
        drop(inside);
        assert_eq!(closing.await, 0);
    }

    #[tokio::test]
    async fn closing_gives_up_at_its_deadline() {
        let gate = Arc::new(Gate::default());
        let _inside = gate.enter().unwrap();
        assert_eq!(gate.close(Instant::now()).await, 1);
    }
}
