//! Field indexes and facets (PROTOCOL sections 8, 9.4 and 20).

// `on_disk` is still served.
#![allow(deprecated)]

use super::call::Times;
use super::pb::{self, payload_index_params::IndexParams};
use super::point::choice_from_wire;
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::api::schema;
use crate::api::status::ApiError;
use crate::model::Path;
use crate::model::collection::Memory;
use crate::model::field_index::{
    FieldIndexKind, FieldIndexSchema, IntegerParams, KeywordParams, PlacementParams, Stemmer, Stopwords, TextParams,
    TokenizerKind,
};
use crate::model::query::{FacetHit, FacetValue};
use crate::service::{FieldReport, WriteOptions};

/// A field index to be made.
#[derive(Debug)]
pub(super) struct CreateIndex {
    pub(super) collection: String,
    pub(super) path: Path,
    pub(super) schema: FieldIndexSchema,
    pub(super) options: WriteOptions,
}

/// A field index to be removed.
#[derive(Debug)]
pub(super) struct DeleteIndex {
    pub(super) collection: String,
    pub(super) path: Path,
    pub(super) options: WriteOptions,
}

pub(super) fn create(found: &mut Findings, wire: pb::CreateFieldIndexCollection, times: Times) -> Checked<CreateIndex> {
    let options = write_options(found, wire.wait, wire.ordering, wire.timeout, times);
    let path = checks::path(found, &wire.field_name);
    let params = wire.field_index_params.and_then(|params| params.index_params);
    let schema = schema_from_wire(found, wire.field_type, params);
    Ok(CreateIndex { collection: wire.collection_name, path: path?, schema: schema?, options: options? })
}

pub(super) fn delete(found: &mut Findings, wire: pb::DeleteFieldIndexCollection, times: Times) -> Checked<DeleteIndex> {
    let options = write_options(found, wire.wait, wire.ordering, wire.timeout, times);
    let path = checks::path(found, &wire.field_name);
    Ok(DeleteIndex { collection: wire.collection_name, path: path?, options: options? })
}

/// Of changes that the group of the collections orders.
pub(super) fn write_options(
    found: &mut Findings,
    wait: Option<bool>,
    ordering: Option<pb::WriteOrdering>,
    timeout: Option<u64>,
    times: Times,
) -> Checked<WriteOptions> {
    // The group of the collections orders its changes, whatever is asked for.
    let ordering = ordering.map_or(Ok(()), |ordering| {
        choice_from_wire::<pb::WriteOrderingType>(found, At::Root.field("ordering"), ordering.r#type).map(drop)
    });
    let deadline = checks::deadline(found, At::Root.field("timeout"), times.started, timeout);
    ordering?;
    Ok(WriteOptions { wait: wait.unwrap_or(false), deadline: deadline? })
}

/// Takes what every kind's parameters have out of them; the two that not every kind has are given.
macro_rules! placement {
    ($params:ident, $is_tenant:expr, $is_principal:expr) => {
        Placement {
            is_tenant: $is_tenant,
            is_principal: $is_principal,
            on_disk: $params.on_disk,
            memory: $params.memory,
            enable_hnsw: $params.enable_hnsw,
            nested: $params.nested.clone(),
        }
    };
}

fn schema_from_wire(
    found: &mut Findings,
    field_type: Option<i32>,
    params: Option<IndexParams>,
) -> Checked<FieldIndexSchema> {
    use pb::FieldType as Type;
    let Some(Ok(field_type)) = field_type.map(Type::try_from) else {
        return found.refuse(ApiError::malformed("cannot convert field_type"));
    };
    let Some(params) = params else {
        let kind = match field_type {
            Type::Keyword => FieldIndexKind::Keyword(KeywordParams::default()),
            Type::Integer => FieldIndexKind::Integer(IntegerParams::default()),
            Type::Float => FieldIndexKind::Float,
            Type::Geo => FieldIndexKind::Geo,
            Type::Text => FieldIndexKind::Text(TextParams::default()),
            Type::Bool => FieldIndexKind::Bool,
            Type::Datetime => FieldIndexKind::Datetime,
            Type::Uuid => FieldIndexKind::Uuid,
        };
        return Ok(FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() });
    };
    let (kind, placement) = match (field_type, params) {
        (Type::Keyword, IndexParams::KeywordIndexParams(params)) => {
            let placement = placement!(params, params.is_tenant, None);
            (FieldIndexKind::Keyword(KeywordParams { prefix: params.prefix.map(|_| true) }), placement)
        }
        (Type::Integer, IndexParams::IntegerIndexParams(params)) => {
            let at = At::Root.field("field_index_params");
            let kind = IntegerParams { lookup: params.lookup, range: params.range };
            let kind = schema::integer(found, at, kind)?;
            let placement = placement!(params, None, params.is_principal);
            (FieldIndexKind::Integer(kind), placement)
        }
        (Type::Float, IndexParams::FloatIndexParams(params)) => {
            let placement = placement!(params, None, params.is_principal);
            (FieldIndexKind::Float, placement)
        }
        (Type::Geo, IndexParams::GeoIndexParams(params)) => {
            let placement = placement!(params, None, None);
            (FieldIndexKind::Geo, placement)
        }
        (Type::Text, IndexParams::TextIndexParams(params)) => {
            let placement = placement!(params, None, None);
            (FieldIndexKind::Text(text_from_wire(found, params)?), placement)
        }
        (Type::Bool, IndexParams::BoolIndexParams(params)) => {
            let placement = placement!(params, None, None);
            (FieldIndexKind::Bool, placement)
        }
        (Type::Datetime, IndexParams::DatetimeIndexParams(params)) => {
            let placement = placement!(params, None, params.is_principal);
            (FieldIndexKind::Datetime, placement)
        }
        (Type::Uuid, IndexParams::UuidIndexParams(params)) => {
            let placement = placement!(params, params.is_tenant, None);
            (FieldIndexKind::Uuid, placement)
        }
        _ => return found.malformed("field_type and field_index_params do not match"),
    };
    Ok(FieldIndexSchema { kind, is_object: true, placement: placement.convert(found)? })
}

