//! `with_payload`, `with_vector` and search parameters on the wire (PROTOCOL section 5).

use std::fmt;

use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::filter::FilterBody;
use super::schemas::{any_of, closed, list, object, schema};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::levels;
use crate::model::query::{IdfCorpus, SearchOptions};
use crate::model::{Path, PayloadSelector, VectorSelector};

/// `true`, `false`, a list of paths, `{include}` or `{exclude}`.
#[derive(Debug)]
pub(super) enum WithPayload {
    All(bool),
    Include(Vec<String>),
    Exclude(Vec<String>),
}

#[derive(Deserialize)]
struct IncludeExclude {
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SelectorVisitor;
        impl<'de> Visitor<'de> for SelectorVisitor {
            type Value = WithPayload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bool, a list of payload paths, or an object with `include` or `exclude`")
            }
            fn visit_bool<E: Error>(self, all: bool) -> Result<WithPayload, E> {
                Ok(WithPayload::All(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<WithPayload, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(WithPayload::Include)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WithPayload, A::Error> {
                match IncludeExclude::deserialize(MapAccessDeserializer::new(map))? {
                    IncludeExclude { include: Some(paths), exclude: None } => Ok(WithPayload::Include(paths)),
                    IncludeExclude { include: None, exclude: Some(paths) } => Ok(WithPayload::Exclude(paths)),
                    _ => Err(A::Error::custom("a payload selector needs one of `include` and `exclude`")),
                }
            }
        }
        deserializer.deserialize_any(SelectorVisitor)
    }
}

schema!(WithPayload, "WithPayload", _ => {
    let paths = list(json_schema!({ "type": "string" }));
    any_of([
        json_schema!({ "type": "boolean" }),
        paths.clone(),
        closed(object([("include", paths.clone())])),
        closed(object([("exclude", paths)])),
    ])
});

/// The checked selector; `absent` when none was given.
pub(super) fn payload(
    found: &mut Findings,
    given: Option<WithPayload>,
    absent: PayloadSelector,
) -> Checked<PayloadSelector> {
    match given {
        None => Ok(absent),
        Some(WithPayload::All(true)) => Ok(PayloadSelector::All),
        Some(WithPayload::All(false)) => Ok(PayloadSelector::None),
        Some(WithPayload::Include(texts)) => paths(found, texts).map(PayloadSelector::Include),
        Some(WithPayload::Exclude(texts)) => paths(found, texts).map(PayloadSelector::Exclude),
    }
}

/// The checked paths.
pub(super) fn paths(found: &mut Findings, texts: Vec<String>) -> Checked<Vec<Path>> {
    checks::each(texts, |_, text| checks::path(found, &text))
}

/// `true`, `false` or a list of names.
#[derive(Debug)]
pub(super) enum WithVector {
    All(bool),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for WithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SelectorVisitor;
        impl<'de> Visitor<'de> for SelectorVisitor {
            type Value = WithVector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bool or a list of vector names")
            }
            fn visit_bool<E: Error>(self, all: bool) -> Result<WithVector, E> {
                Ok(WithVector::All(all))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<WithVector, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(WithVector::Names)
            }
        }
        deserializer.deserialize_any(SelectorVisitor)
    }
}

schema!(WithVector, "WithVector", _ => any_of([
    json_schema!({ "type": "boolean" }),
    list(json_schema!({ "type": "string" })),
]));

/// The selector; none of them when none was given.
pub(super) fn vectors(given: Option<WithVector>) -> VectorSelector {
    match given {
        None | Some(WithVector::All(false)) => VectorSelector::None,
        Some(WithVector::All(true)) => VectorSelector::All,
        Some(WithVector::Names(names)) => VectorSelector::Names(names),
    }
}

/// `params` of a search.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct SearchParams {
    hnsw_ef: Option<u64>,
    exact: Option<bool>,
    indexed_only: Option<bool>,
    quantization: Option<QuantizationParams>,
    acorn: Option<AcornParams>,
    idf: Option<IdfBody>,
}

/// What codes are used for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "QuantizationSearchParams")]
struct QuantizationParams {
    ignore: Option<bool>,
    rescore: Option<bool>,
    oversampling: Option<f64>,
}

/// Accepted: filtered searches choose their plan by what matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct AcornParams {
    #[serde(rename = "enable")]
    _enable: Option<bool>,
    max_selectivity: Option<f64>,
}

/// `"global"`, or the points that match.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "IdfCorpus")]
#[serde(rename_all = "snake_case")]
enum IdfBody {
    Global,
    #[serde(untagged)]
    Corpus {
        corpus: FilterBody,
    },
}

impl SearchParams {
    /// The checked options. `at` is where they stand.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<SearchOptions> {
        let quantization = self.quantization.unwrap_or_default();
        let oversampling = levels::oversampling(found, at.field("quantization"), quantization.oversampling);
        let selectivity = match self.acorn.and_then(|acorn| acorn.max_selectivity) {
            None => Ok(0.0),
            Some(share) => checks::within(found, at.field("acorn").field("max_selectivity"), share, 0.0, 1.0),
        };
        let idf = match self.idf {
            None => Ok(None),
            Some(IdfBody::Global) => Ok(Some(IdfCorpus::Global)),
            Some(IdfBody::Corpus { corpus }) => {
                corpus.convert(found, at.field("idf").field("corpus")).map(|filter| Some(IdfCorpus::Filter(filter)))
            }
        };
        let ef = checks::hnsw_ef(found, at.field("hnsw_ef"), self.hnsw_ef);
        selectivity?;
        Ok(SearchOptions {
            idf: idf?,
            oversampling: oversampling?,
            ignores_codes: quantization.ignore.unwrap_or(false),
            rescores: quantization.rescore,
            ef: ef?,
            exact: self.exact.unwrap_or(false),
            indexed_only: self.indexed_only.unwrap_or(false),
        })
    }
}
