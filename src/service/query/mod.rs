//! Queries (PROTOCOL sections 10 to 17): a request's tree is resolved to vectors and filters, run level by level, and
//! what is shown is fetched.
//!
//! - A level without prefetches is one read that every shard answers in part.
//! - A level with prefetches works on what they found, not on the collection.
//! - Nothing here knows how a shard finds points.

mod formula;
mod fusion;
mod groups;
mod mmr;
mod reads;
mod resolve;
mod run;
#[cfg(test)]
mod tests;

pub use formula::FormulaError;
#[cfg(any(test, fuzzing))]
pub(crate) use formula::{Candidate, evaluate, needs_payload};
pub(super) use reads::{CorpusCounts, FormulaRead, LevelRead, TextCounts, in_order};

use super::merge::Page;
use super::{Error, ReadOptions, Scope, Service};
use crate::model::query::QueryRequest;
use crate::model::{PayloadSelector, ScoredPoint, VectorSelector};
use resolve::Level;

/// A request, ready to be run.
struct Plan {
    root: Level,
    page: Page,
    with_payload: PayloadSelector,
    with_vectors: VectorSelector,
}

impl Service {
    /// The best points of one query.
    pub async fn query(
        &self,
        scope: impl Into<Scope>,
        request: QueryRequest,
        options: ReadOptions,
    ) -> Result<Vec<ScoredPoint>, Error> {
        let answers = self.query_batch(scope, vec![request], options).await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Results in the order of `requests`; one bad entry fails the call.
    pub async fn query_batch(
        &self,
        scope: impl Into<Scope>,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        self.current(&scope.collection, || self.query_once(scope, requests.clone(), options)).await
    }

    async fn query_once(
        &self,
        scope: &Scope,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        let view = self.view_for(&scope.collection, options).await?;
        self.admit_queries(&view, &requests, options)?;
        let mut requests: Vec<Option<QueryRequest>> = requests.into_iter().map(Some).collect();
        let mut answers: Vec<Vec<ScoredPoint>> = vec![Vec::new(); requests.len()];
        // Nearly always one group: requests for different shard keys have different shards to ask.
        for (selector, places) in scope.by_selector(requests.len()) {
            let view = view.read_by(selector)?;
            self.barrier(&view, options).await?;
            let group = places.iter().filter_map(|place| requests.get_mut(*place)?.take()).collect();
            let plans = self.plans(&view, group, options).await?;
            for (place, found) in places.iter().zip(self.run_plans(&view, plans, options).await?) {
                if let Some(answer) = answers.get_mut(*place) {
                    *answer = found;
                }
            }
        }
        Ok(answers)
    }
}
