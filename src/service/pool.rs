//! Threads that run reads: bounded threads, a bounded queue, one deadline per request.
//!
//! Invariants:
//! - A request is queued whole or refused at once: [`Error::Overloaded`].
//! - Threads take one job of each waiting request in turn, so a batch of a thousand searches delays nobody by more than
//!   one job per thread.
//! - A passed deadline, a failed sibling and a caller that left all raise the request's [`Stop`]; jobs that have not
//!   begun by then are dropped.
//! - A panic in a job fails its request and nothing else.
//!
//! What it deliberately does not do: know what a job computes.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc;

use super::Error;
use crate::index::Stop;

/// Seconds after which a refused request may be tried again: a full queue drains within a few.
const RETRY_AFTER_S: u32 = 1;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs of one request that no thread has taken yet, in order.
type Waiting = std::vec::IntoIter<Job>;

#[derive(Default)]
struct Queue {
    requests: VecDeque<Waiting>,
    is_closed: bool,
}

/// Held for a push or a pop only.
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

/// The threads and their queue.
pub(super) struct SearchPool {
    shared: Arc<Shared>,
    queue_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Raises the request's flag when its future ends, however it ends.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

impl SearchPool {
    /// Starts `threads` threads; at most `queue_max` requests wait for one.
    pub(super) fn new(threads: usize, queue_max: usize) -> std::io::Result<SearchPool> {
        let shared = Arc::new(Shared { queue: Mutex::default(), work: Condvar::new() });
        let pool = SearchPool { shared, queue_max, threads: Mutex::default() };
        for number in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let thread =
                std::thread::Builder::new().name(format!("search-{number}")).spawn(move || run_jobs(&shared))?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// Runs one job. Cancel safe: a dropped future stops the job.
    pub(super) async fn run<T, F>(&self, what: &'static str, deadline: Option<Instant>, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Stop) -> Result<T, Error> + Send + 'static,
    {
        let results = self.run_all(what, deadline, vec![job]).await?;
        results.into_iter().next().ok_or_else(|| lost(what))
    }

    /// Runs `jobs` in parallel; results in their order, or the first failure. Cancel safe.
    pub(super) async fn run_all<T, F>(
        &self,
        what: &'static str,
        deadline: Option<Instant>,
        jobs: Vec<F>,
    ) -> Result<Vec<T>, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Stop) -> Result<T, Error> + Send + 'static,
    {
        let job_count = jobs.len();
        if job_count == 0 {
            return Ok(Vec::new());
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::Timeout { what });
        }
        let stop = Stop::default();
        let _guard = StopOnDrop(stop.clone());
        // As many messages as jobs, so that no thread ever waits for this request.
        let (sender, mut receiver) = mpsc::channel::<(usize, Result<T, Error>)>(job_count);
        let wrapped: Vec<Job> = jobs
            .into_iter()
            .enumerate()
            .map(|(place, job)| {
                let (stop, sender) = (stop.clone(), sender.clone());
                Box::new(move || {
                    if stop.is_raised() {
                        return;
                    }
                    let result = caught(what, || job(&stop));
                    // A caller that left no longer listens.
                    let _ = sender.try_send((place, result));
                }) as Job
            })
            .collect();
        drop(sender);
        self.push(what, wrapped)?;

        let collect = async {
            let mut results: Vec<Option<T>> = std::iter::repeat_with(|| None).take(job_count).collect();
            while let Some((place, result)) = receiver.recv().await {
                if let Some(slot) = results.get_mut(place) {
                    *slot = Some(result?);
                }
            }
            results.into_iter().collect::<Option<Vec<T>>>().ok_or_else(|| lost(what))
        };
        match deadline {
            None => collect.await,
            Some(at) => tokio::time::timeout_at(at.into(), collect).await.unwrap_or(Err(Error::Timeout { what })),
        }
    }

