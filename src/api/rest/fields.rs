//! Field indexes and facets (PROTOCOL sections 8 and 9.4).

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{BodyCall, Call};
use super::envelope::{Envelope, answer};
use super::filter::{self, FilterBody};
use super::query::LIMIT_DEFAULT;
use super::reads::from_body;
use super::records::UpdateOut;
use super::schemas::{any_of, object_with, schema};
use super::shapes::{Keys, shard_keys};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::schema;
use crate::api::status::ApiError;
use crate::model::Path;
use crate::model::collection::Memory;
use crate::model::field_index::{
    FieldIndexKind, FieldIndexSchema, IntegerParams, KeywordParams, PlacementParams, Stemmer, Stopwords, TextParams,
    TokenizerKind,
};
use crate::model::query::{FacetHit, FacetRequest, FacetValue};
use crate::service::{FieldReport, Scope};

#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateIndex {
    field_name: String,
    #[serde(alias = "field_type")]
    field_schema: Option<SchemaBody>,
}

/// A type's name, or an object with parameters.
enum SchemaBody {
    Name(TypeName),
    Object(Box<ParamsBody>),
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "FieldType")]
#[serde(rename_all = "snake_case")]
enum TypeName {
    Keyword,
    Integer,
    Float,
    Geo,
    Text,
    Bool,
    Datetime,
    Uuid,
}

/// Parameters of a type; only those that are set are shown.
#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "FieldParams")]
#[serde(tag = "type", rename_all = "snake_case")]
enum ParamsBody {
    Keyword(KeywordBody),
    Integer(IntegerBody),
    Float(PlacementBody),
    Geo(PlacementBody),
    Text(Box<TextBody>),
    Bool(PlacementBody),
    Datetime(PlacementBody),
    Uuid(PlacementBody),
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "PlacementParams")]
struct PlacementBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    is_tenant: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_principal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_hnsw: Option<bool>,
    #[serde(skip_serializing)]
    nested: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "FieldMemory")]
#[serde(rename_all = "snake_case")]
enum MemoryName {
    Cold,
    Cached,
    Pinned,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "KeywordParams")]
struct KeywordBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<bool>,
    #[serde(flatten)]
    placement: PlacementBody,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "IntegerParams")]
struct IntegerBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<bool>,
    #[serde(flatten)]
    placement: PlacementBody,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TextParams")]
struct TextBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<TokenizerName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lowercase: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ascii_folding: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_token_len: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_token_len: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopwords: Option<StopwordsBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stemmer: Option<StemmerBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phrase_matching: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scoring: Option<ScoringBody>,
    #[serde(flatten)]
    placement: PlacementBody,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "Tokenizer")]
#[serde(rename_all = "snake_case")]
enum TokenizerName {
    Word,
    Whitespace,
    Prefix,
    Multilingual,
    Code,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "Stopwords")]
#[serde(untagged)]
enum StopwordsBody {
    Language(String),
    Set {
        #[serde(skip_serializing_if = "Option::is_none")]
        languages: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        custom: Option<Vec<String>>,
    },
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "Stemmer")]
#[serde(tag = "type", rename_all = "snake_case")]
enum StemmerBody {
    None,
    Snowball { language: String },
}

/// `true`, or what scoring it is.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TextScoringParams")]
#[serde(untagged)]
enum ScoringBody {
    Flag(bool),
    Kind { r#type: ScoringName },
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "TextScoringKind")]
#[serde(rename_all = "snake_case")]
enum ScoringName {
    Bm25,
}

impl<'de> Deserialize<'de> for SchemaBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SchemaVisitor;
        impl<'de> Visitor<'de> for SchemaVisitor {
            type Value = SchemaBody;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type's name, or an object with `type`")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<SchemaBody, E> {
                let deserializer = serde::de::value::StrDeserializer::new(name);
                TypeName::deserialize(deserializer).map(SchemaBody::Name)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SchemaBody, A::Error> {
                ParamsBody::deserialize(MapAccessDeserializer::new(map)).map(|body| SchemaBody::Object(Box::new(body)))
            }
        }
        deserializer.deserialize_any(SchemaVisitor)
    }
}

