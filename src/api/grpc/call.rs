//! A call being handled: its place among those under way, its clock and its limits.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::status::{failed, grpc_status};
use crate::api::status::{ApiError, RetryAfterS};
use crate::service::Error;

/// A refused call may be tried again after this.
const RETRY_AFTER_S: RetryAfterS = 1;

/// The calls of all connections.
#[derive(Clone)]
pub(super) struct Calls {
    room: Arc<Semaphore>,
    time_max: Duration,
}

/// One call. It occupies its place until dropped.
pub(super) struct Call {
    pub(super) times: Times,
    time_max: Duration,
    _place: OwnedSemaphorePermit,
}

/// When a call began, and until when it may take if the request does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) started: Instant,
    /// `None`: beyond all clocks.
    pub(super) latest: Option<Instant>,
}

impl Calls {
    /// At most `in_flight_max` calls at once, each of `time_max` unless the request says otherwise.
    pub(super) fn new(in_flight_max: usize, time_max: Duration) -> Calls {
        Calls { room: Arc::new(Semaphore::new(in_flight_max.min(Semaphore::MAX_PERMITS))), time_max }
    }

    /// Begins a call whose message has arrived: a caller that sends slowly occupies no place.
    pub(super) fn begin(&self) -> Result<Call, Status> {
        match self.room.clone().try_acquire_owned() {
            Ok(place) => Ok(Call { times: Times::from_now(self.time_max), time_max: self.time_max, _place: place }),
            Err(_) => Err(failed(Error::Overloaded { what: "too many calls at once", retry_after_s: RETRY_AFTER_S })),
        }
    }
}

impl Call {
    /// Seconds since the call began.
    pub(super) fn elapsed_s(&self) -> f64 {
        self.times.started.elapsed().as_secs_f64()
    }

    /// `write`, given up after the server's time limit. It may still take effect.
    pub(super) async fn within_limit<T>(&self, write: impl Future<Output = Result<T, Error>>) -> Result<T, Status> {
        match tokio::time::timeout(self.time_max, write).await {
            Ok(outcome) => outcome.map_err(failed),
            Err(_) => {
                let text = format_args!("the write was not confirmed within {} s", self.time_max.as_secs());
                Err(grpc_status(ApiError::timeout(text)))
            }
        }
    }
}

impl Times {
    fn from_now(time_max: Duration) -> Times {
        let started = Instant::now();
        Times { started, latest: started.checked_add(time_max) }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn calls_beyond_the_limit_are_refused_with_a_hint() {
        let calls = Calls::new(2, Duration::from_secs(1));
        let first = calls.begin().unwrap();
        let second = calls.begin().unwrap();
        let refused = calls.begin().err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.message(), "Rate limiting exceeded: too many calls at once. Retry after 1s");
        assert_eq!(refused.metadata().get("retry-after").unwrap(), "1");
        drop(first);
        assert!(calls.begin().is_ok());
        drop(second);
    }

    #[test]
    fn the_largest_limits_are_no_limits() {
        let calls = Calls::new(usize::MAX, Duration::MAX);
        assert_eq!(calls.begin().unwrap().times.latest, None);
    }

    #[tokio::test]
    async fn a_write_is_given_up_after_the_servers_limit() {
        let call = Calls::new(1, Duration::ZERO).begin().unwrap();
        let never = std::future::pending::<Result<(), Error>>();
        let status = call.within_limit(never).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(status.message(), "Timeout: the write was not confirmed within 0 s");
        assert_eq!(call.within_limit(std::future::ready(Ok(3))).await.unwrap(), 3);
    }
}
