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
pub(super) use reads::in_order;

use super::merge::Page;
use super::{Error, ReadOptions, Service};
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
        collection: &str,
        request: QueryRequest,
        options: ReadOptions,
    ) -> Result<Vec<ScoredPoint>, Error> {
        let answers = self.query_batch(collection, vec![request], options).await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Results in the order of `requests`; one bad entry fails the call.
    pub async fn query_batch(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.view(collection).await?;
        self.admit_queries(&view, &requests, options)?;
        self.barrier(&view, options).await?;
        let plans = self.plans(&view, requests, options).await?;
        self.run_plans(&view, plans, options).await
    }
}
