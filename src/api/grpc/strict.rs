//! Strict mode in and out (PROTOCOL section 21).

// A deprecated field is still part of the message.
#![allow(deprecated)]

use super::pb;
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::StrictModeConfig;

/// The checked settings. `at` is where they stand.
pub(super) fn strict_mode_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: pb::StrictModeConfig,
) -> Checked<StrictModeConfig> {
    let config = StrictModeConfig {
        enabled: wire.enabled,
        max_query_limit: wire.max_query_limit.map(u64::from),
        max_timeout: wire.max_timeout.map(u64::from),
        unindexed_filtering_retrieve: wire.unindexed_filtering_retrieve,
        unindexed_filtering_update: wire.unindexed_filtering_update,
        search_max_hnsw_ef: wire.search_max_hnsw_ef.map(u64::from),
        search_allow_exact: wire.search_allow_exact,
        search_max_oversampling: wire.search_max_oversampling.map(as_written),
        upsert_max_batchsize: wire.upsert_max_batchsize,
        search_max_batchsize: wire.search_max_batchsize,
        max_collection_vector_size_bytes: wire.max_collection_vector_size_bytes,
        max_collection_payload_size_bytes: wire.max_collection_payload_size_bytes,
        read_rate_limit: wire.read_rate_limit.map(u64::from),
        write_rate_limit: wire.write_rate_limit.map(u64::from),
        max_points_count: wire.max_points_count,
        filter_max_conditions: wire.filter_max_conditions,
        condition_max_size: wire.condition_max_size,
        max_payload_index_count: wire.max_payload_index_count,
        multivector_max_vectors: wire.multivector_config.map(|limits| {
            limits.multivector_config.into_iter().map(|(name, limit)| (name, limit.max_vectors)).collect()
        }),
        sparse_max_length: wire
            .sparse_config
            .map(|limits| limits.sparse_config.into_iter().map(|(name, limit)| (name, limit.max_length)).collect()),
    };
    checks::strict_mode(found, at, &config)?;
    Ok(config)
}

/// 1.9 stays 1.9: the digits a caller wrote, not those of the next binary fraction.
fn as_written(factor: f32) -> f64 {
    factor.to_string().parse().unwrap_or(f64::from(factor))
}

/// Only what is set is shown.
pub(super) fn wire_from_strict_mode(config: StrictModeConfig) -> pb::StrictModeConfig {
    // Narrower here than in JSON: what does not fit is no limit anyone could reach.
    let narrow = |limit: Option<u64>| limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    pb::StrictModeConfig {
        enabled: config.enabled,
        max_query_limit: narrow(config.max_query_limit),
        max_timeout: narrow(config.max_timeout),
        unindexed_filtering_retrieve: config.unindexed_filtering_retrieve,
        unindexed_filtering_update: config.unindexed_filtering_update,
        search_max_hnsw_ef: narrow(config.search_max_hnsw_ef),
        search_allow_exact: config.search_allow_exact,
        search_max_oversampling: config.search_max_oversampling.map(|factor| factor as f32),
        upsert_max_batchsize: config.upsert_max_batchsize,
        search_max_batchsize: config.search_max_batchsize,
        max_collection_vector_size_bytes: config.max_collection_vector_size_bytes,
        read_rate_limit: narrow(config.read_rate_limit),
        write_rate_limit: narrow(config.write_rate_limit),
        max_collection_payload_size_bytes: config.max_collection_payload_size_bytes,
        filter_max_conditions: config.filter_max_conditions,
        condition_max_size: config.condition_max_size,
        multivector_config: config.multivector_max_vectors.map(|limits| pb::StrictModeMultivectorConfig {
            multivector_config: limits
                .into_iter()
                .map(|(name, max_vectors)| (name, pb::StrictModeMultivector { max_vectors }))
                .collect(),
        }),
        sparse_config: config.sparse_max_length.map(|limits| pb::StrictModeSparseConfig {
            sparse_config: limits
                .into_iter()
                .map(|(name, max_length)| (name, pb::StrictModeSparse { max_length }))
                .collect(),
        }),
        max_points_count: config.max_points_count,
        max_payload_index_count: config.max_payload_index_count,
        max_resident_memory_percent: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(wire: pb::StrictModeConfig) -> Result<StrictModeConfig, String> {
        let mut found = Findings::new();
        let config = strict_mode_from_wire(&mut found, At::Root.field("strict_mode_config"), wire);
        found.finish("body", config).map_err(|error| error.text)
    }

    fn full() -> pb::StrictModeConfig {
        pb::StrictModeConfig {
            enabled: Some(true),
            max_query_limit: Some(1),
            max_timeout: Some(2),
            unindexed_filtering_retrieve: Some(false),
            unindexed_filtering_update: Some(true),
            search_max_hnsw_ef: Some(3),
            search_allow_exact: Some(false),
            search_max_oversampling: Some(1.9),
            upsert_max_batchsize: Some(4),
            search_max_batchsize: Some(5),
            max_collection_vector_size_bytes: Some(6),
            read_rate_limit: Some(7),
            write_rate_limit: Some(8),
            max_collection_payload_size_bytes: Some(9),
            filter_max_conditions: Some(10),
            condition_max_size: Some(11),
            multivector_config: Some(pb::StrictModeMultivectorConfig {
                multivector_config: BTreeMap::from([(
                    "m".to_owned(),
                    pb::StrictModeMultivector { max_vectors: Some(12) },
                )]),
            }),
            sparse_config: Some(pb::StrictModeSparseConfig {
                sparse_config: BTreeMap::from([("s".to_owned(), pb::StrictModeSparse { max_length: None })]),
            }),
            max_points_count: Some(13),
            max_payload_index_count: Some(14),
            max_resident_memory_percent: None,
        }
    }

    #[test]
    fn s21_every_setting_is_read_and_shown_again() {
        let read_back = read(full()).unwrap();
        assert_eq!((read_back.write_rate_limit, read_back.max_points_count), (Some(8), Some(13)));
        assert_eq!(read_back.search_max_oversampling, Some(1.9));
        assert_eq!(wire_from_strict_mode(read_back), full());
        assert_eq!(wire_from_strict_mode(StrictModeConfig::default()), pb::StrictModeConfig::default());
    }

    #[test]
    fn s21_limits_that_would_forbid_everything_are_refused() {
        let wire = pb::StrictModeConfig { max_timeout: Some(0), read_rate_limit: Some(0), ..full() };
        let want = "Validation error in body: [strict_mode_config.max_timeout: value 0 invalid, must be 1 or larger; \
                    strict_mode_config.read_rate_limit: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(wire), Err(want.to_owned()));
    }
}
