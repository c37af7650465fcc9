//! Which codes a vector is to be searched with, as JSON (PROTOCOL section 18).

use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{Placement, memory_out, object, some};
use super::schemas::schema;
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::{
    BinaryEncoding, BinaryQueryEncoding, CompressionRatio, QuantizationChange, QuantizationConfig, TurboBits,
};

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "QuantizationConfig")]
#[serde(rename_all = "snake_case")]
pub(super) enum Quantization {
    Scalar(Scalar),
    Product(Product),
    Binary(Binary),
    Turbo(Turbo),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ScalarQuantization")]
pub(super) struct Scalar {
    #[serde(rename = "type")]
    _type: ScalarType,
    quantile: Option<f64>,
    always_ram: Option<bool>,
    memory: Option<Placement>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ScalarType {
    Int8,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ProductQuantization")]
pub(super) struct Product {
    #[schemars(with = "CompressionShape")]
    compression: CompressionRatio,
    always_ram: Option<bool>,
    memory: Option<Placement>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "BinaryQuantization")]
pub(super) struct Binary {
    always_ram: Option<bool>,
    #[schemars(with = "Option<EncodingShape>")]
    encoding: Option<BinaryEncoding>,
    #[schemars(with = "Option<QueryEncodingShape>")]
    query_encoding: Option<BinaryQueryEncoding>,
    memory: Option<Placement>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "TurboQuantization")]
pub(super) struct Turbo {
    always_ram: Option<bool>,
    #[schemars(with = "Option<BitsShape>")]
    bits: Option<TurboBits>,
    memory: Option<Placement>,
}

/// The schemas of the model's words, made from the words themselves.
struct CompressionShape;
struct EncodingShape;
struct QueryEncodingShape;
struct BitsShape;

schema!(CompressionShape, "CompressionRatio", _ => {
    use CompressionRatio::{X4, X8, X16, X32, X64};
    json_schema!({ "type": "string", "enum": [X4, X8, X16, X32, X64] })
});
schema!(EncodingShape, "BinaryEncoding", _ => {
    use BinaryEncoding::{OneAndHalfBits, OneBit, TwoBits};
    json_schema!({ "type": "string", "enum": [OneBit, TwoBits, OneAndHalfBits] })
});
schema!(QueryEncodingShape, "BinaryQueryEncoding", _ => {
    use BinaryQueryEncoding::{Binary, Default, Scalar4Bits, Scalar8Bits};
    json_schema!({ "type": "string", "enum": [Default, Binary, Scalar4Bits, Scalar8Bits] })
});
schema!(BitsShape, "TurboBits", _ => {
    use TurboBits::{Bits1, Bits1_5, Bits2, Bits4, Bits8};
    json_schema!({ "type": "string", "enum": [Bits1, Bits1_5, Bits2, Bits4, Bits8] })
});

/// New codes, or none any more.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "QuantizationConfigDiff")]
#[serde(untagged, expecting = "expected a quantization or \"Disabled\"")]
pub(super) enum QuantizationDiff {
    Disabled(Disabled),
    Config(Quantization),
}

#[derive(Deserialize, JsonSchema)]
pub(super) enum Disabled {
    Disabled,
}

impl Quantization {
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<QuantizationConfig> {
        Ok(match self {
            Quantization::Scalar(Scalar { _type, quantile, always_ram, memory }) => {
                let quantile = quantile.map(|quantile| checks::quantile(found, at, quantile)).transpose()?;
                QuantizationConfig::Scalar { quantile, always_ram, memory: memory.map(Placement::convert) }
            }
            Quantization::Product(Product { compression, always_ram, memory }) => {
                QuantizationConfig::Product { compression, always_ram, memory: memory.map(Placement::convert) }
            }
            Quantization::Binary(Binary { always_ram, encoding, query_encoding, memory }) => {
                let memory = memory.map(Placement::convert);
                QuantizationConfig::Binary { always_ram, encoding, query_encoding, memory }
            }
            Quantization::Turbo(Turbo { always_ram, bits, memory }) => {
                QuantizationConfig::Turbo { always_ram, bits, memory: memory.map(Placement::convert) }
            }
        })
    }
}

impl QuantizationDiff {
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<QuantizationChange> {
        match self {
            QuantizationDiff::Disabled(Disabled::Disabled) => Ok(QuantizationChange::Disabled),
            QuantizationDiff::Config(config) => config.convert(found, at).map(QuantizationChange::Set),
        }
    }
}

/// As it was given.
pub(super) fn quantization_out(config: &QuantizationConfig) -> Value {
    let flag = |always_ram: &Option<bool>| always_ram.map(Value::from);
    match config {
        QuantizationConfig::Scalar { quantile, always_ram, memory } => json!({ "scalar": object([
            ("type", some("int8")),
            ("quantile", quantile.map(Value::from)),
            ("always_ram", flag(always_ram)),
            ("memory", memory.map(memory_out)),
        ]) }),
        QuantizationConfig::Product { compression, always_ram, memory } => json!({ "product": object([
            ("compression", some(json!(compression))),
            ("always_ram", flag(always_ram)),
            ("memory", memory.map(memory_out)),
        ]) }),
        QuantizationConfig::Binary { always_ram, encoding, query_encoding, memory } => json!({ "binary": object([
            ("always_ram", flag(always_ram)),
            ("encoding", encoding.map(|encoding| json!(encoding))),
            ("query_encoding", query_encoding.map(|encoding| json!(encoding))),
            ("memory", memory.map(memory_out)),
        ]) }),
        QuantizationConfig::Turbo { always_ram, bits, memory } => json!({ "turbo": object([
            ("always_ram", flag(always_ram)),
            ("bits", bits.map(|bits| json!(bits))),
            ("memory", memory.map(memory_out)),
        ]) }),
    }
}
