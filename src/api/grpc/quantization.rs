//! Which codes a vector is to be searched with, as messages (PROTOCOL section 18).

use super::config::{placement, wire_from_memory};
use super::pb::binary_quantization_query_encoding::{Setting, Variant};
use super::pb::quantization_config::Quantization;
use super::pb::{self, quantization_config_diff};
use super::point::{choice_from_wire, required};
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::{
    BinaryEncoding, BinaryQueryEncoding, CompressionRatio, Memory, QuantizationChange, QuantizationConfig, TurboBits,
};

/// New codes.
pub(super) fn quantization_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: pb::QuantizationConfig,
) -> Checked<QuantizationConfig> {
    let quantization = required(found, at, wire.quantization)?;
    from_variant(found, at, quantization)
}

/// New codes, or none any more.
pub(super) fn quantization_change(
    found: &mut Findings,
    at: At<'_>,
    wire: pb::QuantizationConfigDiff,
) -> Checked<QuantizationChange> {
    use quantization_config_diff::Quantization as Change;
    let quantization = match required(found, at, wire.quantization)? {
        Change::Disabled(pb::Disabled {}) => return Ok(QuantizationChange::Disabled),
        Change::Scalar(wire) => Quantization::Scalar(wire),
        Change::Product(wire) => Quantization::Product(wire),
        Change::Binary(wire) => Quantization::Binary(wire),
        Change::Turboquant(wire) => Quantization::Turboquant(wire),
    };
    from_variant(found, at, quantization).map(QuantizationChange::Set)
}