    /// Runs jobs on this thread, which they keep for some tens of microseconds at most.
    pub(super) fn run_here<T, F>(
        &self,
        what: &'static str,
        deadline: Option<Instant>,
        jobs: impl Iterator<Item = F>,
    ) -> Result<Vec<T>, Error>
    where
        F: FnOnce(&Stop) -> Result<T, Error>,
    {
        if self.shared.queue.lock().is_closed {
            return Err(closed());
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::Timeout { what });
        }
        metrics::counter!("quiver_search_jobs_total").increment(1);
        let stop = Stop::default();
        jobs.map(|job| caught(what, || job(&stop))).collect()
    }

    fn push(&self, what: &'static str, jobs: Vec<Job>) -> Result<(), Error> {
        let job_count = jobs.len();
        let mut queue = self.shared.queue.lock();
        if queue.is_closed {
            return Err(closed());
        }
        if queue.requests.len() >= self.queue_max {
            metrics::counter!("quiver_search_refused_total").increment(1);
            return Err(Error::Overloaded { what, retry_after_s: RETRY_AFTER_S });
        }
        queue.requests.push_back(jobs.into_iter());
        metrics::gauge!("quiver_search_queue_requests").set(queue.requests.len() as f64);
        metrics::counter!("quiver_search_jobs_total").increment(job_count as u64);
        drop(queue);
        for _ in 0..job_count.min(self.threads.lock().len()) {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Refuses new requests, lets the queued ones finish, and waits for the threads.
    pub(super) fn close(&self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // Jobs catch their panics; a thread has none of its own to report.
            let _ = thread.join();
        }
    }
}

impl Drop for SearchPool {
    fn drop(&mut self) {
        // Nobody is left to take an answer.
        self.shared.queue.lock().requests.clear();
        self.close();
    }
}

/// A job's result; an error if it panics.
fn caught<T>(what: &'static str, job: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
        metrics::counter!("quiver_search_panics_total").increment(1);
        tracing::error!(what, "a read panicked");
        Err(Error::Unavailable { why: format!("{what} failed unexpectedly; see the server's log") })
    })
}

fn closed() -> Error {
    Error::Unavailable { why: "the server is shutting down".to_owned() }
}

fn lost(what: &'static str) -> Error {
    Error::Unavailable { why: format!("{what} was given up: the server is shutting down") }
}

fn run_jobs(shared: &Shared) {
    while let Some(job) = next_job(shared) {
        job();
    }
}

