//! What field indexes are made of: the kinds and their parameters (PROTOCOL section 8).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::collection::Memory;

/// The kind of a field index, with the parameters it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldIndexKind {
    Keyword(KeywordParams),
    Integer(IntegerParams),
    Float,
    Geo,
    Text(TextParams),
    Bool,
    Datetime,
    Uuid,
}

impl FieldIndexKind {
    /// The type's name in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            FieldIndexKind::Keyword(_) => "keyword",
            FieldIndexKind::Integer(_) => "integer",
            FieldIndexKind::Float => "float",
            FieldIndexKind::Geo => "geo",
            FieldIndexKind::Text(_) => "text",
            FieldIndexKind::Bool => "bool",
            FieldIndexKind::Datetime => "datetime",
            FieldIndexKind::Uuid => "uuid",
        }
    }
}

/// A field index as it was asked for. `is_object` is false when it was given as a bare type name: then no parameters
/// are echoed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldIndexSchema {
    pub kind: FieldIndexKind,
    pub is_object: bool,
    pub placement: PlacementParams,
}

/// Parameters that every kind takes; echoed where given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementParams {
    /// The field names the tenant: each tenant's points are found through their own set.
    pub is_tenant: Option<bool>,
    /// Most searches are by this field.
    pub is_principal: Option<bool>,
    pub on_disk: Option<bool>,
    pub memory: Option<Memory>,
    pub enable_hnsw: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeywordParams {
    /// Starts-with conditions use the index.
    pub prefix: Option<bool>,
}

/// Absent means true; both false is refused by the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntegerParams {
    pub lookup: Option<bool>,
    pub range: Option<bool>,
}

/// How a text field is tokenised. Absent means the default of PROTOCOL section 8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextParams {
    pub tokenizer: Option<TokenizerKind>,
    pub lowercase: Option<bool>,
    pub ascii_folding: Option<bool>,
    /// Characters.
    pub min_token_len: Option<usize>,
    /// Characters.
    pub max_token_len: Option<usize>,
    pub stopwords: Option<Stopwords>,
    pub stemmer: Option<Stemmer>,
    pub phrase_matching: Option<bool>,
    /// Created with `scoring`: text queries rank by BM25 over it (1.20).
    pub scoring: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenizerKind {
    #[default]
    Word,
    Whitespace,
    Prefix,
    Multilingual,
    /// 1.20.
    Code,
}

/// `is_bare`: given as a bare language name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopwords {
    pub is_bare: bool,
    /// Lowercase names, as `english`.
    pub languages: Vec<String>,
    pub custom: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stemmer {
    None,
    /// Snowball, by its lowercase language name.
    Snowball(String),
}