/// What every kind's parameters have, as far as it has them.
struct Placement {
    is_tenant: Option<bool>,
    is_principal: Option<bool>,
    on_disk: Option<bool>,
    memory: Option<i32>,
    enable_hnsw: Option<bool>,
    nested: Option<String>,
}

impl Placement {
    fn convert(self, found: &mut Findings) -> Checked<PlacementParams> {
        schema::no_nested(found, &self.nested)?;
        let memory = match self.memory {
            None => None,
            Some(memory) => {
                let at = At::Root.field("field_index_params");
                match choice_from_wire::<pb::Memory>(found, at.field("memory"), memory)? {
                    pb::Memory::Unknown => None,
                    pb::Memory::Cold => Some(Memory::Cold),
                    pb::Memory::Cached => Some(Memory::Cached),
                    pb::Memory::Pinned => Some(Memory::Pinned),
                }
            }
        };
        Ok(PlacementParams {
            is_tenant: self.is_tenant,
            is_principal: self.is_principal,
            on_disk: self.on_disk,
            memory,
            enable_hnsw: self.enable_hnsw,
        })
    }
}

fn text_from_wire(found: &mut Findings, wire: pb::TextIndexParams) -> Checked<TextParams> {
    let tokenizer = match pb::TokenizerType::try_from(wire.tokenizer) {
        Ok(pb::TokenizerType::Word) => Ok(TokenizerKind::Word),
        Ok(pb::TokenizerType::Whitespace) => Ok(TokenizerKind::Whitespace),
        Ok(pb::TokenizerType::Prefix) => Ok(TokenizerKind::Prefix),
        Ok(pb::TokenizerType::Multilingual) => Ok(TokenizerKind::Multilingual),
        Ok(pb::TokenizerType::Code) => Ok(TokenizerKind::Code),
        Ok(pb::TokenizerType::Unknown) | Err(_) => found.malformed("unknown tokenizer type"),
    };
    let stopwords = wire.stopwords.map(|set| {
        let languages = each(set.languages, |_, language| schema::stopword_language(found, &language))?;
        Ok(Stopwords { is_bare: false, languages, custom: set.custom.into_iter().collect() })
    });
    let stemmer = wire.stemmer.and_then(|stemmer| stemmer.stemming_params).map(|params| match params {
        pb::stemming_algorithm::StemmingParams::Disabled(_) => Ok(Stemmer::None),
        pb::stemming_algorithm::StemmingParams::Snowball(params) => {
            schema::stemmer_language(found, &params.language).map(Stemmer::Snowball)
        }
    });
    Ok(TextParams {
        tokenizer: Some(tokenizer?),
        lowercase: wire.lowercase,
        ascii_folding: wire.ascii_folding,
        min_token_len: wire.min_token_len.map(checks::count_from_u64),
        max_token_len: wire.max_token_len.map(checks::count_from_u64),
        stopwords: stopwords.transpose()?,
        stemmer: stemmer.transpose()?,
        phrase_matching: wire.phrase_matching,
        scoring: wire.scoring.map(|_| true),
    })
}