/// The next job, waited for; `None` when the pool is closed and empty.
fn next_job(shared: &Shared) -> Option<Job> {
    let mut queue = shared.queue.lock();
    loop {
        while let Some(mut waiting) = queue.requests.pop_front() {
            let Some(job) = waiting.next() else { continue };
            if !waiting.as_slice().is_empty() {
                queue.requests.push_back(waiting);
            }
            return Some(job);
        }
        if queue.is_closed {
            return None;
        }
        shared.work.wait(&mut queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc as std_mpsc;
    use std::time::Duration;

    /// A job that occupies its thread until the returned sender is dropped, after saying that it runs.
    fn blocker()
    -> (impl FnOnce(&Stop) -> Result<u32, Error> + Send + 'static, std_mpsc::Sender<()>, std_mpsc::Receiver<()>) {
        let (release, released) = std_mpsc::channel::<()>();
        let (running, is_running) = std_mpsc::channel::<()>();
        let job = move |_: &Stop| {
            running.send(()).unwrap();
            let _ = released.recv();
            Ok(0)
        };
        (job, release, is_running)
    }

    #[tokio::test]
    async fn results_keep_the_order_of_the_jobs() {
        let pool = SearchPool::new(3, 4).unwrap();
        let jobs: Vec<_> = (0..100_u32).map(|number| move |_: &Stop| Ok(number)).collect();
        let results = pool.run_all("test", None, jobs).await.unwrap();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_quick_job_runs_beside_a_full_queue_and_not_after_the_end() {
        let pool = SearchPool::new(1, 0).unwrap();
        let job = |_: &Stop| Ok(std::thread::current().id());
        let ran_on = pool.run_here("quick", None, std::iter::once(job)).unwrap();
        assert_eq!(ran_on, [std::thread::current().id()]);
        let panics = |_: &Stop| -> Result<u32, Error> { panic!("on purpose") };
        let failed = pool.run_here("quick", None, std::iter::once(panics));
        assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
        let late = pool.run_here("quick", Some(Instant::now()), std::iter::once(job));
        assert!(matches!(late, Err(Error::Timeout { what: "quick" })), "{late:?}");
        pool.close();
        assert!(matches!(pool.run_here("quick", None, std::iter::once(job)), Err(Error::Unavailable { .. })));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_request_counts_once() {
        let pool = Arc::new(SearchPool::new(1, 1).unwrap());
        let (job, release, is_running) = blocker();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run("first", None, job).await }
        });
        tokio::task::spawn_blocking(move || is_running.recv().unwrap()).await.unwrap();
        let jobs: Vec<_> = (0..10_u32).map(|number| move |_: &Stop| Ok(number)).collect();
        let second = pool.run_all("second", None, jobs);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        let refused = pool.run("third", None, |_: &Stop| Ok(0_u32)).await;
        assert!(matches!(refused, Err(Error::Overloaded { what: "third", .. })), "{refused:?}");
        drop(release);
        assert_eq!(second.await.unwrap().len(), 10);
        assert_eq!(first.await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn a_passed_deadline_raises_the_flag_and_answers_timeout() {
        let pool = SearchPool::new(1, 4).unwrap();
        let (sender, stopped) = std_mpsc::channel();
        let deadline = Instant::now() + Duration::from_millis(10);
        let result = pool
            .run("slow", Some(deadline), move |stop: &Stop| {
                while !stop.is_raised() {
                    std::thread::yield_now();
                }
                sender.send(()).unwrap();
                Ok(())
            })
            .await;
        assert!(matches!(result, Err(Error::Timeout { what: "slow" })), "{result:?}");
        stopped.recv().unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_leaves_stops_its_jobs_and_frees_the_queue() {
        let pool = SearchPool::new(1, 1).unwrap();
        let (sender, stopped) = std_mpsc::channel();
        let (running, is_running) = std_mpsc::channel();
        let mut call = Box::pin(pool.run("left", None, move |stop: &Stop| {
            running.send(()).unwrap();
            while !stop.is_raised() {
                std::thread::yield_now();
            }
            sender.send(()).unwrap();
            Ok(())
        }));
        assert!(futures::poll!(&mut call).is_pending());
        is_running.recv().unwrap();
        drop(call);
        stopped.recv().unwrap();
        assert_eq!(pool.run("next", None, |_: &Stop| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_fails_its_request_and_the_threads_live_on() {
        let pool = SearchPool::new(1, 4).unwrap();
        for _ in 0..3 {
            let result: Result<(), Error> = pool.run("broken", None, |_: &Stop| panic!("on purpose")).await;
            assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        }
        assert_eq!(pool.run("next", None, |_: &Stop| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_siblings() {
        let pool = SearchPool::new(2, 4).unwrap();
        let job = |fails: bool| {
            move |stop: &Stop| {
                if fails {
                    return Err(Error::AliasNotFound { alias: "mine".into() });
                }
                while !stop.is_raised() {
                    std::thread::yield_now();
                }
                Ok(())
            }
        };
        let result = pool.run_all("mixed", None, vec![job(false), job(true)]).await;
        assert!(matches!(result, Err(Error::AliasNotFound { .. })), "{result:?}");
        pool.close();
    }

    #[tokio::test]
    async fn a_closed_pool_refuses() {
        let pool = SearchPool::new(1, 4).unwrap();
        pool.close();
        let result = pool.run("late", None, |_: &Stop| Ok(0)).await;
        assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
    }
}