schema!(SchemaBody, "FieldSchema", schemas => any_of([
    schemas.subschema_for::<TypeName>(),
    schemas.subschema_for::<ParamsBody>(),
]));

impl CreateIndex {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<(Path, FieldIndexSchema)> {
        let root = At::Root;
        let path = checks::path(found, &self.field_name);
        let schema = match self.field_schema {
            Some(schema) => schema.convert(found, root.field("field_schema")),
            None => found.refuse(ApiError::bad_request(
                "Can't auto-detect field type, please specify `field_schema` in the request",
            )),
        };
        Ok((path?, schema?))
    }
}

impl SchemaBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<FieldIndexSchema> {
        match self {
            SchemaBody::Name(name) => {
                let kind = match name {
                    TypeName::Keyword => FieldIndexKind::Keyword(KeywordParams::default()),
                    TypeName::Integer => FieldIndexKind::Integer(IntegerParams::default()),
                    TypeName::Float => FieldIndexKind::Float,
                    TypeName::Geo => FieldIndexKind::Geo,
                    TypeName::Text => FieldIndexKind::Text(TextParams::default()),
                    TypeName::Bool => FieldIndexKind::Bool,
                    TypeName::Datetime => FieldIndexKind::Datetime,
                    TypeName::Uuid => FieldIndexKind::Uuid,
                };
                Ok(FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() })
            }
            SchemaBody::Object(body) => {
                let (kind, placement) = match *body {
                    ParamsBody::Keyword(KeywordBody { prefix, placement }) => {
                        (FieldIndexKind::Keyword(KeywordParams { prefix }), placement)
                    }
                    ParamsBody::Integer(IntegerBody { lookup, range, placement }) => {
                        let params = schema::integer(found, at, IntegerParams { lookup, range })?;
                        (FieldIndexKind::Integer(params), placement)
                    }
                    ParamsBody::Float(placement) => (FieldIndexKind::Float, placement),
                    ParamsBody::Geo(placement) => (FieldIndexKind::Geo, placement),
                    ParamsBody::Text(body) => {
                        let (params, placement) = body.convert(found)?;
                        (FieldIndexKind::Text(params), placement)
                    }
                    ParamsBody::Bool(placement) => (FieldIndexKind::Bool, placement),
                    ParamsBody::Datetime(placement) => (FieldIndexKind::Datetime, placement),
                    ParamsBody::Uuid(placement) => (FieldIndexKind::Uuid, placement),
                };
                Ok(FieldIndexSchema { kind, is_object: true, placement: placement.convert(found)? })
            }
        }
    }
}

impl PlacementBody {
    fn convert(self, found: &mut Findings) -> Checked<PlacementParams> {
        schema::no_nested(found, &self.nested)?;
        Ok(PlacementParams {
            is_tenant: self.is_tenant,
            is_principal: self.is_principal,
            on_disk: self.on_disk,
            memory: self.memory.map(|name| match name {
                MemoryName::Cold => Memory::Cold,
                MemoryName::Cached => Memory::Cached,
                MemoryName::Pinned => Memory::Pinned,
            }),
            enable_hnsw: self.enable_hnsw,
        })
    }

    fn show(placement: &PlacementParams) -> PlacementBody {
        PlacementBody {
            is_tenant: placement.is_tenant,
            is_principal: placement.is_principal,
            on_disk: placement.on_disk,
            memory: placement.memory.map(|memory| match memory {
                Memory::Cold => MemoryName::Cold,
                Memory::Cached => MemoryName::Cached,
                Memory::Pinned => MemoryName::Pinned,
            }),
            enable_hnsw: placement.enable_hnsw,
            nested: None,
        }
    }
}

