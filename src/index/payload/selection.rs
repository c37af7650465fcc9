//! What a field index takes in of one payload: the values its path selects, of the kind it is for.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::model::datetime::Timestamp;
use crate::model::field_index::{FieldIndexKind, TextParams};
use crate::model::geo::GeoPoint;
use crate::model::{Path, Payload};
use crate::text::Tokenizer;

/// What a field index is for. Apart from the index, so that payloads are read without holding it.
pub struct FieldSpec {
    pub path: Path,
    pub kind: FieldIndexKind,
    tokenizer: Option<Tokenizer>,
}

/// What a path selects in one payload.
///
/// Elements are what conditions look at: selected values, arrays unwrapped one level.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldValues {
    /// Distinct lengths of the selected values, ascending: arrays count their elements, null 0, others 1.
    pub(super) lengths: Vec<u64>,
    /// Some selected value is null or an array with a null.
    pub(super) has_null: bool,
    /// Some element is neither null nor a value of the index's kind.
    pub(super) has_other: bool,
    pub(super) values: Values,
}

/// Elements of the index's kind, in the payload's order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    Keywords(Vec<Arc<str>>),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    Bools(Vec<bool>),
    Instants(Vec<Timestamp>),
    Uuids(Vec<Uuid>),
    Places(Vec<GeoPoint>),
    /// The tokens of each text.
    Texts(Vec<Vec<Arc<str>>>),
}

impl FieldSpec {
    /// A field index of this kind for this path.
    pub fn new(path: Path, kind: FieldIndexKind) -> FieldSpec {
        let tokenizer = match &kind {
            FieldIndexKind::Text(params) => Some(Tokenizer::new(params)),
            _ => None,
        };
        FieldSpec { path, kind, tokenizer }
    }

    /// How texts are split, if this is a text index.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The parameters of a text index.
    pub fn text_params(&self) -> Option<&TextParams> {
        match &self.kind {
            FieldIndexKind::Text(params) => Some(params),
            _ => None,
        }
    }

    /// Whether this is a text index that was made for phrases.
    pub fn has_phrases(&self) -> bool {
        self.text_params().is_some_and(|params| params.phrase_matching == Some(true))
    }

    /// What the path selects in `payload`.
    pub fn select(&self, payload: &Payload) -> FieldValues {
        let mut selected = FieldValues::none(&self.kind);
        self.path.any(&payload.0, &mut |value| {
            match value {
                Value::Array(elements) => {
                    selected.lengths.push(elements.len() as u64);
                    elements.iter().for_each(|element| selected.take(element, self));
                }
                Value::Null => {
                    selected.lengths.push(0);
                    selected.has_null = true;
                }
                other => {
                    selected.lengths.push(1);
                    selected.take(other, self);
                }
            }
            false
        });
        selected.lengths.sort_unstable();
        selected.lengths.dedup();
        selected
    }
}

impl FieldValues {
    /// Nothing is selected.
    pub(super) fn none(kind: &FieldIndexKind) -> FieldValues {
        let values = match kind {
            FieldIndexKind::Keyword(_) => Values::Keywords(Vec::new()),
            FieldIndexKind::Integer(_) => Values::Integers(Vec::new()),
            FieldIndexKind::Float => Values::Floats(Vec::new()),
            FieldIndexKind::Geo => Values::Places(Vec::new()),
            FieldIndexKind::Text(_) => Values::Texts(Vec::new()),
            FieldIndexKind::Bool => Values::Bools(Vec::new()),
            FieldIndexKind::Datetime => Values::Instants(Vec::new()),
            FieldIndexKind::Uuid => Values::Uuids(Vec::new()),
        };
        FieldValues { lengths: Vec::new(), has_null: false, has_other: false, values }
    }

    fn take(&mut self, element: &Value, spec: &FieldSpec) {
        if element.is_null() {
            self.has_null = true;
            return;
        }
        let is_of_kind = match &mut self.values {
            Values::Keywords(all) => taken(all, element.as_str().map(Arc::from)),
            Values::Integers(all) => taken(all, element.as_i64()),
            Values::Floats(all) => taken(all, element.as_f64()),
            Values::Bools(all) => taken(all, element.as_bool()),
            Values::Instants(all) => taken(all, element.as_str().and_then(Timestamp::parse)),
            Values::Uuids(all) => {
                let parsed = element.as_str().and_then(|text| Some((text, Uuid::try_parse(text).ok()?)));
                // Conditions compare texts: one that is spelled otherwise is not equal to what facets show of it.
                let is_plain = parsed.is_some_and(|(text, uuid)| is_plain(&uuid, text));
                taken(all, parsed.map(|(_, uuid)| uuid)) && is_plain
            }
            Values::Places(all) => taken(all, place(element)),
            Values::Texts(all) => {
                let tokens = |text| spec.tokenizer().map(|tokenizer| tokenizer.document(text)).unwrap_or_default();
                taken(all, element.as_str().map(|text| tokens(text).into_iter().map(Arc::from).collect()))
            }
        };
        self.has_other |= !is_of_kind;
    }

    /// With what makes no difference to an index taken out: the order and the repetition of values.
    pub(super) fn normal(mut self, keeps_order_of_tokens: bool) -> FieldValues {
        fn set<T, K: Ord>(all: &mut Vec<T>, key: impl Fn(&T) -> K) {
            all.sort_by_key(&key);
            all.dedup_by_key(|value| key(value));
        }
        match &mut self.values {
            Values::Keywords(all) => set(all, Arc::clone),
            Values::Integers(all) => set(all, |value| *value),
            // Both zeros are one value.
            Values::Floats(all) => set(all, |value| (value + 0.0).to_bits()),
            Values::Bools(all) => set(all, |value| *value),
            Values::Instants(all) => set(all, |value| *value),
            Values::Uuids(all) => set(all, |value| *value),
            Values::Places(all) => set(all, |place| (place.lon.to_bits(), place.lat.to_bits())),
            Values::Texts(texts) if !keeps_order_of_tokens => {
                texts.iter_mut().for_each(|tokens| set(tokens, Arc::clone));
            }
            Values::Texts(_) => {}
        }
        self
    }

    pub(super) fn is_indexed(&self) -> bool {
        match &self.values {
            Values::Keywords(all) => !all.is_empty(),
            Values::Integers(all) => !all.is_empty(),
            Values::Floats(all) => !all.is_empty(),
            Values::Bools(all) => !all.is_empty(),
            Values::Instants(all) => !all.is_empty(),
            Values::Uuids(all) => !all.is_empty(),
            Values::Places(all) => !all.is_empty(),
            Values::Texts(all) => !all.is_empty(),
        }
    }
}

fn taken<T>(all: &mut Vec<T>, value: Option<T>) -> bool {
    let is_some = value.is_some();
    all.extend(value);
    is_some
}

/// Whether `text` is how facets show `uuid`.
pub(super) fn is_plain(uuid: &Uuid, text: &str) -> bool {
    let mut buffer = Uuid::encode_buffer();
    uuid.as_hyphenated().encode_lower(&mut buffer) == text
}

/// A place on the globe; one off it is no value, though conditions may still look at it.
fn place(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    GeoPoint::new(object.get("lon")?.as_f64()?, object.get("lat")?.as_f64()?).ok()
}