#[expect(deprecated, reason = "clients still send always_ram, and read it back")]
fn from_variant(found: &mut Findings, at: At<'_>, wire: Quantization) -> Checked<QuantizationConfig> {
    Ok(match wire {
        Quantization::Scalar(wire) => {
            if choice_from_wire::<pb::QuantizationType>(found, at.field("type"), wire.r#type)?
                == pb::QuantizationType::UnknownQuantization
            {
                return found.invalid(at.field("type"), "must be specified");
            }
            // Through text: 0.99 of the wire is to be 0.99 here, not the nearest number of single precision.
            let quantile = wire.quantile.map(|quantile| quantile.to_string().parse().unwrap_or(f64::from(quantile)));
            QuantizationConfig::Scalar {
                quantile: quantile.map(|quantile| checks::quantile(found, at, quantile)).transpose()?,
                always_ram: wire.always_ram,
                memory: placement(found, at.field("memory"), wire.memory)?,
            }
        }
        Quantization::Product(wire) => QuantizationConfig::Product {
            compression: match choice_from_wire(found, at.field("compression"), wire.compression)? {
                pb::CompressionRatio::X4 => CompressionRatio::X4,
                pb::CompressionRatio::X8 => CompressionRatio::X8,
                pb::CompressionRatio::X16 => CompressionRatio::X16,
                pb::CompressionRatio::X32 => CompressionRatio::X32,
                pb::CompressionRatio::X64 => CompressionRatio::X64,
            },
            always_ram: wire.always_ram,
            memory: placement(found, at.field("memory"), wire.memory)?,
        },
        Quantization::Binary(wire) => {
            let encoding = wire.encoding.map(|encoding| {
                choice_from_wire(found, at.field("encoding"), encoding).map(|encoding| match encoding {
                    pb::BinaryQuantizationEncoding::OneBit => BinaryEncoding::OneBit,
                    pb::BinaryQuantizationEncoding::TwoBits => BinaryEncoding::TwoBits,
                    pb::BinaryQuantizationEncoding::OneAndHalfBits => BinaryEncoding::OneAndHalfBits,
                })
            });
            let query_encoding = wire.query_encoding.and_then(|wire| wire.variant).map(|Variant::Setting(setting)| {
                choice_from_wire(found, at.field("query_encoding"), setting).map(|setting| match setting {
                    Setting::Default => BinaryQueryEncoding::Default,
                    Setting::Binary => BinaryQueryEncoding::Binary,
                    Setting::Scalar4Bits => BinaryQueryEncoding::Scalar4Bits,
                    Setting::Scalar8Bits => BinaryQueryEncoding::Scalar8Bits,
                })
            });
            QuantizationConfig::Binary {
                always_ram: wire.always_ram,
                encoding: encoding.transpose()?,
                query_encoding: query_encoding.transpose()?,
                memory: placement(found, at.field("memory"), wire.memory)?,
            }
        }
        Quantization::Turboquant(wire) => {
            let bits = wire.bits.map(|bits| {
                choice_from_wire(found, at.field("bits"), bits).map(|bits| match bits {
                    pb::TurboQuantBitSize::Bits1 => TurboBits::Bits1,
                    pb::TurboQuantBitSize::Bits15 => TurboBits::Bits1_5,
                    pb::TurboQuantBitSize::Bits2 => TurboBits::Bits2,
                    pb::TurboQuantBitSize::Bits4 => TurboBits::Bits4,
                    pb::TurboQuantBitSize::Bits8 => TurboBits::Bits8,
                })
            });
            QuantizationConfig::Turbo {
                always_ram: wire.always_ram,
                bits: bits.transpose()?,
                memory: placement(found, at.field("memory"), wire.memory)?,
            }
        }
    })
}

/// As it was given.
#[expect(deprecated, reason = "clients still send always_ram, and read it back")]
pub(super) fn wire_from_quantization(config: QuantizationConfig) -> pb::QuantizationConfig {
    let wire_memory = |memory: Option<Memory>| memory.map(|memory| wire_from_memory(memory) as i32);
    let quantization = match config {
        QuantizationConfig::Scalar { quantile, always_ram, memory } => Quantization::Scalar(pb::ScalarQuantization {
            r#type: pb::QuantizationType::Int8 as i32,
            quantile: quantile.map(|quantile| quantile as f32),
            always_ram,
            memory: wire_memory(memory),
        }),
        QuantizationConfig::Product { compression, always_ram, memory } => {
            let compression = match compression {
                CompressionRatio::X4 => pb::CompressionRatio::X4,
                CompressionRatio::X8 => pb::CompressionRatio::X8,
                CompressionRatio::X16 => pb::CompressionRatio::X16,
                CompressionRatio::X32 => pb::CompressionRatio::X32,
                CompressionRatio::X64 => pb::CompressionRatio::X64,
            };
            let compression = compression as i32;
            Quantization::Product(pb::ProductQuantization { compression, always_ram, memory: wire_memory(memory) })
        }
        QuantizationConfig::Binary { always_ram, encoding, query_encoding, memory } => {
            let encoding = encoding.map(|encoding| match encoding {
                BinaryEncoding::OneBit => pb::BinaryQuantizationEncoding::OneBit as i32,
                BinaryEncoding::TwoBits => pb::BinaryQuantizationEncoding::TwoBits as i32,
                BinaryEncoding::OneAndHalfBits => pb::BinaryQuantizationEncoding::OneAndHalfBits as i32,
            });
            let query_encoding = query_encoding.map(|encoding| {
                let setting = match encoding {
                    BinaryQueryEncoding::Default => Setting::Default,
                    BinaryQueryEncoding::Binary => Setting::Binary,
                    BinaryQueryEncoding::Scalar4Bits => Setting::Scalar4Bits,
                    BinaryQueryEncoding::Scalar8Bits => Setting::Scalar8Bits,
                };
                pb::BinaryQuantizationQueryEncoding { variant: Some(Variant::Setting(setting as i32)) }
            });
            let memory = wire_memory(memory);
            Quantization::Binary(pb::BinaryQuantization { always_ram, encoding, query_encoding, memory })
        }
        QuantizationConfig::Turbo { always_ram, bits, memory } => {
            let bits = bits.map(|bits| match bits {
                TurboBits::Bits1 => pb::TurboQuantBitSize::Bits1 as i32,
                TurboBits::Bits1_5 => pb::TurboQuantBitSize::Bits15 as i32,
                TurboBits::Bits2 => pb::TurboQuantBitSize::Bits2 as i32,
                TurboBits::Bits4 => pb::TurboQuantBitSize::Bits4 as i32,
                TurboBits::Bits8 => pb::TurboQuantBitSize::Bits8 as i32,
            });
            Quantization::Turboquant(pb::TurboQuantization { always_ram, bits, memory: wire_memory(memory) })
        }
    };
    pb::QuantizationConfig { quantization: Some(quantization) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::checks::Findings;

    #[test]
    fn s18_codes_come_back_as_they_were_given() {
        let memory = Some(Memory::Cold);
        let configs = [
            QuantizationConfig::Scalar { quantile: Some(0.99), always_ram: Some(true), memory: None },
            QuantizationConfig::Product { compression: CompressionRatio::X64, always_ram: None, memory },
            QuantizationConfig::Binary {
                always_ram: Some(false),
                encoding: Some(BinaryEncoding::TwoBits),
                query_encoding: Some(BinaryQueryEncoding::Scalar8Bits),
                memory: None,
            },
            QuantizationConfig::Turbo { always_ram: None, bits: Some(TurboBits::Bits1_5), memory },
        ];
        for config in configs {
            let mut found = Findings::new();
            let wire = wire_from_quantization(config.clone());
            let back = quantization_from_wire(&mut found, At::Root, wire);
            assert_eq!(found.finish("body", back).unwrap(), config);
        }
    }

    #[test]
    fn s18_codes_are_switched_off_and_no_codes_are_refused() {
        let mut found = Findings::new();
        let disabled = quantization_config_diff::Quantization::Disabled(pb::Disabled {});
        let change = pb::QuantizationConfigDiff { quantization: Some(disabled) };
        let change = quantization_change(&mut found, At::Root, change);
        assert_eq!(found.finish("body", change).unwrap(), QuantizationChange::Disabled);
        for quantization in [
            None,
            Some(Quantization::Scalar(pb::ScalarQuantization::default())),
            Some(Quantization::Product(pb::ProductQuantization { compression: 9, ..Default::default() })),
        ] {
            let mut found = Findings::new();
            let refused = quantization_from_wire(&mut found, At::Root, pb::QuantizationConfig { quantization });
            found.finish("body", refused).unwrap_err();
        }
    }
}