impl TextBody {
    fn convert(self, found: &mut Findings) -> Checked<(TextParams, PlacementBody)> {
        let stopwords = self.stopwords.map(|stopwords| stopwords.convert(found)).transpose();
        let stemmer = match self.stemmer {
            None => Ok(None),
            Some(StemmerBody::None) => Ok(Some(Stemmer::None)),
            Some(StemmerBody::Snowball { language }) => {
                schema::stemmer_language(found, &language).map(|language| Some(Stemmer::Snowball(language)))
            }
        };
        let params = TextParams {
            tokenizer: self.tokenizer.map(|name| match name {
                TokenizerName::Word => TokenizerKind::Word,
                TokenizerName::Whitespace => TokenizerKind::Whitespace,
                TokenizerName::Prefix => TokenizerKind::Prefix,
                TokenizerName::Multilingual => TokenizerKind::Multilingual,
                TokenizerName::Code => TokenizerKind::Code,
            }),
            lowercase: self.lowercase,
            ascii_folding: self.ascii_folding,
            min_token_len: self.min_token_len.map(checks::count_from_u64),
            max_token_len: self.max_token_len.map(checks::count_from_u64),
            stopwords: stopwords?,
            stemmer: stemmer?,
            phrase_matching: self.phrase_matching,
            scoring: self.scoring.map(|scoring| match scoring {
                ScoringBody::Flag(flag) => flag,
                ScoringBody::Kind { r#type: ScoringName::Bm25 } => true,
            }),
        };
        Ok((params, self.placement))
    }

    fn show(params: &TextParams, placement: PlacementBody) -> TextBody {
        TextBody {
            tokenizer: params.tokenizer.map(|kind| match kind {
                TokenizerKind::Word => TokenizerName::Word,
                TokenizerKind::Whitespace => TokenizerName::Whitespace,
                TokenizerKind::Prefix => TokenizerName::Prefix,
                TokenizerKind::Multilingual => TokenizerName::Multilingual,
                TokenizerKind::Code => TokenizerName::Code,
            }),
            lowercase: params.lowercase,
            ascii_folding: params.ascii_folding,
            min_token_len: params.min_token_len.map(|len| len as u64),
            max_token_len: params.max_token_len.map(|len| len as u64),
            stopwords: params.stopwords.as_ref().map(StopwordsBody::show),
            stemmer: params.stemmer.as_ref().map(|stemmer| match stemmer {
                Stemmer::None => StemmerBody::None,
                Stemmer::Snowball(language) => StemmerBody::Snowball { language: language.clone() },
            }),
            phrase_matching: params.phrase_matching,
            scoring: params.scoring.map(ScoringBody::Flag),
            placement,
        }
    }
}

impl StopwordsBody {
    fn convert(self, found: &mut Findings) -> Checked<Stopwords> {
        let (is_bare, languages, custom) = match self {
            StopwordsBody::Language(language) => (true, vec![language], None),
            StopwordsBody::Set { languages, custom } => (false, languages.unwrap_or_default(), custom),
        };
        let languages = checks::each(languages, |_, language| schema::stopword_language(found, &language))?;
        Ok(Stopwords { is_bare, languages, custom: custom.unwrap_or_default().into_iter().collect() })
    }