/// A field index as `Get` reports it.
pub(super) fn wire_from_field(report: FieldReport) -> pb::PayloadSchemaInfo {
    use pb::PayloadSchemaType as Type;
    let FieldReport { schema: FieldIndexSchema { kind, is_object, placement }, point_count } = report;
    let memory = placement.memory.map(|memory| match memory {
        Memory::Cold => pb::Memory::Cold as i32,
        Memory::Cached => pb::Memory::Cached as i32,
        Memory::Pinned => pb::Memory::Pinned as i32,
    });
    let PlacementParams { is_tenant, is_principal, on_disk, enable_hnsw, .. } = placement;
    let nested = None;
    let (data_type, params) = match kind {
        FieldIndexKind::Keyword(KeywordParams { prefix }) => {
            let prefix = (prefix == Some(true)).then_some(pb::KeywordPrefixParams {});
            let params = pb::KeywordIndexParams { is_tenant, on_disk, enable_hnsw, prefix, memory, nested };
            (Type::Keyword, IndexParams::KeywordIndexParams(params))
        }
        FieldIndexKind::Integer(IntegerParams { lookup, range }) => {
            let params = pb::IntegerIndexParams { lookup, range, is_principal, on_disk, enable_hnsw, memory, nested };
            (Type::Integer, IndexParams::IntegerIndexParams(params))
        }
        FieldIndexKind::Float => {
            let params = pb::FloatIndexParams { on_disk, is_principal, enable_hnsw, memory, nested };
            (Type::Float, IndexParams::FloatIndexParams(params))
        }
        FieldIndexKind::Geo => {
            let params = pb::GeoIndexParams { on_disk, enable_hnsw, memory, nested };
            (Type::Geo, IndexParams::GeoIndexParams(params))
        }
        FieldIndexKind::Text(params) => {
            let params = wire_from_text(params);
            let params = pb::TextIndexParams { on_disk, enable_hnsw, memory, nested, ..params };
            (Type::Text, IndexParams::TextIndexParams(params))
        }
        FieldIndexKind::Bool => {
            let params = pb::BoolIndexParams { on_disk, enable_hnsw, memory, nested };
            (Type::Bool, IndexParams::BoolIndexParams(params))
        }
        FieldIndexKind::Datetime => {
            let params = pb::DatetimeIndexParams { on_disk, is_principal, enable_hnsw, memory, nested };
            (Type::Datetime, IndexParams::DatetimeIndexParams(params))
        }
        FieldIndexKind::Uuid => {
            let params = pb::UuidIndexParams { is_tenant, on_disk, enable_hnsw, memory, nested };
            (Type::Uuid, IndexParams::UuidIndexParams(params))
        }
    };
    pb::PayloadSchemaInfo {
        data_type: data_type as i32,
        params: is_object.then_some(pb::PayloadIndexParams { index_params: Some(params) }),
        points: Some(point_count),
    }
}

