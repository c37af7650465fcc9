//! `strict_mode_config` on the wire (PROTOCOL section 21): as it is given, and as `info` echoes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::checks::{self, At, Checked, Findings};
use crate::model::VectorName;
use crate::model::collection::StrictModeConfig;

/// The settings of strict mode; only those that are set are shown.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "StrictModeConfig")]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "the names are the wire's")]
pub(super) struct StrictMode {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_query_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unindexed_filtering_retrieve: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unindexed_filtering_update: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_hnsw_ef: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_allow_exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_oversampling: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upsert_max_batchsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_max_batchsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_collection_vector_size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_collection_payload_size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_rate_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_rate_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_points_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_max_conditions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition_max_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_payload_index_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multivector_config: Option<BTreeMap<VectorName, RowsMax>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse_config: Option<BTreeMap<VectorName, LengthMax>>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "StrictModeMultivectorConfig")]
struct RowsMax {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_vectors: Option<u64>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "StrictModeSparseConfig")]
struct LengthMax {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<u64>,
}

impl StrictMode {
    /// The checked settings. `at` is where they stand.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<StrictModeConfig> {
        let config = StrictModeConfig {
            enabled: self.enabled,
            max_query_limit: self.max_query_limit,
            max_timeout: self.max_timeout,
            unindexed_filtering_retrieve: self.unindexed_filtering_retrieve,
            unindexed_filtering_update: self.unindexed_filtering_update,
            search_max_hnsw_ef: self.search_max_hnsw_ef,
            search_allow_exact: self.search_allow_exact,
            search_max_oversampling: self.search_max_oversampling,
            upsert_max_batchsize: self.upsert_max_batchsize,
            search_max_batchsize: self.search_max_batchsize,
            max_collection_vector_size_bytes: self.max_collection_vector_size_bytes,
            max_collection_payload_size_bytes: self.max_collection_payload_size_bytes,
            read_rate_limit: self.read_rate_limit,
            write_rate_limit: self.write_rate_limit,
            max_points_count: self.max_points_count,
            filter_max_conditions: self.filter_max_conditions,
            condition_max_size: self.condition_max_size,
            max_payload_index_count: self.max_payload_index_count,
            multivector_max_vectors: self
                .multivector_config
                .map(|limits| limits.into_iter().map(|(name, limit)| (name, limit.max_vectors)).collect()),
            sparse_max_length: self
                .sparse_config
                .map(|limits| limits.into_iter().map(|(name, limit)| (name, limit.max_length)).collect()),
        };
        checks::strict_mode(found, at, &config)?;
        Ok(config)
    }
}

impl From<&StrictModeConfig> for StrictMode {
    fn from(config: &StrictModeConfig) -> StrictMode {
        StrictMode {
            enabled: config.enabled,
            max_query_limit: config.max_query_limit,
            max_timeout: config.max_timeout,
            unindexed_filtering_retrieve: config.unindexed_filtering_retrieve,
            unindexed_filtering_update: config.unindexed_filtering_update,
            search_max_hnsw_ef: config.search_max_hnsw_ef,
            search_allow_exact: config.search_allow_exact,
            search_max_oversampling: config.search_max_oversampling,
            upsert_max_batchsize: config.upsert_max_batchsize,
            search_max_batchsize: config.search_max_batchsize,
            max_collection_vector_size_bytes: config.max_collection_vector_size_bytes,
            max_collection_payload_size_bytes: config.max_collection_payload_size_bytes,
            read_rate_limit: config.read_rate_limit,
            write_rate_limit: config.write_rate_limit,
            max_points_count: config.max_points_count,
            filter_max_conditions: config.filter_max_conditions,
            condition_max_size: config.condition_max_size,
            max_payload_index_count: config.max_payload_index_count,
            multivector_config: config.multivector_max_vectors.as_ref().map(|limits| {
                limits.iter().map(|(name, limit)| (name.clone(), RowsMax { max_vectors: *limit })).collect()
            }),
            sparse_config: config.sparse_max_length.as_ref().map(|limits| {
                limits.iter().map(|(name, limit)| (name.clone(), LengthMax { max_length: *limit })).collect()
            }),
        }
    }
}