    fn show(stopwords: &Stopwords) -> StopwordsBody {
        match (stopwords.is_bare, stopwords.languages.as_slice()) {
            (true, [language]) => StopwordsBody::Language(language.clone()),
            (_, languages) => StopwordsBody::Set {
                languages: (!languages.is_empty()).then(|| languages.to_vec()),
                custom: (!stopwords.custom.is_empty()).then(|| stopwords.custom.iter().cloned().collect()),
            },
        }
    }
}

/// The schema of a field index as `info` shows it.
pub(super) struct FieldOut;

schema!(FieldOut, "PayloadIndexInfo", schemas => object_with(
    [("data_type", schemas.subschema_for::<TypeName>()), ("points", schemas.subschema_for::<u64>())],
    [("params", schemas.subschema_for::<ParamsBody>())],
));

/// A field index as `info` shows it.
pub(super) fn info(report: &FieldReport) -> Value {
    let FieldIndexSchema { kind, is_object, placement } = &report.schema;
    let placement = PlacementBody::show(placement);
    let (name, params) = match kind {
        FieldIndexKind::Keyword(params) => {
            (TypeName::Keyword, ParamsBody::Keyword(KeywordBody { prefix: params.prefix, placement }))
        }
        FieldIndexKind::Integer(params) => {
            let body = IntegerBody { lookup: params.lookup, range: params.range, placement };
            (TypeName::Integer, ParamsBody::Integer(body))
        }
        FieldIndexKind::Float => (TypeName::Float, ParamsBody::Float(placement)),
        FieldIndexKind::Geo => (TypeName::Geo, ParamsBody::Geo(placement)),
        FieldIndexKind::Text(params) => (TypeName::Text, ParamsBody::Text(Box::new(TextBody::show(params, placement)))),
        FieldIndexKind::Bool => (TypeName::Bool, ParamsBody::Bool(placement)),
        FieldIndexKind::Datetime => (TypeName::Datetime, ParamsBody::Datetime(placement)),
        FieldIndexKind::Uuid => (TypeName::Uuid, ParamsBody::Uuid(placement)),
    };
    match is_object {
        true => json!({ "data_type": name, "params": params, "points": report.point_count }),
        false => json!({ "data_type": name, "points": report.point_count }),
    }
}

pub(super) async fn create(BodyCall { call, body }: BodyCall<String, CreateIndex>) -> Envelope<UpdateOut> {
    let options = call.write_options()?;
    let (path, schema) = from_body(|found| body.convert(found))?;
    let ack = call.within_limit(call.rest.service.create_field_index(&call.path, path, schema, options)).await??;
    answer(call.started, UpdateOut::from(ack))
}

pub(super) async fn delete(call: Call<(String, String)>) -> Envelope<UpdateOut> {
    let options = call.write_options()?;
    let (collection, field) = &call.path;
    let mut found = Findings::new();
    let path = checks::path(&mut found, field);
    let path = found.finish("path parameters", path)?;
    let ack = call.within_limit(call.rest.service.delete_field_index(collection, path, options)).await??;
    answer(call.started, UpdateOut::from(ack))
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "FacetRequest")]
pub(super) struct Facet {
    key: String,
    limit: Option<u64>,
    filter: Option<FilterBody>,
    /// Accepted: counts are always exact.
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    shard_key: Option<Keys>,
}

impl Facet {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<FacetRequest> {
        let root = At::Root;
        let at = root.field("facet_request");
        let key = checks::path(found, &self.key);
        let limit = checks::limit(found, at.field("limit"), self.limit.unwrap_or(LIMIT_DEFAULT));
        let filter = filter::filter(found, at.field("filter"), self.filter);
        Ok(FacetRequest { key: key?, limit: limit?, filter: filter? })
    }
}

/// How many points have each value.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FacetResponse")]
pub(super) struct FacetOut {
    hits: Vec<FacetHitOut>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FacetValueHit")]
struct FacetHitOut {
    value: FacetValueOut,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FacetValue")]
#[serde(untagged)]
enum FacetValueOut {
    Bool(bool),
    Integer(i64),
    Text(String),
}

pub(super) async fn facet(BodyCall { call, mut body }: BodyCall<String, Facet>) -> Envelope<FacetOut> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let request = from_body(|found| body.convert(found))?;
    let hits = call.rest.service.facet(scope, request, options).await?;
    let hits = hits.into_iter().map(|FacetHit { value, count }| {
        let value = match value {
            FacetValue::Bool(value) => FacetValueOut::Bool(value),
            FacetValue::Integer(value) => FacetValueOut::Integer(value),
            FacetValue::Text(value) => FacetValueOut::Text(value),
        };
        FacetHitOut { value, count }
    });
    answer(call.started, FacetOut { hits: hits.collect() })
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