fn wire_from_text(params: TextParams) -> pb::TextIndexParams {
    use pb::stemming_algorithm::StemmingParams;
    let tokenizer = match params.tokenizer.unwrap_or_default() {
        TokenizerKind::Word => pb::TokenizerType::Word,
        TokenizerKind::Whitespace => pb::TokenizerType::Whitespace,
        TokenizerKind::Prefix => pb::TokenizerType::Prefix,
        TokenizerKind::Multilingual => pb::TokenizerType::Multilingual,
        TokenizerKind::Code => pb::TokenizerType::Code,
    };
    let stemmer = params.stemmer.map(|stemmer| pb::StemmingAlgorithm {
        stemming_params: Some(match stemmer {
            Stemmer::None => StemmingParams::Disabled(pb::DisabledStemmer {}),
            Stemmer::Snowball(language) => StemmingParams::Snowball(pb::SnowballParams { language }),
        }),
    });
    let stopwords = params.stopwords.map(|Stopwords { languages, custom, .. }| pb::StopwordsSet {
        languages,
        custom: custom.into_iter().collect(),
    });
    let scoring = pb::TextScoringParams { r#type: pb::TextScoringType::Bm25 as i32 };
    pb::TextIndexParams {
        tokenizer: tokenizer as i32,
        lowercase: params.lowercase,
        min_token_len: params.min_token_len.map(|len| len as u64),
        max_token_len: params.max_token_len.map(|len| len as u64),
        stopwords,
        phrase_matching: params.phrase_matching,
        stemmer,
        ascii_folding: params.ascii_folding,
        scoring: (params.scoring == Some(true)).then_some(scoring),
        ..Default::default()
    }
}

pub(super) fn wire_from_facet_hit(hit: FacetHit) -> pb::FacetHit {
    use pb::facet_value::Variant;
    let variant = match hit.value {
        FacetValue::Bool(value) => Variant::BoolValue(value),
        FacetValue::Integer(value) => Variant::IntegerValue(value),
        FacetValue::Text(value) => Variant::StringValue(value),
    };
    pb::FacetHit { value: Some(pb::FacetValue { variant: Some(variant) }), count: hit.count }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::api::grpc::status::checked;

    fn created(field_type: Option<pb::FieldType>, params: Option<IndexParams>) -> Result<FieldIndexSchema, String> {
        let wire = pb::CreateFieldIndexCollection {
            collection_name: "c".to_owned(),
            field_name: "a.b".to_owned(),
            field_type: field_type.map(|field_type| field_type as i32),
            field_index_params: params.map(|params| pb::PayloadIndexParams { index_params: Some(params) }),
            ..Default::default()
        };
        let times = Times { started: Instant::now(), latest: None };
        let created = checked(|found| create(found, wire, times)).map_err(|status| status.message().to_owned())?;
        assert_eq!((created.collection.as_str(), created.path.to_string().as_str()), ("c", "a.b"));
        Ok(created.schema)
    }

    #[test]
    fn s8_the_type_is_required_and_agrees_with_the_parameters() {
        assert!(created(None, None).unwrap_err().contains("cannot convert field_type"));
        let geo = IndexParams::GeoIndexParams(pb::GeoIndexParams::default());
        assert!(created(Some(pb::FieldType::Keyword), Some(geo.clone())).unwrap_err().contains("do not match"));
        assert!(created(None, Some(geo)).unwrap_err().contains("cannot convert field_type"));
        let none = pb::IntegerIndexParams { lookup: Some(false), range: Some(false), ..Default::default() };
        let refused = created(Some(pb::FieldType::Integer), Some(IndexParams::IntegerIndexParams(none))).unwrap_err();
        assert!(refused.contains("the 'lookup' and 'range' capabilities can't be both disabled"), "{refused}");
        let untold = IndexParams::TextIndexParams(pb::TextIndexParams::default());
        assert!(created(Some(pb::FieldType::Text), Some(untold)).unwrap_err().contains("tokenizer"));
    }

    #[test]
    fn s8_every_kind_comes_back_as_it_was_given() {
        use pb::{FieldType as Given, PayloadSchemaType as Shown};
        let text = pb::TextIndexParams {
            tokenizer: pb::TokenizerType::Whitespace as i32,
            lowercase: Some(false),
            min_token_len: Some(2),
            max_token_len: Some(9),
            on_disk: Some(true),
            stopwords: Some(pb::StopwordsSet { languages: vec!["english".into()], custom: vec!["x".into()] }),
            phrase_matching: Some(true),
            stemmer: Some(pb::StemmingAlgorithm {
                stemming_params: Some(pb::stemming_algorithm::StemmingParams::Snowball(pb::SnowballParams {
                    language: "german".into(),
                })),
            }),
            ascii_folding: Some(true),
            enable_hnsw: Some(false),
            memory: Some(pb::Memory::Cold as i32),
            scoring: Some(pb::TextScoringParams { r#type: pb::TextScoringType::Bm25 as i32 }),
            nested: None,
        };
        let keyword = pb::KeywordIndexParams {
            is_tenant: Some(true),
            prefix: Some(pb::KeywordPrefixParams {}),
            ..Default::default()
        };
        for (given, shown, params) in [
            (Given::Keyword, Shown::Keyword, IndexParams::KeywordIndexParams(keyword)),
            (Given::Integer, Shown::Integer, IndexParams::IntegerIndexParams(Default::default())),
            (Given::Float, Shown::Float, IndexParams::FloatIndexParams(Default::default())),
            (Given::Geo, Shown::Geo, IndexParams::GeoIndexParams(Default::default())),
            (Given::Text, Shown::Text, IndexParams::TextIndexParams(text)),
            (Given::Bool, Shown::Bool, IndexParams::BoolIndexParams(Default::default())),
            (Given::Datetime, Shown::Datetime, IndexParams::DatetimeIndexParams(Default::default())),
            (Given::Uuid, Shown::Uuid, IndexParams::UuidIndexParams(Default::default())),
        ] {
            let bare = FieldReport { schema: created(Some(given), None).unwrap(), point_count: 3 };
            let bare = wire_from_field(bare);
            assert_eq!((bare.data_type, bare.params, bare.points), (shown as i32, None, Some(3)));
            let schema = created(Some(given), Some(params.clone())).unwrap();
            let info = wire_from_field(FieldReport { schema, point_count: 3 });
            assert_eq!(info.params, Some(pb::PayloadIndexParams { index_params: Some(params) }));
            assert_eq!(info.data_type, shown as i32);
        }
    }
}
